"""The committed register files are what the description generates, and a change of the description is noticed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("systemrdl", reason="systemrdl-compiler is not installed: pip install -e .[hdl]")

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", REPOSITORY / "hdl/regs/generate.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["generate"] = module
    specification.loader.exec_module(module)
    return module


def test_committed_files_are_current(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0


def test_a_changed_description_is_noticed(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "codecrig.rdl"
    changed.write_text(generator.SOURCE.read_text().replace("SCRATCH @0x028", "SCRATCH @0x02C", 1))
    monkeypatch.setattr(generator, "SOURCE", changed)
    assert generator.main(["--check"]) == 1
    assert "docs/registers.md" in capsys.readouterr().err


def test_all_languages_carry_the_same_constants(generator: ModuleType) -> None:
    description = generator.Description()
    header = generator.c_header(description)
    package = generator.systemverilog(description)
    python = generator.python(description)
    constants = list(generator._constants(description))
    assert len(constants) > 150
    for name, value, _ in constants:
        assert f"#define {name} 0x{value:08X}u" in header
        assert f"{name} = 32'h{value:08X};" in package
        assert f"\n{name} = 0x{value:X}\n" in python
