"""Training and queues: what is asked for, what comes of it, and where pods land."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components.aws.instance_types import instance_types
from components.aws.karpenter_objects import node_pools
from components.aws.node_pool import NodePool, NodePoolArgs
from components.aws.scope import Scope
from components.aws.settings.aws import AwsSettings
from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.node_pool import NodePoolSettings
from components.aws.settings.pools_for_pods import pools_for_pods
from components.aws.settings.secrets import TEAM_SECRETS
from components.images import read_catalogue
from components.kubernetes.flows import PARTS, Part
from components.kubernetes.gpu_models import GPUS
from components.kubernetes.pools import GPU, Pool, placing
from components.kubernetes.priorities import FOR_TEAMS, PRIORITIES
from components.kubernetes.queues import QueuedTeam, Queues, QueuesArgs, feature_gates, queue_spec
from components.kubernetes.ray_pods import (
    RAY_VERSION,
    TOKEN_SECRET,
    WORKER_ACCOUNT,
    RayJob,
    RayJobError,
    RayPlace,
    cluster_spec,
    job_manifest,
)
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import SERVICE_ACCOUNT
from components.kubernetes.training import TokenSource, Training, TrainingArgs
from components.kubernetes.training_settings import (
    HeadState,
    RayHead,
    RayWorkers,
    SharedRay,
    TrainingSettings,
    largest,
    problems_of_group,
    problems_of_training,
)

Record = Callable[[Callable[[], object]], Any]

AWS = AwsSettings.model_validate(
    {
        "account_id": "111111111111",
        "network": {"cidr": "10.64.0.0/16"},
        "node_pools": {
            "system": {
                "kind": "cpu", "instance_types": ["m6i.xlarge"], "min_nodes": 3, "max_nodes": 6,
            },
            "fixed": {"kind": "gpu", "instance_types": ["g5.4xlarge"], "max_nodes": 1},
        },
        "elastic_nodes": {
            "image": "al2023@v20260904",
            "pools": {
                "general": {"kind": "cpu", "instance_types": ["m6i.2xlarge"], "max_nodes": 20},
                "training": {
                    "kind": "gpu",
                    "instance_types": ["g5.2xlarge"],
                    "max_nodes": 8,
                    "purpose": "training",
                    "spot_percent": 50,
                },
            },
        },
        "gpu_budget": {"total": 9, "per_team": 4},
    }
)  # fmt: skip
POOLS = pools_for_pods(AWS.pools, 110)
PLACE = RayPlace(
    pools=POOLS,
    images={"cpu": "registry.ae.example/ray:1", "gpu": "registry.ae.example/ray-gpu:1"},
    storage_class="encrypted",
)
QUOTA = TeamQuota(
    cpu_quota=64, memory_quota_gib=256, gpu_quota=4, storage_quota_gib=1000, pod_quota=50
)
TEAMS = {"credit": QUOTA, "fraud": QUOTA}


def shared(**change: Any) -> dict[str, Any]:
    """The settings of a shared cluster, CPU and GPU."""
    workers = {
        "cpu": {"pool": "general", "cpus": 6, "memory_gib": 24, "max_workers": 4},
        "gpu": {"pool": "training", "cpus": 6, "memory_gib": 24, "gpus": 1, "max_workers": 2},
    }
    return {"head": {"pool": "general"}, "workers": workers} | change


def training(**change: Any) -> TrainingSettings:
    """Credit with a shared cluster."""
    return TrainingSettings.model_validate({"clusters": {"credit": shared()}} | change)


def problems(
    settings: TrainingSettings,
    environment: str = "prod",
    pools: Mapping[str, Pool] = POOLS,
    teams: Mapping[str, TeamQuota] = TEAMS,
) -> list[str]:
    """What is wrong with `settings`."""
    return list(problems_of_training(settings, environment=environment, teams=teams, pools=pools))


def templates(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Group → template of the pods of a cluster."""
    yield "head", spec["headGroupSpec"]["template"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


CLUSTER = cluster_spec(SharedRay.model_validate(shared()), PLACE)
JOB = RayJob(
    name="train-credit-risk",
    team="credit",
    entrypoint="python -m workloads.credit_risk",
    head=RayHead(pool="general"),
    workers={
        "gpu": RayWorkers(pool="training", cpus=6, memory_gib=24, gpus=1, max_workers=2),
        "cpu": RayWorkers(pool="general", cpus=4, memory_gib=16, max_workers=1),
    },
)


def job(**change: Any) -> RayJob:
    """The job with some of it changed."""
    return RayJob(**({name: getattr(JOB, name) for name in JOB.__dataclass_fields__} | change))


# --- pods and nodes -------------------------------------------------------------------------------


def lands(pod: Mapping[str, Any], labels: Mapping[str, str], taints: list[Any]) -> bool:
    """Whether a node takes the pod, by the scheduler's rules as far as we use them."""
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    if not all(labels.get(one["key"]) in one["values"] for one in term["matchExpressions"]):
        return False
    borne = {(one["key"], one["value"], one["effect"]) for one in pod.get("tolerations", ())}
    return all(
        (taint["key"], taint["value"], taint["effect"]) in borne
        for taint in taints
        if taint["effect"] != "PreferNoSchedule"
    )


def managed(record: Record, name: str, shape: NodePoolSettings) -> tuple[dict[str, str], list[Any]]:
    """Labels and taints that a managed group gives its nodes."""
    args = NodePoolArgs(
        scope=Scope(environment="test", account_id="1" * 12, region="me-central-1"),
        pool=name,
        shape=shape,
        cluster_name="one",
        subnet_ids=["subnet-1"],
        volume_key_arn="arn:key",
        network_plugin_has_role=True,
    )
    group = record(lambda: NodePool(name, args)).the("NodeGroup").inputs
    effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute"}
    taints = [one | {"effect": effects[one["effect"]]} for one in group.get("taints", ())]
    return group["labels"], taints


def elastic(name: str, shape: ElasticPoolSettings) -> Iterator[tuple[dict[str, str], list[Any]]]:
    """Labels and taints that Karpenter gives the nodes of a pool, on demand and spot."""
    for manifest in node_pools(name, shape):
        template = manifest.spec["template"]
        yield template["metadata"]["labels"], template["spec"].get("taints", [])


def test_a_pod_lands_on_the_nodes_of_its_pool_and_on_no_others(record: Record) -> None:
    assert AWS.elastic_nodes is not None
    nodes = {
        **{name: [managed(record, name, shape)] for name, shape in AWS.node_pools.items()},
        **{name: list(elastic(name, shape)) for name, shape in AWS.elastic_nodes.pools.items()},
    }
    assert len(nodes["training"]) == 2, "spot and on demand"
    for wanted, pool in POOLS.items():
        for name, kinds in nodes.items():
            for labels, taints in kinds:
                assert lands(placing(pool), labels, taints) == (name == wanted), (wanted, name)


def test_what_is_said_of_a_pool_is_what_its_nodes_carry(record: Record) -> None:
    assert AWS.elastic_nodes is not None
    labels, taints = managed(record, "fixed", AWS.node_pools["fixed"])
    assert (labels, taints) == (POOLS["fixed"].labels, [dict(one) for one in POOLS["fixed"].taints])
    for labels, taints in elastic("training", AWS.elastic_nodes.pools["training"]):
        assert labels == POOLS["training"].labels
        assert taints == [dict(one) for one in POOLS["training"].taints]


def test_a_pod_may_count_on_less_than_the_node_has() -> None:
    general = POOLS["general"]
    assert 7 < general.cpus < 8
    assert 26 < general.memory_gib < 32
    assert POOLS["training"].gpus == 1
    assert POOLS["training"].gpu_models == ("A10G",)


@pytest.mark.parametrize(
    ("models", "asked", "said"),
    [
        (("A10G",), {"gpu_memory_gib": 24, "compute_capability": 8.0}, None),
        (("T4",), {}, None),
        (("A10G", "T4"), {"compute_capability": 8.0},
         "compute_capability: is 8, and fast may give T4, which has 7.5: name a pool of others"),
        (("L4", "H100"), {"gpu_memory_gib": 40},
         "gpu_memory_gib: is 40, and fast may give L4, which has 24"),
        (("A9",), {"gpu_memory_gib": 1}, "gpu_memory_gib: what A9 of fast can do is not known"),
        ((), {"gpu_memory_gib": 1}, "gpu_memory_gib: nobody says which GPUs fast has"),
    ],
)  # fmt: skip
def test_a_gpu_that_is_less_than_its_workers_need_is_refused(
    models: tuple[str, ...], asked: dict[str, Any], said: str | None
) -> None:
    group = RayWorkers(pool="fast", cpus=1, memory_gib=2, gpus=1, max_workers=1, **asked)
    fast = replace(POOLS["training"], gpu_models=models)
    found = list(problems_of_group(group, {"fast": fast}, "credit"))
    assert [one.startswith(said) for one in found] == [True] if said else not found


def test_what_every_gpu_that_aws_lends_can_do_is_known() -> None:
    assert {one.gpu for one in instance_types().values() if one.gpu is not None} <= GPUS.keys()
    for one in instance_types().values():
        assert one.gpu is None or one.gpu_memory_gib == GPUS[one.gpu].memory_gib


def test_each_group_is_bound_to_its_pool_and_asks_for_its_gpus() -> None:
    found = {name: template["spec"] for name, template in templates(CLUSTER)}
    assert found["head"]["affinity"] == placing(POOLS["general"])["affinity"]
    assert "tolerations" not in found["cpu"]
    assert found["gpu"]["tolerations"] == [
        {"key": GPU, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    ]
    (container,) = found["gpu"]["containers"]
    assert container["resources"]["limits"][GPU] == "1"
    assert container["image"] == PLACE.images["gpu"]
    assert GPU not in str(found["cpu"]["containers"])


# --- what every pod of Ray is ---------------------------------------------------------------------

PODS = [
    *((f"cluster {name}", template) for name, template in templates(CLUSTER)),
    *(
        (f"job {name}", template)
        for name, template in templates(job_manifest(JOB, PLACE, QUOTA)["spec"]["rayClusterSpec"])
    ),
]
each_pod = pytest.mark.parametrize("template", [one for _, one in PODS], ids=[it for it, _ in PODS])


@each_pod
def test_a_pod_is_restricted_and_has_no_token(template: Any) -> None:
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "server-token" not in {mount["name"] for mount in container["volumeMounts"]}


@each_pod
def test_a_pod_has_as_much_memory_as_it_asks_for_and_its_objects_fit(template: Any) -> None:
    spec = template["spec"]
    (container,) = spec["containers"]
    resources = container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    (shared_memory,) = [one for one in spec["volumes"] if one["name"] == "shared-mem"]
    there_mib = int(shared_memory["emptyDir"]["sizeLimit"].removesuffix("Mi"))
    assert there_mib * 1024**2 > int(objects_of(template))
    assert there_mib < int(resources["limits"]["memory"].removesuffix("Gi")) * 1024 / 2


def objects_of(template: Any) -> str:
    """The size of the object store that Ray is started with."""
    job_spec = job_manifest(JOB, PLACE, QUOTA)["spec"]["rayClusterSpec"]
    for spec in (CLUSTER, job_spec):
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            if group["template"] == template:
                return str(group["rayStartParams"]["object-store-memory"])
    raise AssertionError("no group has this template")


@each_pod
def test_what_memory_does_not_hold_goes_to_an_encrypted_volume(template: Any) -> None:
    (spill,) = [one for one in template["spec"]["volumes"] if one["name"] == "spill"]
    claim = spill["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == "encrypted"
    (container,) = template["spec"]["containers"]
    assert {"name": "spill", "mountPath": "/spill"} in container["volumeMounts"]


@each_pod
def test_a_pod_is_not_moved_and_its_metrics_are_read_under_mutual_tls(template: Any) -> None:
    metadata = template["metadata"]
    assert metadata["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert metadata["labels"]["istio.io/dataplane-mode"] == "ambient"
    (container,) = template["spec"]["containers"]
    assert {"name": "metrics", "containerPort": 8080} in container["ports"]


@each_pod
def test_a_pod_tells_rays_makers_nothing(template: Any) -> None:
    (container,) = template["spec"]["containers"]
    assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


@pytest.mark.parametrize("image", ["ray", "ray-gpu"])
def test_the_version_is_that_of_the_images(image: str) -> None:
    version = read_catalogue().images[image].version
    assert re.match(rf"{re.escape(RAY_VERSION)}-", version)
    assert tuple(map(int, RAY_VERSION.split("."))) >= (2, 53, 0), "probes would need wget"


# --- the shared cluster ---------------------------------------------------------------------------


def a_team(settings: TrainingSettings, token: TokenSource | None = None) -> Callable[[], object]:
    """Builds the training of credit."""
    args = TrainingArgs(
        team="credit",
        namespace="credit",
        settings=settings,
        place=PLACE,
        storage_name="test-credit",
        token=token,
    )
    return lambda: Training("credit", args)


def test_a_cluster_grows_and_shrinks_between_its_bounds() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert CLUSTER["autoscalerOptions"]["version"] == "v2"
    assert CLUSTER["autoscalerOptions"]["idleTimeoutSeconds"] == 300
    bounds = {
        group["groupName"]: (group["minReplicas"], group["maxReplicas"])
        for group in CLUSTER["workerGroupSpecs"]
    }
    assert bounds == {"cpu": (0, 4), "gpu": (0, 2)}
    assert not any("replicas" in group for group in CLUSTER["workerGroupSpecs"]), "the autoscaler's"


def test_every_process_asks_for_the_teams_token(record: Record) -> None:
    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": TOKEN_SECRET}
    assert TOKEN_SECRET in TEAM_SECRETS
    source = TokenSource(store="platform", key="falaj/test/teams/credit/ray-token")
    made = record(a_team(training(), source)).the("ExternalSecret").inputs
    assert made["spec"]["target"]["name"] == TOKEN_SECRET
    (entry,) = made["spec"]["data"]
    assert entry == {"secretKey": "auth_token", "remoteRef": {"key": source.key}}


def test_the_servers_token_is_in_the_autoscalers_container_alone() -> None:
    options = CLUSTER["autoscalerOptions"]
    assert "server-token" in {mount["name"] for mount in options["volumeMounts"]}
    with_it = [
        name
        for name, template in templates(CLUSTER)
        if "server-token" in {volume["name"] for volume in template["spec"]["volumes"]}
    ]
    assert with_it == ["head"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_autoscaler_may_change_its_own_cluster_and_nothing_else(record: Record) -> None:
    made = record(a_team(training()))
    role = made.the("Role").inputs
    cluster = made.the("RayCluster").inputs
    # KubeRay makes a wider role where there is none of the cluster's name
    assert role["metadata"]["name"] == cluster["metadata"]["name"]
    writing = [rule for rule in role["rules"] if set(rule["verbs"]) - {"get", "list", "watch"}]
    assert writing == [
        {
            "apiGroups": ["ray.io"],
            "resources": ["rayclusters"],
            "resourceNames": ["ray"],
            "verbs": ["get", "patch"],
        }
    ]
    (subject,) = made.the("RoleBinding").inputs["subjects"]
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]["serviceAccountName"]
    assert subject["name"] == head != WORKER_ACCOUNT
    assert made.the("ServiceAccount").inputs["automountServiceAccountToken"] is False
    assert WORKER_ACCOUNT == SERVICE_ACCOUNT


def test_a_heads_state_outlives_it_where_that_is_asked_for() -> None:
    state = HeadState(address="cache.example", password_secret="ray-state")
    spec = cluster_spec(
        SharedRay.model_validate(shared()), PLACE, state=state, storage_name="prod-credit"
    )
    options = spec["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "rediss://cache.example:6379", "over TLS"
    assert options["externalStorageNamespace"] == "prod-credit"
    assert "valueFrom" in options["redisPassword"]
    assert "gcsFaultToleranceOptions" not in CLUSTER


def test_rays_ports_take_mutual_tls_alone(record: Record) -> None:
    made = record(a_team(training())).the("PeerAuthentication").inputs
    assert made["spec"]["mtls"] == {"mode": "STRICT"}
    chosen = made["spec"]["selector"]["matchLabels"]
    for name, template in templates(CLUSTER):
        assert chosen.items() <= template["metadata"]["labels"].items(), name


def test_the_monitor_finds_every_pod_of_ray(record: Record) -> None:
    made = record(a_team(training())).the("PodMonitor").inputs["spec"]
    (endpoint,) = made["podMetricsEndpoints"]
    for _, template in PODS:
        assert made["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        (container,) = template["spec"]["containers"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}


def test_a_team_that_asks_for_no_cluster_has_none_and_may_run_jobs(record: Record) -> None:
    made = record(a_team(TrainingSettings()))
    assert not made.of("RayCluster")
    assert not made.of("Role")
    assert made.of("PodMonitor")


def test_the_mesh_is_there_or_not_asked_for() -> None:
    with pytest.raises(ValueError, match="encryption is 'none', but the place has the mesh"):
        a_team(training(encryption="none"))


# --- jobs -----------------------------------------------------------------------------------------


def test_a_job_waits_in_its_teams_queue_has_a_fixed_size_and_goes_when_done() -> None:
    made = job_manifest(JOB, PLACE, QUOTA)
    assert made["metadata"]["namespace"] == "credit"
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "jobs"
    assert made["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "falaj-batch"
    spec = made["spec"]
    assert spec["suspend"] is True
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 600
    assert spec["activeDeadlineSeconds"] == 24 * 3600
    inner = spec["rayClusterSpec"]
    assert "enableInTreeAutoscaling" not in inner
    sizes = {
        group["groupName"]: {group[key] for key in ("replicas", "minReplicas", "maxReplicas")}
        for group in inner["workerGroupSpecs"]
    }
    assert sizes == {"gpu": {2}, "cpu": {1}}
    for _, template in templates(inner):
        assert template["spec"]["serviceAccountName"] == WORKER_ACCOUNT
        assert template["spec"]["priorityClassName"] == "falaj-batch"


def test_a_job_brings_its_image_environment_and_secrets() -> None:
    made = job_manifest(
        job(
            image="registry.ae.example/credit@sha256:1",
            runtime_env={"env_vars": {"MLFLOW_TRACKING_URI": "http://tracking:5000"}},
            secrets=("tracking",),
        ),
        PLACE,
        QUOTA,
    )["spec"]
    assert yaml.safe_load(made["runtimeEnvYAML"])["env_vars"]["MLFLOW_TRACKING_URI"]
    for _, template in templates(made["rayClusterSpec"]):
        (container,) = template["spec"]["containers"]
        assert container["image"] == "registry.ae.example/credit@sha256:1"
        assert container["envFrom"] == [{"secretRef": {"name": "tracking"}}]


def gpus(count: int, pool: str = "training") -> dict[str, RayWorkers]:
    """So many workers with a GPU."""
    return {"gpu": RayWorkers(pool=pool, cpus=4, memory_gib=16, gpus=1, max_workers=count)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": gpus(5)}, "asks for 5 GPUs; the team's gpu_quota is 4"),
        ({"workers": gpus(1, "gpus")}, "gpu.pool: gpus is no pool; there are fixed, general"),
        ({"workers": gpus(1, "general")}, "gpu.gpus: is 1, and the nodes of general have none"),
        ({"workers": {}}, "workers: is empty, and the head runs no work"),
        ({"head": RayHead(pool="training")}, "head.gpus: is 0, and training takes only pods that"),
        ({"runtime_env": {"pip": ["xgboost"]}}, "runtime_env.pip: would be fetched when the job"),
        (
            {"runtime_env": {"working_dir": "https://github.com/one.zip"}},
            "runtime_env.working_dir: https://github.com/one.zip is neither in a bucket",
        ),
        ({"priority": "falaj-platform"}, "priority: falaj-platform is not for teams, who have"),
        ({"name": "Train"}, "name: 'Train' is not made of at most 47 small letters"),
        ({"spill_gib": 400}, "asks for 1600 GiB of storage; the team's storage_quota_gib is 1000"),
    ],
)
def test_a_job_that_could_not_run_is_refused_before_it_is_handed_in(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RayJobError) as caught:
        job_manifest(job(**change), PLACE, QUOTA)
    assert message in str(caught.value)


def test_all_that_is_wrong_with_a_job_is_said_at_once() -> None:
    with pytest.raises(RayJobError) as caught:
        job_manifest(job(name="X", workers=gpus(9), runtime_env={"conda": "one"}), PLACE, QUOTA)
    assert len(caught.value.problems) == 4, caught.value.problems


# --- settings -------------------------------------------------------------------------------------


def test_what_fits_has_no_problem() -> None:
    assert problems(training()) == []


def workers(**change: Any) -> dict[str, Any]:
    """The shared cluster with its GPU workers changed."""
    group = {"pool": "training", "cpus": 6, "memory_gib": 24, "gpus": 1, "max_workers": 2} | change
    return {"clusters": {"credit": shared(workers={"gpu": group})}}


SLICED = {"gpu_sharing": {"training": {"kind": "time-slicing", "slices": 4}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (workers(max_workers=5), "clusters.credit: at its largest asks for 5 GPUs; the team's"),
        (workers(pool="gpus"), "clusters.credit.workers.gpu.pool: gpus is no pool; there are"),
        (workers(gpus=0), "workers.gpu.gpus: is 0, and training takes only pods that ask for a"),
        (workers(gpus=2), "workers.gpu.gpus: is 2, and a node of training has 1 for pods"),
        (workers(cpus=8), "workers.gpu.cpus: is 8, and a node of training has 7."),
        (workers(pool="fixed"), "workers.gpu.max_workers: is 2, and the 1 nodes of fixed hold 1"),
        ({"clusters": {"nobody": shared()}}, "clusters.nobody: is no team; there are credit, fra"),
        ({"encryption": "none"}, "encryption: is 'none', which only dev and test may be"),
        ({"elastic_under_kueue": True}, "elastic_under_kueue: is for dev alone: it stands on"),
        (
            {"gpu_sharing": {"training": {"kind": "mig", "slices": 2}}},
            "cannot divide itself: g5 (A10G) and g6 (L4) have no MIG, which NVIDIA builds into",
        ),
        (SLICED, "gpu_sharing.training.team: is missing: slices of time share one memory"),
        (
            {"gpu_sharing": {"general": {"kind": "mig", "slices": 2}}},
            "gpu_sharing.general: is no pool of GPUs; there are fixed, training",
        ),
        (
            {"gpu_sharing": {"training": {"kind": "time-slicing", "slices": 2, "team": "fraud"}}},
            "give it the label and the taint falaj/team=fraud",
        ),
        (
            {"gpu_sharing": {"training": {"kind": "time-slicing", "slices": 2, "team": "fraud"}}},
            "clusters.credit.workers.gpu.pool: training is fraud's alone",
        ),
    ],
)  # fmt: skip
def test_what_could_not_be_is_said_before_anything_is_applied(
    change: dict[str, Any], message: str
) -> None:
    found = problems(training(**change))
    assert any(message in one for one in found), found


def test_a_pool_of_one_teams_own_may_be_sliced() -> None:
    own = ElasticPoolSettings.model_validate(
        {
            "kind": "gpu",
            "instance_types": ["g6.2xlarge"],
            "max_nodes": 1,
            "labels": {"falaj/team": "credit"},
            "taints": [{"key": "falaj/team", "value": "credit"}],
        }
    )
    pools = {**POOLS, **pools_for_pods({"elastic_nodes.pools.slices": own}, 110)}
    group = {"pool": "slices", "cpus": 1, "memory_gib": 4, "gpus": 1, "max_workers": 4}
    sharing = {"slices": {"kind": "time-slicing", "slices": 4, "team": "credit"}}
    asked = training(clusters={"credit": shared(workers={"gpu": group})}, gpu_sharing=sharing)
    assert problems(asked, pools=pools) == []
    whole = training(clusters={"credit": shared(workers={"gpu": group})})
    assert problems(whole, pools=pools) == [
        "clusters.credit.workers.gpu.max_workers: is 4, and the 1 nodes of slices hold 1"
    ]


@pytest.mark.parametrize("team", ["credit", "fraud"])
def test_a_pool_of_one_teams_own_takes_no_cluster_and_no_job_of_another(team: str) -> None:
    own = replace(POOLS["training"], labels={**POOLS["training"].labels, "falaj/team": "credit"})
    pools = {**POOLS, "training": own}
    cluster = problems(training(clusters={team: shared()}), pools=pools)
    expected = [] if team == "credit" else ["training is credit's alone"]
    assert [one.rpartition("pool: ")[2] for one in cluster] == expected
    try:
        job_manifest(replace(JOB, team=team), replace(PLACE, pools=pools), QUOTA)
        said = []
    except RayJobError as error:
        said = error.problems
    assert said == [f"gpu.pool: {one}" for one in expected]


@pytest.mark.parametrize("environment", ["dev", "test"])
def test_trials_may_do_without_encryption(environment: str) -> None:
    assert problems(training(encryption="none"), environment) == []


def test_dev_may_queue_elastic_clusters() -> None:
    assert problems(training(elastic_under_kueue=True), "dev") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_workers": 3}, "min_workers: is 3, more than max_workers, 2"),
        ({"max_workers": 0}, "max_workers"),
    ],
)
def test_a_group_has_a_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingSettings.model_validate(workers(**change))


def test_a_group_of_workers_is_not_called_head() -> None:
    group = {"pool": "general", "cpus": 1, "memory_gib": 4, "max_workers": 1}
    with pytest.raises(
        ValidationError, match=r"workers\.head: is the name of the head's own group"
    ):
        SharedRay.model_validate(shared(workers={"head": group}))


# --- queues ---------------------------------------------------------------------------------------


def queues(settings: TrainingSettings) -> Callable[[], object]:
    """Builds the queues of both teams."""
    args = QueuesArgs(
        teams={name: QueuedTeam(namespace=name, quota=quota) for name, quota in TEAMS.items()},
        pools=POOLS,
        settings=settings,
    )
    return lambda: Queues("queues", args)


def shares(spec: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Flavour → resource → quota."""
    (group,) = spec["resourceGroups"]
    return {
        flavor["name"]: {one["name"]: one["nominalQuota"] for one in flavor["resources"]}
        for flavor in group["flavors"]
    }


def cores(quantity: str) -> float:
    """A quantity of CPU."""
    millis = quantity.endswith("m")
    return float(quantity.removesuffix("m")) / (1000 if millis else 1)


@pytest.mark.parametrize("quota", [QUOTA, TeamQuota(), TeamQuota(gpu_quota=8)])
@pytest.mark.parametrize("settings", [training(), TrainingSettings()])
def test_a_queue_and_the_shared_cluster_together_stay_within_the_quota(
    quota: TeamQuota, settings: TrainingSettings
) -> None:
    found = shares(queue_spec("credit", quota, settings, POOLS))
    shape = settings.clusters.get("credit")
    cpus, memory, gpus_taken = (0.0, 0.0, 0)
    if shape is not None:
        most = largest(shape)
        cpus, memory, gpus_taken = most.cpus, most.memory_gib, most.gpus
    queued = sum(cores(one["cpu"]) for one in found.values())
    assert queued == max(0, quota.cpu_quota - cpus)
    gib = sum(int(one["memory"].removesuffix("Mi")) for one in found.values()) / 1024
    assert gib == max(0, quota.memory_quota_gib - memory)
    assert int(found["gpu"][GPU]) == max(0, quota.gpu_quota - gpus_taken)
    assert found["cpu"][GPU] == "0"


def test_an_elastic_cluster_in_the_queue_takes_nothing_off_it() -> None:
    elastic_settings = training(elastic_under_kueue=True)
    assert shares(queue_spec("credit", QUOTA, elastic_settings, POOLS))["gpu"][GPU] == "4"


def test_the_gate_of_elastic_clusters_is_closed_unless_asked_for() -> None:
    assert feature_gates(training()) == {"ElasticJobsViaWorkloadSlices": False}
    assert feature_gates(training(elastic_under_kueue=True)) == {
        "ElasticJobsViaWorkloadSlices": True
    }


def test_an_elastic_cluster_waits_in_the_queue_and_another_does_not(record: Record) -> None:
    for asked in (True, False):
        made = record(a_team(training(elastic_under_kueue=asked))).the("RayCluster")
        metadata = made.inputs["metadata"]
        assert (metadata["labels"].get("kueue.x-k8s.io/queue-name") == "jobs") is asked
        assert (metadata["annotations"].get("kueue.x-k8s.io/elastic-job") == "true") is asked


def test_a_queue_takes_work_of_its_team_alone_and_nobody_borrows(record: Record) -> None:
    made = record(queues(training()))
    assert len(made.of("ClusterQueue")) == 2
    for queue in made.of("ClusterQueue"):
        spec = queue.inputs["spec"]
        team = queue.inputs["metadata"]["name"]
        assert spec["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": team}
        assert spec["cohortName"] == "falaj"
        (group,) = spec["resourceGroups"]
        limits = {
            one["borrowingLimit"] for flavor in group["flavors"] for one in flavor["resources"]
        }
        assert limits == {"0"}
    local = {
        one.inputs["metadata"]["namespace"]: (
            one.inputs["metadata"]["name"],
            one.inputs["spec"]["clusterQueue"],
        )
        for one in made.of("LocalQueue")
    }
    assert local == {team: ("jobs", team) for team in TEAMS}


def test_a_flavour_stands_for_the_nodes_of_one_kind(record: Record) -> None:
    made = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]
        for one in record(queues(training())).of("ResourceFlavor")
    }
    assert set(made) == {"cpu", "gpu"}
    for pool in POOLS.values():
        assert made[pool.kind]["nodeLabels"].items() <= pool.labels.items()
    assert made["gpu"]["nodeTaints"] == [dict(one) for one in POOLS["training"].taints]
    assert "nodeTaints" not in made["cpu"]


def test_jobs_wait_in_the_order_in_which_pods_run(record: Record) -> None:
    made = {
        one.inputs["metadata"]["name"]: one.inputs["value"]
        for one in record(queues(training())).of("WorkloadPriorityClass")
    }
    assert made == {name: PRIORITIES[name].value for name in FOR_TEAMS}


def test_the_operator_reaches_the_head_of_every_team() -> None:
    """The operator hands jobs in over HTTP: no pod of its own has to be let through."""
    part = PARTS["team-ray-head"]
    assert isinstance(part, Part)
    assert part.pods == {"ray.io/node-type": "head"}
    assert job_manifest(JOB, PLACE, QUOTA)["spec"]["submissionMode"] == "HTTPMode"
