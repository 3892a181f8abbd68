"""What a plan says of an environment as a whole: parts, what they need, where they stand.

Pure functions over `stacks.plan.Plan`; `tools.documents.pictures` draws what they find. Nothing
here names a part of the platform: what is added to it appears by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from components.stateful import STATEFUL
from stacks.plan import Plan
from stacks.plan_areas import Area, areas

Needs = Mapping[str, frozenset[str]]
"""Part → the parts that it needs."""


def parts(plan: Plan) -> dict[str, Area]:
    """Kind → the parts of `plan`, without those that are only a way to a cloud or cluster."""
    return {
        area.kind: area
        for area in areas(plan)
        if not all(one["type"].startswith("pulumi:providers:") for one in area.resources)
    }


def needs(plan: Plan, found: Mapping[str, Area]) -> dict[str, frozenset[str]]:
    """What each part needs, without what follows: whoever needs B, which needs C, needs C.

    Parts that need each other keep all their arrows.
    """
    home = {one["urn"]: kind for kind, area in found.items() for one in area.resources}
    through = {one["urn"]: home.get(one["provider"], "") for one in plan.resources}
    direct = {
        kind: frozenset(
            other
            for other in {*area.needs, *(through[one["urn"]] for one in area.resources)}
            if other in found and other != kind
        )
        for kind, area in found.items()
    }
    reached = {kind: _reached(direct, kind) for kind in direct}
    return {
        kind: frozenset(
            other
            for other in wanted
            if not any(
                other in reached[between] and between not in reached[other]
                for between in wanted - {other}
            )
        )
        for kind, wanted in direct.items()
    }


def _reached(direct: Needs, start: str) -> frozenset[str]:
    found: set[str] = set()
    ahead = list(direct[start])
    while ahead:
        kind = ahead.pop()
        if kind not in found:
            found.add(kind)
            ahead += direct[kind]
    return frozenset(found)


def alike(wanted: Needs, marked: Collection[str] = ()) -> list[tuple[str, ...]]:
    """The parts in groups that need the same, are needed by the same, and are `marked` or not."""
    groups: dict[tuple[frozenset[str], frozenset[str], bool], list[str]] = {}
    for kind in wanted:
        by = frozenset(other for other, needed in wanted.items() if kind in needed)
        groups.setdefault((wanted[kind], by, kind in marked), []).append(kind)
    return [tuple(kinds) for kinds in groups.values()]


# --- where something stands in the network --------------------------------------------------------


def tiers(plan: Plan) -> dict[str, dict[str, Any]]:
    """Name of a tier of subnets, without environment and zone → URN of each subnet of it."""
    found: dict[str, dict[str, Any]] = {}
    for one in of_type(plan, "Subnet"):
        zone = str(one["inputs"].get("availabilityZone", ""))
        tier = bare(plan, one["name"]).removeprefix("network-").removesuffix(f"-{zone}")
        found.setdefault(tier, {})[one["urn"]] = one
    return dict(sorted(found.items(), reverse=True))


def standing(plan: Plan, subnets: Iterable[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Component → its resources that stand in one of `subnets`, by their URN."""
    wanted = frozenset(subnets)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in plan.resources:
        if wanted & set(one["dependencies"]) and not one["type"].startswith(_OF_SUBNETS):
            found.setdefault(str(one["parent"]), []).append(one)
    return found


_OF_SUBNETS = ("aws:ec2/networkAcl", "aws:ec2/routeTable", "aws:ec2/natGateway", "aws:ec2/route:")
"""What belongs to subnets, and does not stand in them."""


def flows(plan: Plan) -> list[tuple[str, str, str]]:
    """Who may connect to whom: component or range of addresses, component, and ports."""
    ports: dict[tuple[str, str], set[str]] = {}
    owners = {one["urn"]: str(one["parent"]) for one in plan.resources}
    for one in of_type(plan, "SecurityGroupIngressRule"):
        named = one["property_dependencies"]
        targets = {owners[urn] for urn in named.get("securityGroupId", ()) if urn in owners}
        sources = {
            owners[urn] for urn in named.get("referencedSecurityGroupId", ()) if urn in owners
        }
        if block := one["inputs"].get("cidrIpv4"):
            sources = {str(block)}
        for source in sorted(sources):
            for target in sorted(targets - {source}):
                ports.setdefault((source, target), set()).add(_ports(one["inputs"]))
    return [(*pair, ", ".join(sorted(found, key=_by_number))) for pair, found in ports.items()]


def _ports(inputs: Mapping[str, Any]) -> str:
    low, high = inputs.get("fromPort"), inputs.get("toPort")
    return "any" if low is None else str(low) if low == high else f"{low}-{high}"


def _by_number(port: str) -> tuple[int, str]:
    first = port.partition("-")[0]
    return (int(first) if first.isdigit() else 0, port)


# --- what holds data, under which key -------------------------------------------------------------

_KEYS = ("aws:kms/key:Key", "aws:kms/replicaKey:ReplicaKey")


def stores(plan: Plan) -> dict[str, list[Mapping[str, Any]]]:
    """Name of a key, empty for none of ours → what holds data in AWS under it."""
    by_urn = {one["urn"]: one for one in plan.resources}
    named = _named_keys(plan)
    under: dict[str, str] = {}
    for one in plan.resources:
        own = _keys_of(one, named)
        if "ServerSideEncryption" in one["type"]:
            for urn in one["dependencies"]:
                if urn in by_urn and by_urn[urn]["type"] in STATEFUL and urn not in named and own:
                    under[urn] = own[0]
        elif one["type"] in STATEFUL and own:
            under[one["urn"]] = own[0]
    found: dict[str, list[Mapping[str, Any]]] = {key: [] for key in sorted(set(under.values()))}
    for one in plan.resources:
        if keeps(one) and one["type"].startswith("aws:") and one["type"] not in _KEYS:
            found.setdefault(under.get(one["urn"], ""), []).append(one)
    return found


def keys(plan: Plan) -> set[str]:
    """The names of all keys, without environment."""
    return set(_named_keys(plan).values())


def _named_keys(plan: Plan) -> dict[str, str]:
    return {
        one["urn"]: bare(plan, one["name"]).removesuffix("-key") for one in of_type(plan, "Key")
    }


def _keys_of(resource: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    """The keys that `resource` names, that of its own contents first."""
    named = [
        (re.search(r"secret|insights", name, re.IGNORECASE) is not None, keys[urn])
        for name, urns in resource["property_dependencies"].items()
        for urn in urns
        if urn in keys
    ]
    return [key for _, key in sorted(named)]


def keeps(resource: Mapping[str, Any]) -> bool:
    """Whether `resource` itself holds what cannot be made again, and not what stands in it."""
    return resource["type"] in STATEFUL and STATEFUL[resource["type"]].kept


# --- names ----------------------------------------------------------------------------------------


def of_type(plan: Plan, kind: str) -> list[dict[str, Any]]:
    """The resources whose type ends in `kind`, such as ``Subnet``."""
    return [one for one in plan.resources if one["type"].rpartition(":")[2] == kind]


def read(value: Any) -> Any:
    """An input that may be JSON in a text."""
    return json.loads(value) if isinstance(value, str) else value


def bare(plan: Plan, name: str) -> str:
    """`name` without the environment."""
    return name.removeprefix(f"{plan.environment}-")
