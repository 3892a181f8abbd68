"""The image registry on mocks: one repository an image, closed, encrypted, never overwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import by_sid
from pydantic import ValidationError

from components.aws.image_registry import ImageRegistry, ImageRegistryArgs, filled_by
from components.aws.scope import Scope
from components.aws.settings.image_registry import ImageRegistrySettings, cache_problems
from components.images import read_catalogue
from stacks.settings import SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recorded, Recording

Record = Callable[[Callable[[], object]], "Recording"]
ACCOUNT = "123456789012"
SCOPE = Scope(environment="dev", account_id=ACCOUNT, region="me-central-1")
KEY = f"arn:aws:kms:me-central-1:{ACCOUNT}:key/1"
LOGIN = f"arn:aws:secretsmanager:me-central-1:{ACCOUNT}:secret:ecr-pullthroughcache/docker-Ab12Cd"


def built(
    record: Record, *, keep: bool = True, organisation_id: str | None = None, **settings: Any
) -> Recording:
    args = ImageRegistryArgs(
        scope=SCOPE,
        repositories=["mlflow", "charts/kuberay-operator"],
        key_arn=KEY,
        keep=keep,
        organisation_id=organisation_id,
        settings=ImageRegistrySettings(**settings),
    )
    return record(lambda: ImageRegistry("images", args))


def of_repository(found: Recording, kind: str) -> dict[str, Recorded]:
    return {one.inputs["repository"]: one for one in found.of(kind)}


def test_every_repository_is_encrypted_with_our_key_scanned_and_immutable(record: Record) -> None:
    found = built(record)
    assert {one.inputs["name"] for one in found.of("Repository")} == {
        "falaj-dev/mlflow",
        "falaj-dev/charts/kuberay-operator",
    }
    for one in found.of("Repository"):
        assert one.inputs["imageTagMutability"] == "IMMUTABLE"
        assert one.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert one.inputs["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
        assert one.inputs["forceDelete"] is False


def test_repositories_of_a_stack_whose_data_goes_are_deleted_with_their_images(
    record: Record,
) -> None:
    assert all(one.inputs["forceDelete"] for one in built(record, keep=False).of("Repository"))


def test_every_repository_has_a_policy_and_a_lifecycle(record: Record) -> None:
    found = built(record)
    names = {one.inputs["name"] for one in found.of("Repository")}
    assert of_repository(found, "RepositoryPolicy").keys() == names
    assert of_repository(found, "LifecyclePolicy").keys() == names


def test_a_lifecycle_deletes_nothing_that_has_a_tag(record: Record) -> None:
    for one in built(record).of("LifecyclePolicy"):
        (rule,) = json.loads(one.inputs["policy"])["rules"]
        assert rule["selection"]["tagStatus"] == "untagged"
        assert rule["selection"]["countNumber"] == 30


def test_nobody_outside_the_account_reads_a_repository_but_aws_services(record: Record) -> None:
    for one in built(record).of("RepositoryPolicy"):
        (deny,) = by_sid(one.inputs["policy"]).values()
        assert (deny["Effect"], deny["Action"]) == ("Deny", ["ecr:*"])
        assert deny["Condition"] == {
            "StringNotEquals": {"aws:PrincipalAccount": ACCOUNT},
            "Bool": {"aws:PrincipalIsAWSService": "false"},
        }
        assert "Resource" not in deny


def test_accounts_of_the_organisation_pull_where_it_is_named_and_do_nothing_else(
    record: Record,
) -> None:
    organisation = "o-a1b2c3d4e5"
    for one in built(record, organisation_id=organisation).of("RepositoryPolicy"):
        found = by_sid(one.inputs["policy"])
        assert found["DenyFromOutside"]["Condition"]["StringNotEquals"] == {
            "aws:PrincipalOrgID": organisation
        }
        pull = found["OrganisationPulls"]
        assert pull["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": organisation}}
        assert not [action for action in pull["Action"] if "Put" in action or "*" in action]


@pytest.mark.parametrize(
    ("scanning", "kind", "frequency"),
    [("enhanced", "ENHANCED", "CONTINUOUS_SCAN"), ("basic", "BASIC", "SCAN_ON_PUSH")],
)
def test_the_registry_scans_everything(
    record: Record, scanning: str, kind: str, frequency: str
) -> None:
    configuration = built(record, scanning=scanning).the("RegistryScanningConfiguration")
    assert configuration.inputs["scanType"] == kind
    (rule,) = configuration.inputs["rules"]
    assert rule["scanFrequency"] == frequency
    assert rule["repositoryFilters"] == [{"filter": "*", "filterType": "WILDCARD"}]


def test_settings_of_the_account_are_left_to_the_environment_that_owns_them(record: Record) -> None:
    found = built(record, owns_account_settings=False, pull_through={"quay.io": {}})
    assert not found.of("RegistryScanningConfiguration")
    assert not found.of("RegistryPolicy")


def test_nothing_is_replicated(record: Record) -> None:
    assert not built(record, pull_through={"quay.io": {}}).of("ReplicationConfiguration")


def test_without_being_asked_for_there_is_no_cache(record: Record) -> None:
    found = built(record)
    for kind in ("PullThroughCacheRule", "RepositoryCreationTemplate", "RegistryPolicy", "Role"):
        assert not found.of(kind)


def test_what_a_cache_makes_has_our_key_policy_and_lifecycle(record: Record) -> None:
    """Else ECR makes repositories with a key of its own."""
    found = built(record, pull_through={"quay.io": {}, "docker.io": {"credential_arn": LOGIN}})
    templates = {one.inputs["prefix"]: one.inputs for one in found.of("RepositoryCreationTemplate")}
    rules = {
        one.inputs["ecrRepositoryPrefix"]: one.inputs for one in found.of("PullThroughCacheRule")
    }
    role = found.the("Role", "images-maker-role")

    assert templates.keys() == rules.keys() == {"falaj-dev/quay.io", "falaj-dev/docker.io"}
    for template in templates.values():
        assert template["appliedFors"] == ["PULL_THROUGH_CACHE"]
        assert template["imageTagMutability"] == "IMMUTABLE"
        assert template["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
        assert template["customRoleArn"] == f"arn:{role.name}"
        assert "DenyFromOutside" in by_sid(template["repositoryPolicy"])
        assert json.loads(template["lifecyclePolicy"])["rules"]
    assert rules["falaj-dev/docker.io"]["upstreamRegistryUrl"] == "registry-1.docker.io"
    assert rules["falaj-dev/docker.io"]["credentialArn"] == LOGIN
    assert all(2 <= len(prefix) <= 30 for prefix in rules)


def test_the_role_that_makes_repositories_may_use_the_key_through_ecr_alone(record: Record) -> None:
    found = built(record, pull_through={"quay.io": {}})
    trust = by_sid(found.the("Role", "images-maker-role").inputs["assumeRolePolicy"])
    (policy,) = found.of("RolePolicy")
    allowed = by_sid(policy.inputs["policy"])

    assert trust["ServiceAssumes"]["Principal"] == {"Service": ["ecr.amazonaws.com"]}
    assert allowed["MakeRepositories"]["Resource"] == [
        f"arn:aws:ecr:me-central-1:{ACCOUNT}:repository/falaj-dev/*"
    ]
    assert allowed["EncryptThem"]["Resource"] == [KEY]
    assert allowed["EncryptThem"]["Condition"] == {
        "StringEquals": {"kms:ViaService": "ecr.me-central-1.amazonaws.com"}
    }


def test_trap_5_nodes_may_import_and_create_at_the_first_pull(record: Record) -> None:
    """The read-only policy of nodes holds neither right; the registry's policy gives both."""
    found = built(record, pull_through={"quay.io": {}, "registry.k8s.io": {}})
    (allow,) = by_sid(found.the("RegistryPolicy").inputs["policy"]).values()
    prefixes = {one.inputs["ecrRepositoryPrefix"] for one in found.of("PullThroughCacheRule")}

    assert set(allow["Action"]) == {"ecr:BatchImportUpstreamImage", "ecr:CreateRepository"}
    assert set(allow["Resource"]) == {
        f"arn:aws:ecr:me-central-1:{ACCOUNT}:repository/{prefix}/*" for prefix in prefixes
    }
    assert allow["Condition"] == {
        "StringEquals": {"aws:PrincipalAccount": ACCOUNT},
        "ArnLike": {
            "aws:PrincipalArn": [
                f"arn:aws:iam::{ACCOUNT}:role/falaj-dev-nodes-*",
                f"arn:aws:iam::{ACCOUNT}:role/falaj-dev-elastic-nodes",
            ]
        },
    }


def test_the_mirror_job_adds_images_and_takes_none_away() -> None:
    login, add = filled_by(SCOPE)
    assert (login.actions, login.resources) == (("ecr:GetAuthorizationToken",), ["*"])
    assert add.resources == [f"arn:aws:ecr:me-central-1:{ACCOUNT}:repository/falaj-dev/*"]
    assert "ecr:PutImage" in add.actions
    assert not [one for one in add.actions if re.search(r"Delete|Policy|Repository$|\*", one)]


def test_there_is_a_repository_for_everything_in_the_catalogue() -> None:
    catalogue = read_catalogue()
    repositories = catalogue.repositories()
    assert len(repositories) == len(set(repositories)) == len(catalogue.artifacts())
    assert {"mlflow", "ray", "charts/kuberay-operator"} <= set(repositories)
    assert all(len(SCOPE.repository(path)) <= 256 for path in repositories)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("upstream", ["docker.io", "ghcr.io"])
def test_a_registry_that_asks_for_a_login_needs_one(upstream: str) -> None:
    with pytest.raises(ValidationError, match=f"pull_through.{upstream}: needs credential_arn"):
        ImageRegistrySettings(pull_through={upstream: {}})
    given = {"credential_arn": LOGIN}
    assert ImageRegistrySettings(pull_through={upstream: given}).pull_through


def test_a_secret_that_ecr_would_refuse_is_refused_first() -> None:
    other = LOGIN.replace("ecr-pullthroughcache/", "")
    with pytest.raises(ValidationError):
        ImageRegistrySettings(pull_through={"docker.io": {"credential_arn": other}})


@pytest.mark.parametrize("environment", ["test", "staging", "prod"])
def test_images_are_fetched_at_need_in_dev_only(environment: str) -> None:
    cached = ImageRegistrySettings(pull_through={"quay.io": {}})
    (problem,) = cache_problems(cached, environment, has_egress=True)
    assert "falaj images plan" in problem
    assert cache_problems(cached, "dev", has_egress=True) == []
    assert cache_problems(ImageRegistrySettings(), environment) == []


def test_a_cache_without_a_way_out_is_refused() -> None:
    (problem,) = cache_problems(
        ImageRegistrySettings(pull_through={"quay.io": {}}), "dev", has_egress=False
    )
    assert "the network has none" in problem


def test_a_cache_outside_dev_stops_the_settings_of_the_environment() -> None:
    section = {
        "account_id": ACCOUNT,
        "existing_cluster": {
            "name": "falaj",
            "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d4e5f60718"},
        },
        "node_pools": {"general": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 4}},
        "image_registry": {"pull_through": {"quay.io": {}}},
    }
    assert parse("dev", {"falaj:aws": json.dumps(section)}).aws
    with pytest.raises(SettingsError, match=r"falaj:aws\.image_registry\.pull_through: allowed in"):
        parse("prod", {"falaj:aws": json.dumps(section)})
