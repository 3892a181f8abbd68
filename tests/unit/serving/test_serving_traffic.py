"""What every `TrafficSplit` promises, run against the local gateway; and the gateway itself."""

from __future__ import annotations

import http.server
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from traffic_contract import TrafficSplitContract, met

from components.local import gateway
from workloads.delivery.traffic import GatewayDownError, TrafficError, TrafficSplit

PLACES = ("gateway_place", "crowded_place")
PREDICTIONS = "/api/v1.0/predictions"


class Backend:
    """A model server in name: says which slot it is, and fails as it is told."""

    def __init__(self, name: str) -> None:
        backend = self
        self.ready = True
        self.hang_ups = 0
        self.dies = False
        self.held = threading.Event()
        self.held.set()
        self.status = 200
        self.asked = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one segment: two meet Nagle and wait 40 ms

            def do_GET(self) -> None:
                self._answer(200 if backend.ready else 503)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                backend.asked += 1
                if backend.dies:
                    backend.server.socket.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                backend.held.wait(30)
                if backend.hang_ups > 0:
                    backend.hang_ups -= 1
                    self.close_connection = True
                    return
                self._answer(backend.status)

            def _answer(self, status: int) -> None:
                body = json.dumps({"slot": name, "path": self.path}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.hang_ups = 1_000_000  # connections that are open end too
        self.server.shutdown()
        self.server.server_close()


@dataclass
class GatewayPlace:
    """The local gateway before two tiny servers."""

    front: Any
    backends: dict[str, Backend]
    workers: dict[str, list[Backend]] = field(default_factory=dict)

    @property
    def split(self) -> TrafficSplit:
        return self.front.split  # type: ignore[no-any-return]

    def slot_of(self, client: httpx.Client, entity: str) -> str:
        answer = self.ask(client, {gateway.ENTITY_HEADER: entity})
        assert answer.status_code == 200, answer.text
        assert answer.headers[gateway.SLOT_HEADER] == answer.json()["slot"]
        return str(answer.json()["slot"])

    def ask(self, client: httpx.Client, headers: dict[str, str] | None = None) -> httpx.Response:
        return client.post(f"{self.front.endpoint}{PREDICTIONS}", json={}, headers=headers)

    def kill_and_restart(self) -> None:
        self.front.process.kill()
        self.front.process.start()
        self.front.wait()

    def wait_for(self, slot: str, ready: bool) -> None:
        deadline = time.monotonic() + 30
        while self.split.ready()[slot] is not ready:
            assert time.monotonic() < deadline, f"slot {slot} never became {ready}"
            time.sleep(0.02)


@pytest.fixture
def gateway_place(new_gateway: Callable[..., Any]) -> Iterator[GatewayPlace]:
    backends = {slot: Backend(slot) for slot in "ab"}
    front = new_gateway({slot: backend.port for slot, backend in backends.items()})
    place = GatewayPlace(front, backends)
    for slot in "ab":
        place.wait_for(slot, True)
    yield place
    for backend in backends.values():
        backend.stop()


@pytest.fixture
def crowded_place(new_gateway: Callable[..., Any]) -> Iterator[GatewayPlace]:
    """The gateway before two workers a slot; `backends` are the first of each."""
    workers = {slot: [Backend(slot), Backend(slot)] for slot in "ab"}
    front = new_gateway({slot: [worker.port for worker in workers[slot]] for slot in workers})
    place = GatewayPlace(front, {slot: first for slot, (first, _) in workers.items()}, workers)
    for slot in "ab":
        place.wait_for(slot, True)
    yield place
    for worker in (*workers["a"], *workers["b"]):
        worker.stop()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.mark.parametrize("place_name", PLACES)
class TestGatewayTrafficSplit(TrafficSplitContract):
    """The contract."""

    @pytest.fixture
    def place(self, place_name: str, request: pytest.FixtureRequest) -> Any:
        return request.getfixturevalue(place_name)


def test_a_split_is_kept_for_a_gateway_that_is_down(
    gateway_place: GatewayPlace, client: httpx.Client
) -> None:
    gateway_place.split.set_weights({"a": 100})
    gateway_place.front.process.kill()
    with pytest.raises(GatewayDownError, match="when it starts"):
        gateway_place.split.set_weights({"b": 100})
    gateway_place.front.process.start()
    gateway_place.front.wait()
    assert gateway_place.front.split.running_weights() == {"a": 0, "b": 100}
    assert gateway_place.slot_of(client, "anyone") == "b"


def test_a_file_that_holds_no_split_is_named(gateway_place: GatewayPlace) -> None:
    path = gateway.weights_path(gateway_place.front.home, gateway_place.front.backend)
    path.write_text('{"a": 70, "b": 70}')
    with pytest.raises(TrafficError, match=str(path)):
        gateway_place.split.weights()
    with pytest.raises(ValueError, match=str(path)):
        gateway.render_to(gateway_place.front.home)


def test_no_request_is_lost_when_a_slot_hangs_up_empties_or_dies(
    gateway_place: GatewayPlace, client: httpx.Client
) -> None:
    a = gateway_place.backends["a"]
    assert gateway_place.slot_of(client, "one") == "a"
    a.hang_ups = 1
    assert gateway_place.slot_of(client, "one") == "a"
    assert a.asked == 3
    a.ready, a.status = False, 503
    gateway_place.wait_for("a", False)
    assert gateway_place.slot_of(client, "one") == "b"
    a.ready, a.status = True, 200
    gateway_place.wait_for("a", True)
    assert gateway_place.slot_of(client, "one") == "a"
    a.stop()
    for _ in range(20):
        assert gateway_place.slot_of(client, "one") == "b"


def test_a_worker_that_dies_takes_no_request_with_it_and_its_slot_serves_on(
    crowded_place: GatewayPlace, client: httpx.Client
) -> None:
    before = met(crowded_place, client)
    assert set(before.values()) == {"a"}
    crowded_place.backends["a"].stop()
    assert met(crowded_place, client) == before
    crowded_place.wait_for("a", False)  # a release goes on when all of its workers are there


def test_a_request_over_which_every_worker_of_its_slot_dies_is_answered_by_the_other_slot(
    crowded_place: GatewayPlace, client: httpx.Client
) -> None:
    workers = crowded_place.workers["a"]
    with ThreadPoolExecutor(12) as crowd:  # leaves connections that a gateway could keep
        for worker in workers:
            worker.held.clear()
        answers = [crowd.submit(crowded_place.ask, client) for _ in range(12)]
        deadline = time.monotonic() + 30
        while sum(worker.asked for worker in workers) < 12:
            assert time.monotonic() < deadline, "not all were asked"
            time.sleep(0.02)
        for worker in workers:
            worker.held.set()
            worker.asked = 0
        assert {answer.result().status_code for answer in answers} == {200}
    for worker in workers:
        worker.dies = True
    assert crowded_place.slot_of(client, "one") == "b"
    assert max(worker.asked for worker in workers) == 1


def test_a_new_route_reaches_the_running_gateway_and_no_request_is_lost(
    gateway_place: GatewayPlace, client: httpx.Client
) -> None:
    front = gateway_place.front
    gateway_place.split.set_weights({"a": 30, "b": 70})
    gateway.write_route(
        front.home,
        gateway.Route(
            namespace="local",
            deployment="churn",
            slots={"a": [("127.0.0.1", gateway_place.backends["a"].port)]},
        ),
    )
    gateway.render_to(front.home)
    front.process.running.send_signal(signal.SIGUSR2)
    other = f"http://127.0.0.1:{front.port}/seldon/local/churn{PREDICTIONS}"
    deadline = time.monotonic() + 30
    with httpx.Client(timeout=30) as steady:  # one connection over the whole reload
        while client.post(other).status_code != 200:
            assert time.monotonic() < deadline, "the route never came"
            assert gateway_place.ask(steady).status_code == 200
        assert gateway_place.ask(steady).status_code == 200
    assert front.split.running_weights() == {"a": 30, "b": 70}


def test_feedback_is_sent_once(gateway_place: GatewayPlace, client: httpx.Client) -> None:
    a = gateway_place.backends["a"]
    a.hang_ups = 1
    answer = client.post(f"{gateway_place.front.endpoint}/api/v1.0/feedback", json={})
    assert answer.status_code == 502
    assert a.asked == 1


def test_what_the_gateway_refuses_it_refuses_in_json(
    gateway_place: GatewayPlace, client: httpx.Client
) -> None:
    root = f"http://127.0.0.1:{gateway_place.front.port}"
    endpoint = gateway_place.front.endpoint
    for path in (f"{root}/", f"{root}/seldon/local/other/api/x", f"{endpoint}/reload"):
        answer = client.post(path)
        assert (answer.status_code, answer.json()["status"]["code"]) == (404, 404)
    big = client.post(f"{endpoint}{PREDICTIONS}", content=b" " * (gateway.MAX_BODY_BYTES + 1))
    assert (big.status_code, big.json()["status"]["code"]) == (413, 413)
    for slot, backend in gateway_place.backends.items():
        backend.ready = False
        gateway_place.wait_for(slot, False)
    nobody = gateway_place.ask(client)
    assert (nobody.status_code, nobody.json()["status"]["reason"]) == (503, "NO_MODEL_SERVER")


def test_the_path_before_the_protocol_is_not_passed_on(
    gateway_place: GatewayPlace, client: httpx.Client
) -> None:
    assert gateway_place.ask(client).json()["path"] == PREDICTIONS


def test_the_gateway_counts_for_prometheus(
    gateway_place: GatewayPlace, client: httpx.Client
) -> None:
    gateway_place.ask(client)
    counted = client.get(f"http://127.0.0.1:{gateway_place.front.metrics_port}/metrics").text
    assert 'haproxy_server_weight{proxy="local.credit-risk",server="b-1"}' in counted


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespace": "local\n    bind *:80"},
        {"deployment": "a/../b"},
        {"deployment": "Credit"},
        {"slots": {}},
        {"slots": {"aa": [("127.0.0.1", 1)]}},
        {"slots": {"a": [("127.0.0.1 weight 5", 1)]}},
        {"slots": {"a": [("127.0.0.1", 70000)]}},
        {"slots": {"a": []}},
        {"slots": {"a": [("127.0.0.1", 1), ("127.0.0.1", 2)], "b": [("127.0.0.1", 3)]}},
    ],
)
def test_a_route_that_would_write_configuration_is_refused(wrong: dict[str, Any]) -> None:
    fit = {"namespace": "local", "deployment": "credit", "slots": {"a": [("127.0.0.1", 9110)]}}
    gateway.Route(**fit)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"lower-case|slot"):
        gateway.Route(**(fit | wrong))


def test_a_socket_path_that_the_system_would_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="too long for a unix socket"):
        gateway.render([], {}, port=1, metrics_port=2, socket_path=Path("/" + "x" * 120))
