"""The event ring with its sticky causes."""

import struct

from codecrig.link import registers as regs
from codecrig.link.registers import Cause

RECORDS = regs.EVENT_RING_BYTES // regs.EVENT_RECORD_BYTES
FIRST_BOARD_CAUSE = 16
"""Causes from this number on belong to the board, those below to a stream."""
BOARD_STREAM = 0
"""The stream field of a board cause's record."""
STREAM_CAUSES = [cause for cause in Cause if cause < FIRST_BOARD_CAUSE]
BOARD_CAUSES = [cause for cause in Cause if cause >= FIRST_BOARD_CAUSE]
STREAM_CAUSE_BITS = sum(1 << cause for cause in STREAM_CAUSES)
BOARD_CAUSE_BITS = sum(1 << (cause - FIRST_BOARD_CAUSE) for cause in BOARD_CAUSES)

_RECORD = struct.Struct("<BBHIQ4I")
_MASK32 = 0xFFFFFFFF


class EventRingModel:
    """Records, producer and consumer counts, and the sticky causes of the board and of each stream."""

    def __init__(self, streams: int) -> None:
        self.memory = bytearray(regs.EVENT_RING_BYTES)
        self.producer = 0
        self.consumer = 0
        self.lost = 0
        self._overflow_waits = False
        self.board_cause = 0
        self.board_enable = 0
        self.stream_cause = [0] * streams
        self.stream_enable = [0] * streams

    @property
    def is_empty(self) -> bool:
        """True if the host has taken every record."""
        return self.producer == self.consumer

    def post(self, cause: Cause, stream: int, time_ticks: int, *data: int) -> None:
        """A cause occurred: its sticky bit is set, and a record is written if the cause is enabled."""
        if cause >= FIRST_BOARD_CAUSE:
            bit = 1 << (cause - FIRST_BOARD_CAUSE)
            self.board_cause |= bit
            enabled = self.board_enable & bit
            stream = BOARD_STREAM
        else:
            bit = 1 << cause
            self.stream_cause[stream] |= bit
            enabled = self.stream_enable[stream] & bit
        if enabled:
            self._record(cause, stream, time_ticks, False, data)

    def write_consumer(self, value: int, time_ticks: int) -> None:
        """The host has taken records up to `value`. Posts set and enabled causes again when the ring runs empty."""
        self.consumer = value & _MASK32
        was_empty = self.is_empty
        if self._overflow_waits:
            self._overflow_waits = False
            self.post(Cause.RING_OVERFLOW, BOARD_STREAM, time_ticks, self.lost)
        if not was_empty:
            return
        for stream, (causes, enable) in enumerate(zip(self.stream_cause, self.stream_enable, strict=True)):
            for cause in STREAM_CAUSES:
                if causes & enable & (1 << cause):
                    self._record(cause, stream, time_ticks, True, ())
        for cause in BOARD_CAUSES:
            if self.board_cause & self.board_enable & (1 << (cause - FIRST_BOARD_CAUSE)):
                self._record(cause, BOARD_STREAM, time_ticks, True, ())

    def _record(self, cause: Cause, stream: int, time_ticks: int, reposted: bool, data: tuple[int, ...]) -> None:
        if (self.producer - self.consumer) & _MASK32 >= RECORDS:
            self.lost = (self.lost + 1) & _MASK32
            self.board_cause |= 1 << (Cause.RING_OVERFLOW - FIRST_BOARD_CAUSE)
            self._overflow_waits = True
            return
        words = [value & _MASK32 for value in data] + [0] * (4 - len(data))
        slot = self.producer % RECORDS * regs.EVENT_RECORD_BYTES
        _RECORD.pack_into(self.memory, slot, cause, stream, int(reposted), self.producer, time_ticks, *words)
        self.producer = (self.producer + 1) & _MASK32
