"""stream_engine: errors of memory, reset and STOP at every clock, software that breaks the rules; run by
test_stream_engine.py. Whatever happens to one stream, the others stay byte-exact.
"""

import random
from typing import Any

import cocotb
import numpy as np
from bench import reset
from harness import (
    BAD_CONFIG,
    CONFIG,
    CONTROL,
    FAULT,
    FAULTED,
    LENGTH_ZERO,
    LIVE_BYTES_LO,
    LIVE_DESCRIPTORS,
    OUTSIDE_MEMORY,
    OVERRUN,
    PAUSE,
    PRODUCER_AHEAD,
    REFUSED,
    REVOKE_STATUS,
    RING_PRODUCER,
    RING_SIZE,
    RUN,
    START_TIME_HI,
    START_TIME_LO,
    STATUS,
    STOP,
    TOO_MUCH,
    UNDERRUN,
)
from load_harness import (
    BUS_ERROR,
    DATA_STRIDE,
    FRAME_CLOCKS,
    REFUSED_RANGE,
    RING_FIRST,
    RING_STRIDE,
    Interval,
    LoadBench,
    Part,
    Trace,
    check_part,
    make_ring,
)
from scoreboard import MEMORY_BYTES, Descriptor, StreamSetup

FOREVER = 1 << 40


def random_part(
    source: random.Random,
    stream: int,
    *,
    sizes: tuple[tuple[int, int], ...],
    lengths: list[int],
    queue: bool | None = None,
) -> Part:
    """A part of random direction and ring kind; `sizes`: sample bytes and channels to choose from."""
    sample_bytes, channels = source.choice(sizes)
    queue = source.random() < 0.5 if queue is None else queue
    ring = make_ring(source, stream, lengths, source.randrange(4))
    setup = StreamSetup(stream, source.random() < 0.5, sample_bytes, channels, ring_base(stream), ring, queue)
    return Part(setup, f"{8 * sample_bytes} bit", producer=len(ring) if queue else 0)


def ring_base(stream: int) -> int:
    return RING_FIRST + RING_STRIDE * stream


async def feed(bench: LoadBench, part: Part) -> None:
    """A queue gets as many descriptors as its ring holds."""
    if part.setup.queue:
        part.producer = await bench.read(part.stream, LIVE_DESCRIPTORS) + len(part.setup.ring)
        await bench.write(part.stream, RING_PRODUCER, part.producer & 0xFFFF)


def stream_clocks(sample_bytes: int, channels: int) -> int:
    """What a stream counts in the sum of loads; docs/engine.md has the table."""
    frame_bytes = sample_bytes * channels
    return 4 * max(frame_bytes, 3)


ANY_FORMAT = tuple((sample_bytes, channels) for sample_bytes in (1, 2, 3, 4) for channels in range(1, 9))


def some_lengths(source: random.Random, sample_bytes: int, channels: int) -> list[int]:
    """Two descriptors of at least 32 frames, of any length."""
    return [min(1900, source.randrange(32, 64) * sample_bytes * channels + source.randrange(4)) for _ in range(2)]


START_FRAMES = 16


def check_no_gap_after_start(bench: LoadBench, trace: Trace) -> None:
    """No stream misses a frame, but for the first START_FRAMES behind the last start: docs/engine.md says why."""
    settled = max(part.began for part in bench.parts) + START_FRAMES * FRAME_CLOCKS
    late = [event for event in trace.events if event.cause in (UNDERRUN, OVERRUN) and event.time > settled]
    assert not late, f"frames missed in the steady state: {late}"


@cocotb.test()
async def all_sixteen_at_once(dut: Any) -> None:
    """Sixteen streams of random formats, directions, ring kinds and alignments; 7/8 of what the load sum allows."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    for _ in range(6):
        await bench.start(latency=1, busy_host=True)
        formats = [(1, 1)] * 16
        for _ in range(300):
            at = bench.source.randrange(16)
            candidate = [*formats[:at], bench.source.choice(ANY_FORMAT), *formats[at + 1 :]]
            if sum(stream_clocks(*one) for one in candidate) <= FRAME_CLOCKS * 7 // 8:
                formats = candidate
        parts = [
            random_part(bench.source, stream, sizes=(one,), lengths=some_lengths(bench.source, *one))
            for stream, one in enumerate(formats)
        ]
        for part in parts:
            await bench.prepare(part)
        dut.tick_enable.value = 1
        for part in parts:
            assert not await bench.run(part) & FAULTED, f"{part} was refused"
        for _ in range(12):
            for part in parts:
                await feed(bench, part)
            await bench.frames(6)
        dut.busy_host.value = 0
        trace, outcomes = await bench.finish()
        check_no_gap_after_start(bench, trace)
        assert min(outcome.frames for outcome in outcomes) >= 60
        assert max(outcome.service_clocks for outcome in outcomes) < FRAME_CLOCKS


@cocotb.test()
async def first_frames_on_one_tick(dut: Any) -> None:
    """Sixteen 16-bit stereo streams start before the converter: none misses a frame, all begin at the first tick."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    for number in range(8):
        await bench.start(latency=1, spread=number % 2, busy_host=True)
        parts = []
        for stream in range(16):
            capture = (False, True, bench.source.random() < 0.5)[number % 3]
            ring = make_ring(bench.source, stream, [192] * 5, 0, aligned=True)
            parts.append(Part(StreamSetup(stream, capture, 2, 2, ring_base(stream), ring), "16 bit"))
        for part in parts:
            await bench.prepare(part)
        for part in parts:
            assert not await bench.run(part) & FAULTED, f"{part} was refused"
        await bench.frames(10)
        await bench.clocks(bench.source.randrange(256))
        dut.tick_enable.value = 1
        await bench.frames(30)
        starts = [
            await bench.read(part.stream, START_TIME_LO) | await bench.read(part.stream, START_TIME_HI) << 32
            for part in parts
        ]
        dut.busy_host.value = 0
        trace, outcomes = await bench.finish(misses=False)
        assert min(outcome.frames for outcome in outcomes) >= 29
        assert set(starts) == {int(trace.tick_times[0])}
        service = max(outcome.service_clocks for outcome in outcomes)
        dut._log.info("first frames of 16 streams, case %d: service %d clocks", number, service)


@cocotb.test()
async def what_is_accepted_is_served(dut: Any) -> None:
    """Streams of random formats start until no more are accepted: those that run miss nothing, in aligned rings."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    for number in range(12):
        await bench.start(latency=1, busy_host=True)
        dut.tick_enable.value = 1
        largest = (4, 8, 16, 32)[number % 4]
        sizes = tuple(one for one in ANY_FORMAT if one[0] * one[1] <= largest)
        refused = 0
        for stream in range(16):
            one = bench.source.choice(sizes)
            lengths = [-(-length // 4) * 4 for length in some_lengths(bench.source, *one)]
            ring = make_ring(bench.source, stream, lengths, 0, aligned=True)
            setup = StreamSetup(stream, bench.source.random() < 0.5, *one, ring_base(stream), ring)
            part = Part(setup, f"{8 * one[0]} bit")
            await bench.prepare(part)
            if await bench.run(part) & FAULTED:
                refused += 1
                assert await bench.reach(stream, STOP) == STOP
        assert refused > 0 or largest < 16
        await bench.frames(80)
        dut.busy_host.value = 0
        trace, outcomes = await bench.finish()
        check_no_gap_after_start(bench, trace)
        assert min(outcome.frames for outcome in outcomes) >= 70


@cocotb.test()
async def bus_errors(dut: Any) -> None:
    """Errors at data and at descriptors, of render and capture, with stalls."""
    await errors_of_memory(dut, 12)


async def errors_of_memory(dut: Any, rounds: int) -> None:
    """A stream that meets an error of memory halts with BUS_ERROR, has lost nothing up to there, and can start anew.

    The others stay byte-exact.
    """
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    met = {"data": 0, "ring": 0}
    for number in range(rounds):
        await bench.start(latency=1 + number % 2, stalls=number % 2 == 1, busy_host=number % 4 == 3)
        sizes = ((1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (1, 5))
        parts = [
            random_part(
                bench.source,
                stream,
                sizes=sizes,
                lengths=[bench.source.randrange(30, 90) for _ in range(5)],
                queue=False,
            )
            for stream in range(8)
        ]
        for part in parts:
            await bench.prepare(part)
        dut.tick_enable.value = 1
        for part in parts:
            await bench.run(part)
        await bench.frames(20)
        victims = set(bench.source.sample(range(8), 1 + number % 3))
        where = "ring" if number % 3 == 2 else "data"
        dut.error_rate.value = 0 if where == "ring" else bench.source.choice((0, 3, 7))
        getattr(dut, f"error_{where}").value = sum(1 << stream for stream in victims)
        await bench.frames(200 if where == "ring" else 60)
        dut.error_data.value = dut.error_ring.value = 0
        for part in parts:
            faulted = bool(await bench.read(part.stream, STATUS) & FAULTED)
            assert faulted == (part.stream in victims), f"{part}"
        trace = await bench.trace()
        for part in parts:
            if part.stream not in victims:
                continue
            met[where] += 1
            faults = [event for event in trace.events_of(part.stream, 0, FOREVER) if event.cause == FAULT]
            errors = trace.errors[trace.errors["stream"] == part.stream]
            assert len(errors) == 1, f"{part}: accesses go on behind an error"
            assert len(faults) == 1 and faults[0].data[1:] == (BUS_ERROR, 0, 0), f"{part}: {faults}"
            assert 0 <= faults[0].time - int(errors["time"][0]) <= 12, f"{part}: {faults}"
            late = trace.moved(part.stream, faults[0].time, FOREVER)[0]
            assert not len(late), f"{part}: bytes moved behind the fault"
            reads = trace.ring_reads[trace.ring_reads["stream"] == part.stream]
            assert not (reads["time"] > faults[0].time).any(), f"{part}: descriptors read behind the fault"
            part.runs[-1].end_asked = part.runs[-1].end_reached = bench.now()
            await bench.count(part)
            assert await bench.reach(part.stream, STOP) == STOP
            part.ended = bench.now()
            part.edges.add("BUS_ERROR")
        for part in list(bench.parts):
            if part.stream in victims:
                again = Part(part.setup, part.name)
                assert not await bench.run(again) & FAULTED
        await bench.frames(12)
        trace, outcomes = await bench.finish()
        for part, outcome in zip(bench.parts, outcomes, strict=True):
            if "BUS_ERROR" in part.edges:
                index = next(e for e in trace.events if e.stream == part.stream and e.cause == FAULT).data[0]
                assert part.counts is not None and part.counts["index"] == index
            else:
                assert outcome.frames >= 10 and FAULT not in outcome.causes, f"{part}: {outcome}"
    assert min(met.values()) >= min(5, rounds // 3), met


def four_kinds(source: random.Random) -> list[Part]:
    """Small descriptors, so that every state of the sequencer is soon passed."""
    kinds = ((False, 3, 1, False, [5, 1, 30, 17]), (True, 2, 2, True, [9, 33, 2, 40]),
             (False, 4, 2, True, [40, 7, 64]), (True, 1, 3, False, [3, 4, 50]))  # fmt: skip
    parts = []
    for stream, (capture, sample_bytes, channels, queue, lengths) in enumerate(kinds):
        ring = make_ring(source, stream, lengths, stream)
        setup = StreamSetup(stream, capture, sample_bytes, channels, ring_base(stream), ring, queue)
        parts.append(
            Part(
                setup,
                f"{8 * sample_bytes} bit",
                interval_bytes=64 if stream < 2 else 0,
                producer=len(ring) if queue else 0,
            )
        )
    return parts


def again(part: Part) -> Part:
    """The same once more, from STOP."""
    return Part(part.setup, part.name, interval_bytes=part.interval_bytes, producer=part.producer)


@cocotb.test()
async def stop_at_every_clock(dut: Any) -> None:
    """STOP at each clock of a frame."""
    await stop_at_clocks(dut, range(FRAME_CLOCKS))


async def stop_at_clocks(dut: Any, clocks: range) -> None:
    """Each of four streams is stopped at these clocks of a frame and starts anew, while the others go on."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start(latency=2)
    parts = four_kinds(bench.source)
    for part in parts:
        await bench.prepare(part)
    dut.tick_enable.value = 1
    for part in parts:
        await bench.run(part)
    for clock in clocks:
        for stream in range(4):
            await bench.clocks(bench.source.randrange(1, 200))
            await bench.phase(clock)
            await bench.stop(parts[stream])
            parts[stream] = again(parts[stream])
            await bench.run(parts[stream])
    _, outcomes = await bench.finish()
    assert len(outcomes) == 4 * len(clocks) + 4


@cocotb.test()
async def reset_at_every_clock(dut: Any) -> None:
    """Reset at each of 300 clocks."""
    await reset_at_clocks(dut, range(300))


async def reset_at_clocks(dut: Any, clocks: range) -> None:
    """Nothing moves between a reset and the next RUN, and what follows is byte-exact."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start(latency=2)
    parts = four_kinds(bench.source)
    for part in parts:
        await bench.prepare(part)
    rounds = []
    for clock in clocks:
        dut.tick_enable.value = 1
        for part in parts:
            await bench.run(part)
        await bench.snapshot(clock % 4)
        await bench.frames(1.5)
        await bench.clocks(1 + clock)
        rounds.append((parts, bench.now()))
        await reset(dut.clk, dut.rst, 1)
        bench.parts = []
        parts = [again(part) for part in parts]
        assert await bench.read(clock % 4, CONFIG) == 0
        for part in parts:
            await bench.configure(part)
    traces = await bench.traces()
    assert len(traces) == len(rounds) + 1
    for trace, (of_round, end) in zip(traces, rounds, strict=False):
        began = min(part.began for part in of_round)
        assert not len(between_accesses(trace, 0, began)), "accesses behind reset, before RUN"
        for part in of_round:
            part.ended = part.runs[-1].end_asked = part.runs[-1].end_reached = end
            part.cut = True
            check_part(part, trace, bench.memory)
    assert (bench.dump()[:RING_FIRST] == bench.memory[:RING_FIRST]).all(), "memory differs from what the reference says"


def between_accesses(trace: Trace, first: int, last: int) -> np.ndarray:  # type: ignore[type-arg]
    """Accesses to rings and data in that time."""
    times = np.concatenate([trace.data_accesses["time"], trace.ring_reads["time"]])
    return times[(times > first) & (times <= last)]


@cocotb.test()
async def ticks_in_arrears(dut: Any) -> None:
    """Memory is dead for 2 to 11 frames."""
    await dead_memory(dut, 24)


async def dead_memory(dut: Any, times: int) -> None:
    """Memory is dead for several frames, again and again: each tick gives a stream one frame or one miss, never two."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start(latency=1)
    parts = []
    for stream in range(16):
        ring = make_ring(bench.source, stream, (300, 301), 0)
        parts.append(Part(StreamSetup(stream, True, 2, 1, ring_base(stream), ring), "16 bit"))
    for part in parts:
        await bench.prepare(part)
    for part in parts:
        await bench.run(part)
    await bench.frames(2)
    dut.tick_enable.value = 1
    for number in range(times):
        await bench.clocks(20 * FRAME_CLOCKS + bench.source.randrange(FRAME_CLOCKS))
        dut.hold.value = 1
        await bench.clocks((11 - number % 10) * FRAME_CLOCKS + bench.source.randrange(FRAME_CLOCKS))
        dut.hold.value = 0
    await bench.frames(20)
    dut.tick_enable.value = 0
    await bench.frames(2)
    trace, outcomes = await bench.finish()
    ticks = len(trace.tick_times)
    for part, outcome in zip(parts, outcomes, strict=True):
        assert part.counts is not None
        assert outcome.frames + part.counts["overruns"] == ticks, f"{part}: {outcome.frames} frames, {part.counts}"


@cocotb.test()
async def bad_input(dut: Any) -> None:
    """All of the list."""
    await broken_rules(dut)


async def broken_rules(dut: Any) -> None:
    """Software that breaks the rules: refused with a status and an event; six other streams stay byte-exact."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start(latency=2, busy_host=True)
    sizes = ((2, 2), (3, 2), (4, 2), (1, 5))
    good = [random_part(bench.source, stream, sizes=sizes, lengths=[190, 77, 204], queue=False) for stream in range(6)]
    for part in good:
        await bench.prepare(part)
    dut.tick_enable.value = 1
    for part in good:
        await bench.run(part)
    victim = 9
    fine = make_ring(bench.source, victim, (40, 41, 42), 1)
    expected: list[tuple[int, tuple[int, ...]]] = []

    def setup(
        capture: bool, ring: tuple[Descriptor, ...], queue: bool = False, base: int = ring_base(victim)
    ) -> StreamSetup:
        return StreamSetup(victim, capture, 2, 2, base, ring, queue)

    async def heal() -> None:
        assert await bench.reach(victim, STOP) == STOP
        await bench.frames(1)
        await bench.prepare(Part(setup(False, fine)))
        part = Part(setup(False, fine))
        assert await bench.run(part) == RUN
        await bench.frames(4)
        await bench.pause(part)
        await bench.count(part)
        await bench.stop(part)

    async def expect_fault(part: Part, index: int, reason: int, size: int | None = None) -> None:
        """RUN ends in a fault with this reason, at this descriptor, and PAUSE and RUN do not leave it."""
        await bench.prepare(part)
        if size is not None:
            await bench.write(victim, RING_SIZE, size)
        asked = bench.now()
        await bench.write(victim, CONTROL, RUN)
        await bench.frames(30 if index else 2)
        for state in (RUN, PAUSE, RUN):
            await bench.write(victim, CONTROL, state)
            await bench.frames(0.5)
            assert await bench.read(victim, STATUS) == RUN | FAULTED
        expected.append((FAULT, (index, reason, 0, 0)))
        assert await bench.reach(victim, STOP) == STOP
        # What came before it was moved, or at least captured.
        part.began, part.ended = asked, bench.now()
        part.runs.append(Interval(asked, part.ended, part.ended, part.ended))
        bench.parts.append(part)
        await heal()

    for capture in (False, True):
        # Length 0; descriptors outside memory.
        for address, length, reason in (
            (DATA_STRIDE * victim, 0, LENGTH_ZERO),
            (MEMORY_BYTES, 4, OUTSIDE_MEMORY),
            (MEMORY_BYTES - 2, 3, OUTSIDE_MEMORY),
            (0xFFFF_FFFE, 4, OUTSIDE_MEMORY),
            (DATA_STRIDE * victim, 0xFFFF_FFF0, OUTSIDE_MEMORY),
        ):
            bad = Descriptor(address, length, 1)
            await expect_fault(Part(setup(capture, (*fine[:2], bad))), 2, reason)
            await expect_fault(Part(setup(capture, (bad,))), 0, reason)
        # Start without a buffer; a ring of more descriptors than there may be.
        for size in (0, 257, 511):
            await expect_fault(Part(setup(capture, fine)), 0, BAD_CONFIG, size)
        # Producer ahead of the ring.
        part = Part(setup(capture, fine, True), producer=len(fine) + 1)
        await expect_fault(part, 0, PRODUCER_AHEAD)
        # A ring that leaves memory.
        part = Part(setup(capture, fine[:1], base=MEMORY_BYTES - 16))
        await bench.prepare(part)
        await expect_outside_ring(bench, part, expected)
        await heal()

    # Revocation of what is not queued: nothing happens to the stream.
    part = Part(setup(False, fine, True), producer=3)
    await bench.prepare(part)
    await bench.run(part)
    for first, last in ((3, 3), (1, 3), (2, 1), (0, 0x7FFF)):
        assert await bench.revoke(part, first, last) == REFUSED_RANGE
        assert await bench.read(victim, REVOKE_STATUS) == REFUSED_RANGE
        expected.append((REFUSED, (last << 16 | first, 0, 0, 0)))
    await bench.frames(8)
    # Another format in RUN and in PAUSE: what was taken over at the start holds.
    for _ in range(4):
        part.settings_written += 2
        await bench.write(victim, CONFIG, bench.source.getrandbits(9))
        await bench.frames(3)
        await bench.pause(part)
        await bench.write(victim, RING_SIZE, bench.source.getrandbits(9))
        await bench.frames(1)
        await bench.run(part)
        await feed(bench, part)
    await bench.frames(5)
    await bench.pause(part)
    await bench.count(part)
    await bench.stop(part)

    # Streams that do not fit beside the others.
    large = [
        StreamSetup(stream, False, 4, 8, ring_base(stream), make_ring(bench.source, stream, (960, 961), 0))
        for stream in (10, 11, 12)
    ]
    accepted = []
    for of_stream in large:
        part = Part(of_stream, "32 bit")
        await bench.prepare(part)
        status = await bench.run(part)
        if status & FAULTED:
            assert await bench.read(of_stream.stream, LIVE_BYTES_LO) == 0
            assert await bench.reach(of_stream.stream, STOP) == STOP
        else:
            accepted.append(of_stream.stream)
    assert len(accepted) < 3
    await bench.frames(10)

    dut.busy_host.value = 0
    trace, outcomes = await bench.finish()
    for part, outcome in zip(bench.parts[:6], outcomes, strict=False):
        assert part is good[part.stream] and outcome.frames > 500
        assert not outcome.causes & {UNDERRUN, OVERRUN, FAULT}, f"{part}: {outcome}"
    seen = [
        (event.cause, event.data)
        for event in trace.events
        if event.stream == victim and event.cause in (FAULT, REFUSED) and not (event.cause == REFUSED and event.data[1])
    ]
    assert seen == expected
    too_much = [
        (event.stream, event.data[1]) for event in trace.events if event.stream > victim and event.cause == FAULT
    ]
    assert too_much == [(stream, TOO_MUCH) for stream in (10, 11, 12) if stream not in accepted]


async def expect_outside_ring(bench: LoadBench, part: Part, expected: list[tuple[int, tuple[int, ...]]]) -> None:
    """The second descriptor of a ring in the last 16 bytes of memory lies outside."""
    await bench.write(part.stream, RING_SIZE, 2)
    asked = bench.now()
    await bench.write(part.stream, CONTROL, RUN)
    await bench.frames(30)
    assert await bench.read(part.stream, STATUS) == RUN | FAULTED
    expected.append((FAULT, (1, OUTSIDE_MEMORY, 0, 0)))
    assert await bench.reach(part.stream, STOP) == STOP
    part.began, part.ended = asked, bench.now()
    part.runs.append(Interval(asked, part.ended, part.ended, part.ended))
    bench.parts.append(part)
