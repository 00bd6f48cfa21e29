"""stream_engine: random lives of streams, with functional coverage; run by test_stream_engine.py.

Sixteen coroutines, one a stream, take combinations of format, direction, ring kind and alignment from a list and live
through random states, queues, revocations and shortages, against the reference in load_harness.py. What was seen is
counted in bins; bins that are not hit are asked for again, and fail the test by name when the list is exhausted.

COCOTB_RANDOM_SEED chooses another run; ENGINE_PARTS a longer one.
"""

import json
import os
import random
from collections import Counter
from itertools import product
from typing import Any

import cocotb
from bench import REPOSITORY
from harness import (
    CONFIG,
    END_OF_STREAM,
    ENDED,
    FAULT,
    FAULTED,
    LIVE_DESCRIPTORS,
    OVERRUN,
    OVERRUNS,
    RING_BASE,
    RING_PRODUCER,
    RING_SIZE,
    STATUS,
    STOP,
    TOO_MUCH,
    UNDERRUN,
    UNDERRUNS,
)
from load_harness import (
    DATA_STRIDE,
    DROPPED,
    END_FLAG,
    LAST_FLAG,
    REFUSED_RANGE,
    REMOVED_FLAG,
    RING_FIRST,
    RING_STRIDE,
    LoadBench,
    Outcome,
    Part,
    make_ring,
)
from scoreboard import Descriptor, StreamSetup

RESULTS = REPOSITORY / "build" / "coverage" / "stream_engine.json"
FORMATS = {"8": 1, "16": 2, "24 packed": 3, "24 in 32": 4, "32": 4}
DIRECTIONS = ("render", "capture")
KINDS = ("kept", "queue")
EDGES = (
    "STOP->RUN",
    "RUN->PAUSE",
    "PAUSE->RUN",
    "RUN->STOP",
    "PAUSE->STOP",
    "END_OF_STREAM",
    "REMOVED",
    "REVOKE",
    "MISS",
)
"""REVOKE: of a queue, the current descriptor is dropped; of a kept ring, refused. MISS: an underrun or overrun."""
STREAMS = 16
MOST_ROUNDS = 12
SMALL_ROUND = 20

Combination = tuple[str, str, str, int]  # format, direction, kind, alignment


class Coverage:
    """Bins and how often they were hit."""

    def __init__(self) -> None:
        self.combinations = list(product(FORMATS, DIRECTIONS, KINDS, range(4)))
        self.states: Counter[tuple[Combination, str]] = Counter()
        self.channels: Counter[tuple[str, str, int]] = Counter()
        self.parts = 0

    def missing_edges(self, combination: Combination) -> set[str]:
        return {edge for edge in EDGES if not self.states[combination, edge]}

    def missing(self) -> list[str]:
        """Names of the bins that were not hit."""
        names = [
            f"{' '.join(map(str, combination))} {edge}"
            for combination in self.combinations
            for edge in EDGES
            if not self.states[combination, edge]
        ]
        return names + [
            f"{name} {direction} {channels} channels"
            for name, direction, channels in product(FORMATS, DIRECTIONS, range(1, 9))
            if not self.channels[name, direction, channels]
        ]

    def table(self) -> str:
        """Rows: format, direction, kind; columns: edges; the least hits of the four alignments."""
        lines = [f"{'least hits of 4 alignments':28}" + "".join(f"{edge:>14}" for edge in EDGES)]
        for name, direction, kind in product(FORMATS, DIRECTIONS, KINDS):
            least = [min(self.states[(name, direction, kind, at), edge] for at in range(4)) for edge in EDGES]
            lines.append(f"{f'{name}, {direction}, {kind}':28}" + "".join(f"{hits:>14}" for hits in least))
        lines.append(f"{'hits by channels':28}" + "".join(f"{channels:>14}" for channels in range(1, 9)))
        for name, direction in product(FORMATS, DIRECTIONS):
            hits = [self.channels[name, direction, channels] for channels in range(1, 9)]
            lines.append(f"{f'{name}, {direction}':28}" + "".join(f"{count:>14}" for count in hits))
        return "\n".join(lines)

    def write(self, seed: int) -> None:
        missing = self.missing()
        bins = len(self.combinations) * len(EDGES) + len(FORMATS) * len(DIRECTIONS) * 8
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(
            json.dumps(
                {
                    "seed": seed,
                    "parts": self.parts,
                    "bins": bins,
                    "hit": bins - len(missing),
                    "missing": missing,
                    "states": {
                        f"{' '.join(map(str, key[0]))} {key[1]}": hits for key, hits in sorted(self.states.items())
                    },
                    "channels": {" ".join(map(str, key)): hits for key, hits in sorted(self.channels.items())},
                },
                indent=1,
            )
            + "\n"
        )


class Lives:
    """The streams' coroutines and what they share, for one round from reset to the comparison."""

    def __init__(self, bench: LoadBench, coverage: Coverage, todo: list[Combination]) -> None:
        self.bench = bench
        self.source = bench.source
        self.coverage = coverage
        self.todo = todo
        # A stream alone does not run short: in a small round all help to need more than memory gives.
        self.scarce = len(todo) < SMALL_ROUND
        self.combination_of: dict[int, Combination] = {}
        self.shortages = 0  # how often memory was made scarce
        self.wanting_shortage = 0
        self.active = 0
        self.refused = 0

    # ------------------------------------------------------------------ plans

    def plan(self, stream: int, combination: Combination) -> Part:
        source = self.source
        name, direction, kind, alignment = combination
        sample_bytes = FORMATS[name]
        missing = self.coverage.missing_edges(combination)
        least = min(range(1, 9), key=lambda count: (self.coverage.channels[name, direction, count], source.random()))
        if kind == "kept" and (self.scarce or "MISS" in missing):
            channels = max(least, 4)  # enough to need more than scarce memory gives
        else:
            channels = least if source.random() < 0.5 else source.choice((1, 2, 2, 3))
        frame_bytes = sample_bytes * channels
        count = source.randrange(3, 9)
        lengths = [
            source.choice((1, 2, 3, 5, 4 * source.randrange(1, 20), source.randrange(1, 140))) for _ in range(count)
        ]
        drop = kind == "queue" and "REVOKE" in missing
        if drop:  # long enough to be met half-way
            lengths = [source.randrange(80, 200) for _ in range(count)]
        if sum(lengths) < 12 * frame_bytes:
            lengths[-1] += 12 * frame_bytes
        ring = list(make_ring(source, stream, lengths, alignment))
        end = "END_OF_STREAM" in missing or (source.random() < 0.3 and not (self.scarce and kind == "kept"))
        if not drop and end:
            at = source.randrange(count // 2, count)
            ring[at] = with_flag(ring[at], END_FLAG)
        if not drop and "REMOVED" in missing or source.random() < 0.3:
            # Not the first: its place is what the alignment is about.
            at = source.randrange(1, max(2, count // 2))
            if not ring[at].flags & END_FLAG:
                odd = source.random() < 0.5  # its address and length are not looked at
                removed = Descriptor(source.getrandbits(32), 0, ring[at].tag, ring[at].event) if odd else ring[at]
                ring[at] = with_flag(removed, REMOVED_FLAG)
        if source.random() < 0.5:
            at = source.randrange(count)
            ring[at] = with_flag(ring[at], LAST_FLAG)
        setup = StreamSetup(
            stream,
            direction == "capture",
            sample_bytes,
            channels,
            RING_FIRST + RING_STRIDE * stream,
            tuple(ring),
            kind == "queue",
        )
        interval = source.choice((0, 63, 64, 65, source.randrange(64, 500)))
        part = Part(setup, name, alignment, interval, producer=source.randrange(1, count + 1) if kind == "queue" else 0)
        if not setup.capture and name == "24 in 32":
            self.pad(part)
        return part

    def pad(self, part: Part) -> None:
        """24-bit samples in 32 bits: the low byte of each sample in memory is 0."""
        base = DATA_STRIDE * part.stream
        image = bytearray(self.source.randbytes(DATA_STRIDE))
        positions = [
            position
            for descriptor in part.setup.ring
            if not descriptor.removed
            for position in range(descriptor.address, descriptor.address + descriptor.length_bytes)
        ]
        for position in positions[::4]:
            image[position - base] = 0
        for address in sorted({position & ~3 for position in positions}):
            part.stores.append((address, int.from_bytes(image[address - base : address - base + 4], "little")))

    # ------------------------------------------------------------------ lives

    async def live(self, stream: int) -> None:
        """One part after the other, until nothing is left to do."""
        await self.bench.sleep(stream / 3)
        while self.todo:
            combination = self.todo.pop()
            part = self.plan(stream, combination)
            await self.bench.prepare(part)
            status = await self.bench.run(part)
            if status & FAULTED:  # the streams that run take all there is
                self.refused += 1
                assert await self.bench.reach(stream, STOP) == STOP
                part.began = part.ended = self.bench.now()
                self.bench.parts.append(part)  # nothing but what it put into memory
                self.todo.insert(self.source.randrange(len(self.todo) + 1), combination)
                await self.bench.sleep(self.source.randrange(20, 60))
                continue
            self.active += 1
            self.combination_of[id(part)] = combination
            await self.act(part, combination)
            self.active -= 1

    async def act(self, part: Part, combination: Combination) -> None:
        """What happens to a part between its first RUN and STOP."""
        source, bench, stream = self.source, self.bench, part.stream
        missing = self.coverage.missing_edges(combination)
        actions = source.choices(
            ("pause", "snapshot", "produce", "revoke", "format", "sleep"), k=source.randrange(2, 7)
        )
        if {"RUN->PAUSE", "PAUSE->RUN"} & missing:
            actions.append("pause")
        if "REVOKE" in missing:
            actions.append("revoke")
        source.shuffle(actions)
        for action in actions:
            await bench.sleep(source.choice((0, source.random() * 3, source.random() * 12)))
            if action == "pause":
                await self.pause(part)
            elif action == "snapshot":
                await bench.snapshot(stream)
            elif action == "produce":
                await self.produce(part)
            elif action == "revoke":
                await self.revoke(part)
            elif action == "format":
                part.settings_written += 1
                await bench.write(stream, source.choice((CONFIG, RING_BASE, RING_SIZE)), source.getrandbits(9))
        if any(descriptor.flags & END_FLAG for descriptor in part.setup.ring):
            await self.reach_the_end(part)
        elif self.scarce or "MISS" in missing or source.random() < 0.1:
            await self.starve(part)
        from_run = "RUN->STOP" in missing if {"RUN->STOP", "PAUSE->STOP"} & missing else source.random() < 0.2
        if not from_run:
            await bench.pause(part)
            await bench.count(part)
        await bench.stop(part)

    async def pause(self, part: Part) -> None:
        await self.bench.pause(part)
        await self.bench.sleep(self.source.choice((0, 1, 3)) * self.source.random())
        await self.bench.run(part)

    async def produce(self, part: Part, *, most: bool = False) -> None:
        if part.setup.queue:
            done = await self.bench.read(part.stream, LIVE_DESCRIPTORS)
            highest = done + len(part.setup.ring)
            part.producer = highest if most else self.source.randrange(part.producer, highest + 1)
            await self.bench.write(part.stream, RING_PRODUCER, part.producer & 0xFFFF)

    async def revoke(self, part: Part) -> None:
        bench, setup, size = self.bench, part.setup, len(part.setup.ring)
        if not setup.queue:
            first = self.source.randrange(4)
            result = await bench.revoke(part, first, first + self.source.randrange(3))
            assert result == REFUSED_RANGE, f"{part}: REVOKE of a kept ring is answered by {result}"
            part.edges.add("REVOKE")
            return
        for _ in range(6):
            done = await bench.read(part.stream, LIVE_DESCRIPTORS)
            if part.producer <= done + 1:
                part.producer = done + size
                await bench.write(part.stream, RING_PRODUCER, part.producer & 0xFFFF)
                await bench.sleep(self.source.random() / 2)
                continue
            first = done + self.source.choice((0, 0, 0, 1))
            last = min(part.producer - 1, first + self.source.randrange(size - 1))
            marked = {ordinal % size for ordinal in range(first, last + 1)} | set(part.skippable)
            if first > last or len(marked) > size - 2:
                continue
            for ordinal in range(first, last + 1):
                part.skippable[ordinal % size] = min(ordinal, part.skippable.get(ordinal % size, ordinal))
                words = setup.ring[ordinal % size].words()
                await bench.store(setup.ring_base + 16 * (ordinal % size) + 12, words[3] | REMOVED_FLAG)
            result = await bench.revoke(part, first, last)
            assert result != REFUSED_RANGE, f"{part}: REVOKE {first} to {last} of {part.producer} is refused"
            if result == DROPPED:
                part.edges.add("REVOKE")
            return

    async def reach_the_end(self, part: Part) -> None:
        for _ in range(60):
            if await self.bench.read(part.stream, STATUS) & ENDED:
                await self.bench.sleep(self.source.random() * 3)
                return
            await self.produce(part, most=True)
            await self.bench.sleep(self.source.randrange(4, 12))

    async def starve(self, part: Part) -> None:
        """Wait until the stream misses frames: a queue gets no more descriptors; or memory becomes scarce."""
        register = OVERRUNS if part.setup.capture else UNDERRUNS
        if part.setup.queue:
            for _ in range(40):
                if await self.bench.read(part.stream, register):
                    break
                await self.bench.sleep(10)
            if self.source.random() < 0.5:  # and goes on
                await self.produce(part)
                await self.bench.sleep(5)
            return
        before = self.shortages
        self.wanting_shortage += 1
        while self.shortages == before:
            await self.bench.sleep(4)
        self.wanting_shortage -= 1

    async def shortage(self) -> None:
        """When enough streams ask for it, memory takes 16 clocks for 120 frames. Otherwise it is quick, at random."""
        bench, dut = self.bench, self.bench.dut
        asked_for = 0
        while True:
            await bench.sleep(10)
            asked_for = asked_for + 1 if self.wanting_shortage else 0
            if self.wanting_shortage >= 5 or asked_for > 12 or (asked_for > 2 and self.wanting_shortage == self.active):
                dut.latency.value, dut.spread.value, dut.stalls.value = 16, 0, 0
                await bench.sleep(120)
                self.shortages += 1
                asked_for = 0
                dut.latency.value = self.source.choice((1, 1, 2, 3))
                dut.spread.value = self.source.choice((0, 1, 2))
                dut.stalls.value = int(self.source.random() < 0.3)

    def observe(self, part: Part, outcome: Outcome) -> None:
        """Bins that only the reference knows."""
        combination = self.combination_of[id(part)]
        for edge in part.edges:
            self.coverage.states[combination, edge] += 1
        self.coverage.channels[combination[0], combination[1], part.setup.channels] += 1
        if outcome.passed_removed:
            self.coverage.states[combination, "REMOVED"] += 1
        if END_OF_STREAM in outcome.causes:
            self.coverage.states[combination, "END_OF_STREAM"] += 1
        if {UNDERRUN, OVERRUN} & outcome.causes:
            self.coverage.states[combination, "MISS"] += 1


def with_flag(descriptor: Descriptor, flag: int) -> Descriptor:
    return Descriptor(
        descriptor.address, descriptor.length_bytes, descriptor.tag, descriptor.event, descriptor.flags | flag
    )


@cocotb.test()
async def random_parts(dut: Any) -> None:
    """Every format, direction, kind, alignment and edge of a stream's states, in random company."""
    coverage = await live(dut, int(os.environ.get("ENGINE_PARTS", "80")), MOST_ROUNDS)
    coverage.write(int(cocotb.RANDOM_SEED))
    missing = coverage.missing()
    dut._log.info("coverage:\n%s", coverage.table())
    assert not missing, f"{len(missing)} bins not hit, {RESULTS} has all: {', '.join(missing[:20])}"


async def live(dut: Any, wanted: int, most_rounds: int) -> Coverage:
    """Rounds of parts until there were so many and all bins are hit, or so many rounds."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    coverage = Coverage()
    done = refused = clocks = rounds = 0
    while done < wanted or (coverage.missing() and rounds < most_rounds):
        todo = [
            at for at in coverage.combinations if done < wanted or coverage.missing_edges(at)
        ] or coverage.combinations
        todo = list(todo)
        kept = [at for at in coverage.combinations if at[2] == "kept"]
        while len(todo) < SMALL_ROUND - 1:
            todo.append(bench.source.choice(kept))
        bench.source.shuffle(todo)
        await bench.start(latency=1, spread=1, busy_host=bool(rounds % 2))
        dut.tick_enable.value = 1
        dut.event_delay.value = bench.source.choice((0, 0, 12))
        lives = Lives(bench, coverage, todo)
        scarcity = cocotb.start_soon(lives.shortage())
        for task in [cocotb.start_soon(lives.live(stream)) for stream in range(STREAMS)]:
            await task
        scarcity.cancel()
        dut.busy_host.value = 0
        trace, outcomes = await bench.finish()
        for part, outcome in zip(bench.parts, outcomes, strict=True):
            if part.runs:
                done += 1
                lives.observe(part, outcome)
        too_much = [event for event in trace.events if event.cause == FAULT]
        assert {event.data[1] for event in too_much} <= {TOO_MUCH} and len(too_much) == lives.refused
        refused += lives.refused
        clocks += bench.now()
        rounds += 1
    coverage.parts = done
    dut._log.info("%d parts in %d rounds, %d clocks, %d refused as too much", done, rounds, clocks, refused)
    return coverage
