"""Who reaches whom in the cluster: every pair of parts, as the table of flows says and no more."""

from __future__ import annotations

import itertools

import pytest
from network_evaluation import Pod, allowed

from components.kubernetes.flows import (
    FLOWS,
    NAMESPACE,
    PARTS,
    PLATFORM,
    TEAM,
    TENANCY,
    Addresses,
    Outside,
    Part,
    policies,
)

ADDRESSES = Addresses(services=("10.64.0.0/16",), api_server=("10.96.0.1/32",))
OUTSIDE = {"services": "10.64.3.4", "api-server": "10.96.0.1", "credentials": "169.254.170.23"}
INTERNET = "203.0.113.7"

RENDERED = {
    **{team: list(policies(TEAM, ADDRESSES).values()) for team in ("credit", "fraud")},
    **{part: list(policies(part, ADDRESSES).values()) for part in PLATFORM},
}
"""Namespace → its policies. `kube-system` has its own, which let names be asked from anywhere."""

PORTS = sorted({port for flow in FLOWS for port in flow.ports} | {22, 10250})


def pods(name: str) -> dict[str, Pod]:
    """Namespace → a pod of the part `name` there."""
    part = PARTS[name]
    assert isinstance(part, Part)
    if TENANCY in part.namespace:
        where = {team: {TENANCY: "team", NAMESPACE: team} for team in ("credit", "fraud")}
    else:
        where = {part.namespace[NAMESPACE]: {TENANCY: "platform", **part.namespace}}
    return {
        namespace: Pod(namespace=namespace, labels=part.pods, namespace_labels=labels)
        for namespace, labels in where.items()
    }


INSIDE = [name for name, part in PARTS.items() if isinstance(part, Part) and name != "dns"]


def covers(end: str, name: str) -> bool:
    """Whether the pods of the part `name` are among those of the part `end`."""
    one, other = PARTS[end], PARTS[name]
    if isinstance(one, Outside) or isinstance(other, Outside):
        return end == name
    return one.namespace == other.namespace and one.pods.items() <= other.pods.items()


def is_listed(source: str, destination: str, port: int, *, same: bool) -> bool:
    """Whether the table allows it; `same` says that both are in one namespace."""
    return any(
        covers(flow.source, source)
        and covers(flow.destination, destination)
        and (not flow.ports or port in flow.ports)
        and (flow.source != flow.destination or same)
        for flow in FLOWS
    )


@pytest.mark.parametrize("source", INSIDE)
def test_pods_reach_what_the_table_says_and_nothing_else(source: str) -> None:
    wrong = []
    for destination, port in itertools.product(INSIDE, PORTS):
        for one, other in itertools.product(pods(source).values(), pods(destination).values()):
            same = one.namespace == other.namespace
            expected = is_listed(source, destination, port, same=same)
            if allowed(RENDERED, one, other, port) != expected:
                wrong.append((one.namespace, destination, other.namespace, port, expected))
    assert wrong == []


@pytest.mark.parametrize("source", INSIDE)
@pytest.mark.parametrize("destination", OUTSIDE)
def test_pods_reach_the_outside_that_the_table_says(source: str, destination: str) -> None:
    for pod in pods(source).values():
        reached = {port for port in PORTS if allowed(RENDERED, pod, OUTSIDE[destination], port)}
        assert reached == {
            port for port in PORTS if is_listed(source, destination, port, same=False)
        }


@pytest.mark.parametrize("source", INSIDE)
def test_no_pod_reaches_the_internet(source: str) -> None:
    for pod in pods(source).values():
        assert not [port for port in PORTS if allowed(RENDERED, pod, INTERNET, port)]


@pytest.mark.parametrize("source", [TEAM, *PLATFORM])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_names_are_asked_of_the_cluster_alone(source: str, protocol: str) -> None:
    (dns,) = pods("dns").values()
    for pod in pods(source).values():
        assert allowed(RENDERED, pod, dns, 53, protocol)
        assert not allowed(RENDERED, pod, INTERNET, 53, protocol)


def test_one_teams_pods_never_reach_anothers() -> None:
    """The point of it all, said once more without the table."""
    for name, other in itertools.product(["team", "team-ray-head", "team-model"], repeat=2):
        for port in PORTS:
            assert not allowed(RENDERED, pods(name)["credit"], pods(other)["fraud"], port)
            assert allowed(RENDERED, pods(name)["credit"], pods(other)["credit"], port)


def test_without_the_first_policy_a_namespace_would_be_open() -> None:
    """The evaluator can say yes: what it says of the rendered policies means something."""
    opened = RENDERED | {"credit": [], "fraud": []}
    assert allowed(opened, pods(TEAM)["credit"], pods(TEAM)["fraud"], 22)
    assert allowed(opened, pods(TEAM)["credit"], INTERNET, 443)


@pytest.mark.parametrize("part", [TEAM, *PLATFORM])
def test_a_namespace_begins_with_all_denied(part: str) -> None:
    assert policies(part, ADDRESSES)["deny-all"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_a_flow_to_nowhere_makes_no_policy() -> None:
    """An egress rule with an empty list of peers would allow all of them."""
    for spec in policies(TEAM, Addresses()).values():
        for rule in spec.get("egress", []):
            assert rule["to"]
        for rule in spec.get("ingress", []):
            assert rule["from"]
    assert "to-services" not in policies(TEAM, Addresses())
    assert "to-services" in policies(TEAM, ADDRESSES)


def test_each_flow_joins_parts_that_there_are_and_says_why() -> None:
    for flow in FLOWS:
        assert {flow.source, flow.destination} <= set(PARTS)
        assert flow.why
    assert len({(flow.source, flow.destination) for flow in FLOWS}) == len(FLOWS), "one line a pair"
