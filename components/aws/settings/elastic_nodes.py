"""The settings of elastic nodes: pools that Karpenter fills as pods ask for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from components.aws.settings.node_pool import PoolSettings
from components.section import Name, Section


class ElasticPoolSettings(PoolSettings):
    """A pool that begins with no node and ends with none."""

    purpose: Literal["general", "serving", "training", "workspaces"] = "general"
    """Nodes of `training` and `workspaces` are left alone until they are empty: neither a job nor
    somebody's notebook is moved."""
    job_hours: int = Field(72, ge=1, le=720)
    """How long a node that has to go waits for the job on it; of training only."""


class ElasticNodesSettings(Section):
    """Karpenter and its pools."""

    pools: dict[Name, ElasticPoolSettings] = Field(min_length=1)
    replicas: int = Field(2, ge=1, le=5)
    """Of the controller; each needs a node of the managed groups for itself."""
    image: Annotated[
        str, StringConstraints(pattern=r"^(al2023@v\d{8}|bottlerocket@v?\d+\.\d+\.\d+)$")
    ]
    """The alias of the nodes' AMI with its release, such as ``al2023@v20260904``."""

    @property
    def with_gpu_plugin(self) -> tuple[str, ...]:
        """The pools whose nodes bring NVIDIA's device plugin, told of no slices: a second one there
        would take the same GPUs for its own.

        Source: EKS user guide, "Install Kubernetes device plugin for GPUs": Bottlerocket's images
        hold it, those of AL2023 do not. Managed groups are of AL2023 (`node_pool`).
        """
        if not self.image.startswith("bottlerocket@"):
            return ()
        return tuple(name for name, pool in self.pools.items() if pool.kind == "gpu")


class GpuBudget(Section):
    """How many GPUs there may be at once; what is not budgeted is not bought by accident."""

    total: int = Field(ge=0)
    """In all pools at their largest."""
    per_team: int = Field(0, ge=0)
    """That one team's quota may hold."""
