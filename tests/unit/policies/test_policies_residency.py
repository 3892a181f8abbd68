"""What the cases of the residency rules do not show: parameters, names of AWS, types by the SDK."""

from __future__ import annotations

import importlib.util
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rule_cases import KEY_ARN, PROVIDER, outcome, resource

from policies.common.arns import arn_of, host_of, is_host_among, is_region, region_of_host
from policies.common.exceptions import today
from policies.common.places import found, leaves, shown
from policies.common.resources import UNKNOWN
from policies.residency.global_types import GLOBAL_TYPES

BOTH = ["me-central-1", "eu-west-1"]
_TYPE = re.compile(r"super\(\w+, __self__\)\.__init__\(\s+'(aws:[^']+)'")


def test_types_in_no_region_are_those_whose_inputs_have_none() -> None:
    spec = importlib.util.find_spec("pulumi_aws")
    assert spec is not None
    assert spec.origin is not None
    without = set()
    for module in Path(spec.origin).parent.glob("*/*.py"):
        if module.name.startswith(("_", "get_")):
            continue
        text = module.read_text()
        inputs = text.partition("\nclass _")[0]
        if "\n                 region: pulumi.Input" not in inputs and (kind := _TYPE.search(text)):
            without.add(kind[1])

    assert without == GLOBAL_TYPES


def test_a_second_region_may_be_allowed() -> None:
    cluster = resource("aws:rds/cluster:Cluster", "one", {"globalClusterIdentifier": "all"})
    queue = resource(
        "aws:sqs/queue:Queue", "one", {"kmsKeyArn": KEY_ARN.replace("me-central-1", "eu-west-1")}
    )

    assert outcome("global-database-is-not-used", cluster) == "failed"
    assert outcome("global-database-is-not-used", cluster, allowedRegions=BOTH) == "passed"
    assert outcome("arn-region-is-allowed", queue) == "failed"
    assert outcome("arn-region-is-allowed", queue, allowedRegions=BOTH) == "passed"


def test_a_type_in_no_region_may_be_listed() -> None:
    web = resource("aws:cloudfront/distribution:Distribution", "one", {})
    name = "type-without-region-is-listed"

    assert outcome(name, web) == "failed"
    assert outcome(name, web, allowedGlobalTypes=["aws:cloudfront/*"]) == "passed"


def test_messages_may_go_to_an_account_that_is_listed() -> None:
    target = resource(
        "aws:cloudwatch/eventTarget:EventTarget",
        "one",
        {"arn": "arn:aws:sqs:me-central-1:999999999999:jobs"},
        provider=PROVIDER,
    )
    name = "event-and-log-target-stays-in-country"

    assert outcome(name, target, allowedAccounts=["999999999999"]) == "passed"
    assert outcome(name, target, allowedAccounts=["111111111111"]) == "failed"


@pytest.mark.parametrize(
    ("text", "region", "account"),
    [
        (KEY_ARN, "me-central-1", "123456789012"),
        ("arn:aws-us-gov:iam::1:role/a:b", "", "1"),
        ("arn:aws:s3:::store/a:b", "", ""),
    ],
)
def test_an_arn_is_read_by_its_fields(text: str, region: str, account: str) -> None:
    arn = arn_of(text)

    assert arn is not None
    assert (arn.region, arn.account) == (region, account)


@pytest.mark.parametrize("value", ["arn:aws:s3", "store", "", None, 1, UNKNOWN, "arn:::::"])
def test_what_is_no_arn_is_none(value: Any) -> None:
    assert arn_of(value) is None


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.me-central-1.amazonaws.com/1/jobs", "me-central-1"),
        ("1.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://store.s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://sqs.EU-WEST-1.amazonaws.com.", "eu-west-1"),
        ("https://a.lambda-url.ap-southeast-2.on.aws/", "ap-southeast-2"),
        ("jdbc:redshift://a.b.eusc-de-east-1.redshift.amazonaws.eu:5439/db", "eusc-de-east-1"),
        ("https://iam.amazonaws.com", None),
        ("https://eu-west-1.bank.ae", None),
        ("https://sqs.eu-west-1.amazonaws.com@bank.ae", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_a_host_of_aws_names_its_region(url: str, region: str | None) -> None:
    assert region_of_host(host_of(url) or "") == region


@pytest.mark.parametrize(
    ("value", "expected"),
    [("me-central-1", True), ("eu-west-1a", False), ("europe-west3", False), (UNKNOWN, False)],
)
def test_regions_have_a_look(value: Any, expected: bool) -> None:
    assert is_region(value) is expected


def test_a_host_is_among_those_below_a_domain_but_not_beside_it() -> None:
    assert is_host_among("a.b.bank.ae", ["*.bank.ae"])
    assert is_host_among("BANK.ae.", ["bank.ae"])
    assert not is_host_among("evilbank.ae", ["*.bank.ae"])
    assert not is_host_among("", ["*.bank.ae"])


def test_places_are_found_through_lists_and_told_as_far_as_they_are_known() -> None:
    value = {"a": [{"b": "one"}, {"b": None}, UNKNOWN, {"c": "two"}], "d": {"b": UNKNOWN}}

    assert [(shown(place), one) for place, one in found(value, "a.b")] == [
        ("a[0].b", "one"),
        ("a[2]", UNKNOWN),
    ]
    assert [(shown(place), one) for place, one in leaves(value)] == [
        ("a[0].b", "one"),
        ("a[2]", UNKNOWN),
        ("a[3].c", "two"),
        ("d.b", UNKNOWN),
    ]


@pytest.mark.parametrize(
    ("mode", "days", "expected"),
    [
        ("approved-foreign-copy", 30, "not applicable"),
        ("approved-foreign-copy", 0, "not applicable"),
        ("approved-foreign-copy", -1, "failed"),
        ("approved-foreign-copy", 366, "failed"),
        ("in-country", 30, "failed"),
    ],
)
def test_an_approval_of_a_copy_abroad_is_in_force_for_a_year_at_most(
    mode: str, days: int, expected: str
) -> None:
    approval = {
        "dataClass": "internal",
        "region": "eu-central-1",
        "reference": "DPO-1",
        "expires": str(today() + timedelta(days=days)),
    }
    approvals: Any = {"mode": mode, "approvedForeignCopies": [approval]}

    assert outcome("foreign-copy-is-approved-and-unexpired", PROVIDER, **approvals) == expected
