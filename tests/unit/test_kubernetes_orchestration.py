"""Dagster on a cluster as the program registers it, and its files as Dagster itself reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pulumi
import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.config_schema import process_workspace_config
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.webserver import DagsterWebserver
from pydantic import ValidationError

from components.images import read_catalogue
from components.kubernetes import tracking_client
from components.kubernetes.code_location import CodeLocation, CodeLocationArgs
from components.kubernetes.flows import PARTS, Part
from components.kubernetes.orchestration import (
    CONTENT,
    LAUNCHER,
    PART,
    Orchestration,
    OrchestrationArgs,
)
from components.kubernetes.orchestration_files import (
    AUTHORITIES,
    CODE_PORT,
    FILES,
    HOME,
    INSTANCE,
    PASSWORD,
    WORKSPACE,
    InstanceDatabase,
    instance,
    workspace,
)
from components.kubernetes.orchestration_pods import CODE
from components.kubernetes.orchestration_settings import (
    OrchestrationSettings,
    TeamOrchestration,
    members,
    problems_of_orchestration,
)
from components.kubernetes.pages import COOKIE_SECRET, METRICS_PORT, PORT, WRITTEN, Page
from components.kubernetes.pages_settings import PagesSettings
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.serving import Door
from components.kubernetes.settings import TeamGroups, TeamQuota
from components.kubernetes.tenancy import SERVICE_ACCOUNT

Record = Callable[[Callable[[], object]], Any]

PAGES = PagesSettings(
    host="dagster.example.ae", issuer="https://sign-in.example.ae", client_id="dagster"
)
OWN = TeamOrchestration(locations=("sowing", "harvest"))
SETTINGS = OrchestrationSettings(pages=PAGES, teams={"wheat": OWN})
BY_PASSWORD = InstanceDatabase(
    host="database.example", name="dagster_wheat", role="dagster_wheat", authorities="PEM"
)
BY_IAM = replace(BY_PASSWORD, region="me-central-1")
DOOR = Door(
    namespace="serving",
    gateway="serving/pages",
    hosts=("dagster.example.ae",),
    service="gateway",
    service_account="gateway",
)
SOURCE = SecretSource(
    store="platform",
    keys={
        noun: f"falaj/wheat/{noun}"
        for noun in ("client-secret", "cookie-secret", "database-password")
    },
)
TEAM_SOURCE = SecretSource(store="wheat", keys={"database-password": "wheat/database-password"})
ARGS = OrchestrationArgs(
    team="wheat",
    settings=SETTINGS,
    keep=True,
    groups=("wheat-viewer", "wheat-developer"),
    namespace=PART,
    image="registry.ae.example/prod/dagster-k8s:1",
    proxy_image="registry.ae.example/prod/oauth2-proxy:1",
    database=BY_PASSWORD,
    secret_source=SOURCE,
    team_secret_source=TEAM_SOURCE,
    door=DOOR,
    monitored=True,
)


def built(record: Record, **change: Any) -> Any:
    """What the component registers."""
    return record(lambda: Orchestration("one", replace(ARGS, **change)))


def pod_of(made: Any) -> Any:
    """The `spec` of the pods of a Deployment, Job or CronJob."""
    spec = made.inputs["spec"]
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"]


def container(made: Any, name: str) -> Any:
    """One of its containers."""
    (found,) = [one for one in pod_of(made)["containers"] if one["name"] == name]
    return found


# --- files ----------------------------------------------------------------------------------------


def read(folder: Path, content: Any) -> Any:
    """What Dagster makes of an instance."""
    (folder / INSTANCE).write_text(yaml.safe_dump(content))
    return dagster_instance_config(str(folder))[0]


@pytest.mark.parametrize("database", [BY_PASSWORD, BY_IAM], ids=["password", "iam"])
def test_dagster_itself_reads_the_instance(tmp_path: Path, database: InstanceDatabase) -> None:
    known = read(tmp_path, instance("wheat", OWN, database))
    assert known["storage"]["postgres"]["postgres_db"]["hostname"] == "database.example"
    assert known["run_coordinator"]["class"] == "QueuedRunCoordinator"
    assert known["concurrency"]["runs"]["max_concurrent_runs"] == 4
    assert known["run_retries"] == {
        "enabled": True,
        "max_retries": 1,
        "retry_on_asset_or_op_failure": False,
    }


def test_dagster_refuses_an_instance_with_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    spoiled = instance("wheat", OWN, BY_PASSWORD) | {"run_launchers": {}}
    with pytest.raises(DagsterInvalidConfigError, match="run_launchers"):
        read(tmp_path, spoiled)


def test_dagster_itself_reads_the_workspace() -> None:
    content = workspace("wheat", OWN.locations)
    assert process_workspace_config(content).success
    hosts = [one["grpc_server"]["host"] for one in content["load_from"]]
    assert hosts == ["sowing-code.wheat.svc", "harvest-code.wheat.svc"]


def test_the_files_hold_no_secret(record: Record) -> None:
    for files in built(record).of("ConfigMap"):
        stored = yaml.safe_load(files.inputs["data"][INSTANCE])["storage"]["postgres"]
        assert stored["postgres_db"]["password"] == {"env": PASSWORD}
    by_iam = instance("wheat", OWN, BY_IAM)["storage"]["postgres"]
    assert "password" not in by_iam["postgres_db"]
    assert by_iam["auth_provider"] == {"aws_wif": {"region": "me-central-1"}}


def test_the_database_is_spoken_to_over_tls_and_its_authority_is_mounted(record: Record) -> None:
    params = instance("wheat", OWN, BY_PASSWORD)["storage"]["postgres"]["postgres_db"]["params"]
    assert params == {"sslmode": "verify-full", "sslrootcert": f"{HOME}/{AUTHORITIES}"}
    made = built(record)
    for one in (*made.of("Deployment"), *made.of("Job"), *made.of("CronJob")):
        (first, *_) = pod_of(one)["containers"]
        mounted = {mount["mountPath"]: mount.get("subPath") for mount in first["volumeMounts"]}
        assert mounted[f"{HOME}/{AUTHORITIES}"] == AUTHORITIES
        (files,) = [volume for volume in pod_of(one)["volumes"] if volume["name"] == "files"]
        there = {
            (config.inputs["metadata"]["namespace"], config.inputs["metadata"]["name"])
            for config in made.of("ConfigMap")
        }
        assert (one.inputs["metadata"]["namespace"], files["configMap"]["name"]) in there


# --- runs -----------------------------------------------------------------------------------------


def launcher(**change: Any) -> Any:
    """The configuration of the launcher."""
    own = OWN.model_copy(update=change)
    return instance("wheat", own, BY_PASSWORD)["run_launcher"]["config"]


def test_a_run_is_of_its_team_and_can_be_of_no_other() -> None:
    config = launcher()
    assert (config["job_namespace"], config["service_account_name"]) == ("wheat", SERVICE_ACCOUNT)
    allowed = config["only_allow_user_defined_k8s_config_fields"]
    assert "service_account_name" not in allowed["pod_spec_config"]
    assert not {"security_context", "image", "volume_mounts"} & set(allowed["container_config"])
    assert "namespace" not in allowed


def test_a_run_signs_in_to_the_registry_as_its_team() -> None:
    config = launcher()
    assert tracking_client.VOLUME in config["volumes"]
    assert tracking_client.MOUNT in config["volume_mounts"]
    told = dict(one.split("=", 1) for one in config["env_vars"])
    assert tracking_client.VARIABLES.items() <= told.items()


def test_a_run_has_limits_an_end_and_what_pod_security_asks() -> None:
    config = launcher(max_run_hours=2)
    assert config["resources"]["limits"]["memory"] == "2Gi"
    assert config["security_context"]["readOnlyRootFilesystem"] is True
    run = config["run_k8s_config"]
    assert run["pod_spec_config"]["securityContext"]["runAsNonRoot"] is True
    assert run["job_spec_config"]["activeDeadlineSeconds"] > 2 * 3600, "the daemon ends it first"
    assert run["job_spec_config"]["backoffLimit"] == 0, "retries are the daemon's"


def test_the_launcher_gives_runs_the_password_from_a_secret_that_is_there(record: Record) -> None:
    made = built(record)
    name = launcher()["postgres_password_secret"]
    secret = made.the("ExternalSecret", "team-secret").inputs
    assert (secret["metadata"]["namespace"], secret["spec"]["target"]["name"]) == ("wheat", name)
    assert list(secret["spec"]["target"]["template"]["data"]) == ["postgresql-password"]
    by_iam = instance("wheat", OWN, BY_IAM)["run_launcher"]["config"]
    assert "postgres_password_secret" not in by_iam
    assert len(built(record, database=BY_IAM).of("ExternalSecret")) == 1, "of the pages alone"


# --- who may --------------------------------------------------------------------------------------


def test_the_pages_are_read_only_and_answer_to_the_proxy_alone(record: Record) -> None:
    pages = container(built(record).the("Deployment", "pages"), "pages")
    command = pages["command"]
    assert "--read-only" in command
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "ports" not in pages
    upstream = f"--upstream=http://127.0.0.1:{command[command.index('--port') + 1]}"
    proxy = container(built(record).the("Deployment", "pages"), "sign-in")
    assert upstream in proxy["args"]


def test_the_groups_of_the_team_come_in_and_no_others(record: Record) -> None:
    proxy = container(built(record).the("Deployment", "pages"), "sign-in")
    allowed = [one for one in proxy["args"] if one.startswith("--allowed-group=")]
    assert allowed == ["--allowed-group=wheat-viewer", "--allowed-group=wheat-developer"]
    assert not [one for one in proxy["args"] if "secret" in one], "secrets come from the Secret"


def test_a_page_for_everybody_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="neither groups nor people"):
        Page(settings=PAGES, path="/wheat", port=3000, secret="one")
    with pytest.raises(ValueError, match=r"teams\.wheat\.groups: names nobody"):
        replace(ARGS, groups=())


def test_the_cookies_key_is_as_long_as_aes_asks_whatever_was_generated(record: Record) -> None:
    spec = built(record).the("ExternalSecret", "one-secret").inputs["spec"]
    assert spec["target"]["template"]["data"][COOKIE_SECRET] == (
        "{{ .cookie_secret | sha256sum | trunc 32 }}"
    )
    assert {"secretKey": "cookie_secret", "remoteRef": {"key": "falaj/wheat/cookie-secret"}} in (
        spec["data"]
    )


def test_the_daemon_alone_may_launch_and_in_its_teams_namespace_alone(record: Record) -> None:
    made = built(record)
    binding = made.the("RoleBinding").inputs
    assert binding["metadata"]["namespace"] == "wheat"
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == ("wheat-daemon", PART)
    assert pod_of(made.the("Deployment", "daemon"))["serviceAccountName"] == "wheat-daemon"
    assert pod_of(made.the("Deployment", "pages"))["serviceAccountName"] == "wheat-pages"
    assert not made.of("ClusterRole")


def test_the_launcher_reads_no_secret_and_changes_no_right() -> None:
    resources = {one for rule in LAUNCHER for one in rule["resources"]}
    assert resources == {"jobs", "jobs/status", "pods", "pods/log", "events"}
    assert not [rule for rule in LAUNCHER if "*" in (*rule["verbs"], *rule["resources"])]


def test_no_account_has_a_token_mounted_unasked(record: Record) -> None:
    made = built(record)
    assert all(
        one.inputs["automountServiceAccountToken"] is False for one in made.of("ServiceAccount")
    )
    for one in (*made.of("Deployment"), *made.of("Job"), *made.of("CronJob")):
        assert pod_of(one)["automountServiceAccountToken"] is False
        with_token = {
            each["name"]
            for each in pod_of(one)["containers"]
            if "api-token" in {mount["name"] for mount in each.get("volumeMounts", ())}
        }
        assert with_token <= {"pages", "daemon", "migration"}, "who loads the launcher"


# --- pods -----------------------------------------------------------------------------------------


def test_the_daemon_is_one_and_is_gone_before_the_next_comes(record: Record) -> None:
    spec = built(record).the("Deployment", "daemon").inputs["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_where_data_is_kept_the_pages_are_two_and_one_may_go(record: Record) -> None:
    made = built(record)
    labels = made.the("Deployment", "pages").inputs["spec"]["selector"]["matchLabels"]
    assert made.the("Deployment", "pages").inputs["spec"]["replicas"] == 2
    assert made.the("PodDisruptionBudget").inputs["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": labels},
    }
    alone = built(record, keep=False)
    assert alone.the("Deployment", "pages").inputs["spec"]["replicas"] == 1
    assert not alone.of("PodDisruptionBudget"), "it would hold a node for ever"


def test_other_files_make_other_pods_and_another_migration(record: Record) -> None:
    def seen(made: Any) -> set[str]:
        notes = [
            one.inputs["spec"]["template"]["metadata"]["annotations"][CONTENT]
            for one in made.of("Deployment")
        ]
        return {*notes, made.the("Job").inputs["metadata"]["name"]}

    changed = SETTINGS.model_copy(
        update={"teams": {"wheat": OWN.model_copy(update={"max_concurrent_runs": 9})}}
    )
    first = seen(built(record))
    assert first == seen(built(record)), "nothing changes by itself"
    assert not first & seen(built(record, settings=changed))


def test_what_selects_the_pods_of_the_pages_selects_nothing_else(record: Record) -> None:
    made = built(record)
    selector = made.the("Service").inputs["spec"]["selector"]
    matched = [
        one.name
        for one in (*made.of("Deployment"), *made.of("Job"))
        if selector.items() <= one.inputs["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert matched == ["one-pages"]
    monitor = made.the("ServiceMonitor").inputs["spec"]
    assert monitor["selector"]["matchLabels"].items() <= (
        made.the("Service").inputs["metadata"]["labels"].items()
    )
    ports = {one["name"]: one["port"] for one in made.the("Service").inputs["spec"]["ports"]}
    assert ports == {"http": PORT, "http-metrics": METRICS_PORT}
    assert [one["port"] for one in monitor["endpoints"]] == ["http-metrics"]


def test_people_come_by_the_gateway_below_the_teams_path(record: Record) -> None:
    route = built(record).the("VirtualService").inputs
    assert route["metadata"]["namespace"] == "serving"
    (http,) = route["spec"]["http"]
    assert {"uri": {"prefix": "/dagster/wheat/"}} in http["match"]
    assert http["route"][0]["destination"] == {
        "host": "wheat-pages.orchestration.svc.cluster.local",
        "port": {"number": PORT},
    }


def test_a_host_that_the_gateway_does_not_answer_for_is_refused() -> None:
    closed = replace(DOOR, hosts=("models.example.ae",))
    with pytest.raises(ValueError, match=r"pages\.host: dagster\.example\.ae; the gateway"):
        replace(ARGS, door=closed)


def test_a_secret_without_a_name_in_the_store_is_refused() -> None:
    lacking = SecretSource(store="platform", keys={"client-secret": "one"})
    with pytest.raises(ValueError, match="lacks cookie-secret, database-password"):
        replace(ARGS, secret_source=lacking)
    both = SecretSource(store="platform", keys=dict.fromkeys(WRITTEN, "one"))
    assert replace(ARGS, secret_source=both, database=BY_IAM)


# --- starting a run -------------------------------------------------------------------------------


def test_a_run_is_started_from_a_template_that_never_starts_by_itself(record: Record) -> None:
    made = built(record)
    assert {one.inputs["metadata"]["name"] for one in made.of("CronJob")} == {
        "launch-sowing",
        "launch-harvest",
    }
    for one in made.of("CronJob"):
        assert one.inputs["spec"]["suspend"] is True
        assert one.inputs["metadata"]["namespace"] == "wheat"
        assert pod_of(one)["serviceAccountName"] == SERVICE_ACCOUNT
        command = container(one, "launch")["command"]
        assert command[:3] == ["dagster", "job", "launch"]


# --- code -----------------------------------------------------------------------------------------


def code(record: Record) -> Any:
    """A code location."""
    args = CodeLocationArgs(
        location="sowing",
        team="wheat",
        image="registry.ae.example/prod/sowing:1",
        by_password=True,
        variables={
            "FALAJ_WORKLOAD": "sowing",
            "FALAJ_DATA_URI": pulumi.Output.from_input("s3://d"),
        },
        secrets=("ray-token",),
    )
    return record(lambda: CodeLocation("two", args))


def test_code_is_served_as_on_one_machine(record: Record) -> None:
    served = container(code(record).the("Deployment"), "code")
    command = served["command"]
    assert command[:3] == ["dagster", "api", "grpc"]
    assert command[command.index("--module-name") + 1] == "workloads.delivery.definitions"
    assert command[command.index("--location-name") + 1] == "sowing"
    assert served["livenessProbe"]["grpc"] == {"port": CODE_PORT, "service": "DagsterApi"}


def test_the_instance_finds_the_code_where_it_is(record: Record) -> None:
    made = code(record)
    (first, _) = workspace("wheat", OWN.locations)["load_from"]
    metadata = made.the("Service").inputs["metadata"]
    assert first["grpc_server"]["host"] == f"{metadata['name']}.{metadata['namespace']}.svc"
    assert first["grpc_server"]["port"] == made.the("Service").inputs["spec"]["ports"][0]["port"]
    labels = made.the("Deployment").inputs["spec"]["template"]["metadata"]["labels"]
    assert made.the("Service").inputs["spec"]["selector"].items() <= labels.items()
    part = PARTS["team-code"]
    assert isinstance(part, Part)
    assert part.pods == CODE
    assert CODE.items() <= labels.items()


def test_a_run_is_told_what_its_code_is_told(record: Record) -> None:
    served = container(code(record).the("Deployment"), "code")
    told = {one["name"]: one.get("value") for one in served["env"]}
    assert told["DAGSTER_CONTAINER_IMAGE"] == "registry.ae.example/prod/sowing:1"
    assert json.loads(told["DAGSTER_CONTAINER_CONTEXT"]) == {
        "k8s": {
            "env_vars": ["FALAJ_DATA_URI=s3://d", "FALAJ_WORKLOAD=sowing"],
            "env_secrets": ["ray-token"],
        }
    }
    assert served["envFrom"] == [{"secretRef": {"name": "ray-token"}}]
    assert pod_of(code(record).the("Deployment"))["volumes"][-1]["configMap"]["name"] == FILES
    assert WORKSPACE in {mount.get("subPath") for mount in served["volumeMounts"]}


# --- settings -------------------------------------------------------------------------------------

QUOTA = TeamQuota(groups=TeamGroups(viewer=("wheat-viewer",), operator=("wheat-operator",)))


@pytest.mark.parametrize(
    ("asked", "quota", "problem"),
    [
        ({"dates": OWN}, QUOTA, "orchestration.teams.dates: is no team; teams are wheat"),
        ({"wheat": OWN}, TeamQuota(), "teams.wheat.groups names nobody"),
        (
            {"wheat": OWN.model_copy(update={"locations": ("sowing", "sowing")})},
            QUOTA,
            "locations: sowing stands twice",
        ),
        (
            {"wheat": OWN.model_copy(update={"max_concurrent_runs": 40})},
            QUOTA,
            "40 runs at once need 20 of teams.wheat.cpu_quota, which is 8",
        ),
    ],
)
def test_what_does_not_fit_the_teams_is_told(
    asked: dict[str, TeamOrchestration], quota: TeamQuota, problem: str
) -> None:
    settings = SETTINGS.model_copy(update={"teams": asked})
    found = list(problems_of_orchestration(settings, {"wheat": quota}))
    assert any(problem in one for one in found), found


def test_what_fits_has_no_problem() -> None:
    assert list(problems_of_orchestration(SETTINGS, {"wheat": QUOTA})) == []
    assert members(QUOTA) == ("wheat-viewer", "wheat-operator")


@pytest.mark.parametrize(
    "change", [{"host": "https://x.ae"}, {"issuer": "http://sign-in.example.ae"}, {"client_id": ""}]
)
def test_pages_that_nobody_could_sign_in_to_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PagesSettings.model_validate(PAGES.model_dump() | change)


def test_the_quota_of_the_platforms_namespace_holds_every_pod(record: Record) -> None:
    made = built(record)
    pods = [
        (one.inputs["spec"].get("replicas", 1), pod_of(one))
        for one in (*made.of("Deployment"), *made.of("Job"))
    ]
    cpus = sum(
        count * _cores(each["resources"]["requests"]["cpu"])
        for count, pod in pods
        for each in pod["containers"]
    )
    quota = SETTINGS.quota(keep=True)
    assert cpus <= quota.cpu_quota
    assert sum(count for count, _ in pods) < quota.pod_quota


def _cores(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def test_the_images_are_in_the_catalogue() -> None:
    images = read_catalogue().images
    assert "orchestration" in images["dagster-k8s"].used_by
    assert "orchestration" in images["oauth2-proxy"].used_by


# --- Dagster's own server -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read_only", "answer"), [(True, "UnauthorizedError"), (False, "Workspace")]
)
def test_a_server_that_is_read_only_refuses_what_changes_anything(
    *, read_only: bool, answer: str
) -> None:
    """What `--read-only` does, asked of the server itself in this process."""
    query = {"query": "mutation { reloadWorkspace { __typename } }"}

    async def asked(server: DagsterWebserver) -> Any:
        through = httpx.ASGITransport(app=server.create_asgi_app())
        async with httpx.AsyncClient(transport=through, base_url="http://dagster") as client:
            return (await client.post("/graphql", json=query)).json()

    with (
        DagsterInstance.local_temp() as own,
        WorkspaceProcessContext(own, EmptyWorkspaceTarget(), read_only=read_only) as served,
    ):
        told = asyncio.run(asked(DagsterWebserver(served)))
    assert told["data"]["reloadWorkspace"]["__typename"] == answer
