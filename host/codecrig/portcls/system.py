"""What a port is given instead of an operating system: memory, waiting, and one clock."""

from abc import ABC, abstractmethod

from .event import KEvent
from .memory import MemoryView


class System(ABC):
    """Services of the machine that the port side runs on. Waiting is the only thing here that lets time pass."""

    @property
    @abstractmethod
    def memory(self) -> MemoryView:
        """The memory that ports may allocate pages from. Begins and ends on a page."""

    @abstractmethod
    def wait(self, event: KEvent, timeout_s: float) -> bool:
        """True once `event` is signalled (the signal is taken), False after `timeout_s` seconds of board time."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let `seconds` of board time pass; events are delivered meanwhile."""

    @abstractmethod
    def performance_counter(self) -> int:
        """The one monotonic host counter, in units of `performance_frequency`."""

    @property
    @abstractmethod
    def performance_frequency(self) -> int:
        """Counts a second of `performance_counter`."""
