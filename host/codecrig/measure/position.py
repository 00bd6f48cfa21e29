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

LATE_READ_NS = 1_000_000
"""A read that took longer says little about its moment (the KS position test drops it too)."""
QUICK_MARGIN = 1.05
"""How much longer than the quickest tenth a read may take and still be quick: less than one more packet on USB."""
LEAST_QUICK_POINTS = 15


class NotEnoughPoints(ValueError):
    """The run was too short for a rate; the message says what it had."""


@dataclass(frozen=True, slots=True)
class PositionSample:
    """One read of a position."""

    host_ns: int
    """Host time of the read: the middle of the bracket."""
    ticks: int
    """Board time at which the position was true."""
    frames: int
    bracket_ns: int = 0
    """Host time that the read took."""


@dataclass(frozen=True, slots=True)
class PositionFit:
    """Straight line through positions over host time."""

    rate_hz: float
    """Frames in a second of host time."""
    rate_error: float
    """rate_hz / nominal - 1. 37e-6: the board runs 37 ppm fast as the host sees it."""
    rate_error_uncertainty: float
    """What rate_error may be off by: a bound for the part that whole frames leave open, else a standard error."""
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
    points: Sequence[PositionSample],
    nominal_rate_hz: float,
    *,
    settle_s: float = SETTLE_S,
    clock_points: Sequence[PositionSample] | None = None,
) -> PositionFit:
    """Fits a line to positions over host time.

    Board time over host time is one line (the link's noise is in it), position over board time another (the position's
    own jitter is in it). The rate is the product of the slopes, so noise of the link does not look like jitter of the
    stream.

    A position counts whole frames, so a perfect stream still strays by half a frame, and reads once a packet stray in
    step: least squares would take that for a slope. If there are lines from which no read strays by more than half a
    frame, the middle one of them is taken; otherwise least squares.

    Left out are points of the first `settle_s`, repeated reads, and reads that took LATE_READ_NS. The clock's line goes
    through the quickest reads: what a read took longer may lie before or behind the board's moment, and nobody knows
    which. `clock_points` are more reads for it, of other streams of the same board. Raises NotEnoughPoints.
    """
    kept = _kept(points, settle_s)
    if len(kept) < LEAST_POINTS:
        raise NotEnoughPoints(
            f"expected at least {LEAST_POINTS} reads of the position after {settle_s:g} s, found {len(kept)}; "
            "play something longer"
        )
    first = kept[0]
    # Differences from the first point are small enough for double precision; the counters themselves may not be.
    host_s = _seconds(kept, first)
    ticks = _ticks(kept, first)
    frames = np.array([point.frames - first.frames for point in kept], np.int64)

    clocked = kept if clock_points is None else _kept(clock_points, settle_s)
    quick = _quick([point.bracket_ns for point in clocked])
    clock_s, clock_ticks = _seconds(clocked, first)[quick], _ticks(clocked, first)[quick]
    ticks_per_s, ticks_offset, clock_error = _line(clock_s, clock_ticks)
    # Half a frame up: the position is somewhere in the frame that is being counted.
    middle = frames.astype(np.float64) + 0.5
    line = _within(ticks, middle, 0.5)
    frames_per_tick, frames_offset, position_error = line if line is not None else _line(ticks, middle)
    residual = middle - (frames_offset + frames_per_tick * ticks)
    clock_residual = clock_ticks - (ticks_offset + ticks_per_s * clock_s)
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


def _kept(points: Sequence[PositionSample], settle_s: float) -> list[PositionSample]:
    """Settled, quick enough, and each later than the one before."""
    kept: list[PositionSample] = []
    ordered = sorted(points, key=lambda each: each.host_ns)
    for point in ordered:
        settled = point.host_ns - ordered[0].host_ns >= settle_s * 1e9
        later = not kept or (point.ticks > kept[-1].ticks and point.host_ns > kept[-1].host_ns)
        if settled and later and point.bracket_ns < LATE_READ_NS:
            kept.append(point)
    return kept


def _seconds(points: Sequence[PositionSample], first: PositionSample) -> npt.NDArray[np.float64]:
    return np.array([point.host_ns - first.host_ns for point in points], np.float64) / 1e9


def _ticks(points: Sequence[PositionSample], first: PositionSample) -> npt.NDArray[np.float64]:
    return np.array([point.ticks - first.ticks for point in points], np.float64)


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Least squares: slope, value at 0, standard error of the slope.

    Neighbouring residuals are often alike; the error is widened as for a first-order autoregressive process.
    """
    centred = x - np.mean(x)
    spread = float(np.sum(centred**2))
    slope = float(np.sum(centred * y)) / spread
    offset = float(np.mean(y)) - slope * float(np.mean(x))
    residual = y - (offset + slope * x)
    squares = float(np.sum(residual**2))
    alike = min(max(0.0, float(np.sum(residual[1:] * residual[:-1])) / squares), 0.99) if squares else 0.0
    variance = squares / (len(x) - 2) * (1 + alike) / (1 - alike)
    return slope, offset, float(np.sqrt(variance / spread))


def _quick(brackets_ns: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which reads were as quick as the link allows; the quicker half if those are few."""
    widths = np.array(brackets_ns, np.float64)
    quick = widths <= QUICK_MARGIN * np.percentile(widths, 10)
    return quick if np.count_nonzero(quick) >= LEAST_QUICK_POINTS else widths <= np.median(widths)


def _within(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], reach: float) -> tuple[float, float, float] | None:
    """The middle one of the lines from which no point strays by more than `reach`, and half the span of their slopes.

    None if there is no such line.
    """

    def width(slope: float) -> float:
        rest = y - slope * x
        return float(np.max(rest) - np.min(rest))

    # The width is convex in the slope: find its lowest point, then where it crosses 2 * reach on both sides.
    guess = _line(x, y)[0]
    step = 4 * reach / float(x[-1] - x[0])
    low, high = guess - step, guess + step
    for _ in range(200):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, other) if width(one) <= width(other) else (one, high)
    best = (low + high) / 2
    if width(best) > 2 * reach:
        return None
    edges = []
    for outside in (best - 2 * step, best + 2 * step):
        inside = best
        for _ in range(100):
            between = (inside + outside) / 2
            inside, outside = (between, outside) if width(between) <= 2 * reach else (inside, between)
        edges.append(inside)
    slope = (edges[0] + edges[1]) / 2
    rest = y - slope * x
    return slope, float(np.max(rest) + np.min(rest)) / 2, (edges[1] - edges[0]) / 2
