"""Cases of `policies/hardening/accelerators.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, mutated, resource
from rule_cases.values import nested

NODES, GROUP = "aws:eks/nodeGroup:NodeGroup", "aws:autoscaling/group:Group"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
OVERRIDES = "mixedInstancesPolicy.launchTemplate.overrides*"
NAMED = (
    (GROUP, f"{OVERRIDES}.instanceType"),
    ("aws:ec2/fleet:Fleet", "launchTemplateConfigs*.overrides*.instanceType"),
    ("aws:ec2/instance:Instance", "instanceType"),
    ("aws:ec2/launchConfiguration:LaunchConfiguration", "instanceType"),
    (TEMPLATE, "instanceType"),
    ("aws:ec2/spotFleetRequest:SpotFleetRequest", "launchSpecifications*.instanceType"),
    ("aws:ec2/spotFleetRequest:SpotFleetRequest", "launchTemplateConfigs*.overrides*.instanceType"),
    ("aws:ec2/spotInstanceRequest:SpotInstanceRequest", "instanceType"),
    (NODES, "instanceTypes*"),
)
ASKED = (
    (GROUP, f"{OVERRIDES}.instanceRequirements"),
    ("aws:ec2/fleet:Fleet", "launchTemplateConfigs*.overrides*.instanceRequirements"),
    (
        "aws:ec2/spotFleetRequest:SpotFleetRequest",
        "launchTemplateConfigs*.overrides*.instanceRequirements",
    ),
    (TEMPLATE, "instanceRequirements"),
)
TYPE, COUNT = "node.kubernetes.io/instance-type", "karpenter.k8s.aws/instance-gpu-count"


def one(kind: str, path: str, value: Any) -> list[Resource]:
    return [resource(kind, "one", nested(path, value))]


def nodes(*types: Any) -> list[Resource]:
    return [resource(NODES, "one", {"instanceTypes": list(types)})]


def asked(**requirements: Any) -> list[Resource]:
    return [resource(TEMPLATE, "one", {"instanceRequirements": requirements})]


def requirement(key: Any, operator: Any, *values: Any) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


POOL: dict[str, Any] = {
    "spec": {
        "limits": {"nvidia.com/gpu": "8"},
        "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "5m"},
        "template": {
            "spec": {
                "requirements": [requirement(TYPE, "In", "g5.2xlarge")],
                "taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "true"}],
            }
        },
    }
}
SPEC = ("spec", "template", "spec")


def pool(*changes: Any, version: str = "v1", environment: str = "dev") -> list[Resource]:
    kind = f"kubernetes:karpenter.sh/{version}:NodePool"
    urn = f"urn:pulumi:{environment}::bank::{kind}::pool"
    return [Resource(type=kind, urn=urn, name="pool", properties=mutated(POOL, *changes))]


def requires(*requirements: Any, **more: Any) -> list[Resource]:
    return pool(((*SPEC, "requirements"), list(requirements)), **more)


def limited(**limits: Any) -> list[Resource]:
    named = {"gpu": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuron"}
    return pool((("spec", "limits"), {named.get(key, key): one for key, one in limits.items()}))


MANAGED: dict[str, Any] = {
    "instanceTypes": ["g5.2xlarge"],
    "scalingConfig": {"minSize": 0, "desiredSize": 0, "maxSize": 8},
    "taints": [{"key": "nvidia.com/gpu", "effect": "NO_SCHEDULE"}],
}


def managed(*changes: Any, environment: str = "dev") -> list[Resource]:
    urn = f"urn:pulumi:{environment}::bank::{NODES}::one"
    return [Resource(type=NODES, urn=urn, name="one", properties=mutated(MANAGED, *changes))]


TAINT_TAG = "k8s.io/cluster-autoscaler/node-template/taint/nvidia.com/gpu"
SELF_MANAGED: dict[str, Any] = {
    "minSize": 0,
    "maxSize": 8,
    "tags": [
        {"key": "kubernetes.io/cluster/one", "value": "owned"},
        {"key": TAINT_TAG, "value": "true:NoSchedule"},
    ],
    **nested(f"{OVERRIDES}.instanceType", "p4d.24xlarge"),
}


def group(*changes: Any) -> list[Resource]:
    urn = f"urn:pulumi:dev::bank::{GROUP}::one"
    properties = mutated(SELF_MANAGED, *changes)
    return [Resource(type=GROUP, urn=urn, name="one", properties=properties)]


CASES = (
    Cases(
        rule="gpu-instance-type-is-listed",
        baseline=nodes("g5.2xlarge"),
        fails={
            **{f"{kind} {path}": one(kind, path, "p5.48xlarge") for kind, path in NAMED},
            **{
                f"{kind} by attributes": one(kind, path, {"acceleratorCount": {"min": 1}})
                for kind, path in ASKED
            },
            **{
                name: nodes(name)
                for name in (
                    *("g6e.xlarge", "gr6.4xlarge", "trn1.2xlarge", "inf2.xlarge", "dl1.24xlarge"),
                    *("p3dn.24xlarge", "g4ad.xlarge", "G6.XLARGE"),
                )
            },
            "the second": nodes("m6i.xlarge", "g6.xlarge"),
            "at most four": asked(acceleratorCount={"max": 4}),
            "by their maker": asked(acceleratorManufacturers=["nvidia"]),
            "by their kind": asked(acceleratorTypes=["gpu"]),
            "a whole family": asked(acceleratorCount={"min": 1}, allowedInstanceTypes=["g5.*"]),
            "all types": asked(acceleratorCount={"min": 1}, allowedInstanceTypes=["*"]),
            "a pool": requires(requirement(TYPE, "In", "g5.xlarge", "p5.48xlarge")),
            "a pool of before": requires(requirement(TYPE, "In", "g6.xlarge"), version="v1beta1"),
            "a pool by number": requires(requirement(COUNT, "Gt", "0")),
            "a pool by anything": requires(requirement(COUNT, "Exists")),
            "a pool by name": requires(
                requirement("karpenter.k8s.aws/instance-gpu-name", "In", "a10g")
            ),
            "a pool by category": requires(
                requirement("karpenter.k8s.aws/instance-category", "In", "m", "p")
            ),
            "a pool by family": requires(
                requirement("eks.amazonaws.com/instance-family", "In", "g5")
            ),
        },
        passes={
            **{
                name: nodes(name)
                for name in ("m6i.xlarge", "m7gd.large", "i4g.large", "u-6tb1.metal", "mac2.metal")
            },
            **{f"{kind} {path}": one(kind, path, "g5.xlarge") for kind, path in NAMED},
            "none": asked(acceleratorCount={"max": 0}),
            "as many as there are": asked(acceleratorCount={"min": 0}),
            "attributes without": asked(vcpuCount={"min": 2}),
            "attributes with a list": asked(
                acceleratorCount={"min": 1}, allowedInstanceTypes=["g5.xlarge"]
            ),
            "a pool": pool(),
            "a pool without": requires(requirement(COUNT, "DoesNotExist")),
            "a pool by number, and a list": requires(
                requirement(COUNT, "Gt", "0"), requirement(TYPE, "In", "g5.xlarge")
            ),
            "a pool of another category": requires(
                requirement("karpenter.k8s.aws/instance-category", "In", "c", "m")
            ),
            "a pool of none of a category": requires(
                requirement("karpenter.k8s.aws/instance-category", "NotIn", "g", "p")
            ),
        },
        pending={
            "which": nodes("m6i.large", UNKNOWN),
            "a list": [resource(NODES, "one", {"instanceTypes": UNKNOWN})],
            "how many": asked(acceleratorCount={"min": UNKNOWN}),
            "attributes": [resource(TEMPLATE, "one", {"instanceRequirements": UNKNOWN})],
            "a pool": pool(((*SPEC, "requirements"), UNKNOWN)),
            "a value": requires(requirement(TYPE, "In", UNKNOWN)),
        },
    ),
    Cases(
        rule="gpu-pool-is-bounded-and-scales-to-zero",
        baseline=managed(),
        fails={
            "too many": managed((("scalingConfig", "maxSize"), 9)),
            "no bound": managed((("scalingConfig", "maxSize"), ABSENT)),
            "one waits": managed((("scalingConfig", "minSize"), 1)),
            "one is wanted": managed((("scalingConfig", "desiredSize"), 1)),
            "no taint": managed((("taints",), ABSENT)),
            "another taint": managed((("taints", 0, "key"), "team")),
            "a soft taint": managed((("taints", 0, "effect"), "PREFER_NO_SCHEDULE")),
            "by its image": managed(
                (("instanceTypes",), ABSENT),
                (("amiType",), "AL2023_x86_64_NVIDIA"),
                (("taints",), []),
            ),
            "too many in prod": managed((("scalingConfig", "maxSize"), 9), environment="prod"),
            "a group: too many": group((("maxSize",), 9)),
            "a group: one waits": group((("minSize",), 1)),
            "a group: one is wanted": group((("desiredCapacity",), 1)),
            "a group: no taint": group((("tags", 1), {"key": "a", "value": "b"})),
            "a pool: too many": limited(gpu="9"),
            "a pool: too many by cores": limited(cpu="80"),
            "a pool: no limits": pool((("spec", "limits"), ABSENT)),
            "a pool: memory alone": limited(memory="100Gi"),
            "a pool: no taint": pool(((*SPEC, "taints"), [])),
            "a pool: a taint that goes": pool(
                ((*SPEC, "taints"), ABSENT),
                ((*SPEC, "startupTaints"), [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]),
            ),
            "a pool: idle machines stay": pool(
                (("spec", "disruption", "consolidateAfter"), "Never")
            ),
            "a pool: a fixed number": pool((("spec", "replicas"), 2)),
        },
        passes={
            "no accelerators": [resource(NODES, "one", {"instanceTypes": ["m6i.xlarge"]})],
            "waiting in prod": managed((("scalingConfig", "minSize"), 1), environment="prod"),
            "a harder taint": managed((("taints", 0, "effect"), "NO_EXECUTE")),
            "a group": group(),
            "a group that is of no cluster": group((("tags",), [])),
            "a pool": pool(),
            "a pool: by cores": limited(cpu="64"),
            "a pool: by both": limited(cpu="1000", gpu="8"),
            "a pool: by machines": limited(nodes="8"),
            "a pool: nothing said of what is idle": pool((("spec", "disruption"), ABSENT)),
            "a pool: idle machines stay in prod": pool(
                (("spec", "disruption", "consolidateAfter"), "Never"), environment="prod"
            ),
            "a pool without accelerators": requires(requirement(TYPE, "In", "m6i.xlarge")),
        },
        pending={
            "of what": managed((("instanceTypes",), UNKNOWN)),
            "how many": managed((("scalingConfig", "maxSize"), UNKNOWN)),
            "taints": managed((("taints",), UNKNOWN)),
            "a taint": managed((("taints", 0, "effect"), UNKNOWN)),
            "a group's tags": group((("tags", 1, "value"), UNKNOWN)),
            "a pool's limits": limited(gpu=UNKNOWN),
            "what is idle": pool((("spec", "disruption", "consolidateAfter"), UNKNOWN)),
        },
    ),
)
