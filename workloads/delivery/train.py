"""Train: a job on the Ray cluster tunes every family of models and logs the best of each.

Owns the parent run in MLflow, the copy of the code that travels to the cluster, and the job's life:
it ends with this step, however this step ends. What the job does is `workloads.delivery.tuning`.
"""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workloads.delivery import registry
from workloads.delivery.connection import (
    OF_RELEASES,
    PROJECT,
    REGISTERED_NAME,
    VARIABLES,
    Connection,
)
from workloads.delivery.errors import DeliveryError, NotUpError
from workloads.delivery.spec import FILE, Workload
from workloads.delivery.tuning import CV_AUC, PROGRESS

_PARENT = "parent_run"
"""Key of a job's metadata: the training that it belongs to."""
_POLL_SECONDS = 0.4
_LAST_LINES = 25
_LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Finalist:
    """The best model of one family, fitted on all training rows."""

    family: str
    run_id: str
    cv_auc: float
    """Mean over the folds of the training set."""
    parameters: dict[str, str]


@dataclass(frozen=True)
class Trained:
    """One training: a parent run, its trials and its finalists, best first."""

    parent_run: str
    data_version: int
    trials: int
    finalists: tuple[Finalist, ...]


@dataclass(frozen=True)
class Origin:
    """Where a training's models come from, kept as tags of every run and version."""

    data_version: int
    code_commit: str
    fingerprint: str
    run: str = ""
    """The `falaj run` that this belongs to."""

    def tags(self) -> dict[str, str]:
        return {
            registry.TAG_DATA_VERSION: str(self.data_version),
            registry.TAG_CODE_COMMIT: self.code_commit,
            registry.TAG_FINGERPRINT: self.fingerprint,
            registry.TAG_RUN: self.run,
        }


Progress = Callable[[int, int, str], None]
"""Called with trials done, trials in all, and what happened."""


def train(
    connection: Connection,
    workload: Workload,
    origin: Origin,
    progress: Progress = lambda done, total, text: None,
) -> Trained:
    """Runs the training job on `origin.data_version` and waits for it.

    Raises `DeliveryError` with the job's last lines when it fails, `NotUpError` when the cluster
    does not answer. An interrupted training leaves no running job and no running MLflow run.
    """
    client = registry.client(connection)
    parent = str(
        client.create_run(
            registry.experiment_id(connection),
            run_name=f"training on data version {origin.data_version}",
            tags={**origin.tags(), registry.TAG_ROLE: "training"},
        ).info.run_id
    )
    status = "KILLED"
    try:
        client.log_text(parent, _spec_text(workload), FILE)
        with (
            _job(connection, workload, origin.data_version, parent) as (jobs, job),
            _imports_meanwhile(),
        ):
            _follow(jobs, job, progress)
        status = "FINISHED"
    except DeliveryError:
        status = "FAILED"
        raise
    finally:
        close(connection, parent, status)
    trained = trained_by(connection, parent)
    best = trained.finalists[0]
    client.log_metric(parent, CV_AUC, best.cv_auc)
    return trained


def trained_by(connection: Connection, parent: str) -> Trained:
    """What the training with the parent run `parent` made. Raises `DeliveryError` when nothing."""
    run = registry.client(connection).get_run(parent)
    children = _children(connection, run)
    finalists = [
        Finalist(
            family=child.data.tags[registry.TAG_FAMILY],
            run_id=child.info.run_id,
            cv_auc=child.data.metrics[CV_AUC],
            parameters=dict(child.data.params),
        )
        for child in children
        if child.data.tags[registry.TAG_ROLE] == "finalist" and child.info.status == "FINISHED"
    ]
    if not finalists:
        raise DeliveryError(f"the training {parent} ended without a model")
    return Trained(
        parent_run=parent,
        data_version=int(run.data.tags[registry.TAG_DATA_VERSION]),
        trials=sum(child.data.tags[registry.TAG_ROLE] == "trial" for child in children),
        finalists=tuple(sorted(finalists, key=lambda f: (-f.cv_auc, f.family))),
    )


def close(connection: Connection, parent: str, status: str) -> None:
    """Ends the parent run with `status`; children that still run were killed."""
    client = registry.client(connection)
    run = client.get_run(parent)
    if status != "FINISHED":
        for child in _children(connection, run):
            if child.info.status == "RUNNING":
                client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(parent, status)


def close_stale(connection: Connection, run: str) -> int:
    """Stops what a killed `falaj run` called `run` left running; returns how many trainings."""
    client = registry.client(connection)
    stale = client.search_runs(
        [registry.experiment_id(connection)],
        f"tags.`{registry.TAG_RUN}` = '{run}' and tags.`{registry.TAG_ROLE}` = 'training' "
        "and attributes.status = 'RUNNING'",
    )
    for parent in stale:
        jobs = _jobs(connection)
        for job in jobs.list_jobs():
            if (job.metadata or {}).get(_PARENT) == parent.info.run_id and job.submission_id:
                _stop(jobs, job.submission_id)
        close(connection, parent.info.run_id, "KILLED")
    return len(stale)


def _children(connection: Connection, parent: Any) -> list[Any]:
    return list(
        registry.client(connection).search_runs(
            [parent.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
            max_results=5000,
        )
    )


@contextmanager
def _job(
    connection: Connection, workload: Workload, version: int, parent: str
) -> Iterator[tuple[Any, str]]:
    jobs = _jobs(connection)
    public = {
        name: connection.variables[name]
        for name in (*VARIABLES, *OF_RELEASES, REGISTERED_NAME)
        if name in connection.variables
    }
    with tempfile.TemporaryDirectory(prefix="falaj-code-") as temporary:
        folder = Path(temporary)
        _stage(workload, folder)
        job = jobs.submit_job(
            entrypoint=(
                "python -m workloads.delivery.tuning "
                f"--workload {workload.name} --version {version} --parent {parent}"
            ),
            # what is secret the cluster has in its own environment: this one is shown to all
            runtime_env={"working_dir": str(folder), "env_vars": public},
            metadata={"workload": workload.name, _PARENT: parent},
        )
    try:
        yield jobs, job
    except BaseException:
        _stop(jobs, job)
        raise


@contextmanager
def _imports_meanwhile() -> Iterator[None]:
    """Loads what the next step needs, which takes seconds, while this process only waits."""

    def load() -> None:
        for module in ("sklearn.metrics", "fairlearn.metrics", "mlflow.sklearn", "xgboost"):
            importlib.import_module(module)

    thread = threading.Thread(target=load, daemon=True, name="imports")
    thread.start()
    yield
    thread.join()


def _jobs(connection: Connection) -> Any:
    from ray.job_submission import JobSubmissionClient

    try:
        jobs = JobSubmissionClient(connection.ray_address)
    except (ConnectionError, RuntimeError) as error:
        raise NotUpError(
            f"training at {connection.ray_address} does not take jobs: {_first_line(error)}"
        ) from error
    # making the client sets the level of Ray's loggers; what it says is no news to a user
    for name in (
        "ray",
        "ray.dashboard.modules.dashboard_sdk",
        "ray._private.runtime_env.packaging",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    return jobs


def _stop(jobs: Any, job: str) -> None:
    try:
        if not jobs.get_job_status(job).is_terminal():
            jobs.stop_job(job)
    except (RuntimeError, OSError):
        # the cluster has gone, or has been started anew and knows no such job
        return


def _follow(jobs: Any, job: str, progress: Progress) -> None:
    """Waits for the job, telling of every trial. Raises `DeliveryError` when it fails."""
    done, total, best = 0, 0, 0.0
    end = time.monotonic() + _LIMIT_SECONDS
    while True:
        try:
            status = jobs.get_job_status(job)
            lines = jobs.get_job_logs(job).splitlines()
        except (RuntimeError, OSError) as error:
            raise NotUpError(
                f"training stopped answering during the job {job}: {_first_line(error)}"
            ) from error
        facts = [json.loads(x.removeprefix(PROGRESS)) for x in lines if x.startswith(PROGRESS)]
        total = next((fact["total"] for fact in facts if "total" in fact), total)
        trials = [fact for fact in facts if "auc" in fact]
        if len(trials) > done or not done:
            done = len(trials)
            best = max((fact["auc"] for fact in trials), default=best)
            progress(done, total, f"best AUC {best:.4f}" if trials else "starting")
        if status.is_terminal():
            break
        if time.monotonic() > end:
            raise DeliveryError(f"the training job {job} did not end within {_LIMIT_SECONDS} s")
        time.sleep(_POLL_SECONDS)
    if status.value != "SUCCEEDED":
        shown = [line for line in lines if not line.startswith(PROGRESS)][-_LAST_LINES:]
        listed = "\n".join(f"  {line}" for line in shown)
        raise DeliveryError(f"the training job {job} ended as {status.value}:\n{listed}")


def _stage(workload: Workload, folder: Path) -> None:
    """Copies the code of the chain and of the workload, without data, below `folder`."""
    package = folder / PROJECT.name
    for name in ("delivery", workload.folder.name):
        (package / name).mkdir(parents=True)
        for source in sorted((PROJECT / name).glob("*.py")):
            shutil.copy(source, package / name)
    shutil.copy(PROJECT / "__init__.py", package)
    (package / workload.folder.name / FILE).write_text(_spec_text(workload), encoding="utf-8")


def _spec_text(workload: Workload) -> str:
    content = workload.spec.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
