"""Who changes an environment: pipelines that plan, the protected job that applies, and break-glass.

Owns the three roles and, where it is the account's first, the identity provider of the
repository's host. People and merge requests get the role `plan`: they read settings and state,
write neither, and read no data. Only the protected job takes `apply`, and it alone writes the
state: who cannot write the state cannot deploy, and so cannot leave the policy packs out. Where
people deploy (dev, test), those named take `apply` as well.
`break-glass` is for the day when single sign-on or the pipeline is down: IAM users with a hardware
key, a fresh second factor, one hour. Its use sets off an alarm (`audit_trail`), by its ARN.

Where a runner deploys, the bootstrap makes these roles. Elsewhere the first `up` of an environment
is run by an administrator (`identity.administrators`), since they do not exist before it. From then
on the boundary lets only break-glass change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.deployment import deployment, guard_rails, state_access, statements
from components.aws.policy_document import Statement, document
from components.aws.role import Role, RoleArgs
from components.aws.scope import Scope
from components.aws.settings.identity import CiSettings, IdentitySettings

SESSION_SECONDS = 3600
"""How long plan, apply and break-glass last: the shortest that IAM offers."""


@dataclass(frozen=True, kw_only=True)
class DeliveryRolesArgs:
    """Who may plan, apply and break the glass."""

    scope: Scope
    settings: IdentitySettings
    keep: bool
    """Whether the deploying role may not empty buckets."""
    runner: str | None = None
    """Noun of the role of a machine in the network that may apply; `None` where there is none."""
    people: Sequence[str] = ()
    """ARNs of existing roles whose holders may apply."""
    state_key_arn: pulumi.Input[str] | None = None
    """The key of the stack's state; `None` where it is known by its alias alone."""


class DeliveryRoles(pulumi.ComponentResource):
    """`apply_arn`; `plan_arn` and `break_glass_arn`, each `None` where nobody is named for it."""

    apply_arn: pulumi.Output[str]
    plan_arn: pulumi.Output[str] | None = None
    break_glass_arn: pulumi.Output[str] | None = None

    def __init__(
        self, name: str, args: DeliveryRolesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:DeliveryRoles", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, scope = args.settings, args.scope
        issuers = {ci.issuer: self._issuer(name, scope, ci) for ci in settings.ci}
        keeping = {"state": state_access(scope, args.state_key_arn, write=True)}
        deploy = {
            part: aws.iam.Policy(
                f"{name}-{part}",
                name=scope.name(f"deploy-{part}"),
                policy=document(*held),
                opts=child,
            ).arn
            for part, held in statements(deployment(scope, keep=args.keep)).items()
        }

        def role(
            noun: str,
            trust: Sequence[Statement],
            permissions: Mapping[str, Sequence[Statement]],
            **more: Any,
        ) -> pulumi.Output[str]:
            return Role(
                f"{name}-{noun}",
                RoleArgs(
                    scope=scope,
                    role=noun,
                    trust=trust,
                    permissions=permissions,
                    max_session_seconds=SESSION_SECONDS,
                    **more,
                ),
                child,
            ).arn

        if settings.ci:
            reading = {"state": state_access(scope, args.state_key_arn, write=False)}
            self.plan_arn = role(
                "plan",
                [plans(ci, issuers[ci.issuer], f"Plans{n}") for n, ci in enumerate(settings.ci)],
                reading,
                # how things are set, and no data
                managed_policies={"settings": "SecurityAudit"},
            )
        trust = [applies(ci, issuers[ci.issuer], f"Applies{n}") for n, ci in enumerate(settings.ci)]
        if args.runner is not None:
            trust.append(roles_apply(scope, "RunnerApplies", [scope.role_arn(args.runner)]))
        if args.people or not trust:
            trust.append(roles_apply(scope, "PeopleApply", args.people))
        self.apply_arn = role("apply", trust, keeping, shared_policies=deploy)
        if settings.break_glass_users:
            self.break_glass_arn = role(
                "break-glass",
                [breaks_glass(scope, settings)],
                {**keeping, **statements(guard_rails(scope))},
                shared_policies=deploy,
            )
        self.register_outputs({"apply_arn": self.apply_arn})

    def _issuer(self, name: str, scope: Scope, ci: CiSettings) -> pulumi.Input[str]:
        """The ARN of the identity provider of the repository's host, made where it is missing."""
        if ci.provider_exists:
            return f"arn:aws:iam::{scope.account_id}:oidc-provider/{ci.issuer}"
        return aws.iam.OpenIdConnectProvider(
            f"{name}-issuer-{ci.kind}",
            url=f"https://{ci.issuer}",
            client_id_lists=[ci.audience],
            opts=pulumi.ResourceOptions(parent=self),
        ).arn


def plans(ci: CiSettings, issuer: pulumi.Input[str], sid: str) -> Statement:
    """The trust in pipelines that plan: those of merge requests and of the branch."""
    if ci.kind == "github":
        subjects = [
            f"repo:{ci.repository}:pull_request",
            f"repo:{ci.repository}:ref:refs/heads/{ci.branch}",
        ]
    else:
        # a merge request's pipeline runs on its own branch, a fork's in another project
        subjects = [f"project_path:{ci.repository}:ref_type:branch:ref:*"]
    return _by_token(ci, issuer, sid, "StringLike", subjects)


def applies(ci: CiSettings, issuer: pulumi.Input[str], sid: str) -> Statement:
    """The trust in the one protected job, without a wildcard."""
    if ci.kind == "github":
        subject = f"repo:{ci.repository}:environment:{ci.environment}"
    else:
        subject = f"project_path:{ci.repository}:ref_type:branch:ref:{ci.branch}"
    return _by_token(ci, issuer, sid, "StringEquals", [subject])


def roles_apply(scope: Scope, sid: str, roles: Sequence[str]) -> Statement:
    """The trust in existing roles, and in the runner's, which is made later.

    Without `roles` it is in whoever of the account IAM lets take the role: so that there is a way
    to deploy where nobody is named, which settings refuse wherever data is kept.
    """
    return Statement(
        sid=sid,
        effect="Allow",
        actions=("sts:AssumeRole", "sts:TagSession"),
        principals={"AWS": (f"arn:aws:iam::{scope.account_id}:root",)},
        conditions={"ArnEquals": {"aws:PrincipalArn": list(roles)}} if roles else {},
    )


def breaks_glass(scope: Scope, settings: IdentitySettings) -> Statement:
    """The trust in the people named, each with a second factor shown minutes ago.

    Users are named by a condition, so that one who has left does not make the policy invalid.
    """
    account = f"arn:aws:iam::{scope.account_id}"
    return Statement(
        sid="PeopleBreakGlass",
        effect="Allow",
        actions=("sts:AssumeRole",),
        principals={"AWS": (f"{account}:root",)},
        conditions={
            "ArnEquals": {
                "aws:PrincipalArn": [
                    f"{account}:user/{user}" for user in settings.break_glass_users
                ]
            },
            "Bool": {"aws:MultiFactorAuthPresent": "true"},
            "NumericLessThan": {"aws:MultiFactorAuthAge": str(settings.break_glass_mfa_seconds)},
        },
    )


def _by_token(
    ci: CiSettings, issuer: pulumi.Input[str], sid: str, compare: str, subjects: Sequence[str]
) -> Statement:
    audience = {"StringEquals": {f"{ci.issuer}:aud": ci.audience}}
    subject = {compare: {f"{ci.issuer}:sub": subjects}}
    conditions: dict[str, dict[str, str | Sequence[str]]] = {}
    for tests in (audience, subject):
        for operator, keys in tests.items():
            conditions.setdefault(operator, {}).update(keys)
    return Statement(
        sid=sid,
        effect="Allow",
        actions=("sts:AssumeRoleWithWebIdentity",),
        principals={"Federated": [issuer]},
        conditions=conditions,
    )
