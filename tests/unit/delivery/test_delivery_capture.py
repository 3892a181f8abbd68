"""Captured predictions: what is drawn, written, dropped and deleted; nothing may stop an answer."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from workloads.delivery import capture, capture_store, files
from workloads.delivery.capture import Capture, Seen
from workloads.delivery.capture_store import Bucket, Folder, StoreError, store_at
from workloads.delivery.errors import DeliveryError
from workloads.delivery.request import Field, Schema
from workloads.delivery.spec import Capture as Settings

WORKLOAD = "credit-risk"
SCHEMA = Schema(
    (
        Field("Time", "number", classification="internal"),
        Field("Income", "number", classification="personal", edges=(100.0,)),
        Field("Job", "category", classification="personal"),
        Field("Records", "category", classification="sensitive"),
    ),
    0.5,
    "bad",
)
RECORD: dict[str, Any] = {"Time": 12.0, "Income": 1234.5, "Job": "TINKER", "Records": "DEFAULTED"}
REQUEST = "emirates-id-784-1980-1234567-1"


class Store:
    """Takes files into memory, or nothing while it is down."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.is_down = False
        self.tried = threading.Event()
        self.pruned: list[date] = []

    def put(self, name: str, content: bytes) -> None:
        self.tried.set()
        if self.is_down:
            raise StoreError("the store is down")
        self.files[name] = content

    def prune(self, first: date) -> None:
        self.pruned.append(first)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for content in self.files.values()
            for line in gzip.decompress(content).splitlines()
        ]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("thirty-two letters of a test key\n")
    return file


@pytest.fixture
def new(store: Store, key_file: Path) -> Iterator[Callable[..., Capture]]:
    """Makes a capture of a slot of its own, whose counters begin at 0."""
    made: list[Capture] = []

    def make(**asked: Any) -> Capture:
        said = Settings(enabled=True, **({"share": 1.0, "batch_seconds": 3600} | asked))
        made.append(Capture(said, WORKLOAD, uuid.uuid4().hex[:8], store, key_file))
        return made[-1]

    yield make
    for one in made:
        one.close()


def seen(request: str = REQUEST, rows: int = 1, schema: Schema = SCHEMA) -> Seen:
    return Seen(
        version="7",
        schema=schema,
        request=request,
        records=[RECORD] * rows,
        probabilities=[0.75] * rows,
        decided=[True] * rows,
    )


def counted(made: Capture) -> dict[str, float]:
    """Reason → rows, and `captured`."""
    found = {reason: one._value.get() for reason, one in made._dropped.items()}
    return {name: rows for name, rows in found.items() if rows} | {
        "captured": made._captured._value.get()
    }


def test_a_line_says_who_answered_what_and_nothing_that_may_not_be_read(
    new: Callable[..., Capture], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    made = new()
    made.start()
    with caplog.at_level(logging.DEBUG):
        made.offer(seen(rows=2))
        made.close()
    first, second = store.lines
    assert first["request"] == second["request"]
    assert (first["row"], second["row"]) == (0, 1)
    assert first == first | {
        "workload": WORKLOAD,
        "version": "7",
        "values": {"Time": 12.0},
        "bins": {"Income": 1},
        "probability": 0.75,
        "decision": "positive",
    }
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)
    assert first["hashes"].keys() == {"Job"}
    written = "".join(gzip.decompress(content).decode() for content in store.files.values())
    key = "thirty-two letters"
    for secret in ("1234.5", "TINKER", "DEFAULTED", "Records", REQUEST, key, "784-1980"):
        assert secret not in written
        assert secret not in caplog.text
    assert counted(made) == {"captured": 2}
    assert REQUEST not in repr(seen())


def test_files_lie_under_the_day_of_their_records(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new()
    made.start()
    made.offer(seen())
    made.close()
    (name,) = store.files
    assert date.fromisoformat(name.split("/")[0]) <= datetime.now(UTC).date()
    assert name.endswith(".jsonl.gz")


def test_the_share_is_drawn_by_the_request_and_always_the_same(
    new: Callable[..., Capture], key_file: Path
) -> None:
    drawn = []
    for share in (0.25, 0.25, 1.0):
        made = new(share=share)
        made._read_key()
        names = [f"request-{number}" for number in range(2000)]
        drawn.append({name for name in names if made.draws(name, 1)})
    assert drawn[0] == drawn[1]
    assert 400 < len(drawn[0]) < 600
    assert len(drawn[2]) == 2000
    key_file.write_text("another key of sixteen letters")
    made = new(share=0.25)
    made._read_key()
    assert {name for name in names if made.draws(name, 1)} != drawn[0], "nobody can foresee it"


def test_a_full_batch_is_written_before_the_time_is_over(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new(batch_rows=3)
    made.start()
    for _ in range(3):
        made.offer(seen())
    assert store.tried.wait(30)
    made.offer(seen())
    made.close()
    assert sorted(len(gzip.decompress(one).splitlines()) for one in store.files.values()) == [1, 3]


def test_what_is_there_is_written_when_the_time_is_over(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new(batch_seconds=1)
    made.start()
    made.offer(seen())
    assert store.tried.wait(30)
    made.close()
    assert len(store.lines) == 1


def test_a_full_queue_drops_and_counts_and_answers_go_on(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new(batch_rows=1000)
    made._read_key()  # nobody empties the queue
    for _ in range(21):
        made.offer(seen(rows=1000))
    assert counted(made) == {"full": 1000, "captured": 0}
    made._flush()
    assert counted(made) == {"full": 1000, "captured": 20000}
    made.offer(seen())
    made._flush()
    assert len(store.lines) == 20001


def test_what_the_store_does_not_take_is_held_and_put_again(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new()
    made._read_key()
    store.is_down = True
    made.offer(seen())
    assert not made._flush()
    assert not made._flush()
    store.is_down = False
    made.offer(seen())
    assert made._flush()
    assert len(store.lines) == 2
    assert counted(made) == {"captured": 2}


def test_what_cannot_be_written_at_the_end_is_counted(
    new: Callable[..., Capture], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    made = new(batch_rows=1)
    store.is_down = True
    made.start()
    for _ in range(3):
        made.offer(seen())
    made.close()
    made._thread.join(30)
    assert counted(made) == {"stopped": 3, "captured": 0}
    assert "3 captured predictions were not written" in caplog.text


def test_without_a_key_nothing_is_kept_until_there_is_one(
    new: Callable[..., Capture], store: Store, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_file.read_text()
    key_file.write_text("too short")
    made = new()
    made._read_key()
    assert not made.draws(REQUEST, 3)
    assert counted(made) == {"no_key": 3, "captured": 0}
    assert "too short" not in caplog.text
    assert f"{key_file} holds no key of 16 bytes" in caplog.text
    key_file.write_text(key)
    made._read_key()
    assert made.draws(REQUEST, 1)
    made.offer(seen())
    made._flush()
    assert len(store.lines) == 1


def test_a_new_key_is_taken_while_the_server_runs_and_lines_say_which(
    new: Callable[..., Capture], store: Store, key_file: Path
) -> None:
    made = new()
    for content in ("the first key of a test", "the second key of a test", None):
        if content is None:
            key_file.unlink()  # between two keys there may be none
        else:
            key_file.write_text(content)
        made._read_key()
        made.offer(seen())
        made._flush()
    first, second, third = store.lines
    assert first["key"] != second["key"] == third["key"]
    assert first["hashes"]["Job"] != second["hashes"]["Job"] == third["hashes"]["Job"]
    assert first["request"] != second["request"] == third["request"]


def test_a_row_that_cannot_be_masked_is_counted_and_the_others_written(
    new: Callable[..., Capture], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    made = new()
    made._read_key()
    odd = seen(rows=2)
    odd.records[1] = {**RECORD, "Income": "SECRETIVE"}  # type: ignore[index]
    made.offer(odd)
    made._flush()
    assert len(store.lines) == 1
    assert counted(made) == {"failed": 1, "captured": 1}
    assert "SECRETIVE" not in caplog.text


def test_a_thread_that_met_something_new_writes_on(
    new: Callable[..., Capture],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_first: date) -> None:
        raise RuntimeError("SECRETIVE")

    monkeypatch.setattr(store, "prune", broken)
    monkeypatch.setattr(capture, "_RETRY_SECONDS", 0)
    made = new(batch_rows=1)
    made.start()
    made.offer(seen())
    assert store.tried.wait(30)
    made.close()
    assert len(store.lines) == 1
    assert "captured predictions: RuntimeError" in caplog.text
    assert "SECRETIVE" not in caplog.text


def test_another_model_is_masked_by_its_own_metadata(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new()
    made._read_key()
    other = Schema((Field("Job", "category", classification="public"),), 0.5, "bad")
    for schema in (SCHEMA, other, SCHEMA):
        made.offer(seen(schema=schema))
    made._flush()
    assert [line["values"] for line in store.lines] == [
        {"Time": 12.0},
        {"Job": "TINKER"},
        {"Time": 12.0},
    ]


def test_days_that_are_over_are_deleted_once_a_day(
    new: Callable[..., Capture], store: Store
) -> None:
    made = new(keep_days=30)
    made._prune()
    made._prune()
    assert store.pruned == [datetime.now(UTC).date() - timedelta(days=30)]


# --- folders --------------------------------------------------------------------------------------


def test_a_file_in_a_folder_is_whole_and_its_owners_alone(tmp_path: Path) -> None:
    Folder(tmp_path / "kept").put("2026-01-02/x.jsonl.gz", b"content")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.relative_to(tmp_path / "kept").as_posix() == "2026-01-02/x.jsonl.gz"
    assert file.read_bytes() == b"content"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_a_store_that_takes_nothing_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        Folder(tmp_path).put("2026-01-02/x.jsonl.gz", b"content")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_is_none_is_a_store_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Folder(tmp_path / "file" / "below")
    for asked in (lambda: store.put("x", b""), lambda: store.prune(date(2026, 1, 2))):
        with pytest.raises(StoreError, match="Not a directory"):
            asked()


def test_a_folder_loses_old_days_and_nothing_else(tmp_path: Path) -> None:
    store = Folder(tmp_path / "kept")
    store.prune(date(2026, 1, 2))
    for name in ("2026-01-01/x", "2026-01-02/x", "notes/x"):
        store.put(name, b"")
    store.prune(date(2026, 1, 2))
    assert {path.name for path in store.root.iterdir()} == {"2026-01-02", "notes"}


# --- buckets --------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bucket, Stubber]]:
    for name, value in {
        "AWS_REGION": "me-central-1",
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
    }.items():
        monkeypatch.setenv(name, value)
    made = store_at("s3://door-s3alias/teams/credit/capture/credit-risk", "arn:aws:kms:x:1:key/2")
    assert isinstance(made, Bucket)
    with Stubber(made._client) as stubbed:
        yield made, stubbed


PREFIX = "teams/credit/capture/credit-risk/"


def test_an_object_lies_in_the_teams_folder_under_its_key(bucket: tuple[Bucket, Stubber]) -> None:
    store, stubbed = bucket
    assert store._client.meta.region_name == "me-central-1"
    stubbed.add_response(
        "put_object",
        {},
        {
            "Bucket": "door-s3alias",
            "Key": f"{PREFIX}2026-01-02/x.jsonl.gz",
            "Body": b"content",
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": "arn:aws:kms:x:1:key/2",
        },
    )
    store.put("2026-01-02/x.jsonl.gz", b"content")
    stubbed.assert_no_pending_responses()


def test_a_bucket_that_refuses_is_a_store_that_takes_nothing(
    bucket: tuple[Bucket, Stubber],
) -> None:
    store, stubbed = bucket
    stubbed.add_client_error("put_object", "AccessDenied", "not yours")
    with pytest.raises(StoreError, match=r"s3://door-s3alias/teams/.*AccessDenied"):
        store.put("x", b"")


def test_a_bucket_loses_old_days_and_nothing_else(bucket: tuple[Bucket, Stubber]) -> None:
    store, stubbed = bucket
    asked = {"Bucket": "door-s3alias", "Prefix": PREFIX, "Delimiter": "/"}
    days = ({"IsTruncated": True, "NextContinuationToken": "on"}, {"IsTruncated": False})
    listed = (["2025-12-31", "notes"], ["2026-01-01", "2026-01-02"])
    for page, names, more in zip(days, listed, ({}, {"ContinuationToken": "on"}), strict=True):
        found = [{"Prefix": f"{PREFIX}{name}/"} for name in names]
        stubbed.add_response("list_objects_v2", {**page, "CommonPrefixes": found}, asked | more)
    for day in ("2025-12-31", "2026-01-01"):
        key = f"{PREFIX}{day}/x"
        stubbed.add_response(
            "list_objects_v2",
            {"IsTruncated": False, "Contents": [{"Key": key}]},
            {"Bucket": "door-s3alias", "Prefix": f"{PREFIX}{day}/"},
        )
        stubbed.add_response("delete_object", {}, {"Bucket": "door-s3alias", "Key": key})
    store.prune(date(2026, 1, 2))
    stubbed.assert_no_pending_responses()


@pytest.mark.parametrize("uri", ["", "https://x/y", "file://host/x", "file:///", "s3:///x"])
def test_another_address_is_no_place_for_predictions(uri: str) -> None:
    with pytest.raises(DeliveryError, match=r"file:///… or s3://bucket/…"):
        store_at(uri)


# --- the variables --------------------------------------------------------------------------------


def variables(**changes: str) -> dict[str, str]:
    return {
        capture.SETTINGS: '{"enabled": true}',
        capture.URI: "file:///kept/",
        capture.KEY_FILE: "/key",
    } | changes


def test_the_variables_say_what_is_kept_and_where() -> None:
    made = capture.from_variables(variables(), WORKLOAD, "a")
    assert made is not None
    assert isinstance(made._store, capture_store.Folder)
    assert made._store.root == Path("/kept/credit-risk")


@pytest.mark.parametrize("text", ["", '{"enabled": false}', "{}"])
def test_without_being_asked_nothing_is_kept(text: str) -> None:
    assert capture.from_variables(variables(FALAJ_CAPTURE=text), WORKLOAD, "a") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({capture.SETTINGS: "yes"}, "FALAJ_CAPTURE is not .capture. of workload.yaml: it: "),
        ({capture.SETTINGS: '{"share": 2}'}, "share: Input should be less than"),
        ({capture.URI: "", capture.KEY_FILE: ""}, "FALAJ_CAPTURE_URI and FALAJ_CAPTURE_KEY_FILE"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, str], said: str) -> None:
    with pytest.raises(DeliveryError, match=said):
        capture.from_variables(variables(**change), WORKLOAD, "a")
