"""Cases of `policies/encryption/in_transit.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, resource

STORE = resource("aws:s3/bucket:Bucket", "store", {"bucket": "store-1"})
NEW = resource("aws:s3/bucket:Bucket", "store", {"bucket": UNKNOWN})
BEFORE = resource("aws:s3/bucketV2:BucketV2", "store", {"bucket": "store-1"})
ARN = "arn:aws:s3:::store-1"
DENIAL = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": [ARN, f"{ARN}/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
SECURE = DENIAL["Condition"]


def written(**change: Any) -> str:
    statement = {key: one for key, one in {**DENIAL, **change}.items() if one is not ABSENT}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def policy(bucket: Any = "store-1", references: Any = (), **change: Any) -> Resource:
    properties = {"bucket": bucket, "policy": written(**change)}
    kind = "aws:s3/bucketPolicy:BucketPolicy"
    return resource(kind, "policy", properties, references=dict(references))


def raw(text: Any) -> Resource:
    properties = {"bucket": "store-1", "policy": text}
    return resource("aws:s3/bucketPolicy:BucketPolicy", "policy", properties)


CASES = (
    Cases(
        rule="s3-bucket-policy-denies-plaintext",
        baseline=[STORE, policy()],
        fails={
            "none": [STORE],
            "none, of before": [BEFORE],
            "of another bucket": [STORE, policy("store-2")],
            "names another bucket": [
                STORE,
                policy(Resource=["arn:aws:s3:::store-2", "arn:aws:s3:::store-2/*"]),
            ],
            "allows": [STORE, policy(Effect="Allow")],
            "objects alone": [STORE, policy(Resource=f"{ARN}/*")],
            "the bucket alone": [STORE, policy(Resource=ARN)],
            "reading alone": [STORE, policy(Action=["s3:Get*"])],
            "all but some": [
                STORE,
                policy(Principal=ABSENT, NotPrincipal={"AWS": "arn:aws:iam::1:role/a"}),
            ],
            "all actions but": [STORE, policy(Action=ABSENT, NotAction="s3:GetObject")],
            "all resources but": [STORE, policy(Resource=ABSENT, NotResource=f"{ARN}/*")],
            "services alone": [STORE, policy(Principal={"Service": "*"})],
            "odd case": [STORE, raw(written().replace("Statement", "statement"))],
            "odd case of an element": [STORE, raw(written().replace("Effect", "effect"))],
            "no JSON": [STORE, raw("{")],
            "another operator": [
                STORE,
                policy(Condition={"StringNotEquals": {"aws:SecureTransport": "false"}}),
            ],
            "of none of the values": [
                STORE,
                policy(Condition={"ForAllValues:Bool": {"aws:SecureTransport": "false"}}),
            ],
            "narrowed": [
                STORE,
                policy(Condition={**SECURE, "StringEquals": {"aws:SourceVpc": "vpc-1"}}),  # type: ignore[dict-item]
            ],
        },
        passes={
            "odd case of the condition's key": [
                STORE,
                policy(Condition={"Bool": {"AWS:securetransport": ["false"]}}),
            ],
            "no text": [STORE, policy(Condition={"Bool": {"aws:SecureTransport": False}})],
            "also without the key": [
                STORE,
                policy(Condition={"BoolIfExists": {"aws:SecureTransport": "false"}}),
            ],
            "everything": [STORE, policy(Action="*", Resource="*", Principal={"AWS": ["*"]})],
            "a pattern of names": [STORE, policy(Resource="arn:aws:s3:::store-*")],
            "inside the bucket": [
                resource(STORE.type, "store", {"bucket": "store-1", "policy": written()})
            ],
            "an object": [STORE, raw({"Statement": [DENIAL]})],
            "at preview": [NEW, policy(UNKNOWN, {"bucket": (NEW.urn,)})],
            "of before": [BEFORE, policy()],
        },
        pending={
            "text": [STORE, raw(UNKNOWN)],
            "whose": [STORE, policy(UNKNOWN)],
        },
    ),
)
