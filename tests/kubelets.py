"""What kubelets tell an API server and do at its word, without a machine behind any node.

Of kwok (a controller that plays thousands of nodes) the tests need three things: nodes that stay
ready, pods that run once they are bound, and pods that are gone once they are to go. That is little
enough to be done here, without one more executable to build. No container starts, nothing is
pulled, no volume is made and no packet sent.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import httpx
from kubernetes_api import Api, ApiError, Object

_LEASES = "kube-node-lease"
_RENEWAL_SECONDS = 10.0
"""As kubelets do; a node that is silent for 50 seconds is given up."""
_STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Kubelets:
    """The nodes of one cluster, and who acts for them."""

    def __init__(self, kubeconfig: str, *, hands: int = 4) -> None:
        """`hands` is how many pods are seen to at a time."""
        self._api = Api(kubeconfig)
        self._over = threading.Event()
        self._nodes: dict[str, Object] = {}
        self._seen_to: set[tuple[str, bool]] = set()
        self.bound = 0
        """How many pods have come to a node so far."""
        self.running = 0
        """How many of them were made to run."""
        self._counting = threading.Lock()
        self._hands = futures.ThreadPoolExecutor(hands)
        self._threads = [threading.Thread(target=one) for one in (self._renew, self._see_to_pods)]

    @contextlib.contextmanager
    def working(self) -> Iterator[Kubelets]:
        """While they do; afterwards the nodes are taken out of the cluster."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()
            self._hands.shutdown(cancel_futures=True)
            for node in self._nodes.values():
                self._api.request("DELETE", self._api.path_of(node))
            self._api.close()

    def join(
        self,
        name: str,
        room: Mapping[str, str],
        *,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """A node with `room` for pods joins the cluster and is ready."""
        node: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            },
            "spec": {"taints": [dict(taint) for taint in taints]},
        }
        self._api.create(node)
        status = {
            "capacity": dict(room),
            "allocatable": dict(room),
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
        }
        self._patch(f"{self._api.path_of(node)}/status", {"status": status}, _MERGE)
        self._api.create(_lease(name))
        self._nodes[name] = node

    # -- what runs beside ------------------------------------------------------------------------

    def _renew(self) -> None:
        while not self._over.wait(_RENEWAL_SECONDS):
            for name in list(self._nodes):
                lease = _lease(name)
                self._patch(self._api.path_of(lease), {"spec": lease["spec"]}, _MERGE)

    def _see_to_pods(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(httpx.TransportError, ApiError):
                for what, pod in self._api.watch_all("v1", "Pod", until=self._over):
                    if what != "DELETED" and pod["spec"].get("nodeName") in self._nodes:
                        self._take(pod)

    def _take(self, pod: Object) -> None:
        leaves = "deletionTimestamp" in pod["metadata"]
        mark = (pod["metadata"]["uid"], leaves)
        if mark not in self._seen_to:
            self._seen_to.add(mark)
            self.bound += not leaves
            self._hands.submit(self._remove if leaves else self._run, pod)

    def _run(self, pod: Object) -> None:
        now = _now()
        conditions = ("Initialized", "ContainersReady", "Ready")
        status = {
            "phase": "Running",
            "startTime": now,
            "podIP": "192.0.2.1",
            "conditions": [{"type": kind, "status": "True"} for kind in conditions],
            "containerStatuses": [
                {
                    "name": one["name"],
                    "image": one["image"],
                    "imageID": one["image"],
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": now}},
                }
                for one in pod["spec"]["containers"]
            ],
        }
        self._patch(f"{self._path_of(pod)}/status", {"status": status}, _STRATEGIC)
        with self._counting:
            self.running += 1

    def _remove(self, pod: Object) -> None:
        with contextlib.suppress(ApiError):  # somebody else was faster
            parameters = {"gracePeriodSeconds": "0"}
            self._api.request("DELETE", self._path_of(pod), params=parameters)

    def _path_of(self, pod: Object) -> str:
        # what comes in a list does not say its kind
        return self._api.path_of({"apiVersion": "v1", "kind": "Pod", **pod})

    def _patch(self, path: str, change: Any, headers: Mapping[str, str]) -> None:
        with contextlib.suppress(ApiError):  # what it was about is gone
            self._api.request("PATCH", path, content=json.dumps(change), headers=headers)


def _lease(node: str) -> Object:
    renewed = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": _LEASES},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": renewed},
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
