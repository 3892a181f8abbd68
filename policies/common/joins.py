"""Resources that say something of another one, such as the settings of a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

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
