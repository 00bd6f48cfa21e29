"""What the ports have in common: a miniport in use, open pins, and a way to close all of it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from codecrig.portcls import IRQL, IPort, IServiceGroup, IUnknown, System

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

    def pin_closed(self, pin: object) -> None:
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
        problem: BaseException | None = None
        for pin in reversed(self._pins.copy()):
            try:
                pin.close()
            except Exception as error:
                problem = problem or error
        self._forget()
        self.release()
        if problem is not None:
            raise problem

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
