from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from bioviz_core.errors import UnknownNameError
from bioviz_ssn.ablations import (
    ALL,
    CONFIGURATIONS,
    EXCLUDED,
    GROUPS,
    ONLY,
    PRETRAINED,
    configuration,
    parts_of,
    trained_mask,
)
from bioviz_ssn.parameters import LayerParams, SSNParams
from hypothesis import given, settings
from hypothesis import strategies as st

WEIGHTS = ((4.4, -1.66), (5.0, -1.24))
PARTS = [part for group in ALL for part in GROUPS[group]]


def params() -> SSNParams:
    middle = LayerParams.create(WEIGHTS)
    superficial = LayerParams.create(WEIGHTS, kappa=np.zeros((2, 2, 2)))
    return SSNParams(middle, superficial, np.zeros(2), np.zeros(2), np.zeros(25), np.zeros(()))


def count(mask: SSNParams) -> int:
    return int(sum(np.sum(leaf) for leaf in jax.tree.leaves(mask)))


def test_the_paper_has_26_configurations() -> None:
    assert len(CONFIGURATIONS) == 4 + 4 + 9 + 9
    assert configuration("baseline").trained == ALL
    assert configuration("midonly").readout_mix == (0, 1)
    assert configuration("suponly_no_hori").p_local == (1, 1)
    assert configuration("gentask").task == "general"
    assert configuration("shuffled_labels").shuffle_labels


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_only_readout_configurations_refit_the_readout(name: str) -> None:
    readouts = {"suponly", "mixed", "midonly", "suponly_no_hori"}
    assert configuration(name).refit_readout is (name in readouts)


def test_an_unknown_configuration_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match="midonly"):
        configuration("mid_only")


def test_an_unknown_group_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match="kappa_Jsup"):
        trained_mask(["kappa_sup"], params())


def test_everything_is_trained_in_the_baseline_but_the_readout() -> None:
    mask = trained_mask(ALL, params())
    # Both layers: 4 weights and 2 baselines; f 2; kappas 8, 4 and 2.
    assert count(mask) == 12 + 2 + 14
    assert (count(trained_mask(PRETRAINED, params(), readout=True))) == 14 + 25 + 1


def test_a_weight_is_named_by_target_then_source_then_layer() -> None:
    mask = trained_mask(["J_IE_s"], params())
    assert np.asarray(mask.superficial.log_j).tolist() == [[0, 0], [1, 0]]
    assert count(mask) == 1


def test_what_inhibitory_cells_send_is_the_second_column_of_both_layers() -> None:
    mask = trained_mask(["JI"], params())
    for layer in (mask.middle, mask.superficial):
        assert np.asarray(layer.log_j).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(("without", "only"), list(zip(EXCLUDED, ONLY, strict=True)))
def test_all_but_a_group_and_the_group_alone_make_everything(without: str, only: str) -> None:
    left, alone = (set(parts_of(configuration(name).trained)) for name in (without, only))
    assert left | alone == set(PARTS)
    assert not left & alone
    assert alone


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([*GROUPS, *PARTS]), max_size=6), st.integers(1, 3))
def test_a_mask_is_zero_or_one_and_the_same_for_every_seed(names: list[str], seeds: int) -> None:
    def by_seed(leaf: Any) -> np.ndarray:
        return np.broadcast_to(leaf, (seeds, *np.shape(leaf)))

    stacked = trained_mask(names, jax.tree.map(by_seed, params()))
    single = trained_mask(names, params())
    for several, one in zip(jax.tree.leaves(stacked), jax.tree.leaves(single), strict=True):
        assert set(np.unique(one)) <= {0, 1}
        np.testing.assert_array_equal(several, np.broadcast_to(one, several.shape))
