"""An environment on AWS: its parts joined, and what they fill of the contract with teams.

Owns which parts there are and how they meet. The account and the EKS cluster that the node pools
join must exist before, and the credentials of whoever runs Pulumi must be those of the
account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.aws.artifact_store import ArtifactStore, ArtifactStoreArgs
from components.aws.keys import DOMAINS, Domain, DomainKey, DomainKeyArgs
from components.aws.network import (
    GivenNetwork,
    GivenNetworkArgs,
    Network,
    NetworkArgs,
    NetworkIds,
)
from components.aws.node_pool import NodePool, NodePoolArgs
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.settings.network import ExistingNetwork, NetworkSettings
from components.aws.settings.node_pool import NodePoolSettings
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs
from components.tags import tags


@dataclass(frozen=True, kw_only=True)
class AwsPlaceArgs:
    """An environment's account, region and sizes."""

    environment: str
    owner: str
    residency_mode: str
    account_id: str
    region: str
    cluster_name: str
    subnet_ids: Sequence[str] = ()
    """The subnets of the nodes, where neither network is given."""
    network: NetworkSettings | None = None
    existing_network: ExistingNetwork | None = None
    network_ids: NetworkIds | None = None
    """Of the network that the bootstrap made; stands over the other two."""
    node_pools: Mapping[str, NodePoolSettings]
    teams: Mapping[str, TeamQuota] = field(default_factory=dict)
    """Deployed once `kubeconfig` says how to reach the cluster."""
    kubeconfig: pulumi.Input[str] | None = None
    keep_data: bool = True
    """Whether stores of data outlive the stack."""


class AwsPlace(pulumi.ComponentResource):
    """The parts of an environment on AWS; `fields` is what they fill of `PlatformOutputs`."""

    fields: dict[str, pulumi.Input[Any]]

    def __init__(
        self, name: str, args: AwsPlaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:AwsPlace", name, None, opts)
        provider = RegionProvider(
            f"{name}-provider",
            RegionProviderArgs(
                account_id=args.account_id,
                region=args.region,
                default_tags=tags(
                    environment=args.environment,
                    owner=args.owner,
                    residency_mode=args.residency_mode,
                ),
            ),
            pulumi.ResourceOptions(parent=self),
        )
        # this component makes the provider, so its children cannot inherit it
        child = pulumi.ResourceOptions(parent=self, provider=provider.provider)

        scope = Scope(environment=args.environment, account_id=args.account_id, region=args.region)
        keys = {
            domain: DomainKey(
                f"{name}-{domain}",
                DomainKeyArgs(scope=scope, domain=domain),
                child,
            )
            for domain in DOMAINS
        }
        stores = {
            content: ArtifactStore(
                f"{name}-{content}-store",
                ArtifactStoreArgs(
                    bucket=scope.bucket(content),
                    key_arn=keys["artifacts"].arn,
                    data_classification="confidential",
                    keep=args.keep_data,
                ),
                child,
            )
            for content in ("artifacts", "data")
        }
        network = self._network(name, args, scope, keys, child)
        subnet_ids = args.subnet_ids if network is None else network.private_subnet_ids.values()
        for pool, shape in args.node_pools.items():
            NodePool(
                f"{name}-pool-{pool}",
                NodePoolArgs(
                    scope=scope,
                    pool=pool,
                    shape=shape,
                    cluster_name=args.cluster_name,
                    subnet_ids=list(subnet_ids),
                    volume_key_arn=keys["cluster"].arn,
                ),
                child,
            )

        self.fields = {
            "region": args.region,
            "encryption_keys": {domain: key.arn for domain, key in keys.items()},
            "artifact_uri": stores["artifacts"].uri,
            "data_uri": stores["data"].uri,
            "object_store_region": args.region,
            "node_pools": {
                pool: {
                    "kind": shape.kind,
                    "instance_types": list(shape.instance_types),
                    "min_nodes": shape.min_nodes,
                    "max_nodes": shape.max_nodes,
                }
                for pool, shape in args.node_pools.items()
            },
        }
        if args.kubeconfig is not None:
            self.fields |= self._on_the_cluster(name, args, args.kubeconfig)
        elif args.teams:
            pulumi.log.warn(
                "teams are not deployed: set the secret falaj:kubeconfig once the cluster answers",
                self,
            )
        self.register_outputs({})

    @staticmethod
    def _network(
        name: str,
        args: AwsPlaceArgs,
        scope: Scope,
        keys: Mapping[Domain, DomainKey],
        child: pulumi.ResourceOptions,
    ) -> Network | GivenNetwork | None:
        ids = args.network_ids
        if ids is None and args.existing_network is not None:
            ids = NetworkIds.of(args.existing_network)
        if ids is not None:
            trusted = args.network.trusted_accounts if args.network is not None else ()
            return GivenNetwork(
                f"{name}-network",
                GivenNetworkArgs(scope=scope, ids=ids, trusted_accounts=trusted),
                child,
            )
        if args.network is None:
            return None
        return Network(
            f"{name}-network",
            NetworkArgs(
                scope=scope,
                network=args.network,
                log_key_arn=keys["logs"].arn,
                keep=args.keep_data,
            ),
            child,
        )

    def _on_the_cluster(
        self, name: str, args: AwsPlaceArgs, kubeconfig: pulumi.Input[str]
    ) -> dict[str, pulumi.Input[Any]]:
        secret = pulumi.Output.secret(kubeconfig)
        provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=secret,
            opts=pulumi.ResourceOptions(parent=self),
        )
        teams = {
            team: Team(
                f"{name}-team-{team}",
                TeamArgs(team=team, quota=quota),
                # made here, like the provider of the account
                pulumi.ResourceOptions(parent=self, provider=provider),
            )
            for team, quota in args.teams.items()
        }
        return {
            "kubeconfig": secret,
            "teams": {
                team: {
                    "namespace": teams[team].namespace,
                    "cpu_quota": quota.cpu_quota,
                    "memory_quota_gib": quota.memory_quota_gib,
                    "gpu_quota": quota.gpu_quota,
                }
                for team, quota in args.teams.items()
            },
        }
