"""MIDI files: times by the tempo map, and one clear line for each way in which a file can be broken."""

from pathlib import Path

import mido
import pytest

from codecrig.song import RECORDED_DIVISION, SongError, TimedMessage, parse_song, read_song, write_song


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    return name + (len(data) if length is None else length).to_bytes(4, "big") + data


def smf(*tracks: bytes, kind: int = 1, division: int = 480, count: int | None = None) -> bytes:
    header = b"".join(n.to_bytes(2, "big") for n in (kind, len(tracks) if count is None else count, division))
    return chunk(b"MThd", header) + b"".join(chunk(b"MTrk", track) for track in tracks)


NOTE = b"\x00\x90\x3c\x64"
END = b"\x00\xff\x2f\x00"


def test_times_follow_the_tempo_map() -> None:
    tempo = b"\x00\xff\x51\x03\x0f\x42\x40"  # 1 s a quarter
    track = NOTE + b"\x83\x60\x3c\x00" + tempo + b"\x83\x60\x90\x40\x01" + END
    song = parse_song(smf(track))
    assert [(each.time, each.data) for each in song.messages] == [
        (0, b"\x90\x3c\x64"),
        (5_000_000, b"\x90\x3c\x00"),  # running status is written out
        (15_000_000, b"\x90\x40\x01"),
    ]
    assert song.seconds == 1.5


def test_tracks_are_merged_and_sysex_is_whole() -> None:
    first = b"\x60\x90\x3c\x64" + END
    second = b"\x00\xf0\x04\x01\x02\x03\xf7" + END
    assert [each.data for each in parse_song(smf(first, second)).messages] == [
        b"\xf0\x01\x02\x03\xf7",
        b"\x90\x3c\x64",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF....", "begins with MThd"),
        (b"MThd\x00\x00", "expected a header of 6 bytes"),
        (smf(NOTE + END, division=0), "expected a division in ticks of a quarter note; found 0x0000"),
        (smf(NOTE + END, division=0xE728), "expected a division in ticks"),
        (smf(NOTE + END, kind=2), "expected format 0 or 1; found 2"),
        (smf(NOTE + END)[:-3], "expected 8 bytes in the chunk at byte 14; found 5"),
        (smf() + chunk(b"MTrk", NOTE, 100_000_000), "found 0"),
        (smf(count=1) + chunk(b"MTrk", NOTE, 100_000_000), "expected 100000000 bytes in the chunk at byte 14; found 4"),
        (smf(NOTE + END, count=2), "expected 2 tracks; found 1"),
        (smf(b"\x00\x3c\x64" + END), "running status without a status in track 0 at byte 1"),
        (smf(b"\x00\x90\x3c"), "ends in the middle of a message"),
        (smf(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE + END), "tempo of at least 1 us"),
        (smf(b"\x00\xff\x51\x02\x00\x01" + NOTE + END), "a tempo of 3 bytes in track 0 at byte 3; found 2"),
        (smf(b"\x00\x90\x3c\xff" + END), "expected a data byte in track 0 at byte 3; found 0xFF"),
        (smf(b"\x00\xf0\x04\x01\x90\x02\xf7" + END), "expected a data byte in track 0 at byte 4; found 0x90"),
        (smf(b"\x00\xf0\x02\x01\x02\x10\xf7\x02\x03\xf7" + END), "no SysEx in parts (0xF7)"),
        (smf(b"\x00\xf7\x01\xf8" + NOTE + END), "no SysEx in parts (0xF7) in track 0 at byte 1"),
        (smf(b"\x00\xff\x59\x02\x7f\x05" + NOTE + END), "a track that cannot be read (KeySignatureError"),
        (smf(b"\xff\xff\xff\xff\x00" + NOTE), "at most 4 bytes"),
        (smf(b"\x00\xf0\xff\xff\xff\x7f\x01"), "ends in the middle of a message"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(data: bytes, words: str, tmp_path: Path) -> None:
    if words == "found 0":  # no track is claimed, so nothing more is read
        assert parse_song(data).messages == ()
        return
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    with pytest.raises(SongError, match="song.mid") as caught:
        read_song(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_sysex_without_an_end_gets_one() -> None:
    assert [each.data for each in parse_song(smf(b"\x00\xf0\x02\x01\x02" + NOTE + END)).messages] == [
        b"\xf0\x01\x02\xf7",
        b"\x90\x3c\x64",
    ]


@pytest.mark.parametrize("name", ["missing.mid", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(SongError, match="cannot be read: .*; check the path"):
        read_song(tmp_path / name)


def test_what_is_written_is_read_again_to_the_bit_time(tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    messages = [
        TimedMessage(0, b"\x90\x3c\x64"),
        TimedMessage(3_210_777, b"\xf0\x01\x7f\xf7"),
        TimedMessage(3_210_777, b"\xfe"),
        TimedMessage(100_000_000, b"\xc3\x05"),
    ]
    assert write_song(path, messages) == 3
    assert mido.MidiFile(path).ticks_per_beat == RECORDED_DIVISION
    read = read_song(path).messages
    assert [each.data for each in read] == [b"\x90\x3c\x64", b"\xf0\x01\x7f\xf7", b"\xc3\x05"]
    for before, after in zip((0, 3_210_777, 100_000_000), read, strict=True):
        assert 0 <= before - after.time < 320
