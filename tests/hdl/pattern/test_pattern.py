"""pattern against a model written from docs/registers.md: source, checker, errors with the right index."""

from collections.abc import Iterator
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge

NO_ERROR = 0xFFFF_FFFF
KINDS = [registers.PatternKind.RAMP, registers.PatternKind.LFSR]
Frame = tuple[int, int]


def pattern_frames(kind: int, seed: int = 1) -> Iterator[Frame]:
    """Frames without end, each (left, right) of 24 bits."""
    state, count = seed or 1, 0

    def sample() -> int:
        nonlocal state, count
        if kind == registers.PatternKind.RAMP:
            value = count & 0xFFFFFF
            count += 1
            return value
        value = state >> 8
        state = state >> 1 ^ (0x80200003 if state & 1 else 0)
        return value

    while True:
        left = sample()
        yield left, sample()


async def start(dut: Any, kind: int = 0, seed: int = 1) -> None:
    start_clock(dut.clk)
    for name in ("restart", "check_enable", "frame_tick", "source_chosen", "source_taken", "source_channel"):
        getattr(dut, name).value = 0
    for name in ("frame_written", "sample", "first_sample", "second_sample"):
        getattr(dut, name).value = 0
    dut.enable.value = 1
    dut.kind.value = kind
    dut.seed.value = seed
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)


async def pulse(dut: Any, signal: Any) -> None:
    signal.value = 1
    await FallingEdge(dut.clk)
    signal.value = 0


async def show(dut: Any, chosen: bool = True) -> None:
    """A tick at which the source is chosen, or not; it matters at no other time."""
    dut.source_chosen.value = int(chosen)
    await pulse(dut, dut.frame_tick)
    dut.source_chosen.value = int(not chosen)


async def shown(dut: Any) -> tuple[int, ...]:
    """What the source shows to capture, all 8 channels; leaves another than the first one selected."""
    samples = []
    for channel in range(8):
        dut.source_channel.value = channel
        await FallingEdge(dut.clk)
        samples.append(int(dut.source_sample.value))
    return tuple(samples)


async def expect(dut: Any, frame: Frame) -> None:
    assert await shown(dut) == frame + (0,) * 6


async def render(dut: Any, frame: Frame | None, upto: int = 2, kept: Frame | None = None) -> bool:
    """A frame leaves that the engine wrote, or (`None`) one that it did not write; True if the error pulse came.

    `upto`: how many of its samples do. `kept` is what else stands in the serializer, if the engine wrote nothing.
    """
    dut.frame_written.value = int(frame is not None)
    await pulse(dut, dut.frame_tick)
    dut.frame_written.value = int(frame is None)
    error = False
    for sample, strobe in list(zip(frame or kept or (0, 0), (dut.first_sample, dut.second_sample), strict=True))[:upto]:
        dut.sample.value = sample
        await pulse(dut, strobe)
        error |= bool(dut.error_pulse.value)
        dut.sample.value = 0x5A5A5A
        await FallingEdge(dut.clk)
        assert not dut.error_pulse.value
        await FallingEdge(dut.clk)
    return error


def counts(dut: Any) -> tuple[int, int, int]:
    return int(dut.frames.value), int(dut.errors.value), int(dut.first_bad.value)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS, seed=[0, 1, 0xDEADBEEF])
async def source(dut: Any, kind: int, seed: int) -> None:
    """Moves on at the tick behind a take and at no other time; several takers in one frame count once."""
    await start(dut, kind, seed)
    expected = pattern_frames(kind, seed)
    first = next(expected)
    assert await shown(dut) == (0,) * 8
    for _ in range(4):
        await show(dut)
        await expect(dut, first)
    for number, takers in enumerate((1, 2, 1, 3) * 10):
        for _ in range(takers):
            await expect(dut, first)
            await pulse(dut, dut.source_taken)
        await expect(dut, first)
        first = next(expected)
        await show(dut)
        for _ in range(number % 5):  # frames that nobody takes
            await show(dut)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def source_long(dut: Any) -> None:
    """The carry of the ramp and all bits of the LFSR's feedback."""
    for kind in KINDS:
        await start(dut, kind, 0x8000_0001)
        dut.source_taken.value = 1
        await show(dut)
        for number, frame in zip(range(600), pattern_frames(kind, 0x8000_0001), strict=False):
            if number % 37 == 0 or number > 590:
                dut.source_channel.value = 0
                await FallingEdge(dut.clk)
                left = int(dut.source_sample.value)
                dut.source_channel.value = 1
                await FallingEdge(dut.clk)
                assert (left, int(dut.source_sample.value)) == frame
            await show(dut)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def source_very_long(dut: Any) -> None:
    """A frame taken in every clock: 2^18 of them, and the ramp's index still is their number."""
    await start(dut)
    dut.source_taken.value = 1
    dut.source_chosen.value = 1
    dut.frame_tick.value = 1
    await FallingEdge(dut.clk)
    index = 0
    assert int(dut.source_sample.value) == 0
    for clocks in (1, 2, 3, 250, 65_000, 66_000, 131_000):
        await ClockCycles(dut.clk, clocks, FallingEdge)
        index += clocks
        assert int(dut.source_sample.value) == 2 * index


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def source_restart(dut: Any) -> None:
    """Frame 0 from the next tick on, even if the frame from before is taken; takes of another input do not count."""
    await start(dut)
    await show(dut)
    await pulse(dut, dut.source_taken)
    await show(dut)
    await expect(dut, (2, 3))
    await pulse(dut, dut.restart)
    await expect(dut, (2, 3))  # a reader in the middle of the frame gets the rest of it
    await pulse(dut, dut.source_taken)
    await show(dut)
    await expect(dut, (0, 1))
    await pulse(dut, dut.source_taken)
    await show(dut, chosen=False)
    assert await shown(dut) == (0,) * 8
    await pulse(dut, dut.source_taken)  # of another input
    await show(dut)
    await expect(dut, (2, 3))
    dut.enable.value = 0
    await FallingEdge(dut.clk)
    assert await shown(dut) == (0,) * 8
    await pulse(dut, dut.source_taken)
    dut.enable.value = 1
    await show(dut)
    await expect(dut, (2, 3))
    await pulse(dut, dut.source_taken)  # and the converter stops before it moves
    dut.enable.value = 0
    await FallingEdge(dut.clk)
    dut.enable.value = 1
    await show(dut)
    await expect(dut, (4, 5))
    dut.source_taken.value = 1  # in the clock of the tick
    await show(dut)
    dut.source_taken.value = 0
    await expect(dut, (6, 7))
    dut.kind.value = registers.PatternKind.LFSR
    dut.seed.value = 0x1234_5678
    await pulse(dut, dut.restart)
    await show(dut)
    await expect(dut, next(pattern_frames(registers.PatternKind.LFSR, 0x1234_5678)))


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def good_frames(dut: Any, kind: int) -> None:
    """Silence before, gaps between: nothing wrong, every frame counted."""
    await start(dut, kind, 77)
    dut.check_enable.value = 1
    for _ in range(5):
        assert not await render(dut, (0, 0))
        assert not await render(dut, None)
        assert not await render(dut, None, kept=(5, 6))
    expected = pattern_frames(kind, 77)
    for index in range(150):
        assert not await render(dut, next(expected))
        if index % 7 == 0:
            assert not await render(dut, None)
            assert not await render(dut, None, kept=(0x123456, 0x654321))
    assert counts(dut) == (150, 0, NO_ERROR)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS, at=[0, 1, 30])
async def one_wrong_frame(dut: Any, kind: int, at: int) -> None:
    """Any single wrong bit is found: index of the first, count, one pulse, and the frames behind it are good again."""
    await start(dut, kind, 5)
    dut.check_enable.value = 1
    for bit in range(48) if at == 1 else (0, 1, 23, 24, 47):
        await pulse(dut, dut.restart)
        pulses = []
        count = 3 if at == 1 else 36
        for index, (left, right) in zip(range(count), pattern_frames(kind, 5), strict=False):
            value = (left << 24 | right) ^ (1 << bit if index in (at, at + 5) else 0)
            if index == 0 and value == 0:
                value = 1 << 47  # all zero would be silence before the start
            if await render(dut, (value >> 24, value & 0xFFFFFF)):
                pulses.append(index)
        assert counts(dut) == (count, 1 + (at + 5 < count), at), f"bit {bit}"
        assert pulses == [at]


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(fault=["lost", "twice", "swapped", "silence"])
async def wrong_order(dut: Any, fault: str) -> None:
    """A frame lost, sent twice, with its channels swapped or silenced: the index is that of the fault."""
    await start(dut)
    dut.check_enable.value = 1
    frames = [frame for frame, _ in zip(pattern_frames(0), range(40), strict=False)]
    if fault == "lost":
        frames.pop(20)
    elif fault == "twice":
        frames.insert(20, frames[19])
    elif fault == "swapped":
        frames[20] = frames[20][::-1]
    else:
        frames[20] = (0, 0)
    pulses = [index for index, frame in enumerate(frames) if await render(dut, frame)]
    assert pulses == [20]
    seen, errors, first_bad = counts(dut)
    assert (seen, first_bad) == (len(frames), 20)
    assert errors == (len(frames) - 20 if fault in ("lost", "twice") else 1)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def stopped_in_a_frame(dut: Any, kind: int) -> None:
    """A frame that the end of the converter cuts off is judged by what left of it; the next start goes on behind it."""
    await start(dut, kind, 9)
    dut.check_enable.value = 1
    expected = pattern_frames(kind, 9)

    async def stop() -> None:
        dut.enable.value = 0
        dut.sample.value = 0  # as the serializer shows while it stands
        for _ in range(3):
            await FallingEdge(dut.clk)
            pulses.append(int(dut.error_pulse.value))
        dut.enable.value = 1
        await FallingEdge(dut.clk)

    pulses: list[int] = []
    await render(dut, (0, 0), upto=1)  # silence before the start stays silence
    await stop()
    assert counts(dut) == (0, 0, NO_ERROR)
    assert not await render(dut, next(expected))
    await render(dut, next(expected), upto=1)
    await stop()
    assert counts(dut) == (2, 0, NO_ERROR)
    await render(dut, None, upto=0)
    await stop()
    assert not await render(dut, next(expected))
    assert counts(dut) == (3, 0, NO_ERROR)
    left, right = next(expected)
    await render(dut, (left ^ 4, right), upto=1)
    assert sum(pulses) == 0
    await stop()
    assert counts(dut) == (4, 1, 3) and sum(pulses) == 1
    # a frame written before the end, but not begun, is gone
    dut.frame_written.value = 1
    await pulse(dut, dut.frame_tick)
    await stop()
    await pulse(dut, dut.first_sample)
    await pulse(dut, dut.second_sample)
    assert counts(dut) == (4, 1, 3)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def restart_and_switch(dut: Any) -> None:
    """Without check_enable nothing counts; restart clears counts and the first error; reset in flight does too."""
    await start(dut)
    await render(dut, (9, 9))
    assert counts(dut) == (0, 0, NO_ERROR)
    dut.check_enable.value = 1
    assert await render(dut, (9, 9))
    assert counts(dut) == (1, 1, 0)
    await pulse(dut, dut.restart)
    assert counts(dut) == (0, 0, NO_ERROR)
    assert not await render(dut, (0, 1))
    assert counts(dut) == (1, 0, NO_ERROR)
    assert await render(dut, (0, 1))
    assert counts(dut) == (2, 1, 1)
    # between the two samples of a frame: what is left of it counts no more
    await render(dut, (4, 5), upto=1)
    await pulse(dut, dut.restart)
    dut.sample.value = 5
    await pulse(dut, dut.second_sample)
    assert counts(dut) == (0, 0, NO_ERROR)
    # switched off between them: the frame still counts
    await render(dut, (0, 1), upto=1)
    dut.check_enable.value = 0
    dut.sample.value = 1
    await pulse(dut, dut.second_sample)
    assert counts(dut) == (1, 0, NO_ERROR)
    dut.check_enable.value = 1
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)
    assert counts(dut) == (0, 0, NO_ERROR)
    assert not await render(dut, (0, 1))


def test_pattern() -> None:
    run_cocotb("pattern", ["pattern.sv"], __file__)
