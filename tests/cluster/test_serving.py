"""The servers of models as the API server sees them, under both engines; and a release meanwhile.

No operator runs: of what Seldon's would make of a SeldonDeployment, its pods alone are judged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edge
import httpx
import pytest
import tenacity
import yaml
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubernetes_api import Api, ApiError, Object
from mesh_client import client_of

from workloads.delivery.mesh import BUCKET_HEADER, MeshRoute, MeshTrafficSplit
from workloads.delivery.traffic import GatewayDownError

REGISTRY = "registry.ae.example/prod"
PROGRAM = f"""
import json
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.edge import Edge, EdgeArgs
from components.kubernetes.priorities import Priorities
from components.kubernetes.serving import Door, Serving, ServingArgs
from components.kubernetes.serving_settings import ModelSettings, ServingSettings
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
front = Namespace(
    "front", NamespaceArgs(namespace="serving", part="serving", quota=TeamQuota()), opts
)
team = Team("team", TeamArgs(team="lending", quota=TeamQuota(gpu_quota=8)), opts)
priorities = Priorities("priorities", opts)
admission = Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="{REGISTRY}"),
    opts,
)
hosts = ["models.example.ae"]
door = Edge(
    "edge",
    EdgeArgs(
        namespace=front.namespace,
        pod_labels={{"istio": "gateway"}},
        hosts=hosts,
        certificate="models-tls",
    ),
    opts,
)
later = pulumi.ResourceOptions.merge(
    opts,
    pulumi.ResourceOptions(
        depends_on=[front, team, *priorities.ready, *admission.ready, *door.ready]
    ),
)
for workload, engine, model in (
    ("credit", "mlserver", ModelSettings(min_replicas=2)),
    ("churn", "seldon", ModelSettings(gpus=1, node_pool="gpu")),
):
    serving = Serving(
        workload,
        ServingArgs(
            environment="prod",
            settings=ServingSettings(engine=engine, seldon_licence_reference="SLD-2026-7"),
            workload=workload,
            team="lending",
            image="{REGISTRY}/credit:IMAGE@sha256:{"0" * 64}",
            tracking_uri="http://mlflow.tracking:5000",
            door=Door(
                namespace="serving",
                gateway=door.gateway,
                hosts=hosts,
                service="gateway",
                service_account="gateway",
            ),
            model=model,
        ),
        later,
    )
    pulumi.export(workload, json.dumps(serving.split))
"""
CREDIT = MeshRoute(
    namespace="lending",
    name="credit-split",
    slots={"a": "credit-a", "b": "credit-b"},
    port=9000,
    gateway_namespace="serving",
    gateway_service="gateway",
)


@pytest.fixture(scope="module", autouse=True)
def kinds(api: Api, define: Callable[..., list[str]]) -> None:
    define("istio")
    api.apply(yaml.safe_load(Path(__file__).with_name("seldon.yaml").read_text()), manager="tests")


@pytest.fixture(scope="module")
def layer(
    kinds: None, lasting_program: Callable[..., Program], succeed: Callable[..., Any]
) -> Program:
    """A team with a workload on each engine, applied under admission as in prod."""
    program = lasting_program(PROGRAM.replace("IMAGE", "1"))
    succeed(program.up())
    return program


@pytest.fixture
def split(layer: Program, cluster: ControlPlane) -> Iterator[MeshTrafficSplit]:
    """As the account that the component made for releases."""
    with client_of(cluster, "system:serviceaccount:lending:credit-release") as client:
        yield MeshTrafficSplit(client, CREDIT)


def got(api: Api, kind: str, name: str, version: str, namespace: str = "lending") -> Object:
    metadata = {"name": name, "namespace": namespace}
    found = api.get({"apiVersion": version, "kind": kind, "metadata": metadata})
    assert found is not None, f"there is no {kind} {name}"
    return found


def made(api: Api, name: str, template: Object) -> None:
    """A pod of a template, as far as being let in."""
    metadata = {"name": name, "namespace": "lending", "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    api.create(pod, dry_run=True)


def test_pods_of_both_engines_are_taken_by_admission_and_by_pod_security(
    layer: Program, api: Api
) -> None:
    deployment = got(api, "Deployment", "credit-a", "apps/v1")
    (predictor,) = got(api, "SeldonDeployment", "churn-b", "machinelearning.seldon.io/v1")["spec"][
        "predictors"
    ]
    (component,) = predictor["componentSpecs"]
    refused = copy.deepcopy(deployment["spec"]["template"])
    refused["spec"]["containers"][0]["image"] = f"{REGISTRY}/credit:1"
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60)
    ):
        with pause, pytest.raises(ApiError, match="is named by a tag"):  # until policies are judged
            made(api, "refused", refused)
    for number, template in enumerate((deployment["spec"]["template"], component)):
        made(api, f"one-{number}", template)


def test_each_slot_has_servers_a_name_and_bounds(layer: Program, api: Api) -> None:
    for slot in "ab":
        deployment = got(api, "Deployment", f"credit-{slot}", "apps/v1")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        service = got(api, "Service", f"credit-{slot}", "v1")["spec"]
        budget = got(api, "PodDisruptionBudget", f"credit-{slot}", "policy/v1")["spec"]
        scale = got(api, "HorizontalPodAutoscaler", f"credit-{slot}", "autoscaling/v2")["spec"]
        for selector in (service["selector"], budget["selector"]["matchLabels"]):
            assert selector.items() <= labels.items()
            assert selector["falaj/slot"] == slot
        assert scale["scaleTargetRef"]["name"] == f"credit-{slot}"
        assert (scale["minReplicas"], scale["maxReplicas"]) == (2, 6)
        rule = got(api, "DestinationRule", f"churn-{slot}", "networking.istio.io/v1")["spec"]
        assert rule["host"] == f"churn-{slot}.lending.svc.cluster.local"
        got(api, "SeldonDeployment", f"churn-{slot}", "machinelearning.seldon.io/v1")


def test_an_update_in_the_middle_of_a_canary_changes_no_weight(
    layer: Program, succeed: Callable[..., Any], split: MeshTrafficSplit, api: Api
) -> None:
    def held() -> Object:
        return got(api, "VirtualService", "credit-split", "networking.istio.io/v1")

    with pytest.raises(GatewayDownError):  # no gateway runs here
        split.set_weights({"a": 90, "b": 10})
    before = held()
    layer.write(PROGRAM.replace("IMAGE", "2"))
    succeed(layer.up("--refresh"))
    image = got(api, "Deployment", "credit-a", "apps/v1")["spec"]["template"]["spec"]
    assert ":2@" in image["containers"][0]["image"]
    assert held() == before
    assert split.weights() == {"a": 90, "b": 10}
    root = got(api, "VirtualService", "lending.credit", "networking.istio.io/v1", "serving")
    path = "/seldon/lending/credit/v2/models/credit/infer"
    hosts = [
        edge.chosen(root, lambda *_: held(), path, {BUCKET_HEADER: f"{bucket:02d}"})[0]
        for bucket in range(100)
    ]
    assert hosts.count(CREDIT.host("b")) == 10
    for inside in ("/v2/health/ready", "/reload"):
        with pytest.raises(AssertionError, match="404"):
            edge.chosen(root, lambda *_: held(), f"/seldon/lending/credit{inside}", {})
    api.delete(before, seconds=30)
    assert edge.chosen(root, lambda *_: None, path, {BUCKET_HEADER: "99"})[0] == CREDIT.host("a")


def test_a_scaled_deployment_keeps_its_size_over_an_update(
    layer: Program, succeed: Callable[..., Any], api: Api
) -> None:
    path = api.path("apps/v1", "Deployment", "credit-a", "lending")
    api.request(
        "PATCH",
        f"{path}/scale",
        json={"spec": {"replicas": 4}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    layer.write(PROGRAM.replace("IMAGE", "3"))
    succeed(layer.up())
    assert got(api, "Deployment", "credit-a", "apps/v1")["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    "other",
    [
        ("VirtualService", "churn-split", "lending"),
        ("DestinationRule", "credit-a", "lending"),
        ("VirtualService", "lending.credit", "serving"),
    ],
)
def test_the_account_of_a_release_writes_its_split_and_nothing_else(
    layer: Program, cluster: ControlPlane, other: tuple[str, str, str]
) -> None:
    kind, name, namespace = other
    space = f"/apis/networking.istio.io/v1/namespaces/{namespace}"
    with client_of(cluster, "system:serviceaccount:lending:credit-release") as client:
        answer = client.request(
            "PATCH",
            f"{space}/{kind.lower()}s/{name}",
            params={"dryRun": "All"},
            json={"metadata": {"labels": {"one": "1"}}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
    assert answer.status_code == httpx.codes.FORBIDDEN


def test_the_schema_of_seldon_takes_no_field_that_it_does_not_know(
    layer: Program, api: Api
) -> None:
    wrong = got(api, "SeldonDeployment", "churn-a", "machinelearning.seldon.io/v1")
    del wrong["metadata"]["managedFields"]
    wrong["spec"]["predictors"][0]["weights"] = 10
    with pytest.raises(ApiError, match="weights"):
        api.apply(wrong, manager="tests", dry_run=True, force=True)


def test_a_second_update_changes_nothing(layer: Program, succeed: Callable[..., Any]) -> None:
    succeed(layer.up("--expect-no-changes"))


def test_a_destroy_leaves_nothing(layer: Program, succeed: Callable[..., Any], api: Api) -> None:
    succeed(layer.destroy())
    names = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
    assert not {"lending", "serving"} & names
