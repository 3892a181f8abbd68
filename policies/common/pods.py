"""Where pods are described: in pods, in what makes pods, and in custom resources that do."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing

EACH = "*"
"""In a path: every entry of the list."""
_TEMPLATE = ("spec", "template", "spec")
_RAY_GROUPS = (
    ("headGroupSpec", "template", "spec"),
    ("workerGroupSpecs", EACH, "template", "spec"),
)


def _ray(*inside: str) -> tuple[tuple[str, ...], ...]:
    return tuple((*inside, *path) for path in _RAY_GROUPS)


PLACES: Mapping[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("core", "Pod"): (("spec",),),
    ("core", "PodTemplate"): (("template", "spec"),),
    ("core", "ReplicationController"): (_TEMPLATE,),
    ("apps", "Deployment"): (_TEMPLATE,),
    ("apps", "StatefulSet"): (_TEMPLATE,),
    ("apps", "DaemonSet"): (_TEMPLATE,),
    ("apps", "ReplicaSet"): (_TEMPLATE,),
    ("batch", "Job"): (_TEMPLATE,),
    ("batch", "CronJob"): (("spec", "jobTemplate", "spec", "template", "spec"),),
    ("ray.io", "RayCluster"): _ray("spec"),
    ("ray.io", "RayJob"): (
        *_ray("spec", "rayClusterSpec"),
        ("spec", "submitterPodTemplate", "spec"),
    ),
    ("ray.io", "RayService"): _ray("spec", "rayClusterConfig"),
    ("ray.io", "RayCronJob"): (
        *_ray("spec", "jobTemplate", "rayClusterSpec"),
        ("spec", "jobTemplate", "submitterPodTemplate", "spec"),
    ),
    ("machinelearning.seldon.io", "SeldonDeployment"): (
        ("spec", "predictors", EACH, "componentSpecs", EACH, "spec"),
    ),
}
"""Group and kind → where pods are described, whatever the version of the group."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod as an object describes it."""

    where: str
    """Its path in the object."""
    spec: Any
    """Its properties, or `UNKNOWN`."""
    metadata: Any = ABSENT
    """What stands beside the spec."""

    @property
    def labels(self) -> Any:
        """By which others select it: a mapping, empty where it has none, or `UNKNOWN`."""
        labels = at(self.metadata, "labels")
        return {} if is_missing(labels) else labels

    def containers(self) -> Iterator[tuple[str, Any]]:
        """Path and properties of each, or `UNKNOWN`; those that come first and go, too."""
        for kind in _CONTAINERS:
            listed = at(self.spec, kind)
            if listed is UNKNOWN:
                yield f"{self.where}.{kind}", UNKNOWN
            for index, one in enumerate(listed if isinstance(listed, Sequence) else ()):
                yield f"{self.where}.{kind}[{index}]", one


def kind_of(resource: Resource) -> tuple[str, str] | None:
    """Group and kind of a Kubernetes object; `None` of anything else."""
    return _kind_of(resource.type)


@functools.lru_cache(maxsize=4096)  # every rule about Kubernetes asks it of every resource
def _kind_of(name: str) -> tuple[str, str] | None:
    package, _, rest = name.partition(":")
    group, _, kind = rest.rpartition(":")
    if package != "kubernetes" or not group:
        return None
    return group.partition("/")[0], kind


def describes_pods(resource: Resource) -> bool:
    """Whether `resource` is of a kind that describes pods."""
    return kind_of(resource) in PLACES


def pods(resource: Resource) -> list[Pod]:
    """The pods that `resource` describes; where a list or object on the way is not known, that."""
    kind = kind_of(resource)
    places = PLACES.get(kind, ()) if kind is not None else ()
    return [
        pod for place in places for pod in _found(resource.properties, place, "") if pod is not None
    ]


def namespace_of(resource: Resource) -> Any:
    """Where the object is; ``default`` where it does not say, or `UNKNOWN`."""
    name = resource.at("metadata", "namespace")
    return "default" if name in (ABSENT, None, "") else name


def _found(value: Any, path: Sequence[str], where: str, beside: Any = ABSENT) -> Iterator[Pod]:
    if value is UNKNOWN or not path:
        metadata = UNKNOWN if value is UNKNOWN and path else at(beside, "metadata")
        yield Pod(where=where, spec=value, metadata=metadata)
        return
    step, rest = path[0], path[1:]
    if step == EACH:
        for index, one in enumerate(value if isinstance(value, list) else ()):
            yield from _found(one, rest, f"{where}[{index}]")
        return
    inner = at(value, step)
    if inner is ABSENT or inner is None:
        return
    yield from _found(inner, rest, f"{where}.{step}" if where else step, beside=value)
