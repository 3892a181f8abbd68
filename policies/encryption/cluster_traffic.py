"""Rules on traffic into and inside a cluster: TLS at its edge, mutual TLS in its mesh."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.namespaces import NAMESPACE, in_mesh, name_of
from policies.common.properties import EACH, anywhere, dotted, is_one_of, places
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending
from policies.common.stack import Stack
from policies.encryption.connections import MODERN_TLS

_INGRESSES = frozenset(
    {"kubernetes:networking.k8s.io/v1:Ingress", "kubernetes:networking.k8s.io/v1beta1:Ingress"}
)
_ENTRIES = frozenset(
    f"kubernetes:gateway.networking.k8s.io/{version}:Gateway" for version in ("v1", "v1beta1")
)
_ALB = "alb.ingress.kubernetes.io/"
_NGINX_REDIRECT = "nginx.ingress.kubernetes.io/ssl-redirect"

MESH_VERSIONS = ("v1", "v1beta1", "v1alpha3")
GATEWAYS = frozenset(f"kubernetes:networking.istio.io/{one}:Gateway" for one in MESH_VERSIONS)
SERVERS = ("spec", "servers", EACH)
"""Where a gateway of the mesh says what it listens to."""
_DESTINATIONS = frozenset(
    f"kubernetes:networking.istio.io/{one}:DestinationRule" for one in MESH_VERSIONS
)
_TLS_MODES = (
    *("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL", "PASSTHROUGH", "AUTO_PASSTHROUGH"),
)
_TLS_VERSIONS = ("TLS_AUTO", "TLSV1_2", "TLSV1_3")

_POLICIES = frozenset(
    f"kubernetes:security.istio.io/{version}:PeerAuthentication" for version in ("v1", "v1beta1")
)


class Ingresses(Parameters):
    """How a cluster may be entered."""

    allowedSslPolicies: tuple[str, ...] = MODERN_TLS  # noqa: N815


def ingress_uses_tls(resource: Resource, parameters: Ingresses) -> Iterator[Finding]:
    """An Ingress answers HTTP for each host that no certificate is named for."""
    if resource.type in _ENTRIES:
        allowed = ("HTTPS", "TLS", "HBONE")  # the last is the mesh's own
        for where in places(resource.properties, ("spec", "listeners", EACH)):
            yield from is_one_of(resource, (*where, "protocol"), allowed)
        return
    kind = resource.at("spec", "ingressClassName")
    annotations = resource.at("metadata", "annotations")
    kind = at(annotations, "kubernetes.io/ingress.class") if is_missing(kind) else kind
    if UNKNOWN in (kind, annotations):
        yield pending(resource, "spec.ingressClassName")
    elif kind == "alb":
        yield from _balanced(resource, annotations, parameters)
    else:
        if str(at(annotations, _NGINX_REDIRECT)).lower() == "false":
            where_ = f"metadata.annotations.{_NGINX_REDIRECT}"
            yield Finding(resource=resource, where=where_, what="is false: HTTP is answered too")
        yield from _certified(resource)


def _certified(ingress: Resource) -> Iterator[Finding]:
    certificates = ingress.at("spec", "tls")
    if UNKNOWN in (certificates, ingress.at("spec", "rules")):
        yield pending(ingress, "spec.tls")
        return
    entries = certificates if isinstance(certificates, list) else []
    named = [one for one in entries if one is UNKNOWN or not is_missing(at(one, "secretName"))]
    rules = ingress.at("spec", "rules")
    hosts = [at(rule, "host") for rule in rules] if isinstance(rules, list) and rules else [""]
    for host in hosts:
        covered = [_covers(one, host) for one in named]
        if True in covered:
            continue
        if host is UNKNOWN or UNKNOWN in covered:
            yield pending(ingress, "spec.tls")
        else:
            what = f"names no certificate for {'every host' if is_missing(host) else host}"
            yield Finding(resource=ingress, where="spec.tls", what=what)


def _covers(entry: Any, host: Any) -> Any:
    """Whether an entry of ``tls`` is for `host`, or `UNKNOWN`; without hosts it is for all."""
    hosts = at(entry, "hosts")
    if is_missing(hosts) and entry is not UNKNOWN:
        return True
    if UNKNOWN in (entry, hosts, host) or (isinstance(hosts, list) and UNKNOWN in hosts):
        return UNKNOWN
    if is_missing(host) or not isinstance(hosts, list):
        return False
    return host in hosts or f"*.{host.partition('.')[2]}" in hosts


def _balanced(ingress: Resource, said: Any, parameters: Ingresses) -> Iterator[Finding]:
    annotations: Path = ("metadata", "annotations")
    if is_missing(at(said, f"{_ALB}certificate-arn")):
        where = dotted((*annotations, f"{_ALB}certificate-arn"))
        yield Finding(resource=ingress, where=where, what="is not set")
    policy = (*annotations, f"{_ALB}ssl-policy")
    yield from is_one_of(ingress, policy, parameters.allowedSslPolicies)
    ports = at(said, f"{_ALB}listen-ports")
    where = dotted((*annotations, f"{_ALB}listen-ports"))
    if ports is UNKNOWN:
        yield pending(ingress, where)
    elif not is_missing(ports) and _is_plain(ports) and is_missing(at(said, f"{_ALB}ssl-redirect")):
        what = "is not HTTPS alone, and ssl-redirect is not set"
        yield Finding(resource=ingress, where=where, what=what)


def _is_plain(ports: Any) -> bool:
    try:
        listed = json.loads(ports) if isinstance(ports, str) else ports
        return any(set(one) != {"HTTPS"} for one in listed)
    except (TypeError, ValueError):
        return True


def mesh_gateway_keeps_tls(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """A gateway that ends TLS without a certificate, or a rule that turns it off, shows all."""
    if resource.type in GATEWAYS:
        for where in places(resource.properties, SERVERS):
            yield from server(resource, where)
        return
    spec = resource.at("spec")
    if spec is UNKNOWN:
        yield pending(resource, "spec")
    for where in anywhere(spec, "tls", ("spec",)):
        settings = resource.at(*where)
        mode, skips = at(settings, "mode"), at(settings, "insecureSkipVerify")
        if UNKNOWN in (settings, mode, skips):
            yield pending(resource, dotted(where))
        if mode == "DISABLE":
            what = "is DISABLE"
            yield Finding(resource=resource, where=dotted((*where, "mode")), what=what)
        if skips is True:
            what = "is true: whoever answers is believed"
            yield Finding(
                resource=resource, where=dotted((*where, "insecureSkipVerify")), what=what
            )


def server(gateway: Resource, where: Path) -> Iterator[Finding]:
    """What is wrong with one server of a gateway of the mesh, which must speak TLS."""
    protocol = gateway.at(*where, "port", "protocol")
    redirects = gateway.at(*where, "tls", "httpsRedirect")
    if protocol is UNKNOWN or (protocol not in ("HTTPS", "TLS") and redirects is UNKNOWN):
        yield pending(gateway, dotted((*where, "port", "protocol")))
    elif protocol in ("HTTPS", "TLS"):
        yield from is_one_of(gateway, (*where, "tls", "mode"), _TLS_MODES)
        version = (*where, "tls", "minProtocolVersion")
        yield from is_one_of(gateway, version, _TLS_VERSIONS, or_missing=True)
    elif not (protocol in ("HTTP", "HTTP2") and redirects is True):
        what = f"is {protocol}; allowed: HTTPS, TLS, or HTTP that redirects (httpsRedirect)"
        yield Finding(resource=gateway, where=dotted((*where, "port", "protocol")), what=what)


class MeshScope(Parameters):
    """What is in the mesh."""

    rootNamespace: str = "istio-system"  # noqa: N815
    meshNamespaces: tuple[str, ...] = ("mlflow", "ray", "seldon", "monitoring")  # noqa: N815
    """Those of these that the program makes must be in the mesh."""


def mesh_mtls_is_strict(stack: Stack, parameters: MeshScope) -> Iterator[Finding]:
    """Without a policy for the whole mesh, it takes plain text from whoever sends it."""
    policies = stack.of(_POLICIES)
    namespaces = stack.of({NAMESPACE})
    for namespace in namespaces:
        label, name = in_mesh(namespace), name_of(namespace)
        if name is not UNKNOWN and name not in parameters.meshNamespaces:
            continue
        if UNKNOWN in (label, name):
            yield pending(namespace, "metadata.labels")
        elif not label:
            what = "do not bring the namespace into the mesh"
            yield Finding(resource=namespace, where="metadata.labels", what=what)
    root = [_is_root(stack, one, parameters.rootNamespace) for one in policies]
    members = [one for one in (*policies, *namespaces) if one in policies or in_mesh(one)]
    if members and True not in root:
        one = members[0]
        if UNKNOWN in root:
            yield pending(one, "the mesh", "may have its policy, which is not known well yet")
        else:
            what = f"has no PeerAuthentication 'default' with STRICT in {parameters.rootNamespace}"
            yield Finding(resource=one, where="the mesh", what=what)
    for policy in policies:
        yield from _weakened(policy)


def _is_root(stack: Stack, policy: Resource, root: str) -> Any:
    """Whether `policy` is that of the whole mesh, or `UNKNOWN`; a mode that is not is told."""
    namespace = policy.at("metadata", "namespace")
    if namespace is UNKNOWN:
        named = stack.named(policy, "metadata", frozenset({NAMESPACE}), "no name")
        namespace = name_of(named) if isinstance(named, Resource) else UNKNOWN
    mode = policy.at("spec", "mtls", "mode")
    asked = (namespace, policy.at("metadata", "name"), mode, policy.at("spec", "selector"))
    for value, wanted in zip(asked[:3], (root, "default", "STRICT"), strict=True):
        if value not in (wanted, UNKNOWN):
            return False
    if UNKNOWN in asked:
        return UNKNOWN
    return is_missing(asked[3])


def _weakened(policy: Resource) -> Iterator[Finding]:
    ports = policy.at("spec", "portLevelMtls")
    asked: list[Path] = [("spec", "mtls", "mode")]
    asked += [("spec", "portLevelMtls", port, "mode") for port in _keys(ports)]
    if ports is UNKNOWN:
        yield pending(policy, "spec.portLevelMtls")
    for where in asked:
        # UNSET and absent are what the whole mesh has
        yield from is_one_of(policy, where, ("STRICT", "UNSET"), or_missing=True)


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, Mapping) else []


RULES = (
    Rule(
        name="kubernetes-ingress-uses-tls",
        description="Every entry of a cluster is under TLS.",
        mend="add a tls section or the certificate annotations.",
        applies_to=lambda resource: resource.type in _INGRESSES | _ENTRIES,
        parameters=Ingresses,
        each=ingress_uses_tls,
    ),
    Rule(
        name="mesh-gateway-keeps-tls",
        description="Every gateway of the mesh speaks TLS, and nothing turns it off behind it.",
        mend="set a TLS mode on the server and remove DISABLE from the rule.",
        applies_to=lambda resource: resource.type in GATEWAYS | _DESTINATIONS,
        each=mesh_gateway_keeps_tls,
    ),
    Rule(
        name="mesh-mtls-is-strict",
        description="Whoever is in the mesh takes mutual TLS and nothing else.",
        mend="add the mesh-wide PeerAuthentication with mode STRICT and label the namespaces.",
        applies_to=lambda resource: (
            resource.type in _POLICIES
            or (resource.type == NAMESPACE and in_mesh(resource) is not False)
        ),
        together=mesh_mtls_is_strict,
        parameters=MeshScope,
    ),
)
