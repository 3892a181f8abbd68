"""Cases of `policies/hardening/namespaces.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, mutated, resource

ENFORCE = "pod-security.kubernetes.io/enforce"
LABELS = {ENFORCE: "restricted", f"{ENFORCE}-version": "latest"}
PRIVILEGED = {ENFORCE: "privileged", f"{ENFORCE}-version": "latest"}
EAST, WEST = (resource("pulumi:providers:kubernetes", name, {}) for name in ("east", "west"))
NAMESPACE = "kubernetes:core/v1:Namespace"


def namespace(name: Any = "risk", labels: Any = ABSENT, **more: Any) -> Resource:
    """A namespace, restricted where nothing else is said."""
    metadata = {"name": name, "labels": LABELS if labels is ABSENT else labels}
    return resource(NAMESPACE, "namespace", {"metadata": metadata}, **more)


def hidden(kind: str, name: str = "hidden", **more: Any) -> Resource:
    """An object as the engine shows it while its cluster is not there."""
    return resource(f"kubernetes:{kind}", name, {}, hidden=True, **more)


def inside(kind: str, spec: Any, space: Any = "risk", name: str = "it", **more: Any) -> Resource:
    """An object of `kind` in the namespace `space`."""
    metadata = {"name": name, "namespace": space}
    return resource(f"kubernetes:{kind}", name, {"metadata": metadata, "spec": spec}, **more)


DENY = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
DNS = {"ports": [{"port": 53}], "to": [{"namespaceSelector": {}}]}
POLICY = "networking.k8s.io/v1:NetworkPolicy"
BY_REFERENCE = {"metadata": (namespace().urn,)}


def policy(*changes: Any, space: Any = "risk", name: str = "deny", **more: Any) -> Resource:
    """A policy that denies all, changed."""
    return inside(POLICY, mutated(DENY, *changes), space, name, **more)


def one_way(direction: str) -> Resource:
    """A policy that denies in one direction."""
    return policy((("policyTypes",), [direction]), name=direction)


HARD = dict.fromkeys(
    (
        *("requests.cpu", "requests.memory", "limits.memory", "requests.nvidia.com/gpu"),
        *("requests.storage", "services.loadbalancers", "services.nodeports"),
    ),
    "1",
)
DEFAULTS = {"type": "Container", "default": {"memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}


def quota(hard: Any = ABSENT, space: Any = "risk", name: str = "quota", **spec: Any) -> Resource:
    """A quota that bounds everything, where nothing else is said."""
    spec = {"hard": HARD if hard is ABSENT else hard, **spec}
    return inside("core/v1:ResourceQuota", spec, space, name)


def limits(*entries: Any, space: Any = "risk") -> Resource:
    """Defaults of containers."""
    spec = {"limits": list(entries) or [DEFAULTS]}
    return inside("core/v1:LimitRange", spec, space, "limits")


def without(name: str) -> dict[str, Any]:
    """What a quota bounds, but for one."""
    return {key: value for key, value in HARD.items() if key != name}


CASES = (
    Cases(
        rule="namespace-enforces-restricted-pods",
        baseline=[namespace()],
        fails={
            "no labels": [namespace(labels=None)],
            "not said": [namespace(labels={f"{ENFORCE}-version": "latest"})],
            "no version": [namespace(labels={ENFORCE: "restricted"})],
            "warns alone": [namespace(labels={"pod-security.kubernetes.io/warn": "restricted"})],
            "privileged": [namespace(labels=PRIVILEGED)],
            "baseline": [namespace(labels=LABELS | {ENFORCE: "baseline"})],
            "less than what it is let": [namespace("agents", PRIVILEGED)],
        },
        passes={
            "another version": [namespace(labels=LABELS | {f"{ENFORCE}-version": "v1.33"})],
            "by trade": [namespace("istio-system", PRIVILEGED)],
            "by trade, without a label": [namespace("istio-system", None)],
            "as it is let": [namespace("agents", LABELS | {ENFORCE: "baseline"})],
            "better than it is let": [namespace("agents")],
        },
        pending={
            "labels": [namespace(labels=UNKNOWN)],
            "level": [namespace(labels=LABELS | {ENFORCE: UNKNOWN})],
            "version": [namespace(labels=LABELS | {f"{ENFORCE}-version": UNKNOWN})],
            "which namespace": [namespace(UNKNOWN, PRIVILEGED)],
        },
        parameters={"exemptNamespaces": {"istio-system": "privileged", "agents": "baseline"}},
    ),
    Cases(
        rule="namespace-has-default-deny",
        baseline=[namespace(), policy()],
        fails={
            "no policy": [namespace()],
            "of another namespace": [namespace(), policy(space="other")],
            "of another cluster": [namespace(provider=EAST), policy(provider=WEST)],
            "one way": [namespace(), one_way("Ingress")],
            "the other way": [namespace(), one_way("Egress")],
            "one way, by default": [namespace(), policy((("policyTypes",), ABSENT))],
            "for some pods": [
                namespace(),
                policy((("podSelector",), {"matchLabels": {"app": "a"}})),
            ],
            "for some pods, by expression": [
                namespace(),
                policy(
                    (("podSelector",), {"matchExpressions": [{"key": "a", "operator": "Exists"}]})
                ),
            ],
            "lets something in": [namespace(), policy((("ingress",), [{"from": []}]))],
            "undone beside it": [
                namespace(),
                policy(),
                policy((("egress",), [{}]), name="all"),
            ],
        },
        passes={
            "by reference": [namespace(UNKNOWN), policy(space=UNKNOWN, references=BY_REFERENCE)],
            "in two": [namespace(), one_way("Ingress"), one_way("Egress")],
            "a selector that selects all": [
                namespace(),
                policy((("podSelector",), {"matchLabels": {}})),
            ],
            "empty rules": [namespace(), policy((("ingress",), []), (("egress",), None))],
            "with others beside it": [
                namespace(),
                policy(),
                policy((("egress",), [DNS]), name="dns"),
                policy(
                    (("podSelector",), {"matchLabels": {"app": "a"}}),
                    (("ingress",), [{}]),
                    name="door",
                ),
            ],
            "by trade": [namespace("kube-system")],
        },
        pending={
            "everything": [
                hidden("core/v1:Namespace"),
                hidden(POLICY, references={"metadata": (hidden("core/v1:Namespace").urn,)}),
            ],
            "everything but the namespace": [namespace(), hidden(POLICY)],
            "where": [namespace(), policy(space=UNKNOWN)],
            "which namespace": [namespace(UNKNOWN)],
            "for whom": [namespace(), policy((("podSelector",), UNKNOWN))],
            "which way": [namespace(), policy((("policyTypes",), UNKNOWN))],
            "whom it lets in": [namespace(), policy((("ingress",), UNKNOWN))],
        },
        parameters={"exemptNamespaces": ["kube-system"]},
    ),
    Cases(
        rule="namespace-has-quota",
        baseline=[namespace(), quota(), limits()],
        fails={
            "nothing": [namespace()],
            "no defaults": [namespace(), quota()],
            "no quota": [namespace(), limits()],
            **{f"no {key}": [namespace(), quota(without(key)), limits()] for key in HARD},
            "of some pods": [namespace(), quota(scopes=["BestEffort"]), limits()],
            "of another namespace": [namespace(), quota(space="other"), limits()],
            "defaults of pods": [
                namespace(),
                quota(),
                limits({"type": "Pod", "max": {"memory": "1Gi"}}),
            ],
            "half of the defaults": [
                namespace(),
                quota(),
                limits({"type": "Container", "default": {"memory": "1Gi"}}),
            ],
        },
        passes={
            "in two": [
                namespace(),
                quota(without("requests.cpu")),
                quota({"requests.cpu": "1"}, name="more"),
                limits(),
            ],
            "none at all of something": [
                namespace(),
                quota(HARD | {"services.nodeports": "0"}),
                limits(),
            ],
            "more limits": [
                namespace(),
                quota(),
                limits({"type": "Pod", "max": {"memory": "1Gi"}}, DEFAULTS),
            ],
            "by trade": [namespace("kube-system")],
        },
        pending={
            "bounds": [namespace(), quota(UNKNOWN), limits()],
            "where": [namespace(), quota(space=UNKNOWN), limits()],
            "defaults": [namespace(), quota(), limits(UNKNOWN)],
            "everything": [hidden("core/v1:Namespace")],
        },
        parameters={"exemptNamespaces": ["kube-system"]},
    ),
)
