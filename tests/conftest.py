"""Boards as fixtures, and the rule that CI skips nothing.

`--board NAME` (may be given several times) chooses where the tests that ask for `board` run; the default is the Python
model and the twin. The test ids differ only in the board's name. Build and start problems of the machine (a missing
compiler) skip with the tool's name; with `--no-skips`, as CI runs it, a skip fails the run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pluggy
import pytest

from codecrig.board import Board, open_board
from codecrig.twin import MissingTool

DEFAULT_BOARDS = ["model", "twin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--board", action="append", metavar="NAME", help="where to run: default model and twin")
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "board_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--board") or DEFAULT_BOARDS
        metafunc.parametrize("board_name", names, scope="session")


@pytest.fixture
def board(board_name: str) -> Iterator[Board]:
    """An open board, freshly started, closed (streams stopped) after the test."""
    with open_board(board_name) as opened:
        yield opened


def skip_without_tool(outcome: pluggy.Result[object]) -> None:
    """Turns "this machine lacks a tool" into a skip that names it; every other failure stays one."""
    if outcome.excinfo and issubclass(outcome.excinfo[0], MissingTool):
        outcome.force_exception(pytest.skip.Exception(str(outcome.excinfo[1])))


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup() -> Generator[None, pluggy.Result[object], None]:
    outcome = yield
    skip_without_tool(outcome)


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call() -> Generator[None, pluggy.Result[object], None]:
    outcome = yield
    skip_without_tool(outcome)


class SkipGuard:
    """Fails a run in which anything was skipped."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            print(f"\n--no-skips: {len(self.skipped)} skipped: {', '.join(sorted(set(self.skipped)))}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-skips") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipGuard())
