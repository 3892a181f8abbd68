"""What broke first deployments of platforms like this one, asked of whole planned environments.

Each trap stands once, under a sentence that is true of an environment that avoids it: `TRAPS` asks
the plan of an environment, with a change of the plan that the check must notice; `HELD_ELSEWHERE`
names the test that holds one in the part it is about. A value that is not known before `up` is no
evidence: relations are read from the dependencies.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from policy_decision import statements

from stacks.environment import ROOT

Row = dict[str, Any]
Rows = list[Row]
ALWAYS = frozenset({"ec2", "ecr.api", "ecr.dkr", "sts", "eks", "s3"})
"""Services that a node calls before it is ready."""
CALLED = {
    "eks:PodIdentityAssociation": "eks-auth",
    "lb:LoadBalancer": "elasticloadbalancing",
    "secretsmanager:Secret": "secretsmanager",
    "autoscaling:Group": "autoscaling",
    "kms:Key": "kms",
}
"""Type → the service that pods call where there is one."""
LASTING = ("rds:Instance", "s3:Bucket", "kms:Key", "eks:Cluster", "backup:Vault")


@dataclass(frozen=True)
class Graph:
    """A planned environment."""

    rows: Rows

    def of(self, kind: str) -> Rows:
        """The resources of a kind such as ``eks:NodeGroup``."""
        return [one for one in self.rows if _kind(one) == kind]

    @cached_property
    def by_urn(self) -> dict[str, Row]:
        return {one["urn"]: one for one in self.rows}

    def before(self, row: Row) -> Rows:
        """All that is there before `row` is made."""
        found: dict[str, Row] = {}
        waiting = [*row["dependencies"], row["provider"]]
        while waiting:
            urn = waiting.pop()
            if urn in self.by_urn and urn not in found:
                found[urn] = self.by_urn[urn]
                waiting += [*found[urn]["dependencies"], found[urn]["provider"]]
        return list(found.values())

    @property
    def keeps_data(self) -> bool:
        """Whether what it holds outlives it."""
        return any(one["protected"] for one in self.of("s3:Bucket"))


def _kind(row: Row) -> str:
    package, module, name = row["type"].split(":")
    return f"{module.partition('/')[0]}:{name}" if package == "aws" else f"{package}:{name}"


Problems = Iterator[str]
Check = Callable[[Graph], Problems]


def endpoints(graph: Graph) -> Problems:
    if not graph.of("ec2:Vpc") or graph.of("ec2:NatGateway"):
        return
    there = {
        one["inputs"]["serviceName"].split(".", 3)[3]: one for one in graph.of("ec2:VpcEndpoint")
    }
    needed = ALWAYS | {service for kind, service in CALLED.items() if graph.of(kind)}
    yield from (f"no endpoint of {service}" for service in sorted(needed - there.keys()))
    region = graph.of("pulumi:aws")[0]["inputs"]["region"]
    for service, one in there.items():
        if one["inputs"]["serviceName"] != f"com.amazonaws.{region}.{service}":
            yield f"{one['name']} is of another region"
        if one["inputs"]["vpcEndpointType"] == "Interface" and not one["inputs"].get(
            "privateDnsEnabled"
        ):
            yield f"{one['name']} does not answer under the service's own name"


def layers(graph: Graph) -> Problems:
    private = {one["urn"] for one in graph.of("ec2:RouteTable") if "-private-" in one["name"]}
    for one in graph.of("ec2:VpcEndpoint"):
        if one["inputs"]["vpcEndpointType"] != "Gateway":
            continue
        if missing := private - set(one["dependencies"]):
            yield f"{one['name']} is in {len(missing)} route tables too few"
        if not any(
            statement["Effect"] == "Allow"
            and "Condition" not in statement
            and any("starport-layer-bucket" in name for name in statement["Resource"])
            for statement in statements(one["inputs"]["policy"])
        ):
            yield f"{one['name']} keeps the layers of images back"


def allowing(graph: Graph) -> Problems:
    for one in graph.of("ec2:VpcEndpoint"):
        policy = one["inputs"].get("policy")  # without one all is allowed
        if policy and all(statement["Effect"] == "Deny" for statement in statements(policy)):
            yield f"{one['name']} only refuses"


def balancers(graph: Graph) -> Problems:
    if not graph.of("ec2:Subnet"):
        return
    tag = "kubernetes.io/role/internal-elb"
    found = {
        one["inputs"]["availabilityZone"]
        for one in graph.of("ec2:Subnet")
        if tag in one["inputs"].get("tags", {})
    }
    if len(found) < 2:  # what a load balancer asks for
        yield f"internal load balancers find subnets in {len(found)} zones"


def one_group(graph: Graph) -> Problems:
    tagged = [
        one["name"]
        for one in graph.of("ec2:SecurityGroup")
        if any(tag.startswith("kubernetes.io/cluster/") for tag in one["inputs"].get("tags", {}))
    ]
    if graph.of("eks:Cluster") and len(tagged) != 1:
        yield f"groups of the cluster: {tagged}"
    for provider in graph.of("pulumi:aws"):
        if "karpenter.sh/discovery" in provider["inputs"]["defaultTags"]:
            yield f"{provider['name']} tags everything for discovery"


def tokens(graph: Graph) -> Problems:
    for one in graph.of("pulumi:aws"):
        asked = one["inputs"].get("stsRegion", one["inputs"]["region"])
        if asked != one["inputs"]["region"]:
            yield f"{one['name']} takes its tokens in {asked}"


def agents(graph: Graph) -> Problems:
    if not graph.of("eks:Cluster"):  # of others: theirs is there before us
        return
    known = {
        one["urn"] for one in graph.of("eks:Addon") if "pod-identity" in one["inputs"]["addonName"]
    }
    for group in graph.of("eks:NodeGroup"):
        if not known & {one["urn"] for one in graph.before(group)}:
            yield f"{group['name']} does not wait for the agent of identities"


def joins(graph: Graph) -> Problems:
    entries = graph.of("eks:AccessEntry")
    for one in graph.of("iam:InstanceProfile"):
        roles = {urn for urn in one["dependencies"] if "iam/role:Role" in urn}
        if "elastic" in one["name"] and not any(
            entry["inputs"]["type"] == "EC2_LINUX" and roles & set(entry["dependencies"])
            for entry in entries
        ):
            yield f"nodes of {one['name']} may not join the cluster"


def let_in(graph: Graph) -> Problems:
    if not graph.of("eks:Cluster"):
        return
    for one in graph.of("pulumi:kubernetes"):
        if not any(_kind(row) == "eks:AccessPolicyAssociation" for row in graph.before(one)):
            yield f"{one['name']} deploys before anybody may enter"


def linked(graph: Graph) -> Problems:
    for group in graph.of("eks:NodeGroup"):
        if not graph.of("eks:Cluster"):
            continue
        roles = {
            row["inputs"]["awsServiceName"]
            for row in graph.before(group)
            if _kind(row) == "iam:ServiceLinkedRole"
        }
        if missing := {"autoscaling.amazonaws.com", "spot.amazonaws.com"} - roles:
            yield f"{group['name']} does not wait for {', '.join(sorted(missing))}"


def metadata(graph: Graph) -> Problems:
    for one in graph.of("ec2:LaunchTemplate"):
        options = one["inputs"].get("metadataOptions", {})
        if options.get("httpTokens") != "required" or options.get("httpPutResponseHopLimit") != 1:
            yield f"pods of {one['name']} reach the identity of their node"


def disks(graph: Graph) -> Problems:
    for one in graph.of("ec2:LaunchTemplate"):
        keys = [row for row in graph.before(one) if _kind(row) == "kms:Key"]
        if not any("kms:CreateGrant" in json.dumps(key["inputs"]["policy"]) for key in keys):
            yield f"whoever starts nodes of {one['name']} may not hand on the key of their disks"


def plugins(graph: Graph) -> Problems:
    if not graph.of("eks:Cluster"):
        return
    for group in graph.of("eks:NodeGroup"):
        there = {
            row["inputs"]["addonName"] for row in graph.before(group) if _kind(row) == "eks:Addon"
        }
        if missing := {"vpc-cni", "kube-proxy"} - there:
            yield f"{group['name']} does not wait for {', '.join(sorted(missing))}"
    for add_on in graph.of("eks:Addon"):
        if add_on["inputs"]["addonName"] == "vpc-cni" and any(
            _kind(row) == "eks:NodeGroup" for row in graph.before(add_on)
        ):
            yield f"{add_on['name']} waits for nodes that wait for it"


def room(graph: Graph) -> Problems:
    if not graph.of("eks:Cluster"):
        return
    sizes = [one["inputs"]["scalingConfig"]["minSize"] for one in graph.of("eks:NodeGroup")]
    if max(sizes, default=0) < 2:  # its replicas keep apart
        yield "Karpenter's two replicas have nowhere to run"


def passwords(graph: Graph) -> Problems:
    for one in graph.of("rds:Instance"):
        if "password" in one["inputs"] or not one["inputs"].get("manageMasterUserPassword"):
            yield f"{one['name']} has a password that somebody wrote"


def providers(graph: Graph) -> Problems:
    for one in graph.rows:
        if one["provider"] is None and not one["type"].startswith("pulumi:providers:"):
            yield f"{one['name']} uses whatever credentials there are"
    for one in graph.of("pulumi:kubernetes") if graph.of("eks:Cluster") else ():
        if not any(_kind(row) == "eks:Cluster" for row in graph.before(one)):
            yield f"{one['name']} is not of the cluster that is made"


def ends(graph: Graph) -> Problems:
    keep = graph.keeps_data
    expected = {
        ("s3:Bucket", "forceDestroy"): not keep,
        ("backup:Vault", "forceDestroy"): not keep,
        ("ecr:Repository", "forceDelete"): not keep,
        ("rds:Instance", "skipFinalSnapshot"): not keep,
        ("rds:Instance", "deletionProtection"): keep,
        ("eks:Cluster", "deletionProtection"): keep,
    }
    for (kind, name), wanted in expected.items():
        for one in graph.of(kind):
            if bool(one["inputs"].get(name)) is not wanted:
                yield f"{one['name']}: {name} is {one['inputs'].get(name)}"
    for kind in LASTING:
        yield from (
            f"{one['name']}: protect is {not keep}"
            for one in graph.of(kind)
            if one["protected"] is not keep
        )
    for one in graph.of("rds:Instance"):
        if keep and not one["inputs"].get("finalSnapshotIdentifier"):
            yield f"{one['name']} has no name for its last snapshot"


def names(graph: Graph) -> Problems:
    for one in graph.of("secretsmanager:Secret"):
        waiting = one["inputs"].get("recoveryWindowInDays")
        if not graph.keeps_data and waiting != 0:
            yield f"{one['name']} keeps its name for {waiting} days"
    for one in graph.of("eks:Cluster"):
        if not any(_kind(row) == "cloudwatch:LogGroup" for row in graph.before(one)):
            yield f"{one['name']} makes its log group before we do"


def in_full(graph: Graph) -> Problems:
    for one in graph.of("eks:Cluster"):
        told = one["inputs"].get("accessConfig", {}).keys()
        if told != {"authenticationMode", "bootstrapClusterCreatorAdminPermissions"}:
            yield f"{one['name']} leaves to AWS what would replace it later"


def cheap(graph: Graph) -> Problems:
    gateways = [
        one for one in graph.of("ec2:VpcEndpoint") if one["inputs"]["vpcEndpointType"] == "Gateway"
    ]
    if graph.of("ec2:NatGateway") and not gateways:
        yield "images and models go through the NAT gateway"


def drop(kind: str, part: str = "") -> Callable[[Rows], Rows]:
    """Leaves out the resources of a kind whose name or inputs hold `part`."""

    def without(rows: Rows) -> Rows:
        kept = [
            one
            for one in rows
            if _kind(one) != kind or part not in one["name"] + json.dumps(one["inputs"])
        ]
        assert len(kept) < len(rows), f"there is no {kind} {part}"
        return kept

    return without


def change(kind: str, **inputs: Any) -> Callable[[Rows], Rows]:
    """Changes inputs of all resources of a kind; `None` takes one away."""

    def changed(rows: Rows) -> Rows:
        found = [one for one in rows if _kind(one) == kind]
        assert found, f"there is no {kind}"
        for one in found:
            merged = one["inputs"] | inputs
            one["inputs"] = {name: it for name, it in merged.items() if it is not None}
        return rows

    return changed


def untie(kind: str, part: str) -> Callable[[Rows], Rows]:
    """Forgets all dependencies on resources of a kind whose name holds `part`."""

    def untied(rows: Rows) -> Rows:
        gone = {one["urn"] for one in rows if _kind(one) == kind and part in one["name"]}
        assert gone, f"there is no {kind} {part}"
        for one in rows:
            one["dependencies"] = [urn for urn in one["dependencies"] if urn not in gone]
        return rows

    return untied


DENIES = json.dumps({"Statement": [{"Effect": "Deny", "Action": ["*"], "Resource": ["*"]}]})
TRAPS: dict[str, tuple[Check, Callable[[Rows], Rows]]] = {
    "nodes without a way out reach every service they call": (
        endpoints,
        drop("ec2:VpcEndpoint", "amazonaws.me-central-1.ecr.dkr"),
    ),
    "the agent of identities is answered under the service's own name": (
        endpoints,
        change("ec2:VpcEndpoint", privateDnsEnabled=False),
    ),
    "the layers of images come through the gateway of every private subnet": (
        layers,
        untie("ec2:RouteTable", "-private-me-central-1a"),
    ),
    "no policy of an endpoint only refuses": (allowing, change("ec2:VpcEndpoint", policy=DENIES)),
    "internal load balancers find subnets in two zones": (balancers, change("ec2:Subnet", tags={})),
    "a node carries one group of the cluster": (
        one_group,
        change("ec2:SecurityGroup", tags={"kubernetes.io/cluster/falaj-prod": "owned"}),
    ),
    "tokens are those of the region, which had to be opted into": (
        tokens,
        change("pulumi:aws", stsRegion="us-east-1"),
    ),
    "nodes start when the agent of identities is known": (
        agents,
        untie("eks:Addon", "pod-identity-agent"),
    ),
    "nodes that Karpenter starts may join": (joins, change("eks:AccessEntry", type="STANDARD")),
    "whoever deploys may enter before anything is deployed": (
        let_in,
        drop("eks:AccessPolicyAssociation"),
    ),
    "a fresh account has the roles of AWS before the first node": (
        linked,
        untie("iam:ServiceLinkedRole", "service-roles-spot"),
    ),
    "a pod does not reach the identity of its node": (
        metadata,
        change("ec2:LaunchTemplate", metadataOptions={"httpTokens": "required"}),
    ),
    "disks of nodes under our key can be attached": (disks, change("kms:Key", policy="{}")),
    "nodes find their network plugin": (plugins, untie("eks:Addon", "vpc-cni")),
    "Karpenter has where to run": (
        room,
        change("eks:NodeGroup", scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1}),
    ),
    "no password of a database is part of an address": (
        passwords,
        change("rds:Instance", manageMasterUserPassword=None),
    ),
    "no resource uses the credentials that happen to be there": (
        providers,
        untie("eks:Cluster", ""),
    ),
    "what holds data ends only where it is meant to": (
        ends,
        change("rds:Instance", finalSnapshotIdentifier=None),
    ),
    "names are free, or theirs, when the environment is made again": (
        names,
        drop("cloudwatch:LogGroup"),
    ),
    "a harmless edit does not replace the cluster": (
        in_full,
        change("eks:Cluster", accessConfig={"authenticationMode": "API"}),
    ),
    "images and models do not pay for the NAT gateway": (
        cheap,
        lambda rows: [
            one | {"type": one["type"].replace("vpcEndpoint:VpcEndpoint", "natGateway:NatGateway")}
            for one in rows
        ],
    ),
}

UNIT = "tests/unit/"
HELD_ELSEWHERE = {
    "nodes may import and make repositories at the first pull of a cache": (
        f"{UNIT}test_aws_image_registry.py::test_trap_5_nodes_may_import_and_create_at_the_first_pull"
    ),
    "the runner asks the API server of a private cluster": (
        f"{UNIT}test_aws_cluster.py"
        "::test_the_api_server_is_asked_by_nodes_runner_and_named_networks_alone"
    ),
    "the API server reaches webhooks on the nodes": (
        f"{UNIT}test_aws_cluster.py::test_the_api_server_reaches_webhooks_and_kubelets_on_the_nodes"
    ),
    "Karpenter's identity is known before it starts": (
        f"{UNIT}test_aws_cluster.py::test_karpenter_is_known_to_the_agent_before_it_starts"
    ),
    "volumes under our key can be attached": (
        f"{UNIT}test_aws_cluster.py::test_the_driver_of_volumes_may_hand_their_key_on"
    ),
    "Karpenter may grant the key of disks": (
        f"{UNIT}test_aws_cluster.py::test_karpenter_may_hand_on_the_key_of_its_nodes_disks"
    ),
    "no key names a principal that may not exist yet": (
        f"{UNIT}test_aws_keys.py::test_no_policy_names_a_principal_that_may_not_exist_yet"
    ),
    "whoever reads a secret may open it": (
        f"{UNIT}test_aws_identity.py::test_whoever_reads_a_secret_can_open_it_and_nobody_else_reads_one"
    ),
    "zones are those of the region, and healthy": (
        f"{UNIT}test_regions.py::test_zones_are_refused_that_are_strange_or_impaired"
    ),
    "each zone of a pool has its instance type": (
        f"{UNIT}test_regions.py::test_each_zone_of_a_pool_needs_a_type_that_it_has"
    ),
    "housekeeping of nodes ends no training": (
        f"{UNIT}test_aws_cluster.py::test_a_training_pool_leaves_jobs_alone"
    ),
    "every version of an image is locked by its digest": (
        f"{UNIT}test_images.py::test_every_locked_digest_is_of_the_catalogue"
    ),
    "elastic pools name their types, since prices of the region are not known": (
        f"{UNIT}test_aws_cluster.py::test_every_pool_names_its_instance_types_and_has_limits"
    ),
    "a log that comes late brings no group back": (
        f"{UNIT}test_aws_network.py::test_a_late_record_cannot_bring_a_deleted_group_back"
    ),
    "a plan that replaces the cluster is stopped": (
        f"{UNIT}test_plan_check.py"
        "::test_trap_61_a_harmless_edit_that_replaces_the_cluster_is_stopped_and_explained"
    ),
}


@pytest.mark.parametrize("environment", ["dev", "prod"])
@pytest.mark.parametrize("sentence", TRAPS)
def test_an_environment_avoids(
    plan_of: Callable[[str], Rows], environment: str, sentence: str
) -> None:
    check, _ = TRAPS[sentence]

    assert list(check(Graph(plan_of(environment)))) == []


@pytest.mark.parametrize("sentence", TRAPS)
def test_a_plan_that_falls_into_it_is_noticed(
    plan_of: Callable[[str], Rows], sentence: str
) -> None:
    check, spoil = TRAPS[sentence]

    assert list(check(Graph(spoil(copy.deepcopy(plan_of("prod"))))))


@pytest.mark.parametrize("sentence", HELD_ELSEWHERE)
def test_what_is_held_elsewhere_is_held(sentence: str) -> None:
    path, _, name = HELD_ELSEWHERE[sentence].partition("::")

    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
