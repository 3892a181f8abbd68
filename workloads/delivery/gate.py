"""Gate: may this version be approved?

Owns the comparison of a version's figures with the limits in its workload's spec and with the
champion. A version that fails is kept and marked; the champion stays where it is.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workloads.delivery import registry
from workloads.delivery.compiled import TOLERANCE
from workloads.delivery.connection import Connection
from workloads.delivery.evaluate import (
    AUC,
    BRIER,
    CALIBRATION,
    LATENCY_P95,
    OPPORTUNITY,
    PARITY,
    SERVING_DIFFERENCE,
    evaluation_of,
    holdout_of,
    quality,
)
from workloads.delivery.spec import WorkloadSpec

_RELATIONS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Row:
    """One gate: `value relation threshold` is what must hold."""

    figure: str
    value: float
    relation: str
    threshold: float
    passed: bool


@dataclass(frozen=True)
class Gated:
    """Every gate of one version."""

    passed: bool
    rows: tuple[Row, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Gated:
        return cls(content["passed"], tuple(Row(**row) for row in content["rows"]))


@dataclass(frozen=True)
class Rival:
    """The champion that a candidate is measured against."""

    version: int
    figures: dict[str, float]


def gate(connection: Connection, spec: WorkloadSpec, version: int) -> Gated:
    """Judges `version` and records the table with its run and the result as its tag."""
    candidate = registry.version(connection, version)
    evaluation = evaluation_of(connection, candidate.run_id)
    rival = _champion(connection, spec, version, evaluation.data_version)
    gated = judge(evaluation.figures, spec, rival)
    registry.log_json(connection, candidate.run_id, registry.GATES, asdict(gated))
    registry.client(connection).set_model_version_tag(
        connection.registered_name,
        str(version),
        registry.TAG_GATES,
        "passed" if gated.passed else "failed",
    )
    return gated


def gates_of(connection: Connection, version: int) -> Gated | None:
    """The recorded table of `version`, `None` when it was never judged."""
    run_id = registry.version(connection, version).run_id
    content = registry.read_json(connection, run_id, registry.GATES)
    return None if content is None else Gated.from_json(content)


def judge(figures: Mapping[str, float], spec: WorkloadSpec, rival: Rival | None) -> Gated:
    """The gates of `spec` on `figures`; a figure that is missing or NaN fails."""
    gates = spec.gates
    rows = [
        _row(AUC, figures, ">=", gates.auc.minimum),
        _row(BRIER, figures, "<=", gates.brier.maximum),
        _row(CALIBRATION, figures, "<=", gates.calibration_error.maximum),
        _row(LATENCY_P95, figures, "<=", gates.latency_p95_ms.maximum),
        # no workload may choose to serve something else than was trained
        _row(SERVING_DIFFERENCE, figures, "<=", TOLERANCE),
    ]
    if gates.fairness is not None:
        limits = {
            PARITY: gates.fairness.demographic_parity_difference.maximum,
            OPPORTUNITY: gates.fairness.equal_opportunity_difference.maximum,
        }
        rows += [
            _row(f"{figure}_{attribute}", figures, "<=", limit)
            for attribute in spec.data.protected
            for figure, limit in limits.items()
        ]
    if rival is not None:
        metric = gates.champion.metric
        gain = figures.get(metric, float("nan")) - rival.figures.get(metric, float("nan"))
        name = f"{metric}_gain_over_champion_{rival.version}"
        better = gain if metric == AUC else -gain
        rows.append(_row(name, {name: better}, ">=", gates.champion.margin))
    return Gated(passed=all(row.passed for row in rows), rows=tuple(rows))


def _champion(
    connection: Connection, spec: WorkloadSpec, version: int, data_version: int
) -> Rival | None:
    """The champion's figures on the candidate's hold-out rows, which neither has learnt from."""
    champion = registry.version_at(connection, registry.CHAMPION)
    if champion is None or int(champion.version) == version:
        return None
    with tempfile.TemporaryDirectory(prefix="falaj-model-") as folder:
        path = registry.download_model(connection, champion.run_id, Path(folder))
        model = registry.load_model(path)
    try:
        figures = quality(model, holdout_of(connection, spec, data_version), spec)
    except (KeyError, ValueError):
        # it was made for other columns: what was recorded of it is all that can be compared
        figures = evaluation_of(connection, champion.run_id).figures
    return Rival(int(champion.version), figures)


def _row(figure: str, figures: Mapping[str, float], relation: str, threshold: float) -> Row:
    value = figures.get(figure, float("nan"))
    return Row(figure, value, relation, threshold, _RELATIONS[relation](value, threshold))
