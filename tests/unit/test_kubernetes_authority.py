"""Who signs the gateway's certificate: where the authority's key is, and who may ask it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.kubernetes.authority import (
    KEYS,
    NAME,
    NAMESPACE,
    SECRET,
    Authority,
    AuthorityArgs,
    policy_spec,
)
from components.kubernetes.gateway import NAMESPACE as GATEWAY

Record = Callable[[Callable[[], object]], Any]
HOSTS = ["serving.prod.falaj.internal", "tracking.prod.falaj.internal"]


@pytest.fixture
def made(record: Record) -> Any:
    args = AuthorityArgs(store="falaj-certificates", served={GATEWAY: HOSTS})
    return record(lambda: Authority("authority", args))


def test_the_key_comes_from_the_store_and_is_never_in_the_state(made: Any) -> None:
    secret = made.the("ExternalSecret").inputs

    assert secret["spec"]["secretStoreRef"]["name"] == "falaj-certificates"
    assert secret["spec"]["data"] == [
        {"secretKey": key, "remoteRef": {"key": SECRET, "property": key}} for key in KEYS
    ]
    assert "PRIVATE KEY" not in json.dumps([one.inputs for one in made.resources])
    assert made.of("Secret") == []


def test_the_key_lies_with_cert_manager_and_not_where_the_gateway_could_ask_for_it(
    made: Any,
) -> None:
    secret, issuer = made.the("ExternalSecret").inputs, made.the("ClusterIssuer").inputs

    assert secret["metadata"]["namespace"] == NAMESPACE != GATEWAY
    assert issuer["spec"] == {"ca": {"secretName": secret["spec"]["target"]["name"]}}
    assert issuer["metadata"]["name"] == NAME


def test_the_policy_refuses_and_does_not_only_report(made: Any) -> None:
    bound = made.the("ValidatingAdmissionPolicyBinding")

    assert bound.inputs["spec"]["validationActions"] == ["Deny", "Audit"]
    assert (
        bound.inputs["spec"]["policyName"]
        == made.the("ValidatingAdmissionPolicy").inputs["metadata"]["name"]
    )


def test_the_policy_fails_closed_and_judges_those_that_name_this_issuer_alone() -> None:
    spec = policy_spec({GATEWAY: HOSTS})

    assert spec["failurePolicy"] == "Fail"
    assert NAME in spec["matchConditions"][0]["expression"]
    assert "ClusterIssuer" in spec["matchConditions"][0]["expression"]


@pytest.mark.parametrize("hosts", [[], ["*.falaj.internal"]])
def test_a_namespace_that_could_have_any_name_is_refused(hosts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"served\.serving: .*; name each host"):
        AuthorityArgs(store="falaj-certificates", served={GATEWAY: hosts})
