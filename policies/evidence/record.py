"""What stands in `evidence.json`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policies import VERSION
from policies.common.frameworks import Jurisdiction, claimed, controls_of, framework_of
from policies.common.resources import Resource
from policies.common.rule import OUTCOMES, Result

FORMAT = 1
"""Of `evidence.json`; another number where a reader of today would misread it."""
_PACKS = Path(__file__).resolve().parent.parent


def record(
    results: Sequence[Result],
    resources: Iterable[Resource],
    *,
    environment: str,
    jurisdiction: Jurisdiction,
    read: Mapping[str, bytes],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The evidence of one run.

    `read` are the files that it was made of, by what they are (state, configuration); their
    hashes are kept, they are not. `before` is the evidence to compare with.
    """
    known = list(resources)
    rules = [_rule(result, jurisdiction) for result in results]
    made: dict[str, Any] = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "stack": _stack(known),
        "environment": environment,
        "jurisdiction": jurisdiction,
        "packs": {"version": VERSION, "sha256": code()},
        "read": {what: hashlib.sha256(content).hexdigest() for what, content in read.items()},
        "resources": len(known),
        "summary": _counts(rules),
        "rules": rules,
        "controls": _controls(rules),
        "exceptions": [
            {**exception.model_dump(mode="json"), "rule": result.rule.name, "state": state}
            for result in results
            for exception, state in result.exceptions
        ],
    }
    if before is not None:
        made["trend"] = _trend(before, made)
    return made


def code() -> str:
    """The hash of the rules themselves: of each module's name and content, in order."""
    whole = hashlib.sha256()
    for file in sorted(_PACKS.rglob("*.py")):
        whole.update(f"{file.relative_to(_PACKS)}\0".encode())
        whole.update(file.read_bytes())
    return whole.hexdigest()


def _stack(resources: Sequence[Resource]) -> str:
    """``project/stack``, as the URNs say."""
    for resource in resources:
        parts = resource.urn.split("::")
        if len(parts) > 2 and parts[0].startswith("urn:pulumi:"):
            return f"{parts[1]}/{parts[0].removeprefix('urn:pulumi:')}"
    return ""


def _rule(result: Result, jurisdiction: Jurisdiction) -> dict[str, Any]:
    rule = result.rule
    ours = claimed(rule.name, jurisdiction)
    return {
        "name": rule.name,
        "description": rule.description,
        "level": result.level,
        "outcome": result.outcome,
        "resources": result.applicable,
        "mend": rule.mend,
        "controls": list(ours),
        "controls_not_applicable": {
            control: framework_of(control).scope
            for control in controls_of(rule.name)
            if control not in ours
        },
        "findings": [
            {
                "verdict": finding.verdict,
                "urn": finding.resource.urn,
                "resource": finding.resource.name,
                "type": finding.resource.type,
                "where": finding.where,
                "what": finding.what,
            }
            for finding in result.findings
        ],
    }


def _counts(rules: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counted = Counter(str(rule["outcome"]) for rule in rules)
    return {outcome: counted[outcome] for outcome in OUTCOMES}


def _controls(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Control by control: the worst outcome of its rules, and which they are."""
    by_control: dict[str, list[Mapping[str, Any]]] = {}
    for rule in rules:
        for control in rule["controls"]:
            by_control.setdefault(control, []).append(rule)
    return [
        {
            "control": control,
            "framework": framework_of(control).title,
            "outcome": min((str(one["outcome"]) for one in of), key=OUTCOMES.index),
            "rules": sorted(str(one["name"]) for one in of),
        }
        for control, of in sorted(by_control.items())
    ]


def _trend(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    then = {rule["name"]: rule["outcome"] for rule in before["rules"]}
    return {
        "since": before["made_at"],
        "summary": before["summary"],
        "changed": [
            {"rule": rule["name"], "before": then.get(rule["name"]), "now": rule["outcome"]}
            for rule in now["rules"]
            if then.get(rule["name"]) != rule["outcome"]
        ],
    }
