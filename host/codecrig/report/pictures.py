"""Pictures as inline SVG text, drawn from arrays. Colours come from the page's style sheet, so that light and dark
both work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

WIDTH = 960
LEFT = 104
RIGHT = 12
PLOT = WIDTH - LEFT - RIGHT


@dataclass(frozen=True)
class Lane:
    """One strip of a waveform picture."""

    label: str
    style: str
    """Class of the style sheet: `played`, `captured` or `difference`."""
    samples: Values
    """One channel, relative to full scale."""
    start_s: float = 0.0
    note: str = ""
    scale: float = 0.0
    """Value at the edge of the strip; 0: the lane's own peak."""


@dataclass(frozen=True)
class Line:
    """One curve of a chart."""

    label: str
    style: str
    x: Values
    y: Values


@dataclass(frozen=True)
class Mark:
    """A moment worth pointing at."""

    time_s: float
    label: str


def waveform(lanes: Sequence[Lane], sample_rate: float, *, mark: Mark | None = None, title: str) -> str:
    """Strips below each other on one time axis; each shows the lowest and highest sample of every column."""
    height, gap = 62, 10
    start_s = min([lane.start_s for lane in lanes] + [0.0])
    end_s = max([lane.start_s + len(lane.samples) / sample_rate for lane in lanes] + [start_s + 1 / sample_rate])
    total = len(lanes) * (height + gap) + 30
    bottom = len(lanes) * (height + gap)
    tops = [index * (height + gap) + 4 for index in range(len(lanes))]
    parts = [f'<rect class="plot" x="{LEFT}" y="{top}" width="{PLOT}" height="{height}"/>' for top in tops]
    parts += _axis_x(start_s, end_s, bottom, "s", total_top=4, bottom_of_plot=bottom - gap + 4)
    for lane, top in zip(lanes, tops, strict=True):
        middle = top + height / 2
        parts.append(f'<line class="zero" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{middle}" y2="{middle}"/>')
        scale = lane.scale or (float(np.max(np.abs(lane.samples))) if len(lane.samples) else 0.0)
        if scale > 0 and len(lane.samples):
            lowest, highest, centres = _envelope(lane.samples, sample_rate, lane.start_s, start_s, end_s)
            upper = middle - np.clip(highest / scale, -1, 1) * (height / 2 - 2) - 0.4
            lower = middle - np.clip(lowest / scale, -1, 1) * (height / 2 - 2) + 0.4
            path = _points(np.concatenate([centres, centres[::-1]]), np.concatenate([upper, lower[::-1]]))
            parts.append(f'<polygon class="wave {lane.style}" points="{path}"/>')
        parts.append(_text(LEFT - 8, middle - 2, lane.label, "label end"))
        if lane.note:
            parts.append(_text(LEFT - 8, middle + 12, lane.note, "tick end"))
    if mark is not None and start_s <= mark.time_s <= end_s:
        x = LEFT + (mark.time_s - start_s) / (end_s - start_s) * PLOT
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom - gap + 4}"/>')
        side = "end" if x > LEFT + PLOT * 0.7 else "start"
        parts.append(_text(x + (-6 if side == "end" else 6), 16, mark.label, f"mark-label {side}"))
    return _svg(total, title, parts)


def spectrum(lines: Sequence[Line], *, title: str, low_hz: float = 20.0) -> str:
    """Levels in dBFS over a logarithmic frequency axis."""
    height, top = 260, 8
    high_hz = max(float(line.x[-1]) for line in lines)
    ceiling, bottom_db = 0.0, -160.0
    finite = [line.y[(line.x >= low_hz) & np.isfinite(line.y)] for line in lines]
    finite = [each for each in finite if len(each)]
    if finite:
        ceiling = 20 * ceil(max(float(np.max(each)) for each in finite) / 20)
        lowest = min(float(np.percentile(each, 2)) for each in finite)
        bottom_db = max(ceiling - 200, min(ceiling - 60, 20 * floor(lowest / 20)))
    parts = [f'<rect class="plot" x="{LEFT}" y="{top}" width="{PLOT}" height="{height}"/>']
    step = 20 if ceiling - bottom_db <= 160 else 40
    for level in range(int(bottom_db), int(ceiling) + 1, step):
        row = top + (ceiling - level) / (ceiling - bottom_db) * height
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{row:.1f}" y2="{row:.1f}"/>')
        parts.append(_text(LEFT - 8, row + 4, f"{level} dB".replace("-", "\u2212"), "tick end"))
    span = log10(high_hz / low_hz)
    for decade in range(1, 6):
        for digit in (1, 2, 5):
            frequency = digit * 10.0**decade
            if low_hz <= frequency <= high_hz:
                column = LEFT + log10(frequency / low_hz) / span * PLOT
                parts.append(f'<line class="grid" x1="{column:.1f}" x2="{column:.1f}" y1="{top}" y2="{height + top}"/>')
                name = f"{frequency / 1000:g} kHz" if frequency >= 1000 else f"{frequency:g} Hz"
                place = "start" if column < LEFT + 10 else "end" if column > LEFT + PLOT - 20 else "middle"
                parts.append(_text(column, height + top + 16, name, f"tick {place}"))
    for line in lines:
        x, y = _log_columns(line.x, line.y, low_hz, high_hz)
        if len(x):
            clipped = np.clip(y, bottom_db, ceiling)
            path = _points(LEFT + x * PLOT, top + (ceiling - clipped) / (ceiling - bottom_db) * height)
            parts.append(f'<polyline class="line {line.style}" points="{path}"/>')
    return _svg(height + top + 24, title, parts)


def chart(lines: Sequence[Line], *, title: str, height: int = 180, dots: bool = False) -> str:
    """Curves over time in seconds, with the same scale for all."""
    parts = [f'<rect class="plot" x="{LEFT}" y="4" width="{PLOT}" height="{height}"/>']
    all_x = np.concatenate([line.x for line in lines]) if lines else np.zeros(0)
    all_y = np.concatenate([line.y for line in lines]) if lines else np.zeros(0)
    start, end = (float(np.min(all_x)), float(np.max(all_x))) if len(all_x) else (0.0, 1.0)
    low, high = (float(np.min(all_y)), float(np.max(all_y))) if len(all_y) else (0.0, 1.0)
    margin = (high - low) * 0.08 or max(abs(high), 1.0) * 0.5
    low, high = low - margin, high + margin
    end = end if end > start else start + 1.0
    for value in _ticks(low, high, 5):
        level = 4 + (high - value) / (high - low) * height
        style = "zero" if abs(value) < 1e-12 else "grid"
        parts.append(f'<line class="{style}" x1="{LEFT}" x2="{LEFT + PLOT}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(_text(LEFT - 8, level + 4, _number(value), "tick end"))
    parts += _axis_x(start, end, height + 8, "s", total_top=4, bottom_of_plot=height + 4)
    for line in lines:
        x = LEFT + (line.x - start) / (end - start) * PLOT
        y = 4 + (high - line.y) / (high - low) * height
        if dots:
            circles = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2"/>' for a, b in zip(x, y, strict=True))
            parts.append(f'<g class="dots {line.style}">{circles}</g>')
        else:
            parts.append(f'<polyline class="line {line.style}" points="{_points(x, y)}"/>')
    return _svg(height + 34, title, parts)


def timeline(rows: Sequence[tuple[str, str, Values]], *, title: str, end_s: float, start_s: float = 0.0) -> str:
    """One row of moments for each kind of event: (label, style, times in seconds)."""
    height = 24
    total = len(rows) * height + 34
    end_s = end_s if end_s > start_s else start_s + 1.0
    bottom = len(rows) * height
    parts = []
    for index, (label, style, times_s) in enumerate(rows):
        top = index * height + 4
        parts.append(f'<rect class="plot" x="{LEFT}" y="{top}" width="{PLOT}" height="{height - 4}"/>')
        parts.append(_text(LEFT - 8, top + 14, label, "label end"))
        x = np.unique(np.round(LEFT + (times_s - start_s) / (end_s - start_s) * PLOT, 1))
        ticks = "".join(f"M{each:g} {top + 3}v{height - 10}" for each in x if LEFT <= each <= LEFT + PLOT)
        parts.append(f'<path class="moments {style}" d="{ticks}"/>')
    parts += _axis_x(start_s, end_s, bottom + 4, "s", total_top=4, bottom_of_plot=bottom)
    return _svg(total, title, parts)


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _axis_x(start: float, end: float, y: float, unit: str, *, total_top: float, bottom_of_plot: float) -> list[str]:
    parts = []
    values = _ticks(start, end, 8)
    for value in values:
        x = LEFT + (value - start) / (end - start) * PLOT
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{total_top:g}" y2="{bottom_of_plot:g}"/>')
        place = "start" if x < LEFT + 8 else "end" if x > LEFT + PLOT - 16 else "middle"
        parts.append(_text(x, y + 12, f"{_number(value)} {unit}", f"tick {place}"))
    return parts


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round values from low to high, roughly `about` of them."""
    if not (isfinite(low) and isfinite(high)) or high <= low:
        return []
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    text = f"{value:.6g}" if abs(value) < 1e4 else f"{value:,.0f}".replace(",", "\u2009")
    return text.replace("-", "\u2212")


def _points(x: Values, y: Values) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _envelope(
    samples: Values, sample_rate: float, lane_start_s: float, start_s: float, end_s: float
) -> tuple[Values, Values, Values]:
    """Lowest and highest sample of each column that holds any, and the columns' places."""
    columns = PLOT * sample_rate / ((end_s - start_s) * sample_rate)  # columns in a second
    column = np.floor((lane_start_s - start_s + np.arange(len(samples)) / sample_rate) * columns).astype(int)
    firsts = np.flatnonzero(np.diff(column, prepend=-1) != 0)
    lowest, highest = np.minimum.reduceat(samples, firsts), np.maximum.reduceat(samples, firsts)
    return lowest, highest, LEFT + column[firsts] + 0.5


def _log_columns(x: Values, y: Values, low: float, high: float) -> tuple[Values, Values]:
    """The highest level in each of 480 columns of a logarithmic axis, places from 0 to 1."""
    inside = (x >= low) & (x <= high) & ~np.isnan(y)
    if not np.any(inside):
        return np.zeros(0), np.zeros(0)
    place = np.log(x[inside] / low) / np.log(high / low)
    level = np.maximum(y[inside], -400.0)
    column = np.floor(place * 480).astype(int)
    firsts = np.flatnonzero(np.diff(column, prepend=-1) != 0)
    return place[firsts], np.maximum.reduceat(level, firsts)
