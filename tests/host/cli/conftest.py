"""What the command line's own tests share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecrig.cli.main import run


class Outcome:
    """What one command line did."""

    def __init__(self, status: int, out: str, err: str, result: dict[str, Any] | None) -> None:
        self.status, self.out, self.err, self.result = status, out, err, result

    @property
    def message(self) -> str:
        """The one line of an error, without its hint."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


@pytest.fixture
def codecrig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs a command line in an empty folder; `--json` is added where `json_path` is not False."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, with_json: bool = True) -> Outcome:
        target = tmp_path / "outcome.json"
        target.unlink(missing_ok=True)
        words = [str(each) for each in arguments] + (["--json", str(target)] if with_json else [])
        status = run(words)
        captured = capsys.readouterr()
        result = json.loads(target.read_text()) if target.exists() else None
        return Outcome(status, captured.out, captured.err, result)

    return call
