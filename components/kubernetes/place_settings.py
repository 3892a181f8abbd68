"""What must be said of a cluster that somebody else keeps: parsed and checked, without Pulumi.

On premises, in another cloud of the country, or in kind on one machine.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from components.kubernetes.pools import GPU, KIND, POOL, TEAM, Pool
from components.section import Name, Section


def _is_a_block(text: str) -> str:
    network = ipaddress.ip_network(text)
    if network.prefixlen == 0:
        raise ValueError(f"{text} is every address there is; name those that pods must reach")
    return str(network)


Block = Annotated[str, AfterValidator(_is_a_block)]
"""Addresses, such as ``10.20.0.0/16``."""


class GivenPool(Section):
    """Nodes that are there and bear the labels `falaj/pool` and `falaj/kind`."""

    kind: Literal["cpu", "gpu"]
    cpus: float = Field(gt=0)
    """Of the smallest node, for pods."""
    memory_gib: float = Field(gt=0)
    """Of the smallest node, for pods."""
    max_nodes: int = Field(ge=1)
    gpus: int = Field(0, ge=0)
    """Of the smallest node."""
    gpu_models: tuple[str, ...] = ()
    """Such as ``A100``: decides whether a GPU can divide itself."""
    team: Name | None = None
    """Whose nodes they are alone; they bear its label and taint `falaj/team`."""

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Self:
        if (self.kind == "gpu") != bool(self.gpus):
            raise ValueError(f"gpus: is {self.gpus}, and kind is {self.kind}")
        return self

    def pool(self, name: str) -> Pool:
        """What pods must know of it."""
        taints = []
        if self.kind == "gpu":
            taints.append({"key": GPU, "value": "true", "effect": "NoSchedule"})
        if self.team is not None:
            taints.append({"key": TEAM, "value": self.team, "effect": "NoSchedule"})
        team = {TEAM: self.team} if self.team is not None else {}
        return Pool(
            kind=self.kind,
            labels={POOL: name, KIND: self.kind, **team},
            taints=tuple(taints),
            cpus=self.cpus,
            memory_gib=self.memory_gib,
            gpus=self.gpus,
            gpu_models=self.gpu_models,
            max_nodes=self.max_nodes,
        )


class KubernetesSettings(Section):
    """The cluster, and what stands around it."""

    registry: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*(:\d{1,5})?$")]
    """Host of the image registry in the country; it holds the copies that `falaj images plan`
    lists."""
    repositories: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]+(/[a-z0-9._-]+)*$")] = (
        "falaj"
    )
    """Project or path there, before the names of images."""
    storage_class: Name
    """For volumes; the cluster has it."""
    storage_encryption: Annotated[str, StringConstraints(min_length=10)]
    """How volumes of that class are encrypted, and who holds the key: nobody here can look, so it
    is declared, and stands among the evidence."""
    pools: dict[Name, GivenPool] = Field(min_length=1)
    services: tuple[Block, ...] = ()
    """What pods may reach outside the cluster: object store, database, cache, brokers."""
    api_server: tuple[Block, ...] = ()
    """Where the API server answers pods: its own address and that of the Service `kubernetes`."""

    def repository(self, path: str) -> str:
        """Where the image or chart `path` lies in the registry."""
        return f"{self.repositories}/{path}"

    def pools_for_pods(self) -> dict[str, Pool]:
        """Name → pool."""
        return {name: one.pool(name) for name, one in self.pools.items()}
