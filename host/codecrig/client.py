"""What the commands do with a board: play, record, loop back, through PortWaveRT and MiniportWaveRT.

A run moves one packet at a time: it waits for a packet's end, serves render first (that side has a deadline), then
capture, and samples the position of each stream with host time around it. Ctrl-C ends a run between two packets: the
streams are stopped and what was captured so far is returned, with `interrupted` set.
"""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Literal

from codecrig.board import Board, BoardError, BoardSystem, EventRecord, Snapshot
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.miniport import MiniportWaveRT
from codecrig.miniport.engine import CAPTURE_PIN, RENDER_PIN
from codecrig.port import PortWaveRT, WaveRTPin
from codecrig.portcls import KSSTATE, NTSTATUS, Format, NtStatusError

Source = Literal["converter", "loopback", "pattern"]
Path = Literal["digital", "analog"]
Progress = Callable[[int, int], None]
"""Called after each packet with the frames done and the frames wanted."""

PACKET_MS = 20
"""Packet length. Two packets of stereo 32-bit audio in each direction are 31 KB of the 124 KB there are, and a bus at
full speed needs 10 ms for 20 ms of 24-bit stereo duplex: enough room for a late host."""
EVENT_TIMEOUT_S = 1.0
"""Board time without any packet end after which a run gives up: fifty packets."""
CONVERTER_ENABLE = 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB
_SELECT = {
    "converter": InputSelect.CONVERTER,
    "loopback": InputSelect.LOOPBACK,
    "pattern": InputSelect.PATTERN,
    "digital": InputSelect.LOOPBACK,
    "analog": InputSelect.CONVERTER,
}


@dataclass(frozen=True, slots=True)
class PositionPoint:
    """One position of one stream: frames converted at board time `ticks`, read around host time `host_ns`."""

    host_ns: int
    """Middle of the bracket."""
    ticks: int
    frames: int
    stream: Literal["render", "capture"]
    bracket_ns: int = 0
    """Width of the bracket: the board's instant lies somewhere inside."""


@dataclass
class StreamRun:
    """What came out of a run."""

    format: Format
    captured: bytes | None = None
    """Bytes captured, whole frames; None if the run did not capture."""
    events: list[EventRecord] = field(default_factory=list)
    positions: list[PositionPoint] = field(default_factory=list)
    underruns: int = 0
    overruns: int = 0
    late_packets: int = 0
    """Packets that the host wrote too late or read too late."""
    first_frame_ticks: int | None = None
    """Board time of the first frame converted, within one frame; None if there was none."""
    frames_played: int = 0
    frames_captured: int = 0
    board_ticks: int = 0
    """Board time from before the first to behind the last request of the run."""
    interrupted: bool = False


class InterruptFlag:
    """Turns Ctrl-C into a flag while a run is under way, so that no exchange is cut in the middle.

    A second Ctrl-C raises KeyboardInterrupt as usual. Outside the main thread it does nothing.
    """

    def __init__(self) -> None:
        self.raised = False
        self._before: Any = None
        self._installed = False

    def __enter__(self) -> "InterruptFlag":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True


def play(
    board: Board, data: bytes, format: Format, *, packet_ms: int = PACKET_MS, progress: Progress | None = None
) -> StreamRun:
    """Play `data` (whole frames of `format`); returns when its last frame was converted.

    Raises NtStatusError if the board cannot do the format, BoardError and LinkError as the board does.
    """
    return _Run(board, format, packet_ms, progress, data=data, source="converter").run()


def record(
    board: Board,
    frames: int,
    format: Format,
    *,
    source: Source = "converter",
    packet_ms: int = PACKET_MS,
    progress: Progress | None = None,
) -> StreamRun:
    """Record `frames` frames of `format` from the ADC, the digital loopback or the pattern source."""
    if frames < 1:
        raise ValueError(f"expected at least 1 frame to record, found {frames}")
    return _Run(board, format, packet_ms, progress, capture_frames=frames, source=source).run()


def loopback(
    board: Board,
    data: bytes,
    format: Format,
    *,
    path: Path = "digital",
    tail_frames: int = 0,
    packet_ms: int = PACKET_MS,
    progress: Progress | None = None,
) -> StreamRun:
    """Play `data` and capture what comes back, until `tail_frames` behind its end.

    Both streams are in RUN (capture first) before the converter's clock is started, so the capture begins with the very
    frame with which render begins: in it the data lie as many frames behind the start as the path is long.
    """
    frames = len(data) // format.block_bytes + tail_frames
    return _Run(board, format, packet_ms, progress, data=data, capture_frames=frames, source=path).run()


class _Run:
    """One run: its pins, its clock, its results."""

    def __init__(
        self,
        board: Board,
        data_format: Format,
        packet_ms: int,
        progress: Progress | None,
        *,
        source: str,
        data: bytes | None = None,
        capture_frames: int | None = None,
    ) -> None:
        block_bytes = data_format.block_bytes
        if data is not None and (not data or len(data) % block_bytes):
            raise ValueError(f"expected whole frames of {block_bytes} bytes, at least one; found {len(data)} bytes")
        if packet_ms < 1:
            raise ValueError(f"expected packets of at least 1 ms, found {packet_ms}")
        self._board = board
        self._format = data_format
        self._progress = progress
        self._data = data
        self._source = source
        self._packet_bytes = max(1, data_format.sample_rate * packet_ms // 1000) * block_bytes
        self._play_frames = 0 if data is None else len(data) // block_bytes
        self._capture_frames = capture_frames
        self._render: WaveRTPin | None = None
        self._capture: WaveRTPin | None = None
        self._written_bytes = 0
        self._silent_packets = 0
        self._captured: list[bytes] = []
        self._captured_bytes = 0
        self._expected_packet = 0
        self._result = StreamRun(data_format)

    def run(self) -> StreamRun:
        """Do it."""
        board, result = self._board, self._result
        start_ticks = board.clock.now()
        unsubscribe = board.events.subscribe(None, result.events.append)
        try:
            with InterruptFlag() as interrupt, PortWaveRT(MiniportWaveRT(board), BoardSystem(board)) as port:
                try:
                    self._open(port)
                    self._start()
                    while not self._finished():
                        if interrupt.raised:
                            raise KeyboardInterrupt
                        self._step()
                except KeyboardInterrupt:
                    result.interrupted = True
                self._collect()
        finally:
            unsubscribe()
        result.board_ticks = board.clock.now() - start_ticks
        return result

    # ------------------------------------------------------------------ start and end

    def _open(self, port: PortWaveRT) -> None:
        if self._capture_frames is not None:
            self._capture = port.open_pin(CAPTURE_PIN, True, self._format, packet_bytes=self._packet_bytes)
        if self._data is not None:
            self._render = port.open_pin(RENDER_PIN, False, self._format, packet_bytes=self._packet_bytes)

    def _start(self) -> None:
        """Streams to RUN with the converter's clock off, then the clock: every stream starts at the same frame tick."""
        select = _SELECT[self._source] << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
        self._board.write_register(regs.FPGA_CONVERTER_CONTROL, select)
        if self._render is not None:
            self._render.set_state(KSSTATE.PAUSE)
            self._write()
        if self._capture is not None:
            self._capture.set_state(KSSTATE.RUN)
        if self._render is not None:
            self._render.set_state(KSSTATE.RUN)
            self._write()
        self._board.write_register(regs.FPGA_CONVERTER_CONTROL, select | CONVERTER_ENABLE)

    def _finished(self) -> bool:
        if self._capture_frames is not None:
            return self._captured_bytes >= self._capture_frames * self._format.block_bytes
        return self._result.frames_played >= self._play_frames

    def _collect(self) -> None:
        """Counters at the end, in PAUSE. No positions: the streams stand, but the clock goes on."""
        result = self._result
        for pin in (self._render, self._capture):
            if pin is None or pin.state is KSSTATE.STOP:
                continue
            pin.set_state(KSSTATE.PAUSE)
            snapshot = self._board.snapshot(CAPTURE_PIN if pin.capture else RENDER_PIN)
            if not pin.capture:
                result.frames_played = min(snapshot.frames, self._play_frames)
            result.underruns += snapshot.underruns
            result.overruns += snapshot.overruns
        if self._capture_frames is not None:
            captured = b"".join(self._captured)
            result.captured = captured[: self._capture_frames * self._format.block_bytes]
            result.frames_captured = len(result.captured) // self._format.block_bytes

    # ------------------------------------------------------------------ one packet

    def _step(self) -> None:
        board = self._board
        pins = [pin for pin in (self._render, self._capture) if pin is not None]
        deadline_ticks = board.events.time_ticks + board.clock.ticks(EVENT_TIMEOUT_S)
        while not any(pin.event.read_state() for pin in pins):
            board.pump(deadline_ticks)
            if board.events.time_ticks < deadline_ticks:
                continue
            snapshots = "; ".join(str(board.snapshot(CAPTURE_PIN if pin.capture else RENDER_PIN)) for pin in pins)
            raise BoardError(
                f"expected a packet end within {EVENT_TIMEOUT_S} s of board time; found none; "
                f"next step: look at state, fault and frame ticks in {snapshots}"
            )
        if self._render is not None and self._render.event.take():
            self._write()
            self._sample(self._render)
        if self._capture is not None and self._capture.event.take():
            self._read()
        if self._progress is not None:
            wanted = self._play_frames if self._capture_frames is None else self._capture_frames
            done = self._result.frames_played if self._capture_frames is None else self._frames_captured
            self._progress(min(done, wanted), wanted)

    @property
    def _frames_captured(self) -> int:
        return self._captured_bytes // self._format.block_bytes

    def _write(self) -> None:
        """Write the next packet of data, then silence until both places hold it."""
        assert self._render is not None and self._data is not None
        data = self._data[self._written_bytes : self._written_bytes + self._packet_bytes]
        if not data:
            if self._silent_packets == self._render.packets:
                return
            self._silent_packets += 1
        packet = data + bytes(self._packet_bytes - len(data))
        for _ in range(2):
            try:
                self._render.write_packet(packet)
                break
            except NtStatusError as error:
                if error.status is not NTSTATUS.DATA_LATE_ERROR:
                    raise
                self._result.late_packets += max(1, self._render.resynchronise())
        self._written_bytes += len(data)

    def _read(self) -> None:
        """Read every packet that is complete and intact."""
        assert self._capture is not None
        more = True
        while more:
            try:
                packet, data = self._capture.read_packet()
            except NtStatusError as error:
                if error.status is not NTSTATUS.DEVICE_NOT_READY:
                    raise
                return
            number = packet.PacketNumber
            lost = number - self._expected_packet
            snapshot = self._sample(self._capture)
            # Packet `number` is overwritten when the engine begins with the one that has the same place.
            if snapshot.bytes > (number + self._capture.packets) * self._packet_bytes:
                lost += 1
            self._result.late_packets += lost
            self._expected_packet = number + 1
            self._captured.append(data)
            self._captured_bytes += len(data)
            more = packet.MoreData

    def _sample(self, pin: WaveRTPin) -> Snapshot:
        """One position with its bracket of host time."""
        board, result = self._board, self._result
        before = board.link.host_time_ns()
        snapshot = board.snapshot(CAPTURE_PIN if pin.capture else RENDER_PIN)
        after = board.link.host_time_ns()
        name: Literal["render", "capture"] = "capture" if pin.capture else "render"
        middle = (before + after) // 2
        result.positions.append(PositionPoint(middle, snapshot.time_ticks, snapshot.frames, name, after - before))
        if result.first_frame_ticks is None and snapshot.frames:
            result.first_frame_ticks = snapshot.time_ticks - snapshot.frames * board.profile.frame_clocks
        if not pin.capture:
            result.frames_played = min(snapshot.frames, self._play_frames)
        return snapshot
