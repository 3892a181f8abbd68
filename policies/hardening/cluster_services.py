"""Rules on how services of a cluster are reached: from inside, and through its gateway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policies.common.places import found, shown
from policies.common.pods import kind_of
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

_SERVICE = ("core", "Service")
_INGRESS = ("networking.k8s.io", "Ingress")
_SCHEMES = {
    ("elbv2.k8s.aws", "IngressClassParams"): "spec.scheme",
    ("gateway.k8s.aws", "LoadBalancerConfiguration"): "spec.scheme",
}
"""Kinds of the load balancer controller that put whatever names them on the internet."""
_RAY = {
    ("ray.io", "RayCluster"): ("spec",),
    ("ray.io", "RayCronJob"): ("spec", "jobTemplate", "rayClusterSpec"),
    ("ray.io", "RayJob"): ("spec", "rayClusterSpec"),
    ("ray.io", "RayService"): ("spec", "rayClusterConfig"),
}
"""Kind → where it describes a cluster, for whose head KubeRay makes a Service."""
_PREFIX = "service.beta.kubernetes.io/"
_SCHEME, _INTERNAL = f"{_PREFIX}aws-load-balancer-scheme", f"{_PREFIX}aws-load-balancer-internal"
_ADDRESS_TYPE = f"{_PREFIX}aws-load-balancer-ip-address-type"
_RANGES = f"{_PREFIX}load-balancer-source-ranges"
_INGRESS_SCHEME = "alb.ingress.kubernetes.io/scheme"
_ANYWHERE = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, kw_only=True)
class _Service:
    """A Service as an object describes it."""

    spec: Any
    annotations: Any
    where: str
    """Of the spec."""
    kind: str = "type"
    """The property of the spec that says how it is reached."""


def _kind(resource: Resource) -> tuple[str, str]:
    """Group and kind; a patch is judged like what it patches."""
    group, kind = kind_of(resource) or ("", "")
    return group, kind.removesuffix("Patch")


def _services(resource: Resource) -> Iterator[_Service]:
    if _kind(resource) == _SERVICE:
        yield _Service(
            spec=resource.at("spec"),
            annotations=resource.at("metadata", "annotations"),
            where="spec",
        )
        return
    cluster = _RAY[_kind(resource)]
    head = (*cluster, "headGroupSpec")
    yield _Service(
        spec=resource.at(*head),
        annotations=resource.at(*cluster, "headServiceAnnotations"),
        where=".".join(head),
        kind="serviceType",
    )
    for path in ((*head, "headService"), ("spec", "serveService")):
        service = resource.at(*path)
        if not is_missing(service):
            yield _Service(
                spec=at(service, "spec"),
                annotations=at(service, "metadata", "annotations"),
                where=".".join((*path, "spec")),
            )


class PublicIngresses(Parameters):
    """What is meant for the internet."""

    publicIngresses: tuple[str, ...] = ()  # noqa: N815
    """``namespace/name`` of each."""


def service_is_internal(resource: Resource, parameters: PublicIngresses) -> Iterator[Finding]:
    """Which load balancer a Service gets depends on its annotations alone."""
    kind = _kind(resource)
    if kind == _INGRESS:
        scheme = resource.at("metadata", "annotations", _INGRESS_SCHEME)
        where = f"metadata.annotations.{_INGRESS_SCHEME}"
        if not is_missing(scheme):
            yield from _unless_listed(resource, where, scheme, parameters)
    elif kind in _SCHEMES:
        for place, scheme in found(resource.properties, _SCHEMES[kind]):
            if scheme is UNKNOWN:
                yield pending(resource, shown(place))
            elif scheme == "internet-facing":
                yield Finding(resource=resource, where=shown(place), what=f"is {scheme}")
    else:
        for service in _services(resource):
            yield from _inside(resource, service)


def _unless_listed(
    ingress: Resource, where: str, scheme: Any, parameters: PublicIngresses
) -> Iterator[Finding]:
    namespace, name = ingress.at("metadata", "namespace"), ingress.at("metadata", "name")
    listed = parameters.publicIngresses
    if f"{'default' if is_missing(namespace) else namespace}/{name}" in listed:
        return
    if scheme is UNKNOWN or (
        scheme == "internet-facing" and UNKNOWN in (namespace, name) and listed
    ):
        yield pending(ingress, where)
    elif scheme == "internet-facing":
        what = "is internet-facing, and not in publicIngresses"
        yield Finding(resource=ingress, where=where, what=what)


def _inside(resource: Resource, service: _Service) -> Iterator[Finding]:
    spec, said, kind = service.spec, service.annotations, at(service.spec, service.kind)
    if spec is UNKNOWN:
        yield pending(resource, service.where)
        return
    addresses = at(spec, "externalIPs")
    where = f"{service.where}.externalIPs"
    if addresses is UNKNOWN:
        yield pending(resource, where)
    elif not is_missing(addresses):
        yield Finding(resource=resource, where=where, what="is not empty: it takes over addresses")
    if kind is UNKNOWN:
        yield pending(resource, f"{service.where}.{service.kind}")
    if kind != "LoadBalancer":
        return
    scheme, internal, family = (at(said, one) for one in (_SCHEME, _INTERNAL, _ADDRESS_TYPE))
    if scheme is UNKNOWN or (is_missing(scheme) and internal is UNKNOWN):
        yield pending(resource, f"annotation {_SCHEME}")
    elif scheme != "internal" and not (is_missing(scheme) and internal in ("true", True)):
        shown_as = "is not set" if is_missing(scheme) else f"is {scheme}"
        yield Finding(
            resource=resource, where=f"annotation {_SCHEME}", what=f"{shown_as}, not internal"
        )
    if isinstance(family, str) and family.startswith("dualstack"):
        what = f"is {family}: addresses of IPv6 are the internet's"
        yield Finding(resource=resource, where=f"annotation {_ADDRESS_TYPE}", what=what)
    ranges = at(spec, "loadBalancerSourceRanges")
    sources = [*(ranges if isinstance(ranges, list) else []), *str(at(said, _RANGES)).split(",")]
    for source in sources:
        if isinstance(source, str) and source.strip() in _ANYWHERE:
            where = f"{service.where}.loadBalancerSourceRanges"
            yield Finding(resource=resource, where=where, what=f"holds {source.strip()}")


def no_node_port(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """A port of every node is beside the gateway, its TLS and its rules."""
    for service in _services(resource):
        spec, kind = service.spec, at(service.spec, service.kind)
        if spec is UNKNOWN or kind is UNKNOWN:
            yield pending(resource, service.where)
            continue
        if kind == "NodePort":
            where = f"{service.where}.{service.kind}"
            yield Finding(resource=resource, where=where, what="is NodePort")
        ports = at(spec, "allocateLoadBalancerNodePorts")
        where = f"{service.where}.allocateLoadBalancerNodePorts"
        if kind == "LoadBalancer" and service.kind == "type" and ports is UNKNOWN:
            yield pending(resource, where)
        elif kind == "LoadBalancer" and service.kind == "type" and ports is not False:
            yield Finding(resource=resource, where=where, what="is not false")
        for place, port in found(spec, "ports.nodePort"):
            # 0 is what an API server is asked to choose with
            if port is UNKNOWN:
                yield pending(resource, f"{service.where}.{shown(place)}")
            elif port != 0:
                yield Finding(
                    resource=resource, where=f"{service.where}.{shown(place)}", what="is set"
                )


RULES = (
    Rule(
        name="kubernetes-service-is-internal",
        description="No object of a cluster puts a load balancer on the internet.",
        mend=f"set the annotation {_SCHEME} to internal.",
        applies_to=lambda resource: (
            _kind(resource) in (_SERVICE, _INGRESS)
            or _kind(resource) in _SCHEMES
            or _kind(resource) in _RAY
        ),
        parameters=PublicIngresses,
        each=service_is_internal,
    ),
    Rule(
        name="node-port-is-forbidden",
        description="No Service is reached by a port of every node.",
        mend="use ClusterIP behind the gateway.",
        applies_to=lambda resource: _kind(resource) == _SERVICE or _kind(resource) in _RAY,
        each=no_node_port,
    ),
)
