"""Cases of `policies/encryption/keys.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, resource

KEY = "aws:kms/key:Key"


def key(**properties: Any) -> list[Resource]:
    return [resource(KEY, "key", properties)]


ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ADMINISTRATOR, USER = f"arn:aws:iam::{ACCOUNT}:role/keys", f"arn:aws:iam::{ACCOUNT}:role/app"
CALLER = {"StringEquals": {"kms:CallerAccount": ACCOUNT}}


def allow(principal: Any, *actions: str, **more: Any) -> dict[str, Any]:
    said = {"Effect": "Allow", "Principal": principal, "Action": list(actions), "Resource": "*"}
    return {key: one for key, one in {**said, **more}.items() if one is not ABSENT}


def written(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


ADMINISTERS = allow({"AWS": ROOT}, "kms:Describe*", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion")
USES = allow({"AWS": [USER]}, "kms:Decrypt", "kms:GenerateDataKey*")


def under(*statements: Any, kind: str = KEY) -> list[Resource]:
    return [resource(kind, "key", {"policy": written(*statements)})]


def separate(key: Any = "id-1", policy: Any = ABSENT, references: Any = ()) -> Resource:
    text = written(ADMINISTERS, USES) if policy is ABSENT else policy
    kind = "aws:kms/keyPolicy:KeyPolicy"
    return resource(kind, "policy", {"keyId": key, "policy": text}, references=dict(references))


SHORT = {"deletionWindowInDays": 7}
BARE = resource(KEY, "key", {"keyId": "id-1"})
NEW = resource(KEY, "key", {"keyId": UNKNOWN, "policy": UNKNOWN})

CASES = (
    Cases(
        rule="kms-key-rotates",
        baseline=key(enableKeyRotation=True),
        fails={
            "nothing said": key(),
            "off": key(enableKeyRotation=False),
            "null": key(enableKeyRotation=None),
            "every two years": key(enableKeyRotation=True, rotationPeriodInDays=730),
            "symmetric by name": key(customerMasterKeySpec="SYMMETRIC_DEFAULT"),
        },
        passes={
            "twice a year": key(enableKeyRotation=True, rotationPeriodInDays=180),
            "KMS cannot rotate a key that signs": key(keyUsage="SIGN_VERIFY"),
            "nor one of two halves": key(customerMasterKeySpec="RSA_4096"),
            "nor one in a store of the customer's": key(customKeyStoreId="cks-1"),
        },
        pending={
            "whether": key(enableKeyRotation=UNKNOWN),
            "how often": key(enableKeyRotation=True, rotationPeriodInDays=UNKNOWN),
            "what for": key(enableKeyRotation=True, keyUsage=UNKNOWN),
        },
    ),
    Cases(
        rule="kms-key-deletion-waits",
        baseline=key(deletionWindowInDays=30),
        fails={
            "a week": key(deletionWindowInDays=7),
            "locked out": key(bypassPolicyLockoutSafetyCheck=True),
            **{
                f"{kind}": [resource(f"aws:kms/{kind[0].lower()}{kind[1:]}:{kind}", "key", SHORT)]
                for kind in ("ExternalKey", "ReplicaKey", "ReplicaExternalKey")
            },
        },
        passes={"nothing said": key(), "said": key(bypassPolicyLockoutSafetyCheck=False)},
        pending={
            "days": key(deletionWindowInDays=UNKNOWN),
            "check": key(bypassPolicyLockoutSafetyCheck=UNKNOWN),
        },
    ),
    Cases(
        rule="kms-key-policy-names-principals",
        baseline=under(ADMINISTERS, USES),
        fails={
            "nothing said": key(),
            "no input": [resource(KEY, "key", {"policy": UNKNOWN})],
            "what AWS writes": under(allow({"AWS": ROOT}, "kms:*")),
            "an account uses": under(allow({"AWS": ACCOUNT}, "kms:Decrypt")),
            "all but": under(allow({"AWS": ROOT}, Action=ABSENT, NotAction="kms:Decrypt")),
            "everybody": under(allow("*", "kms:Decrypt")),
            "everybody in a list": under(allow({"AWS": ["*"]}, "kms:Decrypt")),
            "everybody but": under(
                allow(ABSENT, "kms:Decrypt", NotPrincipal={"AWS": USER}, Condition=CALLER)
            ),
            "narrowed by another key": under(
                allow("*", "kms:Decrypt", Condition={"StringEquals": {"kms:ViaService": "s3"}})
            ),
            "narrowed to all others": under(
                allow("*", "kms:Decrypt", Condition={"StringNotEquals": CALLER["StringEquals"]})
            ),
            "narrowed if there": under(
                allow(
                    "*", "kms:Decrypt", Condition={"StringEqualsIfExists": CALLER["StringEquals"]}
                )
            ),
            "narrowed for none": under(
                allow(
                    "*",
                    "kms:Decrypt",
                    Condition={"ForAllValues:StringEquals": CALLER["StringEquals"]},
                )
            ),
            "narrowed to any": under(
                allow("*", "kms:Decrypt", Condition={"StringLike": {"kms:CallerAccount": "*"}})
            ),
            "one does both": under(ADMINISTERS, USES, allow({"AWS": USER}, "kms:PutKeyPolicy")),
            "one does all": under(allow({"AWS": USER}, "KMS:*")),
            "odd case": [resource(KEY, "key", {"policy": '{"statement": []}'})],
            "no JSON": [resource(KEY, "key", {"policy": "{"})],
            "a replica": [resource("aws:kms/replicaKey:ReplicaKey", "key", {})],
            "external": under(allow("*", "kms:Decrypt"), kind="aws:kms/externalKey:ExternalKey"),
            "separate": [BARE, separate(policy=written(allow("*", "kms:Decrypt")))],
            "of another key": [BARE, separate("id-2")],
        },
        passes={
            "narrowed": under(ADMINISTERS, allow("*", "kms:Decrypt", Condition=CALLER)),
            "odd case of a condition key": under(
                allow(
                    "*", "kms:Decrypt", Condition={"StringEquals": {"KMS:calleraccount": ACCOUNT}}
                )
            ),
            "two do it": under(USES, allow({"AWS": ADMINISTRATOR}, "kms:PutKeyPolicy")),
            "a service": under(
                allow({"Service": "logs.me-central-1.amazonaws.com"}, "kms:Decrypt")
            ),
            "nobody": under({**allow("*", "kms:*"), "Effect": "Deny"}),
            "taken away": under(
                allow({"AWS": USER}, "kms:*"),
                {**allow("*", "kms:Decrypt"), "Effect": "Deny"},
            ),
            "one statement, not in a list": [
                resource(KEY, "key", {"policy": json.dumps({"Statement": USES})})
            ],
            "separate": [BARE, separate()],
            "separate at preview": [NEW, separate(UNKNOWN, references={"keyId": (NEW.urn,)})],
        },
        pending={
            "text": [resource(KEY, "key", {"policy": UNKNOWN}, references={"policy": ("urn:a",)})],
            "part of it": [
                resource(KEY, "key", {"policy": {"Statement": [USES, {**USES, "Action": UNKNOWN}]}})
            ],
            "whose": [BARE, separate(UNKNOWN)],
            "separate": [BARE, separate(policy=UNKNOWN)],
        },
    ),
)
