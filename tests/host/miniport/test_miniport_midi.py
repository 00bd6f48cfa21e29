"""MiniportMidi and PortMidi over the Python model of the board: what leaves around the end of RUN."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from codecrig.board import Board, BoardSystem, open_board
from codecrig.link import registers as regs
from codecrig.miniport.midi import RENDER_PIN, MiniportMidi
from codecrig.miniport.uart import BYTE_S, RING_RECORDS
from codecrig.port.midi import MidiPin, PortMidi
from codecrig.portcls import KSSTATE

STALL = 1 << regs.MIDI_CONTROL_STALL_LSB
CONTROLS = bytes([0xB0, 7, 1]) * 100
NOTE = b"\x90\x3c\x40"


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


@pytest.fixture
def port(board: Board) -> Iterator[PortMidi]:
    miniport = MiniportMidi(board)
    opened = PortMidi(miniport, BoardSystem(board))
    miniport.release()
    with opened:
        yield opened
    assert miniport.reference_count == 0


@pytest.fixture
def pin(port: PortMidi) -> MidiPin:
    opened = port.open_pin(RENDER_PIN, False)
    opened.set_state(KSSTATE.RUN)
    return opened


def stall(board: Board, on: bool) -> None:
    control = board.read_register(regs.MIDI_CONTROL) & 0xFF & ~STALL
    board.write_register(regs.MIDI_CONTROL, control | STALL * on)


def heard(board: Board) -> bytes:
    return bytes(each.value for each in board.bench.midi_read())


@pytest.mark.parametrize("stops", [False, True])
def test_what_was_taken_leaves_before_the_port_is_closed(
    board: Board, port: PortMidi, pin: MidiPin, stops: bool
) -> None:
    pin.write(NOTE * 30)
    port.system.sleep(0)
    if stops:
        pin.set_state(KSSTATE.STOP)
    port.close()
    board.sleep(2 * BYTE_S)
    assert heard(board) == NOTE * 30 + b"\x80\x3c\x00"


@pytest.mark.parametrize("state", [KSSTATE.PAUSE, KSSTATE.STOP])
def test_a_busy_transmitter_sends_all_that_was_taken(
    board: Board, port: PortMidi, pin: MidiPin, state: KSSTATE
) -> None:
    pin.write(NOTE)
    port.system.sleep(1.5 * BYTE_S)
    stall(board, True)  # the status byte has left, and perhaps the next
    pin.set_state(state)
    stall(board, False)
    port.system.sleep(10 * BYTE_S)
    assert heard(board) == NOTE + b"\x80\x3c\x00"


def test_a_message_that_pause_cuts_is_begun_again(board: Board, port: PortMidi, pin: MidiPin) -> None:
    """The ring takes 128 bytes: the last message is cut behind its second byte when RUN ends."""
    stall(board, True)
    data = NOTE + CONTROLS[: RING_RECORDS - 5] + b"\xb1\x08\x02\x09\x03"
    assert len(data) == RING_RECORDS + 3
    pin.write(data)
    port.system.sleep(0)
    assert pin.queued_bytes == 3
    stall(board, False)
    pin.set_state(KSSTATE.PAUSE)
    port.system.sleep((RING_RECORDS + 5) * BYTE_S)
    cut = data[:RING_RECORDS]
    assert cut[-2:] == b"\xb1\x08"
    assert heard(board) == cut + b"\x80\x3c\x00"
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(10 * BYTE_S)
    assert heard(board) == b"\xb1\x08" + data[RING_RECORDS:]


def test_running_status_survives_a_pause(board: Board, port: PortMidi, pin: MidiPin) -> None:
    pin.write(NOTE + b"\x3e\x40")
    port.system.sleep(6 * BYTE_S)
    pin.set_state(KSSTATE.PAUSE)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(10 * BYTE_S)
    assert heard(board) == NOTE + b"\x3e\x40" + b"\x80\x3c\x00\x80\x3e\x00"
    pin.write(b"\xf8")
    pin.write(b"\x40\x40")
    port.system.sleep(6 * BYTE_S)
    assert heard(board) == b"\xf8\x90\x40\x40"


def test_a_sysex_goes_on_behind_a_pause_and_is_ended_by_stop(board: Board, port: PortMidi, pin: MidiPin) -> None:
    pin.write(NOTE + b"\xf0\x01\x02")
    port.system.sleep(8 * BYTE_S)
    pin.set_state(KSSTATE.PAUSE)
    pin.set_state(KSSTATE.RUN)
    pin.write(b"\x03\x04")
    port.system.sleep(8 * BYTE_S)
    assert heard(board) == NOTE + b"\xf0\x01\x02\x03\x04"
    pin.set_state(KSSTATE.STOP)
    port.system.sleep(8 * BYTE_S)
    assert heard(board) == b"\xf7\x80\x3c\x00"


def test_a_transmitter_that_stands_keeps_all_in_pause_and_ends_with_silence_behind_stop(
    board: Board, port: PortMidi, pin: MidiPin
) -> None:
    pin.write(NOTE)
    port.system.sleep(5 * BYTE_S)
    stall(board, True)
    pin.write(CONTROLS)
    port.system.sleep(0)
    pin.set_state(KSSTATE.PAUSE)
    stall(board, False)
    port.system.sleep((RING_RECORDS + 2) * BYTE_S)
    assert heard(board) == NOTE + CONTROLS[:RING_RECORDS]
    pin.set_state(KSSTATE.RUN)
    stall(board, True)
    pin.write(CONTROLS)
    port.system.sleep(0)
    pin.set_state(KSSTATE.STOP)
    stall(board, False)
    port.system.sleep(60 * BYTE_S)
    ended = heard(board)
    assert ended[:1] == b"\xf7" and b"\xb0\x7b\x00" in ended
