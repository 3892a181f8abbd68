"""The settings of one pool of nodes."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from components.section import Section


class NodePoolSettings(Section):
    """A group of nodes; GPU pools scale to zero where `min_nodes` is 0."""

    kind: Literal["cpu", "gpu"]
    instance_types: tuple[str, ...] = Field(min_length=1)
    min_nodes: int = Field(0, ge=0)
    max_nodes: int = Field(ge=1)
    disk_gib: int = Field(100, ge=20)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes ({self.min_nodes}) exceeds max_nodes ({self.max_nodes})")
        return self
