"""A board in memory at request level, for tests of `Board` and `Events`: registers, audio memory, event ring, time.

Time moves by `EXCHANGE_TICKS` with each exchange and in WAIT. It follows docs/registers.md, no stream runs in it.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Sequence
from fractions import Fraction

from codecrig.board import Board, load_profile
from codecrig.board.profile import BoardProfile, find_profile
from codecrig.link import Link, LinkError, Reply, Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, Operation

EXCHANGE_TICKS = 3000
RING_RECORDS = 64


class FakeBoardLink(Link):
    """The link and the board behind it."""

    name = "fake board"
    serial = "FAKE01"

    def __init__(self, *, producer: int = 0, time_ticks: int = 0) -> None:
        self.time_ticks = time_ticks
        self.host_rate = Fraction(12_288_000)
        """Ticks in a second of the host's clock."""
        self.memory = bytearray(regs.AUDIO_MEMORY_BYTES)
        self.words: dict[int, int] = {
            regs.FPGA_ID: regs.FPGA_ID_RESET,
            regs.FPGA_VERSION: 1 << 24,
            regs.FPGA_BUILD: 0xF00D,
            regs.FPGA_CAPS: 2 | 6 << 8 | 128 << 16,
            regs.FPGA_EVENT_PRODUCER: producer,
            regs.FPGA_EVENT_CONSUMER: producer,
            regs.BRIDGE_ID: regs.BRIDGE_ID_RESET,
            regs.BRIDGE_VERSION: 1 << 24 | 2 << 16 | 3,
            regs.BRIDGE_SPI_HZ: 15_360_000,
            regs.BRIDGE_SERIAL_HI: 1,
        }
        self.ring = bytearray(regs.EVENT_RING_BYTES)
        self.log: list[tuple[str, int, int]] = []
        """Writes and waits: ("write", address, value) or ("wait", deadline, 0)."""
        self.exchanges = 0
        self.closed = 0
        self.broken: Exception | None = None
        self.refuse: dict[int, Status] = {}
        """Addresses that answer with an error."""
        self.snapshots_pending = 0
        self.stop_delay = 0
        self._schedule: list[tuple[int, int, bytes]] = []

    # ---------------------------------------------------------- what a test does to the board

    def post(self, cause: int, stream: int = 0, data0: int = 0, *, sequence: int | None = None, flags: int = 0) -> None:
        """Post a record now; a full ring loses it."""
        producer = self.words[regs.FPGA_EVENT_PRODUCER]
        if (producer - self.words[regs.FPGA_EVENT_CONSUMER]) & 0xFFFFFFFF >= RING_RECORDS:
            self.words[regs.FPGA_EVENT_LOST] = self.words.get(regs.FPGA_EVENT_LOST, 0) + 1
            return
        number = producer if sequence is None else sequence
        record = struct.pack("<BBBxIQIIII", cause, stream, flags, number, self.time_ticks, data0, 1, 2, 3)
        slot = producer % RING_RECORDS * 32
        self.ring[slot : slot + 32] = record
        self.words[regs.FPGA_EVENT_PRODUCER] = (producer + 1) & 0xFFFFFFFF
        cause_register = regs.STREAM_BASE + stream * regs.STREAM_STRIDE + regs.STREAM_EVENT_CAUSE
        if cause >= Cause.TIMER:
            cause_register, cause = regs.FPGA_EVENT_CAUSE, cause - Cause.TIMER
        self.words[cause_register] = self.words.get(cause_register, 0) | 1 << cause

    def post_at(self, ticks: int, cause: int, stream: int = 0, data0: int = 0) -> None:
        """Post a record when board time gets to `ticks`."""
        heapq.heappush(self._schedule, (ticks, len(self._schedule), bytes([cause, stream, data0])))

    def writes(self, address: int) -> list[int]:
        """Values written to a register so far."""
        return [value for kind, where, value in self.log if kind == "write" and where == address]

    # ---------------------------------------------------------- Link

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        if self.broken is not None:
            raise self.broken
        if self.closed:
            raise LinkError("exchange on a closed link")
        self.exchanges += 1
        self._advance(self.time_ticks + EXCHANGE_TICKS)
        return [self._answer(request) for request in requests]

    def host_time_ns(self) -> int:
        return int(self.time_ticks * 1_000_000_000 / self.host_rate)

    def close(self) -> None:
        self.closed += 1

    # ---------------------------------------------------------- inside

    def _advance(self, ticks: int) -> None:
        while self._schedule and self._schedule[0][0] <= ticks:
            due, _, event = heapq.heappop(self._schedule)
            self.time_ticks = max(self.time_ticks, due)
            self.post(*event)
        self.time_ticks = max(self.time_ticks, ticks)

    def _answer(self, request: Request) -> Reply:
        if request.address in self.refuse:
            return Reply(self.refuse[request.address])
        if request.operation is Operation.WAIT:
            self.log.append(("wait", request.address, 0))
            self._wait(request.address)
            return Reply(Status.OK)
        end = request.address + request.length
        if end <= regs.AUDIO_MEMORY_BYTES:
            if request.operation is Operation.WRITE:
                self.memory[request.address : end] = request.data
                return Reply(Status.OK)
            return Reply(Status.OK, bytes(self.memory[request.address : end]))
        if request.length == 0 or request.length % 4:
            return Reply(Status.BAD_LENGTH)
        if request.operation is Operation.WRITE:
            for offset in range(0, request.length, 4):
                self._write(request.address + offset, int.from_bytes(request.data[offset : offset + 4], "little"))
            return Reply(Status.OK)
        words = [self._read(request.address + offset) for offset in range(0, request.length, 4)]
        return Reply(Status.OK, struct.pack(f"<{len(words)}I", *words))

    def _wait(self, low: int) -> None:
        ahead = (low - self.time_ticks) & 0xFFFFFFFF
        deadline = self.time_ticks + (ahead if ahead < 1 << 31 else 0)
        while self.words[regs.FPGA_EVENT_PRODUCER] == self.words[regs.FPGA_EVENT_CONSUMER]:
            if not self._schedule or self._schedule[0][0] > deadline:
                self._advance(deadline)
                return
            self._advance(self._schedule[0][0])

    def _read(self, address: int) -> int:
        if address in (regs.FPGA_TIME_HI, regs.FPGA_TIME_HI_AGAIN):
            return self.time_ticks >> 32
        if address == regs.FPGA_TIME_LO:
            return self.time_ticks & 0xFFFFFFFF
        ring_offset = address - regs.EVENT_RING_BASE
        if 0 <= ring_offset < regs.EVENT_RING_BYTES:
            return int.from_bytes(self.ring[ring_offset : ring_offset + 4], "little")
        offset = address & 0xFF
        if regs.STREAM_BASE <= address < regs.EVENT_RING_BASE:
            if offset == regs.STREAM_SNAPSHOT and self.snapshots_pending:
                self.snapshots_pending -= 1
                return 1 << regs.STREAM_SNAPSHOT_PENDING_LSB
            if offset == regs.STREAM_STATUS and self.stop_delay:
                self.stop_delay -= 1
                return 3
        return self.words.get(address, 0)

    def _write(self, address: int, value: int) -> None:
        self.log.append(("write", address, value))
        if address == regs.FPGA_EVENT_CAUSE or (
            regs.STREAM_BASE <= address < regs.EVENT_RING_BASE and address & 0xFF == regs.STREAM_EVENT_CAUSE
        ):
            self.words[address] = self.words.get(address, 0) & ~value
        else:
            self.words[address] = value


def fake_profile() -> BoardProfile:
    """The model's profile: the fake has the same clock and memory."""
    return load_profile(find_profile("model"))


def open_fake(link: FakeBoardLink | None = None) -> tuple[Board, FakeBoardLink]:
    """A board over a fake, and the fake."""
    fake = link or FakeBoardLink()
    return Board(fake, fake_profile()), fake
