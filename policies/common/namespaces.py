"""Which Kubernetes objects are in which namespace of a program, and what selects which pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from policies.common.pods import namespace_of
from policies.common.resources import ABSENT, UNKNOWN, Missing, Resource, at, is_missing
from policies.common.stack import Stack

NAMESPACE = "kubernetes:core/v1:Namespace"
_MODE, _SIDECAR = "istio.io/dataplane-mode", "sidecar.istio.io/inject"


def name_of(namespace: Resource) -> Any:
    """The name of a namespace, or `UNKNOWN`."""
    name = namespace.at("metadata", "name")
    return namespace.name if is_missing(name) else name


def in_mesh(namespace: Resource) -> Any:
    """Whether the labels of `namespace` bring what is in it into the mesh, or `UNKNOWN`."""
    labels = namespace.at("metadata", "labels")
    injected, revision = at(labels, "istio-injection"), at(labels, "istio.io/rev")
    if injected == "enabled" or is_ambient(labels):
        return True
    if UNKNOWN in (labels, injected, revision, at(labels, _MODE)):
        return UNKNOWN
    return not is_missing(revision) and injected != "disabled"


def is_ambient(labels: Any) -> bool:
    """Whether `labels`, of a namespace or a pod, bring it into a mesh without sidecars."""
    return bool(at(labels, _MODE) == "ambient")


def leaves_mesh(metadata: Any, *, ambient: bool) -> Any:
    """The path in `metadata` of a pod at which it says no to the mesh of its namespace.

    `None` where it does not, `UNKNOWN` where nobody knows yet. Of the sidecar the label outweighs
    the annotation; a pod of an ambient namespace has none, and says no to the node's proxy.
    """
    labels, annotations = at(metadata, "labels"), at(metadata, "annotations")
    if ambient:
        mode = at(labels, _MODE)
        return UNKNOWN if mode is UNKNOWN else f"labels.{_MODE}" if mode == "none" else None
    for where, value in (
        (f"labels.{_SIDECAR}", at(labels, _SIDECAR)),
        (f"annotations.{_SIDECAR}", at(annotations, _SIDECAR)),
    ):
        if value is UNKNOWN:
            return UNKNOWN
        if not is_missing(value):
            return where if str(value).lower() == "false" else None
    return None


class Homes:
    """The namespace of each object that the program makes itself, in the same cluster."""

    def __init__(self, stack: Stack) -> None:
        namespaces = stack.of({NAMESPACE})
        self._by_urn = {one.urn: one for one in namespaces}
        self._by_name = {(cluster_of(one), name_of(one)): one for one in namespaces}

    def of(self, one: Resource) -> Resource | Missing:
        """By reference, which holds at preview, or by name; `ABSENT` where it is another's."""
        for urn in one.references.get("metadata", ()):
            if urn in self._by_urn:
                return self._by_urn[urn]
        name = namespace_of(one)
        if name is UNKNOWN:
            return Missing.UNKNOWN
        return self._by_name.get((cluster_of(one), name), ABSENT)

    def name(self, one: Resource) -> Any:
        """What the namespace of `one` is called, or `UNKNOWN`."""
        home = self.of(one)
        return name_of(home) if isinstance(home, Resource) else namespace_of(one)


class Inside:
    """Objects of some types, by the namespace that they are in.

    By reference, which holds at preview, or by name, in the same cluster: one program may have
    namespaces of one name in several.
    """

    def __init__(self, stack: Stack, types: Iterable[str]) -> None:
        self._names = {one.urn: name_of(one) for one in stack.of({NAMESPACE})}
        self._by_urn: dict[str, list[Resource]] = {}
        self._by_name: dict[tuple[str, Any], list[Resource]] = {}
        self._strays: set[str] = set()
        """Clusters with objects of which nobody knows yet where they are."""
        self._unnamed: set[str] = set()
        """Clusters with objects in a namespace whose name nobody knows yet."""
        for one in stack.of(types):
            referred, name = self._referred(one), namespace_of(one)
            for urn in referred:
                self._by_urn.setdefault(urn, []).append(one)
                name = self._names[urn] if name is UNKNOWN else name
            if name is not UNKNOWN:
                self._by_name.setdefault((cluster_of(one), name), []).append(one)
            elif referred:
                self._unnamed.add(cluster_of(one))
            else:
                self._strays.add(cluster_of(one))

    def _referred(self, one: Resource) -> list[str]:
        return [urn for urn in one.references.get("metadata", ()) if urn in self._names]

    def of(self, namespace: Resource) -> Sequence[Resource]:
        """Those in `namespace`."""
        return self._all([namespace.urn], cluster_of(namespace), name_of(namespace))

    def may_be_more(self, namespace: Resource) -> bool:
        """Whether some may be in `namespace` of which it is not known yet."""
        cluster = cluster_of(namespace)
        if name_of(namespace) is UNKNOWN and any(one[0] == cluster for one in self._by_name):
            return True
        return cluster in self._strays

    def beside(self, one: Resource) -> tuple[Sequence[Resource], bool]:
        """Those in the namespace of `one`, and whether there may be more."""
        referred, name, cluster = self._referred(one), namespace_of(one), cluster_of(one)
        for urn in referred:
            name = self._names[urn] if name is UNKNOWN else name
        if name is UNKNOWN and not referred:
            return [], True
        more = cluster in self._strays or (not referred and cluster in self._unnamed)
        return self._all(referred, cluster, name), more

    def _all(self, urns: Iterable[str], cluster: str, name: Any) -> Sequence[Resource]:
        named = self._by_name.get((cluster, name), [])
        both = [*(one for urn in urns for one in self._by_urn.get(urn, ())), *named]
        return list({one.urn: one for one in both}.values())


def cluster_of(one: Resource) -> str:
    """What tells the clusters of a program apart: the URN of the provider."""
    return one.provider.urn if one.provider is not None else ""


def selects(selector: Any, labels: Any) -> Any:
    """Whether a label selector selects what has `labels`, or `UNKNOWN`; an empty one all."""
    if is_missing(selector):
        return True
    if selector is UNKNOWN:
        return UNKNOWN
    equal, expressions = at(selector, "matchLabels"), at(selector, "matchExpressions")
    answers = [_has(labels, key, ("In", [value])) for key, value in _items(equal)]
    for one in expressions if isinstance(expressions, list) else ():
        asked = (at(one, "operator"), at(one, "values"))
        answers.append(_has(labels, at(one, "key"), asked))
    if False in answers:
        return False
    return UNKNOWN if UNKNOWN in (equal, expressions, *answers) else True


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _has(labels: Any, key: Any, asked: tuple[Any, Any]) -> Any:
    operator, values = asked
    value = at(labels, key) if isinstance(key, str) else UNKNOWN
    if UNKNOWN in (labels, value, operator, values):
        return UNKNOWN
    there = not is_missing(value) or value == ""
    if operator in ("Exists", "DoesNotExist"):
        return there is (operator == "Exists")
    listed = values if isinstance(values, list) else []
    if UNKNOWN in listed:
        return UNKNOWN
    return (value in listed and there) is (operator == "In")
