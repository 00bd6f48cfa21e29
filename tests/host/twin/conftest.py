"""A fresh twin for each test that asks for one; the program is built once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from codecrig.twin import TwinControl, TwinProcess, build

sys.path.insert(0, str(Path(__file__).parent))

from usbip_client import UsbipClient


@pytest.fixture(scope="session")
def program() -> Path:
    return build()


class Rig:
    """A running twin, its control channel and a USB/IP client that has the device open."""

    def __init__(self, process: TwinProcess, stack: ExitStack) -> None:
        self.process = process
        self.control = stack.enter_context(TwinControl(process.host, process.control_port))
        self.client = stack.enter_context(UsbipClient(process.usbip_port))
        self.client.open()

    def status(self) -> dict[str, Any]:
        return self.control.call("status")


@pytest.fixture
def start(program: Path) -> Iterator[Callable[..., TwinProcess]]:
    with ExitStack() as stack:
        # The same program for the whole session, also if somebody edits a source meanwhile.
        yield lambda **settings: stack.enter_context(TwinProcess(**{"program": program, **settings}))


@pytest.fixture
def make_rig(start: Callable[..., TwinProcess]) -> Iterator[Callable[..., Rig]]:
    with ExitStack() as stack:
        yield lambda **settings: Rig(start(**settings), stack)


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()
