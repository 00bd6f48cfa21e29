"""The driver side: one miniport for each seed interface, over a Board."""

from .wavecyclic import MiniportWaveCyclic
from .wavepci import MiniportWavePci
from .wavert import MiniportWaveRT

__all__ = ["MiniportWaveCyclic", "MiniportWavePci", "MiniportWaveRT"]
