"""What the security of a resource hangs on, and what weakens it: by names and values.

No rule is asked which properties it reads: a hole is what it does not read. A property counts by a
word of its own name or of what it stands in (`enableKeyRotation` has *rotation*, all of
`securityContext` has *security*); besides, whatever value names a region, a network or an image,
each policy document, each label or annotation of the mesh, and the engine's own protection.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rule_mutations import changed, leaves

from policies.common.places import Place, shown
from policies.common.resources import ABSENT, Resource, at

_WORDS = (
    "acl acls audit auth automount backup block capabilities certificate cidr cipher client "
    "condition conditions customer delete deletion egress encrypt encrypted encryption endpoint "
    "exposed force hops host https image images immutable imds ingress internal kms lock log "
    "logging logs hop mfa mtls mutability password permissions policy principal principals "
    "privilege privileged protection proxy public replication restore restrict retain retention "
    "root rotation scan scanning seccomp secret secrets secure security service share sign "
    "snapshot sse ssl tls token tokens transit trust user validation versioning visibility "
    "vpc"
)
WORDS = frozenset(_WORDS.split())
"""Of names, in lower case: a property with one of these is one of security."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NO_MATTER = frozenset({"description", "displayName", "tags", "tagsAll", "apiVersion", "kind"})
_MESH = re.compile(r"istio|pod-security\.kubernetes\.io")
_NETWORK = re.compile(r"^\d+\.\d+\.\d+\.\d+/\d+$")
_REGION = re.compile(r"\b(me-central-1|me-south-1)\b")
_ABROAD = "eu-west-1"
_TLS = re.compile(r"TLS|tls")


@dataclass(frozen=True)
class Weakening:
    """One change of one resource for the worse."""

    urn: str
    type: str
    what: str
    place: Place = ()
    """Of the property; empty for the resource itself."""
    other: Any = ABSENT
    of_engine: bool = False
    """Whether it is not a property, but what the engine was told of the resource."""

    @property
    def where(self) -> str:
        """The property for people."""
        return shown(self.place) or "it"

    @property
    def group(self) -> tuple[str, str, str]:
        """Type, property without the entries of lists, and change: what an argument is about."""
        return self.type, re.sub(r"\[\d+\]", "", self.where), self.what

    def __str__(self) -> str:
        return f"{self.type} '{self.urn.rpartition('::')[2]}': {self.where} {self.what}"

    def make(self, one: Resource) -> Resource | None:
        """`one` so changed; `None` where it is taken away."""
        if not self.place:
            return None
        if self.of_engine:
            return dataclasses.replace(one, protect=False)
        if at(one.properties, *self.place) is ABSENT:
            return one
        first = self.place[0] if len(self.place) == 1 else None
        return dataclasses.replace(
            one,
            properties=changed(one.properties, self.place, self.other),
            # what is written out refers to nothing
            references={name: urns for name, urns in one.references.items() if name != first},
        )


def weakenings(resource: Resource) -> Iterator[Weakening]:
    """What weakens `resource`, each thing in turn."""
    if not resource.type.startswith(("aws:", "kubernetes:", "pulumi:providers:")):
        return
    called = (resource.urn, resource.type)
    yield Weakening(*called, "is taken away")
    if resource.protect:
        yield Weakening(*called, "is false", ("protect",), of_engine=True)
    for place, value in leaves(resource.properties, _NO_MATTER):
        for what, other in _weaker(place, value):
            yield Weakening(*called, what, place, other)


def one_of_each(found: Iterable[Weakening]) -> list[Weakening]:
    """The first of each group."""
    groups: dict[tuple[str, str, str], Weakening] = {}
    for one in found:
        groups.setdefault(one.group, one)
    return list(groups.values())


def weaken(state: list[dict[str, Any]], one: Weakening) -> None:
    """Makes the change to a resource of an exported state."""
    (resource,) = (it for it in state if it["urn"] == one.urn)
    for kind in ("inputs", "outputs"):
        if at(resource.get(kind), *one.place) is not ABSENT:
            resource[kind] = changed(resource[kind], one.place, one.other)
    if len(one.place) == 1:
        resource.get("propertyDependencies", {}).pop(one.place[0], None)


def can_weaken(state: list[dict[str, Any]], one: Weakening) -> bool:
    """Whether the change is of a property that stands in the state in plain."""
    (resource,) = (it for it in state if it["urn"] == one.urn)
    return (
        bool(one.place) and not one.of_engine and at(resource["inputs"], *one.place) is not ABSENT
    )


def _weaker(place: Place, value: Any) -> Iterator[tuple[str, Any]]:
    names = [one for one in place if isinstance(one, str)]
    document = _document(value)
    if document is not None:
        yield from _of_document(document)
        return
    if isinstance(value, str) and _REGION.search(value):
        yield "is abroad", _REGION.sub(_ABROAD, value)
    if isinstance(value, str) and _NETWORK.match(value):
        yield "is the internet", "0.0.0.0/0"
    if names and names[-1] == "image" and isinstance(value, str):
        yield "is of anybody", "docker.io/somebody/tool:latest"
    marked = "labels" in names or "annotations" in names or "matchLabels" in names
    if marked:
        if _MESH.search(str(names[-1])):
            yield "is not set", ABSENT
        return
    if not any(_words(name) & WORDS for name in names):
        return
    yield "is not set", ABSENT
    if isinstance(value, bool):
        yield f"is {str(not value).lower()}", not value
    elif isinstance(value, int | float) and value:
        yield "is 0", 0
    elif isinstance(value, str) and _TLS.search(value):
        yield "is old TLS", "TLSv1"
    elif value in ("Enabled", "ENABLED", "IMMUTABLE", "STRICT", "RuntimeDefault", "restricted"):
        yield "is off", "DISABLED"


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def _document(value: Any) -> Any:
    """`value` as a policy of AWS, if it is one."""
    if not isinstance(value, str) or "Statement" not in value:
        return None
    try:
        document = json.loads(value)
    except ValueError:
        return None
    return document if isinstance(document, Mapping) and "Statement" in document else None


def _of_document(document: Any) -> Iterator[tuple[str, Any]]:
    statements = document["Statement"]
    statements = statements if isinstance(statements, list) else [statements]

    def whole(index: int, *instead: Any) -> str:
        changed = [*statements[:index], *instead, *statements[index + 1 :]]
        return json.dumps({**document, "Statement": changed})

    for index, one in enumerate(statements):
        if one.get("Effect") == "Deny":
            yield "denies less", whole(index)
            continue
        yield "allows all actions", whole(index, {**one, "Action": "*"})
        if "Condition" in one:
            without = {key: it for key, it in one.items() if key != "Condition"}
            yield "allows without its condition", whole(index, without)
        if "Principal" in one:
            yield "allows everybody", whole(index, {**one, "Principal": "*"})
        elif one.get("Resource") != "*":
            yield "allows on all resources", whole(index, {**one, "Resource": "*"})
