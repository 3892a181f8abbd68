"""What the platform's workloads may reach outside of the cluster, as picture and as table."""

from __future__ import annotations

from collections.abc import Iterator

from components.aws.access import (
    BUCKET_DOMAINS,
    Identity,
    Mode,
    identities,
    orchestration_roles,
    team_identity,
)
from stacks.plan import Plan
from stacks.settings import Settings
from tools.documents.docstrings import table
from tools.documents.mermaid import Chart, wrapped
from tools.documents.plans import of_type

_LINES: dict[Mode, str] = {"write": "==>", "append": "-->", "read": "-.->"}
"""Mode → its arrow, that of the widest right first."""
_TEAM = "each team"
_DAGSTER = "each team's Dagster"
_QUEUE = "queue of arrivals"


def application(plan: Plan, settings: Settings) -> str:
    """The identities that pods of `plan` take, and what each may touch, with a table of where.

    What they may touch is in `components.aws.access`, which roles and key policies are made of. All
    teams have the same rights, each to its own folders, and share a box.
    """
    shown = _shown(plan, settings)
    chart = Chart("LR")
    for name, one in shown.items():
        lines = [name] if one.namespace == name else [name, f"in namespace {one.namespace}"]
        if name == _TEAM:
            own_keys = settings.aws is not None and settings.aws.keys.team_keys
            lines = [_TEAM, *wrapped(settings.teams), *(["under its own key"] if own_keys else [])]
        chart.box(name, *lines)
    targets: dict[str, None] = {}
    for name, one in shown.items():
        for target, mode in _touched(one):
            if target not in targets:
                targets[target] = None
                chart.box(f"to {target}", *target.split("\n"), stateful=target != _QUEUE)
            chart.arrow(name, f"to {target}", line=_LINES[mode])
    return f"{chart.text()}\n{_table(shown)}"


def _shown(plan: Plan, settings: Settings) -> dict[str, Identity]:
    """Name → identity, where pods take it in `plan`; those of teams as one."""
    taken = {
        (one["inputs"]["namespace"], one["inputs"]["serviceAccount"])
        for one in of_type(plan, "PodIdentityAssociation")
    }
    own, orchestrated = identities(()), settings.orchestrated
    found = {
        name: one
        for name, one in identities(settings.teams, orchestrated=orchestrated).items()
        if (one.namespace, one.service_account) in taken
    }
    shown = {name: one for name, one in found.items() if name in own}
    if found.keys() - own.keys():
        shown[_TEAM] = team_identity("<team>", orchestrated=bool(orchestrated))
    if any(found.keys() & orchestration_roles(team).keys() for team in orchestrated):
        shown[_DAGSTER] = orchestration_roles("<team>")["orchestration-<team>-daemon"]
    return shown


def _touched(one: Identity) -> Iterator[tuple[str, Mode]]:
    """What `one` touches, and its widest right there."""
    for bucket in dict.fromkeys(prefix.bucket for prefix in one.prefixes):
        modes = {prefix.mode for prefix in one.prefixes if prefix.bucket == bucket}
        mode = next(mode for mode in _LINES if mode in modes)
        yield f"bucket {bucket}\nkey {BUCKET_DOMAINS[bucket]}", mode
    if one.database_user is not None:
        yield "PostgreSQL\nkey database", "write"
    if one.queues:
        yield _QUEUE, "read"
    if one.reads_secrets:
        yield "Secrets Manager\nkey secrets", "read"


def _table(shown: dict[str, Identity]) -> str:
    buckets = list(
        dict.fromkeys(prefix.bucket for one in shown.values() for prefix in one.prefixes)
    )
    rows = [
        (
            name,
            *(
                ", ".join(
                    f"{prefix.mode} `{prefix.path}`"
                    for prefix in one.prefixes
                    if prefix.bucket == bucket
                )
                for bucket in buckets
            ),
            ", ".join(_besides(one)),
        )
        for name, one in shown.items()
    ]
    return table(("who", *(f"bucket `{bucket}`" for bucket in buckets), "besides"), rows)


def _besides(one: Identity) -> Iterator[str]:
    if one.database_user is not None:
        yield f"PostgreSQL as `{one.database_user}`"
    for queue in one.queues:
        yield f"messages of the queue `{queue}`"
    if one.reads_secrets:
        yield "the environment's secrets"
    for right in one.unscoped:
        yield ", ".join(f"`{action}`" for action in right.actions)
