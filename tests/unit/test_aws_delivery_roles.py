"""Who may plan, apply and break the glass: trusts and permissions, by evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import Request, condition_keys, decide, statements, verdict
from pydantic import ValidationError

from components.aws.boundary import BoundaryArgs, boundary_statements
from components.aws.delivery_roles import DeliveryRoles, DeliveryRolesArgs
from components.aws.deployment import deployment, guard_rails
from components.aws.policy_document import text
from components.aws.scope import Scope
from components.aws.settings.identity import (
    CiSettings,
    IdentitySettings,
    people_who_deploy,
    problems_of_deployers,
)

if TYPE_CHECKING:
    from conftest import Recorded, Recording

ACCOUNT, REGION = "123456789012", "me-central-1"
SCOPE = Scope(environment="prod", account_id=ACCOUNT, region=REGION, boundary_arn="arn:boundary")
KEY = SCOPE.arn("kms", "key/of-state")
GITHUB = CiSettings(kind="github", repository="bank/falaj", environment="prod")
GITLAB = CiSettings(kind="gitlab", repository="risk/ml/falaj", host="gitlab.bank.ae")
SETTINGS = IdentitySettings(ci=(GITHUB, GITLAB), break_glass_users=("amna", "omar"))
LARGEST_ROLE_POLICIES, LARGEST_MANAGED_POLICY, LARGEST_TRUST = 10_240, 6_144, 2_048
MOST_ATTACHED = 10
Record = Callable[[Callable[[], object]], "Recording"]


def build(
    record: Record,
    settings: IdentitySettings = SETTINGS,
    *,
    keep: bool = True,
    people: tuple[str, ...] = (),
) -> Recording:
    args = DeliveryRolesArgs(
        scope=SCOPE, settings=settings, keep=keep, people=people, state_key_arn=KEY
    )
    return record(lambda: DeliveryRoles("prod", args))


@pytest.fixture
def made(record: Record) -> Recording:
    return build(record)


def role(made: Recording, noun: str) -> Recorded:
    (found,) = (
        one
        for one in made.of("Role")
        if one.type.startswith("aws:") and one.inputs["name"] == SCOPE.name(noun)
    )
    return found


def may(made: Recording, noun: str, action: str, resource: str, **context: str) -> bool:
    boundary = BoundaryArgs(scope=SCOPE, allowed_regions=(REGION,), keep=True)
    request = Request(
        action=action,
        resource=resource,
        principal=SCOPE.role_arn(noun),
        context=condition_keys(**context),
    )
    identity = [*own(made, noun), *shared(made, noun)]
    limit = text(*boundary_statements(boundary))
    return decide(request, identity=identity, boundary=limit) == "allowed"


def own(made: Recording, noun: str) -> list[str]:
    """The policies of a role itself."""
    found = [one.inputs for one in made.of("RolePolicy")]
    return [one["policy"] for one in found if one["role"] == SCOPE.name(noun)]


def shared(made: Recording, noun: str) -> list[str]:
    """The policies of the account that are attached to a role."""
    held = {f"arn:{one.name}": one.inputs["policy"] for one in made.of("Policy")}
    attached = [one.inputs for one in made.of("RolePolicyAttachment")]
    arns = [one["policyArn"] for one in attached if one["role"] == SCOPE.name(noun)]
    return [held[arn] for arn in arns if arn in held]


def assumes(made: Recording, noun: str, issuer: str, subject: str, **more: str) -> bool:
    """Whether a job with a token of `issuer` for `subject` takes the role."""
    audience = "sts.amazonaws.com" if "github" in issuer else f"https://{issuer}"
    kind = "github" if "github" in issuer else "gitlab"
    request = Request(
        action="sts:AssumeRoleWithWebIdentity",
        resource="*",
        principal=f"arn:prod-issuer-{kind}",
        context={f"{issuer}:aud": audience, f"{issuer}:sub": subject, **more},
    )
    return verdict(role(made, noun).inputs["assumeRolePolicy"], request) == "allowed"


ON_GITHUB, ON_GITLAB = "token.actions.githubusercontent.com", "gitlab.bank.ae"


@pytest.mark.parametrize(
    ("issuer", "subject", "expected"),
    [
        (ON_GITHUB, "repo:bank/falaj:environment:prod", {"apply"}),
        (ON_GITHUB, "repo:bank/falaj:pull_request", {"plan"}),
        (ON_GITHUB, "repo:bank/falaj:ref:refs/heads/main", {"plan"}),
        (ON_GITHUB, "repo:bank/falaj:ref:refs/heads/feature", set()),
        (ON_GITHUB, "repo:bank/falaj:environment:dev", set()),
        (ON_GITHUB, "repo:bank/other:environment:prod", set()),
        (ON_GITHUB, "repo:stranger/falaj:pull_request", set()),
        (ON_GITLAB, "project_path:risk/ml/falaj:ref_type:branch:ref:main", {"plan", "apply"}),
        (ON_GITLAB, "project_path:risk/ml/falaj:ref_type:branch:ref:feature", {"plan"}),
        (ON_GITLAB, "project_path:risk/ml/falaj:ref_type:tag:ref:main", set()),
        (ON_GITLAB, "project_path:stranger/falaj:ref_type:branch:ref:main", set()),
        (ON_GITLAB, "repo:bank/falaj:environment:prod", set()),
    ],
)
def test_only_the_protected_job_applies_and_only_our_repository_plans(
    made: Recording, issuer: str, subject: str, expected: set[str]
) -> None:
    roles = {noun for noun in ("plan", "apply") if assumes(made, noun, issuer, subject)}

    assert roles == expected


def test_a_token_made_for_somebody_else_is_worth_nothing(made: Recording) -> None:
    other = {f"{ON_GITHUB}:aud": "https://example.com"}

    assert not assumes(made, "apply", ON_GITHUB, "repo:bank/falaj:environment:prod", **other)


@pytest.mark.parametrize(("machine", "expected"), [("runner", True), ("nodes-general", False)])
def test_the_runner_alone_of_all_machines_applies(
    record: Record, machine: str, *, expected: bool
) -> None:
    args = DeliveryRolesArgs(
        scope=SCOPE, settings=IdentitySettings(), keep=True, runner="runner", state_key_arn=KEY
    )
    made = record(lambda: DeliveryRoles("prod", args))
    request = Request(
        action="sts:AssumeRole",
        resource="*",
        principal=SCOPE.role_arn(machine),
    )
    trust = role(made, "apply").inputs["assumeRolePolicy"]

    assert (verdict(trust, request) == "allowed") is expected


@pytest.mark.parametrize("noun", ["plan", "apply"])
def test_every_trust_in_a_token_names_audience_and_subject(made: Recording, noun: str) -> None:
    for statement in statements(role(made, noun).inputs["assumeRolePolicy"]):
        keys = {key for test in statement["Condition"].values() for key in test}
        assert {key.rpartition(":")[2] for key in keys} == {"aud", "sub"}
        subjects = statement["Condition"].get("StringLike", {})
        assert noun == "plan" or not subjects


@pytest.mark.parametrize(
    ("user", "age", "expected"),
    [("amna", "60", True), ("amna", "901", False), ("amna", None, False), ("eve", "60", False)],
)
def test_the_glass_is_broken_by_named_people_with_a_fresh_second_factor(
    made: Recording, user: str, age: str | None, *, expected: bool
) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:user/{user}"
    factor = {"aws:MultiFactorAuthPresent": "true", "aws:MultiFactorAuthAge": age} if age else {}
    request = Request(
        action="sts:AssumeRole",
        resource="*",
        principal=arn,
        context=factor,
    )
    trust = role(made, "break-glass").inputs["assumeRolePolicy"]

    assert (verdict(trust, request) == "allowed") is expected


@pytest.mark.parametrize("noun", ["plan", "apply", "break-glass"])
def test_a_session_lasts_an_hour_within_the_boundary(made: Recording, noun: str) -> None:
    assert role(made, noun).inputs["maxSessionDuration"] == 3600
    assert role(made, noun).inputs["permissionsBoundary"] == "arn:boundary"


STATE = f"{SCOPE.bucket_arn('state')}/.pulumi/stacks/falaj/prod.json"


def test_plan_reads_the_state_and_writes_nothing(made: Recording) -> None:
    assert may(made, "plan", "s3:GetObject", STATE)
    assert may(made, "plan", "kms:Decrypt", KEY)
    for action in ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"):
        assert not may(made, "plan", action, STATE)
    for action in ("kms:Encrypt", "kms:GenerateDataKey", "kms:PutKeyPolicy"):
        assert not may(made, "plan", action, KEY)
    attached = [
        one.inputs["policyArn"]
        for one in made.of("RolePolicyAttachment")
        if one.inputs["role"] == SCOPE.name("plan")
    ]
    # unlike ReadOnlyAccess it reads no objects
    assert attached == ["arn:aws:iam::aws:policy/SecurityAudit"]


def test_apply_keeps_the_state(made: Recording) -> None:
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert may(made, "apply", action, STATE)
    for action in ("kms:Encrypt", "kms:Decrypt"):
        assert may(made, "apply", action, KEY)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("ec2:CreateVpc", SCOPE.arn("ec2", "vpc/*")),
        ("eks:CreateCluster", SCOPE.arn("eks", "cluster/falaj-prod-cluster")),
        ("eks:CreateNodegroup", SCOPE.arn("eks", "nodegroup/falaj-prod-cluster/general/1")),
        ("s3:CreateBucket", SCOPE.bucket_arn("data")),
        ("s3:PutBucketPolicy", SCOPE.bucket_arn("data")),
        ("rds:CreateDBInstance", SCOPE.arn("rds", "db:falaj-prod-database")),
        ("kms:CreateKey", "*"),
        ("kms:CreateGrant", SCOPE.arn("kms", "key/1")),
        ("secretsmanager:CreateSecret", SCOPE.secret_arn("tracking/session-key")),
        ("logs:CreateLogGroup", SCOPE.arn("logs", "log-group:/aws/eks/falaj-prod/cluster")),
        ("sqs:CreateQueue", SCOPE.arn("sqs", "falaj-prod-arrivals")),
        (
            "elasticloadbalancing:CreateLoadBalancer",
            SCOPE.arn("elasticloadbalancing", "loadbalancer/net/falaj-prod-ingress/*"),
        ),
        (
            "elasticloadbalancing:CreateListener",
            SCOPE.arn("elasticloadbalancing", "loadbalancer/net/falaj-prod-ingress/0a1b"),
        ),
        (
            "elasticloadbalancing:DeleteTargetGroup",
            SCOPE.arn("elasticloadbalancing", "targetgroup/falaj-prod-gateway/0a1b"),
        ),
        ("iam:PutRolePolicy", SCOPE.role_arn("training")),
    ],
)
def test_apply_makes_what_the_program_declares(made: Recording, action: str, resource: str) -> None:
    assert may(made, "apply", action, resource)
    assert not may(made, "plan", action, resource)


@pytest.mark.parametrize("noun", ["plan", "apply", "break-glass"])
@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", f"{SCOPE.bucket_arn('data')}/lake/x"),
        ("s3:GetObject", f"{SCOPE.bucket_arn('models')}/registry/x"),
        ("s3:PutObject", f"{SCOPE.bucket_arn('models')}/registry/x"),
        ("s3:DeleteObjectVersion", f"{SCOPE.bucket_arn('data')}/lake/x"),
        ("secretsmanager:GetSecretValue", SCOPE.secret_arn("tracking/session-key")),
        ("secretsmanager:PutSecretValue", SCOPE.secret_arn("tracking/session-key")),
        ("sqs:ReceiveMessage", SCOPE.arn("sqs", "falaj-prod-arrivals")),
        ("logs:GetLogEvents", SCOPE.arn("logs", "log-group:x")),
        ("rds-db:connect", SCOPE.arn("rds-db", "dbuser:db-1/postgres")),
        ("kms:Decrypt", SCOPE.arn("kms", "key/of-artifacts")),
        ("s3:CreateBucket", "arn:aws:s3:::falaj-dev-data-123456789012"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/falaj-dev-apply"),
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/administrator"),
    ],
)
def test_whoever_deploys_reads_no_data_and_touches_no_other_environment(
    made: Recording, noun: str, action: str, resource: str
) -> None:
    assert not may(made, noun, action, resource)


def test_objects_are_deleted_with_their_environment_only_where_none_are_kept(
    record: Record,
) -> None:
    target = f"{SCOPE.bucket_arn('data')}/lake/x"

    assert may(build(record, keep=False), "apply", "s3:DeleteObjectVersion", target)
    assert not may(build(record), "apply", "s3:DeleteObjectVersion", target)


def test_break_glass_changes_who_deploys_and_saves_a_key(made: Recording) -> None:
    for noun, expected in (("break-glass", True), ("apply", False)):
        deployers = SCOPE.role_arn("apply")
        assert may(made, noun, "iam:UpdateAssumeRolePolicy", deployers) is expected
        assert may(made, noun, "kms:CancelKeyDeletion", SCOPE.arn("kms", "key/1")) is expected


def test_everything_that_is_allowed_on_all_resources_says_why() -> None:
    for parts in {**deployment(SCOPE, keep=False), **guard_rails(SCOPE)}.values():
        for part in parts:
            assert ("*" in part.resources) == (part.reason is not None), part.sid
            assert not {"*", "iam:*", "kms:*", "sts:*", "s3:*", "organizations:*"} & set(
                part.actions
            )


def test_policies_and_trusts_fit_into_what_iam_takes(record: Record) -> None:
    made = build(record, keep=False)
    for noun in ("plan", "apply", "break-glass"):
        size = sum(len("".join(policy.split())) for policy in own(made, noun))
        assert 0 < size <= LARGEST_ROLE_POLICIES, (noun, size)
        sizes = [len("".join(policy.split())) for policy in shared(made, noun)]
        assert all(one <= LARGEST_MANAGED_POLICY for one in sizes), (noun, sizes)
        assert len(sizes) + 1 <= MOST_ATTACHED
        trust = role(made, noun).inputs["assumeRolePolicy"]
        assert len("".join(trust.split())) <= LARGEST_TRUST


def test_an_identity_provider_that_the_account_has_is_not_made_again(record: Record) -> None:
    there = GITHUB.model_copy(update={"provider_exists": True})
    made = build(record, IdentitySettings(ci=(there,)))
    trust = statements(role(made, "plan").inputs["assumeRolePolicy"])[0]

    assert made.of("OpenIdConnectProvider") == []
    assert trust["Principal"] == {
        "Federated": [f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"]
    }


def test_an_identity_provider_takes_tokens_made_for_us(made: Recording) -> None:
    found = {
        one.inputs["url"]: one.inputs["clientIdLists"] for one in made.of("OpenIdConnectProvider")
    }

    assert found == {
        "https://token.actions.githubusercontent.com": ["sts.amazonaws.com"],
        "https://gitlab.bank.ae": ["https://gitlab.bank.ae"],
    }


def applies_as(made: Recording, arn: str) -> bool:
    """Whether a role, or a user, may take `apply`."""
    request = Request(
        action="sts:AssumeRole", resource="*", principal=arn, context={"aws:PrincipalArn": arn}
    )
    return bool(verdict(role(made, "apply").inputs["assumeRolePolicy"], request) == "allowed")


ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/sso/administrator"


@pytest.mark.parametrize("settings", [SETTINGS, IdentitySettings()], ids=["pipelines", "nobody"])
def test_people_who_are_named_apply_and_nobody_else_does(
    record: Record, settings: IdentitySettings
) -> None:
    made = build(record, settings, people=(ADMINISTRATOR,))

    assert applies_as(made, ADMINISTRATOR)
    assert not applies_as(made, f"arn:aws:iam::{ACCOUNT}:role/sso/developer")
    assert not applies_as(made, ADMINISTRATOR.replace(ACCOUNT, "210987654321"))
    assert not applies_as(build(record, SETTINGS), ADMINISTRATOR)


def test_there_is_a_role_that_applies_even_where_nobody_is_named(record: Record) -> None:
    made = build(record, IdentitySettings())

    assert applies_as(made, ADMINISTRATOR)
    assert not applies_as(made, ADMINISTRATOR.replace(ACCOUNT, "210987654321"))
    assert may(made, "apply", "s3:PutObject", STATE)
    assert {one.inputs["name"] for one in made.of("Role") if one.type.startswith("aws:")} == {
        SCOPE.name("apply")
    }


@pytest.mark.parametrize("environment", ["staging", "prod", "dev", "test"])
def test_people_deploy_in_dev_and_test_and_elsewhere_a_job_or_the_runner_must(
    environment: str,
) -> None:
    def problems(settings: IdentitySettings, *, runner: bool = False) -> list[str]:
        return list(problems_of_deployers(environment, settings, account_id=ACCOUNT, runner=runner))

    named = IdentitySettings(administrators=(ADMINISTRATOR,))
    is_open = environment in ("dev", "test")

    assert people_who_deploy(environment, named) == ((ADMINISTRATOR,) if is_open else ())
    for nobody in (IdentitySettings(), named):
        assert [one.partition(":")[0] for one in problems(nobody)] == (
            [] if is_open else ["identity.ci"]
        )
        assert problems(nobody, runner=True) == []
    assert problems(SETTINGS) == []


def test_an_administrator_of_another_account_is_refused() -> None:
    stranger = IdentitySettings(administrators=(ADMINISTRATOR.replace(ACCOUNT, "210987654321"),))
    (problem,) = problems_of_deployers("dev", stranger, account_id=ACCOUNT, runner=False)

    assert problem.startswith("identity.administrators: arn:aws:iam::210987654321")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "github", "repository": "bank/falaj"}, "environment is missing"),
        ({"kind": "gitlab", "repository": "b/f", "environment": "prod"}, "has no meaning"),
        ({"kind": "github", "repository": "bank/*", "environment": "prod"}, "repository"),
        ({"kind": "github", "repository": "bank/falaj", "environment": "*"}, "environment"),
    ],
)
def test_a_repository_that_would_let_strangers_in_is_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        CiSettings.model_validate(given)
