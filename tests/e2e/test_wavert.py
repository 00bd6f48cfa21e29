"""Whole journeys through PortWaveRT and MiniportWaveRT, with the same test ids on every board."""

from collections.abc import Iterator

import numpy as np
import pytest

from codecrig.board import Board, BoardSystem, EventRecord
from codecrig.client import StreamRun, loopback, play, record
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, PatternKind
from codecrig.miniport import MiniportWaveRT
from codecrig.model import PatternSequence
from codecrig.model.engine import decode_samples, encode_samples
from codecrig.port import PortWaveRT, WaveRTPin
from codecrig.portcls import KSSTATE, NTSTATUS, Format, NtStatusError

RENDER_PIN, CAPTURE_PIN = 0, 1


def noise(frames: int, data_format: Format, seed: int = 1) -> bytes:
    """Random frames that a 24-bit converter passes unchanged; the first sample is not silence."""
    data = np.random.default_rng(seed).integers(1, 256, frames * data_format.block_bytes, dtype=np.uint8)
    if data_format.container_bits == 32:
        data[::4] = 0
    return data.tobytes()


def converter(board: Board, select: InputSelect, enable: bool = True) -> None:
    """Start or stop the converter's clock and choose what capture hears."""
    shifted = select << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, int(enable) | shifted)


@pytest.fixture
def port(board: Board) -> Iterator[PortWaveRT]:
    """A port over the miniport of the board under test."""
    with PortWaveRT(MiniportWaveRT(board), BoardSystem(board)) as opened:
        yield opened


def assert_bit_exact(board: Board, run: StreamRun, data: bytes) -> int:
    """Everything played is in the capture, once, behind the start-up window at most; returns the frames in front."""
    block_bytes = run.format.block_bytes
    captured = run.captured or b""
    lead = 0
    while captured[lead * block_bytes : (lead + 1) * block_bytes] == bytes(block_bytes):
        lead += 1
    assert lead <= board.profile.start_up_frames
    tail = captured[lead * block_bytes + len(data) :]
    assert captured[lead * block_bytes :][: len(data)] == data
    assert tail == bytes(len(tail)) and len(tail) > 0
    assert (run.underruns, run.overruns, run.late_packets) == (0, 0, 0)
    return lead


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_digital_loopback_is_bit_exact(board: Board, bits: int, channels: int) -> None:
    data_format = Format(48000, channels, bits)
    data = noise(7777, data_format)
    run = loopback(board, data, data_format, tail_frames=100)
    assert_bit_exact(board, run, data)
    assert run.frames_played == 7777 and run.frames_captured == 7877 and not run.interrupted


@pytest.mark.parametrize("packet_ms", [11, 17])
def test_loopback_with_odd_packets(board: Board, packet_ms: int) -> None:
    data_format = Format(48000, 2, 24)
    data = noise(4801, data_format)
    assert_bit_exact(board, loopback(board, data, data_format, tail_frames=64, packet_ms=packet_ms), data)


def test_two_loopbacks_on_one_board_are_alike(board: Board) -> None:
    data_format = Format(48000, 2, 16)
    data = noise(3000, data_format)
    runs = [loopback(board, data, data_format, tail_frames=64) for _ in range(2)]
    assert runs[0].captured == runs[1].captured
    assert_bit_exact(board, runs[0], data)


def test_silence_follows_the_data_for_as_long_as_one_listens(board: Board) -> None:
    data_format = Format(48000, 1, 24)
    data = noise(1500, data_format)
    # More than four packets: longer than anything in the two places of the buffer.
    assert_bit_exact(board, loopback(board, data, data_format, tail_frames=4000), data)


def test_positions_of_a_run_rise_with_the_clock(board: Board) -> None:
    data_format = Format(48000, 2, 16)
    run = loopback(board, noise(9600, data_format), data_format, tail_frames=64)
    clocks = board.profile.frame_clocks
    for stream in ("render", "capture"):
        points = [point for point in run.positions if point.stream == stream]
        assert len(points) >= 10
        for before, after in zip(points, points[1:], strict=False):
            assert after.host_ns > before.host_ns and after.ticks > before.ticks
            moved = after.frames - before.frames
            # Frames are whole: within one of what the clock says, at either end.
            elapsed = (after.ticks - before.ticks) / clocks
            assert moved > 0 and abs(moved - elapsed) < 2


def test_one_event_for_each_packet(board: Board) -> None:
    data_format = Format(48000, 2, 16)
    run = record(board, 9600, data_format, source="pattern", packet_ms=10)
    ends = [event for event in run.events if event.cause is Cause.DESCRIPTOR]
    assert len(ends) >= 20
    assert [event.data2 for event in ends] == [480 * 4 * (index + 1) for index in range(len(ends))]
    assert [event.data1 for event in ends] == [index % 2 for index in range(len(ends))]
    spans = np.diff([event.time_ticks for event in ends])
    clocks = board.profile.frame_clocks
    assert (abs(spans - 480 * clocks) < clocks).all()
    assert abs(ends[-1].time_ticks - ends[0].time_ticks - (len(ends) - 1) * 480 * clocks) < clocks


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_recorded_pattern_has_no_gap(board: Board, bits: int) -> None:
    data_format = Format(48000, 2, bits)
    board.write_register(regs.FPGA_PATTERN_SEED, 0xCAFE0001)
    board.write_register(regs.FPGA_PATTERN_CONTROL, PatternKind.LFSR | 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
    run = record(board, 5000, data_format, source="pattern")
    expected = PatternSequence(PatternKind.LFSR, 0xCAFE0001).take(5000)
    assert run.captured == encode_samples(expected, data_format.container_bytes).tobytes()
    assert run.late_packets == 0 and run.overruns == 0


def test_played_pattern_passes_the_checker_in_hardware(board: Board) -> None:
    data_format = Format(48000, 2, 24)
    frames = PatternSequence(PatternKind.RAMP, 1).take(4800)
    control = PatternKind.RAMP | 1 << regs.FPGA_PATTERN_CONTROL_CHECK_ENABLE_LSB
    board.write_register(regs.FPGA_PATTERN_CONTROL, control | 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB)
    run = play(board, encode_samples(frames, 3).tobytes(), data_format)
    checked, _, first_bad = board.read_registers(regs.FPGA_PATTERN_FRAMES, 3)
    assert run.frames_played == 4800
    assert checked >= 4800
    assert first_bad == 4800  # the first frame of the silence behind it


@pytest.mark.parametrize(
    ("gain_q16", "dc_lsb", "delay_frames"), [(65536, 0, 0), (65536, 0, 5), (30000, 7, 3), (-98304, -7, 1)]
)
def test_analog_loopback_follows_the_codec(board: Board, gain_q16: int, dc_lsb: int, delay_frames: int) -> None:
    if not board.bench.has("codec"):
        pytest.skip("the bench of this board cannot set its codec")
    board.bench.codec(gain_q16=gain_q16, noise_lsb=0, dc_lsb=dc_lsb, delay_frames=delay_frames, connected=True)
    data_format = Format(48000, 2, 24)
    data = noise(3000, data_format)
    run = loopback(board, data, data_format, path="analog", tail_frames=200)
    dac = decode_samples(np.frombuffer(data, dtype=np.uint8), 3, 2).astype(np.int64) >> 8
    expected = np.clip(((dac * gain_q16 + 32768) >> 16) + dc_lsb, -(1 << 23), (1 << 23) - 1)
    heard = decode_samples(np.frombuffer(run.captured or b"", dtype=np.uint8), 3, 2) >> 8
    # One frame to the serializer, one on the wire to the DAC, one on the wire from the ADC.
    lead = 3 + delay_frames
    assert np.array_equal(heard[lead : lead + 3000], expected)
    assert (heard[lead + 3000 :] == dc_lsb).all()


class Stepper:
    """A render and a capture pin in digital loopback, a packet at a time."""

    def __init__(self, board: Board, port: PortWaveRT, data_format: Format, packet_frames: int) -> None:
        self.board = board
        self.packet_bytes = packet_frames * data_format.block_bytes
        self.capture = port.open_pin(CAPTURE_PIN, True, data_format, packet_bytes=self.packet_bytes)
        self.render = port.open_pin(RENDER_PIN, False, data_format, packet_bytes=self.packet_bytes)
        self.captured = b""
        self.written: list[bytes] = []

    def write(self, seed: int) -> None:
        data = noise(self.packet_bytes // self.render.format.block_bytes, self.render.format, seed)
        self.render.write_packet(data)
        self.written.append(data)

    def read(self) -> None:
        assert self.capture.wait_packet(1.0)
        self.captured += self.capture.read_packet()[1]


def test_pause_and_run_lose_nothing(board: Board, port: PortWaveRT) -> None:
    stepper = Stepper(board, port, Format(48000, 2, 24), 480)
    converter(board, InputSelect.LOOPBACK, enable=False)
    stepper.render.set_state(KSSTATE.PAUSE)
    stepper.write(1)
    stepper.capture.set_state(KSSTATE.RUN)
    stepper.render.set_state(KSSTATE.RUN)
    stepper.write(2)
    converter(board, InputSelect.LOOPBACK)
    for seed in range(3, 9):
        assert stepper.render.wait_packet(1.0)
        stepper.write(seed)
        stepper.read()
        if seed in (4, 6):
            # Both stand still together; what comes back must not show it.
            for pin in (stepper.render, stepper.capture):
                pin.set_state(KSSTATE.PAUSE)
            frozen = stepper.render.position(), stepper.capture.position()
            events = stepper.render.event.set_count, stepper.capture.event.set_count
            board.sleep(0.03)
            assert (stepper.render.position(), stepper.capture.position()) == frozen
            assert (stepper.render.event.set_count, stepper.capture.event.set_count) == events
            for pin in (stepper.capture, stepper.render):
                pin.set_state(KSSTATE.RUN)
    audible = without_silence(stepper.captured, 6)
    played = b"".join(stepper.written)
    assert len(audible) > 4 * stepper.packet_bytes
    assert played.startswith(audible)
    counters = [board.snapshot(stream) for stream in (RENDER_PIN, CAPTURE_PIN)]
    assert [snapshot.underruns + snapshot.overruns for snapshot in counters] == [0, 0]


def without_silence(captured: bytes, block_bytes: int) -> bytes:
    """The captured frames that are not all zero: the noise that was played has none."""
    frames = np.frombuffer(captured, dtype=np.uint8).reshape(-1, block_bytes)
    return frames[frames.any(axis=1)].tobytes()


def test_a_boundary_crossed_before_the_pause_is_told_and_none_behind_it(board: Board, port: PortWaveRT) -> None:
    pin = port.open_pin(RENDER_PIN, False, Format(48000, 2, 16), packet_bytes=4 * 960)
    converter(board, InputSelect.LOOPBACK)
    pin.set_state(KSSTATE.RUN)
    while pin.packet_count() == 0:
        assert not pin.event.read_state()  # nobody has fetched events yet
    pin.set_state(KSSTATE.PAUSE)
    assert pin.event.take() and pin.event.set_count == 1
    board.sleep(0.05)
    assert pin.event.set_count == 1 and pin.packet_count() == 1


def test_stop_returns_to_zero_and_starts_again_at_the_beginning(board: Board, port: PortWaveRT) -> None:
    stepper = Stepper(board, port, Format(48000, 1, 16), 240)
    converter(board, InputSelect.LOOPBACK)
    for round_number in range(2):
        render, capture = stepper.render, stepper.capture
        assert (render.position().PlayOffset, render.position().WriteOffset) == (0, 0)
        render.set_state(KSSTATE.PAUSE)
        stepper.write(10 + round_number)
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        for _ in range(3):
            stepper.read()
        captured, stepper.captured = stepper.captured, b""
        first = without_silence(captured, 2)[:200]
        assert first == stepper.written[-1][:200]
        assert render.position().WriteOffset > 0 or render.packet_count() > 0
        for pin in (render, capture):
            pin.set_state(KSSTATE.STOP)
            assert (pin.position().PlayOffset, pin.position().WriteOffset) == (0, 0)
            pin.event.clear()
        assert render.packet_count() == 0
    snapshot = board.snapshot(RENDER_PIN)
    assert (snapshot.frames, snapshot.bytes, snapshot.fifo_bytes, snapshot.descriptors) == (0, 0, 0, 0)


@pytest.mark.parametrize("buffer_bytes", [6 * 97, 4098, 12 * 1024 + 6])
def test_plain_cyclic_buffer_wraps_without_a_seam(board: Board, port: PortWaveRT, buffer_bytes: int) -> None:
    data_format = Format(48000, 2, 24)
    render = port.open_pin(RENDER_PIN, False, data_format, buffer_bytes=buffer_bytes)
    capture = port.open_pin(CAPTURE_PIN, True, data_format, packet_bytes=6 * 480)
    assert render.buffer.length == -(-buffer_bytes // 6) * 6
    content = noise(render.buffer.length // 6, data_format)
    render.buffer.write(0, content)
    converter(board, InputSelect.LOOPBACK)
    capture.set_state(KSSTATE.RUN)
    render.set_state(KSSTATE.RUN)
    captured = b""
    for _ in range(10):
        assert capture.wait_packet(1.0)
        captured += capture.read_packet()[1]
    audible = without_silence(captured, 6)
    assert len(audible) > 6 * 480 * 8
    assert (content * (len(audible) // len(content) + 1)).startswith(audible)
    assert render.buffer.read(0, render.buffer.length) == content


def test_position_offsets_stay_in_the_buffer_and_move_forward(board: Board, port: PortWaveRT) -> None:
    data_format = Format(48000, 2, 16)
    pin = port.open_pin(RENDER_PIN, False, data_format, buffer_bytes=4 * 777)
    size = pin.buffer.length
    # What plays has passed the DAC, whose half of the converter's delay is rounded up; digital loopback is no other.
    # Two frames lie between the engine and the DAC.
    delay_bytes = 4 * (2 + -(-board.profile.converter.group_delay_frames // 2))
    converter(board, InputSelect.LOOPBACK)
    pin.set_state(KSSTATE.RUN)
    board.sleep(0.005)
    before = pin.position()
    travelled = 0
    for _ in range(40):
        board.sleep(0.001)
        now = pin.position()
        assert 0 <= now.PlayOffset < size and 0 <= now.WriteOffset < size
        step = (now.PlayOffset - before.PlayOffset) % size
        assert 0 < step < size // 2
        # Behind it: the DAC, then what waits in the FIFO.
        assert delay_bytes < (now.WriteOffset - now.PlayOffset) % size <= delay_bytes + 64
        travelled += step
        before = now
    assert travelled > 40 * 48 * 4


@pytest.mark.parametrize("select", list(InputSelect))
def test_capture_is_ahead_of_its_buffer_by_the_adc_only_where_it_hears_it(
    board: Board, port: PortWaveRT, select: InputSelect
) -> None:
    # Between ADC and engine lies one frame.
    half_frames = 1 + -(-board.profile.converter.group_delay_frames // 2)
    delay_bytes = 4 * half_frames if select is InputSelect.CONVERTER else 0
    pin = port.open_pin(CAPTURE_PIN, True, Format(48000, 2, 16), buffer_bytes=4 * 777)
    converter(board, select)
    pin.set_state(KSSTATE.RUN)
    for _ in range(10):
        board.sleep(0.002)
        now = pin.position()
        # Captured and not in memory yet: a frame, if anything.
        assert delay_bytes <= (now.PlayOffset - now.WriteOffset) % pin.buffer.length <= delay_bytes + 4


def test_presentation_position_keeps_the_rate(board: Board, port: PortWaveRT) -> None:
    data_format = Format(48000, 2, 16)
    pin = port.open_pin(RENDER_PIN, False, data_format, packet_bytes=4 * 480)
    converter(board, InputSelect.LOOPBACK)
    pin.set_state(KSSTATE.RUN)
    board.sleep(0.01)
    first = pin.presentation_position()
    board.sleep(0.2)
    last = pin.presentation_position()
    frames = last.u64PositionInBlocks - first.u64PositionInBlocks
    seconds = (last.u64QPCPosition - first.u64QPCPosition) / 1e9
    rate = float(board.profile.frame_rate)
    # Whole frames (1 in 9600) and the brackets (half a millisecond at most) bound the error.
    assert abs(frames / rate - seconds) < 0.0005


def test_read_packets_carry_their_times(board: Board, port: PortWaveRT) -> None:
    data_format = Format(48000, 1, 16)
    pin = port.open_pin(CAPTURE_PIN, True, data_format, packet_bytes=2 * 480)
    converter(board, InputSelect.PATTERN)
    pin.set_state(KSSTATE.RUN)
    packets = []
    for _ in range(12):
        assert pin.wait_packet(1.0)
        packets.append(pin.read_packet()[0])
    now = port.system.performance_counter()
    assert [packet.PacketNumber for packet in packets] == list(range(12))
    assert all(packet.Flags == 0 for packet in packets)
    times = [packet.PerformanceCounterValue for packet in packets]
    assert max(times) < now
    spans = np.diff(times)
    assert (abs(spans - 10_000_000) < 500_000).all()
    assert abs((times[-1] - times[0]) - 110_000_000) < 500_000


def test_late_reading_loses_the_oldest_packets_and_says_so(board: Board, port: PortWaveRT) -> None:
    pin = port.open_pin(CAPTURE_PIN, True, Format(48000, 2, 16), packet_bytes=4 * 240)
    converter(board, InputSelect.PATTERN)
    pin.set_state(KSSTATE.RUN)
    assert pin.wait_packet(1.0)
    assert pin.read_packet()[0].PacketNumber == 0
    board.sleep(0.0255)
    packet, data = pin.read_packet()
    assert packet.PacketNumber == 5  # ends at 30 ms; the reads before took one to four, on each board others
    pin.set_state(KSSTATE.PAUSE)
    expected = PatternSequence(PatternKind.RAMP, 1).take((packet.PacketNumber + 1) * 240)[-240:]
    assert data == encode_samples(expected, 2).tobytes()


def test_write_window(board: Board, port: PortWaveRT) -> None:
    pin = port.open_pin(RENDER_PIN, False, Format(48000, 2, 16), packet_bytes=4 * 960)
    converter(board, InputSelect.LOOPBACK)
    pin.set_state(KSSTATE.PAUSE)
    silence = bytes(4 * 960)
    pin.write_packet(silence)
    pin.set_state(KSSTATE.RUN)
    pin.write_packet(silence)
    with pytest.raises(NtStatusError) as overrun:
        pin.write_packet(silence)
    assert overrun.value.status is NTSTATUS.DATA_OVERRUN
    # To just behind a boundary: a write takes milliseconds, on each board others.
    while pin.packet_count() < 2:
        board.sleep(0.001)
    with pytest.raises(NtStatusError) as late:
        pin.write_packet(silence)
    assert late.value.status is NTSTATUS.DATA_LATE_ERROR
    assert pin.resynchronise() in (1, 2)
    pin.write_packet(silence)


def test_engine_touches_nothing_but_its_buffer(board: Board, port: PortWaveRT) -> None:
    """The bus monitor, not the engine, says so."""
    data_format = Format(48000, 2, 24)
    pin = port.open_pin(CAPTURE_PIN, True, data_format, packet_bytes=6 * 333)
    start, size = pin.buffer.physical_address, pin.buffer.length
    guard = b"\x5a" * 64
    board.write_memory(start + size, guard)
    monitor = regs.MONITOR_BASE
    board.write_register(monitor + regs.MONITOR_LOW, start)
    board.write_register(monitor + regs.MONITOR_HIGH, -(-(start + size) // 4) * 4)
    outside = 1 << regs.MONITOR_CONTROL_OUTSIDE_LSB | 1 << regs.MONITOR_CONTROL_CLEAR_LSB
    board.write_register(monitor + regs.MONITOR_CONTROL, 1 | outside)
    converter(board, InputSelect.PATTERN)
    pin.set_state(KSSTATE.RUN)
    for _ in range(4):
        assert pin.wait_packet(1.0)
    pin.set_state(KSSTATE.PAUSE)
    assert board.read_register(monitor + regs.MONITOR_WRITES) == 0
    assert board.read_memory(start + size, 64) == guard
    assert board.snapshot(CAPTURE_PIN).bytes > 4 * 6 * 333 - 6


def test_unsupported_formats_are_refused_with_what_is_possible(port: PortWaveRT) -> None:
    for bad, words in (
        (Format(44100, 2, 16), "44100 Hz; the board takes 48000"),
        (Format(48000, 7, 16), "7 channels; the board takes 1, 2"),
        (Format(48000, 2, 32, is_float=True), "float samples; the board takes PCM"),
    ):
        with pytest.raises(NtStatusError, match=words) as caught:
            port.open_pin(RENDER_PIN, False, bad, packet_bytes=9600)
        assert caught.value.status is NTSTATUS.INVALID_PARAMETER
    assert port.pages.free_pages == 31


def test_interrupted_run_keeps_what_was_captured(board: Board) -> None:
    data_format = Format(48000, 2, 16)
    data = noise(48000, data_format)

    def stop_after_a_while(done: int, wanted: int) -> None:
        if done > 4000:
            raise KeyboardInterrupt

    run = loopback(board, data, data_format, progress=stop_after_a_while)
    assert run.interrupted and run.captured is not None
    assert 4000 < run.frames_captured < 8000
    assert without_silence(run.captured, 4) == data[: len(without_silence(run.captured, 4))]
    assert [board.snapshot(stream).state for stream in (RENDER_PIN, CAPTURE_PIN)] == [0, 0]


def test_events_stop_with_the_registration(board: Board, port: PortWaveRT) -> None:
    pin: WaveRTPin = port.open_pin(CAPTURE_PIN, True, Format(48000, 2, 16), packet_bytes=4 * 240)
    seen: list[EventRecord] = []
    unsubscribe = board.events.subscribe(CAPTURE_PIN, seen.append)
    converter(board, InputSelect.PATTERN)
    pin.set_state(KSSTATE.RUN)
    assert pin.wait_packet(1.0)
    pin.unregister_event(pin.event)
    before, boundaries = pin.event.set_count, len(seen)
    board.sleep(0.03)
    assert pin.event.set_count == before and len(seen) >= boundaries + 5
    unsubscribe()


def test_a_snapshot_has_frames_and_ticks_of_one_tick(board: Board) -> None:
    """However it falls between a tick and its service: the stream in RUN takes a frame with each tick."""
    with PortWaveRT(MiniportWaveRT(board), BoardSystem(board)) as port:
        pin = port.open_pin(CAPTURE_PIN, True, Format(48000, 2, 16), packet_bytes=4 * 960)
        board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB)
        pin.set_state(KSSTATE.RUN)
        board.sleep(0.001)
        snapshots = [board.snapshot(CAPTURE_PIN) for _ in range(40)]
    assert len({snapshot.frame_ticks - snapshot.frames for snapshot in snapshots}) == 1
