"""Where a value is inside a resource, and what is found at a place or at any depth."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, is_missing

Place = tuple[str | int, ...]


def found(value: Any, path: str, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Each value at the dotted `path`, of every entry of the lists on the way.

    A list of one is as good as its entry. What is not known yet is `UNKNOWN`, at the place down to
    which it is known; what is missing is not found.
    """
    if value is UNKNOWN:
        yield place, UNKNOWN
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from found(one, path, (*place, index))
    elif not path:
        if not is_missing(value):
            yield place, value
    elif isinstance(value, Mapping):
        step, _, rest = path.partition(".")
        yield from found(value.get(step, ABSENT), rest, (*place, step))


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Each text, and what is not known yet, at any depth."""
    # the most first: whether something is a mapping takes longest to ask
    if isinstance(value, str) or value is UNKNOWN:
        yield place, value
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from leaves(one, (*place, index))
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from leaves(one, (*place, name))


def shown(place: Place) -> str:
    """The place for people: ``rules[0].destination.bucket``."""
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place).lstrip(".")


def property_of(place: Place) -> str:
    """The name of the property at `place`, of which the last entries may be those of lists."""
    return next((one for one in reversed(place) if isinstance(one, str)), "")


def document(value: Any) -> Any:
    """What the JSON text `value` says, itself where it is no text; `ABSENT` where it is no JSON.

    Others get the same object: nobody changes it.
    """
    return _decoded(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=512)  # the texts of a provider are asked for by each of its resources
def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ABSENT
