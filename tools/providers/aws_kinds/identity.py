"""Policies, profiles and what joins them to roles."""

from __future__ import annotations

from aws_forms import arn, filled, named, part
from standin import Kind, Resource


def _policy(resource: Resource) -> str:
    path = resource.inputs.get("path") or "/"
    return arn("iam", f"policy{path}{resource.inputs['name']}", regional=False)(resource)


KINDS: dict[str, Kind] = {
    "aws:iam/instanceProfile:InstanceProfile": named(
        "name",
        "iam",
        "instance-profile/{name}",
        regional=False,
        uniqueId=lambda resource: f"AIPA{resource.unique[:17].upper()}",
    ),
    "aws:iam/policy:Policy": Kind(
        identifier=_policy,
        outputs={
            "arn": _policy,
            "policyId": lambda resource: f"ANPA{resource.unique[:17].upper()}",
        },
        name="name",
        replaced_by=frozenset({"description", "path"}),
    ),
    "aws:iam/rolePolicy:RolePolicy": Kind(
        identifier=filled("{role}:{name}"),
        name="name",
        within=frozenset({"role"}),
        replaced_by=frozenset({"role"}),
        overwrites=True,
    ),
    "aws:iam/user:User": named("name", "iam", "user/{name}", regional=False),
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": part(
        "{user}/{policyArn}", "user", "policyArn", overwrites=True
    ),
}
