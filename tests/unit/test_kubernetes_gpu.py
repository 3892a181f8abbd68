"""The device plugin: on the nodes with GPUs, telling of them as the settings divide them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.aws.settings.elastic_nodes import ElasticNodesSettings, ElasticPoolSettings
from components.aws.settings.node_pool import Taint
from components.aws.settings.pools_for_pods import (
    _AGENTS_CPU_MILLIS,
    _AGENTS_MIB,
    pools_for_pods,
)
from components.kubernetes.gpu import CPU_MILLIS, MEMORY_MIB, GpuPlugin, GpuPluginArgs, groups_of
from components.kubernetes.pools import GPU, Pool
from components.kubernetes.training_settings import GpuSharing, divided_pools

Record = Callable[[Callable[[], object]], Any]

IMAGE = "registry.ae.example/nvidia-device-plugin:v0.19.0"
OWN = Taint(key="falaj/team", value="wheat")


def elastic(kind: str, instance: str, **more: Any) -> ElasticPoolSettings:
    return ElasticPoolSettings.model_validate(
        {"kind": kind, "instance_types": (instance,), "max_nodes": 2, **more}
    )


POOLS = pools_for_pods(
    {
        "elastic_nodes.pools.general": elastic("cpu", "m6i.2xlarge"),
        "elastic_nodes.pools.training": elastic("gpu", "g5.2xlarge", purpose="training"),
        "elastic_nodes.pools.serving": elastic("gpu", "g6.2xlarge"),
        "elastic_nodes.pools.slices": elastic(
            "gpu", "g5.xlarge", taints=(OWN,), labels={"falaj/team": "wheat"}
        ),
    },
    110,
)
SLICES = {"slices": GpuSharing(kind="time-slicing", slices=4, team="wheat")}


def plugins(record: Record, **more: Any) -> dict[str, dict[str, Any]]:
    """Name of a DaemonSet → the spec of its pods."""
    args = GpuPluginArgs(**({"image": IMAGE, "pools": POOLS, "sharing": SLICES} | more))
    made = record(lambda: GpuPlugin("gpu", args))
    files = {one.inputs["metadata"]["name"]: one.inputs["data"] for one in made.of("ConfigMap")}
    found = {}
    for one in made.of("DaemonSet"):
        name = one.inputs["metadata"]["name"]
        template = one.inputs["spec"]["template"]
        (text,) = files[name].values()
        found[name] = {"template": template, "pod": template["spec"], "config": json.loads(text)}
    return found


def runs_on(pod: dict[str, Any], pool: Pool) -> bool:
    """Whether the scheduler lets the plugin's pod onto the nodes of `pool`."""
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    borne = [(one["key"], one["value"], one["effect"]) for one in pod["tolerations"]]
    return all(
        pool.labels.get(one["key"]) in one["values"] for one in term["matchExpressions"]
    ) and all((one["key"], one["value"], one["effect"]) in borne for one in pool.taints)


def test_every_node_with_gpus_has_one_plugin_and_no_other_node_has_any(record: Record) -> None:
    found = plugins(record)
    assert set(found) == {"gpu-plugin", "gpu-plugin-slices"}
    for name, pool in POOLS.items():
        there = [one for one, made in found.items() if runs_on(made["pod"], pool)]
        assert len(there) == (pool.kind == "gpu"), (name, there)


def test_a_plugin_that_bears_no_taint_would_run_nowhere(record: Record) -> None:
    pod = plugins(record)["gpu-plugin-slices"]["pod"]
    assert runs_on(pod, POOLS["slices"])
    pod["tolerations"] = [one for one in pod["tolerations"] if one["key"] != OWN.key]
    assert not runs_on(pod, POOLS["slices"])


def test_a_pool_is_divided_as_training_counts_it(record: Record) -> None:
    found = plugins(record)
    (told,) = found["gpu-plugin-slices"]["config"]["sharing"]["timeSlicing"]["resources"]
    assert told == {"name": GPU, "replicas": 4}
    counted = divided_pools(SLICES, POOLS)["slices"].gpus
    assert counted == POOLS["slices"].gpus * told["replicas"]
    slicing = found["gpu-plugin-slices"]["config"]["sharing"]["timeSlicing"]
    assert slicing["failRequestsGreaterThanOne"] is True
    assert slicing["renameByDefault"] is False
    assert "sharing" not in found["gpu-plugin"]["config"]


def test_gpus_with_mig_are_counted_by_their_parts(record: Record) -> None:
    mig = {"training": GpuSharing(kind="mig", slices=7)}
    made = plugins(record, sharing=mig)["gpu-plugin-training"]
    assert made["config"]["flags"] == {"migStrategy": "single"}
    (container,) = made["pod"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert {"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"} in container["env"]


def test_the_plugin_has_no_privilege_beside_the_kubelets_folder(record: Record) -> None:
    for made in plugins(record).values():
        pod = made["pod"]
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        paths = [one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one]
        assert paths == ["/var/lib/kubelet/device-plugins"]
        (container,) = pod["containers"]
        assert container["image"] == IMAGE
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["resources"]["limits"] == {"memory": f"{MEMORY_MIB}Mi"}
        assert made["template"]["metadata"]["labels"]["app.kubernetes.io/name"]


def test_a_change_of_the_slices_starts_the_plugin_anew(record: Record) -> None:
    def mark(slices: int) -> str:
        sharing = {"slices": GpuSharing(kind="time-slicing", slices=slices, team="wheat")}
        template = plugins(record, sharing=sharing)["gpu-plugin-slices"]["template"]
        return str(template["metadata"]["annotations"]["falaj/config"])

    assert mark(4) != mark(5)
    assert mark(4) == mark(4)


def test_what_the_plugin_asks_for_is_part_of_what_pools_leave_to_agents() -> None:
    assert CPU_MILLIS < _AGENTS_CPU_MILLIS
    assert MEMORY_MIB < _AGENTS_MIB


def test_nodes_that_bring_a_plugin_get_no_second_one(record: Record) -> None:
    def bring(image: str) -> tuple[str, ...]:
        pools = {"training": elastic("gpu", "g5.2xlarge"), "general": elastic("cpu", "m6i.xlarge")}
        return ElasticNodesSettings(pools=pools, image=image).with_gpu_plugin

    assert bring("bottlerocket@1.49.0") == ("training",)
    assert bring("al2023@v20260904") == ()
    found = plugins(record, with_plugin=("training", "serving"))
    assert set(found) == {"gpu-plugin-slices"}
    with pytest.raises(ValueError, match=r"training\.gpu_sharing\.slices: its nodes bring a plu"):
        plugins(record, with_plugin=("slices",))


def test_only_a_pool_of_gpus_is_divided() -> None:
    for pool in ("general", "missing"):
        with pytest.raises(ValueError, match=rf"training\.gpu_sharing\.{pool}: is no pool of GPUs"):
            GpuPluginArgs(image=IMAGE, pools=POOLS, sharing={pool: SLICES["slices"]})


def test_a_cluster_without_gpus_has_no_plugin(record: Record) -> None:
    without = {"general": POOLS["general"]}
    assert not list(groups_of(GpuPluginArgs(image=IMAGE, pools=without)))
    assert not plugins(record, pools=without, sharing={})
