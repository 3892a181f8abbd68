"""The least that the audit may be allowed: generated from the table, so that they agree."""

from __future__ import annotations

from typing import Any

from policies.audit.table import KINDS, TAGGED

_ALWAYS = ("ec2:DescribeRegions", "sts:GetCallerIdentity")


def actions() -> list[str]:
    """Every IAM action that the audit needs. None of them writes."""
    asked = {kind.action(one) for kind in (*KINDS, TAGGED) for one in kind.operations()}
    return sorted(asked.union(_ALWAYS))


def policy() -> dict[str, Any]:
    """An identity policy with these actions; listings take no narrower resource."""
    statement = {"Sid": "Audit", "Effect": "Allow", "Action": actions(), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}
