"""The pico-ice top: power-up without a reset pin, clocks for both converters; its pin file against its ports."""

import re
from pathlib import Path
from typing import Any

import cocotb
from bench import REPOSITORY, RTL, SpiMaster, registers, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer

TOP = REPOSITORY / "hdl" / "top" / "pico_ice.sv"
PINS = REPOSITORY / "boards" / "pico-ice" / "pico_ice.pcf"
MODELS = Path(__file__).with_name("ice40_models.sv")
BUILD = 0x0BADCAFE


async def power_up(dut: Any) -> SpiMaster:
    dut.trigger_in.value = 0
    dut.midi_rx.value = 1
    master = SpiMaster(dut.spi_sck, dut.spi_cs_n, dut.spi_mosi, dut.spi_miso, attention=dut.attention)
    start_clock(dut.clk)
    await ClockCycles(dut.clk, 600)  # reset counter, then the RAMs are cleared
    return master


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def answers_after_power_up(dut: Any) -> None:
    master = await power_up(dut)
    assert await master.read_word(registers.FPGA_ID) == registers.FPGA_ID_RESET
    assert await master.read_word(registers.FPGA_BUILD) == BUILD
    assert await master.read_word(registers.FPGA_CAPS) & 0xFF == 4


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def both_converters_get_clocks(dut: Any) -> None:
    """Master clock in phase with clk, one bit clock and one word clock on both rows of the Pmod."""
    master = await power_up(dut)
    await master.write_word(registers.FPGA_CONVERTER_CONTROL, 1)
    bclk_edges = 0
    before = 0
    for _ in range(512):
        await RisingEdge(dut.clk)
        await Timer(1, unit="ns")
        assert dut.dac_mclk.value == dut.adc_mclk.value == 1
        await FallingEdge(dut.clk)
        await Timer(1, unit="ns")
        assert dut.dac_mclk.value == dut.adc_mclk.value == 0
        assert dut.dac_sclk.value == dut.adc_sclk.value
        assert dut.dac_lrck.value == dut.adc_lrck.value
        bclk_edges += int(dut.dac_sclk.value) and not before
        before = int(dut.dac_sclk.value)
    assert bclk_edges == 128


def pin_file() -> list[tuple[str, str, bool]]:
    """(port, pin, options say no pull-up) of each set_io line."""
    lines = [line.split("#")[0].split() for line in PINS.read_text().splitlines()]
    return [(words[-2], words[-1], "-pullup no" in " ".join(words)) for words in lines if words]


def test_pin_file_matches_top() -> None:
    """Each port of the top has one pin of its own, and no line names anything else."""
    header = TOP.read_text().split(") (", 1)[1].split(");", 1)[0]
    ports = re.findall(r"^\s*(?:input|output|inout)\b[^/\n]*?(\w+),?$", header, re.MULTILINE)
    pins = pin_file()
    assert sorted(port for port, _, _ in pins) == sorted(ports)
    assert len({pin for _, pin, _ in pins}) == len(pins)


def test_adc_data_has_no_pullup() -> None:
    """The CS5343 reads its mode from that line at start-up."""
    assert [no_pullup for port, _, no_pullup in pin_file() if port == "adc_sdout"] == [True]


def test_pico_ice() -> None:
    rtl = sorted(path.name for path in RTL.glob("*.sv"))
    run_cocotb("pico_ice", [*rtl, MODELS, TOP], __file__, {"BUILD": BUILD})
