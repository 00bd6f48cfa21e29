"""Level of a signal, spectrum, and noise and distortion of a tone by least-squares removal of the sine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tone:
    """A sine found in a signal, and what is left without it. 0 dBFS is the RMS of a full-scale sine (AES17)."""

    frequency_hz: float
    level_dbfs: float
    dc: float
    """Mean, relative to full scale."""
    noise_dbfs: float
    """Harmonics and noise together, whole band."""
    thd_n_db: float
    """Harmonics and noise relative to the tone."""
    snr_db: float
    """Tone relative to what is left without harmonics 2 to 5."""
    harmonics_db: tuple[float, ...]
    """Harmonics 2 to 5 relative to the tone, as far as they lie in the band."""


def level_dbfs(signal: Signal, full_scale: float = 1.0) -> float:
    """RMS level without the mean; a full-scale sine has 0 dBFS, silence minus infinity."""
    centred = signal - np.mean(signal)
    return _decibel(float(np.sqrt(np.mean(centred**2))) * np.sqrt(2) / full_scale)


def analyse_tone(
    signal: Signal, sample_rate: float, *, frequency_hz: float | None = None, full_scale: float = 1.0
) -> Tone:
    """Fits one sine (amplitude, phase, frequency, mean) and its harmonics 2 to 5 by least squares.

    `frequency_hz` is where to start; without it the highest line of the spectrum is taken. The span should hold ten
    periods or more.
    """
    signal = np.asarray(signal, np.float64) / full_scale
    time_s = np.arange(len(signal)) / sample_rate
    if frequency_hz is None:
        frequency_hz = _highest_line(signal, sample_rate)
    for _ in range(12):
        # Linear in amplitude and mean; the frequency follows from the drift of the phase over the span.
        cosine, sine = _pair(frequency_hz, time_s)
        ramp = time_s - time_s[-1] / 2
        table = np.column_stack([cosine, sine, np.ones_like(time_s)])
        a, b, _ = np.linalg.lstsq(table, signal, rcond=None)[0]
        table = np.column_stack([table, 2 * np.pi * ramp * (b * cosine - a * sine)])
        step = float(np.linalg.lstsq(table, signal, rcond=None)[0][3])
        frequency_hz += step
        if abs(step) < 1e-9 * sample_rate:
            break
    orders = [order for order in range(1, 6) if order * frequency_hz < sample_rate / 2]
    columns = [np.ones_like(time_s)]
    for order in orders:
        columns += _pair(order * frequency_hz, time_s)
    fit = np.linalg.lstsq(np.column_stack(columns), signal, rcond=None)[0]
    amplitudes = np.hypot(fit[1::2], fit[2::2])
    without_all = signal - np.column_stack(columns) @ fit
    without_tone = without_all + np.column_stack(columns[3:]) @ fit[3:] if len(columns) > 3 else without_all
    tone_rms = float(amplitudes[0]) / np.sqrt(2)
    rest_rms = float(np.sqrt(np.mean(without_tone**2)))
    noise_rms = float(np.sqrt(np.mean(without_all**2)))
    return Tone(
        frequency_hz=float(frequency_hz),
        level_dbfs=_decibel(float(amplitudes[0])),
        dc=float(fit[0]),
        noise_dbfs=_decibel(rest_rms * np.sqrt(2)),
        thd_n_db=_decibel(rest_rms) - _decibel(tone_rms),
        snr_db=_decibel(tone_rms) - _decibel(noise_rms),
        harmonics_db=tuple(_decibel(float(each)) - _decibel(float(amplitudes[0])) for each in amplitudes[1:]),
    )


def spectrum_dbfs(
    signal: Signal, sample_rate: float, *, full_scale: float = 1.0, size: int = 8192
) -> tuple[Signal, Signal]:
    """Frequencies and levels: Hann windows, half overlapping, powers averaged. A full-scale sine on a line reads 0
    dBFS.
    """
    signal = np.asarray(signal, np.float64) / full_scale
    size = min(size, max(16, 1 << (len(signal).bit_length() - 1)))
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    starts = range(0, len(signal) - size + 1, size // 2)
    power = np.zeros(size // 2 + 1)
    for start in starts:
        power += np.abs(np.fft.rfft(signal[start : start + size] * window)) ** 2
    amplitude = np.sqrt(power / len(starts)) * 2 / np.sum(window)
    with np.errstate(divide="ignore"):
        return np.arange(size // 2 + 1) * sample_rate / size, 20 * np.log10(amplitude)


def _highest_line(signal: Signal, sample_rate: float) -> float:
    window = np.hanning(len(signal))
    magnitude = np.abs(np.fft.rfft((signal - np.mean(signal)) * window))
    line = int(np.argmax(magnitude[1:-1])) + 1
    low, top, high = np.log(magnitude[line - 1 : line + 2] + 1e-300)
    bend = low - 2 * top + high
    return float((line + (0.5 * (low - high) / bend if bend else 0.0)) * sample_rate / len(signal))


def _pair(frequency_hz: float, time_s: Signal) -> tuple[Signal, Signal]:
    angle = 2 * np.pi * frequency_hz * time_s
    return np.cos(angle), np.sin(angle)


def _decibel(ratio: float) -> float:
    return 20 * float(np.log10(ratio)) if ratio > 0 else float("-inf")
