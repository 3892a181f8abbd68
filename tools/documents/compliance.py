"""The page on compliance: which rules stand for which control, and what they do not show."""

from __future__ import annotations

from policies.common.frameworks import (
    FRAMEWORKS,
    JURISDICTIONS,
    KNOWN,
    Framework,
    controls_of,
    rules_of,
)
from policies.packs import RULES

_NAMES = tuple(rule.name for rule in RULES)
_BEGIN = """# Compliance

<!-- Made by `make documents` from policies/common/frameworks.py and controls.py. -->

What the [policy packs](policies.md) show of laws and standards, and what they leave. It is a list
to work with, not advice, and no claim that an organisation complies: **a rule shows that one
setting is there, in what Pulumi deploys.** What nobody deployed with Pulumi, what people do, and
whether data was classified rightly, no rule sees.

- *enforced*: a violation of a mandatory rule stops the deployment.
- *left to the organisation*: what a control asks beyond that.
- *compared with*: the text that the reference was held against. Where it says **from memory**,
  nobody has; a lawyer or auditor should before it is relied upon.
"""
_END = """
## What no rule here speaks of
Consent, information and the rights of people; records of processing; contracts with suppliers;
reports of breaches; the inventory, validation and bias tests of models that the Central Bank's
standards on model management (2022) and its guidance on AI and machine learning (2026) ask for. The
delivery chain keeps records for some of these ([workloads](workloads.md)).
"""


def document() -> str:
    """The whole page."""
    tables = [_table(framework) for framework in FRAMEWORKS]
    return "\n".join([_BEGIN, _applicable(), *tables, _END.strip(), ""])


def _applicable() -> str:
    """Which framework is for whom."""
    head = [
        "## Which are claimed for whom",
        "",
        f"| | {' | '.join(JURISDICTIONS)} | why |",
        f"|---|{'---|' * len(JURISDICTIONS)}---|",
    ]
    rows = [
        f"| {framework.title} | "
        + " | ".join("yes" if one in framework.applies else "no" for one in JURISDICTIONS)
        + f" | {framework.scope} |"
        for framework in FRAMEWORKS
    ]
    return "\n".join([*head, *rows, ""])


def _table(framework: Framework) -> str:
    named = sorted(
        {
            control
            for rule in _NAMES
            for control in controls_of(rule)
            if control.startswith(f"{framework.key} ")
        },
        key=_in_order,
    )
    lines = [f"## {framework.title}", "", f"Source: {framework.source}.", ""]
    if not named:
        return "\n".join([*lines, "No rule stands for it yet.", ""])
    lines += [
        "| control | enforced by | left to the organisation | compared with |",
        "|---|---|---|---|",
    ]
    for name in named:
        known = KNOWN.get(name)
        title = f"{name}: {known.title}" if known else name
        rules = ", ".join(f"`{rule}`" for rule in rules_of(name, _NAMES))
        duty = known.duty if known else ""
        checked = known.checked if known and known.checked else "**from memory**"
        lines.append(f"| {title} | {rules} | {duty} | {checked} |")
    return "\n".join([*lines, ""])


def _in_order(control: str) -> list[tuple[int, str]]:
    """So that article 6 comes before article 13."""
    parts = control.replace(".", " ").split()
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
