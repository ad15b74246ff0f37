"""The hooks that plugins implement with `hookimpl`, and the version of that interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from bioviz_core.lab.run import Run
    from bioviz_core.registry import Registrar

PLUGIN_API = 1
"""Raised only when a plugin written for the previous version could fail."""

hookspec = pluggy.HookspecMarker("bioviz")
hookimpl = pluggy.HookimplMarker("bioviz")


@hookspec(historic=True)
def bioviz_register(registry: Registrar) -> None:
    """Declare what this plugin provides; called once, right after the plugin is found."""


@hookspec
def bioviz_run_started(run: Run) -> None:
    """A run begins or goes on."""


@hookspec
def bioviz_run_finished(run: Run, summary: Mapping[str, Any]) -> None:
    """A run has finished; `summary` is what its summary.json holds."""


@hookspec
def bioviz_run_logged(run: Run, step: int, row: Mapping[str, float]) -> None:
    """A run has logged a row of metrics."""
