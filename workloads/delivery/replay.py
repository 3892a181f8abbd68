"""Synthetic traffic: applications of the hold-out set, asked about at a fixed rate.

Where no clients are, a canary would wait for ever. An environment that says so
(`FALAJ_SYNTHETIC_TRAFFIC`, requests per second) has hold-out applications replayed through the
gateway while a release is judged. Each bears the header `x-falaj-synthetic` and an entity of its
own; `falaj_synthetic_requests_total` tells them from those of clients. Bounded in time, and in
number by the rate.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from workloads.delivery.connection import Connection
from workloads.delivery.spec import Workload

Applications = Callable[[], Sequence[Mapping[str, Any]]]

HEADER = "x-falaj-synthetic"
ENTITY_HEADER = "x-falaj-entity"
_IN_FLIGHT = 16
_TIMEOUT_SECONDS = 30
_LOST = {502, 503, 504}
"""What the gateway says when nobody answered."""


def applications(workload: Workload) -> list[dict[str, Any]]:
    """The hold-out rows, which no model was trained on, as a client would send them."""
    from workloads.delivery import source
    from workloads.delivery.split import split

    with source.located(workload.spec.data, workload.folder) as path:
        rows = split(source.read(path, workload.spec.data), workload.spec).holdout
    names = list(workload.spec.features())
    return [
        # NaN, the frame's word for a missing value, is the one that differs from itself
        {n: None if v is None or v != v else _plain(v) for n, v in zip(names, row, strict=True)}  # noqa: PLR0124
        for row in rows[names].itertuples(index=False)
    ]


def wanted(connection: Connection, workload: Workload) -> Applications | None:
    """Where the applications come from, `None` where a release waits for real traffic."""
    if connection.synthetic_per_second <= 0:
        return None
    return lambda: applications(workload)


class Replay:
    """Asks while the block runs, for at most `seconds`."""

    def __init__(
        self, endpoint: str, records: Sequence[Mapping[str, Any]], per_second: int, seconds: float
    ) -> None:
        """`endpoint` is the URL before `/api/v1.0/predictions`."""
        self.answers: Counter[str] = Counter()
        """HTTP status, or the name of the exception where there was none → how many."""
        self._url = urlsplit(f"{endpoint}/api/v1.0/predictions")
        self._bodies = [json.dumps({"jsonData": {"records": [record]}}) for record in records]
        self._pause_seconds = 1 / per_second
        self._seconds = seconds
        self._end = threading.Event()
        self._guard = threading.Lock()
        self._free = threading.Semaphore(_IN_FLIGHT)
        self._local = threading.local()
        self._pacer = threading.Thread(target=self._pace, name="replay", daemon=True)

    def __enter__(self) -> Self:
        self._pacer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._pacer.join()

    @property
    def sent(self) -> int:
        """Requests with an answer or a failure."""
        return self.answers.total()

    @property
    def lost(self) -> int:
        """Requests that no model server answered."""
        return sum(
            n for code, n in self.answers.items() if not code.isdigit() or int(code) in _LOST
        )

    def record(self) -> dict[str, Any]:
        """For the journal."""
        return {"sent": self.sent, "lost": self.lost, "answers": dict(self.answers)}

    def __str__(self) -> str:
        failed = self.sent - self.answers["200"] - self.lost
        return f"{self.sent:,} hold-out applications replayed, {self.lost} lost" + (
            f", {failed} refused or failed" if failed else ""
        )

    def _pace(self) -> None:
        due = time.monotonic()
        last = due + self._seconds
        with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="replay") as pool:
            for number in itertools.count():
                if self._end.wait(max(0.0, due - time.monotonic())) or due > last:
                    return
                due += self._pause_seconds
                # a slow server gets fewer requests, not a growing queue of them
                if self._free.acquire(blocking=False):
                    pool.submit(self._ask, number % len(self._bodies))

    def _ask(self, number: int) -> None:
        headers = {
            "content-type": "application/json",
            HEADER: "true",
            ENTITY_HEADER: f"synthetic-{number}",
        }
        try:
            connection = self._connection()
            connection.request("POST", self._url.path, self._bodies[number], headers)
            answer = connection.getresponse()
            answer.read()
            outcome = str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
            self._local.connection = None
        with self._guard:
            self.answers[outcome] += 1
        self._free.release()

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is None:
            kept = http.client.HTTPConnection(
                str(self._url.hostname), self._url.port, timeout=_TIMEOUT_SECONDS
            )
            self._local.connection = kept
        return kept


def _plain(value: Any) -> Any:
    """A frame's value as JSON knows it, whole numbers without a fraction."""
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number
