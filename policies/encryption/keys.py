"""Rules on keys."""

from __future__ import annotations

from collections.abc import Iterator

from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending


class Rotation(Parameters):
    """How often the material of a key changes."""

    maxRotationDays: int = 365  # noqa: N815


def key_rotates(key: Resource, parameters: Rotation) -> Iterator[Finding]:
    """KMS rotates symmetric keys whose material it made itself, and no others."""
    usage, spec, store = map(key.at, ("keyUsage", "customerMasterKeySpec", "customKeyStoreId"))
    if not (
        (is_missing(usage) or usage in (UNKNOWN, "ENCRYPT_DECRYPT"))
        and (is_missing(spec) or spec in (UNKNOWN, "SYMMETRIC_DEFAULT"))
        and is_missing(store)
    ):
        return
    rotates, days = key.at("enableKeyRotation"), key.at("rotationPeriodInDays")
    if UNKNOWN in (rotates, days, usage, spec):
        what = "is not known well enough yet to say whether the key rotates"
        yield pending(key, "enableKeyRotation", what)
    elif rotates is not True:
        yield Finding(resource=key, where="enableKeyRotation", what="is not true")
    elif not is_missing(days) and days > parameters.maxRotationDays:
        what = f"is {days}; allowed: {parameters.maxRotationDays} at most"
        yield Finding(resource=key, where="rotationPeriodInDays", what=what)


RULES = (
    Rule(
        name="kms-key-rotates",
        description="Every key whose material KMS made is rotated at least yearly.",
        mend="set enableKeyRotation to true.",
        applies_to=lambda resource: resource.type == "aws:kms/key:Key",
        parameters=Rotation,
        each=key_rotates,
    ),
)
