"""The mesh: strict for all, and its rules let in whom the table of flows names, and nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from network_evaluation import Pod, admitted

from components.kubernetes.flows import (
    AMBIENT,
    FLOWS,
    GATEWAYS,
    IN_MESH,
    MESH,
    OUT_OF_MESH,
    PARTS,
    TEAM,
    TENANCY,
    Part,
    is_tunnelled,
)
from components.kubernetes.mesh import (
    REASON,
    Mesh,
    MeshArgs,
    MeshRules,
    MeshRulesArgs,
    rules,
)
from components.kubernetes.model_pods import ENGINES
from components.kubernetes.model_routes import allowed
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs

Record = Callable[[Callable[[], object]], Any]

TEAMS = ("credit", "fraud")
QUOTA = TeamQuota()
RULES = {
    **{team: list(rules(TEAM, name=team, teams=TEAMS).values()) for team in TEAMS},
    **{part: list(rules(part, teams=TEAMS).values()) for part in IN_MESH if part != TEAM},
}
"""Namespace → its rules."""
PORTS = sorted({port for flow in FLOWS for port in flow.ports} | {22, 10250})


def of(parts: Iterable[str]) -> list[str]:
    """The parts whose pods are in the namespaces of `parts`."""
    spaces = [part.namespace for one in parts if isinstance(part := PARTS[one], Part)]
    return [
        name for name, part in PARTS.items() if isinstance(part, Part) and part.namespace in spaces
    ]


def pods(name: str) -> list[Pod]:
    """A pod of the part `name` in each of its namespaces."""
    part = PARTS[name]
    assert isinstance(part, Part)
    where = TEAMS if TENANCY in part.namespace else tuple(part.namespace.values())
    return [Pod(namespace=namespace, labels=part.pods) for namespace in where]


def is_listed(source: str, destination: str, port: int, *, same: bool) -> bool:
    """Whether the table allows it, as far as the mesh tells pods apart: by their namespaces."""
    one, other = PARTS[source], PARTS[destination]
    assert isinstance(one, Part)
    assert isinstance(other, Part)
    for flow in FLOWS:
        start, end = PARTS[flow.source], PARTS[flow.destination]
        if not (is_tunnelled(flow) and isinstance(start, Part) and isinstance(end, Part)):
            continue
        if start.namespace != one.namespace or end.namespace != other.namespace:
            continue
        if end.pods.items() <= other.pods.items() and (not flow.ports or port in flow.ports):
            if flow.source != flow.destination:
                return True
            if same and destination != "team-model":
                return True
    return False


# --- who may speak to whom ------------------------------------------------------------------------


@pytest.mark.parametrize("source", of([*IN_MESH, *GATEWAYS]))
def test_pods_are_let_in_where_the_table_says_and_nowhere_else(source: str) -> None:
    wrong = []
    for destination, port in itertools.product(of(IN_MESH), PORTS):
        for one, other in itertools.product(pods(source), pods(destination)):
            expected = is_listed(source, destination, port, same=one.namespace == other.namespace)
            if admitted(RULES[other.namespace], other, one.namespace, "any", port) != expected:
                wrong.append((one.namespace, destination, other.namespace, port, expected))
    assert wrong == []


def test_without_the_first_rule_everybody_would_be_let_in() -> None:
    """The evaluator can say yes: what it says of the rules means something."""
    stranger = ("elsewhere", "any", 22)
    assert admitted([], Pod(namespace="tracking"), *stranger)
    assert not admitted([{}], Pod(namespace="tracking"), *stranger)


@pytest.mark.parametrize("part", IN_MESH)
def test_a_namespace_begins_with_nobody(part: str) -> None:
    assert rules(part, name="credit" if part == TEAM else "", teams=TEAMS)["deny-all"] == {}


MODEL = Pod(namespace="credit", labels={"falaj/part": "model", "falaj/workload": "scoring"})


@pytest.mark.parametrize(
    ("namespace", "account", "port", "may"),
    [
        ("serving", "gateway", 9000, True),
        ("serving", "gateway", 22, False),
        ("monitoring", "prometheus", 6000, True),
        ("monitoring", "prometheus", 9000, False),
        ("credit", "scoring-release", 9000, True),
        ("credit", "workload", 9000, False),
        ("fraud", "scoring-release", 9000, False),
        ("orchestration", "dagster", 9000, False),
    ],
)
def test_a_model_is_asked_by_gateway_monitoring_and_releases_alone(
    namespace: str, account: str, port: int, may: bool
) -> None:
    own = allowed(
        ENGINES["mlserver"],
        "scoring",
        gateway="cluster.local/ns/serving/sa/gateway",
        release="cluster.local/ns/credit/sa/scoring-release",
        metrics_namespace="monitoring",
    )
    for held in (RULES["credit"], [*RULES["credit"], own]):
        assert admitted(held, MODEL, namespace, account, port) == may


def test_ray_is_open_to_its_own_team_on_every_port() -> None:
    worker = Pod(namespace="credit", labels={"falaj/part": "ray"})
    assert all(admitted(RULES["credit"], worker, "credit", "workload", port) for port in PORTS)
    assert not any(admitted(RULES["credit"], worker, "fraud", "workload", port) for port in PORTS)


def test_a_cluster_without_teams_lets_none_in() -> None:
    assert "from-team" not in rules("tracking")
    assert "from-team" in rules("tracking", teams=TEAMS)


@pytest.mark.parametrize("part", [*OUT_OF_MESH, MESH])
def test_a_part_outside_of_the_mesh_has_no_rules(part: str) -> None:
    with pytest.raises(ValueError, match="is not in the mesh"):
        MeshRulesArgs(namespace=part, part=part)


def test_a_teams_rules_name_their_team() -> None:
    for given in ({"part": TEAM}, {"part": "tracking", "name": "tracking"}):
        with pytest.raises(ValueError, match="given for a team, and for that alone"):
            MeshRulesArgs(namespace="x", **given)


# --- what is made ---------------------------------------------------------------------------------


@pytest.fixture
def made(record: Record) -> Any:
    """The mesh, in its namespace."""

    def build() -> None:
        args = NamespaceArgs(
            namespace=MESH, part=MESH, quota=QUOTA, mesh=True, level="privileged", reason=REASON
        )
        Mesh("mesh", MeshArgs(space=Namespace("space", args)))

    return record(build)


def spaces(made: Any) -> list[Any]:
    """What is said of each namespace."""
    found = (one.inputs.get("metadata") for one in made.of("Namespace"))
    return [metadata for metadata in found if metadata is not None]


def test_mutual_tls_is_strict_for_all_of_the_mesh(made: Any) -> None:
    (one,) = made.of("PeerAuthentication")
    metadata = one.inputs["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("default", MESH)
    assert one.inputs["spec"] == {"mtls": {"mode": "STRICT"}}


def test_only_the_namespace_of_the_mesh_is_privileged_and_it_says_why(made: Any) -> None:
    (metadata,) = spaces(made)
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert "NET_ADMIN" in metadata["annotations"]["falaj/pod-security-exception"]
    assert not AMBIENT.keys() & metadata["labels"].keys(), "who makes the mesh is not in it"


def test_nobody_outside_hears_of_requests(made: Any) -> None:
    (one,) = made.of("Telemetry")
    assert one.inputs["spec"]["tracing"] == [{"disableSpanReporting": True}]
    assert one.inputs["spec"]["metrics"] == [{"providers": [{"name": "prometheus"}]}]


def test_prometheus_may_reach_each_port_that_it_is_told_of(made: Any) -> None:
    (flow,) = [one for one in FLOWS if one.destination == MESH and one.source == "monitoring"]
    told = [
        endpoint["portNumber"]
        for one in made.of("PodMonitor")
        for endpoint in one.inputs["spec"]["podMetricsEndpoints"]
    ]
    assert set(told) == set(flow.ports)


@pytest.mark.parametrize("mesh", [True, False])
def test_namespaces_are_in_the_mesh_where_there_is_one(record: Record, mesh: bool) -> None:
    def build() -> None:
        for part in (*IN_MESH, *OUT_OF_MESH):
            if part == TEAM:
                Team("credit", TeamArgs(team="credit", quota=QUOTA, mesh=mesh))
            else:
                Namespace(part, NamespaceArgs(namespace=part, part=part, quota=QUOTA, mesh=mesh))

    names = {
        metadata["name"]
        for metadata in spaces(record(build))
        if AMBIENT.items() <= metadata["labels"].items()
    }
    expected = {"credit" if part == TEAM else part for part in IN_MESH}
    assert names == (expected if mesh else set())


def test_the_rules_of_a_namespace_are_objects_in_it(record: Record) -> None:
    args = MeshRulesArgs(namespace="credit", part=TEAM, name="credit", teams=TEAMS)
    found = record(lambda: MeshRules("rules", args)).of("AuthorizationPolicy")
    assert {one.inputs["metadata"]["namespace"] for one in found} == {"credit"}
    assert {one.inputs["metadata"]["name"] for one in found} == {
        f"falaj-{noun}" for noun in rules(TEAM, name="credit", teams=TEAMS)
    }
