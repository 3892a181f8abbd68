"""A workload on a cluster: what is made of its declaration, and what is refused before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml
from platform_outputs import REGISTRY, on_a_cluster

from components.aws.runner import RUNNER_VARIABLE
from components.aws.settings.secrets import TEAM_SECRETS
from components.contract import ContractError, PlatformOutputs
from components.kubernetes import owner
from components.kubernetes.flows import PARTS, Part
from components.kubernetes.monitoring_settings import MonitoringSettings
from components.kubernetes.monitoring_values import ChartPlace, monitoring_values
from components.kubernetes.orchestration_files import PASSWORD
from components.kubernetes.secret_stores import store_of
from components.kubernetes.tenancy import SERVICE_ACCOUNT
from components.kubernetes.tracking_client import MOUNT, VARIABLES, VOLUME
from components.kubernetes.workload import CAPTURE_KEY
from components.mlflow_server.grants import grants, pods_of
from components.monitoring.alerts import workload_rules
from components.monitoring.dashboards import of_workload
from components.monitoring.rules import rendered
from components.workload import deploy
from stacks import cluster_access
from stacks.environment import ROOT
from stacks.runner import OFFLINE
from workloads.delivery import capture, connection
from workloads.delivery.hand_in import HandInError, hand_in

Record = Callable[[Callable[[], object]], Any]

EXAMPLE = ROOT / "docs" / "examples" / "workload" / "Pulumi.credit-risk.dev.yaml"
DEPLOYMENT: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["config"][
    "falaj-workloads:deployment"
]


def deployed(
    deployment: dict[str, Any] | None = DEPLOYMENT,
    kept: dict[str, Any] | None = None,
    **outputs: Any,
) -> dict[str, Any]:
    platform = PlatformOutputs.parse(on_a_cluster(**outputs))
    return dict(deploy("credit-risk", "digest", platform, deployment, kept))


@pytest.fixture
def made(record: Record) -> Any:
    return record(deployed)


def manifest(made: Any) -> dict[str, Any]:
    (found,) = (one for one in made.of("ConfigMap") if "job.json" in one.inputs["data"])
    return dict(found.inputs)


def job(made: Any) -> dict[str, Any]:
    return dict(json.loads(manifest(made)["data"]["job.json"]))


def told(container: dict[str, Any]) -> dict[str, str]:
    """Variable → value."""
    return {one["name"]: one.get("value", "") for one in container["env"]}


def ray_pods(made: Any) -> list[dict[str, Any]]:
    """The `spec` of each kind of pod of the job."""
    cluster = job(made)["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    return [group["template"]["spec"] for group in groups]


def without(*fields: str, **changes: Any) -> dict[str, Any]:
    """The platform's teams, whose team lacks `fields`."""
    (team,) = on_a_cluster()["teams"].values()
    return {"credit": {key: value for key, value in team.items() if key not in fields} | changes}


def test_both_slots_serve_the_image_of_the_declaration(made: Any) -> None:
    pods = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]["template"]["spec"]
        for one in made.of("Deployment")
        if "-serving-" in one.name
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

    assert volume["configMap"]["name"] == manifest(made)["metadata"]["name"]
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
    assert not any("job.json" in one.inputs["data"] for one in made.of("ConfigMap"))
    assert not any(one.name.endswith("-code-code") for one in made.of("Deployment"))


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
        deployed(tracking_uri=None, capabilities=["monitoring", "serving", "tenancy"])


# --- the registry ---------------------------------------------------------------------------------


def test_servers_and_training_mean_one_model_that_the_teams_pods_may_use(made: Any) -> None:
    names = {
        told(container).get("FALAJ_REGISTERED_NAME")
        for one in made.of("Deployment")
        for container in one.inputs["spec"]["template"]["spec"]["containers"]
    }
    names |= {told(pod["containers"][0]).get("FALAJ_REGISTERED_NAME") for pod in ray_pods(made)}

    (name,) = names
    may = {grant.group: grant.pattern for grant in grants({"credit": {}, "credit-risk": {}})}
    assert name is not None
    assert re.match(may[pods_of("credit")], name)
    assert not re.match(may[pods_of("credit-risk")], name)


def test_each_pod_that_speaks_to_the_registry_signs_in_as_the_team(made: Any) -> None:
    servers = [
        one.inputs["spec"]["template"]["spec"]
        for one in made.of("Deployment")
        if "-serving-" in one.name
    ]
    for pod in (*servers, *ray_pods(made)):
        (container,) = pod["containers"]
        assert pod["serviceAccountName"] == SERVICE_ACCOUNT
        assert VOLUME in pod["volumes"]
        assert MOUNT in container["volumeMounts"]
        assert VARIABLES.items() <= told(container).items()
        assert told(container)["MLFLOW_TRACKING_URI"] == "http://tracking.tracking.svc:5000"


def test_a_job_trains_on_its_own_workers_with_the_teams_data(made: Any) -> None:
    head = told(ray_pods(made)[0]["containers"][0])

    assert head["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:8265"
    assert head["FALAJ_DATA_URI"] == "s3://falaj-dev-data/teams/credit/"
    assert set(connection.VARIABLES) <= head.keys()


def test_a_job_without_a_place_for_data_is_not_told_of_one(record: Record) -> None:
    made = record(lambda: deployed(teams=without("folders")))
    assert "FALAJ_DATA_URI" not in told(ray_pods(made)[0]["containers"][0])


MONITORING = {
    "long_term": False,
    "grafana": {
        "host": "grafana.bank.ae",
        "authorize_url": "https://id.bank.ae/authorize",
        "token_url": "https://id.bank.ae/token",
        "userinfo_url": "https://id.bank.ae/userinfo",
        "client_id": "grafana",
        "viewers": ["falaj-viewers"],
    },
}


# --- what is looked at ----------------------------------------------------------------------------


def test_it_has_the_rules_of_one_machine_in_the_teams_namespace(made: Any) -> None:
    rules = made.the("PrometheusRule").inputs

    assert rules["metadata"]["namespace"] == "credit"
    assert rules["spec"] == rendered([workload_rules("credit-risk", "credit")])
    local = [one.name for one in workload_rules("credit-risk").rules]
    (group,) = rules["spec"]["groups"]
    assert [one["alert"] for one in group["rules"]] == local


def test_its_page_lies_where_grafana_looks_in_the_folder_of_the_team(made: Any) -> None:
    (page,) = (one for one in made.of("ConfigMap") if "dashboard" in one.name)
    metadata = page.inputs["metadata"]

    looked_in = monitoring_values(
        MonitoringSettings.model_validate(MONITORING), ChartPlace(storage_class="encrypted")
    )["grafana"]["sidecar"]["dashboards"]

    assert metadata["namespace"] == looked_in["searchNamespace"]
    assert metadata["labels"][looked_in["label"]] == looked_in["labelValue"]
    assert metadata["annotations"][looked_in["folderAnnotation"]] == "credit"
    (text,) = page.inputs["data"].values()
    assert text == of_workload("credit", "credit-risk")


def test_where_nothing_is_measured_there_are_neither(record: Record) -> None:
    made = record(
        lambda: deployed(metrics_url=None, capabilities=["serving", "tenancy", "tracking"])
    )
    assert made.of("PrometheusRule") == []
    assert not any("dashboard" in one.name for one in made.of("ConfigMap"))


# --- its code in Dagster --------------------------------------------------------------------------


def code(made: Any) -> list[dict[str, Any]]:
    """Containers of the code location."""
    return [
        container
        for one in made.of("Deployment")
        if one.name.endswith("-code-code")
        for container in one.inputs["spec"]["template"]["spec"]["containers"]
    ]


def test_the_teams_dagster_loads_its_code_as_it_is_trained_elsewhere(made: Any) -> None:
    (container,) = code(made)
    variables = told(container)

    assert container["image"] == DEPLOYMENT["retraining"]["image"]
    assert variables["FALAJ_WORKLOAD"] == "credit-risk"
    assert variables["RAY_API_SERVER_ADDRESS"] == "http://ray-head-svc.credit.svc:8265"
    assert set(connection.VARIABLES) <= variables.keys()


@pytest.mark.parametrize(
    "teams",
    [
        without("orchestration"),
        without(orchestration={"locations": ["fraud"], "by_password": True}),
    ],
    ids=["no Dagster", "of another workload"],
)
def test_a_dagster_that_loads_it_not_gets_none_of_its_code(
    record: Record, teams: dict[str, Any]
) -> None:
    assert code(record(lambda: deployed(teams=teams))) == []


@pytest.mark.parametrize("by_password", [True, False])
def test_its_code_signs_in_to_the_instances_database_as_the_platform_says(
    record: Record, *, by_password: bool
) -> None:
    teams = without(orchestration={"locations": ["credit-risk"], "by_password": by_password})
    (container,) = code(record(lambda: deployed(teams=teams)))
    assert (PASSWORD in told(container)) == by_password


# --- whose it is ----------------------------------------------------------------------------------


def asked(there: str | None, monkeypatch: pytest.MonkeyPatch, team: str = "credit") -> list[str]:
    """Looks whether it may be deployed where `there` has it; what the cluster was asked."""
    questions: list[str] = []

    def of_workload(_kubeconfig: str, team: str, workload: str) -> str | None:
        questions.append(f"{team}/{workload}")
        return there

    monkeypatch.setattr(owner, "of_workload", of_workload)
    platform = PlatformOutputs.parse(on_a_cluster())
    cluster_access.require_workload("credit-risk", platform, {"team": team}, {})
    cluster_access.require_workload(
        "credit-risk", platform, {"team": team}, {RUNNER_VARIABLE: OFFLINE}
    )
    return questions


def test_it_may_be_deployed_where_nobody_or_this_stack_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for there in (None, owner.mine()):
        assert asked(there, monkeypatch) == ["credit/credit-risk"], "and offline nobody is asked"
    assert asked("another", monkeypatch, team="fraud") == [], "which the platform has not"


def test_another_stack_that_has_it_is_named_with_the_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = "organization/risk/credit"
    with pytest.raises(ContractError, match=f"by the stack {other}, and {owner.mine()}") as told:
        asked(other, monkeypatch)
    for way in (f"pulumi destroy -s {other}", "another name", "annotate serviceaccount"):
        assert way in str(told.value)


def test_all_that_serves_it_says_which_stack_made_it(made: Any) -> None:
    marked = {
        one.inputs["metadata"]["name"]
        for one in made.resources
        if owner.ANNOTATION in (one.inputs.get("metadata", {}).get("annotations") or {})
    }
    assert {owner.marker("credit-risk"), "credit-risk-a", "credit-risk-retraining"} <= marked


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


# --- predictions that are kept --------------------------------------------------------------------

CAPTURE: dict[str, Any] = {"enabled": True, "share": 0.1}


def servers(made: Any) -> list[dict[str, Any]]:
    """The `spec` of the pods of both slots."""
    return [
        one.inputs["spec"]["template"]["spec"]
        for one in made.of("Deployment")
        if "-serving-" in one.name
    ]


def test_servers_keep_predictions_in_the_teams_folder_under_its_key(record: Record) -> None:
    teams = without(encryption_key="arn:aws:kms:me-central-1:1:key/2")
    pods = servers(record(lambda: deployed(kept=CAPTURE, teams=teams)))

    assert len(pods) == 2
    for pod in pods:
        (container,) = pod["containers"]
        said = told(container)
        assert json.loads(said[capture.SETTINGS]) == CAPTURE
        assert said[capture.URI] == "s3://falaj-dev-data/teams/credit/capture"
        assert said[capture.ENCRYPTION_KEY] == "arn:aws:kms:me-central-1:1:key/2"
        assert said["AWS_REGION"] == "me-central-1"
        (mount,) = (one for one in container["volumeMounts"] if one["name"] == "capture-key")
        assert said[capture.KEY_FILE] == f"{mount['mountPath']}/key"
        # a new key would not come into a `subPath`
        assert mount == {
            "name": "capture-key",
            "mountPath": "/var/run/secrets/falaj/capture",
            "readOnly": True,
        }


def test_the_key_of_the_hashes_is_the_teams_and_only_mounted(record: Record) -> None:
    made = record(lambda: deployed(kept=CAPTURE))
    secret = made.the("ExternalSecret").inputs

    assert secret["metadata"]["namespace"] == "credit"
    assert secret["spec"]["secretStoreRef"]["name"] == store_of("credit")
    assert secret["spec"]["data"] == [{"secretKey": "key", "remoteRef": {"key": CAPTURE_KEY}}]
    assert TEAM_SECRETS[CAPTURE_KEY].rotates
    for pod in servers(made):
        (volume,) = (one for one in pod["volumes"] if one["name"] == "capture-key")
        # while it is not there the servers answer, and keep nothing
        assert volume["secret"] == {
            "secretName": secret["metadata"]["name"],
            "defaultMode": 0o440,
            "optional": True,
        }


def test_on_a_cluster_without_a_store_somebody_puts_the_key_there(record: Record) -> None:
    made = record(lambda: deployed(kept=CAPTURE, place="kubernetes"))

    assert made.of("ExternalSecret") == []
    for pod in servers(made):
        assert "credit-risk-capture-key" in str(pod["volumes"])


@pytest.mark.parametrize("asked", [None, {"enabled": False}])
def test_servers_that_are_not_asked_keep_nothing(
    record: Record, asked: dict[str, Any] | None
) -> None:
    made = record(lambda: deployed(kept=asked))

    assert made.of("ExternalSecret") == []
    assert not any("capture" in str(pod).lower() for pod in servers(made))


def test_predictions_without_a_place_for_data_are_refused() -> None:
    with pytest.raises(ContractError, match=r"deployment.team: credit has no folder for data"):
        deployed(kept=CAPTURE, teams=without("folders"))
