"""Which pod goes first when there is not room for all.

Owns the priority classes of the platform's workloads; `system-…` are Kubernetes' own. A service is
never kept waiting by an experiment, and a batch job pushes nobody out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes


@dataclass(frozen=True, kw_only=True)
class Priority:
    """One class."""

    value: int
    preempts: bool
    meaning: str
    for_teams: bool = True
    """Whether pods of teams may name it."""


PRIORITIES: Mapping[str, Priority] = {
    "falaj-platform": Priority(
        value=1_000_000,
        preempts=True,
        meaning="parts of the platform, without which nothing else works",
        for_teams=False,
    ),
    "falaj-serving": Priority(value=100_000, preempts=True, meaning="models that answer requests"),
    "falaj-training": Priority(value=10_000, preempts=True, meaning="training that is waited for"),
    "falaj-batch": Priority(value=1_000, preempts=False, meaning="work that can wait for room"),
}

FOR_TEAMS = tuple(name for name, priority in PRIORITIES.items() if priority.for_teams)


class Priorities(pulumi.ComponentResource):
    """The priority classes; `ready` is what pods that name one must wait for."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("falaj:kubernetes:Priorities", name, None, opts)
        self.ready: list[pulumi.Resource] = [
            kubernetes.scheduling.v1.PriorityClass(
                f"{name}-{noun.removeprefix('falaj-')}",
                metadata={"name": noun},
                value=priority.value,
                preemption_policy="PreemptLowerPriority" if priority.preempts else "Never",
                description=priority.meaning,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for noun, priority in PRIORITIES.items()
        ]
        self.register_outputs({})
