"""What must be said of a workload on a cluster, beside its `workload.yaml`: parsed and checked.

Pure. Set under the key `deployment` of the workload's own stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from components.contract import PlatformOutputs
from components.kubernetes.serving_settings import ModelSettings
from components.kubernetes.settings import Group, TeamQuota
from components.kubernetes.training_settings import Demand, RayHead, RayWorkers, over_quota
from components.section import Name, Section

Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./:_-]+@sha256:[0-9a-f]{64}$")]
"""Pinned by digest: a tag can be moved to another image."""
_CRON_FIELD = r"[\d*,/A-Za-z-]+"
Schedule = Annotated[str, StringConstraints(pattern=rf"^{_CRON_FIELD}( {_CRON_FIELD}){{4}}$")]


class Retraining(Section):
    """Training that begins by the clock, as a RayJob that waits in the team's queue."""

    schedule: Schedule
    """Five fields of cron, such as ``0 2 * * 0``, in `time_zone`."""
    time_zone: str = "Asia/Dubai"
    image: Image
    """With the workload's code on Ray."""
    entrypoint: str = Field("falaj run", min_length=1)
    """The command; the workload's name is put after it."""
    head: RayHead
    workers: dict[Name, RayWorkers] = Field(min_length=1, max_length=7)
    deadline_hours: int = Field(12, ge=1, le=168)


class WorkloadSettings(Section):
    """A workload on a cluster."""

    team: Name
    image: Image
    """Of the models' servers."""
    model: ModelSettings = ModelSettings()
    """The servers of each of its two slots."""
    retraining: Retraining | None = None
    releasers: tuple[Group, ...] = ()
    """Groups of the identity provider whose people may release the workload and take it back. They
    need what `falaj release` asks besides: the registry and Prometheus."""


def problems_of_workload(
    settings: WorkloadSettings, platform: PlatformOutputs, *, capture: bool = False
) -> Iterator[str]:
    """What of `settings` the platform cannot take; each begins with its key. With `capture` the
    servers are to keep predictions.
    """
    teams = platform.teams or {}
    if settings.team not in teams:
        yield f"team: is {settings.team}, and the platform has {', '.join(teams) or 'no team'}"
        return
    team = teams[settings.team]
    if capture and not ((team.folders or {}).get("data") or platform.data_uri):
        yield (
            f"team: {settings.team} has no folder for data, and workload.yaml keeps predictions: "
            "give the platform a bucket for data, or say capture.enabled: false"
        )
    registry = platform.cluster.registry if platform.cluster is not None else ""
    images = {"image": settings.image}
    if settings.retraining is not None:
        images["retraining.image"] = settings.retraining.image
    for key, image in images.items():
        if not image.startswith(f"{registry}/"):
            yield f"{key}: is {image}, and the cluster takes images of {registry}/ alone"
    pools: Mapping[str, object] = platform.cluster.pools if platform.cluster is not None else {}
    if settings.model.node_pool is not None and settings.model.node_pool not in pools:
        yield (
            f"model.node_pool: {settings.model.node_pool} is no pool; there are {', '.join(pools)}"
        )
    quota = TeamQuota(
        cpu_quota=team.cpu_quota,
        memory_quota_gib=team.memory_quota_gib,
        gpu_quota=team.gpu_quota,
    )
    for problem in over_quota(_servers(settings.model), quota):
        yield f"model: both slots at their largest {problem}"


def _servers(model: ModelSettings) -> Demand:
    """What both slots ask for at their largest; volumes and pods are counted by the cluster."""
    pods = 2 * model.max_replicas
    return Demand(
        cpus=pods * model.cpus, memory_gib=pods * model.memory_gib, gpus=pods * model.gpus
    )
