"""Configuring the FPGA of a simulated board over the wire: what it takes, what it refuses, and what runs then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from codecrig.board import BoardError, Connection, connect
from codecrig.board.bitstream import (
    Bitstream,
    BitstreamProblem,
    empty_bitstream,
    identity_comment,
    parse_bitstream,
    read_bitstream,
)
from codecrig.board.loading import check_bitstream, fpga_state, load_bitstream
from codecrig.link import Link, Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import LoadCommand

NUMBER = 0x600DCAFE

BOARDS = ["twin", *(["twin-rp2040"] if shutil.which("node") and shutil.which("arm-none-eabi-gcc") else [])]


@pytest.fixture(params=BOARDS)
def rig(request: pytest.FixtureRequest) -> Iterator[Connection]:
    with connect(request.param) as connection:
        yield connection


def image(build: int = NUMBER, board: str = "pico-ice") -> Bitstream:
    return parse_bitstream(empty_bitstream(identity_comment(board, build)), "test.bin")


def word(link: Link, address: int) -> int:
    (reply,) = link.exchange([Request.read(address, 4)])
    assert reply.status is Status.OK, reply
    return int.from_bytes(reply.data, "little")


def write(link: Link, address: int, value: int) -> None:
    assert link.exchange([Request.write_word(address, value)])[0].status is Status.OK


def test_loading_starts_the_design_anew_under_the_number_of_the_image(rig: Connection) -> None:
    link = rig.link
    write(link, regs.FPGA_SCRATCH, 0x12345678)
    write(link, regs.FPGA_CONVERTER_CONTROL, 3)
    link.exchange([Request.wait(12_288_000 // 10)])
    before = word(link, regs.FPGA_TIME_LO)
    assert load_bitstream(link, image()).build == NUMBER
    assert word(link, regs.FPGA_BUILD) == NUMBER
    assert (word(link, regs.FPGA_SCRATCH), word(link, regs.FPGA_CONVERTER_CONTROL)) == (0, 0)
    assert word(link, regs.FPGA_TIME_LO) < before
    with rig.board() as board:
        board.write_memory(5, b"still a board")
        assert board.read_memory(5, 13) == b"still a board"
        board.sleep(0.01)


def test_nothing_answers_between_begin_and_end(rig: Connection) -> None:
    write(rig.link, regs.BRIDGE_LOAD, LoadCommand.BEGIN)
    assert rig.link.exchange([Request.read(regs.FPGA_ID, 4)])[0].status is Status.NOT_READY
    assert not fpga_state(rig.link).ready
    assert load_bitstream(rig.link, image(1)).build == 1


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes(104090), id="zeros"),
        pytest.param(image().data[:-40], id="cut off"),
        pytest.param(damaged(image().data, 50_000), id="a wrong bit"),
        pytest.param(empty_bitstream("of an HX1K", columns=332), id="another chip"),
    ],
)
def test_done_stays_low_behind_what_is_no_bitstream(data: bytes) -> None:
    with connect("twin") as rig:
        with pytest.raises(BoardError, match=r"expected CDONE to rise behind bad\.bin; found it low"):
            load_bitstream(rig.link, Bitstream("bad.bin", data, "", "twin", NUMBER))
        assert fpga_state(rig.link).problem == "it is not configured: CDONE is low"
        assert load_bitstream(rig.link, image()).build == NUMBER


def test_a_sound_bitstream_of_somebody_else_is_noticed() -> None:
    foreign = parse_bitstream(empty_bitstream("blinky"), "blinky.bin")
    assert (foreign.board, foreign.build) == (None, None)
    with connect("twin") as rig:
        with pytest.raises(
            BoardError, match=r"found CDONE is high, but no codecrig design answers on SPI \(NO_REPLY\)"
        ):
            load_bitstream(rig.link, Bitstream("blinky.bin", foreign.data, foreign.device, "twin", NUMBER))


def test_without_an_fpga_done_is_high_from_the_start() -> None:
    with connect("twin") as rig:
        rig.bench.fault("no-fpga")
        assert "no codecrig design answers" in fpga_state(rig.link).problem
        with pytest.raises(
            BoardError, match="expected CDONE to be low while the FPGA is being configured; found it high"
        ):
            load_bitstream(rig.link, image())


def test_done_that_never_rises() -> None:
    with connect("twin") as rig:
        rig.bench.fault("done-low")
        with pytest.raises(
            BoardError, match="found it low: the FPGA did not take it; next step: look at"
        ):
            load_bitstream(rig.link, image())
        rig.bench.fault("none")
        assert fpga_state(rig.link).build is not None


# ---------------------------------------------------------------- the file alone


def test_what_a_bitstream_says_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(image().data)
    found = read_bitstream(file)
    assert (found.device, found.board, found.build) == ("iCE40UP5K", "pico-ice", NUMBER)
    with pytest.raises(BitstreamProblem, match=r"none\.bin: cannot be read: No such file"):
        read_bitstream(tmp_path / "none.bin")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no synchronisation word"),
        (b"UF2\n" * 1000, "no synchronisation word"),
        (image().data[:-60_000], "cut off: 28672 bytes without its end"),
        (damaged(image().data, 50_000), "damaged: its CRC is wrong"),
        (image().data.replace(bytes.fromhex("510001"), bytes.fromhex("F10001"), 1), "command 0xF0 means nothing"),
    ],
)
def test_files_that_are_no_bitstream(data: bytes, text: str) -> None:
    with pytest.raises(BitstreamProblem, match=text):
        parse_bitstream(data, "x.bin")


def test_bitstreams_for_others_are_refused_before_anything_is_sent() -> None:
    check_bitstream(image(), "pico-ice", simulated=False)
    check_bitstream(image(), "twin", simulated=True)
    with pytest.raises(BitstreamProblem, match="with the pins of board pico2-ice; found one for pico-ice"):
        check_bitstream(image(), "pico2-ice", simulated=False)
    other = parse_bitstream(empty_bitstream(identity_comment("pico-ice", 1), columns=332), "x.bin")
    with pytest.raises(BitstreamProblem, match="for the iCE40UP5K of board pico-ice; found one for iCE40HX1K or LP1K"):
        check_bitstream(other, "pico-ice", simulated=False)
    with pytest.raises(BitstreamProblem, match="not made by `codecrig build`"):
        check_bitstream(parse_bitstream(empty_bitstream("blinky"), "x.bin"), "pico-ice", simulated=False)
