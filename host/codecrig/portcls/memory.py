"""Memory as ports and miniports see it: views with a physical address, and page lists.

A `MemoryView` is the only "virtual address" in this project. Reading and writing go wherever the view's owner sends
them (for a board: over its link), so prefer few large accesses.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

PAGE_BYTES = 4096
"""Page size of the host model; audio memory of 128 KiB holds 32 of them."""


class MEMORY_CACHING_TYPE(IntEnum):
    """How the client maps the buffer. Source: MEMORY_CACHING_TYPE (wdm.h)."""

    NON_CACHED = 0
    CACHED = 1
    WRITE_COMBINED = 2


class MemoryView(ABC):
    """A stretch of memory that can be read and written by byte offset."""

    @property
    @abstractmethod
    def physical_address(self) -> int:
        """Address of the first byte as the DMA engine sees it."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Bytes in the view."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`. Raises ValueError if the range leaves the view."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`. Raises ValueError if the range leaves the view."""

    def read_pieces(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several (offset, length) ranges. A view over a link answers them in one exchange."""
        return [self.read(offset, length) for offset, length in pieces]

    def write_pieces(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Several (offset, data) ranges, in order. A view over a link sends them in one exchange."""
        for offset, data in pieces:
            self.write(offset, data)

    def slice(self, offset: int, length: int) -> "MemoryView":
        """A view of a part of this one."""
        return PieceView(self, [(offset, length)])

    def check_range(self, offset: int, length: int) -> None:
        """Raise ValueError unless `offset`, `length` lies inside the view."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise ValueError(f"range {offset}..{offset + length} is outside a view of {self.length} bytes")


class PieceView(MemoryView):
    """Pieces of another view, one behind the other: a part of it, or scattered pages mapped as one stretch."""

    def __init__(self, parent: MemoryView, pieces: Sequence[tuple[int, int]]) -> None:
        if not pieces:
            raise ValueError("a view needs at least one piece")
        for offset, length in pieces:
            parent.check_range(offset, length)
        self._parent = parent
        self._pieces = join_pieces(pieces)
        self._length = sum(length for _, length in self._pieces)

    @property
    def physical_address(self) -> int:
        return self._parent.physical_address + self._pieces[0][0]

    @property
    def length(self) -> int:
        return self._length

    def _split(self, offset: int, length: int) -> list[tuple[int, int]]:
        """The range as (offset, length) pieces of the parent."""
        self.check_range(offset, length)
        pieces = []
        for piece_offset, piece_length in self._pieces:
            if offset < piece_length and length > 0:
                taken = min(length, piece_length - offset)
                pieces.append((piece_offset + offset, taken))
                length -= taken
                offset = 0
            else:
                offset -= min(offset, piece_length)
        return pieces

    def read(self, offset: int, length: int) -> bytes:
        return self.read_pieces([(offset, length)])[0]

    def write(self, offset: int, data: bytes) -> None:
        self.write_pieces([(offset, data)])

    def read_pieces(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        splits = [self._split(offset, length) for offset, length in pieces]
        answers = iter(self._parent.read_pieces([piece for split in splits for piece in split]))
        return [b"".join(next(answers) for _ in split) for split in splits]

    def write_pieces(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        parent_pieces = []
        for offset, data in pieces:
            taken = 0
            for piece_offset, piece_length in self._split(offset, len(data)):
                parent_pieces.append((piece_offset, data[taken : taken + piece_length]))
                taken += piece_length
        if parent_pieces:
            self._parent.write_pieces(parent_pieces)


def join_pieces(pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, length) pieces with neighbours that touch made into one; the order is kept, empty ones are dropped."""
    joined: list[tuple[int, int]] = []
    for start, length in pieces:
        if length == 0 and len(pieces) > 1:
            continue
        if joined and joined[-1][0] + joined[-1][1] == start:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((start, length))
    return joined


@dataclass(frozen=True, eq=False)
class Mdl:
    """A page list: which physical pages hold a buffer. Compared by identity, as a pointer is.

    `page_numbers` are physical addresses divided by PAGE_BYTES, in buffer order; `byte_count` is the size asked for.
    Only the port stream that made a list may interpret it: a miniport asks `get_physical_page_address`.
    """

    page_numbers: tuple[int, ...]
    byte_count: int
