"""core_registers: each register against the generated table, and the levels of the trigger pins."""

import os
import random
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import FallingEdge, RisingEdge

STREAMS = 3
BUILD = 0xB16B00B5

# What the module must hold, with the bits that a host may change.
WRITABLE = {
    registers.FPGA_SCRATCH: 0xFFFF_FFFF,
    registers.FPGA_PATTERN_CONTROL: 0x03,  # restart reads 0
    registers.FPGA_PATTERN_SEED: 0xFFFF_FFFF,
    registers.FPGA_TRIGGER_OUT: 0x01,
}
INPUTS = {
    registers.FPGA_FRAME_TICKS: "frame_ticks",
    registers.FPGA_PATTERN_FRAMES: "pattern_frames",
    registers.FPGA_PATTERN_ERRORS: "pattern_errors",
    registers.FPGA_PATTERN_FIRST_BAD: "pattern_first_bad",
}
CONSTANTS = {
    registers.FPGA_ID: registers.FPGA_ID_RESET,
    registers.FPGA_VERSION: 1 << 24,
    registers.FPGA_BUILD: BUILD,
    registers.FPGA_CAPS: 128 << 16 | 6 << 8 | STREAMS,
    registers.FPGA_FRAME_CLOCKS: 256,
}
RESET_VALUES = {register: 0 for register in WRITABLE} | {
    registers.FPGA_PATTERN_SEED: 1,
    registers.FPGA_CONVERTER_CONTROL: 0,
}

# Clocks a frame by rate code, from the names of the register table
CLOCKS = {int(rate): int(rate.name.removeprefix("CLOCKS_")) for rate in registers.ConverterRate}


class Bus:
    def __init__(self, dut: Any) -> None:
        self.dut = dut

    async def access(self, address: int, write: int | None = None) -> int:
        dut = self.dut
        dut.bus_stb.value = 1
        dut.bus_we.value = int(write is not None)
        dut.bus_adr.value = (address & 0xFF) >> 2
        dut.bus_wdata.value = write or 0
        for _ in range(8):
            await FallingEdge(dut.clk)
            if dut.bus_ack.value:
                break
        else:
            raise AssertionError("no ack within 8 clocks")
        value = int(dut.bus_rdata.value)
        await RisingEdge(dut.clk)
        dut.bus_stb.value = 0
        await FallingEdge(dut.clk)
        assert not dut.bus_ack.value, "ack lasts one clock"
        return value


async def start(dut: Any) -> Bus:
    start_clock(dut.clk)
    for name in ("bus_stb", "bus_we", "bus_adr", "bus_wdata", "trigger_in", *INPUTS.values()):
        getattr(dut, name).value = 0
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)
    return Bus(dut)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_values(dut: Any) -> None:
    """The values of the register table, also behind a reset in the middle of an access."""
    bus = await start(dut)
    for _ in range(2):
        for register, value in (RESET_VALUES | CONSTANTS).items():
            assert await bus.access(register) == value, hex(register)
        for register in WRITABLE:
            await bus.access(register, 0xFFFF_FFFF)
        dut.bus_stb.value = 1
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        dut.bus_stb.value = 0
        await reset(dut.clk, dut.rst)
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def writable(dut: Any) -> None:
    """Each takes its own bits and no others; writing one leaves the rest; read-only ones ignore writes."""
    bus = await start(dut)
    expected = dict(RESET_VALUES)
    for value in (0xFFFF_FFFF, 0xA5A5_A5A5, 0x5A5A_5A5A, 0, 0x1234_5678):
        for register, mask in WRITABLE.items():
            await bus.access(register, value)
            expected[register] = value & mask
            for other, other_value in (expected | CONSTANTS).items():
                assert await bus.access(other) == other_value, f"{other:08X} behind a write to {register:08X}"
    for register in (*CONSTANTS, *INPUTS, registers.FPGA_TRIGGER_IN):
        before = await bus.access(register)
        await bus.access(register, 0xFFFF_FFFF)
        assert await bus.access(register) == before


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def inputs_and_holes(dut: Any) -> None:
    bus = await start(dut)
    for index, (register, name) in enumerate(INPUTS.items()):
        getattr(dut, name).value = 0x8765_4320 + index
        await FallingEdge(dut.clk)
        assert await bus.access(register) == 0x8765_4320 + index, name
    known = {*WRITABLE, *INPUTS, *CONSTANTS, registers.FPGA_TRIGGER_IN, registers.FPGA_CONVERTER_CONTROL}
    for address in range(registers.FPGA_BASE, registers.FPGA_BASE + 0x100, 4):
        if address not in known:
            await bus.access(address, 0xFFFF_FFFF)
            assert await bus.access(address) == 0, hex(address)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def control_outputs(dut: Any) -> None:
    bus = await start(dut)
    await bus.access(registers.FPGA_CONVERTER_CONTROL, 0x21)
    assert (int(dut.converter_enable.value), int(dut.mute.value), int(dut.input_select.value)) == (1, 0, 2)
    await bus.access(registers.FPGA_CONVERTER_CONTROL, 0x12)
    assert (int(dut.converter_enable.value), int(dut.mute.value), int(dut.input_select.value)) == (0, 1, 1)
    pulses = 0

    async def count() -> None:
        nonlocal pulses
        while True:
            await FallingEdge(dut.clk)
            pulses += int(dut.pattern_restart.value)

    cocotb.start_soon(count())
    await bus.access(registers.FPGA_PATTERN_CONTROL, 0x3)
    assert (int(dut.pattern_kind.value), int(dut.pattern_check_enable.value), pulses) == (1, 1, 0)
    await bus.access(registers.FPGA_PATTERN_CONTROL, 0x4)
    await FallingEdge(dut.clk)
    assert (int(dut.pattern_kind.value), int(dut.pattern_check_enable.value), pulses) == (0, 0, 1)
    await bus.access(registers.FPGA_PATTERN_SEED, 0x1357_9BDF)
    assert int(dut.pattern_seed.value) == 0x1357_9BDF


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def converter_control(dut: Any) -> None:
    """Any value behind any other: format and rate change in stop only, and only to what exists; else `refused`."""
    bus = await start(dut)
    channels = int(os.environ.get("CONVERTER_CHANNELS", "2"))
    control, formats = registers.FPGA_CONVERTER_CONTROL, registers.ConverterFormat
    enabled, now = 0, (int(formats.I2S), 0)

    def exists(form: int, rate: int) -> bool:
        if form == formats.TDM:
            return channels > 2 and rate in CLOCKS and CLOCKS[rate] >= 256
        return form in list(formats) and rate in CLOCKS

    every = [(enable, form, rate) for enable in (0, 1) for form in range(4) for rate in range(8)]
    rng = random.Random(1)
    steps = [(1, *now)] + [
        step for wanted in every for step in ((0, *rng.choice(every)[1:]), wanted, rng.choice(every))
    ]
    refusals = starts = 0
    for enable, form, rate in steps:
        other = rng.getrandbits(32) & ~0x7301
        await bus.access(control, enable | form << 8 | rate << 12 | other)
        if enabled:
            refused = enable and (form, rate) != now
            enabled = enable
        else:
            refused = not exists(form, rate)
            enabled = int(enable and not refused)
            starts += enabled
            if not refused:
                now = form, rate
        refusals += bool(refused)
        assert await bus.access(control) == (other & 0x32) | enabled | now[0] << 8 | now[1] << 12 | bool(refused) << 16
        assert int(dut.converter_enable.value) == enabled and int(dut.converter_format.value) == now[0]
        assert await bus.access(registers.FPGA_FRAME_CLOCKS) == CLOCKS[now[1]] == int(dut.frame_clocks.value)
    assert refusals > 20 and starts > 20


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def trigger(dut: Any) -> None:
    """The registers show and set the levels, and each its own."""
    bus = await start(dut)
    for level in (1, 0):
        dut.trigger_in.value = level
        assert await bus.access(registers.FPGA_TRIGGER_IN) == level
        assert await bus.access(registers.FPGA_TRIGGER_OUT) == int(dut.trigger_out.value) == 0
    for level in (1, 0):
        await bus.access(registers.FPGA_TRIGGER_OUT, level)
        assert int(dut.trigger_out.value) == level
        assert await bus.access(registers.FPGA_TRIGGER_IN) == 0


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def at_random(dut: Any) -> None:
    """Every register and every output against a model, in each clock; noise on the bus and the inputs between accesses.

    An input is read as it was in the first clock of the access.
    """
    await start(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    model = dict(RESET_VALUES)
    registers_here = [*WRITABLE, *INPUTS, *CONSTANTS, registers.FPGA_TRIGGER_IN, registers.FPGA_CONVERTER_CONTROL]
    restart = 0

    async def clock() -> None:
        nonlocal restart
        await FallingEdge(dut.clk)
        control = model[registers.FPGA_PATTERN_CONTROL]
        assert (int(dut.pattern_kind.value), int(dut.pattern_check_enable.value)) == (control & 1, control >> 1)
        assert int(dut.pattern_seed.value) == model[registers.FPGA_PATTERN_SEED]
        assert int(dut.trigger_out.value) == model[registers.FPGA_TRIGGER_OUT]
        assert int(dut.pattern_restart.value) == restart
        assert int(dut.converter_enable.value) == 0 and int(dut.mute.value) == 0
        restart = 0

    for _ in range(1200):
        register = rng.choice(registers_here) if rng.random() < 0.9 else registers.FPGA_BASE + 4 * rng.randrange(64)
        value = None
        if register in WRITABLE and rng.random() < 0.4:
            value = rng.getrandbits(32)
        levels = {name: rng.getrandbits(32) for name in INPUTS.values()} | {"trigger_in": rng.getrandbits(1)}
        for name, level in levels.items():
            getattr(dut, name).value = level
        dut.bus_stb.value = 1
        dut.bus_we.value = int(value is not None)
        dut.bus_adr.value = (register & 0xFF) >> 2
        dut.bus_wdata.value = rng.getrandbits(32) if value is None else value
        if value is not None:
            model[register] = value & WRITABLE[register]
            restart = int(register == registers.FPGA_PATTERN_CONTROL) & value >> 2
        await clock()
        assert dut.bus_ack.value == 1, "in the clock behind the strobe"
        if value is None:
            expected = (CONSTANTS | model).get(register, 0)
            if register in INPUTS:
                expected = levels[INPUTS[register]]
            elif register == registers.FPGA_TRIGGER_IN:
                expected = levels["trigger_in"]
            assert int(dut.bus_rdata.value) == expected, hex(register)
        await RisingEdge(dut.clk)
        dut.bus_stb.value = 0
        dut.bus_we.value = 1
        for idle in range(rng.randrange(1, 5)):
            dut.bus_adr.value = rng.choice(registers_here) % 0x100 >> 2
            dut.bus_wdata.value = rng.getrandbits(32)
            for name in INPUTS.values():
                getattr(dut, name).value = rng.getrandbits(32)
            await clock()
            assert dut.bus_ack.value == 0
            assert idle == 0 or int(dut.bus_rdata.value) == 0, "silent between accesses"


def test_core_registers() -> None:
    run_cocotb("core_registers", ["core_registers.sv"], __file__, {"STREAMS": STREAMS, "BUILD": BUILD})


def test_more_channels() -> None:
    """A build that has TDM."""
    parameters = {"STREAMS": STREAMS, "BUILD": BUILD, "CHANNELS": 4}
    run_cocotb(
        "core_registers",
        ["core_registers.sv"],
        __file__,
        parameters,
        "core_registers-tdm",
        "converter_control",
        environment={"CONVERTER_CHANNELS": "4"},
    )
