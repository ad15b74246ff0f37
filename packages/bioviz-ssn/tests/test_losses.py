from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.linearization import slowest_rates, slowness
from bioviz_ssn.losses import LossWeights, discrimination_loss, slow_modes
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.parameters import LayerParams, SSNParams

Reference = dict[str, np.ndarray]
PUBLISHED = {
    "general": LossWeights(task=0.5, r_mean=0.01, stability=0.0, dx=0.0),
    "fine": LossWeights(task=1.0, r_mean=0.25, stability=0.0, dx=0.0),
}


def published_params(ref: Reference, task: str) -> SSNParams:
    return SSNParams(
        LayerParams.create(ref["J_m"], ref["c"], ref["kappa_Jmid"]),
        LayerParams.create(ref["J_s"], ref["c"], ref["kappa_Jsup"]),
        jnp.log(jnp.asarray(ref["f"])),
        jnp.asarray(ref["kappa_f"]),
        jnp.asarray(ref[f"w_sig_{task}"]),
        jnp.asarray(ref["b_sig"]),
    )


def published(ref: Reference, task: str) -> tuple[TwoLayerSSN, tuple[jax.Array, ...]]:
    """The published model, and the drive, labels and noise of one of its batches."""
    side = 5 if task == "fine" else 9
    model = TwoLayerSSN.create(
        published_params(ref, task), ref["orientation_map"], readout_side=side, legacy=True
    )
    drive = np.stack([ref[f"{task}_drive_ref"], ref[f"{task}_drive_target"]], 1)
    noise = np.stack([ref[f"{task}_noise_ref"], ref[f"{task}_noise_target"]], 1)
    trials = (drive.reshape(8, 2, 4, 2, 81), ref[f"{task}_label"], noise)
    return model, tuple(jnp.asarray(x, model.params.readout.dtype) for x in trials)


def published_gradient(ref: Reference, task: str) -> SSNParams:
    """The oracle's gradients as `SSNParams`; those of kappas are zero where it has none."""

    def grad(name: str) -> np.ndarray:
        return ref[f"{task}_grad_{name}"]

    def layer(which: str, kappa: np.ndarray) -> LayerParams:
        log_j = np.array([[grad(f"log_J_{a}{b}_{which}") for b in "EI"] for a in "EI"])
        return LayerParams(log_j, np.array([grad(f"c{a}_{which}") for a in "EI"]), kappa)

    has = task == "fine"
    return SSNParams(
        layer("m", grad("kappa_Jmid") if has else np.zeros((2, 2))),
        layer("s", grad("kappa_Jsup") if has else np.zeros((2, 2, 2))),
        np.array([grad("log_f_E"), grad("log_f_I")]),
        grad("kappa_f") if has else np.zeros(2),
        grad("w_sig"),
        grad("b_sig"),
    )


@pytest.mark.parametrize("task", ["general", "fine"])
@pytest.mark.parametrize("is_double", [True, False])
def test_losses_and_gradients_are_the_published_ones(
    reference: Reference, task: str, is_double: bool
) -> None:
    with jax.enable_x64(is_double):
        model, (drive, labels, noise) = published(reference, task)

        @jax.jit
        def both(params, *trials):  # type: ignore[no-untyped-def]
            def loss(params: SSNParams):  # type: ignore[no-untyped-def]
                return discrimination_loss(model, params, *trials, weights=PUBLISHED[task])

            return jax.value_and_grad(loss, has_aux=True)(params)

        (total, seen), slope = both(model.params, drive, labels, noise)
    rtol = 1e-10 if is_double else 1e-4
    np.testing.assert_allclose(total, reference[f"{task}_loss"].item(), rtol=rtol)
    names = ["task", "dx", "r_max", "r_mean", "w", "b"]
    for name, term in zip(names, reference[f"{task}_loss_terms"], strict=False):
        np.testing.assert_allclose(seen.terms.get(name, 0), term, rtol=rtol, atol=1e-12)
    assert float(seen.accuracy) == pytest.approx(reference[f"{task}_acc"].item())
    assert int(seen.n_unconverged) == 0
    rtol = 1e-6 if is_double else 1e-3
    expected = published_gradient(reference, task)
    if task == "general":
        expected = jax.tree.map(lambda e: e, expected)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(slope), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        if task == "general" and "kappa" in name:
            continue
        atol = rtol * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=name)


def test_one_slow_pair_counts_for_its_whole_stimulus(x64: None) -> None:
    model = TwoLayerSSN.default(0, grid=GridSpec(points=3, size=1.6), readout_side=3)
    params = jax.tree.map(lambda x: x.astype(float), model.params)
    params = replace(params, middle=LayerParams.create(((0.85, -0.02), (0.5, -0.02))))
    drive = np.full((1, 2, 4, 2, 9), 1.0)
    drive[0, 1, 2, :, 4] = 2.2  # one pair of one stimulus, near the end of its steady states
    fp = model.fixed_point_from_drive(params, jnp.asarray(drive))
    assert bool(fp.middle.converged.all())
    rates = slowest_rates(model.middle, params.middle, jnp.asarray(drive), fp.middle)
    middle, _ = slow_modes(model, params, jnp.asarray(drive), fp)
    np.testing.assert_array_equal(middle, np.asarray(rates).min((-2, -1)))
    assert middle[0, 1] < rates[0, 1, 2, 3]
    assert middle[0, 0] > middle[0, 1]
    limit = float(middle[0, 0])
    one = float(1 - middle[0, 1] / limit) ** 2
    assert float(slowness(middle, slowest=limit)) == pytest.approx(one / 2)
