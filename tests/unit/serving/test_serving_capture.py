"""A real model server that keeps its predictions: what lies there after stops, kills and faults."""

from __future__ import annotations

import gzip
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

PREDICTIONS = "/api/v1.0/predictions"
KEY = "a key of thirty-two letters, mine"
INCOME, AMOUNT = 98765.4321, 1357.0
RECORD = {"Income": INCOME, "Amount": AMOUNT, "Job": "fixed"}
BATCH = 5


@pytest.fixture
def new_kept(new_slot: Callable[..., Any], registry: Any, tmp_path: Path) -> Callable[..., Any]:
    """Starts the server of slot a, which keeps every prediction."""
    registry.point("a", 1)
    (tmp_path / "key").write_text(KEY)

    def start(uri: str = f"file://{tmp_path}/capture", seconds: int = 3600) -> Any:
        asked = {"enabled": True, "share": 1, "batch_rows": BATCH, "batch_seconds": seconds}
        slot = new_slot(
            "a",
            FALAJ_CAPTURE=json.dumps(asked),
            FALAJ_CAPTURE_URI=uri,
            FALAJ_CAPTURE_KEY_FILE=str(tmp_path / "key"),
        )
        slot.wait("/ready")
        return slot

    return start


def ask(slot: Any, rows: int = 1, **headers: str) -> None:
    message = {
        "meta": {"puid": "emirates-id-784"},
        "jsonData": {"records": [RECORD] * rows},
    }
    answer = httpx.post(f"{slot.url}{PREDICTIONS}", json=message, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["meta"]["puid"] == "emirates-id-784"


def count(slot: Any, name: str) -> float:
    """The sum of a counter's series."""
    text = httpx.get(f"{slot.url}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, re.M))


def written(folder: Path) -> list[dict[str, Any]]:
    """Every line of every file, all of which are whole."""
    return [
        json.loads(line)
        for file in sorted((folder / "capture" / "credit-risk").glob("*/*.jsonl.gz"))
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]


def test_a_stop_leaves_all_predictions_masked_and_a_log_without_them(
    new_kept: Callable[..., Any], tmp_path: Path
) -> None:
    slot = new_kept()
    ask(slot, rows=3, **{"x-falaj-entity": "applicant-4711"})
    ask(slot, **{"x-falaj-synthetic": "true"})
    assert count(slot, "falaj_captured_total") == 0
    assert slot.process.kill(signal.SIGTERM) in (0, -signal.SIGTERM)

    lines = written(tmp_path)
    assert [line["row"] for line in lines] == [0, 1, 2], "the synthetic request is not kept"
    for line in lines:
        assert line["values"] == {"Amount": AMOUNT}
        assert line["bins"] == {"Income": 1}
        assert line["hashes"] == {}
        assert (line["version"], line["slot"], line["decision"]) == ("1", "a", "negative")
        assert line["probability"] == pytest.approx(0.2)
    said = slot.process.log.read_text()
    for secret in (str(INCOME), str(AMOUNT), "emirates-id-784", "applicant-4711", KEY):
        assert secret not in said
    for secret in (str(INCOME), "emirates-id-784", "applicant-4711", KEY, "fixed"):
        assert secret not in json.dumps(lines)


def test_a_kill_loses_less_than_a_batch_and_a_restart_goes_on(
    new_kept: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    slot = new_kept()
    for _ in range(12):
        ask(slot)
    kept = 12 - BATCH + 1
    eventually(lambda: count(slot, "falaj_captured_total") >= kept, "full batches are written")
    slot.process.kill(signal.SIGKILL)
    left = len(written(tmp_path))
    assert kept <= left <= 12

    again = new_kept()
    for _ in range(BATCH):
        ask(again)
    eventually(lambda: count(again, "falaj_captured_total") == BATCH, "it writes again")
    assert len(written(tmp_path)) == left + BATCH


def test_a_place_that_takes_nothing_is_in_nobodys_way(
    new_kept: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    slot = new_kept(f"file://{tmp_path}/key/of/no/folder", seconds=1)
    ask(slot, rows=2 * BATCH)
    eventually(lambda: "held back" in slot.process.log.read_text(), "the log says so")
    for _ in range(20):
        ask(slot, rows=1000)
    assert count(slot, "falaj_captured_total") == 0
    assert count(slot, "falaj_capture_dropped_total") >= 10_000 - 2 * BATCH
    assert slot.process.kill(signal.SIGTERM) in (0, -signal.SIGTERM)
    said = slot.process.log.read_text()
    assert "captured predictions were not written" in said
    assert str(INCOME) not in said
    assert "Traceback" not in said
