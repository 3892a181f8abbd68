"""Feature stores as the program registers them: what they keep things in, and as whom."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.images import read_catalogue
from components.kubernetes.feature_store import (
    CALLED,
    FILE,
    ONLINE_CA,
    PORT,
    FeatureBackends,
    FeatureStore,
    FeatureStoreArgs,
    OnlineStore,
    RegistryDatabase,
)
from components.kubernetes.feature_store_settings import (
    BUCKET_KEYS,
    COMMANDS,
    ONLINE_PASSWORD,
    REGISTRY_PASSWORD,
    FeatureStoreSettings,
    TeamFeatures,
    online_rights,
    problems_of_feature_stores,
    project_of,
)
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import SERVICE_ACCOUNT
from components.kubernetes.tracking import S3Endpoint

Record = Callable[[Callable[[], object]], Any]

BACKENDS = FeatureBackends(
    registry=RegistryDatabase(
        host="database.example", name="features", role="features_wheat", authorities="PEM"
    ),
    online=OnlineStore(host="cache.example", username="wheat"),
    features_uri="s3://data/teams/soft-wheat/features",
    bucket=S3Endpoint(address="https://s3.example", region="site"),
)
ARGS = FeatureStoreArgs(
    team="soft-wheat",
    settings=TeamFeatures(),
    image="registry.ae.example/prod/feature-server:1",
    backends=BACKENDS,
    secret_source=SecretSource(
        store="platform", keys={"registry-password": "one", "online-password": "other"}
    ),
)


def built(record: Record, **change: Any) -> Any:
    """What the component registers."""
    return record(lambda: FeatureStore("one", replace(ARGS, **change)))


def file_of(made: Any) -> Any:
    """`feature_store.yaml`."""
    return yaml.safe_load(made.the("ConfigMap").inputs["data"][FILE])


def pods(made: Any) -> list[Any]:
    """The `spec` of the server's pods and of those that fill it."""
    job = made.the("CronJob").inputs["spec"]["jobTemplate"]["spec"]
    return [
        made.the("Deployment").inputs["spec"]["template"]["spec"],
        job["template"]["spec"],
    ]


# --- what it keeps things in ----------------------------------------------------------------------


def test_the_file_says_where_all_three_stores_are(record: Record) -> None:
    content = file_of(built(record))
    assert content["project"] == "Soft_wheat"
    assert content["registry"]["path"].startswith(
        "postgresql+psycopg://features_wheat@database.example:5432/features?sslmode=verify-full"
    )
    assert content["offline_store"] == {
        "type": "duckdb",
        "staging_location": "s3://data/teams/soft-wheat/features/staging",
        "staging_location_endpoint_override": "https://s3.example",
    }
    address, *options = content["online_store"]["connection_string"].split(",")
    assert address == "cache.example:6379"
    assert {"ssl=true", "ssl_cert_reqs=required", "username=wheat"} <= set(options)


def test_the_file_holds_no_password_and_names_variables_that_are_there(record: Record) -> None:
    made = built(record)
    text = made.the("ConfigMap").inputs["data"][FILE]
    named = set(re.findall(r"\$\{(\w+)\}", text))
    assert re.findall(r"password=([^,\n]*)", text) == ["${FALAJ_ONLINE_PASSWORD}"]
    keys = made.the("ExternalSecret").inputs["spec"]["target"]["template"]["data"]
    for pod in pods(made):
        (container,) = pod["containers"]
        secret = {
            one["name"]: one["valueFrom"]["secretKeyRef"]
            for one in container["env"]
            if "valueFrom" in one
        }
        assert secret.keys() == named | {"PGPASSWORD"}
        assert {one["name"] for one in secret.values()} == {CALLED}
        assert {one["key"] for one in secret.values()} == keys.keys()


def test_each_authority_that_is_named_is_mounted(record: Record) -> None:
    online = replace(BACKENDS.online, authorities="PEM of the cache")
    made = built(record, backends=replace(BACKENDS, online=online))
    files = made.the("ConfigMap").inputs["data"]
    assert files[ONLINE_CA] == "PEM of the cache"
    named = re.findall(r"/etc/falaj/features/([\w.]+)", files[FILE])
    assert set(named) <= files.keys()
    assert ONLINE_CA in named
    usual = built(record).the("ConfigMap").inputs["data"]
    assert ONLINE_CA not in usual
    assert "ssl_ca_certs" not in usual[FILE], "those that the image knows are trusted"


def test_another_file_makes_other_pods(record: Record) -> None:
    def note(**change: Any) -> str:
        template = built(record, **change).the("Deployment").inputs["spec"]["template"]
        return str(template["metadata"]["annotations"]["falaj/content"])

    assert note() == note()
    assert note() != note(
        backends=replace(BACKENDS, online=replace(BACKENDS.online, username="other"))
    )


# --- whose keys -----------------------------------------------------------------------------------


def key_of(team: str, entity: bytes) -> bytes:
    """As Feast 0.67 calls an entity's values online: how many join keys, each with kind and length,
    then values with theirs, then the project. `feast.infra.key_encoding_utils`, version 3."""
    name = b"customer"
    parts = (
        struct.pack("<I", 1),
        struct.pack("<II", 2, len(name)) + name,
        struct.pack("<II", 2, len(entity)) + entity,
        project_of(team).encode(),
    )
    return b"".join(parts)


def reaches(team: str, key: bytes) -> bool:
    """Whether the access list of the team's user lets it at `key`."""
    (pattern,) = [word for word in online_rights(team).split() if word.startswith("~")]
    assert re.fullmatch(r"~\*\w+", pattern), "nothing else in it is more than itself"
    return key.endswith(pattern.removeprefix("~*").encode())


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,30}[a-z0-9]", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9-]{0,30}[a-z0-9]", fullmatch=True),
    st.binary(max_size=64),
)
@example("credit", "retail-credit", b"7")
@example("credit", "credit", b"Retail_credit")
def test_a_team_s_user_reaches_its_own_keys_and_no_others(
    team: str, other: str, entity: bytes
) -> None:
    assert reaches(team, key_of(team, entity))
    assert reaches(team, key_of(other, entity)) == (team == other)


def test_names_alone_would_not_keep_teams_apart() -> None:
    """Without the capital: the end of one project's keys is another's name."""
    key = key_of("retail-credit", b"7").replace(b"Retail", b"retail")
    assert key.endswith(b"credit")
    assert not reaches("credit", key)


def test_a_team_s_user_lists_no_keys_and_changes_nothing_of_the_server() -> None:
    words = online_rights("credit").split()
    given_ = {word[1:] for word in words if word.startswith("+")}

    assert words[0] == "on"
    assert given_ == {"@connection", *COMMANDS}
    assert words.index("-@all") < min(words.index(f"+{one}") for one in given_)
    assert not given_ & {
        "scan",
        "keys",
        "randomkey",
        "eval",
        "flushdb",
        "@all",
        "@read",
        "@keyspace",
    }
    assert {"-@admin", "-@dangerous"} <= set(words)


def test_feast_asks_for_no_list_of_keys(record: Record) -> None:
    assert file_of(built(record))["online_store"]["full_scan_for_deletion"] is False


@pytest.mark.parametrize(("days", "seconds"), [(None, None), (30, 2_592_000)])
def test_values_leave_after_as_long_as_is_said(
    record: Record, days: int | None, seconds: int | None
) -> None:
    online = file_of(built(record, settings=TeamFeatures(online_days=days)))["online_store"]
    assert online.get("key_ttl_seconds") == seconds


# --- the bucket -----------------------------------------------------------------------------------


def environment(made: Any) -> dict[str, Any]:
    """The variables of the server."""
    (container,) = pods(made)[0]["containers"]
    return {one["name"]: one.get("value") or one["valueFrom"] for one in container["env"]}


def test_what_is_staged_names_the_team_s_key_where_it_has_one(record: Record) -> None:
    with_key = environment(built(record, backends=replace(BACKENDS, encryption_key="arn:key")))
    assert with_key["AWS_SERVER_SIDE_ENCRYPTION"] == "aws:kms"
    assert with_key["AWS_SSE_KMS_KEY_ID"] == "arn:key"
    assert not environment(built(record)).keys() & {"AWS_SSE_KMS_KEY_ID", "AWS_ACCESS_KEY_ID"}


def test_a_bucket_of_the_site_is_opened_by_keys_in_the_secret(record: Record) -> None:
    source = SecretSource(
        store="one",
        keys={key: key for key in (REGISTRY_PASSWORD, ONLINE_PASSWORD, *BUCKET_KEYS)},
    )
    backends = replace(BACKENDS, bucket_by_keys=True)
    found = environment(built(record, backends=backends, secret_source=source))
    assert found["AWS_SECRET_ACCESS_KEY"] == {
        "secretKeyRef": {"name": CALLED, "key": "secret-access-key"}
    }
    with pytest.raises(ValueError, match="lacks access-key-id, secret-access-key"):
        replace(ARGS, backends=backends)


# --- as whom, and how many ------------------------------------------------------------------------


def test_it_is_the_teams_without_a_token(record: Record) -> None:
    made = built(record)
    for pod in pods(made):
        assert pod["serviceAccountName"] == SERVICE_ACCOUNT
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    namespaces = {
        one.inputs["metadata"]["namespace"] for one in made.resources if "metadata" in one.inputs
    }
    assert namespaces == {"soft-wheat"}


def test_the_service_leads_to_the_server_and_not_to_what_fills_it(record: Record) -> None:
    made = built(record)
    selector = made.the("Service").inputs["spec"]["selector"]
    server = made.the("Deployment").inputs["spec"]["template"]["metadata"]["labels"]
    job = made.the("CronJob").inputs["spec"]["jobTemplate"]["spec"]["template"]["metadata"][
        "labels"
    ]
    assert selector.items() <= server.items()
    assert not selector.items() <= job.items()
    assert made.the("PodDisruptionBudget").inputs["spec"]["selector"]["matchLabels"] == selector
    (port,) = made.the("Service").inputs["spec"]["ports"]
    assert port["port"] == PORT


def test_how_many_there_are_is_the_scalers_alone(record: Record) -> None:
    made = built(record)
    assert "replicas" not in made.the("Deployment").inputs["spec"]
    scale = made.the("HorizontalPodAutoscaler").inputs["spec"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == (2, 4)
    assert scale["scaleTargetRef"]["name"] == made.the("Deployment").inputs["metadata"]["name"]


def test_no_deployment_waits_for_a_role_that_is_made_after_it(record: Record) -> None:
    made = built(record)
    for kind in ("Deployment", "Service"):
        annotations = made.the(kind).inputs["metadata"]["annotations"]
        assert annotations == {"pulumi.com/skipAwait": "true"}, kind
    assert "annotations" not in made.the("ConfigMap").inputs["metadata"]


def test_one_alone_has_no_budget_that_would_hold_its_node(record: Record) -> None:
    alone = TeamFeatures(min_replicas=1)
    assert not built(record, settings=alone).of("PodDisruptionBudget")


def test_new_values_come_online_one_copying_at_a_time(record: Record) -> None:
    spec = built(record).the("CronJob").inputs["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("*/15 * * * *", "Etc/UTC")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 3600
    never = TeamFeatures(materialise=None)
    assert not built(record, settings=never).of("CronJob")


def test_a_secret_without_a_name_in_the_store_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks online-password"):
        replace(ARGS, secret_source=SecretSource(store="one", keys={"registry-password": "one"}))


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"max_replicas": 1}, {"materialise": "hourly"}, {"memory_mib": 100}]
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TeamFeatures.model_validate(change)


@pytest.mark.parametrize(
    ("team", "asked", "problem"),
    [
        ("dates", TeamFeatures(), "feature_store.teams.dates: is no team; teams are wheat"),
        (
            "wheat",
            TeamFeatures(max_replicas=20),
            "20 need 10 of teams.wheat.cpu_quota, which is 8",
        ),
    ],
)
def test_what_does_not_fit_the_teams_is_told(team: str, asked: TeamFeatures, problem: str) -> None:
    settings = FeatureStoreSettings(teams={team: asked})
    found = list(problems_of_feature_stores(settings, {"wheat": TeamQuota()}))
    assert any(problem in one for one in found), found


def test_what_fits_has_no_problem() -> None:
    settings = FeatureStoreSettings(teams={"wheat": TeamFeatures()})
    assert list(problems_of_feature_stores(settings, {"wheat": TeamQuota()})) == []


def test_the_image_is_in_the_catalogue() -> None:
    assert "feature-store" in read_catalogue().images["feature-server"].used_by
