"""Rules on buckets: each is encrypted under a key of its owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.common.properties import EACH, dotted, places
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, Verdict, pending
from policies.common.stack import BUCKETS, Stack

_SETTING_NAME = "BucketServerSideEncryptionConfiguration"
_SETTINGS = frozenset(
    f"aws:s3/b{name[1:]}:{name}" for name in (_SETTING_NAME, f"{_SETTING_NAME}V2")
)
_BUCKETS = BUCKETS | {"aws:s3/directoryBucket:DirectoryBucket"}
_OWN_BLOCK: dict[str, tuple[str, ...]] = {
    "aws:s3tables/tableBucket:TableBucket": ("encryptionConfiguration",),
    "aws:s3/vectorsVectorBucket:VectorsVectorBucket": ("encryptionConfigurations",),
}
"""Buckets that say their key themselves, and where."""
_KEYS = frozenset({"aws:kms/key:Key", "aws:kms/externalKey:ExternalKey", "aws:kms/alias:Alias"})
_CUSTOMER_KEY_ALGORITHMS = ("aws:kms", "aws:kms:dsse")
_MANAGED_BY_AWS = "alias/aws/s3"

_INLINE = "serverSideEncryptionConfiguration"

_RULES: tuple[Path, ...] = (
    ("rules", EACH),
    (_INLINE, "rule"),
    (f"{_INLINE}s", EACH, "rules", EACH),
)
"""Where rules on encryption are: in a setting, and in buckets of today and of before."""
_ALGORITHM = ("applyServerSideEncryptionByDefault", "sseAlgorithm")


class LogBuckets(Parameters):
    """S3 and load balancers cannot deliver access logs under a customer key."""

    logBucketsMayUseAes: bool = True  # noqa: N815


def bucket_uses_customer_key(stack: Stack, parameters: LogBuckets) -> Iterator[Finding]:
    """Encryption is a resource of its own, so buckets and settings are joined first."""
    keys = {key.urn for key in stack.of(_KEYS)}
    settings = stack.joined(_BUCKETS, _SETTINGS)
    for bucket in stack.of(_BUCKETS):
        yield from _judge_bucket(
            bucket, settings.of(bucket), keys, parameters, strays=settings.strays
        )
    for bucket in stack.of(_OWN_BLOCK):
        yield from _judge_own_block(bucket, keys)


def _judge_bucket(
    bucket: Resource,
    settings: Sequence[Resource],
    keys: set[str],
    parameters: LogBuckets,
    *,
    strays: bool,
) -> Iterator[Finding]:
    purpose = bucket.at("tags", "purpose")
    if parameters.logBucketsMayUseAes and purpose == "logs":
        return
    if settings:
        verdicts = [
            _verdict(setting, _listed(setting.at("rules")), "rules", keys) for setting in settings
        ]
        where = f"its {_SETTING_NAME} '{settings[0].name}'"
    elif bucket.at(_INLINE) is UNKNOWN and not bucket.references.get(_INLINE):
        # not an input: what S3 will do by itself
        verdicts, where = ["violation"], _INLINE
    else:
        rules = bucket.at(_INLINE, "rule")
        rules = bucket.at(_INLINE, "rules") if rules is ABSENT else rules
        verdicts, where = [_verdict(bucket, _listed(rules), _INLINE, keys)], _INLINE
    if None in verdicts:
        return
    # a setting whose bucket is not known yet may be this one's
    if (strays and not settings) or purpose is UNKNOWN or "pending" in verdicts:
        what = "is not known well enough yet to say under which key the bucket is"
        yield pending(bucket, where, what)
    elif settings:
        what = "names no key of the owner (sseAlgorithm aws:kms with a kmsMasterKeyId)"
        yield Finding(resource=bucket, where=where, what=what)
    else:
        what = f"names no key of the owner, and no {_SETTING_NAME} does for the bucket"
        yield Finding(resource=bucket, where=where, what=what)


def _verdict(holder: Resource, rules: Any, holding: str, keys: set[str]) -> Verdict | None:
    """`None` when one of `rules` encrypts under a customer key."""
    if rules is UNKNOWN:
        return "pending"
    verdict: Verdict = "violation"
    for rule in rules:
        default = at(rule, "applyServerSideEncryptionByDefault")
        algorithm, key = at(default, "sseAlgorithm"), at(default, "kmsMasterKeyId")
        if UNKNOWN in (algorithm, default):
            verdict = "pending"
        elif algorithm in _CUSTOMER_KEY_ALGORITHMS and not is_missing(key):
            # at preview a new key has no ARN yet, but the property refers to it
            if key is not UNKNOWN or keys.intersection(holder.references.get(holding, ())):
                if key is UNKNOWN or not str(key).endswith(_MANAGED_BY_AWS):
                    return None
            else:
                verdict = "pending"
    return verdict


def _judge_own_block(bucket: Resource, keys: set[str]) -> Iterator[Finding]:
    (where,) = _OWN_BLOCK[bucket.type]
    block = bucket.at(where)
    block = block[0] if isinstance(block, list) and block else block
    key = at(block, "kmsKeyArn")
    if key is UNKNOWN:
        if not keys.intersection(bucket.references.get(where, ())):
            yield pending(bucket, where, "names a key that is not known yet")
    elif is_missing(key):
        what = "names no key of the owner (kmsKeyArn)"
        yield Finding(resource=bucket, where=where, what=what)


def bucket_key_is_enabled(resource: Resource, _: Parameters) -> Iterator[Finding]:
    """Without it each object asks KMS for a key of its own, and KMS for money."""
    for where in _without_bucket_key(resource):
        algorithm = resource.at(*where, *_ALGORITHM)
        if UNKNOWN in (algorithm, resource.at(*where, "bucketKeyEnabled")):
            yield pending(resource, dotted((*where, "bucketKeyEnabled")))
        else:
            where_ = dotted((*where, "bucketKeyEnabled"))
            yield Finding(resource=resource, where=where_, what="is not true")


def bucket_key_on(resource: Resource, _: Parameters) -> Mapping[Path, Any]:
    """What to set: it changes the calls to KMS, not who may read."""
    return {
        (*where, "bucketKeyEnabled"): True
        for where in _without_bucket_key(resource)
        if resource.at(*where, *_ALGORITHM) == "aws:kms"
        and resource.at(*where, "bucketKeyEnabled") is not UNKNOWN
    }


def _without_bucket_key(resource: Resource) -> Iterator[Path]:
    """Where rules are that use KMS and do not say that they use a bucket key."""
    for path in _RULES:
        for where in places(resource.properties, path):
            rule, algorithm = resource.at(*where), resource.at(*where, *_ALGORITHM)
            # with two layers (aws:kms:dsse) there are no bucket keys
            kms = not is_missing(rule) and algorithm in ("aws:kms", UNKNOWN)
            if kms and resource.at(*where, "bucketKeyEnabled") is not True:
                yield where


def _says_encryption(resource: Resource) -> bool:
    return resource.type in _SETTINGS or (
        resource.type in BUCKETS
        and any(not is_missing(resource.at(path[0])) for path in _RULES[1:])
    )


def _listed(rules: Any) -> Any:
    """Rules as a list: inline there is one, not in a list."""
    if rules is UNKNOWN or isinstance(rules, list):
        return rules
    return [] if is_missing(rules) else [rules]


RULES = (
    Rule(
        name="s3-bucket-uses-customer-key",
        description="Every bucket is encrypted under a key of its owner.",
        mend=f"add a {_SETTING_NAME} with the key of the artifacts domain.",
        applies_to=lambda resource: resource.type in _BUCKETS or resource.type in _OWN_BLOCK,
        parameters=LogBuckets,
        together=bucket_uses_customer_key,
    ),
    Rule(
        name="s3-bucket-key-is-enabled",
        description="Every bucket under KMS asks it for one key, and not for one an object.",
        mend="set bucketKeyEnabled to true.",
        applies_to=_says_encryption,
        each=bucket_key_is_enabled,
        remedy=bucket_key_on,
        level="advisory",
    ),
)
