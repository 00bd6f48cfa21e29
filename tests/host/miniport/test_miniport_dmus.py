"""MiniportDMus and PortDMus over the Python model of the board: events at their times, out, in, and as sound."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import numpy as np
import pytest

from codecrig.board import Board, BoardSystem, MidiByte, open_board
from codecrig.link import registers as regs
from codecrig.miniport import MiniportDMus, MiniportWaveRT
from codecrig.miniport.dmus import DMusSynthStream, SampleClock
from codecrig.port import PortDMus, PortWaveRT, WaveRTOutput
from codecrig.port.dmus import HostClock
from codecrig.portcls import (
    DMUS_KERNEL_EVENT,
    DMUS_STREAM_TYPE,
    KSSTATE,
    NTSTATUS,
    Format,
    NtStatusError,
)

BIT_TICKS = 393
BYTE_TICKS = 10 * BIT_TICKS
MS = 10_000


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


@pytest.fixture
def port(board: Board) -> Iterator[PortDMus]:
    miniport = MiniportDMus(board)
    opened = PortDMus(miniport, BoardSystem(board))
    miniport.release()
    with opened:
        yield opened
    assert opened.allocator.outstanding_events == opened.allocator.outstanding_buffers == 0
    assert miniport.reference_count == 0


def ticks_of(board: Board, time: int) -> int:
    return int(-(-time * board.clock.rate // 10_000_000))


def check_times(board: Board, expected: list[tuple[int, bytes]], sent: list[MidiByte]) -> None:
    """Every byte within a bit of its master time, or of the end of the byte before it."""
    flat = [(ticks_of(board, time), value) for time, data in expected for value in data]
    assert [each.value for each in sent] == [value for _, value in flat]
    free = 0
    for (ticks, _), each in zip(flat, sent, strict=True):
        assert abs(each.ticks - max(ticks, free)) <= BIT_TICKS
        free = each.ticks + BYTE_TICKS


def test_every_byte_leaves_at_its_time(board: Board, port: PortDMus) -> None:
    rng = random.Random(1)
    pin = port.open_render(0)
    song = [(20 * MS + rng.randrange(400 * MS), bytes([0x90, rng.randrange(128), 64])) for _ in range(200)]
    song.append((250 * MS, b"\xf0" + bytes(500) + b"\xf7"))
    for time, data in song:
        pin.submit(time, data)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.9)
    song.sort(key=lambda event: event[0])
    check_times(board, [(pin.master_time(time), data) for time, data in song], board.bench.midi_read())
    assert pin.pending == 0


def test_ten_thousand_events(board: Board, port: PortDMus) -> None:
    """A dense file: nothing lost, reordered or altered, and every byte at its time."""
    rng = random.Random(3)
    pin = port.open_render(0)
    song, now = [], 20 * MS
    for _ in range(10_000):
        song.append((now, bytes([rng.choice((0x90, 0x80, 0xB0)), rng.randrange(128), rng.randrange(128)])))
        now += rng.choice((0, 5_000, 20_000, 30_000))
    for time, data in song:
        pin.submit(time, data)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(now / 10_000_000 + 0.5)
    check_times(board, [(pin.master_time(time), data) for time, data in song], board.bench.midi_read())


def test_a_sysex_of_more_than_a_buffer_comes_back_whole(board: Board, port: PortDMus) -> None:
    board.bench.midi_loop(True)
    render, capture = port.open_render(0), port.open_capture(1)
    data = b"\xf0" + bytes(n % 128 for n in range(4096)) + b"\xf7"
    render.submit(10 * MS, data)
    capture.set_state(KSSTATE.RUN)
    render.set_state(KSSTATE.RUN)
    port.system.sleep(1.5)
    assert [message.data for message in capture.read()] == [data]


def test_captured_messages_carry_the_time_of_their_first_byte(board: Board, port: PortDMus) -> None:
    pin = port.open_capture(1)
    pin.set_state(KSSTATE.RUN)
    begin = board.clock.now() + board.clock.ticks(0.01)
    board.bench.midi_send(b"\x90\x3c\x40\x3d\xf8\x40", begin)
    assert port.system.wait(pin.event, 0.1)
    port.system.sleep(0.01)
    messages = pin.read()
    assert [message.data for message in messages] == [b"\x90\x3c\x40", b"\xf8", b"\x90\x3d\x40"]
    assert ticks_of(board, pin.master_time(messages[0].time)) - begin in range(0, 10)


def test_pause_holds_and_run_goes_on(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    messages = [bytes([0xB0, 7, value]) for value in range(100)]
    for number, data in enumerate(messages):
        pin.submit(number * 2 * MS, data)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.05)
    pin.set_state(KSSTATE.PAUSE)
    before = board.bench.midi_read()
    port.system.sleep(0.2)
    assert board.bench.midi_read() == []
    assert 0 < len(before) < 300 and len(before) % 3 == 0
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.3)
    after = board.bench.midi_read()
    assert bytes(each.value for each in before + after) == b"".join(messages)


def test_notes_do_not_hang_when_run_ends(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    for note in (60, 64, 67):
        pin.submit(10 * MS, bytes([0x93, note, 100]))
    pin.submit(11 * MS, bytes([0x83, 64, 0]))
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.05)
    board.bench.midi_read()
    pin.set_state(KSSTATE.STOP)
    port.system.sleep(0.05)
    assert bytes(each.value for each in board.bench.midi_read()) == bytes([0x83, 60, 0, 0x83, 67, 0])


def test_a_sysex_broken_off_by_stop_is_ended_by_the_next_run(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    pin.submit(0, b"\xf0" + bytes(1000) + b"\xf7")
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.05)
    pin.set_state(KSSTATE.STOP)
    port.system.sleep(0.05)
    first = bytes(each.value for each in board.bench.midi_read())
    assert first[0] == 0xF0 and 0xF7 not in first and len(first) < 500
    pin.submit(0, b"\x90\x3c\x40")
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.05)
    assert bytes(each.value for each in board.bench.midi_read()) == b"\xf7\x90\x3c\x40"


def test_events_of_the_past_go_at_once_and_in_order(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.05)
    for value in range(20):
        pin.submit(value, bytes([0xB0, 7, value]))
    port.system.sleep(0.05)
    assert [each.value for each in board.bench.midi_read()][2::3] == list(range(20))


def test_a_time_beyond_the_hardware_waits_in_the_miniport(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    pin.set_state(KSSTATE.RUN)
    event = port.allocator.get_message()
    event.cbEvent, event.uData = 3, b"\x90\x3c\x40"
    event.ullPresTime100ns = port.master_clock.get_time() + 100 * 10_000_000
    pin.stream.put_message(event)
    port.system.sleep(99.9)
    assert board.bench.midi_read() == []
    port.system.sleep(0.2)
    assert len(board.bench.midi_read()) == 3


def test_a_dead_unit_refuses_to_run(board: Board, port: PortDMus) -> None:
    for pin in (port.open_render(0), port.open_capture(1)):
        board.write_register(regs.MIDI_CONTROL, 1 << regs.MIDI_CONTROL_DEAD_LSB)
        with pytest.raises(NtStatusError) as refused:
            pin.set_state(KSSTATE.RUN)
        assert refused.value.status is NTSTATUS.INVALID_DEVICE_STATE
        assert pin.state is KSSTATE.PAUSE


@pytest.mark.parametrize(
    ("pin", "kind", "data_format", "status"),
    [
        (0, DMUS_STREAM_TYPE.CAPTURE, None, NTSTATUS.INVALID_DEVICE_REQUEST),
        (3, DMUS_STREAM_TYPE.RENDER, None, NTSTATUS.INVALID_DEVICE_REQUEST),
        (2, DMUS_STREAM_TYPE.WAVE_SINK, None, NTSTATUS.INVALID_PARAMETER),
        (2, DMUS_STREAM_TYPE.WAVE_SINK, Format(48_000, 2, 32, is_float=True), NTSTATUS.INVALID_PARAMETER),
        (0, DMUS_STREAM_TYPE.RENDER, Format(48_000, 2, 16), NTSTATUS.INVALID_PARAMETER),
    ],
)
def test_streams_that_are_refused(
    board: Board, port: PortDMus, pin: int, kind: DMUS_STREAM_TYPE, data_format: Format | None, status: NTSTATUS
) -> None:
    miniport = port._miniport
    with pytest.raises(NtStatusError) as refused:
        miniport.new_stream(pin, kind, data_format, port.allocator, port.master_clock)
    assert refused.value.status is status


# ------------------------------------------------------------------ sample clock


def test_the_sample_clock_is_a_line_with_an_exact_inverse() -> None:
    for rate in (48_000, 44_100, 46_875, 96_000):
        clock = SampleClock(rate, 12_345_678_901)
        for sample in (0, 1, 2, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) + 17):
            time = clock.time(sample)
            assert time == 12_345_678_901 + sample * 10_000_000 // rate
            assert clock.sample(time) == sample
            assert clock.sample(time - 1) == sample - 1


def test_a_nudge_never_turns_time_back() -> None:
    clock = SampleClock(48_000, 0)
    seen = 0
    for step in range(200):
        clock.nudge(step * 480, step * 100_000 - 5_000_000)
        assert clock.time(step * 480) >= seen
        seen = clock.time(step * 480)


@pytest.mark.parametrize("ppm", [100.0, -100.0, 0.0])
def test_the_sample_clock_follows_host_time_within_a_frame(ppm: float) -> None:
    """Codec and master clock 100 ppm apart. The truth: frames counted by the converter, host time read around that."""
    with open_board("model", clock_ppm=ppm) as board:
        system = BoardSystem(board)
        miniport = MiniportDMus(board)
        clock = HostClock(system)
        with PortDMus(miniport, system, master_clock=clock) as port:
            miniport.release()
            board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB)
            pin = port.open_synth(2, Format(48_000, 2, 16))
            pin.set_state(KSSTATE.RUN)
            stream = pin.stream
            assert isinstance(stream, DMusSynthStream) and stream._first_count is not None
            errors = []
            for _ in range(300):
                system.sleep(0.0203)
                before = clock.get_time()
                frames = board.read_registers(regs.FPGA_CONVERTER_CONTROL, 2)[1]
                after = clock.get_time()
                error = (before + after) / 2 - stream.sample_to_ref_time(frames - stream._first_count)
                errors.append(error)
    settled = errors[100:]
    assert max(map(abs, settled)) <= 10_000_000 / 48_000 + 1


# ------------------------------------------------------------------ sound


def play_scale(board: Board) -> tuple[bytes, int, int, int]:
    """Sound of the wave sink, its first frame, board time of the first frame heard, and when it was due."""
    system = BoardSystem(board)
    data_format = Format(48_000, 2, 16)
    miniport, wave_miniport = MiniportDMus(board), MiniportWaveRT(board)
    rendered = []
    with PortWaveRT(wave_miniport, system) as wave_port, PortDMus(miniport, system) as port:
        wave_miniport.release()
        miniport.release()
        wave_pin = wave_port.open_pin(0, False, data_format, packet_bytes=960 * data_format.block_bytes)
        board.write_register(regs.FPGA_CONVERTER_CONTROL, 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB)
        output = WaveRTOutput(wave_pin)
        pin = port.open_synth(2, data_format, output)
        pin.on_rendered = lambda frame, data: rendered.append((frame, data))
        for number in range(4):
            pin.submit((100 + 50 * number) * MS, bytes([0x99, 40 + number, 100]))
        pin.set_state(KSSTATE.RUN)
        board.bench.tap_start()
        system.sleep(0.4)
        assert port.master_clock.get_time() < pin.latency_clock.get_time() < port.master_clock.get_time() + 60 * MS
        tap = board.bench.tap_read()
        due = ticks_of(board, pin.master_time(100 * MS))
        assert output.gaps == 0
        pin.set_state(KSSTATE.STOP)
    heard = tap.first_ticks + 256 * int(np.flatnonzero(tap.samples[:, 0])[0])
    return b"".join(data for _, data in rendered), rendered[0][0], heard, due


def test_a_note_is_heard_at_its_time(board: Board) -> None:
    sound, first_frame, heard, due = play_scale(board)
    assert first_frame == 1920
    assert abs(heard - due) < board.clock.ticks(0.001)
    assert np.frombuffer(sound, "<i2").any()


def test_the_same_song_gives_the_same_sound() -> None:
    hashes = set()
    for _ in range(2):
        with open_board("model") as board:
            hashes.add(hashlib.sha256(play_scale(board)[0]).hexdigest())
    assert len(hashes) == 1


def test_the_pool_may_run_dry(board: Board) -> None:
    """Two events in all: everything goes out all the same, later."""
    system = BoardSystem(board)
    miniport = MiniportDMus(board)
    board.bench.midi_loop(True)
    with PortDMus(miniport, system, pool_events=2, pool_buffers=1) as port:
        miniport.release()
        render, capture = port.open_render(0), port.open_capture(1)
        for value in range(50):
            render.submit(10 * MS, bytes([0xB0, 7, value]))
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        system.sleep(0.3)
        assert [message.data[2] for message in capture.read()] == list(range(50))


def test_an_event_put_back_twice_is_refused(port: PortDMus) -> None:
    event: DMUS_KERNEL_EVENT = port.allocator.get_message()
    port.allocator.put_message(event)
    with pytest.raises(NtStatusError) as refused:
        port.allocator.put_message(event)
    assert refused.value.status is NTSTATUS.INVALID_PARAMETER
