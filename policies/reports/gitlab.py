"""GitLab's code quality report: ``gl-code-quality-report.json``, an object a finding.

Source: docs.gitlab.com, "Code Quality", the format of a report. GitLab wants a file and a line and
knows a finding again by its fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from policies.common.rule import Result
from policies.reports.findings import Gravity, fingerprinted, gravity, place
from policies.reports.lines import one_line

_SEVERITIES: dict[Gravity, str] = {"error": "critical", "warning": "minor", "note": "info"}


def document(results: Sequence[Result], source: str) -> str:
    """The report. `source` is the project's file in the repository."""
    return json.dumps(
        [
            {
                "description": f"{finding.verdict}: {one_line(finding.sentence)}",
                "check_name": result.rule.name,
                "fingerprint": fingerprint,
                "severity": _SEVERITIES[gravity(result, finding)],
                "location": {"path": file, "lines": {"begin": line}},
            }
            for result, finding, fingerprint in fingerprinted(results)
            for file, line in [place(finding, source)]
        ],
        indent=2,
    )
