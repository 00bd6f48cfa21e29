"""Random legal and illegal calls on a WaveRT stream, on model and twin in lock-step.

The same statuses, packet numbers and events; and on each board the position that its own counts say. The converter
stands while calls are made, so that both boards are inside the same packet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sequences import answer_alike

from codecrig.board import Board, BoardSystem
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.port.wavert import PortWaveRT, PortWaveRTStream
from codecrig.portcls import KSAUDIO_POSITION, KSSTATE, AudioBuffer, Format, KEvent, NtStatusError

FORMS = [Format(48_000, 2, 24), Format(48_000, 1, 16), Format(48_000, 2, 8), Format(48_000, 2, 32)]
BAD_FORMS = [Format(44_100, 2, 16), Format(48_000, 7, 16), Format(48_000, 2, 32, is_float=True)]
PACKET_FRAMES = 96
CONVERTER_OFF = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
CONVERTER_ON = CONVERTER_OFF | 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB
RENDER_DELAY_FRAMES = 8
"""Hub, wire, and the DAC's share of the codec's delay. What is captured in digital loopback has none."""
MASK32 = 0xFFFFFFFF
END = 0x200


class Side:
    """One board with a stream of its own."""

    def __init__(self, board: Board, capture: bool) -> None:
        self.board = board
        self.number = int(capture)
        self.system = BoardSystem(board)
        board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.port = PortWaveRT(MiniportWaveRT(board), self.system)
        self.port_stream = PortWaveRTStream(self.port.pages, self.system)
        self.stream: Any = self.port._miniport.new_stream(self.port_stream, self.number, capture, FORMS[0])
        self.buffer: AudioBuffer | None = None
        self.events = [KEvent(str(index)) for index in range(3)]

    def call(self, method: str, *arguments: Any) -> Any:
        """Make the call; what came out, a failure by its name."""
        try:
            return getattr(self.stream, method)(*arguments)
        except NtStatusError as error:
            return error.status.name

    def run(self, packets: int) -> None:
        """Let the converter run on to half a packet behind `packets` more packets, if the stream runs."""
        frames = self.board.snapshot(self.number).frames
        wanted = (frames // PACKET_FRAMES + packets) * PACKET_FRAMES + PACKET_FRAMES // 2 - frames
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_ON)
        self.system.sleep(max(0.0, wanted / 48_000 - 100e-6))
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.system.sleep(0.0)

    def close(self) -> None:
        self.call("set_state", KSSTATE.STOP)
        if self.buffer is not None:
            self.call("free_audio_buffer", self.buffer.AudioBufferMdl, self.buffer.ActualSize)
        self.stream.release()
        assert self.port_stream.lists_held == 0 and self.port_stream.reference_count == 1
        self.port.close()


class Sequences(RuleBasedStateMachine):
    """A stream on each of two boards; every call is made on both."""

    boards: tuple[Board, Board]
    frames_run = 0
    ends = 0

    @initialize(capture=st.booleans())
    def open_streams(self, capture: bool) -> None:
        self.sides = [Side(board, capture) for board in self.boards]
        self.capture = capture
        self.state = KSSTATE.STOP
        self.form = FORMS[0]
        self.packets = 0
        """In the buffer; 0: no notification."""
        self.ended = False

    def both(self, method: str, *arguments: Any) -> Any:
        return self.each(method, lambda side: arguments)

    def each(self, method: str, arguments: Callable[[Side], tuple[Any, ...]]) -> Any:
        first, second = (side.call(method, *arguments(side)) for side in self.sides)
        assert first == second, f"{method}: model {first}, twin {second}"
        return first

    @property
    def has_buffer(self) -> bool:
        return self.sides[0].buffer is not None

    # ------------------------------------------------------------------ states, formats, buffers

    @rule(state=st.sampled_from([*KSSTATE, KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.RUN]))
    def set_state(self, state: KSSTATE) -> None:
        status = self.both("set_state", state)
        if state is KSSTATE.RUN and not self.has_buffer:
            assert status == "INVALID_DEVICE_STATE"
            return
        assert status == 0
        self.state = state
        if state is KSSTATE.STOP:
            self.ended = False
            for side in self.sides:
                assert side.stream.get_position() == KSAUDIO_POSITION(0, 0)

    @rule(form=st.sampled_from(FORMS + BAD_FORMS))
    def set_format(self, form: Format) -> None:
        status = self.both("set_format", form)
        refused = self.state is KSSTATE.RUN or form in BAD_FORMS or (self.has_buffer and form != self.form)
        assert status == ("INVALID_PARAMETER" if refused else 0)
        if not refused:
            self.form = form

    @rule(count=st.sampled_from([None, 0, 1, 2, 2, 2, 3]), frames=st.sampled_from([0, PACKET_FRAMES, 10**9]))
    def allocate(self, count: int | None, frames: int) -> None:
        size = (count or 2) * frames * self.form.block_bytes
        made = []
        for side in self.sides:
            if count is None:
                made.append(side.call("allocate_audio_buffer", size))
            else:
                made.append(side.call("allocate_buffer_with_notification", count, size))
        if count in (0, 3):
            assert made == ["INVALID_PARAMETER"] * 2
        elif self.has_buffer:
            assert made == ["INVALID_DEVICE_REQUEST"] * 2
        elif frames == 0:
            assert made == ["UNSUCCESSFUL"] * 2
        elif frames == 10**9:
            assert made == ["INSUFFICIENT_RESOURCES"] * 2
        else:
            for side, buffer in zip(self.sides, made, strict=True):
                assert (buffer.ActualSize, buffer.OffsetFromFirstPage) == (size, 0)
                side.buffer = buffer
            self.packets = count or 0
        for side in self.sides:
            assert side.port_stream.lists_held == int(self.has_buffer)

    @rule(with_list=st.sampled_from([True, False, False]))
    def free(self, with_list: bool) -> None:
        for side in self.sides:
            mdl = side.buffer.AudioBufferMdl if side.buffer is not None and with_list else None
            assert side.call("free_buffer_with_notification", mdl, 0) is None
            if mdl is not None:
                side.buffer = None
        if not self.has_buffer:
            self.packets, self.ended = 0, False
            # A stream whose buffer went in RUN is stopped; it must be told so itself.
            if self.state is KSSTATE.RUN:
                self.set_state(KSSTATE.STOP)

    # ------------------------------------------------------------------ events and packets

    @rule(index=st.integers(0, 2), register=st.sampled_from([True, True, False]))
    def events(self, index: int, register: bool) -> None:
        method = "register_notification_event" if register else "unregister_notification_event"
        assert self.each(method, lambda side: (side.events[index],)) in (0, "UNSUCCESSFUL", "NOT_FOUND")

    @rule(
        ahead=st.integers(-2, 3),
        flags=st.sampled_from([0, 0, 0, 0, 1, END, END]),
        length=st.sampled_from([0, 1, PACKET_FRAMES, 10**6]),
    )
    def write_packet(self, ahead: int, flags: int, length: int) -> None:
        if self.capture:
            return

        def arguments(side: Side) -> tuple[Any, ...]:
            count = side.call("get_packet_count")
            return ((count if isinstance(count, int) else 0) + ahead & MASK32, flags, length)

        status = self.each("set_write_packet", arguments)
        if not self.packets:
            assert status == "NOT_SUPPORTED"
        elif flags & 1 or (flags == END and length > PACKET_FRAMES * self.form.block_bytes):
            assert status == "INVALID_PARAMETER"
        elif self.ended:
            assert status == "INVALID_DEVICE_STATE"
        elif ahead < (self.state is KSSTATE.RUN):
            assert status == "DATA_LATE_ERROR"
        elif ahead >= 2:
            assert status == "DATA_OVERRUN"
        elif status == 0 and flags == END:
            self.ended = True
            type(self).ends += 1

    @rule(length=st.integers(0, 2 * PACKET_FRAMES), packets=st.integers(0, 3))
    def end_stream(self, length: int, packets: int) -> None:
        """A last packet while the one before is moved, and what comes behind it."""
        self.stream_on(1)
        self.write_packet(1, END, length)
        self.positions(packets)

    @rule()
    def read_packet(self) -> None:
        if self.capture:
            found = [side.call("get_read_packet") for side in self.sides]
            short = [each if isinstance(each, str) else (each.PacketNumber, each.Flags) for each in found]
            assert short[0] == short[1]

    # ------------------------------------------------------------------ positions

    @rule(packets=st.integers(0, 4))
    def positions(self, packets: int) -> None:
        """Positions and counts as the board's own counts say; as many events on both boards."""
        for side in self.sides if packets else ():
            side.run(packets)
        if self.state is KSSTATE.RUN and not self.ended:
            type(self).frames_run += packets * PACKET_FRAMES
        found = []
        for side in self.sides:
            position, snapshot = side.stream.get_position(), side.board.snapshot(side.number)
            outer = snapshot.frames if self.capture else max(0, snapshot.frames - RENDER_DELAY_FRAMES)
            size = side.buffer.ActualSize if side.buffer is not None else 1
            block = self.form.block_bytes
            assert position == KSAUDIO_POSITION(outer * block % size, snapshot.bytes % size)
            if self.packets and not self.capture:
                assert side.stream.get_packet_count() == snapshot.bytes // (size // self.packets)
                assert side.stream.get_output_stream_presentation_position().u64PositionInBlocks == outer
            found.append(
                (snapshot.state, snapshot.fault, snapshot.ended, snapshot.underruns, snapshot.overruns,
                 snapshot.frames // PACKET_FRAMES, [event.set_count for event in side.events])
            )  # fmt: skip
        assert found[0] == found[1], f"model {found[0]}, twin {found[1]}"

    @rule(packets=st.integers(1, 4))
    def stream_on(self, packets: int) -> None:
        """What a port does, from wherever the stream is: a buffer, up to RUN, then on."""
        if self.ended:
            self.set_state(KSSTATE.STOP)
        if not self.has_buffer:
            self.allocate(2, PACKET_FRAMES)
        for step in range(self.state + 1, KSSTATE.RUN + 1):
            self.set_state(KSSTATE(step))
        self.positions(packets)

    def teardown(self) -> None:
        for side in getattr(self, "sides", []):
            side.close()


def test_model_and_twin_answer_alike() -> None:
    def enough(machine: type[Sequences]) -> bool:
        return machine.frames_run > 5_000 and machine.ends > 3

    answer_alike(Sequences, enough, examples=18, steps=35)
