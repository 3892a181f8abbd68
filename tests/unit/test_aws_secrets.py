"""Generated secrets: how they are kept, who reads them, and how they get values nobody deployed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws
from policy_decision import Request, decide, verdict

from components.aws.functions import secret_values
from components.aws.keys import DomainKeyArgs, key_policy
from components.aws.policy_document import text
from components.aws.scope import Scope
from components.aws.secrets import (
    WRITER,
    GeneratedSecrets,
    GeneratedSecretsArgs,
    secret_policy,
)
from components.aws.settings.keys import KeySettings
from components.aws.settings.secrets import (
    PLATFORM_SECRETS,
    TEAM_SECRETS,
    SecretsSettings,
    generated,
)

if TYPE_CHECKING:
    from conftest import Recording

ACCOUNT, REGION = "123456789012", "me-central-1"
SCOPE = Scope(environment="dev", account_id=ACCOUNT, region=REGION, boundary_arn="arn:boundary")
KEY, LOGS_KEY = SCOPE.arn("kms", "key/secrets"), SCOPE.arn("kms", "key/logs")
Record = Callable[[Callable[[], object]], "Recording"]


def build(record: Record, *, keep: bool = True, **more: Any) -> Recording:
    args = GeneratedSecretsArgs(
        scope=SCOPE,
        teams=("credit",),
        settings=SecretsSettings(),
        keep=keep,
        secrets_key_arn=KEY,
        logs_key_arn=LOGS_KEY,
        **more,
    )
    return record(lambda: GeneratedSecrets("dev", args))


@pytest.fixture
def made(record: Record) -> Recording:
    return build(record)


def test_every_secret_is_encrypted_under_the_key_of_the_secrets_domain(made: Recording) -> None:
    secrets = made.of("Secret")

    assert {one.inputs["name"] for one in secrets} == {
        f"falaj-dev/{noun}" for noun in generated(["credit"])
    }
    assert {one.inputs["kmsKeyId"] for one in secrets} == {KEY}
    assert all("replicas" not in one.inputs for one in secrets)


def test_no_value_goes_through_the_deployment(made: Recording) -> None:
    assert made.of("SecretVersion") == []
    for call in made.of("Invocation"):
        assert set(json.loads(call.inputs["input"])) == {"SecretId"}
        assert call.inputs["lifecycleScope"] == "CREATE_ONLY"
    assert len(made.of("Invocation")) == len(made.of("Secret"))


def test_what_changes_while_it_is_read_rotates_and_nothing_else_does(made: Recording) -> None:
    rotating = {one.inputs["secretId"] for one in made.of("SecretRotation")}
    expected = {
        f"id:dev-{noun.replace('/', '-')}-secret"
        for noun, secret in generated(["credit"]).items()
        if secret.rotates
    }

    assert rotating == expected
    assert {"id:dev-serving-gateway-token-secret"} < expected
    for rotation in made.of("SecretRotation"):
        assert rotation.inputs["rotationRules"] == {"automaticallyAfterDays": 90}
        assert rotation.inputs["rotateImmediately"] is False
    permission = made.the("Permission")
    assert permission.inputs["principal"] == "secretsmanager.amazonaws.com"
    assert permission.inputs["sourceAccount"] == ACCOUNT


@pytest.mark.parametrize(("keep", "days"), [(True, 30), (False, 0)])
def test_a_name_is_free_again_at_once_only_where_data_is_not_kept(
    record: Record, *, keep: bool, days: int
) -> None:
    found = {one.inputs["recoveryWindowInDays"] for one in build(record, keep=keep).of("Secret")}

    assert found == {days}


@pytest.mark.parametrize("role", ["external-secrets", WRITER, "apply", "tracking", "team-credit"])
def test_a_secret_refuses_readers_and_writers_that_are_none(role: str) -> None:
    def refused(action: str) -> bool:
        request = Request(
            action=f"secretsmanager:{action}",
            resource=SCOPE.secret_arn("x"),
            principal=SCOPE.role_arn(role),
        )
        return verdict(text(*secret_policy(SCOPE)), request) == "denied"

    assert refused("GetSecretValue") == (role not in ("external-secrets", WRITER))
    assert refused("PutSecretValue") == (role != WRITER)
    assert not refused("DescribeSecret")


def test_each_secret_has_its_policy_and_none_can_be_made_public(made: Recording) -> None:
    policies = {one.inputs["secretArn"] for one in made.of("SecretPolicy")}

    assert policies == {f"arn:{one.name}" for one in made.of("Secret")}
    assert all(one.inputs["blockPublicPolicy"] is True for one in made.of("SecretPolicy"))


@pytest.mark.parametrize("action", ["GenerateDataKey", "Decrypt"])
def test_the_writer_s_role_and_the_key_agree(made: Recording, action: str) -> None:
    key = DomainKeyArgs(scope=SCOPE, domain="secrets", settings=KeySettings(), keep=True)
    request = Request(
        action=f"kms:{action}",
        resource=KEY,
        principal=SCOPE.role_arn(WRITER),
        context={
            "kms:ViaService": SCOPE.service("secretsmanager"),
        },
    )

    own = made.the("RolePolicy").inputs["policy"]
    assert decide(request, identity=[own], key=text(*key_policy(key))) == "allowed"


def test_the_function_logs_under_the_key_of_logs_for_a_year(made: Recording) -> None:
    log, function = made.the("LogGroup"), made.the("Function")

    assert log.inputs["name"] == f"/aws/lambda/{function.inputs['name']}"
    assert (log.inputs["kmsKeyId"], log.inputs["retentionInDays"]) == (LOGS_KEY, 365)
    assert "environment" not in function.inputs


def test_the_function_runs_in_the_network_where_there_is_one(record: Record) -> None:
    made = build(record, subnet_ids=["subnet-1"], security_group_ids=["sg-1"])

    assert made.the("Function").inputs["vpcConfig"] == {
        "subnetIds": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
    }
    assert (
        made.of("RolePolicyAttachment")[0]
        .inputs["policyArn"]
        .endswith("AWSLambdaVPCAccessExecutionRole")
    )


def test_each_secret_says_what_it_is_for() -> None:
    for secret in (*PLATFORM_SECRETS.values(), *TEAM_SECRETS.values()):
        assert len(secret.purpose) > 20


# --- the function, on a stand-in for Secrets Manager ----------------------------------------------


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in (("ID", "stand-in"), ("KEY", "stand-in")):
        monkeypatch.setenv(f"AWS_{'ACCESS_KEY_ID' if name == 'ID' else 'SECRET_ACCESS_KEY'}", value)
    monkeypatch.setenv("AWS_REGION", REGION)
    with mock_aws():
        yield boto3.client("secretsmanager", region_name=REGION)


def value(manager: Any, secret: str, stage: str = "AWSCURRENT") -> str:
    text = manager.get_secret_value(SecretId=secret, VersionStage=stage)["SecretString"]
    return str(json.loads(text)["value"])


def test_a_new_secret_gets_a_value_once_and_nobody_is_told_it(
    manager: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager.create_secret(Name="falaj-dev/x")
    answer = secret_values.handler({"SecretId": "falaj-dev/x"}, None)
    first = value(manager, "falaj-dev/x")

    assert len(first) == secret_values.LENGTH
    assert first.isalnum()
    assert answer == {"secret": "falaj-dev/x", "done": "first value"}
    assert first not in caplog.text

    again = secret_values.handler({"SecretId": "falaj-dev/x"}, None)
    assert again["done"] == "nothing: it has a value"
    assert value(manager, "falaj-dev/x") == first

    replaced = secret_values.handler({"SecretId": "falaj-dev/x", "replace": True}, None)
    assert replaced["done"] == "another value"
    assert value(manager, "falaj-dev/x") != first


def test_a_rotation_makes_the_new_value_current_and_keeps_the_one_before(manager: Any) -> None:
    manager.create_secret(Name="falaj-dev/x")
    secret_values.handler({"SecretId": "falaj-dev/x"}, None)
    first = value(manager, "falaj-dev/x")
    token = "0" * 32
    step = {"SecretId": "falaj-dev/x", "ClientRequestToken": token}

    for name in ("createSecret", "createSecret", "setSecret", "testSecret", "finishSecret"):
        secret_values.handler({**step, "Step": name}, None)
    second = value(manager, "falaj-dev/x")
    secret_values.handler({**step, "Step": "finishSecret"}, None)

    assert second != first
    assert value(manager, "falaj-dev/x") == second
    assert value(manager, "falaj-dev/x", "AWSPREVIOUS") == first


def test_an_unknown_step_is_an_error(manager: Any) -> None:
    with pytest.raises(ValueError, match="unknown step rotate"):
        secret_values.handler({"SecretId": "x", "Step": "rotate"}, None)
