"""The settings of the machine from which an environment is deployed, and what it must reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from components.aws.settings.network import NetworkSettings
from components.section import Section

GLOBAL_HOSTS = ("iam.amazonaws.com", "route53.amazonaws.com")
"""What deploying calls and no endpoint of any region answers: services of AWS as a whole."""


Machine = Literal["x86_64", "aarch64"]
"""A kind of processor, as Linux calls it."""

_GRAVITON = re.compile(r"(?:a1|[a-z]+\d+[a-z]*g[a-z]*)\.")
"""AWS's own processors: a ``g`` after the generation, as in ``m7g``, ``c6gn`` or ``g5g``."""


def machine_of(instance_type: str) -> Machine:
    """The processor of an instance type. Source: EC2 guide, "Instance type naming conventions"."""
    return "aarch64" if _GRAVITON.match(instance_type) else "x86_64"


class RunnerSettings(Section):
    """A machine inside the network, made by `make bootstrap` together with it.

    With it `pulumi up` of the environment works there and nowhere else.
    """

    instance_type: str = "t3.large"
    disk_gib: int = Field(50, ge=20)
    proxy: Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.-]+:\d+$")] | None = None
    """The organisation's proxy, for what no endpoint answers; it must pass `outside` of the
    region."""


def outside(region: str) -> tuple[str, ...]:
    """Names that deploying in `region` calls beside those of endpoints; a leading dot as in
    `allowed_domains`.

    Databases, trails, backups and the like are asked when they are made and never again, so that an
    endpoint for each would stand idle.
    """
    return (*GLOBAL_HOSTS, f".{region}.amazonaws.com")


def runner_problems(runner: RunnerSettings, network: NetworkSettings, region: str) -> Iterator[str]:
    """What keeps a runner in `network` from deploying in `region`."""
    if runner.proxy is not None:
        return
    if network.egress == "none":
        yield (
            "runner.proxy: is missing; with network.egress none nothing else leads to "
            f"{', '.join(outside(region))}, which deploying calls and no endpoint answers"
        )
        return
    for name in outside(region):
        if not any(_covers(one, name) for one in network.allowed_domains):
            yield f"network.allowed_domains: lacks {name}, which the runner calls to deploy"


def _covers(allowed: str, name: str) -> bool:
    return allowed == name or (allowed.startswith(".") and name.endswith(allowed))
