"""A suite that fails on the module as it is."""

from typing import Any

import cocotb
from cocotb.triggers import Timer


@cocotb.test()
async def wrong_from_the_start(dut: Any) -> None:
    await Timer(1, unit="ns")
    raise AssertionError("always")
