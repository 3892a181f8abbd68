"""`falaj plan`: what an environment would be made of, before any account exists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stacks import environment as clone
from stacks.offline import OfflineError, offline

app = typer.Typer()

UNKNOWN = "[unknown]"
"""Stands in a plan for a value that is not known before `up`."""
_UNKNOWN_IN_PREVIEW = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@app.command()
def plan(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The environment to plan.")],
    without_cloud: Annotated[
        bool,
        typer.Option("--offline", help="With stand-in providers: no credentials, no network."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each planned resource with its inputs.")
    ] = False,
) -> None:
    """List what an environment would be made of, checked against the policy packs.

    Example: falaj plan --offline -s dev
    """
    if not without_cloud:
        raise OfflineError(
            "with an account use `pulumi preview`; `falaj plan --offline` needs none"
        )
    resources = planned(stack)
    if as_json:
        typer.echo(json.dumps(resources, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{stack}: {len(resources)} resources", title_justify="left")
    for heading in ("type", "name", "region"):
        table.add_column(heading, overflow="fold")
    for resource in resources:
        package, _, kind = resource["type"].rpartition(":")
        table.add_row(
            f"{package.partition('/')[0]}:{kind}", resource["name"], resource["region"] or ""
        )
    console = Console()
    console.print(table)
    names = ", ".join(Path(pack).name for pack in packs())
    console.print(f"Held to the packs {names}. Nothing was made, nobody was asked.")


def packs() -> list[str]:
    """The directories of the policy packs that every environment is held to."""
    return sorted(
        str(file.parent) for file in (clone.ROOT / "policies").glob("*/PulumiPolicy.yaml")
    )


def planned(environment: str) -> list[dict[str, Any]]:
    """The resources that `up` of `environment` would make from nothing, components left out.

    Each has urn, type, name, region, inputs (secrets masked, `UNKNOWN` where it is), provider,
    parent and dependencies. Raises `OfflineError` when the preview or a policy fails.
    """
    held = [part for pack in packs() for part in ("--policy-pack", pack)]
    with offline(environment) as stack:
        preview = stack.pulumi("preview", "--json", *held)
    try:
        report = json.loads(preview.stdout)
        states = [step["newState"] for step in report["steps"]]
    except (KeyError, ValueError):
        raise OfflineError(preview.stderr.strip() or preview.stdout.strip()) from None
    if preview.returncode != 0:
        messages = [
            entry["message"].strip()
            for entry in report.get("diagnostics", ())
            if entry.get("severity") == "error"
        ]
        raise OfflineError("\n".join(messages) or preview.stderr.strip())
    regions = {state["urn"]: state["inputs"].get("region") for state in states if _made(state)}
    made = [_row(state, regions) for state in states if _made(state)]
    return sorted(made, key=lambda resource: (resource["name"], resource["type"]))


def _made(state: Mapping[str, Any]) -> bool:
    return bool(state.get("custom")) and "inputs" in state


def _row(state: Mapping[str, Any], regions: Mapping[str, str | None]) -> dict[str, Any]:
    provider = state.get("provider", "").rpartition("::")[0]
    return {
        "urn": state["urn"],
        "type": state["type"],
        "name": state["urn"].rpartition("::")[2],
        "region": state["inputs"].get("region") or regions.get(provider),
        "inputs": _readable(state["inputs"]),
        "provider": provider or None,
        "parent": state.get("parent"),
        "dependencies": state.get("dependencies", []),
    }


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _readable(inner) for name, inner in value.items() if name != "__internal"}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return UNKNOWN if value == _UNKNOWN_IN_PREVIEW else value
