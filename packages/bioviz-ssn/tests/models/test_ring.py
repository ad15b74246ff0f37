from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.errors import BiovizError
from bioviz_ssn.models.ring import RingSSN

CONTRASTS = np.array([2.0, 5, 10, 20, 40])


def test_gratings_and_plaids_give_the_published_rates(x64: None) -> None:
    ring = RingSSN.create()
    one, other = ring.grating(CONTRASTS, 45.0), ring.grating(CONTRASTS, 135.0)
    excitatory = ring(jnp.concatenate([one, other, one + other]))[:, :180]
    first, second, plaid = np.split(np.asarray(excitatory), 3)
    peaks = [0.188842, 1.663696, 11.737549, 24.042246, 35.126645]
    np.testing.assert_allclose(first.max(-1), peaks, atol=5e-7)
    together = first + second
    weight = (together * plaid).sum(-1) / (together**2).sum(-1)
    np.testing.assert_allclose(weight, [1.211, 1.538, 0.868, 0.695, 0.682], atol=5e-4)


def test_turning_the_grating_turns_the_answer(x64: None) -> None:
    ring = RingSSN.create(points=36)
    rates = ring(ring.grating(20.0, jnp.array([45.0, 55.0])))
    np.testing.assert_allclose(np.roll(rates[0, :36], 2), rates[1, :36], atol=1e-9)


def test_a_ring_is_a_pytree_that_traces_once() -> None:
    ring, traces = RingSSN.create(points=20), []

    @jax.jit
    def peak(model: RingSSN, drive: jax.Array) -> jax.Array:
        traces.append(1)
        return model(drive).max()

    drive = ring.grating(10.0, 0.0)[None]
    stronger = ring.with_state(ring.state_tree() + 0.01)
    assert float(peak(ring, drive)) != float(peak(stronger, drive))
    assert len(traces) == 1


def test_shapes_of_a_state_are_checked() -> None:
    with pytest.raises(BiovizError, match="needs"):
        RingSSN.create(points=4).with_state(np.zeros(3))
    with pytest.raises(BiovizError, match="points and width"):
        RingSSN.create(points=0)
