"""The policy for the organisation's administrators: what no account of the platform can do.

Owns a document, as text; an account cannot attach it to itself. Whoever administers the
organisation attaches it to the platform's accounts (``aws organizations create-policy --type
SERVICE_CONTROL_POLICY --content file://…``, then ``attach-policy``). It holds the administrators of
the accounts, whom the permissions boundary does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.aws.boundary import GLOBAL_ACTIONS, LOSING_KEYS, SHARING, STOPPING_RECORDS
from components.aws.policy_document import Conditions, Statement, text

LONGEST_BYTES = 5120
"""The longest service control policy that AWS takes, with every character counted."""

_GLOBAL_BESIDE = (
    *("aws-portal:*", "billing:*", "ce:*", "cur:*", "payments:*", "tax:*", "trustedadvisor:*"),
    "s3:ListAllMyBuckets",
)
"""What administrators need of services without regions, besides what roles need."""


def _role(environment: str, noun: str) -> str:
    return f"arn:aws:iam::*:role/falaj-{environment}-{noun}"


def service_control_policy(
    allowed_regions: Sequence[str], disposable: Sequence[str] = ("dev", "test")
) -> str:
    """The JSON of the document, in as few bytes as it takes.

    The deploying roles of the environments in `disposable` may delete keys and records, since they
    must be able to take their environment away. Raises `ValueError` where AWS would refuse the
    document as too long.
    """
    break_glass = _role("*", "break-glass")
    removers = [break_glass, *(_role(environment, "apply") for environment in disposable)]

    def deny(sid: str, actions: Sequence[str], conditions: Conditions | None = None) -> Statement:
        return Statement(
            sid=sid, effect="Deny", actions=actions, resources=["*"], conditions=conditions or {}
        )

    made = text(
        Statement(
            sid="Residency",
            effect="Deny",
            not_actions=(*GLOBAL_ACTIONS, *_GLOBAL_BESIDE),
            resources=["*"],
            conditions={"StringNotEquals": {"aws:RequestedRegion": sorted(allowed_regions)}},
        ),
        deny("Regions", ("account:EnableRegion", "account:DisableRegion")),
        deny("Organisation", ("organizations:LeaveOrganization",)),
        deny("Root", ("*",), {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:root"}}),
        deny(
            "Public",
            (
                *("s3:PutAccountPublicAccessBlock", "ec2:DisableEbsEncryptionByDefault"),
                *("ec2:DisableImageBlockPublicAccess", "ec2:DisableSnapshotBlockPublicAccess"),
            ),
            {"ArnNotLike": {"aws:PrincipalArn": [break_glass, _role("*", "apply")]}},
        ),
        deny(
            "KeysAndRecords",
            (*LOSING_KEYS, *STOPPING_RECORDS),
            {"ArnNotLike": {"aws:PrincipalArn": removers}},
        ),
        deny("Sharing", ("ram:CreateResourceShare", *SHARING)),
    )
    size = len(made.encode())
    if size > LONGEST_BYTES:
        raise ValueError(f"the service control policy has {size} bytes; AWS takes {LONGEST_BYTES}")
    return made
