"""Checks of the rules MID: raw MIDI streams, over a simulated wire or a cable from output to input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.watch import unwrap
from codecrig.link import registers as regs
from codecrig.portcls import IRQL, KSSTATE, NTSTATUS, NtStatusError
from codecrig.portcls.midi import KSDATAFORMAT, MIDI_FORMAT

BYTE_S = 10 / 31_250
"""A byte on the wire."""
SOURCE = "MIDI pin"
BUSY_TRIES = 300
"""Writes to a busy device until it must have become an error; the sample does it after 100."""


class _Midi:
    """A port with one pin, and the miniport's stream as the port sees it."""

    def __init__(self, rig: Rig, capture: bool) -> None:
        self.rig = rig
        self.port = rig.port("midi")
        self.pin = self.port.open_pin(int(capture), capture)
        self.stream = rig.trace.wrap(rig.trace.of("new_stream", caller="port")[-1].result.Stream, "port")

    def run(self) -> None:
        self.pin.set_state(KSSTATE.RUN)

    def write(self, data: bytes) -> int:
        """The stream's own Write, in the context in which a port calls it."""
        with self.rig.system.at(IRQL.DISPATCH):
            return int(self.stream.write(data, len(data)))

    def read(self, length: int) -> bytes:
        """The stream's own Read, likewise."""
        buffer = bytearray(length)
        with self.rig.system.at(IRQL.DISPATCH):
            count = self.stream.read(buffer, length)
        return bytes(buffer[:count])

    def arrive(self, data: bytes) -> None:
        """Bytes come in at the pin, and all of them have arrived when this returns."""
        self.rig.board.bench.midi_send(data, self.rig.board.clock.now())
        self.rig.system.sleep((len(data) + 1) * BYTE_S)


def _wire(rig: Rig) -> bytes:
    """What has left over the pin since the last look."""
    return bytes(each.value for each in rig.board.bench.midi_read())


@contextmanager
def _register_bit(rig: Rig, lsb: int) -> Iterator[None]:
    """A test switch of the MIDI unit is on inside the block; other bits stay."""
    mask = 0xFF
    before = rig.board.read_register(regs.MIDI_CONTROL) & mask
    rig.board.write_register(regs.MIDI_CONTROL, before | 1 << lsb)
    try:
        yield
    finally:
        now = rig.board.read_register(regs.MIDI_CONTROL) & mask
        rig.board.write_register(regs.MIDI_CONTROL, now & ~(1 << lsb))


@check("MID-NEW-01")
def a_stream_has_one_direction(rig: Rig) -> None:
    """Opens both pins, looks at the state, and tries the wrong direction of each."""
    for capture in (False, True):
        midi = _Midi(rig, capture)
        kind = "capture" if capture else "render"
        rig.expect_equal(f"{kind}: state", midi.pin.state, KSSTATE.STOP)
        if capture:
            midi.arrive(b"\x11")
            rig.expect_equal("bytes read from a stream that nobody told to run", midi.read(8), b"")
        midi.run()
        wrong = (midi.write, bytes(4)) if capture else (midi.read, 4)
        rig.expect_status(f"{kind}: the other direction", NTSTATUS.INVALID_DEVICE_REQUEST, *wrong)
        unwrap(midi.port).close()
    for pin, capture in ((0, True), (1, False), (9, False)):
        port = rig.port("midi")
        refused = (NTSTATUS.INVALID_PARAMETER, NTSTATUS.INVALID_DEVICE_REQUEST)
        rig.expect_status(f"NewStream of pin {pin}, capture {capture}", refused, port.open_pin, pin, capture)
        port.close()
    rig.note("wrong directions and pins", "refused", "Read, Write, NewStream")


@check("MID-FMT-01")
def midi_stays_midi(rig: Rig) -> None:
    """Sets the MIDI format, then another one, and sends bytes as before."""
    midi = _Midi(rig, False)
    rig.expect_equal("SetFormat(MIDI)", midi.stream.set_format(MIDI_FORMAT), NTSTATUS.SUCCESS)
    other = KSDATAFORMAT(MIDI_FORMAT.SubFormat, MIDI_FORMAT.MajorFormat, MIDI_FORMAT.Specifier)
    try:
        status = midi.stream.set_format(other)
    except NtStatusError as error:
        status = error.status
    rig.expect(
        status in (NTSTATUS.SUCCESS, NTSTATUS.INVALID_PARAMETER), "SetFormat(another)", "SUCCESS or INVALID_PARAMETER",
        status.name,
    )  # fmt: skip
    rig.note("SetFormat(another)", status, "SetFormat")
    midi.run()
    _wire(rig)
    data = bytes([0x90, 60, 100, 0x80, 60, 0])
    rig.expect_equal("bytes taken afterwards", midi.write(data), len(data))
    rig.system.sleep((len(data) + 1) * BYTE_S)
    rig.expect_equal("bytes on the wire afterwards", _wire(rig), data)


@check("MID-STA-01")
def input_is_kept_in_run_only(rig: Rig) -> None:
    """Lets a byte arrive in every state: only those of RUN are read, and STOP empties the queue."""
    rig.need_bench("midi")
    midi = _Midi(rig, True)
    for state in (KSSTATE.STOP, KSSTATE.ACQUIRE, KSSTATE.PAUSE):
        midi.pin.set_state(state)
        midi.arrive(bytes([0x10 + state]))
    midi.run()
    midi.arrive(b"\x21\x22")
    midi.pin.set_state(KSSTATE.PAUSE)
    midi.arrive(b"\x31")
    midi.run()
    midi.arrive(b"\x23")
    rig.expect_equal("bytes read", midi.pin.read() + midi.read(64), b"\x21\x22\x23")
    rig.moved(3, SOURCE)
    _unserve(rig, midi)  # what comes now stays queued
    rig.board.bench.midi_send(b"\x41\x42", rig.board.clock.now())
    rig.system.sleep(3 * BYTE_S)
    midi.pin.set_state(KSSTATE.STOP)
    midi.run()
    rig.expect_equal("bytes of before STOP, read after it", midi.read(64), b"")


@check("MID-STA-02")
def leaving_run_silences_notes(rig: Rig) -> None:
    """Plays notes on two channels, ends one, and leaves RUN, with the device idle and busy: all that was written
    leaves, and Note Offs for the others."""
    rig.need_bench("midi")
    midi = _Midi(rig, False)
    data = bytes([0x90, 60, 100, 64, 100, 0x93, 50, 1, 0x90, 64, 0, 0xF8])
    for is_busy in (False, True):
        what = "busy" if is_busy else "idle"
        midi.run()
        _wire(rig)
        with _register_bit(rig, regs.MIDI_CONTROL_STALL_LSB) if is_busy else nullcontext():
            rig.expect_equal(f"bytes taken, device {what}", midi.write(data), len(data))
            midi.pin.set_state(KSSTATE.PAUSE)
        rig.system.sleep(40 * BYTE_S)
        sent = _wire(rig)
        rig.moved(len(sent), SOURCE)
        rig.note(f"bytes on the wire, device {what}", sent.hex(" "), SOURCE)
        rig.expect_equal(f"bytes on the wire first, device {what}", sent[: len(data)], data)
        rig.expect_equal("notes still sounding (channel, note)", sorted(_sounding(sent)), [])


def _sounding(data: bytes) -> set[tuple[int, int]]:
    """Notes that sound behind a MIDI byte stream. Knows Note On, Note Off, All Sound Off and All Notes Off."""
    notes: set[tuple[int, int]] = set()
    status = 0
    pending: list[int] = []
    for value in data:
        if value >= 0xF8:
            continue
        if value & 0x80:
            status, pending = value, []
            continue
        pending.append(value)
        kind, channel = status & 0xF0, status & 0x0F
        if len(pending) == 2:
            if kind == 0x90 and pending[1]:
                notes.add((channel, pending[0]))
            elif kind in (0x80, 0x90):
                notes.discard((channel, pending[0]))
            elif kind == 0xB0 and pending[0] in (120, 123):
                notes = {each for each in notes if each[0] != channel}
            pending = []
    return notes


@check("MID-STA-03")
def a_dead_unit_does_not_run(rig: Rig) -> None:
    """Declares the MIDI unit dead by its test switch and asks each stream for RUN; then brings it back."""
    for capture in (False, True):
        midi = _Midi(rig, capture)
        with _register_bit(rig, regs.MIDI_CONTROL_DEAD_LSB):
            rig.expect_status("SetState(RUN) on a dead unit", NTSTATUS.INVALID_DEVICE_STATE, midi.run)
        unwrap(midi.port).close()
    midi = _Midi(rig, False)
    midi.run()
    _wire(rig)
    midi.write(b"\xfe")
    rig.system.sleep(3 * BYTE_S)
    rig.moved(len(_wire(rig)), SOURCE)


@check("MID-RDD-01")
def a_render_stream_cannot_be_read(rig: Rig) -> None:
    """Reads from a render stream in every state."""
    midi = _Midi(rig, False)
    for state in KSSTATE:
        midi.pin.set_state(state)
        rig.expect_status(f"Read in {state.name}", NTSTATUS.INVALID_DEVICE_REQUEST, midi.read, 8)
    rig.note("Read on a render stream", "INVALID_DEVICE_REQUEST in every state", "Read")


@check("MID-RDD-02")
def read_does_not_wait(rig: Rig) -> None:
    """Reads with nothing there: success, 0 bytes, and less than a byte's time of the board."""
    midi = _Midi(rig, True)
    midi.run()
    before = rig.board.clock.now()
    rig.expect_equal("bytes read with nothing pending", midi.read(16), b"")
    spent_s = (rig.board.clock.now() - before) / rig.board.clock.rate
    rig.note("board time of the call", f"{float(spent_s) * 1e6:.0f} us", "TIME")
    rig.expect(spent_s < 0.01, "board time of the call", "below 10 ms", f"{float(spent_s) * 1e3:.2f} ms")


@check("MID-RDD-03")
def bytes_are_read_once_and_in_order(rig: Rig) -> None:
    """Lets 40 bytes arrive and reads them by pieces of uneven length into a marked buffer."""
    rig.need_bench("midi")
    midi = _Midi(rig, True)
    midi.run()
    data = bytes(range(40))
    _unserve(rig, midi)
    midi.arrive(data)
    got = b""
    for length in (1, 7, 2, 16, 3, 64, 64):
        buffer = bytearray(b"\xa5" * (length + 8))
        with rig.system.at(IRQL.DISPATCH):
            count = midi.stream.read(buffer, length)
        rig.expect(0 <= count <= length, f"BytesRead of a Read of {length}", f"0 to {length}", count)
        rig.expect_equal(
            f"memory behind {count} bytes read", bytes(buffer[count:]), b"\xa5" * (length + 8 - count)
        )
        got += bytes(buffer[:count])
    rig.expect_equal("bytes read", got, data)
    rig.moved(len(got), SOURCE)


def _unserve(rig: Rig, midi: _Midi) -> None:
    """The port's sink leaves the stream's group: nobody reads but the check."""
    created = rig.trace.of("new_stream", caller="port")[-1].result
    group = unwrap(created.ServiceGroup)
    for member in group.members:
        group.remove_member(member)


@check("MID-RDD-04")
def the_port_reads_until_nothing_is_left(rig: Rig) -> None:
    """Lets 100 bytes arrive and looks at the port's calls of Read: each run of them ends with 0 bytes."""
    rig.need_bench("midi")
    midi = _Midi(rig, True)
    midi.run()
    data = bytes(n & 0x7F for n in range(100))
    midi.arrive(data)
    rig.expect_equal("bytes delivered to the client", midi.pin.read(), data)
    counts = [call.result for call in rig.trace.of("read", caller="port", target=midi.stream)]
    rig.note("BytesRead of the port's calls", counts, "Read")
    rig.expect(len(counts) > 1 and counts[-1] == 0, "the port's last Read", "0 bytes", counts[-1:] or "no call")
    depths = [call for call in rig.trace.calls if call.method in ("read", "notify")]
    for before, after in zip(depths, depths[1:], strict=False):
        if before.method == "read" and before.result:
            rig.expect_equal("what follows a Read that delivered bytes", after.method, "read")


@check("MID-RDD-05")
def an_overflow_loses_the_newest(rig: Rig) -> None:
    """Lets 150 bytes arrive that nobody reads: the first stay in order, and a counter of the board shows the loss."""
    rig.need_bench("midi")
    midi = _Midi(rig, True)
    midi.run()
    _unserve(rig, midi)
    before = rig.board.read_register(regs.MIDI_CONTROL) >> regs.MIDI_CONTROL_DROPPED_LSB
    data = bytes(n & 0x7F for n in range(150))
    midi.arrive(data)
    got = b""
    while piece := midi.read(32):
        got += piece
    dropped = (rig.board.read_register(regs.MIDI_CONTROL) >> regs.MIDI_CONTROL_DROPPED_LSB) - before & 0xFF
    rig.moved(len(got), SOURCE)
    rig.note("bytes read, bytes dropped", f"{len(got)}, {dropped}", "Read, MIDI.CONTROL.DROPPED")
    rig.expect_equal("bytes queued before the overflow", got, data[: len(got)])
    rig.expect(0 < len(got) < len(data), "bytes kept", "some, not all", len(got))
    rig.expect_equal("bytes dropped", dropped, len(data) - len(got))


@check("MID-WRT-01")
def a_capture_stream_cannot_be_written(rig: Rig) -> None:
    """Writes to a capture stream in every state."""
    midi = _Midi(rig, True)
    for state in KSSTATE:
        midi.pin.set_state(state)
        rig.expect_status(f"Write in {state.name}", NTSTATUS.INVALID_DEVICE_REQUEST, midi.write, b"\xf8\xf8\xf8\xf8")
    rig.note("Write on a capture stream", "INVALID_DEVICE_REQUEST in every state", "Write")


@check("MID-WRT-02")
def what_is_counted_is_sent(rig: Rig) -> None:
    """Writes more than fits, by pieces: short counts are whole quads, and the wire carries what was counted."""
    rig.need_bench("midi")
    midi = _Midi(rig, False)
    midi.run()
    _wire(rig)
    data = bytes(n % 0x7F for n in range(1, 260))
    counted, partial = 0, 0
    for length in (1, 5, 130, 3, 64, 7, 100, 250, 250):
        offered = data[counted : counted + length]
        if not offered:
            break
        taken = midi.write(offered)
        whole = taken == len(offered)
        partial += not whole
        rig.expect(
            whole or (taken < len(offered) and taken % 4 == 0), f"BytesWritten of {len(offered)}",
            "all, or a smaller multiple of 4", taken,
        )  # fmt: skip
        counted += taken
        rig.system.sleep(3 * BYTE_S)
    rig.system.sleep(140 * BYTE_S)
    sent = _wire(rig)
    rig.moved(len(sent), SOURCE)
    rig.note("bytes counted, short counts", f"{counted}, {partial}", "Write")
    rig.expect(partial > 0, "short counts", "at least one", partial)
    rig.expect_equal("bytes on the wire", sent, data[:counted])


@check("MID-WRT-03")
def nothing_is_written_at_once(rig: Rig) -> None:
    """Writes nothing, 300 times, to a device that is busy."""
    midi = _Midi(rig, False)
    midi.run()
    for _ in range(BUSY_TRIES):
        rig.expect_equal("BytesWritten of 0 bytes", midi.write(b""), 0)
    rig.note(f"{BUSY_TRIES} writes of nothing", "SUCCESS", "Write")


@check("MID-WRT-04")
def a_busy_device_becomes_an_error(rig: Rig) -> None:
    """Stalls the transmitter: after a bounded number of zero counts Write fails; one accepted byte resets the count."""
    midi = _Midi(rig, False)
    midi.run()
    _wire(rig)
    quad = b"\x01\x02\x03\x04"

    def zeros() -> int:
        """Zero counts until the error."""
        for count in range(BUSY_TRIES):
            try:
                taken = midi.write(quad)
            except NtStatusError as error:
                rig.expect_equal("status of a device that stays busy", error.status, NTSTATUS.IO_DEVICE_ERROR)
                return count
            if taken:
                return zeros()
        rig.expect(False, "a device that stays busy", f"an error within {BUSY_TRIES} writes", "none")
        return BUSY_TRIES

    with _register_bit(rig, regs.MIDI_CONTROL_STALL_LSB):
        limit = zeros()
        rig.note("zero counts before the error", limit, "Write")
        for _ in range(limit // 2):
            midi.write(quad)
    rig.system.sleep(10 * BYTE_S)
    accepted = midi.write(quad)
    rig.expect(accepted > 0, "bytes taken once the device goes on", "some", accepted)
    with _register_bit(rig, regs.MIDI_CONTROL_STALL_LSB):
        again = zeros()
    rig.expect(again >= limit, "zero counts before the next error, an accepted byte in between", f"{limit}", again)
    rig.system.sleep(140 * BYTE_S)
    rig.moved(len(_wire(rig)), SOURCE)


@check("MID-WRT-05")
def the_port_offers_what_is_left(rig: Rig) -> None:
    """Gives the port 300 bytes at once: each offer begins where the last one ended, and all of it leaves."""
    rig.need_bench("midi")
    midi = _Midi(rig, False)
    midi.run()
    _wire(rig)
    data = bytes(n % 0x7F for n in range(300))
    midi.pin.write(data)
    rig.system.sleep(320 * BYTE_S)
    done, zero_at = 0, None
    for call in rig.trace.of("write", caller="port", target=midi.stream):
        offered = bytes(call.arguments[0])
        rig.expect_equal(f"what is offered behind {done} bytes", offered, data[done:])
        done += call.result
        zero_at = done if call.result == 0 and zero_at is None else zero_at
    rig.note("bytes taken; first refused at", f"{done}; {zero_at}", "Write")
    rig.expect(zero_at is not None, "offers that were refused", "at least one", "none")
    rig.expect_equal("bytes on the wire", _wire(rig), data)


@check("MID-NTF-01")
def notify_means_a_new_byte(rig: Rig) -> None:
    """Looks at the order of set-up calls, and counts notifications in and out of RUN."""
    rig.need_bench("midi")
    midi = _Midi(rig, True)
    registered = rig.trace.of("register_service_group", caller="miniport")
    rig.expect(len(registered) == 1, "calls of RegisterServiceGroup from Init", "1", len(registered))
    notified = rig.trace.of("notify", caller="miniport")
    begin = rig.trace.calls.index(registered[0])
    rig.expect(
        all(rig.trace.calls.index(call) > begin for call in notified), "notifications before registration", 0,
        len(notified),
    )  # fmt: skip
    midi.arrive(b"\x01\x02")
    midi.pin.set_state(KSSTATE.PAUSE)
    midi.arrive(b"\x03")
    rig.expect_equal("notifications outside RUN", len(rig.trace.of("notify", caller="miniport")), 0)
    midi.run()
    rig.system.sleep(3 * BYTE_S)
    rig.expect_equal("notifications without a byte", len(rig.trace.of("notify", caller="miniport")), 0)
    midi.arrive(bytes(range(8)))
    calls = rig.trace.of("notify", caller="miniport")
    rig.expect_within("notifications for 8 bytes", len(calls), 1, 8)
    rig.expect_equal("bytes delivered", midi.pin.read(), bytes(range(8)))
    rig.moved(8, SOURCE)
    rig.system.sleep(5 * BYTE_S)
    rig.expect_equal("notifications after the last byte", len(rig.trace.of("notify", caller="miniport")), len(calls))

