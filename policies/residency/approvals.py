"""Copies abroad that an organisation has approved: data of a rule's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from policies.common.arns import arn_of
from policies.common.exceptions import today
from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, pending
from policies.residency.regions import Regions


class ForeignCopy(BaseModel):
    """Data of one class that may be copied to one region."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataClass: str = Field(min_length=1)  # noqa: N815
    """As in the tag ``data-classification``."""
    region: str = Field(min_length=1)
    reference: str = Field(min_length=3)
    """Under which the approval is on record."""
    expires: date
    """The last day on which it holds."""


class Copies(Regions):
    """Where data may be copied to."""

    approvedForeignCopies: tuple[ForeignCopy, ...] = ()  # noqa: N815


class KnownBuckets(Copies):
    """Where data may be copied to, and where buckets are that the stack does not make."""

    knownBuckets: dict[str, str] = Field(default_factory=dict)  # noqa: N815
    """Name → region."""


def judged_copy(
    resource: Resource, where: str, target: Any, parameters: Copies
) -> Iterator[Finding]:
    """What is wrong with `target`, a region or an ARN, as one that data is copied to."""
    arn = arn_of(target)
    region = arn.region if arn else target
    if region is UNKNOWN:
        yield pending(resource, where)
    elif is_missing(region):
        yield Finding(resource=resource, where=where, what="names no region that data is copied to")
    elif region not in parameters.allowedRegions and not _is_approved(resource, region, parameters):
        allowed = ", ".join(parameters.allowedRegions)
        what = f"is {target}: no copy there is approved; allowed: {allowed}"
        yield Finding(resource=resource, where=where, what=what)


def _is_approved(resource: Resource, region: str, parameters: Copies) -> bool:
    """An approval is for one class of data; a resource without that tag may hold it."""
    kind = resource.at("tags", "data-classification")
    return any(
        one.region == region
        and one.expires >= today()
        and (is_missing(kind) or kind == one.dataClass)
        for one in parameters.approvedForeignCopies
    )
