"""stream_engine: byte-exact transport, states, counters, faults, snapshots, against the scoreboard beside this file."""

import sys
from pathlib import Path
from typing import Any

import cocotb

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from bench import reset, run_cocotb  # noqa: E402
from harness import (  # noqa: E402
    BAD_CONFIG,
    CONFIG,
    CONTROL,
    DESCRIPTOR_EVENT,
    FAULT,
    FAULTED,
    INTERVAL_BYTES,
    LENGTH_ZERO,
    OUTSIDE_MEMORY,
    OVERRUN,
    OVERRUNS,
    PAUSE,
    REFUSED,
    REVOKE,
    RING_BASE,
    RING_PRODUCER,
    RING_SIZE,
    RUN,
    SNAPSHOT,
    STATUS,
    STOP,
    UNDERRUN,
    UNDERRUNS,
    EngineBench,
    both_directions,
    make_ring,
)
from scoreboard import (  # noqa: E402
    MEMORY_BYTES,
    Descriptor,
    StreamSetup,
    captured_bytes,
    check_consecutive,
    check_render,
)

# Memory latency in clocks, random stalls.
MEMORIES = [(1, False), (2, False), (3, False), (4, False), (1, True), (4, True)]


@cocotb.test()
@cocotb.parametrize(sample_bytes=[2, 3, 4], channels=[1, 2])
async def every_format(dut: Any, sample_bytes: int, channels: int) -> None:
    """Render and capture at once; odd addresses and lengths; frames straddle descriptors; every kind of memory."""
    bench = EngineBench(dut)
    for latency, stall in MEMORIES:
        await bench.start(latency=latency, stall=stall)
        block = sample_bytes * channels
        lengths = [1, 7 * block + 1, 2, 3, 64 + block, 5, 4 * block - 1]
        setups = both_directions(bench.random, sample_bytes, channels, lengths)
        await bench.load(setups)
        dut.tick_enable.value = 1
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(60 * 256)
        log = await bench.finish(setups, frames_at_least=58)
        assert {event.cause for event in log.events} == {DESCRIPTOR_EVENT}
        assert log.service_clocks() <= 128


@cocotb.test()
async def lengths_and_offsets(dut: Any) -> None:
    """Every start offset in a word with every length up to 9 bytes, one descriptor each.

    The FIFO is full when the converter starts: a frame in five descriptors takes longer to fetch than to play.
    """
    bench = EngineBench(dut)
    for sample_bytes, channels in ((2, 1), (3, 2)):
        await bench.start()
        setups = []
        for stream, capture in ((0, False), (1, True)):
            base = 0x2000 * (stream + 1)
            ring = [Descriptor(base + 16 * number + number % 4, 1 + number // 4, number) for number in range(36)]
            setups.append(StreamSetup(stream, capture, sample_bytes, channels, 0x1_0000 + 0x400 * stream, tuple(ring)))
        await bench.load(setups)
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(4 * 256)
        dut.tick_enable.value = 1
        await bench.clocks(121 * 256)
        await bench.finish(setups, frames_at_least=118)


@cocotb.test()
async def edges_of_memory(dut: Any) -> None:
    """A descriptor may end with the last byte of memory and start with the first."""
    bench = EngineBench(dut)
    for latency in (1, 3):
        await bench.start(latency=latency)
        render = StreamSetup(0, False, 4, 2, 0x1_0000, (Descriptor(MEMORY_BYTES - 33, 33), Descriptor(0, 31)))
        capture = StreamSetup(1, True, 4, 2, 0x1_0400, (Descriptor(MEMORY_BYTES - 70, 37), Descriptor(40, 19)))
        await bench.load([render, capture])
        dut.tick_enable.value = 1
        for stream in (0, 1):
            await bench.write(stream, CONTROL, RUN)
        await bench.clocks(40 * 256)
        await bench.finish([render, capture], frames_at_least=38)


@cocotb.test()
async def four_streams(dut: Any) -> None:
    """Four stereo streams at 48 kHz with slow memory: all served, nothing missed."""
    bench = EngineBench(dut)
    for latency, stall in ((1, False), (4, False), (2, True)):
        await bench.start(latency=latency, stall=stall)
        dut.event_delay.value = 20
        setups = [
            StreamSetup(stream, stream % 2 == 1, (4, 4, 3, 2)[stream], 2, 0x1_0000 + 0x400 * stream,
                        make_ring(bench.random, 0x1801 * (stream + 1), (99, 250, 7, 480)))
            for stream in range(4)
        ]
        await bench.load(setups)
        dut.tick_enable.value = 1
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(200 * 256)
        log = await bench.finish(setups, frames_at_least=198)
        dut._log.info("four streams, latency %d stall %s: service %d clocks", latency, stall, log.service_clocks())
        assert log.service_clocks() <= 200


@cocotb.test()
async def pause_and_resume(dut: Any) -> None:
    """Pausing at any moment loses no frame and repeats none."""
    bench = EngineBench(dut)
    await bench.start(latency=2, stall=True)
    setups = both_directions(bench.random, 3, 2, (50, 7, 129))
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    for _ in range(60):
        await bench.clocks(bench.random.randrange(1, 700))
        setup = bench.random.choice(setups)
        await bench.set_state(setup.stream, PAUSE)
        before = await bench.snapshot(setup.stream)
        await bench.clocks(bench.random.randrange(1, 600))
        after = await bench.snapshot(setup.stream)
        for name in ("state", "frames", "bytes", "descriptors", "fifo_bytes", "index"):
            assert before[name] == after[name], f"{name} moved in PAUSE"
        await bench.write(setup.stream, CONTROL, RUN)
    log = await bench.finish(setups, frames_at_least=50, consecutive=False)
    assert {event.cause for event in log.events} == {DESCRIPTOR_EVENT}


@cocotb.test()
async def stop_at_any_time(dut: Any) -> None:
    """STOP at each clock of a frame: reached soon, everything 0, nothing moves any more; RUN starts at descriptor 0."""
    bench = EngineBench(dut)
    await bench.start(latency=3)
    setups = both_directions(bench.random, 4, 2, (30, 41))
    await bench.load(setups)
    dut.tick_enable.value = 1
    for offset in range(0, 256, 5):
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.clocks(512 + offset)
        for setup in setups:
            await bench.write(setup.stream, CONTROL, STOP)
        await bench.clocks(150)
        for setup in setups:
            assert await bench.read(setup.stream, STATUS) == STOP
            words = await bench.snapshot(setup.stream)
            for name in ("state", "frames", "bytes", "descriptors", "fifo_bytes", "index"):
                assert words[name] == 0, f"{name} is {words[name]} after STOP"
        stopped = int(dut.now.value)
        await bench.clocks(300)
        log = await bench.log()
        assert not [write for write in log.writes if write[0] > stopped]
        assert not [frame for frames in log.frames.values() for frame in frames if frame.cycle > stopped]
    # Behind the last STOP: the ring from its start.
    await bench.write(0, CONTROL, RUN)
    stopped = int(dut.now.value)
    await bench.clocks(20 * 256)
    await bench.set_state(0, PAUSE)
    frames = [frame for frame in (await bench.log()).of(0) if frame.cycle > stopped]
    assert len(frames) >= 18
    check_render(setups[0], frames, bench.memory)


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    """Reset at any moment: registers read 0 afterwards and a new start works."""
    bench = EngineBench(dut)
    await bench.start(latency=4)
    setups = both_directions(bench.random, 3, 1, (20, 33))
    for offset in range(0, 256, 17):
        await bench.load(setups)
        dut.tick_enable.value = 1
        for setup in setups:
            await bench.write(setup.stream, CONTROL, RUN)
        await bench.write(0, SNAPSHOT, 1)
        await bench.clocks(600 + offset)
        dut.tick_enable.value = 0
        await reset(dut.clk, dut.rst, 1)
        await bench.first_access()
        for setup in setups:
            for register in range(0, 0x70, 4):
                assert await bench.read(setup.stream, register) == 0, f"register {register:#x} survived reset"
        assert int(dut.mem_stb.value) == 0
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(30 * 256)
    await bench.finish(setups, frames_at_least=28)


@cocotb.test()
async def snapshots(dut: Any) -> None:
    """Snapshots at each clock of a frame: bytes = frames + FIFO, one tick for all fields, positions never go back."""
    bench = EngineBench(dut)
    await bench.start(latency=2)
    setups = both_directions(bench.random, 3, 2, (50, 7, 129))
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    taken: list[tuple[int, dict[str, int]]] = []
    last = {0: (0, 0), 1: (0, 0)}
    for offset in range(0, 256, 3):
        for setup in setups:
            await bench.clocks(256 - int(dut.frame_counter.value) + offset)
            words = await bench.snapshot(setup.stream)
            bench.check_invariant(setup, words)
            assert words["state"] == RUN
            position = (words["frames"], words["bytes"])
            assert position >= last[setup.stream]
            last[setup.stream] = position
            taken.append((setup.stream, words))
    log = await bench.log()
    ends = {setup.stream: setup for setup in setups}
    for stream, words in taken:
        # FRAME_TICKS belongs to TIME, and FRAMES is what had been converted by then.
        ticks = sum(1 for cycle in log.tick_cycles.values() if cycle <= words["time"])
        assert words["frame_ticks"] == ticks
        converted = sum(1 for frame in log.of(stream) if frame.cycle < words["time"])
        assert words["frames"] == converted
        total, done, ring = 0, 0, ends[stream].ring
        while total + ring[done % len(ring)].length_bytes <= words["bytes"]:
            total += ring[done % len(ring)].length_bytes
            done += 1
        assert (words["descriptors"], words["index"]) == (done, done % len(ring))


@cocotb.test()
async def snapshot_time_across_a_carry(dut: Any) -> None:
    """The two words of the time belong together when the low one wraps."""
    bench = EngineBench(dut)
    await bench.start()
    for before in range(1, 40):
        start = (5 << 32) - before
        dut.now.value = start
        words = await bench.snapshot(0)
        assert start < words["time"] < start + 60, f"time {words['time']:#x} shortly behind {start:#x}"


@cocotb.test()
async def carries_into_high_words(dut: Any) -> None:
    """BYTES and FRAMES count past 32 bits, SNAPSHOT.count past 8, DESCRIPTORS and the miss counts wrap."""
    bench = EngineBench(dut)
    await bench.start()
    setups = both_directions(bench.random, 4, 2, (64, 64))
    await bench.load(setups)
    for setup in setups:
        await bench.set_state(setup.stream, PAUSE)
        await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(300)
    frames_start, bytes_start = 0xFFFF_FFFC, 0xFFFF_FFE0
    fetched_before = {}
    # Words of the context, see stream_engine.sv: FRAMES_LO 36, BYTES_LO 38, DESCRIPTORS 40, SNAP_COUNT 4.
    for setup in setups:
        contexts = dut.engine.contexts.words
        assert int(contexts[64 * setup.stream + 36].value) == 0
        fetched = int(contexts[64 * setup.stream + 38].value)
        assert fetched in ((0,) if setup.capture else range(61, 65))
        fetched_before[setup.stream] = fetched
        contexts[64 * setup.stream + 36].value = frames_start
        contexts[64 * setup.stream + 38].value = bytes_start
        contexts[64 * setup.stream + 40].value = 0xFFFF_FFFF
        contexts[64 * setup.stream + 4].value = 0xFF
    dut.tick_enable.value = 1
    await bench.clocks(20 * 256)
    for setup in setups:
        await bench.set_state(setup.stream, PAUSE)
        count = len((await bench.log()).of(setup.stream))
        await bench.write(setup.stream, SNAPSHOT, 0)
        await bench.clocks(100)
        words = {offset: await bench.read(setup.stream, offset) for offset in range(SNAPSHOT, 0x70, 4)}
        assert words[SNAPSHOT] == 0
        assert words[0x54] << 32 | words[0x50] == frames_start + count
        moved = 8 * count + (-words[0x64] if setup.capture else words[0x64] - fetched_before[setup.stream])
        assert words[0x5C] << 32 | words[0x58] == bytes_start + moved
        finished = (moved + fetched_before[setup.stream]) // 64 - fetched_before[setup.stream] // 64
        assert words[0x60] == finished - 1, "counted on from 2^32 - 1"


@cocotb.test()
async def memory_too_slow(dut: Any) -> None:
    """Underruns and overruns: each frame missed is counted, the first of a gap is an event, no frame is wrong."""
    bench = EngineBench(dut)
    await bench.start(latency=4)
    setups = both_directions(bench.random, 4, 2, (200, 57))
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    for hold_clocks in (3000, 256 * 12, 100, 4000):
        await bench.clocks(20 * 256)
        dut.hold.value = 1
        await bench.clocks(hold_clocks)
        dut.hold.value = 0
    await bench.clocks(20 * 256)
    log = await bench.finish(setups, frames_at_least=60, consecutive=False)
    for setup, cause, register in ((setups[0], UNDERRUN, UNDERRUNS), (setups[1], OVERRUN, OVERRUNS)):
        ticks = [frame.tick for frame in log.of(setup.stream)]
        other = UNDERRUNS + OVERRUNS - register
        assert await bench.read(setup.stream, other) == 0
        gaps = [event for event in log.events if event.stream == setup.stream and event.cause == cause]
        missed = await bench.read(setup.stream, register)
        assert len(set(ticks)) == len(ticks), "two frames at one tick: the converter can take only one"
        assert missed == max(ticks) - min(ticks) + 1 - len(ticks) > 0
        assert len(gaps) == 3
        assert gaps[0].data == (1, 0, 0, 0)
        assert [gap.data[0] for gap in gaps] == sorted({gap.data[0] for gap in gaps})
        assert gaps[-1].data[0] <= missed
        # Kept by STOP, cleared by the next RUN, not by PAUSE.
        await bench.set_state(setup.stream, STOP)
        assert await bench.read(setup.stream, register) == missed
        await bench.set_state(setup.stream, PAUSE)
        assert await bench.read(setup.stream, register) == missed
        await bench.set_state(setup.stream, RUN)
        assert await bench.read(setup.stream, register) == 0


@cocotb.test()
async def ticks_too_fast(dut: Any) -> None:
    """A converter that is faster than memory: frames and misses together make the ticks."""
    bench = EngineBench(dut)
    await bench.start(latency=4, period=40)
    setups = [
        StreamSetup(stream, stream > 1, 4, 2, 0x1_0000 + 0x400 * stream,
                    make_ring(bench.random, 0x1801 * (stream + 1), (800, 801)))
        for stream in range(4)
    ]
    await bench.load(setups)
    for setup in setups:
        await bench.set_state(setup.stream, RUN)
    await bench.clocks(1000)
    dut.tick_enable.value = 1
    await bench.clocks(6000)
    dut.tick_enable.value = 0
    await bench.clocks(2000)
    ticks = int(dut.ticks.value)
    log = await bench.finish(setups, consecutive=False)
    for setup in setups:
        missed = await bench.read(setup.stream, OVERRUNS if setup.capture else UNDERRUNS)
        assert missed > 0
        assert missed + len(log.of(setup.stream)) == ticks


@cocotb.test()
async def no_underrun_before_the_first_frame(dut: Any) -> None:
    """Ticks that come while the first frame is still being fetched are not counted; later ones are."""
    bench = EngineBench(dut)
    await bench.start()
    setup = both_directions(bench.random, 2, 2, (64, 64))[0]
    await bench.load([setup])
    dut.hold.value = 1
    dut.tick_enable.value = 1
    await bench.write(0, CONTROL, RUN)
    await bench.clocks(2000)
    dut.hold.value = 0
    await bench.clocks(10 * 256)
    log = await bench.finish([setup])
    assert await bench.read(0, UNDERRUNS) == 0
    assert {event.cause for event in log.events} <= {DESCRIPTOR_EVENT}


@cocotb.test()
async def faults(dut: Any) -> None:
    """Each refused descriptor or setting halts its stream with the reason; the neighbour plays on; STOP heals."""
    bench = EngineBench(dut)
    good = (Descriptor(0x3001, 40), Descriptor(0x3101, 24))
    bad_rings = [
        (Descriptor(0x1000, 0), LENGTH_ZERO),
        (Descriptor(0xFFFF_FFFF, 0), LENGTH_ZERO),
        (Descriptor(MEMORY_BYTES - 4, 5), OUTSIDE_MEMORY),
        (Descriptor(MEMORY_BYTES, 1), OUTSIDE_MEMORY),
        (Descriptor(0x8000_0000, 4), OUTSIDE_MEMORY),
        (Descriptor(0, MEMORY_BYTES + 1), OUTSIDE_MEMORY),
        (Descriptor(0x1000, 0xFFFF_F000), OUTSIDE_MEMORY),
        (Descriptor(0x1000, 0x8000_0000), OUTSIDE_MEMORY),
    ]
    for capture in (False, True):
        for bad, reason in bad_rings:
            await bench.start(latency=2)
            setup = StreamSetup(2, capture, 2, 2, 0x1_0000, (*make_ring(bench.random, 0x1003, (30, 9)), bad))
            neighbour = StreamSetup(0, False, 3, 2, 0x1_0400, good)
            await bench.load([setup, neighbour])
            dut.tick_enable.value = 1
            for stream in (0, 2):
                await bench.write(stream, CONTROL, RUN)
            await bench.clocks(25 * 256)
            assert await bench.read(2, STATUS) == FAULTED | RUN
            words = await bench.snapshot(2)
            bench.check_invariant(setup, words)
            assert (words["state"], words["index"], words["bytes"]) == (FAULTED | RUN, 2, 39)
            log = await bench.log()
            events = [event for event in log.events if event.stream == 2 and event.cause == FAULT]
            assert [event.data for event in events] == [(2, reason, 0, 0)]
            count = len(log.of(2))
            await bench.write(2, CONTROL, PAUSE)
            await bench.clocks(600)
            assert await bench.read(2, STATUS) == FAULTED | RUN, "only STOP leaves a fault"
            assert len((await bench.log()).of(2)) == count, "a halted stream went on"
            await bench.set_state(2, STOP)
            await bench.write(2, RING_SIZE, 2)
            restarted = int(dut.now.value)
            await bench.write(2, CONTROL, RUN)
            await bench.clocks(8 * 256)
            assert await bench.read(2, STATUS) == RUN
            frames = [frame for frame in (await bench.log()).of(2) if frame.cycle > restarted]
            assert len(frames) >= 6
            if not capture:
                check_render(setup, frames[:6], bench.memory)
            log = await bench.log()
            check_consecutive(log.of(0))
            check_render(neighbour, log.of(0), bench.memory)


@cocotb.test()
async def every_address_and_length_bit(dut: Any) -> None:
    """Each single bit that lies beyond memory is seen, in the address and in the length."""
    bench = EngineBench(dut)
    await bench.start()
    beyond = [Descriptor(1 << bit, 4) for bit in range(17, 32)] + [Descriptor(0, 1 << bit) for bit in range(18, 32)]
    for bad in beyond:
        await bench.load([StreamSetup(0, False, 2, 2, 0x1_0000, (bad,))])
        await bench.write(0, CONTROL, RUN)
        await bench.clocks(90)
        assert await bench.read(0, STATUS) == FAULTED | RUN, f"{bad} was accepted"
        await bench.set_state(0, STOP)
    events = [(event.cause, event.data) for event in (await bench.log()).events]
    assert events == [(FAULT, (0, OUTSIDE_MEMORY, 0, 0))] * len(beyond)


@cocotb.test()
async def whole_memory_as_one_descriptor(dut: Any) -> None:
    """A descriptor of all 128 KiB is accepted."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(3, False, 4, 2, 0x1_0000, (Descriptor(0, MEMORY_BYTES),))
    await bench.load([setup])
    dut.tick_enable.value = 1
    await bench.write(3, CONTROL, RUN)
    await bench.clocks(10 * 256)
    await bench.finish([setup], frames_at_least=8)


@cocotb.test()
async def bad_settings(dut: Any) -> None:
    """RUN with settings that the engine cannot do is a fault, and moves nothing."""
    bench = EngineBench(dut)
    stereo_16 = 1 << 2 | 1 << 4
    # CONFIG, RING_BASE, RING_SIZE, reason
    cases = [
        (1 << 2 | 2 << 4, 0x1_0000, 1, BAD_CONFIG),
        (3 << 2 | 7 << 4 | 1, 0x1_0000, 1, BAD_CONFIG),
        (stereo_16, 0x1_0000, 0, BAD_CONFIG),
        (stereo_16, 0x1_0000, 257, BAD_CONFIG),
        (stereo_16, 0x1_0000, 511, BAD_CONFIG),
    ]
    for config, base, size, reason in cases:
        await bench.start()
        await bench.write(1, CONFIG, config)
        await bench.write(1, RING_BASE, base)
        await bench.write(1, RING_SIZE, size)
        dut.tick_enable.value = 1
        await bench.set_state(1, PAUSE)
        assert await bench.read(1, STATUS) == PAUSE, "settings are judged at RUN"
        await bench.write(1, CONTROL, RUN)
        await bench.clocks(600)
        assert await bench.read(1, STATUS) == FAULTED | RUN
        log = await bench.log()
        assert [(event.cause, event.data) for event in log.events] == [(FAULT, (0, reason, 0, 0))]
        assert not log.frames and not log.writes


@cocotb.test()
async def ring_beyond_memory(dut: Any) -> None:
    """A ring that runs out of memory is refused at the first descriptor that lies outside."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(0, False, 2, 2, MEMORY_BYTES - 16, (Descriptor(0x1000, 40),))
    await bench.load([setup])
    await bench.write(0, RING_SIZE, 2)
    dut.tick_enable.value = 1
    await bench.write(0, CONTROL, RUN)
    await bench.clocks(10 * 256)
    events = [(event.cause, event.data[:2]) for event in (await bench.log()).events]
    assert events == [(DESCRIPTOR_EVENT, (0, 0)), (FAULT, (1, OUTSIDE_MEMORY))]


@cocotb.test()
async def largest_ring(dut: Any) -> None:
    """256 descriptors, then round again."""
    bench = EngineBench(dut)
    await bench.start()
    setup = StreamSetup(0, True, 2, 2, 0x1_0000, make_ring(bench.random, 0x1001, [4] * 256))
    await bench.load([setup])
    dut.tick_enable.value = 1
    await bench.write(0, CONTROL, RUN)
    await bench.clocks(300 * 256)
    await bench.finish([setup], frames_at_least=290)


@cocotb.test()
async def host_registers(dut: Any) -> None:
    """Settings read back with reserved bits 0; unused offsets and streams that are not there read 0; ack is quick."""
    bench = EngineBench(dut)
    await bench.start()
    masks = {CONFIG: 0x17D, RING_BASE: 0x1FFF0, RING_SIZE: 0x1FF, RING_PRODUCER: 0xFFFF, INTERVAL_BYTES: 0xFFFF_FFFF}
    for stream in range(4):
        for register, mask in masks.items():
            for value in (0xFFFF_FFFF, 0, 0x5A5A_5A5A, 0xA5A5_A5A5):
                await bench.write(stream, register, value)
                assert await bench.read(stream, register) == value & mask
            await bench.write(stream, register, stream + 1 << 4)
    for stream in range(4):
        for register, mask in masks.items():
            assert await bench.read(stream, register) == stream + 1 << 4 & mask, "another stream's write went here"
    bench.bus.longest_ack_clocks = 0
    for stream in range(16):
        for offset in range(0, 0x100, 4):
            if stream < 4 and offset in (*masks, 0x10, 0x14):
                continue
            assert await bench.read(stream, offset) == 0
            if stream >= 4 or offset not in (CONTROL, SNAPSHOT, REVOKE):
                await bench.write(stream, offset, 0xFFFF_FFFF)
                assert await bench.read(stream, offset) == 0
    assert bench.bus.longest_ack_clocks == 1
    log = await bench.log()
    assert not log.events and not log.frames


@cocotb.test()
@cocotb.parametrize(latency=[1, 2, 3, 4])
async def host_does_not_wait(dut: Any, latency: int) -> None:
    """All streams run, events are taken late, memory hangs for a while: no access of a busy host waits for long."""
    bench = EngineBench(dut)
    await bench.start(latency=latency)
    dut.event_delay.value = 200
    setups = [
        StreamSetup(stream, stream % 2 == 1, 4, 2, 0x1_0000 + 0x400 * stream,
                    make_ring(bench.random, 0x1801 * (stream + 1), (99, 60, 7, 48)))
        for stream in range(4)
    ]
    await bench.load(setups)
    dut.tick_enable.value = 1
    for setup in setups:
        await bench.write(setup.stream, CONTROL, RUN)
    for number in range(3000):
        dut.hold.value = int(number % 500 >= 450)
        stream = bench.random.randrange(4)
        offset = bench.random.choice((STATUS, SNAPSHOT, INTERVAL_BYTES, REVOKE, RING_PRODUCER, UNDERRUNS))
        if offset in (STATUS, UNDERRUNS) or bench.random.random() < 0.5:
            await bench.read(stream, offset)
        else:
            await bench.write(stream, offset, 0)
    assert 1 <= bench.bus.longest_ack_clocks <= 8
    log = await bench.log()
    dut._log.info("host, latency %d: waits %d clocks at most", latency, bench.bus.longest_ack_clocks)
    assert {event.cause for event in log.events} >= {REFUSED}


@cocotb.test()
async def state_1_is_stop(dut: Any) -> None:
    """The state code that has no name stops."""
    bench = EngineBench(dut)
    await bench.start()
    setup = both_directions(bench.random, 2, 2, (64, 64))[0]
    await bench.load([setup])
    await bench.set_state(0, RUN)
    await bench.write(0, CONTROL, 1)
    await bench.clocks(100)
    assert await bench.read(0, STATUS) == STOP


@cocotb.test()
async def settings_are_taken_over_at_run(dut: Any) -> None:
    """A CONFIG that changes while the stream runs changes nothing until STOP."""
    bench = EngineBench(dut)
    await bench.start()
    setup = both_directions(bench.random, 2, 2, (64, 64))[0]
    await bench.load([setup])
    dut.tick_enable.value = 1
    await bench.write(0, CONTROL, RUN)
    await bench.clocks(1000)
    await bench.write(0, CONFIG, setup.config | 0x71)
    await bench.clocks(20 * 256)
    await bench.set_state(0, PAUSE)
    await bench.set_state(0, RUN)
    await bench.clocks(20 * 256)
    await bench.finish([setup], frames_at_least=36, consecutive=False)
    await bench.set_state(0, STOP)
    await bench.write(0, CONTROL, RUN)
    await bench.clocks(100)
    assert await bench.read(0, STATUS) == FAULTED | RUN


@cocotb.test()
async def capture_waits_for_its_ack(dut: Any) -> None:
    """The event of a capture descriptor is stamped when its last byte is in memory, not before."""
    bench = EngineBench(dut)
    await bench.start(latency=4)
    setup = StreamSetup(0, True, 2, 2, 0x1_0000, (Descriptor(0x2000, 8, 77), Descriptor(0x2100, 12, 88)))
    await bench.load([setup])
    dut.tick_enable.value = 1
    await bench.write(0, CONTROL, RUN)
    await bench.clocks(20 * 256)
    log = await bench.finish([setup])
    last_writes = {0x2004: 77, 0x2108: 88}
    stamps = [(event.cycle, event.data[1]) for event in log.events]
    # engine_bench logs a write one clock before its ack.
    assert stamps == [(cycle + 1, last_writes[address]) for cycle, address, _ in log.writes if address in last_writes]


@cocotb.test()
@cocotb.parametrize(sample_bytes=[2, 3], channels=[1, 2])
async def capture_holds_nothing_back(dut: Any, sample_bytes: int, channels: int) -> None:
    """When no more frames come, every byte is soon in memory, also the last odd ones."""
    bench = EngineBench(dut)
    await bench.start(latency=4)
    setup = both_directions(bench.random, sample_bytes, channels, (300, 301))[1]
    await bench.load([setup])
    await bench.set_state(setup.stream, RUN)
    for _ in range(9):
        dut.tick_enable.value = 1
        await bench.clocks(256)
        dut.tick_enable.value = 0
        await bench.clocks(200)
        assert (await bench.snapshot(setup.stream))["fifo_bytes"] == 0
    await bench.finish([setup], frames_at_least=8)


@cocotb.test()
async def fifo_bytes_of_capture(dut: Any) -> None:
    """What a paused capture stream holds back are the newest bytes, and RUN writes them first."""
    bench = EngineBench(dut)
    await bench.start()
    setup = both_directions(bench.random, 3, 1, (30, 31))[1]
    await bench.load([setup])
    dut.tick_enable.value = 1
    await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(10 * 256)
    dut.hold.value = 1
    await bench.clocks(4 * 256)
    dut.hold.value = 0
    log = await bench.finish([setup], consecutive=False)
    words = await bench.snapshot(setup.stream)
    assert len(captured_bytes(setup, log.of(setup.stream))) == words["bytes"] + words["fifo_bytes"]
    await bench.write(setup.stream, CONTROL, RUN)
    await bench.clocks(10 * 256)
    await bench.finish([setup], consecutive=False)


SOURCES = ["ram_1r1w.sv", "stream_engine.sv", HERE / "engine_bench.sv"]


def test_stream_engine() -> None:
    run_cocotb("engine_bench", SOURCES, __file__, {"STREAMS": 4}, build_name="stream_engine")


def test_eight_streams() -> None:
    parameters = {"STREAMS": 8, "MAX_CHANNELS": 8}
    run_cocotb("engine_bench", SOURCES, HERE / "eight_streams.py", parameters, build_name="stream_engine_8")


def test_features() -> None:
    parameters = {"STREAMS": 8, "MAX_CHANNELS": 8, "TEST_EN": 1}
    run_cocotb("engine_bench", SOURCES, HERE / "features.py", parameters, build_name="stream_engine_features")


LOAD_SOURCES = ["ram_1r1w.sv", "stream_engine.sv", HERE / "load_bench.sv"]


def run_load_bench(module: str) -> None:
    """Tests that need sixteen streams, a busy host or errors: one build for all of them."""
    parameters = {"STREAMS": 16, "MAX_CHANNELS": 8, "TEST_EN": 1}
    run_cocotb("load_bench", LOAD_SOURCES, HERE / module, parameters, build_name="stream_engine_load")


def test_load() -> None:
    run_load_bench("load.py")


def test_random_parts() -> None:
    run_load_bench("random_parts.py")


def test_abuse() -> None:
    run_load_bench("abuse.py")


def test_as_the_model() -> None:
    run_load_bench("reference.py")
