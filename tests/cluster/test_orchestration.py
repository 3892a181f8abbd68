"""Dagster, code locations, workspaces and feature stores as the API server sees them.

Its controllers run, nodes do not: every pod is made, judged by admission, Pod Security and quota,
and waits for a node. Runs are launched here with the launcher's own token, from its configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
import yaml
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubernetes_api import Api, ApiError, Object

IMAGE = f"registry.ae.example/prod/one:1@sha256:{'0' * 64}"

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.code_location import CodeLocation, CodeLocationArgs
from components.kubernetes.feature_store import (
    FeatureBackends,
    FeatureStore,
    FeatureStoreArgs,
    OnlineStore,
    RegistryDatabase,
)
from components.kubernetes.feature_store_settings import TeamFeatures
from components.kubernetes.flows import Addresses
from components.kubernetes.orchestration import PART, Orchestration, OrchestrationArgs
from components.kubernetes.orchestration_files import InstanceDatabase
from components.kubernetes.orchestration_settings import OrchestrationSettings, TeamOrchestration
from components.kubernetes.pages_settings import PagesSettings
from components.kubernetes.priorities import Priorities
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.serving import Door
from components.kubernetes.settings import AdmissionSettings, TeamGroups, TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs
from components.kubernetes.tracking import S3Endpoint
from components.kubernetes.workspace import Workspace, WorkspaceArgs
from components.kubernetes.workspace_settings import WorkspaceSettings, WorkspaceUser

IMAGE = "{IMAGE}"
here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
addresses = Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"])
priorities = Priorities("priorities", opts)
Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
pages = PagesSettings(
    host="pages.example.ae", issuer="https://sign-in.example.ae", client_id="falaj"
)
settings = OrchestrationSettings(
    pages=pages,
    teams={{"wheat": TeamOrchestration(locations=("sowing",))}},
)
workspaces = WorkspaceSettings(
    pages=pages,
    image=IMAGE,
    users={{"mariam": WorkspaceUser(email="mariam@example.ae", team="wheat")}},
)
spaces = {{
    part: Namespace(
        part,
        NamespaceArgs(
            namespace=part, part=part, quota=settings.quota(keep=True), addresses=addresses
        ),
        opts,
    )
    for part in (PART, "serving")
}}
source = SecretSource(
    store="platform",
    keys={{
        noun: f"falaj/test/{{noun}}"
        for noun in (
            *("client-secret", "cookie-secret", "database-password"),
            *("registry-password", "online-password"),
        )
    }},
)
door = Door(
    namespace="serving",
    gateway="serving/pages",
    hosts=("pages.example.ae",),
    service="gateway",
    service_account="gateway",
)
teams = {{}}
for name in ("wheat", "dates"):
    groups = TeamGroups(viewer=(f"{{name}}-viewer",), developer=(f"{{name}}-developer",))
    teams[name] = Team(
        name, TeamArgs(team=name, quota=TeamQuota(groups=groups), addresses=addresses), opts
    )
ready = [
    *(one for space in (*spaces.values(), *teams.values()) for one in space.ready),
    *priorities.ready,
]
database = InstanceDatabase(
    host="database.example", name="dagster_wheat", role="dagster_wheat", authorities="PEM"
)
dagster = Orchestration(
    "dagster",
    OrchestrationArgs(
        team="wheat",
        settings=settings,
        keep=True,
        groups=("wheat-viewer", "wheat-developer"),
        namespace=spaces[PART].namespace,
        image=IMAGE,
        proxy_image=IMAGE,
        database=database,
        secret_source=source,
        team_secret_source=source,
        door=door,
        monitored=True,
        wait_for=ready,
    ),
    opts,
)
CodeLocation(
    "sowing",
    CodeLocationArgs(
        location="sowing",
        team="wheat",
        image=IMAGE,
        by_password=True,
        variables={{"FALAJ_WORKLOAD": "sowing"}},
        wait_for=dagster.ready,
    ),
    opts,
)
Workspace(
    "mariam",
    WorkspaceArgs(
        user="mariam",
        settings=workspaces,
        keep=False,
        proxy_image=IMAGE,
        storage_class="encrypted",
        secret_source=source,
        door=door,
        wait_for=ready,
    ),
    opts,
)
FeatureStore(
    "features",
    FeatureStoreArgs(
        team="wheat",
        settings=TeamFeatures(),
        image=IMAGE,
        backends=FeatureBackends(
            registry=RegistryDatabase(
                host="database.example", name="features", role="features", authorities="PEM"
            ),
            online=OnlineStore(host="cache.example", username="wheat"),
            features_uri="s3://data/teams/wheat/features",
            bucket=S3Endpoint(address="https://s3.example", region="site"),
        ),
        secret_source=source,
        wait_for=ready,
    ),
    opts,
)
"""

KINDS = ("prometheus-operator", "istio", "external-secrets")


@pytest.fixture(scope="module", autouse=True)
def layer(
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    api: Api,
) -> Program:
    """Two teams, one with a Dagster, a code location, a workspace and a feature store."""
    define(*KINDS)
    program = lasting_program(PROGRAM)
    succeed(program.up())
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60), reraise=True
    ):
        with pause:  # the server takes a new policy up within seconds
            said = refusal(api)
            assert "is not from the registry in the country" in said, said
    return program


def refusal(api: Api) -> str:
    """What the server has against a run with an image from elsewhere."""
    try:
        foreign = IMAGE.replace("registry.ae", "elsewhere")
        api.create(run_of(api, "wheat", image=foreign), dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


def live(api: Api, kind: str, name: str, group: str, namespace: str) -> Object:
    """An object that is there."""
    metadata = {"name": name, "namespace": namespace}
    found = api.get({"apiVersion": group, "kind": kind, "metadata": metadata})
    assert found is not None, f"{kind} {name}"
    return found


# --- pods -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "name", "pods"),
    [
        ("orchestration", "wheat-pages", 2),
        ("orchestration", "wheat-daemon", 1),
        ("wheat", "sowing-code", 1),
        ("wheat", "features", 1),
    ],
)
def test_every_pod_passes_every_judge(api: Api, namespace: str, name: str, pods: int) -> None:
    deployment = live(api, "Deployment", name, "apps/v1", namespace)
    status: Object = {}
    for seen in api.watch(deployment, seconds=60):
        assert seen is not None
        status = seen.get("status", {})
        failed = [one for one in status.get("conditions", []) if one["type"] == "ReplicaFailure"]
        assert not failed, failed
        if status.get("replicas", 0) >= pods:
            break
    assert status["replicas"] >= pods


def test_the_migration_of_the_database_passes_too(api: Api) -> None:
    (job,) = api.list("batch/v1", "Job", "orchestration")
    assert job["metadata"]["name"].startswith("wheat-migrate-")
    assert_has_a_pod(api, {"apiVersion": "batch/v1", "kind": "Job", **job})


def assert_has_a_pod(api: Api, job: Object) -> None:
    """Waits until its controller has made one: admission let it in."""
    status: Object = {}
    for seen in api.watch(job, seconds=60):
        assert seen is not None
        status = seen.get("status", {})
        if status.get("active"):
            break
    assert status.get("active") == 1


# --- runs -----------------------------------------------------------------------------------------


def run_of(api: Api, team: str, image: str = IMAGE) -> Object:
    """The Job of a run, made of the team's configuration as `dagster-k8s` 0.29.27 makes it."""
    files = live(api, "ConfigMap", "dagster", "v1", team)["data"]
    config = yaml.safe_load(files["dagster.yaml"])["run_launcher"]["config"]
    run = config["run_k8s_config"]
    labels = {"app.kubernetes.io/name": "dagster", **config["labels"]}
    password = {"name": config["postgres_password_secret"], "key": "postgresql-password"}
    container = {
        "name": "dagster",
        "image": image,
        "args": ["dagster", "api", "execute_run", "{}"],
        "env": [
            {"name": "DAGSTER_HOME", "value": config["dagster_home"]},
            {"name": "DAGSTER_PG_PASSWORD", "valueFrom": {"secretKeyRef": password}},
            *(
                dict(zip(("name", "value"), one.split("=", 1), strict=True))
                for one in config["env_vars"]
            ),
        ],
        "resources": config["resources"],
        "securityContext": config["security_context"],
        "volumeMounts": config["volume_mounts"],
    }
    pod = {
        "metadata": {"labels": labels, **run["pod_template_spec_metadata"]},
        "spec": {
            "restartPolicy": "Never",
            **run["pod_spec_config"],
            "serviceAccountName": config["service_account_name"],
            "automountServiceAccountToken": True,
            "containers": [container],
            "volumes": config["volumes"],
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "dagster-run-1",
            "namespace": config["job_namespace"],
            "labels": labels,
        },
        "spec": {**run["job_spec_config"], "template": pod},
    }


@contextlib.contextmanager
def account(api: Api, cluster: ControlPlane, name: str, namespace: str) -> Iterator[Api]:
    """The API with the token of a service account."""
    found = live(api, "ServiceAccount", name, "v1", namespace)
    asked = api.request("POST", f"{api.path_of(found)}/token", json={"spec": {}})
    with cluster.api(cluster.kubeconfig_with(str(asked["status"]["token"]))) as known:
        yield known


def started(starter: Api, api: Api, job: Object) -> None:
    """Creates a Job as `starter`, waits for its pod, and takes both away."""
    made = starter.create(job)
    try:
        assert_has_a_pod(api, made)
    finally:
        api.request("DELETE", api.path_of(made), params={"propagationPolicy": "Background"})


def test_a_run_of_the_launcher_comes_to_have_a_pod(api: Api, cluster: ControlPlane) -> None:
    with account(api, cluster, "wheat-daemon", "orchestration") as daemon:
        started(daemon, api, run_of(api, "wheat"))


def test_the_launcher_of_a_team_starts_nothing_of_another(api: Api, cluster: ControlPlane) -> None:
    with account(api, cluster, "wheat-daemon", "orchestration") as daemon:
        for namespace in ("dates", "orchestration", "default"):
            elsewhere = run_of(api, "wheat")
            elsewhere["metadata"]["namespace"] = namespace
            with pytest.raises(ApiError, match="forbidden"):
                daemon.create(elsewhere, dry_run=True)


@pytest.mark.parametrize("name", ["wheat-pages", "wheat-daemon"])
def test_what_the_accounts_may_do_is_what_the_table_says(
    api: Api, cluster: ControlPlane, name: str
) -> None:
    daemon = name == "wheat-daemon"
    questions = [
        # verb, group, resource, subresource, whether the daemon may
        ("create", "batch", "jobs", "", True),
        ("delete", "batch", "jobs", "", True),
        ("get", "batch", "jobs", "status", True),
        ("list", "", "pods", "", True),
        ("get", "", "pods", "log", True),
        ("create", "", "pods", "", False),
        ("create", "", "pods", "exec", False),
        ("get", "", "secrets", "", False),
        ("patch", "apps", "deployments", "", False),
        ("create", "rbac.authorization.k8s.io", "rolebindings", "", False),
    ]
    with account(api, cluster, name, "orchestration") as known:

        def may(question: tuple[str, str, str, str, bool], namespace: str) -> bool:
            verb, group, resource, part, _ = question
            asked = {"verb": verb, "group": group, "resource": resource, "subresource": part}
            answer = known.create(
                {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": asked | {"namespace": namespace}},
                }
            )
            return bool(answer["status"]["allowed"])

        own = [may(question, "wheat") for question in questions]
        others = [may(question, "dates") for question in questions]
    assert own == [daemon and question[-1] for question in questions]
    assert not any(others)


# --- people ---------------------------------------------------------------------------------------


def from_template(person: Api, template: str, name: str) -> Object:
    """A Job as `kubectl create job NAME --from=cronjob/TEMPLATE` makes it."""
    held = live(person, "CronJob", template, "batch/v1", "wheat")
    assert held["spec"]["suspend"] is True, "it never starts by itself"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "wheat"},
        "spec": held["spec"]["jobTemplate"]["spec"],
    }


@pytest.mark.parametrize("template", ["launch-sowing", "workspace-mariam"])
def test_a_developer_starts_what_is_prepared_and_it_comes_to_have_a_pod(
    api: Api, cluster: ControlPlane, template: str
) -> None:
    with cluster.api(cluster.kubeconfig_for("mariam", ["wheat-developer"])) as mariam:
        started(mariam, api, from_template(mariam, template, "by-mariam"))


@pytest.mark.parametrize("group", ["wheat-viewer", "dates-developer"])
def test_nobody_else_starts_it(api: Api, cluster: ControlPlane, group: str) -> None:
    job = from_template(api, "launch-sowing", "by-somebody")
    with (
        cluster.api(cluster.kubeconfig_for("salem", [group])) as salem,
        pytest.raises(ApiError, match="forbidden"),
    ):
        salem.create(job, dry_run=True)


def test_a_workspace_runs_once_at_a_time(api: Api, cluster: ControlPlane) -> None:
    with cluster.api(cluster.kubeconfig_for("mariam", ["wheat-developer"])) as mariam:
        job = from_template(mariam, "workspace-mariam", "workspace-mariam")
        made = mariam.create(job)
        try:
            with pytest.raises(ApiError, match="already exists"):
                mariam.create(job)
        finally:
            api.request("DELETE", api.path_of(made), params={"propagationPolicy": "Background"})


# --- the engine -----------------------------------------------------------------------------------


def test_a_second_update_changes_nothing(layer: Program, succeed: Callable[..., Any]) -> None:
    succeed(layer.up("--expect-no-changes", "--refresh"))


def test_a_destroy_leaves_nothing(layer: Program, succeed: Callable[..., Any], api: Api) -> None:
    succeed(layer.destroy())
    namespaces = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
    assert not {"wheat", "dates", "orchestration"} & namespaces
