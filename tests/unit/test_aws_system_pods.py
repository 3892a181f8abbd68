"""What runs the cluster has a place on the group that is always there, and some to spare."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.aws.instance_types import instance_types
from components.aws.regions import region_data
from components.aws.settings.aws import system_pool_of
from components.aws.settings.cluster import ClusterSettings, add_ons_of, version_of
from components.aws.system_pods import (
    FULL,
    KARPENTER,
    Amount,
    allocatable,
    asked,
    problems_of_system_group,
    system_pods,
)
from stacks.settings import SettingsError, parse, read_file

MAX_PODS = 110


def group(nodes: int, *types: str, karpenter: int = 2) -> list[str]:
    return list(
        problems_of_system_group(
            types, nodes=nodes, max_pods=MAX_PODS, karpenter_replicas=karpenter
        )
    )


def test_a_node_keeps_back_what_the_machine_image_reserves() -> None:
    # 2 cores: 60 + 10; 8 GiB: 7577 that the machine sees, less 255 + 11 × 110 and 100
    small = allocatable(instance_types()["m6i.large"], MAX_PODS)
    assert small == Amount(cpu_millis=1930, memory_mib=6012)
    # 8 cores: 60 + 10 + 10 + 10
    assert allocatable(instance_types()["m6i.2xlarge"], MAX_PODS).cpu_millis == 7910


def test_agents_count_on_every_node_and_karpenter_as_often_as_it_is_asked_for() -> None:
    one, two, none = asked(1, 2), asked(2, 2), asked(1, 0)
    each = sum(pod.cpu_millis for pod in system_pods().values() if pod.on_each_node)

    assert two.cpu_millis - one.cpu_millis == each
    assert one.cpu_millis - none.cpu_millis == 2 * system_pods()[KARPENTER].cpu_millis


def test_a_group_with_room_is_taken_and_one_that_is_full_is_refused_with_what_would_do() -> None:
    assert group(2, "m6i.large") == []
    (said,) = group(1, "m6i.large")
    assert said.startswith("min_nodes: is 1; on m6i.large that leaves 1.544 CPU and 4809 MiB")
    assert "(80% of what pods may have)" in said
    assert said.endswith("take 2, or a larger type")


def test_the_limit_is_the_share_and_no_more() -> None:
    """Two nodes that would hold it if they were filled to the brim are refused."""
    both = allocatable(instance_types()["m6i.large"], MAX_PODS).times(2)
    assert both.holds(asked(2, 4))
    assert not both.share(FULL).holds(asked(2, 4))
    assert len(group(2, "m6i.large", karpenter=4)) == 1
    assert group(2, "m6i.large", karpenter=3) == []


def test_every_type_that_the_group_may_be_made_of_must_do() -> None:
    (said,) = group(2, "m6i.xlarge", "c5.large")
    assert "c5.large" in said
    assert "m6i.xlarge" not in said


def test_memory_counts_as_well_as_cores() -> None:
    node = allocatable(instance_types()["c5.2xlarge"], MAX_PODS).share(FULL)
    wanted = asked(1, 9)

    assert node.cpu_millis > wanted.cpu_millis
    assert node.memory_mib < wanted.memory_mib
    assert len(group(1, "c5.2xlarge", karpenter=9)) == 1


@pytest.mark.parametrize("environment", ["test", "staging", "prod"])
def test_the_environments_that_make_a_cluster_have_room(environment: str) -> None:
    aws = read_file(environment).aws
    assert aws is not None
    system = system_pool_of(aws.node_pools)
    assert system is not None
    pool = aws.node_pools[system]
    karpenter = aws.elastic_nodes.replicas if aws.elastic_nodes is not None else 0
    assert group(pool.min_nodes, *pool.instance_types, karpenter=karpenter) == []


def test_a_full_group_is_refused_at_preview_by_its_key() -> None:
    aws: dict[str, Any] = {
        "account_id": "123456789012",
        "network": {},
        "node_pools": {
            "system": {
                "kind": "cpu",
                "instance_types": ["c5.large"],
                "min_nodes": 2,
                "max_nodes": 3,
            }
        },
        "elastic_nodes": {
            "image": "al2023@v20260904",
            "pools": {"general": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 3}},
        },
    }
    with pytest.raises(SettingsError) as caught:
        parse("prod", {"falaj:aws": json.dumps(aws)})
    (said,) = (one for one in caught.value.problems if "node_pools" in one)
    assert said.startswith("falaj:aws: node_pools.system.min_nodes: is 2; on c5.large")


def test_every_add_on_with_pods_is_in_the_table() -> None:
    cluster = ClusterSettings()
    version = version_of(cluster, region_data("me-central-1"))

    assert set(add_ons_of(cluster, version)) <= set(system_pods())
