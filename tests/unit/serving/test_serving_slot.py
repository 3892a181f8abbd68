"""Which model a slot holds: loading, swapping, emptying, and starting without a registry."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from workloads.delivery.servers import WorkerServers
from workloads.delivery.slot import SlotModels


@pytest.fixture
def slot(new_slot: Callable[..., Any], registry: Any) -> Any:
    registry.point("a", 1)
    started = new_slot("a")
    started.wait("/ready")
    return started


def test_an_empty_slot_is_alive_but_not_ready_and_refuses_requests(
    new_slot: Callable[..., Any],
) -> None:
    slot = new_slot("b")
    assert httpx.get(f"{slot.url}/ready").status_code == 503
    answer = slot.ask()
    assert answer.status_code == 503
    assert answer.json()["status"]["info"] == "slot b holds no model"
    assert httpx.get(f"{slot.url}/version").json()["version"] is None


def test_reload_swaps_to_the_version_that_the_alias_names(slot: Any, registry: Any) -> None:
    registry.point("a", 2)
    assert slot.ask().headers["x-falaj-version"] == "1"
    assert httpx.post(f"{slot.url}/reload", timeout=60).json()["version"] == "2"
    (prediction,) = slot.ask().json()["jsonData"]["predictions"]
    assert prediction == {"probability": pytest.approx(0.7), "decision": "positive"}


def test_a_slot_whose_alias_is_gone_is_emptied_by_reload(slot: Any, registry: Any) -> None:
    registry.client.delete_registered_model_alias("credit-risk", "slot-a")
    assert httpx.post(f"{slot.url}/reload", timeout=60).json()["version"] is None
    assert httpx.get(f"{slot.url}/ready").status_code == 503


def test_a_model_that_does_not_answer_is_refused_and_the_old_one_serves_on(
    slot: Any, registry: Any
) -> None:
    from sklearn.pipeline import Pipeline

    registry.point("a", registry.publish(0, pipeline=Pipeline([("model", None)])))
    answer = httpx.post(f"{slot.url}/reload", timeout=60)
    assert answer.status_code == 503
    assert "cannot be loaded" in answer.json()["status"]["info"]
    assert slot.ask().headers["x-falaj-version"] == "1"
    assert "cannot be loaded" in httpx.get(f"{slot.url}/version").json()["problem"]


def test_a_model_whose_files_were_altered_is_refused(slot: Any, registry: Any) -> None:
    registry.client.set_model_version_tag("credit-risk", "2", "falaj.model_digest", "0" * 64)
    registry.point("a", 2)
    answer = httpx.post(f"{slot.url}/reload", timeout=60)
    assert answer.status_code == 503
    assert "altered" in answer.json()["status"]["info"]
    assert slot.ask().headers["x-falaj-version"] == "1"


def test_a_slot_starts_from_its_copy_while_the_registry_is_down(
    slot: Any, new_slot: Callable[..., Any]
) -> None:
    assert slot.process.kill(signal.SIGTERM) in (0, -signal.SIGTERM)
    again = new_slot("a", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    again.wait("/ready")
    assert again.ask().headers["x-falaj-version"] == "1"


def test_a_full_disk_is_no_reason_not_to_serve_the_copy(
    slot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slot.ask().status_code == 200
    models = SlotModels("credit-risk", "a", tmp_path / "state")
    noted = models.remembered()
    assert noted is not None

    def full(path: Path, _content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("workloads.delivery.slot.files.write_json", full)
    assert models.load(*noted).version == noted[0], "nothing has to be written"
    models.forget()
    assert models.load(*noted).version == noted[0]
    assert models.remembered() is None


def test_an_altered_copy_is_not_served(
    slot: Any, new_slot: Callable[..., Any], tmp_path: Path
) -> None:
    slot.process.kill()
    (model,) = (tmp_path / "state" / "slots" / "a").glob("model-*/model.pkl")
    model.write_bytes(model.read_bytes() + b"x")
    again = new_slot("a")
    again.wait("/ready")
    assert not model.read_bytes().endswith(b"x")


def test_two_workers_of_a_slot_load_the_same_files_side_by_side(
    new_slot: Callable[..., Any], registry: Any
) -> None:
    workers = [new_slot("a"), new_slot("a")]
    registry.point("a", 2)
    with ThreadPoolExecutor() as pool:
        loaded = list(
            pool.map(lambda worker: httpx.post(f"{worker.url}/reload", timeout=60).json(), workers)
        )
    assert [(answer["version"], answer["problem"]) for answer in loaded] == [("2", None)] * 2


def test_workers_of_a_slot_that_hold_different_versions_are_a_problem(
    new_slot: Callable[..., Any], registry: Any
) -> None:
    registry.point("a", 1)
    old = new_slot("a")
    old.wait("/ready")
    registry.point("a", 2)
    new = new_slot("a")
    new.wait("/ready")
    with httpx.Client(timeout=30) as client:
        servers = WorkerServers({"a": [old.url, new.url]})
        told = servers.picture("a", client)
        assert not told["ready"]
        assert "its workers hold different versions" in told["problem"]
        assert httpx.post(f"{old.url}/reload", timeout=60).status_code == 200
        assert servers.picture("a", client)["problem"] is None
