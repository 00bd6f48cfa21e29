"""load: bitstream and firmware onto a board, by hash."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from codecrig.board import BoardProfile, Connection, EnvironmentProblem
from codecrig.board.bitstream import Bitstream, read_bitstream
from codecrig.board.firmware import (
    INFO_FILE,
    Drive,
    Firmware,
    check_firmware,
    choose_drive,
    copy_firmware,
    find_drives,
    read_firmware,
)
from codecrig.board.loading import check_bitstream, fpga_state, load_bitstream
from codecrig.cli.artifacts import board_bitstream, firmware_file
from codecrig.cli.common import (
    FILE,
    BoardChoice,
    ExitStatus,
    Session,
    board_options,
    json_option,
    log,
    pass_session,
    plain,
    verbosity_options,
)
from codecrig.link import LinkError, Request, Status
from codecrig.link import registers as regs

DRIVE_TIMEOUT_S = 20.0
"""From the boot loader's start until a desktop has mounted its drive."""
RETURN_TIMEOUT_S = 20.0
"""From the end of the copy until the board is back on the bus."""
BUILT = "built"


@click.command(short_help="Bitstream and firmware onto a board.")
@click.option("--bitstream", type=FILE, metavar="FILE", help="This bitstream, not the one that `codecrig build` left.")
@click.option(
    "--firmware",
    "firmware_option",
    is_flag=False,
    flag_value=BUILT,
    metavar="[FILE]",
    help="Firmware too, and first: this UF2 file, or without a name the one that `codecrig build` left.",
)
@click.option(
    "--drive",
    type=FILE,
    metavar="FOLDER",
    help="Where the boot loader's drive is mounted, if it is not found by itself.",
)
@click.option("--force", is_flag=True, help="Load also what the board says it has already.")
@json_option
@board_options
@verbosity_options
@pass_session
def load(
    session: Session,
    bitstream: Path | None,
    firmware_option: str | None,
    drive: Path | None,
    force: bool,
    choice: BoardChoice,
) -> int:
    """Puts the bitstream into the FPGA, if it holds another build, and looks at what runs then.

    With --firmware the microcontroller is sent into its boot loader first, unless it has that build already, and the
    file is copied onto the drive that appears. A board without codecrig firmware: hold BOOTSEL while plugging it in.
    Files are checked before anything is sent: one for another chip or board is refused.

    \b
    Example: codecrig load --board pico-ice
             codecrig load --board pico-ice --firmware
    """  # fmt: skip
    profile = choice.board_profile()
    if profile.kind not in ("usb", "twin"):
        raise click.BadParameter(f"board {profile.name} has no FPGA to be loaded", param_hint="--board")
    firmware = None if firmware_option is None else _firmware(profile, firmware_option)
    image = _bitstream(profile, bitstream)
    if image is None and firmware is None:
        raise EnvironmentProblem(
            f"no bitstream was built for board {profile.name!r}; next step: codecrig build --board {profile.name}, or "
            f"name a file with --bitstream"
        )
    result: dict[str, Any] = {"board": profile.name, "firmware": None, "bitstream": None}
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(choice.connect(session))
        except EnvironmentProblem as problem:
            if firmware is None:
                raise
            # It may wait in its boot loader, or have other firmware.
            result["firmware"] = _first_firmware(session, profile, firmware, drive, problem)
            connection = stack.enter_context(_appear(session, choice))
            _verify_firmware(connection, firmware)
        else:
            if firmware is not None:
                result["firmware"] = _next_firmware(session, connection, firmware, drive, force)
        result["serial"] = connection.link.serial
        if image is not None:
            result["bitstream"] = _load_bitstream(session, connection, image, force)
    session.write_json(plain(result), ExitStatus.PASSED)
    return ExitStatus.PASSED


# ---------------------------------------------------------------- files


def _bitstream(profile: BoardProfile, file: Path | None) -> Bitstream | None:
    image = board_bitstream(profile) if file is None else read_bitstream(file)
    if image is not None:
        check_bitstream(image, profile.name, simulated=profile.kind == "twin")
    return image


def _firmware(profile: BoardProfile, option: str) -> Firmware:
    # A simulated board is a pico-ice; that with firmware compiled for this machine takes no file, but shows the way.
    board, chip = profile.name, profile.microcontroller.upper()
    if profile.kind == "twin":
        board, chip = "pico-ice", "RP2040"
    file = firmware_file(board) if option == BUILT else Path(option)
    if option == BUILT and not file.exists():
        raise EnvironmentProblem(
            f"no firmware was built for board {board!r}; next step: codecrig build --board {board}, or name a file"
        )
    firmware = read_firmware(file)
    check_firmware(firmware, board, chip)
    return firmware


def _facts(data: bytes, name: str, build: int | None, loaded: bool) -> dict[str, Any]:
    number = None if build is None else f"{build:08X}"
    return {"file": name, "build": number, "sha256": hashlib.sha256(data).hexdigest(), "loaded": loaded}


# ---------------------------------------------------------------- bitstream


def _load_bitstream(session: Session, connection: Connection, image: Bitstream, force: bool) -> dict[str, Any]:
    name = f"bitstream {image.build:08X}"
    if not force and fpga_state(connection.link).build == image.build:
        session.say(f"{name}  is in the FPGA already; nothing done (--force loads it again)")
        return _facts(image.data, image.name, image.build, False)
    began = connection.link.host_time_ns()
    with session.progress("loading the FPGA") as progress:
        load_bitstream(connection.link, image, progress)
    seconds = (connection.link.host_time_ns() - began) / 1e9
    session.say(
        f"{name}  loaded in {seconds:.2f} s from {escape(image.name)}, {len(image.data)} bytes; FPGA_BUILD agrees"
    )
    return {**_facts(image.data, image.name, image.build, True), "seconds": seconds}


# ---------------------------------------------------------------- firmware


def _next_firmware(
    session: Session, connection: Connection, firmware: Firmware, folder: Path | None, force: bool
) -> dict[str, Any]:
    """Onto a board that runs codecrig firmware."""
    if not force and _bridge_build(connection) == firmware.build:
        session.say(f"firmware {firmware.build:08X}  is on the board already; nothing done (--force loads it again)")
        return _facts(firmware.data, firmware.name, firmware.build, False)
    if folder is None and connection.profile.kind == "twin":
        raise EnvironmentProblem("a simulated board has no drive of its own; next step: name a folder with --drive")
    if folder is not None and folder.exists() and not os.access(folder, os.W_OK):
        raise EnvironmentProblem(f"{folder}: permission denied; nothing was done; next step: mount the drive writable")
    connection.link.enter_boot_loader()
    log.info("the board has left for its boot loader")
    _copy(session, firmware, _await_drive(firmware.chip, folder))
    if connection.bench.has("power"):  # a folder starts no firmware
        connection.bench.power_cycle()
    try:
        connection.reopen(RETURN_TIMEOUT_S)
    except LinkError as error:
        raise _never_came_back(error) from error
    _verify_firmware(connection, firmware)
    session.say(f"firmware {firmware.build:08X}  loaded; BRIDGE_BUILD agrees")
    return _facts(firmware.data, firmware.name, firmware.build, True)


def _first_firmware(
    session: Session, profile: BoardProfile, firmware: Firmware, folder: Path | None, problem: EnvironmentProblem
) -> dict[str, Any]:
    """Onto a board that is in its boot loader."""
    drive = choose_drive(find_drives(folder), firmware.chip)
    if drive is None:
        where = "no boot loader's drive is mounted" if folder is None else f"no {INFO_FILE} in {folder}"
        raise EnvironmentProblem(
            f"{problem}; and {where}; for a board without codecrig firmware: hold BOOTSEL while plugging it in, and "
            f"mount its drive"
        ) from problem
    _copy(session, firmware, drive)
    session.say(f"firmware {firmware.build:08X}  copied to {escape(str(drive.path))}")
    return _facts(firmware.data, firmware.name, firmware.build, True)


def _await_drive(chip: str, folder: Path | None) -> Drive:
    deadline = time.monotonic() + DRIVE_TIMEOUT_S
    while True:
        drive = choose_drive(find_drives(folder), chip)
        if drive is not None:
            return drive
        if time.monotonic() >= deadline:
            where = "no drive with" if folder is None else f"{folder} without"
            raise EnvironmentProblem(
                f"expected the boot loader's drive within {DRIVE_TIMEOUT_S:g} s; found {where} {INFO_FILE}; nothing "
                f"was written, the board waits; next step: mount the drive "
                f"(udisksctl mount -b /dev/disk/by-label/RPI-RP2) and run this again, or unplug the board: it keeps "
                f"its firmware"
            )
        time.sleep(0.2)


def _copy(session: Session, firmware: Firmware, drive: Drive) -> None:
    log.info("copying %s to %s", firmware.name, drive.path)
    with session.progress(f"copying to {drive.path}"):
        copy_firmware(firmware, drive)


def _appear(session: Session, choice: BoardChoice) -> Connection:
    deadline = time.monotonic() + RETURN_TIMEOUT_S
    while True:
        try:
            return choice.connect(session)
        except EnvironmentProblem as error:
            if time.monotonic() >= deadline:
                raise _never_came_back(error) from error
        time.sleep(0.5)


def _never_came_back(error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"the firmware was copied, but the board is not back on the bus within {RETURN_TIMEOUT_S:g} s ({error}); next "
        f"step: plug it in again"
    )


def _bridge_build(connection: Connection) -> int | None:
    (reply,) = connection.link.exchange([Request.read(regs.BRIDGE_BUILD, 4)])
    return int.from_bytes(reply.data, "little") if reply.status is Status.OK else None


def _verify_firmware(connection: Connection, firmware: Firmware) -> None:
    found = _bridge_build(connection)
    if found != firmware.build:
        raise EnvironmentProblem(
            f"expected firmware {firmware.build or 0:08X} to run behind copying {firmware.name}; found "
            f"{'none' if found is None else f'{found:08X}'}; next step: load it again"
        )
