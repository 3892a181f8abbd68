"""Rules on what workloads connect to, and how others connect to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from policies.common.arns import host_of, is_host_among
from policies.common.places import leaves, property_of, shown
from policies.common.pods import describes_pods, kind_of, pods
from policies.common.resources import UNKNOWN, Resource, at
from policies.common.rule import Finding, Parameters, Rule, pending

_SELDON = ("machinelearning.seldon.io", "SeldonDeployment")
_LOCAL = ("file", "sqlite", "memory", "inmem")
"""Schemes that leave no machine."""
_INSIDE = ("*.svc", "*.svc.cluster.local", "localhost", "*.localhost")


class Uris(Parameters):
    """Which addresses are judged, and what is encrypted."""

    uriVariables: tuple[str, ...] = (  # noqa: N815
        *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_S3_ENDPOINT_URL", "RAY_ADDRESS"),
        *("OTEL_EXPORTER_OTLP_ENDPOINT", "OPENLINEAGE_URL", "AWS_ENDPOINT_URL"),
        "AWS_ENDPOINT_URL_S3",
    )
    secureSchemes: tuple[str, ...] = (  # noqa: N815
        *("https", "s3", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "rediss"),
        *("grpcs", "databricks"),
    )
    inClusterHosts: tuple[str, ...] = ()  # noqa: N815
    """Reached inside the mesh, where it encrypts; ``*.ml.internal`` stands for any name below."""


def client_uri(resource: Resource, parameters: Uris) -> Iterator[Finding]:
    """What leaves the cluster in plain text can be read on its way, tokens first."""
    for where, uri in _uris(resource, parameters):
        if uri is UNKNOWN:
            yield pending(resource, where)
        elif isinstance(uri, str) and _is_plain(uri.strip(), parameters):
            what = f"is {_without_secrets(uri)}, which is neither encrypted nor inside the cluster"
            yield Finding(resource=resource, where=where, what=what)


def _uris(resource: Resource, parameters: Uris) -> Iterator[tuple[str, Any]]:
    for pod in pods(resource):
        if pod.spec is UNKNOWN:
            yield pod.where, UNKNOWN
        for where, container in pod.containers():
            variables = at(container, "env")
            if variables is UNKNOWN:
                yield f"{where}.env", UNKNOWN
            for index, one in enumerate(variables if isinstance(variables, list) else ()):
                if at(one, "name") in parameters.uriVariables:
                    yield f"{where}.env[{index}] ({at(one, 'name')})", at(one, "value")
    if kind_of(resource) == _SELDON:
        predictors = resource.at("spec", "predictors")
        for place, url in leaves(predictors, ("spec", "predictors")):
            if property_of(place) == "url" and "logger" in place:
                yield shown(place), url


def _is_plain(uri: str, parameters: Uris) -> bool:
    scheme, separator, rest = uri.partition("://")
    if not separator and (not uri or uri[0] in "/.$" or ":" not in uri):
        return False  # a path, a word such as auto, or what is filled in from elsewhere
    if separator and (scheme.lower() in (*parameters.secureSchemes, *_LOCAL) or not rest):
        return False
    if not separator and uri.partition(":")[0].lower() in _LOCAL:
        return False
    host = host_of(uri)
    return host is None or not _is_inside(host, parameters)


def _is_inside(host: str, parameters: Uris) -> bool:
    if "." not in host.rstrip(".") and ":" not in host:
        return True
    if is_host_among(host, (*_INSIDE, *parameters.inClusterHosts)):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_secrets(uri: str) -> str:
    before, at_sign, after = uri.rpartition("@")
    return f"{before.partition('://')[0]}://…@{after}" if at_sign else uri


RULES = (
    Rule(
        name="client-uri-is-not-plaintext",
        description="What workloads connect to is encrypted, or inside the cluster.",
        mend="use https, or the address of a service inside the cluster.",
        applies_to=describes_pods,
        parameters=Uris,
        each=client_uri,
    ),
)
