"""Queues, revocation, end of stream, intervals, mix, fence: every board does what the Python model does.

Each script runs on the board under test and on the model that moves frame by frame. It starts its streams with the
converter's clock off and lets them run until nothing more can happen, so bytes, counts, statuses and events must agree
exactly; what depends on the moment at which the host did something is left out, and said so.
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from codecrig.board import Board, EventRecord, find_profile, load_profile, stream_register
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.model import ModelLink
from codecrig.link.registers import Cause, FaultReason, InputSelect, PatternKind, RevokeResult, StreamState
from codecrig.model import PatternSequence
from codecrig.model.engine import decode_samples, encode_samples

RENDER, CAPTURE, SECOND_RENDER = 0, 1, 2
RING_BASES = (0x1F000, 0x1F400, 0x1F800)
BUFFER_BASES = (0x0000, 0x8000, 0x10000)
BUFFER_BYTES = 0x2000
GUARD = 0xEE
EVENT, LAST, KEEP, END_OF_STREAM, REMOVED = (
    1 << bit
    for bit in (
        regs.DESCRIPTOR_EVENT_FLAG_BIT,
        regs.DESCRIPTOR_LAST_BIT,
        regs.DESCRIPTOR_KEEP_BIT,
        regs.DESCRIPTOR_END_OF_STREAM_BIT,
        regs.DESCRIPTOR_REMOVED_BIT,
    )
)
FAULTED = 1 << regs.STREAM_STATUS_FAULT_LSB | StreamState.RUN
ENDED = 1 << regs.STREAM_STATUS_ENDED_LSB | StreamState.RUN
ALL_CAUSES = 0x7F
ALL_BLOCKS = regs.FPGA_FENCE_LAST_RESET


@dataclass(frozen=True)
class Piece:
    """A descriptor."""

    address: int
    length: int
    flags: int = EVENT


def pieces(chooser: random.Random, base: int, lengths: list[int], flags: int = EVENT) -> list[Piece]:
    """Pieces of these lengths with gaps of a few bytes, in any order."""
    found = []
    for length in lengths:
        base += chooser.randint(0, 5)
        found.append(Piece(base, length, flags))
        base += length
    chooser.shuffle(found)
    return found


@dataclass
class Rig:
    """A board with words for scripts."""

    board: Board
    records: list[EventRecord] = field(default_factory=list)
    ring_bases: list[int] = field(default_factory=lambda: list(RING_BASES))

    def write(self, stream: int, offset: int, value: int) -> None:
        self.board.write_register(stream_register(stream, offset), value)

    def read(self, stream: int, offset: int) -> int:
        return self.board.read_register(stream_register(stream, offset))

    def time(self, stream: int, offset: int) -> int:
        low, high = self.board.read_registers(stream_register(stream, offset), 2)
        return low | high << 32

    def fill(self, stream: int, seed: int | None = None) -> bytes:
        """Random bytes into the buffer of a stream, or guard bytes."""
        data = bytes([GUARD]) * BUFFER_BYTES
        if seed is not None:
            data = np.random.default_rng(seed).integers(0, 256, BUFFER_BYTES, dtype=np.uint8).tobytes()
        self.board.write_memory(BUFFER_BASES[stream], data)
        return data

    def descriptor(self, stream: int, index: int, piece: Piece) -> None:
        data = struct.pack("<4I", piece.address, piece.length, 1000 + index, piece.flags)
        self.board.write_memory(self.ring_bases[stream] + 16 * index, data)

    def set_up(
        self,
        stream: int,
        ring: list[Piece],
        *,
        container: int = 2,
        channels: int = 2,
        queue: bool = False,
        interval: int = 0,
    ) -> None:
        for index, piece in enumerate(ring):
            self.descriptor(stream, index, piece)
        config = (
            (stream == CAPTURE) << regs.STREAM_CONFIG_CAPTURE_LSB
            | (container - 1) << regs.STREAM_CONFIG_CONTAINER_LSB
            | (channels - 1) << regs.STREAM_CONFIG_CHANNELS_LSB
            | queue << regs.STREAM_CONFIG_QUEUE_LSB
        )
        settings = (
            (regs.STREAM_CONFIG, config),
            (regs.STREAM_RING_BASE, self.ring_bases[stream]),
            (regs.STREAM_RING_SIZE, len(ring)),
            (regs.STREAM_RING_PRODUCER, 0),
            (regs.STREAM_INTERVAL_BYTES, interval),
            (regs.STREAM_EVENT_ENABLE, ALL_CAUSES),
        )
        self.board.transact([Request.write_word(stream_register(stream, offset), value) for offset, value in settings])

    def state(self, state: StreamState, *streams: int) -> None:
        self.board.transact(
            [Request.write_word(stream_register(stream, regs.STREAM_CONTROL), state) for stream in streams]
        )

    def queue(self, stream: int, count: int) -> None:
        self.write(stream, regs.STREAM_RING_PRODUCER, count)

    def converter(self, select: InputSelect = InputSelect.LOOPBACK, enable: bool = True) -> None:
        value = int(enable) | select << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
        self.board.write_register(regs.FPGA_CONVERTER_CONTROL, value)

    def frames(self, count: int) -> None:
        """Let time flow for so many converter frames."""
        self.board.sleep(count / float(self.board.profile.frame_rate))

    def revoke(self, stream: int, first: int, last: int) -> tuple[int, int]:
        """Result and bytes left."""
        self.write(stream, regs.STREAM_REVOKE, last << 16 | first)
        for _ in range(20):
            status, left = self.board.read_registers(stream_register(stream, regs.STREAM_REVOKE_STATUS), 2)
            if not status >> regs.STREAM_REVOKE_STATUS_PENDING_LSB & 1:
                return status, left
        raise AssertionError("a revocation is not answered")

    def counts(self, stream: int) -> dict[str, int]:
        """What a snapshot says that no clock is in."""
        taken = self.board.snapshot(stream)
        names = ("state", "fault", "ended", "frames", "bytes", "descriptors", "fifo_bytes", "index")
        return {name: int(getattr(taken, name)) for name in names}

    def facts(self, stream: int, *, frames: bool = True) -> list[tuple[int, ...]]:
        """A stream's events in their order without times. `frames`: with the frames converted till then."""
        self.board.poll()
        return [
            (record.cause, record.data0, record.data1, record.data2, *([record.data3] if frames else []))
            for record in self.records
            if record.stream == stream and not record.of_board and not record.reposted
        ]


@pytest.fixture
def reference() -> Iterator[Board]:
    """The model that moves frame by frame."""
    with Board(ModelLink(bulk=False), load_profile(find_profile("model"))) as opened:
        yield opened


Outcome = dict[str, object]


def compare(board: Board, reference: Board, script: Callable[[Rig], Outcome]) -> Outcome:
    """Run a script on both; what it returns must be equal. Returns it."""
    outcomes = []
    for each in (board, reference):
        rig = Rig(each)
        unsubscribe = each.events.subscribe(None, rig.records.append)
        outcomes.append(script(rig))
        unsubscribe()
    found, expected = outcomes
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], name
    return found


def taken_from(memory: bytes, base: int, ring: list[Piece]) -> bytes:
    return b"".join(memory[piece.address - base : piece.address - base + piece.length] for piece in ring)


def heard(board: Board, ring: list[Piece], count: int) -> bytes:
    """The first `count` captured bytes."""
    base = BUFFER_BASES[CAPTURE]
    return taken_from(board.read_memory(base, BUFFER_BYTES), base, ring)[:count]


def loud(captured: bytes, block_bytes: int) -> bytes:
    """The frames that are not silence."""
    frames = np.frombuffer(captured[: len(captured) // block_bytes * block_bytes], np.uint8).reshape(-1, block_bytes)
    return frames[frames.any(axis=1)].tobytes()


ODD_LENGTHS = [1, 90, 3, 2, 64, 7, 31, 200, 1, 1, 45, 128, 5, 11, 333, 4]


@pytest.mark.parametrize("container", [1, 2, 3, 4])
def test_a_render_queue_plays_its_pieces_in_order(board: Board, reference: Board, container: int) -> None:
    """Pieces from one byte on, frames across several; it starves, counts that, and goes on with the next."""
    chooser = random.Random(container)
    ring = pieces(chooser, BUFFER_BASES[RENDER] + 1, ODD_LENGTHS)
    whole = [Piece(BUFFER_BASES[CAPTURE], BUFFER_BYTES, 0)]

    def script(rig: Rig) -> Outcome:
        source = rig.fill(RENDER, seed=container)
        rig.fill(CAPTURE)
        rig.set_up(RENDER, ring, container=container, queue=True)
        rig.set_up(CAPTURE, whole, container=4)
        rig.converter(enable=False)
        rig.queue(RENDER, 6)
        rig.state(StreamState.RUN, CAPTURE, RENDER)
        prefilled = rig.counts(RENDER)
        rig.converter()
        rig.frames(150)
        first = rig.counts(RENDER)
        first_facts = [fact for fact in rig.facts(RENDER) if fact[0] == Cause.DESCRIPTOR]
        rig.queue(RENDER, 9)
        rig.frames(200)
        second = rig.counts(RENDER)
        rig.queue(RENDER, 16)
        rig.frames(450)
        last = rig.counts(RENDER)
        underruns = rig.read(RENDER, regs.STREAM_UNDERRUNS)
        rig.state(StreamState.PAUSE, CAPTURE, RENDER)
        missed = [fact for fact in rig.facts(RENDER) if fact[0] == Cause.UNDERRUN]
        # A gap each time it ran dry; how long depends on the host.
        assert [fact[1] for fact in missed][:1] == [1] and len(missed) == 3 and underruns > 100
        played = taken_from(source, 0, ring)
        block_bytes = 2 * container
        frames = len(played) // block_bytes
        samples = decode_samples(np.frombuffer(played[: frames * block_bytes], np.uint8), container, 2)
        captured = heard(rig.board, whole, rig.counts(CAPTURE)["frames"] * 8)
        # The RTL's FIFO gives what it has; 8-bit silence is 0x80, which is 0 at the converter.
        assert loud(captured, 8) == loud(encode_samples(samples, 4).tobytes(), 8)
        assert last["frames"] == frames and last["fifo_bytes"] == len(played) % block_bytes
        ends = [fact[:4] for fact in rig.facts(RENDER) if fact[0] == Cause.DESCRIPTOR]
        counts = [prefilled, first, second, last]
        return {"counts": counts, "first events": first_facts, "ends": ends}

    compare(board, reference, script)


@pytest.mark.parametrize("container", [1, 3])
def test_a_capture_queue_fills_its_pieces_in_order(board: Board, reference: Board, container: int) -> None:
    """The pattern moves on with each frame taken, so not one frame is lost over the gaps."""
    chooser = random.Random(container)
    ring = pieces(chooser, BUFFER_BASES[CAPTURE] + 1, ODD_LENGTHS)

    def script(rig: Rig) -> Outcome:
        rig.fill(CAPTURE)
        rig.set_up(CAPTURE, ring, container=container, queue=True)
        rig.converter(InputSelect.PATTERN, enable=False)
        restart = 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB
        rig.board.write_register(regs.FPGA_PATTERN_CONTROL, PatternKind.LFSR | restart)
        rig.queue(CAPTURE, 5)
        rig.state(StreamState.RUN, CAPTURE)
        rig.converter(InputSelect.PATTERN)
        rig.frames(150)
        first, first_facts = rig.counts(CAPTURE), rig.facts(CAPTURE)
        for queued in (9, 16):
            rig.queue(CAPTURE, queued)
            rig.frames(450)
        last = rig.counts(CAPTURE)
        assert rig.read(CAPTURE, regs.STREAM_OVERRUNS) > 100
        captured = heard(rig.board, ring, BUFFER_BYTES)
        sequence = PatternSequence(PatternKind.LFSR, 1)
        expected = encode_samples(sequence.take(last["frames"]), container).tobytes()
        assert captured == expected[: len(captured)]
        assert len(expected) - len(captured) == last["fifo_bytes"] > 64 - 2 * container
        memory = rig.board.read_memory(BUFFER_BASES[CAPTURE], BUFFER_BYTES)
        ends = [fact[:4] for fact in rig.facts(CAPTURE) if fact[0] == Cause.DESCRIPTOR]
        return {"first": first, "events": first_facts, "last": last, "memory": memory, "ends": ends}

    compare(board, reference, script)


def test_revocation(board: Board, reference: Board) -> None:
    """The current descriptor, queued ones, unknown ones, in a queue that stands and in one that starves."""
    chooser = random.Random(7)
    ring = pieces(chooser, BUFFER_BASES[RENDER] + 1, [30, 99, 52, 63, 20, 64, 41, 77])
    ring.sort(key=lambda piece: piece.length != 30)
    whole = [Piece(BUFFER_BASES[CAPTURE], BUFFER_BYTES, 0)]

    def script(rig: Rig) -> Outcome:
        source = rig.fill(RENDER, seed=7)
        rig.fill(CAPTURE)
        rig.set_up(RENDER, ring, container=3, queue=True)
        rig.set_up(CAPTURE, whole, container=3)
        rig.converter(enable=False)
        answers = [rig.revoke(RENDER, 0, 0)]  # in STOP nothing is queued
        rig.queue(RENDER, 7)
        rig.state(StreamState.RUN, CAPTURE, RENDER)
        before = rig.counts(RENDER)
        for first, last in ((7, 7), (2, 7), (3, 2), (0, 0x7FFF), (0xFFF0, 0xFFFF)):
            answers.append(rig.revoke(RENDER, first, last))
        for index in (1, 2, 5):
            piece = ring[index]
            rig.descriptor(RENDER, index, Piece(piece.address, piece.length, piece.flags | REMOVED))
        answers += [rig.revoke(RENDER, 1, 2), rig.revoke(RENDER, 5, 5), rig.revoke(RENDER, 0, 0)]
        after = rig.counts(RENDER)
        rig.converter()
        rig.frames(150)
        starved = rig.counts(RENDER)
        answers.append(rig.revoke(RENDER, 6, 6))  # all used up
        rig.queue(RENDER, 8)
        rig.frames(60)
        last_counts = rig.counts(RENDER)
        rig.state(StreamState.PAUSE, CAPTURE, RENDER)
        used = [ring[0], Piece(ring[1].address, before["bytes"] - 30), *(ring[index] for index in (3, 4, 6, 7))]
        played = taken_from(source, 0, used)
        captured = loud(heard(rig.board, whole, rig.counts(CAPTURE)["frames"] * 6), 6)
        assert captured == loud(played[: len(played) // 6 * 6], 6)
        ends = [fact for fact in rig.facts(RENDER, frames=False) if fact[0] in (Cause.DESCRIPTOR, Cause.REFUSED)]
        # What the FIFO did not take behind the first 30 bytes.
        assert answers[6][1] == ring[1].length - (before["bytes"] - 30)
        return {"answers": answers, "counts": [before, after, starved, last_counts], "events": ends}

    outcome = compare(board, reference, script)
    refused, dropped, unused = RevokeResult.REFUSED, RevokeResult.DROPPED, RevokeResult.UNUSED
    answers = outcome["answers"]
    assert isinstance(answers, list)
    assert [answer[0] for answer in answers] == [
        refused, refused, refused, refused, refused, unused, dropped, unused, unused, unused,
    ]  # fmt: skip


@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize(("container", "tail"), [(1, 24), (3, 25), (4, 100)])
def test_end_of_stream(board: Board, reference: Board, container: int, tail: int, queue: bool) -> None:
    """Nothing is moved behind it, silence follows, which is no underrun; STOP begins anew."""

    def script(rig: Rig) -> Outcome:
        rig.fill(RENDER, seed=tail)
        rig.fill(CAPTURE)
        ring = [
            [Piece(base + 1, 48), Piece(base + 101, tail, EVENT | LAST | END_OF_STREAM), Piece(base + 301, 64)]
            for base in BUFFER_BASES
        ]
        outcome: Outcome = {}
        for round_number in range(2):
            for stream in (RENDER, CAPTURE):
                rig.set_up(stream, ring[stream], container=container, queue=queue)
            rig.converter(enable=False)
            for stream in (RENDER, CAPTURE):
                rig.queue(stream, 3)
            rig.state(StreamState.RUN, CAPTURE, RENDER)
            rig.converter()
            rig.frames(120)
            for stream in (RENDER, CAPTURE):
                assert rig.read(stream, regs.STREAM_STATUS) == ENDED
                assert rig.read(stream, regs.STREAM_UNDERRUNS) == rig.read(stream, regs.STREAM_OVERRUNS) == 0
                outcome[f"counts {round_number} {stream}"] = rig.counts(stream)
                outcome[f"events {round_number} {stream}"] = facts = rig.facts(stream)
                assert [fact[0] for fact in facts[-3:]] == [Cause.DESCRIPTOR, Cause.DESCRIPTOR, Cause.END_OF_STREAM]
            rig.records.clear()
            rig.state(StreamState.STOP, CAPTURE, RENDER)
        outcome["memory"] = rig.board.read_memory(BUFFER_BASES[CAPTURE], BUFFER_BYTES)
        return outcome

    compare(board, reference, script)


@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize("interval", [64, 100, 479])
def test_intervals(board: Board, reference: Board, interval: int, queue: bool) -> None:
    """An event for each INTERVAL_BYTES, whatever the kind of ring; its data tell where the count stood."""

    def script(rig: Rig) -> Outcome:
        rig.fill(RENDER, seed=interval)
        for stream in (RENDER, CAPTURE):
            base = BUFFER_BASES[stream]
            ring = [Piece(base + 1, 333, 0), Piece(base + 401, 801, END_OF_STREAM)]
            rig.set_up(stream, ring, container=4, queue=queue, interval=interval)
            rig.queue(stream, 2)
        rig.converter(enable=False)
        rig.state(StreamState.RUN, CAPTURE, RENDER)
        rig.converter()
        rig.frames(200)
        outcome: Outcome = {}
        for stream in (RENDER, CAPTURE):
            moved = rig.counts(stream)["bytes"]
            assert moved == 333 + 801
            assert rig.read(stream, regs.STREAM_INTERVAL_LEFT) == interval - moved % interval
            facts = [fact for fact in rig.facts(stream) if fact[0] == Cause.INTERVAL]
            assert len(facts) == moved // interval
            for number, (_, left, _, total, _) in enumerate(facts):
                # Posted at the end of a visit, and none of them moves more than a FIFO holds.
                assert 0 <= total - (number + 1) * interval < 64
                assert left == (number + 2) * interval - total
            outcome[f"tags {stream}"] = [fact[2] for fact in facts]
            outcome[f"other {stream}"] = [fact for fact in rig.facts(stream) if fact[0] != Cause.INTERVAL]
        return outcome

    compare(board, reference, script)


def test_two_streams_are_added_with_saturation(board: Board, reference: Board) -> None:
    """Both are heard, also where their sum does not fit into 24 bits; each counts its own frames."""
    lengths = {RENDER: 700, SECOND_RENDER: 1020}

    def script(rig: Rig) -> Outcome:
        sources = {stream: rig.fill(stream, seed=stream + 1) for stream in lengths}
        rig.fill(CAPTURE)
        for stream, length in lengths.items():
            container = 2 if stream == RENDER else 3
            rig.set_up(stream, [Piece(BUFFER_BASES[stream], length, 0)], container=container)
        rig.set_up(CAPTURE, [Piece(BUFFER_BASES[CAPTURE], 8 * 400, END_OF_STREAM)], container=4)
        rig.converter(enable=False)
        rig.state(StreamState.RUN, CAPTURE, RENDER, SECOND_RENDER)
        rig.converter()
        rig.frames(450)
        rig.state(StreamState.PAUSE, RENDER, SECOND_RENDER)
        found = decode_samples(
            np.frombuffer(rig.board.read_memory(BUFFER_BASES[CAPTURE], 8 * 400), np.uint8), 4, 2
        ).astype(np.int64)
        first = decode_samples(np.frombuffer((sources[RENDER][:700] * 3)[: 4 * 399], np.uint8), 2, 2)
        second = decode_samples(np.frombuffer((sources[SECOND_RENDER][:1020] * 3)[: 6 * 399], np.uint8), 3, 2)
        total = (first.astype(np.int64) + second) >> 8
        assert (abs(total) > 1 << 23).any()
        assert np.array_equal(found[1:] >> 8, np.clip(total, -(1 << 23), (1 << 23) - 1))
        return {"heard": found.tolist(), "capture": rig.counts(CAPTURE)}

    compare(board, reference, script)


def test_high_water(board: Board, reference: Board) -> None:
    """Render fills the FIFO as far as words go, capture a frame; an empty queue fills it whole, and STOP keeps that."""

    def script(rig: Rig) -> Outcome:
        for stream in (RENDER, CAPTURE):
            base = BUFFER_BASES[stream]
            rig.set_up(stream, [Piece(base + 1, 333, 0), Piece(base + 401, 801, 0)], container=4)
        rig.converter(enable=False)
        rig.state(StreamState.RUN, CAPTURE, RENDER)
        rig.converter()
        rig.frames(150)
        assert 61 <= rig.read(RENDER, regs.STREAM_FIFO_HIGH_WATER) <= 64
        assert rig.read(CAPTURE, regs.STREAM_FIFO_HIGH_WATER) == 8
        rig.state(StreamState.STOP, CAPTURE, RENDER)
        rig.set_up(CAPTURE, [Piece(BUFFER_BASES[CAPTURE], 333, 0)], container=4, queue=True)
        rig.state(StreamState.RUN, CAPTURE)
        rig.frames(30)
        marks = [rig.read(CAPTURE, regs.STREAM_FIFO_HIGH_WATER)]
        rig.state(StreamState.STOP, CAPTURE)
        rig.frames(3)
        marks.append(rig.read(CAPTURE, regs.STREAM_FIFO_HIGH_WATER))
        rig.converter(enable=False)
        rig.state(StreamState.RUN, CAPTURE)
        rig.frames(3)
        marks.append(rig.read(CAPTURE, regs.STREAM_FIFO_HIGH_WATER))
        return {"marks": marks}

    assert compare(board, reference, script) == {"marks": [64, 64, 0]}


def test_preloaded_counts_wrap(board: Board, reference: Board) -> None:
    """LIVE words written in PAUSE count on from there, across 32 bits and 2^16 ordinals."""

    def script(rig: Rig) -> Outcome:
        rig.fill(RENDER, seed=3)
        ring = [Piece(BUFFER_BASES[RENDER] + 101 * index, 64) for index in range(3)]
        rig.set_up(RENDER, ring, container=4, queue=True)
        rig.converter(enable=False)
        rig.state(StreamState.PAUSE, RENDER)
        rig.frames(2)
        for offset, value in (
            (regs.STREAM_LIVE_FRAMES_LO, 0xFFFFFFFE),
            (regs.STREAM_LIVE_BYTES_LO, 0xFFFFFFF0),
            (regs.STREAM_LIVE_BYTES_HI, 7),
            (regs.STREAM_LIVE_DESCRIPTORS, 0xFFFFFFFE),
        ):
            rig.write(RENDER, offset, value)
        rig.queue(RENDER, 1)
        rig.state(StreamState.RUN, RENDER)
        rig.converter()
        rig.frames(60)
        counts = rig.counts(RENDER)
        live = rig.board.read_registers(stream_register(RENDER, regs.STREAM_LIVE_FRAMES_LO), 5)
        assert live[0] | live[1] << 32 == counts["frames"] == 0xFFFFFFFE + 24
        assert live[2] | live[3] << 32 == counts["bytes"] == (7 << 32 | 0xFFFFFFF0) + 192
        assert live[4] == counts["descriptors"] == 1
        assert rig.read(RENDER, regs.STREAM_LIVE_INDEX) == counts["index"] == 0
        return {"counts": counts, "events": [fact for fact in rig.facts(RENDER) if fact[0] == Cause.DESCRIPTOR]}

    compare(board, reference, script)


GOOD = Piece(BUFFER_BASES[RENDER], 400, 0)
MISTAKES = {
    "no descriptors": ([GOOD], {regs.STREAM_RING_SIZE: 0}, FaultReason.BAD_CONFIG, 0),
    "too many descriptors": ([GOOD], {regs.STREAM_RING_SIZE: 257}, FaultReason.BAD_CONFIG, 0),
    "too many channels": ([GOOD], {regs.STREAM_CONFIG: 1 << 2 | 7 << 4}, FaultReason.BAD_CONFIG, 0),
    "length 0": ([GOOD, Piece(0, 0)], {}, FaultReason.LENGTH_ZERO, 1),
    "behind the end": ([Piece(0x1FFF0, 17)], {}, FaultReason.OUTSIDE_MEMORY, 0),
    "around the end": ([GOOD, Piece(0xFFFFFFF0, 32)], {}, FaultReason.OUTSIDE_MEMORY, 1),
    "ring behind the end": ([GOOD] * 3, {regs.STREAM_RING_BASE: 0x1FFF0}, FaultReason.OUTSIDE_MEMORY, 1),
    "producer too far ahead": (
        [GOOD, GOOD],
        {regs.STREAM_CONFIG: 1 << 2 | 1 << 4 | 1 << regs.STREAM_CONFIG_QUEUE_LSB, regs.STREAM_RING_PRODUCER: 3},
        FaultReason.PRODUCER_AHEAD,
        0,
    ),
}


def test_mistakes_are_refused_and_harm_nobody_else(board: Board, reference: Board) -> None:
    """A FAULT with its reason; the stream beside it and the next try are unharmed."""

    def script(rig: Rig) -> Outcome:
        outcome: Outcome = {}
        # Where a ring begins at the end of memory, its first descriptor is good.
        rig.board.write_memory(0x1FFF0, struct.pack("<4I", GOOD.address, GOOD.length, 0, 0))
        rig.set_up(CAPTURE, [Piece(BUFFER_BASES[CAPTURE], 400, 0)])
        rig.converter(InputSelect.PATTERN)
        rig.state(StreamState.RUN, CAPTURE)
        for name, (ring, settings, reason, index) in MISTAKES.items():
            rig.set_up(RENDER, ring)
            for offset, value in settings.items():
                rig.write(RENDER, offset, value)
            rig.records.clear()
            before = rig.counts(CAPTURE)["frames"]
            rig.state(StreamState.RUN, RENDER)
            rig.frames(150)
            assert rig.read(RENDER, regs.STREAM_STATUS) == FAULTED, name
            assert [fact[:3] for fact in rig.facts(RENDER)] == [(Cause.FAULT, index, reason)], name
            assert rig.counts(CAPTURE)["frames"] - before > 140, name
            outcome[name] = {key: value for key, value in rig.counts(RENDER).items() if key != "frames"}
            for state in (StreamState.PAUSE, StreamState.RUN):  # only STOP gets it out
                rig.state(state, RENDER)
                rig.frames(1)
                assert rig.read(RENDER, regs.STREAM_STATUS) == FAULTED, name
            rig.state(StreamState.STOP, RENDER)
            rig.frames(1)
            assert rig.read(RENDER, regs.STREAM_STATUS) == StreamState.STOP, name
        rig.records.clear()
        rig.set_up(RENDER, [GOOD])
        rig.state(StreamState.RUN, RENDER)
        rig.frames(50)
        assert rig.facts(RENDER) == [] and rig.counts(RENDER)["frames"] > 40
        assert rig.read(CAPTURE, regs.STREAM_OVERRUNS) == 0
        return outcome

    compare(board, reference, script)


def test_settings_written_in_run_are_refused(board: Board, reference: Board) -> None:
    """A change of format or ring in RUN changes nothing until STOP, and an event says so."""

    def script(rig: Rig) -> Outcome:
        rig.fill(CAPTURE)
        rig.set_up(CAPTURE, [Piece(BUFFER_BASES[CAPTURE], 600, END_OF_STREAM)], container=3)
        rig.converter(InputSelect.PATTERN, enable=False)
        rig.board.write_register(regs.FPGA_PATTERN_CONTROL, 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
        rig.state(StreamState.RUN, CAPTURE)
        rig.frames(2)
        for offset, value in (
            (regs.STREAM_CONFIG, 1 | 3 << 2),
            (regs.STREAM_RING_BASE, 0x100),
            (regs.STREAM_RING_SIZE, 200),
        ):
            rig.write(CAPTURE, offset, value)
            rig.board.snapshot(CAPTURE)
        rig.converter(InputSelect.PATTERN)
        rig.frames(130)
        captured = rig.board.read_memory(BUFFER_BASES[CAPTURE], 600)
        assert captured == encode_samples(PatternSequence(PatternKind.RAMP, 1).take(100), 3).tobytes()
        facts = rig.facts(CAPTURE)
        assert facts[:3] == [(Cause.REFUSED, 0, FaultReason.SETTINGS, 0, 0)] * 3
        assert [fact[0] for fact in facts[3:]] == [Cause.END_OF_STREAM]
        return {"counts": rig.counts(CAPTURE), "memory": captured, "events": facts}

    compare(board, reference, script)


def test_fence(board: Board, reference: Board) -> None:
    """An access outside the window is a fault of its stream; not one byte outside is written or played."""
    border = BUFFER_BASES[CAPTURE] + 0x400

    def script(rig: Rig) -> Outcome:
        rig.fill(CAPTURE)
        outcome: Outcome = {}
        for name, first, last, ring in (
            ("behind", 0, (border >> 8) - 1, [Piece(border - 300, 500, 0)]),
            ("before", border >> 8, ALL_BLOCKS, [Piece(border, 300, 0), Piece(border - 1, 40, 0)]),
            ("descriptor", 0, (RING_BASES[CAPTURE] >> 8) - 1, [Piece(border, 300, 0)]),
            ("none", 9, 8, [Piece(0x900, 300, 0)]),
        ):
            rig.ring_bases[CAPTURE] = 0x4000 if name == "behind" else RING_BASES[CAPTURE]
            rig.set_up(CAPTURE, ring, container=4)
            rig.converter(InputSelect.PATTERN, enable=False)
            rig.board.write_register(regs.FPGA_PATTERN_CONTROL, 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
            rig.board.write_register(regs.FPGA_FENCE_FIRST, first)
            rig.board.write_register(regs.FPGA_FENCE_LAST, last)
            assert rig.board.read_registers(regs.FPGA_FENCE_FIRST, 2) == (first, last)
            rig.records.clear()
            rig.state(StreamState.RUN, CAPTURE)
            rig.converter(InputSelect.PATTERN)
            rig.frames(120)
            assert rig.read(CAPTURE, regs.STREAM_STATUS) == FAULTED, name
            outcome[f"{name} events"] = [fact[:3] for fact in rig.facts(CAPTURE)]
            outcome[f"{name} memory"] = rig.board.read_memory(BUFFER_BASES[CAPTURE], BUFFER_BYTES)
            rig.state(StreamState.STOP, CAPTURE)
            rig.frames(1)
        rig.board.write_register(regs.FPGA_FENCE_FIRST, 0)
        rig.board.write_register(regs.FPGA_FENCE_LAST, ALL_BLOCKS)
        rig.state(StreamState.RUN, CAPTURE)
        rig.frames(30)
        assert rig.counts(CAPTURE)["frames"] > 25
        return outcome

    outcome = compare(board, reference, script)
    for name, index in (("behind", 0), ("before", 1), ("descriptor", 0), ("none", 0)):
        assert outcome[f"{name} events"] == [(Cause.FAULT, index, FaultReason.BUS_ERROR)]
    memory = outcome["behind memory"]
    assert isinstance(memory, bytes)
    assert memory[0x400:] == bytes([GUARD]) * (BUFFER_BYTES - 0x400)
    ramp = encode_samples(PatternSequence(PatternKind.RAMP, 1).take(40), 4).tobytes()
    assert memory[0x400 - 300 : 0x400] == ramp[:300]


def test_times_of_starts(board: Board, reference: Board) -> None:
    """START_TIME follows each RUN, PACKET_TIME each descriptor's first frame; of render to the clock."""
    length = 803  # 200 frames and 3 bytes of the next

    def begun(frames: int) -> int:
        return (frames * 4 - 1) // length

    def script(rig: Rig) -> Outcome:
        clocks = rig.board.read_register(regs.FPGA_FRAME_CLOCKS)
        for stream in (RENDER, CAPTURE):
            base = BUFFER_BASES[stream]
            rig.set_up(stream, [Piece(base, length, 0), Piece(base + 1000, length, 0)], container=2)
        rig.converter()
        for _ in range(2):
            now = rig.board.snapshot(RENDER).time_ticks
            frames_before = [rig.counts(stream)["frames"] for stream in (RENDER, CAPTURE)]
            rig.state(StreamState.RUN, CAPTURE, RENDER)
            rig.frames(330)
            for stream, frame_before in zip((RENDER, CAPTURE), frames_before, strict=True):
                taken = rig.board.snapshot(stream)
                start = rig.time(stream, regs.STREAM_START_TIME_LO)
                assert now < start < taken.time_ticks
                elapsed = (taken.time_ticks - start) / clocks
                assert abs(taken.frames - frame_before - elapsed) < 2
                # The descriptor that began last, by what the converter had; none begins between the two reads.
                packet = rig.time(stream, regs.STREAM_PACKET_TIME_LO)
                if begun(rig.board.snapshot(stream).frames) != begun(taken.frames):
                    taken = rig.board.snapshot(stream)
                    packet = rig.time(stream, regs.STREAM_PACKET_TIME_LO)
                first_frame = begun(taken.frames) * length // 4
                assert abs((taken.time_ticks - packet) / clocks - (taken.frames - first_frame)) < 2
                if stream == RENDER:
                    assert packet - start == clocks * (first_frame - frame_before), "both are ticks of their frames"
            rig.state(StreamState.PAUSE, CAPTURE, RENDER)
            rig.frames(20)
        return {}

    compare(board, reference, script)


def test_formats_and_rates_of_the_converter(board: Board, reference: Board) -> None:
    """Taken while the converter stands, refused otherwise; the streams run at every rate, bit by bit the same."""
    rate_lsb, format_lsb = regs.FPGA_CONVERTER_CONTROL_RATE_LSB, regs.FPGA_CONVERTER_CONTROL_FORMAT_LSB
    loopback = InputSelect.LOOPBACK << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB

    def script(rig: Rig) -> Outcome:
        def write(value: int) -> tuple[int, int]:
            rig.board.write_register(regs.FPGA_CONVERTER_CONTROL, value)
            word, _, clocks = rig.board.read_registers(regs.FPGA_CONVERTER_CONTROL, 3)
            return word, clocks

        outcome: Outcome = {}
        source = rig.fill(RENDER, seed=11)
        for rate in range(8):
            for sample_format in (0, 1, 3):
                wanted = rate << rate_lsb | sample_format << format_lsb | loopback
                taken = write(wanted)
                outcome[f"{rate} {sample_format}"] = taken
                word, clocks = taken
                if word >> regs.FPGA_CONVERTER_CONTROL_REFUSED_LSB & 1:
                    outcome[f"{rate} {sample_format} start"] = write(wanted | 1)
                    continue
                rig.fill(CAPTURE)
                rig.set_up(RENDER, [Piece(BUFFER_BASES[RENDER], 600, END_OF_STREAM)], container=3)
                rig.set_up(CAPTURE, [Piece(BUFFER_BASES[CAPTURE], 720, END_OF_STREAM)], container=3)
                rig.state(StreamState.RUN, CAPTURE, RENDER)
                assert write(wanted | 1) == (word | 1, clocks)
                outcome[f"{rate} {sample_format} in RUN"] = write((wanted ^ 1 << format_lsb) | 1)
                start = rig.board.snapshot(CAPTURE)
                rig.board.sleep(140 * clocks / float(rig.board.profile.clock_rate))
                taken_last = rig.board.snapshot(CAPTURE)
                ticks = taken_last.frame_ticks - start.frame_ticks
                assert abs(ticks - (taken_last.time_ticks - start.time_ticks) / clocks) < 1
                assert taken_last.ended and rig.board.snapshot(RENDER).ended
                captured = rig.board.read_memory(BUFFER_BASES[CAPTURE], 726)
                assert captured == bytes(6) + source[:600] + bytes(114) + bytes([GUARD]) * 6
                rig.state(StreamState.STOP, CAPTURE, RENDER)
                write(wanted)
        write(loopback)
        return outcome

    compare(board, reference, script)
