"""Rules on where resources are: the region of providers, and of resources that name their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from policies.common.arns import arn_of
from policies.common.resources import ABSENT, UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

_PROVIDER = "pulumi:providers:aws"
_REPLICAS = frozenset(
    {"aws:kms/replicaKey:ReplicaKey", "aws:kms/replicaExternalKey:ReplicaExternalKey"}
)
_KEYS = _REPLICAS | {"aws:kms/key:Key", "aws:kms/externalKey:ExternalKey"}


class Regions(Parameters):
    """Which regions data may be in."""

    allowedRegions: tuple[str, ...] = Field(("me-central-1",), min_length=1)  # noqa: N815


def provider_region(provider: Resource, parameters: Regions) -> Iterator[Finding]:
    """An absent region would let the environment decide where data goes."""
    yield from judged(provider, "region", provider.at("region"), parameters)


def resource_region(resource: Resource, parameters: Regions) -> Iterator[Finding]:
    """Since major version 7 a resource's own region overrides that of its provider."""
    region = resource.at("region")
    # one type has blocks of that name, of the regions that it copies to
    if not is_missing(region) and not isinstance(region, list):
        yield from judged(resource, "region", region, parameters)
    elif resource.provider is not None:
        where = f"region (from its provider '{resource.provider.name}')"
        yield from judged(resource, where, resource.provider.at("region"), parameters)
    else:
        yield from judged(resource, "region", region, parameters)


def explicit_provider(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """The engine calls the providers that it makes up ``default…``."""
    if resource.provider is None:
        yield Finding(resource=resource, where="its provider", what="is not known to the engine")
    elif resource.provider.name.startswith("default"):
        what = f"is '{resource.provider.name}', which the engine made up"
        yield Finding(resource=resource, where="its provider", what=what)


def key_region(key: Resource, parameters: Regions) -> Iterator[Finding]:
    """A multi-Region key, or a replica of one abroad, can be used where nobody may decrypt."""
    if key.type in _REPLICAS:
        primary = key.at("primaryKeyArn")
        arn = arn_of(primary)
        region = UNKNOWN if primary is UNKNOWN else arn.region if arn else None
        yield from judged(key, "region of primaryKeyArn", region, parameters)
        yield from resource_region(key, parameters)
        return
    multiple = key.at("multiRegion")
    if multiple is UNKNOWN:
        yield pending(key, "multiRegion")
    elif multiple is True:
        what = "is true: the key's material may be copied to any region"
        yield Finding(resource=key, where="multiRegion", what=what)


def region_of(resource: Resource, *, output: bool = False) -> Any:
    """The region that a resource is in; `UNKNOWN` or `ABSENT` where nobody says.

    An `output` that is not known yet and refers to nothing was no input: it is the provider's.
    """
    region = resource.at("region")
    made_up = output and region is UNKNOWN and not resource.references.get("region")
    if not made_up and not is_missing(region):
        return region
    return ABSENT if resource.provider is None else resource.provider.at("region")


def judged(resource: Resource, where: str, region: Any, parameters: Regions) -> Iterator[Finding]:
    """What is wrong with the region that `where` says."""
    allowed = ", ".join(parameters.allowedRegions)
    if region is UNKNOWN:
        yield pending(resource, where)
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
    Rule(
        name="aws-resource-uses-explicit-provider",
        description="Every AWS resource is made through a provider that the program names.",
        mend="create one aws.Provider with a region and hand it down through the parent component.",
        applies_to=lambda resource: resource.type.startswith("aws:"),
        each=explicit_provider,
    ),
    Rule(
        name="kms-key-is-single-region",
        description="No key's material leaves its region.",
        mend="create a single-region key in each allowed region instead of a multi-Region key.",
        applies_to=lambda resource: resource.type in _KEYS,
        parameters=Regions,
        each=key_region,
    ),
)
