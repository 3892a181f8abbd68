"""Where jobs wait until the team's quota has room: Kueue's objects.

Owns a ResourceFlavor for each kind of pool, a ClusterQueue for each team with the LocalQueue in its
namespace, and the priorities of waiting. Leaves Kueue itself to its chart and the quota that holds
in any case to `tenancy`. The teams' namespaces and Kueue must be there before.

A team's quota is a promise and a limit: what a queue lets go must fit the ResourceQuota of the
namespace, or its pods would be refused. So a queue has what the team's shared cluster leaves at its
largest, and borrows nothing. The cohort joins the teams all the same: with it an administrator sees
their use as one, and may let some borrow where their quota is raised too.

That Kueue admits as written here is not shown by any test; on a cluster:
`kubectl get clusterqueues` says active, and `kubectl -n <team> get workloads` which job waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.flows import NAMESPACE
from components.kubernetes.pools import GPU, KIND, Pool, shared_taints
from components.kubernetes.priorities import FOR_TEAMS, PRIORITIES
from components.kubernetes.ray_pods import QUEUE
from components.kubernetes.settings import TeamQuota
from components.kubernetes.training_settings import Demand, TrainingSettings, largest

API_VERSION = "kueue.x-k8s.io/v1beta2"
COHORT = "falaj"
ELASTIC_GATE = "ElasticJobsViaWorkloadSlices"
_KINDS = ("cpu", "gpu")
_MIB = 1024


@dataclass(frozen=True, kw_only=True)
class QueuedTeam:
    """A team that jobs wait for."""

    namespace: pulumi.Input[str]
    quota: TeamQuota


@dataclass(frozen=True, kw_only=True)
class QueuesArgs:
    """Who waits for what."""

    teams: Mapping[str, QueuedTeam]
    pools: Mapping[str, Pool]
    settings: TrainingSettings
    wait_for: Sequence[pulumi.Resource] = ()
    """Kueue, whose webhook answers for these kinds."""


class Queues(pulumi.ComponentResource):
    """The queues of all teams; `ready` is what jobs wait for."""

    def __init__(
        self, name: str, args: QueuesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Queues", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        flavors: dict[str, pulumi.Resource] = {
            kind: _object(f"{name}-{kind}", "ResourceFlavor", kind, spec, child)
            for kind, spec in flavor_specs(args.pools).items()
        }
        self.ready: list[pulumi.Resource] = [
            # the typed class has no fields but `spec`, and this kind has none of that name
            pulumi.CustomResource(
                f"kubernetes:{API_VERSION}:WorkloadPriorityClass",
                f"{name}-{noun.removeprefix('falaj-')}",
                {
                    "apiVersion": API_VERSION,
                    "kind": "WorkloadPriorityClass",
                    "metadata": {"name": noun},
                    "value": PRIORITIES[noun].value,
                    "description": PRIORITIES[noun].meaning,
                },
                opts=child,
            )
            for noun in FOR_TEAMS
        ]
        for team, one in args.teams.items():
            share = queue_spec(team, one.quota, args.settings, args.pools)
            queue = _object(
                f"{name}-{team}",
                "ClusterQueue",
                team,
                share,
                # a queue stands still while one of its flavors is not there
                pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for, *flavors.values()]),
            )
            self.ready.append(
                CustomResource(
                    f"{name}-{team}-jobs",
                    api_version=API_VERSION,
                    kind="LocalQueue",
                    metadata={"name": QUEUE, "namespace": one.namespace},
                    spec={"clusterQueue": team},
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[queue]),
                )
            )
        self.register_outputs({})


def feature_gates(settings: TrainingSettings) -> dict[str, bool]:
    """Those of Kueue's controller, for the values of its chart.

    Said in both cases: Kueue 0.18 and later have the gate open unless told otherwise.
    """
    return {ELASTIC_GATE: settings.elastic_under_kueue}


def flavor_specs(pools: Mapping[str, Pool]) -> dict[str, Any]:
    """Kind of pool → `spec` of its ResourceFlavor."""
    kinds = [kind for kind in _KINDS if any(pool.kind == kind for pool in pools.values())]
    specs: dict[str, Any] = {}
    for kind in kinds:
        specs[kind] = {"nodeLabels": {KIND: kind}}
        if taints := shared_taints(pool for pool in pools.values() if pool.kind == kind):
            specs[kind]["nodeTaints"] = taints
    return specs


def queue_spec(
    team: str, quota: TeamQuota, settings: TrainingSettings, pools: Mapping[str, Pool]
) -> dict[str, Any]:
    """The `spec` of a team's ClusterQueue."""
    shared = settings.clusters.get(team)
    taken = Demand() if shared is None or settings.elastic_under_kueue else largest(shared)
    shares = _shares(quota, taken, pools)
    return {
        "cohortName": COHORT,
        "namespaceSelector": {"matchLabels": {NAMESPACE: team}},
        # a large job that waits for its turn does not keep small ones from theirs
        "queueingStrategy": "BestEffortFIFO",
        "preemption": {"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "Never"},
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory", GPU],
                "flavors": [
                    {
                        "name": kind,
                        "resources": [
                            {"name": resource, "nominalQuota": amount, "borrowingLimit": "0"}
                            for resource, amount in share.items()
                        ],
                    }
                    for kind, share in shares.items()
                ],
            }
        ],
    }


def _shares(quota: TeamQuota, taken: Demand, pools: Mapping[str, Pool]) -> dict[str, Any]:
    """Kind of pool → resource → how much of it the queue has.

    Beside GPUs a queue has as many CPUs and as much memory as their nodes have for each GPU, at
    most half of what there is; the rest is for nodes without. Together they are never more than
    the quota.
    """
    cpu_millis = max(0, int((quota.cpu_quota - taken.cpus) * 1000))
    memory_mib = max(0, int((quota.memory_quota_gib - taken.memory_gib) * _MIB))
    gpus = max(0, quota.gpu_quota - taken.gpus)
    kinds = flavor_specs(pools)
    of_gpus = [pool for pool in pools.values() if pool.kind == "gpu" and pool.gpus]
    beside_cpu = beside_memory = 0
    if of_gpus and gpus:
        beside_cpu = max(int(pool.cpus / pool.gpus * 1000) for pool in of_gpus) * gpus
        beside_memory = max(int(pool.memory_gib / pool.gpus * _MIB) for pool in of_gpus) * gpus
    if "cpu" in kinds:
        beside_cpu = min(beside_cpu, cpu_millis // 2)
        beside_memory = min(beside_memory, memory_mib // 2)
    else:
        beside_cpu, beside_memory = cpu_millis, memory_mib
    shares = {
        "cpu": (cpu_millis - beside_cpu, memory_mib - beside_memory, 0),
        "gpu": (beside_cpu, beside_memory, gpus),
    }
    return {
        kind: {"cpu": _cores(cpu), "memory": f"{memory}Mi", GPU: str(count)}
        for kind, (cpu, memory, count) in shares.items()
        if kind in kinds
    }


def _cores(millis: int) -> str:
    return f"{millis}m" if millis % 1000 else str(millis // 1000)


def _object(
    name: str, kind: str, called: str, spec: Mapping[str, Any], opts: pulumi.ResourceOptions
) -> CustomResource:
    return CustomResource(
        name,
        api_version=API_VERSION,
        kind=kind,
        metadata={"name": called},
        spec=dict(spec),
        opts=opts,
    )
