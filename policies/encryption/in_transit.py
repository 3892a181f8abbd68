"""Rules on encryption in transit: buckets, whose policies decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from policies.common.policy_document import Document, InvalidPolicyError, parsed
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack

_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc"))
"""How names of regions begin that are in another partition than most."""
_POLICY = "aws:s3/bucketPolicy:BucketPolicy"


def bucket_policy_denies_plaintext(stack: Stack, _: Parameters) -> Iterator[Finding]:
    """S3 answers HTTP without TLS unless the bucket's policy denies it."""
    policies = stack.joined(BUCKETS, frozenset({_POLICY}))
    for bucket in stack.of(BUCKETS):
        texts = [policy.at("policy") for policy in policies.of(bucket)]
        texts += [] if is_missing(bucket.at("policy")) else [bucket.at("policy")]
        if any(_denies_plaintext(text, bucket) for text in texts):
            continue
        if (policies.of(bucket) and UNKNOWN in texts) or (policies.strays and not texts):
            yield pending(bucket, "its policy")
        else:
            what = "does not deny s3:* to everybody under aws:SecureTransport false"
            yield Finding(resource=bucket, where="its policy", what=what)


def _denies_plaintext(text: Any, bucket: Resource) -> bool:
    try:
        document = parsed(text)
    except InvalidPolicyError:
        return False
    if not isinstance(document, Document):
        return False
    names = _names(document, bucket)
    return any(document.denies_plaintext(["s3:*"], [name, f"{name}/*"]) for name in names)


def _names(document: Document, bucket: Resource) -> Sequence[str]:
    """ARNs that may be the bucket's: its own, or any that is said while it is not known."""
    name, arn = bucket.at("bucket"), bucket.at("arn")
    if isinstance(arn, str):
        return [arn]
    if isinstance(name, str):
        region = str(bucket.at("region"))
        partition = next((one for start, one in _PARTITIONS if region.startswith(start)), "aws")
        return [f"arn:{partition}:s3:::{name}"]
    said = [one.resources for one in document.statements if isinstance(one.resources, tuple)]
    return ["*", *(str(one).removesuffix("/*") for resources in said for one in resources)]


RULES = (
    Rule(
        name="s3-bucket-policy-denies-plaintext",
        description="Every bucket refuses requests that do not come over TLS.",
        mend="add the TLS statement from the bucket policy helper.",
        applies_to=lambda resource: resource.type in BUCKETS,
        together=bucket_policy_denies_plaintext,
    ),
)
