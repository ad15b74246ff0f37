from __future__ import annotations

import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.geometry import GridSpec, orientation_map, ring_distance


def test_the_grid_is_the_published_one(reference: dict[str, np.ndarray]) -> None:
    x, y = GridSpec().coordinates
    np.testing.assert_allclose(x, reference["x_map"], atol=1e-6)
    np.testing.assert_allclose(y, reference["y_map"], atol=1e-6)


def test_distances_are_symmetric_and_the_centre_is_the_middle() -> None:
    grid = GridSpec(points=5, size=4.0)
    assert grid.distances[0, 4] == pytest.approx(4)
    np.testing.assert_array_equal(grid.distances, grid.distances.T)
    assert grid.central(3).tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert GridSpec(points=1).distances.tolist() == [[0]]
    with pytest.raises(ParameterError, match="central"):
        grid.central(4)


def test_ring_distance_is_a_chord(x64: None) -> None:
    d = np.array([0.0, 30, 90, 180, -90])
    expected = 180 / (2 * np.pi) * np.sqrt(2 * (1 - np.cos(2 * np.pi * d / 180)))
    np.testing.assert_allclose(ring_distance(d), expected, atol=1e-6)
    assert float(ring_distance(90.0)) == pytest.approx(180 / np.pi)


def test_maps_are_pure_in_their_generator_and_cover_the_centre() -> None:
    first, again = (orientation_map(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert ((first >= 0) & (first < 180)).all()
    counts, _ = np.histogram(first[GridSpec().central(5)], bins=10, range=(0, 180))
    assert counts.min() > 0


def test_a_map_that_cannot_be_uniform_warns() -> None:
    with pytest.warns(UserWarning, match="uniform centre"):
        orientation_map(np.random.default_rng(0), waves=1, tries=2)
