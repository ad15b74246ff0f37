"""The command line in this process, with what it printed and its exit code."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from bioviz_core.lab.cli.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def bioviz(capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(words)
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, printed.out, printed.err)

    return run
