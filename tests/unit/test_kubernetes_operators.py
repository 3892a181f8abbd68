"""Operators of others: which there are, what their charts are told, and in which order."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pydantic import ValidationError

from components.aws.elastic_nodes import NAMESPACE as KARPENTER_NAMESPACE
from components.aws.elastic_nodes import SERVICE_ACCOUNT as KARPENTER_ACCOUNT
from components.aws.ingress import NAMESPACE as INGRESS_NAMESPACE
from components.aws.ingress import SERVICE_ACCOUNT as INGRESS_ACCOUNT
from components.aws.scope import Scope
from components.aws.settings.cluster import ClusterSettings
from components.aws.settings.controllers import CONTROLLERS
from components.aws.system_pods import system_pods
from components.images import Lock, Mirror, NotLockedError, made_up, read_catalogue
from components.kubernetes import flows, mesh
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.operator_table import (
    AFTER,
    CLUSTERS_OWN,
    NEEDED_BY,
    OPERATORS,
    PRIVILEGED,
    SPACES,
    quota_of,
    spaces_of,
)
from components.kubernetes.operator_values import Cloud, Setting, merged, values_of
from components.kubernetes.operators import Operators, OperatorsArgs, keep_definitions
from components.kubernetes.operators_settings import (
    MESH,
    NAMES,
    Needs,
    OperatorsSettings,
    made_here,
    problems_of_operators,
    wanted,
)
from components.kubernetes.settings import AdmissionSettings

Record = Callable[[Callable[[], object]], Any]

REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com"
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
MIRROR = Mirror(registry=SCOPE, lock=made_up(Lock()))
CLOUD = Cloud(
    region="me-central-1",
    cluster_name="falaj-prod",
    cluster_endpoint="https://cluster.example",
    vpc_id="vpc-1",
    interruption_queue="interruptions",
)
EVERYTHING = Needs(seldon=True, gpus=True, elastic_nodes=True, load_balancer=True)
ADDRESSES = Addresses(services=["10.64.0.0/16"], api_server=["10.64.0.0/16"])
KINDS_OF_PODS = ("Deployment", "DaemonSet", "StatefulSet")


def args(**change: Any) -> OperatorsArgs:
    """All operators, in prod on AWS."""
    given: dict[str, Any] = {
        "environment": "prod",
        "settings": OperatorsSettings(),
        "needs": EVERYTHING,
        "mirror": MIRROR,
        "addresses": ADDRESSES,
        "most_nodes": 30,
        "cloud": CLOUD,
    }
    return OperatorsArgs(**given | change)


def setting(*, large: bool = True, cloud: Cloud | None = CLOUD) -> Setting:
    return Setting(mirror=MIRROR, large=large, feature_gates={"Gate": False}, cloud=cloud)


def problems(
    settings: OperatorsSettings, environment: str = "prod", parts: tuple[str, ...] = ()
) -> list[str]:
    return list(
        problems_of_operators(
            settings,
            environment,
            EVERYTHING,
            after=AFTER,
            needed_by={part: NEEDED_BY[part] for part in parts},
        )
    )


def spaces_in(made: Any) -> dict[str, Any]:
    """The namespaces that were made: name → metadata."""
    return {
        one.inputs["metadata"]["name"]: one.inputs["metadata"]
        for one in made.of("Namespace")
        if "metadata" in one.inputs
    }


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything that is no object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


# --- which there are ------------------------------------------------------------------------------


def test_an_environment_has_the_operators_that_it_needs_and_no_other() -> None:
    small = wanted(OperatorsSettings(), "dev", Needs(mesh=False))
    assert "kuberay-operator" in small
    assert "metrics-server" in small
    assert not {"kyverno", "velero", "seldon-core-operator", "karpenter", *MESH} & set(small)
    assert wanted(OperatorsSettings(), "prod", EVERYTHING) == NAMES


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_signatures_and_backups_come_where_releases_are_decided(environment: str) -> None:
    assert {"kyverno", "velero"} <= set(wanted(OperatorsSettings(), environment, Needs()))


def test_seldon_is_there_for_its_engine_alone() -> None:
    assert "seldon-core-operator" not in wanted(OperatorsSettings(), "prod", Needs())
    assert "seldon-core-operator" in wanted(OperatorsSettings(), "prod", Needs(seldon=True))


def test_what_somebody_else_brings_is_wanted_and_not_made() -> None:
    settings = OperatorsSettings.model_validate(
        {"installed": {"cert-manager": "the bank's platform team, release 7"}}
    )
    assert "cert-manager" in wanted(settings, "prod", Needs())
    assert "cert-manager" not in made_here(settings, "prod", Needs())


def test_what_an_environment_does_without_is_neither() -> None:
    settings = OperatorsSettings.model_validate({"without": {"velero": "copied by the SAN below"}})
    assert "velero" not in wanted(settings, "prod", Needs())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"installed": {"kuberay": "the platform team"}}, "installed.kuberay"),
        ({"installed": {"kueue": "they"}}, "installed.kueue"),
        (
            {
                "installed": {"kueue": "the platform team"},
                "without": {"kueue": "nobody waits here"},
            },
            "kueue: stands under installed and under without",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        OperatorsSettings.model_validate(raw)


def test_one_that_others_stand_on_cannot_be_left_out_alone() -> None:
    settings = OperatorsSettings.model_validate({"without": {"cert-manager": "not wanted here"}})
    (first, *_) = problems(settings)
    assert first.startswith("without.cert-manager: ")
    assert "installed" in first
    assert problems(OperatorsSettings()) == []


def test_one_whose_objects_a_part_makes_cannot_be_left_out() -> None:
    settings = OperatorsSettings.model_validate(
        {"without": {"kuberay-operator": "no training here"}}
    )
    assert problems(settings) == []
    (problem,) = problems(settings, parts=("training",))
    assert problem.startswith("without.kuberay-operator: training is deployed")


def test_signatures_are_not_left_out_where_releases_are_decided() -> None:
    settings = OperatorsSettings.model_validate({"without": {"kyverno": "too slow, they say"}})
    assert any(one.startswith("without.kyverno") for one in problems(settings))
    assert problems(settings, "dev") == []


def test_a_mesh_of_two_hands_is_refused() -> None:
    half = OperatorsSettings.model_validate({"installed": {"istiod": "the platform team"}})
    (problem,) = problems(half)
    assert problem.startswith("installed.istiod: the mesh is brought by one hand")
    whole = OperatorsSettings.model_validate({"installed": dict.fromkeys(MESH, "platform team")})
    assert problems(whole) == []


def test_all_that_is_wrong_is_said_before_anything_is_made() -> None:
    settings = OperatorsSettings.model_validate({"without": {"cert-manager": "not wanted here"}})
    with pytest.raises(ValueError, match=r"operators\.without\.cert-manager: "):
        args(settings=settings)
    with pytest.raises(ValueError, match="karpenter speaks to AWS"):
        args(cloud=None)
    with pytest.raises(ValueError, match="values of velero are given"):
        args(environment="dev", values={"velero": {"image": {}}})


# --- the table ------------------------------------------------------------------------------------


def test_each_operator_comes_after_those_that_it_stands_on() -> None:
    assert tuple(OPERATORS) == NAMES
    for name, operator in OPERATORS.items():
        for one in operator.after:
            assert NAMES.index(one) < NAMES.index(name), f"{name} comes before {one}"


def test_each_chart_is_mirrored_by_a_fixed_version() -> None:
    charts = read_catalogue().charts
    for name, operator in OPERATORS.items():
        assert operator.chart in charts, name


def test_a_chart_without_a_digest_is_refused() -> None:
    bare = Mirror(registry=SCOPE, lock=Lock())
    with pytest.raises(NotLockedError, match="falaj images lock cert-manager"):
        bare.chart("cert-manager")


def test_each_kind_of_others_that_the_platform_makes_has_an_operator() -> None:
    """An object whose kind nothing brings exists in Git alone."""
    brought = {api_version for one in OPERATORS.values() for api_version, _ in one.kinds}
    folder = Path(flows.__file__).parents[1]
    used = {
        constant.value
        for path in folder.rglob("*.py")
        if path.name != "operator_table.py"
        for constant in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(constant, ast.Constant)
        and isinstance(constant.value, str)
        and re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+/v\d+((alpha|beta)\d+)?", constant.value)
        and not re.search(r"(^|\.)(k8s\.io|authentication\.k8s\.io)/", constant.value)
    }
    own_configuration = {"config.kueue.x-k8s.io/v1beta2"}  # a file of Kueue's, no object
    built_in = {one for one in used if re.search(r"^[a-z]+\.k8s\.io/", one)}
    assert len(used) > 5
    assert used - own_configuration - built_in <= brought


def test_what_runs_beside_the_control_plane_asks_for_what_its_group_was_sized_by() -> None:
    sized = system_pods()
    for name, operator, noun in (
        ("karpenter", "karpenter", "controller"),
        ("aws-load-balancer-controller", "aws-load-balancer-controller", "controller"),
        ("cert-manager-webhook", "cert-manager", "webhook"),
        ("policy-webhook", "kyverno", "admission"),
        ("seldon-core-operator", "seldon-core-operator", "manager"),
    ):
        pods = OPERATORS[operator].pods[noun]  # type: ignore[index]
        there = sized[name]
        assert (pods.cpu_millis, pods.memory_mib) == (there.cpu_millis, there.memory_mib), name
        assert there.replicas in (None, pods.replicas), name


def test_controllers_run_where_their_identities_are_bound() -> None:
    values = values_of("karpenter", setting())
    assert OPERATORS["karpenter"].namespace == KARPENTER_NAMESPACE == CLUSTERS_OWN
    assert values["serviceAccount"]["name"] == KARPENTER_ACCOUNT
    values = values_of("aws-load-balancer-controller", setting())
    assert OPERATORS["aws-load-balancer-controller"].namespace == INGRESS_NAMESPACE
    assert values["serviceAccount"]["name"] == INGRESS_ACCOUNT


def test_the_load_balancer_controller_calls_nothing_that_has_no_endpoint() -> None:
    (controller,) = [one for one in CONTROLLERS if one.name == "aws-load-balancer-controller"]
    values = values_of("aws-load-balancer-controller", setting())
    for service, key in (("shield", "enableShield"), ("wafv2", "enableWafv2")):
        assert service in controller.unreachable
        assert values[key] is False
    assert values["enableServiceMutatorWebhook"] is False


def test_each_namespace_is_closed_like_the_others_and_few_reach_into_the_node() -> None:
    assert set(SPACES) <= {*flows.PLATFORM, flows.MESH} <= flows.RESERVED
    assert set(PRIVILEGED) == {flows.MESH, "node-agents"}
    for reason in PRIVILEGED.values():
        assert len(reason) > 20


def test_the_api_server_reaches_every_webhook_and_the_nodes_let_it() -> None:
    ports = {port for flow in flows.FLOWS if flow.source == "api-server" for port in flow.ports}
    assert ports <= set(ClusterSettings.model_fields["webhook_ports"].get_default())
    asked = {
        flows.PARTS[flow.destination].namespace[flows.NAMESPACE]  # type: ignore[union-attr]
        for flow in flows.FLOWS
        if flow.source == "api-server"
    }
    webhooks = {
        operator.namespace
        for name, operator in OPERATORS.items()
        if name not in ("istio-base", "istio-cni", "ztunnel", "velero", "kuberay-operator")
        and operator.namespace not in (CLUSTERS_OWN, "node-agents")
    }
    assert webhooks == asked


def test_a_quota_holds_two_versions_of_every_pod_side_by_side() -> None:
    few = quota_of("node-agents", NAMES, most_nodes=3)
    many = quota_of("node-agents", NAMES, most_nodes=300)
    assert few.memory_quota_gib < many.memory_quota_gib
    assert many.pod_quota == 2 * 2 * 300
    ours = quota_of("queues", NAMES, most_nodes=3)
    assert ours.cpu_quota * 1000 >= 2 * 2 * 500


def test_only_the_namespaces_of_what_is_made_are_made() -> None:
    assert spaces_of(("kuberay-operator",)) == ("training",)
    assert set(spaces_of(("kube-prometheus-stack",))) == {"monitoring", "node-agents"}


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("large", [True, False])
def test_images_of_a_chart_come_from_the_country_by_digest(name: Any, large: bool) -> None:
    values = values_of(name, setting(large=large))
    images = {
        image
        for path, image in leaves(values)
        if path.endswith((".repository", ".image")) and isinstance(image, str)
    }
    for image in images:
        assert image.startswith((REGISTRY, "falaj-prod/")), image
    digests = [
        value
        for path, value in leaves(values)
        if re.search(r"(sha256:)?[0-9a-f]{64}", str(value))
        and path.endswith((".tag", ".digest", ".sha", ".image"))
    ]
    assert len(digests) >= len(images)
    if name not in ("istio-base", "karpenter-crd"):
        assert images, f"{name} would take its own"


@pytest.mark.parametrize("name", NAMES)
def test_each_controller_asks_for_what_the_table_says(name: Any) -> None:
    said = str(values_of(name, setting()))
    for noun, pods in OPERATORS[name].pods.items():
        assert f"{pods.memory_mib}Mi" in said, f"{name} {noun}"
        assert f"{pods.cpu_millis}m" in said, f"{name} {noun}"


def test_a_controller_is_one_where_it_may_be_missed() -> None:
    assert values_of("kuberay-operator", setting())["replicas"] == 2
    assert values_of("kuberay-operator", setting(large=False))["replicas"] == 1
    small = values_of("kyverno", setting(large=False))["admissionController"]
    assert (small["replicas"], small["podDisruptionBudget"]["enabled"]) == (1, False)
    assert values_of("kyverno", setting())["admissionController"]["replicas"] == 3


def test_no_hook_is_needed() -> None:
    switched_off = {
        "cert-manager": ("startupapicheck", "enabled"),
        "kube-prometheus-stack": ("prometheusOperator", "admissionWebhooks", "patch", "enabled"),
        "kyverno": ("webhooksCleanup", "enabled"),
        "velero": ("upgradeCRDs",),
    }
    for name, path in switched_off.items():
        value: Any = values_of(name, setting())  # type: ignore[arg-type]
        for key in path:
            value = value[key]
        assert value is False, name


def test_grafana_has_no_password_that_everybody_knows() -> None:
    """Without somebody who may come in there is none: its secret would be nobody's, and the chart
    would never be done."""
    grafana = values_of("kube-prometheus-stack", setting())["grafana"]
    assert grafana["enabled"] is False
    assert "adminPassword" not in grafana


def test_kueue_holds_back_jobs_of_teams_and_no_pod_of_the_platform() -> None:
    values = values_of("kueue", setting())
    text = values["managerConfig"]["controllerManagerConfigYaml"]
    assert '"falaj/tenancy": "team"' in text
    assert '"pod"' not in text
    assert values["controllerManager"]["featureGates"] == [{"name": "Gate", "enabled": False}]


def test_pods_that_the_api_server_calls_are_not_in_the_mesh() -> None:
    """It speaks no mutual TLS of the mesh: a namespace is out of it, or the pod is."""
    for name, part in (("kube-prometheus-stack", "prometheusOperator"), ("metrics-server", "")):
        values = values_of(name, setting())  # type: ignore[arg-type]
        assert (values[part] if part else values)["podLabels"] == dict(mesh.OUTSIDE)
    called = {flow.destination for flow in flows.FLOWS if flow.source == "api-server"}
    assert called - {"istiod", "monitoring"} <= flows.OUT_OF_MESH.keys()


def test_karpenter_asks_for_no_prices_where_there_is_no_way_out() -> None:
    asked = values_of("karpenter", setting())["settings"]
    assert (asked["isolatedVPC"], asked["interruptionQueue"]) == (True, "interruptions")
    with pytest.raises(LookupError, match="says nothing of it"):
        values_of("karpenter", setting(cloud=None))


def test_values_of_another_part_stand_over_ours() -> None:
    over = {"grafana": {"replicas": 2, "initChownData": {"image": "theirs"}}, "extra": [1]}
    joined = merged(values_of("kube-prometheus-stack", setting()), over)
    assert joined["grafana"]["initChownData"] == {"enabled": False, "image": "theirs"}
    assert joined["grafana"]["replicas"] == 2
    assert joined["extra"] == [1]


# --- as they are registered -----------------------------------------------------------------------


def test_each_chart_comes_from_the_country_by_a_fixed_version(record: Record) -> None:
    charts = read_catalogue().charts
    made = record(lambda: Operators("operators", args())).of("Chart")
    assert {one.inputs["name"] for one in made} == {
        "base" if name == "istio-base" else "cni" if name == "istio-cni" else name for name in NAMES
    }
    for one in made:
        address, version = one.inputs["chart"], one.inputs["version"]
        name = address.rpartition("/")[2]
        assert address == f"oci://{REGISTRY}/falaj-prod/charts/{name}"
        assert version == charts[name].version
        assert "repositoryOpts" not in one.inputs


def test_a_chart_runs_in_a_namespace_of_ours(record: Record) -> None:
    made = record(lambda: Operators("operators", args()))
    spaces = spaces_in(made)
    assert set(spaces) == set(SPACES)
    assert {one.inputs["namespace"] for one in made.of("Chart")} <= {*spaces, CLUSTERS_OWN}
    levels = {
        name: metadata["labels"]["pod-security.kubernetes.io/enforce"]
        for name, metadata in spaces.items()
    }
    assert {name for name, level in levels.items() if level != "restricted"} == set(PRIVILEGED)


def test_a_controller_whose_chart_has_no_budget_gets_one(record: Record) -> None:
    (budget,) = record(lambda: Operators("operators", args())).of("PodDisruptionBudget")
    assert budget.inputs["metadata"]["namespace"] == "training"
    assert budget.inputs["spec"]["maxUnavailable"] == 1
    small = args(environment="dev")
    assert record(lambda: Operators("operators", small)).of("PodDisruptionBudget") == []


def test_definitions_of_elastic_nodes_are_brought_once(record: Record) -> None:
    made = record(lambda: Operators("operators", args()))
    skipping = {one.inputs["name"] for one in made.of("Chart") if one.inputs.get("skipCrds")}
    assert skipping == {"karpenter"}


def test_a_part_waits_for_the_operators_of_its_objects(record: Record) -> None:
    ready: dict[str, list[str]] = {}

    def build() -> None:
        operators = Operators("operators", args(needs=Needs(seldon=False)))
        for part in NEEDED_BY:
            ready[part] = [type(one).__name__ for one in operators.ready_for(part)]

    record(build)
    # KubeRay with its budget, Kueue, secrets, monitoring, four of the mesh
    assert ready["training"].count("Chart") == 8
    assert ready["training"].count("PodDisruptionBudget") == 1
    # no Seldon here: mesh, secrets, monitoring, use of pods, certificates
    assert ready["serving"].count("Chart") == 8
    assert ready["nodes"] == []


def test_what_somebody_else_brings_is_not_waited_for(record: Record) -> None:
    settings = OperatorsSettings.model_validate(
        {"installed": {"kuberay-operator": "the platform team", "kueue": "the platform team"}}
    )
    made = record(lambda: Operators("operators", args(settings=settings)))
    names = {one.inputs["name"] for one in made.of("Chart")}
    assert not {"kuberay-operator", "kueue"} & names
    assert "training" not in spaces_in(made)


def transformed(kind: str) -> pulumi.ResourceTransformResult | None:
    """What becomes of a chart's object of the type `kind`."""
    return keep_definitions(
        pulumi.ResourceTransformArgs(
            custom=True, type_=kind, name="thing", props={}, opts=pulumi.ResourceOptions()
        )
    )


def test_definitions_of_kinds_outlive_their_chart_and_nothing_else_does() -> None:
    kept = transformed("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition")
    assert kept is not None
    assert kept.opts.retain_on_delete is True
    assert transformed("kubernetes:apps/v1:Deployment") is None


# --- admission ------------------------------------------------------------------------------------


def excluded(made: Any, noun: str) -> set[str]:
    """Namespaces that the policy `noun` does not ask."""
    (binding,) = [
        one
        for one in made.of("ValidatingAdmissionPolicyBinding")
        if one.inputs["metadata"]["name"] == f"falaj-{noun}"
    ]
    selector = binding.inputs["spec"]["matchResources"]["namespaceSelector"]
    return {value for one in selector["matchExpressions"] for value in one["values"]}


def test_agents_of_the_node_are_excused_from_privilege_alone(record: Record) -> None:
    made = record(
        lambda: Admission(
            "admission",
            AdmissionArgs(
                settings=AdmissionSettings(digests=True),
                registry="registry.ae.example/prod",
                privileged=PRIVILEGED,
            ),
        )
    )
    assert excluded(made, "no-privilege") == {"kube-system", *PRIVILEGED}
    for noun in ("images", "digests", "limits", "labels"):
        assert excluded(made, noun) == {"kube-system"}
