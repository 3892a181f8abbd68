"""How workload code reaches the environment that it runs in.

The workload's stack says it in environment variables (`VARIABLES`). `connect` reads them from this
process's environment, else asks Pulumi for the stack's output `variables`, and hands them on to the
client libraries of MLflow, S3 and Ray. Nothing else in `workloads/` knows an address or a secret.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from workloads.delivery.errors import DeliveryError, NotUpError

PROJECT = Path(__file__).resolve().parents[1]
"""The folder `workloads/`: the Pulumi project, and the parent of every workload's folder."""

VARIABLES = (
    "FALAJ_ENVIRONMENT",
    "FALAJ_WORKLOAD",
    "MLFLOW_TRACKING_URI",
    "FALAJ_DATA_URI",
    "RAY_API_SERVER_ADDRESS",
    "FALAJ_ENDPOINT",
    "FALAJ_STATE",
)
"""What every environment sets; a few more are optional (`Connection.from_variables`)."""

OF_RELEASES = (
    "FALAJ_METRICS_URL",
    "FALAJ_ORCHESTRATOR_URL",
    "FALAJ_SLOTS",
    "FALAJ_TRAFFIC_WEIGHTS",
    "FALAJ_TRAFFIC_SOCKET",
    "FALAJ_TRAFFIC_BACKEND",
)
"""Set where `falaj release` moves the traffic; a job that trains on a cluster has them not."""

SPLIT = "FALAJ_SPLIT"
"""Set in place of the last four of `OF_RELEASES` where a workload is released to a cluster: JSON of
what a `MeshRoute` is made of, and the address of the cluster's `server`."""

_TRAINING_ALONE = ("RAY_API_SERVER_ADDRESS", "FALAJ_STATE")
"""Of `VARIABLES`, those that a release to a cluster does without."""

_BY_WAY = ("MLFLOW_TRACKING_URI", "FALAJ_METRICS_URL")
"""Addresses inside a cluster: whoever comes another way there, such as a forwarded port, sets
them."""

REGISTERED_NAME = "FALAJ_REGISTERED_NAME"
"""Set where MLflow tells teams apart by the names of what they have: `registered_name`."""

_NAME = re.compile(r"^[a-z][a-z0-9-]*[a-z0-9]$")


@dataclass(frozen=True)
class Part:
    """One running part of the environment, for `falaj status` and `falaj open`."""

    name: str
    url: str
    """What a person opens."""
    health: str
    """Answers 200 while the part is well."""
    process: str | None = None
    """Its name in the supervisor, where there is one."""


@dataclass(frozen=True)
class Connection:
    """Where the parts of one environment are, for one workload.

    `repr` shows no secret. `variables` are those it was made from.
    """

    environment: str
    workload: str
    """With hyphens, such as `credit-risk`."""
    tracking_uri: str
    data_uri: str
    """`s3://bucket`, or a `file://` address in tests; tables lie at `{data_uri}/{workload}/…`."""
    ray_address: str
    """URL of the Jobs API."""
    endpoint: str
    """URL before `/api/v1.0/predictions`."""
    metrics_url: str
    orchestrator_url: str
    slots: dict[str, list[str]]
    """Slot → URL of each of its workers; none of a cluster's pods."""
    traffic_weights: Path
    traffic_socket: Path
    traffic_backend: str
    auto_approve: bool
    synthetic_per_second: int
    """Rate of the synthetic traffic during a release; 0 where a release waits for clients."""
    state: Path
    """A private folder for locks and the journal of runs; made when missing."""
    parts: list[Part]
    storage_options: dict[str, str] = field(repr=False, default_factory=dict)
    """For `deltalake`; empty for a local path."""
    variables: dict[str, str] = field(repr=False, default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    """Of a cluster, as `SPLIT` says; empty where the local gateway splits."""

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Reads the variables of an environment. Raises `NotUpError` naming all that are missing,
        `DeliveryError` naming one that cannot be read.
        """
        if missing := _missing(variables):
            raise NotUpError(
                f"the workload's environment lacks {', '.join(missing)}: run `make up`"
            )
        split = _json(variables, SPLIT, dict, "{}")
        state = _state(variables)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(
            environment=variables["FALAJ_ENVIRONMENT"],
            workload=variables["FALAJ_WORKLOAD"],
            tracking_uri=variables["MLFLOW_TRACKING_URI"].rstrip("/"),
            data_uri=variables["FALAJ_DATA_URI"].rstrip("/"),
            ray_address=variables.get("RAY_API_SERVER_ADDRESS", "").rstrip("/"),
            endpoint=variables["FALAJ_ENDPOINT"].rstrip("/"),
            metrics_url=variables.get("FALAJ_METRICS_URL", "").rstrip("/"),
            orchestrator_url=variables.get("FALAJ_ORCHESTRATOR_URL", "").rstrip("/"),
            slots=_json(variables, "FALAJ_SLOTS", dict, "{}")
            or {slot: [] for slot in split.get("slots", ())},
            split=split,
            traffic_weights=Path(variables.get("FALAJ_TRAFFIC_WEIGHTS", "")),
            traffic_socket=Path(variables.get("FALAJ_TRAFFIC_SOCKET", "")),
            traffic_backend=variables.get("FALAJ_TRAFFIC_BACKEND", ""),
            auto_approve=variables.get("FALAJ_AUTO_APPROVE", "false").lower() == "true",
            synthetic_per_second=_whole(variables, "FALAJ_SYNTHETIC_TRAFFIC"),
            state=state,
            parts=_parts(variables),
            storage_options=_storage_options(variables),
            variables=dict(variables),
        )

    @property
    def registered_name(self) -> str:
        """What its MLflow experiment and its registered model are called."""
        return registered_name(self.workload, self.variables)

    @property
    def series(self) -> str:
        """The labels that Prometheus knows its servers by: teams may call workloads the same."""
        team = f'namespace="{self.split["namespace"]}",' if self.split else ""
        return f'{team}workload="{self.workload}"'

    def require_releases(self) -> None:
        """Raises `NotUpError` where the traffic is not moved from here, naming what is missing."""
        wanted = ("FALAJ_METRICS_URL",) if self.split else OF_RELEASES
        missing = [name for name in wanted if not self.variables.get(name)]
        if missing:
            raise NotUpError(
                f"{self.workload} is not released from here: its environment lacks "
                f"{', '.join(missing)}; locally: run `make up`; on a cluster `falaj release` runs "
                f"with the variables of the workload's stack, {SPLIT} among them"
            )

    def table_uri(self, table: str) -> str:
        """Address of the Delta table `table` of this workload."""
        return f"{self.data_uri}/{self.workload}/{table}"

    def table_path(self, table: str) -> str:
        """`table_uri`, as a plain path where the data lies in the file system."""
        uri = self.table_uri(table)
        return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri


def registered_name(workload: str, variables: Mapping[str, str]) -> str:
    """The name of `workload` in MLflow: what the platform says, else the workload's own.

    Training, release and serving ask here, so that they mean the same model.
    """
    return variables.get(REGISTERED_NAME) or workload


def connect(workload: str, environment: str = "local") -> Connection:
    """The connection of `workload` in `environment`, put into `os.environ` for client libraries.

    Raises `NotUpError` when the environment does not exist or Pulumi cannot be asked.
    """
    if not _NAME.match(workload) or not _NAME.match(environment):
        raise DeliveryError(
            f"{workload!r} in {environment!r}: names are lower-case letters, digits and hyphens"
        )
    present = os.environ.get("FALAJ_WORKLOAD"), os.environ.get("FALAJ_ENVIRONMENT")
    if present == (workload, environment) and not _missing(os.environ):
        variables = dict(os.environ)
    else:
        variables = _stack_variables(workload, environment)
        if variables.get(SPLIT):
            given = {name: os.environ[name] for name in _BY_WAY if os.environ.get(name)}
            variables = {**variables, **given}
    connection = Connection.from_variables(variables)
    os.environ.update(variables)
    return connection


@functools.cache
def _stack_variables(workload: str, environment: str) -> dict[str, str]:
    stack = f"{workload}.{environment}"
    not_up = "the environment is not up: run `make up`"
    command = ["pulumi", "stack", "output", "--json", "--show-secrets", "--stack", stack]
    try:
        asked = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError as error:
        raise NotUpError(f"{not_up} (pulumi is not on PATH; `make shell` puts it there)") from error
    except subprocess.TimeoutExpired as error:
        raise NotUpError(f"pulumi did not answer within 60 s for the stack {stack}") from error
    if asked.returncode != 0:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotUpError(f"{not_up} (stack {stack}: {reason.removeprefix('error: ')})")
    try:
        variables = json.loads(asked.stdout)["variables"]
        return {str(name): str(value) for name, value in variables.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise NotUpError(f"{not_up} (stack {stack} has no output `variables`)") from error


def _missing(variables: Mapping[str, str]) -> list[str]:
    """The names of `VARIABLES` that are not set and have to be."""
    spared = _TRAINING_ALONE if variables.get(SPLIT) else ()
    return [name for name in VARIABLES if not variables.get(name) and name not in spared]


def _state(variables: Mapping[str, str]) -> Path:
    """What a stack on a cluster does not say: a folder of whoever asks."""
    if said := variables.get("FALAJ_STATE"):
        return Path(said)
    name = f"{variables['FALAJ_WORKLOAD']}.{variables['FALAJ_ENVIRONMENT']}"
    return PROJECT.parent / ".state" / "workloads" / name


def _storage_options(variables: Mapping[str, str]) -> dict[str, str]:
    if not variables["FALAJ_DATA_URI"].startswith("s3://"):
        return {}
    names = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    options = {name: variables[name] for name in names if variables.get(name)}
    # writes that fail when the file exists make concurrent commits safe without a lock table
    options["aws_conditional_put"] = "etag"
    if variables.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def _parts(variables: Mapping[str, str]) -> list[Part]:
    entries = _json(variables, "FALAJ_PARTS", list, "[]")
    try:
        return [Part(**entry) for entry in entries]
    except TypeError as error:
        raise DeliveryError(f"FALAJ_PARTS: {error}") from error


def _whole(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name) or "0"
    if not text.isdecimal():
        raise DeliveryError(f"{name} is {text!r}, expected a whole number, 0 for none")
    return int(text)


def _json(variables: Mapping[str, str], name: str, kind: type, default: str) -> Any:
    text = variables.get(name, default)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DeliveryError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise DeliveryError(f"{name} is {text!r}, expected a JSON {kind.__name__}")
    return value
