"""Where pods land, who goes first and what a quota holds, as the real scheduler and server say.

The nodes are those of prod's pools at their largest, with nothing behind them (`kubelets`). Pods
are made from the templates of jobs and of models' servers; the operators that would make them do
not run.
"""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import pytest
import tenacity
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubelets import Kubelets
from kubernetes_api import Api, ApiError, Object

from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.node_pool import Taint
from components.aws.settings.pools_for_pods import pools_for_pods
from components.kubernetes.model_pods import ENGINES, Slot, pod_spec
from components.kubernetes.pools import GPU, TEAM, Pool
from components.kubernetes.ray_pods import RayJob, RayJobError, RayPlace, job_manifest
from components.kubernetes.serving_settings import ModelSettings
from components.kubernetes.settings import TeamQuota
from components.kubernetes.training_settings import RayHead, RayWorkers
from stacks.settings import read_file

IMAGE = f"registry.ae.example/prod/one:1@sha256:{'0' * 64}"
TEAMS = ("credit", "fraud", "lending")
QUOTA = TeamQuota(cpu_quota=64, memory_quota_gib=256, gpu_quota=4, storage_quota_gib=1000)

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.priorities import Priorities
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
Priorities("priorities", opts)
Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
quota = TeamQuota.model_validate({QUOTA.model_dump()})
for team in {TEAMS}:
    Team(team, TeamArgs(team=team, quota=quota), opts)
"""


def _pools() -> dict[str, Pool]:
    """Those of prod, and one that is fraud's alone."""
    aws = read_file("prod").aws
    assert aws is not None
    own = ElasticPoolSettings(
        kind="gpu",
        instance_types=("g5.2xlarge",),
        max_nodes=2,
        labels={TEAM: "fraud"},
        taints=(Taint(key=TEAM, value="fraud"),),
    )
    return pools_for_pods({**aws.pools, "elastic_nodes.pools.fraud-gpu": own}, 110)


POOLS = _pools()
STRANGER = "stranger"
"""A node that is of no pool and bears no taint, with more GPUs than any."""
PLACE = RayPlace(pools=POOLS, images={"cpu": IMAGE, "gpu": IMAGE}, storage_class="encrypted")


def room(pool: Pool) -> dict[str, str]:
    """What one node of `pool` has for pods."""
    return {
        "cpu": f"{int(pool.cpus * 1000)}m",
        "memory": f"{int(pool.memory_gib * 1024)}Mi",
        "ephemeral-storage": "100Gi",
        "pods": "110",
    } | ({GPU: str(pool.gpus)} if pool.gpus else {})


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: ControlPlane) -> Iterator[Kubelets]:
    """Every node that prod may have."""
    with Kubelets(cluster.kubeconfig()).working() as kubelets:
        for name, pool in POOLS.items():
            for number in range(pool.max_nodes):
                kubelets.join(
                    f"{name}.{number}", room(pool), labels=pool.labels, taints=pool.taints
                )
        few = {"cpu": "2", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110", GPU: "8"}
        kubelets.join(f"{STRANGER}.0", few)
        yield kubelets


@pytest.fixture(scope="module", autouse=True)
def layer(
    nodes: Kubelets,
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    api: Api,
) -> Program:
    """Three teams, the priorities and what every pod must be."""
    program = lasting_program(PROGRAM)
    succeed(program.up())
    for attempt in patience():
        with attempt:  # the server takes a new policy up within seconds
            assert refused(api, bearing(template("gpu"), TEAM, "credit"), "fraud")
    return program


@pytest.fixture(autouse=True)
def tidy(layer: Program, api: Api) -> Iterator[None]:
    """Every test begins with empty nodes and unused quotas."""
    yield
    for team in TEAMS:
        path = api.path("v1", "Pod", namespace=team)
        api.request("DELETE", path, params={"gracePeriodSeconds": "0"})
    for attempt in patience():
        with attempt:
            assert {used(api, team, "pods") for team in TEAMS} == {"0"}


def patience() -> tenacity.Retrying:
    """For what comes about without being asked again."""
    return tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(120), reraise=True
    )


# --- pods -----------------------------------------------------------------------------------------

Template = Object
"""Labels and `spec` of a pod."""


def job(team: str, pool: str, count: int, priority: str = "falaj-batch", **shape: int) -> Object:
    """The manifest of a job of `team` with `count` workers on `pool`."""
    workers = RayWorkers(pool=pool, max_workers=count, **({"cpus": 1, "memory_gib": 2} | shape))
    return job_manifest(
        RayJob(
            name="sowing",
            team=team,
            entrypoint="python -m sowing",
            head=RayHead(pool="general", cpus=1, memory_gib=4),
            workers={"workers": workers},
            priority=priority,
            spill_gib=1,
        ),
        PLACE,
        QUOTA,
    )


def pods_of(manifest: Object) -> list[Template]:
    """The pods of a job as KubeRay makes them, but for the volume that nobody makes here."""
    spec = manifest["spec"]["rayClusterSpec"]
    (group,) = spec["workerGroupSpecs"]
    found = []
    for kind, one, count in (
        ("head", spec["headGroupSpec"], 1),
        ("worker", group, group["replicas"]),
    ):
        pod = copy.deepcopy(one["template"])
        pod["metadata"]["labels"]["ray.io/node-type"] = kind
        (container,) = pod["spec"]["containers"]
        for listed in (pod["spec"]["volumes"], container["volumeMounts"]):
            listed[:] = [volume for volume in listed if volume["name"] != "spill"]
        found += [pod] * count
    return found


def template(kind: str) -> Template:
    """A worker of a job on a node of prod's own pools: `cpu` or `gpu`."""
    pool, gpus = {"cpu": ("general", 0), "gpu": ("training", 1)}[kind]
    return pods_of(job("credit", pool, 1, gpus=gpus))[1]


def model(**settings: Any) -> Template:
    """A server of a model."""
    slot = Slot(workload="credit", slot="a")
    spec = pod_spec(slot, ENGINES["mlserver"], ModelSettings(**settings), image=IMAGE, variables={})
    return {"metadata": {"labels": slot.labels}, "spec": spec}


def without(pod: Template, *fields: str) -> Template:
    """The same without some fields of its `spec`."""
    kept = {key: value for key, value in pod["spec"].items() if key not in fields}
    return {**pod, "spec": kept}


def bearing(pod: Template, key: str, value: str) -> Template:
    """The same with one more toleration."""
    more = {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
    return {**pod, "spec": {**pod["spec"], "tolerations": [*pod["spec"]["tolerations"], more]}}


def create(api: Api, team: str, pods: Iterable[Template]) -> list[str]:
    """Creates pods, a few at a time; what the server said of those that it refused."""

    def one(pod: Template) -> str:
        metadata = {**pod["metadata"], "generateName": "one-", "namespace": team}
        try:
            api.create({"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata})
        except ApiError as error:
            return str(error)
        return ""

    with futures.ThreadPoolExecutor(8) as hands:
        return [said for said in hands.map(one, pods) if said]


def refused(api: Api, pod: Template, team: str) -> str:
    """What the server has against a pod; empty where it has nothing."""
    return "\n".join(create(api, team, [pod]))


def used(api: Api, team: str, what: str) -> str:
    """Of the team's quota."""
    (quota,) = api.list("v1", "ResourceQuota", team)
    return str(quota.get("status", {}).get("used", {}).get(what))


# --- where they are -------------------------------------------------------------------------------

WAITS = "waits"


def landed(api: Api, team: str) -> collections.Counter[str]:
    """Pool → how many pods of `team` are on it, once the scheduler has an answer for each."""
    for attempt in patience():
        with attempt:
            pods = api.list("v1", "Pod", team)
            assert [one["metadata"]["name"] for one in pods if place_of(one) is None] == []
    return collections.Counter(str(place_of(one)) for one in pods)


def place_of(pod: Object) -> str | None:
    """The pool of a pod's node, or that it waits; `None` while the scheduler says nothing."""
    if node := pod["spec"].get("nodeName"):
        return str(node).partition(".")[0]
    return WAITS if reason_of(pod) else None


def reason_of(pod: Object) -> str:
    """Why the scheduler finds no node for `pod`; empty while it has not looked."""
    return "".join(
        condition["message"]
        for condition in pod.get("status", {}).get("conditions", [])
        if condition.get("reason") == "Unschedulable"
    )


def reasons(api: Api, team: str) -> str:
    """Why those of `team` wait that do."""
    return "\n".join({reason_of(one) for one in api.list("v1", "Pod", team)} - {""})


# --- pools ----------------------------------------------------------------------------------------


def test_a_job_with_gpus_lands_on_the_gpu_pool_and_its_head_does_not(api: Api) -> None:
    assert create(api, "credit", pods_of(job("credit", "training", 4, gpus=1))) == []
    assert landed(api, "credit") == {"training": 4, "general": 1}


def test_without_its_affinity_and_toleration_it_would_land_on_any_node_with_gpus(api: Api) -> None:
    bare = without(template("gpu"), "affinity", "tolerations")
    assert create(api, "credit", [bare] * 2) == []
    assert landed(api, "credit") == {STRANGER: 2}


def test_with_its_affinity_alone_it_would_wait_for_ever(api: Api) -> None:
    assert create(api, "credit", [without(template("gpu"), "tolerations")]) == []
    assert landed(api, "credit") == {WAITS: 1}
    assert "untolerated taint(s)" in reasons(api, "credit")


def test_hundreds_of_pods_without_gpus_wait_rather_than_land_elsewhere(api: Api) -> None:
    each = 60
    for team in TEAMS:
        assert create(api, team, pods_of(job(team, "general", each))) == []
    found = sum((landed(api, team) for team in TEAMS), collections.Counter())
    fits = POOLS["general"].max_nodes * int(POOLS["general"].cpus)
    assert found["general"] >= fits
    assert found == {"general": found["general"], WAITS: len(TEAMS) * (each + 1) - found["general"]}
    # one that waits would have gone to nodes that others pay for
    assert create(api, "credit", [without(template("cpu"), "affinity")]) == []
    elsewhere = landed(api, "credit").keys() - {"general", WAITS}
    assert len(elsewhere) == 1


def test_a_pod_without_gpus_would_land_on_the_gpu_pool_if_it_bore_its_taint(api: Api) -> None:
    """It is the taint that keeps it off, not the want of room elsewhere."""
    large = without(template("cpu"), "affinity")
    large["spec"]["containers"][0]["resources"] = {
        "requests": {"cpu": str(int(POOLS["training"].cpus)), "memory": "4Gi"},
        "limits": {"memory": "4Gi"},
    }
    narrow = {"nodeSelector": {"falaj/kind": "gpu"}, "tolerations": []}
    held = {**large, "spec": {**large["spec"], **narrow}}
    assert create(api, "credit", [held]) == []
    assert landed(api, "credit") == {WAITS: 1}
    assert create(api, "fraud", [bearing(held, GPU, "true")]) == []
    assert landed(api, "fraud") == {"training": 1}


def test_models_land_on_the_pool_that_their_settings_name(api: Api) -> None:
    models = [
        model(cpus=1, node_pool="serving"),
        model(cpus=1, gpus=1, node_pool="training"),
    ]
    assert create(api, "credit", models * 2) == []
    assert landed(api, "credit") == {"serving": 2, "training": 2}


# --- nodes of one team ----------------------------------------------------------------------------


def test_nodes_of_one_team_take_its_jobs(api: Api) -> None:
    assert create(api, "fraud", pods_of(job("fraud", "fraud-gpu", 2, gpus=1))) == []
    assert landed(api, "fraud") == {"fraud-gpu": 2, "general": 1}


def test_they_stay_empty_while_others_wait_for_the_same_gpus(api: Api) -> None:
    for team in ("credit", "lending"):
        assert create(api, team, pods_of(job(team, "training", 4, gpus=1))) == []
    assert landed(api, "lending") == {"training": 4, "general": 1}
    waiting = without(template("gpu"), "affinity")
    waiting["spec"]["nodeSelector"] = {"falaj/kind": "gpu"}
    assert create(api, "fraud", [waiting]) == []
    assert landed(api, "fraud") == {WAITS: 1}, "not even fraud's own, unless it says so"
    assert create(api, "fraud", [bearing(waiting, TEAM, "fraud")]) == []
    assert landed(api, "fraud") == {WAITS: 1, "fraud-gpu": 1}


def test_a_job_of_another_team_that_names_them_is_refused_before_it_is_made() -> None:
    with pytest.raises(RayJobError, match="fraud-gpu is fraud's alone"):
        job("credit", "fraud-gpu", 1, gpus=1)


def test_a_toleration_that_somebody_wrote_by_hand_is_refused_by_the_server(api: Api) -> None:
    by_hand = bearing(template("gpu"), TEAM, "fraud")
    assert f"bears the taint {TEAM} of another team" in refused(api, by_hand, "credit")
    every = {**by_hand, "spec": {**by_hand["spec"], "tolerations": [{"operator": "Exists"}]}}
    assert "of another team, or every taint" in refused(api, every, "credit")
    any_team = {"tolerations": [{"key": TEAM, "operator": "Exists"}]}
    assert "of another team" in refused(
        api, {**by_hand, "spec": {**by_hand["spec"], **any_team}}, "credit"
    )
    assert refused(api, by_hand, "fraud") == ""


# --- quota ----------------------------------------------------------------------------------------


def test_a_quota_holds_against_hundreds_at_once_and_gives_back(api: Api) -> None:
    worker = template("cpu")
    told = create(api, "credit", [worker] * 150)
    assert len(told) == 150 - QUOTA.cpu_quota
    assert all("exceeded quota: team" in one for one in told)
    assert used(api, "credit", "requests.cpu") == str(QUOTA.cpu_quota)
    assert refused(api, worker, "fraud") == "", "each team has its own"
    for pod in api.list("v1", "Pod", "credit")[:10]:
        path = api.path("v1", "Pod", pod["metadata"]["name"], "credit")
        api.request("DELETE", path, params={"gracePeriodSeconds": "0"})
    for attempt in patience():
        with attempt:  # the controller manager counts anew
            assert used(api, "credit", "requests.cpu") == str(QUOTA.cpu_quota - 10)
    assert len(create(api, "credit", [worker] * 15)) == 5


def test_a_controller_gets_no_more_than_the_quota_either(api: Api) -> None:
    pod = model(cpus=8, memory_gib=1)
    pod["spec"].pop("nodeSelector", None)
    selector = {"matchLabels": {"falaj/slot": "a"}}
    servers = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "many",
            "namespace": "lending",
            "labels": pod["metadata"]["labels"],
        },
        "spec": {"replicas": 30, "selector": selector, "template": pod},
    }
    api.create(servers)
    try:
        for attempt in patience():
            with attempt:
                made = api.get(servers)
                assert made is not None
                failures = [
                    one for one in made["status"]["conditions"] if one["type"] == "ReplicaFailure"
                ]
                assert "exceeded quota: team" in failures[0]["message"]
                assert used(api, "lending", "pods") == str(QUOTA.cpu_quota // 8)
    finally:
        api.delete(servers, seconds=60)


def test_a_namespace_without_a_quota_would_take_them_all(api: Api) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "workload", "namespace": "default"},
    }
    api.create(account)
    try:
        assert create(api, "default", [template("cpu")] * (QUOTA.cpu_quota + 10)) == []
    finally:
        path = api.path("v1", "Pod", namespace="default")
        api.request("DELETE", path, params={"gracePeriodSeconds": "0"})
        api.delete(account, seconds=60)


# --- priority -------------------------------------------------------------------------------------


def fill_gpus(api: Api) -> None:
    """All of prod's GPUs, by experiments of two teams."""
    for team in ("credit", "fraud"):
        assert create(api, team, pods_of(job(team, "training", 4, gpus=1))) == []
        assert landed(api, team) == {"training": 4, "general": 1}


def test_a_model_takes_the_place_of_experiments_and_of_no_more_than_it_needs(api: Api) -> None:
    fill_gpus(api)
    assert create(api, "lending", [model(cpus=1, gpus=1, node_pool="training")] * 3) == []
    for attempt in patience():
        with attempt:
            assert landed(api, "lending") == {"training": 3}
    left = landed(api, "credit") + landed(api, "fraud")
    assert left == {"training": 5, "general": 2}


@pytest.mark.parametrize("priority", ["falaj-batch", None])
def test_an_experiment_takes_nobodys_place(api: Api, priority: str | None) -> None:
    fill_gpus(api)
    waiting = template("gpu")
    waiting["spec"]["priorityClassName"] = priority
    if priority is None:
        del waiting["spec"]["priorityClassName"]
    assert create(api, "lending", [waiting] * 3) == []
    assert landed(api, "lending") == {WAITS: 3}
    assert landed(api, "credit") + landed(api, "fraud") == {"training": 8, "general": 2}


def test_a_class_that_does_not_preempt_waits_even_for_what_is_below_it(api: Api) -> None:
    lowest = [
        without(one, "priorityClassName") for one in pods_of(job("credit", "training", 4, gpus=1))
    ]
    others = [
        without(one, "priorityClassName") for one in pods_of(job("fraud", "training", 4, gpus=1))
    ]
    assert create(api, "credit", lowest) == []
    assert create(api, "fraud", others) == []
    assert (landed(api, "credit") + landed(api, "fraud"))["training"] == 8
    assert create(api, "lending", [template("gpu")]) == []
    assert landed(api, "lending") == {WAITS: 1}
    trained = template("gpu")
    trained["spec"]["priorityClassName"] = "falaj-training"
    assert create(api, "lending", [trained]) == []
    for attempt in patience():
        with attempt:
            assert landed(api, "lending") == {WAITS: 1, "training": 1}


def test_training_that_is_waited_for_goes_before_hundreds_of_experiments(api: Api) -> None:
    for team in ("credit", "fraud"):
        assert create(api, team, pods_of(job(team, "general", 60))) == []
    before = landed(api, "credit") + landed(api, "fraud")
    assert before[WAITS] > 0, "the pool is full"
    wanted = pods_of(job("lending", "general", 20, priority="falaj-training"))
    assert create(api, "lending", wanted) == []
    for attempt in patience():
        with attempt:
            assert landed(api, "lending") == {"general": len(wanted)}
    after = landed(api, "credit") + landed(api, "fraud")
    assert before["general"] - 2 * len(wanted) <= after["general"] < before["general"]
    assert after.keys() == {"general", WAITS}
