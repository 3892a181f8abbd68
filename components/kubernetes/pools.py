"""What pods must know of the nodes to land on them: labels, taints and how much one node holds.

Pure data; whoever makes the nodes says what they are (`components/aws/settings/pools_for_pods.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

POOL, KIND = "falaj/pool", "falaj/kind"
"""The labels that every node carries: the name of its pool, and `cpu` or `gpu`."""
TEAM = "falaj/team"
"""Label and taint of nodes that are one team's alone."""
GPU = "nvidia.com/gpu"

_HARD = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The nodes of one pool."""

    kind: Literal["cpu", "gpu"]
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...] = ()
    """As in a node's `spec`: key, value, effect."""
    cpus: float
    """For pods, on the smallest of its nodes."""
    memory_gib: float
    """For pods, on the smallest of its nodes."""
    gpus: int = 0
    """On the smallest of its nodes."""
    gpu_models: tuple[str, ...] = ()
    max_nodes: int


def placing(pool: Pool) -> dict[str, Any]:
    """The fields of a pod's `spec` that bind it to the nodes of `pool`."""
    binding: dict[str, Any] = {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": key, "operator": "In", "values": [pool.labels[key]]}
                                for key in (KIND, POOL)
                            ]
                        }
                    ]
                }
            }
        }
    }
    if tolerations := [toleration(taint) for taint in pool.taints if taint["effect"] in _HARD]:
        binding["tolerations"] = tolerations
    return binding


def toleration(taint: Mapping[str, str]) -> dict[str, str]:
    """What bears `taint` and no other."""
    return {
        "key": taint["key"],
        "operator": "Equal",
        "value": taint["value"],
        "effect": taint["effect"],
    }


def others(pools: Mapping[str, Pool], team: str) -> list[str]:
    """The pools that are another team's alone."""
    return [name for name, pool in pools.items() if pool.labels.get(TEAM, team) != team]


def shared_taints(pools: Iterable[Pool]) -> list[dict[str, str]]:
    """The taints that each of `pools` has."""
    listed = [[dict(taint) for taint in pool.taints] for pool in pools]
    return [taint for taint in listed[0] if all(taint in one for one in listed)] if listed else []
