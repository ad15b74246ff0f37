"""The registry: finds plugins by entry point, keeps what they declare, isolates the broken ones.

Registration is a transaction: a plugin is present whole or absent whole, whatever the others do.
"""

from __future__ import annotations

import builtins
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partialmethod
from importlib.metadata import EntryPoint, EntryPoints, distributions
from itertools import groupby
from typing import Any, Literal

import pluggy

from bioviz_core import hooks
from bioviz_core.errors import (
    AmbiguousNameError,
    ApiMismatchError,
    BrokenPluginError,
    RegistrationError,
    UnknownNameError,
)
from bioviz_core.refs import KINDS, Kind, Paper, Recipe, Ref, check_name

GROUP = "bioviz"
CORE = "core"

Status = Literal["ok", "broken", "blocked", "shadowed"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that was found, and what became of it."""

    name: str
    distribution: str
    status: Status
    error: BaseException | None = None

    @property
    def reason(self) -> str:
        """Why it is not usable, in one line; empty where it is."""
        if self.error is None:
            return ""
        return f"{type(self.error).__name__}: {self.error}".splitlines()[0]


@dataclass
class Registrar:
    """What a plugin registers through. Names are the plugin's own; core puts its name before them.

    `rule`, `model`, `analysis`, `stimulus` and `experiment` take `(name, target, summary=...)` and
    optionally `framework` ("torch", "jax", "numpy"), `config` (for experiments; importing it must
    not import a framework), `for_task` (for models; a function of a source's `fields` that gives
    the model's options), `paper` (a registered id) and `tags`. `target`, `config` and `for_task`
    are `module:name` strings, so that nothing is imported until it is used.
    """

    plugin: str = ""
    distribution: str = ""
    _refs: dict[tuple[Kind, str], Ref] = field(default_factory=dict)
    _papers: dict[str, Paper] = field(default_factory=dict)

    def _add(
        self, kind: Kind, name: str, target: str, *, summary: str, framework: str | None = None,
        config: str | None = None, paper: str | None = None, tags: Iterable[str] = (),
        for_task: str | None = None,
    ) -> None:  # fmt: skip
        key = (kind, f"{self.plugin}/{check_name(name)}")
        owner = (self.plugin, self.distribution)
        ref = Ref(*key, target, summary, framework, *owner, config, paper, tuple(tags), for_task)
        if self._refs.setdefault(key, ref) is not ref:
            raise RegistrationError(f"the {kind} {key[1]!r} is registered twice")

    rule = partialmethod(_add, "rule")
    model = partialmethod(_add, "model")
    analysis = partialmethod(_add, "analysis")
    stimulus = partialmethod(_add, "stimulus")
    experiment = partialmethod(_add, "experiment")

    def paper(
        self, id: str, title: str, *, authors: Sequence[str], year: int, doi: str = "",
        bibtex: str = "",
    ) -> None:  # fmt: skip
        """A publication that what is registered comes from."""
        if check_name(id, what="paper id") in self._papers:
            raise RegistrationError(f"the paper {id!r} is registered twice")
        self._papers[id] = Paper(id, title, tuple(authors), year, doi, bibtex)


class Registry:
    """Everything that is registered, by kind and name; `discover` fills it from entry points."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        self._refs: dict[tuple[Kind, str], Ref] = {}
        self._papers: dict[tuple[str, str], Paper] = {}
        self._plugins: dict[tuple[str, str], Plugin] = {}
        self._modules: builtins.list[tuple[Any, str]] = []
        self._discovered = False
        self._registrar = Registrar()
        self.hooks = pluggy.PluginManager("bioviz")
        self.hooks.add_hookspecs(hooks)
        self.hooks.hook.bioviz_register.call_historic(kwargs={"registry": self._registrar})

    def discover(self) -> None:
        """Load the plugins of all entry points; a second call does nothing."""
        with self._lock:
            if self._discovered:
                return
            self._discovered = True
            found: dict[str, EntryPoints] = {}
            for dist in distributions():
                # Searching a text is cheaper than parsing it, and most have no plugin.
                if f"[{GROUP}]" in (dist.read_text("entry_points.txt") or ""):
                    found.setdefault(_normal(dist.name), dist.entry_points.select(group=GROUP))
            points = [(p.name, _dist(p), p) for own in found.values() for p in own]
            for name, claimants in groupby(sorted(points, key=lambda p: p[:2]), lambda p: p[0]):
                self._discover_namespace(name, {dist: point for _, dist, point in claimants})

    def refresh(self) -> None:
        """Forget everything and discover again, keeping what `register` added."""
        with self._lock:
            modules = self._modules
            self._clear()
            self.discover()
            for module, name in modules:
                self.register(module, name=name)

    def _discover_namespace(self, name: str, points: Mapping[str, EntryPoint]) -> None:
        owners = [dist for dist in points if dist.split()[0] == f"bioviz-{name}"]
        if len(points) > 1 and len(owners) != 1:
            for dist in points:
                with self._guard(name, dist):
                    claimants = ", ".join(points)
                    raise RegistrationError(
                        f"the namespace {name!r} is claimed by {claimants}: uninstall all but one"
                    )
            return
        chosen = owners[0] if len(points) > 1 else next(iter(points))
        for dist in points.keys() - {chosen}:
            error = RegistrationError(f"{chosen} owns the namespace {name!r}")
            self._plugins[name, dist] = Plugin(name, dist, "shadowed", error)
        if _blocked(name):
            self._plugins[name, chosen] = Plugin(name, chosen, "blocked")
            return
        with self._guard(name, chosen):
            check_name(name, what="entry point")
            if name == CORE and not owners:
                raise RegistrationError("the namespace 'core' is reserved for bioviz-core")
            self._commit(name, chosen, points[chosen].load())

    def register(self, module: Any, *, name: str) -> None:
        """Add a plugin by hand, in a notebook or a test; failures are raised."""
        with self._lock:
            distribution = str(getattr(module, "__name__", name))
            self._commit(check_name(name), distribution, module)
            self._modules.append((module, name))

    @contextmanager
    def _guard(self, name: str, distribution: str) -> Iterator[None]:
        """Whatever a plugin does wrong stays its own; only Ctrl-C goes through."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self._plugins[name, distribution] = Plugin(name, distribution, "broken", error)
            if os.environ.get("BIOVIZ_STRICT") == "1":
                raise BrokenPluginError(f"plugin {name!r} of {distribution}: {error}") from error

    def _commit(self, name: str, distribution: str, module: Any) -> None:
        asked = getattr(module, "BIOVIZ_API", None)
        if asked is not None and asked != hooks.PLUGIN_API:
            raise ApiMismatchError(
                f"{distribution} was written for plugin API {asked}, this is {hooks.PLUGIN_API}: "
                f"install the version of {distribution.split()[0]} that fits bioviz-core"
            )
        label = f"{name} ({distribution})"
        if self.hooks.is_registered(module) or self.hooks.has_plugin(label):
            raise RegistrationError(f"the module of {label} is registered already")
        # pluggy remembers one registrar for its historic hook, so this one is emptied and reused.
        staged = self._registrar
        staged.plugin, staged.distribution = name, distribution
        staged._refs, staged._papers = {}, {}
        try:
            self.hooks.register(module, name=label)
            self._check(module, staged)
        except BaseException:
            self.hooks.unregister(module)
            raise
        self._refs |= staged._refs
        self._papers |= {(name, id): paper for id, paper in staged._papers.items()}
        self._plugins[name, distribution] = Plugin(name, distribution, "ok")

    def _check(self, module: Any, staged: Registrar) -> None:
        callers = self.hooks.get_hookcallers(module) or []
        if "bioviz_register" not in {caller.name for caller in callers}:
            raise RegistrationError(f"{module!r} has no hookimpl named bioviz_register")
        for caller in callers:
            options = self.hooks.parse_hookimpl_opts(module, caller.name)
            if not caller.has_spec() and not (options and options["optionalhook"]):
                raise RegistrationError(
                    f"core knows no hook {caller.name!r}; mark it hookimpl(optionalhook=True)"
                )
        for kind, name in staged._refs.keys() & self._refs.keys():
            raise RegistrationError(f"the {kind} {name!r} is registered already")
        for ref in staged._refs.values():
            if ref.paper is not None and ref.paper not in staged._papers:
                raise RegistrationError(f"{ref.name} cites the paper {ref.paper!r}: register it")

    def list(self, kind: str | None = None, pattern: str = "*") -> Sequence[Ref]:
        """References of a kind whose names match a shell pattern, in natural order."""
        if kind is not None and kind not in KINDS:
            raise UnknownNameError(kind, get_close_matches(kind, KINDS), "kind")
        self.discover()
        found = [ref for ref in self._refs.values() if kind in (None, ref.kind)]
        found = [ref for ref in found if fnmatchcase(ref.name, pattern)]
        return sorted(found, key=lambda ref: (KINDS.index(ref.kind), _natural(ref.name)))

    def ref(self, name: str, *, kind: str | None = None) -> Ref:
        """The one reference of this name."""
        found = [ref for ref in self.list(kind) if ref.name == name]
        if len(found) > 1:
            raise AmbiguousNameError(name, [ref.kind for ref in found])
        if found:
            return found[0]
        for plugin in self.plugins():
            if plugin.name == name.partition("/")[0] and plugin.status in ("broken", "blocked"):
                why = plugin.reason or "blocked by BIOVIZ_BLOCK or BIOVIZ_PLUGINS"
                raise BrokenPluginError(
                    f"{name} is not available: the plugin {plugin.name!r} of "
                    f"{plugin.distribution} is {plugin.status}: {why}. See: bioviz doctor"
                ) from plugin.error
        names = {ref.name for ref in self.list(kind)}
        bare = [known for known in names if known.partition("/")[2] == name]
        raise UnknownNameError(name, bare or get_close_matches(name, sorted(names), n=2), kind)

    def get(self, name: str, *, kind: str | None = None) -> Any:
        """What is registered under this name, imported."""
        return self.ref(name, kind=kind).load()

    def create(self, name: str, /, *, kind: str | None = None, **options: Any) -> Any:
        """What is registered under this name, called with these options, which it remembers."""
        made = self.get(name, kind=kind)(**options)
        # An object that takes no attributes (slots, an array) is saved with an explicit recipe.
        with suppress(AttributeError, TypeError):
            object.__setattr__(made, "recipe", Recipe(name, options))
        return made

    def plugins(self) -> Sequence[Plugin]:
        """Every plugin that was found, usable or not."""
        self.discover()
        return [self._plugins[key] for key in sorted(self._plugins)]

    def paper(self, ref: Ref) -> Paper | None:
        """The paper that a registered thing comes from; each plugin registers its own."""
        return self._papers[ref.plugin, ref.paper] if ref.paper else None


_registry: Registry | None = None
_lock = threading.Lock()


def registry() -> Registry:
    """The one registry; `bioviz_core.list`, `get`, `create`, `plugins`, `register` ask it."""
    global _registry
    with _lock:
        if _registry is None:
            _registry = Registry()
        return _registry


@contextmanager
def isolated_registry() -> Iterator[Registry]:
    """An empty registry for a test; the one before is back afterwards."""
    global _registry
    empty = Registry()
    empty._discovered = True
    before, _registry = _registry, empty
    try:
        yield empty
    finally:
        _registry = before


def _dist(point: EntryPoint) -> str:
    """Name and version: parsed anew at each call, and that takes its time."""
    about = point.dist.metadata if point.dist else {"Name": "unknown", "Version": "0"}
    return f"{_normal(about['Name'])} {about['Version']}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _blocked(name: str) -> bool:
    def named(variable: str) -> set[str]:
        return set(filter(None, os.environ.get(variable, "").replace(" ", "").split(",")))

    only = named("BIOVIZ_PLUGINS")
    return name != CORE and ((bool(only) and name not in only) or name in named("BIOVIZ_BLOCK"))


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key with digits as numbers: layer2 before layer10."""
    return tuple((0, int(s)) if s.isdigit() else (1, s) for s in re.split(r"(\d+)", name) if s)
