"""What IAM would refuse in a policy document: its size, version, keys and the form of its parts.

Sources: the IAM user guide's "Grammar of the IAM JSON policy language" and "IAM and STS quotas",
and each service's own limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pulumi.runtime import rpc

_VERSIONS = ("2012-10-17", "2008-10-17")
_STATEMENT_KEYS = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal"}
    | {"NotPrincipal", "Condition"}
)
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_OPERATOR = re.compile(
    r"(ForAllValues:|ForAnyValue:)?"
    r"(String(Not)?(Equals(IgnoreCase)?|Like)|Numeric(Not)?Equals"
    r"|(Numeric|Date)(Less|Greater)Than(Equals)?|Date(Not)?Equals|Bool|BinaryEquals"
    r"|(Not)?IpAddress|Arn(Not)?(Equals|Like))(IfExists)?|Null"
)

_TRUST = 2048
_LARGEST_CHARACTERS = {
    "aws:iam/policy:Policy.policy": 6144,
    "aws:iam/role:Role.assumeRolePolicy": _TRUST,
    "aws:iam/rolePolicy:RolePolicy.policy": 10240,
    "aws:organizations/policy:Policy.content": 10240,
    "aws:s3/bucketPolicy:BucketPolicy.policy": 20480,
    "aws:kms/key:Key.policy": 32768,
    "aws:kms/keyPolicy:KeyPolicy.policy": 32768,
    "aws:ec2/vpcEndpoint:VpcEndpoint.policy": 20480,
    "aws:ecr/repositoryPolicy:RepositoryPolicy.policy": 10240,
    "aws:secretsmanager/secretPolicy:SecretPolicy.policy": 20480,
    "aws:sns/topic:Topic.policy": 30720,
    "aws:sns/topicPolicy:TopicPolicy.policy": 30720,
    "aws:sqs/queue:Queue.policy": 8192,
    "aws:sqs/queuePolicy:QueuePolicy.policy": 8192,
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy.policyDocument": 5120,
}
"""Where a document is → its greatest size in characters; IAM does not count white space."""

_OF_IDENTITIES = frozenset(
    {
        "aws:iam/policy:Policy",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:iam/userPolicy:UserPolicy",
        "aws:organizations/policy:Policy",
    }
)
"""Whose documents say what somebody may do, so that they name no principal."""


_WITHOUT_RESOURCE = frozenset(
    {
        "aws:iam/role:Role.assumeRolePolicy",
        "aws:ecr/repositoryPolicy:RepositoryPolicy.policy",
        "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate.repositoryPolicy",
    }
)
"""Documents about the one thing that they are attached to, so that they name no resource."""


def problems(token: str, inputs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the documents among `inputs`: (property, reason)."""
    for name, value in inputs.items():
        where = f"{token}.{name}"
        if not isinstance(value, str) or rpc.UNKNOWN in value:
            continue
        try:
            document = json.loads(value)
        except ValueError:
            if where in _LARGEST_CHARACTERS:
                yield name, "is no JSON"
            continue
        if where not in _LARGEST_CHARACTERS and not _is_policy(document):
            continue
        size = len(re.sub(r"\s", "", value) if token.startswith("aws:iam/") else value)
        largest = _LARGEST_CHARACTERS.get(where, size)
        if size > largest:
            yield name, f"is {size} characters long; the service takes {largest}"
        trust = where in _WITHOUT_RESOURCE
        for reason in _document(document, identity=token in _OF_IDENTITIES, trust=trust):
            yield name, reason


def _is_policy(document: Any) -> bool:
    return isinstance(document, dict) and {"Version", "Statement"} <= document.keys()


def _document(document: Any, *, identity: bool, trust: bool) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "is no policy document: not an object"
        return
    if strangers := document.keys() - {"Version", "Id", "Statement"}:
        yield f"has the unknown key {sorted(strangers)[0]}"
    if document.get("Version") not in _VERSIONS:
        yield f"has the Version {document.get('Version')!r}, not {_VERSIONS[0]}"
    statements = _listed(document.get("Statement"))
    if not statements:
        yield "has no Statement"
    sids = [one["Sid"] for one in statements if isinstance(one, dict) and one.get("Sid")]
    for sid in sorted({sid for sid in sids if sids.count(sid) > 1}):
        yield f"has two statements of the Sid {sid}"
    for number, statement in enumerate(statements, 1):
        if not isinstance(statement, dict):
            yield f"statement {number} is no object"
            continue
        named = f"statement {statement.get('Sid') or number}"
        for reason in _statement(statement, identity=identity, trust=trust):
            yield f"{named} {reason}"


def _statement(statement: dict[str, Any], *, identity: bool, trust: bool) -> Iterator[str]:
    if strangers := statement.keys() - _STATEMENT_KEYS:
        yield f"has the unknown key {sorted(strangers)[0]}"
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield f"has the Effect {statement.get('Effect')!r}, neither Allow nor Deny"
    if identity and not re.fullmatch(r"[A-Za-z0-9]*", str(statement.get("Sid", ""))):
        yield "has a Sid of more than letters and digits"
    yield from _one_of(statement, "Action", "NotAction")
    if identity:
        yield from _none_of(statement, "Principal", "NotPrincipal")
    else:
        yield from _one_of(statement, "Principal", "NotPrincipal")
    if trust:
        yield from _none_of(statement, "Resource", "NotResource")
    else:
        yield from _one_of(statement, "Resource", "NotResource")
    yield from _malformed(statement)


def _malformed(statement: dict[str, Any]) -> Iterator[str]:
    for action in _listed(statement.get("Action")) + _listed(statement.get("NotAction")):
        if not _ACTION.fullmatch(str(action)):
            yield f"names {action!r}, which is no action"
    for resource in _listed(statement.get("Resource")) + _listed(statement.get("NotResource")):
        if resource != "*" and not str(resource).startswith("arn:"):
            yield f"names {resource!r}, which is neither an ARN nor *"
    for operator in statement.get("Condition") or {}:
        if not _OPERATOR.fullmatch(operator):
            yield f"has the unknown condition operator {operator}"


def _one_of(statement: dict[str, Any], name: str, opposite: str) -> Iterator[str]:
    given = [key for key in (name, opposite) if statement.get(key)]
    if not given:
        yield f"has no {name}"
    elif len(given) > 1:
        yield f"has both {name} and {opposite}"


def _none_of(statement: dict[str, Any], name: str, opposite: str) -> Iterator[str]:
    for key in (name, opposite):
        if key in statement:
            yield f"has a {key}, and a document of this kind has none"


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
