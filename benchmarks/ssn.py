"""Two-layer V1 model: one training step and one forward pass, against Euler steps and Optimistix.

    uv run --project benchmarks python benchmarks/ssn.py

A batch of 100 pairs of noisy gratings, float32, one thread. "Euler" is the published way, written
plainly: 300 steps of 1 ms per layer in a `lax.scan`, and backpropagation through them; its loss has
the published convergence term where ours has the penalty on slow modes that replaces it. Errors are
the largest `|phi(W r + h) - r|` of any cell, in hertz, of what each side calls the steady state,
computed in float64: rates in float32 are at the level of rounding, as its computation would be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bioviz_ssn as ssn
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from bioviz_ssn.losses import LossWeights, discrimination_loss
from bioviz_ssn.models.two_layer import TwoLayerFixedPoint
from bioviz_ssn.steady_state import System, fixed_point
from bioviz_ssn.stimuli import grating
from jax import Array

sys.path.insert(0, str(Path(__file__).parent))
import harness

PAIRS = 100
STEPS, STEP = 300, 1.0
MEBIBYTE = 2**20
Rates = tuple[Array, Array]


def batch(model: ssn.TwoLayerSSN, seed: int = 0) -> dict[str, Array]:
    """Pairs of gratings around 55 degrees, 4 degrees apart, with pixel noise."""
    rng = np.random.default_rng(seed)
    offset = rng.choice([-4.0, 4.0], PAIRS)
    reference = 55 + rng.uniform(-5, 5, PAIRS)
    images = grating(np.stack([reference, reference + offset], 1))
    images += rng.normal(0, 100, images.shape)
    noise = rng.normal(0, 0.2, (PAIRS, 2, model.n_features))
    named = {"images": images, "labels": offset < 0, "noise": noise}
    return {name: jnp.asarray(value, jnp.float32) for name, value in named.items()}


def settle(system: System) -> tuple[Array, Array]:
    """Rates after 300 Euler steps, and the published measure of how much they still move."""

    # As anybody would write it, one contraction over the sources.
    product = "ab,...b->...a" if system.axis is None else "abx,...bx->...ax"

    def advance(r: Array, _: None) -> tuple[Array, Array]:
        u = jnp.einsum(product, system.weights, r) + system.drive
        change = STEP / system.times() * (system.law.rate(u) - r)
        to = r + change
        return to, jnp.max(jnp.abs(change) / jnp.maximum(1, jnp.abs(to)))

    r, moves = jax.lax.scan(advance, jnp.zeros_like(system.drive), length=STEPS)
    return r, jnp.square(jax.nn.relu(jnp.mean(moves[STEPS // 2 :]) / 1e-4 - 1))


class EulerModel:
    """The model with its fixed points replaced by Euler steps."""

    def __init__(self, model: ssn.TwoLayerSSN) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def settle(self, params: ssn.SSNParams, drive: Array) -> tuple[Rates, Array]:
        """Both layers' rates, and the convergence term."""
        model = self.model
        middle, slow = settle(model.middle.system(params.middle, drive))
        output = model.middle.output(middle)
        superficial, slower = settle(model.superficial.system(params, output))
        return (middle, superficial), (slow + slower) / 2

    def fixed_point_from_drive(
        self, params: ssn.SSNParams, drive: Array, **_: Any
    ) -> TwoLayerFixedPoint:
        """As the model's, for the loss; the convergence term is left at `self.dx`."""
        (middle, superficial), self.dx = self.settle(params, drive)
        sure = jnp.ones_like(middle[..., 0, :], bool), jnp.ones_like(superficial[..., 0], bool)
        return TwoLayerFixedPoint(
            *(
                ssn.FixedPoint(r, r, all_, all_, ~all_)
                for r, all_ in zip((middle, superficial), sure, strict=True)
            )
        )


def our_step(model: ssn.TwoLayerSSN, given: dict[str, Array]) -> Any:
    """Loss and gradient, from images where the batch has them."""

    def loss(params: ssn.SSNParams) -> Array:
        return discrimination_loss(
            model, params, drives(model, given), given["labels"], given["noise"]
        )[0]

    return jax.value_and_grad(loss)(model.params)


def euler_step(model: ssn.TwoLayerSSN, given: dict[str, Array]) -> Any:
    """The same through 300 Euler steps per layer."""

    def loss(params: ssn.SSNParams) -> Array:
        plain: Any = EulerModel(model)
        total, _ = discrimination_loss(
            plain, params, drives(model, given), given["labels"], given["noise"],
            weights=LossWeights(stability=0),
        )  # fmt: skip
        return total + plain.dx

    return jax.value_and_grad(loss)(model.params)


def drives(model: ssn.TwoLayerSSN, given: dict[str, Array]) -> Array:
    """What the middle layer gets."""
    return given["drive"] if "drive" in given else model.drive(given["images"])


def our_rates(model: ssn.TwoLayerSSN, given: dict[str, Array]) -> Rates:
    """Both layers' steady rates."""
    fp = model.fixed_point_from_drive(model.params, drives(model, given))
    return fp.middle.r, fp.superficial.r


def euler_rates(model: ssn.TwoLayerSSN, given: dict[str, Array]) -> Rates:
    """Both layers' rates after 300 Euler steps."""
    return EulerModel(model).settle(model.params, drives(model, given))[0]


def residual(model: ssn.TwoLayerSSN, drive: Array, rates: Rates) -> float:
    """The largest residual of both layers, in hertz, without roundings of its own."""
    output = model.middle.output(rates[0])
    systems = (model.middle.system(model.params.middle, drive),
               model.superficial.system(model.params, output))  # fmt: skip
    return max(map(exact_residual, systems, rates))


def exact_residual(system: System, rates: Array) -> float:
    """`max |phi(W r + h) - r|` of one layer, in float64 whatever the rates are in."""
    w, h, r = (np.asarray(x, float) for x in (system.weights, system.drive, rates))
    u = h + (r @ w.T if system.axis is None else np.einsum("abx,...bx->...ax", w, r))
    return float(np.abs(system.law.k * np.maximum(u, 0) ** system.law.n - r).max())


def compiled(function: Callable[..., Any], *args: Any) -> tuple[Callable[[], Any], float]:
    """The compiled call, which waits for its result, and its temporary memory in MiB."""
    program = jax.jit(function).lower(*args).compile()
    memory = program.memory_analysis().temp_size_in_bytes / MEBIBYTE
    return lambda: jax.block_until_ready(program(*args)), memory


def against_euler(model: ssn.TwoLayerSSN) -> tuple[list[harness.Row], list[str]]:
    """A row for each case, and what the steps' memory is."""
    images = batch(model)
    drive = jax.jit(lambda model, x: model.drive(x))(model, images["images"])
    given = {**images, "drive": drive}
    cases = (
        ("step from images", our_step, euler_step, images),
        ("step from drives", our_step, euler_step, given),
        ("forward from images", our_rates, euler_rates, images),
    )
    errors = tuple(
        residual(model, drive, jax.jit(rates)(model, given)) for rates in (our_rates, euler_rates)
    )
    rows, notes = [], []
    for case, ours, euler, inputs in cases:
        mine, small = compiled(ours, model, inputs)
        theirs, large = compiled(euler, model, inputs)
        # Releasing the memory of backpropagation would land on the next timing.
        rows.append(
            harness.compare(
                case,
                mine,
                theirs,
                peer_name="300 Euler steps",
                errors=(errors[0], errors[1]),
                oracle="residual (Hz)",
                rounds=7 if "step" in case else 31,
                warm_up=1,
                after_peer=mine,
            )
        )
        if "step" in case:
            note = f"{case}: {small:.1f} MiB of temporary memory against {large:.0f}, "
            notes.append(note + f"{large / small:.0f} times less.")
        print(case, f"{rows[-1].ratio:.1f}", flush=True)
    return rows, notes


def against_optimistix(model: ssn.TwoLayerSSN) -> harness.Row:
    """Value and gradient of the superficial layer alone, for 200 inputs."""
    given = batch(model)
    middle, _ = jax.jit(our_rates)(model, given)
    output = model.middle.output(middle).reshape(2 * PAIRS, -1)

    def ours(params: ssn.SSNParams, x: Array) -> Array:
        return fixed_point(model.superficial, params, x).r

    def newton(params: ssn.SSNParams, x: Array) -> Array:
        system = model.superficial.system(params, x)
        # Tighter tolerances than float32 can meet would let it run to its step limit.
        solver = optx.Newton(rtol=1e-4, atol=1e-4)

        def settle(h: Array, guess: Array) -> Array:
            def flow(r: Array, w: Array) -> Array:
                return system.law.rate(w @ r + h) - r

            return optx.root_find(flow, solver, guess, system.weights, throw=False).value

        # From rest Newton runs away; both start where 60 ms of Euler steps end.
        short = replace(system, drive=jax.lax.stop_gradient(system.drive))
        short = replace(short, weights=jax.lax.stop_gradient(system.weights))
        guess = jax.lax.fori_loop(
            0, 60, lambda _, r: r + (short.law.rate(short.inputs(r)) - r) / short.times(),
            jnp.zeros_like(system.drive),
        )  # fmt: skip
        return jax.vmap(settle)(system.drive, guess)

    def step(rates: Callable[..., Array]) -> Callable[..., Any]:
        return lambda params, x: jax.value_and_grad(lambda p: jnp.mean(rates(p, x) ** 2))(params)

    system = model.superficial.system(model.params, output)
    errors = [exact_residual(system, jax.jit(f)(model.params, output)) for f in (ours, newton)]
    mine, theirs = (compiled(step(f), model.params, output)[0] for f in (ours, newton))
    return harness.compare(
        "superficial layer, value and gradient, 200 inputs", mine, theirs,
        peer_name="Optimistix Newton, implicit adjoint", errors=(errors[0], errors[1]),
        oracle="residual (Hz)", rounds=5, warm_up=1,
    )  # fmt: skip


def in_double(model: ssn.TwoLayerSSN) -> str:
    """The residual in float64, as a sentence."""
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64) if x.dtype == jnp.float32 else x, model
        )
        given = {"images": batch(model)["images"].astype(jnp.float64)}
        drive = drives(wide, given)
        left = residual(wide, drive, jax.jit(our_rates)(wide, {"drive": drive}))
    return f"In float64 the same stimuli are left with a residual of {left:.1e} Hz."


def main() -> None:
    """Every case, on one core."""
    # XLA sizes its pools by this when it starts.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    model = ssn.TwoLayerSSN.default(0)
    rows, notes = against_euler(model)
    rows.append(against_optimistix(model))
    notes.append(in_double(model))
    packages = ("bioviz-ssn", "jax", "optimistix")
    print(harness.write("ssn-cpu", rows, packages=packages, threads=1, device="cpu", notes=notes))


if __name__ == "__main__":
    main()
