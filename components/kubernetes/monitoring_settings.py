"""What may be asked of monitoring: parsed and checked, without Pulumi."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from components.monitoring.objectives import (
    LATENCY_BOUNDS_MS,
    Objective,
    availability,
    latency,
    uptime,
)
from components.section import Section

TOLD = ("staging", "prod")
"""Environments in which somebody must hear of an alert."""

Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
Address = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Url = Annotated[str, StringConstraints(pattern=r"^https://[^\s]+$")]
GROUP_IN_TEXT = r"^[^'`\\%$;#\s]+$"
"""Rules are text in a file, which takes these signs for something else."""
Percent = Annotated[float, Field(ge=95, lt=100)]
"""Of less, so much may fail that no alert on the budget could be raised (`objectives`)."""


PersonsGroup = Annotated[str, StringConstraints(pattern=GROUP_IN_TEXT)]
"""A group of the identity provider that can stand in Grafana's rules."""


class EmailSettings(Section):
    """Where alerts are sent as mail. The password comes from the environment's own store."""

    to: tuple[Address, ...] = Field(min_length=1)
    sender: Address
    relay: Host
    """The mail server, in the country."""
    port: Literal[465, 587] = 587
    """Those that the network lets out (`flows`)."""
    user: Annotated[str, StringConstraints(min_length=1)] | None = None
    """As whom to log in; without it none is done and no password is asked for."""


class GrafanaSettings(Section):
    """How people get in: by the identity provider alone. People of the teams' groups look."""

    host: Host
    """Under which they find it; the gateway must answer for it."""
    authorize_url: Url
    token_url: Url
    userinfo_url: Url
    client_id: Annotated[str, StringConstraints(min_length=1)]
    groups_claim: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][\w]*$")] = "groups"
    viewers: tuple[PersonsGroup, ...] = ()
    """Groups whose people look, beside those of the teams; who is in none does not get in."""
    editors: tuple[PersonsGroup, ...] = ()
    """Those that operate the platform: they try queries and draw, until Grafana starts anew."""
    admins: tuple[PersonsGroup, ...] = ()


class ObjectiveSettings(Section):
    """What is promised; errors beyond it call somebody."""

    availability_percent: Percent = 99.5
    """Of a workload's predictions."""
    latency_percent: Percent = 95.0
    latency_ms: int = 250
    """Within which `latency_percent` of the predictions are answered."""
    uptime_percent: Percent = 99.5
    """Of each part in `uptime_jobs`."""
    uptime_jobs: tuple[Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")], ...] = ("tracking",)
    """Parts, as Prometheus names their jobs."""

    @field_validator("latency_ms")
    @classmethod
    def _is_counted(cls, value: int) -> int:
        if value not in LATENCY_BOUNDS_MS:
            known = ", ".join(map(str, LATENCY_BOUNDS_MS))
            raise ValueError(f"{value}: servers count at {known} ms; name one of them")
        return value

    def all(self) -> tuple[Objective, ...]:
        """Each of them."""
        uptimes = (uptime(self.uptime_percent, self.uptime_jobs),) if self.uptime_jobs else ()
        return (
            availability(self.availability_percent),
            latency(self.latency_percent, self.latency_ms),
            *uptimes,
        )


class MonitoringSettings(Section):
    """What is kept and for how long, and who is told."""

    storage_gib: int = Field(100, ge=10, le=240)
    """The volume of each Prometheus; two of them, and what Alertmanager keeps, lie within the quota
    of their namespace."""
    retention_days: int = Field(15, ge=1, le=400)
    """At most; less where 80 % of the volume are full before."""
    long_term: bool = False
    """Whether Thanos copies what Prometheus measured to the bucket, every two hours."""
    email: EmailSettings | None = None
    incidents: bool = False
    """Whether critical alerts open an incident by webhook; its address and token come from the
    environment's own store."""
    heartbeat: bool = False
    """Whether somebody outside is told all the time that the watch is alive, by webhook; its
    address comes from the environment's own store."""
    grafana: GrafanaSettings | None = None
    """No Grafana without it: the dashboards wait for one."""
    gpu_prices_usd: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Model of GPU, as `DCGM_FI_DEV_GPU_UTIL` says in `modelName` → price of an hour."""
    objectives: ObjectiveSettings = ObjectiveSettings()
    control_plane_is_hidden: bool = True
    """Whether the cloud runs etcd, scheduler and controllers, and shows nothing of them."""

    @model_validator(mode="after")
    def _models_are_plain(self) -> Self:
        for model in self.gpu_prices_usd:
            if not model.strip() or '"' in model or "\n" in model:
                raise ValueError(f"gpu_prices_usd: {model!r} is no name of a GPU's model")
        return self

    @property
    def retention_size_gib(self) -> int:
        """80 % of the volume: the log of the last two hours is not counted in Prometheus' limit."""
        return self.storage_gib * 8 // 10


def untold(environment: str, settings: MonitoringSettings) -> list[str]:
    """What is wrong in `environment` with who is told; each begins with the key it is about."""
    if environment not in TOLD:
        return []
    problems = []
    if settings.email is None and not settings.incidents:
        problems.append(
            f"email: is missing and incidents is false, so nobody hears of an alert in "
            f"{environment}: give email (to, sender, relay) or say incidents: true"
        )
    if environment == "prod" and not settings.heartbeat:
        problems.append(
            "heartbeat: is false, so nobody hears when the watch itself dies: say heartbeat: true "
            "and keep the address of who waits for it in the store"
        )
    return problems
