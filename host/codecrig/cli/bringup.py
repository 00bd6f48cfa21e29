"""selftest and safe: a board in stages, and out of harm's way."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.markup import escape

from codecrig.board import Board, BoardError, BoardProfile, Connection, stream_register
from codecrig.board.bench import FAULTS
from codecrig.board.bitstream import Bitstream
from codecrig.board.loading import fpga_state
from codecrig.cli.artifacts import board_bitstream
from codecrig.cli.common import (
    BoardChoice,
    ExitStatus,
    Session,
    board_options,
    json_option,
    pass_session,
    plain,
    verbosity_options,
)
from codecrig.link import registers as regs
from codecrig.link.registers import StreamState
from codecrig.selftest import STAGES, Settings, StageResult
from codecrig.selftest import selftest as run_stages

_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


def _stages(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name for value in values for name in value.split(","))
    for name in names:
        if name not in STAGES:
            raise click.BadParameter(f"{name!r} is none of: {', '.join(STAGES)}")
    return names


@click.command(short_help="Bring-up of a board in named stages.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME",
    callback=_stages,
    help=f"Only this stage and what it cannot do without; may be repeated. One of: {', '.join(STAGES)}.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice(list(FAULTS)),
    metavar="NAME",
    help=f"Simulated boards: break this first, to see what is said then. One of: {', '.join(FAULTS)}.",
)
@json_option
@board_options
@verbosity_options
@pass_session
def selftest(session: Session, stages: tuple[str, ...], faults: tuple[str, ...], choice: BoardChoice) -> int:
    """Bring-up of a board in named stages: USB, firmware, FPGA, links, memory, clocks, events, audio inside and out.

    A stage that fails names the part to look at. For the last one, connect line out to line in. Exit code 1 if a stage
    failed, 3 if there is no board.

    \b
    Example: codecrig selftest --board pico-ice
             codecrig selftest --fault slot-late        (what would that look like?)
    """  # fmt: skip
    began = time.perf_counter()
    profile = choice.board_profile()
    width = max(map(len, STAGES))

    def show(result: StageResult) -> None:
        colour = _COLOURS[result.verdict]
        session.say(f"{result.name:<{width}}  [{colour}]{result.verdict:<7}[/]  {escape(result.text)}")
        if result.hint:
            session.say(f"{'':<{width}}  {'':<7}  look at: {escape(result.hint)}")

    def break_it(connection: Connection) -> None:
        for fault in faults:
            if not connection.bench.has("fault"):
                raise click.BadParameter(f"board {profile.name} cannot be broken on demand", param_hint="--fault")
            connection.bench.fault(fault)

    settings = Settings(expected_bitstream(choice, profile), stages, before=break_it, on_result=show)
    results = run_stages(lambda: choice.connect(session), settings)
    status = _status(results)
    failed = next((each for each in results if each.verdict == "failed"), None)
    result = {
        "board": profile.name,
        "verdict": "passed" if failed is None else "failed",
        "failed_stage": failed.name if failed else None,
        "part": failed.part if failed else None,
        "hint": failed.hint if failed else None,
        "stages": [
            {
                "name": each.name,
                "verdict": each.verdict,
                "text": each.text,
                "part": each.part,
                "hint": each.hint,
                "seconds": each.seconds,
                "figures": each.figures,
            }
            for each in results
        ],
        "wall_seconds": time.perf_counter() - began,
    }
    session.write_json(plain(result), status)
    passed = sum(each.verdict == "passed" for each in results)
    session.say(f"{passed} of {len(results)} stages passed." if failed else "All stages passed.")
    return status


def _status(results: list[StageResult]) -> ExitStatus:
    if results[0].verdict == "failed":
        return ExitStatus.ENVIRONMENT
    return ExitStatus.FAILED if any(each.verdict == "failed" for each in results) else ExitStatus.PASSED


def expected_bitstream(choice: BoardChoice, profile: BoardProfile) -> Bitstream | None:
    """What the FPGA of this board should hold, as far as it is known here."""
    if ":" in choice.name:  # somebody else's board, or one of another day
        return None
    return board_bitstream(profile)


@click.command(short_help="Stop streams, mute outputs, read back.")
@json_option
@board_options
@verbosity_options
@pass_session
def safe(session: Session, choice: BoardChoice) -> int:
    """Stops all streams, mutes and switches off the outputs, and reads back that it is so.

    Example: codecrig safe --board pico-ice
    """
    with choice.connect(session) as connection:
        state = fpga_state(connection.link)
        found: dict[str, Any] = {"board": connection.profile.name, "serial": connection.link.serial}
        if not state.ready:
            found |= {"safe": True, "configured": False}
            lines = [("FPGA", "empty: its pins are at rest", True)]
        elif state.build is None:
            raise BoardError(
                f"expected the FPGA to be told to stop; found that {state.problem}; next step: `codecrig load`, or "
                f"switch the board off"
            )
        else:
            with connection.lend() as board:
                board.safe()
                states, lines = _read_back(board)
            found |= {"safe": all(good for _, _, good in lines), "configured": True, **states}
    status = ExitStatus.PASSED if found["safe"] else ExitStatus.FAILED
    session.write_json(plain(found), status)
    for name, text, good in lines:
        session.say(f"{name:<12} [{'green' if good else 'red'}]{text}[/]")
    session.say("Safe." if found["safe"] else "[red]Not safe: switch the board off.[/]")
    return status


def _read_back(board: Board) -> tuple[dict[str, Any], list[tuple[str, str, bool]]]:
    """What stands in the registers now: for JSON, and as (name, text, is it safe)."""
    identity = board.identity()
    names = [
        StreamState(board.read_register(stream_register(stream, regs.STREAM_STATUS)) & 3).name
        for stream in range(identity.streams)
    ]
    converter = board.read_register(regs.FPGA_CONVERTER_CONTROL)
    enabled = bool(converter >> regs.FPGA_CONVERTER_CONTROL_ENABLE_LSB & 1)
    muted = bool(converter >> regs.FPGA_CONVERTER_CONTROL_MUTE_LSB & 1)
    trigger = bool(board.read_register(regs.FPGA_TRIGGER_OUT) & 1)
    spdif = bool(identity.peripherals and board.read_register(regs.SPDIF_GATES) & 1)
    states = {
        "streams": names,
        "converter": {"enabled": enabled, "muted": muted},
        "spdif_enabled": spdif,
        "trigger_out": trigger,
    }
    return states, [
        ("Streams", ", ".join(names), all(name == "STOP" for name in names)),
        ("DAC", "muted" if muted else "not muted", muted),
        ("S/PDIF", "sends" if spdif else "off", not spdif),
        ("Trigger out", "high" if trigger else "low", not trigger),
    ]
