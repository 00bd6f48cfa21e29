"""`codecrig check` as a user meets it, on the model."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from codecrig.cli.main import run


def test_a_kept_rule_passes_and_all_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_path, html_path, junit_path = (tmp_path / name for name in ("run.json", "run.html", "run.xml"))
    arguments = ["check", "--board", "model", "--rule", "WRT-STA-02", "--seed", "7"]
    files = ["--json", str(json_path), "--html", str(html_path), "--junit", str(junit_path)]
    assert run([*arguments, *files]) == 0
    assert "1 rules: 1 passed" in capsys.readouterr().out
    result = json.loads(json_path.read_text())
    assert result["board"] == "model" and result["seed"] == 7
    assert result["rules"]["WRT-STA-02"]["verdict"] == "passed"
    assert {"Board", "Serial", "Bitstream", "Package", "Seed"} <= set(result["provenance"])
    assert "RUN without an allocated buffer" in html_path.read_text()
    suite = ElementTree.parse(junit_path).getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("model", "1", "0")


def test_a_saboteur_fails_with_expected_found_and_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, html_path, junit_path = (tmp_path / name for name in ("1.json", "2.json", "2.html", "2.xml"))
    arguments = ["check", "--board", "model", "--rule", "WRT-STA-02"]
    assert run([*arguments, "--json", str(first)]) == 0
    more = ["--saboteur", "runs-without-a-buffer", "--beside", str(first), "--html", str(html_path)]
    assert run([*arguments, *more, "--json", str(second), "--junit", str(junit_path)]) == 1
    assert "expected INVALID_DEVICE_STATE; found success" in capsys.readouterr().out
    result = json.loads(second.read_text())["rules"]["WRT-STA-02"]
    assert result["expected"] == "INVALID_DEVICE_STATE" and any("set_state(RUN)" in line for line in result["trace"])
    assert html_path.read_text().count('<span class="badge failed">') == 3  # the page's, the rule's in both lists
    assert len(ElementTree.parse(junit_path).getroot()) == 2


def test_several_jobs_judge_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert run(["check", "--board", "model", "--rule", "WRT-STA", "--jobs", "2", "--json", str(path)]) == 0
    alone = tmp_path / "alone.json"
    assert run(["check", "--board", "model", "--rule", "WRT-STA", "--json", str(alone)]) == 0
    verdicts = [
        {rule: each["verdict"] for rule, each in json.loads(file.read_text())["rules"].items()}
        for file in (path, alone)
    ]
    assert verdicts[0] == verdicts[1] and verdicts[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rule", "WRT-XXX"], "expected a rule, a group of rules or an interface of the table, found 'WRT-XXX'"),
        (["--interface", "IMoon"], "found 'IMoon'"),
        (["--saboteur", "nobody"], "expected one of"),
        (["--miniport", "nowhere:Nothing"], "cannot be loaded"),
        (["--miniport", "codecrig.board:Board"], "expected a class with one of the interfaces"),
        (["--miniport", "codecrig"], "expected package.module:Class"),
    ],
)
def test_wrong_names_are_refused_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "--board", "model", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_run_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.json"
    path.write_text("{}")
    assert run(["check", "--board", "model", "--rule", "WRT-STA-02", "--beside", str(path)]) == 2
    assert "expected the JSON of `codecrig check`" in capsys.readouterr().err


def test_saboteurs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--saboteur", "list"]) == 0
    assert "runs-without-a-buffer: SetState(RUN) succeeds" in capsys.readouterr().out
