"""The pools of nodes as pods see them: what of their settings the Kubernetes layer has to know."""

from __future__ import annotations

from collections.abc import Mapping

from components.aws.instance_types import instance_types
from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.node_pool import PoolSettings, labels_of, taints_of
from components.aws.system_pods import allocatable, system_pods
from components.kubernetes.pools import Pool

_AGENTS_CPU_MILLIS, _AGENTS_MIB = 150, 384
"""What the agents of monitoring and GPUs ask for on each node, beside those of system_pods.yaml."""


def pools_for_pods(pools: Mapping[str, PoolSettings], max_pods: int) -> dict[str, Pool]:
    """Name → pool; `pools` as in `AwsSettings.pools`, by the path of their settings."""
    return {
        path.rpartition(".")[2]: _pool(path.rpartition(".")[2], shape, max_pods)
        for path, shape in pools.items()
    }


def _pool(name: str, shape: PoolSettings, max_pods: int) -> Pool:
    nodes = [instance_types()[one] for one in shape.instance_types]
    room = [allocatable(node, max_pods) for node in nodes]
    daemons = [pod for pod in system_pods().values() if pod.on_each_node]
    cpu_millis = _AGENTS_CPU_MILLIS + sum(pod.cpu_millis for pod in daemons)
    memory_mib = _AGENTS_MIB + sum(pod.memory_mib for pod in daemons)
    labels = labels_of(name, shape)
    if isinstance(shape, ElasticPoolSettings):
        labels["falaj/purpose"] = shape.purpose
    return Pool(
        kind=shape.kind,
        labels=labels,
        taints=tuple(one.model_dump() for one in taints_of(shape)),
        cpus=(min(one.cpu_millis for one in room) - cpu_millis) / 1000,
        memory_gib=(min(one.memory_mib for one in room) - memory_mib) / 1024,
        gpus=min(node.gpus for node in nodes),
        gpu_models=tuple(sorted({node.gpu for node in nodes if node.gpu is not None})),
        max_nodes=shape.max_nodes,
    )
