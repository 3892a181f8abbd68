"""Rules on what containers ask for and are told: GPUs as they are counted, and no secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from policies.common.places import found, shown
from policies.common.pods import Pod, describes_pods, kind_of, pods
from policies.common.quantities import amount
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.hardening.pods import Exempt, each_pod


class Gpus(Parameters):
    """How GPUs are asked for, and their nodes kept for who needs them."""

    gpuResources: tuple[str, ...] = ("nvidia.com/gpu",)  # noqa: N815
    gpuTaints: tuple[str, ...] = ("nvidia.com/gpu",)  # noqa: N815
    gpuLabels: tuple[str, ...] = (  # noqa: N815
        *("karpenter.sh/nodepool", "eks.amazonaws.com/nodegroup"),
        *("node.kubernetes.io/instance-type", "nvidia.com/gpu.product"),
    )


def gpus(resource: Resource, parameters: Gpus) -> Iterator[Finding]:
    """A pod without a GPU on a node with one makes it stand idle, at its whole price."""
    for pod in pods(resource):
        if pod.spec is UNKNOWN:
            yield pending(resource, pod.where)
            continue
        asks: list[Any] = []
        for where, container in pod.containers():
            for name in parameters.gpuResources:
                asked = _asked(container, name)
                asks += [asked[2]]
                yield from _counted(resource, f"{where}.resources", name, asked)
        if True in asks:
            yield from _placed(resource, pod, parameters)
        elif kind_of(resource) != ("apps", "DaemonSet"):
            # what runs on every node may run on these
            yield from _kept_free(resource, pod, parameters, UNKNOWN in asks)


def _asked(container: Any, name: str) -> tuple[Any, Any, Any]:
    """Request, limit, and whether it asks at all, or `UNKNOWN`."""
    resources = at(container, "resources")
    request, limit = at(resources, "requests", name), at(resources, "limits", name)
    said = [one for one in (request, limit) if one is not UNKNOWN and not is_missing(one)]
    asks = any(amount(one) != 0 for one in said)
    return request, limit, asks or (UNKNOWN if UNKNOWN in (request, limit) else False)


def _counted(
    resource: Resource, where: str, name: str, asked: tuple[Any, Any, Any]
) -> Iterator[Finding]:
    request, limit, asks = asked
    if UNKNOWN in (request, limit):
        yield pending(resource, f"{where}.limits.{name}")
    elif asks:
        # a limit alone is the request too; a request alone no API server takes
        request = limit if is_missing(request) else request
        least, most = amount(request), amount(limit)
        if least is None or least != most:
            shown_ = "not set" if is_missing(limit) else limit
            what = f"is {request}, its limit {shown_}: they must be equal"
            yield Finding(resource=resource, where=f"{where}.requests.{name}", what=what)
        elif least != int(least):
            what = f"is {limit}, which is no whole number"
            yield Finding(resource=resource, where=f"{where}.limits.{name}", what=what)


def _tolerated(pod: Pod, parameters: Gpus) -> Any:
    """Which toleration lets the pod on nodes with GPUs: its index, `None`, or `UNKNOWN`."""
    listed = at(pod.spec, "tolerations")
    answer: Any = UNKNOWN if listed is UNKNOWN else None
    for index, one in enumerate(listed if isinstance(listed, list) else ()):
        key, operator, effect = (at(one, part) for part in ("key", "operator", "effect"))
        named = key in parameters.gpuTaints or (is_missing(key) and operator == "Exists")
        if named and (is_missing(effect) or effect == "NoSchedule"):
            return index
        if UNKNOWN in (one, key, effect) or (is_missing(key) and operator is UNKNOWN):
            answer = UNKNOWN
    return answer


def _placed(resource: Resource, pod: Pod, parameters: Gpus) -> Iterator[Finding]:
    tolerated = _tolerated(pod, parameters)
    where = f"{pod.where}.tolerations"
    if tolerated is UNKNOWN:
        yield pending(resource, where)
    elif tolerated is None:
        what = f"tolerate none of: {', '.join(parameters.gpuTaints)}"
        yield Finding(resource=resource, where=where, what=what)
    bound = _bound(pod, parameters)
    where = f"{pod.where}.nodeSelector"
    if bound is UNKNOWN:
        yield pending(resource, where)
    elif not bound:
        what = f"and affinity name no nodes by: {', '.join(parameters.gpuLabels)}"
        yield Finding(resource=resource, where=where, what=what)


def _bound(pod: Pod, parameters: Gpus) -> Any:
    """Whether the pod names its nodes by one of the labels, or `UNKNOWN`."""
    selector = at(pod.spec, "nodeSelector")
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = at(pod.spec, *path, "nodeSelectorTerms")
    if isinstance(selector, Mapping) and selector.keys() & set(parameters.gpuLabels):
        return True
    named = [_named_by(term, parameters) for term in terms] if isinstance(terms, list) else []
    if named and all(one is True for one in named):
        return True
    return UNKNOWN if UNKNOWN in (selector, terms, *named) else False


def _named_by(term: Any, parameters: Gpus) -> Any:
    expressions = at(term, "matchExpressions")
    listed = expressions if isinstance(expressions, list) else ()
    asked = [(at(one, "key"), at(one, "operator")) for one in listed]
    if any(key in parameters.gpuLabels and how in ("In", "Exists") for key, how in asked):
        return True
    return UNKNOWN if expressions is UNKNOWN or any(UNKNOWN in one for one in asked) else False


def _kept_free(
    resource: Resource, pod: Pod, parameters: Gpus, undecided: bool
) -> Iterator[Finding]:
    tolerated = _tolerated(pod, parameters)
    if tolerated is None:
        return
    if tolerated is UNKNOWN or undecided:
        yield pending(resource, f"{pod.where}.tolerations")
    else:
        what = "lets a pod without a GPU on nodes that have some"
        yield Finding(resource=resource, where=f"{pod.where}.tolerations[{tolerated}]", what=what)


def _pattern(text: str) -> str:
    re.compile(text)
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Secrets(Exempt):
    """What a secret looks like."""

    secretNamePattern: Pattern = (  # noqa: N815
        r"(?i)(password|passwd|passphrase|secret|token|(api|private|secret|access|encryption)_?key)$"
    )
    secretValuePattern: Pattern = (  # noqa: N815
        r"(AKIA|ASIA)[A-Z0-9]{16}|-----BEGIN [A-Z ]*PRIVATE KEY"
    )


_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_FUNCTION = "aws:lambda/function:Function"
_REFERENCE = re.compile(r"\$(__\w+)?[({].*[)}]", re.DOTALL)
"""A value that something fills in: another variable, or a file."""
_SWITCH = re.compile(r"(?i)true|false|yes|no|on|off|none|\d{1,5}")
_IN_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@$({]*:[^\s/:@$({]+@")
_REDIS = "gcsFaultToleranceOptions.redisPassword.value"
_LITERALS: dict[tuple[str, str], str] = {
    ("ray.io", "RayCluster"): f"spec.{_REDIS}",
    ("ray.io", "RayJob"): f"spec.rayClusterSpec.{_REDIS}",
    ("ray.io", "RayService"): f"spec.rayClusterConfig.{_REDIS}",
    ("ray.io", "RayCronJob"): f"spec.jobTemplate.rayClusterSpec.{_REDIS}",
}
"""Where an object takes a secret as a text, beside the environment."""


def no_secret_value(resource: Resource, parameters: Secrets) -> Iterator[Finding]:
    """Who may read an object may read what stands in it, and so may its history."""
    if resource.type == _CONFIG_MAP:
        for name in ("data", "binaryData"):
            yield from _told(resource, name, resource.at(name), parameters)
    elif resource.type == _FUNCTION:
        values = resource.at("environment", "variables")
        yield from _told(resource, "environment.variables", values, parameters)
    else:
        yield from each_pod(resource, parameters, _variables)
        path = _LITERALS.get(kind_of(resource) or ("", ""))
        for place, value in found(resource.properties, path) if path else ():
            yield from _judged(resource, shown(place), "password", value, parameters)


def _told(resource: Resource, where: str, values: Any, parameters: Secrets) -> Iterator[Finding]:
    if values is UNKNOWN:
        yield pending(resource, where)
    for name, value in values.items() if isinstance(values, Mapping) else ():
        yield from _judged(resource, f"{where}.{name}", name, value, parameters)


def _variables(resource: Resource, pod: Pod, parameters: Secrets) -> Iterator[Finding]:
    for where, container in pod.containers():
        if container is UNKNOWN:
            yield pending(resource, where)
        variables = at(container, "env")
        if variables is UNKNOWN:
            yield pending(resource, f"{where}.env")
        for index, one in enumerate(variables if isinstance(variables, list) else ()):
            name, value = at(one, "name"), at(one, "value")
            place = f"{where}.env[{index}]"
            if name is UNKNOWN and not is_missing(value):
                yield pending(resource, f"{place}.name")
            else:
                place = f"{place} ({name})" if isinstance(name, str) else place
                yield from _judged(resource, place, str(name), value, parameters)
        for kind in ("command", "args"):
            words = at(container, kind)
            for index, word in enumerate(words if isinstance(words, list) else ()):
                if isinstance(word, str) and _is_secret(word, parameters):
                    what = "holds what looks like a secret"
                    yield Finding(resource=resource, where=f"{where}.{kind}[{index}]", what=what)


def _is_secret(value: str, parameters: Secrets) -> bool:
    return bool(re.search(parameters.secretValuePattern, value) or _IN_URL.search(value))


def _judged(
    resource: Resource, where: str, name: str, value: Any, parameters: Secrets
) -> Iterator[Finding]:
    """What is to be said of `value`, which nobody repeats."""
    named = re.search(parameters.secretNamePattern, name) is not None
    if value is UNKNOWN:
        yield pending(resource, where)
    elif isinstance(value, str) and value:
        filled = _REFERENCE.fullmatch(value) or _SWITCH.fullmatch(value)
        if named and not filled:
            what = "is a secret by its name, with its value beside it"
            yield Finding(resource=resource, where=where, what=what)
        elif _is_secret(value, parameters):
            yield Finding(resource=resource, where=where, what="holds what looks like a secret")


def _holds_values(resource: Resource) -> bool:
    return describes_pods(resource) or resource.type in (_CONFIG_MAP, _FUNCTION)


RULES = (
    Rule(
        name="gpu-request-equals-limit-and-is-tolerated",
        description="Who asks for a GPU is placed where one is, and nobody else is.",
        mend="set equal requests and limits, the toleration of the taint, and the nodes' label.",
        applies_to=describes_pods,
        parameters=Gpus,
        each=gpus,
    ),
    Rule(
        name="container-env-holds-no-secret-value",
        description="No secret stands in an environment, a ConfigMap or a command.",
        mend="refer to a Secret that is filled from Secrets Manager (valueFrom.secretKeyRef).",
        applies_to=_holds_values,
        parameters=Secrets,
        each=no_secret_value,
    ),
)
