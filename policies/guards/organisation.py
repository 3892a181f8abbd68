"""Policies for the administrators of an AWS organisation: what none of its accounts can do.

Owns two documents, as text; an account cannot attach them to itself. The service control policy
holds whoever acts in an account, its administrators too, whom no permissions boundary holds. The
resource control policy holds whoever asks for what is in an account, also from outside of the
organisation. Neither grants anything, and neither holds the organisation's management account.
Sources: AWS Organizations user guide, on the syntax of each and on quotas.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.guards.actions import LOSING_KEYS, SHARING, STOPPING_RECORDS
from policies.guards.conditions import WITHOUT_TLS, Conditions, of_strangers, outside
from policies.guards.worldwide import FOR_PEOPLE, GLOBAL_ACTIONS

LONGEST_BYTES = 5120
"""The longest policy of either kind that AWS takes, with every character counted. At most five of a
kind can be attached to one account, and each document here is one."""

HELD_ACTIONS = ("s3:*", "sqs:*", "kms:*", "secretsmanager:*")
"""Of services with data whose resources a resource control policy holds."""


class TooLongError(Exception):
    """AWS would refuse a policy for its length."""


def _role(name: str) -> str:
    return f"arn:aws:iam::*:role/{name}"


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Who may do what nobody else may: ARNs, where ``*`` stands for anything. Those of Falaj are
    called ``falaj-<environment>-<what it does>``."""

    emergency: Sequence[str] = (_role("falaj-*-break-glass"),)
    """Who may do everything that anybody may."""
    deploying: Sequence[str] = (_role("falaj-*-apply"),)
    """Who may open and close an account's defences."""
    removing: Sequence[str] = (_role("falaj-dev-apply"), _role("falaj-test-apply"))
    """Who may delete keys and records: where an environment must be able to go."""


FALAJ = Roles()


def service_control_policy(allowed_regions: Iterable[str], roles: Roles = FALAJ) -> str:
    """The JSON, in as few bytes as it takes. Raises `TooLongError`."""

    def deny(sid: str, actions: Sequence[str], conditions: Conditions | None = None) -> Any:
        return _refusal(sid, {"Action": list(actions)}, conditions)

    return _text(
        "service control policy",
        _refusal(
            "Residency",
            {"NotAction": [*GLOBAL_ACTIONS, *FOR_PEOPLE]},
            outside(sorted(allowed_regions)),
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
            _but(*roles.emergency, *roles.deploying),
        ),
        deny(
            "KeysAndRecords",
            (*LOSING_KEYS, *STOPPING_RECORDS),
            _but(*roles.emergency, *roles.removing),
        ),
        deny("Sharing", ("ram:CreateResourceShare", *SHARING)),
    )


def resource_control_policy(organisation_id: str, allowed_accounts: Iterable[str] = ()) -> str:
    """The JSON, in as few bytes as it takes. Raises `TooLongError`.

    `allowed_accounts` are outside of the organisation and let in where a resource's own policy
    says so, such as that of a SIEM. Who comes by a token of an identity provider has no account
    yet: a role's trust alone judges him.
    """
    home: dict[str, str | list[str]] = {"aws:PrincipalOrgID": organisation_id}
    if accounts := sorted(allowed_accounts):
        home["aws:PrincipalAccount"] = accounts

    def deny(sid: str, actions: Sequence[str], conditions: Conditions) -> Any:
        refusal = _refusal(sid, {"Action": list(actions)}, conditions)
        # the one principal that such a policy may name
        return {"Sid": sid, "Effect": "Deny", "Principal": "*", **refusal}

    return _text(
        "resource control policy",
        deny("Strangers", (*HELD_ACTIONS, "sts:AssumeRole"), of_strangers(home)),
        deny("WithoutTls", HELD_ACTIONS, WITHOUT_TLS),
    )


def _but(*roles: str) -> Conditions:
    return {"ArnNotLike": {"aws:PrincipalArn": list(dict.fromkeys(roles))}}


def _refusal(sid: str, what: Mapping[str, Any], conditions: Conditions | None) -> Any:
    refusal = {"Sid": sid, "Effect": "Deny", **what, "Resource": ["*"]}
    return refusal | ({"Condition": conditions} if conditions else {})


def _text(kind: str, *statements: Any) -> str:
    made = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    # a file ends with a new line, which AWS counts
    size = len(made.encode()) + 1
    if size > LONGEST_BYTES:
        raise TooLongError(
            f"the {kind} has {size} bytes; AWS takes {LONGEST_BYTES}: name fewer regions, roles or "
            "accounts, or patterns that stand for several"
        )
    return made
