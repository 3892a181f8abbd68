"""A workload on one machine, as the program registers it: what its servers keep of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.contract import CONTRACT_VERSION, PlatformOutputs
from components.local import workload
from components.workload import deploy
from workloads.delivery import capture

Record = Callable[[Callable[[], object]], Any]


def platform(folder: Path) -> PlatformOutputs:
    return PlatformOutputs.parse(
        {
            "contract_version": CONTRACT_VERSION,
            "environment": "local",
            "place": "local",
            "capabilities": [
                *("artifacts", "tracking", "training", "serving", "monitoring", "orchestration")
            ],
            "residency_mode": "in-country",
            "allowed_regions": [],
            "artifact_uri": "s3://falaj-artifacts",
            "data_uri": "s3://falaj-data",
            "tracking_uri": "http://127.0.0.1:5000",
            "ray_address": "http://127.0.0.1:8265",
            "serving_gateway_url": "http://127.0.0.1:8088",
            "serving_namespace": "local",
            "metrics_url": "http://127.0.0.1:9090",
            "orchestrator_url": "http://127.0.0.1:3000",
            "local": {
                "state_directory": str(folder),
                "socket": str(folder / "supervisor.sock"),
                "gateway_socket": str(folder / "gateway.sock"),
                "first_workload_port": 9110,
                "last_workload_port": 9199,
            },
        }
    )


@pytest.fixture(autouse=True)
def found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What providers find out: the block of ports, and a key."""

    class Made:
        def __init__(self, *_given: Any, **_more: Any) -> None:
            self.port = pulumi.Output.from_input(9110)
            self.value = pulumi.Output.from_input("a key")

    monkeypatch.setattr(workload, "PortBlock", Made)
    monkeypatch.setattr(workload, "GeneratedSecret", Made)


def workers(record: Record, folder: Path, kept: dict[str, Any] | None) -> list[Any]:
    """The model servers, in the order of their names."""
    made = record(lambda: deploy("credit-risk", "digest", platform(folder), None, kept))
    found = [one for one in made.resources if "-slot-" in one.name]
    return sorted(found, key=lambda one: str(one.name))


def test_all_servers_keep_predictions_in_one_folder_under_one_key(
    record: Record, tmp_path: Path
) -> None:
    asked = {"enabled": True, "share": 0.5}
    found = workers(record, tmp_path, asked)

    assert len(found) == 4
    # a secret as the engine gets it, since the key of the object store is in it
    told = [one.inputs["environment"]["value"] for one in found]
    assert {json.dumps(json.loads(one[capture.SETTINGS])) for one in told} == {json.dumps(asked)}
    assert {one[capture.URI] for one in told} == {f"file://{tmp_path}/capture"}
    (key_file,) = {one[capture.KEY_FILE] for one in told}
    # written once: the first is there before the others
    files = [one.inputs.get("files") or {} for one in found]
    assert files == [{key_file: "a key"}, {}, {}, {}]


@pytest.mark.parametrize("asked", [None, {"enabled": False}])
def test_servers_that_are_not_asked_keep_nothing(
    record: Record, tmp_path: Path, asked: dict[str, Any] | None
) -> None:
    found = workers(record, tmp_path, asked)

    assert len(found) == 4
    assert not any("FALAJ_CAPTURE" in str(one.inputs) for one in found)
    assert not any(one.inputs.get("files") for one in found)
