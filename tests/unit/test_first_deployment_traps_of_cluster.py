"""What broke first deployments of such platforms, asked of all that prod puts on a cluster.

The environment is prod as its file asks for it, with MLflow and a Ray cluster beside. It is
recorded without an engine, and its operators' charts without their objects, which
`tests/cluster/test_operators.py` renders. `TRAPS` asks the recording, under a sentence that is true
of a cluster that avoids the trap, with a change that the check must notice; `HELD_ELSEWHERE` names
the tests of single parts that hold another. `tests/engine/traps` does the same for the cloud.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pulumi.runtime import mocks

from components.aws.sdks import problems_of_sdks
from components.images import Lock, made_up
from components.kubernetes.flows import POD_IDENTITY_AGENT
from components.kubernetes.operator_table import OPERATORS
from components.platform import Platform
from stacks.environment import ROOT
from stacks.settings import CONFIG_DIRECTORY, parse

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]

MORE: dict[str, Any] = {
    "falaj:training": {
        "clusters": {
            "credit": {
                "head": {"pool": "general"},
                "workers": {
                    "gpu": {
                        "pool": "training",
                        "cpus": 4,
                        "memory_gib": 16,
                        "gpus": 1,
                        "max_workers": 2,
                    }
                },
            }
        }
    },
}
"""What the file of prod leaves to whoever has the values."""
OF_THE_CLOUD = frozenset({"kube-system"})
"""Namespaces that are there with the cluster."""
BUILT_IN = re.compile(r"^kubernetes:(core|apps|batch|policy|autoscaling|[a-z.]+\.k8s\.io)/")
STARTS_PODS = frozenset(
    {"Chart", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "RayCluster", "RayJob"}
)
OTHERS_JOB = "backup-copy-"
"""How the account begins of the Job that copies to a second site: no part of the layer has it."""


@dataclass
class Made:
    """A resource as the engine was asked to make it."""

    type: str
    name: str
    inputs: dict[str, Any]
    after: set[str]
    """URNs that it depends on, its parent and its provider among them."""

    @property
    def kind(self) -> str:
        return self.type.rpartition(":")[2]

    @property
    def namespace(self) -> str | None:
        """Where it is, or its pods; `None` for what is in no namespace."""
        if self.kind == "Chart":
            return str(self.inputs["namespace"])
        found = (self.inputs.get("metadata") or {}).get("namespace")
        return str(found) if found is not None else None


@dataclass
class Cluster:
    """All that prod is made of, by URN."""

    made: dict[str, Made] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Made]:
        """What is of one of the kinds; not our own components."""
        found = (one for one in self.made.values() if not one.type.startswith("falaj:"))
        return [one for one in found if one.kind in kinds]

    @property
    def on_it(self) -> list[Made]:
        """The objects, and charts; not those that the network needs before anything runs."""
        return [
            one
            for one in self.made.values()
            if one.type.startswith("kubernetes:") and "-bootstrap-" not in one.name
        ]

    def before(self, one: Made) -> list[Made]:
        """All that is there before `one` is made, and goes after it."""
        found: set[str] = set()
        waiting = list(one.after)
        while waiting:
            urn = waiting.pop()
            if urn in self.made and urn not in found:
                found.add(urn)
                waiting += self.made[urn].after
        return [self.made[urn] for urn in found]


Problems = Iterator[str]


# --- ordering -------------------------------------------------------------------------------------


def identities(cluster: Cluster) -> Problems:
    (agent,) = (one for one in cluster.of("Addon") if "pod-identity" in one.inputs["addonName"])
    for association in cluster.of("PodIdentityAssociation"):
        for one in cluster.of(*STARTS_PODS):
            if one.namespace != association.inputs["namespace"]:
                continue
            if association.inputs["serviceAccount"].startswith(OTHERS_JOB):
                continue
            there = cluster.before(one)
            for missing in (association, agent):
                if missing not in there:
                    yield f"{one.name} may start before {missing.name}"


def operators(cluster: Cluster) -> Problems:
    charts = {
        api_kind: name
        for name, operator in OPERATORS.items()
        for api_kind in (f"kubernetes:{version}:{kind}" for version, kind in operator.kinds)
    }
    for one in cluster.on_it:
        if BUILT_IN.match(one.type) or one.kind == "Chart":
            continue
        if one.type not in charts:
            yield f"{one.name}: nobody brings {one.type}"
            continue
        waited_for = [that.name for that in cluster.before(one) if that.kind == "Chart"]
        if not any(name.endswith(f"-{charts[one.type]}") for name in waited_for):
            yield f"{one.name} does not wait for {charts[one.type]}"


def namespaces(cluster: Cluster) -> Problems:
    spaces = {one.inputs["metadata"]["name"]: one for one in cluster.of("Namespace")}
    for one in cluster.on_it:
        if one.namespace is None or one.namespace in OF_THE_CLOUD:
            continue
        if one.namespace not in spaces:
            yield f"{one.name}: nobody makes the namespace {one.namespace}"
        elif spaces[one.namespace] not in cluster.before(one):
            yield f"{one.name} may come before its namespace {one.namespace}"


def nodes(cluster: Cluster) -> Problems:
    entries = cluster.of("AccessPolicyAssociation")
    needed = [one for one in entries if "AdminPolicy" in one.inputs["policyArn"]]
    needed += cluster.of("NodeGroup")
    for one in cluster.on_it:
        there = cluster.before(one)
        yield from (f"{one.name} may outlive {last.name}" for last in needed if last not in there)


def elastic(cluster: Cluster) -> Problems:
    pools = cluster.of("NodePool")
    if not pools:
        yield "there is no elastic node"
    for pool in pools:
        waited_for = [one.name for one in cluster.before(pool)]
        if not any(name.endswith("-operators-karpenter") for name in waited_for):
            yield f"{pool.name} may outlive its controller"
    for one in cluster.of(*STARTS_PODS - {"DaemonSet"}):
        if "karpenter" in one.name or one.namespace is None:
            continue
        there = cluster.before(one)
        yield from (f"{pool.name} may go before {one.name}" for pool in pools if pool not in there)


# --- manifests ------------------------------------------------------------------------------------


def templates(cluster: Cluster) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and `spec` of the pods that are made, those of Ray among them."""
    for one in cluster.on_it:
        spec = one.inputs.get("spec") or {}
        for path in (("template",), ("jobTemplate", "spec", "template")):
            found = functools.reduce(lambda inner, key: (inner or {}).get(key), path, spec)
            if isinstance(found, dict) and "containers" in (found.get("spec") or {}):
                yield one.name, found["spec"]
        if one.kind == "RayCluster":
            for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                yield one.name, group["template"]["spec"]


def credentials(cluster: Cluster) -> Problems:
    egress: dict[str, list[dict[str, Any]]] = {}
    for policy in cluster.of("NetworkPolicy"):
        if policy.inputs["spec"]["podSelector"] == {} and policy.namespace is not None:
            egress.setdefault(policy.namespace, []).extend(policy.inputs["spec"].get("egress", []))
    for association in cluster.of("PodIdentityAssociation"):
        space = association.inputs["namespace"]
        if space not in egress:  # the cluster's own, or one whose part is not there
            continue
        for port, block in ((80, POD_IDENTITY_AGENT), (443, None), (53, None)):
            if not any(
                port in [int(one["port"]) for one in rule.get("ports", [])]
                and (block is None or {"ipBlock": {"cidr": block}} in rule["to"])
                for rule in egress[space]
            ):
                yield f"pods of {space} do not reach {block or 'anybody'} on {port}"


def signing_in(cluster: Cluster) -> Problems:
    """Of charts nothing but their values is seen here, so which images they bring is said below."""
    running: dict[tuple[str, str], set[str]] = {}
    for name, spec in templates(cluster):
        (space,) = {one.namespace for one in cluster.on_it if one.name == name}
        images = {one["image"] for one in [*spec["containers"], *spec.get("initContainers", [])]}
        running.setdefault((str(space), spec["serviceAccountName"]), set()).update(images)
    of_charts = {
        (str(one.namespace), account): brought
        for one in cluster.of("Chart")
        for account, brought in OF_CHARTS.get(one.inputs["name"], {}).items()
    }
    for who, brought in of_charts.items():
        running.setdefault(who, set()).update(brought)
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    for association in cluster.of("PodIdentityAssociation"):
        who = (association.inputs["namespace"], association.inputs["serviceAccount"])
        images = running.pop(who, set())  # none of an add-on's, which are AWS's own
        names = {re.sub(r"[:@].*", "", image).rpartition("/")[2] for image in images}
        yield from problems_of_sdks(sorted(names), locked)
    for space, account in of_charts.keys() & running.keys():
        yield f"{account} in {space} has no identity: is the chart's account still called so?"


LOCK = ROOT / "requirements.lock"
OF_CHARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "karpenter": {"karpenter": ("karpenter",)},
    "aws-load-balancer-controller": {"load-balancer-controller": ("aws-load-balancer-controller",)},
    "external-secrets": {"external-secrets": ("external-secrets",)},
    "kyverno": {"kyverno-admission-controller": ("kyverno",)},
    "velero": {"velero": ("velero", "velero-plugin-for-aws")},
    "kube-prometheus-stack": {"monitoring": ("thanos",)},
    "fluent-bit": {"log-shipping": ("fluent-bit",)},
}
"""Chart → account that is somebody to AWS → the images that run as it."""


def regions(cluster: Cluster) -> Problems:
    wanted: dict[str, Callable[[Any], Any]] = {
        "aws-load-balancer-controller": lambda values: (values["region"], values["vpcId"]),
        "karpenter": lambda values: [one["value"] for one in values["controller"]["env"]],
    }
    for chart in cluster.of("Chart"):
        if chart.inputs["name"] not in wanted:
            continue
        try:
            told = wanted[chart.inputs["name"]](chart.inputs["values"])
        except KeyError as error:
            yield f"{chart.name} has to ask the metadata service for {error}"
            continue
        if "me-central-1" not in told:
            yield f"{chart.name} is told {told}"


def placing(cluster: Cluster) -> Problems:
    pools = [one.inputs["spec"]["template"] for one in cluster.of("NodePool")]
    labels = [pool["metadata"]["labels"] for pool in pools]
    borne = {(taint["key"], taint["value"]) for pool in pools for taint in taints_of(pool)}
    for name, spec in templates(cluster):
        asked = dict(spec.get("nodeSelector") or {})
        required = (spec.get("affinity") or {}).get("nodeAffinity", {})
        terms = required.get("requiredDuringSchedulingIgnoredDuringExecution", {})
        for term in terms.get("nodeSelectorTerms", []):
            for one in term["matchExpressions"]:
                if not any(have.get(one["key"]) in one["values"] for have in labels):
                    yield f"{name}: no pool has {one['key']} in {one['values']}"
        for key, value in asked.items():
            if not any(have.get(key) == value for have in labels):
                yield f"{name}: no pool has {key}={value}"
        for one in spec.get("tolerations") or []:
            if "value" in one and (one["key"], one["value"]) not in borne:
                yield f"{name}: no pool has the taint {one['key']}={one['value']}"


def taints_of(pool: Mapping[str, Any]) -> list[dict[str, str]]:
    """The taints of a pool's nodes."""
    return list(pool["spec"].get("taints") or [])


def claims(cluster: Cluster) -> Problems:
    for one in cluster.on_it:
        if '"storageClassName": ""' in json.dumps(one.inputs):
            yield f"{one.name} has a claim that never binds"
    for one in cluster.of("Deployment"):
        spec = one.inputs["spec"]
        volumes = spec["template"]["spec"].get("volumes") or []
        held = any("persistentVolumeClaim" in volume for volume in volumes)
        if held and (spec.get("replicas") != 1 or spec["strategy"]["type"] != "Recreate"):
            yield f"{one.name}: its next pod waits for the volume of the last"


def sizes(cluster: Cluster) -> Problems:
    for name, spec in templates(cluster):
        for container in spec["containers"]:
            asked = container["resources"]
            if mib_of(asked["requests"]["memory"]) > mib_of(asked["limits"]["memory"]):
                yield f"{name}: {container['name']} asks for more memory than it may have"


def mib_of(text: str) -> float:
    """The mebibytes of a quantity of memory."""
    number, unit = re.fullmatch(r"([\d.]+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
    return float(number) * (1024 if unit == "Gi" else 1)


def probes(cluster: Cluster) -> Problems:
    for one in cluster.of("RayCluster"):
        major, minor, *_ = map(int, one.inputs["spec"]["rayVersion"].split("."))
        if (major, minor) < (2, 53):  # KubeRay's probes of older ones call wget
            yield f"{one.name}: its image needs wget"


def lookups(cluster: Cluster) -> Problems:
    for one in cluster.of("ImageValidatingPolicy"):
        spec = one.inputs["spec"]
        if spec["credentials"].get("providers") != ["amazon"]:
            yield f"{one.name} cannot sign in to the registry"
        if spec["webhookConfiguration"]["timeoutSeconds"] < 15:
            yield f"{one.name} gives the registry too little time"


def hooks(cluster: Cluster) -> Problems:
    for one in cluster.on_it:
        if "helm.sh/v3" in one.type:
            yield f"{one.name}: a release of Helm hides its objects and runs hooks"
        if "helm.sh/hook" in json.dumps(one.inputs):
            yield f"{one.name} is a hook, which nobody runs"


# --- spoiled --------------------------------------------------------------------------------------

Spoil = Callable[[Cluster], None]


def forget(kind: str, part: str) -> Spoil:
    """Nobody waits for resources of a kind whose name ends in `part`."""

    def spoil(cluster: Cluster) -> None:
        gone = {
            urn for urn, one in cluster.made.items() if one.kind == kind and one.name.endswith(part)
        }
        assert gone, f"there is no {kind} {part}"
        for one in cluster.made.values():
            one.after -= gone

    return spoil


def change(kind: str, part: str, *path: str, to: Any) -> Spoil:
    """Sets what is under `path` in the inputs of a resource."""

    def spoil(cluster: Cluster) -> None:
        (one,) = (one for one in cluster.of(kind) if one.name.endswith(part))
        inner: Any = one.inputs
        for key in path[:-1]:
            inner = inner[int(key) if isinstance(inner, list) else key]
        inner[int(path[-1]) if isinstance(inner, list) else path[-1]] = to

    return spoil


def retype(kind: str, part: str, to: str) -> Spoil:
    """Makes another type of a resource."""

    def spoil(cluster: Cluster) -> None:
        (one,) = (one for one in cluster.of(kind) if one.name.endswith(part))
        one.type = to

    return spoil


_HEAD = ("spec", "headGroupSpec", "template", "spec")
_NODE = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
_VALUES = ("nodeSelectorTerms", "0", "matchExpressions", "0", "values")
_SERVER = ("spec", "template", "spec", "containers", "0", "resources", "requests", "memory")
TRAPS: dict[str, tuple[Callable[[Cluster], Problems], Spoil]] = {
    "a pod starts when its identity is known, to the agent too": (
        identities,
        forget("PodIdentityAssociation", "external-secrets-association"),
    ),
    "an object comes after the operator that judges it, and goes before": (
        operators,
        forget("Chart", "-operators-kueue"),
    ),
    "no object is of a kind that nobody brings": (
        operators,
        retype("ClusterQueue", "-credit", "kubernetes:sloth.dev/v1:ServiceLevel"),
    ),
    "an object comes after its namespace": (namespaces, forget("Namespace", "-space-namespace")),
    "nothing on the cluster outlives its nodes and the right to enter": (
        nodes,
        forget("NodeGroup", ""),
    ),
    "elastic nodes go after what runs on them, and before their controller": (
        elastic,
        forget("NodePool", "-nodes-general"),
    ),
    "no policy of the network cuts a pod off from its credentials": (
        credentials,
        change("NetworkPolicy", "-external-secrets-to-credentials", "spec", "egress", to=[]),
    ),
    "whatever signs in to AWS knows Pod Identity": (
        signing_in,
        change(
            *("Deployment", "-tracking-server", "spec", "template", "spec", "containers", "0"),
            *("image",),
            to="432109876543.dkr.ecr.me-central-1.amazonaws.com/falaj-prod/mlflow:v3.17.2",
        ),
    ),
    "no controller asks the metadata service where it is": (
        regions,
        change("Chart", "-aws-load-balancer-controller", "values", to={"vpcId": "vpc-1"}),
    ),
    "what a pod asks of its node, some pool has": (
        placing,
        change("RayCluster", "-credit-cluster", *_HEAD, *_NODE, *_VALUES, to=["none"]),
    ),
    "a claim names its class or leaves it out": (
        claims,
        change("Chart", "-kube-prometheus-stack", "values", to={"x": {"storageClassName": ""}}),
    ),
    "no deployment waits for a volume that its own last pod holds": (
        claims,
        change(
            *("Deployment", "-tracking-server", "spec", "template", "spec", "volumes"),
            to=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        ),
    ),
    "no container asks for more than it may have": (
        sizes,
        change("Deployment", "-tracking-server", *_SERVER, to="900Gi"),
    ),
    "no probe calls what an image lacks": (
        probes,
        change("RayCluster", "-credit-cluster", "spec", "rayVersion", to="2.46.0"),
    ),
    "signatures are read from a registry that asks who reads": (
        lookups,
        change("ImageValidatingPolicy", "", "spec", "credentials", to={}),
    ),
    "no chart needs a hook, and no release hides one": (
        hooks,
        retype("Chart", "-operators-kueue", "kubernetes:helm.sh/v3:Release"),
    ),
}

UNIT, LIVE = "tests/unit/test_kubernetes_", "tests/cluster/test_"
HELD_ELSEWHERE = {
    "the API server reaches every webhook": (
        f"{UNIT}operators.py::test_the_api_server_reaches_every_webhook_and_the_nodes_let_it"
    ),
    "a webhook that fails closed holds up neither nodes nor itself": (
        f"{LIVE}operators.py::test_no_webhook_that_fails_closed_judges_what_the_cluster_starts_with"
    ),
    "every version of a chart exists": (
        f"{UNIT}operators.py::test_each_chart_is_mirrored_by_a_fixed_version"
    ),
    "a value that a chart does not read is refused": (
        "tests/engine/test_charts.py::test_a_value_that_a_chart_does_not_know_is_refused"
    ),
    "nobody gets in by a password that a chart ships": (
        f"{UNIT}operators.py::test_grafana_has_no_password_that_everybody_knows"
    ),
    "one class of volumes is the default": (
        f"{UNIT}storage_classes.py::test_exactly_one_class_is_the_default"
    ),
    "the driver may hand on the key of volumes": (
        f"{UNIT}storage_classes.py::test_the_driver_may_hand_on_the_key_of_the_classes_and_no_other"
    ),
    "housekeeping of nodes moves no job": (
        f"{UNIT}elastic_pools.py::test_neither_a_job_nor_a_notebook_is_moved"
    ),
    "a node that has to go waits for its job": (
        f"{UNIT}elastic_pools.py::test_a_node_that_has_to_go_waits_for_its_job"
    ),
    "who may sign in to MLflow is kept in the database": (
        f"{UNIT}tracking.py::test_the_databases_are_those_of_its_role"
    ),
    "no password is part of the address of a database": (
        f"{UNIT}tracking.py::test_no_variable_holds_a_secret"
    ),
    "MLflow writes where it may": (
        f"{UNIT}tracking.py"
        "::test_its_pods_have_no_rights_on_the_node_and_write_nowhere_but_on_their_disk"
    ),
    "no GPU that a pool may give is less than its workers need": (
        f"{UNIT}training.py::test_a_gpu_that_is_less_than_its_workers_need_is_refused"
    ),
    "a large model gets through MLflow to the bucket": (
        f"{UNIT}tracking.py::test_a_large_artifact_gets_through"
    ),
    "Ray's workers and its operator reach the head": (
        f"{UNIT}training.py::test_the_operator_reaches_the_head_of_every_team"
    ),
    "Ray's objects fit into shared memory": (
        f"{UNIT}training.py::test_a_pod_has_as_much_memory_as_it_asks_for_and_its_objects_fit"
    ),
    "monitors count whoever made them": (
        f"{UNIT}monitoring.py::test_whatever_selects_our_pods_is_selected"
    ),
    "a monitor finds pods": f"{UNIT}training.py::test_the_monitor_finds_every_pod_of_ray",
    "rules and dashboards ask for what is measured": (
        "tests/unit/test_alerts.py::test_rules_and_dashboards_rest_on_what_is_measured"
    ),
    "Prometheus does not fill its disk": (
        f"{UNIT}monitoring.py::test_prometheus_does_not_fill_its_volume"
    ),
    "the platform's own rules let the platform in": (
        f"{LIVE}operators.py::test_pod_security_and_quotas_let_the_pods_of_every_controller_in"
    ),
    "a limit for all becomes nobody's default": (
        f"{UNIT}tenancy.py::test_limits_leave_out_what_would_become_every_pods_default"
    ),
    "Services are made while the load balancer's controller is away": (
        f"{UNIT}operators.py::test_the_load_balancer_controller_calls_nothing_that_has_no_endpoint"
    ),
    "definitions follow their chart, and outlive it": (
        f"{UNIT}operators.py::test_definitions_of_kinds_outlive_their_chart_and_nothing_else_does"
    ),
    "certificates of webhooks are not made up at each update": (
        f"{UNIT}operators.py::test_no_hook_is_needed"
    ),
}


@pytest.fixture
def cluster(record: Record, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Prod, recorded once; a copy for each test."""
    if not _RECORDED:
        _RECORDED.append(_recorded(record, monkeypatch))
    return copy.deepcopy(_RECORDED[0])


_RECORDED: list[Cluster] = []


def _recorded(record: Record, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    asked: dict[tuple[str, str], tuple[str, set[str]]] = {}
    register: Any = mocks.MockMonitor.RegisterResource

    def watched(self: Any, request: Any) -> Any:
        answer = register(self, request)
        provider = request.provider.rpartition("::")[0]
        asked[request.type, request.name] = (
            answer.urn,
            {*request.dependencies, request.parent, provider} - {""},
        )
        return answer

    monkeypatch.setattr(mocks.MockMonitor, "RegisterResource", watched)
    content = yaml.safe_load((CONFIG_DIRECTORY / "Pulumi.prod.yaml").read_text())["config"] | MORE
    settings = parse(
        "prod",
        {key: it if isinstance(it, str) else json.dumps(it) for key, it in content.items()},
    )
    made = record(lambda: Platform(settings, {}, None, made_up(Lock())))
    inputs = {(one.type, one.name): one.inputs for one in made.resources}
    return Cluster(
        {
            urn: Made(kind, name, inputs.get((kind, name), {}), after)
            for (kind, name), (urn, after) in asked.items()
        }
    )


@pytest.mark.parametrize("sentence", TRAPS)
def test_a_cluster_avoids(cluster: Cluster, sentence: str) -> None:
    check, _ = TRAPS[sentence]

    assert list(check(cluster)) == []


@pytest.mark.parametrize("sentence", TRAPS)
def test_a_cluster_that_falls_into_it_is_noticed(cluster: Cluster, sentence: str) -> None:
    check, spoil = TRAPS[sentence]
    spoil(cluster)

    assert list(check(cluster))


@pytest.mark.parametrize("sentence", HELD_ELSEWHERE)
def test_what_is_held_elsewhere_is_held(sentence: str) -> None:
    path, _, name = HELD_ELSEWHERE[sentence].partition("::")

    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
