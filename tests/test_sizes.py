"""Small because little is in it: the limits on lines."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = ROOT / "packages/bioviz-core/src/bioviz_core"
HEART = ("errors.py", "hooks.py", "interfaces.py", "refs.py", "registry.py")
MACHINERY = "root, lab, bridge"
BUDGETS = {MACHINERY: 4500, "stimuli": 700, "analyses": 550, "testing": 650}
"""Lines of code by room; why they are counted apart: docs/decisions/budget.md."""


def lines_of_code(source: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
            tokenize.ENCODING, tokenize.ENDMARKER}  # fmt: skip
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            lines -= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    return len(lines)


def test_counting_leaves_out_docstrings_comments_and_blank_lines() -> None:
    source = '"""Doc\n\nmore."""\n\n# why\nx = """a\nb"""\ndef f():\n    """Doc."""\n    return x\n'
    assert lines_of_code(source) == 4


def test_the_heart_has_at_most_900_lines() -> None:
    assert sum(len((CORE / name).read_text().splitlines()) for name in HEART) <= 900


def test_each_room_of_core_keeps_its_budget() -> None:
    rooms = dict.fromkeys(BUDGETS, 0)
    for path in CORE.rglob("*.py"):
        room = path.relative_to(CORE).parts[0]
        rooms[room if room in BUDGETS else MACHINERY] += lines_of_code(path.read_text())
    assert not {room: count for room, count in rooms.items() if count > BUDGETS[room]}, rooms


def test_no_file_passes_its_limit() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in ROOT.glob("packages/*/src/**/*.py")
        if (count := len(path.read_text().splitlines())) > (350 if CORE in path.parents else 450)
    }
    assert not long
