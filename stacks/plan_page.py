"""The page of a plan: one file to look at, without a network.

Fills `plan_page.html`. What is on it is worked out by `stacks.plan_areas`, where it is in the
picture by `stacks.plan_picture`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from components.stateful import STATEFUL
from stacks.plan_areas import Area, areas, exposure
from stacks.plan_picture import HEIGHT, WIDTH, picture

if TYPE_CHECKING:
    from stacks.plan import Plan

_TEMPLATE = Path(__file__).with_name("plan_page.html")
_LONGEST_LINE = 27
"""Characters of the names in a box."""


def page(plan: Plan) -> str:
    """The page of `plan`, as HTML."""
    found = areas(plan)
    drawn = [area for area in found if _is_drawn(area)]
    kinds = {area.kind for area in drawn}
    needs = {area.kind: [kind for kind in area.needs if kind in kinds] for area in drawn}
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_TEMPLATE.read_text(encoding="utf-8"))
    exposed = [
        (resource, how) for resource in plan.resources if (how := exposure(resource)) is not None
    ]
    return template.render(
        plan=plan,
        areas=[_of_area(area, found, plan.environment) for area in found],
        picture=picture(needs),
        width=WIDTH,
        height=HEIGHT,
        titles={area.kind: area.title for area in found},
        boxes={area.kind: area for area in drawn},
        names={area.kind: _names(area, plan.environment) for area in drawn},
        facts=list(_facts(plan)),
        inward=[(one, how.sentence) for one, how in exposed if how.way == "in"],
        outward=[(one, how.sentence) for one, how in exposed if how.way == "out"],
        stateful=_stateful(plan),
        short=_short,
    )


def _stateful(plan: Plan) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Type, what goes with each of that type, and the resources; the fewest last."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for one in plan.resources:
        if one["type"] in STATEFUL:
            by_type.setdefault(one["type"], []).append(one)
    listed = sorted(by_type.items(), key=lambda found: (-len(found[1]), found[0]))
    return [(kind, STATEFUL[kind].loses, found) for kind, found in listed]


def _is_drawn(area: Area) -> bool:
    """Whether it is a part of its own: not only providers, through which everything goes."""
    return not all(one["type"].startswith("pulumi:providers:") for one in area.resources)


def _of_area(area: Area, found: list[Area], environment: str) -> dict[str, Any]:
    titles = {one.kind: one.title for one in found}
    return {
        "area": area,
        "needs": sorted((titles[kind], kind, count) for kind, count in area.needs.items()),
        "needed_by": sorted((one.title, one.kind) for one in found if area.kind in one.needs),
        "instances": [
            (
                _without(name, environment),
                [_of_resource(one) for one in resources],
            )
            for name, resources in sorted(area.instances.items())
        ],
    }


def _of_resource(resource: dict[str, Any] | Any) -> dict[str, Any]:
    how = exposure(resource)
    return {
        **resource,
        "exposure": how.sentence if how else None,
        "stateful": resource["type"] in STATEFUL,
        "after": sorted({urn.rpartition("::")[2] for urn in resource["dependencies"]}),
        "shown": json.dumps(_unfolded(resource["inputs"]), indent=2, ensure_ascii=False),
    }


def _unfolded(value: Any) -> Any:
    """`value` with JSON inside texts, such as policies, as the structure that it is."""
    if isinstance(value, dict):
        return {name: _unfolded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_unfolded(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _names(area: Area, environment: str) -> str:
    """What stands under the title of a box: the names of its components, cut to one line."""
    names = [_without(name, environment) for name in sorted(area.instances)]
    for count in range(len(names), 0, -1):
        more = f" +{len(names) - count}" if count < len(names) else ""
        text = ", ".join(names[:count]) + more
        if len(text) <= _LONGEST_LINE:
            return text
    return f"{len(names)} of them" if len(names) > 1 else f"{names[0][: _LONGEST_LINE - 1]}…"


def _without(name: str, environment: str) -> str:
    return name.removeprefix(f"{environment}-")


def _short(kind: str) -> str:
    """A type token as it is read: ``aws:s3/bucket:Bucket`` is ``aws s3 Bucket``."""
    package, middle, name = [*kind.split(":"), "", ""][:3]
    return " ".join(part for part in (package, middle.partition("/")[0], name) if part)


def _facts(plan: Plan) -> Iterator[str]:
    """Where it would be, as which profile, and held to what."""
    accounts, regions = _accounts(plan), {one["region"] for one in plan.resources}
    if accounts:
        yield f"Account {', '.join(accounts)}"
    yield ", ".join(sorted(region for region in regions if region)) or "No region"
    if plan.profile:
        yield f"Profile {plan.profile}"
    if plan.packs:
        yield f"The policies of {', '.join(plan.packs)} have nothing against it"


def _accounts(plan: Plan) -> list[str]:
    found = set()
    for one in plan.resources:
        if one["type"] == "pulumi:providers:aws":
            allowed = one["inputs"].get("allowedAccountIds")
            found |= set(json.loads(allowed) if isinstance(allowed, str) else allowed or ())
    return sorted(found)
