"""loopback, play and record: one WAV file and one board."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from codecrig import client
from codecrig.board import Board
from codecrig.board.profile import BoardProfile
from codecrig.cli import songs
from codecrig.cli.common import (
    FILE,
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
from codecrig.cli.judging import Judgement, captured_audio, judge_loopback, judge_single
from codecrig.player import SONG_MODELS
from codecrig.portcls import Format
from codecrig.report import Report, render_report
from codecrig.transport import STREAM_MODELS, StreamModel
from codecrig.wave import PcmAudio, read_wave, write_wave

# Frames captured behind the last played one: more than any path's delay, and a packet to fill the last one.
TAIL_FRAMES = 1920
RESULT_FILES = ("result.json", "report.html")
_FORMATS = {"pcm8": (8, 8), "pcm16": (16, 16), "pcm24": (24, 24), "pcm32": (24, 32)}

model_option = click.option(
    "--model", type=click.Choice(STREAM_MODELS), default=STREAM_MODELS[0], show_default=True,
    help="Windows' stream objects that move the audio.",
)  # fmt: skip
resample_option = click.option(
    "--resample", is_flag=True, help="Convert a rate that the board does not know (needs soxr)."
)


def out_option(default: str | None) -> Any:
    """--out DIR with its default; without one, nothing is written unless it is given."""
    return click.option(
        "--out", type=FILE, default=default and Path(default), show_default=bool(default), metavar="DIR",
        help="Folder for results.",
    )  # fmt: skip


@click.command(short_help="Play FILE, capture it at the same time, and compare.")
@click.argument("file", type=FILE)
@click.option(
    "--path", type=click.Choice(["digital", "analog"]), default="digital", show_default=True,
    help="Loop in the FPGA, compared bit for bit; or through the converter, measured.",
)  # fmt: skip
@model_option
@resample_option
@out_option("build/loopback")
@json_option
@board_options
@verbosity_options
@pass_session
def loopback(
    session: Session, file: Path, path: str, model: StreamModel, resample: bool, out: Path, choice: BoardChoice
) -> int:
    """Play FILE (WAV), capture it at the same time, and compare.

    Writes capture.wav, result.json and report.html to the --out folder. The digital path passes if every frame comes
    back as it was played; the analog one if the signal is found and no frame is lost.

    Example: codecrig loopback speech.wav --json result.json
    """
    audio = load(file, choice.board_profile(), resample=resample)
    make_folder(out, "capture.wav", *RESULT_FILES, keep=file)
    with choice.open(session) as board:
        judgement = run_loopback(session, board, audio, file.name, path, model)
        facts = provenance(session, board, choice)
    finish(session, judgement, out, facts, {"file": str(file), "source": audio.source, "model": model}, audio.notes)
    return status_of(judgement)


@click.command(short_help="Play FILE.")
@click.argument("file", type=FILE)
@click.option(
    "--model", type=click.Choice([*STREAM_MODELS, *SONG_MODELS]),
    help=f"Windows' stream objects: {STREAM_MODELS[0]} unless another is named; for a MIDI file midi, dmus, or synth.",
)
@resample_option
@out_option(None)
@json_option
@board_options
@verbosity_options
@pass_session
def play(
    session: Session, file: Path, model: str | None, resample: bool, out: Path | None, choice: BoardChoice
) -> int:
    """Play FILE: audio, telling underruns, position rate and jitter; or a MIDI file on the board's MIDI output.

    A MIDI file leaves as bytes timed by the host (--model midi), as events timed by the board (dmus), or sounds through
    the converter (synth). With --out, result.json and for audio report.html are written there; for synth song.wav, or
    the one WAV file that --out names.

    Example: codecrig play speech.wav --pace real
    """
    is_song = songs.is_song(file)
    if is_song != (model in SONG_MODELS) and model is not None:
        wanted = " or ".join(SONG_MODELS if is_song else STREAM_MODELS)
        raise click.BadParameter(f"{file.name} is played by {wanted}; found {model}", param_hint="--model")
    if is_song:
        song_model = next((each for each in SONG_MODELS if each == model), SONG_MODELS[0])
        return songs.play_file(session, file, song_model, out, choice)
    stream_model = next((each for each in STREAM_MODELS if each == model), STREAM_MODELS[0])
    audio = load(file, choice.board_profile(), resample=resample)
    if out is not None:
        make_folder(out, *RESULT_FILES, keep=file)
    with choice.open(session) as board:
        started = time.perf_counter()
        with session.progress(f"playing {file.name}") as progress:
            run = client.play(board, audio.to_bytes(), stream_format(audio), model=stream_model, progress=progress)
        wall_seconds = time.perf_counter() - started
        judgement = judge_single(f"{file.name} played", audio, run, board.profile, wall_seconds)
        facts = provenance(session, board, choice)
    source = {"file": str(file), "source": audio.source, "model": stream_model}
    finish(session, judgement, out, facts, source, audio.notes)
    return status_of(judgement)


@click.command(short_help="Record to FILE.")
@click.argument("file", type=FILE)
@click.option("--seconds", type=click.FloatRange(min=0.001), default=3.0, show_default=True, help="How long.")
@click.option(
    "--source", type=click.Choice(["converter", "loopback", "pattern"]), default="converter", show_default=True,
    help="What the stream hears.",
)  # fmt: skip
@click.option("--format", "format_name", type=click.Choice(list(_FORMATS)), default="pcm24", show_default=True)
@click.option("--channels", type=int, default=2, show_default=True)
@click.option("--rate", type=int, metavar="HZ", help="Sample rate; default: the board's first.")
@model_option
@out_option(None)
@json_option
@board_options
@verbosity_options
@pass_session
def record(
    session: Session,
    file: Path,
    seconds: float,
    source: str,
    format_name: str,
    channels: int,
    rate: int | None,
    model: StreamModel,
    out: Path | None,
    choice: BoardChoice,
) -> int:
    """Record to FILE (WAV) and tell overruns, position rate and jitter; or the MIDI input to FILE (.mid).

    The board's pattern (--source pattern) is compared with what it should be, frame by frame. With --out, result.json
    and report.html are written there. For MIDI, --seconds is the only option that matters.

    Example: codecrig record line-in.wav --seconds 5
    """
    if file.suffix.lower() in songs.SUFFIXES:
        return songs.record_file(session, file, seconds, out, choice)
    form = _record_format(choice.board_profile(), format_name, channels, rate)
    frames = max(1, round(seconds * form.sample_rate))
    make_folder(file.parent)
    if out is not None:
        make_folder(out, *RESULT_FILES)
    with choice.open(session) as board:
        started = time.perf_counter()
        with session.progress(f"recording {file.name}") as progress:
            run = client.record(
                board, frames, form, source=source, model=model, progress=progress  # type: ignore[arg-type]
            )
        wall_seconds = time.perf_counter() - started
        pattern = source == "pattern"
        judgement = judge_single(f"{file.name} recorded", None, run, board.profile, wall_seconds, pattern=pattern)
        facts = provenance(session, board, choice)
    audio = captured_audio(run)
    if audio is not None:
        write_wave(file, audio)
        judgement.figures |= {"capture_wav": str(file), "capture_sha256": sha256_of(file)}
    finish(session, judgement, out, facts, {"source": source, "model": model}, ())
    if audio is not None:
        session.say(f"recording: {escape(str(file))}")
    return status_of(judgement)


def load(file: Path, profile: BoardProfile, *, resample: bool = False) -> PcmAudio:
    """The file as the board can play it. Raises WaveError."""
    return read_wave(file, rates=profile.rates, max_channels=max(profile.channels), resample=resample)


def stream_format(audio: PcmAudio) -> Format:
    """The Windows format of such audio."""
    return Format(audio.sample_rate, audio.channels, audio.container_bits, audio.valid_bits)


def run_loopback(
    session: Session, board: Board, audio: PcmAudio, name: str, path: str, model: StreamModel = "wavert"
) -> Judgement:
    """Plays and captures `audio`, and judges what came back."""
    started = time.perf_counter()
    with session.progress(f"{name} through the {path} path") as progress:
        run = client.loopback(
            board,
            audio.to_bytes(),
            stream_format(audio),
            path="digital" if path == "digital" else "analog",
            tail_frames=TAIL_FRAMES,
            model=model,
            progress=progress,
        )
    wall_seconds = time.perf_counter() - started
    title = f"{name} through the {'digital loopback' if path == 'digital' else 'analog path'}"
    return judge_loopback(title, path, audio, run, board.profile, wall_seconds)


def finish(
    session: Session,
    judgement: Judgement,
    out: Path | None,
    facts: dict[str, str],
    extra: dict[str, Any],
    notes: tuple[str, ...],
) -> None:
    """Writes the files of a run and says the result."""
    figures = judgement.figures
    status = status_of(judgement)
    board_facts = {"board": facts["Board"].partition(":")[0], "serial": facts["Serial"]}
    if out is not None:
        if judgement.report.captured is not None and "capture_wav" not in figures:
            wav = out / "capture.wav"
            write_wave(wav, judgement.report.captured)
            figures |= {"capture_wav": str(wav), "capture_sha256": sha256_of(wav)}
        page = out / "report.html"
        page.write_text(
            render_report(Report(judgement.report.title, [judgement.report], list(facts.items()))), encoding="utf-8"
        )
        figures["report_html"] = str(page)
    result = plain({**board_facts, **extra, **figures, "notes": list(notes), "provenance": facts})
    session.write_json(result, status, None if out is None else out / "result.json")
    say_judgement(session, judgement)
    for note in notes:
        session.say(f"[dim]{escape(note)}[/]")
    if out is not None:
        session.say(f"[dim]report:[/] {escape(str(out / 'report.html'))}")


def say_judgement(session: Session, judgement: Judgement) -> None:
    """Headline and figures for people."""
    colour = {"passed": "green", "failed": "red", "interrupted": "yellow"}.get(judgement.verdict, "bold")
    session.say(f"[bold]{escape(judgement.report.title)}[/]: [{colour}]{escape(judgement.headline)}[/]")
    for row in judgement.report.summary:
        session.say(
            f"  {escape(row.label):<20} {escape(row.value)}[dim]{escape(f'  ({row.note})' if row.note else '')}[/]"
        )


def status_of(judgement: Judgement) -> ExitStatus:
    """The exit status of a judged run."""
    return {
        "passed": ExitStatus.PASSED,
        "failed": ExitStatus.FAILED,
        "interrupted": ExitStatus.INTERRUPTED,
    }[judgement.verdict]


def _record_format(profile: BoardProfile, format_name: str, channels: int, rate: int | None) -> Format:
    rate = profile.rates[0] if rate is None else rate
    if rate not in profile.rates:
        rates = ", ".join(str(each) for each in sorted(profile.rates))
        raise click.BadParameter(f"found {rate} Hz, the board's rates are {rates} Hz", param_hint="--rate")
    if channels not in profile.channels:
        counts = ", ".join(str(each) for each in sorted(profile.channels))
        raise click.BadParameter(f"found {channels} channels, the board does {counts}", param_hint="--channels")
    if format_name not in profile.formats:
        names = ", ".join(profile.formats)
        raise click.BadParameter(f"found {format_name}, the board's formats are {names}", param_hint="--format")
    valid_bits, container_bits = _FORMATS[format_name]
    return Format(rate, channels, container_bits, valid_bits)
