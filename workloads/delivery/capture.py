"""Keeps predictions, masked, so that drift can be seen. Never in the way of an answer.

A server offers each prediction after it was made; a share of the requests is queued, and a thread
masks (`workloads.delivery.masking`), packs and puts them (`workloads.delivery.capture_store`) below
`<workload>/<date>/`, as JSON lines under gzip, one line for each predicted row:

    time        UTC, whole seconds, of the answer       request   keyed hash of the request's id
    workload, version, slot                             row       its place in the request, from 0
    key         which key hashed; not the key           probability, decision
    values, bins, hashes                                the features (`Masks.of`)

No line bears an id that a client sent. When the queue is full, rows are dropped and counted; while
the store takes nothing, one batch is held and put again. A stop writes what there is. What a kill
takes is what was not put yet: at most one batch, and what came while it was written.

The key is the content of a file, read again before each batch: put another one there and what is
hashed from then on is under it, cannot be compared with what was before, and names another `key`.
Whoever deletes a key makes what is hashed under it nobody's for good. Without a key nothing is
kept, and that is counted.

Environment: FALAJ_CAPTURE (`capture` of `workload.yaml`, as JSON; nothing is kept without it),
FALAJ_CAPTURE_URI (the folder above the workload's), FALAJ_CAPTURE_KEY_FILE, and where a bucket asks
for it FALAJ_CAPTURE_ENCRYPTION_KEY.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import hashlib
import hmac
import json
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import Counter
from pydantic import ValidationError

from workloads.delivery import spec
from workloads.delivery.capture_store import Store, StoreError, store_at
from workloads.delivery.errors import DeliveryError
from workloads.delivery.masking import Masks, keyed
from workloads.delivery.request import Record, Schema

log = logging.getLogger(__name__)

SETTINGS, URI, KEY_FILE = "FALAJ_CAPTURE", "FALAJ_CAPTURE_URI", "FALAJ_CAPTURE_KEY_FILE"
ENCRYPTION_KEY = "FALAJ_CAPTURE_ENCRYPTION_KEY"
POSITIVE, NEGATIVE = "positive", "negative"

CAPTURED = Counter("falaj_captured", "Predicted rows that were kept.", ("workload", "slot"))
DROPPED = Counter(
    "falaj_capture_dropped",
    "Predicted rows that were not kept, though drawn, or for want of a key.",
    ("workload", "slot", "reason"),
)
REASONS = ("full", "no_key", "failed", "stopped")
"""The queue was full; there was no key; a row could not be masked; the store took nothing until the
server stopped."""

_WAITING_BATCHES = 20
_LEAST_WAITING = 10_000
_SHORTEST_KEY = 16
_RETRY_SECONDS = 5.0
_STOP_SECONDS = 5.0
_SLICE = 10
_BREATH_SECONDS = 0.0005
"""Masking takes the interpreter for itself; after so many rows it lets answers go first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The predictions of one request."""

    version: str
    schema: Schema
    request: str
    """The request's id, which may be a client's and is never written."""
    records: Sequence[Record]
    """Checked."""
    probabilities: Sequence[float]
    decided: Sequence[bool]
    at: float = field(default_factory=time.time)

    def __repr__(self) -> str:
        """Holds nothing of the request: a log may show it."""
        return f"Seen({len(self.records)} rows)"


@dataclass(frozen=True)
class Batch:
    """A file to put."""

    name: str
    content: bytes
    rows: int


class Capture:
    """The queue of one server, and the thread that empties it."""

    def __init__(
        self, settings: spec.Capture, workload: str, slot: str, store: Store, key_file: Path
    ) -> None:
        self._settings, self._store, self._key_file = settings, store, key_file
        self._workload, self._slot = workload, slot
        self._most = max(_LEAST_WAITING, _WAITING_BATCHES * settings.batch_rows)
        self._below = round(settings.share * 2**64)
        self._queue: deque[Seen] = deque()
        self._rows = 0
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._batch: Batch | None = None
        self._key: bytes | None = None
        self._key_name = ""
        self._drawing_key: bytes | None = None
        self._masks: tuple[Schema, Masks] | None = None
        self._pruned: date | None = None
        self._captured = CAPTURED.labels(workload, slot)
        self._dropped = {reason: DROPPED.labels(workload, slot, reason) for reason in REASONS}
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begins to write; again is nothing more."""
        if self._thread.ident is not None:
            return
        self._read_key()
        self._thread.start()
        atexit.register(self.close)

    def draws(self, request: str, rows: int) -> bool:
        """Whether the request of this id, which predicts so many rows, is one to `offer`.

        Always the same for an id and a key. Asked for each answer, so it is quick.
        """
        key = self._drawing_key
        if key is None:
            self._dropped["no_key"].inc(rows)
            return False
        # under the key, so that nobody outside knows which ids are drawn
        drawn = hashlib.blake2b(request.encode(), key=key, digest_size=8).digest()
        return int.from_bytes(drawn) < self._below

    def offer(self, seen: Seen) -> None:
        """Queues it where there is room. Never waits."""
        rows = len(seen.records)
        with self._lock:
            has_room = self._rows + rows <= self._most
            if has_room:
                self._queue.append(seen)
                self._rows += rows
        if not has_room:
            self._dropped["full"].inc(rows)
        elif self._rows >= self._settings.batch_rows and not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Writes what is queued and ends; what cannot be written within seconds is dropped."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(self._settings.batch_seconds)
            self._wake.clear()
            is_last = self._stopping.is_set()
            try:
                self._read_key()
                self._prune()
                is_written = self._flush()
            except Exception as error:  # noqa: BLE001 its message could hold what was asked
                # whatever it was, the next batch may do better than no thread
                log.error("captured predictions: %s", type(error).__name__)
                is_written = False
            if is_last:
                self._give_up()
                return
            if not is_written:
                self._stopping.wait(_RETRY_SECONDS)
                self._wake.set()

    def _flush(self) -> bool:
        """Puts all that is queued; false where the store did not take it, and it is held."""
        while True:
            self._batch = self._batch or self._packed()
            if self._batch is None:
                return True
            try:
                self._store.put(self._batch.name, self._batch.content)
            except StoreError as error:
                log.warning("captured predictions are held back: %s", error)
                return False
            self._captured.inc(self._batch.rows)
            self._batch = None

    def _packed(self) -> Batch | None:
        """The next batch of the queue, `None` when it is empty."""
        taken: list[Seen] = []
        rows = 0
        with self._lock:
            while self._queue and rows < self._settings.batch_rows:
                taken.append(self._queue.popleft())
                rows += len(taken[-1].records)
            self._rows -= rows
        if not taken:
            return None
        lines = []
        for seen in taken:
            for line in self._lines(seen):
                lines.append(line)
                if len(lines) % _SLICE == 0 and not self._stopping.is_set():
                    time.sleep(_BREATH_SECONDS)
        at = datetime.fromtimestamp(taken[0].at, UTC)
        # no two servers, and no two batches of one, have a name in common
        name = f"{at:%Y-%m-%d}/{at:%H%M%S}-{self._slot}-{uuid.uuid4().hex}.jsonl.gz"
        content = gzip.compress("".join(lines).encode(), compresslevel=1, mtime=0)
        return Batch(name, content, len(lines))

    def _lines(self, seen: Seen) -> Iterator[str]:
        """The rows of a request as they are written; those that cannot be masked are counted."""
        key = self._key or b""
        shared = {
            "time": _at(int(seen.at)),
            "workload": self._workload,
            "version": seen.version,
            "slot": self._slot,
            "request": keyed(key, f"request\0{seen.request}"),
            "key": self._key_name,
        }
        masks = self._masks_of(seen.schema)
        scored = zip(seen.records, seen.probabilities, seen.decided, strict=True)
        for row, (record, probability, positive) in enumerate(scored):
            try:
                line: dict[str, Any] = {
                    **shared,
                    "row": row,
                    **masks.of(record, key),
                    "probability": probability,
                    "decision": POSITIVE if positive else NEGATIVE,
                }
                text = json.dumps(line)
            except Exception as error:  # noqa: BLE001 its message could hold what was asked
                self._dropped["failed"].inc()
                log.error("a prediction could not be masked: %s", type(error).__name__)
            else:
                yield f"{text}\n"

    def _masks_of(self, schema: Schema) -> Masks:
        if self._masks is None or self._masks[0] is not schema:
            self._masks = schema, Masks(schema)
        return self._masks[1]

    def _read_key(self) -> None:
        """Takes the key that the file holds now; while it cannot be read, the last one."""
        try:
            key = self._key_file.read_bytes().strip()
        except OSError:
            key = b""
        if len(key) >= _SHORTEST_KEY:
            self._key, self._key_name = key, keyed(key, "key")[:8]
            self._drawing_key = hmac.digest(key, b"draws", "sha256")
        elif self._key is None:
            log.warning(
                "no prediction is kept: %s holds no key of %d bytes or more",
                self._key_file,
                _SHORTEST_KEY,
            )

    def _prune(self) -> None:
        """Deletes the days that are over, once a day."""
        today = datetime.now(UTC).date()
        if self._pruned == today:
            return
        self._pruned = today
        try:
            self._store.prune(today - timedelta(days=self._settings.keep_days))
        except StoreError as error:
            log.warning("captured predictions of days that are over are not deleted: %s", error)

    def _give_up(self) -> None:
        """Counts what is left at the end."""
        with self._lock:
            left = self._rows + (self._batch.rows if self._batch else 0)
        if left:
            self._dropped["stopped"].inc(left)
            log.warning("%d captured predictions were not written", left)


@functools.lru_cache(maxsize=16)
def _at(second: int) -> str:
    """A time as it is written; most rows have that of the row before."""
    return datetime.fromtimestamp(second, UTC).isoformat()


def from_variables(variables: Mapping[str, str], workload: str, slot: str) -> Capture | None:
    """What `variables` ask for, not begun yet; `None` where nothing is kept.

    Raises `DeliveryError` naming the variable that is missing or wrong.
    """
    text = variables.get(SETTINGS)
    if not text:
        return None
    try:
        settings = spec.Capture.model_validate_json(text)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()
        )
        raise DeliveryError(f"{SETTINGS} is not `capture` of workload.yaml: {told}") from error
    if not settings.enabled:
        return None
    missing = [name for name in (URI, KEY_FILE) if not variables.get(name)]
    if missing:
        raise DeliveryError(f"{SETTINGS} asks for capture, and {' and '.join(missing)} is not set")
    return Capture(
        settings,
        workload,
        slot,
        store_at(f"{variables[URI].rstrip('/')}/{workload}", variables.get(ENCRYPTION_KEY)),
        Path(variables[KEY_FILE]),
    )
