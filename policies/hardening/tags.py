"""Rules on tags: whose a resource is, in which environment, and what kind of data it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field

from policies.common.resources import UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Parameters, Path, Rule, pending
from policies.common.taggable import TAGGABLE
from policies.common.tags import GROUP, tag

_ENVIRONMENT, _RESIDENCY = "environment", "residency"


class Required(Parameters):
    """Which tags everything has."""

    requiredTags: tuple[str, ...] = (  # noqa: N815
        *("owner", "environment", "data-classification", "residency"),
    )
    exemptTypes: tuple[str, ...] = ()  # noqa: N815
    """Types of resources, where a star stands for anything."""
    defaults: dict[str, str] = Field(default_factory=dict)
    """What to set where a tag is missing, at the level `remediate`."""


def has_required_tags(resource: Resource, parameters: Required) -> Iterator[Finding]:
    """What has no owner is nobody's to mend."""
    lacking = list(_lacking(resource, parameters))
    missing = [key for key, value in lacking if value is not UNKNOWN]
    if missing:
        what = f"lack {', '.join(missing)}, and so do those of its provider"
        yield Finding(resource=resource, where="tags", what=what)
    for key, value in lacking:
        if value is UNKNOWN:
            yield pending(resource, f"tags.{key}")


def _lacking(resource: Resource, parameters: Required) -> Iterator[tuple[str, Any]]:
    if any(fnmatchcase(resource.type, pattern) for pattern in parameters.exemptTypes):
        return
    for key in parameters.requiredTags:
        value = tag(resource, key)
        if value is UNKNOWN or is_missing(value) or not str(value).strip():
            yield key, value


def with_required_tags(resource: Resource, parameters: Required) -> Mapping[Path, Any]:
    """What to set: an organisation says the values, and a tag changes nothing else."""
    missing = {
        key: parameters.defaults[key]
        for key, value in _lacking(resource, parameters)
        if value is not UNKNOWN and key in parameters.defaults
    }
    tags = resource.at("tags")
    if not missing or tags is UNKNOWN:
        return {}
    if resource.type == GROUP:
        listed = tags if isinstance(tags, list) else []
        kept = [one for one in listed if one is UNKNOWN or one.get("key") not in missing]
        added = [
            {"key": key, "value": value, "propagateAtLaunch": True}
            for key, value in missing.items()
        ]
        return {("tags",): [*kept, *added]}
    if isinstance(tags, Mapping):
        return {("tags", key): value for key, value in missing.items()}
    return {("tags",): missing}


class Vocabulary(Parameters):
    """Which values tags have."""

    tagValues: dict[str, tuple[str, ...]] = Field(  # noqa: N815
        {
            "environment": ("local", "dev", "test", "staging", "prod"),
            "data-classification": ("public", "internal", "confidential", "restricted"),
            "residency": ("in-country", "approved-foreign-copy"),
        }
    )
    environment: str = ""
    """That of the stack; with none, its name where that is one of `tagValues`."""
    mode: Literal["in-country", "approved-foreign-copy"] = "in-country"


def tag_value_is_in_vocabulary(resource: Resource, parameters: Vocabulary) -> Iterator[Finding]:
    """A value with a slip in it is found by nobody who looks for it."""
    for key, allowed in parameters.tagValues.items():
        value = tag(resource, key)
        if value is UNKNOWN:
            yield pending(resource, f"tags.{key}")
        elif not is_missing(value):
            expected = _expected(resource, key, parameters)
            if value not in allowed:
                what = f"is {value}; allowed: {', '.join(allowed)}"
                yield Finding(resource=resource, where=f"tags.{key}", what=what)
            elif expected and value != expected:
                what = f"is {value}; that of the stack is {expected}"
                yield Finding(resource=resource, where=f"tags.{key}", what=what)


def _expected(resource: Resource, key: str, parameters: Vocabulary) -> str:
    if key == _RESIDENCY:
        return parameters.mode
    if key != _ENVIRONMENT:
        return ""
    name = resource.stack if resource.stack in parameters.tagValues[_ENVIRONMENT] else ""
    return parameters.environment or name


RULES = (
    Rule(
        name="resource-has-required-tags",
        description="Everything that takes tags says whose it is and what it holds.",
        mend="set the tags in defaultTags of the provider, or on the resource.",
        applies_to=lambda resource: resource.type in TAGGABLE,
        parameters=Required,
        each=has_required_tags,
        remedy=with_required_tags,
    ),
    Rule(
        name="tag-value-is-in-vocabulary",
        description="Every tag that is looked for has one of few values, and the right one.",
        mend="use a value from the vocabulary.",
        applies_to=lambda resource: resource.type in TAGGABLE,
        parameters=Vocabulary,
        each=tag_value_is_in_vocabulary,
    ),
)
