"""A workload and a team's own project, applied beside the layer that they stand on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubernetes_api import Api
from platform_outputs import REGISTRY

from stacks.environment import ROOT
from workloads.delivery.hand_in import HandInError, hand_in

LAYER = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from platform_outputs import REGISTRY, on_a_cluster
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.priorities import Priorities
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs

kubeconfig = os.environ["{KUBECONFIG}"]
here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(kubeconfig))
opts = pulumi.ResourceOptions(provider=here)
Priorities("priorities", opts)
Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry=REGISTRY),
    opts,
)
Team("credit", TeamArgs(team="credit", quota=TeamQuota(gpu_quota=2)), opts)
Namespace(
    "serving", NamespaceArgs(namespace="serving", part="serving", quota=TeamQuota()), opts
)
for name, value in on_a_cluster(pulumi.Output.secret(kubeconfig)).items():
    pulumi.export(name, value)
"""
WORKLOAD = """
import pulumi
from components.contract import PlatformOutputs
from components.workload import deploy

config = pulumi.Config()
platform = pulumi.StackReference("platform", stack_name=config.require("platform"))
pulumi.export("variables", platform.outputs.apply(
    lambda outputs: pulumi.Output.all(**deploy(
        "credit-risk", "digest", PlatformOutputs.parse(outputs), config.get_object("deployment")
    ))
))
"""
EXAMPLES = ROOT / "docs" / "examples"
DEPLOYMENT = yaml.safe_load((EXAMPLES / "workload" / "Pulumi.credit-risk.dev.yaml").read_text())


@pytest.fixture(scope="module")
def layer(
    lasting_program: Callable[..., Program],
    define: Callable[..., list[str]],
    succeed: Callable[..., Any],
) -> str:
    """The stack of a platform with the team `credit`."""
    define("kuberay", "istio")
    program = lasting_program(f"import sys; sys.path.append({str(ROOT / 'tests')!r})\n{LAYER}")
    succeed(program.up())
    return f"organization/{program.stack.directory.name}/test"


@pytest.fixture(scope="module")
def workload(
    layer: str, lasting_program: Callable[..., Program], succeed: Callable[..., Any]
) -> Program:
    """The shipped example of a workload's stack, deployed."""
    program = lasting_program(WORKLOAD)
    deployment = json.dumps(DEPLOYMENT["config"]["falaj-workloads:deployment"])
    succeed(program.stack.pulumi("config", "set", "platform", layer))
    succeed(program.stack.pulumi("config", "set", "deployment", deployment))
    succeed(program.up())
    return program


def test_a_workload_is_accepted_and_changes_nothing_again(
    workload: Program, succeed: Callable[..., Any]
) -> None:
    succeed(workload.up("--expect-no-changes"))


def test_its_schedule_hands_in_a_job_that_the_cluster_takes(
    workload: Program, api: Api, cluster: ControlPlane
) -> None:
    manifest = api.get(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "credit-risk-retraining", "namespace": "credit"},
        }
    )
    assert manifest is not None
    thing = json.loads(manifest["data"]["job.json"])

    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "credit-risk-retraining", "namespace": "credit"},
    }
    given = api.request("POST", f"{api.path_of(account)}/token", json={"spec": {}})
    with cluster.api(cluster.kubeconfig_with(given["status"]["token"])) as caller:
        name = hand_in(caller.client, thing)
        elsewhere = thing | {"metadata": {**thing["metadata"], "namespace": "default"}}
        with pytest.raises(HandInError, match="cannot create resource"):
            hand_in(caller.client, elsewhere)

    assert name.startswith("credit-risk-retraining-")
    thing["metadata"]["name"] = name
    api.delete(thing, seconds=60)


def test_a_project_of_the_team_runs_a_job_there(
    layer: str,
    program: Callable[..., Program],
    succeed: Callable[..., Any],
    api: Api,
) -> None:
    mine = program("")
    shutil.copy(EXAMPLES / "batch-job" / "__main__.py", mine.stack.directory)
    for key, value in {
        "platform": layer,
        "team": "credit",
        "image": f"{REGISTRY}/report@sha256:{'2' * 64}",
    }.items():
        succeed(mine.stack.pulumi("config", "set", key, value))

    succeed(mine.up())
    succeed(mine.up("--expect-no-changes"))

    job = api.get(
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "nightly-report", "namespace": "credit"},
        }
    )
    assert job is not None
    assert job["spec"]["timeZone"] == "Asia/Dubai"


def test_a_project_of_a_stranger_is_told_which_teams_there_are(
    layer: str, program: Callable[..., Program], succeed: Callable[..., Any]
) -> None:
    mine = program("")
    shutil.copy(EXAMPLES / "batch-job" / "__main__.py", mine.stack.directory)
    for key, value in {"platform": layer, "team": "fraud", "image": "one"}.items():
        succeed(mine.stack.pulumi("config", "set", key, value))

    refused = mine.preview()

    assert refused.returncode != 0
    assert "the platform has no team fraud: credit" in refused.stdout + refused.stderr
