"""What a unit looks at."""

from __future__ import annotations

import bioviz_butd as butd
import bioviz_core as bv
import numpy as np
import pytest
import torch


def test_saliency_of_shared_weights_is_the_derivative_of_the_output() -> None:
    net = butd.conv_net(shape=(1, 8, 8), norm="batch").train()
    x = torch.randn(3, 1, 8, 8)
    maps = butd.td_saliency(net, x, torch.tensor([1, 5, 7]))
    assert all(p.grad is None for p in net.parameters())
    copied = x.clone().requires_grad_()
    out = net.eval()(copied, autograd=True)
    (out[0, 1] + out[1, 5] + out[2, 7]).backward()
    assert torch.equal(maps, copied.grad)
    assert torch.equal(butd.td_saliency(net, x), butd.td_saliency(net, x, out.argmax(1)))
    assert torch.equal(butd.td_saliency(net, x, 4)[1:], butd.td_saliency(net, x[1:], 4))


def test_unit_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="unit must be 0 to 9, got 10"):
        butd.td_saliency(butd.fc_net(shape=(1, 4, 4)), torch.zeros(2, 1, 4, 4), 10)


def test_analysis_finds_where_the_signal_lands() -> None:
    images = np.zeros((2, 1, 4, 4))
    images[:, :, :2] = 1.0
    signals = np.zeros((2, 1, 4, 4))
    signals[0, 0, 0, 0] = -2.0
    signals[1, 0, :, :] = 1.0
    result = bv.create("butd/saliency")({"inputs": images, "signals": signals})
    assert result.scalars["on_figure"] == pytest.approx((1 + 0.5) / 2)
    assert result.scalars["concentration"] == pytest.approx((1 / 16 + 8 / 16) / 2)
    assert result.arrays["maps"].max() == 1
    assert result.plot().images
    silent = bv.create("butd/saliency")({"inputs": images, "signals": 0 * signals})
    assert silent.notes == ("2 samples received no signal",)
    assert np.isnan(silent.scalars["on_figure"])
    with pytest.raises(ValueError, match="one shape"):
        bv.create("butd/saliency")({"inputs": images, "signals": signals[:1]})
