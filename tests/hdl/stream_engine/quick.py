"""stream_engine at its ports, in few seconds: the suite for mutants, on load_bench with 16 streams of up to 8 channels.

The longer tests of this folder do the same things more often.
"""

import random
from typing import Any

import abuse
import cocotb
import random_parts
from harness import (
    CONFIG,
    FIFO_HIGH_WATER,
    INTERVAL_BYTES,
    LIVE_BYTES_HI,
    LIVE_BYTES_LO,
    LIVE_DESCRIPTORS,
    LIVE_FRAMES_HI,
    LIVE_FRAMES_LO,
    LIVE_INDEX,
    PACKET_TIME_HI,
    PACKET_TIME_LO,
    PAUSE,
    REVOKE,
    RING_BASE,
    RING_PRODUCER,
    RING_SIZE,
    START_TIME_HI,
    START_TIME_LO,
    STOP,
)
from load_harness import FRAME_CLOCKS, LoadBench, Part, make_ring
from scoreboard import StreamSetup


@cocotb.test()
async def a_few_lives(dut: Any) -> None:
    """One part of every format, direction, ring kind and alignment."""
    await random_parts.live(dut, 80, 1)


@cocotb.test()
async def settings(dut: Any) -> None:
    """Each stream keeps its own; what is not there reads 0 and cannot be written."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start()
    masks = {CONFIG: 0x17D, RING_BASE: 0x1FFF0, RING_SIZE: 0x1FF, RING_PRODUCER: 0xFFFF, INTERVAL_BYTES: 0xFFFF_FFFF}
    values = {(stream, at): bench.source.getrandbits(32) & mask for stream in range(16) for at, mask in masks.items()}
    for (stream, at), value in values.items():
        await bench.write(stream, at, value)
    for (stream, at), value in values.items():
        assert await bench.read(stream, at) == value
    for stream in (0, 15):
        for at in (0x18, 0x20, 0x24, 0x2C, 0x34, 0x38, 0x3C, *range(0x44, 0x100, 4)):
            if 0x80 > at >= 0x44 or LIVE_FRAMES_LO > at or at > LIVE_INDEX:
                await bench.write(stream, at, 0xFFFF_FFFF)
                assert await bench.read(stream, at) == 0, f"{at:#x}"
    for (stream, at), value in values.items():
        assert await bench.read(stream, at) == value
        await bench.write(stream, at, value ^ masks[at])
        assert await bench.read(stream, at) == value ^ masks[at]
    assert int(dut.longest_wait_clocks.value) <= 8


@cocotb.test()
async def marks(dut: Any) -> None:
    """START_TIME, PACKET_TIME, FIFO_HIGH_WATER, the LIVE registers; counts carry, from what TEST_EN lets us write."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start(latency=2)
    parts = []
    for stream, capture in ((3, False), (12, True)):
        ring = make_ring(bench.source, stream, (403, 501, 300), stream % 4)
        setup = StreamSetup(stream, capture, 4, 2, abuse.ring_base(stream), ring, queue=capture)
        parts.append(Part(setup, "32 bit", interval_bytes=100, producer=1 if capture else 0))
    for part in parts:
        await bench.prepare(part)
    dut.tick_enable.value = 1
    for part in parts:
        await bench.run(part)
    times = []
    for _ in range(2):
        await bench.frames(30)
        for part in parts:
            await bench.pause(part)
            words = [
                await bench.read(part.stream, at)
                for at in (START_TIME_LO, START_TIME_HI, PACKET_TIME_LO, PACKET_TIME_HI)
            ]
            times.append((part, bench.now(), words))
            await bench.run(part)
    await bench.frames(2)
    high = [await bench.read(part.stream, FIFO_HIGH_WATER) for part in parts]
    assert 61 <= high[0] <= 64 and 8 <= high[1] <= 64
    for part in parts:
        await bench.pause(part)
        await bench.count(part)
        live = [
            await bench.read(part.stream, at)
            for at in (LIVE_FRAMES_LO, LIVE_FRAMES_HI, LIVE_BYTES_LO, LIVE_BYTES_HI, LIVE_DESCRIPTORS, LIVE_INDEX)
        ]
        part.edges.add(str(live))
        await bench.stop(part)
    trace, _ = await bench.finish()
    for part in parts:
        assert part.counts is not None
        names = ("frames_lo", "frames_hi", "bytes_lo", "bytes_hi", "descriptors", "index")
        assert str([part.counts[name] for name in names]) in part.edges
    for part, read_at, (start_lo, start_hi, packet_lo, packet_hi) in times:
        letter = "A" if part.setup.capture else "D"
        frames = trace.of(letter, part.stream, part.began, read_at)
        frames = frames[frames["detail"] == 0]
        begun = [run.asked for run in part.runs if run.asked < read_at][-1]
        first = int(frames["time"][frames["time"] > begun][0])
        assert 0 <= (start_hi << 32 | start_lo) - first <= 12, f"{part}: START_TIME"
        starts = [0]
        while starts[-1] < 8 * len(frames):
            starts.append(starts[-1] + part.setup.ring[(len(starts) - 1) % 3].length_bytes)
        starts = [at for at in starts if at < 8 * len(frames) and (not part.setup.queue or at < 403)]
        at = int(frames["time"][starts[-1] // 8])
        assert 0 <= (packet_hi << 32 | packet_lo) - at <= FRAME_CLOCKS, f"{part}: PACKET_TIME"

    # Carries, and the preload.
    stream = 3
    again = abuse.again(parts[0])
    await bench.prepare(again)
    assert await bench.reach(stream, PAUSE) == PAUSE
    for at, value in ((LIVE_FRAMES_LO, 0xFFFF_FFFE), (LIVE_BYTES_LO, 0xFFFF_FFF0), (LIVE_DESCRIPTORS, 0xFFFF_FFFF)):
        await bench.write(stream, at, value)
    await bench.run(again)
    await bench.frames(60)
    assert await bench.reach(stream, PAUSE) == PAUSE
    assert await bench.read(stream, LIVE_FRAMES_HI) == 1 and await bench.read(stream, LIVE_BYTES_HI) == 1
    assert 56 <= await bench.read(stream, LIVE_FRAMES_LO) <= 60
    assert await bench.read(stream, LIVE_DESCRIPTORS) == 0
    await bench.write(stream, REVOKE, 0)
    assert await bench.reach(stream, STOP) == STOP
    assert await bench.read(stream, LIVE_FRAMES_HI) == 0


@cocotb.test()
async def errors_of_memory(dut: Any) -> None:
    """Data and descriptors."""
    await abuse.errors_of_memory(dut, 3)


@cocotb.test()
async def stop_anywhere(dut: Any) -> None:
    """Every seventh clock."""
    await abuse.stop_at_clocks(dut, range(0, FRAME_CLOCKS, 7))


@cocotb.test()
async def reset_anywhere(dut: Any) -> None:
    """Some clocks."""
    await abuse.reset_at_clocks(dut, range(0, FRAME_CLOCKS, 29))


@cocotb.test()
async def ticks_in_arrears(dut: Any) -> None:
    """Behind dead memory."""
    await abuse.dead_memory(dut, 6)


@cocotb.test()
async def bad_input(dut: Any) -> None:
    """Broken rules."""
    await abuse.broken_rules(dut)
