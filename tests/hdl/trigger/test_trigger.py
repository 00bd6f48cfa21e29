"""trigger: a pulse at a board time, the board time of an edge."""

import random
from typing import Any

import cocotb
from bench import CLOCK_PS, registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotb.utils import get_sim_time
from word_bus import WordBus

PULSE_CLOCKS = 1024
FALLING = 1 << registers.TRIGGER_CONTROL_IN_FALLING_LSB
LATCHED = 1 << registers.TRIGGER_CONTROL_IN_LATCHED_LSB
ARMED = 1 << registers.TRIGGER_CONTROL_ARMED_LSB
OUT_HIGH = 1 << registers.TRIGGER_CONTROL_OUT_HIGH_LSB
IN_HIGH = 1 << registers.TRIGGER_CONTROL_IN_HIGH_LSB
MASK = 0xFFFF_FFFF


class Bench:
    """Drives board time; notes every edge of the output, and every pulse to the event ring, with its board time."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.bus = WordBus(dut, limit_clocks=1)
        self.now = 0
        self.out_edges: list[tuple[int, int]] = []
        self.pulses: list[int] = []
        dut.trigger_in.value = 0
        dut.now.value = 0

    async def start(self, now: int = 1000) -> None:
        self.now = now
        start_clock(self.dut.clk)
        cocotb.start_soon(self._time())
        await reset(self.dut.clk, self.dut.rst)
        cocotb.start_soon(self._watch())

    async def _time(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            self.now += 1
            self.dut.now.value = self.now & (1 << 64) - 1

    async def _watch(self) -> None:
        before = int(self.dut.trigger_out.value)
        while True:
            await RisingEdge(self.dut.clk)  # all values are those of the clock that ends here
            now, out = int(self.dut.now.value), int(self.dut.trigger_out.value)
            if out != before:
                self.out_edges.append((now, out))
                before = out
            if self.dut.trigger_pulse.value == 1:
                self.pulses.append(now)

    async def arm(self, time: int) -> None:
        await self.bus.write(registers.TRIGGER_OUT_TIME, time & MASK)

    async def clocks(self, count: int) -> None:
        await ClockCycles(self.dut.clk, count)

    async def latched(self) -> tuple[int, int]:
        """(time, edges)"""
        low = await self.bus.read(registers.TRIGGER_IN_TIME_LO)
        high = await self.bus.read(registers.TRIGGER_IN_TIME_HI)
        return (high & 0xFFFF) << 32 | low, high >> 16


@cocotb.test()
async def pulse_at_its_time(dut: Any) -> None:
    """Exact for every distance, also over the wrap of the low word; the armed bit goes as the pulse comes."""
    bench = Bench(dut)
    await bench.start()
    for base in (10_000, (5 << 32) - 600, (1 << 63) - 300):
        for ahead in (9, 10, 100, 1023, 1024, 1025, 5000):
            bench.now = base
            await bench.clocks(3)
            bench.out_edges.clear()
            time = bench.now + ahead
            await bench.arm(time)
            if ahead > 50:
                assert await bench.bus.read(registers.TRIGGER_CONTROL) == ARMED
                assert not bench.out_edges
            await bench.clocks(ahead + PULSE_CLOCKS + 10)
            assert bench.out_edges == [(time + 1, 1), (time + 1 + PULSE_CLOCKS, 0)], (base, ahead)
            assert await bench.bus.read(registers.TRIGGER_CONTROL) == 0


@cocotb.test()
async def late_pulse(dut: Any) -> None:
    """A time already past fires within 1024 clocks, once, and lasts as long as any."""
    bench = Bench(dut)
    await bench.start(3 << 32)
    for behind in (0, 1, 2, 1000, 1024, 123_456, 0x7FFF_0000):
        bench.out_edges.clear()
        await bench.arm(bench.now - behind)
        armed = bench.now
        await bench.clocks(3 * PULSE_CLOCKS)
        (rise, high), (fall, low) = bench.out_edges
        assert (high, low) == (1, 0) and rise - armed <= PULSE_CLOCKS and fall - rise == PULSE_CLOCKS, behind


@cocotb.test()
async def far_time_waits(dut: Any) -> None:
    """2^31 - 1 ahead is to come; nothing fires while it waits."""
    bench = Bench(dut)
    await bench.start()
    await bench.arm(bench.now + 0x7FFF_FFF0)
    await bench.clocks(3 * PULSE_CLOCKS)
    assert not bench.out_edges and await bench.bus.read(registers.TRIGGER_CONTROL) == ARMED


@cocotb.test()
async def disarm_and_rearm(dut: Any) -> None:
    """Writing 0 disarms and ends a pulse at once; writing 1 does neither; a new time replaces the old one."""
    bench = Bench(dut)
    await bench.start()
    await bench.arm(bench.now + 500)
    await bench.bus.write(registers.TRIGGER_CONTROL, 0)
    await bench.clocks(2000)
    assert not bench.out_edges
    await bench.bus.write(registers.TRIGGER_CONTROL, ARMED)
    await bench.clocks(2000)
    assert not bench.out_edges, "only a time arms"

    first, second = bench.now + 300, bench.now + 700
    await bench.arm(first)
    await bench.arm(second)
    await bench.bus.write(registers.TRIGGER_CONTROL, ARMED)
    await bench.clocks(800)
    assert bench.out_edges == [(second + 1, 1)]
    assert await bench.bus.read(registers.TRIGGER_CONTROL) == OUT_HIGH
    await bench.bus.write(registers.TRIGGER_CONTROL, ARMED)
    await bench.clocks(10)
    assert await bench.bus.read(registers.TRIGGER_CONTROL) == OUT_HIGH, "1 ends no pulse"
    await bench.bus.write(registers.TRIGGER_CONTROL, 0)
    await bench.clocks(3)
    assert [high for _, high in bench.out_edges] == [1, 0] and await bench.bus.read(registers.TRIGGER_CONTROL) == 0


@cocotb.test()
async def edge_time(dut: Any) -> None:
    """First edge latched until cleared, all edges counted; time is 2 to 3 clocks behind the pin at any phase."""
    bench = Bench(dut)
    await bench.start((7 << 32) - 400)
    chooser = random.Random(3)
    edges = 0
    for falling in (0, FALLING):
        await bench.bus.write(registers.TRIGGER_CONTROL, falling | LATCHED)
        dut.trigger_in.value = int(falling != 0)
        await bench.clocks(5)
        assert not bench.pulses
        for _ in range(40):
            await bench.clocks(chooser.randrange(4, 30))
            await Timer(chooser.randrange(1, CLOCK_PS), unit="ps")
            pin_time = int(dut.now.value)
            dut.trigger_in.value = int(not falling)
            await bench.clocks(chooser.randrange(4, 12))
            dut.trigger_in.value = int(falling != 0)
            await bench.clocks(chooser.randrange(4, 12))
            await Timer(1, unit="ns")
            dut.trigger_in.value = int(not falling)  # a second edge, that only counts
            await bench.clocks(5)
            dut.trigger_in.value = int(falling != 0)
            edges += 2
            await bench.clocks(4)
            time, count = await bench.latched()
            assert 2 <= time - pin_time <= 3 and count == edges
            assert len(bench.pulses) == 2 and bench.pulses[0] == time, "the event ring sees the same clock"
            bench.pulses.clear()
            level = IN_HIGH if falling else 0
            assert await bench.bus.read(registers.TRIGGER_CONTROL) == LATCHED | falling | level
            await bench.bus.write(registers.TRIGGER_CONTROL, falling)
            assert (await bench.bus.read(registers.TRIGGER_CONTROL)) & LATCHED, "writing 0 keeps it"
            await bench.bus.write(registers.TRIGGER_CONTROL, falling | LATCHED)
            assert not (await bench.bus.read(registers.TRIGGER_CONTROL)) & LATCHED


@cocotb.test()
async def no_edge_from_reset_or_choice(dut: Any) -> None:
    """A pin that is high through reset, and a change of the chosen edge, are no edges. Reset in a pulse ends it."""
    dut.trigger_in.value = 1
    bench = Bench(dut)
    dut.trigger_in.value = 1
    await bench.start()
    await bench.clocks(10)
    for falling in (FALLING, 0, FALLING, 0):
        await bench.bus.write(registers.TRIGGER_CONTROL, falling)
    await bench.clocks(5)
    assert not bench.pulses and await bench.latched() == ((await bench.latched())[0], 0)
    await bench.arm(bench.now + 20)
    await bench.clocks(50)
    assert dut.trigger_out.value == 1
    await reset(dut.clk, dut.rst)
    assert dut.trigger_out.value == 0
    await bench.clocks(2000)
    assert len(bench.out_edges) == 2 and not bench.pulses
    assert await bench.bus.read(registers.TRIGGER_CONTROL) == IN_HIGH


@cocotb.test()
async def unused_offsets(dut: Any) -> None:
    """Offsets without a register read 0 and change nothing."""
    bench = Bench(dut)
    await bench.start()
    for offset in range(0x10, 0x100, 4):
        await bench.bus.write(registers.TRIGGER_BASE + offset, MASK)
        assert await bench.bus.read(registers.TRIGGER_BASE + offset) == 0
    assert await bench.bus.read(registers.TRIGGER_OUT_TIME) == 0
    assert await bench.bus.read(registers.TRIGGER_CONTROL) == 0


@cocotb.test()
async def every_bit_of_the_times(dut: Any) -> None:
    """Random 48-bit times of edges are latched whole, random times of pulses kept whole, whatever else is written."""
    bench = Bench(dut)
    chooser = random.Random(4)
    await bench.start()
    for _ in range(12):
        bench.now = chooser.getrandbits(48)
        await bench.clocks(3)
        dut.trigger_in.value = 1
        at = bench.now
        await bench.clocks(5)
        dut.trigger_in.value = 0
        time, _ = await bench.latched()
        assert 0 <= time - at <= 3
        for offset in range(0x10, 0x100, 4):
            assert await bench.bus.read(registers.TRIGGER_BASE + offset) == 0, "an offset without a register"
        await bench.bus.write(registers.TRIGGER_CONTROL, LATCHED)

        bench.out_edges.clear()
        start = bench.now = chooser.getrandbits(48)
        await bench.clocks(3 + (start & 1))
        # Further than the 1024 clocks in which a wrong upper bit would not matter.
        pulse = bench.now + 1400
        await bench.arm(pulse ^ 0xFF)
        await bench.arm(pulse)
        await bench.bus.write(registers.TRIGGER_IN_TIME_LO, chooser.getrandbits(32))
        for control in (ARMED, ARMED | LATCHED, ARMED | OUT_HIGH | 0xFFFF_FF80):
            await bench.bus.write(registers.TRIGGER_CONTROL, control)
            assert (await bench.bus.read(registers.TRIGGER_CONTROL)) == ARMED
        await bench.clocks(1400)
        assert bench.out_edges == [(pulse + 1, 1)], f"{start:#x}"
        await bench.bus.write(registers.TRIGGER_CONTROL, 0)


@cocotb.test()
async def many_edges(dut: Any) -> None:
    """All 16 bits of the count, over its wrap."""
    from cocotb.clock import Clock

    bench = Bench(dut)
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    pin = Clock(dut.trigger_in, 4 * CLOCK_PS, unit="ps", impl="gpi")
    pin.start(start_high=False)
    begun = get_sim_time("step")
    for more in range(5):
        await ClockCycles(dut.clk, 4 * (15_000 + more))
        _, count = await bench.latched()
        edges = (get_sim_time("step") - begun) // (4 * CLOCK_PS)
        assert 0 <= (edges - count) % 65_536 <= 3, (edges, count)


def test_trigger() -> None:
    run_cocotb("trigger", ["trigger.sv", "level_synchroniser.sv"], __file__)
