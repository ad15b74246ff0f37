"""What happens at the edges: each row of the table in the specification, on the V1 layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.losses import discrimination_loss
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.models.v1_layers import MiddleLayer, SuperficialLayer
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.steady_state import fixed_point

SMALL = GridSpec(points=5, size=3.2)
BAD = 5
ROWS = 16


@pytest.fixture(scope="module")
def model() -> TwoLayerSSN:
    return replace(TwoLayerSSN.default(0, grid=SMALL, readout_side=3), bank=None)


@pytest.fixture(scope="module")
def trials() -> tuple[jax.Array, jax.Array, jax.Array]:
    """Drives, labels and noise of two trials."""
    rng = np.random.default_rng(0)
    drive = rng.uniform(-15, 15, (2, 2, 4, 2, 25)) * np.array([1, 0.6])[:, None]
    arrays = (drive, np.array([1.0, 0.0]), rng.normal(0, 0.2, (2, 2, 9)))
    return tuple(jnp.asarray(x, jnp.float32) for x in arrays)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def learn(model: TwoLayerSSN) -> Any:
    """Loss, evaluation and gradient, compiled once."""

    def loss(params: SSNParams, trials: Any) -> Any:
        return discrimination_loss(model, params, *trials)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def stacked(params: SSNParams, rows: int = ROWS) -> SSNParams:
    """`rows` sets of parameters that differ a little."""
    scale = jnp.linspace(-0.02, 0.02, rows)
    return jax.tree.map(lambda x: x + scale.reshape(-1, *[1] * x.ndim), params)


def spoiled(params: SSNParams, fault: str) -> SSNParams:
    """The stack with one bad row."""
    value = jnp.nan if "nan" in fault else 3.0
    if "middle" in fault:
        bad = replace(params.middle, log_j=params.middle.log_j.at[BAD, 0, 0].set(value))
        return replace(params, middle=bad)
    bad = replace(params.superficial, log_j=params.superficial.log_j.at[BAD, 0, 0].set(value))
    return replace(params, superficial=bad)


@pytest.fixture(scope="module")
def learn_rows(model: TwoLayerSSN) -> Any:
    """`learn` for 16 rows of parameters at once, with the states of both layers."""

    def one(params: SSNParams, trials: Any) -> Any:
        fp = model.fixed_point_from_drive(params, trials[0])
        loss = jax.value_and_grad(lambda p: discrimination_loss(model, p, *trials), has_aux=True)
        return (*loss(params), fp)

    return jax.jit(jax.vmap(one, in_axes=(0, None)))


@pytest.mark.parametrize("fault", ["middle", "middle nan", "superficial", "superficial nan"])
def test_one_bad_row_of_parameters_leaves_the_other_fifteen_unchanged(
    learn_rows: Any, model: TwoLayerSSN, trials: Any, fault: str
) -> None:
    rows = stacked(model.params)
    (whole, evaluation), slope, fp = learn_rows(rows, trials)
    (spoiled_loss, seen), spoiled_slope, spoiled_fp = learn_rows(spoiled(rows, fault), trials)
    keep = np.arange(ROWS) != BAD
    assert not evaluation.n_unconverged.any()
    assert (np.asarray(seen.n_unconverged) > 0).tolist() == (~keep).tolist()
    layer = spoiled_fp.middle if "middle" in fault else spoiled_fp.superficial
    assert bool(layer.diverged[BAD].all())
    assert not bool(layer.converged[BAD].any())
    for before, after in zip(
        jax.tree.leaves((whole, slope, fp.middle.r, fp.superficial.r)),
        jax.tree.leaves(
            (spoiled_loss, spoiled_slope, spoiled_fp.middle.r, spoiled_fp.superficial.r)
        ),
        strict=True,
    ):
        assert bool(jnp.isfinite(after[keep]).all())
        scale = 1 + np.abs(np.asarray(before)[keep]).max()
        np.testing.assert_allclose(after[keep], before[keep], atol=1e-4 * scale, rtol=1e-4)
    for r in (spoiled_fp.middle.r, spoiled_fp.superficial.r):
        assert bool(jnp.isfinite(r).all())


@pytest.mark.parametrize("fault", ["middle", "superficial"])
def test_runaway_excitation_is_counted_and_gives_no_nan(
    learn: Any, model: TwoLayerSSN, trials: Any, fault: str
) -> None:
    (loss, seen), slope = learn(
        jax.tree.map(lambda x: x[BAD], spoiled(stacked(model.params), fault)), trials
    )
    assert int(seen.n_unconverged) > 0
    assert bool(jnp.isfinite(loss))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slope))
    own = slope.middle if fault == "middle" else slope.superficial
    assert not np.asarray(own.log_j).any() or fault == "middle"


@pytest.mark.parametrize("layer", ["middle", "superficial"])
def test_a_solver_that_may_not_go_on_says_so(model: TwoLayerSSN, trials: Any, layer: str) -> None:
    fp = getattr(
        model.fixed_point_from_drive(model.params, trials[0], tol=1e-5, max_steps=400), layer
    )
    assert bool(fp.converged.all())
    short = model.fixed_point_from_drive(model.params, trials[0], solver="euler", max_steps=5)
    cut = getattr(short, layer)
    assert not bool(cut.converged.any())
    assert float(cut.residual.min()) > 0.1
    assert int(cut.n_unconverged) == cut.converged.size


def test_nan_is_named_outside_jit_and_flagged_inside(
    learn: Any, model: TwoLayerSSN, trials: Any
) -> None:
    drive, labels, noise = trials
    hole = drive.at[0, 1, 2, 0, 3].set(jnp.nan)
    with pytest.raises(ValueError, match=r"^drive holds NaN"):
        model.fixed_point_from_drive(model.params, hole)
    (_, seen), slope = learn(model.params, (hole, labels, noise))
    # The pair, and the superficial network that gets its rate.
    assert int(seen.n_unconverged) == 1
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("n", [1.0, 1.5, 2.0])
def test_negative_drive_silences_a_cell_with_a_gradient_of_zero(n: float) -> None:
    network = Network.create([[0.5, -0.5], [0.5, -0.5]], n=n)
    drive = jnp.array([[-3.0, -1.0], [0.0, 0.0]])
    fp = fixed_point(network, network.params, drive)
    assert bool(fp.converged.all())
    assert not fp.r.any()
    slope = jax.grad(lambda d: fixed_point(network, network.params, d).r.sum())(drive)
    assert not slope.any()


def test_silent_layers_are_at_rest_and_converged(model: TwoLayerSSN) -> None:
    quiet = replace(model.params.middle, baseline=jnp.array([-5.0, -5.0]))
    params = replace(model.params, middle=quiet)
    fp = model.fixed_point_from_drive(params, jnp.full((1, 4, 2, 25), -3.0), throw=True)
    assert not fp.middle.r.any()
    assert not fp.superficial.r.any()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LayerParams.create([[4.4, 1.66], [5.0, -1.24]]), "J_EI and J_II negative"),
        (lambda: LayerParams.create(np.ones(3)), r"\(2, 2\)"),
        (lambda: LayerParams.create([[4.4, -1.66], [5.0, -1.24]], (1.0,)), "baseline must be"),
        (lambda: PowerLaw(n=0.9), "n must be at least 1"),
        (lambda: PowerLaw(k=0.0), "k must be positive"),
        (lambda: MiddleLayer.create(np.zeros(4), tau=(20.0, 0.0)), "tau must be positive"),
        (lambda: SuperficialLayer.create(np.zeros(25), SMALL, tau=(-1.0, 1.0)), "tau must be"),
        (lambda: SuperficialLayer.create(np.zeros(24), SMALL), "orientations must be"),
        (lambda: SuperficialLayer.create(np.zeros(25), SMALL, p_local=(0.4,)), "p_local must"),  # type: ignore[arg-type]
    ],
)
def test_a_parameter_without_a_meaning_is_a_value_error_that_names_it(
    make: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert isinstance(caught.value, ParameterError)


def test_layers_with_a_linear_threshold_work(model: TwoLayerSSN, trials: Any) -> None:
    law = PowerLaw(n=1.0)
    linear = replace(
        model,
        middle=replace(model.middle, law=law),
        superficial=replace(model.superficial, law=law),
    )
    fp = linear.fixed_point_from_drive(model.params, trials[0], throw=True)
    system = linear.middle.system(model.params.middle, trials[0])
    expected = law.rate(system.inputs(fp.middle.r))
    np.testing.assert_allclose(fp.middle.r, expected, atol=1e-3)


def test_batches_of_one_and_of_none_are_legal(model: TwoLayerSSN, trials: Any) -> None:
    whole = model.fixed_point_from_drive(model.params, trials[0])
    one = model.fixed_point_from_drive(model.params, trials[0][:1])
    np.testing.assert_allclose(one.superficial.r, whole.superficial.r[:1], rtol=1e-4)
    none = model.fixed_point_from_drive(model.params, trials[0][:0])
    assert none.superficial.r.shape == (0, 2, 50)
    assert none.middle.converged.shape == (0, 2, 4, 25)


def test_a_preference_of_180_degrees_is_one_of_0() -> None:
    turned, plain = (SuperficialLayer.create([o] + [30.0] * 24, SMALL) for o in (180.0, 0.0))
    np.testing.assert_allclose(turned.kernel.reach, plain.kernel.reach, atol=1e-6)
    middle = [MiddleLayer.create([o]).to_trained for o in (180.0, 0.0)]
    np.testing.assert_allclose(*middle, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int32])
def test_images_of_other_types_count_in_that_of_the_parameters(dtype: Any) -> None:
    model = TwoLayerSSN.default(0, grid=GridSpec(points=1))
    rng = np.random.default_rng(0)
    images = rng.integers(300, 500, (1, 2, 129, 129))
    fp = model.fixed_point(model.params, jnp.asarray(images, dtype))
    assert fp.superficial.r.dtype == model.params.bias.dtype
    same = model.fixed_point(model.params, jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(fp.superficial.r, same.superficial.r, rtol=1e-3)
