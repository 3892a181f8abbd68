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
from components.aws.compute import Compute, ComputeArgs, ComputeNetwork
from components.aws.keys import DOMAINS, Domain, DomainKey, DomainKeyArgs
from components.aws.network import (
    GivenNetwork,
    GivenNetworkArgs,
    Network,
    NetworkArgs,
    NetworkIds,
)
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.settings.cluster import ClusterSettings, ExistingCluster
from components.aws.settings.elastic_nodes import ElasticNodesSettings
from components.aws.settings.network import ExistingNetwork, NetworkSettings
from components.aws.settings.node_pool import NodePoolSettings, PoolSettings
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
    network: NetworkSettings | None = None
    existing_network: ExistingNetwork | None = None
    network_ids: NetworkIds | None = None
    """Of the network that the bootstrap made; stands over the other two."""
    node_pools: Mapping[str, NodePoolSettings]
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    existing_cluster: ExistingCluster | None = None
    """Joined instead of making `cluster`."""
    elastic_nodes: ElasticNodesSettings | None = None
    service_linked_roles: Sequence[str] = ()
    administrators: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Noun → ARN of a role that administers a cluster that is made; `apply` where none is named."""
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
                default_tags=self._tags(args),
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
        compute = self._compute(name, args, scope, keys, child, network=network)

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
                    "min_nodes": shape.min_nodes if isinstance(shape, NodePoolSettings) else 0,
                    "max_nodes": shape.max_nodes,
                }
                for pool, shape in self._pools(args).items()
            },
        }
        kubeconfig = args.kubeconfig if args.kubeconfig is not None else compute.kubeconfig
        if kubeconfig is not None:
            self.fields |= self._on_the_cluster(name, args, kubeconfig, compute)
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
    def _pools(args: AwsPlaceArgs) -> dict[str, PoolSettings]:
        elastic = args.elastic_nodes.pools if args.elastic_nodes is not None else {}
        return {**args.node_pools, **elastic}

    @staticmethod
    def _tags(args: AwsPlaceArgs) -> dict[str, str]:
        return tags(
            environment=args.environment, owner=args.owner, residency_mode=args.residency_mode
        )

    def _compute(
        self,
        name: str,
        args: AwsPlaceArgs,
        scope: Scope,
        keys: Mapping[Domain, DomainKey],
        child: pulumi.ResourceOptions,
        *,
        network: Network | GivenNetwork | None,
    ) -> Compute:
        plan = args.network or NetworkSettings()
        return Compute(
            name,
            ComputeArgs(
                scope=scope,
                cluster=args.cluster,
                existing_cluster=args.existing_cluster,
                node_pools=args.node_pools,
                elastic_nodes=args.elastic_nodes,
                service_linked_roles=args.service_linked_roles,
                network=ComputeNetwork(
                    vpc_id=network.vpc_id,
                    cidrs=[network.cidr],
                    private_subnet_ids=network.private_subnet_ids,
                    service_cidr=str(plan.service_cidr),
                    max_pods=plan.max_pods,
                    api_security_group_ids={"runner": network.runner_group_id}
                    if network.runner_group_id is not None
                    else {},
                    ready=network.ready,
                )
                if network is not None
                else None,
                key_arn=keys["cluster"].arn,
                logs_key_arn=keys["logs"].arn,
                administrators=args.administrators or {"apply": scope.role_arn("apply")},
                keep=args.keep_data,
                tags=self._tags(args),
            ),
            child,
        )

    def _on_the_cluster(
        self,
        name: str,
        args: AwsPlaceArgs,
        kubeconfig: pulumi.Input[str],
        compute: Compute,
    ) -> dict[str, pulumi.Input[Any]]:
        secret = pulumi.Output.secret(kubeconfig)
        provider = compute.provider or kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=secret,
            opts=pulumi.ResourceOptions(parent=self),
        )
        teams = {
            team: Team(
                f"{name}-team-{team}",
                TeamArgs(team=team, quota=quota),
                # made here, like the provider of the account; a team comes to a cluster that is
                # ready and leaves while its controllers are still there
                pulumi.ResourceOptions(parent=self, provider=provider, depends_on=compute.ready),
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
