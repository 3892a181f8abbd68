"""Cases of `policies/hardening/pods.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, Change, mutated, resource

CONTAINER: dict[str, Any] = {
    "name": "main",
    "image": "123456789012.dkr.ecr.me-central-1.amazonaws.com/app@sha256:" + "0" * 64,
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "resources": {
        "requests": {"cpu": "100m", "memory": "1Gi"},
        "limits": {"memory": "1024Mi"},
    },
}
POD: dict[str, Any] = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [CONTAINER],
}
"""What keeps every rule here."""


def of(kind: str, properties: Mapping[str, Any], namespace: Any = "risk") -> list[Resource]:
    """An object of `kind` in a namespace."""
    metadata = {"name": "it", "namespace": namespace}
    return [resource(f"kubernetes:{kind}", "it", {"metadata": metadata, **properties})]


def pod(*changes: Change, namespace: Any = "risk") -> list[Resource]:
    """A Deployment of `POD`, changed."""
    template = {"spec": mutated(POD, *changes)}
    return of("apps/v1:Deployment", {"spec": {"template": template}}, namespace)


def everywhere(
    spec: Mapping[str, Any], others: Mapping[str, Any] = POD
) -> dict[str, list[Resource]]:
    """An object of each kind that describes pods, with `spec` in each place, beside `others`."""
    good, template = {"spec": dict(others)}, {"spec": dict(spec)}

    def ray(head: Any, worker: Any) -> dict[str, Any]:
        return {
            "headGroupSpec": {"template": head},
            "workerGroupSpecs": [{"template": good}, {"template": worker}],
        }

    job = {"template": template}
    return {
        "Pod": of("core/v1:Pod", template),
        "PodTemplate": of("core/v1:PodTemplate", {"template": template}),
        **{
            kind: of(f"{group}:{kind}", {"spec": job})
            for group, kind in (
                ("core/v1", "ReplicationController"),
                ("apps/v1", "Deployment"),
                ("apps/v1", "StatefulSet"),
                ("apps/v1", "DaemonSet"),
                ("apps/v1", "ReplicaSet"),
                ("batch/v1", "Job"),
            )
        },
        "CronJob": of("batch/v1:CronJob", {"spec": {"jobTemplate": {"spec": job}}}),
        "RayCluster's head": of("ray.io/v1:RayCluster", {"spec": ray(template, good)}),
        "RayCluster's workers": of("ray.io/v1alpha1:RayCluster", {"spec": ray(good, template)}),
        "RayJob": of("ray.io/v1:RayJob", {"spec": {"rayClusterSpec": ray(good, template)}}),
        "RayJob's submitter": of(
            "ray.io/v1:RayJob",
            {"spec": {"rayClusterSpec": ray(good, good), "submitterPodTemplate": template}},
        ),
        "RayService": of(
            "ray.io/v1:RayService", {"spec": {"rayClusterConfig": ray(template, good)}}
        ),
        "RayCronJob": of(
            "ray.io/v1:RayCronJob",
            {"spec": {"jobTemplate": {"rayClusterSpec": ray(good, template)}}},
        ),
        "SeldonDeployment": of(
            "machinelearning.seldon.io/v1:SeldonDeployment",
            {"spec": {"predictors": [{"componentSpecs": [good, template]}]}},
        ),
    }


def inside(*path: str | int, value: Any) -> Change:
    """A change of the container's security."""
    return ("containers", 0, "securityContext", *path), value


def beside(kind: str) -> Change:
    """Another container, that says nothing."""
    return (kind,), [{"name": "other", "image": "busybox"}]


def asked(**resources: Any) -> Change:
    """A change of what the container asks for."""
    return ("containers", 0, "resources"), resources


LIMIT = {"memory": "1Gi"}
BARE = {"containers": [{"name": "main", "image": "busybox"}]}
"""What breaks every rule that wants something said."""
OTHERS = {
    "first container": pod(beside("initContainers")),
    "container to look around with": pod(beside("ephemeralContainers")),
}
NOT_KNOWN = {
    "whole pod": of("apps/v1:Deployment", {"spec": {"template": {"spec": UNKNOWN}}}),
    "whole object": of("apps/v1:Deployment", {"spec": UNKNOWN}),
    "its containers": pod((("containers",), UNKNOWN)),
    "a container": pod((("containers", 0), UNKNOWN)),
}
NOBODYS: dict[str, list[Resource]] = {
    "in every place": [one for stack in everywhere(POD).values() for one in stack],
}
EXEMPT = {"exemptNamespaces": ["istio-system"]}
BY_TRADE = pod((("containers", 0, "securityContext"), {}), namespace="istio-system")


def host_cases() -> Cases:
    volume = {"name": "node", "hostPath": {"path": "/var/run"}}
    switches = ("hostNetwork", "hostPID", "hostIPC")
    return Cases(
        rule="pod-does-not-share-host",
        baseline=pod(),
        fails={
            **{name: pod(((name,), True)) for name in switches},
            "a folder of the node": pod((("volumes",), [{"name": "tmp", "emptyDir": {}}, volume])),
            "a port of the node": pod((("containers", 0, "ports"), [{"hostPort": 80}])),
            **everywhere(POD | {"hostPID": True}),
        },
        passes={
            **{f"{name} off": pod(((name,), False)) for name in switches},
            "another volume": pod((("volumes",), [{"name": "tmp", "emptyDir": {}}])),
            "a port of its own": pod((("containers", 0, "ports"), [{"containerPort": 80}])),
            "by trade": pod((("hostNetwork",), True), namespace="istio-system"),
            **NOBODYS,
        },
        pending={
            **{name: pod(((name,), UNKNOWN)) for name in switches},
            "its volumes": pod((("volumes",), UNKNOWN)),
            "a volume": pod((("volumes",), [UNKNOWN])),
            "a port": pod((("containers", 0, "ports"), [{"hostPort": UNKNOWN}])),
            "its ports": pod((("containers", 0, "ports"), UNKNOWN)),
            "of which namespace": pod((("hostPID",), True), namespace=UNKNOWN),
            "whole pod": NOT_KNOWN["whole pod"],
        },
        parameters=EXEMPT,
    )


CASES = (
    Cases(
        rule="workload-pod-spec-is-found",
        baseline=pod(),
        fails={
            "no template": of("apps/v1:Deployment", {"spec": {}}),
            "nothing at all": of("batch/v1:Job", {}),
            "no containers": pod((("containers",), [])),
            "predictors alone": of(
                "machinelearning.seldon.io/v1:SeldonDeployment",
                {"spec": {"predictors": [{"graph": {"name": "model"}}]}},
            ),
            "a head without a pod": of("ray.io/v1:RayCluster", {"spec": {"headGroupSpec": {}}}),
        },
        passes={
            "a job on somebody else's cluster": of(
                "ray.io/v1:RayJob", {"spec": {"clusterSelector": {"ray.io/cluster": "shared"}}}
            ),
            **NOBODYS,
        },
        pending={name: NOT_KNOWN[name] for name in ("whole pod", "whole object", "its containers")},
    ),
    Cases(
        rule="container-is-not-privileged",
        baseline=pod(),
        fails={
            "privileged": pod(inside("privileged", value=True)),
            "may become so": pod(inside("allowPrivilegeEscalation", value=True)),
            "does not say": pod(inside("allowPrivilegeEscalation", value=ABSENT)),
            "all of /proc": pod(inside("procMount", value="Unmasked")),
            "on Windows": pod(inside("windowsOptions", value={"hostProcess": True})),
            **OTHERS,
            **everywhere(BARE),
        },
        passes={
            "said twice": pod(inside("privileged", value=False)),
            "by trade": BY_TRADE,
            **NOBODYS,
        },
        pending={
            "whether": pod(inside("privileged", value=UNKNOWN)),
            "of which namespace": pod(inside("privileged", value=True), namespace=UNKNOWN),
            **NOT_KNOWN,
        },
        parameters=EXEMPT,
    ),
    host_cases(),
    Cases(
        rule="container-runs-as-non-root",
        baseline=pod(),
        fails={
            "root": pod((("securityContext", "runAsUser"), 0)),
            "root in the container": pod(inside("runAsUser", value=0)),
            "root's group": pod((("securityContext", "fsGroup"), 0)),
            "not said": pod((("securityContext", "runAsNonRoot"), ABSENT)),
            "the container says otherwise": pod(inside("runAsNonRoot", value=False)),
            **everywhere(BARE),
        },
        passes={
            "the container alone says it": pod(
                (("securityContext", "runAsNonRoot"), ABSENT),
                inside("runAsNonRoot", value=True),
            ),
            "the pod says it for others too": pod(beside("initContainers")),
            "by trade": pod((("securityContext", "runAsUser"), 0), namespace="istio-system"),
            **NOBODYS,
        },
        pending={
            "whether": pod((("securityContext", "runAsNonRoot"), UNKNOWN)),
            **NOT_KNOWN,
        },
        parameters=EXEMPT,
    ),
    Cases(
        rule="container-drops-all-capabilities",
        baseline=pod(),
        fails={
            "drops none": pod(inside("capabilities", value={})),
            "drops one": pod(inside("capabilities", "drop", value=["NET_RAW"])),
            "adds one": pod(inside("capabilities", "add", value=["SYS_ADMIN"])),
            **OTHERS,
            **everywhere(BARE),
        },
        passes={
            "binds a low port": pod(inside("capabilities", "add", value=["NET_BIND_SERVICE"])),
            "by trade": BY_TRADE,
            **NOBODYS,
        },
        pending={
            "which": pod(inside("capabilities", "drop", value=UNKNOWN)),
            "what is added": pod(inside("capabilities", "add", value=UNKNOWN)),
            **NOT_KNOWN,
        },
        parameters=EXEMPT,
    ),
    Cases(
        rule="container-has-read-only-root",
        baseline=pod(),
        fails={
            "may write": pod(inside("readOnlyRootFilesystem", value=False)),
            "not said": pod(inside("readOnlyRootFilesystem", value=ABSENT)),
            **OTHERS,
            **everywhere(BARE),
        },
        passes={"by trade": BY_TRADE, **NOBODYS},
        pending={"whether": pod(inside("readOnlyRootFilesystem", value=UNKNOWN)), **NOT_KNOWN},
        parameters=EXEMPT,
    ),
    Cases(
        rule="pod-uses-default-seccomp",
        baseline=pod(),
        fails={
            "none": pod((("securityContext", "seccompProfile"), ABSENT)),
            "off": pod((("securityContext", "seccompProfile", "type"), "Unconfined")),
            "off in the container": pod(inside("seccompProfile", value={"type": "Unconfined"})),
            **everywhere(BARE),
        },
        passes={
            "a profile of its own": pod(inside("seccompProfile", value={"type": "Localhost"})),
            "the pod says it for others too": pod(beside("initContainers")),
            "by trade": pod(
                (("securityContext", "seccompProfile"), ABSENT), namespace="istio-system"
            ),
            **NOBODYS,
        },
        pending={
            "which": pod((("securityContext", "seccompProfile", "type"), UNKNOWN)),
            **NOT_KNOWN,
        },
        parameters=EXEMPT,
    ),
    Cases(
        rule="container-sets-requests-and-limits",
        baseline=pod(),
        fails={
            "nothing said": pod(asked()),
            "no processor": pod(asked(limits=LIMIT)),
            "no limit": pod(asked(requests={"cpu": 1, "memory": "1Gi"})),
            "above its limit": pod(asked(requests={"cpu": 1, "memory": "2Gi"}, limits=LIMIT)),
            "no quantity": pod(asked(requests={"cpu": 1, "memory": "lots"}, limits=LIMIT)),
            **OTHERS,
            **everywhere(BARE),
        },
        passes={
            "the same in other words": pod(
                asked(requests={"cpu": 0.5, "memory": "1024Mi"}, limits={"memory": "1Gi"})
            ),
            "a limit is a request too": pod(asked(limits={"cpu": "1", "memory": "1Gi"})),
            "by trade": pod(asked(), namespace="istio-system"),
            **NOBODYS,
        },
        pending={
            "how much": pod(asked(requests={"cpu": UNKNOWN, "memory": "1Gi"}, limits=LIMIT)),
            "any of it": pod((("containers", 0, "resources"), UNKNOWN)),
            **NOT_KNOWN,
        },
        parameters=EXEMPT,
    ),
)
