"""The commands as a user types them, on every board: files, figures, verdicts, interruption."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from codecrig.board.profile import BoardProfile, find_profile, load_profile
from codecrig.cli.main import run
from codecrig.wave import PcmAudio, read_wave, write_wave

DATA = Path(__file__).parents[1] / "data"

LOOPBACK_KEYS = {
    *("bit_exact", "first_bad_frame", "latency_frames", "underruns", "overruns", "position_rate_error"),
    *("position_jitter_frames", "frames", "capture_wav", "capture_sha256", "events_sha256", "board_seconds"),
    *("wall_seconds", "position_rate_ppm", "late_packets", "exit_status", "interrupted", "verdict", "provenance"),
}
BENCH_KEYS = {
    *("realtime_factor", "host_cpu_per_audio_second", "control_round_trip_us", "usb_efficiency"),
    "simulated_mcycles_per_second",
}

Codecrig = Callable[..., dict[str, Any]]


@pytest.fixture
def profile(board_name: str) -> BoardProfile:
    return load_profile(find_profile(board_name))


@pytest.fixture
def codecrig(board_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Codecrig:
    """Runs a verb on the board in an empty folder; returns its JSON, in which `exit_status` stands."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> dict[str, Any]:
        target = tmp_path / "outcome.json"
        target.unlink(missing_ok=True)
        status = run([*map(str, arguments), "--board", board_name, "--json", str(target), "-q"])
        result: dict[str, Any] = json.loads(target.read_text())
        assert result["exit_status"] == status, result
        return result

    return call


def sound(path: Path, frames: int, channels: int = 2, bits: int = 24) -> Path:
    """A file of noise."""
    samples = np.random.default_rng(frames).integers(-(2 ** (bits - 2)), 2 ** (bits - 2), (frames, channels), np.int32)
    write_wave(path, PcmAudio(48_000, bits, bits, samples))
    return path


# ---------------------------------------------------------------- loopback


def test_speech_comes_back_bit_for_bit(codecrig: Codecrig, profile: BoardProfile, tmp_path: Path) -> None:
    result = codecrig("loopback", DATA / "speech.wav", "--out", "out")
    assert LOOPBACK_KEYS <= result.keys()
    assert result["verdict"] == "passed", result["problems"]
    assert result["bit_exact"] is True and result["first_bad_frame"] is None
    assert (result["underruns"], result["overruns"], result["late_packets"]) == (0, 0, 0)
    assert result["start_up_frames"] == profile.start_up_frames
    played = read_wave(DATA / "speech.wav", rates=(48_000,)).samples
    assert result["frames"] == len(played)
    # By another way than the command's own: the file that was written holds the recording, sample for sample.
    captured, rate = soundfile.read(result["capture_wav"], dtype="int16", always_2d=True)
    offset = result["capture_offset_frames"]
    assert rate == 48_000
    assert np.array_equal(captured[offset : offset + len(played)], played)
    assert not np.any(captured[profile.start_up_frames : offset])
    assert result["capture_sha256"] == hashlib.sha256(Path(result["capture_wav"]).read_bytes()).hexdigest()
    assert 1 <= result["latency_frames"] <= (profile.limits.loopback_latency_frames or 1_000)
    assert result["board_seconds"] >= len(played) / 48_000
    if profile.kind != "usb":
        assert_rate(result, profile.clock_ppm)
    assert "bit-exact" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "result.json").read_text())["events_sha256"] == result["events_sha256"]


def test_position_rate_shows_another_clock(codecrig: Codecrig, profile: BoardProfile) -> None:
    if profile.kind == "usb":
        pytest.skip("a physical board's clock cannot be set")
    result = codecrig("play", DATA / "speech.wav", "--clock-ppm", "-120")
    assert_rate(result, -120.0)
    assert result["frames"] == result["frames_played"] > 180_000


def assert_rate(result: dict[str, Any], clock_ppm: float) -> None:
    """The position's rate by the host's clock is the board's clock error, within 1 ppm."""
    assert result["position_rate_ppm"] == pytest.approx(clock_ppm, abs=1.0)
    assert result["position_rate_error"] == pytest.approx(clock_ppm * 1e-6, abs=1e-6)
    # What whole frames leave open over 4 s, at worst: reads that always hit the same place in a frame.
    assert result["position_rate_uncertainty_ppm"] < 6.0
    assert result["position_jitter_frames"] < 1.0


def test_a_run_is_the_same_on_a_busy_machine(codecrig: Codecrig, profile: BoardProfile, tmp_path: Path) -> None:
    if profile.kind == "usb":
        pytest.skip("only a simulated board repeats its times")
    file = sound(tmp_path / "noise.wav", 24_000)
    quiet = codecrig("loopback", file, "--out", "quiet")
    with busy_processors():
        busy = codecrig("loopback", file, "--out", "busy")
    assert quiet["bit_exact"] is True
    for key in ("capture_sha256", "events_sha256", "events", "board_ticks", "position_rate_error", "latency_frames"):
        assert quiet[key] == busy[key], key


@contextmanager
def busy_processors() -> Iterator[None]:
    """Something else to do for every processor."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_music_goes_through_the_converter(codecrig: Codecrig, profile: BoardProfile) -> None:
    result = codecrig("loopback", DATA / "music.wav", "--path", "analog", "--out", "out")
    assert LOOPBACK_KEYS <= result.keys()
    assert result["verdict"] == "passed", result["problems"]
    assert result["bit_exact"] is None
    assert (result["underruns"], result["overruns"]) == (0, 0)
    assert result["correlation"] > 0.9
    if profile.kind == "usb":
        return
    gain_db = 20 * np.log10(profile.analog.gain_q16 / 65536)
    assert result["gain_db"] == pytest.approx([gain_db, gain_db], abs=0.01)
    assert result["dc"] == pytest.approx([profile.analog.dc_lsb / 2**23] * 2, abs=2 / 2**23)
    assert result["snr_db"] > 80
    assert result["latency_frames"] == pytest.approx(profile.analog.delay_frames, abs=8)
    assert result["latency_frames"] >= profile.analog.delay_frames


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_kind_of_wav_comes_back(codecrig: Codecrig, tmp_path: Path, subtype: str, channels: int) -> None:
    samples = np.random.default_rng(3).uniform(-0.9, 0.9, (4_801, channels))
    soundfile.write(tmp_path / "input.wav", samples, 48_000, subtype=subtype)
    result = codecrig("loopback", tmp_path / "input.wav")
    assert result["bit_exact"] is True, result["problems"]
    assert (result["frames"], result["exit_status"]) == (4_801, 0)
    assert bool(result["notes"]) == (subtype not in ("PCM_16", "PCM_24"))


def test_another_rate_is_converted_when_asked(codecrig: Codecrig, tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 997 * np.arange(4_410) / 44_100) / 2
    soundfile.write(tmp_path / "input.wav", tone, 44_100, subtype="PCM_16")
    refused = codecrig("loopback", tmp_path / "input.wav")
    assert refused["exit_status"] == 2 and "48000, 96000 Hz" in refused["error"]
    result = codecrig("loopback", tmp_path / "input.wav", "--resample")
    assert result["bit_exact"] is True
    assert result["frames"] == 4_800
    assert "resampled from 44100 to 48000 Hz" in result["notes"][0]


# ---------------------------------------------------------------- one direction, demo, bench


def test_record_writes_what_it_says(codecrig: Codecrig) -> None:
    result = codecrig("record", "take.wav", "--seconds", "0.25", "--source", "pattern")
    assert (result["exit_status"], result["frames"], result["overruns"]) == (0, 12_000, 0)
    assert result["bit_exact"] is True
    samples, rate = soundfile.read(result["capture_wav"], dtype="int32", always_2d=True)
    assert (rate, samples.shape) == (48_000, (12_000, 2))
    # The ramp of the pattern source: left 2n, right 2n + 1, in 24 bits.
    assert np.array_equal((samples >> 8).ravel(), samples[0, 0] // 256 + np.arange(24_000))


@pytest.mark.parametrize("model", ["wavert", "wavecyclic", "wavepci"])
def test_8_bits_are_recorded(codecrig: Codecrig, model: str) -> None:
    arguments = ("--seconds", "0.25", "--source", "pattern", "--format", "pcm8", "--model", model)
    result = codecrig("record", "take.wav", *arguments)
    assert (result["exit_status"], result["frames"], result["bit_exact"]) == (0, 12_000, True)
    assert soundfile.info(result["capture_wav"]).subtype == "PCM_U8"


def test_one_direction_leaves_its_results_in_the_folder(codecrig: Codecrig, tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 4_800)
    assert codecrig("play", "a.wav", "--out", "played")["frames_played"] == 4_800
    assert codecrig("record", "b.wav", "--seconds", "0.1", "--out", "recorded")["frames_captured"] >= 4_800
    for folder, title in (("played", "a.wav played"), ("recorded", "b.wav recorded")):
        assert title in (tmp_path / folder / "report.html").read_text()
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == ["report.html", "result.json"]


def test_demo_makes_its_report(codecrig: Codecrig, tmp_path: Path) -> None:
    result = codecrig("demo", "--out", "demo")
    assert result["exit_status"] == 0
    assert result["bit_exact"] is True
    assert result["analog"]["bit_exact"] is None and result["analog"]["snr_db"] is not None
    text = (tmp_path / "demo" / "report.html").read_text()
    assert "speech.wav through the digital loopback" in text and "music.wav through the analog path" in text
    for name in ("capture.wav", "capture-analog.wav", "result.json"):
        assert (tmp_path / "demo" / name).is_file()


def test_bench_gives_sane_figures(codecrig: Codecrig, profile: BoardProfile) -> None:
    result = codecrig("bench", "--seconds", "0.5")
    assert BENCH_KEYS <= result.keys()
    assert result["realtime_factor"] > 0
    assert result["realtime_factor"] == pytest.approx(result["board_seconds"] / result["wall_seconds"], rel=0.01)
    assert 0 < result["host_cpu_per_audio_second"] < 10
    assert 0 < result["control_round_trip_us"]
    # A full-speed packet takes tens of microseconds, a frame of the bus is 1000: a round trip is neither less nor
    # several.
    assert 50 < result["control_round_trip_host_us"] < 3_000
    if profile.kind == "twin":
        # 2 x 288 kB of audio a second on a bus of 1.5 MB, and what is said around it.
        assert 0.38 < result["usb_efficiency"] < 1.0
        assert result["simulated_mcycles_per_second"] == pytest.approx(12.288 * result["realtime_factor"], rel=0.2)
    elif profile.kind == "model":
        assert result["usb_efficiency"] is None and result["simulated_mcycles_per_second"] is None


# ---------------------------------------------------------------- interruption


class Program:
    """codecrig as a process of its own, in a process group of its own, as a shell starts it."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.json = folder / "outcome.json"
        command = [sys.executable, "-m", "codecrig", *map(str, arguments), "-v", "--json", str(self.json)]
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0,
            # A test run in the background may have Ctrl-C switched off; that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def wait_for(self, text: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            if text in line:
                return
        raise AssertionError(f"expected {text!r} on standard error, found {''.join(self._lines)}")

    def finish(self, timeout_s: float = 60.0) -> tuple[int, str, dict[str, Any]]:
        _, rest = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, "".join(self._lines) + rest, json.loads(self.json.read_text())

    def descendants(self) -> list[int]:
        """Processes started by it, and by those."""
        found, todo = [], [self.process.pid]
        while todo:
            for children in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
                new = [int(each) for each in children.read_text().split()]
                found += new
                todo += new
        return found


def still_there(pids: list[int], timeout_s: float = 5.0) -> list[int]:
    """Those that are alive (not zombies) after a while."""
    deadline = time.monotonic() + timeout_s
    while True:
        alive = []
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z":
                alive.append(pid)
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(*arguments: str | Path) -> Program:
        started.append(Program(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_what_was_captured(
    program: Callable[..., Program], board_name: str, tmp_path: Path, number: signal.Signals
) -> None:
    file = sound(tmp_path / "long.wav", 48_000 * 60)
    running = program("loopback", file, "--board", board_name, "--out", tmp_path / "out")
    running.wait_for("under way")
    others = running.descendants()
    if number == signal.SIGINT:
        os.killpg(running.process.pid, number)  # as a terminal does, to the whole group
    else:
        running.process.send_signal(number)
    status, _, result = running.finish()
    assert status == 130
    assert result["interrupted"] is True
    assert (result["verdict"], result["bit_exact"], result["exit_status"]) == ("interrupted", None, 130)
    captured, _ = soundfile.read(result["capture_wav"], dtype="int32", always_2d=True)
    assert 0 < len(captured) == result["frames_captured"] < 48_000 * 60
    # What was kept is what was played.
    played, _ = soundfile.read(file, dtype="int32", always_2d=True, frames=len(captured))
    offset = result["capture_offset_frames"]
    assert np.array_equal(captured[offset:], played[: len(captured) - offset])
    assert still_there(others) == []


def test_a_twin_that_is_killed_is_reported_as_such(
    program: Callable[..., Program], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    names = request.config.getoption("--board")
    if names and "twin" not in names:
        pytest.skip("the twin was not chosen by --board")
    running = program("loopback", sound(tmp_path / "long.wav", 48_000 * 60), "--out", tmp_path / "out")
    running.wait_for("under way")
    twins = running.descendants()
    assert len(twins) == 1
    os.kill(twins[0], signal.SIGKILL)
    status, said, result = running.finish()
    assert status == 3
    assert result["exit_status"] == 3
    assert "twin" in result["error"] and "signal 9" in result["error"].lower().replace("sigkill", "signal 9")
    assert "error: " in said
