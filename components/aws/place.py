"""An environment on AWS: its parts joined, and what they fill of the contract with teams.

Owns which parts there are and how they meet. The account, the network and the EKS cluster that the
node pools join must exist before, and the credentials of whoever runs Pulumi must be those of the
account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.aws.access import Domain, team_role
from components.aws.artifact_store import ArtifactStore, ArtifactStoreArgs
from components.aws.boundary import Boundary, BoundaryArgs
from components.aws.delivery_roles import DeliveryRoles, DeliveryRolesArgs
from components.aws.identity import WorkloadIdentities, WorkloadIdentitiesArgs
from components.aws.keys import DOMAINS, DomainKey, DomainKeyArgs
from components.aws.node_pool import NodePool, NodePoolArgs
from components.aws.organisation import service_control_policy
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.secrets import GeneratedSecrets, GeneratedSecretsArgs
from components.aws.settings.identity import IdentitySettings
from components.aws.settings.keys import KeySettings
from components.aws.settings.node_pool import NodePoolSettings
from components.aws.settings.secrets import SecretsSettings
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
    allowed_regions: Sequence[str] = ()
    """Where roles may act; empty for `region` alone."""
    keys: KeySettings = field(default_factory=KeySettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    secrets: SecretsSettings = field(default_factory=SecretsSettings)


class AwsPlace(pulumi.ComponentResource):
    """The parts of an environment on AWS; `fields` is what they fill of `PlatformOutputs`."""

    fields: dict[str, pulumi.Input[Any]]
    break_glass_arn: pulumi.Output[str] | None
    """Whose use is an alarm; `None` where nobody may break the glass."""

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
        regions = args.allowed_regions or (args.region,)
        boundary = Boundary(
            f"{name}-boundary",
            BoundaryArgs(
                scope=scope,
                allowed_regions=regions,
                keep=args.keep_data,
            ),
            child,
        )
        scope = replace(scope, boundary_arn=boundary.arn)
        keys, team_keys = self._keys(name, args, scope, child)
        identities = WorkloadIdentities(
            f"{name}-identity",
            WorkloadIdentitiesArgs(
                scope=scope,
                teams=tuple(args.teams),
                key_arns={domain: key.arn for domain, key in keys.items()},
                team_key_arns={team: key.arn for team, key in team_keys.items()},
                cluster_name=args.cluster_name,
            ),
            child,
        )
        delivery = DeliveryRoles(
            f"{name}-delivery",
            DeliveryRolesArgs(scope=scope, settings=args.identity, keep=args.keep_data),
            child,
        )
        GeneratedSecrets(
            f"{name}-secrets",
            GeneratedSecretsArgs(
                scope=scope,
                teams=tuple(args.teams),
                settings=args.secrets,
                keep=args.keep_data,
                secrets_key_arn=keys["secrets"].arn,
                logs_key_arn=keys["logs"].arn,
            ),
            child,
        )
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

        self.break_glass_arn = delivery.break_glass_arn
        self.fields = {
            "organisation_policy": service_control_policy(regions),
            "region": args.region,
            "encryption_keys": {
                **{domain: key.arn for domain, key in keys.items()},
                **{team_role(team): key.arn for team, key in team_keys.items()},
            },
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
            self.fields |= self._on_the_cluster(name, args, args.kubeconfig, identities)
        elif args.teams:
            pulumi.log.warn(
                "teams are not deployed: set the secret falaj:kubeconfig once the cluster answers",
                self,
            )
        self.register_outputs({})

    def _keys(
        self, name: str, args: AwsPlaceArgs, scope: Scope, child: pulumi.ResourceOptions
    ) -> tuple[dict[Domain, DomainKey], dict[str, DomainKey]]:
        """The keys of the domains, and those of teams where teams have their own."""

        def key(
            subject: str, *, domain: Domain | None = None, team: str | None = None
        ) -> DomainKey:
            return DomainKey(
                f"{name}-{subject}",
                DomainKeyArgs(
                    scope=scope, domain=domain, team=team, settings=args.keys, keep=args.keep_data
                ),
                child,
            )

        teams = args.teams if args.keys.team_keys else {}
        return (
            {domain: key(domain, domain=domain) for domain in DOMAINS},
            {team: key(f"team-{team}-data", team=team) for team in teams},
        )

    def _on_the_cluster(
        self,
        name: str,
        args: AwsPlaceArgs,
        kubeconfig: pulumi.Input[str],
        identities: WorkloadIdentities,
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
                    "role": identities.roles[team_role(team)],
                    "cpu_quota": quota.cpu_quota,
                    "memory_quota_gib": quota.memory_quota_gib,
                    "gpu_quota": quota.gpu_quota,
                }
                for team, quota in args.teams.items()
            },
        }
