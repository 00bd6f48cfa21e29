"""What stands at both ends of DirectMusic streams in checks: an allocator and sinks that keep a record, streams opened
without a port's pin, and a miniport that only writes down what the port does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from codecrig.contract.rig import Rig
from codecrig.contract.watch import unwrap
from codecrig.link import registers as regs
from codecrig.portcls import (
    DMUS_KEF_PACKAGE_EVENT,
    DMUS_KERNEL_EVENT,
    DMUS_STREAM_TYPE,
    IMXF,
    IRQL,
    KSSTATE,
    NTSTATUS,
    POINTER_BYTES,
    EventBuffer,
    Format,
    IAllocatorMXF,
    IMasterClock,
    IMiniportDMus,
    IPortDMus,
    IServiceGroup,
    IServiceSink,
    ISynthSinkDMus,
    IUnknown,
    NewDMusStream,
    NtStatusError,
    ResourceList,
    System,
)

PINS = {DMUS_STREAM_TYPE.RENDER: 0, DMUS_STREAM_TYPE.CAPTURE: 1, DMUS_STREAM_TYPE.WAVE_SINK: 2}
BYTE_S = 10 / 31_250
"""A byte on the wire."""
BUFFER_BYTES = 512
"""Of the recording allocator's buffers."""


@dataclass(slots=True)
class Seen:
    """An event as it was when it was put."""

    event: DMUS_KERNEL_EVENT
    data: bytes
    flags: int
    length: int
    channel_group: int
    time: int
    inline: bool
    linked: bool
    """pNextEvt was set."""
    package: bool
    """It was a package with a chain."""
    at: int
    """Master time of the call."""


def _seen(event: DMUS_KERNEL_EVENT, now: int) -> Seen:
    return Seen(
        event,
        event.data,
        event.usFlags,
        event.cbEvent,
        event.usChannelGroup,
        event.ullPresTime100ns,
        not isinstance(event.uData, bytearray),
        event.pNextEvt is not None,
        event.package is not None,
        now,
    )


class RecordingAllocator(IAllocatorMXF):
    """A pool of any size that counts how often each event comes back, and takes what comes twice without complaint."""

    def __init__(self, clock: IMasterClock) -> None:
        self._clock = clock
        self.is_empty = False
        """Get nothing."""
        self.events: list[DMUS_KERNEL_EVENT] = []
        self.returned: dict[int, int] = {}
        """Times that an event came back, by id."""
        self.put: list[Seen] = []
        """The events that came back, in order; those of chains and packages one by one."""
        self.buffers: list[EventBuffer] = []
        self.buffers_put: list[int] = []

    def get_message(self) -> DMUS_KERNEL_EVENT:
        if self.is_empty:
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, "the check wants it so")
        event = DMUS_KERNEL_EVENT()
        self.events.append(event)
        return event

    def get_buffer_size(self) -> int:
        return BUFFER_BYTES

    def get_buffer(self) -> EventBuffer:
        if self.is_empty:
            raise NtStatusError(NTSTATUS.INSUFFICIENT_RESOURCES, "the check wants it so")
        self.buffers.append(EventBuffer(BUFFER_BYTES))
        return self.buffers[-1]

    def put_buffer(self, buffer: EventBuffer) -> NTSTATUS:
        self.buffers_put.append(id(buffer))
        return NTSTATUS.SUCCESS

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        now = self._clock.get_time()
        waiting = [event] if event is not None else []
        while waiting:
            for each in waiting.pop().chain():
                self.put.append(_seen(each, now))
                self.returned[id(each)] = self.returned.get(id(each), 0) + 1
                if each.is_package and each.package is not None:
                    waiting.append(each.package)
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    # ------------------------------------------------------------------ for checks

    def make(self, data: bytes, time: int) -> DMUS_KERNEL_EVENT:
        """An event with `data`: inline as long as they fit, else in a buffer."""
        event = DMUS_KERNEL_EVENT(cbEvent=len(data), usChannelGroup=1, ullPresTime100ns=time)
        self.events.append(event)
        if len(data) <= POINTER_BYTES:
            event.uData = data
        else:
            buffer = EventBuffer(max(BUFFER_BYTES, len(data)))
            buffer[: len(data)] = data
            event.uData = buffer
        return event

    def make_package(self, chain: DMUS_KERNEL_EVENT, length: int) -> DMUS_KERNEL_EVENT:
        """A package around a chain, with some cbEvent, which means nothing."""
        event = DMUS_KERNEL_EVENT(cbEvent=length, usFlags=DMUS_KEF_PACKAGE_EVENT, usChannelGroup=1, uData=chain)
        event.ullPresTime100ns = chain.ullPresTime100ns
        self.events.append(event)
        return event

    @property
    def missing(self) -> int:
        """Events that never came back."""
        return sum(1 for event in self.events if id(event) not in self.returned)

    @property
    def doubled(self) -> int:
        """Events that came back more than once."""
        return sum(1 for count in self.returned.values() if count > 1)


class RecordingSink(IMXF):
    """Takes events, notes them, and gives them to the allocator."""

    def __init__(self, allocator: IAllocatorMXF, clock: IMasterClock) -> None:
        self._allocator = allocator
        self._clock = clock
        self.seen: list[Seen] = []

    @property
    def data(self) -> bytes:
        """All bytes, in order."""
        return b"".join(each.data for each in self.seen)

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        if event is not None:
            now = self._clock.get_time()
            self.seen += [_seen(each, now) for each in event.chain()]
            self._allocator.put_message(event)
        return NTSTATUS.SUCCESS

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        return NTSTATUS.SUCCESS


class DirectStream:
    """A stream of the miniport under test, made without a pin: its allocator is a recording one."""

    def __init__(
        self,
        rig: Rig,
        kind: DMUS_STREAM_TYPE,
        data_format: Format | None = None,
        *,
        clock: IMasterClock | None = None,
        port: Any = None,
    ) -> None:
        self.rig = rig
        self.port = port or rig.port("dmus")
        self.clock: IMasterClock = clock or self.port.master_clock
        self.allocator = RecordingAllocator(self.clock)
        self.sink = RecordingSink(self.allocator, self.clock)
        target = rig.trace.of("init", caller="port")[-1].target
        self.miniport = rig.trace.wrap(target, "port")
        made = self.miniport.new_stream(PINS[kind], kind, data_format, self.allocator, self.clock)
        self.stream: Any = made.Stream
        self.real = unwrap(made.Stream)
        self.group: IServiceGroup | None = made.ServiceGroup
        self.prefetch = made.SchedulePreFetch
        self._member = _Member(self.service)
        if self.group is not None:
            self.group.add_member(self._member)
        self.state = KSSTATE.STOP
        self.deaf = False
        """Do not ask for input, whatever is notified."""
        self._closed = False
        rig.keep(self)

    def service(self) -> None:
        """What a port does when the group was served."""
        if not self.deaf:
            self.stream.put_message(None)

    def go(self, state: KSSTATE) -> None:
        """To `state` in single steps."""
        while self.state is not state:
            step = KSSTATE(self.state + (1 if state > self.state else -1))
            self.stream.set_state(step)
            self.state = step

    def put(self, *events: DMUS_KERNEL_EVENT) -> None:
        """PutMessage of the events as one chain, in deferred context."""
        for event, following in zip(events, events[1:], strict=False):
            event.pNextEvt = following
        with self.rig.system.at(IRQL.DISPATCH):
            self.stream.put_message(events[0])

    def send(self, *messages: bytes, ahead: int = 0) -> list[DMUS_KERNEL_EVENT]:
        """PutMessage of one event for each message, one by one, due `ahead` x 100 ns from now."""
        made = [self.allocator.make(data, self.clock.get_time() + ahead) for data in messages]
        for event in made:
            self.put(event)
        return made

    def arrive(self, data: bytes) -> None:
        """Bytes come in at the pin, and have arrived and been served when this returns."""
        self.rig.board.bench.midi_send(data, self.rig.board.clock.now())
        self.rig.system.sleep((len(data) + 3) * BYTE_S)

    def close(self) -> None:
        """Down to STOP, and released."""
        if self._closed:
            return
        self._closed = True
        try:
            self.go(KSSTATE.STOP)
        finally:
            self.drop()

    def drop(self) -> None:
        """Release in whatever state it is."""
        self._closed = True
        if self.group is not None:
            self.group.remove_member(self._member)
            self.group.release()
            self.group = None
        self.stream.release()


class _Member(IServiceSink):
    """A member of a service group."""

    def __init__(self, serve: Any) -> None:
        self._serve = serve

    def request_service(self) -> None:
        self._serve()


def wire(rig: Rig) -> bytes:
    """What has left over the pin since the last look."""
    return bytes(each.value for each in rig.board.bench.midi_read())


@contextmanager
def midi_bit(rig: Rig, lsb: int) -> Iterator[None]:
    """A test switch of the MIDI unit is on inside the block; other bits stay."""
    before = rig.board.read_register(regs.MIDI_CONTROL) & 0xFF
    rig.board.write_register(regs.MIDI_CONTROL, before | 1 << lsb)
    try:
        yield
    finally:
        now = rig.board.read_register(regs.MIDI_CONTROL) & 0xFF
        rig.board.write_register(regs.MIDI_CONTROL, now & ~(1 << lsb))


# ---------------------------------------------------------------------- a miniport that judges ports


@dataclass(slots=True)
class Put:
    """PutMessage as the port made it."""

    data: tuple[bytes, ...]
    """Of the events of the chain; empty for NULL."""
    times: tuple[int, ...]
    level: IRQL
    at: int
    """Master time of the call."""


class ScriptedDMusStream(ISynthSinkDMus):
    """Writes down what the port calls, and puts events back."""

    def __init__(
        self, system: System, allocator: IAllocatorMXF, clock: IMasterClock, group: IServiceGroup | None
    ) -> None:
        self._system = system
        self.allocator = allocator
        self.clock = clock
        self.group = group
        self.puts: list[Put] = []
        self.states: list[KSSTATE] = []
        self.syncs: list[tuple[int, bool, int]] = []
        """Time and start flag of each SyncToMaster, and the number of SetState calls before it."""
        self.renders: list[tuple[int, int]] = []
        """Position and length of each Render."""
        for each in (allocator, clock):
            each.add_ref()

    def destroy(self) -> None:
        for each in (self.allocator, self.clock):
            each.release()
        if self.group is not None:
            self.group.release()

    def set_state(self, state: KSSTATE) -> NTSTATUS:
        self.states.append(state)
        return NTSTATUS.SUCCESS

    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        chain = list(event.chain()) if event is not None else []
        self.puts.append(
            Put(
                tuple(each.data for each in chain),
                tuple(each.ullPresTime100ns for each in chain),
                self._system.level,
                self.clock.get_time(),
            )
        )
        if event is not None:
            self.allocator.put_message(event)
        return NTSTATUS.SUCCESS

    def connect_output(self, sink: IMXF | None) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def disconnect_output(self, sink: IMXF | None) -> NTSTATUS:
        return NTSTATUS.SUCCESS

    def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
        self.renders.append((position, length))

    def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
        self.syncs.append((time, start, len(self.states)))
        return NTSTATUS.SUCCESS

    def sample_to_ref_time(self, sample_time: int) -> int:
        return sample_time * 10_000_000 // 48_000

    def ref_time_to_sample(self, time: int) -> int:
        return time * 48_000 // 10_000_000


@dataclass
class Script:
    """How the scripted miniport behaves."""

    prefetch: int = 0
    render_group: bool = True
    init_group: bool = True
    """Init delivers a group."""
    early_group: bool = False
    """Init registers one more group."""


class ScriptedDMusMiniport(IMiniportDMus):
    """Makes scripted streams of every type on every pin."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.streams: list[ScriptedDMusStream] = []
        self.groups: list[IServiceGroup] = []
        self.services: int = 0
        self._port: IPortDMus | None = None

    def destroy(self) -> None:
        for each in self.groups:
            each.release()
        if self._port is not None:
            self._port.release()

    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortDMus
    ) -> IServiceGroup | None:
        port.add_ref()
        self._port = port
        if self.script.early_group:
            early = port.new_service_group()
            port.register_service_group(early)
            self.groups.append(early)
        if not self.script.init_group:
            return None
        group = port.new_service_group()
        self.groups.append(group)
        group.add_ref()
        return group

    def service(self) -> None:
        self.services += 1

    def new_stream(
        self,
        pin: int,
        stream_type: DMUS_STREAM_TYPE,
        data_format: Format | None,
        allocator: IAllocatorMXF | None,
        master_clock: IMasterClock,
    ) -> NewDMusStream:
        assert self._port is not None and allocator is not None
        group = None
        if stream_type is DMUS_STREAM_TYPE.CAPTURE or self.script.render_group:
            group = self._port.new_service_group()
            group.add_ref()
        stream = ScriptedDMusStream(self._port.system, allocator, master_clock, group)
        self.streams.append(stream)
        return NewDMusStream(stream, group, self.script.prefetch)


@dataclass
class ScriptedPort:
    """The port under test over a scripted miniport."""

    rig: Rig
    script: Script = field(default_factory=Script)

    def __post_init__(self) -> None:
        self.miniport = ScriptedDMusMiniport(self.script)
        seen = self.rig.trace.wrap(self.miniport, "port")
        self.port: Any = self.rig.objects.port("dmus")(seen, self.rig.system)
        self.miniport.release()
        self.rig.keep(self.port)

    @property
    def streams(self) -> list[ScriptedDMusStream]:
        """In the order in which they were opened."""
        return self.miniport.streams

    def nulls(self) -> list[int]:
        """PutMessage(NULL) calls of each stream so far."""
        return [sum(1 for put in each.puts if not put.data) for each in self.streams]
