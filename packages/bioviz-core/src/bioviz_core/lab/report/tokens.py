"""The colours of every figure, report and page, in a light and a dark theme.

`ink muted rule` are text, secondary text and borders; `ok no idle` and their `-fill` are the
verdicts; the six colours keep one meaning everywhere (red: E, wrong; blue: I; teal: the paper's
method, right; grey: the reference; amber: familiar, trained, stimulus; violet: novel, untrained,
rival); the ramp is for ordered things. Figures are drawn in light tokens and switch with the page.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal

Theme = Literal["light", "dark"]

_DATA = tomllib.loads(files("bioviz_core.lab.report").joinpath("tokens.toml").read_text("utf-8"))
DRAWN = tuple(_DATA["drawn"])
_ALL: dict[str, tuple[str, str]] = _DATA["page"] | _DATA["drawn"]

TOKENS: dict[Theme, dict[str, str]] = {
    "light": {name: light for name, (light, _) in _ALL.items()},
    "dark": {name: dark for name, (_, dark) in _ALL.items()},
}


def css(theme: Theme) -> str:
    """The theme's declarations: `--ink` for the page, `--f-ink` for figures."""
    page = [f"--{name}:{value}" for name, value in TOKENS[theme].items()]
    return ";".join(page + [f"--f-{name}:{TOKENS[theme][name]}" for name in DRAWN])
