"""Two mixed streams under all pairs of rights: what leaves at the S/PDIF pin, and what a capture of the mix hears."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from codecrig.board import Board
from codecrig.contract import Objects, Rig
from codecrig.contract.drm import BOTH, COPY, DISABLE, FREE, Playing, forwarding_fails, gates_fail
from codecrig.link.registers import InputSelect
from codecrig.portcls import NtStatusError
from codecrig.portcls.drm import DRMRIGHTS

ALL = (FREE, COPY, DISABLE, BOTH)
BLOCK_S = 0.0045
"""More than a block of 192 frames: the marks change with the next one."""
L_AND_CATEGORY = 0xFF << 8
COPYRIGHT = 1 << 2


@dataclass(frozen=True)
class Outcome:
    """What can be seen from outside."""

    carrier: bool
    copy_never: bool | None
    """None without a carrier."""
    capture_hears: bool


def wanted(*rights: DRMRIGHTS) -> Outcome:
    """The table of rights, for a mix."""
    copy = any(each.CopyProtect for each in rights)
    disable = any(each.DigitalOutputDisable for each in rights)
    return Outcome(not disable, None if disable else copy, not copy)


@pytest.fixture
def playing(board: Board) -> Iterator[Playing]:
    """Streams on pins 0 and 2, and a capture of their mix, all in RUN."""
    if not board.bench.has("spdif"):
        pytest.skip("the bench has no receiver at the S/PDIF pin")
    rig = Rig(board, Objects())
    with rig.converter(InputSelect.LOOPBACK):
        made = Playing(rig, pins=(0, 2))
        made.run()
        board.sleep(BLOCK_S)
        yield made
        assert rig.close() == []


def look(playing: Playing) -> Outcome:
    board = playing.rig.board
    board.sleep(BLOCK_S)
    first = board.snapshot(1).frames
    board.bench.spdif_start()
    board.sleep(2 * BLOCK_S)
    tap = board.bench.spdif_read()
    board.bench.spdif_stop()
    frames = playing.captured(first)
    assert len(frames) > 100
    hears = frames.any(axis=1)
    assert hears.all() or not hears.any()
    carrier = tap.half_cell_ticks > 0 and len(tap.samples) > 0
    status = [tap.channel_status(channel) for channel in (0, 1)]
    if not carrier:
        return Outcome(False, None, bool(hears.any()))
    assert tap.samples.any() and tap.coding_errors == tap.parity_errors == 0
    marks = {each & (COPYRIGHT | L_AND_CATEGORY) for each in status if each is not None}
    assert marks in ({0}, {COPYRIGHT}), status  # L 0 of a general category: with Cp 0 no copy may be made
    return Outcome(True, marks == {0}, bool(hears.any()))


def test_the_strictest_rights_of_two_streams_are_seen_outside(playing: Playing) -> None:
    for one, two in itertools.product(ALL, ALL):
        playing.protect(0, one)
        playing.protect(2, two)
        assert look(playing) == wanted(one, two), (one, two)
    playing.protect(0, None)
    playing.protect(2, None)
    assert look(playing) == wanted(FREE)


@pytest.mark.parametrize("fails", ["gates are deaf", "gates raise", "forwarding"])
def test_a_failure_leaves_what_is_seen_outside(playing: Playing, fails: str) -> None:
    for old, other, new in ((COPY, FREE, BOTH), (FREE, DISABLE, COPY), (BOTH, COPY, FREE), (FREE, FREE, COPY)):
        playing.protect(0, old)
        playing.protect(2, other)
        before = look(playing)
        assert before == wanted(old, other)
        if fails == "forwarding":
            failing = forwarding_fails(playing.port_object)
        else:
            failing = gates_fail(playing.rig, error=fails == "gates raise")
        with failing:
            try:
                playing.protect(0, new)
            except NtStatusError:
                pass
            else:
                assert wanted(old, other) == wanted(new, other), "nothing failed, though something had to change"
        assert look(playing) == before, (old, other, new)
        # What is in force shows when the mix is made anew.
        playing.protect(2, other)
        assert look(playing) == before, (old, other, new)
