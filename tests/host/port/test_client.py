"""The client's duties that a whole journey does not show: a late host, Ctrl-C, a board that stands still, bad input."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from codecrig.board import Board, BoardError, open_board
from codecrig.client import loopback, play, record
from codecrig.link import LinkError, Reply, Request
from codecrig.link import registers as regs
from codecrig.link.registers import Operation
from codecrig.portcls import Format, NtStatusError

FORMAT = Format(48000, 2, 16)


@pytest.fixture
def board() -> Iterator[Board]:
    with open_board("model") as opened:
        yield opened


def ramp(frames: int) -> bytes:
    return np.arange(1, 2 * frames + 1, dtype=np.uint16).astype("<u2").tobytes()


def test_a_late_host_is_counted_and_the_run_goes_on(board: Board) -> None:
    late_at = 3000

    def be_late(done: int, wanted: int) -> None:
        nonlocal late_at
        if done >= late_at:
            late_at = wanted + 1
            board.sleep(0.1)

    run = loopback(board, ramp(9600), FORMAT, tail_frames=64, progress=be_late)
    # 100 ms are five packets: at least three of them could be neither written nor read in time.
    assert run.late_packets >= 6
    assert run.underruns == run.overruns == 0
    assert run.frames_captured == 9664


def test_a_client_late_for_wavecyclic_is_counted_and_heard_as_silence(board: Board) -> None:
    late_at = 3000

    def be_late(done: int, wanted: int) -> None:
        nonlocal late_at
        if done >= late_at:
            late_at = wanted + 1
            board.sleep(0.15)

    run = loopback(board, ramp(9600), FORMAT, tail_frames=12_000, model="wavecyclic", progress=be_late)
    assert run.late_packets == 1 and run.underruns == run.overruns == 0
    assert run.captured is not None
    data, heard = ramp(9600), run.captured
    loud = b"".join(heard[at : at + 4] for at in range(0, len(heard), 4) if heard[at : at + 4] != bytes(4))
    # The port went on serving: nothing is lost, there is one stretch of silence in the middle.
    assert loud == data
    assert heard.strip(b"\0") != data


def test_ctrl_c_in_wavecyclic(board: Board) -> None:
    calls = 0

    def press_ctrl_c(done: int, wanted: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            os.kill(os.getpid(), signal.SIGINT)

    run = loopback(board, ramp(48000), FORMAT, model="wavecyclic", progress=press_ctrl_c)
    assert run.interrupted and calls == 8
    assert run.captured is not None and len(run.captured) > 4 * 1000
    assert run.captured[4:] == ramp(48000)[: len(run.captured) - 4]
    assert [board.snapshot(stream).state for stream in range(4)] == [0, 0, 0, 0]


def test_ctrl_c_between_two_packets(board: Board) -> None:
    before = signal.getsignal(signal.SIGINT)
    calls = 0

    def press_ctrl_c(done: int, wanted: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), signal.SIGINT)

    run = loopback(board, ramp(48000), FORMAT, progress=press_ctrl_c)
    assert run.interrupted and calls == 4
    assert run.captured is not None and 0 < len(run.captured) < 4 * 6000
    assert run.captured[4:] == ramp(48000)[: len(run.captured) - 4]
    assert signal.getsignal(signal.SIGINT) is before
    assert [board.snapshot(stream).state for stream in range(4)] == [0, 0, 0, 0]
    # The board is as good as new.
    assert not loopback(board, ramp(2000), FORMAT, tail_frames=10).interrupted


def test_a_board_without_frame_clock_is_named(board: Board) -> None:
    exchange = board.link.exchange

    def never_enable(requests: list[Request]) -> list[Reply]:
        stopped = [
            Request.write_word(request.address, 0)
            if request.operation is Operation.WRITE and request.address == regs.FPGA_CONVERTER_CONTROL
            else request
            for request in requests
        ]
        return exchange(stopped)

    board.link.exchange = never_enable  # type: ignore[method-assign, assignment]
    with pytest.raises(BoardError, match="expected a packet end within 1.0 s of board time; found none"):
        record(board, 1000, FORMAT)
    assert board.snapshot(1).state == 0


def test_a_link_that_breaks_is_the_error_that_is_seen(board: Board) -> None:
    exchange = board.link.exchange

    def break_later(done: int, wanted: int) -> None:
        def broken(requests: list[Request]) -> list[Reply]:
            raise LinkError("the cable is out")

        board.link.exchange = broken  # type: ignore[method-assign, assignment]

    with pytest.raises(LinkError, match="the cable is out"):
        loopback(board, ramp(48000), FORMAT, progress=break_later)
    board.link.exchange = exchange  # type: ignore[method-assign]


@pytest.mark.parametrize("data", [b"", b"abc", b"abcde"])
def test_data_of_broken_frames_is_refused(board: Board, data: bytes) -> None:
    with pytest.raises(ValueError, match="expected whole frames of 4 bytes, at least one"):
        play(board, data, FORMAT)


def test_nothing_to_record_is_refused(board: Board) -> None:
    with pytest.raises(ValueError, match="at least 1 frame"):
        record(board, 0, FORMAT)


def test_a_packet_too_long_for_the_memory_is_refused(board: Board) -> None:
    with pytest.raises(NtStatusError, match="INSUFFICIENT_RESOURCES"):
        play(board, ramp(100), FORMAT, packet_ms=400)


def test_one_frame_is_enough(board: Board) -> None:
    run = loopback(board, ramp(1), FORMAT, tail_frames=10)
    assert run.captured == bytes(4) + ramp(1) + bytes(36)
    assert play(board, ramp(1), FORMAT).frames_played == 1


def test_record_tells_progress_up_to_the_end(board: Board) -> None:
    seen: list[tuple[int, int]] = []
    record(board, 5000, FORMAT, source="loopback", progress=lambda done, wanted: seen.append((done, wanted)))
    assert seen[-1] == (5000, 5000)
    assert seen == sorted(seen)
