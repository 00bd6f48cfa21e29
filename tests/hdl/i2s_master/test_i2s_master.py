"""i2s_master against a codec written from the Philips format: every bit both ways, every edge."""

import random
from typing import Any

import cocotb
from bench import reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from codec import MASK, Codec, Frame, check_edges

FRAME_CLOCKS = 256
# Bits next to each border, signs, and patterns that show a shifted or swapped bit
CORNERS: list[Frame] = [
    (0x800000, 0x000001),
    (0x000001, 0x800000),
    (0x7FFFFF, 0x800000),
    (0xFFFFFF, 0x000000),
    (0x000000, 0xFFFFFF),
    (0xAAAAAA, 0x555555),
    (0x123456, 0x89ABCD),
]


def random_frames(count: int, seed: int) -> list[Frame]:
    rng = random.Random(seed)
    return [(rng.getrandbits(24), rng.getrandbits(24)) for _ in range(count)]


async def start(dut: Any) -> Codec:
    start_clock(dut.clk)
    dut.enable.value = 0
    dut.frame_out.value = 0
    dut.mute.value = 0
    codec = Codec(dut)
    codec.start()
    await reset(dut.clk, dut.rst)
    return codec


class Inside:
    """Offers one frame after another at the inner port and collects what came in, at each tick."""

    def __init__(self, dut: Any, frames: list[Frame]) -> None:
        self.dut, self.frames = dut, list(frames)
        self.offered: list[Frame] = []
        self.received: list[Frame] = []
        self.tick_spacing: list[int] = []
        self.task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self.dut
        clocks = 0
        while True:
            await FallingEdge(dut.clk)
            clocks += 1
            if dut.frame_tick.value:
                self.tick_spacing.append(clocks)
                clocks = 0
                value = int(dut.frame_in.value)
                self.received.append((value >> 24, value & MASK))
                frame = self.frames.pop(0) if self.frames else (0, 0)
                self.offered.append(frame)
                dut.frame_out.value = frame[0] << 24 | frame[1]
                await FallingEdge(dut.clk)
                clocks += 1
                # taken: what stands here now must not matter
                dut.frame_out.value = 0x5A5A_5A5A_5A5A


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def both_ways(dut: Any) -> None:
    """Bit-exact out and in, in order, none lost: corner values and random ones."""
    codec = await start(dut)
    outward, inward = CORNERS + random_frames(20, 1), CORNERS[::-1] + random_frames(20, 2)
    codec.to_send = list(inward)
    inside = Inside(dut, outward)
    dut.enable.value = 1
    await ClockCycles(dut.clk, FRAME_CLOCKS * (len(outward) + 3))
    # the codec hears whole frames from its second one on; the frame offered at tick k is heard behind tick k + 1
    first = codec.heard.index(outward[0])
    assert codec.heard[first : first + len(outward)] == outward
    assert all(frame == (0, 0) for frame in codec.heard[:first])
    first = inside.received.index(inward[0])
    assert inside.received[first : first + len(inward)] == inward
    assert set(inside.tick_spacing[1:]) == {FRAME_CLOCKS}


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def edges(dut: Any) -> None:
    await start(dut)
    Inside(dut, random_frames(20, 3))
    dut.enable.value = 1
    await ClockCycles(dut.clk, 10)
    assert await check_edges(dut, 12 * FRAME_CLOCKS) == 12


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def one_frame_late(dut: Any) -> None:
    """A frame taken at one tick has left whole when the next comes; one sent between is there at the second."""
    codec = await start(dut)
    inside = Inside(dut, CORNERS)
    codec.to_send = list(CORNERS)
    dut.enable.value = 1
    for _ in range(len(CORNERS) + 2):
        await RisingEdge(dut.frame_tick)
        await FallingEdge(dut.clk)
        # all data bits of this frame have passed, in both directions: the codec's slot ends with the padding
        if codec.sent:
            value = int(dut.frame_in.value)
            assert (value >> 24, value & MASK) == codec.sent[-1]
    assert inside.offered[: len(CORNERS)] == CORNERS


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def mute(dut: Any) -> None:
    """Whole frames are muted, whenever the line moves; the way in is not touched."""
    codec = await start(dut)
    inside = Inside(dut, [(0xFFFFFF, 0xFFFFFF)] * 40)
    codec.idle_frame = (0xABCDEF, 0x123456)
    dut.enable.value = 1
    for clocks in (700, 300, 111, 900, 513):
        dut.mute.value = 1 - int(dut.mute.value)
        await ClockCycles(dut.clk, clocks)
    await ClockCycles(dut.clk, 3 * FRAME_CLOCKS)
    assert set(codec.heard) == {(0, 0), (0xFFFFFF, 0xFFFFFF)}, "a frame was muted in part"
    assert codec.heard.count((0, 0)) > 3
    assert set(inside.received[3:]) == {codec.idle_frame}


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(by=["enable", "reset"])
async def stopped_in_flight(dut: Any, by: str) -> None:
    """Stopped at any clock of a frame: pins low at once, no tick; started again: a whole frame first, no old bits."""
    (await start(dut)).stop()  # it would complain about the broken frames
    control, stop = (dut.enable, 0) if by == "enable" else (dut.rst, 1)
    dut.enable.value = 1
    for clocks in (1, 7, 130, 255, 256, 300, 511):
        dut.frame_out.value = 0xFFFF_FFFF_FFFF
        await ClockCycles(dut.clk, FRAME_CLOCKS + clocks)
        control.value = stop
        await ClockCycles(dut.clk, 2)
        for _ in range(FRAME_CLOCKS + 10):
            await FallingEdge(dut.clk)
            pins = (dut.i2s_bclk.value, dut.i2s_lrck.value, dut.i2s_dac_data.value, dut.frame_tick.value)
            assert not any(map(int, pins)), pins
        dut.frame_out.value = 0
        control.value = 1 - stop
        for clock in range(1, FRAME_CLOCKS + 1):
            await FallingEdge(dut.clk)
            assert not dut.i2s_dac_data.value, "old bits"
            # the pulse stands in the last clock of the frame, before its 256th edge
            assert int(dut.frame_tick.value) == (clock == FRAME_CLOCKS - 1), f"tick at clock {clock}"


def test_i2s_master() -> None:
    run_cocotb("i2s_master", ["i2s_master.sv"], __file__)
