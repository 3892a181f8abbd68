"""For programs of one's own: all that is known, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from policies.common.rule import Result


def document(results: Iterable[Result]) -> str:
    """A list with an object a rule."""
    return json.dumps([_plain(result) for result in results], indent=2)


def _plain(result: Result) -> dict[str, Any]:
    return {
        "rule": result.rule.name,
        "level": result.level,
        "outcome": result.outcome,
        "broken": result.broken,
        "resources": result.applicable,
        "advice": result.rule.advice,
        "findings": [
            {
                "verdict": finding.verdict,
                "urn": finding.resource.urn,
                "where": finding.where,
                "message": finding.sentence,
            }
            for finding in result.findings
        ],
    }
