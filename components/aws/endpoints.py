"""The ways from a network to the services of AWS that do not leave it.

Owns interface endpoints with their security group, the gateway endpoint of S3 beside its interface,
and the policies of all: what may be asked through them, by whom and of whose resources. Leaves it
to each resource and role who may do what. Network, subnets and route tables must exist before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.policy_document import ANYONE, Statement, document
from components.aws.scope import Scope
from components.aws.settings.controllers import BY_ROUTE

_PULLS = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)

_HOLD_DATA = frozenset({"kms", "logs", "s3", "secretsmanager", "sqs", "sts"})
"""Services through which data could leave into a stranger's resource: both sides are pinned.

The others also answer from resources that AWS owns (machine images, public parameters, the
registry of EKS), so that only the caller can be pinned.
"""


def policy_of(service: str, scope: Scope, accounts: Sequence[str]) -> tuple[Statement, ...]:
    """What the endpoint of `service` lets through: calls of this account's principals.

    Where the service holds data, also to resources of `accounts` alone. An endpoint policy that
    only denies would let nothing through.
    """
    by_us: dict[str, Sequence[str]] = {"aws:PrincipalAccount": [scope.account_id]}
    of_ours: dict[str, Sequence[str]] = {"aws:ResourceAccount": list(accounts)}

    def allow(sid: str, actions: Sequence[str], conditions: dict[str, Sequence[str]]) -> Statement:
        return Statement(
            sid=sid,
            effect="Allow",
            actions=actions,
            resources=["*"],
            principals=ANYONE,
            conditions={"StringEquals": conditions},
        )

    if service in ("ecr.api", "ecr.dkr"):
        return (
            allow("OursWithOurImages", ("ecr:*",), by_us | of_ours),
            # the images of EKS's own add-ons lie in a registry of AWS
            allow("OursPull", _PULLS, by_us),
        )
    prefix = _ACTION_PREFIXES.get(service, service)
    if service not in _HOLD_DATA:
        return (allow("OursCall", (f"{prefix}:*",), by_us),)
    ours = allow("OursWithOurResources", (f"{prefix}:*",), by_us | of_ours)
    if service == "s3":
        return (ours, _images_and_packages(scope))
    if service == "sts":
        # a pod that still shows a token has no principal yet; the role that it asks for is ours
        return (ours, allow("PodsTakeOurRoles", ("sts:AssumeRoleWithWebIdentity",), of_ours))
    return (ours,)


_INSIDE = "-inside"
"""Ends the name of the interface of a service that has a route as well."""
_FOR_ALL = {"private_dns_only_for_inbound_resolver_endpoint": False}
"""The names of S3 lead to the interface for pods too, and not for callers on premises alone."""
_ACTION_PREFIXES = {"monitoring": "cloudwatch", "guardduty-data": "guardduty"}
"""Service names that are not those of their actions."""


def _images_and_packages(scope: Scope) -> Statement:
    """Buckets of AWS in this region that nodes read: image layers, packages of Amazon Linux.

    Layers are fetched with an address that the registry signs, so neither our principals nor our
    accounts are in the request. Sources: ECR user guide, "Interface VPC endpoints"; Amazon Linux
    2023 user guide, "Repositories in S3".
    """
    buckets = (
        f"prod-{scope.region}-starport-layer-bucket",
        f"al2023-repos-{scope.region}-de612dc2",
    )
    return Statement(
        sid="ImageLayersAndPackages",
        effect="Allow",
        actions=("s3:GetObject",),
        resources=[f"arn:aws:s3:::{bucket}/*" for bucket in buckets],
        principals=ANYONE,
    )


@dataclass(frozen=True, kw_only=True)
class EndpointsArgs:
    """From where to which services."""

    scope: Scope
    vpc_id: pulumi.Input[str]
    callers: Sequence[str]
    """CIDRs from which the endpoints may be asked."""
    subnet_ids: Sequence[pulumi.Input[str]]
    """Where interface endpoints are, one in each zone."""
    route_table_ids: Sequence[pulumi.Input[str]]
    """Whose traffic to S3 takes the gateway endpoint."""
    services: Sequence[str]
    """The last parts of the services' names, such as ``ecr.api``."""
    trusted_accounts: Sequence[str] = ()
    """Accounts besides this one whose resources may be reached."""


class Endpoints(pulumi.ComponentResource):
    """An endpoint for each service, with `security_group_id` and `ready`.

    `s3_prefix_list_id` is what a security group that restricts the way out names for S3; `None`
    where the endpoint of S3 is not made here.
    """

    def __init__(
        self, name: str, args: EndpointsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Endpoints", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        group = aws.ec2.SecurityGroup(
            f"{name}-group",
            name=args.scope.name("endpoints"),
            description="Endpoints of AWS services: TLS from this network",
            vpc_id=args.vpc_id,
            tags={"Name": args.scope.name("endpoints")},
            opts=child,
        )
        rules = [
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-from-{cidr.replace('/', '-')}",
                security_group_id=group.id,
                description="TLS from this network",
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                cidr_ipv4=cidr,
                opts=child,
            )
            for cidr in args.callers
        ]
        accounts = (args.scope.account_id, *args.trusted_accounts)
        gateway: dict[str, Any] = {
            "vpc_endpoint_type": "Gateway",
            "route_table_ids": args.route_table_ids,
        }
        interface: dict[str, Any] = {
            "vpc_endpoint_type": "Interface",
            # callers keep the names that they know
            "private_dns_enabled": True,
            "subnet_ids": args.subnet_ids,
            "security_group_ids": [group.id],
        }
        self.ready: list[pulumi.Resource] = [*rules]
        self.s3_prefix_list_id: pulumi.Output[str] | None = None
        routes = [(service, "", gateway) for service in args.services if service in BY_ROUTE]
        inside = [
            (service, _INSIDE, interface | {"dns_options": _FOR_ALL})
            if service in BY_ROUTE
            else (service, "", interface)
            for service in args.services
        ]
        for service, kind, way in [*routes, *inside]:
            endpoint = aws.ec2.VpcEndpoint(
                f"{name}-{service.replace('.', '-')}{kind}",
                vpc_id=args.vpc_id,
                service_name=f"com.amazonaws.{args.scope.region}.{service}",
                policy=document(*policy_of(service, args.scope, accounts)),
                tags={"Name": args.scope.name(f"{service}{kind}")},
                opts=child,
                **way,
            )
            self.ready.append(endpoint)
            if way is gateway:
                self.s3_prefix_list_id = endpoint.prefix_list_id
        self.security_group_id = group.id
        self.register_outputs({"security_group_id": self.security_group_id})
