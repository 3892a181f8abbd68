"""A Valkey on ElastiCache, in the network of the platform, or one that is there already.

Owns the replication group with its subnets, security group, users and logs. Leaves the users'
permission to connect to their identities, and the passwords of feature stores to `secrets`. Network
and keys must exist before.

A feature store's user is made as one that logs in by IAM, which nobody may as it; then the function
that makes its password tells ElastiCache, so that no state ever holds it. Not shown without an
account: `aws elasticache describe-users` shows the type `password` for them once the deployment is
through, and a second `pulumi up --refresh` changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.placement import Placement, standing
from components.aws.scope import Scope
from components.aws.service_log import service_log
from components.aws.settings.cache import TEAM, CacheSettings, ExistingCache
from components.kubernetes.feature_store_settings import online_rights

PORT = 6379
NOUN = "cache"
_LOGS = ("engine-log", "slow-log")
_EVERYTHING_BUT_ADMINISTRATION = "on ~* +@all -@admin -@dangerous"
_NOBODY = {"nobody": "off -@all"}
"""In a group without users; whether ElastiCache takes one without any is said nowhere."""


@dataclass(frozen=True, kw_only=True)
class CacheUser:
    """Who logs in to the cache. There is no password: a token of IAM stands for it."""

    name: str
    connect_arns: tuple[str, ...]
    """What the action `elasticache:Connect` is allowed on: cache and user, both."""


@dataclass(frozen=True, kw_only=True)
class CacheAccess:
    """How a cache is reached, over TLS."""

    address: pulumi.Output[str]
    reader_address: pulumi.Output[str]
    port: int
    users: dict[str, CacheUser]
    team_users: dict[str, pulumi.Output[str]] = field(default_factory=dict)
    """Team with a feature store → the id and name of its user, who has a password."""


def existing_cache(existing: ExistingCache) -> CacheAccess:
    """How a cache of somebody else is reached."""
    address = pulumi.Output.from_input(existing.address)
    return CacheAccess(address=address, reader_address=address, port=existing.port, users={})


@dataclass(frozen=True, kw_only=True)
class CacheArgs:
    """Where the cache stands, and what encrypts it."""

    scope: Scope
    settings: CacheSettings
    placement: Placement
    key_arn: pulumi.Input[str]
    """Of the domain `database`."""
    log_key_arn: pulumi.Input[str]
    """Of the domain `logs`."""
    keep: bool
    """Whether a last snapshot is taken when the cache is deleted."""
    featured: Iterable[str] = ()
    """The teams with a feature store."""


class Cache(pulumi.ComponentResource):
    """A Valkey with one writer and its copies; `access` is how it is reached, by whom."""

    access: CacheAccess

    def __init__(
        self, name: str, args: CacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Cache", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, scope = args.settings, args.scope
        identifier = scope.name(NOUN)
        subnets, group = standing(
            aws.elasticache.SubnetGroup,
            name,
            args.placement,
            called=identifier,
            port=PORT,
            opts=child,
        )
        of_teams = {team: f"{TEAM}{team}" for team in args.featured}
        rights = dict.fromkeys(settings.users, _EVERYTHING_BUT_ADMINISTRATION) | {
            user: online_rights(team) for team, user in of_teams.items()
        }
        users = {
            user: _user(
                f"{name}-user-{user}",
                scope.name(f"{NOUN}-{user}"),
                access,
                pulumi.ResourceOptions(
                    parent=self,
                    # the password is told to ElastiCache by who makes it, and stands nowhere here
                    ignore_changes=["authenticationMode"] if user in of_teams.values() else None,
                ),
            )
            for user, access in (rights or _NOBODY).items()
        }
        user_group = aws.elasticache.UserGroup(
            f"{name}-users",
            user_group_id=identifier,
            engine="valkey",
            user_ids=[user.user_id for user in users.values()],
            opts=child,
        )
        logs = {
            log: service_log(
                f"{name}-log-{log}",
                f"/aws/elasticache/{identifier}/{log}",
                key_arn=args.log_key_arn,
                keep=args.keep,
                opts=child,
            )
            for log in _LOGS
        }
        replication = aws.elasticache.ReplicationGroup(
            f"{name}-replication",
            replication_group_id=identifier,
            description=f"Falaj {scope.environment}: features in memory",
            engine="valkey",
            engine_version=settings.version,
            node_type=settings.node_type,
            num_cache_clusters=1 + settings.replicas,
            automatic_failover_enabled=settings.replicas > 0,
            multi_az_enabled=settings.replicas > 0,
            port=PORT,
            subnet_group_name=subnets.name,
            security_group_ids=[group.id],
            user_group_ids=[user_group.user_group_id],
            at_rest_encryption_enabled=True,
            kms_key_id=args.key_arn,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            snapshot_retention_limit=settings.snapshot_days,
            snapshot_window=settings.snapshot_window,
            # ElastiCache answers in small letters, and any other would differ at every refresh
            maintenance_window=settings.maintenance_window.lower(),
            final_snapshot_identifier=f"{identifier}-final" if args.keep else None,
            auto_minor_version_upgrade=True,
            apply_immediately=False,
            log_delivery_configurations=[
                {
                    "destination": group_of_log.name,
                    "destination_type": "cloudwatch-logs",
                    "log_format": "json",
                    "log_type": log,
                }
                for log, group_of_log in logs.items()
            ],
            tags={"data-classification": "confidential"},
            opts=child,
        )
        self.security_group_id = group.id
        self.access = CacheAccess(
            address=replication.primary_endpoint_address,
            reader_address=replication.reader_endpoint_address,
            port=PORT,
            users={
                user: CacheUser(
                    name=scope.name(f"{NOUN}-{user}"),
                    connect_arns=(
                        scope.arn("elasticache", f"replicationgroup:{identifier}"),
                        scope.arn("elasticache", f"user:{scope.name(f'{NOUN}-{user}')}"),
                    ),
                )
                for user in settings.users
            },
            team_users={team: users[user].user_id for team, user in of_teams.items()},
        )
        self.register_outputs({"address": self.access.address})


def _user(
    name: str, user_id: str, access: str, opts: pulumi.ResourceOptions
) -> aws.elasticache.User:
    return aws.elasticache.User(
        name,
        user_id=user_id,
        # by IAM only a user whose name is its id logs in
        user_name=user_id,
        engine="valkey",
        access_string=access,
        authentication_mode={"type": "iam"},
        opts=opts,
    )
