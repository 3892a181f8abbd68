"""Rules on encryption in transit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from policies.common.resources import UNKNOWN, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack

_POLICY = "aws:s3/bucketPolicy:BucketPolicy"


def bucket_policy_denies_plaintext(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """S3 answers HTTP without TLS unless the bucket's policy denies it."""
    policies = stack.joined(BUCKETS, frozenset({_POLICY}))
    for bucket in stack.of(BUCKETS):
        texts = [policy.at("policy") for policy in policies.of(bucket)]
        texts += [] if is_missing(bucket.at("policy")) else [bucket.at("policy")]
        known = [text for text in texts if text is not UNKNOWN]
        if any(_denies_plaintext(text) for text in known):
            continue
        if (policies.of(bucket) and len(known) < len(texts)) or (policies.strays and not texts):
            yield pending(bucket, "its policy")
        else:
            what = "does not deny s3:* to everybody under aws:SecureTransport false"
            yield Finding(resource=bucket, where="its policy", what=what)


def _denies_plaintext(text: Any) -> bool:
    try:
        statements = at(json.loads(text), "Statement") if isinstance(text, str) else ()
    except ValueError:
        return False
    return any(map(_is_denial, statements if isinstance(statements, list) else [statements]))


def _is_denial(statement: Any) -> bool:
    principal = at(statement, "Principal")
    condition = at(statement, "Condition")
    resources = _listed(at(statement, "Resource"))
    return (
        at(statement, "Effect") == "Deny"
        and (principal == "*" or "*" in _listed(at(principal, "AWS")))
        and bool({"s3:*", "*"}.intersection(_listed(at(statement, "Action"))))
        # the bucket and its objects, and nothing that narrows the denial
        and ("*" in resources or _covers_both(resources))
        and isinstance(condition, dict)
        and list(condition) == ["Bool"]
        and _is_insecure(condition["Bool"])
    )


def _covers_both(resources: Sequence[Any]) -> bool:
    objects = [one for one in resources if str(one).endswith("/*")]
    return any(str(one).removesuffix("/*") in resources for one in objects)


def _is_insecure(test: Any) -> bool:
    return (
        isinstance(test, dict)
        and list(test) == ["aws:SecureTransport"]
        and _listed(test["aws:SecureTransport"]) in (["false"], [False])
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


RULES = (
    Rule(
        name="s3-bucket-policy-denies-plaintext",
        description="Every bucket refuses requests that do not come over TLS.",
        mend="add the TLS statement from the bucket policy helper.",
        applies_to=lambda resource: resource.type in BUCKETS,
        together=bucket_policy_denies_plaintext,
    ),
)
