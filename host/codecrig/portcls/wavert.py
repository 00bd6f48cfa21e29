"""The WaveRT interfaces, as abstract classes.

Methods are Microsoft's words in snake_case. A failure NTSTATUS is raised (`NtStatusError`), a success other than
SUCCESS is returned; output parameters are the return value. Contexts: passive may block, deferred is a deferred
procedure call. Each docstring ends with the title of the page that defines the method.
"""

from abc import ABC, abstractmethod

from .event import KEvent
from .formats import Format
from .irql import IRQL, context
from .ks import (
    DEVICE_DESCRIPTION,
    KSAUDIO_POSITION,
    KSAUDIO_PRESENTATION_POSITION,
    KSRTAUDIO_HWLATENCY,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    AudioBuffer,
    ReadPacket,
)
from .memory import MEMORY_CACHING_TYPE, Mdl, MemoryView
from .service import IPort
from .status import NTSTATUS
from .unknown import IUnknown


class IPortWaveRTStream(IUnknown, ABC):
    """Page services that a port gives to one stream of a miniport. All methods: passive. Source: IPortWaveRTStream."""

    @abstractmethod
    def allocate_pages_for_mdl(self, high_address: int, total_bytes: int) -> Mdl | None:
        """Whole pages at or below `high_address`, not necessarily contiguous; None if there are none at all.

        The list may be shorter than `total_bytes`: the caller checks. Source: IPortWaveRTStream::AllocatePagesForMdl.
        """

    @abstractmethod
    def allocate_contiguous_pages_for_mdl(self, low_address: int, high_address: int, total_bytes: int) -> Mdl | None:
        """Physically contiguous pages between both addresses, covering `total_bytes`; None if that is impossible.

        Source: IPortWaveRTStream::AllocateContiguousPagesForMdl.
        """

    @abstractmethod
    def map_allocated_pages(self, memory_descriptor_list: Mdl, cache_type: MEMORY_CACHING_TYPE) -> MemoryView | None:
        """A view of the pages as one stretch, or None. Source: IPortWaveRTStream::MapAllocatedPages."""

    @abstractmethod
    def unmap_allocated_pages(self, base_address: MemoryView, memory_descriptor_list: Mdl) -> None:
        """Undo `map_allocated_pages`. Source: IPortWaveRTStream::UnmapAllocatedPages."""

    @abstractmethod
    def free_pages_from_mdl(self, memory_descriptor_list: Mdl) -> None:
        """Give the pages back; the list is dead afterwards. Source: IPortWaveRTStream::FreePagesFromMdl."""

    @abstractmethod
    def get_physical_pages_count(self, memory_descriptor_list: Mdl) -> int:
        """Number of pages in the list. Source: IPortWaveRTStream::GetPhysicalPagesCount."""

    @abstractmethod
    def get_physical_page_address(self, memory_descriptor_list: Mdl, index: int) -> int:
        """Physical address of page `index`, 0 to count - 1. Source: IPortWaveRTStream::GetPhysicalPageAddress."""


class IPortWaveRT(IPort):
    """The port object as a miniport sees it at Init: it has no notify method. Source: IPortWaveRT."""


class IMiniportWaveRTStream(IUnknown, ABC):
    """One stream of a WaveRT miniport. Source: IMiniportWaveRTStream."""

    @abstractmethod
    def set_format(self, data_format: Format) -> NTSTATUS:
        """Change the format. Passive. Raises INVALID_PARAMETER (bad, unsupported, or running).

        Source: IMiniportWaveRTStream::SetFormat.
        """

    @abstractmethod
    def set_state(self, state: KSSTATE) -> NTSTATUS:
        """Go to `state`: RUN starts the engine, PAUSE freezes it, STOP resets it. Passive.

        Source: IMiniportWaveRTStream::SetState.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def get_position(self) -> KSAUDIO_POSITION:
        """Both offsets, in bytes, from one instant. Passive or deferred. Source: IMiniportWaveRTStream::GetPosition."""

    @abstractmethod
    def allocate_audio_buffer(self, requested_size: int) -> AudioBuffer:
        """A cyclic buffer of at least `requested_size` bytes, whole frames; moves no data. Passive.

        Raises UNSUCCESSFUL (less than one frame), INSUFFICIENT_RESOURCES, DEVICE_NOT_READY.
        Source: IMiniportWaveRTStream::AllocateAudioBuffer.
        """

    @abstractmethod
    def free_audio_buffer(self, audio_buffer_mdl: Mdl | None, buffer_size: int) -> None:
        """Undo `allocate_audio_buffer`; a None list is harmless. Size in bytes. Passive.

        Source: IMiniportWaveRTStream::FreeAudioBuffer.
        """

    @abstractmethod
    def get_hw_latency(self) -> KSRTAUDIO_HWLATENCY:
        """Bytes, 100 ns, 100 ns; valid after allocation. Passive. Source: IMiniportWaveRTStream::GetHWLatency."""

    @abstractmethod
    def get_position_register(self) -> KSRTAUDIO_HWREGISTER:
        """The position register. Passive. Raises NOT_SUPPORTED. Source: IMiniportWaveRTStream::GetPositionRegister."""

    @abstractmethod
    def get_clock_register(self) -> KSRTAUDIO_HWREGISTER:
        """The clock register. Passive. Raises NOT_SUPPORTED. Source: IMiniportWaveRTStream::GetClockRegister."""


class IMiniportWaveRTStreamNotification(IMiniportWaveRTStream):
    """A stream that can tell packet ends. Source: IMiniportWaveRTStreamNotification."""

    @abstractmethod
    def allocate_buffer_with_notification(self, notification_count: int, requested_size: int) -> AudioBuffer:
        """As `allocate_audio_buffer`; the buffer holds `notification_count` (1 or 2) packets of equal size. Passive.

        Raises INVALID_PARAMETER for the count and the codes of `allocate_audio_buffer`.
        Source: IMiniportWaveRTStreamNotification::AllocateBufferWithNotification.
        """

    @abstractmethod
    def free_buffer_with_notification(self, audio_buffer_mdl: Mdl | None, buffer_size: int) -> None:
        """Undo `allocate_buffer_with_notification`. Passive.

        Source: IMiniportWaveRTStreamNotification::FreeBufferWithNotification.
        """

    @abstractmethod
    def register_notification_event(self, notification_event: KEvent) -> NTSTATUS:
        """Set the event at each packet end in RUN. Passive. Raises UNSUCCESSFUL if it is registered already.

        Source: IMiniportWaveRTStreamNotification::RegisterNotificationEvent.
        """

    @abstractmethod
    def unregister_notification_event(self, notification_event: KEvent) -> NTSTATUS:
        """Never set the event again. Passive. Raises NOT_FOUND if it is not registered.

        Source: IMiniportWaveRTStreamNotification::UnregisterNotificationEvent.
        """


class IMiniportWaveRTInputStream(IUnknown, ABC):
    """Reading packets of a capture stream with a notification buffer. Source: IMiniportWaveRTInputStream."""

    @abstractmethod
    def get_read_packet(self) -> ReadPacket:
        """The oldest packet not yet reported that is still intact. Passive.

        Raises DEVICE_NOT_READY (none new), INVALID_DEVICE_STATE (below PAUSE), NOT_SUPPORTED (no notification buffer).
        Source: IMiniportWaveRTInputStream::GetReadPacket.
        """


class IMiniportWaveRTOutputStream(IUnknown, ABC):
    """Writing packets of a render stream with a notification buffer. Source: IMiniportWaveRTOutputStream."""

    @abstractmethod
    def set_write_packet(self, packet_number: int, flags: int, eos_packet_length: int) -> NTSTATUS:
        """Packet `packet_number` (modulo 2^32) is in the buffer. Passive.

        `flags`: 0 or KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM; `eos_packet_length` in bytes, used with that flag only.
        Raises DATA_LATE_ERROR, DATA_OVERRUN, INVALID_DEVICE_STATE, INVALID_PARAMETER, NOT_SUPPORTED.
        Source: IMiniportWaveRTOutputStream::SetWritePacket.
        """

    @abstractmethod
    def get_output_stream_presentation_position(self) -> KSAUDIO_PRESENTATION_POSITION:
        """Frames presented at the output since STOP, with the performance counter of that instant. Passive.

        Raises NOT_SUPPORTED. Source: IMiniportWaveRTOutputStream::GetOutputStreamPresentationPosition.
        """

    @abstractmethod
    def get_packet_count(self) -> int:
        """Packets completely moved out of the buffer since STOP, modulo 2^32. Passive. Raises NOT_SUPPORTED.

        Source: IMiniportWaveRTOutputStream::GetPacketCount.
        """


class IMiniportWaveRT(IUnknown, ABC):
    """A WaveRT miniport: the driver of one adapter's wave pins. Source: IMiniportWaveRT."""

    @abstractmethod
    def init(self, unknown_adapter: IUnknown | None, resource_list: object | None, port: IPortWaveRT) -> NTSTATUS:
        """Take the adapter into use; called once, before anything else. Passive. Source: IMiniportWaveRT::Init."""

    @abstractmethod
    def new_stream(
        self, port_stream: IPortWaveRTStream, pin: int, capture: bool, data_format: Format
    ) -> IMiniportWaveRTStream:
        """A stream in STOP, with one reference for the caller. Passive.

        Raises INVALID_PARAMETER (pin, direction, format), INVALID_DEVICE_REQUEST (the pin's stream is taken).
        Source: IMiniportWaveRT::NewStream.
        """

    @abstractmethod
    def get_device_description(self) -> DEVICE_DESCRIPTION:
        """What the engine can address. Passive. Source: IMiniportWaveRT::GetDeviceDescription."""
