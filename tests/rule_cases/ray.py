"""Cases of `policies/hardening/ray.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, Change, mutated
from rule_cases.pods import POD, of

WORKERS = ("workerGroupSpecs", 0)
GROUP = {
    "groupName": "cpu",
    "minReplicas": 0,
    "maxReplicas": 4,
    "idleTimeoutSeconds": 120,
    "template": {"spec": POD},
}
CLUSTER: dict[str, Any] = {
    "rayVersion": "2.60.0",
    "authOptions": {"mode": "token"},
    "enableInTreeAutoscaling": True,
    "autoscalerOptions": {"idleTimeoutSeconds": 120},
    "headGroupSpec": {"rayStartParams": {"dashboard-host": "0.0.0.0"}, "template": {"spec": POD}},  # noqa: S104
    "workerGroupSpecs": [GROUP],
}
JOB: dict[str, Any] = {
    "shutdownAfterJobFinishes": True,
    "ttlSecondsAfterFinished": 600,
    "activeDeadlineSeconds": 3600,
}
GPUS = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}]}
BORROWED = {"clusterSelector": {"ray.io/cluster": "shared"}}


def cluster(*changes: Change, version: str = "v1") -> list[Resource]:
    """A cluster, changed."""
    return of(f"ray.io/{version}:RayCluster", {"spec": mutated(CLUSTER, *changes)})


def everywhere(*changes: Change) -> dict[str, list[Resource]]:
    """A cluster of each kind, changed."""
    spec = mutated(CLUSTER, *changes)
    return {
        "RayCluster, old": cluster(*changes, version="v1alpha1"),
        "RayJob": of("ray.io/v1:RayJob", {"spec": {**JOB, "rayClusterSpec": spec}}),
        "RayService": of("ray.io/v1:RayService", {"spec": {"rayClusterConfig": spec}}),
        "RayCronJob": of(
            "ray.io/v1:RayCronJob", {"spec": {"jobTemplate": {**JOB, "rayClusterSpec": spec}}}
        ),
    }


def job(*changes: Change) -> list[Resource]:
    """A job, changed."""
    spec = mutated({**JOB, "rayClusterSpec": CLUSTER}, *changes)
    return of("ray.io/v1:RayJob", {"spec": spec})


def borrowing(**properties: Any) -> list[Resource]:
    """A job on a cluster of somebody else."""
    return of("ray.io/v1:RayJob", {"spec": {**BORROWED, **properties}})


def cleaned(strategy: Any) -> list[Resource]:
    """A job that says by rules what is deleted."""
    return job(
        (("shutdownAfterJobFinishes",), ABSENT),
        (("ttlSecondsAfterFinished",), ABSENT),
        (("deletionStrategy",), strategy),
    )


def deleting(*outcomes: str, policy: Any = "DeleteCluster", seconds: Any = 60) -> dict[str, Any]:
    """What is deleted at which end."""
    return {
        "deletionRules": [
            {"policy": policy, "condition": {"jobStatus": one, "ttlSeconds": seconds}}
            for one in outcomes
        ]
    }


def variable(value: Any) -> Change:
    """A worker that is told another mode."""
    spec = mutated(POD, (("containers", 0, "env"), [{"name": "RAY_AUTH_MODE", "value": value}]))
    return (*WORKERS, "template", "spec"), spec


HEAD = "headGroupSpec"
NOT_KNOWN = of("ray.io/v1:RayCluster", {"spec": UNKNOWN})
BOTH = ("SUCCEEDED", "FAILED")

CASES = (
    Cases(
        rule="ray-cluster-requires-token",
        baseline=cluster(),
        fails={
            "not said": cluster((("authOptions",), ABSENT)),
            "off": cluster((("authOptions", "mode"), "disabled")),
            "too old": cluster((("rayVersion",), "2.9.3")),
            "no version": cluster((("rayVersion",), ABSENT)),
            "of a night": cluster((("rayVersion",), "nightly")),
            "told otherwise": cluster(variable("disabled")),
            **everywhere((("authOptions",), ABSENT)),
        },
        passes={
            "the first": cluster((("rayVersion",), "2.52.0")),
            "the next": cluster((("rayVersion",), "3.0")),
            "told the same": cluster(variable("token")),
            **everywhere(),
        },
        pending={
            "whether": cluster((("authOptions", "mode"), UNKNOWN)),
            "version": cluster((("rayVersion",), UNKNOWN)),
            "everything": NOT_KNOWN,
        },
    ),
    Cases(
        rule="ray-head-is-not-exposed",
        baseline=cluster(),
        fails={
            "an ingress": cluster(((HEAD, "enableIngress"), True)),
            "a balancer": cluster(((HEAD, "serviceType"), "LoadBalancer")),
            "a port of the nodes": cluster(((HEAD, "headService"), {"spec": {"type": "NodePort"}})),
            "addresses": cluster(
                ((HEAD, "headService"), {"spec": {"externalIPs": ["203.0.113.1"]}})
            ),
            "what it serves": of(
                "ray.io/v1:RayService",
                {
                    "spec": {
                        "rayClusterConfig": CLUSTER,
                        "serveService": {"spec": {"type": "LoadBalancer"}},
                    }
                },
            ),
            **everywhere(((HEAD, "serviceType"), "LoadBalancer")),
        },
        passes={
            "said": cluster(((HEAD, "serviceType"), "ClusterIP"), ((HEAD, "enableIngress"), False)),
            "with a service of its own": cluster(
                ((HEAD, "headService"), {"spec": {"type": "ClusterIP", "clusterIP": "None"}})
            ),
            **everywhere(),
        },
        pending={
            "ingress": cluster(((HEAD, "enableIngress"), UNKNOWN)),
            "service": cluster(((HEAD, "serviceType"), UNKNOWN)),
            "everything": NOT_KNOWN,
        },
    ),
    Cases(
        rule="ray-job-ends-and-is-removed",
        baseline=job(),
        fails={
            "stays": job((("shutdownAfterJobFinishes",), ABSENT)),
            "stays, as said": job((("shutdownAfterJobFinishes",), False)),
            "stays for a day": job((("ttlSecondsAfterFinished",), 86400)),
            "without an end": job((("activeDeadlineSeconds",), ABSENT)),
            "for a week": job((("activeDeadlineSeconds",), 604800)),
            "again and again": job((("backoffLimit",), 10)),
            "elsewhere, without an end": borrowing(),
            "deleted when it is well alone": cleaned(deleting("SUCCEEDED")),
            "workers are deleted": cleaned(deleting(*BOTH, policy="DeleteWorkers")),
            "deleted tomorrow": cleaned(deleting(*BOTH, seconds=86400)),
            "deleted when it is well alone, in the old way": cleaned(
                {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteNone"}}
            ),
            "every night": of(
                "ray.io/v1:RayCronJob", {"spec": {"jobTemplate": {"rayClusterSpec": CLUSTER}}}
            ),
        },
        passes={
            "at once": job((("ttlSecondsAfterFinished",), ABSENT)),
            "elsewhere": borrowing(activeDeadlineSeconds=3600),
            "by rules": cleaned(deleting(*BOTH)),
            "with itself": cleaned(deleting(*BOTH, policy="DeleteSelf")),
            "by rules, in the old way": cleaned(
                {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteCluster"}}
            ),
            "every night": everywhere()["RayCronJob"],
        },
        pending={
            "whether": job((("shutdownAfterJobFinishes",), UNKNOWN)),
            "when": job((("activeDeadlineSeconds",), UNKNOWN)),
            "rules": cleaned({"deletionRules": UNKNOWN}),
            "a rule": cleaned(deleting(*BOTH, policy=UNKNOWN)),
            "everything": of("ray.io/v1:RayJob", {"spec": UNKNOWN}),
        },
    ),
    Cases(
        rule="ray-autoscaler-has-limits",
        baseline=cluster(),
        fails={
            "no bound": cluster(((*WORKERS, "maxReplicas"), ABSENT)),
            "many": cluster(((*WORKERS, "maxReplicas"), 100)),
            "many, of several hosts each": cluster(
                ((*WORKERS, "maxReplicas"), 8), ((*WORKERS, "numOfHosts"), 4)
            ),
            "many from the start": cluster(((*WORKERS, "replicas"), 50)),
            "below its least": cluster(((*WORKERS, "minReplicas"), 5)),
            "idle for an hour": cluster(((*WORKERS, "idleTimeoutSeconds"), 3600)),
            "idle for an hour, all": cluster((("autoscalerOptions", "idleTimeoutSeconds"), 3600)),
            "GPUs that stand": cluster(
                ((*WORKERS, "minReplicas"), 1), ((*WORKERS, "template", "spec"), GPUS)
            ),
            **everywhere(((*WORKERS, "maxReplicas"), ABSENT)),
        },
        passes={
            "idle as by default": cluster(
                ((*WORKERS, "idleTimeoutSeconds"), ABSENT), (("autoscalerOptions",), ABSENT)
            ),
            "of a fixed size": cluster(
                (("enableInTreeAutoscaling",), False), ((*WORKERS, "idleTimeoutSeconds"), 3600)
            ),
            "processors that stand": cluster(((*WORKERS, "minReplicas"), 2)),
            "GPUs of a job": everywhere(
                ((*WORKERS, "minReplicas"), 1), ((*WORKERS, "template", "spec"), GPUS)
            )["RayJob"],
            "no workers": cluster((("workerGroupSpecs",), [])),
            **everywhere(),
        },
        pending={
            "bound": cluster(((*WORKERS, "maxReplicas"), UNKNOWN)),
            "group": cluster((("workerGroupSpecs",), [UNKNOWN])),
            "groups": cluster((("workerGroupSpecs",), UNKNOWN)),
            "idle": cluster(((*WORKERS, "idleTimeoutSeconds"), UNKNOWN)),
            "everything": NOT_KNOWN,
        },
    ),
)
