"""Who reaches whom in the cluster: every pair of parts, as the table of flows says and no more."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from network_evaluation import Pod, allowed

from components.kubernetes.feature_store import PORT as FEATURES
from components.kubernetes.flows import (
    FLOWS,
    GATEWAYS,
    HBONE,
    IN_MESH,
    MESH,
    NAMESPACE,
    OUT_OF_MESH,
    PARTS,
    PLATFORM,
    TEAM,
    TENANCY,
    Addresses,
    Outside,
    Part,
    policies,
)

ADDRESSES = Addresses(
    services=("10.64.0.0/16",),
    clients=("172.16.0.0/12",),
    api_server=("10.96.0.1/32",),
    nodes=("10.32.0.0/16",),
    organisation=("10.80.1.0/24",),
)
OUTSIDE = {
    "clients": "172.16.5.6",
    "services": "10.64.3.4",
    "api-server": "10.96.0.1",
    "credentials": "169.254.170.23",
    "probes": "169.254.7.127",
    "organisation": "10.80.1.7",
    "nodes": "10.32.1.2",
}
INTERNET = "203.0.113.7"


def rendered(*, mesh: bool) -> dict[str, list[Any]]:
    """Namespace → its policies. `kube-system` has its own: names are asked from anywhere."""
    parts = dict.fromkeys(("credit", "fraud"), TEAM) | {part: part for part in (*PLATFORM, MESH)}
    return {
        namespace: list(policies(part, ADDRESSES, mesh=mesh).values())
        for namespace, part in parts.items()
    }


RENDERED = {mesh: rendered(mesh=mesh) for mesh in (False, True)}
"""Whether there is the mesh → namespace → its policies."""

PORTS = sorted({port for flow in FLOWS for port in flow.ports} | {22, 10250, HBONE})


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


def is_of(name: str, parts: Iterable[str]) -> bool:
    """Whether the pods of `name` are in the namespaces of one of `parts`."""
    one = PARTS[name]
    return isinstance(one, Part) and one.namespace in [
        other.namespace for part in parts if isinstance(other := PARTS[part], Part)
    ]


def is_listed(source: str, destination: str, port: int, *, same: bool, mesh: bool = False) -> bool:
    """Whether the table allows it; `same` says that both are in one namespace."""
    ends = is_of(source, (*IN_MESH, *GATEWAYS)) and is_of(destination, IN_MESH)
    tunnel = mesh and port == HBONE and ends
    return any(
        covers(flow.source, source)
        and covers(flow.destination, destination)
        and (not flow.ports or port in flow.ports or tunnel)
        and (flow.source != flow.destination or same)
        for flow in FLOWS
    )


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("source", INSIDE)
def test_pods_reach_what_the_table_says_and_nothing_else(source: str, mesh: bool) -> None:
    wrong = []
    for destination, port in itertools.product(INSIDE, PORTS):
        for one, other in itertools.product(pods(source).values(), pods(destination).values()):
            same = one.namespace == other.namespace
            expected = is_listed(source, destination, port, same=same, mesh=mesh)
            if allowed(RENDERED[mesh], one, other, port) != expected:
                wrong.append((one.namespace, destination, other.namespace, port, expected))
    assert wrong == []


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("source", INSIDE)
@pytest.mark.parametrize("destination", OUTSIDE)
def test_pods_reach_the_outside_that_the_table_says(
    source: str, destination: str, mesh: bool
) -> None:
    address = OUTSIDE[destination]
    for pod in pods(source).values():
        reached = {port for port in PORTS if allowed(RENDERED[mesh], pod, address, port)}
        assert reached == {
            port for port in PORTS if is_listed(source, destination, port, same=False)
        }


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("source", [*OUTSIDE, ""])
def test_the_outside_reaches_the_pods_that_the_table_says(source: str, mesh: bool) -> None:
    address = OUTSIDE.get(source, INTERNET)
    for destination, port in itertools.product(INSIDE, PORTS):
        expected = (
            bool(source)
            and (mesh or source != "probes")
            and is_listed(source, destination, port, same=False)
        )
        for pod in pods(destination).values():
            assert allowed(RENDERED[mesh], address, pod, port) == expected, (destination, port)


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("source", INSIDE)
def test_no_pod_reaches_the_internet(source: str, mesh: bool) -> None:
    for pod in pods(source).values():
        assert not [port for port in PORTS if allowed(RENDERED[mesh], pod, INTERNET, port)]


def test_without_the_mesh_its_tunnels_and_its_probes_are_closed() -> None:
    team, tracking = pods(TEAM)["credit"], pods("tracking")["tracking"]
    assert [allowed(RENDERED[mesh], team, tracking, HBONE) for mesh in (False, True)] == [
        False,
        True,
    ]
    assert not allowed(RENDERED[True], team, pods("serving")["serving"], HBONE), (
        "no flow, no tunnel"
    )
    assert not allowed(RENDERED[True], team, pods("external-secrets")["external-secrets"], HBONE)


def test_each_part_is_in_the_mesh_or_says_why_not() -> None:
    assert {*IN_MESH, *OUT_OF_MESH} == {TEAM, *PLATFORM}
    assert not set(IN_MESH) & OUT_OF_MESH.keys()
    assert set(GATEWAYS) <= OUT_OF_MESH.keys()
    assert all(OUT_OF_MESH.values())


@pytest.mark.parametrize("source", [TEAM, *PLATFORM])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_names_are_asked_of_the_cluster_alone(source: str, protocol: str) -> None:
    (dns,) = pods("dns").values()
    for pod in pods(source).values():
        assert allowed(RENDERED[True], pod, dns, 53, protocol)
        assert not allowed(RENDERED[True], pod, INTERNET, 53, protocol)


def test_one_teams_pods_never_reach_anothers() -> None:
    """The point of it all, said once more without the table."""
    for name, other in itertools.product(["team", "team-ray-head", "team-model"], repeat=2):
        for port in PORTS:
            for policies_of in RENDERED.values():
                assert not allowed(policies_of, pods(name)["credit"], pods(other)["fraud"], port)
                assert allowed(policies_of, pods(name)["credit"], pods(other)["credit"], port)


def test_features_are_read_by_the_team_s_own_pods_alone() -> None:
    server = pods(TEAM)["fraud"]
    for policies_of in RENDERED.values():
        assert allowed(policies_of, pods(TEAM)["fraud"], server, FEATURES)
        for other in (*pods(TEAM).values(), *(pods(part)[part] for part in PLATFORM)):
            if other.namespace != "fraud":
                assert not allowed(policies_of, other, server, FEATURES), other.namespace


def test_without_the_first_policy_a_namespace_would_be_open() -> None:
    """The evaluator can say yes: what it says of the rendered policies means something."""
    opened = RENDERED[True] | {"credit": [], "fraud": []}
    assert allowed(opened, pods(TEAM)["credit"], pods(TEAM)["fraud"], 22)
    assert allowed(opened, pods(TEAM)["credit"], INTERNET, 443)


@pytest.mark.parametrize("part", [TEAM, *PLATFORM, MESH])
def test_a_namespace_begins_with_all_denied(part: str) -> None:
    assert policies(part, ADDRESSES)["deny-all"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_a_flow_to_nowhere_makes_no_policy() -> None:
    """An egress rule with an empty list of peers would allow all of them."""
    for spec in policies("istiod", Addresses(probes=()), mesh=True).values():
        for rule in spec.get("ingress", []):
            assert rule["from"]
    for spec in policies(TEAM, Addresses()).values():
        for rule in spec.get("egress", []):
            assert rule["to"]
        for rule in spec.get("ingress", []):
            assert rule["from"]
    assert "to-services" not in policies(TEAM, Addresses())
    assert "to-services" in policies(TEAM, ADDRESSES)


def test_without_addresses_nobody_comes_in_from_the_api_server() -> None:
    """An empty list of peers would let everybody in."""
    assert "from-api-server" in policies("queues", ADDRESSES)
    assert "from-api-server" not in policies("queues", Addresses())


def test_a_controller_reaches_the_api_server_behind_its_service() -> None:
    """A network that judges by where a connection is sent on to would cut controllers off."""
    kubeadm = replace(ADDRESSES, api_server=("10.96.0.1/32", "10.20.1.10/32"))
    for asked, opened in (((), {443}), ((6443,), {443, 6443}), ((443,), {443})):
        addresses = replace(kubeadm, api_server_ports=asked)
        made = {part: list(policies(part, addresses).values()) for part in ("queues", "logging")}
        made["credit"] = list(policies(TEAM, addresses).values())

        def reached(pod: Pod, of: dict[str, Any] = made) -> set[int]:
            ports = (22, 443, 6443, 9443)
            return {port for port in ports if allowed(of, pod, "10.20.1.10", port)}

        assert reached(pods("queues")["queues"]) == opened
        assert reached(pods("team-ray-head")["credit"]) == opened
        assert reached(pods("team-model")["credit"]) == set(), "it asks nothing of the API server"
    spec = policies("queues", replace(kubeadm, api_server_ports=(6443,)))["from-api-server"]
    assert spec["ingress"][0]["ports"] == [{"port": 9443, "protocol": "TCP"}], "one way alone"


def test_only_monitoring_reaches_the_nodes() -> None:
    reaching = {part for part in (TEAM, *PLATFORM) if "to-nodes" in policies(part, ADDRESSES)}
    assert reaching == {"monitoring"}


def test_each_flow_joins_parts_that_there_are_and_says_why() -> None:
    for flow in FLOWS:
        assert {flow.source, flow.destination} <= set(PARTS)
        assert flow.why
    assert len({(flow.source, flow.destination) for flow in FLOWS}) == len(FLOWS), "one line a pair"


def test_the_pods_of_dagster_reach_code_and_no_part_of_the_platform() -> None:
    """Runs are the team's pods; pages and daemons ask for definitions, and who signs in."""
    reached = {flow.destination for flow in FLOWS if flow.source == "orchestration"}
    assert reached == {
        *("dns", "credentials", "services", "api-server", "organisation", "team-code"),
    }


@pytest.mark.parametrize("part", ["tracking", "orchestration", "team-workspace"])
def test_whoever_signs_people_in_reaches_the_identity_provider(part: str) -> None:
    (pod, *_) = pods(part).values()
    address = OUTSIDE["organisation"]
    for rendered in RENDERED.values():
        assert allowed(rendered, pod, address, 443)
        assert not allowed(rendered, pod, address, 25)
