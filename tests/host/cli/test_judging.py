"""Verdicts: a capture that was tampered with must fail, say where, and exit with 1."""

import dataclasses
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from codecrig import client
from codecrig.board import find_profile, load_profile
from codecrig.cli.judging import _starts_apart
from codecrig.client import PositionPoint, StreamRun
from codecrig.portcls import Format

DATA = Path(__file__).parents[2] / "data"
LATENCY_FRAMES = 1  # of the model's digital loopback
BLOCK_BYTES = 6  # of music.wav: stereo, 24 bits packed

Run = Callable[..., Any]


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[StreamRun], StreamRun]], None]:
    """Changes every run before it is judged."""
    real = client.loopback

    def install(change: Callable[[StreamRun], StreamRun]) -> None:
        monkeypatch.setattr(client, "loopback", lambda *given, **named: change(real(*given, **named)))

    return install


def captured(run: StreamRun) -> bytes:
    assert run.captured is not None
    return run.captured


@pytest.mark.parametrize("apart", [0, 3, -2])
@pytest.mark.parametrize("phases", [((14,), (200,)), ((200,), (14,)), ((0, 255), (0, 255)), ((90, 100), (5, 250))])
def test_beginnings_are_whole_frames_apart(apart: int, phases: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Reads that always hit the same place in a frame say less: there the two begin together unless they cannot."""
    profile = load_profile(find_profile("model"))
    run = StreamRun(Format(48_000, 2, 16))
    for stream, begin, places in (("render", 1_000 + apart * 256, phases[0]), ("capture", 1_000, phases[1])):
        for frames in range(500):
            ticks = begin + frames * 256 + places[frames % len(places)]
            run.positions.append(PositionPoint(0, ticks, frames, stream))  # type: ignore[arg-type]
    found = _starts_apart(run, profile)
    assert found is not None
    if len(phases[0]) == 1:
        assert abs(found - apart) <= (0 if apart == 0 else 1) and abs(found) <= abs(apart)
    elif phases[0] == (0, 255):
        assert found == apart


def test_untouched_passes(codecrig: Run) -> None:
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model")
    assert outcome.status == 0
    assert outcome.result["latency_frames"] == LATENCY_FRAMES
    assert "bit-exact" in outcome.out


def test_one_wrong_bit_fails_with_index_time_and_values(codecrig: Run, tamper: Any) -> None:
    index = 30_000
    place = (index + LATENCY_FRAMES) * BLOCK_BYTES

    def flip(run: StreamRun) -> StreamRun:
        data = bytearray(captured(run))
        data[place + 3] ^= 0x04  # right channel, third bit
        return dataclasses.replace(run, captured=bytes(data))

    tamper(flip)
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model", "--out", "out")
    assert outcome.status == 1
    result = outcome.result
    assert (result["verdict"], result["bit_exact"], result["bad_frames"]) == ("failed", False, 1)
    played, _ = soundfile.read(DATA / "music.wav", dtype="int32", always_2d=True)
    left, right = (played[index] >> 8).tolist()
    bad = result["first_bad_frame"]
    assert (bad["index"], bad["captured_index"]) == (index, index + LATENCY_FRAMES)
    assert (bad["expected"], bad["found"]) == ([left, right], [left, right ^ 4])
    assert bad["defect"] == "corrupted" and "0x4" in bad["detail"]
    # The board time of that frame, from the first position of the run: it can be off by a frame.
    assert bad["board_time_s"] == pytest.approx(bad["captured_index"] / 48_000, abs=0.1)
    assert f"first bad frame {index}" in outcome.out
    assert f"({left}, {right})" in outcome.out
    assert f"first bad frame {index}" in Path("out/report.html").read_text()


def test_board_time_of_the_first_bad_frame_is_that_of_its_capture(codecrig: Run, tamper: Any) -> None:
    """The descriptor events of the capture stream say when a packet was full: a frame of it cannot be later."""
    packet_frames, index = 960, 9_600 + 480
    runs: list[StreamRun] = []

    def flip(run: StreamRun) -> StreamRun:
        data = bytearray(captured(run))
        data[(index + LATENCY_FRAMES) * BLOCK_BYTES] ^= 1
        runs.append(run)
        return dataclasses.replace(run, captured=bytes(data))

    tamper(flip)
    result = codecrig("loopback", DATA / "music.wav", "--board", "model").result
    ends = [record.time_ticks for record in runs[0].events if record.stream == 1 and record.cause.name == "DESCRIPTOR"]
    packet = (index + LATENCY_FRAMES) // packet_frames
    ticks = result["first_bad_frame"]["board_time_ticks"]
    assert ends[packet - 1] - 256 * 16 < ticks < ends[packet] + 256 * 16
    expected = ends[packet - 1] + (index + LATENCY_FRAMES - packet * packet_frames) * 256
    assert ticks == pytest.approx(expected, abs=16 * 256)


def test_lost_frames_fail(codecrig: Run, tamper: Any) -> None:
    cut = 20_000 * BLOCK_BYTES
    tamper(lambda run: dataclasses.replace(run, captured=captured(run)[:cut] + captured(run)[cut + 3 * BLOCK_BYTES :]))
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model")
    assert outcome.status == 1
    bad = outcome.result["first_bad_frame"]
    assert (bad["index"], bad["defect"], bad["detail"]) == (20_000 - LATENCY_FRAMES, "dropped", "3 frames lost")


def test_silence_instead_of_the_recording_fails(codecrig: Run, tamper: Any) -> None:
    tamper(lambda run: dataclasses.replace(run, captured=bytes(len(captured(run)))))
    for path in ("digital", "analog"):
        outcome = codecrig("loopback", DATA / "music.wav", "--board", "model", "--path", path)
        assert outcome.status == 1
        assert "not found in the capture" in outcome.result["problems"][0]
        assert outcome.result["bit_exact"] is (False if path == "digital" else None)


@pytest.mark.parametrize(("field", "text"), [("underruns", "2 underruns"), ("overruns", "2 overruns")])
@pytest.mark.parametrize("path", ["digital", "analog"])
def test_gaps_fail_even_if_the_frames_are_right(codecrig: Run, tamper: Any, field: str, text: str, path: str) -> None:
    tamper(lambda run: dataclasses.replace(run, **{field: 2}))
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model", "--path", path)
    assert outcome.status == 1
    assert outcome.result["problems"] == [text]


def test_limits_of_the_profile_are_judged(codecrig: Run, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "boards" / "model" / "board.toml").read_text()
    head, _, limits = text.partition("[limits]")
    assert "loopback_latency_frames" in limits
    tight = "[limits]\nloopback_latency_frames = 1\nposition_rate_error_ppm = 20.0\n"
    (tmp_path / "board.toml").write_text(head + tight)
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model", "--profile", tmp_path / "board.toml")
    assert outcome.status == 1
    assert len(outcome.result["problems"]) == 1
    # The clock is 37 ppm fast; in a second a frame more or less is 20 ppm.
    assert "position rate error " in outcome.result["problems"][0]
    assert "limit is 20 ppm" in outcome.result["problems"][0]


def test_interrupted_run_is_not_judged(codecrig: Run, tamper: Any) -> None:
    def stop(run: StreamRun) -> StreamRun:
        return dataclasses.replace(run, captured=captured(run)[: 10_000 * BLOCK_BYTES], interrupted=True)

    tamper(stop)
    outcome = codecrig("loopback", DATA / "music.wav", "--board", "model")
    assert outcome.status == 130
    assert (outcome.result["verdict"], outcome.result["bit_exact"]) == ("interrupted", None)
    assert outcome.result["interrupted"] is True
    # What was captured is right, and what was not is not called wrong.
    assert outcome.result["first_bad_frame"] is None
    assert outcome.result["bad_frames"] == 0 and outcome.result["problems"] == []


def test_interruption_before_the_first_frame_leaves_its_files(codecrig: Run, tamper: Any, tmp_path: Path) -> None:
    tamper(lambda run: dataclasses.replace(run, captured=b"", positions=[], events=[], interrupted=True))
    for path in ("digital", "analog"):
        outcome = codecrig("loopback", DATA / "music.wav", "--board", "model", "--path", path, "--out", path)
        assert outcome.status == 130
        assert outcome.result["frames_captured"] >= 0
        assert {each.name for each in (tmp_path / path).iterdir()} == {"capture.wav", "report.html", "result.json"}


def test_recorded_pattern_is_compared(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("record", "ramp.wav", "--source", "pattern", "--seconds", "0.2", "--board", "model")
    outcome = codecrig(*arguments)
    assert (outcome.status, outcome.result["bit_exact"]) == (0, True)
    real = client.record

    def twice(*given: Any, **named: Any) -> StreamRun:
        run = real(*given, **named)
        data = captured(run)
        return dataclasses.replace(run, captured=data[:6_000] + data[5_988:-12])  # two frames played again

    monkeypatch.setattr(client, "record", twice)
    outcome = codecrig(*arguments)
    assert (outcome.status, outcome.result["bit_exact"]) == (1, False)
    bad = outcome.result["first_bad_frame"]
    assert (bad["index"], bad["defect"], bad["detail"]) == (1_000, "repeated", "2 frames played again")


def test_short_runs_have_no_rate_and_say_why(codecrig: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-1000, 1000, (4_800, 1), np.int16)
    soundfile.write(tmp_path / "short.wav", noise, 48_000)
    outcome = codecrig("loopback", "short.wav", "--board", "model")
    assert outcome.status == 0
    assert outcome.result["position_rate_error"] is None
    assert "expected at least 30 reads" in outcome.out


def test_progress_is_shown_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(1).uniform(-0.5, 0.5, (240_000, 2)), 48_000)
    command = [sys.executable, "-m", "codecrig", "play", "noise.wav", "--board", "model"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how Linux tells that the other end is closed
                break
            if not part:
                break
            said += part
    os.close(ours)
    assert process.returncode == 0
    assert b"playing noise.wav" in said and b"%" in said
