"""`falaj bundle`: Falaj and all that it needs in one file, for a runner without a way out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacks.bundle import BundleError

if TYPE_CHECKING:
    from stacks.bundle.target import Target
    from stacks.settings import Settings

app = typer.Typer()


@app.command()
def bundle(
    *,
    stack: Annotated[
        str, typer.Option("--stack", "-s", help="The environment whose runner it is for.")
    ],
    to: Annotated[Path | None, typer.Option("--to", help="The file; else one in dist/.")] = None,
    plugins: Annotated[
        Path | None,
        typer.Option(help="A folder with Pulumi's plugins or their releases; else Pulumi's cache."),
    ] = None,
    pulumi: Annotated[
        Path | None,
        typer.Option(help="A folder with the Pulumi CLI for the runner's processor; else yours."),
    ] = None,
    without_plugins: Annotated[
        bool, typer.Option("--without-plugins", help="Leave plugins out: it plans offline only.")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Take changed files that are not committed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Pack the present commit, its locked packages, Pulumi and its plugins into one file.

    The same commit gives the same file. What was fetched is kept, so a run that was cut short goes
    on. `make bootstrap` makes it too, and brings it to the runner.

    Example: falaj bundle -s prod
    """
    from stacks.bundle.make import Wanted, make
    from stacks.settings import read_file

    made = make(
        Wanted(
            target=target_of(read_file(stack)),
            to=to,
            plugins=plugins,
            pulumi=pulumi,
            without_plugins=without_plugins,
            allow_dirty=allow_dirty,
        ),
        lambda line: typer.echo(line, err=True),
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(made) | {"file": str(made.file)}, indent=2))
        return
    typer.echo(f"{made.file}\n  {made.size_bytes >> 20} MiB, {made.packages} packages")
    typer.echo(f"  sha256 {made.sha256}")
    for name, version in made.versions.items():
        typer.echo(f"  {name} {version or '(not run here)'}")


def target_of(settings: Settings) -> Target:
    """What the runner of an environment is. Raises `BundleError` where there is none."""
    from components.aws.settings.runner import machine_of
    from stacks.bundle.target import Target

    if settings.aws is None or settings.aws.runner is None:
        raise BundleError(
            f"{settings.environment} has no runner (falaj:aws.runner): whoever deploys it has a "
            "clone, and `make setup` brings the rest"
        )
    return Target(machine=machine_of(settings.aws.runner.instance_type))
