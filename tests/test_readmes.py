"""Each package's README opens with a short example and what it prints; sybil runs the example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = ("ssn", "butd", "hopfield", "fastweights", "nrf")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_readme_opens_with_at_most_six_lines_and_their_output(name: str) -> None:
    text = (ROOT / f"packages/bioviz-{name}/README.md").read_text()
    (kind, example), (plain, output), *_ = BLOCK.findall(text)
    assert (kind, plain) == ("python", "")
    assert len(example.splitlines()) <= 6
    assert "print(" in example
    assert output.strip()
    assert "## " not in text[: text.index("```python")]
