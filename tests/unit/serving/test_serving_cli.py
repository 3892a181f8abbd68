"""The command line for a workload in service, run as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from workloads.cli_serving import app
from workloads.delivery import replay
from workloads.delivery.connection import PROJECT
from workloads.delivery.errors import DeliveryError, NotUpError
from workloads.delivery.files import write_json
from workloads.delivery.ledger import VERDICT
from workloads.delivery.spec import FILE

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
    new_gateway: Callable[..., Any],
    new_slot: Callable[..., Any],
    new_prometheus: Callable[..., str],
    connection_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """An environment without a release, known by its variables as in a workload's job."""
    slots = {name: new_slot(name) for name in "ab"}
    front = new_gateway({name: slot.port for name, slot in slots.items()})
    made = connection_of(front)
    parts = [
        {"name": "gateway", "url": front.endpoint, "health": f"{slots['a'].url}/live"},
        {"name": "monitoring", "url": DEAD, "health": DEAD},
    ]
    changed = {
        "FALAJ_PARTS": json.dumps(parts),
        "FALAJ_METRICS_URL": new_prometheus(front.slots),
        "FALAJ_SYNTHETIC_TRAFFIC": "40",
    }
    # the commands put them into os.environ too, which must not outlive the test
    for name, value in (made.variables | changed).items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def lenient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The workload's declaration with a quick rollout, and nothing against other decisions."""
    # the test's model knows other fields than the workload's; each entity meets one slot
    monkeypatch.setattr(replay, "applications", lambda _workload: [json.loads(RECORD)] * 300)
    content = yaml.safe_load((PROJECT / "credit_risk" / FILE).read_text())
    content["rollout"] = {
        "steps": [50, 100],
        "window_seconds": 8,
        "limits": {"positive_share_difference": {"maximum": 1}},
    }
    path = tmp_path / FILE
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_release_status_predict_and_rollback_agree(connection: Any, lenient: str) -> None:
    assert json.loads(run("release", WORKLOAD, "--version", "1", "--json"))["version"] == 1
    said = run("release", WORKLOAD, "--version", "2", "--spec", lenient)
    assert "version 2 at 50 %: within every limit" in said
    assert "replayed, 0 lost" in said
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
    assert (workload["verdict"]["decision"], workload["verdict"]["step"]) == ("promote", 100)
    assert "judge  version 2 at 100 % · promote" in run("status", WORKLOAD)
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


def test_the_live_view_shows_figures_and_verdict_until_it_is_interrupted(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("release", WORKLOAD, "--version", "1")
    verdict = {"at": "2026-01-01T10:20:30.000+00:00", "version": 2, "step": 10}
    write_json(connection.state / VERDICT, verdict | {"decision": "wait", "reason": "few requests"})
    for _ in range(3):
        run("predict", WORKLOAD, "--record", RECORD)
    turns = iter(range(3))

    def sleep(_seconds: float) -> None:
        if next(turns, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("workloads.cli_serving.time.sleep", sleep)
    shown = run("status", WORKLOAD, "--watch")
    for expected in ("requests/s", "p95 ms", "100 %", "version 2 at 10 % · wait · few requests"):
        assert expected in shown
    monkeypatch.setenv("FALAJ_METRICS_URL", DEAD)
    assert "gives no figures" in run("status", WORKLOAD, "--watch")
    with pytest.raises(DeliveryError, match="--watch goes on"):
        run("status", WORKLOAD, "--watch", "--json")


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
