"""Rules on where resources are: the region of providers, and of resources that name their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule

_PROVIDER = "pulumi:providers:aws"


class Regions(Parameters):
    """Which regions data may be in."""

    allowedRegions: tuple[str, ...] = Field(("me-central-1",), min_length=1)  # noqa: N815


def provider_region(provider: Resource, parameters: Regions) -> Iterator[Finding]:
    """An absent region would let the environment decide where data goes."""
    yield from _judge(provider, "region", provider.at("region"), parameters)


def resource_region(resource: Resource, parameters: Regions) -> Iterator[Finding]:
    """Since major version 7 a resource's own region overrides that of its provider."""
    region = resource.at("region")
    if not is_missing(region):
        yield from _judge(resource, "region", region, parameters)
    elif resource.provider is not None:
        where = f"region (from its provider '{resource.provider.name}')"
        yield from _judge(resource, where, resource.provider.at("region"), parameters)
    else:
        yield from _judge(resource, "region", region, parameters)


def _judge(resource: Resource, where: str, region: Any, parameters: Regions) -> Iterator[Finding]:
    allowed = ", ".join(parameters.allowedRegions)
    if region is UNKNOWN:
        yield Finding(resource=resource, where=where, what="is not known yet", verdict="pending")
    elif is_missing(region):
        what = f"is not set, so the environment would decide it; allowed: {allowed}"
        yield Finding(resource=resource, where=where, what=what)
    elif region not in parameters.allowedRegions:
        what = f"is {region}; allowed: {allowed}"
        yield Finding(resource=resource, where=where, what=what)


RULES = (
    Rule(
        name="aws-provider-region-is-allowed",
        description="Every AWS provider names a region that data may be in.",
        mend="set aws:region in the stack file and pass region to every aws.Provider.",
        applies_to=lambda resource: resource.type == _PROVIDER,
        parameters=Regions,
        each=provider_region,
    ),
    Rule(
        name="aws-resource-region-is-allowed",
        description="Every AWS resource is in a region that data may be in.",
        mend="remove the region property or set it to an allowed region.",
        applies_to=lambda resource: resource.type.startswith("aws:"),
        parameters=Regions,
        each=resource_region,
    ),
)
