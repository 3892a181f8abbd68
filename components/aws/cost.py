"""What an environment costs in a month, estimated from list prices.

Owns the arithmetic; the prices are data in `prices.yaml`, dated. No discount, no data transfer, no
requests: a figure to choose between plans with, not one to pay. Pure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from components.aws.settings.aws import AwsSettings
from components.aws.settings.controllers import services_called
from components.aws.settings.network import used_zones
from components.aws.settings.node_pool import NodePoolSettings, PoolSettings
from components.section import Section

FILE = Path(__file__).with_name("prices.yaml")

_KEYS = 7
"""One for each domain of data."""

_WITHOUT_PRICE = {"s3"}
"""Services whose gateway endpoint costs nothing."""


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
    instances: dict[str, float]
    """Type → price per hour."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A part and its cost in a month, in US dollars."""

    part: str
    what: str
    least: float
    """With every pool at its smallest."""
    most: float | None
    """With every pool at its largest; `None` where a price is not known."""


@cache
def prices() -> Prices:
    """The table that is kept in the repository."""
    return Prices.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def hourly(part: str, what: str, price: str, count: float, table: Prices) -> Line:
    """A line for `count` things that cost `price` an hour, always."""
    usd = table.per_hour[price] * table.hours_per_month * table.region_factor * count
    return Line(part=part, what=what, least=usd, most=usd)


def monthly(part: str, what: str, price: str, count: float, table: Prices) -> Line:
    """A line for `count` things that cost `price` a month, always."""
    usd = table.per_month[price] * table.region_factor * count
    return Line(part=part, what=what, least=usd, most=usd)


def estimate(aws: AwsSettings, table: Prices) -> list[Line]:
    """A line for each part of the environment of `aws` that is paid for by time or size."""
    lines = []
    if aws.existing_cluster is None:
        extended = aws.cluster.support == "extended"
        price = "eks_cluster_extended_support" if extended else "eks_cluster"
        lines.append(hourly("cluster", "EKS control plane", price, 1, table))
    lines += _network(aws, table)
    lines += [_pool(path, pool, table) for path, pool in aws.pools.items()]
    lines.append(monthly("keys", f"{_KEYS} customer-managed keys", "kms_key", _KEYS, table))
    return lines


def total(lines: Iterable[Line]) -> tuple[float, float | None]:
    """(Least, most) of all lines; most is `None` where a price is not known."""
    known = list(lines)
    most = [line.most for line in known if line.most is not None]
    return sum(line.least for line in known), sum(most) if len(most) == len(known) else None


def unpriced(aws: AwsSettings, table: Prices) -> Iterator[str]:
    """The instance types of `aws` that the table has no price of."""
    named = {one for pool in aws.pools.values() for one in pool.instance_types}
    yield from sorted(named - table.instances.keys())


def _network(aws: AwsSettings, table: Prices) -> Iterator[Line]:
    network = aws.network
    if network is None or aws.existing_network is not None:
        return
    zones = len(used_zones(network, aws.region))
    services = len(set(services_called()) - _WITHOUT_PRICE)
    what = f"{services} endpoints in {zones} zones"
    yield hourly("network", what, "interface_endpoint_zone", services * zones, table)
    if network.egress == "allow-list":
        ways = 1 if network.nat_gateways == "one" else zones
        yield hourly(
            "network", f"{ways} firewall endpoints", "network_firewall_endpoint", ways, table
        )
        yield hourly("network", f"{ways} NAT gateways", "nat_gateway", ways, table)


def _pool(path: str, pool: PoolSettings, table: Prices) -> Line:
    known = [table.instances[one] for one in pool.instance_types if one in table.instances]
    complete = len(known) == len(pool.instance_types)
    fewest = pool.min_nodes if isinstance(pool, NodePoolSettings) else 0
    disk = pool.disk_gib * table.per_month["gp3_gib"] * table.region_factor
    # the first type is preferred, so it is what a small pool is made of
    small = _node(pool, table.instances.get(pool.instance_types[0], 0.0), table) + disk
    large = _node(pool, max(known), table) + disk if complete else None
    return Line(
        part=path,
        what=f"{fewest} to {pool.max_nodes} × {', '.join(pool.instance_types)}"
        + (f", {pool.spot_percent} % spot" if pool.spot_percent else ""),
        least=fewest * small,
        most=pool.max_nodes * large if large is not None else None,
    )


def _node(pool: PoolSettings, per_hour: float, table: Prices) -> float:
    spot = pool.spot_percent / 100
    share = spot * table.spot_factor + (1 - spot)
    return per_hour * table.hours_per_month * table.region_factor * share
