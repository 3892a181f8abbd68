"""The parts on a cluster, joined: the same on a cluster of the cloud and on one of the premises.

Owns which parts there are and in which order they come. Leaves to the place whatever differs: the
cluster and the way to it, where images come from, nodes, storage, who a team is to the cloud. Not a
component: its parts are those of the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.images import Mirror
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.pools import Pool
from components.kubernetes.priorities import Priorities
from components.kubernetes.tenancy import Team, TeamArgs


@dataclass(frozen=True, kw_only=True)
class LayerArgs:
    """What is asked for, and what the place gives."""

    environment: str
    settings: LayerSettings
    mirror: Mirror
    addresses: Addresses
    pools: Mapping[str, Pool]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What was made."""

    teams: dict[str, dict[str, Any]]
    """Team → the fields of `TeamOutputs` that are the cluster's."""
    fields: dict[str, pulumi.Input[Any]]
    """Those of `PlatformOutputs`, without `teams`."""


def make_layer(name: str, args: LayerArgs, opts: pulumi.ResourceOptions) -> Layer:
    """The parts under the parent in `opts`, by its provider."""
    settings = args.settings
    Priorities(f"{name}-priorities", opts)
    Admission(
        f"{name}-admission",
        AdmissionArgs(settings=settings.admission, registry=args.mirror.registry.registry),
        opts,
    )
    teams = {
        team: Team(
            f"{name}-team-{team}",
            TeamArgs(team=team, quota=quota, addresses=args.addresses),
            opts,
        )
        for team, quota in settings.teams.items()
    }
    return Layer(
        teams={
            team: {
                "namespace": teams[team].namespace,
                "cpu_quota": quota.cpu_quota,
                "memory_quota_gib": quota.memory_quota_gib,
                "gpu_quota": quota.gpu_quota,
            }
            for team, quota in settings.teams.items()
        },
        fields={},
    )
