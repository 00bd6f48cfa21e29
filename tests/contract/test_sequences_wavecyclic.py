"""Random legal and illegal calls on a WaveCyclic stream, on model and twin in lock-step.

The same statuses, the same bytes of silence, the same notifications; and on each board the position that its own count
of frames says. The converter stands while calls are made, so that both boards are at the same frame within a packet.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sequences import answer_alike

from codecrig.board import Board, BoardSystem
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.miniport.wavecyclic import MiniportWaveCyclic
from codecrig.port.wavecyclic import PortWaveCyclic
from codecrig.portcls import KSSTATE, Format, IServiceSink, NtStatusError

FORM = Format(48_000, 2, 24)
FORMS = [FORM, Format(48_000, 1, 16), Format(48_000, 2, 8), Format(48_000, 2, 32)]
BAD_FORMS = [Format(44_100, 2, 16), Format(48_000, 7, 16), Format(48_000, 2, 32, is_float=True)]
PACKET_FRAMES = 96
"""2 ms: the interval of the notifications."""
SIZE = 10 * PACKET_FRAMES * FORM.block_bytes
CONVERTER_OFF = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
CONVERTER_ON = CONVERTER_OFF | 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB
RENDER_DELAY_FRAMES = 8
"""Hub, wire, and the DAC's share of the codec's delay. What is captured in digital loopback has none."""


class Sink(IServiceSink):
    """Counts services."""

    count = 0

    def request_service(self) -> None:
        self.count += 1


class Side:
    """One board with a stream of its own."""

    def __init__(self, board: Board, capture: bool) -> None:
        self.board = board
        self.capture = capture
        self.system = BoardSystem(board)
        board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.port = PortWaveCyclic(MiniportWaveCyclic(board), self.system)
        miniport: Any = self.port._miniport
        made = miniport.new_stream(int(capture), capture, FORM)
        self.stream: Any = made.Stream
        self.channel, self.group, self.sink = made.DmaChannel, made.ServiceGroup, Sink()
        self.channel.set_buffer_size(SIZE)
        self.stream.set_notification_freq(2)
        self.group.add_member(self.sink)
        self.form = FORM
        self.start = 0
        """Offset at which the engine began."""
        self.size = SIZE
        """Cyclic length that the engine has."""
        self.fresh = True
        self.ran_ticks = 0

    def call(self, method: str, *arguments: Any) -> str:
        """Make the call; what came out."""
        try:
            result = getattr(self.stream, method)(*arguments)
        except NtStatusError as error:
            return error.status.name
        return str(getattr(result, "name", result))

    def position(self) -> int:
        """What the board's own count says."""
        if self.fresh:
            return self.start
        frames = self.board.snapshot(int(self.capture)).frames
        outer = frames if self.capture else max(0, frames - RENDER_DELAY_FRAMES)
        return (self.start + outer * self.form.block_bytes) % self.size

    def run(self, packets: int) -> None:
        """Let the converter run on to half a packet behind `packets` more packets."""
        wanted = (self.ran_ticks // PACKET_FRAMES + packets) * PACKET_FRAMES + PACKET_FRAMES // 2 - self.ran_ticks
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_ON)
        self.system.sleep(max(0.0, wanted / FORM.sample_rate - 100e-6))
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.system.sleep(0.0)
        if self.stream._state is KSSTATE.RUN:
            self.ran_ticks += self.board.snapshot(int(self.capture)).frame_ticks

    def close(self) -> None:
        self.group.remove_member(self.sink)
        for each in (self.stream, self.channel, self.group):
            each.release()
        self.port.close()


class Sequences(RuleBasedStateMachine):
    """A stream on each of two boards; every call is made on both."""

    boards: tuple[Board, Board]
    frames_run = 0

    @initialize(capture=st.booleans())
    def open_streams(self, capture: bool) -> None:
        self.sides = [Side(board, capture) for board in self.boards]
        self.state = KSSTATE.STOP

    def both(self, method: str, *arguments: Any) -> str:
        first, second = (side.call(method, *arguments) for side in self.sides)
        assert first == second, f"{method}{arguments}: model {first}, twin {second}"
        return first

    @rule(state=st.sampled_from(list(KSSTATE)))
    def set_state(self, state: KSSTATE) -> None:
        assert self.both("set_state", state) == "SUCCESS"
        self.state = state
        for side in self.sides:
            if state is KSSTATE.STOP:
                side.fresh, side.start, side.ran_ticks = True, 0, 0
            elif state is KSSTATE.RUN and side.fresh:
                side.fresh, side.size = False, side.channel.buffer_size()
                side.start %= side.size

    @rule(form=st.sampled_from(FORMS + BAD_FORMS))
    def set_format(self, form: Format) -> None:
        before = [side.position() for side in self.sides]
        status = self.both("set_format", form)
        if self.state is KSSTATE.RUN:
            assert status == "INVALID_DEVICE_REQUEST"
        elif form in BAD_FORMS:
            assert status == "INVALID_PARAMETER"
        else:
            assert status == "SUCCESS"
            for side, position in zip(self.sides, before, strict=True):
                if form != side.form and not side.fresh:
                    side.fresh, side.start, side.ran_ticks = True, position - position % form.block_bytes, 0
                side.form = form

    @rule(interval=st.sampled_from([0, 1, 2, 2, 2, 10, 100_000]))
    def set_notification_freq(self, interval: int) -> None:
        self.both("set_notification_freq", interval)
        self.both("set_notification_freq", 2)

    @rule(size=st.sampled_from([SIZE, 1000, 4096, 10**9]))
    def set_buffer_size(self, size: int) -> None:
        for side in self.sides:
            side.channel.set_buffer_size(size)
            assert side.channel.allocated_buffer_size() == 7 * 4096

    @rule(offset=st.integers(0, 100), count=st.integers(0, 60))
    def silence(self, offset: int, count: int) -> None:
        if self.state is not KSSTATE.RUN:
            found = set()
            for side in self.sides:
                view = side.channel.system_address()
                view.write(0, b"\x5a" * 200)
                side.stream.silence(view.slice(offset, 100), count)
                found.add(view.read(0, 200))
            fill = b"\x80" if self.sides[0].form.container_bits == 8 else b"\0"
            assert found == {b"\x5a" * offset + fill * count + b"\x5a" * (200 - offset - count)}

    @rule(count=st.integers(0, 1 << 40))
    def normalize(self, count: int) -> None:
        self.both("normalize_physical_position", count)

    @rule(packets=st.integers(0, 4))
    def positions(self, packets: int) -> None:
        """The position that the board's own count says; as many services on both boards."""
        for side in self.sides if packets else ():
            side.run(packets)
        if self.state is KSSTATE.RUN:
            type(self).frames_run += packets * PACKET_FRAMES
        found = []
        for side in self.sides:
            position, snapshot = side.stream.get_position(), side.board.snapshot(int(side.capture))
            assert position == side.position()
            assert 0 <= position < max(side.size, side.start + 1)
            found.append((snapshot.state, snapshot.fault, snapshot.underruns, snapshot.overruns,
                          snapshot.frames // PACKET_FRAMES, side.sink.count))  # fmt: skip
        assert found[0] == found[1], f"model {found[0]}, twin {found[1]}"

    @rule(packets=st.integers(1, 4))
    def stream_on(self, packets: int) -> None:
        """What a port does, from wherever the stream is: up to RUN, then on."""
        for step in range(self.state + 1, KSSTATE.RUN + 1):
            self.set_state(KSSTATE(step))
        self.positions(packets)

    def teardown(self) -> None:
        for side in getattr(self, "sides", []):
            side.close()


def test_model_and_twin_answer_alike() -> None:
    def enough(machine: type[Sequences]) -> bool:
        return machine.frames_run > 10_000

    answer_alike(Sequences, enough, examples=30, steps=40)
