"""What exists outside Pulumi's state: the stand-in's cloud, kept in a file between runs.

Off unless the environment variable `FALAJ_STANDIN_WORLD` names a file. With it, whatever a provider
makes is there until it is deleted, so that a test can see what was lost, made twice or left behind.
The file is an SQLite database: several providers write to it, and any of them may be killed at any
moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "FALAJ_STANDIN_WORLD"

_TABLES = """
CREATE TABLE IF NOT EXISTS things (
    place TEXT, token TEXT, id TEXT, name TEXT, urn TEXT, inputs TEXT, outputs TEXT,
    PRIMARY KEY (place, token, id)
);
CREATE TABLE IF NOT EXISTS counts (what TEXT PRIMARY KEY, so_far INTEGER);
"""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that exists."""

    place: str
    """Account and region, or whatever else keeps the names of one cloud apart."""
    token: str
    id: str
    name: str
    """What must be unique among things of its type in its place; empty where nothing must."""
    urn: str
    """Of the resource that made it."""
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class World:
    """The things that exist."""

    def __init__(self, path: Path | str) -> None:
        # every statement commits by itself, so that a killed process leaves whole things
        self._connection = sqlite3.connect(
            path, timeout=60, isolation_level=None, check_same_thread=False
        )
        self._lock = threading.Lock()
        # safe from the death of a process, if not from that of the machine, and far faster
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.executescript(_TABLES)

    @classmethod
    def of_environment(cls) -> World | None:
        """The world that the environment variable names, `None` without one."""
        path = os.environ.get(VARIABLE)
        return cls(path) if path else None

    def things(self) -> list[Thing]:
        """All that exists, by type and id."""
        return [_thing(row) for row in self._ask("SELECT * FROM things ORDER BY token, id")]

    def find(self, place: str, token: str, identifier: str) -> Thing | None:
        """The thing of that id."""
        where = "place = ? AND token = ? AND id = ?"
        return self._first(where, place, token, identifier)

    def named(self, place: str, token: str, name: str) -> Thing | None:
        """A thing of that name."""
        return self._first("place = ? AND token = ? AND name = ?", place, token, name)

    def put(self, thing: Thing) -> None:
        """Makes `thing`, or changes it."""
        self._ask(
            "INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(thing.place, thing.token, thing.id, thing.name, thing.urn),
            *(json.dumps(thing.inputs), json.dumps(thing.outputs)),
        )

    def remove(self, place: str, token: str, identifier: str) -> None:
        """Deletes the thing of that id, if there is one."""
        where = "place = ? AND token = ? AND id = ?"
        self._ask(f"DELETE FROM things WHERE {where}", place, token, identifier)  # noqa: S608

    def count(self, what: str) -> int:
        """Counts `what` once more, over all processes and runs; from 1."""
        ((so_far,),) = self._ask(
            "INSERT INTO counts VALUES (?, 1) "
            "ON CONFLICT (what) DO UPDATE SET so_far = so_far + 1 RETURNING so_far",
            what,
        )
        return int(so_far)

    @contextlib.contextmanager
    def closing(self) -> Iterator[World]:
        """Gives the file back when the context ends."""
        with contextlib.closing(self._connection):
            yield self

    def _first(self, where: str, *values: str) -> Thing | None:
        rows = self._ask(f"SELECT * FROM things WHERE {where} LIMIT 1", *values)  # noqa: S608
        return _thing(rows[0]) if rows else None

    def _ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()


def _thing(row: tuple[Any, ...]) -> Thing:
    place, token, identifier, name, urn, inputs, outputs = row
    return Thing(
        place=place,
        token=token,
        id=identifier,
        name=name,
        urn=urn,
        inputs=json.loads(inputs),
        outputs=json.loads(outputs),
    )
