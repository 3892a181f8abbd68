"""The PostgreSQL of MLflow, Dagster and the feature registry, on RDS or brought along.

Owns the instance with its parameters, subnets, security group, logs and monitoring, and says who
its consumers are. Leaves the databases and roles inside to a job on the cluster, which runs
`provisioning_sql`, and the consumers' permission to connect to their identities. Network, keys and
their policies must exist before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pulumi
import pulumi_aws as aws

from components.aws.database_roles import provisioning_sql
from components.aws.placement import Placement, standing
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.service_log import service_log
from components.aws.settings.database import (
    ADMINISTRATOR,
    DatabaseSettings,
    ExistingDatabase,
    features_role,
)

PORT = 5432
NOUN = "database"
_LOGS = ("postgresql", "upgrade")
_PARAMETERS = {
    "rds.force_ssl": "1",
    "ssl_min_protocol_version": "TLSv1.2",
    "rds.accepted_password_auth_method": "scram",  # pragma: allowlist secret
    "log_connections": "1",
    "log_disconnections": "1",
    "log_statement": "ddl",
}


@dataclass(frozen=True, kw_only=True)
class DatabaseConsumer:
    """Who uses the database, and as whom. There is no password: a token of IAM stands for it.
    Feature stores are no consumers in that sense: their roles have passwords (ADR 0023)."""

    role: str
    databases: tuple[str, ...]
    connect_arn: pulumi.Output[str] | None
    """What the action `rds-db:connect` is allowed on; `None` where roles do not log in by IAM."""


@dataclass(frozen=True, kw_only=True)
class DatabaseAccess:
    """How a database is reached, whoever runs it."""

    address: pulumi.Output[str]
    port: int
    administrator_arn: pulumi.Output[str]
    """The entry of Secrets Manager with the administrator's username and password."""
    administrator: DatabaseConsumer | None
    """The administrator by IAM; `None` for an existing database."""
    consumers: dict[str, DatabaseConsumer]
    provisioning: str
    """The script for `psql` that makes databases and roles."""
    subnet_group: pulumi.Output[str] | None = None
    """Where a restored copy may stand; `None` for an existing database."""

    @property
    def by_iam(self) -> bool:
        """Whether roles log in by IAM, and not by a password."""
        return all(one.connect_arn is not None for one in self.consumers.values())

    def uri(self, consumer: str, database: str | None = None) -> pulumi.Output[str]:
        """Where `consumer` connects, as whom and over verified TLS; never with a password.

        `database` is one of its own, by default the first. Raises `KeyError` for any other.
        """
        one = self.consumers[consumer]
        database = database or one.databases[0]
        if database not in one.databases:
            raise KeyError(f"{consumer} has no database {database}")
        return self.address.apply(
            lambda address: (
                f"postgresql://{one.role}@{address}:{self.port}/{database}?sslmode=verify-full"
            )
        )


def existing_database(
    scope: Scope,
    existing: ExistingDatabase,
    consumers: Mapping[str, tuple[str, ...]],
    featured: Iterable[str] = (),
) -> DatabaseAccess:
    """How a database of somebody else is reached; `featured` are the teams with a feature store."""
    resource_id = pulumi.Output.from_input(existing.resource_id) if existing.resource_id else None
    return DatabaseAccess(
        address=pulumi.Output.from_input(existing.address),
        port=existing.port,
        administrator_arn=pulumi.Output.from_input(existing.administrator_arn),
        administrator=None,
        consumers=_consumers(scope, consumers, resource_id),
        provisioning=provisioning_sql(
            consumers, by_iam=resource_id is not None, by_password=_of_features(featured)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """Where the database stands, and what encrypts it."""

    scope: Scope
    settings: DatabaseSettings
    placement: Placement
    key_arn: pulumi.Input[str]
    """Of the domain `database`: storage, snapshots and performance insights."""
    administrator_key_arn: pulumi.Input[str]
    """Of the domain `secrets`."""
    log_key_arn: pulumi.Input[str]
    """Of the domain `logs`."""
    keep: bool
    """Whether the database outlives the stack: it is protected, and deleted only after a last
    snapshot. Where it is false it goes with the stack, without one."""
    featured: Iterable[str] = ()
    """The teams with a feature store, each of which has a role with a password."""


class Database(pulumi.ComponentResource):
    """A PostgreSQL on RDS; `access` is how it is reached, by whom."""

    access: DatabaseAccess

    def __init__(
        self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Database", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, scope = args.settings, args.scope
        identifier = scope.name(NOUN)
        subnets, group = standing(
            aws.rds.SubnetGroup, name, args.placement, called=identifier, port=PORT, opts=child
        )
        family = f"postgres{settings.version.partition('.')[0]}"
        parameters = aws.rds.ParameterGroup(
            f"{name}-parameters",
            # of another major version, another group: the old one is in use until the upgrade
            name=f"{identifier}-{family}",
            description="TLS only, and a record of who connects and what they change",
            family=family,
            parameters=[
                # right for parameters of either kind; a new instance starts with all of them
                {"name": key, "value": value, "apply_method": "pending-reboot"}
                for key, value in _PARAMETERS.items()
            ],
            opts=child,
        )
        monitoring = Role(
            f"{name}-monitoring",
            RoleArgs(
                scope=scope,
                role=f"{NOUN}-monitoring",
                trust=[
                    replace(
                        taken_by_service("monitoring.rds", "MonitoringAssumes"),
                        conditions={"StringEquals": {"aws:SourceAccount": scope.account_id}},
                    )
                ],
                managed_policies={"monitoring": "service-role/AmazonRDSEnhancedMonitoringRole"},
            ),
            child,
        )
        logs = [
            service_log(
                f"{name}-log-{log}",
                f"/aws/rds/instance/{identifier}/{log}",
                key_arn=args.log_key_arn,
                keep=args.keep,
                opts=child,
            )
            for log in _LOGS
        ]
        instance = aws.rds.Instance(
            f"{name}-instance",
            identifier=identifier,
            engine="postgres",
            engine_version=settings.version,
            auto_minor_version_upgrade=True,
            allow_major_version_upgrade=False,
            apply_immediately=False,
            instance_class=settings.instance_class,
            multi_az=settings.multi_az,
            storage_type="gp3",
            allocated_storage=settings.storage_gib,
            max_allocated_storage=settings.max_storage_gib,
            storage_encrypted=True,
            kms_key_id=args.key_arn,
            username=ADMINISTRATOR,
            # made and rotated by RDS, so that no state ever holds it
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.administrator_key_arn,
            iam_database_authentication_enabled=True,
            port=PORT,
            publicly_accessible=False,
            network_type="IPV4",
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[group.id],
            parameter_group_name=parameters.name,
            ca_cert_identifier=settings.certificate_authority,
            backup_retention_period=settings.backup_days,
            backup_window=settings.backup_window,
            maintenance_window=settings.maintenance_window,
            copy_tags_to_snapshot=True,
            delete_automated_backups=not args.keep,
            deletion_protection=args.keep,
            skip_final_snapshot=not args.keep,
            final_snapshot_identifier=(
                f"{identifier}-{settings.final_snapshot}" if args.keep else None
            ),
            enabled_cloudwatch_logs_exports=list(_LOGS),
            performance_insights_enabled=True,
            performance_insights_kms_key_id=args.key_arn,
            performance_insights_retention_period=settings.insights_days,
            monitoring_interval=settings.monitoring_seconds,
            monitoring_role_arn=monitoring.arn,
            tags={"data-classification": "confidential"},
            opts=pulumi.ResourceOptions(
                parent=self,
                # RDS refuses a monitoring role without its policy, and makes log groups without key
                depends_on=[*monitoring.policies, *logs],
                # the data is worth more than the stack
                protect=args.keep,
                retain_on_delete=args.keep,
            ),
        )
        self.security_group_id = group.id
        self.arn = instance.arn
        self.access = DatabaseAccess(
            address=instance.address,
            port=PORT,
            subnet_group=subnets.name,
            administrator_arn=instance.master_user_secrets.apply(
                lambda secrets: str(secrets[0].secret_arn)
            ),
            administrator=_consumers(scope, {ADMINISTRATOR: ("postgres",)}, instance.resource_id)[
                ADMINISTRATOR
            ],
            consumers=_consumers(scope, settings.consumers, instance.resource_id),
            provisioning=provisioning_sql(
                settings.consumers, by_password=_of_features(args.featured)
            ),
        )
        self.register_outputs({"address": instance.address, "arn": self.arn})


def _of_features(teams: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Role → databases of feature stores."""
    return {role: (role,) for role in map(features_role, teams)}


def _consumers(
    scope: Scope,
    consumers: Mapping[str, tuple[str, ...]],
    resource_id: pulumi.Output[str] | None,
) -> dict[str, DatabaseConsumer]:
    def connect_arn(role: str) -> pulumi.Output[str] | None:
        if resource_id is None:
            return None
        return resource_id.apply(lambda id_: scope.arn("rds-db", f"dbuser:{id_}/{role}"))

    return {
        role: DatabaseConsumer(role=role, databases=databases, connect_arn=connect_arn(role))
        for role, databases in consumers.items()
    }
