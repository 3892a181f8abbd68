"""The network on the real engine: as planned, as changed, and as left behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from stacks.offline import Offline, offline

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]
QUIETLY = ("--yes", "--skip-preview")
A, C = "me-central-1a", "me-central-1c"


class Environment:
    """`dev` in a network of its own."""

    def __init__(self, stack: Offline, succeed: Succeed) -> None:
        self.stack, self._succeed = stack, succeed

    def settings(self, network: dict[str, Any], **aws: Any) -> None:
        content = yaml.safe_load(self.stack.stack_file.read_text())
        section = content["config"]["falaj:aws"]
        section["existing_cluster"].pop("subnet_ids", None)
        section |= {"network": network, **aws}
        self.stack.stack_file.write_text(yaml.safe_dump(content))

    def up(self, *more: str) -> None:
        self._succeed(self.stack.pulumi("up", *QUIETLY, *more))

    def resources(self) -> list[dict[str, Any]]:
        state = json.loads(self._succeed(self.stack.pulumi("stack", "export")).stdout)
        found: list[dict[str, Any]] = state["deployment"].get("resources", [])
        return found

    def steps(self) -> dict[str, str]:
        """Name → what a preview would do to it, where it is not left alone."""
        report = json.loads(self._succeed(self.stack.pulumi("preview", "--json")).stdout)
        return {
            step["urn"].rpartition("::")[2]: step["op"]
            for step in report["steps"]
            if step["op"] not in ("same", "read") and "::pulumi:pulumi:Stack::" not in step["urn"]
        }


@pytest.fixture
def environment(succeed: Succeed) -> Iterator[Environment]:
    with offline("dev") as stack:
        yield Environment(stack, succeed)


def test_a_network_is_made_once_changes_where_it_is_asked_to_and_leaves_nothing(
    environment: Environment, succeed: Succeed
) -> None:
    listed = {"egress": "allow-list", "allowed_domains": ["quay.io"], "zones": [A, C]}
    environment.settings(listed)
    environment.up()
    environment.up("--expect-no-changes")
    made = [one for one in environment.resources() if one.get("custom")]
    group = next(one for one in made if one["type"] == "aws:eks/nodeGroup:NodeGroup")
    private = {one["id"] for one in made if "dev-network-private-" in one["urn"]}

    assert set(group["inputs"]["subnetIds"]) <= private

    environment.settings(listed | {"allowed_domains": ["quay.io", "ghcr.io"]})
    assert environment.steps() == {
        "dev-network-egress-domains": "update",
        "dev-network-resolver-known-list": "update",
    }

    environment.settings(listed | {"trusted_accounts": ["210987654321"]})
    steps = environment.steps()
    assert set(steps.values()) == {"update"}
    assert all(name.startswith("dev-network-endpoints-") for name in steps)

    environment.settings(listed | {"egress": "none", "allowed_domains": []})
    steps = environment.steps()
    assert not [name for name in steps if "private-" in name and not name.endswith("-out")]
    assert "dev-network-egress-firewall" in steps

    succeed(environment.stack.pulumi("destroy", *QUIETLY))
    assert environment.resources() == []


def test_a_network_that_is_kept_is_protected_with_its_logs_and_without_its_subnets(
    environment: Environment,
) -> None:
    environment.settings({}, keep_data=True)
    environment.up()
    kept = {
        one["urn"].rpartition("::")[2]: bool(one.get("retainOnDelete"))
        for one in environment.resources()
        if one.get("protect") and "dev-network" in one["urn"]
    }

    assert kept == {
        "dev-network-vpc": False,
        "dev-network-flow-records": True,
        "dev-network-names-records": True,
    }


def test_a_network_of_others_is_used_by_the_nodes_and_gets_endpoints(
    environment: Environment,
) -> None:
    existing = {
        "vpc_id": "vpc-0a1b2c3d",
        "cidr": "10.8.0.0/16",
        "private_subnet_ids": {A: "subnet-0a", C: "subnet-0c"},
        "isolated_subnet_ids": {A: "subnet-1a", C: "subnet-1c"},
        "private_route_table_ids": ["rtb-0a1b"],
    }
    environment.settings({}, existing_network=existing)
    environment.up()
    made = [one for one in environment.resources() if one.get("custom")]
    groups = [one for one in made if one["type"] == "aws:eks/nodeGroup:NodeGroup"]

    assert {tuple(one["inputs"]["subnetIds"]) for one in groups} == {("subnet-0a", "subnet-0c")}
    assert not [one for one in made if one["type"] in ("aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet")]
    assert len([one for one in made if one["type"] == "aws:ec2/vpcEndpoint:VpcEndpoint"]) > 15
