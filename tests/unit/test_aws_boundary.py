"""The permissions boundary and the organisation's policy: what nobody can do, by evaluation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from policy_decision import Request, condition_keys, decide, statements

from components.aws.boundary import Boundary, BoundaryArgs, boundary_statements
from components.aws.policy_document import Statement, text
from components.aws.scope import Scope
from policies.guards.actions import LOSING_KEYS, STOPPING_RECORDS
from policies.guards.organisation import LONGEST_BYTES, TooLongError, service_control_policy
from policies.guards.worldwide import GLOBAL_ACTIONS

if TYPE_CHECKING:
    from conftest import Recording

ACCOUNT, REGION = "123456789012", "me-central-1"
SCOPE = Scope(environment="prod", account_id=ACCOUNT, region=REGION)
LARGEST_MANAGED_POLICY = 6_144
EVERYTHING = text(Statement(sid="All", effect="Allow", actions=("*",), resources=["*"]))
BOUNDARY = SCOPE.policy_arn("boundary")
WORKLOADS = ("training", "nodes-general", "team-credit")
EVERYONE = (*WORKLOADS, "plan", "apply", "break-glass")


def policy(*, keep: bool = True, regions: tuple[str, ...] = (REGION,)) -> str:
    args = BoundaryArgs(scope=SCOPE, allowed_regions=regions, keep=keep)
    return text(*boundary_statements(args))


def may(role: str, action: str, resource: str = "*", *, keep: bool = True, **context: str) -> bool:
    """Whether a role that is allowed everything gets through the boundary."""
    request = Request(
        action=action,
        resource=resource,
        principal=SCOPE.role_arn(role),
        context=condition_keys(**context),
    )
    return decide(request, identity=[EVERYTHING], boundary=policy(keep=keep)) == "allowed"


@pytest.mark.parametrize("role", EVERYONE)
@pytest.mark.parametrize("action", ["s3:PutObject", "ec2:RunInstances", "kms:Decrypt"])
def test_nobody_acts_outside_the_allowed_regions(role: str, action: str) -> None:
    assert may(role, action)
    assert not may(role, action, aws__RequestedRegion="eu-west-1")
    assert not may(role, action, aws__RequestedRegion="us-east-1")


def test_services_without_regions_are_reached_where_they_are() -> None:
    boundary = {"iam__PermissionsBoundary": BOUNDARY}
    abroad = {"aws__RequestedRegion": "us-east-1"}

    assert may("apply", "iam:CreateRole", SCOPE.role_arn("x"), **abroad, **boundary)
    assert may("apply", "route53:ChangeResourceRecordSets", **abroad)


def test_the_pin_is_the_one_that_the_policy_packs_look_for() -> None:
    (pin,) = (one for one in statements(policy()) if "NotAction" in one)

    assert pin["Effect"] == "Deny"
    assert pin["Condition"] == {"StringNotEquals": {"aws:RequestedRegion": [REGION]}}
    assert set(pin["NotAction"]) == set(GLOBAL_ACTIONS)


@pytest.mark.parametrize("action", ["dynamodb:PutItem", "bedrock:InvokeModel", "ses:SendEmail"])
def test_services_that_the_platform_is_not_made_of_are_out_of_reach(action: str) -> None:
    assert not any(may(role, action) for role in EVERYONE)


def test_the_boundary_allows_no_service_of_permissions_as_a_whole() -> None:
    (allow,) = (one for one in statements(policy()) if one["Effect"] == "Allow")

    assert not {"*", "iam:*", "kms:*", "sts:*", "organizations:*"} & set(allow["Action"])


@pytest.mark.parametrize("role", EVERYONE)
def test_a_role_is_made_with_this_boundary_or_not_at_all(role: str) -> None:
    for action in ("iam:CreateRole", "iam:PutRolePermissionsBoundary"):
        own, other = BOUNDARY, SCOPE.policy_arn("wide")
        assert may(role, action, SCOPE.role_arn("x"), iam__PermissionsBoundary=own)
        assert not may(role, action, SCOPE.role_arn("x"), iam__PermissionsBoundary=other)
        assert not may(role, action, SCOPE.role_arn("x"))
    for action in ("DeleteRolePermissionsBoundary", "CreateUser", "CreateAccessKey"):
        assert not may(role, f"iam:{action}", SCOPE.role_arn("x"))


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iam:CreatePolicyVersion", BOUNDARY),
        ("iam:SetDefaultPolicyVersion", BOUNDARY),
        ("iam:DeletePolicy", BOUNDARY),
        ("iam:CreatePolicyVersion", SCOPE.policy_arn("deploy-network")),
        *(("iam:UpdateAssumeRolePolicy", SCOPE.role_arn(noun)) for noun in ("plan", "apply")),
        ("iam:PutRolePolicy", SCOPE.role_arn("apply")),
        ("iam:AttachRolePolicy", SCOPE.role_arn("break-glass")),
        ("iam:DeleteRole", SCOPE.role_arn("plan")),
        ("iam:CreateOpenIDConnectProvider", f"arn:aws:iam::{ACCOUNT}:oidc-provider/evil.example"),
    ],
)
def test_only_break_glass_changes_the_guard_rails(action: str, resource: str) -> None:
    assert [role for role in EVERYONE if may(role, action, resource)] == ["break-glass"]


def test_the_deploying_role_changes_the_other_roles() -> None:
    assert may("apply", "iam:PutRolePolicy", SCOPE.role_arn("training"))
    assert may("apply", "iam:UpdateAssumeRolePolicy", SCOPE.role_arn("training"))
    assert may("apply", "iam:CreatePolicyVersion", SCOPE.policy_arn("other"))


@pytest.mark.parametrize("action", [*LOSING_KEYS, *STOPPING_RECORDS])
def test_keys_and_records_are_lost_by_break_glass_alone_where_data_is_kept(action: str) -> None:
    assert [role for role in EVERYONE if may(role, action)] == ["break-glass"]
    passing = [role for role in EVERYONE if may(role, action, keep=False)]
    assert passing == ["apply", "break-glass"]


@pytest.mark.parametrize(
    "action",
    [
        *("s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutAccountPublicAccessBlock"),
        *("kms:PutKeyPolicy", "secretsmanager:PutResourcePolicy", "ecr:SetRepositoryPolicy"),
    ],
)
def test_only_those_who_deploy_open_or_close_a_resource(action: str) -> None:
    assert [one for one in EVERYONE if may(one, action)] == ["apply", "break-glass"]


@pytest.mark.parametrize("action", ["ec2:ModifySnapshotAttribute", "s3:PutBucketReplication"])
def test_nobody_shares_a_copy_with_another_account(action: str) -> None:
    assert not any(may(role, action) for role in EVERYONE)


def test_the_boundary_is_made_and_fits_into_a_managed_policy(
    record: Callable[[Callable[[], object]], Recording],
) -> None:
    args = BoundaryArgs(scope=SCOPE, allowed_regions=(REGION, "me-south-1"), keep=True)
    made = record(lambda: Boundary("prod-boundary", args)).the("Policy")

    assert made.inputs["name"] == "falaj-prod-boundary"
    assert len(re.sub(r"\s", "", made.inputs["policy"])) <= LARGEST_MANAGED_POLICY


# --- the organisation's policy --------------------------------------------------------------------


def organisation_lets(principal: str, action: str, region: str = REGION) -> bool:
    request = Request(
        action=action,
        resource="*",
        principal=principal,
        context={"aws:RequestedRegion": region},
    )
    # it only refuses: the organisation's own policy beside it allows
    return decide(request, identity=[EVERYTHING, service_control_policy([REGION])]) == "allowed"


ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/administrator"


def test_an_administrator_stays_in_the_region_and_leaves_the_guard_rails() -> None:
    assert organisation_lets(ADMINISTRATOR, "ec2:RunInstances")
    assert organisation_lets(ADMINISTRATOR, "iam:CreateRole", "us-east-1")
    assert not organisation_lets(ADMINISTRATOR, "ec2:RunInstances", "eu-west-1")
    for action in (*LOSING_KEYS, *STOPPING_RECORDS, "organizations:LeaveOrganization"):
        assert not organisation_lets(ADMINISTRATOR, action), action


def test_break_glass_and_disposable_environments_may_lose_keys() -> None:
    def may_lose(role: str) -> bool:
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        return organisation_lets(arn, "kms:ScheduleKeyDeletion")

    assert may_lose("falaj-prod-break-glass")
    assert may_lose("falaj-dev-apply")
    assert not may_lose("falaj-prod-apply")


def test_the_root_user_may_do_nothing() -> None:
    assert not organisation_lets(f"arn:aws:iam::{ACCOUNT}:root", "s3:ListAllMyBuckets")


def test_the_organisation_s_policy_fits_and_one_that_does_not_is_refused() -> None:
    assert len(service_control_policy([REGION]).encode()) < LONGEST_BYTES
    with pytest.raises(TooLongError, match=r"has \d+ bytes; AWS takes 5120"):
        service_control_policy([f"xx-region-{number}" for number in range(300)])
