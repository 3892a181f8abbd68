"""Where values of Secrets are generated and kept, and the object that brings them here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource


@dataclass(frozen=True, kw_only=True)
class SecretSource:
    """A store of External Secrets, and under which names it has what is needed."""

    store: str
    """The ClusterSecretStore."""
    keys: Mapping[str, pulumi.Input[str]]
    """What for → the secret's name there."""


def lacking(source: SecretSource | None, needed: set[str]) -> list[str]:
    """What `source` has no name for; nothing without a source, where somebody else provides."""
    return sorted(needed - source.keys.keys()) if source is not None else []


def external_secret(
    name: str,
    source: SecretSource,
    metadata: Mapping[str, Any],
    written: Mapping[str, tuple[str, str]],
    opts: pulumi.ResourceOptions,
) -> CustomResource:
    """The Secret of the name in `metadata`, kept equal to what the store says.

    `written` is key of the Secret → (what for, template); the template finds the value as
    ``.value``.
    """
    wanted = sorted({noun for noun, _ in written.values()})
    fields = {noun: noun.replace("-", "_") for noun in wanted}
    template = {
        "engineVersion": "v2",
        "data": {
            key: text.replace(".value", f".{fields[noun]}") for key, (noun, text) in written.items()
        },
    }
    return _kept(
        name,
        source,
        metadata,
        opts,
        taken={fields[noun]: {"key": source.keys[noun]} for noun in wanted},
        target={"template": template},
    )


def copied_secret(
    name: str,
    source: SecretSource,
    metadata: Mapping[str, Any],
    keys: Iterable[str],
    opts: pulumi.ResourceOptions,
) -> CustomResource:
    """The Secret of the name in `metadata`, each of whose `keys` holds what is kept for it as it
    is.
    """
    taken = {key: {"key": source.keys[key]} for key in keys}
    return _kept(name, source, metadata, opts, taken=taken)


def unpacked_secret(
    name: str,
    source: SecretSource,
    metadata: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
    *,
    noun: str,
    keys: Iterable[str],
) -> CustomResource:
    """The Secret of the name in `metadata` with `keys`, which are those of the JSON object that is
    kept for `noun`."""
    taken = {key: {"key": source.keys[noun], "property": key} for key in keys}
    return _kept(name, source, metadata, opts, taken=taken)


def _kept(
    name: str,
    source: SecretSource,
    metadata: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
    *,
    taken: Mapping[str, Mapping[str, pulumi.Input[str]]],
    target: Mapping[str, Any] | None = None,
) -> CustomResource:
    """`taken` is field → where the store has it."""
    return CustomResource(
        name,
        api_version="external-secrets.io/v1",
        kind="ExternalSecret",
        metadata=dict(metadata),
        spec={
            "refreshInterval": "1h0m0s",
            "secretStoreRef": {"name": source.store, "kind": "ClusterSecretStore"},
            "target": {"name": metadata["name"], "creationPolicy": "Owner", **(target or {})},
            "data": [
                {"secretKey": field, "remoteRef": dict(where)} for field, where in taken.items()
            ],
        },
        opts=opts,
    )


PLAIN = "{{ .value }}"
COOKIE_KEY = "{{ .value | sha256sum | trunc 32 }}"
"""32 letters whatever the length of what was generated: a key of AES has no other."""
