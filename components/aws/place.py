"""An environment on AWS: its parts joined, and what they fill of the contract with teams.

Owns which parts there are and how they meet. The account, the network and the EKS cluster that the
node pools join must exist before, and the credentials of whoever runs Pulumi must be those of the
account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.aws.artifact_store import ArtifactStore, ArtifactStoreArgs
from components.aws.backup import TAG
from components.aws.keys import SERVICES, Domain, DomainKey, DomainKeyArgs
from components.aws.node_pool import NodePool, NodePoolArgs
from components.aws.oversight import Oversight, OversightArgs, OversightSettings, make_oversight
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.settings.backup import STANDARD
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
    subnet_ids: Sequence[str]
    node_pools: Mapping[str, NodePoolSettings]
    teams: Mapping[str, TeamQuota] = field(default_factory=dict)
    """Deployed once `kubeconfig` says how to reach the cluster."""
    kubeconfig: pulumi.Input[str] | None = None
    keep_data: bool = True
    """Whether stores of data outlive the stack."""
    allowed_regions: Sequence[str] = ("me-central-1",)
    oversight: OversightSettings | None = None
    """Trail, backups and log shipping; `None` leaves them out."""


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
                )
                | ({TAG: STANDARD} if args.oversight and args.oversight.backup.own else {}),
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
            for domain in SERVICES
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
        for pool, shape in args.node_pools.items():
            NodePool(
                f"{name}-pool-{pool}",
                NodePoolArgs(
                    scope=scope,
                    pool=pool,
                    shape=shape,
                    cluster_name=args.cluster_name,
                    subnet_ids=args.subnet_ids,
                    volume_key_arn=keys["cluster"].arn,
                ),
                child,
            )

        self.oversight = self._oversight(name, args, scope, keys, child)
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
    def _oversight(
        name: str,
        args: AwsPlaceArgs,
        scope: Scope,
        keys: Mapping[Domain, DomainKey],
        child: pulumi.ResourceOptions,
    ) -> Oversight | None:
        if args.oversight is None:
            return None
        return make_oversight(
            name,
            OversightArgs(
                scope=scope,
                settings=args.oversight,
                allowed_regions=args.allowed_regions,
                key_arns={str(domain): key.arn for domain, key in keys.items()},
                cluster_name=args.cluster_name,
                cluster_log_group=f"/aws/eks/{args.cluster_name}/cluster",
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
