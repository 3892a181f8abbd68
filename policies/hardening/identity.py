"""Rules on who may do what in an account: roles, their policies, and who may take them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from policies.common.accounts import Sharing, account_in, accounts_of
from policies.common.arns import arn_of
from policies.common.documents import document_of
from policies.common.patterns import is_among
from policies.common.places import found, shown
from policies.common.policy_document import Statement
from policies.common.resources import UNKNOWN, Missing, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

_ROLE, _USER = "aws:iam/role:Role", "aws:iam/user:User"
_PERMISSIONS: Mapping[str, str] = {
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
    "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy": "inlinePolicy",
    _ROLE: "inlinePolicies.policy",
}
"""Type → where it holds what somebody may do."""


class Sensitive(Parameters):
    """Of which services nobody may do everything."""

    sensitiveServices: tuple[str, ...] = ("iam", "kms", "sts", "organizations")  # noqa: N815


def not_full_admin(resource: Resource, parameters: Sensitive) -> Iterator[Finding]:
    """Whoever may do everything with identities may give himself all the rest."""
    for place, policy in found(resource.properties, _PERMISSIONS[resource.type]):
        permissions = yield from document_of(resource, shown(place), policy)
        said = [
            what
            for statement in permissions.statements
            if statement.allows is True
            for what in _too_much(statement, parameters)
        ]
        for what in dict.fromkeys(said):
            yield Finding(resource=resource, where=shown(place), what=what)


def _too_much(statement: Statement, parameters: Sensitive) -> Iterator[str]:
    if statement.but_actions:
        yield "allows all but some actions (NotAction)"
        return
    actions = () if isinstance(statement.actions, Missing) else statement.actions
    if any(set(one) <= set("*:?") for one in actions if isinstance(one, str)):
        yield "allows all actions"
    elif _on_everything(statement):
        for service in parameters.sensitiveServices:
            # one letter at least is every name
            if any(statement.covers(f"{service}:{all_names}") for all_names in ("*", "?*")):
                yield f"allows {service}:* on all resources"


def _on_everything(statement: Statement) -> bool:
    """Whether it is about all resources, all of an account, or all but some."""
    named = () if isinstance(statement.resources, Missing) else statement.resources
    arns = [arn_of(one) for one in named]
    return (
        statement.but_resources
        or statement.covers_resource("*")
        or any(arn is not None and arn.resource in ("*", "**", "*/*") for arn in arns)
    )


_SERVICE = re.compile(r"Service:([a-z0-9.-]+?)(?:\.[a-z]{2}(?:-[a-z]+)+-\d)?\.amazonaws\.com$")
_FOREIGN = ("sts:ExternalId", "aws:PrincipalOrgID")


class Trust(Sharing):
    """Who may take a role."""

    allowedServices: tuple[str, ...] = (  # noqa: N815
        *("backup.amazonaws.com", "cloudtrail.amazonaws.com", "ec2.amazonaws.com"),
        *("eks.amazonaws.com", "events.amazonaws.com", "firehose.amazonaws.com"),
        *("lambda.amazonaws.com", "logs.amazonaws.com", "monitoring.rds.amazonaws.com"),
        *("pods.eks.amazonaws.com", "rds.amazonaws.com", "s3.amazonaws.com"),
        *("scheduler.amazonaws.com", "vpc-flow-logs.amazonaws.com"),
    )
    """Also where they are named with their region."""


def trust_names_principals(role: Resource, parameters: Trust) -> Iterator[Finding]:
    """A role that anybody may take is anybody's."""
    where = "assumeRolePolicy"
    trust = yield from document_of(role, where, role.at(where))
    said = [
        what
        for statement in trust.statements
        if statement.allows is True
        for what in _trusted(role, statement, parameters)
    ]
    for what in dict.fromkeys(said):
        yield Finding(resource=role, where=where, what=what)


def _trusted(role: Resource, statement: Statement, parameters: Trust) -> Iterator[str]:
    if statement.is_for_everyone:
        yield "trusts all but some" if statement.but_principals else "trusts everybody"
        return
    own = accounts_of(role, ())
    for name in statement.named:
        account, service = account_in(name), _SERVICE.match(name)
        if account and account not in own:
            if account not in parameters.allowedAccounts:
                yield f"trusts account {account}, which is neither its own nor in allowedAccounts"
            elif statement.is_known and not statement.narrowed_by(_FOREIGN):
                yield f"trusts account {account} without a condition on {' or '.join(_FOREIGN)}"
        elif (
            name.startswith("Service:")
            and f"{service[1] if service else name}.amazonaws.com" not in parameters.allowedServices
        ):
            yield f"trusts {name.partition(':')[2]}, which is not in allowedServices"


_ATTACHED: Mapping[str, str] = {
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "policyArn",
    "aws:iam/groupPolicyAttachmentsExclusive:GroupPolicyAttachmentsExclusive": "policyArns",
    "aws:iam/policyAttachment:PolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": "policyArns",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "policyArn",
    "aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive": "policyArns",
    "aws:ssoadmin/managedPolicyAttachment:ManagedPolicyAttachment": "managedPolicyArn",
    "aws:ssoadmin/managedPolicyAttachmentsExclusive:ManagedPolicyAttachmentsExclusive": (
        "managedPolicyArns"
    ),
    _ROLE: "managedPolicyArns",
}
"""Type → where it names policies that somebody else wrote."""


class Forbidden(Parameters):
    """Which policies nobody has."""

    forbiddenPolicies: tuple[str, ...] = (  # noqa: N815
        *("AdministratorAccess", "PowerUserAccess", "IAMFullAccess", "AWSCloudShellFullAccess"),
    )
    """By their names, without path."""


def no_administrator_access(resource: Resource, parameters: Forbidden) -> Iterator[Finding]:
    """A policy for everybody fits nobody."""
    for place, name in found(resource.properties, _ATTACHED[resource.type]):
        if name is UNKNOWN:
            yield pending(resource, shown(place))
        elif str(name).rpartition("/")[2] in parameters.forbiddenPolicies:
            yield Finding(resource=resource, where=shown(place), what=f"is {name}")


class Boundaries(Parameters):
    """What may be a boundary."""

    boundaryNames: tuple[str, ...] = ()  # noqa: N815
    """Names of policies, without path, where ``*`` stands for anything; any where none is named."""


def has_boundary(resource: Resource, parameters: Boundaries) -> Iterator[Finding]:
    """Whoever writes a role's policies cannot lift its boundary."""
    where = "permissionsBoundary"
    boundary, names = resource.at(where), parameters.boundaryNames
    if boundary is UNKNOWN:
        yield pending(resource, where)
    elif is_missing(boundary):
        yield Finding(resource=resource, where=where, what="is not set")
    elif names and not is_among(str(boundary).rpartition("/")[2], names):
        what = f"is {boundary}; allowed: {', '.join(names)}"
        yield Finding(resource=resource, where=where, what=what)


RULES = (
    Rule(
        name="iam-policy-is-not-full-admin",
        description="No policy allows everything, or everything with identities and keys.",
        mend="list the actions and resources that are needed.",
        applies_to=lambda resource: resource.type in _PERMISSIONS,
        parameters=Sensitive,
        each=not_full_admin,
    ),
    Rule(
        name="iam-trust-names-principals",
        description="Every role says which account, role or service may take it.",
        mend="name the account, role or service that may take the role.",
        applies_to=lambda resource: resource.type == _ROLE,
        parameters=Trust,
        each=trust_names_principals,
    ),
    Rule(
        name="administrator-access-is-not-attached",
        description="Nobody has AWS's policies for administrators.",
        mend="attach a policy with the needed actions alone.",
        applies_to=lambda resource: resource.type in _ATTACHED,
        parameters=Forbidden,
        each=no_administrator_access,
    ),
    Rule(
        name="iam-role-has-permission-boundary",
        description="Every role and user has a boundary that no policy of its own lifts.",
        mend="set permissionsBoundary to the ARN of the account's boundary.",
        applies_to=lambda resource: resource.type in (_ROLE, _USER),
        parameters=Boundaries,
        each=has_boundary,
    ),
)
