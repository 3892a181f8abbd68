"""Exceptions: what of a rule is let be for a while, by whom, and why.

They are data in the file of an environment's configuration. Who approves is a name there; that he
did is shown by the review that the file must have had (CODEOWNERS), not by the name.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST = timedelta(days=366)
"""From today; whoever still needs it then asks again."""


def today() -> date:
    """By which exceptions expire: the day in UTC."""
    return datetime.now(UTC).date()


class RuleException(BaseModel):
    """One resource that need not keep one rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: str = Field(pattern=r"^\S+::[^*]+$")
    """Its URN, or the last two parts of it: ``aws:s3/bucket:Bucket::landing``. No pattern."""
    reason: str = Field(min_length=12)
    approver: str = Field(min_length=3)
    """Who answers for it."""
    expires: date
    """The last day on which it holds."""

    @model_validator(mode="after")
    def _not_for_ever(self) -> Self:
        if self.expires > today() + LONGEST:
            raise ValueError(f"expires on {self.expires}: {LONGEST.days} days ahead at most")
        return self

    def is_for(self, kind: str, urn: str) -> bool:
        """Whether it is for the resource of type `kind` with `urn`."""
        return self.resource in (urn, f"{kind}::{urn.rsplit('::', maxsplit=1)[-1]}")

    def expired(self) -> bool:
        """Whether its last day is over."""
        return self.expires < today()
