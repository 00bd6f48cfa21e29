"""Packets of WaveRT streams where it matters when: ends of streams, wraps of counts, pauses, instants at the jacks."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from codecrig.board import Board, BoardSystem, stream_register
from codecrig.link import Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, PatternKind, StreamState
from codecrig.miniport import MiniportWaveRT
from codecrig.model import PatternSequence
from codecrig.model.engine import encode_samples
from codecrig.port import PortWaveRT, WaveRTPin
from codecrig.portcls import KSSTATE, NTSTATUS, Format, NtStatusError

FORMAT = Format(48000, 2, 16)
BLOCK = FORMAT.block_bytes


@pytest.fixture
def port(board: Board) -> Iterator[PortWaveRT]:
    """A port over the miniport of the board under test."""
    with PortWaveRT(MiniportWaveRT(board), BoardSystem(board)) as opened:
        yield opened


def converter(board: Board, select: InputSelect, enable: bool = True) -> None:
    shifted = select << regs.FPGA_CONVERTER_CONTROL_INPUT_SELECT_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, int(enable) | shifted)


def noise(frames: int, seed: int) -> bytes:
    """Frames of which none is silent."""
    return np.random.default_rng(seed).integers(1, 256, frames * BLOCK, dtype=np.uint8).tobytes()


def capture_all(board: Board, port: PortWaveRT, bytes_in_buffer: int) -> WaveRTPin:
    """A running capture pin with a buffer that holds the whole test."""
    pin = port.open_pin(1, True, FORMAT, buffer_bytes=bytes_in_buffer)
    pin.buffer.write(0, bytes(pin.buffer.length))
    pin.set_state(KSSTATE.RUN)
    return pin


def heard(capture: WaveRTPin) -> bytes:
    """What was captured, from the first frame that is not silent to the last."""
    frames = np.frombuffer(capture.buffer.read(0, capture.buffer.length), np.uint8).reshape(-1, BLOCK)
    loud = np.flatnonzero(frames.any(axis=1))
    return frames[loud[0] : loud[-1] + 1].tobytes() if len(loud) else b""


@pytest.mark.parametrize(
    ("frames", "last_bytes"),
    [(480, 0), (480, BLOCK), (480, 1000), (480, 1001), (480, 480 * BLOCK), (1500, 5000), (1500, 4096), (1500, 1)],
)
@pytest.mark.parametrize("when", ["before run", "in run"])
def test_nothing_is_heard_behind_the_end_of_the_stream(
    board: Board, port: PortWaveRT, frames: int, last_bytes: int, when: str
) -> None:
    packet_bytes = frames * BLOCK
    # A page in front, so that packets lie across pages that do not touch.
    port.pages.take(0xFFFFF, 1)
    converter(board, InputSelect.LOOPBACK)
    capture = capture_all(board, port, 5 * packet_bytes)
    render = port.open_pin(0, False, FORMAT, packet_bytes=packet_bytes)
    for turn in range(2):  # the second one shows that STOP forgets the end
        render.set_state(KSSTATE.PAUSE)
        packets = [noise(frames, 10 * turn + seed) for seed in range(2)]
        ends_at = 0 if when == "before run" else 1
        render.write_packet(packets[0], last_bytes=last_bytes if ends_at == 0 else None)
        render.set_state(KSSTATE.RUN)
        if ends_at == 1:
            render.write_packet(packets[1], last_bytes=last_bytes)
        with pytest.raises(NtStatusError) as refused:
            render._rendering("test").set_write_packet(render.next_write_packet, 0, 0)
        assert refused.value.status is NTSTATUS.INVALID_DEVICE_STATE
        board.sleep(2.6 * frames / 48000)
        snapshot = board.snapshot(0)
        assert snapshot.ended and snapshot.underruns == 0
        expected = (packets[0] if ends_at else b"") + packets[ends_at][: last_bytes // BLOCK * BLOCK]
        capture.set_state(KSSTATE.PAUSE)
        assert heard(capture) == expected
        whole_packets, rest = divmod(ends_at * packet_bytes + last_bytes, packet_bytes)
        assert render.packet_count() == whole_packets
        # One for each whole packet, and one for the end inside of one.
        assert render.event.set_count == whole_packets + (rest > 0 or last_bytes == 0)
        render.set_state(KSSTATE.STOP)
        capture.set_state(KSSTATE.STOP)
        render.event.set_count = 0
        capture.buffer.write(0, bytes(capture.buffer.length))
        capture.set_state(KSSTATE.RUN)
    # And without an end the ring goes round again.
    render.set_state(KSSTATE.PAUSE)
    render.write_packet(noise(frames, 90))
    render.set_state(KSSTATE.RUN)
    board.sleep(2.2 * frames / 48000)
    assert not board.snapshot(0).ended and render.packet_count() >= 2


def preload(board: Board, stream: int, packets: int, packet_bytes: int) -> None:
    """As if so many packets more had gone by; the stream is in PAUSE."""
    snapshot = board.snapshot(stream)
    moved = snapshot.bytes + packets * packet_bytes
    frames = snapshot.frames + packets * packet_bytes // BLOCK
    words = [
        (regs.STREAM_LIVE_FRAMES_LO, frames & 0xFFFFFFFF),
        (regs.STREAM_LIVE_FRAMES_HI, frames >> 32),
        (regs.STREAM_LIVE_BYTES_LO, moved & 0xFFFFFFFF),
        (regs.STREAM_LIVE_BYTES_HI, moved >> 32),
    ]
    board.transact([Request.write_word(stream_register(stream, offset), value) for offset, value in words])


def test_packet_numbers_wrap_modulo_2_32(board: Board, port: PortWaveRT) -> None:
    frames = 240
    packet_bytes = frames * BLOCK
    converter(board, InputSelect.PATTERN)
    render = port.open_pin(0, False, FORMAT, packet_bytes=packet_bytes)
    capture = port.open_pin(1, True, FORMAT, packet_bytes=packet_bytes)
    pins = (render, capture)
    render.set_state(KSSTATE.PAUSE)
    render.write_packet(noise(frames, 1))
    for pin in pins:
        pin.set_state(KSSTATE.RUN)
    assert capture.wait_packet(1.0)
    for pin in pins:
        pin.set_state(KSSTATE.PAUSE)
    for stream in (0, 1):
        preload(board, stream, (1 << 32) - 4, packet_bytes)
    assert render.packet_count() in (0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE)
    render.next_write_packet = render.packet_count()
    render.write_packet(noise(frames, 2))
    capture.read_packet()
    capture.event.clear()
    render.event.clear()
    for pin in pins:
        pin.set_state(KSSTATE.RUN)
    numbers, counts, times = [], [], []
    for _ in range(6):
        assert capture.wait_packet(1.0)
        packet = capture.read_packet()[0]
        numbers.append(packet.PacketNumber)
        times.append(packet.PerformanceCounterValue)
        counts.append(render.packet_count())
        render.next_write_packet = counts[-1]
        for status, number in ((NTSTATUS.DATA_LATE_ERROR, counts[-1]), (NTSTATUS.DATA_OVERRUN, counts[-1] + 2)):
            with pytest.raises(NtStatusError) as refused:
                render._rendering("test").set_write_packet(number & 0xFFFFFFFF, 0, 0)
            assert refused.value.status is status
        render._rendering("test").set_write_packet(counts[-1] + 1 & 0xFFFFFFFF, 0, 0)
    assert 0xFFFFFFFF in numbers and 0 in numbers and 1 in numbers
    for values in (numbers, counts):
        assert all(after - before & 0xFFFFFFFF == 1 for before, after in pairwise(values)), values
    # The first one began before its count was changed.
    assert (abs(np.diff(times[1:]) - 5_000_000) < 300_000).all()
    position = render.position()
    assert 0 <= position.PlayOffset < 2 * packet_bytes and 0 <= position.WriteOffset < 2 * packet_bytes


def test_the_packet_behind_a_pause_carries_the_time_of_its_own_frames(board: Board, port: PortWaveRT) -> None:
    """Paused inside packet 1: packet 1 keeps its start, packet 2 shows the pause."""
    frames = 480
    control = PatternKind.RAMP | 1 << regs.FPGA_PATTERN_CONTROL_RESTART_LSB
    board.write_register(regs.FPGA_PATTERN_CONTROL, control)
    converter(board, InputSelect.PATTERN)
    pin = port.open_pin(1, True, FORMAT, packet_bytes=frames * BLOCK)
    pin.set_state(KSSTATE.RUN)
    packets, data = [], []
    least_pause = most_pause = 0  # ticks
    for number in range(5):
        if number == 1:
            board.sleep(0.003)
            before = board.clock.now()
            pin.set_state(KSSTATE.PAUSE)
            paused = board.clock.now()
            board.sleep(0.050)
            least_pause = board.clock.now() - paused
            pin.set_state(KSSTATE.RUN)
            most_pause = board.clock.now() - before
        assert pin.wait_packet(1.0)
        packet, content = pin.read_packet()
        packets.append(packet)
        data.append(content)
    expected = PatternSequence(PatternKind.RAMP, 1).take(5 * frames)
    assert b"".join(data) == encode_samples(expected, 2).tobytes()
    times = [packet.PerformanceCounterValue for packet in packets]
    least_ns, most_ns = (ticks * 1e9 / float(board.profile.clock_rate) for ticks in (least_pause, most_pause))
    assert abs(times[1] - times[0] - 10_000_000) < 300_000
    assert least_ns - 300_000 < times[2] - times[1] - 10_000_000 < most_ns + 300_000
    assert abs(times[3] - times[2] - 10_000_000) < 300_000


def test_instants_at_the_jacks(board: Board, port: PortWaveRT) -> None:
    """A click leaves when the presentation position says, and the captured packet says when it arrived."""
    if not (board.bench.has("tap") and board.bench.has("codec")):
        pytest.skip("the bench of this board cannot watch its DAC")
    board.bench.codec(gain_q16=65536, noise_lsb=0, dc_lsb=0, connected=True)
    half_frames = board.profile.converter.group_delay_frames // 2
    frames, click = 960, 300
    packet_bytes = frames * BLOCK
    converter(board, InputSelect.CONVERTER)
    render = port.open_pin(0, False, FORMAT, packet_bytes=packet_bytes)
    capture = port.open_pin(1, True, FORMAT, packet_bytes=packet_bytes)
    samples = np.zeros((frames, 2), np.int16)
    samples[click] = (20000, 10000)
    render.set_state(KSSTATE.PAUSE)
    render.write_packet(samples.tobytes())
    capture.set_state(KSSTATE.RUN)
    board.bench.tap_start()
    render.set_state(KSSTATE.RUN)
    brackets = [board.clock.sample()]
    captured, packets = [], []
    for _ in range(2):
        assert capture.wait_packet(1.0)
        packet, content = capture.read_packet()
        packets.append(packet)
        captured.append(np.frombuffer(content, np.int16).reshape(-1, 2))
        brackets.append(board.clock.sample())
    presented = render.presentation_position()
    tap = board.bench.tap_read()
    board.bench.tap_stop()
    clocks = board.profile.frame_clocks
    # The tap's times are those at which a frame begins on the wire; a frame later the DAC has it.
    jack_ticks = tap.first_ticks + (int(np.flatnonzero(tap.samples[:, 0])[0]) + 1 + half_frames) * clocks
    best = min(brackets, key=lambda each: each.width_ns)
    rate = float(board.profile.clock_rate)
    jack_ns = (best.host_before_ns + best.host_after_ns) / 2 + (jack_ticks - best.ticks) / rate * 1e9
    # Two brackets, each in the middle of which its instant is taken to be, and whole frames at either end.
    error_ns = best.width_ns + 2e9 / 48000
    predicted_ns = presented.u64QPCPosition + (click - presented.u64PositionInBlocks) / 48000 * 1e9
    assert abs(predicted_ns - jack_ns) < error_ns
    index, frame = next(
        (index, int(np.flatnonzero(content[:, 0])[0])) for index, content in enumerate(captured) if content.any()
    )
    arrived_ns = packets[index].PerformanceCounterValue + frame / 48000 * 1e9
    assert abs(arrived_ns - jack_ns) < error_ns


def test_events_of_the_end_are_events_of_the_engine(board: Board, port: PortWaveRT) -> None:
    """The last event comes when the last byte was fetched, inside the packet."""
    frames, last_bytes = 960, 400 * BLOCK
    converter(board, InputSelect.LOOPBACK)
    render = port.open_pin(0, False, FORMAT, packet_bytes=frames * BLOCK)
    times: list[int] = []
    board.events.subscribe(0, lambda record: times.append(record.time_ticks) if record.cause is Cause.DESCRIPTOR else 0)
    render.set_state(KSSTATE.PAUSE)
    render.write_packet(noise(frames, 1))
    render.set_state(KSSTATE.RUN)
    render.write_packet(noise(frames, 2), last_bytes=last_bytes)
    board.sleep(0.05)
    assert len(times) == 2
    assert abs(times[1] - times[0] - 400 * board.profile.frame_clocks) < 16 * board.profile.frame_clocks
    assert board.snapshot(0).state is StreamState.RUN


def test_the_position_is_the_count_of_the_dac(board: Board, port: PortWaveRT) -> None:
    """At each snapshot's tick the position is how many frames of the stream the DAC has got, less its own delay."""
    if not board.bench.has("tap"):
        pytest.skip("the bench of this board cannot watch its DAC")
    clocks = board.profile.frame_clocks
    converter(board, InputSelect.CONVERTER)
    render = port.open_pin(0, False, FORMAT, buffer_bytes=9000 * BLOCK // 3)
    render.buffer.write(0, noise(3000, 1))
    board.bench.tap_start()
    render.set_state(KSSTATE.RUN)
    found: list[tuple[int, int]] = []
    snapshot = board.snapshot

    def note(stream: int):  # type: ignore[no-untyped-def]
        taken = snapshot(stream)
        found.append((taken.time_ticks, 0))
        return taken

    board.snapshot = note  # type: ignore[method-assign]
    for pause in range(60):
        position = render.position()
        found[-1] = (found[-1][0], position.PlayOffset // BLOCK)
        if found[-1][1] > 2900:
            break  # before the buffer begins again
        board.sleep(0.0001 * (pause % 7))
    tap = board.bench.tap_read()
    board.bench.tap_stop()
    first_ticks = tap.first_ticks + int(np.flatnonzero(tap.samples.any(axis=1))[0]) * clocks
    delay = -(-board.profile.converter.group_delay_frames // 2)
    exact = 0
    for ticks, frames in found:

        def count_at(when: int) -> int:
            """Frames that the DAC has got in whole."""
            return max(0, (when - first_ticks) // clocks - delay) if when > first_ticks else 0

        # The engine counts a frame when it serves it, which may be 100 clocks behind its tick.
        assert count_at(ticks - 100) <= frames <= count_at(ticks), (ticks - first_ticks, frames)
        exact += frames == count_at(ticks)
    assert found[-1][1] > 1000 and exact > 25
