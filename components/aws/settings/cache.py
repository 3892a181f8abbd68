"""The settings of the cache: none, a Valkey on ElastiCache, or one that is there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.windows import window_problems
from components.section import Name, Section

LONGEST_NAME = 40
"""Characters of the id of a replication group or a user, by ElastiCache's limit."""


TEAM = "team-"
"""How the users of teams' feature stores begin."""


class ExistingCache(Section):
    """A Valkey or Redis that somebody else runs, over TLS."""

    address: str = Field(min_length=1)
    port: int = Field(6379, ge=1, le=65535)


class CacheSettings(Section):
    """What keeps hot data in memory: features that are served, for one."""

    kind: Literal["none", "elasticache", "existing"] = "none"
    existing: ExistingCache | None = None
    version: Annotated[str, StringConstraints(pattern=r"^[789]\.\d$")] = "8.0"
    """Of Valkey."""
    node_type: Annotated[str, StringConstraints(pattern=r"^cache\.[a-z0-9-]+\.[a-z0-9]+$")] = (
        "cache.t4g.medium"
    )
    replicas: int = Field(1, ge=0, le=5)
    """Copies in other zones; with none, a lost node is lost data until it is filled again."""
    snapshot_days: int = Field(7, ge=0, le=35)
    snapshot_window: str = "20:00-21:00"
    """Daily, UTC."""
    maintenance_window: str = "Sun:21:00-Sun:22:00"
    """Weekly, UTC."""
    users: tuple[Name, ...] = ()
    """Who logs in by IAM and reaches every key, beside each feature store's user, which reaches the
    keys of its team."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = window_problems(
            snapshot_window=self.snapshot_window, maintenance_window=self.maintenance_window
        )
        if (self.kind == "existing") != (self.existing is not None):
            problems.append("existing: is needed with kind 'existing', and only then")
        problems += [
            f"users: {user!r} begins as the users of feature stores do"
            for user in self.users
            if user.startswith(TEAM)
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def long_cache_names(
    environment: str, cache: CacheSettings, featured: Iterable[str] = ()
) -> list[str]:
    """The problem of each name in ElastiCache that would be too long; `featured` are the teams with
    a feature store."""
    if cache.kind != "elasticache":
        return []
    users = {f"aws.cache.users: {user!r}": user for user in cache.users} | {
        f"feature_store.teams.{team}": f"{TEAM}{team}" for team in featured
    }
    names = {"environment": f"falaj-{environment}-cache"} | {
        what: f"falaj-{environment}-cache-{user}" for what, user in users.items()
    }
    return [
        f"{what}: {name} would have {len(name)} characters; ElastiCache takes {LONGEST_NAME}"
        for what, name in names.items()
        if len(name) > LONGEST_NAME
    ]


def problems_of_features(cache: CacheSettings, featured: Iterable[str]) -> Iterator[str]:
    """What feature stores lack of a cache under them on AWS."""
    teams = [f"feature_store.teams.{team}" for team in featured]
    if not teams:
        return
    if cache.kind != "elasticache":
        yield (
            f"aws.cache.kind: is {cache.kind!r}, and {', '.join(teams)} needs a cache whose users "
            "are made here: say 'elasticache', or take the team out"
        )
