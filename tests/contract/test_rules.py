"""Our own objects keep every rule, on each board that the tests use."""

from codecrig.contract import Check, Runner, Verdict

DO_NOT_APPLY = {
    "WRT-PRG-02": "no register of the board holds an offset in the buffer",
    "WRT-PRG-03": "no register of the board holds an offset in the buffer",
}
"""Rules about what our boards do not have. Everything else must pass; so must these once they do apply."""


def test_rule(contract_check: Check, contract_runner: Runner) -> None:
    result = contract_runner.judge(contract_check)
    accepted = {Verdict.PASSED, *([Verdict.SKIPPED] if result.rule in DO_NOT_APPLY else [])}
    assert result.verdict in accepted, f"{result.verdict}: {result.reason}\n" + "\n".join(result.trace)
