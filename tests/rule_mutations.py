"""What the rules let through: each property of each resource is changed in turn, and judged again.

A mutation is caught when a rule finds a violation that it did not find before. What none catches
is a property that no rule is about, or a hole: people read the list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.common.configuration import Configured
from policies.common.places import Place, shown
from policies.common.resources import ABSENT, UNKNOWN, Resource
from policies.common.stack import Stack

Heard = frozenset[tuple[str, str, str, str]]
"""Violations: rule, resource, property, and what is wrong."""

HARMLESS = frozenset(
    {"annotations", "apiVersion", "description", "displayName", "kind", "labels", "name"}
)
"""Properties that say what something is called: no rule is about them."""


@dataclass(frozen=True)
class Mutation:
    """One change of one resource."""

    resource: str
    """Its type and name."""
    what: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.what}"


def mutants(resource: Resource) -> Iterator[tuple[Mutation, Resource]]:
    """`resource` with one thing about it changed, each thing in turn."""
    called = f"{resource.type} '{resource.name}'"
    if resource.protect:
        yield Mutation(called, "not protected"), dataclasses.replace(resource, protect=False)
    for place, value in leaves(resource.properties):
        for what, other in _others(value):
            properties = changed(resource.properties, place, other)
            references = dict(resource.references)
            # what is written out refers to nothing
            if value is UNKNOWN or len(place) == 1:
                references.pop(str(place[0]), None)
            yield (
                Mutation(called, f"{shown(place)} {what}"),
                dataclasses.replace(resource, properties=properties, references=references),
            )


def uncaught(
    resources: Sequence[Resource], configuration: Sequence[Configured]
) -> tuple[list[Mutation], int]:
    """The mutations of `resources` that no rule catches, and of how many."""
    one_by_one = [one for one in configuration if one.rule.each is not None]
    together = [one for one in configuration if one.rule.together is not None]
    before = _heard(together, Stack(resources))
    missed, tried = [], 0
    for index, resource in enumerate(resources):
        alone = _heard(one_by_one, Stack([resource]))
        for mutation, mutant in _all(resource):
            tried += 1
            if mutant is not None and _heard(one_by_one, Stack([mutant])) - alone:
                continue
            others = [*resources[:index], *([mutant] if mutant else []), *resources[index + 1 :]]
            if not _heard(together, Stack(others)) - before:
                missed.append(mutation)
    return missed, tried


class Judges:
    """Rules that have judged a stack, and judge it again with one resource changed.

    Only those are asked again that could answer otherwise: a rule about one resource of what was
    changed, and one about a stack where it asked the stack for the type of that.
    """

    def __init__(
        self,
        inputs: Sequence[Resource],
        outputs: Sequence[Resource],
        configuration: Sequence[Configured],
    ) -> None:
        rules = [one for one in configuration if one.level != "disabled"]
        self._each = [one for one in rules if one.rule.each is not None]
        self._inputs = {one.urn: one for one in inputs}
        self._outputs = list(outputs)
        self._index = {one.urn: index for index, one in enumerate(outputs)}
        self._together: list[tuple[Configured, frozenset[str] | None, Heard]] = []
        for one in rules:
            if one.rule.together is not None:
                stack = _Noting(outputs)
                before = _heard([one], stack)
                self._together.append((one, stack.noted, before))

    def catches(self, urn: str, make: Callable[[Resource], Resource | None]) -> str | None:
        """The first rule that finds a new violation once `make` has changed the resource `urn`."""
        before, after = self._inputs[urn], make(self._inputs[urn])
        if after is not None:
            for one in self._each:
                found = _heard([one], Stack([after]))
                if found and found - _heard([one], Stack([before])):
                    return one.rule.name
        index = self._index[urn]
        shown = make(self._outputs[index])
        others = [*self._outputs[:index], *([shown] if shown else []), *self._outputs[index + 1 :]]
        for one, types, found in self._together:
            if (types is None or before.type in types) and _heard([one], Stack(others)) - found:
                return one.rule.name
        return None


class _Noting(Stack):
    """A stack that notes what it is asked for."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        super().__init__(resources)
        self._types: set[str] = set()
        self._whole = False

    @property
    def noted(self) -> frozenset[str] | None:
        """The types; `None` where all resources were looked at."""
        return None if self._whole else frozenset(self._types)

    def of(self, types: Iterable[str]) -> list[Resource]:
        asked = list(types)
        self._types.update(asked)
        return super().of(asked)

    def __iter__(self) -> Iterator[Resource]:
        self._whole = True
        return super().__iter__()


def _all(resource: Resource) -> Iterator[tuple[Mutation, Resource | None]]:
    yield Mutation(f"{resource.type} '{resource.name}'", "taken away"), None
    yield from mutants(resource)


def _heard(configuration: Iterable[Configured], stack: Stack) -> Heard:
    return frozenset(
        (one.rule.name, finding.resource.urn, finding.where, finding.what)
        for one in configuration
        if one.level != "disabled"
        for finding in one.rule.judge(stack, one.parameters)[0]
        if finding.verdict == "violation"
    )


def leaves(
    value: Any, harmless: frozenset[str] = HARMLESS, place: Place = ()
) -> Iterator[tuple[Place, Any]]:
    """Each value at any depth that has none below it; what is called as in `harmless` left out."""
    if isinstance(value, Mapping) and (value or not place):
        for name, one in value.items():
            if name not in harmless:
                yield from leaves(one, harmless, (*place, name))
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            yield from leaves(one, harmless, (*place, index))
    else:
        yield place, value


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    """What may stand where `value` does."""
    yield "is not set", ABSENT
    if isinstance(value, bool):
        yield f"is {str(not value).lower()}", not value
    elif isinstance(value, int | float):
        yield "is 0", 0
        yield "is a thousandfold", value * 1000
    elif isinstance(value, str) and value:
        yield "is another text", f"another-{value}"


def changed(value: Any, place: Place, other: Any) -> Any:
    """`value` with `other` at `place`; the rest is shared with it."""
    if not place:
        return other
    step, rest = place[0], place[1:]
    inner = changed(value[step], rest, other)
    if isinstance(value, Mapping):
        kept = {name: one for name, one in value.items() if name != step}
        return kept if inner is ABSENT else {**kept, step: inner}
    assert isinstance(step, int)
    return [*value[:step], *([] if inner is ABSENT else [inner]), *value[step + 1 :]]
