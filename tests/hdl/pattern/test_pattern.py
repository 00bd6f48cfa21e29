"""pattern against a model written from docs/registers.md: source, checker, errors with the right index."""

from collections.abc import Iterator
from typing import Any

import cocotb
from bench import registers, reset, run_cocotb, start_clock
from cocotb.triggers import ClockCycles, FallingEdge

NO_ERROR = 0xFFFF_FFFF
KINDS = [registers.PatternKind.RAMP, registers.PatternKind.LFSR]


def pattern_frames(kind: int, seed: int = 1) -> Iterator[tuple[int, int]]:
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
    for name in ("restart", "check_enable", "frame_tick", "source_shown", "source_taken", "frame_written"):
        getattr(dut, name).value = 0
    dut.kind.value = kind
    dut.seed.value = seed
    dut.render_frame.value = 0
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)


async def pulse(dut: Any, signal: Any) -> None:
    signal.value = 1
    await FallingEdge(dut.clk)
    signal.value = 0


async def latch(dut: Any) -> tuple[int, int]:
    """A tick at which the hub latches the source's frame."""
    value = int(dut.source_frame.value)
    dut.source_shown.value = 1
    await pulse(dut, dut.frame_tick)
    return value >> 24, value & 0xFFFFFF


async def render(dut: Any, frame: tuple[int, int] | None) -> bool:
    """A tick with a frame that the engine wrote, or none; True if the error pulse followed."""
    dut.frame_written.value = int(frame is not None)
    dut.render_frame.value = 0 if frame is None else frame[0] << 24 | frame[1]
    await pulse(dut, dut.frame_tick)
    dut.frame_written.value = 0
    error = bool(dut.error_pulse.value)
    await FallingEdge(dut.clk)
    assert not dut.error_pulse.value
    return error


def counts(dut: Any) -> tuple[int, int, int]:
    return int(dut.frames.value), int(dut.errors.value), int(dut.first_bad.value)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS, seed=[0, 1, 0xDEADBEEF])
async def source(dut: Any, kind: int, seed: int) -> None:
    """Moves on when taken and at no other time; two takers in one frame count once."""
    await start(dut, kind, seed)
    expected = pattern_frames(kind, seed)
    first = next(expected)
    for _ in range(3):
        assert await latch(dut) == first, "moved before anybody took a frame"
        await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    for takers in (1, 2, 1, 3) * 20:
        assert await latch(dut) == first
        first = next(expected)
        for _ in range(takers):
            await FallingEdge(dut.clk)
            await pulse(dut, dut.source_taken)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def source_restart(dut: Any) -> None:
    """Frame 0 again, even if a frame from before is taken behind the restart; takes of another input do not count."""
    await start(dut)
    await latch(dut)
    await pulse(dut, dut.source_taken)
    assert await latch(dut) == (2, 3)
    await pulse(dut, dut.restart)
    await pulse(dut, dut.source_taken)  # of the frame (2, 3)
    assert await latch(dut) == (0, 1)
    dut.source_shown.value = 0
    await pulse(dut, dut.frame_tick)
    await pulse(dut, dut.source_taken)
    assert await latch(dut) == (0, 1)
    dut.kind.value = registers.PatternKind.LFSR
    dut.seed.value = 0x1234_5678
    await pulse(dut, dut.restart)
    assert await latch(dut) == next(pattern_frames(registers.PatternKind.LFSR, 0x1234_5678))


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def good_frames(dut: Any, kind: int) -> None:
    """Silence before, gaps between: nothing wrong, every frame counted."""
    await start(dut, kind, 77)
    dut.check_enable.value = 1
    for _ in range(5):
        assert not await render(dut, (0, 0))
        assert not await render(dut, None)
    expected = pattern_frames(kind, 77)
    for index in range(200):
        assert not await render(dut, next(expected))
        if index % 7 == 0:
            assert not await render(dut, None)
    assert counts(dut) == (200, 0, NO_ERROR)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS, at=[0, 1, 50])
async def one_wrong_frame(dut: Any, kind: int, at: int) -> None:
    """Any single wrong bit is found: index of the first, count, one pulse, and the frames behind it are good again."""
    for bit in (0, 1, 23, 24, 47):
        await start(dut, kind, 5)
        dut.check_enable.value = 1
        await pulse(dut, dut.restart)
        pulses = []
        for index, (left, right) in zip(range(60), pattern_frames(kind, 5), strict=False):
            value = (left << 24 | right) ^ (1 << bit if index == at or index == at + 5 else 0)
            if index == 0 and value == 0:
                value = 1 << 47  # all zero would be silence before the start
            if await render(dut, (value >> 24, value & 0xFFFFFF)):
                pulses.append(index)
        assert counts(dut) == (60, 2, at), f"bit {bit}"
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
    await reset(dut.clk, dut.rst)
    await FallingEdge(dut.clk)
    assert counts(dut) == (0, 0, NO_ERROR)
    assert not await render(dut, (0, 1))


def test_pattern() -> None:
    run_cocotb("pattern", ["pattern.sv"], __file__)
