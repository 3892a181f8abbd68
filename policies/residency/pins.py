"""Rules on what pins use to the country: boundaries and keys to regions, buckets to networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from policies.common.documents import UNREAD, conditions_of, document_of, is_outside, says
from policies.common.patterns import is_among
from policies.common.places import document
from policies.common.policy_document import Condition, Document, Statement, overlap, within
from policies.common.resources import ABSENT, UNKNOWN, Missing, Resource, at, is_missing
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.guards.conditions import REGION
from policies.guards.worldwide import GLOBAL_ACTIONS
from policies.residency.regions import Regions

_BOUND = frozenset({"aws:iam/role:Role", "aws:iam/user:User"})
_BOUNDARIES = frozenset({"aws:iam/policy:Policy"})


class Boundaries(Regions):
    """What a boundary must deny."""

    boundaryNames: tuple[str, ...] = ()  # noqa: N815
    """Policies that are boundaries, whether a role names them or not, where ``*`` stands for
    anything; those that are in no stack are taken to deny what they must."""
    globalActions: tuple[str, ...] = GLOBAL_ACTIONS  # noqa: N815
    """Of services that are in no region, and hold no protected data."""


def boundary_pins_region(stack: Stack, parameters: Boundaries) -> Iterator[Finding]:
    """What the boundary denies, no policy of a role allows."""
    boundaries = {
        policy.urn: policy
        for policy in stack.of(_BOUNDARIES)
        if is_among(policy.at("name"), parameters.boundaryNames)
    }
    for one in stack.of(_BOUND):
        where = "permissionsBoundary"
        name = one.at(where)
        if is_missing(name) or (name is UNKNOWN and not one.references.get(where)):
            continue
        policy = stack.named(one, where, _BOUNDARIES, "arn")
        if isinstance(policy, Resource):
            boundaries[policy.urn] = policy
        elif policy is UNKNOWN:
            yield pending(one, where)
        elif not is_among(str(name).rpartition("/")[2], parameters.boundaryNames):
            what = f"is {name}, which is no policy of this stack, and not in boundaryNames"
            yield Finding(resource=one, where=where, what=what)
    for policy in boundaries.values():
        said = yield from document_of(policy, "policy", policy.at("policy"))
        read = said is not UNREAD and said.is_known
        if read and not any(_pins(one, parameters) for one in said.statements):
            regions = ", ".join(parameters.allowedRegions)
            what = f"does not deny all but globalActions outside {regions}"
            yield Finding(resource=policy, where="policy", what=what)


def _pins(statement: Statement, parameters: Boundaries) -> bool:
    if statement.allows is not False or not statement.covers_resource("*"):
        return False
    actions = statement.actions
    if isinstance(actions, Missing):
        return False
    listed = [str(one).lower() for one in actions]
    exempt = [one.lower() for one in parameters.globalActions]
    if statement.but_actions:
        complete = all(any(within(one, outer) for outer in exempt) for one in listed)
    else:
        complete = any(set(one) <= set("*:") for one in listed)
    return complete and _outside_regions(statement, parameters)


def _outside_regions(statement: Statement, parameters: Regions) -> bool:
    """Whether the region is the one condition: with another, it would deny less."""
    conditions = conditions_of(statement)
    return (
        conditions is not None
        and bool(conditions)
        and all(is_outside(one, REGION, frozenset(parameters.allowedRegions)) for one in conditions)
    )


_KEYS = frozenset(
    {
        "aws:kms/externalKey:ExternalKey",
        "aws:kms/key:Key",
        "aws:kms/replicaExternalKey:ReplicaExternalKey",
        "aws:kms/replicaKey:ReplicaKey",
    }
)
_KEY_POLICIES = frozenset({"aws:kms/keyPolicy:KeyPolicy"})
_USES: dict[Any, tuple[str, ...]] = {
    "GENERATE_VERIFY_MAC": ("kms:GenerateMac", "kms:VerifyMac"),
    "KEY_AGREEMENT": ("kms:DeriveSharedSecret",),
    "SIGN_VERIFY": ("kms:Sign", "kms:Verify"),
}
"""What a key is used for → the actions that use it."""
_ENCRYPTS = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")


def key_policy_pins_region(stack: Stack, parameters: Regions) -> Iterator[Finding]:
    """Data that leaves the country stays closed where its key cannot be used from there."""
    policies = stack.joined(_KEYS, _KEY_POLICIES, "keyId")
    for key in stack.of(_KEYS):
        own = policies.of(key)
        holders: Sequence[Resource] = own or ([key] if says(key, "policy") else [])
        if not holders and policies.strays:
            yield pending(key, "policy", "may be among the KeyPolicies that are not known yet")
        elif not holders:
            yield Finding(resource=key, where="policy", what="is not set: nothing pins the key")
        uses = _USES.get(key.at("keyUsage"), _ENCRYPTS)
        for holder in holders:
            yield from _pinned_key(holder, uses, parameters)


def _pinned_key(holder: Resource, uses: Sequence[str], parameters: Regions) -> Iterator[Finding]:
    said = yield from document_of(holder, "policy", holder.at("policy"))
    denied = [
        one
        for one in said.statements
        if _denies_everybody(one) and _outside_regions(one, parameters)
    ]
    if not said.is_known or all(any(one.covers(use) for one in denied) for use in uses):
        return
    for one in said.statements:
        if one.allows is True and _lets_use(one, uses) and not _via_services(one, parameters):
            what = "lets somebody use the key without kms:ViaService, and denies no region"
            yield Finding(resource=holder, where="policy", what=what)
            return


def _denies_everybody(statement: Statement) -> bool:
    principals = statement.principals
    return (
        statement.allows is False
        and not statement.but_principals
        and isinstance(principals, tuple)
        and "*" in principals
    )


def _lets_use(statement: Statement, uses: Sequence[str]) -> bool:
    """Whether it lets anybody use the key but services, which do so where they are."""
    principals = statement.principals
    if isinstance(principals, tuple) and not statement.but_principals:
        others = [one for one in principals if not str(one).startswith("Service:")]
        if principals and not others:
            return False
    actions = statement.actions if isinstance(statement.actions, tuple) else ()
    return statement.but_actions or any(
        overlap(str(one).lower(), use.lower()) for one in actions for use in uses
    )


def _via_services(statement: Statement, parameters: Regions) -> bool:
    ends = tuple(f".{region}.amazonaws.com" for region in parameters.allowedRegions)
    return any(
        one.key == "kms:viaservice"
        # of any service in a region is as good as of one
        and one.operator in ("StringEquals", "StringLike")
        and one.quantifier != "ForAllValues"
        and not one.if_exists
        and bool(one.values)
        and all(str(value).endswith(ends) for value in one.values)
        for one in conditions_of(statement) or ()
    )


_BUCKET_POLICIES = frozenset({"aws:s3/bucketPolicy:BucketPolicy"})
_CLASS = "data-classification"
_NETWORKS = frozenset({"aws:sourcevpc", "aws:sourcevpce"})
_OF_SERVICES = frozenset({"aws:viaawsservice", "aws:principalisawsservice"})
_UNLIKE = ("ArnNotEquals", "ArnNotLike", "StringNotEquals", "StringNotLike")
_OBJECTS = ("s3:GetObject", "s3:PutObject")


class Networks(Parameters):
    """Which buckets are used from the network alone."""

    protectedClasses: tuple[str, ...] = ("confidential", "restricted")  # noqa: N815
    exemptPrincipals: tuple[str, ...] = ()  # noqa: N815
    """ARNs that may come from elsewhere, where ``*`` stands for anything."""


def bucket_pins_network(stack: Stack, parameters: Networks) -> Iterator[Finding]:
    """A key that is lost abroad opens nothing there. The region asked is always the bucket's."""
    policies = stack.joined(BUCKETS, _BUCKET_POLICIES)
    for bucket in stack.of(BUCKETS):
        kind = _class_of(bucket)
        if kind is UNKNOWN:
            yield pending(bucket, f"tags.{_CLASS}")
        if kind not in parameters.protectedClasses:
            continue
        own = policies.of(bucket)
        holders: Sequence[Resource] = own or ([bucket] if says(bucket, "policy") else [])
        if not holders and policies.strays:
            yield pending(bucket, "policy", "may be among the BucketPolicies that are not known")
        elif not holders:
            yield Finding(
                resource=bucket, where="policy", what="is not set: all networks are let in"
            )
        for holder in holders:
            said = yield from document_of(holder, "policy", holder.at("policy"))
            if said is UNREAD or not said.is_known:
                continue
            if missing := _let_in(said, bucket, parameters):
                what = f"does not deny {', '.join(missing)} from outside the network"
                yield Finding(resource=holder, where="policy", what=what)


def _class_of(bucket: Resource) -> Any:
    """How the data of a bucket is classified: by its tags, or those that its provider gives."""
    own = bucket.at("tags", _CLASS) if says(bucket, "tags") else ABSENT
    if not is_missing(own):
        return own
    given = bucket.at("tagsAll", _CLASS)
    if not is_missing(given) and given is not UNKNOWN:
        return given
    defaults = document(bucket.provider.at("defaultTags")) if bucket.provider else ABSENT
    return UNKNOWN if defaults is UNKNOWN else at(defaults, "tags", _CLASS)


def _let_in(said: Document, bucket: Resource, parameters: Networks) -> list[str]:
    """What can be done with the bucket from anywhere."""
    denials = [
        one
        for one in said.statements
        if _denies_everybody(one) and _outside_networks(one, parameters)
    ]
    name = bucket.at("bucket")
    arn = f"arn:aws:s3:::{name}" if isinstance(name, str) else None
    asked = [*((one, arn and f"{arn}/*") for one in _OBJECTS), ("s3:ListBucket", arn)]
    return [
        action
        for action, resource in asked
        if not any(
            one.covers(action) and (resource is None or one.covers_resource(resource))
            for one in denials
        )
    ]


def _outside_networks(statement: Statement, parameters: Networks) -> bool:
    conditions = conditions_of(statement) or ()
    return any(map(_is_of_network, conditions)) and all(
        _is_of_network(one) or _is_exception(one, parameters) for one in conditions
    )


def _is_of_network(condition: Condition) -> bool:
    return (
        condition.key in _NETWORKS
        and condition.operator in ("StringNotEquals", "StringNotLike")
        and not condition.quantifier
        and bool(condition.values)
        and not any("*" in str(one) or "?" in str(one) for one in condition.values)
    )


def _is_exception(condition: Condition, parameters: Networks) -> bool:
    if condition.quantifier:
        return False
    if condition.key in _OF_SERVICES:
        said = {str(one).lower() for one in condition.values}
        return condition.operator == "Bool" and said == {"false"}
    return (
        condition.key == "aws:principalarn"
        and condition.operator in _UNLIKE
        and all(
            any(within(str(one), allowed) for allowed in parameters.exemptPrincipals)
            for one in condition.values
        )
    )


RULES = (
    Rule(
        name="iam-boundary-pins-region",
        description="Every boundary denies what is not in an allowed region.",
        mend="deny all but globalActions with StringNotEquals on aws:RequestedRegion alone.",
        applies_to=lambda resource: (
            resource.type in _BOUND and not is_missing(resource.at("permissionsBoundary"))
        ),
        parameters=Boundaries,
        together=boundary_pins_region,
    ),
    Rule(
        name="kms-key-policy-pins-region",
        description="Every key is used in allowed regions, or through their services, alone.",
        mend="deny the key's use with StringNotEquals on aws:RequestedRegion.",
        applies_to=lambda resource: resource.type in _KEYS,
        parameters=Regions,
        together=key_policy_pins_region,
    ),
    Rule(
        name="s3-bucket-policy-pins-network",
        description="Protected buckets are read and written from the network alone.",
        mend="deny reading, writing and listing with StringNotEquals on aws:SourceVpc.",
        applies_to=lambda resource: resource.type in BUCKETS,
        parameters=Networks,
        together=bucket_pins_network,
    ),
)
