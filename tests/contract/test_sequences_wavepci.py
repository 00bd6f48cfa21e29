"""Random legal and illegal calls on a WavePci stream, on model and twin in lock-step: the same answers.

The converter stands while calls are made and runs from the middle of one mapping to the middle of another, so both
boards have finished the same mappings. A mapping in progress is revoked only with all behind it: how much of it was
moved differs by some frames between boards.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sequences import answer_alike

from codecrig.board import Board
from codecrig.contract.rig import Rig
from codecrig.contract.wavepci_doubles import Piece, WavePciBench, WavePciSide
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.portcls import IRQL, KSSTATE, Format, NtStatusError

FORM = Format(48_000, 2, 24)
OTHER_FORMS = [Format(48_000, 1, 16), Format(44_100, 2, 16), Format(48_000, 2, 32, is_float=True)]
PIECE_FRAMES = 128
PIECE_BYTES = PIECE_FRAMES * FORM.block_bytes
CONVERTER_OFF = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
CONVERTER_ON = CONVERTER_OFF | 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB


class Lane:
    """One board with a stream of its own."""

    def __init__(self, board: Board, capture: bool) -> None:
        self.board = board
        board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.rig = Rig(board)
        self.bench = WavePciBench(self.rig, FORM)
        self.side: WavePciSide = self.bench.side(capture=capture)
        self.side.serves = False

    def call(self, method: str, *arguments: Any, level: IRQL = IRQL.PASSIVE) -> str:
        """Make the call; what came out."""
        try:
            with self.rig.system.at(level):
                result = getattr(self.side.stream, method)(*arguments)
        except NtStatusError as error:
            return error.status.name
        return str(getattr(result, "name", result))

    def run(self, frames: int) -> None:
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_ON)
        self.rig.system.sleep(max(0.0, frames / FORM.sample_rate - 100e-6))
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, CONVERTER_OFF)
        self.rig.system.sleep(0.0)

    def facts(self) -> tuple[Any, ...]:
        """What must be equal on both boards."""
        double = self.side.port_stream
        snapshot = self.board.snapshot(self.side.number)
        held, released = self.side.tags(), [tag for tag, _ in double.released]
        return (held, released, double.faults, len(double.waiting), double.refused, snapshot.state, snapshot.fault)


class Sequences(RuleBasedStateMachine):
    """A stream on each of two boards; every call is made on both."""

    boards: tuple[Board, Board]
    frames_run = 0
    mappings_released = 0
    mappings_revoked = 0

    @initialize(capture=st.booleans(), state=st.sampled_from([KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.STOP]))
    def open_streams(self, capture: bool, state: KSSTATE) -> None:
        self.capture = capture
        self.lanes = [Lane(board, capture) for board in self.boards]
        self.state = KSSTATE.STOP
        self.phase_frames = 0
        self.reported = [0, 0]
        self.feed(5, True)
        for step in range(1, state + 1):
            self.set_state(KSSTATE(step))

    def both(self, method: str, *arguments: Any, level: IRQL = IRQL.PASSIVE) -> str:
        first, second = (lane.call(method, *arguments, level=level) for lane in self.lanes)
        assert first == second, f"{method}{arguments}: model {first}, twin {second}"
        self.look()
        return first

    def look(self) -> None:
        first, second = (lane.facts() for lane in self.lanes)
        assert first == second, f"model {first}, twin {second}"
        assert first[2] == []

    @property
    def held(self) -> list[int]:
        return self.lanes[0].side.tags()

    def drop(self, first: int, last: int) -> None:
        """Revoke what is held from place `first` to place `last`."""
        tags = self.held
        counts = {lane.side.revoke(tags[first], tags[last]) for lane in self.lanes}
        assert counts == {last - first + 1}
        type(self).mappings_revoked += last - first + 1
        self.look()

    @rule(state=st.sampled_from(list(KSSTATE)))
    def set_state(self, state: KSSTATE) -> None:
        """Also steps that leave out states."""
        outcome = self.both("set_state", state)
        assert outcome == "SUCCESS"
        for lane in self.lanes:
            lane.side.state = state
        self.state = state
        if state is KSSTATE.STOP:
            if self.held:
                self.drop(0, len(self.held) - 1)
            self.phase_frames, self.reported = 0, [0, 0]
            for lane in self.lanes:
                assert lane.side.position() == 0

    @rule(count=st.integers(1, 5), tell=st.booleans())
    def feed(self, count: int, tell: bool) -> None:
        for lane in self.lanes:
            base = lane.bench.CAPTURE_BASE if self.capture else lane.bench.RENDER_BASE
            lane.side.feed(*(Piece(base + 1 + n * 800, PIECE_BYTES, n == count - 1) for n in range(count)), tell=tell)
        self.look()

    @rule()
    def service(self) -> None:
        before = len(self.lanes[0].side.port_stream.released)
        self.both("service", level=IRQL.DISPATCH)
        type(self).mappings_released += len(self.lanes[0].side.port_stream.released) - before

    @rule()
    def mapping_available(self) -> None:
        for lane in self.lanes:
            lane.side.port_stream.refused = False
        self.both("mapping_available", level=IRQL.DISPATCH)

    @rule(where=st.floats(0, 1), count=st.integers(1, 3))
    def revoke_ahead(self, where: float, count: int) -> None:
        """Some mappings that the engine has not come to."""
        self.service()
        places = range(2, len(self.held))
        if places:
            first = places[int(where * (len(places) - 1))]
            self.drop(first, min(first + count, len(self.held)) - 1)

    @rule()
    def revoke_everything(self) -> None:
        self.service()
        if self.held:
            self.drop(0, len(self.held) - 1)
            self.phase_frames = 0

    @rule(number=st.integers(0, 3))
    def revoke_strangers(self, number: int) -> None:
        """Tags never used, and a range that ends in one; released ones are no strangers."""
        acquired = [tag for tag, _ in self.lanes[0].side.port_stream.acquired]
        strange = max(acquired, default=0) + 1000 + number
        assert self.both("revoke_mappings", strange, strange, level=IRQL.DISPATCH) == "UNSUCCESSFUL"
        released = [tag for tag, _ in self.lanes[0].side.port_stream.released]
        if released:
            assert self.both("revoke_mappings", released[0], released[-1], level=IRQL.DISPATCH) == "0"

    @rule(form=st.sampled_from([FORM, *OTHER_FORMS]))
    def set_format(self, form: Format) -> None:
        if form != FORM and self.both("set_format", form) == "SUCCESS":
            assert self.state is KSSTATE.STOP
            assert self.both("set_format", FORM) == "SUCCESS"

    @rule(position=st.integers(0, 1 << 40))
    def looks(self, position: int) -> None:
        self.both("normalize_physical_position", position, level=IRQL.DEVICE)
        self.both("get_allocator_framing")

    @rule(pieces=st.integers(1, 6))
    def stream_on(self, pieces: int) -> None:
        """From wherever the stream is to RUN; play to the middle of a mapping `pieces` further on, or to the end."""
        for step in range(self.state + 1, KSSTATE.RUN + 1):
            self.set_state(KSSTATE(step))
        self.service()
        left = len(self.held) * PIECE_FRAMES - self.phase_frames
        frames = pieces * PIECE_FRAMES + PIECE_FRAMES // 2 - self.phase_frames
        for lane in self.lanes if frames > 0 else ():
            lane.run(frames)
        if frames > 0:
            type(self).frames_run += frames
            self.phase_frames = (self.phase_frames + frames) % PIECE_FRAMES if frames < left else 0
        self.service()
        self.positions()

    @rule()
    def positions(self) -> None:
        """Whole frames, never less than before, never more than was acquired, near the other board's."""
        found = []
        for number, lane in enumerate(self.lanes):
            position = lane.side.position()
            assert position % FORM.block_bytes == 0
            assert self.reported[number] <= position <= lane.side.port_stream.acquired_bytes
            self.reported[number] = position
            found.append(position)
        assert abs(found[0] - found[1]) < PIECE_BYTES // 2

    def teardown(self) -> None:
        for lane in getattr(self, "lanes", []):
            problems = lane.rig.close()
            assert not problems


def test_model_and_twin_answer_alike() -> None:
    def enough(machine: type[Sequences]) -> bool:
        return machine.frames_run > 3_000 and machine.mappings_released > 20 and machine.mappings_revoked > 30

    answer_alike(Sequences, enough, examples=24, steps=30)
