"""The training job as it runs on the Ray cluster: tune, refit the best of each family, log.

Submitted by `workloads.delivery.train` with a copy of this package, which holds no secret: those
are in the cluster's own environment. Lines on standard output that begin with `PROGRESS` tell the
client how far it is.

    python -m workloads.delivery.tuning --workload NAME --version N --parent RUN
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from workloads.delivery import ingest, registry
from workloads.delivery.connection import Connection
from workloads.delivery.masking import reference
from workloads.delivery.spec import Range, Workload, WorkloadSpec, load
from workloads.delivery.split import split, target_of

PROGRESS = "FALAJ "
"""Begins a line of JSON: `{"total": int}` once, then `{"family": str, "auc": float}` a trial."""

CV_AUC = "cv_auc"
_EXAMPLES = 20
_REQUIRED = (
    "mlflow",
    "scikit-learn",
    "xgboost" if sys.platform != "linux" else "xgboost-cpu",
    "pandas",
    "numpy",
    "cloudpickle",
)


def configurations(spec: WorkloadSpec) -> list[dict[str, Any]]:
    """Every trial of the search, `{"family", "parameters"}`; the same for the same seed."""
    import numpy as np

    trials = []
    for family, settings in spec.training.families.items():
        domains = {name: _domain(bounds) for name, bounds in settings.search.items()}
        random = np.random.RandomState(spec.training.seed)
        for _ in range(settings.trials):
            parameters = {name: d.sample(random_state=random) for name, d in domains.items()}
            trials.append({"family": family, "parameters": parameters})
    return trials


def cross_validate(
    workload: Workload, trial: Mapping[str, Any], rows: Any, target: Any
) -> dict[str, float]:
    """Mean and deviation over the folds of the AUC of one trial's model on training `rows`."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    spec = workload.spec
    folds = StratifiedKFold(spec.training.folds, shuffle=True, random_state=spec.training.seed)
    scores = []
    for learn, judge in folds.split(rows, target):
        model = _model(workload, trial)
        model.fit(rows.iloc[learn], target.iloc[learn])
        probability = model.predict_proba(rows.iloc[judge])[:, 1]
        scores.append(float(roc_auc_score(target.iloc[judge], probability)))
    mean = sum(scores) / len(scores)
    deviation = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5
    return {CV_AUC: mean, "cv_auc_deviation": deviation}


def fit(workload: Workload, trial: Mapping[str, Any], rows: Any, target: Any) -> Any:
    """The trial's model, fitted on all `rows`."""
    return _model(workload, trial).fit(rows[list(workload.spec.features())], target)


def log_model(model: Any, workload: Workload, rows: Any) -> None:
    """Logs `model`, fitted on `rows`, into the active MLflow run with all that a server of it must
    know.
    """
    import cloudpickle  # type: ignore[import-untyped]
    import mlflow
    from mlflow.models import infer_signature

    import workloads

    example = rows.head(_EXAMPLES)
    # the model carries the code of its features, so it answers the same after that code changed
    cloudpickle.register_pickle_by_value(workloads)
    try:
        mlflow.sklearn.log_model(
            model,
            name=registry.MODEL,
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
            signature=infer_signature(example, model.predict_proba(example)),
            pyfunc_predict_fn="predict_proba",
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _REQUIRED],
            metadata={"falaj": request_schema(workload.spec, rows)},
        )
    finally:
        cloudpickle.unregister_pickle_by_value(workloads)


def request_schema(spec: WorkloadSpec, rows: Any = None) -> dict[str, Any]:
    """What a server needs to check a request, to make a decision of a probability and, from the
    training `rows`, to mask what it writes down.
    """
    minimum = spec.data.minimum_group_size
    features = [
        {
            "name": name,
            **column.model_dump(mode="json"),
            "reference": reference(column, rows[name], minimum) if rows is not None else {},
        }
        for name, column in spec.features().items()
    ]
    target = spec.data.target
    return {
        "workload": spec.name,
        "features": features,
        "positive": target.positive,
        "negative": next(
            label
            for label in spec.data.columns[target.column].categories or ()
            if label != target.positive
        ),
        "threshold": target.threshold,
    }


def run(connection: Connection, workload: Workload, version: int, parent: str) -> None:
    """The whole job: every trial and finalist becomes an MLflow run under `parent`."""
    import mlflow
    import ray
    from ray import tune

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    ray.init(logging_level=logging.WARNING, log_to_driver=False)
    parts = split(ingest.read(connection, version), workload.spec)
    rows, target = (
        parts.train[list(workload.spec.features())],
        target_of(parts.train, workload.spec),
    )
    trials = configurations(workload.spec)
    _tell(total=len(trials))

    def attempt(config: dict[str, Any], rows: Any, target: Any) -> None:
        tune.report(cross_validate(workload, config["trial"], rows, target))

    with tempfile.TemporaryDirectory(prefix="falaj-tune-") as storage:
        results = tune.Tuner(
            tune.with_parameters(attempt, rows=rows, target=target),
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(
                metric=CV_AUC, mode="max", reuse_actors=True, max_concurrent_trials=_cpus()
            ),
            run_config=tune.RunConfig(
                storage_path=storage, verbose=0, callbacks=[_callback(connection, parent)]
            ),
        ).fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} of {len(trials)} trials failed") from (
            results.errors[0]
        )
    finalists = _best_of_each_family(results)
    for trial, metrics in finalists:
        model = fit(workload, trial, rows, target)
        run_id = start_child(connection, parent, "finalist", trial)
        with mlflow.start_run(run_id=run_id):
            mlflow.log_params(trial["parameters"])
            mlflow.log_metrics(metrics)
            log_model(model, workload, rows)


def _best_of_each_family(results: Any) -> list[tuple[dict[str, Any], dict[str, float]]]:
    best: dict[str, tuple[dict[str, Any], dict[str, float]]] = {}
    for result in results:
        trial = result.config["trial"]
        metrics = {name: result.metrics[name] for name in (CV_AUC, "cv_auc_deviation")}
        known = best.get(trial["family"])
        if known is None or metrics[CV_AUC] > known[1][CV_AUC]:
            best[trial["family"]] = trial, metrics
    return list(best.values())


def start_child(connection: Connection, parent: str, role: str, trial: Mapping[str, Any]) -> str:
    """Starts a run under `parent` that bears the parent's tags; returns its id."""
    client = registry.client(connection)
    above = client.get_run(parent)
    inherited = {k: v for k, v in above.data.tags.items() if k.startswith("falaj.")}
    tags = {
        **inherited,
        registry.TAG_ROLE: role,
        registry.TAG_FAMILY: trial["family"],
        "mlflow.parentRunId": parent,
    }
    run = client.create_run(
        above.info.experiment_id, run_name=f"{trial['family']} {role}", tags=tags
    )
    return str(run.info.run_id)


def _callback(connection: Connection, parent: str) -> Any:
    """Logs trials from the driver, so that the workers need not import MLflow."""
    from mlflow.entities import Metric, Param
    from ray import tune

    client = registry.client(connection)

    class TrialRuns(tune.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.runs: dict[str, str] = {}

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            chosen = trial.config["trial"]
            if trial.trial_id not in self.runs:
                self.runs[trial.trial_id] = start_child(connection, parent, "trial", chosen)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            chosen, result = trial.config["trial"], trial.last_result
            run_id = self.runs[trial.trial_id]
            now = int(result["timestamp"]) * 1000
            client.log_batch(
                run_id,
                metrics=[Metric(n, result[n], now, 0) for n in (CV_AUC, "cv_auc_deviation")],
                params=[Param(name, str(value)) for name, value in chosen["parameters"].items()],
            )
            client.set_terminated(run_id)
            _tell(family=chosen["family"], auc=result[CV_AUC])

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            client.set_terminated(self.runs[trial.trial_id], "FAILED")

    return TrialRuns()


def _model(workload: Workload, trial: Mapping[str, Any]) -> Any:
    spec = workload.spec
    return workload.builder()(trial["family"], trial["parameters"], spec, spec.training.seed)


def _domain(bounds: Range) -> Any:
    from ray import tune

    if bounds.choices is not None:
        return tune.choice(list(bounds.choices))
    low, high = bounds.low, bounds.high
    assert low is not None and high is not None  # noqa: PT018, S101 - checked by the spec
    if bounds.integer:  # tune's upper bound of integers is exclusive
        bound = (int(low), int(high) + 1)
        return tune.lograndint(*bound) if bounds.log else tune.randint(*bound)
    return tune.loguniform(low, high) if bounds.log else tune.uniform(low, high)


def _cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _tell(**fact: Any) -> None:
    sys.stdout.write(f"{PROGRESS}{json.dumps(fact)}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Runs the job that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--parent", required=True)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="falaj-job-") as state:
        connection = Connection.from_variables({**os.environ, "FALAJ_STATE": state})
        run(connection, load(chosen.workload), chosen.version, chosen.parent)


if __name__ == "__main__":
    main()
