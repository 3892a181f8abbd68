"""What may be asked of training: shared Ray clusters, queues and shared GPUs, parsed and checked.

Pure. Whatever would be refused or would wait for ever in the cluster is an error here: a pool that
is not there, a worker that no node holds, more than the team's quota.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from pydantic import Field, model_validator

from components.kubernetes.gpu_models import lesser
from components.kubernetes.pools import TEAM, Pool, others
from components.kubernetes.settings import TeamQuota
from components.section import Name, Section

AUTOSCALER_CPUS, AUTOSCALER_GIB = 0.5, 1
"""What the autoscaler asks for, beside the head in its pod."""

WITH_MIG = ("A30", "A100", "B200", "H100", "H200")
"""GPUs that divide themselves in hardware. Source: NVIDIA MIG user guide, "Supported GPUs"."""

_OF_TRIALS = ("dev", "test")


class RayWorkers(Section):
    """A group of workers of one shape, on one pool of nodes."""

    pool: Name
    """Of node_pools or elastic_nodes.pools."""
    cpus: int = Field(ge=1)
    memory_gib: int = Field(ge=2)
    gpus: int = Field(0, ge=0)
    """Of each worker; nodes with GPUs take no other."""
    gpu_memory_gib: int = Field(0, ge=0)
    """Of each GPU at least, whichever the pool gives; any where nothing is said."""
    compute_capability: float = Field(0, ge=0)
    """Of each GPU at least, as NVIDIA numbers it; any where nothing is said."""
    min_workers: int = Field(0, ge=0)
    max_workers: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"min_workers: is {self.min_workers}, more than max_workers, {self.max_workers}"
            )
        return self


class RayHead(Section):
    """The pod that keeps the state of a cluster, and runs no work."""

    pool: Name
    cpus: int = Field(2, ge=1)
    memory_gib: int = Field(8, ge=4)


class SharedRay(Section):
    """A Ray cluster that a team's people share; it grows with the work and shrinks without."""

    head: RayHead
    workers: dict[Name, RayWorkers] = Field(min_length=1, max_length=7)
    """Kueue takes eight groups of pods together, the head among them."""
    idle_seconds: int = Field(300, ge=60)
    """How long a worker is kept that nobody uses."""
    spill_gib: int = Field(50, ge=1)
    """Of each pod, for objects that memory does not hold."""

    @model_validator(mode="after")
    def _heads_have_a_group_of_their_own(self) -> Self:
        if "head" in self.workers:
            raise ValueError("workers.head: is the name of the head's own group; take another")
        return self


class GpuSharing(Section):
    """How the GPUs of one pool are divided among pods."""

    kind: Literal["mig", "time-slicing"]
    slices: int = Field(ge=2, le=10)
    """Of each GPU."""
    team: Name | None = None
    """Whose pods alone share them."""


class HeadState(Section):
    """A Valkey or Redis that keeps what a head knows, so that its cluster outlives it.

    Ray logs in by password alone. A cache whose users log in by IAM does not do.
    """

    address: str = Field(min_length=1)
    """A host name; reached over TLS."""
    port: int = Field(6379, ge=1, le=65535)
    username: str = "default"
    password_secret: Name
    """The Secret in each team's namespace that holds it under the key ``password``."""


class TrainingSettings(Section):
    """Ray clusters, and the queues that jobs wait in."""

    clusters: dict[Name, SharedRay] = Field(default_factory=dict)
    """Team → its shared cluster; a team that asks for none has jobs all the same."""
    elastic_under_kueue: bool = False
    """Whether shared clusters wait in the queue too; Kueue's support is not yet stable."""
    encryption: Literal["mesh", "none"] = "mesh"
    """What encrypts between Ray's processes: the mesh, by mutual TLS."""
    head_state: HeadState | None = None
    """With it heads are replaced without loss; without it a lost head ends the work."""
    gpu_sharing: dict[Name, GpuSharing] = Field(default_factory=dict)
    """Pool → how; a GPU goes to one pod as a whole where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What pods ask for together."""

    cpus: float = 0
    memory_gib: float = 0
    gpus: int = 0
    storage_gib: int = 0
    pods: int = 0


def largest(cluster: SharedRay) -> Demand:
    """What `cluster` asks for at its largest."""
    groups = cluster.workers.values()
    workers = sum(group.max_workers for group in groups)
    return Demand(
        cpus=cluster.head.cpus
        + AUTOSCALER_CPUS
        + sum(group.cpus * group.max_workers for group in groups),
        memory_gib=cluster.head.memory_gib
        + AUTOSCALER_GIB
        + sum(group.memory_gib * group.max_workers for group in groups),
        gpus=sum(group.gpus * group.max_workers for group in groups),
        storage_gib=cluster.spill_gib * (1 + workers),
        pods=1 + workers,
    )


def over_quota(demand: Demand, quota: TeamQuota) -> Iterator[str]:
    """What of `demand` the team's quota does not hold."""
    for what, wanted, key in (
        ("CPUs", demand.cpus, "cpu_quota"),
        ("GiB of memory", demand.memory_gib, "memory_quota_gib"),
        ("GPUs", demand.gpus, "gpu_quota"),
        ("GiB of storage", demand.storage_gib, "storage_quota_gib"),
        ("pods", demand.pods, "pod_quota"),
    ):
        if wanted > getattr(quota, key):
            yield f"asks for {wanted:g} {what}; the team's {key} is {getattr(quota, key)}"


def problems_of_training(
    training: TrainingSettings,
    *,
    environment: str,
    teams: Mapping[str, TeamQuota],
    pools: Mapping[str, Pool],
) -> Iterator[str]:
    """What of `training` cannot be; each begins with its key."""
    if environment not in _OF_TRIALS and training.encryption == "none":
        yield "encryption: is 'none', which only dev and test may be"
    if environment != "dev" and training.elastic_under_kueue:
        yield (
            "elastic_under_kueue: is for dev alone: it stands on Kueue's feature gate "
            "ElasticJobsViaWorkloadSlices, which is not yet stable; elsewhere jobs of fixed size "
            "wait in queues, and shared clusters have their part of the quota"
        )
    for pool, sharing in training.gpu_sharing.items():
        for problem in _problems_of_sharing(sharing, pool, pools, teams):
            yield f"gpu_sharing.{pool}{problem}"
    for team, cluster in training.clusters.items():
        path = f"clusters.{team}"
        if team not in teams:
            yield f"{path}: is no team; there are {', '.join(teams) or 'none'}"
            continue
        for problem in over_quota(largest(cluster), teams[team]):
            yield f"{path}: at its largest {problem}"
        yield from _problems_of_placing(path, team, cluster, training, pools)


def _problems_of_placing(
    path: str, team: str, cluster: SharedRay, training: TrainingSettings, pools: Mapping[str, Pool]
) -> Iterator[str]:
    head = RayWorkers(
        pool=cluster.head.pool,
        cpus=cluster.head.cpus + 1,  # with the autoscaler beside it
        memory_gib=cluster.head.memory_gib + AUTOSCALER_GIB,
        max_workers=1,
    )
    divided = divided_pools(training.gpu_sharing, pools)
    for where, group in (
        ("head", head),
        *((f"workers.{name}", group) for name, group in cluster.workers.items()),
    ):
        for problem in problems_of_group(group, divided, team):
            yield f"{path}.{where}.{problem}"
        sharing = training.gpu_sharing.get(group.pool)
        if sharing is None:
            continue
        if sharing.team is not None and sharing.team != team:
            yield f"{path}.{where}.pool: {group.pool} is {sharing.team}'s alone"
        if group.gpus > 1:
            yield (
                f"{path}.{where}.gpus: is {group.gpus}, and the GPUs of {group.pool} are divided: "
                "a second slice may be of the same GPU"
            )


def divided_pools(sharing: Mapping[str, GpuSharing], pools: Mapping[str, Pool]) -> dict[str, Pool]:
    """`pools` with each slice of a GPU counted as one, as a node tells of them."""
    return {
        name: replace(pool, gpus=pool.gpus * sharing[name].slices) if name in sharing else pool
        for name, pool in pools.items()
    }


def problems_of_group(group: RayWorkers, pools: Mapping[str, Pool], team: str) -> Iterator[str]:
    """Why pods of `group` of `team` would be refused or wait for ever; each begins with its key."""
    pool = pools.get(group.pool)
    if pool is None:
        yield f"pool: {group.pool} is no pool; there are {', '.join(sorted(pools)) or 'none'}"
        return
    if group.pool in others(pools, team):
        yield f"pool: {group.pool} is {pool.labels[TEAM]}'s alone"
        return
    if pool.kind == "gpu" and not group.gpus:
        yield f"gpus: is 0, and {group.pool} takes only pods that ask for a GPU"
    if pool.kind == "cpu" and group.gpus:
        yield f"gpus: is {group.gpus}, and the nodes of {group.pool} have none"
        return
    yield from lesser(
        pool.gpu_models,
        memory_gib=group.gpu_memory_gib,
        compute_capability=group.compute_capability,
        pool=group.pool,
    )
    fits = [
        (there // wanted, f"{key}: is {wanted}, and a node of {group.pool} has {there:g} for pods")
        for key, wanted, there in (
            ("cpus", group.cpus, pool.cpus),
            ("memory_gib", group.memory_gib, pool.memory_gib),
            ("gpus", group.gpus, pool.gpus),
        )
        if wanted
    ]
    if too_small := [problem for count, problem in fits if not count]:
        yield from too_small
        return
    most = pool.max_nodes * int(min(count for count, _ in fits))
    if group.max_workers > most:
        yield (
            f"max_workers: is {group.max_workers}, and the {pool.max_nodes} nodes of {group.pool} "
            f"hold {most}"
        )


def _problems_of_sharing(
    sharing: GpuSharing, name: str, pools: Mapping[str, Pool], teams: Mapping[str, TeamQuota]
) -> Iterator[str]:
    pool = pools.get(name)
    if pool is None or pool.kind != "gpu":
        gpus = sorted(other for other, one in pools.items() if one.kind == "gpu")
        yield f": is no pool of GPUs; there are {', '.join(gpus) or 'none'}"
        return
    without = [model for model in pool.gpu_models if model not in WITH_MIG]
    if sharing.kind == "mig" and without:
        yield (
            f".kind: is mig, and {', '.join(without)}, the GPU of its nodes, cannot divide itself: "
            f"g5 (A10G) and g6 (L4) have no MIG, which NVIDIA builds into {', '.join(WITH_MIG)}; "
            "give whole GPUs, or time-slicing inside one team"
        )
    if sharing.kind == "mig":
        return
    if sharing.team is None:
        yield (
            ".team: is missing: slices of time share one memory with nothing between them, so "
            "that only pods of one team may"
        )
    elif sharing.team not in teams:
        yield f".team: {sharing.team} is no team; there are {', '.join(teams) or 'none'}"
    elif pool.labels.get(TEAM) != sharing.team or not any(
        taint["key"] == TEAM and taint["value"] == sharing.team for taint in pool.taints
    ):
        yield (
            f".team: is {sharing.team}, and the pool lets others in: give it the label and the "
            f"taint {TEAM}={sharing.team}"
        )
