"""The folded test signal: figures whose answers are known by formula."""

import numpy as np
import pytest

from codecrig.measure.converter import AMPLITUDE, PERIOD_FRAMES, fold, make_signal

FULL = 1 << 23


def test_a_perfect_path_has_its_level_and_nothing_else() -> None:
    left, right = fold(make_signal(10))
    for channel in (left, right):
        assert channel.level == pytest.approx(AMPLITUDE, abs=1e-6)
        assert channel.other < 1e-7 and channel.distortion < 1e-6 and channel.noise == 0
        assert not channel.constant


def test_any_phase_and_gain() -> None:
    signal = np.roll(make_signal(12), 31, axis=0) // 2 + 12
    for channel in fold(signal[5:]):
        assert channel.level == pytest.approx(AMPLITUDE / 2, abs=1e-6) and channel.distortion < 1e-6


def test_exchanged_channels_show_in_the_other_tone() -> None:
    for channel in fold(make_signal(8)[:, ::-1].copy()):
        assert channel.other == pytest.approx(AMPLITUDE, abs=1e-6) and channel.level < 1e-6


def test_noise_is_what_does_not_repeat() -> None:
    noise = np.random.default_rng(1).normal(0, FULL / 1000, (400 * PERIOD_FRAMES, 2))
    for channel in fold(make_signal(400) + noise.astype(np.int32)):
        assert channel.noise == pytest.approx(1e-3, rel=0.05)
        assert channel.level == pytest.approx(AMPLITUDE, abs=1e-4)


def test_distortion_is_what_repeats_beside_the_tones() -> None:
    phase = 2 * np.pi * np.arange(20 * PERIOD_FRAMES)[:, None] * np.array([4, 6]) / PERIOD_FRAMES
    second = np.rint(0.01 * FULL * np.sin(phase)).astype(np.int32)
    for channel in fold(make_signal(20) + second):
        assert channel.distortion == pytest.approx(0.01 / np.sqrt(2), rel=1e-3) and channel.noise < 1e-9


def test_a_stuck_line_is_constant() -> None:
    high, low = fold(np.tile(np.array([-1, 0], np.int32), (500, 1)))
    assert (high.constant, high.value, low.constant, low.value) == (True, -1, True, 0)


def test_too_short_a_capture_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 4 periods of 97 frames or more, found 300 frames"):
        fold(make_signal(4)[:300])
