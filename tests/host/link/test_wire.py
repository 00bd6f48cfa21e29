"""The wire format in bytes, against a byte-level loopback that answers as docs/wire.md says."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from byte_board import ByteBoard
from hypothesis import given, settings
from hypothesis import strategies as st

from codecrig.link import LinkError, Reply, Request, wire
from codecrig.link.registers import AUDIO_MEMORY_BYTES, FPGA_ID, Operation, Status


def exchange(board: ByteBoard, requests: list[Request], portion_bytes: int = 1 << 20, sequence: int = 0) -> list[Reply]:
    """Carry out requests on the loopback, feeding replies in portions; checks the window."""
    work = wire.Exchange(requests, sequence)
    waiting = b""
    for transfer in work.transfers:
        assert len(transfer.data) <= 16384 and len(transfer.data) % 64 == 0
        while work.excess_bytes(transfer) > 0:
            portion, waiting = waiting[:portion_bytes], waiting[portion_bytes:]
            assert portion, "the window waits for bytes that will not come"
            work.feed(portion)
        work.sent(transfer)
        waiting += board.answer(transfer.data)
        assert len(waiting) <= 16384
        assert work.outstanding_bytes <= 16384
    while waiting:
        portion, waiting = waiting[:portion_bytes], waiting[portion_bytes:]
        work.feed(portion)
    assert work.outstanding_bytes == 0
    return work.replies()


def test_worked_example() -> None:
    request = wire.encode_request(Request.read(FPGA_ID, 8), 7)
    assert request == bytes.fromhex("A5 21 07 00 00 00 00 40 08 00 00 34")
    reply = bytes.fromhex("A5 A1 07 00 00 00 00 40 08 00 00 B4 47 49 52 43 00 00 00 01")
    header, data = wire.Header(0xA1, 7, 0x40000000, 8, 0), bytes.fromhex("4749524300000001")
    assert wire.ReplyParser().feed(reply) == [(header, data)]


byte, half_word, word = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@settings(deadline=None)
@given(byte, half_word, word, half_word, byte)
def test_header_round_trip(operation: int, sequence: int, address: int, length: int, status: int) -> None:
    data = wire.encode_header(operation, sequence, address, length, status)
    assert len(data) == 12 and reduce(xor, data) == 0xFF
    assert wire.decode_header(data) == wire.Header(operation, sequence, address, length, status)


@settings(deadline=None)
@given(st.integers(0, 95))
def test_every_single_bit_error_in_a_header_is_found(bit: int) -> None:
    data = bytearray(wire.encode_header(0xA1, 7, 0x40000000, 8))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="byte is"):
        wire.decode_header(data)


memory_requests = st.lists(
    st.one_of(
        st.builds(Request.read, st.integers(0, 60000), st.integers(1, 40000)),
        st.builds(
            lambda address, length, seed: Request.write(address, bytes((seed + i * 7) & 0xFF for i in range(length))),
            st.integers(0, 60000),
            st.one_of(st.integers(1, 200), st.integers(4000, 9000), st.integers(16000, 40000)),
            st.integers(0, 255),
        ),
        st.builds(Request.wait, st.integers(0, 1 << 40)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(memory_requests, st.sampled_from([1, 12, 63, 64, 100, 4096, 16448]), st.integers(0, 0xFFFF))
def test_any_list_of_requests_is_split_and_rejoined(requests: list[Request], portion_bytes: int, sequence: int) -> None:
    board = ByteBoard()
    expected_memory = bytearray(AUDIO_MEMORY_BYTES)
    expected = []
    for request in requests:
        if request.operation is Operation.WRITE:
            expected_memory[request.address : request.address + request.length] = request.data
        end = request.address + request.length
        data = bytes(expected_memory[request.address : end]) if request.operation is Operation.READ else b""
        expected.append(Reply(Status.OK, data))
    if sum(r.length for r in requests) > 20000:
        portion_bytes = max(portion_bytes, 64)
    assert exchange(board, requests, portion_bytes, sequence) == expected
    assert board.memory == expected_memory
    sequences = [request[1] for request in board.requests]
    assert sequences == [(sequence + i) & 0xFFFF for i in range(len(sequences))]


def test_a_long_request_fills_transfers_and_half_the_window_exactly() -> None:
    write = wire.plan([Request.write(0, bytes(131072))])
    assert [len(t.data) for t in write[:-1]] == [16384] * (len(write) - 1) and len(write) == 9
    read = wire.plan([Request.read(0, 131072)])
    assert [t.reply_bytes for t in read[:-1]] == [8192] * (len(read) - 1) and len(read) == 17


def test_only_a_request_longer_than_a_piece_is_split() -> None:
    (transfer,) = wire.plan([Request.read(0, 1012)])
    assert len(transfer.pieces) == 1
    (transfer,) = wire.plan([Request.read(0, 1013)])
    assert [piece.reply_payload_bytes for piece in transfer.pieces] == [1012, 1]


def test_the_next_requests_go_out_before_all_replies_are_fetched() -> None:
    work = wire.Exchange([Request.read(0, 20000)])
    first, second, third = work.transfers
    assert work.excess_bytes(first) <= 0
    work.sent(first)
    assert work.excess_bytes(second) <= 0
    work.sent(second)
    assert 0 < work.excess_bytes(third) <= 8192


def test_pieces_of_register_reads_stay_aligned() -> None:
    pieces = [piece for transfer in wire.plan([Request.read(0x40001000, 8192)]) for piece in transfer.pieces]
    assert len(pieces) == 9
    assert all(piece.address % 4 == 0 and piece.reply_payload_bytes % 4 == 0 for piece in pieces)


def test_a_failed_piece_fails_its_request_and_no_other() -> None:
    board = ByteBoard()
    requests = [Request.read(0, 4), Request.read(AUDIO_MEMORY_BYTES - 5000, 9000), Request.read(8, 4)]
    replies = exchange(board, requests)
    assert replies == [Reply(Status.OK, bytes(4)), Reply(Status.UNMAPPED), Reply(Status.OK, bytes(4))]


def test_the_first_error_of_a_split_request_is_told() -> None:
    work = wire.Exchange([Request.read(0, 3000)])
    (transfer,) = work.transfers
    work.sent(transfer)
    good, unmapped, no_reply = transfer.pieces
    work.feed(wire.encode_header(0xA1, good.sequence, good.address, 1012) + bytes(1012))
    work.feed(wire.encode_header(0xA1, unmapped.sequence, unmapped.address, 0, Status.UNMAPPED))
    work.feed(wire.encode_header(0xA1, no_reply.sequence, no_reply.address, 0, Status.NO_REPLY))
    assert work.replies() == [Reply(Status.UNMAPPED)]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request.read(0xFFFFFFFC, 8), "32-bit address space"),
        (Request(Operation.READ, -4, 4), "32-bit address space"),
        (Request(Operation.WRITE, 0, 8, b"abc"), "WRITE of 8 bytes carries 3"),
        (Request(Operation.READ, 0, 4, b"abcd"), "READ carries no payload"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(request_: Request, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        wire.plan([request_])


def sent(*requests: Request) -> wire.Exchange:
    work = wire.Exchange(requests, 5)
    for transfer in work.transfers:
        work.sent(transfer)
    return work


@pytest.mark.parametrize(
    "reply",
    [
        wire.encode_header(0xA1, 6, 0x100, 4) + bytes(4),  # sequence
        wire.encode_header(0xC2, 5, 0x100, 0),  # operation
        wire.encode_header(0xA1, 5, 0x104, 4) + bytes(4),  # address
        wire.encode_header(0xA1, 5, 0x100, 3) + bytes(3),  # length
        wire.encode_header(0xA1, 5, 0x100, 4, 4) + bytes(4),  # an error with payload
        wire.encode_header(0xA1, 5, 0x100, 0, 99),  # unknown status
    ],
)
def test_a_reply_to_another_request_is_noticed(reply: bytes) -> None:
    with pytest.raises(LinkError, match="expected the reply to READ 0x00000100, sequence 5; found .*; next step"):
        sent(Request.read(0x100, 4)).feed(reply)


def test_a_reply_too_many_is_noticed() -> None:
    work = sent(Request.read(0x100, 4))
    reply = wire.encode_header(0xA1, 5, 0x100, 4) + bytes(4)
    with pytest.raises(LinkError, match="every request was answered"):
        work.feed(reply + reply)


@pytest.mark.parametrize("garbage", [b"\x00", b"\xff" * 20, b"\xa5" + bytes(11)])
def test_bytes_that_are_no_reply_are_noticed(garbage: bytes) -> None:
    with pytest.raises(LinkError, match="byte is"):
        sent(Request.read(0x100, 4)).feed(garbage)


def test_replies_are_not_given_before_all_are_there() -> None:
    work = sent(Request.read(0x100, 4))
    work.feed(wire.encode_header(0xA1, 5, 0x100, 4) + bytes(3))
    with pytest.raises(RuntimeError, match="outstanding"):
        work.replies()
