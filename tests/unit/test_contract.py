"""The promise to teams: what keeps it, and what breaks it loudly."""

from __future__ import annotations

from typing import Any

import pytest

from components.contract import (
    CAPABILITY_FIELDS,
    SECRET_FIELDS,
    ContractError,
    PlatformOutputs,
    capabilities_of,
)

OUTPUTS: dict[str, Any] = {
    "contract_version": "1.0",
    "environment": "local",
    "place": "local",
    "capabilities": ["tracking"],
    "residency_mode": "in-country",
    "allowed_regions": ["me-central-1"],
    "tracking_uri": "http://127.0.0.1:5500",
}


def test_outputs_that_keep_the_contract_are_read() -> None:
    assert PlatformOutputs.parse(OUTPUTS).tracking_uri == "http://127.0.0.1:5500"


def test_a_field_of_a_later_minor_version_is_no_obstacle() -> None:
    later = OUTPUTS | {"contract_version": "1.7", "vector_store_url": "http://x"}
    assert PlatformOutputs.parse(later).contract_version == "1.7"


TEAM: dict[str, Any] = {
    "namespace": "credit", "cpu_quota": 1, "memory_quota_gib": 1, "gpu_quota": 0
}  # fmt: skip


def test_a_later_field_of_a_team_is_no_obstacle_either() -> None:
    teams = {"credit": TEAM | {"vector_store_url": "http://x"}}
    later = OUTPUTS | {"capabilities": ["tracking", "tenancy"], "teams": teams}
    assert (PlatformOutputs.parse(later).teams or {})["credit"].namespace == "credit"


def test_features_are_a_team_s_own_and_who_has_none_is_told() -> None:
    url = "http://features.credit.svc:6566"
    teams = {"credit": TEAM | {"feature_server_url": url}, "fraud": TEAM}
    outputs = PlatformOutputs.parse(
        OUTPUTS | {"capabilities": ["tracking", "tenancy"], "teams": teams}
    )

    assert outputs.features_of("credit") == url
    with pytest.raises(ContractError, match=r"fraud has no feature store .* one: credit"):
        outputs.features_of("fraud")
    with pytest.raises(ContractError, match="dates is no team"):
        outputs.features_of("dates")
    with pytest.raises(ContractError, match="has no tenancy"):
        PlatformOutputs.parse(OUTPUTS).features_of("credit")


def test_a_team_s_features_promise_nothing_to_readers_of_the_field_before() -> None:
    # who requires the capability reads the field that only the first versions meant to fill
    teams = {"credit": TEAM | {"feature_server_url": "http://x"}}
    assert capabilities_of({"teams": teams}) == ["tenancy"]


def test_another_major_version_is_refused() -> None:
    with pytest.raises(ContractError, match=r"contract_version is 2\.0"):
        PlatformOutputs.parse(OUTPUTS | {"contract_version": "2.0"})


def test_a_capability_without_its_field_is_refused() -> None:
    with pytest.raises(ContractError, match="tracking_uri is not set"):
        PlatformOutputs.parse(OUTPUTS | {"tracking_uri": None})


def test_a_field_without_its_capability_is_refused() -> None:
    with pytest.raises(ContractError, match="metrics_url is set although"):
        PlatformOutputs.parse(OUTPUTS | {"metrics_url": "http://127.0.0.1:9490"})


def test_a_field_of_the_wrong_form_is_named() -> None:
    with pytest.raises(ContractError, match="residency_mode"):
        PlatformOutputs.parse(OUTPUTS | {"residency_mode": "anywhere"})


def test_a_consumer_is_told_what_a_platform_lacks_and_what_it_offers() -> None:
    with pytest.raises(ContractError, match=r"no serving, training: it offers tracking"):
        PlatformOutputs.parse(OUTPUTS).require("tracking", "serving", "training")


def test_capabilities_follow_from_the_fields() -> None:
    assert capabilities_of({"tracking_uri": "x", "artifact_uri": "y"}) == ["tracking"]


def test_every_capability_and_secret_names_a_field_of_the_contract() -> None:
    fields = set(PlatformOutputs.model_fields)
    assert {name for names in CAPABILITY_FIELDS.values() for name in names} <= fields
    assert fields >= SECRET_FIELDS


def test_the_fields_of_version_1_are_all_there() -> None:
    # a consumer of the first release reads these: removing or renaming one needs a new major
    assert set(PlatformOutputs.model_fields) >= {
        "contract_version", "environment", "place", "capabilities", "region", "residency_mode",
        "allowed_regions", "automatic_approval", "encryption_keys", "artifact_uri", "data_uri",
        "object_store_endpoint", "object_store_region", "object_store_access_key",
        "object_store_secret_key", "tracking_uri", "ray_address", "ray_token",
        "feature_server_url", "serving_gateway_url", "serving_namespace", "metrics_url",
        "orchestrator_url", "node_pools", "teams", "local", "kubeconfig",
    }  # fmt: skip
