"""Checks of the rules WC: WaveCyclic streams and the port that serves them.

Rules of the miniport are judged on raw streams, which the check holds as a port would; rules of the port over a device
that the check plays itself (`wavecyclic_doubles`), or over the miniport where the engine has to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from codecrig.board import EventRecord, Snapshot, stream_register
from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.watch import unwrap
from codecrig.contract.wavecyclic_doubles import BUFFER_MS, scripted_pin
from codecrig.link import registers as regs
from codecrig.link.registers import InputSelect, StreamState
from codecrig.measure.pattern import ramp
from codecrig.portcls import (
    KSAUDIO_POSITION,
    KSSTATE,
    NTSTATUS,
    REFERENCE_TIME_PER_SECOND,
    Format,
    IDmaChannel,
    IMiniportWaveCyclicStream,
    IServiceGroup,
    MemoryView,
)
from codecrig.wave import unpack_samples

UP = (KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN)
PORT_INTERVAL_MS = 10
INTERVALS_MS = (1, 2, 3, 7, 10, 13, 20, 33, 50)
MEAN_INTERVALS = 1000
"""Intervals that WC-NTF-04 speaks of; the quick run covers 12."""
CRYSTAL_PPM = 100
FIFO_BYTES = 64
BURST_BYTES = 32
"""Most that one visit of the engine moves."""
TARGET_MS = 40
MS = 192
"""Bytes of a millisecond at 48 kHz, 16 bits, stereo."""
BOTH = (False, True)
SHORT_S = 0.004


class RawStream:
    """A stream of the miniport as a port holds it: the three references of NewStream, and steps between states."""

    def __init__(self, raw: RawMiniport, capture: bool, data_format: Format) -> None:
        self._raw = raw
        self.capture = capture
        self.format = data_format
        self.number = int(capture)
        """The engine's stream behind it."""
        self.state = KSSTATE.STOP
        made = raw.seen.new_stream(int(capture), capture, data_format)
        self.stream: IMiniportWaveCyclicStream = made.Stream
        self.channel: IDmaChannel = made.DmaChannel
        self.group: IServiceGroup = made.ServiceGroup

    @property
    def memory(self) -> MemoryView:
        """The whole buffer."""
        view = self.channel.system_address()
        self._raw.rig.expect(view is not None, "SystemAddress of the stream's channel", "an address", view)
        assert view is not None
        return view

    def set_state(self, state: KSSTATE) -> None:
        """Go there in single steps."""
        while self.state is not state:
            step = KSSTATE(self.state + (1 if state > self.state else -1))
            self.stream.set_state(step)
            self.state = step

    def close(self) -> None:
        """STOP, and drop the three references."""
        self.set_state(KSSTATE.STOP)
        for held in (self.stream, self.channel, self.group):
            held.release()

    # What the board says.

    def snapshot(self) -> Snapshot:
        """State and counts of the engine's stream, of one tick."""
        return self._raw.rig.board.snapshot(self.number)

    @property
    def delay_frames(self) -> int:
        """Most frames between the engine and the jack: the codec's share, a frame in the hub and one on the wire."""
        return -(-self._raw.rig.board.profile.converter.group_delay_frames // 2) + 2

    def moved(self) -> None:
        """Evidence that the engine worked."""
        self._raw.rig.moved(self.snapshot().bytes, f"STREAM[{self.number}].SNAP_BYTES")

    @property
    def bytes_per_second(self) -> int:
        """Of the format."""
        return self.format.bytes_per_second


class RawMiniport:
    """The miniport under test, initialised by a port that opens no pin."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.port = unwrap(rig.port("wavecyclic"))
        self.real = rig.trace.of("init", caller="port")[-1].target
        self.seen: Any = rig.trace.wrap(self.real, "port")
        self.streams: list[RawStream] = []

    def open(self, capture: bool = False, data_format: Format | None = None) -> RawStream:
        """A new stream in STOP."""
        stream = RawStream(self, capture, data_format or self.rig.format_of(16))
        self.streams.append(stream)
        return stream

    def close_streams(self) -> None:
        """All of them."""
        streams, self.streams = self.streams, []
        for stream in reversed(streams):
            stream.close()


@contextmanager
def raw_miniport(rig: Rig) -> Iterator[RawMiniport]:
    """Closes the streams that were opened on it."""
    raw = RawMiniport(rig)
    try:
        yield raw
    except BaseException:
        try:
            raw.close_streams()
        except Exception:  # noqa: S110 - what failed first is what the check found
            pass
        raise
    raw.close_streams()


@contextmanager
def running(
    rig: Rig,
    capture: bool = False,
    source: InputSelect = InputSelect.LOOPBACK,
    data_format: Format | None = None,
    buffer_bytes: int | None = None,
) -> Iterator[RawStream]:
    """A raw stream with the converter's clock on; the check takes it to RUN. `buffer_bytes`: SetBufferSize."""
    with rig.converter(source), raw_miniport(rig) as raw:
        stream = raw.open(capture, data_format)
        if buffer_bytes is not None:
            stream.channel.set_buffer_size(buffer_bytes)
        yield stream


class Notifications:
    """Calls of Notify, and what the board showed at each."""

    def __init__(self, rig: Rig, port: Any, at_notify: Callable[[], None]) -> None:
        self.times: list[int] = []
        """Board times of the causes."""
        self.streams: list[int] = []
        self.groups: list[object] = []
        self.most_at_once = 0
        """Calls for one record of the board."""
        self._new = 0
        notify = port.notify

        def spy(group: IServiceGroup) -> None:
            self.groups.append(unwrap(group))
            at_notify()
            self._new += 1
            notify(group)

        port.notify = spy
        self._unsubscribe = rig.board.events.subscribe(None, self._record)

    def _record(self, record: EventRecord) -> None:
        for _ in range(self._new):
            self.times.append(record.time_ticks)
            self.streams.append(record.stream)
        self.most_at_once = max(self.most_at_once, self._new)
        self._new = 0

    @property
    def count(self) -> int:
        """Notifications so far."""
        return len(self.groups)

    def end(self) -> None:
        """Stop watching."""
        self._unsubscribe()


@contextmanager
def notifications(rig: Rig, at_notify: Callable[[], None] = lambda: None) -> Iterator[Notifications]:
    """Watches the port made last."""
    port = unwrap(rig.trace.of("init", caller="port")[-1].arguments[2])
    found = Notifications(rig, port, at_notify)
    try:
        yield found
    finally:
        found.end()


def _check_ramp(rig: Rig, data: bytes, form: Format, what: str, first: int = 0) -> None:
    """The frames in `data` are those of the ramp from frame `first` on."""
    frames = len(data) // form.block_bytes
    samples = unpack_samples(data[: frames * form.block_bytes], form.channels, form.valid_bits, form.container_bits)
    expected = ramp(first, frames, form.channels, form.valid_bits)
    wrong = np.nonzero((samples != expected).any(axis=1))[0]
    rig.expect(
        frames > 0 and not len(wrong),
        what,
        f"{frames} frames of the pattern in a row",
        f"frame {wrong[0]} is {samples[wrong[0]].tolist()}" if len(wrong) else "no frame",
    )


# ------------------------------------------------------------------ NewStream


@check("WC-NEW-01")
def a_stream_comes_with_channel_and_group(rig: Rig) -> None:
    """Takes the three outputs of NewStream, releases the stream first, and looks whether the others live on."""
    raw = RawMiniport(rig)
    for capture in BOTH:
        made = raw.seen.new_stream(int(capture), capture, rig.format_of(16))
        parts = {"stream": made.Stream, "DMA channel": made.DmaChannel, "service group": made.ServiceGroup}
        for name, part in parts.items():
            rig.expect(part is not None, f"{name} of a new stream", "an object", part)
        real = {name: unwrap(part) for name, part in parts.items()}
        counts = {name: part.reference_count for name, part in real.items()}
        made.Stream.release()
        for name in ("DMA channel", "service group"):
            rig.expect(
                real[name].reference_count >= 1,
                f"references on the {name} behind the stream's last", "the port's own", real[name].reference_count,
            )  # fmt: skip
        made.DmaChannel.release()
        made.ServiceGroup.release()
        rig.note(f"references delivered, capture {capture}", counts, "reference_count")


@check("WC-NEW-02")
def the_channel_has_its_buffer(rig: Rig) -> None:
    """Asks the channel for its buffer before anything else, for every format."""
    with raw_miniport(rig) as raw:
        for capture in BOTH:
            for form in rig.formats:
                stream = raw.open(capture, form)
                size = stream.channel.allocated_buffer_size()
                what = f"{form.describe()}, capture {capture}"
                rig.expect(size > 0, f"AllocatedBufferSize, {what}", "more than 0", size)
                view = stream.channel.system_address()
                rig.expect(view is not None, f"SystemAddress, {what}", "an address", view)
                rig.expect_equal(f"bytes behind SystemAddress, {what}", stream.memory.length, size)
                stream.memory.write(size - 1, b"\x5a")
                rig.expect_equal(f"last byte of the buffer, {what}", stream.memory.read(size - 1, 1), b"\x5a")
                raw.close_streams()
        rig.note("AllocatedBufferSize", size, "the channel of the last stream")


@check("WC-NEW-03")
def a_new_stream_is_stopped(rig: Rig) -> None:
    """Reads position and engine of new streams, with the converter running."""
    with rig.converter(InputSelect.LOOPBACK), raw_miniport(rig) as raw:
        for capture in BOTH:
            stream = raw.open(capture)
            for _ in range(2):
                rig.expect_equal(f"GetPosition of a new stream, capture {capture}", stream.stream.get_position(), 0)
                rig.system.sleep(0.001)
            state = stream.snapshot().state
            rig.expect_equal("state of the engine's stream", state, StreamState.STOP)
            rig.note(f"new stream, capture {capture}", f"position 0, engine {state.name}", "GetPosition, SNAP_STATE")


# ------------------------------------------------------------------ notifications


@check("WC-NTF-01")
def frame_sizes_are_whole_frames(rig: Rig) -> None:
    """Asks for many intervals in every format, and compares FrameSize with rate and block size."""
    with raw_miniport(rig) as raw:
        for form in rig.formats:
            stream = raw.open(False, form)
            for interval in INTERVALS_MS:
                found = stream.stream.set_notification_freq(interval)
                what = f"FrameSize for {interval} ms, {form.describe()}"
                rig.expect_equal(f"{what}: bytes beyond whole frames", found.FrameSize % form.block_bytes, 0)
                exact = form.sample_rate * found.Interval * form.block_bytes / 1000
                rig.expect(
                    found.FrameSize > 0 and abs(found.FrameSize - exact) < form.block_bytes,
                    what, f"{exact:g} bytes, within one frame", found.FrameSize,
                )  # fmt: skip
            raw.close_streams()
        rig.note("formats and intervals", f"{len(rig.formats)} x {len(INTERVALS_MS)}", "SetNotificationFreq")


def _buffer_ms(stream: RawStream) -> float:
    return stream.channel.buffer_size() * 1000 / stream.bytes_per_second


@check("WC-NTF-02")
def the_interval_is_told(rig: Rig) -> None:
    """Asks for intervals from 1 ms to a minute and looks at those returned; from 10 ms to the buffer they are equal."""
    with raw_miniport(rig) as raw:
        for form in rig.formats:
            stream = raw.open(False, form)
            longest = _buffer_ms(stream)
            for interval in (*INTERVALS_MS, 100, 1000, 60_000):
                found = stream.stream.set_notification_freq(interval).Interval
                what = f"interval used for {interval} ms, {form.describe()}"
                rig.expect(0 < found <= longest, what, f"more than 0, at most {longest:g} ms (the buffer)", found)
                if PORT_INTERVAL_MS <= interval <= longest / 2:
                    rig.expect_equal(what, found, interval)
            raw.close_streams()
        rig.note("longest interval of the last format", f"{longest:g} ms", "SetNotificationFreq, BufferSize")


@check("WC-NTF-03")
def the_port_asks_once_for_ten_milliseconds(rig: Rig) -> None:
    """Opens pins over a device that answers with odd intervals; looks at the calls, then runs the device."""
    for told in (None, 0, 1_000_000):
        with scripted_pin(rig, interval_told=told) as (pin, device):
            data = _numbers(80 * MS)
            pin.write(data)
            pin.set_state(KSSTATE.RUN)
            for _ in range(3):
                device.move(10 * MS)
                device.notify()
            pin.set_state(KSSTATE.PAUSE)
            pin.set_state(KSSTATE.RUN)
            device.move(10 * MS)
            device.notify()
            calls = [each for each in device.noted if each.method in ("set_notification_freq", "set_state")]
            asked = [each.arguments for each in calls if each.method == "set_notification_freq"]
            rig.expect_equal("arguments of all calls of SetNotificationFreq", asked, [(PORT_INTERVAL_MS,)])
            methods = [(each.method, *each.arguments) for each in calls]
            rig.expect(
                methods.index(("set_notification_freq", PORT_INTERVAL_MS)) < methods.index(("set_state", KSSTATE.RUN)),
                "SetNotificationFreq", "before the first RUN", "behind it",
            )  # fmt: skip
            rig.expect(
                bytes(device.played) == data[: 40 * MS],
                f"what the device played, told the port {told} ms", "the client's data", "something else",
            )  # fmt: skip
            rig.note(f"device that says {told} ms", "one call, and the same data played", "calls")


@check("WC-NTF-04", evidence_seconds=MEAN_INTERVALS * PORT_INTERVAL_MS / 1000)
def one_notification_each_interval(rig: Rig) -> None:
    """Counts notifications in every state, and compares their mean spacing, in host time, with the interval."""
    intervals = MEAN_INTERVALS if rig.long else 12
    for capture in BOTH:
        with running(rig, capture) as stream, notifications(rig) as found:
            interval = stream.stream.set_notification_freq(PORT_INTERVAL_MS).Interval
            for state in (KSSTATE.STOP, *UP[:2]):
                stream.set_state(state)
                rig.system.sleep(0.015)
                rig.expect_equal(f"notifications in {state.name}, going up", found.count, 0)
            called = rig.board.clock.now()
            stream.set_state(KSSTATE.RUN)
            clock = rig.board.clock.fit(interval * (intervals + 1.5) / 1000, points=min(4 * intervals, 400))
            stream.set_state(KSSTATE.PAUSE)
            span = (rig.board.clock.now() - called) / float(clock.rate_ticks_per_host_second) * 1000 / interval
            total = found.count
            stream.moved()
            for state in (KSSTATE.PAUSE, KSSTATE.ACQUIRE, KSSTATE.STOP):
                stream.set_state(state)
                rig.system.sleep(0.015)
                rig.expect_equal(f"notifications behind RUN, in {state.name}", found.count - total, 0)
            rig.expect_within(f"notifications in {span:.2f} intervals of RUN", total, span - 1.5, span + 1)
            ticks = (found.times[-1] - found.times[0]) / (len(found.times) - 1)
            mean_us = ticks / float(clock.rate_ticks_per_host_second) * 1e6
            tolerance = 1e6 / stream.format.sample_rate + interval * 1000 * CRYSTAL_PPM / 1e6
            rig.expect_within(f"mean spacing, capture {capture}", mean_us, interval * 1000 - tolerance,
                              interval * 1000 + tolerance, "us")  # fmt: skip
            rig.note(f"mean spacing of {total} notifications", f"{mean_us:.3f} us", "times of events in host time")


@check("WC-NTF-05")
def long_intervals_are_cut_to_the_buffer(rig: Rig) -> None:
    """Asks for a minute, and counts notifications over three buffers."""
    with running(rig, buffer_bytes=25 * MS) as stream, notifications(rig) as found:
        told = stream.stream.set_notification_freq(60_000)
        longest = _buffer_ms(stream)
        rig.expect(told.Interval <= longest, "interval used for a minute", f"at most {longest:g} ms", told.Interval)
        rig.expect(told.FrameSize <= stream.channel.buffer_size(), "FrameSize",
                   f"at most {stream.channel.buffer_size()} bytes", told.FrameSize)  # fmt: skip
        stream.set_state(KSSTATE.RUN)
        rig.system.sleep(3.2 * longest / 1000)
        stream.moved()
        expected = int(3.2 * longest / told.Interval)
        rig.expect_within("notifications while the engine went three times round", found.count, 3, expected + 1)
        rig.note("notifications in 3.2 rounds", found.count, "calls of Notify")


@check("WC-NTF-06")
def intervals_belong_to_streams(rig: Rig) -> None:
    """Sets different intervals on two streams in turn; each must keep what it was told."""
    with raw_miniport(rig) as raw, notifications(rig) as found:
        render = raw.open(False, rig.format_of(16))
        capture = raw.open(True, rig.format_of(24))
        first = render.stream.set_notification_freq(20)
        second = capture.stream.set_notification_freq(10)
        rig.expect_equal("FrameSize of 10 ms of the second stream", second.FrameSize, 480 * capture.format.block_bytes)
        rig.expect_equal("FrameSize of 20 ms of the first stream", first.FrameSize, 960 * render.format.block_bytes)
        with rig.converter(InputSelect.LOOPBACK):
            for stream in (render, capture):
                stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.09)
            counts = [found.groups.count(unwrap(each.group)) for each in (render, capture)]
            for stream in (render, capture):
                stream.set_state(KSSTATE.STOP)
        rig.expect_within("notifications of the stream with 20 ms, in 90 ms", counts[0], 4, 5)
        rig.expect_within("notifications of the stream with 10 ms, in 90 ms", counts[1], 8, 10)
        rig.note("notifications in 90 ms", f"{counts[0]} and {counts[1]}", "calls of Notify")


# ------------------------------------------------------------------ states


@check("WC-STA-01")
def run_starts_the_transfer(rig: Rig) -> None:
    """Watches buffer accesses on the way up with the bus monitor, then the position through one interval."""
    for capture in BOTH:
        with running(rig, capture) as stream:
            interval = stream.stream.set_notification_freq(PORT_INTERVAL_MS).Interval
            base = stream.channel.physical_address()
            monitor = rig.monitor(base, base + stream.channel.allocated_buffer_size())
            for state in (KSSTATE.STOP, *UP[:2]):
                stream.set_state(state)
                rig.system.sleep(0.003)
                rig.expect_equal(f"accesses to the buffer in {state.name}, capture {capture}", monitor.total(), 0)
                rig.expect_equal(f"position in {state.name}", stream.stream.get_position(), 0)
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(interval / 1000)
            position = stream.stream.get_position()
            rig.expect(position > 0, f"position {interval} ms behind RUN, capture {capture}", "more than 0", position)
            reads, writes = monitor.counts()
            rig.expect((writes if capture else reads) > 0, "accesses to the buffer in RUN", "some", (reads, writes))
            stream.moved()
            rig.note(f"accesses in RUN, capture {capture}", f"{reads} reads, {writes} writes", monitor.source)


@check("WC-STA-02")
def pause_freezes(rig: Rig) -> None:
    """Reads position and bus monitor over 10 ms of PAUSE."""
    for capture in BOTH:
        with running(rig, capture) as stream:
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.008)
            stream.set_state(KSSTATE.PAUSE)
            stream.moved()
            frozen = stream.stream.get_position()
            rig.expect(frozen > 0, "position behind 8 ms of RUN", "more than 0", frozen)
            monitor = rig.monitor(0, rig.board.profile.memory.audio_bytes)
            for _ in range(5):
                rig.system.sleep(0.002)
                rig.expect_equal(f"position in PAUSE, capture {capture}", stream.stream.get_position(), frozen)
            rig.expect_equal(f"memory accesses in PAUSE, capture {capture}", monitor.total(), 0)
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.003)
            rig.expect(monitor.total() > 0, "memory accesses in RUN again", "some", 0)
            rig.note(f"position in PAUSE, capture {capture}", frozen, f"GetPosition, {monitor.source}")


@check("WC-STA-03")
def run_goes_on_where_pause_was(rig: Rig) -> None:
    """Captures a counting pattern and plays one into the loopback across pauses: nothing is missing or doubled."""
    form = rig.format_of(24)
    with running(rig, True, InputSelect.PATTERN, form) as stream:
        for _ in range(4):
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.004)
            stream.set_state(KSSTATE.PAUSE)
            frozen = stream.stream.get_position()
            rig.system.sleep(0.002)
        written = stream.snapshot().bytes
        stream.moved()
        rig.expect(written < stream.channel.buffer_size(), "bytes captured", "less than the buffer", written)
        _check_ramp(rig, stream.memory.read(0, written), form, "captured across three pauses")
        rig.expect(frozen >= written // form.block_bytes * form.block_bytes - FIFO_BYTES, "position at the end",
                   f"about {written}", frozen)  # fmt: skip
    played = _play_across_pauses(rig)
    rig.note("frames played across pauses, heard in the loopback", played, "memory of a capture stream")


def _play_across_pauses(rig: Rig) -> int:
    """Numbered frames rendered with pauses, captured beside; returns how many were heard."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK), raw_miniport(rig) as raw:
        render, capture = raw.open(False, form), raw.open(True, form)
        size = render.channel.buffer_size()
        render.memory.write(0, _numbers(size))
        capture.set_state(KSSTATE.RUN)
        for _ in range(3):
            render.set_state(KSSTATE.RUN)
            rig.system.sleep(0.004)
            render.set_state(KSSTATE.PAUSE)
            rig.system.sleep(0.002)
        capture.set_state(KSSTATE.PAUSE)
        played = render.snapshot().frames
        written = capture.snapshot().bytes
        rig.expect(written < capture.channel.buffer_size(), "bytes captured", "less than the buffer", written)
        heard = capture.memory.read(0, written)
    frames = [heard[at : at + form.block_bytes] for at in range(0, len(heard), form.block_bytes)]
    loud = b"".join(frame for frame in frames if frame != bytes(form.block_bytes))
    rig.expect_equal("frames heard across pauses, of those that were played", len(loud) // form.block_bytes, played)
    rig.expect(loud == _numbers(len(loud)), "frames heard across pauses", f"the {played} that were played, once each",
               _first_difference(loud, _numbers(len(loud))))  # fmt: skip
    return played


def _numbers(byte_count: int, first: int = 1) -> bytes:
    """16-bit stereo frames that count from `first`, none silent."""
    frames = np.arange(first, first + -(-byte_count // 4), dtype=np.int64)
    words = np.stack([frames % 32749 + 1, frames % 31981 + 1], axis=1).astype("<u2")
    return words.tobytes()[:byte_count]


@check("WC-STA-04")
def stop_begins_anew(rig: Rig) -> None:
    """Stops a stream that has gone half round, reads position and FIFO, and sees where the next RUN begins."""
    for capture in BOTH:
        with running(rig, capture) as stream:
            base = stream.channel.physical_address()
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.009)
            stream.moved()
            stream.set_state(KSSTATE.STOP)
            for _ in range(2):
                rig.expect_equal(f"position in STOP, capture {capture}", stream.stream.get_position(), 0)
                rig.system.sleep(0.001)
            snapshot = stream.snapshot()
            rig.expect_equal("bytes in the FIFO in STOP", snapshot.fifo_bytes, 0)
            rig.expect_equal("state of the engine in STOP", snapshot.state, StreamState.STOP)
            monitor = rig.monitor(base, base + stream.channel.allocated_buffer_size())
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.003)
            first = rig.board.read_register(regs.MONITOR_BASE + regs.MONITOR_FIRST_ADDRESS)
            rig.expect(monitor.total() > 0, "accesses to the buffer in RUN", "some", 0)
            rig.expect_equal(f"address of the first access behind STOP and RUN, capture {capture}", first, base & ~3)
            position = stream.stream.get_position()
            most = 0.008 * stream.bytes_per_second
            rig.expect(0 < position < most, "position 3 ms behind the second RUN", f"0 to {most:g}", position)
            rig.note("first access of the second RUN", f"0x{first:X}", "MONITOR[0].FIRST_ADDRESS")


@check("WC-STA-05")
def acquire_keeps_the_position(rig: Rig) -> None:
    """Goes from PAUSE down to ACQUIRE and up again."""
    for capture in BOTH:
        with running(rig, capture) as stream:
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.006)
            stream.set_state(KSSTATE.PAUSE)
            stream.moved()
            frozen = stream.stream.get_position()
            rig.expect(frozen > 0, "position in PAUSE", "more than 0", frozen)
            for state in (KSSTATE.ACQUIRE, KSSTATE.PAUSE):
                stream.set_state(state)
                rig.expect_equal(f"position in {state.name}, capture {capture}", stream.stream.get_position(), frozen)
            stream.set_state(KSSTATE.ACQUIRE)
            stream.set_state(KSSTATE.STOP)
            rig.expect_equal("position in STOP", stream.stream.get_position(), 0)
            rig.note(f"position through PAUSE and ACQUIRE, capture {capture}", frozen, "GetPosition")


# ------------------------------------------------------------------ positions


@check("WC-POS-01")
def offsets_stay_below_the_size_last_set(rig: Rig) -> None:
    """Sets a size of 6000 bytes (not a page, not the allocated size) and reads positions over three rounds."""
    for capture in BOTH:
        with running(rig, capture, buffer_bytes=6000) as stream:
            size = stream.channel.buffer_size()
            rig.expect_equal("BufferSize behind SetBufferSize(6000)", size, 6000)
            stream.set_state(KSSTATE.RUN)
            seen, wraps = [], 0
            for _ in range(60):
                seen.append(stream.stream.get_position())
                wraps += len(seen) > 1 and seen[-1] < seen[-2]
                rig.system.sleep(0.0013)
                if wraps >= 3:
                    break
            stream.moved()
            worst = max(seen)
            rig.expect(min(seen) >= 0 and worst < size, "positions", f"0 to {size - 1}", f"{min(seen)} to {worst}")
            rig.expect(wraps >= 2, "wraps while the engine went three times round", "at least 2", wraps)
            rig.note(f"{len(seen)} positions, {wraps} wraps", f"{min(seen)} to {worst}", "GetPosition")
    # At the wrap itself: a stream that is stopped exactly at the end of its buffer.
    with running(rig, buffer_bytes=4 * 4) as stream:
        stream.set_state(KSSTATE.RUN)
        values = {stream.stream.get_position() for _ in range(24)}
        rig.expect(values <= {0, 4, 8, 12}, "positions in a buffer of four frames", "0, 4, 8 or 12", sorted(values))
        rig.note("positions in a buffer of four frames", sorted(values), "GetPosition")


@check("WC-POS-02")
def distances_match_elapsed_time(rig: Rig) -> None:
    """Compares the way between positions with the host's time between the reads, short and long ways."""
    frequency = rig.system.performance_frequency
    for capture in BOTH:
        with running(rig, capture) as stream:
            size, rate, block = stream.channel.buffer_size(), stream.bytes_per_second, stream.format.block_bytes
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(SHORT_S)
            points = []
            for _ in range(24):
                before = rig.system.performance_counter()
                position = stream.stream.get_position()
                points.append((before, position, rig.system.performance_counter()))
                rig.system.sleep(0.0025)
            stream.moved()
            widest = 0.0
            for step in (1, 2, 8, 20):
                for (before_a, at_a, after_a), (before_b, at_b, after_b) in zip(points, points[step:], strict=False):
                    longest = (after_b - before_a) / frequency * rate
                    shortest = (before_b - after_a) / frequency * rate
                    if longest > 0.95 * size:
                        continue
                    way = (at_b - at_a) % size
                    margin = block + longest * CRYSTAL_PPM / 1e6
                    rig.expect(
                        shortest - margin <= way <= longest + margin,
                        f"bytes between two reads {longest / rate * 1000:.2f} ms apart, capture {capture}",
                        f"{shortest:.0f} to {longest:.0f}, one frame more or less",
                        way if way <= size / 2 or step > 8 else way - size,
                    )
                    widest = max(widest, longest / rate * 1000)
            rig.expect(widest > 20, "longest way compared", "more than 20 ms", f"{widest:.1f} ms")
            rig.note(f"longest way compared, capture {capture}", f"{widest:.1f} ms", "GetPosition, performance counter")


@check("WC-POS-03")
def offsets_are_whole_frames(rig: Rig) -> None:
    """Reads positions of packed 24-bit streams in RUN and PAUSE over more than one round."""
    form = rig.format_of(24)
    for capture in BOTH:
        with running(rig, capture, data_format=form, buffer_bytes=form.block_bytes * 701) as stream:
            stream.set_state(KSSTATE.RUN)
            seen = []
            for _ in range(12):
                rig.system.sleep(0.0017)
                seen.append(stream.stream.get_position())
            stream.set_state(KSSTATE.PAUSE)
            seen.append(stream.stream.get_position())
            stream.moved()
            odd = [position for position in seen if position % form.block_bytes]
            rig.expect_equal(f"positions that are not whole frames of {form.block_bytes}, capture {capture}", odd, [])
            rig.note(f"{len(seen)} positions", "whole frames", "GetPosition")


@check("WC-POS-04")
def render_positions_are_those_of_the_converter(rig: Rig) -> None:
    """Freezes a render stream and compares its position with the engine's counts of that very instant."""
    for form in (rig.format_of(16), rig.format_of(24), rig.format_of(32)):
        with running(rig, False, data_format=form) as stream:
            size, block = stream.channel.buffer_size(), form.block_bytes
            most = FIFO_BYTES + stream.delay_frames * block + BURST_BYTES
            for _ in range(3):
                stream.set_state(KSSTATE.RUN)
                rig.system.sleep(0.005)
                stream.set_state(KSSTATE.PAUSE)
                position, snapshot = stream.stream.get_position(), stream.snapshot()
                ahead = (snapshot.bytes - position) % size
                rig.expect_within(f"fetch pointer ahead of the position, {form.describe()}", ahead, 0, most, "bytes")
                beyond = (position - snapshot.frames * block + size // 2) % size - size // 2
                rig.expect(beyond <= 0, f"position, {form.describe()}", f"at most {snapshot.frames} frames, converted",
                           f"{beyond} bytes more")  # fmt: skip
            stream.moved()
            rig.note(f"fetch pointer ahead of the position, {form.describe()}", f"{ahead} bytes",
                     "GetPosition, SNAP_BYTES, SNAP_FRAMES in PAUSE")  # fmt: skip


@check("WC-POS-05")
def capture_positions_are_those_of_the_converter(rig: Rig) -> None:
    """Freezes a capture stream of a counting pattern: position, write pointer and memory of that instant."""
    for source in (InputSelect.PATTERN, InputSelect.CONVERTER):
        form = rig.format_of(24)
        with running(rig, True, source, form) as stream:
            block, size = form.block_bytes, stream.channel.buffer_size()
            for _ in range(4):
                stream.set_state(KSSTATE.RUN)
                rig.system.sleep(0.004)
                stream.set_state(KSSTATE.PAUSE)
                position, snapshot = stream.stream.get_position(), stream.snapshot()
                ahead = (position - snapshot.bytes + size // 2) % size - size // 2
                most = snapshot.fifo_bytes + stream.delay_frames * block
                rig.expect_within(f"position ahead of the write pointer, {source.name}", ahead, 0, most, "bytes")
                if source is InputSelect.PATTERN:
                    done = min(snapshot.bytes, size)
                    _check_ramp(rig, stream.memory.read(0, done), form, "memory behind the write pointer")
            stream.moved()
            rig.note(f"position ahead of the write pointer, {source.name}", f"{ahead} bytes",
                     "GetPosition, SNAP_BYTES in PAUSE")  # fmt: skip


@check("WC-POS-06")
def an_impulse_leaves_when_the_position_passes(rig: Rig) -> None:
    """Stores one loud frame, taps the DAC's data pin, and compares its time with that of the position passing it."""
    rig.need_bench("tap")
    form = rig.format_of(16)
    at_frame = 500
    with running(rig, False) as stream:
        stream.stream.silence(stream.memory, stream.channel.buffer_size())
        stream.memory.write(at_frame * form.block_bytes, b"\xff\x7f\xff\x7f")
        clocks = rig.board.profile.frame_clocks_at(form.sample_rate)
        rig.board.bench.tap_start()
        stream.set_state(KSSTATE.RUN)
        rig.system.sleep(0.006)
        passes: list[tuple[int, int]] = []
        for _ in range(12):
            before = rig.board.clock.now()
            position = stream.stream.get_position()
            after = rig.board.clock.now()
            frames = position // form.block_bytes
            # The miniport's own snapshot, if it took one, tells the instant of the position; else the bracket holds it.
            low, high = rig.board.read_registers(stream_register(stream.number, regs.STREAM_SNAP_TIME_LO), 2)
            if before <= (high << 32 | low) <= after:
                before = after = high << 32 | low
            # At that instant the position was between `frames` and one more.
            passes.append((before + (at_frame - frames - 1) * clocks, after + (at_frame - frames) * clocks))
            rig.system.sleep(0.0007)
        stream.moved()
        tap = rig.board.bench.tap_read()
        rig.board.bench.tap_stop()
    loud = np.nonzero(tap.samples[:, 0])[0]
    rig.expect_equal("loud frames at the DAC's pin", len(loud), 1)
    dac_frames = -(-rig.board.profile.converter.group_delay_frames // 2)
    left = tap.first_ticks + int(loud[0]) * clocks + dac_frames * clocks
    earliest, latest = max(each for each, _ in passes), min(each for _, each in passes)
    # The frame is a frame long on the wire, and the codec's delay is known to a frame.
    uncertainty = 2 * clocks
    rig.expect(
        earliest - uncertainty <= left <= latest + uncertainty,
        "board time at which the impulse left the jack",
        f"{earliest} to {latest} (the position passes it), two frames more or less",
        left,
    )
    rig.note("position passes the impulse", f"between {earliest} and {latest} ticks", "GetPosition, SNAP_TIME")
    rig.note("impulse leaves the jack", f"{left} ticks", f"tap of the DAC's data, and {dac_frames} frames of the codec")


# ------------------------------------------------------------------ NormalizePhysicalPosition


def _check_normalised(rig: Rig, stream: RawStream, count: int) -> None:
    exact = count * REFERENCE_TIME_PER_SECOND / stream.bytes_per_second
    found = stream.stream.normalize_physical_position(count)
    rig.expect(
        abs(found - count * REFERENCE_TIME_PER_SECOND // stream.bytes_per_second) <= 1,
        f"{count} bytes of {stream.format.describe()} in 100 ns", f"{exact:.1f}, within one", found,
    )  # fmt: skip


@check("WC-NRM-01")
def bytes_become_time(rig: Rig) -> None:
    """Normalises 0, single frames, odd counts and seconds in 16-bit formats."""
    with raw_miniport(rig) as raw:
        for form in (each for each in rig.formats if each.container_bits == 16):
            stream = raw.open(False, form)
            rig.expect_equal("0 bytes in 100 ns", stream.stream.normalize_physical_position(0), 0)
            for count in (1, form.block_bytes, 7 * form.block_bytes, 1001, 65_536, form.bytes_per_second,
                          form.bytes_per_second * 3 + form.block_bytes, 123_456_789):  # fmt: skip
                _check_normalised(rig, stream, count)
            raw.close_streams()
        rig.note("a second of 16 bits", "10000000", "NormalizePhysicalPosition")


@check("WC-NRM-02")
def any_format_and_count_is_normalised(rig: Rig) -> None:
    """Normalises up to 2^40 bytes in every format, also with a stream of another format beside."""
    with raw_miniport(rig) as raw:
        for form in rig.formats:
            stream = raw.open(False, form)
            for count in (form.block_bytes, 1_000_003, (1 << 31) + 5, (1 << 32) + 7, (1 << 40) - 1, 1 << 40):
                _check_normalised(rig, stream, count)
            raw.close_streams()
        wide, narrow = raw.open(False, rig.format_of(24)), raw.open(True, rig.format_of(16, channels=1))
        for count in (6_000_000, (1 << 40) - 1):
            _check_normalised(rig, wide, count)
            _check_normalised(rig, narrow, count)
            _check_normalised(rig, wide, count)
        rig.note("counts up to 2^40", f"{len(rig.formats)} formats", "NormalizePhysicalPosition")


# ------------------------------------------------------------------ formats


def _check_undisturbed(rig: Rig, before: Snapshot, after: Snapshot) -> None:
    """Between both the converter had each of its frames. A snapshot may fall between a tick and its frame."""
    ticks = after.frame_ticks - before.frame_ticks
    rig.expect_within("frames of the running stream between two snapshots", after.frames - before.frames, ticks - 1,
                      ticks + 1)  # fmt: skip
    missed = (after.underruns + after.overruns) - (before.underruns + before.overruns)
    rig.expect_equal("frames of the running stream that were missed", missed, 0)


@check("WC-FMT-01")
def no_new_format_in_run(rig: Rig) -> None:
    """Asks for another format in RUN: refused, and the stream goes on as before."""
    with running(rig, False) as stream:
        old = stream.stream.set_notification_freq(PORT_INTERVAL_MS).FrameSize
        stream.set_state(KSSTATE.RUN)
        rig.system.sleep(SHORT_S)
        before = stream.snapshot()
        for form in (rig.format_of(24), rig.format_of(16, channels=1)):
            rig.expect_status(f"SetFormat({form.describe()}) in RUN", NTSTATUS.INVALID_DEVICE_REQUEST,
                              stream.stream.set_format, form)  # fmt: skip
        rig.system.sleep(SHORT_S)
        after = stream.snapshot()
        rig.expect(after.state is StreamState.RUN, "state of the engine afterwards", "RUN", after.state.name)
        _check_undisturbed(rig, before, after)
        rig.expect_equal("FrameSize of 10 ms", stream.stream.set_notification_freq(PORT_INTERVAL_MS).FrameSize, old)
        _check_normalised(rig, stream, 192_000)
        rig.note("frames while SetFormat was refused", after.frames - before.frames, "SNAP_FRAMES")


@check("WC-FMT-02")
def a_refused_format_leaves_the_old_one(rig: Rig) -> None:
    """Asks stopped streams for formats that cannot be; sizes, times and silence follow the old format."""
    with raw_miniport(rig) as raw:
        for form in (rig.format_of(8), rig.format_of(16), rig.format_of(24, channels=1)):
            stream = raw.open(False, form)
            frame_size = stream.stream.set_notification_freq(PORT_INTERVAL_MS).FrameSize
            for bad in (Format(44_100, 2, 16), Format(12_345, 2, 16), Format(form.sample_rate, 7, 16),
                        Format(form.sample_rate, 2, 32, is_float=True)):  # fmt: skip
                what = f"SetFormat({bad.describe()})"
                rig.expect_status(what, NTSTATUS.INVALID_PARAMETER, stream.stream.set_format, bad)
                found = stream.stream.set_notification_freq(PORT_INTERVAL_MS).FrameSize
                rig.expect_equal(f"FrameSize behind {what}", found, frame_size)
                _check_normalised(rig, stream, 1_000_000)
                stream.stream.silence(stream.memory, 8)
                expected = (b"\x80" if form.container_bits == 8 else b"\0") * 8
                rig.expect_equal(f"Silence behind {what}", stream.memory.read(0, 8).hex(), expected.hex())
            raw.close_streams()
        rig.note("formats refused", "4 for each of 3 streams", "SetFormat")


@check("WC-FMT-03")
def everything_follows_a_new_format(rig: Rig) -> None:
    """Changes rate and width in STOP, then measures the converter clock, notifications and the position's rate."""
    rates = rig.board.profile.rates
    forms = [rig.format_of(16, sample_rate=rates[0])]
    if len(rates) > 1:
        forms.append(rig.format_of(24, sample_rate=min(rates)))
    forms.append(rig.format_of(24, channels=1, sample_rate=rates[0]))
    with rig.converter(InputSelect.LOOPBACK), raw_miniport(rig) as raw, notifications(rig) as found:
        stream = raw.open(False, forms[-1])
        stream.stream.set_notification_freq(PORT_INTERVAL_MS)
        for form in forms:
            stream.stream.set_format(form)
            stream.format = form
            stream.set_state(KSSTATE.RUN)
            clocks = rig.board.read_register(regs.FPGA_FRAME_CLOCKS)
            nominal = float(rig.board.clock.rate) / clocks
            rig.expect_within(f"converter clock, {form.describe()}", nominal, form.sample_rate * 0.999,
                              form.sample_rate * 1.001, "Hz")  # fmt: skip
            rig.system.sleep(0.012)
            count, size = found.count, stream.channel.buffer_size()
            begin, start = rig.board.clock.now(), stream.stream.get_position()
            rig.system.sleep(0.04)
            way = (stream.stream.get_position() - start) % size
            ticks = rig.board.clock.now() - begin
            elapsed = float(rig.board.clock.seconds(ticks)) * form.bytes_per_second
            slack = 0.002 * form.bytes_per_second
            rig.expect_within(f"bytes passed in {ticks} ticks, {form.describe()}", way, elapsed - slack, elapsed + 1,
                              "bytes")  # fmt: skip
            spacings = np.diff(found.times[count:]) / float(rig.board.clock.rate) * 1000
            rig.expect(len(spacings) > 0, f"notifications, {form.describe()}", "some", len(spacings))
            rig.expect_within(f"spacing of notifications, {form.describe()}", float(np.mean(spacings)), 9.7, 10.3, "ms")
            stream.moved()
            stream.set_state(KSSTATE.STOP)
            rig.note(f"{form.describe()}", f"{clocks} clocks a frame, {way} bytes in {elapsed:.0f}",
                     "FRAME_CLOCKS, GetPosition")  # fmt: skip


@check("WC-FMT-04")
def one_clock_one_rate(rig: Rig) -> None:
    """With a stream running, asks for another rate in the other direction, by NewStream and by SetFormat."""
    rates = rig.board.profile.rates
    rig.skip_unless(len(rates) > 1, "the profile promises one rate only")
    first, second = (rig.format_of(16, sample_rate=rate) for rate in rates[:2])
    with rig.converter(InputSelect.LOOPBACK), raw_miniport(rig) as raw:
        for capture in BOTH:
            stream = raw.open(capture, first)
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(SHORT_S)
            before = stream.snapshot()
            rig.expect_status(f"NewStream with {second.sample_rate} Hz beside {first.sample_rate} Hz",
                              NTSTATUS.INVALID_PARAMETER, raw.seen.new_stream, int(not capture), not capture,
                              second)  # fmt: skip
            other = raw.open(not capture, first)
            rig.expect_status(f"SetFormat with {second.sample_rate} Hz beside {first.sample_rate} Hz",
                              NTSTATUS.INVALID_PARAMETER, other.stream.set_format, second)  # fmt: skip
            rig.system.sleep(SHORT_S)
            after = stream.snapshot()
            _check_undisturbed(rig, before, after)
            stream.moved()
            rig.note("rates beside each other", f"{second.sample_rate} Hz refused", "NewStream, SetFormat")
            raw.close_streams()


# ------------------------------------------------------------------ Silence


def _check_silence(rig: Rig, bits: int, value: int) -> None:
    with raw_miniport(rig) as raw:
        for channels in (1, 2):
            stream = raw.open(False, rig.format_of(bits, channels=channels))
            count = 3000
            stream.memory.write(0, b"\x55" * count)
            stream.stream.silence(stream.memory, count)
            wrong = [byte for byte in stream.memory.read(0, count) if byte != value]
            rig.expect(not wrong, f"bytes of silence of {bits} bits", f"all 0x{value:02X}",
                       f"{len(wrong)} others, the first 0x{wrong[0]:02X}" if wrong else "")  # fmt: skip
            raw.close_streams()
        rig.note(f"silence of {bits} bits", f"0x{value:02X} in all {count} bytes", "buffer memory")


@check("WC-SIL-01")
def silence_of_8_bits(rig: Rig) -> None:
    """Silences 3000 bytes of an 8-bit stream."""
    _check_silence(rig, 8, 0x80)


@check("WC-SIL-02")
def silence_of_more_bits(rig: Rig) -> None:
    """Silences 3000 bytes of 16, 24 and 32-bit streams."""
    for bits in (16, 24, 32):
        _check_silence(rig, bits, 0)


@check("WC-SIL-03")
def silence_keeps_to_its_bytes(rig: Rig) -> None:
    """Silences odd counts at odd places, in all three contexts, and looks at every other byte."""
    with raw_miniport(rig) as raw:
        for bits in (8, 16, 24):
            stream = raw.open(False, rig.format_of(bits))
            value = b"\x80" if bits == 8 else b"\0"
            for offset, count in ((0, 1), (7, 0), (13, 1001)):
                for run in (lambda call: call(), rig.system.interrupt, _in_deferred(rig)):
                    stream.memory.write(0, b"\x5a" * 1200)
                    target = stream.memory.slice(offset, count + 64)
                    run(partial(stream.stream.silence, target, count))
                    found = stream.memory.read(0, 1200)
                    expected = b"\x5a" * offset + value * count + b"\x5a" * (1200 - offset - count)
                    wrong = [at for at in range(1200) if found[at] != expected[at]]
                    rig.expect(not wrong, f"buffer behind Silence of {count} bytes at {offset}, {bits} bits",
                               "these bytes and no others", f"byte {wrong[0]} is wrong" if wrong else "")  # fmt: skip
            raw.close_streams()
        rig.note("Silence", "exactly the bytes asked for, in every context", "buffer memory")


def _in_deferred(rig: Rig) -> Callable[[Callable[[], None]], None]:
    def run(call: Callable[[], None]) -> None:
        rig.system.queue_deferred(call)
        rig.system.run_deferred()

    return run


@check("WC-SIL-04")
def silence_is_heard_as_nothing(rig: Rig) -> None:
    """Plays buffers filled by Silence, of every sample size, and looks at what the DAC is sent."""
    rig.need_bench("tap")
    for bits in (8, 16, 24, 32):
        with running(rig, False, data_format=rig.format_of(bits)) as stream:
            size = stream.channel.buffer_size()
            stream.memory.write(0, b"\x3c" * size)
            stream.stream.silence(stream.memory, size)
            rig.board.bench.tap_start()
            stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.006)
            stream.moved()
            samples = rig.board.bench.tap_read().samples
            rig.board.bench.tap_stop()
            rig.expect(len(samples) > 100, "frames tapped at the DAC", "more than 100", len(samples))
            loudest = int(np.abs(samples.astype(np.int64)).max()) >> 8
            rig.expect_equal(f"loudest sample of silence of {bits} bits, steps of 24 bits", loudest, 0)
            rig.note(f"silence of {bits} bits at the DAC", f"{len(samples)} frames of 0", "tap of the DAC's data")


# ------------------------------------------------------------------ the port


@check("WC-PRT-01")
def the_cause_is_cleared_before_notify(rig: Rig) -> None:
    """Runs both directions, and reads causes, counts and group at each Notify."""
    with rig.converter(InputSelect.LOOPBACK), raw_miniport(rig) as raw:
        streams = [raw.open(capture) for capture in BOTH]

        seen: list[tuple[list[int], list[int]]] = []

        def look() -> None:
            causes = []
            for stream in streams:
                address = stream_register(stream.number, regs.STREAM_EVENT_CAUSE)
                cause, enable = rig.board.read_registers(address, 2)
                causes.append(cause & enable)
            seen.append((causes, [stream.snapshot().bytes for stream in streams]))

        with notifications(rig, look) as found:
            for stream in streams:
                stream.stream.set_notification_freq(PORT_INTERVAL_MS)
                stream.set_state(KSSTATE.RUN)
            rig.system.sleep(0.055)
            for stream in streams:
                stream.moved()
                stream.set_state(KSSTATE.PAUSE)
        rig.expect(found.count >= 8, "notifications in 55 ms of two streams", "at least 8", found.count)
        rig.expect_equal("most calls of Notify for one cause", found.most_at_once, 1)
        progress = [0, 0]
        for number, group, (causes, moved) in zip(found.streams, found.groups, seen, strict=False):
            rig.expect_equal(f"causes of stream {number} still set at Notify", f"0x{causes[number]:X}", "0x0")
            mine = unwrap(streams[number].group)
            rig.expect(group is mine, f"group notified for stream {number}", "the one delivered with it", "another")
            frame_bytes = streams[number].format.block_bytes
            rig.expect(moved[number] - progress[number] >= frame_bytes, f"bytes moved since stream {number} notified",
                       f"at least {frame_bytes}", moved[number] - progress[number])  # fmt: skip
            progress[number] = moved[number]
        rig.note("notifications", found.count, "STREAM[].EVENT_CAUSE and SNAP_BYTES at each")


@check("WC-PRT-02")
def amounts_follow_from_the_position(rig: Rig) -> None:
    """Plays a device that misses notifications and sends too many: what it plays and records must be whole."""
    steps = (10, 25, 5, 0, 30, 10, 33, 1)
    with scripted_pin(rig) as (pin, device):
        data = _numbers(300 * MS)
        pin.write(data)
        pin.set_state(KSSTATE.RUN)
        for step in steps * 2:
            device.move(step * MS)
            before = len(device.calls("get_position"))
            device.notify()
            rig.expect(len(device.calls("get_position")) > before, "calls of GetPosition in a service", "some", 0)
        total = 2 * sum(steps) * MS
        rig.expect(bytes(device.played) == data[:total], f"the {total} bytes that the device played",
                   "the client's, in a row", _first_difference(bytes(device.played), data))  # fmt: skip
        rig.note("bytes played by the device, with services missed and doubled", total, "the device's memory")
    with scripted_pin(rig, capture=True) as (pin, device):
        pin.set_state(KSSTATE.RUN)
        captured, done = b"", 0
        for step in steps * 2:
            device.move(step * MS, data[done : done + step * MS])
            done += step * MS
            device.notify()
            captured += pin.read()
        whole = captured == data[: len(captured)] and len(captured) > done - BUFFER_MS * MS // 2
        rig.expect(whole, f"bytes captured of {done}", "the device's, in a row", _first_difference(captured, data))
        rig.note("bytes captured from the device", len(captured), "the client's memory")


def _first_difference(found: bytes, expected: bytes) -> str:
    wrong = np.nonzero(np.frombuffer(found, np.uint8) != np.frombuffer(expected[: len(found)], np.uint8))[0]
    return f"byte {wrong[0]} of {len(found)} is wrong" if len(wrong) else f"{len(found)} bytes"


@check("WC-PRT-03")
def the_port_stays_forty_milliseconds_ahead(rig: Rig) -> None:
    """Starts with 5 ms of data, then feeds enough, and compares what was copied with what was converted."""
    form = rig.format_of(16)
    port = rig.port("wavecyclic")
    pin = port.open_pin(0, False, form)
    with rig.converter(InputSelect.LOOPBACK):
        pin.write(_numbers(5 * MS))
        begin = rig.board.clock.now()
        pin.set_state(KSSTATE.RUN)
        delay_ms = float(rig.board.clock.seconds(rig.board.clock.now() - begin)) * 1000
        rig.expect(delay_ms < 15, "time to RUN with 5 ms of data", "less than 15 ms, no filling up", f"{delay_ms:.1f}")
        pin.set_state(KSSTATE.STOP)
        pin.write(_numbers(150 * MS))
        before = _copied(rig)
        pin.set_state(KSSTATE.RUN)
        leads = []
        for _ in range(8):
            rig.expect(pin.wait_service(0.1), "services in RUN", "one in 100 ms", "none")
            leads.append((_copied(rig) - before - rig.board.snapshot(0).frames * form.block_bytes) / MS)
        rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
        pin.close()
    rig.expect_within("bytes copied and not converted behind a service, least", min(leads), TARGET_MS - 10,
                      TARGET_MS + 1, "ms")  # fmt: skip
    rig.expect_within("bytes copied and not converted behind a service, most", max(leads), TARGET_MS - 10,
                      TARGET_MS + 1, "ms")  # fmt: skip
    rig.note("write point ahead of the converter", f"{min(leads):.1f} to {max(leads):.1f} ms", "CopyTo, SNAP_FRAMES")


def _copied(rig: Rig) -> int:
    """Bytes that the port has moved with CopyTo."""
    return sum(call.arguments[2] for call in rig.trace.of("copy_to", caller="port"))


@check("WC-PRT-04")
def a_starved_device_plays_silence(rig: Rig) -> None:
    """Lets the client fall short twice, once with data in time and once for more than two rounds, and listens."""
    form = rig.format_of(16)
    port = rig.port("wavecyclic")
    first, second = _numbers(70 * MS), _numbers(30 * MS, 20_000)
    with rig.converter(InputSelect.LOOPBACK):
        capture, render = (port.open_pin(number, number == 1, form) for number in (1, 0))
        render.write(first)
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        silences = len(rig.trace.of("silence", caller="port"))
        rig.system.sleep(0.05)
        heard = capture.read()
        render.write(second)  # some 15 ms are left
        rig.system.sleep(0.27)
        heard += capture.read()
        rig.moved(rig.board.snapshot(0).bytes, "STREAM[0].SNAP_BYTES")
        called = len(rig.trace.of("silence", caller="port")) - silences
        render.close()
        capture.close()
    start = next((at for at in range(0, len(heard), 4) if heard[at : at + 4] != bytes(4)), 0)
    data = first + second
    both = heard[start : start + len(data)]
    rig.expect(both == data, "heard from the first frame on", "both parts, the second right behind the first",
               _first_difference(both, data))  # fmt: skip
    rest = heard[start + len(data) :]
    loud = len(rest) - rest.count(0)
    rig.expect(len(rest) > 2 * BUFFER_MS * MS, "time listened behind the data", "more than two rounds", len(rest) // MS)
    rig.expect_equal("bytes that are not silent behind the data", loud, 0)
    rig.expect(called > 0, "calls of Silence in RUN", "some", called)
    rig.note("silence heard behind the data", f"{len(rest) / MS:.0f} ms, {called} calls of Silence", "loopback")


@check("WC-PRT-05")
def positions_are_those_of_the_client(rig: Rig) -> None:
    """Follows KSPROPERTY_AUDIO_POSITION of looped and endless streams over several rounds of a device."""
    steps = (10, 30, 5, 20, 10, 33, 15)
    client = bytearray(_numbers(37 * MS))
    for capture in BOTH:
        for buffer in (client, None):
            kind = f"{'looped' if buffer is not None else 'endless'} {'capture' if capture else 'render'}"
            with scripted_pin(rig, capture=capture, client_buffer=buffer) as (pin, device):
                if not capture and buffer is None:
                    pin.write(_numbers(200 * MS))
                rig.expect_equal(f"position in STOP, {kind}", pin.position(), KSAUDIO_POSITION(0, 0))
                pin.set_state(KSSTATE.RUN)
                moved, before = 0, -1
                for step in steps:
                    device.move(step * MS, bytes(step * MS))
                    moved += step * MS
                    device.notify()
                    position = pin.position()
                    modulo = 37 * MS if buffer is not None else 1 << 62
                    rig.expect_equal(f"PlayOffset, {kind}, behind {moved} bytes", position.PlayOffset, moved % modulo)
                    ahead = position.WriteOffset - position.PlayOffset
                    if buffer is None:
                        rig.expect(position.WriteOffset > before, f"WriteOffset, {kind}", f"more than {before}",
                                   position.WriteOffset)  # fmt: skip
                        before = position.WriteOffset
                    ahead = ahead % modulo if buffer is not None else ahead
                    most = TARGET_MS * MS if not capture else -1
                    if not capture:
                        rig.expect_equal(f"WriteOffset ahead of PlayOffset, {kind}", ahead, most % modulo)
                    else:
                        behind = (-ahead) % modulo if buffer is not None else -ahead
                        rig.expect_within(f"WriteOffset behind PlayOffset, {kind}", behind, 0, 20 * MS, "bytes")
                rig.note(f"{kind}: last position", position, "KSPROPERTY_AUDIO_POSITION")
