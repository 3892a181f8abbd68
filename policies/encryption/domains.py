"""Rule on what keys are for: each serves one kind of data, so that one can be shut off alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from policies.common.keys import KEYS, Keys
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.common.tags import tag

_ENCRYPTIONS = frozenset(
    {
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
    }
)
_SECRET = "aws:secretsmanager/secret:Secret"  # noqa: S105  # pragma: allowlist secret
_OF_BUCKET = "rules.applyServerSideEncryptionByDefault.kmsMasterKeyId"
_NAMED: Mapping[str, Mapping[str, str]] = {
    "aws:backup/vault:Vault": {"kmsKeyArn": ""},
    "aws:cloudtrail/trail:Trail": {"kmsKeyId": ""},
    "aws:cloudwatch/logGroup:LogGroup": {"kmsKeyId": ""},
    "aws:ecr/repository:Repository": {"encryptionConfigurations.kmsKey": ""},
    "aws:eks/cluster:Cluster": {"encryptionConfig.provider.keyArn": ""},
    "aws:rds/cluster:Cluster": {"kmsKeyId": "", "masterUserSecretKmsKeyId": _SECRET},
    "aws:rds/instance:Instance": {"kmsKeyId": "", "masterUserSecretKmsKeyId": _SECRET},
    _SECRET: {"kmsKeyId": ""},
}
"""Where a type names its key → the type of what is under it, where that is another."""


class Domains(Parameters):
    """Which kinds of data there are, and what holds which."""

    dataDomains: tuple[str, ...] = (  # noqa: N815
        *("state", "artifacts", "database", "secrets", "cluster", "logs", "backups", "team"),
    )
    """Values of the tag ``data-domain``, which resources other than keys may have too."""
    domainOfType: dict[str, str] = Field(  # noqa: N815
        default_factory=lambda: {
            "aws:backup/vault:Vault": "backups",
            "aws:cloudtrail/trail:Trail": "logs",
            "aws:cloudwatch/logGroup:LogGroup": "logs",
            "aws:ecr/repository:Repository": "artifacts",
            "aws:eks/cluster:Cluster": "cluster",
            "aws:rds/cluster:Cluster": "database",
            "aws:rds/instance:Instance": "database",
            "aws:s3/bucket:Bucket": "artifacts",
            "aws:s3/bucketV2:BucketV2": "artifacts",
            _SECRET: "secrets",  # pragma: allowlist secret
        }
    )
    domainOfPurpose: dict[str, str] = Field(  # noqa: N815
        {
            "audit": "logs",
            "backup": "backups",
            "configuration": "logs",
            "evidence": "logs",
            "logs": "logs",
        }
    )
    """Of the tag ``purpose``, which says more than the type of a bucket does."""


def key_serves_one_domain(stack: Stack, parameters: Domains) -> Iterator[Finding]:
    """A key that two kinds of data share cannot be shut off for one of them."""
    keys = Keys(stack)
    users: dict[str, dict[Any, Resource]] = {}
    for user, domain, key in _uses(stack, keys, parameters):
        if key is not None and domain is not None:
            users.setdefault(key.urn, {}).setdefault(domain, user)
    for key in stack.of(KEYS):
        value = tag(key, "data-domain")
        if value is UNKNOWN:
            yield pending(key, "tags.data-domain")
        elif is_missing(value) or value not in parameters.dataDomains:
            what = "is not set" if is_missing(value) else f"is {value}"
            allowed = ", ".join(parameters.dataDomains)
            what = f"{what}; allowed: {allowed}"
            yield Finding(resource=key, where="tags.data-domain", what=what)
        found_ = users.get(key.urn, {})
        known = {domain: one for domain, one in found_.items() if domain is not UNKNOWN}
        said = " and ".join(f"{domain} ('{known[domain].name}')" for domain in sorted(known))
        if len(known) > 1:
            yield Finding(resource=key, where="its data", what=f"is of {said}")
        elif known and UNKNOWN in found_:
            what = f"is of {said}, and of '{found_[UNKNOWN].name}', which does not say yet"
            yield pending(key, "its data", what)
    if keys.strays:
        yield pending(keys.strays[0], "its key", "is not known yet, and may serve other data")


def _uses(
    stack: Stack, keys: Keys, parameters: Domains
) -> Iterator[tuple[Resource, Any, Resource | None]]:
    """Who has what kind of data under which key."""
    for user in stack.of(_NAMED):
        for path, kind in _NAMED[user.type].items():
            for key in keys.of(user, path):
                yield user, _domain(user, kind, parameters), key
    encryptions = stack.joined(BUCKETS, _ENCRYPTIONS)
    for bucket in stack.of(BUCKETS):
        for setting in encryptions.of(bucket):
            for key in keys.of(setting, _OF_BUCKET):
                yield bucket, _domain(bucket, "", parameters), key


def _domain(user: Resource, kind: str, parameters: Domains) -> Any:
    """The kind of data of `user`; nothing where nobody says."""
    if kind:
        return parameters.domainOfType.get(kind)
    said, purpose = tag(user, "data-domain"), tag(user, "purpose")
    if UNKNOWN in (said, purpose):
        return UNKNOWN
    if not is_missing(said):
        return said
    of_type = parameters.domainOfType.get(user.type)
    return parameters.domainOfPurpose.get(purpose, of_type) if purpose else of_type


RULES = (
    Rule(
        name="kms-key-serves-one-data-domain",
        description="Every key says what kind of data it is for, and serves no other.",
        mend="take the key of the right kind of data, and tag each with data-domain.",
        applies_to=lambda resource: resource.type in KEYS,
        parameters=Domains,
        together=key_serves_one_domain,
    ),
)
