"""A right inside one namespace: a Role, and the binding that gives it.

What rights there are is said by those who give them, people's in `roles`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.pod_parts import API_GROUP


def right(
    role: str,
    metadata: Mapping[str, Any],
    rules: Sequence[Mapping[str, Any]],
    subjects: Sequence[Mapping[str, Any]],
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """The Role and its binding, both with `metadata`; resources `role` and ``…-binding``.

    Without subjects there is the Role alone: a right that nobody has.
    """
    given: Any = [
        {key: list(value) if isinstance(value, tuple) else value for key, value in rule.items()}
        for rule in rules
    ]
    named: Any = dict(metadata)
    made = kubernetes.rbac.v1.Role(role, metadata=named, rules=given, opts=opts)
    if not subjects:
        return [made]
    to: Any = [dict(one) for one in subjects]
    binding = kubernetes.rbac.v1.RoleBinding(
        f"{role.removesuffix('-role')}-binding",
        metadata=named,
        role_ref={"api_group": API_GROUP, "kind": "Role", "name": made.metadata.name.apply(str)},
        subjects=to,
        opts=opts,
    )
    return [made, binding]


def account_in(account: kubernetes.core.v1.ServiceAccount, namespace: pulumi.Input[str]) -> Any:
    """`account` as a subject."""
    return {
        "kind": "ServiceAccount",
        "name": account.metadata.name.apply(str),
        "namespace": namespace,
    }


def group(name: str) -> Any:
    """The people of a group of the identity provider as a subject."""
    return {"kind": "Group", "name": name, "api_group": API_GROUP}
