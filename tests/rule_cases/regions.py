"""Cases of `policies/residency/regions.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import KEY_ARN, PROVIDER, Cases, resource

KEY, EXTERNAL = "aws:kms/key:Key", "aws:kms/externalKey:ExternalKey"
REPLICA = "aws:kms/replicaKey:ReplicaKey"
EXTERNAL_REPLICA = "aws:kms/replicaExternalKey:ReplicaExternalKey"
ABROAD = KEY_ARN.replace("me-central-1", "eu-west-1")


def one(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "key", properties, provider=PROVIDER)]


CASES = (
    Cases(
        rule="kms-key-is-single-region",
        baseline=one(KEY),
        fails={
            "of many regions": one(KEY, multiRegion=True),
            "so is one with material of its own": one(EXTERNAL, multiRegion=True),
            "a replica of one abroad": one(REPLICA, primaryKeyArn=ABROAD),
            "so is one with material of its own, copied": one(
                EXTERNAL_REPLICA, primaryKeyArn=ABROAD
            ),
            "a replica abroad": one(REPLICA, primaryKeyArn=KEY_ARN, region="eu-west-1"),
            "a replica of nothing": one(REPLICA, primaryKeyArn="key/1"),
        },
        passes={
            "said to be of one": one(KEY, multiRegion=False),
            "a replica in the region of its primary": one(REPLICA, primaryKeyArn=KEY_ARN),
        },
        pending={
            "of how many": one(KEY, multiRegion=UNKNOWN),
            "of which key": one(REPLICA, primaryKeyArn=UNKNOWN),
        },
    ),
)
