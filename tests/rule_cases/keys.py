"""Cases of `policies/encryption/keys.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource

KEY = "aws:kms/key:Key"


def key(**properties: Any) -> list[Resource]:
    return [resource(KEY, "key", properties)]


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
)
