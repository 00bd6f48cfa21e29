"""A board of bytes for link tests: memory only. Parses transfers by docs/wire.md, not by the code under test."""

from __future__ import annotations

from functools import reduce
from operator import xor

from codecrig.link.registers import AUDIO_MEMORY_BYTES


class ByteBoard:
    """Answers READ, WRITE and WAIT at once; asserts that the client keeps the rules."""

    def __init__(self) -> None:
        self.memory = bytearray(AUDIO_MEMORY_BYTES)
        self.requests: list[tuple[int, int, int, int]] = []

    def answer(self, transfer: bytes) -> bytes:
        replies = b""
        offset = 0
        while offset < len(transfer):
            if transfer[offset] == 0:
                offset += 1
                continue
            header = transfer[offset : offset + 12]
            assert header[0] == 0xA5 and reduce(xor, header) == 0xFF and header[10] == 0
            operation, sequence = header[1], int.from_bytes(header[2:4], "little")
            address, length = int.from_bytes(header[4:8], "little"), int.from_bytes(header[8:10], "little")
            offset += 12
            self.requests.append((operation, sequence, address, length))
            status, data = 0, b""
            assert length <= 4096
            if operation == 0x42:
                assert offset + length <= len(transfer), "a request straddles two transfers"
                if address + length <= len(self.memory):
                    self.memory[address : address + length] = transfer[offset : offset + length]
                else:
                    status = 4
                offset += length
            elif operation == 0x21:
                if address + length <= len(self.memory):
                    data = bytes(self.memory[address : address + length])
                else:
                    status = 4
            reply = bytes([0xA5, operation | 0x80]) + header[2:8] + len(data).to_bytes(2, "little") + bytes([status])
            replies += reply + bytes([reduce(xor, reply) ^ 0xFF]) + data
        return replies
