"""The suite as a whole: a user's miniport, a user's tests, any order, and miniports that misbehave throughout."""

from __future__ import annotations

import random
from typing import Any

import pytest

from codecrig.contract import Objects, Runner, Verdict, all_checks
from codecrig.contract.checks import chosen_objects, select
from codecrig.link.registers import StreamState
from codecrig.miniport.wavert import MiniportWaveRT
from codecrig.portcls import KSAUDIO_POSITION, KSSTATE

pytest_plugins = ["pytester"]


def verdicts(rules: list[str], objects: Objects, seed: int = 1) -> dict[str, Verdict]:
    """Verdicts on the model by rule."""
    with Runner.by_name("model", objects, check_limit_s=5) as runner:
        results = {result.rule: result.verdict for result in runner.judge_all(select(rules), seed)}
        states = {runner.board.snapshot(stream).state for stream in range(4)}
        assert states == {StreamState.STOP}
    return results


def test_the_template_keeps_the_rules_of_its_interface() -> None:
    found = verdicts(["WC", "DMA", "SVC"], chosen_objects("codecrig.miniport.template:TemplateMiniport"))
    assert set(found.values()) == {Verdict.PASSED}
    assert len(found) == 48


def test_the_order_changes_no_verdict() -> None:
    rules = [rule for rule in all_checks() if rule.startswith(("GEN", "SVC", "DMA", "WP", "WRT", "WRN"))]
    chosen = random.Random(5).sample(rules, 60)
    assert verdicts(chosen, Objects(), seed=1) == verdicts(chosen, Objects(), seed=2)


class Nonsense(MiniportWaveRT):
    """Positions out of the air."""

    def new_stream(self, *arguments: Any) -> Any:
        stream: Any = super().new_stream(*arguments)
        stream.get_position = lambda: KSAUDIO_POSITION(1 << 40, -3)
        return stream


class Raises(MiniportWaveRT):
    """RUN raises something that is no status."""

    def new_stream(self, *arguments: Any) -> Any:
        stream: Any = super().new_stream(*arguments)
        good = stream.set_state

        def set_state(state: KSSTATE) -> Any:
            if state is KSSTATE.RUN:
                raise ZeroDivisionError("in RUN")
            return good(state)

        stream.set_state = set_state
        return stream


class Leaks(MiniportWaveRT):
    """Every stream keeps its port stream for ever."""

    def new_stream(self, port_stream: Any, *arguments: Any) -> Any:
        port_stream.add_ref()
        return super().new_stream(port_stream, *arguments)


@pytest.mark.parametrize(
    ("miniport", "named"),
    [
        (Nonsense, {"WRT-POS-01", "WRT-NEW-01"}),
        (Raises, {"WRT-STA-01", "WRT-POS-04", "GEN-POS-01"}),
        (Leaks, {"GEN-REF-01"}),
    ],
)
def test_a_broken_miniport_is_named_and_the_other_rules_go_on(miniport: Any, named: set[str]) -> None:
    rules = ["WRT-NEW", "WRT-POS", "WRT-STA", "GEN-REF", "GEN-POS", "WC-NRM", "WP-NEW"]
    found = verdicts(rules, Objects(miniports={"wavert": miniport}))
    assert set(found) == {each.rule.id for each in select(rules)}
    assert named <= {rule for rule, verdict in found.items() if verdict is Verdict.FAILED}
    assert {verdict for rule, verdict in found.items() if rule.startswith(("WC", "WP"))} == {Verdict.PASSED}
    assert Verdict.INFRA not in found.values()


def test_users_tests_get_boards_and_streams(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from codecrig.portcls import KSSTATE

        def test_render(wavert_stream):
            wavert_stream.set_state(KSSTATE.PAUSE)
            assert wavert_stream.position().PlayOffset == 0

        def test_capture(capture_stream, rig):
            capture_stream.set_state(KSSTATE.ACQUIRE)
            assert rig.trace.of("set_state")

        def test_board(board):
            assert board.profile.name == "model"
        """
    )
    result = pytester.runpytest_subprocess("--board", "model")
    result.assert_outcomes(passed=3)


def test_the_package_runs_as_tests(pytester: pytest.Pytester) -> None:
    path = pytester.path / "verdicts.json"
    options = ("--pyargs", "codecrig.contract", "--board", "model")
    kept = pytester.runpytest_subprocess(*options, "--rule", "GEN-QIF", "--contract-json", str(path))
    kept.assert_outcomes(passed=1)
    assert '"GEN-QIF-01"' in path.read_text()
    broken = pytester.runpytest_subprocess(*options, "--rule", "GEN-QIF", "--saboteur", "has-every-interface")
    broken.assert_outcomes(failed=1)
    broken.stdout.fnmatch_lines(["*GEN-QIF-01 on model: failed*", "*contract on model: 1 failed*"])
