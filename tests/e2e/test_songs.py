"""MIDI files through `codecrig play`, compared at the MIDI output."""

import json
import os
import random
import signal
from pathlib import Path

import pytest
import soundfile

from codecrig.board import Board, BoardSystem, open_board
from codecrig.cli.main import run
from codecrig.link import registers as regs
from codecrig.miniport import MiniportDMus
from codecrig.miniport.uart import MidiUart
from codecrig.player import SONG_MODELS, SongModel, play_song, play_sound, record_song
from codecrig.port import PortDMus
from codecrig.port.dmus import HostClock
from codecrig.portcls import KSSTATE, Format
from codecrig.song import Song, TimedMessage, read_song, write_song


def song(messages: int, step: int) -> Song:
    """Notes one behind the other, `step` in 100 ns, with a SysEx of 300 bytes in the middle and one note left on."""
    events = []
    for n in range(messages):
        events.append(TimedMessage(n * step, bytes([0x90 | n % 16, 40 + n % 40, 100])))
        events.append(TimedMessage(n * step + step // 2, bytes([0x80 | n % 16, 40 + n % 40, 0])))
    middle = len(events) // 2
    events.insert(middle, TimedMessage(events[middle].time, b"\xf0" + bytes(n & 0x7F for n in range(298)) + b"\xf7"))
    events.append(TimedMessage(messages * step, b"\x95\x40\x60"))
    return Song(tuple(events))


def test_a_song_leaves_byte_for_byte_and_in_time(board: Board) -> None:
    played = song(40, 100_000)
    result = play_song(board, played)
    assert result.failure == "" and result.bytes_taken == result.bytes_due
    assert result.wire is not None
    assert bytes(each.value for each in result.wire) == b"".join(each.data for each in played.messages)
    late = result.lateness_ticks(played)
    assert len(late) == len(played.messages)
    # The port's timer fires with the next answer of the board; the SysEx of 96 ms makes what follows late.
    before_sysex = late[: len(late) // 2 - 1]
    assert 0 <= min(before_sysex) and max(before_sysex) < board.clock.ticks(0.002)
    board.sleep(0.005)
    ended = bytes(each.value for each in board.bench.midi_read())
    assert ended == b"\x85\x40\x00"  # the note that was left on


def test_events_leave_at_their_times(board: Board) -> None:
    """Timed by the board's clock: no host in the way."""
    played = song(40, 100_000)
    result = play_song(board, played, "dmus")
    assert result.bytes_taken == result.bytes_due and result.wire is not None
    assert bytes(each.value for each in result.wire) == b"".join(each.data for each in played.messages)
    late = result.lateness_ticks(played)
    assert len(late) == len(played.messages)
    before_sysex = late[: len(late) // 2 - 1]
    assert 0 <= min(before_sysex) and max(before_sysex) < board.clock.ticks(0.000_032)
    board.sleep(0.005)
    assert bytes(each.value for each in board.bench.midi_read()) == b"\x85\x40\x00"


@pytest.mark.parametrize("model", SONG_MODELS[:2])
@pytest.mark.parametrize("interrupted", [False, True])
def test_notes_have_ended_when_a_song_has(board: Board, model: SongModel, interrupted: bool) -> None:
    """Whoever has the MIDI port next, or closes the board, drops what is queued then."""
    notes = [TimedMessage(0, bytes([0x90, 40 + n, 100])) for n in range(40)]
    late = [TimedMessage(10_000_000, b"\x90\x20\x64")] * interrupted

    def press_ctrl_c(done: int, total: int) -> None:
        if interrupted:
            os.kill(os.getpid(), signal.SIGINT)

    result = play_song(board, Song(tuple(notes + late)), model, progress=press_ctrl_c)
    assert result.interrupted is interrupted and result.wire is not None or interrupted
    heard = [] if result.wire is None else result.wire
    MidiUart(board)
    board.sleep(0.05)
    data = bytes(each.value for each in [*heard, *board.bench.midi_read()])
    assert data == b"".join(each.data for each in notes) + b"".join(bytes([0x80, 40 + n, 0]) for n in range(40))


def test_ten_thousand_events_at_the_pin(board: Board) -> None:
    """A dense file: nothing lost, reordered or altered, each byte within a bit of its time or behind the one before."""
    source, now, messages = random.Random(3), 0, []
    for _ in range(10_000):
        data = bytes([source.choice((0x90, 0x80, 0xB0)), source.randrange(128), source.randrange(128)])
        messages.append(TimedMessage(now, data))
        now += source.choice((0, 5_000, 15_000, 20_000))
    result = play_song(board, Song(tuple(messages)), "dmus")
    due = [
        (result.start_ticks + int(each.time * board.clock.rate / 10_000_000), value)
        for each in messages
        for value in each.data
    ]
    assert result.wire is not None
    assert [each.value for each in result.wire[: len(due)]] == [value for _, value in due]
    bit_ticks, byte_ticks, free = board.clock.ticks(1 / 31_250), 10 * 393, 0
    for (ticks, _), each in zip(due, result.wire, strict=False):
        assert abs(each.ticks - max(ticks, free)) <= bit_ticks
        free = each.ticks + byte_ticks


def test_a_long_sysex_and_running_status_come_back_whole(board: Board) -> None:
    """From the output by cable to the input: a SysEx of 4 KiB, and data bytes that rely on the status before."""
    sysex = b"\xf0" + bytes(n % 128 for n in range(4096)) + b"\xf7"
    board.bench.midi_loop(True)
    miniport = MiniportDMus(board)
    with PortDMus(miniport, BoardSystem(board)) as port:
        miniport.release()
        render, capture = port.open_render(0), port.open_capture(1)
        render.submit(100_000, sysex)
        render.submit(100_001, b"\x93\x3c\x40\x3e\x40\x3c\x00\x3e\x00")
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        port.system.sleep(1.4)
        received = [message.data for message in capture.read()]
    notes = [b"\x93\x3c\x40", b"\x93\x3e\x40", b"\x93\x3c\x00", b"\x93\x3e\x00"]
    assert received == [sysex, *notes]


def test_a_song_sounds(board: Board) -> None:
    """Through synthesizer, wave sink and converter: what the DAC gets is what was rendered, at the song's times."""
    notes = [TimedMessage(n * 500_000, bytes([0x99, 40 + n, 100])) for n in range(4)]
    result = play_sound(board, Song(tuple(notes)))
    assert result.gaps == 0 and result.first_wrong_frame is None
    assert result.frames_at_dac is not None and result.frames_at_dac > 0.25 * result.sound.sample_rate
    assert result.first_sound_ticks is not None
    assert abs(result.first_sound_ticks - result.start_ticks) < board.clock.ticks(0.001)


def test_the_input_is_recorded_at_its_times(board: Board, tmp_path: Path) -> None:
    """Running status, a clock byte inside a message, a SysEx: whole messages at the times of their first bytes."""
    begin = board.clock.now() + board.clock.ticks(0.03)
    board.bench.midi_send(b"\x90\x3c\x40\x3c\xf8\x00", begin)
    board.bench.midi_send(b"\xf0" + bytes(200) + b"\xf7", begin + board.clock.ticks(0.02))
    board.bench.midi_send(b"\xc0\x05", begin + board.clock.ticks(0.1))
    recording = record_song(board, 0.16)
    messages = recording.song.messages
    assert recording.lost_bytes == recording.pieces == 0
    assert [each.data for each in messages] == [
        b"\x90\x3c\x40", b"\xf8", b"\x90\x3c\x00", b"\xf0" + bytes(200) + b"\xf7", b"\xc0\x05"
    ]  # fmt: skip
    assert [messages[n].time - messages[0].time for n in (3, 4)] == pytest.approx([200_000, 1_000_000], abs=20)
    assert write_song(tmp_path / "in.mid", messages) == 4
    again = read_song(tmp_path / "in.mid").messages
    assert [each.data for each in again] == [each.data for each in messages if each.data != b"\xf8"]
    assert max(abs(a.time - b.time) for a, b in zip(again, [messages[0], *messages[2:]], strict=True)) <= 320


def test_nothing_comes_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.mid"
    assert run(["record", str(path), "--seconds", "0.1", "--board", "model"]) == 0
    assert "0 messages in 0.1" in capsys.readouterr().out
    assert read_song(path).messages == ()


@pytest.mark.parametrize("ppm", [100.0, -100.0])
def test_sound_follows_the_host_clock_within_a_frame(board_name: str, ppm: float) -> None:
    """Codec and master clock (host time) 100 ppm apart: once settled, the sample clock is at most a frame off."""
    notes = [TimedMessage(n * 500_000, bytes([0x90, 40 + n, 100])) for n in range(20)]
    with open_board(board_name, clock_ppm=ppm) as board:
        result = play_sound(board, Song(tuple(notes)))
    settled = [frames for seconds, frames in result.sync_points if seconds > 0.5]
    assert len(settled) > 20
    assert max(map(abs, settled)) <= 1
    assert result.first_wrong_frame is None and result.gaps == 0


@pytest.mark.parametrize("ppm", [100.0, -100.0, 10_000.0])
def test_the_sample_clock_is_right_behind_each_call(board_name: str, ppm: float) -> None:
    """Judged by both clocks read at one instant, behind the host's back."""
    with open_board(board_name, clock_ppm=ppm) as board:
        if not board.bench.has("statistics"):
            pytest.skip("the bench does not read both clocks at one instant")
        system, miniport = BoardSystem(board), MiniportDMus(board)
        clock, rate = HostClock(system), 48_000
        board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB)
        with PortDMus(miniport, system, master_clock=clock) as port:
            miniport.release()
            pin = port.open_synth(2, Format(rate, 2, 16))
            pin.set_state(KSSTATE.RUN)

            def ahead() -> float:
                """Frames that the master is ahead of the converter, by the sample clock."""
                both = board.bench.statistics()
                sample = (both["host_ns"] / 100 - pin.synth.sample_to_ref_time(0)) * rate / 10_000_000
                return sample - both["ticks"] / board.profile.frame_clocks

            start, errors = ahead(), []
            for _ in range(60):
                system.sleep(0.02)
                pin.synth.sync_to_master(clock.get_time(), False)
                errors.append(ahead() - start)
    assert max(map(abs, errors[40:])) <= (1 if abs(ppm) <= 100 else 1.25)


@pytest.mark.parametrize("messages", [0, 3])
def test_sound_has_a_page(messages: int, tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    write_song(path, song(messages, 500_000).messages if messages else [])
    assert run(["play", str(path), "--board", "model", "--model", "synth", "--out", str(tmp_path / "out")]) == 0
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"report.html", "result.json", "song.wav"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Error of the sample clock, frames" in page and "song.mid as sound" in page


def test_the_sound_of_a_song_becomes_a_file(tmp_path: Path) -> None:
    path, wav = tmp_path / "song.mid", tmp_path / "sound" / "a.wav"
    write_song(path, song(4, 500_000).messages)
    hashes = []
    for _ in range(2):
        arguments = ["--model", "synth", "--out", str(wav), "--json", str(tmp_path / "result.json")]
        assert run(["play", str(path), "--board", "model", *arguments]) == 0
        result = json.loads((tmp_path / "result.json").read_text())
        hashes.append(result["sound_sha256"])
        assert result["wav"] == str(wav)
    assert hashes[0] == hashes[1]
    assert soundfile.info(wav).frames >= 1.2 * 48_000


def test_a_file_is_played_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "song.mid"
    write_song(path, song(10, 50_000).messages)
    out = tmp_path / "out"
    assert run(["play", str(path), "--board", "model", "--out", str(out)]) == 0
    assert "heard on the wire byte for byte" in capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert result["verdict"] == "passed" and result["bytes_on_the_wire"] == result["bytes"] == 363


def test_a_song_is_known_by_what_it_begins_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "song.kar"
    write_song(path, song(2, 50_000).messages)
    assert run(["play", str(path), "--board", "model"]) == 0
    assert "heard on the wire byte for byte" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["midi", "dmus"])
def test_only_the_synthesizer_writes_sound(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, wav = tmp_path / "song.mid", tmp_path / "song.wav"
    write_song(path, song(2, 50_000).messages)
    assert run(["play", str(path), "--board", "model", "--model", model, "--out", str(wav)]) == 2
    assert "only --model synth writes a WAV file" in capsys.readouterr().err and not wav.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "wavert"], "song.mid is played by midi or dmus or synth; found wavert"),
        (["--model", "synth"], "begins with MThd"),
        ([], "begins with MThd"),
    ],
)
def test_wrong_songs_are_refused_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "song.mid"
    path.write_bytes(b"no song")
    assert run(["play", str(path), "--board", "model", *arguments]) == 2
    assert words in capsys.readouterr().err
