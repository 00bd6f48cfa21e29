"""Exact comparison of a capture with what was played, and what kind of fault its first bad frame looks like."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

# Frames behind the first bad one that must agree with an explanation before it is named.
_EVIDENCE_FRAMES = 24
# Frames searched for lost, repeated or old data: more than any packet or buffer of a board with 128 KiB.
_REACH_FRAMES = 65_536

Samples = npt.NDArray[np.int32]


class Defect(StrEnum):
    """What a fault looks like in the samples."""

    DROPPED = "dropped"
    """Frames are missing; what follows comes too early."""
    REPEATED = "repeated"
    """Frames come twice; what follows comes too late."""
    INSERTED = "inserted"
    """Foreign frames (silence, for example) push what follows back."""
    SWAPPED = "swapped"
    """The channels are exchanged."""
    SHIFTED = "shifted"
    """Samples are shifted by whole bits."""
    STALE = "stale"
    """A block holds older audio; what follows is in place again."""
    CORRUPTED = "corrupted"
    """None of these."""
    MISSING = "missing"
    """The capture ends before the played frames do."""
    EARLY = "early"
    """Something was heard before the first played frame, where silence is due."""


@dataclass(frozen=True, slots=True)
class FirstBadFrame:
    """The first frame that is not as played, and the likely reason."""

    index: int
    """Counted in played frames; negative for a frame before the first."""
    captured_index: int
    """Counted in captured frames."""
    expected: tuple[int, ...]
    found: tuple[int, ...] | None
    """None if the capture ends there."""
    defect: Defect
    detail: str
    """One phrase: "3 frames lost", "shifted left by 1 bit"."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of an exact comparison."""

    bit_exact: bool
    frames: int
    """Played frames compared: all but those inside the start-up window."""
    bad_frames: int
    """Frames that differ or are missing, at this alignment."""
    start_up_frames: int
    """Captured frames at the beginning that carry no promise."""
    start_up_bad_frames: int
    """Played frames inside the window that are wrong all the same."""
    lead_in_frames: int
    """Captured frames between start-up window and played frame 0; silence is due."""
    lead_in_bad_frames: int
    """Those of them that are not silent."""
    tail_frames: int
    """Captured frames behind the last played frame; not judged."""
    tail_silent: bool
    first_bad: FirstBadFrame | None


def compare_exact(
    played: Samples, captured: Samples, offset_frames: int, *, start_up_frames: int = 0, bits: int = 24
) -> Comparison:
    """Compares each played frame with the captured frame `offset_frames` later.

    The first `start_up_frames` captured frames are not judged. Between them and played frame 0 silence is due; a
    frame there that is not silent is bad, with a negative index.
    """
    count = len(played)
    # Played frames inside the window; those before it, if the capture began late, were never captured: bad.
    window = slice(min(max(0, -offset_frames), count), min(max(0, start_up_frames - offset_frames), count))
    lead_in = np.any(captured[start_up_frames : max(start_up_frames, offset_frames)] != 0, axis=1)
    tail = captured[max(0, offset_frames + count) :]
    # A capture that began late or ended early lacks frames; those count as bad.
    have_from = max(0, -offset_frames)
    have_to = max(have_from, min(count, len(captured) - offset_frames))
    differs = np.ones(count, bool)
    if have_to > have_from:
        differs[have_from:have_to] = np.any(
            played[have_from:have_to] != captured[have_from + offset_frames : have_to + offset_frames], axis=1
        )
    start_up_bad_frames = int(np.count_nonzero(differs[window]))
    differs[window] = False
    judged = count - max(0, window.stop - window.start)
    bad_frames = int(np.count_nonzero(differs))
    first_bad = None
    if np.any(lead_in):
        at = start_up_frames + int(np.argmax(lead_in))
        found = tuple(int(value) for value in captured[at])
        detail = f"{_frames(int(np.count_nonzero(lead_in)))} before the first played frame not silent"
        silence = (0,) * played.shape[1]
        first_bad = FirstBadFrame(at - offset_frames, at, silence, found, Defect.EARLY, detail)
    elif bad_frames:
        first_bad = _explain(played, captured, int(np.argmax(differs)), offset_frames, bits)
    return Comparison(
        bit_exact=first_bad is None and judged > 0,
        frames=judged,
        bad_frames=bad_frames,
        start_up_frames=start_up_frames,
        start_up_bad_frames=start_up_bad_frames,
        lead_in_frames=len(lead_in),
        lead_in_bad_frames=int(np.count_nonzero(lead_in)),
        tail_frames=len(tail),
        tail_silent=not bool(np.any(tail)),
        first_bad=first_bad,
    )


def _explain(played: Samples, captured: Samples, index: int, offset: int, bits: int) -> FirstBadFrame:
    at = index + offset
    expected = tuple(int(value) for value in played[index])
    if not 0 <= at < len(captured):
        where = "begins after" if at < 0 else "ends before"
        return FirstBadFrame(index, at, expected, None, Defect.MISSING, f"the capture {where} this frame")
    found = tuple(int(value) for value in captured[at])
    defect, detail = _classify(played, captured, index, at, bits)
    return FirstBadFrame(index, at, expected, found, defect, detail)


def _classify(played: Samples, captured: Samples, index: int, at: int, bits: int) -> tuple[Defect, str]:
    heard = captured[at : at + _EVIDENCE_FRAMES]
    meant = played[index : index + _EVIDENCE_FRAMES]
    both = min(len(heard), len(meant))
    heard, meant = heard[:both], meant[:both]
    wrong = np.any(heard != meant, axis=1)

    # Faults within the frame first: they leave the order of frames alone.
    if played.shape[1] == 2 and np.array_equal(heard[wrong], meant[wrong][:, ::-1]):
        return Defect.SWAPPED, "left and right exchanged"
    for distance in range(1, bits):
        if np.array_equal(heard[wrong], _wrap(meant[wrong].astype(np.int64) << distance, bits)):
            return Defect.SHIFTED, f"shifted left by {_bits(distance)}"
        arithmetic = meant[wrong] >> distance
        logical = _wrap((meant[wrong].astype(np.int64) & (2**bits - 1)) >> distance, bits)
        if np.any(meant[wrong] >> distance) and (
            np.array_equal(heard[wrong], arithmetic) or np.array_equal(heard[wrong], logical)
        ):
            return Defect.SHIFTED, f"shifted right by {_bits(distance)}"

    # Frames lost: what is heard here was meant for later.
    ahead = _first_match(played[index + 1 : index + 1 + _REACH_FRAMES + both], heard)
    if ahead is not None:
        return Defect.DROPPED, f"{_frames(ahead + 1)} lost"
    # Frames too many: what was meant here is heard later.
    behind = _first_match(captured[at + 1 : at + 1 + _REACH_FRAMES + both], meant)
    if behind is not None:
        extra = behind + 1
        again = index >= extra and np.array_equal(captured[at : at + extra], played[index - extra : index])
        if again:
            return Defect.REPEATED, f"{_frames(extra)} played again"
        silent = not np.any(captured[at : at + extra])
        return Defect.INSERTED, f"{_frames(extra)} of {'silence' if silent else 'something else'} inserted"
    # Older audio in place of the right one: compare the bad stretch with everything before it.
    length = _bad_stretch(played, captured, index, at)
    stretch = captured[at : at + length]
    if length >= 2 and np.any(stretch):
        history = played[max(0, index - _REACH_FRAMES) : index + length - 1]
        place = _last_match(history, stretch)
        if place is not None:
            age = index - (max(0, index - _REACH_FRAMES) + place)
            return Defect.STALE, f"{_frames(length)} from {_frames(age)} earlier"
    mask = int(np.bitwise_or.reduce((heard[wrong] ^ meant[wrong]).ravel())) & (2**bits - 1)
    if not np.any(stretch):
        return Defect.CORRUPTED, f"{_frames(length)} silent"
    return Defect.CORRUPTED, f"{_frames(length)} differ in bits 0x{mask:X}"


def _bad_stretch(played: Samples, captured: Samples, index: int, at: int) -> int:
    """Frames from the first bad one up to the first run of good ones (a single equal frame may be chance)."""
    length = min(len(played) - index, len(captured) - at)
    equal = np.all(played[index : index + length] == captured[at : at + length], axis=1)
    run = min(4, length)
    good = np.flatnonzero(np.convolve(equal, np.ones(run, int))[run - 1 :][: length - run + 1] == run)
    return int(good[0]) if len(good) else length


def _match_places(where: Samples, what: Samples) -> npt.NDArray[np.int64]:
    if len(what) < 2 or len(where) < len(what):
        return np.empty(0, np.int64)
    places = np.flatnonzero(np.all(where[: len(where) - len(what) + 1] == what[0], axis=1))
    for step in range(1, len(what)):
        places = places[np.all(where[places + step] == what[step], axis=1)]
        if not len(places):
            break
    return places


def _first_match(where: Samples, what: Samples) -> int | None:
    """Place of the first match; a constant stretch, which matches anything constant, is no evidence."""
    if not len(what) or np.all(what == what[0]):
        return None
    places = _match_places(where, what)
    return int(places[0]) if len(places) else None


def _last_match(where: Samples, what: Samples) -> int | None:
    places = _match_places(where, what)
    return int(places[-1]) if len(places) else None


def _wrap(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    half = 1 << (bits - 1)
    return ((values + half) & ((1 << bits) - 1)) - half


def _bits(count: int) -> str:
    return f"{count} bit{'s' if count != 1 else ''}"


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"
