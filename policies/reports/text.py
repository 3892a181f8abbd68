"""For people: rule by rule how it came out, what was found, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policies.common.rule import Result
from policies.reports.lines import one_line


def lines(results: Iterable[Result]) -> Iterator[str]:
    """The lines of the report."""
    for result in results:
        yield (
            f"{result.outcome:<15} {result.rule.name} "
            f"({result.level}, {result.applicable} resources)"
        )
        for finding in result.findings:
            yield f"  {finding.verdict}: {one_line(finding.sentence)}"
        if any(finding.verdict == "violation" for finding in result.findings):
            yield f"  {result.rule.advice}"
