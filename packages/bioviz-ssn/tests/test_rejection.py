from __future__ import annotations

import numpy as np
import pytest
from bioviz_ssn.errors import InitializationError
from bioviz_ssn.models.cohort import observe
from bioviz_ssn.rejection import (
    MIDDLE_DRAWS,
    PAPER_BOUNDS,
    PAPER_RANGES,
    Accepted,
    Bounds,
    Ranges,
    _reference_trials,
    accepted_cohort,
)

SEEDS = (1001, 1003)


@pytest.fixture(scope="module")
def accepted() -> Accepted:
    return accepted_cohort(SEEDS, table_step=2.0)


@pytest.mark.slow
def test_accepted_parameters_keep_every_rule(accepted: Accepted) -> None:
    j = np.abs(np.asarray(accepted.cohort.params.middle.weights))
    g = np.asarray(accepted.cohort.table.gains)
    assert (1.1 * j[:, 0, 0] * j[:, 1, 1] < j[:, 0, 1] * j[:, 1, 0]).all()
    assert (1.1 * j[:, 0, 1] * g[:, 1] < j[:, 1, 1] * g[:, 0]).all()
    seen = observe(accepted.cohort, *_reference_trials(SEEDS))
    assert np.all(seen.converged)
    assert (seen.decay > 0).all()
    assert ((seen.mean_rates > 5) & (seen.mean_rates < 80)).all()
    assert ((seen.max_rates > 10) & (seen.max_rates < 151)).all()


@pytest.mark.slow
def test_draws_lie_in_their_ranges_and_kappas_start_at_zero(accepted: Accepted) -> None:
    params = accepted.cohort.params
    for layer in (params.middle, params.superficial):
        sizes = np.abs(np.asarray(layer.weights)).reshape(-1, 4)
        ranges = np.array([getattr(PAPER_RANGES, f"j_{b}") for b in ("ee", "ei", "ie", "ii")])
        assert ((sizes > ranges[:, 0] - 1e-5) & (sizes < ranges[:, 1] + 1e-5)).all()
        assert (np.asarray(layer.kappa) == 0).all()
    np.testing.assert_array_equal(params.middle.baseline, params.superficial.baseline)
    assert ((accepted.learning_rates > 3e-3) & (accepted.learning_rates < 5e-3)).all()


@pytest.mark.slow
def test_a_seed_is_the_same_in_other_company(accepted: Accepted) -> None:
    other = accepted_cohort((1003, 1001), table_step=2.0)
    for one, two in (
        (accepted.cohort.params.middle.log_j, other.cohort.params.middle.log_j),
        (accepted.orientations, other.orientations),
        (accepted.learning_rates, other.learning_rates),
    ):
        np.testing.assert_array_equal(np.asarray(one)[0], np.asarray(two)[1])
    assert accepted.failures[0] == other.failures[1]


def test_inequalities_that_no_draw_keeps_are_named_and_counted() -> None:
    weak = Ranges(j_ei=(0.1, 0.2))
    with pytest.raises(InitializationError, match="J_EE J_II") as error:
        accepted_cohort([0], ranges=weak, table_step=2.0)
    assert error.value.failures["1.1 |J_EE J_II| < |J_EI J_IE|"] == MIDDLE_DRAWS
    assert error.value.draws >= MIDDLE_DRAWS


@pytest.mark.slow
def test_rates_that_no_draw_has_are_named_and_counted() -> None:
    with pytest.raises(InitializationError, match="middle mean rates") as error:
        accepted_cohort([1001], bounds=Bounds(mean=(79.0, 80.0)), table_step=2.0)
    assert error.value.failures["middle mean rates in (79.0, 80.0) Hz"] > 10
    assert PAPER_BOUNDS.mean == (5, 80)
