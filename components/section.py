"""What every section of the settings is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
"""A name that AWS, Kubernetes and DNS all accept."""


class Section(BaseModel):
    """Settings that belong together; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
