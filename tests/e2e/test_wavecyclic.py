"""Whole journeys through PortWaveCyclic and MiniportWaveCyclic, with the same test ids on every board."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from codecrig.board import Board, BoardSystem
from codecrig.client import StreamRun, loopback, play, record
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, PatternKind
from codecrig.miniport import MiniportWaveCyclic
from codecrig.model import PatternSequence
from codecrig.model.engine import encode_samples
from codecrig.port import PortWaveCyclic, WaveCyclicPin
from codecrig.portcls import KSAUDIO_POSITION, KSSTATE, Format
from codecrig.transport import silence

RENDER_PIN, CAPTURE_PIN = 0, 1
FORMAT = Format(48000, 2, 16)
MS = 192


def noise(frames: int, data_format: Format, seed: int = 1) -> bytes:
    """Random frames that a 24-bit converter passes unchanged; the first sample is not silence."""
    data = np.random.default_rng(seed).integers(1, 256, frames * data_format.block_bytes, dtype=np.uint8)
    if data_format.container_bits == 32:
        data[::4] = 0
    if data_format.container_bits == 8:
        data[0] = 1
    return data.tobytes()


def converter(board: Board, select: InputSelect, enable: bool = True) -> None:
    """Start or stop the converter's clock and choose what capture hears; the rate stays."""
    rate = board.read_register(regs.FPGA_CONVERTER_CONTROL) & 7 << regs.FPGA_CONVERTER_CONTROL_RATE_LSB
    shifted = select << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, int(enable) | shifted | rate)


@pytest.fixture
def port(board: Board) -> Iterator[PortWaveCyclic]:
    with PortWaveCyclic(MiniportWaveCyclic(board), BoardSystem(board)) as opened:
        yield opened


def assert_bit_exact(run: StreamRun, data: bytes) -> None:
    """Everything played is in the capture, one frame behind its start, with silence around."""
    quiet = silence(run.format, run.format.block_bytes)
    captured = run.captured or b""
    assert captured[: len(quiet)] == quiet
    assert captured[len(quiet) :][: len(data)] == data
    tail = captured[len(quiet) + len(data) :]
    assert tail == quiet * (len(tail) // len(quiet)) and tail
    assert (run.underruns, run.overruns, run.late_packets) == (0, 0, 0)


def render_and_capture(port: PortWaveCyclic, board: Board, data_format: Format = FORMAT) -> list[WaveCyclicPin]:
    """Both pins in PAUSE, capture hears what is rendered; the converter's clock stands."""
    pins = [port.open_pin(RENDER_PIN, False, data_format), port.open_pin(CAPTURE_PIN, True, data_format)]
    for pin in pins:
        pin.set_state(KSSTATE.PAUSE)
    converter(board, InputSelect.LOOPBACK, enable=False)
    return pins


def run_for(pin: WaveCyclicPin, seconds: float) -> bytes:
    """Let time pass; what the capture pin got meanwhile."""
    pin._port.system.sleep(seconds)
    return pin.read() if pin.capture else b""


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_digital_loopback_is_bit_exact(board: Board, bits: int, channels: int) -> None:
    data_format = Format(48000, channels, bits)
    data = noise(7777, data_format)
    run = loopback(board, data, data_format, tail_frames=100, model="wavecyclic")
    assert_bit_exact(run, data)
    assert run.frames_played == 7777 and run.frames_captured == 7877


@pytest.mark.parametrize(("rate", "bits"), [(96000, 16), (32000, 24), (24000, 32), (16000, 16), (8000, 8)])
def test_every_rate_of_the_converter(board: Board, rate: int, bits: int) -> None:
    data_format = Format(rate, 2, bits)
    data = noise(rate // 10, data_format)
    run = loopback(board, data, data_format, tail_frames=100, model="wavecyclic")
    assert_bit_exact(run, data)
    frames = np.array([(point.ticks, point.frames) for point in run.positions if point.stream == "capture"])
    slope = np.polyfit(frames[:, 0], frames[:, 1], 1)[0]
    assert slope * 12_288_000 == pytest.approx(rate, rel=0.01)


def test_play_and_record(board: Board) -> None:
    run = play(board, noise(5000, FORMAT), FORMAT, model="wavecyclic")
    assert run.frames_played == 5000 and run.late_packets == run.underruns == 0
    board.write_register(regs.FPGA_PATTERN_CONTROL, PatternKind.RAMP | 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
    run = record(board, 5000, FORMAT, source="pattern", model="wavecyclic")
    assert run.captured == encode_samples(PatternSequence(PatternKind.RAMP, 1).take(5000), 2).tobytes()


def test_one_notification_each_ten_milliseconds(board: Board) -> None:
    run = record(board, 9600, FORMAT, source="loopback", model="wavecyclic")
    ends = [event for event in run.events if event.cause is Cause.INTERVAL]
    assert len(ends) >= 20
    assert [event.data2 for event in ends] == [1920 * (index + 1) for index in range(len(ends))]
    assert (abs(np.diff([event.time_ticks for event in ends]) - 122_880) < 256).all()


def test_pause_and_run_lose_and_repeat_nothing(board: Board, port: PortWaveCyclic) -> None:
    render, capture = render_and_capture(port, board)
    data = noise(12000, FORMAT)
    render.write(data)
    for pin in (capture, render):
        pin.set_state(KSSTATE.RUN)
    converter(board, InputSelect.LOOPBACK)
    heard = b""
    for _ in range(3):
        heard += run_for(capture, 0.03)
        render.set_state(KSSTATE.PAUSE)
        position = render.position()
        assert position.PlayOffset % FORMAT.block_bytes == 0 and position.PlayOffset > 0
        heard += run_for(capture, 0.005)
        assert render.position() == position
        render.set_state(KSSTATE.RUN)
    heard += run_for(capture, 0.3)
    frames = [heard[at : at + 4] for at in range(0, len(heard), 4)]
    assert b"".join(frame for frame in frames if frame != bytes(4)) == data
    assert frames.index(data[:4]) == 1 and render.gaps == capture.gaps == 0


def test_stop_begins_again_with_a_silent_buffer(board: Board, port: PortWaveCyclic) -> None:
    render, capture = render_and_capture(port, board)
    for seed in (1, 2):
        data = noise(2000, FORMAT, seed)
        render.write(data)
        for pin in (capture, render):
            pin.set_state(KSSTATE.RUN)
        converter(board, InputSelect.LOOPBACK)
        heard = run_for(capture, 0.2)
        assert heard[4:][: len(data)] == data and heard[4 + len(data) :].strip(b"\0") == b""
        converter(board, InputSelect.LOOPBACK, enable=False)
        for pin in (render, capture):
            pin.set_state(KSSTATE.STOP)
            assert pin.position() == KSAUDIO_POSITION(0, 0)


def test_a_client_that_falls_short_is_heard_as_silence(board: Board, port: PortWaveCyclic) -> None:
    render, capture = render_and_capture(port, board)
    first, second = noise(50 * 48, FORMAT, 3), noise(20 * 48, FORMAT, 4)
    render.write(first)
    for pin in (capture, render):
        pin.set_state(KSSTATE.RUN)
    converter(board, InputSelect.LOOPBACK)
    # 250 ms are two and a half rounds of the buffer.
    heard = run_for(capture, 0.25)
    render.write(second)
    heard += run_for(capture, 0.1)
    at = heard.index(second)
    assert heard[4:at] == first + bytes(at - 4 - len(first))
    assert heard[at + len(second) :].strip(b"\0") == b""
    assert render.gaps == 1 and render.position() == KSAUDIO_POSITION(70 * MS, 70 * MS)


def test_a_looped_client_buffer(board: Board, port: PortWaveCyclic) -> None:
    client = bytearray(noise(1000, FORMAT))
    render = port.open_pin(RENDER_PIN, False, FORMAT, client_buffer=client)
    capture = port.open_pin(CAPTURE_PIN, True, FORMAT)
    converter(board, InputSelect.LOOPBACK, enable=False)
    for pin in (capture, render):
        pin.set_state(KSSTATE.RUN)
    converter(board, InputSelect.LOOPBACK)
    heard = run_for(capture, 0.21)[4:]
    assert len(heard) > 190 * MS and heard == (bytes(client) * 10)[: len(heard)]
    assert all(0 <= offset < 4000 for offset in (render.position().PlayOffset, render.position().WriteOffset))


def test_the_command_takes_the_model(board_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from codecrig.cli.main import run
    from codecrig.wave import PcmAudio, write_wave

    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(1).integers(-(2**15), 2**15, (4800, 2)).astype(np.int32)
    write_wave(Path("in.wav"), PcmAudio(48000, 16, 16, samples))
    arguments = ["loopback", "in.wav", "--model", "wavecyclic", "--board", board_name, "--json", "out.json", "-q"]
    assert run(arguments) == 0
    result = json.loads(Path("out.json").read_text())
    assert result["bit_exact"] is True and result["model"] == "wavecyclic" and result["latency_frames"] == 1
