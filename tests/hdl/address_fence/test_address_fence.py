"""address_fence: what lies outside the window never reaches memory, what lies inside passes in the same clock."""

import random
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from word_bus import WordBus

BLOCKS = 512
FIRST, LAST = registers.FPGA_FENCE_FIRST, registers.FPGA_FENCE_LAST


class FenceBench:
    """Engine and memory at the fence. `passed` holds the block of each access that memory saw, in order."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.bus = WordBus(dut)
        self.passed: list[int] = []
        self.latency_clocks = 1

    async def start(self) -> None:
        dut = self.dut
        for port in (dut.engine_stb, dut.engine_adr, dut.memory_ack):
            port.value = 0
        start_clock(dut.clk)
        await reset(dut.clk, dut.rst)
        cocotb.start_soon(self._memory())

    async def _memory(self) -> None:
        """Answers each access after `latency_clocks`, and asserts that it stands until then."""
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            await ReadOnly()
            if dut.memory_stb.value != 1:
                continue
            block = int(dut.engine_adr.value)
            self.passed.append(block)
            for left in reversed(range(self.latency_clocks)):
                await RisingEdge(dut.clk)
                dut.memory_ack.value = int(left == 0)
                await ReadOnly()
                assert dut.memory_stb.value == 1, "the strobe fell before the acknowledge"
            await RisingEdge(dut.clk)
            dut.memory_ack.value = 0

    async def window(self, first: int, last: int) -> None:
        await self.bus.write(FIRST, first)
        await self.bus.write(LAST, last)

    async def access(self, block: int) -> tuple[str, int]:
        """One access of the engine: ("ack" or "err", clocks from strobe to answer)."""
        dut = self.dut
        await RisingEdge(dut.clk)
        dut.engine_stb.value = 1
        dut.engine_adr.value = block
        clocks = 0
        while True:
            await RisingEdge(dut.clk)  # the values of the cycle that ends here
            acknowledged, refused = dut.memory_ack.value == 1, dut.engine_err.value == 1
            assert not (acknowledged and refused)
            if acknowledged or refused:
                break
            clocks += 1
            assert clocks < 20, "no answer"
        dut.engine_stb.value = 0
        dut.engine_adr.value = random.randrange(BLOCKS)
        return ("ack" if acknowledged else "err"), clocks


async def after(dut: Any, clocks: int, bench: FenceBench, register: int, value: int) -> None:
    if clocks:
        await ClockCycles(dut.clk, clocks)
    await bench.bus.write(register, value)


@cocotb.test()
async def registers_read_back(dut: Any) -> None:
    bench = FenceBench(dut)
    await bench.start()
    assert [await bench.bus.read(FIRST), await bench.bus.read(LAST)] == [0, BLOCKS - 1]
    for value in (0xFFFF_FFFF, 0, 0x155, 0xAA):
        await bench.bus.write(FIRST, value)
        await bench.bus.write(LAST, ~value & 0xFFFF_FFFF)
        assert [await bench.bus.read(FIRST), await bench.bus.read(LAST)] == [value & 0x1FF, ~value & 0x1FF]
    assert bench.bus.longest_ack_clocks == 1


@cocotb.test()
async def all_of_memory_behind_reset(dut: Any) -> None:
    bench = FenceBench(dut)
    await bench.start()
    blocks = [0, 1, 255, 256, 510, 511]
    for block in blocks:
        assert await bench.access(block) == ("ack", 1), "passing costs no clock"
    assert bench.passed == blocks


@cocotb.test()
async def edges_of_the_window(dut: Any) -> None:
    """Windows of all kinds, accesses at and beside their edges; empty ones let nothing pass."""
    bench = FenceBench(dut)
    await bench.start()
    windows = [(0, 0), (511, 511), (0, 511), (1, 510), (7, 8), (128, 127), (511, 0), (255, 256), (256, 255), (300, 300)]
    for first, last in windows:
        await bench.window(first, last)
        bench.passed.clear()
        expected = []
        for block in sorted({max(0, min(511, edge + d)) for edge in (first, last) for d in (-1, 0, 1)} | {0, 64, 511}):
            inside = first <= block <= last
            assert await bench.access(block) == (("ack", 1) if inside else ("err", 1)), f"{block} in {first} to {last}"
            expected += [block] if inside else []
        assert bench.passed == expected


@cocotb.test()
async def window_changes_in_an_access(dut: Any) -> None:
    """The window closes or opens at each clock around an access, which ends as it began."""
    bench = FenceBench(dut)
    await bench.start()
    for latency in (1, 2, 4):
        bench.latency_clocks = latency
        for closes in (True, False):
            answers = []
            for offset in range(10):
                await bench.window(100 if closes else 101, 511)
                write = cocotb.start_soon(after(dut, offset, bench, FIRST, 101 if closes else 100))
                await ClockCycles(dut.clk, 4)
                bench.passed.clear()
                answer, clocks = await bench.access(100)
                assert (answer, clocks) == (("ack", latency) if bench.passed else ("err", 1))
                answers.append(answer)
                await write
                assert await bench.access(100) == (("err", 1) if closes else ("ack", latency))
            assert answers == sorted(answers, reverse=closes), "the later the write, the more it is as before"
            assert set(answers) == {"ack", "err"}, "both were to happen"
    assert bench.bus.longest_ack_clocks <= 6


@cocotb.test()
async def nothing_outside_behind_the_acknowledge(dut: Any) -> None:
    """An engine that never rests, a window that moves at random: behind the acknowledge of a write memory sees no
    access outside the new window; the write waits for one access at most."""
    bench = FenceBench(dut)
    await bench.start()
    source = random.Random(cocotb.RANDOM_SEED)
    running = True
    counts = {"ack": 0, "err": 0}

    async def engine() -> None:
        while running:
            answer, _ = await bench.access(source.randrange(BLOCKS))
            counts[answer] += 1
            if source.random() < 0.2:
                await ClockCycles(dut.clk, source.randrange(1, 4))

    task = cocotb.start_soon(engine())
    for _ in range(150):
        bench.latency_clocks = source.randrange(1, 5)
        first, last = source.randrange(BLOCKS), source.randrange(BLOCKS)
        await bench.window(first, last)
        assert dut.memory_stb.value == 0 or first <= int(dut.engine_adr.value) <= last
        bench.passed.clear()
        await ClockCycles(dut.clk, source.randrange(30))
        assert all(first <= block <= last for block in bench.passed), f"{bench.passed} in {first} to {last}"
    running = False
    await task
    assert min(counts.values()) > 100
    assert bench.bus.longest_ack_clocks <= 6


@cocotb.test()
async def reset_in_an_access(dut: Any) -> None:
    bench = FenceBench(dut)
    await bench.start()
    for block in (3, 4):
        await bench.window(4, 4)
        await RisingEdge(dut.clk)
        dut.engine_stb.value = 1
        dut.engine_adr.value = block
        await RisingEdge(dut.clk)
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.engine_stb.value = 0
        await RisingEdge(dut.clk)
        assert dut.engine_err.value == 0
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)
        assert dut.engine_err.value == 0 and dut.memory_stb.value == 0
        assert await bench.access(3) == ("ack", 1)
        assert [await bench.bus.read(FIRST), await bench.bus.read(LAST)] == [0, BLOCKS - 1]


@cocotb.test()
async def accesses_without_a_gap(dut: Any) -> None:
    """The strobe stays up from access to access: each is decided for itself, in the clock in which it begins."""
    bench = FenceBench(dut)
    await bench.start()
    await bench.window(10, 20)
    source = random.Random(cocotb.RANDOM_SEED)
    dut.engine_stb.value = 1
    for _ in range(200):
        block = source.choice((9, 10, 15, 20, 21, 511))
        dut.engine_adr.value = block
        bench.passed.clear()
        for _ in range(20):
            await RisingEdge(dut.clk)
            if dut.memory_ack.value == 1 or dut.engine_err.value == 1:
                break
        inside = 10 <= block <= 20
        assert bench.passed == [block] * inside and dut.engine_err.value == (not inside)
    dut.engine_stb.value = 0


@cocotb.test()
async def registers_keep_still(dut: Any) -> None:
    """What was written stands at each later clock; reset beats an access of the host."""
    bench = FenceBench(dut)
    await bench.start()
    for value in (0x1FF, 0, 0x155, 0xAA, 0xF0, 0x10F):
        await bench.window(value, value ^ 0x1FF)
        for clocks in (1, 2, 5):
            assert [await bench.bus.read(FIRST), await bench.bus.read(LAST)] == [value, value ^ 0x1FF]
            await ClockCycles(dut.clk, clocks)
        await bench.bus.write(FIRST, ~value & 0x1FF)
        assert await bench.bus.read(LAST) == value ^ 0x1FF, "a write of one leaves the other"
    dut.rst.value = 1
    dut.bus_stb.value = 1
    for clock in range(4):
        await RisingEdge(dut.clk)
        assert clock == 0 or dut.bus_ack.value == 0
    dut.bus_stb.value = 0
    dut.rst.value = 0


def test_address_fence() -> None:
    run_cocotb("address_fence", ["address_fence.sv"], __file__)
