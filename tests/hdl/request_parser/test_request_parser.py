"""request_parser at its byte ports: every status, every alignment, slow buses, frames cut short.

The driver hands bytes over at the pace of the fastest link (6.4 clocks a byte) unless told otherwise; a Python slave
with a chosen delay stands behind the word bus and records what it saw.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
from bench import (
    Reply,
    decode_reply,
    header,
    random_bytes,
    read_request,
    registers,
    reset,
    run_cocotb,
    start_clock,
    wait_request,
    write_request,
)
from cocotb.triggers import FallingEdge, ReadWrite, RisingEdge

READ, WRITE, WAIT = registers.Operation.READ, registers.Operation.WRITE, registers.Operation.WAIT
Status = registers.Status
FULL_SPEED = (6, 6, 7, 6, 7)  # clocks between bytes, 6.4 on average
SLOWEST_ACK = 8
MAX_LENGTH = 4096
REGISTER_BASE = 0x4000_0000


@dataclass(frozen=True)
class Access:
    write: bool
    address: int
    select: int
    data: int


class Slave:
    """Answers on the word bus after `delay()` clocks (0: in the cycle of stb); checks that nothing moves meanwhile."""

    def __init__(self, dut: Any, delay: Callable[[], int]) -> None:
        self.dut, self.delay = dut, delay
        self.words: dict[int, int] = {}
        self.accesses: list[Access] = []
        dut.ack.value = 0
        cocotb.start_soon(self._run())

    def load(self, address: int, data: bytes) -> None:
        for index, value in enumerate(data, address):
            shift = 8 * (index & 3)
            self.words[index & ~3] = self.words.get(index & ~3, 0) & ~(0xFF << shift) | value << shift

    def dump(self, address: int, length: int) -> bytes:
        return bytes(self.words.get(i & ~3, 0) >> 8 * (i & 3) & 0xFF for i in range(address, address + length))

    def _seen(self) -> Access:
        dut = self.dut
        return Access(
            bool(dut.we.value), int(dut.adr.value) << 2, int(dut.sel.value), int(dut.wdata.value) if dut.we.value else 0
        )

    async def _run(self) -> None:
        dut = self.dut
        falling = FallingEdge(dut.clk)
        while True:
            if not dut.stb.value:
                await RisingEdge(dut.stb)
                await falling
            access = self._seen()
            for _ in range(self.delay()):
                await falling
                assert dut.stb.value, "strobe dropped before ack"
                assert self._seen() == access, f"access changed from {access} to {self._seen()}"
            word = self.words.get(access.address, 0)
            if access.write:
                mask = sum(0xFF << 8 * lane for lane in range(4) if access.select >> lane & 1)
                self.words[access.address] = word & ~mask | access.data & mask
            dut.rdata.value = word
            dut.ack.value = 1
            self.accesses.append(access)
            await falling
            dut.ack.value = 0
            dut.rdata.value = 0xDEAD_BEEF


class ByteDriver:
    """Hands bytes over as spi_byte_crossing does: at each byte border one comes in and one is taken."""

    def __init__(self, dut: Any, pace: tuple[int, ...] = FULL_SPEED) -> None:
        self.dut, self.pace = dut, pace
        self.count = 0
        self.pending = False
        dut.rx_valid.value = 0
        dut.rx_byte.value = 0
        dut.tx_take.value = 0
        dut.selected.value = 0

    async def select(self, selected: bool = True) -> None:
        self.dut.selected.value = int(selected)
        for _ in range(16):
            await FallingEdge(self.dut.clk)

    async def byte(self, value: int) -> int:
        """One byte border; returns the byte that left, filler being 0."""
        dut = self.dut
        falling = FallingEdge(dut.clk)
        clocks = self.pace[self.count % len(self.pace)]
        self.count += 1
        assert not self.pending, "byte lost: the one before was not accepted"
        out = int(dut.tx_byte.value) if dut.tx_valid.value else None
        dut.tx_take.value = int(out is not None)
        await falling
        dut.tx_take.value = 0
        dut.rx_byte.value = value
        dut.rx_valid.value = 1
        self.pending = True
        await ReadWrite()
        for _ in range(clocks - 1):
            accepted = self.pending and bool(dut.rx_ready.value)
            await falling
            if accepted:
                dut.rx_valid.value = 0
                self.pending = False
        return 0 if out is None else out

    async def send(self, data: bytes) -> None:
        for value in data:
            out = await self.byte(value)
            assert out == 0, f"0x{out:02X} left before the request was complete"

    async def receive(self, patience_bytes: int = 14) -> Reply:
        for _ in range(patience_bytes):
            first = await self.byte(0)
            if first:
                break
        else:
            raise AssertionError("no reply")
        raw = bytes([first]) + bytes([await self.byte(0) for _ in range(11)])
        length = int.from_bytes(raw[8:10], "little")
        return decode_reply(raw + bytes([await self.byte(0) for _ in range(length)]))

    async def exchange(self, request: bytes) -> Reply:
        await self.send(request)
        reply = await self.receive()
        operation, sequence, address = request[1] | 0x80, request[2:4], request[4:8]
        assert reply.operation == operation
        assert reply.sequence == int.from_bytes(sequence, "little")
        assert reply.address == int.from_bytes(address, "little")
        return reply


async def start(
    dut: Any, delay: Callable[[], int] = lambda: 1, pace: tuple[int, ...] = FULL_SPEED
) -> tuple[ByteDriver, Slave]:
    start_clock(dut.clk)
    driver = ByteDriver(dut, pace)
    dut.now.value = 0
    dut.event_waiting.value = 0
    await reset(dut.clk, dut.rst)
    assert not dut.stb.value, "an access begins by itself"
    slave = Slave(dut, delay)
    await driver.select()
    return driver, slave


async def expect_refused(driver: ByteDriver, slave: Slave, request: bytes, status: int) -> None:
    before = len(slave.accesses)
    reply = await driver.exchange(request)
    assert reply.status == status, f"{request[:12].hex(' ')}: status {reply.status}, expected {status}"
    assert reply.payload == b""
    assert len(slave.accesses) == before, "a refused request reached the bus"


async def expect_works(driver: ByteDriver, slave: Slave, sequence: int = 0x1234) -> None:
    slave.load(0x100, b"\x11\x22\x33\x44")
    reply = await driver.exchange(read_request(0x100, 4, sequence))
    assert (reply.status, reply.payload) == (Status.OK, b"\x11\x22\x33\x44")


# ------------------------------------------------------------------------------------------------ good requests

PACES = {"full_speed": FULL_SPEED, "idle": (6, 40, 13, 7, 100)}
DELAYS = {"fast": (0, 0), "slow": (SLOWEST_ACK, SLOWEST_ACK), "mixed": (0, SLOWEST_ACK)}


@cocotb.test(timeout_time=100, timeout_unit="ms")
@cocotb.parametrize(pace=list(PACES), delay=list(DELAYS))
async def every_alignment(dut: Any, pace: str, delay: str) -> None:
    """Reads and writes of 1 to 9 bytes at each alignment: exact bytes, exact byte selects, rising order."""
    rng = random.Random(1)
    driver, slave = await start(dut, lambda: rng.randint(*DELAYS[delay]), PACES[pace])
    background = random_bytes(64, 2)
    for offset in range(4):
        for length in range(1, 10):
            slave.load(0x400, background)
            slave.accesses.clear()
            address = 0x410 + offset
            data = random_bytes(length, 10 * length + offset)
            reply = await driver.exchange(write_request(address, data, length))
            assert (reply.status, reply.payload) == (Status.OK, b"")
            expected = bytearray(background)
            expected[address - 0x400 : address - 0x400 + length] = data
            assert slave.dump(0x400, 64) == expected
            words = range(address & ~3, address + length, 4)
            assert [a.address for a in slave.accesses] == list(words)
            for access, word in zip(slave.accesses, words, strict=True):
                assert access.write
                lanes = [lane for lane in range(4) if address <= word + lane < address + length]
                assert access.select == sum(1 << lane for lane in lanes)
            slave.accesses.clear()
            reply = await driver.exchange(read_request(address, length, length))
            assert (reply.status, reply.payload) == (Status.OK, data)
            assert [a.address for a in slave.accesses] == list(words)
            assert not any(a.write for a in slave.accesses)


@cocotb.test(timeout_time=100, timeout_unit="ms")
@cocotb.parametrize(offset=[0, 3])
async def largest_at_full_speed(dut: Any, offset: int) -> None:
    """4096 bytes each way at full speed over the slowest bus: no byte lost, no gap in the reply."""
    driver, slave = await start(dut, lambda: SLOWEST_ACK)
    data = random_bytes(MAX_LENGTH, offset)
    reply = await driver.exchange(write_request(0x1000 + offset, data))
    assert reply.status == Status.OK
    assert slave.dump(0x1000 + offset, MAX_LENGTH) == data
    reply = await driver.exchange(read_request(0x1000 + offset, MAX_LENGTH))
    assert reply.payload == data


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def borders_of_blocks(dut: Any) -> None:
    """First and last bytes of each block are inside it."""
    driver, slave = await start(dut)
    for base, size, grain in (
        (0, 0x20000, 1),
        (REGISTER_BASE, 0x100, 4),
        (REGISTER_BASE + 0x1000, 0x1000, 4),
        (REGISTER_BASE + 0x2000, 0x1000, 4),
        (REGISTER_BASE + 0x8000, 0x800, 4),
    ):
        for length in (grain, 256 if grain == 1 else size):
            for address in {base, base + size - length}:
                slave.load(address, random_bytes(length, address))
                reply = await driver.exchange(read_request(address, length))
                assert (reply.status, reply.payload) == (Status.OK, random_bytes(length, address)), hex(address)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def many_requests_in_a_frame(dut: Any) -> None:
    """Requests follow each other without chip select moving, with filler between."""
    driver, slave = await start(dut)
    rng = random.Random(3)
    for sequence in range(40):
        await driver.send(bytes(rng.randrange(3)))
        data = rng.randbytes(rng.randint(1, 6))
        address = rng.randrange(0x1FFF0)
        assert (await driver.exchange(write_request(address, data, sequence))).status == Status.OK
        assert (await driver.exchange(read_request(address, len(data), sequence))).payload == data


# ------------------------------------------------------------------------------------------------ refused requests


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def refused_lengths(dut: Any) -> None:
    driver, slave = await start(dut)
    for operation in (READ, WRITE):
        for length in (0, MAX_LENGTH + 1, 0xFFFF if operation == READ else MAX_LENGTH + 2):
            payload = bytes([0xA5]) * length if operation == WRITE else b""
            await expect_refused(driver, slave, header(operation, 1, 0x10, length) + payload, Status.BAD_LENGTH)
            await expect_works(driver, slave)
    await expect_refused(driver, slave, header(WAIT, 2, 0, 4), Status.BAD_LENGTH)
    for length in (1, 2, 3, 5, 7):
        await expect_refused(driver, slave, read_request(REGISTER_BASE + 0x28, length), Status.BAD_LENGTH)
        request = write_request(REGISTER_BASE + 0x28, b"\xa5" * length)
        await expect_refused(driver, slave, request, Status.BAD_LENGTH)
        await expect_works(driver, slave)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def refused_addresses(dut: Any) -> None:
    """Unmapped first bytes and ranges that leave their block, in reads and in writes, whose payload is skipped."""
    driver, slave = await start(dut)
    cases = [
        (0x0002_0000, 1),
        (0x0001_FFFF, 2),
        (0x0001_F001, 4096),
        (0x1000_0000, 4),
        (0x3FFF_FFFC, 8),
        (0x4000_0100, 4),
        (0x4000_00FC, 8),
        (0x4000_0000, 260),
        (0x4000_0004, 256),
        (0x4000_0000, 4096),
        (0x4000_0FFC, 4),
        (0x4000_1FFC, 8),
        (0x4000_1004, 4096),
        (0x4000_2FFC, 8),
        (0x4000_3000, 4),
        (0x4000_7FFC, 8),
        (0x4000_87FC, 8),
        (0x4000_8800, 4),
        (0x4000_8000, 2052),
        (0x4000_8004, 2048),
        (0x4000_8000, 4096),
        (0x4001_0000, 4),
        (0x4100_0000, 4),
        (0x8000_0000, 4),
        (0xF000_0000, 4),
        (0xFFFF_FFFC, 8),
    ]
    # One bit too many in an address of memory, or of a register.
    for bit in range(17, 32):
        if bit != 30:
            await expect_refused(driver, slave, read_request(1 << bit, 1, 9), Status.UNMAPPED)
            await expect_refused(driver, slave, read_request(registers.FPGA_BASE ^ 1 << bit, 4, 9), Status.UNMAPPED)
    for address, length in cases:
        await expect_refused(driver, slave, read_request(address, length, 9), Status.UNMAPPED)
        if length < 300:  # the bytes of a longer one would take milliseconds
            await expect_refused(driver, slave, write_request(address, b"\xa5" * length, 9), Status.UNMAPPED)
    await expect_works(driver, slave)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def refused_alignment(dut: Any) -> None:
    driver, slave = await start(dut)
    for offset in (1, 2, 3):
        await expect_refused(driver, slave, read_request(REGISTER_BASE + offset, 4), Status.MISALIGNED)
        await expect_refused(driver, slave, write_request(REGISTER_BASE + offset, bytes(4)), Status.MISALIGNED)
    await expect_works(driver, slave)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def order_of_tests(dut: Any) -> None:
    """If several statuses apply, the first of docs/wire.md wins."""
    driver, slave = await start(dut)
    # unknown operation before length and mapping
    await expect_refused(driver, slave, header(0x00, 1, 0x9000_0001, 0), Status.UNKNOWN_OPERATION)
    await expect_refused(driver, slave, header(0x20, 1, 0x9000_0001, 9999), Status.UNKNOWN_OPERATION)
    # length limits before mapping
    await expect_refused(driver, slave, header(READ, 1, 0x9000_0001, 0), Status.BAD_LENGTH)
    await expect_refused(driver, slave, header(READ, 1, 0x9000_0001, 4097), Status.BAD_LENGTH)
    # mapping of the first byte before alignment
    await expect_refused(driver, slave, read_request(0x4000_0101, 3), Status.UNMAPPED)
    # alignment of the address before that of the length
    await expect_refused(driver, slave, read_request(0x4000_0001, 3), Status.MISALIGNED)
    # alignment of the length before the mapping of the whole range
    await expect_refused(driver, slave, read_request(0x4000_00FC, 7), Status.BAD_LENGTH)
    await expect_works(driver, slave)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def unknown_operations(dut: Any) -> None:
    """All of them: bit 6 tells whether a payload is skipped, however long."""
    driver, slave = await start(dut, pace=(6,))
    for operation in range(256):
        if operation in (READ, WRITE, WAIT):
            continue
        payload = b"\xa5" * 3 if operation & 0x40 else b""
        request = header(operation, operation, 0x100, 3) + payload
        await driver.send(request)
        reply = await driver.receive()
        assert (reply.status, reply.operation) == (Status.UNKNOWN_OPERATION, operation | 0x80)
    request = header(0x7F, 1, 0x100, 6000) + b"\xa5" * 6000
    await expect_refused(driver, slave, request, Status.UNKNOWN_OPERATION)
    await expect_refused(driver, slave, header(0x40, 1, 0x100, 0), Status.UNKNOWN_OPERATION)
    await expect_works(driver, slave)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def bad_headers(dut: Any) -> None:
    """A wrong start or check byte, each bit of it: BAD_HEADER, then silence until the frame ends, then all is well."""
    driver, slave = await start(dut)
    good = read_request(0x100, 4, 0x55AA)
    damaged = [bytes([start_byte]) + good[1:] for start_byte in (0x01, 0xA4, 0xFF)]
    # a wrong start byte with a check byte that fits it
    damaged += [bytes([wrong]) + good[1:11] + bytes([good[11] ^ 0xA5 ^ wrong]) for wrong in (0x5A, 0xA4)]
    for position in range(12):
        for bit in range(8) if position in (4, 11) else (0, 5, 7):
            damage = bytearray(good)
            damage[position] ^= 1 << bit
            if damage[0]:
                damaged.append(bytes(damage))
    for request in damaged:
        await expect_refused(driver, slave, request, Status.BAD_HEADER)
        for value in good + bytes(20):
            assert await driver.byte(value) == 0, "spoke behind a bad header"
        await driver.select(False)
        await driver.select(True)
        await expect_works(driver, slave)


# ------------------------------------------------------------------------------------------------ WAIT


async def clocks_until_attention(dut: Any, limit: int) -> int:
    for clocks in range(limit):
        if dut.attention.value:
            return clocks
        await FallingEdge(dut.clk)
    return limit


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def wait_at_once(dut: Any) -> None:
    """Something new already there, or the deadline now or past, also across the wrap of 32 bits."""
    driver, _ = await start(dut)
    for now, deadline, event in (
        (1000, 5000, 1),
        (1000, 1000, 0),
        (1000, 999, 0),
        (5, 0xFFFF_FFF0, 0),
        (0x7FFF_FFFF, 0, 0),
        (0x8000_0000, 0x7FFF_FFFF, 0),
        (0xFFFF_FFFF, 0xFFFF_FFFF, 0),
        (0, 0, 0),
    ):
        dut.now.value = now
        dut.event_waiting.value = event
        await driver.send(wait_request(deadline, 7))
        assert await clocks_until_attention(dut, 20) < 20, (now, deadline, event)
        reply = await driver.receive()
        assert (reply.status, reply.payload, reply.address) == (Status.OK, b"", deadline)
        assert await clocks_until_attention(dut, 20) == 20, "attention without a reply"


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def wait_for_event(dut: Any) -> None:
    driver, slave = await start(dut)
    dut.now.value = 1000
    await driver.send(wait_request(1000 + 0x7FFF_FFFF, 8))
    for _ in range(20):
        assert await driver.byte(0) == 0
    assert not dut.attention.value
    dut.event_waiting.value = 1
    assert await clocks_until_attention(dut, 10) < 5
    dut.event_waiting.value = 0  # taken by nobody: the answer stands all the same
    assert (await driver.receive()).status == Status.OK
    await expect_works(driver, slave)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(now=[1000, 0xFFFF_FFE1, 0x7FFF_FFE0])
async def wait_for_deadline(dut: Any, now: int) -> None:
    """Answered when time reaches the deadline, not a tick before."""
    driver, slave = await start(dut)
    dut.now.value = now
    deadline = now + 100 & 0xFFFF_FFFF
    await driver.send(wait_request(deadline, 9))
    dut.now.value = deadline - 1 & 0xFFFF_FFFF
    assert await clocks_until_attention(dut, 40) == 40
    dut.now.value = deadline
    assert await clocks_until_attention(dut, 40) < 5
    assert (await driver.receive()).status == Status.OK
    await expect_works(driver, slave)


# ------------------------------------------------------------------------------------------------ cut short


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(by=["select", "reset"])
async def cut_short(dut: Any, by: str) -> None:
    """The frame ends, or reset comes, behind each byte of a request and of its reply; the next request works."""
    driver, slave = await start(dut, lambda: SLOWEST_ACK)

    async def cut() -> None:
        if by == "select":
            await driver.select(False)
        else:
            dut.rst.value = 1
            # reset also clears a bus access, so the slave must not be in the middle of one
            for _ in range(SLOWEST_ACK + 4):
                await FallingEdge(dut.clk)
            dut.rst.value = 0
        await driver.select(True)

    data = random_bytes(9, 4)
    for request in (write_request(0x203, data), read_request(0x203, 9), header(0x40, 1, 0, 4) + bytes(4)):
        for length in range(1, len(request) + 30):
            for value in (request + bytes(30))[:length]:
                await driver.byte(value)
            while by == "reset" and dut.stb.value:
                await FallingEdge(dut.clk)
            await cut()
            assert not dut.tx_valid.value and not dut.attention.value
            await expect_works(driver, slave, length)
    await driver.send(wait_request(0x7000_0000))
    await cut()
    await expect_works(driver, slave)


def test_request_parser() -> None:
    run_cocotb("request_parser", ["request_parser.sv"], __file__)
