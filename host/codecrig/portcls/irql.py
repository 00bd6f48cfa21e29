"""The contexts that driver code runs in, and what each method of an interface may be called from.

PASSIVE may block; DISPATCH is a deferred call; DEVICE is an interrupt handler. A method of an interface carries the
highest level that it may be called at (`context`); ports enforce it on what is called on them, and the contract suite
on what they call.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


class IRQL(IntEnum):
    """Levels in rising order of urgency. The higher one interrupts the lower one."""

    PASSIVE = 0
    DISPATCH = 2
    DEVICE = 3

    @property
    def words(self) -> str:
        """The context in plain words."""
        return {0: "passive", 2: "deferred", 3: "interrupt"}[self]


def context(highest: IRQL) -> Callable[[Method], Method]:
    """Mark a method of an interface with the highest level it may be called at."""

    def mark(method: Method) -> Method:
        method.highest_irql = highest  # type: ignore[attr-defined]
        return method

    return mark


def highest_irql(interface: type, method: str) -> IRQL:
    """The highest level at which `method` of `interface` may be called; PASSIVE unless it is marked."""
    for base in interface.__mro__:
        found = getattr(base.__dict__.get(method), "highest_irql", None)
        if isinstance(found, IRQL):
            return found
    return IRQL.PASSIVE


class IrqlError(Exception):
    """A method was called at a level where it must not be called: Windows would stop here."""


class SpinLock:
    """A lock of a miniport (KSPIN_LOCK). Taking it twice is a deadlock and raises IrqlError.

    `held` counts all that are held: a port refuses calls that must not be made under a lock.
    """

    held = 0

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise IrqlError("the spin lock is held already: a second acquisition would never return")
        self._taken = True
        SpinLock.held += 1

    def __exit__(self, *_: object) -> None:
        self._taken = False
        SpinLock.held -= 1
