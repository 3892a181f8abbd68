"""Rules on the record of who asked the account for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.logic import Answer, any_of
from policies.common.properties import is_not, is_on, is_said, names_key
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import BUCKETS, Stack
from policies.common.tags import tag
from policies.residency.regions import Regions, judged, region_of

_TRAIL = "aws:cloudtrail/trail:Trail"
_STORE = "aws:cloudtrail/eventDataStore:EventDataStore"
_PROVIDER = "pulumi:providers:aws"

_OBJECTS, _ARN = "AWS::S3::Object", "resources.ARN"
_ALL_OBJECTS = ("arn:aws:s3", "arn:aws:s3:::")
"""How the older selectors say all buckets."""


class Trails(Regions):
    """What is on record, and for how long."""

    requireTrail: bool = False  # noqa: N815
    """Whether the stack itself must have one; often one of the organisation is elsewhere."""
    minRetentionDays: int = 365  # noqa: N815
    dataPurposes: tuple[str, ...] = ("artifacts", "data", "models")  # noqa: N815
    """Values of the tag ``purpose`` of buckets whose objects' reading is on record, as is that of
    buckets without the tag."""


def cloudtrail_is_complete(stack: Stack, parameters: Trails) -> Iterator[Finding]:
    """A trail that can be changed unseen, or misses a region, is the one that is needed."""
    trails = stack.of({_TRAIL})
    for trail in trails:
        yield from _sound(trail, parameters)
    for store in stack.of({_STORE}):
        yield from _kept(store, parameters)
    if not parameters.requireTrail:
        return
    if trails:
        yield from _whole(stack, trails, parameters)
    elif any(one.type.startswith("aws:") for one in stack):
        for provider in stack.of({_PROVIDER})[:1]:
            what = "is not declared in the stack"
            yield Finding(resource=provider, where="a Trail of its account", what=what)


def _sound(trail: Resource, parameters: Trails) -> Iterator[Finding]:
    yield from is_on(trail, ("enableLogFileValidation",))
    yield from is_not(trail, ("enableLogging",), False)
    yield from is_not(trail, ("includeGlobalServiceEvents",), False)
    yield from _under_key(trail)
    yield from judged(trail, "region", region_of(trail, output=True), parameters)


def _under_key(holder: Resource) -> Iterator[Finding]:
    if not (holder.at("kmsKeyId") is UNKNOWN and is_said(holder, "kmsKeyId")):
        yield from names_key(holder, ("kmsKeyId",))


def _kept(store: Resource, parameters: Trails) -> Iterator[Finding]:
    yield from is_not(store, ("terminationProtectionEnabled",), False)
    yield from _under_key(store)
    days = store.at("retentionPeriod")
    if days is UNKNOWN:
        if is_said(store, "retentionPeriod"):
            yield pending(store, "retentionPeriod")
    # a year at least where nobody says
    elif not is_missing(days) and days < parameters.minRetentionDays:
        what = f"is {days}; allowed: {parameters.minRetentionDays} at least"
        yield Finding(resource=store, where="retentionPeriod", what=what)


def _whole(stack: Stack, trails: list[Resource], parameters: Trails) -> Iterator[Finding]:
    """What none of `trails` has on record; it is said of the first."""
    first = trails[0]
    regions = [trail.at("isMultiRegionTrail") for trail in trails]
    if True not in regions and "true" not in regions:
        if UNKNOWN in regions:
            yield pending(first, "isMultiRegionTrail")
        else:
            yield Finding(resource=first, where="isMultiRegionTrail", what="is not true")
    kept = [_management(trail) for trail in trails]
    if True not in kept:
        if None in kept:
            yield pending(first, "advancedEventSelectors")
        else:
            what = "leave out management events, or some of them"
            yield Finding(resource=first, where="its selectors", what=what)
    for bucket in stack.of(BUCKETS):
        purpose, name = tag(bucket, "purpose"), bucket.at("bucket")
        if not is_missing(purpose) and purpose not in (*parameters.dataPurposes, UNKNOWN):
            continue
        told = [_reads(trail, name) for trail in trails]
        if True in told:
            continue
        if None in told or UNKNOWN in (purpose, name):
            yield pending(bucket, "its data events", "are not known yet to be on a trail")
        else:
            what = f"are on no trail: {_OBJECTS} of arn:aws:s3:::{name}/"
            yield Finding(resource=bucket, where="its data events", what=what)


def _management(trail: Resource) -> Answer:
    """Whether it has all management events; `None` where that is not known."""
    advanced, basic = trail.at("advancedEventSelectors"), trail.at("eventSelectors")
    if isinstance(advanced, list) and advanced:
        return any_of(
            _fields(one).keys() == {"eventCategory"} and _says(one, "eventCategory", "Management")
            for one in advanced
        )
    if isinstance(basic, list) and basic:
        return any_of(_managed(one) for one in basic)
    # with no selectors at all a trail has all of them
    said = [is_said(trail, name) for name in ("advancedEventSelectors", "eventSelectors")]
    return None if any(said) else True


def _managed(selector: Any) -> Answer:
    kind, included = at(selector, "readWriteType"), at(selector, "includeManagementEvents")
    but = at(selector, "excludeManagementEventSources")
    if UNKNOWN in (selector, kind, included, but):
        return None
    return (is_missing(kind) or kind == "All") and included is not False and is_missing(but)


def _reads(trail: Resource, bucket: Any) -> Answer:
    """Whether it has the reads and writes of all objects of `bucket`."""
    advanced, basic = trail.at("advancedEventSelectors"), trail.at("eventSelectors")
    if isinstance(advanced, list) and advanced:
        return any_of(_reads_by(one, bucket) for one in advanced)
    if isinstance(basic, list) and basic:
        return any_of(_reads_listed(one, bucket) for one in basic)
    said = [is_said(trail, name) for name in ("advancedEventSelectors", "eventSelectors")]
    return None if any(said) else False


def _reads_listed(selector: Any, bucket: Any) -> Answer:
    kind = at(selector, "readWriteType")
    if kind is UNKNOWN:
        return None
    if not is_missing(kind) and kind != "All":
        return False
    return any_of(_listed(one, bucket) for one in _entries(at(selector, "dataResources")))


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [UNKNOWN] if value is UNKNOWN else []


def _listed(resource: Any, bucket: Any) -> Answer:
    values = at(resource, "values")
    if UNKNOWN in (resource, values, at(resource, "type")):
        return None
    if at(resource, "type") != _OBJECTS:
        return False
    entries = _entries(values)
    if any(one in (*_ALL_OBJECTS, f"arn:aws:s3:::{bucket}/") for one in entries):
        return True
    return None if UNKNOWN in entries else False


def _reads_by(selector: Any, bucket: Any) -> Answer:
    fields = _fields(selector)
    if selector is UNKNOWN or UNKNOWN in fields:
        return None
    says = {"eventCategory": "Data", "resources.type": _OBJECTS}
    if not all(_says(selector, field, value) for field, value in says.items()):
        return False
    # by readOnly, eventName and such a selector has some of them
    if fields.keys() - {*says, _ARN}:
        return False
    return _begins(fields[_ARN], bucket) if _ARN in fields else True


def _begins(arn: Mapping[str, Any], bucket: Any) -> Answer:
    """Whether the condition on the ARN lets all objects of `bucket` through."""
    if any(arn[name] for name in arn if name not in ("field", "startsWiths")):
        return False
    starts, whole = _entries(at(arn, "startsWiths")), f"arn:aws:s3:::{bucket}/"
    if any(isinstance(one, str) and whole.startswith(one) for one in starts):
        return True
    return None if UNKNOWN in (*starts, bucket) else False


def _fields(selector: Any) -> dict[Any, Mapping[str, Any]]:
    """The conditions of an advanced selector by their field, which are all to hold."""
    return {
        at(one, "field"): one if isinstance(one, Mapping) else {}
        for one in _entries(at(selector, "fieldSelectors"))
    }


def _says(selector: Any, field: str, value: str) -> bool:
    return bool(at(_fields(selector).get(field, {}), "equals") == [value])


RULES = (
    Rule(
        name="cloudtrail-is-complete",
        description="Every trail is whole, under a key, and cannot be changed unseen.",
        mend="complete the trail: all regions, validation, a key, and the data events of buckets.",
        applies_to=lambda resource: resource.type in (_TRAIL, _STORE),
        parameters=Trails,
        together=cloudtrail_is_complete,
    ),
)
