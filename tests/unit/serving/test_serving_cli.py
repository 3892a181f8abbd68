"""The command line for a workload in service, run as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from workloads.cli_serving import app
from workloads.delivery.errors import DeliveryError, NotUpError

WORKLOAD = "credit-risk"
RECORD = json.dumps({"Income": 120.0, "Amount": 1000, "Job": "fixed"})
DEAD = "http://127.0.0.1:9"


def run(*arguments: str) -> str:
    """What the command prints on standard output; its exceptions are ours."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def connection(
    registry: Any,
    new_gateway: Callable[..., Any],
    new_slot: Callable[..., Any],
    connection_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """An environment with version 1 in service, known by its variables as in a workload's job."""
    slots = {name: new_slot(name) for name in "ab"}
    front = new_gateway({name: slot.port for name, slot in slots.items()})
    made = connection_of(front)
    parts = [
        {"name": "gateway", "url": front.endpoint, "health": f"{slots['a'].url}/live"},
        {"name": "monitoring", "url": DEAD, "health": DEAD},
    ]
    # the commands put them into os.environ too, which must not outlive the test
    for name, value in (made.variables | {"FALAJ_PARTS": json.dumps(parts)}).items():
        monkeypatch.setenv(name, value)
    return made


def test_release_status_predict_and_rollback_agree(connection: Any) -> None:
    assert json.loads(run("release", WORKLOAD, "--version", "1", "--json"))["version"] == 1
    said = run("release", WORKLOAD, "--version", "2")
    assert "Version 2 of credit-risk is in service" in said
    assert "falaj rollback credit-risk" in said

    found = json.loads(run("status", WORKLOAD, "--json"))
    (workload,) = found["workloads"]
    assert workload["champion"]["version"] == 2
    assert workload["champion"]["approved_by"] == "A. Approver"
    assert sorted(workload["traffic"].values()) == [0, 100]
    assert {slot["version"] for slot in workload["slots"].values()} == {1, 2}
    assert workload["gates"]["rows"][0]["figure"] == "auc"
    assert workload["problems"] == []
    assert {part["name"]: part["healthy"] for part in found["parts"]} == {
        "gateway": True,
        "monitoring": False,
    }

    answer = json.loads(run("predict", WORKLOAD, "--record", RECORD, "--json"))
    assert answer["response"]["meta"]["tags"]["version"] == "2"
    asked = httpx.post(f"{answer['endpoint']}/api/v1.0/predictions", json=answer["request"])
    assert asked.status_code == 200
    assert "70.0% bad" in run("predict", WORKLOAD, "--record", RECORD)

    assert json.loads(run("rollback", WORKLOAD, "--json"))["version"] == 1
    assert connection.endpoint in json.loads(run("open", WORKLOAD, "--json"))["endpoint"]


def test_status_fits_a_hundred_columns_and_names_what_is_down(connection: Any) -> None:
    run("release", WORKLOAD, "--version", "1")
    shown = run("status", WORKLOAD)
    assert max(map(len, shown.splitlines())) <= 100
    for expected in (
        "1 of 2 parts down",
        "version 1",
        "100 %",
        "Gates of",
        "pass",
        "monitoring: d",
    ):
        assert expected in shown


def test_status_is_drawn_although_registry_gateway_and_slots_are_gone(
    connection: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    monkeypatch.setenv("FALAJ_TRAFFIC_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("FALAJ_SLOTS", json.dumps({"a": DEAD, "b": DEAD}))
    found = json.loads(run("status", WORKLOAD, "--json"))
    (workload,) = found["workloads"]
    assert workload["champion"] is None
    assert workload["traffic"] is None
    told = "\n".join(workload["problems"])
    for expected in ("the registry at", "the gateway does not answer", "slot a", "slot b"):
        assert expected in told
    assert "none yet" not in run("status", WORKLOAD)


def test_status_of_an_environment_that_does_not_exist_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FALAJ_WORKLOAD", raising=False)
    found = json.loads(run("status", "--env", "nowhere", "--json"))
    assert (found["up"], found["workloads"]) == (False, [])
    assert "run `make up`" in found["problems"][0]
    assert "not up" in run("status", "--env", "nowhere")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--record", "{"), "--record is no JSON"),
        (("--file", "/no/such.json"), "/no/such.json: No such file"),
        (("--record", "{}", "--file", "x.json"), "either --record or --file"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(DeliveryError, match=said):
        run("predict", WORKLOAD, *arguments)


def test_a_refused_record_and_an_absent_gateway_are_told_in_one_line(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("release", WORKLOAD, "--version", "1")
    with pytest.raises(DeliveryError, match=r"answers 400: records\[0\].Income: is missing"):
        run("predict", WORKLOAD, "--record", '{"Amount": 5, "Job": null}')
    monkeypatch.setenv("FALAJ_ENDPOINT", DEAD)
    with pytest.raises(NotUpError, match="make up"):
        run("predict", WORKLOAD, "--record", RECORD)


def test_without_a_record_a_hold_out_application_is_asked_about(connection: Any) -> None:
    # the test's model knows other fields, so the refusal shows what was sent
    run("release", WORKLOAD, "--version", "1")
    with pytest.raises(DeliveryError, match="is no field of this model"):
        run("predict", WORKLOAD)
