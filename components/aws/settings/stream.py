"""The settings of the stream: none, Kafka on MSK, or one that is there already."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.section import Section

Broker = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+:\d{1,5}$")]


class ExistingStream(Section):
    """A Kafka that somebody else runs, over TLS."""

    brokers: tuple[Broker, ...] = Field(min_length=1)
    """Host and port of the first brokers to ask."""


class StreamSettings(Section):
    """What carries events: new data, decisions, changes of features."""

    kind: Literal["none", "msk", "existing"] = "none"
    existing: ExistingStream | None = None
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.(x|\d+)(\.kraft)?$")] = (
        "3.9.x.kraft"
    )
    """Of Kafka, as MSK writes it; with `.kraft` there is no ZooKeeper, which IAM does not guard."""
    instance_type: Annotated[
        str, StringConstraints(pattern=r"^(kafka|express)\.[a-z0-9]+\.[a-z0-9]+$")
    ] = "kafka.m5.large"
    brokers_per_zone: int = Field(1, ge=1, le=10)
    storage_gib: int = Field(100, ge=1, le=16384)
    """Of each broker."""
    retention_hours: int = Field(168, ge=1)
    """How long a message can be read again."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "existing") != (self.existing is not None):
            raise ValueError("existing: is needed with kind 'existing', and only then")
        return self
