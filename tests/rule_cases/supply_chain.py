"""Cases of `policies/hardening/supply_chain.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, mutated, resource
from rule_cases.images import HELD, IMAGE, REGISTRY, function, initialised, named
from rule_cases.pods import NOT_KNOWN, POD, everywhere, pod

DIGEST = "@sha256:" + "0" * 64


def repository(name: Any = "app", **properties: Any) -> list[Resource]:
    properties = {"name": name, "imageTagMutability": "IMMUTABLE", **properties}
    return [resource("aws:ecr/repository:Repository", "app", properties, provider=HELD)]


def template(**properties: Any) -> list[Resource]:
    kind = "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"
    return [resource(kind, "app", properties)]


def excluding(pattern: Any) -> dict[str, Any]:
    return {
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{"filter": pattern, "filterType": "WILDCARD"}],
    }


def registry(
    *patterns: Any, often: Any = "SCAN_ON_PUSH", rules: Any = ABSENT, **more: Any
) -> list[Resource]:
    filters = [{"filter": one, "filterType": "WILDCARD"} for one in patterns]
    made = [{"scanFrequency": often, "repositoryFilters": filters}]
    kind = "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"
    properties = {"scanType": "ENHANCED", "rules": made if rules is ABSENT else rules, **more}
    return [resource(kind, "all", properties, provider=HELD)]


def chart(*changes: Any, kind: str = "helm.sh/v4:Chart", **properties: Any) -> list[Resource]:
    properties = {"chart": f"oci://{REGISTRY}charts/kueue", "version": "0.14.1", **properties}
    return [resource(f"kubernetes:{kind}", "kueue", mutated(properties, *changes))]


def one(kind: str, name: str = "it") -> list[Resource]:
    return [resource(kind, name, {})]


SCANNED = {"imageScanningConfiguration": {"scanOnPush": True}}

CASES = (
    Cases(
        rule="image-is-pinned-by-digest",
        baseline=pod(),
        fails={
            "a tag": named(f"{REGISTRY}app:1"),
            "nothing": named(f"{REGISTRY}app"),
            "a short digest": named(f"{REGISTRY}app@sha256:{'0' * 12}"),
            "in odd case": named(f"{REGISTRY}app@sha256:{'A' * 64}"),
            "the latest, of one day": named(f"{REGISTRY}app:latest{DIGEST}"),
            "none": named(None),
            "first container": pod((("initContainers",), [{"name": "a", "image": "app:1"}])),
            "what brings a model": initialised(f"{REGISTRY}rclone:1"),
            "a function": function(imageUri=f"{REGISTRY}app:1"),
            **everywhere(mutated(POD, (("containers", 0, "image"), f"{REGISTRY}app:1"))),
        },
        passes={
            "with a tag": named(f"{REGISTRY}app:1{DIGEST}"),
            "with a port": named(f"localhost:5000/app{DIGEST}"),
            "by trade": pod((("containers", 0, "image"), "auto"), namespace="istio-system"),
            "a function": function(imageUri=IMAGE),
        },
        pending={
            "image": named(UNKNOWN),
            "of which namespace": pod((("containers", 0, "image"), "auto"), namespace=UNKNOWN),
            "a function": function(imageUri=UNKNOWN),
            "whole pod": NOT_KNOWN["whole pod"],
        },
        parameters={"exemptNamespaces": ["istio-system"]},
    ),
    Cases(
        rule="ecr-tags-are-immutable",
        baseline=repository(),
        fails={
            "said": repository(imageTagMutability="MUTABLE"),
            "not said": repository(imageTagMutability=None),
            "but for some": repository(**excluding("dev-*")),
            "all but for some": repository(
                imageTagMutability="MUTABLE_WITH_EXCLUSION",
                imageTagMutabilityExclusionFilters=[{"filter": "cache"}],
            ),
            "of those that are made by themselves": template(),
        },
        passes={
            "but for those that are allowed": repository(**excluding("cache")),
            "of those that are made by themselves": template(imageTagMutability="IMMUTABLE"),
        },
        pending={
            "whether": repository(imageTagMutability=UNKNOWN),
            "but for which": repository(**excluding(UNKNOWN)),
            "but for some": repository(
                imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
                imageTagMutabilityExclusionFilters=UNKNOWN,
            ),
        },
        parameters={"allowedExclusions": ["cache"]},
    ),
    Cases(
        rule="ecr-images-are-scanned",
        baseline=repository(**SCANNED),
        fails={
            "not said": repository(),
            "off": repository(imageScanningConfiguration={"scanOnPush": False}),
            "by hand": [*repository(), *registry("*", often="MANUAL")],
            "others": [*repository(), *registry("team-*")],
            "in another region": [
                *repository(region="me-central-1"),
                *registry("*", region="eu-west-1"),
            ],
            "no rules": [*repository(), *registry(rules=[])],
        },
        passes={
            "by the registry": [*repository(), *registry("*", often="CONTINUOUS_SCAN")],
            "of a name that is not known": [*repository(UNKNOWN), *registry("*")],
            "by a part of the name": [*repository("falaj/app"), *registry("app")],
            "by a pattern": [*repository("falaj/app"), *registry("x*", "falaj/*")],
        },
        pending={
            "whether": repository(imageScanningConfiguration=UNKNOWN),
            "rules": [*repository(), *registry(rules=UNKNOWN)],
            "how often": [*repository(), *registry("*", often=UNKNOWN)],
            "which": [*repository(), *registry(UNKNOWN)],
            "name": [*repository(UNKNOWN), *registry("team-*")],
        },
    ),
    Cases(
        rule="helm-chart-is-pinned-and-in-region",
        baseline=chart(),
        fails={
            "from the web": chart(chart="oci://ghcr.io/kueue/charts/kueue"),
            "by https": chart(chart="https://example.org/kueue-0.14.1.tgz"),
            "of a repository": chart(chart="kueue", repositoryOpts={"repo": "https://example.org"}),
            "of a repository of this machine": chart(chart="stable/kueue"),
            "oci without a registry": chart(chart=f"{REGISTRY}charts/kueue"),
            "no version": chart((("version",), ABSENT)),
            "a range": chart(version="^0.14.0"),
            "a part of a version": chart(version="0.14"),
            "any": chart(version="*"),
            "not released": chart(devel=True),
            "a release": chart(kind="helm.sh/v3:Release", version=">0.1.0"),
            "no chart": chart(chart=None),
        },
        passes={
            "a folder": chart((("version",), ABSENT), chart="./charts/ours"),
            "a file": chart((("version",), ABSENT), chart="/srv/charts/kueue-0.14.1.tgz"),
            "by its digest": chart(
                (("version",), ABSENT), chart=f"oci://{REGISTRY}charts/kueue{DIGEST}"
            ),
            "a version with a v and more": chart(version="v0.14.1-rc.1+build.5"),
            "a release": chart(kind="helm.sh/v3:Release"),
            "a chart of which nothing is shown, beside it": [
                *one("kubernetes:helm.sh/v4:Chart", "other"),
                *chart(),
            ],
            "what is the default": chart(devel=False, repositoryOpts={"username": "AWS"}),
        },
        pending={
            "chart": chart(chart=UNKNOWN),
            "version": chart(version=UNKNOWN),
            "from where": chart(repositoryOpts={"repo": UNKNOWN}),
            "whether released": chart(devel=UNKNOWN),
        },
    ),
    Cases(
        rule="opaque-resource-needs-exception",
        baseline=one("command:local:Command", "migrate"),
        fails={
            kind: one(kind)
            for kind in (
                "aws:cloudcontrol/resource:Resource",
                "aws:cloudformation/stack:Stack",
                "aws:cloudformation/stackInstances:StackInstances",
                "aws:cloudformation/stackSet:StackSet",
                "aws:cloudformation/stackSetInstance:StackSetInstance",
                "aws:servicecatalog/provisionedProduct:ProvisionedProduct",
                "command:local:Command",
                "command:remote:Command",
                "command:remote:CopyFile",
                "command:remote:CopyToRemote",
                "kubernetes:apps/v1:DeploymentPatch",
                "kubernetes:core/v1:PodList",
                "kubernetes:helm.sh/v3:Release",
                "kubernetes:rbac.authorization.k8s.io/v1:ClusterRolePatch",
                "pulumi-nodejs:dynamic:Resource",
                "pulumi-python:dynamic/tools.things:Thing",
                "pulumi-python:dynamic:Resource",
            )
        },
        passes={
            "of a type": one("pulumi-python:dynamic/components.local.files:File"),
            "a custom resource that is called a list, beside one that is excepted": [
                *one("kubernetes:filters.example.org/v1:AllowList"),
                *one("command:local:Command", "migrate"),
            ],
            "marks of a class, beside one that is excepted": [
                *one("kubernetes:storage.k8s.io/v1:StorageClassPatch"),
                *one("command:local:Command", "migrate"),
            ],
            "what has a patch in its name, beside one that is excepted": [
                *one("aws:ssm/patchBaseline:PatchBaseline"),
                *one("command:local:Command", "migrate"),
            ],
        },
        pending={},
        parameters={
            "exemptResources": [
                "pulumi-python:dynamic/components.local.*",
                "command:local:Command::migrate",
            ]
        },
        always_decided="reads no value",
    ),
)
