"""Cases of `policies/hardening/sharing.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import ACCOUNT, PROVIDER, Cases, resource
from rule_cases.values import nested

BUCKET = "aws:s3/bucket:Bucket"
GROUPS = "http://acs.amazonaws.com/groups/global"
OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
BY_URI = {
    "aws:s3/bucketAcl:BucketAcl": "accessControlPolicy.grants*.grantee.uri",
    "aws:s3/bucketAclV2:BucketAclV2": "accessControlPolicy.grants*.grantee.uri",
    "aws:s3/objectCopy:ObjectCopy": "grants*.uri",
}
BY_NAME = (
    *(*BY_URI, BUCKET, "aws:s3/bucketV2:BucketV2"),
    *("aws:s3/bucketObject:BucketObject", "aws:s3/bucketObjectv2:BucketObjectv2"),
)
LOCK = "aws:ebs/snapshotBlockPublicAccess:SnapshotBlockPublicAccess"
IMAGES = "aws:ec2/imageBlockPublicAccess:ImageBlockPublicAccess"
SHARE = "aws:ram/resourceShare:ResourceShare"
LAUNCH = "aws:ec2/amiLaunchPermission:AmiLaunchPermission"
VOLUME = "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission"
MEMBER = "aws:ram/principalAssociation:PrincipalAssociation"
SNAPSHOTS = tuple(
    f"aws:rds/{kind[0].lower()}{kind[1:]}:{kind}"
    for kind in ("ClusterSnapshot", "ClusterSnapshotCopy", "Snapshot", "SnapshotCopy")
)
LAKE = "aws:lakeformation/permissions:Permissions"
LAKES = "aws:lakeformation/dataLakeSettings:DataLakeSettings"
GRANT = "aws:kms/grant:Grant"
READERS = "aws:redshift/dataShareAuthorization:DataShareAuthorization"
FRIEND, STRANGER = "210987654321", "999999999999"
ORGANISATION = "arn:aws:organizations::{}:organization/o-1"


def one(kind: str, path: str = "name", value: Any = "one") -> list[Resource]:
    return [resource(kind, "one", nested(path, value), provider=HELD)]


HELD = resource(
    PROVIDER.type, "home", {"region": "me-central-1", "allowedAccountIds": f'["{ACCOUNT}"]'}
)

CASES = (
    Cases(
        rule="s3-bucket-has-no-acl",
        baseline=one(OWNERSHIP, "rule.objectOwnership", "BucketOwnerEnforced"),
        fails={
            **{kind: one(kind, "acl", "public-read") for kind in BY_NAME},
            **{
                f"{kind} to everybody": one(kind, path, f"{GROUPS}/AllUsers")
                for kind, path in BY_URI.items()
            },
            "to all with an account": one(
                "aws:s3/bucketAcl:BucketAcl", BY_URI[BY_NAME[0]], f"{GROUPS}/AuthenticatedUsers"
            ),
            "every account reads": one(BY_NAME[0], "acl", "authenticated-read"),
            "a list that is not public": one(BUCKET, "acl", "log-delivery-write"),
            "a list of one's own": one(BUCKET, "grants", [{"type": "CanonicalUser", "id": "1"}]),
            "the writer owns": one(OWNERSHIP, "rule.objectOwnership", "ObjectWriter"),
            "nobody said to own": one(OWNERSHIP, "rule", {}),
        },
        passes={
            "nothing said": one(BUCKET),
            "private": one(BUCKET, "acl", "private"),
            "private by a list": one(BY_NAME[0], "acl", "private"),
            "null": one(BUCKET, "acl", None),
            "no grants": one(BUCKET, "grants", []),
            "logs are delivered": one(BY_NAME[0], "acl", "log-delivery-write"),
            "to the group that delivers logs": one(
                BY_NAME[0], BY_URI[BY_NAME[0]], "http://acs.amazonaws.com/groups/s3/LogDelivery"
            ),
        },
        pending={
            "list": one(BUCKET, "acl", UNKNOWN),
            "grants": one(BUCKET, "grants", UNKNOWN),
            "to whom": one(BY_NAME[0], BY_URI[BY_NAME[0]], UNKNOWN),
            "a whole list": one(BY_NAME[0], "accessControlPolicy", UNKNOWN),
            "who owns": one(OWNERSHIP, "rule", UNKNOWN),
        },
    ),
    Cases(
        rule="snapshot-and-image-are-not-shared",
        parameters={"allowedAccounts": [FRIEND]},
        baseline=one(LOCK, "state", "block-all-sharing"),
        fails={
            "new ones alone are kept in": one(LOCK, "state", "block-new-sharing"),
            "images may be shared": one(IMAGES, "state", "unblocked"),
            "an image for all": one(LAUNCH, "group", "all"),
            "an image": one(LAUNCH, "accountId", STRANGER),
            "an image for an organisation": one(
                LAUNCH, "organizationArn", ORGANISATION.format(STRANGER)
            ),
            "an image for a part of one": one(
                LAUNCH, "organizationalUnitArn", f"arn:aws:organizations::{STRANGER}:ou/o-1/ou-1"
            ),
            "a volume": one(VOLUME, "accountId", STRANGER),
            "a volume for all": one(VOLUME, "accountId", "all"),
            **{kind: one(kind, "sharedAccounts", [FRIEND, STRANGER]) for kind in SNAPSHOTS},
            "a database for all": one(SNAPSHOTS[2], "sharedAccounts", ["all"]),
            "a share for others": one(SHARE, "allowExternalPrincipals", True),
            "a stranger in a share": one(MEMBER, "principal", STRANGER),
            "a stranger's role in a share": one(
                MEMBER, "principal", f"arn:aws:iam::{STRANGER}:role/one"
            ),
            "a stranger's role at a key": one(
                GRANT, "granteePrincipal", f"arn:aws:iam::{STRANGER}:role/one"
            ),
            "a table for a stranger": one(LAKE, "principal", STRANGER),
            "a table for a stranger's role": one(
                LAKE, "principal", f"arn:aws:iam::{STRANGER}:role/one"
            ),
            "a table for all of a stranger's": one(LAKE, "principal", f"{STRANGER}:IAMPrincipals"),
            "a table for an organisation": one(LAKE, "principal", ORGANISATION.format(STRANGER)),
            **{
                f"a lake for a stranger: {path}": one(LAKES, path, [ACCOUNT, STRANGER])
                for path in ("externalDataFilteringAllowLists", "trustedResourceOwners")
            },
            **{
                f"a lake for a stranger: {path}": one(
                    LAKES, path, [f"arn:aws:iam::{STRANGER}:role/one"]
                )
                for path in ("admins", "readOnlyAdmins")
            },
            "a warehouse for a stranger": one(READERS, "consumerIdentifier", STRANGER),
        },
        passes={
            "images are kept in": one(IMAGES, "state", "block-new-sharing"),
            "a friend": one(LAUNCH, "accountId", FRIEND),
            "a friend's organisation": one(LAUNCH, "organizationArn", ORGANISATION.format(FRIEND)),
            "with oneself": one(VOLUME, "accountId", ACCOUNT),
            "a database with a friend": one(SNAPSHOTS[0], "sharedAccounts", [FRIEND]),
            "a database with nobody": one(SNAPSHOTS[0], "sharedAccounts", []),
            "a share for the organisation": one(SHARE, "allowExternalPrincipals", False),
            "a share that says nothing": one(SHARE),
            "a key for one's own": one(GRANT, "granteePrincipal", f"arn:aws:iam::{ACCOUNT}:role/a"),
            "a table for all of one's own": one(LAKE, "principal", f"{ACCOUNT}:IAMPrincipals"),
            "a table for whom IAM lets": one(LAKE, "principal", "IAM_ALLOWED_PRINCIPALS"),
            "a table for people": one(LAKE, "principal", "arn:aws:identitystore:::group/one"),
            "a warehouse for a friend": one(READERS, "consumerIdentifier", FRIEND),
        },
        pending={
            "state": one(LOCK, "state", UNKNOWN),
            "switch": one(SHARE, "allowExternalPrincipals", UNKNOWN),
            "account": one(LAUNCH, "accountId", UNKNOWN),
            "accounts": one(SNAPSHOTS[0], "sharedAccounts", UNKNOWN),
            "one of them": one(SNAPSHOTS[0], "sharedAccounts", [FRIEND, UNKNOWN]),
        },
    ),
)
