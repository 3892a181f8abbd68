"""The split of a cluster with Istio: its contract, against the real API server and kinds.

No gateway runs. Which slot a request meets is read from the objects, as `edge` says.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import edge
import httpx
import pytest
from control_plane import ControlPlane
from kubernetes_api import Api, Object
from mesh_client import client_of
from traffic_contract import ENTITIES, TrafficSplitContract

from components.kubernetes.edge import BUCKET_HEADER
from components.kubernetes.roles import may_see_gateway, may_split
from workloads.delivery.mesh import (
    FIELD_MANAGER,
    ClusterDownError,
    MeshRoute,
    MeshTrafficSplit,
    pattern,
)
from workloads.delivery.traffic import GatewayDownError, TrafficError

NAMESPACE, GATEWAY = "split-team", "split-gateway"
PATH = "/seldon/split-team/credit/api/v1.0/predictions"
ROUTE = MeshRoute(
    namespace=NAMESPACE,
    name="credit-split",
    slots={"a": "credit-a", "b": "credit-b"},
    port=9000,
    gateway_namespace=GATEWAY,
    gateway_service="gateway",
)
SPLIT = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "credit-split", "namespace": NAMESPACE},
}
ROOT: Object = {
    "metadata": {"name": "credit", "namespace": GATEWAY},
    "spec": {
        "http": [
            {
                "match": [{"uri": {"prefix": "/seldon/split-team/credit/"}}],
                "delegate": {"namespace": NAMESPACE, "name": "credit-split"},
            },
            {
                "match": [{"uri": {"prefix": "/seldon/split-team/credit/"}}],
                "route": [{"destination": {"host": ROUTE.host("a")}}],
            },
        ]
    },
}


def endpoints(namespace: str, service: str, ready: bool = True) -> Object:
    """What the cluster's controllers would write of a Service with one pod."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": ready}}],
        "ports": [],
    }


def rights() -> Iterator[Object]:
    """What a release may do, as `serving` gives it."""
    user = {"kind": "User", "name": "system:serviceaccount:split-team:release"}
    for namespace, rules in (
        (NAMESPACE, may_split(ROUTE.name)),
        (GATEWAY, may_see_gateway()),
    ):
        where = {"name": "release", "namespace": namespace}
        version = "rbac.authorization.k8s.io/v1"
        yield {"apiVersion": version, "kind": "Role", "metadata": where, "rules": rules}
        yield {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": where,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "release"},
            "subjects": [user | {"apiGroup": "rbac.authorization.k8s.io"}],
        }


class MeshPlace:
    """The objects, and a gateway that is known by them alone."""

    def __init__(self, api: Api, server: httpx.Client, bucket_of: dict[str, str]) -> None:
        self.api = api
        self.server = server
        self.bucket_of = bucket_of
        server.event_hooks["request"].append(self._hears)
        self.kill_and_restart()

    def slot_of(self, client: httpx.Client, entity: str) -> str:
        del client
        return self.met({BUCKET_HEADER: self.bucket_of[entity]})

    def met(self, headers: dict[str, str]) -> str:
        host, rule = edge.chosen(ROOT, self._find, PATH, headers)
        (slot,) = (slot for slot in "ab" if ROUTE.host(slot) == host)
        said = rule["route"][0].get("headers", {"response": {"set": {"x-falaj-slot": slot}}})
        assert said == {"response": {"set": {"x-falaj-slot": slot}}}
        return slot

    def kill_and_restart(self) -> None:
        self.split = MeshTrafficSplit(self.server, ROUTE)
        self._known: tuple[Any] | None = None

    def _hears(self, request: httpx.Request) -> None:
        """Of each write, as Istio does; it asks for the object anew."""
        if request.method != "GET":
            self._known = None

    def _find(self, namespace: str, name: str) -> Any:
        assert (namespace, name) == (NAMESPACE, "credit-split")
        if self._known is None:
            self._known = (self.api.get(SPLIT),)
        return self._known[0]


@pytest.fixture(scope="module", autouse=True)
def namespaces(api: Api, define: Callable[..., list[str]]) -> Iterator[None]:
    define("istio")
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in (NAMESPACE, GATEWAY)
    ]
    for space in spaces:
        api.create(space)
    for thing in rights():
        api.create(thing)
    for namespace, service in (
        (NAMESPACE, "credit-a"),
        (NAMESPACE, "credit-b"),
        (GATEWAY, "gateway"),
    ):
        api.create(endpoints(namespace, service))
    yield
    for space in spaces:
        api.delete(space, seconds=60)


@pytest.fixture(scope="module")
def bucket_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return edge.buckets(ENTITIES, tmp_path_factory.mktemp("lua"))


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """Of requests to models, which no gateway takes here."""
    with httpx.Client() as client:
        yield client


@pytest.fixture
def place(api: Api, cluster: ControlPlane, bucket_of: dict[str, str]) -> Iterator[MeshPlace]:
    """As a release's account."""
    with client_of(cluster, "system:serviceaccount:split-team:release") as server:
        yield MeshPlace(api, server, bucket_of)
    api.delete(SPLIT, seconds=30)


class TestMeshTrafficSplit(TrafficSplitContract):
    """The contract."""


def test_before_the_first_split_the_first_slot_has_all(place: MeshPlace) -> None:
    assert place.api.get(SPLIT) is None
    assert place.split.weights() == {"a": 100, "b": 0}
    assert place.met({}) == place.met({BUCKET_HEADER: "99"}) == "a"


@pytest.mark.parametrize("share", range(101))
def test_each_percent_is_one_bucket(share: int) -> None:
    """Of the patterns alone: every share, and no bucket twice."""
    low, high = pattern(range(share)), pattern(range(share, 100))
    for bucket in (f"{number:02d}" for number in range(100)):
        fits = [bool(one) and re.fullmatch(one, bucket) is not None for one in (low, high)]
        assert fits == [int(bucket) < share, int(bucket) >= share]


def test_a_share_is_met_to_the_percent_in_buckets(place: MeshPlace) -> None:
    for share in (0, 1, 49, 50, 51, 99, 100):
        place.split.set_weights({"a": 100 - share, "b": share})
        found = Counter(place.met({BUCKET_HEADER: f"{bucket:02d}"}) for bucket in range(100))
        assert found["b"] == share


def test_a_request_that_no_gateway_gave_a_bucket_meets_the_bigger_slot(place: MeshPlace) -> None:
    for split, bigger in (({"a": 70, "b": 30}, "a"), ({"a": 30, "b": 70}, "b")):
        place.split.set_weights(split)
        assert place.met({}) == bigger


def test_a_split_is_kept_for_a_gateway_that_has_no_pod(place: MeshPlace, api: Api) -> None:
    api.apply(endpoints(GATEWAY, "gateway", ready=False), manager="test", force=True)
    try:
        with pytest.raises(GatewayDownError, match="when it starts"):
            place.split.set_weights({"b": 100})
    finally:
        api.apply(endpoints(GATEWAY, "gateway"), manager="test", force=True)
    assert place.split.weights() == {"a": 0, "b": 100}
    assert place.met({BUCKET_HEADER: "00"}) == "b"


def test_a_slot_with_no_pod_is_not_ready(place: MeshPlace, api: Api) -> None:
    api.apply(endpoints(NAMESPACE, "credit-b", ready=False), manager="test", force=True)
    try:
        assert place.split.ready() == {"a": True, "b": False}
    finally:
        api.apply(endpoints(NAMESPACE, "credit-b"), manager="test", force=True)


def test_a_shadow_gets_copies_until_it_has_a_share(place: MeshPlace, api: Api) -> None:
    split = place.split
    split.set_mirror("b", 25)
    assert (split.mirror(), split.weights()) == (("b", 25), {"a": 100, "b": 0})
    split.set_weights({"a": 100})
    assert split.mirror() == ("b", 25)
    for wrong in (("a", 10), ("b", 0), ("c", 10)):
        with pytest.raises(ValueError, match="a copy of"):
            split.set_mirror(*wrong)
    split.set_weights({"a": 90, "b": 10})
    assert split.mirror() is None
    held: Any = api.get(SPLIT)
    assert "mirrors" not in str(held["spec"])
    split.set_weights({"a": 100})
    split.set_mirror("b")
    split.set_mirror(None)
    assert split.mirror() is None


def test_the_object_is_the_releases_alone(place: MeshPlace, api: Api) -> None:
    place.split.set_weights({"a": 90, "b": 10})
    held: Any = api.get(SPLIT)
    assert [one["manager"] for one in held["metadata"]["managedFields"]] == [FIELD_MANAGER]
    assert not {"hosts", "gateways"} & set(held["spec"])


def test_what_no_release_writes_is_named_and_the_next_split_replaces_it(
    place: MeshPlace, api: Api
) -> None:
    by_hand = {
        "http": [
            {
                "route": [
                    {"destination": {"host": ROUTE.host(slot)}, "weight": 50} for slot in "ab"
                ],
                "mirrors": [{"destination": {"host": "elsewhere"}}],
            }
        ]
    }
    api.create(SPLIT | {"spec": by_hand})
    with pytest.raises(TrafficError, match=r"split-team/credit-split is not as a release writes"):
        place.split.weights()
    place.split.set_weights({"b": 100})
    assert place.split.weights() == {"a": 0, "b": 100}


def test_somebody_without_the_right_is_told_which_lacks(cluster: ControlPlane) -> None:
    with client_of(cluster, "somebody") as client:
        split = MeshTrafficSplit(client, ROUTE)
        with pytest.raises(TrafficError, match='"somebody" cannot get resource "virtualservices"'):
            split.set_weights({"b": 100})


def test_a_cluster_that_does_not_answer_is_no_gateway_that_is_down(cluster: ControlPlane) -> None:
    with httpx.Client(base_url="https://127.0.0.1:1") as client:
        split = MeshTrafficSplit(client, ROUTE)
        for ask in (split.weights, split.ready, lambda: split.set_weights({"b": 100})):
            with pytest.raises(ClusterDownError, match="does not answer") as caught:
                ask()
            assert not isinstance(caught.value, GatewayDownError)


def test_a_split_is_between_two_slots() -> None:
    for slots in ({"a": "one"}, {"a": "one", "b": "one"}, {"a": "1", "b": "2", "c": "3"}):
        with pytest.raises(ValueError, match="between two"):
            dataclasses.replace(ROUTE, slots=slots)
