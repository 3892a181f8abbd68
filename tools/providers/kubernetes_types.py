"""What the types of Kubernetes answer: the object as an API server would hand it back."""

from __future__ import annotations

import uuid
from typing import Any

from standin import UNKNOWN, Catalogue, Kind, Properties, Resource, serve


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


class Kubernetes(Catalogue):
    """The types of `pulumi_kubernetes`."""

    package = "kubernetes"
    sdk = "pulumi_kubernetes"

    def kind(self, token: str, args: type) -> Kind:
        """Every object is kept alike."""
        del token, args
        return _OBJECT

    def replacing(self, kind: Kind, old: Properties, new: Properties) -> list[str]:
        """Another name or namespace is another object."""
        before, after = old.get("metadata") or {}, new.get("metadata") or {}
        names = [
            f"metadata.{name}"
            for name in ("name", "namespace")
            if before.get(name) != after.get(name)
        ]
        return super().replacing(kind, old, new) + names

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


if __name__ == "__main__":
    serve(Kubernetes())
