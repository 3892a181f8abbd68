"""Copies of MLflow's databases before an upgrade, on its own schemas, and the way back."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory

from components.mlflow_server import copies, prepare
from components.mlflow_server.copies import CopyError, Database
from components.mlflow_server.environment import COPIES, DATABASE, GRANTS, USERS
from components.mlflow_server.grants import Grant, written

WEIGHTS = 0.1 + 0.2
ROWS = {
    "experiments": {
        "experiment_id": 7, "name": "credit.trials", "lifecycle_stage": "active",
        "workspace": "default",
    },
    "runs": {"run_uuid": "r1", "name": "first", "experiment_id": 7, "lifecycle_stage": "active"},
    "metrics": {
        "key": "auc", "value": WEIGHTS, "timestamp": 1, "run_uuid": "r1", "step": 0,
        "is_nan": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases of the version before, with something in them, and their copies as an upgrade
    would make them; only to be copied.
    """
    folder = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patched:
        for variable, value in told(folder).items():
            patched.setenv(variable, value)
        from mlflow.store.db.base_sql_model import Base as Runs
        from mlflow_oidc_auth.db.models._base import Base as Users

        runs, users = prepare.databases()
        # all of their migrations would take ten seconds
        wanted = [Runs.metadata.tables[name] for name in ROWS]
        Runs.metadata.create_all(runs.engine, tables=wanted)
        Users.metadata.create_all(users.engine)
        for database in (runs, users):
            script = ScriptDirectory.from_config(database.migrations)
            (last,) = script.get_heads()
            command.stamp(database.migrations, str(script.get_revision(last).down_revision))
        tables = reflected(runs.engine)
        with runs.engine.begin() as connection:
            for name, row in ROWS.items():
                connection.execute(tables[name].insert(), row)
        copied(folder)
    return folder


def told(folder: Path) -> dict[str, str]:
    """The variables of a server whose databases are in `folder`."""
    return {
        DATABASE: f"sqlite:///{folder}/runs.db",
        USERS: f"sqlite:///{folder}/users.db",
        COPIES: str(folder / "copies"),
        GRANTS: written([Grant(group="makers", pattern=r"^credit\.", permission="EDIT")]),
        "SECRET_KEY": "of a test",
    }


@pytest.fixture
def folder(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, for one test."""
    there = tmp_path / "databases"
    shutil.copytree(before, there)
    for variable, value in told(there).items():
        monkeypatch.setenv(variable, value)
    return there


def reflected(engine: sqlalchemy.Engine) -> dict[str, sqlalchemy.Table]:
    """Name → table."""
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    return dict(metadata.tables)


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All that is in it."""
    with database.engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for name, table in reflected(database.engine).items()
        }


def made(folder: Path) -> list[Path]:
    """The copies there."""
    return sorted((folder / "copies").iterdir())


def copied(folder: Path) -> list[str]:
    """Copies before an upgrade: their names."""
    there = [
        copies.copy_before_upgrade(database, str(folder / "copies"))
        for database in prepare.databases()
    ]
    return [name for name in there if name is not None]


def test_both_databases_are_copied_before_their_schemas_change(folder: Path) -> None:
    for path, database in zip(made(folder), prepare.databases(), strict=True):
        (revision,) = copies.revisions(database.engine)
        assert path.name.startswith(f"{database.name}-")
        assert path.name.endswith(f"-{revision}.jsonl.gz")


def test_the_schema_that_is_wanted_makes_no_copy(folder: Path) -> None:
    for database in prepare.databases():
        assert database.is_behind()
        command.stamp(database.migrations, "head")
        assert not database.is_behind()
    assert copied(folder) == []


def test_an_empty_database_makes_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in told(tmp_path).items():
        monkeypatch.setenv(variable, value)
    assert copied(tmp_path) == []


def test_what_is_put_back_is_what_was_there(folder: Path) -> None:
    was = [content(database) for database in prepare.databases()]
    assert was[0]["metrics"][0][1] == WEIGHTS
    for database in prepare.databases():
        with database.engine.begin() as connection:
            tables = reflected(database.engine)
            for table in tables.values():
                if table.name != "alembic_version":
                    connection.execute(table.delete())
    runs, _ = prepare.databases()
    with runs.engine.begin() as connection:
        connection.execute(
            reflected(runs.engine)["experiments"].insert(),
            {"name": "later", "lifecycle_stage": "active", "workspace": "default"},
        )
    for path in made(folder):
        copies.main(["restore", str(path)])
    assert [content(database) for database in prepare.databases()] == was


@pytest.mark.parametrize("change", ["another version", "another database"])
def test_a_copy_goes_into_no_database_that_it_does_not_fit(folder: Path, change: str) -> None:
    runs, users = prepare.databases()
    path, _ = made(folder)
    if change == "another version":
        command.stamp(runs.migrations, "head")
    database = runs if change == "another version" else users
    was = content(database)
    with pytest.raises(CopyError, match="run prepare with the image of that time first"):
        copies.restore(database, path)
    assert content(database) == was


@pytest.mark.parametrize(
    "value", [b"\x00\xff", datetime(2026, 11, 21, tzinfo=UTC), {"a": [1]}, ["b"], None, 1e-300]
)
def test_values_that_json_has_no_form_for_come_back(value: Any) -> None:
    assert copies._value(json.loads(json.dumps(copies._told(value)))) == value
