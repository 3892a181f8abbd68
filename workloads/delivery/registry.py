"""What the chain reads and writes in MLflow: names of tags, artifacts and aliases, in one place.

Experiment and registered model of a workload both bear `Connection.registered_name`. Everything
about a model version lies with the run that made it: the artifacts `model`, `evaluation.json`,
`gates.json` and `approval.json`.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.delivery.connection import Connection
from workloads.delivery.errors import DeliveryError, NotUpError

CANDIDATE = "candidate"
CHAMPION = "champion"

MODEL = "model"
EVALUATION = "evaluation.json"
GATES = "gates.json"
APPROVAL = "approval.json"

TAG_GATES = "falaj.gates"
TAG_DATA_VERSION = "falaj.data_version"
TAG_CODE_COMMIT = "falaj.code_commit"
TAG_FINGERPRINT = "falaj.fingerprint"
TAG_DIGEST = "falaj.model_digest"
TAG_RELEASED = "falaj.released_at"
"""Set when a version has once been put into service."""
TAG_ROLLED_BACK = "falaj.rolled_back_at"
"""Set when a version lost its traffic to the one before."""
TAG_ROLE = "falaj.role"
"""Of a run: `training` (the parent), `trial` or `finalist`."""
TAG_FAMILY = "falaj.family"
TAG_TRAINING = "falaj.training"
"""Of a version: the training's parent run."""
TAG_RUN = "falaj.run"
"""Of a run: the `falaj run` that it belongs to."""

_QUIET = {
    # a server that is down is told at once, not after minutes of retries
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's pages then show trainings first, not traces of language models."""
_ADDED_BY_DOWNLOAD = "registered_model_meta"


@functools.cache
def _client(tracking_uri: str) -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(tracking_uri)
    return mlflow.MlflowClient(tracking_uri)


def client(connection: Connection) -> Any:
    """The `MlflowClient` of the connection's tracking server."""
    return _client(connection.tracking_uri)


@contextmanager
def told(connection: Connection) -> Iterator[None]:
    """Turns what MLflow raises within into a `DeliveryError` of one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        down = _down(connection)
        if down:
            raise NotUpError(f"{' and '.join(down)} does not answer: run `make up`") from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DeliveryError(f"tracking at {connection.tracking_uri}: {reason}") from error


def _down(connection: Connection) -> list[str]:
    """The parts behind the registry that do not answer: MLflow blames itself for its store."""
    import httpx

    down = []
    for part in connection.parts:
        if part.name in ("object store", "tracking"):
            try:
                httpx.get(part.health, timeout=5)
            except httpx.HTTPError as error:
                down.append(f"{part.name} at {part.url} ({type(error).__name__})")
    return down


def experiment_id(connection: Connection) -> str:
    """The workload's experiment, made when missing."""
    from mlflow.exceptions import MlflowException

    mlflow = client(connection)
    found = mlflow.get_experiment_by_name(connection.registered_name)
    if found is None:
        try:
            return str(mlflow.create_experiment(connection.registered_name, tags=_KIND))
        except MlflowException:  # made by somebody else in between
            found = mlflow.get_experiment_by_name(connection.registered_name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        mlflow.restore_experiment(found.experiment_id)
    for name in _KIND.keys() - found.tags.keys():
        mlflow.set_experiment_tag(found.experiment_id, name, _KIND[name])
    return str(found.experiment_id)


def version(connection: Connection, number: int) -> Any:
    """The model version `number`. Raises `DeliveryError` when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client(connection).get_model_version(connection.registered_name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = ", ".join(str(v.version) for v in versions(connection))
        raise DeliveryError(
            f"{connection.workload} has no version {number}: there is {known or 'none yet'}"
        ) from error


def version_at(connection: Connection, alias: str) -> Any | None:
    """The model version with `alias`, `None` when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client(connection).get_model_version_by_alias(connection.registered_name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def versions(connection: Connection) -> list[Any]:
    """All model versions of the workload, newest first."""
    found = client(connection).search_model_versions(f"name = '{connection.registered_name}'")
    return sorted(found, key=lambda v: int(v.version), reverse=True)


@dataclass(frozen=True)
class Training:
    """One training and what became of it."""

    run_id: str
    started_at: str
    """ISO 8601, UTC."""
    status: str
    data_version: str
    code_commit: str
    cv_auc: float | None
    version: int | None
    gates: str | None
    aliases: tuple[str, ...]


def trainings(connection: Connection, limit: int) -> list[Training]:
    """The newest trainings of the workload, newest first."""
    found = client(connection).search_runs(
        [experiment_id(connection)],
        f"tags.`{TAG_ROLE}` = 'training'",
        max_results=limit,
        order_by=["attributes.start_time DESC"],
    )
    made = {version.tags.get(TAG_TRAINING): version for version in versions(connection)}
    aliases: dict[str, list[str]] = {}
    for alias, number in _aliases(connection).items():
        aliases.setdefault(str(number), []).append(alias)
    trained = []
    for run in found:
        tags = run.data.tags
        version = made.get(run.info.run_id)
        started = datetime.datetime.fromtimestamp(run.info.start_time / 1000, datetime.UTC)
        trained.append(
            Training(
                run_id=run.info.run_id,
                started_at=started.isoformat(timespec="seconds"),
                status=run.info.status,
                data_version=tags.get(TAG_DATA_VERSION, ""),
                code_commit=tags.get(TAG_CODE_COMMIT, ""),
                cv_auc=run.data.metrics.get("cv_auc"),
                version=int(version.version) if version else None,
                gates=version.tags.get(TAG_GATES) if version else None,
                aliases=tuple(sorted(aliases.get(str(version.version), []))) if version else (),
            )
        )
    return trained


def _aliases(connection: Connection) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        found = client(connection).get_registered_model(connection.registered_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return dict(found.aliases)


def log_json(connection: Connection, run_id: str, name: str, content: Mapping[str, Any]) -> None:
    """Puts `content` into the run as the artifact `name`."""
    client(connection).log_dict(run_id, dict(content), name)


def log_metrics(connection: Connection, run_id: str, metrics: Mapping[str, float]) -> None:
    """Logs `metrics` into the run, so that MLflow's pages compare them."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    client(connection).log_batch(run_id, [Metric(n, v, now, 0) for n, v in metrics.items()])


def read_json(connection: Connection, run_id: str, name: str) -> dict[str, Any] | None:
    """The JSON artifact `name` of the run, `None` when it has none."""
    mlflow = client(connection)
    if not any(entry.path == name for entry in mlflow.list_artifacts(run_id)):
        return None
    with tempfile.TemporaryDirectory(prefix="falaj-artifact-") as folder:
        path = Path(mlflow.download_artifacts(run_id, name, folder))
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def download_model(connection: Connection, run_id: str, folder: Path) -> Path:
    """Fetches the run's model into `folder`; returns where it lies."""
    import mlflow

    client(connection)
    return Path(
        mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{MODEL}", dst_path=str(folder))
    )


def load_model(folder: Path) -> Any:
    """The scikit-learn Pipeline in a fetched model's folder."""
    import mlflow.sklearn

    return mlflow.sklearn.load_model(str(folder))


def model_digest(folder: Path) -> str:
    """sha256 over names and contents of a model's files, wherever it was fetched to."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _ADDED_BY_DOWNLOAD:
            name = path.relative_to(folder).as_posix()
            total.update(f"{name}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def require_up(connection: Connection) -> None:
    """Raises `NotUpError` naming each part that the chain needs and that does not answer."""
    import httpx

    down = []
    for name, url in (
        ("tracking", f"{connection.tracking_uri}/health"),
        ("training", connection.ray_address),
    ):
        if not url.startswith("http"):
            continue
        try:
            # without its token the Jobs API answers 401, which is an answer
            httpx.get(url, timeout=5)
        except httpx.HTTPError as error:
            down.append(f"{name} at {url} ({type(error).__name__})")
    if down:
        raise NotUpError(f"{' and '.join(down)} does not answer: run `make up`")
