"""How much of an account's quotas an environment may come to need.

Quotas of instances are counted in virtual CPUs, by group of families and by how they are paid. In a
new account those of GPUs are 0. Codes as `aws service-quotas list-service-quotas` has them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.aws.instance_types import most_vcpus
from components.aws.regions import family_of
from components.aws.settings.aws import AwsSettings
from components.aws.settings.node_pool import PoolSettings

_INSTANCES = {
    ("standard", "on-demand"): ("L-1216C47A", "Running On-Demand Standard instances"),
    ("standard", "spot"): ("L-34B43A08", "All Standard Spot Instance Requests"),
    ("g", "on-demand"): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("g", "spot"): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("p", "on-demand"): ("L-417A185B", "Running On-Demand P instances"),
    ("p", "spot"): ("L-7212CCBC", "All P Spot Instance Requests"),
}
_NODE_GROUPS = ("L-6D54EA21", "Managed node groups per cluster")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What an environment needs of one quota at its largest."""

    service: str
    code: str
    name: str
    needed: int
    """vCPUs for instances, else a number of things."""
    pools: tuple[str, ...]
    """Who needs it: paths of settings."""


def demands(aws: AwsSettings) -> list[Demand]:
    """Each quota that the environment of `aws` draws on."""
    needed: dict[tuple[str, str], dict[str, int]] = {}
    for path, pool in aws.pools.items():
        for group, payment, vcpus in _vcpus(pool):
            of_quota = needed.setdefault((group, payment), {})
            of_quota[path] = max(of_quota.get(path, 0), vcpus)
    found = [
        Demand(
            service="ec2",
            code=_INSTANCES[key][0],
            name=_INSTANCES[key][1],
            needed=sum(by_pool.values()),
            pools=tuple(by_pool),
        )
        for key, by_pool in needed.items()
    ]
    if aws.node_pools:
        found.append(
            Demand(
                service="eks",
                code=_NODE_GROUPS[0],
                name=_NODE_GROUPS[1],
                needed=len(aws.node_pools),
                pools=tuple(f"node_pools.{name}" for name in aws.node_pools),
            )
        )
    return found


def _vcpus(pool: PoolSettings) -> Iterator[tuple[str, str, int]]:
    """(Group of families, payment, vCPUs) that a pool may draw on: any of its types may come."""
    spot = pool.max_nodes * pool.spot_percent // 100
    for payment, nodes in (("spot", spot), ("on-demand", pool.max_nodes - spot)):
        for group in {_group(one) for one in pool.instance_types} if nodes else ():
            types = [one for one in pool.instance_types if _group(one) == group]
            yield group, payment, nodes * most_vcpus(types)


def _group(instance_type: str) -> str:
    family = family_of(instance_type)
    if family.startswith(("g", "vt")):
        return "g"
    return "p" if family.startswith("p") else "standard"
