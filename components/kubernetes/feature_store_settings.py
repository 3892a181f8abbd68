"""What may be asked of feature stores: parsed and checked, without Pulumi."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from components.kubernetes.settings import TeamQuota
from components.section import Name, Section

Schedule = Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")]
"""Five fields, as cron has them; in UTC."""

# what for, in a `SecretSource`; the keys of the Secret `features`
REGISTRY_PASSWORD = "registry-password"  # noqa: S105  # pragma: allowlist secret
ONLINE_PASSWORD = "online-password"  # noqa: S105  # pragma: allowlist secret
BUCKET_KEYS = ("access-key-id", "secret-access-key")


def secret_in_store(key: str) -> str:
    """The secret's name below the team's folder."""
    return f"features-{key}"


class TeamFeatures(Section):
    """The feature store of one team."""

    min_replicas: int = Field(2, ge=1, le=50)
    max_replicas: int = Field(4, ge=1, le=50)
    cpus: float = Field(0.5, gt=0, le=16)
    """Of each replica, asked for; more is taken where it is idle."""
    memory_mib: int = Field(1024, ge=512)
    """Of each replica."""
    busy_percent: int = Field(70, ge=10, le=95)
    """Of the processor time asked for; beyond it a replica more comes."""
    materialise: Schedule | None = "*/15 * * * *"
    """When new values are copied to where they are read online; `None` for never."""
    materialise_memory_mib: int = Field(4096, ge=512)
    materialise_minutes: int = Field(60, ge=1, le=24 * 60)
    """How long one copying may take; the next waits for it."""
    online_days: int | None = Field(None, ge=1, le=3650)
    """After how many days an entity's values leave the online store unless they are written anew;
    `None`: they stay, those of a view that the team takes away too."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas: {self.max_replicas} is less than min_replicas {self.min_replicas}"
            )
        return self


class FeatureStoreSettings(Section):
    """Each team named here has a feature store of its own."""

    teams: dict[Name, TeamFeatures] = Field(default_factory=dict)


def project_of(team: str) -> str:
    """What Feast calls the team: ``soft-wheat`` → ``Soft_wheat``.

    Feast ends each key of the online store with it, and takes letters, digits and underscores. The
    one capital is what tells teams apart there: no team's name has any, so no project's name is
    the end of another's, as ``credit`` would be of ``retail_credit``.
    """
    return team.replace("-", "_").capitalize()


COMMANDS = ("hget", "hmget", "hset", "hkeys", "hdel", "del", "expire")
"""What Feast 0.67 does to the keys that it knows (`feast.infra.online_stores.redis`)."""


def online_rights(team: str) -> str:
    """What the team's user of Valkey or Redis may do, in the language of its access lists.

    Commands that name their keys, on the team's keys. None that lists keys (SCAN, KEYS, RANDOMKEY):
    an access list does not filter what those answer, and a key holds the id of an entity, which may
    be a customer's.
    """
    commands = " ".join(f"+{command}" for command in COMMANDS)
    return f"on ~*{project_of(team)} -@all +@connection -@admin -@dangerous {commands}"


def problems_of_feature_stores(
    settings: FeatureStoreSettings, teams: Mapping[str, TeamQuota]
) -> Iterator[str]:
    """What does not fit `teams`, each as key, value and the way out."""
    for team, asked in settings.teams.items():
        where = f"feature_store.teams.{team}"
        if team not in teams:
            yield f"{where}: is no team; teams are {', '.join(sorted(teams)) or 'none'}"
            continue
        memory_mib = asked.max_replicas * asked.memory_mib + asked.materialise_memory_mib
        for noun, need in (
            ("cpu_quota", math.ceil(asked.max_replicas * asked.cpus)),
            ("memory_quota_gib", math.ceil(memory_mib / 1024)),
        ):
            there = getattr(teams[team], noun)
            if need > there:
                yield (
                    f"{where}.max_replicas: {asked.max_replicas} need {need} of "
                    f"teams.{team}.{noun}, which is {there}: lower one or raise the other"
                )
