"""What tells Kubernetes of the GPUs of a node: NVIDIA's device plugin, on every pool of GPUs.

Owns the DaemonSets, their configuration and account. How the GPUs of a pool are divided is a
setting of training (`training_settings.GpuSharing`): each divided pool has a plugin of its own, the
others share one. Leaves the driver and the container runtime to the image of the nodes (the
accelerated images of Amazon Linux 2023 hold both), and monitoring of GPUs to `monitoring`.

The plugin writes a socket into a folder of the kubelet, so it can neither be `restricted` nor pass
the policy `falaj-no-privilege`: it runs in `kube-system`, which is exempt from both, with no
privilege beside that folder. GPUs that divide themselves (MIG) take one more, SYS_ADMIN, since
their devices are looked up in a file of the driver that is root's.

Two things nobody does here. A GPU with MIG must be divided before the plugin starts, all GPUs of a
node alike, by the user data of the node or NVIDIA's MIG manager; the plugin then counts what it
finds. And Karpenter knows nothing of slices: for each pod that waits it reckons a whole GPU, so a
divided pool may start more nodes than its slices take, up to its limit.

That a node offers its GPUs is not shown by any test here. On a cluster: `kubectl get nodes -l
falaj/kind=gpu -o custom-columns=N:.metadata.name,G:'.status.allocatable.nvidia\\.com/gpu'`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.pools import GPU, KIND, POOL, Pool, toleration
from components.kubernetes.training_settings import GpuSharing

NAMESPACE = "kube-system"
NAME = "gpu-plugin"
_FOLDER = "/var/lib/kubelet/device-plugins"
_CONFIG = "/config"
_FILE = "plugin.json"
CPU_MILLIS, MEMORY_MIB = 20, 96
"""Of each node; part of what `pools_for_pods` takes off for agents."""


@dataclass(frozen=True, kw_only=True)
class GpuPluginArgs:
    """Which nodes have GPUs, and how these are divided."""

    image: pulumi.Input[str]
    """Of NVIDIA's plugin, from the registry in the country."""
    pools: Mapping[str, Pool]
    """All pools, or those of GPUs."""
    sharing: Mapping[str, GpuSharing] = field(default_factory=dict)
    """Pool → how its GPUs are divided; whole where nothing is said."""
    with_plugin: Sequence[str] = ()
    """Pools whose nodes bring a plugin of their own, as those of Bottlerocket do."""
    wait_for: Sequence[pulumi.Resource] = ()

    def __post_init__(self) -> None:
        """Raises `ValueError` where a pool would be divided and nobody could do it."""
        problems = [
            f"{pool}: its nodes bring a plugin of their own (Bottlerocket), which nobody tells of "
            "slices: take an image al2023@… for aws.elastic_nodes, or leave its GPUs whole"
            for pool in self.sharing
            if pool in self.with_plugin
        ]
        problems += [
            f"{pool}: is no pool of GPUs"
            for pool in self.sharing
            if pool not in self.pools or self.pools[pool].kind != "gpu"
        ]
        if problems:
            raise ValueError("\n".join(f"training.gpu_sharing.{one}" for one in problems))


class GpuPlugin(pulumi.ComponentResource):
    """The plugin; `ready` is empty where no node needs it."""

    def __init__(
        self, name: str, args: GpuPluginArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:GpuPlugin", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self.ready: list[pulumi.Resource] = []
        groups = dict(groups_of(args))
        if groups:
            kubernetes.core.v1.ServiceAccount(
                f"{name}-account",
                metadata=_metadata(NAME),
                automount_service_account_token=False,
                opts=child,
            )
        for called, pools in groups.items():
            sharing = args.sharing.get(pools[0])
            told = json.dumps(config(sharing), sort_keys=True)
            data: dict[str, Any] = {_FILE: told}
            file = kubernetes.core.v1.ConfigMap(
                f"{name}-{called}-config",
                metadata=_metadata(called),
                data=data,
                opts=child,
            )
            self.ready.append(
                kubernetes.apps.v1.DaemonSet(
                    f"{name}-{called}",
                    metadata=_metadata(called),
                    spec=_spec(called, {pool: args.pools[pool] for pool in pools}, args, told),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[file]),
                )
            )
        self.register_outputs({})


def groups_of(args: GpuPluginArgs) -> Iterator[tuple[str, list[str]]]:
    """Name of a DaemonSet → its pools: one for whole GPUs, one for each pool that is divided."""
    mine = [
        name
        for name, pool in sorted(args.pools.items())
        if pool.kind == "gpu" and name not in args.with_plugin
    ]
    if whole := [name for name in mine if name not in args.sharing]:
        yield NAME, whole
    for name in mine:
        if name in args.sharing:
            yield f"{NAME}-{name}", [name]


def config(sharing: GpuSharing | None) -> dict[str, Any]:
    """What the plugin is told. Source: NVIDIA/k8s-device-plugin, README, "Configuration".

    A slice bears the name of a whole GPU, as `training_settings.divided_pools` counts it.
    """
    told: dict[str, Any] = {"version": "v1", "flags": {"migStrategy": "none"}}
    if sharing is None:
        return told
    if sharing.kind == "mig":
        return told | {"flags": {"migStrategy": "single"}}
    return told | {
        "sharing": {
            "timeSlicing": {
                "renameByDefault": False,
                # two slices may be of one GPU: whoever asks for two would get no more than one
                "failRequestsGreaterThanOne": True,
                "resources": [{"name": GPU, "replicas": sharing.slices}],
            }
        }
    }


def _spec(called: str, pools: Mapping[str, Pool], args: GpuPluginArgs, told: str) -> Any:
    labels = {"app.kubernetes.io/name": called}
    expressions = [
        {"key": KIND, "operator": "In", "values": ["gpu"]},
        {"key": POOL, "operator": "In", "values": sorted(pools)},
    ]
    term: Any = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    taints = {json.dumps(toleration(one)): one for pool in pools.values() for one in pool.taints}
    sharing = args.sharing.get(next(iter(pools)))
    return {
        "selector": {"matchLabels": labels},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "20%"}},
        "template": {
            "metadata": {
                "labels": labels,
                # the plugin reads its file when it starts
                "annotations": {"falaj/config": hashlib.sha256(told.encode()).hexdigest()[:16]},
            },
            "spec": {
                "serviceAccountName": NAME,
                "automountServiceAccountToken": False,
                "priorityClassName": "system-node-critical",
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}
                },
                "tolerations": [toleration(one) for _, one in sorted(taints.items())],
                "containers": [_container(args.image, mig=bool(sharing and sharing.kind == "mig"))],
                "volumes": [
                    {"name": "kubelet", "hostPath": {"path": _FOLDER, "type": "Directory"}},
                    {"name": "config", "configMap": {"name": called}},
                ],
            },
        },
    }


def _container(image: pulumi.Input[str], *, mig: bool) -> dict[str, Any]:
    variables = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    if mig:
        variables["NVIDIA_MIG_MONITOR_DEVICES"] = "all"
    unprivileged: Any = {"allowPrivilegeEscalation": False}
    return {
        "name": "plugin",
        "image": image,
        "command": ["nvidia-device-plugin"],
        "args": [f"--config-file={_CONFIG}/{_FILE}"],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "resources": {
            "requests": {"cpu": f"{CPU_MILLIS}m", "memory": f"{MEMORY_MIB}Mi"},
            "limits": {"memory": f"{MEMORY_MIB}Mi"},
        },
        "securityContext": {
            **({} if mig else unprivileged),
            "capabilities": {"drop": ["ALL"], **({"add": ["SYS_ADMIN"]} if mig else {})},
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "kubelet", "mountPath": _FOLDER},
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
        ],
    }


def _metadata(name: str) -> Any:
    return {
        "name": name,
        "namespace": NAMESPACE,
        "labels": {"app.kubernetes.io/managed-by": "pulumi"},
    }
