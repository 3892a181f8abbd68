"""Rules on machines with accelerators: which there are, how many, and that idle ones go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from policies.common.places import Place, found, shown
from policies.common.pods import kind_of
from policies.common.quantities import amount
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.tags import GROUP, tag

_NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
_KARPENTER = ("karpenter.sh", "NodePool")
_OVERRIDES = "mixedInstancesPolicy.launchTemplate.overrides"

_TYPES: Mapping[str, tuple[str, ...]] = {
    GROUP: (f"{_OVERRIDES}.instanceType",),
    "aws:ec2/fleet:Fleet": ("launchTemplateConfigs.overrides.instanceType",),
    "aws:ec2/instance:Instance": ("instanceType",),
    "aws:ec2/launchConfiguration:LaunchConfiguration": ("instanceType",),
    "aws:ec2/launchTemplate:LaunchTemplate": ("instanceType",),
    "aws:ec2/spotFleetRequest:SpotFleetRequest": (
        "launchSpecifications.instanceType",
        "launchTemplateConfigs.overrides.instanceType",
    ),
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest": ("instanceType",),
    _NODE_GROUP: ("instanceTypes",),
}
"""Where a type names the types of its machines."""
_REQUIREMENTS: Mapping[str, str] = {
    GROUP: f"{_OVERRIDES}.instanceRequirements",
    "aws:ec2/fleet:Fleet": "launchTemplateConfigs.overrides.instanceRequirements",
    "aws:ec2/launchTemplate:LaunchTemplate": "instanceRequirements",
    "aws:ec2/spotFleetRequest:SpotFleetRequest": (
        "launchTemplateConfigs.overrides.instanceRequirements"
    ),
}
"""Where a type says what its machines must have instead."""
_ASKED = (
    *("acceleratorTypes", "acceleratorNames", "acceleratorManufacturers"),
    "acceleratorTotalMemoryMib",
)
_FAMILY = re.compile(r"(?:u-)?([a-z]+)\d")
_SIZE = re.compile(r"(\d*)xlarge")

_TYPE = "node.kubernetes.io/instance-type"
_BY_ACCELERATOR = re.compile(r".*/instance-(gpu|accelerator)-\w+")
_BY_CATEGORY = ("instance-category", "instance-family")
_LIMITS = ("nvidia.com/gpu", "amd.com/gpu", "aws.amazon.com/neuron", "habana.ai/gaudi", "nodes")
"""Of each of which a node has one at least."""
_ACCELERATED_IMAGES = ("GPU", "NVIDIA", "NEURON")
_TAINT_TAG = "k8s.io/cluster-autoscaler/node-template/taint/"
_REPELS = ("NO_SCHEDULE", "NO_EXECUTE", "NoSchedule", "NoExecute")


class Families(Parameters):
    """Which families of machines have accelerators."""

    acceleratorFamilies: tuple[str, ...] = ("g", "gr", "p", "trn", "inf", "dl")  # noqa: N815
    """What comes before the number of the generation."""


class Listed(Families):
    """Which machines with accelerators there may be."""

    allowedGpuTypes: tuple[str, ...] = (  # noqa: N815
        *("g5.xlarge", "g5.2xlarge", "g5.4xlarge", "g5.12xlarge", "p4d.24xlarge"),
    )


@dataclass(frozen=True)
class _Machines:
    """The machines of a resource with accelerators, as far as it names them."""

    listed: list[tuple[Place, str]]
    unlisted: list[Place]
    """Where it asks for accelerators, and names no type."""
    unknown: list[Place]


def _machines(resource: Resource, parameters: Families) -> _Machines:
    result = _Machines([], [], [])
    if kind_of(resource) == _KARPENTER:
        _of_pool(resource, parameters, result)
        return result
    for path in _TYPES[resource.type]:
        for place, name in found(resource.properties, path):
            _add(result, place, name, parameters)
    path = _REQUIREMENTS.get(resource.type, "")
    for place, asked in found(resource.properties, path) if path else ():
        _of_requirements(result, place, asked, parameters)
    return result


def _add(result: _Machines, place: Place, name: Any, parameters: Families) -> None:
    if name is UNKNOWN:
        result.unknown.append(place)
    elif _family(name) in parameters.acceleratorFamilies:
        result.listed.append((place, str(name)))


def _family(name: Any) -> str:
    match = _FAMILY.match(str(name).lower())
    return match[1] if match else ""


def _of_requirements(result: _Machines, place: Place, asked: Any, parameters: Families) -> None:
    """By its attributes a machine is taken that nobody named, but for those that it lists."""
    if asked is UNKNOWN:
        result.unknown.append(place)
        return
    allowed = at(asked, "allowedInstanceTypes")
    for index, name in enumerate(allowed if isinstance(allowed, list) else ()):
        _add(result, (*place, "allowedInstanceTypes", index), name, parameters)
    if allowed is UNKNOWN:
        result.unknown.append((*place, "allowedInstanceTypes"))
        return
    named = allowed if isinstance(allowed, list) else []
    count = at(asked, "acceleratorCount")
    least, most = at(count, "min"), at(count, "max")
    if named and not any("*" in str(name).partition(".")[0] for name in named):
        return
    if UNKNOWN in (count, least, most):
        result.unknown.append((*place, "acceleratorCount"))
    elif most != 0 and any(
        not is_missing(one) and one != 0 for one in (least, most, *(at(asked, a) for a in _ASKED))
    ):
        result.unlisted.append(place)


def _of_pool(pool: Resource, parameters: Families, result: _Machines) -> None:
    """A pool takes all that its requirements let through."""
    path: Place = ("spec", "template", "spec", "requirements")
    requirements = pool.at(*path)
    if requirements is UNKNOWN:
        result.unknown.append(path)
        return
    names, accelerated = False, []
    for index, one in enumerate(requirements if isinstance(requirements, list) else ()):
        key, operator, values = (at(one, name) for name in ("key", "operator", "values"))
        place = (*path, index)
        if UNKNOWN in (one, key, operator, values):
            result.unknown.append(place)
        elif key == _TYPE and operator == "In":
            names = True
            for number, name in enumerate(values if isinstance(values, list) else ()):
                _add(result, (*place, "values", number), name, parameters)
        elif _asks(str(key), operator, values, parameters):
            accelerated.append(place)
    if not names:
        result.unlisted.extend(accelerated)


def _asks(key: str, operator: Any, values: Any, parameters: Families) -> bool:
    """Whether a requirement asks for accelerators."""
    if _BY_ACCELERATOR.fullmatch(key):
        return operator in ("Exists", "Gt", "Gte") or (operator == "In" and values != ["0"])
    if key.rpartition("/")[2] in _BY_CATEGORY and operator == "In" and isinstance(values, list):
        families = {str(one).rstrip("-") for one in values}
        return any(
            one in parameters.acceleratorFamilies or _family(one) in parameters.acceleratorFamilies
            for one in families
        )
    return False


def gpu_instance_type_is_listed(resource: Resource, parameters: Listed) -> Iterator[Finding]:
    """They are dear, scarce, and not in every region."""
    machines = _machines(resource, parameters)
    for place, name in machines.listed:
        if name not in parameters.allowedGpuTypes:
            what = f"is {name}; allowed: {', '.join(parameters.allowedGpuTypes)}"
            yield Finding(resource=resource, where=shown(place), what=what)
    for place in machines.unlisted:
        what = "asks for accelerators and lists no types of machines"
        yield Finding(resource=resource, where=shown(place), what=what)
    for place in machines.unknown:
        yield pending(resource, shown(place))


class Pools(Families):
    """How many machines with accelerators a pool has, and who may use them."""

    maxGpuNodes: int = Field(8, ge=0)  # noqa: N815
    gpuTaints: tuple[str, ...] = ("nvidia.com/gpu",)  # noqa: N815
    """Keys of taints that keep away what needs no accelerator."""
    scaleToZeroExempt: tuple[str, ...] = ("prod",)  # noqa: N815
    """Names of stacks where pools may have machines that wait."""


def gpu_pool_is_bounded(pool: Resource, parameters: Pools) -> Iterator[Finding]:
    """What waits costs as much as what works."""
    machines = _machines(pool, parameters)
    image = pool.at("amiType")
    by_image = any(one in str(image).upper() for one in _ACCELERATED_IMAGES)
    if machines.listed or machines.unlisted or by_image:
        judge = _judge_karpenter if kind_of(pool) == _KARPENTER else _judge_group
        yield from judge(pool, machines, parameters)
    else:
        for place in machines.unknown:
            yield pending(pool, shown(place))


def _judge_group(pool: Resource, _: _Machines, parameters: Pools) -> Iterator[Finding]:
    inside = ("scalingConfig",) if pool.type == _NODE_GROUP else ()
    desired = "desiredSize" if inside else "desiredCapacity"
    yield from _at_most(pool, (*inside, "maxSize"), parameters.maxGpuNodes, needed=True)
    if pool.stack not in parameters.scaleToZeroExempt:
        yield from _at_most(pool, (*inside, "minSize"), 0, needed=True)
        yield from _at_most(pool, (*inside, desired), 0, needed=False)
    if inside:
        yield from _tainted(pool, ("taints",), parameters)
    elif _is_of_kubernetes(pool):
        named = [tag(pool, f"{_TAINT_TAG}{key}") for key in parameters.gpuTaints]
        if not any(str(one).endswith(_REPELS) for one in named):
            if UNKNOWN in named:
                yield pending(pool, "tags")
            else:
                what = f"have none of {', '.join(_TAINT_TAG + key for key in parameters.gpuTaints)}"
                yield Finding(resource=pool, where="tags", what=what)


def _is_of_kubernetes(group: Resource) -> bool:
    tags = group.at("tags")
    return any(
        str(at(one, "key")).startswith(("kubernetes.io/cluster/", "k8s.io/"))
        for one in (tags if isinstance(tags, list) else ())
    )


def _at_most(
    pool: Resource, path: tuple[str, ...], most: int, *, needed: bool
) -> Iterator[Finding]:
    value, where = pool.at(*path), ".".join(path)
    if value is UNKNOWN:
        yield pending(pool, where)
    elif is_missing(value):
        if needed:
            yield Finding(resource=pool, where=where, what=f"is not set; allowed: {most} at most")
    elif value > most:
        yield Finding(resource=pool, where=where, what=f"is {value}; allowed: {most} at most")


def _tainted(pool: Resource, path: tuple[str, ...], parameters: Pools) -> Iterator[Finding]:
    where, taints = ".".join(path), pool.at(*path)
    listed = taints if isinstance(taints, list) else []
    for one in listed:
        if at(one, "key") in parameters.gpuTaints and at(one, "effect") in _REPELS:
            return
    if taints is UNKNOWN or any(
        UNKNOWN in (one, at(one, "key"), at(one, "effect")) for one in listed
    ):
        yield pending(pool, where)
    else:
        what = f"have none of {', '.join(parameters.gpuTaints)} with NoSchedule"
        yield Finding(resource=pool, where=where, what=what)


def _judge_karpenter(pool: Resource, machines: _Machines, parameters: Pools) -> Iterator[Finding]:
    limits = pool.at("spec", "limits")
    bounds = [at(limits, name) for name in (*_LIMITS, "cpu")]
    if limits is UNKNOWN or UNKNOWN in bounds:
        yield pending(pool, "spec.limits")
    else:
        nodes = _nodes(limits, machines)
        if nodes is None:
            what = "say nothing of accelerators, nor of the cpu of a listed type"
            yield Finding(resource=pool, where="spec.limits", what=what)
        elif nodes > parameters.maxGpuNodes:
            what = f"leave room for {nodes} machines; allowed: {parameters.maxGpuNodes} at most"
            yield Finding(resource=pool, where="spec.limits", what=what)
    yield from _tainted(pool, ("spec", "template", "spec", "taints"), parameters)
    if pool.stack in parameters.scaleToZeroExempt:
        return
    after = pool.at("spec", "disruption", "consolidateAfter")
    if after is UNKNOWN:
        yield pending(pool, "spec.disruption.consolidateAfter")
    elif after == "Never":
        where = "spec.disruption.consolidateAfter"
        yield Finding(resource=pool, where=where, what="is Never: idle machines stay")
    yield from _at_most(pool, ("spec", "replicas"), 0, needed=False)


def _nodes(limits: Any, machines: _Machines) -> int | None:
    """How many machines there can be at most; `None` where the limits do not say."""
    bounds = [amount(at(limits, name)) for name in _LIMITS]
    cpu = amount(at(limits, "cpu"))
    sizes = [_cores(name) for _, name in machines.listed]
    named = not machines.unlisted and not machines.unknown and ABSENT not in sizes
    if cpu is not None and sizes and named:
        bounds.append(cpu // min(sizes))
    told = [one for one in bounds if one is not None]
    return int(min(told)) if told else None


def _cores(name: str) -> Any:
    """The cores of a machine by the size in its type, as that of each family here is."""
    size = name.partition(".")[2]
    if size == "large":
        return 2
    match = _SIZE.fullmatch(size)
    return 4 * int(match[1] or 1) if match else ABSENT


RULES = (
    Rule(
        name="gpu-instance-type-is-listed",
        description="Every machine with an accelerator is of a type that is planned for.",
        mend="choose a listed type that the region offers.",
        applies_to=lambda resource: resource.type in _TYPES or kind_of(resource) == _KARPENTER,
        parameters=Listed,
        each=gpu_instance_type_is_listed,
    ),
    Rule(
        name="gpu-pool-is-bounded-and-scales-to-zero",
        description="Pools of machines with accelerators are bounded, reserved, and go when idle.",
        mend="set a maximum, the taint and a minimum of 0.",
        applies_to=lambda resource: (
            resource.type in (GROUP, _NODE_GROUP) or kind_of(resource) == _KARPENTER
        ),
        parameters=Pools,
        each=gpu_pool_is_bounded,
    ),
)
