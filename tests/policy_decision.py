"""Whether policies let a request in: the rules of IAM, for the operators that our policies use.

By the policy evaluation logic and the reference of condition operators in the IAM user guide. What
is not known here (an operator, a wildcard in an odd place) raises, so that no test passes by
misreading a policy. moto's own evaluation passes over conditions, which are the point here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

Document = Mapping[str, Any]
Values = str | Sequence[str]
Decision = Literal["allowed", "denied", "not allowed"]
"""`denied` by a statement; `not allowed` where no statement says anything."""

ACCOUNT = "123456789012"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as AWS sees it."""

    principal: str
    """ARN of a role, or the name of a service such as ``logging.s3.amazonaws.com``."""
    action: str
    resource: str
    context: Mapping[str, Values] = field(default_factory=dict)
    """Condition keys; those of the principal and of TLS are known without being said."""

    @property
    def is_service(self) -> bool:
        """Whether an AWS service asks for itself."""
        return not self.principal.startswith("arn:")

    @property
    def keys(self) -> dict[str, Values]:
        """All condition keys, in small letters."""
        known: dict[str, Values] = {
            "aws:SecureTransport": "true",
            "s3:TlsVersion": "1.3",
            "aws:PrincipalIsAWSService": str(self.is_service).lower(),
            "aws:ViaAWSService": "false",
        }
        if not self.is_service:
            known["aws:PrincipalArn"] = self.principal
            known["aws:PrincipalAccount"] = self.principal.split(":")[4]
        return {key.lower(): value for key, value in {**known, **self.context}.items()}


def decide(
    request: Request,
    *,
    identity: Iterable[Document] = (),
    resource: Iterable[Document] = (),
    account: str = ACCOUNT,
) -> Decision:
    """What IAM decides in the account of the resource.

    `identity` are the policies of the principal, `resource` those on its way: of an access point
    and of its bucket, or of a key.
    """
    identity, resource = list(identity), list(resource)
    statements = [one for document in (*identity, *resource) for one in document["Statement"]]
    if any(one["Effect"] == "Deny" and _applies(one, request, account) for one in statements):
        return "denied"
    own = any(_allows(document, request, account) for document in identity)
    named = any(_allows(document, request, account, named=True) for document in resource)
    asked = any(_allows(document, request, account) for document in resource)
    if request.is_service:
        return "allowed" if named else "not allowed"
    if request.principal.split(":")[4] == account:
        return "allowed" if own or named else "not allowed"
    return "allowed" if own and asked else "not allowed"


def _allows(document: Document, request: Request, account: str, *, named: bool = False) -> bool:
    return any(
        one["Effect"] == "Allow" and _applies(one, request, account, named=named)
        for one in document["Statement"]
    )


def _applies(
    statement: Mapping[str, Any], request: Request, account: str, *, named: bool = False
) -> bool:
    """`named` asks whether the principal itself is meant, not its account, which only delegates."""
    return (
        _is_principal(statement.get("Principal"), request, account, named=named)
        and any(_like(pattern.lower(), request.action.lower()) for pattern in statement["Action"])
        and _is_resource(statement, request.resource)
        and all(
            _holds(operator, key, expected, request.keys)
            for operator, tests in statement.get("Condition", {}).items()
            for key, expected in tests.items()
        )
    )


def _is_principal(principals: Any, request: Request, account: str, *, named: bool) -> bool:
    if principals is None:
        return not named
    for kind, names in principals.items():
        for name in names:
            if kind == "Service" and request.is_service and name == request.principal:
                return True
            if kind != "AWS":
                continue
            if name in ("*", request.principal):
                return True
            whole = re.fullmatch(r"arn:aws:iam::(\d{12}):root", name)
            theirs = not request.is_service and request.principal.split(":")[4]
            if whole and whole[1] == theirs and not (named and theirs == account):
                return True
    return False


def _is_resource(statement: Mapping[str, Any], resource: str) -> bool:
    if "NotResource" in statement:
        return not any(_like(pattern, resource) for pattern in statement["NotResource"])
    return "Resource" not in statement or any(
        _like(pattern, resource) for pattern in statement["Resource"]
    )


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _like(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


def _arn_like(pattern: str, value: str) -> bool:
    """Each of the six parts of an ARN by itself: a wildcard does not reach over a colon."""
    ours, theirs = pattern.split(":", 5), value.split(":", 5)
    return len(ours) == len(theirs) == 6 and all(map(_like, ours, theirs))


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda expected, value: expected == value,
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda expected, value: expected.lower() == value.lower(),
    "NumericLessThan": lambda expected, value: float(value) < float(expected),
}
_OPPOSITES = {
    "StringNotEquals": "StringEquals",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _holds(operator: str, key: str, expected: Values, keys: Mapping[str, Values]) -> bool:
    value = keys.get(key.lower())
    wanted = [expected] if isinstance(expected, str) else list(expected)
    if operator == "Null":
        return (value is None) == (wanted == ["true"])
    plain = operator.removesuffix("IfExists")
    opposite = plain in _OPPOSITES
    test = _TESTS[_OPPOSITES.get(plain, plain)]
    if value is None:
        # what is not there is not equal to anything, which is what an opposite asks
        return opposite or operator != plain
    given = [value] if isinstance(value, str) else list(value)
    if len(given) != 1:
        raise NotImplementedError(f"{key} has several values, and {operator} no set operator")
    return any(test(one, given[0]) for one in wanted) != opposite
