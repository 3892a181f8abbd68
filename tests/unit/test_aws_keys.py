"""Keys on mocks: how they are kept, and who may use them for what, by evaluating their policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import Request, condition_keys, statements, verdict

from components.aws.access import Domain
from components.aws.key_use import LAUNCHERS
from components.aws.keys import DOMAINS, DomainKey, DomainKeyArgs, key_policy
from components.aws.policy_document import text
from components.aws.scope import Scope
from components.aws.settings.keys import KeySettings, problems_of_keys

if TYPE_CHECKING:
    from conftest import Recording

ACCOUNT, REGION = "123456789012", "me-central-1"
SCOPE = Scope(environment="dev", account_id=ACCOUNT, region=REGION)
LARGEST_POLICY_BYTES = 32 * 1024
FIVE_ACTIONS = (
    *("kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom"),
    *("kms:DescribeKey", "kms:CreateGrant"),
)
EVERY_DOMAIN: tuple[Domain, ...] = ("state", *DOMAINS)
Record = Callable[[Callable[[], object]], "Recording"]


def args(domain: Domain | None = None, team: str | None = None, **more: Any) -> DomainKeyArgs:
    return DomainKeyArgs(
        scope=SCOPE,
        domain=domain,
        team=team,
        settings=KeySettings(**more),
        keep=True,
    )


def policy(domain: Domain | None = None, team: str | None = None) -> str:
    return text(*key_policy(args(domain, team)))


def ask(role: str, action: str, via: str | None, *, account: str = ACCOUNT, **context: str) -> Any:
    """A request of a role of ours, through a service or of itself."""
    arn = role if role.startswith("arn:") else SCOPE.role_arn(role)
    return Request(
        action=action,
        resource="the key",
        principal=arn.replace(ACCOUNT, account),
        context={
            "kms:GrantIsForAWSResource": "true",
            **({"kms:ViaService": SCOPE.service(via)} if via else {}),
            **condition_keys(**context),
        },
    )


def lets(of: str, *request: Any, **context: Any) -> bool:
    return verdict(of, ask(*request, **context)) == "allowed"


def test_each_key_rotates_waits_and_belongs_to_one_domain(record: Record) -> None:
    made = record(lambda: [DomainKey(f"dev-{domain}", args(domain)) for domain in EVERY_DOMAIN])
    keys = made.of("Key")
    aliases = {one.inputs["targetKeyId"]: one.inputs["name"] for one in made.of("Alias")}

    assert {key.inputs["tags"]["data-domain"] for key in keys} == {
        *("state", "artifacts", "database", "secrets", "cluster", "logs", "backups"),
    }
    for key in keys:
        domain = key.inputs["tags"]["data-domain"]
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["rotationPeriodInDays"] == 365
        assert key.inputs["deletionWindowInDays"] == 30
        assert key.inputs["multiRegion"] is False
        assert "bypassPolicyLockoutSafetyCheck" not in key.inputs
        assert aliases[f"key:{key.name}"] == f"alias/falaj/dev/{domain}"


def test_a_key_is_never_there_without_its_policy(record: Record) -> None:
    """So that whatever waits for a key, as by naming its ARN, waits for its policy too."""
    made = record(lambda: [DomainKey(f"dev-{domain}", args(domain)) for domain in EVERY_DOMAIN])

    assert made.of("KeyPolicy") == []
    for key in made.of("Key"):
        assert statements(key.inputs["policy"])


def test_the_key_of_a_team_bears_its_name(record: Record) -> None:
    made = record(lambda: DomainKey("dev-credit", args(team="credit")))

    assert made.the("Key").inputs["tags"] == {"data-domain": "team", "team": "credit"}
    assert made.the("Alias").inputs["name"] == "alias/falaj/dev/team/credit"


def test_a_key_is_of_a_domain_or_of_a_team_and_never_of_both() -> None:
    for both in (args(), args("logs", "credit")):
        with pytest.raises(ValueError, match="one domain or of one team"):
            key_policy(both)


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
def test_administrators_look_after_a_key_and_cannot_use_it(domain: Domain) -> None:
    def may(action: str, via: str | None = None) -> bool:
        return lets(policy(domain), "administrators", action, via)

    assert all(map(may, ("kms:ScheduleKeyDeletion", "kms:PutKeyPolicy", "kms:DescribeKey")))
    assert not any(
        may(f"kms:{action}", via)
        for action in ("Decrypt", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "CreateGrant")
        for via in (None, "s3", "ec2", "rds", "secretsmanager")
    )


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
def test_no_policy_names_a_principal_that_may_not_exist_yet(domain: Domain) -> None:
    for statement in statements(policy(domain)):
        for kind, names in statement["Principal"].items():
            known = kind == "Service" or set(names) <= {"*", f"arn:aws:iam::{ACCOUNT}:root"}
            assert known, statement["Sid"]


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
def test_an_allow_to_everyone_is_limited_to_roles_of_the_account(domain: Domain) -> None:
    for statement in statements(policy(domain)):
        if statement["Effect"] == "Allow" and statement["Principal"] == {"AWS": ["*"]}:
            roles = statement["Condition"]["ArnLike"]["aws:PrincipalArn"]
            assert statement["Condition"]["StringEquals"]["kms:CallerAccount"] == ACCOUNT
            assert all(role.startswith(f"arn:aws:iam::{ACCOUNT}:role/") for role in roles)
            assert "kms:*" not in statement["Action"]


USES = [
    ("state", "plan", "s3", "kms:Decrypt"),
    ("state", "plan", None, "kms:Decrypt"),
    ("state", "apply", None, "kms:Encrypt"),
    ("artifacts", "tracking", "s3", "kms:GenerateDataKey"),
    ("artifacts", "serving", "s3", "kms:Decrypt"),
    ("artifacts", "team-credit", "s3", "kms:GenerateDataKey"),
    ("artifacts", "orchestration", "sqs", "kms:Decrypt"),
    ("artifacts", "apply", "ecr", "kms:CreateGrant"),
    ("database", "apply", "rds", "kms:CreateGrant"),
    ("database", "backup", "rds", "kms:Decrypt"),
    ("secrets", "external-secrets", "secretsmanager", "kms:Decrypt"),
    ("secrets", "apply", "secretsmanager", "kms:CreateGrant"),
    ("secrets", "secret-values", "secretsmanager", "kms:GenerateDataKey"),
    ("cluster", "karpenter", "ec2", "kms:CreateGrant"),
    ("cluster", "karpenter", "sqs", "kms:Decrypt"),
    ("cluster", "apply", None, "kms:CreateGrant"),
    ("logs", "log-shipping", "s3", "kms:GenerateDataKey"),
    ("logs", "monitoring", "s3", "kms:Decrypt"),
    ("backups", "backup", "backup", "kms:CreateGrant"),
    # ECR makes a repository for a pull by a grant alone, and is to read nothing with it
    ("artifacts", "image-cache", "ecr", "kms:CreateGrant"),
    ("artifacts", "backup-copy-central-bank", "s3", "kms:Decrypt"),
    ("backups", "backup-copy-central-bank", "s3", "kms:Decrypt"),
    ("secrets", "backup-copy-central-bank", "secretsmanager", "kms:Decrypt"),
    ("logs", "log-stream", "s3", "kms:GenerateDataKey"),
    ("logs", "siem", "s3", "kms:Decrypt"),
    ("logs", "apply", "firehose", "kms:CreateGrant"),
]


@pytest.mark.parametrize(("domain", "role", "via", "action"), USES)
def test_a_role_uses_a_key_through_its_service_here_and_nothing_else_does(
    domain: Domain, role: str, via: str | None, action: str
) -> None:
    of = policy(domain)

    assert lets(of, role, action, via)
    assert not lets(of, "stranger", action, via)
    assert not lets(of, role, action, via, account="210987654321")
    assert not lets(of, role, action, via, aws__RequestedRegion="eu-west-1")
    if via is not None and domain != "state":
        assert not lets(of, role, action, "dynamodb")
        assert not lets(of, role, action, None)


@pytest.mark.parametrize(
    ("domain", "role", "via", "action"),
    [
        ("state", "plan", None, "kms:Encrypt"),
        ("state", "plan", "s3", "kms:GenerateDataKey"),
        ("artifacts", "serving", "s3", "kms:GenerateDataKey"),
        ("artifacts", "apply", "s3", "kms:Decrypt"),
        ("logs", "log-shipping", "s3", "kms:Decrypt"),
        ("logs", "siem", "s3", "kms:GenerateDataKey"),
        ("artifacts", "siem", "s3", "kms:Decrypt"),
        ("artifacts", "image-cache", "ecr", "kms:Decrypt"),
        ("logs", "apply", "firehose", "kms:Decrypt"),
        ("backups", "backup-copy-central-bank", "s3", "kms:GenerateDataKey"),
        ("logs", "serving", "s3", "kms:Decrypt"),
        ("secrets", "tracking", "secretsmanager", "kms:Decrypt"),
        ("secrets", "external-secrets", "secretsmanager", "kms:GenerateDataKey"),
        ("cluster", "training", "ec2", "kms:Decrypt"),
        ("database", "tracking", "rds", "kms:Decrypt"),
    ],
)
def test_a_role_gets_no_more_of_a_key_than_it_needs(
    domain: Domain, role: str, via: str | None, action: str
) -> None:
    assert not lets(policy(domain), role, action, via)


@pytest.mark.parametrize("role", [*LAUNCHERS, "karpenter", "ebs-csi"])
def test_whoever_starts_nodes_and_attaches_volumes_may_grant_the_key_of_disks(role: str) -> None:
    of = policy("cluster")

    assert all(lets(of, role, action, "ec2") for action in FIVE_ACTIONS)
    for action in FIVE_ACTIONS:
        if action != "kms:DescribeKey":
            assert not lets(of, role, action, None)
    no_resource = {"kms__GrantIsForAWSResource": "false"}
    assert not lets(of, role, "kms:CreateGrant", "ec2", **no_resource)


def test_only_the_key_of_the_cluster_is_handed_on_to_anything_and_only_by_deployers() -> None:
    no_resource = {"kms__GrantIsForAWSResource": "false"}
    handing = {
        (domain, role)
        for domain in EVERY_DOMAIN
        for role in ("apply", "break-glass", "plan", "karpenter", "backup", "cluster", "tracking")
        for via in (None, "ec2", "rds", "ecr", "backup", "secretsmanager")
        if lets(policy(domain), role, "kms:CreateGrant", via, **no_resource)
    }

    assert handing == {("cluster", "apply"), ("cluster", "break-glass")}


@pytest.mark.parametrize(
    ("domain", "service", "context", "stranger"),
    [
        (
            "logs",
            f"logs.{REGION}.amazonaws.com",
            {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:x"},
            {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{REGION}:2109:log-group:x"},
        ),
        (
            "logs",
            "cloudtrail.amazonaws.com",
            {"aws:SourceArn": f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/falaj-dev-trail"},
            {"aws:SourceArn": f"arn:aws:cloudtrail:{REGION}:2109:trail/falaj-dev-trail"},
        ),
        (
            "logs",
            "config.amazonaws.com",
            {"aws:SourceAccount": ACCOUNT},
            {"aws:SourceAccount": "210987654321"},
        ),
        (
            "logs",
            "events.amazonaws.com",
            {"kms:EncryptionContext:aws:sns:topicArn": SCOPE.arn("sns", "falaj-dev-alarms")},
            {"kms:EncryptionContext:aws:sns:topicArn": SCOPE.arn("sns", "falaj-prod-alarms")},
        ),
        (
            "logs",
            "sns.amazonaws.com",
            {"kms:EncryptionContext:aws:sqs:arn": SCOPE.arn("sqs", "falaj-dev-alarms")},
            {"kms:EncryptionContext:aws:sqs:arn": SCOPE.arn("sqs", "falaj-prod-alarms")},
        ),
        (
            "cluster",
            "events.amazonaws.com",
            {"kms:EncryptionContext:aws:sqs:arn": SCOPE.arn("sqs", "falaj-dev-interruption")},
            {"kms:EncryptionContext:aws:sqs:arn": "arn:aws:sqs:me-central-1:2109:falaj-dev-x"},
        ),
        (
            "artifacts",
            "s3.amazonaws.com",
            {"kms:EncryptionContext:aws:sqs:arn": SCOPE.arn("sqs", "falaj-dev-arrivals")},
            {},
        ),
    ],
)
def test_a_service_uses_a_key_for_our_resources_alone(
    domain: Domain, service: str, context: dict[str, str], stranger: dict[str, str]
) -> None:
    def may(given: dict[str, str], region: str = REGION) -> bool:
        request = Request(
            action="kms:GenerateDataKey",
            resource="the key",
            principal=service,
            context={"aws:RequestedRegion": region, **given},
        )
        return verdict(policy(domain), request) == "allowed"

    assert may(context)
    assert not may(stranger)
    assert not may(context, region="eu-west-1")


def test_log_groups_of_another_region_do_not_use_the_key() -> None:
    request = Request(
        action="kms:GenerateDataKey",
        resource="the key",
        principal="logs.eu-west-1.amazonaws.com",
        context={
            "kms:EncryptionContext:aws:logs:arn": SCOPE.arn("logs", "log-group:x"),
        },
    )

    assert verdict(policy("logs"), request) == "not allowed"


ADMINISTRATOR = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/{REGION}/AWSReservedSSO_Admin_01"
)
CHANGES = (
    *("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:CreateAlias", "kms:TagResource"),
    *("kms:EnableKeyRotation", "kms:DisableKey"),
)


def test_managers_use_a_key_through_the_services_named_alone() -> None:
    of = text(
        *key_policy(
            DomainKeyArgs(
                scope=SCOPE,
                domain="cluster",
                managers=(ADMINISTRATOR,),
                managers_use_through=("ec2",),
            )
        )
    )
    assert all(lets(of, ADMINISTRATOR, action, "ec2") for action in FIVE_ACTIONS)
    assert not lets(of, ADMINISTRATOR, "kms:Decrypt", "s3")
    assert not lets(of, ADMINISTRATOR, "kms:Decrypt", None)
    assert not lets(of, ADMINISTRATOR, "kms:Decrypt", "ec2", account="210987654321")
    assert not lets(of, "administrator", "kms:Decrypt", "ec2")


def test_a_key_with_managers_is_changed_by_them_and_the_root_user_and_seen_by_the_account() -> None:
    of = text(*key_policy(DomainKeyArgs(scope=SCOPE, domain="logs", managers=(ADMINISTRATOR,))))
    root = f"arn:aws:iam::{ACCOUNT}:root"

    for action in CHANGES:
        assert lets(of, ADMINISTRATOR, action, None), action
        assert lets(of, root, action, None), action
        assert not lets(of, "administrator", action, None), action
        assert not lets(of, ADMINISTRATOR.replace("_01", "_02"), action, None), action
    for action in ("kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListResourceTags"):
        assert lets(of, "config", action, None), action
    assert not lets(of, ADMINISTRATOR, "kms:Decrypt", None)


@pytest.mark.parametrize(
    ("domain", "via", "action"),
    [
        ("artifacts", "ecr", "kms:CreateGrant"),
        ("database", "rds", "kms:CreateGrant"),
        ("secrets", "secretsmanager", "kms:GenerateDataKey"),
        ("cluster", None, "kms:CreateGrant"),
        ("state", None, "kms:Encrypt"),
    ],
)
def test_people_who_deploy_may_with_a_key_what_the_role_that_applies_may(
    domain: Domain, via: str | None, action: str
) -> None:
    given = DomainKeyArgs(scope=SCOPE, domain=domain, deployers=(ADMINISTRATOR,))
    of = text(*key_policy(given))

    assert lets(of, ADMINISTRATOR, action, via)
    assert not lets(of, ADMINISTRATOR.replace("_01", "_02"), action, via)
    assert not lets(policy(domain), ADMINISTRATOR, action, via)
    assert not lets(of, ADMINISTRATOR, "kms:Decrypt", "dynamodb") or domain == "state"


def test_the_key_of_a_team_serves_that_team_and_the_platform_in_its_name() -> None:
    of = policy(team="credit")

    assert lets(of, "team-credit", "kms:GenerateDataKey", "s3")
    assert lets(of, "serving", "kms:Decrypt", "s3")
    assert not lets(of, "serving", "kms:GenerateDataKey", "s3")
    assert lets(of, "backup", "kms:Decrypt", "s3")
    assert lets(of, "backup-copy-second-site", "kms:Decrypt", "s3")
    for stranger in ("team-fraud", "team-credits", "tracking", "training", "apply", "plan"):
        assert not lets(of, stranger, "kms:Decrypt", "s3"), stranger


def test_a_team_with_a_key_of_its_own_writes_nothing_under_that_of_all() -> None:
    own = text(*key_policy(args("artifacts", team_keys=True)))

    # what is shared with every team stays under it
    assert lets(own, "team-credit", "kms:Decrypt", "s3")
    assert not lets(own, "team-credit", "kms:GenerateDataKey", "s3")
    assert lets(own, "tracking", "kms:GenerateDataKey", "s3")
    assert lets(policy("artifacts"), "team-credit", "kms:GenerateDataKey", "s3")


def test_a_policy_does_not_grow_with_the_number_of_teams_and_fits() -> None:
    for domain in EVERY_DOMAIN:
        assert len(policy(domain)) < LARGEST_POLICY_BYTES / 2, domain
    assert len(policy(team="a" * 32)) < LARGEST_POLICY_BYTES / 2


def test_a_short_deletion_window_is_refused_where_data_is_kept() -> None:
    short = KeySettings(deletion_days=7)

    assert problems_of_keys(short, keep_data=False, networked=False) == []
    (problem,) = problems_of_keys(short, keep_data=True, networked=True)
    assert problem.startswith("keys.deletion_days: is 7")


def test_keys_of_teams_are_refused_where_teams_have_no_doors_that_name_them() -> None:
    keys = KeySettings(team_keys=True)

    assert problems_of_keys(keys, keep_data=True, networked=True) == []
    (problem,) = problems_of_keys(keys, keep_data=True, networked=False)
    assert problem.startswith("keys.team_keys: is true, and there is no network")
