"""Register: the chosen finalist becomes a model version with the alias `candidate`.

Owns the version's tags. Doing it again for the same run gives the same version.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.delivery import registry
from workloads.delivery.connection import Connection
from workloads.delivery.train import Origin


@dataclass(frozen=True)
class Registered:
    """One model version."""

    version: int
    run_id: str
    model_digest: str


def register(connection: Connection, run_id: str, origin: Origin) -> Registered:
    """Registers the model of the finalist's run `run_id` under the workload's registered name."""
    client = registry.client(connection)
    known = next((v for v in registry.versions(connection) if v.run_id == run_id), None)
    found = known if known is not None else _create(connection, run_id, origin)
    digest = found.tags[registry.TAG_DIGEST]
    client.set_registered_model_alias(connection.registered_name, registry.CANDIDATE, found.version)
    return Registered(version=int(found.version), run_id=run_id, model_digest=digest)


def version_of(connection: Connection, fingerprint: str) -> Any | None:
    """The newest model version made from `fingerprint`, `None` when there is none."""
    made = (
        v
        for v in registry.versions(connection)
        if v.tags.get(registry.TAG_FINGERPRINT) == fingerprint
    )
    return next(made, None)


def _create(connection: Connection, run_id: str, origin: Origin) -> Any:
    from mlflow.exceptions import MlflowException

    client = registry.client(connection)
    with tempfile.TemporaryDirectory(prefix="falaj-model-") as folder:
        digest = registry.model_digest(registry.download_model(connection, run_id, Path(folder)))
    try:
        client.create_registered_model(connection.registered_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = client.get_run(run_id)
    model_id = run.outputs.model_outputs[0].model_id
    # the tags come with the version: there is no moment in which it exists without them
    return client.create_model_version(
        connection.registered_name,
        f"models:/{model_id}",
        run_id,
        tags={
            **origin.tags(),
            registry.TAG_DIGEST: digest,
            registry.TAG_TRAINING: run.data.tags["mlflow.parentRunId"],
        },
        model_id=model_id,
    )
