"""The codec model alone, driven at its pins: bits, frames and the arithmetic of the analog path."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "host" / "codecrig" / "twin" / "native"
FULL_SCALE = (1 << 23) - 1
NONE, OPEN, STUCK0, STUCK1, SWAP = range(5)

Frame = tuple[int, int]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    out = tmp_path_factory.mktemp("codec") / "codec.so"
    sources = [str(HERE / "codec_pins.cpp"), str(NATIVE / "codec.cpp")]
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{NATIVE}"]
    subprocess.run([compiler, *flags, *sources, "-o", str(out)], check=True)
    loaded = ctypes.CDLL(str(out))
    loaded.codec_new.restype = ctypes.c_void_p
    loaded.codec_edge.restype = ctypes.c_bool
    loaded.codec_frames.restype = ctypes.c_uint64
    return loaded


class Pins:
    """Clocks the codec as an I2S master does: Philips, 64 bit clocks a frame, data changes at the falling edge."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._codec = ctypes.c_void_p(library.codec_new())
        self._carry = 0

    def close(self) -> None:
        self._library.codec_delete(self._codec)

    def set(self, gain: int = 65536, noise: int = 0, dc: int = 0, delay: int = 0, connected: bool = True) -> None:
        integers = ctypes.c_int64(gain), ctypes.c_int32(noise), ctypes.c_int32(dc), ctypes.c_uint32(delay)
        self._library.codec_set(self._codec, *integers, connected)

    def fault(self, dac: int, adc: int) -> None:
        self._library.codec_fault(self._codec, dac, adc)

    def inject(self, left: int, right: int) -> None:
        self._library.codec_inject(self._codec, ctypes.c_int32(left), ctypes.c_int32(right))

    @property
    def frames(self) -> int:
        return int(self._library.codec_frames(self._codec))

    def frame(self, left: int, right: int) -> Frame:
        """Sends one frame and returns what came back in the same slots."""
        received = []
        for lrck, word in ((False, left), (True, right)):
            bits = [self._carry] + [word >> (23 - number) & 1 for number in range(24)] + [0] * 7
            value = 0
            for number, bit in enumerate(bits):
                # The level driven at the falling edge is what the master takes at the rising edge behind it.
                level = self._library.codec_edge(self._codec, False, lrck, bool(bit))
                self._library.codec_edge(self._codec, True, lrck, bool(bit))
                if 1 <= number <= 24:
                    value = value << 1 | int(level)
            received.append(value - (1 << 24) if value >> 23 else value)
        return received[0], received[1]

    def play(self, frames: Sequence[Frame]) -> list[Frame]:
        return [self.frame(*one) for one in frames]


@pytest.fixture
def pins(library: ctypes.CDLL) -> Iterator[Pins]:
    opened = Pins(library)
    opened.set()
    yield opened
    opened.close()


def noise_frames(count: int, seed: int = 1) -> list[Frame]:
    generator = random.Random(seed)

    def sample() -> int:
        return generator.randint(-FULL_SCALE - 1, FULL_SCALE)

    return [(sample(), sample()) for _ in range(count)]


@pytest.mark.parametrize("delay", [0, 1, 22, 4096])
def test_frame_n_comes_back_as_frame_n_plus_1_plus_delay(pins: Pins, delay: int) -> None:
    pins.set(delay=delay)
    sent = noise_frames(delay + 40)
    received = pins.play(sent)
    assert received[: delay + 1] == [(0, 0)] * (delay + 1)
    assert received[delay + 1 :] == sent[: len(sent) - delay - 1]
    assert pins.frames == len(sent)


@pytest.mark.parametrize("gain", [0, 1, 32768, 46341, 65536, 131072, -65536])
@pytest.mark.parametrize("dc", [0, 17, -300000])
def test_gain_and_dc_are_exact_and_saturate(pins: Pins, gain: int, dc: int) -> None:
    pins.set(gain=gain, dc=dc)
    sent = [(FULL_SCALE, -FULL_SCALE - 1), (1, -1), (3, -3), *noise_frames(20)]
    received = pins.play([*sent, (0, 0)])[1:]

    def analog(sample: int) -> int:
        return max(-FULL_SCALE - 1, min(FULL_SCALE, ((sample * gain + 32768) >> 16) + dc))

    assert received == [(analog(left), analog(right)) for left, right in sent]


def test_noise_stays_within_its_peak_and_repeats(library: ctypes.CDLL) -> None:
    runs = []
    for _ in range(2):
        pins = Pins(library)
        pins.set(noise=100)
        runs.append(pins.play([(0, 0)] * 300)[1:])
        pins.close()
    assert runs[0] == runs[1]
    values = [value for frame in runs[0] for value in frame]
    assert max(map(abs, values)) <= 100
    assert max(map(abs, values)) > 60  # triangular: 600 values reach beyond 60 % of the peak
    assert abs(sum(values) / len(values)) < 10


def test_pulled_cable_is_silence(pins: Pins) -> None:
    pins.set(connected=False, dc=5)
    assert pins.play(noise_frames(5)) == [(5, 5)] * 5


def test_injected_frames_replace_the_cable_untouched(pins: Pins) -> None:
    pins.set(gain=32768, dc=99)
    pins.inject(123456, -654321)
    pins.inject(FULL_SCALE, -FULL_SCALE - 1)
    received = pins.play([(1000, 2000)] * 4)
    assert received[:2] == [(123456, -654321), (FULL_SCALE, -FULL_SCALE - 1)]
    assert received[3] == (500 + 99, 1000 + 99)


@pytest.mark.parametrize(("fault", "level"), [(STUCK0, 0), (STUCK1, -1)])
def test_stuck_lines(pins: Pins, fault: int, level: int) -> None:
    pins.fault(NONE, fault)
    assert pins.play(noise_frames(4)) == [(level, level)] * 4
    pins.fault(fault, NONE)
    assert pins.play(noise_frames(4))[2:] == [(level, level)] * 2


def test_open_adc_line_is_noise(pins: Pins) -> None:
    pins.fault(NONE, OPEN)
    received = pins.play([(0, 0)] * 50)
    assert len(set(received)) > 45


def test_swap_exchanges_the_channels(pins: Pins) -> None:
    pins.fault(NONE, SWAP)
    sent = noise_frames(6)
    assert pins.play(sent)[1:] == [(right, left) for left, right in sent[:-1]]


def test_frame_count_leaves_out_a_frame_begun_in_the_middle(pins: Pins, library: ctypes.CDLL) -> None:
    for number in range(32):  # only a right word
        for level in (False, True):
            library.codec_edge(pins._codec, level, True, number % 2 == 0)
    assert pins.frames == 0
    pins.play([(1, 2)] * 3)
    assert pins.frames == 3
