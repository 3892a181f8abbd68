"""Rules on what keeps a service there while its nodes are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from policies.common.namespaces import Inside, selects
from policies.common.pods import namespace_of, pods
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack

_BUDGETS = frozenset({"kubernetes:policy/v1:PodDisruptionBudget"})
_WORKLOADS = frozenset({"kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet"})
_SELDON = frozenset(
    f"kubernetes:machinelearning.seldon.io/{version}:SeldonDeployment"
    for version in ("v1", "v1alpha2", "v1alpha3")
)
_TIER, _OF_SELDON = "tier", "seldon-deployment-id"


class Serving(Parameters):
    """Where services are that must stay."""

    servingNamespaces: tuple[str, ...] = ("seldon", "mlflow")  # noqa: N815
    """There, what has more than one pod; anywhere, what is labelled ``tier: serving``."""


def has_budget(stack: Stack, parameters: Serving) -> Iterator[Finding]:
    """Without a budget all pods of a service may be moved at once."""
    budgets = Inside(stack, _BUDGETS)
    for workload in stack.of(_WORKLOADS):
        if workload.hidden:
            yield pending(workload, "spec")
            continue
        serves = _serves(workload, parameters)
        for pod in pods(workload) if serves else ():
            own, more = budgets.beside(workload)
            number = workload.at("spec", "replicas")
            answers = [_keeps(one, pod.labels, number) for one in own]
            undecided = serves is UNKNOWN or more
            yield from _told(workload, "its pods", answers, undecided=undecided)
    for deployment in stack.of(_SELDON):
        if deployment.hidden:
            yield pending(deployment, "spec")
        else:
            yield from _models(deployment, *budgets.beside(deployment))


def _told(
    resource: Resource, where: str, answers: Sequence[Any], *, undecided: bool
) -> Iterator[Finding]:
    if True in answers:
        return
    if undecided or UNKNOWN in answers:
        yield pending(resource, where, "may have a budget for disruptions that is not known yet")
    else:
        what = "have no PodDisruptionBudget that lets one go and keeps one"
        yield Finding(resource=resource, where=where, what=what)


def _serves(workload: Resource, parameters: Serving) -> Any:
    """Whether `workload` must stay, or `UNKNOWN`."""
    tiers = [at(workload.properties, "metadata", "labels", _TIER)]
    tiers += [at(pod.labels, _TIER) for pod in pods(workload)]
    if "serving" in tiers:
        return True
    number, namespace = workload.at("spec", "replicas"), namespace_of(workload)
    several = isinstance(number, int | float) and number > 1
    if several and namespace in parameters.servingNamespaces:
        return True
    waits = (namespace is UNKNOWN and (several or number is UNKNOWN)) or (
        number is UNKNOWN and namespace in parameters.servingNamespaces
    )
    return UNKNOWN if UNKNOWN in tiers or waits else False


def _keeps(budget: Resource, labels: Any, number: Any) -> Any:
    """Whether `budget` is for pods with `labels`, lets one go and keeps one, or `UNKNOWN`."""
    selector = budget.at("spec", "selector")
    # an empty selector selects all pods, none at all selects none
    selected = False if selector in (ABSENT, None) else selects(selector, labels)
    if selected is False:
        return False
    sound = _is_sound(budget.at("spec"), number)
    return False if sound is False else UNKNOWN if UNKNOWN in (selected, sound) else True


def _is_sound(spec: Any, number: Any) -> Any:
    """Whether a budget neither stops every change of a node nor allows an outage."""
    least, most = at(spec, "minAvailable"), at(spec, "maxUnavailable")
    if UNKNOWN in (least, most):
        return UNKNOWN
    if is_missing(least) and is_missing(most):
        return False
    if least in (0, "0%", "100%") or most in (0, "0%", "100%"):
        return False
    if isinstance(number, int) and number > 1:
        return not (
            (isinstance(least, int) and least >= number)
            or (isinstance(most, int) and most >= number)
        )
    return True


def _models(deployment: Resource, own: Sequence[Resource], more: bool) -> Iterator[Finding]:
    name = deployment.at("metadata", "name")
    labels = {_OF_SELDON: deployment.name if is_missing(name) else name}
    answers = [_keeps(one, labels, None) for one in own]
    if True in answers:
        return
    predictors = deployment.at("spec", "predictors")
    if predictors is UNKNOWN:
        yield pending(deployment, "spec.predictors")
    for index, predictor in enumerate(predictors if isinstance(predictors, list) else ()):
        parts = at(predictor, "componentSpecs")
        where = f"spec.predictors[{index}].componentSpecs"
        if parts is UNKNOWN:
            yield pending(deployment, where)
        for number, part in enumerate(parts if isinstance(parts, list) and parts else [None]):
            budget = at(part, "pdbSpec")
            sound = UNKNOWN if budget is UNKNOWN else _is_sound(budget, at(part, "replicas"))
            place = f"{where}[{number}].pdbSpec"
            yield from _told(deployment, place, [sound, *answers], undecided=more)


def _is_about(resource: Resource) -> bool:
    if resource.type in _SELDON:
        return True
    if resource.type not in _WORKLOADS:
        return False
    return resource.hidden or _serves(resource, Serving()) is not False


RULES = (
    Rule(
        name="serving-has-disruption-budget",
        description="Of every service some pods stay while its nodes are changed.",
        mend="add a PodDisruptionBudget (maxUnavailable: 1) that selects its pods, or pdbSpec.",
        applies_to=_is_about,
        parameters=Serving,
        together=has_budget,
    ),
)
