"""S/PDIF gates, I2C master and trigger in Python: registers and times, good enough to develop the host side against."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from codecrig.link import registers as regs

from .converter import Frames

_MASK16 = 0xFFFF
_MASK32 = 0xFFFFFFFF

BLOCK_FRAMES = 192
"""Frames in a channel status block."""
PULSE_TICKS = 1024
"""How long a trigger pulse lasts, and how often the output looks at a time that is past."""
SYNCHRONISER_TICKS = 2


class SpdifModel:
    """Gates and marks of the S/PDIF transmitter, where in its block it is, and what a receiver makes of it.

    The signal itself is not modelled, nor the frames of silence that it sends while the converter stands.
    """

    def __init__(self) -> None:
        self.gates = 0
        self.marks = regs.SPDIF_MARKS_RATE_RESET << regs.SPDIF_MARKS_RATE_LSB
        self.tap: list[tuple[int, Frames, npt.NDArray[np.uint8]]] | None = None
        """First tick, samples and flags (bits 0 and 1: channel status, bit 6: first of a block) of what was sent."""
        self._blocks = [0, 0]  # board times at which the last block but one and the last one began, or will begin

    @property
    def mutes_loopback(self) -> bool:
        """Capture streams hear silence in place of the digital loopback."""
        return bool(self.gates >> regs.SPDIF_GATES_MUTE_LOOPBACK_LSB & 1)

    def align(self, ticks: int) -> None:
        """Frames begin at this board time and every frame's length from it: the converter starts."""
        self._blocks = [ticks, ticks]

    def sends(self, first_ticks: int, frame_clocks: int, frames: Frames) -> None:
        """The DAC is given these frames, one a tick."""
        if self.tap is None or not self.gates >> regs.SPDIF_GATES_ENABLE_LSB & 1:
            return
        ticks = first_ticks + frame_clocks * np.arange(len(frames))
        origin = np.where(ticks < self._blocks[1], *self._blocks)
        number = (ticks - origin) // frame_clocks % BLOCK_FRAMES
        status = self._status_bits()
        flags = status[number, 0] | status[number, 1] << 1 | (number == 0).astype(np.uint8) << 6
        self.tap.append((first_ticks, frames & np.int32(-256), flags))

    def _status_bits(self) -> npt.NDArray[np.uint8]:
        """Channel status of a block, frames by channels."""
        bits = np.zeros((BLOCK_FRAMES, 2), dtype=np.uint8)
        bits[2] = not self.gates >> regs.SPDIF_GATES_COPY_NEVER_LSB & 1
        for bit in range(8):
            bits[8 + bit] = self.marks >> bit & 1
        bits[20, 0] = bits[21, 1] = 1
        for bit in range(4):
            bits[24 + bit] = self.marks >> regs.SPDIF_MARKS_RATE_LSB + bit & 1
        bits[[32, 33, 35]] = 1  # 24 bits
        return bits

    def read(self, address: int, now_ticks: int, frame_clocks: int) -> int:
        if address == regs.SPDIF_GATES:
            return self.gates
        if address == regs.SPDIF_MARKS:
            return self.marks
        if address != regs.SPDIF_STATUS:
            return 0
        pending = now_ticks < self._blocks[1]
        frame = (now_ticks - self._blocks[not pending]) // frame_clocks % BLOCK_FRAMES
        return int(pending) | frame << regs.SPDIF_STATUS_FRAME_LSB

    def write(self, address: int, value: int, now_ticks: int, frame_clocks: int) -> None:
        if address == regs.SPDIF_GATES:
            self.gates = value & 0xF
        elif address == regs.SPDIF_MARKS:
            self.marks = value & 0xFFF
        else:
            return
        if now_ticks >= self._blocks[1]:
            last = self._blocks[1]
            self._blocks = [last, last + ((now_ticks - last) // frame_clocks + 1) * frame_clocks]


class I2cModel:
    """I2C master on a bus without a device: nobody acknowledges, reads give ones."""

    def __init__(self) -> None:
        self._fast = False
        self._busy_until_ticks = 0
        self._data = 0
        self._nack = self._refused = self._owner = self._sda_low = False

    def read(self, address: int, now_ticks: int) -> int:
        if address == regs.I2C_CONTROL:
            return int(self._fast)
        if address != regs.I2C_STATUS:
            return 0
        busy = now_ticks < self._busy_until_ticks
        return (
            self._data
            | int(busy) << regs.I2C_STATUS_BUSY_LSB
            | int(self._nack and not busy) << regs.I2C_STATUS_NACK_LSB
            | int(self._refused) << regs.I2C_STATUS_REFUSED_LSB
            | int(self._owner) << regs.I2C_STATUS_OWNER_LSB
            | int(not self._sda_low) << regs.I2C_STATUS_SDA_LSB
            | int(not self._owner) << regs.I2C_STATUS_SCL_LSB
        )

    def write(self, address: int, value: int, now_ticks: int) -> None:
        if address == regs.I2C_CONTROL:
            self._fast = bool(value & 1)
        elif address == regs.I2C_COMMAND:
            if now_ticks < self._busy_until_ticks:
                self._refused = True
            else:
                self._carry_out(value, now_ticks)

    def _carry_out(self, command: int, now_ticks: int) -> None:
        reads, writes = (bool(command >> lsb & 1) for lsb in (regs.I2C_COMMAND_READ_LSB, regs.I2C_COMMAND_WRITE_LSB))
        starts, stops = (bool(command >> lsb & 1) for lsb in (regs.I2C_COMMAND_START_LSB, regs.I2C_COMMAND_STOP_LSB))
        self._nack = self._refused = False
        self._data = command & 0xFF
        step_ticks = 8 if self._fast else 31
        slot_ticks = 4 * step_ticks + 3  # the synchroniser of the clock line costs three
        ticks = 0
        if starts:
            ticks += 2 * slot_ticks
            self._owner = self._sda_low = True
        if reads or writes:
            ticks += 9 * slot_ticks
            self._owner = True
            self._data = 0xFF if reads else self._data
            self._sda_low = reads and not command >> regs.I2C_COMMAND_NACK_LSB & 1
            self._nack = not reads
        if stops:
            ticks += 2 * slot_ticks + (0 if self._owner else step_ticks)
            self._owner = self._sda_low = False
        self._busy_until_ticks = now_ticks + ticks


class TriggerModel:
    """A pulse out at a board time, and the time of an edge coming in. `edge` is told every chosen input edge."""

    def __init__(self, edge: Callable[[int], None]) -> None:
        self._edge = edge
        self.out_edges: list[int] = []
        """Board times at which the output pin changed, the pulse and the level of TRIGGER_OUT together."""
        self.level_out = False
        self.level_in = False
        self._pulse = False
        self._out_time = 0
        self._armed_from: int | None = None
        self._falling = False
        self._latched = False
        self._in_time = 0
        self._edges = 0
        self._looked = 0

    @property
    def next_ticks(self) -> int | None:
        """Board time at which the output changes next by itself."""
        if self._armed_from is not None:
            wait = (self._out_time - self._armed_from + 0x80000000 & _MASK32) - 0x80000000
            looks = self._armed_from + (wait if wait >= 0 else wait % PULSE_TICKS)
            return min(looks, self._next_look) + 1 if self._pulse else looks + 1
        return self._next_look + 1 if self._pulse else None

    @property
    def _next_look(self) -> int:
        return self._looked + 1 + (self._out_time - self._looked - 1) % PULSE_TICKS

    def step(self) -> None:
        """Do what is due at `next_ticks`."""
        now = self.next_ticks
        if now is None:
            return
        self._looked = now - 1
        due = self._armed_from is not None and (self._looked - self._out_time) & _MASK32 < 0x80000000
        if due:
            self._armed_from = None
        self._drive(now, self.level_out, due)

    def set_level_out(self, level: bool, now_ticks: int) -> None:
        """TRIGGER_OUT was written."""
        self._drive(now_ticks, level, self._pulse)

    def _drive(self, now_ticks: int, level: bool, pulse: bool) -> None:
        before = self.level_out or self._pulse
        self.level_out, self._pulse = level, pulse
        if (level or pulse) != before:
            self.out_edges.append(now_ticks)

    def set_level_in(self, level: bool, now_ticks: int) -> None:
        """Drive the input pin."""
        if level == self.level_in:
            return
        self.level_in = level
        if level == self._falling:
            return
        seen = now_ticks + SYNCHRONISER_TICKS
        self._edges = (self._edges + 1) & _MASK16
        if not self._latched:
            self._latched = True
            self._in_time = seen
        self._edge(seen)

    def read(self, address: int) -> int:
        if address == regs.TRIGGER_CONTROL:
            return (
                int(self._armed_from is not None) << regs.TRIGGER_CONTROL_ARMED_LSB
                | int(self._falling) << regs.TRIGGER_CONTROL_IN_FALLING_LSB
                | int(self._pulse) << regs.TRIGGER_CONTROL_OUT_HIGH_LSB
                | int(self._latched) << regs.TRIGGER_CONTROL_IN_LATCHED_LSB
                | int(self.level_in) << regs.TRIGGER_CONTROL_IN_HIGH_LSB
            )
        if address == regs.TRIGGER_IN_TIME_LO:
            return self._in_time & _MASK32
        if address == regs.TRIGGER_IN_TIME_HI:
            return self._in_time >> 32 & _MASK16 | self._edges << regs.TRIGGER_IN_TIME_HI_EDGES_LSB
        return 0

    def write(self, address: int, value: int, now_ticks: int) -> None:
        if address == regs.TRIGGER_OUT_TIME:
            self._looked = max(self._looked, now_ticks)
            self._out_time, self._armed_from = value, now_ticks + 1
        elif address == regs.TRIGGER_CONTROL:
            self._falling = bool(value >> regs.TRIGGER_CONTROL_IN_FALLING_LSB & 1)
            if not value >> regs.TRIGGER_CONTROL_ARMED_LSB & 1:
                self._armed_from = None
                self._drive(now_ticks, self.level_out, False)
            if value >> regs.TRIGGER_CONTROL_IN_LATCHED_LSB & 1:
                self._latched = False
