"""i2s_master against a converter written from the formats: every bit both ways, every edge, at every rate."""

import random
from typing import Any

import cocotb
import pytest
from bench import reset, run_cocotb, start_clock
from cocotb.triggers import FallingEdge
from serial_audio import BITS, MASK, RATES, AudioPins, ConverterFormat, Frame, Layout

# Bits next to each border, signs, and patterns that show a shifted or swapped bit
CORNERS = [0x800000, 0x000001, 0x7FFFFF, 0x800001, 0xFFFFFF, 0x000000, 0xAAAAAA, 0x555555, 0x123456, 0x89ABCD]


def channels_of(dut: Any) -> int:
    return len(dut.frame_out) // BITS


def packed(frame: Frame) -> int:
    value = 0
    for sample in frame:
        value = value << BITS | sample
    return value


def unpacked(value: int, channels: int) -> Frame:
    return tuple(value >> BITS * (channels - 1 - channel) & MASK for channel in range(channels))


def fitting(channels: int) -> list[Layout]:
    """Every format at every rate that a build with so many channels has."""
    formats = [ConverterFormat.I2S, ConverterFormat.LEFT_JUSTIFIED] + [ConverterFormat.TDM] * (channels > 2)
    layouts = [Layout(form, clocks, channels) for form in formats for clocks in RATES.values()]
    return [layout for layout in layouts if layout.format != ConverterFormat.TDM or layout.frame_clocks >= 256]


class Bench:
    """The module with a converter at its pins; looks at all ports at each clock."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.channels = channels_of(dut)
        self.random = random.Random(3)
        self.corners = 0

    async def start(self) -> None:
        dut = self.dut
        start_clock(dut.clk)
        for name in ("enable", "format", "mute", "frame_out", "i2s_adc_data"):
            getattr(dut, name).value = 0
        dut.frame_clocks.value = 2
        await reset(dut.clk, dut.rst)

    def draw(self) -> Frame:
        """Corner values first, each of them in each channel at some time."""
        self.corners += 1
        if self.corners % 3:
            return tuple(CORNERS[(self.corners + 3 * channel) % len(CORNERS)] for channel in range(self.channels))
        return tuple(self.random.getrandbits(BITS) for _ in range(self.channels))

    async def set(self, layout: Layout) -> None:
        """Stopped, with these settings, and a new converter at the pins."""
        dut = self.dut
        dut.enable.value = 0
        dut.format.value = int(layout.format)
        dut.frame_clocks.value = layout.frame_clocks >> 7
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        self.layout = layout
        self.pins = AudioPins(dut, layout, to_send=[self.draw() for _ in range(4)])
        self.clocks = 0
        self.ticks = 0
        # With one clock to the first edge, the pulse of the first frame stands already as enable rises.
        self.first_samples = int(layout.bit_clock[0] == 1)
        self.second_samples = 0
        dut.frame_out.value = packed(self.draw())

    async def run(self, frames: int, clocks: int = 0) -> None:
        """Runs from a start on for so many frames and clocks. Asserts all that can be known, at each clock."""
        dut, layout = self.dut, self.layout
        silence = (0,) * self.channels
        loaded = leaving = before = silence  # taken at the last tick, what became of it, the frame that left before
        dut.enable.value = 1
        for clock in range(1, frames * layout.frame_clocks + clocks + 1):
            await FallingEdge(dut.clk)  # in the middle of this clock; the inputs set here are those of the next edge
            self.pins.clock()
            if dut.first_sample.value:
                assert self.second_samples == self.first_samples
                self.first_samples += 1
                assert int(dut.sample.value) == loaded[0]
            if dut.second_sample.value:
                self.second_samples += 1
                assert self.second_samples == self.first_samples
                assert int(dut.sample.value) == loaded[1]
                if self.ticks >= 2:  # the pins are known from the second frame on
                    assert self.pins.heard[-1] == layout.carried(before)
            tick = clock % layout.frame_clocks == layout.frame_clocks - 1
            assert int(dut.frame_tick.value) == tick, f"tick at clock {clock}"
            if tick:
                self.ticks += 1
                if self.ticks >= 2:
                    assert unpacked(int(dut.serial_frame.value), self.channels) == self.pins.sent[-1]
                assert self.first_samples == self.second_samples == self.ticks
                loaded, muted = self.draw(), self.random.random() < 0.3
                dut.frame_out.value = packed(loaded)
                dut.mute.value = muted
                leaving, before = silence if muted else loaded, leaving
            elif clock % layout.frame_clocks == 0:
                stereo = loaded[:2] + silence[2:]
                taken = unpacked(int(dut.serial_frame.value), self.channels)
                assert taken == (loaded if layout.format == ConverterFormat.TDM else stereo)
                # what stands here now must not matter
                dut.frame_out.value = self.random.getrandbits(BITS * self.channels)
                dut.mute.value = self.random.getrandbits(1)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def every_format_at_every_rate(dut: Any) -> None:
    """Bit-exact out and in, in order, none lost, whole frames muted; clocks, edges and padding as the format says."""
    bench = Bench(dut)
    await bench.start()
    for layout in fitting(bench.channels):
        await bench.set(layout)
        frames = 16 if layout.frame_clocks == 256 else 6
        await bench.run(frames)
        assert len(bench.pins.heard) >= frames - 2 and len(bench.pins.sent) >= frames - 1
        assert bench.ticks == frames


@cocotb.test(timeout_time=100, timeout_unit="ms")
@cocotb.parametrize(by=["enable", "reset"])
async def stopped_in_flight(dut: Any, by: str) -> None:
    """Stopped at any clock of a frame: pins low at once, no tick; started again: a whole frame first, no old bits."""
    bench = Bench(dut)
    await bench.start()
    control, stop = (dut.enable, 0) if by == "enable" else (dut.rst, 1)
    layouts = [layout for layout in fitting(bench.channels) if layout.frame_clocks <= 256]
    for layout in layouts:
        for clocks in (1, 7, 130, layout.frame_clocks - 1, layout.frame_clocks, layout.frame_clocks + 2):
            await bench.set(layout)
            await bench.run(1, clocks)
            control.value = stop
            await FallingEdge(dut.clk)
            for _ in range(20):
                await FallingEdge(dut.clk)
                pins = (dut.i2s_bclk.value, dut.i2s_lrck.value, dut.i2s_dac_data.value, dut.frame_tick.value)
                assert not any(map(int, pins)), pins
            if by == "reset":
                dut.enable.value = 0
                dut.rst.value = 0
            await bench.set(layout)
            await bench.run(1)
            assert not bench.pins.heard or bench.pins.heard == [(0,) * bench.channels], "old bits"


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_i2s_master(channels: int) -> None:
    run_cocotb("i2s_master", ["i2s_master.sv"], __file__, parameters={"CHANNELS": channels})
