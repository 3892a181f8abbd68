"""The evidence as a page that a person reads and prints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

_TEMPLATE = Path(__file__).with_name("report.html")


def page(evidence: Mapping[str, Any]) -> str:
    """One HTML file that needs nothing else."""
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_TEMPLATE.read_text(encoding="utf-8"))
    found = [
        {**finding, "rule": rule["name"], "mend": rule["mend"], "level": rule["level"]}
        for rule in evidence["rules"]
        for finding in rule["findings"]
    ]
    by_resource: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for finding in found:
        by_resource[f"{finding['type']}::{finding['resource']}"].append(finding)
    return template.render(
        evidence=evidence,
        violations=[one for one in found if one["verdict"] == "violation"],
        pending=[one for one in found if one["verdict"] == "pending"],
        by_resource=sorted(by_resource.items()),
        not_claimed=_not_claimed(evidence),
    )


def _not_claimed(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Controls that do not bind the organisation, each with the reason."""
    return sorted(
        {
            control: reason
            for rule in evidence["rules"]
            for control, reason in rule["controls_not_applicable"].items()
        }.items()
    )
