"""stream_engine: queues, revocation, end of stream, intervals, times of starts, loads; run by test_stream_engine.py."""

from typing import Any

import cocotb
from harness import (
    BAD_CONFIG,
    CONFIG,
    CONTROL,
    DESCRIPTOR_EVENT,
    END_OF_STREAM,
    ENDED,
    FAULT,
    FAULTED,
    FIFO_HIGH_WATER,
    INTERVAL,
    INTERVAL_BYTES,
    INTERVAL_LEFT,
    LIVE_BYTES_HI,
    LIVE_BYTES_LO,
    LIVE_DESCRIPTORS,
    LIVE_FRAMES_HI,
    LIVE_FRAMES_LO,
    LIVE_INDEX,
    OVERRUNS,
    PACKET_TIME_LO,
    PAUSE,
    PRODUCER_AHEAD,
    REFUSED,
    REVOKE,
    REVOKE_LEFT,
    REVOKE_STATUS,
    RING_PRODUCER,
    RING_SIZE,
    RUN,
    START_TIME_LO,
    STATUS,
    STOP,
    TOO_MUCH,
    UNDERRUN,
    UNDERRUNS,
    EngineBench,
    both_directions,
    make_ring,
)
from scoreboard import (
    Descriptor,
    StreamSetup,
    apply_capture,
    check_consecutive,
    check_render,
)

UNUSED, DROPPED, REFUSED_RANGE = 0, 1, 2
FRAME_CLOCKS = 256


def queue_of(bench: EngineBench, capture: bool, lengths: list[int], *, sample_bytes: int = 3) -> StreamSetup:
    """A stream whose ring is a queue."""
    ring = make_ring(bench.random, 0x1001, lengths)
    return StreamSetup(1, capture, sample_bytes, 2, 0x1_0000, ring, queue=True)


async def revoke(bench: EngineBench, stream: int, first: int, last: int) -> tuple[int, int]:
    """Revoke a range of ordinals; returns the result and the bytes left of what was dropped."""
    await bench.write(stream, REVOKE, last << 16 | first)
    for _ in range(100):
        status = await bench.read(stream, REVOKE_STATUS)
        if not status & 0x100:
            return status, await bench.read(stream, REVOKE_LEFT)
    raise AssertionError("a revocation is not answered")


@cocotb.test()
@cocotb.parametrize(capture=[False, True], sample_bytes=[1, 2, 3, 4])
async def queue_grows_and_starves(dut: Any, capture: bool, sample_bytes: int) -> None:
    """Descriptors are used once, as they come; without one the stream starves, counted, and goes on with the next."""
    bench = EngineBench(dut)
    for latency in (1, 4):
        await bench.start(latency=latency, stall=latency == 4)
        setup = queue_of(bench, capture, [1, 90, 3, 2, 64, 7, 31, 200], sample_bytes=sample_bytes)
        await bench.load([setup])
        dut.tick_enable.value = 1
        await bench.write(1, CONTROL, RUN)
        queued = 0
        for more in (0, 3, 1, 4, 0):
            queued += more
            await bench.write(1, RING_PRODUCER, queued)
            await bench.clocks((160 if sample_bytes == 1 else 80) * FRAME_CLOCKS)
            assert await bench.read(1, LIVE_DESCRIPTORS) == queued
            assert await bench.read(1, LIVE_INDEX) == queued % 8
            assert await bench.read(1, LIVE_BYTES_LO) == sum(d.length_bytes for d in setup.ring[:queued])
        missed = await bench.read(1, OVERRUNS if capture else UNDERRUNS)
        assert missed > 100
        log = await bench.finish([setup], consecutive=False)
        causes = [event.cause for event in log.events if event.cause != DESCRIPTOR_EVENT]
        assert set(causes) == {2 if capture else UNDERRUN}
        assert await bench.read(1, STATUS) == PAUSE


@cocotb.test()
async def queue_goes_round_the_ring(dut: Any) -> None:
    """A ring of 4 carries 40 descriptors; RING_PRODUCER may be RING_SIZE ahead, not more."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(1, False, 2, 2, 0x1_0000, make_ring(bench.random, 0x1001, [13, 40, 27, 64]), queue=True)
    await bench.load([setup])
    dut.tick_enable.value = 1
    await bench.write(1, RING_PRODUCER, 4)
    await bench.write(1, CONTROL, RUN)
    while (done := await bench.read(1, LIVE_DESCRIPTORS)) < 40:
        await bench.write(1, RING_PRODUCER, done + 4)
        await bench.clocks(100)
    log = await bench.finish([setup], frames_at_least=300)
    assert {event.cause for event in log.events} == {DESCRIPTOR_EVENT}
    await bench.set_state(1, RUN)
    await bench.write(1, RING_PRODUCER, await bench.read(1, LIVE_DESCRIPTORS) + 6)
    await bench.clocks(60 * FRAME_CLOCKS)
    assert await bench.read(1, STATUS) == FAULTED | RUN
    faults = [event.data[1] for event in (await bench.log()).events if event.cause == FAULT]
    assert faults == [PRODUCER_AHEAD]


@cocotb.test()
@cocotb.parametrize(capture=[False, True], queue=[False, True])
async def removed_descriptors_are_skipped(dut: Any, capture: bool, queue: bool) -> None:
    """No byte, no event, no look at address or length; counted in DESCRIPTORS."""
    bench = EngineBench(dut)
    await bench.start(latency=2)
    ring = list(make_ring(bench.random, 0x1001, [9, 60, 31, 5, 77]))
    ring[1] = Descriptor(0xFFFF_FFFF, 0, 5, True, 0x10)
    ring[3] = Descriptor(0, 0, 6, True, 0x18)
    setup = StreamSetup(1, capture, 2, 2, 0x1_0000, tuple(ring), queue=queue)
    await bench.load([setup])
    await bench.write(1, RING_PRODUCER, 5)
    dut.tick_enable.value = 1
    await bench.write(1, CONTROL, RUN)
    await bench.clocks(29 * FRAME_CLOCKS)
    log = await bench.finish([setup], frames_at_least=27)
    assert not [event for event in log.events if event.data[1] in (5, 6)]
    words = await bench.snapshot(1)
    assert words["descriptors"] >= 4


@cocotb.test()
async def all_removed(dut: Any) -> None:
    """A ring of removed descriptors only: the stream starves, its neighbour and the host are served."""
    bench = EngineBench(dut)
    await bench.start()
    empty = StreamSetup(1, True, 2, 2, 0x1_0000, tuple(Descriptor(0, 0, 0, True, 0x10) for _ in range(3)))
    good = StreamSetup(0, False, 4, 2, 0x1_0400, make_ring(bench.random, 0x1001, (50, 61)))
    await bench.load([empty, good])
    dut.tick_enable.value = 1
    for stream in (0, 1):
        await bench.write(stream, CONTROL, RUN)
    await bench.clocks(40 * FRAME_CLOCKS)
    assert await bench.read(1, LIVE_BYTES_LO) == 0
    assert await bench.read(1, OVERRUNS) > 10
    await bench.set_state(1, STOP)
    log = await bench.finish([good], frames_at_least=38)
    check_consecutive(log.of(0))


@cocotb.test()
@cocotb.parametrize(capture=[False, True])
async def revocation(dut: Any, capture: bool) -> None:
    """At any moment."""
    await revoke_at(dut, capture, range(40))


async def revoke_at(dut: Any, capture: bool, offsets: range) -> None:
    """Behind the answer nothing of the range is touched, what came before it is whole."""
    bench = EngineBench(dut)
    results = set()
    for offset in offsets:
        await bench.start(latency=1 + offset % 4)
        setup = queue_of(bench, capture, [30, 41, 52, 63, 20, 64], sample_bytes=4)
        await bench.load([setup])
        await bench.write(1, RING_PRODUCER, 6)
        dut.tick_enable.value = 1
        await bench.write(1, CONTROL, RUN)
        await bench.clocks(150 + 97 * offset)
        # As a host does it: mark in memory (here: the bench's memory, by a backdoor), then revoke.
        first, last = 1, 3
        for number in range(first, last + 1):
            handle = dut.words[(setup.ring_base + 16 * number + 12) // 4]
            handle.value = int(handle.value) | 0x10
        result, left = await revoke(bench, 1, first, last)
        answered = int(dut.now.value)
        words = await bench.snapshot(1)
        results.add(result)
        assert result in (UNUSED, DROPPED)
        assert (left > 0) == (result == DROPPED)
        await bench.clocks(120 * FRAME_CLOCKS)
        log = await bench.log()
        end = await bench.snapshot(1)
        assert end["descriptors"] == 6
        # What each descriptor gave, in order, is a prefix of it.
        behind = sum(setup.ring[number].length_bytes for number in (4, 5))
        revoked_bytes = end["bytes"] - 30 - behind
        used = list(range(setup.ring[0].address, setup.ring[0].address + 30))
        taken = revoked_bytes
        for number in range(first, last + 1):
            piece = min(taken, setup.ring[number].length_bytes)
            used += range(setup.ring[number].address, setup.ring[number].address + piece)
            taken -= piece
            if result == DROPPED and piece and not taken:
                assert piece + left == setup.ring[number].length_bytes
        assert taken == 0
        for number in (4, 5):
            used += range(setup.ring[number].address, setup.ring[number].address + setup.ring[number].length_bytes)
        expected = bytearray(bench.memory)
        for number in range(first, last + 1):
            expected[setup.ring_base + 16 * number + 12] |= 0x10
        if capture:
            apply_capture(setup, log.of(1), end["bytes"], expected, used)
        else:
            check_render(setup, log.of(1), bench.memory, used)
        assert await bench.dump() == expected
        for number in range(first, last + 1):
            start, stop = setup.ring[number].address, setup.ring[number].address + setup.ring[number].length_bytes
            late = [cycle for cycle, address, write in log.accesses
                    if cycle > answered and start & ~3 <= address < stop and address + 3 < stop]  # fmt: skip
            assert not late, f"descriptor {number} is accessed behind the answer, at {late}"
        assert words["state"] == RUN
    assert results == {UNUSED, DROPPED}


@cocotb.test()
async def refused_revocations(dut: Any) -> None:
    """A range that is not queued: refused with a status and an event, the stream goes on."""
    bench = EngineBench(dut)
    await bench.start()
    setup = queue_of(bench, False, [300] * 6)
    await bench.load([setup])
    await bench.write(1, RING_PRODUCER, 4)
    assert await revoke(bench, 1, 0, 0) == (REFUSED_RANGE, 0), "in STOP"
    dut.tick_enable.value = 1
    await bench.set_state(1, RUN)
    await bench.clocks(5 * FRAME_CLOCKS)
    for first, last in ((4, 4), (2, 4), (3, 2), (0, 0x7FFF), (1, 5)):
        before = len((await bench.log()).events)
        assert await revoke(bench, 1, first, last) == (REFUSED_RANGE, 0), f"{first} to {last}"
        await bench.clocks(50)
        events = (await bench.log()).events[before:]
        assert [(event.cause, event.data[0]) for event in events] == [(REFUSED, last << 16 | first)]
    assert await revoke(bench, 1, 3, 3) == (UNUSED, 0)
    assert await revoke(bench, 1, 0xFFF0, 0xFFFF) == (UNUSED, 0), "long gone"
    await bench.finish([setup], frames_at_least=4)
    cyclic = both_directions(bench.random, 2, 2, (64, 64))[0]
    await bench.load([cyclic])
    await bench.set_state(0, RUN)
    assert await revoke(bench, 0, 0, 0) == (REFUSED_RANGE, 0), "no queue"


@cocotb.test()
@cocotb.parametrize(capture=[False, True], sample_bytes=[1, 3, 4])
async def end_of_stream(dut: Any, capture: bool, sample_bytes: int) -> None:
    """Nothing is moved behind it, one event, silence is no underrun; STOP begins anew."""
    bench = EngineBench(dut)
    for tail in (24, 25, 100):
        await bench.start(latency=3)
        ring = make_ring(bench.random, 0x1001, (48, tail, 64))
        ring = (ring[0], Descriptor(ring[1].address, tail, 77, True, 8), ring[2])
        setup = StreamSetup(1, capture, sample_bytes, 2, 0x1_0000, ring)
        await bench.load([setup])
        dut.tick_enable.value = 1
        for _ in range(2):
            await bench.write(1, CONTROL, RUN)
            await bench.clocks(100 * FRAME_CLOCKS)
            assert await bench.read(1, STATUS) == RUN | ENDED
            assert await bench.read(1, LIVE_BYTES_LO) == 48 + tail
            frames = await bench.read(1, LIVE_FRAMES_LO)
            if not capture:
                assert frames == (48 + tail) // setup.frame_bytes
            assert await bench.read(1, UNDERRUNS) == await bench.read(1, OVERRUNS) == 0
            log = await bench.log()
            events = [event for event in log.events if event.stream == 1]
            assert [event.cause for event in events[-3:]] == [DESCRIPTOR_EVENT, DESCRIPTOR_EVENT, END_OF_STREAM]
            assert events[-1].data == (1, 77, 48 + tail, frames)
            last_frame = log.of(1)[-1]
            if not capture:
                next_tick = log.tick_cycles[last_frame.tick + 1]
                assert 0 <= events[-1].cycle - next_tick <= 60
            await bench.set_state(1, STOP)
        assert len(events) == 6
        assert await bench.read(1, STATUS) == STOP


@cocotb.test()
@cocotb.parametrize(capture=[False, True], queue=[False, True])
async def intervals(dut: Any, capture: bool, queue: bool) -> None:
    """An event each INTERVAL_BYTES, INTERVAL_LEFT counts down and reloads; off means none."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(1, capture, 4, 2, 0x1_0000, make_ring(bench.random, 0x1001, (333, 801)), queue=queue)
    for interval in (64, 100, 479, 480):
        await bench.start()
        await bench.load([setup])
        await bench.write(1, INTERVAL_BYTES, interval)
        await bench.write(1, RING_PRODUCER, 2)
        dut.tick_enable.value = 1
        await bench.set_state(1, RUN)
        await bench.clocks(120 * FRAME_CLOCKS)
        log = await bench.finish([setup])
        moved = await bench.read(1, LIVE_BYTES_LO)
        assert await bench.read(1, INTERVAL_LEFT) == interval - moved % interval
        events = [event for event in log.events if event.cause == INTERVAL]
        assert len(events) == moved // interval
        for number, event in enumerate(events):
            assert 0 <= event.data[2] - (number + 1) * interval < 32
            assert event.data[0] == (number + 2) * interval - event.data[2]
    await bench.start()
    await bench.load([setup])
    await bench.write(1, RING_PRODUCER, 2)
    dut.tick_enable.value = 1
    for off in (0, 63):
        await bench.write(1, INTERVAL_BYTES, off)
        await bench.set_state(1, RUN)
        await bench.clocks(60 * FRAME_CLOCKS)
        assert not [event for event in (await bench.log()).events if event.cause == INTERVAL]
        await bench.set_state(1, STOP)


@cocotb.test()
@cocotb.parametrize(capture=[False, True])
async def times_of_starts(dut: Any, capture: bool) -> None:
    """START_TIME is the tick of the first frame behind each RUN, PACKET_TIME that of each descriptor's first byte."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(1, capture, 4, 2, 0x1_0000, make_ring(bench.random, 0x1001, (803, 1001, 200)))
    await bench.load([setup])
    high_word = 0xA55A_5AA5 if capture else 0x5AA5_A55A
    dut.now.value = high_word << 32 | 0xFFFF_F123
    dut.tick_enable.value = 1
    for _ in range(3):
        before = len((await bench.log()).of(1))
        await bench.set_state(1, RUN)
        await bench.clocks(bench.random.randrange(20, 300) * FRAME_CLOCKS)
        await bench.set_state(1, PAUSE)
        log = await bench.log()
        frames = log.of(1)
        time = await bench.read(1, START_TIME_LO) | await bench.read(1, START_TIME_LO + 4) << 32
        assert time == log.tick_cycles[frames[before].tick]
        starts, total = [], 0
        while total < 8 * len(frames):
            starts.append(total)
            total += setup.ring[(len(starts) - 1) % 3].length_bytes
        time = await bench.read(1, PACKET_TIME_LO) | await bench.read(1, PACKET_TIME_LO + 4) << 32
        assert time == log.tick_cycles[frames[starts[-1] // 8].tick]
    assert time >> 32 == high_word + 1


@cocotb.test()
async def high_water_and_live_words(dut: Any) -> None:
    """FIFO_HIGH_WATER is the highest level since RUN from STOP; LIVE words are those of a snapshot."""
    bench = EngineBench(dut)
    await bench.start()
    setups = both_directions(bench.random, 4, 2, (200, 311))
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(30 * FRAME_CLOCKS)
    assert 61 <= await bench.read(0, FIFO_HIGH_WATER) <= 64
    assert await bench.read(1, FIFO_HIGH_WATER) == 8
    await bench.finish(setups, consecutive=False)
    for setup in setups:
        words = await bench.snapshot(setup.stream)
        live = {name: await bench.read(setup.stream, offset) for name, offset in (
            ("frames_lo", LIVE_FRAMES_LO), ("frames_hi", LIVE_FRAMES_HI), ("bytes_lo", LIVE_BYTES_LO),
            ("bytes_hi", LIVE_BYTES_HI), ("descriptors", LIVE_DESCRIPTORS), ("index", LIVE_INDEX))}  # fmt: skip
        assert live == {name: words[name] for name in live}
        assert words["frames_lo"] > 20
    # An empty queue: the FIFO fills, and what it reached stays until RUN from STOP.
    await bench.set_state(1, STOP)
    await bench.write(1, CONFIG, setups[1].config | 1 << 8)
    await bench.set_state(1, RUN)
    await bench.clocks(20 * FRAME_CLOCKS)
    assert await bench.read(1, FIFO_HIGH_WATER) == 64
    await bench.set_state(1, STOP)
    assert await bench.read(1, FIFO_HIGH_WATER) == 64
    dut.tick_enable.value = 0
    await bench.set_state(1, RUN)
    assert await bench.read(1, FIFO_HIGH_WATER) == 0


@cocotb.test()
async def too_much(dut: Any) -> None:
    """Streams that do not fit into a frame are refused at RUN, the others play on; STOP frees what a stream took."""
    bench = EngineBench(dut)
    await bench.start()
    # 6 channels of 24 bit: 4 x 18 = 72 clocks each; 3 of them fit into 256, and a stereo 16-bit stream of 16.
    setups = [
        StreamSetup(stream, stream % 2 == 1, 3, 6, 0x1_0000 + 0x400 * stream,
                    make_ring(bench.random, 0x1801 * (stream + 1), (960, 959)))
        for stream in (0, 1, 2, 4)
    ]  # fmt: skip
    small = StreamSetup(5, False, 2, 2, 0x1_4000, make_ring(bench.random, 0x9001, (960, 959)))
    await bench.load([*setups, small])
    for setup in setups[:3]:
        await bench.set_state(setup.stream, RUN)
        assert await bench.read(setup.stream, STATUS) == RUN
    await bench.set_state(4, RUN)
    await bench.clocks(50)
    assert await bench.read(4, STATUS) == FAULTED | RUN
    events = [(event.cause, event.stream, event.data[1]) for event in (await bench.log()).events]
    assert events == [(FAULT, 4, TOO_MUCH)]
    await bench.set_state(5, RUN)
    assert await bench.read(5, STATUS) == RUN
    # A refused stream has taken nothing, a PAUSE frees nothing.
    await bench.set_state(4, STOP)
    await bench.set_state(0, PAUSE)
    await bench.set_state(4, RUN)
    await bench.clocks(50)
    assert await bench.read(4, STATUS) == FAULTED | RUN
    await bench.set_state(4, STOP)
    await bench.set_state(0, STOP)
    await bench.set_state(4, RUN)
    await bench.clocks(50)
    assert await bench.read(4, STATUS) == RUN
    # Bad settings take nothing either.
    await bench.set_state(5, STOP)
    await bench.write(5, RING_SIZE, 0)
    for _ in range(30):
        await bench.set_state(5, RUN)
        await bench.write(5, CONTROL, STOP)
        await bench.clocks(150)
    events = [event.data[1] for event in (await bench.log()).events if event.stream == 5 and event.cause == FAULT]
    assert len(events) == 30 and set(events) == {BAD_CONFIG}
    await bench.write(5, RING_SIZE, 2)
    await bench.set_state(5, RUN)
    assert await bench.read(5, STATUS) == RUN


@cocotb.test()
@cocotb.parametrize(channels=[1, 2, 3, 8])
async def eight_bit(dut: Any, channels: int) -> None:
    """8-bit samples are unsigned in memory and two's complement at the converter, at any address and length."""
    bench = EngineBench(dut)
    for latency in (1, 3):
        await bench.start(latency=latency, stall=latency == 3)
        setups = both_directions(bench.random, 1, channels, (1, 2, 3, 5, 64, 7, 40))
        await bench.load(setups)
        dut.tick_enable.value = 1
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(61 * FRAME_CLOCKS)
        log = await bench.finish(setups, frames_at_least=58)
        assert {event.cause for event in log.events} == {DESCRIPTOR_EVENT}


@cocotb.test()
async def last_flag_is_in_the_event(dut: Any) -> None:
    """Bit 16 of data0 is the LAST flag of the descriptor."""
    bench = EngineBench(dut)
    await bench.start()
    ring = (Descriptor(0x1001, 40, 1, True, 2), Descriptor(0x1101, 24, 2), Descriptor(0x1201, 24, 3, True, 2))
    await bench.load([StreamSetup(1, False, 4, 2, 0x1_0000, ring)])
    dut.tick_enable.value = 1
    await bench.set_state(1, RUN)
    await bench.clocks(30 * FRAME_CLOCKS)
    data = [event.data[0] for event in (await bench.log()).events]
    assert data[:6] == [0x1_0000, 1, 0x1_0002] * 2


@cocotb.test()
async def preload_and_wrap(dut: Any) -> None:
    """With TEST_EN the LIVE words may be written in PAUSE, and count on from there across 32 bits and 2^16 ordinals."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(1, False, 4, 2, 0x1_0000, make_ring(bench.random, 0x1001, (64, 64, 64)), queue=True)
    await bench.load([setup])
    await bench.set_state(1, PAUSE)
    for offset, value in ((LIVE_FRAMES_LO, 0xFFFF_FFFE), (LIVE_BYTES_LO, 0xFFFF_FFF0), (LIVE_BYTES_HI, 7),
                          (LIVE_DESCRIPTORS, 0xFFFF_FFFE)):  # fmt: skip
        await bench.write(1, offset, value)
    await bench.write(1, RING_PRODUCER, 1)
    dut.tick_enable.value = 1
    await bench.set_state(1, RUN)
    await bench.clocks(60 * FRAME_CLOCKS)
    words = await bench.snapshot(1)
    assert words["descriptors"] == 1
    assert words["frames"] == 0xFFFF_FFFE + 24
    assert words["bytes"] == (7 << 32 | 0xFFFF_FFF0) + 192
    assert await bench.read(1, CONFIG) == setup.config
