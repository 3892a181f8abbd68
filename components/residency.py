"""Where data may be: the declaration that provider, policies, admission and audit all read.

Owns the regions known by name, the residency mode and the approvals of foreign copies. The provider
that is pinned to the declaration is made in `components/aws/provider.py`.
"""

from __future__ import annotations

import datetime
import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

IN_COUNTRY_REGIONS: dict[str, str] = {
    "me-central-1": "AWS Middle East (UAE)",
}
"""Cloud regions that lie in the United Arab Emirates. Data, not code: more are added here."""

_REGION = re.compile(r"^[a-z]{2}(-[a-z]+)+-\d$")


class ForeignCopy(BaseModel):
    """An approval to keep a copy of one class of data in one region outside the country."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_class: str = Field(min_length=1)
    region: str
    reference: str = Field(min_length=1)
    """Where the approval can be looked up."""
    expires: datetime.date

    @field_validator("region")
    @classmethod
    def _is_a_region(cls, region: str) -> str:
        if not _REGION.match(region):
            raise ValueError("is not the name of a region, such as eu-central-1")
        return region


class Residency(BaseModel):
    """The residency declaration of one environment.

    `in-country` means that nothing leaves, ever; `approved-foreign-copy` means that the named
    classes of data may be copied to the named regions until their approval expires. Sources:
    Federal Decree-Law 45/2021 articles 22 and 23; CBUAE Consumer Protection Standards 6.1.6.3.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["in-country", "approved-foreign-copy"] = "in-country"
    allowed_regions: tuple[str, ...] = ("me-central-1",)
    approved_copies: tuple[ForeignCopy, ...] = ()

    @field_validator("allowed_regions")
    @classmethod
    def _lie_in_the_country(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        foreign = [region for region in regions if region not in IN_COUNTRY_REGIONS]
        if foreign:
            raise ValueError(
                f"{', '.join(foreign)} does not lie in the United Arab Emirates; "
                f"allowed: {', '.join(IN_COUNTRY_REGIONS)}"
            )
        if not regions:
            raise ValueError(f"names no region; allowed: {', '.join(IN_COUNTRY_REGIONS)}")
        return regions

    @model_validator(mode="after")
    def _copies_fit_the_mode(self) -> Self:
        if self.mode == "in-country" and self.approved_copies:
            raise ValueError(
                "approved_copies must be empty while mode is in-country: nothing leaves, ever"
            )
        if self.mode == "approved-foreign-copy" and not self.approved_copies:
            raise ValueError(
                "mode approved-foreign-copy needs at least one entry in approved_copies"
            )
        today = datetime.datetime.now(datetime.UTC).date()
        expired = [copy.reference for copy in self.approved_copies if copy.expires <= today]
        if expired:
            raise ValueError(f"the approval {', '.join(expired)} has expired")
        return self
