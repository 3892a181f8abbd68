"""Volumes, stores of secrets, GPUs, elastic pools and backups as the API server sees them.

The drivers and operators do not run: their kinds are the real ones, and the objects are judged by
these, by admission and by the controllers of Kubernetes itself.
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

from components.kubernetes.storage_classes import DEFAULT, KEPT

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.aws.disks import ebs_disks
from components.aws.karpenter_objects import NodePlace, node_class, node_pools
from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.node_pool import Taint
from components.aws.settings.pools_for_pods import pools_for_pods
from components.aws.settings.secrets import secret_folders
from components.kubernetes.backup import Bucket, ClusterBackup, ClusterBackupArgs
from components.kubernetes.backup_settings import ClusterBackupSettings
from components.kubernetes.elastic_pools import ElasticPools, ElasticPoolsArgs
from components.kubernetes.gpu import GpuPlugin, GpuPluginArgs
from components.kubernetes.secret_stores import SecretsManager, SecretStores, SecretStoresArgs
from components.kubernetes.settings import TeamGroups, TeamQuota
from components.kubernetes.storage_classes import StorageClasses, StorageClassesArgs
from components.kubernetes.storage_classes_settings import StorageClassesSettings
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs
from components.kubernetes.training_settings import GpuSharing

REGION = "me-central-1"
KEY = f"arn:aws:kms:{{REGION}}:123456789012:key/0"
here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
teams = {{
    name: Team(
        name,
        TeamArgs(
            team=name, quota=TeamQuota(groups=TeamGroups(developer=(f"{{name}}-developer",)))
        ),
        opts,
    )
    for name in ("barley", "figs")
}}
space = Namespace(
    "backup-space",
    NamespaceArgs(namespace="backup", part="backup", quota=TeamQuota()),
    opts,
)
StorageClasses(
    "volumes",
    StorageClassesArgs(
        settings=StorageClassesSettings(not_default=("gp2",)),
        disks=ebs_disks(KEY, {{"owner": "ml", "backup": "standard"}}),
    ),
    opts,
)
SecretStores(
    "secrets",
    SecretStoresArgs(
        source=SecretsManager(region=REGION),
        folders={{one: f"falaj-prod/{{path}}" for one, path in secret_folders(teams).items()}},
    ),
    opts,
)
shapes = {{
    "general": ElasticPoolSettings(
        kind="cpu", instance_types=("m6i.2xlarge",), max_nodes=4, spot_percent=50
    ),
    "training": ElasticPoolSettings(
        kind="gpu", instance_types=("g5.2xlarge",), max_nodes=4, purpose="training"
    ),
    "slices": ElasticPoolSettings(
        kind="gpu",
        instance_types=("g6.xlarge",),
        max_nodes=1,
        labels={{"falaj/team": "barley"}},
        taints=(Taint(key="falaj/team", value="barley"),),
    ),
    "notebooks": ElasticPoolSettings(
        kind="cpu", instance_types=("m6i.xlarge",), max_nodes=2, purpose="workspaces"
    ),
}}
place = NodePlace(
    region=REGION,
    cluster_name="falaj-prod",
    instance_profile="falaj-prod-elastic-nodes",
    subnet_ids={{f"{{REGION}}{{letter}}": f"subnet-0{{letter}}" for letter in "abc"}},
    security_group_ids=["sg-0123456789"],
    volume_key_arn=KEY,
    image="IMAGE",
    max_pods=110,
    tags={{"owner": "ml"}},
)
manifests = []
for pool, shape in shapes.items():
    manifests += [node_class(pool, shape, place), *node_pools(pool, shape)]
ElasticPools("pools", ElasticPoolsArgs(manifests=manifests), opts)
GpuPlugin(
    "gpu",
    GpuPluginArgs(
        image="registry.ae.example/prod/nvidia-device-plugin:v0.19.0",
        pools=pools_for_pods(
            {{f"elastic_nodes.pools.{{name}}": shape for name, shape in shapes.items()}}, 110
        ),
        sharing={{"slices": GpuSharing(kind="time-slicing", slices=SLICES, team="barley")}},
    ),
    opts,
)
ClusterBackup(
    "backup",
    ClusterBackupArgs(
        settings=ClusterBackupSettings.model_validate(
            {{"schedules": {{"daily": {{}}, "hourly": {{"cron": "5 * * * *", "keep_days": 2}}}}}}
        ),
        namespaces=tuple(teams),
        bucket=Bucket(name="falaj-prod-backups-123456789012", region=REGION, key_arn=KEY),
        namespace=space.namespace,
        wait_for=space.ready,
    ),
    opts,
)
""".replace("IMAGE", "al2023@v20260904").replace("SLICES", "4")

KINDS = ("karpenter", "external-secrets", "velero")
STORAGE, KARPENTER = "storage.k8s.io/v1", "karpenter.sh/v1"
NODE_CLASS, STORE, VELERO = "karpenter.k8s.aws/v1", "external-secrets.io/v1", "velero.io/v1"
MARK = "storageclass.kubernetes.io/is-default-class"
GP2: Object = {
    "apiVersion": STORAGE,
    "kind": "StorageClass",
    "metadata": {"name": "gp2", "annotations": {MARK: "true"}},
    "provisioner": "kubernetes.io/aws-ebs",
    "parameters": {"type": "gp2"},
    "volumeBindingMode": "WaitForFirstConsumer",
}
"""As EKS brought it before Kubernetes 1.30."""


@pytest.fixture(scope="module", autouse=True)
def layer(
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    api: Api,
) -> Iterator[Program]:
    """A cluster of EKS's kind with all services."""
    define(*KINDS)
    api.create(GP2)
    program = lasting_program(PROGRAM)
    succeed(program.up())
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60)
    ):
        with pause:  # the server takes a new policy up within seconds
            assert refusal(api, claim(storageClassName="gp2")) is not None
    yield program
    api.delete(GP2, seconds=60)


def live(api: Api, version: str, kind: str, name: str, namespace: str = "") -> Object:
    """An object that is there."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    found = api.get({"apiVersion": version, "kind": kind, "metadata": metadata})
    assert found is not None, f"{kind} {name}"
    return found


def refusal(api: Api, thing: Object) -> str | None:
    """Why the server refuses `thing`, `None` where it would take it."""
    try:
        api.create(thing, dry_run=True)
    except ApiError as error:
        return str(error)
    return None


# --- volumes --------------------------------------------------------------------------------------


def claim(**spec: Any) -> Object:
    """A claim of a team."""
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "one", "namespace": "barley"},
        "spec": asked | spec,
    }


def test_one_class_is_the_default_though_another_bore_the_mark(api: Api) -> None:
    classes = {one["metadata"]["name"]: one for one in api.list(STORAGE, "StorageClass")}
    marked = {
        name
        for name, one in classes.items()
        if one["metadata"].get("annotations", {}).get(MARK) == "true"
    }
    assert {"gp2", DEFAULT, KEPT} <= set(classes)
    assert marked == {DEFAULT}
    assert classes["gp2"]["parameters"] == GP2["parameters"], "else it is left alone"


def test_a_claim_without_a_class_gets_the_encrypted_one(api: Api) -> None:
    made = api.create(claim(), dry_run=True)
    assert made["spec"]["storageClassName"] == DEFAULT


@pytest.mark.parametrize(
    "spec",
    [
        {"storageClassName": DEFAULT},
        {"storageClassName": KEPT},
        {"storageClassName": "", "volumeName": "made-by-hand"},
    ],
)
def test_a_claim_of_an_encrypted_class_is_taken(api: Api, spec: dict[str, Any]) -> None:
    assert refusal(api, claim(**spec)) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"storageClassName": "gp2"}, "the class gp2 is none whose volumes are known to be encryp"),
        ({"storageClassName": "gp2"}, "name encrypted or encrypted-kept"),
        ({"storageClassName": ""}, "has no class, not even a default, and would wait for ever"),
    ],
)
def test_a_claim_of_any_other_class_is_refused(
    api: Api, spec: dict[str, Any], message: str
) -> None:
    assert message in (refusal(api, claim(**spec)) or "")


# --- secrets --------------------------------------------------------------------------------------


def test_each_namespace_has_its_store(api: Api) -> None:
    for namespace, folder in (
        ("barley", "falaj-prod/teams/barley/"),
        ("figs", "falaj-prod/teams/figs/"),
        ("tracking", "falaj-prod/tracking/"),
    ):
        spec = live(api, STORE, "ClusterSecretStore", f"falaj-{namespace}")["spec"]
        assert spec["conditions"] == [{"namespaces": [namespace]}]
        assert spec["provider"]["aws"]["prefix"] == folder


def external_secret(namespace: str) -> Object:
    """What asks the store of barley for a secret."""
    return {
        "apiVersion": STORE,
        "kind": "ExternalSecret",
        "metadata": {"name": "taken", "namespace": namespace},
        "spec": {
            "secretStoreRef": {"name": "falaj-barley", "kind": "ClusterSecretStore"},
            "target": {"name": "taken"},
            "data": [{"secretKey": "token", "remoteRef": {"key": "ray-token"}}],
        },
    }


def own_store() -> Object:
    """A store that would reach whatever the operator reaches."""
    provider = {"aws": {"service": "SecretsManager", "region": "me-central-1"}}
    return {
        "apiVersion": STORE,
        "kind": "SecretStore",
        "metadata": {"name": "wide", "namespace": "figs"},
        "spec": {"provider": provider},
    }


def test_a_developer_asks_for_no_secret_and_makes_no_store(api: Api, cluster: ControlPlane) -> None:
    with cluster.api(cluster.kubeconfig_for("latifa", ["figs-developer"])) as latifa:
        for thing in (external_secret("figs"), own_store()):
            assert "forbidden" in (refusal(latifa, thing) or "")
            assert refusal(api, thing) is None, "the object itself is sound"


# --- nodes ----------------------------------------------------------------------------------------


def node_of(name: str, pool: Object) -> Object:
    """A node as Karpenter starts it for `pool`."""
    template = pool["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{name}", "labels": template["metadata"]["labels"]},
        "spec": {"taints": template["spec"].get("taints", [])},
    }


@pytest.fixture
def nodes(api: Api) -> Iterator[dict[str, Object]]:
    """A node of each pool; what the plugin's controller puts there goes with them."""
    pools = {one["metadata"]["name"]: one for one in api.list(KARPENTER, "NodePool")}
    made = {name: node_of(name, pool) for name, pool in pools.items()}
    for node in made.values():
        api.create(node)
    yield made
    for node in made.values():
        api.delete(node, seconds=60)
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60)
    ):
        with pause:  # nobody runs on these nodes who could end a pod
            for pod in plugins(api):
                api.request("DELETE", api.path_of(pod), params={"gracePeriodSeconds": "0"})
            assert not plugins(api)


def plugins(api: Api) -> list[Object]:
    """The pods of the device plugin."""
    return [
        {"apiVersion": "v1", "kind": "Pod", **pod}
        for pod in api.list("v1", "Pod", "kube-system")
        if pod["metadata"]["name"].startswith("gpu-plugin")
    ]


def meant_for(pod: Object) -> str:
    """The node that a DaemonSet's pod is for."""
    affinity = pod["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (field,) = terms[0]["matchFields"]
    (name,) = field["values"]
    return str(name)


def test_the_plugin_runs_on_every_node_with_gpus_and_on_no_other(
    api: Api, nodes: dict[str, Object]
) -> None:
    expected = {"node-training": "gpu-plugin", "node-slices": "gpu-plugin-slices"}
    assert {"general", "general-spot", "notebooks", "training", "slices"} == set(nodes)
    for name, wanted in (("gpu-plugin", 1), ("gpu-plugin-slices", 1)):
        plugin = live(api, "apps/v1", "DaemonSet", name, "kube-system")
        for seen in api.watch(plugin, seconds=60):
            assert seen is not None
            if seen["status"].get("currentNumberScheduled") == wanted:
                break
        assert seen["status"]["desiredNumberScheduled"] == wanted
        assert seen["status"]["numberMisscheduled"] == 0
    assert {
        meant_for(pod): pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in plugins(api)
    } == expected


def test_slices_reach_the_plugin(api: Api) -> None:
    (text,) = live(api, "v1", "ConfigMap", "gpu-plugin-slices", "kube-system")["data"].values()
    told = json.loads(text)["sharing"]["timeSlicing"]["resources"]
    assert told == [{"name": "nvidia.com/gpu", "replicas": 4}]


# --- what the kinds themselves refuse -------------------------------------------------------------

Spoil = Callable[[Any], None]


def put(*path: str, value: Any) -> Spoil:
    """Sets one field of a `spec`."""

    def spoil(spec: Any) -> None:
        for name in path[:-1]:
            spec = spec[int(name) if name.isdigit() else name]
        spec[path[-1]] = value

    return spoil


_LABELS = ("template", "metadata", "labels")


@pytest.mark.parametrize(
    ("version", "kind", "name", "spoil"),
    [
        (KARPENTER, "NodePool", "training", put("disruption", "consolidationPolicy", value="Off")),
        (KARPENTER, "NodePool", "training", put(*_LABELS, value={"karpenter.sh/own": "yes"})),
        (KARPENTER, "NodePool", "training", put("template", "spec", "expireAfter", value="ever")),
        (NODE_CLASS, "EC2NodeClass", "training", put("amiSelectorTerms", value=[{"alias": "al"}])),
        (NODE_CLASS, "EC2NodeClass", "training", put("role", value="beside-the-profile")),
        (NODE_CLASS, "EC2NodeClass", "training", put("subnetSelectorTerms", value=[])),
        (STORE, "ClusterSecretStore", "falaj-figs", put("provider", "aws", value={"region": "x"})),
        (VELERO, "BackupStorageLocation", "in-country", put("accessMode", value="Write")),
        (VELERO, "Schedule", "daily", put("template", "snapshotVolumes", value="perhaps")),
    ],
)
def test_the_object_is_what_its_kind_asks_for_and_a_spoiled_one_is_not(
    api: Api, version: str, kind: str, name: str, spoil: Spoil
) -> None:
    found = live(api, version, kind, name, "backup" if version == VELERO else "")
    metadata = {
        key: value for key, value in found["metadata"].items() if key in ("namespace", "labels")
    }
    again = {
        "apiVersion": version,
        "kind": kind,
        "metadata": metadata | {"name": "again"},
        "spec": copy.deepcopy(found["spec"]),
    }
    assert refusal(api, again) is None
    spoil(again["spec"])
    assert refusal(api, again) is not None


# --- the engine -----------------------------------------------------------------------------------


def test_a_second_update_changes_nothing(layer: Program, succeed: Callable[..., Any]) -> None:
    succeed(layer.up("--expect-no-changes", "--refresh"))


def test_a_patch_of_what_is_not_there_says_so(layer: Program) -> None:
    layer.write(PROGRAM.replace('("gp2",)', '("gp2", "gp1")'))
    failed = layer.preview()
    layer.write(PROGRAM)
    assert failed.returncode != 0
    assert "there is no gp1 to patch" in failed.stdout + failed.stderr


def test_a_destroy_leaves_nothing_but_what_was_there(
    layer: Program, succeed: Callable[..., Any], api: Api
) -> None:
    succeed(layer.destroy())
    left = api.list(STORAGE, "StorageClass")
    assert [one["metadata"]["name"] for one in left] == ["gp2"]
    assert left[0]["parameters"] == GP2["parameters"]
    for version, kind in (
        (KARPENTER, "NodePool"),
        (NODE_CLASS, "EC2NodeClass"),
        (STORE, "ClusterSecretStore"),
        (VELERO, "Schedule"),
        (VELERO, "BackupStorageLocation"),
    ):
        assert api.list(version, kind) == [], kind
    for one in api.list("apps/v1", "DaemonSet"):
        assert not one["metadata"]["name"].startswith("gpu-plugin")
    policies = api.list("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
    assert "falaj-storage-classes" not in {one["metadata"]["name"] for one in policies}
