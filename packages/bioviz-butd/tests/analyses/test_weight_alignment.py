"""Angles between the two streams."""

from __future__ import annotations

import bioviz_butd as butd
import bioviz_core as bv
import numpy as np
import pytest
import torch
from bioviz_butd.analyses.weight_alignment import angle


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 30.0, 90.0, 135.0, 180.0])
def test_angle_is_exact_even_where_the_arc_cosine_is_not(degrees) -> None:
    turn = np.radians(degrees)
    found = angle(np.array([2.0, 0.0]), 3 * np.array([np.cos(turn), np.sin(turn)]))
    assert found == pytest.approx(degrees, abs=1e-12)


def test_angle_of_nothing_is_not_a_number_and_shapes_must_agree() -> None:
    assert np.isnan(angle(np.zeros(3), np.ones(3)))
    with pytest.raises(ValueError, match="3 and 4 entries"):
        angle(np.ones(3), np.ones(4))


def test_report_of_shared_weights_is_zero_and_of_separate_ones_orthogonal() -> None:
    batch = {"inputs": torch.randn(6, 1, 8, 8), "labels": torch.arange(6)}
    for row in butd.alignment_report(butd.conv_net(shape=(1, 8, 8), norm="batch"), batch):
        assert (row.angle, row.norm_ratio, row.update_angle) == (0.0, 1.0, 0.0)
    net = butd.conv_net(shape=(1, 8, 8), td_weights="separate").train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    report = butd.alignment_report(net, batch)
    assert [row.layer for row in report] == ["0.weight", "3.weight", "7.weight", "9.weight"]
    assert all(75 < row.angle < 105 for row in report)
    assert report[-1].update_angle == 0.0, "the top layer hears the error itself"
    assert all(row.update_angle > 30 for row in report[:-1])
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert butd.alignment_report(net)[0].update_angle is None


def test_registered_analysis_draws_and_notes_silence() -> None:
    analysis = bv.create("butd/weight-alignment")
    weight = np.random.default_rng(0).normal(size=(30, 40))
    result = analysis({"weight": weight, "td_weight": 2 * weight})
    assert result.scalars["angle"] == pytest.approx(0, abs=1e-6)
    assert result.scalars["norm_ratio"] == pytest.approx(2)
    assert result.plot().get_xlabel() == "bottom-up weight"
    silent = analysis({"weight": weight, "td_weight": 0 * weight})
    assert np.isnan(silent.scalars["angle"])
    assert silent.notes == ("a weight is zero, so there is no angle",)
