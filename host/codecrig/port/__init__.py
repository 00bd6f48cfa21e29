"""The Windows side: ports that drive a miniport as PortCls does. They see a `System`, never a Board."""

from .wavert import PortWaveRT, PortWaveRTStream, WaveRTPin

__all__ = ["PortWaveRT", "PortWaveRTStream", "WaveRTPin"]
