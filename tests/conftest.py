"""Boards as fixtures, and the rule that CI skips nothing.

`--board NAME`, an option of the package's pytest plugin that may be given several times, chooses where the tests that
ask for `board` run; the default is the Python model and the twin, and for a few the cocotb bench and the emulated
microcontroller. The test ids differ only in the board's name. Build and start problems of the machine (a missing
compiler) skip with the tool's name; with `--no-skips`, as CI runs it, a skip fails the run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pluggy
import pytest

from codecrig.board import Board, open_board
from codecrig.twin import MissingTool

DEFAULT_BOARDS = ["model", "twin"]

# The bench makes a quarter of a million clocks a second: these two show that it works, all run with --board cocotb.
COCOTB_BY_DEFAULT = [
    "test_two_loopbacks_on_one_board_are_alike",
    "test_stop_returns_to_zero_and_starts_again_at_the_beginning",
]

# All tests together take a quarter of an hour on board twin-rp2040 (`make nightly` runs them there). These are what the
# firmware's timing may break: full duplex in every format, tight deadlines, long transfers, the end of a client.
EMULATED_BY_DEFAULT = [
    "test_digital_loopback_is_bit_exact",
    "test_loopback_with_odd_packets",
    "test_two_loopbacks_on_one_board_are_alike",
    "test_late_reading_loses_the_oldest_packets_and_says_so",
    "test_write_window",
    "test_engine_touches_nothing_but_its_buffer",
    "test_interrupted_run_keeps_what_was_captured",
]

HDL_TESTS = Path(__file__).parent / "hdl"
IN_BENCH = "CODECRIG_COCOTB_TEST"  # set in the simulation, see tests/hdl/cocotb_rung/rung.py


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "board_name" in metafunc.fixturenames:
        by_default = metafunc.definition.originalname in COCOTB_BY_DEFAULT
        emulated = metafunc.definition.originalname in EMULATED_BY_DEFAULT
        default = DEFAULT_BOARDS + ["cocotb"] * by_default + ["twin-rp2040"] * emulated
        names = metafunc.config.getoption("--board") or default
        # One worker for the bench: its tests take turns in one build anyway.
        grouped = metafunc.config.pluginmanager.hasplugin("xdist") and IN_BENCH not in os.environ
        marks = {"cocotb": [pytest.mark.xdist_group("cocotb")]} if grouped else {}
        params = [pytest.param(name, marks=marks.get(name, ())) for name in names]
        metafunc.parametrize("board_name", params, scope="session")


def in_bench(item: pytest.Item) -> bool:
    """True for a test that must run in the cocotb bench, and does not yet."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("board_name") == "cocotb" and IN_BENCH not in os.environ


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A test of board `cocotb` runs inside the simulation; here its reports are told."""
    if not in_bench(item):
        return None
    for folder in (HDL_TESTS, HDL_TESTS / "cocotb_rung"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    import rung

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in rung.reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # The test before this one left standing what the two share; what the next one does not need ends here.
    item.session._setupstate.teardown_exact(nextitem)
    return True


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
