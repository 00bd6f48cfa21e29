"""demo: the main job on recordings of our own, with one report."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.markup import escape

from codecrig.board import EnvironmentProblem
from codecrig.cli.common import (
    BoardChoice,
    ExitStatus,
    Session,
    board_options,
    json_option,
    make_folder,
    pass_session,
    plain,
    provenance,
    sha256_of,
    verbosity_options,
)
from codecrig.cli.judging import Judgement
from codecrig.cli.streams import load, out_option, run_loopback, say_judgement, status_of
from codecrig.report import Report, render_report
from codecrig.wave import write_wave

DATA_VARIABLE = "CODECRIG_DATA"
_RUNS = (("speech.wav", "digital", "capture.wav"), ("music.wav", "analog", "capture-analog.wav"))


@click.command(short_help="All of it on the simulated board, with a report.")
@out_option("build/demo")
@json_option
@board_options
@verbosity_options
@pass_session
def demo(session: Session, out: Path, choice: BoardChoice) -> int:
    """All of it on the simulated board, with a report.

    A sentence of (synthetic) speech goes through the digital loopback and must come back bit for bit; a second of
    music goes through the codec's analog path and is measured. Writes report.html, capture.wav, capture-analog.wav
    and result.json to the --out folder.

    Example: codecrig demo
    """
    folder = find_recordings()
    make_folder(out, "result.json", "report.html", *(wav for _, _, wav in _RUNS))
    judgements: list[Judgement] = []
    results = {}
    with choice.open(session) as board:
        facts = provenance(session, board, choice)
        session.say(f"board: {escape(facts['Board'])}")
        for name, path, wav in _RUNS:
            audio = load(folder / name, board.profile)
            judgement = run_loopback(session, board, audio, name, path)
            judgements.append(judgement)
            captured = judgement.report.captured
            if captured is not None:
                write_wave(out / wav, captured)
                judgement.figures |= {"capture_wav": str(out / wav), "capture_sha256": sha256_of(out / wav)}
            results[path] = {"file": str(folder / name), "source": audio.source, **judgement.figures}
            say_judgement(session, judgement)
            if judgement.verdict == "interrupted":
                break
    status = max((status_of(each) for each in judgements), default=ExitStatus.PASSED)
    page = out / "report.html"
    report = Report(
        "codecrig demo",
        [judgement.report for judgement in judgements],
        list(facts.items()),
        headline=f"Two recordings out and back on board {facts['Board']}.",
    )
    page.write_text(render_report(report), encoding="utf-8")
    # The digital run leads: its keys stand where `loopback --json` has them.
    whole = {
        "board": board.profile.name,
        "serial": facts["Serial"],
        **results["digital"],
        "verdict": {0: "passed", 1: "failed"}.get(int(status), "interrupted"),
        "analog": results.get("analog"),
        "report_html": str(page),
        "provenance": facts,
    }
    session.write_json(plain(whole), status, out / "result.json")
    seconds = sum(judgement.figures["board_seconds"] for judgement in judgements)
    wall = sum(judgement.figures["wall_seconds"] for judgement in judgements)
    session.say(f"{seconds:.1f} s of board time in {wall:.1f} s; report: {escape(str(page))}")
    return status


def find_recordings() -> Path:
    """The folder with the demo's recordings. Raises EnvironmentProblem if it is not there."""
    named = os.environ.get(DATA_VARIABLE)
    folders = [Path(named)] if named else [Path(__file__).resolve().parents[3] / "tests" / "data"]
    for folder in folders:
        if all((folder / name).is_file() for name, _, _ in _RUNS):
            return folder
    names = " and ".join(name for name, _, _ in _RUNS)
    raise EnvironmentProblem(
        f"expected {names} in {folders[0]}, found none: the demo's recordings are in tests/data of a checkout; "
        f"install from that checkout (pip install -e .), or name the folder in {DATA_VARIABLE}"
    )
