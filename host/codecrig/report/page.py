"""Puts figures, pictures and provenance of one or more runs on one page. It judges nothing: verdicts come in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import jinja2
import numpy as np
import numpy.typing as npt

from codecrig.measure import level_dbfs, spectrum_dbfs
from codecrig.report.pictures import Lane, Line, Mark, chart, spectrum, timeline, waveform
from codecrig.wave import PcmAudio

MOST_EVENTS_LISTED = 40


@dataclass(frozen=True)
class Figure:
    """One row of a summary: what, how much, and where it comes from or what it means."""

    label: str
    value: str
    note: str = ""
    good: bool | None = None
    """True and False colour the value; None does not."""


@dataclass(frozen=True)
class PositionSeries:
    """Position of one stream over host time, with what is left beside the fitted line."""

    label: str
    style: str
    """`played` or `captured`."""
    host_s: npt.NDArray[np.float64]
    frames: npt.NDArray[np.int64]
    residual_frames: npt.NDArray[np.float64]


@dataclass(frozen=True)
class TimedEvent:
    """An event as the page lists it."""

    time_s: float
    """Board time since the start of the run."""
    stream: int
    cause: str
    detail: str
    notable: bool
    """Listed by itself; the others are only counted and drawn."""


@dataclass(frozen=True)
class RunReport:
    """One run: what was played, what came back, and what that says."""

    title: str
    verdict: str
    """One of passed, failed, measured, interrupted: becomes the badge."""
    headline: str
    """The result in one sentence."""
    summary: Sequence[Figure]
    played: PcmAudio | None = None
    captured: PcmAudio | None = None
    offset_frames: float = 0.0
    """Captured frame at which played frame 0 lies."""
    difference: npt.NDArray[np.float64] | None = None
    """Captured minus played where both exist, relative to full scale."""
    difference_start_frame: int = 0
    """Played frame that `difference` begins with."""
    difference_label: str = "difference"
    first_bad_frame: int | None = None
    positions: Sequence[PositionSeries] = ()
    sync_points: Sequence[tuple[float, float]] = ()
    """(Seconds of host time, frames that a synthesizer's sample clock is behind the master clock)."""
    events: Sequence[TimedEvent] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The whole page."""

    title: str
    runs: Sequence[RunReport]
    provenance: Sequence[tuple[str, str]]
    footer: str = ""
    headline: str = ""


@dataclass
class _Picture:
    heading: str
    svg: str
    legend: list[tuple[str, str]] = field(default_factory=list)
    caption: str = ""


def render_report(report: Report) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("codecrig.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    runs = [
        {
            "run": run,
            "pictures": _pictures(run),
            "counts": sorted(Counter((event.stream, event.cause) for event in run.events).items()),
            "notable": [event for event in run.events if event.notable][:MOST_EVENTS_LISTED],
            "notable_count": sum(event.notable for event in run.events),
        }
        for run in report.runs
    ]
    return environment.get_template("page.html").render(report=report, runs=runs)


def _pictures(run: RunReport) -> list[_Picture]:
    pictures = []
    if run.played is not None or run.captured is not None:
        pictures.append(_waveform(run))
        pictures.append(_spectrum(run))
    if run.positions:
        pictures += _positions(run)
    if run.sync_points:
        pictures.append(_sync(run))
    if run.events:
        pictures.append(_timeline(run))
    return pictures


def _scaled(audio: PcmAudio) -> npt.NDArray[np.float64]:
    return audio.samples / 2.0 ** (audio.valid_bits - 1)


def _channel_names(channels: int) -> list[str]:
    return ["mono"] if channels == 1 else ["left", "right"] if channels == 2 else [f"ch {n}" for n in range(channels)]


def _waveform(run: RunReport) -> _Picture:
    lanes = []
    audio = run.played or run.captured
    assert audio is not None
    rate = float(audio.sample_rate)
    played = _scaled(run.played) if run.played is not None else None
    captured = _scaled(run.captured) if run.captured is not None else None
    scale = max(
        (float(np.max(np.abs(each))) for each in (played, captured) if each is not None and len(each)), default=0
    )
    for channel, name in enumerate(_channel_names(audio.channels)):
        if played is not None:
            signal = played[:, channel]
            lanes.append(Lane(f"played {name}"[:15], "played", signal, 0.0, _level(signal), scale))
        if captured is not None:
            signal = captured[:, channel]
            start_s = -run.offset_frames / rate
            lanes.append(Lane(f"captured {name}"[:15], "captured", signal, start_s, _level(signal), scale))
        if run.difference is not None:
            signal = run.difference[:, channel]
            note = "0 everywhere" if not np.any(signal) else _level(signal)
            lanes.append(Lane(run.difference_label, "difference", signal, run.difference_start_frame / rate, note))
    mark = None
    if run.first_bad_frame is not None:
        mark = Mark(run.first_bad_frame / rate, f"first bad frame {run.first_bad_frame}")
    caption = "Lowest and highest sample in each column; time from played frame 0."
    if run.difference is not None:
        caption += f" What is called {run.difference_label} is drawn to its own scale."
    return _Picture("Waveform", waveform(lanes, rate, mark=mark, title=f"Waveform of {run.title}"), [], caption)


def _level(signal: npt.NDArray[np.float64]) -> str:
    level = level_dbfs(signal) if len(signal) else float("-inf")
    return "silent" if level == float("-inf") else f"{level:.1f} dBFS".replace("-", "\u2212")


def _spectrum(run: RunReport) -> _Picture:
    lines, legend = [], []
    sources = [("played", "played", run.played), ("captured", "captured", run.captured)]
    for label, style, audio in sources:
        if audio is not None and audio.frames:
            # Power of all channels together: one curve is enough to see what a path adds or takes away.
            curves = [spectrum_dbfs(channel, audio.sample_rate) for channel in _scaled(audio).T]
            lines.append(Line(label, style, curves[0][0], _mean_power([levels for _, levels in curves])))
            legend.append((label, style))
    audio = run.played or run.captured
    if run.difference is not None and np.any(run.difference) and audio is not None:
        curves = [spectrum_dbfs(channel, audio.sample_rate) for channel in run.difference.T]
        lines.append(Line("difference", "difference", curves[0][0], _mean_power([levels for _, levels in curves])))
        legend.append((run.difference_label, "difference"))
    caption = "Hann windows of up to 8192 frames, powers averaged over time and channels; a full-scale sine reads 0 dB."
    return _Picture("Spectrum", spectrum(lines, title=f"Spectrum of {run.title}"), legend, caption)


def _mean_power(levels: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(np.mean([10 ** (each / 10) for each in levels], axis=0)))


def _positions(run: RunReport) -> list[_Picture]:
    legend = [(series.label, series.style) for series in run.positions]
    lines = [Line(each.label, each.style, each.host_s, each.frames.astype(float)) for each in run.positions]
    rests = [Line(each.label, each.style, each.host_s, each.residual_frames) for each in run.positions]
    return [
        _Picture(
            "Position over time, frames",
            chart(lines, title=f"Position of {run.title} over host time", height=120),
            legend,
            "Frames converted, as the engine's snapshots say, over host time from the first point kept.",
        ),
        _Picture(
            "Position minus fitted line, frames",
            chart(rests, title=f"Residuals of the position of {run.title}", height=140, dots=True),
            legend,
            "Jitter of the position. A counter of whole frames alone gives \u00b10.5 frames, 0.29 RMS.",
        ),
    ]


def _sync(run: RunReport) -> _Picture:
    seconds, frames = (np.array(each, dtype=float) for each in zip(*run.sync_points, strict=True))
    svg = chart([Line("error", "played", seconds, frames)], title=f"Sample clock of {run.title}", height=140, dots=True)
    caption = (
        "Master time (host) minus the reference time of the frame that the converter counted, over host time, from the "
        "first point on. Counting whole frames alone scatters it by a frame."
    )
    return _Picture("Error of the sample clock, frames", svg, [], caption)


def _timeline(run: RunReport) -> _Picture:
    rows: dict[str, list[float]] = {}
    for event in run.events:
        rows.setdefault(event.cause.lower().replace("_", " "), []).append(event.time_s)
    styles = {"underrun": "bad", "overrun": "bad", "fault": "bad", "ring overflow": "bad"}
    table = [(name, styles.get(name, "played"), np.array(times)) for name, times in sorted(rows.items())]
    times = [event.time_s for event in run.events]
    svg = timeline(table, title=f"Events of {run.title}", start_s=min(0.0, *times), end_s=max(times))
    return _Picture("Events", svg, [], "Board time from the first event record.")
