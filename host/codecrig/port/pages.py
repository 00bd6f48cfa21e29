"""Physical pages of the memory that ports may give away."""

from collections.abc import Callable

from codecrig.portcls import PAGE_BYTES, MemoryView


class PageAllocator:
    """Hands out whole pages of a memory, neighbouring ones as long as there are enough of them."""

    def __init__(self, memory: MemoryView) -> None:
        if memory.physical_address % PAGE_BYTES or memory.length % PAGE_BYTES:
            raise ValueError(
                f"memory for pages must begin and end on a page of {PAGE_BYTES} bytes; found "
                f"{memory.physical_address:#x} with {memory.length} bytes"
            )
        self.memory = memory
        self._first = memory.physical_address // PAGE_BYTES
        self._free = set(range(self._first, self._first + memory.length // PAGE_BYTES))

    @property
    def free_pages(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    def take_contiguous(
        self, low_address: int, high_address: int, pages: int, fits: Callable[[int], bool] = lambda address: True
    ) -> tuple[int, ...] | None:
        """The lowest `pages` neighbouring page numbers wholly inside both addresses, or None.

        `fits` tells whether they may begin at an address.
        """
        usable = self._usable(low_address, high_address)
        for first in sorted(usable):
            run = range(first, first + pages)
            if usable.issuperset(run) and fits(first * PAGE_BYTES):
                self._free.difference_update(run)
                return tuple(run)
        return None

    def take(self, high_address: int, pages: int) -> tuple[int, ...]:
        """Up to `pages` page numbers up to `high_address`: neighbouring if possible, else the lowest free ones."""
        together = self.take_contiguous(0, high_address, pages)
        if together is not None:
            return together
        taken = sorted(self._usable(0, high_address))[:pages]
        self._free.difference_update(taken)
        return tuple(taken)

    def give_back(self, pages: tuple[int, ...]) -> None:
        """Pages become free again. Raises ValueError for one that is free or was never there."""
        total = self.memory.length // PAGE_BYTES
        for page in pages:
            if page in self._free or not 0 <= page - self._first < total:
                raise ValueError(f"page {page} was not taken")
        self._free.update(pages)

    def _usable(self, low_address: int, high_address: int) -> set[int]:
        return {
            page
            for page in self._free
            if page * PAGE_BYTES >= low_address and (page + 1) * PAGE_BYTES - 1 <= high_address
        }
