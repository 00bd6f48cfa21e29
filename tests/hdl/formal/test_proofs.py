"""The quick proofs of hdl/formal: each holds, reaches its covers, and fails with the first of its faults in the RTL.

All faults, and the other proofs: python hdl/formal/prove.py.
"""

import importlib.util
import sys
from types import ModuleType

import pytest
from bench import REPOSITORY, RTL


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("prove", REPOSITORY / "hdl" / "formal" / "prove.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["prove"] = module
    specification.loader.exec_module(module)
    return module


prove = load()
FAST = [task for task in prove.TASKS if task.fast]
needs_tools = pytest.mark.skipif(bool(prove.missing_tools()), reason=f"proofs need {', '.join(prove.missing_tools())}")


@needs_tools
@pytest.mark.parametrize("task", FAST, ids=lambda task: task.name)
def test_proof(task: object) -> None:
    for run in prove.runs(task, fast=True):
        result = run()
        assert result.passed, f"{result.task} {result.run}: {result.detail}"


@pytest.mark.parametrize("task", prove.TASKS, ids=lambda task: task.name)
def test_faults_apply(task: object) -> None:
    """Every task has a fault, and each fault still fits the RTL, the slow ones too."""
    assert task.faults
    for fault in task.faults:
        text = (RTL / fault.file).read_text()
        assert prove.apply_fault(text, fault) != text


def test_stale_fault_is_refused() -> None:
    fault = prove.Fault("none", "memory_arbiter.sv", "twice", "once")
    with pytest.raises(prove.ProofError, match="stands 2 times"):
        prove.apply_fault("twice, twice", fault)
    with pytest.raises(prove.ProofError, match="stands 0 times"):
        prove.apply_fault("", fault)
