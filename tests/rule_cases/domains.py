"""Cases of `policies/encryption/domains.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import KEY_ARN, Cases, resource
from rule_cases.values import nested

KEY, DATABASE = "aws:kms/key:Key", "aws:rds/instance:Instance"
GROUP, BUCKET = "aws:cloudwatch/logGroup:LogGroup", "aws:s3/bucket:Bucket"


def key(domain: Any = "logs", arn: Any = KEY_ARN, kind: str = KEY) -> Resource:
    tags = {} if domain is ABSENT else {"data-domain": domain}
    return resource(kind, "key", {"arn": arn, "tags": tags})


NEW = key(arn=UNKNOWN)
REFERS = dict.fromkeys(("kmsKeyId", "targetKeyId"), (NEW.urn,))
ALIAS = resource("aws:kms/alias:Alias", "alias", {"name": "alias/logs", "targetKeyId": KEY_ARN})
NEW_ALIAS = resource(
    "aws:kms/alias:Alias", "alias", {"name": UNKNOWN, "targetKeyId": UNKNOWN}, references=REFERS
)
USERS = (
    ("aws:backup/vault:Vault", "kmsKeyArn"),
    ("aws:ecr/repository:Repository", "encryptionConfigurations*.kmsKey"),
    ("aws:eks/cluster:Cluster", "encryptionConfig.provider.keyArn"),
    ("aws:rds/cluster:Cluster", "kmsKeyId"),
    (DATABASE, "kmsKeyId"),
    (DATABASE, "masterUserSecretKmsKeyId"),
    ("aws:secretsmanager/secret:Secret", "kmsKeyId"),
)


def user(kind: str, named: Any = KEY_ARN, path: str = "kmsKeyId", **more: Any) -> Resource:
    properties = {**nested(path, named), "tags": more.pop("tags", {})}
    return resource(kind, "user", properties, **more)


LOG = user(GROUP)


def bucket(purpose: str = "", kind: str = BUCKET) -> list[Resource]:
    """One under the key."""
    tags = {"purpose": purpose} if purpose else {}
    rule = nested("applyServerSideEncryptionByDefault.kmsMasterKeyId", KEY_ARN)
    setting = "aws:s3/bucketServerSideEncryptionConfiguration:"
    setting += "BucketServerSideEncryptionConfiguration"
    return [
        resource(kind, "store", {"bucket": "store-1", "tags": tags}),
        resource(setting, "under", {"bucket": "store-1", "rules": [rule]}),
    ]


CASES = (
    Cases(
        rule="kms-key-serves-one-data-domain",
        baseline=[key(), LOG],
        fails={
            "no tag": [key(ABSENT)],
            "another word": [key("logging")],
            "in another case": [key("Logs")],
            "a replica": [key(ABSENT, kind="aws:kms/replicaKey:ReplicaKey")],
            "external": [key(ABSENT, kind="aws:kms/externalKey:ExternalKey")],
            **{
                f"{kind} {path}, and logs": [key(), LOG, user(kind, path=path)]
                for kind, path in USERS
            },
            "a bucket, and logs": [key(), LOG, *bucket()],
            "a bucket of before, and logs": [key(), LOG, *bucket(kind="aws:s3/bucketV2:BucketV2")],
            "by an alias": [key(), ALIAS, LOG, user(DATABASE, "alias/logs")],
            "what it says itself": [key(), LOG, user(GROUP, tags={"data-domain": "team"})],
            "at preview": [
                NEW,
                user(GROUP, UNKNOWN, references=REFERS),
                user(DATABASE, UNKNOWN, references=REFERS),
            ],
            "at preview by an alias": [
                NEW,
                NEW_ALIAS,
                user(GROUP, UNKNOWN, references=REFERS),
                user(DATABASE, UNKNOWN, references={"kmsKeyId": (NEW_ALIAS.urn,)}),
            ],
        },
        passes={
            "no user": [key("team")],
            "logs in a bucket": [key(), LOG, *bucket("audit")],
            "a trail": [key(), LOG, user("aws:cloudtrail/trail:Trail")],
            "a user that says it": [key(), LOG, user(DATABASE, tags={"data-domain": "logs"})],
            "its secret is another's": [
                key(),
                LOG,
                user(DATABASE, KEY_ARN.replace("key/1", "key/2"), "masterUserSecretKmsKeyId"),
            ],
            "a key of another stack": [key(), LOG, user(DATABASE, "arn:aws:kms:::key/2")],
            "at preview": [NEW, user(GROUP, UNKNOWN, references=REFERS)],
        },
        pending={
            "the tag": [key(UNKNOWN)],
            "the user's tags": [key(), LOG, user(DATABASE, tags=UNKNOWN)],
            "which key": [key(), LOG, user(DATABASE, UNKNOWN, references={"kmsKeyId": ("urn:a",)})],
        },
    ),
)
