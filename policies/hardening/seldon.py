"""Rules on models that Seldon serves: what answers, how much of it, and of which containers.

Fields as in Seldon Core's kind `machinelearning.seldon.io/v1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policies.common.pods import kind_of
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

_KIND = ("machinelearning.seldon.io", "SeldonDeployment")
_PREDICTORS = "spec.predictors"
_OF_THE_ENGINE = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
"""What Seldon's orchestrator does by itself, without a container."""


@dataclass(frozen=True, kw_only=True)
class _Predictor:
    where: str
    value: Any

    @property
    def shadow(self) -> Any:
        """Whether it answers nobody, or `UNKNOWN`."""
        shadow = at(self.value, "shadow")
        return UNKNOWN if shadow is UNKNOWN else shadow is True

    @property
    def traffic(self) -> Any:
        """Its share in percent; 0 where it does not say."""
        traffic = at(self.value, "traffic")
        return 0 if is_missing(traffic) else traffic


def _predictors(resource: Resource) -> list[_Predictor] | None:
    """Those of `resource`; `None` where they are not known."""
    listed = resource.at(*_PREDICTORS.split("."))
    if listed is UNKNOWN or (isinstance(listed, list) and UNKNOWN in listed):
        return None
    return [
        _Predictor(where=f"{_PREDICTORS}[{index}]", value=value)
        for index, value in enumerate(listed if isinstance(listed, list) else ())
    ]


def traffic_sums(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """What is left of a hundred goes nowhere, and what is above is not what was meant."""
    predictors = _predictors(resource)
    if predictors is None:
        yield pending(resource, _PREDICTORS)
        return
    names = [at(one.value, "name") for one in predictors]
    for one, name in zip(predictors, names, strict=True):
        if isinstance(name, str) and names.count(name) > 1:
            what = f"is {name}, as another's is"
            yield Finding(resource=resource, where=f"{one.where}.name", what=what)
        number = isinstance(one.traffic, int | float)
        if one.traffic is not UNKNOWN and not (number and 0 <= one.traffic <= 100):
            what = f"is {one.traffic}, which is no share of a hundred"
            yield Finding(resource=resource, where=f"{one.where}.traffic", what=what)
    if any(UNKNOWN in (one.shadow, one.traffic) for one in predictors):
        yield pending(resource, f"{_PREDICTORS}.traffic")
        return
    answering = [one for one in predictors if not one.shadow]
    total = sum(one.traffic for one in answering if isinstance(one.traffic, int | float))
    # one alone gets all where it says nothing
    if answering and total != 100 and not (len(answering) == 1 and total == 0):
        what = f"sums to {total} without shadows; it must be 100"
        yield Finding(resource=resource, where=f"{_PREDICTORS}.traffic", what=what)


class Shadows(Parameters):
    """How much a shadow may get."""

    maxShadowTraffic: int = 100  # noqa: N815


def one_shadow(resource: Resource, parameters: Shadows) -> Iterator[Finding]:
    """The mesh mirrors to one; and somebody must answer."""
    predictors = _predictors(resource)
    if predictors is None:
        yield pending(resource, _PREDICTORS)
        return
    shadows = [one for one in predictors if one.shadow is True]
    unknown = [one for one in predictors if one.shadow is UNKNOWN]
    for one in shadows[1:]:
        what = "is true, as another's is: one is mirrored to at most"
        yield Finding(resource=resource, where=f"{one.where}.shadow", what=what)
    if len(shadows) == len(predictors):
        yield Finding(resource=resource, where=_PREDICTORS, what="are all shadows: nobody answers")
    if unknown and (shadows or len(unknown) > 1 or len(predictors) == 1):
        yield pending(resource, f"{unknown[0].where}.shadow")
    for one in (*shadows, *unknown):
        if one.traffic is UNKNOWN:
            yield pending(resource, f"{one.where}.traffic")
        elif one.shadow is True and one.traffic > parameters.maxShadowTraffic:
            what = f"is {one.traffic}; allowed: {parameters.maxShadowTraffic} at most"
            yield Finding(resource=resource, where=f"{one.where}.traffic", what=what)


class Replicas(Parameters):
    """How many pods must answer."""

    minReplicas: int = 2  # noqa: N815
    """1 where an outage is nobody's."""


def two_replicas(resource: Resource, parameters: Replicas) -> Iterator[Finding]:
    """With one, each change of its node is an outage."""
    predictors = _predictors(resource)
    if predictors is None:
        yield pending(resource, _PREDICTORS)
        return
    for one in predictors:
        if one.shadow is True or (one.traffic == 0 and len(predictors) > 1):
            continue
        for where, number in _replicas(resource, one):
            if number is UNKNOWN:
                yield pending(resource, where)
            elif number < parameters.minReplicas:
                what = f"is {number}; allowed: {parameters.minReplicas} at least"
                if UNKNOWN in (one.shadow, one.traffic):
                    yield pending(resource, where, f"{what}; does it answer?")
                else:
                    yield Finding(resource=resource, where=where, what=what)


def _replicas(resource: Resource, predictor: _Predictor) -> Iterator[tuple[str, Any]]:
    """Of each pod of `predictor` how many there are at least: what says it most closely counts."""
    pods = at(predictor.value, "componentSpecs")
    if pods is UNKNOWN:
        yield f"{predictor.where}.componentSpecs", UNKNOWN
        return
    outer = (
        (f"{predictor.where}.replicas", at(predictor.value, "replicas")),
        ("spec.replicas", resource.at("spec", "replicas")),
    )
    if is_missing(pods):
        yield _first(outer, f"{predictor.where}.replicas")
    for index, pod in enumerate(pods if isinstance(pods, list) else ()):
        place = f"{predictor.where}.componentSpecs[{index}]"
        scaled = (("hpaSpec", "minReplicas", 1), ("kedaSpec", "minReplicaCount", 0))
        for kind, name, default in scaled:
            if not is_missing(at(pod, kind)):
                least = at(pod, kind, name)
                yield f"{place}.{kind}.{name}", default if is_missing(least) else least
                break
        else:
            where = f"{place}.replicas"
            yield _first(((where, at(pod, "replicas")), *outer), where)


def _first(said: tuple[tuple[str, Any], ...], otherwise: str) -> tuple[str, Any]:
    return next(((where, one) for where, one in said if not is_missing(one)), (otherwise, 1))


def declares_containers(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """What a prepackaged server runs, and with how much, the operator's settings say alone."""
    predictors = _predictors(resource)
    if predictors is None:
        yield pending(resource, _PREDICTORS)
    for one in predictors or ():
        pods = at(one.value, "componentSpecs")
        listed = pods if isinstance(pods, list) else []
        lists = [at(pod, "spec", "containers") for pod in listed]
        known = not any(part is UNKNOWN for part in (pods, *listed, *lists))
        containers = {
            at(container, "name"): (at(pod, "spec"), container)
            for pod, inner in zip(listed, lists, strict=True)
            for container in (inner if isinstance(inner, list) else ())
        }
        known = known and UNKNOWN not in containers
        for where, node in _nodes(at(one.value, "graph"), f"{one.where}.graph"):
            yield from _declared(resource, where, node, containers, known=known)


def _nodes(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    yield where, node
    children = at(node, "children")
    if children is UNKNOWN and node is not UNKNOWN:
        yield f"{where}.children", UNKNOWN
    for index, child in enumerate(children if isinstance(children, list) else ()):
        yield from _nodes(child, f"{where}.children[{index}]")


def _declared(
    resource: Resource, where: str, node: Any, containers: dict[Any, Any], *, known: bool
) -> Iterator[Finding]:
    name, kind, server = (at(node, part) for part in ("name", "type", "implementation"))
    if UNKNOWN in (node, name, kind, server):
        yield pending(resource, where)
        return
    if server in _OF_THE_ENGINE or (is_missing(server) and kind != "MODEL"):
        return
    if name not in containers:
        what = f"has no container '{name}' in componentSpecs"
        if known:
            yield Finding(resource=resource, where=where, what=what)
        else:
            yield pending(resource, where, what)
        return
    spec, container = containers[name]
    for part in ("image", "resources"):
        value = at(container, part)
        if value is UNKNOWN:
            yield pending(resource, where, f"has a container '{name}' whose {part} is not known")
        elif is_missing(value):
            what = f"has a container '{name}' without {part}: the operator chooses"
            yield Finding(resource=resource, where=where, what=what)
    accounts = (at(node, "serviceAccountName"), at(spec, "serviceAccountName"))
    if all(map(is_missing, accounts)):
        what = "runs as the default service account: no serviceAccountName"
        yield Finding(resource=resource, where=where, what=what)


def _is_seldon(resource: Resource) -> bool:
    return kind_of(resource) == _KIND


RULES = (
    Rule(
        name="seldon-predictor-has-two-replicas",
        description="Every model that answers has more than one pod.",
        mend="set replicas or hpaSpec.minReplicas to at least 2.",
        applies_to=_is_seldon,
        parameters=Replicas,
        each=two_replicas,
    ),
    Rule(
        name="seldon-traffic-sums-to-100",
        description="Every request to a model goes to one that answers.",
        mend="correct the shares of traffic.",
        applies_to=_is_seldon,
        each=traffic_sums,
    ),
    Rule(
        name="seldon-has-at-most-one-shadow",
        description="At most one model is a shadow, and not the only one.",
        mend="keep one predictor with shadow, beside one without.",
        applies_to=_is_seldon,
        parameters=Shadows,
        each=one_shadow,
    ),
    Rule(
        name="seldon-predictor-declares-containers",
        description="Every model says what serves it, with how much, and as whom.",
        mend="write the container with image, resources and serviceAccountName in componentSpecs.",
        applies_to=_is_seldon,
        each=declares_containers,
    ),
)
