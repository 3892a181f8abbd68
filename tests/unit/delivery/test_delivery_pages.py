"""Addresses of pages, asked of servers that differ and of none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from workloads.delivery.connection import Connection
from workloads.delivery.pages import notes, pages

DEAD = "http://127.0.0.1:9"
EXPERIMENT = {"experiment": {"experiment_id": "7"}}


@pytest.fixture
def server() -> Iterator[Callable[[dict[str, object]], str]]:
    """Starts a server that knows some paths, each with its JSON; gives its address."""
    started: list[HTTPServer] = []

    def start(known: dict[str, object]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                self.send_response(200 if path in known else 404)
                self.end_headers()
                self.wfile.write(json.dumps(known.get(path)).encode())

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        made = HTTPServer(("127.0.0.1", 0), Handler)
        started.append(made)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{made.server_port}"

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("known", "expected"), [("/targets", ""), ("/classic/targets", "/classic")]
)
def test_the_address_of_the_targets_is_the_one_that_the_server_has(
    connection: Connection,
    server: Callable[[dict[str, object]], str],
    known: str,
    expected: str,
) -> None:
    metrics = server({known: None})
    found = pages(replace(connection, metrics_url=metrics))
    assert found["targets"] == f"{metrics}{expected}/targets"
    assert found["alerts"] == f"{metrics}{expected}/alerts"
    assert found["serving"] == f"{metrics}/consoles/serving.html"


def test_the_trainings_are_those_of_the_workloads_experiment(
    connection: Connection, server: Callable[[dict[str, object]], str]
) -> None:
    tracking = server({"/api/2.0/mlflow/experiments/get-by-name": EXPERIMENT})
    found = pages(replace(connection, tracking_uri=tracking, metrics_url=DEAD))
    assert found["trainings"] == f"{tracking}/#/experiments/7/runs"
    assert found["versions"] == f"{tracking}/#/models/{connection.workload}"


@pytest.mark.parametrize("answer", [None, {"error_code": "RESOURCE_DOES_NOT_EXIST"}])
def test_before_the_first_training_the_experiments_are_shown(
    connection: Connection, server: Callable[[dict[str, object]], str], answer: object
) -> None:
    tracking = server({"/api/2.0/mlflow/experiments/get-by-name": answer})
    found = pages(replace(connection, tracking_uri=tracking, metrics_url=DEAD))
    assert found["trainings"] == tracking


def test_every_page_is_named_although_nothing_answers(connection: Connection) -> None:
    found = pages(replace(connection, tracking_uri=DEAD, metrics_url=DEAD))
    assert found["trainings"] == DEAD
    assert found["targets"] == f"{DEAD}/targets"
    assert all(found.values())


def test_where_the_token_lies_is_said_and_the_token_is_not(connection: Connection) -> None:
    assert notes(connection) == {}
    told = notes(replace(connection, variables={"RAY_AUTH_TOKEN_PATH": "/somewhere/token"}))
    assert told == {"jobs": "asks for the token: the content of /somewhere/token"}
