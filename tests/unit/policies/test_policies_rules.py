"""The rules of the packs `encryption` and `hardening`.

Each has a compliant baseline that passes, mutations of it that fail, and unknowns that are pending.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rule_cases import BY_NAME, KEY_ARN, PROVIDER, Change, mutated, outcome, resource, run

from policies.common.resources import ABSENT, UNKNOWN, Resource
from policies.common.rule import Finding, Parameters, Rule
from policies.packs import PACKS

ARN = KEY_ARN

TEMPLATE = {
    "blockDeviceMappings": [{"ebs": {"encrypted": "true", "kmsKeyId": ARN}}],
    "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
}
NODE_CLASS = {
    "spec": {
        "blockDeviceMappings": [{"ebs": {"encrypted": True, "kmsKeyID": ARN}}],
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
    }
}
INSTANCE = {
    "rootBlockDevice": {"encrypted": True, "kmsKeyId": ARN},
    "ebsBlockDevices": [{"encrypted": True, "kmsKeyId": ARN}],
}
DATABASE = {
    "storageEncrypted": True,
    "kmsKeyId": ARN,
    "performanceInsightsEnabled": True,
    "performanceInsightsKmsKeyId": ARN,
    "manageMasterUserPassword": True,
    "masterUserSecretKmsKeyId": ARN,
    "publiclyAccessible": False,
}
CLUSTER = {
    "encryptionConfig": {"resources": ["secrets"], "provider": {"keyArn": ARN}},
    "vpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False},
}
KEY = {"enableKeyRotation": True}
GROUP = {"ingress": [{"protocol": "tcp", "fromPort": 443, "cidrBlocks": ["10.0.0.0/16"]}]}
GROUP_RULE = {"type": "ingress", "protocol": "tcp", "cidrBlocks": ["10.0.0.0/16"]}
INGRESS = {"ipProtocol": "tcp", "cidrIpv4": "10.0.0.0/16"}
STREAM = {"brokerNodeGroupInfo": {"connectivityInfo": {"publicAccess": {"type": "DISABLED"}}}}

KEY_TYPE = "aws:kms/key:Key"
VOLUME = "aws:ebs/volume:Volume"
TEMPLATE_TYPE = "aws:ec2/launchTemplate:LaunchTemplate"
INSTANCE_TYPE = "aws:ec2/instance:Instance"
NODE_CLASS_TYPE = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
DATABASE_TYPE = "aws:rds/instance:Instance"
CLUSTER_TYPE = "aws:eks/cluster:Cluster"
GROUP_TYPE = "aws:ec2/securityGroup:SecurityGroup"
GROUP_RULE_TYPE = "aws:ec2/securityGroupRule:SecurityGroupRule"
INGRESS_TYPE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"

EBS = ("blockDeviceMappings", 0, "ebs")
SPEC = ("spec", *EBS)
CASES: list[tuple[str, str, dict[str, Any], list[tuple[Change, str]]]] = [
    (
        "kms-key-rotates",
        KEY_TYPE,
        KEY,
        [
            ((("enableKeyRotation",), ABSENT), "failed"),
            ((("enableKeyRotation",), False), "failed"),
            ((("enableKeyRotation",), UNKNOWN), "pending"),
            ((("rotationPeriodInDays",), 365), "passed"),
            ((("rotationPeriodInDays",), 366), "failed"),
            ((("rotationPeriodInDays",), UNKNOWN), "pending"),
        ],
    ),
    # keys that KMS cannot rotate
    ("kms-key-rotates", KEY_TYPE, {"keyUsage": "SIGN_VERIFY"}, []),
    ("kms-key-rotates", KEY_TYPE, {"customerMasterKeySpec": "RSA_4096"}, []),
    ("kms-key-rotates", KEY_TYPE, {"customKeyStoreId": "cks-1"}, []),
    (
        "disk-uses-customer-key",
        TEMPLATE_TYPE,
        TEMPLATE,
        [
            (((*EBS, "encrypted"), "false"), "failed"),
            (((*EBS, "encrypted"), ABSENT), "failed"),
            (((*EBS, "kmsKeyId"), ABSENT), "failed"),
            (((*EBS, "kmsKeyId"), "alias/aws/ebs"), "failed"),
            (((*EBS, "kmsKeyId"), UNKNOWN), "pending"),
            ((("blockDeviceMappings",), ABSENT), "failed"),
            ((("blockDeviceMappings",), [{"noDevice": ""}]), "failed"),
            ((("blockDeviceMappings",), UNKNOWN), "pending"),
        ],
    ),
    (
        "disk-uses-customer-key",
        NODE_CLASS_TYPE,
        NODE_CLASS,
        [
            (((*SPEC, "kmsKeyID"), ABSENT), "failed"),
            (((*SPEC, "encrypted"), False), "failed"),
            (((*SPEC[:2],), ABSENT), "failed"),
        ],
    ),
    (
        "disk-uses-customer-key",
        INSTANCE_TYPE,
        INSTANCE,
        [
            ((("rootBlockDevice",), ABSENT), "failed"),
            ((("ebsBlockDevices", 0, "encrypted"), False), "failed"),
            ((("ebsBlockDevices",), ABSENT), "passed"),
        ],
    ),
    (
        "disk-uses-customer-key",
        VOLUME,
        {"encrypted": True, "kmsKeyId": ARN},
        [((("encrypted",), ABSENT), "failed"), ((("kmsKeyId",), ABSENT), "failed")],
    ),
    (
        "disk-uses-customer-key",
        "aws:ebs/encryptionByDefault:EncryptionByDefault",
        {"enabled": True},
        [((("enabled",), ABSENT), "passed"), ((("enabled",), False), "failed")],
    ),
    (
        "rds-storage-uses-customer-key",
        DATABASE_TYPE,
        DATABASE,
        [
            ((("storageEncrypted",), False), "failed"),
            ((("storageEncrypted",), ABSENT), "failed"),
            ((("kmsKeyId",), ABSENT), "failed"),
            ((("kmsKeyId",), UNKNOWN), "pending"),
            ((("performanceInsightsKmsKeyId",), ABSENT), "failed"),
            ((("masterUserSecretKmsKeyId",), ABSENT), "failed"),
        ],
    ),
    # a replica is encrypted as its source is
    ("rds-storage-uses-customer-key", DATABASE_TYPE, {"replicateSourceDb": "db"}, []),
    (
        "rds-storage-uses-customer-key",
        "aws:rds/clusterInstance:ClusterInstance",
        {"performanceInsightsEnabled": True, "performanceInsightsKmsKeyId": ARN},
        [((("performanceInsightsKmsKeyId",), ABSENT), "failed")],
    ),
    (
        "eks-secrets-use-customer-key",
        CLUSTER_TYPE,
        CLUSTER,
        [
            ((("encryptionConfig",), ABSENT), "failed"),
            ((("encryptionConfig", "resources"), []), "failed"),
            ((("encryptionConfig", "resources"), UNKNOWN), "pending"),
            ((("encryptionConfig", "provider", "keyArn"), ABSENT), "failed"),
            ((("encryptionConfig", "provider", "keyArn"), UNKNOWN), "pending"),
        ],
    ),
    (
        "eks-endpoint-is-private",
        CLUSTER_TYPE,
        CLUSTER,
        [
            ((("vpcConfig", "endpointPublicAccess"), ABSENT), "failed"),
            ((("vpcConfig", "endpointPublicAccess"), True), "failed"),
            ((("vpcConfig", "endpointPrivateAccess"), ABSENT), "failed"),
            ((("vpcConfig", "endpointPrivateAccess"), UNKNOWN), "pending"),
            ((("vpcConfig",), UNKNOWN), "pending"),
        ],
    ),
    (
        "instance-metadata-is-v2-only",
        TEMPLATE_TYPE,
        TEMPLATE,
        [
            ((("metadataOptions",), ABSENT), "failed"),
            ((("metadataOptions", "httpTokens"), "optional"), "failed"),
            ((("metadataOptions", "httpPutResponseHopLimit"), 2), "failed"),
            ((("metadataOptions", "httpPutResponseHopLimit"), ABSENT), "failed"),
            ((("metadataOptions",), UNKNOWN), "pending"),
        ],
    ),
    (
        "instance-metadata-is-v2-only",
        NODE_CLASS_TYPE,
        NODE_CLASS,
        [((("spec", "metadataOptions"), ABSENT), "failed")],
    ),
    (
        "security-group-has-no-open-ingress",
        GROUP_TYPE,
        GROUP,
        [
            ((("ingress", 0, "cidrBlocks"), ["0.0.0.0/0"]), "failed"),
            ((("ingress", 0, "cidrBlocks"), ["10.0.0.0/16", "8.0.0.0/8"]), "failed"),
            ((("ingress", 0, "cidrBlocks"), ["203.0.113.0/24"]), "passed"),
            ((("ingress", 0, "cidrBlocks"), ["nonsense"]), "failed"),
            ((("ingress", 0, "ipv6CidrBlocks"), ["::/0"]), "failed"),
            ((("ingress", 0, "protocol"), "-1"), "failed"),
            ((("ingress", 0, "cidrBlocks"), UNKNOWN), "pending"),
            ((("ingress",), ABSENT), "passed"),
            ((("ingress",), UNKNOWN), "pending"),
        ],
    ),
    # all ports, but to a security group
    (
        "security-group-has-no-open-ingress",
        INGRESS_TYPE,
        {"ipProtocol": "-1", "referencedSecurityGroupId": "sg-1"},
        [],
    ),
    (
        "security-group-has-no-open-ingress",
        INGRESS_TYPE,
        INGRESS,
        [
            ((("cidrIpv4",), "0.0.0.0/0"), "failed"),
            ((("cidrIpv6",), "::/0"), "failed"),
            ((("ipProtocol",), "-1"), "failed"),
            ((("cidrIpv4",), UNKNOWN), "pending"),
        ],
    ),
    (
        "security-group-has-no-open-ingress",
        GROUP_RULE_TYPE,
        GROUP_RULE,
        [((("cidrBlocks",), ["0.0.0.0/0"]), "failed"), ((("type",), "egress"), "passed")],
    ),
    (
        "database-is-not-public",
        DATABASE_TYPE,
        DATABASE,
        [
            ((("publiclyAccessible",), True), "failed"),
            ((("publiclyAccessible",), ABSENT), "passed"),
            ((("publiclyAccessible",), UNKNOWN), "pending"),
        ],
    ),
    (
        "database-is-not-public",
        "aws:msk/cluster:Cluster",
        STREAM,
        [
            (
                (
                    ("brokerNodeGroupInfo", "connectivityInfo", "publicAccess", "type"),
                    "SERVICE_PROVIDED_EIPS",
                ),
                "failed",
            )
        ],
    ),
]


@pytest.mark.parametrize(
    ("rule", "kind", "properties"),
    [(rule, kind, properties) for rule, kind, properties, _ in CASES],
    ids=lambda value: value.rpartition(":")[2] if isinstance(value, str) else "",
)
def test_what_keeps_a_rule_passes(rule: str, kind: str, properties: dict[str, Any]) -> None:
    assert outcome(rule, resource(kind, "one", properties, provider=PROVIDER)) == "passed"


@pytest.mark.parametrize(
    ("rule", "kind", "properties", "change", "expected"),
    [
        (rule, kind, properties, change, expected)
        for rule, kind, properties, changes in CASES
        for change, expected in changes
    ],
    ids=lambda value: value.rpartition(":")[2] if isinstance(value, str) else "",
)
def test_one_change_of_it_decides(
    rule: str, kind: str, properties: dict[str, Any], change: Change, expected: str
) -> None:
    one = resource(kind, "one", mutated(properties, change), provider=PROVIDER)

    assert outcome(rule, one) == expected


def test_a_disk_without_a_key_cannot_be_declared_by_a_launch_configuration() -> None:
    kind = "aws:ec2/launchConfiguration:LaunchConfiguration"

    assert outcome("disk-uses-customer-key", resource(kind, "one", {})) == "failed"


def test_a_public_endpoint_is_let_through_to_the_ranges_that_an_organisation_names() -> None:
    public = {"endpointPublicAccess": True, "publicAccessCidrs": ["203.0.113.0/28"]}
    cluster = resource(
        CLUSTER_TYPE, "one", {"vpcConfig": {"endpointPrivateAccess": True, **public}}
    )
    name = "eks-endpoint-is-private"

    assert outcome(name, cluster) == "failed"
    assert outcome(name, cluster, publicEndpointCidrs=["203.0.113.0/24"]) == "passed"
    assert outcome(name, cluster, publicEndpointCidrs=["198.51.100.0/24"]) == "failed"


@pytest.mark.parametrize(
    ("provider", "expected"),
    [("home", "passed"), ("default", "failed"), ("default_7_51_1", "failed"), (None, "failed")],
)
def test_a_resource_is_made_through_a_provider_of_the_program(
    provider: str | None, expected: str
) -> None:
    made_by = resource("pulumi:providers:aws", provider, {}) if provider else None
    queue = resource("aws:sqs/queue:Queue", "queue", {}, provider=made_by)

    assert outcome("aws-resource-uses-explicit-provider", queue) == expected


# --- buckets and what belongs to them -------------------------------------------------------------

STORE = resource("aws:s3/bucket:Bucket", "store", {"bucket": "store-1"})
SWITCHES = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
BLOCK_TYPE = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
PLAINTEXT = {
    "Sid": "DenyWithoutTls",
    "Effect": "Deny",
    "Principal": {"AWS": ["*"]},
    "Action": ["s3:*"],
    "Resource": ["arn:aws:s3:::store-1", "arn:aws:s3:::store-1/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def block(bucket: Any = "store-1", references: Any = (), **switches: Any) -> Resource:
    on = dict.fromkeys(SWITCHES, True)
    return resource(
        BLOCK_TYPE, "block", {"bucket": bucket, **on, **switches}, references=dict(references)
    )


def policy(bucket: Any = "store-1", references: Any = (), **change: Any) -> Resource:
    text = json.dumps({"Version": "2012-10-17", "Statement": [{**PLAINTEXT, **change}]})
    return policy_of(text, bucket, references)


def policy_of(text: Any, bucket: Any = "store-1", references: Any = ()) -> Resource:
    properties = {"bucket": bucket, "policy": text}
    kind = "aws:s3/bucketPolicy:BucketPolicy"
    return resource(kind, "policy", properties, references=dict(references))


BY_REFERENCE = {"bucket": (STORE.urn,)}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([STORE, block()], "passed"),
        ([STORE, block(UNKNOWN, BY_REFERENCE)], "passed"),
        ([STORE], "failed"),
        ([STORE, block("another")], "failed"),
        *(([STORE, block(**{switch: False})], "failed") for switch in SWITCHES),
        ([STORE, block(blockPublicAcls=None)], "failed"),
        ([STORE, block(UNKNOWN)], "pending"),
        ([STORE, block(blockPublicAcls=UNKNOWN)], "pending"),
    ],
)
def test_no_bucket_can_be_made_public(resources: list[Resource], expected: str) -> None:
    assert outcome("s3-bucket-blocks-public-access", *resources) == expected


def test_the_block_of_an_account_is_whole() -> None:
    kind = "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock"
    whole = dict.fromkeys(SWITCHES, True)

    assert outcome("s3-bucket-blocks-public-access", resource(kind, "all", whole)) == "passed"
    half = whole | {"blockPublicPolicy": False}
    assert outcome("s3-bucket-blocks-public-access", resource(kind, "all", half)) == "failed"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([STORE, policy()], "passed"),
        ([STORE, policy(UNKNOWN, BY_REFERENCE)], "passed"),
        ([STORE, policy(Principal="*", Action="s3:*")], "passed"),
        ([STORE, policy(Resource="*")], "passed"),
        ([STORE], "failed"),
        ([STORE, policy("another")], "failed"),
        ([STORE, policy(Effect="Allow")], "failed"),
        ([STORE, policy(Principal={"AWS": ["arn:aws:iam::1:role/a"]})], "failed"),
        ([STORE, policy(Action=["s3:GetObject"])], "failed"),
        ([STORE, policy(Resource=["arn:aws:s3:::store-1/*"])], "failed"),
        ([STORE, policy(Condition={})], "failed"),
        ([STORE, policy(Condition={"Bool": {"aws:SecureTransport": "true"}})], "failed"),
        # narrowed: a request from elsewhere may come in plain text
        (
            [
                STORE,
                policy(
                    Condition=PLAINTEXT["Condition"]  # type: ignore[operator]
                    | {"StringEquals": {"aws:SourceVpc": "vpc-1"}}
                ),
            ],
            "failed",
        ),
        ([STORE, policy_of("{")], "failed"),
        ([STORE, policy_of(UNKNOWN)], "pending"),
        ([STORE, policy(UNKNOWN)], "pending"),
    ],
)
def test_every_bucket_refuses_plaintext(resources: list[Resource], expected: str) -> None:
    assert outcome("s3-bucket-policy-denies-plaintext", *resources) == expected


def test_the_remedy_of_a_bucket_key_sets_it_where_kms_encrypts_and_nowhere_else() -> None:
    kms, aes = (
        {"applyServerSideEncryptionByDefault": {"sseAlgorithm": algorithm}}
        for algorithm in ("aws:kms", "AES256")
    )
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    setting = resource(kind, "setting", {"rules": [aes, kms, {**kms, "bucketKeyEnabled": True}]})
    remedy = BY_NAME["s3-bucket-key-is-enabled"].remedy

    assert remedy is not None
    assert remedy(setting, Parameters()) == {("rules", 1, "bucketKeyEnabled"): True}


# --- the packs ------------------------------------------------------------------------------------


def test_every_rule_belongs_to_one_pack() -> None:
    names = [rule.name for pack in PACKS for rule in pack.RULES]

    assert len(names) == len(set(names))
    assert [pack.NAME for pack in PACKS] == [
        "falaj-residency",
        "falaj-encryption",
        "falaj-hardening",
    ]


def broken(_: Any, __: Any) -> Iterator[Finding]:
    raise KeyError("nothing")


@pytest.mark.parametrize(
    "judging",
    [{"each": broken}, {"together": broken}, {"each": broken, "applies_to": lambda _: 1 / 0}],
    ids=["each", "together", "applies to"],
)
def test_a_rule_that_breaks_is_a_violation_that_names_it_and_the_others_still_run(
    judging: dict[str, Callable[..., Any]],
) -> None:
    faulty = Rule(
        name="kms-key-rotates",
        description="Breaks.",
        mend="mend it.",
        parameters=Parameters,
        **({"applies_to": lambda one: one.type == KEY_TYPE} | judging),  # type: ignore[arg-type]
    )
    sound = BY_NAME["kms-key-is-single-region"]
    results = run([faulty, sound], resource(KEY_TYPE, "key", KEY))

    assert [result.outcome for result in results] == ["failed", "passed"]
    (finding,) = results[0].findings
    assert "rule kms-key-rotates cannot be judged, the rule is broken" in finding.sentence
