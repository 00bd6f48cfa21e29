"""Looks at every output in every clock."""

import random
from typing import Any

import cocotb
from bench import reset, start_clock
from cocotb.triggers import RisingEdge


@cocotb.test()
async def against_a_model(dut: Any) -> None:
    source = random.Random(1)
    dut.enable.value = 0
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    count = 0
    enable, clear = 0, 0
    for clock in range(400):
        await RisingEdge(dut.clk)
        assert int(dut.count.value) == count and int(dut.full.value) == (count == 20)
        count = 0 if clear else min(20, count + enable)
        enable, clear = int(source.random() < 0.7), int(clock % 50 == 49)
        dut.enable.value, dut.rst.value = enable, clear
