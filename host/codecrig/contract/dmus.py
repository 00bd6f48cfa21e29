"""Checks of the rules MXF, ALC, SSK and DMU: DirectMusic streams, the pool of events, synthesizers, clocks.

Bytes are seen at the MIDI pin of the bench. Streams are mostly opened without a pin of the port, over an allocator that
keeps a record, so that what the miniport does with each event is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from codecrig.contract.checks import check
from codecrig.contract.dmus_doubles import (
    BUFFER_BYTES,
    BYTE_S,
    DirectStream,
    RecordingSink,
    Script,
    ScriptedPort,
    midi_bit,
    wire,
)
from codecrig.contract.rig import Rig
from codecrig.contract.wavert_support import need
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect
from codecrig.portcls import (
    DMUS_KEF_EVENT_INCOMPLETE,
    DMUS_KERNEL_EVENT,
    DMUS_KERNEL_EVENT_BYTES,
    DMUS_STREAM_TYPE,
    IRQL,
    KSSTATE,
    NTSTATUS,
    POINTER_BYTES,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IMasterClock,
    ISynthSinkDMus,
    NtStatusError,
)

SOURCE = "MIDI pin"
RENDER, CAPTURE, WAVE_SINK = DMUS_STREAM_TYPE.RENDER, DMUS_STREAM_TYPE.CAPTURE, DMUS_STREAM_TYPE.WAVE_SINK
MS = REFERENCE_TIME_PER_SECOND // 1000
SYNC_S = 0.02
"""How often a wave sink synchronises."""
POOL_LIMIT = 100_000
"""A pool that gives more events than this is taken to be without end."""


def control(value: int) -> bytes:
    """A message that leaves no note behind."""
    return bytes([0xB0, 7, value & 0x7F])


def sysex(length: int) -> bytes:
    """A SysEx of `length` bytes in all."""
    return b"\xf0" + bytes(n & 0x7F for n in range(length - 2)) + b"\xf7"


def render_stream(rig: Rig) -> DirectStream:
    """A render stream in STOP, with the wire empty."""
    rig.need_bench("midi")
    stream = DirectStream(rig, RENDER)
    wire(rig)
    return stream


def capture_stream(rig: Rig) -> DirectStream:
    """A capture stream in STOP, connected to its recording sink."""
    rig.need_bench("midi")
    stream = DirectStream(rig, CAPTURE)
    stream.stream.connect_output(stream.sink)
    return stream


def balanced(rig: Rig, stream: DirectStream, when: str) -> None:
    """Every event came back once."""
    allocator = stream.allocator
    rig.expect_equal(f"{when}: events that never came back", allocator.missing, 0)
    rig.expect_equal(f"{when}: events that came back more than once", allocator.doubled, 0)
    rig.note(f"{when}: events", f"{len(allocator.events)} out, {len(allocator.put)} back", "calls of the allocator")


# ---------------------------------------------------------------------- states


@check("MXF-STA-01")
def bytes_leave_in_run_only(rig: Rig) -> None:
    """Puts events in ACQUIRE, PAUSE, RUN and PAUSE again, and looks at the pin behind each."""
    stream = render_stream(rig)
    expected = b""
    for number, state in enumerate((KSSTATE.ACQUIRE, KSSTATE.PAUSE)):
        stream.go(state)
        stream.send(control(number))
        expected += control(number)
        rig.system.sleep(5 * BYTE_S)
        rig.expect_equal(f"bytes on the wire in {state.name}", wire(rig), b"")
    stream.go(KSSTATE.RUN)
    stream.send(control(2))
    rig.system.sleep(12 * BYTE_S)
    sent = wire(rig)
    rig.expect_equal("bytes on the wire in RUN", sent, expected + control(2))
    stream.send(control(3), ahead=40 * MS)
    stream.go(KSSTATE.PAUSE)
    stream.send(control(4))
    rig.system.sleep(0.045)
    rig.expect_equal("bytes on the wire in the second PAUSE", wire(rig), b"")
    stream.go(KSSTATE.RUN)
    rig.system.sleep(10 * BYTE_S)
    last = wire(rig)
    rig.expect_equal("bytes on the wire in the second RUN", last, control(3) + control(4))
    rig.moved(len(sent) + len(last), SOURCE)


@check("MXF-STA-02")
def stop_gives_events_back(rig: Rig) -> None:
    """Puts events in STOP, and holds some in PAUSE before STOP: all are back at once, and none is sent."""
    stream = render_stream(rig)
    stream.send(control(1), sysex(20))
    balanced(rig, stream, "events put in STOP")
    stream.go(KSSTATE.PAUSE)
    held = stream.send(control(2), sysex(30))
    stream.put(stream.allocator.make_package(stream.allocator.make(control(3), 0), 3))
    rig.expect(
        any(id(each) not in stream.allocator.returned for each in held), "events put in PAUSE", "held", "given back"
    )
    stream.go(KSSTATE.STOP)
    balanced(rig, stream, "events held when STOP came")
    stream.go(KSSTATE.RUN)
    rig.system.sleep(20 * BYTE_S)
    rig.expect_equal("bytes on the wire, in the next RUN", wire(rig), b"")


@check("MXF-STA-03")
def capture_emits_in_run(rig: Rig) -> None:
    """Lets bytes arrive in every state, on the way up and down: only those of RUN, or of PAUSE, are ever emitted."""
    stream = capture_stream(rig)
    arrived: dict[KSSTATE, bytes] = {state: b"" for state in KSSTATE}
    ladder = (KSSTATE.STOP, KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.ACQUIRE, KSSTATE.RUN,
              KSSTATE.STOP, KSSTATE.RUN)  # fmt: skip
    allowed = b""
    for number, state in enumerate(ladder):
        stream.go(state)
        data = bytes([0x10 + number, 0x30 + number])
        stream.arrive(data)
        arrived[state] += data
        if state is KSSTATE.RUN:
            rig.expect(
                stream.sink.data[-2:] == data, f"bytes emitted in RUN ({data.hex(' ')})", data.hex(" "),
                stream.sink.data.hex(" "),
            )  # fmt: skip
        if state in (KSSTATE.RUN, KSSTATE.PAUSE):
            allowed += data
    emitted = stream.sink.data
    rig.note("bytes emitted", emitted.hex(" "), "PutMessage of the sink")
    rig.moved(len(emitted), SOURCE)
    wrong = [value for value in emitted if value not in allowed]
    rig.expect_equal("bytes emitted that arrived in STOP or ACQUIRE", bytes(wrong), b"")
    runs = bytes(value for value in emitted if value in arrived[KSSTATE.RUN])
    rig.expect_equal("bytes of RUN", runs, arrived[KSSTATE.RUN])


# ---------------------------------------------------------------------- events


@check("MXF-PUT-01")
def events_are_conserved(rig: Rig) -> None:
    """Puts events in every state, onto a dead unit, before STOP and before release, and counts what comes back."""
    stream = render_stream(rig)
    stream.go(KSSTATE.RUN)
    stream.send(control(1), sysex(40), control(2))
    stream.put(*(stream.allocator.make(control(n), 0) for n in range(5)))
    rig.system.sleep(80 * BYTE_S)
    sent = wire(rig)
    rig.expect_equal("bytes on the wire", len(sent), 3 + 40 + 3 + 15)
    balanced(rig, stream, "events sent")
    with midi_bit(rig, regs.MIDI_CONTROL_DEAD_LSB):
        try:
            stream.send(*(control(n) for n in range(60)))
            rig.system.sleep(0.01)
        except NtStatusError as error:
            rig.note("PutMessage on a dead unit", error.status, "PutMessage")
        stream.go(KSSTATE.STOP)
        balanced(rig, stream, "events on a dead unit, and STOP")
    stream.close()
    again = render_stream_again(rig, stream)
    again.go(KSSTATE.PAUSE)
    again.send(control(1), sysex(40))
    again.drop()
    balanced(rig, again, "events held when the stream was released")


def render_stream_again(rig: Rig, stream: DirectStream) -> DirectStream:
    """Another render stream of the same miniport."""
    return DirectStream(rig, RENDER, port=stream.port)


@check("MXF-PUT-02")
def order_is_that_of_the_calls(rig: Rig) -> None:
    """Puts events one by one and as a chain, their time stamps falling, and reads the wire."""
    stream = render_stream(rig)
    stream.go(KSSTATE.RUN)
    now = stream.clock.get_time()
    times = [now + 12 * MS, now + 9 * MS, now + 3 * MS, 0]
    for number, time in enumerate(times):
        stream.put(stream.allocator.make(control(number), time))
    stream.put(*(stream.allocator.make(control(10 + number), time) for number, time in enumerate(times)))
    rig.system.sleep(0.012 + 28 * BYTE_S)
    sent = wire(rig)
    rig.moved(len(sent), SOURCE)
    rig.note("bytes on the wire", sent.hex(" "), SOURCE)
    rig.expect_equal("order on the wire", list(sent[2::3]), [0, 1, 2, 3, 10, 11, 12, 13])


@check("MXF-PUT-03")
def both_sides_of_the_pointer_size(rig: Rig) -> None:
    """Puts events of 1 to 12 bytes: inline up to the pointer size, in a buffer above it."""
    stream = render_stream(rig)
    stream.go(KSSTATE.RUN)
    messages = [b"\xf0" + bytes(range(16, 16 + length - 1)) if length > 1 else b"\xf6" for length in range(1, 13)]
    stream.send(*messages)
    # The unused part of the union must not matter: an inline event with all pointer bytes filled.
    long_union = stream.allocator.make(b"\xb0\x07\x55", 0)
    long_union.uData = b"\xb0\x07\x55\x11\x22\x33\x44\x55"
    stream.put(long_union)
    expected = b"".join(messages) + b"\xb0\x07\x55"
    rig.system.sleep((len(expected) + 4) * BYTE_S)
    sent = wire(rig)
    rig.note("bytes on the wire", sent.hex(" "), SOURCE)
    rig.expect_equal("bytes on the wire", sent, expected)
    balanced(rig, stream, "events")


@check("MXF-PUT-04")
def packages_are_taken_apart(rig: Rig) -> None:
    """Puts packages, small and large cbEvent, nested, between other events, free and while the device is busy."""
    stream = render_stream(rig)
    allocator = stream.allocator
    stream.go(KSSTATE.RUN)

    def chain(*values: int) -> DMUS_KERNEL_EVENT:
        events = [allocator.make(control(value), 0) for value in values]
        for event, following in zip(events, events[1:], strict=False):
            event.pNextEvt = following
        return events[0]

    packages = []
    for length in (3, 100):
        package = allocator.make_package(chain(1, 2, 3), length)
        packages.append(package)
        stream.put(allocator.make(control(0), 0), package, allocator.make(control(4), 0))
        stream.put(allocator.make(control(5), 0))
    rig.system.sleep(40 * BYTE_S)
    rig.expect_equal("controllers on the wire", list(wire(rig)[2::3]), [0, 1, 2, 3, 4, 5] * 2)
    with midi_bit(rig, regs.MIDI_CONTROL_STALL_LSB):
        stream.send(sysex(126))
        package = allocator.make_package(chain(1, 2, 3), 3)
        packages.append(package)
        stream.put(package)
        stream.put(allocator.make(control(4), 0))
        rig.system.sleep(0.002)
    rig.system.sleep(150 * BYTE_S)
    rig.expect_equal("controllers behind a busy time", list(wire(rig)[126:][2::3]), [1, 2, 3, 4])
    balanced(rig, stream, "events and packages")
    for each in packages:
        seen = next(one for one in allocator.put if one.event is each)
        rig.expect(not seen.package, "a package when it is recycled", "without its chain", "with its chain")
        rig.expect_equal("cbEvent of a package when it is recycled", seen.length, 0)


@check("MXF-PUT-05")
def an_event_goes_back_alone(rig: Rig) -> None:
    """Holds up a chain in its second event: the first goes back, without a link to those that are still to be sent."""
    stream = render_stream(rig)
    allocator = stream.allocator
    stream.go(KSSTATE.RUN)
    first, long_one, last = (allocator.make(data, 0) for data in (control(1), sysex(300), control(2)))
    with midi_bit(rig, regs.MIDI_CONTROL_STALL_LSB):
        stream.put(first, long_one, last)
        rig.system.sleep(0.002)
        back = [each.event for each in allocator.put]
        rig.expect(
            last not in back and long_one not in back, "events recycled while the second of three is being sent",
            "the first at most", f"{len(back)}",
        )  # fmt: skip
    rig.system.sleep(320 * BYTE_S)
    rig.expect_equal("bytes on the wire", wire(rig), control(1) + sysex(300) + control(2))
    balanced(rig, stream, "events")
    rig.expect_equal("events recycled with a link", sum(1 for each in allocator.put if each.linked), 0)


@check("MXF-PUT-06")
def the_rest_is_retried(rig: Rig) -> None:
    """Sends more than the transmitter holds, into a busy device, and leaves RUN in the middle of a message while it is
    busy; compares the wire byte for byte."""
    stream = render_stream(rig)
    stream.go(KSSTATE.RUN)
    data = [sysex(200), control(1), sysex(90), control(2)]
    with midi_bit(rig, regs.MIDI_CONTROL_STALL_LSB):
        stream.send(*data)
        rig.system.sleep(0.015)
    expected = b"".join(data)
    sent = b""
    for _ in range(4):
        rig.system.sleep((len(expected) // 3) * BYTE_S)
        sent += wire(rig)
    rig.moved(len(sent), SOURCE)
    if sent != expected:
        same = next((n for n, pair in enumerate(zip(sent, expected, strict=False)) if pair[0] != pair[1]), len(sent))
        rig.expect(False, "bytes on the wire", f"{len(expected)} as given", f"{len(sent)}, the same up to {same}")
    messages = [control(n) for n in range(8)]
    stream.put(*(stream.allocator.make(data, 0) for data in messages))
    rig.system.sleep(9.5 * BYTE_S)
    with midi_bit(rig, regs.MIDI_CONTROL_STALL_LSB):
        stream.go(KSSTATE.PAUSE)
    stream.go(KSSTATE.RUN)
    rig.system.sleep(20 * BYTE_S)
    rig.expect_equal("bytes on the wire, RUN left while the device was busy", wire(rig), b"".join(messages))
    balanced(rig, stream, "events")


@check("MXF-PUT-07")
def null_asks_for_input(rig: Rig) -> None:
    """Notifies the groups of a capture and a render stream from an interrupt, and looks at what the port calls."""
    scripted = ScriptedPort(rig)
    capture = scripted.port.open_capture(1)
    scripted.port.open_render(0)
    capture.set_state(KSSTATE.RUN)
    for stream in scripted.streams:
        stream.puts.clear()
        group = stream.group
        rig.system.interrupt(partial(scripted.port.notify, group))
    captured, rendered = (stream.puts for stream in scripted.streams)
    rig.expect_equal("PutMessage(NULL) on the capture stream", [put.data for put in captured], [()])
    rig.expect_equal("context of that call", captured[0].level, IRQL.DISPATCH)
    rig.expect(
        all(not put.data for put in rendered) and len(rendered) <= 1, "PutMessage on the render stream",
        "at most one, with NULL", [put.data for put in rendered],
    )  # fmt: skip
    rig.note("PutMessage(NULL)", f"{captured[0].level.words}, {len(rendered)} on render", "PutMessage")
    own = DirectStream(rig, RENDER)
    own.go(KSSTATE.RUN)
    own.service()
    rig.expect_equal("events that a render stream made of NULL", len(own.allocator.put), 0)


@check("MXF-PUT-08")
def raw_bytes_carry_their_time(rig: Rig) -> None:
    """Lets bursts of bytes arrive at known board times, one unserved for a while, and looks at every event."""
    stream = capture_stream(rig)
    stream.go(KSSTATE.RUN)
    bursts = (bytes(range(0x20, 0x34)), b"\x90\x3c\x40\xf8\x3d\x40\xf0\x01\x02\xf7")
    starts = []
    for data in bursts:
        starts.append(stream.clock.get_time())
        stream.arrive(data)
    ends = stream.clock.get_time()
    seen = stream.sink.seen
    rig.expect_equal("bytes in events", stream.sink.data, b"".join(bursts))
    rig.moved(len(stream.sink.data), SOURCE)
    before, offset = 0, 0
    for each in tuple(seen):
        what = f"event at byte {offset}"
        rig.expect_equal(f"{what}: flags", each.flags, DMUS_KEF_EVENT_INCOMPLETE)
        rig.expect(each.length <= POINTER_BYTES and each.inline, f"{what}: data", "inline", f"{each.length} bytes")
        rig.expect(each.channel_group >= 1, f"{what}: channel group", "from 1 on", each.channel_group)
        rig.expect(each.time >= before, f"{what}: time stamp", f"not before {before}", each.time)
        rig.expect(each.time <= each.at, f"{what}: time stamp", f"not behind its delivery at {each.at}", each.time)
        burst = 0 if offset < len(bursts[0]) else 1
        byte = offset - burst * len(bursts[0])
        begin = starts[burst] + int(byte * BYTE_S * REFERENCE_TIME_PER_SECOND)
        limit = ends if burst else starts[1]
        rig.expect_within(f"{what}: time stamp", each.time / MS, begin / MS - 0.001, limit / MS, "ms")
        before, offset = each.time, offset + each.length
    stream.deaf = True
    stream.arrive(b"\x21\x22\x23")
    arrived = stream.clock.get_time()
    rig.system.sleep(0.01)
    stream.deaf = False
    with rig.system.at(IRQL.DISPATCH):
        stream.service()
    late = seen[-1]
    rig.expect(late.time >= before, "time stamp of bytes that waited", f"not before {before}", late.time)
    rig.expect(late.time <= arrived, "time stamp of bytes that waited", f"that of their coming, {arrived}", late.time)
    rig.note("events", f"{len(seen)}, the last at {late.time / MS:.3f} ms", "PutMessage of the sink")


# ---------------------------------------------------------------------- connections


@check("MXF-CON-01")
def output_goes_where_it_is_connected(rig: Rig) -> None:
    """Lets bytes arrive before and after ConnectOutput, and looks at sink and allocator."""
    rig.need_bench("midi")
    stream = DirectStream(rig, CAPTURE)
    stream.go(KSSTATE.RUN)
    stream.arrive(b"\x11\x12")
    rig.expect_equal("bytes at the sink before it is connected", stream.sink.data, b"")
    balanced(rig, stream, "without a connection")
    rig.expect_equal(
        "bytes that came to the allocator", b"".join(each.data for each in stream.allocator.put), b"\x11\x12"
    )
    stream.stream.connect_output(stream.sink)
    stream.arrive(b"\x13\x14")
    rig.expect_equal("bytes at the sink", stream.sink.data, b"\x13\x14")
    balanced(rig, stream, "connected")


@check("MXF-CON-02")
def a_second_connection_is_refused(rig: Rig) -> None:
    """Connects NULL and a second sink: both are refused, and the first sink goes on."""
    stream = capture_stream(rig)
    other = RecordingSink(stream.allocator, stream.clock)
    stream.go(KSSTATE.RUN)
    for what, sink in (("NULL", None), ("another sink", other)):
        rig.expect_status(f"ConnectOutput({what})", NTSTATUS.UNSUCCESSFUL, stream.stream.connect_output, sink)
    stream.arrive(b"\x15\x16")
    rig.expect_equal("bytes at the other sink", other.data, b"")
    rig.expect_equal("bytes at the first sink", stream.sink.data, b"\x15\x16")
    rig.note("bytes at the first and the other sink", "2 and 0", "PutMessage of the sinks")


@check("MXF-CON-03")
def render_has_nothing_to_connect(rig: Rig) -> None:
    """Connects and disconnects a render stream: whatever it answers, events go to the wire and to the allocator."""
    stream = render_stream(rig)
    stream.go(KSSTATE.RUN)
    for name, call in (("ConnectOutput", stream.stream.connect_output),
                       ("DisconnectOutput", stream.stream.disconnect_output)):  # fmt: skip
        try:
            status = call(stream.sink)
        except NtStatusError as error:
            status = error.status
        rig.note(f"{name} of a render stream", status, name)
        stream.send(control(1), sysex(12))
        rig.system.sleep(20 * BYTE_S)
        rig.expect_equal(f"bytes on the wire after {name}", wire(rig), control(1) + sysex(12))
        rig.expect_equal(f"events at the sink after {name}", len(stream.sink.seen), 0)
        balanced(rig, stream, f"after {name}")


@check("MXF-DIS-01")
def disconnected_output_goes_to_the_allocator(rig: Rig) -> None:
    """Disconnects a foreign sink, the right one, NULL, and connects again, with bytes in between."""
    stream = capture_stream(rig)
    other = RecordingSink(stream.allocator, stream.clock)
    stream.go(KSSTATE.RUN)
    rig.expect_status("DisconnectOutput(foreign)", NTSTATUS.UNSUCCESSFUL, stream.stream.disconnect_output, other)
    stream.arrive(b"\x21")
    rig.expect_equal("bytes at the sink", stream.sink.data, b"\x21")
    for number, name in enumerate((stream.sink, None)):
        what = "NULL" if name is None else "the sink"
        stream.stream.disconnect_output(name)
        stream.sink.seen.clear()
        stream.allocator.put.clear()
        stream.arrive(bytes([0x30 + number]))
        rig.expect_equal(f"bytes at the sink after DisconnectOutput({what})", stream.sink.data, b"")
        rig.expect_equal(
            f"bytes at the allocator after DisconnectOutput({what})",
            b"".join(each.data for each in stream.allocator.put), bytes([0x30 + number]),
        )  # fmt: skip
        stream.stream.connect_output(stream.sink)
        stream.arrive(bytes([0x40 + number]))
        rig.expect_equal("bytes at the sink, connected again", stream.sink.data, bytes([0x40 + number]))
    balanced(rig, stream, "events")


# ---------------------------------------------------------------------- allocator


def _fields(event: DMUS_KERNEL_EVENT) -> list[str]:
    """Fields that are not zero as GetMessage has to deliver them."""
    wrong = [
        name
        for name in ("cbEvent", "usChannelGroup", "usFlags", "ullPresTime100ns", "ullBytePosition", "pNextEvt")
        if getattr(event, name)
    ]
    if event.uData is not None and (isinstance(event.uData, DMUS_KERNEL_EVENT) or any(event.uData)):
        wrong.append("uData")
    return wrong + ([] if event.cbStruct in (0, DMUS_KERNEL_EVENT_BYTES) else ["cbStruct"])


def _all_events(rig: Rig, allocator: Any) -> list[DMUS_KERNEL_EVENT]:
    """Everything that the pool gives."""
    taken: list[DMUS_KERNEL_EVENT] = []
    while len(taken) < POOL_LIMIT:
        try:
            event = allocator.get_message()
        except NtStatusError as error:
            rig.expect_equal("status of an empty pool", error.status, NTSTATUS.INSUFFICIENT_RESOURCES)
            return taken
        rig.expect(event is not None, "GetMessage", "an event or a failure", "success and NULL")
        taken.append(event)
    rig.note("pool", f"gave {POOL_LIMIT} events without an end", "GetMessage")
    return taken


@check("ALC-MSG-01")
def events_come_empty(rig: Rig) -> None:
    """Takes events, in passive and deferred context, dirties them, puts them back, and takes them again."""
    allocator = rig.port("dmus").allocator
    for level in (IRQL.PASSIVE, IRQL.DISPATCH, IRQL.DISPATCH):
        with rig.system.at(level):
            events = [allocator.get_message() for _ in range(64)]
            rig.expect_equal(f"distinct events of 64, {level.words}", len({id(each) for each in events}), 64)
            for event in events:
                rig.expect_equal(f"fields of an event that are not zero, {level.words}", _fields(event), [])
            for event in events:
                event.cbEvent, event.usChannelGroup, event.usFlags = 3, 2, 1
                event.ullPresTime100ns, event.ullBytePosition, event.uData = 99, 5, b"\x90\x3c\x40"
            for event in reversed(events):
                allocator.put_message(event)
    rig.note("events", "64 at a time, all fields zero", "GetMessage")


@check("ALC-MSG-02")
def an_empty_pool_says_so(rig: Rig) -> None:
    """Takes an event as soon as a stream exists, then all there are, and one more behind a return."""
    port = rig.port("dmus")
    with port.open_render(0):
        events = _all_events(rig, port.allocator)
        rig.expect(len(events) > 0, "events of a new stream's pool", "at least 1", len(events))
        rig.expect_equal("distinct events", len({id(each) for each in events}), len(events))
        port.allocator.put_message(events.pop())
        events.append(port.allocator.get_message())
        for event in events:
            port.allocator.put_message(event)
    rig.note("events that the pool gave", len(events), "GetMessage")


@check("ALC-MSG-03")
def bytes_wait_for_events(rig: Rig) -> None:
    """Lets bytes arrive while the pool is empty, fills the pool, and asks again: nothing is lost."""
    stream = capture_stream(rig)
    stream.go(KSSTATE.RUN)
    stream.allocator.is_empty = True
    stream.arrive(b"\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a")
    rig.expect_equal("bytes emitted without events", stream.sink.data, b"")
    stream.allocator.is_empty = False
    with rig.system.at(IRQL.DISPATCH):
        stream.service()
    stream.arrive(b"\x2b")
    rig.expect_equal("bytes emitted afterwards", stream.sink.data, bytes(range(0x21, 0x2C)))
    rig.moved(len(stream.sink.data), SOURCE)
    balanced(rig, stream, "events")


@check("ALC-SIZ-01")
def the_buffer_size_never_changes(rig: Rig) -> None:
    """Asks for the size in every context, with streams open, with an empty pool."""
    port = rig.port("dmus")
    allocator = port.allocator
    sizes = [allocator.get_buffer_size()]
    with port.open_render(0):
        for level in IRQL:
            with rig.system.at(level):
                sizes.append(allocator.get_buffer_size())
        events = _all_events(rig, allocator)
        sizes.append(allocator.get_buffer_size())
        for event in events:
            allocator.put_message(event)
    sizes.append(allocator.get_buffer_size())
    rig.expect_equal("different sizes", len(set(sizes)), 1)
    rig.expect_within("size of a buffer", sizes[0], 16, 65_535, "bytes")
    rig.note("GetBufferSize", sizes[0], "GetBufferSize")


@check("ALC-BUF-01")
def buffers_are_large_and_distinct(rig: Rig) -> None:
    """Takes buffers until there are none, writes the whole of each, and looks whether any was disturbed."""
    allocator = rig.port("dmus").allocator
    size = allocator.get_buffer_size()
    buffers: list[Any] = []
    while len(buffers) < 300:
        try:
            buffers.append(allocator.get_buffer())
        except NtStatusError as error:
            rig.expect_equal("status without buffers", error.status, NTSTATUS.INSUFFICIENT_RESOURCES)
            break
    rig.expect(len(buffers) > 0, "buffers of the pool", "at least 1", len(buffers))
    for number, buffer in enumerate(buffers):
        rig.expect(len(buffer) >= size, "length of a buffer", f"at least {size}", len(buffer))
        buffer[:size] = bytes([number & 0xFF]) * size
    for number, buffer in enumerate(buffers):
        rig.expect_equal("bytes of a buffer behind writing the others", buffer[0], number & 0xFF)
    rig.expect_equal("distinct buffers", len({id(each) for each in buffers}), len(buffers))
    for buffer in buffers:
        allocator.put_buffer(buffer)
    rig.note("buffers", f"{len(buffers)} of {size} bytes", "GetBuffer")


@check("ALC-BUF-02")
def buffers_are_for_long_data(rig: Rig) -> None:
    """Lets a long burst arrive and compares the events with the buffers that the miniport asked for."""
    stream = capture_stream(rig)
    stream.go(KSSTATE.RUN)
    data = bytes(n & 0x7F for n in range(60))
    stream.arrive(data)
    rig.expect_equal("bytes in events", stream.sink.data, data)
    long_events = [each for each in stream.sink.seen if each.length > POINTER_BYTES]
    rig.expect_equal("buffers asked for", len(stream.allocator.buffers), len(long_events))
    for each in stream.sink.seen:
        rig.expect(each.length <= BUFFER_BYTES, "cbEvent", f"at most {BUFFER_BYTES}", each.length)
        rig.expect_equal("an event holds its data inline", each.inline, each.length <= POINTER_BYTES)
        rig.expect_equal("bytes written and cbEvent", len(each.data), each.length)
    rig.note("events", f"{len(stream.sink.seen)}, {len(long_events)} with a buffer", "PutMessage of the sink")


def _outstanding(rig: Rig, allocator: Any, when: str, events: int, buffers: int) -> None:
    rig.expect_equal(f"{when}: events outstanding", allocator.outstanding_events, events)
    rig.expect_equal(f"{when}: buffers outstanding", allocator.outstanding_buffers, buffers)
    rig.note(when, f"{events} events, {buffers} buffers outstanding", "allocator")


def _long_event(allocator: Any, length: int) -> DMUS_KERNEL_EVENT:
    event: DMUS_KERNEL_EVENT = allocator.get_message()
    event.cbEvent = length
    event.uData = allocator.get_buffer() if length > POINTER_BYTES else bytes(length)
    return event


@check("ALC-PUT-01")
def a_buffer_goes_back_with_its_event(rig: Rig) -> None:
    """Puts back events of 8, 9 and many bytes, and a package whose cbEvent is large."""
    allocator = rig.port("dmus").allocator
    for length in (1, POINTER_BYTES, POINTER_BYTES + 1, allocator.get_buffer_size()):
        event = _long_event(allocator, length)
        _outstanding(rig, allocator, f"an event of {length} bytes", 1, int(length > POINTER_BYTES))
        with rig.system.at(IRQL.DISPATCH):
            allocator.put_message(event)
        _outstanding(rig, allocator, f"an event of {length} bytes put back", 0, 0)
    package = allocator.get_message()
    package.cbEvent, package.usFlags, package.uData = 100, 2, _long_event(allocator, 3)
    allocator.put_message(package)
    _outstanding(rig, allocator, "a package with cbEvent 100 put back", 0, 0)


@check("ALC-PUT-02")
def a_chain_goes_back_whole(rig: Rig) -> None:
    """Puts back chains, packages, and packages in chains in packages, with and without buffers."""
    allocator = rig.port("dmus").allocator

    def chain(*events: DMUS_KERNEL_EVENT) -> DMUS_KERNEL_EVENT:
        for event, following in zip(events, events[1:], strict=False):
            event.pNextEvt = following
        return events[0]

    def package(inner: DMUS_KERNEL_EVENT) -> DMUS_KERNEL_EVENT:
        event: DMUS_KERNEL_EVENT = allocator.get_message()
        event.usFlags, event.uData = 2, inner
        return event

    allocator.put_message(chain(*(_long_event(allocator, length) for length in (3, 20, 8, 9))))
    _outstanding(rig, allocator, "a chain of 4 put back", 0, 0)
    inner = chain(_long_event(allocator, 20), package(chain(_long_event(allocator, 3), _long_event(allocator, 30))))
    allocator.put_message(chain(_long_event(allocator, 3), package(inner), _long_event(allocator, 12)))
    _outstanding(rig, allocator, "nested packages put back", 0, 0)
    port = rig.port("dmus")
    with port.open_render(0) as pin:
        for number in range(20):
            pin.submit(number, sysex(3 + number))
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.03)
        pin.set_state(KSSTATE.STOP)
    _outstanding(rig, port.allocator, "a stream used and closed", 0, 0)


@check("ALC-PUT-03")
def a_buffer_can_go_back_alone(rig: Rig) -> None:
    """Takes and returns a buffer more often than there are buffers."""
    allocator = rig.port("dmus").allocator
    for _ in range(400):
        allocator.put_buffer(allocator.get_buffer())
    _outstanding(rig, allocator, "400 buffers taken and returned", 0, 0)


@check("ALC-MXF-01")
def the_allocator_ends_every_chain(rig: Rig) -> None:
    """Calls the inherited methods of the allocator with events outstanding: the pool does not change."""
    allocator = rig.port("dmus").allocator
    event = _long_event(allocator, 20)
    calls: list[tuple[str, Callable[[], Any]]] = [
        *((f"SetState({state.name})", partial(allocator.set_state, state)) for state in KSSTATE),
        ("ConnectOutput", partial(allocator.connect_output, allocator)),
        ("DisconnectOutput", partial(allocator.disconnect_output, None)),
    ]
    for name, call in calls:
        try:
            status = call()
        except NtStatusError as error:
            status = error.status
        rig.expect(
            status in (NTSTATUS.SUCCESS, NTSTATUS.NOT_IMPLEMENTED), name, "SUCCESS or NOT_IMPLEMENTED", status.name
        )
        _outstanding(rig, allocator, f"behind {name}", 1, 1)
    allocator.put_message(event)
    _outstanding(rig, allocator, "put back", 0, 0)


# ---------------------------------------------------------------------- synthesizer


FORMAT = Format(48_000, 2, 16)
DRUM = b"\x99\x28\x7f"
"""A sound that begins with its first sample."""


def synth_stream(rig: Rig, clock: IMasterClock | None = None) -> DirectStream:
    """A wave sink stream in RUN, synchronised."""
    stream = DirectStream(rig, WAVE_SINK, FORMAT, clock=clock)
    stream.go(KSSTATE.RUN)
    stream.stream.sync_to_master(stream.clock.get_time(), True)
    return stream


def restart(stream: DirectStream) -> None:
    """Through STOP to RUN again, with sample 0 now."""
    stream.go(KSSTATE.STOP)
    stream.go(KSSTATE.RUN)
    stream.stream.sync_to_master(stream.clock.get_time(), True)


def play(stream: DirectStream, notes: dict[int, bytes]) -> None:
    """Put one event for each note, stamped with the reference time of its sample."""
    for sample, data in notes.items():
        stream.put(stream.allocator.make(data, stream.stream.sample_to_ref_time(sample)))


def pull(stream: DirectStream, first: int, *windows: int) -> np.ndarray:
    """Render windows that touch, in frames; left and right of every frame."""
    parts = []
    for frames in windows:
        buffer = bytearray(frames * FORMAT.block_bytes)
        stream.stream.render(buffer, len(buffer), first * FORMAT.block_bytes)
        parts.append(np.frombuffer(bytes(buffer[: frames * FORMAT.block_bytes]), "<i2").reshape(-1, 2))
        first += frames
    return np.concatenate(parts)


def onset(sound: np.ndarray) -> int:
    """First frame that is not silent; the length if there is none."""
    loud = np.flatnonzero(sound.any(axis=1))
    return int(loud[0]) if len(loud) else len(sound)


@check("SSK-QIF-01")
def a_wave_sink_stream_is_a_synth_sink(rig: Rig) -> None:
    """Asks the stream for ISynthSinkDMus, and uses inherited and own methods through the answer."""
    stream = DirectStream(rig, WAVE_SINK, FORMAT)
    before = stream.real.reference_count
    synth = stream.stream.query_interface(ISynthSinkDMus)
    rig.expect_equal("references taken by QueryInterface", stream.real.reference_count, before + 1)
    for state in (KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN):
        synth.set_state(state)
    stream.state = KSSTATE.RUN
    synth.sync_to_master(stream.clock.get_time(), True)
    with rig.system.at(IRQL.DISPATCH):
        synth.put_message(stream.allocator.make(DRUM, synth.sample_to_ref_time(10)))
    balanced(rig, stream, "event put through ISynthSinkDMus")
    rig.expect_within("first sound", onset(pull(stream, 0, 480)), 9, 11, "frames")
    synth.release()
    rig.note("ISynthSinkDMus", "answered; inherited methods work", "query_interface")


@check("SSK-RND-01")
def windows_do_not_change_the_sound(rig: Rig) -> None:
    """Renders the same notes in one window and in many, between guard bytes."""
    stream = synth_stream(rig)
    notes = {100: b"\x90\x3c\x64", 1_000: b"\x91\x43\x50", 1_500: DRUM, 2_345: b"\x80\x3c\x00", 3_000: b"\xe1\x00\x50"}
    play(stream, notes)
    whole = pull(stream, 0, 4_800)
    rig.expect(bool(whole.any()), "sound", "some", "silence")
    for windows in ((960,) * 5, (1, 99, 900, 1_345, 2_455), (2_400, 2_400)):
        restart(stream)
        play(stream, notes)
        cut = pull(stream, 0, *windows)
        different = np.flatnonzero((cut != whole).any(axis=1))
        rig.expect_equal(f"frames that differ when cut into {len(windows)} windows", len(different), 0)
    restart(stream)
    play(stream, notes)
    length, guard = 480 * FORMAT.block_bytes, 64
    buffer = bytearray(length) + b"\xa5" * guard
    stream.stream.render(buffer, length, 0)
    rig.expect_equal("bytes of the buffer afterwards", len(buffer), length + guard)
    rig.expect_equal("bytes behind the window that changed", sum(1 for each in buffer[length:] if each != 0xA5), 0)
    first = np.frombuffer(bytes(buffer[:length]), "<i2").reshape(-1, 2)
    rig.expect(bool((first == whole[:480]).all()), "the window between guards", "the same sound", "another")
    rig.note("sound", f"{len(whole)} frames alike in 4 ways of cutting", "Render")


@check("SSK-RND-02")
def a_note_begins_at_its_sample(rig: Rig) -> None:
    """Stamps notes with times between samples, renders in different windows, and looks for their first sound."""
    stream = synth_stream(rig)
    found: dict[int, set[int]] = {}
    for windows in ((4_800,), (960,) * 5, (7,) * 400 + (2_000,)):
        for offset in (0, 1, 103, 207, 208):
            restart(stream)
            time = stream.stream.sample_to_ref_time(2_000) + offset
            stream.put(stream.allocator.make(DRUM, time))
            due = stream.stream.ref_time_to_sample(time)
            begins = onset(pull(stream, 0, *windows))
            rig.expect_within(
                f"first sound of a note for sample {due}, {len(windows)} windows", begins, due - 1, due + 1
            )
            found.setdefault(offset, set()).add(begins - due)
    rig.expect(all(len(each) == 1 for each in found.values()), "first sound", "the same in all windows", found)
    rig.note("first sound behind the sample of its time", sorted(set().union(*found.values())), "Render")


@check("SSK-RND-03")
def without_events_there_is_silence(rig: Rig) -> None:
    """Renders without events, in PAUSE with a note due, and measures the board time that Render takes."""
    stream = synth_stream(rig)
    rig.expect_equal("frames with sound, no event", int(pull(stream, 0, 960).any(axis=1).sum()), 0)
    play(stream, {1_000: b"\x90\x3c\x64"})
    rig.expect(bool(pull(stream, 960, 960).any()), "sound in RUN", "some", "silence")
    before = rig.board.clock.now()
    pull(stream, 1_920, 960)
    passed = float(rig.board.clock.seconds(rig.board.clock.now() - before))
    rig.expect_within("board time that a Render takes", passed * 1000, 0, 5, "ms")
    stream.go(KSSTATE.PAUSE)
    play(stream, {2_900: DRUM})
    rig.expect_equal("frames with sound in PAUSE", int(pull(stream, 2_880, 960).any(axis=1).sum()), 0)
    rig.note("Render", f"{passed * 1e6:.0f} us of board time", "TIME")


@check("SSK-RND-04")
def a_note_is_heard_in_time(rig: Rig) -> None:
    """Plays a stamped note through a WaveRT pin, DAC, cable and ADC, and times its first sound at the jack."""
    from codecrig.port import WaveRTOutput

    need(rig, "analog_loopback")
    block = FORMAT.block_bytes
    wave_port = rig.wavert()
    wave_pin = wave_port.open_pin(0, False, FORMAT, packet_bytes=960 * block)
    capture = wave_port.open_pin(1, True, FORMAT, buffer_bytes=12_000 * block)
    port = rig.port("dmus")
    with rig.converter(InputSelect.CONVERTER):
        pin = port.open_synth(2, FORMAT, WaveRTOutput(wave_pin))
        capture.set_state(KSSTATE.RUN)
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.03)
        stamp = pin.latency_clock.get_time() + 5 * MS
        pin.submit(stamp - pin.master_time(0), DRUM)
        rig.system.sleep((stamp - port.master_clock.get_time()) / REFERENCE_TIME_PER_SECOND + 0.025)
        moved = rig.board.snapshot(0).bytes
        latencies = wave_pin.hw_latency, capture.hw_latency
        capture.set_state(KSSTATE.PAUSE)
        heard = rig.board.snapshot(1)
        pin.set_state(KSSTATE.STOP)
    rig.moved(moved, "STREAM[0].SNAP_BYTES")
    rig.expect(heard.bytes < capture.buffer.length, "frames captured", "less than the buffer", heard.frames)
    sound = np.frombuffer(capture.buffer.read(0, heard.bytes), "<i2").reshape(-1, 2).astype(np.int32)
    loudness = np.abs(sound - sound[:480].mean(axis=0)).max(axis=1)
    quiet = loudness[:480].max()
    rig.expect(loudness.max() > 16 * (quiet + 1), "sound that comes back", "louder than silence", loudness.max())
    first = int(np.argmax(loudness > 4 * (quiet + 1)))
    ticks = heard.start_ticks + first * rig.board.profile.frame_clocks_at(FORMAT.sample_rate)
    came = float(rig.board.clock.seconds(ticks)) * REFERENCE_TIME_PER_SECOND
    out, back = (each.ChipsetDelay + each.CodecDelay if each is not None else 0 for each in latencies)
    late_ms = (came - back - stamp - out) / MS
    rig.note("at the jack behind its time, hardware latency taken off", f"{late_ms:.3f} ms", "captured samples")
    rig.expect_within("at the jack behind its time", late_ms, -20, 20, "ms")


@check("SSK-S2R-01")
def samples_are_a_straight_line(rig: Rig) -> None:
    """Converts pairs of sample times one second apart, and a fine row of them."""
    stream = synth_stream(rig)
    convert = stream.stream.sample_to_ref_time
    for sample in (0, 1, 17, 47_999, 1 << 20, (1 << 31) - 5):
        step = convert(sample + FORMAT.sample_rate) - convert(sample)
        rig.expect_within(
            f"reference time of a second from sample {sample} on", step, 9_999_999, 10_000_001, "x 100 ns"
        )
    line = [convert(n) - convert(0) - n * REFERENCE_TIME_PER_SECOND / FORMAT.sample_rate for n in range(0, 2_000, 7)]
    rig.expect_within("deviation from a line", max(map(abs, line)), 0, 1.001, "x 100 ns")
    rig.note("largest deviation from a line", f"{max(map(abs, line)):.2f} x 100 ns", "SampleToRefTime")


@check("SSK-S2R-02")
def sample_times_have_64_bits(rig: Rig) -> None:
    """Converts sample times around and beyond 2^32 and compares with exact arithmetic."""
    stream = synth_stream(rig)
    convert = stream.stream.sample_to_ref_time
    base = convert(0)
    before = base
    for sample in sorted({(1 << bits) + n for bits in (31, 32, 33, 40, 46) for n in (-1, 0, 1, 48_000)}):
        time = convert(sample)
        exact = base + sample * REFERENCE_TIME_PER_SECOND // FORMAT.sample_rate
        rig.expect_within(f"reference time of sample {sample}, from the exact one", time - exact, -1, 1, "x 100 ns")
        rig.expect(time >= before, f"reference time of sample {sample}", f"at least {before}", time)
        back = stream.stream.ref_time_to_sample(time)
        rig.expect_within(f"sample {sample} converted back, less itself", back - sample, -1, 0)
        before = time
    rig.note("sample times", "to 2^46 + 48000, exact", "SampleToRefTime")


@check("SSK-R2S-01")
def the_inverse_is_one(rig: Rig) -> None:
    """Converts sample times there and back, and a row of times, which must not fall."""
    stream = synth_stream(rig)
    there, back = stream.stream.sample_to_ref_time, stream.stream.ref_time_to_sample
    errors = [back(there(sample)) - sample for sample in [*range(2_000), *range(1 << 33, (1 << 33) + 500)]]
    rig.expect_within("there and back, smallest change", min(errors), -1, 0, "samples")
    rig.expect_within("there and back, largest change", max(errors), -1, 0, "samples")
    begin = there(1_000)
    row = [back(begin + time) for time in range(0, 5_000, 3)]
    falls = sum(1 for first, second in zip(row, row[1:], strict=False) if second < first)
    rig.expect_equal("times of a row where the sample falls", falls, 0)
    rig.expect_within("samples in 500 us", row[-1] - row[0], 23, 25)
    rig.note("there and back", f"{min(errors)} to {max(errors)} samples", "RefTimeToSample")


@check("SSK-SYN-01")
def the_first_call_starts(rig: Rig) -> None:
    """Lets a port synchronise a scripted stream in two runs, and looks at the start flags."""
    scripted = ScriptedPort(rig)
    pin = scripted.port.open_synth(2, FORMAT)
    stream = scripted.streams[0]
    for number, low in enumerate((KSSTATE.PAUSE, KSSTATE.STOP)):
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.09)
        before = len(stream.syncs)
        pin.set_state(low)
        rig.system.sleep(0.03)
        rig.expect_equal("SyncToMaster outside RUN", len(stream.syncs), before)
        flags = [start for _, start, _ in stream.syncs]
        stream.syncs.clear()
        rig.expect(len(flags) >= 3, f"SyncToMaster calls in run {number + 1} of 90 ms", "at least 3", len(flags))
        rig.expect_equal(f"start flags of run {number + 1}", flags, [True] + [False] * (len(flags) - 1))
    rig.note("start flags", "TRUE once behind each RUN", "SyncToMaster")


@check("SSK-SYN-02")
def start_anchors_the_clock(rig: Rig) -> None:
    """Starts the sample clock several times, some time apart: sample 0 is the time of the call."""
    stream = DirectStream(rig, WAVE_SINK, FORMAT)
    stream.go(KSSTATE.RUN)
    for _ in range(3):
        time = stream.clock.get_time()
        stream.stream.sync_to_master(time, True)
        after = stream.clock.get_time()
        anchor = stream.stream.sample_to_ref_time(0)
        rig.expect_within("time of sample 0 behind T", anchor - time, 0, after - time, "x 100 ns")
        rig.note("time of sample 0 behind T", f"{anchor - time} x 100 ns", "SampleToRefTime")
        rig.system.sleep(0.005)


@check("SSK-SYN-03")
def the_error_shrinks(rig: Rig) -> None:
    """Tells a master time that is 10 ms ahead, or behind, at each of several calls, and follows the mapping."""
    for error in (10 * MS, -10 * MS):
        stream = synth_stream(rig)
        start = stream.stream.sample_to_ref_time(0)
        left, now_before = error, -1
        for number in range(5):
            rig.system.sleep(SYNC_S)
            master = stream.clock.get_time()
            sample = (master - start) * FORMAT.sample_rate // REFERENCE_TIME_PER_SECOND
            before = stream.stream.sample_to_ref_time(0)
            stream.stream.sync_to_master(master + error, False)
            step = stream.stream.sample_to_ref_time(0) - before
            what = f"step {number + 1} of the mapping, {left / MS:.3f} ms off"
            rig.expect(step * left > 0, what, "towards the master", f"{step} x 100 ns")
            slack = MS // 5  # what the check and the stream see of the present time differs by an exchange or two
            rig.expect(abs(step) <= abs(left) + slack, what, "not beyond the master", f"{step} x 100 ns")
            rig.expect(number > 0 or abs(step) < abs(error) * 0.9, what, "a fraction of the error", f"{step} x 100 ns")
            now = stream.stream.sample_to_ref_time(sample)
            rig.expect(now >= now_before, "reference time of the present sample", f"from {now_before} on", now)
            now_before = now
            left -= step
            if abs(left) < 2 * MS:
                break
        rig.note(f"left of {error / MS:g} ms after {number + 1} calls", f"{left / MS:.3f} ms", "SampleToRefTime")
        stream.close()


class _OffClock(IMasterClock):
    """A clock that runs 100 ppm faster than another, and may jump."""

    def __init__(self, clock: IMasterClock) -> None:
        self._clock = clock
        self.jump = 0

    def get_time(self) -> int:
        time = self._clock.get_time()
        return time + time // 10_000 + self.jump


@check("SSK-SYN-04", evidence_seconds=600)
def the_clock_settles(rig: Rig) -> None:
    """A master 100 ppm fast jumps by 1.5 ms (15 s of drift): 1.4 s later the mapping is within 1 ms, and stays so."""
    port = rig.port("dmus")
    clock = _OffClock(port.master_clock)
    with rig.converter():
        stream = DirectStream(rig, WAVE_SINK, FORMAT, clock=clock, port=port)
        stream.go(KSSTATE.RUN)
        first = rig.board.read_register(regs.FPGA_FRAME_TICKS)
        stream.stream.sync_to_master(clock.get_time(), True)
        clock.jump = 3 * MS // 2
        worst, settled_after, calls, frames = 0.0, None, 0, 0
        while calls < (30_000 if rig.long else 70 if settled_after is None else settled_after + 3):
            rig.system.sleep(SYNC_S)
            stream.stream.sync_to_master(clock.get_time(), False)
            calls += 1
            master = clock.get_time()
            frames = rig.board.read_register(regs.FPGA_FRAME_TICKS) - first & 0xFFFFFFFF
            off = abs(master - stream.stream.sample_to_ref_time(frames))
            if settled_after is None and off < 0.8 * MS:
                settled_after = calls
            elif settled_after is not None:
                worst = max(worst, off / MS)
        rig.moved(frames * FORMAT.block_bytes, "FRAME_TICKS")
    covered_s = frames / FORMAT.sample_rate
    rig.note("seconds of converted frames", f"{covered_s:.1f}", "FRAME_TICKS")
    rig.expect(not rig.long or covered_s >= 600, "seconds covered", "600 at least", f"{covered_s:.1f}")
    rig.expect(settled_after is not None, "error below 1 ms", "within 70 calls", f"still {off / MS:.3f} ms")
    rig.note("calls until the error is below 0.8 ms", settled_after, "SampleToRefTime, FRAME_TICKS")
    rig.note("largest error behind that", f"{worst:.4f} ms", "SampleToRefTime, FRAME_TICKS")
    rig.expect_within("error once settled", worst, 0, 1, "ms")


# ---------------------------------------------------------------------- port and miniport


@check("DMU-NEW-01")
def new_streams_keep_what_they_need(rig: Rig) -> None:
    """Asks for streams that must be refused, and counts the references that good ones take and drop."""
    for kind, data_format in ((RENDER, None), (CAPTURE, None), (WAVE_SINK, FORMAT)):
        stream = DirectStream(rig, kind, data_format)
        held = stream.allocator.reference_count - 1
        rig.expect(held >= 1, f"{kind.name}: references on the allocator", "at least 1", held)
        if kind is CAPTURE:
            rig.expect(stream.group is not None, "service group of a capture stream", "one", "NULL")
        rig.expect(stream.prefetch >= 0, f"{kind.name}: SchedulePreFetch", "from 0 on", stream.prefetch)
        new = stream.miniport.new_stream
        arguments = (int(kind), kind, data_format)
        rig.expect_status(
            f"{kind.name}, NULL allocator", NTSTATUS.INVALID_PARAMETER, new, *arguments, None, stream.clock
        )
        rig.expect_status(
            f"{kind.name}, taken", NTSTATUS.INVALID_DEVICE_REQUEST, new, *arguments, stream.allocator, stream.clock
        )
        stream.close()
        rig.expect_equal(f"{kind.name}: references on the allocator at the end", stream.allocator.reference_count, 1)
        for pin in range(3):
            if pin != int(kind):
                rig.expect_status(
                    f"{kind.name} on pin {pin}", NTSTATUS.INVALID_DEVICE_REQUEST, new, pin, kind, data_format,
                    stream.allocator, stream.clock,
                )  # fmt: skip
        rig.note(f"{kind.name}", f"{held} reference(s), prefetch {stream.prefetch}", "NewStream")
        stream.port.close()


@check("DMU-NEW-02")
def events_are_given_when_due(rig: Rig) -> None:
    """Submits events out of order to ports with prefetch 0 and 30 ms, and notes when each reaches the stream."""
    for prefetch in (0, 30 * MS):
        scripted = ScriptedPort(rig, Script(prefetch=prefetch))
        pin = scripted.port.open_render(0)
        stream = scripted.streams[0]
        times = [70 * MS, 20 * MS, 45 * MS, 45 * MS, 21 * MS, 95 * MS]
        for number, time in enumerate(times[:4]):
            pin.submit(time, control(number))
        pin.set_state(KSSTATE.RUN)
        for number, time in enumerate(times[4:], 4):
            pin.submit(time, control(number))
        rig.system.sleep(0.105)
        order = [data[2] for put in stream.puts for data in put.data]
        rig.expect_equal(f"order of delivery, prefetch {prefetch / MS:g} ms", order, [1, 4, 2, 3, 0, 5])
        early = [(put.at - time + prefetch) / MS for put in stream.puts for time in put.times]
        due = [pin.master_time(time) for time in sorted(times)]
        rig.expect_equal("presentation times", [time for put in stream.puts for time in put.times], due)
        rig.expect_within(f"earliest delivery, prefetch {prefetch / MS:g} ms", min(early), 0, 10, "ms after its time")
        rig.expect_within(f"latest delivery, prefetch {prefetch / MS:g} ms", max(early), 0, 30, "ms after its time")
        levels = {put.level for put in stream.puts if put.data}
        rig.expect_equal("context of the calls", levels, {IRQL.DISPATCH})
        rig.note(f"prefetch {prefetch / MS:g} ms", f"{min(early):.3f} to {max(early):.3f} ms behind", "GetTime")
        scripted.port.close()


@check("DMU-NTF-01")
def notify_serves_the_right_groups(rig: Rig) -> None:
    """Notifies one group, another, the adapter's, and NULL, of a port with three streams."""
    for script in (Script(), Script(init_group=False, early_group=True)):
        scripted = ScriptedPort(rig, script)
        for open_pin, pin in ((scripted.port.open_capture, 1), (scripted.port.open_render, 0),
                              (scripted.port.open_capture, 3)):  # fmt: skip
            open_pin(pin)
        adapter = scripted.miniport.groups[0]
        for number, stream in enumerate(scripted.streams):
            before, services = scripted.nulls(), scripted.miniport.services
            group = stream.group
            rig.system.interrupt(partial(scripted.port.notify, group))
            served = [after - first for after, first in zip(scripted.nulls(), before, strict=True)]
            rig.expect_equal(
                f"streams served by Notify of group {number}", served, [int(n == number) for n in range(3)]
            )
            rig.expect_equal("Service calls meanwhile", scripted.miniport.services, services)
        before = scripted.nulls()
        rig.system.interrupt(partial(scripted.port.notify, adapter))
        rig.expect_equal("streams served by Notify of the adapter's group", scripted.nulls(), before)
        rig.expect_equal("Service calls", scripted.miniport.services, 1)
        rig.system.interrupt(partial(scripted.port.notify, None))
        served = [after - first for after, first in zip(scripted.nulls(), before, strict=True)]
        rig.expect_equal("streams served by Notify(NULL)", served, [1, 1, 1])
        rig.expect_equal("Service calls behind Notify(NULL)", scripted.miniport.services, 2)
        kind = "of Init" if script.init_group else "registered early"
        rig.note(f"groups, the adapter's {kind}", "each served alone, NULL all", "PutMessage, Service")
        scripted.port.close()


@check("DMU-CLK-01")
def the_master_clock_goes_on(rig: Rig) -> None:
    """Reads the clock in every context, over states and sleeps, next to the board's time, and the latency clocks."""
    scripted = ScriptedPort(rig)
    pins = [scripted.port.open_render(0), scripted.port.open_capture(1), scripted.port.open_synth(2, FORMAT)]
    clocks = {id(stream.clock) for stream in scripted.streams}
    rig.expect_equal("different clocks of three streams", len(clocks), 1)
    clock = scripted.streams[0].clock
    readings = []

    def read() -> None:
        before = rig.board.clock.now()
        time = clock.get_time()
        after = rig.board.clock.now()
        readings.append((before, time, after))

    for state in (KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.STOP):
        for pin in pins:
            pin.set_state(state)
        for level in IRQL:
            with rig.system.at(level):
                read()
        rig.system.sleep(0.025)
    read()
    for (_, first, _), (_, second, _) in zip(readings, readings[1:], strict=False):
        rig.expect(second >= first, "a later reading", f"at least {first}", second)
    units = REFERENCE_TIME_PER_SECOND
    begin = readings[0]
    for end in readings[1:]:
        low = float(rig.board.clock.seconds(end[0] - begin[2])) * units
        high = float(rig.board.clock.seconds(end[2] - begin[0])) * units
        rig.expect_within("100 ns units that passed", end[1] - begin[1], low - 1, high + 1)
    for pin in pins:
        ahead = pin.latency_clock.get_time()
        rig.expect(ahead >= readings[-1][1], "latency clock", f"not before the master time {readings[-1][1]}", ahead)
    synth = pins[2]
    synth.set_state(KSSTATE.RUN)
    rig.system.sleep(0.03)
    master = clock.get_time()
    rig.expect(synth.latency_clock.get_time() >= master, "latency clock in RUN", f"not before {master}", "before")
    span = (readings[-1][1] - readings[0][1]) / MS
    rig.note("readings", f"{len(readings)} over {span:.3f} ms, in three contexts", "GetTime, TIME")
