"""Stands between port and miniport: writes down every call across the boundary and in which context it was made.

Objects are wrapped as they cross, in both directions, so neither side notices. A wrapper answers `isinstance` like the
object behind it and counts no references of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from codecrig.portcls import IRQL, Format, IUnknown, NtStatusError, System, highest_irql

Side = Literal["port", "miniport"]
_OTHER: dict[Side, Side] = {"port": "miniport", "miniport": "port"}
_BOOKKEEPING = ("add_ref", "release")


@dataclass(slots=True)
class Call:
    """One call across the boundary."""

    caller: Side
    target: IUnknown = field(repr=False)
    method: str
    arguments: tuple[Any, ...]
    level: IRQL
    depth: int
    """Calls that were under way when this one was made."""
    result: Any = None
    error: BaseException | None = None
    finished: bool = False

    @property
    def name(self) -> str:
        """`Class.method`."""
        return f"{type(self.target).__name__}.{self.method}"

    @property
    def status(self) -> str:
        """How it ended."""
        if isinstance(self.error, NtStatusError):
            return self.error.status.name
        if self.error is not None:
            return f"raised {type(self.error).__name__}: {self.error}"
        return _short(self.result) if self.finished else "never returned"

    def line(self) -> str:
        """For people."""
        arguments = ", ".join(_short(each) for each in self.arguments)
        level = "" if self.level is IRQL.PASSIVE else f" [{self.level.words}]"
        return f"{'  ' * self.depth}{self.caller} calls {self.name}({arguments}){level} -> {self.status}"


def _short(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, IUnknown):
        return type(value).__name__
    if isinstance(value, Format):
        return value.describe()
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    text = getattr(value, "name", None) if hasattr(type(value), "__members__") else None
    text = text or str(value)
    return text if len(text) <= 100 else text[:97] + "..."


class Trace:
    """All calls across the boundary, in the order in which they began."""

    def __init__(self, system: System) -> None:
        self.calls: list[Call] = []
        self._system = system
        self._depth = 0
        self._wrappers: dict[tuple[int, Side], Any] = {}

    def of(self, method: str, *, caller: Side | None = None, target: object = None) -> list[Call]:
        """The calls of `method`, if given those that one side made, or that were made on one object."""
        real = unwrap(target)
        return [
            call
            for call in self.calls
            if call.method == method and caller in (None, call.caller) and (target is None or call.target is real)
        ]

    def wrong_contexts(self, caller: Side) -> list[Call]:
        """Calls that `caller` made in a context in which the method must not be called."""
        return [
            call
            for call in self.calls
            if call.caller == caller and call.level > highest_irql(type(call.target), call.method)
            and call.method not in _BOOKKEEPING
        ]  # fmt: skip

    def lines(self, last: int = 40) -> list[str]:
        """The last calls, for people; reference counting is left out."""
        return [call.line() for call in self.calls if call.method not in _BOOKKEEPING][-last:]

    def wrap(self, value: Any, caller: Side) -> Any:
        """`value` as `caller` shall see it: interfaces, also inside tuples and records, become wrappers."""
        if isinstance(value, IUnknown):
            target = unwrap(value)
            key = (id(target), caller)
            if key not in self._wrappers:
                self._wrappers[key] = Watched(target, caller, self)
            return self._wrappers[key]
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return tuple(self.wrap(each, caller) for each in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changes = {
                each.name: self.wrap(getattr(value, each.name), caller)
                for each in dataclasses.fields(value)
                if isinstance(getattr(value, each.name), IUnknown)
            }
            return dataclasses.replace(value, **changes) if changes else value
        return value

    def call(self, caller: Side, target: IUnknown, method: str, *arguments: Any, **named: Any) -> Any:
        """Make the call and write it down."""
        call = Call(caller, target, method, (*arguments, *named.values()), self._system.level, self._depth)
        self.calls.append(call)
        self._depth += 1
        try:
            callee = _OTHER[caller]
            result = getattr(target, method)(
                *(self.wrap(each, callee) for each in arguments),
                **{name: self.wrap(each, callee) for name, each in named.items()},
            )
            call.result = result
            return self.wrap(result, caller)
        except BaseException as error:
            call.error = error
            raise
        finally:
            call.finished = True
            self._depth -= 1


def _is_interface_method(kind: type[IUnknown], name: str) -> bool:
    """True for a method that an interface of Windows declares."""
    return any(
        name in base.__dict__ and callable(base.__dict__[name])
        for base in kind.__mro__
        if base.__module__.startswith("codecrig.portcls")
    )


class Watched:
    """An object as one side sees it."""

    def __init__(self, target: IUnknown, caller: Side, trace: Trace) -> None:
        self._watched_target = target
        self._watched_caller = caller
        self._watched_trace = trace

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._watched_target)

    def __getattr__(self, name: str) -> Any:
        target = self._watched_target
        value = getattr(target, name)
        if name.startswith("_") or not callable(value) or not _is_interface_method(type(target), name):
            return self._watched_trace.wrap(value, self._watched_caller)
        trace, caller = self._watched_trace, self._watched_caller

        def watched_call(*arguments: Any, **named: Any) -> Any:
            return trace.call(caller, target, name, *arguments, **named)

        return watched_call

    def __repr__(self) -> str:
        return f"<{type(self._watched_target).__name__} as the {self._watched_caller} sees it>"


def unwrap(value: Any) -> Any:
    """The object behind a wrapper, or the value itself."""
    while type(value) is Watched:
        value = value._watched_target
    return value
