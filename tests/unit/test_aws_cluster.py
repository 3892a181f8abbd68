"""The cluster and its nodes on mocks: what is registered, how it hangs together, what waits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from policy_decision import by_sid
from pulumi.runtime import mocks

from components.aws.cluster import LOG_TYPES
from components.aws.compute import Compute, ComputeArgs, ComputeNetwork
from components.aws.elastic_nodes import EVENTS
from components.aws.scope import Scope
from components.aws.settings.cluster import ClusterSettings
from components.aws.settings.elastic_nodes import ElasticNodesSettings, ElasticPoolSettings
from components.aws.settings.node_pool import NodePoolSettings

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
Waits = Callable[[str, str], bool]

SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
POOLS = {
    "general": ElasticPoolSettings(
        kind="cpu", instance_types=("m6i.2xlarge", "m7i.2xlarge"), max_nodes=10, spot_percent=30
    ),
    "train": ElasticPoolSettings(
        kind="gpu", purpose="training", instance_types=("g5.xlarge", "g6.xlarge"), max_nodes=4,
        job_hours=48,
    ),
}  # fmt: skip
ARGS = ComputeArgs(
    scope=SCOPE,
    cluster=ClusterSettings(
        api_cidrs=(IPv4Network("10.9.0.0/24"),),
        administrators=("arn:aws:iam::123456789012:role/people",),
    ),
    existing_cluster=None,
    node_pools={
        "system": NodePoolSettings(
            kind="cpu", instance_types=("m6i.large",), min_nodes=3, max_nodes=4
        ),
    },
    elastic_nodes=ElasticNodesSettings(pools=POOLS, replicas=2, image="al2023@v20260904"),
    service_linked_roles=("autoscaling", "spot"),
    network=ComputeNetwork(
        vpc_id="vpc-1",
        cidrs=("10.64.0.0/16",),
        private_subnet_ids={"me-central-1a": "subnet-a", "me-central-1c": "subnet-c"},
        api_security_group_ids={"runner": "sg-runner"},
    ),
    key_arn="arn:cluster-key",
    logs_key_arn="arn:logs-key",
    administrators={"apply": "arn:aws:iam::123456789012:role/falaj-prod-apply"},
    keep=True,
    tags={"owner": "ml"},
)
NAME = "falaj-prod"


class Graph:
    """Which resource waits for which, by the names that the program gave them."""

    def __init__(self) -> None:
        self.direct: dict[str, set[str]] = {}

    def waits(self, later: str, earlier: str) -> bool:
        """Whether `later` is made after `earlier`."""
        assert later in self.direct, f"{later} is not made"
        assert earlier in self.direct, f"{earlier} is not made"
        seen, todo = set(), [later]
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += self.direct.get(one, ())
        return earlier in seen - {later}


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Graph:
    made = Graph()
    register = mocks.MockMonitor.RegisterResource

    def watched(self: Any, request: Any) -> Any:
        made.direct[request.name] = {urn.rpartition("::")[2] for urn in request.dependencies}
        return register(self, request)

    monkeypatch.setattr(mocks.MockMonitor, "RegisterResource", watched)
    return made


@pytest.fixture
def compute(graph: Graph, record: Record) -> Recording:
    return record(lambda: Compute("prod", ARGS))


# --- control plane --------------------------------------------------------------------------------


def test_the_api_server_answers_inside_the_network_alone(compute: Recording) -> None:
    config = compute.the("Cluster", "cluster-cluster").inputs["vpcConfig"]

    assert config == {
        "endpointPrivateAccess": True,
        "endpointPublicAccess": False,
        "subnetIds": ["subnet-a", "subnet-c"],
    }


def test_secrets_are_encrypted_under_the_key_of_the_cluster_domain(compute: Recording) -> None:
    cluster = compute.the("Cluster", "cluster-cluster")

    assert cluster.inputs["encryptionConfig"] == {
        "provider": {"keyArn": "arn:cluster-key"},
        "resources": ["secrets"],
    }
    policy = compute.the("RolePolicy", "cluster-secrets").inputs["policy"]
    assert by_sid(policy)["EncryptsSecrets"]["Resource"] == ["arn:cluster-key"]


def test_every_log_is_written_to_a_group_that_is_there_before_the_cluster(
    compute: Recording, graph: Graph
) -> None:
    log, cluster = compute.the("LogGroup"), compute.the("Cluster", "cluster-cluster")

    assert cluster.inputs["enabledClusterLogTypes"] == list(LOG_TYPES)
    assert len(LOG_TYPES) == 5
    assert log.inputs["name"] == f"/aws/eks/{cluster.inputs['name']}/cluster"
    assert log.inputs["kmsKeyId"] == "arn:logs-key"
    assert log.inputs["retentionInDays"] >= 365
    assert graph.waits(cluster.name, log.name)


def test_who_may_enter_is_said_in_full_from_the_first_day(compute: Recording) -> None:
    cluster = compute.the("Cluster", "cluster-cluster")

    assert cluster.inputs["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    assert cluster.inputs["bootstrapSelfManagedAddons"] is False


def test_whoever_deploys_is_let_in_before_anything_is_deployed(
    compute: Recording, graph: Graph
) -> None:
    entry = compute.the("AccessEntry", "apply")
    administers = compute.the("AccessPolicyAssociation", "apply")

    assert entry.inputs["principalArn"] == ARGS.administrators["apply"]
    assert administers.inputs["policyArn"].endswith("/AmazonEKSClusterAdminPolicy")
    assert graph.waits(administers.name, entry.name)
    assert graph.waits("prod-kubernetes", administers.name)
    assert graph.waits("prod-kubernetes", "prod-cluster-cluster")


def test_a_role_that_plans_looks_at_the_namespaces_named_and_at_no_secret(
    record: Record, graph: Graph
) -> None:
    plan = "arn:aws:iam::123456789012:role/falaj-prod-plan"
    args = replace(ARGS, readers={"plan": plan}, read_namespaces=["credit", "kube-system"])
    made = record(lambda: Compute("prod", args))
    entry, reads = made.the("AccessEntry", "plan"), made.the("AccessPolicyAssociation", "plan")

    assert (entry.inputs["principalArn"], entry.inputs["type"]) == (plan, "STANDARD")
    assert reads.inputs["principalArn"] == plan
    # AmazonEKSAdminViewPolicy would read secrets
    assert reads.inputs["policyArn"].endswith("/AmazonEKSViewPolicy")
    assert reads.inputs["accessScope"] == {
        "type": "namespace",
        "namespaces": ["credit", "kube-system"],
    }
    assert graph.waits(reads.name, entry.name)


def test_roles_of_the_settings_administer_the_cluster_beside_the_deploying_one(
    compute: Recording,
) -> None:
    principals = {one.inputs["principalArn"] for one in compute.of("AccessPolicyAssociation")}

    assert principals == {
        "arn:aws:iam::123456789012:role/falaj-prod-apply",
        "arn:aws:iam::123456789012:role/people",
    }


@pytest.mark.parametrize("keep", [True, False])
def test_a_cluster_that_is_kept_refuses_to_be_deleted(record: Record, *, keep: bool) -> None:
    made = record(lambda: Compute("prod", replace(ARGS, keep=keep)))

    assert made.the("Cluster", "cluster-cluster").inputs["deletionProtection"] is keep
    assert made.the("LogGroup").inputs["deletionProtectionEnabled"] is keep


def test_a_suffix_gives_cluster_and_log_another_name(record: Record) -> None:
    args = replace(ARGS, cluster=ClusterSettings(suffix="blue"))
    made = record(lambda: Compute("prod", args))

    assert made.the("Cluster", "cluster-cluster").inputs["name"] == "falaj-prod-blue"
    assert made.the("LogGroup").inputs["name"] == "/aws/eks/falaj-prod-blue/cluster"


def test_a_cluster_without_anyone_to_administer_it_is_refused(record: Record) -> None:
    with pytest.raises(ValueError, match="administrators"):
        record(lambda: Compute("prod", replace(ARGS, administrators={}, cluster=ClusterSettings())))


# --- who reaches whom -----------------------------------------------------------------------------


def rules(made: Recording, group: str) -> set[tuple[Any, ...]]:
    """Who may reach the group, and where: (from, protocol, port)."""
    return {
        (
            one.inputs.get("referencedSecurityGroupId") or one.inputs.get("cidrIpv4"),
            one.inputs["ipProtocol"],
            one.inputs.get("fromPort"),
        )
        for one in made.of("SecurityGroupIngressRule")
        if one.inputs["securityGroupId"] == group
    }


def test_the_api_server_is_asked_by_nodes_runner_and_named_networks_alone(
    compute: Recording,
) -> None:
    assert rules(compute, "sg:prod-cluster-cluster") == {
        ("id:prod-cluster-nodes", "tcp", 443),
        ("sg-runner", "tcp", 443),
        ("10.9.0.0/24", "tcp", 443),
    }


def test_the_api_server_reaches_webhooks_and_kubelets_on_the_nodes(compute: Recording) -> None:
    found = rules(compute, "id:prod-cluster-nodes")
    ports = {port for source, _, port in found if source == "sg:prod-cluster-cluster"}

    assert {443, 8443, 9443, 10250} <= ports
    assert ("id:prod-cluster-nodes", "-1", None) in found
    assert {source for source, *_ in found} == {
        "sg:prod-cluster-cluster",
        "id:prod-cluster-nodes",
    }


def test_a_node_carries_one_group_and_that_one_is_tagged_for_the_cluster(
    compute: Recording,
) -> None:
    tagged = [
        one.name
        for one in compute.of("SecurityGroup")
        if f"kubernetes.io/cluster/{NAME}" in one.inputs.get("tags", {})
    ]

    assert tagged == ["prod-cluster-nodes"]
    template = compute.the("LaunchTemplate")
    assert template.inputs["vpcSecurityGroupIds"] == ["id:prod-cluster-nodes"]


# --- add-ons --------------------------------------------------------------------------------------


def test_every_add_on_is_pinned(compute: Recording) -> None:
    pinned = {
        one.inputs["addonName"]: one.inputs.get("addonVersion") for one in compute.of("Addon")
    }

    assert set(pinned) == {
        *("vpc-cni", "kube-proxy", "coredns", "aws-ebs-csi-driver", "eks-pod-identity-agent"),
    }
    assert all(version.startswith("v") for version in pinned.values())


@pytest.mark.parametrize("add_on", ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"])
def test_what_nodes_need_to_become_ready_comes_before_them(
    compute: Recording, graph: Graph, add_on: str
) -> None:
    assert graph.waits("prod-pool-system-group", f"prod-cluster-add-ons-{add_on}")
    assert not graph.waits(f"prod-cluster-add-ons-{add_on}", "prod-pool-system-group")


@pytest.mark.parametrize("add_on", ["coredns", "aws-ebs-csi-driver"])
def test_what_runs_as_pods_comes_after_nodes_and_network_policies(
    compute: Recording, graph: Graph, add_on: str
) -> None:
    assert graph.waits(f"prod-late-add-ons-{add_on}", "prod-pool-system-group")
    for policy in compute.of("NetworkPolicy"):
        assert graph.waits(f"prod-late-add-ons-{add_on}", policy.name)


@pytest.mark.parametrize(
    ("add_on", "role", "account"),
    [
        ("vpc-cni", "vpc-cni", "aws-node"),
        ("aws-ebs-csi-driver", "ebs-csi", "ebs-csi-controller-sa"),
    ],
)
def test_an_add_on_has_its_own_identity_before_its_pods_start(
    compute: Recording, graph: Graph, add_on: str, role: str, account: str
) -> None:
    (association,) = (
        one
        for one in compute.of("PodIdentityAssociation")
        if one.inputs["serviceAccount"] == account
    )
    (made,) = (one for one in compute.of("Role") if one.inputs.get("name") == f"falaj-prod-{role}")

    assert association.inputs["namespace"] == "kube-system"
    assert association.inputs["roleArn"] == f"arn:{made.name}"
    (trust,) = by_sid(made.inputs["assumeRolePolicy"]).values()
    assert trust["Principal"] == {"Service": ["pods.eks.amazonaws.com"]}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    (addon,) = (one for one in compute.of("Addon") if one.inputs["addonName"] == add_on)
    assert graph.waits(addon.name, association.name)


def test_the_driver_of_volumes_may_hand_their_key_on(compute: Recording) -> None:
    allowed = by_sid(compute.the("RolePolicy", "ebs-csi-driver-volumes").inputs["policy"])

    assert set(allowed["UsesKeyOfVolumes"]["Action"]) == {
        *("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"),
        "kms:ReEncrypt*",
    }
    grant = allowed["GrantsKeyToVolumes"]
    assert grant["Resource"] == ["arn:cluster-key"]
    assert grant["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_pods_start_with_all_traffic_denied_and_the_first_find_what_they_need(
    compute: Recording,
) -> None:
    (plugin,) = (one for one in compute.of("Addon") if one.inputs["addonName"] == "vpc-cni")
    told = json.loads(plugin.inputs["configurationValues"])
    assert told["enableNetworkPolicy"] == "true"
    assert told["env"]["NETWORK_POLICY_ENFORCING_MODE"] == "strict"

    out = compute.the("NetworkPolicy", "controllers").inputs
    assert out["metadata"]["namespace"] == "kube-system"
    reached = {
        (block["ipBlock"]["cidr"], port["port"])
        for rule in out["spec"]["egress"]
        for block in rule["to"]
        for port in rule["ports"]
    }
    # the API server by its own address and by that of its Service; the agent that gives credentials
    assert {
        ("10.64.0.0/16", 443), ("172.20.0.0/16", 443), ("10.64.0.0/16", 53),
        ("169.254.170.23/32", 80),
    } <= reached  # fmt: skip
    names = compute.the("NetworkPolicy", "names").inputs["spec"]
    assert names["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    assert [port["port"] for rule in names["ingress"] for port in rule["ports"]] == [53, 53]


def test_karpenter_is_known_to_the_agent_before_it_starts(compute: Recording, graph: Graph) -> None:
    (association,) = (
        one
        for one in compute.of("PodIdentityAssociation")
        if one.inputs["serviceAccount"] == "karpenter"
    )

    assert association.inputs["roleArn"] == "arn:prod-elastic-controller-role"
    assert graph.waits(association.name, "prod-cluster-add-ons-eks-pod-identity-agent")
    for policy in compute.of("RolePolicy"):
        if "elastic-controller" in policy.name:
            assert graph.waits(association.name, policy.name)


# --- nodes ----------------------------------------------------------------------------------------


def test_nodes_carry_no_right_to_the_network_that_pods_could_take(compute: Recording) -> None:
    attached = {
        one.inputs["policyArn"].rpartition("/")[2]
        for one in compute.of("RolePolicyAttachment")
        if "nodes" in one.inputs["role"]
    }

    assert attached == {"AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"}


def test_managed_nodes_wait_for_the_roles_of_aws_and_follow_the_clusters_version(
    compute: Recording, graph: Graph
) -> None:
    group, cluster = compute.the("NodeGroup"), compute.the("Cluster", "cluster-cluster")

    assert group.inputs["version"] == cluster.inputs["version"]
    for role in compute.of("ServiceLinkedRole"):
        assert graph.waits(group.name, role.name)
    assert {one.inputs["awsServiceName"] for one in compute.of("ServiceLinkedRole")} == {
        *("autoscaling.amazonaws.com", "spot.amazonaws.com"),
    }


def test_instances_disks_and_interfaces_of_managed_nodes_are_tagged(compute: Recording) -> None:
    specified = compute.the("LaunchTemplate").inputs["tagSpecifications"]

    assert {one["resourceType"] for one in specified} == {"instance", "network-interface", "volume"}
    assert all(one["tags"] == {"owner": "ml"} for one in specified)


def test_a_gpu_pool_goes_to_the_zones_that_have_its_type(record: Record) -> None:
    gpu = NodePoolSettings(
        kind="gpu", instance_types=("g5.xlarge",), max_nodes=1, zones=("me-central-1c",)
    )
    args = replace(ARGS, node_pools={**ARGS.node_pools, "gpu": gpu})
    made = record(lambda: Compute("prod", args))

    assert made.the("NodeGroup", "gpu").inputs["subnetIds"] == ["subnet-c"]
    assert made.the("NodeGroup", "system").inputs["subnetIds"] == ["subnet-a", "subnet-c"]


def test_a_spot_pool_with_a_pinned_image_labels_and_taints(record: Record) -> None:
    pool = NodePoolSettings(
        kind="cpu", instance_types=("m6i.large",), max_nodes=1, spot_percent=100,
        image_release="1.35.0-20260904", labels={"team": "credit"},
        taints=({"key": "team", "value": "credit", "effect": "NoExecute"},),
    )  # fmt: skip
    args = replace(ARGS, node_pools={**ARGS.node_pools, "credit": pool})
    group = record(lambda: Compute("prod", args)).the("NodeGroup", "credit").inputs

    assert (group["capacityType"], group["releaseVersion"]) == ("SPOT", "1.35.0-20260904")
    assert group["labels"] == {"falaj/pool": "credit", "falaj/kind": "cpu", "team": "credit"}
    assert group["taints"] == [{"key": "team", "value": "credit", "effect": "NO_EXECUTE"}]


# --- elastic nodes --------------------------------------------------------------------------------


def test_elastic_nodes_may_join_the_cluster(compute: Recording, graph: Graph) -> None:
    (entry,) = (one for one in compute.of("AccessEntry") if one.inputs["type"] == "EC2_LINUX")
    profile = compute.the("InstanceProfile")
    (role,) = (
        one for one in compute.of("Role") if one.inputs.get("name") == "falaj-prod-elastic-nodes"
    )

    assert entry.inputs["principalArn"] == f"arn:{role.name}"
    assert profile.inputs["role"] == role.inputs["name"]
    assert graph.waits(entry.name, "prod-cluster-cluster")


def test_interruptions_reach_the_queue_under_our_key(compute: Recording) -> None:
    queue = compute.the("Queue", "interruptions")
    targets = compute.of("EventTarget")
    patterns = [json.loads(one.inputs["eventPattern"]) for one in compute.of("EventRule")]

    assert queue.inputs["kmsMasterKeyId"] == "arn:cluster-key"
    assert {(one["source"][0], one["detail-type"][0]) for one in patterns} == set(EVENTS.values())
    assert {one.inputs["arn"] for one in targets} == {f"arn:{queue.name}"}
    assert len(targets) == len(EVENTS)
    policy = by_sid(compute.the("QueuePolicy").inputs["policy"])
    tell = policy["EventsTell"]
    assert tell["Principal"] == {"Service": ["events.amazonaws.com"]}
    source = "arn:aws:events:me-central-1:123456789012:rule/falaj-prod-interruptions-*"
    assert tell["Condition"]["ArnLike"] == {"aws:SourceArn": source}
    for rule in compute.of("EventRule"):
        assert rule.inputs["name"].startswith("falaj-prod-interruptions-")
    assert policy["DenyWithoutTls"]["Effect"] == "Deny"


def test_karpenter_touches_only_what_carries_the_clusters_tag(compute: Recording) -> None:
    allowed = by_sid(compute.the("RolePolicy", "controller-nodes").inputs["policy"])
    tag = f"kubernetes.io/cluster/{NAME}"

    for sid in ("EndsItsNodes", "NamesItsNodes", "TakesItsLaunchTemplates"):
        assert allowed[sid]["Condition"]["StringEquals"] == {f"aws:ResourceTag/{tag}": "owned"}
    for sid in ("StartsTaggedNodes", "TagsWhatItStarts"):
        assert allowed[sid]["Condition"]["StringEquals"][f"aws:RequestTag/{tag}"] == "owned"
    passed = allowed["GivesNodesTheirRole"]
    assert passed["Resource"] == ["arn:prod-elastic-nodes-role"]
    assert passed["Condition"]["StringEquals"] == {"iam:PassedToService": "ec2.amazonaws.com"}
    everything = json.dumps(
        [one.inputs["policy"] for one in compute.of("RolePolicy") if "controller" in one.name]
    )
    assert "iam:CreateInstanceProfile" not in everything
    assert "pricing:" not in everything


def test_karpenter_may_hand_on_the_key_of_its_nodes_disks(compute: Recording) -> None:
    allowed = by_sid(compute.the("RolePolicy", "controller-key").inputs["policy"])

    assert allowed["GrantsKeyToVolumes"]["Resource"] == ["arn:cluster-key"]


@pytest.fixture
def manifests(record: Record) -> dict[tuple[str, str], dict[str, Any]]:
    """(Kind, name) → spec, with what was unknown filled in."""
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def build() -> pulumi.Output[None]:
        elastic = Compute("prod", ARGS).elastic
        assert elastic is not None
        plain = elastic.manifests
        return pulumi.Output.from_input([one.spec for one in plain]).apply(
            lambda specs: found.update(
                {(one.kind, one.name): spec for one, spec in zip(plain, specs, strict=True)}
            )
        )

    record(build)
    return found


def test_a_node_class_names_what_karpenter_could_not_look_up(
    manifests: dict[tuple[str, str], dict[str, Any]],
) -> None:
    spec = manifests["EC2NodeClass", "train"]

    assert spec["instanceProfile"] == "falaj-prod-elastic-nodes"
    assert "role" not in spec
    assert spec["amiSelectorTerms"] == [{"alias": "al2023@v20260904"}]
    assert spec["subnetSelectorTerms"] == [{"id": "subnet-a"}, {"id": "subnet-c"}]
    assert spec["securityGroupSelectorTerms"] == [{"id": "id:prod-cluster-nodes"}]
    (disk,) = spec["blockDeviceMappings"]
    assert (disk["ebs"]["encrypted"], disk["ebs"]["kmsKeyID"]) == (True, "arn:cluster-key")
    assert spec["metadataOptions"]["httpTokens"] == "required"
    assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert spec["associatePublicIPAddress"] is False
    assert spec["kubelet"] == {"maxPods": 110}


def test_a_training_pool_leaves_jobs_alone(
    manifests: dict[tuple[str, str], dict[str, Any]],
) -> None:
    pool = manifests["NodePool", "train"]
    node = pool["template"]["spec"]

    assert pool["disruption"]["consolidationPolicy"] == "WhenEmpty"
    assert (node["expireAfter"], node["terminationGracePeriod"]) == ("Never", "48h")
    assert {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"} in node["taints"]
    assert pool["limits"] == {"cpu": "16", "nvidia.com/gpu": "4"}


def test_every_pool_names_its_instance_types_and_has_limits(
    manifests: dict[tuple[str, str], dict[str, Any]],
) -> None:
    pools = {name: spec for (kind, name), spec in manifests.items() if kind == "NodePool"}

    assert set(pools) == {"general", "general-spot", "train"}
    for name, spec in pools.items():
        asked = {one["key"]: one["values"] for one in spec["template"]["spec"]["requirements"]}
        types = POOLS[name.removesuffix("-spot")].instance_types
        assert asked["node.kubernetes.io/instance-type"] == list(types)
        assert spec["limits"]["cpu"] != "0"
        reference = spec["template"]["spec"]["nodeClassRef"]
        assert (reference["kind"], reference["name"]) in manifests


def test_the_limits_hold_the_share_of_spot_nodes(
    manifests: dict[tuple[str, str], dict[str, Any]],
) -> None:
    spot, demand = manifests["NodePool", "general-spot"], manifests["NodePool", "general"]

    assert (spot["limits"]["cpu"], demand["limits"]["cpu"]) == ("24", "56")
    assert spot["weight"] > demand["weight"]
