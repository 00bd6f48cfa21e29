"""The whole board in Python behind its address space: registers, audio memory, event ring, time.

`answer` takes one request and gives status and data, as the firmware and the FPGA together would. Time moves only
through `pass_time` and WAIT; what a request costs is the link's business.
"""

from fractions import Fraction

from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, Operation, PatternKind, Status

from .converter import CodecSettings
from .engine import EngineModel, StreamModel

MAX_LENGTH_BYTES = regs.BRIDGE_MAX_LENGTH_RESET
STREAMS = 4
WIRE_VERSION = regs.BRIDGE_VERSION_MAJOR_RESET << regs.BRIDGE_VERSION_MAJOR_LSB
REGISTER_VERSION = regs.FPGA_VERSION_MAJOR_RESET << regs.FPGA_VERSION_MAJOR_LSB
BUILD = 0x4D4F444C
"""Build id of both parts: there is no bitstream and no firmware. Reads "LDOM"."""

CONTROL_BLOCK_BYTES = 0x100
STREAM_BLOCK_BYTES = regs.STREAM_COUNT * regs.STREAM_STRIDE
BRIDGE_BLOCK_BYTES = 0x1000

_BLOCKS = (
    (regs.AUDIO_MEMORY_BASE, regs.AUDIO_MEMORY_BYTES),
    (regs.FPGA_BASE, CONTROL_BLOCK_BYTES),
    (regs.STREAM_BASE, STREAM_BLOCK_BYTES),
    (regs.EVENT_RING_BASE, regs.EVENT_RING_BYTES),
    (regs.BRIDGE_BASE, BRIDGE_BLOCK_BYTES),
)
_MASK32 = 0xFFFFFFFF


class MonitorModel:
    """One range of the bus monitor."""

    def __init__(self) -> None:
        self.low = self.high = 0
        self.enabled = self.outside = False
        self.clear()

    def clear(self) -> None:
        """Forget what was counted."""
        self.reads = self.writes = self.first_time = self.first_address = 0
        self.met = False

    def counts(self, address: int) -> bool:
        """True if an access to the word at `address` is counted."""
        return self.enabled and (self.low <= address < self.high) != self.outside


class BoardModel(EngineModel):
    """Registers and time around the engine."""

    def __init__(
        self,
        *,
        streams: int = STREAMS,
        frame_clocks: int = 256,
        codec: CodecSettings | None = None,
        bulk: bool = True,
        serial: int = 0,
    ) -> None:
        super().__init__(streams=streams, frame_clocks=frame_clocks, codec=codec, bulk=bulk)
        self.now_ticks = 0
        self.serial = serial
        self.monitors = [MonitorModel() for _ in range(regs.MONITOR_COUNT)]
        self.trigger_out_edges: list[int] = []
        self.trigger_in = False
        self.requests = 0
        self.errors = 0
        self._words = {
            regs.FPGA_SCRATCH: 0,
            regs.BRIDGE_SCRATCH: 0,
            regs.FPGA_ALARM_TIME: 0,
            regs.FPGA_PATTERN_CONTROL: 0,
            regs.FPGA_PATTERN_SEED: regs.FPGA_PATTERN_SEED_RESET,
            regs.FPGA_TRIGGER_OUT: 0,
            regs.FPGA_CONVERTER_CONTROL: 0,
        }
        self._alarm_ticks: int | None = None

    # ------------------------------------------------------------------ time

    def pass_time(self, to_ticks: int) -> None:
        """Let board time flow up to `to_ticks`. What happens meanwhile is worked out by `catch_up`."""
        self.now_ticks = max(self.now_ticks, to_ticks)

    def catch_up(self) -> None:
        """Do everything that is due at the present board time."""
        if self._alarm_ticks is not None and self._alarm_ticks <= self.now_ticks:
            fired, self._alarm_ticks = self._alarm_ticks, None
            self.advance(fired)
            self.events.post(Cause.TIMER, 0, fired)
        self.advance(self.now_ticks)

    def wait(self, deadline_low: int) -> None:
        """Let time flow until the event ring holds something or the low word of board time reaches the deadline."""
        self.catch_up()
        deadline = self.now_ticks + _signed(deadline_low - self.now_ticks)
        while self.events.is_empty and self.now_ticks < deadline:
            stop = self.next_stop_ticks()
            target = deadline if stop is None else min(deadline, stop)
            if self._alarm_ticks is not None:
                target = min(target, self._alarm_ticks)
            self.pass_time(max(target, self.now_ticks + 1))
            self.catch_up()

    # ------------------------------------------------------------------ requests

    def answer(self, operation: int, address: int, length: int, data: bytes = b"") -> tuple[Status, bytes]:
        """Status and payload of the reply to one request whose header was good."""
        status, payload = self._answer(operation, address, length, data)
        self.requests += 1
        self.errors += status is not Status.OK
        return status, payload

    def _answer(self, operation: int, address: int, length: int, data: bytes) -> tuple[Status, bytes]:
        if operation not in (Operation.READ, Operation.WRITE, Operation.WAIT):
            return Status.UNKNOWN_OPERATION, b""
        if operation == Operation.WAIT:
            if length != 0:
                return Status.BAD_LENGTH, b""
            self.wait(address)
            return Status.OK, b""
        if not 1 <= length <= MAX_LENGTH_BYTES:
            return Status.BAD_LENGTH, b""
        for base, size in _BLOCKS:
            if base <= address < base + size:
                break
        else:
            return Status.UNMAPPED, b""
        if base != regs.AUDIO_MEMORY_BASE:
            if address % 4:
                return Status.MISALIGNED, b""
            if length % 4:
                return Status.BAD_LENGTH, b""
        if address + length > base + size:
            return Status.UNMAPPED, b""
        if base == regs.AUDIO_MEMORY_BASE:
            if self.touches(self.now_ticks, address, length):
                self.catch_up()
        elif base != regs.BRIDGE_BASE:
            self.catch_up()
        if operation == Operation.READ:
            if base == regs.AUDIO_MEMORY_BASE:
                return Status.OK, self.memory[address : address + length].tobytes()
            if base == regs.EVENT_RING_BASE:
                offset = address - base
                return Status.OK, bytes(self.events.memory[offset : offset + length])
            words = (self.read_register(address + offset) for offset in range(0, length, 4))
            return Status.OK, b"".join((word & _MASK32).to_bytes(4, "little") for word in words)
        if base == regs.AUDIO_MEMORY_BASE:
            self.memory[address : address + length] = memoryview(data)
        elif base != regs.EVENT_RING_BASE:
            for offset in range(0, length, 4):
                self.write_register(address + offset, int.from_bytes(data[offset : offset + 4], "little"))
        return Status.OK, b""

    # ------------------------------------------------------------------ registers

    def read_register(self, address: int) -> int:
        """The word at a register address, as of the last `catch_up`; 0 where there is no register."""
        if regs.STREAM_BASE <= address < regs.STREAM_BASE + STREAM_BLOCK_BYTES:
            number, offset = divmod(address - regs.STREAM_BASE, regs.STREAM_STRIDE)
            return self._read_stream(number, offset) if number < len(self.streams) else 0
        if regs.MONITOR_BASE <= address < regs.MONITOR_BASE + regs.MONITOR_COUNT * regs.MONITOR_STRIDE:
            number, offset = divmod(address - regs.MONITOR_BASE, regs.MONITOR_STRIDE)
            return self._read_monitor(self.monitors[number], offset)
        if address in self._words:
            return self._words[address]
        match address:
            case regs.FPGA_ID:
                return regs.FPGA_ID_RESET
            case regs.FPGA_VERSION:
                return REGISTER_VERSION
            case regs.FPGA_BUILD | regs.BRIDGE_BUILD:
                return BUILD
            case regs.FPGA_CAPS:
                ring_log2 = (regs.EVENT_RING_BYTES // regs.EVENT_RECORD_BYTES).bit_length() - 1
                return len(self.streams) | ring_log2 << 8 | (len(self.memory) >> 10) << 16
            case regs.FPGA_TIME_HI | regs.FPGA_TIME_HI_AGAIN:
                return self.now_ticks >> 32
            case regs.FPGA_TIME_LO:
                return self.now_ticks & _MASK32
            case regs.FPGA_ALARM_CONTROL:
                return int(self._alarm_ticks is not None)
            case regs.FPGA_EVENT_PRODUCER:
                return self.events.producer
            case regs.FPGA_EVENT_CONSUMER:
                return self.events.consumer
            case regs.FPGA_EVENT_LOST:
                return self.events.lost
            case regs.FPGA_EVENT_CAUSE:
                return self.events.board_cause
            case regs.FPGA_EVENT_ENABLE:
                return self.events.board_enable
            case regs.FPGA_FRAME_TICKS:
                return self.frame_ticks(self.now_ticks)
            case regs.FPGA_FRAME_CLOCKS:
                return self.frame_clocks
            case regs.FPGA_PATTERN_FRAMES:
                return self.checker.frames
            case regs.FPGA_PATTERN_ERRORS:
                return self.checker.errors
            case regs.FPGA_PATTERN_FIRST_BAD:
                return self.checker.first_bad
            case regs.FPGA_TRIGGER_IN:
                return int(self.trigger_in)
            case regs.BRIDGE_ID:
                return regs.BRIDGE_ID_RESET
            case regs.BRIDGE_VERSION:
                return WIRE_VERSION
            case regs.BRIDGE_MAX_LENGTH:
                return regs.BRIDGE_MAX_LENGTH_RESET
            case regs.BRIDGE_WINDOW:
                return regs.BRIDGE_WINDOW_RESET
            case regs.BRIDGE_SPI_HZ:
                return regs.BRIDGE_SPI_HZ_RESET
            case regs.BRIDGE_FPGA_STATUS:
                return 1
            case regs.BRIDGE_SERIAL_LO:
                return self.serial & _MASK32
            case regs.BRIDGE_SERIAL_HI:
                return self.serial >> 32
            case regs.BRIDGE_REQUESTS:
                return self.requests
            case regs.BRIDGE_ERRORS:
                return self.errors
            case _:
                return 0

    def write_register(self, address: int, value: int) -> None:
        """Write the word at a register address; ignored where there is none and where it is read-only."""
        if regs.STREAM_BASE <= address < regs.STREAM_BASE + STREAM_BLOCK_BYTES:
            number, offset = divmod(address - regs.STREAM_BASE, regs.STREAM_STRIDE)
            if number < len(self.streams):
                self._write_stream(number, offset, value)
            return
        if regs.MONITOR_BASE <= address < regs.MONITOR_BASE + regs.MONITOR_COUNT * regs.MONITOR_STRIDE:
            number, offset = divmod(address - regs.MONITOR_BASE, regs.MONITOR_STRIDE)
            self._write_monitor(self.monitors[number], offset, value)
            return
        match address:
            case regs.FPGA_SCRATCH | regs.BRIDGE_SCRATCH | regs.FPGA_PATTERN_SEED:
                self._words[address] = value
            case regs.FPGA_ALARM_TIME:
                self._words[address] = value
                self._alarm_ticks = max(self.now_ticks, self.now_ticks + _signed(value - self.now_ticks))
                self.catch_up()
            case regs.FPGA_ALARM_CONTROL:
                if value & 1 == 0:
                    self._alarm_ticks = None
            case regs.FPGA_EVENT_CONSUMER:
                self.events.write_consumer(value, self.now_ticks)
            case regs.FPGA_EVENT_CAUSE:
                self.events.board_cause &= ~value
            case regs.FPGA_EVENT_ENABLE:
                self.events.board_enable = value & 0x1F
            case regs.FPGA_CONVERTER_CONTROL:
                self._words[address] = value & 0x33
                self.set_enabled(bool(value & 1), self.now_ticks)
                self.mute = bool(value & 2)
                select = value >> regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB & 3
                self.input_select = InputSelect(select) if select < 3 else InputSelect.CONVERTER
            case regs.FPGA_PATTERN_CONTROL:
                self._words[address] = value & 3
                self.check_enabled = bool(value & 2)
                if value & 4:
                    self.restart_pattern(PatternKind(value & 1), self._words[regs.FPGA_PATTERN_SEED])
            case regs.FPGA_TRIGGER_OUT:
                if self._words[address] != value & 1:
                    self.trigger_out_edges.append(self.now_ticks)
                self._words[address] = value & 1
            case _:
                pass

    def _read_stream(self, number: int, offset: int) -> int:
        stream = self.streams[number]
        latched = stream.snapshot
        match offset:
            case regs.STREAM_CONTROL:
                return stream.control
            case regs.STREAM_CONFIG:
                return stream.config
            case regs.STREAM_RING_BASE:
                return stream.ring_base
            case regs.STREAM_RING_SIZE:
                return stream.ring_size
            case regs.STREAM_EVENT_CAUSE:
                return self.events.stream_cause[number]
            case regs.STREAM_EVENT_ENABLE:
                return self.events.stream_enable[number]
            case regs.STREAM_STATUS:
                return stream.state | int(stream.fault) << regs.STREAM_STATUS_FAULT_LSB
            case regs.STREAM_UNDERRUNS:
                return stream.underruns
            case regs.STREAM_OVERRUNS:
                return stream.overruns
            case regs.STREAM_SNAPSHOT:
                return stream.snapshots & 0xFF
            case regs.STREAM_SNAP_STATE:
                return latched.state | int(latched.fault) << regs.STREAM_SNAP_STATE_FAULT_LSB
            case regs.STREAM_SNAP_TIME_LO:
                return latched.time_ticks & _MASK32
            case regs.STREAM_SNAP_TIME_HI:
                return latched.time_ticks >> 32
            case regs.STREAM_SNAP_FRAMES_LO:
                return latched.frames & _MASK32
            case regs.STREAM_SNAP_FRAMES_HI:
                return latched.frames >> 32
            case regs.STREAM_SNAP_BYTES_LO:
                return latched.moved_bytes & _MASK32
            case regs.STREAM_SNAP_BYTES_HI:
                return latched.moved_bytes >> 32
            case regs.STREAM_SNAP_DESCRIPTORS:
                return latched.descriptors
            case regs.STREAM_SNAP_FIFO_BYTES:
                return latched.fifo_bytes
            case regs.STREAM_SNAP_INDEX:
                return latched.index
            case regs.STREAM_SNAP_FRAME_TICKS:
                return latched.frame_ticks
            case _:
                return 0

    def _write_stream(self, number: int, offset: int, value: int) -> None:
        stream: StreamModel = self.streams[number]
        match offset:
            case regs.STREAM_CONTROL:
                self.set_state(number, value & 3, self.now_ticks)
            case regs.STREAM_CONFIG:
                stream.config = value & 0x7D
            case regs.STREAM_RING_BASE:
                stream.ring_base = value & 0x1FFF0
            case regs.STREAM_RING_SIZE:
                stream.ring_size = value & 0x1FF
            case regs.STREAM_EVENT_CAUSE:
                self.events.stream_cause[number] &= ~value
            case regs.STREAM_EVENT_ENABLE:
                self.events.stream_enable[number] = value & 0xF
            case regs.STREAM_SNAPSHOT:
                self.take_snapshot(number, self.now_ticks)
            case _:
                pass

    # ------------------------------------------------------------------ bus monitor

    def _read_monitor(self, monitor: MonitorModel, offset: int) -> int:
        match offset:
            case regs.MONITOR_LOW:
                return monitor.low
            case regs.MONITOR_HIGH:
                return monitor.high
            case regs.MONITOR_CONTROL:
                return int(monitor.enabled) | int(monitor.outside) << regs.MONITOR_CONTROL_OUTSIDE_LSB
            case regs.MONITOR_READS:
                return monitor.reads
            case regs.MONITOR_WRITES:
                return monitor.writes
            case regs.MONITOR_FIRST_TIME:
                return monitor.first_time
            case regs.MONITOR_FIRST_ADDRESS:
                return monitor.first_address
            case _:
                return 0

    def _write_monitor(self, monitor: MonitorModel, offset: int, value: int) -> None:
        match offset:
            case regs.MONITOR_LOW:
                monitor.low = value & 0x1FFFC
            case regs.MONITOR_HIGH:
                monitor.high = value & 0x3FFFC
            case regs.MONITOR_CONTROL:
                monitor.enabled = bool(value & 1)
                monitor.outside = bool(value >> regs.MONITOR_CONTROL_OUTSIDE_LSB & 1)
                if value >> regs.MONITOR_CONTROL_CLEAR_LSB & 1:
                    monitor.clear()
                self.accesses_watched = any(each.enabled for each in self.monitors)
            case _:
                pass

    def on_access(self, write: bool, address: int, length: int, time_ticks: int) -> None:
        for number, monitor in enumerate(self.monitors):
            for word in range(address & ~3, address + length, 4):
                if not monitor.counts(word):
                    continue
                if write:
                    monitor.writes = (monitor.writes + 1) & _MASK32
                else:
                    monitor.reads = (monitor.reads + 1) & _MASK32
                if not monitor.met:
                    monitor.met = True
                    monitor.first_time, monitor.first_address = time_ticks & _MASK32, word
                    self.events.post(Cause.MONITOR, 0, time_ticks, number, word)

    # ------------------------------------------------------------------ what a bench does

    def set_trigger(self, level: bool) -> None:
        """Drive the trigger input."""
        if level and not self.trigger_in:
            self.events.post(Cause.TRIGGER, 0, self.now_ticks)
        self.trigger_in = level


def _signed(difference: int) -> int:
    """A 32-bit difference with its sign."""
    return (difference + 0x80000000 & _MASK32) - 0x80000000


def host_rate(clock_rate: Fraction, clock_ppm: float) -> Fraction:
    """Board ticks in one second of a host clock by which the board runs `clock_ppm` fast."""
    return clock_rate * (1 + Fraction(str(clock_ppm)) / 1_000_000)
