"""The settings of the secrets that the platform generates for itself."""

from __future__ import annotations

from pydantic import Field

from components.section import Section


class SecretsSettings(Section):
    """How generated secrets are kept."""

    rotation_days: int = Field(90, ge=1, le=365)
    """Days until a secret that can change while the platform runs gets a new value."""
