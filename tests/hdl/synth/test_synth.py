"""hdl/synth/synth.py: what it says when a tool is missing, its bitstream id, its page; and that nothing grows.

The last test runs yosys on a top and on the engine, without place and route.
"""

import importlib.util
import shutil
import sys
import warnings
from types import ModuleType

import pytest
from bench import REPOSITORY


@pytest.fixture
def synth() -> ModuleType:
    specification = importlib.util.spec_from_file_location("synth", REPOSITORY / "hdl" / "synth" / "synth.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["synth"] = module
    specification.loader.exec_module(module)
    return module


def test_missing_tool(synth: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4, the tool's name and the line that fixes it; no page is written."""
    before = (REPOSITORY / synth.DOCUMENT).read_bytes()
    monkeypatch.setattr(synth, "TOOLS", ("yowasp-nothing",))
    assert synth.main([]) == synth.main(["--count"]) == 4
    assert "yowasp-nothing not found; run: pip install" in capsys.readouterr().err
    assert (REPOSITORY / synth.DOCUMENT).read_bytes() == before


def test_failing_tool(synth: ModuleType) -> None:
    """The message holds the tool, its exit code and the end of its log."""
    script = "print('first'); print('the reason'); raise SystemExit(7)"
    with pytest.raises(synth.SynthesisError, match=r"(?s)exit code 7; log build/synth/test/fail.log:.*the reason"):
        synth.run([sys.executable, "-c", script], synth.BUILD / "test" / "fail.log")


def test_identity_follows_the_sources(synth: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tool, another seed, other pins, another parameter: another id; the same: the same."""
    monkeypatch.setattr(synth, "tool_versions", lambda: {"yosys": "1"})
    first = synth.build_id(synth.DESIGNS[0])
    assert synth.build_id(synth.DESIGNS[0]) == first
    assert len({synth.build_id(design) for design in synth.DESIGNS}) == len(synth.DESIGNS)
    monkeypatch.setattr(synth, "tool_versions", lambda: {"yosys": "2"})
    second = synth.build_id(synth.DESIGNS[0])
    monkeypatch.setattr(synth, "SEED", 2)
    assert len({first, second, synth.build_id(synth.DESIGNS[0])}) == 3


def test_what_was_made_is_taken(synth: ModuleType) -> None:
    """Made once for each key, and again when it is gone; a step that failed leaves nothing to be taken."""
    folder = REPOSITORY / synth.BUILD / "test-made"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = synth.BUILD / "test-made" / "file"
    times = []

    def make() -> None:
        times.append(1)
        (REPOSITORY / made).write_text("")

    def fail() -> None:
        raise synth.SynthesisError("no")

    for key, count in (("a", 1), ("a", 1), ("b", 2), ("a", 3)):
        synth.unless_made(made, key, make)
        assert len(times) == count
    (REPOSITORY / made).unlink()
    synth.unless_made(made, "a", make)
    assert len(times) == 4
    with pytest.raises(synth.SynthesisError):
        synth.unless_made(made, "b", fail)
    synth.unless_made(made, "a", make)
    assert len(times) == 5


def test_bitstream_is_looked_at(synth: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, or something else than a bitstream, is an error, also where an earlier one lay."""
    folder = synth.BUILD / "test-pack"
    (REPOSITORY / folder).mkdir(parents=True, exist_ok=True)
    contents = [b"\xff\x00\x00\xff\x7e\xaa\x99\x7e\x51", b"IceStorm", None]

    def run(command: list[str], _log: object) -> None:
        content = contents.pop(0)
        if content is not None:
            (REPOSITORY / command[-1]).write_bytes(content)

    monkeypatch.setattr(synth, "run", run)
    monkeypatch.setattr(synth, "tool", lambda name: name)
    synth.pack(folder / "x.asc", folder / "x.bin")
    for size in (8, 0):
        with pytest.raises(synth.SynthesisError, match=rf"made no bitstream: .*x\.bin has {size} bytes"):
            synth.pack(folder / "x.asc", folder / "x.bin")


def test_every_source_is_read(synth: ModuleType) -> None:
    """The package first, then every module."""
    names = [path.name for path in synth.sources()]
    assert names[0] == "codecrig_pkg.sv"
    assert set(names) >= {path.name for path in (REPOSITORY / "hdl" / "rtl").glob("*.sv")}


def test_page_and_limits(synth: ModuleType) -> None:
    """Figures land in their columns with what is asked of them; a clock that is too slow, or missing, is named."""
    clocks = {"clk": [20.04, 24.6, 22.0, 21.0, 23.0], "spi_sck": [66.6, 60.0, 61.0, 62.0, 63.0]}
    top = synth.Figures(4300, 1200, 16, 4, 5100, {"engine": 1300, "hub": 2000}, clocks)
    engine = synth.Figures(1250, 120, 9, 0, 0, {}, {"clk": [25.5, 23.0, 23.5, 24.5, 24.0]})
    results = {design.name: top if design.pins else engine for design in synth.DESIGNS}
    page = synth.document(results, {"yosys": "1.2"})
    assert (
        "| pico2-ice | 4,300 (at most 4,299 LUT4: **not met**) | 1,200 | 16 of 30 | 4 of 4 | 5,100 of 5,280 (97 %) | "
        "24.6 / 22.0 (at least 24.576 MHz clk: met) | 66.6 / 62.0 (at least 30.72 MHz spi_sck: met) |"
    ) in page
    assert "| 4 | 1,250 | 120 | 9 | 25.5 / 24.0 |" in page
    assert (
        "| 8 | 1,250 (at most 1,250 LUT4: met) | 120 | 9 (at most 8 block RAM: **not met**) | "
        "25.5 / 24.0 (at least 24 MHz: met) |"
    ) in page
    once = synth.Figures(4000, 1200, 16, 4, 5100, {"engine": 1300}, {"clk": [24.6], "spi_sck": [66.6]})
    page_of_one = synth.document({**results, "pico-ice": once}, {"yosys": "1.2"})
    assert "| 24.6 / 24.6, 1 seed (at least 24.576 MHz clk: met) |" in page_of_one
    assert page.index("| hub | 2000 |") < page.index("| engine | 1300 |")
    eight = next(design for design in synth.DESIGNS if design.name == "engine-8")
    assert synth.unmet(eight, engine) == ["engine-8: 9, at most 8 block RAM allowed"]
    assert synth.too_slow(results) == []
    results["pico2-ice"] = synth.Figures(1, 1, 1, 1, 1, {}, {"clk": [12.2, 30.0, 30.0, 30.0, 30.0]})
    assert synth.too_slow(results) == ["clk of pico2-ice", "spi_sck of pico2-ice"]
    results["pico2-ice"] = synth.Figures(1, 1, 1, 1, 1)
    assert synth.too_slow(results) == synth.unmet(synth.DESIGNS[1], results["pico2-ice"]) == []
    assert "| not measured | not measured |" in synth.document(results, {"yosys": "1.2"})


def test_changes_are_named(synth: ModuleType) -> None:
    """2 % either way is nothing; more is told with where and how much."""
    before = synth.Figures(1000, 100, 10, 0, 0, {"engine": 700, "hub": 300})
    assert synth.changes("x", synth.Figures(1020, 500, 10, 0, 0, {"engine": 720, "hub": 300}), before) == ([], [])
    grown, shrunk = synth.changes("x", synth.Figures(1021, 100, 9, 0, 0, {"engine": 731, "hub": 290}), before)
    assert grown == ["x: 1021 LUT4, recorded 1000 (+2.1 %, 2 % allowed); most in engine +31, hub -10"]
    assert shrunk == ["x: 9 block RAM, recorded 10 (-10.0 %, 2 % allowed)"]


def test_netlist_is_counted_by_instance(synth: ModuleType) -> None:
    names = ["core.engine.state_reg_O", "core.engine.contexts.words_O", "core.hub.x", "core.bus_adr_O", "rst_O"]
    cells = {name: {"type": "SB_LUT4"} for name in names} | {"core.hub.y": {"type": "SB_DFF"}}
    assert synth.lut_by_module(cells) == {"engine": 2, "hub": 1, "top": 2}


def test_page_shows_the_record(synth: ModuleType) -> None:
    assert (REPOSITORY / synth.DOCUMENT).read_text() == synth.document(*synth.recorded())


def test_nothing_has_grown(synth: ModuleType) -> None:
    """LUTs and block RAMs of the sources as they are, against those recorded and against the limits."""
    try:
        synth.tool_versions()
    except synth.SynthesisError as error:
        pytest.skip(str(error))
    before, versions = synth.recorded()
    bad = []
    for design in synth.DESIGNS:
        if design.name in synth.COUNTED:
            now = synth.synthesise(design)
            grown, shrunk = synth.changes(design.name, now, before[design.name])
            bad += [*grown, *synth.unmet(design, now, counts_only=True)]
            for line in shrunk:
                warnings.warn(f"{line}: to keep it, {synth.RECORD_COMMAND}", stacklevel=1)
    how = f"if that is meant, {synth.RECORD_COMMAND}; recorded with {versions}, counted with {synth.tool_versions()}"
    assert not bad, "\n".join([*bad, how])
