"""Cases of `policies/hardening/workload_roles.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, resource
from rule_cases.keys import allow, written

ROLE = "aws:iam/role:Role"
ARN = f"arn:aws:iam::{ACCOUNT}:role/app"
ISSUER = "oidc.eks.me-central-1.amazonaws.com/id/ABC"
CLUSTER = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"}
SUBJECT = "system:serviceaccount:risk:app"
ASSUME = "sts:AssumeRoleWithWebIdentity"
PODS = {"Service": "pods.eks.amazonaws.com"}
OURS = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def federated(**tests: Any) -> dict[str, Any]:
    """A statement with conditions by operator, of which a test names the key after the issuer."""
    said = {
        operator: {f"{ISSUER}:{name}": value for name, value in asked.items()}
        for operator, asked in tests.items()
    }
    return allow(CLUSTER, ASSUME, Resource=ABSENT, Condition=said)


PINNED = federated(StringEquals={"sub": SUBJECT, "aud": "sts.amazonaws.com"})
BY_POD = allow(PODS, "sts:AssumeRole", "sts:TagSession", Resource=ABSENT, Condition=OURS)


def role(*statements: Any, arn: Any = ARN, policy: Any = None) -> Resource:
    said = {"arn": arn, "assumeRolePolicy": policy or written(*statements)}
    return resource(ROLE, "app", said)


def association(of: Any = ARN, **more: Any) -> Resource:
    kind = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    return resource(kind, "app", {"roleArn": of, "namespace": "risk"}, **more)


def add_on(of: Any, **more: Any) -> Resource:
    return resource(
        "aws:eks/addon:Addon", "csi", {"podIdentityAssociations": [{"roleArn": of}]}, **more
    )


def account(name: Any, **more: Any) -> Resource:
    annotations = {"eks.amazonaws.com/role-arn": name}
    metadata = {"name": "app", "namespace": "risk", "annotations": annotations}
    return resource("kubernetes:core/v1:ServiceAccount", "app", {"metadata": metadata}, **more)


NEW = role(BY_POD, arn=UNKNOWN)
NEW_PINNED = role(PINNED, arn=UNKNOWN)
OPEN = federated(StringEquals={"aud": "sts.amazonaws.com"})
WRONG_KEY = allow(
    CLUSTER,
    ASSUME,
    Resource=ABSENT,
    Condition={
        "StringEquals": {
            "oidc.eks.me-central-1.amazonaws.com/id/OTHER:sub": SUBJECT,
            f"{ISSUER}:aud": "sts.amazonaws.com",
        }
    },
)


def by_subject(operator: str, *subjects: str) -> list[Resource]:
    tests: dict[str, Any] = {operator: {"sub": list(subjects)}}
    tests.setdefault("StringEquals", {})["aud"] = "sts.amazonaws.com"
    return [role(federated(**tests))]


CASES = (
    Cases(
        rule="workload-role-is-pinned-to-service-account",
        baseline=[role(PINNED), account(ARN)],
        fails={
            "any pod": [role(OPEN)],
            "no condition": [role(allow(CLUSTER, ASSUME, Resource=ABSENT))],
            "any audience": [role(federated(StringEquals={"sub": SUBJECT}))],
            "another audience": [role(federated(StringEquals={"sub": SUBJECT, "aud": "x"}))],
            "any account": by_subject("StringLike", "system:serviceaccount:risk:*"),
            "any namespace": by_subject("StringLike", "system:serviceaccount:*:app"),
            "any name of one letter more": by_subject("StringLike", f"{SUBJECT}?"),
            "a star that is a letter": by_subject("StringEquals", "system:serviceaccount:risk:*"),
            "all others": by_subject("StringNotEquals", SUBJECT),
            "if there": by_subject("StringEqualsIfExists", SUBJECT),
            "two accounts": by_subject("StringEquals", SUBJECT, f"{SUBJECT}2"),
            "no account": by_subject("StringEquals", "system:serviceaccount:risk"),
            "the key of another cluster": [role(WRONG_KEY)],
            "one statement of two": [role(PINNED, OPEN)],
            "nobody is given it": [role(BY_POD)],
            "given to another": [role(BY_POD), association(f"{ARN}-2")],
            "by pods of any account": [
                role(allow(PODS, "sts:AssumeRole", Resource=ABSENT)),
                association(),
            ],
            "an account without its role": [account(ARN)],
            "an account of another's role": [role(BY_POD), association(), account(ARN)],
            "no JSON": [role(policy="{")],
        },
        passes={
            "like one": by_subject("StringLike", SUBJECT),
            "a list of one": by_subject("StringEquals", SUBJECT),
            "not of a cluster": [
                role(allow({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/ci"}, ASSUME))
            ],
            "denied": [role({**OPEN, "Effect": "Deny"})],
            "given": [role(BY_POD), association()],
            "given at preview": [NEW, association(UNKNOWN, references={"roleArn": (NEW.urn,)})],
            "given by an add-on": [role(BY_POD), add_on(ARN)],
            "given by an add-on at preview": [
                NEW,
                add_on(UNKNOWN, references={"podIdentityAssociations": (NEW.urn,)}),
            ],
            "an account without a role": [role(PINNED), account(None)],
            "an account at preview": [
                NEW_PINNED,
                account(UNKNOWN, references={"metadata": (NEW_PINNED.urn,)}),
            ],
        },
        pending={
            "trust": [role(policy=UNKNOWN)],
            "subject": [
                role(
                    policy={
                        "Statement": [{**PINNED, "Condition": {"StringEquals": UNKNOWN}}],
                    }
                )
            ],
            "given to whom": [role(BY_POD), association(UNKNOWN)],
            "given by an add-on to whom": [NEW, add_on(UNKNOWN)],
            "which role": [role(PINNED), account(UNKNOWN)],
            "an account of a cluster that is not there": [
                role(PINNED),
                resource("kubernetes:core/v1:ServiceAccount", "app", {}, hidden=True),
            ],
            "whom its role trusts": [role(policy=UNKNOWN), account(ARN)],
        },
    ),
)
