"""What an analog path did to any signal: delay, gain, DC, and what was added."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from codecrig.measure.alignment import LEAST_CORRELATION, Delay, find_delay


@dataclass(frozen=True, slots=True)
class Transfer:
    """A path as the best constant gain and delay describe it."""

    delay: Delay
    gain_db: tuple[float, ...]
    """For each channel; minus infinity for a silent one."""
    dc: tuple[float, ...]
    """For each channel, relative to full scale."""
    residual_dbfs: tuple[float, ...]
    """What the path added, for each channel; 0 dBFS is the RMS of a full-scale sine."""
    snr_db: float
    """All channels: played signal at the output over what was added."""
    first_frame: int
    """Played frame that `residual` begins with."""
    residual: npt.NDArray[np.float64] = field(repr=False)
    """What was added, relative to full scale, one row for each frame."""


def compare_analog(
    played: npt.NDArray[np.int32], captured: npt.NDArray[np.int32], *, full_scale: float
) -> Transfer | None:
    """Fits delay (one for all channels), gain and DC (one for each); None if the signal cannot be found in the
    capture.
    """
    source = np.asarray(played, np.float64) / full_scale
    heard = np.asarray(captured, np.float64) / full_scale
    delay = find_delay(source, heard)
    if delay is None or abs(delay.correlation) < LEAST_CORRELATION:
        return None
    whole = int(np.floor(delay.frames))
    first, last = max(0, -whole), min(len(source), len(heard) - whole)
    shifted = source if abs(delay.frames - whole) < 1e-6 else _delay_fraction(source, delay.frames - whole)
    gains, offsets, rests = [], [], []
    residual = np.empty((last - first, source.shape[1]))
    signal_power = noise_power = 0.0
    for channel in range(source.shape[1]):
        x, y = shifted[first:last, channel], heard[first + whole : last + whole, channel]
        centred = x - np.mean(x)
        energy = float(np.sum(centred**2))
        gain = float(np.sum(centred * y)) / energy if energy else 0.0
        dc = float(np.mean(y)) - gain * float(np.mean(x))
        rest = y - gain * x - dc
        residual[:, channel] = rest
        gains.append(_decibel(abs(gain)))
        offsets.append(dc)
        rests.append(_decibel(float(np.sqrt(np.mean(rest**2) * 2))))
        signal_power += gain**2 * energy
        noise_power += float(np.sum(rest**2))
    return Transfer(
        delay=delay,
        gain_db=tuple(gains),
        dc=tuple(offsets),
        residual_dbfs=tuple(rests),
        snr_db=10 * float(np.log10(signal_power / noise_power)) if noise_power else float("inf"),
        first_frame=first,
        residual=residual,
    )


def _delay_fraction(samples: npt.NDArray[np.float64], fraction: float) -> npt.NDArray[np.float64]:
    """Delays by a part of a frame, exact for a band-limited signal that begins and ends in silence."""
    size = len(samples) + 256
    spectrum = np.fft.rfft(samples, size, axis=0)
    omega = 2 * np.pi * np.arange(len(spectrum))[:, None] / size
    return np.fft.irfft(spectrum * np.exp(-1j * omega * fraction), size, axis=0)[: len(samples)]


def _decibel(ratio: float) -> float:
    return 20 * float(np.log10(ratio)) if ratio > 0 else float("-inf")
