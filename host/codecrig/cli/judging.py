"""From a finished run to a verdict: figures for JSON, rows for the report, one sentence for people."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from codecrig.board import EventRecord
from codecrig.board.profile import BoardProfile
from codecrig.client import PositionPoint, StreamRun
from codecrig.link.registers import Cause
from codecrig.measure import (
    Comparison,
    PositionFit,
    PositionSample,
    Transfer,
    align_exact,
    compare_analog,
    compare_exact,
    fit_positions,
)
from codecrig.measure.pattern import find_ramp, ramp
from codecrig.measure.position import NotEnoughPoints
from codecrig.report import Figure, PositionSeries, RunReport, TimedEvent
from codecrig.wave import PcmAudio, unpack_samples

_STYLES = {"render": "played", "capture": "captured"}


@dataclass
class Judgement:
    """A run and what it says."""

    verdict: str
    """passed, failed, measured or interrupted."""
    headline: str
    figures: dict[str, Any]
    """For JSON."""
    report: RunReport
    problems: list[str] = field(default_factory=list)
    """Why it failed, in words; empty if it did not."""


@dataclass(frozen=True)
class Timing:
    """Figures that every run has, whatever it carried."""

    fit: PositionFit | None
    reason: str
    """Why there is no fit."""
    fits: dict[str, PositionFit]
    nominal_rate: Fraction
    """Frames a second that the format names, as the board's clock makes them."""


def captured_audio(run: StreamRun, like: PcmAudio | None = None) -> PcmAudio | None:
    """What a run captured, as audio; None if it did not capture."""
    if run.captured is None:
        return None
    form = run.format
    samples = unpack_samples(run.captured, form.channels, form.valid_bits, form.container_bits)
    return PcmAudio(form.sample_rate, form.valid_bits, form.container_bits, samples)


def events_hash(events: Sequence[EventRecord]) -> str:
    """SHA-256 over the raw records in the order they came."""
    return hashlib.sha256(b"".join(record.raw for record in events)).hexdigest()


def measure_timing(points: Sequence[PositionPoint], nominal_rate: Fraction) -> Timing:
    """Position rate and jitter of each stream; the first of render and capture that has enough points leads."""
    reads = {
        stream: [
            PositionSample(each.host_ns, each.ticks, each.frames, each.bracket_ns)
            for each in points
            if each.stream == stream
        ]
        for stream in _STYLES
    }
    every_read = [each for stream in reads.values() for each in stream]
    fits: dict[str, PositionFit] = {}
    reasons = []
    for stream, samples in reads.items():
        if samples:
            try:
                fits[stream] = fit_positions(samples, float(nominal_rate), clock_points=every_read)
            except NotEnoughPoints as error:
                reasons.append(str(error))
    fit = next(iter(fits.values()), None)
    return Timing(fit, "; ".join(reasons) or "no position was read", fits, nominal_rate)


def judge_loopback(
    title: str, path: str, played: PcmAudio, run: StreamRun, profile: BoardProfile, wall_seconds: float
) -> Judgement:
    """Compares what came back with what was played: exactly on the digital path, by gain and noise on the analog
    one.
    """
    captured = captured_audio(run)
    assert captured is not None, "a loopback captures"
    timing = measure_timing(run.positions, profile.frame_rate_at(run.format.sample_rate))
    figures: dict[str, Any] = {"path": path, "bit_exact": None, "first_bad_frame": None, "latency_frames": None}
    rows: list[Figure] = []
    problems: list[str] = []
    difference: npt.NDArray[np.float64] | None = None
    difference_start, offset, first_bad_index = 0, 0.0, None
    first_ticks = _first_ticks(run, "capture", profile)
    if path == "digital":
        comparison, where = _compare(played, captured, profile, whole=not run.interrupted)
        if comparison is None or where is None:
            problems.append("the played signal was not found in the capture")
            figures["bit_exact"] = False
            rows.append(Figure("Comparison", "not found", problems[-1], False))
        else:
            offset = float(where)
            figures |= _exact_figures(comparison, where, run, profile, first_ticks)
            rows.append(_exact_row(comparison))
            if comparison.first_bad is not None:
                first_bad_index = comparison.first_bad.index
                rows.append(_first_bad_row(figures["first_bad_frame"]))
                problems.append(_first_bad_sentence(figures["first_bad_frame"]))
            difference, difference_start = _difference(played, captured, where)
    else:
        transfer = compare_analog(played.samples, captured.samples, full_scale=2.0 ** (played.valid_bits - 1))
        if transfer is None:
            problems.append("the played signal was not found in the capture: is the output wired to the input?")
            rows.append(Figure("Signal", "not found", problems[-1], False))
        else:
            offset = transfer.delay.frames
            figures |= _transfer_figures(transfer)
            rows += _transfer_rows(transfer)
            difference, difference_start = transfer.residual, transfer.first_frame
    if offset or not problems:
        figures["latency_frames"] = _latency(offset, run, profile, exact=path == "digital")
        rows.append(_latency_row(figures["latency_frames"], timing.nominal_rate))
        _check_limit(
            problems, "latency", figures["latency_frames"], profile.limits.loopback_latency_frames, "frames",
            applies=path == "digital",
        )  # fmt: skip
    figures |= _stream_figures(run, timing, profile, wall_seconds)
    figures["frames"] = played.frames
    rows += _timing_rows(timing, profile, problems)
    rows.append(_gaps_row(run))
    rows.append(_time_row(figures))
    problems += _gaps(run)
    verdict = "interrupted" if run.interrupted else "failed" if problems else "passed"
    if run.interrupted:
        figures["bit_exact"] = None
        so_far = f"; wrong so far: {'; '.join(problems)}" if problems else ""
        headline = f"Interrupted after {captured.frames} captured frames; not judged{so_far}."
    elif problems:
        headline = f"Failed: {'; '.join(problems)}."
    elif path == "digital":
        spared = figures["start_up_bad_frames"]
        behind = f", behind a start-up window with {spared} wrong frames" if spared else ""
        headline = (
            f"Bit-exact: {played.frames - spared} of {played.frames} frames came back as they were played{behind}."
        )
    else:
        headline = f"Found at {_signed(figures['gain_db'][0], 2)} dB with {figures['snr_db']:.1f} dB signal to noise."
    figures = {"verdict": verdict, "problems": problems, **figures}
    report = RunReport(
        title=title,
        verdict=verdict,
        headline=headline,
        summary=rows,
        played=played,
        captured=captured,
        offset_frames=offset,
        difference=difference,
        difference_start_frame=difference_start,
        difference_label="difference" if path == "digital" else "added",
        first_bad_frame=first_bad_index,
        positions=_series(timing),
        events=timed_events(run, profile),
        notes=[f"Conversion of the file: {note}." for note in played.notes],
    )
    return Judgement(verdict, headline, figures, report, problems)


def judge_single(
    title: str,
    played: PcmAudio | None,
    run: StreamRun,
    profile: BoardProfile,
    wall_seconds: float,
    *,
    pattern: bool = False,
) -> Judgement:
    """A run in one direction: gaps fail it. A recorded pattern is compared with the one that the board should make."""
    captured = captured_audio(run)
    timing = measure_timing(run.positions, profile.frame_rate_at(run.format.sample_rate))
    problems = [
        f"{count} {name}" for count, name in ((run.underruns, "underruns"), (run.overruns, "overruns")) if count
    ]
    figures = _stream_figures(run, timing, profile, wall_seconds)
    figures["frames"] = run.frames_played if played is not None else run.frames_captured
    rows: list[Figure] = []
    if pattern and captured is not None:
        expected = ramp(
            find_ramp(captured.samples, captured.valid_bits), captured.frames, captured.channels, captured.valid_bits
        )
        comparison = compare_exact(expected, captured.samples, 0, bits=captured.valid_bits)
        figures |= _exact_figures(comparison, 0, run, profile, _first_ticks(run, "capture", profile))
        rows.append(_exact_row(comparison))
        if comparison.first_bad is not None:
            problems.append(_first_bad_sentence(figures["first_bad_frame"]))
    rows += [*_timing_rows(timing, profile, problems), _gaps_row(run), _time_row(figures)]
    verdict = "interrupted" if run.interrupted else "failed" if problems else "passed"
    done = f"{figures['frames']} frames {'played' if played is not None else 'recorded'}"
    headline = (
        f"Interrupted: {done}." if run.interrupted else f"Failed: {'; '.join(problems)}." if problems else f"{done}."
    )
    report = RunReport(
        title=title,
        verdict=verdict,
        headline=headline,
        summary=rows,
        played=played,
        captured=captured,
        positions=_series(timing),
        events=timed_events(run, profile),
        notes=[f"Conversion of the file: {note}." for note in played.notes] if played is not None else [],
    )
    return Judgement(verdict, headline, {"verdict": verdict, "problems": problems, **figures}, report, problems)


def timed_events(run: StreamRun, profile: BoardProfile) -> list[TimedEvent]:
    """The events as the report lists them, times from the first one."""
    if not run.events:
        return []
    start = min(record.time_ticks for record in run.events)
    rate = float(profile.clock_rate)
    return [
        TimedEvent(
            time_s=(record.time_ticks - start) / rate,
            stream=255 if record.of_board else record.stream,
            cause=record.cause.name,
            detail=_event_detail(record),
            notable=record.cause is not Cause.DESCRIPTOR,
        )
        for record in run.events
    ]


def _event_detail(record: EventRecord) -> str:
    if record.cause in (Cause.UNDERRUN, Cause.OVERRUN):
        return f"{_count(record.data0, 'gap')} so far"
    if record.cause is Cause.FAULT:
        return f"descriptor {record.data0}, reason {record.data1}"
    return f"data {record.data0}, {record.data1}"


def _compare(
    played: PcmAudio, captured: PcmAudio, profile: BoardProfile, *, whole: bool
) -> tuple[Comparison | None, int | None]:
    """Comparison and place; of the whole recording, or only of what was captured of it."""
    alignment = align_exact(played.samples, captured.samples)
    if alignment is None:
        return None, None
    count = played.frames if whole else max(0, captured.frames - alignment.offset_frames)
    comparison = compare_exact(
        played.samples[:count],
        captured.samples,
        alignment.offset_frames,
        start_up_frames=profile.start_up_frames,
        bits=played.valid_bits,
    )
    return comparison, alignment.offset_frames


def _exact_figures(
    comparison: Comparison, offset: int, run: StreamRun, profile: BoardProfile, first_ticks: int | None
) -> dict[str, Any]:
    bad = comparison.first_bad
    first_bad = None
    if bad is not None:
        frame_clocks = profile.frame_clocks_at(run.format.sample_rate)
        ticks = None if first_ticks is None else first_ticks + bad.captured_index * frame_clocks
        first_bad = {
            "index": bad.index,
            "captured_index": bad.captured_index,
            "board_time_ticks": ticks,
            "board_time_s": None if ticks is None else float(Fraction(ticks) / profile.clock_rate),
            "expected": list(bad.expected),
            "found": None if bad.found is None else list(bad.found),
            "defect": str(bad.defect),
            "detail": bad.detail,
        }
    return {
        "bit_exact": comparison.bit_exact,
        "first_bad_frame": first_bad,
        "frames_compared": comparison.frames,
        "bad_frames": comparison.bad_frames,
        "capture_offset_frames": offset,
        "start_up_frames": comparison.start_up_frames,
        "start_up_bad_frames": comparison.start_up_bad_frames,
        "lead_in_frames": comparison.lead_in_frames,
        "tail_silent": comparison.tail_silent,
    }


def _exact_row(comparison: Comparison) -> Figure:
    if not comparison.start_up_frames:
        window = "no start-up window"
    else:
        window = _window(comparison)
    if comparison.bit_exact:
        return Figure("Comparison", "bit-exact", f"{comparison.frames} frames equal; {window}", True)
    return Figure(
        "Comparison", "not exact", f"{comparison.bad_frames} of {comparison.frames} frames wrong; {window}", False
    )


def _window(comparison: Comparison) -> str:
    wrong = comparison.start_up_bad_frames
    return (
        f"start-up window: {comparison.start_up_frames} captured frames, by the profile; "
        + (f"{wrong} played frames in it are wrong" if wrong else "right in it as well")
        + (f"; then {comparison.lead_in_frames} frames of silence" if comparison.lead_in_frames else "")
    )


def _first_bad_row(first_bad: dict[str, Any]) -> Figure:
    return Figure("First bad frame", f"{first_bad['index']}", _first_bad_note(first_bad), False)


def _first_bad_sentence(first_bad: dict[str, Any]) -> str:
    return f"first bad frame {first_bad['index']}: {_first_bad_note(first_bad)}"


def _first_bad_note(first_bad: dict[str, Any]) -> str:
    time_s = first_bad["board_time_s"]
    when = "" if time_s is None else f"at board time {time_s:.6f} s "
    found = "nothing" if first_bad["found"] is None else _frame(first_bad["found"])
    return (
        f"{when}expected {_frame(first_bad['expected'])}, found {found} ({first_bad['defect']}: {first_bad['detail']})"
    )


def _frame(values: Sequence[int]) -> str:
    return "(" + ", ".join(str(value) for value in values) + ")"


def _difference(played: PcmAudio, captured: PcmAudio, offset: int) -> tuple[npt.NDArray[np.float64], int]:
    first = max(0, -offset)
    last = max(first, min(played.frames, captured.frames - offset))
    heard = captured.samples[first + offset : last + offset].astype(np.float64)
    return (heard - played.samples[first:last]) / 2.0 ** (played.valid_bits - 1), first


def _transfer_figures(transfer: Transfer) -> dict[str, Any]:
    return {
        "snr_db": transfer.snr_db,
        "gain_db": list(transfer.gain_db),
        "dc": list(transfer.dc),
        "added_dbfs": list(transfer.residual_dbfs),
        "correlation": transfer.delay.correlation,
        "capture_offset_frames": transfer.delay.frames,
    }


def _transfer_rows(transfer: Transfer) -> list[Figure]:
    gains = ", ".join(f"{_signed(value, 2)} dB" for value in transfer.gain_db)
    added = ", ".join(f"{value:.1f} dBFS".replace("-", "\u2212") for value in transfer.residual_dbfs)
    offsets = ", ".join(f"{value * 1e6:+.1f} ppm".replace("-", "\u2212") for value in transfer.dc)
    return [
        Figure("Signal to noise", f"{transfer.snr_db:.1f} dB", f"added by the path: {added}"),
        Figure("Gain", gains, f"DC {offsets} of full scale"),
    ]


def _first_ticks(run: StreamRun, stream: str, profile: BoardProfile) -> int | None:
    """Board time of a stream's frame 0, late by less than a frame: the earliest that its positions point back to."""
    frame = profile.frame_clocks_at(run.format.sample_rate)
    starts = [each.ticks - each.frames * frame for each in run.positions if each.stream == stream]
    return min(starts, default=None)


def _latency(offset: float, run: StreamRun, profile: BoardProfile, *, exact: bool) -> float | int | None:
    """Frames from the converter taking a played frame to the capture of it."""
    apart = _starts_apart(run, profile)
    if apart is None:
        return None
    return round(offset - apart) if exact else offset - apart


def _starts_apart(run: StreamRun, profile: BoardProfile) -> int | None:
    """Frames from the capture's frame 0 to the render's; None if a stream has no position.

    Both count frames of one converter, so their beginnings are whole frames apart. A position says where its stream
    began to within a frame; of the numbers that all positions allow, the one nearest to 0 is taken, as runs start
    both at once.
    """
    frame = profile.frame_clocks_at(run.format.sample_rate)
    ranges = []
    for stream in _STYLES:
        starts = [each.ticks - each.frames * frame for each in run.positions if each.stream == stream]
        if not starts:
            return None
        # The beginning lies in (latest - frame, earliest]; after a gap later positions point to later beginnings.
        latest = max(each for each in starts if each < min(starts) + frame)
        ranges.append((latest - frame, min(starts)))
    (render_after, render_until), (capture_after, capture_until) = ranges
    lowest = -(-(render_after - capture_until + 1) // frame)
    highest = (render_until - capture_after - 1) // frame
    return min(max(lowest, 0), highest) if lowest <= highest else round((render_until - capture_until) / frame)


def _latency_row(latency: float | int | None, frame_rate: Fraction) -> Figure:
    if latency is None:
        return Figure("Latency", "unknown", "the first frame's time is not known")
    text = f"{latency} frame{'s' if latency != 1 else ''}" if isinstance(latency, int) else f"{latency:.3f} frames"
    return Figure("Latency", text, f"{latency / float(frame_rate) * 1e6:.1f} \u00b5s from DAC to ADC")


def _check_limit(
    problems: list[str], name: str, value: float | None, limit: float | None, unit: str, *, applies: bool = True
) -> None:
    if applies and value is not None and limit is not None and abs(value) > limit:
        problems.append(f"{name} {value:.4g} {unit}, the profile's limit is {limit:g} {unit}")


def _stream_figures(run: StreamRun, timing: Timing, profile: BoardProfile, wall_seconds: float) -> dict[str, Any]:
    fit = timing.fit
    return {
        "underruns": run.underruns,
        "overruns": run.overruns,
        "late_packets": run.late_packets,
        "position_rate_error": fit.rate_error if fit else None,
        "position_rate_ppm": fit.rate_ppm if fit else None,
        "position_rate_uncertainty_ppm": fit.rate_error_uncertainty * 1e6 if fit else None,
        "position_rate_hz": fit.rate_hz if fit else None,
        "position_jitter_frames": fit.jitter_std_frames if fit else None,
        "position_jitter_max_frames": fit.jitter_max_frames if fit else None,
        "position_points": fit.points if fit else 0,
        "frames_played": run.frames_played,
        "frames_captured": run.frames_captured,
        "format": run.format.describe(),
        "events": len(run.events),
        "events_sha256": events_hash(run.events),
        "board_ticks": run.board_ticks,
        "board_seconds": float(Fraction(run.board_ticks) / profile.clock_rate),
        "wall_seconds": round(wall_seconds, 3),
    }


def _timing_rows(timing: Timing, profile: BoardProfile, problems: list[str]) -> list[Figure]:
    fit = timing.fit
    if fit is None:
        return [Figure("Position rate", "not measured", timing.reason)]
    limits = profile.limits
    _check_limit(problems, "position rate error", fit.rate_ppm, limits.position_rate_error_ppm, "ppm")
    _check_limit(problems, "position jitter", fit.jitter_std_frames, limits.position_jitter_frames, "frames")
    uncertainty = fit.rate_error_uncertainty * 1e6
    return [
        Figure(
            "Position rate",
            f"{_signed(fit.rate_ppm, 2)} ppm \u00b1 {uncertainty:.2f}",
            f"{fit.rate_hz:.3f} frames in a second of host time, nominal {float(timing.nominal_rate):g}; "
            f"{fit.points} reads",
        ),
        Figure(
            "Position jitter",
            f"{fit.jitter_std_frames:.2f} frames RMS, {fit.jitter_max_frames:.2f} largest",
            f"noise of the link's time stamps: {fit.link_jitter_ns / 1000:.1f} \u00b5s RMS",
        ),
    ]


def _gaps(run: StreamRun) -> list[str]:
    """Underruns and overruns in words; empty if there were none."""
    return [_count(count, name) for count, name in ((run.underruns, "underrun"), (run.overruns, "overrun")) if count]


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _gaps_row(run: StreamRun) -> Figure:
    late = f"{_count(run.late_packets, 'packet')} late" if run.late_packets else "no packet late"
    good = run.underruns == 0 and run.overruns == 0
    return Figure("Underruns, overruns", f"{run.underruns}, {run.overruns}", f"{late}; {len(run.events)} events", good)


def _time_row(figures: dict[str, Any]) -> Figure:
    return Figure(
        "Time", f"{figures['board_seconds']:.3f} s on the board", f"{figures['wall_seconds']:.2f} s on the wall clock"
    )


def _series(timing: Timing) -> list[PositionSeries]:
    return [
        PositionSeries(stream, _STYLES[stream], fit.host_s, fit.frames, fit.residual_frames)
        for stream, fit in timing.fits.items()
    ]


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "\u2212")
