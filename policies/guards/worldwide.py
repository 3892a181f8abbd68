"""Services of AWS that are in no region: which may be used, and what their requests are called.

A request to one counts as made in another region, often us-east-1, wherever it comes from: who pins
requests to regions must leave these out, and who lists resources must know them. Source: the IAM
user guide on `aws:RequestedRegion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service in no region that holds no protected data."""

    actions: str
    """Pattern of its actions; empty where its requests are made in a region all the same."""
    types: Sequence[str] = ()
    """Patterns of Pulumi's types of its resources that hold no protected data; the others of the
    service are let through by requests, and not by the rules."""


SERVICES = (
    Service(actions="iam:*", types=("aws:iam/*",)),
    Service(actions="sts:*"),
    Service(actions="organizations:*", types=("aws:organizations/*",)),
    # health checks ask from abroad, and logs of queries lie in us-east-1
    Service(
        actions="route53:*",
        types=(
            *("aws:route53/record:Record", "aws:route53/recordsExclusive:RecordsExclusive"),
            "aws:route53/vpcAssociationAuthorization:VpcAssociationAuthorization",
            *("aws:route53/zone:Zone", "aws:route53/zoneAssociation:ZoneAssociation"),
        ),
    ),
    Service(actions="support:*"),
    Service(actions="budgets:*", types=("aws:budgets/*",)),
    Service(actions="health:*"),
    Service(actions="account:*", types=("aws:account/*",)),
    Service(
        actions="",
        types=(
            "aws:backup/globalSettings:GlobalSettings",
            "aws:ram/sharingWithOrganization:*",
            "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock",
        ),
    ),
)

GLOBAL_ACTIONS = tuple(one.actions for one in SERVICES if one.actions)
"""What a pin to regions leaves out, for everybody."""
ALLOWED_TYPES = tuple(sorted(kind for one in SERVICES for kind in one.types))
"""Types in no region that a program may make."""
FOR_PEOPLE = (
    *("aws-portal:*", "billing:*", "ce:*", "cur:*", "payments:*", "tax:*", "trustedadvisor:*"),
    "s3:ListAllMyBuckets",
)
"""What administrators look at besides, in the console: bills and advice. No role of a platform
needs it, and no program makes resources of it."""
