"""Cutting bytes into MIDI messages."""

import random

import pytest

from codecrig.messages import SYSEX_LIMIT, MessageCutter, MidiMessage


def cut(*pieces: bytes) -> list[bytes]:
    cutter = MessageCutter()
    return [message.data for time, piece in enumerate(pieces) for message in cutter.feed(time, piece)]


@pytest.mark.parametrize(
    ("pieces", "messages"),
    [
        ([b"\x90\x3c\x40"], [b"\x90\x3c\x40"]),
        ([b"\x90\x3c\x40\x3c\x00"], [b"\x90\x3c\x40", b"\x90\x3c\x00"]),  # running status
        ([b"\x90", b"\x3c", b"\x40"], [b"\x90\x3c\x40"]),
        ([b"\xc0\x05\x06"], [b"\xc0\x05", b"\xc0\x06"]),
        ([b"\x90\x3c\xf8\x40"], [b"\xf8", b"\x90\x3c\x40"]),  # real time inside
        ([b"\xf0\x01\xfe\x02", b"\xf7"], [b"\xfe", b"\xf0\x01\x02\xf7"]),
        ([b"\xf0\x01\x90\x3c\x40"], [b"\xf0\x01", b"\x90\x3c\x40"]),  # broken off
        ([b"\x90\x3c\x40\xf6\x3c\x40"], [b"\x90\x3c\x40", b"\xf6"]),  # no running status behind a system message
        ([b"\xf2\x01\x02\xf1\x03\xf3\x04"], [b"\xf2\x01\x02", b"\xf1\x03", b"\xf3\x04"]),
        ([b"\x3c\x40"], []),
        ([b"\xf7\xf4\xf9\xfd"], []),
        ([b"\x90\x3c\x90\x3d\x40"], [b"\x90\x3d\x40"]),  # a message cut short
    ],
)
def test_cutting(pieces: list[bytes], messages: list[bytes]) -> None:
    assert cut(*pieces) == messages


def test_times_are_those_of_the_first_byte() -> None:
    cutter = MessageCutter()
    assert list(cutter.feed(7, b"\x90\x3c")) == []
    assert list(cutter.feed(9, b"\x40\x3d")) == [MidiMessage(7, b"\x90\x3c\x40")]
    assert list(cutter.feed(11, b"\x40")) == [MidiMessage(9, b"\x90\x3d\x40")]


def test_a_sysex_without_end_takes_no_more_memory() -> None:
    cutter = MessageCutter()
    pieces = [message for message in cutter.feed(0, b"\xf0" + bytes(3 * SYSEX_LIMIT))]
    assert len(pieces) == 3
    assert all(not piece.complete and len(piece.data) <= SYSEX_LIMIT for piece in pieces)


def test_pieces_do_not_matter() -> None:
    rng = random.Random(2)
    data = bytes(rng.choice([rng.randrange(128), rng.randrange(256), 0xF0, 0xF7, 0x90]) for _ in range(4_000))
    expected = cut(data)
    assert len(expected) > 400
    for _ in range(5):
        cuts = sorted(rng.sample(range(len(data)), 500))
        assert cut(*(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))) == expected
