"""How the place joins its stores of data: keys, network and clients that belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from unwatched import UNWATCHED

from components.aws.place import AwsPlace, AwsPlaceArgs
from components.aws.placement import Placement
from components.aws.settings.aws import AwsSettings
from components.aws.settings.cache import CacheSettings
from components.aws.settings.cluster import ExistingCluster
from components.aws.settings.database import DatabaseSettings
from components.aws.settings.stream import StreamSettings
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.settings import TeamQuota

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]

AWS: dict[str, Any] = {
    "account_id": "123456789012",
    "existing_cluster": ExistingCluster(
        name="falaj-dev", subnet_ids={"me-central-1a": "subnet-0a1b2c3d4e5f60718"}
    ),
    "cache": CacheSettings(kind="elasticache"),
    "stream": StreamSettings(kind="msk"),
    **UNWATCHED,
}
ARGS: dict[str, Any] = {
    "environment": "dev",
    "owner": "ml-platform",
    "residency_mode": "in-country",
    "aws": AwsSettings(**AWS),
    "layer": LayerSettings(teams={"credit": TeamQuota()}),
    "placement": Placement(
        vpc_id="vpc-1", subnet_ids=["subnet-a", "subnet-b"], client_security_group_id="sg-nodes"
    ),
}
OURS = ("Instance", "ReplicationGroup", "Cluster", "AccessPoint")


@pytest.fixture
def place(record: Record) -> Recording:
    return record(lambda: AwsPlace("dev", AwsPlaceArgs(**ARGS)))


def test_each_store_is_under_the_key_of_its_domain(place: Recording) -> None:
    database, cache, stream = (place.the(kind).inputs for kind in OURS[:3])

    assert database["kmsKeyId"] == "arn:dev-database-key"
    assert database["masterUserSecretKmsKeyId"] == "arn:dev-secrets-key"
    assert cache["kmsKeyId"] == "arn:dev-database-key"
    assert stream["encryptionInfo"]["encryptionAtRestKmsKeyArn"] == "arn:dev-database-key"
    assert {one.inputs["kmsKeyId"] for one in place.of("LogGroup")} == {"arn:dev-logs-key"}
    for queue in place.of("Queue"):
        assert queue.inputs["kmsMasterKeyId"] == "arn:dev-artifacts-key"


def test_each_store_is_reached_by_the_nodes_through_a_group_of_its_own(place: Recording) -> None:
    groups = {group.inputs["name"] for group in place.of("SecurityGroup")}
    clients = {
        rule.inputs["securityGroupId"]
        for rule in place.of("SecurityGroupIngressRule")
        if rule.inputs["referencedSecurityGroupId"] == "sg-nodes"
    }

    assert groups == {"falaj-dev-database", "falaj-dev-cache", "falaj-dev-stream"}
    assert clients == {f"id:{group.name}" for group in place.of("SecurityGroup")}
    assert {group.inputs["vpcId"] for group in place.of("SecurityGroup")} == {"vpc-1"}


def test_teams_come_to_data_from_the_same_network(place: Recording) -> None:
    points = {point.inputs["name"]: point.inputs for point in place.of("AccessPoint")}

    assert points.keys() == {
        f"falaj-dev-{content}-credit" for content in ("artifacts", "data", "models")
    }
    assert {point["vpcConfiguration"]["vpcId"] for point in points.values()} == {"vpc-1"}


def test_without_a_network_only_buckets_are_made(record: Record) -> None:
    place = record(lambda: AwsPlace("dev", AwsPlaceArgs(**{**ARGS, "placement": None})))

    assert [one for kind in OURS for one in place.of(kind)] == []
    assert place.of("Bucket") != []


def test_what_somebody_else_runs_is_used_and_not_made(record: Record) -> None:
    brought = {
        "database": DatabaseSettings.model_validate(
            {
                "existing": {
                    "address": "pg.bank.example",
                    "administrator_arn": "arn:aws:secretsmanager:me-central-1:1:secret:pg",
                }
            }
        ),
        "cache": CacheSettings.model_validate(
            {"kind": "existing", "existing": {"address": "cache.bank.example"}}
        ),
        "stream": StreamSettings.model_validate(
            {"kind": "existing", "existing": {"brokers": ["kafka.bank.example:9093"]}}
        ),
    }
    places: list[AwsPlace] = []
    args = AwsPlaceArgs(**{**ARGS, "aws": AwsSettings(**{**AWS, **brought})})
    recording = record(lambda: places.append(AwsPlace("dev", args)))

    assert [one for kind in OURS[:3] for one in recording.of(kind)] == []
    (place,) = places
    assert place.database is not None
    assert place.cache is not None
    assert place.stream is not None
    assert set(place.database.consumers) == {"tracking"}
