"""Checks of the rules WRT and WRP: WaveRT streams, their buffers, registers and positions, and the page services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from codecrig.board import Snapshot, stream_register
from codecrig.contract.checks import check
from codecrig.contract.rig import Rig
from codecrig.contract.verdict import NotJudged, RuleSkipped
from codecrig.contract.watch import unwrap
from codecrig.contract.wavert_support import (
    BURST_BYTES,
    CAPTURE,
    FRAME_SLACK,
    RENDER,
    Intruder,
    block_formats,
    clocks_of,
    delay_frames,
    expect_bytes,
    expect_ramp,
    frames_in,
    half_delay_frames,
    loud,
    moved,
    need,
    noise,
    not_ready,
    open_pair,
    open_pin,
    port_over,
    preload,
    rate_formats,
    recorded_accesses,
    records,
    samples_of,
    status_of,
    wait_bytes,
)
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, InputSelect, Operation, StreamState
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.port import WaveRTPin
from codecrig.portcls import (
    KSAUDIO_POSITION,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    MEMORY_CACHING_TYPE,
    NTSTATUS,
    PAGE_BYTES,
    REFERENCE_TIME_PER_SECOND,
    AudioBuffer,
    Format,
    IMiniportWaveRTInputStream,
    IMiniportWaveRTOutputStream,
    IMiniportWaveRTStream,
    IMiniportWaveRTStreamNotification,
    IPortWaveRTStream,
    Mdl,
    NtStatusError,
)

BOTH = (RENDER, CAPTURE)
NAMES = {RENDER: "render", CAPTURE: "capture"}
HOUR_S = 3600


# ------------------------------------------------------------------ new streams


@check("WRT-NEW-01")
def a_new_stream_stands_at_zero(rig: Rig) -> None:
    """Opens a stream in each direction and reads its position and state before there is a buffer."""
    for pin in BOTH:
        opened = open_pin(rig, pin, rig.formats[0])
        found = opened.position()
        rig.expect_equal(f"position of a new {NAMES[pin]} stream", found, KSAUDIO_POSITION(0, 0))
        state = rig.board.snapshot(pin).state
        rig.expect_equal(f"state of the engine of a new {NAMES[pin]} stream", state, StreamState.STOP)
        rig.note(f"{NAMES[pin]}: state and position", f"{state.name}, {found}", "SNAP_STATE, GetPosition")


@check("WRT-NEW-02")
def a_stream_has_the_interfaces_of_its_direction(rig: Rig) -> None:
    """Asks a render and a capture stream for the interfaces of notification, packet input and packet output."""
    for pin in BOTH:
        stream = open_pin(rig, pin, rig.formats[0])._stream
        for interface, wanted in (
            (IMiniportWaveRTStreamNotification, True),
            (IMiniportWaveRTInputStream, pin == CAPTURE),
            (IMiniportWaveRTOutputStream, pin == RENDER),
        ):
            try:
                stream.query_interface(interface).release()
                found = True
            except NtStatusError:
                found = False
            what = f"{NAMES[pin]} stream: {interface.__name__}"
            rig.expect_equal(what, found, wanted)
            rig.note(what, found, "QueryInterface")


# ------------------------------------------------------------------ buffers


def _sizes(block: int) -> list[int]:
    return [block, block + 1, 960, 4097, 20_000]


@check("WRT-BUF-01")
def buffers_hold_what_was_asked_for(rig: Rig) -> None:
    """Allocates buffers of many sizes, with frames of each size, and looks at size, pages, offset and cache type."""
    count = 0
    for form in block_formats(rig):
        pin = open_pin(rig, RENDER, form)
        for size in _sizes(form.block_bytes):
            made = pin._stream.allocate_audio_buffer(size)
            what = f"{size} bytes asked for in {form.describe()}"
            rig.expect(made.ActualSize >= size, f"{what}: ActualSize", f"at least {size}", made.ActualSize)
            rig.expect_equal(f"{what}: ActualSize modulo the block size", made.ActualSize % form.block_bytes, 0)
            offset, pages = made.OffsetFromFirstPage, _pages(pin, made.AudioBufferMdl)
            rig.expect(0 <= offset < PAGE_BYTES, f"{what}: OffsetFromFirstPage", "less than a page", offset)
            held = pages * PAGE_BYTES
            rig.expect(held >= offset + made.ActualSize, f"{what}: pages", f"{offset + made.ActualSize} bytes", held)
            rig.expect(made.CacheType in list(MEMORY_CACHING_TYPE), f"{what}: CacheType", "0, 1 or 2", made.CacheType)
            pin._stream.free_audio_buffer(made.AudioBufferMdl, made.ActualSize)
            count += 1
        pin.close()
    rig.note("buffers looked at", count, "AllocateAudioBuffer")


def _pages(pin: WaveRTPin, mdl: Mdl) -> int:
    return pin._port_stream.get_physical_pages_count(mdl)


@check("WRT-BUF-02")
def refused_allocations_keep_no_page(rig: Rig) -> None:
    """Asks for too little, for more than there is, with one page left, and of a board that does not answer."""
    form = rig.formats[0]
    pin = open_pin(rig, RENDER, form)
    port = rig._ports[-1]
    allocate = pin._stream.allocate_audio_buffer
    free, memory_bytes = port.pages.free_pages, port.system.memory.length

    def refused(what: str, status: NTSTATUS, size: int, pages: int) -> None:
        rig.expect_status(what, status, allocate, size)
        rig.expect_equal(f"{what}: pages free afterwards", port.pages.free_pages, pages)
        rig.note(what, f"{status.name}, {pages} pages free", "AllocateAudioBuffer")

    for size in (0, form.block_bytes - 1):
        refused(f"{size} bytes", NTSTATUS.UNSUCCESSFUL, size, free)
    refused("more than all memory", NTSTATUS.INSUFFICIENT_RESOURCES, memory_bytes + 1, free)
    hog = pin._port_stream.allocate_pages_for_mdl(memory_bytes, memory_bytes - PAGE_BYTES)
    assert hog is not None
    refused("two pages where one is left", NTSTATUS.INSUFFICIENT_RESOURCES, 2 * PAGE_BYTES, 1)
    pin._port_stream.free_pages_from_mdl(hog)
    with not_ready(rig.board):
        refused("a board that is not ready", NTSTATUS.DEVICE_NOT_READY, 960, free)
    made = allocate(960)
    pin._stream.free_audio_buffer(made.AudioBufferMdl, made.ActualSize)


@check("WRT-BUF-03")
def pages_come_from_the_port_and_go_back(rig: Rig) -> None:
    """Follows the page list of a buffer from the port stream to the client and back."""
    pin = open_pin(rig, RENDER, rig.formats[0])
    pages = rig._ports[-1].pages
    free = pages.free_pages
    stream = pin._notification
    assert stream is not None
    for notified in (False, True):
        begin = len(rig.trace.calls)
        made = stream.allocate_buffer_with_notification(2, 9000) if notified else stream.allocate_audio_buffer(9000)
        given = [
            call.result
            for call in rig.trace.calls[begin:]
            if call.caller == "miniport" and call.method.startswith("allocate_") and call.target is pin._port_stream
        ]
        rig.expect(
            any(each is made.AudioBufferMdl for each in given),
            "page list of the buffer", "one that the port stream has allocated", f"{len(given)} lists, none of them",
        )  # fmt: skip
        rig.expect(pages.free_pages < free, "free pages with a buffer", f"less than {free}", pages.free_pages)
        if notified:
            stream.free_buffer_with_notification(made.AudioBufferMdl, made.ActualSize)
        else:
            stream.free_audio_buffer(made.AudioBufferMdl, made.ActualSize)
        rig.expect_equal("pages free after the free call", pages.free_pages, free)
        rig.expect_equal("page lists that the stream still holds", pin._port_stream.lists_held, 0)
        rig.note(f"pages of a buffer {'with' if notified else 'without'} notification", "all back", "port stream")


@check("WRT-BUF-04")
def allocation_moves_no_data(rig: Rig) -> None:
    """Counts the engine's accesses to the buffer from allocation to PAUSE, with the converter running, then in RUN."""
    need(rig, "bus_monitor")
    form = rig.format_of(16)
    for number in BOTH:
        with rig.converter(InputSelect.PATTERN):
            pin = open_pin(rig, number, form)
            monitor = rig.monitor(0, rig.system.memory.length)
            pin.allocate(480 * form.block_bytes, 2)
            content = noise(480, form, 4)
            pin.buffer.write(0, content)
            pin.set_state(KSSTATE.PAUSE)
            rig.system.sleep(0.002)
            rig.expect_equal(f"{NAMES[number]}: accesses before RUN", monitor.counts(), (0, 0))
            rig.expect(pin.buffer.read(0, len(content)) == content, "the buffer before RUN", "unchanged", "changed")
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.002)
            rig.note(f"{NAMES[number]}: accesses in RUN", monitor.total(), monitor.source)
            rig.moved(monitor.total() * 4, monitor.source)
            pin.close()


@check("WRT-BUF-05")
def the_buffer_ends_at_its_size(rig: Rig) -> None:
    """Lets a buffer of half a page go round more than twice, and counts accesses to the rest of its page."""
    need(rig, "bus_monitor")
    form = rig.format_of(24)
    size = 342 * form.block_bytes
    for number in BOTH:
        with rig.converter(InputSelect.PATTERN):
            pin = open_pin(rig, number, form, buffer_frames=342)
            rig.expect_equal("ActualSize", pin.buffer.length, size)
            start, pages = pin.buffer.physical_address, -(-size // PAGE_BYTES) * PAGE_BYTES
            guard = b"\xa5" * (pages - size)
            rig.board.write_memory(start + size, guard)
            monitor = rig.monitor(start + size, start + pages)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(2.2 * 342 / form.sample_rate)
            pin.set_state(KSSTATE.PAUSE)
            snapshot = moved(rig, number)
            rig.expect(snapshot.bytes > 2 * size, "bytes moved", f"more than two turns of {size}", snapshot.bytes)
            rig.expect_equal(f"{NAMES[number]}: accesses behind the end", monitor.counts(), (0, 0))
            rig.expect(
                rig.board.read_memory(start + size, len(guard)) == guard, "bytes behind the end", "unchanged", "changed"
            )
            rig.note(f"{NAMES[number]}: accesses behind the end", 0, monitor.source)
            pin.close()


@check("WRT-BUF-06")
def the_driver_leaves_the_data_alone(rig: Rig) -> None:
    """Looks at a render buffer after it was played, at a capture buffer ahead of the engine, and at what the driver
    read or wrote there meanwhile."""
    form = rig.format_of(16)
    render, capture = open_pair(
        rig, form, {"packet_bytes": 120 * form.block_bytes}, {"buffer_bytes": 1200 * form.block_bytes}
    )
    content = noise(240, form, 6)
    render.buffer.write(0, content)
    untouched = b"\x5a" * capture.buffer.length
    capture.buffer.write(0, untouched)
    with rig.converter(InputSelect.LOOPBACK), recorded_accesses(rig.board) as seen:
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        rig.system.sleep(0.006)
        render.set_state(KSSTATE.PAUSE)
        capture.set_state(KSSTATE.PAUSE)
        written = moved(rig, CAPTURE).bytes
        played = moved(rig, RENDER).bytes
    rig.expect(played > len(content), "bytes fetched", f"more than the buffer's {len(content)}", played)
    expect_bytes(rig, "render buffer after it was played", render.buffer.read(0, len(content)), content, form)
    found = capture.buffer.read(0, capture.buffer.length)
    expect_bytes(rig, "capture buffer ahead of the engine", found[written:], untouched[written:], form)
    heard = loud(found[:written], form)
    rig.expect(len(heard) > len(content), "bytes heard", f"more than the buffer's {len(content)}", len(heard))
    expect_bytes(rig, "captured frames", heard, (content * 9)[: len(heard)], form)
    for pin in (render, capture):
        start, end = pin.buffer.physical_address, pin.buffer.physical_address + pin.buffer.length
        touching = [
            each for each in seen if each.operation is not Operation.WAIT
            and each.address < end and start < each.address + max(each.length, len(each.data))
        ]  # fmt: skip
        rig.expect_equal(f"requests of the driver to the {'capture' if pin.capture else 'render'} buffer", touching, [])
    rig.note("requests of the driver, none to a buffer", len(seen), "Board.transact")


class _Caches(MiniportWaveRT):
    """A driver whose buffers have the cache type that the check wants."""

    cache_type = MEMORY_CACHING_TYPE.NON_CACHED

    def new_stream(
        self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
    ) -> IMiniportWaveRTStream:
        stream = super().new_stream(port_stream, pin, capture, data_format)
        for name in ("allocate_audio_buffer", "allocate_buffer_with_notification"):
            setattr(stream, name, self._with_type(getattr(stream, name)))
        return stream

    def _with_type(self, allocate: Callable[..., AudioBuffer]) -> Callable[..., AudioBuffer]:
        return lambda *arguments: replace(allocate(*arguments), CacheType=self.cache_type)


@check("WRT-BUF-07")
def only_write_combined_buffers_need_a_barrier(rig: Rig) -> None:
    """Puts a driver under the port that allocates buffers of each cache type, and asks for CallMemoryBarrier."""
    miniport = _Caches(rig.board)
    port = port_over(rig, miniport)
    for cache_type in MEMORY_CACHING_TYPE:
        miniport.cache_type = cache_type
        for count in (None, 2):
            with port.open_pin(RENDER, False, rig.formats[0]) as pin:
                barrier = pin.allocate(4800, count).CallMemoryBarrier
                what = f"CallMemoryBarrier of a {cache_type.name} buffer"
                rig.expect_equal(what, barrier, cache_type is MEMORY_CACHING_TYPE.WRITE_COMBINED)
                rig.note(what, barrier, "KSRTAUDIO_BUFFER")


@check("WRT-FRE-01")
def closing_frees_the_buffer_its_own_way(rig: Rig) -> None:
    """Closes running pins with each kind of buffer and looks at the order of the port's calls."""
    form = rig.formats[0]
    for kind, options in (("notification", {"frames": 480}), ("plain", {"buffer_frames": 700})):
        begin = len(rig.trace.calls)
        pin = open_pin(rig, RENDER, form, **options)
        pin.set_state(KSSTATE.RUN)
        pin.close()
        calls = [call for call in rig.trace.calls[begin:] if call.caller == "port"]
        made = [call for call in calls if call.method.startswith("allocate_")]
        freed = [call for call in calls if call.method.startswith("free_")]
        rig.expect_equal(f"{kind} buffer: allocations and frees", (len(made), len(freed)), (1, 1))
        pairs = {
            "allocate_audio_buffer": "free_audio_buffer",
            "allocate_buffer_with_notification": "free_buffer_with_notification",
        }
        rig.expect_equal(f"{kind} buffer: freed by", freed[0].method, pairs[made[0].method])
        buffer: AudioBuffer = made[0].result
        rig.expect(freed[0].arguments[0] is buffer.AudioBufferMdl, f"{kind} buffer: page list freed", "the same",
                   freed[0].arguments[0])  # fmt: skip
        rig.expect_equal(f"{kind} buffer: size freed", freed[0].arguments[1], buffer.ActualSize)
        states = [call.arguments[0] for call in calls[: calls.index(freed[0])] if call.method == "set_state"]
        rig.expect(states[-1] is not KSSTATE.RUN, f"{kind} buffer: state when freed", "not RUN", states[-1].name)
        released = [n for n, call in enumerate(calls) if call.method == "release" and call.target is freed[0].target]
        rig.expect(
            released[-1] > calls.index(freed[0]), f"{kind} buffer: order", "free before release", "release before free"
        )
        rig.note(f"{kind} buffer", f"{freed[0].method} in {states[-1].name}", "calls")


@check("WRT-FRE-02")
def a_freed_buffer_is_forgotten(rig: Rig) -> None:
    """Frees a buffer after a run, once with no list, and looks whether the engine can still be led to its pages."""
    need(rig, "bus_monitor")
    form = rig.format_of(16)
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form)
        made = pin._stream.allocate_audio_buffer(480 * form.block_bytes)
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.003)
        moved(rig, CAPTURE)
        pin.set_state(KSSTATE.STOP)
        free = rig._ports[-1].pages.free_pages
        pin._stream.free_audio_buffer(None, made.ActualSize)
        rig.expect_equal("pages free after Free without a list", rig._ports[-1].pages.free_pages, free)
        pin._stream.free_audio_buffer(made.AudioBufferMdl, made.ActualSize)
        rig.expect(rig._ports[-1].pages.free_pages > free, "pages free after Free", f"more than {free}", free)
        calls = [call for call in rig.trace.calls if call.caller == "miniport" and call.error is None]
        mapped = [call for call in calls if call.method == "map_allocated_pages"]
        last_unmap = max((calls.index(c) for c in calls if c.method == "unmap_allocated_pages"), default=-1)
        first_free = min(calls.index(c) for c in calls if c.method == "free_pages_from_mdl")
        rig.expect(not mapped or -1 < last_unmap < first_free, "order", "unmap before free", "free before unmap")
        monitor = rig.monitor(0, rig.system.memory.length)
        # As if somebody switched the engine on by mistake: it must find nothing to work with.
        control = stream_register(CAPTURE, regs.STREAM_CONTROL)
        rig.board.write_register(control, StreamState.RUN)
        rig.system.sleep(0.002)
        accesses = monitor.counts()
        rig.board.write_register(control, StreamState.STOP)
        rig.expect_equal("accesses of the engine behind the free call", accesses, (0, 0))
        rig.note("accesses behind the free call, with the engine told to run", 0, monitor.source)


# ------------------------------------------------------------------ latency


@check("WRT-LAT-01")
def latency_covers_the_fifo(rig: Rig) -> None:
    """Compares FifoSize with the most that the FIFO held, for each frame size and rate; delays with the profile's."""
    for form in rate_formats(rig):
        for number in BOTH:
            with rig.converter(InputSelect.CONVERTER):
                pin = open_pin(rig, number, form, buffer_frames=96)
                pin.set_state(KSSTATE.RUN)
                rig.system.sleep(0.0015)
                latency = pin._stream.get_hw_latency()
                high = rig.board.read_register(stream_register(number, regs.STREAM_FIFO_HIGH_WATER))
                moved(rig, number)
                pin.close()
            what = f"{NAMES[number]}, {form.describe()}"
            rig.expect(latency.FifoSize >= high > 0, f"{what}: FifoSize", f"at least {high} bytes", latency.FifoSize)
            delay = (latency.ChipsetDelay + latency.CodecDelay) * form.sample_rate / REFERENCE_TIME_PER_SECOND
            whole = rig.board.profile.converter.group_delay_frames
            rig.expect_within(f"{what}: ChipsetDelay plus CodecDelay", delay, whole / 2, whole + 8, "frames of 100 ns")
            rig.expect(any((latency.FifoSize, latency.ChipsetDelay, latency.CodecDelay)), what, "not all zero", latency)
            rig.note(what, f"{latency}; at most {high} bytes in the FIFO", "GetHWLatency; FIFO_HIGH_WATER")


@check("WRT-LAT-02")
def latency_covers_the_way_to_the_jack(rig: Rig) -> None:
    """Times a click in the last frame of a packet from its fetch to the jack, and from the jack to memory."""
    rig.need_bench("tap")
    need(rig, "analog_loopback")
    form, frames = rig.format_of(16), 96
    block, clocks = form.block_bytes, clocks_of(rig, form)
    with rig.converter(InputSelect.CONVERTER):
        render, capture = open_pair(rig, form, {"packet_bytes": frames * block}, {"buffer_bytes": 960 * block})
        ends = records(rig, RENDER)
        click = np.zeros((frames, 2), np.int16)
        click[-1] = (20000, 20000)
        render.buffer.write(0, bytes(render.buffer.length))
        render.buffer.write(0, click.tobytes())
        # From here on the converter has the rate of the streams, and so has every frame of the tap.
        capture.set_state(KSSTATE.RUN)
        rig.board.bench.tap_start()
        render.set_state(KSSTATE.RUN)
        rig.system.sleep(0.004)
        latencies = {pin: each._stream.get_hw_latency() for pin, each in ((RENDER, render), (CAPTURE, capture))}
        render.set_state(KSSTATE.PAUSE)
        capture.set_state(KSSTATE.PAUSE)
        snapshot = moved(rig, CAPTURE)
        tap = rig.board.bench.tap_read()
        rig.board.bench.tap_stop()
        heard = np.abs(samples_of(capture.buffer.read(0, snapshot.bytes), form)[:, 0])
    at_dac = np.flatnonzero(tap.samples[:, 0])
    rig.expect(len(at_dac) > 0 and len(ends) > 0, "the click at the DAC", "there", f"{len(at_dac)} frames")
    # The tap's times are those at which a frame begins on the wire; a frame later the DAC has it.
    jack = tap.first_ticks + (int(at_dac[0]) + 1 + half_delay_frames(rig)) * clocks
    limits = {
        pin: latency.FifoSize / block + delay_frames(latency, form) + FRAME_SLACK for pin, latency in latencies.items()
    }
    out = (jack - ends[0].time_ticks) / clocks
    rig.expect_within("from fetch to jack", out, 0, limits[RENDER], "frames")
    rig.note("from fetch to jack", f"{out:.2f} of {limits[RENDER]:.2f} frames", "tap, event record, GetHWLatency")
    came = int(np.argmax(heard > 0.5 * heard.max()))
    into = (snapshot.start_ticks + came * clocks - jack) / clocks
    rig.expect_within("from jack to memory", into, 0, limits[CAPTURE], "frames")
    rig.note("from jack to memory", f"{into:.2f} of {limits[CAPTURE]:.2f} frames", "tap, START_TIME, GetHWLatency")
    delays = {}
    for rate in rig.board.profile.rates:
        other = Format(rate, form.channels, form.container_bits)
        with open_pin(rig, RENDER, other, buffer_frames=96) as pin:
            delays[rate] = pin._stream.get_hw_latency().CodecDelay * rate / REFERENCE_TIME_PER_SECOND
    low, high = min(delays.values()), max(delays.values())
    rig.expect(high - low <= 0.01 * high + 0.01, "CodecDelay in frames at each rate", "the same", delays)
    rig.note("CodecDelay in frames by rate", delays, "GetHWLatency")


# ------------------------------------------------------------------ registers


def _position_register(pin: WaveRTPin) -> KSRTAUDIO_HWREGISTER:
    try:
        return pin._stream.get_position_register()
    except NtStatusError as error:
        raise RuleSkipped(f"the miniport offers no position register: {error}") from error


def _value(register: KSRTAUDIO_HWREGISTER) -> int:
    return int.from_bytes(register.Register.read(0, register.Width // 8), "little")


@check("WRT-PRG-01")
def without_a_register_one_asks_for_the_position(rig: Rig) -> None:
    """Asks for the position register; where there is none, the refusal and GetPosition behind it count."""
    pin = open_pin(rig, RENDER, rig.formats[0], buffer_frames=480)
    try:
        register = pin._stream.get_position_register()
    except NtStatusError as error:
        accepted = (NTSTATUS.NOT_SUPPORTED, NTSTATUS.NOT_IMPLEMENTED)
        rig.expect(error.status in accepted, "GetPositionRegister", "NOT_SUPPORTED", error)
        rig.expect_status("the client's request", NTSTATUS.NOT_SUPPORTED, pin.position_register)
        rig.expect_equal("GetPosition instead", pin.position(), KSAUDIO_POSITION(0, 0))
        rig.note("GetPositionRegister", error, "GetPositionRegister")
    else:
        rig.expect(register is not None, "GetPositionRegister", "a register or NOT_SUPPORTED", register)
        rig.note("GetPositionRegister", register, "GetPositionRegister")


def _between(value: int, low: int, high: int, size: int, slack: int) -> bool:
    """Is `value`, which wraps at `size`, between two counts that do not, give or take `slack`?"""
    return (value - (low - slack)) % size <= high - low + 2 * slack


@check("WRT-PRG-02")
def the_position_register_is_an_offset(rig: Rig) -> None:
    """Reads the position register, if there is one, between snapshots over more than two turns of the buffer."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, buffer_frames=240)
        size = pin.buffer.length
        register = _position_register(pin)
        rig.expect(register.Width in (32, 64), "Width", "32 or 64", register.Width)
        rig.expect_equal("the register at the start", _value(register), 0)
        pin.set_state(KSSTATE.RUN)
        fifo = pin._stream.get_hw_latency().FifoSize
        while True:
            before = rig.board.snapshot(RENDER)
            value = _value(register)
            after = rig.board.snapshot(RENDER)
            rig.expect(0 <= value < size, "the register", f"0 to {size - 1}", value)
            rig.expect(
                _between(value, before.bytes - fifo, after.bytes, size, register.Accuracy),
                "the register between two snapshots",
                f"{before.bytes % size} to {after.bytes % size}, give or take {register.Accuracy}", value,
            )  # fmt: skip
            if after.bytes > 2.2 * size:
                break
        moved(rig, RENDER)


@check("WRT-PRG-03")
def the_position_register_agrees_with_get_position(rig: Rig) -> None:
    """Reads the position register, if there is one, on both sides of GetPosition."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, buffer_frames=240)
        size = pin.buffer.length
        register = _position_register(pin)
        latency = pin._stream.get_hw_latency()
        allowed = register.Accuracy + round(delay_frames(latency, form)) * form.block_bytes + latency.FifoSize
        pin.set_state(KSSTATE.RUN)
        for _ in range(20):
            before, position, after = _value(register), pin.position(), _value(register)
            span = (after - before) % size
            rig.expect(
                _between(position.PlayOffset, before, before + span, size, allowed)
                or _between(position.WriteOffset, before, before + span, size, allowed),
                "GetPosition", f"{before} to {after}, give or take {allowed}", position,
            )  # fmt: skip
            rig.system.sleep(0.0007)
        moved(rig, RENDER)


class _HasRegisters(MiniportWaveRT):
    """A driver that offers both registers (the position register is the clock: nobody reads it here)."""

    def new_stream(
        self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
    ) -> IMiniportWaveRTStream:
        stream = super().new_stream(port_stream, pin, capture, data_format)
        stream.get_position_register = stream.get_clock_register  # type: ignore[method-assign]
        return stream


@check("WRT-PRG-04")
def registers_are_mapped_once(rig: Rig) -> None:
    """Puts a driver with both registers under the port and maps each twice, then once more after closing."""
    port = port_over(rig, _HasRegisters(rig.board))
    for turn in range(2):
        pin = port.open_pin(RENDER, False, rig.formats[0])
        for name in ("clock_register", "position_register"):
            register = getattr(pin, name)()
            rig.expect(len(register.Register.read(0, 4)) == 4, f"{name}: reading", "4 bytes", "something else")
            try:
                getattr(pin, name)()
            except NtStatusError as error:
                rig.note(f"{name}, second request of pin {turn}", error.status, name)
            else:
                rig.expect(False, f"{name}: second request", "a failure", "success")
            if name == "clock_register":
                kept = register
        pin.close()
        try:
            kept.Register.read(0, 4)
        except Exception as error:
            rig.note("reading a register after closing", error, "KSRTAUDIO_HWREGISTER")
        else:
            rig.expect(False, "reading a register after closing", "a failure", "success")


def _clock(rig: Rig, pin: WaveRTPin) -> KSRTAUDIO_HWREGISTER:
    try:
        return pin._stream.get_clock_register()
    except NtStatusError as error:
        raise RuleSkipped(f"the miniport offers no clock register: {error}") from error


@check("WRT-CLK-01", evidence_seconds=(1 << 32) / 12_288_000)
def the_clock_register_counts_in_every_state(rig: Rig) -> None:
    """Compares the clock register with board time and with the host's clock in every state."""
    form = rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, buffer_frames=480)
        register = _clock(rig, pin)
        modulus = 1 << register.Width
        rate = register.Numerator / register.Denominator

        def expect_rate(what: str, first: tuple[int, int, int], last: tuple[int, int, int]) -> None:
            ticks = (last[0] - first[0]) % modulus
            # 1 % for the crystal; the instants lie somewhere in their brackets.
            low, high = 0.99e-9 * rate * (last[1] - first[2]), 1.01e-9 * rate * (last[2] - first[1])
            rig.expect_within(what, ticks, low - register.Accuracy, high + register.Accuracy)
            rig.note(what, f"{ticks} ({low:.0f} to {high:.0f})", "clock register, performance counter")

        readings: list[tuple[int, int, int]] = []
        for state in (KSSTATE.STOP, KSSTATE.ACQUIRE, KSSTATE.PAUSE, KSSTATE.RUN, KSSTATE.PAUSE, KSSTATE.STOP):
            pin.set_state(state)
            for look in range(2):
                before, before_ns = rig.board.clock.now(), rig.board.link.host_time_ns()
                value = _value(register)
                after_ns, after = rig.board.link.host_time_ns(), rig.board.clock.now()
                rig.expect(
                    _between(value, before, after, modulus, register.Accuracy),
                    f"clock register in {state.name}",
                    f"{before % modulus} to {after % modulus} (board time)", value,
                )  # fmt: skip
                readings.append((value, before_ns, after_ns))
                if look == 0:
                    rig.system.sleep(0.006)
            if state is KSSTATE.RUN:
                moved(rig, RENDER)
            expect_rate(f"ticks in {state.name} against the host's clock", *readings[-2:])
        expect_rate("ticks over all states against the host's clock", readings[0], readings[-1])
    if not rig.long or rig.board.profile.kind == "twin" or register.Width > 32:
        rig.note("the wrap of the register", "not waited for", "")
        rig.covers_part()
        return
    before, first = rig.board.clock.now(), _value(register)
    rig.system.sleep(1.02 * modulus / rate)
    last, after = _value(register), rig.board.clock.now()
    rig.expect(_between(last, before + modulus, after, modulus, register.Accuracy), "clock register behind its wrap",
               f"{after % modulus} (board time)", last)  # fmt: skip
    rig.note("the register before and behind its wrap", f"{first} and {last}", "clock register")


@check("WRT-CLK-02", evidence_seconds=2.0)
def the_sample_clock_comes_from_the_clock_shown(rig: Rig) -> None:
    """Reads the clock register around snapshots: ticks for each frame are the same whole number all the time."""
    form = rig.format_of(16)
    span_s = 2.0 if rig.long else 0.06
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, buffer_frames=480)
        register = _clock(rig, pin)
        modulus = 1 << register.Width
        ratio = register.Numerator / register.Denominator / form.sample_rate
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.001)
        low, high, last, unwrapped = -1e18, 1e18, _value(register), 0
        for _ in range(12):
            before = _value(register)
            snapshot = rig.board.snapshot(CAPTURE)
            after = _value(register)
            unwrapped += (before - last) % modulus
            last = before
            # The clock at frame 0, by this reading: somewhere in here, and the same for all readings.
            low = max(low, unwrapped - (snapshot.frames + 1) * ratio - 2)
            high = min(high, unwrapped + (after - before) % modulus - snapshot.frames * ratio + ratio + 2)
            rig.expect(
                low <= high, f"clock ticks at frame {snapshot.frames}", f"{ratio:g} for each frame since the first",
                f"{low - high:.0f} ticks off",
            )  # fmt: skip
            rig.system.sleep(span_s / 12)
        rig.note("clock ticks for each frame", f"{ratio:g} over {moved(rig, CAPTURE).frames} frames", "clock register")


# ------------------------------------------------------------------ positions


@check("WRT-POS-01")
def offsets_stay_inside_the_buffer(rig: Rig) -> None:
    """Reads positions in every state, with buffers so small that the end of the buffer is met often."""
    form = rig.format_of(16)
    for number in BOTH:
        for frames in (2, 97):
            with rig.converter(InputSelect.LOOPBACK):
                pin = open_pin(rig, number, form, buffer_frames=frames)
                size, seen = pin.buffer.length, []
                for state in (*KSSTATE, KSSTATE.PAUSE, KSSTATE.ACQUIRE):
                    pin.set_state(state)
                    for _ in range(12 if state is KSSTATE.RUN else 1):
                        position = pin.position()
                        seen.append(position)
                        for name in ("PlayOffset", "WriteOffset"):
                            offset = getattr(position, name)
                            rig.expect(0 <= offset < size, f"{NAMES[number]}: {name} in {state.name}",
                                       f"0 to {size - 1}", offset)  # fmt: skip
                        if state is KSSTATE.RUN:
                            rig.system.sleep(0.0003)
                moved(rig, number)
                pin.set_state(KSSTATE.STOP)
                rig.expect_equal(f"{NAMES[number]}: position in STOP", pin.position(), KSAUDIO_POSITION(0, 0))
                rig.note(f"{NAMES[number]}, {size} bytes", f"{len(seen)} readings inside", "GetPosition")
                pin.close()


def _read_with_snapshots(rig: Rig, pin: WaveRTPin, number: int, count: int = 12) -> list[tuple[Any, ...]]:
    """(snapshot, position, snapshot) while the stream runs."""
    found = []
    for _ in range(count):
        before = rig.board.snapshot(number)
        position = pin.position()
        found.append((before, position, rig.board.snapshot(number)))
        rig.system.sleep(0.0007)
    return found


@check("WRT-POS-02")
def a_render_position_is_that_of_the_converter(rig: Rig) -> None:
    """Takes each position between two snapshots: PlayOffset against frames converted, WriteOffset against bytes
    fetched, and the stretch between them."""
    form = rig.format_of(16)
    block = form.block_bytes
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form, buffer_frames=600)
        size, latency = pin.buffer.length, pin._stream.get_hw_latency()
        delay = round(delay_frames(latency, form)) * block
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.001)
        for before, position, after in _read_with_snapshots(rig, pin, RENDER):
            rig.expect(
                _between(position.WriteOffset, before.bytes, after.bytes, size, 0), "WriteOffset",
                f"{before.bytes % size} to {after.bytes % size} (bytes fetched)", position.WriteOffset,
            )  # fmt: skip
            low, high = before.frames * block - delay, after.frames * block
            rig.expect(
                _between(position.PlayOffset, low, high, size, FRAME_SLACK * block), "PlayOffset",
                f"{low % size} to {high % size} (frames converted, less the codec's delay)", position.PlayOffset,
            )  # fmt: skip
            stretch = (position.WriteOffset - position.PlayOffset) % size
            limit = latency.FifoSize + delay + BURST_BYTES
            rig.expect_within("bytes that belong to the device", stretch, 0, limit)
        rig.note("bytes that belong to the device", f"{stretch} of {limit}", "GetPosition, GetHWLatency")
        moved(rig, RENDER)


@check("WRT-POS-03")
def a_capture_position_tells_what_is_final(rig: Rig) -> None:
    """Reads captured bytes up to WriteOffset at once and again later, and compares offsets with snapshots."""
    need(rig, "pattern")
    form = rig.format_of(24)
    block = form.block_bytes
    with rig.converter(InputSelect.PATTERN):
        pin = open_pin(rig, CAPTURE, form, buffer_frames=4000)
        size, latency = pin.buffer.length, pin._stream.get_hw_latency()
        limit = latency.FifoSize + round(delay_frames(latency, form)) * block + block
        pin.set_state(KSSTATE.RUN)
        rig.system.sleep(0.001)
        early = b""
        for before, position, after in _read_with_snapshots(rig, pin, CAPTURE, 8):
            rig.expect(
                _between(position.WriteOffset, before.bytes, after.bytes, size, 0), "WriteOffset",
                f"{before.bytes % size} to {after.bytes % size} (bytes in memory)", position.WriteOffset,
            )  # fmt: skip
            rig.expect_within("PlayOffset ahead of WriteOffset", (position.PlayOffset - position.WriteOffset) % size, 0,
                              limit, "bytes")  # fmt: skip
            low, high = before.frames * block, after.frames * block + limit
            rig.expect(
                _between(position.PlayOffset, low, high, size, 0), "PlayOffset",
                f"{low} to {high} (frames given by the converter, more by its delay)", position.PlayOffset,
            )  # fmt: skip
            final = pin.buffer.read(0, position.WriteOffset)
            expect_bytes(rig, "bytes read before", final[: len(early)], early, form)
            expect_ramp(rig, "bytes before WriteOffset", final[: len(final) // block * block], form, 0)
            early = final
        moved(rig, CAPTURE)
        rig.note("bytes before WriteOffset, read at once and later", len(early), "buffer, GetPosition")


@check("WRT-POS-04")
def positions_move_at_the_byte_rate_and_stand_in_pause(rig: Rig) -> None:
    """Compares steps of both offsets with elapsed board time in RUN, PAUSE, ACQUIRE, and over the next RUN."""
    form = rig.format_of(16)
    block = form.block_bytes
    for number in BOTH:
        with rig.converter(InputSelect.PATTERN if number == CAPTURE else InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, buffer_frames=700)
            size = pin.buffer.length
            # A fetch moves a burst at once.
            bursts = {"PlayOffset": 0.0, "WriteOffset": BURST_BYTES / block}
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.002)
            points = []
            for _ in range(8):
                before = rig.board.clock.now()
                position = pin.position()
                points.append((before, position, rig.board.clock.now()))
                rig.system.sleep(0.0008)
            for (first_before, first, first_after), (last_before, last, last_after) in pairwise(points):
                for name, burst in bursts.items():
                    step = (getattr(last, name) - getattr(first, name)) % size / block
                    low = frames_in(rig, last_before - first_after, form) - FRAME_SLACK - burst
                    high = frames_in(rig, last_after - first_before, form) + FRAME_SLACK + burst
                    rig.expect_within(f"{NAMES[number]}: frames that {name} moved", step, low, high, "frames")
            for state in (KSSTATE.PAUSE, KSSTATE.ACQUIRE, KSSTATE.PAUSE):
                pin.set_state(state)
                frozen = pin.position()
                for _ in range(3):
                    rig.system.sleep(0.0007)
                    rig.expect_equal(f"{NAMES[number]}: position in {state.name}", pin.position(), frozen)
            before = rig.board.clock.now()
            pin.set_state(KSSTATE.RUN)
            position, after = pin.position(), rig.board.clock.now()
            for name, burst in bursts.items():
                jump = (getattr(position, name) - getattr(frozen, name)) % size / block
                high = frames_in(rig, after - before, form) + FRAME_SLACK + burst
                rig.expect_within(f"{NAMES[number]}: frames that {name} moved over RUN", jump, 0, high, "frames")
            rig.note(f"{NAMES[number]}: readings at the byte rate", len(points), "GetPosition, TIME")
            moved(rig, number)
            pin.close()


@check("WRT-POS-05", evidence_seconds=HOUR_S)
def an_hour_later_the_position_is_exact(rig: Rig) -> None:
    """Sets the counters an hour ahead, and ahead of 2^32 frames; often read or not, the position is the counted one."""
    rig.covers_part()
    form = rig.format_of(16)
    block = form.block_bytes
    for number in BOTH:
        with rig.converter(InputSelect.PATTERN if number == CAPTURE else InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, buffer_frames=441)
            size = pin.buffer.length
            differences = []
            for span_frames in (0, HOUR_S * form.sample_rate, 1 << 32, 1 << 40):
                pin.set_state(KSSTATE.RUN)
                for _ in range(5):
                    pin.position()
                pin.set_state(KSSTATE.PAUSE)
                preload(rig, number, form, span_frames * block // size * size)
                pin.set_state(KSSTATE.RUN)
                for _ in range(5):
                    rig.system.sleep(0.0003)
                    pin.position()
                pin.set_state(KSSTATE.PAUSE)
                position, snapshot = pin.position(), rig.board.snapshot(number)
                what = f"{NAMES[number]}: offsets behind {span_frames / form.sample_rate:.0f} s"
                rig.expect_equal(f"{what}: WriteOffset", position.WriteOffset, snapshot.bytes % size)
                differences.append((position.PlayOffset - snapshot.frames * block) % size)
                rig.note(what, f"{position}, {snapshot.frames} frames", "GetPosition, SNAP_FRAMES")
            rig.expect_equal(
                f"{NAMES[number]}: PlayOffset less frames converted, at each time", set(differences), {differences[0]}
            )
            moved(rig, number)
            pin.close()


@check("WRT-POS-06")
def a_call_in_between_tears_nothing(rig: Rig) -> None:
    """Lets STOP, or another reader, come in behind each link call of GetPosition, GetPacketCount and GetReadPacket."""
    form = rig.format_of(16)
    frames = 120
    tried = 0
    for number in BOTH:
        with rig.converter(InputSelect.PATTERN), Intruder(rig.board) as intruder:
            pin = open_pin(rig, number, form, frames=frames)
            size, stream = pin.buffer.length, pin._stream
            packets = pin._output.get_packet_count if pin._output is not None else _packet_number(pin)
            looks: list[tuple[str, Callable[[], Any]]] = [("GetPosition", stream.get_position), ("packets", packets)]
            for name, look in looks:
                for link_call in (1, 2, 3):
                    pin.set_state(KSSTATE.RUN)
                    wait_bytes(rig, number, 3 * frames * form.block_bytes)
                    intruder.behind(link_call, partial(pin.set_state, KSSTATE.STOP))
                    found = look()
                    came = intruder.came
                    zero = KSAUDIO_POSITION(0, 0) if name == "GetPosition" else 0
                    rig.expect(
                        not came or found == zero, f"{NAMES[number]}: {name} with STOP behind link call {link_call}",
                        f"{zero}, or a refusal", found,
                    )  # fmt: skip
                    tried += came
                    pin.set_state(KSSTATE.STOP)
                    rig.expect_equal(f"{name}: position behind STOP", pin.position(), KSAUDIO_POSITION(0, 0))
                    pin.set_state(KSSTATE.RUN)
                    wait_bytes(rig, number, 8 * form.block_bytes)
                    position, snapshot = pin.position(), rig.board.snapshot(number)
                    rig.expect(
                        position.WriteOffset <= snapshot.bytes < size, "WriteOffset in the next RUN",
                        f"at most {snapshot.bytes}", position.WriteOffset,
                    )  # fmt: skip
                    ahead = position.PlayOffset - snapshot.frames * form.block_bytes
                    delay = round(delay_frames(stream.get_hw_latency(), form)) * form.block_bytes
                    rig.expect(ahead <= delay, "PlayOffset in the next RUN", f"no value from before: {snapshot.frames}"
                               " frames were converted", position.PlayOffset)  # fmt: skip
                    pin.set_state(KSSTATE.STOP)
            if number == CAPTURE:
                _two_readers(rig, pin, intruder, frames * form.block_bytes)
            pin.close()
    if not tried:
        raise NotJudged("no link call of the methods could be intercepted")
    rig.note("calls with STOP in between", tried, "Board.transact")


def _packet_number(pin: WaveRTPin) -> Callable[[], int]:
    stream = pin._input
    assert stream is not None

    def number() -> int:
        try:
            return stream.get_read_packet().PacketNumber + 1
        except NtStatusError:
            return 0

    return number


def _two_readers(rig: Rig, pin: WaveRTPin, intruder: Intruder, packet_bytes: int) -> None:
    """Two readers at the same time never get the same packet."""
    for link_call in (1, 2):
        pin.set_state(KSSTATE.RUN)
        wait_bytes(rig, CAPTURE, 3 * packet_bytes)
        numbers: list[int] = []
        look = _packet_number(pin)
        intruder.behind(link_call, lambda look=look, numbers=numbers: numbers.append(look()))  # type: ignore[misc]
        numbers.append(look())
        _ = intruder.came
        read = [each for each in numbers if each]
        rig.expect(len(read) == len(set(read)), "packets of two readers at once", "different ones", read)
        pin.set_state(KSSTATE.STOP)


@check("WRT-POS-07")
def what_is_written_ahead_of_write_offset_is_heard(rig: Rig) -> None:
    """Freezes a stream, changes all bytes from WriteOffset plus a burst on, and listens to what follows."""
    need(rig, "digital_loopback")
    form = rig.format_of(16)
    block, frames = form.block_bytes, 480
    render, capture = open_pair(rig, form, {"buffer_bytes": frames * block}, {"buffer_bytes": 960 * block})
    old, new = noise(frames, form, 1), noise(frames, form, 2)
    render.buffer.write(0, old)
    capture.buffer.write(0, bytes(capture.buffer.length))
    with rig.converter(InputSelect.LOOPBACK):
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        rig.system.sleep(0.002)
        render.set_state(KSSTATE.PAUSE)
        first = -(-(render.position().WriteOffset + BURST_BYTES) // block) * block
        render.buffer.write(first, new[first:])
        render.set_state(KSSTATE.RUN)
        rig.system.sleep(0.007)
        render.set_state(KSSTATE.PAUSE)
        capture.set_state(KSSTATE.PAUSE)
        moved(rig, RENDER)
    data = np.frombuffer(capture.buffer.read(0, capture.buffer.length), np.uint8).reshape(-1, block)
    heard = data[data.any(axis=1)].tobytes()
    rig.expect(len(heard) > first + 100 * block, "bytes heard", f"more than {first + 100 * block}", len(heard))
    expect_bytes(rig, "what is heard from there on", heard[first:][: len(new) - first],
                 new[first:][: len(heard) - first], form)  # fmt: skip
    rig.note("changed from byte", f"{first}, of {len(heard)} heard", "WriteOffset, digital loopback")


# ------------------------------------------------------------------ states


@check("WRT-STA-01")
def stop_leads_back_to_the_beginning(rig: Rig) -> None:
    """Starts twice: what is heard first is the beginning of the buffer, and STOP clears every count."""
    need(rig, "digital_loopback")
    form = rig.format_of(16)
    frames = 120
    size = 2 * frames * form.block_bytes
    render, capture = open_pair(rig, form, {"packet_bytes": size // 2}, {"buffer_bytes": 1000 * form.block_bytes})
    with rig.converter(InputSelect.LOOPBACK):
        for turn in range(2):
            content = noise(2 * frames, form, 20 + turn)
            capture.buffer.write(0, bytes(capture.buffer.length))
            render.set_state(KSSTATE.PAUSE)
            rig.expect_equal(f"turn {turn}: packets before RUN", render.packet_count(), 0)
            render.buffer.write(0, content)
            output = render._output
            assert output is not None
            output.set_write_packet(0, 0, 0)
            capture.set_state(KSSTATE.RUN)
            render.set_state(KSSTATE.RUN)
            rig.system.sleep(0.002)
            output.set_write_packet(render.packet_count() + 1, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, 40)
            rig.system.sleep(0.004)
            moved(rig, RENDER)
            capture.set_state(KSSTATE.PAUSE)
            heard = loud(capture.buffer.read(0, capture.buffer.length), form)[: frames * form.block_bytes]
            expect_bytes(rig, f"turn {turn}: first frames heard", heard, content[: len(heard)], form)
            rig.expect(len(heard) > 0, f"turn {turn}: frames heard", "some", 0)
            for pin, number in ((render, RENDER), (capture, CAPTURE)):
                pin.set_state(KSSTATE.STOP)
                rig.expect_equal(f"{NAMES[number]}: position in STOP", pin.position(), KSAUDIO_POSITION(0, 0))
                snapshot = rig.board.snapshot(number)
                counts = (snapshot.frames, snapshot.bytes, snapshot.fifo_bytes, snapshot.descriptors, snapshot.ended)
                rig.expect_equal(f"{NAMES[number]}: counts, FIFO and end mark in STOP", counts, (0, 0, 0, 0, False))
            rig.expect_equal(f"turn {turn}: packets in STOP", render.packet_count(), 0)
            rig.note(f"turn {turn}", f"{len(heard)} bytes from the beginning heard", "digital loopback, snapshots")


@check("WRT-STA-02")
def run_without_a_buffer_is_refused(rig: Rig) -> None:
    """Asks a stream without a buffer to run."""
    pin = rig.wavert().open_pin(0, False, rig.formats[0])
    rig.expect_status("SetState(RUN) without a buffer", NTSTATUS.INVALID_DEVICE_STATE, pin.set_state, KSSTATE.RUN)
    rig.expect_equal("state afterwards", pin.state, KSSTATE.PAUSE)


@check("WRT-STA-03")
def a_thousand_wraps_without_a_seam(rig: Rig) -> None:
    """Plays a buffer of 30 bytes a thousand times round, and one of 2058 bytes, and compares every frame heard."""
    need(rig, "digital_loopback")
    form = rig.format_of(24)
    block = form.block_bytes
    for frames, wraps in ((5, 1000), (343, 3)):
        render, capture = open_pair(
            rig, form, {"buffer_bytes": frames * block}, {"buffer_bytes": (frames * wraps + 200) * block}
        )
        content = noise(frames, form, frames)
        render.buffer.write(0, content)
        capture.buffer.write(0, bytes(capture.buffer.length))
        with rig.converter(InputSelect.LOOPBACK):
            capture.set_state(KSSTATE.RUN)
            render.set_state(KSSTATE.RUN)
            rig.system.sleep((frames * wraps + 40) / form.sample_rate)
            render.set_state(KSSTATE.PAUSE)
            capture.set_state(KSSTATE.PAUSE)
            snapshot = moved(rig, RENDER)
        rig.expect_equal("underruns", snapshot.underruns, 0)
        heard = loud(capture.buffer.read(0, rig.board.snapshot(CAPTURE).bytes), form)
        rig.expect(len(heard) >= wraps * len(content), "bytes heard", f"{wraps} turns", f"{len(heard)} bytes")
        expected = (content * (wraps + 100))[: len(heard)]
        expect_bytes(rig, f"{wraps} turns of {len(content)} bytes", heard, expected, form)
        rig.note(f"turns of {len(content)} bytes heard", len(heard) // len(content), "digital loopback")
        for pin in (render, capture):
            pin.close()


@check("WRT-STA-04")
def a_sine_wraps_without_a_click(rig: Rig) -> None:
    """Plays a sine of 1 kHz out of a buffer of four periods and predicts every sample that comes back through air."""
    need(rig, "analog_loopback")
    form, frames = rig.format_of(24), 192
    period = form.sample_rate // 1000
    render, capture = open_pair(
        rig, form, {"buffer_bytes": frames * form.block_bytes}, {"buffer_bytes": 1400 * form.block_bytes}
    )
    sine = np.round(0.5 * (1 << 23) * np.sin(2 * np.pi * np.arange(frames) / period)).astype("<i4") << 8
    octets = np.repeat(sine[:, None], 2, axis=1).view(np.uint8).reshape(-1, 4)[:, 1:]
    render.buffer.write(0, octets.tobytes())
    with rig.converter(InputSelect.CONVERTER):
        capture.set_state(KSSTATE.RUN)
        render.set_state(KSSTATE.RUN)
        rig.system.sleep(0.027)
        capture.set_state(KSSTATE.PAUSE)
        moved(rig, RENDER)
        written = min(rig.board.snapshot(CAPTURE).bytes, capture.buffer.length)
    heard = samples_of(capture.buffer.read(0, written), form)[200:, 0].astype(np.float64)
    turns = np.arange(len(heard)) * 2 * np.pi / period
    basis = np.stack([np.sin(turns), np.cos(turns), np.ones(len(heard))], axis=1)
    weights = np.linalg.lstsq(basis, heard, rcond=None)[0]
    amplitude = float(np.hypot(weights[0], weights[1]))
    rig.expect(amplitude > 1000, "amplitude of the sine", "more than 1000 of 24 bits", f"{amplitude:.0f}")
    worst = float(np.abs(heard - basis @ weights).max())
    limit = 0.1 * amplitude
    rig.expect(worst < limit, "largest distance from the sine", f"below {limit:.0f}", f"{worst:.0f}")
    rig.note("largest distance from the sine", f"{worst / amplitude:.2%} over {len(heard) // frames} wraps", "capture")


@check("WRT-STA-05")
def a_missed_frame_is_told_and_counted(rig: Rig) -> None:
    """Runs undisturbed, then lets the engine run out of descriptors: an event, and a counter that stays."""
    form = rig.format_of(16)
    for number, cause, name in ((RENDER, Cause.UNDERRUN, "underruns"), (CAPTURE, Cause.OVERRUN, "overruns")):
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=48)
            told = records(rig, number, cause)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.004)
            snapshot = moved(rig, number)
            rig.expect_equal(f"{name} of an undisturbed run", (getattr(snapshot, name), len(told)), (0, 0))
            pin.set_state(KSSTATE.STOP)
            # The same ring, but each descriptor is used once.
            config = stream_register(number, regs.STREAM_CONFIG)
            as_queue = rig.board.read_register(config) | 1 << regs.STREAM_CONFIG_QUEUE_LSB
            size = rig.board.read_register(stream_register(number, regs.STREAM_RING_SIZE))
            rig.board.write_register(config, as_queue)
            rig.board.write_register(stream_register(number, regs.STREAM_RING_PRODUCER), size)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.004)
            pin.set_state(KSSTATE.PAUSE)
            missed = getattr(rig.board.snapshot(number), name)
            rig.expect(missed > 0, f"{name} when nothing is left", "some", missed)
            rig.expect_equal(f"interrupts for one gap of {name}", len(told), 1)
            rig.expect_equal(f"{name} that stay counted", getattr(rig.board.snapshot(number), name), missed)
            rig.note(name, f"0 undisturbed, {missed} in a gap, {len(told)} interrupt", f"{name.upper()}, event record")
            pin.close()
            rig.board.write_register(stream_register(number, regs.STREAM_RING_PRODUCER), 0)


@check("WRT-FMT-01")
def wrong_formats_change_nothing(rig: Rig) -> None:
    """Asks for formats that the board cannot do, and for another one in RUN; the old one stays in force."""
    form, other = rig.format_of(24), rig.format_of(16)
    with rig.converter(InputSelect.LOOPBACK):
        pin = open_pin(rig, RENDER, form)
        set_format = pin._stream.set_format
        accepted = (NTSTATUS.INVALID_PARAMETER, NTSTATUS.NOT_SUPPORTED)
        for bad in (
            Format(44_123, 2, 24),
            Format(form.sample_rate, next(n for n in range(1, 20) if n not in rig.board.profile.channels), 24),
            Format(form.sample_rate, 2, 32, is_float=True),
        ):
            rig.expect_status(f"SetFormat({bad.describe()})", accepted, set_format, bad)
        made = pin._stream.allocate_audio_buffer(100)
        rig.expect_equal("ActualSize for 100 bytes, modulo the old block size", made.ActualSize % form.block_bytes, 0)
        rig.expect_equal("ActualSize for 100 bytes", made.ActualSize, 102)
        pin.set_state(KSSTATE.RUN)
        rig.expect_status("SetFormat in RUN", accepted, set_format, other)
        rig.system.sleep(0.001)
        snapshot = rig.board.snapshot(RENDER)
        fifo = snapshot.bytes - snapshot.frames * form.block_bytes
        rig.expect_equal("bytes moved, less frames of the old size", fifo, snapshot.fifo_bytes)
        rig.note("format in force", form.describe(), "SNAP_BYTES, SNAP_FRAMES, SNAP_FIFO_BYTES")
        pin.set_state(KSSTATE.STOP)
        pin._stream.free_audio_buffer(made.AudioBufferMdl, made.ActualSize)


# ------------------------------------------------------------------ page services


def _port_stream(rig: Rig) -> Any:
    """The port stream as a miniport gets it."""
    open_pin(rig, RENDER, rig.formats[0])
    return unwrap(rig.trace.of("new_stream", caller="port")[-1].arguments[0])


@check("WRP-ALC-01")
def pages_are_whole_and_low_enough(rig: Rig) -> None:
    """Asks the port for pages under several limits, until there are too few and then none."""
    pages = _port_stream(rig)
    limit = rig.system.memory.length
    held: list[Any] = []
    used: set[int] = set()
    for high, size in ((limit, 1), (limit, 4097), (7 * PAGE_BYTES - 1, 100 * PAGE_BYTES), (limit, 1000 * PAGE_BYTES)):
        mdl = pages.allocate_pages_for_mdl(high, size)
        what = f"{size} bytes below {high:#x}"
        rig.expect(mdl is not None, what, "a page list", mdl)
        count = pages.get_physical_pages_count(mdl)
        rig.expect_within(f"{what}: pages", count, 1, -(-size // PAGE_BYTES))
        for index in range(count):
            address = pages.get_physical_page_address(mdl, index)
            rig.expect_equal(f"{what}: address of page {index} modulo a page", address % PAGE_BYTES, 0)
            rig.expect(address + PAGE_BYTES - 1 <= high, f"{what}: end of page {index}", f"at most {high:#x}",
                       f"{address + PAGE_BYTES - 1:#x}")  # fmt: skip
            rig.expect(address not in used, f"{what}: page {index}", "one that nobody has", f"{address:#x}")
            used.add(address)
        if size < 2 * PAGE_BYTES:
            rig.expect_equal(f"{what}: pages", count, -(-size // PAGE_BYTES))
        rig.note(what, f"{count} pages", "GetPhysicalPagesCount")
        held.append(mdl)
    rig.expect_equal("pages when none is left", pages.allocate_pages_for_mdl(limit, 1), None)
    # Of what is left the miniport must not make do with less than it needs.
    one = pages.get_physical_pages_count(held[0])
    pages.free_pages_from_mdl(held.pop(0))
    pin = open_pin_on(rig)
    status = status_of(pin._stream.allocate_audio_buffer, (one + 1) * PAGE_BYTES)
    rig.expect_equal("AllocateAudioBuffer with a short list", status, "INSUFFICIENT_RESOURCES")
    for mdl in held:
        pages.free_pages_from_mdl(mdl)


def open_pin_on(rig: Rig) -> WaveRTPin:
    """A pin of the port made last, in the other direction."""
    pin: WaveRTPin = rig._ports[-1].open_pin(CAPTURE, True, rig.formats[0])
    return pin


@check("WRP-ALC-02")
def contiguous_pages_are_all_or_nothing(rig: Rig) -> None:
    """Asks the port for neighbouring pages between limits, in whole and in fragmented memory."""
    pages = _port_stream(rig)
    limit = rig.system.memory.length
    low, high = 3 * PAGE_BYTES, 9 * PAGE_BYTES - 1
    for size in (1, PAGE_BYTES, PAGE_BYTES + 1, 6 * PAGE_BYTES):
        mdl = pages.allocate_contiguous_pages_for_mdl(low, high, size)
        what = f"{size} contiguous bytes"
        rig.expect(mdl is not None, what, "a page list", mdl)
        count = pages.get_physical_pages_count(mdl)
        rig.expect_equal(f"{what}: pages", count, -(-size // PAGE_BYTES))
        addresses = [pages.get_physical_page_address(mdl, index) for index in range(count)]
        rig.expect(
            all(after - before == PAGE_BYTES for before, after in pairwise(addresses)),
            f"{what}: addresses", "one behind the other", addresses,
        )  # fmt: skip
        rig.expect(low <= addresses[0] and addresses[-1] + PAGE_BYTES - 1 <= high, f"{what}: addresses",
                   f"{low:#x} to {high:#x}", [f"{each:#x}" for each in addresses])  # fmt: skip
        rig.note(what, f"{count} pages at {addresses[0]:#x}", "GetPhysicalPageAddress")
        pages.free_pages_from_mdl(mdl)
    rig.expect_equal("more than fits between the limits",
                     pages.allocate_contiguous_pages_for_mdl(low, high, 6 * PAGE_BYTES + 1), None)  # fmt: skip
    single = [pages.allocate_pages_for_mdl(limit, PAGE_BYTES) for _ in range(limit // PAGE_BYTES)]
    for mdl in single[::2]:
        pages.free_pages_from_mdl(mdl)
    two = pages.allocate_contiguous_pages_for_mdl(0, limit, 2 * PAGE_BYTES)
    rig.expect_equal("two neighbours in fragmented memory", two, None)
    one = pages.allocate_contiguous_pages_for_mdl(0, limit, PAGE_BYTES)
    rig.expect(one is not None, "one page in fragmented memory", "a page list", one)
    for mdl in [one, *single[1::2]]:
        pages.free_pages_from_mdl(mdl)


@check("WRP-MAP-01")
def mappings_are_undone_before_pages_go(rig: Rig) -> None:
    """Follows the miniport's calls of the page services over a whole life, and once with a mapping that fails."""
    form = rig.formats[0]
    for number in BOTH:
        with rig.converter(InputSelect.LOOPBACK):
            pin = open_pin(rig, number, form, frames=96)
            pin.set_state(KSSTATE.RUN)
            rig.system.sleep(0.003)
            pin.close()
    maps = _judge_page_calls(rig)
    pin = open_pin(rig, RENDER, form)
    pin._port_stream.map_allocated_pages = lambda *_: None  # type: ignore[method-assign]
    try:
        made = pin._stream.allocate_audio_buffer(9000)
    except NtStatusError as error:
        rig.note("allocation without a mapping", error, "AllocateAudioBuffer")
    else:
        pin._stream.free_audio_buffer(made.AudioBufferMdl, made.ActualSize)
    rig.expect_equal("page lists left behind", pin._port_stream.lists_held, 0)
    rig.note("mappings that the miniport made", maps, "calls of MapAllocatedPages")


def _judge_page_calls(rig: Rig) -> int:
    """Go through the miniport's calls of page services; returns the number of mappings made."""
    lists: dict[int, str] = {}
    mapped: dict[int, int] = {}
    maps = 0
    for call in rig.trace.calls:
        if call.caller != "miniport" or not isinstance(call.target, IPortWaveRTStream):
            continue
        if call.method.startswith("allocate_") and call.result is not None:
            lists[id(call.result)] = "held"
            continue
        given = [each for each in call.arguments if isinstance(each, Mdl) or each is None]
        if not given:
            continue
        mdl = given[-1]
        state = lists.get(id(mdl), "unknown")
        rig.expect_equal(f"page list given to {call.method}", state, "held")
        if call.method == "map_allocated_pages" and call.error is None:
            maps += 1
            mapped[id(mdl)] = mapped.get(id(mdl), 0) + (call.result is not None)
        elif call.method == "unmap_allocated_pages":
            mapped[id(mdl)] = mapped.get(id(mdl), 0) - 1
        elif call.method == "free_pages_from_mdl":
            rig.expect_equal("mappings of a list that is freed", mapped.get(id(mdl), 0), 0)
            lists[id(mdl)] = "freed"
    rig.expect(all(state == "freed" for state in lists.values()), "page lists at the end", "freed", lists)
    return maps


@check("WRP-PAG-01")
def descriptors_reach_what_the_mapping_shows(rig: Rig) -> None:
    """Captures a pattern into scattered pages and reads it through the port's mapping."""
    need(rig, "pattern")
    form = rig.format_of(24)
    frames = 2600
    port = rig.wavert()
    holder = port.open_pin(RENDER, False, form)
    services = holder._port_stream
    memory = rig.system.memory.length
    single: list[Any] = [services.allocate_pages_for_mdl(memory, PAGE_BYTES) for _ in range(memory // PAGE_BYTES)]
    for index in (9, 2, 5, 20):
        services.free_pages_from_mdl(single[index])
    with rig.converter(InputSelect.PATTERN):
        pin = port.open_pin(CAPTURE, True, form, buffer_bytes=frames * form.block_bytes)
        mdl: Mdl = pin._port_stream._lists[0]
        count = pin._port_stream.get_physical_pages_count(mdl)
        rig.expect_equal("GetPhysicalPagesCount", count, len(mdl.page_numbers))
        rig.expect_equal("pages of the buffer", count, -(-frames * form.block_bytes // PAGE_BYTES))
        addresses = [pin._port_stream.get_physical_page_address(mdl, index) for index in range(count)]
        rig.expect_equal("addresses modulo a page", {each % PAGE_BYTES for each in addresses}, {0})
        for bad in (-1, count):
            status = status_of(pin._port_stream.get_physical_page_address, mdl, bad)
            rig.expect(status != "SUCCESS", f"GetPhysicalPageAddress of page {bad}", "a failure", status)
        pin.set_state(KSSTATE.RUN)
        snapshot: Snapshot = wait_bytes(rig, CAPTURE, (frames - 100) * form.block_bytes)
        pin.set_state(KSSTATE.PAUSE)
        snapshot = moved(rig, CAPTURE)
        whole = min(snapshot.bytes, pin.buffer.length) // form.block_bytes * form.block_bytes
        expect_ramp(rig, "pattern through the mapping", pin.buffer.read(0, whole), form, 0)
        end = min(PAGE_BYTES, whole)
        rig.expect(rig.board.read_memory(addresses[0], end) == pin.buffer.read(0, end),
                   "first page at its address", "what the mapping shows", "something else")  # fmt: skip
        rig.note("pages", [f"{each:#x}" for each in addresses], "GetPhysicalPageAddress")
        pin.close()
    for index, each in enumerate(single):
        if index not in (9, 2, 5, 20):
            services.free_pages_from_mdl(each)
    holder.close()
