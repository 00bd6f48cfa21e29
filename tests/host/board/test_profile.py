"""Board profiles: every good one loads, and a wrong one is refused with file, key and accepted values."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from codecrig.board import EnvironmentProblem, ProfileError, find_profile, load_profile
from codecrig.board.profile import profile_files

REPOSITORY_BOARDS = Path(__file__).parents[3] / "boards"

GOOD = """
name = "desk"
kind = "usb"
description = "on my desk"
clock_hz = [12000000, 1]
frame_clocks = 256
rates = [46875]
formats = ["pcm16"]
channels = [2]
features = ["render"]
[usb]
vendor_id = 0x1209
[analog]
gain_q16 = 65536
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "board.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", sorted(REPOSITORY_BOARDS.glob("*/board.toml")), ids=lambda file: file.parent.name)
def test_every_profile_of_the_repository_is_good_and_named_as_its_folder(file: Path) -> None:
    assert load_profile(file).name == file.parent.name


def test_the_repository_has_its_boards() -> None:
    assert {"model", "twin", "pico-ice", "pico2-ice"} <= set(profile_files())


def test_rates_are_exact(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, GOOD))
    assert profile.frame_rate == Fraction(46875) and profile.clock_rate == 12_000_000
    odd = load_profile(write(tmp_path, GOOD.replace("[12000000, 1]", "[100000000, 7]")))
    assert odd.frame_rate == Fraction(100_000_000, 7 * 256)


@pytest.mark.parametrize(
    ("old", "new", "key", "accepted"),
    [
        ('kind = "usb"', 'kind = "usbb"', "key `kind` has the wrong value 'usbb'", "'model', 'cocotb', 'twin', 'usb'"),
        ("[46875]", "[]", "key `rates` has the wrong value []", "a list, each of: a whole number above 0"),
        ('["pcm16"]', '["pcm12"]', "key `formats[0]` has the wrong value 'pcm12'", "'pcm8', 'pcm16', 'pcm24', 'pcm32'"),
        ('"render"', '"rendr"', "key `features[0]` has the wrong value 'rendr'", "'render', 'capture'"),
        ("channels = [2]", "channels = [9]", "key `channels[0]` has the wrong value 9", "at least 1, at most 8"),
        ("[12000000, 1]", "[12000000, 0]", "key `clock_hz[1]` has the wrong value 0", "a whole number above 0"),
        ("[12000000, 1]", "48000", "key `clock_hz` has the wrong value 48000", "a list of 2"),
        ("= 256", '= "x"', "key `frame_clocks` has the wrong value 'x'", "a whole number above 0"),
        ("frame_clocks = 256\n", "", "key `frame_clocks` is missing", "a whole number above 0"),
        ("0x1209", "0x12090", "key `usb.vendor_id` has the wrong value 73872", "at least 0, at most 65535"),
        ("65536", '"loud"', "key `analog.gain_q16` has the wrong value 'loud'", "at least -262144"),
        ('"desk"', '"My Desk"', "key `name` has the wrong value 'My Desk'", "matching ^[a-z0-9]"),
        ("[usb]", "usb = 5\n[analogue]", "key `analogue` is unknown", "accepted keys: name, kind, description"),
        ("vendor_id", "vendor", "key `usb.vendor` is unknown", "accepted keys in `usb`: vendor_id, product_id"),
    ],
)
def test_a_wrong_key_or_value_names_file_key_and_accepted_values(
    tmp_path: Path, old: str, new: str, key: str, accepted: str
) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_profile(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: ") and key in text and accepted in text


def test_a_table_that_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="key `memory` has the wrong value 5; accepted .*: a table with audio_bytes"):
        load_profile(write(tmp_path, "memory = 5\n" + GOOD))


def test_not_toml_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"board.toml: not a TOML file: .*end of document"):
        load_profile(write(tmp_path, "name = "))
    with pytest.raises(ProfileError, match="missing.toml: cannot be read: No such file"):
        load_profile(tmp_path / "missing.toml")


def test_an_unknown_name_lists_the_names_and_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentProblem, match=r"one of: .*model.*twin.*; found 'pico-cie'; .*CODECRIG_BOARDS"):
        find_profile("pico-cie")


def test_folders_of_the_variable_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("desk", "twin"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, GOOD.replace('"desk"', f'"{name}"'))
    monkeypatch.setenv("CODECRIG_BOARDS", str(tmp_path))
    assert load_profile(find_profile("desk")).description == "on my desk"
    assert find_profile("twin").parent.parent == tmp_path
    assert find_profile("model").parent.parent == REPOSITORY_BOARDS
