"""What an environment may cost and draw on: figures from settings, quotas from the account."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from components.aws.cost import estimate
from components.aws.instance_types import instance_types
from components.aws.prices import Assumed, Line, Prices, prices, total, unpriced
from components.aws.quotas import demands
from components.aws.settings.aws import AwsSettings
from stacks import cost, quotas
from stacks.quotas import QuotasError, standings, told

AWS: dict[str, Any] = {
    "account_id": "123456789012",
    "network": {},
    "node_pools": {
        "system": {
            "kind": "cpu",
            "instance_types": ["m6i.large"],
            "min_nodes": 2,
            "max_nodes": 4,
            "disk_gib": 50,
        }
    },
    "elastic_nodes": {
        "image": "al2023@v20260904",
        "pools": {
            "general": {
                "kind": "cpu",
                "instance_types": ["m6i.xlarge", "m7i.2xlarge"],
                "max_nodes": 10,
                "spot_percent": 50,
            },
            "train": {"kind": "gpu", "instance_types": ["g5.2xlarge"], "max_nodes": 3},
        },
    },
    "gpu_budget": {"total": 3},
}


@pytest.fixture
def aws() -> AwsSettings:
    return AwsSettings.model_validate(AWS)


@pytest.fixture
def table() -> Prices:
    """Prices that are easy to reckon with; what is not named costs nothing, and nothing is used."""
    listed = prices()
    return listed.model_copy(
        update={
            "region_factor": 2.0,
            "spot_factor": 0.5,
            "hours_per_month": 100,
            "assumed": Assumed(**dict.fromkeys(Assumed.model_fields, 0.0)),
            "per_hour": {
                **dict.fromkeys(listed.per_hour, 0.0),
                "eks_cluster": 0.1,
                "eks_cluster_extended_support": 0.6,
                "interface_endpoint_zone": 0.0,
                "nat_gateway": 0.05,
                "network_firewall_endpoint": 0.4,
            },
            "per_month": {
                **dict.fromkeys(listed.per_month, 0.0),
                "gp3_gib": 0.01,
                "kms_key": 1.0,
            },
            "instances": {
                "m6i.large": 0.1,
                "m6i.xlarge": 0.2,
                "m7i.2xlarge": 0.4,
                "g5.2xlarge": 1.0,
            },
        }
    )


def sums(lines: list[Line]) -> dict[str, tuple[float, float | None]]:
    """Part → its cost, all its lines together."""
    parts = {line.part for line in lines}
    return {part: total(line for line in lines if line.part == part) for part in parts}


def test_the_estimate_counts_every_pool_at_its_smallest_and_largest(
    aws: AwsSettings, table: Prices
) -> None:
    lines = sums(estimate(aws, table))

    assert lines["cluster"] == pytest.approx((20, 20))
    # 20 for the hours and 1 for the disk, of each node
    assert lines["node_pools.system"] == pytest.approx((42, 84))
    # at its largest all nodes are of the dearest type, half of them spot: 80 × 0.75 + 2
    assert lines["elastic_nodes.pools.general"] == pytest.approx((0, 620))
    assert lines["elastic_nodes.pools.train"] == pytest.approx((0, 606))
    # a key's first two turns cost its price again
    assert lines["keys"] == pytest.approx((14, 42))
    assert total(estimate(aws, table)) == pytest.approx((76, 1372))


def test_a_network_costs_its_endpoints_in_each_zone_and_its_ways_out(table: Prices) -> None:
    dearer = {**table.per_hour, "interface_endpoint_zone": 0.01}
    table = table.model_copy(update={"per_hour": dearer})
    listed = {"egress": "allow-list", "allowed_domains": ["quay.io"]}
    found = {}
    for name, network in (("closed", {}), ("listed", listed)):
        settings = AwsSettings.model_validate(AWS | {"network": network})
        lines = [line for line in estimate(settings, table) if line.part == "network"]
        found[name] = {line.what.split(" ", 1)[1]: line.least for line in lines}

    # each of the endpoints costs 2 a zone, in two zones
    assert found["closed"]["endpoints in 2 zones"] % 4 == pytest.approx(0)
    assert found["closed"]["endpoints in 2 zones"] >= 4 * 14
    assert {what for what, usd in found["closed"].items() if usd} == {"endpoints in 2 zones"}
    assert found["listed"]["firewall endpoints"] == pytest.approx(160)
    assert found["listed"]["NAT gateways"] == pytest.approx(20)


def test_an_existing_cluster_and_extended_support_change_the_price_of_the_control_plane(
    aws: AwsSettings, table: Prices
) -> None:
    subnets = {"name": "theirs", "subnet_ids": {"me-central-1a": "subnet-0a"}}
    groups = {name: value for name, value in AWS.items() if name != "elastic_nodes"}
    joined = AwsSettings.model_validate(groups | {"existing_cluster": subnets})
    assert "cluster" not in {line.part for line in estimate(joined, table)}
    longer = AwsSettings.model_validate(AWS | {"cluster": {"support": "extended"}})
    assert estimate(longer, table)[0].least == pytest.approx(120)


def test_a_type_without_a_price_leaves_the_total_open(aws: AwsSettings, table: Prices) -> None:
    poorer = table.model_copy(update={"instances": {"m6i.large": 0.1, "m6i.xlarge": 0.2}})
    lines = sums(estimate(aws, poorer))

    assert lines["elastic_nodes.pools.general"][1] is None
    assert lines["elastic_nodes.pools.train"][1] is None
    assert total(estimate(aws, poorer)) == (pytest.approx(76), None)
    assert unpriced(estimate(aws, poorer)) == ["g5.2xlarge", "m7i.2xlarge"]


def test_a_database_of_a_class_without_a_price_leaves_the_total_open_too(table: Prices) -> None:
    dear = AwsSettings.model_validate(AWS | {"database": {"instance_class": "db.x2g.large"}})

    assert total(estimate(dear, table))[1] is None
    assert unpriced(estimate(dear, table)) == ["db.x2g.large"]


def test_the_table_of_prices_is_dated_and_knows_every_type_that_settings_may_name() -> None:
    table = prices()

    assert table.recorded.year >= 2026
    assert table.source
    assert instance_types().keys() == table.instances.keys()
    assert 1 < table.region_factor < 2
    assert table.approximate
    assert table.instances["g5.xlarge"] == pytest.approx(1.006)


def test_the_command_says_that_it_estimates_and_as_of_when() -> None:
    plain = CliRunner().invoke(cost.app, ["-s", "dev"])
    assert plain.exit_code == 0
    flat = " ".join(plain.stdout.split())
    assert "An estimate, not a quote. Prices as of 2026" in flat
    assert "which is approximate" in flat
    assert "Not counted: discounts and taxes; requests to S3" in flat
    as_json = json.loads(CliRunner().invoke(cost.app, ["-s", "dev", "--json"]).stdout)
    assert as_json["estimate"] is True
    assert len(as_json["not_counted"]) > 10
    assert as_json["assumed"]["stored_gib"] > 0
    assert {"node_pools.general", "node_pools.accelerated"} <= {
        part["part"] for part in as_json["parts"]
    }
    assert as_json["least"] < as_json["most"]


@pytest.mark.parametrize("app", [cost.app, quotas.app])
def test_an_environment_on_this_machine_has_neither_cost_nor_quotas(app: Any) -> None:
    ran = CliRunner().invoke(app, ["-s", "local"])
    assert "local is not on AWS" in str(ran.exception)


# --- quotas ---------------------------------------------------------------------------------------


def test_vcpus_are_counted_by_group_of_families_and_payment(aws: AwsSettings) -> None:
    needed = {one.code: one.needed for one in demands(aws)}

    assert needed == {
        "L-1216C47A": 4 * 2 + 5 * 8,  # system, and half of general on its largest type
        "L-34B43A08": 5 * 8,  # the other half
        "L-DB2E81BA": 3 * 8,  # train
        "L-6D54EA21": 1,
    }
    (gpus,) = (one for one in demands(aws) if one.code == "L-DB2E81BA")
    assert gpus.pools == ("elastic_nodes.pools.train",)


def client(allowed: dict[str, float | None]) -> Any:
    """Answers in order: quota code → what the account has, `None` where it was never set."""
    made = boto3.client(
        "service-quotas",
        region_name="me-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    stub = Stubber(made)
    for code, value in allowed.items():
        asked = {"ServiceCode": "eks" if code == "L-6D54EA21" else "ec2", "QuotaCode": code}
        if value is None:
            stub.add_client_error(
                "get_service_quota", "NoSuchResourceException", expected_params=asked
            )
            stub.add_response("get_aws_default_service_quota", {"Quota": {"Value": 30.0}}, asked)
        else:
            stub.add_response("get_service_quota", {"Quota": {"Value": value}}, asked)
    stub.activate()
    return made


def test_a_quota_that_is_too_small_comes_with_the_command_that_asks_for_more(
    aws: AwsSettings,
) -> None:
    allowed = {"L-1216C47A": 48.0, "L-34B43A08": 47.0, "L-DB2E81BA": 0.0, "L-6D54EA21": None}
    answers = {one.code: allowed[one.code] for one in demands(aws)}
    found = standings(demands(aws), client(answers))

    assert {one.demand.code: one.enough for one in found} == {
        "L-1216C47A": True,
        "L-34B43A08": True,
        "L-DB2E81BA": False,
        "L-6D54EA21": True,
    }
    text = "\n".join(told(found, "me-central-1"))
    assert "TOO SMALL  Running On-Demand G and VT instances (ec2 L-DB2E81BA): needs 24" in text
    assert "--region me-central-1 --service-code ec2 --quota-code L-DB2E81BA" in text
    assert "--desired-value 24" in text
    assert text.count("request-service-quota-increase") == 1


def test_the_command_fails_when_a_quota_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = client({"L-1216C47A": 8.0, "L-DB2E81BA": 0.0, "L-6D54EA21": 30.0})
    monkeypatch.setattr("boto3.client", lambda *_, **__: answering)
    ran = CliRunner().invoke(quotas.app, ["-s", "dev", "--json"])

    assert ran.exit_code == 1
    rows = {row["code"]: row for row in json.loads(ran.stdout)}
    assert (rows["L-DB2E81BA"]["enough"], rows["L-1216C47A"]["enough"]) == (False, True)


def test_an_account_that_refuses_is_an_error_of_one_line(aws: AwsSettings) -> None:
    refusing = boto3.client(
        "service-quotas",
        region_name="me-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    stub = Stubber(refusing)
    stub.add_client_error("get_service_quota", "AccessDeniedException", "no")
    stub.activate()
    with pytest.raises(QuotasError, match=r"does not say its quotas: .*AccessDenied"):
        standings(demands(aws), refusing)
