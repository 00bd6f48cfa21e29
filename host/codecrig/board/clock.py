"""Board time, and how it relates to host time.

Board time is a 64-bit count of system clock ticks; host time is what the link says. They are compared by bracketed
reads (host time before and after one read of the board's clock) and a line through the tightest brackets.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

WIDER_THAN_BEST = 1.25
"""A bracket this much wider than the tightest one is still good: the bus took a little longer, nothing came between."""

_PARTS = 64
"""Of a bracket's excess width."""


def join_time(high: int, low: int, high_again: int) -> int:
    """64-bit time from TIME_HI, TIME_LO, TIME_HI_AGAIN read in this order."""
    if high != high_again and low < 1 << 31:
        high = high_again
    return high << 32 | low


@dataclass(frozen=True, slots=True)
class ClockPoint:
    """One bracketed read: the board's clock showed `ticks` somewhere between the two host times."""

    host_before_ns: int
    host_after_ns: int
    ticks: int

    @property
    def width_ns(self) -> int:
        """Length of the bracket."""
        return self.host_after_ns - self.host_before_ns


@dataclass(frozen=True)
class ClockFit:
    """A line through bracketed reads: board ticks as a function of host time."""

    rate_ticks_per_host_second: Fraction
    offset: Fraction
    """Board ticks at host time 0."""
    error_ns: float
    """Standard deviation of the points from the line, in ns of host time."""
    bracket_ns: int
    """Widest bracket used: a constant delay up to this size cannot be seen by the fit."""
    points: int

    def ticks_at(self, host_ns: int) -> Fraction:
        """Board time at a host time."""
        return self.offset + self.rate_ticks_per_host_second * host_ns / 1_000_000_000

    def host_ns_at(self, ticks: int) -> Fraction:
        """Host time at a board time."""
        return (ticks - self.offset) * 1_000_000_000 / self.rate_ticks_per_host_second

    def ppm(self, nominal_rate: Fraction) -> float:
        """How much faster than nominal the board's clock runs by the host's clock."""
        return float((self.rate_ticks_per_host_second / nominal_rate - 1) * 1_000_000)


def fit_points(points: Sequence[ClockPoint]) -> ClockFit:
    """Least squares line through the points with the tightest brackets (at least half of them). Exact arithmetic.

    In the tightest the read is taken to lie in the middle; how far later in wider ones is fitted too (`_late`).
    Raises ValueError with fewer than two points that differ in host time.
    """
    if len(points) < 2:
        raise ValueError(f"a clock fit needs at least 2 points, found {len(points)}")
    widths_ns = [point.width_ns for point in points]
    limit_ns = max(statistics.median_high(widths_ns), int(min(widths_ns) * WIDER_THAN_BEST))
    kept = [point for point in points if point.width_ns <= limit_ns]
    first = kept[0]
    best_ns = min(widths_ns)
    late = _late(kept)
    # From the first point on, in parts of a nanosecond, which keeps everything whole and small.
    host = [
        2 * _PARTS * (point.host_before_ns - first.host_before_ns)
        + _PARTS * best_ns
        + 2 * late * (point.width_ns - best_ns)
        for point in kept
    ]
    ticks = [point.ticks - first.ticks for point in kept]
    count, sum_host, sum_ticks = len(kept), sum(host), sum(ticks)
    denominator = count * sum(h * h for h in host) - sum_host * sum_host
    if denominator == 0:
        raise ValueError("a clock fit needs points at different host times")
    slope = Fraction(count * sum(h * t for h, t in zip(host, ticks, strict=True)) - sum_host * sum_ticks, denominator)
    if slope <= 0:
        raise ValueError("the board's clock does not run: no ticks between the points")
    intercept = (sum_ticks - slope * sum_host) / count
    residuals = [float((t - intercept - slope * h) / slope) / (2 * _PARTS) for h, t in zip(host, ticks, strict=True)]
    error_ns = (sum(r * r for r in residuals) / max(count - 2, 1)) ** 0.5
    return ClockFit(
        rate_ticks_per_host_second=slope * 2 * _PARTS * 1_000_000_000,
        offset=first.ticks + intercept - slope * 2 * _PARTS * first.host_before_ns,
        error_ns=error_ns,
        bracket_ns=max(point.width_ns for point in kept),
        points=count,
    )


def _late(points: Sequence[ClockPoint]) -> int:
    """Where in its bracket the read lies if that is wider than the tightest: so many parts of the excess lie before it.

    None if only answers are delayed, all `_PARTS` if only requests are. That is a property of the link, the same for
    all points, so a fit of the ticks to both host time and width shows it. The middle if the widths show nothing.
    """
    before = [point.host_before_ns - points[0].host_before_ns for point in points]
    wide = [point.width_ns for point in points]
    ticks = [point.ticks - points[0].ticks for point in points]

    def covariance(one: Sequence[int], other: Sequence[int]) -> int:
        return len(points) * sum(a * b for a, b in zip(one, other, strict=True)) - sum(one) * sum(other)

    time_time, time_wide, wide_wide = covariance(before, before), covariance(before, wide), covariance(wide, wide)
    time_ticks, wide_ticks = covariance(before, ticks), covariance(wide, ticks)
    per_ns = time_ticks * wide_wide - wide_ticks * time_wide
    if per_ns <= 0 or time_time * wide_wide == time_wide**2:
        return _PARTS // 2
    return min(max(round(Fraction(_PARTS * (wide_ticks * time_time - time_ticks * time_wide), per_ns)), 0), _PARTS)


class BoardClock:
    """The clock of one board."""

    def __init__(
        self,
        rate: Fraction,
        read_ticks: Callable[[], int],
        host_time_ns: Callable[[], int],
        sleep: Callable[[float], None],
    ) -> None:
        self.rate = rate
        """Ticks per second, nominal, from the profile."""
        self._read_ticks = read_ticks
        self._host_time_ns = host_time_ns
        self._sleep = sleep

    def now(self) -> int:
        """Board time in ticks, read from the board (one exchange)."""
        return self._read_ticks()

    def seconds(self, ticks: int) -> Fraction:
        """A span of ticks in nominal seconds."""
        return ticks / self.rate

    def ticks(self, seconds: float | Fraction) -> int:
        """A span of nominal seconds in whole ticks, rounded up."""
        return math.ceil(Fraction(seconds) * self.rate)

    def sample(self) -> ClockPoint:
        """One bracketed read."""
        before = self._host_time_ns()
        ticks = self._read_ticks()
        return ClockPoint(before, self._host_time_ns(), ticks)

    def fit(self, span_s: float = 1.0, points: int = 64) -> ClockFit:
        """Fit a line to `points` bracketed reads over `span_s` seconds of board time. Delivers events meanwhile."""
        taken = [self.sample()]
        for _ in range(points - 1):
            self._sleep(span_s / (points - 1))
            taken.append(self.sample())
        return fit_points(taken)
