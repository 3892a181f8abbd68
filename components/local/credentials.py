"""Secrets that the local environment makes for itself, once, and keeps encrypted in its state."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi
from pulumi import dynamic

from components.local.provider import LocalProvider

BYTES = 32


class GeneratedSecretProvider(LocalProvider):
    """Draws a random text at creation and never again."""

    outputs = frozenset({"value"})

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """The text is URL-safe and carries 256 bits."""
        return dynamic.CreateResult(secrets.token_hex(8), {"value": secrets.token_urlsafe(BYTES)})


class GeneratedSecret(dynamic.Resource, module="local", name="GeneratedSecret"):
    """A random text; `value` is a Pulumi secret."""

    value: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        """Makes the secret `name`."""
        super().__init__(
            GeneratedSecretProvider(),
            name,
            {"value": None},
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(additional_secret_outputs=["value"])
            ),
        )
