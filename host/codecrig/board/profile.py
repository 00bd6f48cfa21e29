"""Board profiles: what a board promises, as data in `boards/<name>/board.toml`.

A listed feature must work; one that is not listed is skipped with that reason. Unknown keys are refused, so that a
typing error cannot turn a promise off. Nothing here talks to a board.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from codecrig.board.errors import ProfileError

PROFILE_FILE = "board.toml"
SEARCH_VARIABLE = "CODECRIG_BOARDS"

Kind = Literal["model", "cocotb", "twin", "usb"]
SampleFormat = Literal["pcm8", "pcm16", "pcm24", "pcm32"]
Feature = Literal[
    "render",
    "capture",
    "notification",
    "digital_loopback",
    "analog_loopback",
    "pattern",
    "bus_monitor",
    "alarm",
    "trigger",
    "trigger_time",
    "midi",
    "spdif",
    "i2c",
]
BenchFeature = Literal["tap", "inject", "trigger", "cable", "codec", "midi", "spdif"]

_Positive = Annotated[int, msgspec.Meta(gt=0)]
_NotNegative = Annotated[int, msgspec.Meta(ge=0)]
_Word16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the profile file."""


class MemoryProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Memory that the stream engine reaches."""

    audio_bytes: _Positive = 131072
    """Bytes of audio memory from address 0."""


class UsbProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the board shows itself on the bus."""

    vendor_id: _Word16 = 0x1209
    product_id: _Word16 = 0x0001
    product: str = "codecrig"
    serial: str = ""
    """Empty: any board of this kind."""


class WiringProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the converter's signals can be probed, in words."""

    master_clock: str = ""
    bit_clock: str = ""
    word_clock: str = ""
    dac_data: str = ""
    adc_data: str = ""
    cable: str = ""


class ConverterProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The audio converter beside the FPGA."""

    part: str = "none"
    slot_bits: _Positive = 32
    sample_bits: _Positive = 24
    group_delay_frames: _NotNegative = 0
    """DAC plus ADC, from the data sheet."""
    wiring: WiringProfile = WiringProfile()


class AnalogProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The path from DAC to ADC. In a twin these are the settings of the codec model."""

    connected: bool = True
    gain_q16: Annotated[int, msgspec.Meta(ge=-(1 << 18), le=1 << 18)] = 65536
    """Gain times 65536."""
    noise_lsb: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    """Peak noise in steps of 24 bits."""
    dc_lsb: Annotated[int, msgspec.Meta(ge=-(1 << 22), le=1 << 22)] = 0
    delay_frames: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0


class LimitsProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits for figures measured on this board."""

    loopback_latency_frames: _Positive | None = None
    """Digital loopback; the analog path adds the converter's group delay."""
    position_rate_error_ppm: Annotated[float, msgspec.Meta(gt=0)] | None = None
    position_jitter_frames: Annotated[float, msgspec.Meta(gt=0)] | None = None
    clock_error_ppm: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of the board's clock by the host's."""


class BoardProfile(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One board as its profile file promises it."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    kind: Kind
    description: str
    clock_hz: tuple[_Positive, _Positive]
    """System clock as numerator and denominator."""
    frame_clocks: _Positive
    """System clocks in one frame at the first of `rates`."""
    rates: Annotated[list[_Positive], msgspec.Meta(min_length=1)]
    """Sample rates that streams may ask for, in whole Hz as formats name them."""
    formats: Annotated[list[SampleFormat], msgspec.Meta(min_length=1)]
    channels: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=8)]], msgspec.Meta(min_length=1)]
    features: list[Feature]
    bench: list[BenchFeature] = []
    """Capabilities wired to this board's bench."""
    microcontroller: Literal["native", "rp2040", "rp2350"] = "native"
    """Whose binary the firmware is. `native`: that compiled for this machine; `rp2040` of a twin: in an emulator."""
    memory: MemoryProfile = MemoryProfile()
    usb: UsbProfile = UsbProfile()
    converter: ConverterProfile = ConverterProfile()
    analog: AnalogProfile = AnalogProfile()
    clock_ppm: Annotated[float, msgspec.Meta(ge=-50000, le=50000)] = 0.0
    """Simulated boards: how much faster the board's clock runs than the host's."""
    start_up_frames: _NotNegative = 0
    """Captured frames at the start of a loopback that carry no promise yet."""
    limits: LimitsProfile = LimitsProfile()
    known_issues: list[str] = []

    @property
    def clock_rate(self) -> Fraction:
        """Board ticks per second, nominal."""
        return Fraction(*self.clock_hz)

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second at the first of `rates`, nominal and exact."""
        return self.clock_rate / self.frame_clocks

    def frame_clocks_at(self, sample_rate: int) -> int:
        """System clocks in one frame at a rate that a format names, one of `rates`."""
        return self.frame_clocks * self.rates[0] // sample_rate

    def frame_rate_at(self, sample_rate: int) -> Fraction:
        """Frames per second at a rate that a format names, nominal and exact."""
        return self.clock_rate / self.frame_clocks_at(sample_rate)


def search_path() -> list[Path]:
    """Folders that may hold board folders, first match wins: CODECRIG_BOARDS, the checkout, the installation."""
    folders = [Path(entry) for entry in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if entry]
    folders.append(Path(__file__).resolve().parents[3] / "boards")
    folders.append(Path(sys.prefix) / "share" / "codecrig" / "boards")
    return [folder for folder in folders if folder.is_dir()]


def profile_files() -> dict[str, Path]:
    """Every profile on the search path by board name."""
    found: dict[str, Path] = {}
    for folder in search_path():
        for file in sorted(folder.glob(f"*/{PROFILE_FILE}")):
            found.setdefault(file.parent.name, file)
    return found


def find_profile(name: str) -> Path:
    """The profile file of board `name`. Raises ProfileError that lists the names there are."""
    files = profile_files()
    if name not in files:
        folders = ", ".join(str(folder) for folder in search_path()) or "no folder"
        raise ProfileError(
            f"expected a board name, one of: {', '.join(sorted(files)) or 'none'}; found {name!r}; "
            f"next step: choose one of these, or put {name}/{PROFILE_FILE} into a folder named in {SEARCH_VARIABLE} "
            f"(searched: {folders})"
        )
    return files[name]


def load_profile(file: Path) -> BoardProfile:
    """The profile in `file`. Raises ProfileError naming the file, the key and the accepted values."""
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise ProfileError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file}: not a TOML file: {error}") from error
    for key in _unknown_keys(BoardProfile, data, ""):
        table, _, last = key.rpartition(".")
        known = ", ".join(_table_type(table).__struct_fields__)
        raise ProfileError(f"{file}: key `{key}` is unknown; accepted keys{f' in `{table}`' if table else ''}: {known}")
    try:
        return msgspec.convert(data, BoardProfile)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{file}: {_explain(error, data)}") from error


def _table_type(path: str) -> type[msgspec.Struct]:
    """The struct of table `path` ("" is the whole file)."""
    table: type[msgspec.Struct] = BoardProfile
    for name in filter(None, path.split(".")):
        table = get_type_hints(table)[name]
    return table


def _unknown_keys(table: type[msgspec.Struct], data: dict[str, Any], prefix: str) -> Iterator[str]:
    hints = get_type_hints(table)
    for key, value in data.items():
        if key not in hints:
            yield prefix + key
        elif isinstance(hints[key], type) and issubclass(hints[key], msgspec.Struct) and isinstance(value, dict):
            yield from _unknown_keys(hints[key], value, f"{prefix}{key}.")


def _explain(error: msgspec.ValidationError, data: dict[str, Any]) -> str:
    """Key, value found and accepted values, from what msgspec says."""
    text = str(error)
    where = re.search(r"at `\$([^`]*)`", text)
    key = where.group(1).lstrip(".") if where else ""
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        key = f"{key}.{missing.group(1)}".lstrip(".")
        return f"key `{key}` is missing; accepted values: {_accepted(key)}"
    found: Any = data
    for step in re.findall(r"\w+", key):
        found = found[int(step)] if isinstance(found, list) else found[step]
    return f"key `{key}` has the wrong value {found!r}; accepted values: {_accepted(key)}"


def _accepted(key: str) -> str:
    """The accepted values of key `table.key` or `table.key[index]` in words."""
    hint: Any = BoardProfile
    for step in re.findall(r"\w+", key):
        if step.isdigit():
            hint = get_args(get_args(hint)[0] if get_origin(hint) is Annotated else hint)[0]
        else:
            hint = get_type_hints(hint, include_extras=True)[step]
    return _describe(hint)


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        meta = next((item for item in arguments[1:] if isinstance(item, msgspec.Meta)), msgspec.Meta())
        limits = [
            words.format(value)
            for words, value in (
                ("above {}", meta.gt),
                ("at least {}", meta.ge),
                ("at most {}", meta.le),
                ("with at least {} element", meta.min_length),
                ("matching {}", meta.pattern),
            )
            if value is not None
        ]
        return " ".join([_describe(arguments[0]), ", ".join(limits)]).strip()
    if origin is Literal:
        return ", ".join(repr(value) for value in arguments)
    if origin is list:
        return f"a list, each of: {_describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}, each: {_describe(arguments[0])}"
    if origin in (Union, types.UnionType):
        return _describe(arguments[0])
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"a table with {', '.join(hint.__struct_fields__)}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))
