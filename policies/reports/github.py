"""Annotations of GitHub Actions: one a rule that found something, the gravest first.

GitHub shows ten errors and ten warnings of a step, so that one annotation a finding would hide most
rules. Source: docs.github.com, "Workflow commands for GitHub Actions"; actions/toolkit,
packages/core/src/command.ts, has the same two escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.common.rule import Finding, Result
from policies.reports.findings import Gravity, gravity, place
from policies.reports.lines import one_line

_COMMANDS: dict[Gravity, str] = {"error": "error", "warning": "warning", "note": "notice"}
_MOST = 20
"""Findings told in one annotation; the other formats have them all."""


def lines(results: Sequence[Result], source: str) -> Iterator[str]:
    """One command a line. `source` is the project's file in the repository."""
    for grave, command in _COMMANDS.items():
        for result in results:
            found = [one for one in result.findings if gravity(result, one) == grave]
            if found:
                title = f"{result.rule.name} ({result.level})"
                file, line = place(found[0], source)
                where = f"file={_property(file)},line={line},title={_property(title)}"
                yield f"::{command} {where}::{_data(_message(result, found))}"


def _message(result: Result, found: Sequence[Finding]) -> str:
    said = [f"{one.verdict}: {one_line(one.sentence)}" for one in found[:_MOST]]
    if len(found) > _MOST:
        said.append(f"and {len(found) - _MOST} more")
    return "\n".join([result.rule.description, *said, result.rule.advice])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
