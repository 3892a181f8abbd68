"""Rules on MLflow: its server asks who calls, or something before it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.namespaces import Inside, selects
from policies.common.pods import Pod, namespace_of, pods
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack

_WORKLOADS = frozenset({"kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet"})
_SERVICE = "kubernetes:core/v1:Service"
_POLICIES = frozenset(
    f"kubernetes:security.istio.io/{version}:AuthorizationPolicy" for version in ("v1", "v1beta1")
)
_APP = re.compile(r"--app-name[= ]+['\"]?([\w.-]+)")
_STARTED = re.compile(r"\bmlflow['\"]?\s+(?:server|ui)\b")
_IDENTITIES = ("principals", "requestPrincipals", "serviceAccounts", "namespaces")
_NAME = "app.kubernetes.io/name"


class Tracking(Parameters):
    """Which pods are MLflow's, and what asks who calls."""

    mlflowSelector: str = f"{_NAME}=mlflow"  # noqa: N815
    """``label=value``; besides, whatever starts ``mlflow server`` is one."""
    authenticatingApps: tuple[str, ...] = ("basic-auth", "oidc-auth")  # noqa: N815
    """Of MLflow's ``--app-name``."""
    rootNamespace: str = "istio-system"  # noqa: N815


def requires_authentication(stack: Stack, parameters: Tracking) -> Iterator[Finding]:
    """Without it, whoever reaches MLflow may change which model is served."""
    policies, services = Inside(stack, _POLICIES), Inside(stack, {_SERVICE})
    label, _, value = parameters.mlflowSelector.partition("=")
    roots = [one for one in stack.of(_POLICIES) if namespace_of(one) == parameters.rootNamespace]
    for workload in stack.of(_WORKLOADS):
        if workload.hidden:
            yield pending(workload, "spec")
            continue
        for pod in pods(workload):
            words = _words(pod)
            named = at(pod.labels, label)
            if UNKNOWN not in (named, words) and named != value and not _starts(words):
                continue
            own, more = policies.beside(workload)
            guards = [_guards(one, pod, services.beside(workload)[0]) for one in (*own, *roots)]
            guards.append(UNKNOWN if words is UNKNOWN else _asks(words, parameters))
            if True in guards:
                continue
            where = f"{pod.where}.containers"
            if UNKNOWN in (named, *guards) or more:
                yield pending(workload, where)
            else:
                apps = ", ".join(parameters.authenticatingApps)
                what = f"start MLflow without --app-name ({apps}), and no AuthorizationPolicy asks"
                yield Finding(resource=workload, where=where, what=what)


def _words(pod: Pod) -> Any:
    """What the pod's containers start, as one text."""
    words: list[Any] = []
    for _, container in pod.containers():
        for kind in ("command", "args"):
            said = at(container, kind)
            words += said if isinstance(said, list) else [said] if said is UNKNOWN else []
        words += [UNKNOWN] if container is UNKNOWN else []
    return UNKNOWN if UNKNOWN in words else " ".join(map(str, words))


def _starts(words: Any) -> bool:
    return isinstance(words, str) and _STARTED.search(words) is not None


def _asks(words: str, parameters: Tracking) -> bool:
    return any(app in parameters.authenticatingApps for app in _APP.findall(words))


def _guards(policy: Resource, pod: Pod, services: Any) -> Any:
    """Whether `policy` lets to `pod` only whom it knows, or `UNKNOWN`."""
    action, rules = policy.at("spec", "action"), policy.at("spec", "rules")
    targets, selector = policy.at("spec", "targetRefs"), policy.at("spec", "selector")
    if action not in ("ALLOW", "CUSTOM", UNKNOWN) and not is_missing(action):
        return False
    chosen = (
        selects(selector, pod.labels)
        if is_missing(targets)
        else UNKNOWN
        if targets is UNKNOWN
        else _aimed(targets, pod, services)
    )
    if chosen is False:
        return False
    if UNKNOWN in (action, rules, chosen):
        return UNKNOWN
    listed = rules if isinstance(rules, list) else []
    if action == "CUSTOM":
        return bool(listed)
    # without any rule nobody is let in; a rule that names neither whom nor what lets all in
    open_ = any(is_missing(at(one, "from")) and is_missing(at(one, "to")) for one in listed)
    return not open_ and (not listed or any(_knows(one) for one in listed))


def _knows(rule: Any) -> bool:
    sources = at(rule, "from")
    listed = sources if isinstance(sources, list) else []
    return bool(listed) and all(
        any(not is_missing(at(one, "source", kind)) for kind in _IDENTITIES) for one in listed
    )


def _aimed(targets: Any, pod: Pod, services: Any) -> Any:
    """Whether one of `targets` is a Service of the pod, or the way into its whole namespace."""
    for target in targets if isinstance(targets, list) else ():
        if at(target, "kind") == "Gateway":
            return True
        for service in services:
            selector = service.at("spec", "selector")
            named = service.at("metadata", "name") == at(target, "name")
            if named and isinstance(selector, Mapping):
                return selects({"matchLabels": selector}, pod.labels)
    return UNKNOWN


def _may_be_mlflow(resource: Resource) -> bool:
    if resource.type not in _WORKLOADS:
        return False
    if resource.hidden:
        return True
    return any(
        UNKNOWN in (pod.labels, at(pod.labels, _NAME))
        or at(pod.labels, _NAME) == "mlflow"
        or _words(pod) is UNKNOWN
        or _starts(_words(pod))
        for pod in pods(resource)
    )


RULES = (
    Rule(
        name="mlflow-server-requires-authentication",
        description="Nobody uses MLflow without saying who he is.",
        mend="start it with --app-name basic-auth, or add an AuthorizationPolicy that names whom.",
        applies_to=_may_be_mlflow,
        parameters=Tracking,
        together=requires_authentication,
    ),
)
