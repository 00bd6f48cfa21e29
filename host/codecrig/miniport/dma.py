"""The board's engine as a DMA controller of the machine, for slave channels."""

from codecrig.board import Board
from codecrig.link.registers import StreamState
from codecrig.portcls import DmaController, Format

from .engine import Descriptor, EngineStream

RENDER_STREAM = 2
CAPTURE_STREAM = 3
"""Streams of the engine that are used, those of the pins with these numbers."""
PACE = Format(48000, 2, 16)
"""The device takes or gives a frame of this format at each frame tick of the converter."""
FLUSH_TRIES = 16
"""Pauses in which the FIFO must be found empty; it is for most of each frame."""


class EngineDmaController(DmaController):
    """Streams 2 (to the device) and 3 (from it), paced by the converter. The two directions exclude each other."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._stream: EngineStream | None = None

    def begin(self, address: int, length: int, write_to_device: bool) -> None:
        number = RENDER_STREAM if write_to_device else CAPTURE_STREAM
        self._stream = EngineStream(self._board, number, not write_to_device, PACE, lambda number: None)
        self._stream.command(StreamState.STOP)
        self._stream.program([Descriptor(address, length)], causes=0)
        self._stream.command(StreamState.RUN)

    def end(self) -> None:
        """The engine is left in PAUSE, so that its counts can still be read."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.command(StreamState.PAUSE)
        for _ in range(FLUSH_TRIES):
            if not stream.capture or not stream.snapshot().fifo_bytes:
                break
            stream.command(StreamState.RUN)
            stream.command(StreamState.PAUSE)
        stream.close()

    def moved(self) -> int:
        return 0 if self._stream is None else self._stream.snapshot().bytes
