"""The look check finds what it is for."""

from __future__ import annotations

import shutil
from pathlib import Path

import look
import pytest

GOOD = """<html><body><h1>One</h1><h2>Two</h2><figure id="a"><svg role="img" aria-label="lines">
</svg><figcaption><strong>It rises.</strong></figcaption></figure></body></html>"""


def test_a_good_page_passes() -> None:
    assert list(look.check_text(GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('aria-label="lines"', "", "no alternative text"),
        ("<strong>It rises.</strong>", "", "no caption"),
        ("<figcaption><strong>It rises.</strong></figcaption>", "", "no caption"),
        ("h2", "h3", "level 3 follows level 1"),
        ("h1", "h2", "0 first-level headings"),
        ("</h1>", '</h1><p id="a"></p>', "'a' occurs twice"),
        ("</svg>", "x" * 250_001 + "</svg>", "an inline drawing"),
        ("</h1>", "</h1>" + "x" * 5_000_001, "at most 5000000"),
    ],
)
def test_a_fault_is_found(old: str, new: str, problem: str) -> None:
    assert any(problem in found for found in look.check_text(GOOD.replace(old, new)))


def test_large_or_missing_figure_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("a.svg", "b.svg", "c.svg", "c.png"):
        (tmp_path / "figures" / name).write_text("")
    (tmp_path / "figures/b.png").write_bytes(b"x" * 400_001)
    assert list(look.check_files(tmp_path)) == [
        "a.svg has no PNG",
        "b.png has 400001 bytes, at most 400000",
    ]


@pytest.mark.slow
def test_a_page_too_wide_for_a_phone_is_found_where_there_is_a_browser(tmp_path: Path) -> None:
    rendered = any(map(shutil.which, look.BROWSERS))
    page, out = tmp_path / "page.html", tmp_path / "out"
    page.write_text(GOOD.replace("</h1>", '</h1><div style="width:600px">wide</div>'))
    assert look.main([str(page), "--out", str(out)]) == rendered
    assert len(list(out.glob("*.png"))) == 4 * rendered
    page.write_text(GOOD)
    assert look.main([str(page), "--out", str(out)]) == 0
