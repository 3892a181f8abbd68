"""`falaj policy`: the packs' rules outside a deployment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run the policy packs' rules on what is deployed.")


class InputError(Exception):
    """A file given on the command line cannot be used."""


@app.callback()
def _policy() -> None:
    """Makes `check` a sub-command although it is the only one."""


@app.command()
def check(
    state: Annotated[Path, typer.Option(help="A file made by `pulumi stack export`.")],
    config: Annotated[Path | None, typer.Option(help="JSON: rule → parameter → value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run every rule on an exported state; exit status 1 when one is violated.

    Example: pulumi stack export -s dev --file state.json; falaj policy check --state state.json
    """
    from policies.common.resources import of_state
    from policies.common.rule import check as run
    from policies.packs import RULES

    text = _read(state)
    settings = json.loads(_read(config)) if config is not None else None
    results = run(RULES, lambda show: of_state(text, show), settings)
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "rule": result.rule.name,
                        "outcome": result.outcome,
                        "resources": result.applicable,
                        "advice": result.rule.advice,
                        "findings": [
                            {
                                "verdict": finding.verdict,
                                "urn": finding.resource.urn,
                                "where": finding.where,
                                "message": finding.sentence,
                            }
                            for finding in result.findings
                        ],
                    }
                    for result in results
                ],
                indent=2,
            )
        )
    else:
        for result in results:
            typer.echo(f"{result.outcome:<15} {result.rule.name} ({result.applicable} resources)")
            for finding in result.findings:
                typer.echo(f"  {finding.verdict}: {finding.sentence}")
            if result.findings:
                typer.echo(f"  {result.rule.advice}")
    if any(result.outcome == "failed" for result in results):
        raise typer.Exit(1)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    return text
