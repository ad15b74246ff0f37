"""
A cortical layer inside a torch model
=====================================

`TorchFromJax` makes a stabilized supralinear network an `nn.Module`: its parameters are torch
parameters, its gradient is the implicit one of JAX, and torch's optimizers train it with the rest.
"""

import bioviz_ssn as ssn
import torch
from bioviz_core.bridge.torch_jax import TorchFromJax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

POINTS = 10
digits = load_digits()
split = train_test_split(digits.data / 16, digits.target, test_size=0.3, random_state=0)
train_x, test_x = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
train_y, test_y = (torch.tensor(part) for part in split[2:])

# %%
# The ring of cells is one layer among others.

ring = ssn.RingSSN.create(((0.4, -0.21), (0.38, -0.16)), points=POINTS)


def rates(params, drive):
    """Steady rates of the ring."""
    return ring.fixed_point(params, drive + 5).r


class Cortex(nn.Module):
    """Digits to drives, drives to steady rates, rates to answers."""

    def __init__(self):
        super().__init__()
        self.input = nn.Linear(64, 2 * POINTS)
        self.ring = TorchFromJax(rates, ring.params)
        self.readout = nn.Linear(2 * POINTS, 10)

    def forward(self, x):
        """Scores of the ten digits."""
        return self.readout(torch.sqrt(self.ring(self.input(x)) + 1e-6))


# %%
# Training is torch's.

torch.manual_seed(0)
model = Cortex()
before = [parameter.detach().clone() for parameter in model.ring.parameters()]
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
losses = []
for _ in range(150):
    rows = torch.randperm(len(train_x))[:100]
    loss = F.cross_entropy(model(train_x[rows]), train_y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

with torch.no_grad():
    accuracy = float((model(test_x).argmax(-1) == test_y).float().mean())
pairs = zip(before, model.ring.parameters(), strict=True)
moved = max((after - start).abs().max().item() for start, after in pairs)
print(f"accuracy on {len(test_y)} unseen digits: {accuracy:.2f}; log|J| moved by up to {moved:.2f}")

# %%
# The recurrent weights learned with the rest.

figure = Figure(figsize=(6, 3), layout="constrained")
axes = figure.subplots()
axes.plot(losses)
axes.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
axes.set_title(f"A ring of {2 * POINTS} cells in torch: {accuracy:.0%} right")
figure
