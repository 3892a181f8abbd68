"""Parts and their children are killed, files are damaged, the gateway is flooded.

Recovered means that supervisord owns the part's port again and that a write followed by a read
works. Each test leaves the environment well for the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hypothesis
import hypothesis.strategies
import psutil
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode, checks
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from components.local.supervisor import connect

if TYPE_CHECKING:
    from conftest import Journey

WORKLOAD = "credit-risk"
SLOTS = ("a", "b")
RECOVERY_SECONDS = 600
TABLE = f"s3://falaj-data/{WORKLOAD}/raw"


def eventually(condition: Callable[[], Any]) -> None:
    """Waits; what does not answer yet is no failure."""
    Retrying(
        stop=stop_after_delay(RECOVERY_SECONDS),
        wait=wait_fixed(0.2),
        retry=retry_if_result(lambda outcome: not outcome)
        | retry_if_exception_type((OSError, KeyError, ValueError, psutil.Error)),
    )(condition)


def call(url: str, body: Any = None, *, token: str = "") -> Any:
    request = urllib.request.Request(  # noqa: S310 our own parts
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return json.load(answer)


# --- a write followed by a read, for each part ---------------------------------------------------


def store(journey: Journey) -> Any:
    import boto3
    from botocore.config import Config

    outputs = journey.outputs
    return boto3.client(
        "s3",
        endpoint_url=outputs["object_store_endpoint"],
        region_name=outputs["object_store_region"],
        aws_access_key_id=outputs["object_store_access_key"],
        aws_secret_access_key=outputs["object_store_secret_key"],
        config=Config(retries={"max_attempts": 10}),
    )


def object_store_works(journey: Journey) -> bool:
    written = os.urandom(16)
    store(journey).put_object(Bucket="falaj-data", Key="fault-probe", Body=written)
    read = store(journey).get_object(Bucket="falaj-data", Key="fault-probe")
    return bool(read["Body"].read() == written)


def tracking_works(journey: Journey) -> bool:
    api = f"{journey.outputs['tracking_uri']}/api/2.0/mlflow/runs"
    run = call(f"{api}/create", {"experiment_id": "0", "run_name": "fault-probe"})["run"]["info"]
    return bool(call(f"{api}/get?run_id={run['run_id']}")["run"]["info"] == run)


def training_works(journey: Journey) -> bool:
    jobs, token = f"{journey.outputs['ray_address']}/api/jobs/", journey.outputs["ray_token"]
    job = call(jobs, {"entrypoint": "true"}, token=token)["submission_id"]
    eventually(lambda: call(f"{jobs}{job}", token=token)["status"] not in {"PENDING", "RUNNING"})
    return bool(call(f"{jobs}{job}", token=token)["status"] == "SUCCEEDED")


def gateway_works(journey: Journey) -> bool:
    return journey.ask(journey.applicant)[0] == 200


def orchestration_works(journey: Journey) -> bool:
    query = (
        "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } workspaceOrError "
        "{ ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
    )
    data = call(f"{journey.outputs['orchestrator_url']}/graphql", {"query": query})["data"]
    daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    locations = data["workspaceOrError"]["locationEntries"]
    return all(daemon["healthy"] for daemon in daemons if daemon["required"]) and {
        entry["locationOrLoadError"]["__typename"] for entry in locations
    } == {"RepositoryLocation"}


def monitoring_works(journey: Journey) -> bool:
    return (
        len(call(f"{journey.outputs['metrics_url']}/api/v1/query?query=up")["data"]["result"]) > 0
    )


def workers(journey: Journey) -> dict[str, str]:
    """Each model server's program and address, of all slots."""
    return {
        f"{WORKLOAD}-slot-{slot}" + (f"-{number}" if number > 1 else ""): url
        for slot, urls in json.loads(journey.variables["FALAJ_SLOTS"]).items()
        for number, url in enumerate(urls, 1)
    }


def of_slot(journey: Journey, slot: str) -> dict[str, str]:
    """The model servers of one slot."""
    start = f"{WORKLOAD}-slot-{slot}"
    return {name: url for name, url in workers(journey).items() if name.startswith(start)}


def slots_work(journey: Journey) -> bool:
    record = {"jsonData": {"records": [journey.applicant]}}
    return all(
        call(f"{url}/version")["loading"] is False
        and call(f"{url}/api/v1.0/predictions", record)["meta"]["tags"]["slot"] == slot
        for slot in SLOTS
        for url in of_slot(journey, slot).values()
    )


WORKS: dict[str, Callable[[Journey], bool]] = {
    "object-store": object_store_works,
    "tracking": tracking_works,
    "training": training_works,
    "gateway": gateway_works,
    "orchestrator-web": orchestration_works,
    "orchestrator-daemon": orchestration_works,
    f"{WORKLOAD}-code": orchestration_works,
    "monitoring": monitoring_works,
    f"{WORKLOAD}-slot-a": slots_work,
    f"{WORKLOAD}-slot-a-2": slots_work,
    f"{WORKLOAD}-slot-b": slots_work,
    f"{WORKLOAD}-slot-b-2": slots_work,
}


def port_of(journey: Journey, program: str) -> int | None:
    """Where the part listens for others; `None` for one that does not."""
    outputs = journey.outputs
    urls = {
        "object-store": outputs["object_store_endpoint"],
        "tracking": outputs["tracking_uri"],
        "training": outputs["ray_address"],
        "gateway": outputs["serving_gateway_url"],
        "orchestrator-web": outputs["orchestrator_url"],
        "monitoring": outputs["metrics_url"],
    } | workers(journey)
    return urlsplit(urls[program]).port if program in urls else None


# --- what runs -----------------------------------------------------------------------------------


def supervisor(journey: Journey) -> Any:
    return connect(journey.outputs["local"]["socket"])


def tree(journey: Journey, program: str) -> list[psutil.Process]:
    """The part's process and all below it."""
    main = psutil.Process(supervisor(journey).getProcessInfo(program)["pid"])
    return [main, *main.children(recursive=True)]


def is_owned(journey: Journey, program: str) -> bool:
    """Whether the part runs, and its port belongs to a process of supervisord's."""
    if supervisor(journey).getProcessInfo(program)["statename"] != "RUNNING":
        return False
    port = port_of(journey, program)
    return port is None or any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for process in tree(journey, program)
        if process.is_running()
        for connection in process.net_connections("inet")
    )


def has_recovered(journey: Journey, program: str) -> None:
    eventually(lambda: is_owned(journey, program) and WORKS[program](journey))


def entries(journey: Journey) -> dict[str, Any]:
    """The registry's versions and aliases, and the version of the data table."""
    from deltalake import DeltaTable

    api = f"{journey.outputs['tracking_uri']}/api/2.0/mlflow"
    model = call(f"{api}/registered-models/get?name={WORKLOAD}")["registered_model"]
    versions = call(f"{api}/model-versions/search?max_results=1000")["model_versions"]
    outputs = journey.outputs
    table = DeltaTable(
        TABLE,
        storage_options={
            "AWS_ENDPOINT_URL": outputs["object_store_endpoint"],
            "AWS_REGION": outputs["object_store_region"],
            "AWS_ACCESS_KEY_ID": outputs["object_store_access_key"],
            "AWS_SECRET_ACCESS_KEY": outputs["object_store_secret_key"],
            "AWS_ALLOW_HTTP": "true",
        },
    )
    return {
        "aliases": sorted((entry["alias"], entry["version"]) for entry in model["aliases"]),
        "versions": sorted((v["version"], v["run_id"]) for v in versions),
        "table": (table.version(), table.to_pyarrow_table().num_rows),
    }


def killed(journey: Journey, program: str, victim: psutil.Process) -> None:
    """Kills one process and waits until the part has recovered."""
    victim.kill()
    psutil.wait_procs([victim], timeout=30)
    has_recovered(journey, program)


# --- killed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", sorted(WORKS.keys() - {"training"}))
def test_a_part_recovers_from_the_kill_of_each_of_its_processes(
    journey: Journey, program: str
) -> None:
    before = entries(journey)
    for place in range(len(tree(journey, program))):
        processes = tree(journey, program)
        if place < len(processes):
            killed(journey, program, processes[place])
    eventually(lambda: slots_work(journey))
    assert entries(journey) == before


# the head itself ends when one of its children does; its other children go the way of gcs_server,
# and the agents below raylet take it along without the head's knowing: then the watchdog helps
@pytest.mark.parametrize(
    "role",
    [
        *("start --head", "gcs_server", "raylet/raylet", "dashboard.py"),
        *("DashboardAgent", "RuntimeEnvAgent", "JobHead"),
    ],
)
def test_ray_recovers_from_the_kill_of_each_of_its_processes(journey: Journey, role: str) -> None:
    def named(process: psutil.Process) -> bool:
        try:
            return role in " ".join([process.name(), *process.cmdline()[:6]])
        except psutil.Error:
            return False

    victims: list[psutil.Process] = []

    def strike() -> bool:
        # what the kill before took along may still be on its way out
        victims[:] = [process for process in tree(journey, "training") if named(process)][:1]
        for victim in victims:
            victim.kill()
        return bool(victims)

    eventually(strike)
    psutil.wait_procs(victims, timeout=30)
    has_recovered(journey, "training")


@pytest.mark.parametrize("program", ["tracking", "object-store", "training", "monitoring"])
def test_predictions_go_on_while_a_part_that_they_do_not_need_is_down(
    journey: Journey, program: str
) -> None:
    daemon = supervisor(journey)
    daemon.stopProcessGroup(program)
    try:
        with journey.steady_requests() as answers:
            eventually(lambda: len(answers) > 2 * journey.requests_per_second)
    finally:
        daemon.startProcessGroup(program)
    assert {status for status, _ in answers} == {200}
    has_recovered(journey, program)


def test_no_request_fails_while_the_champions_servers_are_killed_and_come_back(
    journey: Journey,
) -> None:
    slot = max(journey.standing()["traffic"].items(), key=lambda share: share[1])[0]
    with journey.steady_requests() as answers:
        eventually(lambda: len(answers) > journey.requests_per_second)
        for program in of_slot(journey, slot):
            tree(journey, program)[0].kill()
        for program in of_slot(journey, slot):
            has_recovered(journey, program)
    assert [answer for answer in answers if answer[0] != 200] == []


def test_make_up_recovers_a_killed_supervisord_and_loses_no_entry(journey: Journey) -> None:
    before, weights = entries(journey), journey.standing()["traffic"]
    psutil.Process(supervisor(journey).getPID()).kill()
    up = journey.clone.make("up")
    assert up.returncode == 0, up.stdout[-4000:]
    for program, works in WORKS.items():
        eventually(
            lambda program=program, works=works: is_owned(journey, program) and works(journey)
        )  # type: ignore[misc]
    assert entries(journey) == before
    assert journey.standing()["traffic"] == weights


# --- commands while a part is down ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "command", "named"),
    [
        ("tracking", ("run", WORKLOAD), "tracking"),
        ("tracking", ("runs", WORKLOAD), "tracking"),
        ("tracking", ("release", WORKLOAD), "registry"),
        ("object-store", ("run", WORKLOAD), "cannot be read"),
        ("object-store", ("release", WORKLOAD), "object store"),
        ("training", ("run", WORKLOAD, "--force"), "training"),
        ("gateway", ("predict", WORKLOAD), "make up"),
        ("gateway", ("release", WORKLOAD, "--version", "1"), "gateway"),
    ],
)
def test_a_command_says_in_one_line_what_is_down(
    journey: Journey, program: str, command: tuple[str, ...], named: str
) -> None:
    daemon = supervisor(journey)
    daemon.stopProcessGroup(program)
    try:
        ran = journey.clone.run("falaj", *command)
    finally:
        daemon.startProcessGroup(program)
    assert ran.returncode == 1, ran.stdout
    errors = [line for line in ran.stdout.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, ran.stdout
    assert named in errors[0]
    assert "Traceback" not in ran.stdout
    has_recovered(journey, program)


# --- damaged -------------------------------------------------------------------------------------


def test_a_model_that_was_altered_in_the_bucket_is_not_served_and_can_be_mended(
    journey: Journey,
) -> None:
    traffic = journey.standing()["traffic"]
    slot = min(traffic, key=lambda name: traffic[name])
    program, url = next(iter(of_slot(journey, slot).items()))
    number = call(f"{url}/version")["version"]
    api = f"{journey.outputs['tracking_uri']}/api/2.0/mlflow/model-versions/get"
    version = call(f"{api}?name={WORKLOAD}&version={number}")["model_version"]
    model = version["source"].rpartition("/")[2]
    client = store(journey)
    (key,) = [
        entry["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="falaj-artifacts")
        for entry in page.get("Contents", [])
        if model in entry["Key"] and entry["Key"].endswith("/model.pkl")
    ]
    good = client.head_object(Bucket="falaj-artifacts", Key=key)["VersionId"]
    client.put_object(Bucket="falaj-artifacts", Key=key, Body=b"altered")
    try:
        for copy in (journey.clone.root / f".state/workloads/{WORKLOAD}/slots/{slot}").glob("m*"):
            shutil.rmtree(copy)
        tree(journey, program)[0].kill()
        eventually(lambda: "digest" in (call(f"{url}/version")["problem"] or ""))
        assert "altered" in call(f"{url}/version")["problem"]
        assert journey.ask(journey.applicant)[0] == 200
    finally:
        client.copy_object(
            Bucket="falaj-artifacts",
            Key=key,
            CopySource={"Bucket": "falaj-artifacts", "Key": key, "VersionId": good},
        )
    assert call(f"{url}/reload", {})["version"] == number


def test_a_damaged_registry_stops_with_a_reason_and_is_restored_from_its_copy(
    journey: Journey,
) -> None:
    daemon = supervisor(journey)
    database = journey.clone.root / ".state" / "tracking" / "mlflow.db"
    daemon.stopProcessGroup("tracking")
    daemon.startProcessGroup("tracking")
    has_recovered(journey, "tracking")
    before = entries(journey)
    daemon.stopProcessGroup("tracking")
    good = database.read_bytes()
    database.write_bytes(os.urandom(4096) + good[4096:])
    up = journey.clone.run("pulumi", "up", "--yes", "--skip-preview", "--refresh", "-s", "local")
    assert up.returncode != 0
    assert "mlflow.db" in up.stdout, up.stdout[-3000:]
    assert "docs/operations.md" in up.stdout
    assert journey.ask(journey.applicant)[0] == 200

    shutil.copyfile(database.with_name("mlflow-copy.db"), database)
    again = journey.clone.run("pulumi", "up", "--yes", "--skip-preview", "--refresh", "-s", "local")
    assert again.returncode == 0, again.stdout
    has_recovered(journey, "tracking")
    assert entries(journey) == before


def test_a_full_disk_stops_a_rollback_in_one_line_with_nothing_half_done(
    journey: Journey,
) -> None:
    before, weights = entries(journey), journey.standing()["traffic"]
    # no file may grow: what a full disk answers, for this one command
    full = journey.clone.run(
        *("prlimit", "--fsize=0", "falaj", "rollback", WORKLOAD),
        variables=journey.variables,
    )
    assert full.returncode == 1, full.stdout
    assert "Traceback" not in full.stdout
    assert "the disk is full" in full.stdout
    assert entries(journey) == before
    assert journey.standing()["traffic"] == weights
    assert journey.ask(journey.applicant)[0] == 200


# --- flooded -------------------------------------------------------------------------------------

FUZZED_REQUESTS = 10_000
BROKEN_BODIES = 2_000
SLOW_CONNECTIONS = 1_000
GROWTH_BYTES = 64 * 1024 * 1024


def resident_bytes(journey: Journey) -> int:
    return sum(
        process.memory_info().rss
        for program in workers(journey)
        for process in tree(journey, program)
    )


def fuzzed(random_: random.Random, applicant: dict[str, Any]) -> bytes:
    """A request that is right but for what a fuzzer does to it."""
    strange: list[Any] = [
        None, True, [], {}, "", "\ud800", "x" * 3000, -1, 0, 1e308, 10**400, float("nan"),
        float("inf"), [[[[]]]], {"a": {"b": {}}}, "NULL", "'; --", "\x00", 2**63, -0.0,
    ]  # fmt: skip
    record = dict(applicant)
    for _ in range(random_.randrange(4)):
        field = random_.choice([*record, "", "no such field", "__class__", "\ud83d"])
        record[field] = random_.choice(strange)
    form: Any = random_.choice(
        [
            {"jsonData": {"records": [record] * random_.choice([1, 1, 1, 2, 50])}},
            {"data": {"names": list(record), "ndarray": [list(record.values())]}},
            {"data": {"names": random_.choice(strange), "ndarray": random_.choice(strange)}},
            {"jsonData": random_.choice(strange), "meta": random_.choice(strange)},
            random_.choice(strange),
        ]
    )
    body = json.dumps(form).encode()
    if random_.random() < 0.2:
        cut = random_.randrange(len(body) + 1)
        body = body[:cut] + random_.randbytes(random_.randrange(8)) + body[cut + 1 :]
    return body


@contextlib.contextmanager
def unharmed(journey: Journey) -> Iterator[Callable[[], None]]:
    """No traceback is logged meanwhile, and memory is flat from when the caller says so."""
    folder = journey.clone.root / ".state" / "logs"
    logs = [folder / f"{program}.log" for program in workers(journey)]
    logged = [log.stat().st_size for log in logs]
    warm: list[int] = []
    yield lambda: warm.append(resident_bytes(journey))
    assert resident_bytes(journey) - warm[0] < GROWTH_BYTES
    for log, start in zip(logs, logged, strict=True):
        assert b"Traceback" not in log.read_bytes()[start:]
    assert journey.ask(journey.applicant)[0] == 200


def test_ten_thousand_requests_made_from_the_served_openapi_are_answered_as_it_says(
    journey: Journey,
) -> None:
    endpoint = journey.variables["FALAJ_ENDPOINT"]
    seed = int(os.environ.get("FALAJ_FUZZ_SEED", time.time_ns() % 2**32))
    print(f"FALAJ_FUZZ_SEED={seed}")  # noqa: T201 shown when the test fails
    api = schemathesis.openapi.from_url(f"{endpoint}/openapi.json")
    cases = hypothesis.strategies.one_of(
        api[path]["POST"].as_strategy(generation_mode=mode)
        for path in ("/api/v1.0/predictions", "/api/v1.0/feedback")
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    statuses: Counter[int] = Counter()

    with unharmed(journey) as warmed_up, requests.Session() as session:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=FUZZED_REQUESTS,
            phases=[hypothesis.Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=cases)
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=endpoint, session=session)
            case.validate_response(
                answer,
                checks=[
                    checks.not_a_server_error,
                    checks.status_code_conformance,
                    checks.content_type_conformance,
                    checks.response_schema_conformance,
                ],
            )
            assert b"Traceback" not in answer.content
            statuses[answer.status_code] += 1
            if statuses.total() == FUZZED_REQUESTS // 5:
                warmed_up()

        ask()
    assert statuses.total() >= FUZZED_REQUESTS
    assert statuses.keys() >= {200, 400}


def test_bodies_that_are_broken_in_any_way_meet_neither_a_5xx_nor_a_traceback(
    journey: Journey,
) -> None:
    seed = int(os.environ.get("FALAJ_FUZZ_SEED", time.time_ns() % 2**32))
    print(f"FALAJ_FUZZ_SEED={seed}")  # noqa: T201 shown when the test fails
    random_ = random.Random(seed)  # noqa: S311

    def ask(body: bytes) -> tuple[int, bytes]:
        status, answer, _ = journey.post(body)
        return status, json.dumps(answer).encode()

    bodies = [fuzzed(random_, journey.applicant) for _ in range(BROKEN_BODIES)]
    with unharmed(journey) as warmed_up, ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(ask, bodies[: BROKEN_BODIES // 5]))
        warmed_up()
        answers += pool.map(ask, bodies[BROKEN_BODIES // 5 :])
    for body, (status, answer) in zip(bodies, answers, strict=True):
        assert status < 500, (seed, status, body)
        assert b"Traceback" not in answer, (seed, body)
    assert {200, 400} <= {status for status, _ in answers}


def test_a_body_of_ten_megabytes_is_refused(journey: Journey) -> None:
    port = port_of(journey, "gateway")
    path = urlsplit(journey.variables["FALAJ_ENDPOINT"]).path
    before = resident_bytes(journey)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = (
            f"POST {path}/api/v1.0/predictions HTTP/1.1\r\nHost: gateway\r\n"
            f"Content-Type: application/json\r\nContent-Length: {10 * 1024 * 1024}\r\n\r\n"
        )
        connection.sendall(head.encode() + b" " * 32 * 1024)
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]
    assert resident_bytes(journey) - before < GROWTH_BYTES
    assert journey.ask(journey.applicant)[0] == 200


def test_a_thousand_slow_connections_keep_nobody_waiting(journey: Journey) -> None:
    port = port_of(journey, "gateway")
    path = urlsplit(journey.variables["FALAJ_ENDPOINT"]).path
    start = f"POST {path}/api/v1.0/predictions HTTP/1.1\r\nHost: gateway\r\nContent-Le"
    before = resident_bytes(journey)
    connections: list[socket.socket] = []
    try:
        for _ in range(SLOW_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(start.encode())
            connections.append(connection)
        with journey.steady_requests() as answers:
            eventually(lambda: len(answers) > 2 * journey.requests_per_second)
    finally:
        for connection in connections:
            connection.close()
    assert {status for status, _ in answers} == {200}
    assert resident_bytes(journey) - before < GROWTH_BYTES
