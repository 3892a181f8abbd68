"""The stand-in for AWS refuses what the services would: values, policy documents."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import aws_documents
import aws_shapes
import pytest
from aws_types import Aws
from standin import UNKNOWN

from stacks.environment import ROOT

AWS = Aws()
KEY = "aws:kms/key:Key"
ROLE = "aws:iam/role:Role"
BUCKET = "aws:s3/bucket:Bucket"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Nodes",
            "Effect": "Allow",
            "Action": ["sts:AssumeRole"],
            "Principal": {"Service": ["ec2.amazonaws.com"]},
        }
    ],
}
PLAINTEXT = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "DenyWithoutTls",
            "Effect": "Deny",
            "Action": ["s3:*"],
            "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
            "Principal": {"AWS": ["*"]},
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ],
}


def refused(token: str, **inputs: Any) -> list[str]:
    return [f"{path} {reason}" for path, reason in AWS.further_problems(token, inputs)]


@pytest.mark.parametrize(
    ("token", "good", "bad", "message"),
    [
        (KEY, {"keyUsage": "ENCRYPT_DECRYPT"}, {"keyUsage": "ENCRYPT"}, "keyUsage is 'ENCRYPT'"),
        (KEY, {"deletionWindowInDays": 30}, {"deletionWindowInDays": 31}, "7 to 30"),
        (ROLE, {"name": "a" * 64}, {"name": "a" * 65}, "name is 65 characters long"),
        (ROLE, {"name": "a-b_c@d"}, {"name": "a b"}, "takes what matches"),
        (ROLE, {"maxSessionDuration": 3600}, {"maxSessionDuration": 60}, "3600 to 43200"),
        (ROLE, {"tags": {"a": "b"}}, {"tags": {"k" * 129: "b"}}, "129 characters"),
        (BUCKET, {"bucket": "falaj-dev-1"}, {"bucket": "Falaj"}, "bucket is 'Falaj'"),
        (BUCKET, {"bucket": "b" * 63}, {"bucket": "b" * 64}, "64 characters"),
        (
            TEMPLATE,
            {"metadataOptions": {"httpTokens": "required"}},
            {"metadataOptions": {"httpTokens": "on"}},
            "metadataOptions.httpTokens is 'on'; the service takes optional, required",
        ),
        (
            ENCRYPTION,
            {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}]},
            {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "KMS"}}]},
            "rules[0].applyServerSideEncryptionByDefault.sseAlgorithm is 'KMS'",
        ),
        (
            "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
            {"rule": {"objectOwnership": "BucketOwnerEnforced"}},
            {"rule": {"objectOwnership": "Enforced"}},
            "rule.objectOwnership is 'Enforced'",
        ),
        (
            "aws:eks/nodeGroup:NodeGroup",
            {"amiType": "AL2023_x86_64_NVIDIA"},
            {"amiType": "AL2023_NVIDIA"},
            "amiType is 'AL2023_NVIDIA'",
        ),
        (
            "aws:cloudwatch/logGroup:LogGroup",
            {"retentionInDays": 365},
            {"retentionInDays": 366},
            "retentionInDays is 366",
        ),
        (
            "aws:rds/instance:Instance",
            {"identifier": "falaj-dev"},
            {"identifier": "falaj--dev"},
            "identifier is 'falaj--dev'",
        ),
    ],
)
def test_a_value_that_the_service_does_not_take_is_refused(
    token: str, good: dict[str, Any], bad: dict[str, Any], message: str
) -> None:
    assert refused(token, **good) == []
    assert message in " ".join(refused(token, **bad))


def test_what_is_not_known_yet_is_not_judged() -> None:
    assert refused(ROLE, name=UNKNOWN, assumeRolePolicy=UNKNOWN, tags={"a": UNKNOWN}) == []


def test_what_is_kept_of_a_type_is_what_is_found_anew(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = AWS.classes(TEMPLATE)
    assert classes is not None
    monkeypatch.setattr(aws_shapes, "_CACHE", tmp_path / "kept")
    find = aws_shapes.constraints.__wrapped__
    first = find(TEMPLATE, classes[1])
    monkeypatch.setattr(aws_shapes, "_found", None)  # a second search would fail

    assert find(TEMPLATE, classes[1]) == first
    assert first["metadataOptions"]["members"]["httpTokens"]["enum"] == ["optional", "required"]


@pytest.mark.parametrize(
    ("token", "made_by"),
    [
        (KEY, "kms:CreateKey"),
        (ROLE, "iam:CreateRole"),
        (TEMPLATE, "ec2:CreateLaunchTemplate"),
        ("aws:eks/nodeGroup:NodeGroup", "eks:CreateNodegroup"),
        ("aws:rds/instance:Instance", "rds:CreateDBInstance"),
        ("aws:backup/vault:Vault", "backup:CreateBackupVault"),
        ("aws:cloudwatch/logGroup:LogGroup", "logs:CreateLogGroup"),
        ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "s3:PutPublicAccessBlock"),
        ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "ec2:Authorize"),
        ("aws:nothing/thing:Thing", None),
    ],
)
def test_a_type_belongs_to_the_operation_that_makes_it(token: str, made_by: str | None) -> None:
    found = aws_shapes.operation(token)

    assert found == made_by or (found or "").startswith(str(made_by))


def test_every_operation_that_is_named_exists() -> None:
    for token, made_by in aws_shapes._OPERATIONS.items():
        service, _, name = made_by.partition(":")
        assert AWS.classes(token) is not None, token
        assert name in aws_shapes._model(service).operation_names, made_by
    for token, limits in aws_shapes._ONLY_IN_WORDS.items():
        classes = AWS.classes(token)
        assert classes is not None, token
        assert limits.keys() <= aws_shapes.constraints(token, classes[1]).keys()


# --- policy documents -----------------------------------------------------------------------------


def document(original: dict[str, Any], **change: Any) -> str:
    (statement,) = original["Statement"]
    kept = {key: value for key, value in {**statement, **change}.items() if value is not None}
    return json.dumps(original | {"Statement": [kept]})


def test_documents_that_the_services_take_are_let_through() -> None:
    assert refused(ROLE, assumeRolePolicy=json.dumps(TRUST)) == []
    assert refused(BUCKET_POLICY, policy=json.dumps(PLAINTEXT)) == []
    # JSON that is no policy, in a property that need not hold one
    assert list(aws_documents.problems("aws:ssm/parameter:Parameter", {"value": "{}"})) == []


@pytest.mark.parametrize(
    ("token", "property_name", "text", "message"),
    [
        (BUCKET_POLICY, "policy", "{", "is no JSON"),
        (BUCKET_POLICY, "policy", "[]", "not an object"),
        (BUCKET_POLICY, "policy", '{"Version": "2012-10-17"}', "has no Statement"),
        (BUCKET_POLICY, "policy", json.dumps(PLAINTEXT | {"Version": "2012"}), "Version '2012'"),
        (BUCKET_POLICY, "policy", json.dumps(PLAINTEXT | {"Statment": []}), "key Statment"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Effect="deny"), "Effect 'deny'"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Action=None), "has no Action"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Action=["s3"]), "'s3', which is no action"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, NotAction=["s3:*"]), "both Action and"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Principal=None), "has no Principal"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Resource=["b"]), "neither an ARN nor *"),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Condition={"Boole": {}}), "operator Boole"),
        (
            BUCKET_POLICY,
            "policy",
            json.dumps(PLAINTEXT | {"Statement": PLAINTEXT["Statement"] * 2}),
            "two statements of the Sid DenyWithoutTls",
        ),
        (BUCKET_POLICY, "policy", document(PLAINTEXT, Sid="s" * 20480), "takes 20480"),
        (ROLE, "assumeRolePolicy", document(TRUST, Resource=["*"]), "has a Resource"),
        (ROLE, "assumeRolePolicy", document(TRUST, Sid="a" * 2048), "takes 2048"),
        ("aws:iam/rolePolicy:RolePolicy", "policy", json.dumps(PLAINTEXT), "has a Principal"),
        (
            "aws:iam/policy:Policy",
            "policy",
            document(PLAINTEXT, Principal=None, Sid="a-b"),
            "a Sid of more than letters and digits",
        ),
    ],
)
def test_a_document_that_a_service_would_refuse_is_refused(
    token: str, property_name: str, text: str, message: str
) -> None:
    assert message in " ".join(refused(token, **{property_name: text}))


MANY_AT_ONCE = """
import sys, threading
sys.path.append("tools/providers")
from kubernetes_types import Kubernetes
from standin import problems

types, failed = Kubernetes(), []
inputs = {"metadata": {"name": "one"}, "spec": {"template": {"metadata": {}, "spec": {}}}}

def check(kind):
    try:
        list(problems(types.classes("kubernetes:" + kind)[1], inputs))
    except Exception as error:
        failed.append(f"{kind}: {error!r}")

kinds = ("apps/v1:Deployment", "core/v1:Namespace", "batch/v1:CronJob", "core/v1:Secret")
threads = [threading.Thread(target=check, args=(kind,)) for kind in kinds * 4]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("\\n".join(failed) or 0)
sys.exit("\\n".join(failed))
"""


def test_the_first_checks_may_come_at_once() -> None:
    """As in an import: the engine asks for all that it imports side by side."""
    asked = subprocess.run(
        [sys.executable, "-c", MANY_AT_ONCE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
