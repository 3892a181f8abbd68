"""`falaj cost`: what an environment would cost in a month, before anything is made."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stacks.table import show

if TYPE_CHECKING:
    from components.aws.prices import Prices

app = typer.Typer()


class CostError(Exception):
    """An environment has nothing to estimate."""


@app.command()
def cost(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The environment to estimate.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Estimate what an environment costs in a month, from list prices kept in the repository.

    It is an estimate: prices as of the day that it prints, use as assumed beside them, and what it
    leaves out said below. Edit components/aws/prices.yaml to use your own.

    Example: falaj cost -s dev
    """
    from components.aws.cost import LEFT_OUT, NOT_COUNTED, estimate
    from components.aws.prices import prices, total, unpriced
    from stacks.settings import read_file

    settings = read_file(stack)
    aws = settings.aws
    if aws is None:
        raise CostError(f"{stack} is not on AWS: it costs what your machine costs")
    table = prices()
    lines = estimate(aws, table, settings.teams, settings.feature_store.teams)
    least, most = total(lines)
    missing = unpriced(lines)
    not_counted = [*LEFT_OUT, *NOT_COUNTED.values()]
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
                    "assumed": table.assumed.model_dump(),
                    "unpriced": missing,
                    "not_counted": not_counted,
                    "parts": [asdict(line) for line in lines],
                    "least": least,
                    "most": most,
                },
                indent=2,
            )
        )
        return
    notes = _notes(table, missing, not_counted)
    show(
        f"{stack}: estimate, US dollars a month",
        ("part", "what", "least", "most"),
        [(line.part, line.what, *_figures(line.least, line.most)) for line in lines],
        figures=("least", "most"),
        total=("in all", "", *_figures(least, most)),
        notes=notes,
    )


def _notes(table: Prices, missing: list[str], not_counted: list[str]) -> list[str]:
    said = (
        f"An estimate, not a quote. Prices as of {table.recorded} ({table.source}), times "
        f"{table.region_factor:g} for the region{', which is approximate' * table.approximate}. "
        "What is called assumed is paid by use: components/aws/prices.yaml says how much."
    )
    notes = [said, f"Not counted: {'; '.join(not_counted)}."]
    if missing:
        notes.append(f"No price is known of {', '.join(missing)}: add it to prices.yaml.")
    return notes


def _figures(least: float, most: float | None) -> tuple[str, str]:
    return f"{least:,.0f}", "?" if most is None else f"{most:,.0f}"
