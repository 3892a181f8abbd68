"""What may be asked of the parts on a cluster, wherever the cluster stands: parsed and checked.

Pure. The settings of every environment with a cluster begin with these.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from components.kubernetes.flows import RESERVED
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.training_settings import TrainingSettings
from components.section import Name, Section


class LayerSettings(Section):
    """The parts of the Kubernetes layer."""

    admission: AdmissionSettings = AdmissionSettings()
    """What a pod must be before the cluster takes it."""
    training: TrainingSettings = TrainingSettings()
    """Shared Ray clusters, the queues of jobs, and how GPUs are shared."""
    teams: dict[Name, TeamQuota] = Field(default_factory=dict)
    """Each gets a namespace of its name, closed, with a quota and roles for its people."""


def problems_of_names(teams: Iterable[str]) -> list[str]:
    """Teams whose namespace would be the platform's, or Kubernetes' own."""
    return [
        f"teams.{team}: is the name of a namespace of the platform"
        for team in teams
        if team in RESERVED
    ]
