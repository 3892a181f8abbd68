"""The settings of the secrets that the platform generates for itself, and which there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

from components.kubernetes.feature_store_settings import (
    ONLINE_PASSWORD,
    REGISTRY_PASSWORD,
    secret_in_store,
)
from components.section import Section


class SecretsSettings(Section):
    """How generated secrets are kept."""

    rotation_days: int = Field(90, ge=1, le=365)
    """Days until a secret that can change while the platform runs gets a new value."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A secret whose value is random."""

    purpose: str
    rotates: bool
    """Whether its readers take a new value while they run."""


PLATFORM_SECRETS: Mapping[str, Generated] = {
    "tracking/session-key": Generated(
        purpose="MLflow signs the sessions of its pages with it; all replicas need the same",
        rotates=False,
    ),
    "tracking/admin-password": Generated(
        purpose="the first administrator of MLflow, whose database holds it too", rotates=False
    ),
    "monitoring/admin-password": Generated(
        purpose="the first administrator of Grafana, whose database holds it too", rotates=False
    ),
    "orchestration/cookie-secret": Generated(
        purpose="the proxies before the pages of Dagster encrypt the cookies of people with it",
        rotates=False,
    ),
    "serving/gateway-token": Generated(
        purpose="the gateway lets callers in with it, and with the one before", rotates=True
    ),
}
"""The secrets of every environment: noun → what for."""

TEAM_SECRETS: Mapping[str, Generated] = {
    "ray-token": Generated(
        purpose="head and workers of the team's Ray cluster know each other by it", rotates=False
    ),
    "workspace-cookie-secret": Generated(
        purpose="the proxies before the team's notebooks encrypt the cookies of people with it",
        rotates=False,
    ),
    "capture-key": Generated(
        purpose="the team's models hash with it what they keep of requests; they read it again",
        rotates=True,
    ),
    "serving-token": Generated(
        purpose="the team's callers are let in with it, and with the one before", rotates=True
    ),
}

FEATURE_SECRETS: Mapping[str, Generated] = {
    secret_in_store(REGISTRY_PASSWORD): Generated(
        purpose="the team's feature store signs in to its registry, a database, with it",
        rotates=False,
    ),
    secret_in_store(ONLINE_PASSWORD): Generated(
        purpose="the team's feature store signs in to the cache with it, or with the one before",
        # the cache takes two, but Feast reads one, when it starts
        rotates=False,
    ),
}
"""Those of a team that has a feature store."""


def generated(teams: Iterable[str], featured: Collection[str] = ()) -> dict[str, Generated]:
    """The noun of every secret of an environment → what for; `featured` are the teams that have a
    feature store."""
    return {
        **PLATFORM_SECRETS,
        **{
            f"teams/{team}/{noun}": secret
            for team in teams
            for noun, secret in (
                {**TEAM_SECRETS, **(FEATURE_SECRETS if team in featured else {})}
            ).items()
        },
    }


def online_password(team: str) -> str:
    """The noun of the secret with the password of a team's user of the cache."""
    return f"teams/{team}/{secret_in_store(ONLINE_PASSWORD)}"


FILLED: Mapping[str, str] = {
    "certificates": "the key of the organisation's authority, which signs for the gateway",
    "backup": "keys of the stores outside the region, and the passphrase of what is copied there",
}
"""Folder → what somebody puts there by hand, where a part asks for it; nothing is generated in it.
"""


def secret_folders(teams: Iterable[str]) -> dict[str, str]:
    """Namespace → the beginning of the nouns of the secrets that its pods read."""
    platform = dict.fromkeys(noun.partition("/")[0] for noun in (*PLATFORM_SECRETS, *FILLED))
    return {
        **{part: f"{part}/" for part in platform},
        **{team: f"teams/{team}/" for team in teams},
    }
