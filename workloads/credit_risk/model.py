"""The kinds of model that compete for the decision: gradient boosting, and a logistic baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.credit_risk.features import affordability
from workloads.delivery import tabular
from workloads.delivery.spec import WorkloadSpec


def build(family: str, parameters: Mapping[str, Any], spec: WorkloadSpec, seed: int) -> Any:
    """An unfitted classifier over raw applications. `family` is one of `training.families`."""
    return tabular.pipeline(
        spec, derive=affordability, estimator=_estimator(family, parameters, seed)
    )


def _estimator(family: str, parameters: Mapping[str, Any], seed: int) -> Any:
    match family:
        case "xgboost":
            from xgboost import XGBClassifier

            return XGBClassifier(**parameters, random_state=seed, n_jobs=1)
        case "logistic":
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(**parameters, max_iter=1000, random_state=seed)
        case _:
            raise ValueError(f"there is no model family {family!r}: xgboost, logistic")
