"""PortDMus: drives a DirectMusic miniport as Windows does, and serves its client.

The port owns the pool of events, the master clock, the sequencer that gives events to a stream when they are due, the
sink that cuts captured bytes into messages, and the wave sink that pulls a synthesizer's sound.

The master clock is the machine's time: units of 100 ns since the board started, from the clock that also times the
board's MIDI port. So a presentation time is a board time, and a miniport can have the hardware keep it.
"""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol, TypeVar

from codecrig.messages import MessageCutter, MidiMessage
from codecrig.portcls import (
    DMUS_KEF_EVENT_INCOMPLETE,
    DMUS_KEF_PACKAGE_EVENT,
    DMUS_KERNEL_EVENT,
    DMUS_STREAM_TYPE,
    IMXF,
    IRQL,
    KSSTATE,
    NO_BYTE_POSITION,
    NTSTATUS,
    POINTER_BYTES,
    REFERENCE_TIME_PER_SECOND,
    EventBuffer,
    Format,
    IAllocatorMXF,
    IMasterClock,
    IMiniportDMus,
    IPortDMus,
    IServiceGroup,
    ISynthSinkDMus,
    KEvent,
    NtStatusError,
    ResourceList,
    System,
)

from .base import Pin, Port
from .service import Sink
from .wavert import WaveRTPin

BUFFER_BYTES = 4096
"""Of each data buffer of an event."""
POOL_EVENTS = 4096
POOL_BUFFERS = 64
"""What the allocator gives at most; for the miniports and what is on its way to them."""
QUEUE_MESSAGES = 1 << 17
"""What a pin's sequencer holds at most."""
RETRY = REFERENCE_TIME_PER_SECOND // 1000
"""100 ns until the sequencer asks an empty pool again."""
WINDOW_MS = 20
"""Length of a stretch that the wave sink renders at a time."""
WAKE_MS = 10
"""How often the wave sink looks whether a window is due."""

Event = TypeVar("Event", bound=DMUS_KERNEL_EVENT)


class DMusAllocator(IAllocatorMXF):
    """The pool. Events obtained = events put back + `outstanding_events`, the same for buffers.

    Putting back what is not outstanding raises INVALID_PARAMETER: in Windows it would destroy the pool.
    """

    def __init__(self, system: System, events: int = POOL_EVENTS, buffers: int = POOL_BUFFERS) -> None:
        if min(events, buffers) < 1:
            raise ValueError(f"expected at least 1 event and 1 buffer, found {events} and {buffers}")
        self._system = system
        self._event_limit = events
        self._buffer_limit = buffers
        self._free_events: deque[DMUS_KERNEL_EVENT] = deque()
        self._free_buffers: deque[EventBuffer] = deque()
        self._events: dict[int, DMUS_KERNEL_EVENT] = {}
        self._buffers: dict[int, EventBuffer] = {}

    @property
    def most_bytes(self) -> int:
        """The longest message that the pool can hold at all."""
        return min(self._buffer_limit, self._event_limit - 1) * BUFFER_BYTES

    @property
    def outstanding_events(self) -> int:
        """Events that somebody has."""
        return len(self._events)

    @property
    def outstanding_buffers(self) -> int:
        """Buffers that somebody has, those of events included."""
        return len(self._buffers)

    def get_message(self) -> DMUS_KERNEL_EVENT:
        self._system.require(IRQL.DISPATCH, "IAllocatorMXF.get_message")
        if len(self._events) >= self._event_limit:
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, f"all {self._event_limit} events are in use")
        event = self._free_events.popleft() if self._free_events else DMUS_KERNEL_EVENT()
        event.cbStruct = event.cbEvent = event.usChannelGroup = event.usFlags = 0
        event.ullPresTime100ns = event.ullBytePosition = 0
        event.pNextEvt = event.uData = None
        self._events[id(event)] = event
        return event

    def get_buffer_size(self) -> int:
        return BUFFER_BYTES

    def get_buffer(self) -> EventBuffer:
        self._system.require(IRQL.DISPATCH, "IAllocatorMXF.get_buffer")
        if len(self._buffers) >= self._buffer_limit:
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, f"all {self._buffer_limit} buffers are in use")
        buffer = self._free_buffers.popleft() if self._free_buffers else EventBuffer(BUFFER_BYTES)
        self._buffers[id(buffer)] = buffer
        return buffer

    def put_buffer(self, buffer: EventBuffer) -> NTSTATUS:
        self._system.require(IRQL.DISPATCH, "IAllocatorMXF.put_buffer")
        if self._buffers.pop(id(buffer), None) is None:
            raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the buffer is not outstanding: put back twice?")
        if len(buffer) == BUFFER_BYTES:
            self._free_buffers.append(buffer)
        return NTSTATUS.SUCCESS

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        self._system.require(IRQL.DISPATCH, "IAllocatorMXF.put_message")
        waiting = [event] if event is not None else []
        while waiting:
            for each in waiting.pop().chain():
                if self._events.pop(id(each), None) is None:
                    raise NtStatusError(NTSTATUS.INVALID_PARAMETER, "the event is not outstanding: put back twice?")
                inner, buffer = each.package, each.buffer
                if inner is not None and each.is_package:
                    waiting.append(inner)
                if buffer is not None:
                    self.put_buffer(buffer)
                each.pNextEvt = each.uData = None
                self._free_events.append(each)
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.NOT_IMPLEMENTED, "the allocator is the end of every chain")

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.NOT_IMPLEMENTED, "the allocator is the end of every chain")


class MasterClock(IMasterClock):
    """The machine's time, read at each call."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._last = 0

    def get_time(self) -> int:
        self._last = max(self._last, self._system.precise_time())
        return self._last


class HostClock(IMasterClock):
    """The host's performance counter as master clock: another crystal than the board's."""

    def __init__(self, system: System) -> None:
        self._system = system

    def get_time(self) -> int:
        counter, frequency = self._system.performance_counter(), self._system.performance_frequency
        return counter * REFERENCE_TIME_PER_SECOND // frequency


class LatencyClock(IMasterClock):
    """The master time at which what is sent now can be heard first: never before the master time itself."""

    def __init__(self, master_clock: IMasterClock, earliest: Callable[[], int]) -> None:
        self._master_clock = master_clock
        self._earliest = earliest

    def get_time(self) -> int:
        return max(self._master_clock.get_time(), self._earliest())


class PortDMus(Port, IPortDMus):
    """The port of one DirectMusic miniport. Use it in a `with` block: leaving it closes all pins."""

    def __init__(
        self,
        miniport: IMiniportDMus,
        system: System,
        resource_list: ResourceList | None = None,
        *,
        pool_events: int = POOL_EVENTS,
        pool_buffers: int = POOL_BUFFERS,
        master_clock: IMasterClock | None = None,
    ) -> None:
        """Take `miniport` into use (Init). `master_clock`: another one than the machine's time."""
        self._take(miniport, system)
        self.allocator = DMusAllocator(system, pool_events, pool_buffers)
        self.master_clock: IMasterClock = master_clock or MasterClock(system)
        self._miniport = miniport
        self._groups: list[IServiceGroup] = []
        self._sink = Sink(miniport.service)
        self._initialising = True
        try:
            group = miniport.init(None, resource_list, self)
        except BaseException:
            self._forget()
            raise
        self._initialising = False
        if group is not None:
            self._take_group(group)
            group.release()

    def _take_group(self, group: IServiceGroup) -> None:
        if not any(each is group for each in self._groups):
            group.add_ref()
            group.add_member(self._sink)
            self._groups.append(group)

    def _forget(self) -> None:
        self._forget_groups()
        super()._forget()

    def _forget_groups(self) -> None:
        for group in self._groups:
            group.remove_member(self._sink)
            group.release()
        self._groups.clear()

    # ------------------------------------------------------------------ for the miniport

    def notify(self, service_group: IServiceGroup | None) -> None:
        if service_group is not None:
            service_group.request_service()
            return
        groups = [*self._groups, *(pin.group for pin in self._pins if pin.group is not None)]
        for number, group in enumerate(groups):
            if not any(group is each for each in groups[:number]):
                group.request_service()

    def register_service_group(self, service_group: IServiceGroup) -> None:
        self._system.require(IRQL.PASSIVE, "IPortDMus.register_service_group")
        if not self._initialising:
            raise NtStatusError(NTSTATUS.INVALID_DEVICE_REQUEST, "a service group is registered inside Init only")
        self._take_group(service_group)

    # ------------------------------------------------------------------ for the client

    def open_render(self, pin: int) -> DMusRenderPin:
        """A pin in STOP that takes time-stamped messages. Raises NtStatusError; nothing is left then."""
        return self._open(DMusRenderPin(self, self._miniport, pin, DMUS_STREAM_TYPE.RENDER))

    def open_capture(self, pin: int) -> DMusCapturePin:
        """A pin in STOP that gives time-stamped messages. Raises NtStatusError; nothing is left then."""
        return self._open(DMusCapturePin(self, self._miniport, pin, DMUS_STREAM_TYPE.CAPTURE))

    def open_synth(
        self, pin: int, data_format: Format, output: WaveOutput | None = None, *, frames_units: bool = False
    ) -> DMusSynthPin:
        """A pin in STOP that takes time-stamped messages for a synthesizer, whose sound goes to `output`.

        Without an output the sound is rendered in time, and only `on_rendered` gets it. `frames_units`: Render is given
        frames instead of bytes, as some synthesizers take it. Raises NtStatusError; nothing is left then.
        """
        return self._open(DMusSynthPin(self, self._miniport, pin, data_format, output, frames_units))

    def _open(self, pin: OpenPin) -> OpenPin:
        self._pins.append(pin)
        return pin


class DMusPin(Pin):
    """A pin of a DirectMusic miniport. Passive context.

    Stream time counts 100 ns in RUN only, and begins with 0 at STOP.
    """

    _port: PortDMus
    _stream: IMXF

    def __init__(
        self,
        port: PortDMus,
        miniport: IMiniportDMus,
        pin: int,
        stream_type: DMUS_STREAM_TYPE,
        data_format: Format | None = None,
    ) -> None:
        port.system.require(IRQL.PASSIVE, "PortDMus.open")
        super().__init__(port)
        self._origin = 0
        self._elapsed = 0
        made = miniport.new_stream(pin, stream_type, data_format, port.allocator, port.master_clock)
        self._stream, self.group, self.prefetch = made.Stream, made.ServiceGroup, made.SchedulePreFetch
        self._sink = Sink(self._serve)
        if self.group is not None:
            self.group.add_member(self._sink)

    @property
    def stream(self) -> IMXF:
        """The miniport's stream. For tests that call it themselves."""
        return self._stream

    @property
    def time(self) -> int:
        """Stream time, 100 ns."""
        return self.master_clock.get_time() - self._origin if self._state is KSSTATE.RUN else self._elapsed

    @property
    def master_clock(self) -> IMasterClock:
        """The clock of all streams of the port."""
        return self._port.master_clock

    @property
    def latency_clock(self) -> IMasterClock:
        """When what is sent now can be heard."""
        return LatencyClock(self.master_clock, lambda: 0)

    def master_time(self, stream_time: int) -> int:
        """The master time of a stream time; in RUN, and until the next RUN."""
        return self._origin + stream_time

    def _step(self, state: KSSTATE) -> None:
        was_running = self._state is KSSTATE.RUN
        super()._step(state)
        if was_running:
            self._elapsed = self.master_clock.get_time() - self._origin
            self._left_run()
        if state is KSSTATE.RUN:
            self._origin = self.master_clock.get_time() - self._elapsed
            self._running()
        elif state is KSSTATE.STOP:
            self._elapsed = 0
            self._stopped()

    def _running(self) -> None:
        """RUN has begun."""

    def _left_run(self) -> None:
        """RUN has ended."""

    def _stopped(self) -> None:
        """STOP was reached."""

    def _serve(self) -> None:
        """The group was served. Deferred."""
        self._stream.put_message(None)

    def _closing(self) -> list[Callable[[], object]]:
        return [self._leave_group, self._disconnect, self._release]

    def _leave_group(self) -> None:
        if self.group is not None:
            self.group.remove_member(self._sink)

    def _disconnect(self) -> None:
        """Take down what this pin has connected."""

    def _release(self) -> None:
        self._stream.release()
        if self.group is not None:
            self.group.release()


OpenPin = TypeVar("OpenPin", bound=DMusPin)


class DMusRenderPin(DMusPin):
    """Messages to a stream, at their times. The sequencer gives them out in deferred context."""

    def __init__(
        self,
        port: PortDMus,
        miniport: IMiniportDMus,
        pin: int,
        stream_type: DMUS_STREAM_TYPE,
        data_format: Format | None = None,
    ) -> None:
        super().__init__(port, miniport, pin, stream_type, data_format)
        self._queue: list[tuple[int, int, bytes, int]] = []
        self._numbers = count()
        self._cancel_timer: Callable[[], bool] | None = None

    @property
    def pending(self) -> int:
        """Messages that the sequencer still holds."""
        return len(self._queue)

    @property
    def pending_bytes(self) -> int:
        """Bytes of these."""
        return sum(len(data) for _, _, data, _ in self._queue)

    def submit(self, time: int, data: bytes, *, channel_group: int = 1) -> None:
        """One message with its status byte, to be presented at stream time `time` (100 ns), or at once if that is past.

        Messages of the same time keep their order. Raises INVALID_PARAMETER, INSUFFICIENT_RESOURCES (too many wait).
        """
        self._system.require(IRQL.DISPATCH, "DMusRenderPin.submit")
        if not data or not data[0] & 0x80 or time < 0 or channel_group < 1:
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, "a message has a status byte, a time from 0 on, and a group from 1 on"
            )
        if len(self._queue) >= QUEUE_MESSAGES:
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, f"{QUEUE_MESSAGES} messages wait already")
        if len(data) > self._port.allocator.most_bytes:
            raise NtStatusError(
                NTSTATUS.INSUFFICIENT_RESOURCES, f"{len(data)} bytes: at most {self._port.allocator.most_bytes} fit"
            )
        message = (time, next(self._numbers), bytes(data), channel_group)
        heapq.heappush(self._queue, message)
        if self._queue[0] is message:
            self._schedule()

    # ------------------------------------------------------------------ sequencer

    def _schedule(self, not_before: int = 0) -> None:
        """Have the next message released when it is due."""
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
        if self._state is not KSSTATE.RUN or not self._queue:
            return
        due = max(self.master_time(self._queue[0][0]) - self.prefetch, not_before)
        now = self._system.system_time()
        offset = self._clock_offset()
        self._cancel_timer = self._system.set_timer(max(due - offset, now, 0), self._release_due)

    def _clock_offset(self) -> int:
        """What the master clock is ahead of the machine's time; 0 unless the port was given another clock."""
        if isinstance(self.master_clock, MasterClock):
            return 0
        return self.master_clock.get_time() - self._system.system_time()

    def _now(self) -> int:
        """Master time, not later than now, without asking the board."""
        return self._system.system_time() + self._clock_offset()

    def _release_due(self) -> None:
        """Give the stream what is due, as one chain."""
        self._cancel_timer = None
        if self._state is not KSSTATE.RUN:
            return
        limit = self._now() + self.prefetch
        head: DMUS_KERNEL_EVENT | None = None
        last: DMUS_KERNEL_EVENT | None = None
        not_before = 0
        while self._queue and self.master_time(self._queue[0][0]) <= limit:
            time, _, data, channel_group = self._queue[0]
            try:
                event = self._make_event(self.master_time(time), data, channel_group)
            except NtStatusError as error:
                if error.status is not NTSTATUS.INSUFFICIENT_RESOURCES:
                    raise
                not_before = self._now() + RETRY
                break
            heapq.heappop(self._queue)
            if last is None:
                head = event
            else:
                last.pNextEvt = event
            last = event
        try:
            if head is not None:
                self._stream.put_message(head)
        finally:
            self._schedule(not_before)

    def _make_event(self, time: int, data: bytes, channel_group: int) -> DMUS_KERNEL_EVENT:
        """The event of one message; what does not fit into a buffer becomes a package of pieces."""
        allocator = self._port.allocator
        event = allocator.get_message()
        event.usChannelGroup, event.ullPresTime100ns, event.ullBytePosition = channel_group, time, NO_BYTE_POSITION
        try:
            if len(data) <= POINTER_BYTES:
                event.uData, event.cbEvent = data, len(data)
            elif len(data) <= BUFFER_BYTES:
                buffer = allocator.get_buffer()
                buffer[: len(data)] = data
                event.uData, event.cbEvent = buffer, len(data)
            else:
                event.usFlags = DMUS_KEF_PACKAGE_EVENT
                last: DMUS_KERNEL_EVENT | None = None
                for begin in range(0, len(data), BUFFER_BYTES):
                    piece = self._make_event(time, data[begin : begin + BUFFER_BYTES], channel_group)
                    piece.usFlags = DMUS_KEF_EVENT_INCOMPLETE
                    if last is None:
                        event.uData = piece
                    else:
                        last.pNextEvt = piece
                    last = piece
        except NtStatusError:
            allocator.put_message(event)
            raise
        return event

    def _running(self) -> None:
        self._schedule()

    def _left_run(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    def _stopped(self) -> None:
        self._queue.clear()


class CaptureSink(IMXF):
    """Takes a stream's raw events, cuts them into messages, and recycles them."""

    def __init__(self, allocator: IAllocatorMXF, deliver: Callable[[MidiMessage, int], None]) -> None:
        self._allocator = allocator
        self._deliver = deliver
        self._cutters: dict[int, MessageCutter] = {}

    def reset(self) -> None:
        """Forget messages that have begun."""
        self._cutters.clear()

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        if event is None:
            return NTSTATUS.SUCCESS
        try:
            for each in event.chain():
                inner = each.package if each.is_package else None
                for one in inner.chain() if inner is not None else [each]:
                    cutter = self._cutters.setdefault(one.usChannelGroup, MessageCutter())
                    for message in cutter.feed(one.ullPresTime100ns, one.data):
                        self._deliver(message, one.usChannelGroup)
        finally:
            self._allocator.put_message(event)
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the client is the output of the capture sink")

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        raise NtStatusError(NTSTATUS.UNSUCCESSFUL, "the client is the output of the capture sink")


class DMusCapturePin(DMusPin):
    """Messages from a stream, whole, with the stream time of their first byte."""

    def __init__(self, port: PortDMus, miniport: IMiniportDMus, pin: int, stream_type: DMUS_STREAM_TYPE) -> None:
        super().__init__(port, miniport, pin, stream_type)
        self.event = KEvent(f"pin {pin}")
        """Set when messages came."""
        self.lost_messages = 0
        """Messages that came while too many waited."""
        self._messages: deque[MidiMessage] = deque()
        self._capture_sink = CaptureSink(port.allocator, self._deliver)
        self._connected = False
        try:
            self._stream.connect_output(self._capture_sink)
            self._connected = True
        except BaseException as error:
            try:
                self.close()
            except Exception as problem:
                error.add_note(f"also, while closing the pin: {problem}")
            raise

    def _deliver(self, message: MidiMessage, channel_group: int) -> None:
        if len(self._messages) >= QUEUE_MESSAGES:
            self.lost_messages += 1
            return
        stream_time = max(0, message.time - self._origin)
        self._messages.append(MidiMessage(stream_time, message.data, message.complete))
        self.event.set()

    def read(self) -> list[MidiMessage]:
        """The messages that came since the last call, in order."""
        taken = list(self._messages)
        self._messages.clear()
        return taken

    def _stopped(self) -> None:
        self._capture_sink.reset()
        self._messages.clear()

    def _disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self._stream.disconnect_output(self._capture_sink)


class WaveOutput(Protocol):
    """Where the wave sink's sound goes."""

    @property
    @abstractmethod
    def window_frames(self) -> int:
        """Frames of one window."""

    @abstractmethod
    def start(self) -> int:
        """Begin to play, silence first; returns the frames of silence, whole windows."""

    @abstractmethod
    def due(self) -> int | None:
        """Frame at which the next window lies, counted from the start of play; None if there is no room for one."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """The window that was due."""

    @abstractmethod
    def stop(self) -> None:
        """End at once."""


class WaveRTOutput(WaveOutput):
    """A render pin of PortWaveRT with a notification buffer, whose packets are the windows."""

    def __init__(self, pin: WaveRTPin) -> None:
        self._pin = pin
        self.gaps = 0
        """Windows that came too late."""

    @property
    def window_frames(self) -> int:
        return self._pin.packet_bytes // self._pin.format.block_bytes

    def start(self) -> int:
        self._pin.set_state(KSSTATE.PAUSE)
        for _ in range(self._pin.packets):
            self._pin.write_packet(bytes(self._pin.packet_bytes))
        self._pin.set_state(KSSTATE.RUN)
        return self._pin.packets * self.window_frames

    def due(self) -> int | None:
        ahead = self._pin.next_write_packet - self._pin.packet_count()
        if ahead < 1:
            self.gaps += self._pin.resynchronise()
        elif ahead >= self._pin.packets:
            return None
        return self._pin.next_write_packet * self.window_frames

    def write(self, data: bytes) -> None:
        try:
            self._pin.write_packet(data)
        except NtStatusError as error:
            if error.status is not NTSTATUS.DATA_LATE_ERROR:
                raise
            self.gaps += self._pin.resynchronise()

    def stop(self) -> None:
        self._pin.set_state(KSSTATE.STOP)


class _NoOutput(WaveOutput):
    """Windows fall due with the master clock and are heard nowhere."""

    def __init__(self, sample_rate: int, clock: IMasterClock) -> None:
        self._sample_rate = sample_rate
        self._clock = clock
        self._start_time = 0
        self._next_frame = 0

    @property
    def window_frames(self) -> int:
        return self._sample_rate * WINDOW_MS // 1000

    def start(self) -> int:
        self._start_time = self._clock.get_time()
        self._next_frame = 2 * self.window_frames
        return self._next_frame

    def due(self) -> int | None:
        played = (self._clock.get_time() - self._start_time) * self._sample_rate // REFERENCE_TIME_PER_SECOND
        return self._next_frame if self._next_frame < played + 2 * self.window_frames else None

    def write(self, data: bytes) -> None:
        self._next_frame += self.window_frames

    def stop(self) -> None:
        """Nothing plays."""


class DMusSynthPin(DMusRenderPin):
    """Messages to a synthesizer, and the wave sink that pulls its sound, a window at a time, in passive context."""

    def __init__(
        self,
        port: PortDMus,
        miniport: IMiniportDMus,
        pin: int,
        data_format: Format,
        output: WaveOutput | None,
        frames_units: bool,
    ) -> None:
        super().__init__(port, miniport, pin, DMUS_STREAM_TYPE.WAVE_SINK, data_format)
        self.format = data_format
        self.on_rendered: Callable[[int, bytes], None] | None = None
        """Called with the first frame and the bytes of each window."""
        self.rendered_frames = 0
        """Where the next window begins, in frames since RUN."""
        self._output: WaveOutput = output or _NoOutput(data_format.sample_rate, port.master_clock)
        self._frames_units = frames_units
        self._cancel_wake: Callable[[], bool] | None = None
        self._started = False
        try:
            self._synth: ISynthSinkDMus = self._stream.query_interface(ISynthSinkDMus)  # type: ignore[type-abstract]
        except BaseException:
            self._leave_group()
            self._release()
            raise

    @property
    def synth(self) -> ISynthSinkDMus:
        """The stream as the wave sink sees it."""
        return self._synth

    @property
    def latency_clock(self) -> IMasterClock:
        return LatencyClock(self.master_clock, self._end_of_rendered)

    def _end_of_rendered(self) -> int:
        return self._synth.sample_to_ref_time(self.rendered_frames) if self._started else 0

    def _running(self) -> None:
        super()._running()
        self.rendered_frames = self._output.start()
        self._started = True
        self._synth.sync_to_master(self.master_clock.get_time(), True)
        self._wake_later()

    def _wake_later(self) -> None:
        self._cancel_wake = self._system.set_timer(
            -WAKE_MS * REFERENCE_TIME_PER_SECOND // 1000, lambda: self._system.queue_work_item(self._pull)
        )

    def _pull(self) -> None:
        """Render what is due."""
        if self._state is not KSSTATE.RUN or not self._started:
            return
        synchronised = False
        while (frame := self._output.due()) is not None:
            if not synchronised:
                self._synth.sync_to_master(self.master_clock.get_time(), False)
                synchronised = True
            self._output.write(self._render(frame, self._output.window_frames))
        self._wake_later()

    def _render(self, first_frame: int, frames: int) -> bytes:
        data = bytearray(frames * self.format.block_bytes)
        unit = 1 if self._frames_units else self.format.block_bytes
        self._synth.render(data, frames * unit, first_frame * unit)
        self.rendered_frames = first_frame + frames
        if self.on_rendered is not None:
            self.on_rendered(first_frame, bytes(data))
        return bytes(data)

    def _left_run(self) -> None:
        super()._left_run()
        if self._cancel_wake is not None:
            self._cancel_wake()
            self._cancel_wake = None
        if self._started:
            self._started = False
            self._output.stop()

    def _release(self) -> None:
        if hasattr(self, "_synth"):
            self._synth.release()
        super()._release()
