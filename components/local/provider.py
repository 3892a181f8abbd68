"""What the dynamic resources of the local environment have in common."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from pulumi import dynamic

_PROVIDER = "__provider"
"""The key under which Pulumi keeps the pickled provider among a resource's properties."""


class LocalProvider(dynamic.ResourceProvider):
    """Compares the inputs of a resource; an input in `replacing` makes it another one."""

    replacing: ClassVar[frozenset[str]] = frozenset()
    outputs: ClassVar[frozenset[str]] = frozenset()
    """Properties that creation fills in: no change of the program's."""

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        """Runs in the provider's process only: users read messages there, not tracebacks."""
        sys.tracebacklimit = 0

    def diff(
        self, _id: str, olds: Mapping[str, Any], news: Mapping[str, Any]
    ) -> dynamic.DiffResult:
        """Says whether any input differs."""
        keys = (set(olds) | set(news)) - {_PROVIDER} - self.outputs
        changed = sorted(key for key in keys if olds.get(key) != news.get(key))
        return dynamic.DiffResult(
            changes=bool(changed),
            replaces=[key for key in changed if key in self.replacing],
            # the successor takes the same name, port or path
            delete_before_replace=True,
        )
