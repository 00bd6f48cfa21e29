"""Boards: open one by name, then use its registers, memory, events, clock and bench.

`open_board("twin")` gives a simulated board, `open_board("model")` the Python model, any other name a folder in
`boards/`.
"""

from codecrig.board.bench import Bench, MidiByte, SpdifTap, Tap, TriggerWires, TwinBench
from codecrig.board.board import (
    Board,
    BoardIdentity,
    Snapshot,
    describe_address,
    monitor_register,
    stream_register,
)
from codecrig.board.clock import BoardClock, ClockFit, ClockPoint, fit_points
from codecrig.board.errors import BenchMissing, BoardError, EnvironmentProblem, EventsLost, ProfileError
from codecrig.board.events import EventRecord, Events
from codecrig.board.opening import BoardListing, Connection, board_profile, connect, list_boards, open_board
from codecrig.board.profile import BoardProfile, find_profile, load_profile
from codecrig.board.system import BoardSystem

__all__ = [
    "Bench",
    "BenchMissing",
    "Board",
    "BoardClock",
    "BoardError",
    "BoardIdentity",
    "BoardListing",
    "BoardProfile",
    "BoardSystem",
    "ClockFit",
    "ClockPoint",
    "Connection",
    "EnvironmentProblem",
    "EventRecord",
    "Events",
    "EventsLost",
    "MidiByte",
    "ProfileError",
    "Snapshot",
    "SpdifTap",
    "Tap",
    "TriggerWires",
    "TwinBench",
    "board_profile",
    "connect",
    "describe_address",
    "find_profile",
    "fit_points",
    "list_boards",
    "load_profile",
    "monitor_register",
    "open_board",
    "stream_register",
]
