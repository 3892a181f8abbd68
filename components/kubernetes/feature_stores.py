"""The feature stores of all teams that ask for one, each with what the place gives that team.

Not a component: each is one of the layer's parts. Where a store stands, and as whom, is said in
`feature_store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.images import Mirror
from components.kubernetes.feature_store import FeatureBackends, FeatureStore, FeatureStoreArgs
from components.kubernetes.feature_store_settings import (
    BUCKET_KEYS,
    ONLINE_PASSWORD,
    REGISTRY_PASSWORD,
    FeatureStoreSettings,
    secret_in_store,
)
from components.kubernetes.secret_source import SecretSource

_SECRETS = {key: secret_in_store(key) for key in (REGISTRY_PASSWORD, ONLINE_PASSWORD, *BUCKET_KEYS)}


@dataclass(frozen=True, kw_only=True)
class FeatureStoresArgs:
    """Who asks for one, and what stands under them."""

    settings: FeatureStoreSettings
    mirror: Mirror
    backends: Mapping[str, FeatureBackends]
    """Team → what the place gives it."""
    stores: Mapping[str, str] = field(default_factory=dict)
    """Team → its ClusterSecretStore; none where somebody else puts Secrets into namespaces."""
    wait_for: Mapping[str, Sequence[pulumi.Resource]] = field(default_factory=dict)
    """Team → its namespace's quota and flows, and what all wait for: operators, stores, mesh."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a team that the place has nothing for."""
        without = sorted(self.settings.teams.keys() - self.backends.keys())
        if without:
            raise ValueError(
                f"falaj:feature_store.teams: {', '.join(without)}: this place names no database "
                "and no online store for it: say them under falaj:kubernetes.features.<team>; on "
                "AWS a feature store needs a cluster, a database and a cache made here"
            )


def feature_stores(
    name: str, args: FeatureStoresArgs, opts: pulumi.ResourceOptions
) -> dict[str, str]:
    """Makes them under the parent in `opts`; gives team → where its pods read features."""
    made = {
        team: FeatureStore(
            f"{name}-features-{team}",
            FeatureStoreArgs(
                team=team,
                settings=asked,
                image=args.mirror.image("feature-server"),
                backends=args.backends[team],
                secret_source=(
                    SecretSource(store=args.stores[team], keys=_SECRETS)
                    if team in args.stores
                    else None
                ),
                wait_for=args.wait_for.get(team, ()),
            ),
            opts,
        )
        for team, asked in args.settings.teams.items()
    }
    return {team: one.url for team, one in made.items()}
