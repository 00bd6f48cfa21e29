"""stream_engine against the Python model of the engine (host/codecrig/model): the same rings, the same frames, the same
events and counts; run by test_stream_engine.py.

Three streams at a time and slow ticks, so that each frame is settled before the next, as in the model. Not compared
here: what passes through the converter, and where in a visit an INTERVAL event falls. The scoreboard does that.
"""

import random
from typing import Any

import cocotb
from harness import (
    FIFO_HIGH_WATER,
    INTERVAL,
    INTERVAL_LEFT,
    OVERRUNS,
    REVOKE_LEFT,
    REVOKE_STATUS,
    RING_PRODUCER,
    RUN,
    STATUS,
    UNDERRUNS,
)
from load_harness import (
    END_FLAG,
    LAST_FLAG,
    REMOVED_FLAG,
    REVOKE_COMMAND,
    RING_FIRST,
    RING_STRIDE,
    LoadBench,
    Part,
    make_ring,
)
from random_parts import with_flag
from scoreboard import StreamSetup

from codecrig.model.engine import EngineModel

STREAMS = 16
PERIOD_CLOCKS = 900


class Posted:
    """What the model posts, in the place of its event ring."""

    def __init__(self) -> None:
        self.of_stream: dict[int, list[tuple[int, tuple[int, ...]]]] = {}

    def post(self, cause: int, stream: int, time_ticks: int, *data: int) -> None:
        padded = tuple(word & 0xFFFF_FFFF for word in data) + (0,) * (4 - len(data))
        self.of_stream.setdefault(stream, []).append((int(cause), padded))


def random_part(source: random.Random, stream: int) -> Part:
    """Any format, kind and flags; many small descriptors."""
    sample_bytes, channels = source.randrange(1, 5), source.choice((1, 2, 2, 3, 5, 8))
    lengths = [
        source.choice((source.randrange(1, 9), source.randrange(20, 150))) for _ in range(source.randrange(2, 8))
    ]
    lengths[0] += 2 * sample_bytes * channels
    ring = list(make_ring(source, stream, lengths, source.randrange(4)))
    for flag in (END_FLAG, REMOVED_FLAG, LAST_FLAG):
        if source.random() < 0.4:
            at = source.randrange(1, len(ring))
            ring[at] = with_flag(ring[at], flag)
    queue = source.random() < 0.5
    base = RING_FIRST + RING_STRIDE * stream
    setup = StreamSetup(stream, source.random() < 0.5, sample_bytes, channels, base, tuple(ring), queue)
    interval = source.choice((0, 64, 100, source.randrange(64, 300)))
    return Part(setup, interval_bytes=interval, producer=source.randrange(1, len(ring) + 1) if queue else 0)


@cocotb.test()
async def as_the_model(dut: Any) -> None:
    """After each of some spans of frames, in which queues grow and are revoked, both stand at the same place."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    compared = 0
    for number in range(16):
        await bench.start(latency=1 + number % 2, period=PERIOD_CLOCKS)
        model = EngineModel(streams=STREAMS, max_channels=8, channels=8)
        posted = model.events = Posted()  # type: ignore[assignment]
        parts = [random_part(bench.source, stream) for stream in bench.source.sample(range(STREAMS), 3)]
        for part in parts:
            setup = part.setup
            for index, descriptor in enumerate(setup.ring):
                at = setup.ring_base + 16 * index
                words = b"".join(word.to_bytes(4, "little") for word in descriptor.words())
                model.memory[at : at + 16] = list(words)
            await bench.prepare(part)
            stream = model.streams[setup.stream]
            stream.config, stream.ring_base, stream.ring_size = setup.config, setup.ring_base, len(setup.ring)
            stream.producer, stream.interval_bytes = part.producer, part.interval_bytes
        for part in parts:
            model.set_state(part.stream, RUN, 0)
            await bench.run(part)
        frames = 0
        for _ in range(4):
            await bench.frames(4)
            span = bench.source.randrange(1, 20)
            dut.tick_enable.value = 1
            while bench.ticks() < frames + span:
                await bench.clocks(PERIOD_CLOCKS // 2)
            dut.tick_enable.value = 0
            await bench.frames(4)
            frames = bench.ticks()
            if not model.enabled:
                model.set_enabled(True, 0)
            now = frames * model.frame_clocks + model.frame_clocks // 2
            model.advance(now)
            for part in parts:
                await compare(bench, part, model)
                compared += 1
            for part in parts:
                if part.setup.queue and bench.source.random() < 0.7:
                    await change_the_queue(bench, part, model, now)
        await bench.frames(8)
        trace = await bench.trace()
        for part in parts:
            events = [(event.cause, event.data) for event in trace.events if event.stream == part.stream]
            expected = posted.of_stream.get(part.stream, [])
            assert without_intervals(events) == without_intervals(expected), f"{part}"
            assert len(events) == len(expected), f"{part}: INTERVAL events"
    dut._log.info("%d times the same as the model", compared)


def without_intervals(events: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """The other events, in order."""
    return [event for event in events if event[0] != INTERVAL]


async def compare(bench: LoadBench, part: Part, model: EngineModel) -> None:
    """Counts and state."""
    stream = model.streams[part.stream]
    await bench.count(part)
    words = (await bench.trace()).snapshots_of(part.stream)[-1]
    status = await bench.read(part.stream, STATUS)
    assert status == int(stream.state) | stream.fault << 4 | stream.silent << 5, f"{part}: STATUS {status:#x}"
    assert words["state"] == status
    found = {name: words[name] for name in ("frames", "bytes", "descriptors", "fifo_bytes", "index")}
    expected = {
        "frames": stream.frames,
        "bytes": stream.moved_bytes,
        "descriptors": stream.descriptors,
        "fifo_bytes": len(stream.fifo),
        "index": stream.index,
    }
    assert found == expected, f"{part}: {found}, the model {expected}"
    for name, value in (
        (UNDERRUNS, stream.underruns),
        (OVERRUNS, stream.overruns),
        (INTERVAL_LEFT, stream.interval_left),
        (FIFO_HIGH_WATER, stream.high_water),
    ):
        read = await bench.read(part.stream, name)
        assert read == value, f"{part}: register {name:#x} is {read}, the model has {value}"


async def change_the_queue(bench: LoadBench, part: Part, model: EngineModel, now: int) -> None:
    """More descriptors, or some taken back."""
    stream, source, size = model.streams[part.stream], bench.source, len(part.setup.ring)
    if stream.queued and source.random() < 0.5:
        first = (stream.descriptors + source.randrange(2)) & 0xFFFF
        last = (first + source.randrange(3)) & 0xFFFF
        for ordinal in range(first, last + 1):
            at = part.setup.ring_base + 16 * (ordinal % size) + 12
            flags = int(model.memory[at]) | REMOVED_FLAG
            model.memory[at] = flags
            await bench.store(at, flags)
        model.revoke(part.stream, last << 16 | first, now)
        status = await bench.command(REVOKE_COMMAND, part.stream, last << 16 | first)
        assert status == int(stream.revoke_result) == await bench.read(part.stream, REVOKE_STATUS)
        assert await bench.read(part.stream, REVOKE_LEFT) == stream.revoke_left
    else:
        part.producer = (stream.descriptors + source.randrange(stream.queued, size + 1)) & 0xFFFF
        await bench.write(part.stream, RING_PRODUCER, part.producer)
        model.set_producer(part.stream, part.producer, now)
