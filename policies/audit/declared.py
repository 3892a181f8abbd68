"""What the states declare of an account: by ARN, or by id where that says enough."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.common.arns import arn_of
from policies.common.resources import StateError

_UNIQUE = re.compile(r"[a-z]+-(?:[0-9a-f]{8}|[0-9a-f]{17})")
"""Ids that EC2 gives no second time."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One resource of a state that AWS has."""

    type: str
    urn: str
    name: str
    id: str
    arn: str
    region: str


@dataclass(frozen=True)
class Declaration:
    """All of them, found by what AWS calls them."""

    all: list[Declared] = field(default_factory=list)
    by_arn: dict[str, Declared] = field(default_factory=dict)
    by_id: dict[str, Declared] = field(default_factory=dict)
    by_type: dict[tuple[str, str, str], Declared] = field(default_factory=dict)
    """Type, region and id."""

    def of(self, arn: str, kind: str, region: str, name: str) -> Declared | None:
        """What is declared of a thing that is there."""
        last = re.split(r"[/:]", arn)[-1]
        return (
            self.by_arn.get(arn)
            or (self.by_id.get(last) if _UNIQUE.fullmatch(last) else None)
            or self.by_type.get((kind, region, name))
        )

    def accounts(self) -> set[str]:
        """Those that ARNs name."""
        said = (arn_of(one.arn) for one in self.all)
        return {arn.account for arn in said if arn and arn.account.isdigit()}


def declaration(states: Iterable[str]) -> Declaration:
    """What exported states manage; what they only read is another's. Raises `StateError`."""
    made = Declaration()
    for state in states:
        for one in _resources(state):
            made.all.append(one)
            if one.arn:
                made.by_arn[one.arn] = one
            if _UNIQUE.fullmatch(one.id):
                made.by_id[one.id] = one
            made.by_type[one.type, one.region, one.id] = one
    return made


def _resources(state: str) -> list[Declared]:
    try:
        exported = json.loads(state)["deployment"]["resources"]
        providers = {
            one["urn"]: (one.get("inputs") or {}).get("region", "")
            for one in exported
            if one["type"] == "pulumi:providers:aws"
        }
        return [
            _one(one, providers)
            for one in exported
            if one["type"].startswith("aws:")
            and one.get("custom")
            and not one.get("external")
            and not one.get("delete")
        ]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StateError(
            "this is no exported state: make one with `pulumi stack export --file state.json`"
        ) from error


def _one(one: Mapping[str, Any], providers: Mapping[str, str]) -> Declared:
    outputs = one.get("outputs") or {}
    arn = outputs.get("arn")
    # an ARN that is secret is still encrypted; some log groups' end with an asterisk
    arn = arn.removesuffix(":*") if isinstance(arn, str) else ""
    named = str(one.get("provider", "")).rpartition("::")[0]
    said = arn_of(arn)
    region = outputs.get("region") or (said.region if said else "") or providers.get(named, "")
    urn = one["urn"]
    return Declared(
        type=one["type"],
        urn=urn,
        name=urn.rsplit("::", maxsplit=1)[-1],
        id=str(one.get("id", "")),
        arn=arn,
        region=region if isinstance(region, str) else "",
    )
