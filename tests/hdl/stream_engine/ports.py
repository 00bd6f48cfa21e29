"""stream_engine: all of its streams alike, exact limits; run by test_ports.py and by hdl/mutate."""

from itertools import product
from typing import Any

import cocotb
from features import revoke_at
from harness import (
    BAD_CONFIG,
    CONFIG,
    CONTROL,
    FAULT,
    FAULTED,
    INTERVAL,
    INTERVAL_BYTES,
    LIVE_BYTES_LO,
    LIVE_INDEX,
    REFUSED,
    REVOKE_LEFT,
    REVOKE_STATUS,
    RING_BASE,
    RING_PRODUCER,
    RING_SIZE,
    RUN,
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
