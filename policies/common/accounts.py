"""Which accounts data may go to."""

from __future__ import annotations

from collections.abc import Iterable

from policies.common.places import document
from policies.common.resources import Resource


def accounts_of(resource: Resource, allowed: Iterable[str] = ()) -> frozenset[str]:
    """`allowed`, and those that the provider of `resource` is held to."""
    # on a provider a list is a text in JSON
    held = document(resource.provider.at("allowedAccountIds")) if resource.provider else None
    return frozenset(allowed).union(held if isinstance(held, list) else ())
