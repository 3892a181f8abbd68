"""Rules on the roles of pods: each is one service account's, and no other pod's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policies.common.documents import document_of
from policies.common.policy_document import Document, Statement
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack

_ROLES = frozenset({"aws:iam/role:Role"})
_ASSOCIATIONS = frozenset({"aws:eks/podIdentityAssociation:PodIdentityAssociation"})
_ADD_ONS = frozenset({"aws:eks/addon:Addon"})
_ACCOUNTS = frozenset({"kubernetes:core/v1:ServiceAccount"})
_ANNOTATION = "eks.amazonaws.com/role-arn"
_ISSUER = re.compile(r"Federated:arn:[a-z-]+:iam::\d+:oidc-provider/(oidc\.eks\..+)")
_SUBJECT = re.compile(r"system:serviceaccount:[^:*?]+:[^:*?]+")
_PODS = "Service:pods.eks.amazonaws.com"


def role_is_pinned(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """A role that a cluster may give out is every pod's, unless its trust says whose."""
    associations = stack.joined(_ROLES, _ASSOCIATIONS, "roleArn", "arn")
    add_ons = _of_add_ons(stack)
    by_arn: dict[Any, Document | None] = {}
    by_urn: dict[str, Document | None] = {}
    for role in stack.of(_ROLES):
        where = "assumeRolePolicy"
        policy = role.at(where)
        if is_missing(policy):
            continue
        trust = yield from document_of(role, where, policy)
        whole = trust if trust.statements and trust.is_known else None
        by_arn[role.at("arn")] = by_urn[role.urn] = whole
        said = [what for one in trust.statements if one.allows is True for what in _pinned(one)]
        for what in dict.fromkeys(said):
            yield Finding(resource=role, where=where, what=what)
        if not any(_PODS in one.named for one in trust.statements if one.allows is True):
            continue
        own = {role.urn, role.at("arn")} - {UNKNOWN}
        if not associations.of(role) and not own & add_ons:
            what = "trusts pods.eks.amazonaws.com, and no PodIdentityAssociation names the role"
            if associations.strays or UNKNOWN in add_ons:
                yield pending(role, where, f"{what} that is known yet")
            else:
                yield Finding(resource=role, where=where, what=what)
    for account in stack.of(_ACCOUNTS):
        yield from _annotated(account, by_arn, by_urn)


def _of_add_ons(stack: Stack) -> set[Any]:
    """URNs and ARNs of the roles that add-ons associate by themselves."""
    named: set[Any] = set()
    for add_on in stack.of(_ADD_ONS):
        referred = add_on.references.get("podIdentityAssociations", ())
        associations = add_on.at("podIdentityAssociations")
        arns = {
            at(one, "roleArn") for one in (associations if isinstance(associations, list) else ())
        }
        named |= set(referred) | (arns - {UNKNOWN} if referred else arns)
    return named


def _pinned(statement: Statement) -> Iterator[str]:
    """What is missing of the conditions of a statement that lets pods take a role."""
    if not statement.is_known:
        return
    for name in statement.named:
        if (issuer := _ISSUER.match(name)) is not None:
            yield from _of_issuer(statement, issuer[1].lower())
        elif name == _PODS and not statement.narrowed_by(("aws:SourceAccount",)):
            yield "trusts pods.eks.amazonaws.com without a condition on aws:SourceAccount"


def _of_issuer(statement: Statement, issuer: str) -> Iterator[str]:
    conditions = statement.conditions if isinstance(statement.conditions, tuple) else ()
    said = {
        name: [
            str(value)
            for one in conditions
            if one.key == f"{issuer}:{name}" and one.narrows
            for value in one.values
        ]
        for name in ("sub", "aud")
    }
    if len(said["sub"]) != 1 or not _SUBJECT.fullmatch(said["sub"][0]):
        yield "trusts a cluster without a condition on <issuer>:sub that names one service account"
    if said["aud"] != ["sts.amazonaws.com"]:
        yield "trusts a cluster without the condition that <issuer>:aud is sts.amazonaws.com"


def _annotated(
    account: Resource,
    by_arn: dict[Any, Document | None],
    by_urn: dict[str, Document | None],
) -> Iterator[Finding]:
    where = f"metadata.annotations.{_ANNOTATION}"
    name = account.at("metadata", "annotations", _ANNOTATION)
    if is_missing(name):
        return
    referred = [by_urn[urn] for urn in account.references.get("metadata", ()) if urn in by_urn]
    trust: Any = ABSENT
    if name in by_arn and name is not UNKNOWN:
        trust = by_arn[name]
    elif name is UNKNOWN and len(referred) == 1:
        trust = referred[0]
    elif name is UNKNOWN:
        yield pending(account, where)
        return
    if trust is ABSENT:
        what = f"names {name}, which is no role of this stack: nobody sees whom it trusts"
        yield Finding(resource=account, where=where, what=what)
    elif trust is None:
        yield pending(account, where, "names a role whose trust is not known yet")
    elif not any(_ISSUER.match(one) for statement in trust.statements for one in statement.named):
        what = "names a role that trusts no cluster's OpenID Connect provider"
        yield Finding(resource=account, where=where, what=what)


RULES = (
    Rule(
        name="workload-role-is-pinned-to-service-account",
        description="Every role of pods is that of one service account, and of no other pod.",
        mend="use EKS Pod Identity, or write both conditions in the trust policy.",
        applies_to=lambda resource: resource.type in _ROLES | _ACCOUNTS,
        together=role_is_pinned,
    ),
)
