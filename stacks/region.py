"""`falaj region`: what is known of a region, and how that is read anew from an account.

The data itself and the checks against it are in `components/aws/regions`.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import yaml

if TYPE_CHECKING:
    from components.aws.regions import RegionData

app = typer.Typer(
    no_args_is_help=True,
    help="What a region offers: zones, instance families, versions.",
)

REGION = Annotated[str, typer.Option("--region", "-r", help="The region, as AWS names it.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


class RegionError(Exception):
    """A region is not known, or the account does not answer for it."""


@app.command()
def show(region: REGION = "me-central-1", as_json: AS_JSON = False) -> None:
    """Print what is known of a region, and since when.

    Example: falaj region show
    """
    data = _known(region)
    if as_json:
        typer.echo(json.dumps(data.model_dump(mode="json"), indent=2))
        return
    typer.echo(f"{data.region}, {data.title}: as of {data.recorded}")
    for name, zone in data.zones.items():
        families = sorted(family for family, zones in data.families.items() if name in zones)
        typer.echo(f"  {name} ({zone.id}): {zone.impaired or 'healthy'}")
        typer.echo(f"    {' '.join(families)}")
    for service, instead in data.missing_services.items():
        typer.echo(f"  no {service}: {instead}")
    for version, ends in data.kubernetes_versions.items():
        typer.echo(f"  Kubernetes {version} until {ends}")
    if data.assumed:
        typer.echo(f"  assumed, not read from an account: zones of {', '.join(data.assumed)}")


@app.command()
def refresh(region: REGION = "me-central-1", as_json: AS_JSON = False) -> None:
    """Read zones, instance types and Kubernetes versions of a region from the account.

    Needs credentials that may call ec2:DescribeAvailabilityZones,
    ec2:DescribeInstanceTypeOfferings and eks:DescribeClusterVersions. What people wrote into the
    file, such as missing services and impaired zones, is kept.

    Example: falaj region refresh
    """
    from components.aws.regions import DIRECTORY, region_data

    before = _known(region)
    after = asked(before, _clients(region), datetime.datetime.now(datetime.UTC).date())
    write(DIRECTORY / f"{region}.yaml", after)
    region_data.cache_clear()
    changes = differences(before, after)
    if as_json:
        typer.echo(json.dumps({"region": region, "changes": changes}, indent=2))
        return
    for change in changes:
        typer.echo(change)
    typer.echo(f"{region} is as of {after.recorded}: {len(changes)} changes; read `git diff`")


def asked(data: RegionData, client: Callable[[str], Any], today: datetime.date) -> RegionData:
    """`data` with what the account says; `client` gives the client of a service.

    A zone that AWS does not call available is impaired. One that people called impaired stays so,
    because a zone may answer long before it is whole. Raises `RegionError`.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from components.aws.regions import RegionData

    try:
        zones = _zones(client("ec2"), data)
        offered = _offerings(client("ec2"))
        versions = _versions(client("eks"), today)
    except (BotoCoreError, ClientError) as error:
        raise RegionError(f"{data.region} does not answer: {error}") from error
    families: dict[str, set[str]] = {}
    sizes: dict[str, list[str]] = {}
    for one, places in offered.items():
        family, _, size = one.partition(".")
        families.setdefault(family, set()).update(places)
        sizes.setdefault(family, []).append(size)
    return RegionData.model_validate(
        data.model_dump()
        | {
            "recorded": today,
            "source": "the account: DescribeAvailabilityZones, DescribeInstanceTypeOfferings, "
            "DescribeClusterVersions; what people wrote of missing services and impaired zones",
            "zones": zones,
            "assumed": (),
            "families": {name: tuple(sorted(families[name])) for name in sorted(families)},
            "sizes": {name: tuple(sorted(sizes[name])) for name in sorted(sizes)},
            "exceptions": {
                one: tuple(sorted(places))
                for one, places in sorted(offered.items())
                if places != families[one.partition(".")[0]]
            },
            "kubernetes_versions": versions,
        }
    )


def write(path: Path, data: RegionData) -> None:
    """Writes the file of a region by rename, so that no reader sees half of one."""
    content = {
        name: value for name, value in data.model_dump(mode="json").items() if value not in ([], {})
    }
    content["recorded"] = data.recorded
    content["kubernetes_versions"] = data.kubernetes_versions
    for zone in content["zones"].values():
        if zone["impaired"] is None:
            del zone["impaired"]
    comments = "# Written by `falaj region refresh`; see components/aws/regions/__init__.py.\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(comments + yaml.safe_dump(content, sort_keys=False, width=100))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def differences(before: RegionData, after: RegionData) -> list[str]:
    """What a person should know of a refresh, a line each."""
    lines = []
    for name in sorted(before.zones.keys() | after.zones.keys()):
        old, new = before.zones.get(name), after.zones.get(name)
        if old != new:
            lines.append(f"zone {name}: {_told(old)} → {_told(new)}")
    for name in sorted(before.families.keys() | after.families.keys()):
        was, now = before.families.get(name, ()), after.families.get(name, ())
        if was != now:
            lines.append(f"family {name}: {', '.join(was) or 'none'} → {', '.join(now) or 'none'}")
    for name in sorted(before.kubernetes_versions.keys() ^ after.kubernetes_versions.keys()):
        gone = name in before.kubernetes_versions
        lines.append(f"Kubernetes {name}: {'no longer offered' if gone else 'is offered'}")
    return lines


def _told(zone: Any) -> str:
    return "unknown" if zone is None else f"{zone.id} {zone.impaired or 'healthy'}"


def _known(region: str) -> RegionData:
    from components.aws.regions import known_regions, region_data

    data = region_data(region)
    if data is None:
        raise RegionError(
            f"nothing is known of {region}; known: {', '.join(known_regions())}. Copy the file of "
            "one in components/aws/regions, change what it says, and refresh it"
        )
    return data


def _clients(region: str) -> Callable[[str], Any]:
    import boto3

    return cast("Callable[[str], Any]", boto3.Session(region_name=region).client)


def _zones(ec2: Any, data: RegionData) -> dict[str, dict[str, str]]:
    answer = ec2.describe_availability_zones(
        Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}]
    )
    zones = {}
    for zone in sorted(answer["AvailabilityZones"], key=lambda one: str(one["ZoneName"])):
        name = zone["ZoneName"]
        zones[name] = {"id": zone["ZoneId"]}
        written = [one.impaired for one in data.zones.values() if one.id == zone["ZoneId"]]
        if zone["State"] != "available":
            zones[name]["impaired"] = f"AWS calls it {zone['State']}"
        if written and written[0] is not None:
            zones[name]["impaired"] = written[0]
    return zones


def _offerings(ec2: Any) -> dict[str, set[str]]:
    offered: dict[str, set[str]] = {}
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone"
    )
    for page in pages:
        for one in page["InstanceTypeOfferings"]:
            offered.setdefault(one["InstanceType"], set()).add(one["Location"])
    return offered


def _versions(eks: Any, today: datetime.date) -> dict[str, datetime.date]:
    versions = {}
    for page in eks.get_paginator("describe_cluster_versions").paginate():
        for one in page["clusterVersions"]:
            ends = one["endOfStandardSupportDate"].date()
            if ends > today:
                versions[one["clusterVersion"]] = ends
    return dict(sorted(versions.items(), key=lambda item: item[1]))
