"""What is known of a registered thing, and whom to cite for it or for a run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioviz_core.errors import MissingDependencyError
from bioviz_core.lab.doctor import doctor as doctor
from bioviz_core.lab.options import Option, options, plain, type_name
from bioviz_core.refs import Paper, Ref
from bioviz_core.registry import registry

if TYPE_CHECKING:
    from bioviz_core.interfaces import Claim
    from bioviz_core.lab.record import RunRecord


@dataclass(frozen=True, slots=True)
class Info:
    """What one can know of a registered thing before using it.

    `options` are those of an experiment's configuration, or the arguments of anything else, whose
    `signature` is given. `missing` says what has to be installed to learn the rest.
    """

    ref: Ref
    paper: Paper | None
    options: Sequence[Option] = ()
    presets: Mapping[str, Mapping[str, object]] | None = None
    claims: tuple[Claim, ...] = ()
    signature: str = ""
    question: str = ""
    missing: str = ""


def info(name: str, kind: str | None = None) -> Info:
    """Everything known of `name`; imports no framework where what it points to imports none."""
    ref = registry().ref(name, kind=kind)
    paper, config = registry().paper(ref), ref.load_config()
    known = options(config) if config else []
    try:
        target = ref.load()
    except MissingDependencyError as error:
        return Info(ref, paper, known, missing=str(error))
    if ref.kind == "experiment":
        return Info(ref, paper, known, target.presets, target.claims, question=target.question)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # Builtins and extension classes may have none.
        return Info(ref, paper, known)
    # Postponed annotations are texts: without their quotes they read as they were written.
    shown = re.sub(r"""(: |-> )(['"])(.*?)\2""", r"\1\3", str(signature))
    shown = ref.target.rpartition(":")[2] + shown.removesuffix(" -> None")
    return Info(ref, paper, known or _arguments(signature), signature=shown)


def _arguments(signature: inspect.Signature) -> list[Option]:
    found = []
    for name, about in signature.parameters.items():
        if about.kind not in (about.VAR_POSITIONAL, about.VAR_KEYWORD):
            kind = "" if about.annotation is about.empty else type_name(about.annotation)
            is_required = about.default is about.empty
            default = None if is_required else plain(about.default)
            found.append(Option(name, kind, default, required=is_required))
    return found


def cite(name_or_run: Any) -> str:
    """BibTeX of every paper behind a registered name, or behind what a run used.

    `name_or_run` is a name, a run directory or a `RunRecord`; empty where no paper is registered.
    """
    return "\n\n".join(bibtex(paper) for paper in papers(name_or_run))


def papers(name_or_run: Any) -> list[Paper]:
    """The papers that `cite` prints, each once, the experiment's own first."""
    from bioviz_core.lab.record import RunRecord  # It brings NumPy, which a name does not need.

    place = Path(getattr(name_or_run, "path", name_or_run))
    is_run = place.is_dir()
    used = _used_by_run(RunRecord(place), set()) if is_run else _used_by_name(str(name_or_run))
    refs = [ref for text in dict.fromkeys(used) for ref in registry().list() if ref.name == text]
    return list(dict.fromkeys(filter(None, map(registry().paper, refs))))


def _used_by_name(name: str) -> Iterator[str]:
    """The name itself, and the texts among the default options of what it stands for."""
    yield name
    for ref in [r for r in registry().list() if r.name == name] or [registry().ref(name)]:
        if config := ref.load_config():
            yield from _texts([option.default for option in options(config)])


def _used_by_run(run: RunRecord, seen: set[Path]) -> Iterator[str]:
    """The texts of its configuration, of its models' recipes, and of its inputs' alike."""
    from bioviz_core.lab.checkpoint import read_extra

    seen.add(run.path.resolve())
    texts = list(_texts([run.manifest["experiment"], run.config]))
    yield from texts
    inputs = [Path(text) for text in texts if "/" in text]
    for file in [*run.path.glob("models/*.safetensors"), *inputs]:
        if file.suffix == ".safetensors" and file.is_file():
            yield from _texts(read_extra(file))
        elif (file / "run.json").is_file() and file.resolve() not in seen:
            yield from _used_by_run(type(run)(file), seen)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def bibtex(paper: Paper) -> str:
    """The BibTeX that the plugin gave, else an entry made from what it registered."""
    if paper.bibtex:
        return inspect.cleandoc(paper.bibtex).strip()
    about = {"author": " and ".join(paper.authors), "year": paper.year, "doi": paper.doi}
    fields = {"title": f"{{{paper.title}}}", **about}
    lines = [f"  {key} = {{{value}}}," for key, value in fields.items() if value]
    return "\n".join([f"@article{{{paper.id},", *lines, "}"])
