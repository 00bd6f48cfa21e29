"""The SPI master of rung_bench.sv, and a bench around it that is ready for host code."""

from typing import Any

from bench import reset, start_clock
from cocotb.triggers import ClockCycles, ValueChange

from codecrig.link.cocotb import wait_high

STREAMS = 4
BLOCK_BYTES = 512
IDLE_CLOCKS = 16


class BlockMaster:
    """Moves a block of bytes at each wake-up; HDL makes the bits."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        dut.cs_n.value = 1
        dut.send.value = 0

    async def select(self) -> None:
        self.dut.cs_n.value = 0

    async def deselect(self) -> None:
        await ClockCycles(self.dut.clk, 1)
        self.dut.cs_n.value = 1
        await ClockCycles(self.dut.clk, IDLE_CLOCKS)

    async def transfer(self, data: bytes) -> bytes:
        dut = self.dut
        received = b""
        for offset in range(0, len(data), BLOCK_BYTES):
            block = data[offset : offset + BLOCK_BYTES]
            dut.out_bytes.value = int.from_bytes(block, "little")
            dut.count.value = len(block)
            dut.send.value = 1 - int(dut.send.value)
            await ValueChange(dut.done)
            received += dut.in_bytes.value.to_bytes(byteorder="little")[: len(block)]
        return received

    async def wait_attention(self, limit_ns: int) -> bool:
        return await wait_high(self.dut.attention, limit_ns)


async def start(dut: Any) -> BlockMaster:
    """Clock, reset, and the time that the design needs before it answers."""
    start_clock(dut.clk)
    dut.trigger_in.value = 0
    master = BlockMaster(dut)
    await reset(dut.clk, dut.rst)
    await ClockCycles(dut.clk, 32 * STREAMS + 16)
    return master
