"""The API server of the tests, as workload code reaches it."""

from __future__ import annotations

import ssl

import httpx
from control_plane import ControlPlane


def client_of(cluster: ControlPlane, user: str) -> httpx.Client:
    """As somebody who has no group."""
    return httpx.Client(
        base_url=cluster.server,
        verify=ssl.create_default_context(cadata=cluster.authority.pem),
        headers={"Authorization": f"Bearer {cluster.token_for(user)}"},
        timeout=30,
        trust_env=False,
    )
