"""Rules on keys."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from policies.common.keys import KEYS
from policies.common.policy_document import Document, InvalidPolicyError, is_root, parsed
from policies.common.properties import is_not
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import Stack

_POLICIES = frozenset({"aws:kms/keyPolicy:KeyPolicy"})


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


class Deletion(Parameters):
    """How long a key that is to be deleted can be kept after all."""

    minDeletionDays: int = Field(30, ge=7, le=30)  # noqa: N815


def key_deletion_waits(key: Resource, parameters: Deletion) -> Iterator[Finding]:
    """What is under a deleted key is lost; absent, KMS waits 30 days."""
    days = key.at("deletionWindowInDays")
    if days is UNKNOWN:
        yield pending(key, "deletionWindowInDays")
    elif not is_missing(days) and days < parameters.minDeletionDays:
        what = f"is {days}; allowed: {parameters.minDeletionDays} at least"
        yield Finding(resource=key, where="deletionWindowInDays", what=what)
    yield from is_not(key, ("bypassPolicyLockoutSafetyCheck",), True)


class KeyPolicies(Parameters):
    """What a policy of a key may say."""

    rootActions: tuple[str, ...] = (  # noqa: N815
        *("kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*"),
        *("kms:Revoke*", "kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource"),
        *("kms:UntagResource", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
    )
    """What an account's root may do: administer, not use."""
    narrowingKeys: tuple[str, ...] = (  # noqa: N815
        *("kms:CallerAccount", "aws:PrincipalAccount", "aws:PrincipalOrgID"),
    )
    """Condition keys that make few of everybody."""


_USE = "kms:Decrypt"
_ADMINISTER = ("kms:ScheduleKeyDeletion", "kms:PutKeyPolicy")


def key_policy_names_principals(stack: Stack, parameters: KeyPolicies) -> Iterator[Finding]:
    """Without a policy of its own a key is whoever's the account's IAM policies say."""
    policies = stack.joined(KEYS, _POLICIES, "keyId")
    for key in stack.of(KEYS):
        policy = key.at("policy")
        # at preview what is not an input is not known either
        said = not is_missing(policy) and (policy is not UNKNOWN or key.references.get("policy"))
        own = policies.of(key)
        if said and not own:
            yield from _policy(key, parameters)
        elif not own and policies.strays:
            yield pending(key, "policy", "may be among the KeyPolicies that are not known yet")
        elif not own:
            yield Finding(resource=key, where="policy", what="is not set")
    for one in stack.of(_POLICIES):
        yield from _policy(one, parameters)


def _policy(holder: Resource, parameters: KeyPolicies) -> Iterator[Finding]:
    try:
        document = parsed(holder.at("policy"))
    except InvalidPolicyError as error:
        yield Finding(resource=holder, where="policy", what=str(error))
        return
    if not isinstance(document, Document):
        yield pending(holder, "policy")
        return
    if not document.is_known:
        yield pending(holder, "policy", "is not known wholly yet")
    for what in sorted(set(_wrong(document, parameters))):
        yield Finding(resource=holder, where="policy", what=what)


def _wrong(document: Document, parameters: KeyPolicies) -> Iterator[str]:
    names: set[str] = set()
    for statement in document.statements:
        if statement.allows is not True:
            continue
        if statement.but_principals:
            yield "allows all but some (NotPrincipal)"
        elif statement.is_for_everyone:
            if not statement.narrowed_by(parameters.narrowingKeys) and statement.is_known:
                keys = " or ".join(parameters.narrowingKeys)
                yield f"allows everybody without a condition on {keys}"
        else:
            names |= set(statement.named)
            if any(map(is_root, statement.named)) and not statement.is_within(
                parameters.rootActions
            ):
                yield "allows an account's root more than to administer the key"
    for name in names:
        if (
            not is_root(name)
            and document.grants(name, _USE)
            and any(document.grants(name, action) for action in _ADMINISTER)
        ):
            yield f"allows {name} to use the key and to administer it"


RULES = (
    Rule(
        name="kms-key-rotates",
        description="Every key whose material KMS made is rotated at least yearly.",
        mend="set enableKeyRotation to true.",
        applies_to=lambda resource: resource.type == "aws:kms/key:Key",
        parameters=Rotation,
        each=key_rotates,
    ),
    Rule(
        name="kms-key-deletion-waits",
        description="Every key can be kept for a while after somebody asked for its deletion.",
        mend="set deletionWindowInDays to 30, and leave the safety check on.",
        applies_to=lambda resource: resource.type in KEYS,
        parameters=Deletion,
        each=key_deletion_waits,
    ),
    Rule(
        name="kms-key-policy-names-principals",
        description="Every key says by itself who administers and who uses it.",
        mend="name the roles that administer and the roles that use the key.",
        applies_to=lambda resource: resource.type in KEYS | _POLICIES,
        parameters=KeyPolicies,
        together=key_policy_names_principals,
    ),
)
