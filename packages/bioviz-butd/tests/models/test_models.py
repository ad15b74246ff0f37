"""The registered networks: sizes of the paper, seeds, and building them again from options."""

from __future__ import annotations

import bioviz_butd as butd
import bioviz_core as bv
import pytest
import torch


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


def test_networks_have_the_sizes_of_the_paper() -> None:
    assert count(butd.fc_net()) == 784 * 500 + 500 + 500 * 10 + 10
    assert count(butd.fc_net(td_weights="separate")) == 2 * (784 * 500 + 5000) + 510
    net = butd.simple_net()
    assert [tuple(w.shape) for w, _ in net.weight_pairs().values()] == [
        (32, 1, 5, 5), (32, 1, 2, 2), (32, 32, 5, 5), (32, 1, 3, 3), (50, 288), (10, 50),
    ]  # fmt: skip
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_seed_decides_the_weights_and_nothing_else_changes() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (butd.conv_net(td_weights="separate", seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.module[0].weight, c.module[0].weight)
    assert not torch.equal(a.feedback()["0.weight"], c.feedback()["0.weight"])


def test_bottom_up_weights_do_not_depend_on_the_top_down_ones() -> None:
    shared, separate = butd.fc_net(seed=4), butd.fc_net(seed=4, td_weights="separate")
    for p, q in zip(shared.module.parameters(), separate.module.parameters(), strict=True):
        assert torch.equal(p, q)


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="3 poolings leave nothing of a 4 x 8 image"):
        butd.conv_net(shape=(1, 4, 8), channels=(2, 2, 2))


@pytest.mark.parametrize("name", ["butd/fc", "butd/conv", "butd/simple"])
def test_registered_networks_are_built_from_plain_options(name) -> None:
    net = bv.create(name, kind="model", td_weights="separate", seed=3)
    assert net.td_weights == "separate"
    assert net.objective is butd.cross_entropy
    assert net.recipe.options == {"td_weights": "separate", "seed": 3}
