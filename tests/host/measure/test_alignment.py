"""Alignment: delays that are known by construction."""

import numpy as np
import pytest

from codecrig.measure import align_exact, find_delay


def noise(frames: int, channels: int = 2, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**23), 2**23, (frames, channels), dtype=np.int32)


def embed(played: np.ndarray, offset: int, tail: int = 100) -> np.ndarray:
    silence = np.zeros((max(0, offset), played.shape[1]), np.int32)
    return np.concatenate([silence, played[max(0, -offset) :], np.zeros((tail, played.shape[1]), np.int32)])


@pytest.mark.parametrize("offset", [0, 1, 480, 12345, -37])
@pytest.mark.parametrize("channels", [1, 2])
def test_exact_offset_is_found(offset: int, channels: int) -> None:
    played = noise(5000, channels)
    alignment = align_exact(played, embed(played, offset))
    assert alignment is not None and alignment.exact
    assert alignment.offset_frames == offset


def test_exact_offset_is_found_with_a_frame_lost_in_the_middle() -> None:
    played = noise(5000)
    captured = np.delete(embed(played, 200), 200 + 3000, axis=0)
    alignment = align_exact(played, captured)
    assert alignment is not None
    assert alignment.offset_frames == 200


def test_periodic_signal_aligns_at_the_first_place_that_fits_all_frames() -> None:
    period = np.round(1e6 * np.sin(2 * np.pi * np.arange(48) / 48)).astype(np.int32)
    played = np.tile(period, 100)[:, None]
    alignment = align_exact(played, embed(played, 100))
    assert alignment is not None
    assert alignment.offset_frames == 100


def test_few_frames_and_a_single_click() -> None:
    click = np.zeros((2000, 1), np.int32)
    click[1000] = 77
    alignment = align_exact(click, embed(click, 9))
    assert alignment is not None and alignment.offset_frames == 9
    short = noise(5)
    alignment = align_exact(short, embed(short, 3))
    assert alignment is not None and alignment.offset_frames == 3


def test_attenuated_signal_is_placed_by_correlation_and_says_so() -> None:
    played = noise(5000)
    alignment = align_exact(played, embed(played, 321) // 2)
    assert alignment is not None
    assert (alignment.offset_frames, alignment.exact) == (321, False)


def test_silence_and_another_signal_align_nowhere() -> None:
    played = noise(4000)
    assert align_exact(np.zeros_like(played), np.zeros_like(played)) is None
    assert align_exact(played, np.zeros_like(played)) is None
    assert align_exact(played, noise(4000, seed=2)) is None


@pytest.mark.parametrize("delay", [0, 1, 480, 480.5, 1234.25, 7.123])
def test_delay_is_found_to_a_thousandth(delay: float) -> None:
    """A band-limited burst, delayed exactly by the shift theorem."""
    random = np.random.default_rng(3)
    size = 16384
    spectrum = np.fft.rfft(random.standard_normal(8000) * np.hanning(8000), size)
    omega = 2 * np.pi * np.arange(len(spectrum)) / size
    spectrum[omega > 0.8 * np.pi] = 0
    played = np.fft.irfft(spectrum, size)
    delayed = np.fft.irfft(spectrum * np.exp(-1j * omega * delay), size)
    found = find_delay(played, delayed)
    assert found is not None
    assert found.frames == pytest.approx(delay, abs=1e-3)
    assert found.correlation == pytest.approx(1.0, abs=0.01) or delay % 1


def test_delay_with_noise_at_40_db_stays_within_a_hundredth() -> None:
    random = np.random.default_rng(4)
    played = random.standard_normal((8000, 2))
    captured = np.concatenate([np.zeros((300, 2)), 0.5 * played]) + 0.005 * random.standard_normal((8300, 2))
    found = find_delay(played, captured)
    assert found is not None
    assert found.frames == pytest.approx(300, abs=0.01)


def test_inverted_signal_has_negative_correlation() -> None:
    played = np.random.default_rng(5).standard_normal(4000)
    found = find_delay(played, np.concatenate([np.zeros(50), -played]))
    assert found is not None
    assert found.frames == pytest.approx(50, abs=1e-3)
    assert found.correlation < -0.99
