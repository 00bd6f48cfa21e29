"""What ports and miniports get instead of an operating system: memory, waiting, levels, deferred calls, a clock."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .event import KEvent
from .irql import IRQL, IrqlError
from .memory import MemoryView


class System(ABC):
    """Services of the machine that the port side runs on. Waiting, and moving much data, lets time pass.

    There is one processor. An interrupt handler runs at IRQL.DEVICE, wherever the code below was; what it queued runs
    at IRQL.DISPATCH behind it, before the code below goes on.
    """

    def __init__(self) -> None:
        self._level = IRQL.PASSIVE
        self._deferred: deque[Callable[[], None]] = deque()
        self._work_items: deque[Callable[[], None]] = deque()

    # ------------------------------------------------------------------ levels

    @property
    def level(self) -> IRQL:
        """The level that code runs at now."""
        return self._level

    @contextmanager
    def at(self, level: IRQL) -> Iterator[None]:
        """Run a block at `level`, which must not be below the present one (KeRaiseIrql)."""
        before = self._level
        if level < before:
            raise IrqlError(f"expected a level of at least {before.words} context; found {level.words}")
        self._level = level
        try:
            yield
        finally:
            self._level = before

    def require(self, highest: IRQL, method: str) -> None:
        """Raise IrqlError if `method` is called above the level `highest`."""
        if self._level > highest:
            raise IrqlError(
                f"{method}: expected a call from {highest.words} context or below; found {self._level.words}"
            )

    def interrupt(self, handler: Callable[[], None]) -> None:
        """Run `handler` as an interrupt handler, then what it deferred."""
        with self.at(IRQL.DEVICE):
            handler()
        if self._level < IRQL.DISPATCH:
            self.run_deferred()

    def queue_deferred(self, call: Callable[[], None]) -> None:
        """Run `call` at IRQL.DISPATCH as soon as no interrupt handler is under way (KeInsertQueueDpc).

        Never inside the caller: queued from passive context it runs when that next waits. Any level.
        """
        self._deferred.append(call)

    def run_deferred(self) -> None:
        """Run what was queued, also what that queues. For whoever lets time pass."""
        with self.at(IRQL.DISPATCH):
            while self._deferred:
                self._deferred.popleft()()

    def queue_work_item(self, call: Callable[[], None]) -> None:
        """Run `call` in passive context, when somebody next lets time pass there (IoQueueWorkItem). Any level.

        For what a deferred call has to do and must not, because it may block.
        """
        self._work_items.append(call)

    def run_work_items(self) -> None:
        """Run what was queued for passive context, also what that queues. For whoever lets time pass."""
        self.require(IRQL.PASSIVE, "System.run_work_items")
        while self._work_items:
            self._work_items.popleft()()

    # ------------------------------------------------------------------ memory, time

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
    def system_time(self) -> int:
        """Board time in 100 ns since the board started, as last seen (KeQuerySystemTime). Any level."""

    def precise_time(self) -> int:
        """`system_time`, but of this instant (KeQuerySystemTimePrecise). Any level; may cost an exchange.

        A machine that knows it no better gives what `system_time` gives.
        """
        return self.system_time()

    @abstractmethod
    def set_timer(self, due_time: int, call: Callable[[], None]) -> Callable[[], bool]:
        """Run `call` at IRQL.DISPATCH once at `due_time` (KeSetTimer); returns the function that cancels it.

        `due_time` in 100 ns: negative is relative to now, else it is compared with `system_time`. Cancelling returns
        True if the call had not been made. A timer fires while somebody waits or sleeps, never earlier than its time.
        """

    @abstractmethod
    def performance_counter(self) -> int:
        """The one monotonic host counter, in units of `performance_frequency`."""

    @property
    @abstractmethod
    def performance_frequency(self) -> int:
        """Counts a second of `performance_counter`."""
