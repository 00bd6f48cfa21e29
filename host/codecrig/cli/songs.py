"""play and record for MIDI files: a song on a board's MIDI port, or as sound; the MIDI input."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from codecrig.cli.common import BoardChoice, ExitStatus, Session, make_folder, plain, provenance
from codecrig.player import SongModel, SongRun, SoundRun, play_song, play_sound, record_song
from codecrig.report import Figure, Report, RunReport, render_report
from codecrig.song import Song, SongError, read_song, write_song
from codecrig.wave import write_wave

SETTLED_S = 0.5
"""The sample clock has settled by then: 25 synchronisations."""
SUFFIXES = (".mid", ".midi", ".smf")
"""Files that are taken for songs, whatever is in them."""


def is_song(file: Path) -> bool:
    """True for a file that is called a MIDI file, or is one."""
    if file.suffix.lower() in SUFFIXES:
        return True
    try:
        with file.open("rb") as opened:
            return opened.read(4) == b"MThd"
    except OSError:
        return False


def play_file(session: Session, file: Path, model: SongModel, out: Path | None, choice: BoardChoice) -> int:
    """Play a MIDI file, compare what left the board with it where somebody listens there, and say so.

    The synthesizer's sound goes to `out` if that is a WAV file, else to song.wav in the folder `out`.
    """
    song = read_song(file)
    wav = None
    if model == "synth" and out is not None:
        wav = out if out.suffix.lower() == ".wav" else out / "song.wav"
        out = None if wav is out else out
        make_folder(wav.parent)
    elif out is not None and out.suffix.lower() == ".wav":
        raise click.BadParameter(
            f"only --model synth writes a WAV file; found {out}: name a folder", param_hint="--out"
        )
    if out is not None:
        make_folder(out, "result.json", "report.html", keep=file)
    with choice.open(session) as board:
        with session.progress(f"playing {file.name}") as progress:
            if model == "synth":
                sound = play_sound(board, song, progress=progress)
                figures = _sound_figures(sound, float(board.clock.rate))
            else:
                figures = _figures(song, play_song(board, song, model, progress=progress))
        facts = provenance(session, board, choice)
    if wav is not None:
        write_wave(wav, sound.sound)
        figures["wav"] = str(wav)
    if model == "synth" and out is not None:
        page = out / "report.html"
        page.write_text(_sound_page(file, sound, figures, facts), encoding="utf-8")
        figures["report_html"] = str(page)
    status = {"passed": ExitStatus.PASSED, "interrupted": ExitStatus.INTERRUPTED}.get(
        figures["verdict"], ExitStatus.FAILED
    )
    session.say((_sound_headline if model == "synth" else _headline)(file, figures))
    result = plain({"file": str(file), "model": model, **figures, "provenance": facts})
    session.write_json(result, status, None if out is None else out / "result.json")
    return status


def record_file(session: Session, file: Path, seconds: float, out: Path | None, choice: BoardChoice) -> int:
    """Record the MIDI input to a MIDI file, and say what came."""
    try:
        import mido  # noqa: F401 - before anything is recorded
    except ImportError as error:
        raise SongError("MIDI files need mido; next step: pip install 'codecrig[midi]'") from error
    make_folder(file.parent)
    if out is not None:
        make_folder(out, "result.json", keep=file)
    with choice.open(session) as board:
        with session.progress(f"recording {file.name}") as progress:
            run = record_song(board, seconds, progress=progress)
        facts = provenance(session, board, choice)
    written = write_song(file, run.song.messages)
    problems = []
    if run.lost_bytes:
        problems.append(f"{run.lost_bytes} bytes came faster than they were taken")
    if run.pieces:
        problems.append(f"{run.pieces} pieces of a SysEx had no end and are left out")
    verdict = "interrupted" if run.interrupted else "failed" if problems else "passed"
    status = {"passed": ExitStatus.PASSED, "interrupted": ExitStatus.INTERRUPTED}.get(verdict, ExitStatus.FAILED)
    skipped = len(run.song.messages) - written
    session.say(
        f"{escape(file.name)}: {written} messages in {run.seconds:.2f} s, at their board times"
        + (f"; {skipped} that no file holds are left out" if skipped else "")
        + (f"; [red]{escape('; '.join(problems))}[/]" if problems else "")
    )
    figures = {
        "file": str(file),
        "verdict": verdict,
        "problems": problems,
        "messages": written,
        "messages_left_out": skipped,
        "lost_bytes": run.lost_bytes,
        "seconds": run.seconds,
    }
    session.write_json(plain({**figures, "provenance": facts}), status, None if out is None else out / "result.json")
    return status


def _sound_figures(run: SoundRun, ticks_per_second: float) -> dict[str, Any]:
    problems = []
    if run.gaps:
        problems.append(f"{run.gaps} windows came too late for the converter")
    if run.first_wrong_frame is not None:
        problems.append(f"frame {run.first_wrong_frame} behind the first sound at the DAC is not what was rendered")
    late = None
    if run.first_sound_ticks is not None:
        late = (run.first_sound_ticks - run.start_ticks) / ticks_per_second * 1e6
    return {
        "verdict": "interrupted" if run.interrupted else "failed" if problems else "passed",
        "problems": problems,
        "messages": run.messages,
        "seconds": run.sound.seconds,
        "sample_rate": run.sound.sample_rate,
        "gaps": run.gaps,
        "frames_at_dac": run.frames_at_dac,
        "first_sound_us": late,
        "sync_error_frames": _largest_sync_error(run),
        "sound_sha256": hashlib.sha256(run.sound.to_bytes()).hexdigest(),
    }


def _largest_sync_error(run: SoundRun) -> float | None:
    """The largest error of the sample clock once it has settled; None if the song is too short for that."""
    return max((abs(frames) for seconds, frames in run.sync_points if seconds > SETTLED_S), default=None)


def _sound_page(file: Path, run: SoundRun, figures: dict[str, Any], facts: dict[str, str]) -> str:
    rows = [
        Figure("messages", str(run.messages)),
        Figure("gaps", str(run.gaps), "windows that came too late", run.gaps == 0),
    ]
    if figures["frames_at_dac"] is not None:
        good = run.first_wrong_frame is None
        rows.append(Figure("frames at the DAC", str(run.frames_at_dac), "compared with those rendered", good))
    if figures["sync_error_frames"] is not None:
        note = f"at most, from {SETTLED_S:g} s on"
        rows.append(Figure("error of the sample clock", f"{figures['sync_error_frames']:.2f} frames", note))
    title = f"{file.name} as sound"
    headline = _sound_headline(file, figures) if not figures["problems"] else "; ".join(figures["problems"])
    report = RunReport(title, figures["verdict"], headline, rows, played=run.sound, sync_points=run.sync_points)
    return render_report(Report(title, [report], list(facts.items())))


def _sound_headline(file: Path, figures: dict[str, Any]) -> str:
    name = escape(file.name)
    if figures["verdict"] == "interrupted":
        return f"{name}: interrupted after {figures['seconds']:.2f} s"
    if figures["problems"]:
        return f"[red]{name}: {escape('; '.join(figures['problems']))}[/]"
    heard = "nobody listens at the DAC"
    if figures["frames_at_dac"] is not None:
        heard = f"{figures['frames_at_dac']} frames at the DAC are those rendered, bit for bit"
    written = f"; {escape(figures['wav'])}" if "wav" in figures else ""
    return f"{name}: {figures['messages']} messages, {figures['seconds']:.2f} s of sound; {heard}{written}"


def _figures(song: Song, run: SongRun) -> dict[str, Any]:
    whole = b"".join(each.data for each in song.messages)
    heard = None if run.wire is None else bytes(each.value for each in run.wire)
    late = run.lateness_ticks(song)
    microseconds = float(1_000_000 / run.ticks_per_second)
    problems = []
    if run.failure:
        problems.append(f"the MIDI port took {run.bytes_taken} of {run.bytes_due} bytes: {run.failure}")
    if heard is not None and heard != whole and not run.interrupted:
        same = len(os.path.commonprefix([heard, whole]))
        problems.append(f"expected {len(whole)} bytes on the wire; found {len(heard)}, the first wrong one is {same}")
    return {
        "verdict": "interrupted" if run.interrupted else "failed" if problems else "passed",
        "problems": problems,
        "messages": run.messages,
        "bytes": run.bytes_due,
        "bytes_taken": run.bytes_taken,
        "bytes_on_the_wire": None if heard is None else len(heard),
        "seconds": song.seconds,
        "latest_message_us": max(late) * microseconds if late else None,
        "board_ticks": run.board_ticks,
    }


def _headline(file: Path, figures: dict[str, Any]) -> str:
    name = escape(file.name)
    if figures["verdict"] == "interrupted":
        return f"{name}: interrupted behind {figures['bytes_taken']} of {figures['bytes']} bytes; notes were ended"
    if figures["problems"]:
        return f"[red]{name}: {escape('; '.join(figures['problems']))}[/]"
    heard = "nobody listens at the output"
    if figures["bytes_on_the_wire"] is not None:
        heard = f"heard on the wire byte for byte, at most {figures['latest_message_us'] or 0:.0f} µs late"
    return f"{name}: {figures['messages']} messages, {figures['bytes']} bytes in {figures['seconds']:.2f} s; {heard}"
