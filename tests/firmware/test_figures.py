"""What the firmware must reach (docs/firmware.md), measured on the binary that is flashed, in the emulator."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from test_firmware import FIRMWARE

from codecrig.board import Board, open_board
from codecrig.twin import build_emulation

# A microcontroller of 61.44 MHz has 3,200 cycles for each of the 19 packets of a millisecond; half is for other things.
MOST_CYCLES_PER_PACKET = 1600
LEAST_OUT_BYTES_PER_S = 1_000_000
BUS_TO_SPARE = 0.2


def load(name: str) -> ModuleType:
    """A program of firmware/, which lies outside any package."""
    specification = importlib.util.spec_from_file_location(f"codecrig_firmware_{name}", FIRMWARE / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


measure = load("measure")


@pytest.fixture(scope="module")
def emulated() -> Iterator[Board]:
    with open_board("twin-rp2040") as board:
        yield board


def test_throughput_and_cycles(emulated: Board) -> None:
    written, read, both = measure.throughput(emulated, 65536)
    assert written.out_rate >= LEAST_OUT_BYTES_PER_S
    assert read.in_rate >= LEAST_OUT_BYTES_PER_S
    assert both.out_rate + both.in_rate >= LEAST_OUT_BYTES_PER_S
    assert written.payload == 65536 and written.out_bytes >= 65536 + 16 * 12
    # Hardly any packet is refused, so it is the bus that limits.
    assert written.out_naks <= written.out_packets // 50
    for load in (written, read, both):
        assert load.cycles_per_packet is not None and 500 < load.cycles_per_packet <= MOST_CYCLES_PER_PACKET, load.name


def test_throughput_while_events_are_heard(emulated: Board) -> None:
    written, read = measure.throughput_listening(emulated, 65536)
    assert written.out_rate >= 0.9 * LEAST_OUT_BYTES_PER_S  # looking at the event ring costs at most a tenth
    assert read.in_rate >= 0.9 * LEAST_OUT_BYTES_PER_S


def test_duplex_leaves_a_part_of_the_bus(emulated: Board) -> None:
    flow = measure.stream(emulated, 0.2, 24)
    assert 0.3 < flow.bus_busy <= 1 - BUS_TO_SPARE
    assert flow.load is not None and flow.load < 0.8


def test_a_waiting_host_hears_of_events_in_time(emulated: Board) -> None:
    at_host, answered = measure.latency(emulated, 40)
    assert min(at_host) > 0.05 and all(early < late for early, late in zip(at_host, answered, strict=True))
    assert measure.share_within(answered) == 1.0


def test_a_host_in_the_middle_of_long_transfers_hears_of_events_in_time(emulated: Board) -> None:
    at_host, answered = measure.stream_latency(emulated, 0.4, 24)
    assert len(at_host) == len(answered) >= 40
    assert min(at_host) > 0.05 and min(answered) > 0.2
    assert measure.share_within(answered) >= 0.99


def test_stack_and_bus_are_clean(emulated: Board) -> None:
    """After all of the above, and what goes deepest."""
    measure.deepest_calls(emulated)
    mcu = emulated.bench.statistics()["microcontroller"]
    assert 100 < mcu["stack_used"] < mcu["stack_bytes"] // 2
    bound = load("build").stack_bound(build_emulation().firmware.parent)
    assert mcu["stack_used"] <= bound <= mcu["stack_bytes"] * 3 // 4
    assert (mcu["sequence_errors"], mcu["overflows"]) == (0, 0)
