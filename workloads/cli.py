"""`falaj run`, `falaj runs` and `falaj approve`: from data to an approved model version.

Only arguments, tables and progress are here; the work is done in `workloads.delivery`.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from workloads.delivery.gate import Row
    from workloads.delivery.pipeline import Outcome

GATE_FAILED = 2
"""Exit status of a run whose version missed a gate, or a limit in its canary."""

INTERRUPTED = 130
"""What a shell expects of a command that was interrupted."""

app = typer.Typer()

Workload = Annotated[str, typer.Argument(help="Name of the workload, such as credit-risk.")]
Environment = Annotated[
    str, typer.Option("--env", envvar="FALAJ_ENVIRONMENT", help="Environment to work in.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@app.command(epilog="Example:  falaj run credit-risk")
def run(
    workload: Workload,
    *,
    env: Environment = "local",
    force: Annotated[
        bool, typer.Option("--force", help="Train again although data and code are the same.")
    ] = False,
    until: Annotated[
        str,
        typer.Option(
            metavar="STEP",
            help="Stop after this step: ingest, validate, train, evaluate, register, gate, "
            "approve or release.",
        ),
    ] = "release",
    spec: Annotated[
        Path | None, typer.Option(help="Use this file in place of the workload's workload.yaml.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a workload from its data to a version in service.

    Ingests, validates, trains, evaluates, registers, judges and releases; what is done already is
    skipped. Exit status 2 says that the new version missed a gate, or passed a limit in its canary:
    the champion serves on.
    """
    from workloads.delivery import pipeline
    from workloads.delivery.connection import connect
    from workloads.delivery.errors import DeliveryError
    from workloads.delivery.spec import load

    if until not in pipeline.STEPS:
        raise DeliveryError(f"--until {until}: is no step; steps: {', '.join(pipeline.STEPS)}")

    # a terminated run ends like an interrupted one: it stops its training job first
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _shown(as_json) as (console, watch):
        chosen, connection = load(workload, spec), connect(workload, env)
        try:
            outcome = pipeline.run(connection, chosen, force=force, until=until, watch=watch)
        except KeyboardInterrupt:
            console.print(f"Stopped, nothing is half done. Go on with: falaj run {workload}")
            raise typer.Exit(INTERRUPTED) from None
        if as_json:
            _print_json(outcome or {"status": "stopped", "workload": workload, "until": until})
        elif outcome is not None:
            _show_outcome(console, outcome)
    if outcome is not None and not outcome.passed:
        raise typer.Exit(GATE_FAILED)


@app.command(epilog="Example:  falaj runs credit-risk")
def runs(
    workload: Workload,
    *,
    env: Environment = "local",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show the newest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the trainings of a workload, newest first, and what became of them."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from workloads.delivery import registry
    from workloads.delivery.connection import connect

    connection = connect(workload, env)
    registry.require_up(connection)
    with registry.told(connection):
        found = registry.trainings(connection, limit)
    if as_json:
        _print_json(found)
        return
    console = Console()
    if not found:
        console.print(f"{workload} has not been trained yet: falaj run {workload}")
        return
    table = Table(title=f"Trainings of {workload}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("when (UTC)", "data", "code"):
        table.add_column(heading, no_wrap=True)
    table.add_column("best AUC", justify="right", no_wrap=True)
    for heading in ("gates", "version"):
        table.add_column(heading)
    for training in found:
        named = f" ({', '.join(training.aliases)})" if training.aliases else ""
        table.add_row(
            training.started_at[:16].replace("T", " "),
            training.data_version,
            training.code_commit[:11],
            training.status.lower() if training.cv_auc is None else f"{training.cv_auc:.4f}",
            training.gates or "",
            "" if training.version is None else f"{training.version}{named}",
        )
    console.print(table)


@app.command(epilog="Example:  falaj approve credit-risk --version 3 --approver 'Amna Al Suwaidi'")
def approve(
    workload: Workload,
    *,
    version: Annotated[int, typer.Option(min=1, help="The model version to approve.")],
    approver: Annotated[str, typer.Option(help="Who answers for it; recorded with the version.")],
    env: Environment = "local",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Approve a version on the figures shown, so that it may be released."""
    from rich.console import Console

    from workloads.delivery import approve as approving
    from workloads.delivery import registry
    from workloads.delivery.connection import connect
    from workloads.delivery.errors import DeliveryError
    from workloads.delivery.gate import gates_of

    connection = connect(workload, env)
    registry.require_up(connection)
    console = Console(stderr=as_json)
    with registry.told(connection):
        gated = gates_of(connection, version)
        earlier = approving.approval_of(connection, version)
        if earlier is None and gated is not None:
            console.print(gate_table(f"{workload} version {version}", gated.rows))
            if gated.passed and not yes:
                if as_json:
                    raise DeliveryError("--json asks nothing: add --yes to confirm")
                if not typer.confirm(f"Approve version {version} as {approver}?"):
                    raise DeliveryError(f"version {version} was not approved")
        approval = earlier or approving.approve(connection, version, approver, automatic=False)
    if as_json:
        _print_json(approval)
        return
    when = approval.approved_at.replace("T", " ").replace("+00:00", " UTC")
    before = "was approved before" if earlier else "is approved"
    console.print(f"Version {version} {before} by {approval.approver}, {when}.")
    console.print(f"Next: falaj release {workload} --version {version}")


def _show_outcome(console: Console, outcome: Outcome) -> None:
    name = f"{outcome.workload} version {outcome.version}"
    said = {
        "released": f"{name} is in service.",
        "approved": f"{name} is approved. Next: falaj release {outcome.workload} "
        f"--version {outcome.version}",
        "unchanged": f"{name} is in service and was made from the same data and code: nothing to "
        "do (--force trains again).",
        "withdrawn": f"{name} was made from the same data and code and has been taken out of "
        f"service since. Next: falaj release {outcome.workload} --version {outcome.version}, or "
        "--force to train again.",
        "waiting": f"{name} waits for approval. Next: falaj approve {outcome.workload} "
        f"--version {outcome.version} --approver NAME",
        "taken_back": f"{name} passed a limit in its canary and was taken back; the champion "
        f"has all traffic. See: falaj status {outcome.workload}",
        "failed": f"{name} missed a gate and is not released; the champion stays in service.",
    }
    if outcome.status not in ("unchanged", "withdrawn"):
        console.print(gate_table(name, outcome.gates))
    style = {"failed": "bold red", "taken_back": "bold red", "waiting": "yellow"}.get(
        outcome.status, "green"
    )
    console.print(said[outcome.status], style=style, highlight=False)


def gate_table(title: str, rows: tuple[Row, ...]) -> Table:
    from rich.table import Table

    table = Table(title=f"Gates of {title}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("must be", justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(
            row.figure.replace("_", " "),
            f"{row.value:.4g}",
            f"{'at least' if row.relation == '>=' else 'at most'} {row.threshold:g}",
            "[green]pass[/]" if row.passed else "[bold red]FAIL[/]",
        )
    return table


@contextmanager
def _shown(as_json: bool) -> Iterator[tuple[Console, Any]]:
    """A console, and a watch that shows the steps on it as they go."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=as_json)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[step]:<9}"),
        BarColumn(20),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )

    class Shown:
        task: Any = None

        def begin(self, step: str) -> None:
            self.task = progress.add_task("", step=step, total=None)

        def tell(self, text: str, done: int = 0, total: int = 0) -> None:
            progress.update(self.task, description=text, completed=done, total=total or None)

        def end(self, step: str, text: str, seconds: float) -> None:
            if self.task is not None:
                progress.remove_task(self.task)
                self.task = None
            console.print(f"[green]✓[/] {step:<9} {text} [dim]{seconds:.1f} s[/]", highlight=False)

    with progress:
        yield console, Shown()


def _print_json(content: Any) -> None:
    from dataclasses import asdict, is_dataclass

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value

    typer.echo(json.dumps(plain(content), ensure_ascii=False, indent=2))
