"""What a region offers: dated data, and the checks of settings against it.

Owns the files `<region>.yaml` beside it: zones and their health, instance families by zone,
services that are missing, Kubernetes versions, the roots of RDS. `stacks/region.py` refreshes what
an account says.
Pure: it asks nobody, so that what a region lacks is said at preview, before anything is made.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field

from components.section import Section

DIRECTORY = Path(__file__).parent

GPU_FAMILIES = ("g", "gr", "p", "trn", "inf", "dl")
"""How the names of families with accelerators begin, before the digit of their generation."""


class Zone(Section):
    """An availability zone."""

    id: str
    """The same in every account, unlike the zone's name."""
    impaired: str | None = None
    """Why nothing new should be put there; `None` for a healthy zone."""


class RegionData(Section):
    """What a region offers, as of `recorded`."""

    region: str
    title: str
    recorded: datetime.date
    source: str
    opt_in: bool = False
    zones: dict[str, Zone] = Field(min_length=1)
    assumed: tuple[str, ...] = ()
    """Families whose zones were not read from an account."""
    families: dict[str, tuple[str, ...]]
    """Family, such as ``m6i`` → names of the zones that have it."""
    sizes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Family → its sizes, such as ``xlarge``, that some zone has; all where nothing is said."""
    exceptions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Type → its zones, where they are not those of its family."""
    missing_services: dict[str, str] = Field(default_factory=dict)
    """Service → what to use instead."""
    kubernetes_versions: dict[str, datetime.date] = Field(default_factory=dict)
    """Version → the day on which standard support ends."""
    database_roots: dict[str, str] = Field(default_factory=dict)
    """Certificate authority of RDS, such as ``rds-ca-rsa4096-g1`` → its root, as PEM."""

    @property
    def healthy_zones(self) -> tuple[str, ...]:
        """The names of the zones in which new things may be put, in order."""
        return tuple(name for name, zone in sorted(self.zones.items()) if zone.impaired is None)

    def zones_of(self, instance_type: str) -> tuple[str, ...]:
        """The zones that have `instance_type`; none where the region lacks its family."""
        family, _, size = instance_type.partition(".")
        if size not in self.sizes.get(family, (size,)):
            return ()
        return self.exceptions.get(instance_type, self.families.get(family, ()))


def known_regions() -> tuple[str, ...]:
    """The regions that there is data about."""
    return tuple(sorted(path.stem for path in DIRECTORY.glob("*.yaml")))


@cache
def region_data(region: str) -> RegionData | None:
    """What is known of `region`; `None` when nothing is."""
    path = DIRECTORY / f"{region}.yaml"
    if not path.is_file():
        return None
    return RegionData.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def family_of(instance_type: str) -> str:
    """``m6i`` of ``m6i.large``."""
    return instance_type.partition(".")[0]


def has_gpu(instance_type: str) -> bool:
    """Whether the family of `instance_type` has accelerators."""
    family = family_of(instance_type)
    letters = family[: next((at for at, sign in enumerate(family) if sign.isdigit()), len(family))]
    return letters in GPU_FAMILIES


def problems_of_zones(data: RegionData, zones: Iterable[str]) -> Iterator[str]:
    """What is wrong with using `zones`: strangers to the region, and zones that are impaired."""
    for zone in zones:
        known = data.zones.get(zone)
        if known is None:
            yield (
                f"{zone} is no zone of {data.region}; it has {', '.join(data.zones)}{_age(data)}"
            )
        elif known.impaired is not None:
            yield (
                f"{zone} ({known.id}) is impaired: {known.impaired}; healthy: "
                f"{', '.join(data.healthy_zones)}{_age(data)}"
            )


def problems_of_types(
    data: RegionData, instance_types: Sequence[str], zones: Sequence[str] = ()
) -> Iterator[str]:
    """What is wrong with nodes of `instance_types` in `zones`, or in all healthy ones if empty.

    A type has to be offered in at least one of the zones, and each zone needs a type that it has:
    a node group with a zone that has none fails as Unsupported.
    """
    wanted = tuple(zones) or data.healthy_zones
    for one in instance_types:
        offered = data.zones_of(one)
        if not offered:
            yield f"{one} is not offered in {data.region}; {_alternatives(data, one)}{_age(data)}"
        elif not set(offered) & set(wanted):
            yield (
                f"{one} is offered in {', '.join(offered)}, not in {', '.join(wanted)}"
                f"{_assumed(data, one)}{_age(data)}"
            )
    if zones and all(data.zones_of(one) for one in instance_types):
        for zone in zones:
            if zone in data.zones and not any(zone in data.zones_of(one) for one in instance_types):
                there = [name for name, at in data.families.items() if zone in at]
                yield (
                    f"{zone} has none of {', '.join(instance_types)}; it has "
                    f"{', '.join(sorted(there))}{_age(data)}"
                )


def problems_of_services(data: RegionData, services: Iterable[str]) -> Iterator[str]:
    """Which of `services` the region lacks, and what to use instead."""
    for service in services:
        if service in data.missing_services:
            instead = data.missing_services[service]
            yield f"{data.region} has no {service}; instead: {instead}{_age(data)}"


def zones_for(data: RegionData, instance_types: Sequence[str]) -> tuple[str, ...]:
    """The healthy zones that have at least one of `instance_types`."""
    offered: set[str] = set().union(*(data.zones_of(one) for one in instance_types))
    return tuple(zone for zone in data.healthy_zones if zone in offered)


def _alternatives(data: RegionData, instance_type: str) -> str:
    gpu = has_gpu(instance_type)
    alike = [family for family in data.families if has_gpu(f"{family}.x") == gpu]
    near = difflib.get_close_matches(family_of(instance_type), alike, n=2, cutoff=0.5)
    kind = "GPU families" if gpu else "families"
    return f"{kind} there: {', '.join(near or sorted(alike)) or 'none'}"


def _assumed(data: RegionData, instance_type: str) -> str:
    return " (assumed)" if family_of(instance_type) in data.assumed else ""


def _age(data: RegionData) -> str:
    return f" (as of {data.recorded}; `falaj region refresh` asks the account)"
