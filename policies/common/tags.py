"""The tags of a resource: its own, and those that its provider gives to all."""

from __future__ import annotations

from typing import Any

from policies.common.places import document
from policies.common.resources import ABSENT, UNKNOWN, Resource, at, is_missing

GROUP = "aws:autoscaling/group:Group"
"""Lists its tags, and takes none of its provider."""


def tag(resource: Resource, key: str) -> Any:
    """The value of the tag `key`; `ABSENT` where there is none, `UNKNOWN` where there may be."""
    own = resource.at("tags")
    if resource.type == GROUP:
        return _listed(own, key)
    value = at(own, key)
    if not is_missing(value) or value == "":
        return value
    return _by_default(resource, key)


def _listed(tags: Any, key: str) -> Any:
    if not isinstance(tags, list):
        return UNKNOWN if tags is UNKNOWN else ABSENT
    named = [at(one, "value") for one in tags if at(one, "key") == key]
    if named:
        return named[0]
    return UNKNOWN if any(UNKNOWN in (one, at(one, "key")) for one in tags) else ABSENT


def _by_default(resource: Resource, key: str) -> Any:
    if resource.provider is None:
        return ABSENT
    # the engine has what a provider is configured with as JSON
    return at(document(resource.provider.at("defaultTags")), "tags", key)
