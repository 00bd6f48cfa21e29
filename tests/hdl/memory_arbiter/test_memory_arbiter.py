"""memory_arbiter with the memory behind it: two masters at once, waits within their bounds, every byte right."""

import random
from pathlib import Path
from typing import Any

import cocotb
from bench import reset, run_cocotb, start_clock
from cocotb.triggers import RisingEdge

HOST_WAIT_CLOCKS = 1
ENGINE_WAIT_CLOCKS = 2


class Master:
    """One master that writes and reads its own words, with `idle` chance of a pause between accesses."""

    def __init__(self, dut: Any, name: str, words: range, idle: float, limit_clocks: int, seed: int) -> None:
        self.dut, self.name, self.words, self.idle, self.limit_clocks = dut, name, words, idle, limit_clocks
        self.random = random.Random(seed)
        self.model: dict[int, int] = {}
        self.accesses = 0
        self.longest_clocks = 0
        self.port("stb").value = 0

    def port(self, signal: str) -> Any:
        return getattr(self.dut, f"{self.name}_{signal}")

    async def access(self, address: int, write: bool, select: int = 0xF, data: int = 0) -> int:
        """One access, starting behind the edge at which it is called; returns behind the edge of its ack."""
        self.port("stb").value = 1
        self.port("we").value = int(write)
        self.port("adr").value = address
        self.port("sel").value = select
        self.port("wdata").value = data
        await RisingEdge(self.dut.clk)
        clocks = 0
        while True:
            await RisingEdge(self.dut.clk)
            clocks += 1
            if self.port("ack").value == 1:
                break
            assert clocks <= self.limit_clocks, f"{self.name} waits {clocks} clocks"
        self.longest_clocks = max(self.longest_clocks, clocks)
        self.accesses += 1
        value = int(self.port("rdata").value) if not write else 0
        self.port("stb").value = 0
        cocotb.start_soon(self._no_second_ack())
        return value

    async def _no_second_ack(self) -> None:
        """One access, one ack."""
        await RisingEdge(self.dut.clk)
        assert self.port("ack").value == 0, f"{self.name} is acknowledged twice"

    async def run(self, count: int) -> None:
        for address in self.words:
            self.model[address] = self.random.getrandbits(32)
            await self.access(address, True, 0xF, self.model[address])
        for _ in range(count):
            while self.random.random() < self.idle:
                await RisingEdge(self.dut.clk)
            address = self.random.choice(self.words)
            select, data = self.random.randrange(16), self.random.getrandbits(32)
            if self.random.random() < 0.5:
                await self.access(address, True, select, data)
                mask = sum(0xFF << 8 * i for i in range(4) if select >> i & 1)
                self.model[address] = self.model[address] & ~mask | data & mask
            else:
                assert await self.access(address, False) == self.model[address], f"{self.name} read {address:#x}"


@cocotb.test()
@cocotb.parametrize(host_idle=[0.0, 0.5, 0.95], engine_idle=[0.0, 0.5])
async def two_masters(dut: Any, host_idle: float, engine_idle: float) -> None:
    """Host priority, bounded waits for both, no word mixed up, from full load to little."""
    host = Master(dut, "host", range(100, 116), host_idle, HOST_WAIT_CLOCKS, 1)
    engine = Master(dut, "engine", range(116, 132), engine_idle, ENGINE_WAIT_CLOCKS, 2)
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    tasks = [cocotb.start_soon(master.run(400)) for master in (host, engine)]
    for task in tasks:
        await task
    assert host.longest_clocks == HOST_WAIT_CLOCKS
    if host_idle < 0.9 and engine_idle == 0.0:
        assert engine.longest_clocks == ENGINE_WAIT_CLOCKS, "the two never met"


async def memory_sees(dut: Any, address: int) -> None:
    """The next access at the memory port, within two clocks, has this address."""
    for _ in range(2):
        await RisingEdge(dut.clk)
        if dut.memory_stb.value == 1:
            assert int(dut.memory_adr.value) == address
            return
    raise AssertionError(f"no access to {address:#x}")


@cocotb.test()
async def every_address_bit(dut: Any) -> None:
    """Words that differ in one address bit are different words, for both masters and between them."""
    host = Master(dut, "host", range(0), 0.0, HOST_WAIT_CLOCKS, 1)
    engine = Master(dut, "engine", range(0), 0.0, ENGINE_WAIT_CLOCKS, 2)
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    addresses = [0, *(1 << bit for bit in range(15)), 0x7FFF]
    for writer, reader in ((host, engine), (engine, host)):
        for number, address in enumerate(addresses):
            cocotb.start_soon(memory_sees(dut, address))
            await writer.access(address, True, 0xF, 0x0101_0101 * number ^ 0x8000_0000 >> number)
        for number, address in enumerate(addresses):
            assert await reader.access(address, False) == 0x0101_0101 * number ^ 0x8000_0000 >> number
        for number, address in enumerate(addresses):
            assert await writer.access(address, False) == 0x0101_0101 * number ^ 0x8000_0000 >> number


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    """An access cut off by reset leaves no ack behind."""
    host = Master(dut, "host", range(0), 0.0, HOST_WAIT_CLOCKS, 1)
    engine = Master(dut, "engine", range(0), 0.0, ENGINE_WAIT_CLOCKS, 2)
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    for master in (host, engine):
        for signal in ("we", "adr", "sel", "wdata"):
            master.port(signal).value = 0
        master.port("stb").value = 1
    dut.rst.value = 1
    for clock in range(3):
        await RisingEdge(dut.clk)
        assert clock == 0 or (dut.host_ack.value == 0 and dut.engine_ack.value == 0), "reset beats the strobe"
        host.port("stb").value = 0
        engine.port("stb").value = 0
    dut.rst.value = 0
    for _ in range(5):
        await RisingEdge(dut.clk)
        assert dut.host_ack.value == 0 and dut.engine_ack.value == 0
    await host.access(5, True, 0xF, 0x1234_5678)
    assert await engine.access(5, False) == 0x1234_5678


def test_memory_arbiter() -> None:
    bench = Path(__file__).with_name("arbiter_bench.sv")
    run_cocotb("arbiter_bench", ["audio_memory.sv", "memory_arbiter.sv", bench], __file__, build_name="memory_arbiter")
