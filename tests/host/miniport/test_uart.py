"""The board's MIDI port, on the model: times, order, gate, hold, room, wrap of the rings."""

from collections.abc import Iterator

import pytest

from codecrig.board import Board, BoardSystem, EventRecord, open_board
from codecrig.link import registers as regs
from codecrig.link.registers import Cause
from codecrig.miniport.uart import RING_RECORDS, MidiUart, TimedByte
from codecrig.portcls import IRQL

BYTE_S = 10 / 31_250


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


@pytest.fixture
def system(board: Board) -> BoardSystem:
    return BoardSystem(board)


def test_bytes_leave_at_their_times_and_in_order(board: Board, system: BoardSystem) -> None:
    uart = MidiUart(board)
    start = board.clock.now() + board.clock.ticks(0.002)
    gap = board.clock.ticks(0.001)
    assert uart.send([TimedByte(start + n * gap, 0x90 + n) for n in range(3)]) == 3
    system.sleep(0.01)
    sent = board.bench.midi_read()
    assert [each.value for each in sent] == [0x90, 0x91, 0x92]
    bit_ticks = board.clock.ticks(1 / 31_250)
    assert all(0 <= each.ticks - (start + n * gap) < bit_ticks for n, each in enumerate(sent))


@pytest.mark.parametrize("seconds", [100, 200, 300, 400])
def test_a_time_long_past_is_no_time_to_come(board: Board, system: BoardSystem, seconds: int) -> None:
    """Records hold 32 bits of a time: half of them, 175 s, are the future."""
    system.sleep(seconds)
    uart = MidiUart(board)
    uart.send([TimedByte(0, 0xFE)])
    system.sleep(3 * BYTE_S)
    assert [each.value for each in board.bench.midi_read()] == [0xFE]


def test_a_held_or_flushed_byte_does_not_leave(board: Board, system: BoardSystem) -> None:
    uart = MidiUart(board)
    uart.hold(True)
    uart.send([TimedByte(0, 1), TimedByte(0, 2)])
    system.sleep(3 * BYTE_S)
    assert board.bench.midi_read() == [] and uart.state().queued == 2
    uart.flush()
    uart.hold(False)
    uart.send([TimedByte(0, 3)])
    system.sleep(3 * BYTE_S)
    assert [each.value for each in board.bench.midi_read()] == [3]


def test_no_more_is_taken_than_there_is_room_and_the_ring_wraps(board: Board, system: BoardSystem) -> None:
    uart = MidiUart(board)
    uart.hold(True)
    assert uart.send([TimedByte(0, n & 0x7F) for n in range(200)]) == RING_RECORDS
    assert uart.send([TimedByte(0, 0)]) == 0
    uart.hold(False)
    system.sleep((RING_RECORDS + 1) * BYTE_S)
    assert uart.send([TimedByte(0, n & 0x7F) for n in range(128, 200)]) == 72
    system.sleep(75 * BYTE_S)
    assert [each.value for each in board.bench.midi_read()] == [n & 0x7F for n in range(200)]


def test_received_bytes_have_times_and_come_once(board: Board, system: BoardSystem) -> None:
    uart = MidiUart(board)
    seen: list[EventRecord] = []
    levels: list[IRQL] = []
    uart.subscribe(Cause.MIDI_RECEIVED, lambda record: (seen.append(record), levels.append(system.level)) and None)
    board.bench.midi_send(b"\x01", board.clock.now())
    system.sleep(2 * BYTE_S)
    assert uart.take() == []  # the gate is closed
    uart.open_gate(True)
    start = board.clock.now() + board.clock.ticks(0.001)
    data = bytes(n & 0x7F for n in range(150))
    board.bench.midi_send(data, start)
    taken: list[TimedByte] = []
    for _ in range(20):
        system.sleep(8 * BYTE_S)
        taken += uart.take(5)
        taken += uart.take()
    assert bytes(each.value for each in taken) == data
    byte_ticks = board.clock.ticks(BYTE_S)
    for n, each in enumerate(taken):
        assert abs(each.ticks - start - n * byte_ticks) <= board.clock.ticks(3 / 31_250)
    assert seen and set(levels) == {IRQL.DEVICE}


def test_closing_leaves_nothing_behind(board: Board, system: BoardSystem) -> None:
    uart = MidiUart(board)
    called: list[EventRecord] = []
    uart.subscribe(Cause.MIDI_RECEIVED, called.append)
    uart.open_gate(True)
    uart.hold(True)
    uart.send([TimedByte(0, 1)])
    uart.close()
    board.bench.midi_send(b"\x02", board.clock.now())
    system.sleep(4 * BYTE_S)
    assert called == [] and board.bench.midi_read() == []
    assert (uart.state().queued, uart.state().received) == (0, 0)


@pytest.mark.parametrize(
    "lsb", [regs.MIDI_CONTROL_STALL_LSB, regs.MIDI_CONTROL_DEAD_LSB, regs.MIDI_CONTROL_LOOPBACK_LSB]
)
def test_what_somebody_else_has_set_stays(board: Board, lsb: int) -> None:
    def is_set() -> bool:
        return bool(board.read_register(regs.MIDI_CONTROL) >> lsb & 1)

    board.write_register(regs.MIDI_CONTROL, 1 << lsb)
    uart = MidiUart(board)
    assert is_set()
    for call in (lambda: uart.open_gate(True), lambda: uart.hold(True), uart.flush, uart.clear_received):
        call()
        assert is_set()
    board.write_register(regs.MIDI_CONTROL, board.read_register(regs.MIDI_CONTROL) & 0xFF & ~(1 << lsb))
    uart.hold(False)
    assert not is_set()
    board.write_register(regs.MIDI_CONTROL, 1 << lsb)
    uart.close()
    assert is_set()


def test_closing_lets_leave_what_is_queued(board: Board, system: BoardSystem) -> None:
    uart = MidiUart(board)
    data = [0x90, 0x3C, 0x40] * 30
    uart.send([TimedByte(0, value) for value in data])
    uart.close()
    system.sleep(2 * BYTE_S)
    assert [each.value for each in board.bench.midi_read()] == data
