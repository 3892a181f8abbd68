"""What rules ask of one property: is it on, is it one of these, does it name a key of the owner.

A path may say `EACH` where a list is: every entry of it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Path, pending

EACH = "*"


@dataclass(frozen=True, kw_only=True)
class Encrypted:
    """How a type of resource says that its data is under a key of the owner."""

    key: Path
    """Where it names the key."""
    on: Path = ()
    """Where it must say that it encrypts at all, if it has such a switch."""
    says: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    """What else must have one of which values."""
    within: Path = ()
    """Under which all of these are."""


def under_customer_key(resource: Resource, kept: Sequence[Encrypted]) -> Iterator[Finding]:
    """What is missing of all that `kept` asks."""
    for one in kept:
        for place in places(resource.properties, one.within):
            if one.on:
                yield from is_on(resource, (*place, *one.on))
            for where, allowed in one.says.items():
                yield from is_one_of(resource, (*place, *where), allowed)
            yield from names_key(resource, (*place, *one.key))


def places(value: Any, path: Path) -> Iterator[Path]:
    """The places that `path` leads to. A list that is not known yet is itself the place."""
    if EACH not in path:
        yield path
        return
    head, tail = path[: path.index(EACH)], path[path.index(EACH) + 1 :]
    entries = at(value, *head)
    if entries is UNKNOWN:
        yield head
    for index in range(len(entries)) if isinstance(entries, list) else ():
        yield from ((*head, index, *rest) for rest in places(entries[index], tail))


def anywhere(value: Any, name: str, path: Path) -> Iterator[Path]:
    """Where `name` is in `value`, at any level; what is inside of one is not looked at."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == name:
                yield (*path, key)
            else:
                yield from anywhere(inner, name, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from anywhere(inner, name, (*path, index))


def dotted(path: Path) -> str:
    """`path` for people."""
    return ".".join(map(str, path))


def is_on(resource: Resource, where: Path) -> Iterator[Finding]:
    """Only `true` is on; some types have it as a text."""
    value = resource.at(*where)
    if value is UNKNOWN:
        yield pending(resource, dotted(where))
    elif value not in (True, "true"):
        yield Finding(resource=resource, where=dotted(where), what="is not true")


def is_not(resource: Resource, where: Path, wrong: bool) -> Iterator[Finding]:
    """For a switch whose default is right."""
    value = resource.at(*where)
    if value is UNKNOWN:
        yield pending(resource, dotted(where))
    elif value in (wrong, str(wrong).lower()):
        yield Finding(resource=resource, where=dotted(where), what=f"is {str(wrong).lower()}")


def is_one_of(
    resource: Resource, where: Path, allowed: Sequence[str], *, or_missing: bool = False
) -> Iterator[Finding]:
    """`or_missing` for a property whose default is right."""
    value = resource.at(*where)
    if value is UNKNOWN:
        yield pending(resource, dotted(where))
    elif is_missing(value):
        if not or_missing:
            what = f"is not set; allowed: {', '.join(allowed)}"
            yield Finding(resource=resource, where=dotted(where), what=what)
    elif value not in allowed:
        what = f"is {value}; allowed: {', '.join(allowed)}"
        yield Finding(resource=resource, where=dotted(where), what=what)


def is_said(resource: Resource, name: str) -> bool:
    """Whether somebody set the output `name`: at preview what nobody set is not known either."""
    value = resource.at(name)
    return bool(resource.references.get(name)) if value is UNKNOWN else not is_missing(value)


def names_key(resource: Resource, where: Path) -> Iterator[Finding]:
    """A key that AWS manages has a policy that nobody here can narrow."""
    value = resource.at(*where)
    if value is UNKNOWN:
        yield pending(resource, dotted(where))
    elif is_missing(value):
        yield Finding(resource=resource, where=dotted(where), what="names no key of the owner")
    elif "alias/aws/" in str(value):
        yield Finding(resource=resource, where=dotted(where), what=f"is {value}, a key of AWS")
