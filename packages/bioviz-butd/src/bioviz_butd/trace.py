"""The activities of one bottom-up pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bioviz_butd.errors import MissingTraceError, StaleTraceError
from bioviz_butd.graph import Graph


class Trace:
    """What a top-down pass needs of one bottom-up pass; several can be held at a time.

    It keeps each op's activity, not autograd's graph, and the version of every weight it has seen.
    `release` frees the activities.
    """

    __slots__ = (
        "device", "dtype", "dtypes", "graph", "inputs", "kept", "parameters", "shape", "versions",
    )  # fmt: skip

    def __init__(
        self, graph: Graph, kept: list[Any], inputs: Tensor, output: Tensor,
        parameters: list[Tensor], dtypes: list[torch.dtype | None] | None,
    ) -> None:  # fmt: skip
        self.graph, self.kept, self.inputs, self.dtypes = graph, kept, inputs, dtypes
        self.shape, self.dtype, self.device = output.shape, output.dtype, output.device
        self.parameters = parameters
        self.versions = [inputs._version, *[p._version for p in parameters]]

    @property
    def batch(self) -> int:
        """How many samples went up."""
        return self.inputs.shape[0]

    def release(self) -> None:
        """Free the activities; the trace is of no use afterwards."""
        self.kept, self.inputs, self.parameters = [], self.inputs.new_empty(0), []

    def check(self, signal: Tensor, *, allow_stale: bool) -> None:
        """Refuse a signal that does not belong to this pass."""
        if not self.kept and self.graph.nodes:
            raise MissingTraceError("this trace was released: run the bottom-up pass again")
        if signal.shape != self.shape:
            raise ValueError(
                f"the signal has the shape {tuple(signal.shape)}, the output of the bottom-up pass"
                f" has {tuple(self.shape)}: give one signal per output of that batch"
            )
        if signal.dtype != self.dtype or signal.device != self.device:
            raise ValueError(
                f"the signal is {signal.dtype} on {signal.device}, the output of the bottom-up "
                f"pass is {self.dtype} on {self.device}: convert the signal"
            )
        if not allow_stale:
            self._check_versions()

    def _check_versions(self) -> None:
        if self.inputs._version != self.versions[0]:
            raise StaleTraceError(
                "the inputs were changed in place after the bottom-up pass: give it a copy, or "
                "pass allow_stale=True"
            )
        current = self.graph.current()
        for source, now, then, version in zip(
            self.graph.parameters, current, self.parameters, self.versions[1:], strict=True
        ):
            if now is not then or now._version != version:
                raise StaleTraceError(
                    f"{source.name} changed after the bottom-up pass, so its update would not be "
                    "that of the pass: run it again, or pass allow_stale=True"
                )
