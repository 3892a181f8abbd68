"""Whether AWS would allow a request: a small evaluator of policies, for tests.

Follows the rules of IAM's policy evaluation for one account: an explicit deny wins; then a policy
of the resource or one of the identity must allow, the latter within the permissions boundary; a
key must always allow in its own policy. Operators and elements that no policy of ours uses raise
`NotImplementedError`, so that a test cannot pass on what is not understood. Source: IAM User Guide,
"Policy evaluation logic" and "IAM JSON policy elements: Condition operators".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["allow", "deny", "none"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked: `context` holds the condition keys that are present."""

    action: str
    resource: str
    principal: str = ""
    """ARN of a role or user, or ``service.amazonaws.com``."""
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


def verdict(policy: str, request: Request) -> Verdict:
    """What one policy document says of `request`."""
    found: Verdict = "none"
    for statement in json.loads(policy)["Statement"]:
        if _applies(statement, request):
            if statement["Effect"] == "Deny":
                return "deny"
            found = "allow"
    return found


def allowed(
    request: Request,
    *,
    identity: Sequence[str] = (),
    boundary: str | None = None,
    resource: str | None = None,
    resource_must_allow: bool = False,
) -> bool:
    """Whether `request` passes all policies. `resource_must_allow` holds for keys."""
    of_identity = [verdict(policy, request) for policy in identity]
    within = verdict(boundary, request) if boundary is not None else "allow"
    of_resource = verdict(resource, request) if resource is not None else "none"
    if "deny" in (*of_identity, within, of_resource):
        return False
    by_identity = "allow" in of_identity and within == "allow"
    if resource_must_allow:
        return of_resource == "allow" and by_identity
    return by_identity or of_resource == "allow"


def matches(pattern: str, value: str, *, fold: bool = False) -> bool:
    """Whether `value` fits a pattern with ``*`` and ``?``."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, re.IGNORECASE if fold else 0) is not None


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    strangers = statement.keys() - {
        *("Sid", "Effect", "Action", "NotAction", "Resource", "Principal", "Condition"),
    }
    if strangers:
        raise NotImplementedError(f"elements {strangers}")
    if "NotAction" in statement:
        action = not _any(statement["NotAction"], request.action, fold=True)
    else:
        action = _any(statement["Action"], request.action, fold=True)
    return (
        action
        and ("Resource" not in statement or _any(_list(statement["Resource"]), request.resource))
        and _is_principal(statement.get("Principal"), request.principal)
        and all(_holds(*test, request) for test in _tests(statement.get("Condition", {})))
    )


def _is_principal(principals: Any, principal: str) -> bool:
    if principals is None:
        return True
    if principals == "*":
        return True
    account = re.match(r"arn:aws:(?:iam|sts)::(\d+):", principal)
    named = [name for names in principals.values() for name in _list(names)]
    root = f"arn:aws:iam::{account.group(1)}:root" if account else None
    return "*" in named or principal in named or (root is not None and root in named)


def _tests(conditions: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, keys in conditions.items():
        for key, values in keys.items():
            yield operator, key, _list(values)


def _holds(operator: str, key: str, values: list[str], request: Request) -> bool:
    context = {name.lower(): value for name, value in request.context.items()}
    qualifier, _, plain = operator.rpartition(":")
    if_exists = plain.endswith("IfExists")
    plain = plain.removesuffix("IfExists")
    found = context.get(key.lower())
    if plain == "Null":
        return (found is None) == (values[0] == "true")
    if found is None:
        return if_exists or "Not" in plain or qualifier == "ForAllValues"
    values = [_filled(value, context) for value in values]
    given = _list(found)
    negated = "Not" in plain
    fits = [any(_compare(plain, value, one) for value in values) for one in given]
    if qualifier == "ForAnyValue":
        return any(not fit for fit in fits) if negated else any(fits)
    if qualifier == "ForAllValues":
        return all(not fit for fit in fits) if negated else all(fits)
    (fit,) = fits
    return not fit if negated else fit


def _compare(operator: str, expected: str, given: str) -> bool:
    match operator.replace("Not", ""):
        case "StringEquals" | "Bool":
            return expected == given
        case "StringLike" | "ArnLike" | "ArnEquals":
            return matches(expected, given)
        case "NumericLessThan":
            return float(given) < float(expected)
        case "NumericLessThanEquals":
            return float(given) <= float(expected)
    raise NotImplementedError(f"operator {operator}")


def _filled(value: str, context: Mapping[str, Any]) -> str:
    def replace(found: re.Match[str]) -> str:
        return str(context.get(found.group(1).lower(), "\0absent"))

    return re.sub(r"\$\{([^}]+)\}", replace, value)


def _any(patterns: Any, value: str, *, fold: bool = False) -> bool:
    return any(matches(pattern, value, fold=fold) for pattern in _list(patterns))


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list | tuple) else [value]
