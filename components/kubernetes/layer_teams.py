"""What teams have on a cluster besides their namespaces: a Dagster each, and notebooks of people.

Owns the namespace that the pages and daemons of all Dagsters share, and that each asks for its own
database and secrets. Leaves the parts themselves to `orchestration` and `workspace`, and code
locations to whoever deploys workloads. The teams must be there before, the operators, the stores
of secrets and, where people come in, the gateway.

Names of secrets below a namespace's folder in the store (`secret_stores`), where there is one:

| folder of | secret | whose |
|---|---|---|
| `orchestration` | `client-secret` | the identity provider's, filled in by hand |
| | `cookie-secret` | generated |
| | `<team>-database-password` | where the database is not signed in to by IAM |
| each team with a Dagster | `dagster-database-password` | the same |
| each team with workspaces | `workspace-client-secret` | as above, filled in by hand |
| | `workspace-cookie-secret` | generated |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.images import Mirror
from components.kubernetes import pages
from components.kubernetes.flows import Addresses
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.mesh import MeshRules, MeshRulesArgs
from components.kubernetes.orchestration import (
    DATABASE_PASSWORD,
    PART,
    Orchestration,
    OrchestrationArgs,
)
from components.kubernetes.orchestration_files import InstanceDatabase
from components.kubernetes.orchestration_settings import OrchestrationSettings, members
from components.kubernetes.pools import Pool
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.serving import Door
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team
from components.kubernetes.workspace import Workspace, WorkspaceArgs


@dataclass(frozen=True, kw_only=True)
class TeamPartsArgs:
    """Who the teams are, what is asked for them, and what it stands on."""

    settings: LayerSettings
    keep: bool
    """Whether the environment keeps data."""
    mirror: Mirror
    teams: Mapping[str, Team]
    databases: Mapping[str, InstanceDatabase]
    """Team → that of its Dagster, for each that has one."""
    storage_class: str
    """Of the volumes of workspaces."""
    pools: Mapping[str, Pool] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=Addresses)
    stores: Mapping[str, str] = field(default_factory=dict)
    """Namespace → its store of secrets; empty where somebody else puts the Secrets there."""
    door: Door | None = None
    """The gateway that people come through."""
    tracking_uri: pulumi.Input[str] | None = None
    """Where notebooks find MLflow; `None` without it."""
    mesh: bool = False
    wait_for: Sequence[pulumi.Resource] = ()
    """Operators, stores of secrets, identities, the mesh and the gateway."""


class TeamParts(pulumi.ComponentResource):
    """`urls`: team → where its people find its Dagster."""

    def __init__(
        self, name: str, args: TeamPartsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:TeamParts", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.urls: dict[str, str] = {}
        if args.settings.orchestration is not None and args.settings.orchestration.teams:
            self._orchestration(args.settings.orchestration)
        self._workspaces()
        self.register_outputs({"urls": self.urls})

    # --- Dagster ----------------------------------------------------------------------------------

    def _orchestration(self, settings: OrchestrationSettings) -> None:
        args = self._args
        space, ready = self._space(settings)
        for team in settings.teams:
            made = Orchestration(
                f"{self._name}-orchestration-{team}",
                OrchestrationArgs(
                    team=team,
                    settings=settings,
                    keep=args.keep,
                    groups=members(args.settings.teams[team]),
                    namespace=space.namespace,
                    image=args.mirror.image("dagster-k8s"),
                    proxy_image=args.mirror.image("oauth2-proxy"),
                    database=args.databases[team],
                    secret_source=self._source(
                        PART,
                        {
                            pages.CLIENT_SECRET: pages.CLIENT_SECRET,
                            pages.COOKIE_SECRET: pages.COOKIE_SECRET,
                            DATABASE_PASSWORD: f"{team}-{DATABASE_PASSWORD}",
                        },
                    ),
                    team_secret_source=self._source(
                        team, {DATABASE_PASSWORD: f"dagster-{DATABASE_PASSWORD}"}
                    ),
                    door=args.door,
                    monitored=True,
                    wait_for=[*ready, *args.teams[team].ready],
                ),
                self._child,
            )
            if made.url is not None:
                self.urls[team] = made.url

    def _space(self, settings: OrchestrationSettings) -> tuple[Namespace, list[pulumi.Resource]]:
        """The namespace, and what pods there wait for."""
        args = self._args
        space = Namespace(
            f"{self._name}-orchestration-space",
            NamespaceArgs(
                namespace=PART,
                part=PART,
                quota=settings.quota(keep=args.keep),
                addresses=args.addresses,
                mesh=args.mesh,
            ),
            self._child,
        )
        ready = [*space.ready, *args.wait_for]
        if args.mesh:
            ready += MeshRules(
                f"{self._name}-orchestration-rules",
                MeshRulesArgs(
                    namespace=space.namespace,
                    part=PART,
                    teams=tuple(args.teams),
                    wait_for=args.wait_for,
                ),
                self._child,
            ).ready
        return space, ready

    # --- workspaces -------------------------------------------------------------------------------

    def _workspaces(self) -> None:
        args, settings = self._args, self._args.settings.workspaces
        if settings is None:
            return
        for user, own in settings.users.items():
            Workspace(
                f"{self._name}-workspace-{user}",
                WorkspaceArgs(
                    user=user,
                    settings=settings,
                    keep=args.keep,
                    proxy_image=args.mirror.image("oauth2-proxy"),
                    storage_class=args.storage_class,
                    pools=args.pools,
                    tracking_uri=args.tracking_uri,
                    secret_source=self._source(
                        own.team, {noun: f"workspace-{noun}" for noun in pages.WRITTEN}
                    ),
                    door=args.door,
                    wait_for=[*args.teams[own.team].ready, *args.wait_for],
                ),
                self._child,
            )

    def _source(self, namespace: str, keys: Mapping[str, str]) -> SecretSource | None:
        """The store of `namespace`, with what for → name in its folder."""
        if not self._args.stores:
            return None
        return SecretSource(store=self._args.stores[namespace], keys=keys)
