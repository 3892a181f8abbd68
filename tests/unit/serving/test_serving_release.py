"""Releases and rollbacks on a real registry, two real model servers and a real gateway."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from filelock import FileLock

from workloads.delivery import ledger
from workloads.delivery import release as releases
from workloads.delivery.connection import Connection
from workloads.delivery.errors import BusyError, DeliveryError, NotUpError
from workloads.delivery.judge import Verdict
from workloads.delivery.spec import Rollout

PREDICTIONS = "/api/v1.0/predictions"
WORKLOAD = "credit-risk"
MESSAGE = {"jsonData": {"records": [{"Income": 120.0, "Amount": 1000, "Job": "fixed"}]}}
REQUESTS_PER_SECOND = 50
DEAD = "http://127.0.0.1:9"
LOAD = releases._load


class Content:
    """A judge who is content with everything, at once."""

    def __init__(self, *_of: Any) -> None:
        pass

    def prepared(self, _percent: int) -> str | None:
        return None

    def verdict(self, _percent: int, _seconds: float) -> Verdict:
        return Verdict("promote", "as told")


@dataclass
class Place:
    """An environment with two empty slots."""

    connection: Connection
    registry: Any
    front: Any
    slots: dict[str, Any]
    said: list[str] = field(default_factory=list)

    def release(
        self,
        version: int | None,
        steps: tuple[int, ...] = (100,),
        *,
        judges: Any = Content,
        traffic: Any = None,
    ) -> Any:
        return releases.release(
            self.connection,
            version,
            self.said.append,
            rollout=Rollout(steps=steps),
            judges=judges,
            traffic=traffic,
        )

    def rollback(self) -> Any:
        return releases.rollback(self.connection, self.said.append)

    def standing(self) -> releases.Standing:
        return releases.standing(self.connection, self.front.split)

    def served(self) -> str:
        answer = httpx.post(f"{self.front.endpoint}{PREDICTIONS}", json=MESSAGE, timeout=60)
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


def test_a_clock_that_was_set_back_does_not_hide_what_there_is_to_go_back_to(place: Place) -> None:
    place.release(1)
    place.release(2)
    place.rollback()
    place.registry.client.set_model_version_tag(
        WORKLOAD, "2", "falaj.rolled_back_at", "2999-01-01T00:00:00.000+00:00"
    )
    place.release(2)
    place.release(place.registry.publish(0.4))
    assert place.rollback().version == 2


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
        place.release(2, (50, 100), traffic=MortalSplit(place.front.split, after))
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
    assert releases.unrecorded(place.connection)
    assert place.rollback().version == 1
    assert releases.unrecorded(place.connection) is None
    with pytest.raises(DeliveryError, match="nothing to go back to"):
        place.rollback()
    assert place.served() == "1"
    assert place.standing().champion == 1


def test_a_release_ends_a_killed_rollback_first(place: Place) -> None:
    place.release(1)
    place.release(2)
    third = place.registry.publish(0.9)
    with pytest.raises(Killed):
        releases.rollback(
            place.connection, place.said.append, traffic=MortalSplit(place.front.split, True)
        )
    assert place.release(third).previous == 1
    assert place.rollback().version == 1


def test_a_rollback_works_while_the_registry_is_down_and_tells_it_later(place: Place) -> None:
    place.release(1)
    place.release(2)
    cut_off = replace(place.connection, tracking_uri=DEAD)
    back = releases.rollback(cut_off, place.said.append)
    assert (back.version, back.previous, back.recorded) == (1, 2, False)
    assert place.served() == "1"
    assert place.standing().champion == 2, "the registry was not told"
    again = releases.rollback(cut_off, place.said.append)
    assert (again.version, again.recorded) == (1, False)
    assert place.rollback().recorded
    now = place.standing()
    assert (now.champion, now.slots[now.free]) == (1, None)
    with pytest.raises(NotUpError, match="nothing to go back to"):
        releases.rollback(cut_off, place.said.append)
    assert place.served() == "1"


def test_a_rollback_waits_for_no_worker_that_is_dead_or_hangs(
    registry: Any,
    new_gateway: Callable[..., Any],
    new_slot: Callable[..., Any],
    connection_of: Callable[..., Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = {name: [new_slot(name), new_slot(name)] for name in "ab"}
    front = new_gateway({name: [slot.port for slot in both] for name, both in workers.items()})
    place = Place(connection_of(front), registry, front, {})
    monkeypatch.setattr(releases, "_load", lambda *_: pytest.fail("it would wait to load"))
    for fault in (signal.SIGKILL, signal.SIGSTOP):
        with monkeypatch.context() as loading:
            loading.setattr(releases, "_load", LOAD)
            place.release(1)
            place.release(2)
        faulty = workers[place.standing().free][0].process
        os.kill(faulty.running.pid, fault)
        assert place.rollback().version == 1
        assert {place.served() for _ in range(10)} == {"1"}
        faulty.kill()
        faulty.start()


def test_a_canary_is_undone_while_the_registry_is_down(place: Place) -> None:
    place.release(1)
    with pytest.raises(Killed):
        place.release(2, (50, 100), traffic=MortalSplit(place.front.split, True))
    cut_off = replace(place.connection, tracking_uri=DEAD)
    assert releases.rollback(cut_off, place.said.append).version == 1
    assert place.standing().weights[place.standing().live] == 100
    assert place.rollback().recorded
    assert {place.served() for _ in range(10)} == {"1"}


class Told(Content):
    """A judge who does what the test says at each step."""

    def __init__(self, **steps: Any) -> None:
        self.steps = steps
        self.judged: list[int] = []

    def __call__(self, *_of: Any) -> Told:
        return self

    def verdict(self, percent: int, _seconds: float) -> Verdict:
        self.judged.append(percent)
        told = self.steps.get(f"at_{percent}", "promote")
        return told() if callable(told) else Verdict(told, f"{told} at {percent}")


def test_every_step_is_judged_and_each_judgement_is_on_record(place: Place) -> None:
    place.release(1)
    judge = Told()
    place.release(2, (10, 50, 100), judges=judge)
    assert judge.judged == [10, 50, 100]
    lines = [line for line in releases.history(place.connection) if line["phase"] == "judged"]
    assert [(line["step"], line["decision"]) for line in lines] == [
        (10, "promote"),
        (50, "promote"),
        (100, "promote"),
    ]
    assert set(lines[0]["candidate"]) >= {"requests", "error_rate", "positive_share"}


@pytest.mark.parametrize("step", [10, 50, 100])
def test_a_version_that_is_judged_badly_is_taken_back_and_emptied(place: Place, step: int) -> None:
    place.release(1)
    with pytest.raises(releases.TakenBackError, match=f"taken back: back at {step}"):
        place.release(2, (10, 50, 100), judges=Told(**{f"at_{step}": "back"}))
    now = place.standing()
    assert (now.champion, now.weights[now.live], now.slots[now.free]) == (1, 100, None)
    assert {place.served() for _ in range(10)} == {"1"}
    assert "falaj.rolled_back_at" in place.registry.client.get_model_version(WORKLOAD, "2").tags
    with pytest.raises(DeliveryError, match="nothing to go back to"):
        place.rollback()
    assert place.release(2).version == 2, "asked for again it may try again"


def test_a_version_that_nobody_judges_in_time_is_taken_back(place: Place) -> None:
    class Blind(Content):
        def verdict(self, _percent: int, _seconds: float) -> Verdict:
            return Verdict("wait", "there are no figures")

    class Deaf(Content):
        def prepared(self, _percent: int) -> str | None:
            return "nothing is scraped"

    place.release(1)
    for judges, said in ((Blind, "no verdict within 10 s"), (Deaf, "nobody can judge it")):
        with pytest.raises(releases.TakenBackError, match=said):
            releases.release(
                place.connection,
                2,
                place.said.append,
                rollout=Rollout(window_seconds=8, timeout_seconds=10),
                judges=judges,
            )
        assert place.served() == "1"


def test_an_interrupted_canary_keeps_its_share_and_is_judged_again_where_it_stood(
    place: Place,
) -> None:
    def interrupt() -> Verdict:
        raise KeyboardInterrupt

    place.release(1)
    for reached, resumed in ((10, [10, 50, 100]), (50, [50, 100]), (100, [50, 100])):
        with pytest.raises(KeyboardInterrupt):
            place.release(2, (10, 50, 100), judges=Told(**{f"at_{reached}": interrupt}))
        now = place.standing()
        assert (now.champion, now.weights[now.free]) == (1, reached)
        judge = Told()
        place.release(2, (10, 50, 100), judges=judge)
        assert judge.judged == resumed
        place.rollback()


def test_a_rollback_stops_a_release_that_runs(place: Place, load: Load) -> None:
    outcome: list[BaseException] = []

    def canary() -> None:
        try:
            place.release(2, (50, 100), judges=Told(at_50="wait"))
        except DeliveryError as error:
            outcome.append(error)

    running = threading.Thread(target=canary)
    running.start()
    load.wait_for("2")
    assert (place.rollback().version, place.served()) == (1, "1")
    running.join()
    assert "asked for a rollback" in str(outcome[0])
    load.__exit__()
    assert set(load.answers) == {(200, "1"), (200, "2")}


def test_blue_green_is_one_step_and_a_shadow_is_none(place: Place) -> None:
    place.release(1)
    assert place.release(2, (100,)).weights[place.standing().live] == 100
    place.rollback()
    free = place.standing().free
    place.registry.point(free, 2)
    shadow = place.slots[free]
    assert httpx.post(f"{shadow.url}/reload", timeout=60).json()["version"] == "2"
    assert {place.served() for _ in range(20)} == {"1"}, "no client meets it"
    assert shadow.ask().headers["x-falaj-version"] == "2", "copies go to its own address"


def test_another_version_is_not_loaded_under_the_traffic_of_an_unfinished_release(
    place: Place,
) -> None:
    place.release(1)
    third = place.registry.publish(0.9)
    with pytest.raises(Killed):
        place.release(2, traffic=MortalSplit(place.front.split, True))
    assert place.served() == "2"
    assert place.release(third).version == third
    assert any("unfinished release" in line for line in place.said)
    assert place.rollback().version == 1


def test_a_line_of_the_journal_that_a_kill_cut_short_is_left_out(place: Place) -> None:
    place.release(1)
    lines = releases.history(place.connection)
    with (place.connection.state / ledger.JOURNAL).open("a") as journal:
        journal.write(json.dumps(lines[0])[:20])
    assert releases.history(place.connection) == lines
    place.release(1)
    assert releases.history(place.connection)[: len(lines) + 1][-1]["phase"] == "started"
