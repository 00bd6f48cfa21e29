"""stream_engine under load: many streams, a busy host, slow memory; run by test_stream_engine.py.

What it takes is measured at the ports and written to build/hdl/stream_engine_load.json.
"""

import json
import random
from collections import defaultdict
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
from bench import BUILD
from harness import DESCRIPTOR_EVENT, FAULTED
from load_harness import RING_FIRST, RING_STRIDE, LoadBench, Part, Trace, make_ring
from scoreboard import StreamSetup

RESULTS = BUILD / "stream_engine_load.json"
FIFO_BYTES = 64
CLOCK_HZ = 12_288_000


def record_figures(name: str, figures: dict[str, Any]) -> None:
    """Add a table to the results file."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[name] = figures
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def visit_clocks(trace: Trace, parts: list[Part]) -> dict[str, list[int]]:
    """Clocks of visits, by kind: from the first access (or last sample) of one to that of the next, nothing between.

    `convert` is a frame; `fill` moves bytes; `fetch` reads a descriptor as well.
    """
    capture = {part.stream: part.setup.capture for part in parts}
    found: dict[str, list[int]] = defaultdict(list)
    records = trace.records
    visits: list[list[Any]] = []  # kind, stream, first time, bytes, descriptor fetched
    for kind, stream, detail, time, place in zip(
        *(records[name].tolist() for name in ("kind", "stream", "detail", "time", "place")), strict=True
    ):
        letter = chr(kind)
        if letter in "GW":
            if not visits or visits[-1][:2] != ["move", stream]:
                visits.append(["move", stream, time, 0, False])
            if place >= RING_FIRST:
                visits[-1][4] = True
            else:
                visits[-1][3] += bin(detail).count("1")
        elif letter == "D" and visits and visits[-1][:2] == ["convert", stream]:
            visits[-1][2] = time
        elif letter in "DA":
            visits.append(["convert", stream, time, 0, False])
        elif letter in "TSE":
            visits.append([letter, 0, time, 0, False])
    for visit, following in pairwise(visits):
        if visit[0] != following[0] or visit[0] not in ("move", "convert") or following[1] == visit[1]:
            continue
        direction = "capture" if capture[following[1] if visit[0] == "convert" else visit[1]] else "render"
        clocks = following[2] - visit[2]
        if visit[0] == "convert":
            if following[1] == visit[1] + 1:
                found[f"convert {direction}"].append(clocks)
        elif (following[1] - visit[1]) % len(parts) == 1 and not following[4]:
            found[f"fetch {direction}" if visit[4] else f"fill {direction} {visit[3]} bytes"].append(clocks)
    return found


def fifo_depth(trace: Trace, part: Part) -> tuple[int, int]:
    """Bytes of FIFO that the run really needed, and the longest wait of a fill in clocks."""
    setup = part.setup
    _, _, moved = trace.moved(part.stream, part.began, part.ended)
    converted = trace.of("A" if setup.capture else "D", part.stream, part.began, part.ended)
    times = converted["time"].astype(np.int64)
    if not setup.capture:
        times = times.reshape(-1, max(setup.channels, 2))[:, -1]
    times = times[8:]  # behind the start
    done = (np.arange(len(times)) + 9) * setup.frame_bytes
    level = np.searchsorted(moved, times) - done
    depth = -int(level.min()) if setup.capture else FIFO_BYTES - int(level.min())
    # From a frame to the stream's next access.
    following = np.searchsorted(moved, times, side="right")
    inside = following < len(moved)
    return depth, int((moved[following[inside]] - times[inside]).max())


async def streams_under_load(
    dut: Any,
    name: str,
    *,
    streams: int,
    sample_bytes: int,
    latency: int,
    spread: int,
    captures: int,
    frames: int,
    limits: dict[str, int],
) -> None:
    """Aligned stereo streams beside a busy host: nothing is missed, bytes are exact; figures recorded and limited."""
    bench = LoadBench(dut, random.Random(cocotb.RANDOM_SEED))
    await bench.start(latency=latency, spread=spread)
    # Which streams capture: spread over the numbers.
    parts = []
    for stream in range(streams):
        capture = (stream * captures) // streams != ((stream + 1) * captures) // streams
        ring = make_ring(bench.source, stream, [96 * sample_bytes] * 5, 0, aligned=True)
        setup = StreamSetup(stream, capture, sample_bytes, 2, RING_FIRST + RING_STRIDE * stream, ring)
        parts.append(Part(setup, f"{8 * sample_bytes} bit"))
    for part in parts:
        await bench.prepare(part)
    dut.tick_enable.value = 1
    dut.busy_host.value = 1
    for part in parts:
        status = await bench.run(part)
        assert not status & FAULTED, f"{part} was refused: {status:#x}"
    began, words = bench.now(), int(dut.host_words.value)
    await bench.frames(frames)
    host_rate = (int(dut.host_words.value) - words) / (bench.now() - began)
    dut.busy_host.value = 0
    waited = int(dut.longest_wait_clocks.value)
    trace, outcomes = await bench.finish(misses=False)
    for part, outcome in zip(parts, outcomes, strict=True):
        assert outcome.frames >= frames, f"{part}: {outcome}"
        assert outcome.causes == {DESCRIPTOR_EVENT}, f"{part}: {outcome}"
    depths = [fifo_depth(trace, part) for part in parts]
    figures = {
        "streams": streams,
        "capture streams": captures,
        "sample bytes": sample_bytes,
        "memory clocks": f"{latency} to {latency + spread}",
        "frames": min(outcome.frames for outcome in outcomes),
        "longest service clocks": max(outcome.service_clocks for outcome in outcomes),
        "longest wait of a fill, clocks": max(wait for _, wait in depths),
        "FIFO bytes needed": max(depth for depth, _ in depths),
        "longest register access clocks": waited,
        "host words a second": round(host_rate * CLOCK_HZ),
        "snapshots": trace.snapshots,
        "visits": {
            kind: {"count": len(clocks), "least": min(clocks), "median": int(np.median(clocks)), "most": max(clocks)}
            for kind, clocks in sorted(visit_clocks(trace, parts).items())
            if len(clocks) >= 5
        },
    }
    assert host_rate * CLOCK_HZ >= 0.478e6 and trace.snapshots >= frames // 10, "the host was not busy"
    record_figures(name, figures)
    dut._log.info("%s: %s", name, {key: value for key, value in figures.items() if key != "visits"})
    for what, limit in limits.items():
        assert figures[what] <= limit, f"{name}: {what} is {figures[what]}, at most {limit}"


@cocotb.test()
@cocotb.parametrize(captures=[0, 4, 8])
async def eight_streams_of_32_bit(dut: Any, captures: int) -> None:
    """8 stereo streams of 32 bit, memory answers within 1 to 4 clocks at random."""
    limits = {"longest service clocks": 128, "FIFO bytes needed": 40, "longest register access clocks": 8}
    await streams_under_load(dut, f"8 x 32 bit, {captures} capture", streams=8, sample_bytes=4, latency=1, spread=3,
                             captures=captures, frames=600, limits=limits)  # fmt: skip


@cocotb.test()
@cocotb.parametrize(captures=[0, 8, 16])
async def sixteen_streams_of_16_bit(dut: Any, captures: int) -> None:
    """16 stereo streams of 16 bit, memory answers within 1 or 2 clocks at random."""
    limits = {"longest service clocks": 208, "FIFO bytes needed": 56, "longest register access clocks": 8}
    await streams_under_load(dut, f"16 x 16 bit, {captures} capture", streams=16, sample_bytes=2, latency=1, spread=1,
                             captures=captures, frames=600, limits=limits)  # fmt: skip
