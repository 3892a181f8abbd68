"""The buckets of an environment: what is set on them, whom they let in, whom they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import Request, decide
from pydantic import ValidationError

from components.aws.access_point import access_point_statements
from components.aws.policy_document import Statement
from components.aws.scope import Scope
from components.aws.settings.aws import AwsSettings
from components.aws.settings.storage import (
    CONTENTS,
    Arrivals,
    ObjectLock,
    StorageSettings,
    long_team_names,
)
from components.aws.storage import StorageArgs, make_storage
from stacks.settings import SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recorded, Recording

Record = Callable[[Callable[[], object]], "Recording"]

SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
LOCK = ObjectLock(mode="compliance", days=400)
KEYS = {
    domain: f"arn:aws:kms:me-central-1:123456789012:key/{domain}"
    for domain in ("artifacts", "logs", "backups")
}
OTHER_KEY = "arn:aws:kms:me-central-1:123456789012:key/other"
VPC = "vpc-0123456789abcdef0"
ORGANISATION = "o-a1b2c3d4e5"
TRAIL = Statement(
    sid="TrailDelivers",
    effect="Allow",
    actions=("s3:PutObject",),
    resources=[f"{SCOPE.bucket_arn('logs')}/AWSLogs/123456789012/*"],
    principals={"Service": ("cloudtrail.amazonaws.com",)},
    conditions={"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
)
ARGS: dict[str, Any] = {
    "scope": SCOPE,
    "storage": StorageSettings(lock=LOCK),
    "organisation_id": ORGANISATION,
    "key_arns": KEYS,
    "keep": True,
    "vpc_id": VPC,
    "teams": ("credit", "fraud"),
    "deliveries": {"logs": [TRAIL]},
}


@pytest.fixture
def made(record: Record) -> Callable[..., Recording]:
    return lambda **changes: record(
        lambda: make_storage("prod", StorageArgs(**{**ARGS, **changes}), None)  # type: ignore[arg-type]
    )


@pytest.fixture
def storage(made: Callable[..., Recording]) -> Recording:
    return made()


def policy(recording: Recording, content: str) -> dict[str, Any]:
    """The policy of a bucket, with the ARN that the bucket really has."""
    text = recording.the("BucketPolicy", f"prod-{content}-store").inputs["policy"]
    named = text.replace(f"arn:prod-{content}-store-bucket", SCOPE.bucket_arn(content))
    document: dict[str, Any] = json.loads(named)
    return document


def without(document: dict[str, Any], sid: str) -> dict[str, Any]:
    kept = [one for one in document["Statement"] if one["Sid"] != sid]
    assert len(kept) == len(document["Statement"]) - 1
    return {**document, "Statement": kept}


def settings_of(recording: Recording, kind: str) -> dict[str, Recorded]:
    """Content → the setting of its bucket of one kind."""
    found = {}
    for one in recording.of(kind):
        bucket = one.inputs["bucket"]
        found[bucket.removeprefix("id:prod-").removesuffix("-store-bucket")] = one
    return found


EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": ["*"], "Resource": ["*"]}]}
"""A role that its own policies let do everything: only refusals stop it."""
TRAINING = SCOPE.role_arn("training")
INSIDE = {"aws:SourceVpc": VPC, "aws:PrincipalOrgID": ORGANISATION}
OUTSIDE = {"aws:PrincipalOrgID": ORGANISATION}
SSE = "s3:x-amz-server-side-encryption"
SSE_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"


def asked(
    action: str = "s3:PutObject",
    content: str = "data",
    principal: str = TRAINING,
    context: dict[str, str] | None = None,
) -> Request:
    on_bucket = action.startswith(("s3:List", "s3:GetBucket", "s3:PutBucket"))
    return Request(
        principal=principal,
        action=action,
        resource=SCOPE.bucket_arn(content) + ("" if on_bucket else "/tables/loans/1.parquet"),
        context=INSIDE if context is None else context,
    )


LET_IN = {
    "a job in the network reads": asked("s3:GetObject"),
    "a job in the network writes and names no key": asked(),
    "a job in the network writes and names the bucket's key": asked(
        context={**INSIDE, SSE: "aws:kms", SSE_KEY: KEYS["artifacts"]}
    ),
    "a job in the network lists": asked("s3:ListBucket"),
    "the apply role writes from its runner": asked(
        principal=SCOPE.role_arn("apply"), context=OUTSIDE
    ),
    "break-glass reads from anywhere": asked(
        "s3:GetObject", principal=SCOPE.role_arn("break-glass"), context=OUTSIDE
    ),
    "backup reads from the network of AWS Backup": asked(
        "s3:GetObjectVersion", principal=SCOPE.role_arn("backup"), context=OUTSIDE
    ),
    "Firehose writes from its own network": asked(
        principal=SCOPE.role_arn("log-stream"), context=OUTSIDE
    ),
    "a SIEM reads from its own network": asked(
        "s3:GetObject", principal=SCOPE.role_arn("siem"), context=OUTSIDE
    ),
    "AWS Config writes from its own network": asked(
        principal=SCOPE.role_arn("config"), context=OUTSIDE
    ),
    "a service asks with the caller's permissions": asked(
        "s3:GetObject", context={**OUTSIDE, "aws:ViaAWSService": "true"}
    ),
    "a pipeline outside looks at the bucket's policy": asked("s3:GetBucketPolicy", context=OUTSIDE),
}


@pytest.mark.parametrize("request_", LET_IN.values(), ids=LET_IN)
def test_a_bucket_of_data_lets_in(storage: Recording, request_: Request) -> None:
    document = policy(storage, "data")

    assert decide(request_, identity=[EVERYTHING], resource=[document]) == "allowed"


def test_a_bucket_gives_nobody_what_their_own_permissions_do_not(storage: Recording) -> None:
    assert decide(asked(), resource=[policy(storage, "data")]) == "not allowed"


REFUSED = {
    "a leaked credential from the internet reads": (
        asked("s3:GetObject", context=OUTSIDE),
        "DenyOutsideNetwork",
    ),
    "a leaked credential from the internet writes": (asked(context=OUTSIDE), "DenyOutsideNetwork"),
    "a leaked credential from the internet lists": (
        asked("s3:ListBucket", context=OUTSIDE),
        "DenyOutsideNetwork",
    ),
    "another network of the account reads": (
        asked("s3:GetObject", context={**INSIDE, "aws:SourceVpc": "vpc-other"}),
        "DenyOutsideNetwork",
    ),
    "a role called nearly like break-glass": (
        asked(principal=SCOPE.role_arn("break-glass-2"), context=OUTSIDE),
        "DenyOutsideNetwork",
    ),
    "another organisation in the same network": (
        asked("s3:GetObject", context={**INSIDE, "aws:PrincipalOrgID": "o-stranger000"}),
        "DenyOutsideOrganisation",
    ),
    "an account in no organisation": (
        asked("s3:GetBucketPolicy", context={"aws:SourceVpc": VPC}),
        "DenyOutsideOrganisation",
    ),
    "plain http": (asked(context={**INSIDE, "aws:SecureTransport": "false"}), "DenyWithoutTls"),
    "TLS 1.1": (asked(context={**INSIDE, "s3:TlsVersion": "1.1"}), "DenyOldTls"),
    "an upload under S3's own key": (
        asked(context={**INSIDE, SSE: "AES256"}),
        "DenyOtherEncryption",
    ),
    "an upload under another key": (
        asked(context={**INSIDE, SSE: "aws:kms", SSE_KEY: OTHER_KEY}),
        "DenyOtherKey",
    ),
    "an upload under the key that AWS manages": (
        asked(context={**INSIDE, SSE: "aws:kms"}),
        "DenyUnnamedKey",
    ),
    "an upload under a key of the caller": (
        asked(
            context={**INSIDE, "s3:x-amz-server-side-encryption-customer-algorithm": "AES256"},
        ),
        "DenyKeyOfCaller",
    ),
    "a team beside its access point": (
        asked("s3:GetObject", principal=SCOPE.role_arn("team-credit")),
        "DenyTeamsBesideTheirAccessPoint",
    ),
}


@pytest.mark.parametrize(("request_", "sid"), REFUSED.values(), ids=REFUSED)
def test_a_bucket_of_data_refuses(storage: Recording, request_: Request, sid: str) -> None:
    document = policy(storage, "data")

    assert decide(request_, identity=[EVERYTHING], resource=[document]) == "denied"
    # and would let in without the one statement that is about it
    rest = without(document, sid)
    assert decide(request_, identity=[EVERYTHING], resource=[rest]) == "allowed"


@pytest.mark.parametrize("content", CONTENTS)
def test_every_bucket_refuses_whoever_comes_from_outside(storage: Recording, content: str) -> None:
    document = policy(storage, content)

    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"):
        request = asked(action, content, context=OUTSIDE)
        assert decide(request, identity=[EVERYTHING], resource=[document]) == "denied"


def test_without_an_organisation_other_accounts_are_refused(
    made: Callable[..., Recording],
) -> None:
    document = policy(made(organisation_id=None), "data")
    stranger = "arn:aws:iam::999999999999:role/falaj-prod-apply"
    inside = {"aws:SourceVpc": VPC}

    assert decide(asked(context=inside), identity=[EVERYTHING], resource=[document]) == "allowed"
    request = asked("s3:GetObject", principal=stranger, context=inside)
    assert decide(request, identity=[EVERYTHING], resource=[document]) == "denied"


# --- what AWS services deliver --------------------------------------------------------------------

OWNED = {"s3:x-amz-acl": "bucket-owner-full-control"}
HOME = {"aws:SourceAccount": "123456789012"}
LOAD_BALANCER = (
    "arn:aws:elasticloadbalancing:me-central-1:123456789012:loadbalancer/app/serving/50dc6c49"
)


def delivered(service: str, key: str, context: dict[str, str], content: str = "access-logs") -> Any:
    return Request(
        principal=f"{service}.amazonaws.com",
        action="s3:PutObject",
        resource=f"{SCOPE.bucket_arn(content)}/{key}",
        context=context,
    )


FROM_DATA = {**HOME, "aws:SourceArn": SCOPE.bucket_arn("data")}
ELB = {"aws:SourceArn": LOAD_BALANCER}
DELIVERED = {
    "S3 logs access": delivered("logging.s3", "s3/falaj-prod-data-123456789012/1", FROM_DATA),
    "S3 lists objects": delivered("s3", "inventory/data/all/1", {**FROM_DATA, **OWNED}),
    "load balancers log access": delivered(
        "logdelivery.elasticloadbalancing", "AWSLogs/123456789012/elasticloadbalancing/1", ELB
    ),
    "the trail writes under its key": delivered(
        "cloudtrail",
        "AWSLogs/123456789012/CloudTrail/1",
        {**OWNED, SSE: "aws:kms", SSE_KEY: KEYS["logs"]},
        "logs",
    ),
}


@pytest.mark.parametrize("request_", DELIVERED.values(), ids=DELIVERED)
def test_logs_are_delivered(storage: Recording, request_: Request) -> None:
    content = "access-logs" if "access-logs" in request_.resource else "logs"

    assert decide(request_, resource=[policy(storage, content)]) == "allowed"


NOT_DELIVERED = {
    "S3 for a stranger's bucket": (
        delivered(
            "logging.s3",
            "s3/x/1",
            {"aws:SourceAccount": "999999999999", "aws:SourceArn": "arn:aws:s3:::stranger"},
        ),
        "not allowed",
    ),
    "S3 for a bucket that is not the platform's": (
        delivered("logging.s3", "s3/x/1", {**HOME, "aws:SourceArn": "arn:aws:s3:::else"}),
        "not allowed",
    ),
    "S3 over the records of another": (
        delivered("logging.s3", "AWSLogs/123456789012/1", FROM_DATA),
        "not allowed",
    ),
    "a load balancer of another account": (
        delivered(
            "logdelivery.elasticloadbalancing",
            "AWSLogs/123456789012/1",
            {"aws:SourceArn": LOAD_BALANCER.replace("123456789012", "999999999999")},
        ),
        "not allowed",
    ),
    "a service that nothing speaks of": (
        delivered("backup", "s3/x/1", FROM_DATA),
        "not allowed",
    ),
    "logs under a key that S3 cannot deliver them under": (
        delivered(
            "logging.s3",
            "s3/x/1",
            {**FROM_DATA, SSE: "aws:kms", SSE_KEY: KEYS["logs"]},
        ),
        "denied",
    ),
    "the trail under another key": (
        delivered(
            "cloudtrail",
            "AWSLogs/123456789012/CloudTrail/1",
            {**OWNED, SSE: "aws:kms", SSE_KEY: OTHER_KEY},
            "logs",
        ),
        "denied",
    ),
}


@pytest.mark.parametrize(("request_", "decision"), NOT_DELIVERED.values(), ids=NOT_DELIVERED)
def test_other_logs_are_not_delivered(storage: Recording, request_: Any, decision: str) -> None:
    content = "access-logs" if "access-logs" in request_.resource else "logs"

    assert decide(request_, resource=[policy(storage, content)]) == decision


def test_the_bucket_of_access_logs_is_one_that_s3_can_deliver_to(storage: Recording) -> None:
    """Neither under a customer key nor locked, by S3's user guide."""
    (rule,) = settings_of(storage, "BucketServerSideEncryptionConfiguration")["access-logs"].inputs[
        "rules"
    ]

    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    assert storage.the("Bucket", "access-logs").inputs["objectLockEnabled"] is False
    assert storage.the("Bucket", "access-logs").inputs["tags"]["purpose"] == "logs"


def test_every_other_bucket_logs_its_requests_there(storage: Recording) -> None:
    logging = settings_of(storage, "BucketLogging")

    assert logging.keys() == CONTENTS.keys() - {"access-logs"}
    for content, setting in logging.items():
        assert setting.inputs["targetBucket"] == "id:prod-access-logs-store-bucket"
        assert setting.inputs["targetPrefix"] == f"s3/{SCOPE.bucket(content)}/"


# --- doors of teams -------------------------------------------------------------------------------


def through(
    team: str, action: str = "s3:GetObject", point: str = "credit", key: str = "", prefix: str = ""
) -> Request:
    arn = SCOPE.access_point_arn("data", point)
    listing = action == "s3:ListBucket"
    return Request(
        principal=SCOPE.role_arn(f"team-{team}"),
        action=action,
        resource=arn if listing else f"{arn}/object/{key or 'teams/credit/loans/1'}",
        context={
            **INSIDE,
            "s3:DataAccessPointAccount": "123456789012",
            "s3:AccessPointNetworkOrigin": "VPC",
            **({"s3:prefix": prefix} if prefix else {}),
        },
    )


def door(storage: Recording, team: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        storage.the("AccessPoint", f"access-{team}-data").inputs["policy"]
    )
    return document


@pytest.mark.parametrize(
    ("request_", "decision"),
    [
        (through("credit"), "allowed"),
        (through("credit", "s3:PutObject"), "allowed"),
        (through("credit", "s3:ListBucket", prefix="teams/credit/loans/"), "allowed"),
        (through("fraud"), "denied"),
        (through("fraud", "s3:ListBucket", prefix="teams/credit/"), "denied"),
        (through("credit", key="teams/fraud/cards/1"), "denied"),
        (through("credit", key="teams/credit-2/1"), "denied"),
        (through("credit", "s3:ListBucket", prefix="teams/fraud/"), "denied"),
        (through("credit", "s3:ListBucket"), "denied"),
        (through("credit", key="lake/shared/rates/1"), "allowed"),
        (through("credit", "s3:ListBucket", prefix="lake/shared/rates/"), "allowed"),
        (through("credit", "s3:PutObject", key="lake/shared/rates/1"), "denied"),
        (through("credit", "s3:DeleteObject", key="lake/shared/rates/1"), "denied"),
        (through("credit", key="lake/loans/1"), "denied"),
    ],
)
def test_a_team_uses_its_own_folder_through_its_own_door(
    storage: Recording, request_: Request, decision: str
) -> None:
    documents = [door(storage, "credit"), policy(storage, "data")]

    assert decide(request_, identity=[EVERYTHING], resource=documents) == decision


def test_a_door_lets_in_no_other_role_of_the_platform(storage: Recording) -> None:
    request = Request(
        principal=TRAINING,
        action="s3:GetObject",
        resource=f"{SCOPE.access_point_arn('data', 'credit')}/object/teams/credit/1",
        context=INSIDE,
    )

    assert decide(request, identity=[EVERYTHING], resource=[door(storage, "credit")]) == "denied"


def test_the_bucket_leaves_the_decision_to_its_doors(storage: Recording) -> None:
    """S3 wants a yes of both, and a bucket that names no door says nothing."""
    (delegation,) = [
        one for one in policy(storage, "data")["Statement"] if one["Sid"] == "AccessPointsDecide"
    ]

    assert delegation["Condition"]["StringEquals"] == {
        "s3:DataAccessPointAccount": "123456789012",
        "s3:AccessPointNetworkOrigin": "VPC",
    }


def test_doors_open_to_the_network_of_the_platform_alone(storage: Recording) -> None:
    for point in storage.of("AccessPoint"):
        assert point.inputs["vpcConfiguration"] == {"vpcId": VPC}
        assert set(point.inputs["publicAccessBlockConfiguration"].values()) == {True}
        content = point.name.rpartition("-")[2]
        assert point.inputs["bucket"] == f"id:prod-{content}-store-bucket"


def test_there_is_one_door_a_team_and_shared_bucket_and_policies_do_not_grow(
    made: Callable[..., Recording],
) -> None:
    one, many = made(teams=("credit",)), made(teams=[f"team{n}" for n in range(50)])

    assert (len(one.of("AccessPoint")), len(many.of("AccessPoint"))) == (3, 150)
    for content in CONTENTS:
        assert policy(one, content) == policy(many, content)
        assert len(json.dumps(policy(many, content))) < 20 * 1024  # S3's limit


def test_without_a_network_there_are_no_doors_and_nobody_is_refused_for_theirs(
    made: Callable[..., Recording],
) -> None:
    recording = made(vpc_id=None)

    assert recording.of("AccessPoint") == []
    sids = {one["Sid"] for one in policy(recording, "data")["Statement"]}
    assert not sids & {"DenyOutsideNetwork", "DenyTeamsBesideTheirAccessPoint"}
    assert "DenyOutsideOrganisation" in sids


def test_a_door_names_the_role_by_a_condition_because_it_may_not_exist_yet() -> None:
    for statement in access_point_statements(SCOPE, "data", "credit"):
        assert "role/" not in json.dumps(dict(statement.principals))


def test_no_statement_that_allows_is_public(storage: Recording) -> None:
    documents = [policy(storage, content) for content in CONTENTS]
    documents += [json.loads(one.inputs["policy"]) for one in storage.of("AccessPoint")]
    for document in documents:
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Principal"] != {"AWS": ["*"]}


# --- what is set on each bucket -------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        *("BucketOwnershipControls", "BucketPolicy", "BucketPublicAccessBlock"),
        *("BucketServerSideEncryptionConfiguration", "BucketVersioning"),
        "BucketLifecycleConfiguration",
    ],
)
def test_each_bucket_has_each_setting_once(storage: Recording, kind: str) -> None:
    assert len(storage.of(kind)) == len(CONTENTS)
    assert settings_of(storage, kind).keys() == CONTENTS.keys()


def test_each_bucket_is_encrypted_under_the_key_of_its_domain(storage: Recording) -> None:
    for content, setting in settings_of(storage, "BucketServerSideEncryptionConfiguration").items():
        if content == "access-logs":
            continue
        (rule,) = setting.inputs["rules"]
        domain = {"logs": "logs", "config": "logs", "backups": "backups"}.get(content, "artifacts")
        assert rule["bucketKeyEnabled"] is True
        assert rule["applyServerSideEncryptionByDefault"] == {
            "sseAlgorithm": "aws:kms",
            "kmsMasterKeyId": KEYS[domain],
        }


def test_logs_and_backups_are_locked_where_the_settings_say_so(
    made: Callable[..., Recording],
) -> None:
    recording = made()
    locks = settings_of(recording, "BucketObjectLockConfiguration")

    assert locks.keys() == {"logs", "backups"}
    for content in CONTENTS:
        bucket = recording.the("Bucket", f"prod-{content}-store-bucket")
        assert bucket.inputs["objectLockEnabled"] is (content in locks)
    for lock in locks.values():
        assert lock.inputs["rule"] == {"defaultRetention": {"mode": "COMPLIANCE", "days": 400}}
    unlocked = made(storage=StorageSettings(lock=ObjectLock(mode="none")))
    assert unlocked.of("BucketObjectLockConfiguration") == []


def test_aws_config_gets_a_bucket_that_is_never_locked(storage: Recording) -> None:
    assert storage.the("Bucket", "prod-config-store").inputs["objectLockEnabled"] is False


def test_records_are_kept_for_their_years_even_when_deleted(storage: Recording) -> None:
    lifecycles = settings_of(storage, "BucketLifecycleConfiguration")
    for content in ("logs", "config", "access-logs"):
        (rule,) = lifecycles[content].inputs["rules"]
        assert rule["expiration"] == {"days": 1827}
        assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 1827}
        assert rule["transitions"] == [{"days": 90, "storageClass": "GLACIER_IR"}]
    for content in ("artifacts", "data", "models", "backups"):
        (rule,) = lifecycles[content].inputs["rules"]
        assert "expiration" not in rule
        assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 90}
        assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}


def test_every_bucket_but_that_of_access_logs_lists_its_objects_there(storage: Recording) -> None:
    lists = settings_of(storage, "Inventory")

    assert lists.keys() == CONTENTS.keys() - {"access-logs"}
    for inventory in lists.values():
        target = inventory.inputs["destination"]["bucket"]
        assert target["bucketArn"] == "arn:prod-access-logs-store-bucket"
        assert (target["prefix"], inventory.inputs["schedule"]) == (
            "inventory",
            {"frequency": "Weekly"},
        )


@pytest.mark.parametrize("keep", [True, False])
def test_a_bucket_is_emptied_with_its_stack_only_where_data_is_not_kept(
    made: Callable[..., Recording], *, keep: bool
) -> None:
    assert {one.inputs["forceDestroy"] for one in made(keep=keep).of("Bucket")} == {not keep}


# --- new data as messages -------------------------------------------------------------------------


def test_new_data_is_told_to_a_queue_under_a_key(storage: Recording) -> None:
    notification = storage.the("BucketNotification")
    (target,) = notification.inputs["queues"]
    queue = storage.the("Queue", "arrivals-queue")

    assert notification.inputs["bucket"] == "id:prod-data-store-bucket"
    # a notification is the whole of a bucket's; without it AWS Backup would lose sight of it
    assert notification.inputs["eventbridge"] is True
    assert target == {
        "id": "arrivals",
        "queueArn": "arn:prod-arrivals-queue",
        "events": ["s3:ObjectCreated:*"],
        "filterSuffix": ".json",
    }
    assert json.loads(queue.inputs["redrivePolicy"]) == {
        "deadLetterTargetArn": "arn:prod-arrivals-unhandled",
        "maxReceiveCount": 5,
    }
    for one in storage.of("Queue"):
        assert one.inputs["kmsMasterKeyId"] == KEYS["artifacts"]


@pytest.mark.parametrize(
    ("bucket", "secure", "decision"),
    [
        ("data", "true", "allowed"),
        ("data", "false", "denied"),
        ("artifacts", "true", "not allowed"),
    ],
)
def test_the_queue_takes_messages_of_its_bucket_alone(
    storage: Recording, bucket: str, secure: str, decision: str
) -> None:
    document = json.loads(storage.the("QueuePolicy", "arrivals-policy").inputs["policy"])
    request = Request(
        principal="s3.amazonaws.com",
        action="sqs:SendMessage",
        resource="arn:aws:sqs:me-central-1:123456789012:falaj-prod-arrivals",
        context={
            **HOME,
            "aws:SourceArn": SCOPE.bucket_arn(bucket),
            "aws:SecureTransport": secure,
        },
    )

    assert decide(request, resource=[document]) == decision


def test_without_arrivals_nothing_is_told(made: Callable[..., Recording]) -> None:
    recording = made(storage=StorageSettings(arrivals=None))

    assert recording.of("Queue") == []
    assert recording.of("BucketNotification") == []


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"log_retention_days": 30}, "log_retention_days"),
        ({"archive_log_days": 2000}, "archive_log_days: is 2000"),
        ({"lock": {"mode": "governance", "days": 3000}}, "lock.days: is 3000"),
        ({"lock": {"mode": "forever"}}, "lock.mode"),
        ({"arrivals": {"retention_days": 15}}, "arrivals.retention_days"),
    ],
)
def test_a_setting_that_cannot_hold_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        StorageSettings(**settings)


def test_what_nobody_can_delete_cannot_go_with_its_stack() -> None:
    section: dict[str, Any] = {
        "account_id": "123456789012",
        "existing_cluster": {
            "name": "falaj-dev",
            "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d4e5f60718"},
        },
        "node_pools": {},
        "storage": {"lock": {"mode": "compliance"}},
    }

    assert AwsSettings(**section, keep_data=True).storage.arrivals == Arrivals()
    with pytest.raises(ValidationError, match=r"storage\.lock\.mode: is 'compliance'"):
        AwsSettings(**section, keep_data=False)


def test_a_team_whose_door_would_have_too_long_a_name_is_named() -> None:
    assert long_team_names("prod", ["credit"]) == []
    (problem,) = long_team_names("staging", ["credit", "a" * 32])
    assert problem.startswith(f"teams.{'a' * 32}: is too long by 6")


def test_what_is_wrong_with_stores_is_listed_at_once_by_its_keys() -> None:
    section = {
        "account_id": "123456789012",
        "existing_cluster": {
            "name": "falaj-staging",
            "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d4e5f60718"},
        },
        "node_pools": {},
        "organisation_id": "x",
        "storage": {"lock": {"mode": "governance", "days": 9000}},
        "database": {"backup_window": "21:30-22:30"},
        "cache": {"kind": "elasticache", "users": ["a" * 32]},
        "stream": {"kind": "existing"},
    }
    teams = {"a" * 32: {}}

    with pytest.raises(SettingsError) as caught:
        parse("staging", {"falaj:aws": json.dumps(section), "falaj:teams": json.dumps(teams)})

    begins = [problem.split(" (is ")[0].split("; ")[0] for problem in caught.value.problems]
    for expected in (
        "falaj:aws.organisation_id: ",
        "falaj:aws.storage: lock.days: is 9000",
        "falaj:aws.database: backup_window: 21:30-22:30 overlaps",
        "falaj:aws.stream: existing: is needed",
        "falaj:aws.cache.users: 'aaaa",
        f"falaj:teams.{'a' * 32}: is too long",
    ):
        assert any(one.startswith(expected) for one in begins), (expected, begins)
