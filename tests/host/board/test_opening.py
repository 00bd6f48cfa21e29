"""Opening boards by name and listing them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_board import FakeBoardLink, fake_profile
from serial.tools.list_ports_common import ListPortInfo

from codecrig.board import Board, BoardError, EnvironmentProblem, list_boards, load_profile, open_board
from codecrig.link import LinkError, usb
from codecrig.link.usb import UsbDevice


def test_the_model_opens_by_name() -> None:
    with open_board("model") as board:
        assert board.profile.name == "model" and board.identity().streams >= 2
        assert board.bench.has("tap")
        board.sleep(0.01)


def test_clock_ppm_replaces_the_profiles() -> None:
    with open_board("model", clock_ppm=-250) as board:
        assert board.clock.fit(span_s=1.0, points=10).ppm(board.clock.rate) == pytest.approx(-250, abs=0.1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nonsense", "expected a board name, one of: .*model.*; found 'nonsense'"),
        ("bluetooth:x", "boards of kind 'bluetooth' are not supported in this version"),
        ("serial:/dev/ttyUSB1", "boards of kind 'serial' are not supported in this version"),
        ("usbip:somewhere", "expected usbip:HOST.*; found 'usbip:somewhere'"),
        ("usbip:127.0.0.1:1/1-1", "no USB/IP server at 127.0.0.1:1"),
    ],
)
def test_names_that_lead_nowhere(name: str, text: str) -> None:
    with pytest.raises(EnvironmentProblem, match=text):
        open_board(name)


def test_settings_of_a_simulated_board_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="'model' is of kind 'model': trace, pace and defect are for a twin"):
        open_board("model", trace=tmp_path / "wave.fst")
    with pytest.raises(EnvironmentProblem, match="'model' is simulated: a serial number chooses among physical boards"):
        open_board("model", serial="AAA")
    with pytest.raises(EnvironmentProblem, match="'pico-ice' is physical: clock_ppm is for simulated boards"):
        open_board("pico-ice", clock_ppm=0)


def test_no_physical_board_is_a_problem_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb, "_find", lambda backend, **match: [])
    with pytest.raises(EnvironmentProblem, match="board 'pico-ice': expected USB device 1209:0001 .*; found none"):
        open_board("pico-ice")


FOUND = [
    UsbDevice(0x1209, 0x0001, "codecrig pico-ice", "AAA", "usb 1209:0001 bus 1 address 4"),
    UsbDevice(0x1209, 0x0001, "codecrig pico-ice", "BBB", "usb 1209:0001 bus 1 address 5", "closed; next step: udev"),
    UsbDevice(0xCAFE, 0x4001, "bench board", "CCC", "usb cafe:4001 bus 2 address 2"),
]


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(usb, "list_devices", lambda backend=None: list(FOUND))
    yield


def test_list_shows_simulated_and_physical_boards(bus: None) -> None:
    listings = {(listing.name, listing.serial): listing for listing in list_boards()}
    assert listings["model", ""].available and listings["twin", ""].available
    assert listings["pico-ice", "AAA"].available
    denied = listings["pico-ice", "BBB"]
    assert not denied.available and "next step: udev" in denied.detail


def test_list_names_the_console_of_a_board_and_of_no_other(bus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def port(path: str, serial_number: str | None) -> ListPortInfo:
        info = ListPortInfo(path)
        info.vid, info.pid, info.serial_number = 0x1209, 0x0001, serial_number
        return info

    ports = [port("/dev/ttyACM0", None), port("/dev/ttyACM1", "AAA"), port("/dev/ttyACM2", "ZZZ")]
    monkeypatch.setattr(usb.serial.tools.list_ports, "comports", lambda: ports)
    details = {listing.serial: listing.detail for listing in list_boards() if listing.serial}
    assert details["AAA"] == "usb 1209:0001 bus 1 address 4, console /dev/ttyACM1"
    assert "console" not in details["BBB"] + details["CCC"]


def test_an_unknown_board_comes_with_a_profile_ready_to_use(bus: None, tmp_path: Path) -> None:
    (unknown,) = (listing for listing in list_boards() if listing.profile is None)
    assert (unknown.serial, unknown.description) == ("CCC", "bench board")
    file = tmp_path / "board.toml"
    file.write_text(unknown.snippet)
    profile = load_profile(file)
    assert (profile.usb.vendor_id, profile.usb.product_id, profile.usb.serial) == (0xCAFE, 0x4001, "CCC")
    assert (profile.usb.product, profile.kind) == ("bench board", "usb")


def test_a_snippet_survives_quotes_in_strings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd = UsbDevice(1, 2, 'a "b" \\ c\n', "d", "usb")
    monkeypatch.setattr(usb, "list_devices", lambda backend=None: [odd])
    (unknown,) = (listing for listing in list_boards() if listing.profile is None)
    file = tmp_path / "board.toml"
    file.write_text(unknown.snippet)
    assert load_profile(file).usb.product == 'a "b" \\ c\n'


def test_list_without_libusb_says_so_and_still_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(backend: object = None) -> list[UsbDevice]:
        raise LinkError("expected libusb; found none")

    monkeypatch.setattr(usb, "list_devices", none)
    listings = {listing.name: listing for listing in list_boards()}
    assert listings["model"].available
    assert (listings["pico-ice"].available, listings["pico-ice"].detail) == (False, "expected libusb; found none")


def test_a_broken_profile_is_listed_with_its_fault(bus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "board.toml").write_text("nam = 'x'")
    monkeypatch.setenv("CODECRIG_BOARDS", str(tmp_path))
    (broken,) = (listing for listing in list_boards() if listing.name == "broken")
    assert not broken.available and "key `nam` is unknown" in broken.detail


def test_nothing_is_left_open_when_opening_fails_half_way() -> None:
    fake, released = FakeBoardLink(), []
    fake.words.clear()
    with pytest.raises((BoardError, KeyError)):
        Board(fake, fake_profile(), on_close=[lambda: released.append("process")])
    assert fake.closed == 1 and released == ["process"]


def test_opening_the_model_loads_no_usb_and_no_twin() -> None:
    """Start-up time: what a board does not need is not imported."""
    import subprocess

    code = (
        "import sys; from codecrig.board import open_board; open_board('model').close();"
        "print([m for m in ('usb', 'codecrig.twin', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
