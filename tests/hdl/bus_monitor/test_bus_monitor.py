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


class Model:
    """One monitor, clock by clock."""

    def __init__(self) -> None:
        self.low = self.high = self.control = 0
        self.clear()

    def clear(self) -> None:
        self.counts = [0, 0]
        self.first: tuple[int, int] | None = None  # time, byte address
        self.announces = False

    def access(self, byte_address: int, write: bool, now: int) -> None:
        outside = bool(self.control & OUTSIDE)
        if self.control & ENABLE and (self.low <= byte_address < self.high) != outside:
            self.counts[write] += 1
            if self.first is None:
                self.first, self.announces = (now, byte_address), True

    def write(self, register: int, value: int) -> None:
        if register == registers.MONITOR_LOW:
            self.low = value & 0x1FFFC
        elif register == registers.MONITOR_HIGH:
            self.high = value & 0x3FFFC
        elif register == registers.MONITOR_CONTROL:
            self.control = value & (ENABLE | OUTSIDE)
            if value & CLEAR:
                self.clear()

    def read(self, register: int) -> int:
        first = self.first or (0, 0)
        values = {
            registers.MONITOR_LOW: self.low,
            registers.MONITOR_HIGH: self.high,
            registers.MONITOR_CONTROL: self.control,
            registers.MONITOR_READS: self.counts[0],
            registers.MONITOR_WRITES: self.counts[1],
            registers.MONITOR_FIRST_TIME: first[0],
            registers.MONITOR_FIRST_ADDRESS: first[1],
        }
        return values.get(register, 0)


@cocotb.test()
@cocotb.parametrize(load=[0.3, 1.0])
async def everything_at_random(dut: Any, load: float) -> None:
    """Accesses in each clock or in a third of them, host accesses close together or not, against a model of both.

    What a clock's access changes is seen by a read that is acknowledged in a later clock; a time or address only if the
    read began in a later clock. CLEAR wins over an access in its clock.
    """
    bench = MonitorBench(dut)
    await bench.start()
    source = random.Random(cocotb.RANDOM_SEED)
    models = [Model(), Model()]
    nobody = Model()  # before and behind the monitors
    words = [0, 4, 0x1FFFC, 0x10000, 0x0FFFC, 0x5554, 0xAAA8]
    firsts = (registers.MONITOR_FIRST_TIME, registers.MONITOR_FIRST_ADDRESS)
    host: tuple[int, int, int | None] | None = None  # monitor, register, value to write
    asked = nobody
    pauses = [0]
    clocks = pause = at_start = reads = 0
    valid, write, byte_address, now, ready = False, False, 0, 0, False
    for step in range(24_000):
        if step in (4000, 8000, 16_000):
            dut.bus_stb.value, dut.access_valid.value = 0, 0
            await reset(dut.clk, dut.rst)
            models = [Model(), Model()]
            host, pause, valid, ready = None, 3, False, False
        await RisingEdge(dut.clk)
        announcing = [index for index in (0, 1) if models[index].announces]
        assert dut.monitor_valid.value == bool(announcing)
        if announcing:
            first = models[announcing[0]].first
            assert first is not None and int(dut.monitor_index.value) == announcing[0]
            assert int(dut.monitor_stamp.value) == first[0] & 0xFF and int(dut.monitor_address.value) == first[1]
            if ready:
                models[announcing[0]].announces = False
        clocks += 1
        ends = host is not None and clocks == 2
        assert dut.bus_ack.value == ends, "ack in the second clock"
        if host is not None and clocks == 1:
            at_start = asked.read(host[1])
        if ends and host is not None and host[2] is None:
            expected = at_start if host[1] in firsts else asked.read(host[1])
            assert dut.bus_rdata.value.to_unsigned() == expected, f"monitor {host[0]} register {host[1]:#x}"
            reads += 1
        if valid:
            for model in models:
                model.access(byte_address, write, now)
        if ends and host is not None and host[2] is not None:
            if asked is not nobody:
                asked.write(host[1], host[2])

        # The next clock.
        valid, write = source.random() < load, source.random() < 0.5
        now = source.getrandbits(32)
        byte_address = source.getrandbits(15) << 2
        if source.random() < 0.9:
            around = source.choice([*(model.low for model in models), *(model.high for model in models), *words])
            byte_address = min(max(around + source.choice((-4, 0, 4)), 0), 0x1FFFC)
        ready = source.random() < 0.2
        dut.access_valid.value, dut.access_we.value, dut.access_adr.value = int(valid), int(write), byte_address >> 2
        dut.now_lo.value, dut.monitor_ready.value = now, int(ready)
        if ends:
            # A carry of a count needs two clocks without the host within 16 accesses.
            host, pause = None, source.choice((3, 3, 4, 20, 60) if pauses[-1] < 20 else (0, 1, 2, 20))
            pauses.append(pause)
            dut.bus_stb.value = 0
            dut.bus_we.value = 1
            dut.bus_adr.value = source.choice((0x28, 0x29, 0x2A, 0x30, 0x31, 0x32))
            dut.bus_wdata.value = source.getrandbits(32)
        pause -= host is None
        if host is None and pause < 0:
            monitor, register = source.choice((0, 0, 0, 0, 1, 1, 1, 1, -1, 2)), 4 * source.randrange(8)
            asked = models[monitor] if monitor in (0, 1) else nobody
            value = None
            if source.random() < 0.4:
                value = source.getrandbits(32)
                register = source.choice((registers.MONITOR_LOW, registers.MONITOR_HIGH, register))
                if source.random() < 0.5:
                    register = registers.MONITOR_CONTROL
                    value = value & ~7 | source.choice((0, 1, 3, 5, 5, 7, 7))
                elif source.random() < 0.3:
                    value = source.choice((0, 4, 0x8000, 0x10000, 0x1FFFC, 0x20000, 0x2AAA8))
            host, clocks = (monitor, register, value), 0
            dut.bus_stb.value = 1
            dut.bus_we.value = int(value is not None)
            dut.bus_adr.value = (bench.address(monitor, register) & 0xFFFF) >> 2
            dut.bus_wdata.value = value or 0
    assert reads > 300


def test_bus_monitor() -> None:
    run_cocotb("bus_monitor", ["bus_monitor.sv"], __file__)
