"""The settings of the local environment: its ports, and what its parts may use."""

from __future__ import annotations

import itertools
from typing import Self

from pydantic import Field, model_validator

from components.section import Section

LAST_PORT = 65535
FIRST_UNPRIVILEGED_PORT = 1024


class Ports(Section):
    """The TCP ports of the local parts, all on loopback (Ray's internal ones excepted).

    `offset` is added to each, so that two clones can run on one machine.
    """

    offset: int = Field(0, ge=0)
    object_store: int = 7070
    tracking: int = 5500
    orchestrator: int = 3300
    monitoring: int = 9490
    gateway: int = 8088
    gateway_metrics: int = 8404
    ray_dashboard: int = 8265
    ray_gcs: int = 6380
    ray_client: int = 6381
    ray_agent_grpc: int = 6382
    ray_agent_http: int = 6383
    ray_metrics: int = 6384
    ray_node_manager: int = 6385
    ray_object_manager: int = 6386
    ray_runtime_env_agent: int = 6387
    ray_autoscaler_metrics: int = 6388
    ray_dashboard_metrics: int = 6389
    ray_workers_first: int = 20002
    ray_workers_last: int = 20301
    workloads_first: int = 9100
    workloads_last: int = 9199

    @model_validator(mode="after")
    def _fit(self) -> Self:
        problems = []
        ranges = sorted(self.ranges().items(), key=lambda item: item[1])
        for name, (first, last) in ranges:
            if first < FIRST_UNPRIVILEGED_PORT or last > LAST_PORT:
                problems.append(
                    f"{name} is {_span(first, last)}, allowed: "
                    f"{FIRST_UNPRIVILEGED_PORT} to {LAST_PORT}"
                )
            if last < first:
                problems.append(f"{name} ends ({last}) before it begins ({first})")
        for (one, (first, last)), (other, (start, end)) in itertools.pairwise(ranges):
            if start <= last:
                problems.append(
                    f"{one} ({_span(first, last)}) and {other} ({_span(start, end)}) overlap"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def ranges(self) -> dict[str, tuple[int, int]]:
        """Each port's name → first and last port, `offset` added."""
        spans: dict[str, tuple[int, int]] = {}
        for name, port in self.model_dump(exclude={"offset"}).items():
            if name.endswith("_last"):
                continue
            stem = name.removesuffix("_first")
            last = port if stem == name else getattr(self, f"{stem}_last")
            spans[stem] = (port + self.offset, last + self.offset)
        return spans

    def __getitem__(self, name: str) -> int:
        """The port called `name`, `offset` added."""
        return int(getattr(self, name)) + self.offset


class LocalSettings(Section):
    """The local environment."""

    ports: Ports = Ports()
    health_seconds: int = Field(180, ge=5, le=1800)
    """How long a part may take until it is healthy."""
    ray_cpus: int = Field(2, ge=1)
    ray_object_store_mib: int = Field(256, ge=80)
    auto_approve: bool = True
    """Whether a version that passes its gates needs no person's yes."""


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"
