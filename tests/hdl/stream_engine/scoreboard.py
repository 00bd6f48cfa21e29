"""Scoreboard of the stream engine tests: what the engine must have done, from the bytes in memory and the bench's log.

Knows descriptors, formats and the order of frames; it does not know how the engine works or how long it takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise

MEMORY_BYTES = 131072


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One element of a ring. `event` sets the EVENT flag, `flags` sets others."""

    address: int
    length_bytes: int
    tag: int = 0
    event: bool = True
    flags: int = 0

    def words(self) -> list[int]:
        return [self.address, self.length_bytes, self.tag, int(self.event) | 4 | self.flags]

    @property
    def removed(self) -> bool:
        return bool(self.flags & 0x10)

    @property
    def last(self) -> bool:
        return bool(self.flags & 2)


@dataclass(frozen=True, slots=True)
class StreamSetup:
    """Settings of one stream and its ring."""

    stream: int
    capture: bool
    sample_bytes: int
    channels: int
    ring_base: int
    ring: tuple[Descriptor, ...]
    queue: bool = False

    @property
    def frame_bytes(self) -> int:
        return self.sample_bytes * self.channels

    @property
    def config(self) -> int:
        return int(self.capture) | (self.sample_bytes - 1) << 2 | (self.channels - 1) << 4 | int(self.queue) << 8

    def positions(self, count: int) -> list[int]:
        """Memory address of each of the first `count` bytes of the stream."""
        found: list[int] = []
        for descriptor in cycle(self.ring):
            if len(found) >= count:
                break
            if descriptor.removed:
                continue
            found += range(descriptor.address, descriptor.address + min(descriptor.length_bytes, count - len(found)))
        return found


@dataclass(slots=True)
class Frame:
    """One frame at the converter. `tick` counts from 1; `samples` are left-justified 32-bit words (render only)."""

    tick: int
    cycle: int
    samples: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the engine posted it, with the cycle it was stamped at."""

    cycle: int
    stream: int
    cause: int
    data: tuple[int, int, int, int]


@dataclass(slots=True)
class Log:
    """The bench's log since the last reset."""

    frames: dict[int, list[Frame]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    tick_cycles: dict[int, int] = field(default_factory=dict)
    writes: list[tuple[int, int, int]] = field(default_factory=list)  # cycle, address, byte selects
    accesses: list[tuple[int, int, bool]] = field(default_factory=list)  # cycle, address, write; reads as well

    def of(self, stream: int) -> list[Frame]:
        return self.frames.get(stream, [])

    def service_clocks(self) -> int:
        """Longest time from a tick to the last sample handed over or taken for it."""
        frames = [frame for of_stream in self.frames.values() for frame in of_stream]
        return max((frame.cycle - self.tick_cycles[frame.tick] for frame in frames), default=0)


def parse_log(text: str) -> Log:
    """Parse what engine_bench wrote. A broken bus rule (line X) fails here."""
    log = Log()
    for line in text.splitlines():
        kind, tick, clock, *rest = line.split(maxsplit=3)
        words = rest[0].split() if rest else []
        if kind == "R":
            log = Log()
        elif kind == "T":
            log.tick_cycles[int(tick)] = int(clock)
        elif kind == "A":
            log.frames.setdefault(int(words[0]), []).append(Frame(int(tick), int(clock)))
        elif kind == "D":
            frames = log.frames.setdefault(int(words[0]), [])
            if int(words[1]) == 0:
                frames.append(Frame(int(tick), int(clock)))
            assert len(frames[-1].samples) == int(words[1]), f"channels out of order: {line}"
            frames[-1].samples.append(int(words[2], 16))
            frames[-1].cycle = int(clock)
        elif kind == "E":
            values = [int(word) for word in words]
            log.events.append(Event(int(clock), values[0], values[1], (values[2], values[3], values[4], values[5])))
        elif kind == "W":
            log.writes.append((int(clock), int(words[0]), int(words[1], 16)))
            log.accesses.append((int(clock), int(words[0]), True))
        elif kind == "G":
            log.accesses.append((int(clock), int(words[0]), False))
        else:
            raise AssertionError(line)
    return log


def adc_sample(tick: int, channel: int) -> int:
    """What engine_bench shows on its input in the frame behind tick number `tick`."""
    return ((tick << 3 | channel) + 1) * 0x9E3779B1 & 0xFFFF_FFFF


def check_render(
    setup: StreamSetup, frames: list[Frame], memory: bytes, positions: Sequence[int] | None = None
) -> None:
    """Every frame at the DAC is the next of the ring, byte for byte. `positions`: in their place."""
    size = setup.sample_bytes
    count = len(frames) * setup.frame_bytes
    source = bytes(memory[position] for position in (positions or setup.positions(count))[:count])
    for number, frame in enumerate(frames):
        expected = []
        for channel in range(setup.channels):
            start = number * setup.frame_bytes + channel * size
            word = int.from_bytes(source[start : start + size], "little") << (32 - 8 * size)
            expected.append((word ^ (1 << 31 if size == 1 else 0)) & 0xFFFF_FF00)
        if setup.channels == 1:
            expected *= 2
        assert frame.samples == expected, (
            f"stream {setup.stream} frame {number}: {[hex(s) for s in frame.samples]}, "
            f"expected {[hex(s) for s in expected]}"
        )


def check_consecutive(frames: list[Frame]) -> None:
    """No tick without a frame between the first and the last."""
    ticks = [frame.tick for frame in frames]
    gaps = [(before, after) for before, after in pairwise(ticks) if after != before + 1]
    assert not gaps, f"frames are not at consecutive ticks: {gaps}"


def captured_bytes(setup: StreamSetup, frames: list[Frame]) -> bytes:
    """The bytes that the frames taken make, in the stream's format."""
    out = bytearray()
    for frame in frames:
        for channel in range(setup.channels):
            word = (adc_sample(frame.tick, channel) ^ (1 << 31 if setup.sample_bytes == 1 else 0)) & 0xFFFF_FF00
            out += word.to_bytes(4, "little")[4 - setup.sample_bytes :]
    return bytes(out)


def apply_capture(
    setup: StreamSetup,
    frames: list[Frame],
    moved_bytes: int,
    memory: bytearray,
    positions: Sequence[int] | None = None,
) -> None:
    """Write into `memory` what the engine must have written when it says it moved `moved_bytes`."""
    data = captured_bytes(setup, frames)
    assert moved_bytes <= len(data), f"{moved_bytes} bytes in memory, {len(data)} taken"
    for position, value in zip(positions or setup.positions(moved_bytes), data, strict=False):
        memory[position] = value


def check_descriptor_events(setup: StreamSetup, log: Log, moved_bytes: int) -> int:
    """Each finished descriptor with the flag has its event, in order, with the right words. Returns how many."""
    events = [event for event in log.events if event.stream == setup.stream and event.cause == 0]
    expected, total, number = [], 0, 0
    while True:
        index = number % len(setup.ring)
        descriptor = setup.ring[index]
        if descriptor.removed:
            number += 1
            continue
        if total + descriptor.length_bytes > moved_bytes:
            break
        total += descriptor.length_bytes
        number += 1
        if descriptor.event:
            expected.append((index | int(descriptor.last) << 16, descriptor.tag, total))
    assert [event.data[:3] for event in events] == expected, f"stream {setup.stream}: wrong descriptor events"
    for event in events:
        converted = sum(1 for frame in log.of(setup.stream) if frame.cycle < event.cycle)
        assert event.data[3] == converted, f"{event}: {converted} frames were converted"
    return len(events)
