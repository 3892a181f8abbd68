"""A release to a cluster by the command line: the real API server, its kinds and its rights.

No pod runs: that the servers of a slot hold what the registry names, and that Prometheus says so,
is played by a few lines. The judge's figures are those of `tests/unit/serving/test_serving_canary`;
here its word is given.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import tenacity
from control_plane import ControlPlane
from kubernetes_api import Api, Object
from typer.testing import CliRunner

from components.kubernetes.roles import may_see_gateway, may_split
from workloads.cli_serving import app
from workloads.delivery import api_server, judge, ledger, registry
from workloads.delivery.api_server import AccessError, RefusedError
from workloads.delivery.connection import Connection, connect
from workloads.delivery.errors import BusyError, DeliveryError
from workloads.delivery.judge import Verdict
from workloads.delivery.ledger import LeaseLedger
from workloads.delivery.mesh import ClusterDownError
from workloads.delivery.place import ledger_of, traffic_of
from workloads.delivery.slot import alias_of
from workloads.delivery.traffic import TrafficError

WORKLOAD, TEAM, GATEWAY = "credit-risk", "release-team", "release-gateway"
LEASE, ROUTE = f"{WORKLOAD}-release", f"{TEAM}.{WORKLOAD}"
RELEASER = "someone@bank.example"
SPLIT: dict[str, Any] = {
    "namespace": TEAM,
    "name": f"{WORKLOAD}-split",
    "slots": {slot: f"{WORKLOAD}-{slot}" for slot in "ab"},
    "port": 9000,
    "gateway_namespace": GATEWAY,
    "gateway_service": "gateway",
    "route": ROUTE,
    "role": LEASE,
}
DRIVER = """
import sys
from pathlib import Path
from stacks.cli import main
from workloads.delivery import judge, ledger
from workloads.delivery.judge import Verdict
ledger.LEASE_SECONDS, ledger._RENEWAL_SECONDS = 2, 0.3
word = Path(sys.argv.pop(1))
judge.PrometheusJudge.prepared = lambda *_: None
judge.PrometheusJudge.verdict = lambda *_: Verdict(word.read_text(), "as told")
main()
"""


def virtual_service(namespace: str, name: str) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "hosts": ["models.example"],
            "http": [{"route": [{"destination": {"host": "any"}}]}],
        },
    }


def endpoints(namespace: str, service: str) -> Object:
    """What the cluster's controllers would write of a Service with one pod that is ready."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": True}}],
        "ports": [],
    }


def objects() -> Iterator[Object]:
    """The platform's route, the slots' pods, and the rights, as `serving` gives them."""
    yield virtual_service(GATEWAY, ROUTE)
    yield endpoints(GATEWAY, "gateway")
    for slot in "ab":
        yield endpoints(TEAM, f"{WORKLOAD}-{slot}")
    version, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    for namespace, name, rules in (
        (TEAM, LEASE, may_split(SPLIT["name"], LEASE)),
        (GATEWAY, f"{TEAM}.{LEASE}", may_see_gateway(ROUTE)),
    ):
        where = {"name": name, "namespace": namespace}
        yield {"apiVersion": version, "kind": "Role", "metadata": where, "rules": rules}
        yield {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": where,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "name": RELEASER, "apiGroup": group}],
        }


@pytest.fixture(scope="module", autouse=True)
def deployed(api: Api, define: Callable[..., list[str]]) -> Iterator[None]:
    """A workload without its pods."""
    define("istio")
    spaces: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in (TEAM, GATEWAY)
    ]
    for thing in (*spaces, *objects()):
        api.create(thing)
    yield
    for space in spaces:
        api.delete(space, seconds=60)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with two approved versions of a model that nobody loads."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment(WORKLOAD, artifact_location=f"file://{folder}/artifacts")
    client.create_registered_model(WORKLOAD)
    for digest in ("one", "two"):
        run = client.create_run(experiment).info.run_id
        made = client.create_model_version(WORKLOAD, f"{folder}/artifacts/{digest}", run_id=run)
        client.set_model_version_tag(WORKLOAD, made.version, registry.TAG_DIGEST, digest)
        approval = {
            "workload": WORKLOAD,
            "version": int(made.version),
            "approver": "A. Approver",
            "approved_at": "2026-01-01T00:00:00+00:00",
            "model_digest": digest,
            "figures": {},
            "gates": [],
            "automatic": False,
        }
        client.log_dict(run, approval, registry.APPROVAL)
    return uri


@pytest.fixture
def metrics(tracking: str) -> Iterator[str]:
    """A Prometheus that reads one pod in each slot, which holds what the registry names."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (asked,) = parse_qs(urlsplit(self.path).query)["query"]
            assert f'namespace="{TEAM}",workload="{WORKLOAD}"' in asked
            slot = re.findall('slot="(.)"', asked)[0]
            aliases = client.get_registered_model(WORKLOAD).aliases
            held = [aliases[alias_of(slot)]] if alias_of(slot) in aliases else []
            result = [{"metric": {"version": one}, "value": [0, "1"]} for one in held]
            body = json.dumps({"status": "success", "data": {"result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def speaks_as(
    cluster: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Makes the kubeconfig that commands find one of somebody's."""

    def speak(user: str) -> None:
        path = tmp_path / f"{user}.yaml"
        path.write_text(cluster.kubeconfig_for(user))
        monkeypatch.setenv("KUBECONFIG", str(path))

    return speak


@pytest.fixture
def said(cluster: ControlPlane, tracking: str, metrics: str, tmp_path: Path) -> dict[str, str]:
    """The variables of the workload's stack."""
    return {
        "FALAJ_ENVIRONMENT": "dev",
        "FALAJ_WORKLOAD": WORKLOAD,
        "MLFLOW_TRACKING_URI": tracking,
        "FALAJ_DATA_URI": f"file://{tmp_path}/data",
        "FALAJ_ENDPOINT": f"https://models.example/seldon/{TEAM}/{WORKLOAD}",
        "FALAJ_METRICS_URL": metrics,
        "FALAJ_SPLIT": json.dumps({"server": cluster.server, **SPLIT}),
        "FALAJ_STATE": str(tmp_path / "state"),
    }


@pytest.fixture
def connection(
    said: dict[str, str],
    speaks_as: Callable[[str], None],
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Connection]:
    """As somebody who may release."""
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    for name in ("RAY_API_SERVER_ADDRESS", api_server.CONTEXT, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ledger, "LEASE_SECONDS", 2)
    monkeypatch.setattr(ledger, "_RENEWAL_SECONDS", 0.3)
    monkeypatch.setattr(judge.PrometheusJudge, "prepared", lambda *_: None)
    monkeypatch.setattr(judge.PrometheusJudge, "verdict", lambda *_: Verdict("promote", "as told"))
    speaks_as(RELEASER)
    yield connect(WORKLOAD, "dev")
    api.delete(virtual_service(TEAM, SPLIT["name"]), seconds=30)
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": TEAM},
    }
    api.delete(lease, seconds=30)


def run(*arguments: str, code: int = 0) -> str:
    """What a command prints; errors of ours come up as they are."""
    done = CliRunner().invoke(
        app, [arguments[0], WORKLOAD, "--env", "dev", *arguments[1:]], catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return str(done.stdout)


def aliases(connection: Connection) -> dict[str, str]:
    model = registry.client(connection).get_registered_model(WORKLOAD)
    return {str(alias): str(number) for alias, number in model.aliases.items()}


def judged_at(connection: Connection, weights: dict[str, int]) -> bool:
    said = ledger_of(connection).shown() or {}
    return traffic_of(connection).weights() == weights and said.get("decision") == "wait"


def until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(120)
    ):
        with pause:
            assert process.poll() is None, process.communicate()
            assert holds()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Begins the release of version 2 in a process of its own, whose canary never ends."""
    word = tmp_path / "word"
    word.write_text("wait")
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", DRIVER, str(word), "release", WORKLOAD, "--env", "dev"]
        process = subprocess.Popen(
            [*command, "--version", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        until(lambda: judged_at(connect(WORKLOAD, "dev"), {"a": 10, "b": 90}), process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_a_canary_is_alone_heard_from_elsewhere_killed_gone_on_with_and_taken_back(
    connection: Connection, begin: Callable[[], subprocess.Popen[str]]
) -> None:
    run("release", "--version", "1")
    split = traffic_of(connection)
    assert split.weights() == {"a": 0, "b": 100}

    first = begin()
    with pytest.raises(BusyError, match=f"another release .* of {WORKLOAD} is running, as "):
        run("release", "--version", "2")
    seen = json.loads(run("status", "--json"))["workloads"][0]
    assert seen["traffic"] == {"a": 10, "b": 90}
    assert [(seen["slots"][slot]["version"], seen["slots"][slot]["problem"]) for slot in "ab"] == [
        (2, None), (1, None),
    ]  # fmt: skip
    assert (seen["verdict"]["decision"], seen["verdict"]["step"]) == ("wait", 10)

    run("rollback")
    told = first.communicate(timeout=120)[1]
    assert first.returncode == 2
    assert "asked for a rollback" in told
    assert split.weights() == {"a": 0, "b": 100}
    assert aliases(connection) == {"champion": "1", "slot-b": "1"}

    second = begin()
    os.kill(second.pid, signal.SIGKILL)
    second.communicate()
    assert split.weights() == {"a": 10, "b": 90}

    assert "Version 2 of credit-risk is in service" in run("release", "--version", "2")
    assert split.weights() == {"a": 100, "b": 0}
    assert aliases(connection) == {"champion": "2", "slot-a": "2", "slot-b": "1"}
    moved = [line["weights"]["a"] for line in ledger_of(connection).lines() if "weights" in line]
    assert moved[-4:] == [10, 50, 100, 100]

    run("rollback")
    assert split.weights() == {"a": 0, "b": 100}
    assert aliases(connection) == {"champion": "1", "slot-b": "1"}
    with pytest.raises(DeliveryError, match="there is nothing to go back to"):
        run("rollback")


def test_somebody_without_the_right_is_told_whose_role_gives_it(
    connection: Connection, speaks_as: Callable[[str], None]
) -> None:
    speaks_as("nobody@bank.example")
    for command in ("release", "rollback"):
        with pytest.raises(RefusedError, match=f"the Role {TEAM}/{LEASE} gives this right"):
            run(command)
    with pytest.raises(TrafficError, match=f"the Role {TEAM}/{LEASE} gives this right"):
        traffic_of(connection).set_weights({"b": 100})


def test_a_split_that_no_route_leads_to_is_not_written(connection: Connection, api: Api) -> None:
    route = virtual_service(GATEWAY, ROUTE)
    api.delete(route, seconds=30)
    try:
        with pytest.raises(TrafficError, match=rf"{GATEWAY}/{ROUTE}, which leads to it, is not"):
            traffic_of(connection).set_weights({"b": 100})
        assert api.get(virtual_service(TEAM, SPLIT["name"])) is None
    finally:
        api.create(route)


def test_a_cluster_that_is_away_or_of_another_kubeconfig_is_named(
    connection: Connection,
    cluster: ControlPlane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = connection.split | {"server": "https://127.0.0.1:1"}
    elsewhere = Connection.from_variables(connection.variables | {"FALAJ_SPLIT": json.dumps(away)})
    with pytest.raises(AccessError, match=rf"is for https://127.0.0.1:1.*{cluster.server}"):
        traffic_of(elsewhere)

    path = tmp_path / "away.yaml"
    path.write_text(
        Path(os.environ["KUBECONFIG"]).read_text().replace(cluster.server, away["server"])
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(ClusterDownError, match="the API server does not answer at https://127"):
        traffic_of(elsewhere).weights()


def test_a_cluster_without_istio_is_named() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, text="404 page not found\n")

    with httpx.Client(base_url="https://one", transport=httpx.MockTransport(answer)) as client:
        path = "/apis/networking.istio.io/v1/namespaces/one/virtualservices/one"
        with pytest.raises(RefusedError, match="Istio is missing"):
            api_server.ask(client, "GET", path, what="VirtualService one/one", may_lack=True)


def test_a_journal_in_a_lease_keeps_its_newest_lines(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_KEPT_BYTES", 100)
    kept = ledger_of(connection)
    with kept.exclusive():
        for number in range(20):
            kept.append({"phase": "judged", "number": number})
    numbers = [line["number"] for line in kept.lines()]
    assert numbers[-1] == 19
    assert 0 < len(numbers) < 5


def test_who_was_silent_for_too_long_writes_nothing_more(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_RENEWAL_SECONDS", 3600)
    kept = ledger_of(connection)
    assert isinstance(kept, LeaseLedger)
    other = LeaseLedger(kept._client, TEAM, WORKLOAD)
    with kept.exclusive():
        kept.append({"phase": "started"})
        with other.exclusive():
            other.append({"phase": "moved"})
            with pytest.raises(BusyError, match="was taken over by"):
                kept.append({"phase": "judged"})
            with pytest.raises(BusyError, match="was taken over by"):
                kept.asked()
    assert [line["phase"] for line in kept.lines()] == ["started", "moved"]
