"""Random legal and illegal calls on a stream, on model and twin in lock-step: the same statuses, the same positions.

The converter stands while calls are made, so that both boards are at the same frame, and runs from half a packet to
half a packet in between. Within a running span a board may be some frames ahead of the other, since a request takes its
own time on each; so positions are compared with the board's own count of frame ticks, and in packets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from codecrig.board import Board, BoardSystem, open_board
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.port.wavert import PortWaveRT, PortWaveRTStream
from codecrig.portcls import KSSTATE, Format, KEvent, NtStatusError

FORM = Format(48_000, 2, 24)
OTHER_FORMS = [Format(48_000, 1, 16), Format(44_100, 2, 16), Format(48_000, 2, 32, is_float=True)]
PACKET_FRAMES = 96
PACKET_BYTES = PACKET_FRAMES * FORM.block_bytes
CONVERTER_OFF = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
CONVERTER_ON = CONVERTER_OFF | 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB


class Side:
    """One board with a stream of its own."""

    def __init__(self, board: Board, capture: bool) -> None:
        self.board = board
        self.capture = capture
        self.system = BoardSystem(board)
        board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.port = PortWaveRT(MiniportWaveRT(board), self.system)
        miniport: Any = self.port._miniport
        self.port_stream = PortWaveRTStream(self.port.pages, self.system)
        self.stream: Any = miniport.new_stream(self.port_stream, int(capture), capture, FORM)
        self.events = [KEvent("first"), KEvent("second")]
        self.mdl: Any = None
        self.ran_ticks = 0
        """Frame ticks since STOP while the stream was in RUN."""

    def call(self, method: str, *arguments: Any) -> str:
        """Make the call; what came out, in words that do not depend on how far into a packet the board is."""
        try:
            result = getattr(self.stream, method)(*arguments)
        except NtStatusError as error:
            return error.status.name
        if method in ("allocate_audio_buffer", "allocate_buffer_with_notification"):
            self.mdl = result.AudioBufferMdl
            return f"{result.ActualSize} bytes in {len(result.AudioBufferMdl.page_numbers)} pages"
        if method == "get_read_packet":
            return f"packet {result.PacketNumber}, more {result.MoreData}"
        return str(getattr(result, "name", result))

    def run(self, packets: int) -> None:
        """Let the converter run on to half a packet behind `packets` more packets."""
        running = self.stream._state is KSSTATE.RUN
        wanted = (self.ran_ticks // PACKET_FRAMES + packets) * PACKET_FRAMES + PACKET_FRAMES // 2 - self.ran_ticks
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_ON)
        self.system.sleep(max(0.0, wanted / FORM.sample_rate - 100e-6))
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.system.sleep(0.0)
        if running:
            self.ran_ticks += self.board.snapshot(int(self.capture)).frame_ticks

    def close(self) -> None:
        if self.stream._state is not KSSTATE.STOP:
            self.stream.set_state(KSSTATE.STOP)
        if self.mdl is not None:
            self.stream.free_audio_buffer(self.mdl, 0)
        self.stream.release()
        self.port_stream.release()
        self.port.close()


class Sequences(RuleBasedStateMachine):
    """A stream on each of two boards; every call is made on both."""

    boards: tuple[Board, Board]

    frames_run = 0

    @initialize(
        capture=st.booleans(),
        count=st.sampled_from([2, 1, None]),
        state=st.sampled_from([KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.STOP]),
    )
    def open_streams(self, capture: bool, count: int | None, state: KSSTATE) -> None:
        self.capture = capture
        self.sides = [Side(board, capture) for board in self.boards]
        self.state = KSSTATE.STOP
        if count is not None:
            self.allocate_with_notification(count, count * PACKET_BYTES)
            self.events(0, True)
            for step in range(1, state + 1):
                self.set_state(KSSTATE(step))

    def both(self, method: str, *arguments: Any, each: Callable[[Side], tuple[Any, ...]] | None = None) -> str:
        first, second = (side.call(method, *(each(side) if each else arguments)) for side in self.sides)
        assert first == second, f"{method}{arguments}: model {first}, twin {second}"
        return first

    @rule(state=st.sampled_from(list(KSSTATE)))
    def set_state(self, state: KSSTATE) -> None:
        self.both("set_state", state)
        found = {side.stream._state for side in self.sides}
        assert len(found) == 1
        self.state = found.pop()
        if self.state is KSSTATE.STOP:
            for side in self.sides:
                side.ran_ticks = 0

    @rule(count=st.integers(0, 3), size=st.sampled_from([0, 1, PACKET_BYTES, 2 * PACKET_BYTES, 10**7]))
    def allocate_with_notification(self, count: int, size: int) -> None:
        self.both("allocate_buffer_with_notification", count, size)

    @rule(size=st.sampled_from([0, 5, 2 * PACKET_BYTES, 2 * PACKET_BYTES + 1, 10**7]))
    def allocate(self, size: int) -> None:
        self.both("allocate_audio_buffer", size)

    @precondition(lambda self: self.state is KSSTATE.STOP)
    @rule(with_list=st.booleans())
    def free(self, with_list: bool) -> None:
        self.both("free_audio_buffer", each=lambda side: (side.mdl if with_list else None, 0))
        if with_list:
            for side in self.sides:
                side.mdl = None

    @rule(form=st.sampled_from([FORM, *OTHER_FORMS]))
    def set_format(self, form: Format) -> None:
        before = {side.stream._engine.format for side in self.sides}
        if form != FORM and self.both("set_format", form) == "SUCCESS":
            assert self.both("set_format", FORM) == "SUCCESS"
        assert {side.stream._engine.format for side in self.sides} == before

    @rule(number=st.integers(0, 1), register=st.booleans())
    def events(self, number: int, register: bool) -> None:
        method = "register_notification_event" if register else "unregister_notification_event"
        self.both(method, each=lambda side: (side.events[number],))

    @rule(
        packets=st.integers(0, 2),
        ahead=st.integers(-1, 3),
        flags=st.sampled_from([0, 0, 0, 1, 0x200]),
        last=st.sampled_from([0, 5, 10**6]),
    )
    def write_packet(self, packets: int, ahead: int, flags: int, last: int) -> None:
        self.run(packets)
        if not self.capture:
            number = self.sides[0].ran_ticks // PACKET_FRAMES + ahead
            self.both("set_write_packet", number & 0xFFFFFFFF, flags, last)

    @rule(packets=st.integers(0, 2))
    def read_packet(self, packets: int) -> None:
        self.run(packets)
        if self.capture:
            self.both("get_read_packet")

    @rule()
    def registers(self) -> None:
        self.both("get_hw_latency")

    def run(self, packets: int) -> None:
        """Let both converters run on."""
        for side in self.sides if packets else ():
            side.run(packets)
        if self.state is KSSTATE.RUN:
            type(self).frames_run += packets * PACKET_FRAMES

    @rule(packets=st.integers(1, 3))
    def stream_on(self, packets: int) -> None:
        """What a client does, from wherever the stream is: up to RUN, then packets."""
        for step in range(self.state + 1, KSSTATE.RUN + 1):
            self.set_state(KSSTATE(step))
        self.run(packets)
        self.read_packet(0)
        self.write_packet(0, 1, 0, 0)
        self.positions(0)

    @rule(packets=st.integers(0, 3))
    def positions(self, packets: int) -> None:
        """Frames against the board's own ticks; offsets in range; the same packet on both boards."""
        self.run(packets)
        found = []
        for side in self.sides:
            position, snapshot = side.stream.get_position(), side.board.snapshot(int(self.capture))
            buffer = side.stream._buffer
            size = buffer.actual_bytes if buffer else 1
            assert 0 <= position.PlayOffset < size and 0 <= position.WriteOffset < size
            found.append((snapshot.state, snapshot.fault, snapshot.underruns, snapshot.overruns,
                          snapshot.frames - side.ran_ticks, snapshot.frames // PACKET_FRAMES,
                          side.events[0].set_count, side.events[1].set_count))  # fmt: skip
        assert found[0] == found[1], f"model {found[0]}, twin {found[1]}"

    def teardown(self) -> None:
        for side in getattr(self, "sides", []):
            side.close()


@pytest.fixture(scope="module")
def boards() -> Iterator[tuple[Board, Board]]:
    with open_board("model") as model, open_board("twin") as twin:
        yield model, twin


def test_model_and_twin_answer_alike(boards: tuple[Board, Board]) -> None:
    @seed(1)
    class Machine(Sequences):
        pass

    Machine.boards = boards
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Machine.frames_run > 10_000
