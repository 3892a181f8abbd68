"""Cases of `policies/hardening/identity.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, resource
from rule_cases.keys import allow, written
from rule_cases.sharing import FRIEND, HELD, STRANGER, one

POLICY, ROLE, USER = "aws:iam/policy:Policy", "aws:iam/role:Role", "aws:iam/user:User"
PERMISSIONS = {
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
    "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy": "inlinePolicy",
    POLICY: "policy",
    ROLE: "inlinePolicies*.policy",
}
ARN = f"arn:aws:iam::{ACCOUNT}:role/app"


def may(*actions: str, **more: Any) -> dict[str, Any]:
    return allow(ABSENT, *actions, **more)


def permitted(*statements: Any) -> list[Resource]:
    return one(POLICY, "policy", written(*statements))


READS = may("s3:GetObject", Resource="arn:aws:s3:::one/*")
ASSUME = "sts:AssumeRole"
EXTERNAL = {"StringEquals": {"sts:ExternalId": "1"}}


def trusting(*statements: Any) -> list[Resource]:
    return one(ROLE, "assumeRolePolicy", written(*statements))


def trusts(principal: Any, **more: Any) -> list[Resource]:
    return trusting(allow(principal, ASSUME, Resource=ABSENT, **more))


ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
ATTACHED = {
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "policyArn",
    "aws:iam/groupPolicyAttachmentsExclusive:GroupPolicyAttachmentsExclusive": "policyArns*",
    "aws:iam/policyAttachment:PolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": "policyArns*",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "policyArn",
    "aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive": "policyArns*",
    "aws:ssoadmin/managedPolicyAttachment:ManagedPolicyAttachment": "managedPolicyArn",
    "aws:ssoadmin/managedPolicyAttachmentsExclusive:ManagedPolicyAttachmentsExclusive": (
        "managedPolicyArns*"
    ),
    ROLE: "managedPolicyArns*",
}
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


def managed(name: str) -> list[Resource]:
    return one(ATTACHMENT, "policyArn", f"arn:aws:iam::aws:policy/{name}")


BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/guards/boundary"

CASES = (
    Cases(
        rule="iam-policy-is-not-full-admin",
        baseline=permitted(READS),
        fails={
            **{kind: one(kind, path, written(may("*"))) for kind, path in PERMISSIONS.items()},
            "an object": one(POLICY, "policy", {"Statement": may("*")}),
            "not in a list": permitted(may(Action="*")),
            "two stars": permitted(may("*:*")),
            "among others": permitted(READS, may("s3:GetObject", "*")),
            "on one resource": permitted(may("*", Resource="arn:aws:s3:::one")),
            "all but": permitted(may(Action=ABSENT, NotAction="iam:*")),
            "identities": permitted(may("iam:*")),
            "odd case": permitted(may("IAM:*")),
            "keys": permitted(may("kms:*")),
            "one letter": permitted(may("kms:?*")),
            "other roles": permitted(may("sts:*")),
            "the organisation": permitted(may("organizations:*")),
            "services that begin so": permitted(may("i*:*")),
            "identities of the account": permitted(
                may("iam:*", Resource=f"arn:aws:iam::{ACCOUNT}:*")
            ),
            "all but one identity": permitted(
                may("iam:*", Resource=ABSENT, NotResource="arn:aws:s3:::one")
            ),
            "no JSON": one(POLICY, "policy", "{"),
        },
        passes={
            "a denial": permitted({**may("*"), "Effect": "Deny"}),
            "a denial of all but": permitted(
                {**may(Action=ABSENT, NotAction="iam:*"), "Effect": "Deny"}
            ),
            "a service that is not so sensitive": permitted(may("s3:*")),
            "all of one key": permitted(may("kms:*", Resource="arn:aws:kms:me:1:key/1")),
            "some of identities": permitted(may("iam:Get*", "iam:List*")),
            "a name that begins alike": permitted(may("iamx:*")),
            "no policy of its own": one(ROLE),
        },
        pending={
            "policy": one(POLICY, "policy", UNKNOWN),
            "one of a role's": one(ROLE, "inlinePolicies", [{"policy": UNKNOWN}]),
            "actions": one(POLICY, "policy", {"Statement": [{**READS, "Action": UNKNOWN}]}),
        },
    ),
    Cases(
        rule="iam-trust-names-principals",
        parameters={"allowedAccounts": [FRIEND]},
        baseline=trusts({"AWS": ARN}),
        fails={
            "everybody": trusts("*"),
            "everybody in a list": trusts({"AWS": ["*"]}),
            "everybody narrowed": trusts("*", Condition=EXTERNAL),
            "all but": trusts(ABSENT, NotPrincipal={"AWS": ARN}),
            "a stranger": trusts({"AWS": STRANGER}, Condition=EXTERNAL),
            "a stranger's role": trusts(
                {"AWS": [ARN, f"arn:aws:iam::{STRANGER}:role/x"]}, Condition=EXTERNAL
            ),
            "a friend without proof": trusts({"AWS": FRIEND}),
            "a friend with any proof": trusts(
                {"AWS": FRIEND}, Condition={"StringLike": {"sts:ExternalId": "*"}}
            ),
            "a friend with other proof": trusts(
                {"AWS": FRIEND}, Condition={"StringNotEquals": {"sts:ExternalId": "1"}}
            ),
            "a service": trusts({"Service": "glue.amazonaws.com"}),
            "a service among others": trusts(
                {"Service": ["ec2.amazonaws.com", "ssm.amazonaws.com"]}
            ),
            "a service of a name alike": trusts({"Service": "ec2.amazonaws.com.example"}),
            "a second statement": trusting(
                allow({"AWS": ARN}, ASSUME), allow({"AWS": "*"}, ASSUME)
            ),
            "no JSON": one(ROLE, "assumeRolePolicy", "{"),
        },
        passes={
            "the account": trusts({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
            "a friend with proof": trusts({"AWS": FRIEND}, Condition=EXTERNAL),
            "a friend of the organisation": trusts(
                {"AWS": FRIEND}, Condition={"StringEquals": {"aws:principalorgid": "o-1"}}
            ),
            "a service": trusts({"Service": "lambda.amazonaws.com"}),
            "a service in a region": trusts({"Service": "logs.me-central-1.amazonaws.com"}),
            "a denial": trusting({**allow("*", ASSUME), "Effect": "Deny"}),
            "a web identity": trusts({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/x"}),
        },
        pending={
            "policy": one(ROLE, "assumeRolePolicy", UNKNOWN),
            "who": one(
                ROLE,
                "assumeRolePolicy",
                {"Statement": [{**allow({"AWS": ARN}, ASSUME), "Principal": UNKNOWN}]},
            ),
        },
    ),
    Cases(
        rule="administrator-access-is-not-attached",
        baseline=managed("service-role/AmazonEC2ContainerRegistryPullOnly"),
        fails={
            **{kind: one(kind, path, ADMINISTRATOR) for kind, path in ATTACHED.items()},
            "power": managed("PowerUserAccess"),
            "identities": managed("IAMFullAccess"),
            "a shell": managed("AWSCloudShellFullAccess"),
            "a copy of the owner's": one(
                ATTACHMENT, "policyArn", f"arn:aws:iam::{ACCOUNT}:policy/own/AdministratorAccess"
            ),
            "the second": one(
                ROLE, "managedPolicyArns", ["arn:aws:iam::1:policy/a", ADMINISTRATOR]
            ),
        },
        passes={
            "a name that begins alike": managed("AdministratorAccess-Amplify"),
            "none": one(ROLE, "managedPolicyArns", []),
            "nothing said": one(ROLE),
        },
        pending={
            "one": one(ATTACHMENT, "policyArn", UNKNOWN),
            "all": one(ROLE, "managedPolicyArns", UNKNOWN),
            "one of them": one(ROLE, "managedPolicyArns", ["arn:aws:iam::1:policy/a", UNKNOWN]),
        },
    ),
    Cases(
        rule="iam-role-has-permission-boundary",
        parameters={"boundaryNames": ["boundary", "guard-*"]},
        baseline=one(ROLE, "permissionsBoundary", BOUNDARY),
        fails={
            "a role": one(ROLE),
            "a user": one(USER),
            "null": one(ROLE, "permissionsBoundary", None),
            "empty": one(ROLE, "permissionsBoundary", ""),
            "another": one(ROLE, "permissionsBoundary", f"{BOUNDARY}-2"),
            "a user's": one(USER, "permissionsBoundary", ADMINISTRATOR),
        },
        passes={
            "a user": one(USER, "permissionsBoundary", BOUNDARY),
            "any of a name": one(ROLE, "permissionsBoundary", f"{BOUNDARY}s/guard-prod"),
            "without path": [
                resource(
                    ROLE,
                    "one",
                    {"permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary"},
                    provider=HELD,
                )
            ],
        },
        pending={"which": one(ROLE, "permissionsBoundary", UNKNOWN)},
    ),
)
