"""Malformed requests on the wire of the twin: each gets the error reply of docs/wire.md, and the next request works.

The requests pass through USB, firmware, SPI and the RTL parser. What the firmware answers by itself and what the FPGA
answers must look the same to a client.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from codecrig.board import Board, open_board
from codecrig.link import LinkError, Reply, Request, wire
from codecrig.link import registers as regs
from codecrig.link.registers import Operation, Status
from codecrig.link.usb import UsbLink

READ, WRITE, WAIT = int(Operation.READ), int(Operation.WRITE), int(Operation.WAIT)
END = regs.AUDIO_MEMORY_BYTES
UNKNOWN, UNKNOWN_WITH_PAYLOAD = 0x11, 0x51
SEQUENCE = 0xBEEF


@pytest.fixture(scope="module")
def twin() -> Iterator[Board]:
    with open_board("twin") as board:
        yield board


@pytest.fixture
def link(twin: Board) -> UsbLink:
    assert isinstance(twin.link, UsbLink)
    return twin.link


def header(operation: int, address: int, length: int, sequence: int = SEQUENCE) -> bytes:
    return wire.encode_header(operation, sequence, address, length)


def send(link: UsbLink, data: bytes, replies: int) -> list[tuple[wire.Header, bytes]]:
    """Send bytes unpadded and collect `replies` replies."""
    parser = wire.ReplyParser()
    found: list[tuple[wire.Header, bytes]] = []
    link.raw_write(data)
    while len(found) < replies:
        found += parser.feed(link.raw_read())
    assert len(found) == replies and parser.partial_bytes == 0
    return found


def check_usable(link: UsbLink) -> None:
    """FPGA, memory and bridge still answer, and nothing else is in the way."""
    requests = [
        Request.read(regs.FPGA_ID, 4),
        Request.write(64, b"still here"),
        Request.read(64, 10),
        Request.read(regs.BRIDGE_ID, 4),
    ]
    expected = [
        Reply(Status.OK, regs.FPGA_ID_RESET.to_bytes(4, "little")),
        Reply(Status.OK),
        Reply(Status.OK, b"still here"),
        Reply(Status.OK, regs.BRIDGE_ID_RESET.to_bytes(4, "little")),
    ]
    assert link.exchange(requests) == expected


REFUSED = [
    ("unknown operation", UNKNOWN, 0, 0, 0, Status.UNKNOWN_OPERATION),
    ("unknown operation with length but no payload", UNKNOWN, 0, 8, 0, Status.UNKNOWN_OPERATION),
    ("unknown operation with payload", UNKNOWN_WITH_PAYLOAD, 0, 100, 100, Status.UNKNOWN_OPERATION),
    ("unknown operation for the bridge", UNKNOWN_WITH_PAYLOAD, regs.BRIDGE_ID, 8, 8, Status.UNKNOWN_OPERATION),
    ("unknown operation before bad length", UNKNOWN_WITH_PAYLOAD, 1 << 31, 5000, 5000, Status.UNKNOWN_OPERATION),
    ("read past the end", READ, END - 4, 8, 0, Status.UNMAPPED),
    ("write past the end", WRITE, END - 4, 8, 8, Status.UNMAPPED),
    ("read behind memory", READ, END, 4, 0, Status.UNMAPPED),
    ("read at no block", READ, 0x50000000, 4, 0, Status.UNMAPPED),
    ("write at no block", WRITE, 0x7FFFFFFC, 4, 4, Status.UNMAPPED),
    ("read behind the bridge's registers", READ, 0xF0001000, 4, 0, Status.UNMAPPED),
    ("write behind the bridge's registers", WRITE, 0xF0001000, 4, 4, Status.UNMAPPED),
    ("read past the event ring", READ, regs.EVENT_RING_BASE + regs.EVENT_RING_BYTES - 4, 8, 0, Status.UNMAPPED),
    ("misaligned register", READ, regs.FPGA_ID + 1, 4, 0, Status.MISALIGNED),
    ("misaligned register write", WRITE, regs.FPGA_SCRATCH + 2, 4, 4, Status.MISALIGNED),
    ("misaligned bridge register", READ, regs.BRIDGE_ID + 2, 4, 0, Status.MISALIGNED),
    ("misaligned before length", READ, regs.FPGA_ID + 1, 3, 0, Status.MISALIGNED),
    ("register length not whole words", READ, regs.FPGA_ID, 6, 0, Status.BAD_LENGTH),
    ("register write of 3 bytes", WRITE, regs.FPGA_SCRATCH, 3, 3, Status.BAD_LENGTH),
    ("bridge register of 5 bytes", READ, regs.BRIDGE_ID, 5, 0, Status.BAD_LENGTH),
    ("read of nothing", READ, 0, 0, 0, Status.BAD_LENGTH),
    ("write of nothing", WRITE, 0, 0, 0, Status.BAD_LENGTH),
    ("oversize read", READ, 0, 4097, 0, Status.BAD_LENGTH),
    ("oversize write", WRITE, 0, 5000, 5000, Status.BAD_LENGTH),
    ("largest oversize write", WRITE, 0, 65535, 65535, Status.BAD_LENGTH),
    ("oversize bridge read", READ, regs.BRIDGE_ID, 8192, 0, Status.BAD_LENGTH),
    ("oversize before unmapped", READ, 0x50000000, 4097, 0, Status.BAD_LENGTH),
    ("wait with length", WAIT, 0, 4, 0, Status.BAD_LENGTH),
]


@pytest.mark.parametrize(
    ("operation", "address", "length", "payload_bytes", "status"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_a_bad_request_gets_its_error_and_the_next_works(
    link: UsbLink, operation: int, address: int, length: int, payload_bytes: int, status: Status
) -> None:
    # 0xA5 everywhere: a payload that is not skipped whole would look like the start of a request.
    data = header(operation, address, length) + b"\xa5" * payload_bytes
    assert send(link, data, 1) == [(wire.Header(operation | 0x80, SEQUENCE, address, 0, status), b"")]
    check_usable(link)


def test_refused_writes_change_nothing(link: UsbLink) -> None:
    link.exchange([Request.write(END - 16, b"untouched memory"), Request.write_word(regs.FPGA_SCRATCH, 0x12345678)])
    bad = [
        header(WRITE, END - 4, 8) + b"\xff" * 8,
        header(WRITE, regs.FPGA_SCRATCH + 2, 4) + b"\xff" * 4,
        header(WRITE, regs.FPGA_SCRATCH, 3) + b"\xff" * 3,
        header(WRITE, END - 16, 4097) + b"\xff" * 4097,
    ]
    send(link, b"".join(bad), len(bad))
    after = link.exchange([Request.read(END - 16, 16), Request.read(regs.FPGA_SCRATCH, 4)])
    assert [reply.data for reply in after] == [b"untouched memory", 0x12345678.to_bytes(4, "little")]


def test_good_requests_around_bad_ones_are_answered_in_order(link: UsbLink) -> None:
    data = b"".join(
        (
            header(READ, regs.FPGA_ID, 4, 1),
            header(UNKNOWN_WITH_PAYLOAD, 0, 9, 2) + b"\xa5" * 9,
            bytes(7),  # filler
            header(WRITE, 100, 4, 3) + b"good",
            header(READ, 0x50000000, 4, 4),
            header(READ, 100, 4, 5),
            header(READ, regs.BRIDGE_ID + 1, 4, 6),
            header(READ, regs.BRIDGE_VERSION, 4, 7),
        )
    )
    found = send(link, data, 7)
    assert [(h.sequence, h.status) for h, _ in found] == [(1, 0), (2, 2), (3, 0), (4, 4), (5, 0), (6, 5), (7, 0)]
    assert found[4][1] == b"good" and int.from_bytes(found[6][1], "little") >> 24 == 1


def damaged(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


@pytest.mark.parametrize("position", range(1, 12))
def test_a_damaged_header_is_refused_and_input_discarded_until_quiet(link: UsbLink, position: int) -> None:
    data = damaged(header(READ, 0x40, 8), position)
    behind = header(READ, 0x40, 8, 1) * 3  # arrives before the link is quiet: discarded
    ((reply, payload),) = send(link, data + behind, 1)
    assert (reply.status, payload) == (Status.BAD_HEADER, b"")
    assert reply.operation == data[1] | 0x80
    assert reply.sequence == int.from_bytes(data[2:4], "little")
    assert reply.address == int.from_bytes(data[4:8], "little")
    check_usable(link)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x01", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xa5" * 3000])
def test_garbage_gets_one_reply(link: UsbLink, garbage: bytes) -> None:
    ((reply, _),) = send(link, garbage, 1)
    collected = garbage[:12].ljust(12, b"\0")
    assert (reply.status, reply.operation) == (Status.BAD_HEADER, collected[1] | 0x80)
    check_usable(link)


@pytest.mark.parametrize("kept", [1, 2, 5, 11])
def test_a_header_cut_off_in_the_middle(link: UsbLink, kept: int) -> None:
    whole = header(READ, 0x11223344, 8)
    ((reply, _),) = send(link, whole[:kept], 1)
    received = whole[:kept].ljust(12, b"\0")
    assert reply == wire.Header(
        received[1] | 0x80,
        int.from_bytes(received[2:4], "little"),
        int.from_bytes(received[4:8], "little"),
        0,
        Status.TRUNCATED,
    )
    check_usable(link)


@pytest.mark.parametrize("address", [0x80, regs.FPGA_SCRATCH, regs.BRIDGE_SCRATCH], ids=["memory", "FPGA", "bridge"])
@pytest.mark.parametrize("kept", [0, 1, 51])
def test_a_payload_cut_off_in_the_middle(link: UsbLink, address: int, kept: int) -> None:
    ((reply, _),) = send(link, header(WRITE, address, 52) + b"\xa5" * kept, 1)
    assert reply == wire.Header(WRITE | 0x80, SEQUENCE, address, 0, Status.TRUNCATED)
    check_usable(link)


def test_a_skipped_payload_cut_off_in_the_middle(link: UsbLink) -> None:
    ((reply, _),) = send(link, header(UNKNOWN_WITH_PAYLOAD, 0, 52) + bytes(20), 1)
    assert reply.status in (Status.TRUNCATED, Status.UNKNOWN_OPERATION) and reply.sequence == SEQUENCE
    check_usable(link)


def test_reset_drops_half_a_request_and_unread_replies(link: UsbLink) -> None:
    link.raw_write(header(READ, 0, 400) * 8 + header(WRITE, 0, 100) + bytes(50))
    link.reset()
    check_usable(link)


def test_reset_ends_a_wait(link: UsbLink, twin: Board) -> None:
    link.raw_write(header(WAIT, (twin.clock.now() + (1 << 30)) & 0xFFFFFFFF, 0))
    with pytest.raises(LinkError):
        link.raw_read(timeout_s=0.2)
    link.reset()
    check_usable(link)


def test_error_counters_of_the_bridge_count(link: UsbLink) -> None:
    def counters() -> tuple[int, ...]:
        data = link.exchange([Request.read(regs.BRIDGE_ERRORS, 12)])[0].data
        return tuple(int.from_bytes(data[offset : offset + 4], "little") for offset in (0, 4, 8))

    before = counters()
    send(link, header(READ, 0x50000000, 4), 1)  # errors
    send(link, b"\xff" * 20, 1)  # errors, bad headers
    send(link, header(READ, 0, 4)[:6], 1)  # errors, truncated
    assert [b - a for a, b in zip(before, counters(), strict=True)] == [3, 1, 1]


@pytest.mark.parametrize("seed", range(8))
def test_the_link_recovers_by_itself_from_noise(link: UsbLink, seed: int) -> None:
    """Random bytes, whatever they mean: replies are well-formed, and after quiet the link works without RESET."""
    source = random.Random(seed)
    noise = bytes(source.choice((0, 0xA5, 0x21, 0x42, source.randrange(256))) for _ in range(source.randrange(1, 2000)))
    parser = wire.ReplyParser()
    found: list[tuple[wire.Header, bytes]] = []
    link.raw_write(noise)
    while True:
        try:
            found += parser.feed(link.raw_read(timeout_s=2.0))
        except LinkError:
            break
        if found and found[-1][0].status in (Status.BAD_HEADER, Status.TRUNCATED):
            break
    assert found and parser.partial_bytes == 0
    check_usable(link)
