"""All resources of a stack at once, and what belongs to what: built once a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from policies.common.resources import ABSENT, UNKNOWN, Missing, Resource

BUCKETS = frozenset({"aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"})


class Joined:
    """What belongs to which resource: by reference, which holds at preview, or by name.

    `settings` name in `by` the resource among `owners` that they belong to, whose own property
    `own` (the same, if not said otherwise) holds its name.
    """

    def __init__(
        self,
        owners: Iterable[Resource],
        settings: Iterable[Resource],
        by: str = "bucket",
        own: str = "",
    ) -> None:
        known = {owner.urn for owner in owners}
        self._own = own or by
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
        name = owner.at(self._own)
        by_name = [] if name in (ABSENT, UNKNOWN, None) else self._by_name.get(name, [])
        return self._by_urn.get(owner.urn, []) + by_name


class Stack(Sequence[Resource]):
    """The resources of a stack with their outputs; what rules ask of it is found once."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all = list(resources)
        self._by_type: dict[str, list[Resource]] = {}
        for resource in self._all:
            self._by_type.setdefault(resource.type, []).append(resource)
        self._named: dict[
            tuple[frozenset[str], str], tuple[dict[str, Resource], dict[str, Resource]]
        ] = {}
        self._joined: dict[tuple[frozenset[str], frozenset[str], str, str], Joined] = {}

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
        self, owners: frozenset[str], settings: frozenset[str], by: str = "bucket", own: str = ""
    ) -> Joined:
        """What of the types `settings` belongs to which resource of the types `owners`."""
        asked = (owners, settings, by, own)
        if asked not in self._joined:
            self._joined[asked] = Joined(self.of(owners), self.of(settings), by, own)
        return self._joined[asked]

    def named(
        self, resource: Resource, by: str, types: frozenset[str], own: str = "name"
    ) -> Resource | Missing:
        """What of `types` the property `by` of `resource` names: the other way round.

        By reference, or by its own property `own`; `ABSENT` where the stack has none.
        """
        if (types, own) not in self._named:
            candidates = self.of(types)
            self._named[types, own] = (
                {one.urn: one for one in candidates},
                {one.at(own): one for one in candidates if isinstance(one.at(own), str)},
            )
        by_urn, by_name = self._named[types, own]
        for urn in resource.references.get(by, ()):
            if urn in by_urn:
                return by_urn[urn]
        name = resource.at(by)
        if name is UNKNOWN:
            return Missing.UNKNOWN
        return by_name.get(name, ABSENT) if isinstance(name, str) else ABSENT
