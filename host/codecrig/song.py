"""Standard MIDI files as timed messages, and back. mido reads and writes; what it would not notice is checked here.

Times are REFERENCE_TIME: 100 ns from the beginning of the song.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from codecrig.portcls.ks import REFERENCE_TIME_PER_SECOND

DEFAULT_TEMPO = 500_000
"""Microseconds of a quarter note until the file sets another: 120 beats a minute (Standard MIDI Files 1.0)."""
_TEMPO = 0x51
"""The meta event that sets the tempo."""
RECORDED_DIVISION = 31_250
"""Ticks of a quarter note of one second in files that are written here: a tick is a bit time of the wire, 32 us."""


class SongError(ValueError):
    """The file is no MIDI file that can be played; the message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """One whole MIDI message and when its first byte is due."""

    time: int
    data: bytes


@dataclass(frozen=True)
class Song:
    """A song: messages in the order in which they are due."""

    messages: tuple[TimedMessage, ...]
    name: str = ""

    @property
    def seconds(self) -> float:
        """From the beginning to the last message."""
        return self.messages[-1].time / REFERENCE_TIME_PER_SECOND if self.messages else 0.0


def read_song(path: Path) -> Song:
    """The song in a Standard MIDI File of format 0 or 1. Raises SongError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SongError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    try:
        return parse_song(data, path.name)
    except SongError as error:
        raise SongError(f"{path}: {error}") from error


def parse_song(data: bytes, name: str = "") -> Song:
    """The song in the bytes of a file. Raises SongError."""
    _check_chunks(data)
    try:
        import mido
    except ImportError as error:
        raise SongError("MIDI files need mido; next step: pip install 'codecrig[midi]'") from error
    try:
        read = mido.MidiFile(file=io.BytesIO(data), clip=False)
        track = mido.merge_tracks(read.tracks)
    except Exception as error:  # whatever mido trips over: the file is at fault
        raise SongError(
            f"expected MIDI messages; found a track that cannot be read ({type(error).__name__}: {error})"
        ) from error
    messages, now, tempo = [], Fraction(0), DEFAULT_TEMPO
    for message in track:
        now += Fraction(message.time * tempo * REFERENCE_TIME_PER_SECOND, read.ticks_per_beat * 1_000_000)
        if message.type == "set_tempo":
            if message.tempo == 0:
                raise SongError("expected a tempo of at least 1 us for a quarter note; found 0")
            tempo = message.tempo
        elif not message.is_meta:
            messages.append(TimedMessage(int(now), bytes(message.bytes())))
    return Song(tuple(messages), name)


def _check_chunks(data: bytes) -> None:
    """Lengths and division, before anybody believes them."""
    if data[:4] != b"MThd":
        raise SongError(f"expected a MIDI file that begins with MThd; found {data[:4]!r}")
    if len(data) < 14 or int.from_bytes(data[4:8], "big") < 6:
        raise SongError(f"expected a header of 6 bytes; found {max(0, len(data) - 8)}")
    kind, tracks, division = (int.from_bytes(data[at : at + 2], "big") for at in (8, 10, 12))
    if kind not in (0, 1):
        raise SongError(f"expected format 0 or 1; found {kind}")
    if division == 0 or division & 0x8000:
        raise SongError(f"expected a division in ticks of a quarter note; found {division:#06x}")
    at, found = 8 + int.from_bytes(data[4:8], "big"), 0
    while at < len(data) and found < tracks:
        length = int.from_bytes(data[at + 4 : at + 8], "big")
        if len(data) - at < 8 or length > len(data) - at - 8:
            raise SongError(
                f"expected {length} bytes in the chunk at byte {at}; found {max(0, len(data) - at - 8)}: is it cut off?"
            )
        if data[at : at + 4] == b"MTrk":
            _check_track(data[at + 8 : at + 8 + length], found)
            found += 1
        at += 8 + length
    if found < tracks:
        raise SongError(f"expected {tracks} tracks; found {found}: is the file cut off?")


def _check_track(track: bytes, number: int) -> None:
    """Delta times, running status, lengths and data bytes of one track."""
    at, status = 0, 0
    place = f"in track {number} at byte"

    def variable_length() -> int:
        nonlocal at
        value = 0
        for _ in range(4):
            if at >= len(track):
                raise SongError(f"track {number} ends in the middle of a message")
            value = value << 7 | track[at] & 0x7F
            at += 1
            if not track[at - 1] & 0x80:
                return value
        raise SongError(f"expected a number of at most 4 bytes {place} {at}; found a longer one")

    while at < len(track):
        variable_length()
        if at >= len(track):
            raise SongError(f"track {number} ends in the middle of a message")
        first = track[at]
        if first >= 0x80:
            at += 1
        if first == 0xF7:
            raise SongError(f"expected no SysEx in parts (0xF7) {place} {at - 1}; found one, which is not supported")
        is_meta = first == 0xFF
        if is_meta or first == 0xF0:
            kind = track[at] if is_meta and at < len(track) else None
            at += is_meta
            length = variable_length()
            status = 0
            if kind == _TEMPO and length != 3:
                raise SongError(f"expected a tempo of 3 bytes {place} {at - 1}; found {length}")
        elif first >= 0xF0:
            raise SongError(f"expected a message of a file {place} {at}; found 0x{first:02X}")
        else:
            status = first if first >= 0x80 else status
            if status == 0:
                raise SongError(f"running status without a status {place} {at}: 0x{first:02X}")
            length = 1 if 0xC0 <= status < 0xE0 else 2
        data = track[at : at + length]
        if len(data) < length:
            raise SongError(f"track {number} ends in the middle of a message")
        if not is_meta:
            data = data.removesuffix(b"\xf7") if first == 0xF0 else data
            wrong = next((n for n, value in enumerate(data) if value >= 0x80), None)
            if wrong is not None:
                raise SongError(f"expected a data byte {place} {at + wrong}; found 0x{data[wrong]:02X}")
        at += length


def write_song(path: Path, messages: Sequence[TimedMessage]) -> int:
    """Write messages as a file of format 0 whose ticks are 32 us; returns how many were written.

    What no file can hold by itself (system messages other than SysEx, real time) is left out.
    """
    import mido

    written = mido.MidiFile(type=0, ticks_per_beat=RECORDED_DIVISION)
    track = mido.MidiTrack()
    written.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=0))
    last = 0
    count = 0
    for each in messages:
        if each.data[0] > 0xF0:
            continue
        tick = each.time * RECORDED_DIVISION // REFERENCE_TIME_PER_SECOND
        track.append(mido.Message.from_bytes(each.data, time=max(0, tick - last)))
        last = max(last, tick)
        count += 1
    track.append(mido.MetaMessage("end_of_track", time=0))
    written.save(path)
    return count
