"""Everything bioviz raises on purpose: what happened, with the value; why; what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_core.interfaces import Refusal


class BiovizError(Exception):
    """Root of every error that bioviz raises on purpose."""


class UnknownNameError(BiovizError, LookupError):
    """No plugin registered this name."""

    def __init__(self, name: str, close: Sequence[str] = (), kind: str | None = None) -> None:
        self.name, self.close, self.kind = name, tuple(close), kind
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        super().__init__(f"no {kind or 'name'} is called {name!r}.{meant} See: bioviz list")


class AmbiguousNameError(BiovizError, LookupError):
    """One name, several kinds, and the caller did not say which."""

    def __init__(self, name: str, kinds: Sequence[str]) -> None:
        self.name, self.kinds = name, tuple(kinds)
        super().__init__(f"{name!r} is a {' and a '.join(kinds)}. Say which: kind={kinds[0]!r}")


class BrokenPluginError(BiovizError):
    """The name belongs to a plugin that did not register; the cause says why."""


class MissingDependencyError(BiovizError, ImportError):
    """What was asked for needs a package that is not installed."""


class ApiMismatchError(BiovizError):
    """A plugin was written for another version of core's plugin interface."""


class RegistrationError(BiovizError, ValueError):
    """A plugin registers something that breaks a rule of names or summaries."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: where, what, and which source said so."""

    path: str
    message: str
    source: str | None = None
    close: tuple[str, ...] = ()

    def __str__(self) -> str:
        source = f" (from {self.source})" if self.source else ""
        meant = f" Did you mean {' or '.join(self.close)}?" if self.close else ""
        return f"{self.path}  {self.message}{source}.{meant}"


class ConfigError(BiovizError, ValueError):
    """A configuration does not hold; `problems` has all of them at once."""

    def __init__(self, problems: Iterable[Problem], *, of: str = "the configuration") -> None:
        self.problems, self.of = tuple(problems), of
        count = len(self.problems)
        width = max((len(p.path) for p in self.problems), default=0)
        lines = [f"{count} problem{'s' * (count != 1)} in {of}"]
        lines += [f"  {p.path.ljust(width)}{str(p)[len(p.path) :]}" for p in self.problems]
        super().__init__("\n".join(lines))


class RunLockedError(BiovizError):
    """Another process writes this run directory."""

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self.owner = path, owner
        super().__init__(f"{path} is being written by {owner}. Wait for it, or stop it first")


class RunStateError(BiovizError):
    """A run directory is not in the state that the call needs."""


class CheckpointError(BiovizError):
    """A tree cannot be written or read back; `path` is the place inside the tree."""

    def __init__(self, message: str, *, path: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class DataError(BiovizError, ValueError):
    """Stimuli are absent, or not what their format says."""


class SweepError(BiovizError):
    """A sweep file or its points do not hold."""


class IncompatibleError(BiovizError, TypeError):
    """A rule, a model and a source do not fit together; `refusals` has every reason."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("\n".join(["these do not fit together:", *map(str, self.refusals)]))


class DivergedError(BiovizError, ArithmeticError):
    """A metric is no longer finite."""

    def __init__(self, step: int, metric: str, value: float = float("nan")) -> None:
        self.step, self.metric, self.value = step, metric, value
        what = f"{metric} is {value} at step {step}. The last good checkpoint is kept"
        super().__init__(f"{what}; lower the learning rate or check the input for NaN")


class StoppedError(BiovizError):
    """The run was asked to stop and wrote a checkpoint first; `bioviz resume` goes on from it."""
