"""The settings of one pool of nodes: the managed groups, and what every kind of pool has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.instance_types import most_gpus, problems_of_hardware
from components.aws.regions import RegionData, problems_of_types, problems_of_zones
from components.section import Section

LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$")
]

GPU_TAINT = "nvidia.com/gpu"
"""Keeps every pod off GPU nodes that does not tolerate, and so ask for, a GPU."""


class Taint(Section):
    """What keeps pods off a pool's nodes unless they tolerate it."""

    key: LabelKey
    value: LabelValue = "true"
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class PoolSettings(Section):
    """What every pool of nodes has; GPU pools keep off pods that ask for no GPU."""

    kind: Literal["cpu", "gpu"]
    instance_types: tuple[str, ...] = Field(min_length=1)
    """In the order of preference."""
    zones: tuple[str, ...] = ()
    """Every healthy zone that has the types, where none is named."""
    max_nodes: int = Field(ge=1)
    spot_percent: int = Field(0, ge=0, le=100)
    """The largest share of the nodes that may be taken away at two minutes' notice."""
    disk_gib: int = Field(100, ge=20, le=16384)
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()

    @model_validator(mode="after")
    def _suits_its_kind(self) -> Self:
        problems = list(problems_of_hardware(self.instance_types, gpu=self.kind == "gpu"))
        if problems:
            raise ValueError("\n".join(f"instance_types: {problem}" for problem in problems))
        return self

    @property
    def max_gpus(self) -> int:
        """The GPUs of the pool at its largest."""
        return self.max_nodes * most_gpus(self.instance_types)


class NodePoolSettings(PoolSettings):
    """A managed group of nodes; scales to zero where `min_nodes` is 0."""

    min_nodes: int = Field(0, ge=0)
    image_release: Annotated[str, StringConstraints(pattern=r"^1\.\d+\.\d+-\d{8}$")] | None = None
    """The AMI's, such as ``1.35.0-20260904``; `None` for the newest when the group is made."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes ({self.min_nodes}) exceeds max_nodes ({self.max_nodes})")
        if self.spot_percent not in (0, 100):
            raise ValueError(
                f"spot_percent is {self.spot_percent}: a managed group is all spot (100) or none "
                "(0); a share takes a pool of elastic_nodes"
            )
        return self


def problems_of_pool(pool: PoolSettings, data: RegionData) -> Iterator[str]:
    """What the region lacks of a pool; each begins with its key."""
    strange = list(problems_of_zones(data, pool.zones))
    for problem in strange:
        yield f"zones: {problem}"
    if not strange:
        for problem in problems_of_types(data, pool.instance_types, pool.zones):
            yield f"instance_types: {problem}"


def labels_of(pool: str, shape: PoolSettings) -> dict[str, str]:
    """The labels of a pool's nodes."""
    return {"falaj/pool": pool, "falaj/kind": shape.kind, **shape.labels}


def taints_of(shape: PoolSettings) -> tuple[Taint, ...]:
    """The taints of a pool's nodes: those asked for, and on GPU nodes that of GPUs."""
    if shape.kind == "gpu" and not any(one.key == GPU_TAINT for one in shape.taints):
        return (Taint(key=GPU_TAINT), *shape.taints)
    return shape.taints
