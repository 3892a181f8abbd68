"""The split of a workload's live traffic in a cluster with Istio.

Owns one route object, a `VirtualService` that the platform's route of the workload delegates to.
Only releases write it, by server-side apply under a field manager of their own; `pulumi up` neither
makes nor changes it, and while there is none the platform's route gives the first slot all.

Istio draws the weights of a route anew for each request, so they cannot keep an entity with one
version. The gateway therefore puts each request into one of 100 buckets by a hash of its entity
(`components/kubernetes/edge.py`), and the object says which buckets a slot has: the first slot from
0 up, the second from 99 down, so that a slot that is raised keeps what it had.

How Istio joins the two objects: istio.io, "VirtualService", under `Delegate`; a delegate that is
missing leaves out the one rule that names it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from workloads.delivery.api_server import DownError, RefusedError, ask
from workloads.delivery.errors import NotUpError
from workloads.delivery.traffic import WHOLE, GatewayDownError, TrafficError, whole_split

BUCKET_HEADER = "x-falaj-bucket"
"""`00` to `99`; set by the gateway on every request, whatever the client said."""
SLOT_HEADER = "x-falaj-slot"
"""On each answer: the slot that gave it."""
FIELD_MANAGER = "falaj-release"


class ClusterDownError(TrafficError, NotUpError):
    """The API server does not answer, so nothing is known of the split and nothing was written
    for certain. The gateways go on with the split that they have.
    """


class _StrangeError(TrafficError):
    """The object is there and no release wrote it."""


@dataclass(frozen=True, kw_only=True)
class MeshRoute:
    """Which object holds the split, and between what."""

    namespace: str
    """Of the object and of the slots' Services."""
    name: str
    """Of the object."""
    slots: Mapping[str, str]
    """Slot → name of its Service; two of them, the one that begins with all of the traffic first.
    """
    port: int
    """Of the Services."""
    gateway_namespace: str
    gateway_service: str
    """In front of the gateway's own pods."""
    route: str = ""
    """The platform's route in the gateway's namespace, which delegates to the object."""
    role: str = ""
    """The Role that gives the right to write the object; that of the gateway's namespace is called
    ``<namespace>.<role>``."""

    def __post_init__(self) -> None:
        """Raises `ValueError` unless there are two slots, each with a Service of its own."""
        if len(self.slots) != 2 or len(set(self.slots.values())) != 2:
            raise ValueError(
                f"{self.namespace}/{self.name}: slots {dict(self.slots)}; a split is between two, "
                "each with a Service of its own"
            )

    def host(self, slot: str) -> str:
        """The name of the slot's Service in the cluster."""
        return f"{self.slots[slot]}.{self.namespace}.svc.cluster.local"


class MeshTrafficSplit:
    """A `TrafficSplit` whose truth is the route object.

    `set_weights` returns when the API server holds the split and the gateway has a pod to take it.
    Istio hands it to the gateway's pods within seconds after; for that time some of them split as
    before, and an entity whose bucket moves may meet either version.
    """

    def __init__(self, client: httpx.Client, route: MeshRoute) -> None:
        """`client` reaches the API server at its base URL, as whoever may write the object."""
        self.client, self.route = client, route
        space = f"/apis/networking.istio.io/v1/namespaces/{route.namespace}"
        self._path = f"{space}/virtualservices/{route.name}"

    def weights(self) -> dict[str, int]:
        """The split as the object says it; before the first, the first slot has all.

        Raises `ClusterDownError`, and `TrafficError` for an object that no release wrote.
        """
        return self._weights_of(self._read())

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """See `TrafficSplit`. A copy that goes to a slot ends when the slot gets a share.

        Raises `ClusterDownError`, and `GatewayDownError` when the object is written and the gateway
        has no pod that is ready.
        """
        split = whole_split(weights, self.route.slots)
        try:
            copied = self.mirror()
        except _StrangeError:  # what somebody wrote by hand must not stand in the way of a rollback
            copied = None
        self._write(split, copied if copied and split[copied[0]] == 0 else None)

    def mirror(self) -> tuple[str, int] | None:
        """The slot that is sent a copy of the traffic, and of how many percent of it."""
        found = self._read()
        if found is None:
            return None
        copies = {
            (self._slot_at(copy), round(copy.get("percentage", {}).get("value", WHOLE)))
            for rule in _rules(found)
            for copy in rule.get("mirrors", ())
        }
        if len(copies) > 1:
            raise self._strange(f"copies go to {sorted(copies)}")
        return next(iter(copies), None)

    def set_mirror(self, slot: str | None, percent: int = WHOLE) -> None:
        """Sends copies of the live traffic to `slot`, whose answers nobody gets; `None` ends it.

        Raises `ValueError` for a slot that is unknown or has a share, or a percent out of 1 to 100;
        else as `set_weights`.
        """
        split = self.weights()
        if slot is None:
            self._write(split, None)
            return
        if slot not in split or split[slot] > 0 or not 1 <= percent <= WHOLE:
            raise ValueError(f"a copy of {percent} % to slot {slot} beside the split {split}")
        self._write(split, (slot, percent))

    def ready(self) -> dict[str, bool]:
        """See `TrafficSplit`: whether a pod of the slot is ready. Raises `ClusterDownError`."""
        return {
            slot: self._has_ready_pod(self.route.namespace, service)
            for slot, service in self.route.slots.items()
        }

    def pods(self, slot: str) -> list[bool]:
        """Whether each pod of `slot` is ready. Raises `ClusterDownError`."""
        return self._pods(self.route.namespace, self.route.slots[slot])

    # -- the object ----------------------------------------------------------------------------

    def _write(self, split: Mapping[str, int], copied: tuple[str, int] | None) -> None:
        thing = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {
                "name": self.route.name,
                "namespace": self.route.namespace,
                "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            },
            # neither hosts nor gateways: those of the route that delegates to it hold
            "spec": {
                "exportTo": [self.route.gateway_namespace],
                "http": self._rules(split, copied),
            },
        }
        self._require_route()
        taken = self._ask(
            "PATCH",
            self._path,
            # forced, for the same reason
            params={"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"},
            content=json.dumps(thing),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        running = self._weights_of(taken)
        if running != split:
            raise TrafficError(f"{self._name} holds {running} although it was told {dict(split)}")
        route = self.route
        if not self._has_ready_pod(route.gateway_namespace, route.gateway_service):
            raise GatewayDownError(
                f"the gateway {route.gateway_namespace}/{route.gateway_service} has no pod that is "
                f"ready; its split stands in {self._name}, and it takes that when it starts"
            )

    def _rules(self, split: Mapping[str, int], copied: tuple[str, int] | None) -> list[Any]:
        """One rule for each slot with a share, the bigger one last and with no condition.

        A request that came by no bucket, which takes a gateway without its filter, so meets the
        bigger one, always the same.
        """
        first, second = self.route.slots
        buckets = {first: range(split[first]), second: range(split[first], WHOLE)}
        smaller, bigger = sorted(self.route.slots, key=lambda slot: (split[slot], slot == first))
        rules = []
        for slot in (smaller, bigger) if split[smaller] else (bigger,):
            rule: dict[str, Any] = {
                "name": f"slot-{slot}",
                "route": [
                    {
                        "destination": self._destination(slot),
                        "headers": {"response": {"set": {SLOT_HEADER: slot}}},
                    }
                ],
            }
            if slot == smaller:
                rule["match"] = [{"headers": {BUCKET_HEADER: {"regex": pattern(buckets[slot])}}}]
            if copied is not None:
                to, percent = copied
                rule["mirrors"] = [
                    {"destination": self._destination(to), "percentage": {"value": percent}}
                ]
            rules.append(rule)
        return rules

    def _destination(self, slot: str) -> dict[str, Any]:
        return {"host": self.route.host(slot), "port": {"number": self.route.port}}

    def _weights_of(self, thing: Any) -> dict[str, int]:
        """How many of the 100 buckets each slot has in an object."""
        if thing is None:
            first, second = self.route.slots
            return {first: WHOLE, second: 0}
        rules = _rules(thing)
        counted = Counter(self._slot_of_bucket(rules, f"{place:02d}") for place in range(WHOLE))
        return {slot: counted[slot] for slot in self.route.slots}

    def _slot_of_bucket(self, rules: list[Any], bucket: str) -> str:
        """The first rule that fits decides, as in Istio."""
        for rule in rules:
            if all(self._fits(condition, bucket) for condition in rule.get("match", ())):
                targets = rule.get("route", ())
                if len(targets) != 1:
                    raise self._strange(f"a rule has {len(targets)} destinations")
                return self._slot_at(targets[0])
        raise self._strange(f"no rule is for bucket {bucket}")

    def _fits(self, condition: Any, bucket: str) -> bool:
        try:
            ((header, wanted),) = condition["headers"].items()
            if set(condition) != {"headers"} or header != BUCKET_HEADER:
                raise KeyError(header)
            return re.fullmatch(wanted["regex"], bucket) is not None
        except (KeyError, ValueError, AttributeError, TypeError, re.error) as error:
            raise self._strange(f"a rule has the condition {condition}") from error

    def _slot_at(self, target: Any) -> str:
        host = target.get("destination", {}).get("host")
        for slot in self.route.slots:
            if host == self.route.host(slot):
                return slot
        raise self._strange(f"it leads to {host}")

    @property
    def _name(self) -> str:
        return f"VirtualService {self.route.namespace}/{self.route.name}"

    def _strange(self, what: str) -> _StrangeError:
        return _StrangeError(
            f"{self._name} is not as a release writes it: {what}; delete it and all traffic goes "
            f"to slot {next(iter(self.route.slots))}; the next split that is set replaces it"
        )

    # -- the API server --------------------------------------------------------------------------

    def _read(self) -> Any:
        """The object, `None` where there is none yet."""
        return self._ask("GET", self._path, may_lack=True)

    def _has_ready_pod(self, namespace: str, service: str) -> bool:
        return any(self._pods(namespace, service))

    def _pods(self, namespace: str, service: str) -> list[bool]:
        """Whether each pod behind a Service is ready; those that end are left out."""
        listed = self._ask(
            "GET",
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            params={"labelSelector": f"kubernetes.io/service-name={service}"},
        )
        conditions = [
            endpoint.get("conditions", {})
            for piece in listed["items"]
            for endpoint in piece.get("endpoints") or ()
        ]
        # one that is not set counts as true (discovery.k8s.io/v1, EndpointConditions)
        return [one.get("ready", True) for one in conditions if not one.get("terminating", False)]

    def _role_for(self, path: str) -> str:
        """The Role that gives the right to ask for `path`; of two, one in each namespace."""
        route = self.route
        if not route.role:
            return ""
        if f"/namespaces/{route.gateway_namespace}/" in path:
            return f"{route.gateway_namespace}/{route.namespace}.{route.role}"
        return f"{route.namespace}/{route.role}"

    def _require_route(self) -> None:
        """Raises `TrafficError` where nothing would lead to the object."""
        route = self.route
        if not route.route:
            return
        space = f"/apis/networking.istio.io/v1/namespaces/{route.gateway_namespace}"
        if self._ask("GET", f"{space}/virtualservices/{route.route}", may_lack=True) is None:
            raise TrafficError(
                f"{self._name}: the platform's route {route.gateway_namespace}/{route.route}, "
                "which leads to it, is not there, so that no request would follow the split: "
                "deploy the workload's stack (pulumi -C workloads up)"
            )

    def _ask(self, method: str, path: str, *, may_lack: bool = False, **more: Any) -> Any:
        try:
            return ask(
                self.client,
                method,
                path,
                what=self._name,
                role=self._role_for(path),
                may_lack=may_lack,
                **more,
            )
        except DownError as error:
            raise ClusterDownError(
                f"{error}; the gateways keep the split that they have, and what {self._name} "
                "holds is not known"
            ) from error
        except RefusedError as error:
            raise TrafficError(str(error)) from error


def pattern(buckets: range) -> str:
    """A regular expression (RE2) for the headers of consecutive `buckets`, ten in a term."""
    terms = []
    for tens in range(WHOLE // 10):
        inside = [bucket % 10 for bucket in buckets if bucket // 10 == tens]
        if inside:
            terms.append(f"{tens}[{inside[0]}-{inside[-1]}]")
    return "|".join(terms)


def _rules(thing: Any) -> list[Any]:
    return list(thing.get("spec", {}).get("http") or ())
