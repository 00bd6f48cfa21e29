"""stream_engine: all of its streams alike, exact limits; run by test_ports.py and by hdl/mutate."""

from itertools import pairwise, product
from typing import Any

import cocotb
from features import revoke_at
from harness import (
    BAD_CONFIG,
    CONFIG,
    CONTROL,
    FAULT,
    FAULTED,
    FIFO_HIGH_WATER,
    INTERVAL,
    INTERVAL_BYTES,
    LIVE_BYTES_HI,
    LIVE_BYTES_LO,
    LIVE_DESCRIPTORS,
    LIVE_FRAMES_HI,
    LIVE_FRAMES_LO,
    LIVE_INDEX,
    REFUSED,
    REVOKE_LEFT,
    REVOKE_STATUS,
    RING_BASE,
    RING_PRODUCER,
    RING_SIZE,
    RUN,
    SNAPSHOT,
    STATUS,
    STOP,
    EngineBench,
    make_ring,
)
from harness import REVOKE as REVOKE_RANGE
from scoreboard import Descriptor, StreamSetup

STREAMS = 8
MASKS = {CONFIG: 0x17D, RING_BASE: 0x1FFF0, RING_SIZE: 0x1FF, RING_PRODUCER: 0xFFFF, INTERVAL_BYTES: 0xFFFF_FFFF}
UNUSED, DROPPED, REFUSED_RANGE = 0, 1, 2


def setups_of_all(bench: EngineBench, *, queue: bool = False, sample_bytes: int = 2) -> list[StreamSetup]:
    return [
        StreamSetup(stream, stream % 2 == 1, sample_bytes, 2, 0x1_8000 + 0x100 * stream,
                    make_ring(bench.random, 0x1801 * (stream + 1), (300, 301, 302, 303)), queue=queue)
        for stream in range(STREAMS)
    ]  # fmt: skip


@cocotb.test()
async def settings_of_all_streams(dut: Any) -> None:
    """Every bit of every setting of every stream, reserved ones 0; none disturbs another; ack is quick."""
    bench = EngineBench(dut)
    await bench.start()
    values = {
        (stream, register): bench.random.getrandbits(32)
        for _ in range(2)
        for stream in range(STREAMS)
        for register in MASKS
    }
    for value in (0, 0xFFFF_FFFF):
        for (stream, register), noise in values.items():
            await bench.write(stream, register, value)
            assert await bench.read(stream, register) == value & MASKS[register]
            await bench.write(stream, register, noise)
    for (stream, register), noise in values.items():
        assert await bench.read(stream, register) == noise & MASKS[register], f"stream {stream} register {register:#x}"
    for stream in range(STREAMS, 16):
        for register in MASKS:
            await bench.write(stream, register, 0xFFFF_FFFF)
            assert await bench.read(stream, register) == 0, "a stream that is not there"
    for (stream, register), noise in values.items():
        assert await bench.read(stream, register) == noise & MASKS[register]


@cocotb.test()
async def revocation_in_all_streams(dut: Any) -> None:
    """Each stream answers for itself: asked in STOP, all asked at once, one asked while the others run on."""
    bench = EngineBench(dut)
    await bench.start()
    setups = setups_of_all(bench, queue=True)
    await bench.load(setups)
    for setup in setups:
        await bench.write(setup.stream, RING_PRODUCER, 3)
        await bench.write(setup.stream, REVOKE_RANGE, 0)
    await bench.clocks(400)
    for setup in setups:
        assert await bench.read(setup.stream, REVOKE_STATUS) == REFUSED_RANGE
    log = await bench.log()
    assert sorted((event.stream, event.cause) for event in log.events) == [
        (stream, REFUSED) for stream in range(STREAMS)
    ]
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.set_state(setup.stream, RUN)
    await bench.clocks(4 * 256)
    for setup in setups:
        await bench.write(setup.stream, REVOKE_RANGE, 2 << 16 | 2)
    await bench.clocks(600)
    for setup in setups:
        assert await bench.read(setup.stream, REVOKE_STATUS) == UNUSED
    for stream in (6, 1, 4, 3, 0, 7, 2, 5):
        before = [await bench.read(other, LIVE_INDEX) for other in range(STREAMS)]
        await bench.write(stream, REVOKE_RANGE, 0)
        await bench.clocks(200)
        assert await bench.read(stream, REVOKE_STATUS) == DROPPED
        left = await bench.read(stream, REVOKE_LEFT)
        assert 0 < left < 300
        before[stream] = 1
        assert [await bench.read(other, LIVE_INDEX) for other in range(STREAMS)] == before


@cocotb.test()
async def budget_to_the_clock(dut: Any) -> None:
    """Streams are taken on as long as the sum of their clocks fits into the frame: 4 for a byte, at least 12."""
    bench = EngineBench(dut)
    await bench.start()
    setups = setups_of_all(bench)
    await bench.load(setups)

    async def fit(count: int, frame_clocks: int) -> bool:
        """Is the last of so many streams taken on? The others are, at a long frame."""
        for stream in range(count):
            dut.frame_clocks.value = frame_clocks if stream == count - 1 else 2047
            await bench.set_state(stream, RUN)
        await bench.clocks(300)
        taken = await bench.read(count - 1, STATUS) == RUN
        for stream in range(count):
            await bench.write(stream, CONTROL, STOP)
        for stream in range(count):
            while await bench.read(stream, STATUS) != STOP:
                await bench.clocks(20)
        return taken

    for sample_bytes, channels in product((1, 2, 3, 4), range(1, 9)):
        await bench.write(0, CONFIG, (sample_bytes - 1) << 2 | (channels - 1) << 4)
        clocks = 4 * max(sample_bytes * channels, 3)
        assert await fit(1, clocks) and not await fit(1, clocks - 1), f"{sample_bytes} bytes, {channels} channels"
    for sample_bytes, channels in ((2, 2), (3, 8)):
        clocks = 4 * sample_bytes * channels
        for stream in range(STREAMS):
            await bench.write(stream, CONFIG, (sample_bytes - 1) << 2 | (channels - 1) << 4)
        for count in (2, 5, 8):
            assert await fit(count, count * clocks) and not await fit(count, count * clocks - 1), f"{count} streams"


@cocotb.test()
async def revocation_at_some_moments(dut: Any) -> None:
    """Of a render stream."""
    await revoke_at(dut, False, range(0, 40, 5))


@cocotb.test()
async def intervals_without_events_of_descriptors(dut: Any) -> None:
    """An interval that ends with a descriptor that asks for no event is one event, of the interval."""
    bench = EngineBench(dut)
    await bench.start()
    ring = tuple(Descriptor(0x1001 + 0x100 * number, 96, number, False) for number in range(3))
    await bench.load([StreamSetup(1, False, 4, 2, 0x1_0000, ring)])
    await bench.write(1, INTERVAL_BYTES, 96)
    dut.tick_enable.value = 1
    await bench.write(1, CONTROL, RUN)
    await bench.clocks(60 * 256)
    events = (await bench.log()).events
    assert {(event.stream, event.cause) for event in events} == {(1, INTERVAL)}
    assert [event.data[2] for event in events] == [96 * (number + 1) for number in range(len(events))]
    assert len(events) == await bench.read(1, LIVE_BYTES_LO) // 96 >= 4


@cocotb.test()
async def settings_in_run(dut: Any) -> None:
    """Refused at the next request with an event that says why, and taken over at the next RUN from STOP."""
    bench = EngineBench(dut)
    await bench.start()
    setup = setups_of_all(bench)[3]
    await bench.load([setup])
    await bench.set_state(3, RUN)
    for register, value in ((CONFIG, 0x7D), (RING_BASE, 0x1_F000), (RING_SIZE, 0)):
        await bench.write(3, register, value)
        await bench.write(3, CONTROL, RUN)  # the engine looks at what was asked
        await bench.clocks(150)
        assert await bench.read(3, STATUS) == RUN
    assert [(event.stream, event.cause, event.data[1:]) for event in (await bench.log()).events] == [
        (3, REFUSED, (7, 0, 0))
    ] * 3
    await bench.set_state(3, STOP)
    await bench.write(3, CONTROL, RUN)
    await bench.clocks(150)
    assert await bench.read(3, STATUS) == FAULTED | RUN


@cocotb.test()
async def bad_settings_of_all_streams(dut: Any) -> None:
    """Each stream is refused for itself, with its own number in the event."""
    bench = EngineBench(dut)
    await bench.start()
    await bench.load(setups_of_all(bench))
    for stream in range(STREAMS):
        await bench.write(stream, RING_SIZE, (0, 257, 0x1FF, 0x180)[stream % 4])
        await bench.write(stream, CONTROL, RUN)
        await bench.clocks(150)
        assert await bench.read(stream, STATUS) == FAULTED | RUN
    log = await bench.log()
    assert [(event.stream, event.cause, event.data[1]) for event in log.events] == [
        (stream, FAULT, BAD_CONFIG) for stream in range(STREAMS)
    ]


@cocotb.test()
async def frame_ticks_in_snapshots(dut: Any) -> None:
    """All 32 bits of the converter's count."""
    bench = EngineBench(dut)
    await bench.start()
    for value in (0xFFFF_FFFF, 0, 0xA5A5_A5A5, 0x5A5A_5A5A, bench.random.getrandbits(32)):
        dut.ticks.value = value
        for stream in (0, STREAMS - 1):
            words = await bench.snapshot(stream)
            assert words["frame_ticks"] == value and words["state"] == STOP


@cocotb.test()
async def long_visits(dut: Any) -> None:
    """The first visit fills an empty FIFO with more than 32 bytes, up to any end of a descriptor, from any address."""
    bench = EngineBench(dut)
    for first_length in (30, 32, 34, 36):
        await bench.start()
        setups = []
        for stream in range(STREAMS):
            at, length = 0x1000 * stream + stream % 4, first_length + stream // 4
            ring = (Descriptor(at, length, stream), Descriptor(at + 0x800, 90, stream + 8))
            setups.append(StreamSetup(stream, False, 2, 2, 0x1_0000 + 0x400 * stream, ring))
        await bench.load(setups)
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(6 * 256)
        dut.tick_enable.value = 1
        await bench.clocks(16 * 256)
        await bench.finish(setups, frames_at_least=15)


@cocotb.test()
async def time_of_a_pass(dut: Any) -> None:
    """An engine with nothing else to do serves a tick at once: the first stream always alike, each further one 7 or 8
    clocks later."""
    bench = EngineBench(dut)
    for count in (1, STREAMS):
        await bench.start()
        setups = [StreamSetup(stream, False, 2, 2, 0x1_8000 + 0x100 * stream,
                              tuple(Descriptor(0x1000 * stream + 0x400 * n, 0x400, n, False) for n in range(2)))
                  for stream in range(count)]  # fmt: skip
        await bench.load(setups)
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(6 * 256)
        dut.tick_enable.value = 1
        await bench.clocks(40 * 256)
        log = await bench.log()
        for stream in range(count):
            clocks = {frame.cycle - log.tick_cycles[frame.tick] for frame in log.of(stream)[1:]}
            assert 6 + 7 * stream in clocks and max(clocks) <= 6 + 8 * stream, f"stream {stream} of {count}: {clocks}"
        turns = [at >> 12 for time, at, _ in log.accesses if at < 0x8000 and time > log.tick_cycles[1]]
        assert {(after - before) % count for before, after in pairwise(turns)} == {1 % count}, "not in turn"
        for number in range(STREAMS):
            # Frames with even and odd numbers.
            await bench.clocks(256 * (1 + number // 2 % 2) + 200 - int(dut.frame_counter.value))
            level = (await bench.snapshot(number % count))["fifo_bytes"]
            assert level == 64, "a FIFO is filled as soon as a word fits in"
        await bench.finish(setups, frames_at_least=39)


@cocotb.test()
async def ticks_end_a_visit(dut: Any) -> None:
    """A fill visit that ticks have overtaken ends behind the access under way, however many there were."""
    bench = EngineBench(dut)
    await bench.start()
    ring = tuple(Descriptor(0x1000 + 0x400 * number, 0x400, number, False) for number in range(2))
    setup = StreamSetup(1, False, 4, 2, 0x1_8000, ring)
    await bench.load([setup])
    await bench.write(1, CONTROL, RUN)
    await bench.clocks(6 * 256)
    dut.tick_enable.value = 1
    released = []
    for ticks in (1, 2, 3, 4, 8):
        await bench.clocks(12 * 256)
        dut.hold.value = 1
        # The visit behind the next tick hangs in its first access.
        await bench.clocks(256 - int(dut.frame_counter.value) + 128 + 256 * ticks)
        dut.hold.value = 0
        released.append(int(dut.now.value))
    await bench.clocks(30 * 256)
    log = await bench.finish([setup], consecutive=False)
    for time in released:
        first, second = [cycle for cycle, _, _ in log.accesses if cycle >= time][:2]
        assert first == time and second - first >= 20, f"memory is back at {time}: accesses at {first}, {second}"


@cocotb.test()
async def high_water_stays(dut: Any) -> None:
    """What the FIFO held at most, though it holds less later."""
    bench = EngineBench(dut)
    await bench.start()
    ring = (Descriptor(0x1000, 48), Descriptor(0x1101, 20))
    setup = StreamSetup(6, False, 4, 2, 0x1_0000, ring, queue=True)
    await bench.load([setup])
    await bench.write(6, CONTROL, RUN)
    for producer, moved in ((1, 48), (2, 68)):
        await bench.write(6, RING_PRODUCER, producer)
        dut.tick_enable.value = 0
        await bench.clocks(300)
        assert await bench.read(6, LIVE_BYTES_LO) == moved
        assert await bench.read(6, FIFO_HIGH_WATER) == 48
        dut.tick_enable.value = 1
        await bench.clocks(10 * 256)
    await bench.finish([setup], frames_at_least=8, consecutive=False)


@cocotb.test()
async def words_that_cannot_be_written(dut: Any) -> None:
    """Of all words but settings, requests and counts: they keep what they are, and the engine its own ones."""
    bench = EngineBench(dut)
    await bench.start()
    counts = (LIVE_FRAMES_LO, LIVE_FRAMES_HI, LIVE_BYTES_LO, LIVE_BYTES_HI, LIVE_DESCRIPTORS)
    others = (*MASKS, *counts, CONTROL, SNAPSHOT, REVOKE_RANGE, 0x10, 0x14)
    words = [at for at in range(0, 0x100, 4) if at not in others]
    for stream in (0, 5):
        for at in words:
            await bench.write(stream, at, 0xFFFF_FFFF)
        for at in words:
            assert await bench.read(stream, at) == 0, f"word {at:#x}"
    setups = setups_of_all(bench)
    await bench.load(setups)
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(6 * 256)
    dut.tick_enable.value = 1
    await bench.clocks(10 * 256)
    await bench.finish(setups, frames_at_least=9)
