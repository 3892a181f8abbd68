"""By what a plan is known again: whoever approves one approves no other.

Owns the digest of what `pulumi preview --json` prints; `stacks.plan` reads the file and prints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from stacks.plan_check import PlanError, failures, steps_of

_CHANGES = ("inputs", "protect", "retainOnDelete", "parent", "provider", "aliases")
"""What a step says of a resource that somebody decided; the rest (times, lines of the program,
stack traces) differs from one preview to the next, and changes nothing."""


def digest(report: Mapping[str, Any]) -> str:
    """64 hexadecimal digits of the operations in the plan `report`, whatever their order.

    What stays as it is does not count, so that nothing to do has one digest. A plan shows a secret
    as ``[secret]``: another value of it in the same place is the same plan.

    Raises `PlanError`, also for a preview that failed: nobody can approve half a plan.
    """
    if failed := failures(report):
        raise PlanError(f"the preview failed: {'; '.join(failed)}")
    told = sorted(
        json.dumps(_told(step), sort_keys=True, separators=(",", ":"))
        for step in steps_of(report)
        if step["op"] != "same"
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _told(step: Mapping[str, Any]) -> list[Any]:
    states = ((step.get(which) or {}) for which in ("oldState", "newState"))
    return [step["op"], step["urn"], *({key: one.get(key) for key in _CHANGES} for one in states)]
