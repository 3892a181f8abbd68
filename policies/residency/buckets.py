"""In which region a bucket is that another resource names: its ARN does not say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from policies.common.arns import arn_of
from policies.common.places import Place
from policies.common.resources import ABSENT, UNKNOWN, Resource
from policies.common.stack import BUCKETS, Stack
from policies.residency.regions import region_of


class BucketRegions:
    """The regions of the buckets of a stack, and of those that an organisation knows."""

    def __init__(self, stack: Stack, known: Mapping[str, str]) -> None:
        self._by_urn = {bucket.urn: region_of(bucket, output=True) for bucket in stack.of(BUCKETS)}
        self._by_name: dict[Any, Any] = dict(known)
        self._nameless = False
        for bucket in stack.of(BUCKETS):
            name = bucket.at("bucket")
            self._nameless = self._nameless or name is UNKNOWN
            self._by_name[name] = self._by_urn[bucket.urn]

    def of(self, named: Iterable[tuple[Place, Any]], user: Resource) -> Iterator[tuple[Place, Any]]:
        """The region of each bucket that `user` names; `ABSENT` where nobody knows it.

        What is not known yet is known by reference, at preview too. A property refers to many
        resources, so it must refer to a bucket for each that is not known; one abroad counts.
        """
        places: dict[Any, list[Place]] = {}
        for place, name in named:
            if name is UNKNOWN:
                places.setdefault(place[0], []).append(place)
            else:
                yield place, self._named(name)
        for first, unknown in places.items():
            targets = set(user.references.get(str(first), ()))
            regions = [region for urn, region in self._by_urn.items() if urn in targets]
            yield from ((unknown[0], region) for region in regions)
            yield from ((place, UNKNOWN) for place in unknown[len(regions) :])

    def _named(self, name: Any) -> Any:
        arn = arn_of(name)
        name = arn.resource.partition("/")[0] if arn else name
        if name not in self._by_name and self._nameless:
            return UNKNOWN
        return self._by_name.get(name, ABSENT)
