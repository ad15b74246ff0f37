"""References: what a plugin provides, by name, without importing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple, get_args

from bioviz_core.errors import BiovizError, MissingDependencyError, RegistrationError

Kind = Literal["rule", "model", "analysis", "stimulus", "experiment"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SUMMARY_LENGTH = 72

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_name(name: str, *, what: str = "name") -> str:
    """`name` where it is kebab-case; else `RegistrationError`."""
    if not _NAME.fullmatch(name):
        raise RegistrationError(f"the {what} {name!r} must be kebab-case, as in 'two-layer'")
    return name


@dataclass(frozen=True, slots=True)
class Paper:
    """A publication that registered things come from; `bioviz cite` prints its `bibtex`."""

    id: str
    title: str
    authors: tuple[str, ...]
    year: int
    doi: str = ""
    bibtex: str = ""


class Recipe(NamedTuple):
    """How `create` made an object: enough to make it again."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True, order=True, slots=True)
class Ref:
    """One registered thing; `target`, `config`, `for_task` are `module:name`, imported on use."""

    kind: Kind
    name: str
    target: str
    summary: str
    framework: str | None
    plugin: str
    distribution: str
    config: str | None = None
    paper: str | None = None
    tags: tuple[str, ...] = ()
    for_task: str | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.summary) <= SUMMARY_LENGTH or "\n" in self.summary:
            raise RegistrationError(
                f"the summary of {self.name} must be one line of 1 to {SUMMARY_LENGTH} characters,"
                f" got {len(self.summary)}: {self.summary!r}"
            )
        for place in filter(None, (self.target, self.config, self.for_task)):
            if not _TARGET.fullmatch(place):
                raise RegistrationError(f"write 'package.module:Name', not {place!r} ({self.name})")

    def load(self) -> Any:
        """Import what the reference points to."""
        return self._import(self.target)

    def load_config(self) -> Any:
        """Import the configuration class; it needs no framework."""
        return self._import(self.config) if self.config else None

    def load_for_task(self) -> Any:
        """Import what gives a model's options for a task."""
        return self._import(self.for_task) if self.for_task else None

    def _import(self, place: str) -> Any:
        module, _, path = place.partition(":")
        try:
            found: Any = import_module(module)
            for name in path.split("."):
                found = getattr(found, name)
        except (ImportError, AttributeError) as error:
            absent = (getattr(error, "name", None) or "").partition(".")[0]
            if isinstance(error, ModuleNotFoundError) and absent != module.partition(".")[0]:
                package = self.distribution.split()[0]
                why = f"{self.name} needs {absent}: pip install {package}"
                raise MissingDependencyError(why) from error
            raise BiovizError(
                f"{self.name} points to {place}, which cannot be imported: {error}. "
                f"Tell the authors of {self.distribution}"
            ) from error
        return found
