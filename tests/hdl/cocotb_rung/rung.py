"""Runs one pytest test inside a cocotb bench over rig_core, and brings its reports home.

The process that collected the test starts the simulation; the simulation runs pytest again in a thread, for this one
test; there `open_board("cocotb")` opens the design. The reports go home through a file. Which side a process is on,
`INSIDE` tells.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from bench import BUILD, RTL, HdlBuildError, HdlTestError, missing_tools, run_cocotb

HERE = Path(__file__).parent
INSIDE = "CODECRIG_COCOTB_TEST"
"""Environment variable: a file with the arguments of the pytest inside; set in the simulation only."""
TOP = "rung_bench"
FAILURES = BUILD / f"{TOP}-failures"


def sources() -> list[Path]:
    """The RTL of the design, then the bench."""
    return [*sorted(RTL.glob("*.sv")), HERE / "codec_model.sv", HERE / "rung_bench.sv"]


def reports(item: pytest.Item) -> list[pytest.TestReport]:
    """The reports of one test run in the bench. If it failed, it is run again with waves, which are kept."""
    missing = missing_tools()
    if missing:
        reason = f"Skipped: the cocotb bench needs {', '.join(missing)}: pip install -e '.[hdl]' and a C++ compiler"
        where = (str(item.path), (item.location[1] or 0) + 1, reason)
        return [pytest.TestReport(item.nodeid, item.location, {}, "skipped", where, "setup")]
    try:
        made = _run(item, waves=False)
    except HdlBuildError as error:
        return [_broken(item, str(error))]
    failed = [report for report in made if report.failed]
    if failed:
        failed[0].sections.append(("waves", _keep_waves(item)))
    return made


def _run(item: pytest.Item, waves: bool) -> list[pytest.TestReport]:
    folder = BUILD / f"{TOP}-items"
    folder.mkdir(parents=True, exist_ok=True)
    request = folder / f"{_file_name(item)}.json"
    answer = request.with_suffix(".answer.json")
    answer.unlink(missing_ok=True)
    names = [node.name for node in item.listchain() if isinstance(node, pytest.Class | pytest.Function)]
    inside = arguments("::".join([str(item.path), *names]), item.config)
    request.write_text(json.dumps({"arguments": inside, "answer": str(answer)}))
    try:
        run_cocotb(
            TOP, sources(), HERE / "pytest_inside.py", build_name=TOP, waves=waves, environment={INSIDE: str(request)}
        )
    except HdlTestError as error:
        return [_broken(item, f"the simulation failed: {error}")]
    made = []
    for data in json.loads(answer.read_text()):
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
        if isinstance(report, pytest.TestReport):
            report.nodeid = item.nodeid
            if isinstance(report.longrepr, list):  # JSON knows no tuples; a skip's place and reason must be one
                report.longrepr = tuple(report.longrepr)
            made.append(report)
    if not any(report.when == "teardown" for report in made):
        return [_broken(item, f"the test did not run to its end inside the bench: {answer.read_text()}")]
    return made


def arguments(test: str, config: pytest.Config) -> list[str]:
    """Command line of the pytest inside: this test only, with the suite's options, nothing else of the run outside."""
    without = [part for name in ("xdist", "cacheprovider", "faulthandler") for part in ("-p", f"no:{name}")]
    options = [f"--{name}={value}" for name in ("rule", "interface") for value in config.getoption(f"--{name}")]
    for name in ("level", "contract-seed", "miniport", "saboteur"):
        if config.getoption(f"--{name}") is not None:
            options.append(f"--{name}={config.getoption(f'--{name}')}")
    options += ["--long"] * config.getoption("--long")
    root = [f"--rootdir={config.rootpath}", f"-c{config.rootpath / 'pyproject.toml'}"]
    return [test, "--board=cocotb", *options, *root, "--capture=sys", *without]


def _keep_waves(item: pytest.Item) -> str:
    try:
        again = _run(item, waves=True)
    except (HdlBuildError, OSError) as error:  # no zlib.h, for instance: the test's own failure counts
        return f"no waves: {error}"
    FAILURES.mkdir(parents=True, exist_ok=True)
    kept = FAILURES / f"{_file_name(item)}.fst"
    shutil.copy(BUILD / f"{TOP}-waves" / "run-pytest_inside" / "dump.fst", kept)
    same = "" if any(report.failed for report in again) else " (but with waves it passed!)"
    return f"{kept}{same}"


def _file_name(item: pytest.Item) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{item.path.stem}-{item.name}").strip("-")


def _broken(item: pytest.Item, text: str) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")


class Collector:
    """Inside: gathers the reports in a form that can go home."""

    def __init__(self) -> None:
        self.data: list[object] = []
        self._config: pytest.Config | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        assert self._config is not None
        self.data.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        assert self._config is not None
        if report.failed:
            self.data.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))


def run_inside() -> None:
    """In the simulation, in a thread of its own: run the test that the environment names."""
    request = json.loads(Path(os.environ[INSIDE]).read_text())
    collector = Collector()
    pytest.main(request["arguments"], plugins=[collector])
    Path(request["answer"]).write_text(json.dumps(collector.data))
