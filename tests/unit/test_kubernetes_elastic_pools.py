"""Karpenter's objects: what a pool is said to be is what its nodes are, and in which order."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.aws.karpenter_objects import NodePlace, node_class, node_pools
from components.aws.regions import has_gpu, region_data
from components.aws.settings.elastic_nodes import ElasticNodesSettings, ElasticPoolSettings
from components.aws.settings.node_pool import Taint
from components.aws.settings.pools_for_pods import pools_for_pods
from components.kubernetes import backup, elastic_pools, gpu, secret_stores, storage_classes
from components.kubernetes.elastic_pools import ElasticPools, ElasticPoolsArgs, Manifest
from components.kubernetes.pools import GPU, KIND, POOL

Record = Callable[[Callable[[], object]], Any]

REGION = "me-central-1"
KEY = "arn:aws:kms:me-central-1:123456789012:key/cluster"
ZONES = {f"me-central-1{letter}": f"subnet-{letter}" for letter in "abc"}
PLACE = NodePlace(
    region=REGION,
    cluster_name="falaj-prod",
    instance_profile="falaj-prod-elastic-nodes",
    subnet_ids=ZONES,
    security_group_ids=["sg-nodes"],
    volume_key_arn=KEY,
    image="al2023@v20260904",
    max_pods=110,
    tags={"owner": "ml"},
)


def shape(kind: str, *types: str, **more: Any) -> ElasticPoolSettings:
    return ElasticPoolSettings.model_validate(
        {"kind": kind, "instance_types": types, "max_nodes": 4, **more}
    )


SHAPES = {
    "general": shape("cpu", "m6i.2xlarge", spot_percent=50),
    "serving": shape("cpu", "c6i.xlarge", purpose="serving"),
    "training": shape("gpu", "g5.2xlarge", purpose="training", spot_percent=25, job_hours=48),
    "wheat": shape(
        "gpu", "g6.xlarge", purpose="training", labels={"falaj/team": "wheat"},
        taints=(Taint(key="falaj/team", value="wheat"),),
    ),
    "notebooks": shape("cpu", "m6i.xlarge", purpose="workspaces"),
}  # fmt: skip


def manifests(place: NodePlace = PLACE) -> list[Manifest]:
    return [
        one
        for pool, settings in SHAPES.items()
        for one in (node_class(pool, settings, place), *node_pools(pool, settings))
    ]


def applied(record: Record, args: ElasticPoolsArgs | None = None) -> dict[tuple[str, str], Any]:
    """(Kind, name) → spec, as it is registered."""
    made = record(lambda: ElasticPools("pools", args or ElasticPoolsArgs(manifests=manifests())))
    return {
        (one.inputs["kind"], one.inputs["metadata"]["name"]): one.inputs["spec"]
        for one in made.resources
        if one.inputs.get("kind")
    }


def of_kind(found: dict[tuple[str, str], Any], kind: str) -> Iterator[tuple[str, Any]]:
    for (one, name), spec in found.items():
        if one == kind:
            yield name, spec


def pool_of(name: str) -> str:
    return name.removesuffix("-spot")


# --- what pods know of nodes ----------------------------------------------------------------------


def carried(found: dict[tuple[str, str], Any]) -> dict[str, tuple[Any, Any]]:
    """NodePool → labels and taints of its nodes."""
    return {
        name: (
            spec["template"]["metadata"]["labels"],
            spec["template"]["spec"].get("taints", []),
        )
        for name, spec in of_kind(found, "NodePool")
    }


def said() -> dict[str, tuple[Any, Any]]:
    """Pool → labels and taints that pods are told of."""
    pools = pools_for_pods(
        {f"elastic_nodes.pools.{name}": one for name, one in SHAPES.items()}, 110
    )
    return {
        name: (dict(one.labels), [dict(taint) for taint in one.taints])
        for name, one in pools.items()
    }


def test_nodes_are_exactly_what_pods_are_told_of_them(record: Record) -> None:
    nodes = carried(applied(record))
    assert {pool_of(name) for name in nodes} == set(SHAPES)
    assert {"general-spot", "training-spot"} < set(nodes)
    for name, node in nodes.items():
        assert node == said()[pool_of(name)], name


def test_a_pool_of_gpus_keeps_off_what_asks_for_none(record: Record) -> None:
    for name, (labels, taints) in carried(applied(record)).items():
        assert labels[POOL] == pool_of(name)
        gpus = {"key": GPU, "value": "true", "effect": "NoSchedule"}
        assert (gpus in taints) == (labels[KIND] == "gpu"), name


# --- how long nodes live --------------------------------------------------------------------------


def moved_by_karpenter(spec: Any) -> bool:
    """Whether Karpenter ends nodes with pods on them, to save money or because they are old."""
    return bool(
        spec["disruption"]["consolidationPolicy"] != "WhenEmpty"
        or (
            spec["template"]["spec"]["expireAfter"] != "Never"
            and spec["template"]["spec"]["terminationGracePeriod"] == "1h"
        )
    )


def test_neither_a_job_nor_a_notebook_is_moved(record: Record) -> None:
    for name, spec in of_kind(applied(record), "NodePool"):
        left_alone = SHAPES[pool_of(name)].purpose in ("training", "workspaces")
        assert moved_by_karpenter(spec) != left_alone, name


def test_a_node_that_has_to_go_waits_for_its_job(record: Record) -> None:
    found = applied(record)
    node = found["NodePool", "training"]["template"]["spec"]
    assert (node["expireAfter"], node["terminationGracePeriod"]) == ("Never", "48h")
    node = found["NodePool", "notebooks"]["template"]["spec"]
    assert (node["expireAfter"], node["terminationGracePeriod"]) == ("720h", "24h")


def test_every_pool_has_limits_of_its_nodes(record: Record) -> None:
    for name, spec in of_kind(applied(record), "NodePool"):
        kinds = {"cpu", GPU} if SHAPES[pool_of(name)].kind == "gpu" else {"cpu"}
        assert set(spec["limits"]) == kinds, name
        assert all(int(one) > 0 for one in spec["limits"].values())


# --- what nodes are -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "devices"),
    [
        ("al2023@v20260904", ["/dev/xvda"]),
        ("bottlerocket@1.49.0", ["/dev/xvda", "/dev/xvdb"]),
    ],
)
def test_every_disk_of_a_node_is_under_the_key(
    record: Record, image: str, devices: list[str]
) -> None:
    args = ElasticPoolsArgs(manifests=manifests(replace(PLACE, image=image)))
    for _, spec in of_kind(applied(record, args), "EC2NodeClass"):
        disks = spec["blockDeviceMappings"]
        # one that is not named would be made as the image says
        assert [one["deviceName"] for one in disks] == devices
        for one in disks:
            assert (one["ebs"]["encrypted"], one["ebs"]["kmsKeyID"]) == (True, KEY)


def test_nodes_are_pinned_private_and_tell_nobody_their_role(record: Record) -> None:
    for _, spec in of_kind(applied(record), "EC2NodeClass"):
        assert spec["amiSelectorTerms"] == [{"alias": "al2023@v20260904"}]
        assert spec["metadataOptions"]["httpTokens"] == "required"
        assert spec["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert spec["associatePublicIPAddress"] is False
        assert spec["tags"] == {"owner": "ml"}
        assert (spec["instanceProfile"], "role" in spec) == ("falaj-prod-elastic-nodes", False)


@pytest.mark.parametrize("image", ["al2023@latest", "al2023", "ami-0123456789abcdef0"])
def test_an_image_that_moves_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="image"):
        ElasticNodesSettings(pools=SHAPES, image=image)


def test_nodes_come_up_only_where_their_types_are_offered(record: Record) -> None:
    data = region_data(REGION)
    assert data is not None
    zone_of = {subnet: zone for zone, subnet in ZONES.items()}
    chosen: dict[str, set[str]] = {}
    for name, spec in of_kind(applied(record), "EC2NodeClass"):
        chosen[name] = {zone_of[one["id"]] for one in spec["subnetSelectorTerms"]}
        assert chosen[name], name
        for zone in chosen[name]:
            assert any(zone in data.zones_of(one) for one in SHAPES[name].instance_types), name
    assert has_gpu("g5.2xlarge")
    lacking = set(ZONES) - set(data.zones_of("g5.2xlarge"))
    assert lacking, "the record says that one zone has none, or this shows nothing"
    assert not chosen["training"] & lacking


def test_a_zone_that_is_asked_for_is_the_one_that_is_taken() -> None:
    data = region_data(REGION)
    assert data is not None
    wanted = sorted(data.zones_of("g5.2xlarge"))[0]
    spec = node_class("one", shape("gpu", "g5.2xlarge", zones=[wanted]), PLACE).spec
    assert spec["subnetSelectorTerms"] == [{"id": ZONES[wanted]}]


# --- order ----------------------------------------------------------------------------------------


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Resource → as the engine was asked to make it."""
    asked: dict[str, Any] = {}
    register = mocks.MockMonitor.RegisterResource

    def watched(self: Any, request: Any) -> Any:
        asked[request.name] = request
        return register(self, request)

    monkeypatch.setattr(mocks.MockMonitor, "RegisterResource", watched)
    return asked


def test_pools_come_after_the_controller_and_go_before_it(
    record: Record, order: dict[str, Any]
) -> None:
    def build() -> None:
        controller = pulumi.ComponentResource("test:Controller", "controller")
        held = pulumi.CustomResource(
            "test:index:Thing", "crd", {}, pulumi.ResourceOptions(parent=controller)
        )
        ElasticPools("pools", ElasticPoolsArgs(manifests=manifests(), wait_for=[held]))

    record(build)

    def before(name: str) -> set[str]:
        return {urn.rpartition("::")[2] for urn in order[name].dependencies}

    assert before("pools-training-class") == {"crd"}
    for name in ("pools-training", "pools-training-spot"):
        assert before(name) == {"pools-training-class"}
        # its nodes are drained meanwhile
        assert order[name].customTimeouts.delete == "60m"


def test_a_pool_whose_class_is_missing_is_an_error() -> None:
    pools = [one for one in manifests() if one.kind == "NodePool"]
    with pytest.raises(ValueError, match="serving: names the node class serving; there are none"):
        ElasticPoolsArgs(manifests=pools)
    assert ElasticPoolsArgs(manifests=manifests())


@pytest.mark.parametrize("part", [backup, elastic_pools, gpu, secret_stores, storage_classes])
def test_a_part_of_the_cluster_knows_no_cloud(part: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(part))
    names = [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert names
    assert not [name for name in names if name.startswith("components.aws")]
