"""Random calls on a DirectMusic render stream: whatever comes, events are conserved and bytes keep their order.
And input of which there is too much, clocks that jump, streams that never end."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from codecrig.board import BoardSystem, open_board
from codecrig.contract import Objects, Rig
from codecrig.contract.dmus_doubles import DirectStream, wire
from codecrig.link import registers as regs
from codecrig.miniport import MiniportDMus
from codecrig.port import PortDMus
from codecrig.port.dmus import QUEUE_MESSAGES, MasterClock
from codecrig.portcls import DMUS_KERNEL_EVENT, DMUS_STREAM_TYPE, KSSTATE, NTSTATUS, IMasterClock, NtStatusError, System

STALL = 1 << regs.MIDI_CONTROL_STALL_LSB


class Drive:
    """A render stream and what has been asked of it since STOP."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.stream = DirectStream(rig, DMUS_STREAM_TYPE.RENDER)
        self.asked = b""
        self.heard = b""
        self.sent_in_all = 0

    def message(self) -> bytes:
        """A controller, or a SysEx of any length up to 300; the wire shows which is which."""
        if self.random.random() < 0.8:
            return bytes([0xB0, self.random.randrange(128), self.random.randrange(128)])
        return b"\xf0" + bytes(self.random.randrange(128) for _ in range(self.random.randrange(300))) + b"\xf7"

    def event(self, time: int, depth: int = 0) -> DMUS_KERNEL_EVENT:
        allocator = self.stream.allocator
        if depth < 2 and self.random.random() < 0.15:
            events = [self.event(time, depth + 1) for _ in range(self.random.randrange(1, 4))]
            for event, following in zip(events, events[1:], strict=False):
                event.pNextEvt = following
            return allocator.make_package(events[0], self.random.choice((0, 3, 8, 9, 200)))
        data = self.message()
        if self.stream.state is not KSSTATE.STOP:
            self.asked += data
        return allocator.make(data, time)

    def put(self) -> None:
        time = self.stream.clock.get_time() + self.random.choice((-100_000, 0, 5_000, 200_000))
        self.stream.put(*[self.event(time) for _ in range(self.random.randrange(1, 6))])

    def step(self) -> None:
        """One random call."""
        what = self.random.random()
        if what < 0.5:
            self.put()
        elif what < 0.75:
            self.rig.system.sleep(self.random.choice((0.001, 0.01, 0.06)))
        elif what < 0.85:
            control = self.rig.board.read_register(regs.MIDI_CONTROL) & 0xFF
            self.rig.board.write_register(regs.MIDI_CONTROL, control ^ STALL)
        elif what < 0.9:
            self.stream.service()
        else:
            self.go(self.random.choice([*KSSTATE, *[KSSTATE.RUN] * 6]))
        self.listen()

    def go(self, state: KSSTATE) -> None:
        stops = state is KSSTATE.STOP
        self.stream.go(state)
        self.listen()
        if stops:
            assert self.stream.allocator.missing == 0
            self.asked = self.heard = b""

    def listen(self) -> None:
        """What left is a beginning of what was asked for; a SysEx that STOP broke off is ended by the next RUN."""
        self.rig.system.sleep(0)
        heard = wire(self.rig)
        if heard[:1] == b"\xf7" and not self.heard:
            heard = heard[1:]
        self.heard += heard
        self.sent_in_all += len(heard)
        assert self.asked.startswith(self.heard), (len(self.heard), self.heard[-20:].hex(), self.stream.state)


@pytest.mark.parametrize("seed", range(8))
def test_events_are_conserved_and_bytes_keep_their_order(seed: int) -> None:
    with open_board("model") as board:
        rig = Rig(board, Objects())
        drive = Drive(rig, seed)
        for _ in range(120):
            drive.step()
        drive.go(KSSTATE.RUN)
        board.write_register(regs.MIDI_CONTROL, board.read_register(regs.MIDI_CONTROL) & 0xFF & ~STALL)
        left = len(drive.asked) - len(drive.heard)
        rig.system.sleep(left * 0.000_32 + 0.1)
        drive.listen()
        assert drive.heard == drive.asked
        assert drive.stream.allocator.missing == drive.stream.allocator.doubled == 0
        assert drive.sent_in_all > 100
        assert rig.close() == []


class JumpingClock(IMasterClock):
    """The machine's time, with drift and jumps."""

    def __init__(self, system: System, ppm: int = 0) -> None:
        self._clock = MasterClock(system)
        self._ppm = ppm
        self.jump = 0

    def get_time(self) -> int:
        time = self._clock.get_time()
        return time + time * self._ppm // 1_000_000 + self.jump

    def ticks_at(self, time: int, rate: Fraction) -> Fraction:
        """Board ticks at which this clock shows `time`, as it jumped last."""
        return (time - self.jump) * rate / 10_000_000 / (1 + Fraction(self._ppm, 1_000_000))


@pytest.mark.parametrize("jump", [5_000_000, -5_000_000])
def test_a_master_clock_that_jumps_loses_nothing(jump: int) -> None:
    with open_board("model") as board:
        system = BoardSystem(board)
        clock = JumpingClock(system)
        miniport = MiniportDMus(board)
        with PortDMus(miniport, system, master_clock=clock) as port:
            miniport.release()
            pin = port.open_render(0)
            for value in range(100):
                pin.submit(value * 50_000, bytes([0xB0, 7, value]))
            pin.set_state(KSSTATE.RUN)
            system.sleep(0.1)
            clock.jump = jump
            system.sleep(1.5)
            sent = [each.value for each in board.bench.midi_read()]
            assert sent[2::3] == list(range(100))


@pytest.mark.parametrize("jump", [0, 5_000_000, -5_000_000])
@pytest.mark.parametrize("ppm", [1_000, -1_000])
def test_bytes_follow_another_master_clock(ppm: int, jump: int) -> None:
    """A master that drifts and jumps once: two seconds later, bytes leave at its times again."""
    with open_board("model") as board:
        system = BoardSystem(board)
        clock = JumpingClock(system, ppm)
        miniport = MiniportDMus(board)
        with PortDMus(miniport, system, master_clock=clock) as port:
            miniport.release()
            render, capture = port.open_render(0), port.open_capture(1)
            board.bench.midi_loop(True)
            for value in range(120):
                render.submit(value * 500_000, bytes([0xB0, 7, value]))
            capture.set_state(KSSTATE.RUN)
            render.set_state(KSSTATE.RUN)
            system.sleep(2)
            clock.jump = jump
            system.sleep(4.8)
            ahead = render.master_time(0) - capture.master_time(0)
            late = [message.time - ahead - message.data[2] * 500_000 for message in capture.read()]
            sent = board.bench.midi_read()
    begin = render.master_time(0)
    due = [clock.ticks_at(begin + each.value * 500_000, board.clock.rate) for each in sent[2::3]]
    off = [
        float((each.ticks - 2 * 3930 - ticks) / board.clock.rate) for each, ticks in zip(sent[2::3], due, strict=True)
    ]
    assert len(off) > 90
    assert max(map(abs, off[85:])) < 0.0015
    assert max(map(abs, late[85:])) < 20_000


def test_too_many_messages_are_refused() -> None:
    with open_board("model") as board:
        miniport = MiniportDMus(board)
        with PortDMus(miniport, BoardSystem(board)) as port:
            miniport.release()
            pin = port.open_render(0)
            for number in range(QUEUE_MESSAGES):
                pin.submit(number, b"\xf8")
            with pytest.raises(NtStatusError) as refused:
                pin.submit(0, b"\xf8")
            assert refused.value.status is NTSTATUS.INSUFFICIENT_RESOURCES
            with pytest.raises(NtStatusError):
                pin.submit(0, b"\xf0" + bytes(1 << 20) + b"\xf7")


def test_input_that_nobody_takes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is empty for longer than the miniport can keep bytes; what it kept comes out in order."""
    monkeypatch.setattr("codecrig.miniport.dmus.INPUT_BYTES", 600)
    with open_board("model") as board:
        rig = Rig(board, Objects())
        stream = DirectStream(rig, DMUS_STREAM_TYPE.CAPTURE)
        stream.stream.connect_output(stream.sink)
        stream.go(KSSTATE.RUN)
        stream.allocator.is_empty = True
        data = bytes(n % 127 for n in range(900))
        stream.arrive(data)
        assert stream.real.lost_bytes == 300
        stream.allocator.is_empty = False
        rig.system.sleep(0.05)
        assert stream.sink.data == data[:600]
        assert rig.close() == []


def test_a_sysex_that_never_ends_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecrig.messages.SYSEX_LIMIT", 1000)
    with open_board("model") as board:
        miniport = MiniportDMus(board)
        with PortDMus(miniport, BoardSystem(board)) as port:
            miniport.release()
            pin = port.open_capture(1)
            pin.set_state(KSSTATE.RUN)
            board.bench.midi_send(b"\xf0" + bytes(2500))
            port.system.sleep(0.9)
            pieces = pin.read()
            assert [len(piece.data) for piece in pieces] == [1000, 1000]
            assert not any(piece.complete for piece in pieces)
            pin.set_state(KSSTATE.STOP)
            assert port.allocator.outstanding_events == 0
