"""Policy documents of IAM: what a statement says, and what a document grants.

A document is a JSON text or an object. What IAM refuses is refused here: an element in another case
(``effect``), one twice, both of a pair (``Action`` and ``NotAction``). What is not known yet stays
`UNKNOWN` and is never guessed. Grammar:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from policies.common.resources import UNKNOWN, Missing

_ELEMENTS = frozenset(
    {
        *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction"),
        *("Resource", "NotResource", "Condition"),
    }
)
_PAIRS = (("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource"))
_KINDS = ("AWS", "Service", "Federated", "CanonicalUser")
_OPERATOR = re.compile(r"(?:(ForAnyValue|ForAllValues):)?([A-Za-z]+?)(IfExists)?$")
_OPERATORS = frozenset(
    {
        *("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase"),
        *("StringNotEqualsIgnoreCase", "StringLike", "StringNotLike", "NumericEquals"),
        *("NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan"),
        *("NumericGreaterThanEquals", "DateEquals", "DateNotEquals", "DateLessThan"),
        *("DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals", "Bool"),
        *("BinaryEquals", "IpAddress", "NotIpAddress", "ArnEquals", "ArnLike", "ArnNotEquals"),
        *("ArnNotLike", "Null"),
    }
)
_NARROWING = frozenset({"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals"}) | {
    "ArnLike"
}
_ROOT = re.compile(r"(?:arn:[a-z-]+:iam::)?\d{12}(?::root)?$")


Quantifier = Literal["", "ForAnyValue", "ForAllValues"]
_QUANTIFIERS: Mapping[str, Quantifier] = {one: one for one in get_args(Quantifier)}


class InvalidPolicyError(Exception):
    """IAM would refuse the document; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One key under one operator."""

    quantifier: Quantifier
    operator: str
    if_exists: bool
    key: str
    """In lower case: IAM does not tell cases of keys apart."""
    values: tuple[Any, ...]

    @property
    def narrows(self) -> bool:
        """Whether the key must be there and be like one of few values."""
        return (
            self.operator in _NARROWING
            and not self.if_exists
            # holds of a request without the key
            and self.quantifier != "ForAllValues"
            and bool(self.values)
            and not any(_is_open(str(one)) for one in self.values)
        )

    @property
    def is_plaintext(self) -> bool:
        """Whether it holds of every request without TLS."""
        said = {str(one).lower() for one in self.values}
        return (
            self.operator == "Bool"
            and not self.quantifier
            and self.key == "aws:securetransport"
            and "false" in said
        )


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement. Lists that are `UNKNOWN` are not known yet; `()` says nothing."""

    allows: bool | Missing
    principals: tuple[str, ...] | Missing
    """ARNs and accounts; others with their kind before a colon; ``*`` is everybody."""
    but_principals: bool
    """Whether `principals` are those that are left out; so of the others."""
    actions: tuple[str, ...] | Missing
    but_actions: bool
    resources: tuple[str, ...] | Missing
    but_resources: bool
    conditions: tuple[Condition, ...] | Missing

    @property
    def is_known(self) -> bool:
        """Whether no part of it is still to come."""
        parts = (self.allows, self.principals, self.actions, self.resources, self.conditions)
        conditions = () if isinstance(self.conditions, Missing) else self.conditions
        return Missing.UNKNOWN not in parts and not any(
            UNKNOWN in part
            for part in (
                *(part for part in parts[1:4] if isinstance(part, tuple)),
                *(one.values for one in conditions),
            )
        )

    @property
    def is_for_everyone(self) -> bool:
        """Whether no principal is named, but all or all but some are meant."""
        return self.but_principals or any("*" in one for one in _known(self.principals))

    @property
    def named(self) -> tuple[str, ...]:
        """The principals that it names, as far as they are known."""
        return () if self.but_principals else _known(self.principals)

    def is_within(self, actions: Iterable[str]) -> bool:
        """Whether it is about nothing but what the patterns `actions` stand for."""
        allowed = [one.lower() for one in actions]
        return not self.but_actions and all(
            any(within(one.lower(), outer) for outer in allowed) for one in _known(self.actions)
        )

    def covers(self, action: str) -> bool:
        """Whether it is about all that `action`, a name or a pattern, stands for."""
        if self.but_actions:
            return _all_known(self.actions) and not any(
                overlap(one.lower(), action.lower()) for one in _known(self.actions)
            )
        return any(within(action.lower(), one.lower()) for one in _known(self.actions))

    def covers_resource(self, resource: str) -> bool:
        """Whether it is about all that `resource`, a name or a pattern, stands for."""
        if self.but_resources:
            return _all_known(self.resources) and not any(
                overlap(one, resource) for one in _known(self.resources)
            )
        # in a policy of one resource it may be left out
        return self.resources == () or any(within(resource, one) for one in _known(self.resources))

    def narrowed_by(self, keys: Iterable[str]) -> bool:
        """Whether one of its conditions says of one of `keys` which values it must have."""
        wanted = {key.lower() for key in keys}
        return any(one.key in wanted and one.narrows for one in _known(self.conditions))


@dataclass(frozen=True)
class Document:
    """A policy."""

    statements: tuple[Statement, ...]

    @property
    def is_known(self) -> bool:
        """Whether no part of it is still to come."""
        return all(statement.is_known for statement in self.statements)

    def denies_plaintext(self, actions: Sequence[str], resources: Sequence[str]) -> bool:
        """Whether each of `actions` on each of `resources` is denied to all without TLS.

        Without `resources`: on any resource at all, for one whose name is not known yet.
        """
        denials = [one for one in self.statements if _is_plain_denial(one)]
        return all(
            any(
                one.covers(action) and (resource is None or one.covers_resource(resource))
                for one in denials
            )
            for action in actions
            for resource in resources or (None,)
        )

    def grants(self, principal: str, action: str) -> bool:
        """Whether a statement that names `principal` grants `action`, and none takes it away."""
        return any(
            one.allows is True and principal in _known(one.principals) and one.covers(action)
            for one in self.statements
            if not one.but_principals
        ) and not any(
            one.allows is False
            and one.conditions == ()
            and not one.but_principals
            and bool({principal, "*"}.intersection(_known(one.principals)))
            and one.covers(action)
            and one.covers_resource("*")
            for one in self.statements
        )


def parsed(policy: Any) -> Document | Missing:
    """`policy`, a JSON text or an object; `UNKNOWN` if nothing of it is known.

    Raises `InvalidPolicyError`.
    """
    if policy is UNKNOWN:
        return Missing.UNKNOWN
    return _of_text(policy) if isinstance(policy, str) else _of_object(policy)


@functools.lru_cache(maxsize=4096)  # one document is read by several rules
def _of_text(policy: str) -> Document | Missing:
    try:
        said = json.loads(policy, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise InvalidPolicyError(f"is no JSON: {error}") from error
    return _of_object(said)


def _of_object(policy: Any) -> Document | Missing:
    if not isinstance(policy, Mapping):
        raise InvalidPolicyError("is no object")
    _refuse_others(policy, {"Version", "Id", "Statement"})
    if "Statement" not in policy:
        raise InvalidPolicyError("has no Statement")
    if policy["Statement"] is UNKNOWN:
        return Missing.UNKNOWN
    return Document(tuple(_statement(one) for one in _listed(policy["Statement"])))


def _is_open(value: str) -> bool:
    """Whether a value is a pattern; one of ARNs in one account stands for few enough."""
    fixed = value.split(":", 5)[:5] if value.startswith("arn:") else []
    if len(fixed) == 5 and fixed[4].isdigit():
        value = ":".join(fixed)
    return "*" in value or "?" in value


def _is_plain_denial(statement: Statement) -> bool:
    """Whether a denial is of everybody, and narrowed by nothing but plain text."""
    return (
        statement.allows is False
        and not statement.but_principals
        and "*" in _known(statement.principals)
        and isinstance(statement.conditions, tuple)
        # without any, nobody gets in at all: that is no rule on TLS
        and bool(statement.conditions)
        and all(one.is_plaintext for one in statement.conditions)
    )


def is_root(principal: str) -> bool:
    """Whether it stands for a whole account: its number, or the ARN of its root."""
    return _ROOT.match(principal) is not None


@functools.lru_cache(maxsize=4096)
def within(inner: str, outer: str) -> bool:
    """Whether all that the pattern `inner` stands for, `outer` stands for too.

    Never true wrongly; of odd patterns (``?*`` in ``*?``) not always true.
    """
    reached = {0}
    for letter in inner:
        # a star of `outer` may stand for nothing
        reached = _past_stars(outer, reached)
        following = set()
        for place in reached:
            expected = outer[place] if place < len(outer) else ""
            if expected == "*":
                following.add(place)
            elif letter != "*" and expected and expected in ("?", letter):
                following.add(place + 1)
        reached = following
    return len(outer) in _past_stars(outer, reached)


@functools.lru_cache(maxsize=4096)
def overlap(one: str, other: str) -> bool:
    """Whether there is a text that both patterns stand for."""
    reached, seen = [(0, 0)], set()
    while reached:
        left, right = place = reached.pop()
        if place in seen:
            continue
        seen.add(place)
        a, b = one[left : left + 1], other[right : right + 1]
        if not a and not b:
            return True
        if a == "*":
            reached += [(left + 1, right), *([(left, right + 1)] if b else [])]
        if b == "*":
            reached += [(left, right + 1), *([(left + 1, right)] if a else [])]
        if a and b and "*" not in (a, b) and (a == b or "?" in (a, b)):
            reached.append((left + 1, right + 1))
    return False


def _past_stars(pattern: str, places: set[int]) -> set[int]:
    result = set()
    for place in places:
        result.add(place)
        while pattern[place : place + 1] == "*":
            place += 1  # noqa: PLW2901
            result.add(place)
    return result


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise InvalidPolicyError("has an element twice")
    return made


def _refuse_others(value: Mapping[str, Any], allowed: Iterable[str]) -> None:
    if others := sorted(set(value) - set(allowed)):
        raise InvalidPolicyError(f"has {', '.join(others)}, which IAM does not know")


def _statement(said: Any) -> Statement:
    if said is UNKNOWN:
        return Statement(
            allows=UNKNOWN,
            principals=UNKNOWN,
            but_principals=False,
            actions=UNKNOWN,
            but_actions=False,
            resources=UNKNOWN,
            but_resources=False,
            conditions=UNKNOWN,
        )
    if not isinstance(said, Mapping):
        raise InvalidPolicyError("has a statement that is no object")
    _refuse_others(said, _ELEMENTS)
    for positive, negative in _PAIRS:
        if positive in said and negative in said:
            raise InvalidPolicyError(f"has both {positive} and {negative} in one statement")
    if "Action" not in said and "NotAction" not in said:
        raise InvalidPolicyError("has a statement without Action")
    effect = said.get("Effect")
    if effect not in ("Allow", "Deny", UNKNOWN):
        raise InvalidPolicyError(f"has the Effect {effect!r}")
    return Statement(
        allows=UNKNOWN if effect is UNKNOWN else effect == "Allow",
        principals=_principals(said.get("Principal", said.get("NotPrincipal", ()))),
        but_principals="NotPrincipal" in said,
        actions=_texts(said.get("Action", said.get("NotAction", ()))),
        but_actions="NotAction" in said,
        resources=_texts(said.get("Resource", said.get("NotResource", ()))),
        but_resources="NotResource" in said,
        conditions=_conditions(said.get("Condition", {})),
    )


def _principals(said: Any) -> tuple[str, ...] | Missing:
    if said is UNKNOWN:
        return Missing.UNKNOWN
    if said == "*":
        return ("*",)
    if not isinstance(said, Mapping):
        if said == ():
            return ()
        raise InvalidPolicyError(f"has the principal {said!r}")
    _refuse_others(said, _KINDS)
    found: list[Any] = []
    for kind, names in said.items():
        texts = _texts(names)
        if isinstance(texts, Missing):
            return Missing.UNKNOWN
        found += [one if kind == "AWS" or one is UNKNOWN else f"{kind}:{one}" for one in texts]
    return tuple(found)


def _conditions(said: Any) -> tuple[Condition, ...] | Missing:
    if said is UNKNOWN:
        return Missing.UNKNOWN
    if not isinstance(said, Mapping):
        raise InvalidPolicyError("has a Condition that is no object")
    found: list[Condition] = []
    for name, tests in said.items():
        match = _OPERATOR.match(name)
        if match is None or match[2] not in _OPERATORS:
            raise InvalidPolicyError(f"has the condition operator {name}")
        if tests is UNKNOWN:
            return Missing.UNKNOWN
        if not isinstance(tests, Mapping):
            raise InvalidPolicyError(f"has a {name} that is no object")
        found += [
            Condition(
                quantifier=_QUANTIFIERS[match[1] or ""],
                operator=match[2],
                if_exists=bool(match[3]),
                key=key.lower(),
                values=tuple(_listed(values)),
            )
            for key, values in tests.items()
        ]
    return tuple(found)


def _texts(said: Any) -> tuple[Any, ...] | Missing:
    if said is UNKNOWN:
        return Missing.UNKNOWN
    texts: tuple[Any, ...] = tuple(_listed(said))
    if not all(isinstance(one, str) or one is UNKNOWN for one in texts):
        raise InvalidPolicyError(f"has {said!r} where a text or texts belong")
    return texts


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _all_known(values: tuple[Any, ...] | Missing) -> bool:
    return isinstance(values, tuple) and UNKNOWN not in values


def _known(values: tuple[Any, ...] | Missing) -> tuple[Any, ...]:
    return () if isinstance(values, Missing) else tuple(one for one in values if one is not UNKNOWN)
