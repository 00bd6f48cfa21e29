"""Static analysis of the firmware: `python firmware/analyse.py` prints what is found; exit status 1 if anything is.

gcc's analyser goes over core and native port, and with the cross compiler over what is flashed, as firmware/build.py
compiles it; cppcheck over all of it; clang-tidy over core and native port. A missing tool is named and left out.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build
import sources

TIMEOUT_S = 300
CHECKS = ",".join(
    [
        "-*",
        "bugprone-*",
        "clang-analyzer-*",
        "misc-*",
        # Matters of taste, and of C.
        "-bugprone-easily-swappable-parameters",
        "-bugprone-branch-clone",
        "-bugprone-implicit-widening-of-multiplication-result",
        "-bugprone-reserved-identifier",
        "-bugprone-suspicious-missing-comma",
        "-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling",
        "-misc-unused-parameters",
        # clang 14 does not see the va_start before a vsnprintf.
        "-clang-analyzer-valist.Uninitialized",
    ]
)


class Missing(Exception):
    """A tool, or what it needs, is not on this machine."""


def _tool(*names: str) -> str:
    for name in names:
        if shutil.which(name):
            return name
    raise Missing(f"{names[0]} not found")


def _native() -> tuple[list[str], list[str]]:
    """Files and flags of core and native port."""
    native = sources.native_sources(sources.find_tinyusb().path)
    flags = ["-std=c11", "-O1", *(f"-I{path}" for path in native.include_dirs)]
    for path in native.system_include_dirs:
        flags += ["-isystem", str(path)]
    return [str(file) for file in native.files], flags + [f"-D{define}" for define in native.defines]


def _run(command: list[str], folder: Path = sources.FIRMWARE) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"{command[0]} failed"


def gcc() -> str:
    compiler = _tool("gcc")
    files, flags = _native()
    flags += ["-Wall", "-Wextra", "-fanalyzer", "-Werror", "-c", "-o", "/dev/null"]
    found = [_run([compiler, *flags, file]) for file in files]
    return "\n".join(filter(None, found))


def cross_gcc() -> str:
    """Our files of the flashed program, with the very flags; the driver that usb_controller.c takes in is not ours."""
    for tool in build.TOOLS:
        _tool(tool)
    board = build.BOARDS["pico-ice"]
    folder = build.build(board, build.BUILD / "analysis")
    found = []
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        file = Path(entry["file"]).resolve()
        if sources.FIRMWARE not in file.parents or file.suffix != ".c":
            continue
        words = [word for word in shlex.split(entry["command"]) if word != "-flto"]
        words[words.index("-o") + 1] = "/dev/null"
        text = _run([*words, "-fanalyzer", "-Werror"], Path(entry["directory"]))
        found.append(text)
    if len(found) < len(sources.core_files()):
        return "compile_commands.json does not hold all files"
    return "\n".join(filter(None, found))


def cppcheck() -> str:
    program = _tool("cppcheck")
    folders = ("core", "port/native", "port/rp2040")
    return _run(
        [program, "--quiet", "--std=c11", "--enable=warning,style,performance,portability", "--error-exitcode=1",
         "-Icore", "-Iport/native", "-Iport/rp2040", "-DCFG_TUSB_MCU=OPT_MCU_NONE", "-DCFG_TUSB_OS=OPT_OS_NONE",
         "-DCODECRIG_BUILD=0u", *folders]
    )  # fmt: skip


def clang_tidy() -> str:
    program = _tool("clang-tidy", *(f"clang-tidy-{version}" for version in range(20, 12, -1)))
    files, flags = _native()
    return _run([program, "--quiet", f"-checks={CHECKS}", "--warnings-as-errors=*", *files, "--", *flags])


ANALYSES: dict[str, Callable[[], str]] = {
    "gcc -fanalyzer": gcc,
    "arm-none-eabi-gcc -fanalyzer": cross_gcc,
    "cppcheck": cppcheck,
    "clang-tidy": clang_tidy,
}


def main() -> int:
    status = 0
    for name, analysis in ANALYSES.items():
        try:
            found = analysis()
        except (Missing, sources.SourceError, build.BuildFailed) as problem:
            print(f"{name}: left out: {problem}")
            continue
        print(f"{name}: {found or 'nothing found'}")
        status = 1 if found else status
    return status


if __name__ == "__main__":
    raise SystemExit(main())
