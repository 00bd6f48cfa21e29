"""Verdicts, what leads to them, and the evidence that goes with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a rule came out on one board."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not judged"
    """Nothing moved, so nothing was proven."""
    SKIPPED = "skipped"
    """The profile does not promise the feature, or the bench does not have it."""
    INFRA = "infra"
    """The bench or the link failed, not the board."""


class RuleFailed(Exception):
    """The rule does not hold. `what` was looked at, `expected` and `found` say how it came out."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        self.what = what
        self.expected = str(expected)
        self.found = str(found)
        super().__init__(f"{what}: expected {self.expected}; found {self.found}")


class NotJudged(Exception):
    """The run proves nothing, for the reason given."""


class RuleSkipped(Exception):
    """The rule does not apply to this board or bench, for the reason given."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was seen: its name, its value, and the register, sample or call that it comes from."""

    what: str
    value: str
    source: str


@dataclass
class RuleResult:
    """One rule on one board."""

    rule: str
    verdict: Verdict
    reason: str = ""
    """Why it is not passed, in one line."""
    expected: str = ""
    found: str = ""
    evidence: list[Evidence] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    """The last calls across the boundary between port and miniport; only of rules that are not passed."""
    seconds: float = 0.0
    """Wall clock."""
    evidence_seconds: float = 0.0
    """Span of stream time that the rule speaks of; the quick run covers it by preloaded counters or a shorter span."""
    full_span: bool = True
    """False if the rule speaks of a longer span than this run covered."""
    method: str = ""
    """How it is judged: the first line of the check's docstring."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "expected": self.expected,
            "found": self.found,
            "evidence": [{"what": e.what, "value": e.value, "source": e.source} for e in self.evidence],
            "trace": self.trace,
            "seconds": round(self.seconds, 4),
            "evidence_seconds": self.evidence_seconds,
            "full_span": self.full_span,
            "method": self.method,
        }

    @classmethod
    def from_json(cls, rule: str, data: dict[str, Any]) -> RuleResult:
        """What `as_json` wrote."""
        fields = {**data, "verdict": Verdict(data["verdict"]), "evidence": [Evidence(**e) for e in data["evidence"]]}
        return cls(rule=rule, **fields)
