"""The network of an environment: private, over its zones, no way out but the one asked for.

Owns VPC, subnets, route tables, the closed default security group, flow logs, and by components of
their own the endpoints, the resolver and the way out. Leaves security groups of clusters, databases
and load balancers to these. The key of the logs must exist before.

Network ACLs close the isolated subnets alone: answers of S3 come from public addresses, so that one
on the private subnets would have to let the internet in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.egress import EVERYWHERE, Egress, EgressArgs
from components.aws.endpoints import Endpoints, EndpointsArgs
from components.aws.policy_document import Statement
from components.aws.resolver import Resolver, ResolverArgs
from components.aws.role import Role, RoleArgs
from components.aws.scope import Scope
from components.aws.settings.controllers import services_called
from components.aws.settings.network import (
    ExistingNetwork,
    NetworkSettings,
    ZoneAddresses,
    address_plan,
    private_domain_of,
)

INTERNAL_LOAD_BALANCERS = {"kubernetes.io/role/internal-elb": "1"}
"""On private subnets: where the load balancer controller puts what is not for the internet."""


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Which network is made."""

    scope: Scope
    network: NetworkSettings
    log_key_arn: pulumi.Input[str]
    """The key of the logs domain."""
    keep: bool
    """Whether the network and its logs are protected from deletion."""
    services: Sequence[str] = field(default_factory=services_called)
    """Services of AWS that are called from inside, such as ``ecr.api``."""
    private_domain: str | None = None
    """The name of the private zone; `None` for that of the settings, or of the environment."""


class Network(pulumi.ComponentResource):
    """A network made here, with its ids by zone.

    `ready` holds what nodes need before they start: endpoints, routes, names.
    """

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Network", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        scope = args.scope
        plan = address_plan(args.network, scope.region)
        self.cidr = str(args.network.cidr)
        self.zones = tuple(plan)
        # a runner stands on a network that the bootstrap made, and so is never known here
        self.runner_group_id: pulumi.Input[str] | None = None
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=self.cidr,
            # private names of endpoints need both
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": scope.name("network")},
            # all else is in it. Subnets are not protected: a zone must be easy to leave
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep),
        )
        self.vpc_id = vpc.id
        aws.ec2.DefaultSecurityGroup(
            f"{name}-default-group",
            vpc_id=vpc.id,
            ingress=[],
            egress=[],
            tags={"Name": scope.name("closed")},
            opts=self._child,
        )
        self._flow_log()
        self.ready: list[pulumi.Resource] = []
        private = self._subnets("private", plan, INTERNAL_LOAD_BALANCERS)
        isolated = self._subnets("isolated", plan, {})
        self.private_subnet_ids = {zone: subnet.id for zone, subnet in private.items()}
        self.isolated_subnet_ids = {zone: subnet.id for zone, subnet in isolated.items()}
        private_tables = {
            zone: self._route_table(f"private-{zone}", [subnet.id])
            for zone, subnet in private.items()
        }
        self._route_table("isolated", list(self.isolated_subnet_ids.values()))
        self.private_route_table_ids = [table.id for table in private_tables.values()]
        self._close_isolated()
        endpoints = Endpoints(
            f"{name}-endpoints",
            EndpointsArgs(
                scope=scope,
                vpc_id=vpc.id,
                callers=[self.cidr],
                subnet_ids=list(self.isolated_subnet_ids.values()),
                route_table_ids=self.private_route_table_ids,
                services=args.services,
                trusted_accounts=args.network.trusted_accounts,
            ),
            self._child,
        )
        self.endpoint_security_group_id = endpoints.security_group_id
        self.s3_prefix_list_id = endpoints.s3_prefix_list_id
        self.ready += endpoints.ready
        self.private_domain = args.private_domain or private_domain_of(
            args.network, scope.environment
        )
        self.private_zone_id: pulumi.Input[str] | None = Resolver(
            f"{name}-resolver",
            ResolverArgs(
                scope=scope,
                vpc_id=vpc.id,
                private_domain=self.private_domain,
                resolvable_domains=(
                    *args.network.resolvable_domains,
                    *args.network.allowed_domains,
                ),
                log_group_arn=self._log_group("names").arn,
                keep=args.keep,
            ),
            self._child,
        ).zone_id
        if args.network.egress == "allow-list":
            self._let_out(plan, private_tables)
        self.register_outputs({"vpc_id": self.vpc_id, "cidr": self.cidr})

    def _subnets(
        self, role: str, plan: dict[str, ZoneAddresses], tags: dict[str, str]
    ) -> dict[str, aws.ec2.Subnet]:
        return {
            zone: aws.ec2.Subnet(
                f"{self._name}-{role}-{zone}",
                vpc_id=self.vpc_id,
                availability_zone=zone,
                cidr_block=str(getattr(addresses, role)),
                map_public_ip_on_launch=False,
                tags={"Name": self._args.scope.name(f"{role}-{zone}"), **tags},
                opts=self._child,
            )
            for zone, addresses in plan.items()
        }

    def _route_table(
        self, role: str, subnet_ids: Sequence[pulumi.Input[str]]
    ) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            f"{self._name}-{role}-routes",
            vpc_id=self.vpc_id,
            tags={"Name": self._args.scope.name(role)},
            opts=self._child,
        )
        # a zone's name where the table has one subnet, else those of all
        names = self.zones if len(subnet_ids) == len(self.zones) else (None,)
        for zone, subnet_id in zip(names, subnet_ids, strict=True):
            self.ready.append(
                aws.ec2.RouteTableAssociation(
                    "-".join(filter(None, (self._name, role, zone, "association"))),
                    route_table_id=table.id,
                    subnet_id=subnet_id,
                    opts=self._child,
                )
            )
        return table

    def _close_isolated(self) -> None:
        """Lets TLS and what is above the system's ports in from this network, and answers out."""
        rules: list[Any] = [
            {
                "rule_no": 100 * number,
                "protocol": "tcp",
                "action": "allow",
                "cidr_block": self.cidr,
                "from_port": first,
                "to_port": last,
            }
            for number, (first, last) in enumerate(((443, 443), (1024, 65535)), 1)
        ]
        aws.ec2.NetworkAcl(
            f"{self._name}-isolated-acl",
            vpc_id=self.vpc_id,
            subnet_ids=list(self.isolated_subnet_ids.values()),
            ingress=rules,
            egress=rules,
            tags={"Name": self._args.scope.name("isolated")},
            opts=self._child,
        )

    def _log_group(self, noun: str) -> aws.cloudwatch.LogGroup:
        keep = self._args.keep
        return aws.cloudwatch.LogGroup(
            f"{self._name}-{noun}-records",
            # the prefix under which AWS lets its services write without a policy for each group
            name=f"/aws/vendedlogs/{self._args.scope.name(noun)}",
            kms_key_id=self._args.log_key_arn,
            retention_in_days=self._args.network.log_days,
            # what was logged is evidence
            opts=pulumi.ResourceOptions(parent=self, protect=keep, retain_on_delete=keep),
        )

    def _flow_log(self) -> None:
        scope = self._args.scope
        group = self._log_group("flow")
        role = Role(
            f"{self._name}-flow",
            RoleArgs(
                scope=scope,
                role="flow-logs",
                trust=[
                    Statement(
                        sid="FlowLogsAssume",
                        effect="Allow",
                        actions=("sts:AssumeRole",),
                        principals={"Service": ("vpc-flow-logs.amazonaws.com",)},
                        conditions={
                            "StringEquals": {"aws:SourceAccount": scope.account_id},
                            "ArnLike": {"aws:SourceArn": scope.arn("ec2", "vpc-flow-log/*")},
                        },
                    )
                ],
                permissions={
                    # it may not make the group: a late record would bring back what was deleted
                    "write": [
                        Statement(
                            sid="WriteFlowLogs",
                            effect="Allow",
                            actions=("logs:CreateLogStream", "logs:PutLogEvents"),
                            resources=[pulumi.Output.concat(group.arn, ":*")],
                        ),
                        Statement(
                            sid="FindFlowLogs",
                            effect="Allow",
                            actions=("logs:DescribeLogGroups", "logs:DescribeLogStreams"),
                            resources=[scope.arn("logs", "log-group:*")],
                        ),
                    ]
                },
            ),
            self._child,
        )
        aws.ec2.FlowLog(
            f"{self._name}-flow-log",
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags={"Name": scope.name("flow")},
            opts=pulumi.ResourceOptions(
                parent=self,
                # without its permissions it is made and delivers nothing
                depends_on=role.policies,
            ),
        )

    def _let_out(
        self, plan: dict[str, ZoneAddresses], tables: dict[str, aws.ec2.RouteTable]
    ) -> None:
        network = self._args.network
        count = 1 if network.nat_gateways == "one" else len(plan)
        egress = Egress(
            f"{self._name}-egress",
            EgressArgs(
                scope=self._args.scope,
                vpc_id=self.vpc_id,
                cidr=self.cidr,
                zones=dict(list(plan.items())[:count]),
                private_cidrs={zone: str(addresses.private) for zone, addresses in plan.items()},
                allowed_domains=network.allowed_domains,
                log_group_name=self._log_group("firewall").name,
                keep=self._args.keep,
            ),
            self._child,
        )
        self.ready += egress.ready
        self.ready += [
            aws.ec2.Route(
                f"{self._name}-private-{zone}-out",
                route_table_id=table.id,
                destination_cidr_block=EVERYWHERE,
                vpc_endpoint_id=egress.firewall_endpoints[zone],
                opts=self._child,
            )
            for zone, table in tables.items()
        ]


@dataclass(frozen=True, kw_only=True)
class NetworkIds:
    """What there is of a network that was made elsewhere."""

    vpc_id: pulumi.Input[str]
    cidr: str
    private_subnet_ids: Mapping[str, pulumi.Input[str]]
    """Zone → id."""
    isolated_subnet_ids: Mapping[str, pulumi.Input[str]]
    private_route_table_ids: Sequence[pulumi.Input[str]]
    endpoints: Sequence[str]
    """Services that there are endpoints for."""
    endpoint_security_group_id: pulumi.Input[str] | None
    runner_group_id: pulumi.Input[str] | None = None
    """The security group of the runner, which asks the cluster's API."""
    private_zone_id: pulumi.Input[str] | None = None
    """`None` where somebody else writes the platform's names."""

    @classmethod
    def of(cls, existing: ExistingNetwork) -> NetworkIds:
        """The ids that the settings name."""
        ids = {name: getattr(existing, name) for name in type(existing).model_fields}
        return cls(**ids | {"cidr": str(existing.cidr)})


@dataclass(frozen=True, kw_only=True)
class GivenNetworkArgs:
    """A network that exists."""

    scope: Scope
    ids: NetworkIds
    trusted_accounts: Sequence[str] = ()
    services: Sequence[str] = field(default_factory=services_called)
    """Services of AWS that are called from inside; those without an endpoint get one here."""


class GivenNetwork(pulumi.ComponentResource):
    """A network that was made elsewhere, with the endpoints that it lacks.

    It has the attributes of `Network`; flow logs, and names where it says no private zone, are
    looked after by its keeper.
    """

    def __init__(
        self, name: str, args: GivenNetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:GivenNetwork", name, None, opts)
        ids = args.ids
        self.vpc_id = pulumi.Output.from_input(ids.vpc_id)
        self.cidr = ids.cidr
        self.zones = tuple(sorted(ids.private_subnet_ids))
        self.private_subnet_ids = _outputs(ids.private_subnet_ids)
        self.isolated_subnet_ids = _outputs(ids.isolated_subnet_ids)
        self.private_route_table_ids = [
            pulumi.Output.from_input(table) for table in ids.private_route_table_ids
        ]
        self.runner_group_id = ids.runner_group_id
        self.private_zone_id = ids.private_zone_id
        self.ready: list[pulumi.Resource] = []
        self.s3_prefix_list_id: pulumi.Output[str] | None = None
        missing = [service for service in args.services if service not in ids.endpoints]
        if missing:
            endpoints = Endpoints(
                f"{name}-endpoints",
                EndpointsArgs(
                    scope=args.scope,
                    vpc_id=self.vpc_id,
                    callers=[self.cidr],
                    subnet_ids=list(self.isolated_subnet_ids.values()),
                    route_table_ids=self.private_route_table_ids,
                    services=missing,
                    trusted_accounts=args.trusted_accounts,
                ),
                pulumi.ResourceOptions(parent=self),
            )
            self.ready += endpoints.ready
            self.endpoint_security_group_id = endpoints.security_group_id
            self.s3_prefix_list_id = endpoints.s3_prefix_list_id
        else:
            self.endpoint_security_group_id = pulumi.Output.from_input(
                ids.endpoint_security_group_id or ""
            )
        self.register_outputs({"vpc_id": self.vpc_id, "cidr": self.cidr})


def _outputs(ids: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Output[str]]:
    return {zone: pulumi.Output.from_input(ids[zone]) for zone in sorted(ids)}
