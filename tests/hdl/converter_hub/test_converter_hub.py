"""converter_hub: what the engine wrote goes out at the next tick, what capture hears is latched at each tick."""

import random
from dataclasses import dataclass
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import FallingEdge

InputSelect = registers.InputSelect
MASK = 0xFFFFFF
Frame = tuple[int, int]


def packed(frame: Frame) -> int:
    return frame[0] << 24 | frame[1]


@dataclass
class Hub:
    """Plays engine, serializer and pattern source."""

    dut: Any

    async def start(self) -> None:
        dut = self.dut
        start_clock(dut.clk)
        for name in ("enable", "mute", "input_select", "frame_tick", "adc_frame", "pattern_frame", "dac_we"):
            getattr(dut, name).value = 0
        for name in ("dac_channel", "dac_sample", "adc_channel"):
            getattr(dut, name).value = 0
        await reset(dut.clk, dut.rst)
        await self.enable()

    async def enable(self) -> None:
        self.dut.enable.value = 0
        await FallingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)
        self.dut.enable.value = 1
        await FallingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)

    async def write(self, channel: int, sample: int) -> None:
        dut = self.dut
        dut.dac_we.value = 1
        dut.dac_channel.value = channel
        dut.dac_sample.value = sample
        await FallingEdge(dut.clk)
        dut.dac_we.value = 0
        dut.dac_sample.value = 0xFFFF_FFFF

    async def tick(self, adc: Frame = (0, 0), pattern: Frame = (0, 0)) -> None:
        """One tick with these inputs; behind it they change to something else."""
        dut = self.dut
        dut.adc_frame.value = packed(adc)
        dut.pattern_frame.value = packed(pattern)
        dut.frame_tick.value = 1
        await FallingEdge(dut.clk)
        dut.frame_tick.value = 0
        dut.adc_frame.value = packed((0x111111, 0x222222))
        dut.pattern_frame.value = packed((0x333333, 0x444444))
        await FallingEdge(dut.clk)

    def outgoing(self) -> Frame:
        value = int(self.dut.render_frame.value)
        return value >> 24, value & MASK

    async def heard(self) -> list[int]:
        """All 8 channels as the engine reads them."""
        samples = []
        for channel in range(8):
            self.dut.adc_channel.value = channel
            await FallingEdge(self.dut.clk)
            samples.append(int(self.dut.adc_sample.value))
        return samples


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def channels_not_written_are_silence(dut: Any) -> None:
    hub = Hub(dut)
    await hub.start()
    assert hub.outgoing() == (0, 0)
    await hub.write(0, 0x1234_5678)
    await hub.write(1, 0x9ABC_DEF0)
    assert hub.outgoing() == (0x123456, 0x9ABCDE)
    await hub.tick()
    assert hub.outgoing() == (0, 0)
    await hub.write(1, 0x8000_00FF)
    assert hub.outgoing() == (0, 0x800000)
    await hub.tick()
    await hub.write(0, 0x7FFF_FF00)
    await hub.write(0, 0x0000_0100)  # the last writer wins
    await hub.write(5, 0xFFFF_FFFF)  # no such channel at the converter
    assert hub.outgoing() == (1, 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def written_flag(dut: Any) -> None:
    """frame_written tells a frame of silence from no frame."""
    hub = Hub(dut)
    await hub.start()
    assert not dut.frame_written.value
    await hub.write(0, 0)
    assert dut.frame_written.value and int(dut.render_frame.value) == 0
    await hub.tick()
    assert not dut.frame_written.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def mute(dut: Any) -> None:
    """Mute silences the loopback; what is written stays for the checker, and the serializer mutes by itself."""
    hub = Hub(dut)
    await hub.start()
    dut.input_select.value = InputSelect.LOOPBACK
    for muted in (1, 0, 1):
        dut.mute.value = muted
        await hub.write(0, 0x1234_5600)
        await hub.write(1, 0x8888_8800)
        assert hub.outgoing() == (0x123456, 0x888888)
        await hub.tick()
        assert await hub.heard() == ([0, 0] if muted else [0x1234_5600, 0x8888_8800]) + [0] * 6
    # the other inputs are not muted
    dut.input_select.value = InputSelect.CONVERTER
    await hub.tick(adc=(5, 6))
    assert (await hub.heard())[:2] == [0x500, 0x600]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source=[InputSelect.CONVERTER, InputSelect.LOOPBACK, InputSelect.PATTERN])
async def inputs(dut: Any, source: int) -> None:
    """The chosen input of exactly that tick, kept until the next; channels above 1 read 0."""
    hub = Hub(dut)
    await hub.start()
    dut.input_select.value = source
    rng = random.Random(source)
    for _ in range(30):
        render, adc, pattern = [(rng.getrandbits(24), rng.getrandbits(24)) for _ in range(3)]
        await hub.write(0, render[0] << 8 | rng.getrandbits(8))
        await hub.write(1, render[1] << 8 | rng.getrandbits(8))
        await hub.tick(adc, pattern)
        chosen = {InputSelect.CONVERTER: adc, InputSelect.LOOPBACK: render, InputSelect.PATTERN: pattern}[source]
        # a change of input in the middle of a frame waits for the next tick
        dut.input_select.value = (source + 1) % 3
        assert await hub.heard() == [chosen[0] << 8, chosen[1] << 8, 0, 0, 0, 0, 0, 0]
        dut.input_select.value = source


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counts_ticks(dut: Any) -> None:
    """Ticks since enable rose; the count stays when it falls; nothing old is heard behind a new start."""
    hub = Hub(dut)
    await hub.start()
    assert int(dut.frame_ticks.value) == 0
    for count in range(1, 6):
        await hub.tick(adc=(7, 7))
        assert int(dut.frame_ticks.value) == count
    await hub.write(0, 0x7777_7700)
    dut.enable.value = 0
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert int(dut.frame_ticks.value) == 5
    await hub.enable()
    assert int(dut.frame_ticks.value) == 0
    assert hub.outgoing() == (0, 0)
    assert await hub.heard() == [0] * 8


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_flight(dut: Any) -> None:
    hub = Hub(dut)
    await hub.start()
    await hub.tick(adc=(1, 2))
    await hub.write(1, 0x5555_5500)
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)
    assert hub.outgoing() == (0, 0)
    assert int(dut.frame_ticks.value) == 0 and not dut.frame_written.value
    assert await hub.heard() == [0] * 8


def test_converter_hub() -> None:
    run_cocotb("converter_hub", ["converter_hub.sv"], __file__)
