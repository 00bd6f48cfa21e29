"""What the commands do with a board: play, record, loop back, through the port and miniport of a stream model.

A run moves one packet at a time: it waits for an event of a pin, serves render first (that side has a deadline), then
capture, and samples the position of each stream with host time around it. Ctrl-C ends a run between two packets: the
streams are stopped and what was captured so far is returned, with `interrupted` set.
"""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Literal

from codecrig.board import Board, BoardError, EventRecord, Snapshot, stream_register
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.miniport.engine import CAPTURE_PIN, RENDER_PIN, rate_bits
from codecrig.portcls import KSSTATE, Format
from codecrig.transport import CaptureSide, RenderSide, StreamModel, Transport

Source = Literal["converter", "loopback", "pattern"]
Path = Literal["digital", "analog"]
Progress = Callable[[int, int], None]
"""Called after each packet with the frames done and the frames wanted."""

PACKET_MS = 20
"""Packet length. Two packets of stereo 32-bit audio in each direction are 31 KB of the 124 KB there are, and a bus at
full speed needs 10 ms for 20 ms of 24-bit stereo duplex: enough room for a late host."""
PLACES_IN_FRAME = 8
"""Positions are read at so many places in a frame in turn: always at the same one, a rate cannot be told within a
frame. Events come at the beginning of a frame, and the way from there to the read is as long each time."""
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
    board: Board,
    data: bytes,
    format: Format,
    *,
    model: StreamModel = "wavert",
    packet_ms: int = PACKET_MS,
    progress: Progress | None = None,
) -> StreamRun:
    """Play `data` (whole frames of `format`); returns when its last frame was converted.

    Raises NtStatusError if the board cannot do the format, BoardError and LinkError as the board does.
    """
    return _Run(board, format, model, packet_ms, progress, data=data, source="converter").run()


def record(
    board: Board,
    frames: int,
    format: Format,
    *,
    source: Source = "converter",
    model: StreamModel = "wavert",
    packet_ms: int = PACKET_MS,
    progress: Progress | None = None,
) -> StreamRun:
    """Record `frames` frames of `format` from the ADC, the digital loopback or the pattern source."""
    if frames < 1:
        raise ValueError(f"expected at least 1 frame to record, found {frames}")
    return _Run(board, format, model, packet_ms, progress, capture_frames=frames, source=source).run()


def loopback(
    board: Board,
    data: bytes,
    format: Format,
    *,
    path: Path = "digital",
    tail_frames: int = 0,
    model: StreamModel = "wavert",
    packet_ms: int = PACKET_MS,
    progress: Progress | None = None,
) -> StreamRun:
    """Play `data` and capture what comes back, until `tail_frames` behind its end.

    Both streams are in RUN (capture first) before the converter's clock is started, so the capture begins with the very
    frame with which render begins: in it the data lie as many frames behind the start as the path is long.
    """
    frames = len(data) // format.block_bytes + tail_frames
    return _Run(board, format, model, packet_ms, progress, data=data, capture_frames=frames, source=path).run()


class _Run:
    """One run: its pins, its clock, its results."""

    def __init__(
        self,
        board: Board,
        data_format: Format,
        model: StreamModel,
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
        self._model = model
        self._progress = progress
        self._data = data
        self._source = source
        self._packet_bytes = max(1, data_format.sample_rate * packet_ms // 1000) * block_bytes
        self._play_frames = 0 if data is None else len(data) // block_bytes
        self._capture_frames = capture_frames
        self._render: RenderSide | None = None
        self._capture: CaptureSide | None = None
        self._captured: list[bytes] = []
        self._captured_bytes = 0
        self._result = StreamRun(data_format)

    def run(self) -> StreamRun:
        """Do it."""
        board, result = self._board, self._result
        start_ticks = board.clock.now()
        unsubscribe = board.events.subscribe(None, result.events.append)
        try:
            with InterruptFlag() as interrupt, Transport(self._model, board) as transport:
                try:
                    self._open(transport)
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

    def _open(self, transport: Transport) -> None:
        if self._capture_frames is not None:
            self._capture = transport.capture(self._format, self._packet_bytes, self._sample_capture)
        if self._data is not None:
            self._render = transport.render(self._format, self._packet_bytes, self._data)

    def _start(self) -> None:
        """Streams to RUN with the converter's clock off, then the clock: every stream starts at the same frame tick."""
        control = _SELECT[self._source] << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
        # The streams would set the rate themselves; so it is in force from the first.
        control |= rate_bits(self._board.profile, self._format.sample_rate)
        self._board.write_register(regs.FPGA_CONVERTER_CONTROL, control)
        if self._render is not None:
            self._render.pin.set_state(KSSTATE.PAUSE)
            self._render.prepare()
        if self._capture is not None:
            self._capture.pin.set_state(KSSTATE.RUN)
        if self._render is not None:
            self._render.pin.set_state(KSSTATE.RUN)
            self._render.started()
        self._board.write_register(regs.FPGA_CONVERTER_CONTROL, control | CONVERTER_ENABLE)

    def _finished(self) -> bool:
        if self._capture_frames is not None:
            return self._captured_bytes >= self._capture_frames * self._format.block_bytes
        return self._result.frames_played >= self._play_frames

    def _collect(self) -> None:
        """Counters at the end, in PAUSE. No positions: the streams stand, but the clock goes on."""
        result = self._result
        for side in (self._render, self._capture):
            if side is None:
                continue
            result.late_packets += side.late_packets
            pin = side.pin
            if pin.state is KSSTATE.STOP:
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
        pins = [side.pin for side in (self._render, self._capture) if side is not None]
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
        if self._render is not None and self._render.pin.event.take():
            self._render.serve()
            self._sample("render")
        if self._capture is not None and self._capture.pin.event.take():
            for data in self._capture.serve():
                self._captured.append(data)
                self._captured_bytes += len(data)
        if self._progress is not None:
            wanted = self._play_frames if self._capture_frames is None else self._capture_frames
            done = self._result.frames_played if self._capture_frames is None else self._frames_captured
            self._progress(min(done, wanted), wanted)

    @property
    def _frames_captured(self) -> int:
        return self._captured_bytes // self._format.block_bytes

    def _sample_capture(self) -> Snapshot:
        return self._sample("capture")

    def _sample(self, name: Literal["render", "capture"]) -> Snapshot:
        """One position with its bracket of host time."""
        board, result = self._board, self._result
        stream = CAPTURE_PIN if name == "capture" else RENDER_PIN
        # Reads that come once a packet must not hit the same place in every frame: some others take a part of one each.
        other = Request.read(stream_register(stream, regs.STREAM_STATUS), 16)
        board.transact([other] * (len(result.positions) // 2 % PLACES_IN_FRAME))
        before = board.link.host_time_ns()
        snapshot = board.snapshot(stream)
        after = board.link.host_time_ns()
        middle = (before + after) // 2
        result.positions.append(PositionPoint(middle, snapshot.time_ticks, snapshot.frames, name, after - before))
        if result.first_frame_ticks is None and snapshot.frames:
            frame_clocks = board.profile.frame_clocks_at(self._format.sample_rate)
            result.first_frame_ticks = snapshot.time_ticks - snapshot.frames * frame_clocks
        if name == "render":
            result.frames_played = min(snapshot.frames, self._play_frames)
        return snapshot
