"""Which key another resource names: by its ARN, its id, an alias, or by reference at preview."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.places import found
from policies.common.resources import UNKNOWN, Resource
from policies.common.stack import Stack

KEYS = frozenset(
    {
        "aws:kms/externalKey:ExternalKey",
        "aws:kms/key:Key",
        "aws:kms/replicaExternalKey:ReplicaExternalKey",
        "aws:kms/replicaKey:ReplicaKey",
    }
)
_ALIASES = frozenset({"aws:kms/alias:Alias"})


class Keys:
    """The keys of a stack, by all that names them."""

    def __init__(self, stack: Stack) -> None:
        self._by_urn = {key.urn: key for key in stack.of(KEYS)}
        self._by_name: dict[Any, Resource] = {}
        for one in self._by_urn.values():
            for name in ("arn", "keyId", "id"):
                if isinstance(one.at(name), str):
                    self._by_name[one.at(name)] = one
        self.strays: list[Resource] = []
        """Which name a key that is not known yet."""
        for alias in stack.of(_ALIASES):
            for key in self.of(alias, "targetKeyId"):
                if key is None:
                    continue
                self._by_urn[alias.urn] = key
                names = (alias.at("name"), alias.at("arn"))
                self._by_name |= {name: key for name in names if isinstance(name, str)}
        self.strays = []

    def named(self, name: Any) -> Resource | None:
        """The key of that ARN, id or alias."""
        return self._by_name.get(name)

    def of(self, user: Resource, path: str) -> Iterator[Resource | None]:
        """The keys of the stack that `path` of `user` names."""
        for _, value in found(user.properties, path):
            if value is not UNKNOWN:
                yield self._by_name.get(value)
                continue
            urns = user.references.get(path.partition(".")[0], ())
            referred = [self._by_urn[urn] for urn in urns if urn in self._by_urn]
            if not referred and urns and self._by_urn:
                self.strays.append(user)
            yield from referred
