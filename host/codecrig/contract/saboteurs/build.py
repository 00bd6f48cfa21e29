"""How defects are built into objects under test. What one defect does stands in the module of its rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codecrig.board import Board
from codecrig.contract.rig import Model, Objects


def each_stream(objects: Objects, model: Model, change: Callable[[Any], None]) -> None:
    """Every stream that the miniport of `model` makes goes through `change` before anybody sees it."""
    base: Any = objects.miniport(model)

    class Miniport(base):
        def new_stream(self, *arguments: Any) -> Any:
            made = super().new_stream(*arguments)
            change(getattr(made, "Stream", made))
            return made

    objects.miniports[model] = Miniport


def each_pin(objects: Objects, model: Model, change: Callable[[Any], None]) -> None:
    """Every pin that the port of `model` opens goes through `change` before anybody sees it."""
    base: Any = objects.port(model)

    class Port(base):
        def open_pin(self, *arguments: Any, **options: Any) -> Any:
            pin = super().open_pin(*arguments, **options)
            change(pin)
            return pin

    objects.ports[model] = Port


def become(kind: type) -> Callable[[Any], None]:
    """A change: an object of the class that `kind` is made from gets that class; others stay as they are."""

    def change(made: Any) -> None:
        if issubclass(kind, type(made)):
            made.__class__ = kind

    return change


def break_streams(objects: Objects, **methods: Callable[..., Any]) -> None:
    """WaveRT streams get other methods; each is called with the good one and the stream in front of its arguments."""

    def change(stream: Any) -> None:
        good = type(stream)

        def bound(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
            def call(self: Any, *arguments: Any) -> Any:
                return method(lambda *a: getattr(good, name)(self, *a), self, *arguments)

            return call

        overrides = {name: bound(name, method) for name, method in methods.items()}
        stream.__class__ = type(f"Broken{good.__name__}", (good,), overrides)

    each_stream(objects, "wavert", change)


def break_board(objects: Objects, fault: str, **settings: Any) -> None:
    """The simulated board suffers a fault of its bench."""

    def prepare(board: Board) -> None:
        board.bench.fault(fault, **settings)

    objects.prepare.append(prepare)
