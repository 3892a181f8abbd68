"""The rules on plain data: a compliant baseline passes, mutations fail, unknowns are pending."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pulumi.runtime import rpc
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy
from typer.testing import CliRunner

from policies.cli import InputError, app
from policies.common.controls import CONTROLS
from policies.common.resources import (
    ABSENT,
    UNKNOWN,
    Resource,
    StateError,
    of_stack,
    of_state,
)
from policies.common.rule import ConfigurationError, Rule, check
from policies.packs import RULES

BUCKET = "aws:s3/bucket:Bucket"
SETTING = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BY_NAME = {rule.name: rule for rule in RULES}


def resource(kind: str, name: str, properties: dict[str, Any], **more: Any) -> Resource:
    return Resource(type=kind, urn=f"urn::{name}", name=name, properties=properties, **more)


PROVIDER = resource("pulumi:providers:aws", "home", {"region": "me-central-1"})
KEY = resource("aws:kms/key:Key", "key", {}, provider=PROVIDER)
QUEUE = resource("aws:sqs/queue:Queue", "queue", {}, provider=PROVIDER)
STORE = resource(BUCKET, "store", {"bucket": "store-1"}, provider=PROVIDER)


def encryption(
    key: Any = "arn:key", algorithm: Any = "aws:kms", bucket: Any = "store-1", references: Any = ()
) -> Resource:
    default = {"sseAlgorithm": algorithm, "kmsMasterKeyId": key}
    return resource(
        SETTING,
        "encryption",
        {"bucket": bucket, "rules": [{"applyServerSideEncryptionByDefault": default}]},
        provider=PROVIDER,
        references=dict(references),
    )


def changed(original: Resource, **properties: Any) -> Resource:
    kept = {**original.properties, **properties}
    return dataclasses.replace(
        original, properties={name: value for name, value in kept.items() if value is not ABSENT}
    )


def outcome(name: str, *resources: Resource, configuration: dict[str, Any] | None = None) -> str:
    values = {name: configuration} if configuration else None
    (result,) = check([BY_NAME[name]], lambda _: resources, values)
    return result.outcome


def test_every_rule_has_controls_and_says_how_to_keep_it() -> None:
    assert {rule.name for rule in RULES} == set(CONTROLS)
    for rule in RULES:
        assert rule.mend.endswith(".")
        assert CONTROLS[rule.name]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("me-central-1", "passed"),
        ("eu-west-1", "failed"),
        ("ME-CENTRAL-1", "failed"),
        ("", "failed"),
        (None, "failed"),
        (ABSENT, "failed"),
        (UNKNOWN, "pending"),
    ],
)
def test_a_provider_names_an_allowed_region(region: Any, expected: str) -> None:
    assert outcome("aws-provider-region-is-allowed", changed(PROVIDER, region=region)) == expected


@pytest.mark.parametrize(
    ("own", "of_provider", "expected"),
    [
        (ABSENT, "me-central-1", "passed"),
        ("me-central-1", "me-central-1", "passed"),
        ("me-central-1", "eu-west-1", "passed"),
        ("eu-west-1", "me-central-1", "failed"),
        (ABSENT, "eu-west-1", "failed"),
        (None, "eu-west-1", "failed"),
        (ABSENT, ABSENT, "failed"),
        (UNKNOWN, "me-central-1", "pending"),
        (ABSENT, UNKNOWN, "pending"),
    ],
)
def test_a_resource_is_where_itself_or_else_its_provider_says(
    own: Any, of_provider: Any, expected: str
) -> None:
    provider = changed(PROVIDER, region=of_provider)
    queue = changed(dataclasses.replace(QUEUE, provider=provider), region=own)

    assert outcome("aws-resource-region-is-allowed", queue) == expected


def test_a_resource_without_any_provider_fails() -> None:
    adrift = dataclasses.replace(QUEUE, provider=None)

    assert outcome("aws-resource-region-is-allowed", adrift) == "failed"


@pytest.mark.parametrize(
    "name", ["aws-provider-region-is-allowed", "aws-resource-region-is-allowed"]
)
def test_the_allowed_regions_are_a_parameter(name: str) -> None:
    provider = changed(PROVIDER, region="me-south-9")
    resources = (provider, dataclasses.replace(QUEUE, provider=provider))

    assert outcome(name, *resources) == "failed"
    assert outcome(name, *resources, configuration={"allowedRegions": ["me-south-9"]}) == "passed"


BY_REFERENCE = {"bucket": (STORE.urn,), "rules": (KEY.urn,)}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([STORE, encryption()], "passed"),
        ([STORE, encryption(algorithm="aws:kms:dsse")], "passed"),
        # at preview: neither the bucket's name nor the key's ARN is known, the references are
        ([STORE, KEY, encryption(UNKNOWN, bucket=UNKNOWN, references=BY_REFERENCE)], "passed"),
        ([changed(STORE, tags={"purpose": "logs"})], "passed"),
        ([STORE], "failed"),
        ([STORE, encryption(bucket="another")], "failed"),
        ([STORE, encryption(algorithm="AES256")], "failed"),
        ([STORE, encryption(ABSENT)], "failed"),
        ([STORE, encryption(None)], "failed"),
        ([STORE, encryption("")], "failed"),
        ([STORE, encryption("alias/aws/s3")], "failed"),
        ([STORE, encryption("arn:aws:kms:me-central-1:1:alias/aws/s3")], "failed"),
        ([changed(STORE, serverSideEncryptionConfiguration=UNKNOWN)], "failed"),
        ([STORE, encryption(UNKNOWN)], "pending"),
        ([STORE, encryption(algorithm=UNKNOWN)], "pending"),
        ([STORE, changed(encryption(), rules=UNKNOWN)], "pending"),
        ([STORE, encryption(bucket=UNKNOWN)], "pending"),
        ([changed(STORE, tags={"purpose": UNKNOWN})], "pending"),
        ([changed(STORE, tags=UNKNOWN)], "pending"),
    ],
)
def test_a_bucket_is_encrypted_under_a_key_of_its_owner(
    resources: Sequence[Resource], expected: str
) -> None:
    assert outcome("s3-bucket-uses-customer-key", *resources) == expected


@pytest.mark.parametrize(
    ("algorithm", "key", "expected"),
    [("aws:kms", "arn:key", "passed"), ("AES256", ABSENT, "failed")],
)
def test_encryption_inside_the_bucket_counts_too(algorithm: str, key: Any, expected: str) -> None:
    default = {"sseAlgorithm": algorithm} | ({} if key is ABSENT else {"kmsMasterKeyId": key})
    inline = {"rule": {"applyServerSideEncryptionByDefault": default}}
    bucket = changed(STORE, serverSideEncryptionConfiguration=inline)

    assert outcome("s3-bucket-uses-customer-key", bucket) == expected


def test_log_buckets_need_a_key_too_where_an_organisation_says_so() -> None:
    bucket = changed(STORE, tags={"purpose": "logs"})
    strict = {"logBucketsMayUseAes": False}

    assert outcome("s3-bucket-uses-customer-key", bucket, configuration=strict) == "failed"


@pytest.mark.parametrize(
    ("block", "expected"),
    [({"kmsKeyArn": "arn:key"}, "passed"), ({}, "failed"), ({"kmsKeyArn": UNKNOWN}, "pending")],
)
def test_table_and_vector_buckets_name_their_key_themselves(
    block: dict[str, Any], expected: str
) -> None:
    table = resource(
        "aws:s3tables/tableBucket:TableBucket", "table", {"encryptionConfiguration": block}
    )
    vector = resource(
        "aws:s3/vectorsVectorBucket:VectorsVectorBucket",
        "vector",
        {"encryptionConfigurations": [block]},
    )

    assert outcome("s3-bucket-uses-customer-key", table) == expected
    assert outcome("s3-bucket-uses-customer-key", vector) == expected


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_without_anything_to_judge_is_not_applicable(rule: Rule) -> None:
    process = resource("pulumi-python:dynamic/components.local:Process", "tracking", {})

    assert outcome(rule.name, process) == "not applicable"


def test_a_finding_names_resource_property_and_value() -> None:
    far = changed(QUEUE, region="eu-west-1")
    (result,) = check([BY_NAME["aws-resource-region-is-allowed"]], lambda _: [far])
    (finding,) = result.findings

    assert finding.sentence == (
        "aws:sqs/queue:Queue 'queue': region is eu-west-1; allowed: me-central-1"
    )
    assert "UAE-PDPL art 22" in result.rule.advice
    assert "\n" not in finding.sentence + result.rule.advice


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ([], "maps rules to their parameters"),
        ({"aws-provider-region-is-allowed": "me-central-1"}, "maps rules to their parameters"),
        ({"no-such-rule": {}}, "no-such-rule, which is no rule"),
        ({"aws-provider-region-is-allowed": {"regions": []}}, "regions: Extra inputs"),
        ({"aws-provider-region-is-allowed": {"allowedRegions": []}}, "allowedRegions: "),
    ],
)
def test_a_wrong_configuration_is_refused(configuration: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check(RULES, lambda _: [], configuration)


# --- plain data -----------------------------------------------------------------------------------


def test_unknown_absent_and_null_stay_apart() -> None:
    class Shown:
        resource_type, urn, name, provider = "a:b:C", "urn::c", "c", None
        property_dependencies: ClassVar[dict[str, Any]] = {}
        props = unknown_checking_proxy(
            {
                "unknown": UNKNOWN_STRING_VALUE,
                "null": None,
                "list": [1.0, UNKNOWN_STRING_VALUE, {"deep": UNKNOWN_STRING_VALUE}],
                "half": 0.5,
            }
        )

    (plain,) = of_stack([Shown()])  # type: ignore[list-item]

    assert plain.at("unknown") is UNKNOWN
    assert plain.at("unknown", "below") is UNKNOWN
    assert plain.at("null") is None
    assert plain.at("nothing") is ABSENT
    assert plain.at("null", "below") is ABSENT
    assert plain.at("list") == [1, UNKNOWN, {"deep": UNKNOWN}]
    assert plain.at("list", 2, "deep") is UNKNOWN
    assert plain.at("list", 3) is ABSENT
    assert isinstance(plain.at("list", 0), int)
    assert plain.at("half") == 0.5


def exported(*resources: dict[str, Any]) -> str:
    return json.dumps({"version": 3, "deployment": {"resources": list(resources)}})


def test_an_exported_state_gives_resources_with_their_providers_and_secrets_unknown() -> None:
    secret = {rpc._special_sig_key: rpc._special_secret_sig}
    provider = {
        "urn": "urn:pulumi:dev::p::pulumi:providers:aws::home",
        "type": "pulumi:providers:aws",
        "inputs": {"region": "me-central-1"},
    }
    queue = {
        "urn": "urn:pulumi:dev::p::aws:sqs/queue:Queue::queue",
        "type": "aws:sqs/queue:Queue",
        "inputs": {
            "policy": secret | {"ciphertext": "v1:x"},
            "name": secret | {"plaintext": '"q"'},
        },
        "provider": "urn:pulumi:dev::p::pulumi:providers:aws::home::an-id",
        "propertyDependencies": {"policy": ["urn::key"], "name": None},
    }
    gone = queue | {"delete": True}

    resources = of_state(exported(provider, queue, gone), "inputs")

    assert [one.name for one in resources] == ["home", "queue"]
    assert resources[1].provider == resources[0]
    assert resources[1].at("policy") is UNKNOWN
    assert resources[1].at("name") == "q"
    assert resources[1].references == {"policy": ("urn::key",), "name": ()}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"deployment": {"resources": [1]}}', "nonsense"])
def test_what_is_no_exported_state_is_refused_saying_how_to_make_one(text: str) -> None:
    with pytest.raises(StateError, match="pulumi stack export"):
        of_state(text, "inputs")


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Callable[[str], Path]:
    def write(region: str) -> Path:
        path = tmp_path / "state.json"
        provider = {
            "urn": "urn:pulumi:dev::p::pulumi:providers:aws::home",
            "type": "pulumi:providers:aws",
            "inputs": {"region": region},
        }
        path.write_text(exported(provider))
        return path

    return write


def test_checking_a_good_state_exits_with_0_and_tells_passed_from_not_applicable(
    state: Callable[[str], Path],
) -> None:
    done = CliRunner().invoke(app, ["check", "--state", str(state("me-central-1")), "--json"])

    assert done.exit_code == 0
    outcomes = {one["rule"]: one["outcome"] for one in json.loads(done.stdout)}
    assert outcomes.pop("aws-provider-region-is-allowed") == "passed"
    assert set(outcomes.values()) == {"not applicable"}
    assert outcomes.keys() == BY_NAME.keys() - {"aws-provider-region-is-allowed"}


def test_checking_a_bad_state_exits_with_1_and_says_what_to_do(
    state: Callable[[str], Path],
) -> None:
    done = CliRunner().invoke(app, ["check", "--state", str(state("eu-west-1"))])

    assert done.exit_code == 1
    assert "'home': region is eu-west-1; allowed: me-central-1" in done.stdout
    assert "To mend: set aws:region" in done.stdout


def test_a_configuration_file_changes_the_parameters(
    state: Callable[[str], Path], tmp_path: Path
) -> None:
    config = tmp_path / "rules.json"
    config.write_text('{"aws-provider-region-is-allowed": {"allowedRegions": ["eu-west-1"]}}')
    path = str(state("eu-west-1"))
    done = CliRunner().invoke(app, ["check", "--state", path, "--config", str(config)])

    assert done.exit_code == 0


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", "--state", str(tmp_path / "missing.json")])

    assert isinstance(done.exception, InputError)
    assert "missing.json" in str(done.exception)
