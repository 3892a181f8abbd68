"""Operators' charts with our values: what Helm makes of them, and what a cluster says to it.

The charts are those of charts.ini. The others stand in the program without objects. No pod runs, so
nothing here shows that an operator works.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import definitions
import kubernetes_charts
import kubernetes_live
import pytest
import tenacity
from applied import KUBECONFIG, Program
from control_plane import ControlPlane, control_plane
from kubernetes_api import Api

from components.aws.scope import Scope
from components.images import Lock, Mirror, made_up
from components.kubernetes.flows import TENANCY
from components.kubernetes.operator_table import OPERATORS, PRIVILEGED, SPACES
from components.kubernetes.operator_values import Cloud, Setting, values_of
from components.kubernetes.operators_settings import Needs, OperatorsSettings
from components.kubernetes.served_kinds import (
    Cluster,
    ClusterProblem,
    problems_of_cluster,
    read_cluster,
    wanted_kinds,
)
from stacks.offline import offline

HOST = "123456789012.dkr.ecr.me-central-1.amazonaws.com"
IN_FOLDER = {
    *("kueue", "kyverno", "karpenter", "karpenter-crd", "external-secrets", "cert-manager"),
}
APPLIED = ("karpenter", "karpenter-crd", "external-secrets")
"""Those that a cluster gets; all of them would take minutes."""

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.aws.scope import Scope
from components.images import Lock, Mirror, made_up
from components.kubernetes.flows import TENANCY
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.operator_table import PRIVILEGED
from components.kubernetes.operator_values import Cloud
from components.kubernetes.operators import Operators, OperatorsArgs
from components.kubernetes.operators_settings import Needs, OperatorsSettings
from components.kubernetes.served_kinds import checked, wanted_kinds
from components.kubernetes.settings import AdmissionSettings

# no pod of it runs here, and its webhook would refuse every certificate
SETTINGS = OperatorsSettings.model_validate(
    {{"installed": {{"cert-manager": "the tests, its kinds alone"}}}}
)
NEEDS = Needs(gpus=True, elastic_nodes=True)
here = kubernetes.Provider(
    "here",
    kubeconfig=pulumi.Output.secret(
        checked(os.environ["{KUBECONFIG}"], list(wanted_kinds(SETTINGS, "prod", NEEDS)))
    ),
)
opts = pulumi.ResourceOptions(provider=here)
admission = Admission(
    "admission",
    AdmissionArgs(
        settings=AdmissionSettings(digests=True),
        registry="{HOST}/falaj-prod",
        privileged=PRIVILEGED,
    ),
    opts,
)
scope = Scope(environment="prod", account_id="123456789012", region="me-central-1")
operators = Operators(
    "operators",
    OperatorsArgs(
        environment="prod",
        settings=SETTINGS,
        needs=NEEDS,
        mirror=Mirror(registry=scope, lock=made_up(Lock())),
        addresses=Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"]),
        most_nodes=20,
        cloud=Cloud(
            region="me-central-1",
            cluster_name="falaj-prod",
            cluster_endpoint="https://cluster.example",
            vpc_id="vpc-1",
        ),
        wait_for=admission.ready,
    ),
    opts,
)
kubernetes.apiextensions.CustomResource(
    "general",
    api_version="karpenter.sh/v1",
    kind="NodePool",
    metadata={{"name": "general"}},
    spec={{
        "template": {{
            "spec": {{
                "nodeClassRef": {{
                    "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "general",
                }},
                "requirements": [
                    {{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}}
                ],
            }}
        }}
    }},
    opts=pulumi.ResourceOptions(provider=here, depends_on=operators.ready_for("nodes")),
)
"""


@pytest.fixture(scope="module")
def rendered(charts: Path) -> dict[str, list[dict[str, Any]]]:
    """Operator → the objects of its chart with our values of prod."""
    scope = Scope(environment="prod", account_id="123456789012", region="me-central-1")
    setting = Setting(
        mirror=Mirror(registry=scope, lock=made_up(Lock())),
        large=True,
        feature_gates={"ElasticJobsViaWorkloadSlices": False},
        cloud=Cloud(
            region="me-central-1",
            cluster_name="falaj-prod",
            cluster_endpoint="https://cluster.example",
            vpc_id="vpc-1",
        ),
    )
    return {
        name: kubernetes_charts.render(
            charts / name,
            {
                "name": name,
                "namespace": operator.namespace,
                "values": values_of(name, setting),
                "skipCrds": operator.skips_definitions,
            },
            "v1.36.0",
        )
        for name, operator in OPERATORS.items()
        if name in IN_FOLDER
    }


def pods_of(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and template of what makes pods."""
    for thing in objects:
        template = thing.get("spec", {}).get("template") if "spec" in thing else None
        if thing["kind"] in ("Deployment", "DaemonSet", "StatefulSet", "Job"):
            yield f"{thing['kind']} {thing['metadata']['name']}", template


@pytest.mark.parametrize("name", sorted(IN_FOLDER - {"karpenter-crd"}))
def test_every_container_of_a_chart_is_ours_by_digest_and_limited(
    rendered: dict[str, list[dict[str, Any]]], name: str
) -> None:
    """Helm refuses no key that a chart does not read; the effect shows that it was read."""
    seen = 0
    for what, template in pods_of(rendered[name]):
        spec = template["spec"]
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            seen += 1
            image, resources = container["image"], container.get("resources", {})
            assert image.startswith(f"{HOST}/falaj-prod/"), f"{what}: {image}"
            assert "@sha256:" in image, f"{what}: {image}"
            assert {"cpu", "memory"} <= resources.get("requests", {}).keys(), what
            assert "memory" in resources.get("limits", {}), what
        assert "app.kubernetes.io/name" in template["metadata"]["labels"], what
    assert seen


def test_every_object_of_a_chart_stays_in_the_namespace_of_ours(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    for name, objects in rendered.items():
        spaces = {one["metadata"].get("namespace") for one in objects} - {None}
        # leases and the reader of the API server's own certificate are Kubernetes' business
        assert spaces <= {OPERATORS[name].namespace, "kube-system", "kube-node-lease"}, name
        assert not [one for one in objects if one["kind"] == "Namespace"], name


def test_a_controller_with_replicas_has_a_budget(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    for name in ("kueue", "kyverno", "external-secrets", "cert-manager", "karpenter"):
        budgets = [one for one in rendered[name] if one["kind"] == "PodDisruptionBudget"]
        most = max(
            one["spec"].get("replicas", 1) for one in rendered[name] if one["kind"] == "Deployment"
        )
        assert most > 1, name
        assert budgets, name


def test_the_charts_define_the_kinds_that_we_make_objects_of(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    # that of External Secrets gets its definitions when it is released
    for name in ("kueue", "karpenter-crd", "cert-manager"):
        served = {
            (f"{one['spec']['group']}/{version['name']}", one["spec"]["names"]["kind"])
            for one in rendered[name]
            if one["kind"] == "CustomResourceDefinition"
            for version in one["spec"]["versions"]
            if version["served"]
        }
        assert set(OPERATORS[name].kinds) <= served, name  # type: ignore[index]


def held_up(objects: list[dict[str, Any]]) -> list[str]:
    """Webhooks that answer for what Kubernetes is made of, and refuse it while they are away."""
    return [
        f"{webhook['name']} on {rule['resources']}"
        for one in objects
        if one["kind"].endswith("WebhookConfiguration")
        for webhook in one["webhooks"]
        for rule in webhook["rules"]
        if webhook.get("failurePolicy", "Fail") == "Fail"
        and any("." not in group or group.endswith(".k8s.io") for group in rule["apiGroups"])
        and webhook.get("namespaceSelector") != {"matchLabels": {TENANCY: "team"}}
    ]


def test_no_webhook_that_fails_closed_judges_what_the_cluster_starts_with(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    """After all nodes went, the pods of the webhook would wait for themselves."""
    objects = [one for objects in rendered.values() for one in objects]
    webhooks = [one for one in objects if one["kind"].endswith("WebhookConfiguration")]
    assert len(webhooks) > 3
    assert held_up(objects) == []
    spoiled = copy.deepcopy(webhooks)
    for one in spoiled:
        for webhook in one["webhooks"]:
            webhook["failurePolicy"], webhook["namespaceSelector"] = "Fail", None
    assert any("'pods'" in one for one in held_up(spoiled))


# --- applied --------------------------------------------------------------------------------------


@dataclass
class Story:
    """What was seen of a cluster from before the operators until after them."""

    refused: str = ""
    """What the first preview said, before the kinds of somebody else were there."""
    up: str = ""
    again: str = ""
    destroyed: str = ""
    deployments: list[dict[str, Any]] = field(default_factory=list)
    namespaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    """Namespaces and Deployments after the end."""
    kinds: Cluster | None = None
    """After the end."""


@tenacity.retry(
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.5),
    retry=tenacity.retry_if_exception_type(AssertionError),
    reraise=True,
)
def settled(api: Api) -> list[dict[str, Any]]:
    """The Deployments, once each has its pods or was told why it gets none."""
    found = api.list("apps/v1", "Deployment")
    for one in found:
        status = one.get("status", {})
        has_all = status.get("replicas") == one["spec"]["replicas"]
        assert has_all or refusal_of(one), f"{one['metadata']['name']}: {status}"
    return found


def refusal_of(deployment: dict[str, Any]) -> str:
    """Why its pods are not let in, empty where they are."""
    conditions = deployment.get("status", {}).get("conditions", [])
    return "; ".join(
        one["message"]
        for one in conditions
        if one["type"] == "ReplicaFailure" and one["status"] == "True"
    )


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of this file alone: definitions stay behind on purpose."""
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture(scope="module")
def story(
    plane: ControlPlane,
    charts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Makes all operators, looks, makes them again, and takes them away."""
    told, directory = Story(), tmp_path_factory.mktemp("operators")
    some = tmp_path_factory.mktemp("some")
    for name in APPLIED:
        (some / name).symlink_to(charts / name)
    with offline("dev") as stack, plane.api() as api:
        (directory / "Pulumi.yaml").write_text("name: operators\nruntime: python\n")
        variables = stack.variables | {
            KUBECONFIG: plane.kubeconfig(),
            kubernetes_live.VARIABLE: kubernetes_live.APPLY,
            kubernetes_charts.VARIABLE: str(some),
        }
        program = Program(
            replace(stack, directory=directory, environment="test", variables=variables)
        )
        assert program.stack.pulumi("stack", "init").returncode == 0
        program.write(PROGRAM)
        refused = program.preview()
        told.refused = refused.stdout + refused.stderr
        assert refused.returncode != 0
        for definition in definitions.modules("crds.ini")["cert-manager"].definitions():
            api.create(definition)
        up = program.up()
        assert up.returncode == 0, up.stdout + up.stderr
        told.up = up.stdout
        told.deployments = settled(api)
        told.namespaces = {
            one["metadata"]["name"]: one["metadata"] for one in api.list("v1", "Namespace")
        }
        again = program.preview("--expect-no-changes")
        told.again = again.stdout + again.stderr
        gone = program.destroy()
        assert gone.returncode == 0, gone.stdout + gone.stderr
        told.destroyed = gone.stdout
        told.left = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
        told.left |= {one["metadata"]["name"] for one in api.list("apps/v1", "Deployment")}
        told.kinds = read_cluster(plane.kubeconfig())
    return told


def test_kinds_that_somebody_else_was_to_bring_are_missed_before_anything_is_made(
    story: Story,
) -> None:
    assert "operators.installed.cert-manager: Certificate in cert-manager.io/v1" in story.refused
    assert "'the tests, its kinds alone'" in story.refused


def test_the_api_server_and_admission_take_every_object_of_the_charts(
    story: Story,
) -> None:
    names = {one["metadata"]["name"] for one in story.deployments}
    assert {"karpenter", "external-secrets", "external-secrets-webhook"} <= names
    for space in SPACES.keys() - {"certificates", "serving"}:
        if space in story.namespaces:
            level = "privileged" if space in PRIVILEGED else "restricted"
            labels = story.namespaces[space]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] == level


def test_pod_security_and_quotas_let_the_pods_of_every_controller_in(story: Story) -> None:
    refused = {one["metadata"]["name"]: refusal_of(one) for one in story.deployments}
    assert {name: why for name, why in refused.items() if why} == {}
    assert sum(one["status"]["replicas"] for one in story.deployments) > 5


def test_a_second_up_has_nothing_to_do(story: Story) -> None:
    assert "unchanged" in story.again
    assert "error" not in story.again, story.again


def test_after_a_destroy_nothing_is_left_but_the_definitions_of_kinds(story: Story) -> None:
    assert not story.left & {*SPACES, "karpenter", "external-secrets-webhook"}
    assert story.kinds is not None
    settings = OperatorsSettings.model_validate(
        {"installed": {"karpenter-crd": "definitions that were kept"}}
    )
    needed = list(wanted_kinds(settings, "prod", Needs(elastic_nodes=True)))
    assert problems_of_cluster(story.kinds, needed) == []


def test_a_kind_that_the_real_cluster_lacks_is_told(story: Story) -> None:
    assert story.kinds is not None
    settings = OperatorsSettings.model_validate(
        {"installed": {"kuberay-operator": "the platform team"}}
    )
    (problem, other) = problems_of_cluster(
        story.kinds, list(wanted_kinds(settings, "dev", Needs()))
    )
    assert problem.startswith("operators.installed.kuberay-operator: RayCluster in ray.io/v1")
    assert "RayJob" in other


def test_the_nodes_own_objects_go_before_their_operator(story: Story) -> None:
    lines = story.destroyed.splitlines()

    def at(*words: str) -> int:
        return next(
            number for number, line in enumerate(lines) if all(word in line for word in words)
        )

    pool = at("karpenter.sh/v1:NodePool", "deleted")
    assert pool < at("apps/v1:Deployment", "kube-system/karpenter", "delet")


def test_whoever_may_not_read_the_api_is_told(plane: ControlPlane) -> None:
    with pytest.raises(ClusterProblem, match="answers 401: whoever the kubeconfig names"):
        read_cluster(plane.kubeconfig_with("no token of theirs"))
