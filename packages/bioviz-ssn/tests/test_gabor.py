from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.stimuli import StimulusSpec, grating

Reference = dict[str, np.ndarray]
SMALL = StimulusSpec(half_width=1.0, resolution=10.0, radius=0.6)
GRID = GridSpec(3, 1.6)
PREFERRED = np.array([0.0, 20, 40, 60, 80, 100, 120, 140, 160])


@pytest.fixture(scope="module")
def published(reference: Reference) -> GaborBank:
    with jax.enable_x64(True):
        return GaborBank.create(reference["orientation_map"], reference["g"])


@pytest.fixture(scope="module")
def small() -> GaborBank:
    return GaborBank.create(PREFERRED, (0.3, 0.2), GRID, SMALL)


def test_filters_are_the_published_ones(
    published: GaborBank, reference: Reference, x64: None
) -> None:
    half = published.rows.reshape(2, 1, 81, -1)
    all_rows = np.concatenate([half, -half]) * np.asarray(published.gains)[:, None, None]
    flat = all_rows.reshape(648, -1)  # phase, then type, then point
    chosen = flat[reference["gabor_row_index"]]
    np.testing.assert_allclose(chosen, reference["gabor_rows"], atol=1e-7)
    norms = np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(norms, reference["gabor_row_norm"], rtol=1e-4)


@pytest.mark.parametrize(("wide", "error"), [(True, 1e-12), (False, 1e-6)])
@pytest.mark.parametrize("spec", [SMALL, StimulusSpec(half_width=1.6, frequency=2.5, radius=1.0)])
def test_filters_are_gabors_less_their_mean(wide: bool, error: float, spec: StimulusSpec) -> None:
    with jax.enable_x64(wide):
        bank = GaborBank.create(PREFERRED, (0.3, 0.2), GRID, spec, phases=6)
    x, y = (axis.ravel()[:, None, None] / GRID.magnification for axis in GRID.coordinates)
    dx, dy = spec.line[:, None] - x, spec.line - y
    t = np.deg2rad(PREFERRED)[:, None, None]
    window = np.exp(-(dx**2 + dy**2) / (2 * 0.27**2))
    along = 2 * np.pi * spec.frequency * (dx * np.cos(t) + dy * np.sin(t))
    rows = bank.rows.reshape(3, 9, -1)
    images = np.random.default_rng(0).normal(384, 100, (4, spec.size, spec.size))
    responses = bank.responses(images)
    for phase, found, made in zip(range(3), rows, responses.swapaxes(0, 1), strict=True):
        gabor = (window * np.cos(along + 2 * np.pi * phase / 6)).reshape(9, -1)
        gabor -= gabor.mean(1, keepdims=True)
        amplitude = np.sum(found * gabor) / np.sum(gabor**2)
        largest = amplitude * np.abs(gabor).max()
        np.testing.assert_allclose(found, amplitude * gabor, atol=error * largest)
        exact = images.reshape(4, -1) @ (amplitude * gabor).T
        np.testing.assert_allclose(made, exact, atol=20 * error * np.abs(exact).max())


def test_drives_are_the_published_ones(
    published: GaborBank, reference: Reference, x64: None
) -> None:
    images = grating(jnp.asarray(reference["test_orientations"], jnp.float32))
    drive = published.drive(images)
    assert drive.shape == (8, 4, 2, 81)
    assert drive.dtype == jnp.float64
    # The published filters are float32, and a few pixels are floored to the other side.
    np.testing.assert_allclose(drive.reshape(8, 648), reference["drive_clean"], atol=4e-3)


def test_matched_gratings_drive_a_cell_with_eighty_times_its_gain(
    published: GaborBank, reference: Reference, x64: None
) -> None:
    preferred = reference["orientation_map"]
    middle = 40
    image = grating(float(preferred[middle]))
    drive = published.drive(image)
    np.testing.assert_allclose(drive[0, :, middle], 80 * reference["g"], rtol=0.02)


def test_filtered_pixel_noise_has_the_covariance_of_drive_noise(small: GaborBank) -> None:
    rows, factor = small.rows, np.asarray(small.noise_factor())
    covariance = 1e4 * rows @ rows.T
    np.testing.assert_allclose(factor @ factor, covariance, atol=1e-5 * covariance.max())
    rng = np.random.default_rng(0)
    clean = grating(40.0, SMALL)
    pixels = clean + 100 * rng.standard_normal((4000, *clean.shape))
    by_pixels = np.asarray(small.drive(pixels)).reshape(4000, -1)
    normals = rng.standard_normal((4000, len(factor)))
    table = small.table(step=0.5)
    by_drives = np.asarray(table.drive(np.full(4000, 40.0), normals)).reshape(4000, -1)
    spread = by_pixels.std(0)
    # Five standard errors of a mean, and of an entry of the covariance.
    assert (
        np.abs(by_pixels.mean(0) - by_drives.mean(0)).max() < 5 * spread.max() * (2 / 4000) ** 0.5
    )
    apart = np.cov(by_pixels.T) - np.cov(by_drives.T)
    assert np.abs(apart).max() < 5 * spread.max() ** 2 * 2 / 4000**0.5


def test_table_is_exact_at_its_orientations_and_near_between(
    published: GaborBank, x64: None
) -> None:
    table = published.table()
    known = np.array([15.25, 100.0, 359.75])
    exact = published.drive(grating(known))
    np.testing.assert_allclose(table.drive(known), exact, atol=0.02)
    between = np.random.default_rng(0).uniform(1, 89, 40)
    error = table.drive(between) - published.drive(grating(between))
    error = np.asarray(error) / np.asarray(published.gains)[:, None]
    assert error.std() < 0.025
    assert np.abs(error).max() < 0.2


def test_tables_of_several_seeds_are_vmapped(small: GaborBank) -> None:
    tables = [small.table(step=5.0), small.table(step=5.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tables)
    angles = jnp.array([[10.0, 20.0, 190.0], [30.0, 40.0, 50.0]])
    normals = jnp.ones((2, 3, 18))
    found = jax.vmap(lambda table, a, n: table.drive(a, n))(stacked, angles, normals)
    assert found.shape == (2, 3, 4, 2, 9)
    np.testing.assert_allclose(found[1], tables[1].drive(angles[1], normals[1]), atol=1e-4)
    np.testing.assert_allclose(found[0, 2], tables[0].drive(10.0, normals[0, 0]), atol=1e-4)


def test_quadrature_gratings_need_a_full_turn(small: GaborBank) -> None:
    table = small.table(phase=np.pi / 2, step=5.0)
    assert table.period == 360
    exact = small.drive(grating(np.array([35.0, 215.0]), SMALL, phase=np.pi / 2))
    np.testing.assert_allclose(table.drive(np.array([35.0, 215.0])), exact, atol=1e-3)
    assert np.abs(exact[0] - exact[1]).max() > 1


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.uint16])
def test_images_of_any_type_count_in_the_filters_type(small: GaborBank, dtype: type) -> None:
    image = grating(40.0, SMALL)
    drive = small.drive(image.astype(dtype))
    assert drive.dtype == small.basis.dtype
    np.testing.assert_allclose(drive, small.drive(image), atol=1e-4)


def test_a_grid_of_one_point_works() -> None:
    bank = GaborBank.create([30.0], (0.3, 0.2), GridSpec(1), SMALL)
    assert bank.drive(grating(30.0, SMALL)).shape == (4, 2, 1)
    np.testing.assert_allclose(bank.drive(grating(30.0, SMALL))[0, :, 0], [24, 16], rtol=1e-4)


def test_what_is_no_bank_is_refused(small: GaborBank) -> None:
    with pytest.raises(ParameterError, match="even, got 3"):
        GaborBank.create(PREFERRED, (0.3, 0.2), GRID, SMALL, phases=3)
    with pytest.raises(ParameterError, match="orientations must be"):
        GaborBank.create([10.0], (0.3, 0.2), GRID, SMALL)
    with pytest.raises(ParameterError, match="gains"):
        GaborBank.create(PREFERRED, (0.3, -0.2), GRID, SMALL)
    with pytest.raises(ParameterError, match="images must be"):
        small.drive(np.zeros((5, 7)))
    with pytest.raises(ParameterError, match="step must divide"):
        small.table(step=7.0)
