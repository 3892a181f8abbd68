"""Cases of `policies/hardening/seldon.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, Change, mutated
from rule_cases.pods import CONTAINER, of

NODE = {"name": "main", "type": "MODEL", "implementation": "MLFLOW_SERVER"}
SPEC = {"serviceAccountName": "workload", "containers": [CONTAINER]}
PREDICTOR: dict[str, Any] = {
    "name": "blue",
    "replicas": 2,
    "componentSpecs": [{"spec": SPEC}],
    "graph": NODE,
}
FIRST = ("componentSpecs", 0)
WHOLE = ("spec", "containers", 0)


def model(*predictors: Any, version: str = "v1", **spec: Any) -> list[Resource]:
    """A SeldonDeployment."""
    kind = f"machinelearning.seldon.io/{version}:SeldonDeployment"
    return of(kind, {"spec": {"predictors": list(predictors), **spec}})


def predictor(*changes: Change, **more: Any) -> dict[str, Any]:
    """One predictor, changed."""
    return {**mutated(PREDICTOR, *changes), **more}


def share(name: str, traffic: Any = ABSENT, **more: Any) -> dict[str, Any]:
    """A predictor with a share of the traffic."""
    changed = predictor(name=name, **more)
    return changed if traffic is ABSENT else changed | {"traffic": traffic}


NONE_KNOWN = of("machinelearning.seldon.io/v1:SeldonDeployment", {"spec": {"predictors": UNKNOWN}})
BARE = (("replicas",), ABSENT)
ROUTER = {"name": "ab", "implementation": "RANDOM_ABTEST", "children": [NODE]}

CASES = (
    Cases(
        rule="seldon-traffic-sums-to-100",
        baseline=model(share("blue", 90), share("green", 10)),
        fails={
            "too little": model(share("blue", 80), share("green", 10)),
            "too much": model(share("blue", 100), share("green", 10)),
            "none": model(share("blue"), share("green")),
            "half of one": model(share("blue", 50)),
            "below nothing": model(share("blue", 110), share("green", -10)),
            "with the shadow alone": model(share("blue", 60), share("green", 40, shadow=True)),
            "two of a name": model(share("blue", 50), share("blue", 50)),
            "an old kind": model(share("blue", 80), share("green", 10), version="v1alpha2"),
            "an old kind, the other": model(share("blue", 80), version="v1alpha3"),
        },
        passes={
            "one that does not say": model(share("blue")),
            "one with all": model(share("blue", 100)),
            "one beside a shadow": model(share("blue"), share("green", 100, shadow=True)),
            "one with nothing": model(share("blue", 100), share("green", 0)),
        },
        pending={
            "a share": model(share("blue", UNKNOWN), share("green", 10)),
            "whether shadow": model(share("blue", 90), share("green", 20, shadow=UNKNOWN)),
            "predictors": NONE_KNOWN,
            "a predictor": model(share("blue", 50), UNKNOWN),
        },
    ),
    Cases(
        rule="seldon-has-at-most-one-shadow",
        baseline=model(share("blue"), share("green", shadow=True)),
        fails={
            "two": model(share("blue"), share("green", shadow=True), share("red", shadow=True)),
            "nothing else": model(share("green", shadow=True)),
            "more than a little": model(share("blue"), share("green", 80, shadow=True)),
        },
        passes={
            "none": model(share("blue")),
            "said of each": model(share("blue", shadow=False), share("green", 20, shadow=True)),
        },
        pending={
            "which": model(
                share("blue"), share("green", shadow=True), share("red", shadow=UNKNOWN)
            ),
            "whether the only one": model(share("green", shadow=UNKNOWN)),
            "share": model(share("blue"), share("green", UNKNOWN, shadow=True)),
            "predictors": NONE_KNOWN,
        },
        parameters={"maxShadowTraffic": 50},
    ),
    Cases(
        rule="seldon-predictor-has-two-replicas",
        baseline=model(predictor()),
        fails={
            "one": model(predictor(replicas=1)),
            "not said": model(predictor(BARE)),
            "one, said most closely": model(predictor(((*FIRST, "replicas"), 1))),
            "one of two parts": model(
                predictor((("componentSpecs",), [{"spec": SPEC}, {"spec": SPEC, "replicas": 1}]))
            ),
            "scaled from one": model(predictor(((*FIRST, "hpaSpec"), {"maxReplicas": 4}))),
            "scaled from nothing": model(predictor(((*FIRST, "kedaSpec"), {"maxReplicaCount": 4}))),
            "prepackaged": model(predictor(BARE, (("componentSpecs",), ABSENT))),
            "of several": model(share("blue", 90), share("green", 10, replicas=1)),
        },
        passes={
            "of all": model(predictor(BARE), replicas=3),
            "of the part": model(predictor(((*FIRST, "replicas"), 2), replicas=1)),
            "scaled": model(predictor(BARE, ((*FIRST, "hpaSpec"), {"minReplicas": 2}))),
            "scaled by events": model(
                predictor(BARE, ((*FIRST, "kedaSpec"), {"minReplicaCount": 2}))
            ),
            "a shadow": model(predictor(), share("green", replicas=1, shadow=True)),
            "one that waits": model(share("blue", 100), share("green", 0, replicas=1)),
        },
        pending={
            "how many": model(predictor(replicas=UNKNOWN)),
            "scaled": model(predictor(((*FIRST, "hpaSpec"), {"minReplicas": UNKNOWN}))),
            "whether it answers": model(share("blue", 90), share("green", UNKNOWN, replicas=1)),
            "parts": model(predictor((("componentSpecs",), UNKNOWN))),
            "predictors": NONE_KNOWN,
        },
    ),
    Cases(
        rule="seldon-predictor-declares-containers",
        baseline=model(predictor()),
        fails={
            "prepackaged": model(predictor((("componentSpecs",), ABSENT))),
            "another's": model(predictor((("graph", "name"), "other"))),
            "no image": model(predictor(((*FIRST, *WHOLE, "image"), ABSENT))),
            "no resources": model(predictor(((*FIRST, *WHOLE, "resources"), {}))),
            "as nobody": model(predictor(((*FIRST, "spec", "serviceAccountName"), ABSENT))),
            "below": model(
                predictor((("graph",), {**ROUTER, "children": [NODE | {"name": "other"}]}))
            ),
            "by its kind alone": model(predictor((("graph",), {"name": "other", "type": "MODEL"}))),
        },
        passes={
            "a router of the engine": model(predictor((("graph",), ROUTER))),
            "as its node says": model(
                predictor(
                    ((*FIRST, "spec", "serviceAccountName"), ABSENT),
                    (("graph",), NODE | {"serviceAccountName": "workload"}),
                )
            ),
            "in another part": model(
                predictor((("componentSpecs",), [{"spec": {"containers": []}}, {"spec": SPEC}]))
            ),
        },
        pending={
            "graph": model(predictor((("graph",), UNKNOWN))),
            "children": model(predictor((("graph",), {**ROUTER, "children": UNKNOWN}))),
            "parts": model(predictor((("componentSpecs",), UNKNOWN))),
            "containers": model(predictor(((*FIRST, "spec", "containers"), UNKNOWN))),
            "image": model(predictor(((*FIRST, *WHOLE, "image"), UNKNOWN))),
            "predictors": NONE_KNOWN,
        },
    ),
)
