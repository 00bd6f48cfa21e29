"""Firmware core and native port under address and undefined-behaviour sanitizers.

Builds one program from the firmware, TinyUSB and the C tests beside this file, and runs each C test in a process of its
own. The C tests drive the firmware as the twin does: USB packets on one side, an SPI slave of their own on the other.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
FIRMWARE = HERE.parents[1] / "firmware"

TEST_FILES = sorted(HERE.glob("test_*.c"))
NAMES = [name for file in TEST_FILES for name in re.findall(r"^TEST\((\w+)\)", file.read_text("utf-8"), re.MULTILINE)]

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMMON = ["-std=c11", "-O1", "-g", *SANITIZERS]
STRICT = ["-Wall", "-Wextra", "-Werror"]
OURS = [*STRICT, "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla"]
COMPILE_TIMEOUT_S = 120.0  # one file
RUN_TIMEOUT_S = 60.0  # one test; the longest takes about a second


def load_sources() -> ModuleType:
    """firmware/sources.py, which lies outside any package."""
    specification = importlib.util.spec_from_file_location("codecrig_firmware_sources", FIRMWARE / "sources.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


class FirmwareBuild:
    """Compiles and links test programs; objects are shared between variants."""

    def __init__(self, compiler: str, folder: Path) -> None:
        sources = load_sources()
        try:
            tinyusb = sources.find_tinyusb()
        except sources.SourceError as problem:
            pytest.skip(f"TinyUSB is missing: {problem}")
        self.compiler = compiler
        self.folder = folder
        self.native = sources.native_sources(tinyusb.path)
        includes = [HERE, *self.native.include_dirs]
        self.flags = [f"-I{path}" for path in includes]
        for path in self.native.system_include_dirs:
            self.flags += ["-isystem", str(path)]
        self.flags += [f"-D{define}" for define in self.native.defines]
        self.objects = {file: self.compile(file, [*COMMON, *OURS]) for file in self.native.files}
        self.objects |= {file: self.compile(file, COMMON) for file in self.native.third_party_files}
        for file in [HERE / "rig.c", *TEST_FILES]:
            self.objects[file] = self.compile(file, [*COMMON, *STRICT])

    def compile(self, file: Path, flags: Sequence[str], suffix: str = "") -> Path:
        result = self.folder / f"{file.stem}{suffix}.o"
        self.run([self.compiler, *flags, *self.flags, "-c", str(file), "-o", str(result)])
        return result

    def link(self, name: str, objects: Sequence[Path]) -> Path:
        result = self.folder / name
        self.run([self.compiler, *SANITIZERS, *map(str, objects), "-o", str(result)])
        return result

    @staticmethod
    def run(command: Sequence[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def find_compiler() -> str | None:
    for name in (os.environ.get("CC"), "gcc", "clang", "cc"):
        if name and shutil.which(name):
            return name
    return None


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> FirmwareBuild:
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler: looked for $CC, gcc, clang and cc")
    return FirmwareBuild(compiler, tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="session")
def program(firmware: FirmwareBuild) -> Path:
    return firmware.link("firmware_tests", list(firmware.objects.values()))


def run_test(program: Path, name: str) -> str:
    done = subprocess.run([str(program), name], capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert done.returncode == 0, f"{name} ended with {done.returncode}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_firmware(program: Path, name: str) -> None:
    run_test(program, name)


def test_every_c_test_is_registered(program: Path) -> None:
    done = subprocess.run([str(program), "--list"], capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert sorted(done.stdout.split()) == sorted(NAMES)
    assert len(NAMES) == len(set(NAMES)) > 60


def test_a_failing_check_fails(firmware: FirmwareBuild) -> None:
    """The bench must be able to say no."""
    file = firmware.folder / "wrong.c"
    file.write_text('#include "rig.h"\nTEST(wrong) { rig_start(); CHECK_EQUAL(wire_read_register(BRIDGE_ID), 0); }\n')
    wrong = firmware.compile(file, [*COMMON, *STRICT])
    program = firmware.link("wrong", [*firmware.objects.values(), wrong])
    done = subprocess.run([str(program), "wrong"], capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert done.returncode == 1
    assert "expected 0x0, found 0x43524252" in done.stderr


def test_usb_identifier_is_the_builds_choice(firmware: FirmwareBuild, program: Path) -> None:
    assert run_test(program, "usb_identifier") == "1209:0001\n"
    descriptors = FIRMWARE / "core" / "usb_descriptors.c"
    other = firmware.compile(
        descriptors, [*COMMON, *OURS, "-DCODECRIG_USB_VID=0x2E8A", "-DCODECRIG_USB_PID=0xBEEF"], "_other"
    )
    objects = [other if file == descriptors else path for file, path in firmware.objects.items()]
    assert run_test(firmware.link("other", objects), "usb_identifier") == "2E8A:BEEF\n"


def test_bridge_memory_fits_the_rp2040(firmware: FirmwareBuild) -> None:
    """Static memory of all our code, without sanitizers: less than half of 264 KiB."""
    size = shutil.which("size")
    if size is None:
        pytest.skip("size (binutils) is missing")
    objects = [
        firmware.compile(file, ["-std=c11", "-Os"], "_plain")
        for file in [*firmware.native.files, *firmware.native.third_party_files]
    ]
    done = subprocess.run([size, *map(str, objects)], capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    total = sum(int(data) + int(bss) for _text, data, bss, *_rest in rows)
    assert 57344 < total < 132 * 1024, done.stdout
