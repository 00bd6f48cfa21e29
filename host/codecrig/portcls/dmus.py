"""The DirectMusic interfaces, as abstract classes: MIDI as time-stamped events, and synthesizers that render waves.

Events are structures from the port's pool; whoever has one owns it until he passes it on, and every chain ends in the
allocator. Methods are Microsoft's words in snake_case. A failure NTSTATUS is raised (`NtStatusError`), a success other
than SUCCESS is returned; output parameters are the return value. Contexts: passive unless a method says otherwise.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from .dma import ResourceList
from .formats import Format
from .irql import IRQL, context
from .ks import KSSTATE
from .service import IPort, IServiceGroup
from .status import NTSTATUS
from .unknown import IUnknown

POINTER_BYTES = 8
"""Size of a pointer: so many bytes of data fit into an event itself. Source: DMUS_KERNEL_EVENT (64 bit)."""
DMUS_KERNEL_EVENT_BYTES = 40
"""Size of the structure with such pointers; what `cbStruct` may say."""
DMUS_KEF_EVENT_COMPLETE = 0
"""usFlags: the event holds one whole message."""
DMUS_KEF_EVENT_INCOMPLETE = 1
"""usFlags: the event holds part of a message, or several messages: raw bytes."""
DMUS_KEF_PACKAGE_EVENT = 2
"""usFlags: the event holds no data but a chain of events."""
NO_BYTE_POSITION = 0xFFFFFFFFFFFFFFFF
"""ullBytePosition of an event that has none."""


class DMUS_STREAM_TYPE(IntEnum):
    """What NewStream is asked for. Source: DMUS_STREAM_TYPE (dmusicks.h)."""

    RENDER = 0
    """MIDI to the device."""
    CAPTURE = 1
    """MIDI from the device."""
    WAVE_SINK = 2
    """MIDI to a synthesizer whose waves a wave sink pulls."""


EventBuffer = bytearray
"""Data of an event that does not fit into the event: as many bytes as GetBufferSize says, from the allocator."""


@dataclass(slots=True, eq=False)
class DMUS_KERNEL_EVENT:
    """One time-stamped MIDI event. Source: DMUS_KERNEL_EVENT (dmusicks.h).

    cbStruct: size of the structure; leave alone. cbEvent: data bytes, not rounded. usChannelGroup: 16 channels each,
    from 1. usFlags: DMUS_KEF bits. ullPresTime100ns: presentation time on the master clock, 100 ns. ullBytePosition:
    all ones = none. pNextEvt: next event of the chain. uData: the union abData (up to POINTER_BYTES inline bytes),
    pbData (a buffer of the allocator), pPackageEvt (head of the package's chain).
    """

    cbStruct: int = 0
    cbEvent: int = 0
    usChannelGroup: int = 0
    usFlags: int = 0
    ullPresTime100ns: int = 0
    ullBytePosition: int = 0
    pNextEvt: "DMUS_KERNEL_EVENT | None" = None
    uData: "bytes | EventBuffer | DMUS_KERNEL_EVENT | None" = None

    @property
    def is_package(self) -> bool:
        """It holds a chain. To be asked before any look at cbEvent."""
        return bool(self.usFlags & DMUS_KEF_PACKAGE_EVENT)

    @property
    def package(self) -> "DMUS_KERNEL_EVENT | None":
        """Head of the package's chain (uData.pPackageEvt)."""
        return self.uData if isinstance(self.uData, DMUS_KERNEL_EVENT) else None

    @property
    def buffer(self) -> EventBuffer | None:
        """The data buffer (uData.pbData), which is there if cbEvent exceeds POINTER_BYTES and this is no package."""
        has_one = not self.is_package and self.cbEvent > POINTER_BYTES
        return self.uData if has_one and isinstance(self.uData, bytearray) else None

    @property
    def data(self) -> bytes:
        """The data bytes, wherever they are; none for a package."""
        if self.is_package or self.uData is None or isinstance(self.uData, DMUS_KERNEL_EVENT):
            return b""
        return bytes(self.uData[: self.cbEvent])

    def chain(self) -> "Iterator[DMUS_KERNEL_EVENT]":
        """This event and those linked behind it; each link is read before its event is handed out."""
        event: DMUS_KERNEL_EVENT | None = self
        while event is not None:
            following = event.pNextEvt
            yield event
            event = following


class IMXF(IUnknown, ABC):
    """Something that MIDI events pass through: a stream of a miniport, a sink, the allocator. Source: IMXF."""

    @abstractmethod
    def set_state(self, state: KSSTATE) -> NTSTATUS:
        """Go to `state`, one step at a time.

        Render sends in RUN, holds events in ACQUIRE and PAUSE, gives them to the allocator unsent in STOP. Capture
        emits in RUN, may in PAUSE, and throws away in ACQUIRE and STOP. Raises INVALID_DEVICE_STATE if the unit is
        dead. Source: IMXF::SetState.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        """Take over the chain that `event` heads. None: deliver what input there is. Deferred.

        Source: IMXF::PutMessage.
        """

    @abstractmethod
    def connect_output(self, sink: "IMXF | None") -> NTSTATUS:
        """Send output to `sink` from now on. Raises UNSUCCESSFUL (None, or connected already).

        Source: IMXF::ConnectOutput.
        """

    @abstractmethod
    def disconnect_output(self, sink: "IMXF | None") -> NTSTATUS:
        """Send output to the allocator from now on. `sink`: the one connected, or None for whichever that is.

        Raises UNSUCCESSFUL for another one. Source: IMXF::DisconnectOutput.
        """


class IAllocatorMXF(IMXF):
    """The pool of events and buffers, and the end of every chain. Source: IAllocatorMXF."""

    @abstractmethod
    @context(IRQL.DISPATCH)
    def get_message(self) -> DMUS_KERNEL_EVENT:
        """An event with every field zero. Passive or deferred.

        Raises INSUFFICIENT_RESOURCES; nothing is delivered then. Source: IAllocatorMXF::GetMessage.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def get_buffer_size(self) -> int:
        """Bytes of every buffer, 16 bit, never 0 and always the same. Any context.

        Source: IAllocatorMXF::GetBufferSize.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def get_buffer(self) -> EventBuffer:
        """A buffer for the data of one event, if they are longer than POINTER_BYTES. Passive or deferred.

        Raises INSUFFICIENT_RESOURCES; nothing is delivered then. Source: IAllocatorMXF::GetBuffer.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def put_buffer(self, buffer: EventBuffer) -> NTSTATUS:
        """Take back a buffer that belongs to no event. Rarely needed: PutMessage takes the event's buffer along.

        Source: IAllocatorMXF::PutBuffer.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def put_message(self, event: DMUS_KERNEL_EVENT | None) -> NTSTATUS:
        """Recycle the chain: all events linked by pNextEvt, the chains in packages, and all their buffers. Deferred.

        Source: IMXF::PutMessage; IAllocatorMXF.
        """


class IMasterClock(IUnknown, ABC):
    """The clock of all presentation times. Source: IMasterClock."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def get_time(self) -> int:
        """The time in 100 ns: one constant rate, never backwards, never paused. Any context.

        Source: IMasterClock::GetTime.
        """


class ISynthSinkDMus(IMXF):
    """A stream of a synthesizer, pulled by the port's wave sink. Source: ISynthSinkDMus.

    Sample times are 64-bit counts of frames. Between two calls of `sync_to_master` they map to reference times (100 ns
    on the master clock) by a straight line.
    """

    @abstractmethod
    def render(self, buffer: bytearray | memoryview, length: int, position: int) -> None:
        """Write the sound of `length` bytes from byte `position` of the stream on into `buffer`, and nothing else.

        Both are whole frames; the caller zeroes the buffer. Never blocks. Source: ISynthSinkDMus::Render.
        """

    @abstractmethod
    def sync_to_master(self, time: int, start: bool) -> NTSTATUS:
        """Tell that the master clock shows `time`, 100 ns.

        `start`: sample time 0 is now. Otherwise the mapping moves towards the master by a part of its error.
        Source: ISynthSinkDMus::SyncToMaster.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def sample_to_ref_time(self, sample_time: int) -> int:
        """The reference time of a sample. Source: ISynthSinkDMus::SampleToRefTime."""

    @abstractmethod
    @context(IRQL.DISPATCH)
    def ref_time_to_sample(self, time: int) -> int:
        """The sample of a reference time, the inverse. Source: ISynthSinkDMus::RefTimeToSample."""


class IPortDMus(IPort):
    """The port object as a miniport sees it at Init. Source: IPortDMus."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def notify(self, service_group: IServiceGroup | None) -> None:
        """Have a group served soon: its streams are asked for their input. None: all groups. Any context.

        Source: IPortDMus::Notify.
        """

    @abstractmethod
    def register_service_group(self, service_group: IServiceGroup) -> None:
        """Make the group known before Init returns, so that interrupts may come already. Passive, inside Init.

        Source: IPortDMus::RegisterServiceGroup.
        """


@dataclass(frozen=True, slots=True)
class NewDMusStream:
    """The output parameters of IMiniportDMus::NewStream; stream and group carry a reference for the port.

    SchedulePreFetch: 100 ns that events may be delivered ahead of their presentation time; 0 = when they are due.
    """

    Stream: IMXF
    ServiceGroup: IServiceGroup | None
    SchedulePreFetch: int


class IMiniportDMus(IUnknown, ABC):
    """A DirectMusic miniport: the driver of one adapter's MIDI pins and synthesizer. Source: IMiniportDMus."""

    @abstractmethod
    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortDMus
    ) -> IServiceGroup | None:
        """Take the adapter into use; called once, before anything else. Returns the adapter's group, if it has one.

        Source: IMiniportDMus::Init.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def service(self) -> None:
        """The group of Init was served. Deferred. Source: IMiniportDMus::Service."""

    @abstractmethod
    def new_stream(
        self,
        pin: int,
        stream_type: DMUS_STREAM_TYPE,
        data_format: Format | None,
        allocator: IAllocatorMXF | None,
        master_clock: IMasterClock,
    ) -> NewDMusStream:
        """A stream in STOP. `data_format`: of the waves of a WAVE_SINK, None for MIDI.

        Raises INVALID_PARAMETER (no allocator, wrong format), INVALID_DEVICE_REQUEST (type not supported on this pin,
        or taken). Source: IMiniportDMus::NewStream.
        """
