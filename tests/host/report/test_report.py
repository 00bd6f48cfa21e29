"""The report page: self-contained, well-formed, and showing what the arrays hold."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from codecrig.measure import PositionSample, fit_positions
from codecrig.report import Figure, PositionSeries, Report, RunReport, TimedEvent, render_report
from codecrig.report.pictures import LEFT, PLOT, Lane, Line, Mark, chart, spectrum, timeline, waveform
from codecrig.wave import PcmAudio

SVG = "{http://www.w3.org/2000/svg}"
RATE = 48_000


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def vertices(element: ElementTree.Element) -> np.ndarray:
    return np.array([[float(each) for each in point.split(",")] for point in element.attrib["points"].split()])


def sound(channels: int = 2) -> PcmAudio:
    samples = np.random.default_rng(1).integers(-(2**22), 2**22, (RATE, channels), dtype=np.int32)
    return PcmAudio(RATE, 24, 24, samples)


def positions() -> PositionSeries:
    points = [PositionSample(k * 20_000_000, k * 245_760, k * 960) for k in range(60)]
    fit = fit_positions(points, RATE)
    return PositionSeries("render", "played", fit.host_s, fit.frames, fit.residual_frames)


def run() -> RunReport:
    audio = sound()
    return RunReport(
        title="noise.wav through the digital loopback",
        verdict="failed",
        headline="Failed: 1 underruns.",
        summary=[Figure("Comparison", "not exact", "3 frames wrong", False), Figure("Underruns", "1")],
        played=audio,
        captured=audio,
        difference=np.zeros((RATE, 2)),
        first_bad_frame=12_345,
        positions=[positions()],
        events=[TimedEvent(0.02 * k, 0, "DESCRIPTOR", "", False) for k in range(50)]
        + [TimedEvent(0.51, 0, "UNDERRUN", "1 gaps so far", True)],
        notes=["Conversion of the file: 8 bits widened to 16, exact."],
    )


def page(*runs: RunReport) -> str:
    return render_report(Report("codecrig demo", runs or [run()], [("Board", "twin"), ("Serial", "00FF")]))


def test_page_is_self_contained() -> None:
    text = page()
    assert not re.search(r"https?:|\bsrc=|\bhref=|url\(|@import|<script|<link|<img", text)
    assert len(text) < 1_000_000


def test_page_follows_light_and_dark() -> None:
    text = page()
    assert "prefers-color-scheme: dark" in text
    assert '<meta name="color-scheme" content="light dark">' in text
    # Pictures take their colours from the style sheet, or one of the two would be unreadable.
    assert not re.search(r'(fill|stroke)="#', text)


def test_page_shows_verdict_figures_events_and_provenance() -> None:
    text = page()
    for expected in (
        *("Failed: 1 underruns.", "not exact", "3 frames wrong", "UNDERRUN", "1 gaps so far", "0.510000 s"),
        *(
            "50 DESCRIPTOR",
            "first bad frame 12345",
            "0 everywhere",
            "8 bits widened to 16, exact",
            "00FF",
            "badge failed",
        ),
    ):
        assert expected in text, expected
    for heading in ("Waveform", "Spectrum", "Position over time", "Position minus fitted line", "Events", "Provenance"):
        assert f"<h3>{heading}" in text or f"<h2>{heading}" in text, heading


def test_every_picture_is_well_formed_and_has_a_title() -> None:
    pictures = re.findall(r"<svg.*?</svg>", page(), re.DOTALL)
    assert len(pictures) == 5
    for picture in pictures:
        root = parse(picture)
        assert root.attrib["role"] == "img"
        assert root.find(f"{SVG}title") is not None
        assert "nan" not in picture.lower() and "inf" not in picture.lower().replace("infrastructure", "")


def test_names_cannot_break_the_page() -> None:
    text = page(replace(run(), title="<script>alert(1)</script> & co.wav", headline="a < b"))
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co.wav" in text
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        parse(picture)


@pytest.mark.parametrize(
    "missing",
    [
        {"played": None},
        {"captured": None, "difference": None},
        {"positions": (), "events": ()},
        {"played": sound(1), "captured": sound(1), "difference": np.ones((RATE, 1))},
        {"captured": PcmAudio(RATE, 24, 24, np.zeros((0, 2), np.int32)), "difference": None},
        {"played": PcmAudio(RATE, 16, 16, np.zeros((5, 2), np.int32)), "captured": None, "difference": None},
    ],
    ids=["capture only", "played only", "no figures", "mono", "empty capture", "five silent frames"],
)
def test_parts_may_be_missing(missing: dict[str, object]) -> None:
    text = page(replace(run(), **missing))  # type: ignore[arg-type]
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        parse(picture)
        assert "nan" not in picture.lower()


def test_two_runs_share_a_page() -> None:
    text = page(run(), replace(run(), title="music.wav through the analog path", verdict="passed"))
    assert text.count("<section>") == 3
    assert "badge passed" in text and "badge failed" in text


def test_a_click_of_one_frame_is_seen_in_the_waveform() -> None:
    samples = np.zeros(RATE)
    samples[36_000] = -0.5
    root = parse(waveform([Lane("played", "played", samples, scale=1.0)], RATE, title="click"))
    points = vertices(next(each for each in root.iter(f"{SVG}polygon")))
    lowest = points[np.argmax(points[:, 1])]
    assert lowest[0] == pytest.approx(LEFT + 0.75 * PLOT, abs=1.5)
    middle = np.median(points[:, 1])
    assert lowest[1] - middle == pytest.approx(0.5 * 29, abs=1.0)


def test_mark_stands_at_its_time() -> None:
    root = parse(waveform([Lane("x", "played", np.ones(RATE))], RATE, mark=Mark(0.25, "here"), title="mark"))
    mark = next(each for each in root.iter(f"{SVG}line") if each.attrib["class"] == "mark")
    assert float(mark.attrib["x1"]) == pytest.approx(LEFT + 0.25 * PLOT, abs=0.1)


def test_spectrum_peak_stands_at_its_frequency_and_level() -> None:
    frequencies = np.linspace(0, 24_000, 4097)
    levels = np.full(4097, -120.0)
    levels[np.argmin(np.abs(frequencies - 1000))] = -20.0
    root = parse(spectrum([Line("x", "played", frequencies, levels)], title="spectrum"))
    points = vertices(next(root.iter(f"{SVG}polyline")))
    peak = points[np.argmin(points[:, 1])]
    assert peak[0] == pytest.approx(LEFT + PLOT * np.log(1000 / 20) / np.log(24_000 / 20), abs=2)
    assert peak[1] == pytest.approx(8, abs=0.1)  # -20 dB is the upper edge


def test_chart_keeps_order_and_scale() -> None:
    x = np.linspace(0, 2, 50)
    root = parse(chart([Line("up", "played", x, x * 10)], title="line"))
    points = vertices(next(root.iter(f"{SVG}polyline")))
    assert np.all(np.diff(points[:, 0]) > 0) and np.all(np.diff(points[:, 1]) < 0)
    dots = parse(chart([Line("up", "played", x, x)], title="dots", dots=True))
    assert len(list(dots.iter(f"{SVG}circle"))) == 50


def test_timeline_draws_a_moment_in_its_row() -> None:
    rows = [("descriptor", "played", np.array([0.0, 1.0])), ("underrun", "bad", np.array([0.5]))]
    root = parse(timeline(rows, title="events", end_s=1.0))
    paths = list(root.iter(f"{SVG}path"))
    assert paths[1].attrib["class"] == "moments bad"
    assert float(re.match(r"M([\d.]+)", paths[1].attrib["d"])[1]) == pytest.approx(LEFT + PLOT / 2, abs=0.1)  # type: ignore[index]
