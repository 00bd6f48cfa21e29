"""Every rule that the options choose, as one test each: `pytest --pyargs codecrig.contract`."""

import pytest

from codecrig.contract.checks import Check
from codecrig.contract.runner import Runner
from codecrig.contract.verdict import Verdict


def test_rule(contract_check: Check, contract_runner: Runner, board_name: str, request: pytest.FixtureRequest) -> None:
    """The rule holds on the board."""
    result = contract_runner.judge(contract_check)
    request.node.user_properties.append(
        ("codecrig_contract", {"board": board_name, "rule": result.rule, "result": result.as_json()})
    )
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.reason)
    if result.verdict is not Verdict.PASSED:
        trace = "\n".join(("calls:", *result.trace)) if result.trace else ""
        pytest.fail(
            f"{result.rule} on {board_name}: {result.verdict}: {result.reason}\n"
            f"{contract_check.rule.statement}\n{trace}",
            pytrace=False,
        )
