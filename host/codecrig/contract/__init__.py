"""The contract: its rules as data, a check for each, saboteurs that prove the checks, and verdicts.

Writing a check, in the module of its group (`wavert.py`, `wavecyclic.py` ...):

    @check("WRT-STA-02")
    def run_without_a_buffer_is_refused(rig: Rig) -> None:
        \"\"\"Asks a stream without a buffer to run.\"\"\"
        pin = rig.wavert().open_pin(0, False, rig.formats[0])
        rig.expect_status("SetState(RUN) without a buffer", NTSTATUS.INVALID_DEVICE_STATE, pin.set_state, KSSTATE.RUN)
        rig.expect_equal("state afterwards", pin.state, KSSTATE.PAUSE)

One check for each rule, one docstring line that says how it judges. `rig` makes ports and miniports (every call between
them is in `rig.trace`), and takes verdicts (`expect...`), evidence (`note`) and, for rules that need a board, evidence
of progress (`moved`): without it the verdict is "not judged".

Writing a saboteur, in the same module of `saboteurs/`:

    @saboteur("WRT-STA-02")
    def runs_without_a_buffer(objects: Objects) -> None:
        \"\"\"SetState(RUN) succeeds though no buffer was allocated.\"\"\"
        class Stream(...): ...
        objects.miniports["wavert"] = ...

It changes `objects` (classes of port and miniport, start of the board, what is done to the open board); the rules named
must then fail, and `tests/contract/test_saboteurs.py` sees to it.
"""

from codecrig.contract.checks import Check, Saboteur, all_checks, all_saboteurs, check, saboteur
from codecrig.contract.rig import BusMonitor, Objects, Rig
from codecrig.contract.rules import GROUPS, WAVE_GROUPS, Rule, all_rules
from codecrig.contract.runner import Runner
from codecrig.contract.verdict import Evidence, NotJudged, RuleFailed, RuleResult, RuleSkipped, Verdict

__all__ = [
    "GROUPS",
    "WAVE_GROUPS",
    "BusMonitor",
    "Check",
    "Evidence",
    "NotJudged",
    "Objects",
    "Rig",
    "Rule",
    "RuleFailed",
    "RuleResult",
    "RuleSkipped",
    "Runner",
    "Saboteur",
    "Verdict",
    "all_checks",
    "all_rules",
    "all_saboteurs",
    "check",
    "saboteur",
]
