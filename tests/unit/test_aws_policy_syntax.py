"""Every policy of a whole environment is one that IAM takes: asked of a stand-in that validates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from policy_decision import statements
from unwatched import UNWATCHED

from components.aws.place import AwsPlace, AwsPlaceArgs
from components.aws.settings.aws import AwsSettings
from components.aws.settings.cluster import ExistingCluster
from components.aws.settings.identity import CiSettings, IdentitySettings
from components.aws.settings.keys import KeySettings
from components.aws.settings.network import ExistingNetwork
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.settings import TeamQuota

if TYPE_CHECKING:
    from conftest import Recording

AN_ARN = "arn:aws:kms:me-central-1:123456789012:key/"
LONGEST_TRUST, LONGEST_MANAGED, LONGEST_KEY, LONGEST_NAME = 2_048, 6_144, 32_768, 64

NETWORK = {
    "vpc_id": "vpc-0a1b2c3d4e5f60718",
    "cidr": "10.0.0.0/16",
    "private_subnet_ids": {
        "me-central-1a": "subnet-0a1b2c3d4e5f60718",
        "me-central-1c": "subnet-0a1b2c3d4e5f60719",
    },
    "isolated_subnet_ids": {
        "me-central-1a": "subnet-1a1b2c3d4e5f60718",
        "me-central-1c": "subnet-1a1b2c3d4e5f60719",
    },
    "private_route_table_ids": ("rtb-0a1b2c3d4e5f60718",),
}


@pytest.fixture
def place(record: Callable[[Callable[[], object]], Recording]) -> Recording:
    """An environment with all that identity can be asked for."""
    args: dict[str, Any] = {
        "environment": "staging",
        "owner": "ml-platform",
        "residency_mode": "in-country",
        "aws": AwsSettings(
            account_id="123456789012",
            existing_network=ExistingNetwork.model_validate(NETWORK),
            existing_cluster=ExistingCluster(
                name="falaj-staging", subnet_ids={"me-central-1a": "subnet-0a1b2c3d4e5f60718"}
            ),
            keys=KeySettings(team_keys=True),
            identity=IdentitySettings(
                ci=(CiSettings(kind="github", repository="bank/falaj", environment="staging"),),
                break_glass_users=("amna",),
            ),
            **UNWATCHED,
        ),
        "layer": LayerSettings(teams={"credit": TeamQuota(), "fraud": TeamQuota()}),
    }
    return record(lambda: AwsPlace("staging", AwsPlaceArgs(**args)))


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
    with mock_aws():
        yield boto3.client("iam", region_name="me-central-1")


def test_iam_takes_every_policy_and_every_trust(place: Recording, account: Any) -> None:
    policies = [*place.of("RolePolicy"), *place.of("Policy")]
    roles = [one for one in place.of("Role") if one.type.startswith("aws:")]

    assert len(policies) > 15
    for number, one in enumerate(policies):
        # what the mocks make up in the place of an ARN is none
        policy = one.inputs["policy"].replace('"arn:staging-', f'"{AN_ARN}')
        account.create_policy(PolicyName=f"p{number}", PolicyDocument=policy)
    for one in roles:
        name = one.inputs["name"]
        account.create_role(RoleName=name, AssumeRolePolicyDocument=one.inputs["assumeRolePolicy"])
        assert len(name) <= LONGEST_NAME


def test_the_stand_in_refuses_what_iam_refuses(account: Any) -> None:
    broken = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]})

    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        account.create_policy(PolicyName="broken", PolicyDocument=broken)


def test_statement_ids_are_unique_and_plain(place: Recording) -> None:
    """Ids of letters and digits alone, which IAM asks for, and no two alike in one policy."""
    policies = [
        one.inputs["policy"]
        for one in place.resources
        # that of a repository's images is no document of this kind
        if "policy" in one.inputs and not one.type.endswith(":LifecyclePolicy")
    ]

    assert len(policies) > 20
    for policy in policies:
        ids = [statement["Sid"] for statement in statements(policy)]
        assert len(set(ids)) == len(ids)
        assert all(one.isalnum() and one.isascii() for one in ids), ids


def test_policies_are_as_short_as_aws_takes_them(place: Recording) -> None:
    for one in place.of("Key"):
        assert len(one.inputs["policy"].encode()) <= LONGEST_KEY
    for one in place.of("Policy"):
        assert len("".join(one.inputs["policy"].split())) <= LONGEST_MANAGED
    for one in place.of("Role"):
        if one.type.startswith("aws:"):
            assert len("".join(one.inputs["assumeRolePolicy"].split())) <= LONGEST_TRUST


def test_every_role_of_an_environment_has_its_boundary(place: Recording) -> None:
    roles = [one for one in place.of("Role") if one.type.startswith("aws:")]

    assert {one.inputs["permissionsBoundary"] for one in roles} == {"arn:staging-boundary-policy"}
    named = place.the("Policy", "boundary").inputs["name"]
    assert named == "falaj-staging-boundary"


def test_every_principal_of_a_key_policy_is_made_here_or_named_by_another_part(
    place: Recording,
) -> None:
    """A role that a key names and nobody makes would be a slip of the pen."""
    made = {one.inputs["name"] for one in place.of("Role") if one.type.startswith("aws:")}
    of_other_parts = {
        *("backup", "backup-copy-*", "cluster", "ebs-csi", "image-cache", "karpenter"),
        *("log-stream", "siem"),
    }
    named = {
        arn.partition(":role/")[2]
        for key in place.of("Key")
        for statement in statements(key.inputs["policy"])
        for arn in statement.get("Condition", {}).get("ArnLike", {}).get("aws:PrincipalArn", ())
    }
    strangers = {
        one.removeprefix("falaj-staging-")
        for one in named - made
        if not one.startswith("aws-service-role/")
    }

    assert strangers - {"team-*"} <= of_other_parts
