"""What all formats say of a finding: how grave it is, and by what it is known again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

from policies.common.rule import Finding, Result

Gravity = Literal["error", "warning", "note"]
"""What stops, what is told, and what is neither: excused, or not known yet."""


def gravity(result: Result, finding: Finding) -> Gravity:
    """How grave `finding` is; a rule that is broken stops at every level."""
    if finding.broken:
        return "error"
    if finding.verdict != "violation":
        return "note"
    return "warning" if result.level == "advisory" else "error"


def fingerprinted(results: Sequence[Result]) -> Iterator[tuple[Result, Finding, str]]:
    """Each finding with 64 hexadecimal digits that stay the same from run to run.

    They are of the rule, the URN and the property. The value is not in them: another wrong value is
    the same finding. Several of one property are counted.
    """
    seen: Counter[str] = Counter()
    for result in results:
        for finding in result.findings:
            known = finding.resource.urn or finding.resource.name
            about = "\0".join((result.rule.name, known, finding.where))
            seen[about] += 1
            digest = hashlib.sha256(f"{about}\0{seen[about]}".encode("utf-8", "surrogatepass"))
            yield result, finding, digest.hexdigest()


def place(finding: Finding, source: str) -> tuple[str, int]:
    """The file of the repository and the line in it that made the resource of `finding`.

    Where nobody tells, the first line of `source`, the project's own file; the project's folder is
    the one that it lies in.
    """
    made_at = finding.resource.made_at
    if made_at is None:
        return source, 1
    file, line = made_at
    return str(PurePosixPath(source).parent / file), line
