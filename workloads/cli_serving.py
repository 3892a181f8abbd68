"""`falaj predict`, `release`, `rollback`, `status` and `open`: a workload in service.

Only arguments and tables are here; the work is done in `workloads.delivery`.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli import AsJson, Environment, Workload

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from workloads.delivery.release import ReleaseRecord

WIDTH = 100
_BAR = 20
_WATCH_PAUSE_SECONDS = 1

app = typer.Typer()


@app.command(epilog="Example:  falaj predict credit-risk   (an application of the hold-out set)")
def predict(
    workload: Workload,
    *,
    record: Annotated[
        str | None, typer.Option(help="One record as JSON, such as '{\"Amount\": 800, …}'.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A JSON file with one record or a list of them.")
    ] = None,
    entity: Annotated[
        str | None, typer.Option(help="Whom it is about: the same meets the same version.")
    ] = None,
    env: Environment = "local",
    as_json: AsJson = False,
) -> None:
    """Ask the workload's model through the gateway."""
    import httpx

    from workloads.delivery.connection import connect
    from workloads.delivery.errors import DeliveryError, NotUpError

    if record is not None and file is not None:
        raise DeliveryError("give either --record or --file")
    records = _records(workload, record, file)
    connection = connect(workload, env)
    request = {"jsonData": {"records": records}}
    url = f"{connection.endpoint}/api/v1.0/predictions"
    headers = {"content-type": "application/json"}
    if entity is not None:
        headers["x-falaj-entity"] = entity
    client = httpx.Client(timeout=30)
    began = time.perf_counter()
    try:
        answer = client.post(url, content=json.dumps(request), headers=headers)
        body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise NotUpError(
            f"{url} gives no answer ({type(error).__name__}): run `make up`"
        ) from error
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    if answer.status_code != 200:
        raise DeliveryError(f"{url} answers {answer.status_code}: {body['status']['info']}")
    if as_json:
        _print_json(
            {
                "endpoint": connection.endpoint,
                "request": request,
                "response": body,
                "milliseconds": milliseconds,
            }
        )
        return
    _console().print(_answers(url, records, body, milliseconds))


@app.command(epilog="Example:  falaj release credit-risk --version 3")
def release(
    workload: Workload,
    *,
    version: Annotated[
        int | None, typer.Option(min=1, help="An approved version; the candidate by default.")
    ] = None,
    env: Environment = "local",
    spec: Annotated[
        Path | None, typer.Option(help="Use this file in place of the workload's workload.yaml.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put an approved version into service step by step and keep the one before it warm.

    Each step of the workload's `rollout` is judged by its figures, and a version that passes a
    limit is taken back (exit status 2). Nothing is lost on the way. Interrupted, the version keeps
    the share that it has: the same command goes on, `falaj rollback` undoes it.
    """
    from workloads.cli import GATE_FAILED
    from workloads.delivery import registry
    from workloads.delivery.connection import connect
    from workloads.delivery.release import TakenBackError
    from workloads.delivery.release import release as releasing
    from workloads.delivery.replay import wanted
    from workloads.delivery.spec import load

    chosen, connection = load(workload, spec), connect(workload, env)
    console = _console(stderr=as_json)
    try:
        with registry.told(connection):
            done = releasing(
                connection,
                version,
                _each_once(console),
                rollout=chosen.spec.rollout,
                synthetic=wanted(connection, chosen),
            )
    except TakenBackError as error:
        if as_json:
            _print_json({"error": str(error)})
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(GATE_FAILED) from None
    _show_release(console, done, as_json=as_json)


@app.command(epilog="Example:  falaj rollback credit-risk")
def rollback(workload: Workload, *, env: Environment = "local", as_json: AsJson = False) -> None:
    """Give all traffic back to the version before, in seconds."""
    from workloads.delivery import registry
    from workloads.delivery.connection import connect
    from workloads.delivery.release import rollback as taking_back

    connection = connect(workload, env)
    console = _console(stderr=as_json)
    with registry.told(connection):
        done = taking_back(connection, lambda text: _step(console, text))
    _show_release(console, done, as_json=as_json)


@app.command(epilog="Example:  falaj status credit-risk --json")
def status(
    workload: Annotated[
        str | None, typer.Argument(help="One workload alone; every one by default.")
    ] = None,
    *,
    env: Environment = "local",
    watch: Annotated[
        bool, typer.Option("--watch", help="Show traffic and figures as they change, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what runs, who serves, on which figures, and where to look."""
    from workloads.delivery.errors import DeliveryError
    from workloads.delivery.spec import names
    from workloads.delivery.status import picture

    if watch:
        if as_json:
            raise DeliveryError("--watch goes on and on: ask for --json again and again instead")
        _watch([workload] if workload else names(), env)
        return
    found = picture(env, [workload] if workload else names())
    if as_json:
        _print_json(found)
        return
    console = _console()
    for part in _drawn(found):
        console.print(part)


@app.command("open", epilog="Example:  falaj open credit-risk")
def open_(
    workload: Annotated[str, typer.Argument(help="Name of the workload.")] = "",
    *,
    env: Environment = "local",
    as_json: AsJson = False,
) -> None:
    """Print the addresses of the workload's pages, each at what it shows, and of its endpoint."""
    from workloads.delivery import pages
    from workloads.delivery.connection import connect
    from workloads.delivery.spec import names

    connection = connect(workload or names()[0], env)
    urls, notes = pages.pages(connection), pages.notes(connection)
    if as_json:
        _print_json(urls)
        return
    for name, url in urls.items():
        typer.echo(f"{name:<10} {url}")
        if name in notes:
            typer.echo(f"{'':<10} {notes[name]}")


def _records(workload: str, record: str | None, file: Path | None) -> list[Any]:
    from workloads.delivery.errors import DeliveryError

    if record is None and file is None:
        return [_holdout_record(workload)]
    where = "--record" if file is None else str(file)
    try:
        given = json.loads(file.read_text(encoding="utf-8") if file else record or "")
    except OSError as error:
        raise DeliveryError(f"{where}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DeliveryError(f"{where} is no JSON: {error}") from error
    return given if isinstance(given, list) else [given]


def _holdout_record(workload: str) -> dict[str, Any]:
    """A record that no model was trained on, as a client would send it."""
    from workloads.delivery.replay import applications
    from workloads.delivery.spec import load

    return random.choice(applications(load(workload)))  # noqa: S311 - any will do


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if console.width > WIDTH or not console.is_terminal:
        console.width = WIDTH
    return console


def _step(console: Console, text: str) -> None:
    console.print(f"[green]✓[/] {text}")


def _each_once(console: Console) -> Callable[[str], None]:
    """Prints what is new: a release that waits says so again and again, with other numbers."""
    said = ""

    def say(text: str) -> None:
        nonlocal said
        kind = re.sub(r"\d+", "", text)
        if kind != said:
            said = kind
            _step(console, text)

    return say


def _show_release(console: Console, done: ReleaseRecord, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        _print_json(asdict(done))
        return
    console.print(f"[green]Version {done.version} of {done.workload} is in service.[/]")
    if not done.recorded:
        console.print(f"[yellow]The registry is not told yet: falaj rollback {done.workload}[/]")
    if done.action == "release":
        if done.previous is not None:
            console.print(f"Version {done.previous} is kept warm: falaj rollback {done.workload}")
    elif done.previous is not None:
        console.print(
            f"Version {done.previous} was taken out: "
            f"falaj release {done.workload} --version {done.previous}"
        )


def _answers(
    url: str, records: list[Any], body: Mapping[str, Any], milliseconds: float
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    tags = body["meta"]["tags"]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("asked", f"POST {url}")
    for record, said in zip(records, body["jsonData"]["predictions"], strict=True):
        table.add_row("record", json.dumps(record, ensure_ascii=False))
        outcome = tags["positive"] if said["decision"] == "positive" else f"not {tags['positive']}"
        table.add_row(
            "answer", f"[bold]{said['probability']:.1%} {tags['positive']}[/] → {outcome}"
        )
    table.add_row("by", f"version {tags['version']} in slot {tags['slot']}, {milliseconds} ms")
    return Group(table)


def _drawn(found: Mapping[str, Any]) -> list[RenderableType]:
    """The picture of `workloads.delivery.status` for a terminal of 100 columns."""
    from rich.markup import escape
    from rich.rule import Rule

    well = sum(part["healthy"] for part in found["parts"])
    total = len(found["parts"])
    if not found["up"]:
        state = "[red]not up[/]"
    elif well == total:
        state = f"[green]all {total} parts are well[/]"
    else:
        state = f"[red]{total - well} of {total} parts down[/]"
    drawn: list[RenderableType] = [
        Rule(f"[bold]falaj[/] · environment {escape(found['environment'])} · {state}", align="left")
    ]
    if found["parts"]:
        drawn.append(_parts_table(found["parts"]))
    for workload in found["workloads"]:
        drawn += ["", *_workload(workload)]
    problems = [*found["problems"], *(p for w in found["workloads"] for p in w["problems"])]
    drawn += [f"[red]![/] {escape(problem)}" for problem in problems]
    return drawn


def _parts_table(parts: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for part in parts:
        mark = "[green]●[/]" if part["healthy"] else "[red]●[/]"
        said = f"{part['milliseconds']:.0f} ms" if part["healthy"] else f"[red]{part['detail']}[/]"
        table.add_row(mark, part["name"], part["url"], said)
    return table


def _workload(found: Mapping[str, Any]) -> list[RenderableType]:
    from rich.rule import Rule
    from rich.table import Table

    from workloads.cli import gate_table
    from workloads.delivery.gate import Row

    name = found["workload"]
    facts = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for role in ("champion", "candidate"):
        if found[role] and not (role == "candidate" and _same(found)):
            facts.add_row(role, _version(found[role]))
        elif role == "champion":
            known = found["registry_answers"]
            facts.add_row(role, f"none yet: falaj run {name}" if known else "not known")
    facts.add_row("gateway", f"{found['endpoint']}/api/v1.0/predictions")
    facts.add_row("look", found["page"])
    for slot, state in found["slots"].items():
        facts.add_row(f"slot {slot}", _slot(state, (found["traffic"] or {}).get(slot)))
    drawn: list[RenderableType] = [Rule(f"[bold]{name}[/]", align="left"), facts]
    if found["verdict"]:
        drawn.append(_verdict(found["verdict"]))
    if found["gates"]:
        rows = tuple(Row(**row) for row in found["gates"]["rows"])
        drawn.append(gate_table(f"{name} version {found['gates']['version']}", rows))
    commands = (f"predict {name}", f"runs {name}", f"rollback {name}", "open")
    drawn.append(f"[dim]next[/] {' · '.join(f'falaj {command}' for command in commands)}")
    return drawn


def _watch(workloads: list[str], env: str) -> None:
    """Draws the live view until it is interrupted."""
    import httpx
    from rich.console import Group
    from rich.live import Live

    from workloads.delivery.connection import connect
    from workloads.delivery.status import live_picture

    connections = [connect(name, env) for name in workloads]
    with (
        httpx.Client(timeout=2) as client,
        Live(console=_console(), auto_refresh=False) as live,
        contextlib.suppress(KeyboardInterrupt),
    ):
        while True:
            drawn = [_live(live_picture(connection, client)) for connection in connections]
            live.update(Group(*drawn), refresh=True)
            time.sleep(_WATCH_PAUSE_SECONDS)


def _live(found: Mapping[str, Any]) -> RenderableType:
    """The live picture of one workload."""
    from rich.console import Group
    from rich.markup import escape
    from rich.rule import Rule
    from rich.table import Table

    from workloads.delivery.status import WATCH_SECONDS

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("slot", style="dim")
    table.add_column("traffic")
    for heading in ("version", "requests/s", "errors", "p95 ms", "positive"):
        table.add_column(heading, justify="right")
    for slot, state in found["slots"].items():
        figures = state["figures"] or {}
        requests = figures.get("requests")
        rate = None if requests is None else requests / WATCH_SECONDS
        table.add_row(
            slot,
            _bar(state["percent"]),
            str(state["version"] or "–"),
            _number(rate, ".1f"),
            _number(figures.get("error_rate"), ".1%"),
            _number(figures.get("latency_p95_ms"), ".0f"),
            _number(figures.get("positive_share"), ".0%"),
        )
    drawn: list[RenderableType] = [Rule(f"[bold]{found['workload']}[/]", align="left"), table]
    if found["verdict"]:
        drawn.append(_verdict(found["verdict"]))
    drawn += [f"[red]![/] {escape(problem)}" for problem in found["problems"]]
    return Group(*drawn)


def _verdict(verdict: Mapping[str, Any]) -> str:
    """The last word of the judge in a line."""
    from rich.markup import escape

    style = {"promote": "green", "back": "bold red"}.get(verdict["decision"], "yellow")
    return (
        f"[dim]judge[/]  version {verdict['version']} at {verdict['step']} % · "
        f"[{style}]{verdict['decision']}[/] · {escape(verdict['reason'])} "
        f"[dim]· {verdict['at'][11:19]} UTC[/]"
    )


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _same(found: Mapping[str, Any]) -> bool:
    champion, candidate = found["champion"], found["candidate"]
    return bool(champion and candidate and champion["version"] == candidate["version"])


def _version(version: Mapping[str, Any]) -> str:
    from rich.markup import escape

    shown = [f"[bold]version {version['version']}[/]"]
    if version["family"]:
        shown.append(escape(version["family"]))
    shown += [
        f"{figure} {version['figures'][figure]:.3f}"
        for figure in ("auc", "brier")
        if figure in version["figures"]
    ]
    if version["gates_passed"] is False:
        shown.append("[red]missed a gate[/]")
    if version["approved_by"]:
        shown.append(f"approved by {escape(version['approved_by'])}")
    if version["rolled_back_at"]:
        shown.append(f"taken back {_minute(version['rolled_back_at'])}")
    elif version["released_at"]:
        shown.append(f"in service since {_minute(version['released_at'])}")
    return " · ".join(shown)


def _minute(moment: str) -> str:
    return f"{moment[:16].replace('T', ' ')} UTC"


def _slot(state: Mapping[str, Any], percent: int | None) -> str:
    if state["version"]:
        holds = f"version {state['version']}" + ("" if percent else ", kept warm")
    else:
        holds = f"[red]{state['problem']}[/]" if percent else f"[dim]{state['problem']}[/]"
    return f"{_bar(percent)}  {holds}"


def _bar(percent: int | None) -> str:
    full = round((percent or 0) * _BAR / 100)
    share = "  ? %" if percent is None else f"{percent:>3} %"
    return f"[cyan]{'█' * full}[/][dim]{'·' * (_BAR - full)}[/] {share}"


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))
