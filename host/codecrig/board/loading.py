"""Puts a bitstream into the FPGA through the microcontroller (docs/wire.md, "Configuring the FPGA"), and says what is
in there. Works on a link, not on a Board: a board without a design has no registers yet.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from codecrig.board.bitstream import UP5K, Bitstream, BitstreamProblem
from codecrig.board.errors import BoardError
from codecrig.link import Link, Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import LoadCommand

PAGE_BYTES = regs.LOAD_BUFFER_BYTES
PAGES_AT_ONCE = 4
"""Pages in one exchange: enough to keep the bus busy, and progress is shown a dozen times."""
DECIDE_TRIES = 100
"""Reads of FPGA_STATUS behind END. The last bits take microseconds, a read about a hundred."""


@dataclass(frozen=True)
class FpgaState:
    """What is in the FPGA."""

    ready: bool
    """CDONE is high."""
    build: int | None
    """FPGA_BUILD; None if no design of this project answers."""
    problem: str
    """Why not; empty if one answers."""


def fpga_state(link: Link) -> FpgaState:
    """What is in the FPGA now. Raises BoardError if the board has no bridge, LinkError as the link does."""
    status = _bridge_word(link, regs.BRIDGE_FPGA_STATUS)
    if not status & 1 << regs.BRIDGE_FPGA_STATUS_READY_LSB:
        return FpgaState(False, None, "it is not configured: CDONE is low")
    (reply,) = link.exchange([Request.read(regs.FPGA_ID, 12)])
    if reply.status is not Status.OK:
        return FpgaState(True, None, f"CDONE is high, but no codecrig design answers on SPI ({reply.status.name})")
    identity, version, build = (int.from_bytes(reply.data[at : at + 4], "little") for at in (0, 4, 8))
    if identity != regs.FPGA_ID_RESET or version >> 24 != regs.FPGA_VERSION_MAJOR_RESET:
        return FpgaState(True, None, f"it answers with FPGA_ID 0x{identity:08X} and version 0x{version:08X}")
    return FpgaState(True, build, "")


def check_bitstream(bitstream: Bitstream, board: str, *, simulated: bool) -> None:
    """Raises BitstreamProblem if this bitstream is not for this board. A simulated board takes those of any board."""
    if bitstream.device != UP5K:
        raise BitstreamProblem(
            f"{bitstream.name}: expected a bitstream for the {UP5K} of board {board}; found one for {bitstream.device}"
        )
    if bitstream.board is None or bitstream.build is None:
        raise BitstreamProblem(
            f"{bitstream.name}: expected a comment `codecrig {board} build ...`; found none: it was not made by "
            f"`codecrig build`, or by an older version of it"
        )
    if bitstream.board != board and not simulated:
        raise BitstreamProblem(
            f"{bitstream.name}: expected a bitstream with the pins of board {board}; found one for {bitstream.board}"
        )


def load_bitstream(
    link: Link, bitstream: Bitstream, progress: Callable[[int, int], None] = lambda done, total: None
) -> FpgaState:
    """Sends it, and looks at what runs then. Raises BoardError that names what went wrong; nothing else is harmed."""
    data = bitstream.data
    pages = [data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES)]
    _accepted(link, [Request.write_word(regs.BRIDGE_LOAD, LoadCommand.BEGIN)])
    # The write of a page waits until the FPGA has been reset, so this is read behind it.
    _send(link, pages, 0)
    progress(PAGE_BYTES, len(data))
    status = _bridge_word(link, regs.BRIDGE_FPGA_STATUS)
    if status & 1 << regs.BRIDGE_FPGA_STATUS_READY_LSB:
        raise BoardError(
            "expected CDONE to be low while the FPGA is being configured; found it high: no FPGA drives it, or its "
            "reset does not reach it; next step: look at the FPGA, its 1.2 V and CRESET_B"
        )
    for first in range(1, len(pages), PAGES_AT_ONCE):
        numbers = range(first, min(first + PAGES_AT_ONCE, len(pages)))
        _send(link, pages, *numbers)
        progress(min(numbers[-1] * PAGE_BYTES + PAGE_BYTES, len(data)), len(data))
    _accepted(link, [Request.write_word(regs.BRIDGE_LOAD, LoadCommand.END)])
    status = _decided(link)
    arrived = _bridge_word(link, regs.BRIDGE_LOAD_CRC)
    if status >> regs.BRIDGE_FPGA_STATUS_PAGES_LSB != len(pages) or arrived != zlib.crc32(data):
        raise BoardError(
            f"expected the microcontroller to have sent {len(pages)} pages with CRC 0x{zlib.crc32(data):08X}; found "
            f"{status >> regs.BRIDGE_FPGA_STATUS_PAGES_LSB} with 0x{arrived:08X}; next step: load again"
        )
    if not status & 1 << regs.BRIDGE_FPGA_STATUS_READY_LSB:
        raise BoardError(
            f"expected CDONE to rise behind {bitstream.name}; found it low: the FPGA did not take it; next step: look "
            f"at the FPGA's supplies, at CRESET_B and CDONE, and at the configuration lines (data, clock, chip select)"
        )
    state = fpga_state(link)
    if state.build != bitstream.build:
        found = state.problem or f"build {state.build:08X}"
        raise BoardError(
            f"expected build {bitstream.build or 0:08X} to run behind loading {bitstream.name}; found {found}; next "
            f"step: look at the FPGA's clock (12.288 MHz) and at the lines between microcontroller and FPGA"
        )
    return state


def _send(link: Link, pages: list[bytes], *numbers: int) -> None:
    requests = []
    for number in numbers:
        page = pages[number]
        requests.append(Request.write(regs.LOAD_BUFFER_BASE, page + bytes(-len(page) % 4)))
        word = (number & 0xFFFF) | len(page) << regs.BRIDGE_LOAD_PAGE_LENGTH_LSB
        requests.append(Request.write_word(regs.BRIDGE_LOAD_PAGE, word))
    _accepted(link, requests)


def _decided(link: Link) -> int:
    for _ in range(DECIDE_TRIES):
        status = _bridge_word(link, regs.BRIDGE_FPGA_STATUS)
        if not status & 1 << regs.BRIDGE_FPGA_STATUS_LOADING_LSB:
            return status
    raise BoardError(
        "expected the microcontroller to end the configuration; found it still at it; next step: plug the board in "
        "again"
    )


def _bridge_word(link: Link, address: int) -> int:
    return int.from_bytes(_accepted(link, [Request.read(address, 4)])[0], "little")


def _accepted(link: Link, requests: list[Request]) -> list[bytes]:
    replies = link.exchange(requests)
    for request, reply in zip(requests, replies, strict=True):
        if reply.status is Status.UNMAPPED:
            raise BoardError(f"{link.name or 'this board'} has no microcontroller that could load an FPGA")
        if reply.status is not Status.OK:
            raise BoardError(
                f"expected the microcontroller to carry out {request.operation.name} at 0x{request.address:08X}; found "
                f"status {reply.status.name}; next step: load this release's firmware"
            )
    return [reply.data for reply in replies]
