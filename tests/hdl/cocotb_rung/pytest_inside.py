"""The cocotb side of the rung: one cocotb test that runs one pytest test in a thread (see rung.py)."""

from typing import Any

import block_master
import cocotb
import rung
from cocotb.task import bridge
from codec_bench import CodecBench

from codecrig.link.cocotb import SpiFront, offer


@cocotb.test()
async def one_pytest_test(dut: Any) -> None:
    master = await block_master.start(dut)
    with offer(SpiFront(master), bench=CodecBench(dut.codec, dut.clk)):
        await bridge(rung.run_inside)()
