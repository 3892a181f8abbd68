"""The stand-in providers refuse what the SDKs do not know, and answer as the real ones would."""

from __future__ import annotations

from typing import Any

import pytest
from aws_types import Aws
from google.protobuf import json_format, struct_pb2
from kubernetes_types import Kubernetes
from pulumi.runtime.proto import provider_pb2
from standin import UNKNOWN, StandIn

BUCKET = "aws:s3/bucket:Bucket"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
ROLE = "aws:iam/role:Role"


def struct(properties: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(properties, struct_pb2.Struct())


def urn(token: str) -> str:
    return f"urn:pulumi:dev::falaj::falaj:Part${token}::thing"


@pytest.fixture(scope="module")
def aws() -> StandIn:
    provider = StandIn(Aws())
    provider.Configure(
        provider_pb2.ConfigureRequest(
            args=struct(
                {
                    "region": "me-central-1",
                    "allowedAccountIds": '["123456789012"]',
                    "defaultTags": '{"tags": {"owner": "us", "environment": "dev"}}',
                }
            )
        ),
        None,
    )
    return provider


@pytest.fixture(scope="module")
def kubernetes() -> StandIn:
    return StandIn(Kubernetes())


def refusals(
    provider: StandIn, token: str, inputs: dict[str, Any], olds: dict[str, Any] | None = None
) -> list[str]:
    return [failure.reason for failure in checked(provider, token, inputs, olds).failures]


def checked(
    provider: StandIn, token: str, inputs: dict[str, Any], olds: dict[str, Any] | None = None
) -> Any:
    return provider.Check(
        provider_pb2.CheckRequest(
            urn=urn(token), news=struct(inputs), olds=struct(olds or {}), randomSeed=b"seed"
        ),
        None,
    )


def created(
    provider: StandIn, token: str, inputs: dict[str, Any], *, preview: bool = False
) -> tuple[str, dict[str, Any]]:
    answer = provider.Create(
        provider_pb2.CreateRequest(urn=urn(token), properties=struct(inputs), preview=preview), None
    )
    return answer.id, json_format.MessageToDict(answer.properties)


def test_a_missing_required_input_is_refused(aws: StandIn) -> None:
    assert refusals(aws, BLOCK, {"blockPublicAcls": True}) == ["bucket: is required and missing"]


def test_an_unknown_input_is_refused_with_the_nearest_spelling(aws: StandIn) -> None:
    (reason,) = refusals(aws, BUCKET, {"forceDestory": True})

    assert reason == "forceDestory: is no input here; did you mean forceDestroy?"


def test_an_input_is_checked_at_every_depth(aws: StandIn) -> None:
    default = {"sseAlgorithms": "aws:kms"}
    rules = [{"applyServerSideEncryptionByDefault": default}]
    reasons = refusals(aws, ENCRYPTION, {"bucket": "b", "rules": rules})
    path = "rules[0].applyServerSideEncryptionByDefault."

    assert reasons == [
        f"{path}sseAlgorithm: is required and missing",
        f"{path}sseAlgorithms: is no input here; did you mean sseAlgorithm?",
    ]


def test_what_is_not_known_yet_is_let_through(aws: StandIn) -> None:
    assert not refusals(aws, ENCRYPTION, {"bucket": UNKNOWN, "rules": UNKNOWN})
    assert not refusals(aws, ENCRYPTION, {"bucket": UNKNOWN, "rules": [UNKNOWN]})


def test_a_type_that_the_sdk_lacks_is_refused(aws: StandIn) -> None:
    assert refusals(aws, "aws:s3/buckle:Buckle", {}) == [
        "the SDK knows no type aws:s3/buckle:Buckle"
    ]


def test_a_provider_with_an_unknown_input_is_refused(aws: StandIn) -> None:
    news = struct({"region": "me-central-1", "regoin": "eu-west-1", "version": "7.0.0"})
    answer = aws.CheckConfig(provider_pb2.CheckRequest(news=news), None)

    assert [failure.reason for failure in answer.failures] == [
        "regoin: is no input here; did you mean region?"
    ]


def test_a_name_is_made_up_once_and_kept(aws: StandIn) -> None:
    trust = {"assumeRolePolicy": "{}"}
    first = json_format.MessageToDict(checked(aws, ROLE, trust).inputs)
    second = json_format.MessageToDict(checked(aws, ROLE, trust, first | {"path": "/x/"}).inputs)

    assert first["name"].startswith("thing-")
    assert second["name"] == first["name"]


def test_arns_carry_the_account_and_region_of_the_provider(aws: StandIn) -> None:
    identifier, key = created(aws, "aws:kms/key:Key", {})

    assert key["arn"] == f"arn:aws:kms:me-central-1:123456789012:key/{identifier}"
    assert key["keyId"] == identifier
    assert created(aws, ROLE, {"name": "node"})[1]["arn"] == "arn:aws:iam::123456789012:role/node"


def test_a_resources_own_region_goes_before_that_of_the_provider(aws: StandIn) -> None:
    _, queue = created(aws, "aws:sqs/queue:Queue", {"name": "q", "region": "me-south-1"})

    assert queue["region"] == "me-south-1"
    assert queue["arn"].startswith("arn:aws:sqs:me-south-1:")


def test_default_tags_are_joined_with_those_of_the_resource(aws: StandIn) -> None:
    _, bucket = created(aws, BUCKET, {"bucket": "b", "tags": {"owner": "them"}})

    assert bucket["tagsAll"] == {"owner": "them", "environment": "dev"}


def test_computed_outputs_are_unknown_at_the_preview_of_a_creation(aws: StandIn) -> None:
    identifier, key = created(aws, "aws:kms/key:Key", {"description": "d"}, preview=True)

    assert identifier == ""
    assert (key["arn"], key["description"]) == (UNKNOWN, "d")


@pytest.mark.parametrize(
    ("token", "old", "new", "replaced"),
    [
        (BUCKET, {"bucket": "a"}, {"bucket": "b"}, ["bucket"]),
        (BUCKET, {"bucket": "a"}, {"bucket": "a", "forceDestroy": True}, []),
        (ROLE, {"name": "a"}, {"name": "b"}, ["name"]),
        ("aws:kms/key:Key", {"region": "me-central-1"}, {"region": "me-south-1"}, ["region"]),
    ],
)
def test_another_name_or_region_makes_another_resource(
    aws: StandIn, token: str, old: dict[str, Any], new: dict[str, Any], replaced: list[str]
) -> None:
    answer = aws.Diff(
        provider_pb2.DiffRequest(urn=urn(token), old_inputs=struct(old), news=struct(new)), None
    )

    assert answer.changes == provider_pb2.DiffResponse.DIFF_SOME
    assert list(answer.replaces) == replaced


def test_an_update_keeps_what_the_cloud_computed(aws: StandIn) -> None:
    _, key = created(aws, "aws:kms/key:Key", {"description": "old"})
    answer = aws.Update(
        provider_pb2.UpdateRequest(
            urn=urn("aws:kms/key:Key"), olds=struct(key), news=struct({"description": "new"})
        ),
        None,
    )
    after = json_format.MessageToDict(answer.properties)

    assert (after["arn"], after["description"]) == (key["arn"], "new")


NAMESPACE = "kubernetes:core/v1:Namespace"


def test_a_renamed_object_is_another_object(kubernetes: StandIn) -> None:
    def diff(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        answer = kubernetes.Diff(
            provider_pb2.DiffRequest(
                urn=urn(NAMESPACE),
                old_inputs=struct({"metadata": old}),
                news=struct({"metadata": new}),
            ),
            None,
        )
        return list(answer.replaces)

    assert diff({"name": "a"}, {"name": "b"}) == ["metadata.name"]
    assert diff({"name": "a", "namespace": "x"}, {"name": "a", "namespace": "y"}) == [
        "metadata.namespace"
    ]
    assert diff({"name": "a"}, {"name": "a", "labels": {"x": "y"}}) == []


def test_an_unknown_field_of_an_object_is_refused(kubernetes: StandIn) -> None:
    assert refusals(kubernetes, NAMESPACE, {"metadata": {"name": "a", "lables": {}}}) == [
        "metadata.lables: is no input here; did you mean labels?"
    ]


def test_an_object_is_known_by_namespace_and_name(kubernetes: StandIn) -> None:
    metadata = {"name": "team", "namespace": "credit"}
    identifier, quota = created(
        kubernetes, "kubernetes:core/v1:ResourceQuota", {"metadata": metadata}
    )

    assert identifier == "credit/team"
    assert quota["metadata"]["uid"]
