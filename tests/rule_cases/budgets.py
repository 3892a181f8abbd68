"""Cases of `policies/hardening/budgets.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases
from rule_cases.namespaces import hidden, inside
from rule_cases.pods import POD

SERVES = {"app": "scorer", "tier": "serving"}


def workload(
    labels: Any = ABSENT, replicas: Any = 2, space: Any = "risk", kind: str = "Deployment"
) -> Resource:
    """Pods that answer, where nothing else is said."""
    metadata = {"labels": SERVES if labels is ABSENT else labels}
    spec = {"replicas": replicas, "template": {"metadata": metadata, "spec": POD}}
    return inside(f"apps/v1:{kind}", spec, space, "scorer")


def budget(selector: Any = ABSENT, space: Any = "risk", **spec: Any) -> Resource:
    """A budget of them."""
    chosen = {"matchLabels": {"app": "scorer"}} if selector is ABSENT else selector
    spec = {"selector": chosen, **(spec or {"maxUnavailable": 1})}
    return inside("policy/v1:PodDisruptionBudget", spec, space, "budget")


def model(*parts: Any, version: str = "v1") -> Resource:
    """A model of Seldon."""
    spec = {"predictors": [{"name": "blue", "componentSpecs": list(parts)}]}
    return inside(f"machinelearning.seldon.io/{version}:SeldonDeployment", spec, name="scorer")


PART = {"spec": POD, "replicas": 2}
OF_MODEL = {"matchLabels": {"seldon-deployment-id": "scorer"}}
GOOD = {"pdbSpec": {"maxUnavailable": 1}}
IN = [{"key": "app", "operator": "In", "values": ["scorer", "other"]}]

CASES = (
    Cases(
        rule="serving-has-disruption-budget",
        baseline=[workload(), budget()],
        fails={
            "none": [workload()],
            "in a set": [workload(kind="StatefulSet")],
            "elsewhere": [workload(), budget(space="other")],
            "of others": [workload(), budget({"matchLabels": {"app": "other"}})],
            "of nobody": [workload(), budget(None)],
            "lets none go": [workload(), budget(maxUnavailable=0)],
            "lets none go, by share": [workload(), budget(minAvailable="100%")],
            "lets none of them go": [workload(), budget(minAvailable=2)],
            "keeps none": [workload(), budget(maxUnavailable=2)],
            "keeps none, as said": [workload(), budget(minAvailable=0)],
            "where things are served": [workload({"app": "web"}, space="seldon")],
            "of a model": [model(PART)],
            "of a model, an old kind": [model(PART, version="v1alpha2")],
            "of a model, the other": [model(PART, version="v1alpha3")],
            "of one part": [model(PART | GOOD, PART)],
            "of a model, lets none go": [model({**PART, "pdbSpec": {"maxUnavailable": 0}})],
            "of a prepackaged model": [model()],
        },
        passes={
            "by expression": [workload(), budget({"matchExpressions": IN})],
            "of all pods": [workload(), budget({})],
            "by share": [workload(), budget(maxUnavailable="50%")],
            "one of one": [workload(replicas=ABSENT), budget(minAvailable=1)],
            "of a model": [model(PART | GOOD)],
            "of a whole model": [model(PART), budget(OF_MODEL)],
            "alone, where things are served": [
                workload({"app": "web"}, replicas=1, space="seldon"),
                model(PART | GOOD),
            ],
            "something else": [workload({"app": "web"}), model(PART | GOOD)],
        },
        pending={
            "everything": [hidden("apps/v1:Deployment")],
            "a model": [hidden("machinelearning.seldon.io/v1:SeldonDeployment")],
            "where": [workload(space=UNKNOWN)],
            "whose": [workload(), budget(space=UNKNOWN)],
            "of whom": [workload(), budget(UNKNOWN)],
            "how many": [workload(), budget(maxUnavailable=UNKNOWN)],
            "whether it serves": [workload({"tier": UNKNOWN})],
            "what part": [model(PART | {"pdbSpec": UNKNOWN})],
        },
    ),
)
