from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.interfaces import HasObjective, Model
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.models.two_layer import NOISE, TwoLayerSSN, probability

SMALL = GridSpec(points=5, size=3.2)


@pytest.fixture(scope="module")
def model() -> TwoLayerSSN:
    return TwoLayerSSN.default(0, grid=SMALL, readout_side=3)


@pytest.fixture(scope="module")
def images(model: TwoLayerSSN) -> np.ndarray:
    """Three pairs of noisy images."""
    assert model.bank is not None
    size = model.bank.spec.size
    return np.random.default_rng(0).normal(384, 100, (3, 2, size, size)).astype(np.float32)


def test_it_is_a_model_of_core_whose_state_is_its_parameters(
    model: TwoLayerSSN, images: np.ndarray
) -> None:
    assert isinstance(model, Model)
    assert isinstance(model, HasObjective)
    z = model(images)
    assert z.shape == (3,)
    activations = model.activations(images)
    assert {k: v.shape for k, v in activations.items()} == {
        "middle": (3, 2 * 4 * 2 * 25),
        "superficial": (3, 2 * 2 * 25),
    }
    moved = model.with_state(jax.tree.map(lambda x: x + 0.01, model.state_tree()))
    assert not np.allclose(moved(images), z)
    loss = model.objective.loss(z, {"labels": np.array([1, 0, 1])})  # type: ignore[union-attr]
    p = probability(z)
    assert float(loss) == pytest.approx(-float(jnp.log(p[0] * (1 - p[1]) * p[2])) / 3, rel=1e-5)
    with pytest.raises(ParameterError, match="the state has shapes"):
        model.with_state(model.params.middle)


def test_images_and_their_drives_give_the_same_rates(
    model: TwoLayerSSN, images: np.ndarray
) -> None:
    fp = model.fixed_point(model.params, images, throw=True)
    same = model.fixed_point_from_drive(model.params, model.drive(images))
    np.testing.assert_array_equal(fp.superficial.r, same.superficial.r)
    assert fp.middle.r.shape == (3, 2, 4, 2, 25)
    assert int(fp.n_unconverged) == 0
    warm = model.fixed_point(model.params, images, r0=(fp.middle.r, fp.superficial.r))
    np.testing.assert_allclose(warm.superficial.r, fp.superficial.r, rtol=1e-3)


@pytest.mark.parametrize(("mix", "features"), [((1.0, 0.0), 9), ((0.0, 1.0), 9), ((0.5, 0.25), 18)])
def test_the_readout_sees_the_layers_in_their_shares_the_middle_one_first(
    model: TwoLayerSSN, images: np.ndarray, mix: tuple[float, float], features: int
) -> None:
    from dataclasses import replace

    mixed = replace(model, readout_mix=mix)
    assert mixed.n_features == features
    fp = model.fixed_point(model.params, images)
    rates = {
        0: mix[1] * model.middle.output(fp.middle.r)[..., model.readout_points],
        1: mix[0] * fp.superficial.r[..., model.readout_points],
    }
    expected = np.concatenate([rates[k] for k in rates if mix[1 - k]], -1)
    np.testing.assert_allclose(mixed.features(fp), expected, rtol=1e-6)


def test_noise_of_the_readout_grows_as_the_root_of_the_rate(
    model: TwoLayerSSN, images: np.ndarray
) -> None:
    assert pytest.approx(0.2) == NOISE
    fp = model.fixed_point(model.params, images)
    clean = model.features(fp)
    noise = jnp.full_like(clean, 0.3)
    expected = 0.3 * np.sqrt(np.log1p(np.exp(np.asarray(clean, float))))
    np.testing.assert_allclose(model.features(fp, noise) - clean, expected, atol=1e-4)
    z = model.decide(model.params, fp)
    difference = np.asarray(clean[:, 0] - clean[:, 1], float)
    expected = difference @ np.asarray(model.params.readout, float) + float(model.params.bias)
    np.testing.assert_allclose(z, expected, atol=1e-4)


def test_a_model_of_one_point_works_and_settings_without_a_meaning_are_refused() -> None:
    tiny = TwoLayerSSN.default(1, grid=GridSpec(points=1))
    drive = jnp.full((2, 2, 4, 2, 1), 10.0)
    fp = tiny.fixed_point_from_drive(tiny.params, drive, throw=True)
    assert fp.superficial.r.shape == (2, 2, 2)
    assert tiny.decide(tiny.params, fp).shape == (2,)
    with pytest.raises(ParameterError, match="readout_mix"):
        TwoLayerSSN.create(tiny.params, [0.0], grid=GridSpec(points=1), readout_mix=(0.0, 0.0))
    with pytest.raises(ParameterError, match="readout must have 25 weights"):
        TwoLayerSSN.create(tiny.params, np.zeros(81))
    bare = TwoLayerSSN.create(tiny.params, [0.0], grid=GridSpec(points=1), readout_side=1)
    with pytest.raises(ParameterError, match="no filter bank"):
        bare(np.zeros((1, 2, 129, 129)))


def test_a_number_and_its_key_make_the_same_network() -> None:
    grid = GridSpec(points=3, size=1.6)
    by_number, by_key, other = (
        TwoLayerSSN.default(key, grid=grid, readout_side=3) for key in (5, jax.random.key(5), 6)
    )
    np.testing.assert_array_equal(by_number.params.readout, by_key.params.readout)
    np.testing.assert_array_equal(by_number.middle.to_trained, by_key.middle.to_trained)
    assert not np.array_equal(by_number.params.readout, other.params.readout)
