"""Ingest: raw data become a version of the workload's Delta table `raw`.

Owns the table's content and the way from a source file to a version of it. The same content never
makes a second version, however often it is ingested.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.delivery import source
from workloads.delivery.connection import Connection
from workloads.delivery.errors import DataError
from workloads.delivery.spec import Data, Workload

if TYPE_CHECKING:
    import pandas as pd

TABLE = "raw"
_CONTENT = "falaj.content"
_SOURCE = "falaj.source_sha256"


@dataclass(frozen=True)
class Ingested:
    """One version of the raw table."""

    table: str
    """Its address."""
    version: int
    rows: int
    source: str
    source_sha256: str
    reused: bool
    """The content was there already."""


def ingest(connection: Connection, workload: Workload) -> Ingested:
    """Reads the workload's source into the raw table and says which version holds it.

    Raises `DataError` when the source or the table cannot be used; nothing is written then.
    """
    with source.located(workload.spec.data, workload.folder) as path:
        digest = source.digest(path)
        frame = source.read(path, workload.spec.data)
    version = _version_of(connection, content_digest(digest, workload.spec.data))
    reused = version is not None
    if version is None:
        version = _write(connection, frame, digest, workload.spec.data)
    return Ingested(
        table=connection.table_uri(TABLE),
        version=version,
        rows=len(frame),
        source=workload.spec.data.source,
        source_sha256=digest,
        reused=reused,
    )


def read(connection: Connection, version: int) -> pd.DataFrame:
    """The raw table as it was at `version`. Raises `DataError` when it cannot be read."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    path = connection.table_path(TABLE)
    try:
        table = DeltaTable(path, version=version, storage_options=connection.storage_options)
        frame: pd.DataFrame = table.to_pandas()
    except (DeltaError, OSError) as error:
        raise DataError(f"{path}, version {version}: cannot be read: {_reason(error)}") from error
    return frame


def content_digest(source_sha256: str, data: Data) -> str:
    """sha256 over the source's content and how the spec reads it."""
    kinds = {name: column.kind for name, column in data.columns.items()}
    return hashlib.sha256(f"{source_sha256} {json.dumps(kinds)}".encode()).hexdigest()


def _version_of(connection: Connection, content: str) -> int | None:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    path = connection.table_path(TABLE)
    try:
        history = DeltaTable(path, storage_options=connection.storage_options).history()
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from error
    versions = [int(entry["version"]) for entry in history if entry.get(_CONTENT) == content]
    return max(versions, default=None)


def _write(connection: Connection, frame: pd.DataFrame, digest: str, data: Data) -> int:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, write_deltalake
    from deltalake.exceptions import DeltaError

    path = connection.table_path(TABLE)
    fields: list[Any] = [
        (name, pa.float64() if column.kind == "number" else pa.string())
        for name, column in data.columns.items()
    ]
    content = content_digest(digest, data)
    try:
        write_deltalake(
            path,
            pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=CommitProperties(
                custom_metadata={_CONTENT: content, _SOURCE: digest}
            ),
            storage_options=connection.storage_options,
        )
        return DeltaTable(path, storage_options=connection.storage_options).version()
    except (DeltaError, OSError) as error:
        raise DataError(f"{path}: cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """One line of delta's message, which is a coloured tree: what was tried, and the last cause."""
    plain = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return ": ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else type(error).__name__
