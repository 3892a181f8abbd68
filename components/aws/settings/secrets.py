"""The settings of the secrets that the platform generates for itself, and which there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

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
    "serving-token": Generated(
        purpose="the team's callers are let in with it, and with the one before", rotates=True
    ),
}


def generated(teams: Iterable[str]) -> dict[str, Generated]:
    """The noun of every secret of an environment → what for."""
    return {
        **PLATFORM_SECRETS,
        **{
            f"teams/{team}/{noun}": secret
            for team in teams
            for noun, secret in TEAM_SECRETS.items()
        },
    }


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
