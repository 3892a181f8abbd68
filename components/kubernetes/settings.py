"""What may be asked of a cluster's parts: parsed and checked, without Pulumi."""

from __future__ import annotations

from pydantic import Field

from components.section import Section


class TeamQuota(Section):
    """What one team may use at once."""

    cpu_quota: int = Field(8, ge=1)
    """In cores."""
    memory_quota_gib: int = Field(32, ge=1)
    gpu_quota: int = Field(0, ge=0)
