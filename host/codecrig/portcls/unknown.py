"""IUnknown: reference counts and interface look-up, as COM objects in the kernel have them.

Python frees memory by itself; the counts are kept because the contract makes promises about them, and a suite reads
them.
"""

from typing import TypeVar

from .status import NTSTATUS, NtStatusError

Interface = TypeVar("Interface", bound="IUnknown")


class IUnknown:
    """Base of every interface. A new object holds one reference, owned by whoever made it."""

    # A class attribute as start value, so that no subclass has to call an __init__ of an interface.
    _reference_count: int = 1

    @property
    def reference_count(self) -> int:
        """References held now; 0 means that the object was destroyed."""
        return self._reference_count

    def add_ref(self) -> int:
        """Take one reference; returns the new count. Any context. Source: IUnknown::AddRef."""
        if self._reference_count == 0:
            raise RuntimeError(f"{type(self).__name__}.add_ref: the object was already destroyed")
        self._reference_count += 1
        return self._reference_count

    def release(self) -> int:
        """Drop one reference; returns the new count. The last one destroys the object. Source: IUnknown::Release."""
        if self._reference_count == 0:
            raise RuntimeError(f"{type(self).__name__}.release: released more often than referenced")
        self._reference_count -= 1
        if self._reference_count == 0:
            self.destroy()
        return self._reference_count

    def destroy(self) -> None:
        """What the destructor does: called once, when the last reference is dropped. Nobody else calls it."""

    def query_interface(self, interface: type[Interface]) -> Interface:
        """The same object seen as `interface`, with one reference added that the caller owns.

        Raises INVALID_PARAMETER for an interface that the object does not have; the count is then unchanged.
        Context: passive. Source: IUnknown::QueryInterface.
        """
        if not isinstance(self, interface):
            raise NtStatusError(
                NTSTATUS.INVALID_PARAMETER, f"{type(self).__name__} does not have the interface {interface.__name__}"
            )
        self.add_ref()
        return self
