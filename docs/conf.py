"""How the documentation is built."""

from __future__ import annotations

project = "bioviz"
author = "The bioviz developers"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "bioviz"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
