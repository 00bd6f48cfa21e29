"""Checks of the rules WRN: buffers with notification, and the events at packet ends."""

from __future__ import annotations

from typing import Any

from codecrig.board import stream_register
from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.wavert_support import (
    CAPTURE,
    RENDER,
    HostTime,
    block_formats,
    clocks_of,
    expect_event,
    frames_in,
    moved,
    not_ready,
    open_pin,
    records,
    status_of,
    wait_bytes,
)
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect
from codecrig.port import WaveRTPin
from codecrig.portcls import IRQL, KSSTATE, NTSTATUS, PAGE_BYTES, KEvent

NAMES = {RENDER: "render", CAPTURE: "capture"}
FIFO_BYTES = 64


def _notification(pin: WaveRTPin) -> Any:
    found = pin._notification
    assert found is not None
    return found


# ------------------------------------------------------------------ buffers


@check("WRN-ALC-01")
def one_or_two_packets(rig: Rig) -> None:
    """Asks for buffers of 0 to 5 packets."""
    pin = open_pin(rig, RENDER, rig.formats[0])
    pages = rig._ports[-1].pages
    free = pages.free_pages
    allocate = _notification(pin).allocate_buffer_with_notification
    for count in (0, 3, 4, 5, 1 << 31):
        rig.expect_status(f"a buffer of {count} packets", NTSTATUS.INVALID_PARAMETER, allocate, count, 4800)
        rig.expect_equal(f"pages free after a request for {count} packets", pages.free_pages, free)
    for count in (1, 2):
        made = allocate(count, 4800)
        _notification(pin).free_buffer_with_notification(made.AudioBufferMdl, made.ActualSize)
        rig.note(f"a buffer of {count} packets", f"{made.ActualSize} bytes", "AllocateBufferWithNotification")


@check("WRN-ALC-02")
def packets_hold_whole_frames(rig: Rig) -> None:
    """Allocates buffers of many sizes, with frames of each size, and some that must be refused."""
    made_count = 0
    for form in block_formats(rig):
        pin = open_pin(rig, CAPTURE, form)
        stream, pages = _notification(pin), rig._ports[-1].pages
        free, block = pages.free_pages, form.block_bytes
        for count in (1, 2):
            for size in (block + 1, 3 * block, 4097, 20_001):
                made = stream.allocate_buffer_with_notification(count, size)
                what = f"{size} bytes in {count} packets of {form.describe()}"
                rig.expect(made.ActualSize >= size, f"{what}: ActualSize", f"at least {size}", made.ActualSize)
                rest = made.ActualSize % (count * block)
                rig.expect_equal(f"{what}: ActualSize modulo {count * block}", rest, 0)
                held = pin._port_stream.get_physical_pages_count(made.AudioBufferMdl) * PAGE_BYTES
                rig.expect(held >= made.OffsetFromFirstPage + made.ActualSize, f"{what}: pages", made.ActualSize, held)
                stream.free_buffer_with_notification(made.AudioBufferMdl, made.ActualSize)
                made_count += 1
            memory = rig.system.memory.length
            for size, status in (
                (0, NTSTATUS.UNSUCCESSFUL),
                (block - 1, NTSTATUS.UNSUCCESSFUL),
                (memory + 1, NTSTATUS.INSUFFICIENT_RESOURCES),
            ):
                if size == 0 or block > 1:
                    what = f"{size} bytes in {count} packets"
                    rig.expect_status(what, status, stream.allocate_buffer_with_notification, count, size)
            with not_ready(rig.board):
                rig.expect_status(
                    "a board that is not ready", NTSTATUS.DEVICE_NOT_READY,
                    stream.allocate_buffer_with_notification, count, 4800,
                )  # fmt: skip
            rig.expect_equal("pages free at the end", pages.free_pages, free)
        pin.close()
    rig.note("buffers looked at", made_count, "AllocateBufferWithNotification")


@check("WRN-FRE-01")
def free_disarms_the_packet_ends(rig: Rig) -> None:
    """Frees a buffer with notification after a run, and runs on without: no packets, no interrupts, no events."""
    form = rig.format_of(16)
    for number in (RENDER, CAPTURE):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form)
            stream, pages = _notification(pin), rig._ports[-1].pages
            free = pages.free_pages
            made = stream.allocate_buffer_with_notification(2, 96 * form.block_bytes)
            event, ends = KEvent("kept"), records(rig, number)
            stream.register_notification_event(event)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.004)
            pin.set_state(KSSTATE.STOP)
            rig.expect(event.set_count > 0, "settings of the event in the run", "some", event.set_count)
            stream.free_buffer_with_notification(made.AudioBufferMdl, made.ActualSize)
            rig.expect_equal("pages free afterwards", pages.free_pages, free)
            for method in _packet_methods(pin):
                rig.expect_equal("packet methods behind the free call", status_of(*method), "NOT_SUPPORTED")
            enabled = rig.board.read_register(stream_register(number, regs.STREAM_EVENT_ENABLE))
            rig.expect_equal("interrupt at packet ends", enabled >> Cause.DESCRIPTOR & 1, 0)
            before, told = event.set_count, len(ends)
            plain = stream.allocate_audio_buffer(96 * form.block_bytes)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.004)
            moved(rig, number)
            pin.set_state(KSSTATE.STOP)
            rig.expect_equal("settings of the event in a plain buffer", event.set_count - before, 0)
            rig.expect_equal("interrupts in a plain buffer", len(ends) - told, 0)
            stream.free_audio_buffer(plain.AudioBufferMdl, plain.ActualSize)
            stream.unregister_notification_event(event)
            rig.note(f"{NAMES[number]}: events before and after", f"{before} and 0", "KEvent, event records")
            pin.close()


def _packet_methods(pin: WaveRTPin) -> list[tuple[Any, ...]]:
    if pin._input is not None:
        return [(pin._input.get_read_packet,)]
    output = pin._output
    assert output is not None
    return [
        (output.get_packet_count,), (output.set_write_packet, 0, 0, 0),
        (output.get_output_stream_presentation_position,),
    ]  # fmt: skip


# ------------------------------------------------------------------ registration


@check("WRN-REG-01")
def every_event_is_set_once_at_each_packet_end(rig: Rig) -> None:
    """Registers two events and counts how often each was set, with one packet and with two in the buffer."""
    form = rig.format_of(16)
    for number in (RENDER, CAPTURE):
        for packets in (1, 2):
            with rig.converter(InputSelect.LOOPBACK):
                pin = open_pin(rig, number, form, frames=96, packets=packets)
                other, ends = KEvent("other"), records(rig, number)
                pin.register_event(other)
                pin.set_state(KSSTATE.RUN)
                rig.system.sleep(0.0095)
                pin.set_state(KSSTATE.PAUSE)
                snapshot = moved(rig, number)
                crossed = snapshot.bytes // pin.packet_bytes
                what = f"{NAMES[number]}, {packets} in the buffer"
                rig.expect(crossed >= 3, f"{what}: packet ends crossed", "at least 3", crossed)
                for event in (pin.event, other):
                    rig.expect_equal(f"{what}: settings of event {event.name}", event.set_count, crossed)
                places = {record.data2 % pin.packet_bytes for record in ends}
                rig.expect_equal(f"{what}: bytes moved at the ends, modulo a packet", places, {0})
                rig.note(what, f"{crossed} ends, each event set as often", "SNAP_BYTES, KEvent")
                pin.close()


@check("WRN-REG-02")
def an_event_is_registered_once(rig: Rig) -> None:
    """Registers an event twice, unregisters it once, and looks whether it is still there."""
    pin = open_pin(rig, RENDER, rig.formats[0], frames=96)
    stream, event = _notification(pin), KEvent("twice")
    stream.register_notification_event(event)
    rig.expect_status("second registration", NTSTATUS.UNSUCCESSFUL, stream.register_notification_event, event)
    stream.unregister_notification_event(event)
    status = status_of(stream.unregister_notification_event, event)
    rig.expect(status != "SUCCESS", "second removal", "a failure: it was registered once", status)
    rig.note("second removal", status, "UnregisterNotificationEvent")


@check("WRN-REG-03")
def the_port_registers_only_with_a_buffer(rig: Rig) -> None:
    """Asks the port to register events too early, then in time, and closes the pin: looks at what was forwarded."""
    form = rig.formats[0]
    for what, options in (("no buffer", {}), ("a plain buffer", {"buffer_frames": 480})):
        pin = open_pin(rig, RENDER, form, **options)
        begin = len(rig.trace.calls)
        status = status_of(pin.register_event, KEvent("early"))
        rig.expect(status != "SUCCESS", f"registration with {what}", "a failure", status)
        told = [call for call in rig.trace.calls[begin:] if call.method == "register_notification_event"]
        rig.expect_equal(f"registrations forwarded with {what}", len(told), 0)
        rig.note(f"registration with {what}", status, "the port's answer")
        pin.close()
    for reached in (KSSTATE.STOP, KSSTATE.RUN):
        pin = open_pin(rig, RENDER, form, frames=480)
        events = [pin.event, KEvent("second"), KEvent("third")]
        for event in events[1:]:
            pin.register_event(event)
        pin.unregister_event(events.pop())
        pin.set_state(reached)
        begin = len(rig.trace.calls)
        pin.close()
        calls = [call for call in rig.trace.calls[begin:] if call.caller == "port"]
        removed = [n for n, call in enumerate(calls) if call.method == "unregister_notification_event"]
        rig.expect_equal(
            f"events unregistered on closing in {reached.name}",
            sorted(calls[n].arguments[0].name for n in removed), sorted(event.name for event in events),
        )  # fmt: skip
        rig.expect(all(calls[n].error is None for n in removed), "unregistering", "success", "a failure")
        stops = [n for n, call in enumerate(calls) if call.method == "set_state"]
        frees = [n for n, call in enumerate(calls) if call.method.startswith("free_")]
        stopped = all(calls[n].arguments[0] is KSSTATE.STOP for n in stops[-1:])
        rig.expect(
            stopped and max(stops, default=-1) < min(removed) and max(removed) < min(frees),
            "order", "STOP, unregister, free", [call.method for call in calls],
        )  # fmt: skip
        rig.note(f"closing in {reached.name}", [call.method for call in calls], "calls")


@check("WRN-UNR-01")
def an_unknown_event_is_not_found(rig: Rig) -> None:
    """Unregisters an event that was never registered, and one that is no longer."""
    stream = _notification(open_pin(rig, CAPTURE, rig.formats[0], frames=96))
    event = KEvent("unknown")
    remove = stream.unregister_notification_event
    rig.expect_status("removal of an event never registered", NTSTATUS.NOT_FOUND, remove, event)
    stream.register_notification_event(event)
    remove(event)
    rig.expect_status("second removal", NTSTATUS.NOT_FOUND, remove, event)


@check("WRN-UNR-02")
def an_unregistered_event_is_never_set(rig: Rig) -> None:
    """Unregisters an event while a packet end waits in the ring, and while its deferred call waits."""
    form = rig.format_of(16)
    frames = 96
    for where in ("in the ring", "in the queue of deferred calls"):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, RENDER, form, frames=frames)
            other = KEvent("other")
            pin.register_event(other)
            pin.set_state(KSSTATE.RUN)
            wait_bytes(rig, RENDER, frames * form.block_bytes)
            before = pin.event.set_count, other.set_count
            if where != "in the ring":
                with rig.system.at(IRQL.DISPATCH):
                    rig.board.poll()
                rig.expect_equal("events set before the deferred call", (pin.event.set_count, other.set_count), before)
            pin.unregister_event(pin.event)
            rig.system.sleep(0.003)
            moved(rig, RENDER)
            rig.expect_equal(f"event set behind its removal, a packet end {where}", pin.event.set_count, before[0])
            rig.expect(other.set_count > before[1], "the other event", "set", f"set {other.set_count} times")
            rig.note(f"a packet end {where}", f"removed event 0, other {other.set_count - before[1]}", "KEvent")
            pin.close()


# ------------------------------------------------------------------ events


@check("WRN-EVT-01")
def no_event_outside_run(rig: Rig) -> None:
    """Waits in STOP, ACQUIRE and PAUSE, on the way up and, with a packet end just crossed, on the way down."""
    form = rig.format_of(16)
    frames = 96
    for number in (RENDER, CAPTURE):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=frames)
            for turn in range(2):
                pin.event.set_count = 0
                for state in (KSSTATE.STOP, KSSTATE.ACQUIRE, KSSTATE.PAUSE):
                    pin.set_state(state)
                    rig.system.sleep(0.0005)
                    rig.expect_equal(f"{NAMES[number]}: events in {state.name} on the way up", pin.event.set_count, 0)
                pin.set_state(KSSTATE.RUN)
                wait_bytes(rig, number, (turn + 1) * frames * form.block_bytes)
                pin.set_state(KSSTATE.PAUSE)
                told = pin.event.set_count
                moved(rig, number)
                for state in (KSSTATE.PAUSE, KSSTATE.ACQUIRE, KSSTATE.STOP):
                    pin.set_state(state)
                    rig.system.sleep(0.0025)
                    more = pin.event.set_count - told
                    rig.expect_equal(f"{NAMES[number]}: events in {state.name} behind RUN", more, 0)
            rig.note(f"{NAMES[number]}: events in RUN and behind it", f"{told} and 0", "KEvent")
            pin.close()


@check("WRN-EVT-02")
def an_event_comes_behind_its_packet_end(rig: Rig) -> None:
    """Wakes at each event and reads count and position: they already lie behind the packet end."""
    form = rig.format_of(16)
    for number in (RENDER, CAPTURE):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=144)
            ends = records(rig, number)
            pin.set_state(KSSTATE.RUN)
            latencies = []
            for turn in range(1, 5):
                expect_event(rig, pin)
                woken = rig.board.clock.now()
                k = pin.event.set_count
                position = pin.position()
                snapshot = rig.board.snapshot(number)
                size, end = pin.buffer.length, k * pin.packet_bytes
                rig.expect(k >= turn, f"{NAMES[number]}: events by wake-up {turn}", f"at least {turn}", k)
                if number == RENDER:
                    rig.expect(pin.packet_count() >= k, f"packets counted at event {k}", f"at least {k}",
                               pin.packet_count())  # fmt: skip
                rig.expect(
                    (position.WriteOffset - end) % size <= snapshot.bytes - end,
                    f"{NAMES[number]}: WriteOffset at event {k}", f"{end % size} to {snapshot.bytes % size}",
                    position.WriteOffset,
                )  # fmt: skip
                rig.expect(len(ends) >= k, "interrupts by then", f"at least {k}", len(ends))
                crossed = ends[k - 1].time_ticks
                rig.expect(crossed <= woken, "time of the packet end", "before the wake-up", woken - crossed)
                latencies.append((woken - crossed) * 1e6 / float(rig.board.clock.rate))
            moved(rig, number)
            text = ", ".join(f"{each:.0f}" for each in latencies)
            rig.note(f"{NAMES[number]}: microseconds from packet end to client", text, "event record, TIME")
            pin.close()


@check("WRN-EVT-03", evidence_seconds=2.0)
def packet_ends_keep_to_the_sample_clock(rig: Rig) -> None:
    """Compares the time of each packet end with k packets since the first frame, in board time and by the host."""
    form = rig.format_of(16)
    frames = 96
    clocks, packet_s = clocks_of(rig, form), frames / form.sample_rate
    for number in (RENDER, CAPTURE):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=frames)
            ends = records(rig, number)
            pin.set_state(KSSTATE.RUN)
            expect_event(rig, pin)
            host = HostTime(rig)
            rig.system.sleep(2.0 if rig.long else 15 * packet_s)
            host.sample()
            snapshot = moved(rig, number)
            error_ns = host.error_ns(number, form)
            pin.set_state(KSSTATE.PAUSE)
            rig.expect(len(ends) >= 12, f"{NAMES[number]}: packet ends", "at least 12", len(ends))
            # A render packet is fetched a FIFO ahead of the converter.
            ahead = FIFO_BYTES / form.block_bytes if number == RENDER else 0
            for k, record in enumerate(ends, 1):
                late = (record.time_ticks - snapshot.start_ticks) / clocks - k * frames
                rig.expect_within(f"{NAMES[number]}: end {k} behind its due time", late, -ahead - 2, 1, "frames")
            first, last = ends[0].time_ticks, ends[-1].time_ticks
            off_ns = host.ns(last) - host.ns(first) - (len(ends) - 1) * packet_s * 1e9
            # 100 ppm for the crystal.
            limit_ms = error_ns / 1e6 + (len(ends) - 1) * packet_s * 0.1
            rig.expect_within(f"{NAMES[number]}: {len(ends)} ends by the host's clock", off_ns / 1e6, -limit_ms,
                              limit_ms, "ms off")  # fmt: skip
            rig.note(f"{NAMES[number]}: {len(ends)} ends", f"{off_ns / 1e3:.0f} us off by the host", "event records")
            pin.close()


@check("WRN-EVT-04")
def a_pause_inside_a_packet_shortens_nothing(rig: Rig) -> None:
    """Pauses inside a packet: the next event comes when the rest of it was moved."""
    form = rig.format_of(16)
    frames = 240
    for number in (RENDER, CAPTURE):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=frames)
            ends = records(rig, number)
            size = pin.packet_bytes
            pin.set_state(KSSTATE.RUN)
            expect_event(rig, pin)
            wait_bytes(rig, number, size + size // 3)
            pin.set_state(KSSTATE.PAUSE)
            done = rig.board.snapshot(number).bytes
            told = pin.event.set_count
            rig.expect(size < done < 2 * size and told == 1, "place of the pause", "inside packet 1", done)
            rig.system.sleep(0.003)
            pin.set_state(KSSTATE.RUN)
            expect_event(rig, pin, "the event behind the pause")
            snapshot = moved(rig, number)
            rig.expect_equal(f"{NAMES[number]}: events by the wake-up", pin.event.set_count, 2)
            rig.expect_equal(f"{NAMES[number]}: bytes moved at that packet end", ends[-1].data2, 2 * size)
            elapsed = frames_in(rig, ends[-1].time_ticks - snapshot.start_ticks, form)
            rest = (2 * size - done) / form.block_bytes
            rig.expect_within(f"{NAMES[number]}: frames from RUN to the event", elapsed, rest - 4, rest + 4, "frames")
            rig.note(f"{NAMES[number]}: {rest:.0f} frames were left", f"event after {elapsed:.1f}", "event record")
            pin.close()


@check("WRN-EVT-05")
def what_was_missed_is_counted(rig: Rig) -> None:
    """Lets four packets go by before anybody looks: one event, and the count of packets is right all the time."""
    form = rig.format_of(16)
    frames = 96
    for number in (RENDER, CAPTURE):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=frames)
            size = pin.packet_bytes
            pin.set_state(KSSTATE.RUN)
            for turn in (1, 2):
                before = wait_bytes(rig, number, 4 * turn * size)
                found = _packets(pin)
                after = rig.board.snapshot(number)
                low, high = before.bytes // size, after.bytes // size
                rig.expect_within(f"{NAMES[number]}: packets, with the interrupts still to come", found, low, high)
                expect_event(rig, pin)
                rig.expect_equal(f"{NAMES[number]}: a second event behind the first", pin.event.read_state(), False)
                rig.note(f"{NAMES[number]}: packets by then", f"{found}, one event", "GetPacketCount, GetReadPacket")
            pin.set_state(KSSTATE.PAUSE)
            pin.close()


def _packets(pin: WaveRTPin) -> int:
    """Packets moved, as the stream itself says."""
    if pin._input is not None:
        return pin._input.get_read_packet().PacketNumber + 1
    return pin.packet_count()
