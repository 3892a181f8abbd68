"""A cluster with its nodes on the real engine, from preview to destroy, with stand-in providers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from stacks.offline import Offline

Project = Callable[[str], Offline]
Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]

PROGRAM = """
import pulumi
from components.aws.compute import Compute, ComputeArgs, ComputeNetwork
from components.aws.keys import DomainKey, DomainKeyArgs
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.settings.cluster import ClusterSettings
from components.aws.settings.elastic_nodes import ElasticNodesSettings
from components.aws.settings.node_pool import NodePoolSettings

scope = Scope(environment="test", account_id="123456789012", region="me-central-1")
provider = RegionProvider(
    "provider",
    RegionProviderArgs(account_id=scope.account_id, region=scope.region, default_tags={}),
)
here = pulumi.ResourceOptions(provider=provider.provider)
key = DomainKey("key", DomainKeyArgs(scope=scope, domain="cluster", keep=False), here)
compute = Compute(
    "test",
    ComputeArgs(
        scope=scope,
        cluster=ClusterSettings(WEBHOOKS),
        existing_cluster=None,
        node_pools={
            "system": NodePoolSettings(
                kind="cpu", instance_types=["m6i.large"], min_nodes=2, max_nodes=3
            )
        },
        elastic_nodes=ElasticNodesSettings(
            image="al2023@v20260904",
            pools={
                "train": {
                    "kind": "gpu", "purpose": "training", "instance_types": ["g5.xlarge"],
                    "max_nodes": 2,
                }
            },
        ),
        service_linked_roles=["autoscaling", "spot"],
        network=ComputeNetwork(
            vpc_id="vpc-0a",
            cidrs=["10.64.0.0/16"],
            private_subnet_ids={"me-central-1a": "subnet-0a", "me-central-1c": "subnet-0c"},
        ),
        key_arn=key.arn,
        logs_key_arn=key.arn,
        administrators={"apply": scope.role_arn("apply")},
        keep=False,
        tags={"owner": "us"},
    ),
    here,
)
pulumi.export("kubeconfig", compute.kubeconfig)
pulumi.export("manifests", [one.spec for one in compute.elastic.manifests])
"""


def program(settings: str = "") -> str:
    return PROGRAM.replace("WEBHOOKS", settings)


def test_a_cluster_lives_from_preview_to_destroy(project: Project, succeed: Succeed) -> None:
    stack = project(program())
    succeed(stack.pulumi("preview"))
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))
    outputs = json.loads(succeed(stack.pulumi("stack", "output", "--json")).stdout)
    reached = json.loads(outputs["kubeconfig"])["clusters"][0]["cluster"]["server"]
    assert reached.endswith(".me-central-1.eks.amazonaws.com")
    node_class = outputs["manifests"][0]
    assert node_class["instanceProfile"] == "falaj-test-elastic-nodes"
    assert node_class["securityGroupSelectorTerms"][0]["id"]

    unchanged = ("--yes", "--skip-preview", "--expect-no-changes")
    succeed(stack.pulumi("up", *unchanged))
    succeed(stack.pulumi("refresh", *unchanged))
    resources = json.loads(succeed(stack.pulumi("stack", "export")).stdout)["deployment"][
        "resources"
    ]
    defaults = [one["urn"] for one in resources if "::default" in one.get("provider", "")]
    assert defaults == []
    succeed(stack.pulumi("destroy", "--yes", "--skip-preview"))
    state = json.loads(succeed(stack.pulumi("stack", "export")).stdout)
    assert not state["deployment"].get("resources")


def test_another_webhook_port_touches_one_rule(project: Project, succeed: Succeed) -> None:
    stack = project(program())
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))
    (stack.directory / "__main__.py").write_text(program("webhook_ports=[443, 10250, 9999]"))
    preview = json.loads(succeed(stack.pulumi("preview", "--json")).stdout)
    changed = {
        (step["op"], step["urn"].rpartition("::")[2])
        for step in preview["steps"]
        if step["op"] not in ("same", "read")
    }

    assert ("create", "test-cluster-nodes-from-api-9999") in changed
    assert {name for op, name in changed if op != "delete"} <= {
        *("test-cluster-nodes-from-api-9999", "someone-test"),
    }
    assert {name.rpartition("-")[0] for op, name in changed if op == "delete"} == {
        "test-cluster-nodes-from-api",
    }
