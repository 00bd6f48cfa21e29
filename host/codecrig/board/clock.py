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

    Raises ValueError with fewer than two points that differ in host time.
    """
    if len(points) < 2:
        raise ValueError(f"a clock fit needs at least 2 points, found {len(points)}")
    widths_ns = [point.width_ns for point in points]
    limit_ns = max(statistics.median_high(widths_ns), int(min(widths_ns) * WIDER_THAN_BEST))
    kept = [point for point in points if point.width_ns <= limit_ns]
    first = kept[0]
    # Half nanoseconds from the first point keep everything whole and small.
    host = [point.host_before_ns + point.host_after_ns - first.host_before_ns - first.host_after_ns for point in kept]
    ticks = [point.ticks - first.ticks for point in kept]
    count, sum_host, sum_ticks = len(kept), sum(host), sum(ticks)
    denominator = count * sum(h * h for h in host) - sum_host * sum_host
    if denominator == 0:
        raise ValueError("a clock fit needs points at different host times")
    slope = Fraction(count * sum(h * t for h, t in zip(host, ticks, strict=True)) - sum_host * sum_ticks, denominator)
    if slope <= 0:
        raise ValueError("the board's clock does not run: no ticks between the points")
    intercept = (sum_ticks - slope * sum_host) / count
    residuals = [float((t - intercept - slope * h) / slope) / 2 for h, t in zip(host, ticks, strict=True)]
    error_ns = (sum(r * r for r in residuals) / max(count - 2, 1)) ** 0.5
    first_host = Fraction(first.host_before_ns + first.host_after_ns)
    return ClockFit(
        rate_ticks_per_host_second=slope * 2_000_000_000,
        offset=first.ticks + intercept - slope * first_host,
        error_ns=error_ns,
        bracket_ns=max(point.width_ns for point in kept),
        points=count,
    )


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
