"""What people of a team may do in their namespace: four roles, as rules of RBAC.

Pure data. Nobody may read Secrets, change rights, run a command inside a pod or speak as somebody
else: secrets come from the environment's own store, rights from here, and a shell in a pod would be
its identity. Whoever may start pods starts them as the team's own account (`admission`). A release
is approved in the model registry, so an approver reads here all that it is judged by, and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Role = Literal["viewer", "developer", "operator", "approver"]
ROLES: tuple[Role, ...] = get_args(Role)

Rule = Mapping[str, tuple[str, ...]]

_READ = ("get", "list", "watch")
_WRITE = ("create", "update", "patch", "delete")


def _rule(group: str, resources: tuple[str, ...], verbs: tuple[str, ...]) -> Rule:
    return {"apiGroups": (group,), "resources": resources, "verbs": verbs}


_SEEN: tuple[Rule, ...] = (
    _rule(
        "",
        (
            *("pods", "pods/log", "pods/status", "services", "configmaps", "events"),
            *("persistentvolumeclaims", "resourcequotas", "limitranges", "serviceaccounts"),
        ),
        _READ,
    ),
    _rule("apps", ("deployments", "replicasets", "statefulsets", "daemonsets"), _READ),
    _rule("batch", ("jobs", "cronjobs"), _READ),
    _rule("autoscaling", ("horizontalpodautoscalers",), _READ),
    _rule("policy", ("poddisruptionbudgets",), _READ),
    _rule("networking.k8s.io", ("networkpolicies",), _READ),
    _rule("discovery.k8s.io", ("endpointslices",), _READ),
    # what a release says of itself
    _rule("coordination.k8s.io", ("leases",), _READ),
    _rule("events.k8s.io", ("events",), _READ),
    _rule("metrics.k8s.io", ("pods",), _READ),
    _rule("ray.io", ("rayclusters", "rayjobs", "rayservices"), _READ),
    _rule("kueue.x-k8s.io", ("localqueues", "workloads"), _READ),
    _rule("machinelearning.seldon.io", ("seldondeployments",), _READ),
    _rule("networking.istio.io", ("virtualservices", "destinationrules"), _READ),
    _rule("monitoring.coreos.com", ("servicemonitors", "podmonitors", "prometheusrules"), _READ),
)

_EXPERIMENTS: tuple[Rule, ...] = (
    _rule("ray.io", ("rayclusters", "rayjobs"), _WRITE),
    _rule("batch", ("jobs",), _WRITE),
    _rule("", ("configmaps", "persistentvolumeclaims"), _WRITE),
    _rule("", ("pods",), ("delete",)),
    _rule("", ("pods/portforward",), ("create",)),
)

_SERVICE: tuple[Rule, ...] = (
    _rule("apps", ("deployments", "statefulsets"), ("patch", "update")),
    _rule("apps", ("deployments/scale", "statefulsets/scale"), ("get", "patch", "update")),
    _rule("batch", ("cronjobs",), ("patch", "update")),
    _rule("machinelearning.seldon.io", ("seldondeployments",), ("patch", "update")),
    _rule("autoscaling", ("horizontalpodautoscalers",), ("patch", "update")),
    _rule("", ("pods",), ("delete",)),
    _rule("", ("pods/eviction", "pods/portforward"), ("create",)),
    _rule("ray.io", ("rayclusters", "rayjobs"), ("patch", "update", "delete")),
)

RULES: Mapping[Role, tuple[Rule, ...]] = {
    "viewer": _SEEN,
    "developer": _SEEN + _EXPERIMENTS,
    "operator": _SEEN + _SERVICE,
    "approver": _SEEN,
}
"""Developers train and try; operators keep what serves alive; neither can do the other's."""


def may_split(split: str, lease: str = "") -> tuple[Rule, ...]:
    """What a release may do in its team's namespace: write the object `split` of its weights, and
    the Lease `lease` that says who releases and what was done.

    RBAC cannot tie a creation to a name. A route of another name leads nowhere: the gateway takes
    names from its own namespace alone (`edge`), and delegates only to the objects named there. A
    Lease of another name is nobody's.
    """
    kept = (
        {
            **_rule("coordination.k8s.io", ("leases",), ("get", "patch")),
            "resourceNames": (lease,),
        },
        _rule("coordination.k8s.io", ("leases",), ("create",)),
    )
    return (
        {
            **_rule("networking.istio.io", ("virtualservices",), ("get", "patch")),
            "resourceNames": (split,),
        },
        _rule("networking.istio.io", ("virtualservices",), ("create",)),
        *(kept if lease else ()),
        *may_see_gateway(),
    )


def may_hand_in() -> tuple[Rule, ...]:
    """What a schedule may do in its team's namespace: create a job, which the queue judges."""
    return (_rule("ray.io", ("rayjobs",), ("create",)),)


def may_see_gateway(route: str = "") -> tuple[Rule, ...]:
    """What a release may do in the gateway's namespace too: see which pods are ready, and the
    platform's `route` that leads to its split.
    """
    seen = (_rule("discovery.k8s.io", ("endpointslices",), ("get", "list")),)
    if not route:
        return seen
    named = _rule("networking.istio.io", ("virtualservices",), ("get",))
    return (*seen, {**named, "resourceNames": (route,)})
