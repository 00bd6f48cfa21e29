"""Fuzzes the bridge with libFuzzer under address and undefined-behaviour sanitizers.

    python tests/firmware/fuzz.py [SECONDS]

Starts from the inputs in corpus/ and keeps what it finds in build/fuzz/. Exit status 1 if an input makes the firmware
fail; the input is then named. With --merge it adds to corpus/ what reaches code that the inputs there do not. Needs
clang with its runtime; on Debian: apt install clang-14 libclang-rt-14-dev.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fuzz"
CORPUS = HERE / "corpus"
INPUT_BYTES = 1024
HANG_S = 120  # wall clock; an input takes milliseconds, but the machine may be busy with other things

sys.path.insert(0, str(ROOT / "firmware"))

import sources  # noqa: E402


def find_clang() -> str | None:
    """clang of any version."""
    names = ["clang", *(f"clang-{version}" for version in range(20, 12, -1))]
    return next((path for name in names if (path := shutil.which(name))), None)


def build(clang: str) -> Path:
    """The fuzzer program."""
    native = sources.native_sources(sources.find_tinyusb().path)
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "fuzz_bridge"
    includes = [f"-I{path}" for path in (HERE, *native.include_dirs)]
    for path in native.system_include_dirs:
        includes += ["-isystem", str(path)]
    files = [*native.files, *native.third_party_files, HERE / "rig.c", HERE / "fuzz_bridge.c"]
    subprocess.run(
        [clang, "-std=c11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all",
         "-DRIG_FUZZING",
         *includes, *(f"-D{define}" for define in native.defines), *map(str, files), "-o", str(program)],
        check=True,
    )  # fmt: skip
    return program


def main(arguments: list[str]) -> int:
    merge = "--merge" in arguments
    seconds = next((int(text) for text in arguments if text.isdigit()), 60)
    clang = find_clang()
    if clang is None:
        print("error: clang not found; on Debian: apt install clang-14 libclang-rt-14-dev", file=sys.stderr)
        return 3
    program = build(clang)
    found = BUILD / "found"
    found.mkdir(exist_ok=True)
    CORPUS.mkdir(exist_ok=True)
    common = [f"-max_len={INPUT_BYTES}", "-print_final_stats=1", f"-artifact_prefix={BUILD}/"]
    if merge:
        # As few inputs as reach every edge; how often each is passed does not count.
        smallest = ["-set_cover_merge=1", "-use_counters=0"]
        return subprocess.run([str(program), *smallest, *common, str(CORPUS), str(found)]).returncode
    done = subprocess.run(
        [str(program), f"-max_total_time={seconds}", f"-timeout={HANG_S}", *common, str(found), str(CORPUS)],
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    (BUILD / "fuzz.log").write_text(done.stderr)
    if done.returncode != 0:
        print("\n".join(done.stderr.splitlines()[-40:]))
        return 1
    covered = re.findall(r"cov: (\d+)", done.stderr)
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    print(f"{executed[1] if executed else '?'} inputs, {covered[-1] if covered else '?'} edges covered, no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
