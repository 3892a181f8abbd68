"""Workspaces as the program registers them: whose they are, where they fetch from, how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from components.images import read_catalogue
from components.kubernetes import tracking_client
from components.kubernetes.flows import PARTS, Part
from components.kubernetes.pages import PORT, WRITTEN
from components.kubernetes.pages_settings import PagesSettings
from components.kubernetes.pools import GPU, KIND, POOL, Pool
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.serving import Door
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import SERVICE_ACCOUNT
from components.kubernetes.workspace import PART, WORK, Workspace, WorkspaceArgs
from components.kubernetes.workspace_settings import (
    PackageMirrors,
    WorkspaceSettings,
    WorkspaceUser,
    problems_of_workspaces,
)

Record = Callable[[Callable[[], object]], Any]

PAGES = PagesSettings(
    host="work.example.ae", issuer="https://sign-in.example.ae", client_id="workspaces"
)
MARIAM = WorkspaceUser(email="Mariam@example.ae", team="wheat")
IMAGE = f"registry.ae.example/prod/workspace:1@sha256:{'0' * 64}"
SETTINGS = WorkspaceSettings(pages=PAGES, image=IMAGE, users={"mariam": MARIAM})
POOLS = {
    "training": Pool(
        kind="gpu",
        labels={KIND: "gpu", POOL: "training"},
        taints=({"key": GPU, "value": "true", "effect": "NoSchedule"},),
        cpus=7,
        memory_gib=28,
        gpus=1,
        max_nodes=2,
    )
}
ARGS = WorkspaceArgs(
    user="mariam",
    settings=SETTINGS,
    keep=True,
    proxy_image="registry.ae.example/prod/oauth2-proxy:1",
    storage_class="encrypted",
    pools=POOLS,
    secret_source=SecretSource(store="platform", keys=dict.fromkeys(WRITTEN, "falaj/workspaces")),
    door=Door(
        namespace="serving",
        gateway="serving/pages",
        hosts=("work.example.ae",),
        service="gateway",
        service_account="gateway",
    ),
)


def built(record: Record, **change: Any) -> Any:
    """What the component registers."""
    return record(lambda: Workspace("one", replace(ARGS, **change)))


def of(**change: Any) -> WorkspaceSettings:
    """Settings in which Mariam's workspace is another."""
    user = WorkspaceUser.model_validate(MARIAM.model_dump() | change)
    return SETTINGS.model_copy(update={"users": {"mariam": user}})


def pod(record: Record, **change: Any) -> Any:
    """The `spec` of the workspace's pod."""
    spec = built(record, **change).the("CronJob").inputs["spec"]["jobTemplate"]["spec"]
    return spec["template"]["spec"]


def server(record: Record, **change: Any) -> Any:
    """The container with the notebook."""
    (found,) = pod(record, **change)["containers"]
    return found


def told(record: Record, mirrors: PackageMirrors) -> dict[str, str]:
    """The environment of the notebook."""
    settings = SETTINGS.model_copy(update={"mirrors": mirrors})
    return {one["name"]: one["value"] for one in server(record, settings=settings)["env"]}


# --- whose it is ----------------------------------------------------------------------------------


def test_its_user_comes_in_and_nobody_else(record: Record) -> None:
    made = built(record)
    assert made.the("ConfigMap").inputs["data"] == {"people": "mariam@example.ae\n"}
    (proxy,) = pod(record)["initContainers"]
    assert "--email-domain=*" not in proxy["args"], "it would let everybody in"
    (listed,) = [one for one in proxy["args"] if one.startswith("--authenticated-emails-file=")]
    (mounted,) = proxy["volumeMounts"]
    assert listed.removeprefix("--authenticated-emails-file=") == f"{mounted['mountPath']}/people"
    (people,) = [one for one in pod(record)["volumes"] if one["name"] == mounted["name"]]
    assert people["configMap"]["name"] == made.the("ConfigMap").inputs["metadata"]["name"]


def test_the_notebook_answers_to_the_proxy_alone(record: Record) -> None:
    command = server(record)["command"]
    assert "--ServerApp.ip=127.0.0.1" in command
    (port,) = [one for one in command if one.startswith("--ServerApp.port=")]
    (proxy,) = pod(record)["initContainers"]
    assert f"--upstream=http://127.0.0.1:{port.partition('=')[2]}" in proxy["args"]
    assert "ports" not in server(record)


def test_the_way_leads_to_the_proxy(record: Record) -> None:
    made = built(record)
    (http,) = made.the("VirtualService").inputs["spec"]["http"]
    assert {"uri": {"prefix": "/workspaces/wheat/mariam/"}} in http["match"]
    assert http["route"][0]["destination"] == {
        "host": "workspace-mariam.wheat.svc.cluster.local",
        "port": {"number": PORT},
    }
    labels = made.the("CronJob").inputs["spec"]["jobTemplate"]["spec"]["template"]["metadata"][
        "labels"
    ]
    assert made.the("Service").inputs["spec"]["selector"].items() <= labels.items()
    part = PARTS["team-workspace"]
    assert isinstance(part, Part)
    assert part.pods == PART
    assert PART.items() <= labels.items()


def test_it_is_of_its_team_without_a_token(record: Record) -> None:
    spec = pod(record)
    assert spec["serviceAccountName"] == SERVICE_ACCOUNT
    assert spec["automountServiceAccountToken"] is False
    assert {one.inputs["metadata"]["namespace"] for one in built(record).of("CronJob")} == {"wheat"}


# --- how it begins and ends -----------------------------------------------------------------------


def test_it_starts_when_it_is_asked_and_ends_when_nothing_is_done(record: Record) -> None:
    spec = built(record).the("CronJob").inputs["spec"]
    assert spec["suspend"] is True
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 12 * 3600
    command = server(record)["command"]
    assert "--ServerApp.shutdown_no_activity_timeout=3600" in command
    assert "--MappingKernelManager.cull_idle_timeout=3600" in command


def test_the_proxy_ends_with_the_notebook(record: Record) -> None:
    """A container beside it would keep the Job, and its room, for ever."""
    assert len(pod(record)["containers"]) == 1
    (proxy,) = pod(record)["initContainers"]
    assert proxy["restartPolicy"] == "Always"
    assert pod(record)["restartPolicy"] == "OnFailure", "an end without fault is one"


def test_its_volume_stays(record: Record) -> None:
    made = built(record)
    claim = made.the("PersistentVolumeClaim").inputs
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["storageClassName"] == "encrypted"
    assert claim["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    (work,) = [one for one in pod(record)["volumes"] if "persistentVolumeClaim" in one]
    assert work["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {"name": work["name"], "mountPath": WORK} in server(record)["volumeMounts"]


# --- what it has ----------------------------------------------------------------------------------


def test_its_room_is_what_was_asked_for(record: Record) -> None:
    resources = server(record, settings=of(cpus=2, memory_gib=8))["resources"]
    assert resources["requests"] == {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "8Gi"}
    assert resources["limits"]["memory"] == "8Gi"


def test_a_workspace_with_gpus_lands_on_their_nodes(record: Record) -> None:
    settings = of(gpus=1, pool="training")
    assert server(record, settings=settings)["resources"]["limits"][GPU] == "1"
    spec = pod(record, settings=settings)
    assert spec["tolerations"][0]["key"] == GPU
    assert "affinity" in spec
    assert "affinity" not in pod(record)


def test_packages_come_from_the_mirrors(record: Record) -> None:
    seen = told(
        record,
        PackageMirrors(
            python="https://packages.example.ae/python/simple",
            conda="https://packages.example.ae/conda",
            models="https://models.example.ae",
        ),
    )
    assert seen["PIP_INDEX_URL"] == seen["UV_DEFAULT_INDEX"]
    assert seen["PIP_INDEX_URL"] == "https://packages.example.ae/python/simple"
    assert seen["CONDA_CHANNEL_ALIAS"] == "https://packages.example.ae/conda"
    assert seen["HF_ENDPOINT"] == "https://models.example.ae"
    assert "PIP_NO_INDEX" not in seen


def test_without_a_mirror_nothing_is_fetched(record: Record) -> None:
    seen = told(record, PackageMirrors())
    assert (seen["PIP_NO_INDEX"], seen["UV_OFFLINE"], seen["HF_HUB_OFFLINE"]) == ("1", "1", "1")
    assert seen["CONDA_OFFLINE"] == "true"
    assert "PIP_INDEX_URL" not in seen


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "https://pypi.org/",
        "https://conda.anaconda.org",
        "https://huggingface.co",
        "http://packages.example.ae",
        "https://somebody:word@packages.example.ae",
    ],
)
def test_a_mirror_abroad_in_plain_or_with_a_password_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        PackageMirrors(python=address)


def test_a_mirror_that_only_ends_alike_is_taken() -> None:
    assert PackageMirrors(python="https://mirror-of-pypi.org.example.ae/")


def test_gpus_without_a_pool_are_refused() -> None:
    with pytest.raises(ValidationError, match="gpus: 1, but no pool"):
        of(gpus=1)


TEAMS = {"wheat": TeamQuota(gpu_quota=2)}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"team": "dates"}, "users.mariam.team: dates is none of wheat"),
        ({"cpus": 9}, "needs 9 of teams.wheat.cpu_quota, which is 8"),
        ({"disk_gib": 300}, "those of wheat have 300 GiB of disk together"),
        ({"gpus": 2, "pool": "training"}, "users.mariam.gpus: 2, but a node of training has 1"),
        ({"gpus": 1, "pool": "other"}, "users.mariam.pool: other is none of training"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, Any], problem: str) -> None:
    found = list(problems_of_workspaces(of(**change), TEAMS, POOLS))
    assert any(problem in one for one in found), found


def test_two_workspaces_of_one_address_are_refused() -> None:
    settings = SETTINGS.model_copy(update={"users": {"mariam": MARIAM, "other": MARIAM}})
    (found,) = problems_of_workspaces(settings, TEAMS, POOLS)
    assert "mariam@example.ae has the workspace mariam in wheat already" in found


def test_what_fits_has_no_problem() -> None:
    assert list(problems_of_workspaces(SETTINGS, TEAMS, POOLS)) == []


def test_a_workspace_of_nobody_and_a_closed_door_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks salem"):
        replace(ARGS, user="salem")
    assert ARGS.door is not None
    with pytest.raises(ValueError, match="the gateway answers for models"):
        replace(ARGS, door=replace(ARGS.door, hosts=("models.example.ae",)))


def test_the_proxy_is_in_the_catalogue() -> None:
    assert "workspace" in read_catalogue().images["oauth2-proxy"].used_by


def test_a_notebook_signs_in_to_mlflow_as_its_team_where_there_is_one(record: Record) -> None:
    def pod(**change: Any) -> Any:
        made = record(lambda: Workspace("one", replace(ARGS, **change))).the("CronJob")
        return made.inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    told = pod(tracking_uri="http://mlflow.tracking.svc:5000")
    (server,) = told["containers"]
    assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.tracking.svc:5000"} in (
        server["env"]
    )
    assert tracking_client.MOUNT["name"] in {one["name"] for one in server["volumeMounts"]}
    # the proxy, which people reach, has no token
    (proxy,) = told["initContainers"]
    assert "tracking-token" not in {one["name"] for one in proxy["volumeMounts"]}
    assert "tracking-token" in {one["name"] for one in told["volumes"]}
    assert "tracking-token" not in {one["name"] for one in pod()["volumes"]}
