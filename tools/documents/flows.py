"""Who may speak to whom in the cluster: the table that policies are made of, as people read it."""

from __future__ import annotations

from components.kubernetes.flows import (
    FLOWS,
    HBONE,
    OUT_OF_MESH,
    PARTS,
    PLATFORM,
    TEAM,
    Flow,
    Outside,
    is_tunnelled,
)
from tools.documents.docstrings import table

_EVERYONE = {TEAM, *PLATFORM}
_ALL = "all parts"


def flows() -> str:
    """Every flow of `FLOWS`; those that differ in their source or destination alone share a row."""
    rows: list[tuple[str, ...]] = [
        (_named(sources), _named(destinations), _ports(flow), _way(flow), flow.why)
        for sources, destinations, flow in _together()
    ]
    apart = "; ".join(f"`{part}` {reason}" for part, reason in OUT_OF_MESH.items())
    return (
        table(("from", "to", "ports", "in the mesh", "why"), rows)
        + f"\nA tunnel goes to port {HBONE} of the other pod. Not in the mesh: {apart}.\n"
    )


def _together() -> list[tuple[list[str], list[str], Flow]]:
    """Sources, destinations and one of the flows between them, where all else is the same."""
    by_source: dict[tuple[object, ...], tuple[list[str], Flow]] = {}
    for flow in FLOWS:
        own = flow.source == flow.destination  # pods of one namespace are no others'
        key = (flow.destination, flow.ports, flow.udp, flow.why, is_tunnelled(flow), own)
        by_source.setdefault(key, ([], flow))[0].append(flow.source)
    merged: dict[tuple[object, ...], tuple[list[str], list[str], Flow]] = {}
    for (destination, *rest), (sources, flow) in by_source.items():
        merged.setdefault((tuple(sources), *rest), (sources, [], flow))[1].append(str(destination))
    return list(merged.values())


def _named(parts: list[str]) -> str:
    if not set(parts) >= _EVERYONE:
        return ", ".join(_name(part) for part in parts)
    return ", ".join([_ALL, *(_name(part) for part in parts if part not in _EVERYONE)])


def _name(part: str) -> str:
    return f"{part} (addresses)" if isinstance(PARTS[part], Outside) else f"`{part}`"


def _ports(flow: Flow) -> str:
    if not flow.ports:
        return "any"
    return ", ".join(map(str, flow.ports)) + (" (TCP, UDP)" if flow.udp else "")


def _way(flow: Flow) -> str:
    if flow.source == flow.destination:
        return "tunnel, within one namespace"
    return "tunnel" if is_tunnelled(flow) else ""
