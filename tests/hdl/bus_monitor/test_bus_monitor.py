"""bus_monitor: counts inside and outside, first access, announcement."""

import random
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import RisingEdge
from word_bus import WordBus

ENABLE, OUTSIDE, CLEAR = 1, 2, 4


class MonitorBench:
    """Registers of the monitors, and accesses at the port they watch."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.bus = WordBus(dut, limit_clocks=1)

    async def start(self) -> None:
        dut = self.dut
        dut.now_lo.value = 0
        dut.access_valid.value = 0
        dut.access_we.value = 0
        dut.access_adr.value = 0
        dut.monitor_ready.value = 0
        start_clock(dut.clk)
        await reset(dut.clk, dut.rst)

    def address(self, monitor: int, register: int) -> int:
        return registers.MONITOR_BASE + monitor * registers.MONITOR_STRIDE + register

    async def set_range(self, monitor: int, low: int, high: int, control: int) -> None:
        await self.bus.write(self.address(monitor, registers.MONITOR_LOW), low)
        await self.bus.write(self.address(monitor, registers.MONITOR_HIGH), high)
        await self.bus.write(self.address(monitor, registers.MONITOR_CONTROL), control)

    async def read(self, monitor: int, register: int) -> int:
        return await self.bus.read(self.address(monitor, register))

    async def counts(self, monitor: int) -> tuple[int, int]:
        return await self.read(monitor, registers.MONITOR_READS), await self.read(monitor, registers.MONITOR_WRITES)

    async def access(self, byte_address: int, write: bool = False, now: int = 0) -> None:
        """The engine makes one access, in one cycle."""
        dut = self.dut
        dut.access_valid.value = 1
        dut.access_we.value = int(write)
        dut.access_adr.value = byte_address >> 2
        dut.now_lo.value = now
        await RisingEdge(dut.clk)
        dut.access_valid.value = 0


@cocotb.test()
async def counts_against_a_model(dut: Any) -> None:
    """Random accesses around the borders of two ranges, one inside, one outside."""
    bench = MonitorBench(dut)
    await bench.start()
    source = random.Random(cocotb.RANDOM_SEED)
    for low, high in ((0x1000, 0x1010), (0, 4), (0x1FFFC, 0x20000), (0, 0x20000), (0x800, 0x800)):
        await bench.set_range(0, low, high, ENABLE | CLEAR)
        await bench.set_range(1, low, high, ENABLE | OUTSIDE | CLEAR)
        expected = [[0, 0], [0, 0]]
        near = [a for a in (low - 4, low, low + 4, high - 4, high, 0, 0x1FFFC, 0x10000) if 0 <= a < 0x20000]
        for _ in range(200):
            byte_address, write = source.choice(near), source.random() < 0.5
            await bench.access(byte_address, write)
            expected[0 if low <= byte_address < high else 1][int(write)] += 1
        for monitor in (0, 1):
            assert list(await bench.counts(monitor)) == expected[monitor], f"[{low:#x}, {high:#x}) monitor {monitor}"


@cocotb.test()
async def disabled_counts_nothing(dut: Any) -> None:
    bench = MonitorBench(dut)
    await bench.start()
    await bench.set_range(0, 0, 0x20000, 0)
    await bench.access(0x100)
    assert await bench.counts(0) == (0, 0)
    assert dut.monitor_valid.value == 0
    await bench.set_range(0, 0, 0x20000, ENABLE)
    await bench.access(0x100)
    await bench.set_range(0, 0, 0x20000, 0)
    await bench.access(0x100)
    assert await bench.counts(0) == (1, 0), "disabling keeps the counts"


@cocotb.test()
async def first_access_is_kept_and_announced_once(dut: Any) -> None:
    bench = MonitorBench(dut)
    await bench.start()
    await bench.set_range(1, 0x2000, 0x3000, ENABLE)
    await bench.access(0x1FFC, now=0x11)
    await bench.access(0x2FFC, True, now=0xABCD_1234)
    await bench.access(0x2000, now=0x22)
    assert await bench.read(1, registers.MONITOR_FIRST_TIME) == 0xABCD_1234
    assert await bench.read(1, registers.MONITOR_FIRST_ADDRESS) == 0x2FFC
    assert (dut.monitor_valid.value, int(dut.monitor_index.value)) == (1, 1)
    assert (int(dut.monitor_stamp.value), int(dut.monitor_address.value)) == (0x34, 0x2FFC)
    dut.monitor_ready.value = 1
    await RisingEdge(dut.clk)
    dut.monitor_ready.value = 0
    await bench.access(0x2004)
    await RisingEdge(dut.clk)
    assert dut.monitor_valid.value == 0, "announced once"
    await bench.set_range(1, 0x2000, 0x3000, ENABLE | CLEAR)
    assert await bench.counts(1) == (0, 0)
    assert await bench.read(1, registers.MONITOR_FIRST_TIME) == 0
    assert await bench.read(1, registers.MONITOR_FIRST_ADDRESS) == 0
    await bench.access(0x2008, now=0x99)
    await RisingEdge(dut.clk)
    assert (dut.monitor_valid.value, int(dut.monitor_address.value)) == (1, 0x2008), "clear lets it announce again"


@cocotb.test()
async def both_at_once_are_announced_in_turn(dut: Any) -> None:
    bench = MonitorBench(dut)
    await bench.start()
    await bench.set_range(0, 0x4000, 0x4004, ENABLE)
    await bench.set_range(1, 0x5000, 0x5004, ENABLE | OUTSIDE)
    await bench.access(0x4000, now=7)
    await RisingEdge(dut.clk)
    seen = []
    dut.monitor_ready.value = 1
    for _ in range(6):
        await RisingEdge(dut.clk)
        if dut.monitor_valid.value == 1:
            seen.append((int(dut.monitor_index.value), int(dut.monitor_stamp.value), int(dut.monitor_address.value)))
    assert seen == [(0, 7, 0x4000), (1, 7, 0x4000)]


@cocotb.test()
async def registers_read_back(dut: Any) -> None:
    """Reserved bits and offsets read 0, CLEAR reads 0, read-only registers stay; reset clears all."""
    bench = MonitorBench(dut)
    await bench.start()
    for monitor in (0, 1):
        for register in range(0, 0x20, 4):
            await bench.bus.write(bench.address(monitor, register), 0xFFFF_FFFF)
    values = [0x1FFFC, 0x3FFFC, ENABLE | OUTSIDE, 0, 0, 0, 0, 0]
    for monitor in (0, 1):
        assert [await bench.read(monitor, register) for register in range(0, 0x20, 4)] == values
    await bench.access(0x40)
    await reset(dut.clk, dut.rst)
    for monitor in (0, 1):
        assert [await bench.read(monitor, register) for register in range(0, 0x20, 4)] == [0] * 8
    assert dut.monitor_valid.value == 0


def test_bus_monitor() -> None:
    run_cocotb("bus_monitor", ["bus_monitor.sv"], __file__)
