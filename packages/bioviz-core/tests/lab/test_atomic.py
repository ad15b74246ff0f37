from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bioviz_core.errors import RunStateError
from bioviz_core.lab import atomic

FULL = """
import resource, sys
from pathlib import Path
from bioviz_core.errors import BiovizError
from bioviz_core.lab import atomic
folder = Path(sys.argv[1])
atomic.write_text(folder / "kept", "before")
rows = (folder / "rows").open("ab", buffering=0)
atomic.append(rows, {"step": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (24, resource.RLIM_INFINITY))
for write in (lambda: atomic.write_text(folder / "kept", "x" * 99),
              lambda: atomic.append(rows, {"step": 2, "loss": 0.123456789})):
    try:
        write()
    except BiovizError as error:
        print(error)
"""


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    atomic.write_json(file, {"a": 1})
    monkeypatch.setattr(atomic.os, "replace", None)
    with pytest.raises(TypeError):
        atomic.write_json(file, {"a": 2})
    assert atomic.read_json(file) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("no room on the disk to write") == 2
    assert (tmp_path / "kept").read_text() == "before"
    assert atomic.read_lines(tmp_path / "rows") == [{"step": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "rows"]


@pytest.mark.parametrize("torn", [b'{"step": 3, "lo', b'{"step": 3}', b"\xff"])
def test_a_torn_last_line_is_skipped_and_cut(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b'{"step": 1}\n{"step": 2}\n' + torn)
    assert atomic.read_lines(file) == [{"step": 1}, {"step": 2}]
    atomic.keep_lines(file, 2)
    with file.open("ab", buffering=0) as rows:
        atomic.append(rows, {"step": 3})
    assert [row["step"] for row in atomic.read_lines(file)] == [1, 2, 3]


def test_a_damaged_line_in_the_middle_is_no_torn_tail(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunStateError, match=r"line 2 of .* is damaged"):
        atomic.read_lines(file)


def test_rows_that_a_checkpoint_needs_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b'{"step": 1}\n')
    with pytest.raises(RunStateError, match="has 1 whole rows"):
        atomic.keep_lines(tmp_path / "rows", 2)


def test_unreadable_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RunStateError, match=r"a\.json cannot be read"):
        atomic.read_json(tmp_path / "a.json")
