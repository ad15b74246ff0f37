"""The colours of every figure, report and page, in a light and a dark theme.

`ink muted rule` are text, secondary text and borders; `ok no idle` and their `-fill` are the
verdicts; the six colours keep one meaning everywhere (red: E, wrong; blue: I; teal: the paper's
method, right; grey: the reference; amber: familiar, trained, stimulus; violet: novel, untrained,
rival); the ramp is for ordered things. Figures are drawn in light tokens and switch with the page.
"""

from __future__ import annotations

from typing import Literal

Theme = Literal["light", "dark"]

_TABLE = """
page     #F5F6F8 #0F1216
surface  #FFFFFF #171B21
sunk     #EEF1F4 #222831
ink      #1B1F24 #E6E9ED
muted    #57606B #A3ACB8
rule     #D5DAE0 #333A44
ok       #00664F #6FE3C2
ok-fill  #DDF3EC #12342C
no       #A8202F #FF9C8C
no-fill  #FBE4E5 #411C1B
idle     #4C5561 #B5BDC8
idle-fill #E9ECF0 #2A313B
red      #C93442 #E97C66
blue     #005493 #9CBFFF
teal     #008469 #6FE3C2
grey     #565F6C #97A0AC
amber    #713E00 #FABB43
violet   #8D5BD7 #9A7BFA
wash     #EEF1F4 #222831
ramp-0   #7E8796 #76808F
ramp-1   #5E76B0 #7F93CF
ramp-2   #3F57B5 #97A8FF
ramp-3   #2B1F8C #D5DCFF
paper    #FEFEFE #171B21
"""
_ROWS = [line.split() for line in _TABLE.split("\n") if line]

TOKENS: dict[Theme, dict[str, str]] = {
    "light": {name: light for name, light, _ in _ROWS},
    "dark": {name: dark for name, _, dark in _ROWS},
}

# What a figure may be drawn in and have switched; white and black on images stay.
DRAWN = (
    *("ink", "muted", "rule", "red", "blue", "teal", "grey", "amber", "violet", "wash"),
    *(f"ramp-{i}" for i in range(4)),
    "paper",
)


def css(theme: Theme) -> str:
    """The theme's declarations: `--ink` for the page, `--f-ink` for figures."""
    colours = TOKENS[theme]
    page = [f"--{name}:{value}" for name, value in colours.items()]
    return ";".join(page + [f"--f-{name}:{colours[name]}" for name in DRAWN])
