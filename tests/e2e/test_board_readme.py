"""boards/pico-ice/README.md and its drawing: pins are those of the pin file, outputs those of a run.

`python tests/e2e/test_board_readme.py` writes the outputs anew.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from codecrig.board import load_profile
from codecrig.board.bench import FAULTS
from codecrig.cli.main import run

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "boards" / "pico-ice"
README = FOLDER / "README.md"
SELFTEST = re.compile(r"(<!-- selftest -->\n```\n)(.*?)(```\n<!-- /selftest -->)", re.DOTALL)


def pins() -> dict[str, str]:
    text = (FOLDER / "pico_ice.pcf").read_text()
    return dict(re.findall(r"^set_io(?: -pullup \w+)? (\w+) (\d+)", text, re.MULTILINE))


def test_the_table_of_pins_is_that_of_the_pin_file() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", README.read_text(), re.MULTILINE))
    assert table == pins()


def test_the_table_of_pins_agrees_with_the_remarks_in_the_pin_file() -> None:
    """Those name the RP2040's pins; the Pmods' order is that of the sockets in the board's netlist."""
    remarks = re.findall(r"^set_io (\w+) \d+ +# (GPIO\d+)", (FOLDER / "pico_ice.pcf").read_text(), re.MULTILINE)
    assert len(remarks) >= 7
    for signal, place in remarks:
        assert re.search(rf"^\| `{signal}` \| \d+ \| RP2040 {place} \|", README.read_text(), re.MULTILINE), signal
    sockets = {
        "Pmod 1": dict(zip((1, 2, 3, 4, 7, 8, 9, 10), (4, 2, 47, 45, 3, 48, 46, 44), strict=True)),
        "Pmod 2": dict(zip((1, 2, 3, 4, 7, 8, 9, 10), (43, 38, 34, 31, 42, 36, 32, 28), strict=True)),
    }
    rows = re.findall(r"^\| `\w+` \| (\d+) \| (Pmod \d) pin (\d+) \|", README.read_text(), re.MULTILINE)
    assert len(rows) == 13
    for pin, socket, place in rows:
        assert sockets[socket][int(place)] == int(pin)


def test_the_drawing_shows_the_same_pins() -> None:
    drawing = (FOLDER / "wiring.svg").read_text()
    labels = {int(y): (pin, place) for y, pin, place in re.findall(r'y="(\d+)">FPGA (\d+) · pin (\d+)<', drawing)}
    signals = {int(y): name for y, name in re.findall(r'y="(\d+)">(\w+) [→←]<', drawing)}
    drawn = {name: labels[y + 10] for y, name in signals.items()}
    table = re.findall(r"^\| `(\w+)` \| (\d+) \| Pmod 2 pin (\d+) \|", README.read_text(), re.MULTILINE)
    assert drawn == {name: (pin, place) for name, pin, place in table} and len(drawn) == 8


def test_the_profile_names_the_same_places() -> None:
    wiring = load_profile(FOLDER / "board.toml").converter.wiring
    for field, signals in (
        ("master_clock", ("dac_mclk", "adc_mclk")),
        ("bit_clock", ("dac_sclk", "adc_sclk")),
        ("word_clock", ("dac_lrck", "adc_lrck")),
        ("dac_data", ("dac_sdin",)),
        ("adc_data", ("adc_sdout",)),
    ):
        text = getattr(wiring, field)
        fpga, places = text.partition("(FPGA ")[2], text.partition("(FPGA ")[0]
        for signal in signals:
            pin = pins()[signal]
            assert re.search(rf"\b{pin}\b", fpga), (field, signal)
            row = re.search(rf"^\| `{signal}` \| {pin} \| Pmod 2 pin (\d+) \|", README.read_text(), re.MULTILINE)
            assert row is not None and re.search(rf"\b{row[1]}\b", places), (field, signal)


def selftest_output() -> str:
    """What a selftest of the twin says, with x for the digits of build numbers."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(["selftest", "--board", "twin"]) == 0
    text = re.sub(r"\bbuild [0-9A-F]{8}\b", "build xxxxxxxx", said.getvalue())
    return f"$ codecrig selftest\n{text}"


def test_the_outputs_are_those_of_a_run() -> None:
    found = SELFTEST.search(README.read_text())
    assert found is not None
    assert found[2] == selftest_output()


def test_commands_page_lists_every_fault() -> None:
    page = (REPOSITORY / "docs" / "commands.md").read_text()
    table = re.findall(r"^\| `([a-z-]+)` \| .* \| (\w+) \|", page, re.MULTILINE)
    assert {name for name, _ in table} >= set(FAULTS)


if __name__ == "__main__":
    README.write_text(SELFTEST.sub(lambda found: found[1] + selftest_output() + found[3], README.read_text()))
    sys.exit(0)
