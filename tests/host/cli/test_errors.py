"""Wrong input of every kind: one clear line, the right exit code, JSON where it was asked for, no traceback."""

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "data"
BOARDS = Path(__file__).parents[3] / "boards"

Run = Callable[..., Any]


def wave(path: Path, *, channels: int = 2, rate: int = 48_000, data: bytes = bytes(400), cut: int = 0) -> Path:
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    content = b"RIFF" + struct.pack("<I", len(body)) + body
    path.write_bytes(content[: len(content) - cut])
    return path


@pytest.mark.parametrize("command", ["loopback", "play"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: path.write_text("hello, this is text"),
            "expected a WAV file (RIFF ... WAVE), found one that begins",
        ),
        (lambda path: wave(path, cut=100), "truncated WAV: expected 400 bytes of audio, found 300"),
        (lambda path: path.write_bytes(b""), "found an empty file of 0 bytes"),
        (lambda path: wave(path, data=b""), "found a WAV with 0 frames"),
        (lambda path: wave(path, channels=7, data=bytes(140)), "expected 1 or 2 channels, found 7"),
        (lambda path: wave(path, rate=44_100), "the board's rates are 8000, 16000, 24000, 32000, 48000, 96000 Hz"),
        (lambda path: None, "cannot be read: No such file or directory"),
    ],
    ids=["not a WAV", "truncated", "empty file", "no frames", "7 channels", "44.1 kHz", "missing"],
)
def test_bad_wav(codecrig: Run, tmp_path: Path, command: str, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "bad.wav")
    # The twin is not even started for a file that cannot be played.
    outcome = codecrig(command, "bad.wav", "--board", "twin")
    assert outcome.status == 2
    assert message in outcome.message
    assert outcome.result["exit_status"] == 2
    assert outcome.result["verdict"] == "usage"
    assert message in outcome.result["error"]
    assert "Traceback" not in outcome.err


def test_unknown_board_names_those_there_are(codecrig: Run) -> None:
    outcome = codecrig("info", "--board", "no-such-board")
    assert outcome.status == 3
    assert "found 'no-such-board'" in outcome.message
    assert "twin" in outcome.message and "model" in outcome.message
    assert outcome.result["verdict"] == "infra"


@pytest.mark.parametrize(
    "command", [["loopback", DATA / "music.wav"], ["play", DATA / "music.wav"], ["info"], ["demo"]]
)
def test_board_that_is_not_connected(codecrig: Run, command: list[str | Path]) -> None:
    outcome = codecrig(*command, "--board", "pico-ice", "--serial", "no-board-has-this")
    assert outcome.status == 3
    assert "pico-ice" in outcome.message
    assert outcome.result["exit_status"] == 3


def test_wrong_key_and_value_in_a_profile(codecrig: Run, tmp_path: Path) -> None:
    text = (BOARDS / "model" / "board.toml").read_text()
    for change, expected in (
        (text.replace("frame_clocks", "frame_clock"), ("`frame_clock`", "accepted keys", "frame_clocks")),
        (text.replace('"pcm16"', '"pcm17"'), ("pcm17", "accepted values", "pcm24")),
    ):
        profile = tmp_path / "board.toml"
        profile.write_text(change)
        outcome = codecrig("info", "--board", "model", "--profile", profile)
        assert outcome.status == 3
        for part in (str(profile), *expected):
            assert part in outcome.message


def test_no_compiler_is_a_problem_of_the_environment(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    outcome = codecrig("info", "--board", "twin")
    assert outcome.status == 3
    assert "no-such-compiler" in outcome.message
    assert "sudo apt" in outcome.message


def test_a_twin_that_does_not_compile_is_a_failed_build(
    codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "broken-g++"
    compiler.write_text("""#!/bin/sh
case "$*" in *--version*) echo "broken-g++ 1.0"; exit;; *-E*) exec g++ "$@";; esac
echo "some.cpp:1: error: no day for compiling" >&2
exit 1
""")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    outcome = codecrig("info", "--board", "twin")
    assert outcome.status == 4
    assert "error: no day for compiling" in outcome.message
    assert ".log" in outcome.message


@pytest.mark.parametrize(
    "arguments",
    [
        ["loopback"],
        ["loopback", "a.wav", "--path", "sideways"],
        ["record", "a.wav", "--seconds", "0"],
        ["no-such-verb"],
        ["bench", "--no-such-option"],
    ],
)
def test_wrong_usage(codecrig: Run, arguments: list[str]) -> None:
    outcome = codecrig(*arguments, with_json=False)
    assert outcome.status == 2
    assert "--help" in outcome.err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--rate", "44100"], "found 44100 Hz, the board's rates are 8000, 16000, 24000, 32000, 48000, 96000 Hz"),
        (["--channels", "7"], "found 7 channels, the board does 1, 2"),
    ],
)
def test_recording_what_the_board_cannot(codecrig: Run, option: list[str], message: str) -> None:
    outcome = codecrig("record", "a.wav", *option, "--board", "model")
    assert outcome.status == 2
    assert message in outcome.message


def test_unwritable_out_folder(codecrig: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model", "--out", tmp_path / "taken")
    assert outcome.status == 2
    assert "cannot be written" in outcome.message


def test_results_of_an_earlier_run_do_not_survive_a_failure(codecrig: Run, tmp_path: Path) -> None:
    assert codecrig("loopback", DATA / "music.wav", "--board", "model", "--out", "out").status == 0
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "pico-ice", "--serial", "none", "--out", "out")
    assert outcome.status == 3
    assert list((tmp_path / "out").iterdir()) == []


def test_the_recording_itself_is_not_overwritten(codecrig: Run, tmp_path: Path) -> None:
    file = wave(tmp_path / "capture.wav", data=bytes(range(200)))
    before = file.read_bytes()
    outcome = codecrig("loopback", file, "--board", "model", "--out", tmp_path)
    assert outcome.status == 2
    assert "would be overwritten" in outcome.message
    assert file.read_bytes() == before


def test_demo_without_its_recordings_says_where_they_are(
    codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CODECRIG_DATA", str(tmp_path))
    outcome = codecrig("demo", "--board", "model")
    assert outcome.status == 3
    assert "expected speech.wav and music.wav" in outcome.message
    assert "CODECRIG_DATA" in outcome.message


def test_traceback_only_with_v(codecrig: Run) -> None:
    assert "Traceback" not in codecrig("info", "--board", "nothing", with_json=False).err
    assert "Traceback" in codecrig("info", "--board", "nothing", "-v", with_json=False).err


def test_unexpected_error_is_told_apart(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("one by nothing")

    monkeypatch.setattr("codecrig.cli.boards.list_boards", broken)
    outcome = codecrig("list")
    assert outcome.status == 3
    assert "unexpected ZeroDivisionError: one by nothing; run again with -v" in outcome.message


def test_log_file_keeps_command_and_error(codecrig: Run, tmp_path: Path) -> None:
    codecrig("info", "--board", "nothing", "--log-file", tmp_path / "log.txt", with_json=False)
    text = (tmp_path / "log.txt").read_text()
    assert "codecrig info --board nothing" in text
    assert "ERROR" in text and "'nothing'" in text


def test_as_a_program() -> None:
    """The same from outside: one line on standard error, nothing on standard output."""
    command = [sys.executable, "-m", "codecrig", "info", "--board", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: expected a board name")
