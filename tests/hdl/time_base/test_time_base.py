"""time_base: board time and the alarm."""

from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, RisingEdge
from word_bus import WordBus


async def start(dut: Any) -> WordBus:
    bus = WordBus(dut, limit_clocks=1)
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    return bus


async def set_now(dut: Any, value: int) -> None:
    dut.now_reg.value = value
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    assert 0 <= int(dut.now.value) - value < 3


async def pulses(dut: Any, clocks: int) -> list[int]:
    """Board times at which the alarm fired within the next `clocks`."""
    found = []
    for _ in range(clocks):
        await RisingEdge(dut.clk)
        if dut.timer_pulse.value == 1:
            found.append(int(dut.now.value))
    return found


@cocotb.test()
async def time_counts_every_clock(dut: Any) -> None:
    bus = await start(dut)
    first = await bus.read(registers.FPGA_TIME_LO)
    at = int(dut.now.value)
    assert 0 < first < 10, "reset starts it at 0"
    await ClockCycles(dut.clk, 1000)
    assert int(dut.now.value) == at + 1000
    second = await bus.read(registers.FPGA_TIME_LO)
    assert abs(second - first - 1000) < 8
    assert await bus.read(registers.FPGA_TIME_HI) == 0


@cocotb.test()
async def three_reads_give_64_bits(dut: Any) -> None:
    """High, low, high again, over a carry at every distance: the rule of the register description finds the time."""
    bus = await start(dut)
    for before in range(30):
        await set_now(dut, (7 << 32) - before)
        start_time = int(dut.now.value)
        high = await bus.read(registers.FPGA_TIME_HI)
        low = await bus.read(registers.FPGA_TIME_LO)
        again = await bus.read(registers.FPGA_TIME_HI_AGAIN)
        time = (again if high != again and low < 1 << 31 else high) << 32 | low
        assert start_time <= time <= start_time + 20


@cocotb.test()
async def alarm_fires_once_and_in_time(dut: Any) -> None:
    bus = await start(dut)
    for base in (0, 0xFFFF_FFE0, 0x7FFF_FFF0, (3 << 32) - 5):
        await set_now(dut, base)
        target = base + 50
        await bus.write(registers.FPGA_ALARM_TIME, target & 0xFFFF_FFFF)
        assert await bus.read(registers.FPGA_ALARM_CONTROL) == 1
        assert await bus.read(registers.FPGA_ALARM_TIME) == target & 0xFFFF_FFFF
        assert await pulses(dut, 80) == [target]
        assert await bus.read(registers.FPGA_ALARM_CONTROL) == 0


@cocotb.test()
async def past_alarm_fires_at_once(dut: Any) -> None:
    bus = await start(dut)
    for back in (1, 1000, (1 << 31) - 100):
        await set_now(dut, 1 << 40)
        watch = cocotb.start_soon(pulses(dut, 20))
        await bus.write(registers.FPGA_ALARM_TIME, (1 << 40) - back & 0xFFFF_FFFF)
        found = await watch
        assert len(found) == 1 and found[0] < (1 << 40) + 10


@cocotb.test()
async def far_alarm_waits(dut: Any) -> None:
    """2^31 - 1 ticks ahead is ahead."""
    bus = await start(dut)
    await set_now(dut, 1000)
    await bus.write(registers.FPGA_ALARM_TIME, 1000 + (1 << 31) - 1)
    assert await pulses(dut, 50) == []
    await set_now(dut, 1000 + (1 << 31) - 10)
    assert await pulses(dut, 50) == [1000 + (1 << 31) - 1]


@cocotb.test()
async def alarm_is_disarmed_and_armed_again(dut: Any) -> None:
    bus = await start(dut)
    await bus.write(registers.FPGA_ALARM_TIME, 100)
    await bus.write(registers.FPGA_ALARM_CONTROL, 0)
    assert await pulses(dut, 150) == []
    watch = cocotb.start_soon(pulses(dut, 10))
    await bus.write(registers.FPGA_ALARM_CONTROL, 1)
    assert len(await watch) == 1
    await bus.write(registers.FPGA_ALARM_TIME, int(dut.now.value) + 100)
    await reset(dut.clk, dut.rst)
    assert await pulses(dut, 150) == [], "reset disarms"


@cocotb.test()
async def alarm_at_the_ports(dut: Any) -> None:
    """Every bit of ALARM_TIME is kept, far and past alarms differ, the pulse comes once and in its clock."""
    bus = await start(dut)
    for target in (0x7FFF_0000, 0x5555_5555, 0x2AAA_AAAA, 0x1234_5678, *(1 << bit for bit in range(16, 31))):
        await bus.write(registers.FPGA_ALARM_TIME, target)
        assert await bus.read(registers.FPGA_ALARM_TIME) == target
        assert await bus.read(registers.FPGA_ALARM_CONTROL) == 1
        assert await pulses(dut, 4) == [], "ahead"
    for target in (0x8001_0000, 0xAAAA_AAAA, 0xD555_5555, 0xFFFF_FFFF, *(1 << 31 | 1 << bit for bit in range(16, 31))):
        watch = cocotb.start_soon(pulses(dut, 8))
        await bus.write(registers.FPGA_ALARM_TIME, target)
        assert len(await watch) == 1, f"{target:#x} is past"
        assert await bus.read(registers.FPGA_ALARM_TIME) == target
        assert await bus.read(registers.FPGA_ALARM_CONTROL) == 0
    for ahead in (20, 37, 65, 130, 260, 515, 1030):
        target = int(dut.now.value) + ahead
        await bus.write(registers.FPGA_ALARM_TIME, target)
        assert await pulses(dut, ahead + 10) == [target]


@cocotb.test()
async def every_offset(dut: Any) -> None:
    """Only the alarm registers take what is written, each for itself; offsets without a register read 0."""
    bus = await start(dut)
    alarm = 0x7654_3210
    await bus.write(registers.FPGA_ALARM_TIME, alarm)
    for offset in range(registers.FPGA_BASE, registers.FPGA_BASE + 0x100, 4):
        if offset in (registers.FPGA_ALARM_TIME, registers.FPGA_ALARM_CONTROL):
            continue
        await bus.write(offset, 0)
        value = await bus.read(offset)
        if offset == registers.FPGA_TIME_LO:
            assert 0 < int(dut.now.value) - value < 4
        else:
            assert value == 0, f"{offset:#x}"
        assert await bus.read(registers.FPGA_ALARM_TIME) == alarm, f"{offset:#x}"
        assert await bus.read(registers.FPGA_ALARM_CONTROL) == 1, f"{offset:#x}"
    await bus.write(registers.FPGA_ALARM_CONTROL, 0)
    await bus.write(registers.FPGA_ALARM_CONTROL, 1)
    await bus.write(registers.FPGA_ALARM_CONTROL, 0xFFFF_FFFE)
    assert await bus.read(registers.FPGA_ALARM_TIME) == alarm, "switching the alarm keeps its time"
    assert await bus.read(registers.FPGA_ALARM_CONTROL) == 0
    assert dut.bus_rdata.value == 0, "silent between accesses"


@cocotb.test()
async def time_carries(dut: Any) -> None:
    """The bits that a simulation can reach in a second: 2^16 clocks."""
    await start(dut)
    await ClockCycles(dut.clk, 100)
    at = int(dut.now.value)
    for clocks in (*range(1, 20), *(3 << bit for bit in range(2, 15))):
        await ClockCycles(dut.clk, clocks)
        at += clocks
        assert int(dut.now.value) == at


@cocotb.test()
async def time_is_read_only(dut: Any) -> None:
    bus = await start(dut)
    for register in (registers.FPGA_TIME_LO, registers.FPGA_TIME_HI, registers.FPGA_TIME_HI_AGAIN):
        await bus.write(register, 0xFFFF_0000)
    assert int(dut.now.value) < 100
    assert await bus.read(0x1C) == 0, "an offset without a register reads 0"


def test_time_base() -> None:
    run_cocotb("time_base", ["time_base.sv"], __file__)
