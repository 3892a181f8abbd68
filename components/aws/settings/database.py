"""The settings of the database, and who uses it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.windows import window_problems
from components.kubernetes.tracking_settings import Certificates
from components.section import Name, Section

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A name that PostgreSQL takes without quotes: 63 bytes at most."""

RESERVED = frozenset({"postgres", "template0", "template1", "rdsadmin", "falaj", "public"})
ADMINISTRATOR = "falaj"
"""The master user, who makes databases and roles and owns no application's data."""
FEATURES = "features_"
"""How the roles and databases of teams' feature stores begin."""

_CONSUMERS: dict[str, tuple[str, ...]] = {
    # MLflow's users are not where its runs are: each has a schema version of its own
    "tracking": ("tracking", "tracking_users"),
}


def role_of_team(part: str, team: str) -> str:
    """The role of a team's own `part`, and its database; PostgreSQL takes no hyphen unquoted."""
    return f"{part}_{team}".replace("-", "_")


def features_role(team: str) -> str:
    """The role of a team's feature store, and its database."""
    return role_of_team("features", team)


class ExistingDatabase(Section):
    """A PostgreSQL that somebody else runs, in the country and over TLS."""

    address: str = Field(min_length=1)
    """Host name, as its certificate has it."""
    port: int = Field(5432, ge=1, le=65535)
    administrator_arn: Annotated[str, StringConstraints(pattern=r"^arn:aws:secretsmanager:")]
    """The entry of Secrets Manager with username and password of who may make roles."""
    resource_id: Annotated[str, StringConstraints(pattern=r"^(db|cluster)-[A-Z0-9]+$")] | None = (
        None
    )
    """Of an RDS instance or Aurora cluster whose roles log in by IAM."""


class DatabaseSettings(Section):
    """A PostgreSQL on RDS, or `existing`."""

    existing: ExistingDatabase | None = None
    version: Annotated[str, StringConstraints(pattern=r"^1[5-9](\.\d+)?$")] = "17"
    """Major, so that minor upgrades come by themselves in their window, or exact."""
    instance_class: Annotated[str, StringConstraints(pattern=r"^db\.[a-z0-9-]+\.[a-z0-9]+$")] = (
        "db.m6g.large"
    )
    storage_gib: int = Field(50, ge=20, le=65536)
    max_storage_gib: int = Field(500, le=65536)
    """Up to which RDS enlarges the disk before it is full."""
    multi_az: bool = True
    backup_days: int = Field(35, ge=1, le=35)
    """How far back the database can be put to any second."""
    backup_window: str = "19:00-20:00"
    """Daily, UTC: 23:00 in the Emirates."""
    maintenance_window: str = "Sat:21:00-Sat:22:00"
    """Weekly, UTC: the night to Sunday in the Emirates."""
    insights_days: Literal[7, 31, 93, 186, 372, 731] = 7
    monitoring_seconds: Literal[1, 5, 10, 15, 30, 60] = 60
    certificate_authority: Literal["rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"] = (
        "rds-ca-rsa4096-g1"
    )
    final_snapshot: Name = "final"
    """End of the name of the snapshot that is taken when the database is deleted; another one is
    needed while a snapshot of this name is kept."""
    consumers: dict[Identifier, tuple[Identifier, ...]] = Field(
        default_factory=lambda: dict(_CONSUMERS)
    )
    """Role → its databases; those of parts that each team has for itself come with the team."""
    authorities: Certificates | None = None
    """PEM of who signs the database's certificate, for all that connect to it. The region's root
    of `certificate_authority` where nothing is said and the database is made here; the bundle of a
    region is at ``https://truststore.pki.rds.amazonaws.com/<region>/<region>-bundle.pem``."""

    def with_teams(self, part: str, teams: Iterable[str]) -> Self:
        """The same with a role and a database of that name for `part` of each of `teams`.

        Raises `ValidationError` where another role has one of the databases.
        """
        added = {role_of_team(part, team): (role_of_team(part, team),) for team in teams}
        return self.model_validate(self.model_dump() | {"consumers": self.consumers | added})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = window_problems(
            backup_window=self.backup_window, maintenance_window=self.maintenance_window
        )
        # RDS refuses less, by its guide on storage autoscaling
        if self.max_storage_gib * 10 < self.storage_gib * 11:
            problems.append(
                f"max_storage_gib: is {self.max_storage_gib}, and must be at least a tenth more "
                f"than storage_gib ({self.storage_gib})"
            )
        if re.fullmatch(r"db\.t\d\w*\.(micro|small)", self.instance_class):
            problems.append(
                f"instance_class: {self.instance_class} has no Performance Insights; the smallest "
                "that has is db.t4g.medium"
            )
        databases = [database for owned in self.consumers.values() for database in owned]
        for name in (*self.consumers, *databases):
            if name.startswith(FEATURES):
                problems.append(f"consumers: {name!r} begins as the roles of feature stores do")
            if name in RESERVED or name.startswith(("pg_", "rds_")):
                problems.append(f"consumers: {name!r} is a name of PostgreSQL or RDS itself")
            if databases.count(name) > 1:
                problems.append(f"consumers: the database {name!r} is there twice")
        problems += [
            f"consumers.{role}: has no database"
            for role, owned in self.consumers.items()
            if not owned
        ]
        if problems:
            raise ValueError("\n".join(dict.fromkeys(problems)))
        return self
