"""What may be asked of MLflow on a cluster: parsed and checked, without Pulumi."""

from __future__ import annotations

import math
import ssl
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from components.kubernetes.settings import Group, TeamQuota
from components.section import Section

Host = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)+(:[0-9]+)?$")
]
"""As a browser sends it: without a scheme, with the port unless that is 443."""
Https = Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+(/\S*)?$")]
Image = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9.-]+(:[0-9]+)?/\S+@sha256:[0-9a-f]{64}$")
]


def _is_certificates(text: str) -> str:
    try:
        ssl.create_default_context(cadata=text)
    except ssl.SSLError as error:
        raise ValueError(f"holds no certificates as PEM: {error.reason or error}") from error
    return text


Certificates = Annotated[str, AfterValidator(_is_certificates)]

_SURGE = 1


class SignIn(Section):
    """The identity provider that people come from."""

    issuer: Https
    discovery_url: Https
    """Ends in ``/.well-known/openid-configuration``; must be reachable from the cluster."""
    client_id: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    """Which tokens are meant for MLflow; mostly the client's id."""
    administrators: tuple[Group, ...] = Field(min_length=1)
    """They may do everything to every team's models: few."""


class TrackingSettings(Section):
    """MLflow's server."""

    image: Image
    """In the registry in the country: the platform's own, of `components/mlflow_server`."""
    sign_in: SignIn
    hosts: tuple[Host, ...] = Field(min_length=1)
    """What people call it; the first is where the identity provider sends them back to."""
    min_replicas: int = Field(2, ge=1)
    """Two at least where the environment keeps data, whatever stands here."""
    max_replicas: int = Field(4, ge=1, le=20)
    cores: float = Field(0.5, gt=0, le=16)
    """Of each replica, asked for; more is taken where it is idle."""
    memory_mib: int = Field(1024, ge=768)
    """Of each replica. One takes about 400 when idle."""
    largest_artifact_gib: int = Field(5, ge=1, le=200)
    """Uploads are kept on disk on their way to the bucket."""
    upgrade_minutes: int = Field(60, ge=5)
    """How long bringing the database to a new version may take."""
    other_authorities: Certificates | None = None
    """PEM of who signs all other certificates, the identity provider's and the bucket's, where one
    of them is not known everywhere; then no others are trusted."""
    copy_before_upgrade: bool = True
    """Whether databases are copied to the bucket before a new version changes their schema. A copy
    lies on disk on its way: databases of many gigabytes have a better one by the database's own
    means, and then this may be off."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas: {self.max_replicas} is less than min_replicas {self.min_replicas}"
            )
        if not self.sign_in.discovery_url.endswith("/.well-known/openid-configuration"):
            raise ValueError(
                f"sign_in.discovery_url: {self.sign_in.discovery_url} does not end in "
                "/.well-known/openid-configuration"
            )
        return self

    def replicas(self, *, keep: bool) -> tuple[int, int]:
        """The least and the most that run."""
        least = max(self.min_replicas, 2 if keep else 1)
        return least, max(self.max_replicas, least)

    def quota(self, *, keep: bool) -> TeamQuota:
        """What the namespace needs: all replicas, one more in a roll-out, and the upgrade."""
        pods = self.replicas(keep=keep)[1] + _SURGE + 1
        return TeamQuota(
            cpu_quota=math.ceil(pods * self.cores),
            memory_quota_gib=math.ceil(pods * self.memory_mib / 1024),
            storage_quota_gib=0,
            pod_quota=2 * pods,  # those that ended count until they are gone
        )
