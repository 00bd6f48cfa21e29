"""converter_hub: what the engine wrote goes out at the next tick, mixed; what capture hears is latched at each tick."""

import random
from dataclasses import dataclass
from typing import Any

import cocotb
import pytest
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge

InputSelect = registers.InputSelect
MASK = 0xFFFFFF
HIGHEST, LOWEST = 0x7FFFFF, 0x800000
Frame = tuple[int, ...]


def signed(sample: int) -> int:
    return sample - (1 << 24) if sample & 0x800000 else sample


def clipped_sum(first: int, second: int) -> int:
    """Of two 24-bit samples."""
    return min(max(signed(first) + signed(second), -(1 << 23)), (1 << 23) - 1) & MASK


@dataclass
class Hub:
    """Plays engine, serializer and pattern source."""

    dut: Any

    def __post_init__(self) -> None:
        self.channels = len(self.dut.serial_frame) // 24
        self.random = random.Random(1)

    def packed(self, frame: Frame) -> int:
        value = 0
        for sample in frame:
            value = value << 24 | sample
        return value

    def draw(self) -> Frame:
        return tuple(self.random.getrandbits(24) for _ in range(self.channels))

    def silence(self) -> Frame:
        return (0,) * self.channels

    async def start(self) -> None:
        dut = self.dut
        start_clock(dut.clk)
        for name in ("enable", "mute", "mute_loopback", "input_select", "frame_tick", "serial_frame", "source_sample"):
            getattr(dut, name).value = 0
        for name in ("dac_we", "dac_channel", "dac_sample", "adc_channel"):
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
        """One 24-bit sample; the low bits are noise."""
        dut = self.dut
        dut.dac_we.value = 1
        dut.dac_channel.value = channel
        dut.dac_sample.value = sample << 8 | self.random.getrandbits(8)
        await FallingEdge(dut.clk)
        dut.dac_we.value = 0
        dut.dac_sample.value = self.random.getrandbits(32)
        dut.dac_channel.value = self.random.getrandbits(3)

    async def clocks(self, count: int) -> None:
        for _ in range(count):
            await FallingEdge(self.dut.clk)

    async def write_frame(self, frame: Frame) -> None:
        """As the engine does: one channel a clock, as many as the stream has, then nothing for a while."""
        for channel, sample in enumerate(frame):
            await self.write(channel, sample)
        await self.clocks(self.channels)

    def played(self, *frames: Frame) -> Frame:
        """What goes out of frames of streams of any width."""
        mixed = [0] * self.channels
        for frame in frames:
            for channel, sample in enumerate(frame[: self.channels]):
                mixed[channel] = clipped_sum(mixed[channel], sample)
        return tuple(mixed)

    async def tick(self, adc: Frame | None = None) -> None:
        """One tick; the serializer shows what came in with it, what goes out behind it, then something else."""
        dut = self.dut
        dut.serial_frame.value = self.packed(adc or self.draw())
        dut.frame_tick.value = 1
        leaves = self.outgoing()
        await FallingEdge(dut.clk)
        dut.frame_tick.value = 0
        dut.serial_frame.value = self.packed(leaves)
        await FallingEdge(dut.clk)
        dut.serial_frame.value = self.packed(self.draw())
        await FallingEdge(dut.clk)

    def outgoing(self) -> Frame:
        value = int(self.dut.render_frame.value)
        return tuple(value >> 24 * (self.channels - 1 - channel) & MASK for channel in range(self.channels))

    async def heard(self) -> Frame:
        """All 8 channels as the engine reads them, without the low bits; asserts that these are 0."""
        samples = []
        for channel in range(8):
            self.dut.adc_channel.value = channel
            await FallingEdge(self.dut.clk)
            value = int(self.dut.adc_sample.value)
            assert value & 0xFF == 0
            samples.append(value >> 8)
        return tuple(samples)

    def wide(self, frame: Frame) -> Frame:
        """As `heard` gives it."""
        return frame + (0,) * (8 - self.channels)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def streams_of_any_width(dut: Any) -> None:
    """Channels not written are silence; what a converter has not is dropped; no frame is left in the next."""
    hub = Hub(dut)
    await hub.start()
    assert hub.outgoing() == hub.silence()
    for width in (*range(2, 9), *(hub.random.randrange(2, 9) for _ in range(60))):
        frames = []
        for other in (width, hub.random.randrange(2, 9))[: hub.random.randrange(1, 3)]:
            frames.append(tuple(hub.random.getrandbits(24) for _ in range(other)))
            await hub.write_frame(frames[-1])
            assert hub.outgoing() == hub.played(*frames)
        await hub.tick()
        assert hub.outgoing() == hub.silence() and not dut.frame_written.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def written_flag(dut: Any) -> None:
    """frame_written tells a frame of silence from no frame."""
    hub = Hub(dut)
    await hub.start()
    assert not dut.frame_written.value
    await hub.write_frame((0, 0))
    assert dut.frame_written.value and int(dut.render_frame.value) == 0
    await hub.tick()
    assert not dut.frame_written.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def tick_between_two_channels(dut: Any) -> None:
    """A frame that comes too late is torn; the one behind it is whole and in place."""
    hub = Hub(dut)
    await hub.start()
    for split in range(hub.channels):
        for channel, sample in enumerate(hub.draw()):
            if channel == split:
                dut.frame_tick.value = 1
            await hub.write(channel, sample)
            dut.frame_tick.value = 0
        await hub.clocks(hub.channels)
        await hub.tick()
        frame = hub.draw()
        await hub.write_frame(frame)
        assert hub.outgoing() == frame
        await hub.tick()
    if hub.channels == 2:  # any pause between the two
        frame = hub.draw()
        await hub.write(0, frame[0])
        await hub.clocks(9)
        await hub.write(1, frame[1])
        assert hub.outgoing() == frame


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def mix(dut: Any) -> None:
    """Streams add up, clipped at 24 bits after each; the low 8 bits of a sample take no part."""
    hub = Hub(dut)
    await hub.start()
    corners = [0, 1, MASK, HIGHEST, LOWEST, HIGHEST - 1, LOWEST + 1, 0x400000, 0xC00000, 0x555555, 0xAAAAAA]
    pairs = [(first, second) for first in corners for second in corners]
    for number in range(0, len(pairs), hub.channels):
        first, second = (
            tuple(pairs[(number + channel) % len(pairs)][side] for channel in range(hub.channels)) for side in (0, 1)
        )
        await hub.write_frame(first)
        await hub.write_frame(second)
        expected = tuple(map(clipped_sum, first, second))
        assert hub.outgoing() == expected
        await hub.tick()
    for _ in range(40):
        frames = [hub.draw() for _ in range(hub.random.randrange(1, 5))]
        for frame in frames:
            await hub.write_frame(frame)
        assert hub.outgoing() == hub.played(*frames)
        await hub.tick()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def mutes(dut: Any) -> None:
    """Either mute silences the loopback; what is written stays, and the other inputs are not muted."""
    hub = Hub(dut)
    await hub.start()
    for muted in (1, 2, 0, 3, 0, 1):
        dut.mute.value = muted & 1
        dut.mute_loopback.value = muted >> 1
        frame = hub.draw()
        dut.input_select.value = InputSelect.LOOPBACK
        await hub.write_frame(frame)
        assert hub.outgoing() == frame
        await hub.tick()
        assert await hub.heard() == hub.wide(hub.silence() if muted else frame)
        dut.input_select.value = InputSelect.CONVERTER
        await hub.tick(frame)
        assert await hub.heard() == hub.wide(frame)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source=[InputSelect.CONVERTER, InputSelect.LOOPBACK, InputSelect.PATTERN, 3])
async def inputs(dut: Any, source: int) -> None:
    """The chosen input of exactly that tick, kept until the next; the pattern comes sample by sample."""
    hub = Hub(dut)
    await hub.start()
    for _ in range(20):
        dut.input_select.value = source
        render, adc = hub.draw(), hub.draw()
        await hub.write_frame(render)
        await hub.tick(adc)
        # a change of input in the middle of a frame waits for the next tick
        dut.input_select.value = hub.random.randrange(4)
        if source == InputSelect.PATTERN:
            sample = hub.random.getrandbits(24)
            dut.source_sample.value = sample
            assert await hub.heard() == (sample,) * 8
            dut.source_sample.value = 0
            assert await hub.heard() == (0,) * 8
        else:
            await hub.write_frame(hub.draw())
            assert await hub.heard() == hub.wide(render if source == InputSelect.LOOPBACK else adc)
            await hub.tick()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counts_ticks(dut: Any) -> None:
    """Ticks since enable rose; the count stays when it falls; nothing old is heard behind a new start."""
    hub = Hub(dut)
    await hub.start()
    assert int(dut.frame_ticks.value) == 0
    for count in range(1, 6):
        await hub.tick((7,) * hub.channels)
        assert int(dut.frame_ticks.value) == count
    await hub.write_frame((0x777777,) * hub.channels)
    dut.enable.value = 0
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert int(dut.frame_ticks.value) == 5
    await hub.enable()
    assert int(dut.frame_ticks.value) == 0
    assert hub.outgoing() == hub.silence() and not dut.frame_written.value
    assert await hub.heard() == (0,) * 8


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def counts_many_ticks(dut: Any) -> None:
    """A tick in each clock, and clocks without: the low 17 bits of the count."""
    hub = Hub(dut)
    await hub.start()
    count = 0
    for ticks in (1, 3, 60, 64, 999, 9000, 70_000):
        dut.frame_tick.value = 1
        await ClockCycles(dut.clk, ticks, FallingEdge)
        dut.frame_tick.value = 0
        count += ticks
        for _ in range(3):
            await FallingEdge(dut.clk)
            assert int(dut.frame_ticks.value) == count


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_flight(dut: Any) -> None:
    hub = Hub(dut)
    await hub.start()
    await hub.tick(hub.draw())
    await hub.write_frame(hub.draw())
    await hub.write(0, 0x555555)
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)
    assert hub.outgoing() == hub.silence()
    assert int(dut.frame_ticks.value) == 0 and not dut.frame_written.value
    assert await hub.heard() == (0,) * 8
    frame = hub.draw()
    await hub.write_frame(frame)
    assert hub.outgoing() == frame


@pytest.mark.parametrize("channels", [2, 8])
def test_converter_hub(channels: int) -> None:
    run_cocotb("converter_hub", ["converter_hub.sv"], __file__, parameters={"CHANNELS": channels})
