"""The model server of a pod: both engines' addresses, one component, and the image that runs it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.kubernetes.model_pods import ENGINES
from tools.images import prove, root
from workloads.delivery import inference, pod_server
from workloads.delivery.errors import DeliveryError
from workloads.delivery.request import RequestError

WORKLOAD = "credit-risk"
MODEL = f"/v2/models/{WORKLOAD}"
RECORD: dict[str, Any] = {"Income": 120.0, "Amount": 1000, "Job": "fixed"}
TENSORS = [
    {"name": "Income", "datatype": "FP64", "shape": [2], "data": [120.0, None]},
    {"name": "Amount", "datatype": "INT64", "shape": [2, 1], "data": [1000, 20]},
    {"name": "Job", "datatype": "BYTES", "shape": [2], "data": ["fixed", None]},
]


def ports(engine: str, http: int, metrics: int) -> dict[str, str]:
    """The variables by which the pods of an engine name their ports."""
    names = ENGINES[engine].port_variables
    return {names[0]: str(http), names[1]: "9500", names[2]: str(metrics)}


# --- which engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_variables_of_the_pods_say_which_engine_it_serves(engine: str) -> None:
    asked = pod_server.ports(ports(engine, 9000, 6000))
    assert asked == pod_server.Ports(engine, 9000, 6000)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "for which engine"),
        (ports("seldon", 1, 2) | ports("mlserver", 1, 2), "for which engine"),
        ({"MLSERVER_HTTP_PORT": "9000"}, "MLSERVER_METRICS_PORT is missing"),
        (ports("seldon", 70000, 6000), "is 70000, expected a port"),
    ],
)
def test_a_server_that_is_not_told_one_engine_does_not_start(
    variables: dict[str, str], says: str
) -> None:
    with pytest.raises(DeliveryError, match=says):
        pod_server.ports(variables)


# --- the Open Inference Protocol ------------------------------------------------------------------


def test_tensors_are_a_message_in_rows() -> None:
    assert inference.to_message({"id": "mine", "inputs": TENSORS}) == {
        "data": {
            "names": ["Income", "Amount", "Job"],
            "ndarray": [[120.0, 1000, "fixed"], [None, 20, None]],
        },
        "meta": {"puid": "mine"},
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "inputs: expected a list"),
        ({"inputs": {}}, "inputs: expected a list"),
        ({"inputs": [], "more": 1}, "more: is no field"),
        ({"inputs": ["x"]}, r"inputs\[0\].name"),
        ({"inputs": [TENSORS[0], TENSORS[0]]}, "stands there twice"),
        ({"inputs": [TENSORS[0] | {"shape": [3]}]}, r"inputs\[0\].shape: expected \[2\]"),
        ({"inputs": [TENSORS[0] | {"data": "x"}]}, r"inputs\[0\].data: expected a list"),
        ({"inputs": [TENSORS[0] | {"datatype": "BOOL"}]}, "is BOOL, expected FP64"),
        ({"inputs": [TENSORS[0] | {"datatype": "BYTES"}]}, "holds values that are no BYTES"),
        ({"inputs": [TENSORS[2] | {"datatype": "INT64"}]}, "holds values that are no INT64"),
        (
            {"inputs": [TENSORS[0], {**TENSORS[1], "shape": [1], "data": [1]}]},
            "must have as many values",
        ),
    ],
)
def test_what_is_no_request_is_told_by_the_input(given: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        inference.to_message(given)


@pytest.fixture
def new_pod(
    run: Callable[..., Any], registry: Any, tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> Callable[[str], tuple[str, str]]:
    """Starts the server of slot a under an engine; gives its URL and that of its metrics."""

    def start(engine: str) -> tuple[str, str]:
        http, metrics = free_ports(2)
        run(
            f"pod-{engine}",
            [sys.executable, "-m", "workloads.delivery.pod_server"],
            **ports(engine, http, metrics),
            FALAJ_WORKLOAD=WORKLOAD,
            FALAJ_SLOT="a",
            FALAJ_STATE=str(tmp_path / "state"),
            FALAJ_FOLLOW_SECONDS="0.2",
            MLFLOW_TRACKING_URI=registry.uri,
        )
        return f"http://127.0.0.1:{http}", f"http://127.0.0.1:{metrics}"

    return start


def test_under_mlserver_the_open_inference_protocol_is_answered(
    new_pod: Callable[[str], tuple[str, str]], registry: Any, answering: Callable[[str], None]
) -> None:
    engine = ENGINES["mlserver"]
    url, metrics = new_pod("mlserver")
    answering(f"{url}{engine.live}")
    assert httpx.get(f"{url}{engine.ready}").status_code == 503
    assert httpx.post(f"{url}{MODEL}/infer", json={"inputs": TENSORS}).status_code == 503

    registry.point("a", 1)  # nobody tells the server: it asks
    answering(f"{url}{engine.ready}")
    answering(f"{url}{MODEL}/ready")

    answer = httpx.post(f"{url}{MODEL}/infer", json={"id": "mine", "inputs": TENSORS})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model_name"], body["model_version"], body["id"]) == (WORKLOAD, "1", "mine")
    assert [(one["name"], one["shape"]) for one in body["outputs"]] == [
        ("probability", [2]),
        ("decision", [2]),
    ]
    assert body["outputs"][0]["data"] == [pytest.approx(0.2)] * 2
    assert {one["name"] for one in httpx.get(f"{url}{MODEL}").json()["inputs"]} == set(RECORD)

    wrong = httpx.post(
        f"{url}{MODEL}/infer", json={"inputs": [*TENSORS[:2], TENSORS[2] | {"data": ["x", None]}]}
    )
    assert wrong.status_code == 400
    assert "Job" in wrong.json()["error"]
    assert httpx.get(f"{url}/v2/models/another").status_code == 404
    told = httpx.get(f"{metrics}/metrics").text
    for code in (200, 400, 503):
        assert re.search(rf'^falaj_requests_total{{.*code="{code}".*}} 1', told, re.MULTILINE), told


def test_under_seldon_its_probes_and_protocol_are_answered(
    new_pod: Callable[[str], tuple[str, str]], registry: Any, answering: Callable[[str], None]
) -> None:
    engine = ENGINES["seldon"]
    registry.point("a", 1)
    url, metrics = new_pod("seldon")
    answering(f"{url}{engine.ready}")
    assert httpx.get(f"{url}{engine.live}").status_code == 200
    answer = httpx.post(
        f"{url}/api/v1.0/predictions", json={"jsonData": {"records": [RECORD]}}
    ).json()
    assert answer["jsonData"]["predictions"][0]["probability"] == pytest.approx(0.2)
    answering(f"{metrics}/metrics")
    assert httpx.get(f"{url}{ENGINES['mlserver'].live}").status_code == 404


# --- the image ------------------------------------------------------------------------------------


def test_the_image_serves_a_model_as_nobody_with_a_root_that_is_read_only(
    new_slot: Callable[..., Any],
    registry: Any,
    tmp_path: Path,
    free_ports: Callable[[int], list[int]],
    answering: Callable[[str], None],
) -> None:
    """The files of the Dockerfile, without an engine, and a copy of a model as a slot keeps it."""
    registry.point("a", 1)
    slot = new_slot("a")
    slot.wait("/ready")
    state = tmp_path / "state"
    given = {"BASE": root.BASE, "SOURCE_DATE_EPOCH": "1700000000"}
    at = tmp_path / "root"
    try:
        image = root.make("serving", at, given=given, **root.uv_here())
        assert root.problems(at, owner=(os.getuid(), os.getgid())) == []
        for path in (state, *state.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        http, metrics = free_ports(2)
        told = ports("seldon", http, metrics) | {
            "FALAJ_WORKLOAD": WORKLOAD,
            "FALAJ_SLOT": "a",
            "FALAJ_STATE": "/var/lib/falaj",
            # nobody: what answers is the copy
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        url = f"http://127.0.0.1:{http}"
        with prove.serving(at, image, told, shared={"var/lib/falaj": state}):
            answering(f"{url}{ENGINES['seldon'].ready}")
            answer = httpx.post(
                f"{url}/api/v1.0/predictions", json={"jsonData": {"records": [RECORD]}}
            ).json()
            assert answer["jsonData"]["predictions"][0]["probability"] == pytest.approx(0.2)
        said = prove.ended(at, image, ["python", "-c", _WRITES]).splitlines()
        user, group = image.user.split(":")
        assert said == [f"{user} {group} 0", "/tmp"]  # noqa: S108 of the root
    finally:
        shutil.rmtree(at, ignore_errors=True)


_WRITES = """
import os
rights = [line for line in open("/proc/self/status") if line.startswith("CapEff")]
print(os.getuid(), os.getgid(), int(rights[0].split()[1], 16))
for folder, _, _ in os.walk("/"):
    if folder.startswith(("/proc", "/dev")):
        continue
    try:
        open(os.path.join(folder, "probe"), "w").close()
        print(folder)
    except OSError:
        pass
"""
