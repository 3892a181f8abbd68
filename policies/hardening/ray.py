"""Rules on Ray: who asks it must know a token, nobody from outside can, and it ends.

Fields as in KubeRay's kinds (`ray.io/v1`) up to 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.pods import kind_of, pods
from policies.common.properties import EACH, dotted, is_one_of, places
from policies.common.quantities import amount
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending

_CLUSTERS: Mapping[tuple[str, str] | None, Path] = {
    ("ray.io", "RayCluster"): ("spec",),
    ("ray.io", "RayJob"): ("spec", "rayClusterSpec"),
    ("ray.io", "RayService"): ("spec", "rayClusterConfig"),
    ("ray.io", "RayCronJob"): ("spec", "jobTemplate", "rayClusterSpec"),
}
"""Kind → where it describes a cluster."""
_JOBS: Mapping[tuple[str, str] | None, Path] = {
    ("ray.io", "RayJob"): ("spec",),
    ("ray.io", "RayCronJob"): ("spec", "jobTemplate"),
}


def _cluster(resource: Resource) -> Path:
    return _CLUSTERS[kind_of(resource)]


def _makes_cluster(resource: Resource) -> bool:
    """A job may run on a cluster that somebody else made."""
    kind = kind_of(resource)
    if kind not in _CLUSTERS:
        return False
    borrowed = resource.at(*_JOBS[kind], "clusterSelector") if kind in _JOBS else None
    return is_missing(borrowed) or not is_missing(resource.at(*_cluster(resource)))


class Tokens(Parameters):
    """From which version on Ray knows tokens."""

    minRayVersion: str = "2.52.0"  # noqa: N815


def requires_token(resource: Resource, parameters: Tokens) -> Iterator[Finding]:
    """Whoever reaches Ray runs code in it, and without a token it asks nobody who he is."""
    where = _cluster(resource)
    yield from is_one_of(resource, (*where, "authOptions", "mode"), ("token",))
    version, place = resource.at(*where, "rayVersion"), dotted((*where, "rayVersion"))
    if version is UNKNOWN:
        yield pending(resource, place)
    elif _numbers(version) < _numbers(parameters.minRayVersion):
        said = "is not set" if is_missing(version) else f"is {version}"
        what = f"{said}; allowed: {parameters.minRayVersion} and later"
        yield Finding(resource=resource, where=place, what=what)
    for pod in pods(resource):
        for path, container in pod.containers():
            variables = at(container, "env")
            for index, one in enumerate(variables if isinstance(variables, list) else ()):
                if at(one, "name") == "RAY_AUTH_MODE" and at(one, "value") != "token":
                    what = "says RAY_AUTH_MODE, which is not token"
                    yield Finding(resource=resource, where=f"{path}.env[{index}]", what=what)


def _numbers(version: Any) -> list[int]:
    """The parts of a version; nothing of what is none, such as a nightly build."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", str(version))
    return [int(part or 0) for part in match.groups()] if match else []


def head_is_not_exposed(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """Ray's ports are for its own pods and for who comes through the gateway."""
    head = (*_cluster(resource), "headGroupSpec")
    ingress = resource.at(*head, "enableIngress")
    if ingress is UNKNOWN:
        yield pending(resource, dotted((*head, "enableIngress")))
    elif ingress is True:
        what = "is true: whoever reaches the ingress reaches Ray"
        yield Finding(resource=resource, where=dotted((*head, "enableIngress")), what=what)
    services: list[Path] = [(*head, "headService", "spec")]
    if kind_of(resource) == ("ray.io", "RayService"):
        services.append(("spec", "serveService", "spec"))
    kinds: list[Path] = [(*head, "serviceType"), *((*one, "type") for one in services)]
    for where in kinds:
        yield from is_one_of(resource, where, ("ClusterIP",), or_missing=True)
    for one in services:
        addresses = resource.at(*one, "externalIPs")
        if addresses is not UNKNOWN and not is_missing(addresses):
            what = "bring traffic from outside to Ray"
            yield Finding(resource=resource, where=dotted((*one, "externalIPs")), what=what)


class Ends(Parameters):
    """How long a job and what it leaves may stay."""

    maxTtlSeconds: int = 3600  # noqa: N815
    maxRunSeconds: int = 86400  # noqa: N815
    maxBackoff: int = 3  # noqa: N815


def job_ends(resource: Resource, parameters: Ends) -> Iterator[Finding]:
    """A cluster that nobody needs any more costs what one in use does."""
    where = _JOBS[kind_of(resource)]
    for name, most, required in (
        ("activeDeadlineSeconds", parameters.maxRunSeconds, True),
        ("backoffLimit", parameters.maxBackoff, False),
    ):
        yield from _at_most(resource, (*where, name), most, required=required)
    if not is_missing(resource.at(*where, "clusterSelector")):
        return
    strategy = (*where, "deletionStrategy")
    if not is_missing(resource.at(*strategy)):
        yield from _deletes(resource, strategy, parameters)
        return
    removed, place = resource.at(*where, "shutdownAfterJobFinishes"), "shutdownAfterJobFinishes"
    if removed is UNKNOWN:
        yield pending(resource, dotted((*where, place)))
    elif removed is not True:
        what = "is not true: the job's cluster stays"
        yield Finding(resource=resource, where=dotted((*where, place)), what=what)
    yield from _at_most(resource, (*where, "ttlSecondsAfterFinished"), parameters.maxTtlSeconds)


def _at_most(
    resource: Resource, where: Path, most: int, *, required: bool = False
) -> Iterator[Finding]:
    value = resource.at(*where)
    if value is UNKNOWN:
        yield pending(resource, dotted(where))
    elif is_missing(value):
        if required:
            what = f"is not set; allowed: {most} at most"
            yield Finding(resource=resource, where=dotted(where), what=what)
    elif not isinstance(value, int | float) or value > most:
        what = f"is {value}; allowed: {most} at most"
        yield Finding(resource=resource, where=dotted(where), what=what)


_DELETING = ("DeleteCluster", "DeleteSelf")
_OUTCOMES = {"SUCCEEDED": "onSuccess", "FAILED": "onFailure"}


def _deletes(resource: Resource, where: Path, parameters: Ends) -> Iterator[Finding]:
    """However a job ends, something must delete its cluster."""
    strategy, rules = resource.at(*where), resource.at(*where, "deletionRules")
    listed = rules if isinstance(rules, list) else []
    if strategy is UNKNOWN or UNKNOWN in (rules, *listed):
        yield pending(resource, dotted(where))
        return
    for outcome, old in _OUTCOMES.items():
        path = (*where, old, "policy")
        if is_missing(rules):
            yield from is_one_of(resource, path, _DELETING)
            continue
        deleting = [
            index
            for index, rule in enumerate(listed)
            if at(rule, "policy") in _DELETING and at(rule, "condition", "jobStatus") == outcome
        ]
        if not deleting and any(UNKNOWN in _said(rule) for rule in listed):
            yield pending(resource, dotted((*where, "deletionRules")))
        elif not deleting:
            what = f"delete no cluster of a job that is {outcome}"
            yield Finding(resource=resource, where=dotted((*where, "deletionRules")), what=what)
        for index in deleting[:1]:
            seconds = (*where, "deletionRules", index, "condition", "ttlSeconds")
            yield from _at_most(resource, seconds, parameters.maxTtlSeconds)


def _said(rule: Any) -> tuple[Any, Any]:
    return at(rule, "policy"), at(rule, "condition", "jobStatus")


class Growth(Parameters):
    """How far a cluster may grow, and how long it may stand idle."""

    maxWorkers: int = 20  # noqa: N815
    """Of one group."""
    maxIdleSeconds: int = 600  # noqa: N815
    maxStandingGpuWorkers: int = 0  # noqa: N815
    """With GPUs that a group of a cluster that stands may keep without work."""
    gpuResources: tuple[str, ...] = ("nvidia.com/gpu",)  # noqa: N815


def autoscaler_has_limits(resource: Resource, parameters: Growth) -> Iterator[Finding]:
    """Without a bound a mistake in a loop asks for all nodes that the quota gives."""
    cluster = _cluster(resource)
    grows = resource.at(*cluster, "enableInTreeAutoscaling")
    for where in places(resource.properties, (*cluster, "workerGroupSpecs", EACH)):
        if resource.at(*where) is UNKNOWN:
            yield pending(resource, dotted(where))
            continue
        yield from _bounded(resource, where, parameters)
        if grows is not False:
            idle = (*where, "idleTimeoutSeconds")
            yield from _at_most(resource, idle, parameters.maxIdleSeconds)
        if kind_of(resource) not in _JOBS:
            yield from _standing(resource, where, parameters)
    if grows is not False:
        idle = (*cluster, "autoscalerOptions", "idleTimeoutSeconds")
        yield from _at_most(resource, idle, parameters.maxIdleSeconds)


def _bounded(resource: Resource, where: Path, parameters: Growth) -> Iterator[Finding]:
    most, least, hosts = (
        resource.at(*where, name) for name in ("maxReplicas", "minReplicas", "numOfHosts")
    )
    least, hosts = 0 if is_missing(least) else least, 1 if is_missing(hosts) else hosts
    place = dotted((*where, "maxReplicas"))
    if is_missing(most):
        what = f"is not set; allowed: {parameters.maxWorkers} workers at most"
        yield Finding(resource=resource, where=place, what=what)
    elif UNKNOWN in (most, least, hosts):
        yield pending(resource, place)
    elif most * hosts > parameters.maxWorkers:
        of = f" of {hosts} hosts each" if hosts != 1 else ""
        what = f"is {most}{of}; allowed: {parameters.maxWorkers} workers at most"
        yield Finding(resource=resource, where=place, what=what)
    elif most < least:
        yield Finding(resource=resource, where=place, what=f"is {most}, below minReplicas {least}")
    yield from _at_most(resource, (*where, "replicas"), parameters.maxWorkers)


def _standing(resource: Resource, where: Path, parameters: Growth) -> Iterator[Finding]:
    least = (*where, "minReplicas")
    if is_missing(resource.at(*least)):
        return
    for name in parameters.gpuResources:
        spec = resource.at(*where, "template", "spec", "containers")
        asked = [
            at(container, "resources", kind, name)
            for container in (spec if isinstance(spec, list) else [spec])
            for kind in ("requests", "limits")
        ]
        if any(one is not UNKNOWN and amount(one) not in (None, 0) for one in asked):
            yield from _at_most(resource, least, parameters.maxStandingGpuWorkers)
        elif UNKNOWN in asked and resource.at(*least) != 0:
            yield pending(resource, dotted(least))


RULES = (
    Rule(
        name="ray-cluster-requires-token",
        description="Every Ray cluster answers only who knows its token.",
        mend="set authOptions.mode to token and rayVersion to 2.52.0 or later.",
        applies_to=_makes_cluster,
        parameters=Tokens,
        each=requires_token,
    ),
    Rule(
        name="ray-head-is-not-exposed",
        description="No Ray cluster can be reached from outside of its cluster but by the gateway.",
        mend="remove enableIngress and service types; reach the dashboard through the gateway.",
        applies_to=_makes_cluster,
        each=head_is_not_exposed,
    ),
    Rule(
        name="ray-job-ends-and-is-removed",
        description="Every Ray job ends in time, and its cluster goes with it.",
        mend="set shutdownAfterJobFinishes, ttlSecondsAfterFinished and activeDeadlineSeconds.",
        applies_to=lambda resource: kind_of(resource) in _JOBS,
        parameters=Ends,
        each=job_ends,
    ),
    Rule(
        name="ray-autoscaler-has-limits",
        description="Every group of Ray's workers has a bound, and idle ones go.",
        mend="set maxReplicas and idleTimeoutSeconds.",
        applies_to=_makes_cluster,
        parameters=Growth,
        each=autoscaler_has_limits,
    ),
)
