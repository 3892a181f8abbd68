"""The audit of an account: what is there, what is declared, what is abroad, what is not seen."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    TokenRetrievalError,
)
from moto import mock_aws
from moto.ec2.models.availability_zones_and_regions import Region, RegionsAndZonesBackend
from typer.testing import CliRunner

from policies.audit import account, report
from policies.audit.account import AuditError, Clients, Found, Listing, clients, look
from policies.audit.compare import Audit, compared
from policies.audit.declared import declaration
from policies.audit.kinds import Entry
from policies.audit.table import KINDS
from policies.cli import app
from policies.common.resources import StateError

HOME, ABROAD, CLOSED = "me-central-1", "eu-west-1", "ap-east-1"
NUMBER = "123456789012"
KEY = f"arn:aws:kms:{HOME}:{NUMBER}:key/11111111-2222-3333-4444-555555555555"
UNLISTED, UNMANAGED = "account-is-listed-everywhere", "account-resource-is-declared"
MISSING, REGION = "declared-resource-is-there", "aws-resource-region-is-allowed"


FAULTS: list[tuple[str, str | None, Exception]] = []
"""Operation, region (any where none is named), and what it fails with."""


@cache
def real() -> Clients:
    """The same clients for all tests: making one reads the description of its whole service."""
    made = clients()

    def client(service: str, region: str) -> Any:
        one = made(service, region)

        def fail(model: Any, **_: Any) -> None:
            for operation, place, error in FAULTS:
                if model.name == operation and place in (None, region):
                    raise error

        one.meta.events.register("before-call", fail, unique_id="faults")
        return one

    return client


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account with one region at home, one abroad, and one that is not enabled."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    # public images and their thousand snapshots: half a second for each region and test
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    regions = [(HOME, "opted-in"), (ABROAD, "opt-in-not-required"), (CLOSED, "not-opted-in")]
    made = [Region(name, f"ec2.{name}.amazonaws.com", status) for name, status in regions]
    monkeypatch.setattr(RegionsAndZonesBackend, "regions", made)
    FAULTS.clear()
    with mock_aws():
        yield


def client(service: str, region: str = HOME) -> Any:
    return real()(service, region)


def bucket(name: str, region: str = HOME, *, kept: bool = True) -> None:
    """With everything that the rules ask for, if it is to be `kept`."""
    s3 = client("s3", region)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    if kept:
        names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls")
        switches = dict.fromkeys((*names, "RestrictPublicBuckets"), True)
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=switches)
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        rules = [{"ApplyServerSideEncryptionByDefault": default}]
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})


def declared(kind: str, name: str, arn: str, region: str = HOME, **more: Any) -> dict[str, Any]:
    return {
        "urn": f"urn:pulumi:prod::bank::{kind}::{name}",
        "type": kind,
        "custom": True,
        "id": arn.rpartition(":")[2].rpartition("/")[2],
        "outputs": {"arn": arn, "region": region},
        **more,
    }


def declared_bucket(name: str, program_name: str = "raw", **more: Any) -> dict[str, Any]:
    return declared("aws:s3/bucket:Bucket", program_name, f"arn:aws:s3:::{name}", **more)


def state(*resources: dict[str, Any]) -> str:
    return json.dumps({"version": 3, "deployment": {"resources": resources}})


def audited(
    *states: str,
    configuration: Any = None,
    accepted: Any = None,
    asked: Clients | None = None,
) -> Audit:
    listing = look(asked or real(), HOME, lambda _: None)
    return compared(listing, declaration(states or [state()]), configuration, accepted)


def told(audit: Audit, verdict: str = "violation") -> list[tuple[str, str, str]]:
    """Region, rule and name of what it is about."""
    return [
        (one.region, one.rule.name, one.finding.resource.name)
        for one in audit.told
        if one.finding.verdict == verdict
    ]


def failing(error: Exception, operation: str, region: str | None = ABROAD) -> Clients:
    """Clients of which `operation` fails in `region`, or everywhere."""
    FAULTS.append((operation, region, error))
    return real()


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as AWS says it"}}, "Whatever")


# --- what is there, and what is declared ----------------------------------------------------------


def test_an_account_that_holds_what_is_declared_is_clean() -> None:
    bucket("raw-data")
    audit = audited(state(), state(declared_bucket("raw-data")))

    assert told(audit) == []
    assert audit.status == 0
    (thing,) = [one for one in audit.things if one.standing == "managed"]
    assert thing.resource.urn == "urn:pulumi:prod::bank::aws:s3/bucket:Bucket::raw"


def test_what_no_state_declares_is_unmanaged() -> None:
    bucket("by-hand")
    audit = audited(state())

    assert told(audit) == [(HOME, UNMANAGED, "by-hand")]
    assert audit.status == 1


def test_what_a_program_only_reads_is_another_ones_to_declare() -> None:
    bucket("of-others")
    assert told(audited(state(declared_bucket("of-others", external=True)))) == [
        (HOME, UNMANAGED, "of-others")
    ]


def test_what_is_declared_and_gone_is_missing() -> None:
    audit = audited(state(declared_bucket("gone")))

    assert told(audit) == [("worldwide", MISSING, "raw")]
    assert audit.status == 1


def test_what_could_not_be_listed_is_not_called_missing() -> None:
    group = declared(
        "aws:cloudwatch/logGroup:LogGroup", "logs", f"arn:aws:logs:{HOME}:{NUMBER}:log-group:/a:*"
    )
    assert (HOME, MISSING, "logs") in told(audited(state(group)))
    refused = audited(
        state(group), asked=failing(refusal("AccessDenied"), "DescribeLogGroups", HOME)
    )
    assert MISSING not in {rule for _, rule, _ in told(refused)}


def test_a_thing_without_an_arn_in_the_state_is_known_by_its_id() -> None:
    network = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    one = declared("aws:ec2/vpc:Vpc", "network", "")
    one |= {"id": network, "outputs": {"arn": {"4dabf18193072939515e22adb298388d": "x"}}}
    names = {name for _, _, name in told(audited(state(one)))}
    assert network not in names
    assert network in {name for _, _, name in told(audited(state()))}


def test_states_of_another_account_are_refused() -> None:
    other = declared("aws:sqs/queue:Queue", "q", f"arn:aws:sqs:{HOME}:999999999999:q")
    with pytest.raises(AuditError, match=r"account 999999999999, and the credentials are of 1234"):
        audited(state(other))


def test_a_file_that_is_no_state_is_refused() -> None:
    with pytest.raises(StateError, match="pulumi stack export"):
        declaration(["[]"])


# --- abroad ---------------------------------------------------------------------------------------


def test_a_forgotten_bucket_abroad_is_told_by_its_region() -> None:
    bucket("forgotten", ABROAD)
    assert (ABROAD, REGION, "forgotten") in told(audited(state()))
    allowed = {REGION: {"allowedRegions": [HOME, ABROAD]}}
    assert REGION not in {rule for _, rule, _ in told(audited(state(), configuration=allowed))}


def test_what_is_abroad_is_told_even_where_it_is_declared() -> None:
    bucket("copy", ABROAD)
    audit = audited(state(declared_bucket("copy", region=ABROAD)))
    assert told(audit) == [(ABROAD, REGION, "raw")]


def test_a_snapshot_abroad_is_told() -> None:
    ec2 = client("ec2", ABROAD)
    volume = ec2.create_volume(AvailabilityZone=f"{ABROAD}a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    assert (ABROAD, REGION, snapshot) in told(audited(state()))


def test_default_networks_are_awss_own_and_named_where_they_are_abroad() -> None:
    audit = audited(state())

    own = {(one.found.region, one.resource.type) for one in audit.things if one.standing == "aws"}
    assert {(HOME, "aws:ec2/vpc:Vpc"), (ABROAD, "aws:ec2/securityGroup:SecurityGroup")} <= own
    assert told(audit) == []
    assert f"default networks of AWS abroad: {ABROAD}" in list(report.lines(audit))


def test_what_has_a_tag_is_found_though_the_table_has_no_row_for_it() -> None:
    asked = client("acm", ABROAD).request_certificate(
        DomainName="bank.example", Tags=[{"Key": "owner", "Value": "somebody"}]
    )
    name = asked["CertificateArn"].rpartition(":")[2]
    found = told(audited(state()))
    assert {(ABROAD, UNMANAGED, name), (ABROAD, REGION, name)} <= set(found)


def test_roles_of_services_are_awss_own() -> None:
    client("iam").create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    client("iam").create_role(RoleName="by-hand", AssumeRolePolicyDocument=trust)
    assert told(audited(state())) == [("worldwide", UNMANAGED, "by-hand")]


def test_what_a_cluster_made_is_not_unmanaged_but_judged() -> None:
    tags = [{"Key": "ebs.csi.aws.com/cluster", "Value": "true"}]
    client("ec2").create_volume(
        AvailabilityZone=f"{HOME}a",
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )
    assert {rule for _, rule, _ in told(audited(state()))} == {"disk-uses-customer-key"}


# --- what is not seen -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refusal("AccessDeniedException"), "refused; `falaj policy audit --policy` prints"),
        (refusal("UnauthorizedOperation"), "refused; `falaj policy audit --policy` prints"),
        (refusal("ThrottlingException"), "throttled, after several attempts"),
        (refusal("ExpiredTokenException"), "the credentials have expired; sign in again"),
        (refusal("UnrecognizedClientException"), "or the region is not enabled yet"),
        (EndpointConnectionError(endpoint_url="https://kms"), "no network reaches it"),
        (TokenRetrievalError(provider="sso", error_msg="over"), "sign in again"),
        (refusal("InternalFailure"), "InternalFailure: as AWS says it"),
    ],
    ids=lambda one: one.response["Error"]["Code"] if isinstance(one, ClientError) else "",
)
def test_what_does_not_answer_is_a_gap_and_the_rest_goes_on(error: Exception, reason: str) -> None:
    bucket("by-hand", ABROAD)
    audit = audited(state(), asked=failing(error, "ListKeys"))

    (gap,) = audit.listing.gaps
    assert (gap.region, gap.what) == (ABROAD, "kms Key")
    assert reason in gap.reason
    assert audit.status == 2
    assert {(ABROAD, UNLISTED, ABROAD), (ABROAD, REGION, "by-hand")} <= set(told(audit))


def test_a_thing_whose_settings_are_refused_is_there_all_the_same() -> None:
    bucket("raw-data")
    audit = audited(
        state(declared_bucket("raw-data")),
        asked=failing(refusal("AccessDenied"), "GetBucketEncryption", None),
    )
    (gap,) = audit.listing.gaps
    assert (gap.region, gap.what) == (HOME, "what s3 Bucket raw-data is like")
    assert told(audit) == [(HOME, UNLISTED, HOME)]
    assert audit.status == 2


def test_a_service_that_a_region_does_not_have_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EndpointConnectionError(endpoint_url="https://efs")
    there = [HOME]
    monkeypatch.setattr(account, "_regions_of", lambda _: there)
    assert audited(state(), asked=failing(error, "DescribeFileSystems")).listing.gaps == []
    there.append(ABROAD)
    (gap,) = audited(state(), asked=failing(error, "DescribeFileSystems")).listing.gaps
    assert gap.what == "efs FileSystem"


def test_a_region_that_is_not_enabled_is_named() -> None:
    audit = audited(state())
    assert audit.listing.disabled == [CLOSED]
    assert f"not enabled, so nothing can be asked there: {CLOSED}" in list(report.lines(audit))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refusal("ExpiredToken"), "the credentials have expired"),
        (NoCredentialsError(), "there are no credentials"),
        (EndpointConnectionError(endpoint_url="https://sts"), "no network reaches it"),
    ],
)
def test_an_account_that_does_not_answer_at_all_is_an_error(error: Exception, reason: str) -> None:
    with pytest.raises(AuditError, match=reason):
        audited(asked=failing(error, "GetCallerIdentity", HOME))


def test_listings_are_read_to_their_last_page() -> None:
    logs = client("logs")
    for number in range(60):
        logs.create_log_group(logGroupName=f"/app/{number}")
    found = [one for one in audited(state()).things if one.found.kind.service == "logs"]
    assert len(found) == 60


# --- exceptions -----------------------------------------------------------------------------------


def exception(resource: str, days: int = 30) -> dict[str, str]:
    expires = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    return {
        "resource": resource,
        "reason": "kept until the migration of March",
        "approver": "CISO",
        "expires": expires.isoformat(),
    }


def test_an_exception_in_force_excuses_what_nobody_declares() -> None:
    bucket("by-hand")
    excused = {UNMANAGED: {"exceptions": [exception("aws:s3/bucket:Bucket::by-hand")]}}
    audit = audited(state(), accepted=excused)
    assert told(audit) == []
    assert told(audit, "excepted") == [(HOME, UNMANAGED, "by-hand")]
    assert audit.status == 0


def test_an_expired_exception_excuses_nothing() -> None:
    bucket("by-hand")
    expired = {UNMANAGED: {"exceptions": [exception("aws:s3/bucket:Bucket::by-hand", -1)]}}
    audit = audited(state(), accepted=expired)
    assert told(audit) == [(HOME, UNMANAGED, "by-hand")]
    assert any("its exception expired on" in line for line in report.lines(audit))


def test_an_exception_for_nothing_is_a_violation() -> None:
    stale = {UNMANAGED: {"exceptions": [exception("aws:s3/bucket:Bucket::gone")]}}
    audit = audited(state(), accepted=stale)
    assert told(audit) == [("", UNMANAGED, "aws:s3/bucket:Bucket::gone")]


def test_an_exception_of_the_environment_holds_by_the_programs_own_name() -> None:
    bucket("copy", ABROAD)
    said = {REGION: {"exceptions": [exception("aws:s3/bucket:Bucket::raw")]}}
    audit = audited(state(declared_bucket("copy", region=ABROAD)), configuration=said)
    assert told(audit) == []
    assert told(audit, "excepted") == [(ABROAD, REGION, "raw")]


def test_a_region_that_may_not_be_seen_can_be_excepted() -> None:
    refused = failing(refusal("AccessDenied"), "ListKeys")
    excused = {UNLISTED: {"exceptions": [exception(f"region::{ABROAD}")]}}
    audit = audited(state(), accepted=excused, asked=refused)
    assert audit.status == 0
    assert told(audit, "excepted") == [(ABROAD, UNLISTED, ABROAD)]


# --- the same rules on what AWS answers -----------------------------------------------------------


def judged(kind: str, entry: Entry) -> set[str]:
    """The rules that a thing breaks of which AWS answers `entry`."""
    (row,) = [one for one in KINDS if one.type == kind]
    listing = Listing(account=NUMBER)
    found = Found(
        kind=row,
        region=HOME,
        name="it",
        arn=f"arn:aws:x:{HOME}:{NUMBER}:it",
        origin="",
        plain=tuple(row.plain(entry)),
    )
    listing.found.append(found)
    audit = compared(listing, declaration([state()]), None)
    return {rule for _, rule, _ in told(audit)} - {UNMANAGED}


BLOCK = dict.fromkeys(
    ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
)
BUCKET: Entry = {
    "Name": "raw",
    "block": BLOCK,
    "encryption": [
        {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}}
    ],
}
MASTER = {"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT", "Origin": "AWS_KMS"}
DATABASE: Entry = {
    "PubliclyAccessible": False,
    "StorageEncrypted": True,
    "KmsKeyId": KEY,
    "Engine": "postgres",
}
CLUSTER: Entry = {
    "resourcesVpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False},
    "encryptionConfig": [{"resources": ["secrets"], "provider": {"keyArn": KEY}}],
}
REPOSITORY: Entry = {
    "imageTagMutability": "IMMUTABLE",
    "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": KEY},
}
TABLE: Entry = {"SSEDescription": {"Status": "ENABLED", "KMSMasterKeyArn": KEY}}
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
CASES: list[tuple[str, str, Entry, Entry]] = [
    ("s3-bucket-blocks-public-access", "aws:s3/bucket:Bucket", BUCKET, BUCKET | {"block": None}),
    (
        "s3-bucket-blocks-public-access",
        "aws:s3/bucket:Bucket",
        BUCKET,
        BUCKET | {"block": BLOCK | {"BlockPublicPolicy": False}},
    ),
    (
        "s3-bucket-uses-customer-key",
        "aws:s3/bucket:Bucket",
        BUCKET,
        BUCKET
        | {"encryption": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
    ),
    (
        "s3-replication-stays-in-country",
        "aws:s3/bucket:Bucket",
        BUCKET | {"replication": [{"Destination": {"Bucket": "arn:aws:s3:::raw"}}]},
        BUCKET | {"replication": [{"Destination": {"Bucket": "arn:aws:s3:::elsewhere"}}]},
    ),
    (
        "kms-key-is-single-region",
        "aws:kms/key:Key",
        {"key": MASTER, "rotation": {"KeyRotationEnabled": True}},
        {"key": MASTER | {"MultiRegion": True}, "rotation": {"KeyRotationEnabled": True}},
    ),
    (
        "kms-key-is-single-region",
        "aws:kms/key:Key",
        {"key": MASTER, "rotation": {"KeyRotationEnabled": True}},
        {
            "key": MASTER
            | {
                "MultiRegionConfiguration": {
                    "MultiRegionKeyType": "REPLICA",
                    "PrimaryKey": {"Arn": KEY.replace(HOME, ABROAD)},
                }
            }
        },
    ),
    (
        "kms-key-rotates",
        "aws:kms/key:Key",
        {"key": MASTER | {"Origin": "EXTERNAL"}},
        {"key": MASTER, "rotation": {"KeyRotationEnabled": False}},
    ),
    (
        "database-is-not-public",
        "aws:rds/instance:Instance",
        DATABASE,
        DATABASE | {"PubliclyAccessible": True},
    ),
    (
        "rds-storage-uses-customer-key",
        "aws:rds/instance:Instance",
        DATABASE | {"DBClusterIdentifier": "c", "StorageEncrypted": False},
        DATABASE | {"StorageEncrypted": False},
    ),
    (
        "rds-storage-uses-customer-key",
        "aws:rds/cluster:Cluster",
        DATABASE,
        {"Engine": "aurora-postgresql"},
    ),
    (
        "snapshot-and-image-are-not-shared",
        "aws:rds/snapshot:Snapshot",
        {"shared": [[NUMBER]]},
        {"shared": [["all"]]},
    ),
    (
        "snapshot-and-image-are-not-shared",
        "aws:rds/clusterSnapshot:ClusterSnapshot",
        {"shared": [[]]},
        {"shared": [["999999999999"]]},
    ),
    (
        "disk-uses-customer-key",
        "aws:ebs/volume:Volume",
        {"Encrypted": True, "KmsKeyId": KEY},
        {"Encrypted": False},
    ),
    (
        "snapshot-and-image-are-not-shared",
        "aws:ebs/snapshot:Snapshot",
        {"shared": [{"UserId": NUMBER}]},
        {"shared": [{"Group": "all"}]},
    ),
    (
        "snapshot-and-image-are-not-shared",
        "aws:ec2/ami:Ami",
        {"shared": []},
        {"shared": [{"Group": "all"}]},
    ),
    (
        "instance-metadata-is-v2-only",
        "aws:ec2/instance:Instance",
        {"MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}},
        {"MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 1}},
    ),
    (
        "compute-has-no-public-ip",
        "aws:ec2/instance:Instance",
        {"MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}},
        {"PublicIpAddress": "192.0.2.1"},
    ),
    (
        "security-group-has-no-open-ingress",
        "aws:ec2/securityGroup:SecurityGroup",
        {"IpPermissions": [SSH | {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]},
        {"IpPermissions": [SSH | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]},
    ),
    (
        "security-group-has-no-open-ingress",
        "aws:ec2/securityGroup:SecurityGroup",
        {"IpPermissions": [SSH]},
        {"IpPermissions": [SSH | {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]},
    ),
    (
        "ecr-repository-uses-customer-key",
        "aws:ecr/repository:Repository",
        REPOSITORY,
        REPOSITORY | {"encryptionConfiguration": {"encryptionType": "AES256"}},
    ),
    (
        "ecr-tags-are-immutable",
        "aws:ecr/repository:Repository",
        REPOSITORY,
        REPOSITORY | {"imageTagMutability": "MUTABLE"},
    ),
    (
        "replica-stays-in-country",
        "aws:ecr/replicationConfiguration:ReplicationConfiguration",
        {"rules": [{"destinations": [{"region": HOME, "registryId": NUMBER}]}]},
        {"rules": [{"destinations": [{"region": ABROAD, "registryId": NUMBER}]}]},
    ),
    (
        "eks-endpoint-is-private",
        "aws:eks/cluster:Cluster",
        {"cluster": CLUSTER},
        {"cluster": CLUSTER | {"resourcesVpcConfig": {"endpointPublicAccess": True}}},
    ),
    (
        "eks-secrets-use-customer-key",
        "aws:eks/cluster:Cluster",
        {"cluster": CLUSTER},
        {"cluster": CLUSTER | {"encryptionConfig": []}},
    ),
    (
        "log-group-uses-customer-key",
        "aws:cloudwatch/logGroup:LogGroup",
        {"kmsKeyId": KEY},
        {},
    ),
    (
        "secret-uses-customer-key",
        "aws:secretsmanager/secret:Secret",
        {"secret": {"KmsKeyId": KEY}},
        {"secret": {}},
    ),
    (
        "replica-stays-in-country",
        "aws:secretsmanager/secret:Secret",
        {"secret": {"KmsKeyId": KEY}},
        {"secret": {"KmsKeyId": KEY, "ReplicationStatus": [{"Region": ABROAD, "KmsKeyId": KEY}]}},
    ),
    (
        "data-store-uses-customer-key",
        "aws:dynamodb/table:Table",
        {"table": TABLE},
        {"table": {}},
    ),
    (
        "replica-stays-in-country",
        "aws:dynamodb/table:Table",
        {"table": TABLE},
        {"table": TABLE | {"Replicas": [{"RegionName": ABROAD, "KMSMasterKeyId": KEY}]}},
    ),
    (
        "file-system-uses-customer-key",
        "aws:efs/fileSystem:FileSystem",
        {"Encrypted": True, "KmsKeyId": KEY},
        {"Encrypted": False},
    ),
]


@pytest.mark.parametrize(
    ("rule", "kind", "good", "bad"), CASES, ids=[f"{one[1]} {one[0]}" for one in CASES]
)
def test_an_answer_of_aws_is_judged_by_the_packs_rule(
    rule: str, kind: str, good: Entry, bad: Entry
) -> None:
    assert judged(kind, good) == set()
    assert rule in judged(kind, bad)


def test_every_rule_of_a_row_has_a_case() -> None:
    shown = {(kind, rule) for rule, kind, _, _ in CASES}
    rows = {(kind.type, rule) for kind in KINDS for rule in kind.rules}
    assert rows - shown == {("aws:iam/user:User", "iam-user-and-access-key-do-not-exist")}


def test_a_user_of_the_account_is_told() -> None:
    client("iam").create_user(UserName="somebody")
    rules = {rule for _, rule, _ in told(audited(state()))}
    assert rules == {UNMANAGED, "iam-user-and-access-key-do-not-exist"}


def test_a_key_of_aws_is_known_by_its_alias_though_answers_name_it_as_any_other() -> None:
    alias = f"arn:aws:kms:{HOME}:{NUMBER}:alias/aws/ebs"
    listing = Listing(account=NUMBER)
    rows = {one.type: one for one in KINDS}
    said: list[tuple[str, str, str, Any, Any]] = [
        ("aws:kms/alias:Alias", "alias/aws/ebs", alias, "aws", {"targetKeyId": KEY[-36:]}),
        ("aws:ebs/volume:Volume", "v", "arn:v", "", {"encrypted": True, "kmsKeyId": KEY}),
    ]
    for kind, name, arn, origin, plain in said:
        listing.found.append(
            Found(
                kind=rows[kind],
                region=HOME,
                name=name,
                arn=arn,
                origin=origin,
                plain=((kind, plain),),
            )
        )
    audit = compared(listing, declaration([state()]), None)
    assert (HOME, "disk-uses-customer-key", "v") in told(audit)
    del listing.found[0]
    assert "disk-uses-customer-key" not in {
        rule for _, rule, _ in told(compared(listing, declaration([state()]), None))
    }


# --- the answers themselves, as far as moto gives them --------------------------------------------


def _everything() -> set[str]:
    """Makes one thing of most kinds and returns their names."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    ec2 = client("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot,
        Attribute="createVolumePermission",
        OperationType="add",
        GroupNames=["all"],
    )
    network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=network)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[SSH | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    rds = client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="db",
        DBInstanceClass="db.m5.large",
        Engine="postgres",
        AllocatedStorage=10,
        MasterUsername="admin1",
        MasterUserPassword="x" * 12,
        PubliclyAccessible=True,
    )
    rds.create_db_snapshot(DBSnapshotIdentifier="dbs", DBInstanceIdentifier="db")
    rds.modify_db_snapshot_attribute(
        DBSnapshotIdentifier="dbs", AttributeName="restore", ValuesToAdd=["all"]
    )
    client("dynamodb").create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client("ecr").create_repository(repositoryName="images")
    destination = {"region": ABROAD, "registryId": NUMBER}
    client("ecr").put_replication_configuration(
        replicationConfiguration={"rules": [{"destinations": [destination]}]}
    )
    client("eks").create_cluster(
        name="k8s",
        roleArn=role,
        resourcesVpcConfig={"endpointPublicAccess": True, "endpointPrivateAccess": False},
    )
    key = client("kms").create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    client("secretsmanager").create_secret(Name="s", SecretString="x")
    client("efs").create_file_system(CreationToken="f")
    client("sqs").create_queue(QueueName="q")
    client("sns").create_topic(Name="topic")
    client("logs").create_log_group(logGroupName="/l")
    return {
        volume,
        snapshot,
        network,
        group,
        "db",
        "dbs",
        "t",
        "images",
        "k8s",
        key,
        "s",
        "/l",
        "r",
    }


def test_the_rules_judge_what_the_services_answer() -> None:
    names = _everything()
    audit = audited(state())

    found = told(audit)
    assert audit.listing.gaps == []
    assert names <= {name for _, rule, name in found if rule == UNMANAGED}
    assert {rule for _, rule, _ in found} >= {
        "disk-uses-customer-key",
        "snapshot-and-image-are-not-shared",
        "security-group-has-no-open-ingress",
        "database-is-not-public",
        "rds-storage-uses-customer-key",
        "data-store-uses-customer-key",
        "ecr-repository-uses-customer-key",
        "ecr-tags-are-immutable",
        "replica-stays-in-country",
        "eks-endpoint-is-private",
        "eks-secrets-use-customer-key",
        "kms-key-is-single-region",
        "kms-key-rotates",
        "secret-uses-customer-key",
        "log-group-uses-customer-key",
        "file-system-uses-customer-key",
    }
    arns = {one.found.arn for one in audit.things}
    assert {f"arn:aws:sqs:{HOME}:{NUMBER}:q", f"arn:aws:sns:{HOME}:{NUMBER}:topic"} <= arns
    shared = [name for _, rule, name in found if rule == "snapshot-and-image-are-not-shared"]
    assert len(shared) == 2


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_what_it_found_and_fails_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket("forgotten", ABROAD)
    monkeypatch.setattr(account, "clients", real)
    exported, out = tmp_path / "state.json", tmp_path / "audit.json"
    exported.write_text(state())
    done = CliRunner().invoke(
        app, ["audit", "--state", str(exported), "-e", "prod", "--json", str(out)]
    )

    assert done.exit_code == 1, done.output
    assert f"{ABROAD} (abroad)" in done.output
    assert "(3 of 3)" in done.stderr
    written = json.loads(out.read_text())
    (one,) = [found for found in written["resources"] if found["name"] == "forgotten"]
    assert (one["abroad"], one["standing"], one["region"]) == (True, "unmanaged", ABROAD)
    assert written["status"] == 1
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_command_prints_the_policy_that_it_needs() -> None:
    done = CliRunner().invoke(app, ["audit", "--policy"])
    assert done.exit_code == 0
    assert "s3:ListAllMyBuckets" in json.loads(done.output)["Statement"][0]["Action"]


def test_a_command_that_cannot_look_does_not_end_as_one_that_found_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = CliRunner().invoke(app, ["audit"])
    assert (nothing.exit_code, "--state is missing" in nothing.stderr) == (2, True)
    exported = tmp_path / "state.json"
    exported.write_text(state())
    monkeypatch.setattr(
        account, "clients", lambda: failing(NoCredentialsError(), "GetCallerIdentity", HOME)
    )
    done = CliRunner().invoke(app, ["audit", "--state", str(exported)])
    assert (done.exit_code, "there are no credentials" in done.stderr) == (2, True)


def test_without_boto3_the_audit_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(AuditError, match=r"pip install 'falaj-policies\[aws,cli\]'"):
        clients()
