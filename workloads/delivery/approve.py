"""Approve: a person, or the setting of an environment, answers for a version.

Owns the record of who approved which model, when, and which figures they saw. A release needs it,
and only for the very files that were approved.
"""

from __future__ import annotations

import datetime
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workloads.delivery import registry
from workloads.delivery.connection import Connection
from workloads.delivery.errors import DeliveryError, GateFailedError
from workloads.delivery.evaluate import evaluation_of
from workloads.delivery.gate import gates_of

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Approval:
    """One approval, as recorded with the version's run."""

    workload: str
    version: int
    approver: str
    approved_at: str
    """ISO 8601, UTC."""
    model_digest: str
    figures: dict[str, float]
    gates: list[dict[str, Any]]
    automatic: bool
    """Given by the environment's setting, not by a person."""


def approve(connection: Connection, version: int, approver: str, automatic: bool) -> Approval:
    """Records the approval of `version` by `approver`; an earlier approval of it stands.

    Raises `GateFailedError` unless the version passed every gate, `DeliveryError` when the approver
    has no name or the model's files are not those that were registered.
    """
    name = approver.strip()
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise DeliveryError(
            f"the approver {approver!r} is no name: 1 to {_LONGEST_NAME} printable characters"
        )
    earlier = approval_of(connection, version)
    if earlier is not None:
        return earlier
    candidate = registry.version(connection, version)
    gated = gates_of(connection, version)
    if gated is None or candidate.tags.get(registry.TAG_GATES) is None:
        raise GateFailedError(f"version {version} has not been through the gates yet")
    failed = [row.figure for row in gated.rows if not row.passed]
    if failed or not gated.passed or candidate.tags[registry.TAG_GATES] != "passed":
        raise GateFailedError(
            f"version {version} cannot be approved: it failed {', '.join(failed) or 'the gates'}"
        )
    with tempfile.TemporaryDirectory(prefix="falaj-model-") as folder:
        files = registry.download_model(connection, candidate.run_id, Path(folder))
        digest = registry.model_digest(files)
    if digest != candidate.tags.get(registry.TAG_DIGEST):
        raise DeliveryError(
            f"version {version} cannot be approved: its files have changed since it was registered"
        )
    approval = Approval(
        workload=connection.workload,
        version=version,
        approver=name,
        approved_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model_digest=digest,
        figures=evaluation_of(connection, candidate.run_id).figures,
        gates=[asdict(row) for row in gated.rows],
        automatic=automatic,
    )
    registry.log_json(connection, candidate.run_id, registry.APPROVAL, asdict(approval))
    return approval


def approval_of(connection: Connection, version: int) -> Approval | None:
    """The approval of `version`, `None` when there is none."""
    run_id = registry.version(connection, version).run_id
    content = registry.read_json(connection, run_id, registry.APPROVAL)
    return None if content is None else Approval(**content)
