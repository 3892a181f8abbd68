"""What may be asked of Dagster on a cluster: parsed and checked, without Pulumi."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from pydantic import Field

from components.kubernetes.pages_settings import PagesSettings
from components.kubernetes.settings import TeamQuota
from components.section import Name, Section

PAGES_CPUS, PAGES_MIB = 0.25, 1024
DAEMON_CPUS, DAEMON_MIB = 0.25, 1024
MIGRATION_CPUS, MIGRATION_MIB = 0.25, 1024
PROXY_CPUS, PROXY_MIB = 0.05, 128


class RunRoom(Section):
    """What the pod of a run has. The work itself is Ray's, so a run mostly waits."""

    cpus: float = Field(0.5, gt=0, le=64)
    memory_mib: int = Field(2048, ge=512)
    disk_mib: int = Field(4096, ge=256)


class TeamOrchestration(Section):
    """The Dagster of one team."""

    locations: tuple[Name, ...] = Field(min_length=1)
    """Code locations, by the names of their workloads."""
    max_concurrent_runs: int = Field(4, ge=1, le=100)
    """Others wait in the queue."""
    max_retries: int = Field(1, ge=0, le=10)
    """Of a run whose pod was lost; one whose code failed is not tried again."""
    max_run_hours: int = Field(24, ge=1, le=24 * 14)
    """What runs longer is ended."""
    keep_days: int = Field(7, ge=1, le=90)
    """How long the pods of ended runs are kept, whose quota they do not use; runs themselves stay
    in the database."""
    run: RunRoom = RunRoom()


class OrchestrationSettings(Section):
    """Each team named here has a Dagster of its own."""

    pages: PagesSettings
    teams: dict[Name, TeamOrchestration] = Field(default_factory=dict)
    migration_minutes: int = Field(30, ge=5, le=240)
    """How long bringing a database to a new version may take."""

    def replicas(self, *, keep: bool) -> int:
        """Of each team's webserver; `keep` says that the environment keeps data."""
        return 2 if keep else 1

    def quota(self, *, keep: bool) -> TeamQuota:
        """What the platform's namespace needs: every team's pods, one more webserver in a roll-out
        and the migration."""
        pages = self.replicas(keep=keep) + 1
        cpus = pages * (PAGES_CPUS + PROXY_CPUS) + DAEMON_CPUS + MIGRATION_CPUS
        memory_mib = pages * (PAGES_MIB + PROXY_MIB) + DAEMON_MIB + MIGRATION_MIB
        teams = max(1, len(self.teams))
        return TeamQuota(
            cpu_quota=math.ceil(teams * cpus),
            memory_quota_gib=math.ceil(teams * memory_mib / 1024),
            storage_quota_gib=0,
            pod_quota=teams * (pages + 4),
        )


def problems_of_orchestration(
    settings: OrchestrationSettings, teams: Mapping[str, TeamQuota]
) -> Iterator[str]:
    """What does not fit `teams`, each as key, value and the way out."""
    for team, asked in settings.teams.items():
        where = f"orchestration.teams.{team}"
        if team not in teams:
            yield f"{where}: is no team; teams are {', '.join(sorted(teams)) or 'none'}"
            continue
        quota = teams[team]
        if not members(quota):
            yield (
                f"{where}: teams.{team}.groups names nobody, so nobody could open its pages: name "
                "a group of the identity provider"
            )
        twice = sorted({name for name in asked.locations if asked.locations.count(name) > 1})
        if twice:
            yield f"{where}.locations: {', '.join(twice)} stands twice"
        runs = asked.max_concurrent_runs
        for noun, need, there in (
            ("cpu_quota", math.ceil(runs * asked.run.cpus), quota.cpu_quota),
            (
                "memory_quota_gib",
                math.ceil(runs * asked.run.memory_mib / 1024),
                quota.memory_quota_gib,
            ),
            ("pod_quota", runs, quota.pod_quota),
        ):
            if need > there:
                yield (
                    f"{where}.max_concurrent_runs: {runs} runs at once need {need} of "
                    f"teams.{team}.{noun}, which is {there}: lower one or raise the other"
                )


def members(quota: TeamQuota) -> tuple[str, ...]:
    """Every group that has a role in the team."""
    groups = [group for role in quota.groups.model_dump().values() for group in role]
    return tuple(dict.fromkeys(groups))
