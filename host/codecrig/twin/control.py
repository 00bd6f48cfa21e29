"""The twin's control channel: what surrounds the simulated board. Never moves board time."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

# The twin answers between two slices of simulation, each a few milliseconds; minutes only if the machine is overloaded.
REPLY_TIMEOUT_S = 60.0


class TwinControlError(Exception):
    """The twin refused an operation, or its control channel is gone."""


class TwinControl:
    """One connection to a twin's control port; a context manager."""

    def __init__(self, host: str, port: int, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout_s)
        except OSError as problem:
            raise TwinControlError(f"no twin answers on control port {host}:{port}: {problem}") from problem
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The reply to one operation, without its "ok". Raises TwinControlError with the twin's words."""
        request = json.dumps({"op": operation, **arguments}) + "\n"
        try:
            self._socket.sendall(request.encode())
            line = self._lines.readline()
        except OSError as problem:
            text = f"control operation {operation!r}: connection to the twin lost: {problem}"
            raise TwinControlError(text) from problem
        if not line:
            raise TwinControlError(f"control operation {operation!r}: the twin closed the connection; see its log")
        reply: dict[str, Any] = json.loads(line)
        if not reply.pop("ok"):
            raise TwinControlError(f"control operation {operation!r}: {reply.get('error')}")
        return reply

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
