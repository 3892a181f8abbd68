"""Copies of MLflow's databases: one before each upgrade of a schema, and the way back.

    python -m components.mlflow_server.copies restore s3://…/runs-….jsonl.gz

puts a copy into the database that the variables name. It must have the schema that the copy was
made of: run `prepare` of that time's image on an empty database before. What it holds is replaced,
all of it or nothing; what a server writes meanwhile makes that fail, or is lost.

A copy is made in one transaction, which sees one moment whatever servers write; it lies on this
machine's disk on its way. Every value is copied as it is, hashes of users' tokens among them, so a
copy is as secret as the database. No copy is ever removed here: that is for the bucket's rules.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection, Engine, Integer, MetaData, Table

_BATCH = 1000


class CopyError(Exception):
    """A copy does not fit the database that it should be put into."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """One of MLflow's databases, and what its schema should be."""

    name: str
    engine: Engine
    migrations: Config

    def is_behind(self) -> bool:
        """Whether an upgrade would change a schema that is there already."""
        there = revisions(self.engine)
        wanted = ScriptDirectory.from_config(self.migrations).get_heads()
        return bool(there) and set(there) != set(wanted)


def revisions(engine: Engine) -> tuple[str, ...]:
    """The versions of its schema; none of an empty database."""
    with engine.connect() as connection:
        return tuple(sorted(MigrationContext.configure(connection).get_current_heads()))


def copy_before_upgrade(database: Database, folder: str) -> str | None:
    """Puts a copy of `database` into `folder` if an upgrade would change it; gives its name."""
    if not database.is_behind():
        return None
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{database.name}-{at}-{'-'.join(revisions(database.engine))}.jsonl.gz"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, name)
        write_copy(database, path)
        get_artifact_repository(folder).log_artifact(str(path))
    return name


def write_copy(database: Database, path: Path) -> None:
    """Writes all rows of `database` to `path`."""
    engine = database.engine
    moment = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with (
        engine.connect().execution_options(**moment) as connection,
        connection.begin(),
        gzip.open(path, "wt", encoding="utf-8") as file,
    ):
        head = {"database": database.name, "revisions": revisions(engine)}
        file.write(f"{json.dumps(head)}\n")
        for table in _tables(connection):
            file.write(f"{json.dumps({'table': table.name})}\n")
            rows = connection.execution_options(yield_per=_BATCH).execute(table.select())
            for row in rows:
                file.write(f"{json.dumps([_told(value) for value in row])}\n")


def restore(database: Database, path: Path) -> None:
    """Makes the rows of `database` those of the copy at `path`. Raises `CopyError`."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        head = json.loads(next(file))
        there = revisions(database.engine)
        if (head["database"], tuple(head["revisions"])) != (database.name, there):
            raise CopyError(
                f"{path.name} is of the database {head['database']} at {head['revisions']}, not of "
                f"{database.name} at {list(there)}: run prepare with the image of that time first"
            )
        with database.engine.begin() as connection:
            tables = {table.name: table for table in _tables(connection)}
            for table in reversed(tables.values()):
                connection.execute(table.delete())
            for name, rows in _rows(file):
                table = tables[name]
                columns = [column.name for column in table.columns]
                for some in batched(rows, _BATCH):
                    connection.execute(
                        table.insert(), [dict(zip(columns, row, strict=True)) for row in some]
                    )
                _count_on(connection, table)


def _tables(connection: Connection) -> list[Table]:
    """All but the one that holds the version, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(connection)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True
    return [one for one in metadata.sorted_tables if one.name != "alembic_version"]


def _rows(lines: Iterator[str]) -> Iterator[tuple[str, Iterator[list[Any]]]]:
    """Each table of a copy with its rows, to be read before the next table."""
    line = next(lines, None)
    while line is not None:
        name, following = json.loads(line)["table"], [None]

        def of_table(following: list[Any] = following) -> Iterator[list[Any]]:
            for line in lines:
                read = json.loads(line)
                if isinstance(read, dict):
                    following[0] = line
                    return
                yield [_value(told) for told in read]

        yield name, of_table()
        line = following[0]


def _told(value: Any) -> Any:
    """`value` as JSON can say it: what that has no form for is an object with its kind."""
    if isinstance(value, bytes | memoryview):
        return {"bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, dict | list):
        return {"json": value}
    return value


def _value(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    ((kind, value),) = told.items()
    match kind:
        case "bytes":
            return base64.b64decode(value)
        case "datetime":
            return datetime.fromisoformat(value)
        case _:
            return value


def _count_on(connection: Connection, table: Table) -> None:
    """New rows get numbers after those of the copy."""
    if connection.dialect.name != "postgresql":
        return  # SQLite takes the one after the largest
    for column in table.primary_key.columns:
        if isinstance(column.type, Integer):
            quoted = connection.dialect.identifier_preparer.quote(table.name)
            sequence = connection.scalar(
                sqlalchemy.select(sqlalchemy.func.pg_get_serial_sequence(quoted, column.name))
            )
            largest = connection.scalar(sqlalchemy.select(sqlalchemy.func.max(column)))
            if sequence is not None and largest is not None:
                connection.execute(sqlalchemy.select(sqlalchemy.func.setval(sequence, largest)))


def main(arguments: list[str]) -> None:
    """The command line described in the module's docstring. Raises `CopyError`."""
    from components.mlflow_server.prepare import databases

    match arguments:
        case ["restore", uri]:
            from mlflow.artifacts import download_artifacts

            name = uri.rpartition("/")[2]
            known = {database.name: database for database in databases()}
            database = known.get(name.partition("-")[0])
            if database is None:
                raise CopyError(f"{name} is no copy of {' or '.join(known)}")
            with tempfile.TemporaryDirectory() as scratch:
                restore(database, Path(download_artifacts(uri, dst_path=scratch)))
        case _:
            raise SystemExit("restore URI")


if __name__ == "__main__":
    main(sys.argv[1:])
