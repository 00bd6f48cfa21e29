"""Audio memory as a `MemoryView`: every access is one call of `transact`, a board's or one that listens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codecrig.link import Request
from codecrig.portcls import MemoryView


class BoardMemoryView(MemoryView):
    """A stretch of a board's audio memory. Addresses are those of the stream engine."""

    def __init__(self, transact: Callable[[Sequence[Request]], list[bytes]], address: int, length: int) -> None:
        self._transact = transact
        self._address = address
        self._length = length

    @property
    def physical_address(self) -> int:
        return self._address

    @property
    def length(self) -> int:
        return self._length

    def read(self, offset: int, length: int) -> bytes:
        return self.read_pieces([(offset, length)])[0]

    def write(self, offset: int, data: bytes) -> None:
        self.write_pieces([(offset, data)])

    def read_pieces(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        for offset, length in pieces:
            self.check_range(offset, length)
        replies = iter(
            self._transact([Request.read(self._address + offset, length) for offset, length in pieces if length])
        )
        return [next(replies) if length else b"" for _, length in pieces]

    def write_pieces(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        for offset, data in pieces:
            self.check_range(offset, len(data))
        self._transact([Request.write(self._address + offset, bytes(data)) for offset, data in pieces if len(data)])

    def slice(self, offset: int, length: int) -> MemoryView:
        self.check_range(offset, length)
        return BoardMemoryView(self._transact, self._address + offset, length)
