"""The cache and the stream: off by default, encrypted, private, and used by IAM alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from components.aws.cache import Cache, CacheArgs, existing_cache
from components.aws.placement import Placement
from components.aws.scope import Scope
from components.aws.settings.cache import (
    CacheSettings,
    ExistingCache,
    long_cache_names,
    problems_of_features,
)
from components.aws.settings.stream import ExistingStream, StreamSettings
from components.aws.stream import Stream, StreamArgs, existing_stream, server_properties
from components.kubernetes.feature_store_settings import online_rights

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]

ARGS: dict[str, Any] = {
    "scope": Scope(environment="prod", account_id="123456789012", region="me-central-1"),
    "placement": Placement(
        vpc_id="vpc-1",
        subnet_ids=["subnet-a", "subnet-b", "subnet-c"],
        client_security_group_id="sg-nodes",
    ),
    "key_arn": "arn:key:database",
    "log_key_arn": "arn:key:logs",
    "keep": True,
}


@pytest.fixture
def cache(record: Record) -> Callable[..., Recording]:
    return lambda keep=True, featured=(), **settings: record(
        lambda: Cache(
            "prod-cache",
            CacheArgs(
                **{**ARGS, "keep": keep},
                featured=featured,
                settings=CacheSettings(kind="elasticache", **settings),
            ),
        )
    )


@pytest.fixture
def stream(record: Record) -> Callable[..., Recording]:
    return lambda keep=True, **settings: record(
        lambda: Stream(
            "prod-stream",
            StreamArgs(**{**ARGS, "keep": keep}, settings=StreamSettings(kind="msk", **settings)),
        )
    )


def test_neither_is_made_unless_it_is_asked_for() -> None:
    assert CacheSettings().kind == "none"
    assert StreamSettings().kind == "none"


def test_the_cache_is_encrypted_at_rest_and_on_the_way(cache: Callable[..., Recording]) -> None:
    group = cache().the("ReplicationGroup").inputs

    assert (group["atRestEncryptionEnabled"], group["kmsKeyId"]) == (True, "arn:key:database")
    assert (group["transitEncryptionEnabled"], group["transitEncryptionMode"]) == (True, "required")


def test_users_of_the_cache_log_in_by_iam_with_the_name_that_is_their_id(
    cache: Callable[..., Recording],
) -> None:
    recording = cache(users=("features", "sessions"))
    users = {one.inputs["userId"]: one.inputs for one in recording.of("User")}

    assert users.keys() == {"falaj-prod-cache-features", "falaj-prod-cache-sessions"}
    for identifier, user in users.items():
        # ElastiCache refuses any other name by IAM
        assert user["userName"] == identifier
        assert user["authenticationMode"] == {"type": "iam"}
        assert "-@dangerous" in user["accessString"]
        assert not user.keys() & {"passwords", "noPasswordRequired"}
    assert recording.the("UserGroup").inputs["userIds"] == list(users)
    replication = recording.the("ReplicationGroup").inputs
    assert replication["userGroupIds"] == ["falaj-prod-cache"]
    assert "authToken" not in replication


def test_each_team_with_a_feature_store_has_a_user_whose_password_stands_nowhere(
    cache: Callable[..., Recording],
) -> None:
    recording = cache(featured=("credit", "retail-credit"))
    users = {one.inputs["userId"]: one.inputs for one in recording.of("User")}

    assert users.keys() == {"falaj-prod-cache-team-credit", "falaj-prod-cache-team-retail-credit"}
    for user in users.values():
        # until ElastiCache is told a password nobody logs in: no role may connect as it
        assert user["authenticationMode"] == {"type": "iam"}
        assert not user.keys() & {"passwords", "noPasswordRequired"}
    rights = {name.rpartition("team-")[2]: user["accessString"] for name, user in users.items()}
    assert rights == {team: online_rights(team) for team in ("credit", "retail-credit")}
    assert recording.the("UserGroup").inputs["userIds"] == list(users)


def test_a_team_s_user_connects_by_no_token_of_iam(record: Record) -> None:
    settings = CacheSettings(kind="elasticache")
    seen: list[Any] = []
    args = CacheArgs(**ARGS, settings=settings, featured=("credit",))
    record(lambda: seen.append(Cache("c", args).access))

    assert seen[0].users == {}
    assert seen[0].team_users.keys() == {"credit"}


def test_a_cache_that_nobody_uses_lets_nobody_in(cache: Callable[..., Recording]) -> None:
    recording = cache()
    (user,) = recording.of("User")

    assert user.inputs["accessString"] == "off -@all"
    assert recording.the("UserGroup").inputs["userIds"] == [user.inputs["userId"]]


def test_the_cache_says_what_its_users_connect_to(record: Record) -> None:
    settings = CacheSettings(kind="elasticache", users=("features",))
    seen: list[Any] = []
    record(lambda: seen.append(Cache("c", CacheArgs(**ARGS, settings=settings)).access))

    assert seen[0].users["features"].connect_arns == (
        "arn:aws:elasticache:me-central-1:123456789012:replicationgroup:falaj-prod-cache",
        "arn:aws:elasticache:me-central-1:123456789012:user:falaj-prod-cache-features",
    )


@pytest.mark.parametrize(("replicas", "spread"), [(0, False), (2, True)])
def test_copies_of_the_cache_are_in_other_zones(
    cache: Callable[..., Recording], replicas: int, *, spread: bool
) -> None:
    group = cache(replicas=replicas).the("ReplicationGroup").inputs

    assert group["numCacheClusters"] == 1 + replicas
    assert (group["automaticFailoverEnabled"], group["multiAzEnabled"]) == (spread, spread)


@pytest.mark.parametrize("keep", [True, False])
def test_a_cache_that_is_kept_ends_with_a_snapshot(
    cache: Callable[..., Recording], *, keep: bool
) -> None:
    group = cache(keep=keep).the("ReplicationGroup").inputs

    assert ("finalSnapshotIdentifier" in group) is keep
    assert group["snapshotRetentionLimit"] == 7


def test_the_stream_is_encrypted_at_rest_and_on_the_way(stream: Callable[..., Recording]) -> None:
    encryption = stream().the("Cluster").inputs["encryptionInfo"]

    assert encryption == {
        "encryptionAtRestKmsKeyArn": "arn:key:database",
        "encryptionInTransit": {"clientBroker": "TLS", "inCluster": True},
    }


def test_clients_of_the_stream_log_in_by_iam_alone_and_never_from_outside(
    stream: Callable[..., Recording],
) -> None:
    cluster = stream().the("Cluster").inputs

    assert cluster["clientAuthentication"] == {
        "sasl": {"iam": True, "scram": False},
        "unauthenticated": False,
    }
    nodes = cluster["brokerNodeGroupInfo"]
    assert nodes["connectivityInfo"] == {"publicAccess": {"type": "DISABLED"}}
    assert nodes["clientSubnets"] == ["subnet-a", "subnet-b", "subnet-c"]
    assert cluster["numberOfBrokerNodes"] == 3


@pytest.mark.parametrize("part", ["cache", "stream"])
def test_only_nodes_of_the_cluster_reach_them(
    cache: Callable[..., Recording], stream: Callable[..., Recording], part: str
) -> None:
    recording = {"cache": cache, "stream": stream}[part]()
    group = recording.the("SecurityGroup")
    rules = recording.of("SecurityGroupIngressRule")
    from_clients = {
        rule.inputs["fromPort"]
        for rule in rules
        if rule.inputs["referencedSecurityGroupId"] == "sg-nodes"
    }

    assert from_clients == {"cache": {6379}, "stream": {9098, 11001, 11002}}[part]
    own = f"id:{group.name}"
    assert {rule.inputs["referencedSecurityGroupId"] for rule in rules} <= {"sg-nodes", own}
    assert not [rule for rule in rules if "cidrIpv4" in rule.inputs]


@pytest.mark.parametrize("part", ["cache", "stream"])
def test_what_they_log_is_under_the_key_of_logs(
    cache: Callable[..., Recording], stream: Callable[..., Recording], part: str
) -> None:
    recording = {"cache": cache, "stream": stream}[part]()
    groups = {one.inputs["name"] for one in recording.of("LogGroup")}

    assert {one.inputs["kmsKeyId"] for one in recording.of("LogGroup")} == {"arn:key:logs"}
    if part == "cache":
        targets = recording.the("ReplicationGroup").inputs["logDeliveryConfigurations"]
        assert {one["destination"] for one in targets} == groups
    else:
        logging = recording.the("Cluster").inputs["loggingInfo"]["brokerLogs"]
        assert {logging["cloudwatchLogs"]["logGroup"]} == groups


@pytest.mark.parametrize(("brokers", "copies", "synced"), [(2, 2, 1), (3, 3, 2), (6, 3, 2)])
def test_one_broker_may_be_away_and_topics_are_made_on_purpose(
    brokers: int, copies: int, synced: int
) -> None:
    lines = server_properties(StreamSettings(), brokers).splitlines()

    assert f"default.replication.factor={copies}" in lines
    assert f"min.insync.replicas={synced}" in lines
    assert "auto.create.topics.enable=false" in lines
    assert "log.retention.hours=168" in lines


def test_those_of_somebody_else_are_reached_the_same_way(record: Record) -> None:
    seen: list[Any] = []

    def build() -> None:
        cache_ = existing_cache(ExistingCache(address="cache.bank.example"))
        stream_ = existing_stream(ExistingStream(brokers=("a.example:9093", "b.example:9093")))
        cache_.address.apply(seen.append)
        stream_.brokers.apply(seen.append)

    record(build)
    assert sorted(seen) == ["a.example:9093,b.example:9093", "cache.bank.example"]


@pytest.mark.parametrize(
    ("section", "settings", "problem"),
    [
        (CacheSettings, {"kind": "existing"}, "existing: is needed"),
        (CacheSettings, {"existing": {"address": "x"}}, "existing: is needed"),
        (CacheSettings, {"users": ["team-credit"]}, "users: 'team-credit' begins as"),
        (CacheSettings, {"node_type": "db.t3.micro"}, "node_type"),
        (CacheSettings, {"snapshot_window": "21:30-22:30"}, "overlaps maintenance_window"),
        (StreamSettings, {"kind": "existing"}, "existing: is needed"),
        (StreamSettings, {"kind": "kinesis"}, "kind"),
        (StreamSettings, {"version": "latest"}, "version"),
        (
            StreamSettings,
            {"kind": "existing", "existing": {"brokers": ["no port"]}},
            "existing.brokers",
        ),
    ],
)
def test_a_setting_that_cannot_hold_is_named(
    section: Any, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        section(**settings)


def test_names_that_are_too_long_for_elasticache_are_all_named() -> None:
    cache = CacheSettings(kind="elasticache", users=("features", "a" * 30))

    assert long_cache_names("prod", CacheSettings(kind="elasticache")) == []
    (problem,) = long_cache_names("prod", cache)
    assert problem.startswith("aws.cache.users: 'aaaaaaaa")
    assert len(long_cache_names("e" * 30, cache)) == 3
    (team,) = long_cache_names("prod", CacheSettings(kind="elasticache"), ["credit", "t" * 20])
    assert team.startswith("feature_store.teams.tttttttt")
    assert long_cache_names("e" * 30, CacheSettings()) == []


def test_what_feature_stores_lack_is_told_with_the_way_out() -> None:
    none, made = CacheSettings(), CacheSettings(kind="elasticache")

    (without_cache,) = problems_of_features(none, ["credit"])
    assert without_cache.startswith("aws.cache.kind: is 'none', and feature_store.teams.credit")
    assert list(problems_of_features(made, ["credit"])) == []
    assert list(problems_of_features(none, [])) == []
