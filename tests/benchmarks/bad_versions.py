"""How long a bad version keeps its traffic: from its first share until the champion has all again.

    python tests/benchmarks/bad_versions.py     run inside `make shell`, with a model in service

Each bad version is the champion with one fault. It is released as any other, judged by the limits
of the workload, while hold-out applications are replayed. Nothing fails on a time.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import cloudpickle
import machine
from rich.console import Console
from rich.table import Table
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from workloads.delivery import approve, registry
from workloads.delivery import release as releases
from workloads.delivery.connection import Connection, connect
from workloads.delivery.replay import applications
from workloads.delivery.slot import METADATA
from workloads.delivery.spec import Workload, load

WORKLOAD = "credit-risk"

# the model servers cannot import this module
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Bad(BaseEstimator):  # type: ignore[misc]
    """The champion's pipeline with a fault, after the first answer, which is the server's own."""

    def __init__(self, good: Any) -> None:
        self.good = good
        self.calls = 0

    def fit(self, _rows: Any, _labels: Any) -> Bad:
        """It has been fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, rows: Any) -> Any:
        """The champion's probabilities, but for the fault."""
        self.calls += 1
        if self.calls > 1:
            self.misbehave()
        return self.good.predict_proba(rows)

    def misbehave(self) -> None:
        """What goes wrong."""


class Fails(Bad):
    """Every fifth request fails."""

    def misbehave(self) -> None:
        if self.calls % 5 == 0:
            raise RuntimeError("as told")


class Slow(Bad):
    """Each request takes 0.7 s longer."""

    def misbehave(self) -> None:
        time.sleep(0.7)


class Hangs(Bad):
    """No request ends."""

    def misbehave(self) -> None:
        threading.Event().wait()


class AllPositive(Bad):
    """Every applicant is refused."""

    def predict_proba(self, rows: Any) -> Any:
        import numpy as np

        return np.tile([0.01, 0.99], (len(rows), 1))


def main() -> None:
    """Releases each bad version and prints the table."""
    console = Console()
    console.width = max(console.width, 110)
    connection, workload = connect(WORKLOAD), load(WORKLOAD)
    table = Table(title=f"A bad version's traffic · {machine.description()}", title_justify="left")
    table.add_column("fault", no_wrap=True)
    table.add_column("seconds to 0 %", justify="right")
    table.add_column("requests lost", justify="right")
    table.add_column("because", overflow="fold")
    for kind in (Fails, Slow, Hangs, AllPositive):
        console.print(f"releasing a version that … {kind.__doc__}", highlight=False)
        table.add_row(str(kind.__doc__), *released(connection, workload, kind))
    console.print(table)


def released(connection: Connection, workload: Workload, kind: type[Bad]) -> tuple[str, str, str]:
    """Seconds from its first share until it has none, requests lost, and the judge's reason."""
    version = publish(connection, kind)
    try:
        releases.release(
            connection,
            version,
            lambda _text: None,
            rollout=workload.spec.rollout,
            synthetic=lambda: applications(workload),
        )
    except releases.TakenBackError:
        lines = releases.history(connection)
    else:
        sys.exit(f"version {version} was not taken back: {kind.__doc__}")
    begun = next(x for x in lines if x["phase"] == "moved" and x["version"] == version)
    ended = [x for x in lines if x["phase"] == "moved" and x["action"] == "rollback"][-1]
    judged = [x for x in lines if x["phase"] == "judged"][-1]
    replayed = [x for x in lines if x["phase"] == "replayed"][-1]
    seconds = datetime.fromisoformat(ended["at"]) - datetime.fromisoformat(begun["at"])
    return f"{seconds.total_seconds():.1f}", str(replayed["lost"]), judged["reason"]


def publish(connection: Connection, kind: type[Bad]) -> int:
    """Registers the champion with the fault `kind`, gated and approved; returns its version."""
    client = registry.client(connection)
    import mlflow
    from mlflow.models import Model

    now = releases.standing(connection, releases.traffic_of(connection))
    champion = registry.version(connection, int(now.champion or 0))
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as scratch:
        folder = registry.download_model(connection, champion.run_id, Path(scratch))
        metadata = {METADATA: Model.load(str(folder)).metadata[METADATA]}
        pipeline = Pipeline([("model", kind(registry.load_model(folder)))])
    mlflow.set_experiment(connection.workload)
    with mlflow.start_run(run_name=f"bench-{kind.__name__}") as run:
        logged = mlflow.sklearn.log_model(
            pipeline,
            name=registry.MODEL,
            serialization_format="cloudpickle",
            metadata=metadata,
            pip_requirements=["scikit-learn"],
        )
        for name in (registry.EVALUATION, registry.GATES):
            # the figures are the champion's: the gates cannot know of the fault
            said = mlflow.artifacts.load_dict(f"runs:/{champion.run_id}/{name}")
            mlflow.log_dict(said, name)
    run_id = run.info.run_id
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as scratch:
        digest = registry.model_digest(registry.download_model(connection, run_id, Path(scratch)))
    tags = {registry.TAG_DIGEST: digest, registry.TAG_GATES: "passed"}
    made = client.create_model_version(
        connection.workload, logged.model_uri, run_id, tags=tags, model_id=logged.model_id
    )
    approve.approve(connection, int(made.version), "bench", automatic=True)
    return int(made.version)


if __name__ == "__main__":
    main()
