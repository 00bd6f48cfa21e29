"""The pico2-ice takes the top of the pico-ice; its pin file against that of the pico-ice and against the board."""

import re
from pathlib import Path

from bench import REPOSITORY

PINS = REPOSITORY / "boards" / "pico2-ice" / "pico2_ice.pcf"
PICO_ICE_PINS = REPOSITORY / "boards" / "pico-ice" / "pico_ice.pcf"

# The netlist of the board: FPGA pins at GPIO24 to 27 (SPI1), other shared ones, Pmod pins 1 to 4 and 7 to 10.
SPI1 = {"spi_miso": 26, "spi_cs_n": 23, "spi_sck": 21, "spi_mosi": 18}
SHARED = {27, 19, 25, 20, 9, 11}
PMOD_A = (4, 2, 45, 47, 3, 44, 46, 48)
PMOD_B = (43, 38, 34, 31, 42, 36, 32, 28)
PICO_ICE_PMOD_1 = (4, 2, 47, 45, 3, 48, 46, 44)


def pins(path: Path) -> dict[str, tuple[int, str]]:
    """Pin and options of each port that a pin file names."""
    lines = [line.split("#")[0] for line in path.read_text().splitlines()]
    found = [re.fullmatch(r"set_io (.*?)(\w+) (\d+) *", line) for line in lines if line.strip()]
    assert all(found), f"a line of {path} is no set_io line"
    places = {match[2]: (int(match[3]), match[1].strip()) for match in found if match}
    assert len(places) == len(found), f"{path} names a port twice"
    return places


def test_same_ports_and_options_as_the_pico_ice() -> None:
    """Whose file test_pico_ice compares with the top."""
    mine, other = pins(PINS), pins(PICO_ICE_PINS)
    assert [(port, options) for port, (_, options) in sorted(mine.items())] == [
        (port, options) for port, (_, options) in sorted(other.items())
    ]
    assert len({pin for pin, _ in mine.values()}) == len(mine)


def test_microcontroller_pins() -> None:
    """SPI on the pins of SPI1, the other lines on pins that reach the RP2350."""
    mine = {port: pin for port, (pin, _) in pins(PINS).items()}
    assert mine["clk"] == 35
    assert {port: mine[port] for port in SPI1} == SPI1
    assert {mine[port] for port in ("attention", "trigger_out", "trigger_in")} <= SHARED


def test_what_is_plugged_into_a_pico_ice_fits() -> None:
    """Every signal of a Pmod lies at the same Pmod pin on both boards."""
    mine, other = pins(PINS), pins(PICO_ICE_PINS)
    moved = dict(zip(PICO_ICE_PMOD_1 + PMOD_B, PMOD_A + PMOD_B, strict=True))
    on_pmods = {port: pin for port, (pin, _) in other.items() if pin in moved}
    assert {port: mine[port][0] for port in on_pmods} == {port: moved[pin] for port, pin in on_pmods.items()}
    assert set(on_pmods) == {port for port, (pin, _) in mine.items() if pin in PMOD_A + PMOD_B}
    assert {"dac_sdin", "adc_sdout", "midi_rx", "i2c_scl"} <= set(on_pmods)
