"""play for MIDI files: a song on a board's MIDI port."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.markup import escape

from codecrig.cli.common import BoardChoice, ExitStatus, Session, make_folder, plain, provenance
from codecrig.player import SongRun, play_song
from codecrig.song import Song, read_song

SUFFIXES = (".mid", ".midi", ".smf")
"""Files that are taken for songs."""


def play_file(session: Session, file: Path, model: str, out: Path | None, choice: BoardChoice) -> int:
    """Play a MIDI file, compare what left the output with it where somebody listens there, and say so."""
    song = read_song(file)
    if out is not None:
        make_folder(out, "result.json", keep=file)
    with choice.open(session) as board:
        with session.progress(f"playing {file.name}") as progress:
            run = play_song(board, song, progress=progress)
        facts = provenance(session, board, choice)
    figures = _figures(song, run)
    status = {"passed": ExitStatus.PASSED, "interrupted": ExitStatus.INTERRUPTED}.get(
        figures["verdict"], ExitStatus.FAILED
    )
    session.say(_headline(file, figures))
    result = plain({"file": str(file), "model": model, **figures, "provenance": facts})
    session.write_json(result, status, None if out is None else out / "result.json")
    return status


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
