"""What a release writes down of itself, and how one alone of a workload runs at a time.

On one machine that is a folder: a lock of the system, which dies with its process, and a journal. A
release to a cluster may be ended by another machine than began it. There it is one Lease in the
team's namespace: its `spec` says who holds it, its annotations are the journal. People's roles read
it; releases alone write it (`components/kubernetes/roles.py`).

A holder that is killed renews its Lease no more. As Kubernetes' own leader election does, another
believes no clock but its own: a Lease that it sees unchanged for as long as it lasts is free.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx

from workloads.delivery import files
from workloads.delivery.api_server import DownError, RefusedError, ask
from workloads.delivery.errors import BusyError, DeliveryError

JOURNAL = "releases.jsonl"
VERDICT = "verdict.json"
"""What the judge of the running release, or of the last one, said last."""
_REQUEST = "rollback.request"

LEASE_SECONDS = 15
_RENEWAL_SECONDS = 3.0
_PAUSE_SECONDS = 0.25
_SHOW_SECONDS = 5.0
"""How often a verdict that says the same, with other figures, is written to a cluster."""
_KEPT_BYTES = 100_000
"""Of the journal in a Lease: all annotations of an object may have 262,144."""
_MANAGER = "falaj-release"
_JOURNAL_KEY, _VERDICT_KEY, _REQUEST_KEY = (
    f"falaj/{noun}" for noun in ("journal", "verdict", "rollback-request")
)
_CONFLICT = httpx.codes.CONFLICT


class Ledger(Protocol):
    """Of one workload in one environment."""

    def exclusive(self, wait_seconds: float = 0) -> AbstractContextManager[None]:
        """While one release or rollback runs. Raises `BusyError` where another does."""
        ...

    def append(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the journal; it is kept when this returns."""
        ...

    def lines(self) -> list[dict[str, Any]]:
        """The journal's lines, oldest first; one that a kill cut short is left out."""
        ...

    def ask_back(self) -> None:
        """Asks a release that runs to take its version back."""
        ...

    def asked(self) -> Mapping[str, Any] | None:
        """Who asks so, `by` and `at`; `None` where nobody does."""
        ...

    def forget_asked(self) -> None:
        """It was heard."""
        ...

    def show(self, verdict: Mapping[str, Any]) -> None:
        """Keeps what the judge said last."""
        ...

    def shown(self) -> dict[str, Any] | None:
        """What the judge said last."""
        ...


class FolderLedger:
    """In a folder of this machine."""

    def __init__(self, folder: Path, workload: str) -> None:
        self._folder, self._workload = folder, workload
        self._request = folder / _REQUEST

    @contextmanager
    def exclusive(self, wait_seconds: float = 0) -> Iterator[None]:
        """See `Ledger`."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._folder / "release.lock", timeout=wait_seconds)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"another release or rollback of {self._workload} is running; see `falaj status`"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def append(self, line: Mapping[str, Any]) -> None:
        """See `Ledger`."""
        files.append_json(self._folder / JOURNAL, line)

    def lines(self) -> list[dict[str, Any]]:
        """See `Ledger`."""
        path = self._folder / JOURNAL
        if not path.exists():
            return []
        lines = []
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
        return lines

    def ask_back(self) -> None:
        """See `Ledger`."""
        files.write_json(self._request, _request())

    def asked(self) -> Mapping[str, Any] | None:
        """See `Ledger`."""
        return (files.read_json(self._request) or {}) if self._request.exists() else None

    def forget_asked(self) -> None:
        """See `Ledger`."""
        self._request.unlink(missing_ok=True)

    def show(self, verdict: Mapping[str, Any]) -> None:
        """See `Ledger`."""
        files.write_json(self._folder / VERDICT, verdict)

    def shown(self) -> dict[str, Any] | None:
        """See `Ledger`."""
        return files.read_json(self._folder / VERDICT)


class LeaseLedger:
    """In a Lease of the cluster. Every method raises `DownError` and `RefusedError`."""

    def __init__(self, client: httpx.Client, namespace: str, workload: str) -> None:
        self._client, self._workload = client, workload
        self._name = name = f"{workload}-release"
        self._metadata = {"name": name, "namespace": namespace}
        self._space = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._what = f"Lease {namespace}/{name}"
        self._role = f"{namespace}/{name}"
        self._holder: str | None = None
        """What this process calls itself while it holds the Lease."""
        self._last_shown: tuple[Any, float] = (None, 0.0)

    @contextmanager
    def exclusive(self, wait_seconds: float = 0) -> Iterator[None]:
        """See `Ledger`. Waits for a holder that was killed until its Lease has run out."""
        holder = f"{me()}@{socket.gethostname()}/{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._take(holder, wait_seconds)
        over = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(holder, over), daemon=True)
        renewal.start()
        self._holder = holder
        try:
            yield
        finally:
            over.set()
            renewal.join()
            self._holder = None
            self._leave(holder)

    def append(self, line: Mapping[str, Any]) -> None:
        """See `Ledger`. The oldest lines go where there are too many. Raises `BusyError` where
        somebody else took over from this process, which was silent for too long.
        """

        def added(thing: Any) -> dict[str, Any]:
            lines = [*_lines(thing), dict(line)]
            while len(text := json.dumps(lines)) > _KEPT_BYTES and len(lines) > 1:
                lines = lines[1:]
            return {_JOURNAL_KEY: text}

        self._annotate(added)

    def lines(self) -> list[dict[str, Any]]:
        """See `Ledger`."""
        return _lines(self._read())

    def ask_back(self) -> None:
        """See `Ledger`."""
        self._patch({"metadata": {"annotations": {_REQUEST_KEY: json.dumps(_request())}}})

    def asked(self) -> Mapping[str, Any] | None:
        """See `Ledger`. Nobody is heard while the API server does not answer: it could not be done
        either. Raises `BusyError` as `append` does.
        """
        try:
            thing = self._read()
        except DownError:
            return None
        self._require_mine(thing)
        asked = _annotation(thing, _REQUEST_KEY)
        return asked if asked is None or isinstance(asked, dict) else {}

    def forget_asked(self) -> None:
        """See `Ledger`."""
        if _REQUEST_KEY in _annotations(self._read()):
            self._patch({"metadata": {"annotations": {_REQUEST_KEY: None}}})

    def show(self, verdict: Mapping[str, Any]) -> None:
        """See `Ledger`; at most every `_SHOW_SECONDS` while it decides the same."""
        said = tuple(verdict.get(key) for key in ("version", "step", "decision"))
        before, at = self._last_shown
        if said == before and time.monotonic() - at < _SHOW_SECONDS:
            return
        with contextlib.suppress(DownError):  # it is for people, and the next one says more
            self._annotate(lambda _thing: {_VERDICT_KEY: json.dumps(verdict)})
        self._last_shown = said, time.monotonic()

    def shown(self) -> dict[str, Any] | None:
        """See `Ledger`."""
        found = _annotation(self._read(), _VERDICT_KEY)
        return found if isinstance(found, dict) else None

    # -- who holds it --------------------------------------------------------------------------

    def _take(self, holder: str, wait_seconds: float) -> None:
        seen, since = "", time.monotonic()
        began, changed = since, False
        while True:
            thing = self._read()
            spec = (thing or {}).get("spec", {})
            version = (thing or {}).get("metadata", {}).get("resourceVersion", "")
            renewed = f"{spec.get('holderIdentity')} {spec.get('renewTime')}"
            if renewed != seen:
                changed = bool(seen)
                seen, since = renewed, time.monotonic()
            lasts = spec.get("leaseDurationSeconds") or LEASE_SECONDS
            free = not spec.get("holderIdentity") or time.monotonic() - since > lasts
            if free and self._taken(holder, version):
                return
            # who renews it lives
            if changed and time.monotonic() - began >= wait_seconds:
                raise BusyError(
                    f"another release or rollback of {self._workload} is running, as "
                    f"{spec.get('holderIdentity')} ({self._what}); see `falaj status`"
                )
            time.sleep(_PAUSE_SECONDS)

    def _taken(self, holder: str, version: str) -> bool:
        """Whether the Lease, last seen at `version`, was still like that and is `holder`'s now."""
        now = _micro_time()
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": now,
            "renewTime": now,
        }
        try:
            if version:
                self._patch({"metadata": {"resourceVersion": version}, "spec": spec})
            else:
                thing = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": self._metadata
                    | {"labels": {"app.kubernetes.io/managed-by": _MANAGER}},
                    "spec": spec,
                }
                self._ask("POST", self._space, json=thing, params={"fieldManager": _MANAGER})
        except RefusedError as error:
            if error.code != _CONFLICT:
                raise
            return False
        return True

    def _renew(self, holder: str, over: threading.Event) -> None:
        while not over.wait(_RENEWAL_SECONDS):
            try:
                self._as_holder(holder, {"renewTime": _micro_time()})
            except DeliveryError:
                continue  # it runs out where this goes on, and the next write says so

    def _leave(self, holder: str) -> None:
        try:
            self._as_holder(holder, {"holderIdentity": None, "renewTime": None})
        except DeliveryError:
            return  # it runs out

    def _as_holder(self, holder: str, spec: Mapping[str, Any]) -> None:
        thing = self._read()
        if thing is not None and thing["spec"].get("holderIdentity") == holder:
            version = thing["metadata"]["resourceVersion"]
            self._patch({"metadata": {"resourceVersion": version}, "spec": dict(spec)})

    def _require_mine(self, thing: Any) -> None:
        held = (thing or {}).get("spec", {}).get("holderIdentity")
        if self._holder is not None and held != self._holder:
            raise BusyError(
                f"{self._what} was taken over by {held or 'nobody'}: this process could not renew "
                f"it for {LEASE_SECONDS} s and stops; see `falaj status`"
            )

    # -- the object ----------------------------------------------------------------------------

    def _annotate(self, change: Callable[[Any], dict[str, Any]]) -> None:
        """Writes what `change` makes of the Lease, again where somebody wrote in between."""
        while True:
            thing = self._read()
            self._require_mine(thing)
            version = thing["metadata"]["resourceVersion"] if thing else ""
            metadata = {"resourceVersion": version, "annotations": change(thing)}
            try:
                self._patch({"metadata": metadata})
            except RefusedError as error:
                if error.code != _CONFLICT:
                    raise
                continue
            return

    def _patch(self, change: Mapping[str, Any]) -> Any:
        return self._ask(
            "PATCH",
            f"{self._space}/{self._name}",
            params={"fieldManager": _MANAGER, "fieldValidation": "Strict"},
            content=json.dumps(change),
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def _read(self) -> Any:
        return self._ask("GET", f"{self._space}/{self._name}", may_lack=True)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        return ask(self._client, method, path, what=self._what, role=self._role, **more)


def me() -> str:
    """Who runs this; the number of the user where the system has no name for it, as in a pod."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _request() -> dict[str, str]:
    return {"by": me(), "at": datetime.now(UTC).isoformat(timespec="milliseconds")}


def _micro_time() -> str:
    """As `MicroTime` of Kubernetes' API is written."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _annotations(thing: Any) -> Mapping[str, str]:
    return ((thing or {}).get("metadata", {}).get("annotations")) or {}


def _annotation(thing: Any, key: str) -> Any:
    """What an annotation says, `None` where it is not there or no JSON."""
    try:
        return json.loads(_annotations(thing)[key])
    except (KeyError, ValueError):
        return None


def _lines(thing: Any) -> list[dict[str, Any]]:
    found = _annotation(thing, _JOURNAL_KEY)
    return [line for line in found if isinstance(line, dict)] if isinstance(found, list) else []
