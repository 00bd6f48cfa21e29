"""Register access over the word bus of an RTL slave, as rig_core does it."""

import random
from typing import Any

from cocotb.triggers import RisingEdge


class WordBus:
    """Master of the ports bus_stb, bus_we, bus_adr, bus_wdata, bus_rdata and bus_ack of `dut`.

    Asserts that ack lasts one cycle and comes within `limit_clocks`; `longest_ack_clocks` keeps the longest wait.
    Between accesses all but bus_stb carries noise, as in a system where other slaves are meant.
    """

    def __init__(self, dut: Any, limit_clocks: int = 8) -> None:
        self.dut = dut
        self.limit_clocks = limit_clocks
        self.longest_ack_clocks = 0
        self.noise = random.Random(1)
        dut.bus_stb.value = 0
        dut.bus_we.value = 0
        dut.bus_adr.value = 0
        dut.bus_wdata.value = 0

    async def access(self, address: int, data: int | None = None) -> int:
        """One access at a byte address (upper bits are ignored). Returns what was read, 0 for a write."""
        dut = self.dut
        await RisingEdge(dut.clk)
        dut.bus_stb.value = 1
        dut.bus_we.value = int(data is not None)
        dut.bus_adr.value = (address & 0xFFFF) >> 2
        dut.bus_wdata.value = data or 0
        await RisingEdge(dut.clk)  # the slave sees stb from here on
        clocks = 0
        while True:
            await RisingEdge(dut.clk)
            clocks += 1
            if dut.bus_ack.value == 1:
                break
            assert clocks <= self.limit_clocks, f"no ack within {self.limit_clocks} clocks at {address:#x}"
        value = dut.bus_rdata.value
        dut.bus_stb.value = 0
        dut.bus_we.value = 1
        dut.bus_adr.value = self.noise.choice(((address & 0xFFFF) >> 2, self.noise.getrandbits(14)))
        dut.bus_wdata.value = self.noise.getrandbits(32)
        self.longest_ack_clocks = max(self.longest_ack_clocks, clocks)
        await RisingEdge(dut.clk)
        assert dut.bus_ack.value == 0, "ack lasts longer than a cycle"
        return value.to_unsigned() if data is None else 0

    async def write(self, address: int, data: int) -> None:
        await self.access(address, data)

    async def read(self, address: int) -> int:
        return await self.access(address)
