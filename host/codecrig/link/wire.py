"""The wire format of docs/wire.md in bytes: headers, transfers, replies.

Pure functions and one small state machine (`Exchange`); no transport. A transport sends `Exchange.transfers` in order,
keeps the window with `Exchange.excess_bytes`, and feeds whatever comes back.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codecrig.link import LinkError, Reply, Request
from codecrig.link import registers as regs
from codecrig.link.registers import Operation, Status

START = 0xA5
REPLY_BIT = 0x80
HEADER_BYTES = regs.REQUEST_HEADER_BYTES
WINDOW_BYTES = regs.BRIDGE_WINDOW_RESET
TRANSFER_BYTES = 16384
"""Largest OUT transfer. More gains nothing on a full-speed bus (13 ms), less costs a turn-around for each."""
PACKET_BYTES = 64
"""Transfers are padded to whole packets of this size, so that the device never sees a short one."""
PIECE_BYTES = 1024 - HEADER_BYTES
"""Longest payload sent in one request; longer ones are split. The wire takes 4096, but the bridge works on one request
while USB carries the next: on the twin 3840 bytes written and read back take 7.5 ms in pieces, 10.5 ms whole."""
TRANSFER_REPLY_BYTES = WINDOW_BYTES // 2
"""Most bytes of replies that one transfer asks for. With half the window the next requests are on their way before the
replies to these are all fetched, so that the bridge never runs dry (reading 128 KiB: 111 ms instead of 126 ms)."""

_HEADER = struct.Struct("<BBHIHBB")
_CARRIES_REPLY_PAYLOAD = 0x20
_STATUSES = {int(status): status for status in Status}


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a request or reply header. Start and check byte are implied."""

    operation: int
    sequence: int
    address: int
    length: int
    status: int = 0


def encode_header(operation: int, sequence: int, address: int, length: int, status: int = 0) -> bytes:
    """The 12 bytes of a header with its check byte."""
    fold = (START | operation << 8 | sequence << 16) ^ address ^ (length | status << 16)
    fold ^= fold >> 16
    fold ^= fold >> 8
    return _HEADER.pack(START, operation, sequence, address, length, status, (fold & 0xFF) ^ 0xFF)


def decode_header(data: bytes | bytearray, offset: int = 0) -> Header:
    """The header at `offset`. Raises ValueError if the start or check byte is wrong or bytes are missing."""
    if len(data) - offset < HEADER_BYTES:
        raise ValueError(f"a header has {HEADER_BYTES} bytes, found {len(data) - offset}")
    start, operation, sequence, address, length, status, check = _HEADER.unpack_from(data, offset)
    if start != START:
        raise ValueError(f"start byte is 0x{start:02X}, not 0x{START:02X}")
    fold = (START | operation << 8 | sequence << 16) ^ address ^ (length | status << 16)
    fold ^= fold >> 16
    fold ^= fold >> 8
    if (fold & 0xFF) ^ check != 0xFF:
        raise ValueError(f"check byte is 0x{check:02X}, not 0x{(fold & 0xFF) ^ 0xFF:02X}")
    return Header(operation, sequence, address, length, status)


def encode_request(request: Request, sequence: int) -> bytes:
    """One request as it goes over the wire. Nothing is split or checked: a test may encode a bad one."""
    return encode_header(request.operation, sequence, request.address, request.length) + request.data


def encode_reply(request: Header, status: int, data: bytes = b"") -> bytes:
    """The reply to a request with this header. For models, replays and tests that play the board."""
    return encode_header(request.operation | REPLY_BIT, request.sequence, request.address, len(data), status) + data


def pad(data: bytes) -> bytes:
    """`data` with filler up to whole packets."""
    return data + bytes(-len(data) % PACKET_BYTES)


@dataclass(frozen=True, slots=True)
class Piece:
    """One request as sent: a whole one, or a part of one that is too long for the wire."""

    index: int
    """Which of the caller's requests it belongs to."""
    operation: Operation
    sequence: int
    address: int
    reply_payload_bytes: int

    @property
    def reply_bytes(self) -> int:
        """Bytes of a good reply, header included: what counts against the window."""
        return HEADER_BYTES + self.reply_payload_bytes


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes for one OUT transfer, padded, and the pieces in it."""

    data: bytes
    pieces: tuple[Piece, ...]
    reply_bytes: int


def _split(request: Request) -> list[tuple[int, int, bytes]]:
    """(address, length, payload) of each piece."""
    operation, address, length, data = request.operation, request.address, request.length, request.data
    if operation is Operation.WRITE:
        if length != len(data):
            raise ValueError(f"a WRITE of {length} bytes carries {len(data)} bytes")
    elif data:
        raise ValueError(f"a {operation.name} carries no payload, but {len(data)} bytes were given")
    if address < 0 or length < 0 or address + length > 1 << 32:
        raise ValueError(f"0x{address:X} with length {length} lies outside the 32-bit address space")
    if length <= PIECE_BYTES:
        return [(address, length, data)]
    return [
        (address + offset, min(PIECE_BYTES, length - offset), data[offset : offset + PIECE_BYTES])
        for offset in range(0, length, PIECE_BYTES)
    ]


def plan(requests: Sequence[Request], first_sequence: int = 0) -> list[Transfer]:
    """Any list of requests as transfers of at most `TRANSFER_BYTES`, each asking for at most `TRANSFER_REPLY_BYTES`.

    Requests are never reordered and never straddle two transfers. Raises ValueError for one that contradicts itself.
    """
    transfers: list[Transfer] = []
    parts: list[bytes] = []
    pieces: list[Piece] = []
    out_bytes = reply_bytes = 0
    sequence = first_sequence
    for index, request in enumerate(requests):
        operation = request.operation
        for address, length, payload in _split(request):
            piece_bytes = HEADER_BYTES + len(payload)
            reply_payload_bytes = length if operation & _CARRIES_REPLY_PAYLOAD else 0
            answer_bytes = HEADER_BYTES + reply_payload_bytes
            full = out_bytes + piece_bytes > TRANSFER_BYTES or reply_bytes + answer_bytes > TRANSFER_REPLY_BYTES
            if pieces and full:
                transfers.append(Transfer(pad(b"".join(parts)), tuple(pieces), reply_bytes))
                parts, pieces, out_bytes, reply_bytes = [], [], 0, 0
            sequence &= 0xFFFF
            parts.append(encode_header(operation, sequence, address, length))
            if payload:
                parts.append(payload)
            pieces.append(Piece(index, operation, sequence, address, reply_payload_bytes))
            sequence += 1
            out_bytes += piece_bytes
            reply_bytes += answer_bytes
    if pieces:
        transfers.append(Transfer(pad(b"".join(parts)), tuple(pieces), reply_bytes))
    return transfers


def batches(requests: Sequence[Request], out_bytes: int, reply_bytes: int) -> Iterator[list[tuple[int, Request]]]:
    """Requests, cut where need be, in groups of at most so many bytes each way, headers included.

    Each comes with the number of the caller's request that it is a part of. READs and WRITEs only.
    """
    batch: list[tuple[int, Request]] = []
    out_room, reply_room = out_bytes, reply_bytes
    for index, request in enumerate(requests):
        done = 0
        while done < request.length:
            write = request.operation is Operation.WRITE
            part = min(request.length - done, (out_room if write else reply_room) - HEADER_BYTES, PIECE_BYTES)
            if part <= 0 or out_room < HEADER_BYTES or reply_room < HEADER_BYTES:
                yield batch
                batch, out_room, reply_room = [], out_bytes, reply_bytes
                continue
            data = request.data[done : done + part]
            batch.append((index, Request(request.operation, request.address + done, part, data)))
            out_room -= HEADER_BYTES + len(data)
            reply_room -= HEADER_BYTES + (0 if write else part)
            done += part
    if batch:
        yield batch


class ReplyParser:
    """Cuts a byte stream into replies. Bytes may come in portions of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial_bytes(self) -> int:
        """Bytes of a reply that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[tuple[Header, bytes]]:
        """The replies that are complete now. Raises ValueError if the bytes cannot be a reply."""
        buffer = self._buffer
        buffer += data
        found: list[tuple[Header, bytes]] = []
        offset, end = 0, len(buffer)
        while end - offset >= HEADER_BYTES:
            header = decode_header(buffer, offset)
            payload = offset + HEADER_BYTES
            if end - payload < header.length:
                break
            offset = payload + header.length
            found.append((header, bytes(buffer[payload:offset])))
        if offset:
            del buffer[:offset]
        elif end and buffer[0] != START:
            raise ValueError(f"start byte is 0x{buffer[0]:02X}, not 0x{START:02X}")
        return found


class Exchange:
    """Book-keeping of one exchange: what to send, what is outstanding, what came back, in order."""

    def __init__(self, requests: Sequence[Request], first_sequence: int = 0, *, behind: Exchange | None = None) -> None:
        """`behind`: one that was sent before and is not complete. Its last packet may hold the first reply."""
        self.transfers = plan(requests, first_sequence)
        self.outstanding_bytes = 0
        """Bytes that good replies to everything sent and not yet answered would have."""
        self._expected: deque[Piece] = deque()
        self._next: Exchange | None = None
        self._parser: ReplyParser = behind._parser if behind else ReplyParser()
        if behind:
            behind._next = self
        self._status = [Status.OK] * len(requests)
        self._data: list[list[bytes]] = [[] for _ in requests]

    @property
    def pieces(self) -> int:
        """Requests on the wire: how far the sequence number moves."""
        return sum(len(transfer.pieces) for transfer in self.transfers)

    def excess_bytes(self, transfer: Transfer) -> int:
        """How many bytes of replies must be fetched before `transfer` may be sent; 0 or less if it may go now."""
        return self.outstanding_bytes + transfer.reply_bytes - WINDOW_BYTES

    def sent(self, transfer: Transfer) -> None:
        """Note that `transfer` is on its way."""
        self._expected.extend(transfer.pieces)
        self.outstanding_bytes += transfer.reply_bytes

    def feed(self, data: bytes) -> None:
        """Take bytes of replies. Raises LinkError if they are not the replies that must come next."""
        try:
            found = self._parser.feed(data)
        except ValueError as error:
            raise LinkError.of(
                f"the reply to {self.next_name()}",
                f"{error} in {data[:24].hex(' ')}",
                "close the board and open it again",
            ) from error
        exchange = self
        for header, payload in found:
            while not exchange._expected and exchange._next:
                exchange = exchange._next
            exchange._take(header, payload)

    @property
    def partial_bytes(self) -> int:
        """Bytes of a reply that is not complete yet."""
        return self._parser.partial_bytes

    def replies(self) -> list[Reply]:
        """The replies, rejoined. A request that failed in any piece has the first bad status and no data."""
        if self._expected or self._parser.partial_bytes and not self._next:
            raise RuntimeError(f"{len(self._expected)} replies are still outstanding")
        return [
            Reply(status, (parts[0] if len(parts) == 1 else b"".join(parts)) if status is Status.OK else b"")
            for status, parts in zip(self._status, self._data, strict=True)
        ]

    def next_name(self) -> str:
        """The reply that must come next, for messages."""
        if not self._expected:
            return "nothing (every request was answered)"
        piece = self._expected[0]
        return f"{piece.operation.name} 0x{piece.address:08X}, sequence {piece.sequence}"

    def _take(self, header: Header, payload: bytes) -> None:
        status = _STATUSES.get(header.status)
        piece = self._expected[0] if self._expected else None
        if (
            piece is None
            or status is None
            or header.sequence != piece.sequence
            or header.operation != piece.operation | REPLY_BIT
            or header.address != piece.address
            or header.length != (piece.reply_payload_bytes if status is Status.OK else 0)
        ):
            name = status.name if status is not None else f"status {header.status}"
            raise LinkError.of(
                f"the reply to {self.next_name()}",
                f"{name} with operation 0x{header.operation:02X}, sequence {header.sequence}, "
                f"address 0x{header.address:08X}, length {header.length}",
                "close the board and open it again; if it comes back, a request was damaged on its way",
            )
        self._expected.popleft()
        self.outstanding_bytes -= HEADER_BYTES + piece.reply_payload_bytes
        if status is not Status.OK:
            if self._status[piece.index] is Status.OK:
                self._status[piece.index] = status
        elif payload:
            self._data[piece.index].append(payload)
