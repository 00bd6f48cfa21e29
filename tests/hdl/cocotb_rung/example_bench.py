"""A Windows-like stream through a design of one's own: noise through its digital loopback, over its own word bus."""

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import ClockCycles, SimTimeoutError, ValueChange, with_timeout

from codecrig.board import open_board
from codecrig.client import loopback
from codecrig.link.cocotb import WordFront, offer
from codecrig.portcls import Format


class MyBus:
    """Moves bytes over the bus of the design: here word_port.sv, one access for each word touched."""

    def __init__(self, port: Any) -> None:
        self.port = port
        port.ask.value = 0

    async def read(self, address: int, length: int) -> bytes:
        first = address & ~3
        words = [await self.access(at) for at in range(first, address + length, 4)]
        data = b"".join(word.to_bytes(4, "little") for word in words)
        return data[address - first :][:length]

    async def write(self, address: int, data: bytes) -> None:
        for at in range(address & ~3, address + len(data), 4):
            lanes = [lane for lane in range(4) if 0 <= at + lane - address < len(data)]
            word = sum(data[at + lane - address] << 8 * lane for lane in lanes)
            await self.access(at, word, sum(1 << lane for lane in lanes))

    async def access(self, address: int, word: int = 0, enables: int = 0) -> int:
        """One access; a write if any byte is enabled. Returns the word read."""
        port = self.port
        port.address.value = address
        port.write.value = int(enables > 0)
        port.enables.value = enables or 15
        port.out_word.value = word
        port.ask.value = 1 - int(port.ask.value)
        try:
            await with_timeout(ValueChange(port.told), 10, "us")
        except SimTimeoutError:
            raise TimeoutError(f"no ack from 0x{address:08X} within 10 us") from None
        return 0 if enables else int(port.in_word.value)


async def start(dut: Any) -> WordFront:
    """Clock and reset; returns the way into the design."""
    Clock(dut.clk, 81380, unit="ps", impl="gpi").start()
    bus = MyBus(dut.parser)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 8)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 256)
    return WordFront(bus)


def play_and_compare(captured: list[bytes]) -> None:
    """Host code as it runs on every board. It may use all of codecrig, and knows no simulator."""
    data = random.Random(1).randbytes(4 * 480)
    with open_board("cocotb") as board:
        run = loopback(board, data, Format(48000, 2, 16), tail_frames=48, packet_ms=2)
    assert run.underruns == run.overruns == run.late_packets == 0
    assert run.captured is not None and data in run.captured
    captured.append(run.captured)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def loopback_of_my_design(dut: Any) -> None:
    captured: list[bytes] = []
    with offer(await start(dut)):
        await bridge(play_and_compare)(captured)
    assert len(captured[0]) == 4 * (480 + 48)
