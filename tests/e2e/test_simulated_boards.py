"""`Board` on every simulated board by the same test ids: memory, events, time, snapshot, closing."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codecrig.board import Board, EventRecord, EventsLost, open_board, stream_register
from codecrig.link import LinkError, Reply, Request
from codecrig.link import registers as regs
from codecrig.link.registers import Cause, StreamState

TIMER_ENABLE = 1 << regs.FPGA_EVENT_ENABLE_TIMER_LSB
OVERFLOW_ENABLE = 1 << regs.FPGA_EVENT_ENABLE_RING_OVERFLOW_LSB


def test_identity(board: Board) -> None:
    identity = board.identity()
    assert identity.streams >= 2 and identity.ring_records == 64
    assert identity.audio_memory_bytes == 131072 == board.profile.memory.audio_bytes
    assert identity.fpga_version.startswith("1.")
    assert board.serial


def test_all_of_audio_memory_holds_what_was_written(board: Board) -> None:
    data = random.Random(1).randbytes(131072)
    board.write_memory(0, data)
    assert board.read_memory(0, 131072) == data


@pytest.mark.parametrize("address", [0, 1, 2, 3, 4095, 131072 - 4097])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 4095, 4096, 4097])
def test_any_address_and_length_touches_those_bytes_only(board: Board, address: int, length: int) -> None:
    low, high = max(0, address - 8), min(131072, address + length + 8)
    board.write_memory(low, b"\x5a" * (high - low))
    data = random.Random(length).randbytes(length)
    board.write_memory(address, data)
    expected = b"\x5a" * (address - low) + data + b"\x5a" * (high - address - length)
    assert board.read_memory(low, high - low) == expected
    assert board.read_memory(address, length) == data


def test_sleep_takes_board_time(board: Board) -> None:
    start = board.clock.now()
    board.sleep(0.05)
    assert 0.05 <= board.clock.seconds(board.clock.now() - start) < 0.052


def arm(board: Board, ahead_ticks: int) -> int:
    """Set the alarm; returns its board time."""
    due = board.clock.now() + ahead_ticks
    board.write_register(regs.FPGA_ALARM_TIME, due & 0xFFFFFFFF)
    return due


def test_an_alarm_arrives_as_an_event_with_its_time(board: Board) -> None:
    board.write_register(regs.FPGA_EVENT_ENABLE, TIMER_ENABLE | OVERFLOW_ENABLE)
    records: list[EventRecord] = []
    board.events.subscribe(None, records.append)
    due = arm(board, 200_000)
    assert board.wait_for(lambda: bool(records), 0.1)
    (record,) = records
    assert record.cause is Cause.TIMER and record.of_board
    assert 0 <= record.time_ticks - due <= 2
    # The host hears of it at once, not at the end of the wait.
    assert board.events.time_ticks - record.time_ticks < 12_288_000 // 1000
    board.events.acknowledge()
    assert board.read_register(regs.FPGA_EVENT_CAUSE) == 0
    assert board.read_register(regs.FPGA_EVENT_CONSUMER) == board.read_register(regs.FPGA_EVENT_PRODUCER)


def test_more_events_than_the_ring_has_slots_over_time(board: Board) -> None:
    board.write_register(regs.FPGA_EVENT_ENABLE, TIMER_ENABLE | OVERFLOW_ENABLE)
    records: list[EventRecord] = []
    board.events.subscribe(None, records.append)
    due = []
    for _ in range(70):
        due.append(arm(board, 2000))
        wanted = len(due)

        def arrived(wanted: int = wanted) -> bool:
            return len(records) == wanted

        assert board.wait_for(arrived, 0.1)
    assert [0 <= r.time_ticks - d <= 2000 for r, d in zip(records, due, strict=True)] == [True] * 70
    assert [r.sequence for r in records] == list(range(records[0].sequence, records[0].sequence + 70))


def test_lost_events_are_noticed(board: Board) -> None:
    board.write_register(regs.FPGA_EVENT_ENABLE, TIMER_ENABLE | OVERFLOW_ENABLE)
    records: list[EventRecord] = []
    board.events.subscribe(None, records.append)
    for _ in range(66):  # each fires at once; nobody takes the records
        arm(board, -100)
    with pytest.raises(EventsLost, match="EVENT_LOST rose by"):
        board.poll()
    assert len(records) == 64
    board.poll()  # acknowledges; now there is room for the overflow itself
    assert board.wait_for(lambda: records[-1].cause is Cause.RING_OVERFLOW, 0.1)


def test_a_snapshot_of_a_stopped_stream(board: Board) -> None:
    snapshot = board.snapshot(0)
    now = board.clock.now()
    assert (snapshot.state, snapshot.fault) == (StreamState.STOP, False)
    assert (snapshot.frames, snapshot.bytes, snapshot.fifo_bytes, snapshot.underruns) == (0, 0, 0, 0)
    assert 0 < snapshot.time_ticks < now


def test_the_boards_clock_runs_fast_by_the_profiles_ppm(board: Board) -> None:
    fit = board.clock.fit(span_s=2.0, points=40)
    assert fit.ppm(board.clock.rate) == pytest.approx(board.profile.clock_ppm, abs=1.0)
    assert fit.error_ns < 10_000


def test_bench_taps_what_the_converter_gets(board: Board) -> None:
    board.bench.tap_start()
    board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
    start = board.clock.now()
    board.sleep(0.01)
    tap = board.bench.tap_read()
    board.bench.tap_stop()
    assert 470 <= len(tap.samples) <= 520 and not tap.samples.any()
    assert abs(tap.first_ticks - start) < 12_288_000 // 1000


def test_bench_trigger_wires_go_both_ways(board: Board) -> None:
    board.write_register(regs.FPGA_EVENT_ENABLE, OVERFLOW_ENABLE | 1 << regs.FPGA_EVENT_ENABLE_TRIGGER_LSB)
    records: list[EventRecord] = []
    board.events.subscribe(None, records.append)
    board.bench.trigger(True)
    assert board.wait_for(lambda: bool(records), 0.01)
    assert records[0].cause is Cause.TRIGGER
    assert board.read_register(regs.FPGA_TRIGGER_IN) == 1
    before = board.clock.now()
    board.write_register(regs.FPGA_TRIGGER_OUT, 1)
    after = board.clock.now()
    wires = board.bench.trigger(False)
    assert wires.out and len(wires.out_edges_ticks) == 1
    assert before < wires.out_edges_ticks[0] < after


def test_bench_accepts_its_other_settings(board: Board) -> None:
    board.bench.codec(gain_q16=1000, noise_lsb=0, dc_lsb=5, delay_frames=3, connected=False)
    board.bench.inject(np.zeros((4, 2), dtype=np.int32))
    for fault in ("open", "stuck0", "stuck1", "swap", "none"):
        board.bench.cable(fault)
    statistics = board.bench.statistics()
    assert statistics["ticks"] > 0 and statistics["host_ns"] > 0


def test_a_long_exchange_keeps_the_order(board: Board) -> None:
    requests = []
    for number in range(400):
        requests.append(Request.write_word(regs.FPGA_SCRATCH, number))
        requests.append(Request.read(regs.FPGA_SCRATCH, 4))
    replies = board.transact(requests)
    assert [int.from_bytes(data, "little") for data in replies[1::2]] == list(range(400))


def test_opening_and_closing_stops_what_runs(board_name: str) -> None:
    with pytest.raises(ZeroDivisionError):
        with open_board(board_name) as board:
            link = board.link
            board.write_register(regs.FPGA_CONVERTER_CONTROL, 1)
            board.write_register(stream_register(0, regs.STREAM_CONTROL), StreamState.PAUSE)
            seen: list[Any] = []
            exchange = link.exchange

            def watched(requests: Sequence[Request]) -> list[Reply]:
                seen.extend(requests)
                return exchange(requests)

            link.exchange = watched  # type: ignore[method-assign]
            raise ZeroDivisionError
    stop = Request.write_word(stream_register(0, regs.STREAM_CONTROL), StreamState.STOP)
    assert stop in seen and seen[-1] == Request.write_word(regs.FPGA_CONVERTER_CONTROL, 3)
    with pytest.raises(LinkError):
        link.exchange([Request.read(regs.FPGA_ID, 4)])


def test_ctrl_c_in_a_wait_leaves_the_board_usable(board: Board) -> None:
    main = threading.main_thread().ident
    assert main is not None
    start = board.clock.now()
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        while True:
            board.sleep(0.5)
    assert board.read_register(regs.FPGA_ID) == regs.FPGA_ID_RESET
    assert board.clock.now() > start
    board.sleep(0.001)


@pytest.mark.parametrize("clock_ppm", [-200.0, 0.0])
def test_another_clock_ppm_shows(board_name: str, clock_ppm: float) -> None:
    with open_board(board_name, clock_ppm=clock_ppm) as board:
        assert board.clock.fit(span_s=1.0, points=25).ppm(board.clock.rate) == pytest.approx(clock_ppm, abs=1.0)


@pytest.fixture
def mortal_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Board, Any, Path]:
    """A twin, its process object and its log."""
    from codecrig import twin

    processes: list[Any] = []

    class Watched(twin.TwinProcess):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            processes.append(self)

    monkeypatch.setattr(twin, "TwinProcess", Watched)
    board = open_board("twin", log=tmp_path / "twin.log")
    return board, processes[0], tmp_path / "twin.log"


def test_a_twin_killed_in_mid_run_is_reported_with_its_log(mortal_twin: tuple[Board, Any, Path]) -> None:
    board, process, log = mortal_twin
    with pytest.raises(LinkError, match=r"the twin was killed by SIGKILL; last lines of ") as caught:
        with board:
            board.sleep(0.01)
            os.kill(process._process.pid, 9)
            board.sleep(0.01)
    assert str(log) in str(caught.value)
    assert not process.alive()


def test_host_time_of_a_dead_twin_is_reported_too(mortal_twin: tuple[Board, Any, Path]) -> None:
    board, process, log = mortal_twin
    os.kill(process._process.pid, 9)
    with pytest.raises(LinkError, match="the twin was killed by SIGKILL"):
        board.link.host_time_ns()
    with pytest.raises(LinkError):
        board.close()


def test_closing_a_twin_ends_its_process_and_its_log(mortal_twin: tuple[Board, Any, Path]) -> None:
    board, process, _ = mortal_twin
    assert process.alive()
    board.close()
    assert not process.alive()


def test_a_running_twin_is_reached_by_address(mortal_twin: tuple[Board, Any, Path]) -> None:
    board, process, _ = mortal_twin
    with pytest.raises(Exception, match="in use by another client"):
        open_board(f"usbip:127.0.0.1:{process.usbip_port}/1-1")
    board.link.close()
    with open_board(f"usbip:127.0.0.1:{process.usbip_port}/1-1") as second:
        assert second.serial == board.serial
        second.sleep(0.01)
    process.close()


def test_the_same_calls_give_the_same_times(mortal_twin: tuple[Board, Any, Path]) -> None:
    def run(board: Board) -> list[int]:
        times = []
        for number in range(20):
            board.write_memory(number, bytes(number * 50 + 1))
            times.append(board.clock.now())
            times.append(board.link.host_time_ns())
            board.sleep(0.001)
        return times

    first = mortal_twin[0]
    with first, open_board("twin") as second:
        assert run(first) == run(second)
