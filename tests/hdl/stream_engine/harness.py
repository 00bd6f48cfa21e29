"""What the stream engine tests share: the bench's driver and rings at odd places."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cocotb
from bench import CLOCK_PS, registers, reset, start_clock
from cocotb.triggers import Timer
from scoreboard import (
    MEMORY_BYTES,
    Descriptor,
    Log,
    StreamSetup,
    apply_capture,
    check_consecutive,
    check_descriptor_events,
    check_render,
    parse_log,
)
from word_bus import WordBus

STOP, PAUSE, RUN = 0, 2, 3
CONTROL, CONFIG, RING_BASE, RING_SIZE, STATUS = 0x00, 0x04, 0x08, 0x0C, 0x18
RING_PRODUCER, UNDERRUNS, OVERRUNS, INTERVAL_BYTES, INTERVAL_LEFT = 0x1C, 0x20, 0x24, 0x28, 0x2C
REVOKE, REVOKE_STATUS, REVOKE_LEFT, FIFO_HIGH_WATER, SNAPSHOT = 0x30, 0x34, 0x38, 0x3C, 0x40
START_TIME_LO, START_TIME_HI, PACKET_TIME_LO, PACKET_TIME_HI = 0x70, 0x74, 0x78, 0x7C
LIVE_FRAMES_LO, LIVE_FRAMES_HI, LIVE_BYTES_LO, LIVE_BYTES_HI = 0x90, 0x94, 0x98, 0x9C
LIVE_DESCRIPTORS, LIVE_INDEX = 0xA0, 0xA8
DESCRIPTOR_EVENT, UNDERRUN, OVERRUN, FAULT, INTERVAL, END_OF_STREAM, REFUSED = range(7)
LENGTH_ZERO, OUTSIDE_MEMORY, BAD_CONFIG, TOO_MUCH, PRODUCER_AHEAD = 1, 2, 3, 4, 5
FAULTED, ENDED = 1 << 4, 1 << 5
SNAPSHOT_WORDS = (
    "state time_lo time_hi frames_lo frames_hi bytes_lo bytes_hi descriptors fifo_bytes index frame_ticks"
).split()


class EngineBench:
    """Drives engine_bench: registers, memory, ticks, and the log."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.memory = bytearray(MEMORY_BYTES)
        self.clock_runs = False
        self.bus = WordBus(dut)
        self.random = random.Random(cocotb.RANDOM_SEED)

    async def start(self, *, latency: int = 1, stall: bool = False, period: int = 256) -> None:
        """Reset with random bytes everywhere in memory, so that a stray read or write shows."""
        dut = self.dut
        for name in ("hold", "tick_enable", "event_delay", "load", "dump", "flush"):
            getattr(dut, name).value = 0
        dut.latency.value = latency
        dut.stall_enable.value = int(stall)
        dut.frame_period.value = period
        dut.frame_clocks.value = 256
        if not self.clock_runs:
            self.clock_runs = True
            start_clock(dut.clk)
        await reset(dut.clk, dut.rst)
        await self.first_access()
        self.memory[:] = self.random.randbytes(MEMORY_BYTES)

    async def first_access(self) -> None:
        """Behind reset the engine clears its RAM, 50 clocks for each stream; only the first access waits for that."""
        self.bus.limit_clocks = 50 * 8
        await self.read(0, STATUS)
        self.bus.limit_clocks = 8
        self.bus.longest_ack_clocks = 0

    async def clocks(self, count: int) -> None:
        """Let time pass, without waking up at every edge."""
        await Timer(count * CLOCK_PS, unit="ps")

    async def pulse(self, name: str) -> None:
        handle = getattr(self.dut, name)
        handle.value = 1
        await self.clocks(2)
        handle.value = 0
        await self.clocks(2)

    def address(self, stream: int, offset: int) -> int:
        return registers.STREAM_BASE + stream * registers.STREAM_STRIDE + offset

    async def write(self, stream: int, offset: int, data: int) -> None:
        await self.bus.write(self.address(stream, offset), data)

    async def read(self, stream: int, offset: int) -> int:
        return await self.bus.read(self.address(stream, offset))

    async def load(self, setups: Iterable[StreamSetup]) -> None:
        """Put rings into memory, memory into the bench, and settings into the engine."""
        for setup in setups:
            for index, descriptor in enumerate(setup.ring):
                start = setup.ring_base + 16 * index
                self.memory[start : start + 16] = b"".join(word.to_bytes(4, "little") for word in descriptor.words())
        words = [self.memory[i : i + 4][::-1].hex() for i in range(0, MEMORY_BYTES, 4)]
        Path("memory.hex").write_text("\n".join(words))
        await self.pulse("load")
        for setup in setups:
            await self.write(setup.stream, CONFIG, setup.config)
            await self.write(setup.stream, RING_BASE, setup.ring_base)
            await self.write(setup.stream, RING_SIZE, len(setup.ring))

    async def dump(self) -> bytes:
        await self.pulse("dump")
        lines = [line for line in Path("dump.hex").read_text().split("\n") if line and not line.startswith(("//", "@"))]
        return b"".join(bytes.fromhex(line)[::-1] for line in lines)

    async def log(self) -> Log:
        await self.pulse("flush")
        text = Path("log.txt").read_text()
        return parse_log(text[text.rindex("R 0 0") :])

    async def set_state(self, stream: int, state: int) -> None:
        """Ask for a state and wait until the engine has it."""
        await self.write(stream, CONTROL, state)
        for _ in range(200):
            status = await self.read(stream, STATUS)
            if status & 3 == state or (status & FAULTED and state != STOP):
                return
        raise AssertionError(f"stream {stream} does not reach state {state}: STATUS {status:#x}")

    async def snapshot(self, stream: int) -> dict[str, int]:
        """Take a snapshot, wait for it, return its words by name."""
        before = await self.read(stream, SNAPSHOT) & 0xFF
        await self.write(stream, SNAPSHOT, 0)
        for _ in range(400):
            count = await self.read(stream, SNAPSHOT)
            if not count & 0x100:
                break
        assert count == (before + 1) % 256, f"snapshot count {count:#x} after {before:#x}"
        words = {name: await self.read(stream, SNAPSHOT + 4 + 4 * i) for i, name in enumerate(SNAPSHOT_WORDS)}
        words["frames"] = words["frames_hi"] << 32 | words["frames_lo"]
        words["bytes"] = words["bytes_hi"] << 32 | words["bytes_lo"]
        words["time"] = words["time_hi"] << 32 | words["time_lo"]
        return words

    def check_invariant(self, setup: StreamSetup, words: dict[str, int]) -> None:
        converted = words["frames"] * setup.frame_bytes
        difference = converted - words["bytes"] if setup.capture else words["bytes"] - converted
        assert difference == words["fifo_bytes"] <= 64, f"stream {setup.stream}: {words}"

    async def finish(self, setups: Sequence[StreamSetup], *, frames_at_least: int = 1, consecutive: bool = True) -> Log:
        """Pause everything, then compare frames, memory, events and counts with the scoreboard. Returns the log."""
        for setup in setups:
            await self.set_state(setup.stream, PAUSE)
        snapshots = {setup.stream: await self.snapshot(setup.stream) for setup in setups}
        log = await self.log()
        expected = bytearray(self.memory)
        for setup in setups:
            frames, words = log.of(setup.stream), snapshots[setup.stream]
            assert len(frames) >= frames_at_least, f"stream {setup.stream}: only {len(frames)} frames"
            assert words["frames"] == len(frames)
            self.check_invariant(setup, words)
            if consecutive:
                check_consecutive(frames)
            if setup.capture:
                apply_capture(setup, frames, words["bytes"], expected)
            else:
                check_render(setup, frames, self.memory)
            check_descriptor_events(setup, log, words["bytes"])
        assert await self.dump() == expected, "memory differs from what the scoreboard says"
        return log


def make_ring(source: random.Random, first: int, lengths: Sequence[int], *, gap: bool = True) -> tuple[Descriptor, ...]:
    """Descriptors at odd places, not contiguous, with random tags; every third without an event."""
    ring, address = [], first
    for number, length in enumerate(lengths):
        ring.append(Descriptor(address, length, source.getrandbits(32), number % 3 != 2))
        address += length + (source.randrange(1, 8) if gap else 0)
    return tuple(ring)


def both_directions(
    source: random.Random, sample_bytes: int, channels: int, lengths: Sequence[int]
) -> list[StreamSetup]:
    """A render and a capture stream of one format, with buffers that touch nothing of each other."""
    return [
        StreamSetup(stream, capture, sample_bytes, channels, 0x1_0000 + 0x400 * stream,
                    make_ring(source, 0x1001 * (stream + 1) + source.randrange(4), lengths))
        for stream, capture in ((0, False), (1, True))
    ]  # fmt: skip
