"""check: the stream contract on one board, rule by rule."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import click
from rich.markup import escape

from codecrig.board import Board
from codecrig.cli.common import (
    FILE,
    BoardChoice,
    ExitStatus,
    Session,
    board_options,
    json_option,
    pass_session,
    provenance,
    verbosity_options,
)
from codecrig.contract import Objects, RuleResult, Runner, Verdict, all_checks, all_rules
from codecrig.contract.checks import chosen_objects, select
from codecrig.report.verdicts import BoardVerdicts, junit_text, render_verdicts

_STYLES = {Verdict.PASSED: "green", Verdict.SKIPPED: "dim"}


@click.command(short_help="Judge the stream contract, rule by rule.")
@click.option("--rule", "rules", multiple=True, metavar="ID", help="Only this rule, or ids beginning so (WRT-POS, WP).")
@click.option("--interface", "interfaces", multiple=True, metavar="NAME", help="Only rules of this interface.")
@click.option("--level", type=click.Choice(["must", "should"]), help="Only rules of this level.")
@click.option("--long", is_flag=True, help="Cover the whole span of rules that speak of long ones.")
@click.option("--seed", type=int, metavar="N", help="Order of the rules; default: another one each time.")
@click.option("--miniport", metavar="MODULE:CLASS", help="Judge your miniport instead of ours.")
@click.option("--saboteur", metavar="NAME", help="Build in a defect, to see which rules find it (`list`: their names).")
@click.option("--jobs", type=click.IntRange(1, 16), default=1, show_default=True, help="Simulated boards at once.")
@click.option(
    "--beside", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="JSON of an earlier run, to stand beside this one in the page.",
)
@click.option("--html", type=FILE, metavar="FILE", help="Write the page.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML.")
@json_option
@board_options
@verbosity_options
@pass_session
def check(
    session: Session,
    rules: tuple[str, ...],
    interfaces: tuple[str, ...],
    level: str | None,
    long: bool,
    seed: int | None,
    miniport: str | None,
    saboteur: str | None,
    jobs: int,
    beside: tuple[Path, ...],
    html: Path | None,
    junit: Path | None,
    choice: BoardChoice,
) -> int:
    """Judge the stream contract of the wave interfaces on a board, rule by rule.

    Every check has been seen to fail on a saboteur. A board rule passes only with evidence that data moved.

    Example: codecrig check --rule WRT-POS --html verdicts.html
    """  # fmt: skip
    if saboteur == "list":
        return _list_saboteurs(session)
    try:
        checks = select(rules, interfaces, level)
        chosen_objects(miniport, saboteur)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not checks:
        raise click.UsageError("no rule fits all of --rule, --interface and --level")
    others = [_read_run(path) for path in beside]
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    order = [each.rule.id for each in checks]
    random.Random(seed).shuffle(order)
    with choice.open(session) as board:  # builds the twin if need be, and says what the board is
        facts = provenance(session, board, choice) | {"Seed": str(seed)}
        name, kind = board.profile.name, board.profile.kind
    if saboteur:
        facts["Saboteur"] = saboteur
    if miniport:
        facts["Miniport"] = miniport
    if jobs > 1 and kind == "usb":
        raise click.UsageError(f"--jobs {jobs}: there is one board called {name}; only simulated ones can be several")
    shares = [_Share(choice, order[job::jobs], long, miniport, saboteur) for job in range(min(jobs, len(order)))]
    results: dict[str, RuleResult] = {}
    with session.progress("judging") as progress:
        for result in _judge(session, shares):
            results[result.rule] = result
            progress(len(results), len(order))
    results = {rule: results[rule] for rule in all_rules() if rule in results}
    column = f"{name}, {saboteur}" if saboteur else name
    columns = [BoardVerdicts(column, facts, results), *others]
    for path, text in ((html, render_verdicts), (junit, junit_text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(columns), encoding="utf-8")
    status = _status(results)
    _say(session, results, html)
    session.write_json(
        {
            "board": name,
            "serial": facts["Serial"],
            "seed": seed,
            "provenance": facts,
            "rules": {rule: result.as_json() for rule, result in results.items()},
        },
        status,
    )
    return status


class _Share:
    """What one process judges."""

    def __init__(
        self, choice: BoardChoice, rules: Sequence[str], long: bool, miniport: str | None, saboteur: str | None
    ) -> None:
        self.choice = choice
        self.rules = list(rules)
        self.long = long
        self.miniport = miniport
        self.saboteur = saboteur

    def judge(self, session: Session) -> Iterator[RuleResult]:
        """Every rule of the share, on a board of its own."""

        def opening(objects: Objects) -> Board:
            clock_ppm = self.choice.clock_ppm if objects.clock_ppm is None else objects.clock_ppm
            return replace(self.choice, clock_ppm=clock_ppm, defect=objects.defect).open(session)

        with Runner(opening, chosen_objects(self.miniport, self.saboteur), long=self.long) as runner:
            for rule in self.rules:
                yield runner.judge(all_checks()[rule])


def _judge_share(share: _Share) -> list[RuleResult]:
    return list(share.judge(Session(verbosity=-1)))


def _judge(session: Session, shares: list[_Share]) -> Iterator[RuleResult]:
    if len(shares) == 1:
        yield from shares[0].judge(session)
        return
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        for results in pool.map(_judge_share, shares):
            yield from results


def _status(results: dict[str, RuleResult]) -> ExitStatus:
    verdicts = {result.verdict for result in results.values()}
    if verdicts & {Verdict.FAILED, Verdict.NOT_JUDGED}:
        return ExitStatus.FAILED
    return ExitStatus.ENVIRONMENT if Verdict.INFRA in verdicts else ExitStatus.PASSED


def _say(session: Session, results: dict[str, RuleResult], html: Path | None) -> None:
    groups: dict[str, Counter[Verdict]] = {}
    for rule, result in results.items():
        groups.setdefault(all_rules()[rule].group, Counter())[result.verdict] += 1
    for group, counts in groups.items():
        text = ", ".join(
            f"[{_STYLES.get(verdict, 'red')}]{counts[verdict]} {verdict}[/]" for verdict in Verdict if counts[verdict]
        )
        session.say(f"{group:4} {text}")
    for rule, result in results.items():
        if result.verdict is Verdict.SKIPPED:
            session.say(f"[dim]{rule} skipped: {escape(result.reason)}[/]")
        elif result.verdict is not Verdict.PASSED:
            session.say(f"[red]{rule} {result.verdict}[/]: {escape(result.reason)}")
            session.say(f"  {escape(all_rules()[rule].statement)}")
    counts = Counter(result.verdict for result in results.values())
    text = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    session.say(f"{len(results)} rules: {text}" + (f"; page: {html}" if html else ""))


def _list_saboteurs(session: Session) -> int:
    from codecrig.contract import all_saboteurs

    for each in all_saboteurs().values():
        session.say(f"{each.name}: {escape(each.description)} [dim]({', '.join(each.kills)})[/]")
    return ExitStatus.PASSED


def _read_run(path: Path) -> BoardVerdicts:
    """An earlier run's JSON. Raises a usage error if it is something else."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        results = {rule: RuleResult.from_json(rule, data) for rule, data in run["rules"].items() if rule in all_rules()}
        return BoardVerdicts(run["board"], run["provenance"], results)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise click.BadParameter(
            f"{path}: expected the JSON of `codecrig check`; found {type(error).__name__}: {error}",
            param_hint="--beside",
        ) from error
