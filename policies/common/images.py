"""Images that a resource runs, wherever it names them, and the registries that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from policies.common.places import document, found, leaves, property_of, shown
from policies.common.pods import describes_pods, kind_of, pods
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Parameters

_ANY_ACCOUNT = r"\d{12}"
_ACCOUNT = "{accountId}"
_PROXY_IMAGE = "sidecar.istio.io/proxyImage"
_MONITORED = ("spec.image", "spec.containers.image", "spec.initContainers.image")

_OBJECTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("monitoring.coreos.com", "Alertmanager"): _MONITORED,
    ("monitoring.coreos.com", "Prometheus"): (*_MONITORED, "spec.thanos.image"),
    ("monitoring.coreos.com", "PrometheusAgent"): _MONITORED,
    ("monitoring.coreos.com", "ThanosRuler"): _MONITORED,
    ("ray.io", "RayCluster"): ("spec.autoscalerOptions.image",),
    ("ray.io", "RayJob"): ("spec.rayClusterSpec.autoscalerOptions.image",),
    ("ray.io", "RayService"): ("spec.rayClusterConfig.autoscalerOptions.image",),
    ("ray.io", "RayCronJob"): ("spec.jobTemplate.rayClusterSpec.autoscalerOptions.image",),
    ("machinelearning.seldon.io", "SeldonDeployment"): (
        "spec.predictors.explainer.containerSpec.image",
    ),
}
"""Where objects name images besides those of pods; where they do not, an operator has its own."""
_AWS: dict[str, tuple[str, ...]] = {
    "aws:apprunner/service:Service": ("sourceConfiguration.imageRepository.imageIdentifier",),
    "aws:lambda/function:Function": ("imageUri",),
    "aws:sagemaker/model:Model": ("primaryContainer.image", "containers.image"),
}
_AWS_DOCUMENTS: dict[str, tuple[str, ...]] = {
    "aws:batch/jobDefinition:JobDefinition": (
        *("containerProperties", "ecsProperties", "eksProperties", "nodeProperties"),
    ),
    "aws:ecs/taskDefinition:TaskDefinition": ("containerDefinitions",),
}
"""Where texts in JSON name images, by keys of any case."""


class Registries(Parameters):
    """Which registries images and charts may come from."""

    allowedRegistries: tuple[str, ...] = (  # noqa: N815
        f"{_ACCOUNT}.dkr.ecr.me-central-1.amazonaws.com/",
    )
    """What names begin with. ``{accountId}`` stands for the accounts that the resource's provider
    is held to; where that does not say (Kubernetes does not), for any: write it out there."""


def names_images(resource: Resource) -> bool:
    """Whether `resource` may run images."""
    if describes_pods(resource):
        return True
    kind = kind_of(resource)
    if kind in _OBJECTS or resource.type in _AWS_DOCUMENTS:
        return kind is None or bool(list(images(resource)))
    if resource.type not in _AWS:
        return False
    return bool(list(images(resource)))


def images(resource: Resource) -> Iterator[tuple[str, Any]]:
    """Place and name of each image, `UNKNOWN` where it is; a container without has `ABSENT`."""
    for pod in pods(resource):
        if pod.spec is UNKNOWN:
            yield pod.where, UNKNOWN
            continue
        for where, container in pod.containers():
            yield f"{where}.image", at(container, "image")
        for place, image in found(pod.spec, "volumes.image.reference"):
            yield f"{pod.where}.{shown(place)}", image
        proxy = at(pod.metadata, "annotations", _PROXY_IMAGE)
        if not is_missing(proxy):
            yield f"{pod.where.removesuffix('spec')}metadata.annotations.{_PROXY_IMAGE}", proxy
    kind = kind_of(resource)
    if kind is not None:
        for path in _OBJECTS.get(kind, ()):
            for place, image in found(resource.properties, path):
                yield shown(place), image
        if kind == ("machinelearning.seldon.io", "SeldonDeployment"):
            yield from _initializers(resource)
    yield from _of_aws(resource)


def _initializers(resource: Resource) -> Iterator[tuple[str, Any]]:
    """What brings a model into its pod, of each node of a graph and of explainers."""
    predictors = resource.at("spec", "predictors")
    for place, value in leaves(predictors, ("spec", "predictors")):
        if place[-1] == "storageInitializerImage":
            yield shown(place), value


def _of_aws(resource: Resource) -> Iterator[tuple[str, Any]]:
    for path in _AWS.get(resource.type, ()):
        for place, image in found(resource.properties, path):
            yield shown(place), image
    if resource.at("packageType") == "Image" and is_missing(resource.at("imageUri")):
        yield "imageUri", ABSENT
    for name in _AWS_DOCUMENTS.get(resource.type, ()):
        value = resource.at(name)
        if value is UNKNOWN:
            yield name, UNKNOWN
        elif not is_missing(value):
            for place, image in leaves(document(value), (name,)):
                if image is UNKNOWN or property_of(place).lower() == "image":
                    yield shown(place), image


def comes_from(name: str, registries: Iterable[str], accounts: Iterable[str] = ()) -> bool:
    """Whether `name` begins with one of `registries`, up to a whole part of it."""
    account = "|".join(sorted(map(re.escape, accounts))) or _ANY_ACCOUNT
    return any(
        re.match(
            f"(?:{account})".join(map(re.escape, one.rstrip("/").lower().split(_ACCOUNT.lower())))
            + "/",
            name.lower(),
        )
        for one in registries
    )


def sample_of(registry: str, like: str) -> str:
    """The name of an image in `registry`, in the account that `like` names, if any."""
    account = re.search(_ANY_ACCOUNT, like)
    filled = registry.replace(_ACCOUNT, account[0] if account else "0" * 12)
    return f"{filled.rstrip('/')}/a-team/an-image:1@sha256:{'0' * 64}"
