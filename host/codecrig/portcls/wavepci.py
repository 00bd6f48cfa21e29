"""The WavePci interfaces, as abstract classes.

A client's packets reach the engine piece by piece, as mappings; nothing is copied. Methods are Microsoft's words in
snake_case. A failure NTSTATUS is raised (`NtStatusError`), a success other than SUCCESS is returned; output parameters
are the return value. Each docstring ends with the title of the page that defines the method.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from .dma import IDmaChannel, ResourceList
from .formats import Format
from .irql import IRQL, context
from .ks import KSSTATE
from .memory import MemoryView
from .service import IPort, IServiceGroup
from .status import NTSTATUS
from .unknown import IUnknown

KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER = 0x1
KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY = 0x2
KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY = 0x4
KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE = 0x8
KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY = 0x80000000
FILE_LONG_ALIGNMENT = 0x3

POOL_TYPE_NON_PAGED = 0
TAG_BITS = 64
"""A tag is a pointer to the miniport's own data: any value of this width."""


@dataclass(frozen=True, slots=True)
class KSALLOCATOR_FRAMING:
    """What a stream would like its client's packets to be. Source: KSALLOCATOR_FRAMING (ks.h).

    OptionsFlags: 0. RequirementsFlags: KSALLOCATOR_REQUIREMENTF bits. Frames: packets in flight. FrameSize: bytes of a
    packet. FileAlignment: mask of address bits that should be 0. Reserved: 0.
    """

    OptionsFlags: int
    RequirementsFlags: int
    PoolType: int
    Frames: int
    FrameSize: int
    FileAlignment: int
    Reserved: int = 0


@dataclass(frozen=True, slots=True)
class Mapping:
    """The output parameters of GetMapping: the next piece of client data.

    PhysicalAddress: of its first byte, as the engine sees it. VirtualAddress: the same memory for the host. ByteCount:
    its length, from 1 upward. Flags: not 0 for the last piece of a packet.
    """

    PhysicalAddress: int
    VirtualAddress: MemoryView
    ByteCount: int
    Flags: int


class IPortWavePciStream(IUnknown, ABC):
    """Hands client data to one stream of a miniport. All methods: up to deferred context, and never under a lock of
    the caller's, because RevokeMappings may arrive inside. Source: IPortWavePciStream.
    """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def get_mapping(self, tag: int) -> Mapping:
        """The piece of client data that follows the last one given; `tag` names it from now on.

        `tag` is any pointer-sized value and only compared. Raises NOT_FOUND if there is none now: MappingAvailable is
        called when there is. Passive or deferred. Source: IPortWavePciStream::GetMapping.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def release_mapping(self, tag: int) -> NTSTATUS:
        """The engine has finished with the last byte of this mapping, the oldest one held.

        Raises NOT_FOUND if no mapping of this tag is held. Passive or deferred.
        Source: IPortWavePciStream::ReleaseMapping.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def terminate_packet(self) -> NTSTATUS:
        """Capture: give the packet that is being filled to the client as it is. No effect on render. Passive or
        deferred. Source: IPortWavePciStream::TerminatePacket.
        """


class IPreFetchOffset(IUnknown, ABC):
    """Where the write position is told to be; the port stream has it. Source: IPreFetchOffset."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def set_pre_fetch_offset(self, pre_fetch_offset: int) -> None:
        """From now on the write position is the play position plus `pre_fetch_offset` bytes. Any context.

        Source: IPreFetchOffset::SetPreFetchOffset.
        """


class IPortWavePci(IPort):
    """The port object as a miniport sees it. Source: IPortWavePci."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def notify(self, service_group: IServiceGroup) -> None:
        """Serve the members of `service_group` soon. For interrupt handlers. Any context.

        Source: IPortWavePci::Notify.
        """

    @abstractmethod
    def new_master_dma_channel(
        self,
        resource_list: ResourceList | None,
        maximum_length: int,
        dma32_bit_addresses: bool,
        dma64_bit_addresses: bool,
        dma_width: int = -1,
        dma_speed: int = -1,
    ) -> IDmaChannel:
        """A channel for a bus master, with one reference for the caller; it owns no buffer yet. Passive.

        `maximum_length` in bytes bounds a buffer; without 32-bit addresses it lies below 16 MiB. The resource list is
        not used. Source: IPortWavePci::NewMasterDmaChannel.
        """


class IMiniportWavePciStream(IUnknown, ABC):
    """One stream of a WavePci miniport. Source: IMiniportWavePciStream."""

    @abstractmethod
    def set_format(self, data_format: Format) -> NTSTATUS:
        """Change the format while the stream does not run. Passive.

        Raises INVALID_PARAMETER (unsupported), INVALID_DEVICE_REQUEST (in RUN).
        Source: IMiniportWavePciStream::SetFormat.
        """

    @abstractmethod
    def set_state(self, state: KSSTATE) -> NTSTATUS:
        """Go to `state`. RUN: release what is finished, acquire, start. PAUSE, ACQUIRE: halt, keep what is queued.
        STOP: halt, release what is finished, position 0. Passive. Source: IMiniportWavePciStream::SetState.
        """

    @abstractmethod
    def get_position(self) -> int:
        """Bytes since the start of the stream, 64 bit, at the converter. Passive.

        Source: IMiniportWavePciStream::GetPosition.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def normalize_physical_position(self, physical_position: int) -> int:
        """Bytes of this stream as 100 ns, rounded down. Any context.

        Source: IMiniportWavePciStream::NormalizePhysicalPosition.
        """

    @abstractmethod
    def get_allocator_framing(self) -> KSALLOCATOR_FRAMING:
        """The packets that suit the stream best. Passive. Source: IMiniportWavePciStream::GetAllocatorFraming."""

    @abstractmethod
    @context(IRQL.DISPATCH)
    def revoke_mappings(self, first_tag: int, last_tag: int) -> int:
        """Drop the mappings from `first_tag` to `last_tag` in the order in which they were acquired, both included.

        Behind the return the engine does not touch them and they are not released. Returns how many were still held;
        those released before do not count. Raises UNSUCCESSFUL for tags never used: none were dropped then. Deferred.
        Source: IMiniportWavePciStream::RevokeMappings.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def mapping_available(self) -> None:
        """There is client data again, behind a GetMapping that found none. Passive or deferred.

        Source: IMiniportWavePciStream::MappingAvailable.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def service(self) -> None:
        """Release what is finished, acquire what is there. Called in RUN for the stream's service group. Deferred.

        Source: IMiniportWavePciStream::Service.
        """


@dataclass(frozen=True, slots=True)
class NewWavePciStream:
    """The output parameters of NewStream.

    Stream and ServiceGroup carry a reference for the caller; DmaChannel does not. ServiceGroup may be None: then the
    port polls the stream.
    """

    Stream: IMiniportWavePciStream
    DmaChannel: IDmaChannel | None
    ServiceGroup: IServiceGroup | None


class IMiniportWavePci(IUnknown, ABC):
    """A WavePci miniport: the driver of one adapter's wave pins. Source: IMiniportWavePci."""

    @abstractmethod
    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWavePci
    ) -> IServiceGroup | None:
        """Take the adapter into use; called once, before anything else. Passive.

        Returns the group whose requests lead to `service`, with a reference for the caller, or None.
        Source: IMiniportWavePci::Init.
        """

    @abstractmethod
    def new_stream(
        self, port_stream: IPortWavePciStream, pin: int, capture: bool, data_format: Format
    ) -> NewWavePciStream:
        """A stream in STOP, position 0. Passive. Outer unknown and pool type mean nothing here and are left out.

        Raises INVALID_PARAMETER (pin, direction, format), INVALID_DEVICE_REQUEST (the pin's stream is taken).
        Source: IMiniportWavePci::NewStream.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def service(self) -> None:
        """The group that Init returned is served. Deferred. Source: IMiniportWavePci::Service."""
