"""The values of the operators' charts: few, and the same keys in every environment.

Owns, of each chart, where its images come from (the registry in the country, by digest), what its
pods ask for, how many there are, and that none of its hooks is needed: `helm.v4.Chart` runs none.
Certificates of webhooks come from cert-manager where a chart would otherwise make them up while it
is rendered, anew at each update.

Helm is silent about a key that a chart does not read. The charts that a Go module holds are
rendered with these values by `tests/cluster/test_operators.py`, in the version pinned or the
nearest one. Of the others, which no closed machine has, keys were read in their public
`values.yaml`, not always of the version pinned in `components/images.yaml`. Where the registry can
be reached, ``helm pull oci://<registry>/falaj-<environment>/charts/<chart> --version <version> -d
charts`` for each, then ``FALAJ_CHARTS=charts falaj plan --offline -s <environment>``, which refuses
a key that a chart does not know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.images import Mirror, Reference, reference
from components.kubernetes import mesh
from components.kubernetes.flows import TENANCY
from components.kubernetes.operator_table import OPERATORS, Pods
from components.kubernetes.operators_settings import OperatorName
from components.kubernetes.pools import KIND

Values = dict[str, Any]

LOAD_BALANCER_ACCOUNT = "load-balancer-controller"


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """What controllers of AWS must be told: they cannot ask the metadata service."""

    region: str
    cluster_name: pulumi.Input[str]
    cluster_endpoint: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    interruption_queue: pulumi.Input[str] | None = None
    isolated: bool = True
    """Whether there is no way out of the network: Karpenter then asks for no prices."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the values are made of."""

    mirror: Mirror
    large: bool
    """Whether a controller that goes away must be missed by nobody."""
    feature_gates: Mapping[str, bool]
    """Of Kueue."""
    cloud: Cloud | None = None

    def image(self, name: str) -> Reference:
        """Where the image `name` lies; raises as `components.images.image` does."""
        return reference("images", name, self.mirror.registry, lock=self.mirror.lock)

    def replicas(self, pods: Pods) -> int:
        """How many of them there are."""
        return pods.replicas if self.large else 1


def values_of(name: OperatorName, setting: Setting) -> Values:
    """The values of the chart of `name`.

    Raises `LookupError` where it needs the cloud and `setting` has none.
    """
    return _VALUES[name](setting)


def _pods(operator: OperatorName, noun: str) -> Pods:
    return OPERATORS[operator].pods[noun]


def _resources(pods: Pods) -> Values:
    memory = f"{pods.memory_mib}Mi"
    return {
        "requests": {"cpu": f"{pods.cpu_millis}m", "memory": memory},
        "limits": {"memory": memory},
    }


def _path(image: Reference) -> str:
    return f"{image.registry}/{image.repository}"


def _tag(image: Reference) -> str:
    """A tag that charts put behind a colon as it is."""
    return f"{image.version}@{image.digest}"


def _by_tag(image: Reference) -> Values:
    return {"repository": _path(image), "tag": _tag(image)}


def _by_registry(image: Reference) -> Values:
    return {"registry": image.registry, "repository": image.repository, "tag": _tag(image)}


def _by_sha(image: Reference) -> Values:
    return {
        "registry": image.registry,
        "repository": image.repository,
        "tag": image.version,
        "sha": image.digest.removeprefix("sha256:"),
    }


def _by_digest(image: Reference) -> Values:
    return {"repository": _path(image), "tag": image.version, "digest": image.digest}


def _cloud(setting: Setting) -> Cloud:
    if setting.cloud is None:
        raise LookupError("this operator speaks to AWS, and the place says nothing of it")
    return setting.cloud


# --- certificates, secrets ------------------------------------------------------------------------


def _cert_manager(setting: Setting) -> Values:
    def part(noun: str) -> Values:
        pods = _pods("cert-manager", noun)
        return {
            "image": _by_tag(setting.image(f"cert-manager-{noun}")),
            "replicaCount": setting.replicas(pods),
            "podDisruptionBudget": {"enabled": setting.large, "minAvailable": 1},
            "resources": _resources(pods),
        }

    return {
        **part("controller"),
        "webhook": part("webhook"),
        "cainjector": part("cainjector"),
        "crds": {"enabled": True, "keep": True},
        # a hook; what depends on the chart waits until the webhook's pods are ready
        "startupapicheck": {"enabled": False},
        "global": {"leaderElection": {"namespace": OPERATORS["cert-manager"].namespace}},
    }


def _external_secrets(setting: Setting) -> Values:
    image = _by_tag(setting.image("external-secrets"))

    def part(noun: str, *, budget: bool = True) -> Values:
        pods = _pods("external-secrets", noun)
        return {
            "image": image,
            "replicaCount": setting.replicas(pods),
            "resources": _resources(pods),
            "podDisruptionBudget": {"enabled": setting.large and budget, "minAvailable": 1},
        }

    return {
        **part("controller"),
        "installCRDs": True,
        "leaderElect": setting.large,
        # the identity of the cloud is bound to this name
        "serviceAccount": {"name": "external-secrets"},
        "webhook": part("webhook"),
        "certController": part("cert-controller", budget=False),
    }


# --- monitoring -----------------------------------------------------------------------------------


def _kube_prometheus_stack(setting: Setting) -> Values:
    def resources(noun: str) -> Values:
        return _resources(_pods("kube-prometheus-stack", noun))

    def replicas(noun: str) -> int:
        return setting.replicas(_pods("kube-prometheus-stack", noun))

    everything: Values = {
        # monitors count whoever made them, with whatever labels
        f"{kind}SelectorNilUsesHelmValues": False
        for kind in ("serviceMonitor", "podMonitor", "probe", "rule", "scrapeConfig")
    }
    return {
        "crds": {"enabled": True, "upgradeJob": {"enabled": False}},
        "defaultRules": {"create": False},
        "prometheusOperator": {
            "image": _by_sha(setting.image("prometheus-operator")),
            "prometheusConfigReloader": {
                "image": _by_sha(setting.image("prometheus-config-reloader")),
                "resources": resources("reloader"),
            },
            "resources": resources("operator"),
            "podLabels": dict(mesh.OUTSIDE),
            # else two hooks would write the certificate
            "admissionWebhooks": {
                "patch": {"enabled": False},
                "certManager": {"enabled": True},
            },
        },
        "prometheus": {
            "prometheusSpec": {
                "image": _by_sha(setting.image("prometheus")),
                "replicas": replicas("prometheus"),
                "resources": resources("prometheus"),
                **everything,
            },
            "podDisruptionBudget": {"enabled": setting.large, "minAvailable": 1},
        },
        "alertmanager": {
            "alertmanagerSpec": {
                "image": _by_sha(setting.image("alertmanager")),
                "replicas": replicas("alertmanager"),
                "resources": resources("alertmanager"),
            },
            "podDisruptionBudget": {"enabled": setting.large, "minAvailable": 1},
        },
        "kube-state-metrics": {
            # of all images of the stack this one's digest is written with its kind
            "image": _by_sha(setting.image("kube-state-metrics"))
            | {"sha": setting.image("kube-state-metrics").digest},
            "resources": resources("kube-state-metrics"),
        },
        "prometheus-node-exporter": {
            "image": {
                "registry": setting.image("node-exporter").registry,
                "repository": setting.image("node-exporter").repository,
                "tag": setting.image("node-exporter").version,
                "digest": setting.image("node-exporter").digest,
                "distroless": False,
            },
            # it reads the node's own files, which no pod in `monitoring` may
            "namespaceOverride": "node-agents",
            "resources": resources("node-exporter"),
        },
        "grafana": {
            "image": _by_sha(setting.image("grafana")),
            "sidecar": {
                "image": _by_sha(setting.image("k8s-sidecar")),
                "resources": resources("grafana-sidecar"),
            },
            # without somebody who may come in there is none (`monitoring_values`)
            "enabled": False,
            "initChownData": {"enabled": False},
            "testFramework": {"enabled": False},
            "resources": resources("grafana"),
        },
    }


def _metrics_server(setting: Setting) -> Values:
    pods = _pods("metrics-server", "server")
    return {
        "image": _by_tag(setting.image("metrics-server")),
        "replicas": setting.replicas(pods),
        "podDisruptionBudget": {"enabled": setting.large, "minAvailable": 1},
        "resources": _resources(pods),
        "podLabels": dict(mesh.OUTSIDE),
        # without it the API server would not check whom it asks
        "tls": {"type": "cert-manager"},
        "apiService": {"insecureSkipTLSVerify": False},
    }


# --- mesh -----------------------------------------------------------------------------------------


def _istio_base(setting: Setting) -> Values:
    del setting
    return {"defaultRevision": "default"}


def _istiod(setting: Setting) -> Values:
    pods = _pods("istiod", "pilot")
    return {
        **mesh.values()["istiod"],
        "image": str(setting.image("istio-pilot")),
        "autoscaleMin": setting.replicas(pods),
        "autoscaleMax": setting.replicas(pods),
        "resources": _resources(pods),
        "global": {
            "proxy": {"image": str(setting.image("istio-proxyv2"))},
            "proxy_init": {"image": str(setting.image("istio-proxyv2"))},
            # of one pod it would keep every node from being emptied
            "defaultPodDisruptionBudget": {"enabled": setting.large},
        },
    }


def _istio_cni(setting: Setting) -> Values:
    return {
        **mesh.values()["cni"],
        "image": str(setting.image("istio-install-cni")),
        "resources": _resources(_pods("istio-cni", "agent")),
    }


def _ztunnel(setting: Setting) -> Values:
    return {
        **mesh.values()["ztunnel"],
        "image": str(setting.image("istio-ztunnel")),
        "resources": _resources(_pods("ztunnel", "proxy")),
    }


# --- admission ------------------------------------------------------------------------------------


def _kyverno(setting: Setting) -> Values:
    def controller(noun: str) -> Values:
        return {
            "image": _by_registry(setting.image(f"kyverno-{noun}-controller")),
            "resources": _resources(_pods("kyverno", noun)),
        }

    pods = _pods("kyverno", "admission")
    return {
        "crds": {"install": True, "migration": {"enabled": False}},
        "admissionController": {
            "replicas": setting.replicas(pods),
            "podDisruptionBudget": {"enabled": setting.large, "minAvailable": 1},
            "container": {
                "image": _by_registry(setting.image("kyverno")),
                "resources": _resources(pods),
            },
            "initContainer": {
                "image": _by_registry(setting.image("kyvernopre")),
                "resources": _resources(_pods("kyverno", "prepare")),
            },
        },
        "backgroundController": controller("background"),
        "cleanupController": controller("cleanup"),
        "reportsController": controller("reports"),
        # a hook; with the last policy, which goes before it, it takes its webhook for pods away
        "webhooksCleanup": {"enabled": False},
    }


# --- training, serving ----------------------------------------------------------------------------


def _kuberay_operator(setting: Setting) -> Values:
    pods = _pods("kuberay-operator", "operator")
    return {
        "fullnameOverride": "kuberay-operator",
        "image": _by_tag(setting.image("kuberay-operator")),
        "replicas": setting.replicas(pods),
        "leaderElectionEnabled": True,
        "resources": _resources(pods),
    }


_QUEUED = ("batch/job", "ray.io/rayjob", "ray.io/raycluster")
"""What Kueue lets wait. Not pods and Deployments: its webhook would answer for every one."""


def _kueue(setting: Setting) -> Values:
    pods = _pods("kueue", "controller")
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443"},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": True, "resourceName": "c1f6bfd2.kueue.x-k8s.io"},
        "internalCertManagement": {"enable": False},
        "managedJobsNamespaceSelector": {"matchLabels": {TENANCY: "team"}},
        "integrations": {"frameworks": list(_QUEUED)},
    }
    return {
        "enableCertManager": True,
        "controllerManager": {
            "replicas": setting.replicas(pods),
            "podDisruptionBudget": {"enabled": setting.large, "minAvailable": 1},
            "featureGates": [
                {"name": gate, "enabled": enabled}
                for gate, enabled in sorted(setting.feature_gates.items())
            ],
            "manager": {
                "image": _by_tag(setting.image("kueue")) | {"pullPolicy": "IfNotPresent"},
                "resources": _resources(pods),
            },
        },
        # a text to the chart; YAML holds JSON
        "managerConfig": {
            "controllerManagerConfigYaml": json.dumps(configuration, indent=2, sort_keys=True)
        },
    }


def _seldon_core_operator(setting: Setting) -> Values:
    pods = _pods("seldon-core-operator", "manager")
    return {
        "image": _by_registry(setting.image("seldon-core-operator")),
        "executor": {"image": _by_registry(setting.image("seldon-core-executor"))},
        "storageInitializer": {"image": str(setting.image("rclone-storage-initializer"))},
        "manager": {
            "cpuRequest": f"{pods.cpu_millis}m",
            "cpuLimit": "1",
            "memoryRequest": f"{pods.memory_mib}Mi",
            "memoryLimit": f"{pods.memory_mib}Mi",
        },
        "crd": {"create": True},
        "certManager": {"enabled": True},
        # routes are ours: a release alone writes them
        "istio": {"enabled": False},
        "ambassador": {"enabled": False},
        "usageMetrics": {"enabled": False},
    }


# --- nodes, cloud ---------------------------------------------------------------------------------


def _karpenter_crd(setting: Setting) -> Values:
    del setting
    return {}


def _karpenter(setting: Setting) -> Values:
    cloud, pods = _cloud(setting), _pods("karpenter", "controller")
    interruptions = (
        {"interruptionQueue": cloud.interruption_queue}
        if cloud.interruption_queue is not None
        else {}
    )
    return {
        "serviceAccount": {"name": "karpenter"},
        "replicas": setting.replicas(pods),
        "controller": {
            "image": _by_digest(setting.image("karpenter")),
            "resources": _resources(pods),
            # the metadata service is a hop too far
            "env": [{"name": "AWS_REGION", "value": cloud.region}],
        },
        "settings": {
            "clusterName": cloud.cluster_name,
            "clusterEndpoint": cloud.cluster_endpoint,
            "isolatedVPC": cloud.isolated,
            **interruptions,
        },
    }


def _aws_load_balancer_controller(setting: Setting) -> Values:
    cloud, pods = _cloud(setting), _pods("aws-load-balancer-controller", "controller")
    return {
        "image": _by_tag(setting.image("aws-load-balancer-controller")),
        "replicaCount": setting.replicas(pods),
        "podDisruptionBudget": {"maxUnavailable": 1},
        "resources": _resources(pods),
        "clusterName": cloud.cluster_name,
        "region": cloud.region,
        "vpcId": cloud.vpc_id,
        "serviceAccount": {"name": LOAD_BALANCER_ACCOUNT},
        "enableCertManager": True,
        # it would answer for every Service of the cluster, and refuse it while no pod of it is up
        "enableServiceMutatorWebhook": False,
        # services of AWS that no endpoint leads to
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
    }


_ON_GPUS: Values = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": KIND, "operator": "In", "values": ["gpu"]}]}
                ]
            }
        }
    },
    "tolerations": [{"operator": "Exists"}],
}
"""On every node with GPUs, whatever else its taints keep away."""


def _dcgm_exporter(setting: Setting) -> Values:
    return {
        "image": _by_tag(setting.image("dcgm-exporter")),
        "resources": _resources(_pods("dcgm-exporter", "exporter")),
        "serviceMonitor": {"enabled": False},
        **_ON_GPUS,
    }


def _velero(setting: Setting) -> Values:
    plugin = setting.image("velero-plugin-for-aws")
    resources = _resources(_pods("velero", "server"))
    return {
        "image": _by_tag(setting.image("velero")),
        "resources": resources,
        "initContainers": [
            {
                "name": "plugin-for-aws",
                "image": str(plugin),
                "resources": resources,
                "volumeMounts": [{"mountPath": "/target", "name": "plugins"}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
        "podSecurityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containerSecurityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        # hooks; the chart's definitions are applied with it
        "upgradeCRDs": False,
        "cleanUpCRDs": False,
        # the pod's identity; no key lies in the cluster
        "credentials": {"useSecret": False},
        # where to and when is said by objects of our own
        "backupsEnabled": False,
        "snapshotsEnabled": False,
        "serviceAccount": {"server": {"name": "velero"}},
    }


_VALUES: Mapping[OperatorName, Callable[[Setting], Values]] = {
    "cert-manager": _cert_manager,
    "external-secrets": _external_secrets,
    "kube-prometheus-stack": _kube_prometheus_stack,
    "metrics-server": _metrics_server,
    "istio-base": _istio_base,
    "istiod": _istiod,
    "istio-cni": _istio_cni,
    "ztunnel": _ztunnel,
    "kyverno": _kyverno,
    "kuberay-operator": _kuberay_operator,
    "kueue": _kueue,
    "seldon-core-operator": _seldon_core_operator,
    "karpenter-crd": _karpenter_crd,
    "karpenter": _karpenter,
    "aws-load-balancer-controller": _aws_load_balancer_controller,
    "dcgm-exporter": _dcgm_exporter,
    "velero": _velero,
}


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """`values` with what `over` says of the same keys; a list is taken whole, as Helm does."""
    result = dict(values)
    for key, value in over.items():
        under = result.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            result[key] = merged(under, value)
        else:
            result[key] = value
    return result
