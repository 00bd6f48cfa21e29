"""A small USB/IP server with one pretended device, for tests. Shares no code with the backend."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable

from byte_board import ByteBoard

STALL = -errno.EPIPE
STRINGS = {1: "codecrig project", 2: "codecrig", 3: "SERIAL01"}


def string_descriptor(text: str) -> bytes:
    data = text.encode("utf-16-le")
    return bytes([len(data) + 2, 3]) + data


class PretendedDevice:
    """A codecrig board on the bus: vendor interface over a `ByteBoard`, an interrupt endpoint, faults."""

    bus_id = "1-1"

    def __init__(self) -> None:
        self.board = ByteBoard()
        self.strings = dict(STRINGS)
        self.signature = (0xFF, 0x43, 0x52)
        self.identity = b"CRIG" + struct.pack("<III", 0x01000000, 0x1234, 0)
        self.configuration = 0
        self.halted: set[int] = set()
        self.log: list[str] = []
        self.waiting = b""
        self.interrupts: list[bytes] = []
        self.stored = b""
        self.hold = False
        """Keep replies back, so that an IN transfer stays unanswered."""
        self.damage: Callable[[bytes], bytes] = lambda data: data
        """Applied to every IN transfer's data."""

    def device_descriptor(self) -> bytes:
        return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0210, 0xEF, 2, 1, 64, 0x1209, 0x0001, 0x0100, 1, 2, 3, 1)

    def configuration_descriptor(self) -> bytes:
        vendor = bytes([9, 4, 0, 0, 2, *self.signature, 0])
        vendor += bytes([7, 5, 0x01, 2, 64, 0, 0]) + bytes([7, 5, 0x81, 2, 64, 0, 0])
        other = bytes([9, 4, 1, 0, 1, 2, 2, 0, 0]) + bytes([5, 0x24, 0, 0x10, 1]) + bytes([7, 5, 0x82, 3, 8, 0, 16])
        body = vendor + other
        return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), 2, 1, 0, 0x80, 125) + body

    def control(self, setup: bytes, data: bytes) -> bytes | int | None:
        """Data, a negative status, or None: never answered."""
        kind, request, value, index, length = struct.unpack("<BBHHH", setup)
        self.log.append(f"control {kind:02x} {request:02x} {value:04x} {index:04x}")
        if (kind, request) == (0x80, 6):
            found: bytes | None = None
            if value >> 8 == 1:
                found = self.device_descriptor()
            elif value == 0x0200:
                found = self.configuration_descriptor()
            elif value == 0x0300:
                found = bytes([4, 3, 9, 4])
            elif value >> 8 == 3 and value & 0xFF in self.strings:
                found = string_descriptor(self.strings[value & 0xFF])
            return STALL if found is None else found[:length]
        if (kind, request) == (0x80, 8):
            return bytes([self.configuration])
        if (kind, request) == (0x00, 9):
            self.configuration = value
            return b""
        if (kind, request) == (0x02, 1):
            self.halted.discard(index)
            return b""
        if (kind, request) in ((0x23, 3), (0x01, 11)):
            return b""
        if (kind, request, index) == (0x41, 0x01, 0):
            self.waiting = b""
            self.hold = False
            return b""
        if (kind, request, index) == (0xC1, 0x02, 0):
            return self.identity[:length]
        if (kind, request) == (0x40, 0x70):
            self.stored = data
            return b""
        if (kind, request) == (0xC0, 0x70):
            return self.stored[:length]
        if (kind, request) == (0xC0, 0x71):
            return None
        return STALL

    def out(self, endpoint: int, data: bytes) -> int:
        if endpoint in self.halted or endpoint != 1:
            return STALL
        self.log.append(f"out {len(data)}")
        self.waiting += self.board.answer(data)
        return 0

    def into(self, endpoint: int, length: int) -> bytes | int | None:
        if endpoint | 0x80 in self.halted:
            return STALL
        if endpoint == 2:
            return self.interrupts.pop(0) if self.interrupts else None
        if endpoint != 1:
            return STALL
        if self.hold or not self.waiting:
            return None
        data, self.waiting = self.waiting[:length], self.waiting[length:]
        return self.damage(data)


class UsbipServer:
    """Serves one device on a port of its own until closed. One thread for each connection."""

    def __init__(self, device: PretendedDevice) -> None:
        self.device = device
        self.imported: socket.socket | None = None
        self.unlinked: list[int] = []
        self._lock = threading.RLock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        except OSError:
            pass
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Cut every connection, as a dying simulator does."""
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _record(self) -> bytes:
        name = self.device.bus_id.encode()
        numbers = (1, 2, 2, 0x1209, 1, 0x0100, 0xEF, 2, 1, self.device.configuration, 1, 2)
        return struct.pack(">256s32sIIIHHHBBBBBB", b"/pretended", name, *numbers)

    def _let_go(self) -> None:
        """A client that has left is gone before the next one asks, however late its thread gets to run."""
        while (client := self.imported) is not None:
            try:
                if client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    return
            except BlockingIOError:
                return
            except OSError:
                pass
            time.sleep(0.001)

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        try:
            _, code, _ = struct.unpack(">HHI", stream.read(8))
            if code == 0x8005:
                exported = self.imported is None
                connection.sendall(struct.pack(">HHII", 0x0111, 5, 0, 1 if exported else 0))
                if exported:
                    connection.sendall(self._record() + bytes([0xFF, 0x43, 0x52, 0]) + bytes([2, 2, 0, 0]))
                connection.close()
            elif code == 0x8003:
                bus_id = stream.read(32).rstrip(b"\0").decode()
                self._let_go()
                status = 4 if bus_id != self.device.bus_id else 2 if self.imported else 0
                connection.sendall(struct.pack(">HHI", 0x0111, 3, status))
                if status:
                    connection.close()
                    return
                self.imported = connection
                connection.sendall(self._record())
                self._transfers(connection, stream)
        except (OSError, struct.error, ValueError):
            pass
        finally:
            if self.imported is connection:
                self.imported = None

    def _transfers(self, connection: socket.socket, stream: object) -> None:
        pending: dict[int, tuple[int, int]] = {}
        while True:
            head = stream.read(48)  # type: ignore[attr-defined]
            command, sequence, _, direction, endpoint, _, length = struct.unpack_from(">IIIIIIi", head)
            if command == 2:
                (target,) = struct.unpack_from(">I", head, 20)
                self.unlinked.append(target)
                status = -errno.ECONNRESET if pending.pop(target, None) else 0
                connection.sendall(struct.pack(">IIIIIi24x", 4, sequence, 0, 0, 0, status))
                continue
            data = stream.read(length) if direction == 0 else b""  # type: ignore[attr-defined]
            if endpoint == 0:
                answer = self.device.control(head[40:48], data)
                if answer is None:
                    pending[sequence] = (0, 0)
                elif direction == 0 and not isinstance(answer, int):
                    self._finish(connection, sequence, 0, b"", len(data))
                else:
                    self._answer(connection, sequence, answer)
            elif direction == 0:
                status = self.device.out(endpoint, data)
                self._finish(connection, sequence, status, b"", 0 if status else len(data))
            else:
                pending[sequence] = (endpoint, length)
            for waiting, (from_endpoint, size) in list(pending.items()):
                answer = self.device.into(from_endpoint, size) if from_endpoint else None
                if answer is not None:
                    del pending[waiting]
                    self._answer(connection, waiting, answer)

    def _answer(self, connection: socket.socket, sequence: int, answer: bytes | int) -> None:
        if isinstance(answer, int):
            self._finish(connection, sequence, answer, b"", 0)
        else:
            self._finish(connection, sequence, 0, answer, len(answer))

    def _finish(self, connection: socket.socket, sequence: int, status: int, data: bytes, actual: int) -> None:
        connection.sendall(struct.pack(">IIIIIiiiii8x", 3, sequence, 0, 0, 0, status, actual, 0, -1, 0) + data)
