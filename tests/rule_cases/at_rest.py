"""Cases of `policies/encryption/at_rest.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import KEY_ARN, Cases, resource

NAME = "BucketServerSideEncryptionConfiguration"
SETTING = f"aws:s3/b{NAME[1:]}:{NAME}"


def rule(algorithm: Any = "aws:kms", **more: Any) -> dict[str, Any]:
    default = {"sseAlgorithm": algorithm, "kmsMasterKeyId": KEY_ARN}
    return {"applyServerSideEncryptionByDefault": default, **more}


def setting(*rules: Any, kind: str = SETTING) -> list[Resource]:
    return [resource(kind, "setting", {"bucket": "store", "rules": list(rules)})]


def inline(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "store", properties)]


CASES = (
    Cases(
        rule="s3-bucket-key-is-enabled",
        baseline=setting(rule(bucketKeyEnabled=True)),
        fails={
            "nothing said": setting(rule()),
            "off": setting(rule(bucketKeyEnabled=False)),
            "the second": setting(rule(bucketKeyEnabled=True), rule()),
            "by its older name": setting(rule(), kind=f"aws:s3/b{NAME[1:]}V2:{NAME}V2"),
            "inside the bucket": inline(
                "aws:s3/bucket:Bucket", serverSideEncryptionConfiguration={"rule": rule()}
            ),
            "inside one of before": inline(
                "aws:s3/bucketV2:BucketV2",
                serverSideEncryptionConfigurations=[{"rules": [rule()]}],
            ),
        },
        passes={
            "no KMS": setting(rule("AES256")),
            "two layers have no bucket key": setting(rule("aws:kms:dsse")),
        },
        pending={
            "whether": setting(rule(bucketKeyEnabled=UNKNOWN)),
            "algorithm": setting(rule(UNKNOWN)),
            "all": [resource(SETTING, "setting", {"rules": UNKNOWN})],
        },
    ),
)
