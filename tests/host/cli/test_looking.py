"""list, info, doctor and help: what they say must be true."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecrig.board import BoardListing
from codecrig.link.usb import UsbDevice, refusal_help

Run = Callable[..., Any]


def test_list_shows_profiles_and_opens_nothing(codecrig: Run) -> None:
    outcome = codecrig("list")
    assert outcome.status == 0
    boards = {each["name"]: each for each in outcome.result["boards"]}
    assert boards["model"]["available"] and boards["twin"]["available"]
    assert boards["pico-ice"]["kind"] == boards["pico2-ice"]["kind"] == "usb"
    for name in ("model", "twin", "pico-ice", "pico2-ice"):
        assert name in outcome.out


def test_list_says_that_there_is_nothing(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecrig.cli.boards.list_boards", list)
    outcome = codecrig("list")
    assert (outcome.status, outcome.result["boards"]) == (0, [])
    assert "no board.toml was found" in outcome.out


def test_list_prints_a_profile_to_start_from(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = BoardListing("", "usb", "codecrig", "0042", True, "bus 1", None, 'name = "my-board"\nrates = [48000]\n')
    monkeypatch.setattr("codecrig.cli.boards.list_boards", lambda: [stranger])
    outcome = codecrig("list")
    assert 'name = "my-board"\nrates = [48000]' in outcome.out
    assert "serial 0042" in outcome.out


def test_info_of_the_model(codecrig: Run) -> None:
    outcome = codecrig("info", "--board", "model")
    assert outcome.status == 0
    assert outcome.result["board"] == "model"
    assert outcome.result["identity"]["streams"] >= 2
    assert outcome.result["profile"]["rates"][:2] == [48_000, 96_000]
    assert outcome.result["clock"]["error_ppm"] == pytest.approx(37.0, abs=5.0)
    assert "48000 Hz" in outcome.out


def test_info_shows_another_clock(codecrig: Run) -> None:
    outcome = codecrig("info", "--board", "model", "--clock-ppm", "-500")
    assert outcome.result["clock"]["error_ppm"] == pytest.approx(-500.0, abs=5.0)
    assert outcome.result["provenance"]["Simulated clock"] == "-500 ppm, by --clock-ppm"


def test_quiet_says_nothing_and_json_to_standard_output_is_alone_there(codecrig: Run) -> None:
    assert codecrig("list", "-q", with_json=False).out == ""
    outcome = codecrig("list", "--json", "-", with_json=False)
    assert outcome.out.startswith("{") and outcome.out.rstrip().endswith("}")
    assert "model" in outcome.err


def test_udev_rules_ready_for_their_file(codecrig: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = codecrig("doctor", "--udev")
    assert outcome.status == 0 and outcome.result["file"] == "/etc/udev/rules.d/70-codecrig.rules"
    lines = [line for line in outcome.out.splitlines() if not line.startswith("#")]
    assert lines[0] == (
        'SUBSYSTEM=="usb", ATTR{idVendor}=="1209", ATTR{idProduct}=="0001", ATTR{product}=="codecrig*", '
        'TAG+="uaccess", MODE="0660", GROUP="plugdev"'
    )
    assert 'ENV{ID_MM_DEVICE_IGNORE}="1"' in lines[1] and len(lines) == 2
    (tmp_path / "70-codecrig.rules").write_text(outcome.out)
    monkeypatch.setattr("codecrig.cli.doctor._UDEV_FOLDERS", (str(tmp_path),))
    assert checks(codecrig("doctor"))["udev 1209:0001"]["state"] == "ok"


def test_doctor_says_whether_connected_boards_may_be_opened(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    help_text = "no permission to open it; next step: put the line into a file"
    boards = [
        UsbDevice(0x1209, 1, "codecrig pico-ice", "AAA", "usb 1209:0001 bus 1 address 4"),
        UsbDevice(0x1209, 1, "", "BBB", "usb 1209:0001 bus 1 address 5", help_text),
    ]
    monkeypatch.setattr("codecrig.cli.doctor.list_devices", lambda: boards)
    found = checks(codecrig("doctor"))
    assert found["board AAA"]["state"] == "ok" and found["board AAA"]["detail"].endswith("may be opened")
    denied = found["board BBB"]
    assert (denied["state"], denied["detail"]) == ("wrong", "no permission to open it")
    assert denied["fix"] == "put the line into a file"


def test_doctor_shows_a_chip_that_the_firmware_refuses(codecrig: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What such a board says is in tests/firmware/test_usb.c, how it is found in tests/host/link/test_usb.py."""
    product = "codecrig pico-ice: needs RP2040 B2 or later"
    board = UsbDevice(0x1209, 1, product, "CCC", "usb 1209:0001 bus 1 address 6", refusal_help(product))
    monkeypatch.setattr("codecrig.cli.doctor.list_devices", lambda: [board])
    refused = checks(codecrig("doctor"))["board CCC"]
    assert refused["state"] == "wrong"
    assert refused["detail"] == "the firmware does not run on this chip: it needs RP2040 B2 or later"
    assert refused["fix"].startswith("take another board") and "RP2-B2 is the first" in refused["fix"]


def test_doctor_looks_for_the_tools_of_the_firmware(
    codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PICO_SDK_PATH", str(tmp_path))
    found = checks(codecrig("doctor"))
    for name in ("cmake", "arm compiler", "node", "nextpnr"):
        assert (found[name]["state"] == "ok") != bool(found[name]["fix"]) and not found[name]["required"]
    assert found["pico-sdk"]["state"] == "wrong" and "expected the Pico SDK 2.1" in found["pico-sdk"]["detail"]


def checks(outcome: Any) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in outcome.result["checks"]}


def test_doctor_is_quick_and_every_missing_thing_has_a_fix(codecrig: Run) -> None:
    started = time.perf_counter()
    outcome = codecrig("doctor")
    assert time.perf_counter() - started < 10
    found = checks(outcome)
    for name in (
        "python",
        "checkout",
        "c++ compiler",
        "c compiler",
        "make",
        "verilator",
        "tinyusb",
        "board profiles",
        "libusb",
    ):
        assert found[name]["state"] in ("ok", "missing", "wrong"), name
        assert (found[name]["state"] == "ok") != bool(found[name]["fix"]), name
    needed = [each for each in found.values() if each["required"] and each["state"] != "ok"]
    assert outcome.status == (3 if needed else 0)
    assert outcome.result["healthy"] == (not needed)


def test_doctor_misses_what_is_not_there(codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    outcome = codecrig("doctor")
    assert outcome.status == 3
    found = checks(outcome)
    assert found["c++ compiler"]["state"] == "missing"
    assert found["c++ compiler"]["fix"] == "sudo apt-get install g++"
    assert found["make"]["state"] == "missing"
    assert "fix: sudo apt-get install g++" in outcome.out


def test_doctor_sees_a_tool_that_does_not_run(codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    found = checks(codecrig("doctor"))
    assert (found["c++ compiler"]["state"], found["c++ compiler"]["detail"]) == ("wrong", f"{broken} does not run")


def test_doctor_sees_a_wrong_tinyusb_path(codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYUSB_PATH", str(tmp_path))
    found = checks(codecrig("doctor"))
    assert found["tinyusb"]["state"] == "wrong"
    assert str(tmp_path) in found["tinyusb"]["detail"]


def test_doctor_names_a_profile_that_cannot_be_used(
    codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "board.toml").write_text('name = "odd"\ncolour = "red"\n')
    monkeypatch.setenv("CODECRIG_BOARDS", str(tmp_path))
    outcome = codecrig("doctor")
    assert "`colour`" in checks(outcome)["board profile"]["detail"]


def test_doctor_judges_udev_rules(codecrig: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("codecrig.cli.doctor._UDEV_FOLDERS", (str(tmp_path),))
    name = "udev 1209:0001"
    missing = checks(codecrig("doctor"))[name]
    assert missing["state"] == "missing"
    rule = re.search(r"echo '(.*)' \| sudo tee /etc/udev/rules.d/(\S+)", missing["fix"])
    assert rule is not None
    (tmp_path / rule[2]).write_text(f"# {rule[1]}\n")
    assert checks(codecrig("doctor"))[name]["state"] == "missing"
    (tmp_path / rule[2]).write_text(rule[1])
    assert checks(codecrig("doctor"))[name]["state"] == "ok"
    shutil.move(tmp_path / rule[2], tmp_path / "99-late.rules")
    late = checks(codecrig("doctor"))[name]
    assert late["state"] == "wrong" and "73-seat-late.rules" in late["detail"]


VERBS = ("demo", "loopback", "play", "record", "list", "info", "doctor", "bench", "build", "load", "selftest", "safe")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(codecrig: Run, verb: str) -> None:
    outcome = codecrig(verb, "--help", with_json=False)
    assert outcome.status == 0
    assert f"Example: codecrig {verb}" in outcome.out
    for option in ("--json", "--verbose", "--quiet", "--log-file"):
        assert option in outcome.out
