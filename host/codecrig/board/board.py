"""`Board`: registers, audio memory, events, clock and bench of one board, over any link.

It knows the register contract and no audio: formats, buffers and stream logic live in the miniports.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Self

from codecrig.board.bench import Bench
from codecrig.board.clock import BoardClock, join_time
from codecrig.board.errors import BoardError
from codecrig.board.events import LOOK_BYTES, Events
from codecrig.board.profile import BoardProfile
from codecrig.link import Link, LinkError, Reply, Request, Status, wire
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState

if TYPE_CHECKING:
    from codecrig.portcls import MemoryView

LONGEST_WAIT_S = 1.0
"""Longest single WAIT in board time, well inside every transport time-out; longer waits are cut into these."""
LEAST_HEARD_BYTES = 1024
"""While so much data moves, no event is heard: a millisecond of a full-speed bus."""
MOST_HEARD_BYTES = 6144
"""20 ms of 48 kHz stereo of 24 bits, and some. Who moves more both ways has no bus left for looks and answers."""
_LOOK, _ANSWER, _RECORDS = -1, -2, -3
"""Numbers of requests that are not the caller's."""
_LOOK_OUT_BYTES = wire.HEADER_BYTES
_LOOK_REPLY_BYTES = wire.HEADER_BYTES + LOOK_BYTES
BATCH_OUT_BYTES = 13 * wire.PACKET_BYTES - _LOOK_OUT_BYTES
"""Data written between two looks at the event ring. With the look a batch fills its packets, and so do its replies,
64 bytes, which therefore leave at once."""
BATCH_REPLY_BYTES = 9 * wire.PACKET_BYTES - _LOOK_REPLY_BYTES
"""The same for data read. Less, because what was asked for ahead comes before the answer to anything else."""
SNAPSHOT_TRIES = 3
"""The engine serves a snapshot between two visits (microseconds); each try is a round trip."""
STOP_TRIES = 50
"""Reads of STATUS until a stream must have stopped; the engine visits each stream within a frame."""

_SNAPSHOT_BLOCK = struct.Struct("<IIQQQIIIIQQ")
_SNAPSHOT_PENDING = 1 << regs.STREAM_SNAPSHOT_PENDING_LSB
_CONVERTER_MUTE = 1 << regs.FPGA_CONVERTER_CONTROL_MUTE_LSB
_PERIPHERAL_BYTES = 0x1000
_STREAM_CAUSES = sum(1 << cause for cause in Cause if cause < Cause.TIMER)
_BOARD_CAUSES = sum(1 << (cause - Cause.TIMER) for cause in Cause if cause >= Cause.TIMER)
_ALL_BLOCKS = regs.FPGA_FENCE_LAST_RESET
_QUIET_PERIPHERALS = (
    (regs.MIDI_CONTROL, 1 << regs.MIDI_CONTROL_RX_CLEAR_LSB | 1 << regs.MIDI_CONTROL_TX_FLUSH_LSB),
    (regs.SPDIF_GATES, 0),
    (regs.TRIGGER_CONTROL, 1 << regs.TRIGGER_CONTROL_IN_LATCHED_LSB),
)
_RING_OVERFLOW = 1 << regs.FPGA_EVENT_ENABLE_RING_OVERFLOW_LSB


def stream_register(stream: int, offset: int) -> int:
    """Address of a register of one stream, e.g. `stream_register(0, registers.STREAM_CONTROL)`."""
    return regs.STREAM_BASE + stream * regs.STREAM_STRIDE + offset


def monitor_register(monitor: int, offset: int) -> int:
    """Address of a register of one bus monitor range."""
    return regs.MONITOR_BASE + monitor * regs.MONITOR_STRIDE + offset


@cache
def _register_names() -> dict[int, str]:
    """Names of single registers by address, from the generated constants."""
    not_registers = ("_LSB", "_W", "_RESET", "_BYTES", "_BASE", "_COUNT", "_STRIDE", "_OFFSET", "_BIT")
    return {
        value: name
        for name, value in vars(regs).items()
        if isinstance(value, int) and name.startswith(("FPGA_", "BRIDGE_")) and not name.endswith(not_registers)
    }


@cache
def _block_names(prefix: str) -> dict[int, str]:
    suffixes = ("_LSB", "_W", "_RESET", "_BASE", "_COUNT", "_STRIDE")
    return {
        value: name.removeprefix(prefix)
        for name, value in vars(regs).items()
        if isinstance(value, int) and name.startswith(prefix) and not name.endswith(suffixes)
    }


def describe_address(address: int) -> str:
    """`0x40001018 (STREAM[0].STATUS)`: an address with the register's name where it has one."""
    name = _register_names().get(address, "")
    if not name and 0 <= address - regs.STREAM_BASE < regs.STREAM_COUNT * regs.STREAM_STRIDE:
        index, offset = divmod(address - regs.STREAM_BASE, regs.STREAM_STRIDE)
        name = f"STREAM[{index}].{_block_names('STREAM_').get(offset, f'0x{offset:02X}')}"
    elif not name and 0 <= address - regs.MONITOR_BASE < regs.MONITOR_COUNT * regs.MONITOR_STRIDE:
        index, offset = divmod(address - regs.MONITOR_BASE, regs.MONITOR_STRIDE)
        name = f"MONITOR[{index}].{_block_names('MONITOR_').get(offset, f'0x{offset:02X}')}"
    elif not name and 0 <= address - regs.MIDI_BASE < _PERIPHERAL_BYTES:
        name = _peripheral_name(address)
    elif not name and 0 <= address - regs.EVENT_RING_BASE < regs.EVENT_RING_BYTES:
        name = f"event ring slot {(address - regs.EVENT_RING_BASE) // regs.EVENT_RECORD_BYTES}"
    elif not name and address < regs.AUDIO_MEMORY_BYTES:
        name = "audio memory"
    return f"0x{address:08X} ({name})" if name else f"0x{address:08X}"


def _peripheral_name(address: int) -> str:
    for prefix in ("MIDI_", "SPDIF_", "I2C_", "TRIGGER_"):
        for value, name in _block_names(prefix).items():
            if value == address:
                return f"{prefix[:-1]}.{name}"
    for name, base in (("MIDI_RX_RING", regs.MIDI_RX_RING_BASE), ("MIDI_TX_RING", regs.MIDI_TX_RING_BASE)):
        if 0 <= address - base < regs.MIDI_RX_RING_BYTES:
            return f"{name} record {(address - base) // regs.MIDI_RECORD_BYTES}"
    return ""


@dataclass(frozen=True)
class Snapshot:
    """One stream at one tick, taken by the engine between two visits."""

    state: StreamState
    fault: bool
    ended: bool
    """END_OF_STREAM was reached: silence until STOP."""
    time_ticks: int
    frames: int
    """Frames the converter really took (render) or gave (capture) since STOP."""
    bytes: int
    """Bytes moved from or to audio memory since STOP."""
    descriptors: int
    """Descriptors finished since STOP, modulo 2^32."""
    fifo_bytes: int
    """Bytes between engine and converter."""
    index: int
    """Current descriptor."""
    frame_ticks: int
    """Frame ticks of the converter since it was enabled, modulo 2^32."""
    underruns: int
    overruns: int
    start_ticks: int
    """START_TIME: board time of the first frame since the last RUN, within one frame; of an earlier RUN before that."""
    packet_ticks: int
    """PACKET_TIME: the same of the frame with the first byte of the latest descriptor to start."""


@dataclass(frozen=True)
class BoardIdentity:
    """What a board says it is. Bridge fields are None where a link has no bridge (the model)."""

    fpga_version: str
    fpga_build: int
    streams: int
    ring_records: int
    audio_memory_bytes: int
    peripherals: bool
    """MIDI port, S/PDIF gates, I2C and trigger are there."""
    bridge_version: str | None
    bridge_build: int | None
    spi_hz: int | None
    bridge_serial: int | None


def _version(word: int) -> str:
    return f"{word >> 24}.{word >> 16 & 0xFF}.{word & 0xFF}"


class Board:
    """One open board. Use it in a `with` block: leaving it stops every stream, mutes the converter and closes the link.

    All times are board time. Methods raise BoardError when the board refuses, LinkError when the link fails.
    """

    def __init__(
        self,
        link: Link,
        profile: BoardProfile,
        *,
        bench: Bench | None = None,
        on_close: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Take over `link`, check what is at its other end, and put it into a known state (all streams stopped).

        `on_close` is called after the link was closed, also if it failed.
        """
        self.link = link
        self.profile = profile
        self.bench = bench if bench is not None else Bench()
        self._on_close = list(on_close)
        self._closed = False
        try:
            self._identity = self._read_identity()
            self.events = Events(self.transact, self._identity.ring_records)
            self.clock = BoardClock(profile.clock_rate, self._read_ticks, link.host_time_ns, self.sleep)
            self._make_quiet()
        except BaseException as error:
            self._release(error)
            raise

    @property
    def serial(self) -> str:
        """Serial number of the board."""
        return self.link.serial

    def identity(self) -> BoardIdentity:
        """Versions, build ids and capabilities, as read when the board was opened."""
        return self._identity

    # ------------------------------------------------------------ requests

    def transact(self, requests: Sequence[Request]) -> list[bytes]:
        """Exchange requests; returns the bytes of each reply. Raises BoardError naming address and status.

        Events that were delivered are acknowledged ahead of them.
        """
        answer = self.events.take_acknowledgement()
        sent = [*answer, *requests]
        return self._data(sent, self.link.exchange(sent))[len(answer) :] if sent else []

    def transact_and_listen(self, requests: Sequence[Request]) -> list[bytes]:
        """`transact` for READs and WRITEs of much data: meanwhile events are delivered, about every half millisecond.

        The data goes in batches, one sent ahead, each with a look at the event ring. Handlers run between two of them,
        as they do in `pump`. The replies of each batch fill whole packets (its look is made as long as that takes), or
        the last of them would leave only with those of the next.
        """
        length = sum(request.length for request in requests)
        if not self.events.listening or length <= LEAST_HEARD_BYTES or length > MOST_HEARD_BYTES:
            return self.transact(requests)
        parts: dict[int, list[bytes]] = {index: [] for index in range(len(requests))}
        ahead: deque[list[tuple[int, Request]]] = deque()

        def send(batch: list[tuple[int, Request]]) -> None:
            reply_bytes = sum(wire.HEADER_BYTES + (0 if request.data else request.length) for _, request in batch)
            filling = -(reply_bytes + _LOOK_REPLY_BYTES) % wire.PACKET_BYTES & ~3
            batch = [*batch, (_LOOK, Request.read(regs.FPGA_EVENT_PRODUCER, LOOK_BYTES + filling))]
            ahead.append(batch)
            self.link.send([request for _, request in batch])

        def receive() -> None:
            batch = ahead.popleft()
            data = self._data([request for _, request in batch], self.link.receive())
            for (index, _), part in zip(batch, data, strict=True):
                if index == _LOOK:
                    self.events.look(part)
                else:
                    parts.setdefault(index, []).append(part)

        def serve() -> None:
            """Deliver what the latest look told of, with nothing ahead any more."""
            while count := self.events.waiting:
                ahead.append([(_RECORDS, request) for request in self.events.slot_reads(count)])
                self.link.send([request for _, request in ahead[-1]])
                while ahead:
                    receive()
                self.events.deliver(count, b"".join(parts.pop(_RECORDS)))
                self.events.acknowledge()

        try:
            send([(_ANSWER, request) for request in self.events.take_acknowledgement()])
            for batch in wire.batches(requests, BATCH_OUT_BYTES, BATCH_REPLY_BYTES):
                send(batch)
                if len(ahead) > 1:
                    receive()
                    serve()
            while ahead:
                receive()
                serve()
        except BoardError:
            while ahead:  # a request was refused: the link is to be used again
                ahead.popleft()
                self.link.receive()
            raise
        return [b"".join(parts[index]) for index in range(len(requests))]

    @staticmethod
    def _data(requests: Sequence[Request], replies: Sequence[Reply]) -> list[bytes]:
        """The data of replies. Raises BoardError for the first that is not OK."""
        for request, reply in zip(requests, replies, strict=True):
            if reply.status is not Status.OK:
                raise BoardError(
                    f"expected {request.operation.name} of {request.length} bytes at "
                    f"{describe_address(request.address)} to succeed; "
                    f"found status {reply.status.name}: {_STATUS_HELP[reply.status]}"
                )
        return [reply.data for reply in replies]

    def read_register(self, address: int) -> int:
        """One 32-bit register."""
        return int.from_bytes(self.transact([Request.read(address, 4)])[0], "little")

    def read_registers(self, address: int, count: int) -> tuple[int, ...]:
        """`count` registers from `address` on, read in rising order by one request."""
        return struct.unpack(f"<{count}I", self.transact([Request.read(address, 4 * count)])[0])

    def write_register(self, address: int, value: int) -> None:
        """Write one 32-bit register."""
        self.transact([Request.write_word(address, value)])

    def read_memory(self, address: int, length: int) -> bytes:
        """`length` bytes of audio memory."""
        return self.transact([Request.read(address, length)])[0] if length else b""

    def write_memory(self, address: int, data: bytes) -> None:
        """Put `data` into audio memory."""
        if data:
            self.transact([Request.write(address, bytes(data))])

    def memory_view(self, address: int, length: int) -> MemoryView:
        """Audio memory from `address` on, as ports and miniports see it."""
        from codecrig.board.memory import BoardMemoryView

        if address < 0 or length < 0 or address + length > self.profile.memory.audio_bytes:
            memory_bytes = self.profile.memory.audio_bytes
            raise ValueError(f"{address}..{address + length} is outside {memory_bytes} bytes of audio memory")
        return BoardMemoryView(self.transact_and_listen, address, length)

    # ------------------------------------------------------------ streams

    def snapshot(self, stream: int) -> Snapshot:
        """State, position and counters of one stream. One exchange.

        All of one tick, but underruns and overruns, which are read just before, and the times, read just behind.
        """
        counters = Request.read(stream_register(stream, regs.STREAM_STATUS), 16)
        block = Request.read(stream_register(stream, regs.STREAM_SNAPSHOT), _SNAPSHOT_BLOCK.size)
        # The counters are read between the order and the snapshot: time for the engine to take it.
        order = Request.write_word(stream_register(stream, regs.STREAM_SNAPSHOT), 1)
        *_, counted, data = self.transact([order, counters, block])
        for _ in range(SNAPSHOT_TRIES - 1):
            if not data[1] & _SNAPSHOT_PENDING >> 8:
                break
            data = self.transact([block])[0]
        snapshot, state, time_ticks, frames, moved, descriptors, fifo, index, frame_ticks, start, packet = (
            _SNAPSHOT_BLOCK.unpack(data)
        )
        if snapshot & _SNAPSHOT_PENDING:
            raise BoardError(
                f"expected a snapshot of stream {stream} within {SNAPSHOT_TRIES} reads; found it still pending; "
                f"next step: the engine is stuck, look at its memory accesses in the bus monitor"
            )
        self.events.time_ticks = max(self.events.time_ticks, time_ticks)
        return Snapshot(
            state=StreamState(state & 3),
            fault=bool(state >> regs.STREAM_SNAP_STATE_FAULT_LSB & 1),
            ended=bool(state >> regs.STREAM_SNAP_STATE_ENDED_LSB & 1),
            time_ticks=time_ticks,
            frames=frames,
            bytes=moved,
            descriptors=descriptors,
            fifo_bytes=fifo,
            index=index,
            frame_ticks=frame_ticks,
            underruns=int.from_bytes(counted[8:12], "little"),
            overruns=int.from_bytes(counted[12:16], "little"),
            start_ticks=start,
            packet_ticks=packet,
        )

    # ------------------------------------------------------------ time and events

    def pump(self, deadline_ticks: int) -> int:
        """Deliver events until one came or board time reached `deadline_ticks`; returns the number delivered.

        The deadline must come from a recent board time; one that has passed means: do not wait.
        """
        longest = self.clock.ticks(LONGEST_WAIT_S)
        while True:
            delivered = self.events.round(min(deadline_ticks, self.events.time_ticks + longest))
            if delivered or self.events.time_ticks >= deadline_ticks:
                return delivered

    def poll(self) -> int:
        """Deliver the events that are there, without waiting. One exchange, which also tells the time."""
        return self.events.round(None)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """True as soon as `condition()` holds, False after `timeout_s` of board time. Delivers events meanwhile."""
        if condition():
            return True
        self.poll()
        deadline_ticks = self.events.time_ticks + self.clock.ticks(timeout_s)
        while not condition():
            if self.events.time_ticks >= deadline_ticks:
                return False
            self.pump(deadline_ticks)
        return True

    def sleep(self, seconds: float) -> None:
        """Let board time pass; events are delivered meanwhile."""
        self.poll()
        deadline_ticks = self.events.time_ticks + self.clock.ticks(seconds)
        while self.events.time_ticks < deadline_ticks:
            self.pump(deadline_ticks)

    def _read_ticks(self) -> int:
        ticks = join_time(*self.read_registers(regs.FPGA_TIME_HI, 3))
        self.events.time_ticks = max(self.events.time_ticks, ticks)
        return ticks

    # ------------------------------------------------------------ opening and closing

    def _read_identity(self) -> BoardIdentity:
        fpga, bridge, peripherals = self.link.exchange(
            [
                Request.read(regs.FPGA_ID, 16),
                Request.read(regs.BRIDGE_ID, regs.BRIDGE_SERIAL_HI + 4 - regs.BRIDGE_ID),
                Request.read(regs.MIDI_CONTROL, 4),
            ]
        )
        if fpga.status is not Status.OK:
            raise BoardError(
                f"expected the FPGA of {self.link.name} to answer; found status {fpga.status.name}: "
                f"{_STATUS_HELP[fpga.status]}"
            )
        fpga_id, version, build, caps = struct.unpack("<4I", fpga.data)
        if fpga_id != regs.FPGA_ID_RESET or version >> 24 != regs.FPGA_VERSION_MAJOR_RESET:
            raise BoardError(
                f"expected FPGA_ID 0x{regs.FPGA_ID_RESET:08X} with version {regs.FPGA_VERSION_MAJOR_RESET}.x; found "
                f"0x{fpga_id:08X} with version {_version(version)}; next step: load the bitstream of this release"
            )
        words: tuple[int, ...] | None = None
        if bridge.status is Status.OK:
            words = struct.unpack("<10I", bridge.data)
            if words[0] != regs.BRIDGE_ID_RESET or words[1] >> 24 != regs.BRIDGE_VERSION_MAJOR_RESET:
                raise BoardError(
                    f"expected BRIDGE_ID 0x{regs.BRIDGE_ID_RESET:08X} with version "
                    f"{regs.BRIDGE_VERSION_MAJOR_RESET}.x; found 0x{words[0]:08X} with version {_version(words[1])}; "
                    f"next step: load the firmware of this release"
                )
        memory_bytes = (caps >> regs.FPGA_CAPS_MEMORY_KIB_LSB) * 1024
        if memory_bytes < self.profile.memory.audio_bytes:
            raise BoardError(
                f"expected {self.profile.memory.audio_bytes} bytes of audio memory as profile {self.profile.name!r} "
                f"promises; found {memory_bytes}; next step: correct memory.audio_bytes or load the right bitstream"
            )
        return BoardIdentity(
            fpga_version=_version(version),
            fpga_build=build,
            streams=caps & 0xFF,
            ring_records=1 << (caps >> regs.FPGA_CAPS_RING_LOG2_LSB & 0xFF),
            audio_memory_bytes=memory_bytes,
            peripherals=peripherals.status is Status.OK,
            bridge_version=_version(words[1]) if words else None,
            bridge_build=words[2] if words else None,
            spi_hz=words[6] if words else None,
            bridge_serial=words[8] | words[9] << 32 if words else None,
        )

    def _make_quiet(self) -> None:
        """Known state: streams stopped, no causes, converter off and unmuted, monitors and fence off, ring empty.

        Peripherals, where the board has them: nothing queued, no gate closed or open, no trigger armed.
        """
        requests = self._stop_requests()
        for stream in self._streams:
            requests.append(Request.write_word(stream_register(stream, regs.STREAM_INTERVAL_BYTES), 0))
            requests.append(Request.write_word(stream_register(stream, regs.STREAM_RING_PRODUCER), 0))
            requests.append(Request.write_word(stream_register(stream, regs.STREAM_EVENT_ENABLE), 0))
            requests.append(Request.write_word(stream_register(stream, regs.STREAM_EVENT_CAUSE), _STREAM_CAUSES))
        for address, value in (
            (regs.FPGA_ALARM_CONTROL, 0),
            (regs.FPGA_EVENT_ENABLE, 0),
            (regs.FPGA_EVENT_CAUSE, _BOARD_CAUSES),
            (regs.FPGA_PATTERN_CONTROL, 0),
            (regs.FPGA_TRIGGER_OUT, 0),
            (regs.FPGA_FENCE_FIRST, 0),
            (regs.FPGA_FENCE_LAST, _ALL_BLOCKS),
            *((monitor_register(m, regs.MONITOR_CONTROL), 0) for m in range(regs.MONITOR_COUNT)),
        ):
            requests.append(Request.write_word(address, value))
        self.transact(requests)
        self._await_stop()
        if self._identity.peripherals:
            self.transact([Request.write_word(address, value) for address, value in _QUIET_PERIPHERALS])
        self.write_register(regs.FPGA_CONVERTER_CONTROL, 0)
        self.events.restart()
        self.write_register(regs.FPGA_EVENT_ENABLE, _RING_OVERFLOW)

    @property
    def _streams(self) -> range:
        return range(self._identity.streams)

    def _stop_requests(self) -> list[Request]:
        return [Request.write_word(stream_register(s, regs.STREAM_CONTROL), StreamState.STOP) for s in self._streams]

    def _await_stop(self) -> None:
        reads = [Request.read(stream_register(s, regs.STREAM_STATUS), 4) for s in self._streams]
        for _ in range(STOP_TRIES):
            if not any(status[0] & 3 for status in self.transact(reads)):
                return
        raise BoardError(
            f"expected every stream to reach STOP within {STOP_TRIES} reads; found one running; "
            f"next step: reset the board"
        )

    def safe(self) -> None:
        """Stop every stream and mute the converter; its clocks keep running if they ran."""
        control = 0
        problem: BoardError | None = None
        try:
            *_, data = self.transact([*self._stop_requests(), Request.read(regs.FPGA_CONVERTER_CONTROL, 4)])
            control = int.from_bytes(data, "little")
        except BoardError as error:
            problem = error
        self.write_register(regs.FPGA_CONVERTER_CONTROL, control | _CONVERTER_MUTE)
        if problem:
            raise problem

    def close(self) -> None:
        """Stop every stream, mute the converter, close the link. Closing twice is harmless.

        Everything is released even if the board no longer answers; the failure is raised afterwards.
        """
        problem = self._release(None)
        if problem:
            raise problem

    def _release(self, first_error: BaseException | None) -> Exception | None:
        """Close all; failures become notes of `first_error` if there is one."""
        if self._closed:
            return None
        self._closed = True
        steps: list[Callable[[], None]] = [self.link.close, *self._on_close]
        if hasattr(self, "_identity"):
            steps.insert(0, self.safe)
        problem: Exception | None = None
        for step in steps:
            try:
                step()
            except Exception as error:
                if first_error is not None and error is not first_error:
                    first_error.add_note(f"also, while closing the board: {error}")
                elif problem is None:
                    problem = error
                else:
                    problem.add_note(f"also, while closing the board: {error}")
        return problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        problem = self._release(error)
        if problem and error is None:
            raise problem


_STATUS_HELP = {
    Status.OK: "",
    Status.BAD_HEADER: "the board received a damaged header; next step: check the cable, open the board again",
    Status.UNKNOWN_OPERATION: "firmware or bitstream is older than this package; next step: load this release",
    Status.BAD_LENGTH: "0, above the limit, or not a multiple of 4 for registers; next step: correct the request",
    Status.UNMAPPED: "no such address on this board; next step: compare with docs/registers.md",
    Status.MISALIGNED: "register addresses are multiples of 4; next step: correct the address",
    Status.TRUNCATED: "the request stopped in the middle; next step: close the board and open it again",
    Status.NO_REPLY: "the FPGA did not answer the bridge; next step: load the bitstream again, check its clock",
    Status.NOT_READY: "the FPGA is not configured; next step: `codecrig load`",
}

__all__ = [
    "Board",
    "BoardIdentity",
    "LinkError",
    "Snapshot",
    "describe_address",
    "monitor_register",
    "stream_register",
]
