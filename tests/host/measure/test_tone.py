"""Levels, noise and distortion against formulas."""

import numpy as np
import pytest

from codecrig.measure import analyse_tone, compare_analog, level_dbfs, spectrum_dbfs

RATE = 48_000


def sine(level_dbfs: float, frequency_hz: float = 997.0, frames: int = 96_000) -> np.ndarray:
    return 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * np.arange(frames) / RATE + 0.3)


def triangular(frames: int, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(-0.5, 0.5, frames) + random.uniform(-0.5, 0.5, frames)


def test_full_scale_sine_is_0_dbfs_and_a_square_wave_3_more() -> None:
    assert level_dbfs(sine(0.0)) == pytest.approx(0.0, abs=0.001)
    assert level_dbfs(np.sign(sine(0.0))) == pytest.approx(3.0103, abs=0.01)
    assert level_dbfs(np.zeros(100)) == float("-inf")
    assert level_dbfs(sine(-6.0) * 32768 + 500, full_scale=32768) == pytest.approx(-6.0, abs=0.001)


@pytest.mark.parametrize("frequency_hz", [599.0, 821.0, 997.0, 11_997.3])
def test_tone_is_found(frequency_hz: float) -> None:
    tone = analyse_tone(sine(-20.0, frequency_hz) + 0.01, RATE)
    assert tone.frequency_hz == pytest.approx(frequency_hz, abs=1e-3)
    assert tone.level_dbfs == pytest.approx(-20.0, abs=0.001)
    assert tone.dc == pytest.approx(0.01, abs=1e-5)
    assert tone.thd_n_db < -150


def test_16_bits_with_triangular_dither_have_noise_of_minus_93_32_dbfs() -> None:
    signal = np.rint(sine(-20.0) * 32767 + triangular(96_000)) / 32768
    assert analyse_tone(signal, RATE).noise_dbfs == pytest.approx(-93.32, abs=0.1)


def test_16_bits_without_dither_have_noise_of_minus_98_08_dbfs() -> None:
    signal = np.rint(sine(-1.0) * 32768) / 32768
    assert analyse_tone(signal, RATE).noise_dbfs == pytest.approx(-98.08, abs=0.15)


def test_harmonics_of_a_polynomial() -> None:
    """y = x + a2 x^2 + a3 x^3: H2 = (a2 A^2 / 2) / D, H3 = (a3 A^3 / 4) / D, D = A + 3/4 a3 A^3."""
    a2, a3, amplitude = 0.001, 0.002, 10 ** (-1 / 20)
    x = sine(-1.0)
    tone = analyse_tone(x + a2 * x**2 + a3 * x**3, RATE)
    divisor = amplitude + 0.75 * a3 * amplitude**3
    second = 20 * np.log10(a2 * amplitude**2 / 2 / divisor)
    third = 20 * np.log10(a3 * amplitude**3 / 4 / divisor)
    assert tone.harmonics_db[0] == pytest.approx(second, abs=0.01)
    assert tone.harmonics_db[1] == pytest.approx(third, abs=0.01)
    assert tone.thd_n_db == pytest.approx(10 * np.log10(10 ** (second / 10) + 10 ** (third / 10)), abs=0.01)
    assert tone.snr_db > 150


def test_spectrum_reads_a_sine_on_a_line_at_its_level_and_white_noise_by_its_density() -> None:
    frequencies, levels = spectrum_dbfs(sine(-12.0, 1500.0), RATE)
    assert frequencies[np.argmax(levels)] == 1500.0
    assert np.max(levels) == pytest.approx(-12.0, abs=0.01)
    noise = np.random.default_rng(2).normal(0, 0.01, 480_000)
    _, levels = spectrum_dbfs(noise, RATE)
    # RMS 0.01 spread over 4096 lines; a Hann window's noise bandwidth is 1.5 lines; a sine's RMS is 1 / sqrt(2).
    expected = 20 * np.log10(0.01) + 10 * np.log10(2 * 1.5 / 4096)
    assert 10 * np.log10(np.mean(10 ** (levels[10:-10] / 10))) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("delay", [0, 53, 53.5])
def test_analog_path_is_described_by_delay_gain_dc_and_what_it_added(delay: float) -> None:
    random = np.random.default_rng(5)
    frames, scale = 48_000, 2.0**23
    size = 2 * frames
    spectrum = np.fft.rfft(random.standard_normal((frames, 2)) * np.hanning(frames)[:, None], size, axis=0)
    omega = 2 * np.pi * np.arange(len(spectrum))[:, None] / size
    spectrum[omega[:, 0] > 0.8 * np.pi] = 0
    source = 0.1 * np.fft.irfft(spectrum, size, axis=0)
    heard = np.fft.irfft(np.fft.rfft(source, axis=0) * np.exp(-1j * omega * delay), size, axis=0)
    heard = heard * [0.5, 0.25] + [0.001, -0.002] + random.normal(0, 1e-4, heard.shape)
    found = compare_analog(
        np.rint(source * scale).astype(np.int32), np.rint(heard * scale).astype(np.int32), full_scale=scale
    )
    assert found is not None
    assert found.delay.frames == pytest.approx(delay, abs=0.005)
    assert found.gain_db == pytest.approx((-6.0206, -12.0412), abs=0.01)
    assert found.dc == pytest.approx((0.001, -0.002), abs=1e-5)
    assert found.residual_dbfs == pytest.approx((-76.99, -76.99), abs=0.15)
    rms = np.sqrt(np.mean((source * [0.5, 0.25]) ** 2))
    assert found.snr_db == pytest.approx(20 * np.log10(rms / 1e-4), abs=0.15)


def test_analog_path_that_carries_something_else_is_not_described() -> None:
    random = np.random.default_rng(6)
    one, other = random.integers(-1000, 1000, (2, 20_000, 2))
    assert compare_analog(one, other, full_scale=2**23) is None
    assert compare_analog(one, np.zeros_like(one), full_scale=2**23) is None
