"""Who may do what: the identities of the platform, and what each may touch, as data.

The one table that the roles of `identity` and the policies of `keys` are made of, so that a role
and the key of what it reads cannot disagree. Imports no Pulumi.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from components.aws.settings.database import role_of_team

Domain = Literal["state", "artifacts", "database", "secrets", "cluster", "logs", "backups"]
"""A kind of data that has a key of its own."""

Mode = Literal["read", "append", "write"]
"""`append` puts objects and reads none, so that a log's writer cannot read the log; `write` reads,
puts and deletes."""

BUCKET_DOMAINS: Mapping[str, Domain] = {
    "state": "state",
    "artifacts": "artifacts",
    "data": "artifacts",
    "models": "artifacts",
    "logs": "logs",
    "config": "logs",
    "backups": "backups",
}
"""The content of a bucket → the domain whose key encrypts it."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The objects of one bucket whose keys begin with `path`."""

    bucket: str
    path: str
    """Ends with a slash, so that it names no neighbour that begins alike."""
    mode: Mode
    of_teams: bool = False
    """Whether these are objects of teams: where each team has a key, that encrypts them and not the
    key of the domain."""


@dataclass(frozen=True, kw_only=True)
class Unscoped:
    """Actions that AWS lets nobody limit to a resource."""

    actions: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a workload is in the cluster, and what it may touch outside."""

    namespace: str
    service_account: str
    prefixes: tuple[Prefix, ...] = ()
    database_user: str | None = None
    """The PostgreSQL user that it signs in as, by IAM."""
    queues: tuple[str, ...] = ()
    """Queues that it takes messages from."""
    reads_secrets: bool = False
    """Whether it brings the environment's secrets into the cluster."""
    reads_images: bool = False
    """Whether it reads the environment's images, and keys that sign them."""
    unscoped: tuple[Unscoped, ...] = ()


def _in(bucket: str, mode: Mode, *paths: str, of_teams: bool = False) -> tuple[Prefix, ...]:
    return tuple(Prefix(bucket=bucket, path=path, mode=mode, of_teams=of_teams) for path in paths)


TEAM_FOLDERS = "teams/"
"""Under which the folders of all teams are, in every bucket of `TEAM_BUCKETS`."""

FIGURES = "metrics"
"""Under which the figures that are kept for long are, in the bucket `artifacts`."""

IDENTITIES: Mapping[str, Identity] = {
    # the MLflow server hands out artifacts itself, so its clients need no right to them; it uploads
    # under one key (MLFLOW_S3_UPLOAD_EXTRA_ARGS holds for a whole process), so teams' objects are
    # not for it: an experiment that is to be erased with its team has its artifacts in the folder
    # of the team, whose pods read and write them themselves
    "tracking": Identity(
        namespace="tracking",
        service_account="tracking",
        prefixes=_in("artifacts", "write", "mlflow/") + _in("models", "write", "registry/"),
        database_user="tracking",
    ),
    "training": Identity(
        namespace="training",
        service_account="training",
        prefixes=_in("data", "read", "lake/") + _in("artifacts", "write", "training/"),
    ),
    "serving": Identity(
        namespace="serving",
        service_account="serving",
        prefixes=_in("models", "read", "registry/")
        + _in("models", "read", TEAM_FOLDERS, of_teams=True)
        + _in("logs", "append", "decisions/"),
    ),
    "monitoring": Identity(
        namespace="monitoring",
        service_account="monitoring",
        prefixes=_in("logs", "read", "decisions/")
        + _in("artifacts", "write", "reports/", f"{FIGURES}/"),
        unscoped=(
            Unscoped(
                actions=("cloudwatch:GetMetricData", "cloudwatch:ListMetrics"),
                reason="CloudWatch reads metrics by query and has no resources for them",
            ),
        ),
    ),
    "orchestration": Identity(
        namespace="orchestration",
        service_account="orchestration",
        prefixes=_in("data", "write", "lake/") + _in("artifacts", "write", "orchestration/"),
        queues=("arrivals",),
    ),
    "external-secrets": Identity(
        namespace="external-secrets", service_account="external-secrets", reads_secrets=True
    ),
    "kyverno": Identity(
        namespace="kyverno",
        service_account="kyverno-admission-controller",
        reads_images=True,
        unscoped=(
            Unscoped(
                actions=("ecr:GetAuthorizationToken",),
                reason="a login is to the registry as a whole",
            ),
        ),
    ),
    "cluster-backup": Identity(
        namespace="backup", service_account="velero", prefixes=_in("backups", "write", "cluster/")
    ),
    "log-shipping": Identity(
        namespace="logging",
        service_account="log-shipping",
        prefixes=_in("logs", "append", "cluster/"),
    ),
}
"""The identities that every environment has: the noun of the role → what it may touch."""

TEAM_BUCKETS = ("artifacts", "data", "models")
"""Where each team has a prefix of its own."""

SHARED_FOLDERS: Mapping[str, str] = {"data": "lake/shared/"}
"""What every team reads and none changes, bucket by bucket."""


def team_role(team: str) -> str:
    """The noun of a team's role."""
    return f"team-{team}"


def team_prefix(team: str) -> str:
    """Under which a team's objects are, in every bucket of `TEAM_BUCKETS`."""
    return f"{TEAM_FOLDERS}{team}/"


def readers_of_teams(bucket: str) -> tuple[str, ...]:
    """The nouns of the platform's roles that read what teams keep in `bucket`; none changes it."""
    return tuple(
        noun
        for noun, identity in IDENTITIES.items()
        if any(one.of_teams and one.bucket == bucket for one in identity.prefixes)
    )


ORCHESTRATION = "orchestration"


def orchestration_roles(team: str) -> dict[str, Identity]:
    """The pages and the daemon of a team's Dagster: the noun of the role → what it may touch, which
    is the team's own database there and nothing else."""
    return {
        f"{ORCHESTRATION}-{team}-{noun}": Identity(
            namespace=ORCHESTRATION,
            service_account=f"{team}-{noun}",
            database_user=role_of_team(ORCHESTRATION, team),
        )
        for noun in ("pages", "daemon")
    }


def team_identity(team: str, *, orchestrated: bool = False) -> Identity:
    """What a team's own jobs may touch: their own objects, the data shared with all and, where the
    team has a Dagster, its database."""
    own = tuple(
        prefix
        for bucket in TEAM_BUCKETS
        for prefix in _in(bucket, "write", team_prefix(team), of_teams=True)
    )
    return Identity(
        namespace=team,
        service_account="workload",
        prefixes=own + _in("data", "read", SHARED_FOLDERS["data"]),
        database_user=role_of_team(ORCHESTRATION, team) if orchestrated else None,
    )


def identities(teams: Iterable[str], *, orchestrated: Collection[str] = ()) -> dict[str, Identity]:
    """The noun of the role of every identity, the platform's and the teams' → what it may touch.

    `orchestrated` are those of `teams` that have a Dagster.
    """
    return {
        **IDENTITIES,
        **{
            team_role(team): team_identity(team, orchestrated=team in orchestrated)
            for team in teams
        },
        **{
            noun: identity
            for team in orchestrated
            for noun, identity in orchestration_roles(team).items()
        },
    }
