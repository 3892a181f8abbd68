"""Whether the group of nodes that runs the cluster holds what must run there.

Owns what those pods ask for, as data, and what a node has left for pods. A full group leaves
Karpenter without a place, and nothing else ever gets a node. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field

from components.aws.instance_types import InstanceType, instance_types
from components.section import Section

FILE = Path(__file__).with_name("system_pods.yaml")

FULL = 0.8
"""The share of a group that may be asked for; the rest is for an update, and for what is added."""

KARPENTER = "karpenter"
_GIB = 1024
_HYPERVISOR = 0.075
"""The share of an instance's memory that the machine never sees, by Karpenter's default."""
_EVICTION_MIB = 100


@dataclass(frozen=True, kw_only=True)
class Amount:
    """So much of a machine."""

    cpu_millis: int
    """Thousandths of a core."""
    memory_mib: int

    def times(self, count: int) -> Amount:
        """`count` of it."""
        return Amount(cpu_millis=self.cpu_millis * count, memory_mib=self.memory_mib * count)

    def share(self, share: float) -> Amount:
        """A `share` of it, rounded down."""
        return Amount(
            cpu_millis=int(self.cpu_millis * share), memory_mib=int(self.memory_mib * share)
        )

    def holds(self, other: Amount) -> bool:
        """Whether `other` fits into it."""
        return self.cpu_millis >= other.cpu_millis and self.memory_mib >= other.memory_mib

    def __str__(self) -> str:
        return f"{self.cpu_millis / 1000:g} CPU and {self.memory_mib} MiB"


class SystemPod(Section):
    """What each pod of a part asks for, and how many there are."""

    cpu_millis: int = Field(gt=0)
    memory_mib: int = Field(gt=0)
    replicas: int | None = Field(None, ge=1)
    """`None` where nodes or settings say how many."""
    on_each_node: bool = False


@cache
def system_pods() -> dict[str, SystemPod]:
    """The parts that must run there, by name."""
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8"))["pods"]
    return {name: SystemPod.model_validate(fields) for name, fields in raw.items()}


def asked(nodes: int, karpenter_replicas: int) -> Amount:
    """What all of them ask for on `nodes` nodes; Karpenter has 0 replicas where there is none."""
    cpu_millis = memory_mib = 0
    for name, pod in system_pods().items():
        count = nodes if pod.on_each_node else (pod.replicas or 0)
        if name == KARPENTER:
            count = karpenter_replicas
        cpu_millis += pod.cpu_millis * count
        memory_mib += pod.memory_mib * count
    return Amount(cpu_millis=cpu_millis, memory_mib=memory_mib)


def allocatable(hardware: InstanceType, max_pods: int) -> Amount:
    """What a node of `hardware` has for pods, by what EKS's machine images keep back.

    Source: amazon-eks-ami, nodeadm, "kubelet reserved resources": of CPU 6 % of the first core, 1 %
    of the next, 0.5 % of the next two and 0.25 % of the others; of memory 255 MiB and 11 a pod.
    """
    cores = hardware.vcpus
    reserved = 60.0 + 10 * (cores > 1) + 5 * min(2, max(0, cores - 2)) + 2.5 * max(0, cores - 4)
    memory = int(hardware.memory_gib * _GIB * (1 - _HYPERVISOR))
    return Amount(
        cpu_millis=int(cores * 1000 - reserved),
        memory_mib=memory - 255 - 11 * max_pods - _EVICTION_MIB,
    )


def problems_of_system_group(
    types: Sequence[str], *, nodes: int, max_pods: int, karpenter_replicas: int
) -> Iterator[str]:
    """What keeps `nodes` nodes of any of `types` from holding what runs the cluster."""
    known = instance_types()
    for one in types:
        if one not in known:
            continue
        node = allocatable(known[one], max_pods)
        wanted, there = asked(nodes, karpenter_replicas), node.times(nodes).share(FULL)
        if there.holds(wanted):
            continue
        yield (
            f"min_nodes: is {nodes}; on {one} that leaves {there} to what runs the cluster "
            f"({FULL:.0%} of what pods may have), which asks for {wanted}: "
            f"{_enough(node, nodes, karpenter_replicas)}"
        )


def _enough(node: Amount, nodes: int, karpenter_replicas: int) -> str:
    for more in range(nodes + 1, nodes + 20):
        if node.times(more).share(FULL).holds(asked(more, karpenter_replicas)):
            return f"take {more}, or a larger type"
    return "take a larger type"
