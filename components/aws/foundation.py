"""What must be there before an environment can be deployed: made once, from outside.

Owns the bucket and the key of the stacks' state and, where the environment is deployed by a runner,
its network, the runner with what it deploys with, and the roles with which it and the pipelines
deploy. These outlive the environment's own stack: a runner must not delete the ground that it
stands on. Nothing must exist before but the account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi

from components.aws.artifact_store import ArtifactStore, ArtifactStoreArgs, Lifecycle
from components.aws.boundary import Boundary, BoundaryArgs
from components.aws.bucket_policy import Guard
from components.aws.delivery_roles import DeliveryRoles, DeliveryRolesArgs
from components.aws.key_use import DEPLOYERS
from components.aws.keys import DomainKey, DomainKeyArgs
from components.aws.network import (
    GivenNetwork,
    GivenNetworkArgs,
    Network,
    NetworkArgs,
    NetworkIds,
)
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.runner import Runner, RunnerArgs
from components.aws.runner_bundle import Bundle, RunnerBundle, RunnerBundleArgs
from components.aws.scope import Scope
from components.aws.settings.aws import AwsSettings
from components.aws.settings.network import NetworkSettings, private_domain_of
from components.tags import tags

STATE_VERSIONS_DAYS = 365
"""How long a version of the state that was written over can be gone back to."""


@dataclass(frozen=True, kw_only=True)
class FoundationArgs:
    """For which environment."""

    environment: str
    owner: str
    residency_mode: str
    allowed_regions: Sequence[str] = ()
    """Where roles may act; empty for the region of `aws` alone."""
    aws: AwsSettings
    people: Sequence[str] = ()
    """ARNs of roles of people that deploy the environment."""
    bundle: Bundle | None = None
    """What the runner deploys with; without one it keeps what it has."""


class Foundation(pulumi.ComponentResource):
    """The ground of an environment; `fields` is what its own stack and people read of it."""

    fields: dict[str, pulumi.Input[Any]]

    def __init__(
        self, name: str, args: FoundationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Foundation", name, None, opts)
        provider = RegionProvider(
            f"{name}-provider",
            RegionProviderArgs(
                account_id=args.aws.account_id,
                region=args.aws.region,
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
        scope = Scope(
            environment=args.environment,
            account_id=args.aws.account_id,
            region=args.aws.region,
        )
        keep = args.aws.keep_data
        administrators = args.aws.identity.administrators
        # whoever runs the bootstrap, the first time and later
        managers = (*administrators, *(scope.role_arn(role) for role in DEPLOYERS))
        key = DomainKey(
            f"{name}-state",
            DomainKeyArgs(
                scope=scope,
                domain="state",
                settings=args.aws.keys,
                # the bootstrap's own state, the first to be kept, is written by them
                deployers=administrators,
                managers=managers,
            ),
            child,
        )
        store = ArtifactStore(
            f"{name}-state-store",
            ArtifactStoreArgs(
                bucket=scope.bucket("state"),
                key_arn=key.arn,
                # addresses and encrypted secrets of everything
                data_classification="restricted",
                keep=True,
                guard=Guard(account_id=args.aws.account_id),
                lifecycle=Lifecycle(noncurrent_days=STATE_VERSIONS_DAYS, abort_upload_days=1),
            ),
            child,
        )
        self.fields = {
            "backend_url": backend_url(scope),
            "secrets_provider": secrets_provider(scope),
        }
        if args.aws.runner is not None:
            # the runner deploys with the role `apply`, so that cannot wait for the first `up`
            boundary = Boundary(
                f"{name}-boundary",
                BoundaryArgs(
                    scope=scope, allowed_regions=args.allowed_regions or (scope.region,), keep=keep
                ),
                child,
            )
            scope = replace(scope, boundary_arn=boundary.arn)
            DeliveryRoles(
                f"{name}-delivery",
                DeliveryRolesArgs(
                    scope=scope,
                    settings=args.aws.identity,
                    keep=keep,
                    state_key_arn=key.arn,
                    runner="runner",
                    people=args.people,
                ),
                child,
            )
            network = self._network(name, args, scope, managers, child)
            disk_key = DomainKey(
                f"{name}-cluster",
                DomainKeyArgs(
                    scope=own_scope(scope),
                    domain="cluster",
                    settings=args.aws.keys,
                    managers=managers,
                    # they start the instance
                    managers_use_through=("ec2",),
                ),
                child,
            )
            runner = Runner(
                f"{name}-runner",
                RunnerArgs(
                    scope=scope,
                    runner=args.aws.runner,
                    network=network,
                    disk_key_arn=disk_key.arn,
                    state_key_arn=key.arn,
                    # stacks.environment makes Pulumi's own variable of it
                    variables={"FALAJ_BACKEND_URL": backend_url(scope)},
                ),
                child,
            )
            if args.bundle is not None:
                RunnerBundle(
                    f"{name}-bundle",
                    RunnerBundleArgs(
                        scope=scope,
                        bundle=args.bundle,
                        store=store,
                        key_arn=key.arn,
                        instance_id=runner.instance_id,
                    ),
                    child,
                )
            self.fields |= {
                "runner": {"instance_id": runner.instance_id, "group_id": runner.group_id},
                "network": {
                    "vpc_id": network.vpc_id,
                    "private_subnet_ids": network.private_subnet_ids,
                    "isolated_subnet_ids": network.isolated_subnet_ids,
                    "private_route_table_ids": network.private_route_table_ids,
                    "endpoint_security_group_id": network.endpoint_security_group_id,
                    "private_zone_id": network.private_zone_id,
                },
            }
        self.register_outputs({})

    def _network(
        self,
        name: str,
        args: FoundationArgs,
        scope: Scope,
        managers: Sequence[str],
        child: pulumi.ResourceOptions,
    ) -> Network | GivenNetwork:
        settings = args.aws.network or NetworkSettings()
        own = own_scope(scope)
        if args.aws.existing_network is not None:
            return GivenNetwork(
                f"{name}-network",
                GivenNetworkArgs(
                    scope=own,
                    ids=NetworkIds.of(args.aws.existing_network),
                    trusted_accounts=settings.trusted_accounts,
                ),
                child,
            )
        logs = DomainKey(
            f"{name}-logs",
            DomainKeyArgs(scope=own, domain="logs", settings=args.aws.keys, managers=managers),
            child,
        )
        return Network(
            f"{name}-network",
            NetworkArgs(
                scope=own,
                network=settings,
                log_key_arn=logs.arn,
                keep=args.aws.keep_data,
                # of the environment, not of its bootstrap
                private_domain=private_domain_of(settings, scope.environment),
            ),
            child,
        )


def own_scope(scope: Scope) -> Scope:
    """The names of what the bootstrap makes beside what the environment makes later."""
    return Scope(
        environment=f"{scope.environment}-bootstrap",
        account_id=scope.account_id,
        region=scope.region,
        boundary_arn=scope.boundary_arn,
    )


def backend_url(scope: Scope) -> str:
    """Where the environment's stack keeps its state."""
    return f"s3://{scope.bucket('state')}?region={scope.region}"


def secrets_provider(scope: Scope) -> str:
    """What encrypts the secrets in that state."""
    return f"awskms://alias/falaj/{scope.environment}/state?region={scope.region}"
