"""Tests that do not pass, for the test of the rung itself. The name keeps them out of other runs."""

import pytest

from codecrig.board import Board
from codecrig.link import registers as regs


def test_fails(board: Board) -> None:
    print("said inside the simulator")
    assert board.read_register(regs.FPGA_ID) == 0


def test_skips(board: Board) -> None:
    pytest.skip("for a reason of its own")


def test_passes(board: Board) -> None:
    assert board.read_register(regs.FPGA_ID) == regs.FPGA_ID_RESET
