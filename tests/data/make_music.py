"""Makes music.wav: one second of plucked strings, 48 kHz, 24 bit, stereo. Deterministic; needs numpy and soundfile.

A rising A minor arpeggio (A3 C4 E4 A4) by additive synthesis: each string has twelve partials, slightly sharp as a
stiff string's are, each decaying faster the higher it is. The notes are placed from left to right, so that swapped
channels are heard and seen. Triangular dither of one step at 24 bits comes from a generator written out here.
"""

from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 48_000
FRAMES = SAMPLE_RATE
FULL_SCALE = 2**23
# (start in seconds, frequency in hertz, place: 0 left, 1 right, strength)
NOTES = (
    (0.02, 220.000, 0.15, 1.00),
    (0.20, 261.626, 0.40, 0.85),
    (0.38, 329.628, 0.60, 0.80),
    (0.56, 440.000, 0.85, 0.90),
)


def string(frequency_hz: float, frames: int) -> np.ndarray:
    """One plucked string, `frames` long, peak about 1."""
    time_s = np.arange(frames) / SAMPLE_RATE
    sound = np.zeros(frames)
    for partial in range(1, 13):
        partial_hz = partial * frequency_hz * np.sqrt(1 + 0.0003 * partial**2)
        pluck = np.sin(np.pi * partial * 0.23) / partial**1.3
        sound += pluck * np.exp(-time_s * (1.5 + 1.1 * partial)) * np.sin(2 * np.pi * partial_hz * time_s)
    attack = np.minimum(1.0, time_s / 0.002)
    return attack * sound


def dither(count: int) -> np.ndarray:
    """Triangular noise between -1 and 1 from a 32-bit linear congruential generator, the same everywhere."""
    state, values = 1, np.empty(2 * count)
    for index in range(2 * count):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        values[index] = state / 2**32
    return values[0::2] - values[1::2]


def music() -> np.ndarray:
    """The piece: int32 samples of 24 bits, right-justified, one row for each frame."""
    mix = np.zeros((FRAMES, 2))
    for start_s, frequency_hz, place, strength in NOTES:
        start = round(start_s * SAMPLE_RATE)
        sound = strength * string(frequency_hz, FRAMES - start)
        mix[start:, 0] += np.cos(place * np.pi / 2) * sound
        mix[start:, 1] += np.sin(place * np.pi / 2) * sound
    mix[-2400:] *= np.linspace(1, 0, 2400)[:, None]  # fade out over 50 ms
    mix *= 0.5 / np.max(np.abs(mix))
    return np.round(mix * FULL_SCALE + dither(2 * FRAMES).reshape(FRAMES, 2)).astype(np.int32)


if __name__ == "__main__":
    path = Path(__file__).with_name("music.wav")
    soundfile.write(path, music() << 8, SAMPLE_RATE, subtype="PCM_24")
    print(f"{path.name}: {FRAMES / SAMPLE_RATE:.2f} s")
