"""Versions in a canary: real model servers, a real gateway, and a real Prometheus that judges."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
import httpx
import pytest
from sklearn.base import BaseEstimator

from workloads.delivery import judge, replay, servers
from workloads.delivery import release as releases
from workloads.delivery.connection import Connection
from workloads.delivery.errors import DeliveryError, NotUpError
from workloads.delivery.judge import Figures, PrometheusJudge, Seat
from workloads.delivery.spec import Rollout

WORKLOAD = "credit-risk"
PREDICTIONS = "/api/v1.0/predictions"
DEAD = "http://127.0.0.1:9"
ROLLOUT = Rollout(steps=(50, 100), window_seconds=8, minimum_requests=15, timeout_seconds=60)
RECORDS = [{"Income": 120.0, "Amount": 1000 + number, "Job": "fixed"} for number in range(300)]
WELL = Figures(requests=100, errors=0, latency_p95_ms=20, positive_share=0.25)

# the model servers cannot import this module
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Model(BaseEstimator):  # type: ignore[misc]
    """Every application has the same probability, 0.3."""

    def fit(self, _rows: Any, _labels: Any) -> Model:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, rows: Any) -> Any:
        import numpy as np

        return np.tile([0.7, 0.3], (len(rows), 1))


class FailsOften(Model):
    """Fails on 20 % of the requests after the first, which is the server's own."""

    calls = 0

    def predict_proba(self, rows: Any) -> Any:
        self.calls += 1
        if self.calls % 5 == 0:
            raise RuntimeError("as told")
        return super().predict_proba(rows)


class Slow(Model):
    """Takes longer than the limit."""

    def predict_proba(self, rows: Any) -> Any:
        import time

        time.sleep(0.7)
        return super().predict_proba(rows)


class Hangs(Model):
    """Never ends, after the first request."""

    calls = 0

    def predict_proba(self, rows: Any) -> Any:
        import threading

        self.calls += 1
        if self.calls > 1:
            threading.Event().wait()
        return super().predict_proba(rows)


class AllPositive(Model):
    """Refuses everybody."""

    def predict_proba(self, rows: Any) -> Any:
        return 1 - super().predict_proba(rows)


class LoadsSlowly(Model):
    """Takes its time to come out of its file."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        import time

        self.__dict__ = state
        time.sleep(6)

    def __getstate__(self) -> dict[str, Any]:
        return {"loads": "slowly"}


def pipeline(model: Model) -> Any:
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", model)])


@dataclass
class Place:
    """Version 1 in service, watched by Prometheus; clients ask all the time."""

    connection: Connection
    registry: Any
    front: Any
    slots: dict[str, Any]
    answers: Counter[tuple[int | str, str]]

    def release(self, version: int, rollout: Rollout = ROLLOUT) -> Any:
        return releases.release(
            self.connection,
            version,
            lambda _text: None,
            rollout=rollout,
            synthetic=lambda: RECORDS,
        )

    def publish(self, model: Model) -> int:
        return int(self.registry.publish(0, pipeline=pipeline(model)))

    def lines(self, phase: str) -> list[dict[str, Any]]:
        return [line for line in releases.history(self.connection) if line["phase"] == phase]

    def serves_the_champion_alone(self) -> bool:
        now = releases.standing(self.connection, self.front.split)
        return (now.champion, now.weights[now.live], now.slots[now.free]) == (1, 100, None)


@pytest.fixture
def place(
    registry: Any,
    new_gateway: Callable[..., Any],
    new_slot: Callable[..., Any],
    new_prometheus: Callable[..., str],
    connection_of: Callable[..., Connection],
) -> Iterator[Place]:
    slots = {name: new_slot(name) for name in "ab"}
    front = new_gateway({name: slot.port for name, slot in slots.items()})
    connection = replace(
        connection_of(front), metrics_url=new_prometheus(front.slots), synthetic_per_second=40
    )
    answers: Counter[tuple[int | str, str]] = Counter()
    place = Place(connection, registry, front, slots, answers)
    place.release(1)
    done = threading.Event()

    def ask() -> None:
        number = 0
        with httpx.Client(timeout=30) as client:
            while not done.wait(0.1):
                number += 1
                message = {"jsonData": {"records": [RECORDS[number % len(RECORDS)]]}}
                headers = {"x-falaj-entity": f"client-{number}"}
                try:
                    said = client.post(
                        f"{front.endpoint}{PREDICTIONS}", json=message, headers=headers
                    )
                    answers[said.status_code, said.headers.get("x-falaj-version", "")] += 1
                except httpx.HTTPError as error:
                    answers[type(error).__name__, ""] += 1

    clients = threading.Thread(target=ask)
    clients.start()
    yield place
    done.set()
    clients.join()


def test_a_good_version_goes_up_step_by_step_on_figures_that_are_kept(place: Place) -> None:
    version = place.publish(Model())
    record = place.release(version)
    assert (record.version, record.previous, record.weights[record.slot]) == (version, 1, 100)
    for line, step in zip(place.lines("judged"), (50, 100), strict=True):
        assert (line["step"], line["decision"]) == (step, "promote")
        for figures in (line["candidate"], line["champion"]):
            assert figures["requests"] >= ROLLOUT.minimum_requests
            assert figures["error_rate"] == 0
            assert figures["positive_share"] == 0
    (replayed,) = place.lines("replayed")
    assert replayed["lost"] == 0
    assert set(replayed["answers"]) == {"200"}
    assert set(place.answers) == {(200, "1"), (200, str(version))}
    unknown = judge.figures(
        place.connection.metrics_url, place.connection.series, Seat("a", 99), 10
    )
    assert unknown.record() == dict.fromkeys(unknown.record(), None)
    with pytest.raises(NotUpError, match="gives no figures"):
        judge.ask(place.connection.metrics_url, "falaj_requests_total{")
    metrics = "".join(httpx.get(f"{slot.url}/metrics").text for slot in place.slots.values())
    assert f'falaj_synthetic_requests_total{{slot="{record.slot}",version="{version}"' in metrics


def test_versions_that_misbehave_are_taken_back_and_the_champion_serves_meanwhile(
    place: Place,
) -> None:
    for model, said in (
        (FailsOften(), "requests failed, at most 2.0% may"),
        (Slow(), "p95 latency is"),
        (Hangs(), "requests failed, at most 2.0% may"),
        (AllPositive(), "100% positive decisions, the champion has 0%"),
    ):
        version = place.publish(model)
        with pytest.raises(releases.TakenBackError, match=said):
            place.release(version)
        assert place.serves_the_champion_alone()
        judged = place.lines("judged")[-1]
        assert (judged["version"], judged["step"], judged["decision"]) == (version, 50, "back")
        assert judged["champion"]["error_rate"] == 0
        assert place.lines("replayed")[-1]["lost"] == 0
        assert {by for _, by in place.answers} <= {"1", str(version)}, "no request is lost"
        assert {code for code, by in place.answers if by == "1"} == {200}
        place.answers.clear()


def test_a_version_whose_server_stands_still_is_taken_back_and_no_request_is_lost(
    place: Place,
) -> None:
    version = place.publish(Model())
    stopped = threading.Event()

    def stop() -> None:
        while not (moved := place.lines("moved")) or moved[-1]["version"] != version:
            time.sleep(0.05)
        server = place.slots[moved[-1]["slot"]].process.running
        server.send_signal(signal.SIGSTOP)
        stopped.wait()
        server.send_signal(signal.SIGCONT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        with pytest.raises(releases.TakenBackError, match="not all of its workers have been ready"):
            place.release(version)
    finally:
        stopped.set()
        stopper.join()
    assert place.serves_the_champion_alone()
    assert place.lines("replayed")[-1]["lost"] == 0
    assert {code for code, _ in place.answers} == {200}


def test_a_version_that_does_not_load_in_time_or_cannot_be_watched_gets_no_traffic(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwatched = place.publish(Model())
    blind = replace(place, connection=replace(place.connection, metrics_url=DEAD))
    rollout = Rollout(steps=(50, 100), window_seconds=8, timeout_seconds=10)
    with pytest.raises(releases.TakenBackError, match="gives no figures"):
        blind.release(unwatched, rollout)
    assert place.serves_the_champion_alone()
    monkeypatch.setattr(servers, "LOAD_SECONDS", 0.5)
    monkeypatch.setattr(servers, "READY_SECONDS", 2)
    slow = place.publish(LoadsSlowly())
    with pytest.raises(NotUpError, match="does not answer"):
        place.release(slow)
    assert place.serves_the_champion_alone()
    assert not [
        line
        for line in place.lines("moved")
        if line["action"] == "release" and line["version"] in (unwatched, slow)
    ]
    assert set(place.answers) == {(200, "1")}


# --- the verdict ---------------------------------------------------------------------------------


def said(candidate: Figures, champion: Figures = WELL, seconds: float = 60) -> str:
    return judge.judge(Rollout(), candidate, champion, seconds).decision


def test_a_version_like_the_champion_is_promoted_when_the_window_is_full() -> None:
    assert said(WELL) == "promote"
    assert said(WELL, seconds=9.9) == "wait"


@pytest.mark.parametrize("missing", ["requests", "errors", "latency_p95_ms", "positive_share"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_missing_or_not_a_number_never_promotes(
    missing: str, value: float
) -> None:
    assert said(replace(WELL, **{missing: value})) != "promote"
    assert said(WELL, replace(WELL, **{missing: value})) != "promote"
    assert said(Figures()) == "wait"


def test_too_few_requests_of_either_version_mean_to_wait() -> None:
    assert said(replace(WELL, requests=29)) == "wait"
    assert said(WELL, replace(WELL, requests=29)) == "wait"
    assert said(replace(WELL, requests=30)) == "promote"


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ({"errors": 2}, {"errors": 2.1}),
        ({"latency_p95_ms": 220}, {"latency_p95_ms": 221}),
        ({"positive_share": 0.5}, {"positive_share": 0.501}),
    ],
)
def test_each_limit_is_kept_just_inside_and_passed_just_outside(
    inside: dict[str, float], outside: dict[str, float]
) -> None:
    assert said(replace(WELL, **inside)) == "promote"
    assert said(replace(WELL, **outside)) == "back"
    assert said(replace(WELL, **outside), seconds=1) == "back", "at once"


def test_too_few_positive_decisions_pass_the_limit_as_too_many_do() -> None:
    often = replace(WELL, positive_share=0.5)
    assert said(replace(WELL, positive_share=0.25), often) == "promote"
    assert said(replace(WELL, positive_share=0.249), often) == "back"


def test_the_absolute_limit_of_latency_holds_beside_a_slow_champion() -> None:
    slow = replace(WELL, latency_p95_ms=450)
    assert said(replace(WELL, latency_p95_ms=500), slow) == "promote"
    assert said(replace(WELL, latency_p95_ms=501), slow) == "back"


def test_errors_that_would_be_too_many_among_the_minimum_need_not_wait_for_it() -> None:
    assert said(replace(WELL, requests=4, errors=1), seconds=2) == "back"
    assert said(replace(WELL, requests=4, errors=0), seconds=2) == "wait"


def test_a_judge_whose_prometheus_is_down_waits(place_less_judge: PrometheusJudge) -> None:
    assert place_less_judge.verdict(10, 30).decision == "wait"
    assert "gives no figures" in str(place_less_judge.prepared(10))


@pytest.fixture
def place_less_judge(connection_of: Callable[..., Connection], tmp_path: Any) -> PrometheusJudge:
    class Front:
        endpoint, backend, home = DEAD, "local.credit-risk", tmp_path
        slots: dict[str, int] = {}  # noqa: RUF012

    return PrometheusJudge(connection_of(Front()), Rollout(), Seat("a", 2), Seat("b", 1))


# --- synthetic traffic ---------------------------------------------------------------------------


def test_the_replay_marks_what_it_sends_and_gives_each_application_an_entity() -> None:
    import http.server

    seen: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.headers["x-falaj-synthetic"], self.headers["x-falaj-entity"]))
            self.send_response(503 if len(seen) == 1 else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with replay.Replay(url, RECORDS[:5], 100, 60) as sending:
        wait(lambda: sending.sent >= 12)
    server.shutdown()
    server.server_close()
    assert {marked for marked, _ in seen} == {"true"}
    assert {entity for _, entity in seen} == {f"synthetic-{number}" for number in range(5)}
    assert (sending.lost, sending.record()["answers"]["503"]) == (1, 1)


def test_the_replay_counts_what_nobody_answers_and_ends_by_itself() -> None:
    with replay.Replay(DEAD, RECORDS, 100, 0.2) as sending:
        wait(lambda: not sending._pacer.is_alive())
    assert 0 < sending.sent == sending.lost <= 21


def test_applications_are_hold_out_rows_as_a_client_sends_them() -> None:
    from workloads.delivery.spec import load

    workload = load(WORKLOAD)
    rows: Sequence[dict[str, Any]] = replay.applications(workload)
    assert len(rows) > 1000
    assert set(rows[0]) == set(workload.spec.features())
    assert all(value == value for row in rows for value in row.values())  # noqa: PLR0124


def test_an_environment_without_synthetic_traffic_waits_for_clients(
    place_less_judge: PrometheusJudge, connection_of: Callable[..., Connection], tmp_path: Any
) -> None:
    from workloads.delivery.spec import load

    class Front:
        endpoint, backend, home = DEAD, "local.credit-risk", tmp_path
        slots: dict[str, int] = {}  # noqa: RUF012

    connection = connection_of(Front())
    assert replay.wanted(connection, load(WORKLOAD)) is None
    variables = connection.variables | {"FALAJ_SYNTHETIC_TRAFFIC": "many"}
    with pytest.raises(DeliveryError, match="FALAJ_SYNTHETIC_TRAFFIC is 'many'"):
        Connection.from_variables(variables)


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
