"""What may be asked of the classes of volumes, parsed and checked.

Pure. A class that the cluster has already cannot be looked into from here, so whoever names one
says what encrypts its volumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from components.section import Section

ClassName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
]
Encryption = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]
"""A sentence for the auditor: what encrypts, and who holds the key."""


class StorageClassesSettings(Section):
    """Which classes there are beside those that the place makes."""

    existing: dict[ClassName, Encryption] = Field(default_factory=dict)
    """Classes that the cluster has already and claims may name → what encrypts their volumes."""
    default: ClassName | None = None
    """Of `existing`, for all volumes of the platform; needed where the place makes no class, such
    as on premises, and then marked as the cluster's default by its administrators."""
    not_default: tuple[ClassName, ...] = ()
    """Classes that bear the mark of the default today and lose it, such as ``gp2`` of an EKS
    cluster that was made before Kubernetes 1.30. They must exist."""

    @model_validator(mode="after")
    def _default_is_declared(self) -> Self:
        problems = []
        if self.default is not None and self.default not in self.existing:
            problems.append(
                f"default: is {self.default!r}, and existing does not say what encrypts it; add "
                f"existing.{self.default}"
            )
        if self.default in self.not_default:
            problems.append(f"not_default: holds {self.default!r}, which is also the default")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def problems_of_storage_classes(
    settings: StorageClassesSettings, *, place_makes_disks: bool
) -> Iterator[str]:
    """What of `settings` cannot be in a place; each begins with its key."""
    if place_makes_disks and settings.default is not None:
        yield (
            f"default: is {settings.default!r}, and this place makes an encrypted class of its "
            "own; leave default out and name the other class in a claim where it is wanted"
        )
    if not place_makes_disks and settings.default is None:
        yield (
            "default: is missing, and nothing here can make volumes: name an encrypted class that "
            "the cluster has (kubectl get storageclass), and under existing what encrypts it"
        )
