"""The ramp, against a loop that writes it out."""

import numpy as np
import pytest

from codecrig.measure import compare_exact
from codecrig.measure.pattern import find_ramp, ramp


def written_out(first: int, frames: int, channels: int, bits: int) -> list[list[int]]:
    rows = []
    for frame in range(first, first + frames):
        row = []
        for channel in range(channels):
            word = (2 * frame + channel) % 2**24
            signed = word - 2**24 if word >= 2**23 else word
            row.append(signed // 2 ** (24 - bits))
        rows.append(row)
    return rows


@pytest.mark.parametrize("first", [0, 1, 2**22 - 3, 2**23 - 2])
@pytest.mark.parametrize(("channels", "bits"), [(2, 24), (1, 24), (2, 16), (1, 16), (2, 8), (1, 8)])
def test_ramp_is_written_out_and_found(first: int, channels: int, bits: int) -> None:
    frames = 600
    made = ramp(first, frames, channels, bits)
    assert made.tolist() == written_out(first, frames, channels, bits)
    found = find_ramp(made, bits)
    assert np.array_equal(ramp(found, frames, channels, bits), made)


@pytest.mark.parametrize("bits", [8, 16, 20])
def test_most_frames_decide(bits: int) -> None:
    """Frames are lost and spoilt: the first of all beginnings with which most frames agree is found."""
    captured = np.delete(ramp(32_700, 600, 2, bits), slice(100, 130), axis=0)
    captured[[3, 400, 401], [0, 1, 0]] ^= 1
    unseen = 1 << (24 - bits)
    base = int(captured[0, 0]) * unseen
    agree = [np.count_nonzero(ramp(word // 2, 570, 2, bits) == captured) for word in range(base, base + unseen, 2)]
    assert find_ramp(captured, bits) == base // 2 + int(np.argmax(agree))


def test_a_lost_frame_is_seen() -> None:
    captured = np.delete(ramp(100, 2_000, 2, 24), 700, axis=0)
    first = find_ramp(captured, 24)
    result = compare_exact(ramp(first, len(captured), 2, 24), captured, 0)
    assert first == 100
    assert result.first_bad is not None
    assert (result.first_bad.index, str(result.first_bad.defect)) == (700, "dropped")
