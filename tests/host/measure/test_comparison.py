"""Exact comparison: each kind of fault, put in by hand, gets its name, place and values."""

import numpy as np
import pytest

from codecrig.measure import Comparison, Defect, align_exact, compare_exact

LEAD_IN = 100
FAULT = 2000


@pytest.fixture
def played() -> np.ndarray:
    return np.random.default_rng(1).integers(-(2**15), 2**15, (5000, 2), dtype=np.int32)


def judge(played: np.ndarray, heard: np.ndarray, **options: int) -> Comparison:
    captured = np.concatenate([np.zeros((LEAD_IN, 2), np.int32), heard, np.zeros((50, 2), np.int32)])
    alignment = align_exact(played, captured)
    assert alignment is not None and alignment.offset_frames == LEAD_IN
    return compare_exact(played, captured, alignment.offset_frames, bits=16, **options)


def test_equal_frames_are_bit_exact(played: np.ndarray) -> None:
    result = judge(played, played)
    assert result.bit_exact and result.first_bad is None
    assert (result.frames, result.bad_frames, result.lead_in_frames, result.lead_in_bad_frames) == (5000, 0, LEAD_IN, 0)
    assert (result.tail_frames, result.tail_silent) == (50, True)


def test_one_wrong_bit_in_the_last_frame_is_seen(played: np.ndarray) -> None:
    heard = played.copy()
    heard[-1, 1] ^= 0x100
    result = judge(played, heard)
    assert not result.bit_exact
    assert result.first_bad is not None
    assert (result.first_bad.index, result.first_bad.captured_index) == (4999, LEAD_IN + 4999)
    assert result.first_bad.expected == tuple(played[-1])
    assert result.first_bad.found == tuple(heard[-1])
    assert result.first_bad.defect is Defect.CORRUPTED
    assert "0x100" in result.first_bad.detail


def faulty(name: str, played: np.ndarray) -> np.ndarray:
    before, after = played[:FAULT], played[FAULT:]
    heard = played.copy()
    if name == "dropped":
        return np.concatenate([before, after[3:]])
    if name == "repeated":
        return np.concatenate([before, before[-5:], after])
    if name == "inserted":
        return np.concatenate([before, np.zeros((7, 2), np.int32), after])
    if name == "swapped":
        heard[FAULT:] = after[:, ::-1]
    elif name == "shifted left":
        heard[FAULT:] = (after << 1).astype(np.int16)
    elif name == "shifted right":
        heard[FAULT:] = after >> 8
    elif name == "stale":
        heard[FAULT : FAULT + 480] = played[FAULT - 960 : FAULT - 480]
    elif name == "silent":
        heard[FAULT : FAULT + 480] = 0
    return heard


@pytest.mark.parametrize(
    ("name", "defect", "detail"),
    [
        ("dropped", Defect.DROPPED, "3 frames lost"),
        ("repeated", Defect.REPEATED, "5 frames played again"),
        ("inserted", Defect.INSERTED, "7 frames of silence inserted"),
        ("swapped", Defect.SWAPPED, "left and right exchanged"),
        ("shifted left", Defect.SHIFTED, "shifted left by 1 bit"),
        ("shifted right", Defect.SHIFTED, "shifted right by 8 bits"),
        ("stale", Defect.STALE, "480 frames from 960 frames earlier"),
        ("silent", Defect.CORRUPTED, "480 frames silent"),
    ],
)
def test_fault_is_named(played: np.ndarray, name: str, defect: Defect, detail: str) -> None:
    result = judge(played, faulty(name, played))
    assert not result.bit_exact
    assert result.first_bad is not None
    assert result.first_bad.index == FAULT
    assert (result.first_bad.defect, result.first_bad.detail) == (defect, detail)


def test_capture_that_ends_early_lacks_frames(played: np.ndarray) -> None:
    captured = np.concatenate([np.zeros((LEAD_IN, 2), np.int32), played[:-10]])
    result = compare_exact(played, captured, LEAD_IN)
    assert result.first_bad is not None
    assert result.bad_frames == 10
    assert (result.first_bad.index, result.first_bad.defect, result.first_bad.found) == (4990, Defect.MISSING, None)


def test_capture_that_begins_late_lacks_frames(played: np.ndarray) -> None:
    result = compare_exact(played, played[25:], -25)
    assert result.first_bad is not None
    assert result.bad_frames == 25
    assert (result.first_bad.index, result.first_bad.defect) == (0, Defect.MISSING)


def test_start_up_window_is_left_out_and_not_a_frame_more(played: np.ndarray) -> None:
    """The window counts captured frames: here 16, of which the first 6 come before played frame 0."""
    captured = np.concatenate([np.full((6, 2), 99, np.int32), played])
    captured[6:16] = -1
    result = compare_exact(played, captured, 6, start_up_frames=16, bits=16)
    assert result.bit_exact
    assert (result.frames, result.lead_in_frames, result.start_up_bad_frames) == (5000 - 10, 0, 10)
    assert compare_exact(played, played, 0, start_up_frames=16).start_up_bad_frames == 0
    result = compare_exact(played, captured, 6, start_up_frames=15, bits=16)
    assert result.first_bad is not None and result.first_bad.index == 9


def test_sound_before_the_first_frame_is_bad(played: np.ndarray) -> None:
    captured = np.concatenate([np.zeros((LEAD_IN, 2), np.int32), played])
    captured[40, 1] = 5
    result = compare_exact(played, captured, LEAD_IN, start_up_frames=8)
    assert not result.bit_exact
    assert result.first_bad is not None
    assert (result.first_bad.index, result.first_bad.captured_index) == (40 - LEAD_IN, 40)
    assert (result.first_bad.expected, result.first_bad.found) == ((0, 0), (0, 5))
    assert result.first_bad.defect is Defect.EARLY
    captured[40, 1], captured[7, 0] = 0, 5
    assert compare_exact(played, captured, LEAD_IN, start_up_frames=8).bit_exact


def test_sound_behind_the_last_frame_is_told(played: np.ndarray) -> None:
    captured = np.concatenate([played, np.full((3, 2), 1, np.int32)])
    result = compare_exact(played, captured, 0)
    assert result.bit_exact
    assert (result.tail_frames, result.tail_silent) == (3, False)


def test_a_window_as_long_as_the_recording_proves_nothing(played: np.ndarray) -> None:
    assert not compare_exact(played, played, 0, start_up_frames=5000).bit_exact
