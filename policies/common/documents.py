"""What rules ask of the policy documents that resources hold."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from policies.common.policy_document import (
    Condition,
    Document,
    InvalidPolicyError,
    Statement,
    parsed,
)
from policies.common.resources import UNKNOWN, Missing, Resource, is_missing
from policies.common.rule import Finding, pending

UNREAD = Document(())
"""Stands for a document that nobody can read, or read yet."""


def document_of(holder: Resource, where: str, policy: Any) -> Generator[Finding, None, Document]:
    """The document `policy` of `holder`, or `UNREAD`; yields why it cannot be judged wholly."""
    try:
        document = parsed(policy)
    except InvalidPolicyError as error:
        yield Finding(resource=holder, where=where, what=str(error))
        return UNREAD
    if isinstance(document, Missing):
        yield pending(holder, where)
        return UNREAD
    if not document.is_known:
        yield pending(holder, where, "is not known wholly yet")
    return document


def says(holder: Resource, name: str) -> bool:
    """Whether `holder` itself has the policy `name`, as far as its outputs tell.

    What is no input is not known at preview either; what is made of other resources refers to them.
    """
    value = holder.at(name)
    return not is_missing(value) and (
        value is not UNKNOWN or bool(holder.references.get(name)) or holder.hidden
    )


def conditions_of(statement: Statement) -> tuple[Condition, ...] | None:
    """Its conditions; nothing while one of them is not known."""
    if isinstance(statement.conditions, Missing):
        return None
    known = all(UNKNOWN not in one.values for one in statement.conditions)
    return statement.conditions if known else None


def is_outside(condition: Condition, key: str, inside: frozenset[str]) -> bool:
    """Whether `condition` holds of all requests whose `key` is none of `inside`."""
    return (
        condition.operator == "StringNotEquals"
        and not condition.quantifier
        and condition.key == key.lower()
        and bool(condition.values)
        and inside.issuperset(map(str, condition.values))
    )
