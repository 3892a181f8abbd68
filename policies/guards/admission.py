"""Policies by which an API server judges pods itself: their shape, whatever they ask.

`ValidatingAdmissionPolicy` is built into Kubernetes (1.30 or later): no engine that could be down.
They judge pods, and the templates of what makes pods, so that whoever applies a Deployment hears of
it. Owns the shape; what is asked of a pod is said in `pods`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["deny", "warn"]
_ACTIONS: Mapping[Level, list[str]] = {"deny": ["Deny", "Audit"], "warn": ["Warn", "Audit"]}

_JUDGED = (
    ("", ("pods", "pods/ephemeralcontainers")),
    ("apps", ("deployments", "statefulsets", "daemonsets", "replicasets")),
    ("batch", ("jobs", "cronjobs")),
)
"""API group → resources. What operators make of their own kinds comes by as pods."""

TEMPLATE = (
    "object.kind == 'Pod' ? object"
    " : (object.kind == 'CronJob' ? object.spec.jobTemplate.spec.template"
    " : object.spec.template)"
)
"""CEL expression: the pod that an object is or makes."""
_VARIABLES = {
    "pod": TEMPLATE,
    "containers": (
        "variables.pod.spec.containers"
        " + (has(variables.pod.spec.initContainers) ? variables.pod.spec.initContainers : [])"
        " + (has(variables.pod.spec.ephemeralContainers)"
        " ? variables.pod.spec.ephemeralContainers : [])"
    ),
    "own": (
        "variables.pod.spec.containers"
        " + (has(variables.pod.spec.initContainers) ? variables.pod.spec.initContainers : [])"
    ),
    "labels": ("has(variables.pod.metadata.labels) ? variables.pod.metadata.labels : {}"),
}
"""Name → CEL expression, for all policies; `own` leaves out those that a debugger adds, which have
no resources."""
_NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One policy."""

    holds: str
    """CEL expression: whether the object may come in."""
    message: str
    """CEL expression of the text that the user gets: what is wrong, and what to do."""
    within: Mapping[str, str] = field(default_factory=dict)
    """Labels of the namespaces in which alone it is asked; empty for all."""
    exempt: Sequence[str] = ()
    """Namespaces in which it is not asked."""
    level: Level = "deny"
    also: Sequence[tuple[str, Sequence[str]]] = ()
    """API group → resources that it judges besides, each in any version."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Its own, besides those of all policies."""


def of_containers(holds: str, message: str, among: str = "containers", **more: Any) -> Check:
    """What must hold of each container `c`; the message is about the first of which it does not."""
    return Check(
        holds=f"variables.{among}.all(c, {holds})",
        message=f"variables.{among}.filter(c, !({holds})).map(c, {message})[0]",
        **more,
    )


def policy(check: Check) -> Any:
    """The `spec` of the policy."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                *(_rule(group, "v1", resources) for group, resources in _JUDGED),
                *(_rule(group, "*", resources) for group, resources in check.also),
            ]
        },
        # what came in before may still get a label, lose a finalizer and go
        "matchConditions": [
            {
                "name": "content-changes",
                "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
            }
        ],
        "variables": [
            {"name": name, "expression": expression}
            for name, expression in (*_VARIABLES.items(), *check.variables.items())
        ],
        "validations": [
            {
                "expression": check.holds,
                "messageExpression": check.message,
                "reason": "Forbidden",
            }
        ],
    }


def binding(check: Check, name: Any) -> Any:
    """The `spec` of the binding of the policy `name`: where it is asked, and what a no does."""
    chosen: dict[str, Any] = {}
    if check.exempt:
        chosen["matchExpressions"] = [
            {"key": _NAMESPACE, "operator": "NotIn", "values": sorted(set(check.exempt))}
        ]
    if check.within:
        chosen["matchLabels"] = dict(check.within)
    return {
        "policyName": name,
        "validationActions": _ACTIONS[check.level],
        "matchResources": {"namespaceSelector": chosen},
    }


def manifests(checks: Mapping[str, Check]) -> Any:
    """All of them as one object that ``kubectl apply`` takes."""
    return {"apiVersion": "v1", "kind": "List", "items": list(_manifests(checks))}


def _manifests(checks: Mapping[str, Check]) -> Iterable[Any]:
    kind = "ValidatingAdmissionPolicy"
    for noun, check in checks.items():
        name = f"falaj-{noun}"
        for suffix, spec in (("", policy(check)), ("Binding", binding(check, name))):
            yield {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": f"{kind}{suffix}",
                "metadata": {"name": name},
                "spec": spec,
            }


def _rule(group: str, version: str, resources: Sequence[str]) -> Any:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": ["CREATE", "UPDATE"],
        "resources": list(resources),
    }
