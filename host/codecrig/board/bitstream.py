"""What an iCE40 bitstream says of itself, before it is sent anywhere.

The file begins with a comment; those of this project hold `codecrig BOARD build XXXXXXXX`, the number that the design
in it shows in FPGA_BUILD. Behind a synchronisation word follow commands: here those that tell the size of the chip, and
the CRC over all. The format is that of the open iCE40 tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codecrig.board.errors import FileProblem

UP5K = "iCE40UP5K"
_DEVICES = {692: UP5K, 332: "iCE40HX1K or LP1K", 872: "iCE40HX8K or LP8K", 656: "iCE40U4K"}
"""By the width of the configuration memory."""
_BANK_HEIGHTS = (336, 176, 336, 176)  # of the iCE40UP5K
_SYNCHRONISATION = bytes.fromhex("7EAA997E")
_IDENTITY = re.compile(rb"codecrig (?P<board>[a-z0-9][a-z0-9-]*) build (?P<build>[0-9A-F]{8})")


class BitstreamProblem(FileProblem):
    """A file that is no bitstream, or not one for this board. The message names the file and what was expected."""


@dataclass(frozen=True)
class Bitstream:
    """A bitstream that is sound: commands, memory sizes and CRC fit together."""

    name: str
    """Where it comes from, for messages."""
    data: bytes
    device: str
    """The chip it is for."""
    board: str | None
    """The board whose pins it has; None if it is not one of this project."""
    build: int | None
    """What FPGA_BUILD will read; None if it does not say."""


def identity_comment(board: str, build: int) -> str:
    """What the comment of a bitstream of this project holds."""
    return f"codecrig {board} build {build:08X}"


def read_bitstream(file: Path) -> Bitstream:
    """The bitstream in `file`. Raises BitstreamProblem."""
    try:
        return parse_bitstream(file.read_bytes(), str(file))
    except OSError as error:
        raise BitstreamProblem(f"{file}: cannot be read: {error.strerror or error}") from error


def parse_bitstream(data: bytes, name: str) -> Bitstream:
    """Takes a bitstream apart. Raises BitstreamProblem."""
    start = data.find(_SYNCHRONISATION)
    if start < 0:
        raise BitstreamProblem(f"{name}: expected a bitstream of an iCE40; found no synchronisation word in it")
    widths = _memory_widths(data, start + len(_SYNCHRONISATION), name)
    if not widths:
        raise BitstreamProblem(f"{name}: expected a bitstream of an iCE40; found no configuration in it")
    found = _IDENTITY.search(data[:start])
    return Bitstream(
        name=name,
        data=data,
        device=_DEVICES.get(widths[0], f"an unknown chip with {widths[0]} columns"),
        board=found["board"].decode() if found else None,
        build=int(found["build"], 16) if found else None,
    )


def _memory_widths(data: bytes, position: int, name: str) -> list[int]:
    """Widths of the configuration memory's banks; checks commands and CRC up to the wake-up."""
    first = position
    width = height = 0
    widths = []
    checked = False
    while position < len(data):
        command, length = data[position] & 0xF0, data[position] & 0x0F
        payload = int.from_bytes(data[position + 1 : position + 1 + length], "big")
        position += 1 + length
        if command == 0x60:
            width = payload + 1
        elif command == 0x70:
            height = payload
        elif command == 0x20:
            if _crc(data[first:position]):
                raise BitstreamProblem(f"{name}: damaged: its CRC is wrong; next step: build or copy it again")
            checked = True
        elif (command, payload) in ((0, 1), (0, 3)):
            if payload == 1:
                widths.append(width)
            position += width * height // 8 + 2
        elif (command, payload) == (0, 5):
            first = position
        elif (command, payload) == (0, 6):
            if checked:
                return widths
            break
        elif command not in (0x10, 0x50, 0x80, 0x90):
            raise BitstreamProblem(f"{name}: damaged: command 0x{command:02X} means nothing")
    raise BitstreamProblem(f"{name}: cut off: {len(data)} bytes without its end; next step: build or copy it again")


def _table() -> list[int]:
    table = []
    for value in range(256):
        crc = value << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x1021 if crc & 0x8000 else 0)
        table.append(crc & 0xFFFF)
    return table


_CRC_TABLE = _table()


def _crc(data: Iterable[int]) -> int:
    """CRC-16, polynomial 0x1021, from 0xFFFF, most significant bit first; 0 behind its own value."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _CRC_TABLE[crc >> 8 ^ byte]
    return crc


def empty_bitstream(comment: str, *, columns: int = 692) -> bytes:
    """A sound bitstream for an iCE40UP5K without any logic in it: what a simulated board, whose logic is the RTL, is
    loaded with. `columns`: of another chip's configuration memory.
    """
    body = bytearray(bytes.fromhex("51 00 92 00 20"))
    body += b"\x62" + (columns - 1).to_bytes(2, "big") + bytes.fromhex("82 00 00")
    for bank, height in enumerate(_BANK_HEIGHTS):
        body += b"\x72" + height.to_bytes(2, "big") + bytes((0x11, bank))
        body += bytes.fromhex("01 01") + bytes(columns * height // 8 + 2)
    checked = bytes(body[2:]) + b"\x22"
    # The CRC is reset behind the first command, as the tools do.
    crc = _crc(checked)
    return (
        b"\xff\x00"
        + comment.encode("ascii")
        + b"\x00\x00\xff"
        + _SYNCHRONISATION
        + bytes(body[:2])
        + (b"\x01\x05" + checked + crc.to_bytes(2, "big") + bytes.fromhex("01 06 00"))
    )
