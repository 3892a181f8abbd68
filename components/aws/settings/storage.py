"""The settings of the environment's buckets, and what each bucket is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from components.section import Section
from components.tags import DataClassification

Content = Literal["artifacts", "data", "models", "logs", "config", "access-logs", "backups"]

LONGEST_ACCESS_POINT_NAME = 50
"""Characters of an access point's name, by S3's limit."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What sets a bucket apart from the others."""

    domain: Literal["artifacts", "logs", "backups"]
    """Whose key encrypts it."""
    classification: DataClassification
    purpose: str | None = None
    """A tag by which policies know the bucket; `None` for the platform's ordinary data."""
    keyed: bool = True
    """Whether a customer key encrypts it; else S3's own does."""
    locked: bool = False
    """Whether it is locked where the settings ask for an object lock."""
    record: bool = False
    """Whether it keeps records for `log_retention_days`, then deletes them."""
    shared: bool = False
    """Whether teams keep data of their own in it."""


CONTENTS: dict[Content, Traits] = {
    "artifacts": Traits(domain="artifacts", classification="confidential", shared=True),
    "data": Traits(domain="artifacts", classification="confidential", shared=True),
    "models": Traits(domain="artifacts", classification="confidential", shared=True),
    "logs": Traits(
        domain="logs", classification="confidential", purpose="audit", locked=True, record=True
    ),
    # AWS Config delivers to no bucket with an object lock (AWS::Config::DeliveryChannel)
    "config": Traits(
        domain="logs", classification="confidential", purpose="configuration", record=True
    ),
    # S3 and load balancers deliver access logs neither under a customer key nor to a locked bucket
    # (Amazon S3 user guide: enabling and troubleshooting server access logging)
    "access-logs": Traits(
        domain="logs", classification="internal", purpose="logs", keyed=False, record=True
    ),
    "backups": Traits(domain="backups", classification="restricted", purpose="backup", locked=True),
}
"""Every bucket of an environment."""


class ObjectLock(Section):
    """How long nobody deletes what was written to the buckets of logs and of backups.

    `governance` lets break-glass delete all the same; `compliance` lets nobody, not even the
    account's root, until the days are over. A lock costs nothing, and records of a time without one
    prove little: `none` is for environments whose buckets go with them.
    """

    mode: Literal["none", "governance", "compliance"] = "governance"
    days: int = Field(365, ge=1, le=36500)


class Arrivals(Section):
    """Which new objects of the bucket `data` are told to the queue that starts retraining."""

    prefix: str = ""
    suffix: str = ".json"
    """A new version of a Delta table is one new JSON file in its log."""
    retention_days: int = Field(4, ge=1, le=14)
    """How long a message waits for its reader."""
    attempts: int = Field(5, ge=1, le=1000)
    """Readings of a message before it is put aside as one that cannot be handled."""


class StorageSettings(Section):
    """How the environment's buckets keep what is in them, and whom they refuse."""

    lock: ObjectLock = ObjectLock()
    noncurrent_days: int = Field(90, ge=1)
    """How long a version is kept that was overwritten or deleted."""
    abort_upload_days: int = Field(7, ge=1)
    """When the parts of an upload that was never completed are deleted."""
    tier_days: int | None = Field(30, ge=0)
    """When data moves to intelligent tiering; `None` for never."""
    archive_log_days: int = Field(90, ge=1)
    """When records move to the archive that still answers at once."""
    log_retention_days: int = Field(1827, ge=365)
    """When records are deleted; five years by the Consumer Protection Standards of the CBUAE."""
    inventory: Literal["none", "weekly", "daily"] = "weekly"
    """How often the list of all objects of a bucket is written."""
    arrivals: Arrivals | None = Arrivals()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        if self.archive_log_days >= self.log_retention_days:
            problems.append(
                f"archive_log_days: is {self.archive_log_days}, and records are deleted after "
                f"log_retention_days ({self.log_retention_days})"
            )
        if self.lock.mode != "none" and self.lock.days > self.log_retention_days:
            problems.append(
                f"lock.days: is {self.lock.days}, longer than log_retention_days "
                f"({self.log_retention_days}), so nothing could be deleted when it is due"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def undeletable(storage: StorageSettings, *, keep_data: bool) -> list[str]:
    """The problem of buckets that are to go with their stack and cannot."""
    if storage.lock.mode == "compliance" and not keep_data:
        why = (
            "under it nothing can be deleted, and keep_data is false: the buckets go with the stack"
        )
        return [f"storage.lock.mode: is 'compliance'; {why}"]
    return []


def access_point_name(environment: str, content: str, team: str) -> str:
    """The name of a team's access point to a bucket, unique in the account and region."""
    return f"falaj-{environment}-{content}-{team}"


def long_team_names(environment: str, teams: Iterable[str]) -> list[str]:
    """The problem of each team whose access points would have too long a name."""
    longest = max((content for content, of in CONTENTS.items() if of.shared), key=len)
    over = {
        team: len(access_point_name(environment, longest, team)) - LONGEST_ACCESS_POINT_NAME
        for team in teams
    }
    return [
        f"teams.{team}: is too long by {excess}: the name of its access point, "
        f"{access_point_name(environment, longest, team)}, may have "
        f"{LONGEST_ACCESS_POINT_NAME} characters"
        for team, excess in over.items()
        if excess > 0
    ]
