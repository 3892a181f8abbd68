"""Pictures of the parts of an environment and what they need, and of the network they stand in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stacks.plan import Plan
from stacks.plan_areas import Area, exposure
from tools.documents.mermaid import Chart, wrapped
from tools.documents.plans import (
    alike,
    bare,
    flows,
    keeps,
    needs,
    of_type,
    parts,
    read,
    standing,
    tiers,
)

# --- parts and what they need ---------------------------------------------------------------------


def relations(plan: Plan) -> str:
    """The parts of `plan`; an arrow leads to what must exist before."""
    found = parts(plan)
    wanted = needs(plan, found)
    chart = Chart("LR")
    stateful = {kind for kind, area in found.items() if any(map(keeps, area.resources))}
    groups = alike(wanted, stateful)
    for group in groups:
        areas = [found[kind] for kind in group]
        names = [_titled(area) for area in areas]
        chart.box(group[0], *wrapped(names), stateful=group[0] in stateful)
    heads = {kind: group[0] for group in groups for kind in group}
    for group in groups:
        for head in sorted({heads[kind] for kind in wanted[group[0]]}):
            chart.arrow(group[0], head)
    return chart.text()


def _titled(area: Area) -> str:
    count = len(area.instances)
    return f"{area.title} ×{count}" if count > 1 else area.title


# --- technology: where it stands ------------------------------------------------------------------


def technology(plan: Plan) -> str:
    """The network of `plan`: what stands where, who may connect to whom, and the ways out."""
    chart = Chart("LR")
    found = tiers(plan)
    at = {name: standing(plan, subnets) for name, subnets in found.items()}
    placed = {urn: tier for tier, components in at.items() for urn in components}
    services = _services(plan)
    with chart.group("region", _region(plan)):
        ranges = [str(one["inputs"].get("cidrBlock")) for one in of_type(plan, "Vpc")]
        with chart.group("network", f"VPC {', '.join(ranges)}"):
            for tier, components in at.items():
                zones = f"{len(found[tier])} zone{'s' if len(found[tier]) > 1 else ''}"
                with chart.group(f"tier {tier}", f"{tier} subnets in {zones}"):
                    for urn, resources in components.items():
                        chart.box(
                            urn, *_component(plan, urn, resources), stateful=_holds(plan, urn)
                        )
        chart.box("services", "services of AWS", *wrapped(services))
    _connect(chart, plan, placed, ranges)
    for urn in dict.fromkeys(str(one["parent"]) for one in of_type(plan, "VpcEndpoint")):
        if urn in placed:
            chart.arrow(urn, "services")
    ways = _ways(plan)
    if ways:
        chart.add(f'{chart.id("outside")}(("outside"))')
        for (kind, way), count in ways.items():
            chart.box(f"way {kind}", f"{kind} ×{count}" if count > 1 else kind)
            pair = ("outside", f"way {kind}")
            chart.arrow(*(pair if way == "in" else pair[::-1]), line="-.->")
    return chart.text() + ("" if ways else _CLOSED)


_CLOSED = """
No internet gateway, public address or NAT is planned: nothing of it answers the internet, and
nothing leads to the internet.
"""


def _connect(chart: Chart, plan: Plan, placed: Mapping[str, str], ranges: list[str]) -> None:
    """Who may connect to whom; `placed` has the tier of each component, `ranges` the network's."""
    for source, target, ports in flows(plan):
        if target not in placed:
            continue
        if source in placed:
            chart.arrow(source, target, ports)
        elif source in ranges:
            for tier in dict.fromkeys(placed.values()):
                if tier != placed[target]:
                    chart.arrow(f"tier {tier}", target, ports)
        elif "/" in source:
            chart.box(source, f"addresses {source}")
            chart.arrow(source, target, ports)


def _ways(plan: Plan) -> dict[tuple[str, str], int]:
    """What leads in from outside or out of the network: kind, ``in`` or ``out`` → how many.

    Rules of security groups and policies of endpoints are none: they pass what a gateway brings.
    """
    return Counter(
        (Area(kind=one["type"].rpartition(":")[2]).title, how.way)
        for one in plan.resources
        if not re.search(r"securityGroup|vpcEndpoint", one["type"])
        and (how := exposure(one)) is not None
    )


def _region(plan: Plan) -> str:
    regions = ", ".join(sorted({one["region"] for one in plan.resources if one["region"]}))
    accounts = {
        account
        for one in plan.resources
        if one["type"] == "pulumi:providers:aws"
        for account in read(one["inputs"].get("allowedAccountIds", []))
    }
    return f"{regions}, account {', '.join(sorted(accounts))}"


def _services(plan: Plan) -> list[str]:
    """The services that have an endpoint, by the last parts of their names."""
    names = {str(one["inputs"].get("serviceName", "")) for one in of_type(plan, "VpcEndpoint")}
    return sorted(name.split(".", 3)[-1] for name in names if name)


def _component(plan: Plan, urn: str, resources: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """The lines in the box of a component: what it is, and which."""
    kind, name = urn.split("::")[2].rpartition(":")[2], bare(plan, urn.rpartition("::")[2])
    title = Area(kind=kind).title
    if len(resources) > 1:
        title += f" ×{len(resources)}"
    known = name.replace("-", " ").casefold().endswith(Area(kind=kind).title.casefold())
    return (title,) if known else (title, name)


def _holds(plan: Plan, urn: str) -> bool:
    return any(one["parent"] == urn and keeps(one) for one in plan.resources)
