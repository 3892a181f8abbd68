"""What the types of Kubernetes answer: the object as an API server would hand it back."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any

import kubernetes_charts
import kubernetes_live
from standin import UNKNOWN, Catalogue, Kind, Properties, Resource, StandIn, serve


def _identifier(resource: Resource) -> str:
    metadata = resource.inputs.get("metadata", {})
    parts = (metadata.get("namespace"), metadata.get("name"))
    return "/".join(str(part) for part in parts if part)


def _metadata(resource: Resource) -> Properties:
    before = resource.previous.get("metadata") or {}
    return {
        **resource.inputs.get("metadata", {}),
        "uid": before.get("uid") or str(uuid.UUID(resource.unique)),
        "resourceVersion": str(int(before.get("resourceVersion") or 0) + 1),
    }


_OBJECT = Kind(
    identifier=_identifier,
    outputs={"metadata": _metadata},
    volatile=frozenset({"metadata"}),
    name="metadata.name",
    replaced_by=frozenset({"apiVersion", "kind"}),
)


_WORKLOAD = ("spec.selector",)
_ROLE_BINDING = ("roleRef",)
_FIXED: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "DaemonSet"): _WORKLOAD,
    ("apps", "Deployment"): _WORKLOAD,
    ("apps", "StatefulSet"): (
        *_WORKLOAD,
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    ("batch", "Job"): (*_WORKLOAD, "spec.completions", "spec.parallelism", "spec.template"),
    ("", "PersistentVolumeClaim"): (
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
    ),
    ("", "Pod"): ("spec.containers", "spec.initContainers", "spec.securityContext", "spec.volumes"),
    ("", "ResourceQuota"): ("spec.scopes",),
    ("", "Secret"): ("type",),
    ("", "Service"): ("spec.clusterIP",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _ROLE_BINDING,
    ("rbac.authorization.k8s.io", "RoleBinding"): _ROLE_BINDING,
    ("storage.k8s.io", "StorageClass"): ("parameters", "provisioner"),
}
"""Group and kind → what makes a new object when it changes. Source: `forceNew` in
pulumi-kubernetes, provider/pkg/provider/diff.go."""


def _at(properties: Properties, path: str) -> Any:
    value: Any = properties
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


_BESIDE_SPEC = {
    "kubernetes:kueue.x-k8s.io/v1beta2:WorkloadPriorityClass": frozenset({"value", "description"}),
}
"""Type → fields of the object; the SDK's class for others' kinds has `spec` alone."""


class Kubernetes(Catalogue):
    """The types of `pulumi_kubernetes`."""

    package = "kubernetes"
    sdk = "pulumi_kubernetes"

    def kind(self, token: str, args: type) -> Kind:
        """Every object is kept alike."""
        del token, args
        return _OBJECT

    def replacing(self, kind: Kind, old: Properties, new: Properties) -> list[str]:
        """Another name or namespace is another object, and so is what cannot be changed."""
        group = str(new.get("apiVersion") or "").rpartition("/")[0]
        fixed = _FIXED.get((group, str(new.get("kind"))), ())
        paths = ("metadata.name", "metadata.namespace", *fixed)
        different = [path for path in paths if _at(old, path) != _at(new, path)]
        return super().replacing(kind, old, new) + different

    def _find(self, token: str) -> tuple[type, type] | None:
        """The SDK's class; a resource of someone else's API group is any that has metadata.

        So is the definition of a kind: in a schema the SDK writes `x_kubernetes_…` where charts,
        and the API, have `x-kubernetes-…`.
        """
        group, name = token.split(":")[1].rpartition("/")[0], token.rpartition(":")[2]
        others = "." in group and not group.endswith(".k8s.io")
        if others or name == "CustomResourceDefinition":
            custom = import_module(f"{self.sdk}.apiextensions")
            return custom.CustomResource, custom.CustomResourceArgs
        return super()._find(token)

    def further_inputs(self, token: str) -> frozenset[str]:
        """Of a kind of others that keeps its content beside `spec`."""
        return _BESIDE_SPEC.get(token, frozenset())

    def name_of(self, inputs: Properties, name: str) -> Any:
        """The name sits in the metadata."""
        del name
        metadata = inputs.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") is None:
            return None
        return metadata["name"]

    def scope_of_name(self, kind: Kind, inputs: Properties) -> list[Any]:
        """The namespace."""
        del kind
        metadata = inputs.get("metadata")
        return [metadata.get("namespace")] if isinstance(metadata, dict) else []

    def with_name(self, inputs: Properties, name: str, value: str) -> Properties:
        """The name sits in the metadata."""
        del name
        return inputs | {"metadata": {**(inputs.get("metadata") or {}), "name": value}}

    def present(self, resource: Resource, outputs: Properties) -> Properties:
        """At preview the metadata is known as far as the program says it."""
        if outputs.get("metadata") == UNKNOWN:
            computed = {"uid": UNKNOWN, "resourceVersion": UNKNOWN}
            return outputs | {"metadata": {**resource.inputs.get("metadata", {}), **computed}}
        return outputs


class PlannedStandIn(kubernetes_charts.WithCharts, StandIn):
    """The provider protocol over no server at all."""


if __name__ == "__main__":
    if kubernetes_live.is_asked_for():
        # a deletion waits for finalizers, which other operations may have to happen for
        serve(kubernetes_live.LiveWithCharts(Kubernetes()), threads=32)
    else:
        # each chart keeps one while its objects are made by others
        serve(PlannedStandIn(Kubernetes()), threads=32)
