"""Where in a capture the played signal begins: exactly for a digital path, to a part of a sample for an analog one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Frames of a probe. Long enough that noise does not match by chance, short enough to fit between two faults.
_PROBE_FRAMES = 32
_PROBES = 24
# A probe that occurs more often than this is too regular to say anything.
_MOST_PLACES = 64
# Correlation peak below which no delay is claimed: noise of 10,000 frames stays below 0.05.
LEAST_CORRELATION = 0.3


@dataclass(frozen=True, slots=True)
class Alignment:
    """Played frame 0 lies at captured frame `offset_frames`, which is negative if the capture began later."""

    offset_frames: int
    exact: bool
    """Found by equal frames. Otherwise by correlation: a hint that lets a comparison name the first bad frame."""


@dataclass(frozen=True, slots=True)
class Delay:
    """How much later a signal is in a capture."""

    frames: float
    correlation: float
    """Height of the correlation peak: 1 for a copy, about 0 for something else."""


def align_exact(played: npt.NDArray[np.int32], captured: npt.NDArray[np.int32]) -> Alignment | None:
    """Places the played frames in the capture by runs of equal frames; None if neither those nor correlation find them.

    Works with faults in the capture: the place of the earliest stretch that is found wins, so that a frame lost
    later shows where it was lost. Of places that share it (a periodic signal), the one that most frames agree with
    wins, then the earliest.
    """
    if not len(played) or not len(captured) or played.shape[1] != captured.shape[1]:
        return None
    earliest: dict[int, int] = {}
    probe_frames = min(_PROBE_FRAMES, len(played))
    haystack = np.ascontiguousarray(captured, np.int32)
    row_bytes = haystack.dtype.itemsize * haystack.shape[1]
    text = haystack.tobytes()
    for start in _probe_places(played, probe_frames):
        probe = np.ascontiguousarray(played[start : start + probe_frames], np.int32).tobytes()
        places = _find_rows(text, probe, row_bytes)
        if len(places) <= _MOST_PLACES:
            for place in places:
                earliest.setdefault(place - start, start)
    if earliest:
        first = min(earliest.values())
        candidates = [offset for offset, start in earliest.items() if start == first]
        offset = min(candidates, key=lambda each: (-_equal_frames(played, captured, each), each))
        return Alignment(offset, True)
    delay = find_delay(played.astype(np.float64), captured.astype(np.float64))
    if delay is None or abs(delay.correlation) < LEAST_CORRELATION:
        return None
    return Alignment(round(delay.frames), False)


def find_delay(
    played: npt.NDArray[np.float64], captured: npt.NDArray[np.float64], *, refine: bool = True
) -> Delay | None:
    """The delay of `captured` against `played`, or None if one of them is silent.

    The whole frames come from the peak of the cross-correlation over all channels, the rest from the slope of the
    phase of the cross-spectrum over frequency, weighted by its magnitude (1e-3 frames or better on broadband signals
    without noise).
    """
    played, captured = _centred(played), _centred(captured)
    energy = float(np.sqrt(np.sum(played**2) * np.sum(captured**2)))
    if energy == 0.0:
        return None
    size = _fast_length(len(played) + len(captured))
    spectrum = np.sum(np.fft.rfft(captured, size, axis=0) * np.conj(np.fft.rfft(played, size, axis=0)), axis=1)
    correlation = np.fft.irfft(spectrum, size)
    peak = int(np.argmax(np.abs(correlation)))
    whole = peak if peak < size - len(played) + 1 else peak - size
    height = _overlap_correlation(played, captured, whole)
    if not refine:
        return Delay(float(whole), height)
    # What is left after the whole frames is within half a frame, so the phase does not wrap (up to three quarters of
    # the band).
    omega = 2 * np.pi * np.arange(len(spectrum)) / size
    rest = spectrum * np.exp(1j * omega * whole) * np.sign(correlation[peak])
    weight = np.abs(rest)
    weight[0] = 0.0
    weight[omega > 0.75 * np.pi] = 0.0
    fraction = 0.0
    for _ in range(8):
        phase = np.angle(rest * np.exp(1j * omega * fraction))
        step = -float(np.sum(weight * omega * phase) / np.sum(weight * omega**2))
        fraction += step
        if abs(step) < 1e-9:
            break
    if abs(fraction) > 1.0:
        fraction = 0.0  # the phase said nothing; the peak stands alone
    return Delay(whole + fraction, height)


def _probe_places(played: npt.NDArray[np.int32], probe_frames: int) -> list[int]:
    """Starts of stretches that vary, in rising order: the first one there is, and the best of each part of the
    signal.
    """
    changes = np.any(np.diff(played, axis=0) != 0, axis=1).astype(np.int64)
    activity = np.concatenate(([0], np.cumsum(changes)))
    last = len(played) - probe_frames
    if last <= 0:
        return [0]
    starts = np.arange(0, last + 1)
    score = activity[starts + probe_frames - 1] - activity[starts]
    places = [int(np.argmax(2 * score >= np.max(score)))] if np.max(score) > 0 else []
    for part in np.array_split(starts, min(_PROBES, len(starts))):
        best = int(part[np.argmax(score[part])])
        if score[best] > 0:
            places.append(best)
    # A signal that moves rarely (a step, a square wave) still has its edges; silence has nothing to align on.
    return sorted(set(places))


def _find_rows(text: bytes, probe: bytes, row_bytes: int) -> list[int]:
    places: list[int] = []
    at = text.find(probe)
    while at >= 0 and len(places) <= _MOST_PLACES:
        if at % row_bytes == 0:
            places.append(at // row_bytes)
        at = text.find(probe, at + 1)
    return places


def _equal_frames(played: npt.NDArray[np.int32], captured: npt.NDArray[np.int32], offset: int) -> int:
    first, last = max(0, -offset), min(len(played), len(captured) - offset)
    if last <= first:
        return 0
    equal = np.all(played[first:last] == captured[first + offset : last + offset], axis=1)
    return int(np.count_nonzero(equal))


def _overlap_correlation(played: npt.NDArray[np.float64], captured: npt.NDArray[np.float64], offset: int) -> float:
    first, last = max(0, -offset), min(len(played), len(captured) - offset)
    if last <= first:
        return 0.0
    one, other = played[first:last], captured[first + offset : last + offset]
    energy = float(np.sqrt(np.sum(one**2) * np.sum(other**2)))
    return float(np.sum(one * other)) / energy if energy else 0.0


def _centred(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A copy in two dimensions without its mean."""
    table = np.asarray(samples, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    return table - np.mean(table, axis=0) if len(table) else table


def _fast_length(least: int) -> int:
    """The next length that numpy transforms quickly: 2, 3 or 5 times a power of two."""
    return min(factor << max(0, (max(1, -(-least // factor)) - 1).bit_length()) for factor in (2, 3, 5))
