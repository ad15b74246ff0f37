"""Each of the five packages' README opens with a short example that runs as printed."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent.parent / "packages"
PLUGINS = ("butd", "fastweights", "hopfield", "nrf", "ssn")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_the_first_example_has_at_most_six_lines_and_prints_what_stands_below(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (PACKAGES / f"bioviz-{name}/README.md").read_text()
    (language, code), (printed_as, printed), *_ = FENCED.findall(text)
    assert (language, printed_as) == ("python", "")
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    monkeypatch.chdir(tmp_path)
    with redirect_stdout(io.StringIO()) as found:
        exec(code, {"__name__": "readme"})
    assert found.getvalue() == printed
