"""The selftest: a healthy board passes, each broken one fails in the stage and with the part that is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecrig.board import Connection, connect, find_profile
from codecrig.board.bench import FAULTS
from codecrig.board.bitstream import empty_bitstream, identity_comment, parse_bitstream
from codecrig.cli.main import run
from codecrig.link import Request, Status
from codecrig.link import registers as regs
from codecrig.link.registers import LoadCommand
from codecrig.selftest import STAGES, Settings, StageResult, selftest
from codecrig.twin import design_id

SIMULATED_SECONDS = 1.5
"""A healthy selftest in board time. At a tenth of real time, which a busy machine still makes, it takes 15 s."""


@pytest.fixture
def expected() -> Settings:
    return Settings(parse_bitstream(empty_bitstream(identity_comment("twin", design_id())), "twin.bin"))


def broken(settings: Settings, stages: str, *faults: tuple[str, dict[str, Any]], **options: Any) -> StageResult:
    """Breaks a twin, runs the stages; returns the one that failed, behind which none has passed."""

    def break_it(connection: Connection) -> None:
        for name, how in faults:
            connection.bench.fault(name, **how)

    settings.stages = tuple(stages.split())
    settings.before = break_it
    results = selftest(lambda: connect("twin", **options), settings)
    verdicts = [each.verdict for each in results]
    at = verdicts.index("failed")
    assert verdicts[:at] == ["passed"] * at, results
    assert "passed" not in verdicts[at + 1 :], results
    assert results[at].hint
    return results[at]


def test_a_healthy_board_passes_every_stage(
    board_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "selftest.json"
    assert run(["selftest", "--board", board_name, "--json", str(target)]) == 0, capsys.readouterr().out
    result = json.loads(target.read_text())
    assert [each["name"] for each in result["stages"]] == list(STAGES)
    assert {each["verdict"] for each in result["stages"]} == {"passed"}
    assert (result["verdict"], result["failed_stage"], result["part"]) == ("passed", None, None)
    assert sum(each["seconds"] for each in result["stages"]) < SIMULATED_SECONDS
    figures = {each["name"]: each["figures"] for each in result["stages"]}
    assert figures["clocks"]["error_ppm"] == pytest.approx(37.0, abs=5)
    assert figures["analog"]["gain_db"] == pytest.approx([-6.02, -6.02], abs=0.05)
    assert "All stages passed." in capsys.readouterr().out


def fault(name: str, stage: str, part: str, hint: str, *, how: dict[str, Any] | None = None, stages: str) -> Any:
    mark = f"{name} {' '.join(map(str, (how or {}).values()))}".strip()
    return pytest.param(name, how or {}, stages, stage, part, hint, id=mark)


AUDIO = "digital tone analog"
BROKEN = [
    fault("bit-clock-stuck", "tone", "clock line", "bit clock or word clock to the converter", stages=AUDIO),
    fault("word-clock-stuck", "tone", "clock line", "bit clock or word clock to the converter", stages=AUDIO),
    fault("dac-data-stuck", "tone", "data line to the DAC", "the data line to the DAC", stages=AUDIO),
    fault(
        "dac-data-stuck", "tone", "data line to the DAC", "the data line to the DAC", how={"level": True}, stages=AUDIO
    ),
    fault("adc-data-stuck", "analog", "data line from the ADC", "the data line from the ADC", stages=AUDIO),
    fault(
        "adc-data-stuck", "analog", "data line from the ADC", "from the ADC", how={"level": True}, stages=AUDIO
    ),
    fault("channels-swapped", "analog", "channels", "left and right are exchanged", stages=AUDIO),
    fault("bit-clock-inverted", "tone", "bit clock edge", "polarity, delay or ringing of the bit clock", stages=AUDIO),
    fault("slot-early", "tone", "slot", "a bit clock too early or too late", stages=AUDIO),
    fault("slot-late", "tone", "slot", "a bit clock too early or too late", stages=AUDIO),
    fault("codec-dead", "analog", "converter", "its supply, its master clock", stages=AUDIO),
    fault("memory-bit", "memory", "audio memory", "SPRAM 2 of the FPGA", stages="link memory"),
    fault(
        "memory-bit", "memory", "audio memory", "SPRAM 1 of the FPGA",
        how={"address": 0x0FFFF, "bit": 7, "level": False}, stages="link memory",
    ),
    fault("serial-bit-errors", "link", "serial link", "the SPI lines between microcontroller and FPGA", stages="link"),
    fault(
        "serial-bit-errors", "link", "serial link", "the SPI lines", how={"line": "mosi", "every": 20011}, stages="link"
    ),
    fault("other-bitstream", "load", "bitstream", "the wrong bitstream is in the FPGA: `codecrig load`", stages="link"),
    fault("foreign-bitstream", "load", "bitstream", "the wrong bitstream was in the FPGA", stages="link"),
    fault("no-fpga", "load", "FPGA", "the FPGA: soldering", stages="link"),
    fault("done-low", "load", "FPGA", "its supplies, its reset and its configuration lines", stages="link"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how", "stages", "stage", "part", "hint"), BROKEN)
def test_each_fault_is_found_and_its_part_named(
    expected: Settings, name: str, how: dict[str, Any], stages: str, stage: str, part: str, hint: str
) -> None:
    found = broken(expected, stages, (name, how))
    assert (found.name, found.part) == (stage, part), found
    assert hint in found.hint


def test_every_fault_that_a_bench_offers_is_tried() -> None:
    assert {param.values[0] for param in BROKEN} == set(FAULTS)


@pytest.mark.parametrize("clock_ppm", [500.0, -500.0])
def test_a_wrong_crystal_is_found(expected: Settings, clock_ppm: float) -> None:
    found = broken(expected, "clocks", clock_ppm=clock_ppm)
    assert (found.name, found.part) == ("clocks", "crystal")
    assert f"off by {clock_ppm:+.0f} ppm" in found.text and "crystal (12 MHz)" in found.hint


@pytest.fixture
def unprobed(tmp_path: Path) -> Path:
    """The profile of a twin without probes at the converter's pins, as a bench with a real board."""
    text = find_profile("twin").read_text()
    at = text.index("bench = [")
    text = text[:at] + "bench = []" + text[text.index("]", at) + 1 :]
    file = tmp_path / "board.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "how", "part", "hints"),
    [
        ("bit-clock-stuck", {}, "converter", ["bit clock and word clock", "the data line from the ADC", "supply"]),
        ("adc-data-stuck", {"level": True}, "converter", ["the data line from the ADC"]),
        ("codec-dead", {}, "converter", ["the converter: its supply"]),
        ("dac-data-stuck", {}, "analog path", ["the data line and the clocks to the DAC"]),
        ("channels-swapped", {}, "channels", ["left and right are exchanged"]),
        ("bit-clock-inverted", {}, "bit clock edge", ["the bit clock"]),
        ("slot-early", {}, "slot", ["a bit clock too early or too late"]),
        ("slot-late", {}, "slot", ["a bit clock too early or too late"]),
    ],
)
def test_without_probes_the_analog_loopback_finds_them_too(
    expected: Settings, unprobed: Path, name: str, how: dict[str, Any], part: str, hints: list[str]
) -> None:
    found = broken(expected, "tone analog", (name, how), profile=unprobed)
    assert (found.name, found.part) == ("analog", part), found
    for hint in hints:
        assert hint in found.hint


def test_a_cable_that_is_not_plugged_in(expected: Settings) -> None:
    expected.stages = ("tone", "analog")
    expected.before = lambda connection: connection.bench.codec(connected=False)
    *_, tone, analog = selftest(lambda: connect("twin"), expected)
    assert (tone.verdict, analog.verdict, analog.part) == ("passed", "failed", "analog path")
    assert "the cable between output and input" in analog.hint


def test_an_empty_fpga_is_loaded(expected: Settings) -> None:
    def empty(connection: Connection) -> None:
        write = Request.write_word(regs.BRIDGE_LOAD, LoadCommand.BEGIN)
        assert connection.link.exchange([write])[0].status is Status.OK

    expected.stages = ("load",)
    expected.before = empty
    result = selftest(lambda: connect("twin"), expected)[-1]
    assert result.verdict == "passed" and result.text.endswith(", loaded from twin.bin")


def test_a_board_that_dies_in_a_stage_fails_it_and_skips_the_rest(expected: Settings) -> None:
    results: list[StageResult] = []

    def unplug(result: StageResult) -> None:
        results.append(result)
        if result.name == "load":
            connections[0].bench.usb(False)

    connections: list[Connection] = []

    def find() -> Connection:
        connections.append(connect("twin"))
        return connections[0]

    expected.on_result = unplug
    assert selftest(find, expected) == results
    by_name = {each.name: each for each in results}
    assert by_name["link"].verdict == "failed" and "is gone" in by_name["link"].text
    assert {each.verdict for each in results[4:]} == {"skipped"}


# ---------------------------------------------------------------- the command

Call = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str) -> tuple[int, dict[str, Any], str]:
        target = tmp_path / "outcome.json"
        target.unlink(missing_ok=True)
        status = run([*arguments, "--json", str(target)])
        captured = capsys.readouterr()
        return status, json.loads(target.read_text()), captured.out + captured.err

    return run_it


def test_a_stage_alone_takes_along_what_it_cannot_do_without(call: Call) -> None:
    status, result, said = call("selftest", "--stage", "events")
    assert status == 0 and [each["name"] for each in result["stages"]] == ["find", "identify", "load", "events"]
    assert "8 alarms to the clock" in said


def test_a_fault_ends_with_1_and_says_where_to_look(call: Call) -> None:
    status, result, said = call("selftest", "--fault", "no-fpga", "--stage", "link,memory")
    assert (status, result["exit_status"], result["verdict"]) == (1, 1, "failed")
    assert (result["failed_stage"], result["part"]) == ("load", "FPGA")
    assert "look at: the FPGA: soldering" in said and "2 of 5 stages passed." in said


def test_no_board_ends_with_3(call: Call) -> None:
    status, result, said = call("selftest", "--board", "pico-ice", "--serial", "no such board")
    assert (status, result["failed_stage"], result["part"]) == (3, "find", "usb")
    assert "look at: the cable, the USB socket" in said


def test_wrong_input(call: Call) -> None:
    status, _, said = call("selftest", "--stage", "warp")
    assert status == 2 and "'warp' is none of: find, identify, load" in said
    status, _, said = call("selftest", "--fault", "gremlins")
    assert status == 2 and "gremlins" in said
    status, _, said = call("selftest", "--board", "model", "--fault", "no-fpga")
    assert status == 2 and "board model cannot be broken on demand" in said
    status, _, said = call("selftest", "--board", "nothing")
    assert status == 3 and "expected a board name" in said


def test_a_recorded_selftest_runs_again_without_a_board(call: Call, tmp_path: Path) -> None:
    first = call("selftest", "--fault", "slot-late", "--record", "bench.rec", "--stage", "tone")
    assert first[0] == 1
    again = call("selftest", "--fault", "slot-late", "--board", "replay:bench.rec", "--stage", "tone")
    assert again[0] == 1
    assert again[1]["stages"][-1]["text"] == first[1]["stages"][-1]["text"]


def test_safe_stops_and_reads_back(board_name: str, call: Call) -> None:
    status, result, said = call("safe", "--board", board_name)
    assert status == 0 and result["safe"] and result["configured"]
    assert result["streams"] == ["STOP"] * len(result["streams"]) and len(result["streams"]) >= 2
    assert result["converter"] == {"enabled": False, "muted": True}
    assert (result["spdif_enabled"], result["trigger_out"]) == (False, False)
    assert "Safe." in said
