"""Kernel streaming types: states, positions, latencies, register descriptions.

Field names are Microsoft's. Units stand with each field.
"""

from dataclasses import dataclass
from enum import IntEnum

from .memory import MEMORY_CACHING_TYPE, Mdl, MemoryView

REFERENCE_TIME_PER_SECOND = 10_000_000
"""A REFERENCE_TIME counts 100 ns."""

KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM = 0x200
"""The one flag that SetWritePacket accepts: the packet is the last one. Source: ks.h."""


class KSSTATE(IntEnum):
    """Stream states in the order in which they are climbed. Source: KSSTATE (ks.h)."""

    STOP = 0
    ACQUIRE = 1
    PAUSE = 2
    RUN = 3


@dataclass(frozen=True, slots=True)
class KSAUDIO_POSITION:
    """Where a stream is in its cyclic buffer. Both in bytes, 0 <= offset < buffer size. Source: KSAUDIO_POSITION.

    Render: bytes before PlayOffset were converted, bytes before WriteOffset were fetched by the device.
    Capture: the newest converted sample will land at PlayOffset, bytes before WriteOffset are in memory.
    """

    PlayOffset: int
    WriteOffset: int


@dataclass(frozen=True, slots=True)
class KSAUDIO_PRESENTATION_POSITION:
    """Frames presented at the output, and when. Source: KSAUDIO_PRESENTATION_POSITION.

    u64PositionInBlocks: frames since STOP. u64QPCPosition: performance counter at which that number was true.
    """

    u64PositionInBlocks: int
    u64QPCPosition: int


@dataclass(frozen=True, slots=True)
class KSRTAUDIO_HWLATENCY:
    """Delays that the hardware adds. FifoSize in bytes, the others in 100 ns. Source: KSRTAUDIO_HWLATENCY."""

    FifoSize: int
    ChipsetDelay: int
    CodecDelay: int


@dataclass(frozen=True, slots=True)
class KSRTAUDIO_HWREGISTER:
    """A register that a client may read directly. Source: KSRTAUDIO_HWREGISTER.

    Register: a view of it. Width: 32 or 64 bits. Numerator / Denominator: its rate in Hz (clock register only).
    Accuracy: position register bytes, clock register ticks between updates.
    """

    Register: MemoryView
    Width: int
    Numerator: int
    Denominator: int
    Accuracy: int


@dataclass(frozen=True, slots=True)
class KSRTAUDIO_BUFFER:
    """What a client gets for a buffer request. Source: KSRTAUDIO_BUFFER.

    BufferAddress: view of the buffer. ActualBufferSize in bytes. CallMemoryBarrier: true for write-combined memory.
    """

    BufferAddress: MemoryView
    ActualBufferSize: int
    CallMemoryBarrier: bool


@dataclass(frozen=True, slots=True)
class AudioBuffer:
    """The output parameters of the two allocation methods of a WaveRT stream, in their order.

    AudioBufferMdl: page list. ActualSize: bytes of the cyclic buffer. OffsetFromFirstPage: bytes from the start of the
    first page to the buffer. CacheType: how the client has to map it.
    """

    AudioBufferMdl: Mdl
    ActualSize: int
    OffsetFromFirstPage: int
    CacheType: MEMORY_CACHING_TYPE


@dataclass(frozen=True, slots=True)
class ReadPacket:
    """The output parameters of GetReadPacket.

    PacketNumber: modulo 2^32. Flags: always 0. PerformanceCounterValue: when the packet's first frame was converted.
    MoreData: true only if a second call now would succeed.
    """

    PacketNumber: int
    Flags: int
    PerformanceCounterValue: int
    MoreData: bool


@dataclass(frozen=True, slots=True)
class DEVICE_DESCRIPTION:
    """What a miniport says about its bus mastering. Source: DEVICE_DESCRIPTION (wdm.h), the fields that matter here.

    MaximumPhysicalAddress: last address the engine can reach. MaximumLength: longest transfer in bytes.
    """

    Master: bool
    ScatterGather: bool
    MaximumPhysicalAddress: int
    MaximumLength: int
