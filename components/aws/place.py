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

from components.aws.cache import Cache, CacheAccess, CacheArgs, existing_cache
from components.aws.database import Database, DatabaseAccess, DatabaseArgs, existing_database
from components.aws.image_registry import ImageRegistry, ImageRegistryArgs
from components.aws.keys import DOMAINS, Domain, DomainKey, DomainKeyArgs
from components.aws.network import (
    GivenNetwork,
    GivenNetworkArgs,
    Network,
    NetworkArgs,
    NetworkIds,
)
from components.aws.node_pool import NodePool, NodePoolArgs
from components.aws.placement import Placement
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.settings.cache import CacheSettings
from components.aws.settings.database import DatabaseSettings
from components.aws.settings.image_registry import ImageRegistrySettings
from components.aws.settings.network import ExistingNetwork, NetworkSettings
from components.aws.settings.node_pool import NodePoolSettings
from components.aws.settings.storage import StorageSettings
from components.aws.settings.stream import StreamSettings
from components.aws.storage import Storage, StorageArgs, make_storage
from components.aws.stream import Stream, StreamAccess, StreamArgs, existing_stream
from components.images import read_catalogue
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
    image_registry: ImageRegistrySettings = field(default_factory=ImageRegistrySettings)
    teams: Mapping[str, TeamQuota] = field(default_factory=dict)
    """Deployed once `kubeconfig` says how to reach the cluster."""
    kubeconfig: pulumi.Input[str] | None = None
    keep_data: bool = True
    """Whether stores of data outlive the stack."""
    storage: StorageSettings = field(default_factory=StorageSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    placement: Placement | None = None
    """Where stores of data stand, and from where data is used, once there is a network."""


class AwsPlace(pulumi.ComponentResource):
    """The parts of an environment on AWS; `fields` is what they fill of `PlatformOutputs`."""

    fields: dict[str, pulumi.Input[Any]]
    storage: Storage
    database: DatabaseAccess | None = None
    cache: CacheAccess | None = None
    stream: StreamAccess | None = None
    """How they are reached; `None` where there is none yet."""

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
        network = self._network(name, args, scope, keys, child)
        subnet_ids = args.subnet_ids if network is None else network.private_subnet_ids.values()
        self.storage = self._storage(name, args, scope, keys, child)
        self._data_services(name, args, scope, keys, child)
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

        self._images(name, args, scope, keys["artifacts"], child)

        self.fields = {
            "region": args.region,
            "encryption_keys": {domain: key.arn for domain, key in keys.items()},
            "artifact_uri": self.storage.stores["artifacts"].uri,
            "data_uri": self.storage.stores["data"].uri,
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

    @staticmethod
    def _storage(
        name: str,
        args: AwsPlaceArgs,
        scope: Scope,
        keys: Mapping[Domain, DomainKey],
        child: pulumi.ResourceOptions,
    ) -> Storage:
        return make_storage(
            name,
            StorageArgs(
                scope=scope,
                storage=args.storage,
                key_arns={domain: key.arn for domain, key in keys.items()},
                keep=args.keep_data,
                vpc_id=args.placement.vpc_id if args.placement is not None else None,
                teams=args.teams,
            ),
            child,
        )

    def _data_services(
        self,
        name: str,
        args: AwsPlaceArgs,
        scope: Scope,
        keys: Mapping[Domain, DomainKey],
        child: pulumi.ResourceOptions,
    ) -> None:
        """Those of somebody else, or our own once there is a network for them."""
        if args.database.existing is not None:
            self.database = existing_database(
                scope, args.database.existing, args.database.consumers
            )
        if args.cache.existing is not None:
            self.cache = existing_cache(args.cache.existing)
        if args.stream.existing is not None:
            self.stream = existing_stream(args.stream.existing)
        if args.placement is None:
            return
        common: dict[str, Any] = {
            "scope": scope,
            "placement": args.placement,
            "key_arn": keys["database"].arn,
            "log_key_arn": keys["logs"].arn,
            "keep": args.keep_data,
        }
        if args.database.existing is None:
            self.database = Database(
                f"{name}-database",
                DatabaseArgs(
                    **common,
                    settings=args.database,
                    administrator_key_arn=keys["secrets"].arn,
                ),
                child,
            ).access
        if args.cache.kind == "elasticache":
            self.cache = Cache(
                f"{name}-cache", CacheArgs(**common, settings=args.cache), child
            ).access
        if args.stream.kind == "msk":
            self.stream = Stream(
                f"{name}-stream", StreamArgs(**common, settings=args.stream), child
            ).access

    @staticmethod
    def _images(
        name: str,
        args: AwsPlaceArgs,
        scope: Scope,
        key: DomainKey,
        child: pulumi.ResourceOptions,
    ) -> None:
        ImageRegistry(
            f"{name}-images",
            ImageRegistryArgs(
                scope=scope,
                repositories=read_catalogue().repositories(),
                key_arn=key.arn,
                keep=args.keep_data,
                settings=args.image_registry,
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
