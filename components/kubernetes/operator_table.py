"""The operators of others: where each runs, what its pods ask for, what it serves and needs.

One table, pure. Values of their charts are in `operator_values`, and what makes them in
`operators`. A namespace is made by us and never by a chart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from components.kubernetes.flows import MESH
from components.kubernetes.operators_settings import OperatorName
from components.kubernetes.settings import TeamQuota

ServedKind = tuple[str, str]
"""API version with its group, and kind: ``("ray.io/v1", "RayCluster")``."""


@dataclass(frozen=True, kw_only=True)
class Pods:
    """The pods of one controller."""

    cpu_millis: int
    """Asked for, in thousandths of a core; no limit: it would slow them down beside idle cores."""
    memory_mib: int
    """Asked for and at most."""
    replicas: int = 1
    """Where nobody may miss one that goes away; one elsewhere."""
    on_each_node: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """What a budget of ours selects them by, where the chart has none."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A namespace that operators run in."""

    level: Literal["restricted", "baseline", "privileged"] = "restricted"
    reason: str = ""
    """Why `level` is not `restricted`."""
    storage_gib: int = 0


SPACES: Mapping[str, Space] = {
    "training": Space(),
    "serving": Space(),
    "monitoring": Space(storage_gib=500),
    "external-secrets": Space(),
    "kyverno": Space(),
    "queues": Space(),
    "certificates": Space(),
    "ingress": Space(),
    "backup": Space(),
    MESH: Space(
        level="privileged",
        reason="istio-cni and ztunnel lay the mesh's ways on each node, in the network of its "
        "pods: that takes the node's files and NET_ADMIN, which pods of the mesh then need not "
        "have",
    ),
    "node-agents": Space(
        level="privileged",
        reason="they hand out GPUs and read counters of the node, which only the node's own files "
        "and devices show",
    ),
}
"""Namespace → what it may hold; each is a part of `flows`."""

CLUSTERS_OWN = "kube-system"
"""Of Kubernetes itself: Karpenter runs there, whose identity is bound to it."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One chart."""

    chart: str
    """Its name in `components/images.yaml`, which holds its version."""
    namespace: str
    why: str
    pods: Mapping[str, Pods] = field(default_factory=dict)
    after: tuple[OperatorName, ...] = ()
    """Whose kinds it makes objects of, or whose webhooks answer for them."""
    kinds: tuple[ServedKind, ...] = ()
    """Those that the platform's own objects are of; the chart defines more."""
    skips_definitions: bool = False
    """Whether another chart brings its definitions."""


def _kinds(api_version: str, *kinds: str) -> tuple[ServedKind, ...]:
    return tuple((api_version, kind) for kind in kinds)


OPERATORS: Mapping[OperatorName, Operator] = {
    "cert-manager": Operator(
        chart="cert-manager",
        namespace="certificates",
        why="certificates of webhooks and of the gateway, from the organisation's own authority",
        pods={
            "controller": Pods(cpu_millis=50, memory_mib=128, replicas=2),
            "webhook": Pods(cpu_millis=50, memory_mib=64, replicas=2),
            "cainjector": Pods(cpu_millis=50, memory_mib=256, replicas=2),
        },
        kinds=_kinds("cert-manager.io/v1", "Certificate", "ClusterIssuer", "Issuer"),
    ),
    "external-secrets": Operator(
        chart="external-secrets",
        namespace="external-secrets",
        why="secrets come from the cloud's store, and never through the state",
        pods={
            "controller": Pods(cpu_millis=50, memory_mib=256, replicas=2),
            "webhook": Pods(cpu_millis=25, memory_mib=128, replicas=2),
            "cert-controller": Pods(cpu_millis=25, memory_mib=256),
        },
        kinds=_kinds("external-secrets.io/v1", "ClusterSecretStore", "ExternalSecret"),
    ),
    "kube-prometheus-stack": Operator(
        chart="kube-prometheus-stack",
        namespace="monitoring",
        why="metrics, alerts and dashboards",
        after=("cert-manager",),
        pods={
            "operator": Pods(cpu_millis=100, memory_mib=256),
            "reloader": Pods(cpu_millis=10, memory_mib=64),
            "prometheus": Pods(cpu_millis=500, memory_mib=4096, replicas=2),
            "alertmanager": Pods(cpu_millis=50, memory_mib=128, replicas=2),
            "kube-state-metrics": Pods(cpu_millis=50, memory_mib=256),
            "node-exporter": Pods(cpu_millis=50, memory_mib=64, on_each_node=True),
            "grafana": Pods(cpu_millis=100, memory_mib=512),
            "grafana-sidecar": Pods(cpu_millis=20, memory_mib=128),
        },
        kinds=(
            *_kinds("monitoring.coreos.com/v1", "PodMonitor", "PrometheusRule", "ServiceMonitor"),
            *_kinds("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig"),
        ),
    ),
    "metrics-server": Operator(
        chart="metrics-server",
        namespace="monitoring",
        why="without it no HorizontalPodAutoscaler knows a pod's use, and none ever scales",
        after=("cert-manager",),
        pods={"server": Pods(cpu_millis=100, memory_mib=256, replicas=2)},
    ),
    "istio-base": Operator(
        chart="base",
        namespace=MESH,
        why="the kinds of the mesh",
        kinds=(
            *_kinds("networking.istio.io/v1", "DestinationRule", "Gateway", "VirtualService"),
            *_kinds("networking.istio.io/v1alpha3", "EnvoyFilter"),
            *_kinds("security.istio.io/v1", "AuthorizationPolicy", "PeerAuthentication"),
            *_kinds("telemetry.istio.io/v1", "Telemetry"),
        ),
    ),
    "istiod": Operator(
        chart="istiod",
        namespace=MESH,
        why="hands routes and certificates to the mesh",
        after=("istio-base",),
        pods={"pilot": Pods(cpu_millis=500, memory_mib=2048, replicas=2)},
    ),
    "istio-cni": Operator(
        chart="cni",
        namespace=MESH,
        why="leads a pod's traffic into the mesh from the node",
        after=("istiod",),
        pods={"agent": Pods(cpu_millis=100, memory_mib=256, on_each_node=True)},
    ),
    "ztunnel": Operator(
        chart="ztunnel",
        namespace=MESH,
        why="encrypts and authenticates what pods of the mesh say to each other",
        after=("istiod", "istio-cni"),
        pods={"proxy": Pods(cpu_millis=200, memory_mib=512, on_each_node=True)},
    ),
    "kyverno": Operator(
        chart="kyverno",
        namespace="kyverno",
        why="judges signatures of images, which the API server cannot do itself",
        pods={
            "admission": Pods(cpu_millis=100, memory_mib=256, replicas=3),
            "prepare": Pods(cpu_millis=10, memory_mib=256),
            "background": Pods(cpu_millis=50, memory_mib=128),
            "cleanup": Pods(cpu_millis=50, memory_mib=128),
            "reports": Pods(cpu_millis=50, memory_mib=256),
        },
        kinds=_kinds("policies.kyverno.io/v1", "ImageValidatingPolicy"),
    ),
    "kuberay-operator": Operator(
        chart="kuberay-operator",
        namespace="training",
        why="makes Ray clusters, and runs jobs on them",
        pods={
            "operator": Pods(
                cpu_millis=100,
                memory_mib=512,
                replicas=2,
                labels={"app.kubernetes.io/name": "kuberay-operator"},
            )
        },
        kinds=_kinds("ray.io/v1", "RayCluster", "RayJob"),
    ),
    "kueue": Operator(
        chart="kueue",
        namespace="queues",
        why="lets jobs wait until their team's quota has room",
        after=("cert-manager",),
        pods={"controller": Pods(cpu_millis=500, memory_mib=512, replicas=2)},
        kinds=_kinds(
            "kueue.x-k8s.io/v1beta2",
            *("ClusterQueue", "LocalQueue", "ResourceFlavor", "WorkloadPriorityClass"),
        ),
    ),
    "seldon-core-operator": Operator(
        chart="seldon-core-operator",
        namespace="serving",
        why="runs the slots of models where the engine is Seldon Core",
        after=("cert-manager",),
        pods={"manager": Pods(cpu_millis=100, memory_mib=150)},
        kinds=_kinds("machinelearning.seldon.io/v1", "SeldonDeployment"),
    ),
    "karpenter-crd": Operator(
        chart="karpenter-crd",
        namespace=CLUSTERS_OWN,
        why="the kinds of elastic nodes",
        kinds=(
            *_kinds("karpenter.sh/v1", "NodePool"),
            *_kinds("karpenter.k8s.aws/v1", "EC2NodeClass"),
        ),
    ),
    "karpenter": Operator(
        chart="karpenter",
        namespace=CLUSTERS_OWN,
        why="makes nodes as pods ask for them, and takes them away",
        after=("karpenter-crd",),
        pods={"controller": Pods(cpu_millis=500, memory_mib=1024, replicas=2)},
        skips_definitions=True,
    ),
    "aws-load-balancer-controller": Operator(
        chart="aws-load-balancer-controller",
        namespace="ingress",
        why="registers the gateway's pods with the load balancer",
        after=("cert-manager",),
        pods={"controller": Pods(cpu_millis=100, memory_mib=128, replicas=2)},
        kinds=_kinds("elbv2.k8s.aws/v1beta1", "TargetGroupBinding"),
    ),
    "dcgm-exporter": Operator(
        chart="dcgm-exporter",
        namespace="node-agents",
        why="use, memory and heat of each GPU",
        pods={"exporter": Pods(cpu_millis=100, memory_mib=512, on_each_node=True)},
    ),
    "velero": Operator(
        chart="velero",
        namespace="backup",
        why="copies the cluster's objects to the bucket in the country",
        pods={"server": Pods(cpu_millis=100, memory_mib=512)},
        kinds=_kinds("velero.io/v1", "BackupStorageLocation", "Schedule"),
    ),
}
"""Operator → what is known of it, in the order in which they are made."""

NEEDED_BY: Mapping[str, tuple[OperatorName, ...]] = {
    "certificates": ("cert-manager",),
    "secrets": ("external-secrets",),
    "monitoring": ("kube-prometheus-stack", "external-secrets"),
    "mesh": ("istio-base", "istiod", "istio-cni", "ztunnel", "kube-prometheus-stack"),
    "signatures": ("kyverno",),
    "queues": ("kueue",),
    "training": (
        *("kuberay-operator", "kueue", "external-secrets", "kube-prometheus-stack"),
        *("istio-base", "istiod", "istio-cni", "ztunnel"),
    ),
    "serving": (
        *("seldon-core-operator", "external-secrets", "kube-prometheus-stack", "metrics-server"),
        *("istio-base", "istiod", "istio-cni", "ztunnel", "cert-manager"),
    ),
    "tracking": ("external-secrets", "kube-prometheus-stack", "metrics-server"),
    "orchestration": ("external-secrets", "kube-prometheus-stack"),
    "workspaces": ("external-secrets",),
    "feature-store": ("external-secrets", "kube-prometheus-stack", "metrics-server"),
    "ingress": ("aws-load-balancer-controller",),
    "nodes": ("karpenter",),
    "gpus": ("dcgm-exporter",),
    "backup": ("velero",),
}
"""A part of the platform → the operators that its objects wait for."""

OF_NODES: tuple[OperatorName, ...] = ("karpenter-crd", "karpenter")
"""Those that make the nodes which the others may run on; they themselves keep off such nodes."""

PRIVILEGED: Mapping[str, str] = {
    namespace: space.reason for namespace, space in SPACES.items() if space.level == "privileged"
}
"""Namespace → why its pods may reach into the node."""

AFTER: Mapping[str, tuple[str, ...]] = {
    name: operator.after for name, operator in OPERATORS.items()
}


def quota_of(namespace: str, operators: Collection[str], *, most_nodes: int) -> TeamQuota:
    """What the pods of `operators` in `namespace` may use together.

    Twice what they ask for: while a version replaces another the pods of both are there.
    """
    held = list(_pods_in(namespace, operators))
    counted = [(pods, most_nodes if pods.on_each_node else pods.replicas) for pods in held]
    cpu_millis = sum(pods.cpu_millis * count for pods, count in counted)
    memory_mib = sum(pods.memory_mib * count for pods, count in counted)
    return TeamQuota(
        cpu_quota=max(2, -(-2 * cpu_millis // 1000)),
        memory_quota_gib=max(4, -(-2 * memory_mib // 1024)),
        storage_quota_gib=SPACES[namespace].storage_gib,
        pod_quota=max(20, 2 * sum(count for _, count in counted)),
    )


_ELSEWHERE = {("kube-prometheus-stack", "node-exporter"): "node-agents"}
"""Pods that do not run in the namespace of their chart: these reach into the node."""


def _pods_in(namespace: str, operators: Collection[str]) -> Iterable[Pods]:
    for name, operator in OPERATORS.items():
        for noun, pods in operator.pods.items():
            where = _ELSEWHERE.get((name, noun), operator.namespace)
            if name in operators and where == namespace:
                yield pods


def spaces_of(operators: Collection[str]) -> tuple[str, ...]:
    """The namespaces that `operators` run in and that are made here."""
    return tuple(
        space
        for space in SPACES
        if any(_pods_in(space, operators))
        or any(OPERATORS[name].namespace == space for name in OPERATORS if name in operators)
    )
