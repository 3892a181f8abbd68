"""List prices as a table, and lines of an estimate that are reckoned with them.

The prices are data in `prices.yaml`, dated. Which parts an environment has is said in `cost`. Pure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from components.section import Section

FILE = Path(__file__).with_name("prices.yaml")


class Assumed(Section):
    """What is paid by use, in a month: nothing in the settings says how much there will be."""

    stored_gib: float
    record_gib: float
    image_gib: float
    cluster_log_gib: float
    network_log_gib: float
    service_log_gib: float
    endpoint_gib: float
    egress_gib: float
    config_changes: float
    config_evaluations: float
    posture_checks: float
    object_events_millions: float
    account_events_millions: float


class Prices(Section):
    """List prices in US dollars, as of `recorded`."""

    recorded: datetime.date
    source: str
    region_factor: float
    """By which the region lists above the one of `source`."""
    approximate: bool
    spot_factor: float
    """What one may hope that a spot node costs, as a share of the price on demand."""
    hours_per_month: int
    per_hour: dict[str, float]
    per_month: dict[str, float]
    assumed: Assumed
    instances: dict[str, float]
    """Type → price per hour."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A part and its cost in a month, in US dollars."""

    part: str
    """Path of its settings."""
    what: str
    least: float
    """With every pool and disk at its smallest."""
    most: float | None
    """With every pool and disk at its largest; `None` where a price is not known."""
    unpriced: tuple[str, ...] = ()
    """What the table has no price of."""


@cache
def prices() -> Prices:
    """The table that is kept in the repository."""
    return Prices.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def hourly(part: str, what: str, price: str, count: float, table: Prices) -> Line:
    """A line for `count` things that cost `price` an hour, always."""
    known = {**table.instances, **table.per_hour}
    if price not in known:
        return Line(part=part, what=what, least=0, most=None, unpriced=(price,))
    usd = known[price] * table.hours_per_month * table.region_factor * count
    return Line(part=part, what=what, least=usd, most=usd)


def monthly(
    part: str, what: str, price: str, count: float, table: Prices, *, most: float | None = None
) -> Line:
    """A line for `count` things, or up to `most`, that cost `price` a month."""
    usd = table.per_month[price] * table.region_factor
    return Line(
        part=part, what=what, least=usd * count, most=usd * (count if most is None else most)
    )


def total(lines: Iterable[Line]) -> tuple[float, float | None]:
    """(Least, most) of all lines; most is `None` where a price is not known."""
    known = list(lines)
    most = [line.most for line in known if line.most is not None]
    return sum(line.least for line in known), sum(most) if len(most) == len(known) else None


def unpriced(lines: Iterable[Line]) -> list[str]:
    """Whatever of `lines` the table has no price of."""
    return sorted({one for line in lines for one in line.unpriced})
