"""What Windows defines: interfaces, kernel streaming types, status values, formats. Imports nothing of ours.

Names are Microsoft's; methods are the same words in snake_case.
"""

from .dma import DmaController, IDmaChannel, IDmaChannelSlave, ResourceList
from .event import KEvent
from .formats import WAVEFORMATEX, WAVEFORMATEXTENSIBLE, Format, FormatError
from .irql import IRQL, IrqlError, SpinLock, context, highest_irql
from .ks import (
    DEVICE_DESCRIPTION,
    KSAUDIO_POSITION,
    KSAUDIO_PRESENTATION_POSITION,
    KSRTAUDIO_BUFFER,
    KSRTAUDIO_HWLATENCY,
    KSRTAUDIO_HWREGISTER,
    KSSTATE,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    REFERENCE_TIME_PER_SECOND,
    AudioBuffer,
    ReadPacket,
)
from .memory import MEMORY_CACHING_TYPE, PAGE_BYTES, Mdl, MemoryView, PieceView, join_pieces
from .service import IPort, IServiceGroup, IServiceSink
from .status import NTSTATUS, NtStatusError
from .system import System
from .unknown import IUnknown
from .wavecyclic import (
    IMiniportWaveCyclic,
    IMiniportWaveCyclicStream,
    IPortWaveCyclic,
    NewWaveCyclicStream,
    NotificationFreq,
)
from .wavert import (
    IMiniportWaveRT,
    IMiniportWaveRTInputStream,
    IMiniportWaveRTOutputStream,
    IMiniportWaveRTStream,
    IMiniportWaveRTStreamNotification,
    IPortWaveRT,
    IPortWaveRTStream,
)

__all__ = [
    "IRQL",
    "IPort",
    "IServiceGroup",
    "IServiceSink",
    "IrqlError",
    "SpinLock",
    "context",
    "highest_irql",
    "DEVICE_DESCRIPTION",
    "KSAUDIO_POSITION",
    "KSAUDIO_PRESENTATION_POSITION",
    "KSRTAUDIO_BUFFER",
    "KSRTAUDIO_HWLATENCY",
    "KSRTAUDIO_HWREGISTER",
    "KSSTATE",
    "KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM",
    "MEMORY_CACHING_TYPE",
    "NTSTATUS",
    "PAGE_BYTES",
    "REFERENCE_TIME_PER_SECOND",
    "WAVEFORMATEX",
    "WAVEFORMATEXTENSIBLE",
    "AudioBuffer",
    "DmaController",
    "Format",
    "FormatError",
    "IDmaChannel",
    "IDmaChannelSlave",
    "IMiniportWaveCyclic",
    "IMiniportWaveCyclicStream",
    "IMiniportWaveRT",
    "IMiniportWaveRTInputStream",
    "IMiniportWaveRTOutputStream",
    "IMiniportWaveRTStream",
    "IMiniportWaveRTStreamNotification",
    "IPortWaveCyclic",
    "IPortWaveRT",
    "IPortWaveRTStream",
    "IUnknown",
    "KEvent",
    "Mdl",
    "MemoryView",
    "NewWaveCyclicStream",
    "NotificationFreq",
    "NtStatusError",
    "PieceView",
    "ReadPacket",
    "ResourceList",
    "System",
    "join_pieces",
]
