"""The board in Python: stream engine, converter side, events and registers, in virtual time.

It is the reference for the RTL (what is moved, counted and posted, byte for byte) and the `model` board. It does not
model clock cycles: the engine always keeps up, and one converter frame is served as a whole shortly after its tick.
"""

from .board import BoardModel
from .converter import CodecSettings, PatternSequence
from .engine import EngineModel, StreamModel
from .events import EventRingModel

__all__ = ["BoardModel", "CodecSettings", "EngineModel", "EventRingModel", "PatternSequence", "StreamModel"]
