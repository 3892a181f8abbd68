"""A Kafka on MSK, in the network of the platform, or one that is there already.

Owns the cluster with its configuration, security group and log. Leaves topics to their producers
and the permission to use them to identities. Network and keys must exist before.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.placement import Placement, clients_only
from components.aws.scope import Scope
from components.aws.service_log import service_log
from components.aws.settings.stream import ExistingStream, StreamSettings

NOUN = "stream"
IAM_PORT = 9098
_METRICS_PORTS = (11001, 11002)
"""Of the brokers' exporters for Prometheus, over TLS as well."""
_MOST_COPIES = 3


@dataclass(frozen=True, kw_only=True)
class StreamAccess:
    """How a Kafka is reached, over TLS."""

    brokers: pulumi.Output[str]
    """Host and port of the first brokers to ask, joined by commas."""
    cluster_arn: pulumi.Output[str] | None
    """What the actions `kafka-cluster:*` are allowed on; `None` where IAM does not decide."""


def existing_stream(existing: ExistingStream) -> StreamAccess:
    """How a Kafka of somebody else is reached."""
    return StreamAccess(
        brokers=pulumi.Output.from_input(",".join(existing.brokers)), cluster_arn=None
    )


@dataclass(frozen=True, kw_only=True)
class StreamArgs:
    """Where the brokers stand, and what encrypts their disks."""

    scope: Scope
    settings: StreamSettings
    placement: Placement
    key_arn: pulumi.Input[str]
    """Of the domain `database`."""
    log_key_arn: pulumi.Input[str]
    """Of the domain `logs`."""
    keep: bool
    """Whether the brokers outlive the stack."""


class Stream(pulumi.ComponentResource):
    """A Kafka whose clients log in by IAM alone; `access` is how it is reached."""

    access: StreamAccess

    def __init__(
        self, name: str, args: StreamArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Stream", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, scope = args.settings, args.scope
        brokers = settings.brokers_per_zone * len(args.placement.subnet_ids)
        group = clients_only(
            name,
            args.placement,
            group=scope.name(NOUN),
            ports=[IAM_PORT, *_METRICS_PORTS],
            opts=child,
        )
        # brokers talk among themselves, inside their own group
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-from-brokers",
            security_group_id=group.id,
            referenced_security_group_id=group.id,
            ip_protocol="-1",
            description="Brokers among themselves",
            opts=child,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-to-brokers",
            security_group_id=group.id,
            referenced_security_group_id=group.id,
            ip_protocol="-1",
            description="Brokers among themselves",
            opts=child,
        )
        configuration = aws.msk.Configuration(
            f"{name}-configuration",
            name=scope.name(NOUN),
            server_properties=server_properties(settings, brokers),
            opts=child,
        )
        log = service_log(
            f"{name}-log",
            f"/aws/msk/{scope.name(NOUN)}",
            key_arn=args.log_key_arn,
            keep=args.keep,
            opts=child,
        )
        cluster = aws.msk.Cluster(
            f"{name}-cluster",
            cluster_name=scope.name(NOUN),
            kafka_version=settings.version,
            number_of_broker_nodes=brokers,
            broker_node_group_info={
                "instance_type": settings.instance_type,
                "client_subnets": args.placement.subnet_ids,
                "security_groups": [group.id],
                "storage_info": {"ebs_storage_info": {"volume_size": settings.storage_gib}},
                "connectivity_info": {"public_access": {"type": "DISABLED"}},
            },
            client_authentication={"sasl": {"iam": True, "scram": False}, "unauthenticated": False},
            encryption_info={
                "encryption_at_rest_kms_key_arn": args.key_arn,
                "encryption_in_transit": {"client_broker": "TLS", "in_cluster": True},
            },
            configuration_info={
                "arn": configuration.arn,
                "revision": configuration.latest_revision,
            },
            enhanced_monitoring="PER_BROKER",
            open_monitoring={
                "prometheus": {
                    "jmx_exporter": {"enabled_in_broker": True},
                    "node_exporter": {"enabled_in_broker": True},
                }
            },
            logging_info={
                "broker_logs": {"cloudwatch_logs": {"enabled": True, "log_group": log.name}}
            },
            tags={"data-classification": "confidential"},
            opts=pulumi.ResourceOptions(
                parent=self,
                # messages that nobody has read yet are worth more than the stack
                protect=args.keep,
                retain_on_delete=args.keep,
            ),
        )
        self.security_group_id = group.id
        self.access = StreamAccess(
            brokers=cluster.bootstrap_brokers_sasl_iam, cluster_arn=cluster.arn
        )
        self.register_outputs({"brokers": self.access.brokers})


def server_properties(settings: StreamSettings, brokers: int) -> str:
    """What the brokers are told: as many copies as they can keep, and no topic by accident."""
    copies = min(_MOST_COPIES, brokers)
    properties = {
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        # one broker may be away, and nothing that was acknowledged is lost
        "min.insync.replicas": max(1, copies - 1),
        "log.retention.hours": settings.retention_hours,
        "unclean.leader.election.enable": "false",
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())
