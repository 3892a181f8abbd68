"""What network policies let through, judged as Kubernetes defines it.

A pod that no policy of a direction selects is open in it; the first that does closes the direction,
but for what any such policy allows. A connection must be allowed at both ends.
Source: Kubernetes, concepts, "Network Policies".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod, by its labels and those of its namespace."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


def allowed(
    policies: Mapping[str, Sequence[Policy]],
    source: Pod | str,
    destination: Pod | str,
    port: int,
    protocol: str = "TCP",
) -> bool:
    """Whether `source` reaches `destination`; each is a pod or an address.

    `policies` holds the specs of each namespace.
    """
    leaves = isinstance(source, str) or _passes(
        policies.get(source.namespace, ()), source, destination, port, protocol
    )
    if isinstance(destination, str) or not leaves:
        return leaves
    entered = policies.get(destination.namespace, ())
    return _passes(entered, destination, source, port, protocol, incoming=True)


def _passes(
    policies: Sequence[Policy],
    pod: Pod,
    peer: Pod | str,
    port: int,
    protocol: str,
    *,
    incoming: bool = False,
) -> bool:
    direction, section, end = (
        ("Ingress", "ingress", "from") if incoming else ("Egress", "egress", "to")
    )
    in_force = [
        policy
        for policy in policies
        if direction in policy["policyTypes"] and _selects(policy["podSelector"], pod.labels)
    ]
    return not in_force or any(
        _matches_port(rule, port, protocol) and _matches_peer(pod.namespace, rule, end, peer)
        for policy in in_force
        for rule in policy.get(section, ())
    )


def _matches_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        one["port"] == port and one.get("protocol", "TCP") == protocol for one in ports
    )


def _matches_peer(namespace: str, rule: Mapping[str, Any], end: str, peer: Pod | str) -> bool:
    if end not in rule:
        return True
    return any(_is_peer(namespace, one, peer) for one in rule[end])


def _is_peer(namespace: str, one: Mapping[str, Any], peer: Pod | str) -> bool:
    if isinstance(peer, str):
        return "ipBlock" in one and ipaddress.ip_address(peer) in ipaddress.ip_network(
            one["ipBlock"]["cidr"]
        )
    if "ipBlock" in one:
        return False
    if "namespaceSelector" in one:
        if not _selects(one["namespaceSelector"], peer.namespace_labels):
            return False
    elif peer.namespace != namespace:
        return False
    return _selects(one.get("podSelector", {}), peer.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def admitted(rules: Sequence[Policy], pod: Pod, namespace: str, account: str, port: int) -> bool:
    """Whether the mesh lets a pod of `namespace` that runs as `account` connect to `port` of `pod`.

    `rules` are the specs of the AuthorizationPolicies in the namespace of `pod`, as far as a
    ztunnel judges them: what a DENY matches is refused, and where there is an ALLOW one must match.
    Source: istio.io, "Authorization Policy" and "Use Layer 4 security policy".
    """
    about = [one for one in rules if _selects(one.get("selector", {"matchLabels": {}}), pod.labels)]
    allows = [one for one in about if one.get("action", "ALLOW") == "ALLOW"]
    denies = [one for one in about if one.get("action") == "DENY"]
    if any(_is_ruled(one, namespace, account, port) for one in denies):
        return False
    return not allows or any(_is_ruled(one, namespace, account, port) for one in allows)


def _is_ruled(policy: Policy, namespace: str, account: str, port: int) -> bool:
    principal = f"cluster.local/ns/{namespace}/sa/{account}"
    return any(
        all(_is_source(one["source"], namespace, principal) for one in rule.get("from", ()))
        and all(_is_operation(one["operation"], port) for one in rule.get("to", ()))
        for rule in policy.get("rules", ())
    )


def _is_source(source: Mapping[str, Any], namespace: str, principal: str) -> bool:
    excepted = source.get("notPrincipals", ())
    return (
        namespace in source.get("namespaces", (namespace,))
        and principal in source.get("principals", (principal,))
        and not any(principal.endswith(one.removeprefix("*")) for one in excepted)
    )


def _is_operation(operation: Mapping[str, Any], port: int) -> bool:
    # a ztunnel leaves out what it cannot judge, and with it the rule
    return operation.keys() <= {"ports"} and str(port) in operation.get("ports", (str(port),))
