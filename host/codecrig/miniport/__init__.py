"""The driver side: one miniport for each seed interface, over a Board."""

from .dmus import MiniportDMus
from .wavecyclic import MiniportWaveCyclic
from .wavepci import MiniportWavePci
from .wavert import MiniportWaveRT

__all__ = ["MiniportDMus", "MiniportWaveCyclic", "MiniportWavePci", "MiniportWaveRT"]
