"""A USB/IP server with a pretended board."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from usbip_server import PretendedDevice, UsbipServer


@pytest.fixture
def server() -> Iterator[UsbipServer]:
    running = UsbipServer(PretendedDevice())
    yield running
    running.close()
