"""A workload and a team's own project, applied beside the layer that they stand on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubernetes_api import Api
from platform_outputs import REGISTRY

from components.kubernetes import owner
from stacks.environment import ROOT
from workloads.delivery.connection import Connection
from workloads.delivery.hand_in import HandInError, hand_in
from workloads.delivery.place import ledger_of, traffic_of
from workloads.delivery.traffic import GatewayDownError

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
for part in ("serving", "monitoring"):
    Namespace(part, NamespaceArgs(namespace=part, part=part, quota=TeamQuota()), opts)
for name, value in on_a_cluster(pulumi.Output.secret(kubeconfig)).items():
    pulumi.export(name, value)
"""
WORKLOAD = """
import pulumi
from components.contract import ContractError, PlatformOutputs
from components.workload import deploy
from stacks import cluster_access

config = pulumi.Config()
name, deployment = config.require("workload"), config.get_object("deployment")
platform = pulumi.StackReference("platform", stack_name=config.require("platform"))

def build(outputs):
    parsed = PlatformOutputs.parse(outputs)
    # as workloads/__main__.py does; this engine says that it reaches no cloud, and reaches one
    cluster_access.require_workload(name, parsed, deployment, {})
    return pulumi.Output.all(**deploy(name, "digest", parsed, deployment))

try:
    pulumi.export("variables", platform.outputs.apply(build))
except ContractError as error:
    raise pulumi.RunError(str(error)) from None
"""
EXAMPLES = ROOT / "docs" / "examples"
DEPLOYMENT = yaml.safe_load((EXAMPLES / "workload" / "Pulumi.credit-risk.dev.yaml").read_text())
ASKED: dict[str, Any] = DEPLOYMENT["config"]["falaj-workloads:deployment"]


@pytest.fixture(scope="module")
def layer(
    lasting_program: Callable[..., Program],
    define: Callable[..., list[str]],
    succeed: Callable[..., Any],
) -> str:
    """The stack of a platform with the team `credit`."""
    define("kuberay", "istio", "prometheus-operator")
    program = lasting_program(f"import sys; sys.path.append({str(ROOT / 'tests')!r})\n{LAYER}")
    succeed(program.up())
    return f"organization/{program.stack.directory.name}/test"


def configured(program: Program, layer: str, name: str, deployment: dict[str, Any]) -> Program:
    """With what the program asks for."""
    values = {"platform": layer, "workload": name, "deployment": json.dumps(deployment)}
    for key, value in values.items():
        done = program.stack.pulumi("config", "set", key, value)
        assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def workload(
    layer: str, lasting_program: Callable[..., Program], succeed: Callable[..., Any]
) -> Program:
    """The shipped example of a workload's stack, deployed."""
    program = configured(lasting_program(WORKLOAD), layer, "credit-risk", ASKED)
    succeed(program.up())
    return program


def live(api: Api, api_version: str, kind: str, name: str, namespace: str) -> dict[str, Any]:
    """An object that is there."""
    metadata = {"name": name, "namespace": namespace}
    found = api.get({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    assert found is not None, f"{kind} {namespace}/{name}"
    return found


def test_a_workload_is_accepted_and_changes_nothing_again(
    workload: Program, succeed: Callable[..., Any]
) -> None:
    succeed(workload.up("--expect-no-changes"))


def job(api: Api) -> dict[str, Any]:
    """The job that its schedule hands in."""
    manifest = live(api, "v1", "ConfigMap", "credit-risk-retraining", "credit")
    return dict(json.loads(manifest["data"]["job.json"]))


def test_its_rules_page_and_code_are_where_they_are_looked_for(workload: Program, api: Api) -> None:
    rules = live(api, "monitoring.coreos.com/v1", "PrometheusRule", "credit-risk", "credit")
    page = live(api, "v1", "ConfigMap", "credit.credit-risk", "monitoring")
    code = live(api, "v1", "Service", "credit-risk-code", "credit")

    assert rules["spec"]["groups"][0]["name"] == "workload-credit-risk"
    assert page["metadata"]["annotations"]["grafana_folder"] == "credit"
    assert code["spec"]["ports"][0]["port"] == 4000


def test_pods_of_its_job_pass_every_judge_and_have_the_token_for_the_registry(
    workload: Program, api: Api
) -> None:
    cluster = job(api)["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        pod["metadata"] = {**pod["metadata"], "name": "ray", "namespace": "credit"}
        made = api.create(pod, dry_run=True)
        sources = [one for one in made["spec"]["volumes"] if one["name"] == "tracking-token"]
        assert [one["projected"]["sources"][0] for one in sources] == [
            {
                "serviceAccountToken": {
                    "audience": "mlflow", "expirationSeconds": 3600, "path": "token",
                }
            }
        ]  # fmt: skip
        mounted = made["spec"]["containers"][0]["volumeMounts"]
        assert "tracking-token" in {one["name"] for one in mounted}


def test_a_second_stack_of_a_workload_is_refused_until_the_first_is_gone(
    layer: str, program: Callable[..., Program], succeed: Callable[..., Any], api: Api
) -> None:
    alone = {**ASKED, "retraining": None}
    first, second = (configured(program(WORKLOAD), layer, "income", alone) for _ in range(2))
    mine, its = (f"organization/{one.stack.directory.name}/test" for one in (first, second))
    succeed(first.up())

    refused = second.up()

    told = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert f"is deployed by the stack {mine}, and {its} would take it over" in told
    assert f"pulumi destroy -s {mine}" in told
    account = live(api, "v1", "ServiceAccount", owner.marker("income"), "credit")
    assert account["metadata"]["annotations"][owner.ANNOTATION] == mine
    succeed(first.up("--expect-no-changes"))
    succeed(first.destroy())
    succeed(second.preview())


def test_its_schedule_hands_in_a_job_that_the_cluster_takes(
    workload: Program, api: Api, cluster: ControlPlane
) -> None:
    thing = job(api)

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


def test_its_stack_says_what_a_release_needs_and_an_update_in_between_changes_no_weight(
    workload: Program,
    cluster: ControlPlane,
    succeed: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = workload.stack.pulumi("stack", "output", "--json", "--show-secrets")
    variables = json.loads(told.stdout)["variables"]
    way = tmp_path / "kubeconfig"
    way.write_text(cluster.kubeconfig_for("system:serviceaccount:credit:credit-risk-release"))
    monkeypatch.setenv("KUBECONFIG", str(way))
    connection = Connection.from_variables(variables | {"FALAJ_STATE": str(tmp_path / "state")})
    split, kept = traffic_of(connection), ledger_of(connection)
    with kept.exclusive():
        kept.append({"phase": "started"})
        with pytest.raises(GatewayDownError):  # no gateway runs here
            split.set_weights({"a": 90, "b": 10})

    succeed(workload.up("--refresh"))

    assert split.weights() == {"a": 90, "b": 10}
    assert kept.lines() == [{"phase": "started"}]


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

    report = live(api, "batch/v1", "CronJob", "nightly-report", "credit")
    assert report["spec"]["timeZone"] == "Asia/Dubai"


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
