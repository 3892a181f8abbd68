"""`falaj plan`: what an environment would be made of, before any account exists, and `plan check`:
whether a real plan deletes what cannot be made again."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacks import environment as clone
from stacks.offline import Offline, OfflineError, offline
from stacks.table import show

if TYPE_CHECKING:
    from stacks.plan_check import Verdict

app = typer.Typer(
    invoke_without_command=True,
    help="See an environment before any account exists; check a plan before it is carried out.",
)

UNKNOWN = "[unknown]"
"""Stands in a plan for a value that is not known before `up`."""
_UNKNOWN_IN_PREVIEW = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@app.callback(epilog="Example:  falaj plan --offline -s dev --html plan.html")
def plan(
    context: typer.Context,
    *,
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="The environment to plan.")
    ] = None,
    without_cloud: Annotated[
        bool,
        typer.Option("--offline", help="With stand-in providers: no credentials, no network."),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(help="smb or enterprise, in place of the environment's own profile."),
    ] = None,
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page to look at, which needs no network.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the plan for `falaj policy check --plan`, also a stopped one."),
    ] = None,
) -> None:
    """List what an environment would be made of, checked against the policy packs."""
    if context.invoked_subcommand is not None:
        return
    if stack is None:
        raise typer.BadParameter("is missing", param_hint="--stack")
    if not without_cloud:
        raise OfflineError(
            "with an account use `pulumi preview`; `falaj plan --offline` needs none"
        )
    found = look(stack, profile, save)
    if html is not None:
        from stacks.plan_page import page

        try:
            html.write_text(page(found), encoding="utf-8")
        except OSError as error:
            raise OfflineError(f"the page cannot be written: {error}") from error
    if as_json:
        typer.echo(json.dumps(found.resources, indent=2))
        return
    _show(found)
    if html is not None:
        typer.echo(f"The page to look at: {html}")


@app.command(
    epilog="Example:  pulumi preview --json -s prod > plan.json; falaj plan check plan.json"
)
def check(
    plan_file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="What `pulumi preview --json` printed; - reads it."),
    ],
    *,
    approve: Annotated[
        Path | None, typer.Option(help="YAML: which losses are meant, why, and who approved them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Stop a plan that deletes or replaces what cannot be made again; exit status 1 on a stop.

    Stops on networks, clusters, databases, buckets, keys, vaults, repositories, secrets and trails,
    on a preview that failed, and on approvals that have expired or that no change needs.
    """
    from stacks import plan_check

    text = _text(plan_file)
    today = datetime.datetime.now(datetime.UTC).date()
    verdict = plan_check.judge(
        plan_check.read_plan(text), plan_check.read_approvals(approve) if approve else (), today
    )
    if as_json:
        typer.echo(json.dumps(_plain(verdict), indent=2))
    else:
        _explain(verdict, plan_check.draft(verdict.stops, today))
    if verdict.stopped:
        raise typer.Exit(1)


@app.command(epilog="Example:  falaj plan digest plan.json > plan.sha256")
def digest(
    plan_file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="What `pulumi preview --json` printed; - reads it."),
    ],
) -> None:
    """Print by what a plan is known again: a pipeline applies the one that was approved, or none.

    Two previews of the same change print the same, another change another. It says nothing about
    whether the plan is a good one: that is `falaj plan check` and the packs.
    """
    from stacks.plan_check import read_plan
    from stacks.plan_digest import digest as of

    typer.echo(of(read_plan(_text(plan_file))))


def _text(plan_file: str) -> str:
    from stacks.plan_check import PlanError

    try:
        return sys.stdin.read() if plan_file == "-" else Path(plan_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{plan_file}: {error}") from error


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "stopped": verdict.stopped,
        "stops": [asdict(one) for one in verdict.stops],
        "approved": [
            {**asdict(loss), "approval": approval.model_dump(mode="json")}
            for loss, approval in verdict.approved
        ],
        "problems": list(verdict.problems),
    }


def _explain(verdict: Verdict, draft: str) -> None:
    for loss in verdict.stops:
        typer.secho(f"STOP  {loss.action} {loss.name}", fg=typer.colors.RED, bold=True)
        typer.echo(f"      {loss.type}")
        for reason in loss.because:
            typer.echo(f"  why   {reason}")
        if loss.retained:
            typer.echo("  lost  It stays in the cloud, but no stack looks after it any more.")
        else:
            typer.echo(f"  lost  With it goes {loss.loses}.")
        typer.echo(f"  do    Rather {loss.instead}.\n")
    for problem in verdict.problems:
        typer.secho(f"STOP  {problem}", fg=typer.colors.RED, bold=True)
    for loss, approval in verdict.approved:
        typer.echo(
            f"approved by {approval.approver}: {loss.action} {loss.name} ({approval.reason})"
        )
    if verdict.stops:
        typer.echo(
            "If it is meant: take `protect` off in a change of its own, have this filled in and "
            f"reviewed, and give it with --approve FILE:\n\n{draft}"
        )
    elif not verdict.stopped:
        typer.echo("The plan deletes and replaces nothing that cannot be made again.")


# --- what an environment is made of ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `up` of an environment would make from nothing."""

    environment: str
    profile: str | None
    """As asked for; `None` for the environment's own."""
    resources: list[dict[str, Any]]
    """Sorted by name; each with urn, type, name, region, inputs (secrets masked, `UNKNOWN` where it
    is), provider, parent, dependencies, also of each property that has some, and whether it is
    protected."""
    components: dict[str, str | None]
    """URN of each component → URN of its parent."""
    packs: tuple[str, ...] = ()
    """The policy packs that have nothing against it."""


PACKS = ("encryption", "hardening", "residency")
"""What `policies/all` is made of."""


def held_to(environment: str) -> list[str]:
    """The flags by which a preview or an `up` is held to the policies of `environment`.

    An environment without a file of its own is held to those of `prod`.
    """
    pack = clone.ROOT / "policies" / "all"
    own, strictest = (pack.with_name("config") / f"{name}.json" for name in (environment, "prod"))
    file = own if own.is_file() else strictest
    return ["--policy-pack", str(pack), "--policy-pack-config", str(file)]


def planned(environment: str, profile: str | None = None) -> list[dict[str, Any]]:
    """The resources of `look`."""
    return look(environment, profile).resources


def look(environment: str, profile: str | None = None, save: Path | None = None) -> Plan:
    """What `up` of `environment` would make from nothing; `save` gets what the engine said.

    Raises `OfflineError` when the preview or a policy fails.
    """
    with offline(environment, profile) as stack:
        return look_at(stack, profile, save=save)


def look_at(
    stack: Offline, profile: str | None = None, *arguments: str, save: Path | None = None
) -> Plan:
    """The same of a stack that is there already; `pulumi preview` gets `arguments` as well.

    Raises `OfflineError`.
    """
    held = held_to(stack.environment)
    preview = stack.pulumi("preview", "--json", *held, *arguments)
    if save is not None:
        _save(save, preview.stdout, stack.directory)
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
        messages += _violations(stack.pulumi("preview", *held, *arguments).stdout)
        raise OfflineError("\n".join(messages) or preview.stderr.strip())
    regions = {state["urn"]: state["inputs"].get("region") for state in states if _made(state)}
    made = [_row(state, regions) for state in states if _made(state)]
    return Plan(
        environment=stack.environment,
        profile=profile,
        resources=sorted(made, key=lambda resource: (resource["name"], resource["type"])),
        components={
            state["urn"]: state.get("parent") for state in states if not state.get("custom")
        },
        packs=PACKS,
    )


def _save(file: Path, said: str, directory: Path) -> None:
    """Lines of the program are told from the stack's folder, which is not the clone's here."""
    away = os.path.relpath(clone.ROOT, directory)
    try:
        file.write_text(said.replace(f"project:///{away}/", "project:///"), encoding="utf-8")
    except OSError as error:
        raise OfflineError(f"the plan cannot be written: {error}") from error


def _violations(said: str) -> list[str]:
    """What stops the deployment among what a preview says of policies; ``--json`` leaves it out."""
    _, _, policies = said.partition("\nPolicies:\n")
    mandatory, found = False, []
    for line in policies.partition("\nDiagnostics:\n")[0].splitlines():
        if line.lstrip().startswith("- ["):
            mandatory = "- [mandatory]" in line
        if mandatory and line.strip():
            found.append(line.strip())
    return found


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
        "property_dependencies": {
            name: urns for name, urns in state.get("propertyDependencies", {}).items() if urns
        },
        "protected": bool(state.get("protect")),
    }


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _readable(inner) for name, inner in value.items() if name != "__internal"}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return UNKNOWN if value == _UNKNOWN_IN_PREVIEW else value


def _show(found: Plan) -> None:
    rows = []
    for resource in found.resources:
        package, _, kind = resource["type"].rpartition(":")
        rows.append(
            (f"{package.partition('/')[0]}:{kind}", resource["name"], resource["region"] or "")
        )
    names = ", ".join(found.packs)
    show(
        f"{found.environment}: {len(found.resources)} resources",
        ("type", "name", "region"),
        rows,
        notes=[f"Held to the packs {names}. Nothing was made, nobody was asked."],
    )
