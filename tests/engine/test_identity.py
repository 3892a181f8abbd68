"""Identities, keys and secrets of an environment on the real engine, with all that can be asked."""

from __future__ import annotations

import fnmatch
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from policy_decision import statements

from stacks.offline import Offline, offline

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]
IDENTITY = {
    "ci": [{"kind": "github", "repository": "bank/falaj", "environment": "dev"}],
    "break_glass_users": ["amna"],
}


@dataclass(frozen=True)
class Made:
    """An environment after `up`."""

    stack: Offline
    resources: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The resources of a type, such as ``aws:kms/key:Key``."""
        return [one for one in self.resources if one["type"] == kind]


@pytest.fixture(scope="module")
def made(succeed: Succeed) -> Iterator[Made]:
    with offline("dev") as stack:
        content = yaml.safe_load(stack.stack_file.read_text())
        content["config"]["falaj:aws"]["identity"] = IDENTITY
        stack.stack_file.write_text(yaml.safe_dump(content))
        succeed(stack.pulumi("up", "--yes", "--skip-preview"))
        state = json.loads(succeed(stack.pulumi("stack", "export")).stdout)
        yield Made(stack, state["deployment"]["resources"])


def test_a_second_up_changes_nothing(made: Made, succeed: Succeed) -> None:
    succeed(made.stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes"))


def test_every_key_that_a_role_may_use_exists(made: Made) -> None:
    keys = {one["outputs"]["arn"] for one in made.of("aws:kms/key:Key")}
    named = {
        arn
        for one in made.of("aws:iam/rolePolicy:RolePolicy")
        for statement in statements(one["outputs"]["policy"])
        for arn in statement["Resource"]
        if ":kms:" in arn and not arn.endswith("/*")
    }

    assert named
    assert named <= keys


def test_every_secret_is_one_that_its_reader_may_read(made: Made) -> None:
    (reader,) = (
        one
        for one in made.of("aws:iam/rolePolicy:RolePolicy")
        if one["outputs"]["role"] == "falaj-dev-external-secrets"
    )
    (pattern,) = next(
        statement["Resource"]
        for statement in statements(reader["outputs"]["policy"])
        if statement["Sid"] == "ReadSecrets"
    )
    secrets = [one["outputs"]["arn"] for one in made.of("aws:secretsmanager/secret:Secret")]

    assert len(secrets) >= 6
    assert all(fnmatch.fnmatchcase(arn, pattern) for arn in secrets)


def test_pipelines_are_trusted_by_the_identity_provider_that_was_made(made: Made) -> None:
    (issuer,) = made.of("aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    roles = {one["outputs"]["name"]: one["outputs"] for one in made.of("aws:iam/role:Role")}

    assert issuer["outputs"]["arn"].endswith("oidc-provider/token.actions.githubusercontent.com")
    for noun in ("plan", "apply"):
        (trust,) = statements(roles[f"falaj-dev-{noun}"]["assumeRolePolicy"])
        assert trust["Principal"] == {"Federated": [issuer["outputs"]["arn"]]}


def test_every_role_has_the_boundary_that_was_made(made: Made) -> None:
    boundary = next(
        one["outputs"]["arn"]
        for one in made.of("aws:iam/policy:Policy")
        if one["outputs"]["name"] == "falaj-dev-boundary"
    )

    assert boundary == "arn:aws:iam::123456789012:policy/falaj-dev-boundary"
    assert {one["outputs"]["permissionsBoundary"] for one in made.of("aws:iam/role:Role")} == {
        boundary
    }


def test_no_value_of_a_secret_is_in_the_state(made: Made) -> None:
    assert made.of("aws:secretsmanager/secretVersion:SecretVersion") == []
    for one in made.of("aws:lambda/invocation:Invocation"):
        assert set(json.loads(one["inputs"]["input"])) == {"SecretId"}
