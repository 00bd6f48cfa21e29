"""hdl/synth/synth.py without its tools: what it says when one is missing, the identity it gives, the page it writes."""

import importlib.util
import sys
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
    assert synth.main() == 4
    assert "yowasp-nothing not found; run: pip install" in capsys.readouterr().err
    assert (REPOSITORY / synth.DOCUMENT).read_bytes() == before


def test_failing_tool(synth: ModuleType) -> None:
    """The message holds the tool, its exit code and the end of its log."""
    script = "print('first'); print('the reason'); raise SystemExit(7)"
    with pytest.raises(synth.SynthesisError, match=r"(?s)exit code 7; log build/synth/test/fail.log:.*the reason"):
        synth.run([sys.executable, "-c", script], synth.BUILD / "test" / "fail.log")


def test_identity_follows_the_sources(synth: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tool, another seed, another source: another id; the same: the same."""
    top, engine = synth.DESIGNS
    monkeypatch.setattr(synth, "tool_versions", lambda: {"yosys": "1"})
    first = synth.build_id(top)
    assert synth.build_id(top) == first
    assert synth.build_id(engine) != first
    monkeypatch.setattr(synth, "tool_versions", lambda: {"yosys": "2"})
    second = synth.build_id(top)
    monkeypatch.setattr(synth, "SEED", 2)
    assert len({first, second, synth.build_id(top)}) == 3


def test_every_source_is_read(synth: ModuleType) -> None:
    """The package first, then every module."""
    names = [path.name for path in synth.sources()]
    assert names[0] == "codecrig_pkg.sv"
    assert set(names) >= {path.name for path in (REPOSITORY / "hdl" / "rtl").glob("*.sv")}


def test_page_and_limits(synth: ModuleType) -> None:
    """Figures land in their columns; a clock that is too slow, or missing, is named."""
    top = synth.Figures(3000, 1200, 16, 4, 3900, {"clk": 20.04, "spi_sck": 66.6})
    engine = synth.Figures(900, 120, 10, 0, 1300, {"clk": 25.5})
    page = synth.document({"pico-ice": top, "engine": engine}, {"yosys": "1.2"}, 0xAB)
    assert "| pico-ice top | 3000 | 1200 | 16 of 30 | 4 of 4 | 20.0 | 66.6 |" in page
    assert "| stream engine alone | 900 | 120 | 10 | 0 | 25.5 | |" in page
    assert "3900 of 5280 logic cells (74 %)" in page and "0x000000AB" in page
    assert synth.too_slow({"clk": 12.3, "spi_sck": 15.4}) == []
    assert synth.too_slow({"clk": 12.2, "spi_sck": 15.4}) == ["clk"]
    assert synth.too_slow({"clk": 13.0}) == ["spi_sck"]
