"""bench: how fast board, link and host are together."""

from __future__ import annotations

import statistics
import time
from typing import Any

import click
import numpy as np

from codecrig import client
from codecrig.board import Board
from codecrig.cli.common import (
    BoardChoice,
    ExitStatus,
    Session,
    board_options,
    json_option,
    pass_session,
    plain,
    provenance,
    verbosity_options,
)
from codecrig.link import registers
from codecrig.portcls import Format

# Enough for a median that a busy machine does not move; 200 reads take well under a second.
ROUND_TRIPS = 200
# A full-speed bus carries 12 Mbit a second.
USB_BYTES_PER_SECOND = 1_500_000


@click.command(short_help="Speed of board, link and host.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="Audio to stream.")
@json_option
@board_options
@verbosity_options
@pass_session
def bench(session: Session, seconds: float, choice: BoardChoice) -> int:
    """Speed of board, link and host: 48 kHz stereo 24 bit out and in at the same time, and single register reads.

    Example: codecrig bench --json bench.json
    """
    with choice.open(session) as board:
        facts = provenance(session, board, choice)
        figures = measure_speed(session, board, seconds)
    session.write_json(
        plain({"board": board.profile.name, "serial": facts["Serial"], **figures, "provenance": facts}),
        ExitStatus.PASSED,
    )
    cycles = figures["simulated_mcycles_per_second"]
    efficiency = figures["usb_efficiency"]
    rows = [
        ("Real-time factor", f"{figures['realtime_factor']:.3f} board seconds in a wall second"),
        ("Host CPU", f"{figures['host_cpu_per_audio_second']:.3f} s for a second of audio"),
        (
            "Control round trip",
            f"{figures['control_round_trip_us']:.0f} µs on the wall clock, "
            f"{figures['control_round_trip_host_us']:.0f} µs by the link's clock",
        ),
        ("USB efficiency", "no USB on this link" if efficiency is None else f"{efficiency:.1%} of the bus is payload"),
        ("Simulation", "not simulated RTL" if cycles is None else f"{cycles:.2f} million cycles in a second"),
    ]
    for label, text in rows:
        session.say(f"{label:<20} {text}")
    return ExitStatus.PASSED


def measure_speed(session: Session, board: Board, seconds: float) -> dict[str, Any]:
    """The figures of `bench --json`."""
    wall_us, host_us = _round_trips(board)
    form = Format(board.profile.rates[0], 2, 24)
    frames = round(seconds * form.sample_rate)
    noise = np.random.default_rng(1).integers(0, 256, frames * form.block_bytes, np.uint8).tobytes()
    before = _statistics(board)
    wall, cpu = time.perf_counter(), time.process_time()
    with session.progress("streaming both ways") as progress:
        run = client.loopback(board, noise, form, path="digital", tail_frames=0, progress=progress)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = _statistics(board)
    if run.interrupted:
        raise KeyboardInterrupt
    board_seconds = run.board_ticks / float(board.profile.clock_rate)
    audio_seconds = frames / form.sample_rate
    payload = bus = cycles = None
    if before is not None and after is not None and "usb" in after:
        usb = {
            name: after["usb"][name] - before["usb"][name]
            for name in ("out_bytes", "in_bytes", "busy_units", "total_units")
        }
        payload = (usb["out_bytes"] + usb["in_bytes"]) / (board_seconds * USB_BYTES_PER_SECOND)
        bus = usb["busy_units"] / usb["total_units"] if usb["total_units"] else None
        cycles = (after["cycles"] - before["cycles"]) / wall / 1e6
    return {
        "realtime_factor": board_seconds / wall,
        "host_cpu_per_audio_second": cpu / audio_seconds,
        "control_round_trip_us": wall_us,
        "control_round_trip_host_us": host_us,
        "usb_efficiency": payload,
        "usb_busy": bus,
        "simulated_mcycles_per_second": cycles,
        "format": form.describe(),
        "audio_seconds": audio_seconds,
        "board_seconds": board_seconds,
        "wall_seconds": wall,
        "underruns": run.underruns,
        "overruns": run.overruns,
    }


def _round_trips(board: Board) -> tuple[float, float]:
    """Medians for one register read: wall clock, and the clock that the link calls host time."""
    wall_us, host_us = [], []
    for _ in range(ROUND_TRIPS):
        host_before, before = board.link.host_time_ns(), time.perf_counter()
        board.read_register(registers.FPGA_SCRATCH)
        wall_us.append((time.perf_counter() - before) * 1e6)
        host_us.append((board.link.host_time_ns() - host_before) / 1e3)
    return statistics.median(wall_us), statistics.median(host_us)


def _statistics(board: Board) -> dict[str, Any] | None:
    return board.bench.statistics() if board.bench.has("statistics") else None
