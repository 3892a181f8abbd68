"""Generated secrets: how they are kept, who reads them, and how they get values nobody deployed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import validate
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


# --- those of feature stores ----------------------------------------------------------------------

ONLINE = "teams/credit/features-online-password"


def with_features(record: Record) -> Recording:
    return build(record, cache_users={"credit": "falaj-dev-cache-team-credit"})


def test_a_team_with_a_feature_store_has_both_passwords_in_its_folder(record: Record) -> None:
    names = {one.inputs["name"] for one in with_features(record).of("Secret")}

    assert names - {f"falaj-dev/{noun}" for noun in generated(["credit"])} == {
        f"falaj-dev/{ONLINE}",
        "falaj-dev/teams/credit/features-registry-password",
    }
    assert generated(["credit", "fraud"], ["credit"]).keys() >= {ONLINE}
    assert not [noun for noun in generated(["credit", "fraud"], ["credit"]) if "fraud/feat" in noun]


def test_the_function_knows_whose_password_is_a_user_s_of_the_cache(record: Record) -> None:
    function = with_features(record).the("Function")

    assert json.loads(function.inputs["environment"]["variables"]["CACHE_USERS"]) == {
        f"falaj-dev/{ONLINE}": "falaj-dev-cache-team-credit"
    }


def test_the_function_changes_those_users_of_the_cache_and_no_others(record: Record) -> None:
    own = with_features(record).the("RolePolicy").inputs["policy"]

    def allowed(policy: str, user: str, action: str = "elasticache:ModifyUser") -> bool:
        request = Request(
            action=action,
            resource=SCOPE.arn("elasticache", f"user:{user}"),
            principal=SCOPE.role_arn(WRITER),
        )
        return verdict(policy, request) == "allowed"

    assert allowed(own, "falaj-dev-cache-team-credit")
    assert not allowed(own, "falaj-dev-cache-team-fraud")
    assert not allowed(own, "falaj-dev-cache-team-credit", "elasticache:DeleteUser")
    without = build(record).the("RolePolicy").inputs["policy"]
    assert not allowed(without, "falaj-dev-cache-team-credit")


class Cache:
    """Stands in for ElastiCache: what it was told, and how often it was busy before."""

    class exceptions:  # noqa: N801 as boto3 has it
        class InvalidUserStateFault(Exception):  # noqa: N818
            pass

    def __init__(self, busy: int = 0) -> None:
        self.busy, self.told = busy, list[Any]()

    def modify_user(self, **told: Any) -> None:
        self.busy -= 1
        if self.busy >= 0:
            raise self.exceptions.InvalidUserStateFault
        self.told.append(told)


@pytest.fixture
def cache(manager: Any, monkeypatch: pytest.MonkeyPatch) -> Cache:
    stand_in = Cache(busy=2)
    clients = {"secretsmanager": manager, "elasticache": stand_in}
    monkeypatch.setattr(secret_values.boto3, "client", lambda name, **_: clients[name])
    monkeypatch.setattr(secret_values, "PAUSE_SECONDS", 0)
    monkeypatch.setenv("CACHE_USERS", json.dumps({f"falaj-dev/{ONLINE}": "team-credit"}))
    return stand_in


def test_the_cache_is_told_a_password_and_keeps_the_one_before(cache: Cache, manager: Any) -> None:
    name = f"falaj-dev/{ONLINE}"
    manager.create_secret(Name=name)
    secret_values.handler({"SecretId": name}, None)
    first = value(manager, name)
    secret_values.handler({"SecretId": name, "replace": True}, None)
    second = value(manager, name)

    assert [(one["UserId"], one["AuthenticationMode"]) for one in cache.told] == [
        ("team-credit", {"Type": "password", "Passwords": [first]}),
        ("team-credit", {"Type": "password", "Passwords": [second, first]}),
    ]


def test_a_cache_that_refuses_leaves_the_secret_as_it_was(cache: Cache, manager: Any) -> None:
    name = f"falaj-dev/{ONLINE}"
    manager.create_secret(Name=name)
    cache.busy = secret_values.TRIES
    with pytest.raises(Cache.exceptions.InvalidUserStateFault):
        secret_values.handler({"SecretId": name}, None)
    assert "AWSCURRENT" not in str(manager.describe_secret(SecretId=name))

    assert secret_values.handler({"SecretId": name}, None)["done"] == "first value"
    assert len(cache.told) == 1


def test_no_other_secret_is_told_to_the_cache(cache: Cache, manager: Any) -> None:
    manager.create_secret(Name="falaj-dev/teams/credit/ray-token")
    secret_values.handler({"SecretId": "falaj-dev/teams/credit/ray-token"}, None)

    assert cache.told == []


def test_what_elasticache_is_told_is_what_its_api_takes() -> None:
    """By the description of the API that `boto3` itself brings."""
    client = boto3.client("elasticache", region_name=REGION)
    shape = client.meta.service_model.operation_model("ModifyUser").input_shape
    told = {"UserId": "one", "AuthenticationMode": {"Type": "password", "Passwords": ["a", "b"]}}

    assert validate.ParamValidator().validate(told, shape).has_errors() is False
    told["AuthenticationMode"] = {"Kind": "password"}
    assert validate.ParamValidator().validate(told, shape).has_errors() is True
    assert client.exceptions.InvalidUserStateFault


def test_a_database_is_told_a_verifier_by_which_nobody_signs_in(manager: Any) -> None:
    """The exchange of RFC 7677, section 3: whoever knows the password is known by the verifier."""
    salt, said = (
        base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
        (
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        ),
    )
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    kind, with_salt, keys = secret_values.verifier("pencil", salt).split("$")
    stored, server = (base64.b64decode(key) for key in keys.split(":"))

    assert (kind, with_salt) == ("SCRAM-SHA-256", "4096:W22ZaJ0SNY7soEsUEjb6gQ==")
    signature = hmac.digest(stored, said, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored
    assert base64.b64encode(hmac.digest(server, said, "sha256")) == (
        b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )


def test_the_answer_holds_the_verifier_and_not_the_password(manager: Any) -> None:
    manager.create_secret(Name="falaj-dev/x")
    secret_values.handler({"SecretId": "falaj-dev/x"}, None)
    password = value(manager, "falaj-dev/x")
    asked = {"SecretId": "falaj-dev/x", "verifier": True}
    answer = secret_values.handler(asked, None)
    salt = base64.b64decode(answer["verifier"].split("$")[1].partition(":")[2])

    assert answer["verifier"] == secret_values.verifier(password, salt)
    assert password not in json.dumps(answer)
    assert answer != secret_values.handler(asked, None), "each has a salt of its own"
    assert value(manager, "falaj-dev/x") == password


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
    return str(text)


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
