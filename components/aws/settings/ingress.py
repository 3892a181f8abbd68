"""The settings of the way in: names, and the networks that clients come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.provision import Provision
from components.section import Section

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]

PRIVATE = tuple(
    ipaddress.IPv4Network(one)
    for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
"""Networks of organisations, by RFC 1918 and RFC 6598."""


class ExistingBalancer(Section):
    """A load balancer that somebody else keeps."""

    target_group_arn: Annotated[
        str,
        StringConstraints(
            pattern=r"^arn:aws:elasticloadbalancing:[a-z0-9-]+:\d{12}:targetgroup/[\w-]+/[0-9a-f]+$"
        ),
    ]
    """Of target type `ip` and protocol TCP, in the platform's network: the gateway's pods are
    registered there."""
    security_group_id: Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]+$")]
    """Of the load balancer: nodes let it reach the gateway."""
    domain: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)+$")
    ]
    """Under which its keeper has written `hosts`."""


class IngressSettings(Provision):
    """The load balancer that clients reach the platform by, from inside the organisation alone."""

    hosts: tuple[Label, ...] = Field(
        ("serving", "tracking", "monitoring", "orchestration"), min_length=1
    )
    """Names in the private zone of the environment, one a part that people or programs ask."""
    client_cidrs: tuple[ipaddress.IPv4Network, ...] = (ipaddress.IPv4Network("10.0.0.0/8"),)
    """Where clients come from."""
    gateway_port: int = Field(8443, ge=1024, le=65535)
    """On which the mesh's gateway takes TLS in the cluster."""
    existing: ExistingBalancer | None = None
    """Needed where `mode` is `existing`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = list(_problems(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _problems(ingress: IngressSettings) -> Iterator[str]:
    if (ingress.mode == "existing") != (ingress.existing is not None):
        yield (
            f"existing: goes with mode existing and with no other; mode is {ingress.mode} and the "
            f"load balancer is {'missing' if ingress.existing is None else 'named'}"
        )
    if len(set(ingress.hosts)) < len(ingress.hosts):
        yield f"hosts: names one twice: {', '.join(ingress.hosts)}"
    if ingress.own and not ingress.client_cidrs:
        yield "client_cidrs: is empty, so nobody could reach the platform"
    for cidr in ingress.client_cidrs:
        if not any(cidr.subnet_of(private) for private in PRIVATE):
            yield (
                f"client_cidrs: {cidr} is no private network; allowed: parts of "
                f"{', '.join(map(str, PRIVATE))}"
            )
    for place, cidr in enumerate(ingress.client_cidrs):
        for other in ingress.client_cidrs[place + 1 :]:
            if cidr.overlaps(other):
                yield f"client_cidrs: {cidr} and {other} overlap"
