"""i2c_master: against the device models of cocotbext-i2c, an own monitor of bus rules and times, and bad devices."""

import random
from typing import Any

import cocotb
import pytest
from bench import CLOCK_PS, registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer
from cocotb.utils import get_sim_time
from word_bus import WordBus

I2cMemory = pytest.importorskip(
    "cocotbext.i2c", reason="the tests of i2c_master need cocotbext-i2c: pip install -e '.[hdl]'"
).I2cMemory

START = 1 << registers.I2C_COMMAND_START_LSB
WRITE = 1 << registers.I2C_COMMAND_WRITE_LSB
READ = 1 << registers.I2C_COMMAND_READ_LSB
LAST = 1 << registers.I2C_COMMAND_NACK_LSB
STOP = 1 << registers.I2C_COMMAND_STOP_LSB
BUSY = 1 << registers.I2C_STATUS_BUSY_LSB
NACK = 1 << registers.I2C_STATUS_NACK_LSB
STUCK = 1 << registers.I2C_STATUS_STUCK_LSB
REFUSED = 1 << registers.I2C_STATUS_REFUSED_LSB
OWNER = 1 << registers.I2C_STATUS_OWNER_LSB
SDA = 1 << registers.I2C_STATUS_SDA_LSB
SCL = 1 << registers.I2C_STATUS_SCL_LSB
STRETCH_LOG2 = 11
NS = CLOCK_PS / 1000

# Least times of UM10204 in ns: low, high, START hold, START set-up, STOP set-up, data set-up, bus free.
RULES = {
    False: {"low": 4700, "high": 4000, "hold": 4000, "start": 4700, "stop": 4000, "data": 250, "free": 4700},
    True: {"low": 1300, "high": 600, "hold": 600, "start": 600, "stop": 600, "data": 100, "free": 1300},
}


class Line:
    """A handle as the device models want it: `value` is the wired line, or drives one device's pull."""

    def __init__(self, bench: "Bench", name: str) -> None:
        self.bench, self.name = bench, name
        self.level = 1

    def setimmediatevalue(self, value: int) -> None:
        self.value = value

    @property
    def value(self) -> int:
        return self.level

    @value.setter
    def value(self, value: int) -> None:
        self.level = int(value)
        self.bench.drive()


class Bench:
    """The two wires, wired-and of the master and any number of pulls; a monitor that notes edges and checks times."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.bus = WordBus(dut, limit_clocks=1)
        self.pulls: list[tuple[str, Line]] = []
        self.clock = 0
        self.edges: list[tuple[int, str, int]] = []
        self.drive()

    def pull(self, name: str) -> Line:
        line = Line(self, name)
        self.pulls.append((name, line))
        return line

    def drive(self) -> None:
        for name, pin, low in (
            ("scl", self.dut.scl_in, self.dut.scl_low),
            ("sda", self.dut.sda_in, self.dut.sda_low),
        ):
            value = int(str(low.value) != "1" and all(line.level for which, line in self.pulls if which == name))
            pin.value = value

    async def start(self, fast: bool = True) -> None:
        start_clock(self.dut.clk)
        cocotb.start_soon(self._wires())
        await reset(self.dut.clk, self.dut.rst)
        self.edges.clear()
        await self.speed(fast)

    async def speed(self, fast: bool) -> None:
        await self.bus.write(registers.I2C_CONTROL, int(fast))
        assert await self.bus.read(registers.I2C_CONTROL) == int(fast)

    async def _wires(self) -> None:
        levels = {"scl": 1, "sda": 1}
        while True:
            await RisingEdge(self.dut.clk)
            self.clock += 1
            for name, pin in (("scl", self.dut.scl_in), ("sda", self.dut.sda_in)):
                value = int(str(pin.value) == "1")
                if value != levels[name]:
                    self.edges.append((self.clock, name, value))
                    levels[name] = value
            self.drive()

    async def status(self) -> int:
        value = await self.bus.read(registers.I2C_STATUS)
        assert not value >> 16 and not value & 1 << 13, f"reserved bits: {value:#x}"
        return value

    async def wait(self, limit_clocks: int = 10_000) -> int:
        """Status once the command is over."""
        end = self.clock + limit_clocks
        while (status := await self.status()) & BUSY:
            assert self.clock < end, "busy for ever"
            await ClockCycles(self.dut.clk, 7)
        return status

    async def command(self, word: int) -> int:
        await self.bus.write(registers.I2C_COMMAND, word)
        return await self.wait()

    async def write_memory(self, address: int, pointer: int, data: bytes) -> None:
        for word in [START | WRITE | address << 1, WRITE | pointer, *(WRITE | byte for byte in data)]:
            assert not (await self.command(word)) & (NACK | STUCK)
        status = await self.command(STOP)
        assert not status & (OWNER | STUCK) and status & SDA and status & SCL

    async def read_memory(self, address: int, pointer: int, count: int) -> bytes:
        for word in (START | WRITE | address << 1, WRITE | pointer, START | WRITE | address << 1 | 1):
            assert not (await self.command(word)) & (NACK | STUCK)
        data = bytearray()
        for index in range(count):
            status = await self.command(READ | (LAST | STOP if index == count - 1 else 0))
            assert not status & (NACK | STUCK)
            data.append(status & 0xFF)
        return bytes(data)

    async def clear_bus(self) -> int:
        """As the register description says; returns the number of STOPs. The first may meet an acknowledge bit."""
        assert not (await self.command(READ | LAST)) & STUCK
        for count in (1, 2):
            if not (await self.command(STOP)) & (STUCK | OWNER):
                return count
        raise AssertionError("the data line does not come free")

    def check_times(self, fast: bool) -> int:
        """Every edge on the wires against the rules of the bus; returns the number of clock pulses."""
        rules = RULES[fast]
        scl_edge, sda_edge, stop_at, start_at = -(10**6), -(10**6), -(10**6), -(10**6)
        scl, pulses = 1, 0
        for clock, name, value in self.edges:
            since_scl, since_sda = (clock - scl_edge) * NS, (clock - sda_edge) * NS
            if name == "scl":
                if value:
                    assert since_scl >= rules["low"], f"low for {since_scl:.0f} ns"
                    assert since_sda >= rules["data"], f"data set up {since_sda:.0f} ns before the clock"
                    pulses += 1
                else:
                    assert since_scl >= rules["high"], f"high for {since_scl:.0f} ns"
                    assert (clock - start_at) * NS >= rules["hold"]
                scl, scl_edge = value, clock
            else:
                if scl and value:
                    assert since_scl >= rules["stop"], f"STOP {since_scl:.0f} ns behind the clock"
                    stop_at = clock
                elif scl:
                    assert since_scl >= rules["start"], f"START {since_scl:.0f} ns behind the clock"
                    assert (clock - stop_at) * NS >= rules["free"], "bus free too short"
                    start_at = clock
                sda_edge = clock
        return pulses


def memory(bench: Bench, address: int = 0x50) -> Any:
    """A device model on the wires: it sees the pins and pulls through lines of its own."""
    dut = bench.dut
    return I2cMemory(
        sda=dut.sda_in, sda_o=bench.pull("sda"), scl=dut.scl_in, scl_o=bench.pull("scl"), addr=address, size=256
    )


@cocotb.test()
async def write_and_read(dut: Any) -> None:
    """Both speeds, lengths 1 to 16, two devices on the wires; every time on the wires by the rules."""
    bench = Bench(dut)
    devices = {0x50: memory(bench), 0x10: memory(bench, 0x10)}
    await bench.start()
    chooser = random.Random(11)
    for fast in (True, False, True):
        await bench.speed(fast)
        bench.edges.clear()
        for length in (1, 2, 3, 16):
            address = chooser.choice(list(devices))
            pointer = chooser.randrange(200)
            data = chooser.randbytes(length)
            await bench.write_memory(address, pointer, data)
            assert devices[address].read_mem(pointer, length) == data
            assert await bench.read_memory(address, pointer, length) == data
        pulses = bench.check_times(fast)
        assert pulses > 400


@cocotb.test()
async def rate(dut: Any) -> None:
    """Clock rate within a byte: at most 400 and 100 kHz, and not much less."""
    bench = Bench(dut)
    memory(bench)
    await bench.start()
    for fast, least, most in ((True, 330e3, 400e3), (False, 90e3, 100e3)):
        await bench.speed(fast)
        await bench.command(START | WRITE | 0x50 << 1)
        bench.edges.clear()
        await bench.command(WRITE | 0xA5)
        rises = [clock for clock, name, value in bench.edges if name == "scl" and value]
        hertz = (len(rises) - 1) / ((rises[-1] - rises[0]) * CLOCK_PS * 1e-12)
        assert len(rises) == 9 and least <= hertz <= most, hertz
        await bench.command(STOP)


async def clocks_between(dut: Any, first: Any, second: Any) -> int:
    """From the rise of one pin to that of another."""
    await RisingEdge(first)
    begun = get_sim_time("step")
    await RisingEdge(second)
    return round((get_sim_time("step") - begun) / CLOCK_PS)


@cocotb.test()
async def reset_beats_an_access(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    dut.rst.value = 1
    dut.bus_stb.value = 1
    for clock in range(4):
        await RisingEdge(dut.clk)
        assert clock == 0 or dut.bus_ack.value == 0
    dut.bus_stb.value = 0
    dut.rst.value = 0


@cocotb.test()
async def steps_of_start_and_stop(dut: Any) -> None:
    """Those of START last twice as long as those of a bit, at both speeds."""
    bench = Bench(dut)
    memory(bench)
    await bench.start()
    for fast in (True, False):
        await bench.speed(fast)
        hold = cocotb.start_soon(clocks_between(dut, dut.sda_low, dut.scl_low))
        await bench.command(START | WRITE | 0x50 << 1)
        assert await bench.bus.read(registers.I2C_CONTROL) == int(fast), "with the clock line low, too"

        async def set_up() -> int:
            await RisingEdge(dut.sda_low)
            begun = get_sim_time("step")
            await FallingEdge(dut.scl_low)
            return round((get_sim_time("step") - begun) / CLOCK_PS)

        quarter = cocotb.start_soon(set_up())
        await bench.command(WRITE | 0xA5)
        assert await hold == 2 * await quarter
        await bench.command(STOP)


@cocotb.test()
async def limit_of_stretching(dut: Any) -> None:
    """The clock line may be held for 2^STRETCH_LOG2 clocks, within two."""
    bench = Bench(dut)
    await bench.start()
    hold = bench.pull("scl")
    await bench.command(START | WRITE | 0)
    hold.value = 0
    await bench.bus.write(registers.I2C_COMMAND, WRITE | 0)  # a zero: the master holds the data line until it gives up
    await FallingEdge(dut.scl_low)
    begun = get_sim_time("step")
    await FallingEdge(dut.sda_low)
    clocks = round((get_sim_time("step") - begun) / CLOCK_PS)
    assert abs(clocks - (1 << STRETCH_LOG2)) <= 2, clocks
    hold.value = 1


@cocotb.test()
async def nack_of_nobody(dut: Any) -> None:
    """No device answers: NACK, the bus can be stopped, and the next command starts clean; STOP at once too."""
    bench = Bench(dut)
    memory(bench)
    await bench.start()
    status = await bench.command(START | WRITE | 0x33 << 1)
    assert status & NACK and status & OWNER
    status = await bench.command(STOP)
    assert not status & (NACK | OWNER)
    status = await bench.command(START | WRITE | STOP | 0x33 << 1)
    assert status & NACK and not status & OWNER and status & SCL and status & SDA
    status = await bench.command(START | WRITE | STOP | 0x50 << 1)
    assert not status & NACK
    bench.check_times(True)


@cocotb.test()
async def stretching(dut: Any) -> None:
    """A device holds the clock line at any low phase for up to the limit: the transfer is right, only later."""
    bench = Bench(dut)
    device = memory(bench)
    await bench.start()
    hold = bench.pull("scl")
    chooser = random.Random(4)
    held = 0

    async def stretch() -> None:
        nonlocal held
        while True:
            await RisingEdge(dut.clk)
            if dut.scl_low.value == 1 and chooser.random() < 0.05:
                hold.value = 0
                await ClockCycles(dut.clk, chooser.choice([1, 5, 40, 300, (1 << STRETCH_LOG2) - 80]))
                hold.value = 1
                held += 1
                await ClockCycles(dut.clk, 30)

    task = cocotb.start_soon(stretch())
    data = chooser.randbytes(6)
    for word in [START | WRITE | 0x50 << 1, WRITE | 3, *(WRITE | byte for byte in data), STOP]:
        await bench.bus.write(registers.I2C_COMMAND, word)
        assert not (await bench.wait(100_000)) & (NACK | STUCK)
    assert device.read_mem(3, 6) == data and held > 30
    task.cancel()
    hold.value = 1
    assert bench.check_times(True) == 9 * 8 + 1


@cocotb.test()
async def clock_line_stuck(dut: Any) -> None:
    """Held longer than the limit, in every slot: the command ends, both lines are free, and it works again."""
    bench = Bench(dut)
    await bench.start()
    hold = bench.pull("scl")
    for clocks_before in (0, 20, 60, 150, 300, 340, 420):
        await bench.bus.write(registers.I2C_COMMAND, START | WRITE | STOP | 0x50 << 1)
        await ClockCycles(dut.clk, clocks_before)
        hold.value = 0
        begun = bench.clock
        status = await bench.wait((1 << STRETCH_LOG2) + 400)
        if clocks_before < 400:
            assert status & STUCK and bench.clock - begun >= 1 << STRETCH_LOG2
        assert not status & (OWNER | BUSY) and dut.scl_low.value == 0 and dut.sda_low.value == 0
        hold.value = 1
        await ClockCycles(dut.clk, 40)
        assert await bench.clear_bus() == 1
        status = await bench.command(START | WRITE | STOP | 0x50 << 1)
        assert status & NACK and not status & (STUCK | OWNER), "nobody is there"
    device = memory(bench)
    await bench.write_memory(0x50, 9, b"\x5a")
    assert device.read_mem(9, 1) == b"\x5a"


@cocotb.test()
async def data_line_stuck(dut: Any) -> None:
    """A device in the middle of a byte holds the data line: START and STOP say so; 9 clocks and STOP set it free."""
    bench = Bench(dut)
    device = memory(bench)
    await bench.start()
    hold = bench.pull("sda")
    hold.value = 0
    assert (await bench.command(START | WRITE | 0x50 << 1)) & STUCK
    assert dut.scl_low.value == 0 and dut.sda_low.value == 0
    status = await bench.command(STOP)
    assert status & STUCK and not status & SDA

    async def device_finishes(bits: int) -> None:
        for _ in range(bits):  # it still wants to send
            while dut.scl_in.value == 1:
                await RisingEdge(dut.clk)
            while dut.scl_in.value == 0:
                await RisingEdge(dut.clk)
        while dut.scl_in.value == 1:
            await RisingEdge(dut.clk)
        hold.value = 1

    for bits in range(10):
        hold.value = 0
        cocotb.start_soon(device_finishes(bits))
        assert await bench.clear_bus() == (1 if bits < 9 else 2)
        assert hold.value == 1
    await bench.write_memory(0x50, 1, b"\x11\x22")
    assert device.read_mem(1, 2) == b"\x11\x22"


@cocotb.test()
async def commands_while_busy(dut: Any) -> None:
    """Refused with a status, without effect on the one that runs; the next accepted one clears the status."""
    bench = Bench(dut)
    device = memory(bench)
    await bench.start()
    data = bytes([0x50 << 1, 4, 0xC3])
    for index, byte in enumerate(data):
        await bench.bus.write(registers.I2C_COMMAND, WRITE | byte | (0 if index else START))
        await ClockCycles(dut.clk, 37 * index)
        await bench.bus.write(registers.I2C_COMMAND, START | READ | STOP | 0xFF)
        status = await bench.wait()
        assert status & REFUSED and not status & (NACK | STUCK) and status & 0xFF == byte
    assert not (await bench.command(STOP)) & REFUSED
    assert device.read_mem(4, 1) == b"\xc3"
    edges = len(bench.edges)
    assert not (await bench.command(0)) & (BUSY | REFUSED | STUCK | NACK), "asks for nothing: over at once"
    assert len(bench.edges) == edges


@cocotb.test()
async def acknowledge_of_reads(dut: Any) -> None:
    """READ answers ACK, READ with nack answers NACK; the lines show it in the ninth clock."""
    bench = Bench(dut)
    device = memory(bench)
    device.write_mem(0, bytes(range(0x80, 0xA0)))
    await bench.start()
    for word, high in ((READ, 0), (READ, 0), (READ | LAST, 1)):
        if word == READ and not bench.edges:
            for setup in (START | WRITE | 0x50 << 1, WRITE | 0, START | WRITE | 0x50 << 1 | 1):
                await bench.command(setup)
        rises: list[int] = []

        async def levels(found: list[int] = rises) -> None:
            while True:
                await RisingEdge(dut.scl_in)
                await Timer(8 * CLOCK_PS, unit="ps")
                found.append(int(dut.sda_in.value))

        task = cocotb.start_soon(levels())
        await bench.command(word)
        task.cancel()
        assert len(rises) == 9 and rises[8] == high
    assert not (await bench.command(STOP)) & STUCK


@cocotb.test()
async def reset_in_every_slot(dut: Any) -> None:
    """Reset in flight frees both lines; after clearing the bus everything works."""
    bench = Bench(dut)
    await bench.start()
    for clocks in range(1, 420, 29):
        await bench.bus.write(registers.I2C_COMMAND, START | WRITE | STOP | 0xA0)
        await ClockCycles(dut.clk, clocks)
        await reset(dut.clk, dut.rst)
        assert (dut.scl_low.value, dut.sda_low.value) == (0, 0)
        assert (await bench.status()) & (BUSY | NACK | STUCK | REFUSED | OWNER) == 0
        await bench.speed(True)
        assert await bench.clear_bus() == 1
    device = memory(bench)
    await bench.write_memory(0x50, 7, b"\x77")
    assert device.read_mem(7, 1) == b"\x77"


@cocotb.test()
async def unused_offsets(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    for offset in range(0xC, 0x100, 4):
        await bench.bus.write(registers.I2C_BASE + offset, 0xFFFF_FFFF)
        assert await bench.bus.read(registers.I2C_BASE + offset) == 0
    assert await bench.bus.read(registers.I2C_COMMAND) == 0
    assert not (await bench.status()) & (BUSY | REFUSED)
    assert not bench.edges


def test_i2c_master() -> None:
    run_cocotb(
        "i2c_master", ["i2c_master.sv", "level_synchroniser.sv"], __file__, parameters={"STRETCH_LOG2": STRETCH_LOG2}
    )
