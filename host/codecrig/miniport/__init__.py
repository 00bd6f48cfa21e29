"""The driver side: one miniport for each seed interface, over a Board."""

from .wavert import MiniportWaveRT

__all__ = ["MiniportWaveRT"]
