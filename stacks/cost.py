"""`falaj cost`: what an environment would cost in a month, before anything is made."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.aws.cost import Line, Prices

app = typer.Typer()


class CostError(Exception):
    """An environment has nothing to estimate."""


@app.command()
def cost(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The environment to estimate.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Estimate what an environment costs in a month, from list prices kept in the repository.

    It is an estimate: no discount, no data transfer, no requests, and prices as of the day that it
    prints. Edit components/aws/prices.yaml to use your own.

    Example: falaj cost -s dev
    """
    from components.aws.cost import estimate, prices, total, unpriced
    from stacks.settings import read_file

    aws = read_file(stack).aws
    if aws is None:
        raise CostError(f"{stack} is not on AWS: it costs what your machine costs")
    table = prices()
    lines = estimate(aws, table)
    least, most = total(lines)
    missing = list(unpriced(aws, table))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "environment": stack,
                    "estimate": True,
                    "approximate": table.approximate,
                    "currency": "USD",
                    "per": "month",
                    "prices_as_of": table.recorded.isoformat(),
                    "source": table.source,
                    "region_factor": table.region_factor,
                    "unpriced": missing,
                    "parts": [asdict(line) for line in lines],
                    "least": least,
                    "most": most,
                },
                indent=2,
            )
        )
        return
    _print(stack, lines, (least, most), missing, table)


def _print(
    stack: str,
    lines: list[Line],
    totals: tuple[float, float | None],
    missing: list[str],
    table: Prices,
) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"{stack}: estimate, US dollars a month", title_justify="left")
    shown.add_column("part", overflow="fold")
    shown.add_column("what", overflow="fold")
    shown.add_column("least", justify="right")
    shown.add_column("most", justify="right")
    for line in lines:
        shown.add_row(line.part, line.what, *_figures(line.least, line.most))
    shown.add_section()
    shown.add_row("in all", "", *_figures(*totals))
    console = Console()
    console.print(shown)
    console.print(
        f"An estimate, not a quote. Prices as of {table.recorded} ({table.source}), times "
        f"{table.region_factor:g} for the region{', which is approximate' * table.approximate}. "
        "Left out: discounts, data transfer, requests, what is stored, and parts not listed."
    )
    if missing:
        console.print(f"No price is known of {', '.join(missing)}: add it to prices.yaml.")


def _figures(least: float, most: float | None) -> tuple[str, str]:
    return f"{least:,.0f}", "?" if most is None else f"{most:,.0f}"
