"""`CocotbLink`: a design in a cocotb bench as a link. Host code runs in a thread, time flows only in its exchanges.

A bench builds a *front* over the design's bus (`SpiFront` or `WordFront`), offers it with `offer` and starts host code
with `cocotb.task.bridge`; the host code opens the board with `open_board("cocotb")`. Each exchange goes back into the
simulator with `cocotb.task.resume` and returns when the last reply is there. docs/cocotb.md shows a whole bench.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from cocotb.task import resume
from cocotb.triggers import First, RisingEdge, Timer
from cocotb.utils import get_sim_time

from codecrig.link import Link, LinkError, Reply, Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import Operation
from codecrig.link.wire import HEADER_BYTES, START, Exchange, Header, decode_header, encode_reply

MAX_LENGTH_BYTES = regs.BRIDGE_MAX_LENGTH_RESET
CLOCK_RATE = Fraction(12_288_000)
POLL_NS = 10_000
"""Longest time between two looks of a WAIT over a word bus, and so the longest that an event is late there."""
PATIENCE_BYTES = 16
"""Filler bytes within which a reply over SPI must start (docs/wire.md)."""
USUAL_DELAY_BYTES = 4
"""Filler bytes sent along with those of the reply, so that one transfer usually fetches it whole."""
LONGEST_WAIT_NS = 2_000_000_000
"""Simulation time after which a WAIT over SPI without an answer means that the design is dead; a board waits 1 s."""

_CARRIES_PAYLOAD = 0x40
_CARRIES_REPLY_PAYLOAD = 0x20
_STATE_BYTES = regs.FPGA_EVENT_CONSUMER + 4 - regs.FPGA_TIME_HI
_BLOCKS = (
    (regs.AUDIO_MEMORY_BASE, regs.AUDIO_MEMORY_BYTES),
    (regs.FPGA_BASE, 0x100),
    (regs.STREAM_BASE, 0x1000),
    (regs.MIDI_BASE, 0x1000),  # and the other peripherals
    (regs.EVENT_RING_BASE, regs.EVENT_RING_BYTES),
)
"""The address blocks of docs/wire.md that lie in the design; the bridge's is not there."""


class WordBus(Protocol):
    """A master of the design's own bus, written by the user: it moves bytes, the link does the rest.

    Addresses and lengths of registers are multiples of 4, those of audio memory are not: such a master needs byte
    enables for writes.
    """

    async def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on."""

    async def write(self, address: int, data: bytes) -> None:
        """Put `data` at `address`."""


class SpiMaster(Protocol):
    """A master of the design's SPI port that moves whole bytes."""

    async def select(self) -> None:
        """Lower chip select."""

    async def deselect(self) -> None:
        """Raise chip select, and keep it high for 16 clocks of the design."""

    async def transfer(self, data: bytes) -> bytes:
        """Clock `data` out; returns what came in."""

    async def wait_attention(self, limit_ns: int) -> bool:
        """True when the attention line is high, False if it is not within `limit_ns`."""


class Front(Protocol):
    """How one request is answered over some bus of the design."""

    async def answer(self, header: Header, request: bytes) -> bytes:
        """The reply to `request`, whose decoded header is `header`. Both are bytes of the wire format."""


class CocotbLink(Link):
    """A link to the design in the bench around it. Use it in one thread, started by `cocotb.task.bridge`."""

    name = "cocotb"
    serial = ""

    def __init__(self, front: Front, *, clock_ppm: float = 0.0) -> None:
        """`clock_ppm`: how much faster than simulation time says the board's clock runs by the host's clock."""
        self._front = front
        self._host_ns_per_ns = 1 / (1 + Fraction(str(clock_ppm)) / 1_000_000)
        self._sequence = 0
        self._closed = False

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        if self._closed:
            raise LinkError.of("an open link", "a closed one", "open the board again")
        if threading.current_thread() is threading.main_thread():
            raise LinkError.of(
                "host code in a thread of its own",
                "the simulator's thread, which would wait for itself",
                "start the function with `await cocotb.task.bridge(function)(...)`",
            )
        exchange = Exchange(requests, self._sequence)
        self._sequence = (self._sequence + exchange.pieces) & 0xFFFF
        resume(self._carry)(exchange)
        return exchange.replies()

    def host_time_ns(self) -> int:
        return int(Fraction(get_sim_time("ns")) * self._host_ns_per_ns)

    def close(self) -> None:
        self._closed = True

    async def _carry(self, exchange: Exchange) -> None:
        """In the simulator: one request after another."""
        for transfer in exchange.transfers:
            exchange.sent(transfer)
            offset = 0
            for _ in transfer.pieces:
                header = decode_header(transfer.data, offset)
                end = offset + HEADER_BYTES + (header.length if header.operation & _CARRIES_PAYLOAD else 0)
                if header.address >> 28 == regs.BRIDGE_BASE >> 28 and header.operation != Operation.WAIT:
                    reply = encode_reply(header, refusal(header))  # there is no bridge
                else:
                    reply = await self._front.answer(header, transfer.data[offset:end])
                offset = end
                exchange.feed(reply)


# ------------------------------------------------------------------------------------------------ SPI


class SpiFront:
    """Requests over the design's SPI port (docs/wire.md, SPI): the parser in the design answers, WAIT included."""

    def __init__(self, master: SpiMaster) -> None:
        self._master = master

    async def answer(self, header: Header, request: bytes) -> bytes:
        master = self._master
        await master.select()
        try:
            early = await master.transfer(request)
            if any(early):
                expected = f"0x00 on MISO until {_describe(header)} is sent"
                raise LinkError.of(expected, early.hex(" "), "look at the waves of the SPI port")
            if header.operation == Operation.WAIT and not await master.wait_attention(LONGEST_WAIT_NS):
                raise LinkError.of(
                    f"the attention line within {LONGEST_WAIT_NS // 1_000_000} ms of {_describe(header)}",
                    "it stayed low",
                    "look at the waves: does the clock run, does TIME_LO count?",
                )
            return await self._receive(header)
        finally:
            await master.deselect()

    async def _receive(self, header: Header) -> bytes:
        payload_bytes = header.length if header.operation & _CARRIES_REPLY_PAYLOAD else 0
        waiting_bytes = USUAL_DELAY_BYTES if header.operation != Operation.WAIT else 0
        data = await self._master.transfer(bytes(waiting_bytes + HEADER_BYTES + payload_bytes))
        while (start := _first_other(data)) is None or start > PATIENCE_BYTES:
            if len(data) > PATIENCE_BYTES:
                raise LinkError.of(
                    f"a reply to {_describe(header)} within {PATIENCE_BYTES} bytes of filler",
                    f"0x00 for {len(data) if start is None else start} bytes",
                    "check that the clock runs, reset is low and the SPI pins are the design's",
                )
            data += await self._master.transfer(bytes(PATIENCE_BYTES))
        reply = data[start:]
        if reply[0] == START:
            reply += await self._master.transfer(bytes(max(0, HEADER_BYTES - len(reply))))
            wanted = HEADER_BYTES + int.from_bytes(reply[8:10], "little")
            reply += await self._master.transfer(bytes(max(0, wanted - len(reply))))
            reply = reply[:wanted]
        return reply


def _first_other(data: bytes) -> int | None:
    """Index of the first byte that is not filler."""
    rest = data.lstrip(b"\0")
    return len(data) - len(rest) if rest else None


class SpiPins:
    """An SPI master in Python over four pins and the attention line: mode 0, most significant bit first.

    It wakes up twice a bit, so it is slow (about 2 KB a second); a bench that moves more lets HDL move the bits.
    """

    def __init__(
        self, *, sck: Any, cs_n: Any, mosi: Any, miso: Any, attention: Any, period_ps: int = 80_000, idle_ns: int = 1500
    ) -> None:
        """`idle_ns`: how long chip select stays high between two requests; at least 16 clocks of the design."""
        self._sck, self._cs_n, self._mosi, self._miso, self._attention = sck, cs_n, mosi, miso, attention
        self._half = Timer(period_ps // 2, unit="ps")
        self._idle = Timer(idle_ns, unit="ns")
        sck.value = 0
        cs_n.value = 1
        mosi.value = 0

    async def select(self) -> None:
        self._cs_n.value = 0
        await self._half

    async def deselect(self) -> None:
        await self._half
        self._cs_n.value = 1
        await self._idle

    async def transfer(self, data: bytes) -> bytes:
        received = bytearray()
        for byte in data:
            byte_in = 0
            for bit in range(7, -1, -1):
                self._mosi.value = byte >> bit & 1
                await self._half
                byte_in = byte_in << 1 | (str(self._miso.value) == "1")
                self._sck.value = 1
                await self._half
                self._sck.value = 0
            received.append(byte_in)
        return bytes(received)

    async def wait_attention(self, limit_ns: int) -> bool:
        return await wait_high(self._attention, limit_ns)


async def wait_high(line: Any, limit_ns: int) -> bool:
    """True when `line` is high, False if it is not within `limit_ns` of simulation time."""
    if str(line.value) != "1":
        await First(RisingEdge(line), Timer(limit_ns, unit="ns"))
    return str(line.value) == "1"


# ------------------------------------------------------------------------------------------------ a bus of words


class WordFront:
    """Requests over a bus of the user's: it does here what the request parser does behind our SPI port.

    Refuses what docs/wire.md refuses. WAIT looks at the event ring's counts and board time every `poll_ns` of
    simulation time, and once at the deadline.
    """

    def __init__(self, bus: WordBus, *, clock_rate: Fraction = CLOCK_RATE, poll_ns: int = POLL_NS) -> None:
        """`clock_rate`: board ticks in a second of simulation time."""
        if poll_ns * clock_rate < 1_000_000_000:
            raise ValueError(f"expected a poll interval of at least one clock; found {poll_ns} ns")
        self._bus = bus
        self._clock_rate = clock_rate
        self._poll_ns = poll_ns

    async def answer(self, header: Header, request: bytes) -> bytes:
        status = refusal(header)
        data = b""
        try:
            if status is not Status.OK:
                pass
            elif header.operation == Operation.WAIT:
                await self._wait(header.address)
            elif header.operation == Operation.WRITE:
                await self._bus.write(header.address, request[HEADER_BYTES:])
            else:
                data = bytes(await self._bus.read(header.address, header.length))
        except LinkError:
            raise
        except Exception as error:
            raise LinkError.of(
                f"the bench's bus to carry {_describe(header)}",
                f"{type(error).__name__}: {error}",
                "look at the waves of that bus",
            ) from error
        if len(data) != (header.length if header.operation == Operation.READ and status is Status.OK else 0):
            raise LinkError.of(
                f"{header.length} bytes from {_describe(header)}", f"{len(data)}", "correct `read` of the bench's bus"
            )
        return encode_reply(header, status, data)

    async def _wait(self, deadline_ticks: int) -> None:
        before = -1
        while True:
            state = await self._bus.read(regs.FPGA_TIME_HI, _STATE_BYTES)
            now, producer, consumer = (
                int.from_bytes(state[address - regs.FPGA_TIME_HI :][:4], "little")
                for address in (regs.FPGA_TIME_LO, regs.FPGA_EVENT_PRODUCER, regs.FPGA_EVENT_CONSUMER)
            )
            left_ticks = (deadline_ticks - now) & 0xFFFFFFFF
            if producer != consumer or left_ticks == 0 or left_ticks >> 31:
                return
            if now == before:
                raise LinkError.of(
                    "board time to count", f"TIME_LO {now} twice, {self._poll_ns} ns apart", "does the clock run?"
                )
            before = now
            left_ns = -(-left_ticks * 1_000_000_000 // self._clock_rate)
            await Timer(min(self._poll_ns, max(1, int(left_ns))), unit="ns")


def refusal(header: Header) -> Status:
    """What docs/wire.md says to a request with this header over a bus that has no parser: OK, or why not."""
    if header.operation not in (Operation.READ, Operation.WRITE, Operation.WAIT):
        return Status.UNKNOWN_OPERATION
    if header.operation == Operation.WAIT:
        return Status.BAD_LENGTH if header.length else Status.OK
    if not 1 <= header.length <= MAX_LENGTH_BYTES:
        return Status.BAD_LENGTH
    for base, size in _BLOCKS:
        if base <= header.address < base + size:
            break
    else:
        return Status.UNMAPPED
    if base != regs.AUDIO_MEMORY_BASE:
        if header.address % 4:
            return Status.MISALIGNED
        if header.length % 4:
            return Status.BAD_LENGTH
    return Status.OK if header.address + header.length <= base + size else Status.UNMAPPED


def _describe(header: Header) -> str:
    name = Operation(header.operation).name if header.operation in set(Operation) else f"0x{header.operation:02X}"
    return f"{name} 0x{header.address:08X} of {header.length} bytes"


# ------------------------------------------------------------------------------------------------ offering


@dataclass(frozen=True, slots=True)
class Offer:
    """What `open_board("cocotb")` takes: the way into the design, and what else the bench can do."""

    front: Front
    bench: Any = None
    """A `codecrig.board.Bench` with the bench's capabilities, None for none."""


_offers: list[Offer] = []


@contextmanager
def offer(front: Front, bench: Any = None) -> Iterator[None]:
    """While this lasts, `open_board("cocotb")` opens the design behind `front`."""
    made = Offer(front, bench)
    _offers.append(made)
    try:
        yield
    finally:
        _offers.remove(made)


def offered() -> Offer | None:
    """The latest offer that still stands; None outside a bench."""
    return _offers[-1] if _offers else None
