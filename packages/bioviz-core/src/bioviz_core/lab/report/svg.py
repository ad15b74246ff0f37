"""A figure's SVG made fit to stand inside a page: harmless, themed, with ids of its own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from bioviz_core.errors import DataError
from bioviz_core.lab.report.tokens import DRAWN, TOKENS

_SHAPES = "path rect circle ellipse line polyline polygon text tspan use image"
_STRUCTURE = "svg g defs clipPath mask marker symbol pattern linearGradient radialGradient stop"
_DRAWING = frozenset(f"{_SHAPES} {_STRUCTURE}".split())
_THEMED = {TOKENS["light"][name].lower(): f"var(--f-{name})" for name in DRAWN}
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"url\(\s*[\"']?#([^\s\"')]+)[\"']?\s*\)")
_EMBEDDED = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]+")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?![\de])")
_FORBIDDEN = ("url(", "expression", "@", "script:", "\\", "/*", "image-set")


def inline_svg(path: str | Path, prefix: str, *, alt: str = "") -> str:
    """The drawing in `path` as an element for a page; `prefix` keeps its ids from other figures'.

    Only shapes, text, and embedded PNG or JPEG survive:
    no script, style sheet, event handler or outside reference. A light token's hex becomes
    `var(--f-red)` and so on, fonts the page's. Raises `DataError` where the file is not SVG.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not SVG: {error}") from error
    if _local(root.tag) != "svg":
        raise DataError(f"{path} is not SVG: its first element is {_local(root.tag)!r}")
    _clean(root, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    # matplotlib says these in a style sheet for `*`, which would reach the whole page.
    root.attrib |= {"style": "stroke-linejoin:round;stroke-linecap:butt", "role": "img"}
    root.attrib["aria-label"] = alt
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _clean(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        kept = _attribute(name, value, prefix)
        if kept is not None:
            element.set(name, kept)
    if element.tag == "image":  # named by its content, so that two alike have one id
        element.attrib.pop("id", None)
    for child in list(element):
        if isinstance(child.tag, str) and _local(child.tag) in _DRAWING:
            _clean(child, prefix)
        else:
            element.remove(child)
    if element.tag not in ("text", "tspan"):
        element.text = None
    element.tail = element.tail if element.tag == "tspan" else None


def _attribute(name: str, value: str, prefix: str) -> str | None:
    """The value to keep, or None for one that could act or reach outside."""
    if name.lower().startswith("on") or name in ("class", "base", "space", "type"):
        return None
    if name == "id":
        return f"{prefix}{value}"
    if name == "href":
        if value.startswith("#"):
            return f"#{prefix}{value[1:]}"
        return value if _EMBEDDED.fullmatch(value) else None
    if any(word in _REFERENCE.sub("", value).lower() for word in _FORBIDDEN):
        return None
    value = _REFERENCE.sub(lambda match: f"url(#{prefix}{match[1]})", value)
    value = _HEX.sub(lambda match: _THEMED.get(match[0].lower(), match[0]), value)
    if name in ("d", "points", "x", "y"):
        value = _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", value)
        return re.sub(r"\s+", " ", value).strip()
    return value.replace("'DejaVu Sans'", "var(--sans)")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
