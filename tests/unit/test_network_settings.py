"""The plan of a network's addresses, and which settings are refused before anything is made."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.aws.settings.controllers import (
    BY_ROUTE,
    CONTROLLERS,
    services_called,
)
from components.aws.settings.network import (
    NetworkSettings,
    ZoneAddresses,
    address_plan,
    addresses_of_node,
    network_problems,
    nodes_that_fit,
    zones_of,
)
from stacks.settings import SettingsError, parse

REGION = "me-central-1"
A, B, C = (f"{REGION}{letter}" for letter in "abc")
POOLS = {
    "general": {"kind": "cpu", "instance_types": ["m6i.large"], "min_nodes": 1, "max_nodes": 4}
}
EXISTING: dict[str, Any] = {
    "vpc_id": "vpc-0a1b2c3d",
    "cidr": "10.8.0.0/16",
    "private_subnet_ids": {A: "subnet-0a", C: "subnet-0c"},
    "isolated_subnet_ids": {A: "subnet-1a", C: "subnet-1c"},
    "private_route_table_ids": ["rtb-0a1b"],
}


def problems_of(**aws: Any) -> list[str]:
    """What is wrong with an environment whose section `aws` holds this."""
    section = {
        "account_id": "123456789012",
        "existing_cluster": {"name": "falaj-dev"},
        "node_pools": POOLS,
        **aws,
    }
    try:
        parse("dev", {"falaj:place": "aws", "falaj:aws": json.dumps(section)})
    except SettingsError as error:
        return error.problems
    return []


def subnets_of(addresses: ZoneAddresses) -> list[IPv4Network]:
    return [addresses.private, addresses.isolated, addresses.firewall, addresses.public]


def test_the_default_network_is_planned_without_overlap_over_the_healthy_zones() -> None:
    plan = address_plan(NetworkSettings(), REGION)

    assert tuple(plan) == (A, C)  # b is impaired, as of the recorded data
    assert [str(one.private) for one in plan.values()] == ["10.64.0.0/18", "10.64.128.0/18"]
    assert [str(one.isolated) for one in plan.values()] == ["10.64.254.0/24", "10.64.252.0/24"]
    assert problems_of(network={}) == []


@given(
    prefix=st.integers(16, 22),
    isolated=st.integers(20, 26),
    private=st.none() | st.integers(18, 26),
    zones=st.sampled_from([(A, C), (A, B), (B, C), (A, B, C), (C, A)]),
)
def test_subnets_never_overlap_nor_leave_the_network(
    prefix: int, isolated: int, private: int | None, zones: tuple[str, ...]
) -> None:
    network = NetworkSettings(
        cidr=IPv4Network((10 << 24, prefix)),
        isolated_prefix=isolated,
        private_prefix=private,
        zones=zones,
    )
    if "do not fit" in "".join(network_problems(network, REGION, {})):
        return
    if set(zones) - {B} != set(zones):
        assert any("impaired" in one for one in network_problems(network, REGION, {}))
        return
    subnets = [one for zone in address_plan(network, REGION).values() for one in subnets_of(zone)]

    assert len(subnets) == 4 * len(zones)
    assert all(one.subnet_of(network.cidr) for one in subnets)
    for number, one in enumerate(subnets):
        assert not any(one.overlaps(other) for other in subnets[number + 1 :])


def test_one_zone_less_moves_no_other_subnet() -> None:
    every = address_plan(NetworkSettings(zones=(A, B, C)), REGION)
    fewer = address_plan(NetworkSettings(zones=(C, A)), REGION)

    assert set(fewer) == {A, C}
    assert all(every[zone] == addresses for zone, addresses in fewer.items())


def test_zones_are_numbered_whole_or_not() -> None:
    assert zones_of(REGION) == (A, B, C)


@pytest.mark.parametrize(("max_pods", "addresses"), [(8, 33), (16, 33), (17, 49), (110, 129)])
def test_a_node_takes_its_address_its_pods_in_blocks_and_one_block_in_reserve(
    max_pods: int, addresses: int
) -> None:
    assert addresses_of_node(max_pods) == addresses


def test_what_aws_and_load_balancers_take_is_not_left_to_nodes() -> None:
    assert nodes_that_fit(IPv4Network("10.0.0.0/24"), 16) == (256 - 5 - 100) // 33


def test_a_network_too_small_for_its_pods_is_refused_with_the_sizes() -> None:
    pools = {"large": {**POOLS["general"], "max_nodes": 40}}
    (problem,) = problems_of(network={"cidr": "10.9.0.0/20"}, node_pools=pools)

    # 2 zones: with one lost the other holds all 40 nodes and the one that is renewed
    assert problem.startswith("falaj:aws: network.cidr: a private subnet of /22 holds 7 nodes")
    assert "each of the other 1 must hold 41" in problem
    assert problems_of(network={"cidr": "10.9.0.0/16"}, node_pools=pools) == []
    assert problems_of(network={"cidr": "10.9.0.0/20", "max_pods": 8}, node_pools=POOLS) == []


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"reserved_cidrs": ["10.64.32.0/20"]}, "network: cidr: 10.64.0.0/16 overlaps reserved"),
        ({"cidr": "172.20.0.0/16"}, "network: cidr: 172.20.0.0/16 overlaps service_cidr"),
        ({"reserved_cidrs": ["172.16.0.0/12"]}, "network: service_cidr: 172.20.0.0/16 overlaps"),
        ({"cidr": "8.8.0.0/16"}, "network: cidr: 8.8.0.0/16 is no private range"),
        ({"cidr": "10.0.0.0/8"}, "network: cidr: 10.0.0.0/8 is no network of /16 to /22"),
        ({"cidr": "10.0.0.0/24"}, "network: cidr: 10.0.0.0/24 is no network of /16 to /22"),
        ({"cidr": "10.0.0.1/16"}, "network.cidr: "),
        ({"service_cidr": "172.20.0.0/28"}, "service_cidr: 172.20.0.0/28 is no network of /12"),
        ({"private_prefix": 17}, "network.private_prefix: 3 private subnets of /17"),
        ({"zones": [A]}, "network: zones: are 1; a cluster needs 2"),
        ({"zones": [A, A, C]}, f"network: zones: names {A} twice"),
        ({"zones": [A, "eu-west-1a"]}, "network.zones: eu-west-1a is no zone of me-central-1"),
        ({"zones": [A, B]}, f"network.zones: {B} (mec1-az2) is impaired"),
        ({"egress": "allow-list"}, "network: allowed_domains: is empty"),
        ({"allowed_domains": ["github.com"]}, "network: allowed_domains: has no meaning"),
        ({"egress": "allow-list", "allowed_domains": [".com"]}, "network.allowed_domains.0: "),
        ({"egress": "allow-list", "allowed_domains": ["*.a.com"]}, "network.allowed_domains.0: "),
        ({"egress": "everything"}, "network.egress: "),
        ({"log_days": 90}, "network.log_days: "),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_naming_the_setting(
    network: dict[str, Any], words: str
) -> None:
    found = problems_of(network=network)

    assert any(words in problem for problem in found), found


def test_all_that_is_wrong_with_a_network_comes_in_one_list() -> None:
    found = problems_of(
        network={"cidr": "10.64.0.0/16", "reserved_cidrs": ["10.0.0.0/8"], "zones": [A]},
        node_pools={"general": {**POOLS["general"], "min_nodes": 9}},
    )

    assert {one.split(":")[1] for one in found} >= {"aws.network", "aws.node_pools.general"}
    assert len(found) >= 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vpc_id": "network-1"}, "existing_network.vpc_id: "),
        ({"private_subnet_ids": {A: "subnet-0a", C: "rtb-1"}}, "private_subnet_ids.me-central-1c"),
        ({"private_subnet_ids": {A: "subnet-0a"}}, "existing_network.private_subnet_ids: "),
        ({"isolated_subnet_ids": {A: "subnet-1a", B: "subnet-1b"}}, "isolated_subnet_ids: are not"),
        ({"isolated_subnet_ids": {A: "subnet-0a", C: "subnet-1c"}}, "subnet-0a is named twice"),
        ({"private_route_table_ids": []}, "private_route_table_ids: are needed for the S3"),
        ({"endpoints": ["ecr.api"]}, "endpoint_security_group_id: is missing"),
        (
            {"endpoints": ["ecr-api"], "endpoint_security_group_id": "sg-0a"},
            "existing_network.endpoints: ecr-api is needed by nothing; allowed: autoscaling",
        ),
        (
            {
                "private_subnet_ids": {A: "subnet-0a", "eu-west-1a": "subnet-0c"},
                "isolated_subnet_ids": {A: "subnet-1a", "eu-west-1a": "subnet-1c"},
            },
            "existing_network.private_subnet_ids: eu-west-1a is no zone of me-central-1",
        ),
    ],
)
def test_a_network_that_exists_is_checked_by_the_form_of_what_is_named(
    change: dict[str, Any], words: str
) -> None:
    assert problems_of(existing_network=EXISTING) == []
    found = problems_of(existing_network=EXISTING | change)

    assert any(words in problem for problem in found), found


def test_an_environment_says_where_its_nodes_are() -> None:
    (problem,) = problems_of()

    assert problem.startswith("falaj:aws: existing_cluster.subnet_ids: is empty, and no network")
    assert "falaj:aws: network: is missing; or name existing_network or existing_cluster" in (
        problems_of(existing_cluster=None)
    )


def test_every_service_that_a_private_cluster_needs_is_called_by_somebody() -> None:
    assert set(services_called()) >= {
        *("ec2", "ecr.api", "ecr.dkr", "s3", "sts", "ssm", "sqs", "eks", "eks-auth", "logs", "kms"),
        *("elasticloadbalancing", "autoscaling", "secretsmanager", "monitoring"),
        *("ssmmessages", "ec2messages"),
    }
    assert set(BY_ROUTE) <= set(services_called())


def test_a_service_is_reached_or_switched_off_but_never_both() -> None:
    for controller in CONTROLLERS:
        assert not set(controller.services) & controller.unreachable.keys(), controller.name
        assert all(controller.unreachable.values()), controller.name
    # services of no region, or of another one: no endpoint here could reach them
    elsewhere = {"iam", "pricing", "route53", "organizations", "shield", "waf-regional"}
    assert not elsewhere & set(services_called())


def test_every_controller_is_named_once() -> None:
    names = [controller.name for controller in CONTROLLERS]

    assert len(names) == len(set(names))
