"""Rules on namespaces: what their pods may be, whom they may talk to, how much they may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import Field

from policies.common.namespaces import NAMESPACE, Inside, name_of, selects
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack
from policies.hardening.pods import Exempt

_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_QUOTA = "kubernetes:core/v1:ResourceQuota"
_LIMITS = "kubernetes:core/v1:LimitRange"

_POD_SECURITY = "pod-security.kubernetes.io"
_DIRECTIONS = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}

Standard = Literal["privileged", "baseline", "restricted"]
STANDARDS: tuple[Standard, ...] = get_args(Standard)
"""The loosest first."""


class Standards(Parameters):
    """Which namespaces need not be restricted."""

    exemptNamespaces: Mapping[str, Standard] = Field(default_factory=dict)  # noqa: N815
    """Name → the level that it must have at least."""


def restricted(namespace: Resource, parameters: Standards) -> Iterator[Finding]:
    """Pods that no rule has seen, made by hand or by an operator, are held by the label alone."""
    name, exempt = name_of(namespace), parameters.exemptNamespaces
    for finding in _labelled(namespace, exempt.get(name, "restricted")):
        if name is UNKNOWN and exempt:
            yield pending(namespace, finding.where, f"{finding.what}; which namespace is it?")
        else:
            yield finding


def _labelled(namespace: Resource, least: Standard) -> Iterator[Finding]:
    allowed = STANDARDS[STANDARDS.index(least) :]
    if allowed == STANDARDS:
        return
    for label, values in (("enforce", allowed), ("enforce-version", ())):
        value = namespace.at("metadata", "labels", f"{_POD_SECURITY}/{label}")
        where = f"metadata.labels.{_POD_SECURITY}/{label}"
        if value is UNKNOWN:
            yield pending(namespace, where)
        elif is_missing(value):
            yield Finding(resource=namespace, where=where, what="is not set")
        elif values and value not in values:
            what = f"is {value}; allowed: {', '.join(values)}"
            yield Finding(resource=namespace, where=where, what=what)


def default_deny(stack: Stack, parameters: Exempt) -> Iterator[Finding]:
    """Where no policy selects a pod, everybody may talk to it, and it to everybody."""
    policies = Inside(stack, {_POLICY})
    for namespace in stack.of({NAMESPACE}):
        if name_of(namespace) in parameters.exemptNamespaces:
            continue
        own = policies.of(namespace)
        denied = [
            (one, direction, _denies(one, direction)) for one in own for direction in _DIRECTIONS
        ]
        for direction in _DIRECTIONS:
            answers = [answer for _, about, answer in denied if about == direction]
            if True in answers:
                continue
            what = f"deny {direction.lower()} to all of its pods nowhere"
            lack = Finding(resource=namespace, where="its network policies", what=what)
            yield _lacks(lack, answers, policies, bool(parameters.exemptNamespaces))
        for policy in own:
            yield from _undone(policy)


def _lacks(finding: Finding, answers: Sequence[Any], inside: Inside, exempt: bool) -> Finding:
    """`finding`, that something lacks, unless there may be more than is known."""
    namespace = finding.resource
    exempt = exempt and name_of(namespace) is UNKNOWN
    if UNKNOWN in answers or inside.may_be_more(namespace) or exempt:
        return pending(namespace, finding.where)
    return finding


def _directions(policy: Resource) -> Any:
    """What a policy is about, or `UNKNOWN`; what it does not say follows from its rules."""
    said = policy.at("spec", "policyTypes")
    if not is_missing(said):
        return UNKNOWN if isinstance(said, list) and UNKNOWN in said else said
    egress = policy.at("spec", "egress")
    return (
        UNKNOWN if egress is UNKNOWN else ["Ingress", *([] if is_missing(egress) else ["Egress"])]
    )


def _denies(policy: Resource, direction: str) -> Any:
    """Whether `policy` denies all in `direction`, to all pods, or `UNKNOWN`."""
    about = _directions(policy)
    rules = policy.at("spec", _DIRECTIONS[direction][0])
    everybody = _of_everybody(policy)
    if about is not UNKNOWN and direction not in about:
        return False
    if everybody is False or (rules is not UNKNOWN and not is_missing(rules)):
        return False
    return UNKNOWN if UNKNOWN in (about, rules, everybody) else True


def _of_everybody(policy: Resource) -> Any:
    return selects(policy.at("spec", "podSelector"), {})


def _undone(policy: Resource) -> Iterator[Finding]:
    """A rule that names nobody and no port lets everybody in, whatever else denies."""
    if _of_everybody(policy) is not True:
        return
    for rules, peers in _DIRECTIONS.values():
        listed = policy.at("spec", rules)
        for index, rule in enumerate(listed if isinstance(listed, list) else ()):
            if (
                rule is not UNKNOWN
                and is_missing(at(rule, peers))
                and is_missing(at(rule, "ports"))
            ):
                where = f"spec.{rules}[{index}]"
                what = "names nobody and no port: it lets everything through, for all pods"
                yield Finding(resource=policy, where=where, what=what)


class Quotas(Exempt):
    """What a quota must bound."""

    requiredKeys: tuple[str, ...] = (  # noqa: N815
        *("requests.cpu", "requests.memory", "limits.memory", "requests.nvidia.com/gpu"),
        *("requests.storage", "services.loadbalancers", "services.nodeports"),
    )


def has_quota(stack: Stack, parameters: Quotas) -> Iterator[Finding]:
    """One team's mistake would otherwise take the room of all others."""
    quotas, limits = Inside(stack, {_QUOTA}), Inside(stack, {_LIMITS})
    for namespace in stack.of({NAMESPACE}):
        if name_of(namespace) in parameters.exemptNamespaces:
            continue
        bounded = [_bounded(quota) for quota in quotas.of(namespace)]
        keys = {key for one in bounded if one is not UNKNOWN for key in one}
        if lacking := [key for key in parameters.requiredKeys if key not in keys]:
            what = f"bounds no {', '.join(lacking)}"
            lack = Finding(resource=namespace, where="its quota", what=what)
            unknown = [one for one in bounded if one is UNKNOWN]
            yield _lacks(lack, unknown, quotas, bool(parameters.exemptNamespaces))
        answers = [_has_defaults(one) for one in limits.of(namespace)]
        if True not in answers:
            what = "says no default and defaultRequest of a Container"
            lack = Finding(resource=namespace, where="its LimitRange", what=what)
            yield _lacks(lack, answers, limits, bool(parameters.exemptNamespaces))


def _bounded(quota: Resource) -> Any:
    """What `quota` bounds of all pods; one with scopes bounds some of them."""
    scopes = (quota.at("spec", "scopes"), quota.at("spec", "scopeSelector"))
    hard = quota.at("spec", "hard")
    if any(one is not UNKNOWN and not is_missing(one) for one in scopes):
        return ()
    if UNKNOWN in (*scopes, hard):
        return UNKNOWN
    return (
        [key for key, value in hard.items() if value is not None]
        if isinstance(hard, Mapping)
        else ()
    )


def _has_defaults(limits: Resource) -> Any:
    listed = limits.at("spec", "limits")
    entries = listed if isinstance(listed, list) else [listed]
    found: list[Any] = []
    for one in entries:
        kind, parts = at(one, "type"), (at(one, "default"), at(one, "defaultRequest"))
        if kind in ("Container", UNKNOWN):
            whole = not any(map(is_missing, parts))
            found.append(UNKNOWN if whole and UNKNOWN in (kind, *parts) else whole)
    return True if True in found else UNKNOWN if UNKNOWN in found else False


def _is_namespace(resource: Resource) -> bool:
    return resource.type == NAMESPACE


RULES = (
    Rule(
        name="namespace-enforces-restricted-pods",
        description="Every namespace refuses pods that are not restricted.",
        mend=f"set the labels {_POD_SECURITY}/enforce: restricted and enforce-version.",
        applies_to=_is_namespace,
        parameters=Standards,
        each=restricted,
    ),
    Rule(
        name="namespace-has-default-deny",
        description="In every namespace pods talk to nobody but whom a policy names.",
        mend="add a NetworkPolicy with podSelector {} and both policyTypes, without rules.",
        applies_to=_is_namespace,
        parameters=Exempt,
        together=default_deny,
    ),
    Rule(
        name="namespace-has-quota",
        description="Every namespace has a bound on what its pods take, and defaults for them.",
        mend="add a ResourceQuota with all required keys, and a LimitRange for containers.",
        applies_to=_is_namespace,
        parameters=Quotas,
        together=has_quota,
    ),
)
