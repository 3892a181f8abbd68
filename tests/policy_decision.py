"""Whether policies let a request in: the rules of IAM, for what our policies use.

By the policy evaluation logic and the reference of condition operators in the IAM user guide. What
is not known here (an element, an operator, several values without a set operator) raises
`NotImplementedError`, so that no test passes by misreading a policy. moto's own evaluation passes
over conditions, which are the point here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

Document = str | Mapping[str, Any]
"""A policy, as text or read."""
Values = str | Sequence[str]
Decision = Literal["allowed", "denied", "not allowed"]
"""`denied` by a statement; `not allowed` where no statement says anything."""

ACCOUNT, REGION = "123456789012", "me-central-1"
_ELEMENTS = {"Sid", "Effect", "Principal", "Condition"}
_ELEMENTS |= {"Action", "NotAction", "Resource", "NotResource"}


def statements(document: Document) -> list[dict[str, Any]]:
    """The statements of a policy."""
    read = json.loads(document) if isinstance(document, str) else document
    return list(read["Statement"])


def by_sid(document: Document) -> dict[str, dict[str, Any]]:
    """Statement id → statement of a policy in which each has one of its own."""
    found = {one["Sid"]: one for one in statements(document)}
    assert len(found) == len(statements(document)), "a statement id stands twice"
    return found


def condition_keys(**values: Values) -> dict[str, Values]:
    """Condition keys as Python can name them: ``aws__RequestedRegion`` for the key with a colon."""
    return {name.replace("__", ":"): value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as AWS sees it."""

    principal: str
    """ARN of a role, a user or an identity provider, or the name of a service such as
    ``logging.s3.amazonaws.com``."""
    action: str
    resource: str
    context: Mapping[str, Values] = field(default_factory=dict)
    """Condition keys; those of the principal, of the region and of TLS are known without being
    said."""

    @property
    def is_service(self) -> bool:
        """Whether an AWS service asks for itself."""
        return not self.principal.startswith("arn:")

    @property
    def account(self) -> str:
        """The account of the principal, empty for a service."""
        return self.principal.split(":")[4] if self.principal.count(":") > 4 else ""

    @property
    def keys(self) -> dict[str, Values]:
        """All condition keys, in small letters."""
        known: dict[str, Values] = {
            "aws:SecureTransport": "true",
            "s3:TlsVersion": "1.3",
            "aws:PrincipalIsAWSService": str(self.is_service).lower(),
            "aws:ViaAWSService": "false",
            "aws:RequestedRegion": REGION,
        }
        if not self.is_service:
            known["aws:PrincipalArn"] = self.principal
            known["aws:PrincipalAccount"] = known["kms:CallerAccount"] = self.account
        return {key.lower(): value for key, value in {**known, **self.context}.items()}


def decide(
    request: Request,
    *,
    identity: Iterable[Document] = (),
    boundary: Document | None = None,
    resource: Iterable[Document] = (),
    key: Document | None = None,
    account: str = ACCOUNT,
) -> Decision:
    """What IAM decides in the account of the resource.

    `identity` are the policies of the principal, `boundary` what they are kept within, `resource`
    those on its way: of an access point and of its bucket. `key` is the policy of a KMS key, which
    unlike others must itself let the principal in, or its account.
    """
    identity, resource = list(identity), [*resource, *([] if key is None else [key])]
    limits = [] if boundary is None else [boundary]
    if any(verdict(one, request, account) == "denied" for one in (*identity, *limits, *resource)):
        return "denied"
    own = any(_allows(document, request, account) for document in identity)
    named = any(_allows(document, request, account, named=True) for document in resource)
    asked = any(_allows(document, request, account) for document in resource)
    if request.is_service:
        return "allowed" if named else "not allowed"
    if not all(_allows(document, request, account) for document in limits):
        return "not allowed"
    if request.account == account:
        return "allowed" if named or (own and (asked or key is None)) else "not allowed"
    return "allowed" if own and asked else "not allowed"


def verdict(document: Document, request: Request, account: str = ACCOUNT) -> Decision:
    """What one policy by itself says of `request`: all there is to say of a role's trust."""
    found = [one for one in statements(document) if _applies(one, request, account)]
    if any(one["Effect"] == "Deny" for one in found):
        return "denied"
    return "allowed" if found else "not allowed"


def _allows(document: Document, request: Request, account: str, *, named: bool = False) -> bool:
    return any(
        one["Effect"] == "Allow" and _applies(one, request, account, named=named)
        for one in statements(document)
    )


def _applies(
    statement: Mapping[str, Any], request: Request, account: str, *, named: bool = False
) -> bool:
    """`named` asks whether the principal itself is meant, not its account, which only delegates."""
    if unknown := statement.keys() - _ELEMENTS:
        raise NotImplementedError(f"elements {unknown}")
    return (
        _is_principal(statement.get("Principal"), request, account, named=named)
        and _is_meant(statement, "Action", request.action, fold=True)
        and _is_meant(statement, "Resource", request.resource)
        and all(
            _holds(operator, key, expected, request.keys)
            for operator, tests in statement.get("Condition", {}).items()
            for key, expected in tests.items()
        )
    )


def _is_principal(principals: Any, request: Request, account: str, *, named: bool) -> bool:
    if principals is None:
        return not named
    if principals == "*":
        return True
    for kind, names in principals.items():
        for name in _list(names):
            if kind in ("Service", "Federated") and name == request.principal:
                return True
            if kind != "AWS":
                continue
            if name in ("*", request.principal):
                return True
            whole = re.fullmatch(r"arn:aws:iam::(\d{12}):root", name)
            if whole and whole[1] == request.account and not (named and request.account == account):
                return True
    return False


def _is_meant(
    statement: Mapping[str, Any], element: str, value: str, *, fold: bool = False
) -> bool:
    """Whether an element names `value`, or the element that turns it round does not."""

    def among(patterns: Values) -> bool:
        return any(
            _like(one.lower(), value.lower()) if fold else _like(one, value)
            for one in _list(patterns)
        )

    if f"Not{element}" in statement:
        return not among(statement[f"Not{element}"])
    # the policy of a role's trust names no resource
    return (element == "Resource" and element not in statement) or among(statement[element])


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
    "NumericLessThanEquals": lambda expected, value: float(value) <= float(expected),
}
_OPPOSITES = {
    "StringNotEquals": "StringEquals",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _holds(operator: str, key: str, expected: Values, keys: Mapping[str, Values]) -> bool:
    value = keys.get(key.lower())
    if operator == "Null":
        return (value is None) == (_list(expected) == ["true"])
    over, _, one = operator.rpartition(":")
    plain = one.removesuffix("IfExists")
    opposite = plain in _OPPOSITES
    test = _TESTS.get(_OPPOSITES.get(plain, plain))
    if test is None or over not in ("", "ForAnyValue", "ForAllValues"):
        raise NotImplementedError(f"operator {operator}")
    if value is None:
        if over:
            return over == "ForAllValues" or one != plain
        # what is not there is not equal to anything, which is what an opposite asks
        return opposite or one != plain
    wanted = [_filled(text, keys) for text in _list(expected)]
    given = _list(value)
    if len(given) != 1 and not over:
        raise NotImplementedError(f"{key} has several values, and {operator} no set operator")
    fits = [any(test(text, each) for text in wanted) != opposite for each in given]
    return any(fits) if over == "ForAnyValue" else all(fits)


def _filled(value: str, keys: Mapping[str, Values]) -> str:
    """`value` with its policy variables; one that is not known matches nothing."""
    return re.sub(
        r"\$\{([^}]+)\}", lambda found: str(keys.get(found[1].lower(), "\0absent")), value
    )


def _list(value: Values) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
