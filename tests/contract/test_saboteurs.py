"""Every saboteur is found by the rules that it says it breaks.

A rule that needs a board is killed on the twin: a kill on the model does not count there.
"""

from collections.abc import Iterator

import pytest

from codecrig.contract import Check, Objects, Runner, Saboteur, Verdict, all_checks, all_saboteurs


def kills() -> Iterator[tuple[Saboteur, Check]]:
    """Every pair of a saboteur and a rule that must fail on it."""
    for saboteur in all_saboteurs().values():
        for rule in saboteur.kills:
            if rule in all_checks():
                yield saboteur, all_checks()[rule]


@pytest.mark.parametrize(
    ("saboteur", "check"), [pytest.param(*each, id=f"{each[0].name}-{each[1].rule.id}") for each in kills()]
)
def test_the_rule_fails(saboteur: Saboteur, check: Check) -> None:
    objects = Objects()
    saboteur.apply(objects)
    board = saboteur.boards[0] if saboteur.boards else "model" if check.rule.observe == "host" else "twin"
    with Runner.by_name(board, objects) as runner:
        result = runner.judge(check)
    assert result.verdict is Verdict.FAILED, f"{saboteur.name} on {board}: {result.verdict}: {result.reason}"
