"""The component under Seldon's own shell, as it runs in a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from seldon_core.flask_utils import SeldonMicroserviceException

RECORD = {"Income": 120.0, "Amount": 1000, "Job": "fixed"}


@pytest.fixture
def seldon(
    run: Callable[..., Any],
    registry: Any,
    free_ports: Callable[[int], list[int]],
    answering: Callable[[str], None],
    tmp_path: Path,
) -> tuple[str, str]:
    """URLs of the microservice and of the metrics that the component serves itself."""
    registry.point("a", 2)
    rest, grpc, metrics, own = free_ports(4)
    command = [str(Path(sys.executable).parent / "seldon-core-microservice")]
    command += ["workloads.credit_risk.serving.CreditRisk", "--service-type", "MODEL"]
    command += ["--http-port", str(rest), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
    counted = tmp_path / "counted"
    counted.mkdir()
    run(
        "seldon",
        command,
        MLFLOW_TRACKING_URI=registry.uri,
        FALAJ_STATE=str(tmp_path / "state"),
        FALAJ_SLOT="a",
        FALAJ_METRICS_ADDRESS=f"127.0.0.1:{own}",
        PROMETHEUS_MULTIPROC_DIR=str(counted),
    )
    answering(f"http://127.0.0.1:{rest}/health/status")
    return f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{own}"


def test_the_component_answers_under_the_seldon_microservice(seldon: tuple[str, str]) -> None:
    url, metrics = seldon
    asked = {"data": {"names": list(RECORD), "ndarray": [list(RECORD.values())]}}
    answer = httpx.post(f"{url}/api/v1.0/predictions", json=asked)
    assert answer.status_code == 200
    assert answer.json()["data"]["ndarray"] == [[pytest.approx(0.7), 1]]
    assert answer.json()["meta"]["tags"]["version"] == "2"

    asked = {"jsonData": {"records": [RECORD | {"Amount": "many"}]}}
    answer = httpx.post(f"{url}/api/v1.0/predictions", json=asked)
    assert answer.status_code == 400
    assert "records[0].Amount" in answer.json()["status"]["info"]

    sent = {"request": {"data": {"names": ["Amount"], "ndarray": [[1000]]}}, "reward": 0.5}
    assert httpx.post(f"{url}/api/v1.0/feedback", json=sent).status_code == 200

    counted = httpx.get(f"{metrics}/metrics").text
    who = 'slot="a",version="2",workload="credit-risk"'
    assert f'falaj_requests_total{{code="200",{who}}} 1.0' in counted
    assert f'falaj_requests_total{{code="400",{who}}} 1.0' in counted
    assert f"falaj_feedback_reward_sum{{{who}}} 0.5" in counted


def test_arrays_and_dicts_are_answered_without_a_shell(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.credit_risk.serving import CreditRisk

    registry.point("b", 2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    monkeypatch.setenv("FALAJ_STATE", str(tmp_path))
    monkeypatch.setenv("FALAJ_SLOT", "b")
    component = CreditRisk()
    with pytest.raises(SeldonMicroserviceException) as empty:
        component.health_status()
    assert empty.value.status_code == 503
    component.load()
    assert component.health_status() == ["2"]
    # one array of numbers and texts holds nothing but texts, as a protobuf message does
    rows = np.array([["120", "1000", "fixed"], ["None", "5", "None"]])
    assert component.predict(rows, list(RECORD)) == [[pytest.approx(0.7), 1]] * 2
    assert component.predict({"records": [RECORD]}, [])["predictions"][0]["decision"] == "positive"
    with pytest.raises(SeldonMicroserviceException) as wrong:
        component.predict(np.array([["x", "5", "fixed"]]), list(RECORD))
    assert wrong.value.status_code == 400
    assert "Income" in wrong.value.message
