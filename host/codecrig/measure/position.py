"""Rate and jitter of a stream position, from reads that carry board time and host time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

LEAST_POINTS = 30
"""Fewer points give no figure (Microsoft's KS position test needs as many)."""
SETTLE_S = 0.1
"""Span behind the first point that is left out, as the KS position test does."""


class NotEnoughPoints(ValueError):
    """The run was too short for a rate; the message says what it had."""


@dataclass(frozen=True, slots=True)
class PositionSample:
    """One read of a position."""

    host_ns: int
    """Host time of the read."""
    ticks: int
    """Board time at which the position was true."""
    frames: int


@dataclass(frozen=True, slots=True)
class PositionFit:
    """Straight line through positions over host time."""

    rate_hz: float
    """Frames in a second of host time."""
    rate_error: float
    """rate_hz / nominal - 1. 37e-6: the board runs 37 ppm fast as the host sees it."""
    rate_error_uncertainty: float
    """Standard error of rate_error."""
    frames_per_tick: float
    """Frames in a tick of board time."""
    jitter_std_frames: float
    """Standard deviation of position minus line, each point moved from the time of the read to that of the position."""
    jitter_max_frames: float
    link_jitter_ns: float
    """Standard deviation of the host's times against the board's: the noise of the link, not of the position."""
    points: int
    host_s: npt.NDArray[np.float64] = field(repr=False)
    """Host time of the positions, from the first point; by the fit of board time over host time."""
    frames: npt.NDArray[np.int64] = field(repr=False)
    residual_frames: npt.NDArray[np.float64] = field(repr=False)

    @property
    def rate_ppm(self) -> float:
        """rate_error in parts per million."""
        return self.rate_error * 1e6


def fit_positions(
    points: Sequence[PositionSample], nominal_rate_hz: float, *, settle_s: float = SETTLE_S
) -> PositionFit:
    """Fits a line to positions over host time.

    Board time over host time is one line (the link's noise is in it), position over board time another (the
    position's own jitter is in it). The rate is the product of the slopes, so noise of the link does not look like
    jitter of the stream. Points of the first `settle_s` and repeated reads are left out. Raises NotEnoughPoints.
    """
    kept: list[PositionSample] = []
    for point in sorted(points, key=lambda each: each.host_ns):
        settled = point.host_ns - points[0].host_ns >= settle_s * 1e9
        if settled and not (kept and (point.ticks <= kept[-1].ticks or point.host_ns <= kept[-1].host_ns)):
            kept.append(point)
    if len(kept) < LEAST_POINTS:
        raise NotEnoughPoints(
            f"expected at least {LEAST_POINTS} reads of the position after {settle_s:g} s, found {len(kept)}; "
            "play something longer"
        )
    first = kept[0]
    # Differences from the first point are small enough for double precision; the counters themselves may not be.
    host_s = np.array([point.host_ns - first.host_ns for point in kept], np.float64) / 1e9
    ticks = np.array([point.ticks - first.ticks for point in kept], np.float64)
    frames = np.array([point.frames - first.frames for point in kept], np.int64)

    ticks_per_s, ticks_offset, clock_error = _line(host_s, ticks)
    frames_per_tick, frames_offset, position_error = _line(ticks, frames.astype(np.float64))
    residual = frames - (frames_offset + frames_per_tick * ticks)
    clock_residual = ticks - (ticks_offset + ticks_per_s * host_s)
    rate_hz = frames_per_tick * ticks_per_s
    rate_error = rate_hz / nominal_rate_hz - 1.0
    if ticks_per_s and frames_per_tick:
        relative = np.hypot(clock_error / ticks_per_s, position_error / frames_per_tick)
    else:
        relative = np.inf
    return PositionFit(
        rate_hz=rate_hz,
        rate_error=rate_error,
        rate_error_uncertainty=float(relative) * rate_hz / nominal_rate_hz,
        frames_per_tick=frames_per_tick,
        jitter_std_frames=float(np.std(residual)),
        jitter_max_frames=float(np.max(np.abs(residual))),
        link_jitter_ns=float(np.std(clock_residual) / ticks_per_s * 1e9) if ticks_per_s else float("inf"),
        points=len(kept),
        host_s=(ticks - ticks_offset) / ticks_per_s if ticks_per_s else host_s,
        frames=frames,
        residual_frames=residual,
    )


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Least squares: slope, value at 0, standard error of the slope."""
    centred = x - np.mean(x)
    spread = float(np.sum(centred**2))
    slope = float(np.sum(centred * y)) / spread
    offset = float(np.mean(y)) - slope * float(np.mean(x))
    residual = y - (offset + slope * x)
    variance = float(np.sum(residual**2)) / (len(x) - 2)
    return slope, offset, float(np.sqrt(variance / spread))
