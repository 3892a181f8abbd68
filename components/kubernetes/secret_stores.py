"""Where pods' secrets come from: a store for each namespace, which reaches its own folder alone.

Owns the ClusterSecretStores of External Secrets. Leaves the operator with its identity to others
(`components.aws.access`), and the ExternalSecrets to the parts that need them; the operator's kinds
must be there before.

The operator may read every secret of the environment, so what keeps one namespace from another's is
said here, twice: a store answers one namespace, and it puts that namespace's folder before every
name that is asked for. A name cannot climb out of a folder: Secrets Manager takes it as it is. What
is found by a pattern or a tag would come without the folder; the operator's role may neither list
nor fetch in batches, and a test holds that. No role of a team may write an ExternalSecret or a
store. See docs/adr/0020-a-store-for-each-namespace.md.

What the operator does with a store is not shown by any test here. On a cluster: `kubectl get
clustersecretstore` says Ready, and an ExternalSecret of one team that names the store of another
gets the event `using cluster store "falaj-…" is not allowed from namespace`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

API_VERSION = "external-secrets.io/v1"
KIND = "ClusterSecretStore"

OPERATOR = "external-secrets"
"""Namespace and service account of the operator."""


@dataclass(frozen=True, kw_only=True)
class SecretsManager:
    """AWS Secrets Manager, as whom the operator's pod is: by Pod Identity, without a key."""

    region: str

    def provider(self, namespace: str, folder: str) -> dict[str, Any]:
        """The `provider` of the store of `namespace`."""
        del namespace
        return {"aws": {"service": "SecretsManager", "region": self.region, "prefix": folder}}


@dataclass(frozen=True, kw_only=True)
class Vault:
    """A Vault or OpenBao in the country, with a KV engine (version 2) mounted for each folder.

    The operator takes the role ``falaj-<namespace>`` there by its service account's token; the
    policy of that role must let it read its own mount and no other.
    """

    server: str
    """``https://…``"""
    auth_mount: str = "kubernetes"

    def __post_init__(self) -> None:
        """Raises `ValueError` where secrets would travel in plain."""
        if not self.server.startswith("https://"):
            raise ValueError(f"server: is {self.server!r}; secrets travel over https:// alone")

    def provider(self, namespace: str, folder: str) -> dict[str, Any]:
        """The `provider` of the store of `namespace`."""
        account = {"name": OPERATOR, "namespace": OPERATOR}
        return {
            "vault": {
                "server": self.server,
                "path": folder.removesuffix("/"),
                "version": "v2",
                "auth": {
                    "kubernetes": {
                        "mountPath": self.auth_mount,
                        "role": f"falaj-{namespace}",
                        "serviceAccountRef": account,
                    }
                },
            }
        }


@dataclass(frozen=True, kw_only=True)
class SecretStoresArgs:
    """Who reads what, and where it is kept."""

    source: SecretsManager | Vault
    folders: Mapping[str, str]
    """Namespace → the beginning of the names of its secrets, with a slash at the end."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The operator and its webhook, the association of its identity."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where a namespace would reach into another's folder."""
        problems = []
        for namespace, folder in self.folders.items():
            if not folder.strip("/") or not folder.endswith("/"):
                problems.append(
                    f"{namespace}: reads {folder!r}, and a folder has a name and ends with a "
                    "slash: without it, team/a would also be the beginning of team/ab"
                )
            problems += [
                f"{namespace}: reads {folder!r}, which holds {other!r} of {neighbour}"
                for neighbour, other in self.folders.items()
                if neighbour != namespace and other.startswith(folder)
            ]
        if problems:
            raise ValueError("\n".join(f"folders.{problem}" for problem in problems))


class SecretStores(pulumi.ComponentResource):
    """`names`: namespace → its store, a ClusterSecretStore; `ready` is what secrets wait for.

    An ExternalSecret names a secret below the folder of its namespace, such as ``ray-token``.
    """

    def __init__(
        self, name: str, args: SecretStoresArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:SecretStores", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self.names = {namespace: store_of(namespace) for namespace in args.folders}
        self.ready: list[pulumi.Resource] = [
            CustomResource(
                f"{name}-{namespace}",
                api_version=API_VERSION,
                kind=KIND,
                metadata=_metadata(self.names[namespace]),
                spec=store_spec(args.source, namespace, folder),
                opts=child,
            )
            for namespace, folder in args.folders.items()
        ]
        self.register_outputs({})


def store_of(namespace: str) -> str:
    """The name of the store of `namespace`."""
    return f"falaj-{namespace}"


def store_spec(source: SecretsManager | Vault, namespace: str, folder: str) -> dict[str, Any]:
    """The `spec` of the store of `namespace`."""
    return {
        # by name: a label can be put on another namespace
        "conditions": [{"namespaces": [namespace]}],
        "provider": source.provider(namespace, folder),
        "retrySettings": {"maxRetries": 5, "retryInterval": "10s"},
    }


def _metadata(name: str) -> Any:
    return {"name": name, "labels": {"app.kubernetes.io/managed-by": "pulumi"}}
