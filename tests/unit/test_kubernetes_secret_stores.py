"""Stores of secrets: each answers one namespace, with the secrets of that namespace."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from components.aws.access import IDENTITIES
from components.aws.identity import WorkloadIdentitiesArgs, permissions
from components.aws.keys import DOMAINS
from components.aws.scope import Scope
from components.aws.settings.secrets import generated, secret_folders
from components.kubernetes.roles import RULES
from components.kubernetes.secret_stores import (
    OPERATOR,
    SecretsManager,
    SecretStores,
    SecretStoresArgs,
    Vault,
)

Record = Callable[[Callable[[], object]], Any]

TEAMS = ("wheat", "dates")
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
FOLDERS = {space: SCOPE.secret(folder) for space, folder in secret_folders(TEAMS).items()}
ARGS = SecretStoresArgs(source=SecretsManager(region="me-central-1"), folders=FOLDERS)


def stores(record: Record, args: SecretStoresArgs = ARGS) -> dict[str, Any]:
    """Namespace → the spec of its store."""
    built: list[SecretStores] = []
    made = record(lambda: built.append(SecretStores("secrets", args)))
    by_name = {
        one.inputs["metadata"]["name"]: one.inputs["spec"] for one in made.of("ClusterSecretStore")
    }
    assert set(by_name) == set(built[0].names.values())
    return {namespace: by_name[store] for namespace, store in built[0].names.items()}


def readers(found: dict[str, Any], secret: str) -> set[str]:
    """The namespaces that get `secret`, as the operator judges it."""
    return {
        asking
        for asking in found
        for spec in found.values()
        if any(asking in condition["namespaces"] for condition in spec["conditions"])
        and secret.startswith(spec["provider"]["aws"]["prefix"])
    }


def test_each_secret_is_read_in_one_namespace(record: Record) -> None:
    found = stores(record)
    for noun in generated(TEAMS):
        first, _, rest = noun.partition("/")
        owner = rest.partition("/")[0] if first == "teams" else first
        assert readers(found, SCOPE.secret(noun)) == {owner}, noun


def test_a_store_without_its_condition_or_its_folder_would_be_seen(record: Record) -> None:
    secret = SCOPE.secret("teams/wheat/ray-token")
    found = stores(record)
    found["dates"]["provider"]["aws"]["prefix"] = SCOPE.secret("")
    assert readers(found, secret) == {"wheat", "dates"}
    found = stores(record)
    found["wheat"]["conditions"] = [{"namespaces": ["wheat", "dates"]}]
    assert readers(found, secret) == {"wheat", "dates"}


def test_a_store_reaches_one_region_as_the_operators_pod(record: Record) -> None:
    for spec in stores(record).values():
        (provider,) = spec["provider"].values()
        assert provider["region"] == "me-central-1"
        # with Pod Identity there is nobody else to be; a key would lie in the cluster
        assert "auth" not in provider
        assert provider["service"] == "SecretsManager"


def test_the_operator_cannot_look_for_secrets_past_the_folder() -> None:
    """A search by pattern or tag is not held by a store's prefix: it needs one of these rights."""
    args = WorkloadIdentitiesArgs(
        scope=SCOPE,
        teams=TEAMS,
        key_arns={domain: f"arn:{domain}" for domain in DOMAINS},
        cluster_name=None,
    )
    operator = IDENTITIES[OPERATOR]
    allowed = [action for one in permissions(args, operator, None) for action in one.actions]
    assert "secretsmanager:GetSecretValue" in allowed
    assert not searches(allowed)
    for right in ("secretsmanager:ListSecrets", "secretsmanager:Batch*", "secretsmanager:*"):
        assert searches([*allowed, right])
    assert (operator.namespace, operator.service_account) == (OPERATOR, OPERATOR)


def searches(actions: list[str]) -> bool:
    """Whether `actions` hold one that finds secrets without their names."""
    return any(
        fnmatch.fnmatchcase(f"secretsmanager:{one}", action)
        for one in ("ListSecrets", "BatchGetSecretValue")
        for action in actions
    )


def test_nobody_of_a_team_asks_the_operator_for_anything() -> None:
    groups = {group for rules in RULES.values() for rule in rules for group in rule["apiGroups"]}
    assert "ray.io" in groups
    assert not {one for one in groups if "external-secrets" in one or one == "*"}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"wheat": "falaj-prod/teams/wheat"}, "wheat: reads 'falaj-prod/teams/wheat', and a"),
        ({"wheat": "/"}, "a folder has a name"),
        (
            {"serving": "falaj-prod/teams/", "wheat": "falaj-prod/teams/wheat/"},
            "serving: reads 'falaj-prod/teams/', which holds 'falaj-prod/teams/wheat/' of wheat",
        ),
        ({"one": "same/", "other": "same/"}, "one: reads 'same/', which holds 'same/' of other"),
    ],
)
def test_no_folder_reaches_into_another(folders: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, folders=folders)


def test_on_premises_each_store_takes_a_role_and_a_mount_of_its_own(record: Record) -> None:
    args = SecretStoresArgs(
        source=Vault(server="https://vault.site.ae"), folders=secret_folders(TEAMS)
    )
    found = {space: spec["provider"]["vault"] for space, spec in stores(record, args).items()}
    assert found["wheat"]["path"] == "teams/wheat"
    assert found["wheat"]["auth"]["kubernetes"]["role"] == "falaj-wheat"
    for what in ("path", "auth"):
        assert len({str(one[what]) for one in found.values()}) == len(found)
    with pytest.raises(ValueError, match="server: is 'http://vault'; secrets travel over https"):
        Vault(server="http://vault")
