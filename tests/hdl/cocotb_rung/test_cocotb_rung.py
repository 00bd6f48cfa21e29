"""The rung `cocotb`: the link, the example of docs/cocotb.md, and pytest tests inside the simulator."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from bench import BUILD, REPOSITORY, RTL, run_cocotb

from codecrig.board import Bench, EnvironmentProblem, list_boards, open_board
from codecrig.link import registers as regs

HERE = Path(__file__).parent
WITH_WORD_PORT = [
    *sorted(path.name for path in RTL.glob("*.sv") if path.name != "request_parser.sv"),
    HERE / "word_port.sv",
]


def test_link_over_the_word_bus() -> None:
    run_cocotb("rig_core", WITH_WORD_PORT, HERE / "link_bench.py", build_name="rig_core-word_port")


def test_link_over_spi_pins() -> None:
    parameters = {"STREAMS": 2, "BUILD": 0x1234ABCD}  # those of test_rig_core: one build for both
    run_cocotb("rig_core", sorted(path.name for path in RTL.glob("*.sv")), HERE / "link_bench.py", parameters)


def test_example_of_the_docs_takes_the_same_time_twice() -> None:
    ends = set()
    for _ in range(2):
        run_cocotb("rig_core", WITH_WORD_PORT, HERE / "example_bench.py", build_name="rig_core-word_port")
        log = (BUILD / "rig_core-word_port" / "run-example_bench" / "test.log").read_text()
        ends.update(re.findall(r"loopback_of_my_design +PASS +([0-9.]+)", log))
    assert len(ends) == 1, f"simulation time at the end, in ns: {ends}"


def test_docs_show_the_example_that_was_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "cocotb.md").read_text(), re.DOTALL)
    assert (HERE / "example_bench.py").read_text() in blocks


def test_outside_a_bench_the_board_says_where_it_lives() -> None:
    with pytest.raises(EnvironmentProblem, match=r"inside a cocotb bench.*docs/cocotb\.md"):
        open_board("cocotb")
    (listing,) = (listing for listing in list_boards() if listing.name == "cocotb")
    assert not listing.available and "docs/cocotb.md" in listing.detail


def test_the_latest_offer_stands_until_it_ends() -> None:
    pytest.importorskip("cocotb")
    from codecrig.link.cocotb import SpiFront, offer, offered

    first, second, bench = SpiFront(Mock()), SpiFront(Mock()), Bench()
    with offer(first):
        with pytest.raises(KeyError), offer(second, bench):
            found = offered()
            assert found is not None and found.front is second and found.bench is bench
            raise KeyError
        found = offered()
        assert found is not None and found.front is first and found.bench is None
    assert offered() is None


def test_without_cocotb_the_board_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "codecrig.link.cocotb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("codecrig.link.cocotb", raising=False)
    monkeypatch.setitem(sys.modules, "cocotb.task", None)
    with pytest.raises(EnvironmentProblem, match=r"codecrig\[hdl\]"):
        open_board("cocotb")


@pytest.mark.xdist_group("cocotb")
def test_outcomes_come_home_and_a_failure_brings_its_waves() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--board=cocotb", "-p", "no:cacheprovider", HERE / "failing_example.py"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    assert "1 failed, 1 passed, 1 skipped" in run.stdout, run.stdout
    assert re.search(rf"assert {regs.FPGA_ID_RESET} == 0", run.stdout), run.stdout
    assert "said inside the simulator" in run.stdout and "for a reason of its own" in run.stdout
    waves = re.search(r"^(/.*test_fails-cocotb\.fst)$", run.stdout, re.MULTILINE)
    assert waves is not None, run.stdout
    assert Path(waves[1]).stat().st_size > 10_000


@pytest.mark.xdist_group("cocotb")
@pytest.mark.parametrize(("options", "outcome"), [([], "1 passed"), (["--saboteur=has-every-interface"], "1 failed")])
def test_options_of_the_suite_reach_the_simulation(options: list[str], outcome: str) -> None:
    """A rule that is not among those of the slow rung is judged if it is named."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    suite = REPOSITORY / "tests" / "contract" / "test_rules.py"
    chosen = ["--board=cocotb", "--rule=GEN-QIF-01", *options, "-p", "no:cacheprovider", suite]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert re.search(rf"\b{outcome} in ", run.stdout), run.stdout + run.stderr
