"""A workload on a cluster: what is made of its declaration, and what is refused before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml
from platform_outputs import REGISTRY, on_a_cluster

from components.contract import ContractError, PlatformOutputs
from components.kubernetes.flows import PARTS, Part
from components.workload import deploy
from stacks.environment import ROOT
from workloads.delivery.hand_in import HandInError, hand_in

Record = Callable[[Callable[[], object]], Any]

EXAMPLE = ROOT / "docs" / "examples" / "workload" / "Pulumi.credit-risk.dev.yaml"
DEPLOYMENT: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["config"][
    "falaj-workloads:deployment"
]


def deployed(deployment: dict[str, Any] | None = DEPLOYMENT, **outputs: Any) -> dict[str, Any]:
    platform = PlatformOutputs.parse(on_a_cluster(**outputs))
    return dict(deploy("credit-risk", "digest", platform, deployment))


@pytest.fixture
def made(record: Record) -> Any:
    return record(deployed)


def job(made: Any) -> dict[str, Any]:
    (text,) = made.the("ConfigMap").inputs["data"].values()
    return dict(json.loads(text))


def test_both_slots_serve_the_image_of_the_declaration(made: Any) -> None:
    pods = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]["template"]["spec"]
        for one in made.of("Deployment")
    }
    assert set(pods) == {"credit-risk-a", "credit-risk-b"}
    assert {pod["containers"][0]["image"] for pod in pods.values()} == {DEPLOYMENT["image"]}


def test_the_clock_hands_in_a_job_that_waits_in_the_teams_queue(made: Any) -> None:
    schedule, handed_in = made.the("CronJob").inputs["spec"], job(made)

    assert (schedule["schedule"], schedule["timeZone"]) == ("0 2 * * 0", "Asia/Dubai")
    assert handed_in["kind"] == "RayJob"
    assert handed_in["metadata"]["namespace"] == "credit"
    assert "name" not in handed_in["metadata"]
    assert handed_in["metadata"]["generateName"] == "credit-risk-retraining-"
    assert handed_in["spec"]["suspend"] is True
    assert handed_in["spec"]["entrypoint"] == "falaj run credit-risk"


def test_its_pod_mounts_that_job_and_may_do_nothing_else(made: Any) -> None:
    pod = made.the("CronJob").inputs["spec"]["jobTemplate"]["spec"]["template"]
    (volume,) = pod["spec"]["volumes"]
    role = next(one for one in made.of("Role") if "retraining" in one.name)

    assert volume["configMap"]["name"] == made.the("ConfigMap").inputs["metadata"]["name"]
    assert pod["spec"]["serviceAccountName"] == role.inputs["metadata"]["name"]
    assert role.inputs["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}
    ]


def test_its_pod_reaches_the_api_server(made: Any) -> None:
    labels = made.the("CronJob").inputs["spec"]["jobTemplate"]["spec"]["template"]["metadata"]
    caller = PARTS["team-caller"]

    assert isinstance(caller, Part)
    assert caller.pods.items() <= labels["labels"].items()


def test_without_retraining_there_is_no_schedule(record: Record) -> None:
    made = record(lambda: deployed({**DEPLOYMENT, "retraining": None}))
    assert made.of("CronJob") == []
    assert made.of("ConfigMap") == []


def test_its_code_finds_the_gateway_and_the_registry(record: Record) -> None:
    seen: dict[str, Any] = {}
    record(lambda: seen.update(deployed()))

    assert seen["FALAJ_ENDPOINT"] == "https://serving.dev.falaj.internal/seldon/credit/credit-risk"
    assert seen["MLFLOW_TRACKING_URI"] == "http://tracking.tracking.svc:5000"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"team": "fraud"}, "deployment.team: is fraud, and the platform has credit"),
        (
            {"image": f"docker.io/library/credit@sha256:{'0' * 64}"},
            f"deployment.image: is docker.io/library/credit.* takes images of {REGISTRY}/ alone",
        ),
        ({"image": f"{REGISTRY}/credit:latest"}, "deployment.image: String should match"),
        (
            {"model": {"max_replicas": 20, "cpus": 2}},
            "both slots at their largest asks for 80 CPUs; the team's cpu_quota is 16",
        ),
        (
            {"model": {"min_replicas": 1, "max_replicas": 2, "gpus": 1, "node_pool": "fast"}},
            "(?s)model.node_pool: fast is no pool.*asks for 4 GPUs; the team's gpu_quota is 2",
        ),
        (
            {
                "retraining": {
                    **DEPLOYMENT["retraining"],
                    "workers": {
                        "cpu": {"pool": "general", "cpus": 8, "memory_gib": 2, "max_workers": 1}
                    },
                }
            },
            "cpus: is 8, and a node of general has 7",
        ),
        (
            {"retraining": {**DEPLOYMENT["retraining"], "schedule": "weekly"}},
            "deployment.retraining.schedule: String should match",
        ),
    ],
    ids=["team", "registry", "tag", "quota", "gpus", "node", "schedule"],
)
def test_what_the_platform_cannot_take_is_said_before_anything_is_made(
    record: Record, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ContractError, match=problem):
        record(lambda: deployed({**DEPLOYMENT, **change}))


def test_without_a_deployment_the_example_is_named() -> None:
    with pytest.raises(ContractError, match="copy docs/examples/workload/Pulumi"):
        deployed(None)


def test_a_platform_whose_layer_lacks_a_part_is_told() -> None:
    with pytest.raises(ContractError, match="no tracking"):
        deployed(tracking_uri=None, capabilities=["serving", "tenancy"])


# --- handing in -----------------------------------------------------------------------------------

THING = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"namespace": "credit", "generateName": "credit-risk-retraining-"},
}


def client(answer: httpx.Response) -> httpx.Client:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/apis/ray.io/v1/namespaces/credit/rayjobs"
        assert json.loads(request.content) == THING
        return answer

    return httpx.Client(base_url="https://api", transport=httpx.MockTransport(handle))


def test_the_name_that_the_cluster_gave_is_told() -> None:
    given = httpx.Response(201, json={"metadata": {"name": "credit-risk-retraining-x1"}})
    assert hand_in(client(given), THING) == "credit-risk-retraining-x1"


def test_what_the_cluster_refuses_is_told_with_its_reason() -> None:
    with pytest.raises(HandInError, match=r"RayJob credit/credit-risk-retraining- is refused: no"):
        hand_in(client(httpx.Response(403, text="no")), THING)
