"""What a region offers: settings are checked against it, and an account can bring it up to date."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.stub import Stubber
from typer.testing import CliRunner

from components.aws.regions import (
    RegionData,
    family_of,
    has_gpu,
    known_regions,
    problems_of_services,
    problems_of_types,
    problems_of_zones,
    region_data,
    zones_for,
)
from components.residency import IN_COUNTRY_REGIONS
from stacks.region import RegionError, app, asked, differences, write

TODAY = datetime.date(2026, 12, 1)


@pytest.fixture
def uae() -> RegionData:
    data = region_data("me-central-1")
    assert data is not None
    return data


@pytest.mark.parametrize("region", IN_COUNTRY_REGIONS)
def test_every_region_of_the_country_has_data_that_says_when_and_whence(region: str) -> None:
    data = region_data(region)
    assert data is not None
    assert data.region == region
    assert data.recorded.year >= 2026
    assert data.source
    for family, zones in data.families.items():
        assert set(zones) <= set(data.zones), family
    for zone in data.zones:
        assert zone[:-1] == region


def test_nothing_is_known_of_a_region_without_a_file() -> None:
    assert region_data("eu-west-1") is None
    assert "me-central-1" in known_regions()


def test_there_is_a_healthy_pair_of_zones_without_the_impaired_one(uae: RegionData) -> None:
    assert len(uae.zones) == 3
    assert len(uae.healthy_zones) == 2
    assert all(uae.zones[zone].impaired is None for zone in uae.healthy_zones)


@pytest.mark.parametrize(
    ("one", "gpu"),
    [("g5.xlarge", True), ("p4d.24xlarge", True), ("trn1.2xlarge", True), ("inf2.xlarge", True),
     ("gr6.4xlarge", True), ("m6i.large", False), ("r7i.large", False), ("im4gn.large", False)],
)  # fmt: skip
def test_accelerators_are_told_by_the_family(one: str, *, gpu: bool) -> None:
    assert has_gpu(one) is gpu
    assert family_of(one) == one.split(".", maxsplit=1)[0]


def test_a_gpu_that_the_region_lacks_is_refused_with_those_that_it_has(uae: RegionData) -> None:
    (said,) = problems_of_types(uae, ["p4d.24xlarge"])
    assert said.startswith("p4d.24xlarge is not offered in me-central-1")
    assert "g5, g6" in said
    assert "falaj region refresh" in said
    assert list(problems_of_types(uae, ["g5.xlarge"])) == []


def test_a_type_is_refused_in_a_zone_that_lacks_it(uae: RegionData) -> None:
    (said, _) = problems_of_types(uae, ["g5.xlarge"], ["me-central-1b"])
    assert "g5.xlarge is offered in me-central-1a, me-central-1c, not in me-central-1b" in said
    assert "assumed" in said


def test_each_zone_of_a_pool_needs_a_type_that_it_has(uae: RegionData) -> None:
    zones = ["me-central-1a", "me-central-1b"]
    (said,) = problems_of_types(uae, ["g5.xlarge"], zones)
    assert said.startswith("me-central-1b has none of g5.xlarge; it has c5")
    assert list(problems_of_types(uae, ["g5.xlarge", "m6i.large"], zones)) == []


def test_zones_are_refused_that_are_strange_or_impaired(uae: RegionData) -> None:
    strange, impaired = problems_of_zones(uae, ["me-central-1d", "me-central-1b", "me-central-1a"])
    assert "me-central-1d is no zone of me-central-1; it has me-central-1a" in strange
    assert "me-central-1b (mec1-az2) is impaired" in impaired
    assert "healthy: me-central-1a, me-central-1c" in impaired


def test_a_service_that_is_missing_is_refused_with_what_to_use_instead(uae: RegionData) -> None:
    assert list(problems_of_services(uae, ["s3", "eks"])) == []
    (said,) = problems_of_services(uae, ["s3", "app-mesh"])
    assert "no app-mesh; instead: Istio" in said


def test_the_zones_of_a_pool_are_the_healthy_ones_that_have_its_types(uae: RegionData) -> None:
    without_a = uae.model_copy(
        update={"families": {"g5": ("me-central-1b", "me-central-1c"), "m6i": tuple(uae.zones)}}
    )
    assert zones_for(without_a, ["g5.xlarge"]) == ("me-central-1c",)
    assert zones_for(without_a, ["m6i.large"]) == ("me-central-1a", "me-central-1c")


def test_a_size_that_no_zone_has_is_not_offered(uae: RegionData) -> None:
    data = uae.model_copy(
        update={"sizes": {"g5": ("xlarge",)}, "exceptions": {"m6i.large": ("me-central-1c",)}}
    )
    assert data.zones_of("g5.48xlarge") == ()
    assert data.zones_of("g5.xlarge") == uae.zones_of("g5.xlarge")
    assert data.zones_of("m6i.large") == ("me-central-1c",)
    assert data.zones_of("m6i.xlarge") == uae.zones_of("m6i.xlarge")


def test_the_command_line_shows_a_region_and_names_those_that_are_known() -> None:
    shown = CliRunner().invoke(app, ["show", "--json"])
    assert json.loads(shown.stdout)["zones"]["me-central-1a"]["id"] == "mec1-az1"
    plain = CliRunner().invoke(app, ["show"]).stdout
    assert "me-central-1b (mec1-az2): destroyed in part" in plain
    assert "assumed, not read from an account: zones of g5, g6" in plain
    unknown = CliRunner().invoke(app, ["show", "--region", "eu-west-1"])
    assert isinstance(unknown.exception, RegionError)
    assert "nothing is known of eu-west-1; known: me-central-1" in str(unknown.exception)


# --- refreshed from an account --------------------------------------------------------------------


def account(*, zones: list[dict[str, str]], offerings: list[tuple[str, str]]) -> Any:
    """Clients that answer once each as AWS would; botocore checks requests and answers."""
    made = {}
    for service in ("ec2", "eks"):
        made[service] = boto3.client(
            service, region_name="me-central-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
    ec2, eks = Stubber(made["ec2"]), Stubber(made["eks"])
    ec2.add_response(
        "describe_availability_zones",
        {"AvailabilityZones": zones},
        {"Filters": [{"Name": "zone-type", "Values": ["availability-zone"]}]},
    )
    pages = [offerings[:2], offerings[2:]]
    for number, page in enumerate(pages):
        ec2.add_response(
            "describe_instance_type_offerings",
            {
                "InstanceTypeOfferings": [
                    {"InstanceType": one, "LocationType": "availability-zone", "Location": zone}
                    for one, zone in page
                ]
            }
            | ({"NextToken": "more"} if number + 1 < len(pages) else {}),
            {"LocationType": "availability-zone"} | ({"NextToken": "more"} if number else {}),
        )
    eks.add_response(
        "describe_cluster_versions",
        {
            "clusterVersions": [
                {"clusterVersion": version, "endOfStandardSupportDate": ends}
                for version, ends in (
                    ("1.36", datetime.datetime(2027, 8, 1, tzinfo=datetime.UTC)),
                    ("1.33", datetime.datetime(2026, 7, 29, tzinfo=datetime.UTC)),
                    ("1.35", datetime.datetime(2027, 3, 27, tzinfo=datetime.UTC)),
                )
            ]
        },
        {},
    )
    ec2.activate()
    eks.activate()
    return made.__getitem__


ZONES = [
    {"ZoneName": "me-central-1c", "ZoneId": "mec1-az3", "State": "constrained"},
    {"ZoneName": "me-central-1b", "ZoneId": "mec1-az2", "State": "available"},
    {"ZoneName": "me-central-1a", "ZoneId": "mec1-az1", "State": "available"},
]
OFFERINGS = [
    ("g6.xlarge", "me-central-1a"),
    ("m6i.large", "me-central-1a"),
    ("m6i.large", "me-central-1b"),
    ("m6i.xlarge", "me-central-1a"),
]


def test_a_refresh_takes_what_the_account_says_and_keeps_what_people_wrote(uae: RegionData) -> None:
    data = asked(uae, account(zones=ZONES, offerings=OFFERINGS), TODAY)

    assert (data.recorded, data.assumed) == (TODAY, ())
    assert data.families == {
        "g6": ("me-central-1a",),
        "m6i": ("me-central-1a", "me-central-1b"),
    }
    assert data.exceptions == {"m6i.xlarge": ("me-central-1a",)}
    assert data.sizes["m6i"] == ("large", "xlarge")
    assert list(data.kubernetes_versions) == ["1.35", "1.36"]
    assert data.zones["me-central-1b"] == uae.zones["me-central-1b"]
    assert data.zones["me-central-1c"].impaired == "AWS calls it constrained"
    assert data.missing_services == uae.missing_services


def test_a_refreshed_file_reads_as_what_was_written_and_leaves_nothing_beside_it(
    uae: RegionData, tmp_path: Path
) -> None:
    data = asked(uae, account(zones=ZONES, offerings=OFFERINGS), TODAY)
    path = tmp_path / "me-central-1.yaml"
    path.write_text("old")
    write(path, data)

    assert RegionData.model_validate(yaml.safe_load(path.read_text())) == data
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_command_line_refreshes_the_file_of_the_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = account(zones=ZONES, offerings=OFFERINGS)
    monkeypatch.setattr("components.aws.regions.DIRECTORY", tmp_path)
    monkeypatch.setattr("stacks.region._clients", lambda region: answering)
    ran = CliRunner().invoke(app, ["refresh", "--json"])

    assert ran.exit_code == 0
    assert "family g5: me-central-1a, me-central-1c → none" in json.loads(ran.stdout)["changes"]
    written = yaml.safe_load((tmp_path / "me-central-1.yaml").read_text())
    assert written["families"]["g6"] == ["me-central-1a"]


def test_a_refresh_says_what_changed(uae: RegionData) -> None:
    told = differences(uae, asked(uae, account(zones=ZONES, offerings=OFFERINGS), TODAY))
    assert "family g5: me-central-1a, me-central-1c → none" in told
    assert "Kubernetes 1.36: is offered" in told
    assert "Kubernetes 1.34: no longer offered" in told
    assert any(line.startswith("zone me-central-1c: mec1-az3 healthy →") for line in told)
    assert differences(uae, uae) == []


def test_an_account_that_refuses_is_an_error_of_one_line(uae: RegionData) -> None:
    client = boto3.client(
        "ec2", region_name="me-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    stub = Stubber(client)
    stub.add_client_error("describe_availability_zones", "UnauthorizedOperation", "no")
    stub.activate()
    with pytest.raises(RegionError, match=r"me-central-1 does not answer: .*Unauthorized"):
        asked(uae, lambda service: client, TODAY)
