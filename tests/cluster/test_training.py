"""Ray clusters, jobs and queues as the API server sees them.

The operators of Ray and of queues do not run: pods are made here from the templates that they would
take, so that admission, Pod Security, quota and the scheduler judge them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubernetes_api import Api, ApiError, Object

from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.pools_for_pods import pools_for_pods
from components.kubernetes.pools import GPU
from components.kubernetes.ray_pods import RayJob, RayPlace, job_manifest
from components.kubernetes.settings import TeamQuota
from components.kubernetes.training_settings import RayHead, RayWorkers

IMAGE = f"registry.ae.example/prod/ray:2.60.0@sha256:{'0' * 64}"

SHAPES = """
POOLS = pools_for_pods(
    {
        "elastic_nodes.pools.general": ElasticPoolSettings(
            kind="cpu", instance_types=("m6i.2xlarge",), max_nodes=20
        ),
        "elastic_nodes.pools.training": ElasticPoolSettings(
            kind="gpu", instance_types=("g5.2xlarge",), max_nodes=8, purpose="training"
        ),
    },
    110,
)
QUOTA = TeamQuota(
    cpu_quota=64, memory_quota_gib=256, gpu_quota=4, storage_quota_gib=1000, pod_quota=50
)
PLACE = RayPlace(pools=POOLS, images={"cpu": IMAGE, "gpu": IMAGE}, storage_class="encrypted")
"""
"""Of the program below, and of this module."""

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.pools_for_pods import pools_for_pods
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.priorities import Priorities
from components.kubernetes.queues import QueuedTeam, Queues, QueuesArgs
from components.kubernetes.ray_pods import RayPlace
from components.kubernetes.settings import AdmissionSettings, TeamGroups, TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs
from components.kubernetes.training import TokenSource, Training, TrainingArgs
from components.kubernetes.training_settings import HeadState, TrainingSettings

IMAGE = "{IMAGE}"
IDLE = 300
{SHAPES}
here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
settings = TrainingSettings.model_validate(
    {{
        "clusters": {{
            "wheat": {{
                "head": {{"pool": "general"}},
                "idle_seconds": IDLE,
                "workers": {{
                    "cpu": {{"pool": "general", "cpus": 6, "memory_gib": 24, "max_workers": 4}},
                    "gpu": {{
                        "pool": "training",
                        "cpus": 6,
                        "memory_gib": 24,
                        "gpus": 1,
                        "max_workers": 2,
                    }},
                }},
            }}
        }},
        "head_state": {{"address": "cache.example", "password_secret": "ray-state"}},
    }}
)
addresses = Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"])
priorities = Priorities("priorities", opts)
Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
teams = {{}}
for name in ("wheat", "dates"):
    groups = TeamGroups(developer=(f"{{name}}-developer",))
    quota = QUOTA.model_copy(update={{"groups": groups}})
    teams[name] = Team(name, TeamArgs(team=name, quota=quota, addresses=addresses), opts)
queues = Queues(
    "queues",
    QueuesArgs(
        teams={{
            name: QueuedTeam(namespace=team.namespace, quota=QUOTA) for name, team in teams.items()
        }},
        pools=POOLS,
        settings=settings,
    ),
    opts,
)
for name, team in teams.items():
    Training(
        f"{{name}}-training",
        TrainingArgs(
            team=name,
            namespace=team.namespace,
            settings=settings,
            place=PLACE,
            storage_name=f"test-{{name}}",
            token=TokenSource(store="platform", key=f"falaj/test/teams/{{name}}/ray-token"),
            wait_for=[*team.ready, *priorities.ready, *queues.ready],
        ),
        opts,
    )
"""

KINDS = ("kuberay", "kueue", "prometheus-operator", "istio", "external-secrets")


def _shapes() -> dict[str, Any]:
    found: dict[str, Any] = {
        "pools_for_pods": pools_for_pods,
        "ElasticPoolSettings": ElasticPoolSettings,
        "TeamQuota": TeamQuota,
        "RayPlace": RayPlace,
        "IMAGE": IMAGE,
    }
    exec(SHAPES, found)  # noqa: S102 our own text
    return found


PLACE: RayPlace = _shapes()["PLACE"]
QUOTA: TeamQuota = _shapes()["QUOTA"]


@pytest.fixture(scope="module", autouse=True)
def layer(
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    api: Api,
) -> Program:
    """Two teams, one with a shared cluster, and their queues."""
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
    """What the server has against a pod with an image from elsewhere."""
    spoiled = ray_pod(api, "head")
    spoiled["spec"]["containers"][0]["image"] = IMAGE.replace("registry.ae", "elsewhere")
    try:
        api.create(spoiled, dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


# --- what the server keeps ------------------------------------------------------------------------


def live(api: Api, kind: str, name: str, group: str, namespace: str = "") -> Object:
    """An object that is there."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    found = api.get({"apiVersion": group, "kind": kind, "metadata": metadata})
    assert found is not None, f"{kind} {name}"
    return found


def cluster_of(api: Api) -> Object:
    """The shared cluster of wheat."""
    return live(api, "RayCluster", "ray", "ray.io/v1", "wheat")


def test_all_objects_are_there(api: Api) -> None:
    kueue = "kueue.x-k8s.io/v1beta2"
    for name in ("cpu", "gpu"):
        live(api, "ResourceFlavor", name, kueue)
    for team in ("wheat", "dates"):
        queue = live(api, "LocalQueue", "jobs", kueue, team)
        live(api, "ClusterQueue", queue["spec"]["clusterQueue"], kueue)
        live(api, "PodMonitor", "ray", "monitoring.coreos.com/v1", team)
        live(api, "PeerAuthentication", "ray", "security.istio.io/v1", team)
        live(api, "ExternalSecret", "ray-token", "external-secrets.io/v1", team)
    live(api, "WorkloadPriorityClass", "falaj-batch", kueue)
    clusters = api.list("ray.io/v1", "RayCluster")
    assert [one["metadata"]["namespace"] for one in clusters] == ["wheat"], "dates asked for none"


def job(**change: Any) -> Object:
    """The manifest of a job of wheat."""
    fields: dict[str, Any] = {
        "name": "sowing",
        "team": "wheat",
        "entrypoint": "python -m sowing",
        "head": RayHead(pool="general"),
        "workers": {
            "gpu": RayWorkers(pool="training", cpus=6, memory_gib=24, gpus=1, max_workers=2)
        },
        "image": IMAGE,
    }
    return job_manifest(RayJob(**(fields | change)), PLACE, QUOTA)


def test_a_job_of_a_developer_is_taken_and_waits(api: Api, cluster: ControlPlane) -> None:
    with cluster.api(cluster.kubeconfig_for("salem", ["wheat-developer"])) as salem:
        # strict: a field that the kind does not know would be refused
        made = salem.create(job(), dry_run=True)
        assert made["spec"]["suspend"] is True
        with pytest.raises(ApiError, match="forbidden"):
            salem.create(job(team="dates"), dry_run=True)


# --- pods from the templates ----------------------------------------------------------------------


def ray_pod(api: Api, group: str) -> Object:
    """A pod as KubeRay makes it of the shared cluster's template, its own labels among them."""
    return pod_of(cluster_of(api)["spec"], group, "wheat")


def pod_of(spec: Object, group: str, namespace: str) -> Object:
    """A pod of a group of `spec`."""
    groups = {one["groupName"]: one for one in spec["workerGroupSpecs"]}
    head = group == "head"
    template = copy.deepcopy((spec["headGroupSpec"] if head else groups[group])["template"])
    template["metadata"] |= {"name": f"ray-{group}", "namespace": namespace}
    template["metadata"]["labels"]["ray.io/node-type"] = "head" if head else "worker"
    template["spec"]["restartPolicy"] = "Never"
    return {"apiVersion": "v1", "kind": "Pod", **template}


def autoscaler_of(spec: Object) -> Object:
    """The container that KubeRay puts beside the head's, from the options."""
    options = spec["autoscalerOptions"]
    image = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    kept = ("resources", "securityContext", "env", "volumeMounts")
    return {"name": "autoscaler", "image": image} | {name: options[name] for name in kept}


@pytest.mark.parametrize("group", ["head", "cpu", "gpu"])
def test_a_pod_of_the_cluster_passes_every_judge(api: Api, group: str) -> None:
    api.create(ray_pod(api, group), dry_run=True)


def test_the_autoscaler_beside_the_head_passes_too(api: Api) -> None:
    spec = cluster_of(api)["spec"]
    pod = pod_of(spec, "head", "wheat")
    pod["spec"]["containers"].append(autoscaler_of(spec))
    made = api.create(pod, dry_run=True)
    (head, autoscaler) = made["spec"]["containers"]
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert path in {mount["mountPath"] for mount in autoscaler["volumeMounts"]}
    assert path not in {mount["mountPath"] for mount in head["volumeMounts"]}


def test_a_job_with_a_queue_of_its_own_passes_too(api: Api) -> None:
    spec = job()["spec"]["rayClusterSpec"]
    for group in ("head", "gpu"):
        api.create(pod_of(spec, group, "wheat"), dry_run=True)


@pytest.mark.parametrize("spoil", ["runAsNonRoot", "labels", "memory"])
def test_a_spoiled_pod_of_ray_is_refused(api: Api, spoil: str) -> None:
    pod = ray_pod(api, "cpu")
    if spoil == "runAsNonRoot":
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    elif spoil == "labels":
        del pod["metadata"]["labels"]["app.kubernetes.io/name"]
    else:
        pod["spec"]["containers"][0]["resources"] = {
            "requests": {"cpu": "1", "memory": "300Gi"},
            "limits": {"memory": "300Gi"},
        }
    with pytest.raises(ApiError):
        api.create(pod, dry_run=True)


# --- where pods land ------------------------------------------------------------------------------


@pytest.fixture
def nodes(api: Api) -> Iterator[dict[str, Object]]:
    """A node of each pool, and one that is of none."""
    pools = {name: (pool.labels, pool.taints, pool.gpus) for name, pool in PLACE.pools.items()}
    made = {}
    for name, (labels, taints, gpus) in {**pools, "stranger": ({}, (), 8)}.items():
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node-{name}", "labels": dict(labels)},
            "spec": {"taints": [dict(taint) for taint in taints]},
        }
        api.create(node)
        room = {"cpu": "32", "memory": "128Gi", "pods": "110"} | ({GPU: str(gpus)} if gpus else {})
        status = {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
        }
        api.request(
            "PATCH",
            f"{api.path_of(node)}/status",
            content=json.dumps({"status": status}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        made[name] = node
    yield made
    for node in made.values():
        api.delete(node, seconds=60)


@pytest.mark.parametrize(
    ("group", "pool"), [("head", "general"), ("cpu", "general"), ("gpu", "training")]
)
def test_the_scheduler_puts_a_pod_on_the_nodes_of_its_pool(
    api: Api, nodes: dict[str, Object], group: str, pool: str
) -> None:
    pod = ray_pod(api, group)
    # nobody makes volumes here
    pod["spec"]["volumes"] = [one for one in pod["spec"]["volumes"] if one["name"] != "spill"]
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"] = [one for one in container["volumeMounts"] if one["name"] != "spill"]
    made = api.create(pod)
    try:
        landed = None
        for seen in api.watch(made, seconds=60):
            assert seen is not None
            landed = seen["spec"].get("nodeName")
            if landed:
                break
        assert landed == nodes[pool]["metadata"]["name"]
    finally:
        path = api.path_of(made)
        api.request("DELETE", path, params={"gracePeriodSeconds": "0"})


# --- the autoscaler -------------------------------------------------------------------------------

QUESTIONS = [
    # verb, group, resource, name, whether the autoscaler may
    ("list", "", "pods", "", True),
    ("watch", "", "pods", "", True),
    ("get", "ray.io", "rayclusters", "ray", True),
    ("patch", "ray.io", "rayclusters", "ray", True),
    ("patch", "ray.io", "rayclusters", "another", False),
    ("create", "ray.io", "rayclusters", "", False),
    ("delete", "ray.io", "rayclusters", "ray", False),
    ("patch", "", "pods", "", False),
    ("delete", "", "pods", "", False),
    ("create", "", "pods", "", False),
    ("get", "", "secrets", "ray-token", False),
    ("list", "", "secrets", "", False),
]


def head_token(api: Api) -> str:
    """What the autoscaler's container has mounted."""
    account = live(api, "ServiceAccount", "ray-head", "v1", "wheat")
    asked = api.request("POST", f"{api.path_of(account)}/token", json={"spec": {}})
    return str(asked["status"]["token"])


def test_the_autoscaler_may_do_what_the_table_says_in_its_own_team_alone(
    api: Api, cluster: ControlPlane
) -> None:
    with cluster.api(cluster.kubeconfig_with(head_token(api))) as autoscaler:

        def may(verb: str, group: str, resource: str, name: str, namespace: str) -> bool:
            attributes = {"verb": verb, "group": group, "resource": resource, "name": name}
            answer = autoscaler.create(
                {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": attributes | {"namespace": namespace}},
                }
            )
            return bool(answer["status"]["allowed"])

        own = {question[:4]: may(*question[:4], "wheat") for question in QUESTIONS}
        others = [question for question in QUESTIONS if may(*question[:4], "dates")]
    assert own == {question[:4]: question[4] for question in QUESTIONS}
    assert others == []


def ask_for_workers(api: Api, cluster: ControlPlane, count: int) -> None:
    """As Ray's autoscaler does it: a JSON patch of the list."""
    change = [{"op": "replace", "path": "/spec/workerGroupSpecs/0/replicas", "value": count}]
    with cluster.api(cluster.kubeconfig_with(head_token(api))) as autoscaler:
        autoscaler.request(
            "PATCH",
            autoscaler.path("ray.io/v1", "RayCluster", "ray", "wheat"),
            content=json.dumps(change),
            headers={"Content-Type": "application/json-patch+json"},
        )


def workers_of(api: Api) -> int:
    """How many of the first group are asked for."""
    return int(cluster_of(api)["spec"]["workerGroupSpecs"][0]["replicas"])


def test_an_update_leaves_the_number_of_workers_to_the_autoscaler(
    layer: Program, succeed: Callable[..., Any], api: Api, cluster: ControlPlane
) -> None:
    ask_for_workers(api, cluster, 3)
    succeed(layer.up("--expect-no-changes", "--refresh"))
    assert workers_of(api) == 3


def test_settings_change_though_the_autoscaler_wrote_into_the_same_list(
    layer: Program, succeed: Callable[..., Any], api: Api, cluster: ControlPlane
) -> None:
    ask_for_workers(api, cluster, 3)
    layer.write(PROGRAM.replace("IDLE = 300", "IDLE = 600"))
    succeed(layer.up())
    assert cluster_of(api)["spec"]["autoscalerOptions"]["idleTimeoutSeconds"] == 600
    assert workers_of(api) == 0, "begins anew; KubeRay removes no pod for it"
    ask_for_workers(api, cluster, 2)
    succeed(layer.up("--expect-no-changes", "--refresh"))


# --- the engine -----------------------------------------------------------------------------------


def test_a_destroy_leaves_nothing(layer: Program, succeed: Callable[..., Any], api: Api) -> None:
    succeed(layer.destroy())
    namespaces = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
    assert not {"wheat", "dates"} & namespaces
    for version, kind in (
        ("kueue.x-k8s.io/v1beta2", "ClusterQueue"),
        ("kueue.x-k8s.io/v1beta2", "ResourceFlavor"),
        ("kueue.x-k8s.io/v1beta2", "WorkloadPriorityClass"),
        ("ray.io/v1", "RayCluster"),
    ):
        assert api.list(version, kind) == [], kind
