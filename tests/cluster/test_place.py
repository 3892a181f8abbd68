"""The whole layer as an environment asks for it, on a real API server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi
import kubernetes_live
import pytest
import yaml
from control_plane import ControlPlane
from kubernetes_api import Api, Object

from stacks.environment import ROOT
from stacks.offline import Offline, offline
from stacks.settings import read_file

EXAMPLE = ROOT / "docs" / "examples" / "existing-cluster" / "Pulumi.site.yaml"
KINDS = (
    *("kuberay", "kueue", "kyverno", "istio", "prometheus-operator", "external-secrets"),
    *("cert-manager", "velero"),
)
LAYER = (
    *("admission", "operators", "training", "serving", "signatures", "monitoring", "teams"),
    *("organisation", "tracking", "orchestration", "workspaces", "feature_store"),
)
UP = ("up", "--yes", "--skip-preview")


def site(environment: str) -> dict[str, Any]:
    """The settings of a site with the layer that `environment` has."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    wanted = read_file(environment).model_dump(mode="json", include=set(LAYER), exclude_unset=True)
    content["config"] |= {f"falaj:{part}": asked for part, asked in wanted.items() if asked}
    for part in ("orchestration", "workspaces"):
        if (asked := wanted.get(part)) is not None:
            asked["pages"]["host"] = "pages.ml.bank.example"
    if (tracking := wanted.get("tracking")) is not None:
        tracking["hosts"] = ["tracking.ml.bank.example"]
    for part in ("tracking", "workspaces"):
        if (images := wanted.get(part)) is not None:
            _, _, name = images["image"].rpartition("/")
            images["image"] = f"harbor.bank.example/falaj/{name}"
    if wanted.get("operators") is None:
        # teams and admission are all that such an environment has
        del content["config"]["falaj:operators"]
    content["config"]["falaj:kubernetes"]["database_authorities"] = certifi.contents()
    content["config"]["falaj:kubernetes"]["orchestration"] = {
        team: f"postgresql://dagster_{team}@db.bank.example:5432/dagster_{team}"
        for team in (wanted.get("orchestration") or {}).get("teams", {})
    }
    if not wanted.get("feature_store"):
        del content["config"]["falaj:feature_store"]
    content["config"]["falaj:admission"] = {
        **(wanted.get("admission") or {}),
        "registries": ["harbor.bank.example/"],
    }
    content["config"]["falaj:cluster_backup"] = {
        "store": {
            "endpoint": "https://s3.bank.example",
            "bucket": "falaj-backups",
            "encrypted_by": "the array, keys in the HSM of the data centre",
            "credentials_secret": "velero",
        }
    }
    return content


@pytest.fixture(params=["dev", "test", "staging", "prod"])
def stack(
    request: pytest.FixtureRequest,
    cluster: ControlPlane,
    define: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Offline]:
    """An environment whose `kubernetes` provider applies."""
    define(*KINDS)
    environment = str(request.param)
    (tmp_path / f"Pulumi.{environment}.yaml").write_text(yaml.safe_dump(site(environment)))
    monkeypatch.setattr("stacks.offline.CONFIG_DIRECTORY", tmp_path)
    with offline(environment) as made:
        live = {kubernetes_live.VARIABLE: kubernetes_live.APPLY}
        ready = replace(made, variables=made.variables | live)
        set_up = ready.pulumi(
            *("config", "set", "--secret", "falaj:kubeconfig"), standard_input=cluster.kubeconfig()
        )
        assert set_up.returncode == 0, set_up.stderr
        yield ready
        shutil.rmtree(tmp_path, ignore_errors=True)


def test_it_is_accepted_changes_nothing_again_and_goes_with_its_namespaces(
    stack: Offline,
    succeed: Callable[..., Any],
    api: Api,
    until_nothing_is_judged: Callable[[Api], None],
) -> None:
    before = names(api)
    try:
        succeed(stack.pulumi(*UP))
        there = names(api)
        for judged in STARTED[stack.environment]:
            for one in judged(api):
                assert_comes_to_have_a_pod(api, one)
        served = {one["namespace"] for one in deployments(api, "feast")}
        succeed(stack.pulumi(*UP, "--expect-no-changes"))
    finally:
        gone = stack.pulumi("destroy", "--yes", "--skip-preview")

    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert "credit" in there
    if stack.environment != "dev":
        assert {"serving", "monitoring", "istio-system", "training", "tracking"} <= there
    assert served == ({"credit"} if stack.environment == "prod" else set())
    until_nothing_is_judged(api)
    assert names(api) == before


def dagster(api: Api) -> Iterator[Object]:
    """What a team's Dagster is made of."""
    yield from deployed(api, "orchestration")


def mlflow(api: Api) -> Iterator[Object]:
    """The servers, and the Job that prepares their databases."""
    yield from deployed(api, "tracking")


def deployed(api: Api, namespace: str) -> Iterator[Object]:
    """What starts pods in a namespace of the platform."""
    for kind in ("Deployment", "Job"):
        group = "apps/v1" if kind == "Deployment" else "batch/v1"
        listed = api.list(group, kind, namespace)
        assert listed, kind
        for one in listed:
            yield {"apiVersion": group, "kind": kind, **one}


def notebook(api: Api) -> Iterator[Object]:
    """A person's workspace, as it is started from what is prepared."""
    (held,) = [
        one
        for one in api.list("batch/v1", "CronJob", "credit")
        if one["metadata"]["name"] == "workspace-mariam"
    ]
    yield api.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "workspace-mariam", "namespace": "credit"},
            "spec": held["spec"]["jobTemplate"]["spec"],
        }
    )


STARTED: dict[str, tuple[Callable[[Api], Iterator[Object]], ...]] = {
    "dev": (),
    "test": (mlflow, notebook),
    "staging": (mlflow,),
    "prod": (mlflow, dagster),
}
"""Whose pods are looked at: admission, quota and priority are the environment's."""


def assert_comes_to_have_a_pod(api: Api, owner: Object) -> None:
    """Admission, quota and Pod Security of the whole layer let it in."""
    status: Object = {}
    for seen in api.watch(owner, seconds=60):
        assert seen is not None
        status = seen.get("status", {})
        if status.get("active") or status.get("replicas"):
            return
    raise AssertionError(f"{owner['metadata']['name']}: {status}")


def deployments(api: Api, name: str) -> list[dict[str, Any]]:
    """The `metadata` of those labelled as `name`."""
    listed = api.request("GET", "/apis/apps/v1/deployments")["items"]
    return [
        one["metadata"]
        for one in listed
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/name") == name
    ]


def names(api: Api) -> set[str]:
    """Of all namespaces that there are."""
    listed = api.request("GET", "/api/v1/namespaces")
    return {one["metadata"]["name"] for one in listed["items"]}
