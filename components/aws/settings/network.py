"""The settings of the network, and the plan of its addresses.

The plan is a function of the settings alone, so that what does not fit is found before anything is
made. A zone's subnets depend on its number in the region, never on which other zones are used: with
one zone less, or one more, no other subnet moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.regions import problems_of_zones, region_data
from components.section import Section

Domain = Annotated[
    str, StringConstraints(pattern=r"^\.?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$")
]
"""A host's name, or with a leading dot a domain with all that is below it."""
Zone = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d[a-z]$")]
SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]+$")]
AccountId = Annotated[str, StringConstraints(pattern=r"^\d{12}$")]

FEWEST_ZONES = 2
"""EKS refuses a cluster whose subnets lie in fewer."""

_PRIVATE_RANGES = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
_LARGEST_PREFIX, _SMALLEST_PREFIX = 16, 22
_EDGE_BLOCK_PREFIX, _EDGE_PREFIX = 24, 28
"""The last /24 of the network holds a /28 for the firewall and one for the NAT gateway a zone."""
_TAKEN_BY_AWS = 5
"""Addresses of every subnet that AWS keeps: the first four and the last.
Source: VPC user guide, "Subnet sizing"."""
_TAKEN_BY_LOAD_BALANCERS = 100
"""What an application load balancer may grow to in one subnet.
Source: Elastic Load Balancing user guide, "Subnets for your load balancer"."""
_BLOCK = 16
"""Addresses that the VPC CNI takes at a time with prefix delegation."""


class NetworkSettings(Section):
    """A network of its own for an environment."""

    cidr: IPv4Network = IPv4Network("10.64.0.0/16")
    zones: tuple[Zone, ...] = ()
    """Empty for all zones of the region that are healthy. Name them where data is kept: what is
    known of a zone's health changes, and a zone that falls out of the list takes its subnets
    along."""
    private_prefix: int | None = Field(None, ge=17, le=27)
    """Length of the prefix of each private subnet, where nodes and pods are; `None` for as large as
    fits."""
    isolated_prefix: int = Field(24, ge=20, le=26)
    """The same of each isolated subnet, where endpoints and databases are."""
    reserved_cidrs: tuple[IPv4Network, ...] = ()
    """Ranges in use elsewhere that this network shall reach: on premises, peered networks."""
    service_cidr: IPv4Network = IPv4Network("172.20.0.0/16")
    """Addresses of the cluster's services; they exist inside the cluster alone."""
    max_pods: int = Field(110, ge=8, le=250)
    """The most pods on one node."""
    egress: Literal["none", "allow-list"] = "none"
    """What may leave: nothing, or HTTPS and HTTP to `allowed_domains` through a firewall."""
    allowed_domains: tuple[Domain, ...] = ()
    nat_gateways: Literal["one", "each-zone"] = "each-zone"
    """With `egress: allow-list`: one firewall and NAT gateway in all, which is cheaper and goes
    with its zone, or one in each zone."""
    private_domain: Domain | None = None
    """The name of the private hosted zone; `None` for ``<environment>.falaj.internal``."""
    resolvable_domains: tuple[Domain, ...] = ()
    """Names that may be looked up besides those of AWS, of `private_domain` and of
    `allowed_domains`, such as the organisation's own."""
    trusted_accounts: tuple[AccountId, ...] = ()
    """Accounts besides this one whose buckets, queues and keys may be reached through endpoints."""
    log_days: int = Field(365, ge=365)
    """How long flow, firewall and name logs are kept."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        if not _LARGEST_PREFIX <= self.cidr.prefixlen <= _SMALLEST_PREFIX:
            yield f"cidr: {self.cidr} is no network of /{_LARGEST_PREFIX} to /{_SMALLEST_PREFIX}"
        if not any(self.cidr.subnet_of(private) for private in _PRIVATE_RANGES):
            yield (
                f"cidr: {self.cidr} is no private range; allowed: "
                f"{', '.join(map(str, _PRIVATE_RANGES))}"
            )
        taken = [(f"reserved_cidrs, {cidr}", cidr) for cidr in self.reserved_cidrs]
        taken.append((f"service_cidr, {self.service_cidr}", self.service_cidr))
        for what, cidr in taken:
            if self.cidr.overlaps(cidr):
                yield f"cidr: {self.cidr} overlaps {what}"
        for cidr in self.reserved_cidrs:
            if self.service_cidr.overlaps(cidr):
                yield f"service_cidr: {self.service_cidr} overlaps reserved_cidrs, {cidr}"
        if not 12 <= self.service_cidr.prefixlen <= 24:
            yield f"service_cidr: {self.service_cidr} is no network of /12 to /24"
        if 0 < len(self.zones) < FEWEST_ZONES:
            yield f"zones: are {len(self.zones)}; a cluster needs {FEWEST_ZONES} at least"
        for name in ("zones", "allowed_domains"):
            given = getattr(self, name)
            if twice := sorted({one for one in given if given.count(one) > 1}):
                yield f"{name}: names {', '.join(twice)} twice"
        if self.egress == "none" and self.allowed_domains:
            yield "allowed_domains: has no meaning where egress is none: nothing leaves"
        if self.egress == "allow-list" and not self.allowed_domains:
            yield "allowed_domains: is empty; egress allow-list needs at least one domain"


@dataclass(frozen=True, kw_only=True)
class ZoneAddresses:
    """The subnets of one zone."""

    private: IPv4Network
    isolated: IPv4Network
    firewall: IPv4Network
    public: IPv4Network
    """Of the NAT gateway, behind the firewall; nothing else is ever in it."""


def zones_of(region: str) -> tuple[str, ...]:
    """All zones of `region`, whole or not, in the order by which subnets are numbered."""
    data = region_data(region)
    return tuple(sorted(data.zones)) if data is not None else ()


def used_zones(network: NetworkSettings, region: str) -> tuple[str, ...]:
    """The zones that a network uses, in the region's order."""
    data = region_data(region)
    healthy = data.healthy_zones if data is not None else ()
    return tuple(zone for zone in zones_of(region) if zone in (network.zones or healthy))


def address_plan(network: NetworkSettings, region: str) -> dict[str, ZoneAddresses]:
    """The subnets of each zone that is used.

    Private subnets are counted from the bottom of the network. The last /24 holds the edges, and
    isolated subnets are counted down from it. Whether they fit is said by `network_problems`.
    """
    private = _private_prefix(network, region)
    plan = {}
    for number, zone in enumerate(zones_of(region)):
        if zone not in used_zones(network, region):
            continue
        plan[zone] = ZoneAddresses(
            private=_block(network.cidr, private, number),
            isolated=_block(
                network.cidr,
                network.isolated_prefix,
                -(number + 1) - _blocks_of_edges(network.isolated_prefix),
            ),
            firewall=_block(network.cidr, _EDGE_PREFIX, -(2 * number + 1)),
            public=_block(network.cidr, _EDGE_PREFIX, -(2 * number + 2)),
        )
    return plan


def addresses_of_node(max_pods: int) -> int:
    """The most addresses that one node takes.

    Its own, one for each pod in blocks of 16, and a block that is kept warm. Without prefix
    delegation it is fewer as long as `max_pods` is not lowered below what the instance offers.
    Source: EKS best practices guide, "Prefix mode for Linux".
    """
    return 1 + _BLOCK * (math.ceil(max_pods / _BLOCK) + 1)


def nodes_that_fit(subnet: IPv4Network, max_pods: int) -> int:
    """How many nodes with all their pods one private subnet holds."""
    free = subnet.num_addresses - _TAKEN_BY_AWS - _TAKEN_BY_LOAD_BALANCERS
    return max(0, free // addresses_of_node(max_pods))


def network_problems(
    network: NetworkSettings, region: str, max_nodes: Mapping[str, int]
) -> Iterator[str]:
    """What keeps a network from being built in `region` with pools of up to `max_nodes` nodes."""
    data = region_data(region)
    if data is None:
        yield f"region: nothing is known of {region}; see components/aws/regions"
        return
    strangers = list(problems_of_zones(data, network.zones))
    yield from (f"network.zones: {problem}" for problem in strangers)
    if strangers:
        return
    known = zones_of(region)
    private = _private_prefix(network, region)
    sizes = 2 ** (network.cidr.max_prefixlen - private) * len(known)
    isolated = 2 ** (network.cidr.max_prefixlen - network.isolated_prefix)
    sizes += isolated * (len(known) + _blocks_of_edges(network.isolated_prefix))
    if sizes > network.cidr.num_addresses:
        yield (
            f"network.private_prefix: {len(known)} private subnets of /{private}, as many isolated "
            f"ones of /{network.isolated_prefix} and the edges do not fit into {network.cidr}"
        )
        return
    zones = used_zones(network, region)
    needed = sum(count + 1 for count in max_nodes.values())
    share = math.ceil(needed / max(1, len(zones) - 1))
    fit = nodes_that_fit(_block(network.cidr, private, 0), network.max_pods)
    if share > fit:
        yield (
            f"network.cidr: a private subnet of /{private} holds {fit} nodes of {network.max_pods} "
            f"pods; with one zone lost each of the other {len(zones) - 1} must hold {share} "
            f"({needed} in all: max_nodes of {', '.join(sorted(max_nodes))}, and one more of each "
            "while it is renewed). Enlarge cidr, or lower max_pods or max_nodes"
        )


def _private_prefix(network: NetworkSettings, region: str) -> int:
    if network.private_prefix is not None:
        return network.private_prefix
    # one share more than the region has zones, for the small subnets
    return network.cidr.prefixlen + math.ceil(math.log2(len(zones_of(region)) + 1))


def _blocks_of_edges(prefix: int) -> int:
    """How many blocks of /`prefix` the edges at the top of the network take."""
    return 1 << max(0, prefix - _EDGE_BLOCK_PREFIX)


def _block(cidr: IPv4Network, prefix: int, number: int) -> IPv4Network:
    """The block of /`prefix` with that number in `cidr`, from its end where it is negative."""
    size = 2 ** (cidr.max_prefixlen - prefix)
    first = cidr.num_addresses // size + number if number < 0 else number
    return IPv4Network((int(cidr.network_address) + first * size, prefix))


class ExistingNetwork(Section):
    """A network that somebody else keeps: ids, checked by their form.

    What it must offer: private subnets tagged ``kubernetes.io/role/internal-elb``, DNS support and
    DNS host names switched on. What `egress` there really is, is its keeper's; the section
    `network` says it, since it decides which calls the controllers make.
    """

    vpc_id: Annotated[str, StringConstraints(pattern=r"^vpc-[0-9a-f]+$")]
    cidr: IPv4Network
    private_subnet_ids: dict[Zone, SubnetId] = Field(min_length=FEWEST_ZONES)
    """Zone → the subnet of nodes and pods."""
    isolated_subnet_ids: dict[Zone, SubnetId] = Field(min_length=FEWEST_ZONES)
    """Zone → the subnet of endpoints and databases."""
    private_route_table_ids: tuple[
        Annotated[str, StringConstraints(pattern=r"^rtb-[0-9a-f]+$")], ...
    ] = ()
    """Of the private subnets; needed where the S3 endpoint is made here."""
    endpoints: tuple[str, ...] = ()
    """Services that its keeper has endpoints for, such as ``ecr.api``, with private names switched
    on; the others are made here. ``s3`` means two: a gateway endpoint on the private subnets, and
    an interface whose private names hold for all of the network, not for inbound resolvers alone:
    pods reach addresses of the network, and no others."""
    endpoint_security_group_id: (
        Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]+$")] | None
    ) = None
    """Of the keeper's endpoints; `None` where all are made here."""
    private_zone_id: Annotated[str, StringConstraints(pattern=r"^Z[0-9A-Z]{1,31}$")] | None = None
    """Of the private zone `network.private_domain`, where the platform's names are written; without
    it its keeper writes them."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        problems = []
        if self.private_subnet_ids.keys() != self.isolated_subnet_ids.keys():
            problems.append("isolated_subnet_ids: are not in the zones of private_subnet_ids")
        ids = [*self.private_subnet_ids.values(), *self.isolated_subnet_ids.values()]
        if twice := sorted({one for one in ids if ids.count(one) > 1}):
            problems.append(f"private_subnet_ids: {', '.join(twice)} is named twice")
        if "s3" not in self.endpoints and not self.private_route_table_ids:
            problems.append("private_route_table_ids: are needed for the S3 endpoint made here")
        if self.endpoints and self.endpoint_security_group_id is None:
            problems.append("endpoint_security_group_id: is missing, that of the endpoints named")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def private_domain_of(network: NetworkSettings | None, environment: str) -> str:
    """The name of the private zone of `environment`."""
    declared = network.private_domain if network is not None else None
    return (declared or f"{environment}.falaj.internal").removeprefix(".")


def existing_network_problems(
    network: ExistingNetwork, region: str, services: Sequence[str]
) -> Iterator[str]:
    """What keeps a network that exists from being used; `services` are those that may be named."""
    data = region_data(region)
    if data is not None:
        for problem in problems_of_zones(data, network.private_subnet_ids):
            yield f"existing_network.private_subnet_ids: {problem}"
    unknown = sorted(set(network.endpoints) - set(services))
    if unknown:
        yield (
            f"existing_network.endpoints: {', '.join(unknown)} is needed by nothing; "
            f"allowed: {', '.join(sorted(services))}"
        )
