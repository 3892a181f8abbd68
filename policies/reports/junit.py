"""JUnit's XML, as Jenkins, GitLab and Azure DevOps read it: a test case a rule.

A case a rule and resource would be a hundred thousand. Mandatory violations fail the case, a broken
rule is its error, and what is neither passed nor failed is skipped with the reason: not applicable,
pending, excepted, disabled, and what is advisory, since the run goes on. JUnit has no schema of its
own; Jenkins' (xunit plugin, junit-10.xsd) has the elements and attributes used here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from policies.common.rule import Result
from policies.reports.lines import one_line

_MOST = 200
"""Findings told of one rule: what reads the file keeps it in memory."""


def document(results: Sequence[Result], suite: str) -> str:
    """The report; `suite` says what was checked."""
    cases = [_case(result) for result in results]
    kinds = Counter(child.tag for case in cases for child in case)
    counts = {
        "tests": str(len(cases)),
        "failures": str(kinds["failure"]),
        "errors": str(kinds["error"]),
        "skipped": str(kinds["skipped"]),
    }
    whole = ET.Element("testsuites")
    ET.SubElement(whole, "testsuite", {"name": one_line(suite), **counts}).extend(cases)
    ET.indent(whole)
    return ET.tostring(whole, encoding="unicode", xml_declaration=True)


def _case(result: Result) -> ET.Element:
    case = ET.Element("testcase", {"classname": "falaj.policies", "name": result.rule.name})
    if result.outcome != "passed":
        kind = _kind(result)
        told = ET.SubElement(case, kind, {"message": _summary(result)})
        if kind != "skipped":
            told.set("type", result.level)
            told.text = _text(result)
        elif result.findings:
            ET.SubElement(case, "system-out").text = _text(result)
    return case


def _kind(result: Result) -> str:
    if result.broken:
        return "error"
    return "failure" if result.stops else "skipped"


def _summary(result: Result) -> str:
    verdicts = Counter(finding.verdict for finding in result.findings)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    level = "advisory, " if result.level == "advisory" and result.outcome == "failed" else ""
    return f"{level}{result.outcome}: {told}" if told else result.outcome


def _text(result: Result) -> str:
    said = [f"{one.verdict}: {one_line(one.sentence)}" for one in result.findings[:_MOST]]
    if len(result.findings) > _MOST:
        said.append(f"and {len(result.findings) - _MOST} more")
    return "\n".join([result.rule.description, *said, result.rule.advice])
