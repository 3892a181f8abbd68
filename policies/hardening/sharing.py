"""Rules on what is shared: by lists of a bucket, with accounts by number, with everybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.accounts import Sharing, account_in, accounts_of
from policies.common.places import found, shown
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS

_OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
_LISTS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(BUCKETS, ("acl", "grants.uri")),
    **dict.fromkeys(
        ("aws:s3/bucketAcl:BucketAcl", "aws:s3/bucketAclV2:BucketAclV2"),
        ("acl", "accessControlPolicy.grants.grantee.uri"),
    ),
    "aws:s3/bucketObject:BucketObject": ("acl", ""),
    "aws:s3/bucketObjectv2:BucketObjectv2": ("acl", ""),
    "aws:s3/objectCopy:ObjectCopy": ("acl", "grants.uri"),
}
"""Type → where it names a list that S3 has ready, and where groups of everybody."""
_EVERYBODY = ("AllUsers", "AuthenticatedUsers")


class PublicLists(Parameters):
    """Which of S3's ready lists let everybody in."""

    publicAcls: tuple[str, ...] = (  # noqa: N815
        *("public-read", "public-read-write", "authenticated-read"),
    )


def no_acl(resource: Resource, parameters: PublicLists) -> Iterator[Finding]:
    """With BucketOwnerEnforced, which new buckets have, no list counts."""
    if resource.type == _OWNERSHIP:
        owner = resource.at("rule", "objectOwnership")
        if owner is UNKNOWN:
            yield pending(resource, "rule.objectOwnership")
        elif owner != "BucketOwnerEnforced":
            what = f"is {'not set' if is_missing(owner) else owner}, not BucketOwnerEnforced"
            yield Finding(resource=resource, where="rule.objectOwnership", what=what)
        return
    ready, groups = _LISTS[resource.type]
    for place, value in found(resource.properties, ready):
        if value is UNKNOWN:
            yield pending(resource, shown(place))
        elif value in parameters.publicAcls or (resource.type in BUCKETS and value != "private"):
            yield Finding(resource=resource, where=shown(place), what=f"is {value}")
    if resource.type in BUCKETS and not is_missing(resource.at("grants")):
        yield _listed(resource, "grants", resource.at("grants"))
    elif groups:
        for place, value in found(resource.properties, groups):
            if value is UNKNOWN or str(value).endswith(_EVERYBODY):
                yield _listed(resource, shown(place), value)


def _listed(resource: Resource, where: str, value: Any) -> Finding:
    if value is UNKNOWN:
        return pending(resource, where)
    what = f"lets {value} in" if isinstance(value, str) else "lets others in by a list"
    return Finding(resource=resource, where=where, what=what)


_SWITCHES: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "aws:ebs/snapshotBlockPublicAccess:SnapshotBlockPublicAccess": (
        "state",
        ("block-all-sharing",),
    ),
    "aws:ec2/imageBlockPublicAccess:ImageBlockPublicAccess": ("state", ("block-new-sharing",)),
    "aws:ram/resourceShare:ResourceShare": ("allowExternalPrincipals", (False, "false")),
}
"""Type → the switch that keeps others out, and the values with which it does."""
_SHARES: Mapping[str, tuple[str, ...]] = {
    "aws:ec2/amiLaunchPermission:AmiLaunchPermission": (
        *("accountId", "group", "organizationArn", "organizationalUnitArn"),
    ),
    "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission": ("accountId",),
    "aws:kms/grant:Grant": ("granteePrincipal",),
    "aws:lakeformation/dataLakeSettings:DataLakeSettings": (
        *("admins", "readOnlyAdmins", "externalDataFilteringAllowLists", "trustedResourceOwners"),
    ),
    "aws:lakeformation/permissions:Permissions": ("principal",),
    "aws:ram/principalAssociation:PrincipalAssociation": ("principal",),
    "aws:redshift/dataShareAuthorization:DataShareAuthorization": ("consumerIdentifier",),
    **{
        f"aws:rds/{kind[0].lower()}{kind[1:]}:{kind}": ("sharedAccounts",)
        for kind in ("ClusterSnapshot", "ClusterSnapshotCopy", "Snapshot", "SnapshotCopy")
    },
}
"""Type → where it names with whom something is shared."""
_AT_HOME = ("IAM_ALLOWED_PRINCIPALS", "arn:aws:identitystore:::")
"""How Lake Formation names identities of the account, or of its own organisation (its developer
guide, *DataLakePrincipal*)."""
_ALL_OF = ":IAMPrincipals"
"""After an account's number: all its identities."""


def not_shared(resource: Resource, parameters: Sharing) -> Iterator[Finding]:
    """What another account can read, its own rules decide on from then on."""
    if resource.type in _SWITCHES:
        where, right = _SWITCHES[resource.type]
        value = resource.at(where)
        if value is UNKNOWN:
            yield pending(resource, where)
        elif not is_missing(value) and value not in right:
            yield Finding(resource=resource, where=where, what=f"is {str(value).lower()}")
        return
    allowed = accounts_of(resource, parameters.allowedAccounts)
    for path in _SHARES[resource.type]:
        for place, value in found(resource.properties, path):
            if value is UNKNOWN:
                yield pending(resource, shown(place))
            elif str(value).startswith(_AT_HOME):
                continue
            elif account_in(str(value).removesuffix(_ALL_OF)) not in allowed:
                what = f"is {value}, which is in no account of allowedAccounts"
                yield Finding(resource=resource, where=shown(place), what=what)


RULES = (
    Rule(
        name="s3-bucket-has-no-acl",
        description="No bucket or object lets anybody in by an access control list.",
        mend="remove the ACL and set rule.objectOwnership to BucketOwnerEnforced.",
        applies_to=lambda resource: resource.type in _LISTS or resource.type == _OWNERSHIP,
        parameters=PublicLists,
        each=no_acl,
    ),
    Rule(
        name="snapshot-and-image-are-not-shared",
        description="No snapshot, key, table or share reaches an account that is not listed.",
        mend="remove the share, or add the account to allowedAccounts.",
        applies_to=lambda resource: resource.type in _SWITCHES or resource.type in _SHARES,
        parameters=Sharing,
        each=not_shared,
    ),
)
