"""Where `build` leaves what `load` takes: bitstreams and firmware of a board, in the checkout's build folder."""

from __future__ import annotations

from pathlib import Path

from codecrig.board import BoardProfile
from codecrig.board.bitstream import (
    Bitstream,
    BitstreamProblem,
    empty_bitstream,
    identity_comment,
    parse_bitstream,
    read_bitstream,
)
from codecrig.twin import BuildError, design_id
from codecrig.twin.builder import repository_root


def bitstream_file(board: str) -> Path:
    """The bitstream of a physical board. Raises BuildError outside a checkout."""
    return repository_root() / "build" / "synth" / board / f"{board}.bin"


def firmware_file(board: str) -> Path:
    """The firmware of a physical board as UF2. Raises BuildError outside a checkout."""
    return repository_root() / "build" / "firmware" / board / "codecrig.uf2"


def board_bitstream(profile: BoardProfile) -> Bitstream | None:
    """What belongs into the FPGA of this board; None if nothing was built, or the board has none.

    A twin's logic is its RTL: its bitstream is empty but for the number of that.
    """
    if profile.kind == "twin":
        return parse_bitstream(empty_bitstream(identity_comment(profile.name, design_id())), f"{profile.name}.bin")
    if profile.kind != "usb":
        return None
    try:
        file = bitstream_file(profile.name)
        return read_bitstream(file) if file.exists() else None
    except (BuildError, BitstreamProblem):
        return None
