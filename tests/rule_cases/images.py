"""Cases of `policies/residency/images.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, mutated, resource
from rule_cases.pods import CONTAINER, POD, everywhere, of, pod

REGISTRY = f"{ACCOUNT}.dkr.ecr.me-central-1.amazonaws.com/"
IMAGE = CONTAINER["image"]
PROXY = {"sidecar.istio.io/proxyImage": "docker.io/istio/proxyv2:1"}
HELD = resource("pulumi:providers:aws", "home", {"allowedAccountIds": json.dumps([ACCOUNT])})


def function(**properties: Any) -> list[Resource]:
    """A function of an account that is known."""
    properties = {"packageType": "Image", **properties}
    return [resource("aws:lambda/function:Function", "one", properties, provider=HELD)]


def task(image: Any, key: str = "image") -> list[Resource]:
    """A task of ECS, with its containers as a text."""
    text = json.dumps([{"name": "one", key: image}])
    kind = "aws:ecs/taskDefinition:TaskDefinition"
    return [resource(kind, "one", {"containerDefinitions": text})]


def seldon(**predictor: Any) -> list[Resource]:
    """A model with a pod that is right, and something else."""
    predictors = [{"name": "one", "componentSpecs": [{"spec": POD}], **predictor}]
    kind = "machinelearning.seldon.io/v1:SeldonDeployment"
    return of(kind, {"spec": {"predictors": predictors}})


def initialised(image: Any) -> list[Resource]:
    """A model that a container with `image` brings, below another in the graph."""
    child = {"name": "two", "storageInitializerImage": image}
    return seldon(graph={"name": "one", "children": [child]})


def ray(image: Any) -> list[Resource]:
    """A cluster whose autoscaler is `image`."""
    spec = {"headGroupSpec": {"template": {"spec": POD}}, "autoscalerOptions": {"image": image}}
    return of("ray.io/v1:RayCluster", {"spec": spec})


def prometheus(image: Any) -> list[Resource]:
    """A Prometheus of the operator."""
    return of("monitoring.coreos.com/v1:Prometheus", {"spec": {"image": image}})


def named(image: Any) -> list[Resource]:
    """A Deployment with `image`."""
    return pod((("containers", 0, "image"), image))


def with_proxy() -> list[Resource]:
    """A pod that says which proxy the mesh gives it."""
    template = {"metadata": {"annotations": PROXY}, "spec": POD}
    return of("apps/v1:Deployment", {"spec": {"template": template}})


def volume(reference: Any) -> list[Resource]:
    """A pod with a volume of an image."""
    return pod((("volumes",), [{"name": "data", "image": {"reference": reference}}]))


FOREIGN = "ghcr.io/somebody/app@sha256:" + "0" * 64

CASES = (
    Cases(
        rule="image-comes-from-in-region-registry",
        baseline=pod(),
        fails={
            "without a registry": named("busybox"),
            "of a registry of the world": named("public.ecr.aws/docker/library/busybox:1"),
            "in another region": named(IMAGE.replace("me-central-1", "eu-west-1")),
            "with a name that looks right": named(
                f"{ACCOUNT}.dkr.ecr.me-central-1.amazonaws.com.example.org/app:1"
            ),
            "below another host": named(f"example.org/{REGISTRY}app:1"),
            "none": named(None),
            "first container": pod((("initContainers",), [{"name": "a", "image": FOREIGN}])),
            "container to look around with": pod(
                (("ephemeralContainers",), [{"name": "a", "image": FOREIGN}])
            ),
            "a volume": volume(FOREIGN),
            "the mesh's proxy": with_proxy(),
            "what brings a model": initialised("seldonio/rclone-storage-initializer:1.19"),
            "an explainer": seldon(explainer={"containerSpec": {"image": FOREIGN}}),
            "an autoscaler": ray("rayproject/ray:2.60.0"),
            "a Prometheus": prometheus("quay.io/prometheus/prometheus:v3"),
            "a function": function(imageUri="public.ecr.aws/lambda/python:3.12"),
            "a function, of another account": function(
                imageUri=f"{REGISTRY}app:1".replace(ACCOUNT, "999999999999")
            ),
            "a function without": function(),
            "a task": task(FOREIGN),
            "a task, in odd case": task(FOREIGN, key="Image"),
            "a job definition": [
                resource(
                    "aws:batch/jobDefinition:JobDefinition",
                    "one",
                    {"containerProperties": json.dumps({"image": FOREIGN})},
                )
            ],
            "a model of SageMaker": [
                resource("aws:sagemaker/model:Model", "one", {"containers": [{"image": FOREIGN}]})
            ],
            "a service of App Runner": [
                resource(
                    "aws:apprunner/service:Service",
                    "one",
                    {"sourceConfiguration": {"imageRepository": {"imageIdentifier": FOREIGN}}},
                )
            ],
            **everywhere(mutated(POD, (("containers", 0, "image"), FOREIGN))),
        },
        passes={
            "in any case": named(IMAGE.replace("dkr.ecr", "DKR.ECR")),
            "a tag alone": named(f"{REGISTRY}app:1"),
            "what brings a model": initialised(f"{REGISTRY}rclone:1"),
            "an autoscaler": ray(f"{REGISTRY}ray:1"),
            "a volume": volume(f"{REGISTRY}data:1"),
            "a function": function(imageUri=f"{REGISTRY}app:1"),
            "a task": task(f"{REGISTRY}app:1"),
            "everywhere": [one for stack in everywhere(POD).values() for one in stack],
        },
        pending={
            "image": named(UNKNOWN),
            "container": pod((("containers", 0), UNKNOWN)),
            "pod": of("apps/v1:Deployment", {"spec": {"template": {"spec": UNKNOWN}}}),
            "volumes": pod((("volumes",), UNKNOWN)),
            "function": function(imageUri=UNKNOWN),
            "what brings a model": initialised(UNKNOWN),
            "predictors": of(
                "machinelearning.seldon.io/v1:SeldonDeployment", {"spec": {"predictors": UNKNOWN}}
            ),
            "task": [
                resource(
                    "aws:ecs/taskDefinition:TaskDefinition",
                    "one",
                    {"containerDefinitions": UNKNOWN},
                )
            ],
        },
    ),
)
