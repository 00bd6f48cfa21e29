"""A small USB/IP client and wire encoder of the tests' own, so that the twin is not judged by the code it serves."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

READ, WRITE, WAIT = 0x21, 0x42, 0x03
FPGA = 0x4000_0000
BRIDGE = 0xF000_0000


@dataclass(frozen=True)
class Completion:
    sequence: int
    status: int
    actual: int
    data: bytes


class UsbipClient:
    """One connection to a USB/IP server. `list` and `attach` as the protocol says, then URBs."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sequence = 0
        self._wire_sequence = 0
        self._in: dict[int, bool] = {}
        self.device_id = 0

    def __enter__(self) -> UsbipClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            chunk = self.socket.recv(length - len(data))
            if not chunk:
                raise ConnectionError(f"closed by the server after {len(data)} of {length} bytes")
            data += chunk
        return data

    def list(self) -> list[tuple[str, int, int, int, list[tuple[int, int, int]]]]:
        """(bus id, speed, vendor, product, interface classes) of each device."""
        self.socket.sendall(struct.pack(">HHI", 0x0111, 0x8005, 0))
        version, code, status, count = struct.unpack(">HHII", self.receive(12))
        assert (version, code, status) == (0x0111, 0x0005, 0)
        devices = []
        for _ in range(count):
            record = struct.unpack(">256s32sIIIHHHBBBBBB", self.receive(312))
            interfaces = [tuple(self.receive(4)[:3]) for _ in range(record[-1])]
            devices.append((record[1].rstrip(b"\0").decode(), record[4], record[5], record[6], interfaces))
        return devices  # type: ignore[return-value]

    def attach(self, bus_id: str = "1-1") -> int:
        """Imports the device; returns the server's status, 0 if it worked."""
        self.socket.sendall(struct.pack(">HHI32s", 0x0111, 0x8003, 0, bus_id.encode()))
        _, code, status = struct.unpack(">HHI", self.receive(8))
        assert code == 0x0003
        if status == 0:
            record = struct.unpack(">256s32sIIIHHHBBBBBB", self.receive(312))
            self.device_id = record[2] << 16 | record[3]
        return int(status)

    def submit(
        self, endpoint: int, *, length: int | None = None, data: bytes = b"", setup: bytes = bytes(8), flags: int = 0
    ) -> int:
        """Sends a URB; `length` for IN, `data` for OUT. Returns its sequence number."""
        self._sequence += 1
        direction_in = length is not None
        size = length if length is not None else len(data)
        header = struct.pack(
            ">IIIIIIiiii8s", 1, self._sequence, self.device_id, int(direction_in), endpoint, flags, size, 0, 0, 0, setup
        )
        self._in[self._sequence] = direction_in
        self.socket.sendall(header + data)
        return self._sequence

    def completion(self) -> Completion:
        """The next completion, whichever it is."""
        command, sequence, *_, status, actual = struct.unpack(">IIIIIii", self.receive(48)[:28])
        if command == 4:
            return Completion(sequence, status, 0, b"")
        assert command == 3
        return Completion(sequence, status, actual, self.receive(actual) if self._in.pop(sequence) else b"")

    def transfer(self, endpoint: int, **arguments: object) -> Completion:
        sequence = self.submit(endpoint, **arguments)  # type: ignore[arg-type]
        completion = self.completion()
        assert completion.sequence == sequence
        return completion

    def control_in(self, request_type: int, request: int, value: int, index: int, length: int) -> Completion:
        return self.transfer(0, length=length, setup=struct.pack("<BBHHH", request_type, request, value, index, length))

    def control_out(self, request_type: int, request: int, value: int, index: int, data: bytes = b"") -> Completion:
        return self.transfer(0, data=data, setup=struct.pack("<BBHHH", request_type, request, value, index, len(data)))

    def open(self) -> None:
        """What a client does first: import, configure, RESET."""
        assert self.attach() == 0
        assert self.control_out(0x00, 9, 1, 0).status == 0
        assert self.control_out(0x41, 0x01, 0, 0).status == 0

    def exchange(self, *requests: tuple[int, int, int | bytes]) -> list[tuple[int, bytes]]:
        """Sends (operation, address, length or data) in one OUT transfer; returns (status, data) of each reply."""
        out = b""
        expected = 0
        for operation, address, what in requests:
            self._wire_sequence = (self._wire_sequence + 1) & 0xFFFF
            payload = what if isinstance(what, bytes) else b""
            length = len(payload) if isinstance(what, bytes) else what
            header = struct.pack("<BBHIHB", 0xA5, operation, self._wire_sequence, address, length, 0)
            check = 0xFF
            for byte in header:
                check ^= byte
            out += header + bytes([check]) + payload
            expected += 12 + (length if operation == READ else 0)
        out += bytes(-len(out) % 64)
        assert self.transfer(1, data=out).actual == len(out)
        data = b""
        replies: list[tuple[int, bytes]] = []
        while len(replies) < len(requests):
            completion = self.transfer(1, length=(expected + 63) // 64 * 64)
            assert completion.status == 0, completion
            data += completion.data
            while len(data) >= 12:
                length, status = struct.unpack_from("<HB", data, 8)
                if len(data) < 12 + length:
                    break
                replies.append((status, data[12 : 12 + length]))
                data = data[12 + length :]
        assert data == b"", "bytes after the last reply"
        return replies

    def read_registers(self, address: int, count: int = 1) -> tuple[int, ...]:
        ((status, data),) = self.exchange((READ, address, 4 * count))
        assert status == 0, f"reading {address:#x}: status {status}"
        return struct.unpack(f"<{count}I", data)

    def write_register(self, address: int, value: int) -> None:
        ((status, _),) = self.exchange((WRITE, address, struct.pack("<I", value)))
        assert status == 0, f"writing {address:#x}: status {status}"

    def board_time(self) -> int:
        high, low, again = self.read_registers(FPGA + 0x10, 3)
        return (high if low >= 1 << 31 else again) << 32 | low

    def wait_until(self, ticks: int) -> None:
        """Lets the board run until this board time (or an event)."""
        ((status, _),) = self.exchange((WAIT, ticks & 0xFFFF_FFFF, 0))
        assert status == 0
