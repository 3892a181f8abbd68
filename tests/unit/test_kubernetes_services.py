"""What holds of all services of a cluster alike: where they go, and what the packs say of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
from pulumi.runtime import mocks
from rule_cases import run

from components.aws.disks import ebs_disks
from components.aws.karpenter_objects import NodePlace, node_class, node_pools
from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.pools_for_pods import pools_for_pods
from components.kubernetes.backup import Bucket, ClusterBackup, ClusterBackupArgs
from components.kubernetes.backup_settings import ClusterBackupSettings
from components.kubernetes.elastic_pools import ElasticPools, ElasticPoolsArgs
from components.kubernetes.gpu import GpuPlugin, GpuPluginArgs
from components.kubernetes.secret_stores import SecretsManager, SecretStores, SecretStoresArgs
from components.kubernetes.storage_classes import StorageClasses, StorageClassesArgs
from components.kubernetes.storage_classes_settings import StorageClassesSettings
from policies.common.configuration import parsed
from policies.common.resources import Resource
from policies.packs import CONFIGURATIONS, RULES

Record = Callable[[Callable[[], object]], Any]

REGION = "me-central-1"
KEY = f"arn:aws:kms:{REGION}:123456789012:key/0"
POOL = ElasticPoolSettings(kind="gpu", instance_types=("g5.2xlarge",), max_nodes=4)
PLACE = NodePlace(
    region=REGION,
    cluster_name="falaj-prod",
    instance_profile="falaj-prod-elastic-nodes",
    subnet_ids={f"{REGION}a": "subnet-a"},
    security_group_ids=["sg-nodes"],
    volume_key_arn=KEY,
    image="al2023@v20260904",
    max_pods=110,
)


def build(opts: pulumi.ResourceOptions | None, wait_for: Sequence[pulumi.Resource] = ()) -> None:
    """Every service under `opts`."""
    StorageClasses(
        "volumes",
        StorageClassesArgs(
            settings=StorageClassesSettings(not_default=("gp2",)),
            disks=ebs_disks(KEY, {}, wait_for),
        ),
        opts,
    )
    SecretStores(
        "secrets",
        SecretStoresArgs(
            source=SecretsManager(region=REGION),
            folders={"wheat": "teams/wheat/"},
            wait_for=wait_for,
        ),
        opts,
    )
    manifests = [node_class("training", POOL, PLACE), *node_pools("training", POOL)]
    ElasticPools("pools", ElasticPoolsArgs(manifests=manifests, wait_for=wait_for), opts)
    pools = pools_for_pods({"elastic_nodes.pools.training": POOL}, 110)
    plugin = GpuPluginArgs(image=PLUGIN, pools=pools, wait_for=wait_for)
    GpuPlugin("gpu", plugin, opts)
    ClusterBackup(
        "backup",
        ClusterBackupArgs(
            settings=ClusterBackupSettings(),
            namespaces=("wheat",),
            bucket=Bucket(name="backups", region=REGION, key_arn=KEY),
            wait_for=wait_for,
        ),
        opts,
    )


PLUGIN = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/plugin@sha256:{'0' * 64}"


def objects(made: Any) -> list[Any]:
    return [one for one in made.resources if one.inputs.get("metadata")]


def strays(made: Any) -> list[str]:
    """Objects that would go to whatever cluster the workstation knows."""
    return [one.name for one in objects(made) if "::here::" not in one.provider]


def test_every_object_goes_to_the_cluster_that_is_named(record: Record) -> None:
    def here() -> None:
        provider = kubernetes.Provider("here", kubeconfig="{}")
        build(pulumi.ResourceOptions(provider=provider))

    made = record(here)
    assert len(objects(made)) > 12
    assert not strays(made)
    assert len(strays(record(lambda: build(None)))) == len(objects(made))


BUILT_IN = {"volumes-gp2-not-default", "volumes-policy", "volumes-policy-binding"}
"""Need nothing but the API server: who waits for the driver would be late with them."""


def early(record: Record, monkeypatch: pytest.MonkeyPatch, *, wait: bool) -> set[str]:
    """Objects that may be made before their operator, and so would be left behind by it."""
    direct: dict[str, set[str]] = {}
    register = mocks.MockMonitor.RegisterResource

    def watched(self: Any, request: Any) -> Any:
        direct[request.name] = {urn.rpartition("::")[2] for urn in request.dependencies}
        return register(self, request)

    def waits(name: str) -> bool:
        return any(one == "operator" or waits(one) for one in direct.get(name, ()))

    def program() -> None:
        operator = pulumi.CustomResource("test:index:Operator", "operator", {})
        build(None, [operator] if wait else [])

    with monkeypatch.context() as patched:
        patched.setattr(mocks.MockMonitor, "RegisterResource", watched)
        made = objects(record(program))
    return {one.name for one in made if not waits(one.name)}


def test_an_object_comes_after_what_acts_on_it_and_goes_before(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert early(record, monkeypatch, wait=True) == BUILT_IN
    assert len(early(record, monkeypatch, wait=False)) > len(BUILT_IN)


@pytest.fixture
def seen(record: Record) -> list[Resource]:
    """The services as the packs see them."""
    return [
        Resource(
            type=one.type,
            urn=f"urn::{one.name}",
            name=one.name,
            # the engine's protocol has one kind of number, and a pack reads whole ones as such
            properties=json.loads(
                json.dumps(one.inputs),
                parse_float=lambda text: int(float(text)) if text.endswith(".0") else float(text),
            ),
        )
        for one in objects(record(lambda: build(None)))
    ]


PROD = parsed((CONFIGURATIONS / "prod.json").read_text())
"""What prod asks of the rules."""


def failed(resources: list[Resource]) -> set[str]:
    return {
        one.rule.name
        for one in run(RULES, *resources, configuration=PROD)
        if one.outcome == "failed"
    }


def test_the_packs_have_nothing_against_the_services(seen: list[Resource]) -> None:
    about = [one.rule.name for one in run(RULES, *seen, configuration=PROD) if one.applicable]
    assert {"disk-uses-customer-key", "instance-metadata-is-v2-only"} <= set(about)
    assert not failed(seen)


def test_the_packs_would_see_a_node_with_a_plain_disk_or_old_metadata(seen: list[Resource]) -> None:
    (node,) = [one for one in seen if one.type.endswith(":EC2NodeClass")]
    spec: Any = node.properties["spec"]
    spec["blockDeviceMappings"][0]["ebs"]["encrypted"] = False
    spec["metadataOptions"]["httpTokens"] = "optional"
    assert {"disk-uses-customer-key", "instance-metadata-is-v2-only"} <= failed(seen)
