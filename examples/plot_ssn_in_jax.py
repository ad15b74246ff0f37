"""
A cortical layer inside a JAX model
===================================

Digits drive a ring of stabilized supralinear cells through trainable weights; a linear readout of
the steady rates names the digit. Input weights, recurrent weights and readout learn together, by
the implicit gradient of the steady state.
"""

import bioviz_ssn as ssn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

POINTS = 10
digits = load_digits()
split = train_test_split(digits.data / 16, digits.target, test_size=0.3, random_state=0)
train_x, test_x, train_y, test_y = (jnp.asarray(part) for part in split)

# %%
# The layer is a function of its parameters and its input. Both the E and the I cells get a drive.

ring = ssn.RingSSN.create(((0.4, -0.21), (0.38, -0.16)), points=POINTS)
rng = np.random.default_rng(0)
params = {
    "input": jnp.asarray(rng.normal(0, 0.3, (64, 2 * POINTS)), jnp.float32),
    "recurrent": ring.params,
    "readout": jnp.asarray(rng.normal(0, 0.1, (2 * POINTS, 10)), jnp.float32),
}


def rates(params, x):
    """Steady rates of the ring."""
    return ring.fixed_point(params["recurrent"], 5 + x @ params["input"]).r


def answer(params, x):
    """Scores of the ten digits."""
    return jnp.sqrt(rates(params, x) + 1e-6) @ params["readout"]


def loss(params, x, y):
    """Cross-entropy of a batch."""
    return optax.softmax_cross_entropy_with_integer_labels(answer(params, x), y).mean()


# %%
# Any optimizer will do. A batch is 100 digits.

optimizer = optax.adam(0.02)


@jax.jit
def step(params, state, x, y):
    """One step of the optimizer."""
    value, slope = jax.value_and_grad(loss)(params, x, y)
    change, state = optimizer.update(slope, state)
    return optax.apply_updates(params, change), state, value


state, losses = optimizer.init(params), []
for _ in range(150):
    rows = rng.choice(len(train_x), 100, replace=False)
    params, state, value = step(params, state, train_x[rows], train_y[rows])
    losses.append(float(value))

accuracy = float(jnp.mean(answer(params, test_x).argmax(-1) == test_y))
print(f"accuracy on {len(test_y)} unseen digits: {accuracy:.2f}")

# %%
# The recurrent weights keep their signs, since their logarithms are what is trained.

figure = Figure(figsize=(6, 3), layout="constrained")
axes = figure.subplots()
axes.plot(losses)
axes.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
axes.set_title(f"Digits through a ring of {2 * POINTS} cells: {accuracy:.0%} right")
figure
