"""What the ports and their pins have in common: a miniport in use, states, and a way to close all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from codecrig.portcls import IRQL, KSSTATE, IPort, IServiceGroup, IUnknown, System

from .service import ServiceGroup


class Port(IPort):
    """The port of one miniport. Use it in a `with` block: leaving it closes all pins.

    A port's own `__init__` calls the miniport's Init, between `_take` and the first pin.
    """

    _closed = False

    def _take(self, miniport: IUnknown, system: System) -> None:
        """Take a reference on `miniport`; memory, waiting and levels come from `system`."""
        self._system = system
        self._pins: list[Any] = []
        self._referenced = miniport
        miniport.add_ref()

    @property
    def system(self) -> System:
        return self._system

    def new_service_group(self) -> IServiceGroup:
        self._system.require(IRQL.PASSIVE, "PcNewServiceGroup")
        return ServiceGroup(self._system)

    def pin_closed(self, pin: Pin) -> None:
        """A pin has closed itself."""
        if pin in self._pins:
            self._pins.remove(pin)

    def _forget(self) -> None:
        """Release what Init left; ports that hold more than the miniport begin with that."""
        self._referenced.release()

    def close(self) -> None:
        """Close all pins, last opened first, and release the miniport. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        _go_through([pin.close for pin in reversed(self._pins)], self._forget, self.release)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as problem:
            if error is None:
                raise
            if str(problem) != str(error):  # a dead link says the same to everybody
                error.add_note(f"also, while closing the port: {problem}")


class Pin(ABC):
    """One open pin: a stream of the miniport as a client sees it. What may block: passive context."""

    _closed = False
    _state = KSSTATE.STOP
    _stream: Any  # the miniport's

    def __init__(self, port: Port) -> None:
        self._port = port
        self._system = port.system

    @property
    def state(self) -> KSSTATE:
        """The state last reached."""
        return self._state

    @property
    def closed(self) -> bool:
        """True from the beginning of `close` on."""
        return self._closed

    def _passive(self, method: str) -> None:
        """The miniport's methods behind `method` may block: refuse a call from deferred or interrupt context."""
        self._system.require(IRQL.PASSIVE, f"{type(self).__name__}.{method}")

    def set_state(self, state: KSSTATE) -> None:
        """Go to `state` in single steps. Raises NtStatusError; the pin then stays in the last state reached."""
        self._passive("set_state")
        if state is self._state:
            self._stream.set_state(state)
        while self._state is not state:
            self._step(KSSTATE(self._state + (1 if state > self._state else -1)))

    def _step(self, state: KSSTATE) -> None:
        """Go to a neighbouring state. A kind of pin adds what it has to do before and behind it."""
        self._stream.set_state(state)
        self._state = state

    def close(self) -> None:
        """Take the stream down to STOP, give back all that the pin holds. Closing twice is harmless.

        Goes through to the end whatever fails; the first failure is raised afterwards.
        """
        self._passive("close")
        if self._closed:
            return
        self._closed = True
        _go_through([lambda: self.set_state(KSSTATE.STOP), *self._closing()], lambda: self._port.pin_closed(self))

    @abstractmethod
    def _closing(self) -> Sequence[Callable[[], object]]:
        """The steps of `close` behind STOP."""

    def abandon(self, error: BaseException) -> None:
        """Close after a failure: what goes wrong on the way becomes a note of `error`."""
        try:
            self.close()
        except Exception as problem:
            if str(problem) != str(error):
                error.add_note(f"also, while closing the pin: {problem}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon(error)


def _go_through(steps: Sequence[Callable[[], object]], *last: Callable[[], object]) -> None:
    """Takes all steps, whatever fails, then the last ones; raises the first failure of a step afterwards."""
    problem: Exception | None = None
    for step in steps:
        try:
            step()
        except Exception as error:
            problem = problem or error
    for step in last:
        step()
    if problem is not None:
        raise problem
