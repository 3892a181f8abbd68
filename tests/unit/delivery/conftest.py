"""What the tests of the chain share: the shipped workload, and a connection to files alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from workloads.delivery import registry, source
from workloads.delivery.connection import Connection
from workloads.delivery.spec import FILE, Workload, WorkloadSpec, load, read


@pytest.fixture(scope="session")
def shipped() -> Workload:
    """The workload in the repository."""
    return load("credit-risk")


@pytest.fixture(scope="session")
def applications(shipped: Workload) -> pd.DataFrame:
    """Its raw rows; copy before changing."""
    data = shipped.spec.data
    return source.read(shipped.folder / data.source, data)


@pytest.fixture(scope="session")
def connection_in() -> Callable[[Path], Connection]:
    """Makes a connection whose tables, registry and state all lie in a folder."""

    def make(folder: Path) -> Connection:
        return Connection.from_variables(
            {
                "FALAJ_ENVIRONMENT": "test",
                "FALAJ_WORKLOAD": "credit-risk",
                "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
                "FALAJ_DATA_URI": f"file://{folder}/tables",
                "RAY_API_SERVER_ADDRESS": "nowhere",
                "FALAJ_ENDPOINT": "nowhere",
                "FALAJ_METRICS_URL": "nowhere",
                "FALAJ_ORCHESTRATOR_URL": "nowhere",
                "FALAJ_SLOTS": "{}",
                "FALAJ_TRAFFIC_WEIGHTS": f"{folder}/weights.json",
                "FALAJ_TRAFFIC_SOCKET": f"{folder}/socket",
                "FALAJ_TRAFFIC_BACKEND": "nowhere",
                "FALAJ_STATE": f"{folder}/state",
            }
        )

    return make


@pytest.fixture(scope="session")
def database(
    tmp_path_factory: pytest.TempPathFactory, connection_in: Callable[[Path], Connection]
) -> Path:
    """An MLflow database without content: making one takes seconds, copying one does not."""
    folder = tmp_path_factory.mktemp("mlflow")
    registry.versions(connection_in(folder))
    return folder / "mlflow.db"


@pytest.fixture
def connection(
    tmp_path: Path,
    database: Path,
    connection_in: Callable[[Path], Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> Connection:
    """A connection to files of this test alone."""
    shutil.copy(database, tmp_path)
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts of a database without a server
    return connection_in(tmp_path)


@pytest.fixture
def content(shipped: Workload) -> dict[str, Any]:
    """The shipped `workload.yaml`, to be changed."""
    loaded: dict[str, Any] = yaml.safe_load((shipped.folder / FILE).read_text())
    return loaded


@pytest.fixture
def parsed(tmp_path: Path) -> Callable[[dict[str, Any]], WorkloadSpec]:
    """Parses content as the file `workload.yaml`."""

    def parse(content: dict[str, Any]) -> WorkloadSpec:
        file = tmp_path / FILE
        file.write_text(yaml.safe_dump(content))
        return read(file)

    return parse


@pytest.fixture
def with_source(shipped: Workload, tmp_path: Path) -> Callable[[str], Workload]:
    """The shipped workload with another source, relative to the test's folder."""

    def make(name: str) -> Workload:
        data = shipped.spec.data.model_copy(update={"source": name})
        spec = shipped.spec.model_copy(update={"data": data})
        return shipped.model_copy(update={"spec": spec, "folder": tmp_path})

    return make


@pytest.fixture
def approving(connection: Connection) -> Connection:
    """The same, in an environment that approves by itself."""
    return replace(connection, auto_approve=True)
