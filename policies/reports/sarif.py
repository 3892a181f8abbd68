"""SARIF 2.1.0, as GitHub's code scanning and others read it.

A result is a violation (`fail`), what is excused (`fail` with a suppression, at the level `note`)
or what is not known yet (`open`, "the tool concluded that there was insufficient information").
Rules that passed or were not applicable have no result, since GitHub shows an alert for each
result, whatever its kind; how every rule came out stands in the run's properties.

A resource's logical location is its URN. Code scanning refuses a result without a physical one:
that is the line of the program that made the resource, where plan or state tell it, else the first
line of the project's own file, and then the location says that it is no more than that.

Sources: OASIS, SARIF 2.1.0 with errata 01, 3.27; docs.github.com, "SARIF support for code
scanning".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from policies import VERSION
from policies.common.controls import CONTROLS
from policies.common.rule import Finding, Result
from policies.reports.findings import fingerprinted, gravity, place

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_MOST_TAGS = 20
"""Of a rule: with more, code scanning refuses the whole file."""


def document(results: Sequence[Result], source: str) -> str:
    """The log. `source` is the project's file in the repository."""
    positions = {result.rule.name: index for index, result in enumerate(results)}
    run = {
        "tool": {
            "driver": {
                "name": "Falaj policies",
                "semanticVersion": VERSION,
                "rules": [_rule(result) for result in results],
            }
        },
        "invocations": [_invocation(results)],
        "results": [
            _result(result, finding, fingerprint, positions[result.rule.name], source)
            for result, finding, fingerprint in fingerprinted(results)
        ],
        "columnKind": "unicodeCodePoints",
        "properties": {"outcomes": {result.rule.name: result.outcome for result in results}},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(result: Result) -> dict[str, Any]:
    rule, controls = result.rule, CONTROLS[result.rule.name]
    listed = "\n".join(f"- {control}" for control in controls)
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.description},
        "fullDescription": {"text": f"{rule.description} {rule.why}"},
        "help": {
            "text": f"To mend: {rule.mend}\n{rule.why}",
            "markdown": f"To mend: {rule.mend}\n\nControls:\n{listed}",
        },
        "defaultConfiguration": {
            "enabled": result.level != "disabled",
            "level": "warning" if result.level == "advisory" else "error",
        },
        "properties": {
            "tags": ["security", *controls][:_MOST_TAGS],
            "controls": list(controls),
            "enforcementLevel": result.level,
        },
    }


def _invocation(results: Sequence[Result]) -> dict[str, Any]:
    broken = [
        {
            "level": "error",
            "message": {"text": finding.sentence},
            "associatedRule": {"id": result.rule.name},
        }
        for result in results
        for finding in result.findings
        if finding.broken
    ]
    made: dict[str, Any] = {"executionSuccessful": not broken}
    return {**made, "toolExecutionNotifications": broken} if broken else made


def _result(
    result: Result, finding: Finding, fingerprint: str, position: int, source: str
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": result.rule.name,
        "ruleIndex": position,
        "kind": "open" if finding.verdict == "pending" else "fail",
        # the specification allows no other level where nothing failed
        "level": "none" if finding.verdict == "pending" else gravity(result, finding),
        "message": {"text": f"{finding.sentence}.\nTo mend: {result.rule.mend}"},
        "locations": [_location(finding, source)],
        # upload-sarif would set the second by the line, which all results share
        "partialFingerprints": {
            "falajFinding/v1": fingerprint,
            "primaryLocationLineHash": fingerprint,
        },
        "properties": {"verdict": finding.verdict, "property": finding.where},
    }
    return {**made, **_suppressed(finding)}


def _location(finding: Finding, source: str) -> dict[str, Any]:
    resource, (file, line) = finding.resource, place(finding, source)
    made: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(file)},
            "region": {"startLine": line},
        },
        "logicalLocations": [
            {
                "name": resource.name,
                "fullyQualifiedName": resource.urn or resource.name,
                "kind": "resource",
            }
        ],
    }
    if resource.made_at is None:
        made["message"] = {"text": "Nothing says which line made the resource: the project's file."}
    return made


def _suppressed(finding: Finding) -> Mapping[str, Any]:
    exception = finding.exception
    if finding.verdict != "excepted" or exception is None:
        return {}
    why = f"{exception.reason} (until {exception.expires}, {exception.approver})"
    return {"suppressions": [{"kind": "external", "status": "accepted", "justification": why}]}
