"""Position fit: rates and jitters that are known by construction."""

import numpy as np
import pytest

from codecrig.measure import PositionSample, fit_positions
from codecrig.measure.position import NotEnoughPoints

CLOCK_HZ = 12_288_000
FRAME_CLOCKS = 256


def reads(ppm: float, *, seconds: float = 5.0, link_noise_ns: float = 0.0, quantum: int = 1) -> list[PositionSample]:
    """Reads every 20 ms or so, at uneven times, of a board that runs `ppm` fast."""
    random = np.random.default_rng(7)
    points = []
    host_s = np.arange(0.0, seconds, 0.02) + random.uniform(0, 0.02, round(seconds / 0.02))
    for time_s in host_s:
        ticks = int(time_s * CLOCK_HZ * (1 + ppm * 1e-6)) + 2**40
        frames = (ticks - 2**40) // FRAME_CLOCKS // quantum * quantum
        host_ns = round(time_s * 1e9 + random.normal(0, 1) * link_noise_ns) + 10**15
        points.append(PositionSample(host_ns, ticks, frames))
    return points


@pytest.mark.parametrize("ppm", [37.0, 0.0, -250.0, 20_000.0])
def test_rate_error_is_the_boards_ppm(ppm: float) -> None:
    fit = fit_positions(reads(ppm), 48_000)
    assert fit.rate_ppm == pytest.approx(ppm, abs=0.5)
    assert fit.rate_hz == pytest.approx(48_000 * (1 + ppm * 1e-6), abs=0.03)
    assert fit.frames_per_tick == pytest.approx(1 / 256, rel=1e-6)


def in_step(ppm: float, seconds: float) -> list[PositionSample]:
    """Reads in step with packets of 20 ms by the host's clock, so that the fraction of a frame creeps."""
    points = []
    for host_s in np.arange(0.0, seconds, 0.02) + 0.0137:
        ticks = int(host_s * CLOCK_HZ * (1 + ppm * 1e-6))
        points.append(PositionSample(round(host_s * 1e9), ticks, ticks // FRAME_CLOCKS))
    return points


@pytest.mark.parametrize("ppm", [37.0, -120.0, 3.0, 250.0, 1042.0])
@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_whole_frames_read_in_step_do_not_look_like_a_rate(ppm: float, seconds: float) -> None:
    """Least squares over 1 s would be 12 ppm off, as half a frame of saw-tooth looks like a slope."""
    fit = fit_positions(in_step(ppm, seconds), 48_000)
    assert abs(fit.rate_ppm - ppm) <= fit.rate_error_uncertainty * 1e6 + 0.01
    assert fit.rate_ppm == pytest.approx(ppm, abs=6.0 / seconds)
    assert fit.jitter_max_frames <= 0.5 + 1e-6


def test_positions_off_the_line_by_more_than_a_frame_are_fitted_by_least_squares() -> None:
    random = np.random.default_rng(11)
    points = [PositionSample(p.host_ns, p.ticks, p.frames + int(random.integers(-5, 6))) for p in reads(37)]
    fit = fit_positions(points, 48_000)
    assert fit.jitter_std_frames == pytest.approx(np.sqrt((11**2 - 1) / 12), rel=0.1)
    assert abs(fit.rate_ppm - 37) < 4 * fit.rate_error_uncertainty * 1e6


def test_noise_of_the_link_widens_the_uncertainty_and_not_the_jitter() -> None:
    quiet, noisy = fit_positions(reads(37), 48_000), fit_positions(reads(37, link_noise_ns=100_000), 48_000)
    assert noisy.jitter_std_frames == pytest.approx(quiet.jitter_std_frames, rel=0.01)
    assert noisy.link_jitter_ns == pytest.approx(100_000, rel=0.1)
    assert abs(noisy.rate_ppm - 37) < 4 * noisy.rate_error_uncertainty * 1e6
    assert noisy.rate_error_uncertainty > 5 * quiet.rate_error_uncertainty


@pytest.mark.parametrize("quantum", [1, 48, 480])
def test_quantised_positions_have_the_standard_deviation_of_a_uniform_error(quantum: int) -> None:
    """g / sqrt(12): 0.289 ms for a quantiser of 1 ms, which is 48 frames."""
    fit = fit_positions(reads(37, seconds=40, quantum=quantum), 48_000)
    assert fit.jitter_std_frames == pytest.approx(quantum / np.sqrt(12), rel=0.05)
    assert fit.jitter_max_frames == pytest.approx(quantum / 2, rel=0.1)


def test_one_late_position_is_the_maximum() -> None:
    points = reads(0)
    late = points[100]
    points[100] = PositionSample(late.host_ns, late.ticks, late.frames - 100)
    assert fit_positions(points, 48_000).jitter_max_frames == pytest.approx(100, abs=1.5)


def test_short_runs_and_repeated_reads_give_no_figure() -> None:
    points = reads(0, seconds=0.5)
    with pytest.raises(NotEnoughPoints, match="expected at least 30 reads.*found"):
        fit_positions(points, 48_000)
    with pytest.raises(NotEnoughPoints):
        fit_positions(points[:20] + [points[20]] * 50, 48_000)
    with pytest.raises(NotEnoughPoints):
        fit_positions([], 48_000)


def test_time_that_a_read_took_longer_does_not_turn_the_line() -> None:
    """As seen on a twin: one more packet of 43 us, first before the board's moment, later behind it."""
    random = np.random.default_rng(13)
    points = []
    for index, p in enumerate(reads(37)):
        slow = random.random() < (0.6 if index < 60 else 0.5)
        early = slow and index < 60
        before, after = 120_000 + 43_000 * early, 115_000 + 43_000 * (slow and not early)
        middle = p.host_ns + (after - before) // 2
        points.append(PositionSample(middle, p.ticks, p.frames, before + after))
    fit = fit_positions(points, 48_000)
    assert fit.rate_ppm == pytest.approx(37.0, abs=0.5)
    assert fit.link_jitter_ns < 2_000


def test_reads_that_took_a_millisecond_are_left_out() -> None:
    points = reads(37)
    for index in range(20, 250, 10):
        late = points[index]
        points[index] = PositionSample(late.host_ns + index * 2_000, late.ticks, late.frames + 9, 1_000_000)
    fit = fit_positions(points, 48_000)
    assert fit.rate_ppm == pytest.approx(37.0, abs=1.0)
    assert fit.jitter_max_frames <= 0.5 + 1e-6


def test_a_position_that_stands_still_has_rate_zero() -> None:
    points = [PositionSample(p.host_ns, p.ticks, 5) for p in reads(0)]
    fit = fit_positions(points, 48_000)
    assert fit.rate_hz == 0
    assert fit.rate_error == -1
