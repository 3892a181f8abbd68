"""A Kubernetes API server over HTTP, as far as the stand-in and the tests need it.

Owns the connection that a kubeconfig describes, the kinds from the server's own discovery, and
server-side apply. Everything is plain data: no kind is known here.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from components.kubernetes.kubeconfig import Kubeconfig

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_REQUEST_SECONDS = 60.0
_WATCH_SECONDS = 60
_TURN_SECONDS = 1
"""After which a watch of all looks whether it is enough."""


class ApiError(Exception):
    """What the server answered in place of an object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        """Such as ``NotFound``, ``Forbidden``, ``Invalid``."""


@dataclass(frozen=True, kw_only=True)
class KindInfo:
    """What the server says of a kind."""

    plural: str
    namespaced: bool


class Api:
    """A server; safe to be used by several threads."""

    def __init__(self, kubeconfig: str) -> None:
        """Reaches nothing yet. Raises `KubeconfigError`."""
        self.access = Kubeconfig.of(kubeconfig)
        headers = {"Authorization": f"Bearer {self.access.token}"} if self.access.token else {}
        self.client = httpx.Client(
            base_url=self.access.server,
            verify=_context(self.access),
            headers=headers,
            timeout=_REQUEST_SECONDS,
            trust_env=False,
        )
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], KindInfo] | None = None

    def close(self) -> None:
        """Ends the connections."""
        self.client.close()

    def request(self, method: str, path: str, **more: Any) -> Any:
        """The answer, read as JSON. Raises `ApiError`; `httpx.HTTPError` without an answer."""
        answer = self.client.request(method, path, **more)
        if answer.is_success:
            return (
                answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
            )
        raise _error(answer)

    def kind(self, api_version: str, kind: str) -> KindInfo | None:
        """A kind by the server's discovery, asked again where it is not known yet."""
        with self._lock:
            key = (api_version, kind)
            if self._kinds is None or key not in self._kinds:
                self._kinds = self._discover()
            return self._kinds.get(key)

    def path(self, api_version: str, kind: str, name: str = "", namespace: str = "") -> str:
        """Where an object lies, or with no name all of its kind. Raises `ApiError` 404."""
        info = self.kind(api_version, kind)
        if info is None:
            raise ApiError(
                404,
                "NoKind",
                f"the server knows no kind {kind} in {api_version}: is its CRD there?",
            )
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        inside = f"/namespaces/{quote(namespace)}" if info.namespaced and namespace else ""
        # the names of roles may hold colons
        return f"{root}{inside}/{info.plural}" + (f"/{quote(name, safe='')}" if name else "")

    def path_of(self, thing: Object) -> str:
        """Where `thing` lies, in the namespace `default` where it names none."""
        metadata = thing["metadata"]
        return self.path(
            thing["apiVersion"],
            thing["kind"],
            metadata["name"],
            metadata.get("namespace", "default"),
        )

    def get(self, thing: Object) -> Object | None:
        """The object of that kind, name and namespace as it is now, `None` where there is none."""
        try:
            return dict(self.request("GET", self.path_of(thing)))
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def apply(
        self, thing: Object, *, manager: str, dry_run: bool = False, force: bool = False
    ) -> Object:
        """Server-side apply under the field manager `manager`; gives what came of it."""
        parameters = {"fieldManager": manager, "fieldValidation": "Strict"}
        if force:
            parameters["force"] = "true"
        if dry_run:
            parameters["dryRun"] = "All"
        return dict(
            self.request(
                "PATCH",
                self.path_of(thing),
                params=parameters,
                content=json.dumps(thing),
                headers={"Content-Type": APPLY},
            )
        )

    def create(self, thing: Object, *, dry_run: bool = False) -> Object:
        """POSTs an object, reviews too."""
        metadata = thing.get("metadata", {})
        path = self.path(
            thing["apiVersion"], thing["kind"], namespace=metadata.get("namespace", "default")
        )
        parameters = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return dict(self.request("POST", path, params=parameters, json=thing))

    def list(self, api_version: str, kind: str, namespace: str = "") -> list[Object]:
        """All objects of a kind, in all namespaces where none is named."""
        return list(self.request("GET", self.path(api_version, kind, namespace=namespace))["items"])

    def delete(self, thing: Object, *, seconds: float) -> None:
        """Deletes with all that belongs to it, and waits until it is gone, finalizers and all.

        One of the same name that a controller makes anew is another. Raises `ApiError` with what
        holds it after `seconds`.
        """
        there = self.get(thing)
        if there is None:
            return
        uid = there["metadata"]["uid"]
        try:
            self.request("DELETE", self.path_of(thing), params={"propagationPolicy": "Foreground"})
        except ApiError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return
        deadline = time.monotonic() + seconds
        for seen in self.watch(thing, seconds=seconds):
            if seen is None or seen["metadata"]["uid"] != uid:
                return
            if time.monotonic() > deadline:
                break
        held = self.get(thing)
        if held is not None:
            raise ApiError(
                504, "Timeout", f"is still there after {seconds:.0f} s: {_holders(held)}"
            )

    def watch(self, thing: Object, *, seconds: float) -> Iterator[Object | None]:
        """The object now and after each change, `None` when it is gone, for `seconds` at most."""
        metadata = thing["metadata"]
        path = self.path(
            thing["apiVersion"], thing["kind"], namespace=metadata.get("namespace", "default")
        )
        only = {"fieldSelector": f"metadata.name={metadata['name']}"}
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            listed = self.request("GET", path, params=only)
            yield listed["items"][0] if listed["items"] else None
            for event in self._changes(path, listed["metadata"]["resourceVersion"], left, **only):
                if event["type"] == "ERROR":  # the version is too old: list anew
                    break
                yield None if event["type"] == "DELETED" else event["object"]

    def watch_all(
        self, api_version: str, kind: str, *, until: threading.Event
    ) -> Iterator[tuple[str, Object]]:
        """All objects of a kind now and after each change, until somebody says that it is enough.

        Each comes with what became of it: `ADDED`, `MODIFIED` or `DELETED`.
        """
        path = self.path(api_version, kind)
        version = ""
        while not until.is_set():
            if not version:
                listed = self.request("GET", path)
                version = listed["metadata"]["resourceVersion"]
                yield from (("ADDED", one) for one in listed["items"])
            for event in self._changes(path, version, _TURN_SECONDS):
                if event["type"] == "ERROR":
                    version = ""
                    break
                version = event["object"]["metadata"]["resourceVersion"]
                yield event["type"], event["object"]

    def _changes(
        self, path: str, version: str, seconds: float, **parameters: str
    ) -> Iterator[Object]:
        """The events of a watch, until the server ends it; `ERROR` where `version` is too old."""
        parameters |= {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, int(min(seconds, _WATCH_SECONDS)))),
        }
        with self.client.stream("GET", path, params=parameters, timeout=None) as stream:
            if not stream.is_success:
                stream.read()
                raise _error(stream)
            for line in stream.iter_lines():
                yield json.loads(line)

    def _discover(self) -> dict[tuple[str, str], KindInfo]:
        found: dict[tuple[str, str], KindInfo] = {}
        for root in ("/api", "/apis"):
            listed = self.request("GET", root, headers={"Accept": _DISCOVERY})
            for group in listed["items"]:
                for version in group["versions"]:
                    name = group.get("metadata", {}).get("name", "")
                    api_version = f"{name}/{version['version']}" if name else version["version"]
                    for resource in version.get("resources", []):
                        if kind := resource.get("responseKind", {}).get("kind"):
                            found[api_version, kind] = KindInfo(
                                plural=resource["resource"],
                                namespaced=resource["scope"] == "Namespaced",
                            )
        return found


def _context(access: Kubeconfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.authority)
    if access.certificate:
        with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads keys from files alone
            path = Path(folder) / "client.pem"
            path.touch(mode=0o600)
            path.write_text(access.certificate)
            context.load_cert_chain(path)
    return context


def _error(answer: httpx.Response) -> ApiError:
    try:
        status = answer.json()
        return ApiError(answer.status_code, status.get("reason", ""), status["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(answer.status_code, "", f"{answer.status_code}: {answer.text[:500]}")


def _holders(thing: Object) -> str:
    """What keeps an object that is to go."""
    finalizers = thing["metadata"].get("finalizers", []) + thing.get("spec", {}).get(
        "finalizers", []
    )
    said = [
        condition["message"]
        for condition in thing.get("status", {}).get("conditions", [])
        if condition.get("status") == "True" and condition.get("message")
    ]
    return "; ".join([f"finalizers {', '.join(finalizers) or 'none'}", *said])
