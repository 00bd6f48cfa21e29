"""The Windows side: ports that drive a miniport as PortCls does. They see a `System`, never a Board."""

from .dma import DmaChannel, DmaChannelSlave
from .dmus import DMusAllocator, DMusCapturePin, DMusRenderPin, DMusSynthPin, PortDMus, WaveOutput, WaveRTOutput
from .wavecyclic import PortWaveCyclic, WaveCyclicPin
from .wavepci import PortWavePci, PortWavePciStream, WavePciPacket, WavePciPin
from .wavert import PortWaveRT, PortWaveRTStream, WaveRTPin

__all__ = [
    "DMusAllocator",
    "DMusCapturePin",
    "DMusRenderPin",
    "DMusSynthPin",
    "PortDMus",
    "WaveOutput",
    "WaveRTOutput",
    "DmaChannel",
    "DmaChannelSlave",
    "PortWaveCyclic",
    "PortWavePci",
    "PortWavePciStream",
    "PortWaveRT",
    "PortWaveRTStream",
    "WaveCyclicPin",
    "WavePciPacket",
    "WavePciPin",
    "WaveRTPin",
]
