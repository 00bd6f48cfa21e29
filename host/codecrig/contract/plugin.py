"""The pytest plugin: the contract as tests, and boards as fixtures for tests of your own.

    pytest --pyargs codecrig.contract --board twin --rule WRT-STA-02

Fixtures: `board`, an open board; `rig`, the same with objects under test, as the checks get it; `wavert_stream` and
`capture_stream`, WaveRT pins with two packets of 10 ms, stopped. A verdict other than passed or skipped fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from codecrig.board import Board
    from codecrig.contract.checks import Check
    from codecrig.contract.rig import Objects, Rig
    from codecrig.contract.runner import Runner
    from codecrig.port.wavert import WaveRTPin

_RESULT = "codecrig_contract"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the suite."""
    group = parser.getgroup("codecrig", "audio boards and the stream contract")
    group.addoption("--board", action="append", metavar="NAME", help="board to use; may be given several times")
    group.addoption("--rule", action="append", default=[], metavar="ID", help="judge this rule, or ids beginning so")
    group.addoption("--interface", action="append", default=[], metavar="NAME", help="judge rules of this interface")
    group.addoption("--level", choices=["must", "should"], help="judge rules of this level")
    group.addoption("--long", action="store_true", help="cover whole spans instead of preloading counters")
    group.addoption("--contract-seed", type=int, default=1, metavar="N", help="order of the rules (default 1)")
    group.addoption("--miniport", metavar="MODULE:CLASS", help="judge this miniport instead of ours")
    group.addoption("--saboteur", metavar="NAME", help="build in a defect, to see what finds it")
    group.addoption("--contract-json", type=Path, metavar="FILE", help="write the verdicts")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "rule(id): the contract rule that a test judges")


def selected_checks(config: pytest.Config) -> list[Check]:
    """The checks that the options choose, shuffled."""
    import random

    from codecrig.contract.checks import select

    option = config.getoption
    checks = select(option("--rule"), option("--interface"), option("--level"))
    random.Random(option("--contract-seed")).shuffle(checks)
    return checks


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each rule; in the package itself one for each board, too."""
    if "contract_check" in metafunc.fixturenames:
        params = [
            pytest.param(each, id=each.rule.id, marks=pytest.mark.rule(each.rule.id))
            for each in selected_checks(metafunc.config)
        ]
        metafunc.parametrize("contract_check", params)
    if "board_name" in metafunc.fixturenames and metafunc.module.__name__.startswith("codecrig.contract"):
        metafunc.parametrize("board_name", metafunc.config.getoption("--board") or ["twin"], scope="session")


@pytest.fixture(scope="session")
def board_name(request: pytest.FixtureRequest) -> str:
    """Name of the board to test on: --board, or twin."""
    names: list[str] = request.config.getoption("--board") or ["twin"]
    return names[0]


@pytest.fixture
def board(board_name: str) -> Iterator[Board]:
    """An open board, closed (streams stopped) after the test."""
    from codecrig.board import open_board

    with open_board(board_name) as opened:
        yield opened


@pytest.fixture(scope="session")
def contract_objects(request: pytest.FixtureRequest) -> Objects:
    """The classes under test, as --miniport and --saboteur choose them."""
    from codecrig.contract.checks import chosen_objects

    return chosen_objects(request.config.getoption("--miniport"), request.config.getoption("--saboteur"))


@pytest.fixture
def rig(board: Board, contract_objects: Objects, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The board with objects under test; what the test leaves open is closed."""
    from codecrig.contract.rig import Rig

    made = Rig(board, contract_objects, long=request.config.getoption("--long"))
    yield made
    problems = made.close()
    if problems:
        raise problems[0]


@pytest.fixture
def wavert_stream(rig: Rig) -> WaveRTPin:
    """A stopped render pin with two packets of 10 ms in the first format of the board."""
    form = rig.formats[0]
    return rig.wavert().open_pin(0, False, form, packet_bytes=form.bytes_per_second // 100)


@pytest.fixture
def capture_stream(rig: Rig) -> WaveRTPin:
    """A stopped capture pin with two packets of 10 ms in the first format of the board."""
    form = rig.formats[0]
    return rig.wavert().open_pin(1, True, form, packet_bytes=form.bytes_per_second // 100)


@pytest.fixture(scope="session")
def contract_runners(request: pytest.FixtureRequest) -> Iterator[dict[str, Runner]]:
    """Boards kept open between rules, by name."""
    runners: dict[str, Runner] = {}
    yield runners
    for each in runners.values():
        each.close()


@pytest.fixture
def contract_runner(
    board_name: str,
    contract_runners: dict[str, Runner],
    contract_objects: Objects,
    request: pytest.FixtureRequest,
) -> Runner:
    """Judges rules on the board."""
    from codecrig.contract.runner import Runner

    if board_name not in contract_runners:
        long = request.config.getoption("--long")
        contract_runners[board_name] = Runner.by_name(board_name, contract_objects, long=long)
    return contract_runners[board_name]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect verdicts, also those of other processes."""
    for name, value in report.user_properties:
        if name == _RESULT and report.when == "call" and isinstance(value, dict):
            _collected.setdefault(value["board"], {})[value["rule"]] = value["result"]


_collected: dict[str, dict[str, Any]] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Counts of verdicts by board, and the file."""
    for board, results in _collected.items():
        counts: dict[str, int] = {}
        for each in results.values():
            counts[each["verdict"]] = counts.get(each["verdict"], 0) + 1
        text = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        terminalreporter.write_line(f"contract on {board}: {text} (seed {config.getoption('--contract-seed')})")
    path: Path | None = config.getoption("--contract-json")
    if path is not None:
        path.write_text(json.dumps({"boards": _collected}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
