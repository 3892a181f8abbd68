"""The gateway of the mesh: who comes in, by which certificate, and who it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from components.kubernetes.flows import GATEWAY_PORT, Addresses
from components.kubernetes.gateway import CERTIFICATE, Gateway, GatewayArgs
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs

Record = Callable[[Callable[[], object]], Any]
ARGS: dict[str, Any] = {
    "hosts": ["serving.example.ae"],
    "image": "registry.ae.example/istio-proxyv2:1",
    "issuer": "bank",
    "addresses": Addresses(clients=["10.64.0.0/16"]),
}


def made(record: Record, **changes: Any) -> Any:
    given = {**ARGS, **changes}
    space = NamespaceArgs(
        namespace="serving",
        part="serving",
        quota=TeamQuota(),
        addresses=given.pop("addresses"),
    )
    return record(
        lambda: Gateway("gateway", GatewayArgs(**given, inside=Namespace("inside", space)))
    )


@pytest.fixture
def gateway(record: Record) -> Any:
    return made(record)


def test_what_the_service_sends_on_is_what_the_listener_takes(gateway: Any) -> None:
    (port,) = gateway.the("Service").inputs["spec"]["ports"]
    (container,) = gateway.the("Deployment").inputs["spec"]["template"]["spec"]["containers"]
    (server,) = gateway.the("Gateway", "edge-gateway").inputs["spec"]["servers"]

    assert port["targetPort"] == GATEWAY_PORT == server["port"]["number"]
    assert GATEWAY_PORT in [one["containerPort"] for one in container["ports"]]


def test_clients_alone_come_in_from_outside(gateway: Any) -> None:
    policy = gateway.the("NetworkPolicy", "from-clients").inputs["spec"]
    (rule,) = policy["ingress"]

    assert rule["from"] == [{"ipBlock": {"cidr": "10.64.0.0/16"}}]
    assert [port["port"] for port in rule["ports"]] == [GATEWAY_PORT]


def test_without_clients_nobody_does(record: Record) -> None:
    policies = made(record, addresses=Addresses()).of("NetworkPolicy")

    assert not [one.name for one in policies if "from-clients" in one.name]


def test_the_certificate_of_the_listener_is_the_one_that_is_issued(gateway: Any) -> None:
    (server,) = gateway.the("Gateway", "edge-gateway").inputs["spec"]["servers"]
    certificate = gateway.the("Certificate").inputs["spec"]

    assert server["tls"]["credentialName"] == certificate["secretName"] == CERTIFICATE
    assert certificate["dnsNames"] == ARGS["hosts"]


def test_where_somebody_keeps_the_certificate_none_is_issued(record: Record) -> None:
    assert made(record, issuer=None).of("Certificate") == []


def test_the_pods_become_targets_where_there_is_a_load_balancer(record: Record) -> None:
    assert made(record).of("TargetGroupBinding") == []
    (binding,) = made(record, target_group_arn="arn:group").of("TargetGroupBinding")
    assert binding.inputs["spec"]["targetGroupARN"] == "arn:group"
    assert binding.inputs["spec"]["serviceRef"] == {"name": "gateway", "port": 443}


def test_it_reads_certificates_of_its_own_namespace_alone(gateway: Any) -> None:
    role = gateway.the("Role")

    assert role.type.startswith("kubernetes:rbac.authorization.k8s.io/v1:Role")
    assert role.inputs["metadata"]["namespace"] == "serving"
    assert role.inputs["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}
    ]
