"""Keys of teams on mocks: what is in a team's folders is under its key, and goes with the key.

Every role is given all rights by its own policies, so that what is refused here is refused by
buckets, doors and keys, whatever a role is allowed some day.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest
from policy_decision import Request, decide, verdict
from unwatched import UNWATCHED

from components.aws.access import IDENTITIES, TEAM_BUCKETS, identities, team_role
from components.aws.place import AwsPlace, AwsPlaceArgs
from components.aws.scope import Scope
from components.aws.settings.aws import AwsSettings
from components.aws.settings.cluster import ExistingCluster
from components.aws.settings.identity import CiSettings, IdentitySettings
from components.aws.settings.keys import KeySettings
from components.aws.settings.network import ExistingNetwork
from components.aws.storage import EXEMPT_ROLES
from components.contract import TeamOutputs
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.settings import TeamQuota

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
Way = Literal["door of credit", "door of fraud", "bucket"]

ACCOUNT, REGION, VPC = "123456789012", "me-central-1", "vpc-0a1b2c3d4e5f60718"
SCOPE = Scope(environment="prod", account_id=ACCOUNT, region=REGION)
TEAMS = ("credit", "fraud")
OF_ALL, STRAY = "arn:prod-artifacts-key", "arn:aws:kms:me-central-1:123456789012:key/stray"
OF_TEAM = {team: f"arn:prod-team-{team}-data-key" for team in TEAMS}
NAMED = (None, OF_ALL, *OF_TEAM.values(), STRAY)
"""What an upload may name; `None` for nothing, by which S3 takes the bucket's."""
COPIER = "backup-copy-second-site"
ROLES = sorted({*identities(TEAMS), *EXEMPT_ROLES, "plan", "runner", COPIER})
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": ["*"], "Resource": ["*"]}]}
KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
LARGEST_POLICY, LARGEST_ROLE_POLICIES = 20 * 1024, 10_240


def place_of(teams: tuple[str, ...], seen: dict[str, Any]) -> Callable[[], object]:
    private = {f"me-central-1{zone}": f"subnet-0a1b2c3d4e5f6071{zone}" for zone in "ac"}
    isolated = {f"me-central-1{zone}": f"subnet-1a1b2c3d4e5f6071{zone}" for zone in "ac"}
    args: dict[str, Any] = {
        "environment": "prod",
        "owner": "ml-platform",
        "residency_mode": "in-country",
        "aws": AwsSettings(
            account_id=ACCOUNT,
            region=REGION,
            existing_network=ExistingNetwork.model_validate(
                {
                    "vpc_id": VPC,
                    "cidr": "10.0.0.0/16",
                    "private_subnet_ids": private,
                    "isolated_subnet_ids": isolated,
                    "private_route_table_ids": ("rtb-0a1b2c3d4e5f60718",),
                }
            ),
            existing_cluster=ExistingCluster(name="falaj-prod", subnet_ids=private),
            keys=KeySettings(team_keys=True),
            identity=IdentitySettings(
                ci=(CiSettings(kind="github", repository="bank/falaj", environment="prod"),),
                break_glass_users=("amna",),
            ),
            **UNWATCHED,
        ),
        "kubeconfig": "apiVersion: v1",
        "layer": LayerSettings(teams={team: TeamQuota() for team in teams}),
    }

    def build() -> object:
        import pulumi

        fields = AwsPlace("prod", AwsPlaceArgs(**args)).fields
        return pulumi.Output.from_input(fields).apply(seen.update)

    return build


class Estate:
    """An environment whose policies are asked; `without` leaves statements out by their sid."""

    def __init__(self, made: Recording, fields: Mapping[str, Any]) -> None:
        self.made, self.fields = made, fields
        self.without: frozenset[str] = frozenset()

    def policy(self, kind: str, name: str) -> dict[str, Any]:
        text = self.made.the(kind, name).inputs["policy"]
        for bucket in TEAM_BUCKETS:
            text = text.replace(f"arn:prod-{bucket}-store-bucket", SCOPE.bucket_arn(bucket))
        kept = [one for one in json.loads(text)["Statement"] if one["Sid"] not in self.without]
        return {"Statement": kept}

    def takes(self, way: Way, target: str, role: str, action: str, named: str | None) -> bool:
        """Whether S3 lets `role` do `action` to ``bucket/key``, an upload naming a key of KMS."""
        bucket, _, key = target.partition("/")
        context: dict[str, str] = {"aws:SourceVpc": VPC}
        if named is not None:
            context |= {KEY: named, "s3:x-amz-server-side-encryption": "aws:kms"}
        resources = {
            f"{SCOPE.bucket_arn(bucket)}/{key}": self.policy("BucketPolicy", f"-{bucket}-")
        }
        if way != "bucket":
            team = way.rpartition(" ")[2]
            context |= {"s3:DataAccessPointAccount": ACCOUNT, "s3:AccessPointNetworkOrigin": "VPC"}
            door = self.policy("AccessPoint", f"access-{team}-{bucket}")
            resources[f"{SCOPE.access_point_arn(bucket, team)}/object/{key}"] = door
        return all(
            decide(
                Request(
                    principal=SCOPE.role_arn(role), action=action, resource=arn, context=context
                ),
                identity=[EVERYTHING],
                resource=[policy],
            )
            == "allowed"
            for arn, policy in resources.items()
        )

    def kms(self, role: str, action: str, key: str) -> bool:
        """Whether the policy of a key lets `role` use it through S3; a stray key lets anybody."""
        if key == STRAY:
            return True
        request = Request(
            action=action,
            resource=key,
            principal=SCOPE.role_arn(role),
            context={
                "aws:PrincipalArn": SCOPE.role_arn(role),
                "aws:RequestedRegion": REGION,
                "kms:CallerAccount": ACCOUNT,
                "kms:ViaService": SCOPE.service("s3"),
            },
        )
        name = key.removeprefix("arn:")
        return bool(verdict(self.made.the("Key", name).inputs["policy"], request) == "allowed")

    def written(self, key: str, buckets: tuple[str, ...] = TEAM_BUCKETS) -> Iterator[Any]:
        """(Role, key that S3 then encrypts with) for each upload to `key` that succeeds."""
        ways: tuple[Way, ...] = ("door of credit", "door of fraud", "bucket")
        for way, bucket, role, named in itertools.product(ways, buckets, ROLES, NAMED):
            encrypts = named or OF_ALL
            if self.kms(role, "kms:GenerateDataKey", encrypts) and self.takes(
                way, f"{bucket}/{key}", role, "s3:PutObject", named
            ):
                yield role, encrypts


BUILT: list[tuple[Recording, dict[str, Any]]] = []
"""The environment, built once for all tests: they only read it."""


@pytest.fixture
def estate(record: Record) -> Estate:
    if not BUILT:
        seen: dict[str, Any] = {}
        BUILT.append((record(place_of(TEAMS, seen)), seen))
    return Estate(*BUILT[0])


BELOW = "teams/credit/loans/1"


def test_into_a_team_s_folders_comes_nothing_under_another_key(estate: Estate) -> None:
    found = set(estate.written(BELOW))

    # AWS Backup, which alone takes its role, brings an object back under the key that it had, or
    # under the one that a restore names; never under the bucket's
    assert {key for role, key in found if role == "backup"} == {*OF_TEAM.values(), STRAY}
    assert {one for one in found if one[0] != "backup"} == {("team-credit", OF_TEAM["credit"])}


@pytest.mark.parametrize(
    ("sid", "stranger"),
    [
        ("DenyOtherKeys", ("team-credit", STRAY)),
        ("DenyBucketKeyInKeyedFolders", ("backup", OF_ALL)),
        ("DenyKeyedFoldersBesideTheirDoors", ("training", STRAY)),
    ],
)
def test_and_would_without_any_one_of_the_statements_that_hold_it(
    estate: Estate, sid: str, stranger: tuple[str, str]
) -> None:
    estate.without = frozenset({sid})

    assert stranger in set(estate.written(BELOW, ("data",)))


def test_beside_the_folders_of_teams_comes_nothing_under_their_keys(estate: Estate) -> None:
    for path in ("mlflow/1/model", "lake/shared/rates/1", "registry/1", "teams"):
        keys = {key for _, key in estate.written(path)}
        assert keys == {OF_ALL}, path


def test_the_artifact_proxy_serves_what_is_shared_and_no_team(estate: Estate) -> None:
    assert ("tracking", OF_ALL) in set(estate.written("mlflow/1/model", ("artifacts",)))
    for key in (*OF_TEAM.values(), OF_ALL):
        assert ("tracking", key) not in set(estate.written(BELOW))
    assert not any(one.of_teams for one in IDENTITIES["tracking"].prefixes)


def readers(estate: Estate, bucket: str, *, deleted: frozenset[str]) -> set[str]:
    """Who opens an object of credit; KMS uses no key that is scheduled for deletion, for nobody."""
    written = {key for role, key in estate.written(BELOW, (bucket,)) if role != "backup"}
    ways: tuple[Way, ...] = ("door of credit", "bucket")
    return {
        role
        for role, key, way in itertools.product(ROLES, written - deleted, ways)
        if estate.kms(role, "kms:Decrypt", key)
        and estate.takes(way, f"{bucket}/{BELOW}", role, "s3:GetObject", None)
    }


@pytest.mark.parametrize("bucket", TEAM_BUCKETS)
def test_a_team_s_objects_are_read_by_few_and_once_its_key_goes_by_nobody(
    estate: Estate, bucket: str
) -> None:
    # that serving opens models alone is said by its role (test_aws_identity)
    few = {"team-credit", "backup", COPIER, "serving"}

    assert readers(estate, bucket, deleted=frozenset()) == few
    assert readers(estate, bucket, deleted=frozenset({OF_TEAM["credit"]})) == set()
    assert readers(estate, bucket, deleted=frozenset({OF_TEAM["fraud"]})) == few


def test_break_glass_alone_lets_a_team_s_key_go_and_brings_it_back(estate: Estate) -> None:
    policies = {one.inputs["name"]: one.inputs["policy"] for one in estate.made.of("Policy")}
    boundary = policies[SCOPE.name("boundary")]
    deploying = [text for name, text in policies.items() if "-deploy-" in name]

    def may(role: str, action: str) -> bool:
        own = [
            one.inputs["policy"]
            for one in estate.made.of("RolePolicy")
            if one.inputs["role"] == SCOPE.name(role)
        ]
        request = Request(
            action=action,
            resource=SCOPE.arn("kms", "key/of-credit"),
            principal=SCOPE.role_arn(role),
            context={"aws:PrincipalArn": SCOPE.role_arn(role), "aws:RequestedRegion": REGION},
        )
        decision = decide(
            request,
            identity=[*own, *(deploying if role in ("apply", "break-glass") else [])],
            boundary=boundary,
            key=estate.made.the("Key", "prod-team-credit").inputs["policy"],
        )
        return decision == "allowed"

    assert deploying
    for action in ("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:EnableKey"):
        assert {role for role in {*ROLES, "plan"} if may(role, action)} == {"break-glass"}, action


def test_serving_changes_nothing_that_a_team_keeps(estate: Estate) -> None:
    for action in ("s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging"):
        for key in (BELOW, "registry/1"):
            named = OF_TEAM["credit"]
            assert not estate.takes("door of credit", f"models/{key}", "serving", action, named)
    assert not estate.takes("door of credit", f"data/{BELOW}", "serving", "s3:GetObject", None)


def test_a_team_s_own_policies_let_it_upload_under_its_key_alone(estate: Estate) -> None:
    """Even if a door forgot to ask."""
    policy = estate.policy("RolePolicy", "identity-team-credit")
    for bucket in TEAM_BUCKETS:
        for named in NAMED:
            request = Request(
                principal=SCOPE.role_arn(team_role("credit")),
                action="s3:PutObject",
                resource=f"{SCOPE.access_point_arn(bucket, 'credit')}/object/{BELOW}",
                context={KEY: named} if named else {},
            )
            own = named == OF_TEAM["credit"]
            assert (decide(request, identity=[policy]) == "allowed") is own, (bucket, named)


def test_a_team_is_told_its_key_and_its_folders(estate: Estate) -> None:
    told = TeamOutputs.model_validate(estate.fields["teams"]["credit"])

    assert told.encryption_key == OF_TEAM["credit"]
    assert told.folders == dict.fromkeys(TEAM_BUCKETS, "s3://door-s3alias/teams/credit/")
    assert estate.fields["encryption_keys"]["team-credit"] == OF_TEAM["credit"]


def test_policies_fit_and_those_that_all_teams_share_do_not_grow(
    estate: Estate, record: Record
) -> None:
    many = Estate(record(place_of(tuple(f"team-{n:03}" for n in range(30)), {})), {})

    for bucket in TEAM_BUCKETS:
        assert many.policy("BucketPolicy", f"-{bucket}-") == estate.policy(
            "BucketPolicy", f"-{bucket}-"
        )
    for kind in ("BucketPolicy", "AccessPoint"):
        assert max(len(one.inputs["policy"]) for one in many.made.of(kind)) < LARGEST_POLICY / 2
    sizes: dict[str, int] = {}
    for one in many.made.of("RolePolicy"):
        role = one.inputs["role"]
        sizes[role] = sizes.get(role, 0) + len(one.inputs["policy"])
    assert max(sizes.values()) < LARGEST_ROLE_POLICIES
    for name in ("prod-artifacts-key", "prod-team-"):
        for key in (one for one in many.made.of("Key") if one.name.startswith(name)):
            assert len(key.inputs["policy"]) < 32 * 1024 / 2
