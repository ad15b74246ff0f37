from __future__ import annotations

from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
from bioviz_core.stimuli.sources import ArraySource
from bioviz_core.testing.tasks import Perceptron


def linear(cells: int, inputs: int) -> Perceptron:
    """Linear cells: a rectification that never bites, and a first weight that changes nothing."""
    drawn = np.random.default_rng(1).normal(0, 0.1, (cells, inputs))
    return Perceptron({"hidden": np.eye(inputs), "output": drawn})


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    images = bv.create("core/digits").batch(range(1797))["inputs"].reshape(1797, -1)
    return images.astype("float64")


def train(cells: int, inputs: np.ndarray, **options: Any) -> np.ndarray:
    rule = bv.create("oja/oja", **options)
    local = bv.create("core/local", rule=rule, rate=0.03, synapses=["output"])
    source = ArraySource(inputs=inputs)
    model = linear(cells, inputs.shape[1])
    fitted = bv.fit(model, local, source, steps=400, batch_size=len(inputs), log_every=400)
    return np.asarray(fitted.model.weights["output"])


@pytest.mark.parametrize("independent", [False, True])
def test_one_cell_finds_the_leading_eigenvector(digits: np.ndarray, independent: bool) -> None:
    (weight,) = train(1, digits, independent=independent)
    leading = np.linalg.eigh(digits.T @ digits)[1][:, -1]
    assert np.linalg.norm(weight) == pytest.approx(1, abs=1e-4)
    assert abs(weight @ leading) == pytest.approx(1, abs=1e-4)


def test_several_cells_are_orthonormal_and_span_the_leading_subspace(digits: np.ndarray) -> None:
    weight = train(2, digits)
    values, vectors = np.linalg.eigh(digits.T @ digits / len(digits))
    np.testing.assert_allclose(weight @ weight.T, np.eye(2), atol=1e-3)
    caught = np.trace(weight @ (digits.T @ digits / len(digits)) @ weight.T)
    assert caught == pytest.approx(values[-2:].sum(), rel=1e-3)
    assert vectors.shape == (64, 64)


def test_cells_of_a_torch_model_trained_by_name_become_orthonormal() -> None:
    import torch
    from bioviz_core.bridge.torch import as_model
    from torch import nn

    torch.manual_seed(0)
    model = as_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False)))
    rule = bv.create("core/local", rule="oja/oja", rate=0.03)
    fitted = bv.fit(model, rule, bv.create("core/digits"), steps=600, batch_size=256, log_every=600)
    weight = fitted.model.module[1].weight.detach().numpy()
    np.testing.assert_allclose(weight @ weight.T, np.eye(4), atol=0.1)
