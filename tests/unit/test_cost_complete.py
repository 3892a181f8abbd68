"""The estimate leaves nothing out unsaid: held to the settings and to the resources of `prod`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from components.aws.cost import COUNTED, LEFT_OUT, NOT_COUNTED, estimate, keys_of
from components.aws.prices import prices, total
from components.aws.settings.aws import AwsSettings
from components.images import Lock, made_up
from components.platform import Platform
from stacks.settings import Settings, read_file

if TYPE_CHECKING:
    from conftest import Recording

FREE = re.compile(
    # what is said of a resource that is paid for, and what AWS charges nothing for
    r"aws:(accessanalyzer/analyzer|backup/(plan|regionSettings|restoreTestingSelection|selection)"
    r"|backup/(vaultLockConfiguration|vaultPolicy)|cfg/(deliveryChannel|recorderStatus)"
    r"|cloudwatch/(eventTarget|logStream|logSubscriptionFilter)|ebs/\w+|ecr/\w+Policy"
    r"|ec2/(defaultSecurityGroup|imageBlockPublicAccess|instanceMetadataDefaults|networkAcl)"
    r"|ec2/(routeTable(Association)?|securityGroup|serialConsoleAccess|subnet|vpc)"
    r"|eks/(accessEntry|accessPolicyAssociation|addon|podIdentityAssociation)"
    r"|elasticache/(subnetGroup|user|userGroup)|iam/\w+|kms/alias|lambda/(invocation|permission)"
    r"|lb/(listener|targetGroup)|route53/record"
    r"|msk/configuration|rds/(parameterGroup|subnetGroup)|route53/resolverFirewallConfig"
    r"|route53/resolverFirewallRule(Group(Association)?)?|route53/resolverQueryLogConfigAssociation"
    r"|s3/(accountPublicAccessBlock|bucket[A-Z]\w+)|secretsmanager/secret(Policy|Rotation)"
    r"|securityhub/(account|standardsControlAssociation)|sns/topic(Policy|Subscription)"
    r"|sqs/queuePolicy|vpc/securityGroup(Egress|Ingress)Rule):\w+"
)
BUILT: list[Recording] = []
"""`prod` on mocks, built once for all tests: they only read it."""


@pytest.fixture
def prod() -> Settings:
    return read_file("prod")


@pytest.fixture
def made(record: Callable[[Callable[[], object]], Recording], prod: Settings) -> Counter[str]:
    if not BUILT:
        nowhere = {"state_directory": "/nowhere", "runtime_directory": "/nowhere"}
        BUILT.append(record(lambda: Platform(prod, nowhere, lock=made_up(Lock()))))
    return Counter(one.type for one in BUILT[0].resources if one.type.startswith("aws:"))


def aws_of(settings: Settings) -> AwsSettings:
    assert settings.aws is not None
    return settings.aws


def test_everything_that_prod_is_made_of_is_counted_or_said_not_to_be(made: Counter[str]) -> None:
    strangers = {one for one in made if not FREE.fullmatch(one)} - {*COUNTED, *NOT_COUNTED}

    assert len(made) > 90
    assert strangers == set(), "add to COUNTED or NOT_COUNTED of components/aws/cost.py"
    assert not COUNTED.keys() & NOT_COUNTED.keys()
    assert not [one for one in {**COUNTED, **NOT_COUNTED} if FREE.fullmatch(one)]


def test_whatever_is_not_counted_says_why() -> None:
    assert all(len(reason) > 20 for reason in NOT_COUNTED.values())
    assert all(len(one) > 10 for one in LEFT_OUT)


def test_each_part_that_holds_a_type_has_a_line(prod: Settings) -> None:
    parts = {line.part for line in estimate(aws_of(prod), prices(), prod.teams)}

    for part in COUNTED.values():
        assert any(one == part or one.startswith(f"{part}.") for one in parts), part


@pytest.mark.parametrize(
    ("part", "type_"),
    [
        ("audit.trail", "aws:cloudwatch/logMetricFilter:LogMetricFilter"),
        ("image_registry", "aws:ecr/repository:Repository"),
        ("secrets", "aws:secretsmanager/secret:Secret"),
    ],
)
def test_the_estimate_counts_what_there_is(
    made: Counter[str], prod: Settings, part: str, type_: str
) -> None:
    numbers = [
        int(line.what.split(" ", 1)[0])
        for line in estimate(aws_of(prod), prices(), prod.teams, prod.feature_store.teams)
        if line.part == part and re.match(r"\d+ (metrics|images|secrets)", line.what)
    ]

    # RDS makes one secret more by itself
    assert numbers == [made[type_] + (part == "secrets")]


def test_the_estimate_counts_alarms_endpoints_and_keys(made: Counter[str], prod: Settings) -> None:
    lines = estimate(aws_of(prod), prices(), prod.teams)
    alarms = sum(int(line.what.split()[0]) for line in lines if " alarm" in line.what)
    (endpoints,) = (line.what for line in lines if " endpoints in " in line.what)

    assert alarms == made["aws:cloudwatch/metricAlarm:MetricAlarm"]
    # one of the two of S3 is a route, and costs nothing
    there = made["aws:ec2/vpcEndpoint:VpcEndpoint"] - 1
    assert endpoints == f"{there} endpoints in 2 zones"
    # the key of the state and two keys of the runner are the bootstrap's
    assert keys_of(aws_of(prod), prod.teams) == made["aws:kms/key:Key"] + 3


OFF: dict[str, Any] = {"mode": "off", "reason": "not here"}
SWITCHED_OFF: dict[str, dict[str, Any]] = {
    "a runner": {"runner": None},
    "the way in": {"ingress": OFF},
    "a cache": {"cache": {"kind": "none"}},
    "a stream": {"stream": {"kind": "none"}},
    "a standby of the database": {"database": {"multi_az": False}},
    "a pool of nodes": {"node_pools": {}},
    "elastic nodes": {"elastic_nodes": None},
    "keys of teams": {"keys": {"team_keys": False}},
    "scanning": {"image_registry": {"scanning": "basic"}},
    "a trail": {"audit": {"trail": OFF}},
    "a recorder": {"audit": {"recorder": OFF}},
    "detectors": {"audit": {"threats": OFF}},
    "a standard": {"audit": {"posture": {"standards": ["fsbp"]}}},
    "posture": {"audit": {"posture": OFF}},
    "backups": {"backup": OFF},
    "a second vault": {"backup": {"copy_account": None}},
    "shipping of logs": {"logs": {**OFF, "siem": {"kind": "none"}}},
    "a network": {"network": None},
    "a zone": {"network": {"zones": ["me-central-1a"]}},
}


@pytest.mark.parametrize("change", SWITCHED_OFF.values(), ids=SWITCHED_OFF)
def test_each_part_that_is_switched_off_lowers_the_sum(
    prod: Settings, change: dict[str, Any]
) -> None:
    before = aws_of(prod)
    sections = {
        name: getattr(before, name).model_copy(update=_parsed(getattr(before, name), value))
        if isinstance(value, dict) and value
        else value
        for name, value in change.items()
    }
    after = before.model_copy(update=sections)

    assert _most(after, prod) < _most(before, prod)


def _parsed(section: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes as fields of the section hold them; what is in a part beside them stays."""
    return {
        name: getattr(section, name).model_copy(update=value)
        if isinstance(value, dict) and "kind" not in value
        else value
        for name, value in changes.items()
    }


def _most(aws: AwsSettings, settings: Settings) -> float:
    _, most = total(estimate(aws, prices(), settings.teams))
    assert most is not None
    return most


def test_someone_else_s_database_and_a_team_change_the_sum(prod: Settings) -> None:
    aws = aws_of(prod)
    theirs = aws.database.model_copy(update={"existing": object()})

    assert _most(aws.model_copy(update={"database": theirs}), prod) < _most(aws, prod)
    fewer = prod.model_copy(update={"teams": dict(list(prod.teams.items())[:1])})
    assert _most(aws, fewer) < _most(aws, prod)


def test_a_firewall_and_each_way_out_cost_more(prod: Settings) -> None:
    aws = aws_of(prod)
    assert aws.network is not None
    listed = aws.network.model_copy(update={"egress": "allow-list"})
    one = listed.model_copy(update={"nat_gateways": "one"})
    sums = [
        _most(aws.model_copy(update={"network": way}), prod) for way in (aws.network, one, listed)
    ]

    assert sums == sorted(sums)
    assert len(set(sums)) == 3
