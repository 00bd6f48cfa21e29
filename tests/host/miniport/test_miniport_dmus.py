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
from codecrig.miniport.dmus import SampleClock
from codecrig.miniport.uart import BYTE_S
from codecrig.port import PortDMus, PortWaveRT, WaveRTOutput
from codecrig.port.dmus import DMusRenderPin, DMusSynthPin
from codecrig.portcls import (
    DMUS_KEF_EVENT_INCOMPLETE,
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


def stall(board: Board, on: bool) -> None:
    lsb = regs.MIDI_CONTROL_STALL_LSB
    control = board.read_register(regs.MIDI_CONTROL) & 0xFF & ~(1 << lsb)
    board.write_register(regs.MIDI_CONTROL, control | on << lsb)


def heard(board: Board) -> bytes:
    return bytes(each.value for each in board.bench.midi_read())


def put(port: PortDMus, pin: DMusRenderPin, data: bytes) -> None:
    """A piece of a message, due at once."""
    event = port.allocator.get_message()
    event.cbEvent, event.uData, event.usFlags = len(data), data, DMUS_KEF_EVENT_INCOMPLETE
    event.ullPresTime100ns = port.master_clock.get_time()
    pin.stream.put_message(event)
    port.system.sleep((len(data) + 2) * BYTE_S)


NOTE, NOTE_END, SYSEX = b"\x90\x3c\x40", b"\x80\x3c\x00", b"\xf0\x01\x02\x03\x04\xf7"


@pytest.mark.parametrize("bytes_left", range(1, 12))
def test_a_transmitter_that_stands_when_run_ends_loses_nothing(board: Board, port: PortDMus, bytes_left: int) -> None:
    """Busy from some byte on, so that the message that has begun cannot be finished: the next RUN goes on there."""
    pin = port.open_render(0)
    asked = NOTE + SYSEX + b"\xf8" + NOTE_END + b"\xb0\x07\x10"
    for data in (NOTE, SYSEX, b"\xf8", NOTE_END, b"\xb0\x07\x10"):
        pin.submit(0, data)
    pin.set_state(KSSTATE.RUN)
    sent = b""
    while len(sent) < bytes_left:
        port.system.sleep(BYTE_S / 4)
        sent += heard(board)
    stall(board, True)
    port.system.sleep(2 * BYTE_S)
    pin.set_state(KSSTATE.PAUSE)
    stall(board, False)
    port.system.sleep(0.01)
    sent += heard(board)
    assert sent == asked[: len(sent)] and bytes_left <= len(sent) < len(asked)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.02)
    assert sent + heard(board) == asked


def test_notes_end_in_the_next_run_if_they_could_not_at_stop(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    pin.submit(0, NOTE)
    pin.submit(0, b"\x91\x40\x40")
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.01)
    assert heard(board) == NOTE + b"\x91\x40\x40"
    stall(board, True)
    pin.set_state(KSSTATE.STOP)
    stall(board, False)
    port.system.sleep(0.01)
    assert heard(board) == b""
    pin.submit(0, SYSEX)
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.01)
    assert heard(board) == NOTE_END + b"\x81\x40\x00" + SYSEX


@pytest.mark.parametrize(
    ("before", "ended", "behind", "resumed"),
    [
        (NOTE, NOTE_END, b"\x3e\x40", b"\x90\x3e\x40"),
        (NOTE + b"\xb2\x07", NOTE_END, b"\x11\x08\x12", b"\xb2\x07\x11\x08\x12"),
        (NOTE, NOTE_END, b"\xf8\x3e\x40", b"\x90\xf8\x3e\x40"),
        (NOTE, NOTE_END, b"\xb2\x07\x11", b"\xb2\x07\x11"),
        (b"\xb2\x07", b"", b"\x11", b"\x11"),
    ],
)
def test_running_status_survives_a_pause(
    board: Board, port: PortDMus, before: bytes, ended: bytes, behind: bytes, resumed: bytes
) -> None:
    pin = port.open_render(0)
    pin.set_state(KSSTATE.RUN)
    put(port, pin, before)
    assert heard(board) == before
    pin.set_state(KSSTATE.PAUSE)
    port.system.sleep(5 * BYTE_S)
    assert heard(board) == ended
    pin.set_state(KSSTATE.RUN)
    put(port, pin, behind)
    port.system.sleep(5 * BYTE_S)
    assert heard(board) == resumed


def test_what_stop_broke_off_is_ended_when_the_stream_is_closed(board: Board, port: PortDMus) -> None:
    pin = port.open_render(0)
    pin.submit(0, NOTE)
    pin.submit(0, b"\xf0" + bytes(1000) + b"\xf7")
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.05)
    pin.set_state(KSSTATE.STOP)
    port.system.sleep(0.01)
    assert heard(board)[:4] == NOTE + b"\xf0"
    pin.close()
    port.system.sleep(0.01)
    assert heard(board) == b"\xf7" + NOTE_END


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


def follow(ppm: float, jumps: dict[int, float], calls: int = 800) -> list[float]:
    """Frames that the master is ahead of the sample clock right behind each nudge. `jumps`: seconds at a call."""
    rate, clock, source = 48_000, SampleClock(48_000, 0), random.Random(5)
    seconds = ahead = 0.0
    errors, before = [], 0
    for number in range(calls):
        seconds += 0.02 * source.uniform(0.7, 1.3)
        ahead += jumps.get(number, 0.0)
        frames, master = seconds * rate, int((seconds * (1 + ppm / 1_000_000) + ahead) * 10_000_000)
        clock.nudge(int(frames), master)
        now = clock.time(0) + frames * 10_000_000 / rate
        assert now >= before - 500, "time goes back"
        before = int(now)
        errors.append((master - now) * rate / 10_000_000)
    return errors


@pytest.mark.parametrize("ppm", [0, 100, -100, 1_000, 10_000, -10_000])
def test_a_steady_clock_is_followed_within_a_frame(ppm: float) -> None:
    settled = follow(ppm, {})[50:]
    assert max(map(abs, settled)) < 0.75


@pytest.mark.parametrize("ppm", [0, 100, -100])
@pytest.mark.parametrize("jump_s", [0.0005, -0.0005, 0.01, -0.01, 0.5, -0.5])
def test_a_clock_that_jumps_is_caught_up_without_overshooting(ppm: float, jump_s: float) -> None:
    errors = follow(ppm, {200: jump_s})[200:]
    sign = 1 if jump_s > 0 else -1
    assert min(sign * error for error in errors) > -1.0
    first = next(number for number, error in enumerate(errors) if abs(error) < 1)
    assert first * 0.02 < 0.5 + 2 * abs(jump_s)
    assert max(map(abs, errors[first:])) < 1


@pytest.mark.parametrize("jump_s", [0.01, -0.01, 0.5, -0.5])
def test_a_clock_that_drifts_a_percent_and_jumps_is_followed_again(jump_s: float) -> None:
    """What the jump teaches of drift is wrong, and unlearned in two seconds; the error stays below a millisecond."""
    errors = follow(-10_000, {200: jump_s})[200:]
    late = int((0.5 + 2 * abs(jump_s)) / 0.02)
    assert max(map(abs, errors[late:])) < 48 and max(map(abs, errors[late + 100 :])) < 1


def test_jumps_to_and_fro_are_survived() -> None:
    source = random.Random(6)
    jumps = {number: source.uniform(-0.05, 0.05) for number in range(0, 300)}
    errors = follow(100, jumps)
    assert max(map(abs, errors[-100:])) < 1


def test_a_converter_that_is_started_anew_does_not_move_the_clock(board: Board, port: PortDMus) -> None:
    """FRAME_TICKS begins with 0 again."""
    enable = 1 << regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB
    board.write_register(regs.FPGA_CONVERTER_CONTROL, enable)
    pin = port.open_synth(2, Format(48_000, 2, 16))
    pin.set_state(KSSTATE.RUN)
    port.system.sleep(0.5)
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 0)
    board.write_register(regs.FPGA_CONVERTER_CONTROL, enable)
    port.system.sleep(0.1)
    begin, ticks = pin.stream.sample_to_ref_time(0), board.clock.now()
    port.system.sleep(0.1)
    moved = pin.stream.sample_to_ref_time(0) - begin
    assert abs(moved) < 10 * MS
    assert board.clock.now() - ticks < board.clock.ticks(0.11)


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


def windows_of(port: PortDMus, pin: DMusSynthPin, seconds: float) -> np.ndarray:
    """What is rendered meanwhile."""
    rendered: list[bytes] = []
    pin.on_rendered = lambda _, data: rendered.append(data)
    port.system.sleep(seconds)
    return np.frombuffer(b"".join(rendered), "<i2")


@pytest.mark.parametrize("low", [KSSTATE.PAUSE, KSSTATE.STOP])
def test_a_note_that_is_held_does_not_sound_in_the_next_run(port: PortDMus, low: KSSTATE) -> None:
    pin = port.open_synth(2, Format(48_000, 2, 16))
    pin.submit(0, b"\x90\x3c\x64")
    pin.set_state(KSSTATE.RUN)
    assert windows_of(port, pin, 0.2).any()
    pin.set_state(low)
    pin.set_state(KSSTATE.RUN)
    assert not windows_of(port, pin, 0.2).any()


def test_a_note_of_the_past_sounds_at_once(port: PortDMus) -> None:
    pin = port.open_synth(2, Format(48_000, 2, 16))
    pin.set_state(KSSTATE.RUN)
    assert not windows_of(port, pin, 0.2).any()
    pin.submit(0, b"\x90\x3c\x64")
    assert windows_of(port, pin, 0.05).any()


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
