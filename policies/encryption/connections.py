"""Rules on connections to stores and load balancers: no client gets in without TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.properties import EACH, dotted, is_not, is_on, is_one_of, places
from policies.common.resources import UNKNOWN, Missing, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending
from policies.common.stack import Stack

MODERN_TLS = (
    *("ELBSecurityPolicy-TLS13-1-2-2021-06", "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"),
    *("ELBSecurityPolicy-TLS13-1-3-2021-06", "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"),
)
"""Policies of load balancers that speak TLS 1.2 at least, with forward secrecy alone."""

_GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
_CACHE = "aws:elasticache/cluster:Cluster"
_MEMORY = frozenset(
    {"aws:memorydb/cluster:Cluster", "aws:memorydb/multiRegionCluster:MultiRegionCluster"}
)
_STREAM = "aws:msk/cluster:Cluster"
_SEARCH = frozenset({"aws:opensearch/domain:Domain", "aws:elasticsearch/domain:Domain"})

_INSTANCE = "aws:rds/instance:Instance"
_CLUSTER = "aws:rds/cluster:Cluster"
_PROXY = "aws:rds/proxy:Proxy"
_GROUPS = {
    _INSTANCE: ("parameterGroupName", "aws:rds/parameterGroup:ParameterGroup"),
    _CLUSTER: (
        "dbClusterParameterGroupName",
        "aws:rds/clusterParameterGroup:ClusterParameterGroup",
    ),
}
"""Where each names its parameters, and the type that holds them."""
_SOURCES = ("replicateSourceDb", "replicationSourceIdentifier")
_FORCING = {
    "postgres": "rds.force_ssl",
    "sqlserver": "rds.force_ssl",
    "mysql": "require_secure_transport",
    "mariadb": "require_secure_transport",
}
"""Family of engines → the parameter that refuses a connection without TLS."""

_LISTENERS = frozenset(
    f"aws:{module}/listener:Listener"
    for module in ("lb", "alb", "elasticloadbalancingv2", "applicationloadbalancing")
)
_CLASSIC = "aws:elb/loadBalancer:LoadBalancer"
_PASSING = ("TCP", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC")


class SearchPolicies(Parameters):
    """Which versions of TLS a search domain may speak."""

    allowedTlsPolicies: tuple[str, ...] = (  # noqa: N815
        "Policy-Min-TLS-1-2-2019-07",
        "Policy-Min-TLS-1-2-PFS-2023-10",
    )


def data_store_requires_tls(store: Resource, parameters: SearchPolicies) -> Iterator[Finding]:
    """`preferred` and `TLS_PLAINTEXT` take plain text as well."""
    if store.type in (_GROUP, _CACHE):
        yield from is_on(store, ("transitEncryptionEnabled",))
        where: Path = ("transitEncryptionMode",)
        yield from is_one_of(store, where, ("required",), or_missing=True)
    elif store.type in _MEMORY:
        yield from is_not(store, ("tlsEnabled",), False)
    elif store.type == _STREAM:
        within: Path = ("encryptionInfo", "encryptionInTransit")
        yield from is_one_of(store, (*within, "clientBroker"), ("TLS",), or_missing=True)
        yield from is_not(store, (*within, "inCluster"), False)
        yield from is_not(store, ("clientAuthentication", "unauthenticated"), True)
    else:
        yield from is_on(store, ("domainEndpointOptions", "enforceHttps"))
        where = ("domainEndpointOptions", "tlsSecurityPolicy")
        yield from is_one_of(store, where, parameters.allowedTlsPolicies)
        yield from is_on(store, ("nodeToNodeEncryption", "enabled"))


def _is_store(resource: Resource) -> bool:
    """Whether it decides by itself: a cache of a group does as the group."""
    if resource.type == _CACHE:
        group = resource.at("replicationGroupId")
        return is_missing(group)
    return resource.type in _MEMORY | _SEARCH | {_GROUP, _STREAM}


def rds_connection_requires_tls(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """The engines' own parameter groups cannot be changed, and most let plain text in."""
    for database in stack.of(_GROUPS):
        yield from _forced(stack, database)
    for proxy in stack.of({_PROXY}):
        yield from is_on(proxy, ("requireTls",))


def _forced(stack: Stack, database: Resource) -> Iterator[Finding]:
    by, kind = _GROUPS[database.type]
    group = stack.named(database, by, frozenset({kind}))
    if isinstance(group, Missing):
        # what is no input is not known at preview either: a replica takes that of its source
        replica = any(not is_missing(database.at(name)) for name in _SOURCES)
        if group is UNKNOWN and (replica or database.references.get(by)):
            yield pending(database, by)
        else:
            what = "names no parameter group of this stack that forces TLS"
            yield Finding(resource=database, where=by, what=what)
        return
    engine = database.at("engine")
    needed = {name for family, name in _FORCING.items() if _is_of(engine, family)}
    said = {name: _said(group, name) for name in needed}
    if not needed:
        what = f"is {engine}, for which no parameter is known that forces TLS"
        yield Finding(resource=database, where="engine", what=what)
    elif any(value is True for value in said.values()):
        return
    elif engine is UNKNOWN or UNKNOWN in said.values():
        yield pending(database, by, f"names '{group.name}', which is not known well enough yet")
    else:
        what = f"names '{group.name}', which does not set {', '.join(sorted(needed))}"
        yield Finding(resource=database, where=by, what=what)


def _is_of(engine: Any, family: str) -> bool:
    if engine is UNKNOWN or is_missing(engine):
        return True
    return str(engine).removeprefix("aurora-").startswith(family)


def _said(group: Resource, name: str) -> Any:
    """Whether `group` sets the parameter `name`, or `UNKNOWN`."""
    parameters = group.at("parameters")
    if parameters is UNKNOWN:
        return UNKNOWN
    found: Any = False
    for one in parameters if isinstance(parameters, list) else ():
        if at(one, "name") in (name, UNKNOWN):
            value = at(one, "value")
            if UNKNOWN in (at(one, "name"), value):
                found = UNKNOWN
            else:
                return str(value).lower() in ("1", "on", "true")
    return found


class Listeners(Parameters):
    """How load balancers may listen."""

    allowedSslPolicies: tuple[str, ...] = MODERN_TLS  # noqa: N815
    exemptListeners: tuple[str, ...] = ()  # noqa: N815
    """Names of listeners that pass connections on as they are, to what ends TLS itself."""


def listener_uses_modern_tls(listener: Resource, parameters: Listeners) -> Iterator[Finding]:
    """Plain HTTP may only say where HTTPS is."""
    if listener.type == _CLASSIC:
        yield from _classic(listener)
        return
    protocol = listener.at("protocol")
    if protocol is UNKNOWN:
        yield pending(listener, "protocol")
    elif protocol in ("HTTPS", "TLS"):
        yield from is_one_of(listener, ("sslPolicy",), parameters.allowedSslPolicies)
        if is_missing(listener.at("certificateArn")):
            yield Finding(resource=listener, where="certificateArn", what="is not set")
    elif protocol in _PASSING:
        if listener.name not in parameters.exemptListeners:
            what = f"is {protocol}, and the listener is not in exemptListeners"
            yield Finding(resource=listener, where="protocol", what=what)
    else:
        yield from _redirects(listener)


def _redirects(listener: Resource) -> Iterator[Finding]:
    actions = listener.at("defaultActions")
    if actions is UNKNOWN:
        yield pending(listener, "defaultActions")
        return
    for action in actions if isinstance(actions, list) else ():
        kind, protocol = at(action, "type"), at(action, "redirect", "protocol")
        if UNKNOWN in (action, kind) or (kind == "redirect" and protocol is UNKNOWN):
            yield pending(listener, "defaultActions")
        elif kind != "redirect" or protocol != "HTTPS":
            what = "is plain HTTP, and does more than redirect to HTTPS"
            yield Finding(resource=listener, where="protocol", what=what)


def _classic(balancer: Resource) -> Iterator[Finding]:
    for where in places(balancer.properties, ("listeners", EACH)):
        protocol = balancer.at(*where, "lbProtocol")
        if protocol is UNKNOWN:
            yield pending(balancer, dotted((*where, "lbProtocol")))
        elif str(protocol).lower() not in ("https", "ssl"):
            what = f"is {protocol}; allowed: https, ssl"
            yield Finding(resource=balancer, where=dotted((*where, "lbProtocol")), what=what)


def _listens(resource: Resource) -> bool:
    """A listener of a gateway load balancer has neither protocol nor port."""
    return resource.type == _CLASSIC or (
        resource.type in _LISTENERS
        and not (is_missing(resource.at("protocol")) and is_missing(resource.at("port")))
    )


RULES = (
    Rule(
        name="data-store-requires-tls",
        description="Every cache, stream and search domain refuses connections without TLS.",
        mend="require TLS for clients and between nodes.",
        applies_to=_is_store,
        parameters=SearchPolicies,
        each=data_store_requires_tls,
    ),
    Rule(
        name="rds-connection-requires-tls",
        description="Every database refuses connections without TLS.",
        mend="create a parameter group that forces TLS and refer to it.",
        applies_to=lambda resource: resource.type in _GROUPS or resource.type == _PROXY,
        together=rds_connection_requires_tls,
    ),
    Rule(
        name="listener-uses-modern-tls",
        description="Every load balancer speaks TLS of today, or redirects to it.",
        mend="set protocol HTTPS, a certificate and an allowed sslPolicy.",
        applies_to=_listens,
        parameters=Listeners,
        each=listener_uses_modern_tls,
    ),
)
