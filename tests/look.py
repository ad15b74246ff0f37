"""Render pages as readers see them, and fail on what a machine can see is wrong.

    python tests/look.py [--out look] PAGE_OR_RUN...

Writes PNGs at 390 and 1280 pixels, light and dark, and a PDF for each page; a person looks at
them. Fails on sideways overflow, clipped cards, figures without caption or alternative text,
skipped heading levels, doubled ids, and files over their limits.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (390, 1280)
MAX_PAGE, MAX_DRAWING, MAX_PNG = 5_000_000, 250_000, 400_000
SMALLEST_WINDOW = 500  # headless Chromium lays out no narrower window, so pages stand in an iframe

# The page's own policy forbids scripts; its parent may still measure it.
MEASURE = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, root = page.documentElement;
  const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg")
    && e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.outerHTML.slice(0, 90));
  const clipped = [...page.querySelectorAll(".card")].filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 90));
  document.querySelector("pre").textContent = JSON.stringify({height: root.scrollHeight,
    overflow: root.scrollWidth - root.clientWidth, wide: wide.slice(0, 3), clipped});
});
"""
FRAME = """<!doctype html><meta charset="utf-8"><style>body{{margin:0}}iframe{{border:0;
display:block;width:{width}px;height:{height}px}}pre{{display:none}}</style><pre></pre><iframe></iframe>
<script>{script}frame.srcdoc = {page};</script>"""


class Structure(HTMLParser):
    """Headings, figures, pictures and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.problems: list[str] = []
        self._ids: set[str] = set()
        self._figure: dict[str, bool] | None = None
        self._caption = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "figure":
            self._figure = {"picture": False, "caption": False}
        if tag == "figcaption":
            self._caption = True
        if tag == "img" or (tag == "svg" and said.get("aria-hidden") != "true"):
            if self._figure:
                self._figure["picture"] = True
            if not (said.get("alt") or said.get("aria-label")):
                self.problems.append(f"a picture has no alternative text: <{tag} {said}"[:120])
        if identity := said.get("id"):
            if identity in self._ids:
                self.problems.append(f"the id {identity!r} occurs twice")
            self._ids.add(identity)

    def handle_data(self, data: str) -> None:
        if self._caption and self._figure and data.strip():
            self._figure["caption"] = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "figcaption":
            self._caption = False
        if tag == "figure" and self._figure is not None:
            if not self._figure["caption"]:
                self.problems.append("a figure has no caption")
            self._figure = None


def check_text(text: str) -> Iterator[str]:
    """What is wrong with a page, without rendering it."""
    structure = Structure(text)
    yield from structure.problems
    if structure.headings.count(1) != 1:
        yield f"{structure.headings.count(1)} first-level headings, one is asked"
    for before, after in zip([0, *structure.headings], structure.headings, strict=False):
        if after > before + 1:
            yield f"a heading of level {after} follows level {before}"
    if (size := len(text.encode())) > MAX_PAGE:
        yield f"{size} bytes, at most {MAX_PAGE}"
    for drawing in re.findall(r"<svg.*?</svg>", text, re.S):
        if len(drawing.encode()) > MAX_DRAWING:
            yield f"an inline drawing has {len(drawing.encode())} bytes, at most {MAX_DRAWING}"


def check_files(folder: Path) -> Iterator[str]:
    """Figure files of a run that are too large or lack their other form."""
    for path in sorted((folder / "figures").glob("*.svg")):
        png = path.with_suffix(".png")
        if not png.exists():
            yield f"{path.name} has no PNG"
        elif png.stat().st_size > MAX_PNG:
            yield f"{png.name} has {png.stat().st_size} bytes, at most {MAX_PNG}"


def chromium(browser: str, *options: str) -> str:
    """Run the browser headless; what it printed."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={profile}", *options],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    return done.stdout


def render(browser: str, text: str, name: str, out: Path, folder: Path) -> Iterator[str]:
    """Screenshots of a page in both widths and themes, and its print; what overflows."""
    frame = folder / "frame.html"
    for width in WIDTHS:
        options = {
            "width": width,
            "script": MEASURE,
            "page": json.dumps(text).replace("</", "<\\/"),
        }
        frame.write_text(FRAME.format(height=2000, **options))
        window = max(width, SMALLEST_WINDOW)
        found = chromium(browser, "--dump-dom", f"--window-size={window},2000", frame.as_uri())
        measured = json.loads(html.unescape(found.split("<pre>")[1].split("</pre>")[0]))
        if measured["overflow"] > 0:
            yield f"at {width} pixels it is {measured['overflow']} too wide: {measured['wide']}"
        yield from (f"at {width} pixels a card is clipped: {card}" for card in measured["clipped"])
        height = measured["height"]
        frame.write_text(FRAME.format(height=height, **options))
        for theme, scheme in (("light", 1), ("dark", 0)):
            shot = out / f"{name}-{width}-{theme}.png"
            chromium(
                browser, f"--blink-settings=preferredColorScheme={scheme}",
                f"--window-size={window},{height}", f"--screenshot={shot}", frame.as_uri(),
            )  # fmt: skip
            with Image.open(shot) as image:
                image.crop((0, 0, width, image.height)).save(shot)
    page = folder / "page.html"
    page.write_text(text)
    chromium(
        browser, f"--print-to-pdf={out / name}.pdf", "--no-pdf-header-footer",
        "--blink-settings=preferredColorScheme=0", page.as_uri(),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Look at every page; the number of problems."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path, help="run directories or HTML files")
    parser.add_argument("--out", type=Path, default=Path("look"))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium here: pages are checked, not rendered", file=sys.stderr)
    problems = 0
    for place in given.pages:
        found = []
        page, name = place, f"{place.resolve().parent.name}-{place.stem}"
        if place.is_dir():
            from bioviz_core.lab.report.build import report

            page, name = report(place), place.resolve().name
            found += check_files(place)
        text = page.read_text(encoding="utf-8")
        found += check_text(text)
        if browser is not None:
            with tempfile.TemporaryDirectory() as folder:
                found += render(browser, text, name, given.out, Path(folder))
        print(f"{name}: {f'{len(found)} problems' if found else 'good'}")
        for problem in found:
            print(f"  {problem}")
        problems += len(found)
    return problems


if __name__ == "__main__":
    sys.exit(bool(main()))
