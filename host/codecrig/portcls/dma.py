"""DMA channels as PortCls offers them to WaveCyclic miniports, and a DMA controller, as abstract classes.

A buffer has two addresses: the host's (a `MemoryView`) and the engine's (a number). Sizes and counts are in bytes. A
channel is not thread-safe: its users call it one after the other.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from .irql import IRQL, context
from .memory import MemoryView
from .status import NTSTATUS
from .unknown import IUnknown


class IDmaChannel(IUnknown, ABC):
    """A DMA channel with its common buffer. A port makes it; a miniport may put its own in place. Source: IDmaChannel.

    Methods may be called in any context unless they say otherwise.
    """

    @abstractmethod
    def allocate_buffer(self, buffer_size: int, physical_address_constraint: int | None = None) -> NTSTATUS:
        """Allocate `buffer_size` bytes, physically contiguous; once until `free_buffer`. Passive.

        `physical_address_constraint`: the bits in which the addresses of the first and the last byte may differ, for
        example 0xFFFF if the buffer must not cross a boundary of 64 KiB; None: no constraint.
        Raises UNSUCCESSFUL (there is one), INVALID_PARAMETER (size), INSUFFICIENT_RESOURCES.
        Source: IDmaChannel::AllocateBuffer.
        """

    @abstractmethod
    def free_buffer(self) -> None:
        """Give the buffer back; destroying the channel does so too. Passive. Source: IDmaChannel::FreeBuffer."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def allocated_buffer_size(self) -> int:
        """Bytes that were allocated; 0 without a buffer. Source: IDmaChannel::AllocatedBufferSize."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def maximum_buffer_size(self) -> int:
        """Most bytes that can be allocated. Source: IDmaChannel::MaximumBufferSize."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def buffer_size(self) -> int:
        """The size last noted, at first the allocated one: the cyclic length. Source: IDmaChannel::BufferSize."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def set_buffer_size(self, buffer_size: int) -> None:
        """Note a size for whoever asks; more than was allocated has no effect. Source: IDmaChannel::SetBufferSize."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def system_address(self) -> MemoryView | None:
        """The buffer as the host sees it; None without one. Source: IDmaChannel::SystemAddress."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def physical_address(self) -> int:
        """Address of its first byte as the engine sees it; 0 without one. Source: IDmaChannel::PhysicalAddress."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def copy_to(self, destination: MemoryView, source: bytes | bytearray | memoryview, byte_count: int) -> None:
        """The first `byte_count` bytes of `source` to `destination`, a view of a part of the buffer.

        Source: IDmaChannel::CopyTo.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def copy_from(self, destination: bytearray | memoryview, source: MemoryView, byte_count: int) -> None:
        """The first `byte_count` bytes of `source`, a view of a part of the buffer, to `destination`.

        Source: IDmaChannel::CopyFrom.
        """

    @abstractmethod
    @context(IRQL.DEVICE)
    def transfer_count(self) -> int:
        """Slave channels: map size of the last start, in bytes; else 0. Source: IDmaChannel::TransferCount."""

    @abstractmethod
    @context(IRQL.DEVICE)
    def get_adapter_object(self) -> object | None:
        """The adapter object; None where there is none. Source: IDmaChannel::GetAdapterObject."""


class IDmaChannelSlave(IDmaChannel):
    """A channel of the machine's DMA controller, for a device without DMA of its own. Source: IDmaChannelSlave."""

    @abstractmethod
    def start(self, map_size: int, write_to_device: bool) -> NTSTATUS:
        """Transfer the first `map_size` bytes of the buffer again and again. Passive.

        Raises UNSUCCESSFUL (started already, or no buffer), INVALID_PARAMETER (size). Source: IDmaChannelSlave::Start.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def stop(self) -> NTSTATUS:
        """End the transfer; what the DMA path still holds reaches its place. Harmless if stopped. Up to deferred.

        Source: IDmaChannelSlave::Stop.
        """

    @abstractmethod
    @context(IRQL.DISPATCH)
    def read_counter(self) -> int:
        """Bytes left of this round: falls from the map size and is loaded with it again; 0 while stopped.

        Up to deferred. Source: IDmaChannelSlave::ReadCounter.
        """

    @abstractmethod
    def wait_for_tc(self, timeout: int) -> NTSTATUS:
        """Wait for a terminal count (the end of a round) at most `timeout` microseconds, in steps of 10. Passive.

        A terminal count since the start, or since the last successful wait, counts. Raises UNSUCCESSFUL in time.
        Source: IDmaChannelSlave::WaitForTC.
        """


class DmaController(ABC):
    """One channel of a DMA controller of the machine, as a slave channel drives it. All sizes in bytes."""

    @abstractmethod
    def begin(self, address: int, length: int, write_to_device: bool) -> None:
        """Move `length` bytes from (or to) `address`, then the same again, until `end`."""

    @abstractmethod
    def end(self) -> None:
        """Stop; what came from the device is in memory behind this. Harmless if stopped."""

    @abstractmethod
    def moved(self) -> int:
        """Bytes moved since `begin`, all rounds together."""


class ResourceList(IUnknown):
    """The resources of a device that a port is given at Init: here, its DMA channels. Source: IResourceList."""

    def __init__(self, dma: Sequence[DmaController] = ()) -> None:
        self._dma = tuple(dma)

    def find_dma(self, index: int) -> DmaController | None:
        """The DMA channel with number `index`, or None."""
        return self._dma[index] if 0 <= index < len(self._dma) else None
