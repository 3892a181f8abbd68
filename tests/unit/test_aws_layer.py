"""What the AWS place hands the Kubernetes layer, on mocks: `prod` as its stack file asks for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from network_evaluation import Pod, allowed

from components.aws.access import FIGURES
from components.aws.place import AwsPlace, AwsPlaceArgs
from components.images import Lock, made_up
from components.kubernetes.flows import GATEWAY_PORT, TENANCY
from components.kubernetes.monitoring_values import BUCKET_KEY, BUCKET_SECRET
from stacks.settings import Settings, read_file

if TYPE_CHECKING:
    from conftest import Recording

INTERNET, S3_OUTSIDE = "203.0.113.7", "3.5.220.9"
GRAFANA = {
    "host": "monitoring.prod.falaj.internal",
    "authorize_url": "https://id.bank.ae/authorize",
    "token_url": "https://id.bank.ae/token",
    "userinfo_url": "https://id.bank.ae/userinfo",
    "client_id": "grafana",
    "viewers": ["falaj-viewers"],
}


def asked() -> Settings:
    """Those of prod, with all that monitoring offers, and nodes of Bottlerocket."""
    content = read_file("prod").model_dump(mode="json", exclude_unset=True)
    content["monitoring"] |= {"long_term": True, "grafana": GRAFANA}
    content["aws"]["elastic_nodes"]["image"] = "bottlerocket@1.49.0"
    return Settings.model_validate(content)


BUILT: list[Recording] = []
"""Once for all tests here: none changes it, and it takes seconds."""


@pytest.fixture
def place(record: Callable[[Callable[[], object]], Recording]) -> Recording:
    settings = asked()
    assert settings.aws is not None
    args = AwsPlaceArgs(
        environment="prod",
        owner=settings.owner,
        residency_mode=settings.residency.mode,
        aws=settings.aws,
        layer=settings,
        lock=made_up(Lock()),
    )
    if not BUILT:
        BUILT.append(record(lambda: AwsPlace("prod", args)))
    return BUILT[0]


def named(place: Recording, kind: str, name: str) -> dict[str, Any]:
    found = [
        one.inputs for one in place.of(kind) if one.inputs.get("metadata", {}).get("name") == name
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def test_pods_reach_the_store_of_objects_and_nothing_outside(place: Recording) -> None:
    """The interface of S3 stands in the isolated subnets, whose addresses the policies name."""
    (s3,) = (
        one.inputs
        for one in place.of("VpcEndpoint")
        if one.inputs["serviceName"].endswith(".s3")
        and one.inputs["vpcEndpointType"] == "Interface"
    )
    blocks = {f"id:{one.name}": one.inputs["cidrBlock"] for one in place.of("Subnet")}
    policies = [
        one.inputs["spec"]
        for one in place.of("NetworkPolicy")
        if one.inputs["metadata"]["namespace"] == "credit"
    ]
    labels = {TENANCY: "team", "kubernetes.io/metadata.name": "credit"}
    pod = Pod(namespace="credit", labels={}, namespace_labels=labels)

    assert len(s3["subnetIds"]) >= 2
    for subnet in s3["subnetIds"]:
        address = str(IPv4Network(blocks[subnet])[7])
        assert allowed({"credit": policies}, pod, address, 443)
        assert not allowed({"credit": policies}, pod, address, 22)
    for outside in (INTERNET, S3_OUTSIDE):
        assert not allowed({"credit": policies}, pod, outside, 443)


def test_clients_reach_the_gateway_under_their_own_addresses(place: Recording) -> None:
    """The load balancer keeps them; what asks whether the gateway is well comes from its own."""
    assert place.the("TargetGroup").inputs["preserveClientIp"] == "true"
    settings = asked().aws
    assert settings is not None
    assert settings.network is not None
    policies = [
        one.inputs["spec"]
        for one in place.of("NetworkPolicy")
        if one.inputs["metadata"]["namespace"] == "serving"
    ]
    gateway = Pod(namespace="serving", labels={}, namespace_labels={})

    callers = [network[9] for network in settings.ingress.client_cidrs]
    for address in (*callers, settings.network.cidr[9]):
        assert allowed({"serving": policies}, str(address), gateway, GATEWAY_PORT)
        assert not allowed({"serving": policies}, str(address), gateway, 15021)
    assert not allowed({"serving": policies}, INTERNET, gateway, GATEWAY_PORT)


def test_the_gateway_gets_its_certificate_from_the_authority_in_the_store(
    place: Recording,
) -> None:
    certificate = named(place, "Certificate", "gateway-tls")["spec"]
    authority = named(place, "ExternalSecret", certificate["issuerRef"]["name"])
    store = named(place, "ClusterSecretStore", authority["spec"]["secretStoreRef"]["name"])["spec"]
    folder = store["provider"]["aws"]["prefix"]
    kept = {one.inputs["name"] for one in place.of("Secret") if "name" in one.inputs}

    assert certificate["issuerRef"]["kind"] == "ClusterIssuer"
    assert authority["metadata"]["namespace"] == "certificates"
    assert store["conditions"] == [{"namespaces": ["certificates"]}]
    assert {f"{folder}{one['remoteRef']['key']}" for one in authority["spec"]["data"]} <= kept
    policy = json.dumps(named(place, "ValidatingAdmissionPolicy", "falaj-authority"))
    assert all(host in policy for host in certificate["dnsNames"])


def test_secrets_that_somebody_fills_lie_where_a_store_reads(place: Recording) -> None:
    folders = [
        one.inputs["spec"]["provider"]["aws"]["prefix"] for one in place.of("ClusterSecretStore")
    ]
    secrets = [one.inputs["name"] for one in place.of("Secret") if "name" in one.inputs]

    assert "falaj-prod/backup/second-site" in secrets
    assert not [one for one in secrets if not one.startswith(tuple(folders))]


def test_figures_are_kept_where_the_identity_of_monitoring_may(place: Recording) -> None:
    secret = named(place, "Secret", BUCKET_SECRET)
    told = yaml.safe_load(base64.b64decode(_plain(secret["data"])[BUCKET_KEY]))
    policy = next(
        one.inputs["policy"]
        for one in place.of("RolePolicy")
        if one.inputs["role"] == "falaj-prod-monitoring"
    )

    assert told["prefix"] == FIGURES
    assert told["config"]["sse_config"]["kms_key_id"] in policy
    assert f"{FIGURES}/*" in policy


def test_nodes_of_bottlerocket_get_no_second_plugin(place: Recording) -> None:
    plugins = [one.name for one in place.of("DaemonSet") if "gpu" in one.name]

    assert plugins == []


def test_people_come_to_grafana_under_the_name_that_the_way_in_has(place: Recording) -> None:
    route = named(place, "VirtualService", "grafana")

    assert route["spec"]["hosts"] == [GRAFANA["host"]]
    assert GRAFANA["host"] in {one.inputs["name"] for one in place.of("Record")}


def test_volumes_are_copied_by_the_clouds_own_backup_alone(place: Recording) -> None:
    (daily,) = (one.inputs["spec"] for one in place.of("Schedule"))
    classes = [one.inputs["parameters"] for one in place.of("StorageClass")]

    assert daily["template"]["snapshotVolumes"] is False
    assert place.of("VolumeSnapshotLocation") == []
    assert classes
    assert all("backup=standard" in one.values() for one in classes)


def test_the_verifier_may_read_the_key_that_the_settings_name(place: Recording) -> None:
    policy = next(
        one.inputs["policy"]
        for one in place.of("RolePolicy")
        if one.inputs["role"] == "falaj-prod-kyverno"
    )
    signers = asked().signatures.signers.values()

    assert all(str(one.kms_key) in policy for one in signers)


def _plain(value: Any) -> Any:
    """What a secret of Pulumi's holds."""
    return value["value"] if isinstance(value, dict) and "value" in value else value
