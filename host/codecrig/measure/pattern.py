"""The board's ramp pattern: frame n holds 2n on the left and 2n + 1 on the right; of these 24 bits the upper ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PATTERN_BITS = 24


def ramp(first: int, frames: int, channels: int, bits: int) -> npt.NDArray[np.int32]:
    """Frames from `first` on as right-justified samples of `bits` bits; one channel is the left one."""
    counts = 2 * (first + np.arange(frames, dtype=np.int64))[:, None] + np.arange(channels)
    half = 1 << (PATTERN_BITS - 1)
    signed = ((counts + half) & ((1 << PATTERN_BITS) - 1)) - half
    return (signed >> (PATTERN_BITS - bits)).astype(np.int32)


def find_ramp(captured: npt.NDArray[np.int32], bits: int) -> int:
    """The number of the ramp's frame that `captured` most likely begins with: the one that most frames agree with."""
    if not len(captured):
        return 0
    unseen = PATTERN_BITS - bits
    base = int(captured[0, 0]) << unseen
    # A sample agrees with all first words of a span of 2^unseen that ends where it would be the first of its value.
    frames, channels = captured.shape
    counts = 2 * np.arange(frames, dtype=np.int64)[:, None] + np.arange(channels)
    begins = (captured.astype(np.int64) << unseen) - counts - base
    half = 1 << (PATTERN_BITS - 1)
    begins = (begins + half) % (2 * half) - half
    span = 1 << unseen
    opened, closed = (
        np.bincount(np.clip(each, 0, span).ravel(), minlength=span + 1) for each in (begins, begins + span)
    )
    agree = np.cumsum(opened - closed)[:span:2]
    return base // 2 + int(np.argmax(agree))
