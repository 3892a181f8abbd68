"""Releases and rollbacks on a real registry, two real model servers and a real gateway."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from filelock import FileLock

from workloads.delivery import release as releases
from workloads.delivery.connection import Connection
from workloads.delivery.errors import BusyError, DeliveryError

PREDICTIONS = "/api/v1.0/predictions"
WORKLOAD = "credit-risk"
MESSAGE = {"jsonData": {"records": [{"Income": 120.0, "Amount": 1000, "Job": "fixed"}]}}
REQUESTS_PER_SECOND = 50


@dataclass
class Place:
    """An environment with two empty slots."""

    connection: Connection
    registry: Any
    front: Any
    slots: dict[str, Any]
    said: list[str] = field(default_factory=list)

    def release(self, version: int | None, steps: Sequence[int] = (100,)) -> Any:
        return releases.release(self.connection, version, self.said.append, steps=steps)

    def rollback(self) -> Any:
        return releases.rollback(self.connection, self.said.append)

    def standing(self) -> releases.Standing:
        return releases.standing(self.connection, self.front.split)

    def served(self) -> str:
        answer = httpx.post(f"{self.front.endpoint}{PREDICTIONS}", json=MESSAGE)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-falaj-version"])

    def alias(self, name: str, version: int) -> None:
        self.registry.client.set_registered_model_alias(WORKLOAD, name, str(version))


@pytest.fixture
def place(
    registry: Any,
    new_gateway: Callable[..., Any],
    new_slot: Callable[..., Any],
    connection_of: Callable[..., Connection],
) -> Place:
    slots = {name: new_slot(name) for name in "ab"}
    front = new_gateway({name: slot.port for name, slot in slots.items()})
    return Place(connection_of(front), registry, front, slots)


class Load:
    """Asks at a fixed rate and counts the answers by status and version."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[tuple[int | str, str]] = Counter()
        self._url = url
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            due = time.monotonic()
            number = 0
            while not self._end.wait(max(0.0, due - time.monotonic())):
                due += 1 / REQUESTS_PER_SECOND
                number += 1
                try:
                    answer = client.post(
                        self._url, json=MESSAGE, headers={"x-falaj-entity": str(number)}
                    )
                    seen = answer.status_code, answer.headers.get("x-falaj-version", "")
                except httpx.HTTPError as error:
                    seen = type(error).__name__, ""
                self.answers[seen] += 1

    def wait_for(self, version: str, more: int = 10) -> None:
        """Returns when `version` has answered some more requests."""
        goal = self.answers[200, version] + more
        deadline = time.monotonic() + 30
        while self.answers[200, version] < goal:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.02)


@pytest.fixture
def load(place: Place) -> Iterator[Load]:
    place.release(1)
    with Load(f"{place.front.endpoint}{PREDICTIONS}") as load:
        load.wait_for("1")
        yield load


def test_no_request_is_lost_over_a_release_and_a_rollback(place: Place, load: Load) -> None:
    record = place.release(2, steps=(10, 50, 100))
    assert (record.version, record.previous, record.weights[record.slot]) == (2, 1, 100)
    load.wait_for("2")
    back = place.rollback()
    assert (back.version, back.previous) == (1, 2)
    load.wait_for("1")
    load.__exit__()
    assert set(load.answers) == {(200, "1"), (200, "2")}


def test_no_request_is_lost_when_the_model_server_of_the_champion_dies(
    place: Place, load: Load
) -> None:
    place.release(2)
    load.wait_for("2")
    live = place.slots[place.standing().live]
    live.process.kill()
    load.wait_for("1")  # the version that is kept warm helps out
    live.process.start()
    load.wait_for("2")
    load.__exit__()
    assert set(load.answers) == {(200, "1"), (200, "2")}


def test_the_first_release_the_second_and_a_rollback_leave_registry_slots_and_journal_agreeing(
    place: Place,
) -> None:
    first = place.release(1)
    assert (first.previous, place.served()) == (None, "1")
    second = place.release(2)
    assert second.slot != first.slot
    now = place.standing()
    assert now.champion == 2
    assert now.slots == {first.slot: 1, second.slot: 2}
    assert place.served() == "2"
    assert place.release(2).version == 2, "once more changes nothing"
    assert place.standing() == now

    back = place.rollback()
    assert (back.slot, place.served()) == (first.slot, "1")
    assert place.standing().slots == {first.slot: 1, second.slot: None}
    assert httpx.get(f"{place.slots[second.slot].url}/ready").status_code == 503
    with pytest.raises(DeliveryError, match="nothing to go back to"):
        place.rollback()
    assert place.served() == "1"

    finished = [line for line in releases.history(place.connection) if line["phase"] == "finished"]
    assert [line["version"] for line in finished] == [1, 2, 2, 1]
    tags = place.registry.client.get_model_version(WORKLOAD, "2").tags
    assert tags["falaj.released_at"] < tags["falaj.rolled_back_at"]


def test_the_candidate_is_released_when_no_version_is_named(place: Place) -> None:
    with pytest.raises(DeliveryError, match="has no candidate"):
        place.release(None)
    place.alias("candidate", 2)
    assert place.release(None).version == 2


def test_a_version_without_approval_is_refused(place: Place) -> None:
    number = place.registry.publish(0.4, approved=False)
    with pytest.raises(DeliveryError, match=f"version {number} is not approved"):
        place.release(number)
    assert place.standing().slots == {"a": None, "b": None}


def test_a_version_that_is_not_the_approved_model_is_refused(place: Place) -> None:
    place.registry.client.set_model_version_tag(WORKLOAD, "2", "falaj.model_digest", "0" * 64)
    with pytest.raises(DeliveryError, match="not the model that was approved"):
        place.release(2)


def test_a_version_that_does_not_load_leaves_the_champion_serving(place: Place) -> None:
    from sklearn.pipeline import Pipeline

    place.release(1)
    before = place.standing()
    broken = place.registry.publish(0, pipeline=Pipeline([("model", None)]))
    with pytest.raises(DeliveryError, match=f"did not load version {broken}"):
        place.release(broken)
    assert place.standing() == before
    assert place.served() == "1"
    assert releases.history(place.connection)[-1]["phase"] == "failed"


def test_two_releases_do_not_run_at_once(place: Place) -> None:
    with FileLock(place.connection.state / "release.lock"), pytest.raises(BusyError):
        place.release(1)


class Killed(BaseException):
    """Stands for a kill: nothing in the code under test catches it."""


class MortalSplit:
    """A split whose user is killed before or after the weights are set."""

    def __init__(self, split: Any, after: bool) -> None:
        self._split = split
        self._after = after

    def weights(self) -> Any:
        return self._split.weights()

    def ready(self) -> Any:
        return self._split.ready()

    def set_weights(self, weights: Any) -> None:
        if self._after:
            self._split.set_weights(weights)
        raise Killed


@pytest.mark.parametrize("after", [False, True], ids=["before the weights", "after the weights"])
@pytest.mark.parametrize("then", ["release", "rollback"])
def test_a_release_that_was_killed_goes_on_or_is_undone(
    place: Place, after: bool, then: str
) -> None:
    place.release(1)
    with pytest.raises(Killed):
        releases.release(
            place.connection,
            2,
            place.said.append,
            traffic=MortalSplit(place.front.split, after),
            steps=(50, 100),
        )
    assert place.standing().champion == 1
    if then == "release":
        place.release(2)
        assert (place.served(), place.standing().champion) == ("2", 2)
        assert place.rollback().version == 1
    elif after:
        assert place.rollback().version == 1
    else:
        with pytest.raises(DeliveryError, match="nothing to go back to"):
            place.rollback()
    assert place.standing().champion == 1
    assert place.standing().weights[place.standing().live] == 100
    assert {place.served() for _ in range(10)} == {"1"}


@pytest.mark.parametrize("after", [False, True], ids=["before the weights", "after the weights"])
def test_a_rollback_that_was_killed_never_brings_the_version_back(
    place: Place, after: bool
) -> None:
    place.release(1)
    place.release(2)
    with pytest.raises(Killed):
        releases.rollback(
            place.connection, place.said.append, traffic=MortalSplit(place.front.split, after)
        )
    if after:
        with pytest.raises(DeliveryError, match="nothing to go back to"):
            place.rollback()
    else:
        assert place.rollback().version == 1
    assert place.served() == "1"
    assert place.standing().champion == 1


def test_another_version_is_not_loaded_under_the_traffic_of_an_unfinished_release(
    place: Place,
) -> None:
    place.release(1)
    third = place.registry.publish(0.9)
    with pytest.raises(Killed):
        releases.release(
            place.connection, 2, place.said.append, traffic=MortalSplit(place.front.split, True)
        )
    assert place.served() == "2"
    assert place.release(third).version == third
    assert any("unfinished release" in line for line in place.said)
    assert place.rollback().version == 1


def test_steps_that_do_not_rise_to_the_whole_are_refused(place: Place) -> None:
    for steps in ((), (10, 50), (50, 10, 100), (0, 100)):
        with pytest.raises(ValueError, match="do not rise"):
            place.release(1, steps=steps)


def test_a_line_of_the_journal_that_a_kill_cut_short_is_left_out(place: Place) -> None:
    place.release(1)
    lines = releases.history(place.connection)
    with (place.connection.state / releases.JOURNAL).open("a") as journal:
        journal.write(json.dumps(lines[0])[:20])
    assert releases.history(place.connection) == lines
