"""Builds the firmware that is flashed: build/firmware/<board>/codecrig.elf and .uf2, for pico-ice and pico2-ice.

    python firmware/build.py [BOARD ...]

Needs cmake, make and arm-none-eabi-gcc (Debian: cmake gcc-arm-none-eabi libnewlib-arm-none-eabi). The Pico SDK and
TinyUSB are found as `sources.py` says. It loads nothing onto a board.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import sources

PORT = sources.FIRMWARE / "port" / "rp2040"
BUILD = sources.BUILD / "firmware"
TOOLS = ("cmake", "make", "arm-none-eabi-gcc")
DEBIAN_PACKAGES = "cmake make gcc-arm-none-eabi libnewlib-arm-none-eabi"
UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
UF2_FAMILY_PRESENT = 0x2000
UF2_DATA_BYTES = 256
FLASH_START, FLASH_END = 0x1000_0000, 0x1100_0000
FLASH_SECTOR_BYTES = 4096


class BuildFailed(Exception):
    """A tool is missing or failed. The message says which, and where its log is."""


@dataclass(frozen=True, slots=True)
class Board:
    """A board that the port knows: its header in boards/, and the chip's UF2 family (from Microsoft's list)."""

    name: str
    family: int

    @property
    def header(self) -> str:
        return self.name.replace("-", "_")


BOARDS = {board.name: board for board in (Board("pico-ice", 0xE48BFF56), Board("pico2-ice", 0xE48BFF59))}


def flash_image(elf: bytes) -> dict[int, bytes]:
    """What a 32-bit little-endian ELF file puts into flash: physical address to bytes. Raises ValueError."""
    if elf[:6] != b"\x7fELF\x01\x01" or len(elf) < 52:
        raise ValueError("not a 32-bit little-endian ELF file")
    offset, size, count = (struct.unpack_from(form, elf, at)[0] for form, at in (("<I", 28), ("<H", 42), ("<H", 44)))
    image: dict[int, bytes] = {}
    for index in range(count):
        kind, start, _, physical, file_bytes = struct.unpack_from("<5I", elf, offset + index * size)
        if kind == 1 and file_bytes > 0:
            if not FLASH_START <= physical < physical + file_bytes <= FLASH_END:
                raise ValueError(f"segment at 0x{physical:08X} is not in flash")
            image[physical] = elf[start : start + file_bytes]
    return image


def identified(image: dict[int, bytes], board: str, build: int) -> dict[int, bytes]:
    """The image with a line of text behind it that says what it is; `codecrig load` looks for it."""
    end = max(address + len(data) for address, data in image.items())
    return image | {end + -end % 4: f"codecrig firmware {board} build {build:08X}\n".encode()}


def uf2(image: dict[int, bytes], family: int) -> bytes:
    """UF2 file of whole 4 KiB sectors, as the boot loader needs them (RP2040 erratum E14); gaps are 0xFF."""
    sectors: dict[int, bytearray] = {}
    for address, data in sorted(image.items()):
        for at, byte in enumerate(data, address):
            base = at - at % FLASH_SECTOR_BYTES
            sectors.setdefault(base, bytearray(b"\xff" * FLASH_SECTOR_BYTES))[at - base] = byte
    pages = [
        (base + offset, bytes(sectors[base][offset : offset + UF2_DATA_BYTES]))
        for base in sorted(sectors)
        for offset in range(0, FLASH_SECTOR_BYTES, UF2_DATA_BYTES)
    ]
    blocks = []
    for number, (address, data) in enumerate(pages):
        header = (*UF2_MAGIC[:2], UF2_FAMILY_PRESENT, address, UF2_DATA_BYTES, number, len(pages), family)
        blocks.append(struct.pack("<8I", *header) + data.ljust(476, b"\0") + struct.pack("<I", UF2_MAGIC[2]))
    return b"".join(blocks)


def build(board: Board, folder: Path | None = None) -> Path:
    """Builds for one board, one at a time in a folder; returns it, with codecrig.elf, codecrig.uf2 and build.log."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise BuildFailed(f"{tool} not found; on Debian: apt install {DEBIAN_PACKAGES}")
    sdk, tinyusb = sources.find(sources.PICO_SDK, _say).path, sources.find_tinyusb(_say).path
    folder = folder or BUILD / board.name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    settings = {
        "PICO_SDK_PATH": sdk,
        "PICO_TINYUSB_PATH": tinyusb,
        "TINYUSB_SOURCE": tinyusb / "src",
        "PICO_NO_PICOTOOL": 1,
        "PICO_BOARD": board.header,
        "CODECRIG_BOARD": board.name,
        "CODECRIG_BUILD": f"0x{sources.build_id():08X}",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
    }
    commands = [
        ["cmake", "-S", str(PORT), "-B", str(folder), *(f"-D{name}={value}" for name, value in settings.items())],
        ["make", "-C", str(folder), "--no-print-directory"],
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "CXXFLAGS", "MAKEFLAGS")}
    with log.open("w") as output:
        for command in commands:
            output.write(f"$ {' '.join(command)}\n")
            output.flush()
            if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                raise BuildFailed(f"{command[0]} failed for {board.name}; log {log}:\n{tail}")
    image = identified(flash_image((folder / "codecrig.elf").read_bytes()), board.name, sources.build_id())
    (folder / "codecrig.uf2").write_bytes(uf2(image, board.family))
    return folder


def footprint(folder: Path) -> dict[str, int]:
    """Bytes that a built firmware takes: flash; RAM, where its code is copied to; of that what is zeroed; its stack."""
    nm = subprocess.run(["arm-none-eabi-nm", "codecrig.elf"], cwd=folder, capture_output=True, text=True, check=True)
    symbols = {words[-1]: int(words[0], 16) for words in map(str.split, nm.stdout.splitlines()) if len(words) == 3}
    ram_start = 0x2000_0000
    return {
        "flash": symbols["__flash_binary_end"] - FLASH_START,
        "ram": symbols["__bss_end__"] - ram_start,
        "zeroed": symbols["__bss_end__"] - symbols["__bss_start__"],
        "stack": symbols["__StackTop"] - symbols["__StackBottom"],
    }


# What calls through pointers, and what those may point to: commands, class drivers, printf's outputs, handlers.
THROUGH_POINTERS = {
    "main": r"command_\w+",
    "tud_task_ext|usbd_control_xfer_cb|tud_rhport_init|configuration_reset|process_control_request": (
        r"(driver|cdcd)_\w+|control|usbd_\w+|tud_vendor_control_xfer_cb"
    ),
    "print|_vsnprintf|_ntoa_format|__wrap_snprintf": r"_out_(buffer|null)",
    "irq_handler_chain_first_slot": r"dcd_rp2040_irq",
    "hardware_alarm_irq_handler": r"on_\w+",
    "dcd_event_handler": r"tud_event_hook_cb",
    r"rom_\S+|flash_\w+": r"(?!)",  # code of the boot ROM: the way to its boot loader, and the serial number at start
}
INTERRUPTS = r"irq_handler_chain_first_slot|dcd_rp2040_irq|on_\w+|hardware_alarm_irq_handler"
NEVER_RETURN = {"panic", "hard_assertion_failure", "panic_unsupported", "_exit"}
EXCEPTION_FRAME_BYTES = 36  # eight registers, and a word to align them


def stack_bound(folder: Path) -> int:
    """Bytes of stack that the firmware's calls take at most, by the frames in its machine code, an interrupt included.

    Interrupts do not nest. Raises ValueError for a frame that is not constant, and for recursion.
    """
    tool = ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", "codecrig.elf"]
    text = subprocess.run(tool, cwd=folder, capture_output=True, text=True, check=True).stdout
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    pointers: set[str] = set()
    function = ""
    for line in text.splitlines():
        if start := re.fullmatch(r"[0-9a-f]{8} <(\S+)>:", line):
            function = start[1]
            frames.setdefault(function, 0)
            calls.setdefault(function, set())
        if not (found := re.match(r"\s*[0-9a-f]+:\s+(\S+)\s*(.*)", line)):
            continue
        operation, operands = found[1].removesuffix(".w"), found[2]
        if operation == "push" or operands.startswith("sp!, {") and operation == "stmdb":
            for first, last in re.findall(r"(\w+)(?:-r(\d+))?[,}]", operands):
                frames[function] += 4 * (int(last) - int(first[1:]) + 1 if last else 1)
        elif size := re.search(r"\[sp, #-(\d+)\]!", operands):
            frames[function] += int(size[1])
        elif operation in ("sub", "subw") and (size := re.match(r"sp, (?:sp, )?#(\d+)", operands)):
            frames[function] += int(size[1])
        elif (
            operation in ("add", "sub", "mov")
            and re.match(r"sp, (?!(sp, )?#)", operands)
            and function != "_entry_point"
        ):
            raise ValueError(f"{function}: its frame is not constant ({line.strip()})")
        elif operation == "blx":
            pointers.add(function)
        elif operation.startswith("b") and (target := re.search(r"<([^+>]+)>", operands)):
            calls[function] |= {target[1]} - NEVER_RETURN - {function}
    for callers, called in THROUGH_POINTERS.items():
        for name in frames:
            if re.fullmatch(callers, name):
                calls[name] |= {other for other in frames if re.fullmatch(called, other)} - {name}
                pointers.discard(name)
    known: dict[str, int] = {}

    def depth(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"recursion: {' > '.join([*above, name])}")
        if name in pointers:
            raise ValueError(f"{' > '.join([*above, name])} calls through a pointer, nobody knows what")
        if name not in known:
            known[name] = frames[name] + max(
                (depth(each, (*above, name)) for each in calls[name] & frames.keys()), default=0
            )
        return known[name]

    interrupts = [name for name in frames if re.fullmatch(INTERRUPTS, name)]
    return depth("main", ()) + EXCEPTION_FRAME_BYTES + max(depth(name, ()) for name in interrupts)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BOARDS]
    if unknown:
        _say(f"expected boards among {', '.join(BOARDS)}; found {', '.join(unknown)}")
        return 2
    try:
        for name in names or BOARDS:
            folder = build(BOARDS[name])
            bytes_of = footprint(folder)
            print(folder / "codecrig.uf2")
            print(
                f"  flash {bytes_of['flash']:,} bytes; "
                f"RAM {bytes_of['ram']:,} bytes, {bytes_of['zeroed']:,} of them data; "
                f"stack {bytes_of['stack']:,} bytes, of which calls take {stack_bound(folder):,} at most"
            )
    except (BuildFailed, sources.SourceError) as error:
        _say(f"error: {error}")
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
