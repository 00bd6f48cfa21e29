"""Board time and the line through bracketed reads."""

from __future__ import annotations

from fractions import Fraction

import pytest
from fake_board import FakeBoardLink, open_fake
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codecrig.board import ClockPoint, fit_points
from codecrig.board.clock import join_time
from codecrig.link import registers as regs

near_wrap = st.builds(lambda high, low: (high << 32) + low, st.integers(1, 1 << 20), st.integers(-(1 << 20), 1 << 20))


@settings(deadline=None)
@given(st.one_of(st.integers(0, (1 << 64) - (1 << 32)), near_wrap), st.integers(0, 1 << 20), st.integers(0, 1 << 20))
@example((1 << 32) - 2, 1, 1)  # the low word was read before the wrap, the second high word behind it
@example((1 << 32) - 2, 2, 0)
@example((1 << 32) - 2, 3, 3)
def test_time_read_in_three_words_lies_between_first_and_last_read(start: int, gap: int, gap_again: int) -> None:
    middle, end = start + gap, start + gap + gap_again
    time_ticks = join_time(start >> 32, middle & 0xFFFFFFFF, end >> 32)
    assert time_ticks == middle


def points_on_line(rate: Fraction, offset: int, widths_ns: list[int], step_ns: int) -> list[ClockPoint]:
    """Points whose tick lies exactly on the line at the middle of the bracket."""
    points = []
    for number, width in enumerate(widths_ns):
        middle = number * step_ns
        points.append(ClockPoint(middle - width // 2, middle + width // 2, offset + int(rate * middle / 10**9)))
    return points


def test_points_on_a_line_give_the_line_exactly() -> None:
    # 12.288 ticks a microsecond, sampled where ticks are whole numbers.
    points = points_on_line(Fraction(12_288_000), 77, [1000] * 10, 1_000_000)[1:]  # the first not at host time 0
    fit = fit_points(points)
    assert fit.rate_ticks_per_host_second == 12_288_000
    assert (fit.offset, fit.error_ns, fit.bracket_ns, fit.points) == (77, 0.0, 1000, 9)
    assert fit.ticks_at(3_000_000) == 77 + 36864 and fit.host_ns_at(77 + 36864) == 3_000_000


def test_37_ppm_are_found_within_a_thousandth_ppm_over_ten_seconds() -> None:
    rate = Fraction(12_288_000) * (1 + Fraction(37, 1_000_000))
    fit = fit_points(points_on_line(rate, 0, [200_000] * 50, 200_000_000))
    assert fit.ppm(Fraction(12_288_000)) == pytest.approx(37, abs=1e-3)


def test_wide_brackets_are_left_out() -> None:
    points = points_on_line(Fraction(12_288_000), 0, [1000] * 10, 1_000_000)
    late = points[4]
    points[4] = ClockPoint(late.host_before_ns, late.host_after_ns + 5_000_000, late.ticks)
    fit = fit_points(points)
    assert (fit.rate_ticks_per_host_second, fit.points, fit.error_ns) == (12_288_000, 9, 0.0)


@pytest.mark.parametrize("late", [0.0, 0.5, 1.0])
def test_a_delay_on_one_way_does_not_move_the_line(late: float) -> None:
    """Widths as the flashed firmware has them, whose answers may not leave in the last fifth of a frame."""
    widths = [189_269, 193_039, 232_402] + [193_122, 193_039, 285_736] * 7 + [193_122]
    points = []
    for number, width in enumerate(widths):
        before = number * 41_967_000
        read = before + 100_000 + round(late * (width - min(widths)))
        points.append(ClockPoint(before, before + width, read * 12288 // 1_000_000))
    fit = fit_points(points)
    assert fit.ppm(Fraction(12_288_000)) == pytest.approx(0, abs=0.05)
    assert fit.error_ns < 200


def test_the_error_is_the_scatter_of_the_points() -> None:
    points = points_on_line(Fraction(10**9), 0, [100] * 200, 1_000_000)
    scattered = [
        ClockPoint(p.host_before_ns, p.host_after_ns, p.ticks + (50 if number % 2 else -50))
        for number, p in enumerate(points)
    ]
    assert fit_points(scattered).error_ns == pytest.approx(50, rel=0.02)


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), min_size=20, max_size=60), st.floats(-1000, 1000))
def test_the_rate_error_is_bounded_by_the_brackets(where: list[int], ppm: float) -> None:
    """Ticks anywhere inside a bracket of 100 us move the slope by no more than twice 100 us over the span."""
    rate = Fraction(12_288_000) * (1 + Fraction(ppm) / 1_000_000)
    step_ns = 10_000_000
    points = [
        ClockPoint(n * step_ns, n * step_ns + 100_000, int(rate * (n * step_ns + w * 1000) / 10**9))
        for n, w in enumerate(where)
    ]
    span_ns = (len(points) - 1) * step_ns
    assert fit_points(points).ppm(Fraction(12_288_000)) == pytest.approx(ppm, abs=2 * 100_100 / span_ns * 1e6)


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([], "at least 2 points, found 0"),
        ([ClockPoint(0, 1, 5)], "at least 2 points, found 1"),
        ([ClockPoint(0, 1, 5), ClockPoint(0, 1, 6)], "different host times"),
        ([ClockPoint(0, 1, 5), ClockPoint(9, 10, 5)], "does not run"),
    ],
)
def test_points_that_make_no_line(points: list[ClockPoint], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        fit_points(points)


def test_a_board_that_runs_fast_by_the_hosts_clock_is_measured() -> None:
    fake = FakeBoardLink(time_ticks=(3 << 32) - 12_288_000 // 4)  # the low word wraps during the fit
    fake.host_rate = Fraction(12_288_000) * (1 + Fraction(120, 1_000_000))
    board, _ = open_fake(fake)
    fit = board.clock.fit(span_s=0.5, points=20)
    assert fit.ppm(board.clock.rate) == pytest.approx(120, abs=0.01)
    assert board.clock.rate == 12_288_000


def test_now_reads_the_board() -> None:
    board, fake = open_fake(FakeBoardLink(time_ticks=(7 << 32) + 5))
    assert board.clock.now() == fake.time_ticks > 7 << 32
    assert board.clock.ticks(0.5) == 6_144_000 and board.clock.seconds(6_144_000) == Fraction(1, 2)
    assert board.clock.ticks(Fraction(1, 10**9)) == 1  # never early
    assert board.read_register(regs.FPGA_TIME_LO) == fake.time_ticks & 0xFFFFFFFF
