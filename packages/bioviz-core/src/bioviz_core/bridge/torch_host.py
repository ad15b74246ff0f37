"""Where torch computes: device, precision, determinism, seeds, and several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bioviz_core.errors import ConfigError, Problem
from bioviz_core.interfaces import Batch, Step, Tree

PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
"""By precision, the dtype of parameters and inputs; bfloat16 computes under autocast."""


class Host:
    """Places models and batches on a device, seeds each step, and joins several processes.

    `device` is "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1"; a named device that is
    absent is a `ConfigError`, never a fallback. Under `torchrun` accelerate starts the processes.
    """

    def __init__(
        self, *, device: str = "auto", precision: str = "float32", threads: int | None = None
    ) -> None:
        _check("precision", precision, tuple(PRECISIONS))
        self.precision, self.dtype = precision, PRECISIONS[precision]
        self.rank, self.world, self.device = 0, 1, _device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            processes = PartialState(cpu=self.device.type == "cpu")
            self.rank, self.world = processes.process_index, processes.num_processes
            self.device = processes.device
        if threads is not None:
            torch.set_num_threads(threads)
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # "warn" names an operation that has no deterministic kernel, and lets it run.
        torch.set_deterministic_debug_mode("warn")
        torch.backends.cudnn.benchmark = False
        self._averaged: set[int] = set()

    def place(self, batch: Batch) -> Batch:
        """The batch as tensors on the device: floats in the run's dtype, integers as int64."""
        return {key: self._place(value) for key, value in batch.items()}  # type: ignore[return-value]  # TypedDict of arrays

    def _place(self, value: Any) -> Tensor:
        if isinstance(value, np.ndarray):
            value = np.array(value, order="C")  # a copy: sources stay untouched
        tensor = torch.as_tensor(value)
        kind = self.dtype if tensor.is_floating_point() else torch.int64
        return tensor.to(self.device, torch.bool if tensor.dtype == torch.bool else kind)

    def compile(self, step: Callable[..., Step[Any, Any]]) -> Callable[..., Step[Any, Any]]:
        """The step itself: torch runs eagerly."""
        return step

    def adopt(self, model: Any, state: Tree) -> None:
        """Move the model here and let the optimisers in `state` average gradients over processes.

        Parameters move in place, so an optimiser made before still holds them. May be called again.
        """
        tensors: list[Tensor] = []
        if isinstance(model, nn.Module):
            model.to(self.device, self.dtype if self.precision == "float64" else None)
            tensors = [*model.parameters(), *model.buffers()]
        if self.world == 1:
            return
        for tensor in tensors:
            torch.distributed.broadcast(tensor.detach(), src=0)
        for optimizer in _optimizers(state):
            if id(optimizer) not in self._averaged:
                self._averaged.add(id(optimizer))
                optimizer.register_step_pre_hook(lambda o, args, options: self._average(o))

    def _average(self, optimizer: Optimizer) -> None:
        """Every process steps with the mean gradient; where one has none, it counts as zero."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        has = torch.tensor([p.grad is not None for p in parameters], device=self.device).int()
        torch.distributed.all_reduce(has)
        shared = [p for p, count in zip(parameters, has.tolist(), strict=True) if count]
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self.world

    @contextmanager
    def step(self, seed: int) -> Iterator[None]:
        """Around one step: the global generator seeded for dropout, and autocast."""
        # Not torch.manual_seed, which before CUDA is in use keeps a stack trace of every call.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.cuda.manual_seed_all(seed)
        narrow = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=narrow):
            yield


def _device(name: str) -> torch.device:
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    _check("device", name, ("auto", "cpu", *["cuda"] * bool(gpus), *gpus))
    best = "cuda" if gpus else "cpu"
    return torch.device(best if name == "auto" else name)


def _check(path: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        problem = Problem(path, f"{value!r} is not to be had here: there are {', '.join(choices)}")
        raise ConfigError([problem], of="the device settings")


def _optimizers(tree: Any) -> Iterator[Optimizer]:
    if isinstance(tree, Optimizer):
        yield tree
        return
    if names := getattr(tree, "__dataclass_fields__", ()):
        tree = [getattr(tree, name) for name in names]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    for value in tree if isinstance(tree, list | tuple) else ():
        yield from _optimizers(value)
