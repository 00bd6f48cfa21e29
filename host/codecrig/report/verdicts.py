"""The contract's verdicts on one or more boards: as one HTML page, and as JUnit XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import jinja2

from codecrig.contract.rules import GROUPS, Rule, all_rules
from codecrig.contract.verdict import RuleResult, Verdict


@dataclass(frozen=True)
class BoardVerdicts:
    """One column of the matrix: a board, what it was, and its verdicts by rule."""

    name: str
    provenance: dict[str, str]
    results: dict[str, RuleResult]


@dataclass(frozen=True)
class _Row:
    rule: Rule
    results: list[RuleResult | None]
    open: bool = False


def render_verdicts(columns: Sequence[BoardVerdicts]) -> str:
    """The page as HTML text: summary, what did not pass with expected, found and calls, then rule by rule."""
    rules = [rule for rule in all_rules().values() if any(rule.id in column.results for column in columns)]
    rows = [_Row(rule, [column.results.get(rule.id) for column in columns]) for rule in rules]
    bad = (Verdict.FAILED, Verdict.INFRA, Verdict.NOT_JUDGED)
    notable = [
        _Row(row.rule, row.results, open=True)
        for verdict in bad
        for row in rows
        if min((bad.index(r.verdict) for r in row.results if r and r.verdict in bad), default=-1) == bad.index(verdict)
    ]
    groups = [
        {"name": name, "about": about.capitalize() + ".", "rows": [row for row in rows if row.rule.group == name]}
        for name, about in GROUPS.items()
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("codecrig.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("verdicts.html").render(
        title=f"Stream contract on {', '.join(column.name for column in columns)}",
        headline=f"{len(rules)} rules of the PortCls audio stream object interfaces.",
        verdict="failed" if notable else "passed",
        verdict_names=[str(each) for each in Verdict],
        counts=_counts(columns),
        notable=notable,
        groups=[group for group in groups if group["rows"]],
        columns=columns,
    )


def _counts(columns: Sequence[BoardVerdicts]) -> list[dict[str, Any]]:
    lines = []
    for column in columns:
        for group in ("all", *GROUPS):
            found = Counter(
                result.verdict
                for rule, result in column.results.items()
                if group in ("all", all_rules()[rule].group)
            )  # fmt: skip
            if found:
                lines.append({"column": column.name, "group": group, "counts": [found[each] for each in Verdict]})
    return lines


def junit_text(columns: Sequence[BoardVerdicts]) -> str:
    """JUnit XML: a suite for each board, a case for each rule; not judged counts as a failure, infra as an error."""
    root = ElementTree.Element("testsuites")
    for column in columns:
        verdicts = Counter(result.verdict for result in column.results.values())
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=column.name,
            tests=str(len(column.results)),
            failures=str(verdicts[Verdict.FAILED] + verdicts[Verdict.NOT_JUDGED]),
            errors=str(verdicts[Verdict.INFRA]),
            skipped=str(verdicts[Verdict.SKIPPED]),
            time=f"{sum(result.seconds for result in column.results.values()):.3f}",
        )
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in column.provenance.items():
            ElementTree.SubElement(properties, "property", name=name, value=value)
        for rule, result in column.results.items():
            case = ElementTree.SubElement(
                suite, "testcase", classname=all_rules()[rule].group, name=rule, time=f"{result.seconds:.3f}"
            )
            kind = {
                Verdict.FAILED: "failure",
                Verdict.NOT_JUDGED: "failure",
                Verdict.INFRA: "error",
                Verdict.SKIPPED: "skipped",
            }.get(result.verdict)
            if kind:
                problem = ElementTree.SubElement(case, kind, message=result.reason)
                problem.text = "\n".join([all_rules()[rule].statement, *result.trace])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
