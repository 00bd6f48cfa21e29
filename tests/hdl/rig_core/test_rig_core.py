"""rig_core from its pins: SPI on one side, I2S on the other."""

from typing import Any

import cocotb
import pytest
from bench import (
    RTL,
    SpiMaster,
    random_bytes,
    read_request,
    registers,
    reset,
    run_cocotb,
    start_clock,
)
from cocotb.triggers import ClockCycles

STREAMS = 2
BUILD = 0x1234ABCD
Status = registers.Status


async def start(dut: Any, **spi: Any) -> SpiMaster:
    start_clock(dut.clk)
    dut.i2s_adc_data.value = 0
    dut.trigger_in.value = 0
    master = SpiMaster(dut.spi_sck, dut.spi_cs_n, dut.spi_mosi, dut.spi_miso, attention=dut.attention, **spi)
    await reset(dut.clk, dut.rst)
    await ClockCycles(dut.clk, 32 * STREAMS + 16)
    return master


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def worked_example(dut: Any) -> None:
    """The bytes that docs/wire.md gives as an example."""
    spi = await start(dut)
    request = bytes.fromhex("A5 21 07 00  00 00 00 40  08 00 00  34")
    reply = bytes.fromhex("A5 A1 07 00  00 00 00 40  08 00 00  B4   47 49 52 43  00 00 00 01")
    assert read_request(registers.FPGA_ID, 8, 7) == request
    assert await spi.exchange_raw(request) == reply


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def identity(dut: Any) -> None:
    spi = await start(dut)
    raw = await spi.read(registers.FPGA_ID, 16)
    words = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 16, 4)]
    assert words == [0x43524947, 0x01000000, BUILD, 128 << 16 | 6 << 8 | STREAMS]
    await spi.write_word(registers.FPGA_SCRATCH, 0xCAFE_F00D)
    assert await spi.read_word(registers.FPGA_SCRATCH) == 0xCAFE_F00D


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def audio_memory_at_full_speed(dut: Any) -> None:
    """4096 bytes at an odd address, both ways, at 15.36 MHz without a pause."""
    spi = await start(dut)
    data = random_bytes(4096, 7)
    await spi.write(0x1F001 - 0x2000, data)
    assert await spi.read(0x1F001 - 0x2000, 4096) == data


@pytest.mark.xdist_group("hdl")
def test_rig_core() -> None:
    run_cocotb(
        "rig_core", sorted(path.name for path in RTL.glob("*.sv")), __file__, {"STREAMS": STREAMS, "BUILD": BUILD}
    )
