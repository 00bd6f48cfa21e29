"""The simulated board: RTL, firmware and a codec model in one program, reached over USB/IP.

`build` makes the program on first use, `TwinProcess` runs it, `TwinControl` reaches what surrounds the board (taps,
faults, counters). Nothing here speaks the wire format or USB: that is the link's business.
"""

from __future__ import annotations

from codecrig.twin.builder import BuildError, Emulation, MissingTool, build, build_emulation, design_id
from codecrig.twin.control import TwinControl, TwinControlError
from codecrig.twin.process import CodecSettings, TwinError, TwinProcess

__all__ = [
    "BuildError",
    "CodecSettings",
    "Emulation",
    "MissingTool",
    "TwinControl",
    "TwinControlError",
    "TwinError",
    "TwinProcess",
    "build",
    "build_emulation",
    "design_id",
]
