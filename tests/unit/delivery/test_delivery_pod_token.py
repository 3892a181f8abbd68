"""How MLflow's client in a pod signs its requests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking.request_auth.registry import fetch_auth

from components.kubernetes.tracking_client import MOUNT, VARIABLES, VOLUME
from workloads.delivery.pod_token import FILE


def test_a_request_bears_the_token_that_is_in_the_file_at_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv(FILE, str(file))
    sign = fetch_auth(VARIABLES["MLFLOW_TRACKING_AUTH"])
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        request = sign(SimpleNamespace(headers={}))
        assert request.headers == {"Authorization": f"Bearer {token}"}


def test_a_pod_without_a_token_asks_nothing_unsigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "token"))
    with pytest.raises(FileNotFoundError):
        fetch_auth("falaj")(SimpleNamespace(headers={}))


def test_the_file_is_where_the_volume_brings_it() -> None:
    ((source,),) = (list(one.values()) for one in VOLUME["projected"]["sources"])
    assert VARIABLES[FILE] == f"{MOUNT['mountPath']}/{source['path']}"
    assert MOUNT["name"] == VOLUME["name"]
