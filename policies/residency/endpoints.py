"""Rules on providers: they talk to AWS in the region, over TLS, and through nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.arns import host_of, is_host_among, region_of_host
from policies.common.places import document, leaves, shown
from policies.common.resources import ABSENT, UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.residency.regions import Regions, judged

_PROVIDER = "pulumi:providers:aws"
_PROXIES = ("httpProxy", "httpsProxy")


class Hosts(Regions):
    """Which hosts requests may go to, besides those of AWS in `allowedRegions`."""

    allowedHosts: tuple[str, ...] = ()  # noqa: N815
    """``*.example.ae`` stands for any name below a domain."""


def provider_endpoints(provider: Resource, parameters: Hosts) -> Iterator[Finding]:
    """Lists, objects and truths are texts in JSON on a provider."""
    endpoints = document(provider.at("endpoints"))
    if endpoints is UNKNOWN:
        yield pending(provider, "endpoints")
    elif endpoints is ABSENT and not is_missing(provider.at("endpoints")):
        yield Finding(resource=provider, where="endpoints", what="is no JSON")
    listed = endpoints if isinstance(endpoints, list | dict) else ()
    for place, url in leaves(listed, ("endpoints",)):
        yield from _judge_endpoint(provider, shown(place), url, parameters)
    if not is_missing(provider.at("stsRegion")):
        yield from judged(provider, "stsRegion", provider.at("stsRegion"), parameters)
    for proxy in _PROXIES:
        yield from _judge_proxy(provider, proxy, parameters)
    yield from _judge_value(provider, "s3UsEast1RegionalEndpoint", "regional")
    yield from _judge_value(provider, "insecure", False)


def _judge_endpoint(
    provider: Resource, where: str, url: Any, parameters: Hosts
) -> Iterator[Finding]:
    if url is UNKNOWN:
        yield pending(provider, where)
    elif url:
        host = host_of(url) or ""
        if not url.lower().startswith("https://"):
            yield Finding(resource=provider, where=where, what=f"is {url}, which is not https")
        if not is_in_country(host, parameters):
            allowed = ", ".join((*parameters.allowedRegions, *parameters.allowedHosts))
            what = f"is {url}, which is neither in a region nor a host that is allowed: {allowed}"
            yield Finding(resource=provider, where=where, what=what)


def is_in_country(host: str, parameters: Hosts) -> bool:
    """Whether `host` is AWS's in an allowed region, or one of `allowedHosts`."""
    region = region_of_host(host)
    return region in parameters.allowedRegions or is_host_among(host, parameters.allowedHosts)


def _judge_proxy(provider: Resource, name: str, parameters: Hosts) -> Iterator[Finding]:
    proxy = provider.at(name)
    if proxy is UNKNOWN:
        yield pending(provider, name)
    elif not is_missing(proxy) and not is_host_among(
        host_of(str(proxy)) or "", parameters.allowedHosts
    ):
        # an URL of a proxy may hold a password
        what = "is a host that is not in allowedHosts"
        yield Finding(resource=provider, where=name, what=what)


def _judge_value(provider: Resource, name: str, expected: Any) -> Iterator[Finding]:
    value = provider.at(name)
    if value is UNKNOWN:
        yield pending(provider, name)
    elif not is_missing(value) and value != expected and document(value) != expected:
        yield Finding(resource=provider, where=name, what=f"is {value}, not {expected}".lower())


RULES = (
    Rule(
        name="aws-provider-endpoint-is-in-region",
        description="Every AWS provider talks to AWS in a region that data may be in, over TLS.",
        mend="remove the custom endpoint or use the regional https endpoint.",
        applies_to=lambda resource: resource.type == _PROVIDER,
        parameters=Hosts,
        each=provider_endpoints,
    ),
)
