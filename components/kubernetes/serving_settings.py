"""What may be asked of the servers of models: parsed and checked, without Pulumi."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.section import Name, Section

LICENSED = ("staging", "prod")
"""Environments in which Seldon Core may not run without a licence of Seldon's: its Business Source
Licence allows non-production use, and staging decides over releases."""


class ServingSettings(Section):
    """What runs the models of an environment."""

    engine: Literal["seldon", "mlserver"]
    """`seldon`: a SeldonDeployment for each slot, under the Business Source Licence 1.1 since 1.18.
    `mlserver`: a plain Deployment for each, whose servers answer as MLServer does (the Open
    Inference Protocol), with Apache-2.0 software alone."""
    seldon_licence_reference: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)] | None
    ) = None
    """The number of the contract with Seldon."""


class ModelSettings(Section):
    """The servers of one workload's slots; every number is for one slot."""

    min_replicas: int = Field(2, ge=1)
    max_replicas: int = Field(6, ge=1)
    cpus: float = Field(1, gt=0)
    """Asked for, of one pod; it may use more where the node has it."""
    memory_gib: float = Field(2, gt=0)
    """Asked for and at most, of one pod."""
    disk_gib: float = Field(2, gt=0)
    """For the copy of the model and temporary files of one pod."""
    gpus: int = Field(0, ge=0)
    """Whole GPUs of one pod."""
    node_pool: Name | None = None
    """Where its pods go (the node label `falaj/pool`); any node that bears no taint without it."""
    busy_percent: int = Field(70, ge=10, le=95)
    """Use of the CPUs asked for, above which pods are added."""
    start_seconds: int = Field(300, ge=30)
    """How long a server may take until it answers at all, its model aside."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        if self.max_replicas < self.min_replicas:
            problems.append(
                f"max_replicas: {self.max_replicas} is below min_replicas {self.min_replicas}"
            )
        if self.gpus and self.node_pool is None:
            problems.append(f"node_pool: is missing, and {self.gpus} GPUs are on the nodes of some")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def licence_problems(environment: str, settings: ServingSettings) -> list[str]:
    """What Seldon's licence has against `settings`; each begins with the key it is about."""
    if settings.engine != "seldon" or environment not in LICENSED:
        return []
    if settings.seldon_licence_reference is not None:
        return []
    problem = (
        "seldon_licence_reference: is missing. Seldon Core is under the Business Source Licence "
        f"1.1, which is free for non-production use alone, and this is {environment}: give the "
        "number of your contract with Seldon, or say engine: mlserver, which serves behind the "
        "same gateway and weights with Apache-2.0 software"
    )
    return [problem]
