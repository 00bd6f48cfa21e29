"""audio_memory: bytes go where they belong, and only there."""

import random
from typing import Any

import cocotb
from bench import run_cocotb, start_clock
from cocotb.triggers import RisingEdge

WORDS = 32768


@cocotb.test()
async def byte_writes_against_a_model(dut: Any) -> None:
    """Random accesses on few addresses at both ends and in the middle, idle cycles mixed in."""
    source = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut.clk)
    addresses = [0, 1, WORDS // 2 - 1, WORDS // 2, WORDS - 1, 0x2AAA, 0x5555]
    model: dict[int, int] = {}
    dut.stb.value = 1
    dut.we.value = 1
    dut.sel.value = 0xF
    for address in addresses:
        model[address] = source.getrandbits(32)
        dut.adr.value = address
        dut.wdata.value = model[address]
        await RisingEdge(dut.clk)
    expected = None
    for _ in range(3000):
        strobe, write = source.random() < 0.8, source.random() < 0.5
        address, select, data = source.choice(addresses), source.randrange(16), source.getrandbits(32)
        dut.stb.value = int(strobe)
        dut.we.value = int(write)
        dut.adr.value = address
        dut.sel.value = select
        dut.wdata.value = data
        await RisingEdge(dut.clk)
        if expected is not None:
            assert int(dut.rdata.value) == expected
        expected = model[address] if strobe and not write else None
        if strobe and write:
            mask = sum(0xFF << 8 * i for i in range(4) if select >> i & 1)
            model[address] = model[address] & ~mask | data & mask


@cocotb.test()
async def every_address(dut: Any) -> None:
    """Random words over all of the memory keep what they were given, in words and in single bytes."""
    source = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut.clk)
    dut.stb.value = 1
    dut.we.value = 1
    model = {address: 0 for address in source.sample(range(WORDS), 800)}
    for select in (0xF, 1, 2, 4, 8):
        mask = sum(0xFF << 8 * i for i in range(4) if select >> i & 1)
        for address in source.sample(sorted(model), len(model)):
            data = source.getrandbits(32)
            dut.adr.value, dut.sel.value, dut.wdata.value = address, select, data
            model[address] = model[address] & ~mask | data & mask
            await RisingEdge(dut.clk)
    dut.we.value = 0
    before = None
    for address in model:
        dut.adr.value, dut.sel.value = address, source.randrange(16)
        await RisingEdge(dut.clk)
        if before is not None:
            assert int(dut.rdata.value) == model[before], f"{before:#x}"
        before = address


def test_audio_memory() -> None:
    run_cocotb("audio_memory", ["audio_memory.sv"], __file__)
