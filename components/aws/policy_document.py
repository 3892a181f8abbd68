"""IAM policy documents as typed data; never pasted from strings.

Owns the shape of a document. What a document allows is said where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi

Conditions = Mapping[str, Mapping[str, pulumi.Input[str] | Sequence[pulumi.Input[str]]]]
"""Operator → condition key → value or values, such as
``{"Bool": {"aws:SecureTransport": "false"}}``."""

ANYONE: Mapping[str, Sequence[str]] = {"AWS": ("*",)}
"""Every principal; an Allow to it needs conditions that narrow it."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a policy document."""

    sid: str
    effect: Literal["Allow", "Deny"]
    actions: Sequence[str] = ()
    not_actions: Sequence[str] = ()
    """Instead of `actions`, and in a refusal only: all actions but these."""
    resources: Sequence[pulumi.Input[str]] = ()
    """ARNs; empty only where the document's kind has no resources (a trust policy)."""
    not_resources: Sequence[pulumi.Input[str]] = ()
    """ARNs; the statement is about everything else. Instead of `resources`."""
    principals: Mapping[str, Sequence[pulumi.Input[str]]] = field(default_factory=dict)
    """Kind (AWS, Service, Federated) → principals; empty in a policy of an identity."""
    conditions: Conditions = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `ValueError` unless it names actions in exactly one way."""
        if bool(self.actions) == bool(self.not_actions):
            raise ValueError(f"{self.sid}: names either actions or not_actions")
        if self.not_actions and self.effect == "Allow":
            raise ValueError(f"{self.sid}: allows whatever it does not name")


def document(*statements: Statement) -> pulumi.Output[str]:
    """The JSON of a policy document with `statements`, in their order."""
    plain = [_plain(statement) for statement in statements]
    if _waits(plain):
        return pulumi.Output.from_input(plain).apply(_text)
    # an output of each of its parts would cost more than the rest of the resource
    return pulumi.Output.from_input(_text(plain))


def _text(plain: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": plain})


def _waits(plain: Any) -> bool:
    """Whether there is anything in it that is not known yet."""
    if isinstance(plain, dict):
        return any(map(_waits, plain.values()))
    if isinstance(plain, list):
        return any(map(_waits, plain))
    return not isinstance(plain, str)


def text(*statements: Statement) -> str:
    """The same, in as few bytes as it takes, of statements that wait for nothing.

    Raises `TypeError` where a value is known only once a resource is made.
    """
    plain = [_plain(statement) for statement in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": plain}, separators=(",", ":"))


def _plain(statement: Statement) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "Sid": statement.sid,
        "Effect": statement.effect,
    }
    if statement.not_actions:
        plain["NotAction"] = list(statement.not_actions)
    else:
        plain["Action"] = list(statement.actions)
    if statement.principals:
        plain["Principal"] = {kind: list(names) for kind, names in statement.principals.items()}
    if statement.resources:
        plain["Resource"] = list(statement.resources)
    if statement.not_resources:
        plain["NotResource"] = list(statement.not_resources)
    if statement.conditions:
        plain["Condition"] = {
            operator: {
                key: list(value) if isinstance(value, list | tuple) else value
                for key, value in test.items()
            }
            for operator, test in statement.conditions.items()
        }
    return plain
