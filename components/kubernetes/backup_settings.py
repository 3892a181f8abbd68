"""What may be asked of backups of a cluster's objects and volumes, parsed and checked.

Pure. AWS Backup and the database's own backups are settings of the place.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from components.section import Name, Section

Namespace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]

_MINUTE, _HOUR = 59, 23
_LIMITS = ((0, _MINUTE), (0, _HOUR), (1, 31), (1, 12), (0, 7))
_PART = re.compile(r"(\*|\d+(?:-\d+)?)(?:/\d+)?")


class ScheduleSettings(Section):
    """When, of what, and for how long."""

    cron: str = "30 22 * * *"
    """In UTC, five fields: minute, hour, day of the month, month, day of the week."""
    keep_days: int = Field(35, ge=1, le=3650)
    namespaces: tuple[Namespace, ...] = ()
    """Those of every team and of the platform where none is named."""
    volumes: bool | None = None
    """Whether their volumes are copied too. Where nothing is said: on a cluster of somebody else
    they are, and on AWS they are not, since AWS Backup takes them (`aws.backup`)."""

    @field_validator("cron")
    @classmethod
    def _is_five_fields(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != len(_LIMITS) or not all(
            _is_within(field, *limits) for field, limits in zip(fields, _LIMITS, strict=True)
        ):
            raise ValueError(
                f"is {cron!r}, and has to be minute, hour, day, month and day of the week in "
                "numbers, such as '30 22 * * *'"
            )
        return cron


class ObjectStore(Section):
    """An S3-compatible store in the country, where the place has no bucket of its own."""

    endpoint: Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]+(:\d+)?$")]
    """``https://…``: objects travel encrypted."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Name = "site"
    """As the store calls itself; most take any."""
    encrypted_by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]
    """A sentence for the auditor: what encrypts the bucket, and who holds the key."""
    credentials_secret: Name
    """The Secret in the namespace of the backup with the key ``cloud``, as External Secrets or the
    administrators put it there: a credentials file of AWS's kind."""


class ClusterBackupSettings(Section):
    """Velero's schedules, and where they lead."""

    schedules: dict[Name, ScheduleSettings] = Field(
        default_factory=lambda: {"daily": ScheduleSettings()}
    )
    store: ObjectStore | None = None
    """Needed where the place has no bucket for backups."""

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        if not self.schedules:
            raise ValueError("schedules: is empty, so nothing would be kept; name one")
        return self


def _is_within(field: str, least: int, most: int) -> bool:
    for part in field.split(","):
        if not _PART.fullmatch(part):
            return False
        numbers = [int(one) for one in re.findall(r"\d+", part.partition("/")[0])]
        if numbers != sorted(numbers) or not all(least <= one <= most for one in numbers):
            return False
    return True
