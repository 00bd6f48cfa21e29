"""The twin's MIDI wires and S/PDIF receiver alone, against encoders that are written here from the standards."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "host" / "codecrig" / "twin" / "native"
TICKS_PER_BIT = 12_288_000 / 31250
BYTE_TICKS = round(10 * TICKS_PER_BIT)
CAPACITY = 4096


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    out = tmp_path_factory.mktemp("pins") / "pins.so"
    sources = [str(HERE / "peripheral_pins.cpp"), str(NATIVE / "pins.cpp")]
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{NATIVE}"]
    subprocess.run([compiler, *flags, *sources, "-o", str(out)], check=True)
    loaded = ctypes.CDLL(str(out))
    for name in ("midi_new", "spdif_new"):
        getattr(loaded, name).restype = ctypes.c_void_p
    loaded.midi_next.restype = ctypes.c_uint64
    loaded.midi_drive.restype = ctypes.c_bool
    return loaded


# ---------------------------------------------------------------- MIDI


def byte_levels(value: int, start: float, bit_ticks: float = TICKS_PER_BIT, stop: int = 1) -> list[tuple[int, int]]:
    """(tick, level) at the border of each bit."""
    bits = [0, *(value >> index & 1 for index in range(8)), stop]
    return [(round(start + index * bit_ticks), bit) for index, bit in enumerate(bits)]


class Wires:
    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._midi = ctypes.c_void_p(library.midi_new())
        self._level = 1

    def close(self) -> None:
        self._library.midi_delete(self._midi)

    def play(self, levels: Sequence[tuple[int, int]]) -> None:
        for tick, level in levels:
            if level != self._level:
                self._library.midi_edge(self._midi, bool(level), ctypes.c_uint64(tick))
                self._level = level

    def take(self, now: int) -> list[tuple[int, int]]:
        ticks, values = (ctypes.c_uint64 * CAPACITY)(), (ctypes.c_uint32 * CAPACITY)()
        count = self._library.midi_take(self._midi, ctypes.c_uint64(now), ticks, values, CAPACITY)
        return [(ticks[index], values[index]) for index in range(count)]

    def send(self, now: int, tick: int, data: bytes) -> None:
        for value in data:
            self._library.midi_send(self._midi, ctypes.c_uint64(now), ctypes.c_uint64(tick), value)

    def loop(self, looped: bool) -> None:
        self._library.midi_loop(self._midi, looped)

    def level(self, now: int) -> int:
        return int(self._library.midi_drive(self._midi, ctypes.c_uint64(now)))

    @property
    def next_tick(self) -> int:
        return int(self._library.midi_next(self._midi))


@pytest.fixture
def wires(library: ctypes.CDLL) -> Iterator[Wires]:
    made = Wires(library)
    yield made
    made.close()


def test_midi_bytes_with_their_times(wires: Wires) -> None:
    """All values, back to back and with pauses, from senders up to 3 % off, read at any moment."""
    chooser = random.Random(1)
    tick, expected = 1000.0, []
    levels = []
    for factor in (1.0, 0.97, 1.03):
        for value in chooser.sample(range(256), 256):
            expected.append((round(tick), value))
            levels += byte_levels(value, tick, TICKS_PER_BIT * factor)
            tick += 10 * TICKS_PER_BIT * factor + chooser.choice([0, 0, 1, 700, 20_000])
    found = []
    for position, (when, level) in enumerate(levels):
        wires.play([(when, level)])
        if chooser.randrange(30) == 0 and position + 1 < len(levels):
            found += wires.take(chooser.randint(when, levels[position + 1][0]))
    found += wires.take(round(tick) + BYTE_TICKS)
    assert found == expected


def test_midi_byte_is_not_told_before_its_stop_bit(wires: Wires) -> None:
    wires.play(byte_levels(0xFF, 500))
    assert wires.take(500 + int(9.4 * TICKS_PER_BIT)) == []
    assert wires.take(500 + int(9.6 * TICKS_PER_BIT)) == [(500, 0xFF)]
    assert wires.take(10**9) == []


def test_midi_glitch_break_and_bad_stop_bit(wires: Wires) -> None:
    wires.play([(100, 0), (200, 1)])  # shorter than half a bit
    wires.play(byte_levels(0x42, 1000))
    start = 1000 + 2 * BYTE_TICKS
    wires.play([*byte_levels(0x81, start, stop=0), (start + BYTE_TICKS + 50, 1)])
    assert wires.take(start + 2 * BYTE_TICKS) == [(1000, 0x42), (start, 0x81 | 256)]
    start += 4 * BYTE_TICKS
    wires.play([(start, 0)])
    assert wires.take(start + 30 * BYTE_TICKS) == []  # a break lasts
    wires.play([(start + 40 * BYTE_TICKS, 1)])
    wires.play(byte_levels(0x07, start + 41 * BYTE_TICKS))
    assert wires.take(start + 43 * BYTE_TICKS) == [(start, 256), (start + 41 * BYTE_TICKS, 0x07)]


def test_midi_sender(wires: Wires) -> None:
    """Bits of exact length from the tick asked for; late ones at once; bytes do not overlap; a loop hears both."""
    wires.send(50, 1000, b"\x90\x3c")
    wires.send(50, 0, b"\x00")
    expected = []
    for index, value in enumerate(b"\x90\x3c\x00"):
        levels = byte_levels(value, 1000 + index * 10 * TICKS_PER_BIT)
        expected += levels
    at = {tick: level for tick, level in expected}
    level = 1
    for tick in range(50, expected[-1][0] + 500):
        level = at.get(tick, at.get(tick - 1, level))  # a border may lie within a tick
        if tick not in at and tick - 1 not in at:
            assert wires.level(tick) == level, tick
    assert wires.next_tick == 2**64 - 1
    wires.loop(True)
    wires.play([(100_000, 0)])
    assert wires.level(100_000) == 0
    wires.loop(False)
    assert wires.level(100_001) == 1
    wires.send(200_000, 5, b"\x01")
    assert wires.next_tick == 200_001


# ---------------------------------------------------------------- S/PDIF

STATUS_LEFT, STATUS_RIGHT, INVALID_LEFT, INVALID_RIGHT, USER_LEFT, USER_RIGHT, BLOCK, BAD_PARITY = (
    1 << index for index in range(8)
)
PREAMBLES = {"B": (3, 1, 1, 3), "M": (3, 3, 1, 1), "W": (3, 2, 1, 2)}


def subframe_gaps(
    preamble: str, sample: int, valid: int = 0, user: int = 0, status: int = 0, flip: int = 0
) -> list[int]:
    """Half cells between the changes of one subframe."""
    bits = [sample >> index & 1 for index in range(24)] + [valid, user, status]
    bits.append(sum(bits) & 1 ^ flip)
    gaps = list(PREAMBLES[preamble])
    for bit in bits:
        gaps += [1, 1] if bit else [2]
    return gaps


@dataclass(frozen=True)
class Heard:
    samples: list[tuple[int, int]]
    flags: list[int]
    tick: int
    errors: int
    half: int


class Receiver:
    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._spdif = ctypes.c_void_p(library.spdif_new())
        self.tick = 12_345

    def close(self) -> None:
        self._library.spdif_delete(self._spdif)

    def start(self) -> None:
        self._library.spdif_start(self._spdif)

    def play(self, gaps: Sequence[int], half: int) -> None:
        for gap in gaps:
            self.tick += gap * half
            self._library.spdif_edge(self._spdif, ctypes.c_uint64(self.tick))

    def take(self) -> Heard:
        samples, flags = (ctypes.c_int32 * (2 * CAPACITY))(), (ctypes.c_uint8 * CAPACITY)()
        tick, errors, half = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_uint32()
        references = ctypes.byref(tick), ctypes.byref(errors), ctypes.byref(half)
        count = self._library.spdif_take(self._spdif, samples, flags, CAPACITY, *references)
        pairs = [(samples[2 * index], samples[2 * index + 1]) for index in range(count)]
        return Heard(pairs, [flags[index] for index in range(count)], tick.value, errors.value, half.value)


@pytest.fixture
def receiver(library: ctypes.CDLL) -> Iterator[Receiver]:
    made = Receiver(library)
    made.start()
    yield made
    made.close()


def words(sample: int) -> int:
    """A 24-bit word as a left-justified 32-bit number."""
    return sample << 8 if sample < 1 << 23 else (sample << 8) - (1 << 32)


@pytest.mark.parametrize("half", [1, 2, 3, 4, 6, 12])
def test_spdif_frames(receiver: Receiver, half: int) -> None:
    """Samples and every bit beside them, at all lengths of a cell."""
    chooser = random.Random(half)
    frames = [
        (chooser.getrandbits(24), chooser.getrandbits(24), [chooser.getrandbits(1) for _ in range(6)])
        for _ in range(400)
    ]
    starts = []
    for index, (left, right, (vl, vr, ul, ur, cl, cr)) in enumerate(frames):
        starts.append(receiver.tick)
        receiver.play(subframe_gaps("B" if index % 192 == 0 else "M", left, vl, ul, cl), half)
        receiver.play(subframe_gaps("W", right, vr, ur, cr), half)
    heard = receiver.take()
    count = len(heard.samples)
    assert 395 < count <= 400 and (heard.errors, heard.half) == (0, half)
    first = 400 - count  # the first ones teach the length of a cell
    assert heard.tick == starts[first]
    assert heard.samples == [(words(left), words(right)) for left, right, _ in frames[first:]]
    for index, flags in enumerate(heard.flags, first):
        vl, vr, ul, ur, cl, cr = frames[index][2]
        expected = cl * STATUS_LEFT | cr * STATUS_RIGHT | vl * INVALID_LEFT | vr * INVALID_RIGHT
        assert flags == expected | ul * USER_LEFT | ur * USER_RIGHT | (BLOCK if index % 192 == 0 else 0)


def test_spdif_bad_parity_and_bad_code(receiver: Receiver) -> None:
    """Wrong parity marks its frame; a gap that the standard does not know costs frames and is counted."""
    good = subframe_gaps("M", 0x123456) + subframe_gaps("W", 0xABCDEF)
    receiver.play(good * 10, 2)
    receiver.take()
    receiver.play(subframe_gaps("M", 0x123456, flip=1) + subframe_gaps("W", 0xABCDEF), 2)
    receiver.play(good, 2)
    heard = receiver.take()
    assert heard.flags == [BAD_PARITY, 0] and heard.errors == 0
    for bad in ([4], [1, 2], [3], [3, 1, 1, 1]):  # too long; half a one; gap among data; no preamble
        receiver.play(subframe_gaps("M", 0)[:-3] + bad, 2)
        receiver.play(good * 10, 2)
        heard = receiver.take()
        assert heard.errors >= 1 and 4 <= len(heard.samples) <= 9, bad
        assert set(heard.samples) <= {(words(0x123456), words(0xABCDEF))}


def test_spdif_right_alone_is_no_frame(receiver: Receiver) -> None:
    receiver.play(subframe_gaps("W", 1) * 12, 2)
    heard = receiver.take()
    assert heard.samples == [] and heard.half == 2
