"""Rules on keys and passwords: nobody has one that lasts, and no program holds one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.common.places import document, found
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending

_USER = "aws:iam/user:User"
_PEOPLE: Mapping[str, str] = {
    "aws:iam/accessKey:AccessKey": "user",
    "aws:iam/groupMembership:GroupMembership": "users",
    "aws:iam/policyAttachment:PolicyAttachment": "users",
    "aws:iam/serviceSpecificCredential:ServiceSpecificCredential": "userName",
    "aws:iam/signingCertificate:SigningCertificate": "userName",
    "aws:iam/sshKey:SshKey": "username",
    "aws:iam/userGroupMembership:UserGroupMembership": "user",
    "aws:iam/userLoginProfile:UserLoginProfile": "user",
    "aws:iam/userPolicy:UserPolicy": "user",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "user",
    _USER: "name",
}
"""Type → where it names a user."""


class Users(Parameters):
    """Who may be a user of an account."""

    exemptUsers: tuple[str, ...] = ()  # noqa: N815


def no_user(resource: Resource, parameters: Users) -> Iterator[Finding]:
    """A key that is not given back serves whoever finds it."""
    where = _PEOPLE[resource.type]
    names = [name for _, name in found(resource.properties, where)]
    # without one, the engine gives it one of its own
    names = [resource.name] if resource.type == _USER and not names else names
    for name in names:
        if name is UNKNOWN and parameters.exemptUsers:
            yield pending(resource, where)
        elif name not in parameters.exemptUsers:
            known = "not known yet" if name is UNKNOWN else name
            what = f"is of user {known}, who is not in exemptUsers"
            yield Finding(resource=resource, where=where, what=what)


def provider_holds_no_keys(provider: Resource, _: Parameters) -> Iterator[Finding]:
    """A key in a stack file is in its history; an account that is not named may be another's."""
    for name in ("accessKey", "secretKey", "token"):
        value = provider.at(name)
        if value is UNKNOWN:
            yield pending(provider, name)
        elif not is_missing(value):
            yield Finding(resource=provider, where=name, what="is set")
    held = document(provider.at("allowedAccountIds"))
    if held is UNKNOWN:
        yield pending(provider, "allowedAccountIds")
    elif not isinstance(held, list) or not held:
        yield Finding(resource=provider, where="allowedAccountIds", what="names no account")


_PASSWORDS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "aws:docdb/cluster:Cluster": (
        "manageMasterUserPassword",
        ("masterPassword", "masterPasswordWo"),
        ("globalClusterIdentifier", "restoreToPointInTime", "snapshotIdentifier"),
    ),
    "aws:rds/cluster:Cluster": (
        "manageMasterUserPassword",
        ("masterPassword", "masterPasswordWo"),
        (
            *("replicationSourceIdentifier", "restoreToPointInTime", "snapshotIdentifier"),
            "globalClusterIdentifier",
        ),
    ),
    "aws:rds/instance:Instance": (
        "manageMasterUserPassword",
        ("password", "passwordWo"),
        ("replicateSourceDb", "restoreToPointInTime", "snapshotIdentifier"),
    ),
    "aws:redshift/cluster:Cluster": (
        "manageMasterPassword",
        ("masterPassword", "masterPasswordWo"),
        ("snapshotArn", "snapshotClusterIdentifier", "snapshotIdentifier"),
    ),
    "aws:redshiftserverless/namespace:Namespace": (
        "manageAdminPassword",
        ("adminUserPassword", "adminUserPasswordWo"),
        (),
    ),
}
"""Type → the switch, where a password may be instead, and what brings one of its own along."""


def password_is_managed(database: Resource, _: Parameters) -> Iterator[Finding]:
    """A password that a program gives is in its state, and never changes."""
    switch, passwords, origins = _PASSWORDS[database.type]
    managed = database.at(switch)
    if managed is UNKNOWN:
        yield pending(database, switch)
    elif managed is not True and all(is_missing(database.at(one)) for one in origins):
        yield Finding(resource=database, where=switch, what="is not true")
    for name in passwords:
        value = database.at(name)
        if value is UNKNOWN:
            yield pending(database, name)
        elif not is_missing(value):
            yield Finding(resource=database, where=name, what="is set")


RULES = (
    Rule(
        name="iam-user-and-access-key-do-not-exist",
        description="People and programs have no keys or passwords of their own in the account.",
        mend="use IAM Identity Center for people and roles for workloads.",
        applies_to=lambda resource: resource.type in _PEOPLE,
        parameters=Users,
        each=no_user,
    ),
    Rule(
        name="aws-provider-holds-no-keys",
        description="Every provider takes a role, in an account that it names.",
        mend="take a role with web identity, and set allowedAccountIds.",
        applies_to=lambda resource: resource.type == "pulumi:providers:aws",
        each=provider_holds_no_keys,
    ),
    Rule(
        name="database-password-is-managed",
        description="No program knows the password of a database's master.",
        mend="let the service keep the password: set the switch to true, and give none.",
        applies_to=lambda resource: resource.type in _PASSWORDS,
        each=password_is_managed,
    ),
)
