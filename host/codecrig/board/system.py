"""`BoardSystem`: the services a port is given at Init, over a board."""

from __future__ import annotations

from codecrig.board.board import Board
from codecrig.portcls import KEvent, MemoryView
from codecrig.portcls.memory import PAGE_BYTES
from codecrig.portcls.system import System


class BoardSystem(System):
    """Memory, waiting in board time, and the host's clock of one board.

    The last page of audio memory is left out: miniports keep their descriptors there.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._memory = board.memory_view(0, board.profile.memory.audio_bytes - PAGE_BYTES)

    @property
    def memory(self) -> MemoryView:
        return self._memory

    def wait(self, event: KEvent, timeout_s: float) -> bool:
        return self._board.wait_for(event.take, timeout_s)

    def sleep(self, seconds: float) -> None:
        self._board.sleep(seconds)

    def performance_counter(self) -> int:
        return self._board.link.host_time_ns()

    @property
    def performance_frequency(self) -> int:
        return 1_000_000_000
