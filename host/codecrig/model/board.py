"""The whole board in Python behind its address space: registers, audio memory, event ring, time.

`answer` takes one request and gives status and data, as the firmware and the FPGA together would. Time moves only
through `pass_time` and WAIT; what a request costs is the link's business.
"""

from collections.abc import Callable
from fractions import Fraction

from codecrig.link import registers as regs
from codecrig.link.registers import Cause, ConverterFormat, ConverterRate, InputSelect, Operation, PatternKind, Status

from .converter import CodecSettings, Frames
from .engine import EngineModel
from .events import BOARD_CAUSE_BITS, STREAM_CAUSE_BITS
from .midi import MidiModel
from .peripherals import I2cModel, SpdifModel, TriggerModel
from .stream import StreamModel

MAX_LENGTH_BYTES = regs.BRIDGE_MAX_LENGTH_RESET
STREAMS = 4
WIRE_VERSION = regs.BRIDGE_VERSION_MAJOR_RESET << regs.BRIDGE_VERSION_MAJOR_LSB
REGISTER_VERSION = regs.FPGA_VERSION_MAJOR_RESET << regs.FPGA_VERSION_MAJOR_LSB
BUILD = 0x4D4F444C
"""Build id of both parts: there is no bitstream and no firmware. Reads "LDOM"."""

CONTROL_BLOCK_BYTES = 0x100
STREAM_BLOCK_BYTES = regs.STREAM_COUNT * regs.STREAM_STRIDE
PERIPHERAL_BASE = regs.MIDI_BASE
PERIPHERAL_BLOCK_BYTES = 0x1000
BRIDGE_BLOCK_BYTES = 0x1000

_BLOCKS = (
    (regs.AUDIO_MEMORY_BASE, regs.AUDIO_MEMORY_BYTES),
    (regs.FPGA_BASE, CONTROL_BLOCK_BYTES),
    (regs.STREAM_BASE, STREAM_BLOCK_BYTES),
    (PERIPHERAL_BASE, PERIPHERAL_BLOCK_BYTES),
    (regs.EVENT_RING_BASE, regs.EVENT_RING_BYTES),
    (regs.BRIDGE_BASE, BRIDGE_BLOCK_BYTES),
)
_MASK32 = 0xFFFFFFFF
_CONVERTER_KEPT = 0x33
"""Bits of CONVERTER_CONTROL that every write sets: enable, mute, input_select."""
_CONFIG_BITS = (
    1 << regs.STREAM_CONFIG_CAPTURE_LSB
    | 3 << regs.STREAM_CONFIG_CONTAINER_LSB
    | 7 << regs.STREAM_CONFIG_CHANNELS_LSB
    | 1 << regs.STREAM_CONFIG_QUEUE_LSB
)

_READ_STREAM: dict[int, Callable[[StreamModel], int]] = {
    regs.STREAM_CONTROL: lambda stream: stream.control,
    regs.STREAM_CONFIG: lambda stream: stream.config,
    regs.STREAM_RING_BASE: lambda stream: stream.ring_base,
    regs.STREAM_RING_SIZE: lambda stream: stream.ring_size,
    regs.STREAM_STATUS: lambda stream: _status(stream.state, stream.fault, stream.silent),
    regs.STREAM_RING_PRODUCER: lambda stream: stream.producer,
    regs.STREAM_UNDERRUNS: lambda stream: stream.underruns,
    regs.STREAM_OVERRUNS: lambda stream: stream.overruns,
    regs.STREAM_INTERVAL_BYTES: lambda stream: stream.interval_bytes,
    regs.STREAM_INTERVAL_LEFT: lambda stream: stream.interval_left,
    regs.STREAM_REVOKE: lambda stream: stream.revoke,
    regs.STREAM_REVOKE_STATUS: lambda stream: stream.revoke_result,
    regs.STREAM_REVOKE_LEFT: lambda stream: stream.revoke_left,
    regs.STREAM_FIFO_HIGH_WATER: lambda stream: stream.high_water,
    regs.STREAM_SNAPSHOT: lambda stream: stream.snapshots & 0xFF,
    regs.STREAM_SNAP_STATE: lambda stream: _status(
        stream.snapshot.state, stream.snapshot.fault, stream.snapshot.ended
    ),
    regs.STREAM_SNAP_TIME_LO: lambda stream: stream.snapshot.time_ticks,
    regs.STREAM_SNAP_TIME_HI: lambda stream: stream.snapshot.time_ticks >> 32,
    regs.STREAM_SNAP_FRAMES_LO: lambda stream: stream.snapshot.frames,
    regs.STREAM_SNAP_FRAMES_HI: lambda stream: stream.snapshot.frames >> 32,
    regs.STREAM_SNAP_BYTES_LO: lambda stream: stream.snapshot.moved_bytes,
    regs.STREAM_SNAP_BYTES_HI: lambda stream: stream.snapshot.moved_bytes >> 32,
    regs.STREAM_SNAP_DESCRIPTORS: lambda stream: stream.snapshot.descriptors,
    regs.STREAM_SNAP_FIFO_BYTES: lambda stream: stream.snapshot.fifo_bytes,
    regs.STREAM_SNAP_INDEX: lambda stream: stream.snapshot.index,
    regs.STREAM_SNAP_FRAME_TICKS: lambda stream: stream.snapshot.frame_ticks,
    regs.STREAM_START_TIME_LO: lambda stream: stream.start_ticks,
    regs.STREAM_START_TIME_HI: lambda stream: stream.start_ticks >> 32,
    regs.STREAM_PACKET_TIME_LO: lambda stream: stream.packet_ticks,
    regs.STREAM_PACKET_TIME_HI: lambda stream: stream.packet_ticks >> 32,
    regs.STREAM_LIVE_FRAMES_LO: lambda stream: stream.frames,
    regs.STREAM_LIVE_FRAMES_HI: lambda stream: stream.frames >> 32,
    regs.STREAM_LIVE_BYTES_LO: lambda stream: stream.moved_bytes,
    regs.STREAM_LIVE_BYTES_HI: lambda stream: stream.moved_bytes >> 32,
    regs.STREAM_LIVE_DESCRIPTORS: lambda stream: stream.descriptors,
    regs.STREAM_LIVE_INDEX: lambda stream: stream.index,
}


def _status(state: int, fault: bool, ended: bool) -> int:
    return state | int(fault) << regs.STREAM_STATUS_FAULT_LSB | int(ended) << regs.STREAM_STATUS_ENDED_LSB


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
        max_channels: int = 2,
        channels: int = 2,
        frame_clocks: int = 256,
        codec: CodecSettings | None = None,
        bulk: bool = True,
        serial: int = 0,
    ) -> None:
        """`frame_clocks`: those of rate code 0."""
        super().__init__(
            streams=streams,
            max_channels=max_channels,
            channels=channels,
            frame_clocks=frame_clocks,
            codec=codec,
            bulk=bulk,
        )
        self.now_ticks = 0
        self.serial = serial
        self.monitors = [MonitorModel() for _ in range(regs.MONITOR_COUNT)]
        self.midi = MidiModel(lambda cause, ticks: self.events.post(cause, 0, ticks))
        self.spdif = SpdifModel()
        self.i2c = I2cModel()
        self.trigger = TriggerModel(lambda ticks: self.events.post(Cause.TRIGGER, 0, ticks))
        self._rates = {rate: int(rate.name.removeprefix("CLOCKS_")) for rate in ConverterRate}
        self._rates[ConverterRate.CLOCKS_256] = frame_clocks
        self.requests = 0
        self.errors = 0
        self._words = {
            regs.FPGA_SCRATCH: 0,
            regs.BRIDGE_SCRATCH: 0,
            regs.FPGA_ALARM_TIME: 0,
            regs.FPGA_PATTERN_CONTROL: 0,
            regs.FPGA_PATTERN_SEED: regs.FPGA_PATTERN_SEED_RESET,
            regs.FPGA_CONVERTER_CONTROL: 0,
        }
        self._alarm_ticks: int | None = None

    # ------------------------------------------------------------------ time

    def pass_time(self, to_ticks: int) -> None:
        """Let board time flow up to `to_ticks`. What happens meanwhile is worked out by `catch_up`."""
        self.now_ticks = max(self.now_ticks, to_ticks)

    def catch_up(self) -> None:
        """Do everything that is due at the present board time, in the order of its times."""
        while (due := self._timed_ticks()) is not None and due <= self.now_ticks:
            self.advance(due)
            if due == self._alarm_ticks:
                self._alarm_ticks = None
                self.events.post(Cause.TIMER, 0, due)
            if due == self.midi.next_ticks:
                self.midi.step()
            if due == self.trigger.next_ticks:
                self.trigger.step()
        self.advance(self.now_ticks)

    def _timed_ticks(self) -> int | None:
        """When alarm, MIDI port or trigger do something next."""
        due = (self._alarm_ticks, self.midi.next_ticks, self.trigger.next_ticks)
        return min((ticks for ticks in due if ticks is not None), default=None)

    def wait(self, deadline_low: int) -> None:
        """Let time flow until the event ring holds something or the low word of board time reaches the deadline."""
        self.catch_up()
        deadline = self.now_ticks + _signed(deadline_low - self.now_ticks)
        while self.events.is_empty and self.now_ticks < deadline:
            stops = (deadline, self.next_stop_ticks(), self._timed_ticks())
            self.pass_time(max(min(ticks for ticks in stops if ticks is not None), self.now_ticks + 1))
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
        if PERIPHERAL_BASE <= address < PERIPHERAL_BASE + PERIPHERAL_BLOCK_BYTES:
            return self._read_peripheral(address)
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
            case regs.FPGA_TRIGGER_OUT:
                return int(self.trigger.level_out)
            case regs.FPGA_TRIGGER_IN:
                return int(self.trigger.level_in)
            case regs.FPGA_FENCE_FIRST:
                return self.fence[0]
            case regs.FPGA_FENCE_LAST:
                return self.fence[1]
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
        if PERIPHERAL_BASE <= address < PERIPHERAL_BASE + PERIPHERAL_BLOCK_BYTES:
            self._write_peripheral(address, value)
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
                self.events.board_enable = value & BOARD_CAUSE_BITS
            case regs.FPGA_CONVERTER_CONTROL:
                self._write_converter(value)
            case regs.FPGA_PATTERN_CONTROL:
                self._words[address] = value & 3
                self.check_enabled = bool(value & 2)
                if value & 4:
                    self.restart_pattern(PatternKind(value & 1), self._words[regs.FPGA_PATTERN_SEED])
            case regs.FPGA_TRIGGER_OUT:
                self.trigger.set_level_out(bool(value & 1), self.now_ticks)
            case regs.FPGA_FENCE_FIRST:
                self.fence = (value & 0x1FF, self.fence[1])
            case regs.FPGA_FENCE_LAST:
                self.fence = (self.fence[0], value & 0x1FF)
            case _:
                pass

    def _write_converter(self, value: int) -> None:
        """CONVERTER_CONTROL: format and rate are taken while the converter stands, if they fit."""
        before = self._words[regs.FPGA_CONVERTER_CONTROL]
        mask = 3 << regs.FPGA_CONVERTER_CONTROL_FORMAT_LSB | 7 << regs.FPGA_CONVERTER_CONTROL_RATE_LSB
        sample_format = value >> regs.FPGA_CONVERTER_CONTROL_FORMAT_LSB & 3
        rate = value >> regs.FPGA_CONVERTER_CONTROL_RATE_LSB & 7
        if self.enabled:
            fits = (value ^ before) & mask == 0
        else:
            fits = sample_format in list(ConverterFormat) and rate in list(ConverterRate)
            if sample_format == ConverterFormat.TDM:
                fits = fits and self.channels > 2 and rate != ConverterRate.CLOCKS_128
        taken = value & mask if fits else before & mask
        enable = bool(value & 1) and (self.enabled or fits)
        refused = int(not fits) << regs.FPGA_CONVERTER_CONTROL_REFUSED_LSB
        self._words[regs.FPGA_CONVERTER_CONTROL] = value & _CONVERTER_KEPT & ~1 | int(enable) | taken | refused
        if not self.enabled:
            self.frame_clocks = self._rates[ConverterRate(taken >> regs.FPGA_CONVERTER_CONTROL_RATE_LSB & 7)]
        is_tdm = taken >> regs.FPGA_CONVERTER_CONTROL_FORMAT_LSB & 3 == ConverterFormat.TDM
        self.looped_channels = self.channels if is_tdm else min(self.channels, 2)
        if enable and not self.enabled:
            self.spdif.align(self.now_ticks)
        self.set_enabled(enable, self.now_ticks)
        self.mute = bool(value & 2)
        select = value >> regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB & 3
        self.input_select = InputSelect(select) if select < 3 else InputSelect.CONVERTER

    def _read_stream(self, number: int, offset: int) -> int:
        if offset == regs.STREAM_EVENT_CAUSE:
            return self.events.stream_cause[number]
        if offset == regs.STREAM_EVENT_ENABLE:
            return self.events.stream_enable[number]
        read = _READ_STREAM.get(offset)
        return read(self.streams[number]) & _MASK32 if read else 0

    def _write_stream(self, number: int, offset: int, value: int) -> None:
        stream = self.streams[number]
        if offset in (regs.STREAM_CONFIG, regs.STREAM_RING_BASE, regs.STREAM_RING_SIZE):
            stream.settings_written = True
        match offset:
            case regs.STREAM_CONTROL:
                self.set_state(number, value & 3, self.now_ticks)
            case regs.STREAM_CONFIG:
                stream.config = value & _CONFIG_BITS
            case regs.STREAM_RING_BASE:
                stream.ring_base = value & 0x1FFF0
            case regs.STREAM_RING_SIZE:
                stream.ring_size = value & 0x1FF
            case regs.STREAM_RING_PRODUCER:
                self.set_producer(number, value, self.now_ticks)
            case regs.STREAM_INTERVAL_BYTES:
                stream.interval_bytes = value
            case regs.STREAM_REVOKE:
                self.revoke(number, value, self.now_ticks)
            case regs.STREAM_EVENT_CAUSE:
                self.events.stream_cause[number] &= ~value
            case regs.STREAM_EVENT_ENABLE:
                self.events.stream_enable[number] = value & STREAM_CAUSE_BITS
            case regs.STREAM_SNAPSHOT:
                self.take_snapshot(number, self.now_ticks)
            case regs.STREAM_LIVE_FRAMES_LO:
                stream.frames = stream.frames & ~_MASK32 | value
            case regs.STREAM_LIVE_FRAMES_HI:
                stream.frames = stream.frames & _MASK32 | value << 32
            case regs.STREAM_LIVE_BYTES_LO:
                stream.moved_bytes = stream.moved_bytes & ~_MASK32 | value
            case regs.STREAM_LIVE_BYTES_HI:
                stream.moved_bytes = stream.moved_bytes & _MASK32 | value << 32
            case regs.STREAM_LIVE_DESCRIPTORS:
                stream.descriptors = value
            case _:
                pass

    # ------------------------------------------------------------------ peripherals

    def on_sent(self, frames: Frames) -> None:
        self.spdif.sends(self.frame_time(1), self.frame_clocks, frames)

    def _read_peripheral(self, address: int) -> int:
        if address < regs.SPDIF_BASE or address >= regs.MIDI_RX_RING_BASE:
            return self.midi.read(address, self.now_ticks)
        if address < regs.I2C_BASE:
            return self.spdif.read(address, self.now_ticks, self.frame_clocks)
        if address < regs.TRIGGER_BASE:
            return self.i2c.read(address, self.now_ticks)
        return self.trigger.read(address)

    def _write_peripheral(self, address: int, value: int) -> None:
        if address < regs.SPDIF_BASE or address >= regs.MIDI_RX_RING_BASE:
            self.midi.write(address, value, self.now_ticks)
        elif address < regs.I2C_BASE:
            self.spdif.write(address, value, self.now_ticks, self.frame_clocks)
            self.mute_loopback = self.spdif.mutes_loopback
        elif address < regs.TRIGGER_BASE:
            self.i2c.write(address, value, self.now_ticks)
        else:
            self.trigger.write(address, value, self.now_ticks)

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


def _signed(difference: int) -> int:
    """A 32-bit difference with its sign."""
    return (difference + 0x80000000 & _MASK32) - 0x80000000


def host_rate(clock_rate: Fraction, clock_ppm: float) -> Fraction:
    """Board ticks in one second of a host clock by which the board runs `clock_ppm` fast."""
    return clock_rate * (1 + Fraction(str(clock_ppm)) / 1_000_000)
