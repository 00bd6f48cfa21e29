"""firmware/build.py without its tools: what it makes of an ELF file, and what it says when a tool is missing."""

import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    specification = importlib.util.spec_from_file_location("codecrig_firmware_build", FIRMWARE / "build.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def elf(*segments: tuple[int, int, bytes]) -> bytes:
    """A file with segments of (type, physical address, contents)."""
    data_at = 52 + 32 * len(segments)
    headers, contents = b"", b""
    for kind, physical, data in segments:
        headers += struct.pack("<8I", kind, data_at + len(contents), 0x2000_0000, physical, len(data), len(data), 5, 4)
        contents += data
    start = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    start += struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, 0, 52, 0, 0, 52, 32, len(segments), 0, 0, 0)
    return start + headers + contents


def test_segments_lie_at_their_physical_address(build: ModuleType) -> None:
    file = elf((1, 0x1000_0000, b"boot"), (4, 0x1000_0100, b"note"), (1, 0x1000_0200, b""), (1, 0x1000_2000, b"data"))
    assert build.flash_image(file) == {0x1000_0000: b"boot", 0x1000_2000: b"data"}


@pytest.mark.parametrize("file", [b"", b"\x7fELF\x02\x01".ljust(64, b"\0"), b"RIFF".ljust(64, b"\0")])
def test_other_files_are_refused(build: ModuleType, file: bytes) -> None:
    with pytest.raises(ValueError, match="not a 32-bit little-endian ELF file"):
        build.flash_image(file)


def test_a_segment_outside_flash_is_refused(build: ModuleType) -> None:
    with pytest.raises(ValueError, match="0x20000000 is not in flash"):
        build.flash_image(elf((1, 0x2000_0000, b"data")))


def test_uf2_blocks_fill_whole_sectors(build: ModuleType) -> None:
    family = build.BOARDS["pico-ice"].family
    file = build.uf2({0x1000_0004: b"\x01\x02", 0x1000_2FFF: b"\x03\x04"}, family)
    blocks = [file[at : at + 512] for at in range(0, len(file), 512)]
    assert len(blocks) == 48  # sectors 0, 2 and 3, 16 blocks each
    flash: dict[int, int] = {}
    for number, block in enumerate(blocks):
        header = struct.unpack_from("<8I", block)
        assert header[:3] == (0x0A324655, 0x9E5D5157, 0x2000)
        assert header[4:] == (256, number, 48, 0xE48BFF56)
        assert struct.unpack_from("<I", block, 508) == (0x0AB16F30,)
        flash |= dict(enumerate(block[32 : 32 + 256], header[3]))
    assert min(flash) == 0x1000_0000 and max(flash) == 0x1000_3FFF and len(flash) == 3 * 4096
    written = {0x1000_0004: 1, 0x1000_0005: 2, 0x1000_2FFF: 3, 0x1000_3000: 4}
    assert all(value == written.get(address, 0xFF) for address, value in flash.items())


def test_a_missing_tool_is_named(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "TOOLS", ("arm-nothing-gcc",))
    assert build.main(["pico-ice"]) == 3
    assert "arm-nothing-gcc not found; on Debian: apt install" in capsys.readouterr().err


def test_an_unknown_board_is_named(build: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["ulx3s"]) == 2
    assert "expected boards among pico-ice, pico2-ice; found ulx3s" in capsys.readouterr().err
