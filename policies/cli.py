"""`falaj policy`: the packs' rules outside a deployment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from policies.common.rule import Result

app = typer.Typer(no_args_is_help=True, help="Run the policy packs' rules on what is deployed.")


class InputError(Exception):
    """A file given on the command line cannot be used."""


@app.command()
def check(
    state: Annotated[Path, typer.Option(help="A file made by `pulumi stack export`.")],
    config: Annotated[
        Path | None, typer.Option(help="JSON: rule → level, or its parameters and exceptions.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="The packs' own file of that name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run every rule on an exported state; exit status 1 when one that is mandatory is violated.

    Example: pulumi stack export -s dev --file state.json; falaj policy check --state state.json
    """
    from policies.common.configuration import check as run
    from policies.common.configuration import configured
    from policies.common.resources import views_of_state
    from policies.common.stack import Stack
    from policies.packs import RULES

    text = read_json(state)
    file = _configuration(config, environment)
    rules = configured(RULES, json.loads(read_json(file)) if file is not None else None)
    inputs, outputs = map(Stack, views_of_state(text))
    results = run(rules, inputs, outputs)
    if as_json:
        typer.echo(json.dumps([_plain(result) for result in results], indent=2))
    else:
        for result in results:
            _show(result)
    if any(result.outcome == "failed" and result.level != "advisory" for result in results):
        raise typer.Exit(1)


@app.command()
def validate(
    config: Annotated[Path, typer.Argument(help="A configuration file of an environment.")],
) -> None:
    """Find what is wrong in a configuration; `pulumi` passes over rules that it does not know.

    Example: falaj policy validate policies/config/prod.json
    """
    from policies.common.configuration import configured
    from policies.packs import RULES

    made = configured(RULES, json.loads(read_json(config)))
    exceptions = sum(len(one.parameters.exceptions) for one in made)
    typer.echo(f"{config}: {len(made)} rules, {exceptions} exceptions")


@app.command()
def schema() -> None:
    """Print the JSON schema of a configuration file, for editors and for checks in CI.

    Example: falaj policy schema > schema.json
    """
    from policies.common.configuration import schema as made
    from policies.packs import RULES

    typer.echo(json.dumps(made(RULES), indent=2))


def _configuration(config: Path | None, environment: str | None) -> Path | None:
    if environment is None:
        return config
    if config is not None:
        raise InputError("--config and --environment both name a file: give one of them")
    return configuration_of(environment)


def configuration_of(environment: str) -> Path:
    """The packs' own file of `environment`. Raises `InputError`."""
    from policies.packs import CONFIGURATIONS

    file = CONFIGURATIONS / f"{environment}.json"
    there = sorted(one.stem for one in CONFIGURATIONS.glob("*.json") if one.stem != "schema")
    if environment not in there:
        raise InputError(f"--environment: {environment} has no file; there are {', '.join(there)}")
    return file


def _plain(result: Result) -> dict[str, Any]:
    return {
        "rule": result.rule.name,
        "level": result.level,
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


def _show(result: Result) -> None:
    typer.echo(
        f"{result.outcome:<15} {result.rule.name} ({result.level}, {result.applicable} resources)"
    )
    for finding in result.findings:
        typer.echo(f"  {finding.verdict}: {finding.sentence}")
    if any(finding.verdict == "violation" for finding in result.findings):
        typer.echo(f"  {result.rule.advice}")


def read_json(path: Path) -> str:
    """The text of a JSON file. Raises `InputError`."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    return text
