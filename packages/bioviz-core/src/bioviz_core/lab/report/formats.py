"""Numbers, times and sizes as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ABSENT = "–"


def number(value: object, digits: int = 4) -> str:
    """A number in at most so many significant digits; other things as text, None as a dash."""
    if value is None or value != value:
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e7:
        spaced = abs(value) >= 10_000
        return _signed(f"{int(value):{',' * spaced}}".replace(",", "\N{NARROW NO-BREAK SPACE}"))
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return _signed(mantissa) + (f" × {_power(int(exponent))}" if exponent else "")


def plus_minus(mean: float, half: float) -> str:
    """A mean and half its interval, rounded to what the interval can tell."""
    if not half > 0:
        return number(mean)
    power = math.floor(math.log10(max(abs(mean), half)))
    scale = power if power < -3 or power > 6 else 0
    mean, half = mean / 10.0**scale, half / 10.0**scale
    place = math.floor(math.log10(half))
    decimals = max(0, (half / 10.0**place < 3) - place)
    text = f"{_signed(f'{mean:.{decimals}f}')} ± {half:.{decimals}f}"
    return f"({text}) × {_power(scale)}" if scale else text


def tick(value: float) -> str:
    """A number of a logarithmic axis: plain from 0.001 to 100000, else a power of ten."""
    mantissa, _, exponent = f"{value:e}".partition("e")
    plain = 1e-3 <= value < 1e6 or float(mantissa) != 1
    return f"{value:g}" if plain else _power(int(exponent))


def with_unit(text: str, unit: str) -> str:
    """A number and its unit, which stay on one line."""
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def moment(text: object) -> str:
    """An ISO time to the minute; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(str(text)):%Y-%m-%d %H:%M}"
    except ValueError:
        return str(text)


def elapsed(start: object, stop: object) -> str:
    """The time between two ISO times, or nothing."""
    try:
        span = datetime.fromisoformat(str(stop)) - datetime.fromisoformat(str(start))
    except ValueError:
        return ""
    seconds = span.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def text(value: object) -> str:
    """A setting as one would type it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return "none" if value is None else str(value)


def flat(tree: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted path."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def _signed(text: str) -> str:
    return text.replace("-", "−")
