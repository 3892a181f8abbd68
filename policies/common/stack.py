"""All resources of a stack at once, and what belongs to what: built once a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from policies.common.resources import ABSENT, UNKNOWN, Resource

BUCKETS = frozenset({"aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"})


class Joined:
    """What belongs to which resource: by reference, which holds at preview, or by name.

    `settings` name in `by` the resource among `owners` that they belong to, whose own property `by`
    holds its name.
    """

    def __init__(
        self, owners: Iterable[Resource], settings: Iterable[Resource], by: str = "bucket"
    ) -> None:
        known = {owner.urn for owner in owners}
        self._by = by
        self._by_urn: dict[str, list[Resource]] = {}
        self._by_name: dict[Any, list[Resource]] = {}
        self.strays = False
        """Whether there is a setting of which nobody knows yet whose it is: it may be anyone's."""
        for setting in settings:
            referred = known.intersection(setting.references.get(by, ()))
            for urn in referred:
                self._by_urn.setdefault(urn, []).append(setting)
            name = setting.at(by)
            if not referred and name is UNKNOWN:
                self.strays = True
            elif not referred:
                self._by_name.setdefault(name, []).append(setting)

    def of(self, owner: Resource) -> Sequence[Resource]:
        """The settings of `owner`."""
        name = owner.at(self._by)
        by_name = [] if name in (ABSENT, UNKNOWN, None) else self._by_name.get(name, [])
        return self._by_urn.get(owner.urn, []) + by_name


class Stack(Sequence[Resource]):
    """The resources of a stack with their outputs; what rules ask of it is found once."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all = list(resources)
        self._by_type: dict[str, list[Resource]] = {}
        for resource in self._all:
            self._by_type.setdefault(resource.type, []).append(resource)
        self._joined: dict[tuple[frozenset[str], frozenset[str], str], Joined] = {}

    @overload
    def __getitem__(self, index: int) -> Resource: ...
    @overload
    def __getitem__(self, index: slice) -> list[Resource]: ...
    def __getitem__(self, index: int | slice) -> Resource | list[Resource]:
        return self._all[index]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._all)

    def of(self, types: Iterable[str]) -> list[Resource]:
        """Those of `types`."""
        return [resource for kind in sorted(types) for resource in self._by_type.get(kind, ())]

    def joined(
        self, owners: frozenset[str], settings: frozenset[str], by: str = "bucket"
    ) -> Joined:
        """What of the types `settings` belongs to which resource of the types `owners`."""
        asked = (owners, settings, by)
        if asked not in self._joined:
            self._joined[asked] = Joined(self.of(owners), self.of(settings), by)
        return self._joined[asked]
