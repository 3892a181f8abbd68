"""What may be asked of the platform's pages for people: parsed and checked, without Pulumi."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from components.section import Section

PageHost = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)+$")
]
"""As a browser sends it, without scheme and port: pages are at 443."""
Issuer = Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+(/\S*)?$")]


class PagesSettings(Section):
    """Where people find pages, and who says who they are."""

    host: PageHost
    """Every page is below a path of it."""
    issuer: Issuer
    """Of the identity provider; its discovery document must be reachable from the cluster."""
    client_id: str = Field(min_length=1)
    groups_claim: str = Field("groups", min_length=1)
    """Of the identity token: the groups that a person is in."""
    session_hours: int = Field(8, ge=1, le=24)
    """After which a person signs in again; a group that is taken away is noticed then."""
