"""Cases of `policies/hardening/credentials.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, mutated, resource
from rule_cases.reach import one

PEOPLE = {
    "aws:iam/accessKey:AccessKey": "user",
    "aws:iam/groupMembership:GroupMembership": "users*",
    "aws:iam/policyAttachment:PolicyAttachment": "users*",
    "aws:iam/serviceSpecificCredential:ServiceSpecificCredential": "userName",
    "aws:iam/signingCertificate:SigningCertificate": "userName",
    "aws:iam/sshKey:SshKey": "username",
    "aws:iam/user:User": "name",
    "aws:iam/userGroupMembership:UserGroupMembership": "user",
    "aws:iam/userLoginProfile:UserLoginProfile": "user",
    "aws:iam/userPolicy:UserPolicy": "user",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "user",
}
KEY, MEMBERS, USER = (
    *("aws:iam/accessKey:AccessKey", "aws:iam/groupMembership:GroupMembership"),
    "aws:iam/user:User",
)

PROVIDER: dict[str, Any] = {"region": "me-central-1", "allowedAccountIds": f'["{ACCOUNT}"]'}


def provider(**change: Any) -> list[Resource]:
    return [resource("pulumi:providers:aws", "home", {**PROVIDER, **change})]


DATABASES = {
    "aws:docdb/cluster:Cluster": ("manageMasterUserPassword", "masterPassword"),
    "aws:rds/cluster:Cluster": ("manageMasterUserPassword", "masterPassword"),
    "aws:rds/instance:Instance": ("manageMasterUserPassword", "password"),
    "aws:redshift/cluster:Cluster": ("manageMasterPassword", "masterPassword"),
    "aws:redshiftserverless/namespace:Namespace": ("manageAdminPassword", "adminUserPassword"),
}
INSTANCE, CLUSTER = "aws:rds/instance:Instance", "aws:rds/cluster:Cluster"
GIVEN = "not-a-password"


def database(kind: str = INSTANCE, /, **change: Any) -> list[Resource]:
    properties = mutated(
        {DATABASES[kind][0]: True}, *(((key,), one) for key, one in change.items())
    )
    return [resource(kind, "one", properties)]


CASES = (
    Cases(
        rule="iam-user-and-access-key-do-not-exist",
        parameters={"exemptUsers": ["break-glass"]},
        baseline=one(USER, "name", "break-glass"),
        fails={
            **{kind: one(kind, path, "somebody") for kind, path in PEOPLE.items()},
            "without a name": [resource(USER, "somebody", {})],
            "one of two": one(MEMBERS, "users", ["break-glass", "somebody"]),
        },
        passes={
            "a key": one(KEY, "user", "break-glass"),
            "by its resource": [resource(USER, "break-glass", {})],
            "a group without members": one(MEMBERS, "users", []),
            "a policy that is a role's": one(
                "aws:iam/policyAttachment:PolicyAttachment", "roles", ["one"]
            ),
        },
        pending={
            "whose": one(KEY, "user", UNKNOWN),
            "members": one(MEMBERS, "users", UNKNOWN),
            "one of two": one(MEMBERS, "users", ["break-glass", UNKNOWN]),
        },
    ),
    Cases(
        rule="aws-provider-holds-no-keys",
        baseline=provider(),
        fails={
            **{name: provider(**{name: "x"}) for name in ("accessKey", "secretKey", "token")},
            "any account": [resource("pulumi:providers:aws", "default", {})],
            "no account": provider(allowedAccountIds="[]"),
            "no list": provider(allowedAccountIds=ACCOUNT),
            "no JSON": provider(allowedAccountIds="["),
        },
        passes={
            "a list": provider(allowedAccountIds=[ACCOUNT]),
            "said to have none": provider(accessKey="", secretKey=None),
            "a role": provider(assumeRoles='[{"roleArn":"arn:aws:iam::1:role/deploy"}]'),
        },
        pending={
            **{name: provider(**{name: UNKNOWN}) for name in ("accessKey", "secretKey", "token")},
            "account": provider(allowedAccountIds=UNKNOWN),
        },
    ),
    Cases(
        rule="database-password-is-managed",
        baseline=database(),
        fails={
            **{kind: database(kind, **{DATABASES[kind][0]: False}) for kind in DATABASES},
            **{f"{kind}'s": database(kind, **{DATABASES[kind][1]: GIVEN}) for kind in DATABASES},
            **{
                f"{kind}'s, not kept": database(kind, **{f"{DATABASES[kind][1]}Wo": GIVEN})
                for kind in DATABASES
            },
            "nothing said": [resource(INSTANCE, "one", {})],
            "null": database(manageMasterUserPassword=None),
            "a restored one is given another": database(snapshotIdentifier="s", password=GIVEN),
        },
        passes={
            "a replica": database(manageMasterUserPassword=ABSENT, replicateSourceDb="db"),
            "a cluster's replica": database(
                CLUSTER, manageMasterUserPassword=ABSENT, replicationSourceIdentifier="arn"
            ),
            "restored": database(manageMasterUserPassword=ABSENT, snapshotIdentifier="s"),
            "of a moment": database(manageMasterUserPassword=ABSENT, restoreToPointInTime={"a": 1}),
            "part of one of several regions": database(
                CLUSTER, manageMasterUserPassword=ABSENT, globalClusterIdentifier="all"
            ),
            "no password": database(password=None),
        },
        pending={
            "switch": database(manageMasterUserPassword=UNKNOWN),
            "password": database(password=UNKNOWN),
            "password that is not kept": database(CLUSTER, masterPasswordWo=UNKNOWN),
        },
    ),
)
