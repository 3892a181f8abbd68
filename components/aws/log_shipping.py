"""The AWS half of log shipping: the cluster's own logs to the locked bucket, and a door for a SIEM.

Owns the stream of control-plane logs, the role by which a SIEM reads the bucket, or the endpoint by
which events reach it. Leaves the identity of the agent on the nodes to `identity`. The bucket
`logs`, the key of its domain, the cluster's log group and, for a SIEM by HTTPS, the network must
exist before.

Control-plane logs go by Firehose: EKS writes them to CloudWatch Logs and nowhere else, and Firehose
takes them from there without a job of ours. Their record may hold names of objects, never data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import Statement
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.log_shipping import HttpSiem, LogShippingSettings, S3Siem
from components.log_shipper import Output, to_bucket, to_siem

CONTROL_PLANE = "control-plane/"
"""Under which the control plane's logs are in the bucket."""
STREAM = "control-plane-logs"
STREAM_ROLE = "log-stream"


@dataclass(frozen=True, kw_only=True)
class SiemNetwork:
    """Where the endpoint of a SIEM is, and who may reach it."""

    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    node_security_group_id: pulumi.Input[str]
    zone_id: pulumi.Input[str]
    """The private zone in which the SIEM's host is named, and in whose name that name ends."""


@dataclass(frozen=True, kw_only=True)
class LogShippingArgs:
    """What is shipped, and where."""

    scope: Scope
    settings: LogShippingSettings
    bucket: str
    key_arn: pulumi.Input[str]
    control_plane_group: pulumi.Input[str]
    """The name of the cluster's log group."""
    network: SiemNetwork | None = None
    """Needed by a SIEM that is reached by HTTPS."""
    retention_days: int = 400
    """Of the log of what Firehose could not deliver."""


class LogShipping(pulumi.ComponentResource):
    """The stream, and `outputs`, what the agent on the nodes is told."""

    outputs: list[Output]
    reader_arn: pulumi.Output[str] | None
    """The role of a SIEM that reads the bucket."""

    def __init__(
        self, name: str, args: LogShippingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:LogShipping", name, None, opts)
        self.outputs = [to_bucket(bucket=args.bucket, region=args.scope.region)]
        self.reader_arn = None
        if args.settings.control_plane:
            self._stream(name, args)
        siem = args.settings.siem
        if isinstance(siem, S3Siem):
            self.reader_arn = self._reader(name, args, siem)
        if isinstance(siem, HttpSiem):
            if args.network is None:
                raise ValueError("a SIEM by HTTPS needs the network that its endpoint is in")
            self._endpoint(name, args.scope, siem, args.network)
            self.outputs.append(to_siem(host=siem.host, port=siem.port, path=siem.path))
        self.register_outputs({})

    def _stream(self, name: str, args: LogShippingArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        scope = args.scope
        stream_arn = scope.arn("firehose", f"deliverystream/{scope.name(STREAM)}")
        failures = aws.cloudwatch.LogGroup(
            f"{name}-failures",
            name=scope.log_group(STREAM),
            kms_key_id=args.key_arn,
            retention_in_days=args.retention_days,
            opts=child,
        )
        failed = aws.cloudwatch.LogStream(
            f"{name}-failed", name="delivery", log_group_name=failures.name, opts=child
        )
        writer = Role(
            f"{name}-stream",
            RoleArgs(
                scope=scope,
                role=STREAM_ROLE,
                trust=[
                    replace(
                        taken_by_service("firehose", "StreamAssumes"),
                        conditions={"StringEquals": {"aws:SourceAccount": scope.account_id}},
                    )
                ],
                permissions={"deliver": _delivering(args, scope)},
            ),
            child,
        )
        stream = aws.kinesis.FirehoseDeliveryStream(
            f"{name}-firehose",
            name=scope.name(STREAM),
            destination="extended_s3",
            server_side_encryption={
                "enabled": True,
                "key_type": "CUSTOMER_MANAGED_CMK",
                "key_arn": args.key_arn,
            },
            extended_s3_configuration={
                "role_arn": writer.arn,
                "bucket_arn": f"arn:aws:s3:::{args.bucket}",
                "kms_key_arn": args.key_arn,
                "prefix": CONTROL_PLANE,
                "error_output_prefix": f"failed/{CONTROL_PLANE}",
                "buffering_size": 16,
                "buffering_interval": 300,
                # what CloudWatch Logs sends is compressed already
                "compression_format": "UNCOMPRESSED",
                "cloudwatch_logging_options": {
                    "enabled": True,
                    "log_group_name": failures.name,
                    "log_stream_name": failed.name,
                },
            },
            # Firehose tries its role when a stream is made
            opts=pulumi.ResourceOptions(parent=self, depends_on=writer.policies),
        )
        sender = Role(
            f"{name}-subscription",
            RoleArgs(
                scope=scope,
                role="log-subscription",
                trust=[
                    replace(
                        taken_by_service("logs", "LogsAssume"),
                        conditions={"ArnLike": {"aws:SourceArn": scope.arn("logs", "*")}},
                    )
                ],
                permissions={
                    "send": [
                        Statement(
                            sid="SendToStream",
                            effect="Allow",
                            actions=("firehose:PutRecord", "firehose:PutRecordBatch"),
                            resources=[stream_arn],
                        )
                    ]
                },
            ),
            child,
        )
        aws.cloudwatch.LogSubscriptionFilter(
            f"{name}-subscription",
            name=scope.name(STREAM),
            log_group=args.control_plane_group,
            filter_pattern="",
            destination_arn=stream.arn,
            role_arn=sender.arn,
            # CloudWatch Logs sends a record to try the role when a filter is made
            opts=pulumi.ResourceOptions(parent=self, depends_on=sender.policies),
        )

    def _reader(self, name: str, args: LogShippingArgs, siem: S3Siem) -> pulumi.Output[str]:
        bucket = f"arn:aws:s3:::{args.bucket}"
        return Role(
            f"{name}-siem",
            RoleArgs(
                scope=args.scope,
                role="siem",
                trust=[
                    Statement(
                        sid="SiemAssumes",
                        effect="Allow",
                        actions=("sts:AssumeRole",),
                        principals={"AWS": (f"arn:aws:iam::{siem.account_id}:root",)},
                        conditions={"StringEquals": {"sts:ExternalId": siem.external_id}},
                    )
                ],
                permissions={
                    "read": [
                        Statement(
                            sid="FindLogs",
                            effect="Allow",
                            actions=("s3:ListBucket",),
                            resources=[bucket],
                            conditions={
                                "StringLike": {"s3:prefix": [f"{one}*" for one in siem.prefixes]}
                            },
                        ),
                        Statement(
                            sid="ReadLogs",
                            effect="Allow",
                            actions=("s3:GetObject",),
                            resources=[f"{bucket}/{one}*" for one in siem.prefixes],
                        ),
                        Statement(
                            sid="OpenLogs",
                            effect="Allow",
                            actions=("kms:Decrypt",),
                            resources=[args.key_arn],
                            conditions={
                                "StringEquals": {"kms:ViaService": args.scope.service("s3")}
                            },
                        ),
                    ]
                },
            ),
            pulumi.ResourceOptions(parent=self),
        ).arn

    def _endpoint(self, name: str, scope: Scope, siem: HttpSiem, network: SiemNetwork) -> None:
        child = pulumi.ResourceOptions(parent=self)
        group = aws.ec2.SecurityGroup(
            f"{name}-siem-group",
            name=scope.name("siem"),
            description="Nodes reach the SIEM",
            vpc_id=network.vpc_id,
            opts=child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-siem-from-nodes",
            security_group_id=group.id,
            referenced_security_group_id=network.node_security_group_id,
            ip_protocol="tcp",
            from_port=siem.port,
            to_port=siem.port,
            description="Log agents",
            opts=child,
        )
        endpoint = aws.ec2.VpcEndpoint(
            f"{name}-siem-endpoint",
            vpc_id=network.vpc_id,
            vpc_endpoint_type="Interface",
            service_name=siem.service_name,
            subnet_ids=network.subnet_ids,
            security_group_ids=[group.id],
            # the service's own names are its owner's; ours is in the private zone
            private_dns_enabled=False,
            tags={"Name": scope.name("siem")},
            opts=child,
        )
        aws.route53.Record(
            f"{name}-siem-name",
            zone_id=network.zone_id,
            name=siem.host,
            type="CNAME",
            ttl=60,
            records=[endpoint.dns_entries.apply(lambda entries: str(entries[0].dns_name))],
            opts=child,
        )


def _delivering(args: LogShippingArgs, scope: Scope) -> list[Statement]:
    bucket = f"arn:aws:s3:::{args.bucket}"
    return [
        Statement(
            sid="FindBucket",
            effect="Allow",
            actions=("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"),
            resources=[bucket],
        ),
        Statement(
            sid="WriteLogs",
            effect="Allow",
            actions=("s3:PutObject", "s3:AbortMultipartUpload"),
            resources=[f"{bucket}/{CONTROL_PLANE}*", f"{bucket}/failed/{CONTROL_PLANE}*"],
        ),
        Statement(
            sid="SealLogs",
            effect="Allow",
            actions=("kms:GenerateDataKey", "kms:Decrypt"),
            resources=[args.key_arn],
            conditions={"StringEquals": {"kms:ViaService": scope.service("s3")}},
        ),
        Statement(
            sid="SayWhatFailed",
            effect="Allow",
            actions=("logs:PutLogEvents",),
            resources=[scope.arn("logs", f"log-group:{scope.log_group(STREAM)}:log-stream:*")],
        ),
    ]
