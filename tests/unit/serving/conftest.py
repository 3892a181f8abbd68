"""Real parts on free loopback ports: a registry in files, model servers, a gateway."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from components.local import gateway
from workloads.delivery.connection import Connection
from workloads.delivery.traffic import GatewayTrafficSplit

WORKLOAD = "credit-risk"
ROUTE_PATH = f"/seldon/local/{WORKLOAD}"
PREDICTIONS = "/api/v1.0/predictions"
SCHEMA = {
    "workload": WORKLOAD,
    "threshold": 0.5,
    "positive": "bad",
    "features": [
        {
            "name": "Income",
            "kind": "number",
            "nullable": True,
            "minimum": 0,
            "maximum": 100000,
            "classification": "personal",
            "reference": {"edges": [100.0]},
        },
        {
            "name": "Amount",
            "kind": "number",
            "nullable": False,
            "minimum": 1,
            "maximum": None,
            "classification": "internal",
        },
        {"name": "Job", "kind": "category", "nullable": True, "categories": ["fixed", "others"]},
    ],
}
RECORD = {"Income": 120.0, "Amount": 1000, "Job": "fixed"}
WAIT_SECONDS = 60


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Returns the condition's first true value; fails saying `what` never came."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError, OSError):
            if value := condition():
                return value
        if time.monotonic() > deadline:
            pytest.fail(f"never: {what}")
        time.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """`wait_until`."""
    return wait_until


def _workers(ports: int | list[int]) -> list[int]:
    return ports if isinstance(ports, list) else [ports]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    return lambda number: [free_port() for _ in range(number)]


@pytest.fixture
def answering() -> Callable[[str], None]:
    """Waits until a URL answers 200."""
    return lambda url: (
        wait_until(lambda: httpx.get(url).status_code == 200, f"{url} answers") and None
    )


@dataclass
class Process:
    """A process that a test started, and the file that it writes to."""

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Sends a signal to the whole group and returns its leader's exit code."""
        assert self.running
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.running.pid, number)
        return self.running.wait(30)


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Callable[..., Process]]:
    """Starts processes that end with the context and write to files in `folder`."""
    started: list[Process] = []

    def start(name: str, command: list[str], **environment: str) -> Process:
        process = Process(command, folder / f"{name}.log", environment)
        process.start()
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts a process that ends with the test."""
    with processes(tmp_path) as start:
        yield start


@dataclass
class Gateway:
    """A gateway of its own folder, in front of two slots."""

    home: Path
    port: int
    metrics_port: int
    slots: dict[str, int | list[int]]
    process: Process

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}{ROUTE_PATH}"

    @property
    def backend(self) -> str:
        return f"local.{WORKLOAD}"

    @property
    def split(self) -> GatewayTrafficSplit:
        return GatewayTrafficSplit(
            gateway.weights_path(self.home, self.backend), self.home / "gateway.sock", self.backend
        )

    def wait(self) -> None:
        wait_until(
            lambda: httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200,
            f"the gateway answers: {self.process.log.read_text()}",
        )


@pytest.fixture
def new_gateway(
    run: Callable[..., Process],
) -> Iterator[Callable[[dict[str, int | list[int]]], Gateway]]:
    """Starts a gateway before the given slots (slot → port, or the ports of its workers)."""
    # a unix socket's path is short, the one of `tmp_path` is not
    home = Path(tempfile.mkdtemp(prefix="falaj-"))

    def start(slots: dict[str, int | list[int]]) -> Gateway:
        port, metrics_port = free_port(), free_port()
        gateway.write_settings(
            home, port=port, metrics_port=metrics_port, socket_path=home / "gateway.sock"
        )
        gateway.write_route(
            home,
            gateway.Route(
                namespace="local",
                deployment=WORKLOAD,
                slots={
                    slot: [("127.0.0.1", port) for port in _workers(ports)]
                    for slot, ports in slots.items()
                },
            ),
        )
        process = run("gateway", [sys.executable, "-m", "components.local.gateway", str(home)])
        started = Gateway(home, port, metrics_port, slots, process)
        started.wait()
        return started

    yield start
    shutil.rmtree(home)


def _pipeline(probability: float) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.dummy import DummyClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    good = round((1 - probability) * 100)
    rows = pd.DataFrame(
        {
            "Income": [float(number) for number in range(100)],
            "Amount": [float(number + 1) for number in range(100)],
            "Job": ["fixed", "others"] * 50,
        }
    )
    encode = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), ["Income", "Amount"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["Job"]),
        ]
    )
    pipeline = Pipeline([("encode", encode), ("model", DummyClassifier(strategy="prior"))])
    return pipeline.fit(rows, [0] * good + [1] * (100 - good))


@dataclass
class Registry:
    """An MLflow registry in files."""

    uri: str
    folder: Path

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def publish(self, probability: float, *, approved: bool = True, pipeline: Any = None) -> int:
        """Registers a model as the chain does; returns its version."""
        import mlflow

        from workloads.delivery import registry as names

        mlflow.set_tracking_uri(self.uri)
        mlflow.set_experiment(WORKLOAD)
        with mlflow.start_run() as active:
            logged = mlflow.sklearn.log_model(
                pipeline or _pipeline(probability),
                name=names.MODEL,
                serialization_format="cloudpickle",
                metadata={"falaj": SCHEMA},
                pip_requirements=["scikit-learn"],
            )
            gates = [
                {
                    "figure": "auc",
                    "value": 0.8,
                    "relation": ">=",
                    "threshold": 0.7,
                    "passed": True,
                }
            ]
            mlflow.log_dict({"passed": True, "rows": gates}, names.GATES)
            run_id = active.info.run_id
        client = self.client
        with contextlib.suppress(mlflow.MlflowException):
            client.create_registered_model(WORKLOAD)
        made = client.create_model_version(WORKLOAD, logged.model_uri, run_id=run_id)
        with tempfile.TemporaryDirectory() as fetched:
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{WORKLOAD}/{made.version}", dst_path=fetched
            )
            digest = names.model_digest(Path(fetched))
        client.set_model_version_tag(WORKLOAD, made.version, names.TAG_DIGEST, digest)
        client.set_model_version_tag(WORKLOAD, made.version, names.TAG_GATES, "passed")
        if approved:
            approval = {
                "workload": WORKLOAD,
                "version": int(made.version),
                "approver": "A. Approver",
                "approved_at": "2026-01-01T00:00:00+00:00",
                "model_digest": digest,
                "figures": {"auc": 0.8},
                "gates": gates,
                "automatic": False,
            }
            client.log_dict(run_id, approval, names.APPROVAL)
        return int(made.version)

    def point(self, slot: str, version: int) -> None:
        self.client.set_registered_model_alias(WORKLOAD, f"slot-{slot}", str(version))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the versions 1 and 2, made once: its tables take seconds."""
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(f"sqlite:///{folder}/mlflow.db", folder)
    os.environ["MLFLOW_ARTIFACT_ROOT"] = str(folder)
    registry.client.create_experiment(WORKLOAD, artifact_location=f"file://{folder}/artifacts")
    registry.publish(0.2)
    registry.publish(0.7)
    return folder


@pytest.fixture
def registry(template: Path) -> Iterator[Registry]:
    """The registry; aliases and tags that a test sets are taken back after it."""
    database = template / "mlflow.db"
    kept = template / "kept.db"
    shutil.copyfile(database, kept)
    yield Registry(f"sqlite:///{database}", template)
    shutil.copyfile(kept, database)


@dataclass
class Slot:
    """A model server."""

    name: str
    port: int
    process: Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, path: str = "/ready", code: int = 200) -> None:
        wait_until(
            lambda: httpx.get(f"{self.url}{path}").status_code == code,
            f"slot {self.name} answers {path} with {code}: {self.process.log.read_text()}",
        )

    def ask(self, record: dict[str, Any] | None = None) -> httpx.Response:
        message = {"jsonData": {"records": [record or RECORD]}}
        return httpx.post(f"{self.url}{PREDICTIONS}", json=message)


def start_slot(
    run: Callable[..., Process], name: str, folder: Path, uri: str, **environment: str
) -> Slot:
    """Starts the model server of a slot; returns when it is alive."""
    port = free_port()
    process = run(
        f"slot-{name}",
        [
            *(sys.executable, "-m", "workloads.delivery.server"),
            *("--workload", WORKLOAD, "--slot", name, "--port", str(port)),
        ],
        **{"MLFLOW_TRACKING_URI": uri, "FALAJ_STATE": str(folder / "state"), **environment},
    )
    slot = Slot(name, port, process)
    slot.wait("/live")
    return slot


@pytest.fixture
def new_slot(
    run: Callable[..., Process], registry: Registry, tmp_path: Path
) -> Callable[..., Slot]:
    """Starts the model server of a slot, which may hold no model yet."""

    def start(name: str, **environment: str) -> Slot:
        return start_slot(run, name, tmp_path, registry.uri, **environment)

    return start


@pytest.fixture(scope="session")
def steady_slot(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slot]:
    """A model server with version 1 that no test changes."""
    folder = tmp_path_factory.mktemp("steady")
    shutil.copyfile(template / "mlflow.db", folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    Registry(uri, folder).point("a", 1)
    with processes(folder) as run:
        slot = start_slot(run, "a", folder, uri)
        slot.wait("/ready")
        yield slot


@pytest.fixture
def new_prometheus(run: Callable[..., Process], tmp_path: Path) -> Callable[[dict[str, int]], str]:
    """Starts a Prometheus that scrapes the model servers (slot → port); returns its address."""

    def start(slots: dict[str, int]) -> str:
        port = free_port()
        configuration = tmp_path / "prometheus.json"  # JSON is YAML
        configuration.write_text(
            json.dumps(
                {
                    "scrape_configs": [
                        {
                            "job_name": "serving",
                            "scrape_interval": "1s",
                            "scrape_timeout": "1s",
                            "static_configs": [
                                {
                                    "targets": [f"127.0.0.1:{number}"],
                                    "labels": {"workload": WORKLOAD, "slot": slot},
                                }
                                for slot, number in slots.items()
                            ],
                        }
                    ]
                }
            )
        )
        found = shutil.which("prometheus", path=f"{os.environ['PATH']}:/usr/local/bin:/usr/bin")
        assert found, "prometheus is not installed: run `make setup`"
        process = run(
            "prometheus",
            [
                found,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={tmp_path / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
        )
        url = f"http://127.0.0.1:{port}"
        wait_until(
            lambda: httpx.get(f"{url}/-/ready").status_code == 200,
            f"prometheus is ready: {process.log.read_text()}",
        )
        return url

    return start


@pytest.fixture
def connection_of(registry: Registry, tmp_path: Path) -> Callable[..., Connection]:
    """The connection of a workload behind a gateway."""

    def make(front: Gateway) -> Connection:
        return Connection.from_variables(
            {
                "FALAJ_ENVIRONMENT": "local",
                "FALAJ_WORKLOAD": WORKLOAD,
                "MLFLOW_TRACKING_URI": registry.uri,
                "FALAJ_DATA_URI": f"file://{tmp_path}/data",
                "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9",
                "FALAJ_ENDPOINT": front.endpoint,
                "FALAJ_METRICS_URL": "http://127.0.0.1:9",
                "FALAJ_ORCHESTRATOR_URL": "http://127.0.0.1:9",
                "FALAJ_SLOTS": json.dumps(
                    {
                        slot: [f"http://127.0.0.1:{port}" for port in _workers(ports)]
                        for slot, ports in front.slots.items()
                    }
                ),
                "FALAJ_TRAFFIC_WEIGHTS": str(gateway.weights_path(front.home, front.backend)),
                "FALAJ_TRAFFIC_SOCKET": str(front.home / "gateway.sock"),
                "FALAJ_TRAFFIC_BACKEND": front.backend,
                "FALAJ_STATE": str(tmp_path / "state"),
            }
        )

    return make
