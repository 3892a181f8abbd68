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
