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
    source: Pod,
    destination: Pod | str,
    port: int,
    protocol: str = "TCP",
) -> bool:
    """Whether `source` reaches `destination`, a pod or an address.

    `policies` holds the specs of each namespace.
    """
    leaves = _passes(policies.get(source.namespace, ()), source, destination, port, protocol)
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
