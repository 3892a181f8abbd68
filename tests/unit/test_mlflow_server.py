"""What runs round MLflow's server: sign-in to its database, grants, the shell."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine

from components.mlflow_server import sign_in
from components.mlflow_server.cluster import area_of, measured
from components.mlflow_server.copies import Database
from components.mlflow_server.grants import Grant
from components.mlflow_server.prepare import require, write_grants
from components.mlflow_server.shell import ASSISTANT, without_assistant


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of a pod, and no listener left behind."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    listened = sqlalchemy.event.listens_for

    def listening(target: Any, name: str) -> Any:
        def keep(function: Any) -> Any:
            monkeypatch.setattr(sign_in, "_listener", function, raising=False)
            return listened(target, name)(function)

        return keep

    monkeypatch.setattr(sign_in.event, "listens_for", listening)


@pytest.mark.usefixtures("identity")
def test_each_new_connection_to_postgresql_gets_a_token_of_its_own() -> None:
    sign_in.sign_in_by_iam("me-central-1")
    listener: Any = vars(sign_in)["_listener"]
    try:
        parameters: dict[str, Any] = {"host": "db.example", "port": 5432, "user": "tracking"}
        listener(SimpleNamespace(name="postgresql"), None, [], parameters)
        token = urlsplit(f"https://{parameters['password']}")
        assert token.netloc == "db.example:5432"
        said = parse_qs(token.query)
        assert said["DBUser"] == ["tracking"]
        assert said["X-Amz-Expires"] == ["900"]
        assert "/me-central-1/rds-db/" in said["X-Amz-Credential"][0]
        with sqlalchemy.create_engine("sqlite://").connect() as other:
            assert other.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    finally:
        event.remove(Engine, "do_connect", listener)


class Store:
    """The part of the plugin's store that grants are written to."""

    def __init__(self) -> None:
        self.groups: list[str] = ["gone"]
        self.rows = {
            kind: {7: SimpleNamespace(id=7, group="gone", regex="^gone", permission="EDIT")}
            for kind in ("experiment", "registered_model")
        }

    def get_groups(self) -> list[str]:
        return list(self.groups)

    def populate_groups(self, names: list[str]) -> None:
        self.groups += names

    def __getattr__(self, name: str) -> Any:
        verb, _, rest = name.partition("_group_")
        rows = self.rows[rest.partition("_regex")[0]]

        def put(group_name: str, regex: str, priority: int, permission: str, **which: int) -> None:
            number = which.get("id", max(rows, default=0) + 1)
            rows[number] = SimpleNamespace(
                id=number, group=group_name, regex=regex, permission=permission
            )

        def drop(group_name: str, **which: int) -> None:
            assert rows.pop(which["id"]).group == group_name

        def listed(group: str) -> list[Any]:
            return [one for one in rows.values() if one.group == group]

        return {"list": listed, "delete": drop, "update": put, "create": put}[verb]

    def held(self, kind: str) -> set[tuple[str, str, str]]:
        """What is granted now."""
        return {(one.group, one.regex, one.permission) for one in self.rows[kind].values()}


def test_grants_become_what_is_wanted_and_nothing_else_stays() -> None:
    store = Store()
    for permission in ("READ", "EDIT", "EDIT"):
        wanted = Grant(group="makers", pattern="^credit", permission=permission)  # type: ignore[arg-type]
        write_grants(store, [wanted])
        for kind in store.rows:
            assert store.held(kind) == {("makers", "^credit", permission)}


def test_a_database_that_is_not_there_is_said_with_what_makes_it(tmp_path: Path) -> None:
    def database(path: Path) -> Database:
        migrations: Any = None
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        return Database(name="runs", engine=engine, migrations=migrations)

    there, not_there = database(tmp_path / "runs.db"), database(tmp_path / "none" / "runs.db")
    require([there])
    with pytest.raises(SystemExit, match=r"none/runs\.db does not let .* in: .*falaj database -s"):
        require([there, not_there])


def answer(application: Any, path: str) -> list[Any]:
    """What is sent for a request of `path`."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "path": path, "method": "GET"}
    # `asyncio.run` would leave the thread without a loop, and Pulumi's mocks want one
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(application(scope, receive, send))
    return sent


async def _says_yes(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


@pytest.mark.parametrize(("path", "status"), [(f"{ASSISTANT}/config", 404), ("/health", 200)])
def test_the_assistant_is_not_there(path: str, status: int) -> None:
    begun = answer(measured(without_assistant(_says_yes)), path)[0]
    assert begun["status"] == status
    assert b"default-src 'self'" in dict(begun["headers"])[b"content-security-policy"]


def test_no_path_makes_a_series_of_its_own() -> None:
    assert area_of("/api/2.0/mlflow/registered-models/alias") == "registered-models"
    assert area_of("/api/2.0/mlflow-artifacts/artifacts/1/2/model") == "mlflow-artifacts"
    assert area_of("/whatever/somebody/asks") == "other"
