"""The MIDI port in Python: bytes and their times, to the clock of hdl/rtl/midi_uart.sv.

Nothing is done bit by bit: a byte begins, is stored, or ends at a board time that is worked out ahead. `next_ticks`
names the next such time and `step` does what is due then.
"""

from collections import deque
from collections.abc import Callable

from codecrig.link import registers as regs
from codecrig.link.registers import Cause

BIT_TICKS = 393
FRAME_TICKS = 10 * BIT_TICKS
"""Start bit, eight data bits, stop bit."""
STORE_TICKS = 9 * BIT_TICKS + BIT_TICKS // 2
"""From the first clock of a start bit to the middle of the stop bit, where a received byte is stored."""
BEGIN_TICKS = 3
"""From the clock in which a record's time has come to the first clock of the start bit."""
PIN_TICKS = 3
"""From a pin to the receiver."""
RING_RECORDS = 128

_MASK8 = 0xFF
_MASK32 = 0xFFFFFFFF
_RX_CLEAR = 1 << regs.MIDI_CONTROL_RX_CLEAR_LSB
_TX_FLUSH = 1 << regs.MIDI_CONTROL_TX_FLUSH_LSB


class MidiModel:
    """Registers, rings, transmitter and receiver. `post` takes a cause and its board time."""

    def __init__(self, post: Callable[[Cause, int], None]) -> None:
        self._post = post
        self.rx_ring = [0] * (2 * RING_RECORDS)
        self.tx_ring = [0] * (2 * RING_RECORDS)
        self.sent: list[tuple[int, int]] = []
        """(Board time of the start bit, byte) of all that left over the pin. A bench takes them away."""
        self.looped = False
        """A cable from the output to the input pin."""
        self._gate = self._hold = self._loopback = self._stall = self._dead = False
        self._rx_producer = self._rx_consumer = self._tx_producer = self._tx_consumer = 0
        self._dropped = 0
        self._waits_from: int | None = None  # the transmitter looks at the time of the next record from here on
        self._free_from = 0  # the transmitter has no byte from here on
        self._sending: tuple[int, int] | None = None  # first clock, byte
        self._arriving: tuple[int, int] | None = None  # the same
        self._keep = False
        self._no_room = False  # the ring was full when that byte began
        self._line: deque[tuple[int, int]] = deque()  # what will arrive at the pin

    # ------------------------------------------------------------------ time

    @property
    def next_ticks(self) -> int | None:
        """Board time at which something happens next; None if nothing is under way."""
        due = (self._begin_ticks(), self._end_ticks(), self._store_ticks(), self._line[0][0] if self._line else None)
        return min((ticks for ticks in due if ticks is not None), default=None)

    def step(self) -> None:
        """Do what is due at `next_ticks`."""
        now = self.next_ticks
        if now is None:
            return
        if now == self._store_ticks():
            self._store(now)
        if now == self._end_ticks():
            self._end(now)
        if now == self._begin_ticks():
            self._begin(now)
        if self._line and now == self._line[0][0]:
            _, data = self._line.popleft()
            if not self._loopback:
                self._hear(now, data)

    def _begin_ticks(self) -> int | None:
        """First clock of the start bit of the next byte."""
        if self._waits_from is None:
            return None
        ahead = (self.tx_ring[2 * (self._tx_consumer % RING_RECORDS)] - self._waits_from + 0x80000000) & _MASK32
        return self._waits_from + max(0, ahead - 0x80000000) + BEGIN_TICKS

    def _end_ticks(self) -> int | None:
        return self._sending[0] + FRAME_TICKS if self._sending else None

    def _store_ticks(self) -> int | None:
        return self._arriving[0] + STORE_TICKS if self._arriving else None

    def _look(self, now_ticks: int) -> None:
        """See anew whether a byte may begin. The state before it takes a clock."""
        queued = (self._tx_producer - self._tx_consumer) & _MASK8
        blocked = self._hold or self._stall or self._dead or queued > RING_RECORDS
        if not queued or blocked or self._sending:
            self._waits_from = None
        elif self._waits_from is None:
            self._waits_from = max(now_ticks, self._free_from) + 1

    # ------------------------------------------------------------------ transmitter and receiver

    def _begin(self, now: int) -> None:
        data = self.tx_ring[2 * (self._tx_consumer % RING_RECORDS) + 1] & _MASK8
        self._tx_consumer = (self._tx_consumer + 1) & _MASK8
        self._waits_from = None
        self._sending = now, data
        if self._loopback:
            self._hear(now, data)
        else:
            self.sent.append(self._sending)
            if self.looped:
                self._line.append((now + PIN_TICKS, data))

    def _end(self, now: int) -> None:
        self._sending = None
        self._free_from = now
        if self._tx_producer == self._tx_consumer:
            self._post(Cause.MIDI_SENT, now)
        self._look(now)

    def _hear(self, now: int, data: int) -> None:
        """A start bit is seen."""
        if self._arriving:
            return
        self._arriving = now, data
        self._keep = self._gate and not self._dead
        self._no_room = self._is_full
        if not self._no_room:
            self.rx_ring[2 * (self._rx_producer % RING_RECORDS)] = now & _MASK32

    def _store(self, now: int) -> None:
        assert self._arriving
        data = self._arriving[1]
        self._arriving = None
        if not self._keep:
            return
        if self._no_room:
            self._dropped = (self._dropped + 1) & _MASK8
            self._post(Cause.MIDI_OVERFLOW, now + 1)
            return
        self.rx_ring[2 * (self._rx_producer % RING_RECORDS) + 1] = (now & 0xFFFFFF00 | data) & _MASK32
        self._rx_producer = (self._rx_producer + 1) & _MASK8
        self._post(Cause.MIDI_RECEIVED, now + 1)

    @property
    def _is_full(self) -> bool:
        return (self._rx_producer - self._rx_consumer) & _MASK8 >= RING_RECORDS

    def arrive(self, data: bytes, ticks: int) -> None:
        """Bytes come in at the pin, one behind the other, from a board time on."""
        for value in data:
            start = max(ticks + PIN_TICKS, self._line[-1][0] + FRAME_TICKS if self._line else 0)
            self._line.append((start, value))

    @property
    def pending(self) -> int:
        """Bytes that will still arrive at the pin."""
        return len(self._line)

    # ------------------------------------------------------------------ registers

    def read(self, address: int, now_ticks: int) -> int:
        """A register or a word of the receive ring."""
        if regs.MIDI_RX_RING_BASE <= address < regs.MIDI_RX_RING_BASE + regs.MIDI_RX_RING_BYTES:
            return self.rx_ring[(address - regs.MIDI_RX_RING_BASE) // 4]
        if address == regs.MIDI_COUNTS:
            counts = (self._rx_producer, self._rx_consumer, self._tx_producer, self._tx_consumer)
            return int.from_bytes(bytes(counts), "little")
        if address != regs.MIDI_CONTROL:
            return 0
        return (
            int(self._gate) << regs.MIDI_CONTROL_RX_GATE_LSB
            | int(self._hold) << regs.MIDI_CONTROL_TX_HOLD_LSB
            | int(self._loopback) << regs.MIDI_CONTROL_LOOPBACK_LSB
            | int(self._stall) << regs.MIDI_CONTROL_STALL_LSB
            | int(self._dead) << regs.MIDI_CONTROL_DEAD_LSB
            | int(not self._dead) << regs.MIDI_CONTROL_READY_LSB
            | int(self._sending is not None) << regs.MIDI_CONTROL_TX_ACTIVE_LSB
            | int(self._arriving is not None) << regs.MIDI_CONTROL_RX_ACTIVE_LSB
            | self._line_level(now_ticks) << regs.MIDI_CONTROL_RX_LINE_LSB
            | int((self._tx_producer - self._tx_consumer) & _MASK8 > RING_RECORDS) << regs.MIDI_CONTROL_TX_REFUSED_LSB
            | self._dropped << regs.MIDI_CONTROL_DROPPED_LSB
        )

    def _line_level(self, now_ticks: int) -> int:
        if not self._arriving:
            return 1
        start, data = self._arriving
        return (data << 1 | 1 << 9) >> min((now_ticks - start) // BIT_TICKS, 9) & 1

    def write(self, address: int, value: int, now_ticks: int) -> None:
        """A register or a word of the transmit ring."""
        if regs.MIDI_TX_RING_BASE <= address < regs.MIDI_TX_RING_BASE + regs.MIDI_TX_RING_BYTES:
            self.tx_ring[(address - regs.MIDI_TX_RING_BASE) // 4] = value
        elif address == regs.MIDI_CONTROL:
            bits = [bool(value >> lsb & 1) for lsb in range(5)]
            self._gate, self._hold, self._loopback, self._stall, self._dead = bits
            if value & _RX_CLEAR:
                self._rx_consumer = self._rx_producer
            if value & _TX_FLUSH:
                self._tx_producer = self._tx_consumer
            self._keep = self._keep and self._gate and not self._dead and not value & _RX_CLEAR
            self._waits_from = None
            self._look(now_ticks + 1)
        elif address == regs.MIDI_RX_CONSUMER:
            self._rx_consumer = value & _MASK8
        elif address == regs.MIDI_TX_PRODUCER:
            self._tx_producer = value & _MASK8
            self._look(now_ticks + 1)
