"""The rules on plain data: a compliant baseline passes, mutations fail, unknowns are pending."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import analyzer_pb2
from rule_cases import ACCOUNT, BY_NAME, PROVIDER, outcome, resource, run
from typer.testing import CliRunner

import policies
from components.kubernetes.operator_table import PRIVILEGED
from policies.cli import InputError, app
from policies.common.configuration import ConfigurationError, configured, parsed, schema
from policies.common.controls import CONTROLS
from policies.common.exceptions import today
from policies.common.resources import (
    ABSENT,
    UNKNOWN,
    Resource,
    StateError,
    of_export,
    of_request,
    of_stack,
    of_state,
)
from policies.common.rule import Finding, Rule
from policies.packs import CONFIGURATIONS, RULES

BUCKET = "aws:s3/bucket:Bucket"
SETTING = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"

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
    assert outcome(name, *resources, allowedRegions=["me-south-9"]) == "passed"


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

    assert outcome("s3-bucket-uses-customer-key", bucket, **strict) == "failed"


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
    other = resource("random:index/randomId:RandomId", "suffix", {})

    assert outcome(rule.name, other) == "not applicable"


def test_a_finding_names_resource_property_and_value() -> None:
    far = changed(QUEUE, region="eu-west-1")
    (result,) = run([BY_NAME["aws-resource-region-is-allowed"]], far)
    (finding,) = result.findings

    assert finding.sentence == (
        "aws:sqs/queue:Queue 'queue': region is eu-west-1; allowed: me-central-1"
    )
    assert "UAE-PDPL art 22" in result.rule.advice
    assert "\n" not in finding.sentence + result.rule.advice


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ([], "maps rules to their levels"),
        ({"aws-provider-region-is-allowed": "me-central-1"}, "is 'me-central-1'; levels: advisory"),
        ({"aws-provider-region-is-allowed": 1}, "neither a level nor an object"),
        ({"aws-provider-region-is-allowed": "remediate"}, "no default would be safe"),
        ({"no-such-rule": {}}, "no-such-rule, which is no rule"),
        ({"aws-provider-region-is-allowed": {"regions": []}}, "regions: Extra inputs"),
        ({"aws-provider-region-is-allowed": {"allowedRegions": []}}, "allowedRegions: "),
    ],
)
def test_a_wrong_configuration_is_refused(configuration: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        configured(RULES, configuration)


# --- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    sorted(set(CONFIGURATIONS.glob("*.json")) - {CONFIGURATIONS / "schema.json"}),
    ids=lambda f: f.stem,
)
def test_each_environment_says_the_level_of_every_rule(file: Path) -> None:
    content = parsed(file.read_text())

    assert content.keys() == BY_NAME.keys()
    assert list(content) == sorted(content)
    configured(RULES, content)


@pytest.mark.parametrize("environment", ["dev", "test", "staging", "prod"])
def test_pods_reach_into_nodes_where_admission_lets_them_and_nowhere_else(environment: str) -> None:
    content = parsed((CONFIGURATIONS / f"{environment}.json").read_text())
    exempt = {
        tuple(value["exemptNamespaces"])
        for value in content.values()
        if isinstance(value, dict) and "exemptNamespaces" in value
    }

    assert exempt == {tuple(sorted({*PRIVILEGED, "kube-system"}))}


def test_there_is_a_file_for_each_environment_and_the_schema_is_that_of_the_rules() -> None:
    assert {file.stem for file in CONFIGURATIONS.glob("*.json")} == {
        *("local", "dev", "test", "staging", "prod", "schema"),
    }
    assert json.loads((CONFIGURATIONS / "schema.json").read_text()) == schema(RULES), (
        "out of date: falaj policy schema > policies/config/schema.json"
    )


def test_the_configuration_in_the_docs_is_one() -> None:
    page = (CONFIGURATIONS.parents[1] / "docs" / "policies.md").read_text()
    (example,) = (block.partition("```")[0] for block in page.split("```json\n")[1:])

    (rule,) = [one for one in configured(RULES, parsed(example)) if one.parameters.exceptions]
    assert rule.rule.name in example


def test_all_mistakes_of_a_configuration_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(RULES, {"no-such-rule": "advisory", "kms-key-rotates": {"maxRotationDay": 1}})

    assert "no-such-rule" in str(caught.value)
    assert "kms-key-rotates: maxRotationDay" in str(caught.value)


def test_a_configuration_that_is_not_json_says_where() -> None:
    with pytest.raises(ConfigurationError, match="line 1"):
        parsed("{")


def exception(**change: Any) -> dict[str, Any]:
    return {
        "resource": "aws:sqs/queue:Queue::queue",
        "reason": "moves home with the next release",
        "approver": "CISO",
        "expires": str(today() + timedelta(days=30)),
    } | change


FAR = "aws-resource-region-is-allowed"


def findings(*exceptions: dict[str, Any], region: Any = "eu-west-1") -> Sequence[Finding]:
    """What the rule on regions says of a queue."""
    queue = dataclasses.replace(QUEUE, properties={"region": region})
    (result,) = run(
        [BY_NAME[FAR]],
        queue,
        configuration={FAR: {"exceptions": [dict(one) for one in exceptions]}},
    )
    return result.findings


@pytest.mark.parametrize("named", ["aws:sqs/queue:Queue::queue", QUEUE.urn], ids=["short", "URN"])
def test_an_exception_in_force_excuses_its_resource_and_is_seen(named: str) -> None:
    (finding,) = findings(exception(resource=named))

    assert finding.verdict == "excepted"
    assert "excepted until" in finding.sentence
    assert "moves home" in finding.sentence


def test_an_exception_that_has_expired_excuses_nothing() -> None:
    (finding,) = findings(exception(expires=str(today() - timedelta(days=1))))

    assert finding.verdict == "violation"
    assert "its exception expired on" in finding.sentence


def test_an_exception_holds_on_its_last_day() -> None:
    (finding,) = findings(exception(expires=str(today())))

    assert finding.verdict == "excepted"


@pytest.mark.parametrize(
    ("change", "region"),
    [
        ({}, "me-central-1"),
        ({"resource": "aws:sqs/queue:Queue::queue-2"}, "eu-west-1"),
        ({"resource": "aws:sns/topic:Topic::queue"}, "eu-west-1"),
    ],
    ids=["mended", "another name", "another type"],
)
def test_an_exception_that_excuses_nothing_is_a_violation(
    change: dict[str, Any], region: str
) -> None:
    found = findings(exception(**change), region=region)

    assert found[-1].verdict == "violation"
    assert "matches nothing" in found[-1].sentence


def test_what_is_not_known_yet_stays_pending_with_an_exception() -> None:
    (finding,) = findings(exception(), region=UNKNOWN)

    assert finding.verdict == "pending"


@pytest.mark.parametrize(
    "change",
    [
        {"resource": "aws:sqs/queue:Queue::*"},
        {"resource": "queue"},
        {"reason": "because"},
        {"approver": ""},
        {"expires": "never"},
        {"expires": "9999-01-01"},
        {"until": "2027-01-01"},
    ],
    ids=lambda change: f"{change}",
)
def test_an_exception_says_what_why_who_and_how_long(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"exceptions\.0"):
        configured(RULES, {FAR: {"exceptions": [exception(**change)]}})


def test_a_rule_that_is_disabled_is_shown_as_that() -> None:
    (result,) = run([BY_NAME[FAR]], QUEUE, configuration={FAR: "disabled"})

    assert result.outcome == "disabled"


def test_the_packs_and_the_distribution_have_one_version() -> None:
    root = CONFIGURATIONS.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    described = {
        line.removeprefix("version: ")
        for file in root.glob("*/PulumiPolicy.yaml")
        for line in file.read_text().splitlines()
        if line.startswith("version: ")
    }

    assert described == {project["version"], policies.VERSION}


# --- plain data -----------------------------------------------------------------------------------


TEXT, NUMBER = "04da6b54-80e4-46f7-96ec-b56ff0331ba9", "3eeb2bf0-c639-47a8-9e75-3b44932eb421"
"""How the engine says that a value is not known."""


def shown(properties: dict[str, Any]) -> Resource:
    """A resource as the engine asks about it."""
    request = analyzer_pb2.AnalyzeRequest(type="a:b:C", urn="urn::c", name="c")
    request.properties.update(properties)
    return of_request(request)


def test_unknown_absent_and_null_stay_apart() -> None:
    plain = shown(
        {
            "unknown": TEXT,
            "null": None,
            "list": [1.0, NUMBER, {"deep": TEXT}],
            "half": 0.5,
            "on": True,
        }
    )

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
    assert plain.at("on") is True


@pytest.mark.parametrize(
    ("wrapped", "expected"),
    [
        ({rpc._special_sig_key: rpc._special_secret_sig, "value": "hidden"}, "hidden"),
        ({rpc._special_sig_key: rpc._special_secret_sig, "value": TEXT}, UNKNOWN),
        ({rpc._special_sig_key: rpc._special_secret_sig, "ciphertext": "v1:x"}, UNKNOWN),
        ({rpc._special_sig_key: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "value": 1}, 1),
        ({rpc._special_sig_key: "d0e6a833031e9bbcd3f4e8bde6ca49a4"}, UNKNOWN),
        ({"value": "an object of its own"}, {"value": "an object of its own"}),
    ],
    ids=["secret", "unknown secret", "encrypted", "output", "unknown output", "plain"],
)
def test_what_the_engine_wraps_is_taken_out(wrapped: dict[str, Any], expected: Any) -> None:
    assert shown({"it": wrapped}).at("it") == expected


def test_a_stack_has_providers_parents_protection_and_references() -> None:
    one = analyzer_pb2.AnalyzerResource(
        type="a:b:C", urn="urn::c", name="c", parent="urn::p", properties=struct_pb2.Struct()
    )
    one.options.protect = True
    one.provider.name = "home"
    one.provider.properties.update({"region": "me-central-1"})
    one.propertyDependencies["key"].urns.append("urn::key")

    (plain,) = of_stack([one])

    assert (plain.parent, plain.protect) == ("urn::p", True)
    assert plain.references == {"key": ("urn::key",)}
    assert plain.provider is not None
    assert plain.provider.at("region") == "me-central-1"


def test_a_provider_is_read_once_and_anew_when_it_says_something_else() -> None:
    one = analyzer_pb2.AnalyzerResource(type="a:b:C", urn="urn::c", name="c")
    one.provider.urn = "urn::home"
    one.provider.properties.update({"region": "me-central-1"})
    first, second = of_stack([one, one])
    one.provider.properties.update({"region": "eu-west-1"})
    (third,) = of_stack([one])

    assert first.provider is second.provider
    assert third.provider is not None
    assert third.provider.at("region") == "eu-west-1"


def test_nothing_is_known_of_what_a_provider_that_waits_itself_would_make() -> None:
    one = analyzer_pb2.AnalyzerResource(type="a:b:C", urn="urn::c", name="c")
    one.provider.name = "cluster"
    one.provider.properties.update({"kubeconfig": TEXT})

    assert of_stack([one])[0].at("spec") is UNKNOWN
    one.provider.properties.update({"kubeconfig": "{}"})
    assert of_stack([one])[0].at("spec") is ABSENT


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


def test_inputs_and_outputs_of_a_state_are_had_by_reading_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = exported(
        {"urn": "urn::c", "type": "a:b:C", "inputs": {"size": 1}, "outputs": {"size": 2.0}}
    )
    read: list[str] = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda said: read.append(said) or loads(said))

    (inputs,), (outputs,) = of_export(text)

    assert (inputs.at("size"), outputs.at("size")) == (1, 2)
    assert read == [text]


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
            "inputs": {"region": region, "allowedAccountIds": json.dumps([ACCOUNT])},
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
    about_providers = {
        "aws-provider-endpoint-is-in-region",
        "aws-provider-holds-no-keys",
        "aws-provider-region-is-allowed",
    }
    assert {outcomes.pop(rule) for rule in about_providers} == {"passed"}
    assert set(outcomes.values()) == {"not applicable"}
    assert outcomes.keys() == BY_NAME.keys() - about_providers


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


def test_what_is_advisory_is_told_and_stops_nothing(
    state: Callable[[str], Path], tmp_path: Path
) -> None:
    config = tmp_path / "rules.json"
    config.write_text('{"aws-provider-region-is-allowed": "advisory"}')
    path = str(state("eu-west-1"))
    done = CliRunner().invoke(app, ["check", "--state", path, "--config", str(config)])

    assert done.exit_code == 0
    assert "violation: pulumi:providers:aws 'home': region is eu-west-1" in done.stdout


def test_an_environment_names_the_packs_own_file(state: Callable[[str], Path]) -> None:
    path = str(state("me-central-1"))

    assert CliRunner().invoke(app, ["check", "--state", path, "-e", "prod"]).exit_code == 0
    wrong = CliRunner().invoke(app, ["check", "--state", path, "-e", "prodd"])
    assert "prodd has no file; there are dev, local, prod, staging, test" in str(wrong.exception)
    both = CliRunner().invoke(app, ["check", "--state", path, "-e", "prod", "--config", path])
    assert "give one of them" in str(both.exception)


def test_a_configuration_is_validated_by_itself(tmp_path: Path) -> None:
    good = CliRunner().invoke(app, ["validate", str(CONFIGURATIONS / "prod.json")])
    assert good.exit_code == 0
    assert f"{len(RULES)} rules, 0 exceptions" in good.stdout

    file = tmp_path / "rules.json"
    file.write_text('{"kms-key-rotate": "advisory"}')
    wrong = CliRunner().invoke(app, ["validate", str(file)])
    assert isinstance(wrong.exception, ConfigurationError)
    assert "kms-key-rotate, which is no rule" in str(wrong.exception)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", "--state", str(tmp_path / "missing.json")])

    assert isinstance(done.exception, InputError)
    assert "missing.json" in str(done.exception)
