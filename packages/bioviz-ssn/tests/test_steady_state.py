from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.bridge.jax import quick_compilation
from bioviz_ssn.errors import FixedPointError, ParameterError
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.two_population import TwoPopulationSSN
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.solvers import chord
from bioviz_ssn.steady_state import FixedPoint, System, fixed_point
from hypothesis import given, settings
from hypothesis import strategies as st

K = 0.04
LARGE = 60  # more cells than get an LU of their own


def recurrent(cells: int = LARGE, seed: int = 0, strength: float = 1.0) -> Network:
    """E and I cells with random weights, in the range where inhibition stabilizes."""
    rng = np.random.default_rng(seed)
    half = cells // 2
    mean = np.kron([[1.25, -0.65], [1.2, -0.5]], np.full((half, half), 1 / half))
    tau = np.repeat([20.0, 10.0], half)
    return Network.create(strength * mean * rng.uniform(0.5, 1.5, mean.shape), tau=tau)


def solve(network: Network | TwoPopulationSSN, drive: jax.Array, **options: Any) -> FixedPoint:
    return network.fixed_point(network.params, drive, **options)


def residual(network: Network, drive: jax.Array, r: jax.Array) -> jax.Array:
    return jnp.abs(network.law.rate(r @ network.params.T + drive) - r).max()


@pytest.mark.parametrize("cells", [3, LARGE])
def test_without_weights_rates_are_phi_of_the_drive(cells: int, x64: None) -> None:
    drive = jnp.linspace(-2, 20, 5 * cells).reshape(5, cells)
    fp = solve(Network.create(np.zeros((cells, cells))), drive)
    np.testing.assert_allclose(fp.r, K * np.maximum(drive, 0) ** 2, rtol=1e-14)
    assert bool(fp.converged.all())


@given(w=st.floats(0.05, 3), h=st.floats(0.1, 20))
@settings(max_examples=40, deadline=None)
def test_one_cell_ends_at_the_stable_root_or_runs_away(w: float, h: float) -> None:
    with jax.enable_x64(True):
        fp = solve(Network.create([[w]]), jnp.array([[h]]))
        if 4 * K * w * h < 0.999:
            root = (1 - 2 * K * w * h - np.sqrt(1 - 4 * K * w * h)) / (2 * K * w**2)
            np.testing.assert_allclose(fp.r[0, 0], root, rtol=1e-7)
        elif 4 * K * w * h > 1.01:
            assert not bool(fp.converged[0])
            assert bool(jnp.isfinite(fp.r).all())
            if 4 * K * w * h > 1.2:
                assert bool(fp.diverged[0])


def test_a_small_drive_is_answered_by_phi_alone_up_to_first_order(x64: None) -> None:
    errors = []
    for h in (0.1, 0.05):
        drive = jnp.full((5, LARGE), h)
        rates = recurrent()(drive)
        errors.append(float(jnp.max(jnp.abs(rates / (K * h**2) - 1))))
    assert errors[0] < 0.02
    assert errors[1] / errors[0] == pytest.approx(0.5, rel=0.1)


def test_two_cells_give_the_published_rates(x64: None) -> None:
    drive = jnp.repeat(jnp.array([2.0, 5, 10, 20, 40])[:, None], 2, axis=1)
    fp = solve(TwoPopulationSSN.create(), drive, with_stability=True)
    published = [
        (0.177119, 0.180191),
        (1.322784, 1.389019),
        (7.817065, 8.910498),
        (39.481305, 58.360855),
        (65.360110, 125.042058),
    ]
    np.testing.assert_allclose(fp.r, published, atol=5e-7)
    assert fp.stable is not None
    assert bool(fp.stable.all())


@pytest.mark.parametrize("solver", ["chord", "newton", "euler"])
def test_every_solver_finds_the_same_state(solver: str, x64: None) -> None:
    network = recurrent()
    drive = jnp.asarray(np.random.default_rng(1).uniform(2, 20, (5, LARGE)))
    fp = network.fixed_point(network.params, drive, solver=solver, tol=1e-12)  # type: ignore[arg-type]
    assert bool(fp.converged.all())
    np.testing.assert_allclose(fp.r, network(drive), atol=1e-9)
    assert float(residual(network, drive, fp.r)) < 1e-10


def test_residuals_are_those_of_the_rates_in_both_precisions() -> None:
    drive = np.random.default_rng(1).uniform(2, 20, (5, LARGE))
    for is_double, bound in ((True, 1e-10), (False, 3e-4)):
        with jax.enable_x64(is_double):
            network = recurrent()
            fp = network.fixed_point(network.params, jnp.asarray(drive))
            assert fp.r.dtype == network.params.dtype
            own = residual(network, jnp.asarray(drive, fp.r.dtype), fp.r)
            assert float(own) <= bound
            assert float(fp.residual.max()) <= bound


def test_newton_accepts_a_state_that_is_well_within_its_bound_only(x64: None) -> None:
    # Where no step lowers the residual any more, it may be within the bound by chance.
    network = recurrent(strength=1.2)
    drive = jnp.asarray(np.random.default_rng(0).uniform(5, 15, (6, LARGE)))
    start = solve(network, drive, tol=1e-6).r
    gain = network.law.gain(start @ network.params.T + drive).mean(0)
    dressed, _ = chord.dress(network.params, gain)
    everyone = jnp.ones(len(drive), bool)

    def newton(r: jax.Array, tol: float) -> tuple[jax.Array, ...]:
        arguments = (network.params, drive, r, dressed, gain, network.law)
        return chord._newton(*arguments, tol=tol, active=everyone)

    r = start
    for _ in range(5):
        r, _, _ = newton(r, 0.0)
    left = np.asarray(jnp.abs(network.law.rate(r @ network.params.T + drive) - r).max(-1))
    assert (left > 0).all()
    least = float((left / (1 + r.max(-1))).min())
    assert not newton(r, least / 0.9)[2].any()
    most = float((left / (1 + r.max(-1))).max())
    assert newton(r, most / 0.2)[2].all()


def random_pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs over a wide range: one state, several, oscillations and runaway are all there."""
    rng = np.random.default_rng(seed)
    low, high = [[0.2, -3.0], [0.2, -2.0]], [[5.0, -0.05], [6.0, -0.05]]
    weights = rng.uniform(low, high, (count, 2, 2)).transpose(1, 2, 0)
    return weights, rng.uniform(-5, 30, (2, count))


class Pairs:
    """Independent pairs, their weights as parameters."""

    def system(self, params: jax.Array, drive: jax.Array) -> System:
        return System(params, drive, jnp.array([20.0, 10.0]), PowerLaw(), axis=-2)


def integrate(inputs, tau, drive: np.ndarray, steps: int, dt: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Plain Euler steps from rest."""

    def advance(_: int, r: jax.Array) -> jax.Array:
        return jnp.minimum(r + dt / tau * (K * jnp.maximum(inputs(r), 0) ** 2 - r), 1e7)

    run = jax.jit(lambda r: jax.lax.fori_loop(0, steps, advance, r))
    return np.asarray(run(jnp.zeros_like(jnp.asarray(drive))))


@pytest.mark.slow
def test_pairs_end_where_their_dynamics_from_rest_end(x64: None) -> None:
    weights, drive = random_pairs(2000, seed=0)
    fp = fixed_point(Pairs(), jnp.asarray(weights), jnp.asarray(drive))
    system = Pairs().system(jnp.asarray(weights), jnp.asarray(drive))
    last = integrate(system.inputs, jnp.array([[20.0], [10.0]]), drive, 20_000, 0.1)
    left = np.abs(K * np.maximum(system.inputs(jnp.asarray(last)), 0) ** 2 - last).max(0)
    settled = (left < 1e-8 * (1 + last.max(0))) & (last.max(0) < 1e4)
    assert 0.6 < settled.mean() < 0.9
    assert bool(np.asarray(fp.converged)[settled].all())
    np.testing.assert_allclose(np.asarray(fp.r)[:, settled], last[:, settled], atol=1e-4, rtol=1e-4)
    assert bool(jnp.isfinite(fp.r).all())


@pytest.mark.parametrize("cells", [2, LARGE])
def test_of_two_stable_states_the_one_reached_from_rest_is_returned(cells: int, x64: None) -> None:
    # Found by scanning: beyond a threshold E excites itself, until inhibition holds it.
    half = cells // 2
    block = np.kron(BISTABLE, np.eye(half))
    network = Network.create(block, tau=np.repeat([20.0, 10.0], half))
    drive = jnp.asarray(np.repeat(BISTABLE_DRIVE, half))[None]
    low = fixed_point(network, network.params, drive, with_stability=True)
    start = jnp.asarray(np.repeat(BISTABLE_START, half))[None]
    high = fixed_point(network, network.params, drive, r0=start, with_stability=True)
    last = integrate(lambda r: r @ network.params.T + drive, network.tau, drive, 20_000, 0.1)
    np.testing.assert_allclose(low.r, last, atol=1e-6)
    assert low.stable is not None
    assert high.stable is not None
    assert bool(low.stable.all() & high.stable.all() & high.converged.all())
    assert float(high.r.max()) > 3 * float(low.r.max())


BISTABLE = np.array([[2.68, -1.91], [1.76, -0.89]])
BISTABLE_DRIVE = np.array([0.28, -3.25])
BISTABLE_START = np.array([50.0, 30.0])


def loss(network: Network, weights: jax.Array, drive: jax.Array, **options: object) -> jax.Array:
    r = fixed_point(network, weights, drive, **options).r  # type: ignore[arg-type]
    return jnp.sum(jnp.sin(jnp.arange(r.shape[-1])) * r) + jnp.mean(r**2)


@pytest.mark.parametrize("solver", ["chord", "newton", "euler"])
def test_gradients_equal_finite_differences(solver: str, x64: None) -> None:
    network = recurrent()
    rng = np.random.default_rng(2)
    drive = jnp.asarray(rng.uniform(2, 15, (5, LARGE)))
    to_weights, to_drive = rng.normal(size=network.params.shape), rng.normal(size=drive.shape)
    weights = network.params

    def along(t: float) -> jax.Array:
        options = {"solver": solver, "tol": 1e-12}
        moved = weights + t * jnp.asarray(to_weights) / LARGE
        return loss(network, moved, drive + t * jnp.asarray(to_drive), **options)

    slope = jax.grad(along)(0.0)
    measured = (along(1e-5) - along(-1e-5)) / 2e-5
    np.testing.assert_allclose(slope, measured, rtol=1e-6)


def test_gradients_equal_backpropagation_through_euler_steps(x64: None) -> None:
    network = recurrent()
    drive = jnp.asarray(np.random.default_rng(2).uniform(2, 15, (5, LARGE)))

    def unrolled(weights: jax.Array, drive: jax.Array) -> jax.Array:
        def advance(r: jax.Array, _: None) -> tuple[jax.Array, None]:
            rates = network.law.rate(r @ weights.T + drive)
            return r + (rates - r) / network.tau, None

        r, _ = jax.lax.scan(advance, jnp.zeros_like(drive), None, length=2000)
        return jnp.sum(jnp.sin(jnp.arange(LARGE)) * r) + jnp.mean(r**2)

    slow = jax.jit(jax.grad(unrolled, argnums=(0, 1)))(network.params, drive)
    fast = jax.grad(loss, argnums=(1, 2))(network, network.params, drive)
    for one, other in zip(slow, fast, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


def test_memory_of_the_gradient_does_not_grow_with_steps() -> None:
    network = recurrent()
    drive = jnp.ones((50, LARGE))

    def memory(max_steps: int) -> int:
        step = jax.jit(jax.grad(lambda w: loss(network, w, drive, max_steps=max_steps)))
        return step.lower(network.params).compile().memory_analysis().temp_size_in_bytes

    assert memory(10) == memory(1000) < 40 * drive.size * 4


def one_bad_row(cells: int) -> tuple[Network, jax.Array]:
    network = recurrent(cells)
    weights = jnp.broadcast_to(network.params, (16, cells, cells))
    return network, weights * jnp.linspace(0.9, 1.1, 16)[:, None, None]


@pytest.mark.parametrize("bad", [np.nan, 30.0])
@pytest.mark.parametrize("cells", [4, LARGE])
def test_one_bad_row_of_sixteen_leaves_the_others_unchanged(cells: int, bad: float) -> None:
    network, weights = one_bad_row(cells)
    drive = jnp.asarray(np.random.default_rng(3).uniform(1, 4, (5, cells)), jnp.float32)
    spoiled = weights.at[5].set(jnp.abs(weights[5]) * bad)

    @jax.jit
    @jax.vmap
    def both(w: jax.Array) -> tuple[FixedPoint, jax.Array]:
        return fixed_point(network, w, drive), jax.grad(loss, argnums=1)(network, w, drive)

    (good, slope), (fp, other) = both(weights), both(spoiled)
    rest = np.arange(16) != 5
    np.testing.assert_array_equal(np.asarray(good.r)[rest], np.asarray(fp.r)[rest])
    np.testing.assert_array_equal(np.asarray(slope)[rest], np.asarray(other)[rest])
    assert bool(good.converged.all())
    assert not bool(fp.converged[5].any())
    assert bool(fp.diverged[5].all())
    assert bool(jnp.isfinite(fp.r).all() & jnp.isfinite(other).all())
    assert not other[5].any()


def test_a_runaway_mate_changes_results_by_rounding_only(x64: None) -> None:
    network = recurrent()
    # One cell excites itself and nothing inhibits it: 4 k w h < 1 decides.
    weights = network.params.at[0].set(0).at[0, 0].set(1.0)
    drive = np.random.default_rng(1).uniform(2, 5, (5, LARGE))
    alone = fixed_point(network, weights, jnp.asarray(drive))
    drive[3, 0] = 50.0
    mixed = fixed_point(network, weights, jnp.asarray(drive))
    assert mixed.converged.tolist() == [True, True, True, False, True]
    keep = np.arange(5) != 3
    scale = 1 + np.asarray(alone.r).max()
    assert np.abs(np.asarray(mixed.r - alone.r))[keep].max() < 10 * 1e-12 * scale


def test_vmap_and_jit_equal_the_plain_call(x64: None) -> None:
    network = recurrent()
    drive = jnp.asarray(np.random.default_rng(1).uniform(2, 20, (5, LARGE)))
    plain = network(drive)
    bound = 10 * 1e-12 * (1 + float(plain.max()))
    np.testing.assert_allclose(jax.jit(lambda d: network(d))(drive), plain, atol=bound)
    np.testing.assert_allclose(jax.vmap(network)(drive), plain, atol=bound)
    np.testing.assert_allclose(network(drive[2]), plain[2], atol=bound)


@pytest.mark.parametrize("cells", [2, LARGE])
def test_quick_compilation_outside_jit_changes_rounding_only(cells: int, x64: None) -> None:
    network: Any = TwoPopulationSSN.create() if cells == 2 else recurrent()
    drive = jnp.asarray(np.random.default_rng(0).uniform(5, 15, (3, cells)))
    usual = solve(network, drive)
    with quick_compilation():
        quick = solve(network, drive, throw=True)
    np.testing.assert_allclose(quick.r, usual.r, rtol=1e-9)


def test_throw_counts_and_points_to_the_worst() -> None:
    drive = jnp.array([[1.0], [50.0], [1.0]])
    with pytest.raises(FixedPointError, match=r"1 of 3 .* at index \(1,\)") as caught:
        solve(Network.create([[2.0]]), drive, throw=True)
    assert (caught.value.unconverged, caught.value.diverged) == (1, 1)
    with pytest.raises(ParameterError, match="outside jit"):
        jax.jit(lambda d: solve(Network.create([[2.0]]), d, throw=True))(drive)


@pytest.mark.parametrize("cells", [2, LARGE])
def test_a_bad_input_is_named_outside_jit_and_flagged_inside(cells: int) -> None:
    network = recurrent(cells)
    drive = jnp.ones((5, cells)).at[1, 0].set(jnp.nan)
    with pytest.raises(ParameterError, match=r"^drive holds NaN"):
        network.fixed_point(network.params, drive)
    with pytest.raises(ParameterError, match=r"^weights holds NaN"):
        fixed_point(network, network.params * jnp.inf, jnp.ones((5, cells)))
    fp = jax.jit(network.fixed_point)(network.params, drive)
    assert fp.converged.tolist() == [True, False, True, True, True]
    assert fp.diverged.tolist() == [False, True, False, False, False]
    slope = jax.jit(jax.grad(lambda w: jnp.sum(fixed_point(network, w, drive).r)))(network.params)
    assert bool(jnp.isfinite(fp.r).all() & jnp.isfinite(slope).all())


def test_a_cap_on_steps_is_never_silent() -> None:
    fp = solve(recurrent(4), jnp.full((1, 4), 10.0), max_steps=2)
    assert not bool(fp.converged[0])
    assert float(fp.residual[0]) > 1e-3


@pytest.mark.parametrize("cells", [2, LARGE])
def test_silent_cells_and_empty_batches_are_legal(cells: int) -> None:
    network = recurrent(cells)
    silent = jnp.full((5, cells), -3.0)
    fp = network.fixed_point(network.params, silent)
    assert bool(fp.converged.all())
    assert not fp.r.any()
    assert not jax.grad(loss, argnums=1)(network, network.params, silent).any()
    empty = network.fixed_point(network.params, jnp.zeros((0, cells)))
    assert empty.r.shape == (0, cells)
    assert empty.converged.shape == (0,)
    assert not jax.grad(lambda w: fixed_point(network, w, empty.r).r.sum())(network.params).any()


@pytest.mark.parametrize(("n", "cells"), [(1.0, 2), (1.0, LARGE), (1.5, 2), (3.0, 2)])
def test_other_powers_work(n: float, cells: int, x64: None) -> None:
    like = recurrent(cells)
    network = Network.create(like.params, tau=like.tau, n=n)
    drive = jnp.asarray(np.random.default_rng(1).uniform(-1, 2, (5, cells)))
    fp = network.fixed_point(network.params, drive, with_stability=True)
    assert bool(fp.converged.all())
    assert float(residual(network, drive, fp.r)) < 1e-10
    assert bool(jnp.isfinite(jax.grad(loss, argnums=2)(network, like.params, drive)).all())


def test_half_precision_and_integer_input_take_the_dtype_of_the_parameters() -> None:
    network = recurrent(4)
    for dtype in (jnp.float16, jnp.int32):
        fp = network.fixed_point(network.params, jnp.full((2, 4), 3, dtype))
        assert fp.r.dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tol": 0.0}, "tol must be"),
        ({"solver": "magic"}, "solver must be one of"),
        ({"solver": "pairs"}, "does not fit Network"),
        ({"r0": jnp.zeros(3)}, "r0 must have"),
        ({"dt": -1.0}, "dt must be positive"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, object], match: str) -> None:
    network = recurrent(4)
    with pytest.raises(ParameterError, match=match):
        fixed_point(network, network.params, jnp.ones((1, 4)), **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="does not fit weights"):
        network.fixed_point(network.params, jnp.ones((1, 5)))
