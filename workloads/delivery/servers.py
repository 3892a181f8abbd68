"""The servers of a workload's slots, as a release tells them what to hold and asks what they do.

Which version a slot holds the registry says. On one machine each worker of a slot is told to look
there. Of a cluster's pods no command outside reaches one, and how many there are changes; they look
every few seconds by themselves (`workloads.delivery.pod_server`), and what they hold is read where
the judge reads its figures: each says it in the metric `falaj_model_info`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import httpx

from workloads.delivery import judge
from workloads.delivery.errors import DeliveryError, NotUpError
from workloads.delivery.mesh import MeshTrafficSplit

LOAD_SECONDS = 120
READY_SECONDS = 60
FOLLOW_SECONDS = 180
"""How long the pods of a slot may take: to look into the registry, to fetch a model, to be seen."""
PROBE_SECONDS = 2.0
_PAUSE_SECONDS = 0.05
_LOOK_SECONDS = 1.0


class Servers(Protocol):
    """Those of one workload."""

    def load(self, slot: str, number: int) -> None:
        """Returns when all of `slot` answer with version `number`, which the registry names for it.

        Raises `DeliveryError`.
        """
        ...

    def serves(self, slot: str, number: int) -> bool:
        """Whether `slot` answers with version `number` now, and with no other."""
        ...

    def unload(self, slot: str, progress: Callable[[str], None]) -> None:
        """Lets a slot without traffic follow the registry; nothing depends on its success."""
        ...

    def picture(self, slot: str, client: httpx.Client) -> dict[str, Any]:
        """Its `version`, whether it is `ready`, its `problem` or `None`, and its `url`."""
        ...


class WorkerServers:
    """Workers with an address each."""

    def __init__(self, workers: Mapping[str, Sequence[str]]) -> None:
        """`workers`: slot → URL of each."""
        self._workers = workers

    def load(self, slot: str, number: int) -> None:
        """See `Servers`. Raises `NotUpError` for a worker that does not answer."""
        deadline = time.monotonic() + READY_SECONDS
        for url in self._workers[slot]:
            _reload(url, slot, number, deadline)

    def serves(self, slot: str, number: int) -> bool:
        """See `Servers`. A worker that is down or hangs does not count: what is left answers until
        it is back, and the registry makes it load the same version.
        """
        with ThreadPoolExecutor() as pool:
            found = set(pool.map(_version_at, self._workers[slot])) - {None}
        return found == {str(number)}

    def unload(self, slot: str, progress: Callable[[str], None]) -> None:
        """See `Servers`."""
        for url in self._workers[slot]:
            try:
                httpx.post(f"{url}/reload", timeout=10).raise_for_status()
            except httpx.HTTPError as error:
                progress(
                    f"{url} did not follow the registry ({type(error).__name__}); it has no traffic"
                )

    def picture(self, slot: str, client: httpx.Client) -> dict[str, Any]:
        """See `Servers`; that its workers hold different versions is a problem."""
        urls = self._workers[slot]
        workers = [_worker(client, url) for url in urls]
        versions = {worker["version"] for worker in workers}
        if len(versions) > 1:
            held = ", ".join(f"{worker['url']} {worker['version'] or 'none'}" for worker in workers)
            problem = next((worker["problem"] for worker in workers if worker["problem"]), None)
            return {
                "version": next(version for version in versions if version is not None),
                "ready": False,
                "problem": f"its workers hold different versions ({held})"
                + (f": {problem}" if problem else ""),
                "url": urls[0],
            }
        return workers[0]


class PodServers:
    """Pods of a cluster, counted by it and known by what Prometheus reads of them."""

    def __init__(
        self, split: MeshTrafficSplit, metrics_url: str, whose: str, pods: Mapping[str, str]
    ) -> None:
        """`whose` are the labels of the workload's series, `pods` names each slot's for people."""
        self._split, self._url, self._whose, self._pods = split, metrics_url, whose, pods

    def load(self, slot: str, number: int) -> None:
        """See `Servers`."""
        deadline = time.monotonic() + FOLLOW_SECONDS
        while (missing := self._missing(slot, number)) is not None:
            if time.monotonic() > deadline:
                raise DeliveryError(
                    f"slot {slot} does not serve version {number} after {FOLLOW_SECONDS} s: "
                    f"{missing}; why, its pods say: kubectl logs {self._pods[slot]}"
                )
            time.sleep(_LOOK_SECONDS)

    def serves(self, slot: str, number: int) -> bool:
        """See `Servers`. Where Prometheus does not answer, pods that are ready have to do: a way
        back must not wait for it, and a slot's version changes by a release alone.
        """
        pods = self._split.pods(slot)
        try:
            return any(pods) and set(self._versions(slot)) == {number}
        except NotUpError:
            return any(pods)

    def unload(self, slot: str, progress: Callable[[str], None]) -> None:
        """See `Servers`: pods follow by themselves."""
        del slot, progress

    def picture(self, slot: str, client: httpx.Client) -> dict[str, Any]:
        """See `Servers`."""
        del client
        shown: dict[str, Any] = {"version": None, "ready": False, "url": self._pods[slot]}
        try:
            pods, versions = self._split.pods(slot), self._versions(slot)
        except DeliveryError as error:
            return shown | {"problem": str(error)}
        shown["version"] = max(versions, key=lambda one: versions[one]) if versions else None
        shown["ready"] = bool(pods) and all(pods) and len(versions) == 1
        if not pods:
            return shown | {"problem": "has no pod"}
        if len(versions) > 1:
            return shown | {"problem": f"its pods hold different versions ({_told(versions)})"}
        if not versions:
            return shown | {"problem": "holds no model"}
        waiting = pods.count(False)
        told = f"{waiting} of {len(pods)} pods are not ready" if waiting else None
        return shown | {"problem": told}

    def _missing(self, slot: str, number: int) -> str | None:
        pods = self._split.pods(slot)
        if not pods:
            return "it has no pod"
        try:
            versions = self._versions(slot)
        except NotUpError as error:
            return str(error)
        if not all(pods) or versions != {number: len(pods)}:
            held = _told(versions) or "none is seen to hold any"
            return f"{pods.count(True)} of {len(pods)} pods are ready, and {held}"
        return None

    def _versions(self, slot: str) -> dict[int, int]:
        """Version → how many of the slot's servers hold it. Raises `NotUpError`."""
        who = f'{self._whose},slot="{slot}",version!="none"'
        found = judge.ask(self._url, f"count by (version) (falaj_model_info{{{who}}} == 1)")
        return {int(one["metric"]["version"]): int(float(one["value"][1])) for one in found}


def _told(versions: Mapping[int, int]) -> str:
    return ", ".join(f"{count} hold version {number}" for number, count in sorted(versions.items()))


def _reload(url: str, slot: str, number: int, deadline: float) -> None:
    """Returns when the worker of `slot` at `url` answers with version `number`."""
    answer: Mapping[str, Any] = {}
    refusal = "it has not answered"
    while time.monotonic() < deadline:
        try:
            reply = httpx.post(f"{url}/reload", timeout=LOAD_SECONDS)
            answer = reply.json()
            if reply.status_code != 200:
                raise DeliveryError(
                    f"slot {slot} did not load version {number}: "
                    f"{answer.get('status', {}).get('info', reply.text[:200])}"
                )
            break
        except (httpx.TransportError, ValueError) as error:  # starting, or starting again
            refusal = f"{type(error).__name__}: {error}"
        time.sleep(_PAUSE_SECONDS)
    else:
        raise NotUpError(f"the model server of slot {slot} at {url} does not answer ({refusal})")
    if answer.get("version") != str(number):
        raise DeliveryError(f"slot {slot} serves version {answer.get('version')}, not {number}")


def _version_at(url: str) -> str | None:
    """The version that the worker at `url` answers with, `None` when it does not answer."""
    try:
        answer = httpx.get(f"{url}/ready", timeout=PROBE_SECONDS)
        return str(answer.json().get("version"))
    except (httpx.HTTPError, ValueError, AttributeError):
        return None


def _worker(client: httpx.Client, url: str) -> dict[str, Any]:
    """What the model server at `url` says of itself."""
    version: int | None = None
    try:
        answer = client.get(f"{url}/version").json()
        version = int(answer["version"]) if answer.get("version") else None
        problem = answer.get("problem") or (None if version else "holds no model")
    except (httpx.HTTPError, ValueError, AttributeError, TypeError) as error:
        problem = f"does not answer ({type(error).__name__})"
    return {"version": version, "ready": version is not None, "problem": problem, "url": url}
