"""The edge of the mesh: what it takes in, and the bucket that its filter gives to a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edge
import pytest

from components.kubernetes.edge import BUCKET_HEADER, BUCKET_LUA, ENTITY_HEADER, Edge, EdgeArgs
from components.local import gateway
from workloads.delivery import mesh

Record = Callable[[Callable[[], object]], Any]

ARGS: dict[str, Any] = {
    "namespace": "serving",
    "pod_labels": {"istio": "gateway"},
    "hosts": ["models.example.ae"],
    "certificate": "models-tls",
}


def test_every_bucket_gets_its_share_of_names_of_each_form(tmp_path: Path) -> None:
    forms = {
        "a word and a number": [f"customer-{number}" for number in range(20_000)],
        "a number": [str(1_000_000 + number) for number in range(20_000)],
        "an identity card": [f"784-1990-{number * 37:07d}-1" for number in range(20_000)],
    }
    for names in forms.values():
        counted = Counter(edge.buckets(names, tmp_path).values())
        assert set(counted) == {f"{bucket:02d}" for bucket in range(100)}
        assert min(counted.values()) > 0.7 * len(names) / 100
        assert max(counted.values()) < 1.3 * len(names) / 100


def test_letters_of_any_alphabet_have_a_bucket(tmp_path: Path) -> None:
    names = ["زبون-1", "x" * 5000, " ", "~"]
    assert all(len(found) == 2 for found in edge.buckets(names, tmp_path).values())


def test_a_bucket_is_the_same_for_ever(tmp_path: Path) -> None:
    """Another hash would move the entities of every release that runs."""
    known = {"customer-1": "14", "customer-2": "75", "784-1990-0000037-1": "18"}
    assert edge.buckets(list(known), tmp_path) == known


def test_both_gateways_read_the_same_headers() -> None:
    assert ENTITY_HEADER == gateway.ENTITY_HEADER
    assert BUCKET_HEADER == mesh.BUCKET_HEADER
    assert mesh.SLOT_HEADER == gateway.SLOT_HEADER


def test_the_filter_comes_first_and_in_the_gateway_alone(record: Record) -> None:
    made = record(lambda: Edge("edge", EdgeArgs(**ARGS)))
    spec = made.the("EnvoyFilter").inputs["spec"]
    assert spec["workloadSelector"] == {"labels": {"istio": "gateway"}}
    (patch,) = spec["configPatches"]
    assert (patch["applyTo"], patch["match"]["context"]) == ("HTTP_FILTER", "GATEWAY")
    assert patch["patch"]["operation"] == "INSERT_FIRST"
    config = patch["patch"]["value"]["typed_config"]
    assert config["default_source_code"] == {"inline_string": BUCKET_LUA}


def test_the_gateway_takes_tls_alone_and_routes_of_its_own_namespace(record: Record) -> None:
    (server,) = (
        record(lambda: Edge("edge", EdgeArgs(**ARGS))).the("Gateway").inputs["spec"]["servers"]
    )
    assert server["port"]["protocol"] == "HTTPS"
    assert (server["tls"]["mode"], server["tls"]["minProtocolVersion"]) == ("SIMPLE", "TLSV1_2")
    assert server["hosts"] == ["./models.example.ae"]


@pytest.mark.parametrize("wrong", [{"hosts": []}, {"hosts": ["*"]}, {"pod_labels": {}}])
def test_a_gateway_for_any_name_or_of_any_pod_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"name those|every gateway"):
        EdgeArgs(**(ARGS | wrong))
