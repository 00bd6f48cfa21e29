"""Runs inside the simulation, in place of a test module: gives every test of a suite a fresh copy of the simulator.

The simulator starts once, loads Python, cocotb and the suite, and comes here before its first time step. From here it
forks a child for each pair of mutant and test. The child writes the number of its mutant to the file `mutant`, which
the netlist reads in an `initial` block, and goes on as an ordinary cocotb run of that one test. So a test costs its
own time only, none sees what another one left behind, and the verdict on a mutant does not depend on the order of the
tests. That order is by kills per second so far, and the first failure ends the mutant.

A child has three ends: its results file says passed or failed; it dies without one; or it exceeds its limits. The
limit of simulated time is what ends hung tests; it is the same on every machine. That of CPU time is for loops without
simulated time.

The task comes as JSON in the file that MUTATE_TASK names, results go to `lines`, a JSON object each.
"""

import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

from cocotb import _shutdown, simulator

PASSED, FAILED, DIED, HUNG = "passed", "failed", "died", "hung"
EXIT_HUNG = 86
SIMULATED_FACTOR = 3  # a test may take this many times its own simulated time
CPU_FACTOR = 6


class Case:
    """A test of the suite, and what it has done so far."""

    def __init__(self, test: object, name: str) -> None:
        self.test, self.name = test, name
        self.seconds = 0.0  # CPU time without a mutant
        self.steps = 0  # simulated time without a mutant
        self.kills = 0
        self.runs = 0

    @property
    def worth(self) -> float:
        """Kills per second, with a small benefit of the doubt."""
        return (self.kills + 0.5) / (self.runs + 1) / (self.seconds + 0.02)


def cases(suite: str, without: Iterable[str]) -> list[Case]:
    found = []
    for value in vars(import_module(suite)).values():
        if hasattr(value, "generate_tests"):  # cocotb.test() on a function, with parameters or without
            found.extend(value.generate_tests())
    left_out = set(without)
    chosen = [Case(test, test.name) for test in found if not {test.name, test.name.split("/")[0]} & left_out]
    return [case for case in chosen if not case.test.skip]


def become(case: Case, number: int, folder: Path, limited: bool) -> None:
    """In the child: everything until the import returns and cocotb finds the one test."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    Path("mutant").write_text(f"{number}\n")
    Path("results.xml").unlink(missing_ok=True)
    os.environ["COCOTB_RESULTS_FILE"] = str(folder / "results.xml")
    log = os.open("test.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if limited:
        simulator.register_timed_callback(SIMULATED_FACTOR * case.steps + 1_000_000, os._exit, EXIT_HUNG)
        seconds = 2 + math.ceil(CPU_FACTOR * case.seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    # The results are written by then. The simulator's own end waits for a thread that a fork does not have.
    _shutdown.register(leave)
    globals()["the_test"] = case.test


def leave() -> None:
    sys.stdout.flush()
    os._exit(0)


def read_results(file: Path) -> tuple[bool, int]:
    """Whether the one test passed, and its simulated time in steps of the simulator."""
    root = ElementTree.parse(file).getroot()
    tests = list(root.iter("testcase"))
    passed = len(tests) == 1 and all(root.find(f".//{kind}") is None for kind in ("failure", "error", "skipped"))
    stops = [item.get("value") for item in root.iter("property") if item.get("name") == "sim_time_stop"]
    return passed, math.ceil(float(stops[0] or 0) * 10.0 ** (-9 - simulator.get_precision())) if stops else 0


def end_of(child: int, folder: Path) -> tuple[str, float, int]:
    """Outcome, CPU seconds and simulated steps of a child."""
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return HUNG, seconds, 0
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == EXIT_HUNG:
        return HUNG, seconds, 0
    if not (folder / "results.xml").exists():
        return DIED, seconds, 0
    passed, steps = read_results(folder / "results.xml")
    return (PASSED if passed else FAILED), seconds, steps


def serve() -> None:
    """Returns in the children only."""
    starter = os.getppid()
    task = json.loads(Path(os.environ["MUTATE_TASK"]).read_text())
    suite = cases(task["suite"], task["without"])
    folder = Path(task["folder"])
    lines = open(task["lines"], "w", buffering=1)

    def tell(**what: object) -> None:
        lines.write(json.dumps(what) + "\n")

    if not suite:
        tell(error=f"{task['suite']} has no test")
        os._exit(0)
    sound = True
    for index, case in enumerate(suite):
        place = folder / f"whole-{index}"
        child = os.fork()
        if child == 0:
            return become(case, 0, place, False)
        outcome, case.seconds, case.steps = end_of(child, place)
        tell(case=case.name, outcome=outcome, seconds=round(case.seconds, 3), log=str(place / "test.log"))
        sound = sound and outcome == PASSED
    if not sound:
        os._exit(0)
    for number in task["numbers"]:
        if os.getppid() != starter:
            break  # nobody listens any more
        started, spent, killer, outcome = time.monotonic(), 0.0, "", PASSED
        for index, case in enumerate(sorted(suite, key=lambda case: -case.worth)):
            place = folder / (f"mutant-{number}-{index}" if task["all_tests"] else "mutant")
            child = os.fork()
            if child == 0:
                return become(case, number, place, True)
            ended, seconds, _ = end_of(child, place)
            spent += seconds
            case.runs += 1
            if task["all_tests"]:
                tell(number=number, case=case.name, outcome=ended, log=str(place / "test.log"))
            if ended != PASSED and outcome == PASSED:
                outcome, killer = ended, case.name
                case.kills += 1
                if not task["all_tests"]:
                    break
        wall = time.monotonic() - started
        tell(number=number, outcome=outcome, killer=killer, cpu=round(spent, 3), wall=round(wall, 3))
    os._exit(0)


serve()
