from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.analyses.readout import LinearReadout, fit_readout, ridge_r2, score
from bioviz_core.errors import DataError
from bioviz_core.stimuli.embedded import digits
from bioviz_core.stimuli.sources import column


def gaussians(n: int, *, distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, 5))
    x[:, 0] += distance * labels
    return x * [1, 1, 1, 1, 100] + 7, labels


def test_two_gaussians_are_decoded_as_well_as_they_can_be() -> None:
    # The best decoder is right with probability Phi(distance / 2) = Phi(1) = 0.841
    readout = fit_readout(*gaussians(2000, distance=2))
    found = score(readout, *gaussians(20_000, distance=2, seed=1))
    assert found.accuracy == pytest.approx(0.841, abs=0.01)
    assert found.chance == 0.5
    assert found.confusion.sum() == 20_000
    assert np.trace(found.confusion) / 20_000 == pytest.approx(found.accuracy)
    assert 0.5 < found.probability < found.accuracy


def test_noise_is_decoded_at_chance() -> None:
    readout = fit_readout(*gaussians(500, distance=0))
    found = score(readout, *gaussians(4000, distance=0, seed=1))
    assert found.accuracy == pytest.approx(0.5, abs=0.03)


def test_chance_is_the_share_of_the_commonest_class() -> None:
    x = np.arange(10.0)[:, None]
    readout = fit_readout(x, x[:, 0] > 4)
    assert score(readout, x, x[:, 0] > 2).chance == pytest.approx(0.7)


@pytest.mark.slow
def test_digits_are_read_from_their_pixels() -> None:
    train, test = digits("train"), digits("test")
    readout = fit_readout(column(train, "inputs"), column(train, "labels"), components=40)
    found = score(readout, column(test, "inputs"), column(test, "labels"))
    assert found.accuracy > 0.93


def test_the_analysis_holds_samples_out_by_its_seed() -> None:
    x, y = gaussians(400, distance=3)
    data = {"activations": x, "labels": y}
    result = LinearReadout()(data)
    assert result.scalars["accuracy"] > 0.85
    assert result.arrays["confusion"].sum() == 120
    assert result.notes == ()
    assert LinearReadout()(data).scalars == result.scalars
    assert result.plot().images


def test_a_readout_that_did_not_converge_says_so() -> None:
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning):
        fit_readout(*gaussians(200, distance=1), max_steps=1)


def test_a_constant_layer_decodes_at_chance() -> None:
    result = LinearReadout()({"activations": np.ones((40, 3)), "labels": np.arange(40) % 2})
    assert result.scalars["accuracy"] == result.scalars["chance"] == 0.5


def test_ridge_explains_a_linear_target_in_unseen_groups_and_not_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    groups = np.arange(200) % 5
    assert ridge_r2(x, x @ rng.normal(size=(4, 3)), groups, alpha=1e-6) == pytest.approx(1)
    assert ridge_r2(x, rng.normal(size=200), groups) < 0.05
    # One group, one offset: a mean of the others explains nothing of it.
    assert ridge_r2(np.zeros((10, 2)), groups[:10] % 2, groups[:10] % 2) == pytest.approx(0)
    assert np.isnan(ridge_r2(x, np.ones(200), groups))


def test_what_cannot_be_decoded_is_refused() -> None:
    x, y = gaussians(20, distance=1)
    with pytest.raises(DataError, match="two classes"):
        fit_readout(x, np.zeros(20))
    with pytest.raises(DataError, match="one value for each response"):
        fit_readout(x, y[:-1])
    with pytest.raises(DataError, match=r"without the classes \[2\]"):
        score(fit_readout(x, y), x, np.where(y, y, 2))
    with pytest.raises(DataError, match="too few samples of a class"):
        LinearReadout()({"activations": x, "labels": np.arange(20)})
    with pytest.raises(DataError, match="two groups"):
        ridge_r2(x, y, np.zeros(20))
    with pytest.raises(DataError, match="one value for each response"):
        ridge_r2(x, y, np.zeros(19))
