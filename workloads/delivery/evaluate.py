"""Evaluate: how good, how well calibrated, how fair and how fast are the finalists?

Owns the figures that gates and approvers judge by, all taken on hold-out rows that no training saw.
The best finalist is chosen by its cross-validation, so the hold-out figures stay honest.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.delivery import compiled, ingest, registry
from workloads.delivery.connection import Connection
from workloads.delivery.errors import DeliveryError
from workloads.delivery.request import Schema
from workloads.delivery.spec import WorkloadSpec
from workloads.delivery.split import split, target_of
from workloads.delivery.train import Trained
from workloads.delivery.tuning import request_schema

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    type FloatArray = NDArray[np.float64]

AUC, BRIER, CALIBRATION = "auc", "brier", "calibration_error"
LATENCY_P50, LATENCY_P95 = "latency_p50_ms", "latency_p95_ms"
SERVING_DIFFERENCE = "serving_difference"
PARITY, OPPORTUNITY = "demographic_parity_difference", "equal_opportunity_difference"

_BINS = 10
_ROUNDS = 4
_PREDICTIONS = 40


@dataclass(frozen=True)
class Group:
    """How one group of a protected attribute fares."""

    attribute: str
    group: str
    rows: int
    favourable_share: float
    """Of its labels."""
    favourable_rate: float
    """Share that gets the favourable decision."""
    favourable_rate_of_favourable: float | None
    """The same among those whose label is favourable."""
    judged: bool
    """It is large enough to count in the differences."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one finalist on the hold-out rows."""

    run_id: str
    family: str
    data_version: int
    rows: int
    figures: dict[str, float]
    groups: tuple[Group, ...]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Evaluation:
        groups = tuple(Group(**group) for group in content["groups"])
        return cls(**{**content, "groups": groups})


def evaluate(
    connection: Connection, spec: WorkloadSpec, trained: Trained
) -> tuple[Evaluation, ...]:
    """Evaluates every finalist and records the figures with its run; the best one comes first."""
    holdout = holdout_of(connection, spec, trained.data_version)
    evaluations = []
    for finalist in trained.finalists:
        with tempfile.TemporaryDirectory(prefix="falaj-model-") as folder:
            path = registry.download_model(connection, finalist.run_id, Path(folder))
            model = registry.load_model(path)
        groups, differences = fairness(model, holdout, spec)
        evaluation = Evaluation(
            run_id=finalist.run_id,
            family=finalist.family,
            data_version=trained.data_version,
            rows=len(holdout),
            figures={
                **quality(model, holdout, spec),
                **differences,
                **serving(model, holdout, spec),
            },
            groups=groups,
        )
        registry.log_json(connection, finalist.run_id, registry.EVALUATION, asdict(evaluation))
        registry.log_metrics(
            connection, finalist.run_id, {f"holdout_{k}": v for k, v in evaluation.figures.items()}
        )
        evaluations.append(evaluation)
    return tuple(evaluations)


def evaluation_of(connection: Connection, run_id: str) -> Evaluation:
    """What was recorded with the run. Raises `DeliveryError` when it was never evaluated."""
    content = registry.read_json(connection, run_id, registry.EVALUATION)
    if content is None:
        raise DeliveryError(f"the run {run_id} has no {registry.EVALUATION}")
    return Evaluation.from_json(content)


def holdout_of(connection: Connection, spec: WorkloadSpec, data_version: int) -> pd.DataFrame:
    """The hold-out rows of a version of the raw table."""
    return split(ingest.read(connection, data_version), spec).holdout


def quality(model: Any, holdout: pd.DataFrame, spec: WorkloadSpec) -> dict[str, float]:
    """AUC, Brier score and calibration error of `model` on raw hold-out rows."""
    import numpy as np
    from sklearn.metrics import brier_score_loss, roc_auc_score

    labels = np.asarray(target_of(holdout, spec), dtype=float)
    probabilities = _probabilities(model, holdout, spec)
    return {
        AUC: float(roc_auc_score(labels, probabilities)),
        BRIER: float(brier_score_loss(labels, probabilities)),
        CALIBRATION: calibration_error(labels, probabilities),
    }


def calibration_error(labels: FloatArray, probabilities: FloatArray) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al., AAAI 2015).

    `labels` are 0 or 1; the result is the mean distance of predicted and observed share, in 0 to 1.
    """
    import numpy as np

    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    rows = np.bincount(bins, minlength=_BINS)
    predicted = np.bincount(bins, weights=probabilities, minlength=_BINS)
    observed = np.bincount(bins, weights=labels, minlength=_BINS)
    return float(np.abs(predicted - observed).sum() / rows.sum())


def fairness(
    model: Any, holdout: pd.DataFrame, spec: WorkloadSpec
) -> tuple[tuple[Group, ...], dict[str, float]]:
    """How every group of every protected attribute fares, and per attribute the two differences.

    A difference is the largest between two groups that are large enough; 0 with fewer than two.
    """
    from fairlearn.metrics import MetricFrame, count, selection_rate, true_positive_rate

    target, gate = spec.data.target, spec.gates.fairness
    if gate is None:
        return (), {}
    deserved = (holdout[target.column] == target.favourable).to_numpy()
    positive = _probabilities(model, holdout, spec) >= target.threshold
    granted = positive if target.favourable == target.positive else ~positive
    groups: list[Group] = []
    differences: dict[str, float] = {}
    for attribute, protected in spec.data.protected.items():
        frame = MetricFrame(
            metrics={
                "rows": count,
                "rate": selection_rate,
                "rate_of_favourable": true_positive_rate,
                "share": lambda truth, _: float(truth.mean()),
            },
            y_true=deserved,
            y_pred=granted,
            sensitive_features=_groups(holdout[attribute], protected.bands),
        ).by_group
        found = [
            Group(
                attribute=attribute,
                group=str(name),
                rows=int(row["rows"]),
                favourable_share=float(row["share"]),
                favourable_rate=float(row["rate"]),
                favourable_rate_of_favourable=(
                    float(row["rate_of_favourable"]) if row["share"] > 0 else None
                ),
                judged=int(row["rows"]) >= gate.minimum_group_size,
            )
            for name, row in frame.iterrows()
        ]
        judged = [group for group in found if group.judged]
        differences[f"{PARITY}_{attribute}"] = _spread([g.favourable_rate for g in judged])
        differences[f"{OPPORTUNITY}_{attribute}"] = _spread(
            [
                g.favourable_rate_of_favourable
                for g in judged
                if g.favourable_rate_of_favourable is not None
            ]
        )
        groups.extend(found)
    return tuple(groups), differences


def serving(model: Any, holdout: pd.DataFrame, spec: WorkloadSpec) -> dict[str, float]:
    """Of what a server makes of `model`: how far its probabilities are from the pipeline's on any
    row, and its milliseconds for one in this process, median and 95th percentile.

    Of several rounds the calmest counts: what else the machine does is not the model's doing.
    """
    import numpy as np

    score = compiled.scorer(model, Schema.from_metadata(request_schema(spec))).score
    records = compiled.records_of(holdout, list(spec.features()))
    rounds = []
    for _ in range(_ROUNDS):
        times = []
        for number in range(_PREDICTIONS):
            record = records[number % len(records)]
            start = time.perf_counter()
            score([record])
            times.append((time.perf_counter() - start) * 1000)
        p50, p95 = np.percentile(times, [50, 95])
        rounds.append((float(p95), float(p50)))
    p95, p50 = min(rounds)
    apart = compiled.difference(model, score, records)
    return {SERVING_DIFFERENCE: apart, LATENCY_P50: p50, LATENCY_P95: p95}


def _probabilities(model: Any, rows: pd.DataFrame, spec: WorkloadSpec) -> FloatArray:
    probabilities: FloatArray = model.predict_proba(rows[list(spec.features())])[:, 1]
    return probabilities.astype(float)


def _groups(values: pd.Series[Any], bands: tuple[float, ...]) -> pd.Series[str]:
    """The group of every value: its band where there are bands, else itself."""
    import pandas as pd

    if not bands:
        return values.astype(object).fillna("not given").astype(str)
    edges = [float("-inf"), *bands, float("inf")]
    inner = [f"{low:g} to under {high:g}" for low, high in itertools.pairwise(bands)]
    names = [f"below {bands[0]:g}", *inner, f"{bands[-1]:g} and over"]
    cut = pd.cut(values, edges, right=False, labels=names)
    return cut.astype(object).fillna("not given").astype(str)


def _spread(rates: list[float]) -> float:
    return max(rates) - min(rates) if len(rates) > 1 else 0.0
