"""Where torch computes: device, precision, determinism, seeds, and several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
        if precision not in PRECISIONS:
            raise _config_error("precision", f"{precision!r} is none of {', '.join(PRECISIONS)}")
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
            value = torch.from_numpy(np.array(value, order="C"))  # a copy: sources stay untouched
        tensor = torch.as_tensor(value)
        if tensor.is_floating_point():
            return tensor.to(self.device, self.dtype)
        kind = tensor.dtype if tensor.dtype == torch.bool else torch.int64
        return tensor.to(self.device, kind)

    def compile(self, step: Callable[..., Step[Any, Any]]) -> Callable[..., Step[Any, Any]]:
        """The step itself: torch runs eagerly."""
        return step

    def adopt(self, model: Any, state: Tree) -> None:
        """Move the model here and let the optimisers in `state` average gradients over processes.

        Parameters move in place, so an optimiser made before still holds them. May be called again.
        """
        if isinstance(model, nn.Module):
            model.to(self.device)
            if self.precision == "float64":
                model.double()
        if self.world == 1:
            return
        if isinstance(model, nn.Module):
            for tensor in [*model.parameters(), *model.buffers()]:
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
        torch.manual_seed(seed)
        autocast: AbstractContextManager[Any] = nullcontext()
        if self.precision == "bfloat16":
            autocast = torch.autocast(self.device.type, torch.bfloat16)
        with autocast:
            yield


def _device(name: str) -> torch.device:
    kind, _, index = name.partition(":")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise _config_error("device", f"{name!r} is none of auto, cpu, cuda, cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise _config_error("device", f"{name} is absent: torch sees {count} GPUs. Use auto or cpu")
    return torch.device(name)


def _config_error(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path, message)], of="the device settings")


def _optimizers(tree: Any) -> Iterator[Optimizer]:
    if isinstance(tree, Optimizer):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _optimizers(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _optimizers(value)
    elif hasattr(tree, "__dataclass_fields__"):
        for name in tree.__dataclass_fields__:
            yield from _optimizers(getattr(tree, name))
