"""Rules on copies abroad that are approved: by whom for how long, and who holds their key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from policies.common.exceptions import today
from policies.common.keys import Keys
from policies.common.places import Place, found, shown
from policies.common.properties import is_said
from policies.common.resources import UNKNOWN, Missing, Resource, at, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import Stack
from policies.common.tags import tag
from policies.residency.approvals import ForeignCopy, KnownBuckets
from policies.residency.copies import Copy, copied, copies_something
from policies.residency.regions import region_of

_CLASS, _ENCRYPTED = "data-classification", "client-side-encrypted"
_VAULTS = frozenset({"aws:backup/vault:Vault"})
_AIR_GAPPED = frozenset({"aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault"})
_REPLICA_KEYS = (("encryptionConfiguration", "replicaKmsKeyId"), ("replicaKmsKeyId",))
"""Beside the name of the bucket that objects are copied to."""
_MANAGED: Mapping[str, str] = {
    **dict.fromkeys(_VAULTS, "kmsKeyArn"),
    **dict.fromkeys(_AIR_GAPPED, "encryptionKeyArn"),
}
"""Where a vault names its key."""


class Approvals(KnownBuckets):
    """Which copies abroad are approved."""

    mode: Literal["in-country", "approved-foreign-copy"] = "in-country"
    maxDays: int = Field(365, ge=1)  # noqa: N815
    """For which an approval holds at most, from today."""


def foreign_copy_is_approved(stack: Stack, parameters: Approvals) -> Iterator[Finding]:
    """An approval is for one kind of data, and for a while."""
    for approval in parameters.approvedForeignCopies:
        yield from _in_force(approval, parameters)
    for copy in copied(stack, parameters.knownBuckets):
        if copy.region in parameters.allowedRegions:
            continue
        classes = {
            one.dataClass for one in parameters.approvedForeignCopies if one.region == copy.region
        }
        where = shown(copy.place)
        if copy.region is UNKNOWN:
            if parameters.approvedForeignCopies:
                yield pending(copy.holder, where)
        # a region for which there is no approval is for the rules on copies
        elif classes:
            yield from _of_class(copy, where, classes)


def _in_force(approval: ForeignCopy, parameters: Approvals) -> Iterator[Finding]:
    named = Resource(type="approval", urn="", name=approval.reference)
    latest = today() + timedelta(days=parameters.maxDays)
    if parameters.mode == "in-country":
        what = "is there, but the mode is in-country: nothing is copied abroad"
        yield Finding(resource=named, where="it", what=what)
    if approval.expires < today():
        what = f"is {approval.expires}: it is over"
        yield Finding(resource=named, where="expires", what=what)
    elif approval.expires > latest:
        what = f"is {approval.expires}; allowed: {latest} at the latest"
        yield Finding(resource=named, where="expires", what=what)


def _of_class(copy: Copy, where: str, classes: set[str]) -> Iterator[Finding]:
    allowed = ", ".join(sorted(classes))
    value = tag(copy.source, _CLASS) if isinstance(copy.source, Resource) else copy.source
    if value is UNKNOWN:
        what = f"is {copy.region}, and which class of data that is is not known yet"
        yield pending(copy.holder, where, what)
    elif value not in classes:
        shown_ = "not said" if is_missing(value) else value
        what = f"is {copy.region}, for {_CLASS} {shown_}; approved there: {allowed}"
        yield Finding(resource=copy.holder, where=where, what=what)


def foreign_copy_key_is_held_in_country(
    stack: Stack, parameters: KnownBuckets
) -> Iterator[Finding]:
    """Who holds the key can read the copy, and a region abroad answers to its own courts."""
    keys = Keys(stack)
    for copy in copied(stack, parameters.knownBuckets):
        if copy.region in parameters.allowedRegions or not (copy.of_bucket or copy.of_backup):
            continue
        # whose region nobody knows is for the rule on replication
        if is_missing(copy.region):
            continue
        encrypted = tag(copy.source, _ENCRYPTED) if isinstance(copy.source, Resource) else ""
        if copy.of_bucket and encrypted == "true":
            continue
        where = shown(copy.place)
        if copy.region is UNKNOWN or (copy.of_bucket and encrypted is UNKNOWN):
            yield pending(copy.holder, where, "may be abroad, in the clear for who is there")
            continue
        held = _of_object(copy, keys) if copy.of_bucket else _of_vault(copy, keys, stack)
        if UNKNOWN in held:
            yield pending(copy.holder, where, "is abroad, under a key that is not known yet")
        elif held != [True]:
            what = f"is in {copy.region}, under a key that is not held in the country"
            yield Finding(resource=copy.holder, where=where, what=what)


def _of_object(copy: Copy, keys: Keys) -> list[Any]:
    """Whether the key is held in the country, as a list of one; `UNKNOWN` where nobody knows."""
    for path in _REPLICA_KEYS:
        place = _beside(copy.place, path)
        value = at(copy.holder.properties, *place)
        if not is_missing(value):
            return _held(copy.holder, keys, place, value)
    return [False]


def _beside(place: Place, path: tuple[str, ...]) -> Place:
    return (*place[:-1], *path)


def _held(holder: Resource, keys: Keys, place: Place, value: Any) -> list[Any]:
    path = ".".join(step for step in place if isinstance(step, str))
    if value is not UNKNOWN:
        return [_is_external(keys.named(value))]
    named = [key for key in keys.of(holder, path) if key is not None]
    # a property of many keys does not say which is whose: one that is not held counts
    return [all(map(_is_external, named))] if named else [UNKNOWN]


def _is_external(key: Resource | None) -> bool:
    return key is not None and is_said(key, "customKeyStoreId") and is_said(key, "xksKeyId")


def _of_vault(copy: Copy, keys: Keys, stack: Stack) -> list[Any]:
    value = at(copy.holder.properties, *copy.place)
    vaults = stack.of(_VAULTS | _AIR_GAPPED)
    if value is UNKNOWN:
        urns = copy.holder.references.get(str(copy.place[0]), ())
        meant = [vault for vault in vaults if vault.urn in urns]
    else:
        meant = [vault for vault in vaults if _is_named(vault, value)]
    if not meant:
        return [UNKNOWN if value is UNKNOWN else False]
    found_: list[Any] = []
    for vault in meant:
        name = _MANAGED[vault.type]
        for place, key in found(vault.properties, name):
            found_ += _held(vault, keys, place, key)
        if is_missing(vault.at(name)):
            found_.append(False)
    return [UNKNOWN] if UNKNOWN in found_ else [all(found_)]


def _is_named(vault: Resource, arn: str) -> bool:
    """At preview the ARN of a vault is not known, but its region and its name are."""
    if vault.at("arn") == arn:
        return True
    region, name = region_of(vault, output=True), vault.at("name")
    return (
        vault.at("arn") is UNKNOWN
        and not isinstance(region, Missing)
        and f":{region}:" in arn
        and arn.endswith(f":backup-vault:{name}")
    )


RULES = (
    Rule(
        name="foreign-copy-is-approved-and-unexpired",
        description="Every copy abroad has an approval for its kind of data, which is in force.",
        mend="record the approval with its reference and expiry, or remove the copy.",
        applies_to=copies_something,
        parameters=Approvals,
        together=foreign_copy_is_approved,
    ),
    Rule(
        name="foreign-copy-key-is-held-in-country",
        description="What is copied abroad can be read there with a key from the country alone.",
        mend="encrypt on the client before the copy, or use an external key store in the country.",
        applies_to=copies_something,
        parameters=KnownBuckets,
        together=foreign_copy_key_is_held_in_country,
    ),
)
