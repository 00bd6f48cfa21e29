"""What a converter made of a test signal that repeats: levels, exchanged channels, noise, distortion.

The signal has one tone a channel, each a whole number of cycles in a period of a prime number of frames, so that the
capture can be folded: what repeats is the path's, what does not is noise. It is no multiple of 1 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERIOD_FRAMES = 97
CYCLES = (2, 3)
"""Of left and right in a period: 990 and 1485 Hz at 48 kHz."""
AMPLITUDE = 0.25
"""-12 dBFS: no converter of ours is overdriven by it, and one bit of shift either way still fits."""

Samples = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """One channel of a folded capture; levels relative to full scale."""

    constant: bool
    """Every sample has the same value."""
    value: int
    """The first sample."""
    level: float
    """Amplitude of this channel's own tone."""
    other: float
    """Amplitude of the other channel's tone."""
    distortion: float
    """RMS of what repeats, without mean and both tones."""
    noise: float
    """Standard deviation of what does not repeat: the median over the frames of a period."""


def make_signal(periods: int, bits: int = 24) -> Samples:
    """Right-justified stereo samples of `bits` bits."""
    phase = 2 * np.pi * np.arange(periods * PERIOD_FRAMES)[:, None] * np.array(CYCLES) / PERIOD_FRAMES
    return np.rint(AMPLITUDE * (2 ** (bits - 1) - 1) * np.sin(phase)).astype(np.int32)


def fold(captured: Samples, bits: int = 24) -> list[ChannelFigures]:
    """Figures of each channel of a stereo capture that holds the test signal from beginning to end, in any phase."""
    periods = len(captured) // PERIOD_FRAMES
    if periods < 4:
        raise ValueError(f"expected 4 periods of {PERIOD_FRAMES} frames or more, found {len(captured)} frames")
    whole = captured[: periods * PERIOD_FRAMES].astype(np.float64) / (1 << (bits - 1))
    stacked = whole.reshape(periods, PERIOD_FRAMES, 2)
    waveform = stacked.mean(axis=0)
    noise = np.median(stacked.std(axis=0), axis=0)
    spectrum = np.fft.rfft(waveform, axis=0) / PERIOD_FRAMES * 2
    found = []
    for channel in range(2):
        own, other = CYCLES[channel], CYCLES[1 - channel]
        rest = spectrum[:, channel].copy()
        rest[[0, own, other]] = 0
        column = captured[:, channel]
        found.append(
            ChannelFigures(
                constant=bool(np.all(column == column[0])),
                value=int(column[0]),
                level=float(abs(spectrum[own, channel])),
                other=float(abs(spectrum[other, channel])),
                distortion=float(np.sqrt(np.sum(np.abs(rest) ** 2) / 2)),
                noise=float(noise[channel]),
            )
        )
    return found
