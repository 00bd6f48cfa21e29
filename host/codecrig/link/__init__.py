"""What every link offers: an ordered exchange of requests and replies with one board.

A link moves requests, it does not interpret them: a refused request is a `Reply` with its status, not an exception.
`LinkError` means that the transport itself failed. Links are used by one thread at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self

from codecrig.link.registers import Operation, Status

__all__ = ["Control", "Link", "LinkError", "Operation", "Reply", "Request", "Status"]


class LinkError(Exception):
    """The transport failed. The message says what was expected, what was found, and the next step."""

    @classmethod
    def of(cls, expected: str, found: str, next_step: str) -> Self:
        """An error with its three parts in the usual order."""
        return cls(f"expected {expected}; found {found}; next step: {next_step}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `length` is the number of bytes to read or write; `data` is the payload of a WRITE."""

    operation: Operation
    address: int
    length: int = 0
    data: bytes = b""

    @staticmethod
    def read(address: int, length: int) -> Request:
        """A request for `length` bytes from `address`."""
        return Request(Operation.READ, address, length)

    @staticmethod
    def write(address: int, data: bytes) -> Request:
        """A request that puts `data` at `address`."""
        return Request(Operation.WRITE, address, len(data), data)

    @staticmethod
    def write_word(address: int, value: int) -> Request:
        """A request that writes one 32-bit register."""
        return Request(Operation.WRITE, address, 4, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    @staticmethod
    def wait(deadline_ticks: int) -> Request:
        """A request answered at the next event or at a board time at most 2^31 - 1 ticks ahead."""
        return Request(Operation.WAIT, deadline_ticks & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request. `data` is empty unless it is a good READ."""

    status: Status
    data: bytes = b""


class Link(ABC):
    """An ordered stream of requests to one board."""

    name: str = ""
    """What the link leads to, for messages, e.g. `usb 1209:0001`."""
    serial: str = ""
    """Serial number of the board."""

    @abstractmethod
    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply for each request, in order. Any number and size: the link splits and rejoins. Raises LinkError."""

    def send(self, requests: Sequence[Request]) -> None:
        """Send requests ahead, at most as many as fit one transfer: `receive` gives the replies.

        Keeps a link busy both ways. Between `send` and the `receive` that goes with it nothing but these two may be
        called. Where nothing can be sent ahead it is only kept until then. A LinkError drops all that was sent ahead.
        """
        self._ahead.append(requests)

    def receive(self) -> list[Reply]:
        """The replies to the oldest requests that were sent ahead. Raises LinkError."""
        requests = self._ahead.popleft()
        try:
            return self.exchange(requests)
        except LinkError:
            self._ahead.clear()
            raise

    @cached_property
    def _ahead(self) -> deque[Sequence[Request]]:
        return deque()

    @abstractmethod
    def host_time_ns(self) -> int:
        """The host's clock, in ns from an arbitrary start. On a twin: the clock of the simulated host."""

    @abstractmethod
    def close(self) -> None:
        """Release the transport. Closing twice is harmless."""

    def enter_boot_loader(self) -> None:
        """Send the board into its boot loader. It is gone then: the link can only be closed. Raises LinkError."""
        raise LinkError(f"{self.name or 'this board'} has no boot loader")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Control(Protocol):
    """The control channel of a simulated board, beside its link: one call, one answer; never moves time."""

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]: ...
