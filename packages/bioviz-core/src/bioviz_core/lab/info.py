"""What is known of a registered thing, whom to cite for it, and whether this machine is well."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioviz_core.errors import MissingDependencyError, RunStateError
from bioviz_core.lab.doctor import doctor as doctor
from bioviz_core.refs import Paper, Ref
from bioviz_core.registry import registry

if TYPE_CHECKING:
    from bioviz_core.interfaces import Claim
    from bioviz_core.lab.options import Option


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
    from bioviz_core.lab.options import options

    ref = registry().ref(name, kind=kind)
    paper, config = registry().paper(ref), ref.load_config()
    known = options(config) if config else []
    try:
        target = ref.load()
    except MissingDependencyError as error:
        return Info(ref, paper, known, missing=str(error))
    if ref.kind == "experiment":
        claims = tuple(getattr(target, "claims", ()))
        presets, question = getattr(target, "presets", {}), getattr(target, "question", "")
        return Info(ref, paper, known, presets, claims, question=question)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # Builtins and extension classes may have none.
        return Info(ref, paper, known)
    bare = [p.replace(annotation=_bare(p.annotation)) for p in signature.parameters.values()]
    shown = f"{ref.target.rpartition(':')[2]}{inspect.Signature(bare)}"
    return Info(ref, paper, known or _arguments(signature), signature=shown)


class _Bare(str):
    """An annotation kept as text, shown without its quotes."""

    def __repr__(self) -> str:
        return str(self)


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _arguments(signature: inspect.Signature) -> list[Option]:
    from bioviz_core.lab.options import Option, plain, type_name

    found = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        is_required = parameter.default is parameter.empty
        annotation = parameter.annotation
        kind = "" if annotation is parameter.empty else type_name(annotation)
        default = None if is_required else plain(parameter.default)
        found.append(Option(name, kind, default, "", required=is_required))
    return found


def cite(name_or_run: Any) -> str:
    """BibTeX of every paper behind a registered name, or behind what a run used.

    `name_or_run` is a name, a run directory or a `RunRecord`; empty where no paper is registered.
    """
    return "\n\n".join(bibtex(paper) for paper in papers(name_or_run))


def papers(name_or_run: Any) -> list[Paper]:
    """The papers that `cite` prints, each once, the experiment's own first."""
    place = Path(getattr(name_or_run, "path", name_or_run))
    if (place / "run.json").is_file():
        refs = list(_refs_of_run(place, set()))
    elif place.is_dir():
        raise RunStateError(f"{place} is not a run: it holds no run.json")
    else:
        refs = list(_refs_of_name(str(name_or_run)))
    found = [paper for ref in refs if (paper := registry().paper(ref)) is not None]
    return list(dict.fromkeys(found))


def _refs_of_name(name: str) -> Iterator[Ref]:
    """The things called `name`, and those that their default options name."""
    found = [ref for ref in registry().list() if ref.name == name]
    yield from found or [registry().ref(name)]
    for ref in found:
        if config := ref.load_config():
            from bioviz_core.lab.options import options

            yield from _named([option.default for option in options(config)])


def _refs_of_run(path: Path, seen: set[Path]) -> Iterator[Ref]:
    """The experiment, what its options name, the recipes of its models, and its inputs' alike."""
    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    run = _json(path / "run.json")
    yield from _named([run.get("experiment")])
    config = _json(path / "config.json") if (path / "config.json").is_file() else {}
    yield from _named([config])
    for file in sorted((path / "models").glob("*.safetensors")):
        yield from _named([_header(file)])
    for text in _strings([config]):
        if text.endswith(".safetensors") and Path(text).is_file():
            yield from _named([_header(Path(text))])
        elif "/" in text and (Path(text) / "run.json").is_file():
            yield from _refs_of_run(Path(text), seen)


def _named(values: Iterable[Any]) -> Iterator[Ref]:
    """The registered things whose names occur among these values."""
    texts = set(_strings(values))
    return (ref for ref in registry().list() if ref.name in texts)


def _strings(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _strings(value.values())
        elif isinstance(value, list | tuple):
            yield from _strings(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunStateError(f"{path} cannot be read: {error}") from error
    return data if isinstance(data, dict) else {}


def _header(path: Path) -> dict[str, Any]:
    """The metadata of a safetensors file, its JSON texts parsed; no array is read."""
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(size, path.stat().st_size)))
            texts = header.get("__metadata__", {})
    except (OSError, ValueError, AttributeError) as error:
        raise RunStateError(f"{path} is not a model file: {error}") from error
    return {key: _parsed(text) for key, text in texts.items()}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def bibtex(paper: Paper) -> str:
    """The BibTeX that the plugin gave, else an entry made from what it registered."""
    if paper.bibtex:
        return inspect.cleandoc(paper.bibtex).strip()
    fields = {
        "title": f"{{{paper.title}}}",
        "author": " and ".join(paper.authors),
        "year": str(paper.year),
        "doi": paper.doi or "",
    }
    lines = [f"  {key} = {{{value}}}," for key, value in fields.items() if value]
    return "\n".join([f"@article{{{paper.id},", *lines, "}"])
