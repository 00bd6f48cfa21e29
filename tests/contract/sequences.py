"""How test_sequences_*.py run: random calls on model and twin in lock-step, until enough has happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from codecrig.board import open_board

MOST_SEEDS = 8


def answer_alike(
    sequences: type[RuleBasedStateMachine], enough: Callable[[Any], bool], *, examples: int, steps: int
) -> None:
    """Run `examples` sequences of at most `steps` calls on the two boards, which the machine finds in `boards`.

    What a seed leads to depends on hypothesis's version: seeds follow until every kind of call has been met often.
    `enough` looks at the machine's counts; it must hold in the end.
    """

    class Machine(sequences):  # type: ignore[valid-type, misc]
        """Has counts of its own."""

    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    with open_board("model") as model, open_board("twin") as twin:
        Machine.boards = model, twin
        for number in range(1, MOST_SEEDS + 1):
            run_state_machine_as_test(seed(number)(Machine), settings=chosen)
            if enough(Machine):
                break
    assert enough(Machine)
