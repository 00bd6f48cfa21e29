"""Driver of load_bench, and the reference for what the engine must have done there.

A *part* is the life of one stream from RUN in STOP to the next STOP. The reference knows descriptors, formats and the
order of bytes; it knows neither the engine's insides nor how long things take. Where the moment of a change cannot be
seen at the ports, it says so by a lowest and a highest count.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import CLOCK_PS, registers, reset, start_clock
from cocotb.triggers import Lock, Timer, ValueChange
from harness import (
    CONFIG,
    CONTROL,
    DESCRIPTOR_EVENT,
    END_OF_STREAM,
    FAULT,
    FAULTED,
    FIFO_HIGH_WATER,
    INTERVAL,
    INTERVAL_BYTES,
    INTERVAL_LEFT,
    OVERRUN,
    OVERRUNS,
    PAUSE,
    REFUSED,
    REVOKE_LEFT,
    RING_BASE,
    RING_PRODUCER,
    RING_SIZE,
    RUN,
    SNAPSHOT_WORDS,
    STATUS,
    STOP,
    UNDERRUN,
    UNDERRUNS,
)
from scoreboard import MEMORY_BYTES, Descriptor, StreamSetup

FRAME_CLOCKS = 256
DATA_STRIDE, RING_FIRST, RING_STRIDE = 0x1000, 0x1_0000, 0x400
HOST_FIRST = 0x1_4000
LAST_RING = MEMORY_BYTES - 16
"""One descriptor at the end of memory, for a ring that goes beyond."""
REMOVED_FLAG, LAST_FLAG, END_FLAG = 0x10, 2, 8
UNUSED, DROPPED, REFUSED_RANGE = 0, 1, 2
BUS_ERROR = 6
VISIT_BYTES = 64
"""A visit of the engine moves less, or two INTERVAL events would fall into one: they are as coarse."""

# Commands of load_bench.
(WRITE, READ, AWAIT_STATE, SNAP, REVOKE_COMMAND, STORE, WAIT, PHASE, LOAD, DUMP, NOTE) = range(11)

RECORD = np.dtype(
    [("kind", "u1"), ("stream", "u1"), ("detail", "<u2"), ("time", "<u4"), ("place", "<u4"), ("data", "<u4")]
)
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the time it was stamped at."""

    time: int
    stream: int
    cause: int
    data: tuple[int, ...]


def adc_samples(ticks: Array, channels: int) -> Array:
    """What load_bench shows on its input at these ticks: frames by channels."""
    number = (ticks.astype(np.uint64)[:, None] << np.uint64(3)) + np.arange(channels, dtype=np.uint64) + np.uint64(1)
    return (number * np.uint64(0x9E3779B1)).astype(np.uint32)


def encode(samples: Array, sample_bytes: int) -> Array:
    """Converter samples as the bytes of the stream: the upper bytes of 24 bits, 8-bit samples unsigned."""
    words = samples & np.uint32(0xFFFF_FF00)
    if sample_bytes == 1:
        words = words ^ np.uint32(0x8000_0000)
    as_bytes = np.ascontiguousarray(words, dtype="<u4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(as_bytes[:, 4 - sample_bytes :]).reshape(-1)


def decode(data: Array, sample_bytes: int, channels: int) -> Array:
    """Bytes of whole frames as converter samples, frames by channels; mono is on both channels."""
    wide = np.zeros((len(data) // sample_bytes, 4), dtype=np.uint8)
    wide[:, 4 - sample_bytes :] = data.reshape(-1, sample_bytes)
    words = wide.reshape(-1).view("<u4") & np.uint32(0xFFFF_FF00)
    if sample_bytes == 1:
        words = words ^ np.uint32(0x8000_0000)
    frames = words.reshape(-1, channels)
    return np.repeat(frames, 2, axis=1) if channels == 1 else frames


def between(records: Array, first: int, last: int) -> Array:
    """Those with first < time <= last."""
    times = records["time"]
    return records[np.searchsorted(times, first, side="right") : np.searchsorted(times, last, side="right")]


class Trace:
    """The records from a reset to the next, sorted out."""

    def __init__(self, records: Array) -> None:
        self.records = records
        kind = records["kind"]
        broken = records[kind == ord("!")]
        assert not len(broken), f"an access changed before its answer, at {broken['time'][:5]}"
        ticks = records[kind == ord("T")]
        self.tick_times: Array = ticks["time"].astype(np.int64)
        self.first_tick = int(ticks["place"][0]) if len(ticks) else 0
        self.errors = records[kind == ord("X")]
        accesses = records[(kind == ord("G")) | (kind == ord("W"))]
        place = accesses["place"].astype(np.int64)
        outside = accesses[(place >= HOST_FIRST) & (place < LAST_RING)]
        assert not len(outside), f"accesses to the host's words: {outside[:3]}"
        self.ring_reads = accesses[place >= RING_FIRST]
        assert not (self.ring_reads["kind"] == ord("W")).any(), "the engine wrote into a ring"
        self.data_accesses = accesses[place < RING_FIRST]
        self._cache: dict[tuple[str, int], Array] = {}
        self._of_kind = {letter: records[kind == ord(letter)] for letter in "DAECS"}
        self.events = [
            Event(int(group["place"][0]), int(group["stream"][0]), int(group["detail"][0] & 0xFF),
                  tuple(int(word) for word in group["data"]))
            for group in self._of_kind["E"].reshape(-1, 4)
        ]  # fmt: skip
        self._events: dict[int, tuple[list[Event], list[int]]] = {}
        self.snapshots = 0
        self._snapshots: dict[int, list[dict[str, int]]] = {}
        snaps = self._of_kind["S"]
        if len(snaps):
            assert (snaps["detail"].reshape(-1, 11) == np.arange(0x44, 0x70, 4)).all()
            for group in snaps.reshape(-1, 11):
                words = dict(zip(SNAPSHOT_WORDS, (int(word) for word in group["data"]), strict=True))
                for name in ("time", "frames", "bytes"):
                    words[name] = words[name + "_hi"] << 32 | words[name + "_lo"]
                self._snapshots.setdefault(int(group["stream"][0]), []).append(words)
                self.snapshots += 1

    def _of_stream(self, letter: str, stream: int) -> Array:
        """Records of a kind and a stream; no letter: accesses to its data."""
        found = self._cache.get((letter, stream))
        if found is None:
            records = self._of_kind[letter] if letter else self.data_accesses
            found = self._cache[letter, stream] = records[records["stream"] == stream]
        return found

    def of(self, letter: str, stream: int, first: int, last: int) -> Array:
        """Records of a kind and a stream with first < time <= last."""
        return between(self._of_stream(letter, stream), first, last)

    def events_of(self, stream: int, first: int, last: int) -> list[Event]:
        """Events of a stream stamped at first < time <= last."""
        if stream not in self._events:
            of_stream = sorted((event for event in self.events if event.stream == stream), key=lambda event: event.time)
            self._events[stream] = of_stream, [event.time for event in of_stream]
        of_stream, times = self._events[stream]
        return of_stream[bisect_right(times, first) : bisect_right(times, last)]

    def snapshots_of(self, stream: int) -> list[dict[str, int]]:
        """Snapshots of a stream, in order."""
        return self._snapshots.get(stream, [])

    def count(self, letter: str) -> int:
        """Records of a kind, of all streams."""
        return len(self._of_kind[letter])

    def moved(self, stream: int, first: int, last: int) -> tuple[Array, Array, Array]:
        """Address, value and time of each byte that was moved in that time, in order."""
        accesses = between(self._of_stream("", stream), first, last)
        lanes = np.arange(4)
        chosen = (accesses["detail"][:, None] >> lanes & 1).astype(bool)
        address = (accesses["place"].astype(np.int64)[:, None] + lanes)[chosen]
        value = (accesses["data"][:, None] >> (8 * lanes).astype(np.uint32) & np.uint32(255)).astype(np.uint8)[chosen]
        time = np.repeat(accesses["time"].astype(np.int64)[:, None], 4, axis=1)[chosen]
        return address, value, time


@dataclass(slots=True)
class Interval:
    """One RUN of a part: when it was asked for and reached, when its end was."""

    asked: int
    reached: int = 0
    end_asked: int = 0
    end_reached: int = 0


@dataclass(slots=True)
class Part:
    """The life of a stream from RUN in STOP to STOP, as the host knows it."""

    setup: StreamSetup
    name: str = ""
    alignment: int = 0
    interval_bytes: int = 0
    began: int = 0
    ended: int = 0
    runs: list[Interval] = field(default_factory=list)
    producer: int = 0
    skippable: dict[int, int] = field(default_factory=dict)  # ring index: first ordinal that may be skipped
    answers: list[tuple[int, int, int, int, int]] = field(default_factory=list)  # first, last, result, left, time
    counts: dict[str, int] | None = None  # of a snapshot in PAUSE, and the registers, at the end
    cut: bool = False  # by a reset
    settings_written: int = 0  # CONFIG, RING_BASE or RING_SIZE between RUN and STOP: refused
    edges: set[str] = field(default_factory=set)
    stores: list[tuple[int, int]] = field(default_factory=list)  # words the host put into memory before the start

    @property
    def stream(self) -> int:
        return self.setup.stream

    def runs_until_fault(self, trace: Trace) -> list[Interval]:
        """A fault ends a RUN."""
        events = trace.events_of(self.stream, self.began, self.ended)
        fault = min((event.time for event in events if event.cause == FAULT), default=1 << 40)
        return [
            Interval(run.asked, run.reached, min(run.end_asked, fault), min(run.end_reached, fault))
            for run in self.runs
        ]

    def __str__(self) -> str:
        setup = self.setup
        return (
            f"stream {setup.stream} {'capture' if setup.capture else 'render'} {self.name} x {setup.channels} "
            f"{'queue' if setup.queue else 'kept'} from {self.began} to {self.ended}"
        )


@dataclass(slots=True)
class Outcome:
    """What the reference found in a part."""

    frames: int
    moved_bytes: int
    missed: tuple[int, int]
    causes: set[int]
    passed_removed: bool
    service_clocks: int


def _walk(part: Part, moved: Array) -> tuple[list[tuple[int, int]], int, int, bool]:
    """Fit the bytes moved to the ring.

    Returns the descriptors finished (ordinal, bytes moved up to its end), the lowest and the highest DESCRIPTORS, and
    whether a removed one was passed.
    """
    ring, size = part.setup.ring, len(part.setup.ring)
    dropped = [(first, last, left) for first, last, result, left, _ in part.answers if result == DROPPED]
    finished: list[tuple[int, int]] = []
    at, ordinal, removed, seen_removed = 0, 0, False, False
    while True:
        descriptor = ring[ordinal % size]
        may_skip = descriptor.removed or ordinal >= part.skippable.get(ordinal % size, 1 << 40)
        if at == len(moved):
            break
        if descriptor.removed or (may_skip and moved[at] != descriptor.address):
            removed |= descriptor.removed
            ordinal += 1
            assert ordinal < 100_000
            continue
        assert not part.setup.queue or ordinal < part.producer, f"{part}: descriptor {ordinal} was used, not queued"
        expected = np.arange(descriptor.address, descriptor.address + descriptor.length_bytes)
        piece = moved[at : at + len(expected)]
        wrong = np.flatnonzero(piece != expected[: len(piece)])
        count = int(wrong[0]) if len(wrong) else len(piece)
        if count:
            seen_removed |= removed
        left = descriptor.length_bytes - count
        if left and (at + count < len(moved) or may_skip):
            known = any(first <= ordinal <= last and left == unused for first, last, unused in dropped)
            if not known and at + count == len(moved):
                break  # the current one
            assert known, f"{part}: descriptor {ordinal} gave {count} of {descriptor.length_bytes} bytes"
            at += count
            ordinal += 1
            continue
        if left:
            break
        at += count
        finished.append((ordinal, at))
        ordinal += 1
        if descriptor.flags & END_FLAG:
            assert at == len(moved), f"{part}: bytes were moved behind the end of stream"
            return finished, ordinal, ordinal, seen_removed
    highest = ordinal
    while highest < (part.producer if part.setup.queue else ordinal + size):
        entry = ring[highest % size]
        if not (entry.removed or highest >= part.skippable.get(highest % size, 1 << 40)):
            break
        highest += 1
    return finished, ordinal, highest, seen_removed


def _missed_bounds(part: Part, trace: Trace, frame_ticks: Array, over_from: int | None) -> tuple[int, int]:
    """How many ticks the stream must, and may, have counted as missed. `over_from`: the time of END_OF_STREAM's use."""
    has_frame = np.zeros(len(trace.tick_times) + 1, dtype=bool)
    has_frame[frame_ticks - trace.first_tick] = True
    times = trace.tick_times
    empty = ~has_frame[: len(times)]
    if not part.setup.capture:
        first = int(frame_ticks[0]) - trace.first_tick if len(frame_ticks) else len(times)
        empty[: first + 1] = False
    lowest = highest = 0
    for run in part.runs_until_fault(trace):
        end = min(run.end_reached, over_from) if over_from is not None else run.end_reached
        end_sure = min(run.end_asked - 2 * FRAME_CLOCKS, end - 2 * FRAME_CLOCKS)
        lowest += int((empty & (times > run.reached) & (times <= end_sure)).sum())
        highest += int((empty & (times > run.asked - 2 * FRAME_CLOCKS) & (times <= end)).sum())
    return lowest, highest


def check_part(part: Part, trace: Trace, memory: Array, *, misses: bool = True) -> Outcome:
    """Compare all that a part did with the reference, and put what it captured into `memory`."""
    setup, stream = part.setup, part.stream
    for address, word in part.stores:
        memory[address : address + 4] = np.frombuffer(word.to_bytes(4, "little"), dtype=np.uint8)
    moved, values, move_times = trace.moved(stream, part.began, part.ended)
    frame_bytes = setup.frame_bytes
    finished, lowest, highest, passed_removed = _walk(part, moved)

    # Frames at the converter.
    if setup.capture:
        takes = trace.of("A", stream, part.began, part.ended)
        assert not len(trace.of("D", stream, part.began, part.ended)), f"{part}: a capture stream plays"
        frame_ticks, frame_times = takes["place"].astype(np.int64), takes["time"].astype(np.int64)
        expected = encode(adc_samples(frame_ticks, setup.channels), setup.sample_bytes)
        assert len(moved) <= len(expected), f"{part}: {len(moved)} bytes written, {len(expected)} captured"
        wrong = np.flatnonzero(values != expected[: len(moved)])
        assert not len(wrong), f"{part}: byte {wrong[0]} of the stream is wrong, {len(wrong)} in all"
        memory[moved] = values
    else:
        outs = trace.of("D", stream, part.began, part.ended)
        assert not len(trace.of("A", stream, part.began, part.ended)), f"{part}: a render stream captures"
        per_frame = max(setup.channels, 2)
        assert (outs["detail"] == np.tile(np.arange(per_frame), len(outs) // per_frame + 1)[: len(outs)]).all()
        if part.cut:
            outs = outs[: len(outs) - len(outs) % per_frame]
        assert len(outs) % per_frame == 0
        samples = outs["data"].reshape(-1, per_frame)
        frame_ticks = outs["place"].reshape(-1, per_frame)[:, -1].astype(np.int64)
        frame_times = outs["time"].reshape(-1, per_frame)[:, -1].astype(np.int64)
        played = len(samples) * frame_bytes
        assert played <= len(moved), f"{part}: {len(samples)} frames played, {len(moved)} bytes fetched"
        expected_samples = decode(memory[moved[:played]], setup.sample_bytes, setup.channels)
        bad = np.flatnonzero((samples != expected_samples).any(axis=1))
        assert not len(bad), f"{part}: frame {bad[0]} is wrong, {len(bad)} in all"
    assert (np.diff(frame_ticks) > 0).all(), f"{part}: two frames in one tick"
    in_run = np.zeros(len(frame_times), dtype=bool)
    for run in part.runs_until_fault(trace):
        in_run |= (frame_times > run.asked) & (frame_times <= run.end_reached)
    assert in_run.all(), f"{part}: frames outside RUN"

    # Events.
    events = trace.events_of(stream, part.began, part.ended)
    by_cause = {cause: [event for event in events if event.cause == cause] for cause in range(7)}
    size = len(setup.ring)
    expected_events = []
    for ordinal, total in finished:
        descriptor = setup.ring[ordinal % size]
        if descriptor.event:
            expected_events.append((ordinal % size | int(descriptor.last) << 16, descriptor.tag, total & 0xFFFF_FFFF))
    posted = by_cause[DESCRIPTOR_EVENT]
    if part.cut and len(posted) < len(expected_events):  # the last one's turn had not come
        expected_events.pop()
    assert [event.data[:3] for event in posted] == expected_events, f"{part}: wrong descriptor events"
    for event in posted:
        assert event.data[3] == int((frame_times < event.time).sum()), f"{part}: {event} has a wrong count of frames"
    ends = by_cause[END_OF_STREAM]
    ended = bool(finished) and bool(setup.ring[finished[-1][0] % size].flags & END_FLAG)
    assert len(ends) <= int(ended), f"{part}: END_OF_STREAM without its descriptor, or twice"
    for event in ends:
        index = finished[-1][0] % size
        assert event.data == (index, setup.ring[index].tag, len(moved), len(frame_times)), f"{part}: {event}"
        if not setup.capture:
            assert len(frame_times) == len(moved) // frame_bytes, f"{part}: END_OF_STREAM came early"
    if part.interval_bytes >= 64:
        intervals = by_cause[INTERVAL]
        for number, event in enumerate(intervals, 1):
            over = event.data[2] - number * part.interval_bytes
            assert 0 <= over < VISIT_BYTES, f"{part}: {event} is interval {number}"
            assert event.data[0] == part.interval_bytes - over, f"{part}: {event}"
        count = len(moved) // part.interval_bytes
        assert count - int(part.cut) <= len(intervals) <= count, f"{part}: {len(intervals)} INTERVAL events"
    else:
        assert not by_cause[INTERVAL], f"{part}: INTERVAL is off"

    settings = [event.data for event in by_cause[REFUSED] if event.data[1]]
    assert bool(settings) == bool(part.settings_written), f"{part}: {part.settings_written} settings in RUN, {settings}"
    assert len(settings) <= part.settings_written and all(data[2:] == (0, 0) for data in settings), (
        f"{part}: {settings}"
    )
    refused = [event.data for event in by_cause[REFUSED] if not event.data[1]]
    expected_refused = [
        (last << 16 | first, 0, 0, 0) for first, last, result, _, _ in part.answers if result == REFUSED_RANGE
    ]
    assert refused == expected_refused, f"{part}: REFUSED events {refused}"

    # Frames missed.
    over_from = ends[0].time if ends else None
    bounds = _missed_bounds(part, trace, frame_ticks, over_from)
    gaps = by_cause[OVERRUN if setup.capture else UNDERRUN]
    assert not by_cause[UNDERRUN if setup.capture else OVERRUN], f"{part}: missed in the wrong direction"
    assert len(gaps) <= bounds[1] and (bool(gaps) or bounds[0] == 0), f"{part}: {len(gaps)} gaps, {bounds} missed"
    if not misses:
        assert not gaps and bounds[0] == 0, f"{part}: {len(gaps)} gaps, {bounds} frames missed"

    # Counts.
    if part.counts is not None:
        counts = part.counts
        assert counts["frames"] == len(frame_times), f"{part}: {counts}, {len(frame_times)} frames converted"
        assert counts["bytes"] == len(moved), f"{part}: {counts}, {len(moved)} bytes moved"
        between = (counts["frames"] * frame_bytes - counts["bytes"]) * (1 if setup.capture else -1)
        assert counts["fifo_bytes"] == between and 0 <= between <= 64, f"{part}: {counts}"
        assert lowest <= counts["descriptors"] <= highest, f"{part}: {counts}, descriptors {lowest} to {highest}"
        at = counts["descriptors"] - 1 if ended else counts["descriptors"]
        assert counts["index"] == at % size, f"{part}: {counts}, index {at % size}"
        missed = counts["overruns" if setup.capture else "underruns"]
        assert bounds[0] <= missed <= bounds[1], f"{part}: {missed} frames missed, {bounds} seen"
        assert counts["underruns" if setup.capture else "overruns"] == 0, f"{part}: {counts}"
        for number, event in enumerate(gaps):
            assert event.data[1:] == (0, 0, 0) and number < event.data[0] <= missed, f"{part}: {event}"
        if part.interval_bytes >= 64:
            left = part.interval_bytes - len(moved) % part.interval_bytes
            assert counts["interval_left"] == left, f"{part}: {counts}"

        if len(frame_times) and len(move_times):
            # The highest level of the FIFO: render behind a byte, capture behind a frame.
            if setup.capture:
                before = np.searchsorted(move_times, frame_times)
                levels = np.arange(1, len(frame_times) + 1) * frame_bytes - before
            else:
                before = np.searchsorted(frame_times, move_times)
                levels = np.arange(1, len(move_times) + 1) - before * frame_bytes
            most = int(levels.max())
            assert counts["high_water"] == most, f"{part}: FIFO_HIGH_WATER {counts['high_water']}, it held {most} bytes"

    # Snapshots of the busy host: all fields of one moment.
    if part.runs:
        for words in trace.snapshots_of(stream):
            if part.runs[0].reached < words["time"] < part.runs[-1].end_asked:
                assert words["frames"] == int((frame_times < words["time"]).sum()), f"{part}: snapshot {words}"
                assert words["bytes"] == int((move_times < words["time"]).sum()), f"{part}: snapshot {words}"
                difference = words["frames"] * frame_bytes - words["bytes"]
                assert words["fifo_bytes"] == abs(difference) <= 64, f"{part}: snapshot {words}"

    # Behind an answer to REVOKE nothing of the range is touched.
    for first, last, result, _, time in part.answers:
        if result in (UNUSED, DROPPED):
            late = moved[move_times > time]
            for ordinal in range(first, last + 1):
                descriptor = setup.ring[ordinal % size]
                touched = (late >= descriptor.address) & (late < descriptor.address + descriptor.length_bytes)
                assert not touched.any(), f"{part}: descriptor {ordinal} was accessed behind the answer at {time}"

    service = 0
    if len(frame_times):
        service = int((frame_times - trace.tick_times[frame_ticks - trace.first_tick]).max())
    causes = {cause for cause, of_cause in by_cause.items() if of_cause}
    return Outcome(len(frame_times), len(moved), bounds, causes, passed_removed, service)


def make_ring(
    source: random.Random, stream: int, lengths: Sequence[int], alignment: int, *, aligned: bool = False
) -> tuple[Descriptor, ...]:
    """Descriptors with these lengths in the stream's 4 KiB.

    The first lies at `alignment` modulo 4; the others anywhere, or there too (`aligned`).
    """
    ring, address = [], DATA_STRIDE * stream + 4 * source.randrange(4) + alignment
    for number, length in enumerate(lengths):
        ring.append(Descriptor(address, length, source.getrandbits(32), number % 3 != 2))
        address += length + (-length % 4 if aligned else source.randrange(1, 8))
    assert address <= DATA_STRIDE * (stream + 1), "the ring does not fit into the stream's memory"
    return tuple(ring)


class LoadBench:
    """Drives load_bench: one wake-up for each command."""

    def __init__(self, dut: Any, source: random.Random) -> None:
        self.dut = dut
        self.source = source
        self.memory: Array = np.zeros(MEMORY_BYTES, dtype=np.uint8)
        self.clock_runs = False
        self.log_offset = 0
        self.port = Lock()  # one command at a time
        self.parts: list[Part] = []

    async def start(
        self,
        *,
        latency: int = 1,
        spread: int = 0,
        stalls: bool = False,
        period: int = FRAME_CLOCKS,
        busy_host: bool = False,
    ) -> None:
        """Reset with random bytes everywhere in memory."""
        dut = self.dut
        for name in ("hold", "tick_enable", "event_delay", "error_data", "error_ring", "error_rate", "busy_host"):
            getattr(dut, name).value = 0
        dut.latency.value = latency
        dut.spread.value = spread
        dut.stalls.value = int(stalls)
        dut.frame_period.value = period
        dut.frame_clocks.value = FRAME_CLOCKS
        dut.seed.value = self.source.getrandbits(31) + 1
        if not self.clock_runs:
            self.clock_runs = True
            dut.go.value = 0
            start_clock(dut.clk)
        await reset(dut.clk, dut.rst)
        await self.command(DUMP)
        self.log_offset = Path("log.bin").stat().st_size  # what came before is not read again
        self.parts = []
        self.memory[:] = np.frombuffer(self.source.randbytes(MEMORY_BYTES), dtype=np.uint8)
        await self.load_memory()
        await self.read(0, STATUS)  # answered when the engine has cleared its RAM
        dut.busy_host.value = int(busy_host)

    async def load_memory(self) -> None:
        self.memory.view("<u4").astype(">u4").tofile("memory.bin")
        await self.command(LOAD)

    async def command(self, command: int, place: int = 0, argument: int = 0) -> int:
        dut = self.dut
        async with self.port:
            dut.command.value = command
            dut.place.value = place
            dut.argument.value = argument
            dut.go.value = 1 - int(dut.go.value)
            await ValueChange(dut.done)
            return int(dut.answer.value.to_unsigned())

    def now(self) -> int:
        return self.dut.now.value.to_unsigned()

    def ticks(self) -> int:
        """Ticks since reset."""
        return int(self.dut.frame_ticks.value.to_unsigned())

    async def write(self, stream: int, offset: int, data: int) -> None:
        await self.command(WRITE, (registers.STREAM_BASE + stream * registers.STREAM_STRIDE + offset) & 0xFFFF, data)

    async def read(self, stream: int, offset: int) -> int:
        return await self.command(READ, (registers.STREAM_BASE + stream * registers.STREAM_STRIDE + offset) & 0xFFFF)

    async def store(self, address: int, word: int) -> None:
        await self.command(STORE, address, word)

    async def clocks(self, count: int) -> None:
        await self.command(WAIT, 0, count)

    async def sleep(self, frames: float) -> None:
        """Let time pass; others may use the command port."""
        await Timer(max(1, int(frames * FRAME_CLOCKS)) * CLOCK_PS, unit="ps")

    async def phase(self, clocks: int) -> None:
        """Until so many clocks behind a tick."""
        await self.command(PHASE, 0, clocks)

    async def frames(self, count: float) -> None:
        await self.clocks(int(count * FRAME_CLOCKS))

    async def reach(self, stream: int, state: int) -> int:
        """Ask for a state, wait until the engine has it or a fault; returns STATUS."""
        await self.write(stream, CONTROL, state)
        status = await self.command(AWAIT_STATE, stream, state)
        assert status != 0xFFFF_FFFF, f"stream {stream} does not reach state {state}"
        return status

    async def snapshot(self, stream: int) -> None:
        """Into the trace."""
        await self.command(SNAP, stream)

    async def revoke(self, part: Part, first: int, last: int) -> int:
        """Revoke these ordinals, modulo 2^16; returns the result."""
        status = await self.command(REVOKE_COMMAND, part.stream, (last & 0xFFFF) << 16 | first & 0xFFFF)
        assert status != 0xFFFF_FFFF, f"{part}: REVOKE is not answered"
        time = self.now()
        part.answers.append((first, last, status, await self.read(part.stream, REVOKE_LEFT), time))
        await self.sleep(0.25)  # the event shows the register: another REVOKE must not overtake it
        return status

    async def traces(self) -> list[Trace]:
        """From `start` on, one for each time that a reset ended."""
        await self.command(DUMP)
        records = np.fromfile("log.bin", dtype=RECORD, offset=self.log_offset)
        starts = np.flatnonzero(records["kind"] == ord("R"))
        return [Trace(piece[piece["kind"] != ord("R")]) for piece in np.split(records, starts)]

    async def trace(self) -> Trace:
        """Since the last reset."""
        return (await self.traces())[-1]

    def dump(self) -> Array:
        """Memory as it was when the trace was taken."""
        return np.fromfile("dump.bin", dtype=np.uint8)

    # ------------------------------------------------------------------ parts

    async def prepare(self, part: Part) -> None:
        """Ring and settings of a stream in STOP."""
        setup = part.setup
        for address, word in part.stores:
            await self.store(address, word)
        for index, descriptor in enumerate(setup.ring):
            for number, word in enumerate(descriptor.words()):
                await self.store(setup.ring_base + 16 * index + 4 * number, word)
        await self.configure(part)

    async def configure(self, part: Part) -> None:
        """Settings only."""
        setup = part.setup
        await self.write(setup.stream, CONFIG, setup.config)
        await self.write(setup.stream, RING_BASE, setup.ring_base)
        await self.write(setup.stream, RING_SIZE, len(setup.ring))
        await self.write(setup.stream, RING_PRODUCER, part.producer & 0xFFFF)
        await self.write(setup.stream, INTERVAL_BYTES, part.interval_bytes)

    async def run(self, part: Part) -> int:
        """RUN. Returns STATUS; with a fault the part has not begun."""
        asked = self.now()
        from_pause = bool(part.runs)
        status = await self.reach(part.stream, RUN)
        if status & FAULTED:
            return status
        if not from_pause:
            part.began = asked
            self.parts.append(part)
        part.runs.append(Interval(asked, self.now(), 1 << 40, 1 << 40))
        part.edges.add("PAUSE->RUN" if from_pause else "STOP->RUN")
        return status

    async def pause(self, part: Part) -> int:
        part.runs[-1].end_asked = self.now()
        status = await self.reach(part.stream, PAUSE)
        part.runs[-1].end_reached = self.now()
        part.edges.add("RUN->PAUSE")
        return status

    async def stop(self, part: Part) -> None:
        running = part.runs[-1].end_reached == 1 << 40
        if running:
            part.runs[-1].end_asked = self.now()
        assert await self.reach(part.stream, STOP) == STOP
        part.ended = self.now()
        if running:
            part.runs[-1].end_reached = part.ended
        part.edges.add("RUN->STOP" if running else "PAUSE->STOP")

    async def count(self, part: Part) -> None:
        """Take the counts of a paused stream."""
        stream = part.stream
        part.counts = {
            "underruns": await self.read(stream, UNDERRUNS),
            "overruns": await self.read(stream, OVERRUNS),
            "interval_left": await self.read(stream, INTERVAL_LEFT),
            "high_water": await self.read(stream, FIFO_HIGH_WATER),
            "time": self.now(),
        }
        await self.snapshot(stream)

    async def finish(self, *, misses: bool = True) -> tuple[Trace, list[Outcome]]:
        """Pause, count and stop what still runs, then compare everything with the reference."""
        for part in self.parts:
            if not part.ended:
                if part.runs[-1].end_reached == 1 << 40:
                    await self.pause(part)
        for part in self.parts:
            if not part.ended:
                await self.count(part)
                await self.stop(part)
        trace = await self.trace()
        outcomes, failures = [], []
        for part in self.parts:
            if part.counts is not None:
                time = part.counts["time"]
                words = next(words for words in trace.snapshots_of(part.stream) if words["time"] >= time)
                part.counts |= words
                faulted = bool(words["state"] & FAULTED)
                assert words["state"] & 3 == (RUN if faulted else PAUSE), f"{part}: state {words['state']:#x}"
            try:
                outcomes.append(check_part(part, trace, self.memory, misses=misses))
            except AssertionError as error:
                failures.append(str(error).split("\n", 1)[0])
        several = "\n".join(failures[:8])
        assert not failures, f"{len(failures)} of {len(self.parts)} parts went wrong:\n{several}"
        same = self.dump()[:RING_FIRST] == self.memory[:RING_FIRST]
        assert same.all(), f"memory differs from what the reference says, first at {int(np.argmin(same)):#x}"
        for letter in "DA":
            inside = sum(len(trace.of(letter, part.stream, part.began, part.ended)) for part in self.parts)
            assert trace.count(letter) == inside, "frames outside all parts"
        return trace, outcomes
