"""The WaveCyclic interfaces, as abstract classes.

Methods are Microsoft's words in snake_case. A failure NTSTATUS is raised (`NtStatusError`), a success other than
SUCCESS is returned; output parameters are the return value. The outer unknown and the pool type of Windows have no
meaning here and are left out. Contexts: passive unless a method says otherwise.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from .dma import IDmaChannel, IDmaChannelSlave, ResourceList
from .formats import Format
from .irql import IRQL, context
from .ks import KSSTATE
from .memory import MemoryView
from .service import IPort, IServiceGroup
from .status import NTSTATUS
from .unknown import IUnknown


@dataclass(frozen=True, slots=True)
class NotificationFreq:
    """What SetNotificationFreq gives back.

    Interval: milliseconds that the stream will really use. FrameSize: bytes in one interval, whole frames.
    """

    Interval: int
    FrameSize: int


class IPortWaveCyclic(IPort):
    """The port object as a miniport sees it at Init. Source: IPortWaveCyclic."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def notify(self, service_group: IServiceGroup) -> None:
        """The interrupt handler's one call, behind clearing the cause: the group is served soon. Any context.

        Source: IPortWaveCyclic::Notify.
        """

    @abstractmethod
    def new_slave_dma_channel(
        self, resource_list: ResourceList, dma_index: int, maximum_length: int, demand_mode: bool, dma_speed: int
    ) -> IDmaChannelSlave:
        """A channel of the machine's DMA controller, with one reference for the caller.

        `dma_index` counts the DMA resources of the list; `maximum_length` in bytes bounds the buffer. Demand mode and
        speed are kept for drivers that say them. Raises INVALID_PARAMETER for an index that the list does not have.
        Source: IPortWaveCyclic::NewSlaveDmaChannel.
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
        """A channel for a bus master, with one reference for the caller; it owns no buffer yet.

        `maximum_length` in bytes bounds the buffer; without 32-bit addresses it lies below 16 MiB. The resource list is
        not used. Source: IPortWaveCyclic::NewMasterDmaChannel.
        """


class IMiniportWaveCyclicStream(IUnknown, ABC):
    """One stream of a WaveCyclic miniport. Source: IMiniportWaveCyclicStream."""

    @abstractmethod
    def set_format(self, data_format: Format) -> NTSTATUS:
        """Change the format. Raises INVALID_DEVICE_REQUEST (in RUN), INVALID_PARAMETER (unsupported).

        Source: IMiniportWaveCyclicStream::SetFormat.
        """

    @abstractmethod
    def set_notification_freq(self, interval: int) -> NotificationFreq:
        """Notify each `interval` milliseconds in RUN, or as near to that as the device can.

        Source: IMiniportWaveCyclicStream::SetNotificationFreq.
        """

    @abstractmethod
    def set_state(self, state: KSSTATE) -> NTSTATUS:
        """Go to `state`: RUN starts the transfer, PAUSE freezes it, STOP resets it.

        Source: IMiniportWaveCyclicStream::SetState.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def get_position(self) -> int:
        """Offset of the converter in the cyclic buffer, in bytes, 0 <= offset < buffer size. Passive or deferred.

        Source: IMiniportWaveCyclicStream::GetPosition.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def normalize_physical_position(self, physical_position: int) -> int:
        """So many bytes of this stream in units of 100 ns. Any context.

        Source: IMiniportWaveCyclicStream::NormalizePhysicalPosition.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def silence(self, buffer: MemoryView, byte_count: int) -> None:
        """Write silence of the stream's format to the first `byte_count` bytes of `buffer`. Any context.

        Source: IMiniportWaveCyclicStream::Silence.
        """


@dataclass(frozen=True, slots=True)
class NewWaveCyclicStream:
    """The output parameters of IMiniportWaveCyclic::NewStream; each carries a reference for the port."""

    Stream: IMiniportWaveCyclicStream
    DmaChannel: IDmaChannel
    ServiceGroup: IServiceGroup


class IMiniportWaveCyclic(IUnknown, ABC):
    """A WaveCyclic miniport: the driver of one adapter's wave pins. Source: IMiniportWaveCyclic."""

    @abstractmethod
    def init(
        self, unknown_adapter: IUnknown | None, resource_list: ResourceList | None, port: IPortWaveCyclic
    ) -> NTSTATUS:
        """Take the adapter into use; called once, before anything else. Source: IMiniportWaveCyclic::Init."""

    @abstractmethod
    def new_stream(self, pin: int, capture: bool, data_format: Format) -> NewWaveCyclicStream:
        """A stream in STOP whose DMA channel owns its buffer.

        Raises INVALID_PARAMETER (pin, direction, format), INVALID_DEVICE_REQUEST (the pin's stream is taken),
        INSUFFICIENT_RESOURCES. Source: IMiniportWaveCyclic::NewStream.
        """
