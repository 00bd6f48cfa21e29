"""The board's MIDI port: bytes with the board time of their start bits, out and in. Knows no interface of Windows.

One object drives both directions; the streams of a miniport share it. Times are board ticks, 64 bit; the rings hold
their low words. `Wire` follows what leaves, for those who have to end it well.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from codecrig.board import Board, EventRecord
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause
from codecrig.messages import message_bytes

RING_RECORDS = regs.MIDI_TX_RING_BYTES // regs.MIDI_RECORD_BYTES
BITS_PER_BYTE = 10
BAUD = 31_250
BYTE_S = BITS_PER_BYTE / BAUD

_COUNT_MASK = 0xFF
_MASK32 = 0xFFFFFFFF
_FIRST_BOARD_CAUSE = Cause.TIMER
_QUIET = 1 << regs.MIDI_CONTROL_RX_CLEAR_LSB | 1 << regs.MIDI_CONTROL_TX_FLUSH_LSB
_OF_OTHERS = 1 << regs.MIDI_CONTROL_LOOPBACK_LSB | 1 << regs.MIDI_CONTROL_STALL_LSB | 1 << regs.MIDI_CONTROL_DEAD_LSB
"""Bits of CONTROL that are for tests: whoever set them clears them."""


@dataclass(frozen=True, slots=True)
class TimedByte:
    """A byte and the board time of its start bit, in ticks."""

    ticks: int
    value: int


@dataclass(frozen=True, slots=True)
class UartState:
    """CONTROL and COUNTS of one moment."""

    ready: bool
    """False: the unit is dead."""
    sending: bool
    """A byte is on its way out."""
    received: int
    """Bytes received and not taken."""
    queued: int
    """Bytes that have not begun to leave."""
    dropped: int
    """Received bytes lost because the ring was full, modulo 256."""
    rx_consumer: int
    tx_producer: int


class Wire:
    """Follows the bytes of one direction: which notes sound, and whether a message is under way."""

    def __init__(self) -> None:
        self.in_sysex = False
        """A SysEx has begun and not ended."""
        self._notes: dict[tuple[int, int], None] = {}
        self._running = 0
        self._begun = bytearray()

    @property
    def missing_bytes(self) -> int:
        """Data bytes that a short message lacks which has begun."""
        return (message_bytes(self._begun[0]) or 0) - len(self._begun) if self._begun else 0

    @property
    def resumption(self) -> bytes:
        """What a listener has to hear again before data bytes, once other messages have come between."""
        return bytes(self._begun) or (bytes([self._running]) if self._running else b"")

    def hear(self, data: Iterable[int]) -> None:
        """Bytes, in their order."""
        for value in data:
            if value < 0x80:
                self._data_byte(value)
            elif value < 0xF8:  # real time stands between everything
                self.in_sysex = value == 0xF0
                self._running = value if value < 0xF0 else 0
                self._begun[:] = b"" if value in (0xF0, 0xF7) or message_bytes(value) == 1 else bytes([value])

    def _data_byte(self, value: int) -> None:
        if not self._begun and self._running:
            self._begun.append(self._running)
        if self.in_sysex or not self._begun:
            return
        self._begun.append(value)
        if self.missing_bytes:
            return
        kind, note = self._begun[0] & 0xF0, (self._begun[0] & 0x0F, self._begun[1])
        if kind == 0x90 and value:
            self._notes[note] = None
        elif kind in (0x80, 0x90):
            self._notes.pop(note, None)
        self._begun.clear()

    def note_offs(self) -> bytes:
        """Note Off messages for all that sounds."""
        return b"".join(bytes([0x80 | channel, note, 0]) for channel, note in self._notes)


class MidiUart:
    """Transmitter and receiver. Opened quiet: gate closed, nothing held, nothing queued, no events."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._control = 0
        self._unsubscribe: list[Callable[[], None]] = []
        self._write_control(_QUIET)

    def close(self) -> None:
        """As it was found: no events, gate closed, nothing queued.

        What is due leaves first, unless the transmitter stands still; what is due later is dropped.
        """
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe.clear()
        left, before = self.state().queued, -1
        while left != before and left:
            self.board.sleep(2 * BYTE_S)
            left, before = self.state().queued, left
        self._control = 0
        self._write_control(_QUIET)

    # ------------------------------------------------------------------ events

    def subscribe(self, cause: Cause, handler: Callable[[EventRecord], None]) -> Callable[[], None]:
        """Call `handler`, as interrupt, with events of one of MIDI_RECEIVED, MIDI_SENT and MIDI_OVERFLOW.

        The cause is enabled, and cleared at the board before each call. Records that were in the board's ring by then
        merge into that call, as interrupts do: a byte takes 320 us, a call some round trips. Returns the function that
        ends it.
        """
        bit = 1 << (cause - _FIRST_BOARD_CAUSE)
        merged_ticks = -1

        def clear_and_call(record: EventRecord) -> None:
            nonlocal merged_ticks
            if record.time_ticks <= merged_ticks:
                return
            merged_ticks = self.board.events.time_ticks
            self.board.write_register(regs.FPGA_EVENT_CAUSE, bit)
            handler(record)

        end = self.board.events.subscribe(cause, clear_and_call)
        self._enable(bit, True)

        def unsubscribe() -> None:
            end()
            self._enable(bit, False)

        self._unsubscribe.append(unsubscribe)
        return unsubscribe

    def _enable(self, bit: int, enabled: bool) -> None:
        before = self.board.read_register(regs.FPGA_EVENT_ENABLE)
        self.board.write_register(regs.FPGA_EVENT_CAUSE, bit)
        self.board.write_register(regs.FPGA_EVENT_ENABLE, before | bit if enabled else before & ~bit)

    # ------------------------------------------------------------------ control

    def _write_control(self, once: int = 0) -> None:
        others = self.board.read_register(regs.MIDI_CONTROL) & _OF_OTHERS
        self.board.write_register(regs.MIDI_CONTROL, others | self._control | once)

    def _set(self, lsb: int, value: bool) -> None:
        self._control = self._control & ~(1 << lsb) | int(value) << lsb

    def open_gate(self, is_open: bool) -> None:
        """Keep received bytes from now on, or drop them; with the gate goes a byte that is arriving."""
        self._set(regs.MIDI_CONTROL_RX_GATE_LSB, is_open)
        self._write_control()

    def clear_received(self) -> None:
        """Drop what was received and not taken."""
        self._write_control(1 << regs.MIDI_CONTROL_RX_CLEAR_LSB)

    def hold(self, held: bool) -> None:
        """Let no queued byte begin to leave, or go on."""
        self._set(regs.MIDI_CONTROL_TX_HOLD_LSB, held)
        self._write_control()

    def flush(self) -> None:
        """Drop every byte that has not begun to leave."""
        self._write_control(1 << regs.MIDI_CONTROL_TX_FLUSH_LSB)

    def state(self) -> UartState:
        """Both registers, read at once."""
        control, counts = self.board.read_registers(regs.MIDI_CONTROL, 2)
        rx_producer, rx_consumer, tx_producer, tx_consumer = counts.to_bytes(4, "little")
        return UartState(
            ready=bool(control >> regs.MIDI_CONTROL_READY_LSB & 1),
            sending=bool(control >> regs.MIDI_CONTROL_TX_ACTIVE_LSB & 1),
            received=(rx_producer - rx_consumer) & _COUNT_MASK,
            queued=(tx_producer - tx_consumer) & _COUNT_MASK,
            dropped=control >> regs.MIDI_CONTROL_DROPPED_LSB,
            rx_consumer=rx_consumer,
            tx_producer=tx_producer,
        )

    # ------------------------------------------------------------------ bytes

    def take(self, most: int | None = None) -> list[TimedByte]:
        """Received bytes in wire order, at most `most`; they are taken from the board."""
        state = self.state()
        count = state.received if most is None else min(state.received, most)
        if count == 0:
            return []
        taken = Request.write_word(regs.MIDI_RX_CONSUMER, (state.rx_consumer + count) & _COUNT_MASK)
        replies = self.board.transact([*_pieces(regs.MIDI_RX_RING_BASE, state.rx_consumer, count), taken])
        data = b"".join(replies[:-1])
        now = self.board.events.time_ticks
        records = struct.iter_unpack("<IBxxx", data)
        return [TimedByte(now + _signed(time - now), value) for time, value in records]

    def send(self, data: Sequence[TimedByte], state: UartState | None = None) -> int:
        """Queue bytes behind those that are queued; returns how many there was room for.

        Each leaves at its time, or at once if that has passed; the next one waits for it. A time further ahead than
        87 s may be taken for a past one, so keep such bytes back. `state` saves reading it again.
        """
        state = self.state() if state is None else state
        accepted = data[: RING_RECORDS - state.queued]
        if not accepted:
            return 0
        now = self.board.events.time_ticks  # the ring would take a time long past for one to come
        packed = b"".join(struct.pack("<IBxxx", max(each.ticks, now) & _MASK32, each.value) for each in accepted)
        writes, done = [], 0
        for piece in _pieces(regs.MIDI_TX_RING_BASE, state.tx_producer, len(accepted)):
            writes.append(Request.write(piece.address, packed[done : done + piece.length]))
            done += piece.length
        producer = (state.tx_producer + len(accepted)) & _COUNT_MASK
        self.board.transact([*writes, Request.write_word(regs.MIDI_TX_PRODUCER, producer)])
        return len(accepted)


def _pieces(base: int, first: int, count: int) -> list[Request]:
    """Reads of `count` records of a ring from record `first` on; two where the ring wraps."""
    slot, each = first % RING_RECORDS, regs.MIDI_RECORD_BYTES
    before_wrap = min(count, RING_RECORDS - slot)
    pieces = [Request.read(base + slot * each, before_wrap * each)]
    if count > before_wrap:
        pieces.append(Request.read(base, (count - before_wrap) * each))
    return pieces


def _signed(difference: int) -> int:
    """A difference of low words as a number around 0."""
    return (difference + 0x80000000 & _MASK32) - 0x80000000
