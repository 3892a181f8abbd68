"""The AWS place and its parts on mocks: what they register, and how it hangs together."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from policy_decision import statements
from unwatched import UNWATCHED

from components.aws.place import AwsPlace, AwsPlaceArgs
from components.aws.settings.aws import AwsSettings
from components.aws.settings.cluster import ExistingCluster
from components.aws.settings.elastic_nodes import GpuBudget
from components.aws.settings.node_pool import GPU_TAINT, NodePoolSettings
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.settings import TeamQuota
from components.tags import tags

if TYPE_CHECKING:
    from conftest import Recording

ARGS: dict[str, Any] = {
    "environment": "dev",
    "owner": "ml-platform",
    "residency_mode": "in-country",
    "aws": AwsSettings(
        account_id="123456789012",
        existing_cluster=ExistingCluster(
            name="falaj-dev",
            subnet_ids={"me-central-1a": "subnet-01", "me-central-1c": "subnet-02"},
        ),
        node_pools={
            "general": NodePoolSettings(
                kind="cpu", instance_types=("m6i.large",), min_nodes=1, max_nodes=4, disk_gib=100
            ),
            "accelerated": NodePoolSettings(
                kind="gpu", instance_types=("g5.xlarge",), min_nodes=0, max_nodes=2, disk_gib=200
            ),
        },
        gpu_budget=GpuBudget(total=2, per_team=2),
        **UNWATCHED,
    ),
    "layer": LayerSettings(
        teams={"credit": TeamQuota(cpu_quota=16, memory_quota_gib=64, gpu_quota=2)}
    ),
    "kubeconfig": "apiVersion: v1",
}
Record = Callable[[Callable[[], object]], "Recording"]


@pytest.fixture
def place(record: Record) -> Recording:
    return record(lambda: AwsPlace("dev", AwsPlaceArgs(**ARGS)))


def test_the_provider_is_pinned_to_region_and_account(place: Recording) -> None:
    provider = place.the("aws")

    assert provider.inputs["region"] == "me-central-1"
    assert json.loads(provider.inputs["allowedAccountIds"]) == ["123456789012"]
    assert not provider.inputs.keys() & {"accessKey", "secretKey", "token", "profile"}


def test_every_resource_is_made_by_a_provider_of_the_place(place: Recording) -> None:
    made = [one for one in place.resources if one.type.startswith(("aws:", "kubernetes:"))]

    assert len(made) > 20
    for one in made:
        package = one.type.partition(":")[0]
        assert f"pulumi:providers:{package}::dev-" in one.provider, one.name


def test_every_resource_is_tagged_by_the_provider(place: Recording) -> None:
    expected = tags(environment="dev", owner="ml-platform", residency_mode="in-country")

    assert json.loads(place.the("aws").inputs["defaultTags"]) == {"tags": expected}
    assert set(expected) == {
        *("environment", "owner", "residency", "data-classification", "managed-by"),
    }


@pytest.mark.parametrize("pool", ["general", "accelerated"])
def test_nodes_use_the_template_and_role_of_their_pool(place: Recording, pool: str) -> None:
    group = place.the("NodeGroup", pool)

    assert group.inputs["launchTemplate"] == {"id": f"id:dev-pool-{pool}-template", "version": "7"}
    assert group.inputs["nodeRoleArn"] == f"arn:dev-pool-{pool}-role"
    assert (group.inputs["clusterName"], group.inputs["subnetIds"]) == (
        "falaj-dev",
        ["subnet-01", "subnet-02"],
    )
    attached = {
        one.inputs["policyArn"].rpartition("/")[2]
        for one in place.of("RolePolicyAttachment")
        if one.inputs["role"] == f"falaj-dev-nodes-{pool}"
    }
    assert attached == {
        *("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"),
        "AmazonEKS_CNI_Policy",
    }


def test_disks_of_nodes_are_encrypted_under_the_key_of_the_cluster_domain(
    place: Recording,
) -> None:
    for template in place.of("LaunchTemplate"):
        (disk,) = template.inputs["blockDeviceMappings"]

        assert disk["ebs"]["encrypted"] == "true"
        assert disk["ebs"]["kmsKeyId"] == "arn:dev-cluster-key"


def test_pods_cannot_take_the_identity_of_their_node(place: Recording) -> None:
    for template in place.of("LaunchTemplate"):
        assert template.inputs["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        }


def test_the_gpu_pool_scales_to_zero_and_keeps_other_pods_off(place: Recording) -> None:
    gpu, cpu = place.the("NodeGroup", "accelerated"), place.the("NodeGroup", "general")

    assert gpu.inputs["scalingConfig"] == {"minSize": 0, "maxSize": 2, "desiredSize": 0}
    assert [taint["key"] for taint in gpu.inputs["taints"]] == [GPU_TAINT]
    assert gpu.inputs["amiType"] == "AL2023_x86_64_NVIDIA"
    assert "taints" not in cpu.inputs
    assert cpu.inputs["amiType"] == "AL2023_x86_64_STANDARD"


def test_the_quota_of_a_team_holds_in_its_own_restricted_namespace(place: Recording) -> None:
    namespace, quota = place.the("Namespace"), place.the("ResourceQuota")
    labels = namespace.inputs["metadata"]["labels"]

    assert namespace.inputs["metadata"]["name"] == "credit"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert quota.inputs["metadata"]["namespace"] == "credit"
    assert quota.inputs["spec"]["hard"] == {
        "requests.cpu": "16",
        "requests.memory": "64Gi",
        "limits.memory": "64Gi",
        "requests.nvidia.com/gpu": "2",
        "requests.storage": "200Gi",
        "pods": "200",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }


def test_without_a_kubeconfig_nothing_is_made_on_the_cluster(record: Record) -> None:
    place = record(lambda: AwsPlace("dev", AwsPlaceArgs(**{**ARGS, "kubeconfig": None})))

    assert not [one for one in place.resources if "kubernetes" in one.type]


def test_the_place_fills_the_contract_from_what_it_made(record: Record) -> None:
    seen: dict[str, Any] = {}

    def build() -> pulumi.Output[None]:
        fields = AwsPlace("dev", AwsPlaceArgs(**ARGS)).fields
        return pulumi.Output.from_input(fields).apply(seen.update)

    record(build)

    assert seen["artifact_uri"] == "s3://falaj-dev-artifacts-123456789012"
    assert seen["data_uri"] == "s3://falaj-dev-data-123456789012"
    assert seen["encryption_keys"] == {
        domain: f"arn:dev-{domain}-key"
        for domain in ("artifacts", "database", "secrets", "cluster", "logs", "backups")
    }
    assert seen["teams"]["credit"]["namespace"] == "credit"
    assert seen["teams"]["credit"]["role"] == "arn:dev-identity-team-credit-role"
    assert seen["kubeconfig"] == "apiVersion: v1"
    residency = statements(seen["organisation_policy"])[0]
    assert residency["Condition"] == {"StringNotEquals": {"aws:RequestedRegion": ["me-central-1"]}}


def test_components_are_recorded_after_somebody_ran_a_loop_of_their_own(record: Record) -> None:
    asyncio.run(asyncio.sleep(0))

    # in a context without the stack that an earlier recording made
    recording = contextvars.Context().run(record, lambda: pulumi.ComponentResource("a:b:C", "one"))

    assert [one.name for one in recording.resources] == ["one"]


def test_pods_of_a_cluster_that_is_there_reach_its_network_where_that_is_named(
    record: Record,
) -> None:
    def reached(**more: Any) -> set[str]:
        there = ARGS["aws"].existing_cluster.model_copy(update=more)
        aws = ARGS["aws"].model_copy(update={"existing_cluster": there})
        place = record(lambda: AwsPlace("dev", AwsPlaceArgs(**{**ARGS, "aws": aws})))
        return {
            peer["ipBlock"]["cidr"]
            for policy in place.of("NetworkPolicy")
            if "credit" in policy.name and "to-services" in policy.name
            for rule in policy.inputs["spec"]["egress"]
            for peer in rule["to"]
        }

    assert reached(cidrs=(IPv4Network("10.20.0.0/16"),)) == {"10.20.0.0/16"}
    assert reached() == set()
