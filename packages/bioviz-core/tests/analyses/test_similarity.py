from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.analyses.similarity import (
    CKA,
    RDM,
    RSA,
    Procrustes,
    cka,
    procrustes,
    rdm,
    rsa,
    similarity_matrix,
)
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Analysis
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.distance import pdist, squareform

MEASURES = [rsa, cka, procrustes]


def gaussians(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def rotation(n: int) -> np.ndarray:
    return np.linalg.qr(gaussians(n, n, seed=9))[0]


def test_correlation_rdm_is_numpys() -> None:
    x = gaussians(30, 50) * 7 + 3
    np.testing.assert_allclose(rdm(x), 1 - np.corrcoef(x), atol=1e-12)
    assert (np.diag(rdm(x)) == 0).all()


def test_euclidean_rdm_is_scipys_and_images_are_flattened() -> None:
    x = gaussians(6, 2, 3, 3)
    expected = squareform(pdist(x.reshape(6, -1)))
    np.testing.assert_allclose(rdm(x, dissimilarity="euclidean"), expected, atol=1e-12)


def test_a_constant_pattern_correlates_with_nothing() -> None:
    x = gaussians(5, 8)
    x[2] = 0.1
    distances = rdm(x)
    assert np.isnan(distances[2]).all()
    assert np.isfinite(np.delete(np.delete(distances, 2, 0), 2, 1)).all()
    result = RDM()({"activations": x})
    assert result.scalars["mean"] == pytest.approx(np.nanmean(distances[np.triu_indices(5, 1)]))
    assert "1 of 5 patterns are constant" in result.notes[0]


def test_rsa_is_the_rank_correlation_of_upper_triangles() -> None:
    x, y = gaussians(12, 20), gaussians(12, 5, seed=1)
    upper = np.triu_indices(12, 1)
    a, b = (1 - np.corrcoef(side)[upper] for side in (x, y))
    assert rsa(x, y) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert rsa(x, y, method="pearson") == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
    assert rsa(x, x) == pytest.approx(1)


def test_biased_cka_is_the_formula_of_kornblith() -> None:
    x, y = gaussians(20, 7), gaussians(20, 11, seed=1)
    x, y = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert cka(x, y, debiased=False) == pytest.approx(expected, rel=1e-12)


def hsic_1(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741  # the paper's letters
    """The unbiased estimator as Song et al. (2012) print it, equation 5."""
    n = len(k)
    k, l = k * (1 - np.eye(n)), l * (1 - np.eye(n))  # noqa: E741
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + middle - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))


def test_debiased_cka_is_the_estimator_of_song() -> None:
    x, y = gaussians(15, 7), gaussians(15, 11, seed=1) + gaussians(15, 11) * 0.5
    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = hsic_1(k, l) / np.sqrt(hsic_1(k, k) * hsic_1(l, l))
    assert cka(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_one_on_itself_whatever_rotation_scale_and_shift(debiased: bool) -> None:
    x = gaussians(40, 12)
    assert cka(x, x, debiased=debiased) == pytest.approx(1, abs=1e-12)
    assert cka(x, 3 * x @ rotation(12) + 5, debiased=debiased) == pytest.approx(1, abs=1e-6)
    stretched = x * np.logspace(0, 2, 12)
    assert cka(x, stretched, debiased=debiased) < 0.9


def test_only_debiased_cka_sees_that_wide_layers_are_independent() -> None:
    values = [
        cka(gaussians(40, 768, seed=2 * s), gaussians(40, 768, seed=2 * s + 1)) for s in range(20)
    ]
    assert max(map(abs, values)) < 0.15
    assert np.mean(values) == pytest.approx(0, abs=0.02)
    assert cka(gaussians(40, 768), gaussians(40, 768, seed=1), debiased=False) > 0.9


def test_cka_holds_at_any_size_of_the_responses() -> None:
    x, y = gaussians(10, 6), gaussians(10, 6, seed=1)
    assert cka(x * 1e-160, y * 1e150) == pytest.approx(cka(x, y), rel=1e-9)
    far = (x + 1e6).astype(np.float32)
    assert cka(far, far) == pytest.approx(1, abs=1e-6)


def test_procrustes_is_zero_up_to_rotation_and_scipys_disparity() -> None:
    x, y = gaussians(20, 6), gaussians(20, 6, seed=1)
    assert procrustes(x, 2 * x @ rotation(6) - 1) == pytest.approx(0, abs=1e-6)
    # scipy's disparity of the best fit is 1 - cos^2
    assert np.sin(procrustes(x, y)) ** 2 == pytest.approx(scipy_procrustes(x, y)[2], rel=1e-9)


def test_procrustes_of_wide_layers_needs_no_wide_product() -> None:
    x, y = gaussians(8, 400), gaussians(8, 5, seed=1)
    x_c, y_c = x - x.mean(0), y - y.mean(0)
    nuclear = np.linalg.svd(x_c.T @ y_c, compute_uv=False).sum()
    expected = np.arccos(nuclear / np.linalg.norm(x_c) / np.linalg.norm(y_c))
    assert procrustes(x, y) == pytest.approx(expected, rel=1e-9)
    assert procrustes(x, x) == pytest.approx(0, abs=1e-6)


def test_orthogonal_responses_are_at_a_right_angle() -> None:
    x = np.array([[1.0], [-1], [1], [-1]])
    y = np.array([[1.0], [1], [-1], [-1]])
    assert procrustes(x, y) == pytest.approx(np.pi / 2)


CONSTANT = [np.zeros((9, 4)), np.full((9, 4), 0.1), np.full((9, 1), 1e9)]


@pytest.mark.parametrize("measure", [rsa, procrustes])
@pytest.mark.parametrize("constant", CONSTANT)
def test_a_constant_layer_gives_nan_and_never_a_number(measure, constant: np.ndarray) -> None:
    assert np.isnan(measure(gaussians(9, 4), constant))
    assert np.isnan(measure(constant, constant))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("constant", CONSTANT)
def test_cka_of_a_constant_layer_is_zero_and_never_nan(
    constant: np.ndarray, debiased: bool
) -> None:
    assert cka(gaussians(9, 4), constant, debiased=debiased) == 0
    assert cka(constant, constant, debiased=debiased) == 0


@pytest.mark.parametrize("analysis", [RSA(), CKA(), Procrustes()])
def test_analyses_note_what_they_cannot_compare(analysis) -> None:
    assert isinstance(analysis, Analysis)
    x = gaussians(9, 4)
    good = analysis({"activations": x, "reference": x})
    assert np.isfinite(good.scalars[analysis.scalar])
    assert good.notes == ()
    silent = analysis({"activations": np.zeros((9, 4)), "reference": x})
    np.testing.assert_equal(silent.scalars[analysis.scalar], analysis.nothing)
    assert silent.notes[0].startswith("activations do not differ")


def test_one_lone_responder_has_no_similarity_and_a_note() -> None:
    lone = np.zeros((6, 3))
    lone[0] = 1
    result = CKA()({"activations": lone, "reference": gaussians(6, 3)})
    assert result.scalars["cka"] == 0
    assert "too few samples differ" in result.notes[0]


@settings(max_examples=50, deadline=None)
@given(n=st.integers(4, 12), p=st.integers(1, 20), q=st.integers(1, 20), seed=st.integers(0, 99))
def test_measures_stay_in_their_range(n: int, p: int, q: int, seed: int) -> None:
    x, y = gaussians(n, p, seed=seed), gaussians(n, q, seed=seed + 100)
    assert -1 - 1e-9 <= cka(x, y) <= 1 + 1e-9
    assert 0 <= cka(x, y, debiased=False) <= 1 + 1e-9
    assert cka(x, y) == pytest.approx(cka(y, x))
    assert 0 <= procrustes(x, y) <= np.pi / 2 + 1e-9


def test_the_similarity_matrix_has_layers_of_one_as_rows() -> None:
    layers = {"a": gaussians(10, 3), "b": gaussians(10, 4, seed=1)}
    own = similarity_matrix(layers)
    np.testing.assert_allclose(np.diag(own), 1)
    np.testing.assert_allclose(own, own.T)
    assert similarity_matrix(layers, {"c": gaussians(10, 2)}).shape == (2, 1)


def test_inputs_are_not_changed() -> None:
    x, y = gaussians(8, 3), gaussians(8, 3, seed=1)
    before = x.copy(), y.copy()
    for measure in MEASURES:
        measure(x, y)
    rdm(x)
    np.testing.assert_array_equal((x, y), before)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="same samples, got 8 and 9"):
        cka(gaussians(8, 2), gaussians(9, 2))
    with pytest.raises(DataError, match="at least 4 samples"):
        cka(gaussians(3, 2), gaussians(3, 2))
    with pytest.raises(DataError, match="1 responses are not finite"):
        rdm(np.array([[1.0, np.inf], [1.0, 2.0]]))
    with pytest.raises(DataError, match="needs 'reference', the data has activations"):
        CKA()({"activations": gaussians(4, 2)})
    with pytest.raises(ValueError, match="dissimilarity"):
        rdm(gaussians(4, 2), dissimilarity="cosine")
    with pytest.raises(ValueError, match="method"):
        rsa(gaussians(4, 2), gaussians(4, 2), method="kendall")


def test_an_rdm_draws_itself() -> None:
    assert RDM()({"activations": gaussians(4, 3)}).plot().images
