"""Which Kubernetes version a cluster gets, and which versions of its add-ons.

Data in `operators.yaml` and, for what EKS offers, in `regions`. Pure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

from components.aws.regions import RegionData
from components.section import Section

FILE = Path(__file__).with_name("operators.yaml")


class Operator(Section):
    """An operator and the Kubernetes versions that it supports."""

    version: str
    first: str
    last: str | None = None
    """`None` where the project names no newest version."""
    source: str

    def supports(self, kubernetes: str) -> bool:
        """Whether the operator's project says so."""
        asked = _parts(kubernetes)
        return _parts(self.first) <= asked and (self.last is None or asked <= _parts(self.last))


class Versions(Section):
    """What `operators.yaml` holds."""

    recorded: datetime.date
    operators: dict[str, Operator]
    add_ons: dict[str, dict[str, str]]
    """Kubernetes version → add-on → its version."""


@cache
def versions() -> Versions:
    """The operators and add-ons of the platform."""
    return Versions.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def newest(offered: Iterable[str], operators: Mapping[str, Operator]) -> str | None:
    """The newest version of `offered` that every operator supports; `None` where there is none."""
    good = [one for one in offered if all(each.supports(one) for each in operators.values())]
    return max(good, key=_parts, default=None)


def problems_of_version(
    version: str, data: RegionData, operators: Mapping[str, Operator]
) -> Iterator[str]:
    """Why a cluster cannot have `version`: the region lacks it, or an operator does."""
    if data.kubernetes_versions and version not in data.kubernetes_versions:
        yield (
            f"{version} has no standard support in {data.region} as of {data.recorded}; offered: "
            f"{', '.join(data.kubernetes_versions)}"
        )
    for name, operator in operators.items():
        if not operator.supports(version):
            yield (
                f"{version} is not supported by {name} {operator.version}, which supports "
                f"{operator.first} to {operator.last or 'any newer'} ({operator.source})"
            )


def problems_of_add_ons(version: str, pinned: Mapping[str, str]) -> Iterator[str]:
    """Why `pinned` add-ons do not fit a cluster of `version`."""
    proxy = pinned.get("kube-proxy", "").removeprefix("v")
    if proxy and _parts(proxy)[:2] > _parts(version):
        yield f"kube-proxy {pinned['kube-proxy']} is newer than the cluster, {version}"


def _parts(version: str) -> tuple[int, ...]:
    release = version.partition("-")[0]
    return tuple(int(part) for part in release.split(".") if part.isdigit())
