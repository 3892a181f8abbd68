"""`falaj`: the day-2 command line. Each part owns its commands; this module only mounts them.

Infrastructure itself is changed by `pulumi` alone.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys

import typer

from stacks import environment

_MOUNTED = (
    *("workloads.cli", "workloads.cli_serving"),
    *("stacks.bundle.command", "stacks.cost", "stacks.database", "stacks.quotas"),
)
"""Modules whose `app` holds commands of the top level. They import nothing heavy."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GROUPS = {
    "evidence": "policies.cli_evidence",
    "images": "stacks.images",
    "plan": "stacks.plan",
    "policy": "policies.cli",
    "region": "stacks.region",
}
"""Command → module whose `app` holds its sub-commands."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, govern, release and watch models on Falaj.",
    epilog="Examples:  falaj run credit-risk   ·   falaj status   ·   falaj predict credit-risk",
)


def _mount() -> None:
    for module in _MOUNTED:
        app.registered_commands += importlib.import_module(module).app.registered_commands
    for name, module in _GROUPS.items():
        app.add_typer(importlib.import_module(module).app, name=name)


def _is_ours(error: Exception) -> bool:
    """Whether a user is meant to read `error` itself, not its traceback."""
    return any(
        kind.__module__.partition(".")[0] in {"components", "policies", "stacks", "workloads"}
        for kind in type(error).__mro__
    )


def _message(error: Exception) -> str | None:
    """What a user reads of `error`; `None` for a bug, which keeps its traceback."""
    # the second is how Python's tempfile says that it can write nowhere
    if isinstance(error, OSError) and (
        error.errno in _FULL or "No usable temporary directory" in str(error)
    ):
        return (
            f"the disk is full ({error.filename or error.strerror}): free some of it and ask "
            "again, nothing is half done"
        )
    return str(error) if _is_ours(error) else None


def main() -> None:
    """The entry point: runs in the clone's environment, prints errors in one line."""
    try:
        if not os.environ.get(environment.IMAGE):
            os.environ.update(environment.variables())
        _mount()
        app()
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": message}))
        else:
            typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
        sys.exit(1)
