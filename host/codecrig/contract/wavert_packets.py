"""Checks of the rules WRI and WRO: packets in and out, their counts, times and ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from codecrig.board import Snapshot
from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.wavert_support import (
    CAPTURE,
    FRAME_SLACK,
    RENDER,
    HostTime,
    clocks_of,
    delay_frames,
    expect_bytes,
    expect_event,
    expect_ramp,
    frames_in,
    half_delay_frames,
    loud,
    moved,
    need,
    noise,
    open_pair,
    open_pin,
    preload,
    records,
    samples_of,
    seconds_of,
    status_of,
    wait_bytes,
)
from codecrig.link.registers import InputSelect
from codecrig.port import WaveRTPin
from codecrig.portcls import (
    KSSTATE,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    NTSTATUS,
    Format,
    IMiniportWaveRTInputStream,
    IMiniportWaveRTOutputStream,
    NtStatusError,
    ReadPacket,
)

MASK32 = 0xFFFFFFFF
END = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM


def _input(pin: WaveRTPin) -> IMiniportWaveRTInputStream:
    found = pin._input
    assert found is not None
    return found


def _output(pin: WaveRTPin) -> IMiniportWaveRTOutputStream:
    found = pin._output
    assert found is not None
    return found


def _try_read(pin: WaveRTPin) -> ReadPacket | None:
    """The next packet, or None where the stream says DEVICE_NOT_READY."""
    try:
        return _input(pin).get_read_packet()
    except NtStatusError as error:
        if error.status is not NTSTATUS.DEVICE_NOT_READY:
            raise
        return None


def _next_packet(rig: Rig, pin: WaveRTPin) -> ReadPacket:
    """The next packet, once it is complete. An event may be that of a packet which was read already."""
    while True:
        expect_event(rig, pin)
        packet = _try_read(pin)
        if packet is not None:
            return packet


# ------------------------------------------------------------------ packets in


@check("WRI-PKT-01")
def only_whole_packets_are_read(rig: Rig) -> None:
    """Asks for packets all the time and compares each answer with the bytes in memory before and after."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=96)
        size, expected, refusals = pin.packet_bytes, 0, 0
        pin.set_state(KSSTATE.RUN)
        while expected < 5:
            before = rig.board.snapshot(CAPTURE)
            packet = _try_read(pin)
            after = rig.board.snapshot(CAPTURE)
            if packet is None:
                refusals += 1
                rig.expect(before.bytes < (expected + 1) * size, "DEVICE_NOT_READY",
                           f"before byte {(expected + 1) * size}", f"at byte {before.bytes}")  # fmt: skip
            else:
                rig.expect((packet.PacketNumber + 1) * size <= after.bytes, f"packet {packet.PacketNumber} reported",
                           f"behind byte {(packet.PacketNumber + 1) * size}", f"at byte {after.bytes}")  # fmt: skip
                number = packet.PacketNumber
                rig.expect(number >= expected, "packet reported", f"{expected} or later", number)
                expected = packet.PacketNumber + 1
        rig.expect(refusals > 0, "refusals between packets", "some", refusals)
        rig.note("packets read and refusals in between", f"{expected} and {refusals}", "GetReadPacket, SNAP_BYTES")
        moved(rig, CAPTURE)


@check("WRI-PKT-02")
def packet_numbers_rise_by_one(rig: Rig) -> None:
    """Reads numbers over PAUSE and RUN, over the wrap at 2^32, and behind STOP."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=144)
        for turn in range(2):
            numbers = []
            pin.set_state(KSSTATE.RUN)
            for count in range(4):
                numbers.append(_next_packet(rig, pin).PacketNumber)
                if count == 0:
                    again = _try_read(pin)
                    rig.expect(again is None, "a second call for the packet just read", "DEVICE_NOT_READY", again)
                if count == 1:
                    pin.set_state(KSSTATE.PAUSE)
                    pin.set_state(KSSTATE.RUN)
            rig.expect_equal(f"numbers of turn {turn}", numbers, [0, 1, 2, 3])
            if turn == 0:
                pin.set_state(KSSTATE.PAUSE)
                preload(rig, CAPTURE, form, ((1 << 32) - 8) * pin.packet_bytes)
                _try_read(pin)
                pin.event.clear()
                pin.set_state(KSSTATE.RUN)
                numbers = []
                while len(numbers) < 7:
                    numbers.append(_next_packet(rig, pin).PacketNumber)
                rig.expect(
                    all(after == (before + 1) & MASK32 for before, after in pairwise(numbers)) and 0 in numbers,
                    "numbers across the wrap", "one more each time, from 0xFFFFFFFF to 0", numbers,
                )  # fmt: skip
                rig.note("numbers across the wrap", numbers, "GetReadPacket")
            moved(rig, CAPTURE)
            pin.set_state(KSSTATE.STOP)
            pin.event.clear()


@check("WRI-PKT-03")
def a_packet_lies_where_its_number_says(rig: Rig) -> None:
    """Captures a counting pattern and compares each packet's place with the frames that belong there."""
    need(rig, "pattern")
    form = rig.format_of(24)
    frames = 144
    for packets in (2, 1):
        with rig.converter(InputSelect.PATTERN):
            pin = open_pin(rig, CAPTURE, form, frames=frames, packets=packets)
            size, block = pin.packet_bytes, form.block_bytes
            for _ in range(4):
                pin.set_state(KSSTATE.RUN)
                number = _next_packet(rig, pin).PacketNumber
                # Frozen, so that the engine does not go on writing into the place of a single packet.
                pin.set_state(KSSTATE.PAUSE)
                written = max(0, rig.board.snapshot(CAPTURE).bytes - (number + packets) * size)
                skipped = -(-written // block)
                place = number % packets * size
                data = pin.buffer.read(place + skipped * block, size - skipped * block)
                what = f"packet {number} of {packets} in the buffer"
                expect_ramp(rig, what, data, form, number * frames + skipped)
                rig.note(what, f"frames {number * frames + skipped} to {(number + 1) * frames - 1}", "pattern")
            moved(rig, CAPTURE)
            pin.close()


@dataclass
class _Timed:
    """A packet and the host time at which its first frame was converted, as the board's clock says."""

    packet: ReadPacket
    told_ns: float
    due_ns: float


def _timed_packets(rig: Rig, pin: WaveRTPin, form: Format, frames: int, count: int) -> tuple[list[_Timed], float]:
    """Read `count` packets in time; also what times may be off by. Input is the pattern: no converter in the way."""
    host, found = HostTime(rig), []
    pin.set_state(KSSTATE.RUN)
    for _ in range(count):
        packet = _next_packet(rig, pin)
        now_s = seconds_of(rig, rig.system.performance_counter())
        host.sample()
        told_s = seconds_of(rig, packet.PerformanceCounterValue)
        rig.expect(told_s <= now_s, f"time of packet {packet.PacketNumber}", "not in the future", told_s - now_s)
        snapshot = rig.board.snapshot(CAPTURE)
        due = host.ns(snapshot.start_ticks + packet.PacketNumber * frames * clocks_of(rig, form))
        found.append(_Timed(packet, told_s * 1e9, due))
    moved(rig, CAPTURE)
    return found, host.error_ns(CAPTURE, form)


@check("WRI-PKT-04")
def a_packet_carries_the_time_of_its_first_frame(rig: Rig) -> None:
    """Compares each packet's time with that of its first frame by the board's clock, and packets with each other."""
    form = rig.format_of(16)
    frames, count = 192, 7
    packet_ns = frames * 1e9 / form.sample_rate
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=frames)
        found, error_ns = _timed_packets(rig, pin, form, frames, count)
    for each in found:
        off = each.told_ns - each.due_ns
        what = f"packet {each.packet.PacketNumber}: time told less time of its first frame"
        rig.expect_within(what, off / 1e3, -error_ns / 1e3, error_ns / 1e3, "us")
    for before, after in pairwise(found):
        rig.expect(after.told_ns > before.told_ns, "times of successive packets", "rising", after.told_ns)
    for before, after in (*pairwise(found), (found[0], found[-1])):
        packets = after.packet.PacketNumber - before.packet.PacketNumber
        off = after.told_ns - before.told_ns - packets * packet_ns
        rig.expect_within(f"{packets} packets apart", off / 1e3, -error_ns / 1e3, error_ns / 1e3, "us off")
    rig.note("error of the correlation", f"{error_ns / 1e3:.0f} us", "performance counter around TIME and SNAPSHOT")
    rig.note(f"{count} packets", f"{off / 1e3:+.1f} us off", "GetReadPacket")


@dataclass
class _Click:
    """A click that was played and captured again through the converters."""

    jack_ns: float
    """Host time at which it was at the jack."""
    sent_frame: int
    """Its frame in the render stream."""
    position: tuple[int, float]
    """Blocks presented, and the host time in ns of that."""
    packet: ReadPacket
    packet_frame: int
    """Its frame in that packet."""
    error_ns: float


def _click(rig: Rig) -> _Click:
    """Play a click, watch it at the DAC's pins, and find it in what comes back."""
    rig.need_bench("tap")
    rig.need_bench("codec")
    need(rig, "analog_loopback")
    form, frames, sent = rig.format_of(16), 480, 150
    clocks, block = clocks_of(rig, form), form.block_bytes
    rig.board.bench.codec(gain_q16=65536, noise_lsb=0, dc_lsb=0, connected=True)
    try:
        with rig.converter(InputSelect.CONVERTER):
            options = {"packet_bytes": frames * block}
            render, capture = open_pair(rig, form, options, options)
            samples = np.zeros((2 * frames, 2), np.int16)
            samples[sent] = (20000, 20000)
            render.buffer.write(0, samples.tobytes())
            capture.set_state(KSSTATE.RUN)
            rig.board.bench.tap_start()
            render.set_state(KSSTATE.RUN)
            _output(render).set_write_packet(1, 0, 0)
            host, found = HostTime(rig), None
            while found is None:
                expect_event(rig, capture)
                packet, content = capture.read_packet()
                host.sample()
                loudness = np.abs(samples_of(content, form)[:, 0])
                if loudness.max() > 10000:
                    found = packet, int(np.argmax(loudness))
                rig.expect(packet.PacketNumber < 4, "the click in what was captured", "there", "4 packets without")
            presented = render.presentation_position()
            host.sample()
            tap = rig.board.bench.tap_read()
            rig.board.bench.tap_stop()
            error_ns = host.error_ns(RENDER, form)
            moved(rig, RENDER)
            moved(rig, CAPTURE)
    finally:
        analog = rig.board.profile.analog
        rig.board.bench.codec(gain_q16=analog.gain_q16, noise_lsb=analog.noise_lsb, dc_lsb=analog.dc_lsb)
    # The tap's times are those at which a frame begins on the wire; a frame later the DAC has it.
    at_dac = int(np.flatnonzero(tap.samples[:, 0])[0]) + 1
    jack_ns = host.ns(tap.first_ticks + (at_dac + half_delay_frames(rig)) * clocks)
    told_ns = seconds_of(rig, presented.u64QPCPosition) * 1e9
    return _Click(jack_ns, sent, (presented.u64PositionInBlocks, told_ns), *found, error_ns)


@check("WRI-PKT-05")
def an_edge_is_found_where_the_time_says(rig: Rig) -> None:
    """Sends a click through the converters and compares the time at the jack with the captured packet's time."""
    click = _click(rig)
    rate = rig.format_of(16).sample_rate
    told_ns = seconds_of(rig, click.packet.PerformanceCounterValue) * 1e9 + click.packet_frame * 1e9 / rate
    # A frame more: the converter's delay need not be whole frames.
    limit = (click.error_ns + 1e9 / rate) / 1e3
    off = (told_ns - click.jack_ns) / 1e3
    rig.expect_within("time of the click by its packet, less time at the jack", off, -limit, limit, "us")
    rig.note("the click", f"{off:+.1f} us off, of {limit:.0f}", "tap, GetReadPacket")


@check("WRI-PKT-06")
def flags_are_zero_and_more_data_is_true(rig: Rig) -> None:
    """Reads in time and late, and asks again at once behind each packet: only behind MoreData there must be more."""
    form = rig.format_of(16)
    frames = 144
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=frames)
        pin.set_state(KSSTATE.RUN)
        said = 0
        for turn in range(5):
            if turn == 3:
                rig.system.sleep(3.4 * frames / form.sample_rate)
            packet = _next_packet(rig, pin)
            rig.expect_equal(f"Flags of packet {packet.PacketNumber}", packet.Flags, 0)
            snapshot = rig.board.snapshot(CAPTURE)
            at_real_time = snapshot.bytes < (packet.PacketNumber + 2) * pin.packet_bytes
            again = _try_read(pin) if packet.MoreData else None
            if packet.MoreData:
                said += 1
                rig.expect(again is not None, f"second call behind packet {packet.PacketNumber}", "a packet", "none")
                rig.expect(not at_real_time, "MoreData at real time", "False", "True")
                rig.expect_equal("Flags of the second packet", again.Flags if again else 0, 0)
        rig.note("packets with MoreData", said, "GetReadPacket")


@check("WRI-PKT-07")
def late_readers_lose_the_oldest(rig: Rig) -> None:
    """Reads several packets too late: the number says how many were lost, and its bytes are intact."""
    need(rig, "pattern")
    form = rig.format_of(24)
    frames = 144
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=frames)
        size = pin.packet_bytes
        last = -1
        for late in (0, 3, 6):
            pin.set_state(KSSTATE.RUN)
            # Into the middle of a packet, so that the one before stays intact while it is read.
            before = wait_bytes(rig, CAPTURE, (last + 2 + late) * size + size // 8)
            packet = _input(pin).get_read_packet()
            pin.set_state(KSSTATE.PAUSE)
            after = rig.board.snapshot(CAPTURE)
            number = packet.PacketNumber
            low, high = before.bytes // size - 1, after.bytes // size - 1
            rig.expect_within(f"number behind {late} packets that nobody read", number, low, high)
            rig.expect(late == 0 or number > last + 1, "gap in the numbers", "the packets lost", number - last - 1)
            if after.bytes <= (number + 2) * size:
                data = pin.buffer.read(number % 2 * size, size)
                expect_ramp(rig, f"packet {number}", data, form, number * frames)
            rig.note(f"packet {number}", f"{number - last - 1} lost before it", "GetReadPacket, pattern")
            last = number
        moved(rig, CAPTURE)


@check("WRI-PKT-08")
def packets_need_notification(rig: Rig) -> None:
    """Asks a capture stream with a plain buffer, and one without any, for a packet."""
    for options in ({"buffer_frames": 480}, {}):
        pin = open_pin(rig, CAPTURE, rig.formats[0], **options)
        for state in (KSSTATE.STOP, KSSTATE.PAUSE):
            pin.set_state(state)
            what = f"GetReadPacket in {state.name}, {'a plain buffer' if options else 'no buffer'}"
            rig.expect_status(what, NTSTATUS.NOT_SUPPORTED, _input(pin).get_read_packet)
        pin.close()


@check("WRI-PKT-09")
def packets_are_read_in_run_and_pause(rig: Rig) -> None:
    """Asks for packets in every state, with a packet completed before PAUSE."""
    form = rig.format_of(16)
    accepted = (NTSTATUS.INVALID_DEVICE_STATE, NTSTATUS.DEVICE_NOT_READY)
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=96)
        read = _input(pin).get_read_packet
        for state in (KSSTATE.STOP, KSSTATE.ACQUIRE):
            pin.set_state(state)
            rig.expect_status(f"GetReadPacket in {state.name}", accepted, read)
        pin.set_state(KSSTATE.RUN)
        wait_bytes(rig, CAPTURE, pin.packet_bytes)
        pin.set_state(KSSTATE.PAUSE)
        packet = read()
        rig.expect_equal("packet read in PAUSE", packet.PacketNumber, 0)
        rig.expect_status("a second one in PAUSE", NTSTATUS.DEVICE_NOT_READY, read)
        pin.set_state(KSSTATE.RUN)
        expect_event(rig, pin)
        wait_bytes(rig, CAPTURE, 2 * pin.packet_bytes)
        for state in (KSSTATE.ACQUIRE, KSSTATE.STOP):
            pin.set_state(state)
            rig.expect_status(f"GetReadPacket in {state.name}", accepted, read)
        rig.note("packet read in PAUSE", packet, "GetReadPacket")


@check("WRI-PKT-10")
def a_pause_shows_in_the_next_time_only(rig: Rig) -> None:
    """Pauses inside packet 1: it keeps its number, its frames follow on, and packet 2 has the time behind the pause."""
    need(rig, "pattern")
    form = rig.format_of(24)
    frames = 192
    clocks = clocks_of(rig, form)
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, frames=frames)
        pin.set_state(KSSTATE.RUN)
        host = HostTime(rig)
        paused_frame, starts, times = 0, [], []
        for number in range(4):
            if number == 1:
                wait_bytes(rig, CAPTURE, pin.packet_bytes * 4 // 3)
                pin.set_state(KSSTATE.PAUSE)
                frozen = rig.board.snapshot(CAPTURE)
                starts.append(frozen.start_ticks)
                paused_frame = frozen.frames
                rig.system.sleep(0.010)
                pin.set_state(KSSTATE.RUN)
            expect_event(rig, pin)
            packet, data = pin.read_packet()
            host.sample()
            rig.expect_equal("number", packet.PacketNumber, number)
            expect_ramp(rig, f"packet {number}", data, form, number * frames)
            times.append(seconds_of(rig, packet.PerformanceCounterValue) * 1e9)
        starts.append(moved(rig, CAPTURE).start_ticks)
        error_ns = host.error_ns(CAPTURE, form)
        rig.expect(frames < paused_frame < 2 * frames, "place of the pause", "inside packet 1", paused_frame)
        for number, told in enumerate(times):
            first = number * frames
            due = starts[0] + first * clocks if first < paused_frame else starts[1] + (first - paused_frame) * clocks
            off = (told - host.ns(due)) / 1e3
            limit = error_ns / 1e3
            rig.expect_within(f"packet {number}: time told less time of its first frame", off, -limit, limit, "us")
            rig.note(f"packet {number}", f"{off:+.1f} us off, of {limit:.0f}", "GetReadPacket, START_TIME")


# ------------------------------------------------------------------ packets out: counts


@check("WRO-CNT-01")
def the_count_is_that_of_whole_packets_fetched(rig: Rig) -> None:
    """Reads the count between snapshots, at first with the converter standing, so that nothing fetched is played."""
    form = rig.format_of(16)
    pin = open_pin(rig, RENDER, form, frames=8)
    size = pin.packet_bytes
    rig.expect_equal("count after allocation", pin.packet_count(), 0)
    pin.set_state(KSSTATE.PAUSE)
    rig.expect_equal("count in PAUSE, before RUN", pin.packet_count(), 0)
    pin.set_state(KSSTATE.RUN)
    ahead = wait_bytes(rig, RENDER, size)
    rig.expect_equal("count with the converter standing", pin.packet_count(), ahead.bytes // size)
    rig.note("packets fetched", f"{ahead.bytes // size}, with {ahead.frames} frames played", "GetPacketCount, snapshot")
    pin.close()
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=96)
        size = pin.packet_bytes
        pin.set_state(KSSTATE.RUN)
        for _ in range(12):
            before = rig.board.snapshot(RENDER)
            count = pin.packet_count()
            after = rig.board.snapshot(RENDER)
            rig.expect_within("count", count, before.bytes // size, after.bytes // size)
        moved(rig, RENDER)
        pin.set_state(KSSTATE.STOP)
        rig.expect_equal("count in STOP", pin.packet_count(), 0)


@check("WRO-CNT-02")
def the_count_goes_on_without_packets(rig: Rig) -> None:
    """Writes no packet at all: count and events go on at the sample rate, also over the wrap at 2^32."""
    form = rig.format_of(16)
    frames = 48
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=frames)
        pin.set_state(KSSTATE.RUN)
        previous = 0
        for turn in range(2):
            told = pin.event.set_count
            before = rig.board.snapshot(RENDER)
            first = pin.packet_count()
            counts = []
            for _ in range(9):
                rig.system.sleep(0.0012)
                counts.append(pin.packet_count())
            pin.set_state(KSSTATE.PAUSE)
            after = rig.board.snapshot(RENDER)
            last = pin.packet_count()
            steps = [(b - a) & MASK32 for a, b in pairwise([first, *counts, last])]
            rig.expect(all(step <= 4 for step in steps), "steps of the count", "0 to 4 packets", steps)
            elapsed = frames_in(rig, (after.frame_ticks - before.frame_ticks) * clocks_of(rig, form), form)
            moved_packets = sum(steps)
            # RUN to PAUSE: from the first to the last frame, rounded to packets at both ends.
            limit = elapsed / frames
            rig.expect_within("packets counted", moved_packets, (after.frames - before.frames) / frames - 2, limit + 2)
            events = pin.event.set_count - told
            rig.expect_within("events meanwhile", events, moved_packets - 1, moved_packets + 1)
            rig.note("packets and events without a packet written", f"{moved_packets} and {events}", "GetPacketCount")
            rig.expect((first - previous) & MASK32 < 1 << 31, "count behind PAUSE", "not lower", first)
            if turn == 0:
                moved(rig, RENDER)
                # Even, so that numbers keep their places in the buffer.
                preload(rig, RENDER, form, ((1 << 32) - 4 - last) // 2 * 2 * pin.packet_bytes)
                previous = pin.packet_count()
                rig.expect(previous > 1 << 31, "count before the wrap", "near 2^32", previous)
                pin.set_state(KSSTATE.RUN)
        rig.expect(last < 1 << 31 < previous, "count across the wrap", f"from {previous} to a small number", last)


@check("WRO-CNT-03")
def the_count_is_not_behind_the_events(rig: Rig) -> None:
    """Reads the count behind each event, and compares it with the bytes fetched."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=96)
        size = pin.packet_bytes
        pin.set_state(KSSTATE.RUN)
        for _ in range(5):
            expect_event(rig, pin)
            k = pin.event.set_count
            before = rig.board.snapshot(RENDER)
            count = pin.packet_count()
            after = rig.board.snapshot(RENDER)
            rig.expect(count >= k, f"count behind event {k}", f"at least {k}", count)
            behind = before.bytes - count * size
            ahead = count * size - after.bytes
            rig.expect(behind < size and ahead <= 0, "count times packet size", f"less than {size} behind "
                       f"{after.bytes}", count * size)  # fmt: skip
            rig.note(f"count behind event {k}", f"{count}, {after.bytes} bytes fetched", "GetPacketCount, SNAP_BYTES")
        moved(rig, RENDER)


@check("WRO-CNT-04")
def packet_methods_need_notification(rig: Rig) -> None:
    """Calls the three methods on a render stream with a plain buffer, and on one without any."""
    for options in ({"buffer_frames": 480}, {}):
        pin = open_pin(rig, RENDER, rig.formats[0], **options)
        output = _output(pin)
        for name, call in (
            ("GetPacketCount", (output.get_packet_count,)),
            ("SetWritePacket", (output.set_write_packet, 0, 0, 0)),
            ("GetOutputStreamPresentationPosition", (output.get_output_stream_presentation_position,)),
        ):
            what = f"{name}, {'a plain buffer' if options else 'no buffer'}"
            method: Callable[..., Any] = call[0]
            rig.expect_status(what, NTSTATUS.NOT_SUPPORTED, method, *call[1:])
        pin.close()


# ------------------------------------------------------------------ packets out: SetWritePacket


def _at_packet_start(rig: Rig, frames: int, form: Format) -> tuple[WaveRTPin, int]:
    """A render pin in RUN just behind a packet end, and the packet in transfer."""
    pin = open_pin(rig, RENDER, form, frames=frames)
    pin.set_state(KSSTATE.RUN)
    expect_event(rig, pin)
    return pin, pin.packet_count()


def _still(rig: Rig, pin: WaveRTPin, count: int) -> None:
    """The packet in transfer is the same as before: what was asked in between was about that one."""
    found = rig.board.snapshot(RENDER).bytes // pin.packet_bytes
    rig.expect_equal("packet in transfer, by the time that all was asked", found & MASK32, count)


@check("WRO-SWP-01")
def the_next_packet_is_accepted(rig: Rig) -> None:
    """Announces, in RUN, the packet behind the one in transfer, several times in a row."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin, count = _at_packet_start(rig, 192, form)
        for _ in range(4):
            _output(pin).set_write_packet(count + 1, 0, 0)
            _still(rig, pin, count)
            rig.note(f"packet {count + 1} with packet {count} in transfer", "accepted", "SetWritePacket")
            expect_event(rig, pin)
            count = pin.packet_count()
        moved(rig, RENDER)


@check("WRO-SWP-02")
def a_packet_too_late_is_refused(rig: Rig) -> None:
    """Announces, in RUN and behind PAUSE, packets that have been or are being moved."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin, count = _at_packet_start(rig, 240, form)
        write = _output(pin).set_write_packet
        expect_event(rig, pin)
        count = pin.packet_count()
        for back in (0, 1, 2, 1000):
            late = (count - back) & MASK32
            rig.expect_status(f"packet {-back:+d} in RUN", NTSTATUS.DATA_LATE_ERROR, write, late, 0, 0)
        _still(rig, pin, count)
        pin.set_state(KSSTATE.PAUSE)
        count = pin.packet_count()
        for back in (1, 2, 1000):
            rig.expect_status(
                f"packet {-back:+d} in PAUSE", NTSTATUS.DATA_LATE_ERROR, write, (count - back) & MASK32, 0, 0
            )
        rig.note("packets up to the one in transfer", "DATA_LATE_ERROR", "SetWritePacket")
        moved(rig, RENDER)


@check("WRO-SWP-03")
def a_packet_without_a_place_is_refused(rig: Rig) -> None:
    """Announces packets whose place is still in use, in RUN and before it."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=240)
        write = _output(pin).set_write_packet
        pin.set_state(KSSTATE.PAUSE)
        for ahead in (2, 3, 1000):
            rig.expect_status(f"packet +{ahead} before RUN", NTSTATUS.DATA_OVERRUN, write, ahead, 0, 0)
        pin.set_state(KSSTATE.RUN)
        expect_event(rig, pin)
        count = pin.packet_count()
        for ahead in (2, 3, 1000):
            rig.expect_status(f"packet +{ahead} in RUN", NTSTATUS.DATA_OVERRUN, write, (count + ahead) & MASK32, 0, 0)
        _still(rig, pin, count)
        rig.note("packets two and more ahead", "DATA_OVERRUN", "SetWritePacket")
        moved(rig, RENDER)


@check("WRO-SWP-04")
def numbers_are_compared_across_the_wrap(rig: Rig) -> None:
    """Announces packets before RUN, and on both sides of the wrap of the count at 2^32."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=240)
        write, size = _output(pin).set_write_packet, pin.packet_bytes
        pin.set_state(KSSTATE.PAUSE)
        write(0, 0, 0)
        rig.expect_status("packet -1 before RUN", NTSTATUS.DATA_LATE_ERROR, write, MASK32, 0, 0)
        pin.set_state(KSSTATE.RUN)
        wait_bytes(rig, RENDER, size)
        pin.set_state(KSSTATE.PAUSE)
        rig.expect_equal("count before the counters are set", pin.packet_count(), 1)
        preload(rig, RENDER, form, ((1 << 32) - 2) * size)
        rig.expect_equal("count", pin.packet_count(), MASK32)
        write(MASK32, 0, 0)
        rig.expect_status("packet 0xFFFFFFFE with count 0xFFFFFFFF", NTSTATUS.DATA_LATE_ERROR, write, MASK32 - 1, 0, 0)
        rig.expect_status("packet 1 with count 0xFFFFFFFF", NTSTATUS.DATA_OVERRUN, write, 1, 0, 0)
        status = status_of(write, 0, 0, 0)
        rig.expect(status in ("SUCCESS", "DATA_OVERRUN"), "packet 0 with count 0xFFFFFFFF, before RUN",
                   "SUCCESS or DATA_OVERRUN", status)  # fmt: skip
        pin.event.clear()
        pin.set_state(KSSTATE.RUN)
        write(0, 0, 0)
        rig.expect_status("packet 0xFFFFFFFF in transfer", NTSTATUS.DATA_LATE_ERROR, write, MASK32, 0, 0)
        expect_event(rig, pin)
        rig.expect_equal("count behind the wrap", pin.packet_count(), 0)
        write(1, 0, 0)
        rig.expect_status("packet 0xFFFFFFFF behind the wrap", NTSTATUS.DATA_LATE_ERROR, write, MASK32, 0, 0)
        rig.note("packets 0xFFFFFFFF, 0, 1", "accepted in turn", "SetWritePacket")


@check("WRO-SWP-05")
def the_length_of_the_last_packet(rig: Rig) -> None:
    """Announces last packets of lengths from 0 to more than a packet, and lengths without the flag."""
    pin = open_pin(rig, RENDER, rig.format_of(16), frames=96)
    write, size = _output(pin).set_write_packet, pin.packet_bytes
    for length in (0, 1, size // 2, size):
        pin.set_state(KSSTATE.PAUSE)
        write(0, END, length)
        rig.note(f"end of stream at {length} of {size} bytes", "accepted", "SetWritePacket")
        pin.set_state(KSSTATE.STOP)
    pin.set_state(KSSTATE.PAUSE)
    for length in (size + 1, 2 * size, MASK32):
        rig.expect_status(f"end at {length} of {size} bytes", NTSTATUS.INVALID_PARAMETER, write, 0, END, length)
    for length in (size + 1, MASK32):
        write(0, 0, length)
    write(0, END, size)


@check("WRO-SWP-06")
def unknown_flags_are_refused(rig: Rig) -> None:
    """Announces a packet with each flag that there is not, alone and beside end of stream."""
    pin = open_pin(rig, RENDER, rig.formats[0], frames=96)
    write = _output(pin).set_write_packet
    pin.set_state(KSSTATE.PAUSE)
    flags = [1 << bit for bit in range(32) if 1 << bit != END]
    for flag in (*flags, END | 1, END | 0x80000000):
        rig.expect_status(f"flags {flag:#x}", NTSTATUS.INVALID_PARAMETER, write, 0, flag, 0)
    write(0, 0, 0)
    rig.note("flags refused", len(flags) + 2, "SetWritePacket")


@check("WRO-SWP-07")
def nothing_follows_the_last_packet(rig: Rig) -> None:
    """Announces more packets behind the last one, with PAUSE and ACQUIRE in between, then behind STOP."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=96)
        write = _output(pin).set_write_packet
        for turn in range(2):
            pin.set_state(KSSTATE.PAUSE)
            write(0, END, 40)
            for state in (KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.ACQUIRE):
                pin.set_state(state)
                if state is KSSTATE.RUN:
                    rig.system.sleep(0.004)
                for number, flags in ((0, 0), (1, 0), (1, END), (2, 0)):
                    rig.expect_status(f"packet {number} behind the last one, in {state.name}",
                                      NTSTATUS.INVALID_DEVICE_STATE, write, number, flags, 0)  # fmt: skip
            pin.set_state(KSSTATE.STOP)
            rig.note(f"turn {turn}", "refused until STOP", "SetWritePacket")
        pin.set_state(KSSTATE.PAUSE)
        write(0, 0, 0)


@check("WRO-SWP-08")
def a_refused_packet_disturbs_nothing(rig: Rig) -> None:
    """Plays packets in digital loopback, with refused calls of every kind in between: every frame is heard."""
    need(rig, "digital_loopback")
    form = rig.format_of(16)
    frames, count = 240, 5
    options = {"buffer_bytes": (count + 2) * frames * form.block_bytes}
    render, capture = open_pair(rig, form, {"packet_bytes": frames * form.block_bytes}, options)
    capture.buffer.write(0, bytes(capture.buffer.length))
    packets = [noise(frames, form, 60 + number) for number in range(count)]
    write, size = _output(render).set_write_packet, render.packet_bytes

    def refused() -> None:
        now = render.packet_count()
        for number, flags, length in (
            (now - 1, 0, 0), (now + 2, 0, 0), (now + 1, 0x400, 0), (now + 1, END, size + 1), (now - 1, END, 0),
            (now + 9, END, 4),
        ):  # fmt: skip
            status = status_of(write, number & MASK32, flags, length)
            rig.expect(status != "SUCCESS", f"packet {number}, flags {flags:#x}, length {length}", "a refusal", status)

    with rig.converter(InputSelect.LOOPBACK):
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.PAUSE)
        render.write_packet(packets[0])
        refused()
        render.set_state(KSSTATE.RUN)
        render.write_packet(packets[1])
        for data in packets[2:]:
            refused()
            expect_event(rig, render)
            render.write_packet(data)
        expect_event(rig, render)
        rig.expect_equal("events and count", (render.event.set_count, render.packet_count()), (count - 1, count - 1))
        rig.system.sleep(0.5 * frames / form.sample_rate)
        capture.set_state(KSSTATE.PAUSE)
        moved(rig, RENDER)
    heard = loud(capture.buffer.read(0, capture.buffer.length), form)
    expected = b"".join(packets)[: len(heard)]
    rig.expect(len(heard) > (count - 1) * size, "bytes heard", f"more than {count - 1} packets", len(heard))
    expect_bytes(rig, "packets heard", heard, expected, form)
    rig.note("bytes heard with refused calls in between", len(heard), "digital loopback")


@check("WRO-SWP-09")
def silence_behind_the_last_byte(rig: Rig) -> None:
    """Ends streams inside a packet, at its beginning and at its end: what is heard, and when the last event comes."""
    need(rig, "digital_loopback")
    form = rig.format_of(16)
    frames = 192
    block = form.block_bytes
    for last_frames in (70, 0, frames):
        options = {"buffer_bytes": 5 * frames * block}
        render, capture = open_pair(rig, form, {"packet_bytes": frames * block}, options)
        packets = [noise(frames, form, 80 + number) for number in range(2)]
        capture.buffer.write(0, bytes(capture.buffer.length))
        ends = records(rig, RENDER)
        with rig.converter(InputSelect.LOOPBACK):
            capture.set_state(KSSTATE.RUN)
            render.set_state(KSSTATE.PAUSE)
            render.write_packet(packets[0])
            render.set_state(KSSTATE.RUN)
            render.write_packet(packets[1], last_bytes=last_frames * block)
            rig.system.sleep(3.2 * frames / form.sample_rate)
            capture.set_state(KSSTATE.PAUSE)
            moved(rig, RENDER)
        heard = loud(capture.buffer.read(0, capture.buffer.length), form)
        what = f"end behind {last_frames} frames of packet 1"
        expect_bytes(rig, what, heard, packets[0] + packets[1][: last_frames * block], form)
        # One at the end of packet 0, one for the end: where no byte is left the two are one, or one frame apart.
        low = 1 if last_frames == 0 else 2
        rig.expect_within(f"{what}: events", render.event.set_count, low, 2)
        if last_frames:
            clocks = clocks_of(rig, form)
            apart = (ends[-1].time_ticks - ends[0].time_ticks) / clocks
            rig.expect_within(f"{what}: frames between the events", apart, last_frames - 20, last_frames + 2)
            rig.note(f"{what}: last event", f"{apart:.1f} frames behind the packet end before", "event records")
        rig.note(what, f"{len(heard) // block} frames heard", "digital loopback")
        render.close()
        capture.close()


# ------------------------------------------------------------------ packets out: presentation position


@check("WRO-PRS-01")
def blocks_are_counted_at_the_output(rig: Rig) -> None:
    """Takes the position between snapshots: behind what was fetched by FIFO and codec, with what was converted."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=96)
        latency = pin._stream.get_hw_latency()
        delay, codec = delay_frames(latency, form), latency.CodecDelay * form.sample_rate / 1e7
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.0015)
        for _ in range(10):
            before = rig.board.snapshot(RENDER)
            blocks = pin.presentation_position().u64PositionInBlocks
            after = rig.board.snapshot(RENDER)
            fetched = after.bytes // form.block_bytes
            rig.expect(blocks <= fetched, "blocks presented", f"at most {fetched} fetched", blocks)
            low, high = before.frames - delay - FRAME_SLACK, after.frames - codec + FRAME_SLACK
            rig.expect_within("blocks presented (frames converted, less the codec's delay)", blocks, low, high)
        rig.note("blocks behind frames fetched", fetched - blocks, "presentation position, SNAP_BYTES")
        moved(rig, RENDER)


@check("WRO-PRS-02")
def blocks_and_time_belong_together(rig: Rig) -> None:
    """Reads pairs over 60 ms: blocks rise with time at the sample rate, within what two brackets leave open."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=96)
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.002)
        host, pairs = HostTime(rig), []
        for _ in range(12):
            found = pin.presentation_position()
            told_s = seconds_of(rig, found.u64QPCPosition)
            pairs.append((found.u64PositionInBlocks, told_s))
            now_s = seconds_of(rig, rig.system.performance_counter())
            rig.expect(told_s <= now_s, "time of the position", "not in the future", told_s - now_s)
            rig.system.sleep(0.005)
        limit = host.error_ns(RENDER, form) * form.sample_rate / 1e9
        moved(rig, RENDER)
    worst = 0.0
    for first in range(len(pairs)):
        for last in range(first + 1, len(pairs)):
            blocks, seconds = pairs[last][0] - pairs[first][0], pairs[last][1] - pairs[first][1]
            off = blocks - seconds * form.sample_rate
            rig.expect_within(f"readings {first} and {last}: blocks less rate times time", off, -limit, limit)
            worst = max(worst, abs(off))
    rig.note("worst pair", f"{worst:.2f} blocks off, of {limit:.2f}", "presentation position, performance counter")


@check("WRO-PRS-03")
def blocks_never_fall(rig: Rig) -> None:
    """Reads the position in RUN, over PAUSE, and behind STOP."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, frames=96)
        for _ in range(2):
            pin.set_state(KSSTATE.PAUSE)
            rig.expect_equal("blocks before RUN", pin.presentation_position().u64PositionInBlocks, 0)
            seen = [0]
            for _ in range(3):
                pin.set_state(KSSTATE.RUN)
                for _ in range(6):
                    seen.append(pin.presentation_position().u64PositionInBlocks)
                rig.system.sleep(0.001)
                pin.set_state(KSSTATE.PAUSE)
                frozen = pin.presentation_position().u64PositionInBlocks
                seen.append(frozen)
                for _ in range(3):
                    rig.system.sleep(0.0005)
                    found = pin.presentation_position().u64PositionInBlocks
                    rig.expect_equal("blocks in PAUSE", found, frozen)
            rig.expect(all(a <= b for a, b in pairwise(seen)), "blocks", "never fewer", seen)
            snapshot: Snapshot = moved(rig, RENDER)
            rig.expect(0 < frozen <= snapshot.frames, "blocks at the end", f"1 to {snapshot.frames}", frozen)
            pin.set_state(KSSTATE.STOP)
            rig.expect_equal("blocks in STOP", pin.presentation_position().u64PositionInBlocks, 0)
        rig.note("blocks", seen, "presentation position")


@check("WRO-PRS-04")
def a_click_leaves_when_it_should(rig: Rig) -> None:
    """Sends a click through the DAC and compares its time at the jack with what the reported pair predicts."""
    click = _click(rig)
    rate = rig.format_of(16).sample_rate
    blocks, told_ns = click.position
    predicted_ns = told_ns + (click.sent_frame - blocks) * 1e9 / rate
    limit = (click.error_ns + 1e9 / rate) / 1e3
    off = (predicted_ns - click.jack_ns) / 1e3
    rig.expect_within("time predicted for the click, less time at the jack", off, -limit, limit, "us")
    rig.note("the click", f"{off:+.1f} us off, of {limit:.0f}", "tap, presentation position")
