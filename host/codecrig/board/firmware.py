"""Firmware as a UF2 file, and the way it takes onto a board: the boot loader's drive.

A UF2 file names the chip it is for in every block. One of this project says behind its image `codecrig firmware BOARD
build XXXXXXXX`, the number in BRIDGE_BUILD. The boot loader of an RP2040 or RP2350 shows a drive with a file
INFO_UF2.TXT that names the chip; what is copied there is written, and the board starts it.
"""

from __future__ import annotations

import errno
import os
import re
import string
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from codecrig.board.errors import EnvironmentProblem, FileProblem

BLOCK_BYTES = 512
_MAGIC = (0x0A324655, 0x9E5D5157)
_END = 0x0AB16F30
_FAMILY_PRESENT = 0x2000
_CHIPS = {0xE48BFF56: "RP2040", 0xE48BFF59: "RP2350", 0xE48BFF5A: "RP2350 in RISC-V mode"}
"""By the family number."""
_DRIVE_CHIPS = {"RPI-RP2": "RP2040", "RP2350": "RP2350"}
"""By the Board-ID in INFO_UF2.TXT."""
_IDENTITY = re.compile(rb"codecrig firmware (?P<board>[a-z0-9][a-z0-9-]*) build (?P<build>[0-9A-F]{8})\n")
INFO_FILE = "INFO_UF2.TXT"


class FirmwareProblem(FileProblem):
    """A file that is no firmware, or not for this board. The message names the file and what was expected."""


@dataclass(frozen=True)
class Firmware:
    """A sound UF2 file."""

    name: str
    data: bytes
    chip: str
    board: str | None
    """None if it does not say: not made by this project."""
    build: int | None
    """What BRIDGE_BUILD will read; None if it does not say."""


def read_firmware(file: Path) -> Firmware:
    """The firmware in `file`. Raises FirmwareProblem."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise FirmwareProblem(f"{file}: cannot be read: {error.strerror or error}") from error
    if not data or len(data) % BLOCK_BYTES:
        raise FirmwareProblem(f"{file}: expected a UF2 file of blocks of {BLOCK_BYTES} bytes; found {len(data)} bytes")
    contents: dict[int, bytes] = {}
    families = set()
    for at in range(0, len(data), BLOCK_BYTES):
        *magic, flags, address, size, number, count, family = struct.unpack_from("<8I", data, at)
        end = struct.unpack_from("<I", data, at + BLOCK_BYTES - 4)[0]
        if tuple(magic) != _MAGIC or end != _END or size > 476:
            raise FirmwareProblem(f"{file}: expected a UF2 file; found no UF2 block at byte {at}")
        if count != len(data) // BLOCK_BYTES or number != at // BLOCK_BYTES:
            raise FirmwareProblem(
                f"{file}: expected block {at // BLOCK_BYTES} of {len(data) // BLOCK_BYTES}; found {number} of {count}: "
                f"cut off or mixed up; next step: build or copy it again"
            )
        families.add(family if flags & _FAMILY_PRESENT else 0)
        contents[address] = data[at + 32 : at + 32 + size]
    chips = {_CHIPS.get(family, f"another chip (family 0x{family:08X})") for family in families}
    found = _IDENTITY.search(b"".join(contents[address] for address in sorted(contents)))
    return Firmware(
        name=str(file),
        data=data,
        chip=" and ".join(sorted(chips)),
        board=found["board"].decode() if found else None,
        build=int(found["build"], 16) if found else None,
    )


def check_firmware(firmware: Firmware, board: str, chip: str) -> None:
    """Raises FirmwareProblem if this firmware is not for board `board` with `chip`."""
    if firmware.chip != chip:
        raise FirmwareProblem(
            f"{firmware.name}: expected firmware for the {chip} of board {board}; found one for {firmware.chip}"
        )
    if firmware.board is None:
        raise FirmwareProblem(
            f"{firmware.name}: expected the line `codecrig firmware {board} build ...` in it; found none: it was not "
            f"made by `codecrig build`"
        )
    if firmware.board != board:
        raise FirmwareProblem(f"{firmware.name}: expected firmware for board {board}; found that for {firmware.board}")


@dataclass(frozen=True)
class Drive:
    """A boot loader's drive."""

    path: Path
    chip: str


def find_drives(folder: Path | None = None) -> list[Drive]:
    """The boot loaders' drives that are mounted; only `folder` if it is given."""
    drives = []
    for place in [folder] if folder is not None else _mounts():
        try:
            text = (place / INFO_FILE).read_text(errors="replace")
        except OSError:
            continue
        found = re.search(r"^Board-ID: *(\S+)", text, re.MULTILINE)
        if found:
            drives.append(Drive(place, _DRIVE_CHIPS.get(found[1], f"another chip ({found[1]})")))
    return drives


def _mounts() -> list[Path]:
    if sys.platform.startswith("linux"):
        try:
            lines = Path("/proc/self/mounts").read_text().splitlines()
        except OSError:
            return []
        fields = [line.split() for line in lines if line.split()[2] in ("vfat", "msdos")]
        return [Path(part[1].replace("\\040", " ")) for part in fields]  # a blank in a path is written as \040
    if sys.platform == "win32":
        return [Path(f"{letter}:\\") for letter in string.ascii_uppercase if os.path.exists(f"{letter}:\\{INFO_FILE}")]
    volumes = Path("/Volumes")
    return sorted(volumes.iterdir()) if volumes.is_dir() else []


def choose_drive(drives: list[Drive], chip: str) -> Drive | None:
    """The drive for this chip; None if there is none at all. Raises EnvironmentProblem if it cannot be decided."""
    fitting = [drive for drive in drives if drive.chip == chip]
    if len(fitting) > 1:
        places = ", ".join(str(drive.path) for drive in fitting)
        raise EnvironmentProblem(
            f"expected one drive of an {chip}'s boot loader; found {places}; next step: choose one with --drive"
        )
    if not fitting and drives:
        raise EnvironmentProblem(
            f"expected the drive of an {chip}'s boot loader; found that of {drives[0].chip} at {drives[0].path}; "
            f"nothing was written"
        )
    return fitting[0] if fitting else None


def copy_firmware(firmware: Firmware, drive: Drive) -> None:
    """Writes the file onto the drive. The board may be gone before the file is closed: it starts the firmware at once.

    Raises EnvironmentProblem if it cannot be written.
    """
    target = drive.path / "codecrig.uf2"
    written = 0
    try:
        with target.open("wb", buffering=0) as file:
            while written < len(firmware.data):
                written += file.write(firmware.data[written : written + 64 * BLOCK_BYTES])
            os.fsync(file.fileno())
    except OSError as error:
        gone = error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT)
        if written < len(firmware.data) or not gone:
            raise EnvironmentProblem(
                f"{target}: cannot be written: {error.strerror}; the board keeps its old firmware or waits in its boot "
                f"loader; next step: mount the drive so that you may write to it"
            ) from error
