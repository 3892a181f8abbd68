"""`falaj policy`: the packs' rules outside a deployment."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from policies import cli_guards

if TYPE_CHECKING:
    from policies.common.resources import Resource
    from policies.common.rule import Result

app = typer.Typer(no_args_is_help=True, help="Run the policy packs' rules on what is deployed.")
app.registered_commands += cli_guards.app.registered_commands


class InputError(Exception):
    """A file given on the command line cannot be used."""


Format = Literal["text", "github", "gitlab", "sarif", "junit", "json"]


@app.command(
    epilog="Examples:  falaj policy check --state state.json -e prod   ·   "
    "falaj policy check --plan plan.json -e prod --format github --sarif out.sarif --junit out.xml"
)
def check(
    *,
    state: Annotated[
        Path | None, typer.Option(help="A file made by `pulumi stack export`.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="A file made by `pulumi preview --json`, instead of a state."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON: rule → level, or its parameters and exceptions.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="The packs' own file of that name.")
    ] = None,
    shown: Annotated[Format, typer.Option("--format", help="What is printed.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 as well.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit's XML as well.")] = None,
    gitlab: Annotated[
        Path | None, typer.Option(help="Write GitLab's code quality report as well.")
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            help="The project's file in the repository, which reports point to where nothing says "
            "what line made a resource."
        ),
    ] = "Pulumi.yaml",
) -> None:
    """Run every rule on an exported state or on a plan.

    Exit status 1 when a mandatory rule is violated, or when a rule is broken, at whatever level.
    A plan has no outputs: what depends on them is pending. What holds a deployment is the packs
    themselves (`pulumi up --policy-pack`); this tells of it.
    """
    from policies.common.configuration import check as run
    from policies.common.configuration import configured
    from policies.common.stack import Stack
    from policies.packs import RULES

    inputs, outputs = _resources(state, plan)
    file = configuration(config, environment)
    rules = configured(RULES, json.loads(read_json(file)) if file is not None else None)
    results = run(rules, Stack(inputs), Stack(outputs))
    about = str(state or plan)
    for kind, target in (("sarif", sarif), ("junit", junit), ("gitlab", gitlab)):
        if target is not None:
            _write(target, report(kind, results, source, about))
    typer.echo(report("json" if as_json else shown, results, source, about), nl=False)
    if any(result.stops for result in results):
        raise typer.Exit(1)


def report(kind: str, results: list[Result], source: str, about: str) -> str:
    """`results` in the format `kind`, ending its last line.

    `source` is the project's file in the repository, `about` what was checked.
    """
    from policies.reports import github, gitlab, junit, plain, sarif, text

    formats: dict[str, Callable[[], str]] = {
        "text": lambda: "\n".join(text.lines(results)),
        "github": lambda: "\n".join(github.lines(results, source)),
        "gitlab": lambda: gitlab.document(results, source),
        "sarif": lambda: sarif.document(results, source),
        "junit": lambda: junit.document(results, about),
        "json": lambda: plain.document(results),
    }
    made = formats[kind]()
    return f"{made}\n" if made else ""


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


@app.command()
def audit(
    *,
    state: Annotated[
        list[Path] | None,
        typer.Option(help="A file made by `pulumi stack export`; once for each stack."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON: rule → level, or its parameters and exceptions.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="The packs' own file of that name.")
    ] = None,
    accept: Annotated[
        Path | None,
        typer.Option(help="JSON of the same form: exceptions for what no program declares."),
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write a file as well.")] = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print the IAM policy that the audit needs, and end.")
    ] = False,
) -> None:
    """Compare what an AWS account holds, in every enabled region, with what is declared of it.

    Only reads. Exit status 0: nothing wrong; 1: violations; 2: not everything could be listed.

    Example: pulumi stack export -s prod --file prod.json;
    falaj policy audit --state prod.json -e prod --json audit.json
    """
    from policies.audit.account import AuditError
    from policies.audit.permissions import policy as needed
    from policies.common.configuration import ConfigurationError
    from policies.common.resources import StateError

    if policy:
        typer.echo(json.dumps(needed(), indent=2))
        return
    try:
        status = _audited(state or [], configuration(config, environment), accept, as_json)
    except (AuditError, ConfigurationError, InputError, StateError) as error:
        # 1 would say that the account was looked at
        typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
        status = 2
    raise typer.Exit(status)


def _audited(states: list[Path], config: Path | None, accept: Path | None, out: Path | None) -> int:
    from policies.audit import account, report
    from policies.audit.compare import compared, home
    from policies.audit.declared import declaration

    if not states:
        raise InputError("--state is missing: an audit compares with what is declared")
    declared = declaration(read_json(one) for one in states)
    said = json.loads(read_json(config)) if config is not None else None
    accepted = json.loads(read_json(accept)) if accept is not None else None
    # before anything is asked: what is wrong in a file should not take minutes
    first = home(said, accepted)
    listing = account.look(account.clients(), first, lambda line: typer.echo(line, err=True))
    made = compared(listing, declared, said, accepted)
    for line in report.lines(made):
        typer.echo(line)
    if out is not None:
        report.write(out, made)
    return made.status


def configuration(config: Path | None, environment: str | None) -> Path | None:
    """The file that one of the two names, if any. Raises `InputError`."""
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


def _resources(state: Path | None, plan: Path | None) -> tuple[list[Resource], list[Resource]]:
    from policies.common.resources import StateError, of_export, of_plan

    if (state is None) == (plan is None):
        raise InputError("name what to check: either --state FILE or --plan FILE")
    path, read = (state, of_export) if state is not None else (plan, of_plan)
    assert path is not None, "one of them is there"  # noqa: S101
    try:
        return read(_text(path))
    except StateError as error:
        raise StateError(f"{path}: {error}") from error


def _write(path: Path, content: str) -> None:
    """All of it or nothing: half a report reads as a good one. Raises `InputError`."""
    try:
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    temporary = Path(made)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error


def read_json(path: Path) -> str:
    """The text of a JSON file. Raises `InputError`."""
    text = _text(path)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    return text
