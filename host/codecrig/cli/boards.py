"""list and info: which boards there are, and what one of them says it is."""

from __future__ import annotations

from dataclasses import asdict

import click
import msgspec
from rich.markup import escape

from codecrig.board import list_boards
from codecrig.cli.common import (
    BoardChoice,
    ExitStatus,
    Session,
    board_options,
    json_option,
    pass_session,
    plain,
    provenance,
    verbosity_options,
)


@click.command("list", short_help="Boards there are, simulated and connected.")
@json_option
@verbosity_options
@pass_session
def list_(session: Session) -> int:
    """Boards there are: every profile, and every codecrig board on USB. Opens none.

    For a connected board that no profile describes, prints text that is ready to become its board.toml.

    Example: codecrig list
    """
    listings = list_boards()
    session.write_json({"boards": [plain(asdict(each)) for each in listings]}, ExitStatus.PASSED)
    if not listings:
        session.say(
            "None: no board.toml was found, nor a board on USB. Install from a checkout, or set CODECRIG_BOARDS."
        )
    width = max((len(each.name) for each in listings), default=0)
    for each in listings:
        state = "[green]available[/]" if each.available else "[yellow]not available[/]"
        serial = f", serial {escape(each.serial)}" if each.serial else ""
        session.say(
            f"[bold]{escape(each.name or '(no profile)'):<{width}}[/]  {state}  {escape(each.description)}{serial}"
        )
        session.say(f"{'':<{width}}  [dim]{escape(each.detail)}[/]")
        if each.snippet:
            session.say(f"\nA board.toml to start from:\n\n{escape(each.snippet)}")
    return ExitStatus.PASSED


@click.command(short_help="What one board says it is and can do.")
@json_option
@board_options
@verbosity_options
@pass_session
def info(session: Session, choice: BoardChoice) -> int:
    """What one board says it is, and what its profile promises. Opens the board.

    Example: codecrig info --board twin
    """
    with choice.open(session) as board:
        facts = provenance(session, board, choice)
        identity = asdict(board.identity())
        profile = msgspec.to_builtins(board.profile)
        bench = {name: board.bench.has(name) for name in ("tap", "inject", "trigger", "cable", "codec")}
        fit = board.clock.fit(span_s=0.2, points=16)
        clock = {
            "rate_ticks_per_host_second": float(fit.rate_ticks_per_host_second),
            "error_ppm": fit.ppm(board.profile.clock_rate),
            "fit_error_ns": fit.error_ns,
            "bracket_ns": fit.bracket_ns,
        }
    result = {
        "board": profile["name"],
        "serial": facts["Serial"],
        "identity": identity,
        "profile": profile,
        "bench": bench,
        "clock": clock,
        "provenance": facts,
    }
    session.write_json(plain(result), ExitStatus.PASSED)
    rows = [(name, facts[name]) for name in ("Board", "Serial", "Firmware", "Bitstream")]
    rows += [
        ("Streams", f"{identity['streams']}, event ring of {identity['ring_records']} records"),
        ("Audio memory", f"{identity['audio_memory_bytes'] // 1024} KiB"),
        (
            "Clock",
            f"{float(board.profile.clock_rate):.0f} Hz; {clock['error_ppm']:+.1f} ppm by the host's clock (0.2 s)",
        ),
        ("Rates", ", ".join(f"{rate} Hz" for rate in profile["rates"])),
        ("Formats", ", ".join(profile["formats"]) + "; " + " or ".join(map(str, profile["channels"])) + " channels"),
        ("Features", ", ".join(profile["features"])),
        ("Bench", ", ".join(name for name, there in bench.items() if there) or "nothing"),
    ]
    rows += [("Known issue", issue) for issue in profile["known_issues"]]
    for label, text in rows:
        session.say(f"{label:<14} {escape(text)}")
    return ExitStatus.PASSED
