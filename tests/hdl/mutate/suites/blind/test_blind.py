"""Waits for `full` without looking at the count, and without a limit."""

from typing import Any

import cocotb
from bench import reset, start_clock
from cocotb.triggers import RisingEdge


@cocotb.test()
async def full_comes_at_last(dut: Any) -> None:
    dut.enable.value = 1
    start_clock(dut.clk)
    await reset(dut.clk, dut.rst)
    assert dut.full.value == 0
    await RisingEdge(dut.full)
