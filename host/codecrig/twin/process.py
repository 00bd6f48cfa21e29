"""Starts and ends the twin program, and tells why it died."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from codecrig.twin import defects
from codecrig.twin.builder import Emulation, Progress, build

# The program only binds two sockets and lets its firmware enumerate; seconds on a loaded machine.
START_TIMEOUT_S = 30.0
# After end of file at its standard input the program ends within a slice of simulation.
STOP_TIMEOUT_S = 3.0
LOG_LINES_IN_FAILURE = 8
DEFAULT_SERIAL = 0xC0DEC00000000001


class TwinError(Exception):
    """The twin program did not start. The message holds its last log lines."""


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """The analog path from DAC to ADC. 24-bit steps; exact arithmetic is documented in native/codec.h."""

    gain_q16: int = 65536  # 65536 = unity
    noise_lsb: int = 0  # peak of triangular noise
    dc_lsb: int = 0
    delay_frames: int = 22  # group delays of both converters; 0 is one frame from DAC to ADC
    connected: bool = True  # the cable


class TwinProcess:
    """A running twin; a context manager. Builds the program first if need be (see `build`).

    `clock_ppm`: how much faster the board's clock runs than the USB host's. `pace="real"` keeps board time from running
    ahead of the wall clock. `trace`: an FST file to write. `serial`: the board's 64-bit number. Port 0 is any free one.
    `program`: run this one instead of building.
    `defect`: the one of `defects.DEFECTS` that the RTL has, by name.
    `emulation`: run the flashed firmware in the emulator (see `build_emulation`), not that for this machine.
    `log`: where the program's messages go; a temporary file if not given, removed on close unless the twin failed.
    """

    host = "127.0.0.1"
    bus_id = "1-1"

    def __init__(
        self,
        *,
        clock_ppm: float = 37.0,
        pace: Literal["virtual", "real"] = "virtual",
        trace: Path | None = None,
        codec: CodecSettings | None = None,
        serial: int = DEFAULT_SERIAL,
        port: int = 0,
        control_port: int = 0,
        log: Path | None = None,
        guard_seconds: float = 60.0,
        progress: Progress | None = None,
        program: Path | None = None,
        emulation: Emulation | None = None,
        defect: str | None = None,
    ) -> None:
        defect_bit = None if defect is None else defects.number(defect)
        if program is None:
            program = build(progress, trace=trace is not None, defects=defect is not None)
        codec = codec or CodecSettings()
        command = [
            str(program),
            "--watch-stdin",
            "--clock-ppm", repr(float(clock_ppm)),
            "--pace", pace,
            "--serial", str(serial),
            "--port", str(port),
            "--control-port", str(control_port),
            "--gain-q16", str(codec.gain_q16),
            "--noise-lsb", str(codec.noise_lsb),
            "--dc-lsb", str(codec.dc_lsb),
            "--delay-frames", str(codec.delay_frames),
            "--guard-seconds", repr(float(guard_seconds)),
        ]  # fmt: skip
        if not codec.connected:
            command.append("--disconnected")
        if emulation is not None:
            command += ["--emulator", str(emulation.program), "--firmware", str(emulation.firmware)]
        if defect_bit is not None:
            command += ["--defect", str(defect_bit)]
        if trace is not None:
            command += ["--trace", str(trace)]
        self._own_log = log is None
        if log is None:
            descriptor, name = tempfile.mkstemp(prefix="codecrig-twin-", suffix=".log")
            log_file = os.fdopen(descriptor, "wb")
            log = Path(name)
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            log_file = log.open("wb")
        self.log = log
        self._closed = False
        self._failure: str | None = None
        with log_file:
            # The program ends at end of file of its standard input: the pipe closes even if this process is killed.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log_file, start_new_session=True
            )
        atexit.register(self.close)
        try:
            ports = self._read_ports()
        except BaseException:
            self._end()
            raise
        self.usbip_port: int = ports["usbip_port"]
        self.control_port: int = ports["control_port"]

    def alive(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str | None:
        """Why the program died by itself, with its last log lines; None while it lives or after an orderly end."""
        code = self._process.poll()
        if self._closed or code is None or code == 0:
            return self._failure
        if code < 0:
            try:
                what = f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                what = f"was killed by signal {-code}"
        else:
            what = f"ended with exit code {code}"
        self._failure = f"the twin {what}; last lines of {self.log}:\n{self._last_log_lines()}"
        return self._failure

    def close(self) -> None:
        """Ends the program. May be called again."""
        if self._closed:
            return
        self.failure()
        self._closed = True
        self._end()
        atexit.unregister(self.close)
        if self._own_log and self._failure is None:
            self.log.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _read_ports(self) -> dict[str, int]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TwinError(
                        f"the twin did not report its ports within {START_TIMEOUT_S:.0f} s; last lines of {self.log}:\n"
                        f"{self._last_log_lines()}"
                    )
                chunk = os.read(self._process.stdout.fileno(), 4096)
                if not chunk:
                    code = self._process.wait()
                    raise TwinError(
                        f"the twin ended at its start with exit code {code}; last lines of {self.log}:\n"
                        f"{self._last_log_lines()}"
                    )
                line += chunk
        ports: dict[str, int] = json.loads(line)
        return ports

    def _last_log_lines(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES_IN_FAILURE:]) or "  (empty)"
