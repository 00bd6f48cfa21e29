"""Which rules fail on which saboteur: the whole suite on each, on the model, compared with failing.json beside it.

`python tests/contract/failing.py` makes the record anew, about an hour; broken off and started again it goes on where
it was, as long as nothing in the package has changed. `--check` compares instead of writing. Names restrict both to
these saboteurs. `--related` leaves out the rules that have nothing to do with what the defect is built into, and
takes a third of the time. test_failing_sets.py looks at a few saboteurs with every run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from codecrig.contract import Objects, Runner, Saboteur, Verdict, all_checks, all_saboteurs

RECORD = Path(__file__).with_name("failing.json")
REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "host" / "codecrig"
PROGRESS = REPOSITORY / "build" / "contract" / "failing.jsonl"
CHECK_LIMIT_S = 20.0
"""On the model no check takes a second. A defect may make one hang."""
FINE = (Verdict.PASSED, Verdict.SKIPPED)


def saboteurs() -> dict[str, Saboteur]:
    """Those that the model can have, by name."""
    return {name: each for name, each in all_saboteurs().items() if not each.boards}


class Asked(Objects):
    """Objects without a defect, which note what models a check asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.models: set[str] = set()

    def port(self, model: str) -> Callable[..., Any]:
        self.models.add(model)
        return super().port(model)

    def miniport(self, model: str) -> Callable[..., Any]:
        self.models.add(model)
        return super().miniport(model)


@cache
def models_of_rules() -> dict[str, frozenset[str]]:
    """The models that each check asks for."""
    objects, found = Asked(), {}
    with Runner.by_name("model", objects) as runner:
        for rule, check in all_checks().items():
            objects.models.clear()
            runner.judge(check)
            found[rule] = frozenset(objects.models)
    return found


def reach(saboteur: Saboteur) -> frozenset[str]:
    """The rules that a defect can reach: those that use a port or miniport it is built into; on a broken board all."""
    objects = Objects()
    saboteur.apply(objects)
    if objects.prepare or objects.clock_ppm is not None or objects.defect is not None:
        return frozenset(all_checks())
    built_into = objects.ports.keys() | objects.miniports.keys()
    return frozenset(rule for rule, models in models_of_rules().items() if models & built_into)


def failing(saboteur: Saboteur, rules: Collection[str], seed: int = 1) -> list[str]:
    """Those of `rules` that fail on it, in the order of the table; `seed` decides in which order they are judged."""
    objects = Objects()
    saboteur.apply(objects)
    checks = [check for rule, check in all_checks().items() if rule in rules]
    with Runner.by_name("model", objects, check_limit_s=CHECK_LIMIT_S) as runner:
        found = {result.rule: result for result in runner.judge_all(checks, seed)}
    broken = [result.reason for result in found.values() if result.verdict is Verdict.INFRA]
    if broken:
        raise RuntimeError(f"{saboteur.name}: {broken[0]}")
    return [rule for rule in all_checks() if rule in found and found[rule].verdict not in FINE]


def record() -> dict[str, list[str]]:
    """What was found when the record was made: rules by name of the saboteur."""
    found: dict[str, list[str]] = json.loads(RECORD.read_text())
    return found


def write(found: dict[str, list[str]]) -> None:
    """One line for each saboteur."""
    lines = (f"  {json.dumps(name)}: {json.dumps(rules)}" for name, rules in sorted(found.items()))
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def package_digest() -> str:
    """Changes with every file of the package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".toml"):
            digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def judge(names: Sequence[str], related: bool) -> dict[str, list[str]]:
    """The suite, or what is related of it, on each; each result is kept in PROGRESS at once."""
    digest, done = package_digest() + "-related" * related, {}
    if PROGRESS.is_file():
        lines = (json.loads(line) for line in PROGRESS.read_text().splitlines())
        done = {name: rules for key, name, rules in lines if key == digest}
    PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    with PROGRESS.open("a") as file:
        for number, name in enumerate(names, 1):
            if name not in done:
                saboteur = saboteurs()[name]
                done[name] = failing(saboteur, reach(saboteur) if related else all_checks())
                file.write(json.dumps([digest, name, done[name]]) + "\n")
                file.flush()
                print(f"{number}/{len(names)} {name}: {' '.join(done[name]) or 'nothing'}", flush=True)
    return {name: done[name] for name in names}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="SABOTEUR")
    parser.add_argument("--check", action="store_true", help="compare with the record instead of writing it")
    parser.add_argument("--related", action="store_true", help="leave out rules that the defect cannot reach")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in saboteurs()]
    if unknown:
        parser.error(f"expected saboteurs, found {', '.join(unknown)}")
    found = judge(chosen.names or list(saboteurs()), chosen.related)
    before = record() if RECORD.is_file() else {}
    differing = {name: rules for name, rules in found.items() if before.get(name) != rules}
    for name, rules in differing.items():
        print(f"{name}: recorded {before.get(name)}, found {rules}")
    if not chosen.check:
        # What is no saboteur any more goes.
        write({name: rules for name, rules in {**before, **found}.items() if name in saboteurs()})
    print(f"{len(found)} saboteurs, {len(differing)} not as recorded")
    return int(chosen.check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
